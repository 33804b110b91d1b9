/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/ike.h"

#define FLAG_INITIATOR 0x08
#define FLAG_RESPONSE 0x20
#define PAYLOAD_FRAGMENT 53 /* Encrypted Fragment, RFC 7383 2.5 */
#define PAYLOAD_FRAGMENT_V1 132
#define FRAGMENT_HEADER_SIZE 8

int ike_parse(const uint8_t *packet, size_t len, struct ike_header *h)
{
	struct unpack u = unpack_from(packet, len);
	struct ike_header out = { 0 };
	uint8_t next, version, flags;

	out.spi_i = unpack_u64(&u);
	out.spi_r = unpack_u64(&u);
	next = unpack_u8(&u);
	version = unpack_u8(&u);
	out.exchange = unpack_u8(&u);
	flags = unpack_u8(&u);
	out.mid = unpack_u32(&u);
	if (unpack_u32(&u) != len || u.bad)
		return -EBADMSG;
	out.major = version >> 4;
	if (out.major == 2) {
		out.initiator = flags & FLAG_INITIATOR;
		out.response = flags & FLAG_RESPONSE;
	}
	if (out.major == 2 && next == PAYLOAD_FRAGMENT) {
		if (unpack_left(&u) < FRAGMENT_HEADER_SIZE)
			return -EBADMSG;
		unpack_u32(&u);
		out.fragment = unpack_u16(&u);
		if (out.fragment == 0)
			return -EBADMSG;
	}
	/* Generic header, number of the message, number of the fragment (the vendor ID
	 * FRAGMENTATION). */
	if (out.major == 1 && next == PAYLOAD_FRAGMENT_V1) {
		if (unpack_left(&u) < FRAGMENT_HEADER_SIZE)
			return -EBADMSG;
		unpack_u32(&u);
		unpack_u16(&u);
		out.fragment = unpack_u8(&u);
		if (out.fragment == 0)
			return -EBADMSG;
	}
	*h = out;
	return 0;
}

uint64_t ike_receiver_spi(const struct ike_header *h)
{
	return h->initiator || h->major == 1 ? h->spi_r : h->spi_i;
}

uint64_t ike_sender_spi(const struct ike_header *h)
{
	return h->initiator && h->major != 1 ? h->spi_i : h->spi_r;
}

void ike_digest(const uint8_t *packet, size_t len, uint8_t digest[IKE_DIGEST_SIZE])
{
	unsigned n = IKE_DIGEST_SIZE;

	if (!EVP_Digest(packet, len, digest, &n, EVP_sha256(), NULL))
		memset(digest, 0, IKE_DIGEST_SIZE);
}

int ike_mark(const uint8_t *packet, size_t len, uint32_t *mark)
{
	size_t skip = IKE_HEADER_SIZE;
	uint8_t digest[IKE_DIGEST_SIZE];
	struct ike_header h;
	struct unpack u;

	if (ike_parse(packet, len, &h) || h.major != 1)
		return -EBADMSG;
	/* The fragments are those of the whole message, with its header. */
	if (h.fragment)
		skip += FRAGMENT_HEADER_SIZE + IKE_HEADER_SIZE;
	if (len < skip + IKE_MARKED_SIZE)
		return -EBADMSG;
	ike_digest(packet + skip, IKE_MARKED_SIZE, digest);
	u = unpack_from(digest, sizeof(digest));
	*mark = unpack_u32(&u);
	return 0;
}

int ike_heard_add(struct ike_exchanges *x, uint32_t mark)
{
	struct ike_heard *heard = x->heard;

	if (!heard)
		heard = x->heard = calloc(1, sizeof(*heard));
	if (!heard)
		return -ENOMEM;
	heard->marks[heard->next] = mark;
	heard->next = (heard->next + 1) % IKE_HEARD_MAX;
	if (heard->n < IKE_HEARD_MAX)
		heard->n++;
	return 0;
}

