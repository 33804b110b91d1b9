/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an operator is told, from a real core with one member. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/clusterctl.h"
#include "src/operate.h"
#include "src/sessions.h"
#include "src/status.h"

#define KEY_LISTED 7
#define KEY_HIDDEN 8

struct fixture {
	struct conf conf;
	struct cluster *cluster;
	struct status_tunnel tunnel;
	struct status_source source;
	struct mono now;
};

static void no_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
}

static int no_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	return -1;
}

static void count_up(void *ctx, uint8_t *out, size_t len)
{
	static uint8_t next;

	while (len--)
		*out++ = next++;
}

static int save(void *ctx, uint32_t number)
{
	return 0;
}

static void on_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
}

static void on_event(void *ctx)
{
}

static void on_session(void *ctx, struct session *s)
{
}

static void on_counted(void *ctx, struct session *s, unsigned slot)
{
}

static void on_log(void *ctx, const char *line)
{
}

static bool owns(uint8_t type)
{
	return type == KEY_LISTED || type == KEY_HIDDEN;
}

static bool view(void *tunnel, struct session *s, struct session_view *out,
		 struct mono now)
{
	if (session_key(s)->type == KEY_HIDDEN)
		return false;
	strcpy(out->user, "m\xfcller\n");
	strcpy(out->client, "198.51.100.11:4500");
	strcpy(out->virtual_address, "10.3.0.1");
	if (session_key(s)->bytes[0] == 3)
		strcpy(out->user, "\x1b[2Jm\xc3\xbcller\xc2\x9b"
				  "2J\x7f");
	if (session_key(s)->bytes[0] == 2) {
		strcpy(out->user, "carol@example.org");
		strcpy(out->client, "[2001:db8::7]:500");
		strcpy(out->virtual_address, "10.3.0.11 fd00::5");
	}
	out->counted = true;
	out->bytes_in = 1234567;
	out->age = 3700;
	out->held = 917;
	out->sent = 1042;
	return true;
}

static unsigned ended;
static bool ended_by_force;

static int end_session(void *tunnel, struct session *s, bool force)
{
	if (session_key(s)->bytes[0] == 9)
		return -EAGAIN;
	ended++;
	ended_by_force = force;
	return 0;
}

static size_t tunnel_statistics(const void *tunnel, struct statistic *out, size_t max)
{
	out[0] = (struct statistic){ "test.packets", 5 };
	return 1;
}

static size_t more_statistics(void *ctx, struct statistic *out, size_t max)
{
	out[0] = (struct statistic){ "port.sent", 3 };
	out[1] = (struct statistic){ "port.sent", 4 };
	out[2] = (struct statistic){ "link_refused_expired", 1 };
	return 3;
}

static bool network_up(void *ctx, unsigned network)
{
	return network == 0;
}

static bool link_of(void *ctx, member_id peer, struct link_status *out)
{
	struct sockaddr_in *sin;

	if (peer != 2)
		return false;
	*out = (struct link_status){ .id = 2, .npaths = 2, .queued = 77 };
	for (unsigned i = 0; i < 2; i++) {
		sin = (struct sockaddr_in *)&out->paths[i].at.address;
		sin->sin_family = AF_INET;
		sin->sin_addr.s_addr = htonl(0x0a090002 + (i << 8));
		out->paths[i].at.addresslen = sizeof(*sin);
		out->paths[i].heard_ms = i ? 15 : UINT64_MAX;
	}
	out->paths[1].up = out->paths[1].stream = true;
	out->paths[1].rtt_us = 250;
	strcpy(out->why, "m\xfcller");
	return true;
}

static const struct tunnel_ops ops = {
	.name = "test",
	.owns = owns,
	.view = view,
	.end = end_session,
	.statistics = tunnel_statistics,
};

static void fill_conf(struct conf *c)
{
	c->nmembers = 2;
	c->detection_interval = 200;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(c->members[i].name, sizeof(c->members[i].name), "m%u", i + 1);
		c->members[i].id = (member_id)(i + 1);
		c->members[i].naddresses = 1;
		c->members[i].addresses[0].s_addr = htonl(0x0a090001 + i);
	}
	c->nnetworks = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct conf_network *n = &c->networks[i];

		snprintf(n->name, sizeof(n->name), "net%u", i);
		snprintf(n->interface, sizeof(n->interface), "eth%u", i);
		n->naddresses = 1;
		n->addresses[0] = address_ipv4((struct in_addr){ htonl(0xc0000201 + i) });
		n->mac[0] = 3;
	}
}

