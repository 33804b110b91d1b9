/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The master's distribution of units: it gives units that nobody owns to the least loaded
 * member, and evens the load out by moves.
 *
 * Balance is lexicographic. First load over capacity: a unit with a load moves while that
 * lowers the greater of the two members' loads. Then empty units, while counts over
 * capacity differ by more than one. So few sessions spread as well as many.
 *
 * Sessions are counted and traffic is measured. A difference that is within the noise of
 * the measurement moves nothing, and a unit that was moved for its traffic rests. Moves
 * of units with a load are limited in each round, since each of them makes somebody wait
 * for a moment; an empty unit is nobody's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/internal.h"

#define ORPHAN_PERIOD (50 * MONO_MS)
#define EMPTY_MOVES 256 /* of empty units in a round, of each member */
#define NOISE 16	/* one part in so many of a traffic is noise */
#define REST (20 * MONO_SEC)
#define REST_ORDERED (600 * MONO_SEC) /* of a unit that the operator has moved */
#define CAPACITY_MAX (1u << 20)	      /* so that no product overflows */

struct load {
	struct member *m;
	uint32_t capacity;
	uint64_t load, traffic; /* points; traffic is a part of the load */
	uint64_t empty;		/* units without a load */
	unsigned moved;		/* units away from it, in this round */
	bool stuck;		/* none of its units would improve anything */
};

static uint32_t capacity_of(const struct cluster *c, const struct member *m)
{
	uint32_t capacity = m == c->self ? c->cfg.capacity : m->capacity;

	if (!capacity)
		return 1;
	return capacity < CAPACITY_MAX ? capacity : CAPACITY_MAX;
}

static void add_unit(struct load *l, const struct unit *unit)
{
	uint64_t load = load_of(unit);

	l->load += load;
	l->traffic += unit->traffic;
	l->empty += !load;
}

static void remove_unit(struct load *l, const struct unit *unit)
{
	uint64_t load = load_of(unit);

	l->load -= load;
	l->traffic -= unit->traffic;
	l->empty -= !load;
}

static unsigned fit_members(struct cluster *c, struct load *loads)
{
	struct load *by_member[CLUSTER_MEMBERS_MAX] = { NULL };
	unsigned n = 0;

	EACH_MEMBER(c, m) {
		if (!table_fit(c, m->id) || (m != c->self && !m->linked))
			continue; /* what it owns it keeps, but no order reaches it */
		by_member[m - c->members] = &loads[n];
		loads[n++] = (struct load){ .m = m, .capacity = capacity_of(c, m) };
	}
	EACH_UNIT(u) {
		const struct unit *unit = &c->units[u];
		const struct member *m =
		    core_member(c, unit->e.moving_to ? unit->e.moving_to
						     : epoch_owner(unit->e.epoch));

		if (m && by_member[m - c->members])
			add_unit(by_member[m - c->members], unit);
	}
	return n;
}

/* a/b < c/d */
static bool less(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return a * d < c * b;
}

/* By what is balanced: the load, or the number of empty units. */
static uint64_t value_of(const struct load *l, bool loaded)
{
	return loaded ? l->load : l->empty;
}

static bool lighter(const struct load *a, const struct load *b, bool loaded)
{
	return less(value_of(a, loaded), a->capacity, value_of(b, loaded), b->capacity);
}

/* Of equally loaded members the one with fewer empty units. Those of the bits in `but` do not
 * count; NULL: nobody is left. */
static struct load *least_but(struct load *loads, unsigned n, bool loaded, uint32_t but)
{
	struct load *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (but >> i & 1)
			continue;
		if (!best || lighter(&loads[i], best, loaded) ||
		    (loaded && !lighter(best, &loads[i], true) &&
		     lighter(&loads[i], best, false)))
			best = &loads[i];
	}
	return best;
}

static struct load *least(struct load *loads, unsigned n, bool loaded)
{
	return least_but(loads, n, loaded, 0);
}

/* Has the state; whether it may work on it is another matter. */
static bool holds(const struct cluster *c, const struct member *m)
{
	if (m == c->self)
		return c->complete;
	return m && m->present && m->complete;
}

/* A new master does not know yet whether it has become complete: its vote does not tell. */
static bool unheard(const struct cluster *c, const struct member *m)
{
	return m && m != c->self && m->present && m->said != c->term;
}

/* Not one that has begun anew since the unit's owner was lost: nobody was there to send it
 * anything. */
static struct member *lasting(const struct cluster *c, const struct unit *unit,
			      member_id id)
{
	struct member *m = core_member(c, id);

	if (m && m != c->self && unit->orphan.ns != UINT64_MAX &&
	    !mono_before(m->joined_at, unit->orphan))
		return NULL;
	return m;
}

