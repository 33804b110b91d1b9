/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/scene.h"
#include "tunnels/ip.h"

static const struct local_addr gateway4 = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr client4 = { 4, { 198, 51, 100, 7 }, IKE_PORT };
static const struct local_addr gateway6 = { 6, { 0x20, 1, [15] = 1 }, IKE_PORT };
static const struct local_addr client6 = { 6, { 0x20, 2, [15] = 7 }, IKE_PORT };

struct local_addr gateway, client;
static size_t outer; /* the headers of a packet between them */

struct ike scene_ike(uint64_t spi, bool from_client, bool response, uint32_t mid,
		     uint8_t filling)
{
	struct ike out = { .len = IKE_HEADER_SIZE + 20 };
	struct pack p = pack_to(out.bytes, sizeof(out.bytes));

	pack_u64(&p, PEER_SPI);
	pack_u64(&p, spi);
	pack_u8(&p, 46);
	pack_u8(&p, 0x20);
	pack_u8(&p, 37);
	pack_u8(&p, (uint8_t)((from_client ? 0x08 : 0) | (response ? 0x20 : 0)));
	pack_u32(&p, mid);
	pack_u32(&p, (uint32_t)out.len);
	memset(p.at, filling, 20);
	return out;
}

void scene_receive(struct node *n, const struct ike *m)
{
	const struct ip_end from = { client.family, client.bytes, IKE_PORT };
	const struct ip_end to = { gateway.family, gateway.bytes, IKE_PORT };
	uint8_t ip[IP_OVERHEAD_MAX + sizeof(m->bytes)];
	struct packet packet = { ip, outer + m->len, 1, true, 0 };

	memcpy(ip + outer, m->bytes, m->len);
	ip_write(ip, IP_PROTOCOL_UDP, &from, &to, m->len);
	ipsec_ops.receive(n->t, &packet, gateways_now);
	gateways_events();
}

void scene_transmit(struct node *n, const struct ike *m)
{
	struct local_message tx = { .type = LOCAL_IKE_TX };

	tx.ike_tx.src = gateway;
	tx.ike_tx.dst = client;
	tx.ike_tx.packet = (struct local_blob){ m->bytes, m->len };
	gateways_say(n, &tx);
}

unsigned scene_times_sent(const struct node *n, const struct ike *m)
{
	unsigned times = 0;

	for (unsigned i = 0; i < n->nsent; i++)
		times += n->sent_len[i] == outer + m->len &&
			 !memcmp(n->sent[i] + outer, m->bytes, m->len);
	return times;
}

void scene_establish_as(struct node *n, uint64_t spi, uint8_t version)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };

	put.ike_put.version = version;

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = PEER_SPI;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.state = (struct local_blob){ (const uint8_t *)"state", 5 };
	gateways_say(n, &put);
}

void scene_establish(struct node *n, uint64_t spi)
{
	scene_establish_as(n, spi, 2);
}

static struct local_blob selector(uint8_t *buf, uint8_t last)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	const struct local_ts ts = { .family = 4,
				     .to_port = 65535,
				     .from = { 10, 3, 0, last },
				     .to = { 10, 3, 0, last } };

	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

void scene_put_child(struct node *n, uint64_t spi, uint32_t spi_in)
{
	struct local_message put = { .type = LOCAL_CHILD_PUT };

	put.child_put.ike = spi;
	put.child_put.spi_in = spi_in;
	put.child_put.spi_out = 0x11223344;
	gateways_say(n, &put);
}

void scene_add_child(struct node *n, uint64_t spi, uint32_t spi_in)
{
	uint8_t inside[LOCAL_TS_SIZE], outside[LOCAL_TS_SIZE];
	struct local_sa_add in = { .ike = spi,
				   .spi = spi_in,
				   .src = client,
				   .dst = gateway,
				   .src_ts = selector(outside, 7),
				   .dst_ts = selector(inside, 100) };

	gateways_child(n, &in, 0x11223344, "");
}

void scene_forward(struct node *n)
{
	uint8_t ip[40] = { 0x45, [3] = sizeof(ip), [9] = 1 };
	struct packet packet = { ip, sizeof(ip), 1, true, 0 };

	memcpy(ip + 12, (uint8_t[]){ 10, 3, 0, 100 }, 4);
	memcpy(ip + 16, (uint8_t[]){ 10, 3, 0, 7 }, 4);
	ipsec_ops.forward(n->t, &packet, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

struct numbers scene_numbers(const struct node *n)
{
	struct ip_packet ip;
	struct numbers out;
	struct unpack u;

	assert_true(n->nsent > 0);
	assert_int_equal(ip_read(n->sent[n->nsent - 1], n->sent_len[n->nsent - 1], &ip),
			 0);
	assert_int_equal(ip.family, gateway.family);
	assert_int_equal(ip.protocol, IP_PROTOCOL_ESP);
	u = unpack_from(ip.body + 4, 12);
	out.seq = unpack_u32(&u);
	out.iv = unpack_u64(&u);
	return out;
}

struct scene scene_begin(void)
{
	struct scene s = { .owner = &gateways[2] };

	s.unit = gateways_unit(s.owner, &s.successor);
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	scene_establish(s.owner, s.spi);
	EACH_NODE(n)
		gateways_forget(n);
	return s;
}

struct scene scene_unproven(void)
{
	struct scene s = { .owner = &gateways[1], .successor = &gateways[2] };
	struct cluster_unit_state unit;

	for (s.unit = 0;; s.unit++) {
		assert_true(s.unit < CLUSTER_UNITS);
		cluster_unit(s.owner->c, s.unit, &unit);
		if (unit.owner == s.owner->id && unit.successor == 3)
			break;
	}
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	return s;
}

void scene_cut_off(struct node *n)
{
	n->cut = true;
	gateways_link(n, false);
	for (unsigned ms = 0;
	     cluster_role(n->c) != CLUSTER_MASTER || !cluster_unprotected(n->c); ms++) {
		assert_true(ms < 10000);
		gateways_run(1);
	}
	gateways_run(500);
}

int scene_start4(void **state)
{
	gateway = gateway4;
	client = client4;
	outer = ip_overhead(4, true);
	return gateways_start(state);
}

int scene_start6(void **state)
{
	gateway = gateway6;
	client = client6;
	outer = ip_overhead(6, true);
	return gateways_start(state);
}
