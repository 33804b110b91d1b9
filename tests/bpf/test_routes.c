/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose packets go to which unit: by routes, and by folding what has none; and which of them
 * come in ESP only. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/bpf/verdicts.h"

/* A prefix that goes leaves those beside, above and below it. */
static void test_routes_nested(void **state)
{
	const struct verdict_case one = { "one", { .to = "10.7.1.2" }, 0, UNIT, 0 };
	const struct verdict_case two = { "two", { .to = "10.7.1.3" }, 0, UNIT, 0 };
	struct in_addr a;

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	route("10.7.0.0", 16, 16);
	route("10.7.1.2", 32, 2);
	route("10.7.1.3", 32, 3);
	inet_pton(AF_INET, "10.7.1.3", &a);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 32), 0);
	check(&one, UNIT_HOST, UNIT_BY_ROUTED, 2);
	check(&two, UNIT_HOST, UNIT_BY_ROUTED, 16);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 16), 0);
	check(&one, UNIT_HOST, UNIT_BY_ROUTED, 2);
	check(&two, UNIT_HOST, UNIT_BY_FORWARDED,
	      unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a070103)));
	inet_pton(AF_INET, "10.7.1.2", &a);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 32), 0);
}

/* The families' routes do not cover one another. */
static void test_routes_by_family(void **state)
{
	const struct verdict_case c4 = { "IPv4", { .to = "10.6.0.1" }, 0, UNIT, 0 };
	const struct verdict_case c6 = {
		"IPv6", { .version = 6, .to = "2001:db8:6::1" }, 0, UNIT, 0
	};
	static const uint8_t any[16];
	const struct unit_ip to = { 0x20010db800060000ull, 1 };
	const struct unit_ip from = { SRC6_HIGH, SRC6_LOW };
	unsigned fold4 =
	    unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a060001));
	unsigned fold6 = unit_pair(filter_key(filter), from, to);

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	assert_int_equal(filter_route_add(filter, AF_INET6, any, 0, 6), 0);
	check(&c4, UNIT_HOST, UNIT_BY_FORWARDED, fold4);
	check(&c6, UNIT_HOST, UNIT_BY_ROUTED, 6);
	assert_int_equal(filter_route_add(filter, AF_INET, any, 0, 4), 0);
	check(&c4, UNIT_HOST, UNIT_BY_ROUTED, 4);
	assert_int_equal(filter_route_del(filter, AF_INET6, any, 0), 0);
	check(&c6, UNIT_HOST, UNIT_BY_FORWARDED, fold6);
	assert_int_equal(filter_route_del(filter, AF_INET, any, 0), 0);
	check(&c4, UNIT_HOST, UNIT_BY_FORWARDED, fold4);
}

static void no_route(const char *address, unsigned prefixlen)
{
	struct address a;

	assert_int_equal(address_parse(address, &a), 0);
	assert_int_equal(filter_route_del(filter, a.family, a.bytes, prefixlen), 0);
	assert_int_equal(filter_route_del(outside, a.family, a.bytes, prefixlen), 0);
}

/*
 * A session with all the world: what is near is not in it, and what this member itself has
 * to say to the world is not either; who claims the address of a smaller network is.
 */
