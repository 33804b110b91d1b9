/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "src/cert.h"
#include "src/conf.h"
#include "src/conf_shared.h"
#include "src/daemon.h"
#include "src/filter.h"
#include "src/host.h"
#include "src/keeper.h"
#include "src/log.h"
#include "src/rtable.h"

#define EXIT_USAGE 2
#define REALTIME_PRIORITY 10

struct options {
	const char *path;
	bool check, print, debug, detach;
};

static void usage(FILE *out)
{
	fprintf(out,
		"usage: phalanxd [-dfnv] [-c FILE]\n"
		"       phalanxd --detach [-c FILE]\n"
		"\n"
		"  -c, --config FILE  configuration (default %s)\n"
		"  -d, --debug        log everything\n"
		"  -f, --foreground   stay in the foreground; it always does\n"
		"  -n, --check        check the configuration and exit\n"
		"  -v, --print        print the configuration as it was understood, and "
		"exit\n"
		"      --detach       take filter, routes and routing rules off this "
		"machine, and exit\n"
		"  -h, --help\n"
		"  -V, --version\n",
		CONF_PATH);
}

static void read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "debug", no_argument, NULL, 'd' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "check", no_argument, NULL, 'n' },
		{ "print", no_argument, NULL, 'v' },
		{ "detach", no_argument, NULL, 'D' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:dfnvhV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->path = optarg;
			break;
		case 'd':
			o->debug = true;
			break;
		case 'f':
			break;
		case 'n':
			o->check = true;
			break;
		case 'v':
			o->print = true;
			break;
		case 'D':
			o->detach = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'V':
			printf("phalanxd %s\n", PACKAGE_VERSION);
			exit(0);
		default:
			usage(stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind != argc) {
		fprintf(stderr, "phalanxd: unexpected argument %s\n", argv[optind]);
		usage(stderr);
		exit(EXIT_USAGE);
	}
}

static void make_directory(const char *path, mode_t mode)
{
	if (mkdir(path, mode) && errno != EEXIST)
		fatal("%s", path);
}

/*
 * A second daemon would put its own filter, which drops all, in the place of the first
 * one's. The lock is held by the keeper as well as by the member, so until both are gone.
 */
static void take_lock(const struct conf *conf)
{
	char path[CONF_PATH_MAX + 32];
	int fd;

	make_directory(conf->run_directory, 0755);
	snprintf(path, sizeof(path), "%s/phalanxd.lock", conf->run_directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fatal("%s", path);
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return;
	if (errno == EWOULDBLOCK)
		fatalx("another phalanxd is running: it holds %s", path);
	fatal("%s", path);
}

static int detach(const struct conf *conf)
{
	struct netlink *n;
	int status = 0;

	for (unsigned i = 0; i < conf->nnetworks; i++) {
		int err = filter_detach(conf->networks[i].interface);

		if (err && err != -ENOENT) {
			log_warnx("%s: %s", conf->networks[i].interface, strerror(-err));
			status = 1;
		}
	}
	if (!netlink_open(&n)) {
		int err = rtable_remove(n);

		if (err) {
			log_warnx("routes of the tunnels: %s", strerror(-err));
			status = 1;
		}
		netlink_close(n);
	}
	return status;
}

/* Which of the listed members this machine is: its certificate says so. */
static const struct conf_member *find_self(const struct conf *conf)
{
	char name[CLUSTER_NAME_MAX], err[CERT_ERR];
	const struct conf_member *self;
	member_id id;

	if (cert_read_file(conf->certificate, name, &id, err) ||
	    cert_check_files(conf->certificate, conf->key, conf->authority, err))
		fatalx("%s", err);
	if (*conf->node && strcmp(conf->node, name)) {
		log_warnx("%s is the certificate of %s, but node is %s",
			  conf->certificate, name, conf->node);
		exit(CONF_EXIT);
	}
	self = conf_member_named(conf, name);
	if (!self || self->id != id) {
		log_warnx(
		    "%s is the certificate of %s with id %u, which is not among the "
		    "configured members",
		    conf->certificate, name, id);
		exit(CONF_EXIT);
	}
	return self;
}

static void check_host(const struct conf *conf)
{
	struct host_network networks[CONF_NETWORKS_MAX];
	char err[HOST_ERROR_SIZE];

	for (unsigned i = 0; i < conf->nnetworks; i++)
		networks[i] = (struct host_network){ conf->networks[i].interface,
						     conf->networks[i].addresses,
						     conf->networks[i].naddresses };
	if (host_check(networks, conf->nnetworks, err))
		fatalx("%s", err);
}

/* In the parent, when the member is dead: the filter closes before anything else. */
static void at_death(void *ctx)
{
	filter_revoke(*(int *)ctx);
}

static char **arguments;

/* In the parent, when the member wants to use another configuration. */
static void again(void *ctx)
{
	execv("/proc/self/exe", arguments);
}

/* Secrets must not end up in a core file or in swap-backed dumps. */
static void no_core(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
}

/*
 * A member that waits for a processor behind other programs is late with its keepalives
 * and with its lease, so it goes before them. Without the right to it works as it can.
 */
static void go_first(void)
{
	const struct sched_param priority = { .sched_priority = REALTIME_PRIORITY };

	if (sched_setscheduler(0, SCHED_RR, &priority))
		log_info("runs without real-time priority: %s", strerror(errno));
}

static int run(const struct conf *conf, const struct conf_member *self)
{
	int lease = filter_lease_open();
	const struct keeper_config keeper = { at_death, &lease, again };
	char err[DAEMON_ERROR_SIZE];
	struct keeper_page *page;
	struct daemon *d;
	int status;

	if (lease < 0)
		fatalx("cannot make a BPF map: %s", strerror(-lease));
	go_first();
	page = keeper_run(&keeper);
	if (!page)
		fatal("cannot fork");
	signal(SIGPIPE, SIG_IGN);
	d = daemon_new(conf, self, lease, page, err);
	if (!d)
		fatalx("%s", err);
	status = daemon_run(d);
	daemon_free(d);
	log_info("left");
	return status;
}

int main(int argc, char **argv)
{
	struct options options = { .path = CONF_PATH };
	const struct conf_member *self;
	struct conf *conf;
	bool newer = false;
	int status = 0;

	arguments = argv;
	read_options(argc, argv, &options);
	conf = options.check || options.print
		   ? conf_read(options.path, stderr)
		   : conf_shared_read(options.path, &newer, stderr);
	if (!conf)
		return CONF_EXIT;
	if (options.print)
		conf_print(conf, stdout);
	if (options.check || options.print) {
		conf_free(conf);
		return 0;
	}
	log_init(options.debug ? LOG_LEVEL_DEBUG : conf->log_level, false);
	if (options.detach) {
		take_lock(conf);
		status = detach(conf);
		conf_free(conf);
		return status;
	}
	if (newer)
		log_info("uses configuration version %u, which another member gave, from "
			 "%s; %s has a lower one",
			 conf->version, conf->state_directory, options.path);
	no_core();
	self = find_self(conf);
	check_host(conf);
	take_lock(conf);
	make_directory(conf->state_directory, 0700);
	status = run(conf, self);
	conf_free(conf);
	return status;
}
