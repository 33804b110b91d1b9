/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is let in, who is not and learns why, and who has to go. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/cores.h"

#define DETECTION (200 * MONO_MS)

/* The first member is master, the others are its members. */
static struct cores *cluster_of(unsigned n, unsigned running)
{
	struct cores *k = cores_new(n);

	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	for (unsigned i = 1; i < running; i++)
		cores_start(k, i);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	assert_int_equal(cores_master(k), 0);
	return k;
}

static bool barred(struct cores *k, unsigned i, const char *text)
{
	return strstr(cores_view(k, i, i).barred, text);
}

static void everybody_hears_of_joins_and_departures(void **state)
{
	struct cores *k = cluster_of(3, 3);

	assert_int_equal(k->at[0].joined, 2);
	assert_int_equal(k->at[1].joined, 2);
	assert_int_equal(k->at[0].departed, 0);
	cores_kill(k, 2, true);
	cores_wait(k, MONO_SEC, k->at[0].departed && k->at[1].departed);
	assert_int_equal(k->at[0].departed_id, 30);
	assert_string_equal(k->at[0].departed_why, "death note");
	cores_start(k, 2);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cluster_leave(k->at[2].c, k->now);
	cores_wait(k, 5 * MONO_SEC, cluster_role(k->at[2].c) == CLUSTER_LEFT);
	cores_wait(k, MONO_SEC, k->at[0].departed == 2 && k->at[1].departed == 2);
	assert_string_equal(k->at[1].departed_why, "it left");
	cores_free(k);
}

static void applications_are_asked(void **state)
{
	struct cores *k = cores_new(2);
	struct core *master = &k->at[0], *joiner = &k->at[1];
	unsigned asked;

	master->approves = true;
	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_wait(k, MONO_SEC, master->asked == 1);
	assert_int_equal(master->asked_id, 20);
	assert_int_equal(master->asked_incarnation, cluster_incarnation(joiner->c));
	/* Meanwhile it asks again and again, and the applications are asked once. */
	cores_run(k, MONO_SEC);
	assert_int_equal(master->asked, 1);
	assert_true(k->sent[1][wire_type_join_request] > 10);
	assert_int_equal(cluster_role(joiner->c), CLUSTER_JOINING);
	assert_true(barred(k, 1, "being asked"));
	assert_true(cores_view(k, 1, 1).pending && cores_view(k, 0, 1).pending);
	/* Nobody waits for an answer about somebody else, or an earlier incarnation. */
	cluster_join_answer(master->c, 20, master->asked_incarnation + 1, true, "",
			    k->now);
	cluster_join_answer(master->c, 77, 1, true, "", k->now);
	cores_run(k, 500 * MONO_MS);
	assert_int_equal(cluster_role(joiner->c), CLUSTER_JOINING);
	/* Without an answer, they are asked again. */
	cores_wait(k, 3 * MONO_SEC, master->asked == 2);
	cluster_join_answer(master->c, 20, master->asked_incarnation, false,
			    "its disk is full", k->now);
	cores_wait(k, MONO_SEC, barred(k, 1, "refused by an application"));
	assert_true(barred(k, 1, "its disk is full"));
	assert_true(strstr(cores_view(k, 0, 1).barred, "its disk is full"));
	assert_false(cores_view(k, 1, 1).pending || cores_view(k, 0, 1).pending);
	assert_true(cores_statistic(k, 0, "joins_refused") > 0);
	assert_int_equal(cluster_role(joiner->c), CLUSTER_JOINING);
	/* They may think again. */
	asked = master->asked;
	cores_wait(k, 5 * MONO_SEC, master->asked > asked);
	cluster_join_answer(master->c, 20, master->asked_incarnation, true, NULL, k->now);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	assert_string_equal(cores_view(k, 1, 1).barred, "");
	assert_string_equal(cores_view(k, 0, 1).barred, "");
	cores_free(k);
}

