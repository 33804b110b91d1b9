/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages that the core refuses: each is counted at the peer that sent it, by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/cluster.h"
#include "cluster/wire.h"
#include "src/refusal.h"
#include "tests/quiet.h"

#define RUN (UINT64_C(77) << 16)
#define PEER 1
#define OTHER 3
#define TERM (UINT64_C(9) << 16 | OTHER)

struct fixture {
	struct cluster *c;
	struct mono now;
	uint8_t msg[CLUSTER_DATAGRAM_MAX];
	unsigned upcalls, datagrams;
	member_id last_from;
	char last_why[32];
	bool last_fault;
};

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct fixture *f = ctx;

	f->datagrams++;
}

static void io_refused(void *ctx, member_id from, const char *why, bool fault)
{
	struct fixture *f = ctx;

	f->upcalls++;
	f->last_from = from;
	f->last_fault = fault;
	strncpy(f->last_why, why, sizeof(f->last_why) - 1);
}

static void run(struct fixture *f, uint64_t time)
{
	struct mono end = mono_add(f->now, time);

	while (mono_before(cluster_timeout(f->c), end)) {
		f->now = cluster_timeout(f->c);
		cluster_tick(f->c, f->now);
	}
	f->now = end;
	cluster_tick(f->c, f->now);
}

static struct fixture *make(void)
{
	static const struct cluster_config config = {
		.self = 2,
		.detection = 200 * MONO_MS,
		.capacity = 1,
		.npeers = 3,
		.peers = { { PEER, "one" }, { 2, "two" }, { OTHER, "three" } },
	};
	struct fixture *f = calloc(1, sizeof(*f));
	struct cluster_io io = quiet_io;

	if (!f)
		return NULL;
	io.ctx = f;
	io.datagram = io_datagram;
	io.refused = io_refused;
	f->now.ns = 1000 * MONO_SEC;
	f->c = cluster_new(&config, &io, f->now);
	return f;
}

/* The master of a cluster of three, with one member in it. */
static int setup(void **state)
{
	struct wire_join_request join = { .capacity = 1,
					  .detection = 200 * MONO_MS,
					  .roster_count = 2,
					  .roster = { { 1 }, { 2 } } };
	struct fixture *f = *state = make();

	if (!f || !f->c)
		return -1;
	run(f, 2 * MONO_SEC);
	cluster_link(f->c, PEER, true, f->now);
	cluster_recv_datagram(
	    f->c, PEER, f->msg,
	    wire_encode_join_request(f->msg, sizeof(f->msg), 0, RUN, &join), f->now);
	return cluster_role(f->c) == CLUSTER_MASTER && !f->upcalls ? 0 : -1;
}

/* A member of the cluster whose master is OTHER. */
static int setup_member(void **state)
{
	static struct wire_ok_to_join ok = { .members_count = 2 };
	struct fixture *f = *state = make();

	if (!f || !f->c)
		return -1;
	ok.target = cluster_incarnation(f->c);
	ok.echo = f->now.ns;
	ok.members[0] = (struct wire_member){ .id = OTHER, .incarnation = RUN };
	ok.members[1] = (struct wire_member){ .id = 2, .incarnation = ok.target };
	cluster_recv_datagram(
	    f->c, OTHER, f->msg,
	    wire_encode_ok_to_join(f->msg, sizeof(f->msg), TERM, RUN, &ok), f->now);
	return cluster_master(f->c) == OTHER && !f->upcalls ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cluster_free(f->c);
	free(f);
	return 0;
}

static struct cluster_member_state member(const struct fixture *f, member_id id)
{
	struct cluster_member_state m[3];

	assert_int_equal(cluster_members(f->c, m, 3, f->now), 3);
	assert_int_equal(m[id - 1].id, id);
	return m[id - 1];
}

/* The next message of `from` has just been refused, for this reason; nothing happened. */
static void check_refused(const struct fixture *f, member_id from, const char *why,
			  bool fault, unsigned times)
{
	struct cluster_member_state m = member(f, from);

	assert_int_equal(m.refused, times);
	assert_string_equal(m.refused_why, why);
	assert_int_equal(m.refused_ago, 0);
	assert_int_equal(f->last_from, from);
	assert_string_equal(f->last_why, why);
	assert_int_equal(f->last_fault, fault);
}