/* Ticks when the core wants it, until its time has come. */
static void pass(struct fixture *f, uint64_t ns)
{
	struct mono end = mono_add(f->now, ns);

	while (!mono_before(end, cluster_timeout(f->cluster))) {
		struct mono at = cluster_timeout(f->cluster);

		if (mono_before(f->now, at))
			f->now = at;
		cluster_tick(f->cluster, f->now);
	}
	f->now = end;
	cluster_tick(f->cluster, f->now);
}

static int start(void **state)
{
	static const struct cluster_io io = {
		.datagram = no_datagram,
		.stream = no_stream,
		.random = count_up,
		.save_activation = save,
		.units = on_units,
		.table = on_event,
		.changed = on_session,
		.removed = on_session,
		.committed = on_event,
		.counted = on_counted,
		.role = on_event,
		.log = on_log,
	};
	struct cluster_config config = {
		.self = 1,
		.detection = 200 * MONO_MS,
		.capacity = 100,
		.moves = 64,
		.balance = 2 * MONO_SEC,
		.npeers = 2,
		.peers = { { 1, "m1" }, { 2, "m2" } },
	};
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	fill_conf(&f->conf);
	f->now.ns = 1000 * MONO_SEC;
	f->cluster = cluster_new(&config, &io, f->now);
	if (!f->cluster)
		return -1;
	f->tunnel.ops = &ops;
	f->source = (struct status_source){
		.conf = &f->conf,
		.cluster = f->cluster,
		.self = 1,
		.started = f->now,
		.tunnels = &f->tunnel,
		.ntunnels = 1,
		.statistics = more_statistics,
		.network_up = network_up,
		.link = link_of,
	};
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;

	cluster_free(f->cluster);
	free(f);
	return 0;
}

static void become_master(struct fixture *f)
{
	cluster_set_able(f->cluster, true, "", f->now);
	pass(f, 5 * MONO_SEC);
	assert_int_equal(cluster_role(f->cluster), CLUSTER_MASTER);
}

static void put(struct fixture *f, unit_id unit, uint8_t type, uint8_t byte)
{
	struct session_key key = { .type = type, .len = 1, .bytes = { byte } };

	assert_int_equal(
	    cluster_put(f->cluster, unit, &key, &byte, 1, &byte, 1, NULL, f->now), 0);
}

static json_t *get(struct fixture *f, const char *command, json_t *arguments)
{
	json_t *reply = status_reply(&f->source, command, arguments, f->now);

	json_decref(arguments);
	assert_non_null(reply);
	return reply;
}

static const char *string_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		fail_msg("no text '%s'", key);
	return s;
}

static json_int_t number_at(const json_t *o, const char *key)
{
	const json_t *n = json_object_get(o, key);

	if (!json_is_integer(n))
		fail_msg("no number '%s'", key);
	return json_integer_value(n);
}

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
	json_t *s = get(*state, "status", json_object());
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
	struct fixture *f = *state;
	json_t *s, *network, *replication;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	put(f, 6, KEY_LISTED, 2);
	put(f, 6, KEY_HIDDEN, 3);
	s = get(f, "status", json_pack("{s:b}", "counters", 1));
	assert_string_equal(string_at(s, "role"), "master");
	assert_string_equal(string_at(s, "master"), "m1");
	assert_true(number_at(s, "term") >= 1 && number_at(s, "term") < 100);
	assert_int_equal(number_at(s, "uptime"), 5);
	assert_true(json_is_false(json_object_get(s, "protected")));
	assert_int_equal(number_at(json_object_get(s, "units"), "owned"), 1024);
	assert_int_equal(number_at(json_object_get(s, "units"), "without_successor"),
			 1024);
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
	json_t *s = get(*state, "members", json_object());
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
	struct fixture *f = *state;
	json_t *reply, *m;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	traffic[5] = 30000;
	cluster_set_load(f->cluster, traffic, 200000, f->now);
	reply = get(f, "members", json_object());
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
	reply = get(f, "units", json_pack("{s:[i]}", "units", 5));
	m = json_array_get(json_object_get(reply, "units"), 0);
	assert_true(json_number_value(json_object_get(m, "traffic")) == 0.03);
	json_decref(reply);
}

