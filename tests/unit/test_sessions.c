/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions as an operator sees and ends them, by a real core with one member. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "src/sessions.h"
#include "tests/unit/single.h"

static void test_sessions(void **state)
{
	struct single *f = *state;
	json_t *reply, *s;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	single_put(f, 5, KEY_HIDDEN, 2);
	reply = single_get(f, "sessions", json_object());
	assert_int_equal(json_array_size(json_object_get(reply, "sessions")), 1);
	s = json_array_get(json_object_get(reply, "sessions"), 0);
	/* The name is no UTF-8. */
	assert_string_equal(string_at(s, "user"), "m?ller?");
	assert_string_equal(string_at(s, "kind"), "test");
	assert_string_equal(string_at(s, "owner"), "m1");
	assert_int_equal(number_at(s, "unit"), 5);
	assert_int_equal(number_at(s, "age"), 3700);
	assert_string_equal(string_at(s, "id"), "01");
	assert_true(json_is_null(json_object_get(s, "lag")));
	assert_true(json_is_null(json_object_get(reply, "next")));
	json_decref(reply);
}

/* Neither ESC nor the CSI of Latin-1 reaches a terminal; letters do. */
static void test_controls(void **state)
{
	struct single *f = *state;
	json_t *reply;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 3);
	reply = single_get(f, "sessions", json_object());
	assert_string_equal(
	    string_at(json_array_get(json_object_get(reply, "sessions"), 0), "user"),
	    "?[2Jm\xc3\xbcller??2J?");
	json_decref(reply);
}

static size_t count_sessions(struct single *f, json_t *arguments)
{
	json_t *reply = single_get(f, "sessions", arguments);
	size_t n = json_array_size(json_object_get(reply, "sessions"));

	assert_null(json_object_get(reply, "error"));
	json_decref(reply);
	return n;
}

static size_t count_with(struct single *f, const char *name, const char *value)
{
	return count_sessions(f, json_pack("{s:s}", name, value));
}

static void test_session_filters(void **state)
{
	static const char *const bad[] = { "{\"user\":1}",	  "{\"unit\":1024}",
					   "{\"unit\":\"5\"}",	  "{\"from\":-1}",
					   "{\"member\":\"m3\"}", "{\"id\":null}" };
	struct single *f = *state;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	single_put(f, 5, KEY_HIDDEN, 2);
	single_put(f, 6, KEY_LISTED, 2);
	assert_int_equal(count_sessions(f, json_object()), 2);
	assert_int_equal(count_sessions(f, json_pack("{s:i}", "unit", 6)), 1);
	assert_int_equal(count_sessions(f, json_pack("{s:i}", "unit", 7)), 0);
	assert_int_equal(count_with(f, "member", "m1"), 2);
	assert_int_equal(count_with(f, "member", "2"), 0);
	assert_int_equal(count_with(f, "id", "02"), 1);
	assert_int_equal(count_with(f, "id", "2"), 0);
	assert_int_equal(count_with(f, "user", "carol@example.org"), 1);
	assert_int_equal(count_with(f, "user", "*@example.org"), 1);
	assert_int_equal(count_with(f, "user", "carol"), 0);
	assert_int_equal(count_with(f, "address", "198.51.100.11"), 1);
	assert_int_equal(count_with(f, "address", "198.51.100.11:4500"), 1);
	assert_int_equal(count_with(f, "address", "198.51.100.1"), 0);
	assert_int_equal(count_with(f, "address", "2001:0DB8::7"), 1);
	assert_int_equal(count_with(f, "address", "10.3.0.1"), 1);
	assert_int_equal(count_with(f, "address", "10.3.0.11"), 1);
	assert_int_equal(count_with(f, "address", "fd00:0::5"), 1);
	assert_int_equal(count_with(f, "address", ""), 0);
	assert_int_equal(count_with(f, "any", "02"), 1);
	assert_int_equal(count_with(f, "any", "carol@example.org"), 1);
	assert_int_equal(count_with(f, "any", "*"), 0);
	assert_int_equal(count_with(f, "any", "fd00::5"), 1);
	assert_int_equal(
	    count_sessions(f, json_pack("{s:s,s:i}", "user", "carol@*", "unit", 5)), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *reply = single_get(f, "sessions", json_loads(bad[i], 0, NULL));

		string_at(reply, "error");
		json_decref(reply);
	}
}