static void datagram(struct fixture *f, member_id from, size_t len)
{
	assert_true(len > 0);
	cluster_recv_datagram(f->c, from, f->msg, len, f->now);
}

static uint64_t statistic(const struct fixture *f, const char *name)
{
	const char *names[128];
	uint64_t values[128];
	unsigned n = cluster_statistics(f->c, names, values, 128);

	for (unsigned i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return values[i];
	fail_msg("no statistic %s", name);
	return 0;
}

static void garbage_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_member_keepalive k = { .seq = 1 };
	size_t len;

	/* No header, no such type, and a body that is cut short or goes on for too long. */
	datagram(f, PEER, WIRE_HEADER_SIZE - 1);
	check_refused(f, PEER, "bad_message", true, 1);
	memset(f->msg, 0xff, sizeof(f->msg));
	f->msg[0] = WIRE_VERSION;
	memset(f->msg + 2, 0, sizeof(uint64_t)); /* the term */
	datagram(f, PEER, sizeof(f->msg));
	check_refused(f, PEER, "unknown_type", true, 2);
	len = wire_encode_member_keepalive(f->msg, sizeof(f->msg), cluster_term(f->c),
					   RUN, &k);
	datagram(f, PEER, len - 1);
	check_refused(f, PEER, "bad_message", true, 3);
	datagram(f, PEER, len + 1);
	check_refused(f, PEER, "bad_message", true, 4);
	assert_int_equal(member(f, OTHER).refused, 0);
	datagram(f, PEER, len);
	assert_int_equal(member(f, PEER).refused, 4);
	assert_int_equal(f->upcalls, 4);
	/* When it was is told as well. */
	run(f, 10 * MONO_MS);
	assert_int_equal(member(f, PEER).refused_ago, 10 * MONO_MS);
	assert_true(member(f, PEER).present);
}

static void older_and_newer_versions_are_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_member_keepalive k = { .seq = 1 };
	size_t len = wire_encode_member_keepalive(f->msg, sizeof(f->msg),
						  cluster_term(f->c), RUN, &k);

	for (unsigned version = 0; version < WIRE_VERSION; version++) {
		f->msg[0] = (uint8_t)version;
		datagram(f, PEER, len);
		check_refused(f, PEER, "bad_version", true, version + 1);
	}
	f->msg[0] = WIRE_VERSION + 1;
	datagram(f, PEER, len);
	check_refused(f, PEER, "bad_version", true, WIRE_VERSION + 1);
	cluster_recv_stream(f->c, PEER, f->msg, len, f->now);
	check_refused(f, PEER, "bad_version", true, WIRE_VERSION + 2);
}

static void own_all(struct fixture *f)
{
	struct cluster_unit_state unit;

	cluster_set_able(f->c, true, NULL, f->now);
	run(f, 60 * MONO_MS);
	cluster_unit(f->c, CLUSTER_UNITS - 1, &unit);
	assert_int_equal(unit.owner, 2);
}

/* A table is 21 datagrams: it is not sent for each copy of a short request. */
static void the_table_is_not_sent_for_every_request(void **state)
{
	struct fixture *f = *state;
	struct wire_entries ask = { .flags = WIRE_ENTRIES_ANSWER };
	unsigned before;
	size_t len;

	own_all(f);
	cluster_link(f->c, PEER, false, f->now);
	len = wire_encode_entries(f->msg, sizeof(f->msg), cluster_term(f->c), RUN, &ask);
	before = f->datagrams;
	for (unsigned i = 0; i < 100; i++)
		datagram(f, PEER, len);
	assert_true(f->datagrams > before + 20);
	assert_true(f->datagrams < before + 2 * 30);
	run(f, 60 * MONO_MS);
	before = f->datagrams;
	datagram(f, PEER, len);
	assert_true(f->datagrams > before + 20);
	assert_true(member(f, PEER).present);
}

