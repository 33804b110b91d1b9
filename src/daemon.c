/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever happens ends in settle(): the core's callbacks only note what they saw, since
 * the core must not be called from inside; settle() then tells the tunnels, the filter and
 * ARP, until nothing is left to tell, and arms the timer.
 */
#include <errno.h>
#include <event2/event.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "src/activation.h"
#include "src/arp.h"
#include "src/control.h"
#include "src/daemon.h"
#include "src/filter.h"
#include "src/link.h"
#include "src/log.h"
#include "src/netlink.h"
#include "src/port.h"
#include "src/routes.h"
#include "src/status.h"
#include "src/tun.h"
#include "tunnels/ipsec/ipsec.h"

#define LEASE_EVERY_MS 20
#define LEASE_NS (100 * MONO_MS) /* a daemon that is silent for so long serves nothing */
#define LEAVE_SECONDS 5
#define DEATH_NOTE_MAX 128

struct unit_change {
	STAILQ_ENTRY(unit_change) next;
	struct unit_set gained, lost;
	uint32_t activation;
};

struct daemon {
	const struct conf *conf;
	const struct conf_member *self;
	struct keeper_page *page;
	struct event_base *base;
	struct event *settle, *timer, *lease, *leave, *on_term, *on_int, *on_hup;
	struct cluster *cluster;
	struct links *links;
	struct filter *filter;
	struct netlink *netlink;
	struct netlink_watch *watch;
	struct routes *routes;
	struct tun *tun;
	struct port *ports[CONF_NETWORKS_MAX];
	struct arp *arps[CONF_NETWORKS_MAX];
	struct control *control;
	struct status_tunnel tunnels[1];
	unsigned ntunnels;
	struct mono started;

	bool running[CONF_NETWORKS_MAX]; /* networks with carrier */
	bool tunnel_able;
	char tunnel_why[128];

	STAILQ_HEAD(, unit_change) units;
	bool able_changed, committed, table, role, leaving;
	int status;
};

static struct mono now_is(void *ctx)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mono){ (uint64_t)ts.tv_sec * MONO_SEC + (uint64_t)ts.tv_nsec };
}

static void want_settle(void *ctx)
{
	struct daemon *d = ctx;

	event_active(d->settle, 0, 0);
}

/* The core's effects. */

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct daemon *d = ctx;

	if (d->links)
		links_datagram(d->links, to, msg, len);
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct daemon *d = ctx;

	return d->links ? links_stream(d->links, to, msg, len) : -ENOTCONN;
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	if (RAND_bytes(out, (int)len) != 1)
		fatalx("no random numbers");
}

static int io_save_activation(void *ctx, uint32_t number)
{
	struct daemon *d = ctx;
	int err = activation_save(d->conf->state_directory, number);

	if (err)
		log_warnx("cannot store activation number %u in %s: %s; no unit is taken",
			  number, d->conf->state_directory, strerror(-err));
	return err;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct daemon *d = ctx;
	struct unit_change *change = malloc(sizeof(*change));

	if (!change)
		fatalx("out of memory");
	change->gained = *gained;
	change->lost = *lost;
	change->activation = activation;
	STAILQ_INSERT_TAIL(&d->units, change, next);
	want_settle(d);
}

static void io_table(void *ctx)
{
	struct daemon *d = ctx;

	d->table = true;
	want_settle(d);
}

static const struct status_tunnel *tunnel_of(struct daemon *d, struct session *s)
{
	for (unsigned i = 0; i < d->ntunnels; i++)
		if (d->tunnels[i].ops->owns(session_key(s)->type))
			return &d->tunnels[i];
	return NULL;
}

static void io_changed(void *ctx, struct session *s)
{
	struct daemon *d = ctx;
	const struct status_tunnel *t = tunnel_of(d, s);

	if (t)
		t->ops->changed(t->tunnel, s, now_is(d));
}

static void io_removed(void *ctx, struct session *s)
{
	struct daemon *d = ctx;
	const struct status_tunnel *t = tunnel_of(d, s);

	if (t)
		t->ops->removed(t->tunnel, s);
}

