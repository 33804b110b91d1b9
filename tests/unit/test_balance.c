/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Balance by sessions and by measured traffic; drain, undrain and move. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/cores.h"

#define ROUND (2 * MONO_SEC)
#define MOVES 16

static struct cores *make(unsigned drained)
{
	struct cores *k = cores_new(3);

	for (unsigned i = 0; i < k->n; i++) {
		k->at[i].config.capacity = 100;
		k->at[i].config.moves = MOVES;
		k->at[i].config.balance = ROUND;
		k->at[i].config.drained = i < drained;
	}
	cores_start_all(k);
	return k;
}

static member_id owner_of(const struct cores *k, unit_id unit)
{
	struct cluster_unit_state s;

	for (unsigned i = 0; i < k->n; i++)
		if (k->at[i].c) {
			cluster_unit(k->at[i].c, unit, &s);
			return s.owner;
		}
	return 0;
}

/* All agree who owns each unit, and that one serves it, and nothing moves. */
static bool at_rest(const struct cores *k)
{
	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		for (unsigned i = 0; i < k->n; i++) {
			struct cluster_unit_state s;

			if (!k->at[i].c)
				continue;
			cluster_unit(k->at[i].c, u, &s);
			if (!s.owner || s.owner != owner_of(k, u) || s.moving_to ||
			    s.served != (s.owner == k->at[i].id))
				return false;
		}
	return true;
}

static unsigned owned(const struct cores *k, unsigned i)
{
	unsigned n = 0;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		n += unit_set_has(&k->at[i].owned, u);
	return n;
}

static int setup(void **state)
{
	struct cores *k = make(0);

	*state = k;
	cores_wait(k, 2 * ROUND, cores_settled(k));
	cores_run(k, 4 * ROUND);
	cores_wait(k, ROUND, at_rest(k));
	return 0;
}

static int teardown(void **state)
{
	cores_free(*state);
	return 0;
}

/* Between the most and the fewest units of a member. */
static unsigned spread(const struct cores *k)
{
	unsigned most = 0, fewest = CLUSTER_UNITS;

	for (unsigned i = 0; i < k->n; i++) {
		unsigned n = owned(k, i);

		most = n > most ? n : most;
		fewest = n < fewest ? n : fewest;
	}
	return most - fewest;
}

static void put(struct cores *k, unit_id unit, unsigned number)
{
	struct session_key key = { .type = 1, .len = 4 };
	member_id owner = owner_of(k, unit);

	memcpy(key.bytes, &number, 4);
	assert_int_equal(cluster_put(k->at[owner / 10 - 1].c, unit, &key,
				     (const uint8_t *)"initial", 7,
				     (const uint8_t *)"state", 5, NULL, k->now),
			 0);
}

static uint64_t moves_begun(struct cores *k)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < k->n; i++)
		sum += cores_statistic(k, i, "moves_begun");
	return sum;
}

/* Empty units are in balance after a round or two, however few moves a round has. */
static void test_empty_units(void **state)
{
	struct cores *k = *state;

	assert_true(spread(k) <= 1);
	assert_int_equal(owned(k, 0) + owned(k, 1) + owned(k, 2), CLUSTER_UNITS);
}

/* Ten sessions in one member's units spread, and stay. */
static void test_sessions(void **state)
{
	struct cores *k = *state;
	member_id owner = owner_of(k, 0);
	unsigned n = 0;
	uint64_t before;

	for (unit_id u = 0; n < 10; u++)
		if (owner_of(k, u) == owner)
			put(k, u, n++);
	cores_run(k, 2 * ROUND);
	cores_wait(k, ROUND, at_rest(k));
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(cores_view(k, 0, i).sessions, 3, 4);
	assert_true(spread(k) <= 3);
	before = moves_begun(k);
	cores_run(k, 10 * ROUND);
	assert_int_equal(moves_begun(k), before);
}

/* Each owner reports this for each of its units that is listed; nothing for others. */
static void report(struct cores *k, const uint32_t traffic[CLUSTER_UNITS])
{
	for (unsigned i = 0; i < k->n; i++)
		cluster_set_load(k->at[i].c, traffic, 1000 * (i + 1), k->now);
	cores_run(k, MONO_MS);
}

