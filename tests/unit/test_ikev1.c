/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IKE SAs of version 1, whose messages have no numbers: a new owner knows them by what
 * was said. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/scene.h"

/* A message of IKEv1, from either side. */
static struct ike isakmp(uint64_t spi, uint32_t mid, uint8_t filling)
{
	struct ike out = scene_ike(spi, false, false, mid, filling);

	out.bytes[27] = (uint8_t)(out.len = IKE_HEADER_SIZE + IKE_MARKED_SIZE);
	memset(out.bytes + IKE_HEADER_SIZE, filling, IKE_MARKED_SIZE);
	out.bytes[16] = 8;
	out.bytes[17] = 0x10;
	out.bytes[18] = 32; /* quick mode */
	out.bytes[19] = 1;  /* encrypted */
	return out;
}

static void test_an_ikev1_sa_is_known_by_its_requests(void **state)
{
	struct scene s = scene_begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	struct ike request = isakmp(spi, 0xa0b1c2d3, 'q');
	struct ike answer = isakmp(spi, 0xa0b1c2d3, 'a');
	struct ike third = isakmp(spi, 0xa0b1c2d3, 't');
	struct ike ours = isakmp(spi, 0x01020304, 'o');
	struct ike other = scene_ike(spi, true, false, 2, 'n');
	struct ike another = scene_ike(spi, false, true, 2, 'm');
	struct local_message m;

	scene_establish_as(s.owner, spi, 1);
	scene_receive(s.owner, &request);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	scene_transmit(s.owner, &answer);
	scene_transmit(s.owner, &ours);
	assert_int_equal(scene_times_sent(s.owner, &answer), 1);
	assert_int_equal(scene_times_sent(s.owner, &ours), 1);
	/* A message of another version of IKE with its SPI. */
	scene_receive(s.owner, &other);
	scene_transmit(s.owner, &another);
	assert_false(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	assert_int_equal(scene_times_sent(s.owner, &another), 0);

	gateways_kill(s.owner);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != spi);
	gateways_run(3000);
	/* What was informed of is not repeated, what was answered is, and no more. */
	assert_int_equal(scene_times_sent(s.successor, &ours), 0);
	scene_receive(s.successor, &request);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	assert_int_equal(scene_times_sent(s.successor, &answer), 1);
	scene_receive(s.successor, &third);
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
	scene_receive(n, message);
	client = peer;
	return gateways_hear(n, LOCAL_IKE_RX, &m);
}

/* charon would follow whoever says again what an IKEv1 peer has said. */
static void test_nobody_says_again_what_an_ikev1_peer_has_said(void **state)
{
	struct scene s = scene_begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	struct ike early = isakmp(spi, 0x11111111, 'e');
	struct ike late = isakmp(spi, 0x22222222, 'l');
	struct ike forged = isakmp(spi, 0x33333333, 'f');
	struct ike other = isakmp(spi, 0x44444444, 'o');
	struct ike wrapped = { .len = 64 };
	struct local_message m;

	/* The one before it is established, after charon's first answer. */
	scene_transmit(s.owner, &other);
	scene_receive(s.owner, &early);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	say_heard(s.owner, spi, &early);
	scene_establish_as(s.owner, spi, 1);
	scene_receive(s.owner, &late);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	say_heard(s.owner, spi, &late);
	gateways_run(100);
	assert_false(is_taken_elsewhere(s.owner, &early));
	assert_false(is_taken_elsewhere(s.owner, &late));
	assert_int_equal(gateways_statistic(s.owner, "ipsec.ike-replayed-elsewhere"), 2);
	/* Where the peer is it may be a repetition, which charon knows. */
	scene_receive(s.owner, &late);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	/* What charon has not found authentic is not kept from being said. */
	scene_receive(s.owner, &forged);
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
	assert_int_equal(gateways_statistic(s.successor, "ipsec.ike-replayed-elsewhere"),
			 3);
	/* A peer that has moved says something new. */
	assert_true(is_taken_elsewhere(s.successor, &other));
}

/* Anybody can make up SPIs. */
static void test_a_login_is_not_forgotten_for_made_up_spis(void **state)
{
	struct scene s = scene_begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	struct ike answer = isakmp(spi, 0x11111111, 'a'), again;
	struct local_message m;

	scene_transmit(s.owner, &answer);
	for (uint64_t i = 4; i < 2 * TABLE_SIZE; i++) {
		again = isakmp(s.spi + i * CLUSTER_UNITS, 0x55555555, 'x');
		scene_receive(s.owner, &again);
	}
	gateways_forget(s.owner);
	assert_true(gateways_statistic(s.owner, "ipsec.ike-trace-left-out") > 0);
	/* So what is heard of it now is remembered when it is established. */
	say_heard(s.owner, spi, &answer);
	scene_establish_as(s.owner, spi, 1);
	assert_false(is_taken_elsewhere(s.owner, &answer));
	assert_false(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
}

/* The peer's last message of it is lost with the owner. */
static void test_a_new_owner_answers_a_quick_mode_again(void **state)
{
	struct scene s = scene_begin();
	uint64_t spi = s.spi + 3 * CLUSTER_UNITS;
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = isakmp(spi, 0xa0b1c2d3, 'q');
	struct ike answer = isakmp(spi, 0xa0b1c2d3, 'a');
	struct ike otherwise = isakmp(spi, 0xa0b1c2d3, 'b');
	struct local_message open = { .type = LOCAL_QUICK_OPEN }, m;
	struct node *third = &gateways[s.successor->id == 1 ? 3 : 1];

	scene_establish_as(s.owner, spi, 1);
	scene_receive(s.owner, &request);
	open.quick_open.ike = spi;
	open.quick_open.spi = spi_in;
	open.quick_open.src = client;
	open.quick_open.dst = gateway;
	open.quick_open.request = (struct local_blob){ request.bytes, request.len };
	open.quick_open.nonce = (struct local_blob){ (const uint8_t *)"nonce", 5 };
	gateways_say(s.owner, &open);
	scene_transmit(s.owner, &answer);
	assert_int_equal(scene_times_sent(s.owner, &answer), 1);

	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_QUICK_IMPORT, &m));
	assert_true(m.quick_import.ike == spi);
	assert_int_equal(m.quick_import.spi, spi_in);
	assert_memory_equal(m.quick_import.nonce.bytes, "nonce", 5);
	assert_int_equal(m.quick_import.request.len, request.len);
	scene_transmit(s.successor, &otherwise);
	scene_transmit(s.successor, &answer);
	gateways_run(100);
	assert_int_equal(scene_times_sent(s.successor, &otherwise), 0);
	assert_int_equal(scene_times_sent(s.successor, &answer), 1);

	/* What is finished is nothing to answer any more. */
	scene_add_child(s.successor, spi, spi_in);
	gateways_run(100);
	gateways_forget(third);
	gateways_kill(s.successor);
	gateways_run(3000);
	assert_false(gateways_hear(third, LOCAL_QUICK_IMPORT, &m));
	assert_non_null(child_find(third->t, spi_in));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_start4, gateways_stop)
	const struct CMUnitTest tests[] = {
		TEST(test_an_ikev1_sa_is_known_by_its_requests),
		TEST(test_nobody_says_again_what_an_ikev1_peer_has_said),
		TEST(test_a_login_is_not_forgotten_for_made_up_spis),
		TEST(test_a_new_owner_answers_a_quick_mode_again),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
