/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who becomes master: how soon, after how many rounds, and which of two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/cores.h"

#define DETECTION (200 * MONO_MS)

static unsigned index_of(member_id id)
{
	return id / 10u - 1;
}

/* Members 2, 3, ... join the one with this index. */
static struct cores *cluster_under(unsigned n, unsigned first)
{
	struct cores *k = cores_new(n);

	cores_start(k, first);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	for (unsigned i = 0; i < n; i++)
		if (i != first)
			cores_start(k, i);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	assert_int_equal(cores_master(k), first);
	cores_run(k, MONO_SEC);
	return k;
}

static uint64_t total(struct cores *k, const char *name)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < k->n; i++)
		if (k->at[i].c)
			sum += cores_statistic(k, i, name);
	return sum;
}

static unsigned vice_of(struct cores *k, unsigned i)
{
	for (unsigned j = 0; j < k->n; j++)
		if (cores_view(k, i, j).vice_master)
			return j;
	fail_msg("m%u knows no vice-master", i + 1);
	return 0;
}

/* Whoever it is: all know beforehand who comes next, and one offer is enough. */
static void a_dead_master_costs_one_round(void **state)
{
	for (unsigned first = 0; first < 5; first++) {
		struct cores *k = cluster_under(5, first);
		unsigned vice = vice_of(k, first);
		uint64_t offers, elected;
		struct mono died;

		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(vice_of(k, i), vice);
		assert_int_equal(vice, first == 0);
		cores_kill(k, first, false);
		died = k->now;
		offers = total(k, "offers");
		elected = total(k, "elected");
		cores_wait(k, 2 * MONO_SEC, cores_masters(k) == 1);
		assert_int_equal(cores_master(k), vice);
		assert_int_equal(total(k, "offers"), offers + 1);
		assert_int_equal(total(k, "elected"), elected + 1);
		/* All agree as soon as they notice: nobody waits for the offer's end. */
		if (mono_since(k->now, died) > DETECTION + 20 * MONO_MS)
			fail_msg("m%u's end: a new master after %g ms", first + 1,
				 (double)mono_since(k->now, died) / 1e6);
		cores_wait(k, 3 * MONO_SEC, cores_settled(k));
		assert_int_equal(total(k, "elected"), elected + 1);
		cores_free(k);
	}
}

static void the_next_one_stands_when_both_are_gone(void **state)
{
	struct cores *k = cluster_under(5, 0);
	struct mono died;

	assert_int_equal(vice_of(k, 4), 1);
	cores_kill(k, 0, false);
	cores_kill(k, 1, false);
	died = k->now;
	cores_wait(k, 3 * MONO_SEC, cores_masters(k) == 1);
	assert_int_equal(cores_master(k), 2);
	/* It offers a step later, and waits for an answer of the dead vice-master. */
	assert_true(mono_since(k->now, died) <= 2 * DETECTION + 200 * MONO_MS);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	cores_free(k);
}

/* Who stand at the same time: the lower id; all members see the same one. */
static void of_those_who_start_together_one_is_master(void **state)
{
	for (unsigned run = 0; run < 20; run++) {
		struct cores *k = cores_new(5);

		k->random = run + 1;
		cores_start_all(k);
		for (unsigned ms = 0; ms < 3000; ms++) {
			cores_run(k, MONO_MS);
			assert_true(cores_masters(k) <= 1);
		}
		assert_true(cores_settled(k));
		cores_free(k);
	}
}

static void split(struct cores *k, unsigned side, bool cut)
{
	for (unsigned i = 0; i < k->n; i++)
		for (unsigned j = 0; j < i; j++)
			if ((side >> i & 1) != (side >> j & 1))
				cores_cut(k, i, j, cut);
}

/* Two parts make two masters; when they hear each other again, one gives way at once. */
static void heal(unsigned n, unsigned side, unsigned winner)
{
	struct cores *k = cluster_under(n, 0);
	uint64_t term = 0;
	struct mono healed;

	split(k, side, true);
	cores_wait(k, 5 * MONO_SEC, cores_masters(k) == 2);
	cores_run(k, 3 * MONO_SEC);
	assert_int_equal(cores_masters(k), 2);
	for (unsigned i = 0; i < n; i++)
		if (cluster_term(k->at[i].c) > term)
			term = cluster_term(k->at[i].c);
	split(k, side, false);
	healed = k->now;
	cores_wait(k, 2 * MONO_SEC, cores_masters(k) == 1);
	if (mono_since(k->now, healed) > DETECTION)
		fail_msg("two masters for %g ms",
			 (double)mono_since(k->now, healed) / 1e6);
	assert_int_equal(cores_master(k), winner);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	assert_int_equal(cores_master(k), winner);
	/* And above all that either had. */
	assert_true(cluster_term(k->at[winner].c) >= term);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(cluster_term(k->at[i].c), cluster_term(k->at[winner].c));
	cores_free(k);
}

