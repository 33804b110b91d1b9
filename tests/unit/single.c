/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/quiet.h"
#include "tests/unit/single.h"

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

static int end_session(void *tunnel, struct session *s, bool force)
{
	struct single *f = tunnel;

	if (session_key(s)->bytes[0] == 9)
		return -EAGAIN;
	f->ended++;
	f->ended_by_force = force;
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

void single_pass(struct single *f, uint64_t ns)
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

int single_start(void **state)
{
	struct cluster_config config = {
		.self = 1,
		.detection = 200 * MONO_MS,
		.capacity = 100,
		.moves = 64,
		.balance = 2 * MONO_SEC,
		.npeers = 2,
		.peers = { { 1, "m1" }, { 2, "m2" } },
	};
	struct single *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	fill_conf(&f->conf);
	f->now.ns = 1000 * MONO_SEC;
	f->cluster = cluster_new(&config, &quiet_io, f->now);
	if (!f->cluster)
		return -1;
	f->tunnel = (struct status_tunnel){ .ops = &ops, .tunnel = f };
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

int single_end(void **state)
{
	struct single *f = *state;

	cluster_free(f->cluster);
	free(f);
	return 0;
}

void single_become_master(struct single *f)
{
	cluster_set_able(f->cluster, true, "", f->now);
	single_pass(f, 5 * MONO_SEC);
	assert_int_equal(cluster_role(f->cluster), CLUSTER_MASTER);
}

void single_put(struct single *f, unit_id unit, uint8_t type, uint8_t byte)
{
	struct session_key key = { .type = type, .len = 1, .bytes = { byte } };

	assert_int_equal(
	    cluster_put(f->cluster, unit, &key, &byte, 1, &byte, 1, NULL, f->now), 0);
}

json_t *single_get(struct single *f, const char *command, json_t *arguments)
{
	json_t *reply = status_reply(&f->source, command, arguments, f->now);

	json_decref(arguments);
	assert_non_null(reply);
	return reply;
}

const char *string_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		fail_msg("no text '%s'", key);
	return s;
}

json_int_t number_at(const json_t *o, const char *key)
{
	const json_t *n = json_object_get(o, key);

	if (!json_is_integer(n))
		fail_msg("no number '%s'", key);
	return json_integer_value(n);
}
