/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/child.h"

#define MODE_TUNNEL 1

static void encode_part(struct pack *p, const struct local_message *m)
{
	uint8_t *at = p->at;
	size_t len;

	pack_u32(p, 0);
	if (p->bad)
		return;
	len = local_encode(m, p->at, (size_t)(p->end - p->at));
	if (!len) {
		p->bad = true;
		return;
	}
	p->at = at;
	pack_u32(p, (uint32_t)len);
	p->at += len;
}

size_t child_encode(const struct local_sa_add *in, const struct local_sa_add *out,
		    const struct local_child_put *put, uint8_t *buf, size_t size)
{
	struct pack p = pack_to(buf, size);
	struct local_message m = { .type = LOCAL_SA_ADD, .sa_add = *in };

	encode_part(&p, &m);
	m.sa_add = *out;
	encode_part(&p, &m);
	m.type = LOCAL_CHILD_PUT;
	m.child_put = *put;
	encode_part(&p, &m);
	return p.bad ? 0 : (size_t)(p.at - buf);
}

static int decode_part(struct unpack *u, enum local_type type, struct local_message *m)
{
	size_t len;
	const uint8_t *bytes = unpack_blob32(u, &len);

	if (!bytes || local_decode(bytes, len, m) || m->type != type)
		return -EBADMSG;
	return 0;
}

int child_decode(const uint8_t *initial, size_t len, struct local_sa_add *in,
		 struct local_sa_add *out, struct local_child_put *put)
{
	struct unpack u = unpack_from(initial, len);
	struct local_message m[3];

	if (decode_part(&u, LOCAL_SA_ADD, &m[0]) ||
	    decode_part(&u, LOCAL_SA_ADD, &m[1]) ||
	    decode_part(&u, LOCAL_CHILD_PUT, &m[2]) || !unpack_done(&u))
		return -EBADMSG;
	*in = m[0].sa_add;
	*out = m[1].sa_add;
	*put = m[2].child_put;
	return 0;
}

static int read_selectors(const struct local_blob *list, struct local_ts **ts,
			  unsigned *count)
{
	unsigned n = local_ts_count(list);

	*ts = calloc(n ? n : 1, sizeof(**ts));
	if (!*ts)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (local_ts_get(list, i, &(*ts)[i]))
			return -EBADMSG;
	*count = n;
	return 0;
}

static int way_init(struct child_way *way, const struct local_sa_add *sa)
{
	const struct esp_algorithms algorithms = {
		.enc = sa->enc,
		.enc_key = sa->enc_key.bytes,
		.enc_key_len = sa->enc_key.len,
		.integ = sa->integ,
		.integ_key = sa->integ_key.bytes,
		.integ_key_len = sa->integ_key.len,
		.esn = sa->esn,
	};
	int err;

	STAILQ_INIT(&way->held);
	if (!ip_overhead(sa->src.family, false) || sa->src.family != sa->dst.family)
		return -ENOTSUP;
	way->spi = sa->spi;
	way->src = sa->src;
	way->dst = sa->dst;
	way->encap = sa->encap;
	way->esn = sa->esn;
	way->soft_time = sa->soft_time * MONO_SEC;
	way->hard_time = sa->hard_time * MONO_SEC;
	way->soft_bytes = sa->soft_bytes;
	way->hard_bytes = sa->hard_bytes;
	way->soft_packets = sa->soft_packets;
	way->hard_packets = sa->hard_packets;
	err = read_selectors(&sa->src_ts, &way->src_ts, &way->src_count);
	if (!err)
		err = read_selectors(&sa->dst_ts, &way->dst_ts, &way->dst_count);
	if (!err)
		err = esp_cipher_new(&way->cipher, &algorithms);
	return err;
}

/* Covers the ranges of the remote selectors with prefixes. */
static int find_prefixes(struct child *c)
{
	struct selector_prefix found[SELECTOR_PREFIXES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < c->out.dst_count; i++)
		n += selector_prefixes(&c->out.dst_ts[i], found + n,
				       SELECTOR_PREFIXES_MAX - n);
	c->prefixes = calloc(n ? n : 1, sizeof(*found));
	if (!c->prefixes)
		return -ENOMEM;
	memcpy(c->prefixes, found, n * sizeof(*found));
	c->nprefixes = n;
	return 0;
}

/* The one address that all of the selectors have; without family if there is none. */
static struct address only_host(const struct local_ts *ts, unsigned count, uint8_t family)
{
	struct address host = { .family = family == 4 ? AF_INET : AF_INET6 };
	size_t size = address_size(host.family);

