/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cluster: membership, election, ownership and replication as one pure machine.
 *
 * It holds no socket, clock or random source. Messages and time come in through
 * cluster_recv_*() and cluster_tick(); all effects leave through struct cluster_io. So one
 * process can run a whole cluster under virtual time (tests/sim).
 *
 * What it offers to the tunnels is small: a store of *sessions*. A session is a key, a
 * work unit, and bytes: the initial part (set once), the essential part (set on change)
 * and a few cumulative counters. The owner of a unit changes its sessions; the cluster
 * carries the changes to all other members and says when they are *committed*, which
 * means: held by the unit's successor as well.
 *
 * Calls are not reentrant: an io callback must not call a cluster_* function that takes
 * `now`; it notes what it has to do and does it when the outer call has returned. The
 * read-only functions may be called from callbacks.
 */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/mono.h"

#ifndef CLUSTER_UNITS /* fewer only where a fuzzer wants to be fast */
#define CLUSTER_UNITS 1024
#endif
#define CLUSTER_MEMBERS_MAX 32
#define CLUSTER_ID_MAX 1023 /* member ids are 1..1023: ten bits of an ESP IV */
#define CLUSTER_NAME_MAX 64
#define CLUSTER_KEY_MAX 16
#define CLUSTER_COUNTERS 2
#define CLUSTER_MESSAGE_MAX 65536 /* bytes of one stream message */
#define CLUSTER_DATAGRAM_MAX 1232 /* bytes of one datagram, before sealing */
#define CLUSTER_STRESS_MAX 8
#define CLUSTER_PARTS_MAX 8
#define CLUSTER_ACTIVATION_MAX ((1u << 22) - 1)

typedef uint16_t member_id; /* 0: nobody */
typedef uint16_t unit_id;   /* 0..1023 */

struct cluster;
struct session;

/* One bit a work unit. */
struct unit_set {
	uint64_t bits[CLUSTER_UNITS / 64];
};

static inline bool unit_set_has(const struct unit_set *s, unit_id u)
{
	return s->bits[u / 64] >> (u % 64) & 1;
}

static inline void unit_set_add(struct unit_set *s, unit_id u)
{
	s->bits[u / 64] |= UINT64_C(1) << (u % 64);
}

static inline void unit_set_remove(struct unit_set *s, unit_id u)
{
	s->bits[u / 64] &= ~(UINT64_C(1) << (u % 64));
}

/* `type` is the tunnel's own kind of record; `bytes` beyond `len` are zero. */
struct session_key {
	uint8_t type;
	uint8_t len;
	uint8_t bytes[CLUSTER_KEY_MAX];
};

struct cluster_peer {
	member_id id;
	char name[CLUSTER_NAME_MAX];
};

/*
 * The part of the configuration that is the same on all members: its version, and digests of
 * its named parts. A member with another one is not let in; with an older version it fetches
 * the newer one first. Version 0: not compared.
 */
struct cluster_shared {
	uint32_t version;
	unsigned nparts;
	struct {
		char name[16];
		uint64_t digest;
	} parts[CLUSTER_PARTS_MAX];
};

struct cluster_config {
	member_id self;
	uint64_t detection;  /* interval in ns: 50 ms .. 5 s */
	uint32_t capacity;   /* relative weight of this machine, 1.. */
	uint32_t moves;	     /* units moved per balancing round, 0: never */
	uint64_t balance;    /* ns between balancing rounds */
	uint32_t activation; /* last activation number that this member used, from disk */
	bool drained;	     /* as cluster_drained() said at the end of the last run */
	/* ns that a member which died by itself for the third time waits before it is let in
	 * again, doubled for each further death; 0: none waits */
	uint64_t hold_back;
	struct cluster_shared shared;
	unsigned npeers; /* valid members, this one included */
	struct cluster_peer peers[CLUSTER_MEMBERS_MAX];
};

enum cluster_role {
	CLUSTER_JOINING,  /* no master known yet */
	CLUSTER_OFFERING, /* has offered to become master */
	CLUSTER_MEMBER,
	CLUSTER_MASTER,
	CLUSTER_LEFT, /* cluster_leave() has finished */
};

