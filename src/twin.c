/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/twin.h"

#include <string.h>

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

	for (unsigned i = 0; i < t->guard_count; i++)
		if (!memcmp(&t->guards[i], guard, sizeof(*guard)))
			return 1;
	return 0;
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
