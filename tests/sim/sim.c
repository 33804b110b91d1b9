/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: runs whole clusters of the real core under virtual time.
 *
 *   sim                      all scenarios, then random clusters
 *   sim FILE...              these scenarios
 *   sim --list               what scenarios there are
 *   sim --seed N             one random cluster; --print shows its scenario instead
 *   sim --from N --count K   random clusters N..N+K-1
 *   --members M  --faults K (4)  --jobs J (2)  --stop  --verbose
 *   --mild                   no cuts between two members, and no one-way cuts
 *
 * What fails is named together with the command that repeats it.
 */
#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/memory.h"
#include "tests/sim/script.h"

#ifdef SIM_SLOW
#define CLUSTERS 100
#else
#define CLUSTERS 2000
#endif
#define JOBS_MAX 64
#define FILES_MAX 512
#define PATH_SIZE 512

struct options {
	uint64_t seed, from, count;
	unsigned members, faults, jobs;
	bool verbose, print, stop, list, harsh;
};

/* Shared by the parent and its workers. */
struct worker {
	char doing[PATH_SIZE + 64]; /* so that a crash can be put down to something */
	uint64_t clusters, steps, failures, known, faults[FAULTS_COUNT];
};

static struct worker *workers;
static uint64_t *taken; /* of the files, and then of the seeds: by some worker */
static char *files[FILES_MAX];
static unsigned nfiles;
static char *known[FILES_MAX];
static unsigned nknown;

static bool is_known(const char *name)
{
	for (unsigned i = 0; i < nknown; i++)
		if (!strcmp(known[i], name))
			return true;
	return false;
}

static bool play(const struct options *o, struct worker *me, const struct script *s,
		 uint64_t seed, unsigned members, const char *repeat)
{
	struct world *w = memory_get(sizeof(*w));
	bool ok;

	world_init(w, seed, members, o->verbose);
	script_run(s, w);
	world_free(w);
	ok = !w->failed;
	me->clusters++;
	me->steps += w->steps;
	for (unsigned i = 0; i < FAULTS_COUNT; i++)
		me->faults[i] += w->faults[i];
	if (!ok && is_known(s->name)) {
		me->known++;
		printf("known failure: %s: at %.4f s: %s\n", s->name,
		       (double)w->now / 1e9, w->failure);
		ok = true;
	} else if (!ok) {
		me->failures++;
		printf("FAIL: sim %s: at %.4f s: %s\n", repeat, (double)w->now / 1e9,
		       w->failure);
	} else if (is_known(s->name)) {
		printf("%s does not fail any more: take it off the list\n", s->name);
	}
	fflush(stdout);
	memory_put(w);
	return ok;
}

static bool run_file(const struct options *o, struct worker *me, const char *path)
{
	char error[256], repeat[PATH_SIZE + 64];
	struct script *s;
	uint64_t seed;
	unsigned members;
	bool ok;

	s = script_load(path, error, sizeof(error));
	if (!s) {
		printf("%s\n", error);
		me->failures++;
		return false;
	}
	seed = o->seed ? o->seed : script_seed(s) ? script_seed(s) : 1;
	members = o->members ? o->members : script_members(s) ? script_members(s) : 3;
	snprintf(repeat, sizeof(repeat), "--seed %llu --members %u %s",
		 (unsigned long long)seed, members, path);
	snprintf(me->doing, sizeof(me->doing), "%s", repeat);
	ok = play(o, me, s, seed, members, repeat);
	script_free(s);
	return ok;
}

static bool run_seed(const struct options *o, struct worker *me, uint64_t seed)
{
	unsigned members = o->members ? o->members : mix_members(seed);
	char name[64], repeat[128], error[256];
	char *text = mix_write(seed, members, o->faults, o->harsh);
	struct script *s;
	bool ok;

	if (o->print) {
		fputs(text, stdout);
		memory_put(text);
		return true;
	}
	snprintf(name, sizeof(name), "seed %llu", (unsigned long long)seed);
	snprintf(repeat, sizeof(repeat), "--seed %llu --members %u --faults %u%s",
		 (unsigned long long)seed, members, o->faults, o->harsh ? "" : " --mild");
	snprintf(me->doing, sizeof(me->doing), "%s", repeat);
	s = script_parse(name, text, error, sizeof(error));
	if (!s) {
		printf("FAIL: sim %s: %s\n", repeat, error);
		me->failures++;
		return false;
	}
	ok = play(o, me, s, seed, members, repeat);
	script_free(s);
	return ok;
}