/* The first two are free; then 1 s, 2 s, 4 s, up to 60 s; and it is forgotten. */
static void the_unsteady_are_held_back(void **state)
{
	static const unsigned delays[] = { 0, 0, 1, 2, 4, 8, 16, 32, 60, 60 };
	struct cores *k = cores_new(2);
	struct mono died;

	for (unsigned i = 0; i < 2; i++)
		k->at[i].config.hold_back = MONO_SEC;
	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	for (unsigned i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		uint64_t delay = delays[i] * MONO_SEC;

		cores_kill(k, 1, false);
		cores_wait(k, 3 * DETECTION, !cores_view(k, 0, 1).present);
		died = k->now;
		cores_start(k, 1);
		if (delay) {
			cores_wait(k, MONO_SEC, barred(k, 1, "held back"));
			assert_true(cores_statistic(k, 0, "joins_held_back") > 0);
		}
		cores_wait(k, delay + 3 * MONO_SEC, cores_settled(k));
		if (mono_since(k->now, died) < delay)
			fail_msg("death %u: back after %g s instead of %g s", i + 1,
				 (double)mono_since(k->now, died) / 1e9,
				 (double)delay / 1e9);
	}
	/* Other ends do not count, and ten quiet minutes end it. */
	cores_kill(k, 1, true);
	cores_wait(k, MONO_SEC, !cores_view(k, 0, 1).present);
	cores_run(k, 601 * MONO_SEC);
	cores_start(k, 1);
	cores_wait(k, 2 * MONO_SEC, cores_settled(k));
	for (unsigned i = 0; i < 5; i++) {
		cores_kill(k, 1, true);
		cores_wait(k, MONO_SEC, !cores_view(k, 0, 1).present);
		cores_start(k, 1);
		cores_wait(k, 2 * MONO_SEC, cores_settled(k));
	}
	assert_string_equal(cores_view(k, 1, 1).barred, "");
	cores_free(k);
}

static void share(struct cores *k, unsigned i, uint32_t version, uint64_t networks)
{
	k->at[i].config.shared =
	    (struct cluster_shared){ .version = version,
				     .nparts = 2,
				     .parts = { { "members", 7 },
						{ "networks", networks } } };
}

static void an_older_configuration_is_replaced(void **state)
{
	struct cores *k = cores_new(2);

	share(k, 0, 3, 1);
	share(k, 1, 2, 2);
	k->at[0].config_text = "version 3";
	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_wait(k, 2 * MONO_SEC, k->at[1].configs == 1);
	assert_int_equal(k->at[1].config_version, 3);
	assert_string_equal(k->at[1].config_got, "version 3");
	assert_true(barred(k, 1, "version 2 is older than the cluster's 3"));
	assert_true(barred(k, 1, "different: networks"));
	/* If it does not use it, it stays out, and does not fetch it again. */
	cores_run(k, 10 * MONO_SEC);
	assert_int_equal(cluster_role(k->at[1].c), CLUSTER_JOINING);
	assert_int_equal(k->at[1].configs, 1);
	assert_int_equal(cores_statistic(k, 1, "configurations_fetched"), 1);
	cores_kill(k, 1, true);
	share(k, 1, 3, 1);
	cores_start(k, 1);
	cores_wait(k, 2 * MONO_SEC, cores_settled(k));
	cores_free(k);
}

static void a_newer_configuration_waits_for_the_master(void **state)
{
	struct cores *k = cores_new(2);
	struct cluster_shared published;

	share(k, 0, 3, 1);
	share(k, 1, 4, 2);
	k->at[1].config_text = "version 4";
	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_wait(k, 2 * MONO_SEC, barred(k, 1, "version 4 is newer"));
	assert_true(cores_logged(k, 0, "version 4 is newer than the cluster's 3"));
	cores_run(k, 5 * MONO_SEC);
	assert_int_equal(cluster_role(k->at[1].c), CLUSTER_JOINING);
	assert_int_equal(k->at[0].configs + k->at[1].configs, 0);
	/* The operator gives it to the master. */
	published = k->at[1].config.shared;
	cluster_set_shared(k->at[0].c, &published);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_free(k);
}

static void equal_numbers_must_mean_equal_configurations(void **state)
{
	struct cores *k = cores_new(2);

	share(k, 0, 3, 1);
	share(k, 1, 3, 2);
	cores_start(k, 0);
	cores_wait(k, 3 * MONO_SEC, cores_settled(k));
	cores_start(k, 1);
	cores_wait(k, 2 * MONO_SEC,
		   barred(k, 1, "though both have that number: networks"));
	cores_kill(k, 1, true);
	share(k, 1, 3, 1);
	k->at[1].config.detection = 2 * DETECTION;
	cores_start(k, 1);
	cores_wait(k, 2 * MONO_SEC, barred(k, 1, "detection-interval is 400 ms"));
	assert_true(cores_statistic(k, 0, "configuration_differs") > 1);
	cores_free(k);
}

