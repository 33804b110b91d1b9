/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual addresses: small pools, members that die, clients that come again elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"

#define POOL 40
#define WAIT_MS 10000 /* the plugin waits longer */
#define HOLD_BACK 600 /* seconds */
#define LONG_DETECTION (2 * MONO_SEC)

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static struct local_addr pool_base;
static uint32_t pool_count;

/* Whom each address of the pool was given to, 0: nobody. */
static uint8_t holders[POOL];

static struct local_addr place(uint8_t who)
{
	return (struct local_addr){ 4, { 198, 51, 100, who }, IKE_PORT };
}

static void ask_for(struct node *n, uint8_t who, const struct local_addr *requested,
		    const struct local_addr *remote)
{
	struct local_message w = { .type = LOCAL_ADDRESS_WANT };

	w.address_want.id = who;
	w.address_want.pool = (struct local_blob){ (const uint8_t *)"pool", 4 };
	w.address_want.base = pool_base;
	w.address_want.count = pool_count;
	w.address_want.identity = (struct local_blob){ &who, 1 };
	if (requested)
		w.address_want.requested = *requested;
	w.address_want.remote = remote ? *remote : place(who);
	gateways_say(n, &w);
}

static bool answered(struct node *n, struct local_addr *out)
{
	struct local_message m;

	if (!gateways_hear(n, LOCAL_ADDRESS, &m))
		return false;
	*out = m.address.address;
	return true;
}

/* The answer; family 0: none. */
static struct local_addr answer_of(struct node *n)
{
	struct local_addr out;

	for (unsigned ms = 0; ms < WAIT_MS; ms++) {
		if (answered(n, &out))
			return out;
		gateways_run(1);
	}
	fail_msg("member %u was not answered", n->id);
	return (struct local_addr){ 0 };
}

static struct local_addr want(struct node *n, uint8_t who)
{
	ask_for(n, who, NULL, NULL);
	return answer_of(n);
}

static void use_pool(struct local_addr base, uint32_t count)
{
	pool_base = base;
	pool_count = count;
}

static bool same(const struct local_addr *a, const struct local_addr *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, 16);
}

/* The IKE SA of `who` at this member, which uses the address. Returns its SPI. */
static uint64_t log_in(struct node *n, uint8_t who, const struct local_addr *vip)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };
	struct cluster_unit_state state;
	static uint64_t number = 0x100;
	uint8_t vips[VIP_SIZE];
	unit_id unit = 0;

	for (cluster_unit(n->c, unit, &state); !state.served;)
		cluster_unit(n->c, ++unit, &state);
	vips[0] = vip->family;
	memcpy(vips + 1, vip->bytes, 16);
	put.ike_put.spi = ++number * CLUSTER_UNITS + unit;
	put.ike_put.peer_spi = 7;
	put.ike_put.local = gateway;
	put.ike_put.remote = place(who);
	put.ike_put.user = (struct local_blob){ &who, 1 };
	put.ike_put.vips = (struct local_blob){ vips, sizeof(vips) };
	put.ike_put.state = (struct local_blob){ (const uint8_t *)"state", 5 };
	put.ike_put.peer = who;
	gateways_say(n, &put);
	gateways_run(5);
	return put.ike_put.spi;
}

/* As charon ends an IKE SA. */
static void log_out(struct node *n, uint64_t spi, uint8_t who,
		    const struct local_addr *vip)
{
	struct local_message del = { .type = LOCAL_IKE_DEL };
	struct local_message release = { .type = LOCAL_ADDRESS_RELEASE };

	del.ike_del.spi = spi;
	gateways_say(n, &del);
	release.address_release.address = *vip;
	release.address_release.identity = (struct local_blob){ &who, 1 };
	gateways_say(n, &release);
	gateways_run(5);
}

static void sweep(unsigned times)
{
	while (times--)
		EACH_NODE(n)
			if (!n->dead)
				address_sweep(n->t, gateways_now);
}

static struct node *owner_of(const struct local_addr *a)
{
	struct unit_key key = unit_key_read(cluster_fold_key(gateways[1].c));
	struct cluster_unit_state state;

	cluster_unit(gateways[1].c, unit_fold(&key, 1, unit_be32(a->bytes)), &state);
	return &gateways[state.owner];
}