static void test_traffic(void **state)
{
	static uint32_t traffic[CLUSTER_UNITS];
	struct cores *k = *state;
	member_id owner = owner_of(k, 0);
	unsigned loud = 0;

	memset(traffic, 0, sizeof(traffic));
	for (unit_id u = 0; loud < 12; u++)
		if (owner_of(k, u) == owner) {
			traffic[u] = 10000;
			loud++;
		}
	for (unsigned i = 0; i < 5; i++) {
		report(k, traffic);
		cores_run(k, ROUND);
	}
	cores_wait(k, ROUND, at_rest(k));
	for (unsigned viewer = 0; viewer < 3; viewer++)
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(cores_view(k, viewer, i).load, 40000);
			assert_int_equal(cores_view(k, viewer, i).processor,
					 1000 * (i + 1));
		}
	/* A unit of which its owner says no more costs nothing any more. */
	memset(traffic, 0, sizeof(traffic));
	report(k, traffic);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(cores_view(k, 0, i).load, 0);
}

/* Measurements that differ by a twentieth, another one each time, move nothing. */
static void test_noise(void **state)
{
	static uint32_t traffic[CLUSTER_UNITS];
	struct cores *k = *state;
	uint64_t before = moves_begun(k);

	srand(7);
	for (unsigned i = 0; i < 30; i++) {
		for (unit_id u = 0; u < CLUSTER_UNITS; u++)
			traffic[u] = 950 + (uint32_t)(rand() % 100);
		report(k, traffic);
		cores_run(k, ROUND);
	}
	assert_int_equal(moves_begun(k), before);
	/* Two members of which now one, now the other has a little more. */
	for (unsigned i = 0; i < 20; i++) {
		for (unit_id u = 0; u < CLUSTER_UNITS; u++)
			traffic[u] = owner_of(k, u) == 10 + 10 * (i % 2) ? 1050 : 1000;
		report(k, traffic);
		cores_run(k, ROUND);
	}
	assert_int_equal(moves_begun(k), before);
	/* One unit that bursts alone cannot be shared, nor is it sent to and fro. */
	memset(traffic, 0, sizeof(traffic));
	traffic[7] = 500000;
	for (unsigned i = 0; i < 10; i++) {
		report(k, traffic);
		cores_run(k, ROUND);
	}
	assert_true(moves_begun(k) - before <= 1);
}

/* At most so many units with a load move in a round. */
static void test_moves_are_limited(void **state)
{
	static uint32_t traffic[CLUSTER_UNITS];
	struct cores *k = *state;
	member_id owner = owner_of(k, 0);

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		traffic[u] = owner_of(k, u) == owner ? 10000 : 0;
	for (unsigned i = 1; i <= 5; i++) {
		unsigned gone = 0;

		report(k, traffic);
		cores_run(k, ROUND - MONO_MS);
		for (unit_id u = 0; u < CLUSTER_UNITS; u++)
			gone += traffic[u] && owner_of(k, u) != owner;
		assert_in_range(gone, (i - 1) * MOVES, i * MOVES);
		assert_true(gone > 0 || i == 1);
	}
}

static int drain(struct cores *k, unsigned teller, unsigned i, bool on, bool force,
		 uint32_t *ticket)
{
	return cluster_drain(k->at[teller].c, k->at[i].id, on, force, ticket, k->now);
}

/* Told at another member; sessions in all units. Nobody begins with state in doubt. */
static void test_drain(void **state)
{
	struct cores *k = *state;
	unsigned i = (cores_master(k) + 1) % 3, teller = (i + 1) % 3;
	uint32_t ticket = 0;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		put(k, u, u);
	cores_run(k, 10 * MONO_MS);
	assert_int_equal(drain(k, teller, i, true, false, &ticket), -EINPROGRESS);
	assert_int_equal(cluster_result(k->at[teller].c, ticket), -EINPROGRESS);
	cores_run(k, MONO_MS);
	assert_int_equal(cluster_result(k->at[teller].c, ticket), 0);
	assert_int_equal(cluster_result(k->at[teller].c, ticket + 1), -ENOENT);
	assert_int_equal(cluster_result(k->at[teller].c, 0), -ENOENT);
	assert_true(cluster_drained(k->at[i].c));
	cores_wait(k, MONO_SEC, owned(k, i) == 0 && at_rest(k));
	cores_run(k, 5 * ROUND);
	assert_int_equal(owned(k, i), 0);
	for (unsigned viewer = 0; viewer < 3; viewer++) {
		struct cluster_member_state m = cores_view(k, viewer, i);

		assert_true(m.drained && m.present && m.complete && !m.able);
		assert_string_equal(m.why, "drained");
		assert_int_equal(m.units + m.successor_of, 0);
	}
	/* It keeps the shadows. */
	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		struct session_key key = { .type = 1, .len = 4 };
		unsigned number = u;

		memcpy(key.bytes, &number, 4);
		assert_non_null(cluster_find(k->at[i].c, u, &key));
		assert_false(cluster_unproven(k->at[owner_of(k, u) / 10 - 1].c, u));
	}
}

