/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "cluster/wire.h"

#define pack_unit pack_u16
#define pack_id pack_u16
#define pack_epoch pack_u64

static uint16_t unpack_unit(struct unpack *u)
{
	uint16_t v = unpack_u16(u);

	if (v >= CLUSTER_UNITS)
		u->bad = true;
	return v;
}

static uint16_t unpack_id(struct unpack *u)
{
	uint16_t v = unpack_u16(u);

	if (v > CLUSTER_ID_MAX)
		u->bad = true;
	return v;
}

/* A number, and a member's id in the low 16 bits. A term is of the same form. */
static bool epoch_valid(uint64_t epoch)
{
	return epoch <= WIRE_EPOCH_MAX && (epoch & 0xffff) <= CLUSTER_ID_MAX;
}

static uint64_t unpack_epoch(struct unpack *u)
{
	uint64_t v = unpack_u64(u);

	if (!epoch_valid(v))
		u->bad = true;
	return v;
}

static void pack_key(struct pack *p, const struct session_key *key)
{
	pack_u8(p, key->type);
	pack_u8(p, key->len);
	if (key->len > CLUSTER_KEY_MAX)
		p->bad = true;
	else
		pack_raw(p, key->bytes, key->len);
}

static void unpack_key(struct unpack *u, struct session_key *key)
{
	const uint8_t *bytes;

	memset(key, 0, sizeof(*key));
	key->type = unpack_u8(u);
	key->len = unpack_u8(u);
	if (key->len > CLUSTER_KEY_MAX) {
		key->len = 0;
		u->bad = true;
		return;
	}
	bytes = unpack_raw(u, key->len);
	if (bytes)
		memcpy(key->bytes, bytes, key->len);
}

static uint16_t unpack_count(struct unpack *u, size_t max)
{
	uint16_t n = unpack_u16(u);

	if (n > max)
		u->bad = true;
	return u->bad ? 0 : n;
}

static const uint8_t *unpack_capped(struct unpack *u, size_t *len, size_t max)
{
	const uint8_t *at = unpack_blob32(u, len);

	if (*len > max)
		u->bad = true;
	return at;
}

static void unpack_bytes(struct unpack *u, uint8_t *out, size_t size)
{
	const uint8_t *at = unpack_raw(u, size);

	if (at)
		memcpy(out, at, size);
	else
		memset(out, 0, size);
}

#define PUT_V(kind, name) pack_##kind(p, m->name);
#define PUT_L(element, name, max)                                                        \
	pack_u16(p, m->name##_count);                                                    \
	for (unsigned i = 0; i < m->name##_count; i++)                                   \
		put_##element(p, &m->name[i]);
#define PUT_B(name, max) pack_blob32(p, m->name, m->name##_len);
#define PUT_K(name) pack_key(p, &m->name);
#define PUT_R(name, size) pack_raw(p, m->name, size);

#define GET_V(kind, name) m->name = unpack_##kind(u);
#define GET_L(element, name, max)                                                        \
	m->name##_count = unpack_count(u, max);                                          \
	for (unsigned i = 0; i < m->name##_count && !u->bad; i++)                        \
		get_##element(u, &m->name[i]);
#define GET_B(name, max) m->name = unpack_capped(u, &m->name##_len, max);
#define GET_K(name) unpack_key(u, &m->name);
#define GET_R(name, size) unpack_bytes(u, m->name, size);

#define X(name, FIELDS)                                                                  \
	static void put_##name(struct pack *p, const struct wire_##name *m)              \
	{                                                                                \
		FIELDS(PUT_V, PUT_L, PUT_B, PUT_K, PUT_R)                                \
	}                                                                                \
	static void get_##name(struct unpack *u, struct wire_##name *m)                  \
	{                                                                                \
		FIELDS(GET_V, GET_L, GET_B, GET_K, GET_R)                                \
	}
WIRE_ELEMENTS(X)
WIRE_MESSAGES(X)
#undef X

#define X(name, FIELDS)                                                                  \
	size_t wire_encode_##name(uint8_t *buf, size_t size, uint64_t term,              \
				  uint64_t incarnation, const struct wire_##name *m)     \
	{                                                                                \
		struct pack p = pack_to(buf, size);                                      \
                                                                                         \
		pack_u8(&p, WIRE_VERSION);                                               \
		pack_u8(&p, wire_type_##name);                                           \
		pack_u64(&p, term);                                                      \
		pack_u64(&p, incarnation);                                               \
		put_##name(&p, m);                                                       \
		return p.bad ? 0 : (size_t)(p.at - buf);                                 \
	}                                                                                \
	int wire_decode_##name(struct unpack *u, struct wire_##name *m)                  \
	{                                                                                \
		get_##name(u, m);                                                        \
		return unpack_done(u) ? 0 : -EBADMSG;                                    \
	}
WIRE_MESSAGES(X)
#undef X

int wire_decode_header(struct unpack *u, struct wire_header *h)
{
	uint8_t version = unpack_u8(u);

	h->type = unpack_u8(u);
	h->term = unpack_u64(u);
	h->incarnation = unpack_u64(u);
	if (u->bad)
		return -EBADMSG;
	if (version != WIRE_VERSION)
		return -EPROTO;
	return epoch_valid(h->term) ? 0 : -EBADMSG;
}

const char *wire_name(uint8_t type)
{
	static const char *const names[WIRE_TYPES] = {
#define X(name, FIELDS) [wire_type_##name] = #name,
		WIRE_MESSAGES(X)
#undef X
	};

	return type < WIRE_TYPES && names[type] ? names[type] : "unknown";
}
