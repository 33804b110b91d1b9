/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cluster/wire.h"
#include "tests/sim/scenarios.h"

#define BOUND (15 * MONO_SEC)

static void start_all(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		world_start(w, i);
	world_settle(w, BOUND, false);
}

/* All is at rest, stays so, and all stores are equal. */
static void finish(struct world *w)
{
	world_settle(w, BOUND, true);
	world_run(w, MONO_SEC);
	world_settle(w, BOUND, true);
	model_nothing_lost(w);
}

static struct node *some(struct world *w, bool master)
{
	struct node *m = world_master(w);

	if (master || !m)
		return m ? m : &w->nodes[0];
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].c && &w->nodes[i] != m)
			return &w->nodes[i];
	return m;
}

/* Every unit is served again, within the given time. */
static void expect_served(struct world *w, uint64_t within, const char *what)
{
	uint64_t until = w->now + within;
	unsigned missing = CLUSTER_UNITS;

	while (!w->failed && w->now < until && missing) {
		missing = CLUSTER_UNITS;
		world_run(w, MONO_MS);
		for (unit_id u = 0; u < CLUSTER_UNITS; u++)
			for (unsigned i = 0; i < w->nnodes; i++)
				if (unit_set_has(&w->nodes[i].serving, u)) {
					missing--;
					break;
				}
	}
	if (missing)
		world_fail(w, "%s: %u units are not served after %llu ms", what, missing,
			   (unsigned long long)(within / MONO_MS));
}

/* Shortly before something happens to a node: its packets are under way. */
static void stir(struct world *w, struct node *n)
{
	model_burst(w, n);
	if (world_chance(w, 0.5))
		return;
	world_run(w, world_random(w, MONO_MS));
	model_burst(w, n);
}

static void together(struct world *w)
{
	start_all(w);
	if (w->now > 3 * MONO_SEC)
		world_fail(w, "start took %.1f s", (double)w->now / 1e9);
	finish(w);
}

static void one_by_one(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		world_start(w, i);
		world_settle(w, BOUND, false);
		world_run(w, 500 * MONO_MS);
	}
	finish(w);
}

static void killed(struct world *w, bool master, bool note, bool all_to_one)
{
	struct node *n;

	w->balancing = !all_to_one;
	start_all(w);
	world_run(w, 5 * MONO_SEC);
	world_settle(w, BOUND, false);
	n = some(w, master);
	stir(w, n);
	world_kill(w, n->index, note);
	expect_served(w, note ? 100 * MONO_MS : 400 * MONO_MS, "takeover");
	world_settle(w, BOUND, false);
	world_run(w, 2 * MONO_SEC);
	world_start(w, n->index);
	finish(w);
}

static void owner_killed(struct world *w)
{
	killed(w, false, false, false);
}

static void master_killed(struct world *w)
{
	killed(w, true, false, false);
}

static void master_and_owner_killed(struct world *w)
{
	killed(w, true, false, true);
}

static void death_note(struct world *w)
{
	killed(w, false, true, false);
}

static void death_note_of_master(struct world *w)
{
	killed(w, true, true, false);
}

static void frozen(struct world *w, bool master, uint64_t time)
{
	struct node *n;

	w->balancing = true;
	start_all(w);
	world_run(w, 5 * MONO_SEC);
	n = some(w, master);
	stir(w, n);
	world_freeze(w, n->index);
	world_run(w, time);
	world_thaw(w, n->index);
	world_run(w, 2 * MONO_SEC);
	finish(w);
}

static void owner_frozen(struct world *w)
{
	frozen(w, false, MONO_SEC);
}

static void owner_frozen_shortly(struct world *w)
{
	frozen(w, false, 120 * MONO_MS + world_random(w, 120 * MONO_MS));
}

static void master_frozen(struct world *w)
{
	frozen(w, true, MONO_SEC);
}

static void master_frozen_shortly(struct world *w)
{
	frozen(w, true, 120 * MONO_MS + world_random(w, 120 * MONO_MS));
}