static void io_committed(void *ctx)
{
	struct daemon *d = ctx;

	d->committed = true;
	want_settle(d);
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
	struct daemon *d = ctx;
	const struct status_tunnel *t = tunnel_of(d, s);

	if (t)
		t->ops->counted(t->tunnel, s);
	io_committed(d);
}

static void io_role(void *ctx)
{
	struct daemon *d = ctx;

	d->role = true;
	d->table = true;
	want_settle(d);
}

static void io_log(void *ctx, const char *line)
{
	log_debug("%s", line);
}

/* What follows from them. */

static unsigned count_units(const struct unit_set *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		n += (unsigned)__builtin_popcountll(set->bits[i]);
	return n;
}

static void tell_units(struct daemon *d, const struct unit_change *change)
{
	unsigned gained = count_units(&change->gained), lost = count_units(&change->lost);

	for (unsigned i = 0; i < d->ntunnels; i++) {
		const struct status_tunnel *t = &d->tunnels[i];

		if (lost)
			t->ops->deactivate(t->tunnel, &change->lost, now_is(d));
		if (gained)
			t->ops->activate(t->tunnel, &change->gained, change->activation,
					 now_is(d));
	}
	log_info("units: %u gained, %u lost, activation %u", gained, lost,
		 change->activation);
}

static void tell_filter(struct daemon *d)
{
	uint16_t owners[CLUSTER_UNITS];

	for (unsigned u = 0; u < CLUSTER_UNITS; u++) {
		struct cluster_unit_state state;

		cluster_unit(d->cluster, (unit_id)u, &state);
		owners[u] = state.owner;
	}
	filter_set_owners(d->filter, owners);
}

static void tell_role(struct daemon *d)
{
	enum cluster_role role = cluster_role(d->cluster);
	member_id master = cluster_master(d->cluster);
	const struct conf_member *m = conf_member_with_id(d->conf, master);

	log_info("%s, master %s, term %llu", cluster_role_name(role),
		 m ? m->name : "none", (unsigned long long)cluster_term(d->cluster));
	filter_set_key(d->filter, cluster_fold_key(d->cluster));
	for (unsigned i = 0; i < d->conf->nnetworks; i++)
		arp_set_master(d->arps[i], role == CLUSTER_MASTER);
	if (role == CLUSTER_LEFT)
		event_base_loopbreak(d->base);
}

static void tell_able(struct daemon *d)
{
	char why[160] = "";

	for (unsigned i = 0; i < d->conf->nnetworks && !*why; i++)
		if (!d->running[i])
			snprintf(why, sizeof(why), "no carrier on %s",
				 d->conf->networks[i].interface);
	if (!*why && !d->tunnel_able)
		snprintf(why, sizeof(why), "%s", d->tunnel_why);
	cluster_set_able(d->cluster, !*why, why, now_is(d));
}

static bool serving(struct daemon *d)
{
	struct mono now = now_is(d);

	for (unsigned u = 0; u < CLUSTER_UNITS; u++)
		if (cluster_serves(d->cluster, (unit_id)u, now))
			return true;
	return false;
}

static void renew_lease(struct daemon *d)
{
	if (serving(d))
		filter_renew(d->filter, now_is(d).ns + LEASE_NS);
}

/* One thing that is left to tell, in the order in which it matters. False: nothing. */
static bool settle_one(struct daemon *d)
{
	struct unit_change *change = STAILQ_FIRST(&d->units);

	if (d->able_changed) {
		d->able_changed = false;
		tell_able(d);
	} else if (change) {
		STAILQ_REMOVE_HEAD(&d->units, next);
		tell_units(d, change);
		free(change);
		d->committed = true;
		renew_lease(d);
	} else if (d->table) {
		d->table = false;
		tell_filter(d);
	} else if (d->role) {
		d->role = false;
		tell_role(d);
	} else if (d->committed) {
		d->committed = false;
		for (unsigned i = 0; i < d->ntunnels; i++)
			d->tunnels[i].ops->committed(d->tunnels[i].tunnel, now_is(d));
	} else {
		return false;
	}
	return true;
}