/* A list that gains a member, one member after the other; and one that loses one. */
static void all_must_know_each_other(void **state)
{
	struct cores *k = cores_new(3);

	k->at[0].config.npeers = 2;
	k->at[1].config.npeers = 2;
	cores_start(k, 0);
	cores_start(k, 1);
	cores_run(k, 2 * MONO_SEC);
	assert_int_equal(cores_masters(k), 1);
	/* The list grows on the master first. */
	cores_kill(k, cores_master(k), true);
	cores_run(k, MONO_SEC);
	unsigned old = cores_master(k), young = !old;
	k->at[young].config.npeers = 3;
	cores_start(k, young);
	cores_run(k, MONO_SEC);
	assert_true(cores_view(k, old, young).present);
	cluster_leave(k->at[old].c, k->now);
	cores_wait(k, 6 * MONO_SEC, cluster_role(k->at[old].c) == CLUSTER_LEFT);
	cores_kill(k, old, false);
	cores_wait(k, 2 * MONO_SEC, cores_masters(k) == 1);
	cores_start(k, old);
	cores_run(k, MONO_SEC);
	/* The third is known to the master, but not to the other. */
	cores_start(k, 2);
	cores_wait(k, 2 * MONO_SEC, barred(k, 2, "does not list m3 yet"));
	cores_kill(k, old, true);
	k->at[old].config.npeers = 3;
	cores_start(k, old);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	/* It goes from the list of one who comes back, but is there still. */
	unsigned back = cores_master(k) == old ? young : old;
	cores_kill(k, back, true);
	k->at[back].config.npeers = 2;
	cores_start(k, back);
	if (cores_master(k) != 2)
		cores_wait(k, 2 * MONO_SEC,
			   barred(k, back, "does not list m3, which is in the cluster"));
	cores_kill(k, 2, true);
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	cores_free(k);
}

static void who_is_expelled_comes_back_later(void **state)
{
	struct cores *k = cluster_of(3, 3);
	struct mono then;

	assert_int_equal(cluster_expel(k->at[0].c, 77, false, "", NULL, k->now), -EINVAL);
	assert_int_equal(cluster_expel(k->at[0].c, 10, false, "", NULL, k->now), -EINVAL);
	for (unsigned i = 0; i < 3; i++) {
		then = k->now;
		assert_int_equal(
		    cluster_expel(k->at[0].c, 30, false, "test", NULL, k->now), 0);
		cores_wait(k, 20 * MONO_MS, !cores_view(k, 0, 2).present);
		cores_wait(k, 20 * MONO_MS, !cores_view(k, 1, 2).present);
		assert_true(barred(k, 2, "test"));
		cores_wait(k, 6 * MONO_SEC, cores_settled(k));
		assert_true(mono_since(k->now, then) >= (MONO_SEC << i));
	}
	assert_int_equal(cores_statistic(k, 2, "told_to_go"), 3);
	cores_free(k);
}

static bool lose_orders(struct cores *k, unsigned from, unsigned to,
			const struct wire_header *h)
{
	return h->type == wire_type_exit_request;
}

/* It does not hear the order: by its lease it stops before the others begin. */
static void who_does_not_hear_is_dead_in_an_interval(void **state)
{
	struct cores *k = cluster_of(3, 3);
	struct mono then;
	unsigned moved = 0;

	for (unit_id u = 0; u < CLUSTER_UNITS; u += 8)
		moved += !cluster_move(k->at[0].c, u, 30, NULL, k->now);
	assert_true(moved > 0);
	cores_wait(k, 2 * MONO_SEC, cores_view(k, 2, 2).units == CLUSTER_UNITS / 8);
	k->lose = lose_orders;
	then = k->now;
	assert_int_equal(cluster_expel(k->at[0].c, 30, false, "test", NULL, k->now), 0);
	while (cores_view(k, 0, 2).present || cores_view(k, 0, 2).units) {
		assert_true(mono_since(k->now, then) < 4 * DETECTION);
		for (unit_id u = 0; u < CLUSTER_UNITS; u++)
			for (unsigned i = 0; i < 2; i++)
				assert_false(cluster_serves(k->at[2].c, u, k->now) &&
					     cluster_serves(k->at[i].c, u, k->now));
		cores_run(k, MONO_MS);
	}
	k->lose = NULL;
	cores_wait(k, 5 * MONO_SEC, cores_settled(k));
	cores_free(k);
}

