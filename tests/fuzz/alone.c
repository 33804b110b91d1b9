/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/fuzz/alone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/log.h"
#include "tests/quiet.h"

struct alone alone;

void must(bool condition)
{
	if (!condition)
		abort();
}

static void on_counted(void *ctx, struct session *s, unsigned slot)
{
	ipsec_ops.counted(alone.t, s);
}

static void make_cluster(void)
{
	static const struct cluster_config config = {
		.self = 1,
		.detection = 200 * MONO_MS,
		.capacity = 1,
		.npeers = 1,
		.peers = { { 1, "m1" } },
	};
	struct cluster_io io = quiet_io;
	struct cluster_unit_state unit = { 0 };

	io.counted = on_counted;
	alone.now.ns = 1000 * MONO_SEC;
	alone.c = cluster_new(&config, &io, alone.now);
	must(alone.c != NULL);
	cluster_set_able(alone.c, true, NULL, alone.now);
	while (unit.owner != 1) {
		alone.now = mono_add(alone.now, MONO_MS);
		cluster_tick(alone.c, alone.now);
		cluster_unit(alone.c, 0, &unit);
	}
}

/* The tunnel's host. */

static void host_packet(void *ctx, const uint8_t *packet, size_t len)
{
	must(len >= 20 && (packet[0] >> 4 == 4 || packet[0] >> 4 == 6));
}

static void host_route_add(void *ctx, const struct address *prefix, unsigned len,
			   unit_id unit)
{
	must(len <= 8 * address_size(prefix->family) && unit < CLUSTER_UNITS);
	alone.routes++;
}

static void host_route_remove(void *ctx, const struct address *prefix, unsigned len,
			      unit_id unit)
{
	must(len <= 8 * address_size(prefix->family) && unit < CLUSTER_UNITS);
	must(alone.routes-- > 0);
}

static void host_pool(void *ctx, const struct address *prefix, unsigned len)
{
	must(len <= 8 * address_size(prefix->family));
}

static void host_protect(void *ctx, const struct address_block *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		must(list[i].len <= 8 * address_size(list[i].first.family));
}

static void host_peer(void *ctx, const struct address *peer, uint8_t protocol,
		      uint16_t port)
{
	must(address_size(peer->family) > 0);
}

static int host_pass_on(void *ctx, unit_id unit)
{
	return -EHOSTDOWN;
}

static void host_able(void *ctx, bool able, const char *why)
{
	must(able || *why);
}

static void host_again(void *ctx, unit_id unit, const uint8_t *packet, size_t len,
		       unsigned hops)
{
	must(unit < CLUSTER_UNITS);
	host_packet(ctx, packet, len);
}

static void host_settle(void *ctx)
{
}

static struct mono host_now(void *ctx)
{
	return alone.now;
}

void alone_start(void)
{
	struct tunnel_host host = { .base = alone.base,
				    .cluster = alone.c,
				    .self = 1,
				    .send_outside = host_packet,
				    .send_inside = host_packet,
				    .route_add = host_route_add,
				    .route_remove = host_route_remove,
				    .pool_add = host_pool,
				    .protect = host_protect,
				    .peer_add = host_peer,
				    .peer_remove = host_peer,
				    .again = host_again,
				    .pass_on = host_pass_on,
				    .able = host_able,
				    .settle = host_settle,
				    .now = host_now };
	struct ipsec_config config = { .socket = alone.path,
				       .inbound_commit = true,
				       .replay_window = 64,
				       .mss = 1000,
				       .address_hold_back = 3600,
				       .mtu = 600 };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char err[IPSEC_ERROR_SIZE];

	alone.t = ipsec_new(&host, &config, err);
	must(alone.t != NULL);
	strcpy(sun.sun_path, alone.path);
	alone.plugin = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	must(alone.plugin >= 0 &&
	     !connect(alone.plugin, (struct sockaddr *)&sun, sizeof(sun)));
}

static int first_session(void *ctx, struct session *s)
{
	*(struct session **)ctx = s;
	return 1;
}

void alone_clear(void)
{
	struct session *s;

	while (cluster_each(alone.c, CLUSTER_UNITS, first_session, &s)) {
		ipsec_ops.removed(alone.t, s);
		session_set_user(s, NULL);
		must(cluster_remove(alone.c, s, alone.now) == 0);
	}
	must(alone.routes == 0);
}

void alone_stop(void)
{
	alone_clear();
	ipsec_ops.close(alone.t);
	close(alone.plugin);
	event_base_loop(alone.base, EVLOOP_NONBLOCK);
}

static void remove_folder(void)
{
	unlink(alone.path);
	rmdir(alone.folder);
}

void alone_make(void)
{
	log_init(LOG_LEVEL_ERROR, false);
	alone.base = event_base_new();
	strcpy(alone.folder, "/tmp/fuzz_ipsec.XXXXXX");
	must(alone.base && mkdtemp(alone.folder));
	snprintf(alone.path, sizeof(alone.path), "%s/socket", alone.folder);
	atexit(remove_folder);
	make_cluster();
}
