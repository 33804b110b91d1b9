/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions change their owner: what a client sees stays right, and nothing is said twice
 * in different words. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"

#define PEER_SPI UINT64_C(0x7777777777777777)

/* Messages. */

static const struct local_addr gateway4 = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr client4 = { 4, { 198, 51, 100, 7 }, IKE_PORT };
static const struct local_addr gateway6 = { 6, { 0x20, 1, [15] = 1 }, IKE_PORT };
static const struct local_addr client6 = { 6, { 0x20, 2, [15] = 7 }, IKE_PORT };

/* Outside, as the test runs. */
static struct local_addr gateway, client;
static size_t outer;

struct ike {
	size_t len;
	uint8_t bytes[64];
};

/* From the client, who is the initiator, or to it. */
static struct ike ike(uint64_t spi, bool from_client, bool response, uint32_t mid,
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

static void receive(struct node *n, const struct ike *m)
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

static void transmit(struct node *n, const struct ike *m)
{
	struct local_message tx = { .type = LOCAL_IKE_TX };

	tx.ike_tx.src = gateway;
	tx.ike_tx.dst = client;
	tx.ike_tx.packet = (struct local_blob){ m->bytes, m->len };
	gateways_say(n, &tx);
}

static unsigned times_sent(const struct node *n, const struct ike *m)
{
	unsigned times = 0;

	for (unsigned i = 0; i < n->nsent; i++)
		times += n->sent_len[i] == outer + m->len &&
			 !memcmp(n->sent[i] + outer, m->bytes, m->len);
	return times;
}

/* A message of IKEv1, from either side. */
static struct ike isakmp(uint64_t spi, uint32_t mid, uint8_t filling)
{
	struct ike out = ike(spi, false, false, mid, filling);

	out.bytes[27] = (uint8_t)(out.len = IKE_HEADER_SIZE + IKE_MARKED_SIZE);
	memset(out.bytes + IKE_HEADER_SIZE, filling, IKE_MARKED_SIZE);
	out.bytes[16] = 8;
	out.bytes[17] = 0x10;
	out.bytes[18] = 32; /* quick mode */
	out.bytes[19] = 1;  /* encrypted */
	return out;
}

static void establish_as(struct node *n, uint64_t spi, uint8_t version)
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

static void establish(struct node *n, uint64_t spi)
{
	establish_as(n, spi, 2);
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

static void put_child(struct node *n, uint64_t spi, uint32_t spi_in)
{
	struct local_message put = { .type = LOCAL_CHILD_PUT };

	put.child_put.ike = spi;
	put.child_put.spi_in = spi_in;
	put.child_put.spi_out = 0x11223344;
	gateways_say(n, &put);
}

static void add_child(struct node *n, uint64_t spi, uint32_t spi_in)
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

/* A unit of this member, and whoever takes it over. */
static unit_id unit_of(const struct node *n, struct node **successor)
{
	struct cluster_unit_state state;

	for (unit_id u = 5; u < CLUSTER_UNITS; u++) {
		cluster_unit(n->c, u, &state);
		if (state.owner == n->id && state.successor) {
			*successor = &gateways[state.successor];
			return u;
		}
	}
	fail_msg("member %u has no unit", n->id);
	return 0;
}

/* A member, a unit of it with an IKE SA, and the member that takes it over. */
struct scene {
	struct node *owner, *successor;
	unit_id unit;
	uint64_t spi;
};

static struct scene begin(void)
{
	struct scene s = { .owner = &gateways[2] };

	s.unit = unit_of(s.owner, &s.successor);
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	establish(s.owner, s.spi);
	EACH_NODE(n)
		gateways_forget(n);
	return s;
}

/* Tests. */

static void test_a_takeover_goes_on_where_the_owner_was(void **state)
{
	struct scene s = begin();
	struct ike request = ike(s.spi, true, false, 2, 'q');
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike next = ike(s.spi, true, false, 3, 'n');
	struct ike response = ike(s.spi, true, true, 0, 'r');
	struct local_message m;

	receive(s.owner, &request);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	transmit(s.owner, &answer);
	transmit(s.owner, &ours);
	assert_int_equal(times_sent(s.owner, &answer), 1);
	assert_int_equal(times_sent(s.owner, &ours), 1);

	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_true(m.ike_import.spi == s.spi);
	assert_int_equal(m.ike_import.recv_mid, 3);
	assert_int_equal(m.ike_import.send_mid, 1);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_ACTIVATE, &m));

	gateways_run(100);
	assert_int_equal(times_sent(s.successor, &ours), 1);
	receive(s.successor, &request);
	assert_int_equal(times_sent(s.successor, &answer), 1);
	receive(s.successor, &response);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	gateways_run(3000);
	assert_int_equal(times_sent(s.successor, &ours), 1);
	receive(s.successor, &next);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
}

static void test_an_ikev1_sa_is_known_by_its_requests(void **state)
{
	struct scene s = begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	struct ike request = isakmp(spi, 0xa0b1c2d3, 'q');
	struct ike answer = isakmp(spi, 0xa0b1c2d3, 'a');
	struct ike third = isakmp(spi, 0xa0b1c2d3, 't');
	struct ike ours = isakmp(spi, 0x01020304, 'o');
	struct ike other = ike(spi, true, false, 2, 'n');
	struct ike another = ike(spi, false, true, 2, 'm');
	struct local_message m;

	establish_as(s.owner, spi, 1);
	receive(s.owner, &request);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	transmit(s.owner, &answer);
	transmit(s.owner, &ours);
	assert_int_equal(times_sent(s.owner, &answer), 1);
	assert_int_equal(times_sent(s.owner, &ours), 1);
	/* A message of another version of IKE with its SPI. */
	receive(s.owner, &other);
	transmit(s.owner, &another);
	assert_false(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	assert_int_equal(times_sent(s.owner, &another), 0);

	gateways_kill(s.owner);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != spi);
	gateways_run(3000);
	/* What was informed of is not repeated, what was answered is, and no more. */
	assert_int_equal(times_sent(s.successor, &ours), 0);
	receive(s.successor, &request);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	assert_int_equal(times_sent(s.successor, &answer), 1);
	receive(s.successor, &third);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
}

