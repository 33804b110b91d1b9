/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one member wants of the owner of a unit comes there, and the answer comes back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cores.h"

static const struct session_key key = { .type = 1, .len = 2, .bytes = { 7, 9 } };

static int setup(void **state)
{
	struct cores *k = cores_new(3);

	for (unsigned i = 0; i < k->n; i++) {
		k->at[i].config.moves = CLUSTER_UNITS;
		k->at[i].config.balance = 100 * MONO_MS;
	}
	cores_start_all(k);
	cores_wait(k, 20 * MONO_SEC, cores_settled(k));
	cores_run(k, 5 * MONO_SEC);
	*state = k;
	return 0;
}

static int teardown(void **state)
{
	cores_free(*state);
	return 0;
}

/* A unit that member number i owns. */
static unit_id unit_of(struct cores *k, unsigned i)
{
	struct cluster_unit_state u;

	for (unit_id unit = 0; unit < CLUSTER_UNITS; unit++) {
		cluster_unit(k->at[i].c, unit, &u);
		if (u.served)
			return unit;
	}
	fail_msg("m%u owns nothing", i + 1);
	return 0;
}

static int ask(struct cores *k, unsigned from, unit_id unit, uint32_t *ticket)
{
	return cluster_ask(k->at[from].c, unit, &key, (const uint8_t *)"do it", 5, ticket,
			   k->now);
}

static void test_answered(void **state)
{
	static const int results[] = { 0, -EEXIST, -EPERM, -ESTALE, -ENOTCONN, -ESRCH };
	struct cores *k = *state;
	unit_id unit = unit_of(k, 1);
	uint32_t ticket;

	for (unsigned i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		k->at[1].errand_result = results[i];
		assert_int_equal(ask(k, 0, unit, &ticket), -EINPROGRESS);
		assert_int_equal(cluster_result(k->at[0].c, ticket), -EINPROGRESS);
		cores_run(k, MONO_MS);
		assert_int_equal(cluster_result(k->at[0].c, ticket), results[i]);
	}
	assert_int_equal(k->at[1].errands, sizeof(results) / sizeof(results[0]));
	assert_int_equal(k->at[1].errand_len, 5);
	assert_memory_equal(k->at[1].errand, "do it", 5);
	assert_int_equal(k->at[1].asker.from, k->at[0].id);
	assert_int_equal(k->at[2].errands, 0);
	/* What has no number of its own. */
	k->at[1].errand_result = -E2BIG;
	assert_int_equal(ask(k, 0, unit, &ticket), -EINPROGRESS);
	cores_run(k, MONO_MS);
	assert_int_equal(cluster_result(k->at[0].c, ticket), -EOPNOTSUPP);
}

static void test_answered_later(void **state)
{
	struct cores *k = *state;
	unit_id unit = unit_of(k, 1);
	uint32_t first, second;
	struct cluster_asker asker;

	k->at[1].errand_result = -EINPROGRESS;
	assert_int_equal(ask(k, 0, unit, &first), -EINPROGRESS);
	cores_run(k, MONO_SEC);
	assert_int_equal(cluster_result(k->at[0].c, first), -EINPROGRESS);
	asker = k->at[1].asker;
	assert_int_equal(ask(k, 0, unit, &second), -EINPROGRESS);
	cores_run(k, MONO_MS);
	cluster_answer(k->at[1].c, &k->at[1].asker, -EEXIST, k->now);
	cluster_answer(k->at[1].c, &asker, 0, k->now);
	cores_run(k, MONO_MS);
	assert_int_equal(cluster_result(k->at[0].c, first), 0);
	assert_int_equal(cluster_result(k->at[0].c, second), -EEXIST);
}

static void test_not_to_be_asked(void **state)
{
	static uint8_t long_one[CLUSTER_ERRAND_MAX + 1];
	struct cores *k = *state;
	uint32_t ticket;

	assert_int_equal(ask(k, 0, unit_of(k, 0), &ticket), -EALREADY);
	assert_int_equal(ask(k, 0, CLUSTER_UNITS, &ticket), -EINVAL);
	assert_int_equal(cluster_ask(k->at[0].c, unit_of(k, 1), &key, long_one,
				     sizeof(long_one), &ticket, k->now),
			 -EINVAL);
	assert_int_equal(cluster_ask(k->at[0].c, unit_of(k, 1), &key, long_one,
				     sizeof(long_one) - 1, &ticket, k->now),
			 -EINPROGRESS);
	cores_run(k, MONO_MS);
	assert_int_equal(k->at[1].errand_len, CLUSTER_ERRAND_MAX);
}

/* The owner dies with the errand, or the unit is another's when it comes there. */
static void test_owner_gone(void **state)
{
	struct cores *k = *state;
	unit_id unit = unit_of(k, 1);
	struct cluster_unit_state u;
	uint32_t ticket, moved;

	k->at[1].errand_result = -EINPROGRESS;
	assert_int_equal(ask(k, 0, unit, &ticket), -EINPROGRESS);
	cores_run(k, MONO_MS);
	cores_kill(k, 1, true);
	cores_run(k, 10 * MONO_MS);
	assert_int_equal(cluster_result(k->at[0].c, ticket), -ENOTCONN);

	unit = unit_of(k, 2);
	cluster_move(k->at[cores_master(k)].c, unit, k->at[0].id, &moved, k->now);
	cluster_unit(k->at[0].c, unit, &u);
	assert_int_equal(u.owner, k->at[2].id);
	/* The last one meets the owner's news on its way. */
	while (u.owner == k->at[2].id) {
		assert_int_equal(ask(k, 0, unit, &ticket), -EINPROGRESS);
		cores_run(k, MONO_MS / 10);
		cluster_unit(k->at[0].c, unit, &u);
	}
	cores_run(k, MONO_SEC);
	assert_int_equal(cluster_result(k->at[0].c, ticket), -ESTALE);
	assert_int_equal(ask(k, 0, unit, &ticket), -EALREADY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_answered),
		TEST(test_answered_later),
		TEST(test_not_to_be_asked),
		TEST(test_owner_gone),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
