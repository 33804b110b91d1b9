/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that are made to fit the path, or do not fit it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/ends.h"

/* A TCP packet that opens a connection, with this largest segment; and what it says. */
static void make_opening(uint8_t ip[44], const uint8_t *src, const uint8_t *dst,
			 unsigned mss)
{
	ends_inner(ip, 44, src, dst, true);
	ip[9] = 6;
	ip[20 + 12] = 0x60;
	ip[20 + 13] = 2;
	ip[40] = 2;
	ip[41] = 4;
	ip[42] = (uint8_t)(mss >> 8);
	ip[43] = (uint8_t)mss;
}

static unsigned segment_of(const uint8_t *ip)
{
	return (unsigned)ip[42] << 8 | ip[43];
}

static void test_segments_are_made_to_fit(void **state)
{
	const struct local_sa_add none = { 0 };
	const unsigned offered[] = { 1460, 1200, 536 }, want[] = { 1300, 1200, 536 };
	struct ends s;

	gateways[2].t->config.mss = 1300;
	s = ends_begin(&none);
	for (unsigned i = 0; i < 3; i++) {
		const struct packet packet = { .len = 44, .checksum_ready = true };
		struct packet in = packet;
		uint8_t ip[44], out[200], got[200];
		size_t len;
		uint64_t seq;

		make_opening(ip, SERVER, INNER, offered[i]);
		in.bytes = ip;
		s.owner->nsent = 0;
		ipsec_ops.forward(s.owner->t, &in, gateways_now);
		gateways_events();
		assert_int_equal(s.owner->nsent, 1);
		assert_int_equal(child_open(s.peer, s.owner->sent[0] + 28,
					    s.owner->sent_len[0] - 28, 0, got,
					    sizeof(got), &len, &seq, gateways_now),
				 0);
		assert_int_equal(segment_of(got), want[i]);
		assert_int_equal(segment_of(ip), offered[i]);

		make_opening(ip, INNER, SERVER, offered[i]);
		assert_int_equal(
		    child_seal(s.peer, 9, ip, 44, out, sizeof(out), &len, gateways_now),
		    0);
		ends_receive(s.owner, out, len);
		assert_int_equal(s.owner->ninside, i + 1);
		assert_int_equal(segment_of(s.owner->inside), want[i]);
	}
	child_free(s.peer);
}

static void test_what_does_not_fit(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct ends s = ends_begin(&copies);
	const uint8_t *icmp = s.owner->inside + 20;
	struct ip_packet ip;
	size_t room;

	s.owner->t->config.mtu = 500;
	room = child_room(child_find(s.owner->t, s.spi), 500);
	ends_forward(s.owner, room, true);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(s.owner->sent[0][6], 0x40);
	ends_forward(s.owner, room + 1, true);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(s.owner->ninside, 1);
	assert_memory_equal(s.owner->inside + 16, SERVER, 4);
	assert_int_equal(icmp[0], 3);
	assert_int_equal(icmp[1], 4);
	assert_int_equal(icmp[6] << 8 | icmp[7], room);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-too-big"), 1);
	/* What may be fragmented is, outside. */
	s.owner->t->config.mtu = 300;
	ends_forward(s.owner, 500, false);
	assert_int_equal(s.owner->nsent, 3);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-fragmented"), 1);
	for (unsigned i = 1; i < 3; i++) {
		assert_true(s.owner->sent_len[i] <= 300);
		assert_int_equal(s.owner->sent[i][6] & 0x40, 0);
		assert_int_equal(s.owner->sent[i][6] & 0x20, i == 1 ? 0x20 : 0);
		assert_memory_equal(s.owner->sent[i] + 4, s.owner->sent[1] + 4, 2);
	}
	assert_int_equal(ip_read(s.owner->sent[0], s.owner->sent_len[0], &ip), 0);
	child_free(s.peer);
}

