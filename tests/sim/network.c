/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Datagrams, streams, and what cuts them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/world.h"

#define STALE_TIME (2 * MONO_SEC)
#define RECONNECT (50 * MONO_MS)
#define RESUME_MAX (300 * MONO_MS)
/* A slow line drops datagrams that would wait for longer. */
#define BUFFER_TIME (200 * MONO_MS)
/* As in src/seal.h. */
#define SEAL_WINDOW 2048

struct link *network_link(struct world *w, unsigned a, unsigned b)
{
	return a < b ? &w->links[a][b] : &w->links[b][a];
}

static const struct link *link_between(const struct world *w, unsigned a, unsigned b)
{
	return a < b ? &w->links[a][b] : &w->links[b][a];
}

bool network_reaches(const struct world *w, unsigned a, unsigned b)
{
	return !w->cuts || a == b || !link_between(w, a, b)->cut[a > b];
}

bool network_connected(const struct world *w, unsigned a, unsigned b)
{
	return network_reaches(w, a, b) && network_reaches(w, b, a);
}

/* Parts. */

static bool passes_on(const struct node *n)
{
	return world_alive(n) && !n->expelled && cluster_role(n->c) != CLUSTER_JOINING;
}

static void spread_part(struct world *w, unsigned i, unsigned part)
{
	w->nodes[i].part = part;
	/* Who is dead or stopped passes nothing on, nor is one believed that is yet to join. */
	if (!passes_on(&w->nodes[i]))
		return;
	for (unsigned j = 0; j < w->nnodes; j++)
		if (!w->nodes[j].part && network_connected(w, i, j))
			spread_part(w, j, part);
}

static unsigned number_parts(struct world *w)
{
	unsigned parts = 0;

	for (unsigned i = 0; i < w->nnodes; i++)
		w->nodes[i].part = 0;
	for (unsigned pass = 0; pass < 3; pass++)
		for (unsigned i = 0; i < w->nnodes; i++)
			if (!w->nodes[i].part && (pass > 1 || passes_on(&w->nodes[i]) ||
						  (pass && world_alive(&w->nodes[i]))))
				spread_part(w, i, ++parts);
	return parts;
}

/* Each part of each side that is not the main part has its own history from now on. */
static void number_sides(struct world *w)
{
	unsigned was[NODES_MAX];

	for (unsigned i = 0; i < w->nnodes; i++)
		was[i] = w->nodes[i].side;
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		n->tainted = n->tainted || !n->main;
		if (n->main || n->side != was[i])
			continue;
		w->sides++;
		for (unsigned j = i; j < w->nnodes; j++)
			if (w->nodes[j].part == n->part && was[j] == was[i])
				w->nodes[j].side = w->sides;
	}
}

void network_parts(struct world *w)
{
	unsigned size[NODES_MAX + 1] = { 0 }, alive = 0, best = 0;
	bool tie = false;

	if (!w->cuts) {
		for (unsigned i = 0; i < w->nnodes; i++) {
			w->nodes[i].part = 1;
			w->nodes[i].main = true;
		}
		w->split = false;
		return;
	}
	number_parts(w);
	for (unsigned i = 0; i < w->nnodes; i++)
		if (world_alive(&w->nodes[i]) && !size[w->nodes[i].part]++)
			alive++;
	for (unsigned p = 1; p <= w->nnodes; p++) {
		tie = size[p] == size[best] || (tie && size[p] < size[best]);
		if (size[p] > size[best])
			best = p;
	}
	w->split = alive > 1;
	for (unsigned i = 0; i < w->nnodes; i++)
		w->nodes[i].main = w->nodes[i].part == best && !tie;
	number_sides(w);
}

/* Sealing: which datagrams arrive as such, apart from copies, which may come by relays. */

/* The process begins anew, and has no keys. */
static void forget_keys(struct world *w, unsigned i)
{
	for (unsigned j = 0; j < w->nnodes; j++) {
		struct link *l = network_link(w, i, j);

		if (j == i)
			continue;
		l->sealed[i > j].seals = 0;
		memset(l->sealed[j > i].opens, 0, sizeof(l->sealed[0].opens));
	}
}

