/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the measuring programs share: time, an orderly end, gaps between arrivals, and the
 * events (a kill, a cut) that gaps are reported for. All times are CLOCK_MONOTONIC in
 * nanoseconds. Functions that cannot go on end the program with status 2.
 */
#ifndef TESTS_NET_TOOLS_COMMON_H
#define TESTS_NET_TOOLS_COMMON_H

#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#define EXIT_BAD 1     /* what was measured is not in order */
#define EXIT_TROUBLE 2 /* it could not be measured */

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

typedef int64_t ns_t;

ns_t now_ns(void);
double to_ms(ns_t t);

/* Makes SIGINT and SIGTERM set `stopped`; they are blocked but while wait_fd() waits. */
extern volatile sig_atomic_t stopped;
void catch_signals(void);
/* Lets both signals end the process as they do by default. */
void release_signals(void);

/*
 * Waits until events (POLLIN ...) of fd or the time `until`; returns what poll() found, 0 at
 * the time or on a signal. fd -1 waits for the time only.
 */
int wait_fd(int fd, short events, ns_t until);

void *must_realloc(void *old, size_t size);
/* A number from text that is nothing else. */
double must_number(const char *text, double min, double max);
void must_address(const char *text, struct in_addr *out);

/* Silences between arrivals; shorter ones than `least` are not kept. */
struct gap {
	ns_t from, to;
};

struct gaps {
	struct gap *at;
	size_t n, room;
	ns_t least;
	ns_t last; /* the last arrival */
};

/* The first gap begins at `start`. */
void gaps_init(struct gaps *g, ns_t start, ns_t least);
void gaps_arrival(struct gaps *g, ns_t now);
/* The longest of the gaps that touch [from, to); 0 if none. */
ns_t gaps_longest(const struct gaps *g, ns_t from, ns_t to);
void gaps_free(struct gaps *g);

/* An event lasts until the next one, the last until the end of the measurement. */
struct event {
	char name[64];
	ns_t from, to;
};

struct events {
	struct event *at;
	size_t n;
};

/*
 * Reads lines "NAME NANOSECONDS", in any order; empty lines and those that begin with # are
 * skipped, and events after `end` too. A name has no spaces.
 */
void events_read(struct events *e, const char *file, ns_t end);
void events_free(struct events *e);
/* Appends the event `name` at the present moment. */
void events_mark(const char *file, const char *name);

/* Writes JSON to the file ("-": standard output; NULL: nowhere) and releases it. */
void write_json(json_t *json, const char *file);

#endif
