/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exchanges of IKE that the owner's death interrupts: rekeyings, deletions, and the one
 * that agrees on message IDs anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/scene.h"

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
	struct scene s = scene_begin();
	struct ike ours = scene_ike(s.spi, false, false, 0, 'o');
	struct ike again = scene_ike(s.spi, false, false, 0, 'x');
	struct ike next = scene_ike(s.spi, false, false, 1, 'n');
	struct ike response = scene_ike(s.spi, true, true, 0, 'r');
	struct local_message m;
	unsigned before;

	say_begun(s.owner, s.spi, s.spi + CLUSTER_UNITS);
	scene_transmit(s.owner, &ours);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.begun.len, 6);
	assert_memory_equal(m.ike_import.begun.bytes, "secret", 6);
	assert_int_equal(m.ike_import.replaced, 0);
	assert_int_equal(m.ike_import.send_mid, 1);
	gateways_run(100);
	before = scene_times_sent(s.successor, &ours);
	assert_int_equal(before, 1);
	/* charon may say it, but not in its own words; and to it the answer goes. */
	m = (struct local_message){ .type = LOCAL_IKE_RESUMED };
	m.ike_resumed.spi = s.spi;
	gateways_say(s.successor, &m);
	gateways_run(3000);
	assert_int_equal(scene_times_sent(s.successor, &ours), before);
	scene_transmit(s.successor, &again);
	assert_int_equal(scene_times_sent(s.successor, &again), 0);
	assert_int_equal(scene_times_sent(s.successor, &ours), before + 1);
	scene_receive(s.successor, &response);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	scene_transmit(s.successor, &next);
	assert_int_equal(scene_times_sent(s.successor, &next), 1);
	/* It is ended by that. */
	assert_int_equal(login_find(s.successor->t, s.spi)->exchanges.begun.len, 0);
}

/* The new SA was there before its owner could end the old one. */
static void test_a_rekeying_that_was_ended_is_not_begun(void **state)
{
	struct scene s = scene_begin();
	struct ike ours = scene_ike(s.spi, false, false, 0, 'o');
	struct local_message m;

	say_begun(s.owner, s.spi, s.spi + CLUSTER_UNITS);
	scene_transmit(s.owner, &ours);
	scene_establish(s.owner, s.spi + CLUSTER_UNITS);
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
	struct scene s = scene_begin();
	struct ike ours = scene_ike(s.spi, false, false, 0, 'o');
	struct ike more = scene_ike(s.spi, false, false, 1, 'm');
	struct local_message m;

	say_begun(s.owner, s.spi, s.spi + CLUSTER_UNITS);
	scene_transmit(s.owner, &ours);
	scene_transmit(s.owner, &more);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.begun.len, 0);
	assert_int_equal(m.ike_import.replaced, 0);
}

/* Of message IDs, for the peer: RFC 6311. */
static void test_message_ids_are_agreed_on_anew(void **state)
{
	struct scene s = scene_unproven();
	struct ike ours = scene_ike(s.spi, false, false, 1, 'o');
	struct ike sync = scene_ike(s.spi, false, false, 0, 's');
	struct ike agreed = scene_ike(s.spi, true, true, 0, 'a');
	struct ike next = scene_ike(s.spi, false, false, 300, 'n');
	const struct ike_exchanges *x;
	struct local_message m;
	unsigned before;

	scene_establish(s.owner, s.spi);
	scene_transmit(s.owner, &ours);
	gateways_run(50);
	scene_cut_off(s.successor);
	do
		assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	while (m.ike_import.spi != s.spi);
	assert_int_equal(m.ike_import.unproven, 1);
	m = (struct local_message){ .type = LOCAL_IKE_SYNCING };
	m.ike_syncing = (struct local_ike_syncing){ s.spi, 300 };
	gateways_say(s.successor, &m);
	gateways_forget(s.successor);
	/* Nothing but the question leaves, and only its answer comes in. */
	scene_transmit(s.successor, &next);
	assert_int_equal(scene_times_sent(s.successor, &next), 0);
	scene_transmit(s.successor, &sync);
	assert_int_equal(scene_times_sent(s.successor, &sync), 1);
	before = scene_times_sent(s.successor, &ours);
	gateways_run(3000);
	assert_int_equal(scene_times_sent(s.successor, &ours), before);
	scene_receive(s.successor, &agreed);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_VERIFY, &m));
	x = &login_find(s.successor->t, s.spi)->exchanges;
	assert_int_equal(ike_next_sent(x), 300);
	m = (struct local_message){ .type = LOCAL_IKE_SYNCED };
	m.ike_synced = (struct local_ike_synced){ s.spi, 310, 20 };
	gateways_say(s.successor, &m);
	assert_int_equal(ike_next_sent(x), 310);
	assert_int_equal(ike_next_received(x), 20);
	next = scene_ike(s.spi, false, false, 310, 'n');
	scene_transmit(s.successor, &next);
	assert_int_equal(scene_times_sent(s.successor, &next), 1);
	assert_int_equal(ike_next_sent(x), 311);
}

