/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections that the gateway starts: by one member, and by another one if that dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"
#include "tunnels/ip.h"

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr peer = { 4, { 198, 51, 100, 7 }, IKE_PORT };

static struct local_blob text(const char *s)
{
	return (struct local_blob){ (const uint8_t *)s, strlen(s) };
}

static struct local_blob net(uint8_t *buf, uint8_t third)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	const struct local_ts ts = { .family = 4,
				     .to_port = 65535,
				     .from = { 10, third, 0, 0 },
				     .to = { 10, third, 0, 255 } };

	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

static void load(struct node *n, uint8_t actions, uint64_t digest)
{
	struct local_message m = { .type = LOCAL_CONFIG };
	uint8_t local[LOCAL_TS_SIZE], remote[LOCAL_TS_SIZE];

	m.config.name = text("site");
	m.config.child = text("net");
	m.config.remote = text("198.51.100.7");
	m.config.actions = actions;
	m.config.mode = LOCAL_MODE_TUNNEL;
	m.config.digest = digest;
	m.config.local_ts = net(local, 1);
	m.config.remote_ts = net(remote, 3);
	gateways_say(n, &m);
	m = (struct local_message){ .type = LOCAL_CONFIGS };
	gateways_say(n, &m);
}

/* Who is to start the connection, who is next, and who is left. */
struct scene {
	struct node *owner, *successor, *third;
	unit_id unit;
	uint64_t spi;
};

static struct scene begin(uint8_t actions)
{
	struct cluster_unit_state state;
	struct scene s;

	EACH_NODE(n)
		load(n, actions, 1);
	s.unit = connection_unit(gateways[1].t, LIST_FIRST(&gateways[1].t->connections));
	cluster_unit(gateways[1].c, s.unit, &state);
	s.owner = &gateways[state.owner];
	s.successor = &gateways[state.successor];
	s.third = NULL;
	EACH_NODE(n)
		if (n != s.owner && n != s.successor)
			s.third = n;
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	return s;
}

/* How often charon was told to start it since the last time. */
static unsigned starts(struct node *n)
{
	struct local_message m;
	unsigned count = 0;

	while (gateways_hear(n, LOCAL_START, &m)) {
		assert_int_equal(m.start.name.len, 4);
		assert_memory_equal(m.start.name.bytes, "site", 4);
		assert_memory_equal(m.start.child.bytes, "net", 3);
		count++;
	}
	return count;
}

static void assert_only(const struct scene *s, struct node *who)
{
	struct node *all[] = { s->owner, s->successor, s->third };

	for (unsigned i = 0; i < 3; i++)
		if (!all[i]->dead)
			assert_int_equal(starts(all[i]) > 0, all[i] == who);
}

static void put_ike(struct node *n, uint64_t spi)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = 1;
	put.ike_put.local = gateway;
	put.ike_put.remote = peer;
	put.ike_put.name = text("site");
	put.ike_put.state = text("state");
	gateways_say(n, &put);
}

static void establish(struct node *n, uint64_t spi)
{
	uint8_t inside[LOCAL_TS_SIZE], outside[LOCAL_TS_SIZE];
	struct local_sa_add in = { .ike = spi,
				   .spi = (uint32_t)spi,
				   .src = peer,
				   .dst = gateway,
				   .src_ts = net(outside, 3),
				   .dst_ts = net(inside, 1) };

	put_ike(n, spi);
	gateways_child(n, &in, 0x11223344, "net");
}

/* As the peer's or an operator's wish. */
static void end(struct node *n, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_CHILD_DEL };

	m.child_del.ike = spi;
	m.child_del.spi_in = (uint32_t)spi;
	gateways_say(n, &m);
	m = (struct local_message){ .type = LOCAL_IKE_DEL };
	m.ike_del.spi = spi;
	gateways_say(n, &m);
}

static void note(struct node *n, uint8_t what)
{
	struct local_message m = { .type = LOCAL_START_NOTE };

	m.start_note.name = text("site");
	m.start_note.child = text(what == LOCAL_GIVEN_UP ? "" : "net");
	m.start_note.what = what;
	gateways_say(n, &m);
}

