/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of this folder share. Nothing outside of it includes this.
 *
 * Every public entry point that takes `now` is bracketed by core_enter() and core_leave().
 * In between, functions change the state and set flags; core_leave() does what the flags
 * ask for: reviews own units, announces entries, pumps the streams, makes the upcalls
 * that may wait, and computes when the next tick is wanted.
 */
#ifndef CLUSTER_INTERNAL_H
#define CLUSTER_INTERNAL_H

#include <sys/queue.h>

#include "cluster/cluster.h"
#include "cluster/statistics.h"
#include "cluster/wire.h"

#define NOT_SENT UINT64_MAX
#define BATCHES 32
#define WHY_SIZE (WIRE_WHY_MAX + 1)
#define COMMANDS_MAX 256

struct member;

struct session {
	LIST_ENTRY(session) chain; /* of the hash bucket */
	LIST_ENTRY(session) in_unit;
	TAILQ_ENTRY(session) in_dirty;
	struct session_key key;
	unit_id unit;
	bool dirty;	   /* on the dirty list of its unit's target */
	bool kept;	   /* mentioned since UNIT_BEGIN */
	bool ended;	   /* of an offer: the session has ended in that part */
	uint8_t verdict;   /* enum cluster_merge, while two parts are merged */
	uint16_t inflight; /* places in batches that point here */
	uint64_t counted_epoch;
	uint64_t counter[CLUSTER_COUNTERS];
	uint64_t held[CLUSTER_COUNTERS]; /* by the unit's target */
	uint64_t committed[CLUSTER_COUNTERS];
	uint64_t proof[CLUSTER_COUNTERS]; /* see takeover_doubt() */
	uint8_t *initial, *essential;
	size_t initial_len, essential_len;
	uint64_t sent; /* bytes of its records that this member has sent, as its owner */
	uint64_t changed;  /* position of the owner's last change of a part */
	struct mono heard; /* the peer, by whoever owned the unit; 0: never */
	struct mono told;  /* the peer, likewise, as far as is known; 0: never */
	void *user;
};

LIST_HEAD(session_list, session);
TAILQ_HEAD(session_queue, session);

/* A session that is no more, see ended.c. */
struct ended {
	LIST_ENTRY(ended) in_unit;
	TAILQ_ENTRY(ended) in_order; /* of the ends */
	struct session_key key;
	unit_id unit;
	struct mono heard; /* the peer, at last; 0: never */
	struct mono at;	   /* when this member learned of it */
};

LIST_HEAD(ended_list, ended);
TAILQ_HEAD(ended_queue, ended);

/* A row of the owner table. The owner is the low part of the epoch. */
struct entry {
	uint64_t epoch;
	uint32_t version; /* grows with the owner's changes within an epoch */
	member_id successor;
	member_id previous; /* successor until it has yielded, 0: settled */
	member_id moving_to;
	bool unproven;	/* whoever succeeds may be behind what was committed */
	bool vacant;	/* its owner has begun anew, and does not serve it ... */
	bool forgotten; /* ... nor holds anything of it */
};

/* How far the owner is with a change of the unit's successor, or of its owner. */
enum handover {
	HANDOVER_STEADY,
	HANDOVER_PREPARING, /* `next` catches up; counters go to it, their commit waits */
	HANDOVER_SWITCHING, /* announced; `previous` has not yielded: commit needs both */
	HANDOVER_RELEASED,  /* given to the successor, which has not announced yet */
};

struct unit {
	struct entry e;
	struct session_list sessions;
	unsigned nsessions;
	bool active;  /* owned and activated by this member */
	bool skips;   /* began with state that may be behind: cluster_unproven() */
	bool lone;    /* released to one whom nobody might succeed */
	bool resting; /* about to be released: works on nothing until all is committed */
	bool replacing;	 /* between UNIT_BEGIN and UNIT_END */
	bool remembered; /* its sessions are those of an earlier incarnation of ours */
	bool mine;	 /* which worked on it: what happened to them counts */
	struct session_list offers; /* joiner: set aside for the owner; owner: offered */
	struct ended_list ended;
	member_id offered_to; /* 0: nobody yet */
	uint32_t switched;    /* version that asks the previous successor to yield */
	enum handover handover;
	member_id next;
	member_id target; /* whom counters go to, 0: nobody */
	uint64_t last;	  /* position of the last record or announcement */
	uint64_t proof;	  /* likewise, see takeover_doubt(); 0: not yet known */
	uint64_t anew;	  /* who holds less than up to this position gets all of it */
	uint64_t floor;	  /* highest epoch heard of, also from other parts */
	uint64_t held;	  /* the epoch at which its owner has sent us all of it */
	struct mono
	    retry; /* owner: of a yield or release; successor: deferred takeover */
	struct mono orphan; /* master: since when nobody serves it; MONO_NEVER: served */
	struct mono gone;   /* released: since when nobody can take it, 0: somebody can */
	struct mono ready;  /* to be released, since when; 0: it is not */
	struct mono rest;   /* master: balance leaves it where it is until then */
	uint32_t traffic;   /* what it costs its owner, in points */
};