static void who_is_revoked_stays_out(void **state)
{
	struct cores *k = cluster_of(3, 3);
	unsigned asked;

	assert_int_equal(cluster_expel(k->at[0].c, 30, true, "stolen", NULL, k->now), 0);
	cores_run(k, 100 * MONO_SEC);
	assert_int_equal(cluster_role(k->at[2].c), CLUSTER_JOINING);
	assert_true(barred(k, 2, "stolen"));
	asked = k->sent[2][wire_type_join_request];
	cores_run(k, 100 * MONO_SEC);
	assert_int_equal(k->sent[2][wire_type_join_request], asked);
	/* Nor in another run. */
	cores_kill(k, 2, false);
	cores_start(k, 2);
	cores_wait(k, 2 * MONO_SEC, barred(k, 2, "not authorised"));
	cores_run(k, 5 * MONO_SEC);
	assert_int_equal(cluster_role(k->at[2].c), CLUSTER_JOINING);
	cores_free(k);
}

/* Any member may be asked, even that one: the master does it, and says what it did. */
static void a_member_is_expelled_by_way_of_another(void **state)
{
	struct cores *k = cluster_of(3, 3);
	uint32_t ticket = 0;

	assert_int_equal(cluster_expel(k->at[1].c, 77, false, "", &ticket, k->now),
			 -EINVAL);
	assert_int_equal(cluster_expel(k->at[1].c, 10, false, "", &ticket, k->now),
			 -EINPROGRESS);
	cores_wait(k, 100 * MONO_MS, cluster_result(k->at[1].c, ticket) != -EINPROGRESS);
	assert_int_equal(cluster_result(k->at[1].c, ticket), -EINVAL);
	assert_int_equal(cluster_expel(k->at[1].c, 30, false, "test", &ticket, k->now),
			 -EINPROGRESS);
	cores_wait(k, 100 * MONO_MS, cluster_result(k->at[1].c, ticket) == 0);
	cores_wait(k, 20 * MONO_MS, !cores_view(k, 1, 2).present);
	assert_true(barred(k, 2, "test"));
	/* It is not here any more. */
	assert_int_equal(cluster_expel(k->at[0].c, 30, false, "", &ticket, k->now),
			 -ENOTCONN);
	cores_wait(k, 6 * MONO_SEC, cores_settled(k));
	assert_int_equal(cluster_expel(k->at[2].c, 30, false, NULL, &ticket, k->now),
			 -EINPROGRESS);
	cores_wait(k, 100 * MONO_MS, !cores_view(k, 0, 2).present);
	assert_true(barred(k, 2, "by the operator"));
	cores_free(k);
}

/* Only the master of this term may say so, and only of this incarnation. */
static void other_orders_are_not_heeded(void **state)
{
	struct cores *k = cluster_of(3, 3);
	struct wire_exit_request m = { .reason = WIRE_REASON_EXPELLED,
				       .target = cluster_incarnation(k->at[2].c) };
	uint64_t term = cluster_term(k->at[2].c);
	uint8_t msg[64];
	size_t len = wire_encode_exit_request(msg, sizeof(msg), term,
					      cluster_incarnation(k->at[1].c), &m);

	cores_deliver(k, 20, 2, msg, len);
	assert_int_equal(cores_statistic(k, 2, "not_from_master"), 1);
	/* A master told to go by a member goes on. */
	m.target = cluster_incarnation(k->at[0].c);
	len = wire_encode_exit_request(msg, sizeof(msg), term,
				       cluster_incarnation(k->at[1].c), &m);
	cores_deliver(k, 20, 0, msg, len);
	assert_int_equal(cluster_role(k->at[0].c), CLUSTER_MASTER);
	assert_true(cores_view(k, 0, 1).present);
	m.target = cluster_incarnation(k->at[2].c);
	len = wire_encode_exit_request(msg, sizeof(msg), term - (1 << 16),
				       cluster_incarnation(k->at[0].c), &m);
	cores_deliver(k, 10, 2, msg, len);
	m.target++;
	len = wire_encode_exit_request(msg, sizeof(msg), term,
				       cluster_incarnation(k->at[0].c), &m);
	cores_deliver(k, 10, 2, msg, len);
	assert_int_equal(cores_statistic(k, 2, "told_to_go"), 0);
	assert_int_equal(cluster_role(k->at[2].c), CLUSTER_MEMBER);
	cores_free(k);
}