static void packet(struct node *n)
{
	uint8_t ip[40] = { 0x45, 0, 0,	40, 0, 0, 0,  0, 64, 59,
			   0,	 0, 10, 1,  0, 9, 10, 3, 0,  9 };
	struct packet p = { .bytes = ip, .len = sizeof(ip) };

	ipsec_ops.forward(n->t, &p, gateways_now);
	ipsec_ops.flush(n->t, gateways_now);
	gateways_events();
}

static void test_one_member_starts_it_and_then_another(void **state)
{
	struct scene s = begin(LOCAL_START_START);

	gateways_run(900);
	assert_only(&s, s.owner);
	/* In the middle of it. */
	gateways_kill(s.owner);
	gateways_run(1000);
	assert_only(&s, s.successor);
	establish(s.successor, s.spi);
	gateways_run(600);
	starts(s.successor);
	gateways_run(6000);
	assert_only(&s, NULL);
}

static void test_what_is_established_is_not_started_again(void **state)
{
	struct scene s = begin(LOCAL_START_START);

	gateways_run(600);
	establish(s.owner, s.spi);
	gateways_run(600);
	assert_only(&s, s.owner);
	gateways_kill(s.owner);
	gateways_run(3000);
	assert_only(&s, NULL);
	/* It ends while nobody is starting it: that was somebody's wish. */
	end(s.successor, s.spi);
	gateways_run(3000);
	assert_only(&s, NULL);
	assert_int_equal(start_of(s.third->t, LIST_FIRST(&s.third->t->connections)).state,
			 START_DOWN);
}

static void test_a_connection_is_tried_again_less_and_less(void **state)
{
	struct scene s = begin(LOCAL_START_START);
	unsigned times;

	gateways_run(600);
	note(s.owner, LOCAL_GIVEN_UP);
	gateways_run(14000);
	/* After 0, 1, 3 and 7 s. */
	times = starts(s.owner);
	assert_int_equal(times, 4);
	/* But not if an operator has ended it. */
	note(s.owner, LOCAL_STOPPED);
	gateways_run(3000);
	assert_only(&s, NULL);
}

static void test_what_charon_begins_another_goes_on_with(void **state)
{
	struct scene s = begin(0);

	gateways_run(2000);
	assert_only(&s, NULL);
	note(s.owner, LOCAL_BEGUN);
	gateways_run(100);
	gateways_kill(s.owner);
	gateways_run(1000);
	assert_only(&s, s.successor);
	/* What nobody has configured to be up is given up when charon does so. */
	note(s.successor, LOCAL_GIVEN_UP);
	gateways_run(6000);
	assert_only(&s, NULL);
}

static void test_a_changed_connection_begins_anew(void **state)
{
	struct scene s = begin(LOCAL_START_START);

	gateways_run(600);
	establish(s.owner, s.spi);
	gateways_run(600);
	assert_only(&s, s.owner);
	/* charon closes the old one when it loads the new one. */
	load(s.owner, LOCAL_START_START, 2);
	end(s.owner, s.spi);
	gateways_run(3000);
	assert_only(&s, s.owner);
	/* One that is not loaded any more is nobody's to start. */
	note(s.owner, LOCAL_GIVEN_UP);
	gateways_say(s.owner, &(struct local_message){ .type = LOCAL_CONFIGS });
	gateways_run(3000);
	starts(s.owner);
	gateways_run(5000);
	assert_only(&s, NULL);
	assert_true(LIST_EMPTY(&s.owner->t->connections));
}

/* As a single charon does it: only what is loaded unchanged stays as the operator has left it,
 * whether its end has been looked at yet or not. */
static void test_a_changed_connection_begins_anew_when_it_was_ended(void **state)
{
	const unsigned waits[] = { 3000, 0 };
	struct scene s = begin(LOCAL_START_START);

	for (unsigned i = 0; i < 2; i++) {
		gateways_run(600);
		establish(s.owner, s.spi);
		gateways_run(3000);
		starts(s.owner);
		end(s.owner, s.spi);
		gateways_run(waits[i]);
		load(s.owner, LOCAL_START_START, i + 1);
		gateways_run(3000);
		assert_only(&s, NULL);
		load(s.owner, LOCAL_START_START, i + 2);
		gateways_run(3000);
		assert_only(&s, s.owner);
	}
	/* At once. */
	establish(s.owner, s.spi);
	gateways_run(3000);
	starts(s.owner);
	end(s.owner, s.spi);
	load(s.owner, LOCAL_START_START, 4);
	gateways_run(3000);
	assert_only(&s, s.owner);
}

