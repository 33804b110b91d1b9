/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

#define QUEUE_MAX 20000
#define STALE_TIME (2 * MONO_SEC)

uint64_t world_random(struct world *w, uint64_t below)
{
	uint64_t z = (w->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return below ? z % below : z;
}

bool world_chance(struct world *w, double p)
{
	return p > 0 && (double)world_random(w, 1000000) < p * 1000000;
}

void world_log(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->verbose)
		return;
	printf("%10.4f ", (double)w->now / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failed)
		return;
	w->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->failure, sizeof(w->failure), fmt, ap);
	va_end(ap);
	world_log(w, "FAILED: %s", w->failure);
}

struct mono world_now(const struct world *w, const struct node *n)
{
	return (struct mono){ w->now + n->clock };
}

/* The heap of events. */

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct world *w, struct event e)
{
	size_t i;

	if (w->nheap == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 1024;
		w->heap = realloc(w->heap, w->cap * sizeof(*w->heap));
		if (!w->heap)
			abort();
	}
	e.order = ++w->order;
	for (i = w->nheap++; i && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct event pop(struct world *w)
{
	struct event top = w->heap[0], last = w->heap[--w->nheap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->nheap) {
		if (child + 1 < w->nheap && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

/* The network. */

static struct link *link_of(struct world *w, unsigned a, unsigned b)
{
	return a < b ? &w->links[a][b] : &w->links[b][a];
}

bool world_connected(const struct world *w, unsigned a, unsigned b)
{
	return a == b || !w->cut[a][b];
}

bool world_split(const struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = 0; j < i; j++)
			if (w->cut[i][j])
				return true;
	return false;
}

static unsigned part_size(const struct world *w, unsigned i)
{
	unsigned n = 0;

	for (unsigned j = 0; j < w->nnodes; j++)
		if (w->nodes[j].c && !w->nodes[j].frozen && world_connected(w, i, j))
			n++;
	return n;
}

bool world_in_main(const struct world *w, unsigned i)
{
	unsigned n = part_size(w, i);

	for (unsigned j = 0; j < w->nnodes; j++)
		if (!world_connected(w, i, j) && part_size(w, j) >= n)
			return false;
	return true;
}

static uint8_t *copy_of(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len);

	if (!copy)
		abort();
	memcpy(copy, bytes, len);
	return copy;
}

static uint64_t travel(struct world *w)
{
	uint64_t t = w->delay + world_random(w, w->jitter + 1);

	if (world_chance(w, w->tardy))
		return t + world_random(w, MONO_SEC);
	return world_chance(w, 0.002) ? t + world_random(w, 5 * MONO_MS) : t;
}

static struct node *node_of(struct world *w, member_id id)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].id == id)
			return &w->nodes[i];
	return NULL;
}

/* Waits for a neighbour to be found, or for the carrier. */
static void keep(struct world *w, struct event e)
{
	if (w->nkept == w->kept_cap) {
		w->kept_cap = w->kept_cap ? w->kept_cap * 2 : 256;
		w->kept = realloc(w->kept, w->kept_cap * sizeof(*w->kept));
		if (!w->kept)
			abort();
	}
	w->kept[w->nkept++] = e;
}

/* After a cut: what was sent in its last seconds comes, late and out of order. */
static void deliver_kept(struct world *w)
{
	uint64_t from = w->now + 200 * MONO_MS, span = world_random(w, 800 * MONO_MS) + 1;

	for (size_t i = 0; i < w->nkept; i++) {
		struct event e = w->kept[i];

		if (w->now - e.at > STALE_TIME || world_chance(w, 0.3)) {
			free(e.bytes);
			continue;
		}
		e.at = from + world_random(w, span);
		push(w, e);
	}
	w->nkept = 0;
}

