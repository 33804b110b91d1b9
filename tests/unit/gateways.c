/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/gateways.h"

struct message {
	STAILQ_ENTRY(message) next;
	struct node *from, *to;
	bool stream;
	size_t len;
	uint8_t bytes[];
};

struct node gateways[NODES + 1];
static STAILQ_HEAD(, message) net;
bool gateways_stopped;
uint64_t gateways_detection = GATEWAYS_DETECTION;
struct mono gateways_now;
unsigned gateways_hold_back;
static struct event_base *base;
static char folder[64];

/* The core's effects. */

static int post(void *ctx, member_id to, bool stream, const uint8_t *bytes, size_t len)
{
	struct node *from = ctx;
	struct message *m;

	if (from->cut || gateways[to].cut || gateways[to].dead)
		return stream ? -ENOTCONN : 0;
	m = malloc(sizeof(*m) + len);
	assert_non_null(m);
	m->from = from;
	m->to = &gateways[to];
	m->stream = stream;
	m->len = len;
	memcpy(m->bytes, bytes, len);
	STAILQ_INSERT_TAIL(&net, m, next);
	return 0;
}

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	post(ctx, to, false, msg, len);
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	return post(ctx, to, true, msg, len);
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	static uint64_t state = 1;

	for (size_t i = 0; i < len; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
		out[i] = (uint8_t)(state >> 56);
	}
}

static int io_save(void *ctx, uint32_t number)
{
	return 0;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct node *n = ctx;
	struct change *change = malloc(sizeof(*change));

	assert_non_null(change);
	change->gained = *gained;
	change->lost = *lost;
	change->activation = activation;
	STAILQ_INSERT_TAIL(&n->changes, change, next);
}

static void io_nothing(void *ctx)
{
}

static void io_changed(void *ctx, struct session *s)
{
	ipsec_ops.changed(((struct node *)ctx)->t, s, gateways_now);
}

static void io_removed(void *ctx, struct session *s)
{
	ipsec_ops.removed(((struct node *)ctx)->t, s);
}

static void io_committed(void *ctx)
{
	((struct node *)ctx)->committed = true;
}

static enum cluster_merge io_merge(void *ctx, const struct session *ours,
				   const struct session *theirs,
				   uint64_t counters[CLUSTER_COUNTERS])
{
	return ipsec_ops.merge(((struct node *)ctx)->t, ours, theirs, counters);
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
	ipsec_ops.counted(((struct node *)ctx)->t, s);
	io_committed(ctx);
}

static void io_noticed(void *ctx, member_id from, const uint8_t *what, size_t len)
{
	ipsec_ops.noticed(((struct node *)ctx)->t, from, what, len);
}

static int io_asked(void *ctx, const struct cluster_asker *asker, unit_id unit,
		    const struct session_key *key, const uint8_t *what, size_t len)
{
	io_committed(ctx);
	return ipsec_ops.asked(((struct node *)ctx)->t, asker, unit, key, what, len);
}

static bool io_engaged(void *ctx, unit_id unit)
{
	return ipsec_ops.engaged(((struct node *)ctx)->t, unit, gateways_now);
}

static const struct cluster_io node_io = {
	.datagram = io_datagram,
	.stream = io_stream,
	.random = io_random,
	.save_activation = io_save,
	.units = io_units,
	.table = io_nothing,
	.changed = io_changed,
	.removed = io_removed,
	.committed = io_committed,
	.counted = io_counted,
	.merge = io_merge,
	.asked = io_asked,
	.noticed = io_noticed,
	.engaged = io_engaged,
	.role = io_nothing,
};

/* The tunnel's host. */

static void host_outside(void *ctx, const uint8_t *packet, size_t len)
{
	struct node *n = ctx;

	assert_true(n->nsent < SENT_MAX && len <= sizeof(n->sent[0]));
	memcpy(n->sent[n->nsent], packet, len);
	n->sent_len[n->nsent++] = len;
}

static void host_again(void *ctx, unit_id unit, const uint8_t *packet, size_t len,
		       unsigned hops)
{
	struct node *n = ctx;

	n->again++;
	n->again_unit = unit;
	n->again_hops = hops;
}

static void host_inside(void *ctx, const uint8_t *packet, size_t len)
{
	struct node *n = ctx;

	assert_true(len <= sizeof(n->inside));
	memcpy(n->inside, packet, len);
	n->inside_len = len;
	n->ninside++;
}

static void host_route(void *ctx, const struct address *prefix, unsigned len,
		       unit_id unit)
{
	struct node *n = ctx;

	n->routes++;
}

