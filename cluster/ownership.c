/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The owner table: who owns a unit, who succeeds, and at which epoch.
 *
 * The owner alone writes a unit's row within an epoch, and counts the row's version up. A
 * new owner takes a higher epoch. So rows merge without a judge: the higher (epoch,
 * version) wins everywhere, and who owned the unit at a lower epoch lets it go at once.
 *
 * A death needs no round: the successor of a dead owner activates the unit by itself. So
 * it must never be unclear who the successor is. The owner changes it from B to C in
 * these steps, and moves the unit by one step more:
 *
 *   steady ---> preparing: C gets all records and counters; B is the successor still, and
 *     ^         counters are not committed meanwhile
 *     |             | C holds all
 *     |             v
 *     |         switching: the row says (C, previous B); commit needs both. B, when it
 *     |         reads that, yields: from then on it will not take over. If the owner dies
 *     |         now, C leaves B some time to take over, since B may not have read it
 *     |             | B has yielded, or is dead
 *     +-------------+
 *     | the unit is moving to C, or this member is leaving or unable
 *     v
 *   released: this member has let go; C activates, with a new epoch
 *
 * A successor that is silent cannot be replaced before it is dead or has yielded, however
 * soon its silence is noticed: until then it may take over, and so must hold whatever is
 * committed. Commit waits for that, for a detection interval at most.
 */
#include <string.h>

#include "cluster/internal.h"

#define HANDOVER_RETRY (20 * MONO_MS)
#define RELEASE_RETRY (100 * MONO_MS)
#define TAKEOVER_RETRY (20 * MONO_MS)
#define TABLE_RETRY (50 * MONO_MS)
#define PREPARING_MAX 256
#define PROVE_TIME (20 * MONO_MS)

bool ownership_fit(const struct cluster *c, member_id id)
{
	const struct member *m = core_member(c, id);

	if (!m)
		return false;
	if (m == c->self)
		return c->complete && c->able && !c->leaving;
	return m->present && m->complete && m->able;
}

static uint64_t weight(unit_id u, member_id id)
{
	uint64_t h = ((uint64_t)u << 16 | id) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 32;
	return h * UINT64_C(0x94d049bb133111eb) ^ h;
}

/*
 * The fit member with the highest weight for this unit, so that the successors of one
 * owner's units are spread over all others. Members with a live stream go first.
 */
member_id ownership_choose(const struct cluster *c, unit_id u, member_id owner)
{
	member_id best = 0;
	uint64_t best_weight = 0;
	bool best_linked = false;

	EACH_MEMBER((struct cluster *)c, m) {
		bool linked = m->linked || m == c->self;
		uint64_t w = weight(u, m->id);

		if (m->id == owner || !ownership_fit(c, m->id))
			continue;
		if (!best || linked > best_linked ||
		    (linked == best_linked && w > best_weight)) {
			best = m->id;
			best_weight = w;
			best_linked = linked;
		}
	}
	return best;
}

static uint64_t row_hash(unit_id u, const struct entry *e)
{
	uint64_t h = (e->epoch ^ (uint64_t)u << 48) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 31;
	h = (h + e->version) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 29;
}

void ownership_set(struct cluster *c, unit_id u, const struct entry *e)
{
	struct unit *unit = &c->units[u];

	c->digest ^= row_hash(u, &unit->e) ^ row_hash(u, e);
	c->table_version++;
	unit->e = *e;
	if (e->epoch > unit->floor)
		unit->floor = e->epoch;
	c->upcall_table = true;
}

static void announce(struct cluster *c, unit_id u, bool loud)
{
	unit_set_add(&c->announce, u);
	c->announce_loud = c->announce_loud || loud;
}

static void to_wire(const struct cluster *c, unit_id u, struct wire_entry *w)
{
	const struct entry *e = &c->units[u].e;

	*w = (struct wire_entry){ u,
				  e->epoch,
				  e->version,
				  e->successor,
				  e->previous,
				  e->moving_to,
				  e->unproven ? WIRE_UNPROVEN : 0 };
}