static void arm(struct daemon *d)
{
	struct mono at = cluster_timeout(d->cluster);
	struct timeval tv;
	uint64_t wait;

	for (unsigned i = 0; i < d->ntunnels; i++)
		at = mono_min(at, d->tunnels[i].ops->timeout(d->tunnels[i].tunnel));
	wait = mono_since(at, now_is(d));
	if (wait > MONO_SEC)
		wait = MONO_SEC;
	tv.tv_sec = (time_t)(wait / MONO_SEC);
	tv.tv_usec = (suseconds_t)(wait % MONO_SEC / MONO_US);
	event_add(d->timer, &tv);
}

static void settle(struct daemon *d)
{
	while (settle_one(d))
		;
	for (unsigned i = 0; i < d->conf->nnetworks; i++)
		if (d->ports[i])
			port_flush(d->ports[i]);
	arm(d);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	settle(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	cluster_tick(d->cluster, now_is(d));
	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->tick(d->tunnels[i].tunnel, now_is(d));
	settle(d);
}

static void on_lease(evutil_socket_t fd, short what, void *arg)
{
	renew_lease(arg);
}

/* The interconnect. */

static void link_datagram(void *ctx, member_id from, const uint8_t *msg, size_t len)
{
	struct daemon *d = ctx;

	cluster_recv_datagram(d->cluster, from, msg, len, now_is(d));
	settle(d);
}

static void link_stream(void *ctx, member_id from, const uint8_t *msg, size_t len)
{
	struct daemon *d = ctx;

	cluster_recv_stream(d->cluster, from, msg, len, now_is(d));
	settle(d);
}

static void link_state(void *ctx, member_id peer, bool up)
{
	struct daemon *d = ctx;

	cluster_link(d->cluster, peer, up, now_is(d));
	settle(d);
}

/* The packet path. */

static void port_receive(void *ctx, const struct port_frame *frame, uint8_t *ip,
			 size_t len)
{
	struct daemon *d = ctx;
	struct packet p = { ip, len, frame->ifindex, !frame->checksum_ok };

	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->receive(d->tunnels[i].tunnel, &p, now_is(d));
}

static void tun_receive(void *ctx, uint8_t *ip, size_t len)
{
	struct daemon *d = ctx;
	struct packet p = { ip, len, tun_ifindex(d->tun), true };

	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->forward(d->tunnels[i].tunnel, &p, now_is(d));
}

static void batch_end(void *ctx)
{
	struct daemon *d = ctx;

	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->flush(d->tunnels[i].tunnel, now_is(d));
	settle(d);
}

static void on_carrier(void *ctx, unsigned which, bool running)
{
	struct daemon *d = ctx;

	if (d->running[which] != running)
		log_info("%s: %s", d->conf->networks[which].interface,
			 running ? "carrier" : "no carrier");
	d->running[which] = running;
	d->able_changed = true;
	want_settle(d);
}

/* The tunnels' host. */

static void host_send_outside(void *ctx, const uint8_t *packet, size_t len)
{
	struct daemon *d = ctx;

	port_send_ip(d->ports[0], packet, len);
}

static void host_send_inside(void *ctx, const uint8_t *packet, size_t len)
{
	struct daemon *d = ctx;

	tun_write(d->tun, packet, len);
}

static void host_route_add(void *ctx, uint32_t prefix, unsigned len, unit_id unit)
{
	struct daemon *d = ctx;

	routes_add(d->routes, prefix, len, unit);
}

static void host_route_remove(void *ctx, uint32_t prefix, unsigned len, unit_id unit)
{
	struct daemon *d = ctx;

	routes_remove(d->routes, prefix, len, unit);
}

static void host_pool_add(void *ctx, uint32_t prefix, unsigned len)
{
	struct daemon *d = ctx;

	routes_pool(d->routes, prefix, len);
}

static void host_able(void *ctx, bool able, const char *why)
{
	struct daemon *d = ctx;

	d->tunnel_able = able;
	snprintf(d->tunnel_why, sizeof(d->tunnel_why), "%s", why);
	d->able_changed = true;
	want_settle(d);
}

/* The operator. */

static size_t more_statistics(void *ctx, struct statistic *out, size_t max)
{
	struct daemon *d = ctx;
	const char *names[LINK_STATISTICS];
	uint64_t values[LINK_STATISTICS];
	unsigned links = links_statistics(d->links, names, values, LINK_STATISTICS);
	const struct control_counters *control = control_counters(d->control);
	size_t n = 0;

	for (unsigned i = 0; i < links && n < max; i++)
		out[n++] = (struct statistic){ names[i], values[i] };
	n += filter_statistics(d->filter, out + n, max - n);
	n += tun_statistics(d->tun, out + n, max - n);
	for (unsigned i = 0; i < d->conf->nnetworks; i++) {
		n += port_statistics(d->ports[i], out + n, max - n);
		n += arp_statistics(d->arps[i], out + n, max - n);
	}
	if (n + 3 <= max) {
		out[n++] = (struct statistic){ "control.requests", control->requests };
		out[n++] = (struct statistic){ "control.refused", control->refused };
		out[n++] = (struct statistic){ "control.dropped", control->dropped };
	}
	return n;
}

static bool network_up(void *ctx, unsigned network)
{
	struct daemon *d = ctx;

	return d->running[network];
}

static json_t *on_command(void *ctx, const char *command, const json_t *arguments)
{
	struct daemon *d = ctx;
	const struct status_source source = {
		.conf = d->conf,
		.cluster = d->cluster,
		.self = d->self->id,
		.started = d->started,
		.tunnels = d->tunnels,
		.ntunnels = d->ntunnels,
		.statistics = more_statistics,
		.network_up = network_up,
		.ctx = d,
	};

	return status_reply(&source, command, arguments, now_is(d));
}

static void on_leave_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	log_warnx("the units could not be handed over in %u s; leaving all the same",
		  LEAVE_SECONDS);
	d->status = 1;
	event_base_loopbreak(d->base);
}