static void new_key(struct link *l)
{
	l->keys++;
	for (unsigned d = 0; d < 2; d++) {
		l->sealed[d].seals = l->keys;
		l->sealed[d].sequence = 0;
		l->sealed[d].opens[1] = l->sealed[d].opens[0];
		l->sealed[d].opens[0] = (struct opener){ .key = l->keys };
	}
}

static bool opens(struct link *l, const struct event *e)
{
	struct opener *of = l->sealed[e->from > e->to].opens;

	if (of->key != e->key)
		of++;
	if (of->key != e->key || e->sequence + SEAL_WINDOW <= of->highest)
		return false;
	if (e->sequence > of->highest)
		of->highest = e->sequence;
	return true;
}

/* Sending. */

/* How long it takes; UINT64_MAX: a datagram that a slow line has no room for. */
static uint64_t travel(struct world *w, unsigned from, unsigned to, size_t len,
		       bool datagram)
{
	struct link *l = network_link(w, from, to);
	uint64_t t = w->delay + l->slow + world_random(w, w->jitter + 1), begin;

	if (l->byte_ns) {
		begin = l->busy[from > to] > w->now ? l->busy[from > to] : w->now;
		if (datagram && begin - w->now > BUFFER_TIME)
			return UINT64_MAX;
		l->busy[from > to] = begin + len * l->byte_ns;
		t += l->busy[from > to] - w->now;
	}
	if (datagram && world_chance(w, w->tardy)) {
		w->faults[FAULT_late]++;
		return t + world_random(w, MONO_SEC);
	}
	return world_chance(w, 0.002) ? t + world_random(w, 5 * MONO_MS) : t;
}

void network_datagram(struct world *w, unsigned from, unsigned to, const uint8_t *msg,
		      size_t len)
{
	unsigned copies = 1 + world_chance(w, w->duplicate);
	bool cut = !network_reaches(w, from, to), direction = from > to;
	struct link *l = network_link(w, from, to);

	if (!l->sealed[direction].seals)
		return;
	l->sealed[direction].sequence++;
	w->faults[FAULT_doubled] += copies - 1;
	if (cut && !w->stale)
		return;
	while (copies--) {
		struct event *e;
		uint64_t t;

		if (world_chance(w, w->loss)) {
			w->faults[FAULT_lost]++;
			continue;
		}
		t = cut ? 0 : travel(w, from, to, len, true);
		if (t == UINT64_MAX) {
			w->faults[FAULT_lost]++;
			continue;
		}
		e = event_new(EV_DATAGRAM, from, to, msg, len);
		e->key = l->sealed[direction].seals;
		e->sequence = l->sealed[direction].sequence;
		e->at = w->now;
		if (cut)
			/* Waits for a neighbour to be found, or for the carrier. */
			event_append(&w->kept, &w->nkept, &w->kept_cap, e);
		else
			event_push(w, e, w->now + t);
	}
}

/* After a cut: what was sent in its last seconds comes, late and out of order. */
static void deliver_kept(struct world *w)
{
	uint64_t from = w->now + 200 * MONO_MS, span = world_random(w, 800 * MONO_MS) + 1;

	for (size_t i = 0; i < w->nkept; i++) {
		struct event *e = w->kept[i];

		if (w->now - e->at > STALE_TIME || world_chance(w, 0.3)) {
			memory_put(e);
			continue;
		}
		w->faults[FAULT_late]++;
		event_push(w, e, from + world_random(w, span));
	}
	w->nkept = 0;
}

void network_schedule(struct world *w, unsigned a, unsigned b, bool up, uint64_t after)
{
	struct event *e = event_new(up ? EV_LINK_UP : EV_LINK_DOWN, a, b, NULL, 0);

	e->generation = network_link(w, a, b)->generation;
	event_push(w, e, w->now + after);
}

