/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an operator is told, from a real core with one member. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/clusterctl.h"
#include "src/operate.h"
#include "tests/unit/single.h"

/* What `show` makes of the reply; to be freed. */
static char *shown(json_t *reply, void (*show)(const json_t *, FILE *, bool))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	show(reply, out, false);
	fclose(out);
	json_decref(reply);
	return text;
}

static void test_before_joining(void **state)
{
	json_t *s = single_get(*state, "status", json_object());
	json_t *m = json_array_get(json_object_get(s, "members"), 0);

	assert_string_equal(string_at(s, "node"), "m1");
	assert_string_equal(string_at(s, "role"), "joining");
	assert_true(json_is_null(json_object_get(s, "master")));
	assert_true(json_is_false(json_object_get(s, "able")));
	assert_int_equal(number_at(json_object_get(s, "units"), "without_owner"), 1024);
	assert_int_equal(json_array_size(json_object_get(s, "members")), 2);
	assert_true(json_is_null(json_object_get(m, "heard_ms")));
	assert_int_equal(number_at(m, "refused"), 0);
	assert_string_equal(string_at(m, "refused_why"), "");
	assert_true(json_is_null(json_object_get(m, "refused_ms")));
	assert_null(json_object_get(s, "counters"));
	json_decref(s);
}

static void test_master(void **state)
{
	struct single *f = *state;
	json_t *s, *network, *replication;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	single_put(f, 6, KEY_LISTED, 2);
	single_put(f, 6, KEY_HIDDEN, 3);
	s = single_get(f, "status", json_pack("{s:b}", "counters", 1));
	assert_string_equal(string_at(s, "role"), "master");
	assert_string_equal(string_at(s, "master"), "m1");
	assert_true(number_at(s, "term") >= 1 && number_at(s, "term") < 100);
	assert_int_equal(number_at(s, "uptime"), 5);
	assert_true(json_is_false(json_object_get(s, "protected")));
	assert_int_equal(number_at(json_object_get(s, "units"), "owned"), 1024);
	assert_int_equal(number_at(json_object_get(s, "units"), "without_successor"),
			 1024);
	assert_int_equal(number_at(json_object_get(s, "units"), "unproven"), 0);
	assert_int_equal(number_at(json_object_get(s, "sessions"), "total"), 2);
	assert_int_equal(
	    number_at(json_object_get(json_object_get(s, "sessions"), "by_owner"), "m1"),
	    2);
	network = json_array_get(json_object_get(s, "networks"), 1);
	assert_string_equal(string_at(network, "mac"), "03:00:00:00:00:00");
	assert_true(json_is_false(json_object_get(network, "up")));
	assert_non_null(json_object_get(s, "counters"));
	replication = json_object_get(s, "replication");
	assert_int_equal(number_at(replication, "records"), 3);
	assert_true(number_at(replication, "bytes") > 0);
	assert_true(number_at(replication, "memory") > number_at(replication, "bytes"));
	assert_int_equal(number_at(replication, "sent_per_session"), 1042);
	json_decref(s);
}

static void test_paths(void **state)
{
	json_t *s = single_get(*state, "members", json_object());
	json_t *self = json_array_get(json_object_get(s, "members"), 0);
	json_t *m = json_array_get(json_object_get(s, "members"), 1);
	json_t *path = json_array_get(json_object_get(m, "paths"), 0);
	char *text;

	assert_null(json_object_get(self, "paths"));
	assert_int_equal(number_at(m, "queued"), 77);
	assert_string_equal(string_at(m, "link_why"), "m?ller");
	assert_int_equal(json_array_size(json_object_get(m, "paths")), 2);
	assert_string_equal(string_at(path, "address"), "10.9.0.2");
	assert_true(json_is_false(json_object_get(path, "up")));
	assert_true(json_is_false(json_object_get(path, "stream")));
	assert_true(json_is_null(json_object_get(path, "heard_ms")));
	assert_true(json_is_null(json_object_get(path, "rtt_ms")));
	path = json_array_get(json_object_get(m, "paths"), 1);
	assert_string_equal(string_at(path, "address"), "10.9.1.2");
	assert_true(json_is_true(json_object_get(path, "up")));
	assert_true(json_is_true(json_object_get(path, "stream")));
	assert_true(json_real_value(json_object_get(path, "heard_ms")) == 15);
	assert_true(json_real_value(json_object_get(path, "rtt_ms")) == 0.25);
	text = shown(s, show_members);
	assert_non_null(strstr(text, " PATHS "));
	assert_non_null(strstr(text, " DOWN up* "));
	free(text);
}