static struct node *another(const struct node *n)
{
	return &gateways[1 + n->id % NODES];
}

static int start4(void **state)
{
	use_pool((struct local_addr){ 4, { 10, 3, 0, 1 }, 0 }, POOL);
	gateways_hold_back = 0;
	return gateways_start(state);
}

/* Addresses are kept back for who is missing. */
static int start_held(void **state)
{
	int rc;

	gateways_hold_back = HOLD_BACK;
	use_pool((struct local_addr){ 4, { 10, 3, 0, 1 }, 0 }, POOL);
	memset(holders, 0, sizeof(holders));
	rc = gateways_start(state);
	gateways_hold_back = 0;
	return rc;
}

static int start_slow(void **state)
{
	int rc;

	gateways_detection = LONG_DETECTION;
	rc = start4(state);
	gateways_detection = GATEWAYS_DETECTION;
	return rc;
}

/* And nobody notices soon that somebody is. */
static int start_held_slow(void **state)
{
	int rc;

	gateways_detection = LONG_DETECTION;
	rc = start_held(state);
	gateways_detection = GATEWAYS_DETECTION;
	return rc;
}

/* Across a carry, for good measure. */
static int start6(void **state)
{
	struct local_addr base = {
		6, { 0x20, 1, 0xd, 0xb8, [13] = 1, [14] = 0xff, [15] = 0xf0 }, 0
	};

	use_pool(base, POOL);
	return gateways_start(state);
}

static unsigned index_in_pool(const struct local_addr *a)
{
	unsigned low = (unsigned)(unit_be32(a->bytes + (a->family == 6 ? 12 : 0)) -
				  unit_be32(pool_base.bytes + (a->family == 6 ? 12 : 0)));

	assert_int_equal(a->family, pool_base.family);
	assert_true(low < pool_count);
	return low;
}

/* Whoever gives them: all of the pool, and none twice; also while a member dies. */
static void give_all(struct node *only, bool kill)
{
	bool given[POOL] = { false };
	unsigned n = 0;

	for (uint8_t who = 0; who < POOL + 10; who++) {
		struct node *at = only ? only : &gateways[1 + who % NODES];
		struct local_addr a;

		if (kill && who == POOL / 2)
			gateways_kill(&gateways[2]);
		if (at->dead)
			at = another(at);
		a = want(at, who);
		if (!a.family)
			continue;
		assert_false(given[index_in_pool(&a)]);
		given[index_in_pool(&a)] = true;
		n++;
	}
	assert_int_equal(n, POOL);
}

/* Who looks through a pool bit by bit, while others do, gives nothing twice. */
static void test_a_bit_at_a_time(void **state)
{
	struct node *n = &gateways[1];
	bool given[POOL] = { false };
	struct local_addr a, b = { 0 };
	unsigned answers = 0, got = 0;

	for (uint8_t who = 0; who < POOL - 1; who++) {
		n->t->scan_budget = 0;
		ask_for(n, who, NULL, NULL);
		assert_true(n->t->scanning);
		assert_false(answered(n, &a));
		a = answer_of(n);
		assert_false(given[index_in_pool(&a)]);
		given[index_in_pool(&a)] = true;
	}
	/* Two clients, and one address that is left. */
	n->t->scan_budget = 0;
	ask_for(n, 100, NULL, NULL);
	ask_for(n, 101, NULL, NULL);
	for (unsigned ms = 0; ms < WAIT_MS && answers < 2; ms++) {
		while (answered(n, &a)) {
			answers++;
			got += a.family != 0;
			if (a.family)
				b = a;
		}
		gateways_run(1);
		if (ms % 100 == 0)
			ipsec_ops.committed(n->t, gateways_now);
	}
	assert_int_equal(answers, 2);
	assert_int_equal(got, 1);
	assert_false(given[index_in_pool(&b)]);
	assert_false(n->t->scanning);
}

static void test_all_by_one_member(void **state)
{
	give_all(&gateways[1], false);
}

static void test_all_by_all(void **state)
{
	give_all(NULL, false);
}

static void test_all_while_a_member_dies(void **state)
{
	give_all(NULL, true);
}

