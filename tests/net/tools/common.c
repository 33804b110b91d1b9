/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/net/tools/common.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_EVENTS 10000

volatile sig_atomic_t stopped;
static sigset_t unblocked;

ns_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

double to_ms(ns_t t)
{
	return (double)t / (double)NS_PER_MS;
}

static void on_stop(int signal)
{
	stopped = 1;
}

void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_stop };
	sigset_t both;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&both);
	sigaddset(&both, SIGINT);
	sigaddset(&both, SIGTERM);
	sigprocmask(SIG_BLOCK, &both, &unblocked);
	/* A program started in a script's background would inherit SIGINT ignored. */
	sigdelset(&unblocked, SIGINT);
	sigdelset(&unblocked, SIGTERM);
}

void release_signals(void)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &unblocked, NULL);
}

int wait_fd(int fd, short events, ns_t until)
{
	struct pollfd p = { fd, events, 0 };
	ns_t left = until - now_ns();
	struct timespec t = { 0 };

	if (left > 0) {
		t.tv_sec = left / NS_PER_S;
		t.tv_nsec = left % NS_PER_S;
	}
	if (ppoll(&p, 1, &t, &unblocked) <= 0)
		return 0;
	return p.revents;
}

void *must_realloc(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (p == NULL)
		err(EXIT_TROUBLE, "memory");
	return p;
}

double must_number(const char *text, double min, double max)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (errno != 0 || end == text || *end != '\0' || !(v >= min && v <= max))
		errx(EXIT_TROUBLE, "%s: a number from %.15g to %.15g was expected", text,
		     min, max);
	return v;
}

void must_address(const char *text, struct in_addr *out)
{
	if (inet_pton(AF_INET, text, out) != 1)
		errx(EXIT_TROUBLE, "%s: an IPv4 address was expected", text);
}

void gaps_init(struct gaps *g, ns_t start, ns_t least)
{
	*g = (struct gaps){ .least = least, .last = start };
}

void gaps_arrival(struct gaps *g, ns_t now)
{
	if (now - g->last >= g->least) {
		if (g->n == g->room) {
			g->room = g->room ? 2 * g->room : 1024;
			g->at = must_realloc(g->at, g->room * sizeof(*g->at));
		}
		g->at[g->n++] = (struct gap){ g->last, now };
	}
	g->last = now;
}

ns_t gaps_longest(const struct gaps *g, ns_t from, ns_t to)
{
	ns_t longest = 0;

	for (size_t i = 0; i < g->n; i++) {
		const struct gap *gap = &g->at[i];

		if (gap->to > from && gap->from < to && gap->to - gap->from > longest)
			longest = gap->to - gap->from;
	}
	return longest;
}

void gaps_free(struct gaps *g)
{
	free(g->at);
	*g = (struct gaps){ 0 };
}

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

void events_read(struct events *e, const char *file, ns_t end)
{
	char line[256];
	FILE *from;

	*e = (struct events){ 0 };
	if (file == NULL)
		return;
	from = fopen(file, "r");
	if (from == NULL)
		err(EXIT_TROUBLE, "%s", file);
	for (unsigned int no = 1; fgets(line, sizeof(line), from) != NULL; no++) {
		struct event v = { .to = end };

		if (line[0] == '#' || line[strspn(line, " \t\n")] == '\0')
			continue;
		if (sscanf(line, "%63s %" SCNd64, v.name, &v.from) != 2 ||
		    e->n == MAX_EVENTS)
			errx(EXIT_TROUBLE, "%s:%u: NAME NANOSECONDS was expected", file,
			     no);
		if (v.from >= end)
			continue;
		e->at = must_realloc(e->at, (e->n + 1) * sizeof(v));
		e->at[e->n++] = v;
	}
	fclose(from);
	if (e->n == 0)
		return;
	qsort(e->at, e->n, sizeof(e->at[0]), by_time);
	for (size_t i = 0; i + 1 < e->n; i++)
		e->at[i].to = e->at[i + 1].from;
}

void events_free(struct events *e)
{
	free(e->at);
	*e = (struct events){ 0 };
}

void events_mark(const char *file, const char *name)
{
	FILE *to = fopen(file, "a");

	if (to == NULL)
		err(EXIT_TROUBLE, "%s", file);
	fprintf(to, "%s %" PRId64 "\n", name, now_ns());
	if (fclose(to) != 0)
		err(EXIT_TROUBLE, "%s", file);
}

void write_json(json_t *json, const char *file)
{
	FILE *to = NULL;

	if (json == NULL)
		errx(EXIT_TROUBLE, "making JSON");
	if (file != NULL)
		to = strcmp(file, "-") == 0 ? stdout : fopen(file, "w");
	if (file != NULL && to == NULL)
		err(EXIT_TROUBLE, "%s", file);
	if (to != NULL) {
		json_dumpf(json, to, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		putc('\n', to);
		if ((to == stdout ? fflush(to) : fclose(to)) != 0)
			err(EXIT_TROUBLE, "%s", file);
	}
	json_decref(json);
}
