/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The master's distribution of units: it gives units that nobody owns to the least loaded
 * member, and evens the load out by moves.
 *
 * Balance is lexicographic. First sessions over capacity: a unit with sessions moves while
 * that lowers the greater of the two loads. Then empty units, while counts over capacity
 * differ by more than one. So few sessions spread as well as many.
 */
#include <stdlib.h>
#include <string.h>

#include "cluster/internal.h"

#define ORPHAN_PERIOD (50 * MONO_MS)

struct load {
	struct member *m;
	uint32_t capacity;
	unsigned sessions, empty;
};

static unsigned fit_members(struct cluster *c, struct load *loads)
{
	unsigned n = 0;

	EACH_MEMBER(c, m) {
		if (!table_fit(c, m->id))
			continue;
		loads[n++] = (struct load){
			.m = m,
			.capacity = m == c->self ? c->cfg.capacity
						 : (m->capacity ? m->capacity : 1),
		};
	}
	EACH_UNIT(u)
		for (unsigned i = 0; i < n; i++) {
			const struct unit *unit = &c->units[u];
			member_id owner = unit->e.moving_to ? unit->e.moving_to
							    : epoch_owner(unit->e.epoch);

			if (owner != loads[i].m->id)
				continue;
			if (unit->nsessions)
				loads[i].sessions += unit->nsessions;
			else
				loads[i].empty++;
		}
	return n;
}

/* a/b < c/d */
static bool less(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return a * d < c * b;
}

static struct load *least(struct load *loads, unsigned n)
{
	struct load *best = &loads[0];

	for (unsigned i = 1; i < n; i++)
		if (less(loads[i].sessions + loads[i].empty, loads[i].capacity,
			 best->sessions + best->empty, best->capacity))
			best = &loads[i];
	return best;
}

/* The successor first, and some time for it; then whoever has the least to do. */
static struct member *heir(struct cluster *c, struct unit *unit, struct load *loads,
			   unsigned n)
{
	uint64_t since = mono_since(c->now, unit->orphan);
	struct load *l;

	if (epoch_owner(unit->e.epoch) && table_fit(c, unit->e.successor) &&
	    unit->orphan.ns != UINT64_MAX && since < 6 * c->cfg.detection)
		return since < 2 * c->cfg.detection ? NULL
						    : core_member(c, unit->e.successor);
	if (table_fit(c, unit->next))
		return core_member(c, unit->next);
	l = least(loads, n);
	l->empty++;
	unit->next = l->m->id;
	return l->m;
}

static void grant(struct cluster *c, struct member *to, const struct unit_set *set)
{
	struct wire_grant m = { 0 };

	if (unit_set_empty(set))
		return;
	if (to == c->self) {
		takeover_activate(c, set, "unowned");
		return;
	}
	EACH_IN(set, u)
		m.units[m.units_count++] =
		    (struct wire_ref){ u, c->units[u].floor, 0, to->id };
	STREAM(c, to, grant, &m);
}

static bool unserved(const struct cluster *c, const struct unit *unit)
{
	member_id owner = epoch_owner(unit->e.epoch);
	struct member *m = core_member(c, owner);

	if (m == c->self && owner)
		return !unit->active && unit->handover != HANDOVER_RELEASED;
	return !m || !m->present || unit->orphan.ns != UINT64_MAX;
}

static void assign_orphans(struct cluster *c)
{
	struct load loads[CLUSTER_MEMBERS_MAX];
	struct unit_set to[CLUSTER_MEMBERS_MAX];
	unsigned n = fit_members(c, loads);

	c->orphans_at = mono_add(c->now, ORPHAN_PERIOD);
	if (!n) {
		EACH_UNIT(u)
			if (c->units[u].floor && c->complete && unserved(c, &c->units[u]))
				handover_keep(c, u);
		return;
	}
	memset(to, 0, sizeof(to));
	EACH_UNIT(u) {
		struct unit *unit = &c->units[u];
		struct member *m;

		if (!unserved(c, unit))
			continue;
		if (unit->orphan.ns == UINT64_MAX)
			unit->orphan = c->now;
		m = heir(c, unit, loads, n);
		if (m)
			unit_set_add(&to[m - c->members], u);
	}
	for (unsigned i = 0; i < c->nmembers; i++)
		grant(c, &c->members[i], &to[i]);
}

