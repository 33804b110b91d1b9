/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: runs whole clusters of the real core under virtual time.
 *
 *   sim                      all named scenarios, then random seeds 1..120
 *   sim --seed N             one random mix (add --verbose to follow it)
 *   sim --from N --count K   random seeds N..N+K-1
 *   sim --scenario NAME      one named scenario, with the given seed
 *   --members M (3)  --steps K faults (8)
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scenarios.h"

struct options {
	uint64_t seed, from, count;
	unsigned members, steps;
	const char *scenario;
	bool verbose;
};

static uint64_t total_steps;

static bool run_one(const struct options *o, const struct scenario *s, uint64_t seed)
{
	struct world *w = malloc(sizeof(*w));
	bool ok;

	if (!w)
		abort();
	model_working = true;
	world_init(w, seed, o->members, o->verbose);
	if (s)
		s->run(w);
	else
		scenario_random(w, o->steps);
	ok = !w->failed;
	if (!ok)
		printf("FAIL %s%s--seed %llu --members %u --steps %u: at %.4f s: %s\n",
		       s ? "--scenario " : "", s ? s->name : "", (unsigned long long)seed,
		       o->members, o->steps, (double)w->now / 1e9, w->failure);
	total_steps += w->steps;
	world_free(w);
	free(w);
	return ok;
}

static int run_scenarios(const struct options *o, uint64_t seed)
{
	int failures = 0;

	for (unsigned i = 0; i < scenarios_count; i++)
		if (!o->scenario || !strcmp(o->scenario, scenarios[i].name))
			failures += !run_one(o, &scenarios[i], seed);
	return failures;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seed N | --from N --count K | --scenario NAME] "
			"[--members M] [--steps K] [--verbose]\n");
	return 2;
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "from", required_argument, NULL, 'f' },
		{ "count", required_argument, NULL, 'c' },
		{ "members", required_argument, NULL, 'm' },
		{ "steps", required_argument, NULL, 'k' },
		{ "scenario", required_argument, NULL, 'n' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		switch (opt) {
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			o->from = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			o->count = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			o->members = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'k':
			o->steps = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'n':
			o->scenario = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		default:
			return -1;
		}
	}
	return o->members < 1 || o->members > NODES_MAX ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct options o = { .members = 3, .steps = 8, .from = 1, .count = 120 };
	int failures = 0;

	if (parse(&o, argc, argv))
		return usage();
	if (o.scenario) {
		failures = run_scenarios(&o, o.seed ? o.seed : 1);
	} else if (o.seed) {
		failures = !run_one(&o, NULL, o.seed);
	} else {
		if (argc == 1)
			failures = run_scenarios(&o, 1);
		for (uint64_t s = o.from; s < o.from + o.count; s++)
			failures += !run_one(&o, NULL, s);
	}
	printf("%llu events, %d failures\n", (unsigned long long)total_steps, failures);
	return failures ? 1 : 0;
}
