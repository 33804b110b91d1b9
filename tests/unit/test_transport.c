/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transport mode: hosts, some behind one NAT, that talk with the gateway itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/ends.h"
#include "tunnels/ipsec/inner.h"

/* UDP in transport mode; from the peer, or to it. Its checksum is right. */
static void make_udp(uint8_t ip[60], bool from_peer, uint16_t peers, uint16_t ours)
{
	uint16_t source = from_peer ? peers : ours,
		 destination = from_peer ? ours : peers;
	struct selector_flow f;

	if (from_peer)
		ends_inner(ip, 60, client.bytes, gateway.bytes, false);
	else
		ends_inner(ip, 60, gateway.bytes, client.bytes, false);
	ip[20] = (uint8_t)(source >> 8);
	ip[21] = (uint8_t)source;
	ip[22] = (uint8_t)(destination >> 8);
	ip[23] = (uint8_t)destination;
	ip[25] = 40;
	ip[26] = 1; /* there is one */
	ip[40] = (uint8_t)ends_next.which;
	assert_int_equal(selector_read(ip, 60, &f), 0);
	inner_checksum(ip, &f);
}

static void send_udp(struct ends *s, uint16_t peers, uint16_t ours)
{
	uint8_t ip[60], sealed[300];
	size_t len;

	make_udp(ip, true, peers, ours);
	assert_int_equal(child_seal(s->peer, 9, ip, sizeof(ip), sealed, sizeof(sealed),
				    &len, gateways_now),
			 0);
	ends_receive(s->owner, sealed, len);
	gateways_run(20);
}

static void answer_udp(struct ends *s, uint16_t peers, uint16_t ours)
{
	uint8_t ip[60];

	make_udp(ip, false, peers, ours);
	ipsec_ops.forward(s->owner->t, &(struct packet){ .bytes = ip, .len = 60 },
			  gateways_now);
	gateways_run(20);
}

static uint16_t port_at(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* The port that the kernel sees the peer's last packet come from. */
static uint16_t inside_port(const struct ends *s)
{
	uint8_t copy[60];
	struct selector_flow f;

	assert_int_equal(s->owner->inside_len, 60);
	memcpy(copy, s->owner->inside, 60);
	assert_memory_equal(copy + 12, client.bytes, 4);
	assert_memory_equal(copy + 16, gateway.bytes, 4);
	assert_int_equal(selector_read(copy, 60, &f), 0);
	inner_checksum(copy, &f);
	assert_memory_equal(copy, s->owner->inside, 60);
	return f.source_port;
}

/* The last packet that left is sealed, and this peer's; to which port it is. */
static uint16_t opened_port(const struct ends *s)
{
	const struct node *n = s->owner;
	uint8_t ip[300];
	uint64_t seq;
	size_t len;

	assert_true(n->nsent > 0);
	assert_int_equal(child_open(s->peer, n->sent[n->nsent - 1] + 28,
				    n->sent_len[n->nsent - 1] - 28, 0, ip, sizeof(ip),
				    &len, &seq, gateways_now),
			 0);
	return port_at(ip + 22);
}

static struct ends begin_transport(unsigned client_number)
{
	static const struct local_sa_add none;
	struct ends s;

	ends_next.transport = true;
	ends_next.which = client_number;
	ends_next.host = client_number;
	s = ends_begin(&none);
	ends_next.transport = false;
	ends_next.host = 0;
	return s;
}

/*
 * The peer of transport mode stands outside, so that no route leads to it; the kernel gets
 * its packets and says what it has to say to it through the SA.
 */
static void test_transport_mode(void **state)
{
	struct ends s = begin_transport(0);
	uint8_t ip[60];

	EACH_NODE(n) {
		assert_int_equal(n->routes, 0);
		assert_int_equal(n->peers, 1);
	}
	send_udp(&s, 4000, L2TP);
	assert_int_equal(s.owner->ninside, 1);
	assert_int_equal(inside_port(&s), 4000);
	answer_udp(&s, 4000, L2TP);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(opened_port(&s), 4000);
	/* What another member's kernel says goes to the owner. */
	make_udp(ip, false, 4000, L2TP);
	ipsec_ops.forward(s.successor->t, &(struct packet){ .bytes = ip, .len = 60 },
			  gateways_now);
	assert_int_equal(s.successor->again, 1);
	assert_int_equal(s.successor->nsent, 0);
	/* Selectors hold in both directions; what they do not cover is no business of ESP. */
	send_udp(&s, 4000, 1702);
	assert_int_equal(s.owner->ninside, 1);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-outside-selector"), 1);
	answer_udp(&s, 4000, 1702);
	assert_int_equal(s.owner->nsent, 2);
	make_udp(ip, false, 4000, 1702);
	assert_int_equal(s.owner->sent_len[1], 60);
	assert_memory_equal(s.owner->sent[1], ip, 60);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.transport-outside-selector"),
			 1);
	/* Nobody can tell what is in a fragment. */
	make_udp(ip, false, 4000, L2TP);
	ip[7] = 1;
	ipsec_ops.forward(s.owner->t, &(struct packet){ .bytes = ip, .len = 60 },
			  gateways_now);
	assert_int_equal(s.owner->nsent, 2);
	child_free(s.peer);
}