static void test_routes_near(void **state)
{
	const struct verdict_case far = { "far", { .to = "203.0.113.9" }, 0, UNIT, 0 };
	const struct verdict_case near = { "near", { .to = "10.1.0.9" }, 0, UNIT, 0 };
	const struct verdict_case own = {
		"own", { .mac = FRAME_OWN_MAC, .to = "192.0.2.11" }, 0, NO_UNIT, 0
	};
	const struct verdict_case own6 = {
		"own, IPv6",
		{ .mac = FRAME_OWN_MAC, .version = 6, .to = "2001:db8::11" },
		0,
		NO_UNIT,
		0
	};
	const struct verdict_case forged = {
		"to own, forged",
		{ .mac = FRAME_OWN_MAC, .source = "10.8.0.5", .to = "192.0.2.11" },
		UNIT_BY_CLEAR,
		NO_UNIT,
		0
	};
	const struct verdict_case world = {
		"to own, from the world",
		{ .mac = FRAME_OWN_MAC, .source = "203.0.113.9", .to = "192.0.2.11" },
		UNIT_BY_OTHER,
		NO_UNIT,
		0
	};
	const struct verdict_case beside = { "to near, from the world",
					     { .source = "203.0.113.9",
					       .to = "10.1.0.9" },
					     UNIT_BY_CLEAR,
					     NO_UNIT,
					     0 };
	const struct verdict_case neighbour = { "to near, from near",
						{ .source = "192.0.2.77",
						  .to = "10.1.0.9" },
						UNIT_BY_FORWARDED,
						NO_UNIT,
						0 };
	uint8_t frame[FRAME_MAX];
	size_t len;
	struct unit_result r;
	const struct verdict_case *const arrivals[] = { &forged, &world, &beside,
							&neighbour };

	filter_renew(filter, NEVER);
	filter_renew(outside, NEVER);
	give_all_to(SELF);
	route("0.0.0.0", 0, 77);
	route("::", 0, 78);
	route("10.1.0.0", 16, FILTER_ROUTE_NEAR);
	route("192.0.2.0", 24, FILTER_ROUTE_NEAR);
	route("192.0.2.11", 32, FILTER_ROUTE_OWN);
	route("2001:db8::11", 128, FILTER_ROUTE_OWN);
	check(&far, UNIT_HOST, UNIT_BY_ROUTED, 77);
	check(&near, UNIT_HOST, UNIT_BY_FORWARDED,
	      unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a010009)));
	check(&own, UNIT_PASS, UNIT_BY_OTHER, UNIT_NONE);
	check(&own6, UNIT_PASS, UNIT_BY_OTHER, UNIT_NONE);
	for (size_t i = 0; i < sizeof(arrivals) / sizeof(arrivals[0]); i++) {
		len = frame_build(&arrivals[i]->frame, frame);
		r = filter_classify(outside, frame, len, LO, 1);
		assert_int_equal(r.as, arrivals[i]->reason);
		if (in_kernel && kernel_classify(outside, frame, len, &r))
			assert_true(r.reason == arrivals[i]->reason ||
				    r.reason == UNIT_BY_UNOWNED);
	}
	len = frame_build(&far.frame, frame);
	assert_int_equal(filter_route_find(filter, frame + 14, len - 14), 77);
	len = frame_build(&near.frame, frame);
	assert_int_equal(filter_route_find(filter, frame + 14, len - 14),
			 FILTER_ROUTE_NEAR);
	no_route("0.0.0.0", 0);
	no_route("::", 0);
	no_route("10.1.0.0", 16);
	no_route("192.0.2.0", 24);
	no_route("192.0.2.11", 32);
	no_route("2001:db8::11", 128);
}

static void test_routes(void **state)
{
	struct in_addr a;
	const struct verdict_case c = { "route", { .to = "10.7.1.1" }, 0, UNIT, 0 };

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	inet_pton(AF_INET, "10.7.1.1", &a);
	unsigned fold =
	    unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a070101));
	check(&c, UNIT_HOST, UNIT_BY_FORWARDED, fold);
	for (unsigned prefix = 8; prefix <= 32; prefix += 8) {
		assert_int_equal(
		    filter_route_add(filter, AF_INET, &a, prefix, (uint16_t)prefix), 0);
		check(&c, UNIT_HOST, UNIT_BY_ROUTED, prefix);
	}
	assert_int_equal(filter_route_add(filter, AF_INET, &a, 32, 500), 0);
	check(&c, UNIT_HOST, UNIT_BY_ROUTED, 500);
	for (unsigned prefix = 32; prefix > 8; prefix -= 8) {
		assert_int_equal(filter_route_del(filter, AF_INET, &a, prefix), 0);
		check(&c, UNIT_HOST, UNIT_BY_ROUTED, prefix - 8);
	}
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 8), 0);
	check(&c, UNIT_HOST, UNIT_BY_FORWARDED, fold);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 8), -ENOENT);
	assert_int_equal(filter_route_add(filter, AF_INET, &a, 33, 1), -EINVAL);
	assert_int_equal(filter_route_add(filter, AF_INET6, key_bytes, 129, 1), -EINVAL);
	assert_int_equal(filter_route_add(filter, AF_INET, &a, 32, 1024), -EINVAL);
	assert_int_equal(filter_route_add(filter, AF_UNIX, &a, 32, 1), -EAFNOSUPPORT);
}

/* From outside, what a peer of transport mode has to say comes in ESP: all of it, what goes
 * to a port, or what is of a protocol. */