bool ike_heard_has(const struct ike_exchanges *x, uint32_t mark)
{
	for (unsigned i = 0; x->heard && i < x->heard->n; i++)
		if (x->heard->marks[i] == mark)
			return true;
	return false;
}

void ike_copy_clear(struct ike_copy *c)
{
	free(c->bytes);
	memset(c, 0, sizeof(*c));
}

int ike_copy_add(struct ike_copy *c, uint32_t mid, const struct local_addr *src,
		 const struct local_addr *dst, const uint8_t *packet, size_t len)
{
	uint8_t *bytes;

	if (!c->valid || c->mid != mid) {
		ike_copy_clear(c);
		c->valid = true;
		c->mid = mid;
	}
	if (c->packets == IKE_COPY_PACKETS || len == 0 || len > IKE_COPY_MAX - c->len)
		return -EMSGSIZE;
	bytes = realloc(c->bytes, c->len + len);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes + c->len, packet, len);
	c->bytes = bytes;
	c->len += len;
	c->lens[c->packets++] = (uint16_t)len;
	c->src = *src;
	c->dst = *dst;
	return 0;
}

const uint8_t *ike_copy_packet(const struct ike_copy *c, unsigned i, size_t *len)
{
	size_t at = 0;

	for (unsigned k = 0; k < i; k++)
		at += c->lens[k];
	*len = c->lens[i];
	return c->bytes + at;
}

void ike_exchanges_clear(struct ike_exchanges *x)
{
	ike_copy_clear(&x->response);
	ike_copy_clear(&x->request);
	x->outstanding = false;
	x->ending = IKE_LIVES;
	x->since = 0;
	memset(&x->replaces, 0, sizeof(x->replaces));
	OPENSSL_cleanse(&x->begun, sizeof(x->begun));
	free(x->heard);
	x->heard = NULL;
}

static void encode_address(struct pack *p, const struct local_addr *a)
{
	pack_u8(p, a->family);
	pack_raw(p, a->bytes, sizeof(a->bytes));
	pack_u16(p, a->port);
}

static void decode_address(struct unpack *u, struct local_addr *a)
{
	const uint8_t *bytes;

	a->family = unpack_u8(u);
	bytes = unpack_raw(u, sizeof(a->bytes));
	if (bytes)
		memcpy(a->bytes, bytes, sizeof(a->bytes));
	a->port = unpack_u16(u);
}

static void encode_copy(struct pack *p, const struct ike_copy *c)
{
	size_t at = 0;

	pack_u8(p, c->valid);
	if (!c->valid)
		return;
	pack_u32(p, c->mid);
	pack_raw(p, c->digest, sizeof(c->digest));
	encode_address(p, &c->src);
	encode_address(p, &c->dst);
	pack_u8(p, (uint8_t)c->packets);
	for (unsigned i = 0; i < c->packets; i++) {
		pack_blob16(p, c->bytes + at, c->lens[i]);
		at += c->lens[i];
	}
}

static int decode_copy(struct unpack *u, struct ike_copy *c)
{
	struct local_addr src = { 0 }, dst = { 0 };
	const uint8_t *digest;
	unsigned packets;
	uint32_t mid;
	int err = 0;

	if (!unpack_u8(u))
		return 0;
	mid = unpack_u32(u);
	digest = unpack_raw(u, IKE_DIGEST_SIZE);
	decode_address(u, &src);
	decode_address(u, &dst);
	packets = unpack_u8(u);
	/* The number counts even where no packet was kept. */
	c->valid = !u->bad;
	c->mid = mid;
	for (unsigned i = 0; i < packets && !u->bad && !err; i++) {
		size_t len;
		const uint8_t *packet = unpack_blob16(u, &len);

		if (packet)
			err = ike_copy_add(c, mid, &src, &dst, packet, len);
	}
	if (!err && !u->bad)
		memcpy(c->digest, digest, IKE_DIGEST_SIZE);
	return err;
}

static void encode_replaces(struct pack *p, const struct ike_replaces *r)
{
	pack_u8(p, (uint8_t)r->n);
	if (r->n)
		pack_u8(p, r->contact);
	for (unsigned i = 0; i < r->n; i++) {
		pack_u64(p, r->spi[i]);
		pack_u8(p, r->late[i]);
	}
}

