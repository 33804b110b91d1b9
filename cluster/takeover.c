/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking units: as the successor of a dead owner, by the master's grant, or released to
 * us. All of them end in takeover_activate(): a new activation number, a new epoch.
 */
#include <string.h>

#include "cluster/internal.h"

#define TAKEOVER_RETRY (20 * MONO_MS)
#define PROVE_TIME (20 * MONO_MS)
#define NUMBER_RETRY (500 * MONO_MS)

/* All are told: who has asked this member to take units finds another one. */
static void set_number_failed(struct cluster *c, bool failed)
{
	c->number_at = failed ? mono_add(c->now, NUMBER_RETRY) : MONO_NEVER;
	if (c->number_failed == failed)
		return;
	c->number_failed = failed;
	core_log(c, "activation numbers can%s be stored", failed ? "not" : "");
	c->keepalive_at = c->now;
	membership_changed(c);
	if (!failed)
		handover_respread(c);
}

int takeover_number(struct cluster *c)
{
	uint32_t next = c->activation + 1;
	bool failed =
	    next > CLUSTER_ACTIVATION_MAX || c->io.save_activation(c->io.ctx, next);

	set_number_failed(c, failed);
	if (failed) {
		count(c, STAT_activation_failed);
		return -1;
	}
	c->activation = next;
	c->number_lost = false;
	count(c, STAT_activations);
	return 0;
}

/* A new epoch of this member, above all that was ever heard of. All get the unit anew. */
static void new_epoch(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct entry e = { .epoch = epoch_make((unit->floor >> 16) + 1, c->cfg.self) };
	struct session *s;

	e.successor = table_choose(c, u, c->cfg.self);
	e.unproven = unit->e.unproven;
	table_set(c, u, &e);
	unit->orphan = MONO_NEVER;
	unit->last = c->position + 1;
	handover_set(c, u, HANDOVER_STEADY);
	LIST_FOREACH(s, &unit->sessions, in_unit)
		memset(s->committed, 0, sizeof(s->committed));
	replica_need(c, u);
	counters_set_target(c, u, e.successor);
	counters_thaw(c, u);
	table_change(c, u, true);
}

/*
 * A successor holds what was committed. Any other member that is to begin with the state
 * that it happens to have may be behind; so is whoever succeeds such an owner at once. And so
 * is a successor that has begun anew since, when the owner was there no more to find another.
 */
bool takeover_unproven(const struct cluster *c, const struct unit *unit)
{
	member_id owner = epoch_owner(unit->e.epoch);

	if (owner && owner == c->cfg.self)
		return unit->e.unproven;
	if (owner && unit->e.successor == c->cfg.self && unit->held == unit->e.epoch &&
	    !unit->remembered)
		return unit->e.unproven;
	return unit->nsessions;
}

/*
 * The row of a successor that may not hold all yet: it is named before it has caught up. It
 * has when it holds what there is a little later, since what comes after that is not
 * committed before it holds it.
 */
void takeover_doubt(struct cluster *c, struct unit *unit)
{
	unit->proof = 0;
	unit->e.unproven = unit->nsessions > 0;
	if (unit->e.unproven)
		c->prove_at = mono_min(c->prove_at, mono_add(c->now, PROVE_TIME));
}

static void begin_unproven(struct cluster *c, struct unit *unit)
{
	unit->skips = takeover_unproven(c, unit);
	unit->remembered = unit->mine = false;
	if (unit->skips)
		count(c, STAT_unproven);
	takeover_doubt(c, unit);
}

/* The tunnels have skipped what may have been used: that, and all else, is to be held. */
static void begin_proof(struct unit *unit)
{
	struct session *s;

	unit->proof = unit->last;
	LIST_FOREACH(s, &unit->sessions, in_unit)
		memcpy(s->proof, s->counter, sizeof(s->proof));
}

/* From now on the successor would succeed with state that is not behind. */
static bool proved(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct member *m = core_member(c, unit->e.successor);
	struct session *s;

	if (unit->handover != HANDOVER_STEADY || unit->e.previous)
		return false;
	if (!unit->proof)
		begin_proof(unit);
	if (m && !replica_holds(c, m, u, unit->proof))
		return false;
	LIST_FOREACH(s, &unit->sessions, in_unit)
		for (unsigned i = 0; m && i < CLUSTER_COUNTERS; i++)
			if (s->held[i] < s->proof[i])
				return false;
	return true;
}

/*
 * What was skipped is more than counters usually are behind: whoever is the next to begin
 * with what it happens to have must know of it.
 */
static void tell_counters(struct cluster *c, unit_id u)
{
	EACH_PRESENT(c, m)
		if (m->linked && m->syncing && m->synced[u] != NOT_SENT &&
		    !unit_set_has(&m->need, u))
			replica_send_counters(c, m, u);
}

static void prove(struct cluster *c)
{
	c->prove_at = MONO_NEVER;
	EACH_UNIT(u) {
		struct unit *unit = &c->units[u];

		if (!unit->active || !unit->e.unproven)
			continue;
		if (!proved(c, u)) {
			c->prove_at = mono_add(c->now, PROVE_TIME);
			continue;
		}
		unit->e.unproven = false;
		if (unit->skips) {
			tell_counters(c, u);
			unit->anew = c->position + 1;
		}
		handover_amend(c, u, unit->e.successor, 0, unit->e.moving_to);
	}
}

bool cluster_unproven(const struct cluster *c, unit_id unit)
{
	return unit < CLUSTER_UNITS && c->units[unit].skips;
}