/*
 * Whose copy of a session is right, after a cut. The upcall is made for each session of the
 * unit that either side has; ours or theirs is NULL where a side has none. Nothing has been
 * changed yet, so all calls see the same: what belongs together must be judged alike, with
 * cluster_find(), cluster_each(), cluster_offered() and cluster_each_offered(). Theirs have
 * no user pointer, and session_silence() of theirs is UINT64_MAX unless their part has
 * heard the peer during the cut. `counters` are the larger ones of both; they may be changed.
 */
enum cluster_merge {
	CLUSTER_OURS,	/* as it is here, or not at all */
	CLUSTER_THEIRS, /* as it is there, or not at all */
};

/* Who has an errand: for cluster_answer(). */
struct cluster_asker {
	member_id from;
	uint64_t incarnation;
	uint32_t number;
};

/*
 * Effects. `ctx` is handed back. Messages are borrowed for the call.
 *
 * datagram  best effort, at most CLUSTER_DATAGRAM_MAX bytes; sealed by the caller's side.
 * stream    ordered and reliable while the link lasts; 0, or -ENOTCONN, or -ENOBUFS when
 *           the peer takes nothing any more. After an error nothing of it is delivered and
 *           the link is reported down.
 * random    uniform bytes.
 * save_activation
 *           makes the number durable before it returns 0. On error nothing is activated,
 *           and the others give this member nothing until a later try, of a number that
 *           may be lost by it, goes well.
 * units     ownership by this member changed: `gained` were activated with the given
 *           activation number (the sessions are in the store), `lost` must be let go at
 *           once and without a word to any peer. Either may be empty, not both.
 * table     the owner table or the member list changed in any way.
 * changed   a session was created or changed here by another member: a shadow, or, between
 *           the loss and the gain of its unit, one that was merged.
 * removed   the session (of whatever owner) goes; `s` is valid until the call returns. Not
 *           called for cluster_remove() by the owner itself.
 * committed some positions became committed: look at what waits.
 * merge     another part of the cluster, which was cut off, has gone on with this unit of
 *           ours; see enum cluster_merge. NULL: the larger counter 1 wins, then ours.
 * counted   the committed value of one of the own session's counters grew. Without a
 *           successor it does when a unit is taken over, shortly before `units` says so.
 * role      the role, the term or the master changed.
 * give_up   the peer takes nothing: the stream is to be broken, and what waits in it is to
 *           be dropped. cluster_link() says when there is a new one. May be NULL.
 * refused   a message of this peer was refused; `why` is the name of a statistic. `fault`:
 *           no member of this version sends such a message; else it may have come too
 *           late or too early. May be NULL.
 * log       one line, without newline, at debug level.
 * join_asked
 *           at the master: a member wants to join; cluster_join_answer() says whether it
 *           may. NULL: everybody may.
 * joined, departed
 *           another member came into the member list, or is not in it any more. May be NULL.
 * config_text
 *           writes the shared configuration; returns its length, 0 if there is none. May be
 *           NULL.
 * config    a newer shared configuration has come, which this member was not let in without.
 *           May be NULL: then none is fetched.
 * asked     another member has an errand for the owner of a unit, who is this one: see
 *           cluster_ask(). Returns what became of it; or -EINPROGRESS, then
 *           cluster_answer() follows. May be NULL.
 * noticed   another member has said this to all, see cluster_notice(). May be NULL.
 * engaged   whether a tunnel is in the middle of something in this unit of ours that no other
 *           member could go on with. A unit that is to go to another one waits for that,
 *           for three seconds at most, if this member is able to work. May be NULL.
 */
