/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole cluster in one process under virtual time: nodes that run the real core, a
 * network that delays, loses, doubles and cuts, that may deliver what is long out of date,
 * machines that stop alone or together, clocks that run at rates of their own, memory that
 * is short, and disks that keep activation numbers, or lose them.
 *
 * world_step() advances to the next event and fires exactly that one. All randomness comes
 * from the seed, so a run repeats itself.
 *
 * A *part* is a set of members that reach one another, if need be through others that have
 * joined. The main
 * part is the one with more living members than any other. A member that was outside of
 * the main part is *tainted* until it has come to terms with that. Members that share a
 * past are on one *side*: the numbers of a session are unique within it.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "cluster/cluster.h"

#define NODES_MAX CLUSTER_MEMBERS_MAX

/* A build that takes several times as long for the same. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_SLOW
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
#define SIM_SLOW
#endif

/* What is done to a cluster, for the count at the end. */
#define FAULTS(X)                                                                        \
	X(kill, "kills")                                                                 \
	X(restart, "restarts")                                                           \
	X(lost_state, "lost state directories")                                          \
	X(freeze, "freezes")                                                             \
	X(stall, "stalls of all")                                                        \
	X(cut, "cuts")                                                                   \
	X(pair_cut, "cuts between two")                                                  \
	X(one_way, "one-way cuts")                                                       \
	X(unable, "members unable to work")                                              \
	X(drain, "drains")                                                               \
	X(leave, "leaves")                                                               \
	X(slow, "slow links")                                                            \
	X(broken, "broken streams")                                                      \
	X(clogged, "clogged streams")                                                    \
	X(skew, "skewed clocks")                                                         \
	X(lost, "datagrams lost")                                                        \
	X(doubled, "datagrams doubled")                                                  \
	X(late, "datagrams late or stale")                                               \
	X(queue, "full queues")                                                          \
	X(memory, "failed allocations")                                                  \
	X(full, "full disks")

enum fault {
#define X(name, text) FAULT_##name,
	FAULTS(X)
#undef X
	    FAULTS_COUNT
};

extern const char *const fault_names[FAULTS_COUNT];

struct world;
struct event;

struct node {
	struct world *w;
	unsigned index;
	member_id id;
	struct cluster *c; /* NULL: dead */
	bool frozen;
	bool able;
	bool tainted;
	bool rejoining; /* begins anew, and is to have the past of whom it joins */
	bool expelled;	/* until it has joined again */
	bool woken;	/* was stopped, and may have missed what became of its part */
	bool complete;	/* says so */
	unsigned part, side;
	bool main;	/* in the main part */
	uint64_t clock; /* offset of its clock */
	int64_t skew;	/* how much too fast it goes, in parts per million */
	uint32_t capacity;
	uint64_t tick_at;
	uint64_t run;	 /* counts its starts */
	uint32_t disk;	 /* activation number */
	bool full;	 /* the disk, which takes no other one */
	uint32_t handed; /* last activation number that units() was called with */
	struct unit_set owned;
	bool activated; /* units, in the call before */
	uint64_t touches, gains;
	struct unit_set fresh; /* these, while w->gained is to be called */
	uint8_t note[64];
	size_t note_len;
	/* What came while it was frozen, in order. */
	struct event **held;
	size_t nheld, held_cap;
};

/* What one end opens datagrams with, see src/seal.h. */
struct opener {
	uint64_t key; /* 0: none */
	uint64_t highest;
};

/* The connection of two nodes. Directions: 0 is from the lower index. */
struct link {
	bool up;
	uint64_t generation;
	/* Each connection that comes up has a new key. One that has begun anew has none until
	 * then; the other end does not know that, and goes on with the last one. */
	uint64_t keys;
	struct {
		uint64_t seals, sequence;
		struct opener opens[2]; /* the current and the previous one */
	} sealed[2];
	uint64_t last[2]; /* delivery time of the last stream message */
	size_t queued[2]; /* bytes under way */
	bool cut[2];   /* datagrams of that direction are lost, and the stream stalls */
	uint64_t slow; /* delay on top of the network's */
	uint64_t byte_ns; /* time that a byte takes, 0: none */
	uint64_t busy[2]; /* until when the line is busy with earlier bytes */
	bool stalled;	  /* the cut has healed, and TCP has not noticed yet */
	bool clogged;	  /* the stream delivers nothing; datagrams come */
	/* Messages that wait for the cut to heal, in order. */
	struct event **held;
	size_t nheld, held_cap;
};

struct place {
	uint64_t at, order;
	struct event *e;
};

struct world {
	uint64_t seed, random;
	uint64_t now, order, steps;
	bool verbose, failed;
	char failure[256];
	unsigned nnodes;
	struct node nodes[NODES_MAX];
	struct link links[NODES_MAX][NODES_MAX]; /* [low][high] */
	struct place *heap;
	size_t nheap, cap;
	uint32_t touched; /* nodes that something has happened to in this step */
	uint64_t faults[FAULTS_COUNT];

	/* The network. */
	double loss, duplicate;
	double tardy; /* share of datagrams that take up to a second */
	bool stale;   /* a cut keeps the last datagrams, and delivers them after it */
	struct event **kept;
	size_t nkept, kept_cap;
	uint64_t delay, jitter;
	size_t queue; /* bytes that a stream takes */
	bool cuts;    /* there are any */
	bool split;   /* into several parts */
	unsigned sides;
	uint64_t healed_at; /* end of the last cut */