static void host_no_route(void *ctx, const struct address *prefix, unsigned len,
			  unit_id unit)
{
	struct node *n = ctx;

	n->routes--;
}

static void host_pool(void *ctx, const struct address *prefix, unsigned len)
{
}

static void host_protect(void *ctx, const struct address_block *list, unsigned count)
{
	struct node *n = ctx;

	n->nprotected = count;
	memcpy(n->protected, list, (count < 8 ? count : 8) * sizeof(*list));
}

static void host_peer(void *ctx, const struct address *peer, uint8_t protocol,
		      uint16_t port)
{
	((struct node *)ctx)->peers++;
}

static void host_no_peer(void *ctx, const struct address *peer, uint8_t protocol,
			 uint16_t port)
{
	((struct node *)ctx)->peers--;
}

static int host_pass_on(void *ctx, unit_id unit)
{
	struct node *n = ctx, *to = &gateways[n->id % NODES + 1];
	uint32_t ticket;
	int err;

	if (to->dead)
		to = &gateways[to->id % NODES + 1];
	if (to == n)
		return -EHOSTDOWN;
	err = cluster_move(n->c, unit, to->id, &ticket, gateways_now);
	return err == -EINPROGRESS ? 0 : err;
}

static void host_able(void *ctx, bool able, const char *why)
{
	struct node *n = ctx;

	n->able = able;
	n->able_changed = true;
}

static struct mono host_now(void *ctx)
{
	return gateways_now;
}

/* As the daemon does after each event. */
static void settle(struct node *n)
{
	struct change *change;

	for (;;) {
		if (n->able_changed) {
			n->able_changed = false;
			cluster_set_able(n->c, n->able, "no charon", gateways_now);
		} else if ((change = STAILQ_FIRST(&n->changes))) {
			STAILQ_REMOVE_HEAD(&n->changes, next);
			ipsec_ops.deactivate(n->t, &change->lost, gateways_now);
			ipsec_ops.activate(n->t, &change->gained, change->activation,
					   gateways_now);
			free(change);
			n->committed = true;
		} else if (n->committed) {
			n->committed = false;
			ipsec_ops.committed(n->t, gateways_now);
		} else {
			return;
		}
	}
}

void gateways_deliver(void)
{
	struct message *m;

	while (!gateways_stopped && (m = STAILQ_FIRST(&net))) {
		STAILQ_REMOVE_HEAD(&net, next);
		if (!m->to->dead && !m->to->cut && !m->from->cut) {
			(m->stream ? cluster_recv_stream : cluster_recv_datagram)(
			    m->to->c, m->from->id, m->bytes, m->len, gateways_now);
			settle(m->to);
		}
		free(m);
	}
}

/* What a dead or cut member had on the wire is lost with it. */
static void lose(struct node *from)
{
	struct message *m, *next;

	for (m = STAILQ_FIRST(&net); m; m = next) {
		next = STAILQ_NEXT(m, next);
		if (m->from != from && m->to != from)
			continue;
		STAILQ_REMOVE(&net, m, message, next);
		free(m);
	}
}

static void take(struct node *n);

void gateways_events(void)
{
	for (unsigned i = 0; i < 4; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		EACH_NODE(n)
			if (!n->dead)
				take(n);
	}
	EACH_NODE(n)
		if (!n->dead)
			settle(n);
	gateways_deliver();
}

void gateways_run(unsigned ms)
{
	while (ms--) {
		gateways_now = mono_add(gateways_now, MONO_MS);
		EACH_NODE(n) {
			if (n->dead)
				continue;
			if (!mono_before(gateways_now, cluster_timeout(n->c)))
				cluster_tick(n->c, gateways_now);
			ipsec_ops.tick(n->t, gateways_now);
			settle(n);
		}
		gateways_deliver();
		gateways_events();
	}
}

void gateways_link(struct node *n, bool up)
{
	EACH_NODE(peer)
		if (peer != n && !peer->dead) {
			cluster_link(n->c, peer->id, up, gateways_now);
			settle(n);
			cluster_link(peer->c, n->id, up, gateways_now);
			settle(peer);
		}
	gateways_deliver();
}

/* The others hear that this run of the member is dead. */
void gateways_declare_dead(struct node *n)
{
	uint8_t note[128];
	size_t len = cluster_death_note(n->c, note, sizeof(note));

	lose(n);
	EACH_NODE(peer)
		if (peer != n && !peer->dead) {
			cluster_recv_datagram(peer->c, n->id, note, len, gateways_now);
			settle(peer);
			cluster_link(peer->c, n->id, false, gateways_now);
			settle(peer);
		}
	gateways_deliver();
}

