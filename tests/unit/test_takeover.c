/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions change their owner: what a client sees stays right, and nothing is said twice
 * in different words. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/scene.h"

static void test_a_takeover_goes_on_where_the_owner_was(void **state)
{
	struct scene s = scene_begin();
	struct ike request = scene_ike(s.spi, true, false, 2, 'q');
	struct ike answer = scene_ike(s.spi, false, true, 2, 'a');
	struct ike ours = scene_ike(s.spi, false, false, 0, 'o');
	struct ike next = scene_ike(s.spi, true, false, 3, 'n');
	struct ike response = scene_ike(s.spi, true, true, 0, 'r');
	struct local_message m;

	scene_receive(s.owner, &request);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	scene_transmit(s.owner, &answer);
	scene_transmit(s.owner, &ours);
	assert_int_equal(scene_times_sent(s.owner, &answer), 1);
	assert_int_equal(scene_times_sent(s.owner, &ours), 1);

	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_true(m.ike_import.spi == s.spi);
	assert_int_equal(m.ike_import.recv_mid, 3);
	assert_int_equal(m.ike_import.send_mid, 1);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_ACTIVATE, &m));

	gateways_run(100);
	assert_int_equal(scene_times_sent(s.successor, &ours), 1);
	scene_receive(s.successor, &request);
	assert_int_equal(scene_times_sent(s.successor, &answer), 1);
	scene_receive(s.successor, &response);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	gateways_run(3000);
	assert_int_equal(scene_times_sent(s.successor, &ours), 1);
	scene_receive(s.successor, &next);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
}

static void test_nothing_is_said_before_it_is_committed(void **state)
{
	struct scene s = scene_begin();
	struct ike answer = scene_ike(s.spi, false, true, 2, 'a');
	struct ike goodbye = scene_ike(s.spi + CLUSTER_UNITS, false, false, 0, 'g');
	struct local_message m;

	gateways_stopped = true;
	scene_transmit(s.owner, &answer);
	/* Of an SA that is not known any more, in the same unit. */
	scene_transmit(s.owner, &goodbye);
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
	struct scene s = scene_begin();
	struct ike answer = scene_ike(s.spi, false, true, 2, 'a');
	struct ike ours = scene_ike(s.spi, false, false, 0, 'o');
	struct ike request = scene_ike(s.spi, true, false, 2, 'q');
	struct local_message m;

	gateways_stopped = true;
	scene_transmit(s.owner, &answer);
	s.owner->cut = true;
	gateways_declare_dead(s.owner);
	gateways_stopped = false;
	gateways_deliver();
	scene_transmit(s.owner, &ours);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_ACTIVATE, &m));
	gateways_run(50);
	s.owner->cut = false;
	gateways_link(s.owner, false);
	gateways_link(s.owner, true);
	gateways_run(2000);
	assert_int_equal(scene_times_sent(s.owner, &answer), 0);
	assert_int_equal(scene_times_sent(s.owner, &ours), 0);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.ike-uncommitted-dropped"), 2);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_DROP, &m));
	gateways_forget(s.owner);
	scene_transmit(s.owner, &answer);
	scene_receive(s.owner, &request);
	assert_int_equal(scene_times_sent(s.owner, &answer), 0);
}

static void test_a_second_takeover_repeats_only_what_is_committed(void **state)
{
	struct scene s = scene_begin();
	struct ike ours = scene_ike(s.spi, false, false, 0, 'o');
	struct ike more = scene_ike(s.spi, false, false, 1, 'm');

	scene_transmit(s.owner, &ours);
	/* The new owner's records reach nobody yet. */
	gateways_stopped = true;
	gateways_kill(s.owner);
	gateways_run(30);
	assert_int_equal(scene_times_sent(s.successor, &ours), 0);
	gateways_stopped = false;
	gateways_run(100);
	assert_int_equal(scene_times_sent(s.successor, &ours), 1);
	/* The peer expects the numbers in order. */
	scene_transmit(s.successor, &more);
	assert_int_equal(scene_times_sent(s.successor, &more), 0);
	ours = scene_ike(s.spi, true, true, 0, 'r');
	scene_receive(s.successor, &ours);
	scene_transmit(s.successor, &more);
	assert_int_equal(scene_times_sent(s.successor, &more), 1);
}