static void say_heard(struct node *n, uint64_t spi, const struct ike *message)
{
	struct local_message m = { .type = LOCAL_IKE_HEARD };

	m.ike_heard.spi = spi;
	m.ike_heard.packet = (struct local_blob){ message->bytes, message->len };
	gateways_say(n, &m);
}

/* Whether charon gets to see it, from another address than the peer's. */
static bool is_taken_elsewhere(struct node *n, const struct ike *message)
{
	const struct local_addr peer = client;
	struct local_message m;

	client.bytes[3]++;
	receive(n, message);
	client = peer;
	return gateways_hear(n, LOCAL_IKE_RX, &m);
}

/* charon would follow whoever says again what an IKEv1 peer has said. */
static void test_nobody_says_again_what_an_ikev1_peer_has_said(void **state)
{
	struct scene s = begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	struct ike early = isakmp(spi, 0x11111111, 'e');
	struct ike late = isakmp(spi, 0x22222222, 'l');
	struct ike forged = isakmp(spi, 0x33333333, 'f');
	struct ike other = isakmp(spi, 0x44444444, 'o');
	struct ike wrapped = { .len = 64 };
	struct local_message m;

	/* The one before it is established, after charon's first answer. */
	transmit(s.owner, &other);
	receive(s.owner, &early);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	say_heard(s.owner, spi, &early);
	establish_as(s.owner, spi, 1);
	receive(s.owner, &late);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	say_heard(s.owner, spi, &late);
	gateways_run(100);
	assert_false(is_taken_elsewhere(s.owner, &early));
	assert_false(is_taken_elsewhere(s.owner, &late));
	assert_int_equal(statistic(s.owner, "ipsec.ike-replayed-elsewhere"), 2);
	/* Where the peer is it may be a repetition, which charon knows. */
	receive(s.owner, &late);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	/* What charon has not found authentic is not kept from being said. */
	receive(s.owner, &forged);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	assert_true(is_taken_elsewhere(s.owner, &forged));

	gateways_kill(s.owner);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != spi);
	gateways_forget(s.successor);
	/* In a header that nothing protects. */
	late.bytes[19] |= 0x02;
	assert_false(is_taken_elsewhere(s.successor, &early));
	assert_false(is_taken_elsewhere(s.successor, &late));
	/* As a fragment so short that nobody can tell of what. */
	memcpy(wrapped.bytes, late.bytes, IKE_HEADER_SIZE);
	wrapped.bytes[16] = 132;
	wrapped.bytes[27] = (uint8_t)wrapped.len;
	wrapped.bytes[IKE_HEADER_SIZE + 6] = 1;
	assert_false(is_taken_elsewhere(s.successor, &wrapped));
	assert_int_equal(statistic(s.successor, "ipsec.ike-replayed-elsewhere"), 3);
	/* A peer that has moved says something new. */
	assert_true(is_taken_elsewhere(s.successor, &other));
}

/* Anybody can make up SPIs. */
static void test_a_login_is_not_forgotten_for_made_up_spis(void **state)
{
	struct scene s = begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	struct ike answer = isakmp(spi, 0x11111111, 'a'), again;
	struct local_message m;

	transmit(s.owner, &answer);
	for (uint64_t i = 4; i < 2 * TABLE_SIZE; i++) {
		again = isakmp(s.spi + i * CLUSTER_UNITS, 0x55555555, 'x');
		receive(s.owner, &again);
	}
	gateways_forget(s.owner);
	assert_true(statistic(s.owner, "ipsec.ike-trace-left-out") > 0);
	/* So what is heard of it now is remembered when it is established. */
	say_heard(s.owner, spi, &answer);
	establish_as(s.owner, spi, 1);
	assert_false(is_taken_elsewhere(s.owner, &answer));
	assert_false(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
}

/* The peer's last message of it is lost with the owner. */
static void test_a_new_owner_answers_a_quick_mode_again(void **state)
{
	struct scene s = begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = isakmp(spi, 0xa0b1c2d3, 'q');
	struct ike answer = isakmp(spi, 0xa0b1c2d3, 'a');
	struct ike otherwise = isakmp(spi, 0xa0b1c2d3, 'b');
	struct local_message open = { .type = LOCAL_QUICK_OPEN }, m;
	struct node *third = &gateways[s.successor->id == 1 ? 3 : 1];

	establish_as(s.owner, spi, 1);
	receive(s.owner, &request);
	open.quick_open.ike = spi;
	open.quick_open.spi = spi_in;
	open.quick_open.src = client;
	open.quick_open.dst = gateway;
	open.quick_open.request = (struct local_blob){ request.bytes, request.len };
	open.quick_open.nonce = (struct local_blob){ (const uint8_t *)"nonce", 5 };
	gateways_say(s.owner, &open);
	transmit(s.owner, &answer);
	assert_int_equal(times_sent(s.owner, &answer), 1);

	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_QUICK_IMPORT, &m));
	assert_true(m.quick_import.ike == spi);
	assert_int_equal(m.quick_import.spi, spi_in);
	assert_memory_equal(m.quick_import.nonce.bytes, "nonce", 5);
	assert_int_equal(m.quick_import.request.len, request.len);
	transmit(s.successor, &otherwise);
	transmit(s.successor, &answer);
	gateways_run(100);
	assert_int_equal(times_sent(s.successor, &otherwise), 0);
	assert_int_equal(times_sent(s.successor, &answer), 1);

	/* What is finished is nothing to answer any more. */
	add_child(s.successor, spi, spi_in);
	gateways_run(100);
	gateways_forget(third);
	gateways_kill(s.successor);
	gateways_run(3000);
	assert_false(gateways_hear(third, LOCAL_QUICK_IMPORT, &m));
	assert_non_null(child_find(third->t, spi_in));
}

