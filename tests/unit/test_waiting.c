/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a packet whose unit is not worked on here: whom it goes to, how it
 * waits, and how members hand it over.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/course.h"
#include "src/handed.h"
#include "src/waiting.h"

#define A 1
#define B 2
#define C 3

/* ---- whose is it? */

static const struct course_case {
	const char *name;
	struct course_view view;
	unsigned hops;
	enum course course;
	member_id to;
} courses[] = {
	{ "ours",
	  { .self = A, .owner = A, .active = true, .serves = true },
	  0,
	  COURSE_SERVE,
	  0 },
	{ "ours, handed twice",
	  { .self = A, .owner = A, .active = true, .serves = true },
	  2,
	  COURSE_SERVE,
	  0 },
	{ "ours, but fenced or resting",
	  { .self = A, .owner = A, .active = true },
	  0,
	  COURSE_WAIT,
	  0 },
	{ "released to B, which has not announced",
	  { .self = A, .owner = A, .successor = B },
	  0,
	  COURSE_PASS,
	  B },
	{ "the same, handed to us by C",
	  { .self = A, .owner = A, .successor = B },
	  1,
	  COURSE_PASS,
	  B },
	{ "the same, handed twice already",
	  { .self = A, .owner = A, .successor = B },
	  2,
	  COURSE_DROP,
	  0 },
	{ "kept without serving, and nobody to have it",
	  { .self = A, .owner = A },
	  0,
	  COURSE_DROP,
	  0 },
	{ "another's", { .self = A, .owner = B, .successor = A }, 0, COURSE_PASS, B },
	{ "handed to the successor before the release",
	  { .self = B, .owner = A, .successor = B },
	  1,
	  COURSE_WAIT,
	  0 },
	{ "the same, on its second hop",
	  { .self = B, .owner = A, .successor = B },
	  2,
	  COURSE_WAIT,
	  0 },
	{ "handed to the target before it has become successor",
	  { .self = B, .owner = A, .successor = C, .moving_to = B },
	  1,
	  COURSE_WAIT,
	  0 },
	{ "handed to a successor that leaves",
	  { .self = B, .owner = A, .successor = B, .leaving = true },
	  1,
	  COURSE_PASS,
	  A },
	{ "handed to a former owner", { .self = A, .owner = B }, 1, COURSE_PASS, B },
	{ "tables that disagree do not make a loop",
	  { .self = A, .owner = B },
	  2,
	  COURSE_DROP,
	  0 },
	{ "nobody's, at the master", { .self = A, .master = A }, 0, COURSE_WAIT, 0 },
	{ "nobody's, elsewhere", { .self = B, .master = A }, 0, COURSE_PASS, A },
	{ "nobody's, handed to the master",
	  { .self = A, .master = A },
	  1,
	  COURSE_WAIT,
	  0 },
	{ "nobody's, and we succeed",
	  { .self = B, .master = A, .successor = B },
	  0,
	  COURSE_WAIT,
	  0 },
	{ "nobody's, without a master", { .self = B }, 0, COURSE_DROP, 0 },
};

static void test_course(void **state)
{
	for (size_t i = 0; i < sizeof(courses) / sizeof(courses[0]); i++) {
		const struct course_case *c = &courses[i];
		member_id to = 0;

		enum course course = course_of(&c->view, c->hops, &to);
		if (course != c->course || to != c->to)
			fail_msg("%s: course %d to %u", c->name, course, to);
	}
}

/* ---- the queue */

static const struct waiting_limits limits = { .unit_packets = 4,
					      .bytes = 10000,
					      .age = MONO_SEC };

static struct mono at(uint64_t ms)
{
	return (struct mono){ ms * MONO_MS };
}

static void add(struct waiting *w, unit_id unit, uint8_t number, size_t len, uint64_t ms)
{
	static const struct waiting_tag tag;
	uint8_t bytes[WAITING_PACKET_MAX];

	memset(bytes, number, len);
	assert_int_equal(waiting_add(w, unit, &tag, bytes, len, at(ms)), 0);
}