/* Whoever is done with one takes the next of the files, and then of the seeds. */
static void work(const struct options *o, unsigned index)
{
	struct worker *me = &workers[index];
	uint64_t next;
	bool ok = true;

	while ((ok || !o->stop) && (next = __atomic_fetch_add(
					taken, 1, __ATOMIC_RELAXED)) < nfiles + o->count)
		ok = next < nfiles ? run_file(o, me, files[next])
				   : run_seed(o, me, o->from + (next - nfiles));
}

static int work_apart(const struct options *o)
{
	pid_t pid[JOBS_MAX];
	int status, crashed = 0;

	fflush(stdout);
	for (unsigned i = 0; i < o->jobs; i++) {
		pid[i] = fork();
		if (pid[i] < 0) {
			perror("fork");
			exit(2);
		}
		if (!pid[i]) {
			work(o, i);
			exit(0);
		}
	}
	for (unsigned i = 0; i < o->jobs; i++)
		if (waitpid(pid[i], &status, 0) < 0 || status) {
			printf("FAIL: sim %s: it crashed (status %x)\n", workers[i].doing,
			       (unsigned)status);
			crashed++;
		}
	return crashed;
}

/* Seconds of processor time, of this process and its workers. */
static double work_time(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return (double)(self.ru_utime.tv_sec + children.ru_utime.tv_sec) +
	       (double)(self.ru_utime.tv_usec + children.ru_utime.tv_usec) / 1e6 + 1e-6;
}

static int report(const struct options *o, double seconds, int crashed)
{
	struct worker sum = { 0 };
	uint64_t all = 0;
	bool first = true;

	for (unsigned i = 0; i < o->jobs; i++) {
		sum.clusters += workers[i].clusters;
		sum.steps += workers[i].steps;
		sum.failures += workers[i].failures;
		sum.known += workers[i].known;
		for (unsigned k = 0; k < FAULTS_COUNT; k++)
			sum.faults[k] += workers[i].faults[k];
	}
	for (unsigned k = 0; k < FAULTS_COUNT; k++) {
		all += sum.faults[k];
		if (!sum.faults[k])
			continue;
		printf("%s%llu %s", first ? "" : ", ", (unsigned long long)sum.faults[k],
		       fault_names[k]);
		first = false;
	}
	if (!first)
		putchar('\n');
	sum.failures += (unsigned)crashed;
	if (sum.known)
		printf("%llu known failures\n", (unsigned long long)sum.known);
	printf("%llu clusters, %llu events, %llu faults, %.1f s, %.0f events per second "
	       "(%.0f of processor time), %llu failures\n",
	       (unsigned long long)sum.clusters, (unsigned long long)sum.steps,
	       (unsigned long long)all, seconds, (double)sum.steps / (seconds + 1e-6),
	       (double)sum.steps / work_time(), (unsigned long long)sum.failures);
	return sum.failures ? 1 : 0;
}

/* The scenarios. */

static const char *folder(void)
{
	static char path[PATH_SIZE];
	const char *source = getenv("srcdir");

	snprintf(path, sizeof(path), "%s/tests/sim", source ? source : ".");
	return path;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_files(void)
{
	char path[PATH_SIZE];
	struct dirent *entry;
	size_t len;
	DIR *d;

	snprintf(path, sizeof(path), "%s/scenarios", folder());
	d = opendir(path);
	if (!d) {
		perror(path);
		exit(2);
	}
	while ((entry = readdir(d))) {
		len = strlen(entry->d_name);
		if (len < 5 || strcmp(entry->d_name + len - 4, ".txt") ||
		    nfiles == FILES_MAX)
			continue;
		files[nfiles] = memory_get(strlen(path) + len + 2);
		sprintf(files[nfiles++], "%s/%s", path, entry->d_name);
	}
	closedir(d);
	qsort(files, nfiles, sizeof(files[0]), by_name);
	if (!nfiles) {
		fprintf(stderr, "%s: no scenarios\n", path);
		exit(2);
	}
}

/* A name a line, and why after a #. */
static void read_known(void)
{
	char path[PATH_SIZE], line[256];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/known.txt", folder());
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f) && nknown < FILES_MAX) {
		len = strcspn(line, "#\n");
		while (len && line[len - 1] == ' ')
			len--;
		line[len] = 0;
		if (!len)
			continue;
		known[nknown] = memory_get(len + 1);
		memcpy(known[nknown++], line, len + 1);
	}
	if (f)
		fclose(f);
}