static void initiate(struct node *n, const char *child, uint32_t id)
{
	struct local_message m = { .type = LOCAL_INITIATE };

	m.initiate.id = id;
	m.initiate.name = text("site");
	m.initiate.child = text(child);
	m.initiate.timeout = 5000;
	gateways_say(n, &m);
}

static void assert_initiated(struct node *n, uint32_t id, enum local_result result,
			     const struct node *owner)
{
	struct local_message m;

	assert_true(gateways_hear(n, LOCAL_INITIATED, &m));
	assert_int_equal(m.initiated.id, id);
	assert_int_equal(m.initiated.result, result);
	assert_int_equal(m.initiated.owner, owner ? owner->id : 0);
}

static void test_initiate_is_passed_on_to_the_owner(void **state)
{
	struct scene s = begin(0);
	struct local_message m;

	initiate(s.third, "net", 17);
	gateways_run(1000);
	assert_only(&s, s.owner);
	note(s.owner, LOCAL_GIVEN_UP);
	gateways_run(1000);
	assert_initiated(s.third, 17, LOCAL_FAILED, s.owner);

	initiate(s.third, "net", 18);
	gateways_run(1000);
	assert_only(&s, s.owner);
	assert_false(gateways_hear(s.third, LOCAL_INITIATED, &m));
	establish(s.owner, s.spi);
	gateways_run(1000);
	assert_initiated(s.third, 18, LOCAL_ESTABLISHED, s.owner);
	initiate(s.third, "", 19);
	gateways_run(1000);
	assert_initiated(s.third, 19, LOCAL_ESTABLISHED, s.owner);

	end(s.owner, s.spi);
	initiate(s.third, "net", 20);
	gateways_run(6000);
	assert_initiated(s.third, 20, LOCAL_TIMEOUT, s.owner);
	initiate(s.third, "nonsense", 21);
	gateways_run(1000);
	assert_initiated(s.third, 21, LOCAL_UNKNOWN, NULL);
	/* Loaded here, and missing there. */
	gateways_say(s.owner, &(struct local_message){ .type = LOCAL_CONFIGS });
	gateways_say(s.owner, &(struct local_message){ .type = LOCAL_CONFIGS });
	initiate(s.third, "net", 22);
	gateways_run(1000);
	assert_initiated(s.third, 22, LOCAL_UNKNOWN, s.owner);
}

static void terminate(struct node *n, const char *name, const char *child, uint8_t how)
{
	struct local_message m = { .type = LOCAL_TERMINATE };

	m.terminate.id = 5;
	m.terminate.name = text(name);
	m.terminate.child = text(child);
	m.terminate.how = how;
	m.terminate.timeout = 3000;
	gateways_say(n, &m);
	gateways_run(10);
}

static void assert_terminated(struct node *n, uint32_t matches, uint32_t left)
{
	struct local_message m;

	assert_true(gateways_hear(n, LOCAL_TERMINATED, &m));
	assert_int_equal(m.terminated.matches, matches);
	assert_int_equal(m.terminated.left, left);
}

