/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who becomes master.
 *
 * When the master dies, the vice-master (the complete member with the lowest id) offers
 * at once, the next ones after a delay by rank. Whoever agrees that there is no master
 * accepts; with all accepts, or after 100 ms (half a detection
 * interval if that is longer, up to 500 ms) without an objection, the offerer is master.
 * Objections: the master is alive; a lower id stands too; the offerer holds nothing while
 * a cluster exists that does.
 *
 * If nobody is left who is complete, those stand first who remember the state of when they
 * were, and among them who was in company last. Neither the term nor the number of units
 * would do: a member that was cut off and alone raises its term, and takes all units, and
 * knows nothing of what the others did meanwhile. The new master begins with the sessions
 * that it remembers; their units are unproven, see cluster_unproven().
 */
#include "cluster/internal.h"

#define OFFER_TIME_MIN (100 * MONO_MS)
#define OFFER_TIME_MAX (500 * MONO_MS)
#define NO_MASTER 30 /* offers, before a complete member begins anew */
#define RANK_STEP (60 * MONO_MS)
#define OFFER_RETRY (50 * MONO_MS)

/* Where the detection interval is long, datagrams may take longer, and so do objections. */
static uint64_t offer_time(const struct cluster *c)
{
	uint64_t half = c->cfg.detection / 2;

	if (half < OFFER_TIME_MIN)
		return OFFER_TIME_MIN;
	return half < OFFER_TIME_MAX ? half : OFFER_TIME_MAX;
}

uint64_t election_patience(const struct cluster *c)
{
	return NO_MASTER * offer_time(c);
}

static unsigned rank(const struct cluster *c)
{
	unsigned r = 0;

	EACH_PRESENT((struct cluster *)c, m)
		if (m->complete && m->id < c->cfg.self)
			r++;
	return r;
}

static bool all_accepted(struct cluster *c)
{
	bool any = false;

	EACH_PRESENT(c, m) {
		any = true;
		if (!(c->accepted & UINT64_C(1) << (m - c->members)))
			return false;
	}
	return any;
}

/* How old this member's state is: 0 is complete, the greatest is none at all. In ms. */
static uint32_t state_age(const struct cluster *c)
{
	uint64_t age = mono_since(c->now, c->remembered_at) / MONO_MS + 1;

	if (c->complete)
		return 0;
	return !c->remembers	  ? UINT32_MAX
	       : age < UINT32_MAX ? (uint32_t)age
				  : UINT32_MAX - 1;
}

static void become_master(struct cluster *c)
{
	c->term = c->offer;
	c->master = c->cfg.self;
	c->orphaned = c->offer_at = c->offer_end = MONO_NEVER;
	c->pending_from = NULL;
	count(c, STAT_elected);
	core_set_role(c, CLUSTER_MASTER, "elected");
	c->self->present = true;
	if (!c->complete) {
		/* The first of a new cluster holds all there is. */
		if (!c->founded)
			c->io.random(c->io.ctx, c->fold_key, sizeof(c->fold_key));
		c->founded = c->complete = c->have_table = true;
		merge_remember(c);
		if (c->remembers) {
			core_log(c, "begins with %u remembered sessions", c->nsessions);
			count(c, STAT_remembered);
		}
		c->remembers = false;
	}
	c->vice_master = 0;
	EACH_PRESENT(c, m) {
		m->heard = c->now;
		/* Who has accepted the offer stands in its term. */
		m->confirmed = c->accepted & UINT64_C(1) << (m - c->members);
		if (m->complete && (!c->vice_master || m->id < c->vice_master))
			c->vice_master = m->id;
	}
	c->balance_at = mono_add(c->now, c->cfg.balance);
	c->orphans_at = c->now;
	c->lease = mono_add(c->now, c->cfg.detection);
	c->review_all = true;
	keepalive_send(c);
	keepalive_send(c);
}

static void offer(struct cluster *c)
{
	struct wire_master_offer m = { .flags = c->complete ? WIRE_OFFER_COMPLETE : 0,
				       .age = state_age(c) };
	uint64_t top = c->top_term > c->term ? c->top_term : c->term, mine = c->term;

	count(c, STAT_offers);
	c->offer = ((top >> 16) + 1) << 16 | c->cfg.self;
	c->offer_end = mono_add(c->now, offer_time(c));
	c->offer_at = MONO_NEVER;
	c->accepted = 0;
	if (c->role != CLUSTER_OFFERING)
		core_set_role(c, CLUSTER_OFFERING, "offer");
	c->term = c->offer;
	EACH_MEMBER(c, p)
		if (p != c->self && (p->present || p->linked)) {
			m.echo = p->stamp;
			DATAGRAM(c, p, master_offer, &m);
		}
	c->term = mine;
	if (c->complete && membership_count(c) == 1)
		become_master(c);
}

static void withdraw(struct cluster *c, const char *why, uint64_t delay)
{
	count(c, STAT_objections);
	core_set_role(c, c->complete ? CLUSTER_MEMBER : CLUSTER_JOINING, why);
	c->offer_end = MONO_NEVER;
	c->offer_at = mono_add(c->now, delay + core_random(c) % (20 * MONO_MS));
	if (!c->complete)
		c->join_at = c->now;
}