static json_t *tell(struct fixture *f, const char *command, json_t *arguments)
{
	json_t *reply = operate_reply(f->cluster, &f->conf, command, arguments, f->now);

	json_decref(arguments);
	assert_non_null(reply);
	return reply;
}

static void expect_error(struct fixture *f, const char *command, json_t *arguments,
			 const char *text)
{
	json_t *reply = tell(f, command, arguments);

	assert_string_equal(string_at(reply, "error"), text);
	json_decref(reply);
}

static void expect_state(struct fixture *f, const char *state)
{
	json_t *reply = get(f, "members", json_object());
	json_t *m = json_array_get(json_object_get(reply, "members"), 0);

	assert_string_equal(string_at(m, "state"), state);
	json_decref(reply);
}

static void test_drain(void **state)
{
	struct fixture *f = *state;
	json_t *reply, *none = json_object();

	become_master(f);
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
	reply = get(f, "status", json_object());
	assert_true(json_is_true(json_object_get(reply, "drained")));
	assert_true(json_is_false(json_object_get(reply, "able")));
	assert_string_equal(string_at(reply, "why"), "drained");
	json_decref(reply);
	/* By its id, as a number and as text. */
	json_decref(tell(f, "undrain", json_pack("{s:i}", "member", 1)));
	assert_false(cluster_drained(f->cluster));
	json_decref(tell(f, "undrain", json_pack("{s:s}", "member", "1")));
	pass(f, MONO_SEC);
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
	struct fixture *f = *state;

	expect_error(f, "move", json_pack("{s:i,s:s}", "unit", 5, "member", "m1"),
		     "there is no master at the moment; try again");
	become_master(f);
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
	struct fixture *f = *state;
	char text[122];

	memset(text, 'x', sizeof(text));
	text[121] = 0;
	expect_error(f, "expel", json_pack("{s:s}", "member", "m2"),
		     "there is no master at the moment; try again");
	become_master(f);
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
	struct fixture *f = *state;
	json_t *reply, *counters;

	become_master(f);
	reply = get(f, "counters", json_object());
	counters = json_object_get(reply, "counters");
	assert_int_equal(number_at(counters, "cluster.elected"), 1);
	assert_int_equal(number_at(counters, "test.packets"), 5);
	assert_int_equal(number_at(counters, "port.sent"), 7);
	assert_int_equal(number_at(counters, "link.refused-expired"), 1);
	json_decref(reply);
}

static void test_units(void **state)
{
	struct fixture *f = *state;
	json_t *reply, *unit, *list = json_array();

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	reply = get(f, "units", json_object());
	assert_int_equal(json_array_size(json_object_get(reply, "units")), 1024);
	json_decref(reply);
	reply = get(f, "units", json_pack("{s:i}", "unit", 5));
	unit = json_array_get(json_object_get(reply, "units"), 0);
	assert_int_equal(json_array_size(json_object_get(reply, "units")), 1);
	assert_int_equal(number_at(unit, "unit"), 5);
	assert_int_equal(number_at(unit, "sessions"), 1);
	assert_string_equal(string_at(unit, "owner"), "m1");
	assert_true(json_is_null(json_object_get(unit, "successor")));
	json_decref(reply);
	for (int bad = -1; bad <= 1024; bad += 1025) {
		reply = get(f, "units", json_pack("{s:i}", "unit", bad));
		assert_ptr_equal(strstr(string_at(reply, "error"),
					"a work unit is a number from 0 to 1023"),
				 string_at(reply, "error"));
		json_decref(reply);
	}
	for (size_t i = 0; i < CLUSTER_UNITS; i++)
		json_array_append_new(list, json_integer(7));
	reply = get(f, "units", json_pack("{s:O}", "units", list));
	assert_int_equal(json_array_size(json_object_get(reply, "units")), CLUSTER_UNITS);
	json_decref(reply);
	json_array_append_new(list, json_integer(7));
	reply = get(f, "units", json_pack("{s:o}", "units", list));
	assert_non_null(strstr(string_at(reply, "error"), "no more than there are"));
	json_decref(reply);
	reply = get(f, "units", json_pack("{s:s}", "unit", "5"));
	string_at(reply, "error");
	json_decref(reply);
}

