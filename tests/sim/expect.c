/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of scenarios: what is expected of the cluster.
 */
#include <string.h>

#include "tests/sim/command.h"

/* Expectations. */

static void expect_served(struct player *p)
{
	uint64_t bound = command_within(p, BOUND), until;
	unsigned missing;

	if (!command_go(p))
		return;
	until = p->w->now + bound;
	do {
		world_run(p->w, MONO_MS);
		missing = check_unserved(p->w);
	} while (missing && !p->w->failed && p->w->now < until);
	if (missing)
		player_fail(p, "%u units are not served after %llu ms", missing,
			    (unsigned long long)(bound / MONO_MS));
}

/* Nobody who serves waits for a successor. */
static bool all_committed(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		for (unit_id u = 0; world_alive(n) && u < CLUSTER_UNITS; u++)
			if (unit_set_has(&n->owned, u) &&
			    !cluster_committed(n->c, u, UINT64_MAX))
				return false;
	}
	return true;
}

static void expect_committed(struct player *p)
{
	uint64_t bound = command_within(p, BOUND), until;
	bool worked, all;

	if (!command_go(p))
		return;
	worked = p->w->working;
	p->w->working = false;
	until = p->w->now + bound;
	do {
		world_run(p->w, MONO_MS);
		all = all_committed(p->w);
	} while (!all && !p->w->failed && p->w->now < until);
	p->w->working = worked;
	if (!all)
		player_fail(p, "not all is committed after %llu ms",
			    (unsigned long long)(bound / MONO_MS));
}

static void expect_balanced(struct player *p)
{
	uint64_t until = command_within(p, 20 * MONO_SEC);
	const char *wrong;
	bool worked;

	if (!command_go(p))
		return;
	until += p->w->now;
	worked = p->w->working;
	p->w->working = false;
	while ((wrong = check_unbalanced(p->w)) && !p->w->failed && p->w->now < until)
		world_run(p->w, 50 * MONO_MS);
	p->w->working = worked;
	if (wrong)
		player_fail(p, "%s", wrong);
}

static void expect_owner(struct player *p, bool owner)
{
	unit_id u;
	uint32_t set, is = 0;
	struct cluster_unit_state state;

	player_want(p, "unit");
	u = (unit_id)player_number(p, 0, CLUSTER_UNITS - 1);
	player_want(p, "is");
	set = player_members(p);
	if (!command_go(p))
		return;
	for (unsigned i = 0; i < p->w->nnodes; i++) {
		struct node *n = &p->w->nodes[i];

		if (!world_alive(n) || !unit_set_has(&n->owned, u))
			continue;
		cluster_unit(n->c, u, &state);
		for (unsigned k = 0; k < p->w->nnodes; k++)
			if (p->w->nodes[k].id == (owner ? n->id : state.successor))
				is |= 1u << k;
	}
	if (!is || is & ~set)
		player_fail(p, "the %s of unit %u is another one",
			    owner ? "owner" : "successor", u);
}

static void expect_master(struct player *p)
{
	uint32_t set, is = 0;

	player_want(p, "is");
	set = player_members(p);
	if (!command_go(p))
		return;
	for (unsigned i = 0; i < p->w->nnodes; i++)
		if (world_alive(&p->w->nodes[i]) &&
		    cluster_role(p->w->nodes[i].c) == CLUSTER_MASTER)
			is |= 1u << i;
	if (!is || is & ~set)
		player_fail(p, "%s",
			    is ? "another member is master" : "nobody is master");
}

static void expect_term(struct player *p)
{
	player_want(p, "election");
	if (command_go(p) && world_master(p->w) &&
	    cluster_term(world_master(p->w)->c) != p->term)
		player_fail(p, "there was an election");
}

static void expect_role(struct player *p)
{
	uint32_t set = player_members(p);
	const char *role;

	player_want(p, "is");
	role = player_next(p);
	if (!role)
		player_error(p, "which role?");
	if (!command_go(p))
		return;
	EACH_OF(set, i)
	{
		struct node *n = &p->w->nodes[i];

		if (!n->c || strcmp(cluster_role_name(cluster_role(n->c)), role))
			player_fail(p, "member %u is not %s but %s", n->id, role,
				    n->c ? cluster_role_name(cluster_role(n->c))
					 : "dead");
	}
}

static void expect_nothing_owned(struct player *p)
{
	uint32_t set;

	player_want(p, "owned");
	player_want(p, "by");
	set = player_members(p);
	if (command_go(p))
		EACH_OF(set, i)
	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(&p->w->nodes[i].owned, u)) {
			player_fail(p, "member %u still owns unit %u", p->w->nodes[i].id,
				    u);
			break;
		}
}