	uint64_t detection;
	uint64_t hold_back;  /* of unsteady members, 0: none */
	double short_memory; /* share of the core's allocations that fail */
	bool balancing;
	bool working; /* the model acts */
	/* More than one failure at a time: until all is well, a loss of sessions is none. */
	bool several;
	uint16_t owners[CLUSTER_UNITS]; /* how many nodes own it */
	unsigned multiple;		/* units that several own */
	struct model *model;
	/* Of a test with sessions of its own: units were gained, and the call has returned. */
	void (*gained)(struct world *w, struct node *n, const struct unit_set *units);
	void *own;
};

/* Where the model hooks in (model.c). */
struct model *model_new(void);
void model_free(struct model *m);
void model_gained(struct world *w, struct node *n, const struct unit_set *gained);
void model_activate(struct world *w, struct node *n); /* when that call has returned */
/* Whose copy of a session of the model is right. */
enum cluster_merge model_merge(const struct session *ours, const struct session *theirs);
void model_lost(struct world *w, struct node *n, const struct unit_set *lost);
void model_work(struct world *w);    /* one random action of the outside world */
void model_forgive(struct world *w); /* more than one failure at a time */
void model_complete(struct world *w, struct node *n); /* it says that it is */
void model_stopped(struct world *w, struct node *n);
void model_sided(struct world *w, struct node *n); /* takes its side's past over */
void model_well(struct world *w); /* all are on the main side; its past is the owners' */
/* Sessions that were committed in the main part, and never removed, are with their owners. */
void model_nothing_lost(struct world *w);
unsigned model_sessions_of(struct world *w, struct node *n);
void model_put_sessions(struct world *w, struct node *n, unsigned count);
/* Creates many plain sessions, on whoever serves their units, and watches over them. */
void model_mass(struct world *w, unsigned count);
void model_burst(struct world *w, struct node *n);
/* The unit of the i-th session that exists. False if there are not so many. */
bool model_session(struct world *w, unsigned i, unit_id *unit);

/* What must always hold (check.c). */
void check_gained(struct world *w, struct node *n);
void check_node(struct world *w, struct node *n); /* something has happened to it */
/* All is well: one master a part, every unit served, tables equal; and with `stores`
 * also every store equal to the owner's. NULL if so, else what is wrong. */
const char *check_unsettled(struct world *w, bool stores);
/* NULL if no move of a unit would narrow the gap between two members' loads. */
const char *check_unbalanced(struct world *w);
/* The number of units that nobody serves. */
unsigned check_unserved(struct world *w);
/* The core's memory, by its sessions. */
void check_memory(struct world *w);

/* Life (world.c). */
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
struct mono world_now(const struct world *w, const struct node *n);
struct node *world_master(struct world *w);
unsigned world_running(const struct world *w); /* able to work, too */
bool world_alive(const struct node *n);	       /* and not frozen */
bool world_fit(const struct node *n);	       /* alive, able, and its disk is not full */
/* The core of this node was called: its timer is looked at, and it is checked. */
void world_touch(struct world *w, struct node *n);

/* What happens to members. */
void world_start(struct world *w, unsigned i);
void world_kill(struct world *w, unsigned i, bool note);
void world_freeze(struct world *w, unsigned i);
void world_thaw(struct world *w, unsigned i);
void world_set_able(struct world *w, unsigned i, bool able);
void world_leave(struct world *w, unsigned i);
/* The machine that runs them all stops for that time. */
void world_stall(struct world *w, uint64_t time);
/* Delivers a datagram to `to` that `from` might have sent, now. */
void world_deliver(struct world *w, struct node *from, struct node *to,
		   const uint8_t *msg, size_t len);
/* Before something is done to a healthy cluster; if it is not, see `several`. */
void world_judge(struct world *w);

/* The network (network.c). */
struct link *network_link(struct world *w, unsigned a, unsigned b);
/* Datagrams from a reach b. */
bool network_reaches(const struct world *w, unsigned a, unsigned b);
/* Both ways: streams flow. */
bool network_connected(const struct world *w, unsigned a, unsigned b);
void network_datagram(struct world *w, unsigned from, unsigned to, const uint8_t *msg,
		      size_t len);
int network_stream(struct world *w, unsigned from, unsigned to, const uint8_t *msg,
		   size_t len);
void network_schedule(struct world *w, unsigned a, unsigned b, bool up, uint64_t after);
void network_break(struct world *w, unsigned i, uint64_t within);
void network_started(struct world *w, unsigned i);
/* Members whose bit is set are cut off from the others. */
void network_cut(struct world *w, uint32_t side);
/* These two only; or what the first sends to the second. */
void network_cut_pair(struct world *w, unsigned a, unsigned b, bool one_way);
void network_heal(struct world *w);
/* The stream of these two delivers nothing, or does so again. */
void network_clog(struct world *w, unsigned a, unsigned b, bool clogged);
/* After a cut, or when somebody stopped or came back: who is in which part. */
void network_parts(struct world *w);
void network_fire(struct world *w, struct event *e);
void network_discard_held(struct node *n);
void network_free(struct world *w);

/* Events (events.c). */
enum event_type { EV_DATAGRAM, EV_STREAM, EV_LINK_UP, EV_LINK_DOWN, EV_RESUME, EV_WORK };

struct event {
	uint64_t at;
	enum event_type type;
	unsigned from, to;
	uint64_t generation;
	bool arrived;		/* in the stopped receiver's socket */
	uint64_t key, sequence; /* of a datagram */
	size_t len;
	uint8_t bytes[];
};

struct event *event_new(enum event_type type, unsigned from, unsigned to,
			const uint8_t *bytes, size_t len);
void event_push(struct world *w, struct event *e, uint64_t at);
struct event *event_pop(struct world *w);
void event_append(struct event ***list, size_t *n, size_t *cap, struct event *e);

#endif