/* It goes on from the numbers that were known. */
static void test_a_peer_that_does_not_agree(void **state)
{
	struct scene s = scene_unproven();
	struct ike ours = scene_ike(s.spi, false, false, 1, 'o');
	struct ike next = scene_ike(s.spi, false, false, 2, 'n');
	struct local_message m = { .type = LOCAL_IKE_SYNCING };

	scene_establish(s.owner, s.spi);
	scene_transmit(s.owner, &ours);
	gateways_run(50);
	scene_cut_off(s.successor);
	m.ike_syncing = (struct local_ike_syncing){ s.spi, 258 };
	gateways_say(s.successor, &m);
	m = (struct local_message){ .type = LOCAL_IKE_SYNCED };
	m.ike_synced = (struct local_ike_synced){ s.spi, 2, 0 };
	gateways_say(s.successor, &m);
	assert_int_equal(
	    gateways_statistic(s.successor, "ipsec.ike-message-ids-agreed"), 0);
	scene_transmit(s.successor, &next);
	assert_int_equal(scene_times_sent(s.successor, &next), 1);
}

/* A peer that is a cluster, too, asks by a request with number 0. */
static void test_an_answer_out_of_order_is_no_answer_to_keep(void **state)
{
	struct scene s = scene_begin();
	struct ike answer = scene_ike(s.spi, false, true, 0, 's');
	struct local_message m = { .type = LOCAL_IKE_SYNCED };

	m.ike_synced = (struct local_ike_synced){ s.spi, 7, 9 };
	gateways_say(s.owner, &m);
	scene_transmit(s.owner, &answer);
	assert_int_equal(scene_times_sent(s.owner, &answer), 1);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.send_mid, 7);
	assert_int_equal(m.ike_import.recv_mid, 9);
	assert_int_equal(m.ike_import.unproven, 0);
}

/* charon says that one end deletes the IKE SA, and what it sends of that. */
static void delete_by(struct scene *s, const struct ike *words)
{
	struct local_message ending = { .type = LOCAL_IKE_ENDING };

	ending.ike_ending.spi = s->spi;
	gateways_say(s->owner, &ending);
	scene_transmit(s->owner, words);
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
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = scene_ike(s.spi, true, false, 2, 'd');
	struct ike other = scene_ike(s.spi, true, false, 3, 'd');
	struct ike answer = scene_ike(s.spi, false, true, 2, 'a');
	struct local_message del = { .type = LOCAL_IKE_DEL };
	struct local_message gone = { .type = LOCAL_CHILD_DEL };

	scene_add_child(s.owner, s.spi, spi_in);
	scene_receive(s.owner, &request);
	gateways_stopped = true;
	delete_by(&s, &answer);
	gone.child_del.ike = del.ike_del.spi = s.spi;
	gone.child_del.spi_in = spi_in;
	gateways_say(s.owner, &gone);
	gateways_say(s.owner, &del);
	assert_int_equal(scene_times_sent(s.owner, &answer), 0);
	gateways_stopped = false;
	gateways_run(20);
	assert_int_equal(scene_times_sent(s.owner, &answer), 1);
	scene_receive(s.owner, &request);
	assert_int_equal(scene_times_sent(s.owner, &answer), 2);
	gateways_kill(s.owner);
	gateways_run(100);
	has_ended(&s, spi_in);
	scene_receive(s.successor, &request);
	scene_receive(s.successor, &other);
	assert_int_equal(scene_times_sent(s.successor, &answer), 1);
	assert_int_equal(s.successor->nsent, 1);
	/* After a while nobody asks any more. */
	EACH_NODE(n)
		if (!n->dead)
			farewell_sweep(n->t, mono_add(gateways_now, 200 * MONO_SEC));
	gateways_run(100);
	EACH_NODE(n)
		if (!n->dead)
			assert_int_equal(n->t->nfarewells, 0);
	scene_receive(s.successor, &request);
	assert_int_equal(s.successor->nsent, 1);
}

static void test_the_owner_dies_when_it_has_answered_a_delete(void **state)
{
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = scene_ike(s.spi, true, false, 2, 'd');
	struct ike answer = scene_ike(s.spi, false, true, 2, 'a');

	scene_add_child(s.owner, s.spi, spi_in);
	scene_receive(s.owner, &request);
	delete_by(&s, &answer);
	gateways_run(20);
	gateways_kill(s.owner);
	gateways_run(100);
	has_ended(&s, spi_in);
	scene_receive(s.successor, &request);
	assert_int_equal(scene_times_sent(s.successor, &answer), 1);
}

static void test_the_owner_dies_when_it_has_said_delete(void **state)
{
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct ike request = scene_ike(s.spi, false, false, 0, 'd');
	struct ike answer = scene_ike(s.spi, true, true, 0, 'a');
	struct local_message m;

	scene_add_child(s.owner, s.spi, spi_in);
	delete_by(&s, &request);
	gateways_run(20);
	assert_int_equal(scene_times_sent(s.owner, &request), 1);
	gateways_kill(s.owner);
	gateways_run(100);
	has_ended(&s, spi_in);
	assert_int_equal(scene_times_sent(s.successor, &request), 1);
	gateways_forget(s.successor);
	scene_receive(s.successor, &answer);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	gateways_run(10000);
	assert_int_equal(scene_times_sent(s.successor, &request), 3);
	has_ended(&s, spi_in);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_start4, gateways_stop)
	const struct CMUnitTest tests[] = {
		TEST(test_a_rekeying_is_begun_once_more),
		TEST(test_a_rekeying_that_was_ended_is_not_begun),
		TEST(test_another_request_begins_nothing),
		TEST(test_message_ids_are_agreed_on_anew),
		TEST(test_a_peer_that_does_not_agree),
		TEST(test_an_answer_out_of_order_is_no_answer_to_keep),
		TEST(test_the_answer_to_a_delete_is_said_again),
		TEST(test_the_owner_dies_when_it_has_answered_a_delete),
		TEST(test_the_owner_dies_when_it_has_said_delete),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
