/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets into a CHILD SA and out of it. */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "tunnels/ipsec/child.h"
#include "tunnels/ipsec/inner.h"

#define ESP_UDP_PORT 4500
#define HEADER4 20
#define HEADER6 40

static bool way_selects(const struct child_way *way, const struct selector_flow *f)
{
	return selector_match(way->src_ts, way->src_count, f, true) &&
	       selector_match(way->dst_ts, way->dst_count, f, false);
}

unsigned child_selects(const struct child *c, const uint8_t *ip, size_t len)
{
	const struct child_way *out = &c->out;
	struct selector_flow f;
	unsigned near, far;

	if (selector_read(ip, len, &f))
		return 0;
	near = selector_narrow(out->src_ts, out->src_count, &f, true);
	far = selector_narrow(out->dst_ts, out->dst_count, &f, false);
	return near && far ? near + far : 0;
}

static void count(struct child_way *way, size_t len, struct mono now)
{
	way->packets++;
	way->bytes += len;
	way->used = now;
}

static size_t plain_header(uint8_t family)
{
	return family == 4 ? HEADER4 : HEADER6;
}

/* Bytes that stand before the payload in the clear packet, but not in the sealed one. */
static size_t stripped(const struct child *c)
{
	return c->transport ? plain_header(c->in.src.family) : 0;
}

/* The packet that came in: in tunnel mode the payload, in transport mode with a header of
 * the peer's address and ours. */
static int unwrap(struct child *c, uint8_t *out, size_t got, uint8_t next, uint8_t tos,
		  struct selector_flow *f)
{
	const struct child_way *in = &c->in;

	if (c->transport) {
		inner_header(out, in->src.family, next, tos, c->peer.bytes, c->own.bytes,
			     got);
		return selector_read(out, stripped(c) + got, f);
	}
	if (selector_read(out, got, f) ||
	    next != (f->family == 4 ? ESP_NEXT_IPV4 : ESP_NEXT_IPV6))
		return -EINVAL;
	return 0;
}

int child_open(struct child *c, const uint8_t *esp, size_t len, uint8_t tos, uint8_t *out,
	       size_t size, size_t *outlen, uint64_t *seq, struct mono now)
{
	size_t before = stripped(c), got;
	struct selector_flow f;
	uint32_t spi, low;
	uint64_t number;
	uint8_t next;
	int err;

	if (esp_parse(esp, len, &spi, &low) || size < before)
		return -EINVAL;
	number = c->in.esn ? replay_extend(&c->window, low) : low;
	err = replay_check(&c->window, number);
	if (!err)
		err = esp_open(c->in.cipher, esp, len, number, out + before,
			       size - before, &got, &next);
	if (!err)
		err = replay_accept(&c->window, number);
	if (err)
		return err;
	c->confirmed = true;
	if (next == ESP_NEXT_NONE)
		return -ENODATA;
	if (unwrap(c, out, got, next, tos, &f))
		return -EINVAL;
	if (!way_selects(&c->in, &f))
		return -EACCES;
	if (!c->transport && !inner_decapsulate(out, tos, c->copy))
		return -EPROTO;
	if (c->transport && c->in.encap)
		inner_checksum(out, &f);
	if (c->mss)
		inner_clamp_mss(out, &f, c->mss);
	*outlen = f.total;
	*seq = number;
	count(&c->in, f.total, now);
	return 0;
}

uint64_t child_last_number(const struct child *c)
{
	/* Far enough from the end that nothing which is asked ahead wraps. */
	return c->out.esn ? UINT64_MAX >> 1 : UINT32_MAX;
}

static struct ip_end outer_end(const struct local_addr *a)
{
	return (struct ip_end){ a->family, a->bytes, a->port ? a->port : ESP_UDP_PORT };
}

size_t child_room(const struct child *c, size_t mtu)
{
	size_t outer = ip_overhead(c->out.src.family, c->out.encap), room;

	if (mtu < outer)
		return 0;
	room = esp_room(c->out.cipher, mtu - outer);
	return c->transport && room ? room + plain_header(c->out.src.family) : room;
}

/* What is sealed of an inner packet, and what the outer header gets from it. */
struct wrapping {
	const uint8_t *payload;
	size_t len;
	uint8_t next_header, tos;
	bool whole; /* the outer packet, too, is not to be fragmented */
};

static int wrap(const struct child *c, const uint8_t *ip, const struct selector_flow *f,
		struct wrapping *w)
{
	*w = (struct wrapping){
		.payload = ip,
		.len = f->total,
		.next_header = f->family == 4 ? ESP_NEXT_IPV4 : ESP_NEXT_IPV6,
		.tos = inner_encapsulate(ip, c->copy),
		.whole = c->copy & LOCAL_COPY_DF && inner_whole(ip),
	};
	if (!c->transport)
		return 0;
	/* RFC 4303 3.1.1: whole packets only. Options would be lost. */
	if (f->fragment || (f->family == 4 && ip[6] & 0x20) ||
	    f->header != plain_header(f->family) || f->family != c->out.src.family)
		return -EINVAL;
	w->payload += f->header;
	w->len -= f->header;
	w->next_header = f->protocol;
	w->tos = inner_tos(ip);
	return 0;
}

/* A TCP packet that is changed is changed in a copy. */
static const uint8_t *clamped(const struct child *c, const uint8_t *ip,
			      const struct selector_flow *f, uint8_t *copy)
{
	if (!c->mss || f->protocol != IPPROTO_TCP || f->fragment ||
	    f->total > CHILD_CLAMP_MAX)
		return ip;
	memcpy(copy, ip, f->total);
	inner_clamp_mss(copy, f, c->mss);
	return copy;
}

int child_seal(struct child *c, member_id self, const uint8_t *ip, size_t len,
	       uint8_t *out, size_t size, size_t *outlen, struct mono now)
{
	size_t outer = ip_overhead(c->out.src.family, c->out.encap), got;
	const struct ip_end src = outer_end(&c->out.src), dst = outer_end(&c->out.dst);
	uint8_t copy[CHILD_CLAMP_MAX];
	struct selector_flow f;
	struct wrapping w;
	int err;

	if (c->next_seq > child_last_number(c) || c->iv_used > UINT32_MAX)
		return -EOVERFLOW;
	if (!outer || src.family != dst.family)
		return -EAFNOSUPPORT;
	if (size < outer)
		return -ENOSPC;
	if (selector_read(ip, len, &f) || wrap(c, clamped(c, ip, &f, copy), &f, &w))
		return -EINVAL;
	err = esp_seal(c->out.cipher, c->out.spi, c->next_seq,
		       esp_iv(self, c->activation, (uint32_t)c->iv_used), w.next_header,
		       w.payload, w.len, out + outer, size - outer, &got);
	if (err)
		return err;
	c->next_seq++;
	c->iv_used++;
	if (got + outer > UINT16_MAX)
		return -ENOSPC;
	ip_write(out, c->out.encap ? IP_PROTOCOL_UDP : IP_PROTOCOL_ESP, &src, &dst, got);
	ip_mark(out, w.tos, w.whole);
	*outlen = got + outer;
	count(&c->out, f.total, now);
	return 0;
}