static void on_stop(evutil_socket_t signal, short what, void *arg)
{
	struct daemon *d = arg;

	if (d->leaving) {
		log_info("signal again: leaving at once");
		event_base_loopbreak(d->base);
		return;
	}
	log_info("leaving the cluster");
	d->leaving = true;
	event_add(d->leave, &(struct timeval){ .tv_sec = LEAVE_SECONDS });
	cluster_leave(d->cluster, now_is(d));
	settle(d);
}

static void on_reload(evutil_socket_t signal, short what, void *arg)
{
	log_warnx("SIGHUP: a changed configuration needs a restart; nothing changed");
}

/* Making and unmaking it. */

static int make_events(struct daemon *d)
{
	struct event_config *config = event_config_new();

	if (!config)
		return -ENOMEM;
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	d->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!d->base)
		return -ENOMEM;
	d->settle = event_new(d->base, -1, 0, on_settle, d);
	d->timer = evtimer_new(d->base, on_timer, d);
	d->lease = event_new(d->base, -1, EV_PERSIST, on_lease, d);
	d->leave = evtimer_new(d->base, on_leave_timeout, d);
	d->on_term = evsignal_new(d->base, SIGTERM, on_stop, d);
	d->on_int = evsignal_new(d->base, SIGINT, on_stop, d);
	d->on_hup = evsignal_new(d->base, SIGHUP, on_reload, d);
	if (!d->settle || !d->timer || !d->lease || !d->leave || !d->on_term ||
	    !d->on_int || !d->on_hup)
		return -ENOMEM;
	evsignal_add(d->on_term, NULL);
	evsignal_add(d->on_int, NULL);
	evsignal_add(d->on_hup, NULL);
	event_add(d->lease, &(struct timeval){ .tv_usec = LEASE_EVERY_MS * 1000 });
	return 0;
}

static int make_cluster(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	const struct cluster_io io = {
		.ctx = d,
		.datagram = io_datagram,
		.stream = io_stream,
		.random = io_random,
		.save_activation = io_save_activation,
		.units = io_units,
		.table = io_table,
		.changed = io_changed,
		.removed = io_removed,
		.committed = io_committed,
		.counted = io_counted,
		.role = io_role,
		.log = io_log,
	};
	struct cluster_config config = {
		.self = d->self->id,
		.detection = d->conf->detection_interval * MONO_MS,
		.capacity = d->conf->capacity,
		.moves = d->conf->moves_per_round,
		.balance = d->conf->balance_interval * MONO_MS,
		.npeers = d->conf->nmembers,
	};
	int failed = activation_load(d->conf->state_directory, &config.activation, err);

	if (failed)
		return failed;
	for (unsigned i = 0; i < d->conf->nmembers; i++) {
		config.peers[i].id = d->conf->members[i].id;
		memcpy(config.peers[i].name, d->conf->members[i].name,
		       sizeof(config.peers[i].name));
	}
	d->cluster = cluster_new(&config, &io, now_is(d));
	if (!d->cluster) {
		snprintf(err, DAEMON_ERROR_SIZE, "out of memory");
		return -ENOMEM;
	}
	return 0;
}