static int list_files(void)
{
	int rc = 0;

	for (unsigned i = 0; i < nfiles; i++) {
		char error[256];
		struct script *s = script_load(files[i], error, sizeof(error));

		if (s)
			printf("%-36s %s\n", s->name, s->title);
		else
			rc = printf("%s\n", error) < 0 ? 2 : 1;
		script_free(s);
	}
	return rc;
}

static void forget_files(void)
{
	while (nfiles)
		memory_put(files[--nfiles]);
	while (nknown)
		memory_put(known[--nknown]);
}

static int usage(void)
{
	fprintf(
	    stderr,
	    "usage: sim [FILE... | --list | --seed N [--print] | --from N --count K]\n"
	    "           [--members M] [--faults K] [--jobs J] [--mild] [--stop] "
	    " [--verbose]\n");
	return 2;
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "from", required_argument, NULL, 'f' },
		{ "count", required_argument, NULL, 'c' },
		{ "members", required_argument, NULL, 'm' },
		{ "faults", required_argument, NULL, 'k' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "list", no_argument, NULL, 'l' },
		{ "print", no_argument, NULL, 'p' },
		{ "mild", no_argument, NULL, 'h' },
		{ "stop", no_argument, NULL, 'x' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (opt) {
		case 's':
			o->seed = v;
			break;
		case 'f':
			o->from = v;
			break;
		case 'c':
			o->count = v;
			break;
		case 'm':
			o->members = (unsigned)v;
			break;
		case 'k':
			o->faults = (unsigned)v;
			break;
		case 'j':
			o->jobs = (unsigned)v;
			break;
		case 'l':
			o->list = true;
			break;
		case 'p':
			o->print = true;
			break;
		case 'h':
			o->harsh = false;
			break;
		case 'x':
			o->stop = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		default:
			return -1;
		}
	}
	return o->members > NODES_MAX || !o->jobs || o->jobs > JOBS_MAX ? -1 : 0;
}

static double clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What is to be done, by the options. */
static void choose(struct options *o, int argc, char **argv)
{
	bool files_given = optind < argc;

	read_known();
	for (; optind < argc && nfiles < FILES_MAX; optind++) {
		files[nfiles] = memory_get(strlen(argv[optind]) + 1);
		memcpy(files[nfiles], argv[optind], strlen(argv[optind]) + 1);
		nfiles++;
	}
	if (!files_given && o->seed) {
		o->from = o->seed;
		o->count = 1;
	} else if (!files_given && !o->from && !o->count) {
		find_files();
		o->from = 1;
		o->count = CLUSTERS;
	} else if (!files_given && !o->from) {
		o->from = 1;
	} else if (!files_given && !o->count) {
		o->count = CLUSTERS;
	}
	if (nfiles + o->count < o->jobs || o->verbose)
		o->jobs = 1;
}

/* Memory of the parent and its workers. */
static void *share(size_t size)
{
	void *p =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

int main(int argc, char **argv)
{
	struct options o = { .faults = 4, .jobs = 2, .harsh = true };
	double began = clock_now();
	int crashed = 0, rc;

	if (parse(&o, argc, argv))
		return usage();
	choose(&o, argc, argv);
	workers = share(o.jobs * sizeof(*workers));
	taken = share(sizeof(*taken));
	if (o.list) {
		if (!nfiles)
			find_files();
		rc = list_files();
	} else if (o.print) {
		rc = !o.seed;
		if (o.seed)
			run_seed(&o, &workers[0], o.seed);
	} else {
		if (o.jobs == 1)
			work(&o, 0);
		else
			crashed = work_apart(&o);
		rc = report(&o, clock_now() - began, crashed);
	}
	forget_files();
	return rc;
}