/* Fewer addresses than members. */
static void test_a_pool_of_two(void **state)
{
	struct local_addr got[NODES];
	unsigned n = 0;

	use_pool(pool_base, 2);
	EACH_NODE(at) {
		struct local_addr a = want(at, (uint8_t)at->id);

		if (a.family)
			got[n++] = a;
	}
	assert_int_equal(n, 2);
	assert_false(same(&got[0], &got[1]));
}

/* Two members want the last one at the same moment. */
static void test_the_last_one_goes_once(void **state)
{
	struct local_addr one, two;

	for (uint8_t who = 1; who < 60; who += 2) {
		use_pool((struct local_addr){ 4, { 10, 4, 0, who }, 0 }, 1);
		gateways_stopped = true;
		ask_for(&gateways[1], who, NULL, NULL);
		ask_for(&gateways[2], who + 1, NULL, NULL);
		gateways_stopped = false;
		one = answer_of(&gateways[1]);
		two = answer_of(&gateways[2]);
		assert_true(!one.family != !two.family);
	}
}

static void test_who_comes_again_has_it_again(void **state)
{
	struct local_addr first = want(&gateways[1], 9), again;
	uint64_t spi = log_in(&gateways[1], 9, &first);

	/* Not while it is in use: it may be another device of the user's. */
	again = want(&gateways[2], 9);
	assert_true(again.family && !same(&first, &again));
	log_out(&gateways[1], spi, 9, &first);
	EACH_NODE(n) {
		struct local_addr a;

		ask_for(n, 9, &first, NULL);
		a = answer_of(n);
		assert_true(same(&a, &first));
	}
	/* Others in plenty do not get it meanwhile. */
	for (uint8_t who = 100; who < 100 + POOL - 2; who++) {
		again = want(&gateways[1 + who % NODES], who);
		assert_true(again.family && !same(&first, &again));
	}
	gateways_kill(owner_of(&first));
	gateways_run(500);
	EACH_NODE(n) {
		if (n->dead)
			continue;
		ask_for(n, 9, &first, NULL);
		again = answer_of(n);
		assert_true(same(&again, &first));
	}
}

static void test_what_is_idle_is_given_at_need(void **state)
{
	struct local_addr first, a;
	struct node *owner, *other;
	uint64_t spi;

	use_pool(pool_base, 1);
	first = want(&gateways[1], 1);
	owner = owner_of(&first);
	other = another(owner);
	spi = log_in(other, 1, &first);
	sweep(10);
	a = want(other, 2);
	assert_int_equal(a.family, 0);
	/* Its owner hears of the end at once, and gives it away. */
	log_out(other, spi, 1, &first);
	a = want(another(other), 2);
	assert_true(same(&a, &first));
	a = want(other, 1);
	assert_int_equal(a.family, 0);
	/* A login that comes to nothing leaves it for a while. */
	sweep(LEASE_IDLE - 1);
	a = want(other, 3);
	assert_int_equal(a.family, 0);
	sweep(1);
	a = want(other, 3);
	assert_true(same(&a, &first));
}

/* The dead member's clients are gone with their IKE SAs: no charon released anything. */
static void test_addresses_of_the_dead_come_back(void **state)
{
	struct local_addr first, a;
	struct session *s;
	struct node *owner;
	uint64_t spi;

	use_pool(pool_base, 1);
	first = want(&gateways[1], 1);
	spi = log_in(&gateways[2], 1, &first);
	gateways_kill(&gateways[2]);
	gateways_run(500);
	sweep(10);
	a = want(&gateways[1], 2);
	assert_int_equal(a.family, 0);
	EACH_NODE(n) {
		const struct session_key key = login_key(spi);
		struct cluster_unit_state unit;

		cluster_unit(gateways[1].c, spi_unit(spi), &unit);
		owner = &gateways[unit.owner];
		s = cluster_find(owner->c, spi_unit(spi), &key);
		if (!s || n != owner)
			continue;
		login_end(owner->t, login_find(owner->t, spi), gateways_now);
		gateways_run(5);
	}
	sweep(LEASE_IDLE);
	a = want(&gateways[3], 2);
	assert_true(same(&a, &first));
}

