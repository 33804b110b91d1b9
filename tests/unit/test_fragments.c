/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reassembly: any order, both families, and what attackers send. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/fragments.h"

static const struct fragments_limits limits = { .datagrams = 8,
						.per_source = 3,
						.age = 10 * MONO_SEC };
static struct fragments *f;
static uint8_t *whole;
static size_t whole_len;
static uint8_t tos; /* of the next ones */

static int setup(void **state)
{
	f = fragments_new(&limits);
	return !f;
}

static int teardown(void **state)
{
	fragments_free(f);
	return 0;
}

/* Payload byte i of a datagram is i + id. */
static int add(int version, uint8_t source, uint8_t id, size_t offset, size_t len,
	       int more, uint64_t ms)
{
	static uint8_t ip[10000];
	size_t header = version == 4 ? 20 : 48;

	memset(ip, 0, header);
	if (version == 4) {
		ip[0] = 0x45;
		ip[1] = tos;
		ip[2] = (uint8_t)((20 + len) >> 8);
		ip[3] = (uint8_t)(20 + len);
		ip[5] = id;
		ip[6] = (uint8_t)(more << 5 | offset / 8 >> 8);
		ip[7] = (uint8_t)(offset / 8);
		ip[8] = 64;
		ip[9] = 50;
		ip[15] = source;
		ip[19] = 99;
	} else {
		ip[0] = (uint8_t)(0x60 | tos >> 4);
		ip[1] = (uint8_t)(tos << 4);
		ip[4] = (uint8_t)((8 + len) >> 8);
		ip[5] = (uint8_t)(8 + len);
		ip[6] = 44;
		ip[23] = source;
		ip[39] = 99;
		ip[40] = 50;
		ip[42] = (uint8_t)(offset >> 8);
		ip[43] = (uint8_t)(offset | (size_t)more);
		ip[47] = id;
	}
	for (size_t i = 0; i < len; i++)
		ip[header + i] = (uint8_t)(offset + i + id);
	return fragments_add(f, ip, header + len, (struct mono){ ms * MONO_MS }, &whole,
			     &whole_len);
}