void election_begin(struct cluster *c)
{
	c->master = c->vice_master = 0;
	c->orphaned = c->now;
	c->upcall_role = true;
	/*
	 * A new master can be elected at the earliest now and gives each member a whole
	 * interval; so what this member serves it may go on serving for a part of it. Others
	 * may have noticed sooner: what counts is when the old master was heard.
	 */
	if (!c->late) {
		uint64_t part = c->cfg.detection / 2;
		struct mono until =
		    mono_min(mono_add(c->now, part),
			     mono_add(c->master_heard, c->cfg.detection + part));

		if (mono_before(c->lease, until))
			c->lease = until;
	}
	c->offer_at = mono_add(c->now, (uint64_t)rank(c) * RANK_STEP);
	if (!c->complete)
		c->offer_at = MONO_NEVER;
	if (c->pending_from) {
		struct wire_offer_accept m = { .offer = c->pending_offer };

		DATAGRAM(c, c->pending_from, offer_accept, &m);
		c->offer_at = mono_add(c->now, offer_time(c) + OFFER_RETRY +
						   (uint64_t)rank(c) * RANK_STEP);
		c->pending_from = NULL;
	}
}

static void object(struct cluster *c, struct member *to, uint64_t offered)
{
	struct wire_other_master_exists m = { .master = c->master, .offer = offered };

	count(c, STAT_objections);
	DATAGRAM(c, to, other_master_exists, &m);
}

static void accept_offer(struct cluster *c, struct member *to, uint64_t offered,
			 uint64_t echo)
{
	struct wire_offer_accept m = { .offer = offered };
	struct mono until = mono_add((struct mono){ echo }, c->cfg.detection);

	DATAGRAM(c, to, offer_accept, &m);
	/* It became master after the echo, if at all, and then gives us a whole interval. */
	if (!c->late && echo <= c->now.ns && mono_before(c->lease, until))
		c->lease = until;
	c->offer_at =
	    mono_add(c->now, offer_time(c) + OFFER_RETRY + (uint64_t)rank(c) * RANK_STEP);
}

static void judge_as_member(struct cluster *c, struct member *from, uint64_t offered,
			    uint64_t echo, bool known)
{
	uint64_t silence = mono_since(c->now, c->master_heard);

	/* Who was stopped cannot tell whether its master lives. */
	if (c->late)
		return;
	if (!known || offered <= c->term ||
	    (c->master && silence < c->cfg.detection / 2)) {
		object(c, from, offered);
	} else if (c->master) {
		/* We are about to find out ourselves. */
		c->pending_offer = offered;
		c->pending_from = from;
	} else {
		accept_offer(c, from, offered, echo);
	}
}

static bool better(const struct cluster *c, const struct member *m,
		   const struct wire_master_offer *o)
{
	bool holds = o->flags & WIRE_OFFER_COMPLETE;
	uint32_t mine = state_age(c);

	if (c->complete != holds)
		return c->complete;
	return mine != o->age ? mine < o->age : c->cfg.self < m->id;
}