static void cut_off(struct world *w, bool master, uint64_t time)
{
	struct node *n;

	w->balancing = true;
	start_all(w);
	world_run(w, 5 * MONO_SEC);
	world_settle(w, BOUND, false);
	n = some(w, master);
	world_cut(w, 1u << n->index);
	world_run(w, time);
	if (time > 5 * MONO_SEC)
		world_settle(w, BOUND, false);
	world_heal(w);
	finish(w);
}

static void member_cut_off(struct world *w)
{
	cut_off(w, false, 6 * MONO_SEC);
}

static void master_cut_off(struct world *w)
{
	cut_off(w, true, 6 * MONO_SEC);
}

static void short_cut(struct world *w)
{
	cut_off(w, world_chance(w, 0.5), 100 * MONO_MS + world_random(w, 300 * MONO_MS));
}

/*
 * A member is cut off long enough to become a master, and comes back; its words from
 * before arrive when it has long given way, and the machine that runs all of them stalls.
 */
static void stale_keepalives_after_heal(struct world *w)
{
	start_all(w);
	w->stale = true;
	for (unsigned i = 0; i < 4 && !w->failed; i++) {
		struct node *n = some(w, world_chance(w, 0.3));

		world_settle(w, BOUND, false);
		world_run(w, MONO_SEC);
		w->tardy = world_chance(w, 0.5) ? 0.01 : 0;
		world_cut(w, 1u << n->index);
		world_run(w, 600 * MONO_MS + world_random(w, 3 * MONO_SEC));
		world_heal(w);
		for (unsigned k = 0; k < 4; k++) {
			world_run(w, world_random(w, 400 * MONO_MS));
			if (world_chance(w, 0.5))
				world_stall(w, 100 * MONO_MS +
						   world_random(w, 300 * MONO_MS));
		}
		world_run(w, MONO_SEC);
		w->tardy = 0;
	}
	finish(w);
}

/* By whatever confusion: all give their membership up, and begin anew with one another. */
static void everybody_resigns(struct world *w)
{
	struct wire_master_keepalive k = { .sessions = 1 };
	uint8_t msg[CLUSTER_DATAGRAM_MAX];
	struct cluster_member_state m[NODES_MAX];
	struct node *master, *other;
	size_t len;

	if (w->nnodes < 3)
		return;
	w->balancing = true;
	start_all(w);
	world_run(w, 3 * MONO_SEC);
	world_settle(w, BOUND, false);
	model_working = false;
	world_run(w, 50 * MONO_MS);
	master = some(w, true);
	other = some(w, false);
	k.answer = world_now(w, master).ns;
	k.members_count =
	    (uint16_t)cluster_members(master->c, m, NODES_MAX, world_now(w, master));
	for (unsigned i = 0; i < k.members_count; i++)
		k.members[i] = (struct wire_member){ .id = m[i].id,
						     .incarnation = m[i].incarnation,
						     .flags = WIRE_CONFIRMED };
	len = wire_encode_master_keepalive(msg, sizeof(msg),
					   ((cluster_term(master->c) >> 16) + 1) << 16 |
					       other->id,
					   cluster_incarnation(other->c), &k);
	world_deliver(w, other, master, msg, len);
	if (cluster_role(master->c) != CLUSTER_JOINING)
		world_fail(w, "the master has not resigned");
	world_run(w, 100 * MONO_MS);
	for (unsigned i = 0; i < w->nnodes; i++)
		if (cluster_role(w->nodes[i].c) != CLUSTER_JOINING)
			world_fail(w, "member %u has not resigned", w->nodes[i].id);
	expect_served(w, 2 * MONO_SEC, "a new beginning");
	model_nothing_lost(w);
	model_working = true;
	finish(w);
}

/* Nobody knows who else was stopped; all go on at once, and nobody is accused. */
static void everybody_stalls(struct world *w)
{
	uint64_t term;

	start_all(w);
	world_run(w, MONO_SEC);
	world_settle(w, BOUND, false);
	term = cluster_term(w->nodes[0].c);
	for (unsigned i = 0; i < 20 && !w->failed; i++) {
		world_stall(w, 100 * MONO_MS + world_random(w, 300 * MONO_MS));
		expect_served(w, 30 * MONO_MS, "after a stall");
		world_run(w, world_random(w, 300 * MONO_MS));
	}
	if (cluster_term(w->nodes[0].c) != term)
		world_fail(w, "a stall has led to an election");
	finish(w);
}