static void check_whole(int version, uint8_t id, size_t len)
{
	size_t header = version == 4 ? 20 : 40;

	assert_int_equal(whole_len, header + len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(whole[header + i], (uint8_t)(i + id));
	if (version == 6) {
		assert_int_equal(whole[6], 50);
		assert_int_equal(whole[4] << 8 | whole[5], len);
		return;
	}
	assert_int_equal(whole[2] << 8 | whole[3], whole_len);
	assert_int_equal(whole[6] | whole[7], 0);
	uint32_t sum = 0;
	for (size_t i = 0; i < 20; i += 2)
		sum += (uint32_t)whole[i] << 8 | whole[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal(sum, 0xffff);
}

static uint64_t counter(const char *name)
{
	struct statistic all[8];
	size_t n = fragments_statistics(f, all, 8);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(all[i].name, name))
			return all[i].value;
	fail_msg("no counter %s", name);
	return 0;
}

/* All orders of four pieces, the last one of odd length. */
static void test_any_order(void **state)
{
	for (int version = 4; version <= 6; version += 2)
		for (unsigned order = 0; order < 256; order++) {
			unsigned seen = 0;

			for (unsigned i = 0; i < 4; i++)
				seen |= 1u << (order >> 2 * i & 3);
			if (seen != 15)
				continue;
			for (unsigned i = 0; i < 4; i++) {
				unsigned n = order >> 2 * i & 3;
				int r = add(version, 1, 7, n * 16, n == 3 ? 13 : 16,
					    n != 3, 0);
				assert_int_equal(r, i == 3);
			}
			check_whole(version, 7, 61);
		}
}

static void test_longest(void **state)
{
	assert_int_equal(add(4, 1, 1, 0, 8000, 1, 0), 0);
	assert_int_equal(add(4, 1, 1, 8000, 1580, 0, 0), 1);
	check_whole(4, 1, 9580);
	assert_int_equal(add(4, 1, 2, 8000, 1581, 0, 0), -EBADMSG);
	assert_int_equal(add(4, 1, 3, 65528, 8, 0, 0), -EBADMSG);
	assert_int_equal(add(6, 1, 3, 65528, 8, 0, 0), -EBADMSG);
	assert_int_equal(counter("fragments.malformed"), 3);
}

static void test_repetition_is_ignored(void **state)
{
	assert_int_equal(add(4, 1, 1, 0, 16, 1, 0), 0);
	assert_int_equal(add(4, 1, 1, 0, 16, 1, 0), 0);
	assert_int_equal(add(4, 1, 1, 16, 8, 0, 0), 1);
	check_whole(4, 1, 24);
}

/* RFC 5722: also what comes afterwards, until time is over. */
static void test_overlap(void **state)
{
	static const struct {
		size_t offset, len;
		int more;
	} tricks[] = {
		{ 8, 16, 1 }, /* half of it known */
		{ 0, 24, 1 }, /* more than what is known */
		{ 0, 8, 0 },  /* the end before what is known */
	};

	for (uint8_t i = 0; i < 3; i++) {
		assert_int_equal(add(4, i, i, 0, 16, 1, 0), 0);
		assert_int_equal(
		    add(4, i, i, tricks[i].offset, tricks[i].len, tricks[i].more, 0),
		    -EBADMSG);
		assert_int_equal(add(4, i, i, 16, 8, 0, 0), -EBADMSG);
		assert_int_equal(add(4, i, i, 0, 16, 1, 0), -EBADMSG);
	}
	assert_int_equal(counter("fragments.overlapping"), 3);
	assert_int_equal(add(4, 0, 0, 0, 16, 1, 10000), 0);
	assert_int_equal(add(4, 0, 0, 16, 8, 0, 10000), 1);
}

static void test_two_ends(void **state)
{
	assert_int_equal(add(4, 1, 1, 32, 8, 0, 0), 0);
	assert_int_equal(add(4, 1, 1, 48, 8, 0, 0), -EBADMSG);
	assert_int_equal(add(4, 2, 1, 32, 8, 0, 0), 0);
	assert_int_equal(add(4, 2, 1, 40, 8, 1, 0), -EBADMSG);
	assert_int_equal(add(4, 3, 1, 32, 8, 1, 0), 0);
	assert_int_equal(add(4, 3, 1, 16, 8, 0, 0), -EBADMSG);
}

static void test_malformed(void **state)
{
	uint8_t ip[64] = { 0 };

	assert_int_equal(add(4, 1, 1, 0, 15, 1, 0), -EBADMSG); /* not of 8 bytes */
	assert_int_equal(add(4, 1, 1, 8, 0, 0, 0), -EBADMSG);
	for (size_t len = 0; len < sizeof(ip); len++)
		for (unsigned first = 0; first < 256; first++) {
			ip[0] = (uint8_t)first;
			ip[3] = 60;
			ip[6] = 0x20; /* more to come */
			assert_true(fragments_add(f, ip, len, (struct mono){ 0 }, &whole,
						  &whole_len) <= 0);
		}
}

static void test_sources_are_bounded(void **state)
{
	for (uint8_t id = 0; id < 6; id++)
		assert_int_equal(add(4, 1, id, 0, 16, 1, id), 0);
	assert_int_equal(counter("fragments.full"), 3);
	assert_int_equal(add(4, 1, 2, 16, 8, 0, 9), 0); /* its first part has gone */
	assert_int_equal(add(4, 1, 5, 16, 8, 0, 9), 1);
	check_whole(4, 5, 24);
}

static void test_all_are_bounded(void **state)
{
	for (uint8_t source = 0; source < 20; source++)
		assert_int_equal(add(6, source, 1, 0, 16, 1, source), 0);
	assert_int_equal(counter("fragments.full"), 12);
	assert_int_equal(add(6, 19, 1, 16, 8, 0, 30), 1);
}

static void test_age(void **state)
{
	assert_int_equal(add(4, 1, 1, 0, 16, 1, 0), 0);
	assert_int_equal(add(4, 1, 2, 0, 16, 1, 0), 0);
	assert_int_equal(add(4, 1, 2, 16, 8, 0, 9999), 1);
	assert_int_equal(add(4, 1, 1, 16, 8, 0, 10000), 0);
	assert_int_equal(counter("fragments.too-old"), 1);
}

/* RFC 3168 5.3, and the service class of the first one. */
static void test_congestion(void **state)
{
	enum { NOT, ECT1, ECT0, CE };
	static const struct {
		uint8_t first, second;
		int want; /* -1: dropped */
	} cases[] = {
		{ NOT, NOT, NOT }, { ECT0, ECT0, ECT0 }, { ECT1, ECT1, ECT1 },
		{ CE, ECT0, CE },  { ECT0, CE, CE },	 { ECT1, CE, CE },
		{ CE, CE, CE },	   { NOT, CE, -1 },	 { CE, NOT, -1 },
	};

	for (int version = 4; version <= 6; version += 2)
		for (uint8_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			tos = 0xb8 | cases[i].first;
			assert_int_equal(add(version, 1, i, 0, 16, 1, 0), 0);
			tos = cases[i].second;
			assert_int_equal(add(version, 1, i, 16, 8, 0, 0),
					 cases[i].want < 0 ? -EBADMSG : 1);
			tos = 0;
			if (cases[i].want < 0)
				continue;
			check_whole(version, i, 24);
			assert_int_equal(version == 4
					     ? whole[1]
					     : (uint8_t)(whole[0] << 4 | whole[1] >> 4),
					 0xb8 | cases[i].want);
		}
	assert_int_equal(counter("fragments.illegal-congestion-mark"), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_any_order),
		TEST(test_longest),
		TEST(test_repetition_is_ignored),
		TEST(test_overlap),
		TEST(test_two_ends),
		TEST(test_malformed),
		TEST(test_sources_are_bounded),
		TEST(test_all_are_bounded),
		TEST(test_age),
		TEST(test_congestion),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