static void test_sessions(void **state)
{
	struct fixture *f = *state;
	json_t *reply, *s;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	put(f, 5, KEY_HIDDEN, 2);
	reply = get(f, "sessions", json_object());
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
	struct fixture *f = *state;
	json_t *reply;

	become_master(f);
	put(f, 5, KEY_LISTED, 3);
	reply = get(f, "sessions", json_object());
	assert_string_equal(
	    string_at(json_array_get(json_object_get(reply, "sessions"), 0), "user"),
	    "?[2Jm\xc3\xbcller??2J?");
	json_decref(reply);
}

static size_t count_sessions(struct fixture *f, json_t *arguments)
{
	json_t *reply = get(f, "sessions", arguments);
	size_t n = json_array_size(json_object_get(reply, "sessions"));

	assert_null(json_object_get(reply, "error"));
	json_decref(reply);
	return n;
}

static size_t count_with(struct fixture *f, const char *name, const char *value)
{
	return count_sessions(f, json_pack("{s:s}", name, value));
}

static void test_session_filters(void **state)
{
	static const char *const bad[] = { "{\"user\":1}",	  "{\"unit\":1024}",
					   "{\"unit\":\"5\"}",	  "{\"from\":-1}",
					   "{\"member\":\"m3\"}", "{\"id\":null}" };
	struct fixture *f = *state;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	put(f, 5, KEY_HIDDEN, 2);
	put(f, 6, KEY_LISTED, 2);
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
		json_t *reply = get(f, "sessions", json_loads(bad[i], 0, NULL));

		string_at(reply, "error");
		json_decref(reply);
	}
}

