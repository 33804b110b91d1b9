/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IPsec on three members in one process: real cores under virtual time, messages passed by
 * hand, and on each member's socket a plugin that this test plays.
 *
 *   plugin -- ipsec -- cluster == net == cluster -- ipsec -- plugin
 */
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

#include "tunnels/ipsec/engine.h"

#define NODES 3
#define SENT_MAX 64
#define PEER_SPI UINT64_C(0x7777777777777777)
#define OUTER 28

struct change {
	STAILQ_ENTRY(change) next;
	struct unit_set gained, lost;
	uint32_t activation;
};

struct node {
	member_id id;
	bool dead, cut;
	struct cluster *c;
	struct ipsec *t;
	int plugin;
	STAILQ_HEAD(, change) changes;
	bool able, able_changed, committed;
	unsigned nsent;
	size_t sent_len[SENT_MAX];
	uint8_t sent[SENT_MAX][512];
};

struct message {
	STAILQ_ENTRY(message) next;
	struct node *from, *to;
	bool stream;
	size_t len;
	uint8_t bytes[];
};

static struct node nodes[NODES + 1]; /* by id */
static STAILQ_HEAD(, message) net;
static bool net_stopped; /* messages wait */
static struct mono now;
static struct event_base *base;
static char folder[] = "/tmp/test_ipsec.XXXXXX";

#define EACH_NODE(n) for (struct node *n = nodes + 1; n <= nodes + NODES; n++)

/* The core's effects. */

static int post(void *ctx, member_id to, bool stream, const uint8_t *bytes, size_t len)
{
	struct node *from = ctx;
	struct message *m;

	if (from->cut || nodes[to].cut || nodes[to].dead)
		return stream ? -ENOTCONN : 0;
	m = malloc(sizeof(*m) + len);
	assert_non_null(m);
	m->from = from;
	m->to = &nodes[to];
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
	ipsec_ops.changed(((struct node *)ctx)->t, s, now);
}

static void io_removed(void *ctx, struct session *s)
{
	ipsec_ops.removed(((struct node *)ctx)->t, s);
}