static void test_guards(void **state)
{
	static const struct {
		struct frame_spec frame;
		bool clear; /* so it is dropped */
	} guarded[] = {
		{ { .protocol = 17, BYTES("\x10\0\x06\xa5\0\x08\0\0") }, true },
		{ { .protocol = 17, BYTES("\x06\xa5\x10\0\0\x08\0\0") }, false },
		{ { .source = "198.51.100.8",
		    .protocol = 17,
		    BYTES("\x10\0\x06\xa5\0\x08\0\0") },
		  false },
		{ { .protocol = 17, BYTES("\x01\xf4\x01\xf4\0\x08\0\0") }, false },
		{ { .protocol = 50, BYTES("\x12\x34\x57\xff\0\0\0\1") }, false },
		{ { .protocol = 1, BYTES("\x08\0\0\0\0\0\0\0") }, true },
		{ { .protocol = 1, BYTES("\x03\x04\0\0\0\0\0\0") }, false },
		{ { .version = 6,
		    .source = "2001:db8:1::8",
		    .protocol = 58,
		    BYTES("\x80\0\0\0\0\0\0\0") },
		  true },
		{ { .version = 6,
		    .source = "2001:db8:1::8",
		    .protocol = 58,
		    BYTES("\x81\0\0\0\0\0\0\0") },
		  false },
		{ { .version = 6,
		    .protocol = 6,
		    BYTES("\x10\0\0\x16\0\0\0\0\0\0\0\0\x50\0\0\0\0\0\0\0") },
		  true },
		{ { .version = 6, .protocol = 50, BYTES("\x12\x34\x57\xff\0\0\0\1") },
		  false },
	};
	struct address a4, a6, b6;

	address_parse("198.51.100.7", &a4);
	address_parse("2001:db8:1::7", &a6);
	address_parse("2001:db8:1::8", &b6);
	filter_renew(outside, NEVER);
	assert_int_equal(filter_guard_add(outside, &a4, 17, 1701), 0);
	assert_int_equal(filter_guard_add(outside, &a4, 1, 0), 0);
	assert_int_equal(filter_guard_add(outside, &a6, 0, 0), 0);
	assert_int_equal(filter_guard_add(outside, &a6, 0, 0), -EEXIST);
	assert_int_equal(filter_guard_add(outside, &b6, 58, 128 << 8), 0);
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < sizeof(guarded) / sizeof(guarded[0]); i++) {
			uint8_t frame[FRAME_MAX];
			size_t len = frame_build(&guarded[i].frame, frame);
			bool clear = turn == 0 && guarded[i].clear;
			struct unit_result r;

			r = filter_classify(outside, frame, len, LO, 1);
			assert_int_equal(r.reason == UNIT_BY_CLEAR, clear);
			if (in_kernel && kernel_classify(outside, frame, len, &r))
				assert_int_equal(r.reason == UNIT_BY_CLEAR, clear);
			/* From inside it may. */
			r = filter_classify(filter, frame, len, LO, 1);
			assert_int_not_equal(r.reason, UNIT_BY_CLEAR);
		}
		assert_int_equal(filter_guard_del(outside, &a4, 17, 1701),
				 turn ? -ENOENT : 0);
		assert_int_equal(filter_guard_del(outside, &a4, 1, 0),
				 turn ? -ENOENT : 0);
		assert_int_equal(filter_guard_del(outside, &a6, 0, 0),
				 turn ? -ENOENT : 0);
		assert_int_equal(filter_guard_del(outside, &b6, 58, 128 << 8),
				 turn ? -ENOENT : 0);
	}
}

/* SipHash-1-3 as OpenSSL computes it, folded by hand. */
static void test_fold_vectors(void **state)
{
	const struct unit_key *key = filter_key(filter);

	assert_int_equal(key->k[0], 0x0001020304050607ull);
	assert_int_equal(unit_fold(key, 0x8877665544332211ull, 0x0807060504030201ull),
			 729);
	assert_int_equal(unit_fold(key, 0, 0), 736);
}

static void test_fold_symmetric(void **state)
{
	const struct unit_key *key = filter_key(filter);
	unsigned seed = 2;

	for (unsigned i = 0; i < 1000; i++) {
		struct unit_ip a = { i % 2 ? (uint64_t)rand_r(&seed) << 32 : 0,
				     (uint32_t)rand_r(&seed) * 2654435761u },
			       b = { i % 2 ? (uint64_t)rand_r(&seed) << 32 : 0,
				     (uint32_t)rand_r(&seed) * 2246822519u };
		assert_int_equal(unit_pair(key, a, b), unit_pair(key, b, a));
	}
}

/*
 * Neighbouring addresses spread over all units: over 64 a unit on average, 128 is
 * eight standard deviations away. Another key gives another spread.
 */
static void test_fold_spread(void **state)
{
	struct unit_key key = *filter_key(filter), key2 = key;
	unsigned count[UNIT_COUNT] = { 0 }, same = 0;

	key2.k[1] ^= 1;
	for (uint32_t i = 0; i < 64 * UNIT_COUNT; i++) {
		uint16_t unit = unit_address(&key, unit_ipv4(0x0a000000 + i));
		count[unit]++;
		same += unit == unit_address(&key2, unit_ipv4(0x0a000000 + i));
	}
	for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
		assert_in_range(count[unit], 8, 128);
	assert_in_range(same, 8, 128);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_routes_nested),
		cmocka_unit_test(test_routes_near),
		cmocka_unit_test(test_routes_by_family),
		cmocka_unit_test(test_guards),
		cmocka_unit_test(test_fold_vectors),
		cmocka_unit_test(test_fold_symmetric),
		cmocka_unit_test(test_fold_spread),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
