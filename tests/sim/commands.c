/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of scenarios. Each reads its words first, whether or not there is a world;
 * so a look over the script finds what is wrong in it.
 */
#include <errno.h>
#include <string.h>

#include "cluster/wire.h"
#include "tests/sim/script.h"

#define BOUND (15 * MONO_SEC)
#define LIMIT UINT64_C(1000000000)

/* True if the rest is to be done: the words were right, and there is a world. */
static bool go(struct player *p)
{
	return p->w && !p->error[0] && !p->w->failed && p->at == p->line->words;
}

#define EACH_OF(set, i)                                                                  \
	for (unsigned i = 0; i < NODES_MAX; i++)                                         \
		if ((set) >> i & 1)

static void cmd_nothing(struct player *p)
{
	player_number(p, 0, LIMIT * LIMIT);
}

static void cmd_members(struct player *p)
{
	player_number(p, 1, NODES_MAX);
}

static bool on_off(struct player *p)
{
	if (player_accept(p, "on"))
		return true;
	player_want(p, "off");
	return false;
}

/* set NAME VALUE */

static void set_skew(struct player *p)
{
	uint32_t set = player_members(p);
	int sign = 1;
	int64_t ppm;

	player_want(p, "by");
	if (player_accept(p, "minus"))
		sign = -1;
	ppm = (int64_t)player_number(p, 0, 100000);
	player_want(p, "ppm");
	if (!go(p))
		return;
	p->w->faults[FAULT_skew]++;
	/* A clock may be slowed down or sped up, but never goes backwards. */
	EACH_OF(set, i)
	{
		struct node *n = &p->w->nodes[i];
		uint64_t was = world_now(p->w, n).ns;

		n->skew = sign * ppm;
		n->clock += was - world_now(p->w, n).ns;
	}
}

static void set_capacity(struct player *p)
{
	uint32_t set = player_members(p);
	uint64_t capacity;

	player_want(p, "is");
	capacity = player_number(p, 1, 1000000);
	if (go(p))
		EACH_OF(set, i)
	p->w->nodes[i].capacity = (uint32_t)capacity;
}

static void cmd_set(struct player *p)
{
	struct world none, *w = p->w ? p->w : &none;

	if (player_accept(p, "loss"))
		w->loss = player_share(p);
	else if (player_accept(p, "duplicate"))
		w->duplicate = player_share(p);
	else if (player_accept(p, "tardy"))
		w->tardy = player_share(p);
	else if (player_accept(p, "stale"))
		w->stale = on_off(p);
	else if (player_accept(p, "balancing"))
		w->balancing = on_off(p);
	else if (player_accept(p, "work"))
		w->working = on_off(p);
	else if (player_accept(p, "delay"))
		w->delay = player_time(p);
	else if (player_accept(p, "jitter"))
		w->jitter = player_time(p);
	else if (player_accept(p, "detection"))
		w->detection = player_time(p);
	else if (player_accept(p, "hold-back"))
		w->hold_back = player_time(p);
	else if (player_accept(p, "queue"))
		w->queue = 1024 * (size_t)player_number(p, 1, 1 << 20);
	else if (player_accept(p, "failing-memory"))
		w->short_memory = player_share(p);
	else if (player_accept(p, "skew"))
		set_skew(p);
	else if (player_accept(p, "capacity"))
		set_capacity(p);
	else
		player_error(p, "there is no such setting");
}

/* Names. */

static void cmd_let(struct player *p)
{
	const char *name = player_next(p);
	uint32_t set;
	unsigned i;

	player_want(p, "be");
	if (p->error[0])
		return;
	set = player_members(p);
	for (i = 0; i < p->names && strcmp(p->named[i].name, name); i++)
		;
	if (i == NAMES_MAX) {
		player_error(p, "too many names");
		return;
	}
	if (i == p->names)
		p->names++;
	p->named[i].name = name;
	p->named[i].members = set;
}

/* Time. */

static void cmd_run(struct player *p)
{
	uint64_t time = player_time(p);

	if (go(p))
		world_run(p->w, time);
}

static uint64_t within(struct player *p, uint64_t otherwise)
{
	return player_accept(p, "within") ? player_time(p) : otherwise;
}

static void cmd_settle(struct player *p)
{
	bool stores = player_accept(p, "stores");
	uint64_t bound = within(p, BOUND);

	if (go(p))
		world_settle(p->w, bound, stores);
}

static bool is_moving(struct world *w)
{
	struct cluster_unit_state u;

	for (unsigned i = 0; i < w->nnodes; i++)
		for (unit_id k = 0; world_alive(&w->nodes[i]) && k < CLUSTER_UNITS; k++) {
			cluster_unit(w->nodes[i].c, k, &u);
			if (u.moving_to && unit_set_has(&w->nodes[i].owned, k))
				return true;
		}
	return false;
}

