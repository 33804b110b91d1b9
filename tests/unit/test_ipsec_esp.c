/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ESP that comes from clients: what is let in, and from where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/ends.h"
#include "tests/unit/logged.h"

static void test_bad_packets(void **state)
{
	static const struct local_sa_add none;
	static const uint8_t stranger[4] = { 10, 3, 0, 8 }, beyond[4] = { 10, 1, 1, 0 };
	struct ends s = ends_begin(&none);
	uint8_t good[300], bad[300];
	size_t len = ends_seal(&s, INNER, SERVER, good, sizeof(good));

	memcpy(bad, good, len);
	bad[len - 1] ^= 1;
	ends_receive(s.owner, bad, len);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-bad-icv"), 1);
	memcpy(bad, good, len);
	bad[29] ^= 1; /* of the SPI, behind IP and UDP */
	ends_receive(s.owner, bad, len);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-unknown-spi"), 1);
	for (size_t cut = 36; cut < len; cut++) {
		memcpy(bad, good, cut);
		bad[2] = 0;
		bad[3] = (uint8_t)cut;
		bad[24] = 0;
		bad[25] = (uint8_t)(cut - 20);
		ends_receive(s.owner, bad, cut);
	}
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-bad-icv") - 1 +
			     gateways_statistic(s.owner, "ipsec.esp-malformed"),
			 len - 36);
	assert_int_equal(s.owner->ninside, 0);
	ends_receive(s.owner, good, len);
	gateways_run(20);
	assert_int_equal(s.owner->ninside, 1);
	ends_receive(s.owner, good, len);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-replay"), 1);
	len = ends_seal(&s, stranger, SERVER, good, sizeof(good));
	ends_receive(s.owner, good, len);
	len = ends_seal(&s, INNER, beyond, good, sizeof(good));
	ends_receive(s.owner, good, len);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.esp-outside-selector"), 2);
	gateways_run(20);
	assert_int_equal(s.owner->ninside, 1);
	/* Outbound: no child is for such a packet, and none goes in clear. */
	ends_inner(bad, 60, beyond, INNER, false);
	ipsec_ops.forward(s.owner->t, &(struct packet){ .bytes = bad, .len = 60 },
			  gateways_now);
	assert_int_equal(gateways_statistic(s.owner, "ipsec.no-route"), 1);
	assert_int_equal(s.owner->nsent, 0);
	child_free(s.peer);
}

/* What the log says of a packet that is refused this many times: one line, with its kind, and
 * how many have had none since the line before. */
static void assert_audited(struct ends *s, const uint8_t *packet, size_t len,
			   unsigned times, const char *kind, unsigned unsaid)
{
	const char *said, *line;
	char expected[100];

	gateways_run(1000);
	logged_begin();
	for (unsigned i = 0; i < times; i++)
		ends_receive(s->owner, packet, len);
	said = logged_end();
	snprintf(expected, sizeof(expected), ": %s (and %u others before)\n", kind,
		 unsaid);
	line = strstr(said, "refused an ESP packet from ");
	if (!line || !strstr(line, expected) || strstr(line + 1, "refused an ESP packet"))
		fail_msg("not once \"%s\":\n%s", expected, said);
}

static void test_audit(void **state)
{
	static const struct local_sa_add none;
	static const uint8_t stranger[4] = { 10, 3, 0, 8 };
	struct ends s = ends_begin(&none);
	uint8_t good[300], bad[300];
	size_t len = ends_seal(&s, INNER, SERVER, good, sizeof(good));

	ends_receive(s.owner, good, len);
	assert_audited(&s, good, len, 11, "replayed, or too late", 0);
	memcpy(bad, good, len);
	bad[len - 1] ^= 1;
	bad[35]++; /* the sequence number */
	assert_audited(&s, bad, len, 1, "not authentic", 10);
	bad[29] ^= 1; /* the SPI */
	assert_audited(&s, bad, len, 3, "unknown SPI", 0);
	len = ends_seal(&s, stranger, SERVER, bad, sizeof(bad));
	assert_audited(&s, bad, len, 1, "outside the traffic selectors", 2);
	child_free(s.peer);
}

/* A packet of the peer's, through a NAT that gives it this port. */
static void hear_from(struct ends *s, uint8_t *bytes, size_t len, uint16_t port)
{
	bytes[20] = (uint8_t)(port >> 8);
	bytes[21] = (uint8_t)port;
	ends_receive(s->owner, bytes, len);
}