static void expect_nothing_served(struct player *p)
{
	uint32_t set;

	player_want(p, "by");
	set = player_members(p);
	if (!command_go(p))
		return;
	EACH_OF(set, i)
	{
		struct node *n = &p->w->nodes[i];
		unit_id u = 0;

		while (u < CLUSTER_UNITS && world_alive(n) &&
		       !cluster_serves(n->c, u, world_now(p->w, n)))
			u++;
		if (u < CLUSTER_UNITS && world_alive(n))
			player_fail(p, "member %u still serves unit %u", n->id, u);
	}
}

static void expect_sessions(struct player *p)
{
	uint32_t set;
	unsigned most;

	player_want(p, "of");
	set = player_members(p);
	player_want(p, "is");
	player_want(p, "at");
	player_want(p, "most");
	most = (unsigned)player_number(p, 0, LIMIT);
	if (command_go(p))
		EACH_OF(set, i)
	if (model_sessions_of(p->w, &p->w->nodes[i]) > most)
		player_fail(p, "member %u has %u sessions", p->w->nodes[i].id,
			    model_sessions_of(p->w, &p->w->nodes[i]));
}

static void read_statistics(const struct node *n, uint64_t values[STATISTICS_COUNT])
{
	const char *names[STATISTICS_COUNT];

	memset(values, 0, STATISTICS_COUNT * sizeof(*values));
	if (n->c)
		cluster_statistics(n->c, names, values, STATISTICS_COUNT);
}

/* statistic NAME of WHO is at most|least N: since `mark`, or since the member's start. */
static void expect_statistic(struct player *p)
{
	const char *name = player_next(p);
	uint64_t values[STATISTICS_COUNT], bound, n;
	unsigned which = 0;
	uint32_t set;
	bool most;

	while (name && which < STATISTICS_COUNT && strcmp(name, statistic_name(which)))
		which++;
	if (!name || which == STATISTICS_COUNT) {
		player_error(p, "there is no such statistic");
		return;
	}
	player_want(p, "of");
	set = player_members(p);
	player_want(p, "is");
	player_want(p, "at");
	most = player_accept(p, "most");
	if (!most)
		player_want(p, "least");
	bound = player_number(p, 0, LIMIT);
	if (command_go(p))
		EACH_OF(set, i)
		{
			read_statistics(&p->w->nodes[i], values);
			n = values[which];
			n -= n < p->marked[i][which] ? 0 : p->marked[i][which];
			if (most ? n > bound : n < bound)
				player_fail(p, "%s of member %u is %llu", name,
					    p->w->nodes[i].id, (unsigned long long)n);
		}
}

void cmd_expect(struct player *p)
{
	if (player_accept(p, "served")) {
		expect_served(p);
	} else if (player_accept(p, "committed")) {
		expect_committed(p);
	} else if (player_accept(p, "balanced")) {
		expect_balanced(p);
	} else if (player_accept(p, "owner")) {
		expect_owner(p, true);
	} else if (player_accept(p, "successor")) {
		expect_owner(p, false);
	} else if (player_accept(p, "master")) {
		expect_master(p);
	} else if (player_accept(p, "no")) {
		expect_term(p);
	} else if (player_accept(p, "role")) {
		player_want(p, "of");
		expect_role(p);
	} else if (player_accept(p, "nothing")) {
		if (player_accept(p, "lost")) {
			if (command_go(p))
				model_nothing_lost(p->w);
		} else if (player_accept(p, "served")) {
			expect_nothing_served(p);
		} else {
			expect_nothing_owned(p);
		}
	} else if (player_accept(p, "sessions")) {
		expect_sessions(p);
	} else if (player_accept(p, "statistic")) {
		expect_statistic(p);
	} else {
		player_error(p, "what is to be expected?");
	}
}

/* What `expect no election` and `expect statistic` compare with. */
void cmd_mark(struct player *p)
{
	struct node *master = command_go(p) ? world_master(p->w) : NULL;

	if (master)
		p->term = cluster_term(master->c);
	for (unsigned i = 0; command_go(p) && i < p->w->nnodes; i++)
		read_statistics(&p->w->nodes[i], p->marked[i]);
}

/* Losses from here to the next settle are no fault. */
void cmd_forgive(struct player *p)
{
	if (command_go(p))
		model_forgive(p->w);
}

/* All is at rest, stays so, all stores are equal, and nothing is lost. */
void cmd_finish(struct player *p)
{
	if (!command_go(p))
		return;
	p->w->short_memory = 0;
	world_settle(p->w, BOUND, true);
	world_run(p->w, 300 * MONO_MS);
	if (p->w->balancing && !p->w->failed)
		expect_balanced(p);
	world_settle(p->w, BOUND, true);
	model_nothing_lost(p->w);
	check_memory(p->w);
}