static void test_terminate_is_passed_on_to_the_owner(void **state)
{
	struct scene s = begin(0);
	struct local_message m;

	establish(s.owner, s.spi);
	gateways_run(600);
	/* What is its own, charon knows itself. */
	terminate(s.owner, "site", "", LOCAL_COUNT);
	assert_terminated(s.owner, 0, 0);
	terminate(s.third, "home", "", LOCAL_END);
	assert_terminated(s.third, 0, 0);
	terminate(s.third, "site", "", LOCAL_COUNT);
	assert_terminated(s.third, 1, 1);
	terminate(s.third, "", "other", LOCAL_COUNT);
	assert_terminated(s.third, 0, 0);
	terminate(s.third, "site", "net", LOCAL_END);
	assert_true(gateways_hear(s.owner, LOCAL_CHILD_END, &m));
	assert_true(m.child_end.spi == s.spi);
	assert_int_equal(m.child_end.child.len, 3);
	assert_false(gateways_hear(s.third, LOCAL_TERMINATED, &m));
	end(s.owner, s.spi);
	gateways_run(600);
	assert_terminated(s.third, 1, 0);

	establish(s.owner, s.spi);
	gateways_run(600);
	terminate(s.third, "", "net", LOCAL_FORCE);
	gateways_run(4000);
	assert_terminated(s.third, 1, 1);
}

/* charon's request with this number, as the initiator. */
static void transmit(struct node *n, uint64_t spi, uint8_t exchange, uint32_t mid)
{
	struct local_message tx = { .type = LOCAL_IKE_TX };
	uint8_t ike[IKE_HEADER_SIZE + 20] = { 0 };
	struct pack p = pack_to(ike, sizeof(ike));

	pack_u64(&p, spi);
	pack_u64(&p, mid ? 1 : 0);
	pack_u8(&p, 46);
	pack_u8(&p, 0x20);
	pack_u8(&p, exchange);
	pack_u8(&p, 0x08);
	pack_u32(&p, mid);
	pack_u32(&p, sizeof(ike));
	tx.ike_tx.src = gateway;
	tx.ike_tx.dst = peer;
	tx.ike_tx.packet = (struct local_blob){ ike, sizeof(ike) };
	gateways_say(n, &tx);
}

/* The peer expects the number that follows that of IKE_AUTH. */
static void test_numbers_of_requests_go_on_after_a_takeover(void **state)
{
	struct scene s = begin(LOCAL_START_START);
	struct local_message m;

	transmit(s.owner, s.spi, 34, 0);
	transmit(s.owner, s.spi, 35, 1);
	establish(s.owner, s.spi);
	gateways_run(100);
	gateways_kill(s.owner);
	gateways_run(100);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.send_mid, 2);
	assert_int_equal(m.ike_import.recv_mid, 0);
}

/* Else it would tell the peer that it has no other one. */
static void test_charon_is_given_its_logins_before_it_starts_another(void **state)
{
	struct scene s = begin(LOCAL_START_START);
	struct local_message m = { .type = LOCAL_IMPORTED };

	put_ike(s.owner, s.spi);
	gateways_run(600);
	assert_only(&s, s.owner);
	s.successor->slow = true;
	gateways_kill(s.owner);
	gateways_run(2000);
	assert_only(&s, NULL);
	s.successor->slow = false;
	m.imported.spi = s.spi;
	gateways_say(s.successor, &m);
	gateways_run(2000);
	assert_only(&s, s.successor);
}

static void test_a_packet_starts_a_trapped_connection(void **state)
{
	struct scene s = begin(LOCAL_START_TRAP);
	unsigned sent;

	gateways_run(600);
	EACH_NODE(n)
		assert_int_equal(n->routes, 1);
	assert_only(&s, NULL);
	/* Its route leads there; somebody else has no use for it. */
	packet(s.third);
	gateways_run(1000);
	assert_only(&s, NULL);
	for (unsigned i = 0; i < 20; i++)
		packet(s.owner);
	gateways_run(1000);
	assert_only(&s, s.owner);
	assert_int_equal(s.owner->t->statistics.trapped, 16);
	assert_int_equal(s.owner->t->statistics.trap_dropped, 4);
	sent = s.owner->nsent;
	establish(s.owner, s.spi);
	gateways_run(600);
	assert_int_equal(s.owner->nsent, sent + 16);
	assert_int_equal(s.owner->t->statistics.trap_dropped, 4);

	/* When it has ended, the next packet starts it again, wherever that is now. */
	end(s.owner, s.spi);
	gateways_run(1000);
	assert_only(&s, NULL);
	gateways_kill(s.owner);
	gateways_run(1000);
	packet(s.successor);
	gateways_run(12000);
	assert_only(&s, s.successor);
	assert_int_equal(s.successor->t->statistics.trap_dropped, 1);

	load(s.successor, 0, 3);
	gateways_run(600);
	assert_int_equal(s.successor->routes, 0);
}