struct cluster_io {
	void *ctx;
	void (*datagram)(void *ctx, member_id to, const uint8_t *msg, size_t len);
	int (*stream)(void *ctx, member_id to, const uint8_t *msg, size_t len);
	void (*give_up)(void *ctx, member_id to);
	void (*random)(void *ctx, uint8_t *out, size_t len);
	int (*save_activation)(void *ctx, uint32_t number);
	void (*units)(void *ctx, const struct unit_set *gained,
		      const struct unit_set *lost, uint32_t activation);
	void (*table)(void *ctx);
	void (*changed)(void *ctx, struct session *s);
	void (*removed)(void *ctx, struct session *s);
	void (*committed)(void *ctx);
	void (*counted)(void *ctx, struct session *s, unsigned slot);
	void (*role)(void *ctx);
	enum cluster_merge (*merge)(void *ctx, const struct session *ours,
				    const struct session *theirs,
				    uint64_t counters[CLUSTER_COUNTERS]);
	void (*refused)(void *ctx, member_id from, const char *why, bool fault);
	void (*log)(void *ctx, const char *line);
	void (*join_asked)(void *ctx, member_id id, const char *name,
			   uint64_t incarnation);
	void (*joined)(void *ctx, member_id id);
	void (*departed)(void *ctx, member_id id, const char *why);
	size_t (*config_text)(void *ctx, uint8_t *out, size_t size);
	void (*config)(void *ctx, member_id from, uint32_t version, const uint8_t *text,
		       size_t len);
	int (*asked)(void *ctx, const struct cluster_asker *asker, unit_id unit,
		     const struct session_key *key, const uint8_t *what, size_t len);
	void (*noticed)(void *ctx, member_id from, const uint8_t *what, size_t len);
	bool (*engaged)(void *ctx, unit_id unit);
};

/* Both structs are copied. NULL on bad configuration or out of memory. */
struct cluster *cluster_new(const struct cluster_config *cfg, const struct cluster_io *io,
			    struct mono now);
/* Says nothing to anybody. Accepts NULL. */
void cluster_free(struct cluster *c);

/*
 * The answer to join_asked(), later or never: without one the question comes again, about
 * every two seconds. The joiner is shown `why` it was refused. An answer that nobody waits
 * for does nothing.
 */
void cluster_join_answer(struct cluster *c, member_id id, uint64_t incarnation,
			 bool accept, const char *why, struct mono now);
/* From now on joiners are compared with this one, and given it. */
void cluster_set_shared(struct cluster *c, const struct cluster_shared *shared);

/* Events. */
void cluster_recv_datagram(struct cluster *c, member_id from, const uint8_t *msg,
			   size_t len, struct mono now);
void cluster_recv_stream(struct cluster *c, member_id from, const uint8_t *msg,
			 size_t len, struct mono now);
/* A stream to a peer came up (empty, both ways) or broke (what was under way is lost). */
void cluster_link(struct cluster *c, member_id peer, bool up, struct mono now);
void cluster_tick(struct cluster *c, struct mono now);
/* When cluster_tick() wants to be called next; MONO_NEVER if not at all. */
struct mono cluster_timeout(const struct cluster *c);

/* Commands. */
/*
 * Whether this member is able to work (charon runs, all networks have carrier). An unable
 * member gives its units up and gets none; `why` is shown in status. A new member is
 * unable until it is told otherwise.
 */
void cluster_set_able(struct cluster *c, bool able, const char *why, struct mono now);
/*
 * The operator's commands. They may be given at any member: what another member has to do
 * is sent to it. They return 0: done or begun here; -EINPROGRESS: sent, and *ticket is for
 * cluster_result(); or
 *   -EINVAL     no such unit or member
 *   -ENOTCONN   the member is not in the cluster, or there is no connection to it
 *   -EBUSY      no other member is able to work, so nobody would serve
 *   -EAGAIN     there is no master at the moment
 *   -ESRCH      the unit has no owner at the moment
 *   -EHOSTDOWN  the member that is to have the unit is not able to work
 *   -EALREADY   the unit is on its way to another member
 *   -EOPNOTSUPP the other member does not know the command
 */
/*
 * A drained member gives its units up by moves, and neither owns nor succeeds until it is
 * undrained. It keeps the shadows of all sessions, and stays master if it is. `force`: also
 * if nobody else is able to work.
 */
int cluster_drain(struct cluster *c, member_id id, bool on, bool force, uint32_t *ticket,
		  struct mono now);