/* Make before break: the same address, to the same client only. */
static void test_a_client_takes_its_address_along(void **state)
{
	struct local_addr first = want(&gateways[1], 5), a, elsewhere = place(77);
	uint64_t spi = log_in(&gateways[1], 5, &first), next;

	EACH_NODE(n) {
		ask_for(n, 5, &first, NULL);
		a = answer_of(n);
		assert_true(same(&a, &first));
		ask_for(n, 6, &first, NULL);
		a = answer_of(n);
		assert_false(same(&a, &first));
		ask_for(n, 5, &first, &elsewhere);
		a = answer_of(n);
		assert_false(same(&a, &first));
	}
	/* The end of the former IKE SA does not take it away. */
	next = log_in(&gateways[2], 5, &first);
	log_out(&gateways[1], spi, 5, &first);
	sweep(5);
	use_pool(first, 1);
	a = want(&gateways[3], 8);
	assert_int_equal(a.family, 0);
	log_out(&gateways[2], next, 5, &first);
	a = want(&gateways[3], 8);
	assert_true(same(&a, &first));
}

/* What a login needs is a dead member's, and nobody knows yet that it is dead. */
static void test_a_death_is_waited_for(void **state)
{
	struct local_addr a;

	gateways[2].dead = true;
	for (uint8_t who = 1; who <= POOL / 4; who++) {
		a = want(&gateways[1 + who % 2 * 2], who);
		assert_int_equal(a.family, 4);
	}
}

/* The owner dies with the errand on its way: nobody has the address twice. */
static void test_the_owner_dies_when_asked(void **state)
{
	struct local_addr probe = { 4, { 10, 5, 0, 1 }, 0 }, a, b;
	struct node *owner, *asker, *third;

	while (owner_of(&probe) == &gateways[1])
		probe.bytes[3]++;
	use_pool(probe, 1);
	owner = owner_of(&probe);
	asker = another(owner);
	third = another(asker);
	gateways_stopped = true;
	ask_for(asker, 1, NULL, NULL);
	gateways_stopped = false;
	gateways_kill(owner);
	a = answer_of(asker);
	b = want(third, 2);
	assert_false(a.family && b.family);
	if (!a.family && !b.family) {
		gateways_run(1000);
		a = want(asker, 1);
		assert_true(same(&a, &probe));
	}
}

static bool give(const struct local_addr *a, uint8_t who)
{
	uint8_t *holder;

	if (!a->family)
		return false;
	holder = &holders[index_in_pool(a)];
	if (*holder && *holder != who)
		fail_msg("%u and %u have the same address", *holder, who);
	*holder = who;
	return true;
}

static void cut_off(struct node *n, bool off)
{
	n->cut = off;
	gateways_link(n, !off);
	gateways_run(3000);
}

static bool all_whole(void)
{
	EACH_NODE(n)
		EACH_NODE(other)
			if (!cluster_whole(n->c, other->id, gateways_now))
				return false;
	return true;
}

static void heal(struct node *alone)
{
	cut_off(alone, false);
	for (unsigned ms = 0; !all_whole(); ms++) {
		assert_true(ms < 20000);
		gateways_run(1);
	}
}

/* A part of one member: nobody has what somebody has in the other, also in a small pool. */
static void test_partition(void **state)
{
	struct local_addr a[12], b;
	uint64_t spi[12];
	struct node *alone = &gateways[3];
	unsigned given[2] = { 0 };

	for (uint8_t who = 1; who < 12; who++) {
		struct node *n = &gateways[1 + who % NODES];

		a[who] = want(n, who);
		assert_true(give(&a[who], who));
		spi[who] = log_in(n, who, &a[who]);
	}
	cut_off(alone, true);
	for (uint8_t who = 20; who < 120; who++) {
		struct node *n = who % 2 ? &gateways[1 + who % 4 / 2] : alone;

		b = want(n, who);
		given[who % 2] += give(&b, who);
	}
	assert_true(given[0] && given[1]);
	assert_int_equal(11 + given[0] + given[1], POOL);
	/* Who had one goes on with it, wherever. */
	for (uint8_t who = 1; who < 12; who++)
		EACH_NODE(n) {
			ask_for(n, who, &a[who], NULL);
			b = answer_of(n);
			assert_true(same(&a[who], &b));
		}
	/* Who has left one part may be in the other. */
	for (uint8_t who = 1; who < 12; who++)
		login_end(alone->t, login_find(alone->t, spi[who]), gateways_now);
	sweep(10);
	for (uint8_t who = 200; who < 220; who++) {
		b = want(alone, who);
		for (unsigned i = 1; i < 12; i++)
			assert_false(b.family && same(&a[i], &b));
	}
	heal(alone);
	use_pool((struct local_addr){ 4, { 10, 9, 0, 1 }, 0 }, POOL);
	give_all(NULL, false);
}

