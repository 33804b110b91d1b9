/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One charon among many: it may hang, refuse, or be slow, and knows little of the others. */
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
static const struct local_addr client = { 4, { 198, 51, 100, 7 }, IKE_PORT };

static struct local_blob text(const char *s)
{
	return (struct local_blob){ (const uint8_t *)s, strlen(s) };
}

static void establish(struct node *n, uint64_t spi, const char *user)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = 1;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.user = text(user);
	put.ike_put.name = text("home");
	put.ike_put.state = text("state");
	for (const char *at = user; *at; at++)
		put.ike_put.peer = put.ike_put.peer * 31 + (uint8_t)*at;
	gateways_say(n, &put);
}

/* As charon asks when a user has authenticated; whether it is to refuse the user. */
static bool ask(struct node *n, uint64_t spi, const char *user, enum local_policy policy,
		uint16_t port)
{
	struct local_message m = { .type = LOCAL_UNIQUE_ASK };

	m.unique_ask.id = (uint32_t)spi;
	m.unique_ask.spi = spi;
	m.unique_ask.policy = (uint8_t)policy;
	m.unique_ask.remote = client;
	m.unique_ask.remote.port = port;
	m.unique_ask.user = text(user);
	m.unique_ask.name = text("home");
	for (const char *at = user; *at; at++)
		m.unique_ask.peer = m.unique_ask.peer * 31 + (uint8_t)*at;
	gateways_say(n, &m);
	assert_true(gateways_hear(n, LOCAL_UNIQUE, &m));
	assert_int_equal(m.unique.id, (uint32_t)spi);
	return m.unique.refuse;
}

/* Where the gateway itself is behind a NAT. */
static void test_a_nat_is_kept_open(void **state)
{
	static const uint8_t byte = 0xff, word[2] = { 0xff, 0xff };
	struct node *n = &gateways[2];
	struct local_message m = { .type = LOCAL_IKE_TX };
	struct ip_packet ip;

	m.ike_tx.src = gateway;
	m.ike_tx.src.port = IKE_NAT_PORT;
	m.ike_tx.dst = client;
	m.ike_tx.dst.port = 1111;
	m.ike_tx.packet = (struct local_blob){ &byte, 1 };
	n->nsent = 0;
	gateways_say(n, &m);
	assert_int_equal(n->nsent, 1);
	assert_int_equal(n->sent_len[0], 20 + 8 + 1);
	assert_int_equal(ip_read(n->sent[0], n->sent_len[0], &ip), 0);
	assert_int_equal(ip.protocol, IP_PROTOCOL_UDP);
	assert_memory_equal(ip.source, gateway.bytes, 4);
	assert_memory_equal(ip.destination, client.bytes, 4);
	assert_int_equal(ip.body[0] << 8 | ip.body[1], IKE_NAT_PORT);
	assert_int_equal(ip.body[2] << 8 | ip.body[3], 1111);
	assert_int_equal(ip.body[8], 0xff);
	/* Nothing else passes for one. */
	m.ike_tx.packet = (struct local_blob){ word, 2 };
	gateways_say(n, &m);
	m.ike_tx.packet = (struct local_blob){ &byte, 1 };
	m.ike_tx.src.port = IKE_PORT;
	gateways_say(n, &m);
	assert_int_equal(n->nsent, 1);
}

/* A request of the client, the original initiator. */
static void request(struct node *n, uint64_t spi, uint32_t mid)
{
	uint8_t ike[IKE_HEADER_SIZE + 20] = { 0 };
	struct pack p = pack_to(ike, sizeof(ike));

	pack_u64(&p, 1);
	pack_u64(&p, spi);
	pack_u8(&p, 46);
	pack_u8(&p, 0x20);
	pack_u8(&p, 37);
	pack_u8(&p, 0x08);
	pack_u32(&p, mid);
	pack_u32(&p, sizeof(ike));
	login_receive(n->t, &client, &gateway, ike, sizeof(ike), gateways_now);
	gateways_events();
}

/* A member, a unit of it, and the member that takes it over. */
struct scene {
	struct node *owner, *successor, *third;
	unit_id unit;
	uint64_t spi; /* the first of the unit */
};