/* One step of balance: from whom to whom, and whether a unit with sessions. */
static bool worst_pair(struct load *loads, unsigned n, bool sessions, struct load **high,
		       struct load **low)
{
	*high = *low = &loads[0];
	for (unsigned i = 1; i < n; i++) {
		struct load *l = &loads[i];
		uint64_t v = sessions ? l->sessions : l->empty;
		uint64_t h = sessions ? (*high)->sessions : (*high)->empty;
		uint64_t w = sessions ? (*low)->sessions : (*low)->empty;

		if (less(h, (*high)->capacity, v, l->capacity))
			*high = l;
		if (less(v, l->capacity, w, (*low)->capacity))
			*low = l;
	}
	return *high != *low;
}

/* The heaviest unit of `high` whose move to `low` lowers the greater load of the two. */
static int pick(struct cluster *c, const struct load *high, const struct load *low,
		bool sessions, const struct unit_set *taken)
{
	int best = -1;
	unsigned best_weight = 0;
	uint64_t there = sessions ? low->sessions : low->empty;
	uint64_t here = sessions ? high->sessions : high->empty;

	EACH_UNIT(u) {
		const struct unit *unit = &c->units[u];
		unsigned w = sessions ? unit->nsessions : 1;

		if (epoch_owner(unit->e.epoch) != high->m->id || unit->e.moving_to ||
		    unit_set_has(taken, u) || !unit->nsessions != !sessions ||
		    w <= best_weight)
			continue;
		if (less(there + w, low->capacity, here, high->capacity)) {
			best = u;
			best_weight = w;
		}
	}
	return best;
}

/* The moves of a round, by the member that has to make them: one message each, so that
 * the units are released, and activated, together. */
struct orders {
	struct wire_move of[CLUSTER_MEMBERS_MAX];
};

static void order(struct cluster *c, struct orders *orders, const struct load *from,
		  const struct load *to, unit_id u)
{
	struct wire_move *m = &orders->of[from->m - c->members];

	m->units[m->units_count++] =
	    (struct wire_ref){ u, c->units[u].e.epoch, 0, to->m->id };
}

static void send_orders(struct cluster *c, const struct orders *orders)
{
	for (unsigned i = 0; i < c->nmembers; i++) {
		const struct wire_move *m = &orders->of[i];

		if (&c->members[i] != c->self) {
			if (m->units_count)
				STREAM(c, &c->members[i], move, m);
			continue;
		}
		for (unsigned k = 0; k < m->units_count; k++)
			handover_begin_move(c, m->units[k].unit, m->units[k].epoch,
					    m->units[k].to);
	}
}

static void choose_moves(struct cluster *c, struct load *loads, unsigned n,
			 struct orders *orders)
{
	struct unit_set taken = { { 0 } };
	struct load *high, *low;
	unsigned moves = 0;

	for (int sessions = 1; sessions >= 0; sessions--)
		while (moves < c->cfg.moves &&
		       worst_pair(loads, n, sessions, &high, &low)) {
			int u = pick(c, high, low, sessions, &taken);

			if (u < 0)
				break;
			unit_set_add(&taken, (unit_id)u);
			order(c, orders, high, low, (unit_id)u);
			moves++;
			if (sessions) {
				high->sessions -= c->units[u].nsessions;
				low->sessions += c->units[u].nsessions;
			} else {
				high->empty--;
				low->empty++;
			}
		}
}

static void balance(struct cluster *c)
{
	struct load loads[CLUSTER_MEMBERS_MAX];
	unsigned n = fit_members(c, loads);
	struct orders *orders;

	c->balance_at = mono_add(c->now, c->cfg.balance);
	EACH_UNIT(u)
		if (c->units[u].e.moving_to)
			return; /* the last round has not ended */
	if (n < 2)
		return;
	orders = calloc(1, sizeof(*orders));
	if (!orders)
		return;
	choose_moves(c, loads, n, orders);
	send_orders(c, orders);
	free(orders);
}

void assign_tick(struct cluster *c)
{
	if (c->role != CLUSTER_MASTER || c->late)
		return;
	if (due(c, c->orphans_at))
		assign_orphans(c);
	if (c->cfg.moves && due(c, c->balance_at))
		balance(c);
}

struct mono assign_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (c->role == CLUSTER_MASTER && !c->late) {
		t = c->orphans_at;
		if (c->cfg.moves)
			t = mono_min(t, c->balance_at);
	}
	return t;
}
