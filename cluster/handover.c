/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The owner's review of its own units: who is to succeed, and who is to have them.
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
 *     | the unit is moving to C, or this member is leaving or unable; and nothing is
 *     | under way in it that only this member can go on with, or for too long
 *     v
 *   resting: this member works on nothing more, and what waited for a commit leaves
 *     | all is committed
 *     v
 *   released: this member has let go; C activates, with a new epoch
 *
 * A successor that is silent cannot be replaced before it is dead or has yielded, however
 * soon its silence is noticed: until then it may take over, and so must hold whatever is
 * committed. Commit waits for that, for a detection interval at most. One that is slow,
 * see slow.c, yields by datagram: so it is replaced in the same steps, while it lives.
 */
#include <string.h>

#include "cluster/internal.h"

#define HANDOVER_RETRY (20 * MONO_MS)
#define RELEASE_RETRY (100 * MONO_MS)
#define PREPARING_MAX 256
#define ENGAGED_MAX (3 * MONO_SEC) /* less than a member that leaves has */

static bool give_up(const struct cluster *c)
{
	return !willing(c);
}

/* Busy is what waits for another member: it is looked at again when that has spoken. */
void handover_set(struct cluster *c, unit_id u, enum handover h)
{
	struct unit *unit = &c->units[u];
	bool busy;

	if (h != HANDOVER_STEADY || !unit->active)
		unit->resting = false;
	busy = h != HANDOVER_STEADY || unit->e.moving_to || unit->resting ||
	       (unit->active && give_up(c));
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
void handover_amend(struct cluster *c, unit_id u, member_id successor, member_id previous,
		    member_id moving_to)
{
	struct unit *unit = &c->units[u];
	struct entry e = unit->e;

	e.version++;
	e.successor = successor;
	e.previous = previous;
	e.moving_to = moving_to;
	table_set(c, u, &e);
	unit->last = c->position + 1; /* that of the announcement */
	table_change(c, u, false);
	c->upcall_committed = true;
}

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
	handover_set(c, u, HANDOVER_PREPARING);
	counters_set_target(c, u, next);
}

static void abandon(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	unit->next = 0;
	handover_set(c, u, HANDOVER_STEADY);
	counters_set_target(c, u, unit->e.successor);
	counters_thaw(c, u);
}

static void settle(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	handover_amend(c, u, unit->e.successor, 0, unit->e.moving_to);
	handover_set(c, u, HANDOVER_STEADY);
	counters_thaw(c, u);
}

/* The successor is gone: another one must have all before anything is committed again. */
static void replace_successor(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	member_id next = table_choose(c, u, c->cfg.self);
	struct session *s;

	unit->next = 0;
	takeover_doubt(c, unit);
	handover_amend(c, u, next, 0,
		       table_fit(c, unit->e.moving_to) ? unit->e.moving_to : 0);
	handover_set(c, u, HANDOVER_STEADY);
	LIST_FOREACH(s, &unit->sessions, in_unit)
		memset(s->committed, 0, sizeof(s->committed));
	counters_set_target(c, u, next);
	counters_thaw(c, u);
}

static bool takes_on(const struct cluster *c, member_id id)
{
	return table_fit(c, id) && !core_member(c, id)->slow;
}

static member_id desired_successor(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct member *m = core_member(c, unit->e.successor), *next;

	if (unit->e.moving_to)
		return unit->e.moving_to;
	if (table_fit(c, unit->e.successor) && !unit_set_has(&c->respread, u) &&
	    m->linked && !m->slow)
		return unit->e.successor;
	next = core_member(c, table_choose(c, u, c->cfg.self));
	/* Nothing is gained by one that is slow, too. */
	if (next && next->slow && table_fit(c, unit->e.successor))
		return unit->e.successor;
	return next ? next->id : 0;
}

/*
 * All others are slow: rather no successor than one that everybody waits for. Until it has
 * yielded it may take over, and so must hold whatever is committed.
 */
static void dismiss_successor(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	count(c, STAT_successors_dismissed);
	unit->next = 0;
	handover_amend(c, u, 0, unit->e.successor, 0);
	unit->switched = unit->e.version;
	handover_set(c, u, HANDOVER_SWITCHING);
	counters_set_target(c, u, 0);
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
	handover_amend(c, u, 0, 0, 0);
	handover_set(c, u, HANDOVER_RELEASED);
}

void handover_keep(struct cluster *c, unit_id u)
{
	struct entry e = { .epoch =
			       epoch_make((c->units[u].floor >> 16) + 1, c->cfg.self) };
	struct unit_set none = { { 0 } };

	e.unproven = takeover_unproven(c, &c->units[u]);
	c->units[u].remembered = c->units[u].mine = false;
	table_set(c, u, &e);
	c->units[u].orphan = MONO_NEVER;
	replica_need(c, u);
	keep(c, u, &none);
	c->announce_loud = true;
}