/* The number of the unit's oldest packet, taken out; -1: none. */
static int take(struct waiting *w, unit_id unit)
{
	struct waiting_packet *p = waiting_take(w, unit);
	int number = p ? p->bytes[0] : -1;

	free(p);
	return number;
}

static uint64_t counter(const struct waiting *w, const char *name)
{
	struct statistic all[16];
	size_t n = waiting_statistics(w, all, 16);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(all[i].name, name))
			return all[i].value;
	fail_msg("no counter %s", name);
	return 0;
}

static void test_order(void **state)
{
	struct waiting *w = waiting_new(&limits);

	add(w, 5, 1, 100, 0);
	add(w, 6, 2, 100, 0);
	add(w, 5, 3, 100, 1);
	assert_true(unit_set_has(waiting_units(w), 5));
	assert_true(unit_set_has(waiting_units(w), 6));
	assert_int_equal(waiting_peek(w, 5)->bytes[0], 1);
	assert_int_equal(take(w, 5), 1);
	assert_int_equal(take(w, 5), 3);
	assert_null(waiting_peek(w, 5));
	assert_int_equal(take(w, 5), -1);
	assert_false(unit_set_has(waiting_units(w), 5));
	assert_false(waiting_empty(w));
	assert_int_equal(take(w, 6), 2);
	assert_true(waiting_empty(w));
	assert_int_equal(counter(w, "waiting.worked-off"), 3);
	assert_int_equal(counter(w, "waiting.bytes"), 0);
	waiting_free(w);
}

static void test_unit_bound(void **state)
{
	struct waiting *w = waiting_new(&limits);

	add(w, 7, 100, 100, 0);
	for (uint8_t i = 0; i < 6; i++)
		add(w, 5, i, 100, i);
	assert_int_equal(counter(w, "waiting.full"), 2);
	for (int i = 2; i < 6; i++)
		assert_int_equal(take(w, 5), i);
	assert_int_equal(take(w, 7), 100); /* not that unit's fault */
	waiting_free(w);
}

static void test_total_bound(void **state)
{
	struct waiting *w = waiting_new(&limits);

	for (uint8_t i = 0; i < 20; i++) {
		add(w, i, i, 3000, i);
		assert_true(counter(w, "waiting.bytes") <= limits.bytes);
	}
	assert_int_equal(take(w, 16), -1);
	for (unit_id u = 17; u < 20; u++)
		assert_int_equal(take(w, u), u);
	assert_int_equal(counter(w, "waiting.full"), 17);
	waiting_free(w);
}

static void test_age(void **state)
{
	struct waiting *w = waiting_new(&limits);

	assert_true(waiting_timeout(w).ns == UINT64_MAX);
	add(w, 1, 1, 10, 0);
	add(w, 2, 2, 10, 600);
	assert_int_equal(waiting_timeout(w).ns, at(1000).ns);
	waiting_expire(w, at(999));
	assert_true(unit_set_has(waiting_units(w), 1));
	waiting_expire(w, at(1000));
	assert_int_equal(take(w, 1), -1);
	assert_int_equal(take(w, 2), 2);
	assert_int_equal(counter(w, "waiting.too-old"), 1);
	waiting_free(w);
}

static void test_drop(void **state)
{
	static const struct waiting_tag tag;
	static uint8_t long_one[WAITING_PACKET_MAX + 1];
	struct waiting *w = waiting_new(&limits);

	add(w, 1, 1, 10, 0);
	add(w, 1, 2, 10, 0);
	add(w, 2, 3, 10, 0);
	waiting_drop(w, 1);
	assert_int_equal(take(w, 1), -1);
	assert_int_equal(counter(w, "waiting.unit-gone"), 2);
	assert_int_equal(take(w, 2), 3);
	assert_int_equal(waiting_add(w, 1, &tag, long_one, sizeof(long_one), at(0)),
			 -EMSGSIZE);
	assert_int_equal(waiting_add(w, CLUSTER_UNITS, &tag, long_one, 1, at(0)),
			 -EMSGSIZE);
	assert_true(waiting_empty(w));
	add(w, 3, 4, 10, 0); /* freed with it */
	waiting_free(w);
	waiting_free(NULL);
}