static struct scene begin(void)
{
	struct scene s = { .owner = &gateways[2] };

	s.unit = gateways_unit(s.owner, &s.successor);
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	EACH_NODE(n)
		if (n != s.owner && n != s.successor)
			s.third = n;
	return s;
}

static struct node *owner_of(const struct node *witness, unit_id u)
{
	struct cluster_unit_state state;

	cluster_unit(witness->c, u, &state);
	return &gateways[state.owner];
}

static bool works_on(const struct node *n, uint64_t spi)
{
	const struct ike_sa *sa = login_find(n->t, spi);

	return sa && sa->live && sa->import == IMPORT_NONE;
}

static unsigned activations(struct node *n, uint64_t *last)
{
	struct local_message m;
	unsigned count = 0;

	while (gateways_hear(n, LOCAL_IKE_ACTIVATE, &m)) {
		count++;
		*last = m.ike_activate.spi;
	}
	return count;
}

static void imported(struct node *n, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_IMPORTED };

	m.imported.spi = spi;
	gateways_say(n, &m);
}

static void test_a_charon_that_hangs_loses_its_units(void **state)
{
	struct scene s = begin();

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	s.owner->hung = true;
	gateways_run(5500);
	assert_false(plugin_connected(s.owner->t->plugin));
	assert_ptr_not_equal(owner_of(s.successor, s.unit), s.owner);
	assert_true(works_on(owner_of(s.successor, s.unit), s.spi));
	/* It wakes up, and finds its connection closed. */
	s.owner->hung = false;
	assert_false(s.owner->able);
	gateways_connect(s.owner);
	gateways_run(50);
	assert_true(s.owner->able);
	assert_int_equal(s.owner->t->statistics.charon_hung, 1);
}

/* It greets, by a thread that is not stuck, and is not believed. */
static void test_a_greeting_alone_is_not_enough(void **state)
{
	struct scene s = begin();

	s.owner->hung = true;
	gateways_run(6000);
	gateways_connect(s.owner);
	gateways_run(1000);
	assert_true(plugin_connected(s.owner->t->plugin));
	assert_false(s.owner->able);
}

static void test_a_charon_may_be_slow(void **state)
{
	struct scene s = begin();

	for (unsigned i = 0; i < 3; i++) {
		s.owner->hung = true;
		gateways_run(3000);
		s.owner->hung = false;
		gateways_run(1000);
	}
	assert_true(plugin_connected(s.owner->t->plugin));
	assert_int_equal(s.owner->t->statistics.charon_hung, 0);
}

#define MANY 500

