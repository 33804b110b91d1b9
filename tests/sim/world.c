/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/world.h"

#define QUEUE_MAX (32u << 20)
#define MILLION 1000000

const char *const fault_names[FAULTS_COUNT] = {
#define X(name, text) text,
	FAULTS(X)
#undef X
};

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
	return p > 0 && (double)world_random(w, MILLION) < p * MILLION;
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

bool world_alive(const struct node *n)
{
	return n->c && !n->frozen;
}

bool world_fit(const struct node *n)
{
	return world_alive(n) && n->able && !n->full;
}

unsigned world_running(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->nnodes; i++)
		n += world_fit(&w->nodes[i]);
	return n;
}

struct node *world_master(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		if (world_alive(&w->nodes[i]) &&
		    cluster_role(w->nodes[i].c) == CLUSTER_MASTER)
			return &w->nodes[i];
	return NULL;
}

/* Each node's clock has an offset and a rate of its own. */

struct mono world_now(const struct world *w, const struct node *n)
{
	int64_t ahead = (int64_t)(w->now / MILLION) * n->skew;

	return (struct mono){ w->now + n->clock + (uint64_t)ahead };
}

/* When this node's clock shows t, or a little later. */
static uint64_t world_time(const struct node *n, struct mono t)
{
	uint64_t shown = t.ns > n->clock ? t.ns - n->clock : 0;
	int64_t ahead = (int64_t)(shown / (uint64_t)(MILLION + n->skew)) * n->skew;

	return shown - (uint64_t)ahead + (n->skew ? MONO_US : 0);
}

/* The core's surroundings. */

static struct node *node_of(struct world *w, member_id id)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].id == id)
			return &w->nodes[i];
	return NULL;
}

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct node *n = ctx, *peer = node_of(n->w, to);

	if (len > CLUSTER_DATAGRAM_MAX)
		world_fail(n->w, "datagram of %zu bytes", len);
	if (peer)
		network_datagram(n->w, n->index, peer->index, msg, len);
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct node *n = ctx, *peer = node_of(n->w, to);

	if (len > CLUSTER_MESSAGE_MAX)
		world_fail(n->w, "stream message of %zu bytes", len);
	return peer ? network_stream(n->w, n->index, peer->index, msg, len) : -ENOTCONN;
}

static void io_give_up(void *ctx, member_id to)
{
	struct node *n = ctx, *peer = node_of(n->w, to);

	if (peer)
		network_schedule(n->w, n->index, peer->index, false, 0);
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
	if (n->full)
		return -ENOSPC;
	n->disk = number;
	return 0;
}

/* Units that change hands: who has how many owners is kept by what changes. */
static void own(struct node *n, const struct unit_set *set, bool owns)
{
	struct world *w = n->w;

	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		for (uint64_t word = set->bits[i]; word; word &= word - 1) {
			unit_id u = (unit_id)(i * 64 + (unsigned)__builtin_ctzll(word));

			if (unit_set_has(&n->owned, u) == owns)
				world_fail(w, "member %u %s unit %u twice", n->id,
					   owns ? "gains" : "loses", u);
			else if (owns)
				unit_set_add(&n->owned, u),
				    w->multiple += ++w->owners[u] == 2;
			else
				unit_set_remove(&n->owned, u),
				    w->multiple -= w->owners[u]-- == 2;
		}
}