/* ---- from member to member */

static void test_handed_packet(void **state)
{
	uint8_t ip[60] = { 0x45, 0, 0, sizeof(ip) };
	uint8_t message[HANDED_HEADER + sizeof(ip) + 1];
	struct handed_packet in = { .tag = { .inside = 1, .network = 3, .hops = 2 },
				    .unit = 1023,
				    .ip = ip,
				    .len = sizeof(ip) },
			     out;
	size_t len = handed_encode_packet(&in, message, sizeof(message));

	assert_int_equal(len, HANDED_HEADER + sizeof(ip));
	assert_int_equal(handed_kind(message, len), HANDED_PACKET);
	assert_int_equal(handed_decode_packet(message, len, &out), 0);
	assert_memory_equal(&out.tag, &in.tag, sizeof(in.tag));
	assert_int_equal(out.unit, 1023);
	assert_int_equal(out.len, sizeof(ip));
	assert_memory_equal(out.ip, ip, sizeof(ip));
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(handed_decode_packet(message, cut, &out), -EBADMSG);
	assert_int_equal(handed_decode_packet(message, len + 1, &out), -EBADMSG);
	assert_int_equal(handed_encode_packet(&in, message, len - 1), 0);
}

/* Each byte of the header, and of the IP header, out of its range. */
static void test_handed_refusals(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = { { 0, 2 }, { 1, 4 },	   { 2, 16 },	{ 3, 0 },    { 3, 3 },
		    { 4, 4 }, { 6, 0x44 }, { 6, 0x4f }, { 6, 0x75 }, { 9, 39 } };
	uint8_t ip[40] = { 0x45, 0, 0, sizeof(ip) }, message[HANDED_HEADER + sizeof(ip)];
	struct handed_packet in = { .tag = { .hops = 1 }, .ip = ip, .len = sizeof(ip) },
			     out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len = handed_encode_packet(&in, message, sizeof(message));

		assert_int_equal(handed_decode_packet(message, len, &out), 0);
		message[bad[i].at] = bad[i].value;
		if (handed_decode_packet(message, len, &out) != -EBADMSG)
			fail_msg("byte %zu may be %u", bad[i].at, bad[i].value);
	}
}

static void test_handed_places(void **state)
{
	struct handed_places in = { .count = 2,
				    .at = { { 0, "\2\0\0\0\0\1" },
					    { 1, "\2\0\0\0\0\2" } } },
			     out;
	uint8_t message[64];
	size_t len = handed_encode_places(&in, message, sizeof(message));

	assert_int_equal(len, 16);
	assert_int_equal(handed_decode_places(message, len, &out), 0);
	assert_memory_equal(&in, &out, sizeof(in));
	assert_int_equal(handed_decode_places(message, len - 1, &out), -EBADMSG);
	message[3] |= 1; /* a group address */
	assert_int_equal(handed_decode_places(message, len, &out), -EBADMSG);
	message[3] ^= 1;
	message[2] = HANDED_NETWORKS_MAX;
	assert_int_equal(handed_decode_places(message, len, &out), -EBADMSG);
	message[1] = HANDED_NETWORKS_MAX + 1;
	assert_int_equal(handed_decode_places(message, len, &out), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_course),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_unit_bound),
		cmocka_unit_test(test_total_bound),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_handed_packet),
		cmocka_unit_test(test_handed_refusals),
		cmocka_unit_test(test_handed_places),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