static void send_datagram(struct world *w, unsigned from, unsigned to, const uint8_t *msg,
			  size_t len)
{
	unsigned copies = 1 + world_chance(w, w->duplicate);
	bool cut = !world_connected(w, from, to);

	if ((cut && !w->stale) || !link_of(w, from, to)->generation)
		return;
	while (copies--) {
		struct event e = { .at = w->now,
				   .type = EV_DATAGRAM,
				   .from = from,
				   .to = to,
				   .runs = { w->nodes[from].run, w->nodes[to].run },
				   .len = len };

		if (world_chance(w, w->loss))
			continue;
		e.bytes = copy_of(msg, len);
		if (cut) {
			keep(w, e);
			continue;
		}
		e.at += travel(w);
		push(w, e);
	}
}

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct node *n = ctx, *peer = node_of(n->w, to);

	if (len > CLUSTER_DATAGRAM_MAX)
		world_fail(n->w, "datagram of %zu bytes", len);
	if (peer)
		send_datagram(n->w, n->index, peer->index, msg, len);
}

static void hold(struct link *l, struct event e)
{
	if (l->nheld == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->held = realloc(l->held, l->cap * sizeof(*l->held));
		if (!l->held)
			abort();
	}
	l->held[l->nheld++] = e;
}

/* Ordered: nothing overtakes what was sent before it. */
static void push_stream(struct world *w, struct event e)
{
	struct link *l = link_of(w, e.from, e.to);
	uint64_t *last = &l->last[e.from < e.to];

	e.at = w->now + travel(w);
	if (e.at <= *last)
		e.at = *last + 1;
	*last = e.at;
	push(w, e);
}

static void schedule_link(struct world *w, unsigned a, unsigned b, int type,
			  uint64_t after)
{
	push(w, (struct event){ .at = w->now + after,
				.type = type,
				.from = a,
				.to = b,
				.generation = link_of(w, a, b)->generation });
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct node *n = ctx, *peer = node_of(n->w, to);
	struct world *w = n->w;
	struct link *l;

	if (len > CLUSTER_MESSAGE_MAX)
		world_fail(w, "stream message of %zu bytes", len);
	if (!peer)
		return -ENOTCONN;
	l = link_of(w, n->index, peer->index);
	if (!l->up)
		return -ENOTCONN;
	if (l->queued >= QUEUE_MAX) {
		schedule_link(w, n->index, peer->index, EV_LINK_DOWN, 0);
		return -ENOBUFS;
	}
	l->queued++;
	push_stream(w, (struct event){ .type = EV_STREAM,
				       .from = n->index,
				       .to = peer->index,
				       .generation = l->generation,
				       .bytes = copy_of(msg, len),
				       .len = len });
	return 0;
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	struct node *n = ctx;

	while (len--)
		*out++ = (uint8_t)world_random(n->w, 256);
}

static int io_save(void *ctx, uint32_t number)
{
	struct node *n = ctx;

	if (number <= n->disk)
		world_fail(n->w, "member %u saves activation %u after %u", n->id, number,
			   n->disk);
	n->disk = number;
	return 0;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct node *n = ctx;
	bool any = false;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		if (unit_set_has(lost, u)) {
			if (!unit_set_has(&n->owned, u))
				world_fail(n->w, "member %u loses %u twice", n->id, u);
			unit_set_remove(&n->owned, u);
		}
		if (unit_set_has(gained, u)) {
			any = true;
			if (unit_set_has(&n->owned, u))
				world_fail(n->w, "member %u gains %u twice", n->id, u);
			unit_set_add(&n->owned, u);
		}
	}
	if (any) {
		if (activation <= n->handed || activation > n->disk)
			world_fail(n->w, "member %u is handed activation %u after %u",
				   n->id, activation, n->handed);
		n->handed = activation;
		model_gained(n->w, n, gained);
	}
	model_lost(n->w, n, lost);
}

static void io_nothing(void *ctx)
{
}

static void io_session(void *ctx, struct session *s)
{
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
}

static void io_log(void *ctx, const char *line)
{
	struct node *n = ctx;

	if (n->w->verbose)
		world_log(n->w, "  %u: %s", n->id, line);
}

static void after_call(struct world *w, struct node *n)
{
	struct mono t;
	uint64_t at;

	if (!n->c)
		return;
	t = cluster_timeout(n->c);
	if (t.ns == UINT64_MAX) {
		n->tick_at = UINT64_MAX;
		return;
	}
	at = t.ns > n->clock ? t.ns - n->clock : 0;
	if (at < w->now)
		at = w->now;
	/* A real loop is never quite on time; and an early tick must do no harm. */
	n->tick_at = at + (at * 2654435761u ^ w->steps) % (300 * MONO_US);
}