/* Just then clients are about to get the last addresses. */
static void test_the_moment_of_a_cut(void **state)
{
	struct node *alone = &gateways[3];
	struct local_addr a;

	for (uint8_t round = 0; round < 24; round++) {
		memset(holders, 0, sizeof(holders));
		use_pool((struct local_addr){ 4, { 10, 8, round, 1 }, 0 }, 4);
		gateways_stopped = true;
		EACH_NODE(n)
			ask_for(n, (uint8_t)n->id, NULL, NULL);
		gateways_stopped = round % 2;
		if (round % 3)
			gateways_run(round % 3);
		alone->cut = true;
		gateways_stopped = false;
		cut_off(alone, true);
		EACH_NODE(n)
			while (answered(n, &a))
				give(&a, (uint8_t)n->id);
		for (uint8_t who = 10; who < 22; who++) {
			a = want(&gateways[1 + who % NODES], who);
			give(&a, who);
		}
		heal(alone);
	}
}

/* Those who come back do not tell everything at once. */
static void test_the_moment_of_healing(void **state)
{
	struct local_addr a;

	EACH_NODE(alone) {
		memset(holders, 0, sizeof(holders));
		use_pool((struct local_addr){ 4, { 10, 7, (uint8_t)alone->id, 1 }, 0 },
			 POOL);
		cut_off(alone, true);
		for (uint8_t who = 1; who < 60; who++) {
			struct node *n = &gateways[1 + who % NODES];

			if (who < 6 && n == alone)
				continue;
			a = want(n, who);
			if (give(&a, who))
				log_in(n, who, &a);
		}
		alone->cut = false;
		gateways_link(alone, true);
		for (uint8_t who = 60; !all_whole() || who < 250; who++) {
			ask_for(&gateways[1 + who % NODES], who, NULL, NULL);
			gateways_run(who % 3);
			EACH_NODE(n)
				while (answered(n, &a))
					if (a.family)
						assert_false(holders[index_in_pool(&a)]);
		}
	}
}

/* Goes on to an address that has its home there, and in whose unit these two are busy. */
static bool lies(const struct local_addr *a, const struct node *home,
		 const struct node *owner, const struct node *successor)
{
	struct unit_key key = unit_key_read(cluster_fold_key(gateways[1].c));
	unit_id unit = unit_fold(&key, 1, unit_be32(a->bytes));
	struct address address = usage_address(a);
	struct cluster_unit_state state;

	cluster_unit(gateways[1].c, unit, &state);
	return share_of(gateways[1].t, &address)->member == home->id &&
	       state.owner == owner->id && state.successor == successor->id;
}

static struct local_addr next_of(struct local_addr a)
{
	if (!++a.bytes[3])
		a.bytes[2]++;
	return a;
}

/* A pool of one address. */
static void use_one(const struct node *home, const struct node *owner,
		    const struct node *successor)
{
	struct local_addr a = { 4, { 10, 6, 0, 0 }, 0 };

	while (!lies(&a, home, owner, successor))
		a = next_of(a);
	use_pool(a, 1);
}

/* Its home is beyond a cut before it hears of more than the lease. */
static void test_a_login_and_a_cut(void **state)
{
	struct node *home = &gateways[3], *owner = &gateways[1];
	struct local_addr a, b;

	use_one(home, owner, &gateways[2]);
	a = want(owner, 1);
	assert_true(a.family);
	cut_off(home, true);
	log_in(owner, 1, &a);
	sweep(10);
	b = want(home, 2);
	assert_false(b.family);
	heal(home);
}