static void test_children_follow_a_rekeyed_ike_sa(void **state)
{
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	uint64_t newer = s.spi + 7 * CLUSTER_UNITS;
	struct local_message del = { .type = LOCAL_IKE_DEL }, m;

	scene_add_child(s.owner, s.spi, spi_in);
	scene_establish(s.owner, newer);
	scene_put_child(s.owner, newer, spi_in);
	del.ike_del.spi = s.spi;
	gateways_say(s.owner, &del);
	gateways_kill(s.owner);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_true(m.ike_import.spi == newer);
	assert_true(gateways_hear(s.successor, LOCAL_CHILD_IMPORT, &m));
	assert_true(m.child_import.ike == newer);
	assert_int_equal(m.child_import.spi_in, spi_in);
}

static void test_numbers_of_esp_go_on_above_the_lease(void **state)
{
	struct scene s = scene_begin();
	struct numbers first, second;

	/* No lease is committed yet, so no number may be used. */
	gateways_stopped = true;
	scene_add_child(s.owner, s.spi, 0xc0000000u + s.unit);
	scene_forward(s.owner);
	assert_int_equal(s.owner->nsent, 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(s.owner->nsent, 1);
	first = scene_numbers(s.owner);
	assert_int_equal(first.seq, 1);

	gateways_stopped = true;
	gateways_kill(s.owner);
	scene_forward(s.successor);
	assert_int_equal(s.successor->nsent, 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(s.successor->nsent, 1);
	second = scene_numbers(s.successor);
	assert_true(second.seq > CHILD_LEASE_STEP);
	assert_true(second.iv >> 54 == s.successor->id);
	assert_true(first.iv >> 54 == s.owner->id);
}

/* Owner and successor die together: the third member cannot know what was used last. */
static void test_an_unproven_takeover_skips_and_rekeys(void **state)
{
	struct scene s = scene_begin();
	struct node *third = NULL;
	struct local_message m;

	scene_add_child(s.owner, s.spi, 0xc0000000u + s.unit);
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
	scene_forward(third);
	gateways_run(50);
	assert_int_equal(third->nsent, 1);
	assert_true(scene_numbers(third).seq > CHILD_SKIP);
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
	for (unsigned i = 2; i < LEASE_IDLE; i++)
		address_sweep(t, gateways_now);
	assert_int_equal(want(n, 2, 1), 0);
	address_sweep(t, gateways_now);
	assert_int_equal(want(n, 2, 1), 1);
}

static void test_records_of_another_unit_are_refused(void **state)
{
	struct scene s = scene_begin();
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
	assert_int_equal(gateways_statistic(other, "ipsec.records-unreadable"), 1);
}

static void test_a_flood_does_not_end_the_plugin(void **state)
{
	struct scene s = scene_begin();
	struct ike next = scene_ike(s.spi, true, false, 2, 'n');
	unsigned i;

	for (i = 0; !gateways_statistic(s.owner, "ipsec.ike-queue-overflow"); i++) {
		assert_true(i < 4000000);
		login_receive(s.owner->t, &client, &gateway, next.bytes, next.len,
			      gateways_now);
	}
	assert_true(plugin_connected(s.owner->t->plugin));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_start4, gateways_stop)
#define TEST6(name) cmocka_unit_test_setup_teardown(name, scene_start6, gateways_stop)
	const struct CMUnitTest tests[] = {
		TEST(test_a_takeover_goes_on_where_the_owner_was),
		TEST(test_nothing_is_said_before_it_is_committed),
		TEST(test_a_lost_unit_is_silent),
		TEST(test_a_second_takeover_repeats_only_what_is_committed),
		TEST(test_children_follow_a_rekeyed_ike_sa),
		TEST(test_numbers_of_esp_go_on_above_the_lease),
		TEST(test_an_unproven_takeover_skips_and_rekeys),
		TEST(test_no_address_is_given_twice),
		TEST(test_a_former_address_stays_while_its_client_logs_in),
		TEST6(test_a_takeover_goes_on_where_the_owner_was),
		TEST6(test_numbers_of_esp_go_on_above_the_lease),
		TEST(test_records_of_another_unit_are_refused),
		TEST(test_a_flood_does_not_end_the_plugin),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
