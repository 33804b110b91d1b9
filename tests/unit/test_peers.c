/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cannot be set for a peer of transport mode is tried again, and keeps the member from
 * working meanwhile; so are routes of what is protected. In a network namespace of its own, where the device comes late. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/peers.h"
#include "src/routes.h"

#define LATE 99
#define TABLE 221

static struct rtable table = { .number = TABLE, .ifindex = LATE };
static struct mono now = { 1000 * MONO_SEC };

static struct address peer(unsigned n)
{
	return (struct address){ .family = AF_INET,
				 .bytes = { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8),
					    (uint8_t)n } };
}

static struct filter *make_filter(void)
{
	const struct filter_config config = {
		.self = 2,
		.address_count = 1,
		.addresses = { { .family = AF_INET, .bytes = { 192, 0, 2, 1 } } },
		.lease_fd = -1,
		.userspace = true
	};
	char err[FILTER_ERROR_SIZE];
	struct filter *f = filter_new(&config, err);

	assert_non_null(f);
	return f;
}

/* The next look for which everything is due that is to come. */
static void look_later(struct peers *p)
{
	now = mono_add(now, 100 * MONO_SEC);
	peers_tick(p, false, now);
}

static bool in_table(const char *command, const char *text)
{
	char line[256];
	bool found = false;
	FILE *f = popen(command, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found = found || strstr(line, text);
	pclose(f);
	return found;
}

static bool in_kernel(const char *text)
{
	return in_table("ip -4 route show table 222 2>/dev/null", text);
}

static bool is_grave(struct peers *p)
{
	bool grave;

	peers_failure(p, &grave);
	return grave;
}

static void test_a_route_is_tried_again(void **state)
{
	struct filter *f = make_filter();
	struct peers *p = peers_new(f, &table, now);
	const struct address first = peer(1), second = peer(2);
	bool grave;

	assert_string_equal(peers_failure(p, &grave), "");
	peers_add(p, &first, 17, 53);
	peers_add(p, &first, 6, 80);
	peers_add(p, &second, 0, 0);
	assert_non_null(strstr(peers_failure(p, &grave), "kernel"));
	assert_true(grave);
	look_later(p);
	assert_true(is_grave(p));
	/* It never was there, and whose route it is goes before the other one. */
	peers_remove(p, &second, 0, 0);
	peers_remove(p, &first, 6, 80);
	peers_remove(p, &first, 17, 53);
	assert_false(is_grave(p));
	peers_add(p, &first, 17, 53);
	peers_add(p, &first, 6, 80);
	peers_remove(p, &first, 17, 53);
	peers_tick(p, false, now);
	assert_true(is_grave(p));

	assert_int_equal(
	    system("ip link add plate index 99 type veth peer name pother && "
		   "ip link set plate up"),
	    0);
	/* Not yet. */
	peers_tick(p, false, now);
	assert_true(is_grave(p));
	look_later(p);
	assert_string_equal(peers_failure(p, &grave), "");
	assert_false(grave);
	assert_true(in_kernel("10.0.0.1 dev plate"));
	assert_true(in_kernel("unreachable 10.0.0.1"));
	peers_remove(p, &first, 6, 80);
	assert_false(in_kernel("10.0.0.1"));
	peers_free(p);
	filter_free(f);
}

static void test_what_is_protected_is_tried_again(void **state)
{
	static const char command[] = "ip -4 route show table 221 2>/dev/null";
	const struct rtable late = { table.netlink, TABLE, LATE + 1 };
	struct filter *f = make_filter();
	struct routes *r = routes_new(f, &late);
	const struct address prefix = { .family = AF_INET, .bytes = { 10, 9 } };

	routes_protect(r, ROUTES_CONF, &prefix, 16);
	routes_look(r);
	assert_false(in_table(command, "dev later"));
	assert_int_equal(
	    system("ip link add later index 100 type veth peer name lother && "
		   "ip link set later up"),
	    0);
	routes_look(r); /* too early: it has failed twice */
	assert_false(in_table(command, "dev later"));
	routes_look(r);
	assert_true(in_table(command, "10.9.0.0/16 dev later"));
	assert_true(in_table(command, "unreachable 10.9.0.0/16"));
	routes_unprotect(r, ROUTES_CONF, &prefix, 16);
	assert_false(in_table(command, "10.9.0.0/16"));
	routes_free(r);
	filter_free(f);
}

/* All members' filters are full then: one that gives its units up helps nobody. */
static void test_a_full_filter_is_said(void **state)
{
	struct filter *f = make_filter();
	struct peers *p = peers_new(f, &table, now);
	const struct address one = peer(1), more = peer(2);
	bool grave = true;

	for (unsigned i = 0; i < UNIT_GUARDS_MAX; i++) {
		const struct address a = peer(100 + i);

		assert_int_equal(filter_guard_add(f, &a, 0, 0), 0);
	}
	peers_add(p, &one, 0, 0);
	peers_add(p, &more, 0, 0);
	assert_non_null(strstr(peers_failure(p, &grave), "filter"));
	assert_false(grave);
	for (unsigned i = 0; i < UNIT_GUARDS_MAX; i++) {
		const struct address a = peer(100 + i);

		assert_int_equal(filter_guard_del(f, &a, 0, 0), 0);
		assert_int_equal(filter_guard_del(f, &a, 0, 0), -ENOENT);
	}
	look_later(p);
	assert_string_equal(peers_failure(p, &grave), "");
	assert_int_equal(filter_guard_del(f, &one, 0, 0), 0);
	assert_int_equal(filter_guard_del(f, &more, 0, 0), 0);
	peers_free(p);
	filter_free(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_route_is_tried_again),
		cmocka_unit_test(test_what_is_protected_is_tried_again),
		cmocka_unit_test(test_a_full_filter_is_said),
	};

	if (geteuid() || unshare(CLONE_NEWNET) || system("ip link set lo up")) {
		printf("skipped: network namespaces need root\n");
		return 77;
	}
	if (netlink_open(&table.netlink))
		return 99;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
