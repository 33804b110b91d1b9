/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as errands: what other members want of this one about addresses, connections and
 * IKE SAs. Each is refused, done at once, or answered by the next look; and whatever was
 * done, the same errand again does no harm.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/alone.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define EVENTS_MAX 32
#define SPI 0x10007

static struct local_blob text(const char *s)
{
	return (struct local_blob){ (const uint8_t *)s, strlen(s) };
}

static uint64_t connection_key(void)
{
	return connection_id(connection_name_id(text("home")), text("net"));
}

/* A connection, an IKE SA that charon has, and all units. */
static void begin(void)
{
	static struct unit_set all;
	struct local_message put = { .type = LOCAL_IKE_PUT };
	const struct local_config config = { .name = text("home"),
					     .child = text("net"),
					     .remote = text("192.0.2.7"),
					     .mode = LOCAL_MODE_TUNNEL };

	alone_make();
	alone_start();
	memset(&all, 0xff, sizeof(all));
	ipsec_ops.activate(alone.t, &all, 1, alone.now);
	connections_config(alone.t, &config);
	connections_configs(alone.t, alone.now);
	put.ike_put.spi = SPI;
	put.ike_put.version = 2;
	login_put(alone.t, &put, alone.now);
}

/* One of the keys that there are, or any. */
static struct session_key pick_key(struct unpack *u)
{
	static const uint8_t types[] = { RECORD_ADDRESS, RECORD_IKE, RECORD_START };
	uint8_t way = unpack_u8(u), last = unpack_u8(u);
	struct session_key key = { .type = way < 240 ? types[way % 3] : way - 232 };
	struct pack p = pack_to(key.bytes, sizeof(key.bytes));

	key.len = key.type == RECORD_ADDRESS ? (way & 16 ? 16 : 4) : 8;
	if (key.type == RECORD_ADDRESS)
		memset(key.bytes, last % 8, key.len);
	else
		pack_u64(&p, last & 128		      ? last
			     : key.type == RECORD_IKE ? SPI
						      : connection_key());
	if (way & 64 && last & 64)
		key.len = last % (CLUSTER_KEY_MAX + 1);
	return key;
}

static void ask(struct unpack *u)
{
	struct cluster_asker asker = { .from = 2, .number = 1, .incarnation = 1 };
	struct session_key key = pick_key(u);
	unit_id unit = unpack_u16(u) % CLUSTER_UNITS;
	size_t len = unpack_u8(u);
	const uint8_t *what;

	if (len > unpack_left(u))
		len = unpack_left(u);
	what = unpack_raw(u, len);
	for (unsigned i = 0; what && i < 2; i++) {
		int result = ipsec_ops.asked(alone.t, &asker, unit, &key, what, len);

		must(result <= 0 && result > -4096);
		must((result == -EINPROGRESS) == (alone.t->nerrands != 0));
		ipsec_ops.committed(alone.t, alone.now);
		must(!alone.t->nerrands);
	}
}

static int is_lease(void *ctx, struct session *s)
{
	*(struct session **)ctx = s;
	return session_key(s)->type == RECORD_ADDRESS;
}

static void end(void)
{
	struct connection *c = connection_find(alone.t, connection_key());
	struct session *s;

	must(c &&
	     (!c->noted || c->noted == LOCAL_TRAPPED || c->noted == LOCAL_UNTRAPPED));
	must(login_find(alone.t, SPI) != NULL);
	c->asked = false;
	c->noted = 0;
	address_forget(alone.t, false);
	while (cluster_each(alone.c, CLUSTER_UNITS, is_lease, &s)) {
		struct session *lease = s;

		ipsec_ops.removed(alone.t, lease);
		session_set_user(lease, NULL);
		must(cluster_remove(alone.c, lease, alone.now) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct unpack u = unpack_from(input, len);

	if (!alone.c)
		begin();
	for (unsigned i = 0; i < EVENTS_MAX && unpack_left(&u); i++)
		ask(&u);
	end();
	return 0;
}