/* Cuts about as long as it takes to notice them: one side may, and the other not. */
static void brief_cuts(struct world *w)
{
	start_all(w);
	for (unsigned i = 0; i < 12 && !w->failed; i++) {
		world_settle(w, BOUND, false);
		world_cut(w, 1u << world_random(w, w->nnodes));
		world_run(w, 140 * MONO_MS + world_random(w, 70 * MONO_MS));
		world_heal(w);
		world_run(w, 2 * MONO_SEC);
	}
	finish(w);
}

static void balance(struct world *w)
{
	unsigned sessions[NODES_MAX], units[NODES_MAX];

	model_working = false;
	w->balancing = true;
	world_start(w, 0);
	world_settle(w, BOUND, false);
	world_run(w, 500 * MONO_MS);
	model_put_sessions(w, &w->nodes[0], 4);
	for (unsigned i = 1; i < w->nnodes; i++)
		world_start(w, i);
	world_run(w, 20 * MONO_SEC);
	world_settle(w, BOUND, true);
	for (unsigned i = 0; i < w->nnodes; i++) {
		sessions[i] = model_sessions_of(w, &w->nodes[i]);
		units[i] = 0;
		for (unit_id u = 0; u < CLUSTER_UNITS; u++)
			units[i] += unit_set_has(&w->nodes[i].owned, u);
		world_log(w, "member %u: %u units, %u sessions", w->nodes[i].id, units[i],
			  sessions[i]);
	}
	for (unsigned i = 0; i < w->nnodes; i++)
		if (sessions[i] > (4 + w->nnodes - 1) / w->nnodes ||
		    units[i] < CLUSTER_UNITS / w->nnodes - 8)
			world_fail(w, "member %u has %u units and %u sessions",
				   w->nodes[i].id, units[i], sessions[i]);
	model_working = true;
}

static void leave(struct world *w, bool master)
{
	struct node *n;

	w->balancing = true;
	start_all(w);
	world_run(w, 5 * MONO_SEC);
	world_settle(w, BOUND, false);
	n = some(w, master);
	cluster_leave(n->c, world_now(w, n));
	n->tick_at = w->now;
	for (unsigned i = 0; i < 200 && cluster_role(n->c) != CLUSTER_LEFT; i++)
		world_run(w, 20 * MONO_MS);
	if (cluster_role(n->c) != CLUSTER_LEFT)
		world_fail(w, "member %u does not leave", n->id);
	world_kill(w, n->index, false);
	expect_served(w, 300 * MONO_MS, "leave");
	world_settle(w, BOUND, false);
	world_start(w, n->index);
	finish(w);
}

static void member_leaves(struct world *w)
{
	leave(w, false);
}

static void master_leaves(struct world *w)
{
	leave(w, true);
}

static void set_able(struct world *w, struct node *n, bool able)
{
	world_log(w, "%u becomes %s", n->id, able ? "able" : "unable");
	n->able = able;
	if (n->c && !n->frozen) {
		cluster_set_able(n->c, able, "test", world_now(w, n));
		n->tick_at = w->now;
	}
}

static void unable(struct world *w)
{
	struct node *n;

	w->balancing = true;
	start_all(w);
	world_run(w, 5 * MONO_SEC);
	n = some(w, world_chance(w, 0.5));
	set_able(w, n, false);
	world_run(w, MONO_SEC);
	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(&n->owned, u)) {
			world_fail(w, "member %u still owns unit %u", n->id, u);
			break;
		}
	world_settle(w, BOUND, false);
	set_able(w, n, true);
	finish(w);
}

static void unable_at_first(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		w->nodes[i].able = false;
		world_start(w, i);
	}
	world_run(w, 2 * MONO_SEC);
	set_able(w, &w->nodes[1], true);
	world_settle(w, BOUND, false);
	for (unsigned i = 0; i < w->nnodes; i++)
		set_able(w, &w->nodes[i], true);
	finish(w);
}