static void test_undrain(void **state)
{
	struct cores *k = *state;
	uint32_t ticket = 0;

	for (unit_id u = 0; u < 30; u++)
		put(k, u, u);
	assert_int_equal(drain(k, 1, 1, true, false, &ticket), 0);
	cores_wait(k, MONO_SEC, owned(k, 1) == 0);
	/* Again is no error; and what is not able besides is not able. */
	assert_int_equal(drain(k, 1, 1, true, false, &ticket), 0);
	cluster_set_able(k->at[1].c, false, "no charon", k->now);
	assert_int_equal(drain(k, 1, 1, false, false, &ticket), 0);
	cores_run(k, 3 * ROUND);
	assert_int_equal(owned(k, 1), 0);
	assert_string_equal(cores_view(k, 0, 1).why, "no charon");
	cluster_set_able(k->at[1].c, true, "", k->now);
	cores_run(k, 5 * ROUND);
	cores_wait(k, ROUND, at_rest(k));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(cores_view(k, 0, i).sessions, 10);
	assert_true(spread(k) <= 2);
}

static void test_drain_the_last(void **state)
{
	struct cores *k = *state;
	uint32_t ticket = 0;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(drain(k, i, i, true, false, &ticket), 0);
		cores_wait(k, 2 * MONO_SEC, owned(k, i) == 0);
	}
	/* One of the two is or was the master: balance gives nothing back. */
	cores_run(k, 3 * ROUND);
	assert_int_equal(owned(k, 2), CLUSTER_UNITS);
	assert_int_equal(drain(k, 2, 2, true, false, &ticket), -EBUSY);
	assert_int_equal(drain(k, 0, 2, true, false, &ticket), -EINPROGRESS);
	cores_run(k, MONO_MS);
	assert_int_equal(cluster_result(k->at[0].c, ticket), -EBUSY);
	assert_false(cluster_drained(k->at[2].c));
	assert_int_equal(drain(k, 0, 2, true, true, &ticket), -EINPROGRESS);
	cores_wait(k, MONO_SEC, owned(k, 2) == 0);
	assert_int_equal(cluster_result(k->at[0].c, ticket), 0);
	/* Whoever is undrained first serves all. */
	assert_int_equal(drain(k, 0, 0, false, false, &ticket), 0);
	cores_wait(k, 2 * MONO_SEC, owned(k, 0) == CLUSTER_UNITS);
}

/* A start with the flag of the last run: it learns all, and gets nothing. */
static void test_drained_at_start(void **state)
{
	struct cores *k = make(1);
	uint32_t ticket;

	cores_wait(k, 2 * ROUND, cores_settled(k));
	cores_run(k, 3 * ROUND);
	assert_int_equal(owned(k, 0), 0);
	assert_true(cluster_drained(k->at[0].c));
	assert_int_equal(drain(k, 1, 0, false, false, &ticket), -EINPROGRESS);
	cores_run(k, 3 * ROUND);
	cores_wait(k, ROUND, at_rest(k));
	assert_true(spread(k) <= 1);
	cores_free(k);
}

static void test_drain_errors(void **state)
{
	struct cores *k = *state;
	uint32_t ticket = 0;

	assert_int_equal(cluster_drain(k->at[0].c, 9, true, false, &ticket, k->now),
			 -EINVAL);
	cores_cut(k, 0, 1, true);
	assert_int_equal(drain(k, 0, 1, true, false, &ticket), -ENOTCONN);
	/* The connection breaks before the answer has come. */
	assert_int_equal(drain(k, 0, 2, true, false, &ticket), -EINPROGRESS);
	cores_cut(k, 0, 2, true);
	assert_int_equal(cluster_result(k->at[0].c, ticket), -ENOTCONN);
}