static void test_imports_are_paced(void **state)
{
	struct scene s = begin();
	uint64_t last = 0, waiting = 0;
	unsigned n;

	for (unsigned i = 0; i < MANY; i++)
		establish(s.owner, s.spi + i * CLUSTER_UNITS, "one");
	gateways_run(50);
	gateways_forget(s.successor);
	s.successor->slow = true;
	gateways_kill(s.owner);
	gateways_run(50);
	n = activations(s.successor, &last);
	assert_in_range(n, 1, MANY / 4);
	/* As one is done, another one comes. */
	imported(s.successor, last);
	assert_int_equal(activations(s.successor, &last), 1);
	/* Who speaks comes first. */
	for (unsigned i = 0; i < MANY; i++)
		if (!login_find(s.successor->t, s.spi + i * CLUSTER_UNITS)->live)
			waiting = s.spi + i * CLUSTER_UNITS;
	request(s.successor, waiting, 2);
	assert_int_equal(activations(s.successor, &last), 1);
	assert_true(last == waiting);
	/* All come, and each once. */
	s.successor->slow = false;
	for (n += 2; n < MANY; n += activations(s.successor, &last)) {
		assert_true(last != 0);
		for (unsigned i = 0; i < MANY; i++)
			imported(s.successor, s.spi + i * CLUSTER_UNITS);
	}
	assert_int_equal(n, MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(works_on(s.successor, s.spi + i * CLUSTER_UNITS));
}

/* The unit may go while an import is under way; its slot is free then. */
static void test_lost_imports_make_room(void **state)
{
	struct scene s = begin();
	uint32_t ticket;

	for (unsigned i = 0; i < MANY; i++)
		establish(s.owner, s.spi + i * CLUSTER_UNITS, "one");
	gateways_run(50);
	s.successor->slow = true;
	gateways_kill(s.owner);
	gateways_run(50);
	assert_in_range(s.successor->t->imports_under_way, 1, MANY / 4);
	cluster_move(s.successor->c, s.unit, s.third->id, &ticket, gateways_now);
	gateways_run(500);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(works_on(s.third, s.spi + i * CLUSTER_UNITS));
	assert_int_equal(s.successor->t->imports_under_way, 0);
	assert_true(TAILQ_EMPTY(&s.successor->t->imports));
}

static void test_what_one_charon_refuses_another_one_gets(void **state)
{
	struct scene s = begin();

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	s.successor->refuses = true;
	gateways_kill(s.owner);
	gateways_run(500);
	/* It may just be too early for it. */
	assert_ptr_equal(owner_of(s.third, s.unit), s.successor);
	gateways_run(10000);
	assert_ptr_equal(owner_of(s.third, s.unit), s.third);
	assert_true(works_on(s.third, s.spi));
	assert_false(login_find(s.successor->t, s.spi)->live);
	assert_int_equal(s.successor->t->statistics.imports_failed, 3);
}

static void test_what_was_too_early_succeeds_later(void **state)
{
	struct scene s = begin();

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	s.successor->refuses = true;
	gateways_kill(s.owner);
	gateways_run(200);
	s.successor->refuses = false;
	gateways_run(2000);
	assert_ptr_equal(owner_of(s.third, s.unit), s.successor);
	assert_true(works_on(s.successor, s.spi));
}

static void test_what_every_charon_refuses_ends(void **state)
{
	struct scene s = begin();
	uint64_t other = s.spi + CLUSTER_UNITS;

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	s.successor->refuses = s.third->refuses = true;
	gateways_kill(s.owner);
	gateways_run(10000);
	assert_null(login_find(s.successor->t, s.spi));
	assert_null(login_find(s.third->t, s.spi));
	assert_int_equal(s.successor->t->statistics.imports_ended +
			     s.third->t->statistics.imports_ended,
			 1);
	/* New clients are served. */
	establish(owner_of(s.third, s.unit), other, "two");
	assert_true(works_on(owner_of(s.third, s.unit), other));
}

/* A user is connected to the scene's owner, and connects again to this other member. */
static uint64_t connect_again(struct scene *s, const char *user, enum local_policy policy)
{
	struct node *next;
	uint64_t spi =
	    s->spi - s->unit + 7 * CLUSTER_UNITS + gateways_unit(s->third, &next);

	assert_false(ask(s->third, spi, user, policy, 4500));
	establish(s->third, spi, user);
	gateways_run(50);
	return spi;
}

static void end_reported(struct node *n, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_IKE_DEL };

	m.ike_del.spi = spi;
	gateways_say(n, &m);
	gateways_run(50);
}

static void replaced(enum local_policy policy, enum local_end how)
{
	struct scene s = begin();
	uint64_t other = s.spi + CLUSTER_UNITS, again;
	struct local_message m;

	establish(s.owner, s.spi, "one");
	establish(s.owner, other, "two");
	gateways_run(50);
	again = connect_again(&s, "one", policy);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_REPLACED, &m));
	assert_true(m.ike_replaced.spi == s.spi);
	assert_int_equal(m.ike_replaced.how, how);
	end_reported(s.owner, s.spi);
	gateways_run(6000);
	EACH_NODE(n) {
		assert_false(gateways_hear(n, LOCAL_IKE_REPLACED, &m));
		assert_null(login_find(n->t, s.spi));
		assert_non_null(login_find(n->t, other));
		assert_non_null(login_find(n->t, again));
	}
	assert_true(works_on(s.third, again));
}

static void test_initial_contact_reaches_all_members(void **state)
{
	replaced(LOCAL_UNIQUE_CONTACT, LOCAL_END_SILENT);
}