void recv_master_offer(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_master_offer m;
	bool known = from->present && from->incarnation == h->incarnation;

	if (wire_decode_master_offer(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (from->dead_run == h->incarnation >> 16)
		return;
	if (c->role == CLUSTER_MASTER) {
		if (!c->late)
			object(c, from, h->term);
	} else if (c->role == CLUSTER_MEMBER) {
		judge_as_member(c, from, h->term, m.echo, known);
	} else if (c->role == CLUSTER_JOINING && c->remembers && better(c, from, &m)) {
		object(c, from, h->term);
		c->offer_at =
		    mono_min(c->offer_at, mono_add(c->now, core_random(c) % OFFER_RETRY));
	} else if (c->role == CLUSTER_JOINING) {
		c->offer_at =
		    mono_add(c->now, 2 * offer_time(c) + core_random(c) % OFFER_RETRY);
	} else if (better(c, from, &m)) {
		object(c, from, h->term);
	} else {
		withdraw(c, "a better offer", 2 * offer_time(c));
		if (c->role == CLUSTER_MEMBER && known)
			accept_offer(c, from, h->term, m.echo);
	}
}

void recv_offer_accept(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_offer_accept m;

	if (wire_decode_offer_accept(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.offer != c->offer || !from->present || from->incarnation != h->incarnation)
		return;
	c->accepted |= UINT64_C(1) << (from - c->members);
	if (c->complete && all_accepted(c))
		become_master(c);
}

void recv_other_master_exists(struct cluster *c, struct member *from,
			      const struct wire_header *h, struct unpack *u)
{
	struct wire_other_master_exists m;

	if (wire_decode_other_master_exists(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (c->role == CLUSTER_OFFERING && m.offer == c->offer)
		withdraw(c, "objection", c->complete ? OFFER_RETRY : 3 * offer_time(c));
	else if (c->role == CLUSTER_JOINING)
		c->offer_at =
		    mono_add(c->now, 3 * offer_time(c) + core_random(c) % OFFER_RETRY);
}

/* It has lately shown that it knows us as its master. */
static bool follows(const struct cluster *c, const struct member *m)
{
	return m->present && m->confirmed &&
	       mono_since(c->now, (struct mono){ m->echo }) < c->cfg.detection;
}

/* Who follows both, according to their lists, follows the one with the higher term. */
static void count_followers(const struct cluster *c, const struct member *rival,
			    const struct wire_master_keepalive *k, bool theirs_higher,
			    unsigned *mine, unsigned *theirs)
{
	*mine = *theirs = 1;
	for (unsigned i = 0; i < k->members_count; i++) {
		const struct member *m = core_member(c, k->members[i].id);
		bool ours = m && m != c->self && follows(c, m);

		if (k->members[i].flags & WIRE_CONFIRMED && m != c->self && m != rival &&
		    (!ours || theirs_higher))
			++*theirs;
	}
	EACH_PRESENT((struct cluster *)c, m) {
		bool shared = false;

		for (unsigned i = 0; i < k->members_count; i++)
			shared = shared || (k->members[i].id == m->id &&
					    k->members[i].flags & WIRE_CONFIRMED);
		if (m != rival && follows(c, m) && (!shared || !theirs_higher))
			++*mine;
	}
}

/*
 * Two masters. A part without any session gives way, since nothing is lost with it; then
 * the part with fewer members that have spoken to their master in its term; then the one
 * with the higher master id.
 */
static bool loses(const struct cluster *c, const struct member *m, uint64_t term,
		  const struct wire_master_keepalive *k)
{
	unsigned mine, theirs;

	count_followers(c, m, k, term > c->term, &mine, &theirs);
	if (!c->nsessions != !k->sessions)
		return !c->nsessions;
	if (mine != theirs)
		return mine < theirs;
	return m->id < c->cfg.self;
}

/* One that has followed us follows it. */
static bool replaced_by(const struct cluster *c, uint64_t term,
			const struct wire_master_keepalive *k)
{
	for (unsigned i = 0; term > c->term && i < k->members_count; i++) {
		const struct member *m = core_member(c, k->members[i].id);

		if (k->members[i].flags & WIRE_CONFIRMED && m && m != c->self &&
		    m->present && m->confirmed &&
		    m->incarnation == k->members[i].incarnation)
			return true;
	}
	return false;
}

void election_rise(struct cluster *c, uint64_t above)
{
	if (above < c->term)
		return;
	c->term = ((above >> 16) + 1) << 16 | c->cfg.self;
	c->upcall_role = true;
	core_log(c, "term raised to %llu", (unsigned long long)(c->term >> 16));
}

void election_rival(struct cluster *c, struct member *m, const struct wire_header *h,
		    const struct wire_master_keepalive *k)
{
	if (!serving_proven(c, k)) {
		serving_challenge(c, m);
		return;
	}
	/*
	 * Who is late does not know what it is, and waits for those who followed it. It does
	 * not give way to a master that knows of no session: here may be the last copy.
	 */
	if (c->late && c->nsessions && !k->sessions)
		return;
	if (h->term > c->term)
		c->rival = c->now;
	if (c->late && !replaced_by(c, h->term, k) &&
	    (h->term < c->term || mono_since(c->now, c->late_since) < c->cfg.detection))
		return;
	core_log(c, "another master: %u, term %llu, members %u", m->id,
		 (unsigned long long)(h->term >> 16), k->members_count);
	if (c->late || loses(c, m, h->term, k)) {
		struct wire_nak nak = { .reason = WIRE_REASON_MERGED };

		EACH_PRESENT(c, p) {
			nak.target = p->incarnation;
			DATAGRAM(c, p, nak, &nak);
		}
		membership_rejoin(c, "merged");
		return;
	}
	count(c, STAT_merges);
	if (m->present)
		membership_died(c, m, "it follows nobody any more");
	election_rise(c, h->term);
	keepalive_send(c);
}

/*
 * Who is late, and whose master has gone meanwhile, goes on by itself when nobody has called
 * it dead for an interval, and nobody can have done so and be gone (verdict.c).
 */
static struct mono alone_due(const struct cluster *c)
{
	return mono_add(serving_rival(c) ? c->rival : c->late_since, c->cfg.detection);
}

void election_tick(struct cluster *c)
{
	if (c->leaving && !c->complete)
		return;
	if (c->role == CLUSTER_OFFERING && due(c, c->offer_end))
		become_master(c);
	else if ((c->role == CLUSTER_JOINING ||
		  (c->role == CLUSTER_MEMBER && !c->master)) &&
		 due(c, mono_max(c->offer_at, c->not_before)) && !c->late)
		offer(c);
	else if (c->late && c->role == CLUSTER_MEMBER && !c->master &&
		 due(c, alone_due(c)))
		verdict_wake(c);
}

struct mono election_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (c->role == CLUSTER_OFFERING)
		return c->offer_end;
	if (c->role == CLUSTER_JOINING || (c->role == CLUSTER_MEMBER && !c->master))
		t = mono_max(c->offer_at, c->not_before);
	if (c->late && c->role == CLUSTER_MEMBER && !c->master)
		t = alone_due(c);
	return t;
}