/*
 * The owner has died with the successor that it was changing to, or while it dismissed one:
 * may the former successor hold what was committed, and begin by itself, not having read that
 * it is to stand back?
 */
static bool may_begin(const struct cluster *c, const struct member *successor,
		      const struct member *previous)
{
	return !holds(c, successor) && !unheard(c, successor) &&
	       (holds(c, previous) || unheard(c, previous));
}

/*
 * The successor first, and some time for it; then whoever has the least to do. A successor
 * that is drained or not able takes the unit too, since it alone holds what was committed
 * for certain, and hands it on.
 */
static struct member *heir(struct cluster *c, struct unit *unit, struct load *loads,
			   unsigned n)
{
	struct member *successor = lasting(c, unit, unit->e.successor);
	struct member *previous = lasting(c, unit, unit->e.previous);
	uint64_t since = mono_since(c->now, unit->orphan);
	struct load *l;

	/* It remembers the unit, and is about to be complete again. */
	if (unit->e.vacant && !unit->e.forgotten && since < 6 * c->cfg.detection) {
		struct member *owner = core_member(c, epoch_owner(unit->e.epoch));

		return owner && table_fit(c, owner->id) ? owner : NULL;
	}
	/* Who has joined since does not hold what nobody could send it. */
	if (unit->e.vacant && successor && table_fit(c, successor->id))
		return successor;
	if (may_begin(c, successor, previous)) {
		if (table_fit(c, previous->id))
			return previous;
		if (since < c->cfg.detection / 2)
			return NULL;
	}
	if (epoch_owner(unit->e.epoch) && unit->orphan.ns != UINT64_MAX) {
		if (since < 2 * c->cfg.detection &&
		    (holds(c, successor) || unheard(c, successor)))
			return NULL;
		if (since < 6 * c->cfg.detection && holds(c, successor))
			return successor;
	}
	if (table_fit(c, unit->next))
		return core_member(c, unit->next);
	/* Of the others nobody knows what they hold. */
	if (unit->nsessions && unit->held == unit->e.epoch && table_fit(c, c->cfg.self))
		return c->self;
	l = least(loads, n, load_of(unit));
	add_unit(l, unit);
	unit->next = l->m->id;
	return l->m;
}

static void grant(struct cluster *c, struct member *to, const struct unit_set *set)
{
	struct wire_grant m;

	if (unit_set_empty(set))
		return;
	if (to == c->self) {
		takeover_activate(c, set, "unowned");
		return;
	}
	m.units_count = 0;
	EACH_IN(set, u)
		m.units[m.units_count++] =
		    (struct wire_ref){ u, c->units[u].floor, 0, to->id };
	STREAM(c, to, grant, &m);
}

static bool unserved(const struct cluster *c, const struct unit *unit)
{
	member_id owner = epoch_owner(unit->e.epoch);
	struct member *m = core_member(c, owner);

	if (unit->e.vacant)
		return true;
	if (m == c->self && owner)
		return !unit->active && unit->handover != HANDOVER_RELEASED;
	return !m || !m->present || unit->orphan.ns != UINT64_MAX;
}

/* Nobody is to have them: this member shows them to others, but what has a successor that is
 * about to take over. */
static void keep_orphans(struct cluster *c)
{
	EACH_UNIT(u) {
		struct unit *unit = &c->units[u];
		struct member *successor = core_member(c, unit->e.successor);

		if (!unit->floor || !c->complete || !unserved(c, unit))
			continue;
		if (unit->orphan.ns == UINT64_MAX)
			unit->orphan = c->now;
		if (successor != c->self && holds(c, successor) &&
		    mono_since(c->now, unit->orphan) < 2 * c->cfg.detection)
			continue;
		handover_keep(c, u);
	}
}

