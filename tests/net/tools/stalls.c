/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stalls [SECONDS]: how long this machine lets a process wait that has real-time priority
 * and asks for nothing but its timer. Prints the longest wait in milliseconds, after so many
 * seconds, or on SIGTERM, or when its parent has died.
 *
 * A member cannot tell a peer that is dead from one whose machine stands still: where
 * virtual machines are stopped by their host, the detection interval has to be longer than
 * that. This tells the lab by how much. The host may stop each processor alone, so every
 * one of them is watched.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 10000000L

static atomic_ullong worst;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void note(uint64_t wait)
{
	unsigned long long before = atomic_load(&worst);

	while (wait > before && !atomic_compare_exchange_weak(&worst, &before, wait))
		;
}

static void *watch(void *arg)
{
	const struct timespec period = { 0, PERIOD_NS };
	uint64_t last, now;
	cpu_set_t own;

	CPU_ZERO(&own);
	CPU_SET((uintptr_t)arg, &own);
	pthread_setaffinity_np(pthread_self(), sizeof(own), &own);
	for (last = now_ns();; last = now) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
		now = now_ns();
		note(now - last);
	}
	return NULL;
}

/* Ends with the process. */
static int watch_all(void)
{
	cpu_set_t all;
	pthread_t thread;

	if (sched_getaffinity(0, sizeof(all), &all))
		return -1;
	for (uintptr_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && pthread_create(&thread, NULL, watch, (void *)i))
			return -1;
	return 0;
}

/* For ever if there are no seconds. */
static void wait_for_end(const sigset_t *signals, double seconds)
{
	const struct timespec time = { (time_t)seconds,
				       (long)((seconds - (time_t)seconds) * 1e9) };

	if (seconds > 0)
		sigtimedwait(signals, NULL, &time);
	else
		sigwaitinfo(signals, NULL);
}

int main(int argc, char **argv)
{
	const struct sched_param priority = { .sched_priority = 10 };
	double seconds = 0;
	sigset_t signals;
	char *rest;

	if (argc > 2 ||
	    (argc == 2 && ((seconds = strtod(argv[1], &rest)) <= 0 || *rest))) {
		fprintf(stderr, "usage: stalls [SECONDS]\n");
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (argc == 1)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	sched_setscheduler(0, SCHED_RR, &priority);
	if (watch_all()) {
		perror("stalls");
		return 1;
	}
	wait_for_end(&signals, seconds);
	printf("%llu\n", atomic_load(&worst) / 1000000);
	return 0;
}
