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
	err = child_open(to, sealed + OUTER, sealed_len - OUTER, 0, got, sizeof(got),
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
	assert_int_equal(child_open(client, outer.body + 8, outer.len - 8, outer.tos, got,
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
						0, got, sizeof(got), &len, &seq, now),
				     0);
	for (unsigned i = 6; i < 10; i++)
		assert_int_equal(child_open(new, sealed[i] + OUTER, lens[i] - OUTER, 0,
					    got, sizeof(got), &len, &seq, now),
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

/* Variations of the pair of make(): `change` is made to all four SAs. */
static void make_pair(void (*change)(struct local_sa_add *sa), struct child **gateway,
		      struct child **client)
{
	for (unsigned i = 0; i < 2; i++) {
		static uint8_t changed[sizeof(initial)];
		struct local_sa_add in, out;
		struct local_child_put put;
		size_t len = make_initial(!i);

		assert_int_equal(child_decode(initial, len, &in, &out, &put), 0);
		change(&in);
		change(&out);
		len = child_encode(&in, &out, &put, changed, sizeof(changed));
		assert_int_equal(child_new(i ? client : gateway, changed, len, 64, now),
				 0);
		child_activate(i ? *client : *gateway, 0, 0, 1);
	}
}

static void with_esn(struct local_sa_add *sa)
{
	sa->esn = 1;
}

/* Numbers go on across 2^32, at a takeover, too, though no packet shows the upper half. */
static void test_extended_numbers(void **state)
{
	const uint64_t turn = UINT64_C(3) << 32;
	struct child *gateway, *client, *other_client;
	uint64_t seq;

	make_pair(with_esn, &gateway, &client);
	child_activate(client, turn - 3, 0, 2);
	child_activate(gateway, 0, turn - 5, 2);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
		assert_true(seq == turn - 2 + i);
	}
	child_free(gateway);
	make_pair(with_esn, &gateway, &other_client);
	child_activate(gateway, 0, turn + 2, 3);
	assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
	assert_true(seq == turn + 4);
	/* An owner that thinks of another upper half takes nothing. */
	child_free(gateway);
	child_free(other_client);
	make_pair(with_esn, &gateway, &other_client);
	child_activate(gateway, 0, 1, 3);
	assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), -EBADMSG);
	child_free(gateway);
	child_free(client);
	child_free(other_client);
}