static void test_nothing_is_said_before_it_is_committed(void **state)
{
	struct scene s = begin();
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct ike goodbye = ike(s.spi + CLUSTER_UNITS, false, false, 0, 'g');
	struct local_message m;

	gateways_stopped = true;
	transmit(s.owner, &answer);
	/* Of an SA that is not known any more, in the same unit. */
	transmit(s.owner, &goodbye);
	/* The commit of something else. */
	s.owner->committed = true;
	gateways_events();
	assert_int_equal(s.owner->nsent, 0);
	gateways_kill(s.owner);
	gateways_stopped = false;
	gateways_deliver();
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.recv_mid, 0);
	gateways_run(1000);
	EACH_NODE(n)
		assert_int_equal(n->nsent, 0);
}

/* Member 2 is declared dead, but lives on and hears of it later. */
static void test_a_lost_unit_is_silent(void **state)
{
	struct scene s = begin();
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike request = ike(s.spi, true, false, 2, 'q');
	struct local_message m;

	gateways_stopped = true;
	transmit(s.owner, &answer);
	s.owner->cut = true;
	gateways_declare_dead(s.owner);
	gateways_stopped = false;
	gateways_deliver();
	transmit(s.owner, &ours);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_ACTIVATE, &m));
	gateways_run(50);
	s.owner->cut = false;
	gateways_link(s.owner, false);
	gateways_link(s.owner, true);
	gateways_run(2000);
	assert_int_equal(times_sent(s.owner, &answer), 0);
	assert_int_equal(times_sent(s.owner, &ours), 0);
	assert_int_equal(statistic(s.owner, "ipsec.ike-uncommitted-dropped"), 2);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_DROP, &m));
	gateways_forget(s.owner);
	transmit(s.owner, &answer);
	receive(s.owner, &request);
	assert_int_equal(times_sent(s.owner, &answer), 0);
}

static void test_a_second_takeover_repeats_only_what_is_committed(void **state)
{
	struct scene s = begin();
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike more = ike(s.spi, false, false, 1, 'm');

	transmit(s.owner, &ours);
	/* The new owner's records reach nobody yet. */
	gateways_stopped = true;
	gateways_kill(s.owner);
	gateways_run(30);
	assert_int_equal(times_sent(s.successor, &ours), 0);
	gateways_stopped = false;
	gateways_run(100);
	assert_int_equal(times_sent(s.successor, &ours), 1);
	/* The peer expects the numbers in order. */
	transmit(s.successor, &more);
	assert_int_equal(times_sent(s.successor, &more), 0);
	ours = ike(s.spi, true, true, 0, 'r');
	receive(s.successor, &ours);
	transmit(s.successor, &more);
	assert_int_equal(times_sent(s.successor, &more), 1);
}

/* What charon is about to begin by its request number 0. */
static void say_begun(struct node *n, uint64_t spi, uint64_t new_ike)
{
	struct local_message m = { .type = LOCAL_IKE_BEGUN };

	m.ike_begun.spi = spi;
	m.ike_begun.ike = new_ike;
	m.ike_begun.state = (struct local_blob){ (const uint8_t *)"secret", 6 };
	gateways_say(n, &m);
}

static void test_a_rekeying_is_begun_once_more(void **state)
{
	struct scene s = begin();
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike again = ike(s.spi, false, false, 0, 'x');
	struct ike next = ike(s.spi, false, false, 1, 'n');
	struct ike response = ike(s.spi, true, true, 0, 'r');
	struct local_message m;
	unsigned before;

	say_begun(s.owner, s.spi, s.spi + CLUSTER_UNITS);
	transmit(s.owner, &ours);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.begun.len, 6);
	assert_memory_equal(m.ike_import.begun.bytes, "secret", 6);
	assert_int_equal(m.ike_import.replaced, 0);
	assert_int_equal(m.ike_import.send_mid, 1);
	gateways_run(100);
	before = times_sent(s.successor, &ours);
	assert_int_equal(before, 1);
	/* charon may say it, but not in its own words; and to it the answer goes. */
	m = (struct local_message){ .type = LOCAL_IKE_RESUMED };
	m.ike_resumed.spi = s.spi;
	gateways_say(s.successor, &m);
	gateways_run(3000);
	assert_int_equal(times_sent(s.successor, &ours), before);
	transmit(s.successor, &again);
	assert_int_equal(times_sent(s.successor, &again), 0);
	assert_int_equal(times_sent(s.successor, &ours), before + 1);
	receive(s.successor, &response);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	transmit(s.successor, &next);
	assert_int_equal(times_sent(s.successor, &next), 1);
	/* It is ended by that. */
	assert_int_equal(login_find(s.successor->t, s.spi)->exchanges.begun.len, 0);
}

