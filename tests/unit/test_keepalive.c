/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keepalives: how many are sent, what their loss does, and who is patient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/internal.h"
#include "tests/unit/cores.h"

#define DETECTION (200 * MONO_MS)

static void the_smallest_number_that_is_safe(void **state)
{
	/* By hand: K = 604800 s / interval, and n * P^n < 1/K. */
	static const struct {
		double loss;
		uint64_t detection;
		unsigned n;
	} table[] = {
		{ 0, DETECTION, 2 },	     { 0.0004, DETECTION, 2 },
		{ 0.0005, DETECTION, 3 },    { 0.0047, DETECTION, 3 },
		{ 0.0049, DETECTION, 4 },    { 1 / 128.0, DETECTION, 4 },
		{ 0.0156, DETECTION, 4 },    { 0.0169, DETECTION, 4 },
		{ 0.0171, DETECTION, 5 },    { 0.1, DETECTION, 8 },
		{ 0.25, DETECTION, 13 },     { 0.4, DETECTION, 20 },
		{ 0.9, DETECTION, 20 },	     { 1, DETECTION, 20 },
		{ 0.0156, 50 * MONO_MS, 5 }, { 0.0156, 5 * MONO_SEC, 4 },
		{ 0.001, 50 * MONO_MS, 3 },  { 0.002, 5 * MONO_SEC, 2 },
		{ 0.0021, 5 * MONO_SEC, 3 },
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (keepalive_rate(table[i].loss, table[i].detection) != table[i].n)
			fail_msg("P %g, interval %g: %u instead of %u", table[i].loss,
				 (double)table[i].detection / 1e9,
				 keepalive_rate(table[i].loss, table[i].detection),
				 table[i].n);
}

static void losses_are_seen_as_gaps(void **state)
{
	struct cores *k = cores_new(2);
	struct cluster *c;
	struct member *m;
	double p;

	cores_start(k, 0);
	c = k->at[0].c;
	m = core_member(c, 20);
	p = m->loss;
	assert_true(keepalive_note(c, m, 1, 1));
	p = p * 127 / 128;
	assert_true(m->loss > p - 1e-12 && m->loss < p + 1e-12);
	/* Two are missing, one has come. */
	assert_true(keepalive_note(c, m, 4, 2));
	p = p * 127 / 128 + 1 / 128.0;
	p = p * 127 / 128 + 1 / 128.0;
	p = p * 127 / 128;
	assert_true(m->loss > p - 1e-12 && m->loss < p + 1e-12);
	/* The past changes nothing. */
	assert_false(keepalive_note(c, m, 3, 3));
	assert_false(keepalive_note(c, m, 4, 2));
	assert_true(m->loss > p - 1e-12 && m->loss < p + 1e-12);
	cores_free(k);
}

/* How long the gaps between the keepalives of a member are. */
static void they_are_sent_in_time_and_not_in_step(void **state)
{
	struct cores *k = cores_new(1);
	uint64_t shortest = UINT64_MAX, longest = 0, step = DETECTION / 4;
	struct cluster *c;
	struct mono last;

	cores_start(k, 0);
	cores_wait(k, 2 * MONO_SEC, cores_masters(k) == 1);
	c = k->at[0].c;
	step = DETECTION / c->per_interval;
	last = c->keepalive_at;
	for (unsigned i = 0; i < 1000; i++) {
		cores_wait(k, DETECTION, c->keepalive_at.ns != last.ns);
		uint64_t gap = c->keepalive_at.ns - last.ns;
		shortest = gap < shortest ? gap : shortest;
		longest = gap > longest ? gap : longest;
		last = c->keepalive_at;
	}
	assert_true(longest <= step);
	assert_true(shortest >= step - step / 8);
	assert_true(longest - shortest > step / 16);
	cores_free(k);
}

static unsigned sent_by[CORES_MAX];

static bool lose_a_third_of_m2(struct cores *k, unsigned from, unsigned to,
			       const struct wire_header *h)
{
	return from == 1 && h->type == wire_type_member_keepalive &&
	       sent_by[from]++ % 3 == 0;
}

/* The master measures, tells the member its rate, and everybody is shown it. */
static void who_loses_more_sends_more(void **state)
{
	struct cores *k = cores_new(3);
	unsigned few, before, sent;

	cores_start(k, 0);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_start(k, 2);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	cores_run(k, 30 * MONO_SEC);
	few = cores_view(k, 0, 1).per_interval;
	assert_in_range(few, 2, 4);
	k->lose = lose_a_third_of_m2;
	cores_run(k, 30 * MONO_SEC);
	assert_true(cores_view(k, 0, 1).loss > 0.2 && cores_view(k, 0, 1).loss < 0.45);
	for (unsigned i = 0; i < 3; i++) {
		struct cluster_member_state m = cores_view(k, i, 1);

		assert_in_range(m.per_interval, 12, 20);
		assert_int_equal(m.interval, DETECTION / m.per_interval);
		assert_int_equal(m.stress, 0);
	}
	assert_true(cores_view(k, 0, 2).per_interval < 5);
	before = k->sent[1][wire_type_member_keepalive];
	cores_run(k, 10 * DETECTION);
	sent = (k->sent[1][wire_type_member_keepalive] - before) / 2;
	assert_in_range(sent, 10 * 12, 10 * 24);
	/* Nobody has died of it, and it is forgotten when it is over. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(cores_statistic(k, i, "deaths"), 0);
	k->lose = NULL;
	cores_run(k, 60 * MONO_SEC);
	assert_in_range(cores_view(k, 0, 1).per_interval, 2, 4);
	cores_free(k);
}

static void health_by_table(void **state)
{
	static const struct {
		uint64_t after, late; /* ms since the last one */
		unsigned stress;
	} table[] = {
		{ 0, 0, 0 },   { 50, 12, 0 }, { 50, 13, 1 },  { 50, 0, 0 },
		{ 50, 50, 4 }, { 20, 26, 6 }, { 49, 0, 6 },   { 1, 0, 5 },
		{ 20, 99, 8 }, { 5, 400, 8 }, { 100, 0, 6 },  { 25, 0, 6 },
		{ 25, 0, 5 },  { 250, 0, 0 }, { 5000, 0, 0 }, { 1, 25, 2 },
		{ 49, 13, 3 }, { 150, 5, 0 },
	};
	struct cores *k = cores_new(1);
	struct cluster *c;

	cores_start(k, 0);
	c = k->at[0].c;
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		c->now = mono_add(c->now, table[i].after * MONO_MS);
		health_note(c, table[i].late * MONO_MS);
		if (c->stress != table[i].stress)
			fail_msg("step %u: %u instead of %u", i, c->stress,
				 table[i].stress);
		assert_int_equal(health_patience(c),
				 DETECTION + table[i].stress * DETECTION / 8);
	}
	cores_free(k);
}

