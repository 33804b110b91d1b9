/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets towards sites whose networks overlap: which CHILD SA of which member has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"

#define TCP 6
#define UDP 17

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr peer = { 4, { 198, 51, 100, 7 }, IKE_PORT };

struct net {
	uint8_t family, protocol;
	uint8_t from[16], to[16];
};

static struct local_blob selector(uint8_t *buf, const struct net *n)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	struct local_ts ts = { .family = n->family,
			       .protocol = n->protocol,
			       .to_port = 65535 };

	memcpy(ts.from, n->from, 16);
	memcpy(ts.to, n->to, 16);
	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

static void add_child(struct node *n, uint64_t ike, uint32_t spi_in, uint32_t spi_out,
		      const struct net *inside, const struct net *remote)
{
	uint8_t near[LOCAL_TS_SIZE], far[LOCAL_TS_SIZE];
	struct local_sa_add in = { .ike = ike,
				   .spi = spi_in,
				   .src = peer,
				   .dst = gateway,
				   .src_ts = selector(far, remote),
				   .dst_ts = selector(near, inside) };

	gateways_child(n, &in, spi_out, "");
}

/* A site: a child of an IKE SA of this member, whose outbound SPI is `spi_out`. */
static unit_id add_site(struct node *n, uint32_t spi_out, const struct net *inside,
			const struct net *remote)
{
	struct local_message ike = { .type = LOCAL_IKE_PUT };
	struct cluster_unit_state state;
	unit_id unit = (unit_id)spi_out;

	do
		cluster_unit(n->c, ++unit, &state);
	while (!state.served);
	ike.ike_put.spi = (uint64_t)spi_out << 32 | unit;
	ike.ike_put.peer_spi = spi_out;
	ike.ike_put.local = gateway;
	ike.ike_put.remote = peer;
	ike.ike_put.state = (struct local_blob){ (const uint8_t *)"state", 5 };
	gateways_say(n, &ike);
	add_child(n, ike.ike_put.spi, spi_out << 16 | unit, spi_out, inside, remote);
	gateways_run(20);
	return unit;
}
static void forward(struct node *n, uint8_t protocol, const uint8_t source[4],
		    const uint8_t destination[4])
{
	uint8_t ip[28] = { 0x45, [3] = 28, [8] = 64, [9] = protocol };
	struct packet packet = { ip, sizeof(ip), 1, true, 1 };

	memcpy(ip + 12, source, 4);
	memcpy(ip + 16, destination, 4);
	n->nsent = n->again = 0;
	ipsec_ops.forward(n->t, &packet, gateways_now);
}

/* The outbound SPI of the packet that left here, 0: none. */
static uint32_t left_by(const struct node *n)
{
	const uint8_t *esp = n->sent[0] + 20;

	return n->nsent ? (uint32_t)esp[0] << 24 | esp[1] << 16 | esp[2] << 8 | esp[3]
			: 0;
}

static void expect_here(struct node *n, uint8_t protocol, const uint8_t *source,
			const uint8_t *destination, uint32_t spi_out)
{
	forward(n, protocol, source, destination);
	assert_int_equal(n->again, 0);
	assert_int_equal(left_by(n), spi_out);
}

static void expect_there(struct node *n, uint8_t protocol, const uint8_t *source,
			 const uint8_t *destination, unit_id unit)
{
	forward(n, protocol, source, destination);
	assert_int_equal(n->nsent, 0);
	assert_int_equal(n->again, 1);
	assert_int_equal(n->again_unit, unit);
	assert_int_equal(n->again_hops, 1);
}

static const struct net inside = { 4, 0, { 10, 1, 0, 0 }, { 10, 1, 255, 255 } };
static const uint8_t host[4] = { 10, 1, 0, 5 };

