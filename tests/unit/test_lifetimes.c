/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of a CHILD SA hold across a takeover. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/ends.h"

static void expires(struct node *n, const struct ends *s, bool hard)
{
	struct local_message m;

	assert_true(gateways_hear(n, LOCAL_SA_EXPIRE, &m));
	assert_int_equal(m.sa_expire.spi, s->spi);
	assert_int_equal(m.sa_expire.hard, hard);
}

static void test_limits_hold_across_a_takeover(void **state)
{
	const struct local_sa_add limits = { .soft_packets = 20, .hard_packets = 32 };
	struct ends s = ends_begin(&limits);
	struct local_message m;
	uint64_t before;

	for (unsigned i = 0; i < 19; i++)
		ends_forward(s.owner, 60, false);
	assert_int_equal(s.owner->nsent, 19);
	assert_false(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
	ends_forward(s.owner, 60, false);
	expires(s.owner, &s, false);
	/* Once only. */
	ends_forward(s.owner, 60, false);
	assert_false(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
	gateways_run(6000);

	gateways_kill(s.owner);
	gateways_run(6000);
	expires(s.successor, &s, false);
	/* The 21 of the record, and two that it might not know of. */
	gateways_forget(s.successor);
	for (unsigned i = 0; i < 9; i++)
		ends_forward(s.successor, 60, false);
	expires(s.successor, &s, true);
	gateways_run(50);
	assert_int_equal(s.successor->nsent, 9);
	before = gateways_statistic(s.successor, "ipsec.esp-beyond-lifetime");
	ends_forward(s.successor, 60, false);
	assert_int_equal(s.successor->nsent, 9);
	assert_int_equal(gateways_statistic(s.successor, "ipsec.esp-beyond-lifetime"),
			 before + 1);
	child_free(s.peer);
}

/* The owner dies right after what it has sent. */
static void test_a_takeover_knows_what_was_used(void **state)
{
	const struct local_sa_add limits = { .soft_packets = 60, .hard_packets = 64 };
	struct ends s = ends_begin(&limits);
	struct child *c;

	for (unsigned i = 0; i < 41; i++)
		ends_forward(s.owner, 60, false);
	gateways_run(2);
	gateways_kill(s.owner);
	c = child_find(s.successor->t, s.spi);
	assert_non_null(c);
	assert_true(c->active);
	assert_true(c->out.packets >= 40 && c->out.packets <= 41);
	for (unsigned i = 0; i < 64; i++)
		ends_forward(s.successor, 60, false);
	gateways_run(50);
	assert_true(s.successor->nsent > 0);
	assert_true(s.owner->nsent + s.successor->nsent <= limits.hard_packets);
	child_free(s.peer);
}

static uint32_t number_of(const uint8_t *packet)
{
	const uint8_t *at = packet + 20 + 8 + 4;

	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 |
	       at[3];
}

/* They end in a rekeying, and the last one is the last, whoever works on the SA. */
static void test_numbers_come_to_an_end(void **state)
{
	const struct local_sa_add none = { 0 };
	struct ends s = ends_begin(&none);
	struct cluster_unit_state unit;
	struct child *c = child_find(s.owner->t, s.spi);
	struct local_message m;
	struct node *third;

	c->next_seq = 0xbffffffe;
	ends_forward(s.owner, 60, false);
	gateways_run(10);
	assert_false(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
	ends_forward(s.owner, 60, false);
	gateways_run(10);
	expires(s.owner, &s, false);
	assert_int_equal(s.owner->nsent, 2);
	assert_true(number_of(s.owner->sent[1]) == 0xbfffffff);

	gateways_kill(s.owner);
	gateways_run(6000);
	expires(s.successor, &s, false);
	gateways_forget(s.successor);
	c = child_find(s.successor->t, s.spi);
	c->next_seq = UINT32_MAX;
	for (unsigned i = 0; i < 3; i++)
		ends_forward(s.successor, 60, false);
	gateways_run(10);
	expires(s.successor, &s, true);
	assert_int_equal(s.successor->nsent, 1);
	assert_true(number_of(s.successor->sent[0]) == UINT32_MAX);

	cluster_unit(s.successor->c, c->unit, &unit);
	assert_true(unit.successor);
	third = &gateways[unit.successor];
	gateways_kill(s.successor);
	gateways_run(100);
	for (unsigned i = 0; i < 3; i++)
		ends_forward(third, 60, false);
	gateways_run(100);
	assert_int_equal(third->nsent, 0);
	expires(third, &s, false);
	expires(third, &s, true);
	child_free(s.peer);
}

static void test_time_is_not_given_twice(void **state)
{
	const struct local_sa_add limits = { .soft_time = 40, .hard_time = 3600 };
	struct ends s = ends_begin(&limits);
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, gateways_start, gateways_stop)
		T(test_limits_hold_across_a_takeover),
		T(test_a_takeover_knows_what_was_used),
		T(test_numbers_come_to_an_end),
		T(test_time_is_not_given_twice),
#undef T
	};

	if (geteuid()) {
		printf("skipped: the plugin's socket needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
