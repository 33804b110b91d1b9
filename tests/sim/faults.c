/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of scenarios: what happens to members, and to the lines between them.
 */
#include <errno.h>
#include <string.h>

#include "tests/sim/command.h"

/* Members come and go. */

void cmd_start(struct player *p)
{
	uint32_t set = player_members(p);
	bool lost = player_accept(p, "lost");

	if (lost)
		player_want(p, "state");
	if (!command_go(p))
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

void cmd_kill(struct player *p)
{
	uint32_t set = player_members(p);
	bool note = player_accept(p, "with");

	if (note)
		player_want(p, "note");
	if (!command_go(p))
		return;
	world_judge(p->w);
	if (set & (set - 1))
		model_forgive(p->w);
	EACH_OF(set, i)
	world_kill(p->w, i, note);
}

void cmd_freeze(struct player *p)
{
	uint32_t set = player_members(p);

	if (!command_go(p))
		return;
	world_judge(p->w);
	if (set & (set - 1))
		model_forgive(p->w);
	EACH_OF(set, i)
	world_freeze(p->w, i);
}

void cmd_thaw(struct player *p)
{
	uint32_t set = player_members(p);

	if (command_go(p))
		EACH_OF(set, i)
	world_thaw(p->w, i);
}

void cmd_stall(struct player *p)
{
	uint64_t time = player_time(p);

	if (!command_go(p))
		return;
	world_judge(p->w);
	world_stall(p->w, time);
}

void cmd_able(struct player *p)
{
	uint32_t set = player_members(p);

	if (command_go(p))
		EACH_OF(set, i)
	world_set_able(p->w, i, true);
}

void cmd_unable(struct player *p)
{
	uint32_t set = player_members(p);

	if (!command_go(p))
		return;
	if (p->w->steps)
		world_judge(p->w);
	EACH_OF(set, i)
	world_set_able(p->w, i, false);
}

/* fill WHO, clear WHO: of disks */
static void fill(struct player *p, bool full)
{
	uint32_t set = player_members(p);

	if (!command_go(p))
		return;
	if (full)
		world_judge(p->w);
	EACH_OF(set, i)
	{
		p->w->faults[FAULT_full] += full;
		p->w->nodes[i].full = full;
	}
}

void cmd_fill(struct player *p)
{
	fill(p, true);
}

void cmd_clear(struct player *p)
{
	fill(p, false);
}

static void drain(struct player *p, bool on)
{
	uint32_t set = player_members(p), ticket;

	if (!command_go(p))
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

void cmd_drain(struct player *p)
{
	drain(p, true);
}

void cmd_undrain(struct player *p)
{
	drain(p, false);
}

/* [if possible]: it may be refused. */
static bool if_possible(struct player *p)
{
	if (!player_accept(p, "if"))
		return false;
	player_want(p, "possible");
	return true;
}

/* move unit N to WHO: asked of its owner. */
void cmd_move(struct player *p)
{
	bool possible;
	uint32_t ticket;
	unsigned to;
	unit_id u;
	int rc;

	player_want(p, "unit");
	u = (unit_id)player_number(p, 0, CLUSTER_UNITS - 1);
	player_want(p, "to");
	to = player_member(p);
	possible = if_possible(p);
	if (!command_go(p))
		return;
	for (unsigned i = 0; i < p->w->nnodes; i++) {
		struct node *n = &p->w->nodes[i];

		if (!world_alive(n) || !unit_set_has(&n->owned, u) || i == to)
			continue;
		rc = cluster_move(n->c, u, p->w->nodes[to].id, &ticket,
				  world_now(p->w, n));
		if (rc && rc != -EINPROGRESS && rc != -EALREADY && !possible)
			player_fail(p, "unit %u cannot be moved: %s", u, strerror(-rc));
		world_touch(p->w, n);
		return;
	}
}

/* expel WHO: the master tells it to go; it comes back by itself. */
void cmd_expel(struct player *p)
{
	unsigned i = player_member(p);
	bool possible = if_possible(p);
	struct node *master;

	if (!command_go(p))
		return;
	master = world_master(p->w);
	world_judge(p->w);
	if (master && !cluster_expel(master->c, p->w->nodes[i].id, false, "test", NULL,
				     world_now(p->w, master))) {
		p->w->nodes[i].expelled = true;
		network_parts(p->w);
		world_touch(p->w, master);
	} else if (!possible) {
		player_fail(p, "member %u cannot be expelled", p->w->nodes[i].id);
	}
}

/* leave WHO: until it has left, and its process has ended. */
void cmd_leave(struct player *p)
{
	unsigned i = player_member(p);
	struct node *n;
	uint64_t until;

	if (!command_go(p))
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
void cmd_revive(struct player *p)
{
	struct world *w = p->w;

	if (!command_go(p))
		return;
	/* Several that come back at once may find one another before the rest. */
	if (world_running(w) + 1 < w->nnodes)
		model_forgive(w);
	for (unsigned i = 0; i < w->nnodes; i++) {
		world_thaw(w, i);
		world_start(w, i);
		world_set_able(w, i, true);
		w->nodes[i].full = false;
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
	if (!command_go(p))
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
	if (!command_go(p) || a == b)
		return;
	world_judge(p->w);
	network_cut_pair(p->w, a, b, false);
}

/* cut WHO [| OTHERS]   cut one-way WHO -> WHO   cut between A and B */
void cmd_cut(struct player *p)
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
	if (!command_go(p))
		return;
	world_judge(p->w);
	if (!others)
		others = (uint32_t)((UINT64_C(1) << p->w->nnodes) - 1) & ~set;
	/* An owner and its successor may be lost together. */
	if (size_of(set) > 1 && size_of(others) > 1)
		model_forgive(p->w);
	network_cut(p->w, set);
}

void cmd_heal(struct player *p)
{
	if (command_go(p))
		network_heal(p->w);
}

/* break WHO and WHO: what is under way is lost, and they connect again. */
void cmd_break(struct player *p)
{
	unsigned a = player_member(p), b;

	player_want(p, "and");
	b = player_member(p);
	if (!command_go(p) || a == b)
		return;
	p->w->faults[FAULT_broken]++;
	network_schedule(p->w, a, b, false, 0);
	world_run(p->w, 0);
}

/* clog WHO and WHO [off] */
void cmd_clog(struct player *p)
{
	unsigned a = player_member(p), b;
	bool off;

	player_want(p, "and");
	b = player_member(p);
	off = player_accept(p, "off");
	if (!command_go(p) || a == b)
		return;
	world_judge(p->w);
	network_clog(p->w, a, b, !off);
}

/* slow A and B by T [TIME a byte] */
void cmd_slow(struct player *p)
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
	if (!command_go(p) || a == b)
		return;
	p->w->faults[FAULT_slow]++;
	l = network_link(p->w, a, b);
	l->slow = delay;
	l->byte_ns = byte;
}