static bool has_joined(struct world *w, uint32_t set)
{
	EACH_OF(set, i)
	{
		struct node *n = &w->nodes[i];

		if (!n->c || (cluster_role(n->c) != CLUSTER_MEMBER &&
			      cluster_role(n->c) != CLUSTER_MASTER))
			return false;
	}
	return true;
}

/* until moving | joined WHO [within T]: steps event by event, to be there when it is so. */
static void cmd_until(struct player *p)
{
	bool moving = player_accept(p, "moving");
	uint32_t set = 0;
	uint64_t until;

	if (!moving) {
		player_want(p, "joined");
		set = player_members(p);
	}
	until = within(p, BOUND);
	if (!go(p))
		return;
	until += p->w->now;
	while (!(moving ? is_moving(p->w) : has_joined(p->w, set)))
		if (!world_step(p->w, until)) {
			world_fail(p->w, "it does not happen");
			return;
		}
}

/* Members come and go. */

static void cmd_start(struct player *p)
{
	uint32_t set = player_members(p);
	bool lost = player_accept(p, "lost");

	if (lost)
		player_want(p, "state");
	if (!go(p))
		return;
	EACH_OF(set, i)
	{
		struct node *n = &p->w->nodes[i];

		if (lost && !n->c) {
			p->w->faults[FAULT_lost_state]++;
			n->disk = 0;
		}
		world_start(p->w, i);
	}
}

static void cmd_kill(struct player *p)
{
	uint32_t set = player_members(p);
	bool note = player_accept(p, "with");

	if (note)
		player_want(p, "note");
	if (!go(p))
		return;
	world_judge(p->w);
	if (set & (set - 1))
		model_forgive(p->w);
	EACH_OF(set, i)
	world_kill(p->w, i, note);
}

static void cmd_freeze(struct player *p)
{
	uint32_t set = player_members(p);

	if (!go(p))
		return;
	world_judge(p->w);
	if (set & (set - 1))
		model_forgive(p->w);
	EACH_OF(set, i)
	world_freeze(p->w, i);
}

static void cmd_thaw(struct player *p)
{
	uint32_t set = player_members(p);

	if (go(p))
		EACH_OF(set, i)
	world_thaw(p->w, i);
}

static void cmd_stall(struct player *p)
{
	uint64_t time = player_time(p);

	if (!go(p))
		return;
	world_judge(p->w);
	world_stall(p->w, time);
}

static void cmd_able(struct player *p)
{
	uint32_t set = player_members(p);

	if (go(p))
		EACH_OF(set, i)
	world_set_able(p->w, i, true);
}

static void cmd_unable(struct player *p)
{
	uint32_t set = player_members(p);

	if (!go(p))
		return;
	if (p->w->steps)
		world_judge(p->w);
	EACH_OF(set, i)
	world_set_able(p->w, i, false);
}

static void drain(struct player *p, bool on)
{
	uint32_t set = player_members(p), ticket;

	if (!go(p))
		return;
	EACH_OF(set, i)
	{
		struct node *n = &p->w->nodes[i];

		if (!world_alive(n))
			continue;
		p->w->faults[FAULT_drain] += on;
		cluster_drain(n->c, n->id, on, false, &ticket, world_now(p->w, n));
		world_touch(p->w, n);
	}
	world_run(p->w, 0);
}

static void cmd_drain(struct player *p)
{
	drain(p, true);
}

static void cmd_undrain(struct player *p)
{
	drain(p, false);
}

/* move unit N to WHO: asked of its owner. */
static void cmd_move(struct player *p)
{
	uint32_t ticket;
	unsigned to;
	unit_id u;
	int rc;

	player_want(p, "unit");
	u = (unit_id)player_number(p, 0, CLUSTER_UNITS - 1);
	player_want(p, "to");
	to = player_member(p);
	if (!go(p))
		return;
	for (unsigned i = 0; i < p->w->nnodes; i++) {
		struct node *n = &p->w->nodes[i];

		if (!world_alive(n) || !unit_set_has(&n->owned, u) || i == to)
			continue;
		rc = cluster_move(n->c, u, p->w->nodes[to].id, &ticket,
				  world_now(p->w, n));
		if (rc && rc != -EINPROGRESS && rc != -EALREADY)
			player_fail(p, "unit %u cannot be moved: %s", u, strerror(-rc));
		world_touch(p->w, n);
		return;
	}
}

/* expel WHO: the master tells it to go; it comes back by itself. */
static void cmd_expel(struct player *p)
{
	unsigned i = player_member(p);
	struct node *master;

	if (!go(p))
		return;
	master = world_master(p->w);
	world_judge(p->w);
	if (!master || cluster_expel(master->c, p->w->nodes[i].id, false, "test", NULL,
				     world_now(p->w, master)))
		player_fail(p, "member %u cannot be expelled", p->w->nodes[i].id);
	else
		world_touch(p->w, master);
}