static void claim(struct fixture *f, unit_id unit, uint8_t key, uint8_t flags)
{
	static uint8_t msg[256];
	struct wire_merge_put m = { .unit = unit,
				    .epoch = 1,
				    .flags = flags | WIRE_PUT_ESSENTIAL,
				    .key = { .type = 1, .len = 1, .bytes = { key } },
				    .heard = 1,
				    .essential = (const uint8_t *)"x",
				    .essential_len = 1 };

	cluster_recv_stream(
	    f->c, PEER, msg,
	    wire_encode_merge_put(msg, sizeof(msg), cluster_term(f->c), RUN, &m), f->now);
}

static void end_of_claims(struct fixture *f)
{
	struct wire_merge_end m = {
		.units_count = 3, .units = { { .unit = 1 }, { .unit = 2 }, { .unit = 3 } }
	};

	cluster_recv_stream(
	    f->c, PEER, f->msg,
	    wire_encode_merge_end(f->msg, sizeof(f->msg), cluster_term(f->c), RUN, &m),
	    f->now);
}

/* What was cut off offers each session once, unit after unit; else nothing of it is taken. */
static void claims_of_one_key_are_refused(void **state)
{
	struct fixture *f = *state;

	own_all(f);
	claim(f, 1, 1, 0);
	claim(f, 1, 2, 0);
	/* The end of a session, and another session under its key. */
	claim(f, 1, 2, WIRE_PUT_ENDED);
	claim(f, 2, 1, 0);
	assert_int_equal(f->upcalls, 0);
	claim(f, 2, 1, 0);
	check_refused(f, PEER, "bad_message", true, 1);
	/* All that follows belongs to it. */
	claim(f, 3, 1, 0);
	end_of_claims(f);
	assert_int_equal(statistic(f, "merge_judged"), 0);
	/* A unit that comes back could hide the second one. */
	claim(f, 1, 1, 0);
	claim(f, 2, 2, 0);
	claim(f, 1, 2, 0);
	check_refused(f, PEER, "bad_message", true, 2);
	end_of_claims(f);
	assert_int_equal(statistic(f, "merge_judged"), 0);
	assert_int_equal(statistic(f, "merge_refused"), 2);
	/* And what is as it should be goes on. */
	claim(f, 1, 1, 0);
	claim(f, 2, 1, 0);
	end_of_claims(f);
	assert_int_equal(statistic(f, "merge_judged"), 2);
	assert_int_equal(statistic(f, "merge_taken"), 2);
	assert_int_equal(f->upcalls, 2);
}

static void words_of_another_id_are_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_death death = { .id = 2, .run = cluster_incarnation(f->c) >> 16 };
	struct wire_master_offer offer = { 0 };
	struct wire_master_keepalive k = { .seq = 1 };
	struct wire_ok_to_join ok = { 0 };
	uint64_t term = cluster_term(f->c) + (1 << 16);

	/* A member's death is told by its own note only. */
	datagram(f, PEER, wire_encode_death(f->msg, sizeof(f->msg), 0, RUN, &death));
	check_refused(f, PEER, "wrong_id", true, 1);
	/* And nobody is master in a term of somebody else's. */
	datagram(f, PEER,
		 wire_encode_master_offer(f->msg, sizeof(f->msg), term, RUN, &offer));
	check_refused(f, PEER, "wrong_id", true, 2);
	datagram(f, PEER,
		 wire_encode_master_keepalive(f->msg, sizeof(f->msg), term, RUN, &k));
	check_refused(f, PEER, "wrong_id", true, 3);
	datagram(f, PEER, wire_encode_ok_to_join(f->msg, sizeof(f->msg), term, RUN, &ok));
	check_refused(f, PEER, "wrong_id", true, 4);
	assert_int_equal(cluster_role(f->c), CLUSTER_MASTER);
	assert_true(member(f, PEER).present);
}

static void the_wrong_transport_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_yield yield = { 0 };
	struct wire_sync sync = { 0 };
	size_t len = wire_encode_yield(f->msg, sizeof(f->msg), 0, RUN, &yield);

	cluster_recv_stream(f->c, PEER, f->msg, len, f->now);
	check_refused(f, PEER, "wrong_transport", true, 1);
	datagram(f, PEER, wire_encode_sync(f->msg, sizeof(f->msg), 0, RUN, &sync));
	check_refused(f, PEER, "wrong_transport", true, 2);
}