struct batch {
	uint64_t seq;
	struct mono sent;
	bool used, expired;
	unsigned n;
	struct {
		struct session *s;
		uint64_t epoch;
		uint64_t value[CLUSTER_COUNTERS];
	} e[WIRE_COUNTS_MAX];
};

/* Why a member is not let in. */
struct barred {
	uint8_t reason; /* 0: nobody has said anything */
	char why[WIRE_BARRED_MAX + 1];
	struct mono at;
};

enum verdict {
	VERDICT_NONE,
	VERDICT_ASKED,
	VERDICT_ACCEPTED,
	VERDICT_REFUSED,
};

#define RUNS 4 /* that are remembered */

struct member {
	member_id id;
	char name[CLUSTER_NAME_MAX];
	bool linked;
	struct mono shown_at; /* when it was sent the whole table; 0: never */
	bool present;	      /* in the member list */
	bool complete, able;
	bool drained;	/* and so not able */
	bool confirmed; /* has spoken in the term of this master */
	char why[WHY_SIZE];
	uint64_t incarnation;
	uint64_t dead_run; /* a run that was declared dead and never comes back */
	uint64_t newest;   /* incarnation: earlier ones of the same run are over */
	uint32_t capacity, activation;
	uint32_t processor; /* that its daemon uses, see struct cluster_member_state */
	uint32_t sessions;

	/* Merging, see merge.c. */
	struct mono lost;	    /* when it was heard last, before we were parted */
	uint64_t lost_run;	    /* and the run that it was */
	struct session_list claims; /* what it offers, until MERGE_END */
	size_t claimed;		    /* bytes of them */
	struct unit_set claimed_units;
	struct unit_set merged; /* units of ours that hold what it has offered */
	struct unit_set owed;	/* of these, what it is to be told when it is committed */

	/* Its messages that were not heeded. */
	uint64_t refused;
	enum statistic refused_why; /* the last one */
	struct mono refused_at;

	/* Keepalives. */
	struct mono heard;
	uint64_t seq;		  /* last of theirs */
	uint64_t stamp;		  /* their clock at that time, to be echoed */
	uint64_t echo;		  /* the latest of our stamps that they echoed */
	uint64_t vouched;	  /* the same, while we were late, or lone */
	bool vouched_late;	  /* and it was so, too */
	bool late;		  /* so it said at last */
	uint64_t ahead;		  /* its clock, of ours */
	struct mono clock_at;	  /* when that was seen; 0: never */
	struct mono answered;	  /* when it was late and we told it at once */
	struct mono spoke;	  /* when anything of it came, also what did not count */
	struct mono spoken_since; /* without a gap */
	struct mono direct_heard; /* by itself, not by a third member */
	bool direct;		  /* so lately enough */
	bool hears_us;		  /* by itself, as it says */
	uint64_t said;		  /* the term of its last keepalive as a member */
	double loss;
	unsigned per_interval;
	unsigned stress; /* it says so */

	uint64_t nak_stamp; /* of its last NAK to us, echoed by our next request */

	/* Its joins, as the master sees them. */
	uint64_t wish; /* the incarnation that asks */
	struct barred barred;
	uint64_t runs[RUNS];   /* of its daemon, the latest first */
	struct mono run_since; /* when the latest was heard of */
	uint32_t roster;       /* whom it knows: bits of our places */
	uint64_t roster_of;    /* the incarnation that said so */
	bool revoked;
	uint8_t expelled;     /* the order to go that it was given, 0: none */
	enum verdict verdict; /* of the applications */
	uint64_t asked_about;
	struct mono answered_at;		  /* or asked */
	char objection[WIRE_BARRED_MAX + 1 - 64]; /* room for words before it */
	struct mono joined_at;

	/* Deaths soon after a join. */
	unsigned flaps;
	struct mono flapping_since, flapped_at, held_until;