static void test_the_longest_prefix_has_it(void **state)
{
	static const struct net wide = { 4, 0, { 10, 5, 0, 0 }, { 10, 5, 255, 255 } };
	static const struct net narrow = { 4, 0, { 10, 5, 1, 0 }, { 10, 5, 1, 255 } };
	static const uint8_t to_wide[4] = { 10, 5, 9, 9 }, to_narrow[4] = { 10, 5, 1, 9 },
			     to_nobody[4] = { 10, 6, 0, 1 };
	struct node *one = &gateways[1], *two = &gateways[2];
	unit_id wide_unit = add_site(one, 0x101, &inside, &wide);
	unit_id narrow_unit = add_site(two, 0x202, &inside, &narrow);

	expect_here(one, UDP, host, to_wide, 0x101);
	expect_there(two, UDP, host, to_wide, wide_unit);
	expect_here(two, UDP, host, to_narrow, 0x202);
	/* Although a site of its own would take it as well. */
	expect_there(one, UDP, host, to_narrow, narrow_unit);
	expect_there(&gateways[3], UDP, host, to_narrow, narrow_unit);
	expect_here(one, UDP, host, to_nobody, 0);
	expect_here(one, UDP, to_nobody, to_wide, 0);
}

/* What the longest prefix's selectors leave out is the next one's. */
static void test_selectors_count_besides(void **state)
{
	static const struct net wide = { 4, 0, { 10, 5, 0, 0 }, { 10, 5, 255, 255 } };
	static const struct net narrow = { 4, TCP, { 10, 5, 2, 0 }, { 10, 5, 2, 255 } };
	static const uint8_t to[4] = { 10, 5, 2, 9 };
	struct node *one = &gateways[1], *two = &gateways[2];
	unit_id wide_unit = add_site(one, 0x101, &inside, &wide);
	unit_id narrow_unit = add_site(two, 0x202, &inside, &narrow);

	expect_here(two, TCP, host, to, 0x202);
	expect_there(two, UDP, host, to, wide_unit);
	expect_here(one, UDP, host, to, 0x101);
	expect_there(one, TCP, host, to, narrow_unit);
}

/* Two sites with the same network far away, each for another network here. */
static void test_equal_prefixes(void **state)
{
	static const struct net far = { 4, 0, { 10, 5, 0, 0 }, { 10, 5, 0, 255 } };
	static const struct net near1 = { 4, 0, { 10, 1, 0, 0 }, { 10, 1, 0, 255 } };
	static const struct net near2 = { 4, 0, { 10, 1, 1, 0 }, { 10, 1, 1, 255 } };
	static const uint8_t to[4] = { 10, 5, 0, 9 }, other_host[4] = { 10, 1, 1, 5 };
	struct node *one = &gateways[1], *two = &gateways[2];
	unit_id unit1 = add_site(one, 0x101, &near1, &far);
	unit_id unit2 = add_site(two, 0x202, &near2, &far);

	expect_here(one, UDP, host, to, 0x101);
	expect_there(one, UDP, other_host, to, unit2);
	expect_here(two, UDP, other_host, to, 0x202);
	expect_there(two, UDP, host, to, unit1);
}

/* Of several for the same network far away it is the one for less of the network here, the
 * one for a protocol before the one for all, whichever came first and whoever has it. */
static void test_the_narrowest_has_it(void **state)
{
	static const struct net far = { 4, 0, { 10, 5, 0, 0 }, { 10, 5, 0, 255 } };
	static const struct net part = { 4, 0, { 10, 1, 0, 0 }, { 10, 1, 0, 255 } };
	static const struct net tcp = { 4, TCP, { 10, 1, 0, 0 }, { 10, 1, 255, 255 } };
	static const uint8_t to[4] = { 10, 5, 0, 9 }, other_host[4] = { 10, 1, 1, 5 };
	struct node *one = &gateways[1], *two = &gateways[2];
	unit_id part_unit = add_site(two, 0x101, &part, &far);
	unit_id tcp_unit = add_site(one, 0x202, &tcp, &far);
	unit_id unit = add_site(one, 0x303, &inside, &far);

	expect_there(one, UDP, host, to, part_unit);
	expect_there(one, TCP, host, to, part_unit);
	expect_here(one, UDP, other_host, to, 0x303);
	expect_here(one, TCP, other_host, to, 0x202);
	expect_here(two, UDP, host, to, 0x101);
	expect_there(two, TCP, other_host, to, tcp_unit);
	expect_there(two, UDP, other_host, to, unit);
}

