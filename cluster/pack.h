/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing and reading of wire formats, big-endian, bounds-checked.
 *
 * Both cursors are sticky: after the first operation that does not fit, `bad` is set, all
 * later reads return zeros and all later writes do nothing. So a codec is a straight list
 * of fields and one test at its end.
 */
#ifndef CLUSTER_PACK_H
#define CLUSTER_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pack {
	uint8_t *at, *end;
	bool bad;
};

struct unpack {
	const uint8_t *at, *end;
	bool bad;
};

static inline struct pack pack_to(uint8_t *buf, size_t size)
{
	return (struct pack){ buf, buf + size, false };
}

/* Nothing at all may be NULL. */
static inline struct unpack unpack_from(const uint8_t *buf, size_t len)
{
	return (struct unpack){ buf, len ? buf + len : buf, false };
}

void pack_u8(struct pack *p, uint8_t v);
void pack_u16(struct pack *p, uint16_t v);
void pack_u32(struct pack *p, uint32_t v);
void pack_u64(struct pack *p, uint64_t v);
/* Raw bytes without a length. */
void pack_raw(struct pack *p, const void *bytes, size_t len);
/* A length (16 or 32 bits) and the bytes. pack_blob16 fails on len > 65535. */
void pack_blob16(struct pack *p, const void *bytes, size_t len);
void pack_blob32(struct pack *p, const void *bytes, size_t len);

uint8_t unpack_u8(struct unpack *u);
uint16_t unpack_u16(struct unpack *u);
uint32_t unpack_u32(struct unpack *u);
uint64_t unpack_u64(struct unpack *u);
/* Points into the message; NULL on short input. */
const uint8_t *unpack_raw(struct unpack *u, size_t len);
const uint8_t *unpack_blob16(struct unpack *u, size_t *len);
const uint8_t *unpack_blob32(struct unpack *u, size_t *len);
static inline size_t unpack_left(const struct unpack *u)
{
	return u->bad ? 0 : (size_t)(u->end - u->at);
}
/* True if all was read, nothing was short and nothing is left over. */
static inline bool unpack_done(const struct unpack *u)
{
	return !u->bad && u->at == u->end;
}

#endif
