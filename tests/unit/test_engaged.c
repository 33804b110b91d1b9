/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A unit that is to go to another member lets logins finish that no other one could go on
 * with, but not for long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"

#define MAIN_MODE 2
#define QUICK_MODE 32
#define IKE_SA_INIT 34
#define IKE_AUTH 35
#define BOUND 3000 /* ms that a unit waits at most */

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr client = { 4, { 198, 51, 100, 7 }, IKE_PORT };

static struct local_blob text(const char *s)
{
	return (struct local_blob){ (const uint8_t *)s, strlen(s) };
}

/* charon says something in this IKE SA. */
static void speak(struct node *n, uint64_t spi, uint8_t version, uint8_t exchange,
		  uint32_t mid)
{
	uint8_t ike[IKE_HEADER_SIZE + 40] = { 0 };
	struct pack p = pack_to(ike, sizeof(ike));
	struct local_message tx = { .type = LOCAL_IKE_TX };

	pack_u64(&p, 1);
	pack_u64(&p, spi);
	pack_u8(&p, version == 1 ? 5 : 46);
	pack_u8(&p, (uint8_t)(version << 4));
	pack_u8(&p, exchange);
	pack_u8(&p, version == 1 ? 0 : 0x20);
	pack_u32(&p, mid);
	pack_u32(&p, sizeof(ike));
	tx.ike_tx.src = gateway;
	tx.ike_tx.dst = client;
	tx.ike_tx.packet = (struct local_blob){ ike, sizeof(ike) };
	gateways_say(n, &tx);
}

static void establish(struct node *n, uint64_t spi)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = 1;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.user = text("one");
	put.ike_put.name = text("home");
	put.ike_put.state = text("state");
	put.ike_put.version = 1;
	gateways_say(n, &put);
}

static void add_child(struct node *n, uint64_t spi)
{
	struct local_sa_add in = { .ike = spi, .spi = (uint32_t)spi | 1U << 31 };
	uint8_t ts[2][LOCAL_TS_SIZE];
	struct local_ts all = { .family = 4, .to_port = UINT16_MAX };

	memset(all.to, 255, 4);
	for (unsigned i = 0; i < 2; i++) {
		struct pack p = pack_to(ts[i], sizeof(ts[i]));

		local_ts_put(&p, &all);
	}
	in.src = client;
	in.dst = gateway;
	in.src_ts = (struct local_blob){ ts[0], sizeof(ts[0]) };
	in.dst_ts = (struct local_blob){ ts[1], sizeof(ts[1]) };
	gateways_child(n, &in, 4711, "net");
}

/* A unit of the owner, and who is to have it. */
struct scene {
	struct node *owner, *target;
	unit_id unit;
	uint64_t spi;
};

static struct scene begin(void)
{
	struct scene s = { .owner = &gateways[2], .target = &gateways[3] };
	struct cluster_unit_state state = { 0 };

	for (s.unit = 5; state.owner != s.owner->id; s.unit++)
		cluster_unit(s.owner->c, s.unit, &state);
	s.unit--;
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	return s;
}

static void move(const struct scene *s)
{
	uint32_t ticket;

	cluster_move(s->owner->c, s->unit, s->target->id, &ticket, gateways_now);
}

static bool is_there(const struct scene *s)
{
	struct cluster_unit_state state;

	cluster_unit(s->target->c, s->unit, &state);
	return state.owner == s->target->id;
}

static void test_a_unit_goes_at_once(void **state)
{
	struct scene s = begin();

	move(&s);
	gateways_run(500);
	assert_true(is_there(&s));
}

static void test_main_mode_is_finished_first(void **state)
{
	struct scene s = begin();

	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	move(&s);
	gateways_run(500);
	assert_false(is_there(&s));
	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	gateways_run(500);
	assert_false(is_there(&s));
	/* Mode config, and then a quick mode. */
	establish(s.owner, s.spi);
	speak(s.owner, s.spi, 1, 6, 0x1234);
	gateways_run(500);
	assert_false(is_there(&s));
	add_child(s.owner, s.spi);
	speak(s.owner, s.spi, 1, QUICK_MODE, 0x5678);
	gateways_run(BOUND);
	assert_true(is_there(&s));
	assert_non_null(login_find(s.target->t, s.spi));
	assert_true(login_find(s.target->t, s.spi)->live);
}