/*
 * What came in before the release goes inside only when it is committed, and the next
 * owner refuses it as replayed. So nothing is taken on any more until all of it is.
 */
static void rest(struct cluster *c, unit_id u, bool resting)
{
	struct unit *unit = &c->units[u];

	if (unit->resting == resting)
		return;
	unit->resting = resting;
	handover_set(c, u, unit->handover);
	c->upcall_committed = true;
}

/* To one that cannot have the unit any more, or does not take its state. */
static void give_up_move(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	if (!unit->e.moving_to || takes_on(c, unit->e.moving_to))
		return;
	handover_amend(c, u, unit->e.successor, unit->e.previous, 0);
	handover_set(c, u, unit->handover);
}

/* Whether the unit, which could go now, waits for what a tunnel is in the middle of. A member
 * that is unable comes to an end with nothing. */
static bool is_engaged(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];

	if (!unit->ready.ns)
		unit->ready = c->now;
	return !unit->resting && c->able && c->io.engaged &&
	       mono_since(c->now, unit->ready) < ENGAGED_MAX &&
	       c->io.engaged(c->io.ctx, u);
}

static void review_steady(struct cluster *c, unit_id u, struct unit_set *release,
			  struct unit_set *lost)
{
	struct unit *unit = &c->units[u];
	member_id want;

	give_up_move(c, u);
	want = desired_successor(c, u);
	unit_set_remove(&c->respread, u);
	if (!want && give_up(c)) {
		keep(c, u, lost);
	} else if (want && want != unit->e.successor) {
		if (c->nbusy < PREPARING_MAX || unit_set_has(&c->busy, u))
			prepare(c, u, want);
		else
			unit_set_add(&c->respread, u);
	} else if (!want && unit->e.successor &&
		   core_member(c, unit->e.successor)->slow) {
		dismiss_successor(c, u);
		return;
	} else if (want && (give_up(c) || unit->e.moving_to == want) &&
		   caught_up(c, u, want) && !unit->e.unproven) {
		/* In doubt about its successor (see takeover_doubt()) it waits a little. */
		if (is_engaged(c, u)) {
			handover_set(c, u, HANDOVER_STEADY);
			return;
		}
		rest(c, u, true);
		if (counters_settled(c, u))
			unit_set_add(release, u);
		return;
	}
	if (!unit->e.moving_to && !give_up(c))
		unit->ready.ns = 0;
	rest(c, u, false);
	/* It may have become busy, or idle. */
	if (unit->handover == HANDOVER_STEADY)
		handover_set(c, u, HANDOVER_STEADY);
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

		give_up_move(c, u);
		if (!table_fit(c, unit->next) || !next->linked ||
		    (next->slow && desired_successor(c, u) != unit->next)) {
			abandon(c, u);
		} else if (caught_up(c, u, unit->next)) {
			handover_amend(c, u, unit->next, unit->e.successor,
				       unit->e.moving_to);
			unit->switched = unit->e.version;
			handover_set(c, u, HANDOVER_SWITCHING);
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
		struct wire_release m;

		m.units_count = 0;
		EACH_IN(set, u) {
			struct unit *unit = &c->units[u];

			if (unit->e.successor != to->id || unit->e.previous ||
			    !to->linked || !replica_holds(c, to, u, unit->last))
				continue;
			replica_send_counters(c, to, u);
			m.units[m.units_count++] =
			    (struct wire_ref){ u, unit->e.epoch, unit->e.version, 0 };
		}
		if (m.units_count)
			STREAM(c, to, release, &m);
	}
}

/* Somebody would succeed that member: then nothing that it does counts before another one
 * holds it. */
static bool has_company(struct cluster *c, member_id id)
{
	EACH_PRESENT(c, m)
		if (m->id != id && table_fit(c, m->id) && m->linked && !m->slow)
			return true;
	return ready(c);
}

static void release(struct cluster *c, const struct unit_set *set)
{
	table_tell_lost(c, set);
	EACH_IN(set, u) {
		c->units[u].active = false;
		c->units[u].lone = !has_company(c, c->units[u].e.successor);
		c->units[u].ready.ns = 0;
		c->nactive--;
		count(c, STAT_units_released);
		counters_set_target(c, u, 0);
		handover_set(c, u, HANDOVER_RELEASED);
	}
	send_releases(c, set);
}

/* It was released to one that is here, but cannot take it, and is to stand back. */
static void withdraw(struct cluster *c, unit_id u, member_id from)
{
	struct unit *unit = &c->units[u];
	member_id next = ready(c) ? 0 : table_choose(c, u, c->cfg.self);

	if (!next && !ready(c))
		return;
	handover_amend(c, u, next, from, 0);
	unit->switched = unit->e.version;
}

