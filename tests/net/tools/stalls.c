/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stalls SECONDS: how long this machine lets a process wait that has real-time priority and
 * asks for nothing but its timer. Prints the longest wait in milliseconds.
 *
 * A member cannot tell a peer that is dead from one whose machine stands still: where
 * virtual machines are stopped by their host, the detection interval has to be longer than
 * that. This tells the lab by how much.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PERIOD_NS 5000000L

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	const struct sched_param priority = { .sched_priority = 10 };
	const struct timespec period = { 0, PERIOD_NS };
	uint64_t last, end, worst = 0;
	char *rest;
	double seconds;

	if (argc != 2 || (seconds = strtod(argv[1], &rest)) <= 0 || *rest) {
		fprintf(stderr, "usage: stalls SECONDS\n");
		return 2;
	}
	sched_setscheduler(0, SCHED_RR, &priority);
	last = now_ns();
	end = last + (uint64_t)(seconds * 1e9);
	while (last < end) {
		uint64_t now;

		clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
		now = now_ns();
		if (now - last > worst)
			worst = now - last;
		last = now;
	}
	printf("%llu\n", (unsigned long long)(worst / 1000000));
	return 0;
}