static void test_a_policy_reaches_all_members(void **state)
{
	replaced(LOCAL_UNIQUE_REPLACE, LOCAL_END_DELETE);
}

/* Nobody has asked: both go on. */
static void test_a_user_may_connect_twice(void **state)
{
	struct scene s = begin();
	struct local_message m;

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	establish(s.third, s.spi - s.unit + gateways_unit(s.third, &s.successor), "one");
	gateways_run(6000);
	assert_false(gateways_hear(s.owner, LOCAL_IKE_REPLACED, &m));
	assert_true(works_on(s.owner, s.spi));
}

static void test_a_user_keeps_the_first_login(void **state)
{
	struct scene s = begin();

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	assert_true(ask(s.third, 99, "one", LOCAL_UNIQUE_KEEP, 4500));
	assert_false(ask(s.third, 99, "two", LOCAL_UNIQUE_KEEP, 4500));
	/* From the same address and port: it authenticates anew. */
	assert_false(ask(s.third, 99, "one", LOCAL_UNIQUE_KEEP, IKE_PORT));
	/* charon judges its own itself. */
	assert_false(ask(s.owner, 99, "one", LOCAL_UNIQUE_KEEP, 4500));
}

static bool known_to(struct node *n, const char *user)
{
	struct local_message m = { .type = LOCAL_CONTACT_ASK };

	m.contact_ask.id = 4711;
	for (const char *at = user; *at; at++)
		m.contact_ask.peer = m.contact_ask.peer * 31 + (uint8_t)*at;
	gateways_say(n, &m);
	assert_true(gateways_hear(n, LOCAL_CONTACT, &m));
	assert_int_equal(m.contact.id, 4711);
	return m.contact.known;
}

/* So that no charon says INITIAL_CONTACT to a peer of another one. */
static void test_a_contact_is_known_to_all_members(void **state)
{
	struct scene s = begin();

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	EACH_NODE(n) {
		assert_true(known_to(n, "one"));
		assert_false(known_to(n, "two"));
	}
}

/* The order survives whoever was to carry it out. */
static void test_a_successor_ends_what_was_replaced(void **state)
{
	struct scene s = begin();
	struct local_message m;

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	connect_again(&s, "one", LOCAL_UNIQUE_REPLACE);
	gateways_kill(s.owner);
	gateways_run(6000);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_REPLACED, &m));
	assert_true(m.ike_replaced.spi == s.spi);
	end_reported(s.successor, s.spi);
	assert_null(login_find(s.third->t, s.spi));
}

static void test_what_charon_does_not_end_is_taken_from_it(void **state)
{
	struct scene s = begin();
	struct local_message m;

	establish(s.owner, s.spi, "one");
	gateways_run(50);
	connect_again(&s, "one", LOCAL_UNIQUE_REPLACE);
	gateways_run(26000);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_DROP, &m));
	assert_true(m.ike_drop.spi == s.spi);
	EACH_NODE(n)
		assert_null(login_find(n->t, s.spi));
}

/* Half-open IKE SAs. */

#define IKE_SA_INIT 34
#define IKE_AUTH 35

struct message {
	size_t len;
	uint8_t bytes[IKE_HEADER_SIZE + 20];
};

static struct message ike(uint64_t spi, uint8_t exchange, bool response, uint32_t mid,
			  uint8_t filling)
{
	struct message out = { .len = sizeof(out.bytes) };
	struct pack p = pack_to(out.bytes, sizeof(out.bytes));

	pack_u64(&p, 1);
	pack_u64(&p, spi);
	pack_u8(&p, 46);
	pack_u8(&p, 0x20);
	pack_u8(&p, exchange);
	pack_u8(&p, response ? 0x20 : 0x08);
	pack_u32(&p, mid);
	pack_u32(&p, sizeof(out.bytes));
	memset(p.at, filling, 20);
	return out;
}

static void transmit(struct node *n, const struct message *m)
{
	struct local_message tx = { .type = LOCAL_IKE_TX };

	tx.ike_tx.src = gateway;
	tx.ike_tx.dst = client;
	tx.ike_tx.packet = (struct local_blob){ m->bytes, m->len };
	gateways_say(n, &tx);
}

