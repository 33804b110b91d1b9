/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is remembered of sessions that have ended: how many, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/cores.h"

#define MOST 8192
#define MINUTE (60 * MONO_SEC)
#define LOOK (10 * MONO_SEC)

static struct session_key key_of(unsigned i)
{
	return (struct session_key){ .type = 1,
				     .len = 2,
				     .bytes = { (uint8_t)(i >> 8), (uint8_t)i } };
}

static unit_id unit_of(unsigned i)
{
	return (unit_id)(i % CLUSTER_UNITS);
}

static void put(struct cores *k, unsigned i)
{
	struct session_key key = key_of(i);

	assert_int_equal(cluster_put(k->at[0].c, unit_of(i), &key, NULL, 0,
				     (const uint8_t *)"x", 1, NULL, k->now),
			 0);
}

static void end(struct cores *k, unsigned i)
{
	struct session_key key = key_of(i);
	struct session *s = cluster_find(k->at[0].c, unit_of(i), &key);

	assert_non_null(s);
	session_heard(s, k->now);
	assert_int_equal(cluster_remove(k->at[0].c, s, k->now), 0);
}

static bool remembered(struct cores *k, unsigned who, unsigned i)
{
	struct session_key key = key_of(i);

	return cluster_ended(k->at[who].c, unit_of(i), &key, false) != UINT64_MAX;
}

/* The first of several members, alone, with this many sessions that have ended. */
static struct cores *alone(unsigned n, unsigned ended)
{
	struct cores *k = cores_new(n);

	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	for (unsigned i = 0; i < ended; i++) {
		put(k, i);
		end(k, i);
	}
	return k;
}

static void the_oldest_goes_when_there_are_too_many(void **state)
{
	struct cores *k = alone(2, MOST);

	assert_true(remembered(k, 0, 0));
	assert_true(remembered(k, 0, MOST - 1));
	put(k, MOST);
	end(k, MOST);
	assert_false(remembered(k, 0, 0));
	for (unsigned i = 1; i <= MOST; i++)
		assert_true(remembered(k, 0, i));
	/* One that is known already takes no other one's place. */
	put(k, MOST + 1);
	assert_true(remembered(k, 0, 1));
	end(k, MOST + 1);
	assert_false(remembered(k, 0, 1));
	put(k, MOST + 1);
	assert_false(remembered(k, 0, MOST + 1));
	end(k, MOST + 1);
	assert_true(remembered(k, 0, MOST + 1));
	assert_true(remembered(k, 0, 2));
	cores_free(k);
}

static void who_misses_others_remembers_for_an_hour(void **state)
{
	struct cores *k = alone(2, 3);

	cores_run(k, 59 * MINUTE);
	for (unsigned i = 0; i < 3; i++)
		assert_true(remembered(k, 0, i));
	cores_run(k, MINUTE + LOOK + MONO_SEC);
	for (unsigned i = 0; i < 3; i++)
		assert_false(remembered(k, 0, i));
	cores_free(k);
}

static void together_they_remember_for_a_minute(void **state)
{
	struct cores *k = alone(2, 3);
	uint64_t bytes = cores_statistic(k, 0, "record_bytes");

	cores_run(k, 10 * MINUTE);
	cores_start(k, 1);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	/* It is told, in records that are counted. */
	for (unsigned i = 0; i < 3; i++)
		assert_true(remembered(k, 1, i));
	assert_true(cores_statistic(k, 0, "record_bytes") >= bytes + 3 * 40);
	cores_run(k, LOOK + MONO_SEC);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(remembered(k, 0, i));
		/* It has learned of it just now. */
		assert_true(remembered(k, 1, i));
	}
	cores_run(k, MINUTE);
	for (unsigned i = 0; i < 3; i++)
		assert_false(remembered(k, 1, i));
	cores_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_oldest_goes_when_there_are_too_many),
		cmocka_unit_test(who_misses_others_remembers_for_an_hour),
		cmocka_unit_test(together_they_remember_for_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