/* Moves the unit. Balance leaves it there for ten minutes. */
int cluster_move(struct cluster *c, unit_id unit, member_id to, uint32_t *ticket,
		 struct mono now);
/*
 * Asks the owner of the unit, another member, to do something about a session that is or
 * may come there; only the tunnels know what `what` means. -EINPROGRESS: sent; or
 *   -EALREADY   this member owns the unit
 *   -ESRCH      nobody does at the moment
 *   -ENOTCONN   there is no connection to its owner
 *   -EINVAL     `what` is longer than CLUSTER_ERRAND_MAX
 * When the answer is there, committed() is called. It may get lost with the connection, and
 * the errand be done all the same.
 */
#define CLUSTER_ERRAND_MAX 1024
int cluster_ask(struct cluster *c, unit_id unit, const struct session_key *key,
		const uint8_t *what, size_t len, uint32_t *ticket, struct mono now);
/* By who was asked, not from within an upcall. The values of cluster_result(), -EEXIST and
 * -EPERM arrive as they are, others as -EOPNOTSUPP. */
void cluster_answer(struct cluster *c, const struct cluster_asker *asker, int result,
		    struct mono now);
/*
 * Says something to all other members that there is a connection to; what is longer than
 * CLUSTER_NOTICE_MAX to none. It may get lost.
 */
#define CLUSTER_NOTICE_MAX 16384
void cluster_notice(struct cluster *c, const uint8_t *what, size_t len, struct mono now);
/*
 * The master tells the member to give its membership up; its units go to their successors.
 * It comes back after a delay that doubles from time to time, from 1 s to 60 s; if it is
 * `revoked`, this master does not let it in again, and it does not ask. The member is shown
 * `why`, of which the first 127 bytes count; "" or NULL: by the operator. The master itself
 * cannot be expelled: -EINVAL.
 */
int cluster_expel(struct cluster *c, member_id id, bool revoked, const char *why,
		  uint32_t *ticket, struct mono now);
/* What became of a command or an errand: 0 and -errno as above, for an errand -EEXIST and
 * -EPERM besides, or -ESTALE if its owner has changed; -EINPROGRESS: no answer yet; -ENOENT:
 * no such ticket, or one of too long ago. */
int cluster_result(const struct cluster *c, uint32_t ticket);
/* Whether this member is drained. Worth keeping over restarts. */
bool cluster_drained(const struct cluster *c);

/*
 * What the traffic of this member's units costs it, and how much of a processor its daemon
 * uses, in millionths of a processor's time; all members are told. To be called regularly,
 * with figures that are smoothed. A session counts as CLUSTER_LOAD_SESSION besides.
 */
#define CLUSTER_LOAD_SESSION 100
void cluster_set_load(struct cluster *c, const uint32_t traffic[CLUSTER_UNITS],
		      uint32_t processor, struct mono now);

/* Hands all units over and says goodbye; the role becomes CLUSTER_LEFT when that is done. */
void cluster_leave(struct cluster *c, struct mono now);
/*
 * The message by which this run of this member is declared dead, for a process that
 * outlives it. Returns its length, or 0 if `size` is too small. Constant for a run.
 */
size_t cluster_death_note(const struct cluster *c, uint8_t *buf, size_t size);

/*
 * There is traffic for a unit that nobody owns: if this member is the master, it assigns
 * what has no owner now, not at the next round.
 */
void cluster_urge(struct cluster *c, struct mono now);

/* Sessions. */
/*
 * Owner only. Creates the session, or replaces one part of it. -EPERM if this member does
 * not own the unit, -ENOMEM, -EMSGSIZE: nothing has changed then. `initial` or `essential`
 * NULL leaves that part as it is. On success *out (if not NULL) is the session and
 * cluster_position() has grown.
 */
int cluster_put(struct cluster *c, unit_id unit, const struct session_key *key,
		const uint8_t *initial, size_t initial_len, const uint8_t *essential,
		size_t essential_len, struct session **out, struct mono now);