/* Ordered: nothing overtakes what was sent before it. */
static void push_stream(struct world *w, struct event *e)
{
	struct link *l = network_link(w, e->from, e->to);
	uint64_t *last = &l->last[e->from > e->to];
	uint64_t at = w->now + travel(w, e->from, e->to, e->len, false);

	if (at <= *last)
		at = *last + 1;
	*last = at;
	event_push(w, e, at);
}

int network_stream(struct world *w, unsigned from, unsigned to, const uint8_t *msg,
		   size_t len)
{
	struct link *l = network_link(w, from, to);
	struct event *e;

	if (!l->up)
		return -ENOTCONN;
	if (l->queued[from > to] + len > w->queue) {
		w->faults[FAULT_queue]++;
		network_schedule(w, from, to, false, 0);
		return -ENOBUFS;
	}
	l->queued[from > to] += len;
	e = event_new(EV_STREAM, from, to, msg, len);
	e->generation = l->generation;
	push_stream(w, e);
	return 0;
}

/* Delivery. */

static void drop_held(struct link *l)
{
	for (size_t i = 0; i < l->nheld; i++)
		memory_put(l->held[i]);
	l->nheld = 0;
}

static void tell(struct world *w, struct node *n, struct node *peer, bool up)
{
	if (!n->c)
		return;
	if (n->frozen) {
		/* It learns of it when it runs again. */
		event_append(&n->held, &n->nheld, &n->held_cap,
			     event_new(up ? EV_LINK_UP : EV_LINK_DOWN, peer->index,
				       n->index, NULL, 0));
		return;
	}
	cluster_link(n->c, peer->id, up, world_now(w, n));
	world_touch(w, n);
}

static void set_link(struct world *w, unsigned from, unsigned to, bool up)
{
	struct link *l = network_link(w, from, to);
	struct node *a = &w->nodes[from], *b = &w->nodes[to];

	if (up &&
	    (!world_alive(a) || !world_alive(b) || !network_connected(w, from, to))) {
		if (a->c && b->c)
			network_schedule(w, from, to, true, RECONNECT);
		return;
	}
	l->up = up;
	l->generation++;
	l->queued[0] = l->queued[1] = 0;
	l->stalled = false;
	drop_held(l);
	if (up)
		new_key(l);
	tell(w, a, b, up);
	tell(w, b, a, up);
	if (!up && a->c && b->c)
		network_schedule(w, from, to, true,
				 20 * MONO_MS + world_random(w, 80 * MONO_MS));
}

static void deliver(struct world *w, struct event *e)
{
	struct node *from = &w->nodes[e->from], *n = &w->nodes[e->to];

	if (!n->c)
		return;
	if (e->type == EV_STREAM)
		cluster_recv_stream(n->c, from->id, e->bytes, e->len, world_now(w, n));
	else if (network_reaches(w, e->from, e->to) &&
		 opens(network_link(w, e->from, e->to), e))
		cluster_recv_datagram(n->c, from->id, e->bytes, e->len, world_now(w, n));
	world_touch(w, n);
}

static void resume(struct world *w, struct link *l, const struct event *e)
{
	if (!network_connected(w, e->from, e->to))
		return; /* cut again, and healed again later */
	l->stalled = false;
	if (l->clogged)
		return;
	for (size_t k = 0; k < l->nheld; k++)
		event_push(w, l->held[k], w->now);
	l->nheld = 0;
}

/* Takes the event over. */
void network_fire(struct world *w, struct event *e)
{
	struct node *n = &w->nodes[e->to];
	struct link *l = network_link(w, e->from, e->to);

	if (e->type == EV_LINK_UP || e->type == EV_LINK_DOWN) {
		if (l->generation == e->generation && l->up != (e->type == EV_LINK_UP))
			set_link(w, e->from, e->to, e->type == EV_LINK_UP);
	} else if (e->type == EV_RESUME) {
		resume(w, l, e);
	} else if (e->type == EV_STREAM && e->generation != l->generation) {
		/* The connection that it was sent on is gone. */
	} else if (e->type == EV_STREAM && !e->arrived &&
		   (l->stalled || l->clogged || !network_connected(w, e->from, e->to))) {
		event_append(&l->held, &l->nheld, &l->held_cap, e);
		return;
	} else if (n->frozen) {
		/* It waits in a socket, whatever becomes of the network. */
		e->arrived = true;
		event_append(&n->held, &n->nheld, &n->held_cap, e);
		return;
	} else {
		if (e->type == EV_STREAM)
			l->queued[e->from > e->to] -= e->len;
		deliver(w, e);
	}
	memory_put(e);
}

