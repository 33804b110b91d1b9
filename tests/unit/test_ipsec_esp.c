/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ESP through members: limits that hold across a takeover, packets that do not fit, and
 * packets that are not let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"
#include "tunnels/ipsec/inner.h"

#define PEER_SPI (0x11223344u + which)
#define L2TP 1701

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, 4500 };
static const struct local_addr client = { 4, { 198, 51, 100, 7 }, 1111 };
static const uint8_t SERVER[4] = { 10, 1, 0, 100 }, INNER[4] = { 10, 3, 0, 7 };
static bool transport; /* the next ones, for UDP port `served` of ours */
static uint16_t served = L2TP;
static unsigned which;		  /* of several clients the next one is */
static unsigned host;		  /* behind the NAT, on which it is */
static bool native;		  /* it says that there is none */
static const uint8_t *spoken_for; /* the address that it speaks for, if not its own */
static const uint8_t key[20] = "not much of a secret";

struct scene {
	struct node *owner, *successor;
	uint64_t ike;
	uint32_t spi;
	struct child *peer; /* the client's end */
};

static struct local_blob selector(uint8_t *buf, const uint8_t *from, uint8_t last)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	struct local_ts ts = { .family = 4, .to_port = 65535 };

	if (transport) {
		ts.protocol = 17;
		if (from == gateway.bytes)
			ts.from_port = ts.to_port = served;
	}
	memcpy(ts.from, from, 4);
	memcpy(ts.to, from, 4);
	ts.to[3] = last;
	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

static void make_ways(const struct scene *s, const struct local_sa_add *base,
		      struct local_sa_add *in, struct local_sa_add *out)
{
	static uint8_t server[LOCAL_TS_SIZE], inner[LOCAL_TS_SIZE];

	*in = *base;
	in->ike = s->ike;
	in->spi = s->spi;
	in->inbound = 1;
	in->encap = !native;
	in->mode = !transport;
	in->enc = ESP_ENCR_AES_GCM_16;
	in->enc_key = (struct local_blob){ key, sizeof(key) };
	in->src = client;
	in->src.port = (uint16_t)(client.port + host);
	in->dst = gateway;
	in->src_ts = transport
			 ? selector(inner, spoken_for ? spoken_for : client.bytes, 7)
			 : selector(inner, INNER, 7);
	in->dst_ts = transport ? selector(server, gateway.bytes, 1)
			       : selector(server, SERVER, 255);
	*out = *in;
	out->spi = PEER_SPI;
	out->inbound = 0;
	out->src = gateway;
	out->dst = in->src;
	out->src_ts = in->dst_ts;
	out->dst_ts = in->src_ts;
}