/* leave WHO: until it has left, and its process has ended. */
static void cmd_leave(struct player *p)
{
	unsigned i = player_member(p);
	struct node *n;
	uint64_t until;

	if (!go(p))
		return;
	n = &p->w->nodes[i];
	world_judge(p->w);
	world_leave(p->w, i);
	until = p->w->now + 8 * MONO_SEC;
	while (n->c && cluster_role(n->c) != CLUSTER_LEFT && !p->w->failed)
		if (!world_step(p->w, until)) {
			world_fail(p->w, "member %u does not leave", n->id);
			return;
		}
	world_kill(p->w, i, false);
}

/* All that was done to members and lines is undone. */
static void cmd_revive(struct player *p)
{
	struct world *w = p->w;

	if (!go(p))
		return;
	/* Several that come back at once may find one another before the rest. */
	if (world_running(w) + 1 < w->nnodes)
		model_forgive(w);
	for (unsigned i = 0; i < w->nnodes; i++) {
		world_thaw(w, i);
		world_start(w, i);
		world_set_able(w, i, true);
		for (unsigned j = i + 1; j < w->nnodes; j++) {
			w->links[i][j].slow = w->links[i][j].byte_ns = 0;
			network_clog(w, i, j, false);
		}
	}
	network_heal(w);
}

/* The network. */

static unsigned size_of(uint32_t set)
{
	return (unsigned)__builtin_popcount(set);
}

static void cut_one_way(struct player *p)
{
	uint32_t from = player_members(p), to;

	player_want(p, "->");
	to = player_members(p);
	if (!go(p))
		return;
	world_judge(p->w);
	EACH_OF(from, i)
	EACH_OF(to, j)
	if (i != j)
		network_cut_pair(p->w, i, j, true);
}

static void cut_pair(struct player *p)
{
	unsigned a = player_member(p), b;

	player_want(p, "and");
	b = player_member(p);
	if (!go(p) || a == b)
		return;
	world_judge(p->w);
	network_cut_pair(p->w, a, b, false);
}

/* cut WHO [| OTHERS]   cut one-way WHO -> WHO   cut between A and B */
static void cmd_cut(struct player *p)
{
	uint32_t set, others;

	if (player_accept(p, "one-way")) {
		cut_one_way(p);
		return;
	}
	if (player_accept(p, "between")) {
		cut_pair(p);
		return;
	}
	set = player_members(p);
	others = player_accept(p, "|") ? player_members(p) : 0;
	if (!go(p))
		return;
	world_judge(p->w);
	if (!others)
		others = (uint32_t)((UINT64_C(1) << p->w->nnodes) - 1) & ~set;
	/* An owner and its successor may be lost together. */
	if (size_of(set) > 1 && size_of(others) > 1)
		model_forgive(p->w);
	network_cut(p->w, set);
}

static void cmd_heal(struct player *p)
{
	if (go(p))
		network_heal(p->w);
}

/* break WHO and WHO: what is under way is lost, and they connect again. */
static void cmd_break(struct player *p)
{
	unsigned a = player_member(p), b;

	player_want(p, "and");
	b = player_member(p);
	if (!go(p) || a == b)
		return;
	p->w->faults[FAULT_broken]++;
	network_schedule(p->w, a, b, false, 0);
	world_run(p->w, 0);
}

/* clog WHO and WHO [off] */
static void cmd_clog(struct player *p)
{
	unsigned a = player_member(p), b;
	bool off;

	player_want(p, "and");
	b = player_member(p);
	off = player_accept(p, "off");
	if (!go(p) || a == b)
		return;
	world_judge(p->w);
	network_clog(p->w, a, b, !off);
}

/* slow A and B by T [TIME a byte] */
static void cmd_slow(struct player *p)
{
	unsigned a = player_member(p), b;
	uint64_t delay, byte = 0;
	struct link *l;

	player_want(p, "and");
	b = player_member(p);
	player_want(p, "by");
	delay = player_time(p);
	if (p->at < p->line->words) {
		byte = player_time(p);
		player_want(p, "a");
		player_want(p, "byte");
	}
	if (!go(p) || a == b)
		return;
	p->w->faults[FAULT_slow]++;
	l = network_link(p->w, a, b);
	l->slow = delay;
	l->byte_ns = byte;
}

/* Sessions. */

static void cmd_burst(struct player *p)
{
	uint32_t set = player_members(p);

	if (go(p))
		EACH_OF(set, i)
	model_burst(p->w, &p->w->nodes[i]);
}

/* sessions N [on WHO] */
static void cmd_sessions(struct player *p)
{
	unsigned count = (unsigned)player_number(p, 1, 1000000);
	unsigned i;

	if (player_accept(p, "with")) {
		i = player_member(p);
		if (go(p))
			model_put_sessions(p->w, &p->w->nodes[i], count);
	} else if (go(p)) {
		model_mass(p->w, count);
	}
}