static void receive(struct node *n, const struct message *m)
{
	login_receive(n->t, &client, &gateway, m->bytes, m->len, gateways_now);
	gateways_events();
}

static unsigned times_sent(const struct node *n, const struct message *m)
{
	unsigned times = 0;

	for (unsigned i = 0; i < n->nsent; i++)
		times += n->sent_len[i] > m->len &&
			 !memcmp(n->sent[i] + n->sent_len[i] - m->len, m->bytes, m->len);
	return times;
}

static void begin_half(struct node *n, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_HALF_OPEN };

	m.half_open.spi = spi;
	m.half_open.src = client;
	m.half_open.dst = gateway;
	m.half_open.request = text("request");
	m.half_open.nonce = text("nonce");
	m.half_open.method = 19;
	m.half_open.public = text("public");
	m.half_open.secret = text("secret");
	gateways_say(n, &m);
}

static void test_a_login_in_progress_goes_on(void **state)
{
	struct scene s = begin();
	struct message init = ike(s.spi, IKE_SA_INIT, true, 0, 'i');
	struct message auth = ike(s.spi, IKE_AUTH, false, 1, 'a');
	struct message done = ike(s.spi, IKE_AUTH, true, 1, 'd');
	struct local_message m;

	/* The answer does not leave before the successor has what it follows from. */
	gateways_stopped = true;
	begin_half(s.owner, s.spi);
	transmit(s.owner, &init);
	assert_int_equal(times_sent(s.owner, &init), 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(times_sent(s.owner, &init), 1);
	gateways_kill(s.owner);
	gateways_run(50);
	assert_true(gateways_hear(s.successor, LOCAL_HALF_IMPORT, &m));
	assert_true(m.half_import.spi == s.spi);
	assert_int_equal(m.half_import.secret.len, 6);
	assert_memory_equal(m.half_import.secret.bytes, "secret", 6);
	/* The client has it already. It may ask for it again, however. */
	transmit(s.successor, &init);
	assert_int_equal(times_sent(s.successor, &init), 0);
	transmit(s.successor, &init);
	assert_int_equal(times_sent(s.successor, &init), 1);
	receive(s.successor, &auth);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	establish(s.successor, s.spi, "one");
	gateways_run(50);
	transmit(s.successor, &done);
	gateways_run(50);
	assert_int_equal(times_sent(s.successor, &done), 1);
	assert_true(works_on(s.successor, s.spi));
	EACH_NODE(n)
		if (!n->dead)
			assert_int_equal(n->t->nhalves, 0);
}

/* Else it would stay beside what another member makes of it, with the same SPIs. */
static void test_a_login_in_progress_leaves_with_its_unit(void **state)
{
	struct scene s = begin();
	struct message init = ike(s.spi, IKE_SA_INIT, true, 0, 'i');
	struct local_message m;
	uint32_t ticket;

	begin_half(s.owner, s.spi);
	transmit(s.owner, &init);
	gateways_run(50);
	gateways_forget(s.owner);
	cluster_move(s.owner->c, s.unit, s.third->id, &ticket, gateways_now);
	gateways_run(200);
	assert_true(gateways_hear(s.owner, LOCAL_IKE_DROP, &m));
	assert_true(m.ike_drop.spi == s.spi);
	assert_true(gateways_hear(s.third, LOCAL_HALF_IMPORT, &m));
	assert_true(m.half_import.spi == s.spi);
	/* What charon has made of it in the meantime goes as well. */
	gateways_forget(s.owner);
	establish(s.owner, s.spi, "one");
	assert_true(gateways_hear(s.owner, LOCAL_IKE_DROP, &m));
	assert_true(m.ike_drop.spi == s.spi);
}

/* Between the two charon may ask others, a RADIUS server say. */
static void test_a_login_survives_between_its_end_and_the_answer(void **state)
{
	struct scene s = begin();
	struct message init = ike(s.spi, IKE_SA_INIT, true, 0, 'i');
	struct message auth = ike(s.spi, IKE_AUTH, false, 1, 'a');
	struct message done = ike(s.spi, IKE_AUTH, true, 1, 'd');
	struct local_message m;

	begin_half(s.owner, s.spi);
	transmit(s.owner, &init);
	receive(s.owner, &auth);
	establish(s.owner, s.spi, "one");
	gateways_run(50);
	assert_non_null(login_find(s.successor->t, s.spi));
	gateways_kill(s.owner);
	gateways_run(50);
	gateways_forget(s.successor);
	assert_false(works_on(s.successor, s.spi));
	receive(s.successor, &auth);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	establish(s.successor, s.spi, "one");
	transmit(s.successor, &done);
	gateways_run(50);
	assert_true(works_on(s.successor, s.spi));
	assert_int_equal(times_sent(s.successor, &done), 1);
}

static void test_an_answer_in_other_words_is_not_given(void **state)
{
	struct scene s = begin();
	struct message init = ike(s.spi, IKE_SA_INIT, true, 0, 'i');
	struct message other = ike(s.spi, IKE_SA_INIT, true, 0, 'o');

	begin_half(s.owner, s.spi);
	transmit(s.owner, &init);
	gateways_run(50);
	gateways_kill(s.owner);
	gateways_run(50);
	transmit(s.successor, &other);
	transmit(s.successor, &other);
	gateways_run(50);
	assert_int_equal(times_sent(s.successor, &other), 0);
}

static void test_eap_in_mid_round_fails_at_once(void **state)
{
	struct scene s = begin();
	struct message init = ike(s.spi, IKE_SA_INIT, true, 0, 'i');
	struct message first = ike(s.spi, IKE_AUTH, true, 1, 'f');
	struct message second = ike(s.spi, IKE_AUTH, false, 2, 's');
	struct message verdict = ike(s.spi, IKE_AUTH, true, 2, 'v');
	struct local_message m;

	begin_half(s.owner, s.spi);
	transmit(s.owner, &init);
	transmit(s.owner, &first);
	gateways_run(50);
	assert_int_equal(times_sent(s.owner, &first), 1);
	gateways_kill(s.owner);
	gateways_run(50);
	gateways_forget(s.successor);
	receive(s.successor, &second);
	assert_true(gateways_hear(s.successor, LOCAL_HALF_FAIL, &m));
	assert_true(m.half_fail.spi == s.spi);
	assert_int_equal(m.half_fail.mid, 2);
	transmit(s.successor, &verdict);
	gateways_run(50);
	assert_int_equal(times_sent(s.successor, &verdict), 1);
	/* The client has not got it. */
	receive(s.successor, &second);
	assert_int_equal(times_sent(s.successor, &verdict), 2);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	/* That was the end of it, wherever its unit goes. */
	gateways_forget(s.third);
	gateways_kill(s.successor);
	gateways_run(2000);
	assert_false(gateways_hear(s.third, LOCAL_HALF_IMPORT, &m));
}

/* The first answer was lost with its sender: the client asks again, and begins anew. */
static void test_eap_goes_on_before_the_first_answer(void **state)
{
	struct scene s = begin();
	struct message init = ike(s.spi, IKE_SA_INIT, true, 0, 'i');
	struct message first = ike(s.spi, IKE_AUTH, true, 1, 'f');
	struct message asked = ike(s.spi, IKE_AUTH, false, 1, 'q');
	struct message anew = ike(s.spi, IKE_AUTH, true, 1, 'n');
	struct message second = ike(s.spi, IKE_AUTH, false, 2, 's');
	struct local_message m;

	begin_half(s.owner, s.spi);
	transmit(s.owner, &init);
	transmit(s.owner, &first);
	gateways_run(50);
	gateways_kill(s.owner);
	gateways_run(50);
	transmit(s.successor, &init);
	gateways_forget(s.successor);
	receive(s.successor, &asked);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	transmit(s.successor, &anew);
	gateways_run(50);
	assert_int_equal(times_sent(s.successor, &anew), 1);
	gateways_forget(s.successor);
	receive(s.successor, &second);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
	assert_false(gateways_hear(s.successor, LOCAL_HALF_FAIL, &m));
}

static void test_half_open_ones_end(void **state)
{
	struct scene s = begin();
	struct local_message done = { .type = LOCAL_HALF_DONE };
	unit_id unit = 0;
	unsigned kept;

	for (unsigned i = 0; i < 2000; i++)
		begin_half(s.owner, s.spi + i * CLUSTER_UNITS);
	gateways_run(50);
	kept = s.third->t->nhalves;
	assert_in_range(kept, 100, 1999);
	/* A flood at one member leaves room for logins at another. */
	while (!unit_set_has(&s.third->t->units, unit))
		unit++;
	begin_half(s.third, CLUSTER_UNITS + unit);
	gateways_run(50);
	assert_int_equal(s.third->t->nhalves, kept + 1);
	assert_int_equal(s.owner->t->nhalves, kept + 1);
	done.half_done.spi = s.spi;
	gateways_say(s.owner, &done);
	gateways_run(50);
	assert_int_equal(s.third->t->nhalves, s.owner->t->nhalves);
	half_sweep(s.owner->t, mono_add(gateways_now, 70 * MONO_SEC));
	half_sweep(s.third->t, mono_add(gateways_now, 70 * MONO_SEC));
	gateways_run(50);
	EACH_NODE(n)
		assert_int_equal(n->t->nhalves, 0);
}

/* Who knows an SPI and a number does not know the keys. */
static void test_a_forged_answer_ends_no_repetition(void **state)
{
	struct scene s = begin();
	struct message asked = ike(s.spi, 37, false, 0, 'q');
	struct message answer = ike(s.spi, 37, true, 0, 'a');
	struct local_message m;

	asked.bytes[19] = 0x00; /* of the original responder, and its answer */
	answer.bytes[19] = 0x28;
	establish(s.owner, s.spi, "one");
	transmit(s.owner, &asked);
	gateways_run(50);
	gateways_kill(s.owner);
	gateways_run(50);
	assert_int_equal(times_sent(s.successor, &asked), 1);
	s.successor->doubts = true;
	receive(s.successor, &answer);
	assert_true(gateways_hear(s.successor, LOCAL_IKE_VERIFY, &m));
	assert_int_equal(m.ike_verify.packet.len, answer.len);
	gateways_run(600);
	assert_int_equal(times_sent(s.successor, &asked), 2);
	s.successor->doubts = false;
	receive(s.successor, &answer);
	gateways_run(5000);
	assert_int_equal(times_sent(s.successor, &asked), 2);
	assert_false(gateways_hear(s.successor, LOCAL_IKE_RX, &m));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, gateways_start, gateways_stop)
	const struct CMUnitTest tests[] = {
		TEST(test_a_charon_that_hangs_loses_its_units),
		TEST(test_a_greeting_alone_is_not_enough),
		TEST(test_a_charon_may_be_slow),
		TEST(test_imports_are_paced),
		TEST(test_lost_imports_make_room),
		TEST(test_what_one_charon_refuses_another_one_gets),
		TEST(test_what_was_too_early_succeeds_later),
		TEST(test_what_every_charon_refuses_ends),
		TEST(test_initial_contact_reaches_all_members),
		TEST(test_a_policy_reaches_all_members),
		TEST(test_a_user_may_connect_twice),
		TEST(test_a_user_keeps_the_first_login),
		TEST(test_a_contact_is_known_to_all_members),
		TEST(test_a_successor_ends_what_was_replaced),
		TEST(test_what_charon_does_not_end_is_taken_from_it),
		TEST(test_a_login_in_progress_goes_on),
		TEST(test_a_login_in_progress_leaves_with_its_unit),
		TEST(test_a_login_survives_between_its_end_and_the_answer),
		TEST(test_an_answer_in_other_words_is_not_given),
		TEST(test_eap_in_mid_round_fails_at_once),
		TEST(test_eap_goes_on_before_the_first_answer),
		TEST(test_half_open_ones_end),
		TEST(test_a_forged_answer_ends_no_repetition),
		TEST(test_a_nat_is_kept_open),
	};

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