/* Nobody knows yet that the home is beyond a cut, when a client comes again. */
static void test_a_client_returns_and_a_cut(void **state)
{
	struct node *home = &gateways[3], *owner = &gateways[1];
	struct local_addr a;

	use_one(home, owner, &gateways[2]);
	a = want(owner, 1);
	assert_true(give(&a, 1));
	sweep(60);
	memset(holders, 0, sizeof(holders));
	home->cut = true;
	a = want(owner, 1);
	give(&a, 1);
	cut_off(home, true);
	a = want(home, 2);
	assert_true(give(&a, 2));
	heal(home);
}

/* Nor that it has ended a session which goes on beyond the cut. */
static void test_a_session_ends_and_a_cut(void **state)
{
	struct node *home = &gateways[3], *other = &gateways[1];
	struct local_addr a, b;
	uint64_t spi;

	use_one(home, home, other);
	a = want(other, 1);
	assert_true(a.family);
	spi = log_in(home, 1, &a);
	home->cut = true;
	log_out(home, spi, 1, &a);
	cut_off(home, true);
	sweep(10);
	b = want(home, 2);
	assert_false(b.family);
	ask_for(other, 1, &a, NULL);
	b = answer_of(other);
	assert_true(same(&a, &b));
	heal(home);
}

/* The parts have leased an address to different clients: who has it from its home keeps it. */
static void test_leases_of_two_parts(void **state)
{
	struct node *home = &gateways[3], *owner = &gateways[1];
	struct local_addr a, b;

	use_one(home, owner, &gateways[2]);
	a = want(owner, 1);
	assert_true(a.family);
	sweep(60);
	cut_off(home, true);
	b = want(home, 2);
	assert_true(same(&a, &b));
	heal(home);
	EACH_NODE(n) {
		struct address address = usage_address(&a);
		const struct local_blob who = { (const uint8_t *)"\2", 1 };
		struct lease *l = lease_find(n->t, &address);

		assert_true(l && lease_is_of(l, &who));
	}
}

/* Who has left not long ago has its address again, though its home is missing; nobody else has. */
static void test_a_client_returns_without_the_home(void **state)
{
	struct node *home = &gateways[3], *owner = &gateways[1];

	for (unsigned round = 0; round < 3; round++) {
		struct local_addr a, b;
		uint64_t spi;

		use_one(home, owner, &gateways[2]);
		a = want(owner, 1);
		assert_true(a.family);
		spi = log_in(owner, 1, &a);
		log_out(owner, spi, 1, &a);
		sweep(round == 1 ? LEASE_RECENT + 1 : LEASE_RECENT - 2);
		if (round == 2)
			want(owner, 1); /* and fails to log in */
		cut_off(home, true);
		b = want(owner, 1);
		assert_int_equal(b.family, round == 1 ? 0 : 4);
		b = want(owner, 2);
		assert_int_equal(b.family, 0);
		b = want(home, 2);
		assert_int_equal(b.family, 0);
		heal(home);
	}
}

/* Who begins anew in a part does not know who went on in the other. */
static void test_a_restart_in_a_part(void **state)
{
	struct node *alone = &gateways[3], *again = &gateways[2];
	struct local_addr a;
	uint64_t spi;

	use_one(&gateways[1], again, &gateways[1]);
	a = want(again, 1);
	assert_true(a.family);
	spi = log_in(&gateways[1], 1, &a);
	cut_off(alone, true);
	log_out(&gateways[1], spi, 1, &a);
	gateways_hold_back = HOLD_BACK;
	gateways_restart(again);
	gateways_hold_back = 0;
	cluster_link(again->c, 1, true, gateways_now);
	cluster_link(gateways[1].c, again->id, true, gateways_now);
	for (unsigned ms = 0; !cluster_complete(again->c); ms++) {
		assert_true(ms < 20000);
		gateways_run(1);
	}
	gateways_run(3000);
	sweep(10);
	for (uint8_t who = 2; who < 6; who++) {
		struct address address = usage_address(&a);

		assert_non_null(lease_find(again->t, &address));
		assert_true(lease_find(again->t, &address)->parted);
		a = want(who % 2 ? again : &gateways[1], who);
		assert_false(a.family);
		a = pool_base;
	}
}