/* The new SA was there before its owner could end the old one. */
static void test_a_rekeying_that_was_ended_is_not_begun(void **state)
{
	struct scene s = begin();
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct local_message m;

	say_begun(s.owner, s.spi, s.spi + CLUSTER_UNITS);
	transmit(s.owner, &ours);
	establish(s.owner, s.spi + CLUSTER_UNITS);
	gateways_kill(s.owner);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != s.spi);
	assert_int_equal(m.ike_import.begun.len, 0);
	assert_int_equal(m.ike_import.replaced, 1);
}

/* charon was about to say something else. */
static void test_another_request_begins_nothing(void **state)
{
	struct scene s = begin();
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike more = ike(s.spi, false, false, 1, 'm');
	struct local_message m;

	say_begun(s.owner, s.spi, s.spi + CLUSTER_UNITS);
	transmit(s.owner, &ours);
	transmit(s.owner, &more);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.begun.len, 0);
	assert_int_equal(m.ike_import.replaced, 0);
}

static void cut_off(struct node *n);

/* When member 2 is alone, it takes over unproven. */
static struct scene unproven_scene(void)
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

/* Of message IDs, for the peer: RFC 6311. */
static void test_message_ids_are_agreed_on_anew(void **state)
{
	struct scene s = unproven_scene();
	struct ike ours = ike(s.spi, false, false, 1, 'o');
	struct ike sync = ike(s.spi, false, false, 0, 's');
	struct ike agreed = ike(s.spi, true, true, 0, 'a');
	struct ike next = ike(s.spi, false, false, 300, 'n');
	const struct ike_exchanges *x;
	struct local_message m;
	unsigned before;

	establish(s.owner, s.spi);
	transmit(s.owner, &ours);
	gateways_run(50);
	cut_off(s.successor);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != s.spi);
	assert_int_equal(m.ike_import.unproven, 1);
	m = (struct local_message){ .type = LOCAL_IKE_SYNCING };
	m.ike_syncing = (struct local_ike_syncing){ s.spi, 300 };
	gateways_say(s.successor, &m);
	gateways_forget(s.successor);
	/* Nothing but the question leaves, and only its answer comes in. */
	transmit(s.successor, &next);
	assert_int_equal(times_sent(s.successor, &next), 0);
	transmit(s.successor, &sync);
	assert_int_equal(times_sent(s.successor, &sync), 1);
	before = times_sent(s.successor, &ours);
	gateways_run(3000);
	assert_int_equal(times_sent(s.successor, &ours), before);
	receive(s.successor, &agreed);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_VERIFY, &m));
	x = &login_find(s.successor->t, s.spi)->exchanges;
	assert_int_equal(ike_next_sent(x), 300);
	assert_true(x->synced);
	m = (struct local_message){ .type = LOCAL_IKE_SYNCED };
	m.ike_synced = (struct local_ike_synced){ s.spi, 310, 20 };
	gateways_say(s.successor, &m);
	assert_int_equal(ike_next_sent(x), 310);
	assert_int_equal(ike_next_received(x), 20);
	next = ike(s.spi, false, false, 310, 'n');
	transmit(s.successor, &next);
	assert_int_equal(times_sent(s.successor, &next), 1);
	assert_int_equal(ike_next_sent(x), 311);
	/* Another charon, or another takeover: the peer would not bear a second question. */
	gateways_forget(s.successor);
	gateways_connect(s.successor);
	gateways_run(1000);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != s.spi);
	assert_int_equal(m.ike_import.unproven, 0);
}

/* A peer that is a cluster, too, asks by a request with number 0. */
static void test_an_answer_out_of_order_is_no_answer_to_keep(void **state)
{
	struct scene s = begin();
	struct ike answer = ike(s.spi, false, true, 0, 's');
	struct local_message m = { .type = LOCAL_IKE_SYNCED };

	m.ike_synced = (struct local_ike_synced){ s.spi, 7, 9 };
	gateways_say(s.owner, &m);
	transmit(s.owner, &answer);
	assert_int_equal(times_sent(s.owner, &answer), 1);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.send_mid, 7);
	assert_int_equal(m.ike_import.recv_mid, 9);
	assert_int_equal(m.ike_import.unproven, 0);
}

static void test_children_follow_a_rekeyed_ike_sa(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	uint64_t newer = s.spi + 7 * CLUSTER_UNITS;
	struct local_message del = { .type = LOCAL_IKE_DEL }, m;

	add_child(s.owner, s.spi, spi_in);
	establish(s.owner, newer);
	put_child(s.owner, newer, spi_in);
	del.ike_del.spi = s.spi;
	gateways_say(s.owner, &del);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_true(m.ike_import.spi == newer);
	assert_true(gateways_hear(s.successor, LOCAL_CHILD_IMPORT, &m));
	assert_true(m.child_import.ike == newer);
	assert_int_equal(m.child_import.spi_in, spi_in);
}

/* charon says that one end deletes the IKE SA, and what it sends of that. */
static void delete_by(struct scene *s, const struct ike *words)
{
	struct local_message ending = { .type = LOCAL_IKE_ENDING };

	ending.ike_ending.spi = s->spi;
	gateways_say(s->owner, &ending);
	transmit(s->owner, words);
}

