/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What keeps peers of transport mode from being reached in clear outlives the daemon, and its
 * successor's start. In a network namespace of its own. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/rtable.h"

#define LOOPBACK 1
#define TABLE 221

static const struct address cluster = { .family = AF_INET, .bytes = { 192, 0, 2, 1 } };
static const struct address other = { .family = AF_INET, .bytes = { 192, 0, 2, 2 } };
static const struct address peer = { .family = AF_INET, .bytes = { 198, 51, 100, 7 } };
static struct rtable table = { .number = TABLE, .ifindex = LOOPBACK };

/* Lines that the command prints with this text in them. */
static unsigned count(const char *command, const char *text)
{
	char line[256];
	unsigned n = 0;
	FILE *f = popen(command, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, text) != NULL;
	assert_int_equal(pclose(f), 0);
	return n;
}

static bool is_other(void *ctx, const struct address *address)
{
	return address_same(address, &other);
}

static bool is_peer(void *ctx, const struct address *address)
{
	return address_same(address, &peer);
}

static void test_peers_stay_out_of_reach(void **state)
{
	assert_int_equal(rtable_begin(&table), 0);
	assert_int_equal(rtable_peer_rule(&table, &cluster), 0);
	assert_int_equal(rtable_peer_rule(&table, &other), 0);
	assert_int_equal(rtable_peer(&table, &peer, true), 0);
	assert_int_equal(count("ip -4 rule", "lookup 221"), 2);
	assert_int_equal(count("ip -4 rule", "from 192.0.2.1 lookup 222"), 1);
	assert_int_equal(count("ip -4 route show table 222", "dev lo"), 1);
	/* The next run begins. */
	assert_int_equal(rtable_begin(&table), 0);
	assert_int_equal(count("ip -4 rule", "lookup 221"), 2);
	assert_int_equal(count("ip -4 rule", "from 192.0.2.1 lookup 222"), 1);
	assert_int_equal(count("ip -4 route show table 222", "unreachable"), 1);
	assert_int_equal(count("ip -4 route show table 222", "dev lo"), 0);
	assert_int_equal(rtable_peer_rule(&table, &cluster), 0);
	assert_int_equal(count("ip -4 rule", "from 192.0.2.1 lookup 222"), 1);
	/* What is stale goes, and nothing else. */
	assert_int_equal(rtable_peer_rules_sweep(&table, is_other, NULL), 0);
	assert_int_equal(count("ip -4 rule", "lookup 222"), 1);
	assert_int_equal(count("ip -4 rule", "from 192.0.2.1 lookup 222"), 1);
	assert_int_equal(count("ip -4 rule", "lookup 221"), 2);
	assert_int_equal(rtable_peers_sweep(&table, is_other, NULL), 0);
	assert_int_equal(count("ip -4 route show table 222", "unreachable"), 1);
	assert_int_equal(rtable_peers_sweep(&table, is_peer, NULL), 0);
	assert_int_equal(count("ip -4 route show table 222", "unreachable"), 0);
	/* For good. */
	assert_int_equal(rtable_remove(table.netlink), 0);
	assert_int_equal(count("ip -4 rule", "lookup 22"), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peers_stay_out_of_reach),
	};

	if (geteuid() || unshare(CLONE_NEWNET) || system("ip link set lo up")) {
		printf("skipped: network namespaces need root\n");
		return 77;
	}
	if (netlink_open(&table.netlink))
		return 99;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
