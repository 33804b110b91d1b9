/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an operator sees of an IKE SA, and ends. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr client = { 4, { 198, 51, 100, 7 }, IKE_PORT };

static struct local_blob blob(const char *text)
{
	return (struct local_blob){ (const uint8_t *)text, strlen(text) };
}

static void establish(struct node *n, uint64_t spi)
{
	static const uint8_t vip[17] = { 4, 10, 3, 0, 7 };
	struct local_message put = { .type = LOCAL_IKE_PUT };

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = 7;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.user = blob("carol@example.org");
	put.ike_put.vips = (struct local_blob){ vip, sizeof(vip) };
	put.ike_put.state = blob("state");
	gateways_say(n, &put);
}

static void add_child(struct node *n, uint64_t ike, uint32_t spi_in)
{
	struct local_sa_add in = {
		.ike = ike, .spi = spi_in, .src = client, .dst = gateway
	};

	gateways_child(n, &in, 0x11223344, "");
}

/* An IKE SA of member 1, as all members have it. */
static uint64_t begin(unit_id *unit)
{
	struct cluster_unit_state state;
	uint64_t spi;

	for (*unit = 3;; ++*unit) {
		cluster_unit(gateways[1].c, *unit, &state);
		if (state.served)
			break;
	}
	spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + *unit;
	establish(&gateways[1], spi);
	gateways_run(5);
	EACH_NODE(n)
		gateways_forget(n);
	return spi;
}

static struct session *session_of(struct node *n, uint64_t spi)
{
	const struct session_key key = login_key(spi);

	return cluster_find(n->c, spi_unit(spi), &key);
}

static void look(struct node *n, uint64_t spi, struct session_view *view)
{
	struct session *s = session_of(n, spi);

	assert_non_null(s);
	assert_true(ipsec_ops.view(n->t, s, view, gateways_now));
}

static void test_every_member_sees_it(void **state)
{
	struct session_view view;
	uint32_t spi_in;
	unit_id unit;
	uint64_t spi = begin(&unit);
	struct child *c;

	spi_in = 0x4000 + unit;
	add_child(&gateways[1], spi, spi_in);
	gateways_run(5);
	EACH_NODE(n) {
		look(n, spi, &view);
		assert_string_equal(view.user, "carol@example.org");
		assert_string_equal(view.client, "198.51.100.7:500");
		assert_string_equal(view.virtual_address, "10.3.0.7");
		assert_int_equal(view.counted, n == &gateways[1]);
	}
	/* What it has carried outlives a child. */
	c = child_find(gateways[1].t, spi_in);
	assert_non_null(c);
	c->in.bytes = 1000;
	c->in.packets = 10;
	c->out.bytes = 500;
	c->out.packets = 5;
	children_delete(gateways[1].t, spi_in, gateways_now);
	add_child(&gateways[1], spi, spi_in + CLUSTER_UNITS);
	child_find(gateways[1].t, spi_in + CLUSTER_UNITS)->in.bytes = 23;
	look(&gateways[1], spi, &view);
	assert_int_equal(view.bytes_in, 1023);
	assert_int_equal(view.bytes_out, 500);
	assert_int_equal(view.packets_in, 10);
	assert_int_equal(view.packets_out, 5);
}

/* It is the login's, not that of what a member holds, nor of the last rekeying. */
static void test_it_has_one_age(void **state)
{
	struct local_message put = { .type = LOCAL_CHILD_PUT };
	struct session_view view;
	unit_id unit;
	uint64_t old = begin(&unit), new = old + CLUSTER_UNITS;
	struct ike_sa *sa = login_find(gateways[1].t, old);

	EACH_NODE(n) {
		look(n, old, &view);
		assert_in_range(view.age, 0, 60);
	}
	sa->exchanges.since -= 3600;
	sa->bytes_in = 4711;
	assert_int_equal(login_keep(gateways[1].t, sa, gateways_now), 0);
	add_child(&gateways[1], old, 0x4000 + unit);
	gateways_run(5);
	EACH_NODE(n) {
		look(n, old, &view);
		assert_in_range(view.age, 3600, 3660);
	}
	establish(&gateways[1], new);
	put.child_put.ike = new;
	put.child_put.spi_in = 0x4000 + unit;
	put.child_put.spi_out = 0x11223344;
	gateways_say(&gateways[1], &put);
	gateways_run(5);
	EACH_NODE(n) {
		look(n, new, &view);
		assert_in_range(view.age, 3600, 3660);
		assert_int_equal(view.bytes_in, n == &gateways[1] ? 4711 : 0);
	}
	/* A clock that is behind. */
	login_find(gateways[1].t, new)->exchanges.since = UINT64_MAX;
	look(&gateways[1], new, &view);
	assert_int_equal(view.age, 0);
}