static void load_named(struct node *n, const char *name, uint64_t digest)
{
	struct local_message m = { .type = LOCAL_CONFIG };

	m.config.name = text(name);
	m.config.child = text("net");
	m.config.remote = text("%any");
	m.config.mode = LOCAL_MODE_TUNNEL;
	m.config.digest = digest;
	gateways_say(n, &m);
}

static void test_what_differs_is_told_by_name(void **state)
{
	struct local_message end = { .type = LOCAL_CONFIGS };
	char name[80];

	EACH_NODE(n) {
		load_named(n, "alike", 1);
		load_named(n, "other", n->id == 2 ? 8 : 7);
		if (n->id != 3)
			load_named(n, "missing", 3);
		gateways_say(n, &end);
	}
	gateways_run(11000);
	assert_string_equal(compare_remark(gateways[1].t, 2),
			    "swanctl's connections differ: other differs");
	assert_string_equal(compare_remark(gateways[1].t, 3),
			    "swanctl's connections differ: missing is missing there");
	assert_string_equal(compare_remark(gateways[3].t, 2),
			    "swanctl's connections differ: missing is missing here, "
			    "other differs");
	assert_string_equal(compare_remark(gateways[1].t, 1), "");

	/* All alike, and more than can be told. */
	EACH_NODE(n) {
		for (unsigned i = 0; i < 600; i++) {
			snprintf(name, sizeof(name), "%040u", i);
			load_named(n, name, i + (i == 599 && n->id == 2));
		}
		gateways_say(n, &end);
	}
	gateways_run(11000);
	assert_string_equal(compare_remark(gateways[1].t, 3), "");
	assert_string_equal(compare_remark(gateways[1].t, 2),
			    "swanctl's connections differ: one of the last of very many "
			    "differs");

	/* Nonsense is told as such, and nothing worse. */
	for (size_t len = 0; len < sizeof(name); len++) {
		memset(name, len % 2 ? 0xff : 1, sizeof(name));
		ipsec_ops.noticed(gateways[1].t, 2, (const uint8_t *)name, len);
		compare_sweep(gateways[1].t, gateways_now);
		assert_string_equal(compare_remark(gateways[1].t, 2),
				    "swanctl's connections differ: its list is not "
				    "understood");
	}
	ipsec_ops.departed(gateways[1].t, 2, "");
	assert_string_equal(compare_remark(gateways[1].t, 2), "");
}

/* dpd_action = trap, at whatever member. */
static void test_charon_sets_a_trap(void **state)
{
	struct scene s = begin(LOCAL_DEAD_TRAP);

	gateways_run(600);
	assert_int_equal(s.successor->routes, 0);
	note(s.third, LOCAL_TRAPPED);
	gateways_run(1200);
	EACH_NODE(n)
		assert_int_equal(n->routes, 1);
	gateways_kill(s.owner);
	gateways_run(1000);
	packet(s.successor);
	gateways_run(1000);
	assert_only(&s, s.successor);
	note(s.successor, LOCAL_UNTRAPPED);
	gateways_run(1200);
	assert_int_equal(s.third->routes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, gateways_start, gateways_stop)
		T(test_one_member_starts_it_and_then_another),
		T(test_what_is_established_is_not_started_again),
		T(test_a_connection_is_tried_again_less_and_less),
		T(test_what_charon_begins_another_goes_on_with),
		T(test_a_changed_connection_begins_anew),
		T(test_a_changed_connection_begins_anew_when_it_was_ended),
		T(test_initiate_is_passed_on_to_the_owner),
		T(test_terminate_is_passed_on_to_the_owner),
		T(test_numbers_of_requests_go_on_after_a_takeover),
		T(test_charon_is_given_its_logins_before_it_starts_another),
		T(test_a_packet_starts_a_trapped_connection),
		T(test_charon_sets_a_trap),
		T(test_what_differs_is_told_by_name),
#undef T
	};

	if (geteuid()) {
		printf("skip: only root may connect to the plugin's socket\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