	/* The stream to it. */
	bool syncing; /* it has asked for, and gets, our records */
	bool ended;   /* SNAPSHOT_END was sent */
	uint32_t sync;
	uint64_t mark; /* pumping pauses until this position is acknowledged */
	/* The same, which a broken stream leaves as it is: see replica.c, Resumption. */
	uint32_t line; /* number of the sync that it began with, 0: none */
	uint64_t sent, acked;
	uint64_t synced[CLUSTER_UNITS]; /* position of the unit's UNIT_END, or NOT_SENT */
	/* What is to be sent: whole if it was not sent before, else its changes. */
	struct unit_set need;
	uint64_t base;	      /* since this position */
	uint64_t bytes;	      /* that were sent in it */
	uint64_t acked_bytes; /* of these, at least so many are acknowledged */
	struct {
		uint64_t position, bytes; /* when that is acknowledged, these are */
	} milestone;

	/* Whether it takes what is sent, see slow.c. */
	uint64_t watched, watched_acked; /* positions, at the last look */
	uint64_t behind, stalled;	 /* ns */
	struct mono behind_at;		 /* the last time */
	bool slow;
	unsigned strikes;
	struct mono struck_at;

	/* The stream from it. */
	bool receiving; /* SNAPSHOT_BEGIN of the wanted sync came */
	bool whole;	/* SNAPSHOT_END came */
	uint32_t wanted_sync;
	uint32_t held_line; /* of which all is held, also after the stream broke, ... */
	uint64_t received;  /* ... up to this position */
	struct mono sync_retry, ack_repeat;
	struct mono acked_at; /* when the last acknowledgement left */
	bool ack_owed;	      /* for whole units: at ack_repeat */

	/* Counters to it. */
	struct session_queue dirty;
	struct batch batches[BATCHES];
	unsigned inflight; /* batches that are neither acknowledged nor expired */
	uint64_t batch_seq;
	uint64_t rtt; /* smoothed */
	struct mono flush_at, batch_retry;
};

struct command {
	uint32_t number; /* 0: none */
	struct member *to;
	uint64_t incarnation; /* of `to` */
	int result;	      /* -EINPROGRESS: not answered yet */
};

struct cluster {
	struct cluster_config cfg;
	struct cluster_io io;
	struct mono now;
	struct mono wanted; /* when a tick was asked for */

	enum cluster_role role;
	uint64_t term;
	uint64_t top_term; /* highest heard of */
	uint64_t incarnation;
	uint8_t fold_key[WIRE_FOLD_KEY_SIZE];
	bool founded; /* fold_key is set */
	member_id master, vice_master;
	uint32_t activation;
	bool number_lost; /* it is not that of a disk, and none was used since */
	/* The next one could not be stored: until it can, this member is given nothing. */
	bool number_failed;
	struct mono number_at; /* it is tried again */
	bool complete, able, leaving;
	bool drained; /* the operator's wish; apart from `able`, so that neither hides the
			 other */
	char why[WHY_SIZE];

	/* Lateness and the right to serve. */
	bool late;
	struct mono late_since;
	struct mono lease; /* serves until then */
	struct mono sure;  /* latest of our stamps that proves our membership */
	struct mono woke;  /* when it was late for the last time */
	struct mono rival; /* when another master was last proved */
	bool bereft;	   /* who may have replaced it while it was stopped has died */

	/* Why this member is not let in. */
	struct barred barred;
	struct mono not_before; /* it asks nobody, after it was expelled */
	unsigned expelled;	/* how often of late */
	struct mono expelled_at;

	/* The cluster's newer configuration. */
	member_id fetching; /* from whom, 0: nobody */
	struct mono fetch_at;
	uint32_t fetched; /* version */

	/* Local health: 0 is well. */
	unsigned stress;
	struct mono stressed_at;

	/* What this member held when it was last complete, until it is so again. */
	bool remembers;
	struct mono remembered_at;
	unsigned staffed; /* members present when one of the others was last willing */
	bool bereaved;	  /* of one who was */
	bool stands_in;	  /* though drained */

	/* Membership. */
	struct member members[CLUSTER_MEMBERS_MAX];
	uint8_t places[CLUSTER_ID_MAX + 1]; /* by id: from 1, 0 if there is none */
	unsigned nmembers;
	struct member *self;
	uint64_t seq;	       /* of own keepalives */
	unsigned per_interval; /* own keepalives in an interval */
	uint64_t list_seq;     /* of the master's last list */
	struct mono keepalive_at;
	struct mono join_at;	  /* next JOIN_REQUEST */
	struct mono master_heard; /* by anybody */
	struct mono orphaned;	  /* since when there is no master */
	struct mono leave_by;