static bool empty(const struct unit_set *s)
{
	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		if (s->bits[i])
			return false;
	return true;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct node *n = ctx;

	own(n, lost, false);
	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		n->fresh.bits[i] &= ~lost->bits[i];
	if (!empty(gained)) {
		own(n, gained, true);
		for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
			n->fresh.bits[i] |= gained->bits[i];
		/* Always, whatever has happened: no number is used twice. */
		if (activation <= n->handed || activation > n->disk)
			world_fail(n->w, "member %u is handed activation %u after %u",
				   n->id, activation, n->handed);
		n->handed = activation;
		check_gained(n->w, n);
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

static enum cluster_merge io_merge(void *ctx, const struct session *ours,
				   const struct session *theirs,
				   uint64_t counters[CLUSTER_COUNTERS])
{
	return model_merge(ours, theirs);
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
}

static void io_log(void *ctx, const char *line)
{
	struct node *n = ctx;

	world_log(n->w, "  %u: %s", n->id, line);
}

static bool memory_fails(void *ctx)
{
	struct world *w = ctx;

	if (!world_chance(w, w->short_memory))
		return false;
	w->faults[FAULT_memory]++;
	return true;
}

/* What the core does for itself may fail for want of memory; what the model asks may not. */
static void scarce(struct world *w, bool on)
{
	memory_set_judge(on && w->short_memory > 0 ? memory_fails : NULL, w);
}

/* Steps. */

void world_touch(struct world *w, struct node *n)
{
	w->touched |= 1u << n->index;
}

static void set_timer(struct world *w, struct node *n)
{
	struct mono t = cluster_timeout(n->c);
	uint64_t at;

	if (t.ns == UINT64_MAX) {
		n->tick_at = UINT64_MAX;
		return;
	}
	at = world_time(n, t);
	if (at < w->now)
		at = w->now;
	/* A real loop is never quite on time; and an early tick must do no harm. */
	n->tick_at = at + (at * 2654435761u ^ w->steps) % (300 * MONO_US);
}

/* After each event: timers, and the rules, of those to whom it happened. */
static void settle_touched(struct world *w)
{
	for (; w->touched; w->touched &= w->touched - 1) {
		struct node *n = &w->nodes[__builtin_ctz(w->touched)];

		if (!world_alive(n))
			continue;
		model_activate(w, n);
		if (w->gained)
			w->gained(w, n, &n->fresh);
		memset(&n->fresh, 0, sizeof(n->fresh));
		set_timer(w, n);
		check_node(w, n);
	}
}

static void tick(struct world *w, struct node *n)
{
	cluster_tick(n->c, world_now(w, n));
	world_touch(w, n);
}

static void fire(struct world *w)
{
	struct event *e = event_pop(w);

	if (e->type != EV_WORK) {
		scarce(w, true);
		network_fire(w, e);
		scarce(w, false);
		return;
	}
	model_work(w);
	event_push(w, e, w->now + 1 + world_random(w, 5 * MONO_MS));
}

bool world_step(struct world *w, uint64_t until)
{
	struct node *ticks = NULL;
	uint64_t at = w->nheap ? w->heap[0].at : UINT64_MAX;

	if (w->failed)
		return false;
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].tick_at < at && world_alive(&w->nodes[i])) {
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
		scarce(w, true);
		tick(w, ticks);
		scarce(w, false);
	} else {
		fire(w);
	}
	settle_touched(w);
	return !w->failed;
}

void world_run(struct world *w, uint64_t duration)
{
	uint64_t until = w->now + duration;

	settle_touched(w);
	while (world_step(w, until))
		;
}

static void all_is_well(struct world *w)
{
	w->several = false;
	for (unsigned i = 0; i < w->nnodes; i++) {
		w->nodes[i].tainted = w->nodes[i].rejoining = false;
		w->nodes[i].woken = w->nodes[i].expelled = false;
		w->nodes[i].side = 0;
	}
	w->sides = 0;
	model_well(w);
}

void world_settle(struct world *w, uint64_t bound, bool stores)
{
	uint64_t until = w->now + bound;
	bool worked = w->working;
	const char *wrong = "";

	w->working = worked && !stores;
	while (!w->failed && w->now < until) {
		world_run(w, 20 * MONO_MS);
		wrong = check_unsettled(w, stores);
		if (!wrong)
			break;
	}
	w->working = worked;
	if (wrong)
		world_fail(w, "not settled after %.1f s: %s", (double)bound / 1e9, wrong);
	else if (!w->failed && !w->split)
		all_is_well(w);
}

void world_judge(struct world *w)
{
	if (!w->several &&
	    (world_running(w) < w->nnodes || w->cuts || check_unsettled(w, false)))
		model_forgive(w);
}

/* What happens to members. */

static const struct cluster_io io_template = {
	.datagram = io_datagram,
	.stream = io_stream,
	.give_up = io_give_up,
	.random = io_random,
	.save_activation = io_save,
	.units = io_units,
	.table = io_nothing,
	.changed = io_session,
	.removed = io_session,
	.committed = io_nothing,
	.counted = io_counted,
	.merge = io_merge,
	.role = io_nothing,
};

static struct cluster *new_core(struct world *w, struct node *n)
{
	struct cluster_config cfg = {
		.self = n->id,
		.detection = w->detection,
		.hold_back = w->hold_back,
		.capacity = n->capacity,
		.moves = w->balancing ? 128 : 0,
		.balance = 500 * MONO_MS,
		.activation = n->disk,
		.npeers = w->nnodes,
	};
	struct cluster_io io = io_template;

	io.ctx = n;
	/* A test with sessions of its own sees what the core does by itself. */
	if (w->gained)
		io.merge = NULL;
	io.log = w->verbose ? io_log : NULL;
	for (unsigned j = 0; j < w->nnodes; j++) {
		cfg.peers[j].id = w->nodes[j].id;
		snprintf(cfg.peers[j].name, sizeof(cfg.peers[j].name), "m%u", j + 1);
	}
	return cluster_new(&cfg, &io, world_now(w, n));
}

void world_start(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	if (n->c)
		return;
	world_log(w, "start %u", n->id);
	if (n->run++)
		w->faults[FAULT_restart]++;
	n->frozen = n->tainted = n->complete = false;
	n->rejoining = n->woken = n->expelled = false;
	n->side = 0;
	n->c = new_core(w, n);
	if (!n->c) {
		world_fail(w, "cluster_new");
		return;
	}
	n->note_len = cluster_death_note(n->c, n->note, sizeof(n->note));
	cluster_set_able(n->c, n->able, "unable", world_now(w, n));
	world_touch(w, n);
	network_parts(w);
	model_sided(w, n);
	network_started(w, i);
	settle_touched(w);
}