static void decode_replaces(struct unpack *u, struct ike_replaces *r)
{
	r->n = unpack_u8(u);
	if (r->n > IKE_REPLACES_MAX) {
		r->n = 0;
		u->bad = true;
		return;
	}
	if (r->n)
		r->contact = unpack_u8(u);
	for (unsigned i = 0; i < r->n; i++) {
		r->spi[i] = unpack_u64(u);
		r->late[i] = unpack_u8(u);
	}
}

static void encode_begun(struct pack *p, const struct ike_begun *b)
{
	pack_blob16(p, b->state, b->len);
	if (!b->len)
		return;
	pack_u32(p, b->mid);
	pack_u64(p, b->ike);
	pack_u32(p, b->child);
}

static void decode_begun(struct unpack *u, struct ike_begun *b)
{
	size_t len;
	const uint8_t *state = unpack_blob16(u, &len);

	if (!state || !len)
		return;
	if (len > sizeof(b->state)) {
		u->bad = true;
		return;
	}
	memcpy(b->state, state, len);
	b->len = (uint16_t)len;
	b->mid = unpack_u32(u);
	b->ike = unpack_u64(u);
	b->child = unpack_u32(u);
}

/* The oldest first; of IKEv2 nothing. */
static void encode_heard(struct pack *p, const struct ike_heard *heard)
{
	unsigned first;

	if (!heard || !heard->n)
		return;
	first = heard->n == IKE_HEARD_MAX ? heard->next : 0;
	for (unsigned i = 0; i < heard->n; i++)
		pack_u32(p, heard->marks[(first + i) % IKE_HEARD_MAX]);
}

static int decode_heard(struct unpack *u, struct ike_exchanges *x)
{
	int err = 0;

	if (unpack_left(u) > 4 * IKE_HEARD_MAX)
		u->bad = true;
	while (!err && !u->bad && unpack_left(u) >= 4)
		err = ike_heard_add(x, unpack_u32(u));
	return err;
}

size_t ike_exchanges_encode(const struct ike_exchanges *x, uint8_t *buf, size_t size)
{
	struct pack p = pack_to(buf, size);

	encode_copy(&p, &x->response);
	encode_copy(&p, &x->request);
	pack_u8(&p, x->outstanding);
	pack_u8(&p, (uint8_t)x->ending);
	pack_u64(&p, x->since);
	encode_replaces(&p, &x->replaces);
	encode_begun(&p, &x->begun);
	encode_heard(&p, x->heard);
	return p.bad ? 0 : (size_t)(p.at - buf);
}

int ike_exchanges_decode(struct ike_exchanges *x, const uint8_t *buf, size_t len)
{
	struct unpack u = unpack_from(buf, len);
	struct ike_exchanges out = { 0 };
	unsigned ending;
	int err;

	err = decode_copy(&u, &out.response);
	if (!err)
		err = decode_copy(&u, &out.request);
	out.outstanding = unpack_u8(&u);
	ending = unpack_u8(&u);
	if (ending > IKE_ENDED_BY_US)
		u.bad = true;
	out.ending = (enum ike_ending)ending;
	out.since = unpack_u64(&u);
	decode_replaces(&u, &out.replaces);
	decode_begun(&u, &out.begun);
	if (!err)
		err = decode_heard(&u, &out);
	if (!err && !unpack_done(&u))
		err = -EBADMSG;
	if (err) {
		ike_exchanges_clear(&out);
		return err;
	}
	ike_exchanges_clear(x);
	*x = out;
	OPENSSL_cleanse(&out.begun, sizeof(out.begun));
	return 0;
}

uint32_t ike_next_received(const struct ike_exchanges *x)
{
	return x->response.valid ? x->response.mid + 1 : 0;
}

uint32_t ike_next_sent(const struct ike_exchanges *x)
{
	return x->request.valid ? x->request.mid + 1 : 0;
}