static void has_ended(struct scene *s, uint32_t spi_in)
{
	struct local_message m;

	assert_false(gateways_hear(s->successor, LOCAL_IKE_IMPORT, &m));
	EACH_NODE(n) {
		if (n->dead)
			continue;
		assert_null(login_find(n->t, s->spi));
		assert_null(child_find(n->t, spi_in));
		assert_int_equal(n->routes, 0);
	}
}

static void test_the_answer_to_a_delete_is_said_again(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = ike(s.spi, true, false, 2, 'd');
	struct ike other = ike(s.spi, true, false, 3, 'd');
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct local_message del = { .type = LOCAL_IKE_DEL };
	struct local_message gone = { .type = LOCAL_CHILD_DEL };

	add_child(s.owner, s.spi, spi_in);
	receive(s.owner, &request);
	gateways_stopped = true;
	delete_by(&s, &answer);
	gone.child_del.ike = del.ike_del.spi = s.spi;
	gone.child_del.spi_in = spi_in;
	gateways_say(s.owner, &gone);
	gateways_say(s.owner, &del);
	assert_int_equal(times_sent(s.owner, &answer), 0);
	gateways_stopped = false;
	gateways_run(20);
	assert_int_equal(times_sent(s.owner, &answer), 1);
	receive(s.owner, &request);
	assert_int_equal(times_sent(s.owner, &answer), 2);
	gateways_kill(s.owner);
	gateways_run(100);
	has_ended(&s, spi_in);
	receive(s.successor, &request);
	receive(s.successor, &other);
	assert_int_equal(times_sent(s.successor, &answer), 1);
	assert_int_equal(s.successor->nsent, 1);
	/* After a while nobody asks any more. */
	EACH_NODE(n)
		if (!n->dead)
			farewell_sweep(n->t, mono_add(gateways_now, 200 * MONO_SEC));
	gateways_run(100);
	EACH_NODE(n)
		if (!n->dead)
			assert_int_equal(n->t->nfarewells, 0);
	receive(s.successor, &request);
	assert_int_equal(s.successor->nsent, 1);
}

static void test_the_owner_dies_when_it_has_answered_a_delete(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = ike(s.spi, true, false, 2, 'd');
	struct ike answer = ike(s.spi, false, true, 2, 'a');

	add_child(s.owner, s.spi, spi_in);
	receive(s.owner, &request);
	delete_by(&s, &answer);
	gateways_run(20);
	gateways_kill(s.owner);
	gateways_run(100);
	has_ended(&s, spi_in);
	receive(s.successor, &request);
	assert_int_equal(times_sent(s.successor, &answer), 1);
}

static void test_the_owner_dies_when_it_has_said_delete(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = ike(s.spi, false, false, 0, 'd');
	struct ike answer = ike(s.spi, true, true, 0, 'a');
	struct local_message m;

	add_child(s.owner, s.spi, spi_in);
	delete_by(&s, &request);
	gateways_run(20);
	assert_int_equal(times_sent(s.owner, &request), 1);
	gateways_kill(s.owner);
	gateways_run(100);
	has_ended(&s, spi_in);
	assert_int_equal(times_sent(s.successor, &request), 1);
	gateways_forget(s.successor);
	receive(s.successor, &answer);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	gateways_run(10000);
	assert_int_equal(times_sent(s.successor, &request), 3);
	has_ended(&s, spi_in);
}