static void own_words_from_elsewhere_are_refused(void **state)
{
	struct cores *k = cluster_of(2, 2);
	struct wire_master_keepalive m = { .seq = 1 << 20,
					   .members_count = 1,
					   .members = {
					       { .id = 10, .incarnation = 5 << 16 } } };
	uint8_t msg[256];
	size_t len = wire_encode_master_keepalive(
	    msg, sizeof(msg), cluster_term(k->at[0].c) + (1 << 16), 5 << 16, &m);

	cores_deliver(k, 10, 0, msg, len);
	cores_deliver(k, 10, 0, msg, len);
	assert_int_equal(cores_statistic(k, 0, "own_id"), 2);
	assert_true(cores_logged(k, 0, "somebody else speaks as member 10"));
	assert_int_equal(cluster_role(k->at[0].c), CLUSTER_MASTER);
	assert_true(cores_settled(k));
	cores_free(k);
}

static size_t ask_as(uint8_t *msg, size_t size, uint64_t incarnation, struct mono now)
{
	struct wire_join_request r = { .capacity = 1,
				       .stamp = now.ns,
				       .echo = now.ns,
				       .detection = DETECTION,
				       .roster_count = 2,
				       .roster = { { 10 }, { 20 } } };

	return wire_encode_join_request(msg, size, 0, incarnation, &r);
}

/* The newer of two daemons with one certificate wins, once; the older one does not get its
 * place back, however often it asks. */
static void of_two_with_one_id_the_newer_stays(void **state)
{
	struct cores *k = cluster_of(2, 2);
	uint64_t older = cluster_incarnation(k->at[1].c), newer = UINT64_C(0xabcdef)
								  << 16;
	uint8_t msg[256];
	size_t len = ask_as(msg, sizeof(msg), newer, k->now);

	k->lose = NULL;
	cores_deliver(k, 20, 0, msg, len);
	assert_int_equal(cores_view(k, 0, 1).incarnation, newer);
	k->now = mono_add(k->now, 1);
	for (unsigned i = 1; i < 6; i++) {
		len = ask_as(msg, sizeof(msg), older + i, k->now);
		cores_deliver(k, 20, 0, msg, len);
		assert_int_equal(cores_view(k, 0, 1).incarnation, newer);
	}
	assert_int_equal(cores_statistic(k, 0, "duplicates"), 5);
	assert_true(cores_logged(k, 0, "two of them use member m2's certificate"));
	/* A third run, as after a restart, is as welcome as ever. */
	len = ask_as(msg, sizeof(msg), newer + (7 << 16), k->now);
	cores_deliver(k, 20, 0, msg, len);
	assert_int_equal(cores_view(k, 0, 1).incarnation, newer + (7 << 16));
	cores_free(k);
}

/* Requests may be late. One of a run that has ended does not displace the run that came after
 * it, and is no second daemon. */
static void a_late_request_is_told_to_ask_again(void **state)
{
	struct cores *k = cluster_of(2, 2);
	uint64_t living = cluster_incarnation(k->at[1].c), joins, naks;
	const uint64_t runs[] = { living + (3 << 16), living + (4 << 16) };
	const struct mono times[] = { { 0 },
				      { k->now.ns - 60 * MONO_SEC },
				      { k->now.ns + 60 * MONO_SEC } };
	uint8_t msg[256];

	joins = cores_statistic(k, 0, "joins");
	for (unsigned i = 0; i < 6; i++) {
		size_t len = ask_as(msg, sizeof(msg), runs[i % 2], times[i % 3]);

		naks = k->sent[0][wire_type_nak];
		cores_deliver(k, 20, 0, msg, len);
		cores_run(k, 10 * MONO_MS);
		assert_int_equal(k->sent[0][wire_type_nak], naks + 1);
	}
	assert_int_equal(cores_view(k, 0, 1).incarnation, living);
	assert_int_equal(cores_view(k, 0, 1).capacity, cores_view(k, 1, 1).capacity);
	assert_int_equal(cores_statistic(k, 0, "joins"), joins);
	assert_int_equal(cores_statistic(k, 0, "duplicates"), 0);
	assert_int_equal(cluster_role(k->at[1].c), CLUSTER_MEMBER);
	assert_true(cores_settled(k));
	cores_free(k);
}