static void test_a_nat_that_changes_is_followed(void **state)
{
	const struct local_sa_add none = { 0 };
	struct ends s = ends_begin(&none);
	uint8_t early[200], late[200];
	size_t len = ends_seal(&s, INNER, SERVER, early, sizeof(early));
	struct local_message m = { .type = LOCAL_SA_UPDATE };
	const uint8_t *udp = s.owner->sent[0] + 20;

	/* From where it was; then from elsewhere; then a replay, from elsewhere still. */
	hear_from(&s, early, len, client.port);
	assert_false(gateways_hear(s.owner, LOCAL_SA_MOVED, &m));
	ends_seal(&s, INNER, SERVER, early, sizeof(early));
	ends_seal(&s, INNER, SERVER, late, sizeof(late));
	hear_from(&s, late, len, 2222);
	assert_true(gateways_hear(s.owner, LOCAL_SA_MOVED, &m));
	assert_int_equal(m.sa_moved.spi, s.spi);
	assert_int_equal(m.sa_moved.src.port, 2222);
	assert_memory_equal(m.sa_moved.src.bytes, client.bytes, 4);
	gateways_run(2000);
	hear_from(&s, late, len, 3333);
	hear_from(&s, early, len, 3333);
	assert_false(gateways_hear(s.owner, LOCAL_SA_MOVED, &m));

	/* Nothing goes there before the successor knows. */
	gateways_stopped = true;
	m = (struct local_message){ .type = LOCAL_SA_UPDATE };
	m.sa_update.spi = ENDS_PEER_SPI;
	m.sa_update.src = gateway;
	m.sa_update.dst = m.sa_update.was = client;
	m.sa_update.dst.port = 2222;
	m.sa_update.encap = 1;
	gateways_say(s.owner, &m);
	ends_forward(s.owner, 60, false);
	assert_int_equal(s.owner->nsent, 0);
	gateways_stopped = false;
	gateways_run(50);
	assert_int_equal(s.owner->nsent, 1);
	assert_int_equal(udp[2] << 8 | udp[3], 2222);
	assert_int_equal(child_find(s.successor->t, s.spi)->out.dst.port, 2222);
	child_free(s.peer);
}

/* Of the last packet that the member has sent. */
static uint32_t spi_sent(const struct node *n)
{
	struct unpack u = unpack_from(n->sent[n->nsent - 1] + 28, 4);

	return unpack_u32(&u);
}

static void put_retired(const struct ends *s)
{
	struct local_message m = { .type = LOCAL_CHILD_PUT };

	m.child_put.ike = s->ike;
	m.child_put.spi_in = s->spi;
	m.child_put.spi_out = ENDS_PEER_SPI;
	m.child_put.retired = 1;
	gateways_say(s->owner, &m);
	gateways_run(50);
}

/* Whichever became known first: a snapshot has no order. */
static void test_what_was_replaced_is_not_used(void **state)
{
	const struct local_sa_add base = { 0 };
	struct ends newer = ends_begin(&base), older = newer;
	struct local_sa_add in, out;
	uint32_t newer_spi = ENDS_PEER_SPI;

	ends_next.which = 1;
	older.spi += CLUSTER_UNITS;
	ends_make(&older, &base, &in, &out);
	ends_add(&older, &in, &out);
	child_find(older.owner->t, older.spi)->confirmed = true;
	ends_forward(older.owner, 60, false);
	assert_int_equal(spi_sent(older.owner), ENDS_PEER_SPI);
	put_retired(&older);
	ends_forward(older.owner, 60, false);
	assert_int_equal(spi_sent(older.owner), newer_spi);
	gateways_kill(older.owner);
	child_find(older.successor->t, older.spi)->confirmed = true;
	ends_forward(older.successor, 60, false);
	gateways_run(50);
	assert_int_equal(spi_sent(older.successor), newer_spi);
	ends_next.which = 0;
	child_free(newer.peer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, gateways_start, gateways_stop)
		T(test_bad_packets),
		T(test_a_nat_that_changes_is_followed),
		T(test_audit),
		T(test_what_was_replaced_is_not_used),
#undef T
	};

	if (geteuid()) {
		printf("skipped: the plugin's socket needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