static void set_handover(struct cluster *c, unit_id u, enum handover h)
{
	struct unit *unit = &c->units[u];
	bool busy = h != HANDOVER_STEADY || unit->e.moving_to;

	unit->handover = h;
	if (busy != unit_set_has(&c->busy, u)) {
		if (busy)
			unit_set_add(&c->busy, u), c->nbusy++;
		else
			unit_set_remove(&c->busy, u), c->nbusy--;
	}
	if (busy) {
		unit->retry = mono_add(c->now, h == HANDOVER_RELEASED ? RELEASE_RETRY
								      : HANDOVER_RETRY);
		c->handover_at = mono_min(c->handover_at, unit->retry);
	}
}

/* The owner's change of its own row, within the epoch. */
static void amend(struct cluster *c, unit_id u, member_id successor, member_id previous,
		  member_id moving_to)
{
	struct unit *unit = &c->units[u];
	struct entry e = unit->e;

	e.version++;
	e.successor = successor;
	e.previous = previous;
	e.moving_to = moving_to;
	ownership_set(c, u, &e);
	unit->last = c->position + 1; /* that of the announcement */
	announce(c, u, false);
	c->upcall_committed = true;
}

/* Letting go. */

static void let_go(struct cluster *c, unit_id u, struct unit_set *lost)
{
	struct unit *unit = &c->units[u];

	if (unit->active) {
		unit_set_add(lost, u);
		c->nactive--;
	}
	unit->active = false;
	counters_set_target(c, u, 0);
	set_handover(c, u, HANDOVER_STEADY);
	if (unit_set_has(&c->busy, u))
		unit_set_remove(&c->busy, u), c->nbusy--;
	unit_set_remove(&c->respread, u);
	unit_set_remove(&c->announce, u);
	EACH_MEMBER(c, m) {
		unit_set_remove(&m->need, u);
		m->synced[u] = NOT_SENT;
	}
}

static void tell_lost(struct cluster *c, const struct unit_set *lost)
{
	static const struct unit_set none;

	if (unit_set_empty(lost))
		return;
	EACH_IN(lost, u)
		count(c, STAT_units_lost);
	c->io.units(c->io.ctx, &none, lost, c->activation);
}

void ownership_drop_all(struct cluster *c)
{
	static const struct entry nothing;
	struct unit_set lost = { { 0 } };

	EACH_UNIT(u) {
		struct unit *unit = &c->units[u];

		let_go(c, u, &lost);
		ownership_set(c, u, &nothing);
		unit->replacing = false;
		unit->retry = unit->orphan = MONO_NEVER;
	}
	memset(&c->deferred, 0, sizeof(c->deferred));
	c->deferred_at = MONO_NEVER;
	tell_lost(c, &lost);
}

/* Taking. */

static int next_activation(struct cluster *c)
{
	uint32_t next = c->activation + 1;

	if (next > CLUSTER_ACTIVATION_MAX || c->io.save_activation(c->io.ctx, next)) {
		count(c, STAT_activation_failed);
		return -1;
	}
	c->activation = next;
	count(c, STAT_activations);
	return 0;
}

/* A new epoch of this member, above all that was ever heard of. All get the unit anew. */
static void new_epoch(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct entry e = { .epoch = epoch_make((unit->floor >> 16) + 1, c->cfg.self) };
	struct session *s;

	e.successor = ownership_choose(c, u, c->cfg.self);
	e.unproven = unit->e.unproven;
	ownership_set(c, u, &e);
	unit->orphan = MONO_NEVER;
	unit->last = c->position + 1;
	set_handover(c, u, HANDOVER_STEADY);
	LIST_FOREACH(s, &unit->sessions, in_unit)
		memset(s->committed, 0, sizeof(s->committed));
	replica_need(c, u);
	counters_set_target(c, u, e.successor);
	counters_thaw(c, u);
	announce(c, u, true);
}

/*
 * A successor holds what was committed. Any other member that is to begin with the state
 * that it happens to have may be behind; so is whoever succeeds such an owner at once.
 */
static bool unproven(const struct cluster *c, const struct unit *unit)
{
	member_id owner = epoch_owner(unit->e.epoch);

	if (owner && (owner == c->cfg.self || unit->e.successor == c->cfg.self))
		return unit->e.unproven;
	return unit->nsessions;
}