/* The other end of the same two SAs. */
static struct child *make_peer(const struct scene *s, struct local_sa_add in,
			       struct local_sa_add out)
{
	static uint8_t initial[4096];
	const struct local_child_put put = { .ike = s->ike,
					     .spi_in = PEER_SPI,
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

static struct scene begin(const struct local_sa_add *base)
{
	struct scene s = { .owner = &gateways[2] };
	struct local_message m = { .type = LOCAL_IKE_PUT };
	struct cluster_unit_state state = { 0 };
	struct local_sa_add in, out;
	unit_id u;

	for (u = 5; u < CLUSTER_UNITS; u++) {
		cluster_unit(s.owner->c, u, &state);
		if (state.owner == s.owner->id && state.successor)
			break;
	}
	assert_true(u < CLUSTER_UNITS);
	s.successor = &gateways[state.successor];
	s.ike = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + u;
	s.spi = 0xc0000000u + u;
	s.ike += which * CLUSTER_UNITS;
	s.spi += which * CLUSTER_UNITS;
	m.ike_put = (struct local_ike_put){
		.spi = s.ike, .peer_spi = 7, .local = gateway, .remote = client
	};
	gateways_say(s.owner, &m);
	make_ways(&s, base, &in, &out);
	m = (struct local_message){ .type = LOCAL_SA_ADD, .sa_add = in };
	gateways_say(s.owner, &m);
	m.sa_add = out;
	gateways_say(s.owner, &m);
	m = (struct local_message){ .type = LOCAL_CHILD_PUT };
	m.child_put.ike = s.ike;
	m.child_put.spi_in = s.spi;
	m.child_put.spi_out = PEER_SPI;
	gateways_say(s.owner, &m);
	gateways_run(50);
	s.peer = make_peer(&s, in, out);
	EACH_NODE(n)
		gateways_forget(n);
	return s;
}

static uint64_t statistic(const struct node *n, const char *name)
{
	struct statistic all[128];
	size_t count = ipsec_ops.statistics(n->t, all, 128);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(all[i].name, name))
			return all[i].value;
	fail_msg("no statistic %s", name);
	return 0;
}

static void make_inner(uint8_t *ip, size_t len, const uint8_t *src, const uint8_t *dst,
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

/* From the inside towards the client. */
static void forward(struct node *n, size_t len, bool whole)
{
	static uint8_t ip[1500];
	const struct packet packet = { .bytes = ip, .len = len, .checksum_ready = true };

	make_inner(ip, len, SERVER, INNER, whole);
	ipsec_ops.forward(n->t, &packet, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

static void receive(struct node *n, const uint8_t *bytes, size_t len)
{
	const struct packet packet = { .bytes = bytes,
				       .len = len,
				       .checksum_ready = true };

	ipsec_ops.receive(n->t, &packet, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

static size_t seal(struct scene *s, const uint8_t *src, const uint8_t *dst, uint8_t *out,
		   size_t size)
{
	uint8_t ip[60];
	size_t len;

	make_inner(ip, sizeof(ip), src, dst, false);
	assert_int_equal(
	    child_seal(s->peer, 9, ip, sizeof(ip), out, size, &len, gateways_now), 0);
	return len;
}

static void expires(struct node *n, const struct scene *s, bool hard)
{
	struct local_message m;

	assert_true(gateways_hear(n, LOCAL_SA_EXPIRE, &m));
	assert_int_equal(m.sa_expire.spi, s->spi);
	assert_int_equal(m.sa_expire.hard, hard);
}

static void test_limits_hold_across_a_takeover(void **state)
{
	const struct local_sa_add limits = { .soft_packets = 20, .hard_packets = 32 };
	struct scene s = begin(&limits);
	struct local_message m;
	uint64_t before;

	for (unsigned i = 0; i < 19; i++)
		forward(s.owner, 60, false);
	assert_int_equal(s.owner->nsent, 19);
	assert_false(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
	forward(s.owner, 60, false);
	expires(s.owner, &s, false);
	/* Once only. */
	forward(s.owner, 60, false);
	assert_false(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
	gateways_run(6000);

	gateways_kill(s.owner);
	gateways_run(6000);
	expires(s.successor, &s, false);
	/* The 21 of the record, and two that it might not know of. */
	gateways_forget(s.successor);
	for (unsigned i = 0; i < 9; i++)
		forward(s.successor, 60, false);
	expires(s.successor, &s, true);
	gateways_run(50);
	assert_int_equal(s.successor->nsent, 9);
	before = statistic(s.successor, "ipsec.esp-beyond-lifetime");
	forward(s.successor, 60, false);
	assert_int_equal(s.successor->nsent, 9);
	assert_int_equal(statistic(s.successor, "ipsec.esp-beyond-lifetime"), before + 1);
	child_free(s.peer);
}

static void test_time_is_not_given_twice(void **state)
{
	const struct local_sa_add limits = { .soft_time = 40, .hard_time = 3600 };
	struct scene s = begin(&limits);
	struct local_message m;
	struct child *c;

	gateways_run(20000);
	gateways_kill(s.owner);
	gateways_run(10000);
	assert_false(gateways_hear(s.successor, LOCAL_SA_EXPIRE, &m));
	c = child_find(s.successor->t, s.spi);
	assert_non_null(c);
	assert_true(child_age(c, gateways_now) >= 29 * MONO_SEC);
	gateways_run(16000);
	expires(s.successor, &s, false);
	child_free(s.peer);
}

static void test_what_does_not_fit(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct scene s = begin(&copies);
	const uint8_t *icmp = s.owner->inside + 20;
	struct ip_packet ip;
	size_t room;

	s.owner->t->config.mtu = 500;
	room = child_room(child_find(s.owner->t, s.spi), 500);
	forward(s.owner, room, true);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(s.owner->sent[0][6], 0x40);
	forward(s.owner, room + 1, true);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(s.owner->ninside, 1);
	assert_memory_equal(s.owner->inside + 16, SERVER, 4);
	assert_int_equal(icmp[0], 3);
	assert_int_equal(icmp[1], 4);
	assert_int_equal(icmp[6] << 8 | icmp[7], room);
	assert_int_equal(statistic(s.owner, "ipsec.esp-too-big"), 1);
	/* What may be fragmented is, outside. */
	s.owner->t->config.mtu = 300;
	forward(s.owner, 500, false);
	assert_int_equal(s.owner->nsent, 3);
	assert_int_equal(statistic(s.owner, "ipsec.esp-fragmented"), 1);
	for (unsigned i = 1; i < 3; i++) {
		assert_true(s.owner->sent_len[i] <= 300);
		assert_int_equal(s.owner->sent[i][6] & 0x40, 0);
		assert_int_equal(s.owner->sent[i][6] & 0x20, i == 1 ? 0x20 : 0);
		assert_memory_equal(s.owner->sent[i] + 4, s.owner->sent[1] + 4, 2);
	}
	assert_int_equal(ip_read(s.owner->sent[0], s.owner->sent_len[0], &ip), 0);
	child_free(s.peer);
}

/* Their numbers tell nobody what else was sent. */
static void test_fragments_have_no_order(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct scene s = begin(&copies);
	unsigned ordered = 0, last = 0;

	ipsec_ops.mtu(s.owner->t, 300);
	for (unsigned i = 0; i < 16; i++) {
		unsigned id;

		s.owner->nsent = 0;
		forward(s.owner, 500, false);
		assert_int_equal(s.owner->nsent, 2);
		id = (unsigned)s.owner->sent[0][4] << 8 | s.owner->sent[0][5];
		ordered += i && id - last <= 16;
		last = id;
	}
	assert_true(ordered < 4);
	child_free(s.peer);
}

/* A packet of the peer's, through a NAT that gives it this port. */
static void hear_from(struct scene *s, uint8_t *bytes, size_t len, uint16_t port)
{
	bytes[20] = (uint8_t)(port >> 8);
	bytes[21] = (uint8_t)port;
	receive(s->owner, bytes, len);
}

static void test_a_nat_that_changes_is_followed(void **state)
{
	const struct local_sa_add none = { 0 };
	struct scene s = begin(&none);
	uint8_t early[200], late[200];
	size_t len = seal(&s, INNER, SERVER, early, sizeof(early));
	struct local_message m = { .type = LOCAL_SA_UPDATE };
	const uint8_t *udp = s.owner->sent[0] + 20;

	/* From where it was; then from elsewhere; then a replay, from elsewhere still. */
	hear_from(&s, early, len, client.port);
	assert_false(gateways_hear(s.owner, LOCAL_SA_MOVED, &m));
	seal(&s, INNER, SERVER, early, sizeof(early));
	seal(&s, INNER, SERVER, late, sizeof(late));
	hear_from(&s, late, len, 2222);
	assert_true(gateways_hear(s.owner, LOCAL_SA_MOVED, &m));
	assert_int_equal(m.sa_moved.spi, s.spi);
	assert_int_equal(m.sa_moved.src.port, 2222);
	assert_memory_equal(m.sa_moved.src.bytes, client.bytes, 4);
	gateways_run(2000);
	hear_from(&s, late, len, 3333);
	hear_from(&s, early, len, 3333);
	assert_false(gateways_hear(s.owner, LOCAL_SA_MOVED, &m));

	/* Nothing goes there before the successor knows. */
	gateways_stopped = true;
	m = (struct local_message){ .type = LOCAL_SA_UPDATE };
	m.sa_update.spi = PEER_SPI;
	m.sa_update.src = gateway;
	m.sa_update.dst = m.sa_update.was = client;
	m.sa_update.dst.port = 2222;
	m.sa_update.encap = 1;
	gateways_say(s.owner, &m);
	forward(s.owner, 60, false);
	assert_int_equal(s.owner->nsent, 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(udp[2] << 8 | udp[3], 2222);
	assert_int_equal(child_find(s.successor->t, s.spi)->out.dst.port, 2222);
	child_free(s.peer);
}

/* A router quotes a packet of ours. */
static void test_a_shorter_path(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct scene s = begin(&copies);
	struct child *c = child_find(s.owner->t, s.spi);
	uint8_t quoted[36];

	s.owner->t->config.mtu = 1500;
	forward(s.owner, 60, true);
	memcpy(quoted, s.owner->sent[0], sizeof(quoted));
	/* What an SPI that is not ours, or one that is missing, says is not believed. */
	quoted[30] ^= 1;
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 700, gateways_now);
	quoted[30] ^= 1;
	ipsec_ops.too_long(s.owner->t, quoted, 28, 700, gateways_now);
	quoted[14] ^= 1; /* of the source address */
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 700, gateways_now);
	quoted[14] ^= 1;
	assert_int_equal(statistic(s.owner, "ipsec.path-mtu-refused"), 3);
	assert_int_equal(c->path_mtu, 0);

	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 700, gateways_now);
	assert_int_equal(c->path_mtu, 700);
	/* Never more, and never less than what every path takes. */
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 1400, gateways_now);
	assert_int_equal(c->path_mtu, 700);
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 1, gateways_now);
	assert_int_equal(c->path_mtu, 576);
	forward(s.owner, 600, true);
	assert_int_equal(statistic(s.owner, "ipsec.esp-too-big"), 1);
	assert_int_equal(s.owner->ninside, 1);
	/* Paths change: it is tried again. */
	assert_true(gateways_now.ns > 601 * MONO_SEC);
	c->path_mtu_since.ns = gateways_now.ns - 601 * MONO_SEC;
	forward(s.owner, 400, true);
	assert_int_equal(c->path_mtu, 0);
	child_free(s.peer);
}

static void test_bad_packets(void **state)
{
	static const struct local_sa_add none;
	static const uint8_t stranger[4] = { 10, 3, 0, 8 }, beyond[4] = { 10, 1, 1, 0 };
	struct scene s = begin(&none);
	uint8_t good[300], bad[300];
	size_t len = seal(&s, INNER, SERVER, good, sizeof(good));

	memcpy(bad, good, len);
	bad[len - 1] ^= 1;
	receive(s.owner, bad, len);
	assert_int_equal(statistic(s.owner, "ipsec.esp-bad-icv"), 1);
	memcpy(bad, good, len);
	bad[29] ^= 1; /* of the SPI, behind IP and UDP */
	receive(s.owner, bad, len);
	assert_int_equal(statistic(s.owner, "ipsec.esp-unknown-spi"), 1);
	for (size_t cut = 36; cut < len; cut++) {
		memcpy(bad, good, cut);
		bad[2] = 0;
		bad[3] = (uint8_t)cut;
		bad[24] = 0;
		bad[25] = (uint8_t)(cut - 20);
		receive(s.owner, bad, cut);
	}
	assert_int_equal(statistic(s.owner, "ipsec.esp-bad-icv") - 1 +
			     statistic(s.owner, "ipsec.esp-malformed"),
			 len - 36);
	assert_int_equal(s.owner->ninside, 0);
	receive(s.owner, good, len);
	gateways_run(20);
	assert_int_equal(s.owner->ninside, 1);
	receive(s.owner, good, len);
	assert_int_equal(statistic(s.owner, "ipsec.esp-replay"), 1);
	len = seal(&s, stranger, SERVER, good, sizeof(good));
	receive(s.owner, good, len);
	len = seal(&s, INNER, beyond, good, sizeof(good));
	receive(s.owner, good, len);
	assert_int_equal(statistic(s.owner, "ipsec.esp-outside-selector"), 2);
	gateways_run(20);
	assert_int_equal(s.owner->ninside, 1);
	/* Outbound: no child is for such a packet, and none goes in clear. */
	make_inner(bad, 60, beyond, INNER, false);
	ipsec_ops.forward(s.owner->t, &(struct packet){ .bytes = bad, .len = 60 },
			  gateways_now);
	assert_int_equal(statistic(s.owner, "ipsec.no-route"), 1);
	assert_int_equal(s.owner->nsent, 0);
	child_free(s.peer);
}

/* UDP in transport mode; from the peer, or to it. Its checksum is right. */
static void make_udp(uint8_t ip[60], bool from_peer, uint16_t peers, uint16_t ours)
{
	uint16_t source = from_peer ? peers : ours,
		 destination = from_peer ? ours : peers;
	struct selector_flow f;

	if (from_peer)
		make_inner(ip, 60, client.bytes, gateway.bytes, false);
	else
		make_inner(ip, 60, gateway.bytes, client.bytes, false);
	ip[20] = (uint8_t)(source >> 8);
	ip[21] = (uint8_t)source;
	ip[22] = (uint8_t)(destination >> 8);
	ip[23] = (uint8_t)destination;
	ip[25] = 40;
	ip[26] = 1; /* there is one */
	ip[40] = (uint8_t)which;
	assert_int_equal(selector_read(ip, 60, &f), 0);
	inner_checksum(ip, &f);
}

static void send_udp(struct scene *s, uint16_t peers, uint16_t ours)
{
	uint8_t ip[60], sealed[300];
	size_t len;

	make_udp(ip, true, peers, ours);
	assert_int_equal(child_seal(s->peer, 9, ip, sizeof(ip), sealed, sizeof(sealed),
				    &len, gateways_now),
			 0);
	receive(s->owner, sealed, len);
	gateways_run(20);
}

static void answer_udp(struct scene *s, uint16_t peers, uint16_t ours)
{
	uint8_t ip[60];

	make_udp(ip, false, peers, ours);
	ipsec_ops.forward(s->owner->t, &(struct packet){ .bytes = ip, .len = 60 },
			  gateways_now);
	gateways_run(20);
}

static uint16_t port_at(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* The port that the kernel sees the peer's last packet come from. */
static uint16_t inside_port(const struct scene *s)
{
	uint8_t copy[60];
	struct selector_flow f;

	assert_int_equal(s->owner->inside_len, 60);
	memcpy(copy, s->owner->inside, 60);
	assert_memory_equal(copy + 12, client.bytes, 4);
	assert_memory_equal(copy + 16, gateway.bytes, 4);
	assert_int_equal(selector_read(copy, 60, &f), 0);
	inner_checksum(copy, &f);
	assert_memory_equal(copy, s->owner->inside, 60);
	return f.source_port;
}

/* The last packet that left is sealed, and this peer's; to which port it is. */
static uint16_t opened_port(const struct scene *s)
{
	const struct node *n = s->owner;
	uint8_t ip[300];
	uint64_t seq;
	size_t len;

	assert_true(n->nsent > 0);
	assert_int_equal(child_open(s->peer, n->sent[n->nsent - 1] + 28,
				    n->sent_len[n->nsent - 1] - 28, 0, ip, sizeof(ip),
				    &len, &seq, gateways_now),
			 0);
	return port_at(ip + 22);
}

static struct scene begin_transport(unsigned client_number)
{
	static const struct local_sa_add none;
	struct scene s;

	transport = true;
	which = client_number;
	host = client_number;
	s = begin(&none);
	transport = false;
	host = 0;
	return s;
}

/*
 * The peer of transport mode stands outside, so that no route leads to it; the kernel gets
 * its packets and says what it has to say to it through the SA.
 */
static void test_transport_mode(void **state)
{
	struct scene s = begin_transport(0);
	uint8_t ip[60];

	EACH_NODE(n) {
		assert_int_equal(n->routes, 0);
		assert_int_equal(n->peers, 1);
	}
	send_udp(&s, 4000, L2TP);
	assert_int_equal(s.owner->ninside, 1);
	assert_int_equal(inside_port(&s), 4000);
	answer_udp(&s, 4000, L2TP);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(opened_port(&s), 4000);
	/* What another member's kernel says goes to the owner. */
	make_udp(ip, false, 4000, L2TP);
	ipsec_ops.forward(s.successor->t, &(struct packet){ .bytes = ip, .len = 60 },
			  gateways_now);
	assert_int_equal(s.successor->again, 1);
	assert_int_equal(s.successor->nsent, 0);
	/* Selectors hold in both directions; what they do not cover is no business of ESP. */
	send_udp(&s, 4000, 1702);
	assert_int_equal(s.owner->ninside, 1);
	assert_int_equal(statistic(s.owner, "ipsec.esp-outside-selector"), 1);
	answer_udp(&s, 4000, 1702);
	assert_int_equal(s.owner->nsent, 2);
	make_udp(ip, false, 4000, 1702);
	assert_int_equal(s.owner->sent_len[1], 60);
	assert_memory_equal(s.owner->sent[1], ip, 60);
	assert_int_equal(statistic(s.owner, "ipsec.transport-outside-selector"), 1);
	/* Nobody can tell what is in a fragment. */
	make_udp(ip, false, 4000, L2TP);
	ip[7] = 1;
	ipsec_ops.forward(s.owner->t, &(struct packet){ .bytes = ip, .len = 60 },
			  gateways_now);
	assert_int_equal(s.owner->nsent, 2);
	child_free(s.peer);
}

/* Both use the same port: the kernel sees two, and each gets its own answers. */
static void test_two_peers_behind_one_nat(void **state)
{
	struct scene a = begin_transport(0), b = begin_transport(1);
	struct local_message m = { .type = LOCAL_SA_DEL };
	uint16_t first, second;

	EACH_NODE(n)
		assert_int_equal(n->peers, 2);
	which = 0;
	send_udp(&a, L2TP, L2TP);
	first = inside_port(&a);
	assert_int_equal(first, L2TP);
	which = 1;
	send_udp(&b, L2TP, L2TP);
	second = inside_port(&b);
	assert_int_not_equal(second, L2TP);
	send_udp(&b, L2TP, L2TP);
	assert_int_equal(inside_port(&b), second);
	assert_int_equal(b.owner->inside[40], 1);
	answer_udp(&b, second, L2TP);
	assert_int_equal(opened_port(&b), L2TP);
	which = 0;
	answer_udp(&a, first, L2TP);
	assert_int_equal(opened_port(&a), L2TP);
	assert_int_equal(a.owner->nsent, 2);
	/* To whom else it might be, nobody knows. */
	answer_udp(&a, 5555, L2TP);
	assert_int_equal(a.owner->nsent, 2);
	assert_int_equal(statistic(a.owner, "ipsec.transport-conflict"), 1);
	/* The one that stays keeps its port, and is the only one again. */
	m.sa_del.spi = a.spi;
	m.sa_del.inbound = 1;
	m.sa_del.dst = gateway;
	gateways_say(a.owner, &m);
	gateways_run(20);
	EACH_NODE(n)
		assert_int_equal(n->peers, 1);
	which = 1;
	answer_udp(&b, second, L2TP);
	assert_int_equal(opened_port(&b), L2TP);
	answer_udp(&b, 5555, L2TP);
	assert_int_equal(opened_port(&b), 5555);
	child_free(a.peer);
	child_free(b.peer);
	which = 0;
}

/* Who speaks for another address than its own in transport mode has no CHILD SA. */
static void test_transport_is_from_host_to_host(void **state)
{
	static const uint8_t neighbour[4] = { 198, 51, 100, 8 };
	struct local_message m = { .type = LOCAL_SA_ADD };
	struct scene s = { .owner = &gateways[2],
			   .ike = 0xabcdef0123456405,
			   .spi = 0xc0000405 };
	static const struct local_sa_add none;
	struct local_sa_add in, out;

	for (unsigned wide = 0; wide < 2; wide++) {
		uint8_t network[LOCAL_TS_SIZE];

		transport = true;
		spoken_for = wide ? NULL : neighbour;
		make_ways(&s, &none, &in, &out);
		if (wide)
			in.src_ts = out.dst_ts = selector(network, client.bytes, 255);
		transport = false;
		spoken_for = NULL;
		m = (struct local_message){ .type = LOCAL_SA_ADD, .sa_add = in };
		gateways_say(s.owner, &m);
		m.sa_add = out;
		gateways_say(s.owner, &m);
		m = (struct local_message){ .type = LOCAL_CHILD_PUT };
		m.child_put.ike = s.ike;
		m.child_put.spi_in = s.spi;
		m.child_put.spi_out = PEER_SPI;
		gateways_say(s.owner, &m);
		gateways_run(50);
		assert_true(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
		assert_int_equal(m.sa_expire.spi, s.spi);
		assert_true(m.sa_expire.hard);
		EACH_NODE(n)
			assert_int_equal(n->peers, 0);
	}
}

/* One that says it has the NAT's own address is not taken for somebody behind it, and what
 * another member's kernel has to say goes to nobody if it could be for both. */
static void test_a_peer_beside_the_nat(void **state)
{
	struct scene a, b;
	uint8_t ip[60];

	a = begin_transport(0);
	send_udp(&a, L2TP, L2TP);
	assert_int_equal(inside_port(&a), L2TP);
	native = true;
	b = begin_transport(1);
	native = false;
	send_udp(&b, L2TP, L2TP);
	assert_int_not_equal(inside_port(&b), L2TP);
	which = 0;
	answer_udp(&a, L2TP, L2TP);
	assert_int_equal(opened_port(&a), L2TP);
	make_udp(ip, false, L2TP, L2TP);
	ipsec_ops.forward(a.owner->t,
			  &(struct packet){ .bytes = ip, .len = 60, .hops = 1 },
			  gateways_now);
	assert_int_equal(a.owner->nsent, 1);
	assert_int_equal(statistic(a.owner, "ipsec.transport-conflict"), 1);
	child_free(a.peer);
	child_free(b.peer);
}

/* The same host logs in again before it leaves: the kernel sees no other port. */
static void test_transport_goes_on_after_reauthentication(void **state)
{
	static const struct local_sa_add none;
	struct scene a = begin_transport(0), b;

	send_udp(&a, L2TP, L2TP);
	transport = true;
	which = 1;
	b = begin(&none);
	transport = false;
	send_udp(&b, L2TP, L2TP);
	assert_int_equal(inside_port(&b), L2TP);
	answer_udp(&b, L2TP, L2TP);
	assert_int_equal(opened_port(&b), L2TP);
	which = 0;
	child_free(a.peer);
	child_free(b.peer);
}

/* A host with two IKE SAs: what the one has heard is answered in it, whatever the other one
 * has heard since; and if it ends, neither in clear nor to somebody else behind the NAT. */
static void test_a_host_with_two_ike_sas(void **state)
{
	struct scene a = begin_transport(0), b, neighbour;
	struct local_message m = { .type = LOCAL_SA_DEL };
	static const struct local_sa_add none;

	served = 1702;
	transport = true;
	which = 1;
	b = begin(&none);
	served = L2TP;
	transport = false;
	which = 0;
	send_udp(&a, 4000, L2TP);
	send_udp(&b, 4000, 1702);
	assert_int_equal(a.owner->ninside, 2);
	answer_udp(&a, 4000, L2TP);
	assert_int_equal(opened_port(&a), 4000);
	answer_udp(&b, 4000, 1702);
	assert_int_equal(opened_port(&b), 4000);
	neighbour = begin_transport(2);
	which = 0;
	m.sa_del.spi = a.spi;
	m.sa_del.inbound = 1;
	m.sa_del.dst = gateway;
	gateways_say(a.owner, &m);
	gateways_run(20);
	answer_udp(&a, 4000, L2TP);
	assert_int_equal(a.owner->nsent, 2);
	assert_int_equal(statistic(a.owner, "ipsec.transport-conflict"), 1);
	assert_int_equal(statistic(a.owner, "ipsec.transport-outside-selector"), 0);
	child_free(a.peer);
	child_free(b.peer);
	child_free(neighbour.peer);
}

/* However many are refused, one line is written in a second. */
static void test_audit(void **state)
{
	static const struct local_sa_add none;
	struct scene s = begin(&none);
	struct ipsec *t = s.owner->t;
	uint8_t bad[300];
	size_t len = seal(&s, INNER, SERVER, bad, sizeof(bad));

	bad[len - 1] ^= 1;
	receive(s.owner, bad, len);
	assert_true(t->audited.ns == gateways_now.ns);
	for (unsigned i = 0; i < 10; i++)
		receive(s.owner, bad, len);
	assert_int_equal(t->unaudited, 10);
	gateways_run(1000);
	receive(s.owner, bad, len);
	assert_true(t->audited.ns == gateways_now.ns);
	assert_int_equal(t->unaudited, 0);
	child_free(s.peer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, gateways_start, gateways_stop)
		T(test_limits_hold_across_a_takeover),
		T(test_time_is_not_given_twice),
		T(test_what_does_not_fit),
		T(test_bad_packets),
		T(test_transport_mode),
		T(test_a_nat_that_changes_is_followed),
		T(test_two_peers_behind_one_nat),
		T(test_transport_is_from_host_to_host),
		T(test_a_peer_beside_the_nat),
		T(test_transport_goes_on_after_reauthentication),
		T(test_a_host_with_two_ike_sas),
		T(test_a_shorter_path),
		T(test_fragments_have_no_order),
		T(test_audit),
#undef T
	};

	if (geteuid()) {
		printf("skipped: the plugin's socket needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