	/* Election. */
	struct mono offer_at, offer_end;
	uint64_t offer;		/* term that this member offers */
	uint64_t pending_offer; /* of another, that waits for our own verdict */
	struct member *pending_from;
	uint64_t accepted; /* bit a member index */

	/* Ownership. */
	struct unit units[CLUSTER_UNITS];
	uint64_t digest;
	uint32_t table_version;
	bool have_table;
	struct mono table_retry;
	uint64_t digest_seen, digest_own;
	struct mono digest_since;
	unsigned nactive;
	struct unit_set announce; /* entries to be announced */
	bool announce_loud;	  /* by datagram as well */
	struct unit_set yields;	  /* units of others whose owner waits for our word */
	unsigned nyields;
	struct unit_set busy; /* own units with a handover under way */
	unsigned nbusy;
	struct unit_set respread; /* own units whose successor is to be reconsidered */
	struct unit_set deferred; /* takeovers that wait for a yielding successor */
	struct mono deferred_at, handover_at, balance_at, orphans_at, activate_at;
	struct mono prove_at;
	struct mono watch_at;  /* of members that may be slow */
	struct unit_set stale; /* entries to be shown to stale_to */
	struct member *stale_to;

	/* Commands and errands that another member carries out. */
	struct command commands[COMMANDS_MAX];
	uint32_t command_number;

	/* Replication. */
	uint64_t position;
	uint32_t sync_counter;
	unsigned nsessions;
	struct session_list *buckets;
	size_t nbuckets;

	/* Merging: units with offers that nobody has acknowledged. */
	struct unit_set offers;
	struct mono offer_retry, offer_until;
	bool owes; /* some member's `owed` is not empty */

	struct ended_queue ended; /* the oldest first */
	unsigned nended;
	struct mono ended_at; /* when the old ones are looked for */

	/* What core_leave() has to do. */
	bool review_all, review_busy;
	bool upcall_table, upcall_role, upcall_committed;

	uint64_t statistics[STATISTICS_COUNT];
	enum statistic refusal; /* of the message at hand; STATISTICS_COUNT: none */
	uint8_t out[CLUSTER_MESSAGE_MAX];
};

static inline member_id epoch_owner(uint64_t epoch)
{
	return epoch & 0xffff;
}

static inline uint64_t epoch_make(uint64_t number, member_id owner)
{
	return number << 16 | owner;
}

static inline void count(struct cluster *c, enum statistic s)
{
	c->statistics[s]++;
	if (statistic_refuses(s))
		c->refusal = s;
}

static inline bool due(const struct cluster *c, struct mono at)
{
	return !mono_before(c->now, at);
}

/* This member is to own units, if it is complete. */
static inline bool willing(const struct cluster *c)
{
	return c->able && (!c->drained || c->stands_in) && !c->leaving;
}

/* It is, and could begin with more units than it has. */
static inline bool ready(const struct cluster *c)
{
	return willing(c) && !c->number_failed;
}

#define EACH_MEMBER(c, m)                                                                \
	for (struct member *m = (c)->members; m < (c)->members + (c)->nmembers; m++)
/* All others that are in the member list. */
#define EACH_PRESENT(c, m)                                                               \
	EACH_MEMBER(c, m)                                                                \
		if (m->present && m != (c)->self)
#define EACH_UNIT(u) for (unit_id u = 0; u < CLUSTER_UNITS; u++)
/* Looks at the set as it goes: the body may change it. */
#define EACH_IN(set, u)                                                                  \
	for (unit_id u = unit_set_from(set, 0); u < CLUSTER_UNITS;                       \
	     u = unit_set_from(set, (unit_id)(u + 1)))

/* The first unit of the set that is not below u; CLUSTER_UNITS if there is none. */
static inline unit_id unit_set_from(const struct unit_set *s, unit_id u)
{
	unsigned i = u / 64;
	uint64_t word;

	if (u >= CLUSTER_UNITS)
		return CLUSTER_UNITS;
	word = s->bits[i] & UINT64_MAX << (u % 64);
	while (!word && ++i < CLUSTER_UNITS / 64)
		word = s->bits[i];
	return word ? (unit_id)(i * 64 + (unsigned)__builtin_ctzll(word)) : CLUSTER_UNITS;
}