static void io_committed(void *ctx)
{
	((struct node *)ctx)->committed = true;
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
	ipsec_ops.counted(((struct node *)ctx)->t, s);
	io_committed(ctx);
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

static void host_inside(void *ctx, const uint8_t *packet, size_t len)
{
}

static void host_route(void *ctx, uint32_t prefix, unsigned len, unit_id unit)
{
}

static void host_pool(void *ctx, uint32_t prefix, unsigned len)
{
}

static void host_able(void *ctx, bool able, const char *why)
{
	struct node *n = ctx;

	n->able = able;
	n->able_changed = true;
}

static struct mono host_now(void *ctx)
{
	return now;
}

/* As the daemon does after each event. */
static void settle(struct node *n)
{
	struct change *change;

	for (;;) {
		if (n->able_changed) {
			n->able_changed = false;
			cluster_set_able(n->c, n->able, "no charon", now);
		} else if ((change = STAILQ_FIRST(&n->changes))) {
			STAILQ_REMOVE_HEAD(&n->changes, next);
			ipsec_ops.deactivate(n->t, &change->lost, now);
			ipsec_ops.activate(n->t, &change->gained, change->activation,
					   now);
			free(change);
			n->committed = true;
		} else if (n->committed) {
			n->committed = false;
			ipsec_ops.committed(n->t, now);
		} else {
			return;
		}
	}
}

static void deliver(void)
{
	struct message *m;

	while (!net_stopped && (m = STAILQ_FIRST(&net))) {
		STAILQ_REMOVE_HEAD(&net, next);
		if (!m->to->dead && !m->to->cut && !m->from->cut) {
			(m->stream ? cluster_recv_stream : cluster_recv_datagram)(
			    m->to->c, m->from->id, m->bytes, m->len, now);
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

static void events(void)
{
	for (unsigned i = 0; i < 4; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	EACH_NODE(n)
	if (!n->dead)
		settle(n);
	deliver();
}

static void run(unsigned ms)
{
	while (ms--) {
		now = mono_add(now, MONO_MS);
		EACH_NODE(n)
		{
			if (n->dead)
				continue;
			if (!mono_before(now, cluster_timeout(n->c)))
				cluster_tick(n->c, now);
			ipsec_ops.tick(n->t, now);
			settle(n);
		}
		deliver();
		events();
	}
}

static void link_all(struct node *n, bool up)
{
	EACH_NODE(peer)
	if (peer != n && !peer->dead) {
		cluster_link(n->c, peer->id, up, now);
		settle(n);
		cluster_link(peer->c, n->id, up, now);
		settle(peer);
	}
	deliver();
}

/* The others hear that this run of the member is dead. */
static void declare_dead(struct node *n)
{
	uint8_t note[128];
	size_t len = cluster_death_note(n->c, note, sizeof(note));

	lose(n);
	EACH_NODE(peer)
	if (peer != n && !peer->dead) {
		cluster_recv_datagram(peer->c, n->id, note, len, now);
		settle(peer);
		cluster_link(peer->c, n->id, false, now);
		settle(peer);
	}
	deliver();
}

static void kill_node(struct node *n)
{
	n->dead = true;
	declare_dead(n);
}

/* The plugin. */

static void plugin_say(struct node *n, const struct local_message *m)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	size_t len = local_encode(m, buf, sizeof(buf));

	assert_true(len > 0);
	assert_int_equal(send(n->plugin, buf, len, 0), len);
	events();
}

/* The next message of this type; others before it are passed over. */
static bool plugin_hear(struct node *n, enum local_type type, struct local_message *m)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	ssize_t len;

	events();
	while ((len = recv(n->plugin, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		assert_int_equal(local_decode(buf, (size_t)len, m), 0);
		if (m->type == type)
			return true;
	}
	return false;
}

static void plugin_forget(struct node *n)
{
	struct local_message m;

	assert_false(plugin_hear(n, LOCAL_TYPES, &m));
}

static void plugin_connect(struct node *n, const char *path)
{
	struct local_message hello = { .type = LOCAL_HELLO,
				       .hello = { .version = LOCAL_VERSION } };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	hello.hello.charon = (struct local_blob){ (const uint8_t *)"test", 4 };
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	n->plugin = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(n->plugin >= 0);
	assert_int_equal(connect(n->plugin, (struct sockaddr *)&sun, sizeof(sun)), 0);
	plugin_say(n, &hello);
}

/* Messages. */

static const struct local_addr gateway = { 4, { 192, 0, 2, 1 }, IKE_PORT };
static const struct local_addr client = { 4, { 198, 51, 100, 7 }, IKE_PORT };

struct ike {
	size_t len;
	uint8_t bytes[64];
};

/* From the client, who is the initiator, or to it. */
static struct ike ike(uint64_t spi, bool from_client, bool response, uint32_t mid,
		      uint8_t filling)
{
	struct ike out = { .len = IKE_HEADER_SIZE + 20 };
	struct pack p = pack_to(out.bytes, sizeof(out.bytes));

	pack_u64(&p, PEER_SPI);
	pack_u64(&p, spi);
	pack_u8(&p, 46);
	pack_u8(&p, 0x20);
	pack_u8(&p, 37);
	pack_u8(&p, (uint8_t)((from_client ? 0x08 : 0) | (response ? 0x20 : 0)));
	pack_u32(&p, mid);
	pack_u32(&p, (uint32_t)out.len);
	memset(p.at, filling, 20);
	return out;
}

static void receive(struct node *n, const struct ike *m)
{
	uint8_t ip[OUTER + sizeof(m->bytes)];
	struct pack p = pack_to(ip, sizeof(ip));
	struct packet packet = { ip, OUTER + m->len, 1, true };

	pack_u16(&p, 0x4500);
	pack_u16(&p, (uint16_t)packet.len);
	pack_u32(&p, 0);
	pack_u32(&p, 0x40110000);
	pack_raw(&p, client.bytes, 4);
	pack_raw(&p, gateway.bytes, 4);
	pack_u16(&p, IKE_PORT);
	pack_u16(&p, IKE_PORT);
	pack_u16(&p, (uint16_t)(m->len + 8));
	pack_u16(&p, 0);
	pack_raw(&p, m->bytes, m->len);
	ipsec_ops.receive(n->t, &packet, now);
	events();
}

static void transmit(struct node *n, const struct ike *m)
{
	struct local_message tx = { .type = LOCAL_IKE_TX };

	tx.ike_tx.src = gateway;
	tx.ike_tx.dst = client;
	tx.ike_tx.packet = (struct local_blob){ m->bytes, m->len };
	plugin_say(n, &tx);
}

static unsigned times_sent(const struct node *n, const struct ike *m)
{
	unsigned times = 0;

	for (unsigned i = 0; i < n->nsent; i++)
		times += n->sent_len[i] == OUTER + m->len &&
			 !memcmp(n->sent[i] + OUTER, m->bytes, m->len);
	return times;
}

static void establish(struct node *n, uint64_t spi)
{
	struct local_message put = { .type = LOCAL_IKE_PUT };

	put.ike_put.spi = spi;
	put.ike_put.peer_spi = PEER_SPI;
	put.ike_put.local = gateway;
	put.ike_put.remote = client;
	put.ike_put.state = (struct local_blob){ (const uint8_t *)"state", 5 };
	plugin_say(n, &put);
}

static struct local_blob selector(uint8_t *buf, uint8_t last)
{
	struct pack p = pack_to(buf, LOCAL_TS_SIZE);
	const struct local_ts ts = { .family = 4,
				     .to_port = 65535,
				     .from = { 10, 3, 0, last },
				     .to = { 10, 3, 0, last } };

	local_ts_put(&p, &ts);
	return (struct local_blob){ buf, LOCAL_TS_SIZE };
}

static void put_child(struct node *n, uint64_t spi, uint32_t spi_in)
{
	struct local_message put = { .type = LOCAL_CHILD_PUT };

	put.child_put.ike = spi;
	put.child_put.spi_in = spi_in;
	put.child_put.spi_out = 0x11223344;
	plugin_say(n, &put);
}

static void add_child(struct node *n, uint64_t spi, uint32_t spi_in)
{
	static const uint8_t key[20] = "not much of a secret";
	struct local_message sa = { .type = LOCAL_SA_ADD };
	uint8_t inside[LOCAL_TS_SIZE], outside[LOCAL_TS_SIZE];

	sa.sa_add.ike = spi;
	sa.sa_add.spi = spi_in;
	sa.sa_add.inbound = 1;
	sa.sa_add.src = client;
	sa.sa_add.dst = gateway;
	sa.sa_add.mode = 1;
	sa.sa_add.enc = ESP_ENCR_AES_GCM_16;
	sa.sa_add.enc_key = (struct local_blob){ key, sizeof(key) };
	sa.sa_add.src_ts = selector(outside, 7);
	sa.sa_add.dst_ts = selector(inside, 100);
	plugin_say(n, &sa);
	sa.sa_add.spi = 0x11223344;
	sa.sa_add.inbound = 0;
	sa.sa_add.src = gateway;
	sa.sa_add.dst = client;
	sa.sa_add.src_ts = selector(inside, 100);
	sa.sa_add.dst_ts = selector(outside, 7);
	plugin_say(n, &sa);
	put_child(n, spi, spi_in);
}

static uint64_t statistic(const struct node *n, const char *name)
{
	struct statistic all[64];
	size_t count = ipsec_ops.statistics(n->t, all, 64);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(all[i].name, name))
			return all[i].value;
	fail_msg("no statistic %s", name);
	return 0;
}

/* A unit of this member, and whoever takes it over. */
static unit_id unit_of(const struct node *n, struct node **successor)
{
	struct cluster_unit_state state;

	for (unit_id u = 5; u < CLUSTER_UNITS; u++) {
		cluster_unit(n->c, u, &state);
		if (state.owner == n->id && state.successor) {
			*successor = &nodes[state.successor];
			return u;
		}
	}
	fail_msg("member %u has no unit", n->id);
	return 0;
}

/* A member, a unit of it with an IKE SA, and the member that takes it over. */
struct scene {
	struct node *owner, *successor;
	unit_id unit;
	uint64_t spi;
};

static struct scene begin(void)
{
	struct scene s = { .owner = &nodes[2] };

	s.unit = unit_of(s.owner, &s.successor);
	s.spi = UINT64_C(0xabcdef0123456000) / CLUSTER_UNITS * CLUSTER_UNITS + s.unit;
	establish(s.owner, s.spi);
	EACH_NODE(n)
	plugin_forget(n);
	return s;
}

/* Everybody owns units, and all of them are protected. */
static bool whole(void)
{
	struct cluster_unit_state state;
	unsigned owned[NODES + 1] = { 0 };

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		EACH_NODE(n)
		{
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
					 .detection = 200 * MONO_MS,
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
				    .route_remove = host_route,
				    .pool_add = host_pool,
				    .able = host_able,
				    .settle = io_nothing,
				    .now = host_now };
	struct ipsec_config ipsec = { .inbound_commit = true, .replay_window = 64 };
	struct cluster_io io = node_io;
	char path[64], err[IPSEC_ERROR_SIZE];

	memset(n, 0, sizeof(*n));
	n->id = id;
	STAILQ_INIT(&n->changes);
	for (unsigned i = 0; i < NODES; i++) {
		config.peers[i].id = (member_id)(i + 1);
		snprintf(config.peers[i].name, sizeof(config.peers[i].name), "m%u", i);
	}
	io.ctx = n;
	n->c = cluster_new(&config, &io, now);
	assert_non_null(n->c);
	host.cluster = n->c;
	snprintf(path, sizeof(path), "%s/%u", folder, id);
	ipsec.socket = path;
	n->t = ipsec_new(&host, &ipsec, err);
	if (!n->t)
		fail_msg("%s", err);
	plugin_connect(n, path);
}

static int setup(void **state)
{
	unsigned ms = 0;

	base = event_base_new();
	STAILQ_INIT(&net);
	net_stopped = true; /* until all can hear */
	now.ns = 1000 * MONO_SEC;
	for (member_id id = 1; id <= NODES; id++)
		nodes[id].dead = true;
	for (member_id id = 1; id <= NODES; id++)
		start(&nodes[id], id);
	net_stopped = false;
	EACH_NODE(n)
	link_all(n, true);
	while (!whole()) {
		assert_true(ms++ < 20000);
		run(1);
	}
	run(300);
	return 0;
}

static int teardown(void **state)
{
	struct change *change;

	EACH_NODE(n)
	{
		ipsec_ops.close(n->t);
		cluster_free(n->c);
		close(n->plugin);
		while ((change = STAILQ_FIRST(&n->changes))) {
			STAILQ_REMOVE_HEAD(&n->changes, next);
			free(change);
		}
		lose(n);
	}
	event_base_free(base);
	return 0;
}

/* Tests. */

static void test_a_takeover_goes_on_where_the_owner_was(void **state)
{
	struct scene s = begin();
	struct ike request = ike(s.spi, true, false, 2, 'q');
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike next = ike(s.spi, true, false, 3, 'n');
	struct ike response = ike(s.spi, true, true, 0, 'r');
	struct local_message m;

	receive(s.owner, &request);
	assert_true(plugin_hear(s.owner, LOCAL_IKE_RX, &m));
	transmit(s.owner, &answer);
	transmit(s.owner, &ours);
	assert_int_equal(times_sent(s.owner, &answer), 1);
	assert_int_equal(times_sent(s.owner, &ours), 1);

	kill_node(s.owner);
	assert_true(plugin_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_true(m.ike_import.spi == s.spi);
	assert_int_equal(m.ike_import.recv_mid, 3);
	assert_int_equal(m.ike_import.send_mid, 1);
	assert_true(plugin_hear(s.successor, LOCAL_IKE_ACTIVATE, &m));

	run(100);
	assert_int_equal(times_sent(s.successor, &ours), 1);
	receive(s.successor, &request);
	assert_int_equal(times_sent(s.successor, &answer), 1);
	receive(s.successor, &response);
	assert_false(plugin_hear(s.successor, LOCAL_IKE_RX, &m));
	run(3000);
	assert_int_equal(times_sent(s.successor, &ours), 1);
	receive(s.successor, &next);
	assert_true(plugin_hear(s.successor, LOCAL_IKE_RX, &m));
}

static void test_nothing_is_said_before_it_is_committed(void **state)
{
	struct scene s = begin();
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct ike goodbye = ike(s.spi + CLUSTER_UNITS, false, false, 0, 'g');
	struct local_message m;

	net_stopped = true;
	transmit(s.owner, &answer);
	/* Of an SA that is not known any more, in the same unit. */
	transmit(s.owner, &goodbye);
	assert_int_equal(s.owner->nsent, 0);
	kill_node(s.owner);
	net_stopped = false;
	deliver();
	assert_true(plugin_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_int_equal(m.ike_import.recv_mid, 0);
	run(1000);
	EACH_NODE(n)
	assert_int_equal(n->nsent, 0);
}

/* Member 2 is declared dead, but lives on and hears of it later. */
static void test_a_lost_unit_is_silent(void **state)
{
	struct scene s = begin();
	struct ike answer = ike(s.spi, false, true, 2, 'a');
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike request = ike(s.spi, true, false, 2, 'q');
	struct local_message m;

	net_stopped = true;
	transmit(s.owner, &answer);
	s.owner->cut = true;
	declare_dead(s.owner);
	net_stopped = false;
	deliver();
	transmit(s.owner, &ours);
	assert_true(plugin_hear(s.successor, LOCAL_IKE_ACTIVATE, &m));
	run(50);
	s.owner->cut = false;
	link_all(s.owner, false);
	link_all(s.owner, true);
	run(2000);
	assert_int_equal(times_sent(s.owner, &answer), 0);
	assert_int_equal(times_sent(s.owner, &ours), 0);
	assert_int_equal(statistic(s.owner, "ipsec.ike-uncommitted-dropped"), 2);
	assert_true(plugin_hear(s.owner, LOCAL_IKE_DROP, &m));
	plugin_forget(s.owner);
	transmit(s.owner, &answer);
	receive(s.owner, &request);
	assert_int_equal(times_sent(s.owner, &answer), 0);
}

static void test_a_second_takeover_repeats_only_what_is_committed(void **state)
{
	struct scene s = begin();
	struct ike ours = ike(s.spi, false, false, 0, 'o');
	struct ike more = ike(s.spi, false, false, 1, 'm');

	transmit(s.owner, &ours);
	/* The new owner's records reach nobody yet. */
	net_stopped = true;
	kill_node(s.owner);
	run(30);
	assert_int_equal(times_sent(s.successor, &ours), 0);
	net_stopped = false;
	run(100);
	assert_int_equal(times_sent(s.successor, &ours), 1);
	/* The peer expects the numbers in order. */
	transmit(s.successor, &more);
	assert_int_equal(times_sent(s.successor, &more), 0);
	ours = ike(s.spi, true, true, 0, 'r');
	receive(s.successor, &ours);
	transmit(s.successor, &more);
	assert_int_equal(times_sent(s.successor, &more), 1);
}

static void test_children_follow_a_rekeyed_ike_sa(void **state)
{
	struct scene s = begin();
	uint32_t spi_in = 0xc0000000u + s.unit;
	uint64_t newer = s.spi + 7 * CLUSTER_UNITS;
	struct local_message del = { .type = LOCAL_IKE_DEL }, m;

	add_child(s.owner, s.spi, spi_in);
	establish(s.owner, newer);
	put_child(s.owner, newer, spi_in);
	del.ike_del.spi = s.spi;
	plugin_say(s.owner, &del);
	kill_node(s.owner);
	assert_true(plugin_hear(s.successor, LOCAL_IKE_IMPORT, &m));
	assert_true(m.ike_import.spi == newer);
	assert_true(plugin_hear(s.successor, LOCAL_CHILD_IMPORT, &m));
	assert_true(m.child_import.ike == newer);
	assert_int_equal(m.child_import.spi_in, spi_in);
}

#define POOL 48

static uint32_t want(struct node *n, uint8_t who, uint32_t count)
{
	struct local_message w = { .type = LOCAL_ADDRESS_WANT }, m;

	w.address_want.id = who;
	w.address_want.base = (struct local_addr){ 4, { 10, 3, 0, 1 }, 0 };
	w.address_want.count = count;
	w.address_want.identity = (struct local_blob){ &who, 1 };
	plugin_say(n, &w);
	assert_true(plugin_hear(n, LOCAL_ADDRESS, &m));
	assert_int_equal(m.address.id, who);
	return m.address.address.family ? m.address.address.bytes[3] : 0;
}

static void test_no_address_is_given_twice(void **state)
{
	bool given[POOL + 1] = { false };
	unsigned n = 0;

	for (uint8_t who = 0; who < 2 * POOL; who++) {
		struct node *at = &nodes[1 + who % NODES];
		uint32_t a;

		if (who == POOL / 2)
			kill_node(&nodes[2]);
		if (at->dead)
			continue;
		a = want(at, who, POOL);
		assert_true(a <= POOL);
		assert_false(a && given[a]);
		given[a] = true;
		n += a != 0;
	}
	/* All of them could be given, by one of two members. */
	assert_int_equal(n, POOL);
}

static void test_a_former_address_stays_while_its_client_logs_in(void **state)
{
	struct node *n = NULL;
	struct ipsec *t = nodes[1].t;
	struct unit_key key = unit_key_read(cluster_fold_key(nodes[1].c));
	unit_id unit = unit_fold(&key, 1, 0x0a030001u);

	EACH_NODE(owner)
	if (unit_set_has(&owner->t->units, unit))
		n = owner;
	assert_non_null(n);
	t = n->t;
	assert_int_equal(want(n, 1, 1), 1);
	/* Found idle: about to be taken back when its client comes again. */
	address_sweep(t, now);
	address_sweep(t, now);
	assert_int_equal(want(n, 1, 1), 1);
	address_sweep(t, now);
	assert_int_equal(want(n, 2, 1), 0);
	address_sweep(t, now);
	assert_int_equal(want(n, 2, 1), 0);
	address_sweep(t, now);
	assert_int_equal(want(n, 2, 1), 1);
}

static void test_records_of_another_unit_are_refused(void **state)
{
	struct scene s = begin();
	struct session_key key = { .type = RECORD_IKE, .len = 8 };
	struct pack p = pack_to(key.bytes, 8);
	struct node *other = s.successor;

	/* The owner writes about an SPI of somebody else's unit into its own. */
	pack_u64(&p, s.spi + 1);
	assert_int_equal(cluster_put(s.owner->c, s.unit, &key, (const uint8_t *)"x", 1,
				     NULL, 0, NULL, now),
			 0);
	deliver();
	assert_null(login_find(other->t, s.spi + 1));
	assert_int_equal(statistic(other, "ipsec.records-unreadable"), 1);
}

static void test_a_flood_does_not_end_the_plugin(void **state)
{
	struct scene s = begin();
	struct ike next = ike(s.spi, true, false, 2, 'n');
	unsigned i;

	for (i = 0; !statistic(s.owner, "ipsec.ike-queue-overflow"); i++) {
		assert_true(i < 4000000);
		login_receive(s.owner->t, &client, &gateway, next.bytes, next.len, now);
	}
	assert_true(plugin_connected(s.owner->t->plugin));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_takeover_goes_on_where_the_owner_was),
		TEST(test_nothing_is_said_before_it_is_committed),
		TEST(test_a_lost_unit_is_silent),
		TEST(test_a_second_takeover_repeats_only_what_is_committed),
		TEST(test_children_follow_a_rekeyed_ike_sa),
		TEST(test_no_address_is_given_twice),
		TEST(test_a_former_address_stays_while_its_client_logs_in),
		TEST(test_records_of_another_unit_are_refused),
		TEST(test_a_flood_does_not_end_the_plugin),
	};
	int failed;

	/* The socket is for root's charon only. */
	if (geteuid() != 0)
		return 77;
	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
