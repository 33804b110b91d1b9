/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "cluster/pack.h"

static uint8_t *room(struct pack *p, size_t len)
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
	uint8_t *at = room(p, len);

	if (!at)
		return;
	while (len--) {
		at[len] = (uint8_t)v;
		v >>= 8;
	}
}

void pack_u8(struct pack *p, uint8_t v)
{
	pack_be(p, v, 1);
}

void pack_u16(struct pack *p, uint16_t v)
{
	pack_be(p, v, 2);
}

void pack_u32(struct pack *p, uint32_t v)
{
	pack_be(p, v, 4);
}

void pack_u64(struct pack *p, uint64_t v)
{
	pack_be(p, v, 8);
}

void pack_raw(struct pack *p, const void *bytes, size_t len)
{
	uint8_t *at = room(p, len);

	if (at && len)
		memcpy(at, bytes, len);
}

void pack_blob16(struct pack *p, const void *bytes, size_t len)
{
	if (len > UINT16_MAX) {
		p->bad = true;
		return;
	}
	pack_u16(p, (uint16_t)len);
	pack_raw(p, bytes, len);
}

void pack_blob32(struct pack *p, const void *bytes, size_t len)
{
	if (len > UINT32_MAX) {
		p->bad = true;
		return;
	}
	pack_u32(p, (uint32_t)len);
	pack_raw(p, bytes, len);
}

const uint8_t *unpack_raw(struct unpack *u, size_t len)
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

uint8_t unpack_u8(struct unpack *u)
{
	return (uint8_t)unpack_be(u, 1);
}

uint16_t unpack_u16(struct unpack *u)
{
	return (uint16_t)unpack_be(u, 2);
}

uint32_t unpack_u32(struct unpack *u)
{
	return (uint32_t)unpack_be(u, 4);
}

uint64_t unpack_u64(struct unpack *u)
{
	return unpack_be(u, 8);
}

const uint8_t *unpack_blob16(struct unpack *u, size_t *len)
{
	size_t n = unpack_u16(u);
	const uint8_t *at = unpack_raw(u, n);

	*len = at ? n : 0;
	return at;
}

const uint8_t *unpack_blob32(struct unpack *u, size_t *len)
{
	size_t n = unpack_u32(u);
	const uint8_t *at = unpack_raw(u, n);

	*len = at ? n : 0;
	return at;
}
