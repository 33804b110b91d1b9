/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of scenarios: settings, time and clients; and the list of all.
 */
#include <string.h>

#include "cluster/wire.h"
#include "tests/sim/command.h"

bool command_go(const struct player *p)
{
	return p->w && !p->error[0] && !p->w->failed && p->at == p->line->words;
}

uint64_t command_within(struct player *p, uint64_t otherwise)
{
	return player_accept(p, "within") ? player_time(p) : otherwise;
}

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
	if (!command_go(p))
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
	if (command_go(p))
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

	if (command_go(p))
		world_run(p->w, time);
}

static void cmd_settle(struct player *p)
{
	bool stores = player_accept(p, "stores");
	uint64_t bound = command_within(p, BOUND);

	if (command_go(p))
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
	until = command_within(p, BOUND);
	if (!command_go(p))
		return;
	until += p->w->now;
	while (!(moving ? is_moving(p->w) : has_joined(p->w, set)))
		if (!world_step(p->w, until)) {
			world_fail(p->w, "it does not happen");
			return;
		}
}

/* Sessions. */

static void cmd_burst(struct player *p)
{
	uint32_t set = player_members(p);

	if (command_go(p))
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
		if (command_go(p))
			model_put_sessions(p->w, &p->w->nodes[i], count);
	} else if (command_go(p)) {
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
	if (!command_go(p))
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
	{ "fill", cmd_fill },
	{ "clear", cmd_clear },
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