static struct link_address link_address(const struct conf_member *m)
{
	struct link_address at = { .addresslen = sizeof(struct sockaddr_in) };
	struct sockaddr_in *sin = (struct sockaddr_in *)&at.address;

	sin->sin_family = AF_INET;
	sin->sin_addr = m->address;
	sin->sin_port = htons(m->port);
	return at;
}

static int make_links(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	const struct link_ops ops = { d, link_datagram, link_stream, link_state };
	struct link_config config = {
		.self = d->self->id,
		.bind = link_address(d->self),
		.cert = d->conf->certificate,
		.key = d->conf->key,
		.ca = d->conf->authority,
		.npeers = d->conf->nmembers,
	};
	uint8_t note[DEATH_NOTE_MAX];
	size_t len = cluster_death_note(d->cluster, note, sizeof(note));

	for (unsigned i = 0; i < d->conf->nmembers; i++) {
		config.peers[i].id = d->conf->members[i].id;
		memcpy(config.peers[i].name, d->conf->members[i].name,
		       sizeof(config.peers[i].name));
		config.peers[i].at = link_address(&d->conf->members[i]);
	}
	d->links = links_new(d->base, &config, &ops, err);
	if (!d->links)
		return -EIO;
	if (links_death_note(d->links, note, len, d->page))
		log_warnx("no death note: a crash is noticed by missing keepalives only");
	return 0;
}

static int make_filter(struct daemon *d, int lease_fd, char err[DAEMON_ERROR_SIZE])
{
	struct filter_config config = {
		.self = d->self->id,
		.network_count = d->conf->nnetworks,
		.lease_fd = lease_fd,
	};

	for (unsigned i = 0; i < d->conf->nnetworks; i++) {
		const struct conf_network *n = &d->conf->networks[i];

		memcpy(config.networks[i].ifname, n->interface, IF_NAMESIZE);
		memcpy(config.networks[i].cluster_mac, n->mac, 6);
		for (unsigned a = 0; a < n->naddresses; a++)
			config.addresses[config.address_count++] = n->addresses[a];
	}
	d->filter = filter_new(&config, err);
	return d->filter ? 0 : -EIO;
}

static int make_network(struct daemon *d, unsigned i, char err[DAEMON_ERROR_SIZE])
{
	const struct port_handler handler = { port_receive, batch_end, d };
	const struct conf_network *n = &d->conf->networks[i];
	struct arp_config arp = { .ifname = n->interface,
				  .address_count = n->naddresses };

	memcpy(arp.cluster_mac, n->mac, 6);
	memcpy(arp.addresses, n->addresses, n->naddresses * sizeof(n->addresses[0]));
	for (unsigned a = 0; a < n->naddresses; a++) {
		int failed = netlink_address_add(d->netlink, "lo", n->addresses[a], 32);

		if (failed) {
			snprintf(err, DAEMON_ERROR_SIZE,
				 "cluster address of %s on lo: %s", n->name,
				 strerror(-failed));
			return failed;
		}
	}
	if (filter_attach(d->filter, i, err))
		return -EIO;
	d->ports[i] = port_open_packet(d->base, d->filter, i, &handler, err);
	if (!d->ports[i])
		return -EIO;
	d->arps[i] = arp_open(d->base, &arp, err);
	return d->arps[i] ? 0 : -EIO;
}