/* A message of IKE with certificates, to a peer that knows no fragments of IKE. */
static void test_long_messages_of_ike(void **state)
{
	static uint8_t message[700];
	struct node *n = &gateways[2];

	n->t->config.mtu = 500;
	n->nsent = 0;
	login_send(n->t, &gateway, &client, message, sizeof(message));
	assert_int_equal(n->nsent, 2);
	assert_int_equal(n->sent_len[0] + n->sent_len[1], 20 + 20 + 8 + 4 + 700);
	assert_int_equal(n->sent[0][6] & 0x20, 0x20);
	assert_int_equal(n->sent[1][6] & 0x20, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_true(n->sent_len[i] <= 500);
}

/* However many packets are too big. */
static void test_errors_are_limited(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct ends s = ends_begin(&copies);

	s.owner->t->config.mtu = 500;
	for (unsigned i = 0; i < 1500; i++)
		ends_forward(s.owner, 500, true);
	assert_int_equal(s.owner->ninside, 1000);
	assert_int_equal(s.owner->nsent, 0);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-too-big"), 1500);
	gateways_run(1000);
	ends_forward(s.owner, 500, true);
	assert_int_equal(s.owner->ninside, 1001);
	child_free(s.peer);
}

/* A router quotes a packet of ours. */
static void test_a_shorter_path(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct ends s = ends_begin(&copies);
	struct child *c = child_find(s.owner->t, s.spi);
	uint8_t quoted[36];

	s.owner->t->config.mtu = 1500;
	ends_forward(s.owner, 60, true);
	memcpy(quoted, s.owner->sent[0], sizeof(quoted));
	/* What an SPI that is not ours, or one that is missing, says is not believed. */
	quoted[30] ^= 1;
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 700, gateways_now);
	quoted[30] ^= 1;
	ipsec_ops.too_long(s.owner->t, quoted, 28, 700, gateways_now);
	quoted[14] ^= 1; /* of the source address */
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 700, gateways_now);
	quoted[14] ^= 1;
	assert_int_equal(gateways_statistic(s.owner, "ipsec.path-mtu-refused"), 3);
	assert_int_equal(c->path_mtu, 0);

	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 700, gateways_now);
	assert_int_equal(c->path_mtu, 700);
	/* Never more, and never less than what every path takes. */
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 1400, gateways_now);
	assert_int_equal(c->path_mtu, 700);
	ipsec_ops.too_long(s.owner->t, quoted, sizeof(quoted), 1, gateways_now);
	assert_int_equal(c->path_mtu, 576);
	ends_forward(s.owner, 600, true);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-too-big"), 1);
	assert_int_equal(s.owner->ninside, 1);
	/* Paths change: it is tried again. */
	assert_true(gateways_now.ns > 601 * MONO_SEC);
	c->path_mtu_since.ns = gateways_now.ns - 601 * MONO_SEC;
	ends_forward(s.owner, 400, true);
	assert_int_equal(c->path_mtu, 0);
	child_free(s.peer);
}

/* Their numbers tell nobody what else was sent. */
static void test_fragments_have_no_order(void **state)
{
	const struct local_sa_add copies = { .copy = LOCAL_COPY_DF };
	struct ends s = ends_begin(&copies);
	unsigned ordered = 0, last = 0;

	ipsec_ops.mtu(s.owner->t, 300);
	for (unsigned i = 0; i < 16; i++) {
		unsigned id;

		s.owner->nsent = 0;
		ends_forward(s.owner, 500, false);
		assert_int_equal(s.owner->nsent, 2);
		id = (unsigned)s.owner->sent[0][4] << 8 | s.owner->sent[0][5];
		ordered += i && id - last <= 16;
		last = id;
	}
	assert_true(ordered < 4);
	child_free(s.peer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, gateways_start, gateways_stop)
		T(test_segments_are_made_to_fit), T(test_what_does_not_fit),
		T(test_errors_are_limited),	  T(test_a_shorter_path),
		T(test_fragments_have_no_order),  T(test_long_messages_of_ike),
#undef T
	};

	if (geteuid()) {
		printf("skipped: the plugin's socket needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
