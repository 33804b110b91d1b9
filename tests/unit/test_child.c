/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CHILD SA that changes its owner: what a peer sees stays right. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ipsec/child.h"

#define OUR_SPI 0xc0000405u /* unit 5 */
#define PEER_SPI 0x11223344u
#define OUTER (20 + 8)

static uint8_t initial[4096];
static const struct mono now = { 1000 };

static struct local_addr address(uint8_t a, uint8_t b, uint8_t c, uint8_t d,
				 uint16_t port)
{
	return (struct local_addr){ .family = 4, .bytes = { a, b, c, d }, .port = port };
}

static struct local_blob selector(uint8_t *buf, uint8_t a, uint8_t b, uint8_t c,
				  uint8_t from, uint8_t to)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	const struct local_ts ts = { .family = 4,
				     .to_port = 65535,
				     .from = { a, b, c, from },
				     .to = { a, b, c, to } };

	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

/* The two ends have each other's SAs: `ours` is the gateway's view, else the client's. */
static size_t make_initial(bool ours)
{
	static const uint8_t key_in[20] = "inbound key material",
			     key_out[20] = "outbound keymaterial";
	static uint8_t inside[LOCAL_TS_SIZE], client[LOCAL_TS_SIZE];
	struct local_sa_add in = {
		.spi = ours ? OUR_SPI : PEER_SPI,
		.inbound = 1,
		.encap = 1,
		.mode = 1,
		.enc = ESP_ENCR_AES_GCM_16,
		.enc_key = { ours ? key_in : key_out, 20 },
	};
	struct local_sa_add out = in;
	struct local_child_put put = { .ike = 5, .spi_in = in.spi };
	struct local_addr gateway = address(192, 0, 2, 1, 4500);
	struct local_addr peer = address(198, 51, 100, 7, 1111);
	struct local_blob inside_ts = selector(inside, 10, 1, 0, 0, 255);
	struct local_blob client_ts = selector(client, 10, 3, 0, 7, 7);

	out.spi = ours ? PEER_SPI : OUR_SPI;
	out.inbound = 0;
	out.enc_key.bytes = ours ? key_out : key_in;
	put.spi_out = out.spi;
	in.src = out.dst = ours ? peer : gateway;
	in.dst = out.src = ours ? gateway : peer;
	in.src_ts = out.dst_ts = ours ? client_ts : inside_ts;
	in.dst_ts = out.src_ts = ours ? inside_ts : client_ts;
	return child_encode(&in, &out, &put, initial, sizeof(initial));
}

static struct child *make(bool ours)
{
	struct child *c;
	size_t len = make_initial(ours);

	assert_true(len > 0);
	assert_int_equal(child_new(&c, initial, len, 64, now), 0);
	return c;
}

/* An inner packet: an IPv4 header and its addresses. */
static void inner(uint8_t *ip, uint8_t len, const uint8_t src[4], const uint8_t dst[4])
{
	memset(ip, 0, len);
	ip[0] = 0x45;
	ip[3] = len;
	ip[9] = 1;
	memcpy(ip + 12, src, 4);
	memcpy(ip + 16, dst, 4);
}

static const uint8_t CLIENT[4] = { 10, 3, 0, 7 }, SERVER[4] = { 10, 1, 0, 100 };

static int pass(struct child *from, struct child *to, const uint8_t *src,
		const uint8_t *dst, uint64_t *seq)
{
	uint8_t ip[40], sealed[200], got[200];
	size_t sealed_len, got_len;
	int err;

	inner(ip, sizeof(ip), src, dst);
	err =
	    child_seal(from, 7, ip, sizeof(ip), sealed, sizeof(sealed), &sealed_len, now);
	assert_int_equal(err, 0);
	err = child_open(to, sealed + OUTER, sealed_len - OUTER, got, sizeof(got),
			 &got_len, seq, now);
	if (!err) {
		assert_int_equal(got_len, sizeof(ip));
		assert_memory_equal(got, ip, sizeof(ip));
	}
	return err;
}

static void test_both_ways(void **state)
{
	struct child *gateway = make(true), *client = make(false);
	uint64_t seq;

	assert_int_equal(gateway->unit, 5);
	child_activate(gateway, 0, 0, 1);
	child_activate(client, 0, 0, 1);
	assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
	assert_int_equal(seq, 1);
	assert_int_equal(pass(gateway, client, SERVER, CLIENT, &seq), 0);
	assert_int_equal(pass(gateway, client, SERVER, CLIENT, &seq), 0);
	assert_int_equal(seq, 2);
	child_free(gateway);
	child_free(client);
}