void gateways_kill(struct node *n)
{
	n->dead = true;
	gateways_declare_dead(n);
}

/* The plugin. */

static void say(struct node *n, const struct local_message *m)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	size_t len = local_encode(m, buf, sizeof(buf));

	assert_true(len > 0);
	assert_int_equal(send(n->plugin, buf, len, 0), len);
}

void gateways_say(struct node *n, const struct local_message *m)
{
	say(n, m);
	gateways_events();
}

void gateways_child(struct node *n, const struct local_sa_add *in, uint32_t spi_out,
		    const char *name)
{
	static const uint8_t key[20] = "not much of a secret";
	struct local_message sa = { .type = LOCAL_SA_ADD, .sa_add = *in };
	struct local_message put = { .type = LOCAL_CHILD_PUT };

	sa.sa_add.inbound = 1;
	sa.sa_add.mode = 1;
	sa.sa_add.enc = ESP_ENCR_AES_GCM_16;
	sa.sa_add.enc_key = (struct local_blob){ key, sizeof(key) };
	gateways_say(n, &sa);
	sa.sa_add.spi = spi_out;
	sa.sa_add.inbound = 0;
	sa.sa_add.src = in->dst;
	sa.sa_add.dst = in->src;
	sa.sa_add.src_ts = in->dst_ts;
	sa.sa_add.dst_ts = in->src_ts;
	gateways_say(n, &sa);
	put.child_put.ike = in->ike;
	put.child_put.spi_in = in->spi;
	put.child_put.spi_out = spi_out;
	put.child_put.name = (struct local_blob){ (const uint8_t *)name, strlen(name) };
	gateways_say(n, &put);
}

/* What charon does by itself. False: the test is to see it. */
static bool answer(struct node *n, const struct local_message *m)
{
	struct local_message reply = { .type = LOCAL_PONG };

	if (m->type == LOCAL_PING) {
		reply.pong.id = m->ping.id;
		say(n, &reply);
		return true;
	}
	if (m->type == LOCAL_IKE_VERIFY && !n->doubts) {
		reply.type = LOCAL_IKE_VERIFIED;
		reply.ike_verified.spi = m->ike_verify.spi;
		reply.ike_verified.mid = m->ike_verify.mid;
		say(n, &reply);
	}
	if (m->type != LOCAL_IKE_ACTIVATE)
		return false;
	if (n->refuses) {
		reply.type = LOCAL_IMPORT_FAILED;
		reply.import_failed.spi = m->ike_activate.spi;
		reply.import_failed.reason = (struct local_blob){ (uint8_t *)"no", 2 };
		say(n, &reply);
	} else if (!n->slow) {
		reply.type = LOCAL_IMPORTED;
		reply.imported.spi = m->ike_activate.spi;
		say(n, &reply);
	}
	return false;
}

/* Takes what the plugin is sent. */
static void take(struct node *n)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	struct local_message m;
	struct heard *heard;
	ssize_t len;

	while (!n->hung && (len = recv(n->plugin, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		assert_int_equal(local_decode(buf, (size_t)len, &m), 0);
		if (answer(n, &m))
			continue;
		heard = malloc(sizeof(*heard) + (size_t)len);
		assert_non_null(heard);
		heard->len = (size_t)len;
		memcpy(heard->bytes, buf, (size_t)len);
		STAILQ_INSERT_TAIL(&n->heard, heard, next);
	}
}

/* The next message of this type; others before it are passed over. */
bool gateways_hear(struct node *n, enum local_type type, struct local_message *m)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	struct heard *heard;
	size_t len;

	gateways_events();
	while ((heard = STAILQ_FIRST(&n->heard))) {
		STAILQ_REMOVE_HEAD(&n->heard, next);
		len = heard->len;
		memcpy(buf, heard->bytes, len);
		free(heard);
		assert_int_equal(local_decode(buf, len, m), 0);
		if (m->type == type)
			return true;
	}
	return false;
}

void gateways_forget(struct node *n)
{
	struct local_message m;

	assert_false(gateways_hear(n, LOCAL_TYPES, &m));
}

unit_id gateways_unit(const struct node *n, struct node **successor)
{
	struct cluster_unit_state state;

	for (unit_id u = 5; u < CLUSTER_UNITS; u++) {
		cluster_unit(n->c, u, &state);
		if (state.owner == n->id && state.successor) {
			*successor = &gateways[state.successor];
			return u;
		}
	}
	fail_msg("member %u has no unit", n->id);
	return 0;
}