static void fire_link(struct world *w, const struct event *e, bool up)
{
	struct link *l = link_of(w, e->from, e->to);
	struct node *a = &w->nodes[e->from], *b = &w->nodes[e->to];

	if (l->generation != e->generation || l->up == up)
		return;
	if (up && (!a->c || !b->c || a->frozen || b->frozen ||
		   !world_connected(w, e->from, e->to))) {
		if (a->c && b->c)
			schedule_link(w, e->from, e->to, EV_LINK_UP, 50 * MONO_MS);
		return;
	}
	l->up = up;
	l->generation++;
	l->queued = 0;
	for (size_t i = 0; i < l->nheld; i++)
		free(l->held[i].bytes);
	l->nheld = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct node *n = i ? b : a, *peer = i ? a : b;

		if (!n->c)
			continue;
		if (n->frozen) {
			/* It learns of it when it runs again. */
			hold(&w->links[n->index][n->index],
			     (struct event){ .type = up ? EV_LINK_UP : EV_LINK_DOWN,
					     .from = peer->index,
					     .to = n->index });
			continue;
		}
		cluster_link(n->c, peer->id, up, world_now(w, n));
		after_call(w, n);
	}
	if (!up && a->c && b->c)
		schedule_link(w, e->from, e->to, EV_LINK_UP,
			      20 * MONO_MS + world_random(w, 80 * MONO_MS));
}

static void fire_message(struct world *w, struct event *e)
{
	struct node *n = &w->nodes[e->to];
	struct link *l = link_of(w, e->from, e->to);

	if (e->type == EV_STREAM && e->generation != l->generation) {
		free(e->bytes);
		return;
	}
	if (e->type == EV_STREAM && !world_connected(w, e->from, e->to)) {
		hold(l, *e);
		return;
	}
	if (n->frozen) {
		hold(&w->links[n->index][n->index], *e);
		return;
	}
	if (e->type == EV_STREAM)
		l->queued--;
	if (n->c && e->type == EV_STREAM)
		cluster_recv_stream(n->c, w->nodes[e->from].id, e->bytes, e->len,
				    world_now(w, n));
	else if (n->c && world_connected(w, e->from, e->to) &&
		 w->nodes[e->from].run == e->runs[0] && n->run == e->runs[1])
		cluster_recv_datagram(n->c, w->nodes[e->from].id, e->bytes, e->len,
				      world_now(w, n));
	free(e->bytes);
	after_call(w, n);
}

bool world_step(struct world *w, uint64_t until)
{
	struct node *ticks = NULL;
	uint64_t at = w->nheap ? w->heap[0].at : UINT64_MAX;
	struct event e;

	if (w->failed)
		return false;
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].c && !w->nodes[i].frozen && w->nodes[i].tick_at < at) {
			ticks = &w->nodes[i];
			at = ticks->tick_at;
		}
	if (at > until) {
		w->now = until > w->now ? until : w->now;
		return false;
	}
	w->now = at > w->now ? at : w->now;
	w->steps++;
	if (ticks) {
		cluster_tick(ticks->c, world_now(w, ticks));
		after_call(w, ticks);
	} else {
		e = pop(w);
		switch (e.type) {
		case EV_LINK_UP:
		case EV_LINK_DOWN:
			fire_link(w, &e, e.type == EV_LINK_UP);
			break;
		case EV_WORK:
			model_work(w);
			push(w, (struct event){ .at = w->now + 1 +
						      world_random(w, 5 * MONO_MS),
						.type = EV_WORK });
			for (unsigned i = 0; i < w->nnodes; i++)
				if (!w->nodes[i].frozen)
					after_call(w, &w->nodes[i]);
			break;
		default:
			fire_message(w, &e);
		}
	}
	model_check(w);
	return !w->failed;
}

void world_run(struct world *w, uint64_t duration)
{
	uint64_t until = w->now + duration;

	while (world_step(w, until))
		;
}