static void test_extended_ends_with_its_ivs(void **state)
{
	struct child *gateway, *client;
	uint8_t ip[40], out[200];
	size_t len;

	make_pair(with_esn, &gateway, &client);
	child_activate(gateway, UINT32_MAX, 0, 2);
	inner(ip, sizeof(ip), SERVER, CLIENT);
	assert_int_equal(
	    child_seal(gateway, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_false(child_expired(gateway, false, now));
	gateway->iv_used = 0xc0000000;
	assert_true(child_expired(gateway, false, now));
	assert_false(child_expired(gateway, true, now));
	gateway->iv_used = UINT64_C(1) << 32;
	assert_true(child_expired(gateway, true, now));
	assert_int_equal(
	    child_seal(gateway, 7, ip, sizeof(ip), out, sizeof(out), &len, now),
	    -EOVERFLOW);
	child_free(gateway);
	child_free(client);
}

/* IPv6 in IPv4: selectors of the other family beside those of the first. */
static void with_ipv6_inside(struct local_sa_add *sa)
{
	static uint8_t room[2][2][2 * LOCAL_TS_SIZE];
	uint8_t(*all)[2 * LOCAL_TS_SIZE] = room[sa->inbound];
	static const struct local_ts any = { .family = 6,
					     .to_port = 65535,
					     .from = { 0x20, 1 },
					     .to = { 0x20, 1, 0xff } };

	for (unsigned i = 0; i < 2; i++) {
		struct local_blob *list = i ? &sa->src_ts : &sa->dst_ts;
		struct pack p = pack_to(all[i] + LOCAL_TS_SIZE, LOCAL_TS_SIZE);

		memcpy(all[i], list->bytes, LOCAL_TS_SIZE);
		local_ts_put(&p, &any);
		*list = (struct local_blob){ all[i], sizeof(all[i]) };
	}
}

static void test_ipv6_inside(void **state)
{
	struct child *gateway, *client;
	uint8_t ip[60] = { 0x6b, 0x80, [5] = 20, 58, 64, 0x20, 1, [24] = 0x20, 1, 9 };
	uint8_t out[200], got[200];
	uint64_t seq;
	size_t len;

	make_pair(with_ipv6_inside, &gateway, &client);
	assert_true(child_selects(client, ip, sizeof(ip)));
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(child_open(gateway, out + OUTER, len - OUTER, 0, got,
				    sizeof(got), &len, &seq, now),
			 0);
	assert_int_equal(len, sizeof(ip));
	assert_memory_equal(got, ip, len);
	ip[9] = 2; /* a source that is nobody's */
	assert_false(child_selects(client, ip, sizeof(ip)));
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(child_open(gateway, out + OUTER, len - OUTER, 0, got,
				    sizeof(got), &len, &seq, now),
			 -EACCES);
	/* The routes: the client's address, and the prefix of its network. */
	assert_int_equal(gateway->prefixes[1].address.family, AF_INET6);
	child_free(gateway);
	child_free(client);
}

static void with_transport(struct local_sa_add *sa)
{
	static uint8_t room[2][2][LOCAL_TS_SIZE];
	uint8_t(*all)[LOCAL_TS_SIZE] = room[sa->inbound];

	for (unsigned i = 0; i < 2; i++) {
		const struct local_addr *a = i ? &sa->src : &sa->dst;
		struct pack p = pack_to(all[i], LOCAL_TS_SIZE);
		struct local_ts ts = { .family = 4, .to_port = 65535, .protocol = 17 };

		memcpy(ts.from, a->bytes, 16);
		memcpy(ts.to, a->bytes, 16);
		local_ts_put(&p, &ts);
		*(i ? &sa->src_ts : &sa->dst_ts) =
		    (struct local_blob){ all[i], LOCAL_TS_SIZE };
	}
	sa->mode = 0;
}

static void test_transport(void **state)
{
	static const uint8_t here[4] = { 192, 0, 2, 1 }, peer[4] = { 198, 51, 100, 7 };
	struct child *gateway, *client;
	uint8_t ip[48], out[200], got[200];
	uint64_t seq;
	size_t len;

	make_pair(with_transport, &gateway, &client);
	inner(ip, sizeof(ip), peer, here);
	ip[1] = 0x02;
	ip[9] = 17;
	memcpy(ip + 20, "\x06\xa5\x06\xa5\x00\x1c\x12\x34 a message of L2TPv2", 28);
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	/* The header went, and the padding: 8 + 8 + 28 + 2 + 2 + 16. */
	assert_int_equal(len - OUTER, 64);
	assert_int_equal(out[1], 0x02);
	assert_int_equal(child_open(gateway, out + OUTER, len - OUTER, out[1] | 1, got,
				    sizeof(got), &len, &seq, now),
			 0);
	assert_int_equal(len, sizeof(ip));
	assert_int_equal(got[1], 0x03);
	assert_int_equal(got[9], 17);
	assert_memory_equal(got + 12, peer, 4);
	assert_memory_equal(got + 16, here, 4);
	/* Its checksum was for other addresses, maybe. */
	assert_memory_equal(got + 20, ip + 20, 6);
	assert_memory_equal(got + 28, ip + 28, 20);
	assert_memory_not_equal(got + 26, ip + 26, 2);
	/* Selectors hold here, too, and a fragment is none of its packets. */
	ip[9] = 47;
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(child_open(gateway, out + OUTER, len - OUTER, 0, got,
				    sizeof(got), &len, &seq, now),
			 -EACCES);
	ip[7] = 1;
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), -EINVAL);
	child_free(gateway);
	child_free(client);
}

static void with_copies(struct local_sa_add *sa)
{
	sa->copy = LOCAL_COPY_ECN | LOCAL_COPY_DF | LOCAL_COPY_DSCP_OUT;
}

static void test_headers_share(void **state)
{
	struct child *gateway, *client;
	uint8_t ip[40], out[200], got[200];
	uint64_t seq;
	size_t len;

	make_pair(with_copies, &gateway, &client);
	inner(ip, sizeof(ip), CLIENT, SERVER);
	ip[1] = 0xb8;
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(out[1], 0xb8);
	assert_int_equal(out[6], 0);
	assert_int_equal(child_open(gateway, out + OUTER, len - OUTER, 0xbb, got,
				    sizeof(got), &len, &seq, now),
			 -EPROTO);
	ip[1] = 0xba;
	ip[6] = 0x40;
	assert_int_equal(
	    child_seal(client, 7, ip, sizeof(ip), out, sizeof(out), &len, now), 0);
	assert_int_equal(out[1], 0xba);
	assert_int_equal(out[6], 0x40);
	assert_int_equal(child_open(gateway, out + OUTER, len - OUTER, 0x03, got,
				    sizeof(got), &len, &seq, now),
			 0);
	assert_int_equal(got[1], 0xbb);
	child_free(gateway);
	child_free(client);
}

/* What fits just fits, and a byte more does not. */
static void test_room(void **state)
{
	static uint8_t ip[2000], out[2200];
	struct child *c = make(true);

	child_activate(c, 0, 0, 1);
	for (size_t mtu = 100; mtu < 1600; mtu++) {
		size_t room = child_room(c, mtu), len;

		for (size_t n = room; n <= room + 1; n++) {
			inner(ip, 40, SERVER, CLIENT);
			ip[2] = (uint8_t)(n >> 8);
			ip[3] = (uint8_t)n;
			assert_int_equal(
			    child_seal(c, 7, ip, n, out, sizeof(out), &len, now), 0);
			assert_int_equal(len <= mtu, n == room);
		}
	}
	assert_int_equal(child_room(c, 20), 0);
	assert_int_equal(child_room(c, OUTER + 8 + 8 + 16 + 3), 0);
	child_free(c);
}

