/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The right to serve: leases, lateness, and the proof of mastership.
 *
 * The right to serve is a lease. A keepalive carries the sender's clock as a stamp, and
 * the other side echoes the last stamp that it has heard. A member that knows that its
 * master has heard its stamp of time T may serve until T + detection interval, since the
 * master declares nobody dead earlier; for the master, any one member's echo will do.
 *
 * Who has no such right cannot give it. A master that was cut off alone may have been
 * replaced, and who has slept through that would go on by its word. So a master whose lease
 * is over echoes nobody, until one has echoed it that was not stopped, or all have.
 *
 * The same echo is the only proof of mastership. A datagram may have waited in a queue
 * for a second, until the part that it tells of is gone; so the list of a master that is
 * not ours decides nothing unless it carries a stamp of ours from within the last
 * interval. Who hears an unproved one challenges its sender, and a living master answers
 * with the stamp at once. While its own master is heard, a member follows no other.
 *
 * Who was stopped is *late*: it does not know what became of it, serves nothing, accuses
 * nobody, and asks. A member is late no more when its master, or one that is proved, echoes
 * a stamp from after it woke. A late master may have been replaced, and a member that was
 * stopped or deaf meanwhile would not know it; so one member's word is not enough. It goes
 * on when *every* member of its list stands in its own term and has echoed a stamp from
 * after it woke. Could it have been replaced nevertheless? A new master is made by members
 * of the list, or has started from nothing. One of the list that had accused the master, or
 * followed another, would not have it in its list any more, or be of a later term; its
 * keepalive would not come, or not count. And who has just heard from the master accuses it
 * an interval later at the earliest. Otherwise it goes on when there was no proof of a master
 * of a later term for an interval; but if there was time for one of its company to replace it,
 * and that one has died or is silent, it begins anew (verdict.c).
 *
 * If the machine stopped that runs them all, those who vouch are late as well. The same
 * holds: none of them can accuse the master after it fell late, until it has waited for a
 * whole interval; nor while it offers, since lateness ends an offer. Who starts from
 * nothing, and was not stopped, becomes master after 400 ms without an answer at the
 * earliest; it holds no session, and gives way when they hear each other. So an absence
 * longer than VOUCH_MAX is not ended by those who are late. The members then go on by the
 * master's echo as ever.
 */
#include "cluster/internal.h"

/* An absence up to this may be ended by those who were absent too. */
#define VOUCH_MAX (600 * MONO_MS)

void serving_late(struct cluster *c)
{
	if (!c->late) {
		count(c, STAT_late);
		core_log(c, "late by %llu us",
			 (unsigned long long)(mono_since(c->now, c->wanted) / MONO_US));
	}
	c->bereft = c->late && c->bereft;
	c->late = membership_active(c);
	c->late_since = c->now;
	c->lease.ns = 0;
	c->master_heard = c->now;
	c->keepalive_at = c->now;
	EACH_PRESENT(c, m)
		m->heard = m->direct_heard = m->spoken_since = c->now;
	/* Objections may have come and gone. */
	if (c->role == CLUSTER_OFFERING) {
		core_set_role(c, c->complete ? CLUSTER_MEMBER : CLUSTER_JOINING, "late");
		c->offer_end = MONO_NEVER;
		c->offer_at = c->now;
	}
	if (mono_before(c->offer_at, mono_add(c->now, c->cfg.detection)))
		c->offer_at = mono_add(c->now, c->cfg.detection);
	if (c->orphaned.ns != UINT64_MAX)
		c->orphaned = c->now;
}

void serving_wake(struct cluster *c, const char *why)
{
	core_log(c, "no longer late: %s", why);
	c->late = false;
	c->woke = c->keepalive_at = c->now;
	c->review_all = true;
}

/* An echo of a stamp from after we woke up proves that the speaker knows us as we are. */
void serving_echo(struct cluster *c, struct member *m, uint64_t echo)
{
	struct mono until;

	if (echo > c->now.ns || echo <= m->echo)
		return;
	m->echo = echo;
	if (c->role != CLUSTER_MASTER && m->id != c->master)
		return;
	if (c->late && c->role == CLUSTER_MASTER)
		return;
	if (c->late && echo >= c->late_since.ns)
		serving_wake(c, "echo");
	if (c->sure.ns < echo)
		c->sure.ns = echo;
	until = mono_add((struct mono){ echo }, c->cfg.detection);
	if (mono_before(c->lease, until))
		c->lease = until;
}