/* Each is listed once, in replies that are bounded. */
static void test_session_pages(void **state)
{
	static bool seen[CLUSTER_UNITS];
	struct fixture *f = *state;
	json_t *from = json_integer(0), *reply, *s;
	unsigned pages = 0, total = 0;
	size_t i;

	become_master(f);
	for (unsigned n = 0; n < CLUSTER_UNITS; n++)
		put(f, (unit_id)n, KEY_LISTED, (uint8_t)n);
	while (json_is_integer(from)) {
		reply = get(f, "sessions", json_pack("{s:O}", "from", from));
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

static json_t *kill(struct fixture *f, const char *command, json_t *arguments)
{
	json_t *reply = sessions_order(&f->source, command, arguments, f->now);

	json_decref(arguments);
	return reply;
}

static void expect_no_kill(struct fixture *f, json_t *arguments, const char *text)
{
	json_t *reply = kill(f, "kill", arguments);

	assert_string_equal(string_at(reply, "error"), text);
	json_decref(reply);
}

static void test_session_kill(void **state)
{
	struct fixture *f = *state;
	json_t *reply;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	put(f, 5, KEY_HIDDEN, 2);
	put(f, 6, KEY_LISTED, 9);
	ended = 0;
	reply = kill(f, "kill", json_pack("{s:s,s:i}", "id", "01", "unit", 5));
	assert_string_equal(string_at(reply, "owner"), "m1");
	assert_true(json_is_true(json_object_get(reply, "done")));
	json_decref(reply);
	assert_int_equal(ended, 1);
	assert_false(ended_by_force);
	/* Without its unit, too. */
	json_decref(kill(f, "kill", json_pack("{s:s,s:b}", "id", "01", "force", 1)));
	assert_int_equal(ended, 2);
	assert_true(ended_by_force);
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
	assert_int_equal(ended, 2);
}

/* As another member asks for it. */
static void test_session_asked(void **state)
{
	static const uint8_t plain[] = { 1, 0 }, force[] = { 1, 1 }, odd[] = { 1, 2 },
			     other[] = { 16, 0 };
	struct session_key key = { .type = KEY_LISTED, .len = 1, .bytes = { 1 } };
	struct fixture *f = *state;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	ended = 0;
	assert_int_equal(sessions_asked(&f->source, 5, &key, plain, 2), 0);
	assert_int_equal(sessions_asked(&f->source, 5, &key, force, 2), 0);
	assert_true(ended_by_force);
	assert_int_equal(ended, 2);
	/* It has ended already. */
	assert_int_equal(sessions_asked(&f->source, 6, &key, plain, 2), 0);
	assert_int_equal(ended, 2);
	assert_int_equal(sessions_asked(&f->source, 5, &key, odd, 2), -EINVAL);
	assert_int_equal(sessions_asked(&f->source, 5, &key, plain, 1), -EINVAL);
	assert_int_equal(sessions_asked(&f->source, 5, &key, other, 2), -EOPNOTSUPP);
	assert_int_equal(sessions_asked(&f->source, 5, &key, plain, 0), -EOPNOTSUPP);
	assert_int_equal(ended, 2);
}

static void test_unknown(void **state)
{
	struct fixture *f = *state;
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
	struct fixture *f = *state;
	char *text;

	become_master(f);
	put(f, 5, KEY_LISTED, 1);
	text = shown(get(f, "units", json_object()), show_units);
	assert_string_equal(
	    text, "UNITS   COUNT  OWNER  SUCCESSOR  EPOCH  MOVING TO  RECORDS\n"
		  "0-1023   1024  m1     -              1  -                1\n");
	free(text);
	sessions = show_sessions_begin();
	text = shown(get(f, "sessions", json_object()), show_page);
	assert_string_equal(
	    text, "ID  USER     CLIENT              VIRTUAL   KIND  UNIT  OWNER  "
		  "SUCCESSOR    AGE      IN  OUT  LAG   HELD    SENT\n"
		  "01  m?ller?  198.51.100.11:4500  10.3.0.1  test     5  m1     "
		  "-          1h 1m  1.2 MB  0 B    -  917 B  1.0 kB\n");
	free(text);
	/* The next page has no headings. */
	text = shown(get(f, "sessions", json_object()), show_page);
	assert_int_equal(strncmp(text, "01  m?ller?  198.51.100.11:4500 ", 32), 0);
	free(text);
	table_free(sessions);
	text = shown(get(f, "units", json_pack("{s:i}", "unit", 5)), show_units);
	assert_string_equal(text, "unit         5\n"
				  "owner        m1\n"
				  "successor    -\n"
				  "epoch        1\n"
				  "moving to    -\n"
				  "records      1\n"
				  "load         0.01 % of a processor, of which traffic "
				  "0.00 %\n");
	free(text);
	text = shown(get(f, "units", json_pack("{s:[i,i,i]}", "units", 5, 6, 9)),
		     show_units);
	assert_string_equal(
	    text, "UNITS  COUNT  OWNER  SUCCESSOR  EPOCH  MOVING TO  RECORDS\n"
		  "5-6        2  m1     -              1  -                1\n"
		  "9          1  m1     -              1  -                0\n");
	free(text);
	text = shown(get(f, "members", json_object()), show_members);
	assert_non_null(strstr(text, "detection interval 200 ms\n"));
	assert_non_null(strstr(text, "absent\n"));
	assert_null(strstr(text, "m1: "));
	assert_non_null(strstr(text, "MEMBER  KEEPALIVE  LINK  LAG  PROCESSOR"));
	free(text);
	text = shown(get(f, "status", json_object()), show_status);
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
		cmocka_unit_test_setup_teardown(test_before_joining, start, end),
		cmocka_unit_test_setup_teardown(test_master, start, end),
		cmocka_unit_test_setup_teardown(test_paths, start, end),
		cmocka_unit_test_setup_teardown(test_members, start, end),
		cmocka_unit_test_setup_teardown(test_drain, start, end),
		cmocka_unit_test_setup_teardown(test_move, start, end),
		cmocka_unit_test_setup_teardown(test_expel, start, end),
		cmocka_unit_test_setup_teardown(test_counters, start, end),
		cmocka_unit_test_setup_teardown(test_units, start, end),
		cmocka_unit_test_setup_teardown(test_sessions, start, end),
		cmocka_unit_test_setup_teardown(test_controls, start, end),
		cmocka_unit_test_setup_teardown(test_unknown, start, end),
		cmocka_unit_test_setup_teardown(test_text, start, end),
		cmocka_unit_test_setup_teardown(test_session_filters, start, end),
		cmocka_unit_test_setup_teardown(test_session_pages, start, end),
		cmocka_unit_test_setup_teardown(test_session_kill, start, end),
		cmocka_unit_test_setup_teardown(test_session_asked, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