void network_started(struct world *w, unsigned i)
{
	forget_keys(w, i);
	for (unsigned j = 0; j < w->nnodes; j++) {
		if (j == i || !w->nodes[j].c)
			continue;
		/* A rest of the earlier run's connection. */
		if (network_link(w, i, j)->up)
			set_link(w, i, j, false);
		else
			network_schedule(w, i, j, true,
					 MONO_MS + world_random(w, 60 * MONO_MS));
	}
}

void network_break(struct world *w, unsigned i, uint64_t within)
{
	for (unsigned j = 0; j < w->nnodes; j++)
		if (j != i && network_link(w, i, j)->up)
			network_schedule(w, i, j, false, 1 + world_random(w, within));
}

/* Cuts. */

static void cut_link(struct world *w, unsigned a, unsigned b)
{
	struct link *l = network_link(w, a, b);

	w->cuts = true;
	if (l->up && world_chance(w, 0.7))
		network_schedule(w, a, b, false,
				 50 * MONO_MS + world_random(w, MONO_SEC));
}

void network_cut(struct world *w, uint32_t side)
{
	w->faults[FAULT_cut]++;
	world_log(w, "cut, one side is %x", side);
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = 0; j < i; j++)
			if ((side >> i & 1) != (side >> j & 1)) {
				w->links[j][i].cut[0] = w->links[j][i].cut[1] = true;
				cut_link(w, i, j);
			}
	network_parts(w);
}

void network_cut_pair(struct world *w, unsigned a, unsigned b, bool one_way)
{
	struct link *l = network_link(w, a, b);

	w->faults[one_way ? FAULT_one_way : FAULT_pair_cut]++;
	world_log(w, "cut %u %s %u", w->nodes[a].id, one_way ? "->" : "-",
		  w->nodes[b].id);
	l->cut[a > b] = true;
	if (!one_way)
		l->cut[0] = l->cut[1] = true;
	cut_link(w, a, b);
	network_parts(w);
}

void network_heal(struct world *w)
{
	if (w->cuts)
		w->healed_at = w->now;
	world_log(w, "heal");
	deliver_kept(w);
	w->cuts = false;
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = i + 1; j < w->nnodes; j++) {
			struct link *l = &w->links[i][j];

			if (l->up && (l->cut[0] || l->cut[1])) {
				/* TCP finds out when it tries again. */
				l->stalled = true;
				event_push(w, event_new(EV_RESUME, i, j, NULL, 0),
					   w->now + world_random(w, RESUME_MAX));
			}
			l->cut[0] = l->cut[1] = false;
		}
	network_parts(w);
}

void network_clog(struct world *w, unsigned a, unsigned b, bool clogged)
{
	struct link *l = network_link(w, a, b);

	if (clogged && !l->clogged)
		w->faults[FAULT_clogged]++;
	l->clogged = clogged;
	if (!clogged && l->nheld && !l->stalled)
		event_push(w, event_new(EV_RESUME, a, b, NULL, 0), w->now);
}

void network_discard_held(struct node *n)
{
	for (size_t k = 0; k < n->nheld; k++)
		memory_put(n->held[k]);
	n->nheld = 0;
}

void network_free(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = i + 1; j < w->nnodes; j++) {
			drop_held(&w->links[i][j]);
			memory_put(w->links[i][j].held);
		}
	while (w->nkept)
		memory_put(w->kept[--w->nkept]);
	memory_put(w->kept);
}