static void with_limits(struct local_sa_add *sa)
{
	sa->soft_time = 100;
	sa->hard_time = 160;
	sa->soft_packets = 20;
	sa->hard_packets = 32;
	sa->hard_bytes = 16000;
}

static void test_lifetimes(void **state)
{
	struct child *gateway, *client;
	struct mono then = mono_add(now, 100 * MONO_SEC);
	uint64_t seq;

	make_pair(with_limits, &gateway, &client);
	assert_false(child_expired(gateway, false, mono_add(now, 100 * MONO_SEC - 1)));
	assert_true(child_expired(gateway, false, then));
	assert_false(child_expired(gateway, true, mono_add(now, 160 * MONO_SEC - 1)));
	assert_true(child_expired(gateway, true, mono_add(now, 160 * MONO_SEC)));
	for (unsigned i = 0; i < 20; i++) {
		assert_false(child_spent(gateway, false));
		assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
	}
	assert_true(child_spent(gateway, false));
	assert_true(child_spent(client, false));
	for (unsigned i = 20; i < 32; i++) {
		assert_false(child_spent(gateway, true));
		assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
	}
	assert_true(child_spent(gateway, true));
	gateway->in.packets = 0;
	assert_false(child_spent(gateway, true));
	gateway->out.bytes = 15999;
	assert_false(child_spent(gateway, true));
	gateway->out.bytes = 16000;
	assert_true(child_spent(gateway, true));
	child_free(gateway);
	child_free(client);
}

/* A joiner's copy, which it has had for a moment only. */
static void test_lifetimes_survive(void **state)
{
	struct child *gateway, *client, *joiner, *unused;
	struct mono then = mono_add(now, 90 * MONO_SEC);
	uint8_t usage[CHILD_USAGE_SIZE];
	uint64_t seq;
	size_t len;

	make_pair(with_limits, &gateway, &client);
	gateway->in.hard_packets = 64;
	assert_false(child_usage_due(gateway, now));
	assert_false(child_usage_due(gateway, mono_add(now, 9 * MONO_SEC)));
	assert_true(child_usage_due(gateway, mono_add(now, 10 * MONO_SEC)));
	assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
	assert_false(child_usage_due(gateway, now));
	for (unsigned i = 1; i < 10; i++)
		assert_int_equal(pass(client, gateway, CLIENT, SERVER, &seq), 0);
	assert_true(child_usage_due(gateway, now));
	len = child_usage_put(gateway, usage, then);
	assert_int_equal(len, sizeof(usage));
	assert_false(child_usage_due(gateway, then));

	make_pair(with_limits, &joiner, &unused);
	joiner->born = then;
	assert_int_equal(child_usage_take(joiner, usage, len, then), 0);
	assert_int_equal(joiner->in.packets, 10);
	assert_int_equal(joiner->in.bytes, 10 * 40);
	assert_false(child_expired(joiner, false, mono_add(then, 10 * MONO_SEC - 1)));
	assert_true(child_expired(joiner, false, mono_add(then, 10 * MONO_SEC)));
	/* What the record tells late is not told as progress; nothing ever gets less. */
	memset(usage, 0, sizeof(usage));
	assert_int_equal(child_usage_take(joiner, usage, len, then), 0);
	assert_int_equal(joiner->in.packets, 10);
	assert_true(child_age(joiner, then) == 90 * MONO_SEC);
	/* Two of 32 packets may be unknown. */
	child_assume(joiner);
	joiner->in.packets = 29;
	assert_false(child_spent(joiner, true));
	joiner->in.packets = 30;
	assert_true(child_spent(joiner, true));
	for (len = 1; len < sizeof(usage); len++)
		assert_int_equal(child_usage_take(joiner, usage, len, then), -EBADMSG);
	child_free(gateway);
	child_free(client);
	child_free(joiner);
	child_free(unused);
}

static void with_window(struct local_sa_add *sa)
{
	sa->window = 200;
}

static void with_small_window(struct local_sa_add *sa)
{
	sa->window = 32;
}

static void with_huge_window(struct local_sa_add *sa)
{
	sa->window = 100000;
}

static void test_windows(void **state)
{
	static const struct {
		void (*with)(struct local_sa_add *sa);
		uint32_t want;
	} cases[] = { { with_window, 200 },
		      { with_small_window, 64 },
		      { with_huge_window, 4096 } };

	for (unsigned i = 0; i < 3; i++) {
		struct child *gateway, *client;

		make_pair(cases[i].with, &gateway, &client);
		assert_int_equal(gateway->window.size, cases[i].want);
		child_free(gateway);
		child_free(client);
	}
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
		cmocka_unit_test(test_extended_numbers),
		cmocka_unit_test(test_extended_ends_with_its_ivs),
		cmocka_unit_test(test_ipv6_inside),
		cmocka_unit_test(test_transport),
		cmocka_unit_test(test_headers_share),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_lifetimes),
		cmocka_unit_test(test_lifetimes_survive),
		cmocka_unit_test(test_windows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