static void who_is_no_member_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_exit_request bye = { 0 };
	size_t len = wire_encode_exit_request(f->msg, sizeof(f->msg), 0, RUN, &bye);

	datagram(f, OTHER, len);
	check_refused(f, OTHER, "not_from_member", false, 1);
	assert_int_equal(member(f, PEER).refused, 0);
	/* Nor is an earlier incarnation of a member. */
	len = wire_encode_exit_request(f->msg, sizeof(f->msg), 0, RUN - 1, &bye);
	datagram(f, PEER, len);
	check_refused(f, PEER, "not_from_member", false, 1);
	assert_true(member(f, PEER).present);
	/* Who is not in the list of valid members is nobody's. */
	cluster_recv_datagram(f->c, 77, f->msg, len, f->now);
	assert_int_equal(f->upcalls, 2);
}

static void the_wrong_role_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_grant grant = { 0 };
	size_t len = wire_encode_grant(f->msg, sizeof(f->msg),
				       (cluster_term(f->c) & ~UINT64_C(0xffff)) | PEER,
				       RUN, &grant);

	/* A master is granted nothing. */
	cluster_recv_stream(f->c, PEER, f->msg, len, f->now);
	check_refused(f, PEER, "wrong_state", false, 1);
}

static void a_lower_term_is_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_grant grant = { 0 };
	uint64_t lower = TERM - (1 << 16);

	cluster_recv_stream(f->c, OTHER, f->msg,
			    wire_encode_grant(f->msg, sizeof(f->msg), lower, RUN, &grant),
			    f->now);
	check_refused(f, OTHER, "lower_term", false, 1);
	cluster_recv_stream(f->c, OTHER, f->msg,
			    wire_encode_grant(f->msg, sizeof(f->msg), TERM, RUN, &grant),
			    f->now);
	assert_int_equal(f->upcalls, 1);
}

static void nobody_speaks_to_who_has_left(void **state)
{
	struct fixture *f = *state;
	struct wire_member_keepalive k = { .seq = 1 };
	size_t len = wire_encode_member_keepalive(f->msg, sizeof(f->msg),
						  cluster_term(f->c), RUN, &k);

	cluster_leave(f->c, f->now);
	run(f, 10 * MONO_SEC);
	assert_int_equal(cluster_role(f->c), CLUSTER_LEFT);
	f->upcalls = 0;
	datagram(f, PEER, len);
	assert_int_equal(f->upcalls, 1);
	assert_string_equal(member(f, PEER).refused_why, "wrong_state");
	assert_int_equal(cluster_timeout(f->c).ns, MONO_NEVER.ns);
}

static void the_log_is_not_flooded(void **state)
{
	struct refusal_log r = { 0 };
	struct mono now = { 5 * MONO_SEC };
	unsigned unsaid = 99;

	assert_true(refusal_log_due(&r, now, &unsaid));
	assert_int_equal(unsaid, 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_false(refusal_log_due(&r, mono_add(now, i * MONO_MS), &unsaid));
	assert_true(refusal_log_due(&r, mono_add(now, MONO_SEC), &unsaid));
	assert_int_equal(unsaid, 1000);
	assert_false(refusal_log_due(&r, mono_add(now, MONO_SEC), &unsaid));
	assert_true(refusal_log_due(&r, mono_add(now, 3 * MONO_SEC), &unsaid));
	assert_int_equal(unsaid, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(garbage_is_refused),
		T(older_and_newer_versions_are_refused),
		T(the_table_is_not_sent_for_every_request),
		T(claims_of_one_key_are_refused),
		T(words_of_another_id_are_refused),
		T(the_wrong_transport_is_refused),
		T(who_is_no_member_is_refused),
		T(the_wrong_role_is_refused),
		cmocka_unit_test_setup_teardown(a_lower_term_is_refused, setup_member,
						teardown),
		T(nobody_speaks_to_who_has_left),
		cmocka_unit_test(the_log_is_not_flooded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