void world_kill(struct world *w, unsigned i, bool note)
{
	struct node *n = &w->nodes[i];

	if (!n->c)
		return;
	w->faults[FAULT_kill]++;
	world_log(w, "kill %u%s", n->id, note ? " with a death note" : "");
	settle_touched(w);
	cluster_free(n->c);
	n->c = NULL;
	n->frozen = false;
	n->tick_at = UINT64_MAX;
	own(n, &n->owned, false);
	network_discard_held(n);
	model_stopped(w, n);
	network_parts(w);
	for (unsigned j = 0; note && j < w->nnodes; j++)
		if (j != i)
			network_datagram(w, i, j, n->note, n->note_len);
	network_break(w, i, world_chance(w, 0.5) ? MONO_MS : 2 * MONO_SEC);
}

static void stop(struct world *w, struct node *n)
{
	world_log(w, "freeze %u", n->id);
	settle_touched(w);
	n->frozen = true;
	network_parts(w);
}

void world_freeze(struct world *w, unsigned i)
{
	if (!world_alive(&w->nodes[i]))
		return;
	w->faults[FAULT_freeze]++;
	stop(w, &w->nodes[i]);
}

void world_thaw(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];
	struct event **held = n->held;
	size_t nheld = n->nheld;

	if (!n->frozen)
		return;
	world_log(w, "thaw %u", n->id);
	n->frozen = false;
	n->woken = true;
	n->held = NULL;
	n->nheld = n->held_cap = 0;
	network_parts(w);
	/* What waits in its sockets comes first, or its timers do. */
	if (world_chance(w, 0.5))
		tick(w, n);
	for (size_t k = 0; k < nheld; k++) {
		struct event *e = held[k];

		if (e->type == EV_LINK_UP || e->type == EV_LINK_DOWN) {
			cluster_link(n->c, w->nodes[e->from].id, e->type == EV_LINK_UP,
				     world_now(w, n));
			world_touch(w, n);
			memory_put(e);
		} else {
			network_fire(w, e);
		}
		settle_touched(w);
	}
	memory_put(held);
	cluster_set_able(n->c, n->able, "test", world_now(w, n));
	world_touch(w, n);
	settle_touched(w);
}

void world_set_able(struct world *w, unsigned i, bool able)
{
	struct node *n = &w->nodes[i];

	if (n->able == able)
		return;
	w->faults[FAULT_unable] += !able;
	world_log(w, "%u becomes %s", n->id, able ? "able" : "unable");
	n->able = able;
	if (world_alive(n)) {
		cluster_set_able(n->c, able, "test", world_now(w, n));
		world_touch(w, n);
		settle_touched(w);
	}
}

void world_leave(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	if (!world_alive(n))
		return;
	w->faults[FAULT_leave]++;
	world_log(w, "%u leaves", n->id);
	cluster_leave(n->c, world_now(w, n));
	world_touch(w, n);
	settle_touched(w);
}

void world_stall(struct world *w, uint64_t time)
{
	bool was[NODES_MAX];

	w->faults[FAULT_stall]++;
	for (unsigned i = 0; i < w->nnodes; i++) {
		was[i] = w->nodes[i].frozen;
		if (world_alive(&w->nodes[i]))
			stop(w, &w->nodes[i]);
	}
	world_run(w, time);
	for (unsigned i = 0; i < w->nnodes; i++)
		if (!was[i])
			world_thaw(w, i);
}

void world_deliver(struct world *w, struct node *from, struct node *to,
		   const uint8_t *msg, size_t len)
{
	cluster_recv_datagram(to->c, from->id, msg, len, world_now(w, to));
	world_touch(w, to);
	settle_touched(w);
}

/* Beginning and end. */

static void init_node(struct world *w, unsigned i)
{
	struct node *n = &w->nodes[i];

	n->w = w;
	n->index = i;
	n->id = (member_id)(10 * (i + 1));
	n->able = n->main = true;
	n->part = 1;
	n->capacity = 100;
	n->clock = world_random(w, MILLION * MONO_SEC);
	n->tick_at = UINT64_MAX;
	for (unsigned j = 0; j < w->nnodes; j++)
		w->links[i][j].generation = 1;
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
	w->queue = QUEUE_MAX;
	w->detection = 200 * MONO_MS;
	w->now = MONO_SEC;
	w->working = true;
	for (unsigned i = 0; i < members; i++)
		init_node(w, i);
	w->model = model_new();
	event_push(w, event_new(EV_WORK, 0, 0, NULL, 0), w->now);
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		cluster_free(w->nodes[i].c);
		network_discard_held(&w->nodes[i]);
		memory_put(w->nodes[i].held);
	}
	network_free(w);
	while (w->nheap)
		memory_put(w->heap[--w->nheap].e);
	memory_put(w->heap);
	model_free(w->model);
	if (memory_used())
		world_fail(w, "the core has not freed %zu bytes", memory_used());
}