/* The real thing: the older daemon learns why it is out. */
static void the_older_one_is_told(void **state)
{
	struct cores *k = cluster_of(2, 2);
	uint8_t msg[256];
	size_t len = ask_as(msg, sizeof(msg), UINT64_C(0xabcdef) << 16, k->now);

	cores_deliver(k, 20, 0, msg, len);
	cores_wait(k, 2 * MONO_SEC, barred(k, 1, "another daemon has taken the place"));
	cores_free(k);
}

static void a_clock_that_goes_back_is_harmless(void **state)
{
	struct cores *k = cluster_of(2, 2);
	struct mono past = { k->now.ns - 100 * MONO_SEC };
	unit_id u = 0;

	while (!unit_set_has(&k->at[0].owned, u))
		u++;
	assert_true(cluster_serves(k->at[0].c, u, k->now));
	for (unsigned i = 0; i < 50; i++) {
		cluster_tick(k->at[0].c, past);
		cluster_set_able(k->at[0].c, true, NULL, past);
		cores_run(k, 20 * MONO_MS);
	}
	assert_true(cores_settled(k));
	assert_int_equal(cores_statistic(k, 0, "late"), 0);
	assert_int_equal(cores_statistic(k, 0, "deaths"), 0);
	/* Nor does the past give a right to serve that is over. */
	k->at[1].stopped = true;
	cores_run(k, 50 * MONO_MS);
	cores_cut(k, 0, 1, true);
	while (cluster_serves(k->at[0].c, u, k->now) && cores_view(k, 0, 1).present)
		cores_run(k, MONO_MS);
	cluster_tick(k->at[0].c, k->now);
	assert_true(cores_view(k, 0, 1).present);
	assert_false(cluster_serves(k->at[0].c, u, past));
	cores_free(k);
}

/* Who comes back from a part with a higher term does not make the cluster's fall. */
static void the_term_rises_above_what_a_joiner_has_seen(void **state)
{
	struct cores *k = cluster_of(3, 2);
	uint64_t before = cluster_term(k->at[0].c);
	struct wire_join_request r = { .capacity = 1,
				       .stamp = k->now.ns,
				       .echo = k->now.ns,
				       .detection = DETECTION,
				       .roster_count = 3,
				       .roster = { { 10 }, { 20 }, { 30 } } };
	uint8_t msg[256];
	size_t len = wire_encode_join_request(msg, sizeof(msg), before + (9 << 16),
					      UINT64_C(99) << 16, &r);

	cores_deliver(k, 30, 0, msg, len);
	assert_true(cores_view(k, 0, 2).present);
	assert_true(cluster_term(k->at[0].c) > before + (9 << 16));
	cores_wait(k, MONO_SEC, cluster_term(k->at[1].c) == cluster_term(k->at[0].c));
	assert_int_equal(cluster_role(k->at[1].c), CLUSTER_MEMBER);
	cores_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_hears_of_joins_and_departures),
		cmocka_unit_test(applications_are_asked),
		cmocka_unit_test(the_unsteady_are_held_back),
		cmocka_unit_test(an_older_configuration_is_replaced),
		cmocka_unit_test(a_newer_configuration_waits_for_the_master),
		cmocka_unit_test(equal_numbers_must_mean_equal_configurations),
		cmocka_unit_test(all_must_know_each_other),
		cmocka_unit_test(who_is_expelled_comes_back_later),
		cmocka_unit_test(who_does_not_hear_is_dead_in_an_interval),
		cmocka_unit_test(who_is_revoked_stays_out),
		cmocka_unit_test(a_member_is_expelled_by_way_of_another),
		cmocka_unit_test(other_orders_are_not_heeded),
		cmocka_unit_test(own_words_from_elsewhere_are_refused),
		cmocka_unit_test(of_two_with_one_id_the_newer_stays),
		cmocka_unit_test(a_late_request_is_told_to_ask_again),
		cmocka_unit_test(the_older_one_is_told),
		cmocka_unit_test(a_clock_that_goes_back_is_harmless),
		cmocka_unit_test(the_term_rises_above_what_a_joiner_has_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