static void assign_orphans(struct cluster *c)
{
	struct load loads[CLUSTER_MEMBERS_MAX];
	struct unit_set to[CLUSTER_MEMBERS_MAX];
	unsigned n = fit_members(c, loads);

	c->orphans_at = mono_add(c->now, ORPHAN_PERIOD);
	if (!n) {
		keep_orphans(c);
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

/* From whom a step of balance goes; NULL: from nobody any more. */
static struct load *most(struct load *loads, unsigned n, bool loaded)
{
	struct load *high = NULL;

	for (unsigned i = 0; i < n; i++)
		if (!loads[i].stuck && (!high || lighter(high, &loads[i], loaded)))
			high = &loads[i];
	return high;
}

/* Would the greater load of the two be less, also if the traffic were measured wrongly? */
static bool improves(const struct load *high, const struct load *low, uint64_t load,
		     bool loaded)
{
	if (!loaded)
		return less(low->empty + 1, low->capacity, high->empty, high->capacity);
	return less(low->load + load + low->traffic / NOISE, low->capacity,
		    high->load - high->traffic / NOISE, high->capacity);
}

/* The heaviest unit of `high` whose move to `low` improves the balance. */
static int pick(struct cluster *c, const struct load *high, const struct load *low,
		bool loaded, const struct unit_set *taken)
{
	uint64_t best_load = 0;
	int best = -1;

	EACH_UNIT(u) {
		const struct unit *unit = &c->units[u];
		uint64_t load;

		if (epoch_owner(unit->e.epoch) != high->m->id || unit->e.moving_to ||
		    unit_set_has(taken, u) || mono_before(c->now, unit->rest))
			continue;
		load = load_of(unit);
		if (!load != !loaded || (best >= 0 && load <= best_load) ||
		    !improves(high, low, load, loaded))
			continue;
		best = u;
		best_load = load;
		if (!loaded)
			break;
	}
	return best;
}

/* The same, and to whom: where capacities differ, not only the least loaded may gain. */
static int pick_pair(struct cluster *c, struct load *loads, unsigned n,
		     const struct load *high, bool loaded, const struct unit_set *taken,
		     struct load **low)
{
	uint32_t tried = UINT32_C(1) << (high - loads);
	int u = -1;

	while (u < 0 && (*low = least_but(loads, n, loaded, tried))) {
		u = pick(c, high, *low, loaded, taken);
		tried |= UINT32_C(1) << (*low - loads);
	}
	return u;
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

static void send_order(struct cluster *c, struct member *to, const struct wire_move *m)
{
	if (to != c->self) {
		if (m->units_count)
			STREAM(c, to, move, m);
		return;
	}
	for (unsigned i = 0; i < m->units_count; i++)
		handover_begin_move(c, m->units[i].unit, m->units[i].epoch,
				    m->units[i].to);
}

static void choose_moves(struct cluster *c, struct load *loads, unsigned n, bool loaded,
			 struct orders *orders)
{
	struct unit_set taken = { { 0 } };
	struct load *high, *low;
	unsigned moves = 0;

	for (unsigned i = 0; i < n; i++) {
		loads[i].stuck = false;
		loads[i].moved = 0;
	}
	while ((!loaded || moves < c->cfg.moves) && (high = most(loads, n, loaded))) {
		int u = loaded || high->moved < EMPTY_MOVES
			    ? pick_pair(c, loads, n, high, loaded, &taken, &low)
			    : -1;

		if (u < 0) {
			high->stuck = true;
			continue;
		}
		unit_set_add(&taken, (unit_id)u);
		order(c, orders, high, low, (unit_id)u);
		if (c->units[u].traffic)
			c->units[u].rest = mono_add(c->now, REST);
		remove_unit(high, &c->units[u]);
		add_unit(low, &c->units[u]);
		high->moved++;
		moves++;
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
	choose_moves(c, loads, n, true, orders);
	choose_moves(c, loads, n, false, orders);
	for (unsigned i = 0; i < c->nmembers; i++)
		send_order(c, &c->members[i], &orders->of[i]);
	free(orders);
}

int assign_move(struct cluster *c, unit_id u, member_id to)
{
	struct unit *unit = &c->units[u];
	member_id id = epoch_owner(unit->e.epoch);
	struct member *owner = core_member(c, id);
	struct wire_move m = { .units_count = 1 };

	if (c->role != CLUSTER_MASTER || c->late)
		return -EAGAIN;
	if (!core_member(c, to))
		return -EINVAL;
	if (!owner || (owner != c->self && !owner->present))
		return -ESRCH;
	if (unit->e.moving_to && unit->e.moving_to != to)
		return -EALREADY;
	unit->rest = mono_add(c->now, REST_ORDERED);
	if (id == to || unit->e.moving_to == to)
		return 0;
	if (!table_fit(c, to))
		return -EHOSTDOWN;
	if (owner != c->self && !owner->linked)
		return -ENOTCONN;
	m.units[0] = (struct wire_ref){ u, unit->e.epoch, 0, to };
	send_order(c, owner, &m);
	return 0;
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

void cluster_urge(struct cluster *c, struct mono now)
{
	core_enter(c, now);
	if (c->role == CLUSTER_MASTER && !c->late)
		assign_orphans(c);
	core_leave(c);
}