/*
 * The unit was given away, but nobody took it. Or it was taken, by a member that died before
 * it could say so to us, and its successor announces itself soon.
 */
static void review_released(struct cluster *c, unit_id u, struct unit_set *again)
{
	struct unit *unit = &c->units[u];
	struct member *to =
	    core_member(c, unit->e.previous ? unit->e.previous : unit->e.successor);
	bool there = to && to->present && to->complete;
	member_id next;
	uint64_t gone;

	if (there && (to->able || unit->e.previous)) {
		unit->gone.ns = 0;
		return;
	}
	if (!unit->gone.ns)
		unit->gone = c->now;
	gone = mono_since(c->now, unit->gone);
	if (to && gone < (there ? c->cfg.detection : c->cfg.detection / 4))
		return;
	if (there) {
		withdraw(c, u, to->id);
		return;
	}
	unit->gone.ns = 0;
	/* It may have begun, and died before anybody heard of that. */
	if (to && (ready(c) || unit->lone))
		unit->e.unproven = unit->e.unproven || unit->nsessions;
	if (ready(c)) {
		unit_set_add(again, u);
		return;
	}
	next = table_choose(c, u, c->cfg.self);
	unit->lone = unit->lone || !has_company(c, next);
	if (next || unit->e.successor || unit->e.previous)
		handover_amend(c, u, next, 0, 0);
}

static void review(struct cluster *c, bool all)
{
	struct unit_set release_set = { { 0 } }, lost = { { 0 } }, again = { { 0 } };

	c->review_all = c->review_busy = false;
	if (c->late || (c->role != CLUSTER_MEMBER && c->role != CLUSTER_MASTER &&
			c->role != CLUSTER_OFFERING))
		return;
	for (unit_id u = all ? 0 : unit_set_from(&c->busy, 0); u < CLUSTER_UNITS;
	     u = all ? u + 1 : unit_set_from(&c->busy, u + 1)) {
		if (c->units[u].active)
			review_unit(c, u, &release_set, &lost);
		else if (c->units[u].handover == HANDOVER_RELEASED)
			review_released(c, u, &again);
	}
	table_tell_lost(c, &lost);
	if (!unit_set_empty(&release_set))
		release(c, &release_set);
	if (!unit_set_empty(&again))
		takeover_activate(c, &again, "taken back");
	/* Units that became ready by this review are seen at the next one. */
	c->review_all = c->review_busy = false;
}

void handover_review(struct cluster *c)
{
	if (c->review_all || (c->review_busy && c->nbusy))
		review(c, c->review_all);
}

/* Who joins or becomes able is to succeed its share of every owner's units. */
void handover_respread(struct cluster *c)
{
	EACH_UNIT(u)
		if (c->units[u].active)
			unit_set_add(&c->respread, u);
	c->review_all = true;
}

void handover_begin_move(struct cluster *c, unit_id u, uint64_t epoch, member_id to)
{
	struct unit *unit = &c->units[u];

	if (!unit->active || unit->e.epoch != epoch || unit->e.moving_to ||
	    to == c->cfg.self || !table_fit(c, to))
		return;
	count(c, STAT_moves_begun);
	handover_amend(c, u, unit->e.successor, unit->e.previous, to);
	handover_set(c, u, unit->handover);
	c->review_busy = true;
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
		handover_begin_move(c, m.units[i].unit, m.units[i].epoch, m.units[i].to);
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

		if (epoch_owner(unit->e.epoch) != c->cfg.self ||
		    unit->e.epoch != m.units[i].epoch || unit->e.previous != from->id ||
		    m.units[i].version < unit->switched)
			continue;
		if (unit->active && unit->handover == HANDOVER_SWITCHING)
			unit->e.previous = 0; /* the review settles it */
		else if (unit->handover == HANDOVER_RELEASED)
			handover_amend(c, m.units[i].unit, unit->e.successor, 0, 0);
		c->review_busy = true;
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
	takeover_activate(c, &set, "released to us");
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
			if (previous && unit->handover != HANDOVER_PREPARING)
				table_show(c, previous, u);
			else if (unit->handover == HANDOVER_RELEASED)
				unit_set_add(&released, u);
			unit->retry = mono_add(c->now, unit->handover == HANDOVER_RELEASED
							   ? RELEASE_RETRY
							   : HANDOVER_RETRY);
		}
		c->handover_at = mono_min(c->handover_at, unit->retry);
	}
	if (!unit_set_empty(&released))
		send_releases(c, &released);
}

void handover_tick(struct cluster *c)
{
	if (!c->late && due(c, c->handover_at))
		retry_handovers(c);
	if (!unit_set_empty(&c->respread))
		c->review_all = true;
}

struct mono handover_timeout(const struct cluster *c)
{
	return c->late ? MONO_NEVER : c->handover_at;
}