/* A packet from the inside for the client of add_child(). */
static void forward(struct node *n)
{
	uint8_t ip[40] = { 0x45, [3] = sizeof(ip), [9] = 1 };
	struct packet packet = { ip, sizeof(ip), 1, true, 0 };

	memcpy(ip + 12, (uint8_t[]){ 10, 3, 0, 100 }, 4);
	memcpy(ip + 16, (uint8_t[]){ 10, 3, 0, 7 }, 4);
	ipsec_ops.forward(n->t, &packet, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

struct numbers {
	uint32_t seq;
	uint64_t iv;
};

/* Of the last packet sent, which was ESP. */
static struct numbers numbers(const struct node *n)
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

static void test_numbers_of_esp_go_on_above_the_lease(void **state)
{
	struct scene s = begin();
	struct numbers first, second;

	/* No lease is committed yet, so no number may be used. */
	gateways_stopped = true;
	add_child(s.owner, s.spi, 0xc0000000u + s.unit);
	forward(s.owner);
	assert_int_equal(s.owner->nsent, 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(s.owner->nsent, 1);
	first = numbers(s.owner);
	assert_int_equal(first.seq, 1);

	gateways_stopped = true;
	gateways_kill(s.owner);
	forward(s.successor);
	assert_int_equal(s.successor->nsent, 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(s.successor->nsent, 1);
	second = numbers(s.successor);
	assert_true(second.seq > CHILD_LEASE_STEP);
	assert_true(second.iv >> 54 == s.successor->id);
	assert_true(first.iv >> 54 == s.owner->id);
}

/* Owner and successor die together: the third member cannot know what was used last. */
static void test_an_unproven_takeover_skips_and_rekeys(void **state)
{
	struct scene s = begin();
	struct node *third = NULL;
	struct local_message m;

	add_child(s.owner, s.spi, 0xc0000000u + s.unit);
	gateways_run(50);
	EACH_NODE(n)
		if (n != s.owner && n != s.successor)
			third = n;
	gateways_stopped = true;
	gateways_kill(s.owner);
	gateways_kill(s.successor);
	gateways_stopped = false;
	gateways_run(5000);
	assert_true(gateways_hear(third, LOCAL_IKE_ACTIVATE, &m));
	assert_true(gateways_hear(third, LOCAL_SA_EXPIRE, &m));
	assert_int_equal(m.sa_expire.spi, 0xc0000000u + s.unit);
	assert_false(m.sa_expire.hard);
	gateways_forget(third);
	forward(third);
	gateways_run(50);
	assert_int_equal(third->nsent, 1);
	assert_true(numbers(third).seq > CHILD_SKIP);
	assert_true(child_find(third->t, 0xc0000000u + s.unit)->refused);
}

#define POOL 48

static uint32_t want(struct node *n, uint8_t who, uint32_t count)
{
	struct local_message w = { .type = LOCAL_ADDRESS_WANT }, m;

	w.address_want.id = who;
	w.address_want.base = (struct local_addr){ 4, { 10, 3, 0, 1 }, 0 };
	w.address_want.count = count;
	w.address_want.identity = (struct local_blob){ &who, 1 };
	gateways_say(n, &w);
	assert_true(gateways_hear(n, LOCAL_ADDRESS, &m));
	assert_int_equal(m.address.id, who);
	return m.address.address.family ? m.address.address.bytes[3] : 0;
}

static void test_no_address_is_given_twice(void **state)
{
	bool given[POOL + 1] = { false };
	unsigned n = 0;

	for (uint8_t who = 0; who < 2 * POOL; who++) {
		struct node *at = &gateways[1 + who % NODES];
		uint32_t a;

		if (who == POOL / 2)
			gateways_kill(&gateways[2]);
		if (at->dead)
			continue;
		a = want(at, who, POOL);
		assert_true(a <= POOL);
		assert_false(a && given[a]);
		given[a] = true;
		n += a != 0;
	}
	/* All of them could be given, by one of two members. */
	assert_int_equal(n, POOL);
}

static void test_a_former_address_stays_while_its_client_logs_in(void **state)
{
	struct node *n = NULL;
	struct ipsec *t = gateways[1].t;
	struct unit_key key = unit_key_read(cluster_fold_key(gateways[1].c));
	unit_id unit = unit_fold(&key, 1, 0x0a030001u);

	EACH_NODE(owner)
		if (unit_set_has(&owner->t->units, unit))
			n = owner;
	assert_non_null(n);
	t = n->t;
	assert_int_equal(want(n, 1, 1), 1);
	/* Found idle: about to be taken back when its client comes again. */
	address_sweep(t, gateways_now);
	address_sweep(t, gateways_now);
	assert_int_equal(want(n, 1, 1), 1);
	address_sweep(t, gateways_now);
	assert_int_equal(want(n, 2, 1), 0);
	address_sweep(t, gateways_now);
	assert_int_equal(want(n, 2, 1), 0);
	address_sweep(t, gateways_now);
	assert_int_equal(want(n, 2, 1), 1);
}

static void test_records_of_another_unit_are_refused(void **state)
{
	struct scene s = begin();
	struct session_key key = { .type = RECORD_IKE, .len = 8 };
	struct pack p = pack_to(key.bytes, 8);
	struct node *other = s.successor;

	/* The owner writes about an SPI of somebody else's unit into its own. */
	pack_u64(&p, s.spi + 1);
	assert_int_equal(cluster_put(s.owner->c, s.unit, &key, (const uint8_t *)"x", 1,
				     NULL, 0, NULL, gateways_now),
			 0);
	gateways_deliver();
	assert_null(login_find(other->t, s.spi + 1));
	assert_int_equal(statistic(other, "ipsec.records-unreadable"), 1);
}

static void test_a_flood_does_not_end_the_plugin(void **state)
{
	struct scene s = begin();
	struct ike next = ike(s.spi, true, false, 2, 'n');
	unsigned i;

	for (i = 0; !statistic(s.owner, "ipsec.ike-queue-overflow"); i++) {
		assert_true(i < 4000000);
		login_receive(s.owner->t, &client, &gateway, next.bytes, next.len,
			      gateways_now);
	}
	assert_true(plugin_connected(s.owner->t->plugin));
}

static int start4(void **state)
{
	gateway = gateway4;
	client = client4;
	outer = ip_overhead(4, true);
	return gateways_start(state);
}

static int start6(void **state)
{
	gateway = gateway6;
	client = client6;
	outer = ip_overhead(6, true);
	return gateways_start(state);
}

/* Cuts: member 2 is alone for a while, and gives way to the others when it hears them. */

static void cut_off(struct node *n)
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

static void part(struct node *n)
{
	cut_off(n);
	EACH_NODE(peer)
		gateways_forget(peer);
}

static bool is_complete(const struct node *n)
{
	struct cluster_member_state m[NODES];
	unsigned count = cluster_members(n->c, m, NODES, gateways_now);

	for (unsigned i = 0; i < count; i++)
		if (m[i].self)
			return m[i].complete && cluster_role(n->c) == CLUSTER_MEMBER;
	return false;
}

static void reunite(struct node *n)
{
	n->cut = false;
	gateways_link(n, false);
	gateways_link(n, true);
	for (unsigned ms = 0; !is_complete(n); ms++) {
		assert_true(ms < 10000);
		gateways_run(1);
	}
	gateways_run(300);
}

static struct node *owner_of(unit_id u)
{
	struct cluster_unit_state state;

	cluster_unit(gateways[1].c, u, &state);
	return &gateways[state.owner];
}

static void login(struct node *n, uint64_t spi, const char *user)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };
	uint8_t vip[17] = { 4, 10, 3, 0, 7 };

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = PEER_SPI;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.user = (struct local_blob){ (const uint8_t *)user, strlen(user) };
	put.ike_put.vips = (struct local_blob){ vip, sizeof(vip) };
	put.ike_put.state = (struct local_blob){ (const uint8_t *)"state", 5 };
	gateways_say(n, &put);
	add_child(n, spi, 0xd0000000u + (uint32_t)(spi % CLUSTER_UNITS));
}

/* The unit's owner works on this login, and all others know it. */
static bool goes_on(uint64_t spi)
{
	struct node *owner = owner_of(spi_unit(spi));

	EACH_NODE(n) {
		const struct ike_sa *sa = login_find(n->t, spi);

		if (!sa || sa->live != (n == owner))
			return false;
	}
	return true;
}

static bool is_gone(uint64_t spi)
{
	EACH_NODE(n)
		if (login_find(n->t, spi))
			return false;
	return true;
}

static void test_what_a_client_did_in_the_losing_part_is_kept(void **state)
{
	struct scene s = begin();
	struct ike request = ike(s.spi, true, false, 2, 'q');
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	uint64_t fresh = s.spi + 3 * CLUSTER_UNITS;
	struct local_message m;
	struct node *owner;

	part(s.owner);
	receive(s.owner, &request);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	transmit(s.owner, &answer);
	assert_int_equal(times_sent(s.owner, &answer), 1);
	login(s.owner, fresh, "new");
	reunite(s.owner);
	assert_true(goes_on(s.spi));
	assert_true(goes_on(fresh));
	owner = owner_of(s.unit);
	owner->nsent = 0;
	receive(owner, &request);
	assert_int_equal(times_sent(owner, &answer), 1);
	assert_non_null(child_find(owner->t, 0xd0000000u + s.unit));
}

static void client_asks(struct node *n, const struct scene *s, char what)
{
	struct ike request = ike(s->spi, true, false, 2, what);
	struct ike answer = ike(s->spi, false, true, 2, what);
	struct local_message m;

	for (unsigned ms = 0; !cluster_serves(n->c, s->unit, gateways_now); ms++) {
		assert_true(ms < 10000);
		gateways_run(1);
	}
	receive(n, &request);
	assert_true(gateways_hear(n, LOCAL_IKE_RX, &m));
	transmit(n, &answer);
	gateways_run(10);
}

static void end_login(struct node *n, uint64_t spi)
{
	struct local_message del = { .type = LOCAL_IKE_DEL };

	del.ike_del.spi = spi;
	gateways_say(n, &del);
	gateways_run(10);
}

/* A part without any session gives way to one that has some. */
static void part_with_another(struct scene *s)
{
	uint64_t spi = s->spi;

	do
		spi++;
	while (owner_of(spi_unit(spi)) == s->owner);
	establish(owner_of(spi_unit(spi)), spi);
	gateways_run(50);
	part(s->owner);
}

/* Its client is heard by both parts; the one that hears it last, hears that it goes. */
static void end_by_client(bool winner_ends)
{
	struct scene s = begin();
	struct node *owner;

	part_with_another(&s);
	owner = owner_of(s.unit);
	client_asks(winner_ends ? s.owner : owner, &s, 'q');
	client_asks(winner_ends ? owner : s.owner, &s, 'd');
	end_login(winner_ends ? owner : s.owner, s.spi);
	reunite(s.owner);
	assert_true(is_gone(s.spi));
}

static void test_what_a_client_ends_in_the_losing_part_stays_ended(void **state)
{
	end_by_client(false);
}

static void test_what_a_client_ends_in_the_winning_part_stays_ended(void **state)
{
	end_by_client(true);
}

/* One part gives it up, of which its client, in the other part, knows nothing. */
static void give_up(bool winner_ends)
{
	struct scene s = begin();
	struct node *owner;

	part_with_another(&s);
	owner = owner_of(s.unit);
	end_login(winner_ends ? owner : s.owner, s.spi);
	client_asks(winner_ends ? s.owner : owner, &s, 'q');
	reunite(s.owner);
	assert_true(goes_on(s.spi));
}

static void test_what_the_losing_part_gives_up_goes_on(void **state)
{
	give_up(false);
}

static void test_what_the_winning_part_gives_up_goes_on(void **state)
{
	give_up(true);
}

/* The winning part has gone on with the old IKE SA, which its client has left. */
static void test_a_rekey_in_the_losing_part_is_kept(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	uint64_t newer = s.spi + 7 * CLUSTER_UNITS;
	struct local_message del = { .type = LOCAL_IKE_DEL };

	add_child(s.owner, s.spi, spi_in);
	gateways_run(50);
	part(s.owner);
	establish(s.owner, newer);
	put_child(s.owner, newer, spi_in);
	del.ike_del.spi = s.spi;
	gateways_say(s.owner, &del);
	reunite(s.owner);
	assert_true(goes_on(newer));
	assert_true(is_gone(s.spi));
	EACH_NODE(n) {
		assert_non_null(child_find(n->t, spi_in));
		assert_true(child_find(n->t, spi_in)->ike == newer);
	}
}

/* Nobody was in the losing part: nothing is skipped, refused or begun anew. */
static void test_a_silent_part_changes_nothing(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct numbers before, after;
	struct node *owner;

	s.owner = s.successor;
	add_child(&gateways[2], s.spi, spi_in);
	gateways_run(50);
	part(&gateways[2]);
	owner = owner_of(s.unit);
	assert_true(owner != &gateways[2]);
	forward(owner);
	gateways_run(50);
	before = numbers(owner);
	reunite(&gateways[2]);
	assert_true(goes_on(s.spi));
	owner = owner_of(s.unit);
	assert_false(child_find(owner->t, spi_in)->refused);
	forward(owner);
	gateways_run(50);
	after = numbers(owner);
	assert_true(after.seq > before.seq);
	assert_true(after.seq < before.seq + 3 * CHILD_LEASE_STEP);
}

/* The losing part took over unproven, and refuses what it cannot judge; the other can. */
static void test_a_doubtful_part_spoils_no_session(void **state)
{
	struct scene s = unproven_scene();
	struct ike request, answer;
	struct local_message m;
	struct node *owner;

	establish(s.owner, s.spi);
	add_child(s.owner, s.spi, 0xc0000000u + s.unit);
	gateways_run(50);
	part(&gateways[2]);
	assert_true(child_find(gateways[2].t, 0xc0000000u + s.unit)->refused);
	request = ike(s.spi, true, false, 2, 'q');
	answer = ike(s.spi, false, true, 2, 'a');
	receive(&gateways[2], &request);
	assert_true(gateways_hear(&gateways[2], LOCAL_IKE_RX, &m));
	transmit(&gateways[2], &answer);
	gateways_run(10);
	reunite(&gateways[2]);
	assert_true(goes_on(s.spi));
	owner = owner_of(s.unit);
	assert_int_equal(login_find(owner->t, s.spi)->exchanges.response.mid, 2);
	assert_false(child_find(owner->t, 0xc0000000u + s.unit)->refused);
}

/* Both parts have sent with the same numbers: from now on they are above all of them. */
static void test_numbers_go_on_above_those_of_both_parts(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct numbers here, there, after;
	struct node *owner;

	add_child(s.owner, s.spi, spi_in);
	gateways_run(50);
	part(s.owner);
	owner = owner_of(s.unit);
	forward(owner);
	forward(s.owner);
	gateways_run(50);
	here = numbers(owner);
	there = numbers(s.owner);
	assert_true(here.iv != there.iv);
	reunite(s.owner);
	assert_true(goes_on(s.spi));
	owner = owner_of(s.unit);
	forward(owner);
	gateways_run(50);
	after = numbers(owner);
	assert_true(after.seq > here.seq && after.seq > there.seq);
}

static void test_an_address_given_twice_stays_with_one(void **state)
{
	struct scene s = begin();
	uint64_t there = s.spi + 3 * CLUSTER_UNITS, here;
	unsigned left_out = 0;
	struct node *owner;

	part(s.owner);
	here = s.spi + 1;
	while (owner_of(spi_unit(here)) == s.owner)
		here++;
	assert_int_not_equal(spi_unit(here), s.unit);
	login(owner_of(spi_unit(here)), here, "one");
	login(s.owner, there, "two");
	reunite(s.owner);
	assert_true(goes_on(here));
	assert_true(is_gone(there));
	EACH_NODE(n)
		left_out += (unsigned)statistic(n, "ipsec.merge-left-out");
	assert_int_equal(left_out, 1);
	owner = owner_of(s.unit);
	assert_null(child_find(owner->t, 0xd0000000u + s.unit));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start4, gateways_stop)
#define TEST6(name) cmocka_unit_test_setup_teardown(name, start6, gateways_stop)
	const struct CMUnitTest tests[] = {
		TEST(test_an_ikev1_sa_is_known_by_its_requests),
		TEST(test_nobody_says_again_what_an_ikev1_peer_has_said),
		TEST(test_a_login_is_not_forgotten_for_made_up_spis),
		TEST(test_a_new_owner_answers_a_quick_mode_again),
		TEST(test_a_takeover_goes_on_where_the_owner_was),
		TEST(test_nothing_is_said_before_it_is_committed),
		TEST(test_a_lost_unit_is_silent),
		TEST(test_a_second_takeover_repeats_only_what_is_committed),
		TEST(test_a_rekeying_is_begun_once_more),
		TEST(test_a_rekeying_that_was_ended_is_not_begun),
		TEST(test_another_request_begins_nothing),
		TEST(test_message_ids_are_agreed_on_anew),
		TEST(test_an_answer_out_of_order_is_no_answer_to_keep),
		TEST(test_children_follow_a_rekeyed_ike_sa),
		TEST(test_the_answer_to_a_delete_is_said_again),
		TEST(test_the_owner_dies_when_it_has_answered_a_delete),
		TEST(test_the_owner_dies_when_it_has_said_delete),
		TEST(test_numbers_of_esp_go_on_above_the_lease),
		TEST(test_an_unproven_takeover_skips_and_rekeys),
		TEST(test_no_address_is_given_twice),
		TEST(test_a_former_address_stays_while_its_client_logs_in),
		TEST6(test_a_takeover_goes_on_where_the_owner_was),
		TEST6(test_numbers_of_esp_go_on_above_the_lease),
		TEST(test_records_of_another_unit_are_refused),
		TEST(test_a_flood_does_not_end_the_plugin),
		TEST(test_what_a_client_did_in_the_losing_part_is_kept),
		TEST(test_what_a_client_ends_in_the_losing_part_stays_ended),
		TEST(test_what_a_client_ends_in_the_winning_part_stays_ended),
		TEST(test_what_the_losing_part_gives_up_goes_on),
		TEST(test_what_the_winning_part_gives_up_goes_on),
		TEST(test_a_rekey_in_the_losing_part_is_kept),
		TEST(test_a_silent_part_changes_nothing),
		TEST(test_a_doubtful_part_spoils_no_session),
		TEST(test_numbers_go_on_above_those_of_both_parts),
		TEST(test_an_address_given_twice_stays_with_one),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