/* Owner only. `s` is gone afterwards. */
int cluster_remove(struct cluster *c, struct session *s, struct mono now);
/* Owner only. Counters only grow; a smaller value is ignored. Cheap: sent in batches. */
int cluster_count(struct cluster *c, struct session *s, unsigned slot, uint64_t value,
		  struct mono now);
/* Sends counters that wait for their batch now: call it when a burst has been worked off. */
void cluster_flush(struct cluster *c, struct mono now);

/* Everything that this member has put or removed has a position that is not above this. */
uint64_t cluster_position(const struct cluster *c);
/* True if all up to `position` is held by the unit's successor, in the current epoch; or
 * if it has none, see cluster_unprotected(). False if the unit is not ours. */
bool cluster_committed(const struct cluster *c, unit_id unit, uint64_t position);
/* Owner only. True if all up to `position` is held by that member. */
bool cluster_holds(const struct cluster *c, member_id id, unit_id unit,
		   uint64_t position);
/*
 * The counter's value that the successor holds. Without a successor cluster_count() commits
 * at once and makes no upcall. When a successor dies the value falls to 0 until the next
 * one holds it; while one successor replaces another, or the unit moves, it stands still.
 */
uint64_t cluster_counted(const struct cluster *c, const struct session *s, unsigned slot);

/*
 * The unit's owner began with state that may be behind what was committed: nobody who held
 * it for certain was left, as its owner and its successor died together, or the member
 * goes on with what it remembers from before it left the cluster. To be asked in units(),
 * of what is gained: a tunnel then skips all outbound numbers that may have been used.
 */
bool cluster_unproven(const struct cluster *c, unit_id unit);

/*
 * Owned, active and not fenced: the member has heard from its cluster lately enough. Nor
 * does it work on a unit that is about to be released and waits for the last commits.
 */
bool cluster_serves(const struct cluster *c, unit_id unit, struct mono now);
/* Not fenced: a member of its cluster, whether it owns units or not. */
bool cluster_lives(const struct cluster *c, struct mono now);

struct session *cluster_find(const struct cluster *c, unit_id unit,
			     const struct session_key *key);
/* Calls fn for each session of the unit (or of all units: CLUSTER_UNITS) until it returns
 * non-zero, and returns that. fn must not create or remove sessions. */
int cluster_each(const struct cluster *c, unit_id unit,
		 int (*fn)(void *ctx, struct session *s), void *ctx);
unit_id session_unit(const struct session *s);
const struct session_key *session_key(const struct session *s);
const uint8_t *session_initial(const struct session *s, size_t *len);
const uint8_t *session_essential(const struct session *s, size_t *len);
uint64_t session_counter(const struct session *s, unsigned slot);
/* What it takes here, with all that belongs to it; and what this member has sent of it to
 * all others, as its owner, since it is in its store. Bytes. */
size_t session_held(const struct session *s);
uint64_t session_sent(const struct session *s);
/*
 * Owner only, cheap: an authentic message came from the session's peer; something was sent
 * to it that it may remember. After a cut, only what a peer has heard or said in the losing
 * part is merged. A new session counts as heard, and what is put as told. To be called
 * before cluster_remove() if the peer has asked for that, or agreed.
 */
void session_heard(struct session *s, struct mono now);
void session_told(struct session *s, struct mono now);
/* ns since the peer was heard, by whatever owner; UINT64_MAX: never. */
uint64_t session_silence(const struct session *s, struct mono now);
/* During the merge upcall: what the other part has of the unit. */
const struct session *cluster_offered(const struct cluster *c, unit_id unit,
				      const struct session_key *key);
int cluster_each_offered(const struct cluster *c, unit_id unit,
			 int (*fn)(void *ctx, struct session *s), void *ctx);
/*
 * Likewise: that part, or this one, has ended the session. ns since it heard the peer for
 * the last time; UINT64_MAX: it has not, or not the peer during the cut.
 */
uint64_t cluster_ended(const struct cluster *c, unit_id unit,
		       const struct session_key *key, bool theirs);
/* A pointer for the tunnel's use, NULL at first; survives changes of part and of owner. */
void *session_user(const struct session *s);
void session_set_user(struct session *s, void *user);

