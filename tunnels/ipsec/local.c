/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "tunnels/ipsec/local.h"

static void put_u8(struct pack *p, const uint8_t *v)
{
	pack_u8(p, *v);
}

static void put_u16(struct pack *p, const uint16_t *v)
{
	pack_u16(p, *v);
}

static void put_u32(struct pack *p, const uint32_t *v)
{
	pack_u32(p, *v);
}

static void put_u64(struct pack *p, const uint64_t *v)
{
	pack_u64(p, *v);
}

static void put_addr(struct pack *p, const struct local_addr *v)
{
	pack_u8(p, v->family);
	pack_raw(p, v->bytes, sizeof(v->bytes));
	pack_u16(p, v->port);
}

static void put_blob(struct pack *p, const struct local_blob *v)
{
	pack_blob32(p, v->bytes, v->len);
}

static void get_u8(struct unpack *u, uint8_t *v)
{
	*v = unpack_u8(u);
}

static void get_u16(struct unpack *u, uint16_t *v)
{
	*v = unpack_u16(u);
}

static void get_u32(struct unpack *u, uint32_t *v)
{
	*v = unpack_u32(u);
}

static void get_u64(struct unpack *u, uint64_t *v)
{
	*v = unpack_u64(u);
}

static void get_addr(struct unpack *u, struct local_addr *v)
{
	const uint8_t *bytes;

	v->family = unpack_u8(u);
	bytes = unpack_raw(u, sizeof(v->bytes));
	if (bytes)
		memcpy(v->bytes, bytes, sizeof(v->bytes));
	v->port = unpack_u16(u);
	if (v->family != 0 && v->family != 4 && v->family != 6)
		u->bad = true;
}

static void get_blob(struct unpack *u, struct local_blob *v)
{
	v->bytes = unpack_blob32(u, &v->len);
}

size_t local_encode(const struct local_message *m, uint8_t *buf, size_t size)
{
	struct pack p = pack_to(buf, size);

	pack_u8(&p, (uint8_t)m->type);
	switch (m->type) {
#define F(type, name) put_##type(&p, &x->name);
#define M(upper, lower, fields)                                                          \
	case LOCAL_##upper: {                                                            \
		const struct local_##lower *x = &m->lower;                               \
		fields break;                                                            \
	}
		LOCAL_MESSAGES(M)
#undef M
#undef F
	default:
		return 0;
	}
	return p.bad ? 0 : (size_t)(p.at - buf);
}

int local_decode(const uint8_t *buf, size_t len, struct local_message *m)
{
	struct unpack u = unpack_from(buf, len);
	struct local_message out;

	memset(&out, 0, sizeof(out));
	out.type = unpack_u8(&u);
	switch (out.type) {
#define F(type, name) get_##type(&u, &x->name);
#define M(upper, lower, fields)                                                          \
	case LOCAL_##upper: {                                                            \
		struct local_##lower *x = &out.lower;                                    \
		fields break;                                                            \
	}
		LOCAL_MESSAGES(M)
#undef M
#undef F
	default:
		return -EBADMSG;
	}
	if (!unpack_done(&u))
		return -EBADMSG;
	*m = out;
	return 0;
}

const char *local_type_name(enum local_type type)
{
	static const char *const names[] = { "NONE",
#define M(upper, lower, fields) #upper,
					     LOCAL_MESSAGES(M)
#undef M
	};

	return (unsigned)type < LOCAL_TYPES ? names[type] : "UNKNOWN";
}

bool local_addr_equal(const struct local_addr *a, const struct local_addr *b)
{
	return a->family == b->family && a->port == b->port &&
	       !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

void local_ts_put(struct pack *p, const struct local_ts *ts)
{
	pack_u8(p, ts->family);
	pack_u8(p, ts->protocol);
	pack_u16(p, ts->from_port);
	pack_u16(p, ts->to_port);
	pack_raw(p, ts->from, sizeof(ts->from));
	pack_raw(p, ts->to, sizeof(ts->to));
}

unsigned local_ts_count(const struct local_blob *list)
{
	return (unsigned)(list->len / LOCAL_TS_SIZE);
}

int local_ts_get(const struct local_blob *list, unsigned i, struct local_ts *ts)
{
	struct unpack u;

	if (list->len % LOCAL_TS_SIZE || i >= local_ts_count(list))
		return -EBADMSG;
	u = unpack_from(list->bytes + (size_t)i * LOCAL_TS_SIZE, LOCAL_TS_SIZE);
	ts->family = unpack_u8(&u);
	ts->protocol = unpack_u8(&u);
	ts->from_port = unpack_u16(&u);
	ts->to_port = unpack_u16(&u);
	memcpy(ts->from, unpack_raw(&u, 16), 16);
	memcpy(ts->to, unpack_raw(&u, 16), 16);
	return ts->family == 4 || ts->family == 6 ? 0 : -EBADMSG;
}