static inline bool unit_set_empty(const struct unit_set *s)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		any |= s->bits[i];
	return !any;
}

/* core.c */
void core_enter(struct cluster *c, struct mono now);
void core_leave(struct cluster *c);
void core_log(struct cluster *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Text from the network, for logs and terminals; cut to `size`, with a zero at its end. */
void core_copy_text(char *out, size_t size, const uint8_t *text, size_t len);
void core_set_role(struct cluster *c, enum cluster_role role, const char *event);
/* NULL: unknown. Asked of each unit so often that it is here. */
static inline struct member *core_member(const struct cluster *c, member_id id)
{
	unsigned place = id <= CLUSTER_ID_MAX ? c->places[id] : 0;

	return place ? (struct member *)&c->members[place - 1] : NULL;
}

uint64_t core_random(struct cluster *c);
uint64_t core_jitter(struct cluster *c, uint64_t span); /* 0 .. span - 1 */
/* Nobody else is complete and able, not even slowly. */
bool core_alone(const struct cluster *c);
/* c->out holds a message of this length. */
void core_datagram(struct cluster *c, struct member *to, size_t len);
int core_stream(struct cluster *c, struct member *to, size_t len);
/* A datagram of this member has come by another one. */
void core_relayed(struct cluster *c, struct member *origin, const uint8_t *msg,
		  size_t len);

#define ENCODE(c, name, body)                                                            \
	wire_encode_##name((c)->out, sizeof((c)->out), (c)->term, (c)->incarnation, body)
#define DATAGRAM(c, to, name, body) core_datagram(c, to, ENCODE(c, name, body))
#define STREAM(c, to, name, body) core_stream(c, to, ENCODE(c, name, body))

/* keepalive.c */
#define N_MIN 2 /* keepalives in a detection interval */
#define N_MAX 20
#define LOSS_SCALE 65535 /* of a share of losses, on the wire */
/* The smallest n with n * P^n < 1/K, K detection intervals in a week. */
unsigned keepalive_rate(double loss, uint64_t detection);
/* True if it is a new one. */
bool keepalive_note(struct cluster *c, struct member *m, uint64_t seq, uint64_t stamp);
/* False: it goes on talking, but what it echoes is old. */
bool keepalive_counts(struct cluster *c, struct member *m, uint64_t echo);
/* Why this member is to be given no units; "" if it is. */
const char *keepalive_why(const struct cluster *c);
/* How long a message of this stamp was on its way. */
uint64_t keepalive_delay(const struct cluster *c, const struct member *m, uint64_t stamp);
uint16_t keepalive_list(const struct cluster *c, struct wire_member *list);
void keepalive_send(struct cluster *c); /* now, to everyone */
/* To all, or as an answer to one: that repeats the number of the last one to all. */
void keepalive_as_master(struct cluster *c, struct member *only, uint64_t answer);
void keepalive_answer(struct cluster *c, struct member *m); /* now, to one */

/* relay.c: datagrams by way of a third member. */
void relay_begin(struct cluster *c, struct member *m);
/* A datagram has come from it, by the direct way. */
void relay_heard(struct cluster *c, struct member *m);
/* Its keepalive says whether it hears us so. */
void relay_heed(struct cluster *c, struct member *m, bool hears_us);
bool relay_wanted(const struct member *to);
void relay_send(struct cluster *c, struct member *to, const uint8_t *msg, size_t len);
void relay_tick(struct cluster *c);
struct mono relay_timeout(const struct cluster *c);

/* health.c */
#define STRESS_MAX CLUSTER_STRESS_MAX
/* A timer has come, this late. */
void health_note(struct cluster *c, uint64_t late);
/* How long another may be silent. */
uint64_t health_patience(const struct cluster *c);

/* serving.c: leases, lateness, the proof of mastership. */
void serving_late(struct cluster *c);
void serving_wake(struct cluster *c, const char *why);
/* A member echoes a stamp of ours. */
void serving_echo(struct cluster *c, struct member *m, uint64_t echo);
void serving_vouch(struct cluster *c, struct member *from, uint64_t echo, bool late);
/* Whether a member's echo counts, which is late itself or not. */
bool serving_believes(const struct cluster *c, struct member *from, uint64_t echo,
		      bool late);
/* This master's echoes let others serve: it knows that it is one still. */
bool serving_grants(const struct cluster *c);
/* A member of its company has died: if it is late, that may have been its last master. */
void serving_bereave(struct cluster *c);
/* Who is late has heard of another master, and waits for the proof. */
bool serving_rival(const struct cluster *c);
/* The speaker was master a moment ago: it echoes a stamp of ours that is young enough. */
bool serving_proven(const struct cluster *c, const struct wire_master_keepalive *k);
/* A living master answers this with such an echo. */
void serving_challenge(struct cluster *c, struct member *to);

/* join.c: joins and departures. */
#define JOIN_RETRY (50 * MONO_MS)
#define START_WAIT (300 * MONO_MS)
void join_nak(struct cluster *c, struct member *to, uint64_t target, uint8_t reason,
	      uint64_t wait, const char *why);
void join_ask(struct cluster *c);
void join_tell_master(struct cluster *c, struct member *to, uint64_t offer);
void join_finish_leave(struct cluster *c);
/* Gives everything up, as in membership_rejoin(), and tells the others. */
void join_resign(struct cluster *c, const char *why);

/* admission.c: who may join. */
/* False, and it was told why, if it may not (yet). It is not present any more then. */
bool admission_judge(struct cluster *c, struct member *m, const struct wire_header *h,
		     const struct wire_join_request *r);
bool admission_bar(struct cluster *c, struct member *m, uint8_t reason, const char *why);
const char *admission_barred(const struct member *m, struct mono now);
void admission_note_run(struct cluster *c, struct member *m, uint64_t incarnation);
/* Whom the member says it knows; whom this one knows. */
void admission_roster(struct cluster *c, struct member *m, uint64_t incarnation,
		      const struct wire_peer *list, unsigned n);
uint16_t admission_list(const struct cluster *c, struct wire_peer *list);
/* The master tells it to go. 0 or -errno as of cluster_expel(). */
int admission_expel(struct cluster *c, struct member *m, bool revoked, const char *why);
/* True if it was told to go: then it is told so again, and not heard. */
bool admission_expelled(struct cluster *c, struct member *m);

/* flapping.c */
void flapping_died(struct cluster *c, struct member *m);     /* by itself */
uint64_t flapping_held(struct cluster *c, struct member *m); /* ns that it is to wait */
void flapping_text(const struct cluster *c, const struct member *m, char *out,
		   size_t size);

/* shared.c: the shared configuration. */
bool shared_fits(struct cluster *c, struct member *m, const struct wire_join_request *r);
void shared_describe(const struct cluster *c, struct wire_join_request *r);
void shared_fetch(struct cluster *c, struct member *from, uint32_t version);

/* membership.c: the list, deaths. */
void membership_tick(struct cluster *c);
struct mono membership_timeout(const struct cluster *c);
/* Gives everything up and begins again as a new incarnation. */
void membership_rejoin(struct cluster *c, const char *why);
void membership_died(struct cluster *c, struct member *m, const char *why);
void membership_enlist(struct cluster *c, struct member *m, uint64_t incarnation);
void membership_changed(struct cluster *c);
void membership_adopt(struct cluster *c, struct member *from, uint64_t term,
		      const char *event);
void membership_list(struct cluster *c, struct member *from,
		     const struct wire_member *list, unsigned n);
/* Incarnation 0: any. */
bool membership_listed(const struct wire_member *list, unsigned n, member_id id,
		       uint64_t incarnation);
void membership_check_complete(struct cluster *c);
bool membership_active(const struct cluster *c); /* this member is in a cluster */
void membership_stand_in(struct cluster *c); /* if the last who was willing has died */
unsigned membership_count(const struct cluster *c); /* members present, this one too */

/* verdict.c: who is dead, by silence. */
void verdict_tick(struct cluster *c);
void verdict_heard(struct cluster *c, struct member *m); /* just now */
struct mono verdict_timeout(const struct cluster *c);
/* Who is late has waited for an interval: it goes on. False: it has begun anew instead. */
bool verdict_wake(struct cluster *c);

/* election.c */
void election_begin(struct cluster *c); /* the master is gone */
/* So long may it take until there is a new one. */
uint64_t election_patience(const struct cluster *c);
/* The master's term becomes higher than this one. */
void election_rise(struct cluster *c, uint64_t above);
void election_tick(struct cluster *c);
struct mono election_timeout(const struct cluster *c);
void election_rival(struct cluster *c, struct member *m, const struct wire_header *h,
		    const struct wire_master_keepalive *k);

/* table.c: rows, and their merging. */
bool table_fit(const struct cluster *c, member_id id); /* may own and succeed */
member_id table_choose(const struct cluster *c, unit_id u, member_id owner);
void table_set(struct cluster *c, unit_id u, const struct entry *e);
void table_row(const struct cluster *c, unit_id u, struct wire_entry *w);
struct entry table_entry(const struct wire_entry *w);
void table_merge(struct cluster *c, struct member *from, unit_id u,
		 const struct entry *e);
/* The row is told to all at the end of the call; loud: also by datagram. */
void table_change(struct cluster *c, unit_id u, bool loud);
void table_announce(struct cluster *c);
void table_yields(struct cluster *c);
void table_show(struct cluster *c, struct member *to, unit_id u);
void table_send(struct cluster *c, struct member *to, uint8_t flags);
void table_let_go(struct cluster *c, unit_id u, struct unit_set *lost);
void table_tell_lost(struct cluster *c, const struct unit_set *lost);
void table_drop_all(struct cluster *c);
void table_tick(struct cluster *c);
struct mono table_timeout(const struct cluster *c);

/* numbers.c: the activation numbers that the cluster has seen. */
uint32_t numbers_own(const struct cluster *c);		/* to be told to others */
void numbers_learn(struct cluster *c, uint32_t number); /* of this member itself */
void numbers_tell(struct cluster *c, struct member *to);

/* takeover.c: taking units. */
int takeover_number(struct cluster *c); /* a new activation number, or -1 */
/* The owner begins anew with state that it has changed: takeover_number() was called, and
 * the loss was told. */
void takeover_renew(struct cluster *c, const struct unit_set *set);
bool takeover_activate(struct cluster *c, const struct unit_set *set, const char *why);
void takeover_died(struct cluster *c, struct member *m);
void takeover_defer(struct cluster *c, unit_id u); /* considered anew, a little later */
void takeover_raise(struct cluster *c, unit_id u);
/* Who begins with the state that this member has may be behind what was committed. */
bool takeover_unproven(const struct cluster *c, const struct unit *unit);
/* The row of a successor that may not hold all yet: it is named before it has caught up. */
void takeover_doubt(struct cluster *c, struct unit *unit);
void takeover_tick(struct cluster *c);
struct mono takeover_timeout(const struct cluster *c);

/* handover.c: the owner's review of its own units. */
void handover_set(struct cluster *c, unit_id u, enum handover h);
/* The owner's change of its own row, within the epoch. */
void handover_amend(struct cluster *c, unit_id u, member_id successor, member_id previous,
		    member_id moving_to);
void handover_review(struct cluster *c);
void handover_begin_move(struct cluster *c, unit_id u, uint64_t epoch, member_id to);
/* The master keeps what nobody is able to own. */
void handover_keep(struct cluster *c, unit_id u);
void handover_respread(struct cluster *c);
void handover_tick(struct cluster *c);
struct mono handover_timeout(const struct cluster *c);

/* assign.c: the master's distribution of units. */
void assign_tick(struct cluster *c);
struct mono assign_timeout(const struct cluster *c);
/* By the master: one unit, because the operator wants it. 0 or -errno. */
int assign_move(struct cluster *c, unit_id u, member_id to);

/* load.c: what units cost. */
#define LOAD_MAX (1u << 30) /* of a unit */
uint64_t load_of(const struct unit *unit);

/* operate.c: what another member carries out, until its answer comes. */
/* The number and the receiver's run, for a message to it; 0 or -ENOTCONN. */
int command_open(struct cluster *c, struct member *m, uint64_t *target, uint32_t *number);
/* The message was sent, or could not be (`rc`). -EINPROGRESS or -ENOTCONN. */
int command_sent(struct cluster *c, uint32_t number, int rc, uint32_t *ticket);
uint8_t command_result_to_wire(int result);

/* store.c */
int store_init(struct cluster *c);
void store_free(struct cluster *c);
bool store_key_equal(const struct session_key *a, const struct session_key *b);
struct session *store_find(const struct cluster *c, unit_id u,
			   const struct session_key *key);
/* Finds or makes; NULL: out of memory. */
struct session *store_make(struct cluster *c, unit_id u, const struct session_key *key);
/* Those parts of a record that are there (WIRE_PUT_INITIAL, WIRE_PUT_ESSENTIAL), all or,
 * with -ENOMEM, none of them. */
int store_set_parts(struct session *s, unsigned flags, const uint8_t *initial,
		    size_t initial_len, const uint8_t *essential, size_t essential_len);
void store_drop(struct cluster *c, struct session *s, bool upcall);
/* A session outside of the store, NULL: out of memory. Not in any list. */
struct session *store_new(unit_id u, const struct session_key *key);
void store_discard(struct session *s); /* of a session outside of the store */
/* With the upcall: it is not in the store any more, and in no list. */
void store_detach(struct cluster *c, struct session *s);
/* There is none with its key; no upcall. */
void store_attach(struct cluster *c, struct session *s);
void store_clear(struct cluster *c);
void store_clear_unit(struct cluster *c, unit_id u);

/* merge.c: what a losing part did is offered to the owners of the winning one. */
void merge_free(struct cluster *c);
void merge_parted(struct cluster *c, struct member *m); /* it is about to be forgotten */
/* Another member has begun with a unit that this one works on, and this one did not know. */
void merge_overtaken(struct cluster *c, unit_id u, member_id by);
void merge_resign(struct cluster *c);	/* before the units are given up */
void merge_remember(struct cluster *c); /* offers become remembered sessions again */
void merge_forget(struct cluster *c);	/* drops all that was to be offered */
void merge_unit_begin(struct cluster *c, unit_id u); /* the owner's sessions follow */
void merge_unit_end(struct cluster *c, unit_id u);
/* Not all is brought to its owner yet: the joiner is not complete. */
bool merge_waits(const struct cluster *c);
void merge_reset(struct cluster *c, struct member *m); /* its link broke, or it went */
void merge_let_go(struct cluster *c, unit_id u);       /* the unit is another's now */
void merge_review(struct cluster *c);
void merge_tick(struct cluster *c);
struct mono merge_timeout(const struct cluster *c);
/* How long ago the session's peer was heard, as it travels; and back. */
uint32_t merge_age(const struct cluster *c, struct mono heard);
struct mono merge_time(const struct cluster *c, const struct member *from, uint64_t stamp,
		       uint32_t age);

/* ended.c: sessions that have ended. */
struct ended *ended_find(const struct cluster *c, unit_id u,
			 const struct session_key *key);
void ended_note(struct cluster *c, unit_id u, const struct session_key *key,
		struct mono heard);
void ended_forget(struct cluster *c, unit_id u, const struct session_key *key);
void ended_free(struct cluster *c);
void ended_tick(struct cluster *c);
struct mono ended_timeout(const struct cluster *c);

/* replica.c: the record stream, to others. */
void replica_reset(struct cluster *c, struct member *m);  /* the streams broke */
void replica_forget(struct cluster *c, struct member *m); /* and are not resumed */
void replica_need(struct cluster *c, unit_id u); /* all get the unit's whole state */
void replica_pump(struct cluster *c);
void replica_send_counters(struct cluster *c, struct member *m, unit_id u);
/* m holds all of u up to the position. */
bool replica_holds(const struct cluster *c, const struct member *m, unit_id u,
		   uint64_t position);

/* intake.c: the record stream of others. */
void intake_deafen(struct member *m); /* what still comes of its stream is not heeded */
void intake_want(struct cluster *c, struct member *m); /* ask for its state anew */
/* Once more, with the same number. */
void intake_ask(struct cluster *c, struct member *m);
/* All of its stream up to the position: which is acknowledged. */
void intake_received(struct cluster *c, struct member *m, uint64_t position);
void intake_acks(struct cluster *c); /* repeated with keepalives */
void intake_tick(struct cluster *c);
struct mono intake_timeout(const struct cluster *c);

/* slow.c: members that do not take what is sent to them. */
void slow_review(struct cluster *c);
void slow_forget(struct member *m);
void slow_tick(struct cluster *c);

/* counters.c */
void counters_reset(struct cluster *c, struct member *m);
void counters_set_target(struct cluster *c, unit_id u, member_id target);
void counters_dirty_unit(struct cluster *c, unit_id u);
/* Of these, what its target does not hold. */
void counters_resume(struct cluster *c, unit_id u);
void counters_thaw(struct cluster *c, unit_id u); /* what is held becomes committed */
void counters_forget(struct cluster *c, struct session *s);
bool counters_caught_up(const struct cluster *c, unit_id u);
bool counters_settled(const struct cluster *c, unit_id u); /* all is committed */
void counters_tick(struct cluster *c);
struct mono counters_timeout(const struct cluster *c);

/* Receivers, called through the dispatch table in core.c. */
#define X(name, FIELDS)                                                                  \
	void recv_##name(struct cluster *c, struct member *from,                         \
			 const struct wire_header *h, struct unpack *u);
WIRE_MESSAGES(X)
#undef X

#endif