static void test_a_client_that_falls_silent_is_not_waited_for(void **state)
{
	struct scene s = begin();

	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	gateways_run(1500);
	move(&s);
	gateways_run(250);
	assert_false(is_there(&s));
	gateways_run(750);
	assert_true(is_there(&s));
}

static void test_a_unit_waits_for_some_seconds_only(void **state)
{
	struct scene s = begin();

	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	move(&s);
	for (unsigned ms = 0; ms < BOUND - 500; ms += 250) {
		gateways_run(250);
		assert_false(is_there(&s));
		speak(s.owner, s.spi + CLUSTER_UNITS * ms, 1, MAIN_MODE, 0);
	}
	for (unsigned ms = 0; ms < 1500; ms += 250) {
		speak(s.owner, s.spi + CLUSTER_UNITS * ms, 1, MAIN_MODE, 0);
		gateways_run(250);
	}
	assert_true(is_there(&s));
}

static void test_a_drained_member_waits_too(void **state)
{
	struct scene s = begin();
	struct cluster_unit_state now;
	uint32_t ticket;

	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	cluster_drain(s.owner->c, s.owner->id, true, false, &ticket, gateways_now);
	gateways_run(1000);
	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		cluster_unit(s.target->c, u, &now);
		assert_true((now.owner == s.owner->id) == (u == s.unit));
	}
	gateways_run(BOUND);
	cluster_unit(s.target->c, s.unit, &now);
	assert_int_not_equal(now.owner, s.owner->id);
}

static struct local_message half_open(const struct scene *s)
{
	struct local_message m = { .type = LOCAL_HALF_OPEN };

	m.half_open.spi = s->spi;
	m.half_open.src = client;
	m.half_open.dst = gateway;
	m.half_open.request = text("request");
	m.half_open.nonce = text("nonce");
	return m;
}

static void test_eap_in_mid_round_is_finished_first(void **state)
{
	struct scene s = begin();
	struct local_message m = half_open(&s);

	m.half_open.method = 19;
	m.half_open.public = text("public");
	m.half_open.secret = text("secret");
	gateways_say(s.owner, &m);
	speak(s.owner, s.spi, 2, IKE_SA_INIT, 0);
	speak(s.owner, s.spi, 2, IKE_AUTH, 1);
	move(&s);
	gateways_run(1000);
	assert_false(is_there(&s));
	gateways_run(BOUND);
	assert_true(is_there(&s));
}

/* What a client needs only to repeat its request for does not delay a move. */
static void test_a_half_open_login_does_not_wait(void **state)
{
	struct scene s = begin();
	struct local_message m = half_open(&s);

	gateways_say(s.owner, &m);
	speak(s.owner, s.spi, 2, IKE_SA_INIT, 0);
	move(&s);
	gateways_run(500);
	assert_true(is_there(&s));
}

static void test_nobody_waits_for_a_charon_that_is_gone(void **state)
{
	struct scene s = begin();

	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	close(s.owner->plugin);
	s.owner->plugin = -1;
	gateways_run(500);
	assert_false(s.owner->able);
	move(&s);
	gateways_run(500);
	assert_true(is_there(&s));
}

static void test_who_is_unable_waits_for_nothing(void **state)
{
	struct scene s = begin();
	struct cluster_unit_state now;

	speak(s.owner, s.spi, 1, MAIN_MODE, 0);
	cluster_set_able(s.owner->c, false, "no carrier", gateways_now);
	gateways_run(1000);
	cluster_unit(s.target->c, s.unit, &now);
	assert_int_not_equal(now.owner, s.owner->id);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, gateways_start, gateways_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_unit_goes_at_once),
		TEST(test_main_mode_is_finished_first),
		TEST(test_a_client_that_falls_silent_is_not_waited_for),
		TEST(test_a_unit_waits_for_some_seconds_only),
		TEST(test_a_drained_member_waits_too),
		TEST(test_eap_in_mid_round_is_finished_first),
		TEST(test_a_half_open_login_does_not_wait),
		TEST(test_nobody_waits_for_a_charon_that_is_gone),
		TEST(test_who_is_unable_waits_for_nothing),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
