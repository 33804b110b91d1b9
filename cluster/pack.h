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

/* Where the next `len` bytes go; NULL if they do not fit. */
static inline uint8_t *pack_room(struct pack *p, size_t len)
{
	uint8_t *at = p->at;

	if (p->bad || (size_t)(p->end - p->at) < len) {
		p->bad = true;
		return NULL;
	}
	p->at += len;
	return at;
}

static inline void pack_be(struct pack *p, uint64_t v, size_t len)
{
	uint8_t *at = pack_room(p, len);

	if (!at)
		return;
	while (len--) {
		at[len] = (uint8_t)v;
		v >>= 8;
	}
}

static inline void pack_u8(struct pack *p, uint8_t v)
{
	pack_be(p, v, 1);
}

static inline void pack_u16(struct pack *p, uint16_t v)
{
	pack_be(p, v, 2);
}

static inline void pack_u32(struct pack *p, uint32_t v)
{
	pack_be(p, v, 4);
}

static inline void pack_u64(struct pack *p, uint64_t v)
{
	pack_be(p, v, 8);
}

/* Raw bytes without a length. */
void pack_raw(struct pack *p, const void *bytes, size_t len);
/* A length (16 or 32 bits) and the bytes. pack_blob16 fails on len > 65535. */
void pack_blob16(struct pack *p, const void *bytes, size_t len);
void pack_blob32(struct pack *p, const void *bytes, size_t len);

/* Points into the message; NULL on short input. */
static inline const uint8_t *unpack_raw(struct unpack *u, size_t len)
{
	const uint8_t *at = u->at;

	if (u->bad || (size_t)(u->end - u->at) < len) {
		u->bad = true;
		return NULL;
	}
	if (len)
		u->at += len;
	return at;
}

static inline uint64_t unpack_be(struct unpack *u, size_t len)
{
	const uint8_t *at = unpack_raw(u, len);
	uint64_t v = 0;

	for (size_t i = 0; at && i < len; i++)
		v = v << 8 | at[i];
	return v;
}

static inline uint8_t unpack_u8(struct unpack *u)
{
	return (uint8_t)unpack_be(u, 1);
}

static inline uint16_t unpack_u16(struct unpack *u)
{
	return (uint16_t)unpack_be(u, 2);
}

static inline uint32_t unpack_u32(struct unpack *u)
{
	return (uint32_t)unpack_be(u, 4);
}

static inline uint64_t unpack_u64(struct unpack *u)
{
	return unpack_be(u, 8);
}

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