static void test_move(void **state)
{
	struct cores *k = *state;
	unsigned master = cores_master(k);

	for (unsigned teller = 0; teller < 3; teller++) {
		unit_id unit = (unit_id)(10 + teller);
		member_id to = owner_of(k, unit) % 30 + 10;
		uint32_t ticket = 0;
		int rc;

		put(k, unit, unit);
		rc = cluster_move(k->at[teller].c, unit, to, &ticket, k->now);
		assert_int_equal(rc, teller == master ? 0 : -EINPROGRESS);
		cores_wait(k, MONO_SEC, owner_of(k, unit) == to && at_rest(k));
		if (teller != master)
			assert_int_equal(cluster_result(k->at[teller].c, ticket), 0);
		assert_false(cluster_unproven(k->at[to / 10 - 1].c, unit));
		/* There already. */
		assert_int_equal(cluster_move(k->at[master].c, unit, to, &ticket, k->now),
				 0);
	}
}

/* Balance does not undo what the operator has done. */
static void test_moved_stays(void **state)
{
	struct cores *k = *state;
	unsigned master = cores_master(k), n = 0;
	uint32_t ticket;

	for (unit_id u = 0; n < 5; u++)
		if (owner_of(k, u) != 30) {
			put(k, u, u);
			assert_int_equal(
			    cluster_move(k->at[master].c, u, 30, &ticket, k->now), 0);
			n++;
		}
	cores_run(k, 60 * MONO_SEC);
	assert_int_equal(cores_view(k, 0, 2).sessions, 5);
	/* But not for ever. */
	cores_run(k, 600 * MONO_SEC);
	assert_in_range(cores_view(k, 0, 2).sessions, 1, 2);
}

static void test_move_errors(void **state)
{
	struct cores *k = *state;
	unsigned master = cores_master(k), other = (master + 1) % 3;
	member_id to = k->at[other].id;
	unit_id unit = 0;
	uint32_t ticket;

	assert_int_equal(
	    cluster_move(k->at[master].c, CLUSTER_UNITS, 10, &ticket, k->now), -EINVAL);
	assert_int_equal(cluster_move(k->at[master].c, 0, 9, &ticket, k->now), -EINVAL);
	cluster_set_able(k->at[other].c, false, "test", k->now);
	cores_run(k, MONO_SEC);
	while (owner_of(k, unit) == to)
		unit++;
	assert_int_equal(cluster_move(k->at[master].c, unit, to, &ticket, k->now),
			 -EHOSTDOWN);
	assert_int_equal(cluster_move(k->at[other].c, unit, to, &ticket, k->now),
			 -EINPROGRESS);
	cores_run(k, MONO_MS);
	assert_int_equal(cluster_result(k->at[other].c, ticket), -EHOSTDOWN);
}

/*
 * The news of a drain and of a death meet. Who is drained is the dead owner's successor
 * still: it holds what was committed, takes over, and hands on what nobody need doubt.
 */
static void test_takeover_by_drained(void **state)
{
	struct cores *k = *state;
	uint32_t ticket;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		put(k, u, u);
	cores_run(k, 10 * ROUND);
	cores_wait(k, ROUND, at_rest(k));
	assert_int_equal(drain(k, 0, 0, true, false, &ticket), 0);
	cores_kill(k, 2, true);
	cores_wait(k, 2 * MONO_SEC, owned(k, 1) == CLUSTER_UNITS);
	assert_true(cores_statistic(k, 0, "takeovers") > 100);
	assert_int_equal(cores_statistic(k, 0, "unproven"), 0);
	assert_int_equal(cores_statistic(k, 1, "unproven"), 0);
}

/*
 * m1, which is not able to work, has released unit 0, which has a session, and unit 1 to m2,
 * and that has begun, and died before anybody has heard of it. m3 has not come yet.
 */
