/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

struct kept {
	TAILQ_ENTRY(kept) in_unit, in_all;
	struct mono since;
	unit_id unit;
	struct waiting_packet *packet;
};

TAILQ_HEAD(kept_queue, kept);

struct waiting {
	struct waiting_limits limits;
	struct kept_queue all; /* by age */
	struct {
		struct kept_queue packets;
		unsigned count;
	} units[CLUSTER_UNITS];
	struct unit_set set;
	size_t bytes, packets;
	struct {
		uint64_t queued, taken;
		uint64_t full;	  /* dropped: the unit's bound, or that of all */
		uint64_t old;	  /* dropped: too old */
		uint64_t dropped; /* the unit went elsewhere */
		uint64_t refused; /* too long, or out of memory */
	} counters;
};

static size_t cost(const struct kept *k)
{
	return sizeof(*k) + sizeof(*k->packet) + k->packet->len;
}

struct waiting *waiting_new(const struct waiting_limits *limits)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->limits = *limits;
	TAILQ_INIT(&w->all);
	for (unsigned u = 0; u < CLUSTER_UNITS; u++)
		TAILQ_INIT(&w->units[u].packets);
	return w;
}

/* Takes it out; its packet is the caller's. */
static struct waiting_packet *unlink_kept(struct waiting *w, struct kept *k)
{
	struct waiting_packet *packet = k->packet;

	TAILQ_REMOVE(&w->all, k, in_all);
	TAILQ_REMOVE(&w->units[k->unit].packets, k, in_unit);
	if (!--w->units[k->unit].count)
		unit_set_remove(&w->set, k->unit);
	w->bytes -= cost(k);
	w->packets--;
	free(k);
	return packet;
}

static void drop(struct waiting *w, struct kept *k, uint64_t *counter)
{
	struct waiting_packet *packet = unlink_kept(w, k);

	/* What comes from the inside is in clear. */
	explicit_bzero(packet->bytes, packet->len);
	free(packet);
	(*counter)++;
}

void waiting_free(struct waiting *w)
{
	struct kept *k;

	if (!w)
		return;
	while ((k = TAILQ_FIRST(&w->all)))
		drop(w, k, &w->counters.dropped);
	free(w);
}

static struct kept *kept_new(unit_id unit, const struct waiting_tag *tag,
			     const void *bytes, size_t len, struct mono now)
{
	struct kept *k = malloc(sizeof(*k));
	struct waiting_packet *packet = malloc(sizeof(*packet) + len);

	if (!k || !packet) {
		free(k);
		free(packet);
		return NULL;
	}
	packet->tag = *tag;
	packet->len = len;
	memcpy(packet->bytes, bytes, len);
	k->since = now;
	k->unit = unit;
	k->packet = packet;
	return k;
}

int waiting_add(struct waiting *w, unit_id unit, const struct waiting_tag *tag,
		const void *bytes, size_t len, struct mono now)
{
	struct kept *k;

	if (unit >= CLUSTER_UNITS || len > WAITING_PACKET_MAX) {
		w->counters.refused++;
		return -EMSGSIZE;
	}
	k = kept_new(unit, tag, bytes, len, now);
	if (!k) {
		w->counters.refused++;
		return -ENOMEM;
	}
	if (w->units[unit].count >= w->limits.unit_packets && w->units[unit].count)
		drop(w, TAILQ_FIRST(&w->units[unit].packets), &w->counters.full);
	while (w->bytes + cost(k) > w->limits.bytes && !TAILQ_EMPTY(&w->all))
		drop(w, TAILQ_FIRST(&w->all), &w->counters.full);
	TAILQ_INSERT_TAIL(&w->all, k, in_all);
	TAILQ_INSERT_TAIL(&w->units[unit].packets, k, in_unit);
	w->units[unit].count++;
	unit_set_add(&w->set, unit);
	w->bytes += cost(k);
	w->packets++;
	w->counters.queued++;
	return 0;
}

const struct waiting_packet *waiting_peek(const struct waiting *w, unit_id unit)
{
	const struct kept *k =
	    unit < CLUSTER_UNITS ? TAILQ_FIRST(&w->units[unit].packets) : NULL;

	return k ? k->packet : NULL;
}

struct waiting_packet *waiting_take(struct waiting *w, unit_id unit)
{
	struct kept *k =
	    unit < CLUSTER_UNITS ? TAILQ_FIRST(&w->units[unit].packets) : NULL;

	if (!k)
		return NULL;
	w->counters.taken++;
	return unlink_kept(w, k);
}

const struct unit_set *waiting_units(const struct waiting *w)
{
	return &w->set;
}

bool waiting_empty(const struct waiting *w)
{
	return TAILQ_EMPTY(&w->all);
}

void waiting_drop(struct waiting *w, unit_id unit)
{
	struct kept *k;

	while (unit < CLUSTER_UNITS && (k = TAILQ_FIRST(&w->units[unit].packets)))
		drop(w, k, &w->counters.dropped);
}

void waiting_expire(struct waiting *w, struct mono now)
{
	struct kept *k;

	while ((k = TAILQ_FIRST(&w->all)) && mono_since(now, k->since) >= w->limits.age)
		drop(w, k, &w->counters.old);
}

struct mono waiting_timeout(const struct waiting *w)
{
	const struct kept *k = TAILQ_FIRST(&w->all);

	return k ? mono_add(k->since, w->limits.age) : MONO_NEVER;
}

size_t waiting_statistics(const struct waiting *w, struct statistic *out, size_t max)
{
	const struct statistic all[] = {
		{ "waiting.queued", w->counters.queued },
		{ "waiting.worked-off", w->counters.taken },
		{ "waiting.full", w->counters.full },
		{ "waiting.too-old", w->counters.old },
		{ "waiting.unit-gone", w->counters.dropped },
		{ "waiting.refused", w->counters.refused },
		{ "waiting.packets", w->packets },
		{ "waiting.bytes", w->bytes },
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	n = n < max ? n : max;
	memcpy(out, all, n * sizeof(*out));
	return n;
}