static void test_members(void **state)
{
	static uint32_t traffic[CLUSTER_UNITS];
	struct single *f = *state;
	json_t *reply, *m;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	traffic[5] = 30000;
	cluster_set_load(f->cluster, traffic, 200000, f->now);
	reply = single_get(f, "members", json_object());
	assert_int_equal(number_at(reply, "detection_interval"), 200);
	m = json_array_get(json_object_get(reply, "members"), 0);
	assert_string_equal(string_at(m, "state"), "ready");
	assert_true(json_number_value(json_object_get(m, "load")) == 0.0301);
	assert_true(json_number_value(json_object_get(m, "processor")) == 0.2);
	assert_true(json_number_value(json_object_get(m, "keepalive_ms")) > 0);
	assert_true(json_is_false(json_object_get(m, "slow")));
	assert_true(json_number_value(json_object_get(m, "behind_ms")) == 0);
	assert_int_equal(number_at(m, "refused"), 0);
	m = json_array_get(json_object_get(reply, "members"), 1);
	assert_string_equal(string_at(m, "state"), "absent");
	json_decref(reply);
	reply = single_get(f, "units", json_pack("{s:[i]}", "units", 5));
	m = json_array_get(json_object_get(reply, "units"), 0);
	assert_true(json_number_value(json_object_get(m, "traffic")) == 0.03);
	json_decref(reply);
}

static json_t *tell(struct single *f, const char *command, json_t *arguments)
{
	json_t *reply = operate_reply(f->cluster, &f->conf, command, arguments, f->now);

	json_decref(arguments);
	assert_non_null(reply);
	return reply;
}

static void expect_error(struct single *f, const char *command, json_t *arguments,
			 const char *text)
{
	json_t *reply = tell(f, command, arguments);

	assert_string_equal(string_at(reply, "error"), text);
	json_decref(reply);
}

static void expect_state(struct single *f, const char *state)
{
	json_t *reply = single_get(f, "members", json_object());
	json_t *m = json_array_get(json_object_get(reply, "members"), 0);

	assert_string_equal(string_at(m, "state"), state);
	json_decref(reply);
}

static void test_drain(void **state)
{
	struct single *f = *state;
	json_t *reply, *none = json_object();

	single_become_master(f);
	expect_error(
	    f, "drain", json_pack("{s:s}", "member", "m1"),
	    "no other member is able to work: nobody would serve the sessions of "
	    "m1");
	reply = tell(f, "drain", json_pack("{s:s,s:b}", "member", "m1", "force", 1));
	assert_string_equal(string_at(reply, "member"), "m1");
	assert_int_equal(number_at(reply, "id"), 1);
	assert_true(json_is_true(json_object_get(reply, "done")));
	json_decref(reply);
	assert_true(cluster_drained(f->cluster));
	expect_state(f, "draining");
	reply = single_get(f, "status", json_object());
	assert_true(json_is_true(json_object_get(reply, "drained")));
	assert_true(json_is_false(json_object_get(reply, "able")));
	assert_string_equal(string_at(reply, "why"), "drained");
	json_decref(reply);
	/* By its id, as a number and as text. */
	json_decref(tell(f, "undrain", json_pack("{s:i}", "member", 1)));
	assert_false(cluster_drained(f->cluster));
	json_decref(tell(f, "undrain", json_pack("{s:s}", "member", "1")));
	single_pass(f, MONO_SEC);
	expect_state(f, "ready");
	expect_error(f, "drain", json_pack("{s:s}", "member", "m2"),
		     "m2 is not in the cluster");
	expect_error(f, "drain", json_pack("{s:s}", "member", "m7"),
		     "there is no member 'm7'; the members are m1, m2");
	expect_error(f, "drain", json_pack("{s:s}", "member", "2x"),
		     "there is no member '2x'; the members are m1, m2");
	expect_error(f, "drain", json_pack("{s:i}", "member", 70000),
		     "no member has the id 70000; the members are m1, m2");
	expect_error(f, "undrain", json_object(), "the member's name or id is missing");
	assert_null(operate_reply(f->cluster, &f->conf, "status", none, f->now));
	json_decref(none);
}