/* Children of other IKE SAs are not its own; one that is rekeyed takes its children along. */
static void test_children_go_with_their_ike_sa(void **state)
{
	unit_id unit;
	uint64_t old = begin(&unit), new = old + CLUSTER_UNITS;
	struct local_message put = { .type = LOCAL_CHILD_PUT };
	uint32_t spi_in = 0x4000 + unit;

	add_child(&gateways[1], old, spi_in);
	establish(&gateways[1], new);
	gateways_run(5);
	EACH_NODE(n) {
		assert_ptr_equal(children_of(n->t, old, NULL), child_find(n->t, spi_in));
		assert_null(children_of(n->t, old, child_find(n->t, spi_in)));
		assert_null(children_of(n->t, new, NULL));
	}
	put.child_put.ike = new;
	put.child_put.spi_in = spi_in;
	put.child_put.spi_out = 0x11223344;
	gateways_say(&gateways[1], &put);
	gateways_run(5);
	EACH_NODE(n) {
		assert_null(children_of(n->t, old, NULL));
		assert_ptr_equal(children_of(n->t, new, NULL), child_find(n->t, spi_in));
	}
}

static void test_charon_is_told_to_end_it(void **state)
{
	struct node *owner = &gateways[1];
	struct local_message m;
	unit_id unit;
	uint64_t spi = begin(&unit);

	assert_int_equal(ipsec_ops.end(owner->t, session_of(owner, spi), false), 0);
	assert_true(gateways_hear(owner, LOCAL_IKE_END, &m));
	assert_int_equal(m.ike_end.spi, spi);
	assert_int_equal(m.ike_end.force, 0);
	assert_int_equal(ipsec_ops.end(owner->t, session_of(owner, spi), true), 0);
	assert_true(gateways_hear(owner, LOCAL_IKE_END, &m));
	assert_int_equal(m.ike_end.force, 1);
	/* It goes when charon says so. */
	assert_non_null(session_of(owner, spi));
	close(owner->plugin);
	gateways_events();
	assert_int_equal(ipsec_ops.end(owner->t, session_of(owner, spi), true), -EAGAIN);
	owner->plugin = socket(AF_UNIX, SOCK_SEQPACKET, 0);
}

/* After an import that failed, only force removes what is left. */
static void test_what_charon_does_not_know_is_removed(void **state)
{
	struct node *owner = &gateways[1];
	unit_id unit;
	uint64_t spi = begin(&unit);

	add_child(owner, spi, 0x4000 + unit);
	login_find(owner->t, spi)->live = false;
	assert_int_equal(ipsec_ops.end(owner->t, session_of(owner, spi), false), -EPERM);
	assert_int_equal(ipsec_ops.end(owner->t, session_of(owner, spi), true), 0);
	assert_non_null(session_of(owner, spi));
	ipsec_ops.committed(owner->t, gateways_now);
	gateways_run(5);
	EACH_NODE(n) {
		assert_null(session_of(n, spi));
		assert_null(child_find(n->t, 0x4000 + unit));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, gateways_start, gateways_stop)
		TEST(test_every_member_sees_it),
		TEST(test_it_has_one_age),
		TEST(test_children_go_with_their_ike_sa),
		TEST(test_charon_is_told_to_end_it),
		TEST(test_what_charon_does_not_know_is_removed),
#undef TEST
	};

	if (geteuid()) {
		puts("needs root, as the plugin does");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
