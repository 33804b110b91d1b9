/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a message between members. What is accepted is in range, and is encoded
 * again as the same bytes: so no two messages mean the same, and nothing is overlooked.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static uint8_t again[2 * CLUSTER_MESSAGE_MAX];

static void must(bool condition)
{
	if (!condition)
		abort();
}

#define CHECK_u8(v, u)
#define CHECK_u16(v, u)
#define CHECK_u32(v, u)
#define CHECK_u64(v, u)
#define CHECK_epoch(v, u) must((v) <= WIRE_EPOCH_MAX && ((v)&0xffff) <= CLUSTER_ID_MAX);
#define CHECK_unit(v, u) must((v) < CLUSTER_UNITS);
#define CHECK_id(v, u) must((v) <= CLUSTER_ID_MAX);
#define CHECK_V(kind, name) CHECK_##kind(m->name, u)
#define CHECK_L(element, name, max)                                                      \
	must(m->name##_count <= (max));                                                  \
	for (unsigned i = 0; i < m->name##_count; i++)                                   \
		check_##element(&m->name[i]);
#define CHECK_B(name, max) must(m->name##_len <= (max));
#define CHECK_K(name) must(m->name.len <= CLUSTER_KEY_MAX);
#define CHECK_R(name, size)

#define X(name, FIELDS)                                                                  \
	static void check_##name(const struct wire_##name *m)                            \
	{                                                                                \
		FIELDS(CHECK_V, CHECK_L, CHECK_B, CHECK_K, CHECK_R)                      \
	}
WIRE_ELEMENTS(X)
WIRE_MESSAGES(X)
#undef X

#define X(name, FIELDS)                                                                  \
	static size_t again_##name(struct unpack *u, const struct wire_header *h)        \
	{                                                                                \
		static struct wire_##name m;                                             \
                                                                                         \
		if (wire_decode_##name(u, &m))                                           \
			return 0;                                                        \
		check_##name(&m);                                                        \
		return wire_encode_##name(again, sizeof(again), h->term, h->incarnation, \
					  &m);                                           \
	}
WIRE_MESSAGES(X)
#undef X

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct unpack u = unpack_from(input, len);
	struct wire_header h;
	size_t n = 0;

	if (len > CLUSTER_MESSAGE_MAX || wire_decode_header(&u, &h))
		return 0;
	must(wire_name(h.type) != NULL);
	switch (h.type) {
#define X(name, FIELDS)                                                                  \
	case wire_type_##name:                                                           \
		n = again_##name(&u, &h);                                                \
		break;
		WIRE_MESSAGES(X)
#undef X
	default:
		return 0;
	}
	must(n == 0 || (n == len && memcmp(again, input, len) == 0));
	return 0;
}
