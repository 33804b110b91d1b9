/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is dead, by silence: the master judges the members, each member judges the master.
 *
 * Whoever is cut off hears all others fall silent, one a few milliseconds after the other.
 * It must not call the first of them dead, and commit with the second, who in truth is with
 * the first. So nobody is judged while another has begun to be silent: they are judged
 * together, or the other is heard again. And if those who are left are fewer than half,
 * they are more likely the ones who are cut off: they wait for some intervals more, in which
 * a short cut heals and nothing has happened.
 */
#include "cluster/internal.h"

/* Detection intervals that a minority waits in addition. */
#define MINORITY_WAIT 5

struct silence {
	struct mono first;  /* who has been silent for longest was heard then */
	struct mono newest; /* and who has fallen silent last */
	unsigned company;   /* members heard lately, this one too */
};

static void note(const struct cluster *c, struct silence *s, struct mono heard)
{
	if (mono_since(c->now, heard) < c->cfg.detection / 2)
		s->company++;
	else if (mono_before(s->newest, heard))
		s->newest = heard;
}

/* When those who are silent are to be judged, as things are now. */
static struct mono judge(const struct cluster *c, const struct silence *s)
{
	uint64_t interval = health_patience(c);
	struct mono t = mono_add(s->first, interval);

	if (!due(c, t))
		return t;
	if (2 * s->company < membership_count(c))
		return mono_add(s->newest, (1 + MINORITY_WAIT) * interval);
	/* One who is heard now and then does not put it off for ever. */
	return mono_min(mono_add(s->newest, interval), mono_add(t, interval));
}

static struct mono members_due(const struct cluster *c)
{
	struct silence s = { .first = MONO_NEVER, .company = 1 };

	EACH_PRESENT((struct cluster *)c, m) {
		s.first = mono_min(s.first, m->heard);
		note(c, &s, m->heard);
	}
	return s.first.ns == UINT64_MAX ? MONO_NEVER : judge(c, &s);
}

static struct mono master_due(const struct cluster *c)
{
	struct silence s = { .first = c->master_heard,
			     .newest = c->master_heard,
			     .company = 1 };

	if (mono_since(c->now, c->master_heard) < health_patience(c))
		return mono_add(c->master_heard, health_patience(c));
	EACH_PRESENT((struct cluster *)c, m)
		if (m->id != c->master)
			note(c, &s, m->heard);
	return judge(c, &s);
}

/*
 * Who had lost all others hears the first of them again: so the fault was here, or in the
 * middle, and the others get half an interval to be heard as well. Those who have said
 * nothing for long had it: one who is heard now and then does not keep the dead alive.
 */
void verdict_heard(struct cluster *c, struct member *m)
{
	uint64_t half = c->cfg.detection / 2;
	uint64_t pardon = (1 + MINORITY_WAIT) * c->cfg.detection;
	struct mono since = { mono_since(c->now, (struct mono){ half }) };
	bool alone = true;

	EACH_PRESENT(c, p)
		alone = alone && mono_since(c->now, p->heard) >= half;
	for (struct member *p = c->members; alone && p < c->members + c->nmembers; p++) {
		if (!p->present || mono_since(c->now, p->spoke) >= pardon)
			continue;
		p->heard = mono_max(p->heard, since);
		if (p->id == c->master)
			c->master_heard = mono_max(c->master_heard, since);
	}
	m->heard = c->now;
}

/* Who is late waits for an interval of silence, and for the proof of what it heard of. */
static struct mono wake_due(const struct cluster *c)
{
	struct mono since = c->role == CLUSTER_MASTER ? c->late_since : c->master_heard;

	if (serving_rival(c) && mono_before(since, c->rival))
		since = c->rival;
	return mono_add(since, c->cfg.detection);
}

struct mono verdict_timeout(const struct cluster *c)
{
	if (c->role != CLUSTER_MASTER && (c->role != CLUSTER_MEMBER || !c->master))
		return MONO_NEVER;
	if (c->late)
		return wake_due(c);
	return c->role == CLUSTER_MASTER ? members_due(c) : master_due(c);
}

/*
 * An interval has passed. If none of its company has spoken in it, others may have taken its
 * units over, and be gone since. If one is silent or has died, that one may have done so, if
 * there was time for it, and those who speak need not have heard of it; but if they were all
 * late as well, the machine stood still that runs them all, and time has passed for nobody.
 * Who may have been replaced begins anew, with what is remembered.
 */
bool verdict_wake(struct cluster *c)
{
	bool alone = membership_count(c) == 1, heard = alone, awake = alone;
	bool missed = c->bereft;

	EACH_PRESENT(c, m) {
		if (mono_before(c->late_since, m->heard)) {
			heard = true;
			awake = awake || !m->late;
		} else if (mono_since(c->late_since, c->sure) > c->cfg.detection) {
			missed = true;
		}
	}
	missed = !heard || (awake && missed);
	if (missed)
		join_resign(c, "late, and who may have replaced it is silent");
	else
		serving_wake(c, "silence");
	return !missed;
}

void verdict_tick(struct cluster *c)
{
	struct member *master = core_member(c, c->master);
	uint64_t patience = health_patience(c);

	if (c->late && due(c, verdict_timeout(c)) && !verdict_wake(c))
		return;
	/* Of who is late still, that is when it wakes: it accuses nobody before. */
	if (!due(c, verdict_timeout(c)))
		return;
	if (c->role == CLUSTER_MEMBER) {
		flapping_died(c, master);
		membership_died(c, master, "the master is silent");
		return;
	}
	EACH_PRESENT(c, m)
		if (mono_since(c->now, m->heard) >= patience) {
			if (!m->expelled)
				flapping_died(c, m);
			membership_died(c, m, m->expelled ? "expelled" : "silent");
		}
}