static void test_outer_header(void **state)
{
	struct child *gateway = make(true);
	uint8_t ip[40], out[200];
	size_t len;

	child_activate(gateway, 0, 0, 1);
	inner(ip, sizeof(ip), SERVER, CLIENT);
	assert_int_equal(
	    child_seal(gateway, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(out[0], 0x45);
	assert_int_equal(out[2] << 8 | out[3], len);
	assert_int_equal(out[9], 17);
	assert_int_equal(out[20] << 8 | out[21], 4500);
	assert_int_equal(out[22] << 8 | out[23], 1111);
	assert_int_equal(out[24] << 8 | out[25], len - 20);
	child_free(gateway);
}

/* The same outside over IPv6, and in the middle of an SA's life when its peer moves. */
static void test_outer_header_of_ipv6(void **state)
{
	const struct local_addr gateway6 = { 6, { 0x20, 1, [15] = 1 }, 4500 };
	const struct local_addr peer6 = { 6, { 0x20, 2, [15] = 7 }, 1111 };
	struct child *gateway = make(true), *client = make(false);
	uint8_t ip[40], out[200], got[200];
	struct ip_packet outer;
	uint64_t seq;
	size_t len;

	child_activate(gateway, 0, 0, 1);
	child_activate(client, 0, 0, 1);
	inner(ip, sizeof(ip), SERVER, CLIENT);
	gateway->out.src = gateway6;
	assert_int_equal(
	    child_seal(gateway, 7, ip, sizeof(ip), out, sizeof(out), &len, now),
	    -EAFNOSUPPORT);
	gateway->out.dst = peer6;
	assert_int_equal(
	    child_seal(gateway, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(ip_read(out, len, &outer), 0);
	assert_int_equal(outer.family, 6);
	assert_memory_equal(outer.source, gateway6.bytes, 16);
	assert_memory_equal(outer.destination, peer6.bytes, 16);
	assert_int_equal(outer.protocol, IP_PROTOCOL_UDP);
	assert_int_equal(outer.body[2] << 8 | outer.body[3], 1111);
	assert_true(ip_udp_intact(&outer, outer.len));
	assert_int_equal(child_open(client, outer.body + 8, outer.len - 8, got,
				    sizeof(got), &len, &seq, now),
			 0);
	assert_memory_equal(got, ip, sizeof(ip));
	gateway->out.encap = false;
	assert_int_equal(
	    child_seal(gateway, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(ip_read(out, len, &outer), 0);
	assert_int_equal(outer.protocol, IP_PROTOCOL_ESP);
	child_free(gateway);
	child_free(client);
}

/* Outbound, the new owner begins above the lease; with it, no number and no IV repeats. */
static void test_takeover_outbound(void **state)
{
	struct child *old = make(true), *new = make(true), *client = make(false);
	uint64_t seq;

	child_activate(old, 0, 0, 1);
	child_activate(client, 0, 0, 1);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(pass(old, client, SERVER, CLIENT, &seq), 0);
	child_activate(new, CHILD_LEASE_STEP, 0, 2);
	assert_int_equal(pass(new, client, SERVER, CLIENT, &seq), 0);
	assert_int_equal(seq, CHILD_LEASE_STEP + 1);
	/* A thawed old owner is behind the client's window. */
	assert_int_equal(pass(old, client, SERVER, CLIENT, &seq), -ESTALE);
	child_free(old);
	child_free(new);
	child_free(client);
}

/* Inbound, all up to the edge is a replay to the new owner, and all above is not. */
static void test_takeover_inbound(void **state)
{
	struct child *new = make(true), *client = make(false);
	uint8_t ip[40], sealed[10][200], got[200];
	size_t lens[10], len;
	uint64_t seq;

	child_activate(client, 0, 0, 1);
	inner(ip, sizeof(ip), CLIENT, SERVER);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(child_seal(client, 7, ip, sizeof(ip), sealed[i],
					    sizeof(sealed[i]), &lens[i], now),
				 0);
	child_activate(new, 0, 6, 2);
	for (unsigned i = 0; i < 6; i++)
		assert_int_not_equal(child_open(new, sealed[i] + OUTER, lens[i] - OUTER,
						got, sizeof(got), &len, &seq, now),
				     0);
	for (unsigned i = 6; i < 10; i++)
		assert_int_equal(child_open(new, sealed[i] + OUTER, lens[i] - OUTER, got,
					    sizeof(got), &len, &seq, now),
				 0);
	child_free(new);
	child_free(client);
}

static void test_selectors(void **state)
{
	static const uint8_t OTHER[4] = { 10, 3, 0, 8 }, BEYOND[4] = { 10, 2, 0, 1 };
	struct child *gateway = make(true), *client = make(false);
	uint8_t ip[40];
	uint64_t seq;

	child_activate(gateway, 0, 0, 1);
	child_activate(client, 0, 0, 1);
	assert_int_equal(pass(client, gateway, OTHER, SERVER, &seq), -EACCES);
	assert_int_equal(pass(client, gateway, CLIENT, BEYOND, &seq), -EACCES);
	inner(ip, sizeof(ip), SERVER, CLIENT);
	assert_true(child_selects(gateway, ip, sizeof(ip)));
	assert_false(child_selects(gateway, ip, 19));
	inner(ip, sizeof(ip), SERVER, OTHER);
	assert_false(child_selects(gateway, ip, sizeof(ip)));
	assert_int_equal(gateway->nprefixes, 1);
	assert_int_equal(gateway->prefixes[0].len, 32);
	assert_int_equal(gateway->prefixes[0].address.family, AF_INET);
	assert_memory_equal(gateway->prefixes[0].address.bytes, CLIENT, 4);
	child_free(gateway);
	child_free(client);
}

static void test_damaged_records(void **state)
{
	size_t len = make_initial(true);
	struct child *c;

	for (size_t n = 0; n < len; n++)
		assert_int_not_equal(child_new(&c, initial, n, 64, now), 0);
	assert_int_equal(child_new(&c, initial, len, 64, now), 0);
	child_free(c);
	child_free(NULL);
}

static void test_numbers_run_out(void **state)
{
	struct child *c = make(true);
	uint8_t ip[40], out[200];
	size_t len;

	child_activate(c, UINT32_MAX - 1, 0, 1);
	inner(ip, sizeof(ip), SERVER, CLIENT);
	assert_int_equal(child_seal(c, 7, ip, sizeof(ip), out, sizeof(out), &len, now),
			 0);
	assert_int_equal(child_seal(c, 7, ip, sizeof(ip), out, sizeof(out), &len, now),
			 -EOVERFLOW);
	child_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_outer_header),
		cmocka_unit_test(test_outer_header_of_ipv6),
		cmocka_unit_test(test_takeover_outbound),
		cmocka_unit_test(test_takeover_inbound),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_damaged_records),
		cmocka_unit_test(test_numbers_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