void world_settle(struct world *w, uint64_t bound, bool stores)
{
	uint64_t until = w->now + bound;
	bool worked = model_working;
	const char *wrong = "";

	model_working = worked && !stores;
	while (!w->failed && w->now < until) {
		world_run(w, 20 * MONO_MS);
		wrong = model_unsettled(w, stores);
		if (!wrong)
			break;
	}
	model_working = worked;
	if (wrong)
		world_fail(w, "not settled after %.1f s: %s", (double)bound / 1e9, wrong);
	if (wrong || world_split(w))
		return;
	w->several = false;
	for (unsigned i = 0; i < w->nnodes; i++)
		w->nodes[i].tainted = false;
}

/* Faults. */

static void break_links(struct world *w, unsigned i, uint64_t within)
{
	for (unsigned j = 0; j < w->nnodes; j++)
		if (j != i && link_of(w, i, j)->up)
			schedule_link(w, i, j, EV_LINK_DOWN, 1 + world_random(w, within));
}

void world_start(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	struct cluster_config cfg = {
		.self = n->id,
		.detection = 200 * MONO_MS,
		.capacity = 100,
		.moves = w->balancing ? 128 : 0,
		.balance = 500 * MONO_MS,
		.activation = n->disk,
		.npeers = w->nnodes,
	};
	struct cluster_io io = {
		.ctx = n,
		.datagram = io_datagram,
		.stream = io_stream,
		.random = io_random,
		.save_activation = io_save,
		.units = io_units,
		.table = io_nothing,
		.changed = io_session,
		.removed = io_session,
		.committed = io_nothing,
		.counted = io_counted,
		.role = io_nothing,
		.log = w->verbose ? io_log : NULL,
	};

	if (n->c)
		return;
	world_log(w, "start %u", n->id);
	for (unsigned j = 0; j < w->nnodes; j++) {
		cfg.peers[j].id = w->nodes[j].id;
		snprintf(cfg.peers[j].name, sizeof(cfg.peers[j].name), "m%u", j + 1);
	}
	memset(&n->owned, 0, sizeof(n->owned));
	n->frozen = n->tainted = false;
	n->run++;
	n->c = cluster_new(&cfg, &io, world_now(w, n));
	if (!n->c) {
		world_fail(w, "cluster_new");
		return;
	}
	n->note_len = cluster_death_note(n->c, n->note, sizeof(n->note));
	cluster_set_able(n->c, n->able, "unable", world_now(w, n));
	after_call(w, n);
	for (unsigned j = 0; j < w->nnodes; j++)
		if (j != i && w->nodes[j].c) {
			struct link *l = link_of(w, i, j);

			/* A rest of the earlier run's connection. */
			if (l->up)
				fire_link(w,
					  &(struct event){ .from = i,
							   .to = j,
							   .generation = l->generation },
					  false);
			else
				schedule_link(w, i, j, EV_LINK_UP,
					      MONO_MS + world_random(w, 60 * MONO_MS));
		}
}

static void discard_held(struct world *w, unsigned i)
{
	struct link *l = &w->links[i][i];

	for (size_t k = 0; k < l->nheld; k++)
		free(l->held[k].bytes);
	l->nheld = 0;
}

void world_kill(struct world *w, unsigned i, bool note)
{
	struct node *n = &w->nodes[i];

	if (!n->c)
		return;
	world_log(w, "kill %u%s", n->id, note ? " with a death note" : "");
	cluster_free(n->c);
	n->c = NULL;
	n->frozen = false;
	n->tick_at = UINT64_MAX;
	memset(&n->owned, 0, sizeof(n->owned));
	memset(&n->serving, 0, sizeof(n->serving));
	discard_held(w, i);
	model_stopped(w, n);
	for (unsigned j = 0; note && j < w->nnodes; j++)
		if (j != i)
			send_datagram(w, i, j, n->note, n->note_len);
	break_links(w, i, world_chance(w, 0.5) ? MONO_MS : 2 * MONO_SEC);
}

void world_freeze(struct world *w, unsigned i)
{
	if (!w->nodes[i].c || w->nodes[i].frozen)
		return;
	world_log(w, "freeze %u", w->nodes[i].id);
	w->nodes[i].frozen = true;
}

