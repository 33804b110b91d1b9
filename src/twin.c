/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/twin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_SLOTS (2 * UNIT_GUARDS_MAX) /* a power of two */

struct twin_guard {
	bool used;
	struct unit_guard guard;
};

int twin_guards_make(struct twin_guards *g)
{
	g->slots = calloc(GUARD_SLOTS, sizeof(*g->slots));
	return g->slots ? 0 : -ENOMEM;
}

void twin_guards_free(struct twin_guards *g)
{
	free(g->slots);
}

static unsigned home_of(const struct unit_guard *guard)
{
	const uint8_t *bytes = (const uint8_t *)guard;
	uint32_t hash = 2166136261;

	for (size_t i = 0; i < sizeof(*guard); i++)
		hash = (hash ^ bytes[i]) * 16777619;
	return (hash ^ hash >> 16) % GUARD_SLOTS;
}

/* Where it is, or would be. */
static unsigned slot_of(const struct twin_guards *g, const struct unit_guard *guard)
{
	unsigned i = home_of(guard);

	while (g->slots[i].used && memcmp(&g->slots[i].guard, guard, sizeof(*guard)) != 0)
		i = (i + 1) % GUARD_SLOTS;
	return i;
}

bool twin_guards_has(const struct twin_guards *g, const struct unit_guard *guard)
{
	return g->slots[slot_of(g, guard)].used;
}

void twin_guards_add(struct twin_guards *g, const struct unit_guard *guard)
{
	g->slots[slot_of(g, guard)] = (struct twin_guard){ true, *guard };
	g->count++;
}

/* Those behind it that it has kept from their places move up. */
void twin_guards_del(struct twin_guards *g, const struct unit_guard *guard)
{
	unsigned hole = slot_of(g, guard), i = hole;

	while (i = (i + 1) % GUARD_SLOTS, g->slots[i].used) {
		unsigned home = home_of(&g->slots[i].guard);

		if ((i - home) % GUARD_SLOTS < (i - hole) % GUARD_SLOTS)
			continue;
		g->slots[hole] = g->slots[i];
		hole = i;
	}
	g->slots[hole].used = false;
	g->count--;
}

/* What classify.h calls ctx. */
struct look {
	const struct twin *twin;
	const uint8_t *frame;
	size_t len;
	int ifindex;
	uint64_t now;
};

UNIT_INLINE int unit_load(void *ctx, uint32_t offset, void *to, uint32_t len)
{
	const struct look *l = ctx;

	if (offset > l->len || len > l->len - offset)
		return -1;
	memcpy(to, l->frame + offset, len);
	return 0;
}

UNIT_INLINE uint32_t unit_length(void *ctx)
{
	return (uint32_t)((const struct look *)ctx)->len;
}

/* A tag beside the frame exists in the kernel only; here it is in the frame. */
UNIT_INLINE int unit_tagged(void *ctx)
{
	return 0;
}

UNIT_INLINE int unit_lease_valid(void *ctx)
{
	const struct look *l = ctx;
	return l->now < l->twin->lease_until;
}

UNIT_INLINE const struct unit_network *unit_network(void *ctx)
{
	const struct look *l = ctx;

	for (unsigned i = 0; i < l->twin->network_count; i++)
		if (l->twin->networks[i].ifindex == l->ifindex)
			return &l->twin->networks[i].macs;
	return NULL;
}

UNIT_INLINE const struct unit_control *unit_control(void *ctx)
{
	return &((const struct look *)ctx)->twin->control;
}

UNIT_INLINE uint16_t unit_owner(void *ctx, uint16_t unit)
{
	return ((const struct look *)ctx)->twin->owners[unit & UNIT_MASK];
}

UNIT_INLINE const uint8_t *unit_place(void *ctx, uint16_t member)
{
	const struct look *l = ctx;
	const struct twin *t = l->twin;

	for (unsigned i = 0; i < t->place_count; i++)
		if (t->place_members[i] == member &&
		    t->places[i].ifindex == (uint32_t)l->ifindex)
			return t->places[i].mac.bytes;
	return NULL;
}

UNIT_INLINE int unit_is_member(void *ctx, const uint8_t *mac)
{
	const struct look *l = ctx;
	const struct twin *t = l->twin;

	for (unsigned i = 0; i < t->place_count; i++)
		if (t->places[i].ifindex == (uint32_t)l->ifindex &&
		    !memcmp(t->places[i].mac.bytes, mac, 6))
			return 1;
	return 0;
}

static int is_cluster(const struct look *l, int family, const uint8_t *address)
{
	const struct twin *t = l->twin;
	size_t size = address_size(family);

	for (unsigned i = 0; i < t->address_count; i++)
		if (t->addresses[i].family == family &&
		    !memcmp(t->addresses[i].bytes, address, size))
			return 1;
	return 0;
}

UNIT_INLINE int unit_is_cluster(void *ctx, const uint8_t *address)
{
	return is_cluster(ctx, AF_INET, address);
}

UNIT_INLINE int unit_is_cluster6(void *ctx, const uint8_t *address)
{
	return is_cluster(ctx, AF_INET6, address);
}

UNIT_INLINE int unit_is_guarded(void *ctx, const struct unit_guard *guard)
{
	const struct twin *t = ((const struct look *)ctx)->twin;

	return twin_guards_has(&t->guards, guard);
}

UNIT_INLINE int unit_route(void *ctx, const uint8_t *address)
{
	return lpm_find(((const struct look *)ctx)->twin->routes, address);
}

UNIT_INLINE int unit_route6(void *ctx, const uint8_t *address)
{
	return lpm_find(((const struct look *)ctx)->twin->routes6, address);
}

#include "src/bpf/classify.h"

struct unit_result twin_classify(const struct twin *t, const void *frame, size_t len,
				 int ifindex, uint64_t now)
{
	struct look l = { t, frame, len, ifindex, now };
	return unit_classify(&l);
}