/* Looking in. */
struct cluster_unit_state {
	member_id owner, successor; /* 0: none */
	uint64_t epoch;
	member_id moving_to; /* 0: not moving */
	unsigned sessions;
	uint32_t traffic; /* as its owner reports it, see cluster_set_load() */
	uint64_t load;	  /* traffic and sessions */
	bool served;	  /* this member owns it and is active */
	bool unproven;	  /* its successor may be behind: see cluster_unproven() */
	/* Records of it that the successor does not hold; UINT64_MAX: not known here, as
	 * another member owns the unit, or nobody succeeds. */
	uint64_t lag;
};

struct cluster_member_state {
	member_id id;
	const char *name;
	bool present; /* in the member list */
	bool self, master, vice_master;
	bool linked;  /* its stream is up */
	bool relayed; /* it does not hear this one by itself, or the other way round */
	bool complete, able;
	bool drained;	 /* and so not able */
	const char *why; /* why it is not able, "" if it is */
	uint64_t incarnation;
	uint32_t capacity, activation;
	const char *barred; /* why it is not let in, as told lately; "" if it was not */
	bool pending;	    /* and that is just not decided yet */
	uint64_t heard;	    /* ns since the last keepalive, UINT64_MAX: never */
	double loss;	    /* P: share of keepalives lost, 0..1 */
	unsigned per_interval; /* n: keepalives sent in a detection interval */
	uint64_t interval;     /* ns between them, by this member's configuration */
	/* 0: its timers are on time, to CLUSTER_STRESS_MAX: it tolerates twice the silence */
	unsigned stress;
	unsigned units, successor_of, sessions;
	uint64_t lag;	  /* positions that it has not acknowledged to this member */
	uint64_t behind;  /* ns since it had acknowledged all that there was */
	bool slow;	  /* so for long: it succeeds to no unit if another can */
	uint64_t refused; /* its messages that were not heeded */
	const char *refused_why; /* the last one: the name of a statistic; "" if none */
	uint64_t refused_ago;	 /* ns since the last one, UINT64_MAX: none */
	uint64_t load;		 /* of its units, in millionths of a processor */
	uint32_t processor;	 /* that its daemon uses, likewise */
};

/* The store: the records of all sessions, whoever owns them. */
struct cluster_store_state {
	unsigned records;
	uint64_t bytes;		/* of their parts */
	uint64_t memory;	/* that they take here */
	uint64_t record_bytes;	/* sent to others in this run, as records ... */
	uint64_t counter_bytes; /* ... and as counters */
};

void cluster_store(const struct cluster *c, struct cluster_store_state *out);
enum cluster_role cluster_role(const struct cluster *c);
const char *cluster_role_name(enum cluster_role role);
member_id cluster_master(const struct cluster *c); /* 0: none */
uint64_t cluster_term(const struct cluster *c);
/* The keyed hash's key, the same on all members; all zero until joined. 16 bytes. */
const uint8_t *cluster_fold_key(const struct cluster *c);
uint64_t cluster_incarnation(const struct cluster *c);
uint32_t cluster_activation(const struct cluster *c);
/* This member holds all that the members of its cluster hold. */
bool cluster_complete(const struct cluster *c);
/* There is no other complete and able member that takes what is sent to it. */
bool cluster_unprotected(const struct cluster *c);
unsigned cluster_members(const struct cluster *c, struct cluster_member_state *out,
			 unsigned max, struct mono now);
void cluster_unit(const struct cluster *c, unit_id unit, struct cluster_unit_state *out);
/* This member itself, or in the member list. */
bool cluster_present(const struct cluster *c, member_id id);
/* It is in the member list, was heard lately, and holds all that the members of its cluster
 * hold. */
bool cluster_whole(const struct cluster *c, member_id id, struct mono now);
/* All valid members, as they were configured. */
const struct cluster_peer *cluster_peers(const struct cluster *c, unsigned *n);

/* Counters of refused and dropped messages and of notable events, by name. */
unsigned cluster_statistics(const struct cluster *c, const char **names, uint64_t *values,
			    unsigned max);

#endif