static void test_move(void **state)
{
	struct single *f = *state;

	expect_error(f, "move", json_pack("{s:i,s:s}", "unit", 5, "member", "m1"),
		     "there is no master at the moment; try again");
	single_become_master(f);
	json_decref(tell(f, "move", json_pack("{s:i,s:s}", "unit", 5, "member", "m1")));
	expect_error(f, "move", json_pack("{s:i,s:s}", "unit", 5, "member", "m2"),
		     "m2 is not in the cluster");
	expect_error(f, "move", json_pack("{s:i,s:s}", "unit", 1024, "member", "m2"),
		     "a work unit is a number from 0 to 1023");
	expect_error(f, "move", json_pack("{s:s}", "member", "m2"),
		     "a work unit is a number from 0 to 1023");
	expect_error(f, "result", json_pack("{s:s}", "member", "m2"),
		     "the result of which command?");
	expect_error(
	    f, "result",
	    json_pack("{s:s,s:s,s:i}", "command", "drain", "member", "m2", "ticket", 7),
	    "there is no such ticket");
}

static void test_expel(void **state)
{
	struct single *f = *state;
	char text[122];

	memset(text, 'x', sizeof(text));
	text[121] = 0;
	expect_error(f, "expel", json_pack("{s:s}", "member", "m2"),
		     "there is no master at the moment; try again");
	single_become_master(f);
	expect_error(f, "expel", json_pack("{s:s}", "member", "m2"),
		     "m2 is not in the cluster");
	expect_error(f, "expel", json_pack("{s:s}", "member", "m1"),
		     "m1 is the master, which cannot be expelled");
	expect_error(f, "expel", json_pack("{s:s,s:s}", "member", "m2", "why", text),
		     "the reason is one line, of 120 bytes at most");
	expect_error(f, "expel", json_pack("{s:s,s:s}", "member", "m2", "why", "a\nb"),
		     "the reason is one line, of 120 bytes at most");
	expect_error(f, "expel", json_pack("{s:s}", "member", "m7"),
		     "there is no member 'm7'; the members are m1, m2");
}

static void test_counters(void **state)
{
	struct single *f = *state;
	json_t *reply, *counters;

	single_become_master(f);
	reply = single_get(f, "counters", json_object());
	counters = json_object_get(reply, "counters");
	assert_int_equal(number_at(counters, "cluster.elected"), 1);
	assert_int_equal(number_at(counters, "test.packets"), 5);
	assert_int_equal(number_at(counters, "port.sent"), 7);
	assert_int_equal(number_at(counters, "link.refused-expired"), 1);
	json_decref(reply);
}

static void test_units(void **state)
{
	struct single *f = *state;
	json_t *reply, *unit, *list = json_array();

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	reply = single_get(f, "units", json_object());
	assert_int_equal(json_array_size(json_object_get(reply, "units")), 1024);
	json_decref(reply);
	reply = single_get(f, "units", json_pack("{s:i}", "unit", 5));
	unit = json_array_get(json_object_get(reply, "units"), 0);
	assert_int_equal(json_array_size(json_object_get(reply, "units")), 1);
	assert_int_equal(number_at(unit, "unit"), 5);
	assert_int_equal(number_at(unit, "sessions"), 1);
	assert_string_equal(string_at(unit, "owner"), "m1");
	assert_true(json_is_null(json_object_get(unit, "successor")));
	json_decref(reply);
	for (int bad = -1; bad <= 1024; bad += 1025) {
		reply = single_get(f, "units", json_pack("{s:i}", "unit", bad));
		assert_ptr_equal(strstr(string_at(reply, "error"),
					"a work unit is a number from 0 to 1023"),
				 string_at(reply, "error"));
		json_decref(reply);
	}
	for (size_t i = 0; i < CLUSTER_UNITS; i++)
		json_array_append_new(list, json_integer(7));
	reply = single_get(f, "units", json_pack("{s:O}", "units", list));
	assert_int_equal(json_array_size(json_object_get(reply, "units")), CLUSTER_UNITS);
	json_decref(reply);
	json_array_append_new(list, json_integer(7));
	reply = single_get(f, "units", json_pack("{s:o}", "units", list));
	assert_non_null(strstr(string_at(reply, "error"), "no more than there are"));
	json_decref(reply);
	reply = single_get(f, "units", json_pack("{s:s}", "unit", "5"));
	string_at(reply, "error");
	json_decref(reply);
}

