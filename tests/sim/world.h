/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole cluster in one process under virtual time: nodes that run the real core, a
 * network that delays, loses, doubles and cuts, that may deliver what is long out of date,
 * a machine that may stop as a whole, and disks that keep activation numbers.
 *
 * world_step() advances to the next event and fires exactly that one. All randomness comes
 * from the seed, so a run repeats itself.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "cluster/cluster.h"

#define NODES_MAX 8

struct world;

struct node {
	struct world *w;
	unsigned index;
	member_id id;
	struct cluster *c; /* NULL: dead */
	bool frozen;
	bool able;
	/* Was not in the main part of a cut, and has not come to terms with it yet. */
	bool tainted;
	uint64_t clock; /* offset of its clock */
	uint64_t tick_at;
	uint64_t run;	 /* counts its starts: what was sent to or by another is lost */
	uint32_t disk;	 /* activation number */
	uint32_t handed; /* last activation number that units() was called with */
	struct unit_set owned;
	struct unit_set serving; /* as of the last check */
	uint8_t note[64];
	size_t note_len;
};

struct event {
	uint64_t at, order;
	enum { EV_DATAGRAM, EV_STREAM, EV_LINK_UP, EV_LINK_DOWN, EV_WORK } type;
	unsigned from, to;
	uint64_t generation;
	uint64_t runs[2]; /* of the sender and the receiver of a datagram */
	uint8_t *bytes;
	size_t len;
};

struct link {
	bool up;
	uint64_t generation;
	uint64_t last[2]; /* delivery time of the last stream message, by direction */
	unsigned queued;
	/* Messages that wait for the cut to heal, in order. */
	struct event *held;
	size_t nheld, cap;
};

struct world {
	uint64_t seed, random;
	uint64_t now, order, steps;
	bool verbose, failed;
	char failure[256];
	unsigned nnodes;
	struct node nodes[NODES_MAX];
	struct link links[NODES_MAX][NODES_MAX]; /* [low][high] */
	bool cut[NODES_MAX][NODES_MAX];
	struct event *heap;
	size_t nheap, cap;
	double loss, duplicate;
	double tardy; /* share of datagrams that take up to a second */
	bool stale;   /* a cut keeps the last datagrams, and delivers them after it */
	struct event *kept;
	size_t nkept, kept_cap;
	uint64_t delay, jitter;
	uint64_t healed_at; /* end of the last cut */
	bool balancing;
	/* More than one failure at a time: until all is well again, losses count for nothing. */
	bool several;
	struct model *model;
};

/* Where the model hooks in. */
struct model *model_new(struct world *w);
void model_free(struct model *m);
void model_gained(struct world *w, struct node *n, const struct unit_set *gained);
void model_lost(struct world *w, struct node *n, const struct unit_set *lost);
void model_work(struct world *w);    /* one random action of the outside world */
void model_check(struct world *w);   /* after each event */
void model_forgive(struct world *w); /* more than one failure at a time */
void model_stopped(struct world *w, struct node *n);
/* All is well: one master a part, every unit served, tables equal; and with `stores`
 * also every store equal to the owner's. NULL if so, else what is wrong. */
const char *model_unsettled(struct world *w, bool stores);
/* Sessions that were committed in the main part, and never removed, are with their owners. */
void model_nothing_lost(struct world *w);
unsigned model_sessions_of(struct world *w, struct node *n);
void model_put_sessions(struct world *w, struct node *n, unsigned count);
void model_burst(struct world *w, struct node *n);
extern bool model_working;

void world_init(struct world *w, uint64_t seed, unsigned members, bool verbose);
void world_free(struct world *w);
/* False when the next event is later than `until`, or the world has failed. */
bool world_step(struct world *w, uint64_t until);
void world_run(struct world *w, uint64_t duration);
/* Runs until all is well; fails if it is not within the bound. */
void world_settle(struct world *w, uint64_t bound, bool stores);
void world_fail(struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void world_log(struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t world_random(struct world *w, uint64_t below);
bool world_chance(struct world *w, double p);

/* Faults. */
void world_start(struct world *w, unsigned i);
void world_kill(struct world *w, unsigned i, bool note);
void world_freeze(struct world *w, unsigned i);
void world_thaw(struct world *w, unsigned i);
/* Members whose bit is set are cut off from the others. */
/* Delivers a datagram to `to` that `from` might have sent, now. */
void world_deliver(struct world *w, struct node *from, struct node *to,
		   const uint8_t *msg, size_t len);
/* The machine that runs them all stops for that time. */
void world_stall(struct world *w, uint64_t time);
void world_cut(struct world *w, uint32_t side);
void world_heal(struct world *w);

bool world_connected(const struct world *w, unsigned a, unsigned b);
/* The main part is the one with more living members than any other; none at a tie. */
bool world_in_main(const struct world *w, unsigned i);
bool world_split(const struct world *w);
struct mono world_now(const struct world *w, const struct node *n);
struct node *world_master(struct world *w);

#endif