bool takeover_activate(struct cluster *c, const struct unit_set *set, const char *why)
{
	static const struct unit_set none;
	struct unit_set gained = { { 0 } };
	unsigned n = 0;

	EACH_IN(set, u)
		if (!c->units[u].active) {
			unit_set_add(&gained, u);
			n++;
		}
	if (!n)
		return true;
	if (c->late || !c->complete || takeover_number(c))
		return false;
	core_log(c, "activates %u units, number %u: %s", n, c->activation, why);
	EACH_IN(&gained, u) {
		c->units[u].active = true;
		c->units[u].replacing = false;
		begin_unproven(c, &c->units[u]);
		c->nactive++;
		unit_set_remove(&c->deferred, u);
		new_epoch(c, u);
	}
	c->io.units(c->io.ctx, &gained, &none, c->activation);
	/* The others learn the number, so that it is never used again. */
	c->keepalive_at = c->now;
	c->review_all = true;
	return true;
}

void takeover_renew(struct cluster *c, const struct unit_set *set)
{
	static const struct unit_set none;

	EACH_IN(set, u) {
		struct unit *unit = &c->units[u];

		unit->skips = false;
		unit->next = 0;
		takeover_doubt(c, unit);
		new_epoch(c, u);
	}
	c->io.units(c->io.ctx, set, &none, c->activation);
	c->keepalive_at = c->now;
	c->review_all = true;
}

/* Another part of the cluster had a higher epoch: rise above it and go on. */
void takeover_raise(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	if (!unit->active || unit->floor <= unit->e.epoch)
		return;
	count(c, STAT_epochs_raised);
	new_epoch(c, u);
}

/* Should this member take the unit over, now that its owner is gone? */
static bool mine_to_take(struct cluster *c, unit_id u, bool *wait)
{
	struct unit *unit = &c->units[u];
	member_id owner = epoch_owner(unit->e.epoch);
	struct member *m = core_member(c, owner), *previous;

	*wait = false;
	/* An owner that died and is here again has begun anew. */
	if (unit->active || unit->e.successor != c->cfg.self || owner == c->cfg.self ||
	    !owner || (m && m->present && unit->orphan.ns == UINT64_MAX))
		return false;
	previous = core_member(c, unit->e.previous);
	if (previous && previous->present && previous->id != owner &&
	    unit->retry.ns == UINT64_MAX) {
		/* It may not know yet that it is to yield: it goes first. */
		unit->retry = mono_add(c->now, c->cfg.detection / 2);
	}
	if (unit->retry.ns != UINT64_MAX && !due(c, unit->retry)) {
		*wait = true;
		return true;
	}
	return true;
}

static void take_over(struct cluster *c, const struct unit_set *candidates)
{
	struct unit_set now = { { 0 } };
	unsigned n = 0;
	bool wait;

	memset(&c->deferred, 0, sizeof(c->deferred));
	EACH_IN(candidates, u) {
		if (!mine_to_take(c, u, &wait))
			continue;
		unit_set_add(wait ? &c->deferred : &now, u);
		n += !wait;
	}
	if (n && takeover_activate(c, &now, "takeover")) {
		EACH_IN(&now, u) {
			c->units[u].retry = MONO_NEVER;
			count(c, STAT_takeovers);
		}
	} else if (n) {
		for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
			c->deferred.bits[i] |= now.bits[i];
	}
	c->deferred_at =
	    unit_set_empty(&c->deferred) ? MONO_NEVER : mono_add(c->now, TAKEOVER_RETRY);
}

void takeover_defer(struct cluster *c, unit_id u)
{
	unit_set_add(&c->deferred, u);
	c->deferred_at = mono_add(c->now, TAKEOVER_RETRY);
}

void takeover_died(struct cluster *c, struct member *m)
{
	struct unit_set candidates = c->deferred;

	EACH_UNIT(u) {
		if (epoch_owner(c->units[u].e.epoch) != m->id)
			continue;
		c->units[u].retry = MONO_NEVER;
		c->units[u].orphan = c->now;
		c->units[u].next = 0;
		c->units[u].replacing = false;
		unit_set_add(&candidates, u);
	}
	c->orphans_at = c->now;
	c->review_all = true;
	take_over(c, &candidates);
}

void recv_grant(struct cluster *c, struct member *from, const struct wire_header *h,
		struct unpack *u)
{
	struct wire_grant m;
	struct unit_set set = { { 0 } };

	if (wire_decode_grant(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.units_count; i++) {
		const struct wire_ref *w = &m.units[i];

		if (c->units[w->unit].e.epoch > w->epoch)
			continue;
		if (w->epoch > c->units[w->unit].floor)
			c->units[w->unit].floor = w->epoch;
		unit_set_add(&set, w->unit);
	}
	takeover_activate(c, &set, "granted");
}

/* Epochs that another part of the cluster reached, before it joined this one. */
void recv_report(struct cluster *c, struct member *from, const struct wire_header *h,
		 struct unpack *u)
{
	struct wire_report m;

	if (wire_decode_report(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.units_count; i++) {
		struct unit *unit = &c->units[m.units[i].unit];

		if (m.units[i].epoch > unit->floor)
			unit->floor = m.units[i].epoch;
		takeover_raise(c, m.units[i].unit);
	}
}

void takeover_tick(struct cluster *c)
{
	struct unit_set candidates = c->deferred;

	if (c->late)
		return;
	if (c->complete && due(c, c->number_at))
		takeover_number(c);
	if (due(c, c->deferred_at))
		take_over(c, &candidates);
	if (due(c, c->prove_at))
		prove(c);
}

struct mono takeover_timeout(const struct cluster *c)
{
	struct mono t = mono_min(c->prove_at, c->deferred_at);

	if (c->complete)
		t = mono_min(t, c->number_at);
	return c->late ? MONO_NEVER : t;
}