static void test_unknown(void **state)
{
	struct single *f = *state;
	json_t *none = json_object();

	assert_null(status_reply(&f->source, "", none, f->now));
	assert_null(status_reply(&f->source, "statuss", none, f->now));
	json_decref(none);
}

static struct table *sessions;

static void show_page(const json_t *reply, FILE *out, bool bold)
{
	show_sessions_page(sessions, reply, out, bold);
}

static void test_text(void **state)
{
	struct single *f = *state;
	char *text;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	text = shown(single_get(f, "units", json_object()), show_units);
	assert_string_equal(
	    text, "UNITS   COUNT  OWNER  SUCCESSOR  EPOCH  MOVING TO  RECORDS\n"
		  "0-1023   1024  m1     -              1  -                1\n");
	free(text);
	sessions = show_sessions_begin();
	text = shown(single_get(f, "sessions", json_object()), show_page);
	assert_string_equal(
	    text, "ID  USER     CLIENT              VIRTUAL   KIND  UNIT  OWNER  "
		  "SUCCESSOR    AGE      IN  OUT  LAG   HELD    SENT\n"
		  "01  m?ller?  198.51.100.11:4500  10.3.0.1  test     5  m1     "
		  "-          1h 1m  1.2 MB  0 B    -  917 B  1.0 kB\n");
	free(text);
	/* The next page has no headings. */
	text = shown(single_get(f, "sessions", json_object()), show_page);
	assert_int_equal(strncmp(text, "01  m?ller?  198.51.100.11:4500 ", 32), 0);
	free(text);
	table_free(sessions);
	text = shown(single_get(f, "units", json_pack("{s:i}", "unit", 5)), show_units);
	assert_string_equal(text, "unit         5\n"
				  "owner        m1\n"
				  "successor    -\n"
				  "epoch        1\n"
				  "moving to    -\n"
				  "records      1\n"
				  "load         0.01 % of a processor, of which traffic "
				  "0.00 %\n");
	free(text);
	text = shown(single_get(f, "units", json_pack("{s:[i,i,i]}", "units", 5, 6, 9)),
		     show_units);
	assert_string_equal(
	    text, "UNITS  COUNT  OWNER  SUCCESSOR  EPOCH  MOVING TO  RECORDS\n"
		  "5-6        2  m1     -              1  -                1\n"
		  "9          1  m1     -              1  -                0\n");
	free(text);
	text = shown(single_get(f, "members", json_object()), show_members);
	assert_non_null(strstr(text, "detection interval 200 ms\n"));
	assert_non_null(strstr(text, "absent\n"));
	assert_null(strstr(text, "m1: "));
	assert_non_null(strstr(text, "MEMBER  KEEPALIVE  LINK  LAG  PROCESSOR"));
	free(text);
	text = shown(single_get(f, "status", json_object()), show_status);
	assert_non_null(strstr(text, "node         m1 (id 1), master, up 5s, phalanx "));
	assert_non_null(strstr(text, "protected    NO"));
	assert_non_null(strstr(text, "sessions     1: 1 on m1\n"));
	assert_non_null(strstr(text, "net1     eth1       DOWN"));
	free(text);
	text = shown(json_pack("{s:[{s:s,s:s},{s:s,s:s},{s:s}]}", "members", "name", "m1",
			       "remark", "", "name", "m2", "remark", "is strange", "name",
			       "m3"),
		     show_members);
	assert_non_null(strstr(text, "\nm2: is strange\n"));
	assert_true(!strstr(text, "m1: ") && !strstr(text, "m3: "));
	free(text);
	/* A reply without fields, of a daemon of another version, is no reason to crash. */
	text = shown(json_object(), show_status);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_before_joining, single_start,
						single_end),
		cmocka_unit_test_setup_teardown(test_master, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_paths, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_members, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_drain, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_move, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_expel, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_counters, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_units, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_unknown, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_text, single_start, single_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