static int make_path(struct daemon *d, int lease_fd, char err[DAEMON_ERROR_SIZE])
{
	const struct tun_handler handler = { tun_receive, batch_end, d };
	const char *names[CONF_NETWORKS_MAX];
	int failed = netlink_open(&d->netlink);

	if (failed) {
		snprintf(err, DAEMON_ERROR_SIZE, "netlink: %s", strerror(-failed));
		return failed;
	}
	failed = make_filter(d, lease_fd, err);
	for (unsigned i = 0; !failed && i < d->conf->nnetworks; i++)
		failed = make_network(d, i, err);
	if (failed)
		return failed;
	d->tun =
	    tun_open(d->base, d->conf->tunnel.device, d->conf->tunnel.mtu, &handler, err);
	if (!d->tun)
		return -EIO;
	d->routes = routes_new(d->filter, d->netlink, tun_ifindex(d->tun));
	for (unsigned i = 0; i < d->conf->nnetworks; i++)
		names[i] = d->conf->networks[i].interface;
	d->watch = netlink_watch_new(d->base, names, d->conf->nnetworks, on_carrier, d);
	if (!d->routes || !d->watch) {
		snprintf(err, DAEMON_ERROR_SIZE, "cannot watch the interfaces");
		return -EIO;
	}
	return 0;
}

static int make_tunnels(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	const struct tunnel_host host = {
		.ctx = d,
		.cluster = d->cluster,
		.base = d->base,
		.self = d->self->id,
		.send_outside = host_send_outside,
		.send_inside = host_send_inside,
		.route_add = host_route_add,
		.route_remove = host_route_remove,
		.pool_add = host_pool_add,
		.able = host_able,
		.settle = want_settle,
		.now = now_is,
	};
	const struct ipsec_config config = {
		.socket = d->conf->ipsec.socket,
		.inbound_commit = d->conf->ipsec.inbound_commit,
		.replay_window = d->conf->ipsec.replay_window,
	};
	struct ipsec *ipsec = ipsec_new(&host, &config, err);

	if (!ipsec)
		return -EIO;
	d->tunnels[d->ntunnels++] = (struct status_tunnel){ &ipsec_ops, ipsec };
	return 0;
}

static int make_control(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	char path[CONF_PATH_MAX + 32];

	return control_open(d->base, conf_control_path(d->conf, path, sizeof(path)),
			    on_command, d, &d->control, err);
}

struct daemon *daemon_new(const struct conf *conf, const struct conf_member *self,
			  int lease_fd, struct keeper_page *page,
			  char err[DAEMON_ERROR_SIZE])
{
	struct daemon *d = calloc(1, sizeof(*d));

	snprintf(err, DAEMON_ERROR_SIZE, "out of memory");
	if (!d)
		return NULL;
	d->conf = conf;
	d->self = self;
	d->page = page;
	d->started = now_is(d);
	STAILQ_INIT(&d->units);
	if (make_events(d) || make_cluster(d, err) || make_path(d, lease_fd, err) ||
	    make_tunnels(d, err) || make_links(d, err) || make_control(d, err)) {
		daemon_free(d);
		return NULL;
	}
	return d;
}

int daemon_run(struct daemon *d)
{
	settle(d);
	log_info("member %s (id %u) of %u is up", d->self->name, d->self->id,
		 d->conf->nmembers);
	event_base_dispatch(d->base);
	/* Nothing of the cluster may reach the kernel once nobody works on it. */
	filter_renew(d->filter, 0);
	if (cluster_role(d->cluster) == CLUSTER_LEFT)
		keeper_leave(d->page);
	return d->status;
}

static void free_event(struct event *ev)
{
	if (ev)
		event_free(ev);
}

void daemon_free(struct daemon *d)
{
	struct unit_change *change;

	if (!d)
		return;
	control_close(d->control);
	links_free(d->links);
	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->close(d->tunnels[i].tunnel);
	d->ntunnels = 0;
	netlink_watch_free(d->watch);
	for (unsigned i = 0; i < CONF_NETWORKS_MAX; i++) {
		port_close(d->ports[i]);
		arp_close(d->arps[i]);
	}
	tun_close(d->tun);
	routes_free(d->routes);
	filter_free(d->filter);
	netlink_close(d->netlink);
	cluster_free(d->cluster);
	while ((change = STAILQ_FIRST(&d->units))) {
		STAILQ_REMOVE_HEAD(&d->units, next);
		free(change);
	}
	free_event(d->settle);
	free_event(d->timer);
	free_event(d->lease);
	free_event(d->leave);
	free_event(d->on_term);
	free_event(d->on_int);
	free_event(d->on_hup);
	if (d->base)
		event_base_free(d->base);
	free(d);
}
