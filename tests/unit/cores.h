/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several members' cores in one process, under virtual time, on a network that delivers
 * everything in order after 100 us unless a test says otherwise. Random clusters with
 * faults are the simulator's (tests/sim); here each step is a test's own.
 */
#ifndef TESTS_UNIT_CORES_H
#define TESTS_UNIT_CORES_H

#include "cluster/cluster.h"
#include "cluster/wire.h"

#define CORES_MAX 6
#define CORES_LINES 400

struct cores;

/* Member number i has the id 10 * (i + 1) and the name "m<i + 1>". */
struct core {
	struct cores *all;
	unsigned index;
	member_id id;
	struct cluster_config config; /* as cores_start() uses it */
	struct cluster *c;	      /* NULL: not running */
	bool stopped;		      /* takes nothing and ticks not (SIGSTOP) */
	uint64_t slow;		      /* its timers come late by this */
	struct mono overdue;	      /* when a tick comes that is late already */
	uint32_t disk;		      /* activation number */
	struct unit_set owned;
	/* What its upcalls have told. */
	bool approves; /* has a join_asked(): set it before cores_start() */
	unsigned asked, joined, departed;
	member_id asked_id, departed_id;
	uint64_t asked_incarnation;
	char departed_why[64];
	const char *config_text; /* what it gives to others */
	char config_got[256];
	uint32_t config_version;
	unsigned configs;
	int errand_result; /* what it says to an errand */
	unsigned errands;
	struct cluster_asker asker;
	uint8_t errand[CLUSTER_ERRAND_MAX];
	size_t errand_len;
	char lines[CORES_LINES][160]; /* the log, in a ring */
	unsigned nlines;
};

struct parcel;

struct cores {
	unsigned n;
	struct core at[CORES_MAX];
	struct mono now;
	uint64_t random;
	bool cut[CORES_MAX][CORES_MAX]; /* from, to */
	bool linked[CORES_MAX][CORES_MAX];
	/* True: the datagram is lost. May be NULL. */
	bool (*lose)(struct cores *k, unsigned from, unsigned to,
		     const struct wire_header *h);
	unsigned sent[CORES_MAX][WIRE_TYPES]; /* datagrams and messages, by type */
	struct parcel *first, **last;
};

/* Members that are able, with balancing off. Nobody runs yet. */
struct cores *cores_new(unsigned n);
void cores_free(struct cores *k);
/* A new run; its links come up at once. */
void cores_start(struct cores *k, unsigned i);
void cores_start_all(struct cores *k);
/* Its links break; with `note`, its death note is sent. */
void cores_kill(struct cores *k, unsigned i, bool note);
void cores_cut(struct cores *k, unsigned a, unsigned b, bool cut);
void cores_run(struct cores *k, uint64_t time);
/* Hands a datagram over as if `from` had sent it. */
void cores_deliver(struct cores *k, member_id from, unsigned to, const uint8_t *msg,
		   size_t len);

/* True when all that run are in one cluster, complete, and all units have owners. */
bool cores_settled(struct cores *k);
unsigned cores_masters(struct cores *k);
/* The index of the only master; fails the test if there is none or another. */
unsigned cores_master(struct cores *k);
struct cluster_member_state cores_view(struct cores *k, unsigned i, unsigned of);
uint64_t cores_statistic(struct cores *k, unsigned i, const char *name);
/* Whether it has logged a line with this text. */
bool cores_logged(struct cores *k, unsigned i, const char *text);

/* Runs until the condition holds; fails the test after `limit` of virtual time. */
#define cores_wait(k, limit, condition)                                                  \
	do {                                                                             \
		struct mono end = mono_add((k)->now, limit);                             \
		while (!(condition)) {                                                   \
			if (!mono_before((k)->now, end))                                 \
				fail_msg("never: %s", #condition);                       \
			cores_run(k, MONO_MS);                                           \
		}                                                                        \
	} while (0)

#endif