/* The row of a successor that may not hold all yet: it is named before it has caught up. */
static void doubt(struct cluster *c, struct unit *unit)
{
	unit->e.unproven = unit->nsessions > 0;
	if (unit->e.unproven)
		c->prove_at = mono_min(c->prove_at, mono_add(c->now, PROVE_TIME));
}

static void begin_unproven(struct cluster *c, struct unit *unit)
{
	unit->skips = unproven(c, unit);
	unit->remembered = false;
	if (unit->skips)
		count(c, STAT_unproven);
	doubt(c, unit);
}

/*
 * The tunnels have skipped what may have been used, and the successor holds that: from
 * now on it would succeed with state that is not behind.
 */
static bool proved(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct member *m = core_member(c, unit->e.successor);
	struct session *s;

	if (unit->handover != HANDOVER_STEADY || unit->e.moving_to || unit->e.previous ||
	    (m && !replica_holds(c, m, u, unit->last)))
		return false;
	LIST_FOREACH(s, &unit->sessions, in_unit)
		for (unsigned i = 0; m && i < CLUSTER_COUNTERS; i++)
			if (s->held[i] < s->counter[i])
				return false;
	return true;
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
		amend(c, u, unit->e.successor, 0, 0);
	}
}

bool cluster_unproven(const struct cluster *c, unit_id unit)
{
	return unit < CLUSTER_UNITS && c->units[unit].skips;
}

bool ownership_activate(struct cluster *c, const struct unit_set *set, const char *why)
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
	if (c->late || !ownership_fit(c, c->cfg.self) || next_activation(c))
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