	for (unsigned i = 0; i < count; i++)
		if (ts[i].family != family || memcmp(ts[i].from, ts[i].to, size) != 0 ||
		    memcmp(ts[i].from, ts[0].from, size) != 0)
			return (struct address){ 0 };
	if (!count)
		return (struct address){ 0 };
	memcpy(host.bytes, ts[0].from, size);
	return host;
}

static void find_ends(struct child *c)
{
	const struct child_way *in = &c->in, *out = &c->out;
	struct address own, peer;

	own = only_host(out->src_ts, out->src_count, out->src.family);
	peer = only_host(out->dst_ts, out->dst_count, out->dst.family);
	c->own = only_host(in->dst_ts, in->dst_count, in->dst.family);
	c->peer = only_host(in->src_ts, in->src_count, in->src.family);
	if (memcmp(&own, &c->own, sizeof(own)) != 0 ||
	    memcmp(&peer, &c->peer, sizeof(peer)) != 0)
		c->own = c->peer = (struct address){ 0 };
}

int child_new(struct child **child, const uint8_t *initial, size_t len, unsigned window,
	      struct mono now)
{
	struct local_sa_add in, out;
	struct local_child_put put;
	struct child *c;
	int err;

	err = child_decode(initial, len, &in, &out, &put);
	if (err)
		return err;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	STAILQ_INIT(&c->in.held);
	STAILQ_INIT(&c->out.held);
	c->ike = put.ike;
	c->retired = put.retired;
	c->unit = put.spi_in % CLUSTER_UNITS;
	c->born = now;
	c->transport = in.mode != MODE_TUNNEL;
	c->copy = in.copy;
	err = in.mode == out.mode ? way_init(&c->in, &in) : -EBADMSG;
	if (!err)
		err = way_init(&c->out, &out);
	/* charon's window counts if it is the larger one. */
	if (in.window > window)
		window = in.window < REPLAY_SIZE_MAX ? in.window : REPLAY_SIZE_MAX;
	if (!err)
		err = replay_init(&c->window, window);
	if (!err)
		err = find_prefixes(c);
	if (!err && c->transport) {
		find_ends(c);
		err = c->own.family && c->peer.family ? 0 : -EDOM;
	}
	if (err) {
		child_free(c);
		return err;
	}
	*child = c;
	return 0;
}

int child_readdress(struct child *c, const uint8_t *initial, size_t len)
{
	struct local_sa_add in, out;
	struct local_child_put put;
	int err = child_decode(initial, len, &in, &out, &put);

	if (err)
		return err;
	c->ike = put.ike; /* another one after a rekey of the IKE SA */
	c->retired = c->retired || put.retired;
	c->in.src = in.src;
	c->in.dst = in.dst;
	c->in.encap = in.encap;
	c->out.src = out.src;
	c->out.dst = out.dst;
	c->out.encap = out.encap;
	return 0;
}

static void drop_held(struct child_way *way)
{
	struct held *h;

	while ((h = STAILQ_FIRST(&way->held))) {
		STAILQ_REMOVE_HEAD(&way->held, next);
		OPENSSL_cleanse(h->bytes, h->len);
		free(h);
	}
	way->held_count = 0;
}

static void way_clear(struct child_way *way)
{
	drop_held(way);
	esp_cipher_free(way->cipher);
	free(way->src_ts);
	free(way->dst_ts);
}

void child_free(struct child *c)
{
	if (!c)
		return;
	way_clear(&c->in);
	way_clear(&c->out);
	free(c->prefixes);
	free(c);
}

void child_activate(struct child *c, uint64_t lease, uint64_t edge, uint32_t activation)
{
	c->active = true;
	c->moved = false;
	c->activation = activation;
	c->iv_used = 0;
	/* Nor below what was sent from here, should the lease be an older one. */
	if (lease > child_last_number(c))
		lease = child_last_number(c);
	if (c->next_seq <= lease)
		c->next_seq = lease + 1;
	c->lease_asked = lease;
	c->soft_told = c->hard_told = false;
	c->refused = edge >= CHILD_REFUSED;
	c->confirmed = edge > 0;
	replay_set_edge(&c->window, edge);
}

void child_deactivate(struct child *c)
{
	c->active = false;
	drop_held(&c->in);
	drop_held(&c->out);
	esp_cipher_rest(c->in.cipher);
	esp_cipher_rest(c->out.cipher);
}

int child_hold(struct child_way *way, uint64_t seq, const uint8_t *bytes, size_t len)
{
	struct held *h;

	if (way->held_count == CHILD_HELD_MAX)
		return -ENOBUFS;
	h = malloc(sizeof(*h) + len);
	if (!h)
		return -ENOMEM;
	h->seq = seq;
	h->len = len;
	memcpy(h->bytes, bytes, len);
	STAILQ_INSERT_TAIL(&way->held, h, next);
	way->held_count++;
	return 0;
}