/* A third of an interval late: not late enough to be silent about the others, but it does
 * not accuse them either while the network is mute for a little more than an interval. */
static void the_stressed_do_not_accuse(void **state)
{
	struct cores *k = cores_new(3);
	unsigned master, other;

	cores_start_all(k);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	master = cores_master(k);
	other = (master + 1) % 3;
	k->at[master].slow = DETECTION / 3;
	cores_run(k, 2 * DETECTION);
	assert_int_equal(cores_statistic(k, master, "late"), 0);
	assert_int_equal(cores_view(k, master, master).stress, 8);
	assert_int_equal(cores_view(k, other, master).stress, 8);
	assert_int_equal(cores_view(k, master, other).stress, 0);
	k->at[other].stopped = true;
	cores_run(k, DETECTION * 3 / 2);
	assert_true(cores_view(k, master, other).present);
	/* It is dead for all that when the time is over. */
	cores_wait(k, 3 * DETECTION, !cores_view(k, master, other).present);
	/* Who is well again is as quick as ever. */
	k->at[master].slow = 0;
	cores_run(k, 3 * DETECTION);
	assert_int_equal(cores_view(k, master, master).stress, 0);
	k->at[3 - master - other].stopped = true;
	cores_run(k, DETECTION * 11 / 8);
	assert_false(cores_view(k, master, 3 - master - other).present);
	cores_free(k);
}

/* However patient a member is with its master: what it serves, it serves not for longer. */
static void patience_is_no_lease(void **state)
{
	struct cores *k = cores_new(3);
	unsigned master, other;
	struct mono cut;

	cores_start_all(k);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	master = cores_master(k);
	other = (master + 1) % 3;
	k->at[other].slow = DETECTION / 3;
	cores_run(k, 2 * DETECTION);
	assert_int_equal(cores_view(k, other, other).stress, 8);
	for (unsigned i = 0; i < 3; i++)
		if (i != other)
			cores_cut(k, i, other, true);
	cut = k->now;
	while (cluster_role(k->at[other].c) != CLUSTER_MASTER) {
		assert_true(mono_since(k->now, cut) < 30 * DETECTION);
		if (mono_since(k->now, cut) >= DETECTION * 3 / 2)
			for (unit_id u = 0; u < CLUSTER_UNITS; u++)
				assert_false(cluster_serves(k->at[other].c, u, k->now));
		cores_run(k, MONO_MS);
	}
	cores_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_number_that_is_safe),
		cmocka_unit_test(losses_are_seen_as_gaps),
		cmocka_unit_test(they_are_sent_in_time_and_not_in_step),
		cmocka_unit_test(who_loses_more_sends_more),
		cmocka_unit_test(health_by_table),
		cmocka_unit_test(the_stressed_do_not_accuse),
		cmocka_unit_test(patience_is_no_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
