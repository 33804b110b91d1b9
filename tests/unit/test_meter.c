/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What traffic is taken to cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/meter.h"

struct fixture {
	struct meter m;
	struct unit_traffic traffic[CLUSTER_UNITS];
	uint32_t known[CLUSTER_UNITS], out[CLUSTER_UNITS], processor;
	struct meter_reading r;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->r.traffic = f->traffic;
	f->r.known = f->known;
	f->r.elapsed = 2 * MONO_SEC;
	for (unit_id u = 0; u < 4; u++)
		unit_set_add(&f->r.owned, u);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void carry(struct fixture *f, unit_id u, uint64_t packets, uint64_t bytes)
{
	f->traffic[u].packets += packets;
	f->traffic[u].bytes += bytes;
}

static void read_meter(struct fixture *f, uint64_t used)
{
	f->r.processor += used;
	meter_read(&f->m, &f->r, f->out, &f->processor);
}

/* 10,000 packets of 1,000 bytes a second are 20 ms and 5 ms of work. */
static void test_rate(void **state)
{
	struct fixture *f = *state;

	carry(f, 1, 1000000, 1000000000); /* before the first reading: unknown */
	read_meter(f, 0);
	assert_int_equal(f->out[1], 0);
	for (unsigned i = 0; i < 60; i++) {
		uint32_t before = f->out[1];

		carry(f, 1, 20000, 20000000);
		read_meter(f, 0);
		assert_true(f->out[1] >= before);
	}
	assert_in_range(f->out[1], 24900, 25100);
	assert_int_equal(f->out[0], 0);
	/* One loud reading is a quarter of what it looks like. */
	carry(f, 2, 20000, 20000000);
	read_meter(f, 0);
	assert_in_range(f->out[2], 25000 / 4 - 10, 25000 / 4 + 10);
	/* Silence is believed as slowly, and wholly in the end. */
	for (unsigned i = 0; i < 60; i++)
		read_meter(f, 0);
	assert_int_equal(f->out[1], 0);
}

/* A unit that came is as loud as its last owner said; one that went is not counted. */
static void test_change_of_owner(void **state)
{
	struct fixture *f = *state;

	f->known[7] = 5000;
	read_meter(f, 0);
	assert_int_equal(f->out[7], 0);
	unit_set_add(&f->r.owned, 7);
	carry(f, 7, 100, 100000);
	read_meter(f, 0);
	assert_int_equal(f->out[7], 5000);
	carry(f, 7, 4000, 4000000);
	read_meter(f, 0);
	assert_in_range(f->out[7], 4990, 5010);
	unit_set_remove(&f->r.owned, 7);
	read_meter(f, 0);
	assert_int_equal(f->out[7], 0);
	/* What a tunnel has forgotten is no traffic. */
	unit_set_add(&f->r.owned, 7);
	f->known[7] = 0;
	read_meter(f, 0);
	memset(f->traffic, 0, sizeof(f->traffic));
	read_meter(f, 0);
	assert_int_equal(f->out[7], 0);
}

/* A daemon that uses a whole processor for a quarter of a processor's usual work. */
static void test_processor(void **state)
{
	struct fixture *f = *state;

	read_meter(f, 0);
	for (unsigned i = 0; i < 60; i++) {
		carry(f, 0, 200000, 200000000); /* 250,000 */
		read_meter(f, 2 * MONO_SEC);
	}
	assert_in_range(f->processor, 990000, 1000000);
	assert_in_range(f->out[0], 980000, 1010000);
	/* Not more than four times, however busy. */
	for (unsigned i = 0; i < 60; i++) {
		carry(f, 0, 20000, 20000000); /* 25,000 */
		read_meter(f, 2 * MONO_SEC);
	}
	assert_in_range(f->out[0], 99000, 101000);
	/* Idle: its own work is not the traffic's. */
	for (unsigned i = 0; i < 60; i++) {
		carry(f, 0, 20000, 20000000);
		read_meter(f, 100 * MONO_MS);
	}
	assert_in_range(f->out[0], 24900, 25100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_change_of_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_processor, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