uint64_t gateways_statistic(const struct node *n, const char *name)
{
	struct statistic all[128];
	size_t count = ipsec_ops.statistics(n->t, all, 128);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(all[i].name, name))
			return all[i].value;
	fail_msg("no statistic %s", name);
	return 0;
}

void gateways_connect(struct node *n)
{
	struct local_message hello = { .type = LOCAL_HELLO,
				       .hello = { .version = LOCAL_VERSION } };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	hello.hello.charon = (struct local_blob){ (const uint8_t *)"test", 4 };
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%u", folder, n->id);
	if (n->plugin > 0)
		close(n->plugin);
	n->plugin = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(n->plugin >= 0);
	assert_int_equal(connect(n->plugin, (struct sockaddr *)&sun, sizeof(sun)), 0);
	gateways_say(n, &hello);
}

/* Everybody owns units, and all of them are protected. */
static bool whole(void)
{
	struct cluster_unit_state state;
	unsigned owned[NODES + 1] = { 0 };

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		EACH_NODE(n) {
			cluster_unit(n->c, u, &state);
			if (!state.owner || !state.successor || state.moving_to)
				return false;
			owned[state.owner]++;
		}
	EACH_NODE(n)
		if (!owned[n->id])
			return false;
	return true;
}

static void start(struct node *n, member_id id)
{
	struct cluster_config config = { .self = id,
					 .detection = gateways_detection,
					 .capacity = 1,
					 .moves = CLUSTER_UNITS,
					 .balance = 100 * MONO_MS,
					 .npeers = NODES };
	struct tunnel_host host = { .ctx = n,
				    .base = base,
				    .self = id,
				    .send_outside = host_outside,
				    .send_inside = host_inside,
				    .route_add = host_route,
				    .route_remove = host_no_route,
				    .pool_add = host_pool,
				    .protect = host_protect,
				    .peer_add = host_peer,
				    .peer_remove = host_no_peer,
				    .pass_on = host_pass_on,
				    .able = host_able,
				    .again = host_again,
				    .settle = io_nothing,
				    .now = host_now };
	struct ipsec_config ipsec = { .inbound_commit = true,
				      .replay_window = 64,
				      .address_hold_back = gateways_hold_back,
				      .detection = gateways_detection };
	struct cluster_io io = node_io;
	char path[96], err[IPSEC_ERROR_SIZE];

	memset(n, 0, sizeof(*n));
	n->id = id;
	STAILQ_INIT(&n->changes);
	STAILQ_INIT(&n->heard);
	for (unsigned i = 0; i < NODES; i++) {
		config.peers[i].id = (member_id)(i + 1);
		snprintf(config.peers[i].name, sizeof(config.peers[i].name), "m%u", i);
	}
	io.ctx = n;
	n->c = cluster_new(&config, &io, gateways_now);
	assert_non_null(n->c);
	host.cluster = n->c;
	snprintf(path, sizeof(path), "%s/%u", folder, id);
	ipsec.socket = path;
	n->t = ipsec_new(&host, &ipsec, err);
	if (!n->t)
		fail_msg("%s", err);
	gateways_connect(n);
}

int gateways_start(void **state)
{
	unsigned ms = 0;

	snprintf(folder, sizeof(folder), "/tmp/test_ipsec.XXXXXX");
	assert_non_null(mkdtemp(folder));
	base = event_base_new();
	STAILQ_INIT(&net);
	gateways_stopped = true; /* until all can hear */
	gateways_now.ns = 1000 * MONO_SEC;
	for (member_id id = 1; id <= NODES; id++)
		gateways[id].dead = true;
	for (member_id id = 1; id <= NODES; id++)
		start(&gateways[id], id);
	gateways_stopped = false;
	EACH_NODE(n)
		gateways_link(n, true);
	while (!whole()) {
		assert_true(ms++ < 20000);
		gateways_run(1);
	}
	gateways_run(300);
	return 0;
}

static void stop(struct node *n)
{
	struct change *change;

	gateways_forget(n);
	ipsec_ops.close(n->t);
	cluster_free(n->c);
	close(n->plugin);
	while ((change = STAILQ_FIRST(&n->changes))) {
		STAILQ_REMOVE_HEAD(&n->changes, next);
		free(change);
	}
	lose(n);
}

void gateways_restart(struct node *n)
{
	gateways_kill(n);
	stop(n);
	start(n, n->id);
}

int gateways_stop(void **state)
{
	EACH_NODE(n)
		stop(n);
	event_base_free(base);
	rmdir(folder);
	return 0;
}
