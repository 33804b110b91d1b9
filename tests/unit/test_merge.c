/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cuts: member 2 is alone for a while, and gives way to the others when it hears them. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/scene.h"

static void part(struct node *n)
{
	scene_cut_off(n);
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
	const uint8_t vip4[17] = { 4, 10, 3, 0, 7 }, vip6[17] = { 6, 0xfd, 3, [16] = 7 };
	const uint8_t *vip = gateway.family == 6 ? vip6 : vip4;

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = PEER_SPI;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.user = (struct local_blob){ (const uint8_t *)user, strlen(user) };
	put.ike_put.vips = (struct local_blob){ vip, sizeof(vip4) };
	put.ike_put.state = (struct local_blob){ (const uint8_t *)"state", 5 };
	gateways_say(n, &put);
	scene_add_child(n, spi, 0xd0000000u + (uint32_t)(spi % CLUSTER_UNITS));
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
	struct scene s = scene_begin();
	struct ike request = scene_ike(s.spi, true, false, 2, 'q');
	struct ike answer = scene_ike(s.spi, false, true, 2, 'a');
	uint64_t fresh = s.spi + 3 * CLUSTER_UNITS;
	struct local_message m;
	struct node *owner;

	part(s.owner);
	scene_receive(s.owner, &request);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_RX, &m));
	scene_transmit(s.owner, &answer);
	assert_int_equal(scene_times_sent(s.owner, &answer), 1);
	login(s.owner, fresh, "new");
	reunite(s.owner);
	assert_true(goes_on(s.spi));
	assert_true(goes_on(fresh));
	owner = owner_of(s.unit);
	owner->nsent = 0;
	scene_receive(owner, &request);
	assert_int_equal(scene_times_sent(owner, &answer), 1);
	assert_non_null(child_find(owner->t, 0xd0000000u + s.unit));
}

static void client_asks(struct node *n, const struct scene *s, char what)
{
	struct ike request = scene_ike(s->spi, true, false, 2, what);
	struct ike answer = scene_ike(s->spi, false, true, 2, what);
	struct local_message m;

	for (unsigned ms = 0; !cluster_serves(n->c, s->unit, gateways_now); ms++) {
		assert_true(ms < 10000);
		gateways_run(1);
	}
	scene_receive(n, &request);
	assert_true(gateways_hear(n, LOCAL_IKE_RX, &m));
	scene_transmit(n, &answer);
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
	scene_establish(owner_of(spi_unit(spi)), spi);
	gateways_run(50);
	part(s->owner);
}

/* Its client is heard by both parts; the one that hears it last, hears that it goes. */
static void end_by_client(bool winner_ends)
{
	struct scene s = scene_begin();
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
	struct scene s = scene_begin();
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
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	uint64_t newer = s.spi + 7 * CLUSTER_UNITS;
	struct local_message del = { .type = LOCAL_IKE_DEL };

	scene_add_child(s.owner, s.spi, spi_in);
	gateways_run(50);
	part(s.owner);
	scene_establish(s.owner, newer);
	scene_put_child(s.owner, newer, spi_in);
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
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct numbers before, after;
	struct node *owner;

	s.owner = s.successor;
	scene_add_child(&gateways[2], s.spi, spi_in);
	gateways_run(50);
	part(&gateways[2]);
	owner = owner_of(s.unit);
	assert_true(owner != &gateways[2]);
	scene_forward(owner);
	gateways_run(50);
	before = scene_numbers(owner);
	reunite(&gateways[2]);
	assert_true(goes_on(s.spi));
	owner = owner_of(s.unit);
	assert_false(child_find(owner->t, spi_in)->refused);
	scene_forward(owner);
	gateways_run(50);
	after = scene_numbers(owner);
	assert_true(after.seq > before.seq);
	assert_true(after.seq < before.seq + 3 * CHILD_LEASE_STEP);
}

/* The losing part took over unproven, and refuses what it cannot judge; the other can. */
static void test_a_doubtful_part_spoils_no_session(void **state)
{
	struct scene s = scene_unproven();
	struct ike request, answer;
	struct local_message m;
	struct node *owner;

	scene_establish(s.owner, s.spi);
	scene_add_child(s.owner, s.spi, 0xc0000000u + s.unit);
	gateways_run(50);
	part(&gateways[2]);
	assert_true(child_find(gateways[2].t, 0xc0000000u + s.unit)->refused);
	request = scene_ike(s.spi, true, false, 2, 'q');
	answer = scene_ike(s.spi, false, true, 2, 'a');
	scene_receive(&gateways[2], &request);
	assert_true(gateways_hear(&gateways[2], LOCAL_IKE_RX, &m));
	scene_transmit(&gateways[2], &answer);
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
	struct scene s = scene_begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	struct numbers here, there, after;
	struct node *owner;

	scene_add_child(s.owner, s.spi, spi_in);
	gateways_run(50);
	part(s.owner);
	owner = owner_of(s.unit);
	scene_forward(owner);
	scene_forward(s.owner);
	gateways_run(50);
	here = scene_numbers(owner);
	there = scene_numbers(s.owner);
	assert_true(here.iv != there.iv);
	reunite(s.owner);
	assert_true(goes_on(s.spi));
	owner = owner_of(s.unit);
	scene_forward(owner);
	gateways_run(50);
	after = scene_numbers(owner);
	assert_true(after.seq > here.seq && after.seq > there.seq);
}

static void test_an_address_given_twice_stays_with_one(void **state)
{
	struct scene s = scene_begin();
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
		left_out += (unsigned)gateways_statistic(n, "ipsec.merge-left-out");
	assert_int_equal(left_out, 1);
	owner = owner_of(s.unit);
	assert_null(child_find(owner->t, 0xd0000000u + s.unit));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_start4, gateways_stop)
#define TEST6(name) cmocka_unit_test_setup_teardown(name, scene_start6, gateways_stop)
	const struct CMUnitTest tests[] = {
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
		TEST6(test_an_address_given_twice_stays_with_one),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
