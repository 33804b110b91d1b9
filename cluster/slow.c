/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members whose keepalives come, but that do not take what is sent to them.
 *
 * What is under way to one member is bounded (replica.c): beyond that, changes are marked,
 * and sent together when what is under way is acknowledged. So a slow member costs no
 * memory, and nobody waits for it but those whose successor it is. An owner does this:
 *
 *   behind, or without a connection, for two detection intervals: slow. It succeeds to no
 *       unit of this owner. It yields as any successor does, by datagram; if all others are
 *       slow, too, the unit has no successor. It may succeed again when it was not behind
 *       for SLOW_PAST.
 *   nothing is acknowledged for STALLED: the stream is given up. What waits in it is
 *       dropped, and a new one resumes where the old one was acknowledged.
 *   always behind, for BEHIND: that is held against it like a stream that is given up.
 *   held against it STRIKES times within STRIKES_PAST: the master is told, and makes it
 *       go; it comes back, and is not complete before it has everything.
 *
 * It is a matter of one member's word against another's, so nobody goes if that may make
 * things worse: who finds most others slow has the fault itself, and says nothing; the
 * master does not believe who is slow itself, and keeps the last complete member besides
 * it. Nor is there anybody who makes the master go. In all of these cases the stream is
 * given up and resumed again and again.
 *
 * Time is counted by looks, so that this member's own lateness is not held against others.
 */
#include <stdio.h>

#include "cluster/internal.h"

#define LOOKS 4			   /* in a detection interval */
#define SLOW (2 * LOOKS)	   /* looks */
#define STALLED_LOOKS (10 * LOOKS) /* ... and not less than this: */
#define STALLED_MIN (2 * MONO_SEC)
#define BEHIND (50 * LOOKS)    /* looks */
#define SLOW_PAST (50 * LOOKS) /* looks */
#define STRIKES 3
#define STRIKES_PAST (60 * MONO_SEC)

static uint64_t period(const struct cluster *c)
{
	return c->cfg.detection / LOOKS;
}

static bool owes(const struct member *m)
{
	return !m->linked || !m->syncing || m->acked < m->sent || !m->ended ||
	       !unit_set_empty(&m->need);
}

void slow_forget(struct member *m)
{
	m->watched = m->watched_acked = m->behind = m->stalled = 0;
	m->slow = false;
	m->strikes = 0;
}

/* Whether there is a complete member besides that one and this one. */
static bool company(struct cluster *c, const struct member *m)
{
	EACH_PRESENT(c, p)
		if (p != m && p->complete && !p->expelled)
			return true;
	return false;
}

static void expel(struct cluster *c, struct member *m, const char *accuser)
{
	char why[WIRE_BARRED_MAX + 1 - 64];

	if (!m->present || m->expelled || !company(c, m))
		return;
	snprintf(why, sizeof(why), "it does not take what %s sends to it", accuser);
	if (admission_expel(c, m, false, why) == 0)
		count(c, STAT_slow_expelled);
}

/* Then the fault is likely to be here. */
static bool most_are_slow(struct cluster *c)
{
	unsigned slow = 0, others = 0;

	EACH_PRESENT(c, m) {
		others++;
		slow += m->slow;
	}
	return 2 * slow > others;
}

static void complain(struct cluster *c, struct member *m)
{
	struct wire_slow w = { .target = m->incarnation, .id = m->id };
	struct member *master = core_member(c, c->master);

	core_log(c, "member %u is slow again and again", m->id);
	if (m == master || most_are_slow(c))
		return;
	count(c, STAT_slow_reported);
	if (c->role == CLUSTER_MASTER)
		expel(c, m, c->self->name);
	else if (master && master->present)
		DATAGRAM(c, master, slow, &w);
}

void recv_slow(struct cluster *c, struct member *from, const struct wire_header *h,
	       struct unpack *u)
{
	struct wire_slow w;
	struct member *m;

	if (wire_decode_slow(u, &w)) {
		count(c, STAT_bad_message);
		return;
	}
	m = core_member(c, w.id);
	if (!c->late && !from->slow && !from->expelled && m && m != c->self &&
	    m != from && m->incarnation == w.target)
		expel(c, m, from->name);
}

static void strike(struct cluster *c, struct member *m)
{
	if (mono_since(c->now, m->struck_at) >= STRIKES_PAST)
		m->strikes = 0;
	m->struck_at = c->now;
	m->behind = m->stalled = 0;
	if (++m->strikes >= STRIKES) {
		complain(c, m);
		m->strikes--;
	}
}

static void give_up(struct cluster *c, struct member *m)
{
	core_log(c, "member %u takes nothing: its stream begins anew", m->id);
	count(c, STAT_streams_given_up);
	strike(c, m);
	if (!c->io.give_up)
		return;
	m->linked = false;
	replica_reset(c, m);
	c->review_all = true;
	c->io.give_up(c->io.ctx, m->id);
}

static void set_slow(struct cluster *c, struct member *m, bool slow)
{
	core_log(c, "member %u %s", m->id, slow ? "is slow" : "is slow no more");
	m->slow = slow;
	c->upcall_table = true;
	if (slow) {
		count(c, STAT_members_slow);
		c->review_all = true;
	} else {
		handover_respread(c);
	}
}

static uint64_t patience(const struct cluster *c)
{
	uint64_t stalled = STALLED_LOOKS * period(c);

	return stalled > STALLED_MIN ? stalled : STALLED_MIN;
}

/* Whether it has acknowledged all that there was at an earlier look. */
static bool keeps_up(struct member *m)
{
	/* A stream that is resumed may begin below. */
	if (m->watched > m->sent)
		m->watched = m->sent;
	if (!m->linked || !m->syncing || !m->ended || m->acked < m->watched ||
	    !unit_set_empty(&m->need))
		return false;
	m->watched = m->sent;
	return true;
}

static void look(struct cluster *c, struct member *m)
{
	uint64_t step = period(c);
	/* Without a SYNC, its stream to us does not move either. */
	bool moves = m->syncing && (m->acked > m->watched_acked || m->acked >= m->sent);

	/* Who learns is not behind: it is not complete. */
	m->behind = keeps_up(m) || !m->complete ? 0 : m->behind + step;
	if (m->behind)
		m->behind_at = c->now;
	if (!m->slow && m->behind >= SLOW * step)
		set_slow(c, m, true);
	else if (m->slow && mono_since(c->now, m->behind_at) >= SLOW_PAST * step)
		set_slow(c, m, false);
	if (!m->linked) {
		/* It may be that the other side has given up a little sooner. */
		if (m->stalled > patience(c) / 2)
			m->stalled = patience(c) / 2;
		/* That is not its fault more than ours. */
		if (m->behind > SLOW * step)
			m->behind = SLOW * step;
		return;
	}
	m->stalled = moves ? 0 : m->stalled + step;
	m->watched_acked = m->acked;
	if (m->stalled >= patience(c))
		give_up(c, m);
	else if (m->behind >= BEHIND * step)
		strike(c, m);
}

void slow_tick(struct cluster *c)
{
	if (!due(c, c->watch_at))
		return;
	c->watch_at = MONO_NEVER;
	/* Who is not heard, or does not hear, has no lease: then the fault is not theirs. */
	if (cluster_lives(c, c->now))
		EACH_PRESENT(c, m)
			look(c, m);
}

void slow_review(struct cluster *c)
{
	if (c->watch_at.ns != UINT64_MAX || c->role == CLUSTER_LEFT)
		return;
	EACH_PRESENT(c, m)
		if (owes(m) || m->slow || m->behind)
			c->watch_at = mono_add(c->now, period(c));
}