bool serving_grants(const struct cluster *c)
{
	return c->role != CLUSTER_MASTER || membership_count(c) == 1 ||
	       mono_before(c->now, c->lease);
}

bool serving_believes(const struct cluster *c, struct member *from, uint64_t echo,
		      bool late)
{
	/* A late member is told nothing by who is late too. */
	if (c->role != CLUSTER_MASTER || c->late)
		return !c->late || (c->role != CLUSTER_MASTER && !late);
	if (!late || serving_grants(c))
		return true;
	if (echo <= c->now.ns)
		from->vouched = echo;
	EACH_PRESENT((struct cluster *)c, m)
		if (m->vouched < c->lease.ns)
			return false;
	return true;
}

/* Within an interval of the latest proof nobody can have called it dead. */
void serving_bereave(struct cluster *c)
{
	if (c->late && mono_since(c->now, c->sure) > c->cfg.detection)
		c->bereft = true;
}

/* A late master hears from a member of its term, see the head of this file. */
void serving_vouch(struct cluster *c, struct member *from, uint64_t echo, bool late)
{
	struct mono oldest = c->now;
	bool any_late = false;

	if (echo > c->now.ns || echo < c->late_since.ns)
		return;
	from->vouched = echo;
	from->vouched_late = late;
	EACH_PRESENT(c, m) {
		if (m->vouched < c->late_since.ns)
			return;
		any_late = any_late || m->vouched_late;
		oldest = mono_min(oldest, (struct mono){ m->vouched });
	}
	if (c->bereft || c->rival.ns >= c->late_since.ns ||
	    (any_late && mono_since(c->now, c->sure) > VOUCH_MAX))
		return;
	serving_wake(c, "all members have echoed");
	c->sure = oldest;
	c->lease = mono_add(oldest, c->cfg.detection);
}

/* A list proves nothing by itself: it may have waited in a queue until all was over. */
bool serving_proven(const struct cluster *c, const struct wire_master_keepalive *k)
{
	uint64_t proof = k->answer;

	for (unsigned i = 0; i < k->members_count; i++)
		if (k->members[i].id == c->cfg.self &&
		    k->members[i].incarnation == c->incarnation &&
		    k->members[i].echo > proof)
			proof = k->members[i].echo;
	return proof && proof <= c->now.ns && c->now.ns - proof < c->cfg.detection &&
	       (!c->late || proof >= c->late_since.ns);
}

void serving_challenge(struct cluster *c, struct member *to)
{
	struct wire_challenge m = { .stamp = c->now.ns };

	count(c, STAT_challenges);
	DATAGRAM(c, to, challenge, &m);
}

void recv_challenge(struct cluster *c, struct member *from, const struct wire_header *h,
		    struct unpack *u)
{
	struct wire_challenge m;

	if (wire_decode_challenge(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (!c->late)
		keepalive_as_master(c, from, m.stamp);
}

bool serving_rival(const struct cluster *c)
{
	return c->rival.ns >= c->late_since.ns &&
	       mono_since(c->now, c->rival) < c->cfg.detection;
}

bool cluster_serves(const struct cluster *c, unit_id unit, struct mono now)
{
	return unit < CLUSTER_UNITS && c->units[unit].active && !c->units[unit].resting &&
	       cluster_lives(c, now);
}

bool cluster_lives(const struct cluster *c, struct mono now)
{
	/* A clock that goes back gives nothing back. */
	now = mono_max(now, c->now);
	if (c->late || !membership_active(c))
		return false;
	if (c->wanted.ns != UINT64_MAX &&
	    mono_since(now, c->wanted) >= c->cfg.detection / 2)
		return false;
	/* Another may have begun while it was stopped: their lists meet first. */
	if (c->role == CLUSTER_MASTER && membership_count(c) == 1)
		return mono_since(now, c->woke) >= c->cfg.detection / 4;
	return mono_before(now, c->lease);
}