/* After a takeover the new owner has it, and a removed site leaves it to the wider one. */
static void test_owners_change(void **state)
{
	static const struct net wide = { 4, 0, { 10, 5, 0, 0 }, { 10, 5, 255, 255 } };
	static const struct net narrow = { 4, 0, { 10, 5, 1, 0 }, { 10, 5, 1, 255 } };
	static const uint8_t to[4] = { 10, 5, 1, 9 };
	struct node *one = &gateways[1], *two = &gateways[2];
	struct cluster_unit_state state_of;
	unit_id wide_unit = add_site(one, 0x101, &inside, &wide), narrow_unit;

	narrow_unit = add_site(two, 0x202, &inside, &narrow);
	children_delete(two->t, 0x202u << 16 | narrow_unit, gateways_now);
	gateways_run(20);
	expect_there(two, UDP, host, to, wide_unit);
	expect_here(one, UDP, host, to, 0x101);
	gateways_kill(one);
	gateways_run(500);
	cluster_unit(two->c, wide_unit, &state_of);
	assert_true(state_of.owner != 1);
	expect_here(&gateways[state_of.owner], UDP, host, to, 0x101);
}

/* One peer cannot take the room of others: what is too much, charon is told to end. */
static void test_too_many_children(void **state)
{
	static const struct net range = { 4, 0, { 10, 5, 0, 1 }, { 10, 5, 255, 254 } };
	static const struct net one = { 4, 0, { 10, 6, 0, 0 }, { 10, 6, 255, 255 } };
	struct node *n = &gateways[1];
	unit_id unit = add_site(n, 0x101, &inside, &one);
	const uint64_t ike = (uint64_t)0x101 << 32 | unit;
	unsigned routes = n->routes, more = 0;
	struct local_message m;

	/* 30 prefixes each, 1024 together. */
	for (uint32_t i = 1; i <= 40; i++) {
		add_child(n, ike, (0x200 + i) << 10 | unit, 0x10000 + i, &inside, &range);
		more += child_find(n->t, (0x200 + i) << 10 | unit) != NULL;
		gateways_run(1);
	}
	assert_int_equal(more, 1023 / 30);
	assert_int_equal(n->routes - routes, 30 * more);
	assert_int_equal(n->t->statistics.children_refused, 40 - more);
	assert_true(gateways_hear(n, LOCAL_SA_EXPIRE, &m));
	assert_true(m.sa_expire.hard && m.sa_expire.inbound);
	assert_int_equal(m.sa_expire.spi, (0x200 + more + 1) << 10 | unit);
	/* Others have theirs. */
	add_site(n, 0x303, &inside, &range);
	assert_int_equal(n->t->statistics.children_refused, 40 - more);
}

static void test_as_many_children_as_may_be(void **state)
{
	static const struct net one = { 4, 0, { 10, 6, 0, 0 }, { 10, 6, 255, 255 } };
	struct node *n = &gateways[1];
	unit_id unit = add_site(n, 0x101, &inside, &one);
	const uint64_t ike = (uint64_t)0x101 << 32 | unit;

	for (uint32_t i = 1; i <= 520; i++) {
		add_child(n, ike, (0x200 + i) << 10 | unit, 0x10000 + i, &inside, &one);
		if (i % 32 == 0)
			gateways_run(1);
	}
	gateways_run(20);
	assert_int_equal(n->t->statistics.children_refused, 520 - 511);
}

static struct local_blob text(const char *s)
{
	return (struct local_blob){ (const uint8_t *)s, strlen(s) };
}