/* By itself it begins with other units, and gives what is its own all the same. */
static void test_a_restart_alone(void **state)
{
	struct node *alone = &gateways[3];
	unsigned given = 0;
	struct local_addr a;

	cut_off(alone, true);
	gateways_hold_back = HOLD_BACK;
	gateways_restart(alone);
	gateways_hold_back = 0;
	alone->cut = true;
	for (unsigned ms = 0; !cluster_complete(alone->c); ms++) {
		assert_true(ms < 20000);
		gateways_run(1);
	}
	gateways_run(1000);
	for (uint8_t who = 1; who < 100; who++) {
		a = want(who % 2 ? alone : &gateways[1], who);
		given += give(&a, who);
	}
	assert_int_equal(given, POOL);
}

/* The home has died, or hangs, and nobody knows it yet: there are other addresses. */
static void test_a_home_is_silent(void **state)
{
	struct node *n = &gateways[1], *home = &gateways[3];
	struct local_addr a = { 4, { 10, 6, 0, 0 }, 0 }, b = next_of(a);
	uint64_t began;

	while (!lies(&a, home, n, &gateways[2]) || !lies(&b, n, n, &gateways[2])) {
		a = b;
		b = next_of(b);
	}
	use_pool(a, 2);
	gateways_run(1000);
	home->dead = true;
	began = gateways_now.ns;
	ask_for(n, 1, &a, NULL);
	assert_true(gateways_now.ns < began + 100 * MONO_MS);
	a = answer_of(n);
	assert_true(same(&a, &b));
	assert_in_range(gateways_now.ns - began, 1, 300 * MONO_MS);
}

/* What is kept back for a member is given in the end. */
static void test_a_member_is_missing_for_long(void **state)
{
	unsigned given = 0;
	struct local_addr a;

	gateways_kill(&gateways[2]);
	gateways_run(1000);
	for (uint8_t who = 1; who < POOL + 10; who++) {
		a = want(&gateways[1 + who % 2 * 2], who);
		given += give(&a, who);
	}
	assert_in_range(given, 1, POOL - 1);
	EACH_NODE(n)
		n->t->config.address_hold_back = 1;
	gateways_run(1000);
	for (uint8_t who = 100; who < 100 + POOL; who++) {
		a = want(&gateways[1 + who % 2 * 2], who);
		given += give(&a, who);
	}
	assert_int_equal(given, POOL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start4, gateways_stop)
#define TEST_HELD(name) cmocka_unit_test_setup_teardown(name, start_held, gateways_stop)
#define TEST_HELD_SLOW(name)                                                             \
	cmocka_unit_test_setup_teardown(name, start_held_slow, gateways_stop)
#define TEST6(name) cmocka_unit_test_setup_teardown(name, start6, gateways_stop)
	const struct CMUnitTest tests[] = {
		TEST(test_all_by_one_member),
		TEST(test_a_bit_at_a_time),
		TEST6(test_a_bit_at_a_time),
		TEST(test_all_by_all),
		TEST6(test_all_by_all),
		TEST(test_all_while_a_member_dies),
		TEST6(test_all_while_a_member_dies),
		TEST(test_a_pool_of_two),
		TEST(test_the_last_one_goes_once),
		TEST(test_who_comes_again_has_it_again),
		TEST(test_what_is_idle_is_given_at_need),
		TEST(test_addresses_of_the_dead_come_back),
		TEST(test_a_client_takes_its_address_along),
		TEST(test_the_owner_dies_when_asked),
		cmocka_unit_test_setup_teardown(test_a_death_is_waited_for, start_slow,
						gateways_stop),
		TEST_HELD(test_partition),
		TEST_HELD(test_the_moment_of_a_cut),
		TEST_HELD(test_the_moment_of_healing),
		TEST_HELD(test_a_login_and_a_cut),
		TEST_HELD(test_a_client_returns_and_a_cut),
		TEST_HELD(test_a_session_ends_and_a_cut),
		TEST_HELD(test_leases_of_two_parts),
		TEST_HELD(test_a_client_returns_without_the_home),
		TEST_HELD(test_a_restart_in_a_part),
		TEST_HELD(test_a_restart_alone),
		TEST_HELD_SLOW(test_a_home_is_silent),
		TEST_HELD(test_a_member_is_missing_for_long),
	};

	if (geteuid()) {
		puts("needs root, as the plugin does");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