void world_thaw(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	struct link *l = &w->links[i][i];

	if (!n->frozen)
		return;
	world_log(w, "thaw %u", n->id);
	n->frozen = false;
	/* What waits in its sockets comes first, or its timers do. */
	if (n->c && world_chance(w, 0.5)) {
		cluster_tick(n->c, world_now(w, n));
		after_call(w, n);
	}
	for (size_t k = 0; k < l->nheld; k++) {
		struct event *e = &l->held[k];

		if (e->type == EV_LINK_UP || e->type == EV_LINK_DOWN) {
			cluster_link(n->c, w->nodes[e->from].id, e->type == EV_LINK_UP,
				     world_now(w, n));
			after_call(w, n);
		} else {
			fire_message(w, e);
		}
		model_check(w);
	}
	l->nheld = 0;
	after_call(w, n);
}

void world_deliver(struct world *w, struct node *from, struct node *to,
		   const uint8_t *msg, size_t len)
{
	cluster_recv_datagram(to->c, from->id, msg, len, world_now(w, to));
	after_call(w, to);
}

void world_stall(struct world *w, uint64_t time)
{
	bool was[NODES_MAX];

	for (unsigned i = 0; i < w->nnodes; i++) {
		was[i] = w->nodes[i].frozen;
		world_freeze(w, i);
	}
	world_run(w, time);
	for (unsigned i = 0; i < w->nnodes; i++)
		if (!was[i])
			world_thaw(w, i);
}

void world_cut(struct world *w, uint32_t side)
{
	world_log(w, "cut, one side is %x", side);
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = 0; j < w->nnodes; j++)
			if ((side >> i & 1) != (side >> j & 1))
				w->cut[i][j] = true;
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = 0; j < i; j++)
			if (w->cut[i][j] && link_of(w, i, j)->up && world_chance(w, 0.7))
				schedule_link(w, i, j, EV_LINK_DOWN,
					      50 * MONO_MS + world_random(w, MONO_SEC));
	for (unsigned i = 0; i < w->nnodes; i++)
		if (!world_in_main(w, i))
			w->nodes[i].tainted = true;
}

void world_heal(struct world *w)
{
	if (world_split(w))
		w->healed_at = w->now;
	world_log(w, "heal");
	deliver_kept(w);
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = 0; j < w->nnodes; j++)
			w->cut[i][j] = false;
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = i + 1; j < w->nnodes; j++) {
			struct link *l = &w->links[i][j];

			for (size_t k = 0; k < l->nheld; k++)
				push_stream(w, l->held[k]);
			l->nheld = 0;
		}
}

struct node *world_master(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].c && !w->nodes[i].frozen &&
		    cluster_role(w->nodes[i].c) == CLUSTER_MASTER)
			return &w->nodes[i];
	return NULL;
}

void world_init(struct world *w, uint64_t seed, unsigned members, bool verbose)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->verbose = verbose;
	w->nnodes = members;
	w->delay = 100 * MONO_US;
	w->jitter = 200 * MONO_US;
	w->now = MONO_SEC;
	for (unsigned i = 0; i < members; i++) {
		struct node *n = &w->nodes[i];

		n->w = w;
		n->index = i;
		n->id = (member_id)(10 * (i + 1));
		n->able = true;
		n->clock = world_random(w, 1000000 * MONO_SEC);
		n->tick_at = UINT64_MAX;
		for (unsigned j = 0; j < members; j++)
			w->links[i][j].generation = 1;
	}
	w->model = model_new(w);
	push(w, (struct event){ .at = w->now, .type = EV_WORK });
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		cluster_free(w->nodes[i].c);
		for (unsigned j = 0; j < w->nnodes; j++) {
			for (size_t k = 0; k < w->links[i][j].nheld; k++)
				free(w->links[i][j].held[k].bytes);
			free(w->links[i][j].held);
		}
	}
	while (w->nkept)
		free(w->kept[--w->nkept].bytes);
	free(w->kept);
	while (w->nheap)
		free(w->heap[--w->nheap].bytes);
	free(w->heap);
	model_free(w->model);
}