/*
 * By whatever confusion: the master hears of another one, whom all of its members follow,
 * and gives its membership up.
 */
static void cmd_confuse(struct player *p)
{
	struct wire_master_keepalive k = { .sessions = 1 };
	uint8_t msg[CLUSTER_DATAGRAM_MAX];
	struct cluster_member_state m[NODES_MAX];
	struct node *master, *other = NULL;
	size_t len;

	player_want(p, "master");
	if (!go(p))
		return;
	master = world_master(p->w);
	for (unsigned i = 0; i < p->w->nnodes; i++)
		if (world_alive(&p->w->nodes[i]) && &p->w->nodes[i] != master)
			other = &p->w->nodes[i];
	if (!master || !other) {
		world_fail(p->w, "there are no two members");
		return;
	}
	k.answer = world_now(p->w, master).ns;
	k.members_count =
	    (uint16_t)cluster_members(master->c, m, NODES_MAX, world_now(p->w, master));
	for (unsigned i = 0; i < k.members_count; i++)
		k.members[i] = (struct wire_member){ .id = m[i].id,
						     .incarnation = m[i].incarnation,
						     .flags = WIRE_CONFIRMED };
	len = wire_encode_master_keepalive(
	    msg, sizeof(msg), ((cluster_term(master->c) >> 16) + 1) << 16 | other->id,
	    cluster_incarnation(other->c), &k);
	world_deliver(p->w, other, master, msg, len);
}

/* Expectations. */

static void expect_served(struct player *p)
{
	uint64_t bound = within(p, BOUND), until;
	unsigned missing;

	if (!go(p))
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
	uint64_t bound = within(p, BOUND), until;
	bool worked, all;

	if (!go(p))
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
	uint64_t until = within(p, 20 * MONO_SEC);
	const char *wrong;
	bool worked;

	if (!go(p))
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
	if (!go(p))
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
	if (!go(p))
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
	if (go(p) && world_master(p->w) && cluster_term(world_master(p->w)->c) != p->term)
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
	if (!go(p))
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
	if (go(p))
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
	if (!go(p))
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
	if (go(p))
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
	if (go(p))
		EACH_OF(set, i)
	{
		read_statistics(&p->w->nodes[i], values);
		n = values[which];
		n -= n < p->marked[i][which] ? 0 : p->marked[i][which];
		if (most ? n > bound : n < bound)
			player_fail(p, "%s of member %u is %llu", name, p->w->nodes[i].id,
				    (unsigned long long)n);
	}
}

static void cmd_expect(struct player *p)
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
			if (go(p))
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
static void cmd_mark(struct player *p)
{
	struct node *master = go(p) ? world_master(p->w) : NULL;

	if (master)
		p->term = cluster_term(master->c);
	for (unsigned i = 0; go(p) && i < p->w->nnodes; i++)
		read_statistics(&p->w->nodes[i], p->marked[i]);
}

/* Losses from here to the next settle are no fault. */
static void cmd_forgive(struct player *p)
{
	if (go(p))
		model_forgive(p->w);
}

/* All is at rest, stays so, all stores are equal, and nothing is lost. */
static void cmd_finish(struct player *p)
{
	if (!go(p))
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

static const struct {
	const char *name;
	void (*run)(struct player *p);
} commands[] = {
	{ "members", cmd_members },
	{ "seed", cmd_nothing },
	{ "set", cmd_set },
	{ "let", cmd_let },
	{ "run", cmd_run },
	{ "settle", cmd_settle },
	{ "until", cmd_until },
	{ "start", cmd_start },
	{ "kill", cmd_kill },
	{ "freeze", cmd_freeze },
	{ "thaw", cmd_thaw },
	{ "stall", cmd_stall },
	{ "able", cmd_able },
	{ "unable", cmd_unable },
	{ "drain", cmd_drain },
	{ "undrain", cmd_undrain },
	{ "move", cmd_move },
	{ "leave", cmd_leave },
	{ "expel", cmd_expel },
	{ "revive", cmd_revive },
	{ "cut", cmd_cut },
	{ "heal", cmd_heal },
	{ "break", cmd_break },
	{ "clog", cmd_clog },
	{ "slow", cmd_slow },
	{ "burst", cmd_burst },
	{ "sessions", cmd_sessions },
	{ "confuse", cmd_confuse },
	{ "mark", cmd_mark },
	{ "expect", cmd_expect },
	{ "forgive", cmd_forgive },
	{ "finish", cmd_finish },
	{ "end", NULL },
};

bool command_run(struct player *p)
{
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(p->line->word[0], commands[i].name))
			continue;
		if (commands[i].run)
			commands[i].run(p);
		return true;
	}
	return false;
}