/* The random mix. */

static unsigned running(struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->nnodes; i++)
		n += w->nodes[i].c && !w->nodes[i].frozen && w->nodes[i].able;
	return n;
}

static void revive(struct world *w)
{
	/* Several that come back at once may find one another before the rest. */
	if (running(w) + 1 < w->nnodes)
		model_forgive(w);
	for (unsigned i = 0; i < w->nnodes; i++) {
		world_thaw(w, i);
		if (!w->nodes[i].c)
			world_start(w, i);
		if (!w->nodes[i].able)
			set_able(w, &w->nodes[i], true);
	}
	world_heal(w);
}

static void hurt(struct world *w)
{
	unsigned i = (unsigned)world_random(w, w->nnodes);
	struct node *n = &w->nodes[i];

	stir(w, n);
	switch (world_random(w, 11)) {
	case 0:
	case 1:
		if (running(w) > 1)
			world_kill(w, i, world_chance(w, 0.3));
		break;
	case 2:
	case 3:
		world_freeze(w, i);
		break;
	case 4:
		world_thaw(w, i);
		break;
	case 5:
		world_cut(w, 1u << i);
		break;
	case 6:
		/* An owner and its successor may be lost together. */
		if (w->nnodes > 3)
			model_forgive(w);
		world_cut(w, (uint32_t)world_random(w, 1u << w->nnodes));
		break;
	case 7:
		set_able(w, n, !n->able);
		break;
	case 8:
	case 9:
		world_stall(w, 100 * MONO_MS + world_random(w, 300 * MONO_MS));
		break;
	default:
		world_start(w, i);
	}
}

void scenario_random(struct world *w, unsigned steps)
{
	w->loss = world_chance(w, 0.5) ? (double)world_random(w, 20) / 1000 : 0;
	w->duplicate = world_chance(w, 0.3) ? 0.02 : 0;
	w->tardy = world_chance(w, 0.4) ? 0.003 : 0;
	w->stale = world_chance(w, 0.6);
	w->balancing = world_chance(w, 0.7);
	w->jitter = world_random(w, 2 * MONO_MS);
	start_all(w);
	for (unsigned i = 0; i < steps && !w->failed; i++) {
		/* Only one failure at a time is promised to lose nothing. */
		if (running(w) < w->nnodes || world_split(w) || model_unsettled(w, false))
			model_forgive(w);
		hurt(w);
		if (world_chance(w, 0.3)) {
			world_run(w, world_random(w, 300 * MONO_MS));
			continue;
		}
		world_run(w, 300 * MONO_MS + world_random(w, 2 * MONO_SEC));
		if (world_chance(w, 0.5)) {
			revive(w);
			world_settle(w, BOUND, false);
		}
	}
	revive(w);
	finish(w);
}

const struct scenario scenarios[] = {
	{ "together", together },
	{ "one-by-one", one_by_one },
	{ "owner-killed", owner_killed },
	{ "master-killed", master_killed },
	{ "master-and-owner-killed", master_and_owner_killed },
	{ "death-note", death_note },
	{ "death-note-of-master", death_note_of_master },
	{ "owner-frozen", owner_frozen },
	{ "owner-frozen-shortly", owner_frozen_shortly },
	{ "master-frozen", master_frozen },
	{ "master-frozen-shortly", master_frozen_shortly },
	{ "member-cut-off", member_cut_off },
	{ "master-cut-off", master_cut_off },
	{ "short-cut", short_cut },
	{ "brief-cuts", brief_cuts },
	{ "stale_keepalives_after_heal", stale_keepalives_after_heal },
	{ "everybody_stalls", everybody_stalls },
	{ "everybody_resigns", everybody_resigns },
	{ "balance", balance },
	{ "member-leaves", member_leaves },
	{ "master-leaves", master_leaves },
	{ "unable", unable },
	{ "unable-at-first", unable_at_first },
};
const unsigned scenarios_count = sizeof(scenarios) / sizeof(scenarios[0]);