/* Both use the same port: the kernel sees two, and each gets its own answers. */
static void test_two_peers_behind_one_nat(void **state)
{
	struct ends a = begin_transport(0), b = begin_transport(1);
	struct local_message m = { .type = LOCAL_SA_DEL };
	uint16_t first, second;

	EACH_NODE(n)
		assert_int_equal(n->peers, 2);
	ends_next.which = 0;
	send_udp(&a, L2TP, L2TP);
	first = inside_port(&a);
	assert_int_equal(first, L2TP);
	ends_next.which = 1;
	send_udp(&b, L2TP, L2TP);
	second = inside_port(&b);
	assert_int_not_equal(second, L2TP);
	send_udp(&b, L2TP, L2TP);
	assert_int_equal(inside_port(&b), second);
	assert_int_equal(b.owner->inside[40], 1);
	answer_udp(&b, second, L2TP);
	assert_int_equal(opened_port(&b), L2TP);
	ends_next.which = 0;
	answer_udp(&a, first, L2TP);
	assert_int_equal(opened_port(&a), L2TP);
	assert_int_equal(a.owner->nsent, 2);
	/* To whom else it might be, nobody knows. */
	answer_udp(&a, 5555, L2TP);
	assert_int_equal(a.owner->nsent, 2);
	assert_int_equal(gateways_statistic(a.owner, "ipsec.transport-conflict"), 1);
	/* The one that stays keeps its port, and is the only one again. */
	m.sa_del.spi = a.spi;
	m.sa_del.inbound = 1;
	m.sa_del.dst = gateway;
	gateways_say(a.owner, &m);
	gateways_run(20);
	EACH_NODE(n)
		assert_int_equal(n->peers, 1);
	ends_next.which = 1;
	answer_udp(&b, second, L2TP);
	assert_int_equal(opened_port(&b), L2TP);
	answer_udp(&b, 5555, L2TP);
	assert_int_equal(opened_port(&b), 5555);
	child_free(a.peer);
	child_free(b.peer);
	ends_next.which = 0;
}

/* Who speaks for another address than its own in transport mode has no CHILD SA. */
static void test_transport_is_from_host_to_host(void **state)
{
	static const uint8_t neighbour[4] = { 198, 51, 100, 8 };
	struct local_message m;
	struct ends s = { .owner = &gateways[2],
			  .ike = 0xabcdef0123456405,
			  .spi = 0xc0000405 };
	static const struct local_sa_add none;
	struct local_sa_add in, out;

	for (unsigned wide = 0; wide < 2; wide++) {
		uint8_t network[LOCAL_TS_SIZE];

		ends_next.transport = true;
		ends_next.spoken_for = wide ? NULL : neighbour;
		ends_make(&s, &none, &in, &out);
		if (wide)
			in.src_ts = out.dst_ts =
			    ends_selector(network, client.bytes, 255);
		ends_next.transport = false;
		ends_next.spoken_for = NULL;
		ends_add(&s, &in, &out);
		assert_true(gateways_hear(s.owner, LOCAL_SA_EXPIRE, &m));
		assert_int_equal(m.sa_expire.spi, s.spi);
		assert_true(m.sa_expire.hard);
		EACH_NODE(n)
			assert_int_equal(n->peers, 0);
	}
}