static struct cores *released_to_the_dead(void)
{
	const struct session_key key = { .type = 1, .len = 1, .bytes = { 7 } };
	struct cores *k = cores_new(3);
	unit_id u = 0;

	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	assert_int_equal(cluster_put(k->at[0].c, u, &key, NULL, 0, (const uint8_t *)"x",
				     1, NULL, k->now),
			 0);
	cores_run(k, 100 * MONO_MS);
	assert_false(cluster_unproven(k->at[0].c, u));
	cluster_set_able(k->at[0].c, false, "test", k->now);
	while (!k->sent[0][wire_type_release])
		cores_run(k, 20 * MONO_US);
	k->cut[1][0] = true;
	while (!unit_set_has(&k->at[1].owned, u))
		cores_run(k, 20 * MONO_US);
	assert_false(unit_set_has(&k->at[0].owned, u));
	cores_kill(k, 1, false);
	return k;
}

static void what_is_taken_back_is_unproven(void **state)
{
	struct cores *k = released_to_the_dead();

	cluster_set_able(k->at[0].c, true, NULL, k->now);
	cores_wait(k, 2 * MONO_SEC, unit_set_has(&k->at[0].owned, 0));
	assert_true(cores_logged(k, 0, "taken back"));
	assert_true(cluster_unproven(k->at[0].c, 0));
	/* Of a unit without sessions nothing can be behind. */
	assert_false(cluster_unproven(k->at[0].c, 1));
	cores_free(k);
}

static void what_is_given_to_another_after_that_is_unproven(void **state)
{
	struct cores *k = released_to_the_dead();

	cores_start(k, 2);
	cores_wait(k, 3 * MONO_SEC, owned(k, 2) == CLUSTER_UNITS);
	assert_true(cluster_unproven(k->at[2].c, 0));
	assert_false(cluster_unproven(k->at[2].c, 1));
	cores_free(k);
}

/* What member i has is succeeded by all other members alike, but for chance. */
static void assert_succeeded_by_all(struct cores *k, unsigned i)
{
	unsigned of[CORES_MAX] = { 0 }, others = 0;
	struct cluster_unit_state s;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		if (!unit_set_has(&k->at[i].owned, u))
			continue;
		cluster_unit(k->at[i].c, u, &s);
		assert_int_not_equal(s.successor, 0);
		of[s.successor / 10 - 1]++;
	}
	for (unsigned j = 0; j < k->n; j++)
		others += j != i && k->at[j].c;
	for (unsigned j = 0; j < k->n; j++) {
		if (j == i || !k->at[j].c)
			continue;
		assert_true(2 * of[j] * others >= owned(k, i));
		assert_true(of[j] * others <= 2 * owned(k, i));
	}
}

/* So each of the others gets its share of a dead member's units. */
static void successors_are_spread_over_all_others(void **state)
{
	struct cores *k = cores_new(5);
	unsigned had[CORES_MAX];

	for (unsigned i = 0; i < k->n; i++) {
		k->at[i].config.moves = MOVES;
		k->at[i].config.balance = ROUND;
	}
	cores_start_all(k);
	cores_wait(k, 2 * ROUND, cores_settled(k));
	cores_run(k, 4 * ROUND);
	cores_wait(k, ROUND, at_rest(k));
	for (unsigned i = 0; i < k->n; i++) {
		assert_succeeded_by_all(k, i);
		had[i] = owned(k, i);
	}
	cores_kill(k, 4, true);
	cores_run(k, 100 * MONO_MS);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(2 * 4 * (owned(k, i) - had[i]) >= had[4]);
		assert_true(4 * (owned(k, i) - had[i]) <= 2 * had[4]);
		assert_succeeded_by_all(k, i);
	}
	cores_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_empty_units),
		cmocka_unit_test(what_is_taken_back_is_unproven),
		cmocka_unit_test(what_is_given_to_another_after_that_is_unproven),
		cmocka_unit_test(successors_are_spread_over_all_others),
		TEST(test_sessions),
		TEST(test_traffic),
		TEST(test_noise),
		TEST(test_moves_are_limited),
		TEST(test_drain),
		TEST(test_undrain),
		TEST(test_drain_the_last),
		cmocka_unit_test(test_drained_at_start),
		TEST(test_drain_errors),
		TEST(test_move),
		TEST(test_moved_stays),
		TEST(test_move_errors),
		TEST(test_takeover_by_drained),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