static void configure(struct node *n, const char *child, const char *remote, uint8_t mode,
		      const struct net *nets, unsigned count)
{
	struct local_message m = { .type = LOCAL_CONFIG };
	uint8_t list[4 * LOCAL_TS_SIZE];

	for (unsigned i = 0; i < count; i++)
		selector(list + i * LOCAL_TS_SIZE, &nets[i]);
	m.config.name = text("site");
	m.config.child = text(child);
	m.config.remote = text(remote);
	m.config.mode = mode;
	m.config.remote_ts = (struct local_blob){ list, count * LOCAL_TS_SIZE };
	gateways_say(n, &m);
}

static void expect_protected(struct node *n, const char *const *blocks)
{
	struct local_message end = { .type = LOCAL_CONFIGS };
	unsigned count = 0;

	gateways_say(n, &end);
	for (; blocks[count]; count++) {
		char one[ADDRESS_BLOCK_TEXT_MAX];
		bool found = false;

		for (unsigned i = 0; i < n->nprotected; i++)
			found |= !strcmp(address_block_print(&n->protected[i], one),
					 blocks[count]);
		if (!found)
			fail_msg("%s is not protected", blocks[count]);
	}
	assert_int_equal(n->nprotected, count);
}

/* The remote networks of what charon has loaded, as prefixes, and the pools. Not what may
 * pass, nor the peer itself, nor the world of anybody. */
static void test_what_charon_protects(void **state)
{
#define ALL 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
	static const struct net tcp = { 4, TCP, { 10, 5, 0, 0 }, { 10, 5, 255, 255 } };
	static const struct net range = { 4, 0, { 10, 7, 0, 1 }, { 10, 7, 0, 2 } };
	static const struct net six = { 6, 0, { 0x20, 1 }, { 0x20, 1, ALL, ALL } };
	static const struct net world = { 4, 0, { 0 }, { 255, 255, 255, 255 } };
	static const struct net far = { 4, 0, { 198, 51, 100, 7 }, { 198, 51, 100, 7 } };
	const struct net mixed[] = { tcp, range, far, six };
	struct local_message pool = { .type = LOCAL_POOL };
	struct node *n = &gateways[1];

	pool.pool.base = (struct local_addr){ 4, { 10, 200, 0, 254 }, 0 };
	pool.pool.count = 3;
	gateways_say(n, &pool);
	configure(n, "mixed", "198.51.100.7", LOCAL_MODE_TUNNEL, mixed, 4);
	configure(n, "past", "198.51.100.7", LOCAL_MODE_PASS, &world, 1);
	configure(n, "host", "198.51.100.7", LOCAL_MODE_TRANSPORT, &tcp, 1);
	configure(n, "anybody", "%any", LOCAL_MODE_TUNNEL, &world, 1);
	expect_protected(n, (const char *[]){ "10.5.0.0/16", "10.7.0.1/32", "10.7.0.2/32",
					      "2001::/16", "10.200.0.254/31",
					      "10.200.1.0/32", NULL });
	configure(n, "range", "%any", LOCAL_MODE_TUNNEL, &range, 1);
	configure(n, "world", "198.51.100.7", LOCAL_MODE_TUNNEL, &world, 1);
	expect_protected(n, (const char *[]){ "0.0.0.0/0", "10.7.0.1/32", "10.7.0.2/32",
					      "10.200.0.254/31", "10.200.1.0/32", NULL });
	configure(n, "none", "198.51.100.7", LOCAL_MODE_DROP, &tcp, 1);
	expect_protected(n, (const char *[]){ "10.5.0.0/16", "10.200.0.254/31",
					      "10.200.1.0/32", NULL });
	expect_protected(n, (const char *[]){ "10.200.0.254/31", "10.200.1.0/32", NULL });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, gateways_start, gateways_stop)
		TEST(test_the_longest_prefix_has_it),
		TEST(test_selectors_count_besides),
		TEST(test_equal_prefixes),
		TEST(test_the_narrowest_has_it),
		TEST(test_owners_change),
		TEST(test_what_charon_protects),
		TEST(test_too_many_children),
		TEST(test_as_many_children_as_may_be),
#undef TEST
	};

	if (geteuid()) {
		puts("needs root, as the plugin does");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