/* One that says it has the NAT's own address is not taken for somebody behind it, and what
 * another member's kernel has to say goes to nobody if it could be for both. */
static void test_a_peer_beside_the_nat(void **state)
{
	struct ends a, b;
	uint8_t ip[60];

	a = begin_transport(0);
	send_udp(&a, L2TP, L2TP);
	assert_int_equal(inside_port(&a), L2TP);
	ends_next.native = true;
	b = begin_transport(1);
	ends_next.native = false;
	send_udp(&b, L2TP, L2TP);
	assert_int_not_equal(inside_port(&b), L2TP);
	ends_next.which = 0;
	answer_udp(&a, L2TP, L2TP);
	assert_int_equal(opened_port(&a), L2TP);
	make_udp(ip, false, L2TP, L2TP);
	ipsec_ops.forward(a.owner->t,
			  &(struct packet){ .bytes = ip, .len = 60, .hops = 1 },
			  gateways_now);
	assert_int_equal(a.owner->nsent, 1);
	assert_int_equal(gateways_statistic(a.owner, "ipsec.transport-conflict"), 1);
	child_free(a.peer);
	child_free(b.peer);
}

/* The same host logs in again before it leaves: the kernel sees no other port. */
static void test_transport_goes_on_after_reauthentication(void **state)
{
	static const struct local_sa_add none;
	struct ends a = begin_transport(0), b;

	send_udp(&a, L2TP, L2TP);
	ends_next.transport = true;
	ends_next.which = 1;
	b = ends_begin(&none);
	ends_next.transport = false;
	send_udp(&b, L2TP, L2TP);
	assert_int_equal(inside_port(&b), L2TP);
	answer_udp(&b, L2TP, L2TP);
	assert_int_equal(opened_port(&b), L2TP);
	ends_next.which = 0;
	child_free(a.peer);
	child_free(b.peer);
}

/* A host with two IKE SAs: what the one has heard is answered in it, whatever the other one
 * has heard since; and if it ends, neither in clear nor to somebody else behind the NAT. */
static void test_a_host_with_two_ike_sas(void **state)
{
	struct ends a = begin_transport(0), b, neighbour;
	struct local_message m = { .type = LOCAL_SA_DEL };
	static const struct local_sa_add none;

	ends_next.served = 1702;
	ends_next.transport = true;
	ends_next.which = 1;
	b = ends_begin(&none);
	ends_next.served = L2TP;
	ends_next.transport = false;
	ends_next.which = 0;
	send_udp(&a, 4000, L2TP);
	send_udp(&b, 4000, 1702);
	assert_int_equal(a.owner->ninside, 2);
	answer_udp(&a, 4000, L2TP);
	assert_int_equal(opened_port(&a), 4000);
	answer_udp(&b, 4000, 1702);
	assert_int_equal(opened_port(&b), 4000);
	neighbour = begin_transport(2);
	ends_next.which = 0;
	m.sa_del.spi = a.spi;
	m.sa_del.inbound = 1;
	m.sa_del.dst = gateway;
	gateways_say(a.owner, &m);
	gateways_run(20);
	answer_udp(&a, 4000, L2TP);
	assert_int_equal(a.owner->nsent, 2);
	assert_int_equal(gateways_statistic(a.owner, "ipsec.transport-conflict"), 1);
	assert_int_equal(gateways_statistic(a.owner, "ipsec.transport-outside-selector"),
			 0);
	child_free(a.peer);
	child_free(b.peer);
	child_free(neighbour.peer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, gateways_start, gateways_stop)
		T(test_transport_mode),
		T(test_two_peers_behind_one_nat),
		T(test_transport_is_from_host_to_host),
		T(test_a_peer_beside_the_nat),
		T(test_transport_goes_on_after_reauthentication),
		T(test_a_host_with_two_ike_sas),
#undef T
	};

	if (geteuid()) {
		printf("skipped: the plugin's socket needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