/* Another part of the cluster had a higher epoch: rise above it and go on. */
void ownership_raise(struct cluster *c, unit_id u)
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
	if (unit->active || unit->e.successor != c->cfg.self || owner == c->cfg.self ||
	    !owner || (m && m->present))
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
	if (n && ownership_activate(c, &now, "takeover")) {
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

void ownership_died(struct cluster *c, struct member *m)
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

/* Merging. */

void ownership_show(struct cluster *c, struct member *to, unit_id u)
{
	struct wire_entries m = { .entries_count = 1 };

	to_wire(c, u, &m.entries[0]);
	DATAGRAM(c, to, entries, &m);
}

/* The owner waits for this. It is told at the end of the call, of all units at once, so
 * that it can release them together. */
static void yield(struct cluster *c, unit_id u)
{
	unit_set_add(&c->yields, u);
	c->nyields++;
}

static void send_yields(struct cluster *c, struct member *owner)
{
	struct wire_yield m = { 0 };

	EACH_IN(&c->yields, u) {
		const struct entry *e = &c->units[u].e;

		if (epoch_owner(e->epoch) != owner->id || e->previous != c->cfg.self)
			continue;
		m.units[m.units_count++] =
		    (struct wire_ref){ u, e->epoch, e->version, 0 };
		if (m.units_count == WIRE_DATAGRAM_REFS) {
			DATAGRAM(c, owner, yield, &m);
			m.units_count = 0;
		}
	}
	if (m.units_count)
		DATAGRAM(c, owner, yield, &m);
}

void ownership_yields(struct cluster *c)
{
	if (!c->nyields)
		return;
	EACH_MEMBER(c, m)
		if (m != c->self)
			send_yields(c, m);
	memset(&c->yields, 0, sizeof(c->yields));
	c->nyields = 0;
}

/* What a message of rows has brought: told, and answered, for all of them at once. */
struct merged {
	struct unit_set lost;
	struct unit_set show; /* rows of which the sender has older ones */
};

/* The row that another member shows; what it says of a unit that is ours decides. */
static void merge(struct cluster *c, struct member *from, unit_id u,
		  const struct entry *e, struct merged *merged)
{
	struct unit *unit = &c->units[u];
	bool newer = e->epoch > unit->e.epoch;

	if (e->epoch < unit->e.epoch) {
		if (epoch_owner(e->epoch) == from->id)
			unit_set_add(&merged->show, u);
		return;
	}
	if (!newer &&
	    (e->version <= unit->e.version || epoch_owner(e->epoch) == c->cfg.self)) {
		if (e->version == unit->e.version && e->previous == c->cfg.self)
			yield(c, u);
		return;
	}
	if (newer) {
		if (unit->active)
			count(c, STAT_stale_epoch);
		let_go(c, u, &merged->lost);
		unit->orphan = MONO_NEVER;
		unit->next = 0;
		unit->replacing = false;
	}
	unit->retry = MONO_NEVER;
	ownership_set(c, u, e);
	unit_set_remove(&c->deferred, u);
	if (e->previous == c->cfg.self)
		yield(c, u);
	/* Its owner may be dead already, for us. */
	if (e->successor == c->cfg.self) {
		struct member *owner = core_member(c, epoch_owner(e->epoch));

		if (owner && owner != c->self && !owner->present) {
			unit_set_add(&c->deferred, u);
			c->deferred_at = mono_add(c->now, TAKEOVER_RETRY);
		}
	}
}

static void show_all(struct cluster *c, struct member *to, const struct unit_set *set)
{
	struct wire_entries m = { 0 };

	EACH_IN(set, u) {
		to_wire(c, u, &m.entries[m.entries_count++]);
		if (m.entries_count == WIRE_DATAGRAM_ENTRIES) {
			DATAGRAM(c, to, entries, &m);
			m.entries_count = 0;
		}
	}
	if (m.entries_count)
		DATAGRAM(c, to, entries, &m);
}

static void conclude(struct cluster *c, struct member *from, const struct merged *merged)
{
	tell_lost(c, &merged->lost);
	show_all(c, from, &merged->show);
}

void ownership_merge(struct cluster *c, struct member *from, unit_id u,
		     const struct entry *e)
{
	struct merged merged = { 0 };

	merge(c, from, u, e, &merged);
	conclude(c, from, &merged);
}

void recv_entries(struct cluster *c, struct member *from, const struct wire_header *h,
		  struct unpack *u)
{
	struct wire_entries m;
	struct merged merged = { 0 };

	if (wire_decode_entries(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.entries_count; i++) {
		const struct wire_entry *w = &m.entries[i];
		struct entry e = { w->epoch,	w->version,   w->successor,
				   w->previous, w->moving_to, w->flags & WIRE_UNPROVEN };

		merge(c, from, w->unit, &e, &merged);
	}
	conclude(c, from, &merged);
	if (m.flags & WIRE_ENTRIES_WHOLE && from->id == c->master && !c->have_table) {
		c->have_table = true;
		c->table_retry = MONO_NEVER;
	}
	if (m.flags & WIRE_ENTRIES_ANSWER)
		ownership_send_table(c, from, 0);
	/* Part of its stream: to be acknowledged like a record. */
	if (m.position && from->receiving && m.position > from->received) {
		from->received = m.position;
		replica_acks(c);
	}
	membership_check_complete(c);
}

void ownership_send_table(struct cluster *c, struct member *to, uint8_t flags)
{
	struct wire_entries m = { .flags = flags | WIRE_ENTRIES_WHOLE };

	count(c, STAT_table_exchanges);
	EACH_UNIT(u)
		if (c->units[u].e.epoch)
			to_wire(c, u, &m.entries[m.entries_count++]);
	STREAM(c, to, entries, &m);
}

void recv_yield(struct cluster *c, struct member *from, const struct wire_header *h,
		struct unpack *u)
{
	struct wire_yield m;

	if (wire_decode_yield(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.units_count; i++) {
		struct unit *unit = &c->units[m.units[i].unit];

		if (unit->active && unit->handover == HANDOVER_SWITCHING &&
		    unit->e.epoch == m.units[i].epoch && unit->e.previous == from->id &&
		    m.units[i].version >= unit->switched) {
			unit->e.previous = 0; /* the review settles it */
			c->review_busy = true;
		}
	}
}

void recv_release(struct cluster *c, struct member *from, const struct wire_header *h,
		  struct unpack *u)
{
	struct wire_release m;
	struct unit_set set = { { 0 } };

	if (wire_decode_release(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.units_count; i++) {
		struct unit *unit = &c->units[m.units[i].unit];

		if (unit->e.epoch == m.units[i].epoch &&
		    unit->e.successor == c->cfg.self &&
		    epoch_owner(unit->e.epoch) == from->id)
			unit_set_add(&set, m.units[i].unit);
	}
	ownership_activate(c, &set, "released to us");
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
	ownership_activate(c, &set, "granted");
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
		ownership_raise(c, m.units[i].unit);
	}
}

void recv_move(struct cluster *c, struct member *from, const struct wire_header *h,
	       struct unpack *u)
{
	struct wire_move m;

	if (wire_decode_move(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.units_count; i++)
		ownership_begin_move(c, m.units[i].unit, m.units[i].epoch, m.units[i].to);
}

void ownership_begin_move(struct cluster *c, unit_id u, uint64_t epoch, member_id to)
{
	struct unit *unit = &c->units[u];

	if (!unit->active || unit->e.epoch != epoch || unit->e.moving_to ||
	    to == c->cfg.self || !ownership_fit(c, to))
		return;
	count(c, STAT_moves_begun);
	amend(c, u, unit->e.successor, unit->e.previous, to);
	set_handover(c, u, unit->handover);
	c->review_busy = true;
}

/* The owner's review of its own units. */

static bool caught_up(const struct cluster *c, unit_id u, member_id id)
{
	const struct member *m = core_member(c, id);

	return m && m->linked && replica_holds(c, m, u, c->units[u].last) &&
	       counters_caught_up(c, u);
}

static void prepare(struct cluster *c, unit_id u, member_id next)
{
	struct unit *unit = &c->units[u];

	unit->next = next;
	set_handover(c, u, HANDOVER_PREPARING);
	counters_set_target(c, u, next);
}

static void abandon(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	unit->next = 0;
	set_handover(c, u, HANDOVER_STEADY);
	counters_set_target(c, u, unit->e.successor);
	counters_thaw(c, u);
}

static void settle(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	amend(c, u, unit->e.successor, 0, unit->e.moving_to);
	set_handover(c, u, HANDOVER_STEADY);
	counters_thaw(c, u);
}

/* The successor is gone: another one must have all before anything is committed again. */
static void replace_successor(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	member_id next = ownership_choose(c, u, c->cfg.self);
	struct session *s;

	unit->next = 0;
	doubt(c, unit);
	amend(c, u, next, 0, ownership_fit(c, unit->e.moving_to) ? unit->e.moving_to : 0);
	set_handover(c, u, HANDOVER_STEADY);
	LIST_FOREACH(s, &unit->sessions, in_unit)
		memset(s->committed, 0, sizeof(s->committed));
	counters_set_target(c, u, next);
	counters_thaw(c, u);
}

static bool give_up(const struct cluster *c)
{
	return c->leaving || !c->able;
}

static member_id desired_successor(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct member *m = core_member(c, unit->e.successor);

	if (unit->e.moving_to)
		return unit->e.moving_to;
	if (!ownership_fit(c, unit->e.successor) || unit_set_has(&c->respread, u) ||
	    (m && !m->linked))
		return ownership_choose(c, u, c->cfg.self);
	return unit->e.successor;
}

/*
 * There is no other, and this member is not able to work: it keeps the unit's state, and
 * shows it to those who join, but does not serve it.
 */
static void keep(struct cluster *c, unit_id u, struct unit_set *lost)
{
	struct unit *unit = &c->units[u];

	if (unit->active) {
		unit_set_add(lost, u);
		unit->active = false;
		c->nactive--;
	}
	counters_set_target(c, u, 0);
	amend(c, u, 0, 0, 0);
	set_handover(c, u, HANDOVER_RELEASED);
}

void ownership_keep(struct cluster *c, unit_id u)
{
	struct entry e = { .epoch =
			       epoch_make((c->units[u].floor >> 16) + 1, c->cfg.self) };
	struct unit_set none = { { 0 } };

	e.unproven = unproven(c, &c->units[u]);
	c->units[u].remembered = false;
	ownership_set(c, u, &e);
	c->units[u].orphan = MONO_NEVER;
	replica_need(c, u);
	keep(c, u, &none);
	c->announce_loud = true;
}

static void review_steady(struct cluster *c, unit_id u, struct unit_set *release,
			  struct unit_set *lost)
{
	struct unit *unit = &c->units[u];
	member_id want;

	if (unit->e.moving_to && !ownership_fit(c, unit->e.moving_to)) {
		amend(c, u, unit->e.successor, unit->e.previous, 0);
		set_handover(c, u, HANDOVER_STEADY);
	}
	want = desired_successor(c, u);
	unit_set_remove(&c->respread, u);
	if (!want && give_up(c)) {
		keep(c, u, lost);
	} else if (want && want != unit->e.successor) {
		if (c->nbusy < PREPARING_MAX || unit_set_has(&c->busy, u))
			prepare(c, u, want);
		else
			unit_set_add(&c->respread, u);
	} else if (want && (give_up(c) || unit->e.moving_to == want) &&
		   caught_up(c, u, want)) {
		unit_set_add(release, u);
	}
}

static void review_unit(struct cluster *c, unit_id u, struct unit_set *release,
			struct unit_set *lost)
{
	struct unit *unit = &c->units[u];
	struct member *successor = core_member(c, unit->e.successor);
	struct member *previous = core_member(c, unit->e.previous);

	/* A new incarnation of the same member is as good as none until it is complete. */
	if (unit->e.successor &&
	    !(successor && successor->present && successor->complete))
		replace_successor(c, u);
	if (unit->handover == HANDOVER_SWITCHING &&
	    !(previous && previous->present && previous->complete))
		settle(c, u);
	if (unit->handover == HANDOVER_STEADY)
		review_steady(c, u, release, lost);
	if (unit->handover == HANDOVER_PREPARING) {
		struct member *next = core_member(c, unit->next);

		if (!ownership_fit(c, unit->next) || !next->linked) {
			abandon(c, u);
		} else if (caught_up(c, u, unit->next)) {
			amend(c, u, unit->next, unit->e.successor, unit->e.moving_to);
			unit->switched = unit->e.version;
			set_handover(c, u, HANDOVER_SWITCHING);
			/* The announcement asks the old successor to yield. */
			if (!unit->e.previous)
				settle(c, u);
		}
	}
}

/*
 * To the successors, with the last values of the counters. One message for each of them,
 * so that it activates all of its units with one number.
 */
static void send_releases(struct cluster *c, const struct unit_set *set)
{
	EACH_PRESENT(c, to) {
		struct wire_release m = { 0 };

		EACH_IN(set, u) {
			struct unit *unit = &c->units[u];

			if (unit->e.successor != to->id || !to->linked ||
			    !replica_holds(c, to, u, unit->last))
				continue;
			replica_send_counters(c, to, u);
			m.units[m.units_count++] =
			    (struct wire_ref){ u, unit->e.epoch, unit->e.version, 0 };
		}
		if (m.units_count)
			STREAM(c, to, release, &m);
	}
}

static void release(struct cluster *c, const struct unit_set *set)
{
	tell_lost(c, set);
	EACH_IN(set, u) {
		c->units[u].active = false;
		c->nactive--;
		count(c, STAT_units_released);
		counters_set_target(c, u, 0);
		set_handover(c, u, HANDOVER_RELEASED);
	}
	send_releases(c, set);
}

/* The unit was given away, but nobody took it. */
static void review_released(struct cluster *c, unit_id u, struct unit_set *again)
{
	struct unit *unit = &c->units[u];
	struct member *to = core_member(c, unit->e.successor);

	if (to && to->present && to->complete)
		return;
	if (!give_up(c)) {
		unit_set_add(again, u);
	} else {
		member_id next = ownership_choose(c, u, c->cfg.self);

		if (next || unit->e.successor)
			amend(c, u, next, 0, 0);
	}
}

static void review(struct cluster *c, bool all)
{
	struct unit_set release_set = { { 0 } }, lost = { { 0 } }, again = { { 0 } };

	c->review_all = c->review_busy = false;
	if (c->late || (c->role != CLUSTER_MEMBER && c->role != CLUSTER_MASTER &&
			c->role != CLUSTER_OFFERING))
		return;
	EACH_UNIT(u) {
		if (!all && !unit_set_has(&c->busy, u))
			continue;
		if (c->units[u].active)
			review_unit(c, u, &release_set, &lost);
		else if (c->units[u].handover == HANDOVER_RELEASED)
			review_released(c, u, &again);
	}
	tell_lost(c, &lost);
	if (!unit_set_empty(&release_set))
		release(c, &release_set);
	if (!unit_set_empty(&again))
		ownership_activate(c, &again, "taken back");
	/* Units that became ready by this review are seen at the next one. */
	c->review_all = c->review_busy = false;
}

void ownership_review(struct cluster *c)
{
	if (c->review_all || (c->review_busy && c->nbusy))
		review(c, c->review_all);
}

/* Who joins or becomes able is to succeed its share of every owner's units. */
void ownership_respread(struct cluster *c)
{
	EACH_UNIT(u)
		if (c->units[u].active)
			unit_set_add(&c->respread, u);
	c->review_all = true;
}

void ownership_announce(struct cluster *c)
{
	struct wire_entries m = { 0 };
	unsigned n;

	if (unit_set_empty(&c->announce))
		return;
	m.position = ++c->position;
	EACH_IN(&c->announce, u) {
		to_wire(c, u, &m.entries[m.entries_count++]);
		if (c->units[u].active)
			c->units[u].last = m.position;
	}
	EACH_PRESENT(c, to)
		if (to->linked && STREAM(c, to, entries, &m) == 0 && to->syncing)
			to->sent = m.position;
	n = m.entries_count;
	m.position = 0;
	for (unsigned at = 0; c->announce_loud && at < n; at += m.entries_count) {
		m.entries_count =
		    n - at < WIRE_DATAGRAM_ENTRIES ? n - at : WIRE_DATAGRAM_ENTRIES;
		memmove(m.entries, m.entries + (at ? WIRE_DATAGRAM_ENTRIES : 0),
			(n - at) * sizeof(m.entries[0]));
		EACH_PRESENT(c, to)
			DATAGRAM(c, to, entries, &m);
	}
	memset(&c->announce, 0, sizeof(c->announce));
	c->announce_loud = false;
}

static void retry_handovers(struct cluster *c)
{
	struct unit_set released = { { 0 } };

	c->handover_at = MONO_NEVER;
	c->review_busy = true;
	EACH_IN(&c->busy, u) {
		struct unit *unit = &c->units[u];
		struct member *previous = core_member(c, unit->e.previous);

		if (due(c, unit->retry)) {
			if (unit->handover == HANDOVER_RELEASED)
				unit_set_add(&released, u);
			else if (unit->handover == HANDOVER_SWITCHING && previous)
				ownership_show(c, previous, u);
			unit->retry = mono_add(c->now, unit->handover == HANDOVER_RELEASED
							   ? RELEASE_RETRY
							   : HANDOVER_RETRY);
		}
		c->handover_at = mono_min(c->handover_at, unit->retry);
	}
	if (!unit_set_empty(&released))
		send_releases(c, &released);
}

void ownership_tick(struct cluster *c)
{
	struct member *master = core_member(c, c->master);

	if (!c->late && due(c, c->deferred_at)) {
		struct unit_set candidates = c->deferred;

		take_over(c, &candidates);
	}
	if (!c->late && due(c, c->handover_at))
		retry_handovers(c);
	if (!c->late && due(c, c->prove_at))
		prove(c);
	if (!unit_set_empty(&c->respread))
		c->review_all = true;
	if (c->role == CLUSTER_MEMBER && !c->have_table && due(c, c->table_retry) &&
	    master) {
		struct wire_entries m = { .flags = WIRE_ENTRIES_ANSWER };

		STREAM(c, master, entries, &m);
		c->table_retry = mono_add(c->now, TABLE_RETRY);
	}
}

struct mono ownership_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (!c->late)
		t = mono_min(c->prove_at, mono_min(c->deferred_at, c->handover_at));
	if (c->role == CLUSTER_MEMBER && !c->have_table && c->master)
		t = mono_min(t, c->table_retry);
	return t;
}