static void of_two_masters_the_larger_part_stays(void **state)
{
	heal(5, 0x03, 2); /* m1 m2 | m3 m4 m5 */
	heal(5, 0x18, 0); /* m4 m5 | m1 m2 m3 */
	heal(3, 0x01, 1); /* m1 | m2 m3 */
}

static void of_equal_parts_the_lower_id_stays(void **state)
{
	heal(4, 0x0c, 0); /* m3 m4 | m1 m2 */
	heal(4, 0x06, 0); /* m2 m3 | m1 m4 */
	heal(2, 0x02, 0);
}

/* The vice-master follows the list: it is never one who is not complete, or is gone. */
static void the_vice_master_is_always_known(void **state)
{
	struct cores *k = cluster_under(4, 2);

	assert_int_equal(vice_of(k, 3), 0);
	cores_kill(k, 0, false);
	cores_wait(k, MONO_SEC, vice_of(k, 3) == 1 && vice_of(k, 2) == 1);
	cluster_leave(k->at[1].c, k->now);
	cores_wait(k, 6 * MONO_SEC, cluster_role(k->at[1].c) == CLUSTER_LEFT);
	cores_wait(k, MONO_SEC, vice_of(k, 2) == 3);
	cores_start(k, 0);
	cores_wait(k, 2 * MONO_SEC, vice_of(k, 2) == 0 && vice_of(k, 3) == 0);
	assert_true(cores_view(k, 2, 0).complete);
	cores_free(k);
}

/* A master that leaves hands over; the others have the next one at once. */
static void a_master_told_to_leave_goes_in_good_order(void **state)
{
	struct cores *k = cluster_under(3, 0);
	struct mono left;

	cluster_leave(k->at[0].c, k->now);
	cores_wait(k, 6 * MONO_SEC, cluster_role(k->at[0].c) == CLUSTER_LEFT);
	left = k->now;
	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		assert_true(unit_set_has(&k->at[1].owned, u) !=
			    unit_set_has(&k->at[2].owned, u));
	cores_wait(k, MONO_SEC, cores_masters(k) == 1);
	assert_int_equal(cores_master(k), index_of(20));
	assert_true(mono_since(k->now, left) < 20 * MONO_MS);
	cores_free(k);
}

/* Half a detection interval is waited for objections, within bounds. */
static void a_long_interval_gives_objections_time(void **state)
{
	const uint64_t intervals[] = { 50, 200, 600, 5000 },
		       windows[] = { 100, 100, 300, 500 };

	for (unsigned i = 0; i < 4; i++) {
		struct cores *k = cores_new(2);
		struct mono offered;
		uint64_t took;

		k->at[0].config.detection = intervals[i] * MONO_MS;
		cores_start(k, 0);
		cores_wait(k, 20 * MONO_SEC,
			   cluster_role(k->at[0].c) == CLUSTER_OFFERING);
		offered = k->now;
		cores_wait(k, 2 * MONO_SEC, cluster_role(k->at[0].c) == CLUSTER_MASTER);
		took = mono_since(k->now, offered) / MONO_MS;
		if (took + 2 < windows[i] || took > windows[i] + 2)
			fail_msg("D is %d ms: it waited %d ms", (int)intervals[i],
				 (int)took);
		cores_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_interval_gives_objections_time),
		cmocka_unit_test(a_dead_master_costs_one_round),
		cmocka_unit_test(the_next_one_stands_when_both_are_gone),
		cmocka_unit_test(of_those_who_start_together_one_is_master),
		cmocka_unit_test(of_two_masters_the_larger_part_stays),
		cmocka_unit_test(of_equal_parts_the_lower_id_stays),
		cmocka_unit_test(the_vice_master_is_always_known),
		cmocka_unit_test(a_master_told_to_leave_goes_in_good_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
