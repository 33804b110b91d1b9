/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The owner table: who owns a unit, who succeeds, and at which epoch.
 *
 * The owner alone writes a unit's row within an epoch, and counts the row's version up. A
 * new owner takes a higher epoch. So rows merge without a judge: the higher (epoch,
 * version) wins everywhere, and who owned the unit at a lower epoch lets it go at once.
 */
#include <string.h>

#include "cluster/internal.h"

#define TABLE_RETRY (50 * MONO_MS)
/* Above all that the owner of an epoch has counted up to. */
#define VERSION_LAST (UINT32_C(1) << 31)

bool table_fit(const struct cluster *c, member_id id)
{
	const struct member *m = core_member(c, id);

	if (!m)
		return false;
	if (m == c->self)
		return c->complete && ready(c);
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
 * owner's units are spread over all others. Members with a live stream go first. One that is
 * slow is better than none only if this member is to give its units up.
 */
member_id table_choose(const struct cluster *c, unit_id u, member_id owner)
{
	member_id best = 0;
	uint64_t best_weight = 0;
	bool best_linked = false;

	EACH_MEMBER((struct cluster *)c, m) {
		bool linked = (m->linked && !m->slow) || m == c->self;
		uint64_t w = weight(u, m->id);

		if (m->id == owner || !table_fit(c, m->id) || (m->slow && willing(c)))
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

void table_set(struct cluster *c, unit_id u, const struct entry *e)
{
	struct unit *unit = &c->units[u];

	c->digest ^= row_hash(u, &unit->e) ^ row_hash(u, e);
	c->table_version++;
	unit->e = *e;
	if (e->epoch > unit->floor)
		unit->floor = e->epoch;
	c->upcall_table = true;
}

void table_change(struct cluster *c, unit_id u, bool loud)
{
	unit_set_add(&c->announce, u);
	c->announce_loud = c->announce_loud || loud;
}

void table_row(const struct cluster *c, unit_id u, struct wire_entry *w)
{
	const struct entry *e = &c->units[u].e;

	*w = (struct wire_entry){ u,
				  e->epoch,
				  e->version,
				  e->successor,
				  e->previous,
				  e->moving_to,
				  (e->unproven ? WIRE_UNPROVEN : 0) |
				      (e->vacant ? WIRE_VACANT : 0) |
				      (e->forgotten ? WIRE_FORGOTTEN : 0) };
}

struct entry table_entry(const struct wire_entry *w)
{
	return (struct entry){
		.epoch = w->epoch,
		.version = w->version,
		.successor = w->successor,
		.previous = w->previous,
		.moving_to = w->moving_to,
		.unproven = w->flags & WIRE_UNPROVEN,
		.vacant = w->flags & WIRE_VACANT,
		.forgotten = w->flags & WIRE_FORGOTTEN,
	};
}

void table_let_go(struct cluster *c, unit_id u, struct unit_set *lost)
{
	struct unit *unit = &c->units[u];

	if (unit->active) {
		unit_set_add(lost, u);
		c->nactive--;
	}
	unit->active = false;
	counters_set_target(c, u, 0);
	handover_set(c, u, HANDOVER_STEADY);
	if (unit_set_has(&c->busy, u))
		unit_set_remove(&c->busy, u), c->nbusy--;
	unit_set_remove(&c->respread, u);
	unit_set_remove(&c->announce, u);
	merge_let_go(c, u);
	EACH_MEMBER(c, m) {
		unit_set_remove(&m->need, u);
		m->synced[u] = NOT_SENT;
	}
}

void table_tell_lost(struct cluster *c, const struct unit_set *lost)
{
	static const struct unit_set none;

	if (unit_set_empty(lost))
		return;
	EACH_IN(lost, u)
		count(c, STAT_units_lost);
	c->io.units(c->io.ctx, &none, lost, c->activation);
}

void table_drop_all(struct cluster *c)
{
	static const struct entry nothing;
	struct unit_set lost = { { 0 } };

	EACH_UNIT(u) {
		struct unit *unit = &c->units[u];

		table_let_go(c, u, &lost);
		table_set(c, u, &nothing);
		unit->replacing = false;
		unit->held = 0;
		unit->retry = unit->orphan = MONO_NEVER;
	}
	memset(&c->deferred, 0, sizeof(c->deferred));
	c->deferred_at = MONO_NEVER;
	table_tell_lost(c, &lost);
}

/* Without its thousand rows. */
static void begin_entries(struct wire_entries *m, uint64_t position, uint8_t flags)
{
	m->position = position;
	m->flags = flags;
	m->entries_count = 0;
}

void table_show(struct cluster *c, struct member *to, unit_id u)
{
	struct wire_entries m;

	begin_entries(&m, 0, 0);
	table_row(c, u, &m.entries[m.entries_count++]);
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
	struct wire_yield m;

	m.units_count = 0;
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

void table_yields(struct cluster *c)
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

/* The row is of an earlier incarnation of this member, which others cannot tell. */
static void disown(struct cluster *c, unit_id u)
{
	struct entry e = c->units[u].e;

	e.version |= VERSION_LAST;
	e.vacant = true;
	e.forgotten = !c->units[u].remembered;
	table_set(c, u, &e);
	table_change(c, u, true);
}

/*
 * Its owner has begun anew, and was shown an older row than ours by somebody who did not know
 * better: that nobody serves the unit is true, that a successor which was replaced or
 * dismissed still is one is not.
 */
static struct entry update_vacant(struct cluster *c, unit_id u, const struct entry *e)
{
	struct entry mine = c->units[u].e;

	if (!e->vacant || mine.vacant || e->epoch != mine.epoch ||
	    (e->version & ~VERSION_LAST) >= mine.version)
		return *e;
	mine.version |= VERSION_LAST;
	mine.vacant = true;
	mine.forgotten = e->forgotten;
	table_change(c, u, true);
	return mine;
}

/* The row that another member shows; what it says of a unit that is ours decides. */
static void merge(struct cluster *c, struct member *from, unit_id u,
		  const struct entry *e, struct merged *merged)
{
	struct unit *unit = &c->units[u];
	bool newer = e->epoch > unit->e.epoch;
	struct entry row;

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
		/* It is ours that was stale: nothing is refused. */
		if (unit->active)
			c->statistics[STAT_stale_epoch]++;
		if (unit->active)
			merge_overtaken(c, u, epoch_owner(e->epoch));
		table_let_go(c, u, &merged->lost);
		unit->orphan = MONO_NEVER;
		unit->next = 0;
		unit->replacing = false;
	}
	row = update_vacant(c, u, e);
	e = &row;
	unit->retry = MONO_NEVER;
	table_set(c, u, e);
	unit_set_remove(&c->deferred, u);
	if (epoch_owner(e->epoch) == c->cfg.self && !e->vacant)
		disown(c, u);
	if (e->previous == c->cfg.self)
		yield(c, u);
	/* Its owner may be dead already, for us. Who is not complete succeeded in another run. */
	if (e->successor == c->cfg.self && c->complete) {
		struct member *owner = core_member(c, epoch_owner(e->epoch));

		if (owner && owner != c->self && !owner->present)
			takeover_defer(c, u);
	}
}

static void show_all(struct cluster *c, struct member *to, const struct unit_set *set)
{
	struct wire_entries m;

	begin_entries(&m, 0, 0);
	EACH_IN(set, u) {
		table_row(c, u, &m.entries[m.entries_count++]);
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
	table_tell_lost(c, &merged->lost);
	if (!unit_set_empty(&merged->show))
		show_all(c, from, &merged->show);
}

void table_merge(struct cluster *c, struct member *from, unit_id u, const struct entry *e)
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
		struct entry e = table_entry(w);

		merge(c, from, w->unit, &e, &merged);
	}
	conclude(c, from, &merged);
	if (m.flags & WIRE_ENTRIES_WHOLE && from->id == c->master && !c->have_table) {
		c->have_table = true;
		c->table_retry = MONO_NEVER;
	}
	if (m.flags & WIRE_ENTRIES_ANSWER)
		table_send(c, from, 0);
	/* Part of its stream: to be acknowledged like a record. */
	if (from->receiving)
		intake_received(c, from, m.position);
	membership_check_complete(c);
}

void table_send(struct cluster *c, struct member *to, uint8_t flags)
{
	struct wire_entries m;
	struct unit_set known = { { 0 } };

	/* A request by datagram may have come in many copies, and costs many datagrams. */
	if (!to->linked && to->shown_at.ns &&
	    mono_since(c->now, to->shown_at) < c->cfg.detection / 4)
		return;
	to->shown_at = c->now;
	count(c, STAT_table_exchanges);
	EACH_UNIT(u)
		if (c->units[u].e.epoch)
			unit_set_add(&known, u);
	if (!to->linked) {
		show_all(c, to, &known);
		begin_entries(&m, 0, flags);
		DATAGRAM(c, to, entries, &m);
		return;
	}
	begin_entries(&m, 0, flags | WIRE_ENTRIES_WHOLE);
	EACH_IN(&known, u)
		table_row(c, u, &m.entries[m.entries_count++]);
	STREAM(c, to, entries, &m);
}

static void send_announcement(struct cluster *c)
{
	struct wire_entries m;
	unsigned n;

	begin_entries(&m, ++c->position, 0);
	EACH_IN(&c->announce, u) {
		table_row(c, u, &m.entries[m.entries_count++]);
		if (epoch_owner(c->units[u].e.epoch) == c->cfg.self)
			c->units[u].last = m.position;
	}
	EACH_PRESENT(c, to)
		if (to->linked && STREAM(c, to, entries, &m) == 0 && to->syncing)
			to->sent = m.position;
	n = m.entries_count;
	m.position = 0;
	for (unsigned at = 0; at < n; at += m.entries_count) {
		m.entries_count =
		    n - at < WIRE_DATAGRAM_ENTRIES ? n - at : WIRE_DATAGRAM_ENTRIES;
		memmove(m.entries, m.entries + (at ? WIRE_DATAGRAM_ENTRIES : 0),
			(n - at) * sizeof(m.entries[0]));
		EACH_PRESENT(c, to)
			if (c->announce_loud || !to->linked)
				DATAGRAM(c, to, entries, &m);
	}
	memset(&c->announce, 0, sizeof(c->announce));
	c->announce_loud = false;
}

void table_announce(struct cluster *c)
{
	if (!unit_set_empty(&c->announce))
		send_announcement(c);
}

static bool wants_table(const struct cluster *c)
{
	return c->role == CLUSTER_MEMBER && !c->have_table && c->master;
}

void table_tick(struct cluster *c)
{
	struct wire_entries m;
	struct member *master = core_member(c, c->master);

	if (!wants_table(c) || !master || !due(c, c->table_retry))
		return;
	begin_entries(&m, 0, WIRE_ENTRIES_ANSWER);
	STREAM(c, master, entries, &m);
	c->table_retry = mono_add(c->now, TABLE_RETRY);
}

struct mono table_timeout(const struct cluster *c)
{
	return wants_table(c) ? c->table_retry : MONO_NEVER;
}