/* Each is listed once, in replies that are bounded. */
static void test_session_pages(void **state)
{
	static bool seen[CLUSTER_UNITS];
	struct single *f = *state;
	json_t *from = json_integer(0), *reply, *s;
	unsigned pages = 0, total = 0;
	size_t i;

	single_become_master(f);
	for (unsigned n = 0; n < CLUSTER_UNITS; n++)
		single_put(f, (unit_id)n, KEY_LISTED, (uint8_t)n);
	while (json_is_integer(from)) {
		reply = single_get(f, "sessions", json_pack("{s:O}", "from", from));
		json_decref(from);
		from = json_incref(json_object_get(reply, "next"));
		assert_true(json_array_size(json_object_get(reply, "sessions")) <= 128);
		json_array_foreach(json_object_get(reply, "sessions"), i, s) {
			assert_false(seen[number_at(s, "unit")]);
			seen[number_at(s, "unit")] = true;
			total++;
		}
		json_decref(reply);
		pages++;
	}
	json_decref(from);
	assert_int_equal(total, CLUSTER_UNITS);
	assert_true(pages >= 8);
}

static json_t *kill(struct single *f, const char *command, json_t *arguments)
{
	json_t *reply = sessions_order(&f->source, command, arguments, f->now);

	json_decref(arguments);
	return reply;
}

static void expect_no_kill(struct single *f, json_t *arguments, const char *text)
{
	json_t *reply = kill(f, "kill", arguments);

	assert_string_equal(string_at(reply, "error"), text);
	json_decref(reply);
}

static void test_session_kill(void **state)
{
	struct single *f = *state;
	json_t *reply;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	single_put(f, 5, KEY_HIDDEN, 2);
	single_put(f, 6, KEY_LISTED, 9);
	f->ended = 0;
	reply = kill(f, "kill", json_pack("{s:s,s:i}", "id", "01", "unit", 5));
	assert_string_equal(string_at(reply, "owner"), "m1");
	assert_true(json_is_true(json_object_get(reply, "done")));
	json_decref(reply);
	assert_int_equal(f->ended, 1);
	assert_false(f->ended_by_force);
	/* Without its unit, too. */
	json_decref(kill(f, "kill", json_pack("{s:s,s:b}", "id", "01", "force", 1)));
	assert_int_equal(f->ended, 2);
	assert_true(f->ended_by_force);
	expect_no_kill(f, json_pack("{s:s,s:i}", "id", "01", "unit", 6),
		       "there is no session with the id 01");
	expect_no_kill(f, json_pack("{s:s}", "id", "02"),
		       "there is no session with the id 02");
	expect_no_kill(f, json_object(), "the session's id is missing");
	expect_no_kill(f, json_pack("{s:s}", "id", "09"),
		       "no charon is connected to phalanxd on m1, which owns the "
		       "session");
	reply = kill(f, "result", json_pack("{s:s,s:i}", "command", "kill", "ticket", 7));
	assert_string_equal(string_at(reply, "error"), "there is no such ticket");
	json_decref(reply);
	assert_null(kill(f, "result", json_pack("{s:s}", "command", "drain")));
	assert_int_equal(f->ended, 2);
}

/* As another member asks for it. */
static void test_session_asked(void **state)
{
	static const uint8_t plain[] = { 1, 0 }, force[] = { 1, 1 }, odd[] = { 1, 2 },
			     other[] = { 16, 0 };
	struct session_key key = { .type = KEY_LISTED, .len = 1, .bytes = { 1 } };
	struct single *f = *state;

	single_become_master(f);
	single_put(f, 5, KEY_LISTED, 1);
	f->ended = 0;
	assert_int_equal(sessions_asked(&f->source, 5, &key, plain, 2), 0);
	assert_int_equal(sessions_asked(&f->source, 5, &key, force, 2), 0);
	assert_true(f->ended_by_force);
	assert_int_equal(f->ended, 2);
	/* It has f->ended already. */
	assert_int_equal(sessions_asked(&f->source, 6, &key, plain, 2), 0);
	assert_int_equal(f->ended, 2);
	assert_int_equal(sessions_asked(&f->source, 5, &key, odd, 2), -EINVAL);
	assert_int_equal(sessions_asked(&f->source, 5, &key, plain, 1), -EINVAL);
	assert_int_equal(sessions_asked(&f->source, 5, &key, other, 2), -EOPNOTSUPP);
	assert_int_equal(sessions_asked(&f->source, 5, &key, plain, 0), -EOPNOTSUPP);
	assert_int_equal(f->ended, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sessions, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_controls, single_start, single_end),
		cmocka_unit_test_setup_teardown(test_session_filters, single_start,
						single_end),
		cmocka_unit_test_setup_teardown(test_session_pages, single_start,
						single_end),
		cmocka_unit_test_setup_teardown(test_session_kill, single_start,
						single_end),
		cmocka_unit_test_setup_teardown(test_session_asked, single_start,
						single_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
