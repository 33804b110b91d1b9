/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/ends.h"

const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, 4500 };
const struct local_addr client = { 4, { 198, 51, 100, 7 }, 1111 };
const uint8_t SERVER[4] = { 10, 1, 0, 100 }, INNER[4] = { 10, 3, 0, 7 };
struct ends_choice ends_next = { .served = L2TP };

static const uint8_t key[20] = "not much of a secret";

struct local_blob ends_selector(uint8_t *buf, const uint8_t *from, uint8_t last)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	struct local_ts ts = { .family = 4, .to_port = 65535 };

	if (ends_next.transport) {
		ts.protocol = 17;
		if (from == gateway.bytes)
			ts.from_port = ts.to_port = ends_next.served;
	}
	memcpy(ts.from, from, 4);
	memcpy(ts.to, from, 4);
	ts.to[3] = last;
	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

void ends_make(const struct ends *s, const struct local_sa_add *base,
	       struct local_sa_add *in, struct local_sa_add *out)
{
	static uint8_t server[LOCAL_TS_SIZE], inner[LOCAL_TS_SIZE];
	const uint8_t *spoken_for =
	    ends_next.spoken_for ? ends_next.spoken_for : client.bytes;

	*in = *base;
	in->ike = s->ike;
	in->spi = s->spi;
	in->inbound = 1;
	in->encap = !ends_next.native;
	in->mode = !ends_next.transport;
	in->enc = ESP_ENCR_AES_GCM_16;
	in->enc_key = (struct local_blob){ key, sizeof(key) };
	in->src = client;
	in->src.port = (uint16_t)(client.port + ends_next.host);
	in->dst = gateway;
	if (ends_next.transport) {
		in->src_ts = ends_selector(inner, spoken_for, 7);
		in->dst_ts = ends_selector(server, gateway.bytes, 1);
	} else {
		in->src_ts = ends_selector(inner, INNER, 7);
		in->dst_ts = ends_selector(server, SERVER, 255);
	}
	*out = *in;
	out->spi = ENDS_PEER_SPI;
	out->inbound = 0;
	out->src = gateway;
	out->dst = in->src;
	out->src_ts = in->dst_ts;
	out->dst_ts = in->src_ts;
}

/* The other end of the same two SAs. */
static struct child *make_peer(const struct ends *s, struct local_sa_add in,
			       struct local_sa_add out)
{
	static uint8_t initial[4096];
	const struct local_child_put put = { .ike = s->ike,
					     .spi_in = ENDS_PEER_SPI,
					     .spi_out = s->spi };
	struct child *c;
	size_t len;

	in.inbound = 0;
	out.inbound = 1;
	in.soft_packets = in.hard_packets = out.soft_packets = out.hard_packets = 0;
	len = child_encode(&out, &in, &put, initial, sizeof(initial));
	assert_int_equal(child_new(&c, initial, len, 64, gateways_now), 0);
	child_activate(c, 0, 0, 1);
	return c;
}

void ends_add(const struct ends *s, const struct local_sa_add *in,
	      const struct local_sa_add *out)
{
	struct local_message m = { .type = LOCAL_SA_ADD, .sa_add = *in };

	gateways_say(s->owner, &m);
	m.sa_add = *out;
	gateways_say(s->owner, &m);
	m = (struct local_message){ .type = LOCAL_CHILD_PUT };
	m.child_put.ike = s->ike;
	m.child_put.spi_in = s->spi;
	m.child_put.spi_out = ENDS_PEER_SPI;
	gateways_say(s->owner, &m);
	gateways_run(50);
}

struct ends ends_begin(const struct local_sa_add *base)
{
	struct ends s = { .owner = &gateways[2] };
	struct local_message m = { .type = LOCAL_IKE_PUT };
	struct local_sa_add in, out;
	unit_id u = gateways_unit(s.owner, &s.successor);

	s.ike = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + u;
	s.spi = 0xc0000000u + u;
	s.ike += ends_next.which * CLUSTER_UNITS;
	s.spi += ends_next.which * CLUSTER_UNITS;
	m.ike_put = (struct local_ike_put){
		.spi = s.ike, .peer_spi = 7, .local = gateway, .remote = client
	};
	gateways_say(s.owner, &m);
	ends_make(&s, base, &in, &out);
	ends_add(&s, &in, &out);
	s.peer = make_peer(&s, in, out);
	EACH_NODE(n)
		gateways_forget(n);
	return s;
}

void ends_inner(uint8_t *ip, size_t len, const uint8_t *src, const uint8_t *dst,
		bool whole)
{
	memset(ip, 0, len);
	ip[0] = 0x45;
	ip[2] = (uint8_t)(len >> 8);
	ip[3] = (uint8_t)len;
	ip[6] = whole ? 0x40 : 0;
	ip[9] = 17;
	memcpy(ip + 12, src, 4);
	memcpy(ip + 16, dst, 4);
}

void ends_forward(struct node *n, size_t len, bool whole)
{
	static uint8_t ip[1500];
	const struct packet packet = { .bytes = ip, .len = len, .checksum_ready = true };

	ends_inner(ip, len, SERVER, INNER, whole);
	ipsec_ops.forward(n->t, &packet, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

void ends_receive(struct node *n, const uint8_t *bytes, size_t len)
{
	const struct packet packet = { .bytes = bytes,
				       .len = len,
				       .checksum_ready = true };

	ipsec_ops.receive(n->t, &packet, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

size_t ends_seal(struct ends *s, const uint8_t *src, const uint8_t *dst, uint8_t *out,
		 size_t size)
{
	uint8_t ip[60];
	size_t len;

	ends_inner(ip, sizeof(ip), src, dst, false);
	assert_int_equal(
	    child_seal(s->peer, 9, ip, sizeof(ip), out, size, &len, gateways_now), 0);
	return len;
}
