/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/activation.h"
#include "src/conf_shared.h"
#include "src/daemon_parts.h"
#include "src/drained.h"
#include "src/log.h"
#include "src/neighbour.h"
#include "tunnels/ipsec/ipsec.h"

#define DEATH_NOTE_MAX 128

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
	d->settle = event_new(d->base, -1, 0, daemon_on_settle, d);
	d->timer = evtimer_new(d->base, daemon_on_timer, d);
	d->lease = event_new(d->base, -1, EV_PERSIST, daemon_on_lease, d);
	d->load = event_new(d->base, -1, EV_PERSIST, daemon_on_load, d);
	d->leave = evtimer_new(d->base, daemon_on_leave_timeout, d);
	d->on_term = evsignal_new(d->base, SIGTERM, daemon_on_stop, d);
	d->on_int = evsignal_new(d->base, SIGINT, daemon_on_stop, d);
	d->on_hup = evsignal_new(d->base, SIGHUP, daemon_on_reload, d);
	if (!d->settle || !d->timer || !d->lease || !d->load || !d->leave ||
	    !d->on_term || !d->on_int || !d->on_hup)
		return -ENOMEM;
	evsignal_add(d->on_term, NULL);
	evsignal_add(d->on_int, NULL);
	evsignal_add(d->on_hup, NULL);
	event_add(d->load, &(struct timeval){ .tv_sec = LOAD_EVERY_S });
	event_add(d->lease, &(struct timeval){ .tv_usec = LEASE_EVERY_MS * 1000 });
	return 0;
}

static int make_cluster(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	struct cluster_io io = daemon_cluster_io;
	struct cluster_config config = {
		.self = d->self->id,
		.detection = d->conf->detection_interval * MONO_MS,
		.capacity = d->conf->capacity,
		.moves = d->conf->moves_per_round,
		.balance = d->conf->balance_interval * MONO_MS,
		.hold_back = d->conf->hold_back * MONO_MS,
		.npeers = d->conf->nmembers,
		.drained = drained_read(d->conf->state_directory),
	};

	if (conf_shared_digest(d->conf, &config.shared)) {
		snprintf(err, DAEMON_ERROR_SIZE, "out of memory");
		return -ENOMEM;
	}
	io.ctx = d;
	d->drained = config.drained;
	d->activation =
	    activation_open(d->conf->state_directory, &config.activation, err);
	if (!d->activation)
		return -EIO;
	for (unsigned i = 0; i < d->conf->nmembers; i++) {
		config.peers[i].id = d->conf->members[i].id;
		memcpy(config.peers[i].name, d->conf->members[i].name,
		       sizeof(config.peers[i].name));
	}
	d->cluster = cluster_new(&config, &io, daemon_now(d));
	if (!d->cluster) {
		snprintf(err, DAEMON_ERROR_SIZE, "out of memory");
		return -ENOMEM;
	}
	return 0;
}

_Static_assert(CONF_PATHS_MAX <= LINK_PATHS_MAX, "all addresses are used");

/* Returns how many networks the member is on. */
static unsigned endpoints(const struct conf_member *m, struct endpoint *at)
{
	for (unsigned i = 0; i < m->naddresses; i++) {
		struct sockaddr_in *sin = (struct sockaddr_in *)&at[i].address;

		at[i].addresslen = sizeof(*sin);
		sin->sin_family = AF_INET;
		sin->sin_addr = m->addresses[i];
		sin->sin_port = htons(m->port);
	}
	return m->naddresses;
}

/* What was sent in the first half of a detection interval after a line was mended arrives
 * within it. */
static void hasten_neighbours(struct daemon *d)
{
	for (unsigned i = 0; i < d->self->naddresses; i++) {
		struct in_addr own = d->self->addresses[i];
		int failed =
		    neighbour_hasten(d->netlink, own, d->conf->detection_interval / 2);
		char text[INET_ADDRSTRLEN];

		/* Without its interface there is nobody to look for. */
		if (failed && failed != -EADDRNOTAVAIL)
			log_warnx("how often ARP asks for members, from %s: %s",
				  inet_ntop(AF_INET, &own, text, sizeof(text)),
				  strerror(-failed));
	}
}

static int make_links(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	struct link_ops ops = daemon_link_ops;
	struct link_config config = {
		.self = d->self->id,
		.detection_ms = d->conf->detection_interval,
		.cert = d->conf->certificate,
		.key = d->conf->key,
		.ca = d->conf->authority,
		.npeers = d->conf->nmembers,
	};
	uint8_t note[DEATH_NOTE_MAX];
	size_t len = cluster_death_note(d->cluster, note, sizeof(note));

	config.npaths = endpoints(d->self, config.bind);
	for (unsigned i = 0; i < d->conf->nmembers; i++) {
		config.peers[i].id = d->conf->members[i].id;
		memcpy(config.peers[i].name, d->conf->members[i].name,
		       sizeof(config.peers[i].name));
		config.peers[i].npaths =
		    endpoints(&d->conf->members[i], config.peers[i].at);
	}
	hasten_neighbours(d);
	ops.ctx = d;
	d->links = links_new(d->base, &config, &ops, err);
	if (!d->links)
		return -EIO;
	if (links_death_note(d->links, note, len, d->page))
		log_warnx("no death note: a crash is noticed by missing keepalives only");
	return 0;
}

_Static_assert(CONF_NETWORKS_MAX <= UNIT_NETWORKS_MAX &&
		   CONF_NETWORKS_MAX * CONF_ADDRESSES_MAX <= UNIT_ADDRESSES_MAX &&
		   CONF_ADDRESSES_MAX <= ARP_ADDRESSES_MAX &&
		   CONF_ADDRESSES_MAX <= NDP_ADDRESSES_MAX,
	       "whatever may be configured fits");

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
		config.networks[i].forwarding = d->conf->mode == CONF_FORWARDING;
		config.networks[i].outside = i == 0; /* where tunnels send, too */
		for (unsigned a = 0; a < n->naddresses; a++)
			config.addresses[config.address_count++] = n->addresses[a];
	}
	d->filter = filter_new(&config, err);
	return d->filter ? 0 : -EIO;
}

/* The cluster's addresses there, as they are answered for: ARP and neighbour discovery. */
static int make_neighbours(struct daemon *d, unsigned i, char err[DAEMON_ERROR_SIZE])
{
	const struct conf_network *n = &d->conf->networks[i];
	struct arp_config arp = { .ifname = n->interface };
	struct ndp_config ndp = { .ifname = n->interface };

	memcpy(arp.cluster_mac, n->mac, 6);
	if (d->conf->mode == CONF_FORWARDING)
		filter_own_mac(d->filter, i, arp.cluster_mac);
	memcpy(ndp.cluster_mac, arp.cluster_mac, 6);
	for (unsigned a = 0; a < n->naddresses; a++) {
		const struct address *address = &n->addresses[a];

		if (address->family == AF_INET6)
			ndp.addresses[ndp.address_count++] = *address;
		else
			memcpy(&arp.addresses[arp.address_count++], address->bytes, 4);
	}
	d->arps[i] = arp_open(d->base, &arp, err);
	if (ndp.address_count)
		d->ndps[i] = ndp_open(d->base, &ndp, err);
	return d->arps[i] && (d->ndps[i] || !ndp.address_count) ? 0 : -EIO;
}

static int make_network(struct daemon *d, unsigned i, char err[DAEMON_ERROR_SIZE])
{
	const struct rtable table = { d->netlink, d->conf->tunnel.table,
				      tun_ifindex(d->tun) };
	struct port_handler handler = daemon_port_handler;
	const struct conf_network *n = &d->conf->networks[i];

	handler.ctx = d;
	for (unsigned a = 0; a < n->naddresses; a++) {
		const struct address *address = &n->addresses[a];
		char text[ADDRESS_TEXT_MAX];
		int failed =
		    netlink_address_add(d->netlink, "lo", address,
					8 * (unsigned)address_size(address->family));

		if (failed) {
			snprintf(err, DAEMON_ERROR_SIZE, "cluster address %s on lo: %s",
				 address_print(address, text), strerror(-failed));
			return failed;
		}
		failed = rtable_peer_rule(&table, address);
		if (failed) {
			snprintf(err, DAEMON_ERROR_SIZE, "routing rule from %s: %s",
				 address_print(address, text), strerror(-failed));
			return failed;
		}
	}
	if (filter_attach(d->filter, i, err))
		return -EIO;
	d->ports[i] = port_open_packet(d->base, d->filter, i, &handler, err);
	return d->ports[i] ? make_neighbours(d, i, err) : -EIO;
}

/* Before the filter takes the place of an earlier one, which drops what is protected. */
static int make_routes(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	const struct rtable table = { d->netlink, d->conf->tunnel.table,
				      tun_ifindex(d->tun) };
	struct guard_handler handler = daemon_guard_handler;
	int failed = rtable_begin(&table);

	if (failed) {
		snprintf(err, DAEMON_ERROR_SIZE,
			 "routing rules for table %u: %s (CONFIG_IP_MULTIPLE_TABLES)",
			 table.number, strerror(-failed));
		return failed;
	}
	handler.ctx = d;
	d->routes = routes_new(d->filter, &table);
	d->peers = peers_new(d->filter, &table, daemon_now(d));
	d->guard = d->routes ? guard_open(d->conf->state_directory, &handler) : NULL;
	if (!d->guard || !d->peers) {
		snprintf(err, DAEMON_ERROR_SIZE, "out of memory");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < d->conf->nprotect; i++)
		routes_protect(d->routes, ROUTES_CONF, &d->conf->protect[i].first,
			       d->conf->protect[i].len);
	routes_look(d->routes);
	return 0;
}

static bool is_no_cluster_address(void *ctx, const struct address *address)
{
	const struct conf *conf = ctx;

	for (unsigned i = 0; i < conf->nnetworks; i++)
		for (unsigned a = 0; a < conf->networks[i].naddresses; a++)
			if (address_same(&conf->networks[i].addresses[a], address))
				return false;
	return true;
}

static int make_networks(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	const struct rtable table = { d->netlink, d->conf->tunnel.table,
				      tun_ifindex(d->tun) };
	int failed = 0;

	for (unsigned i = 0; !failed && i < d->conf->nnetworks; i++)
		failed = make_network(d, i, err);
	if (failed)
		return failed;
	failed = rtable_peer_rules_sweep(&table, is_no_cluster_address, (void *)d->conf);
	if (failed)
		snprintf(err, DAEMON_ERROR_SIZE, "routing rules of an earlier run: %s",
			 strerror(-failed));
	return failed;
}

static int make_path(struct daemon *d, int lease_fd, char err[DAEMON_ERROR_SIZE])
{
	struct tun_handler handler = daemon_tun_handler;
	const char *names[CONF_NETWORKS_MAX];
	int failed = netlink_open(&d->netlink);

	handler.ctx = d;
	if (failed) {
		snprintf(err, DAEMON_ERROR_SIZE, "netlink: %s", strerror(-failed));
		return failed;
	}
	/* First what only one daemon can have: then nothing of another's is replaced. */
	d->tun =
	    tun_open(d->base, d->conf->tunnel.device, d->conf->tunnel.mtu, &handler, err);
	if (!d->tun)
		return -EIO;
	failed = make_filter(d, lease_fd, err);
	if (!failed)
		failed = make_routes(d, err);
	if (!failed)
		failed = make_networks(d, err);
	if (failed)
		return failed;
	for (unsigned i = 0; i < d->conf->nnetworks; i++)
		names[i] = d->conf->networks[i].interface;
	d->watch =
	    netlink_watch_new(d->base, names, d->conf->nnetworks, daemon_on_carrier, d);
	d->pathmtu = pathmtu_open(d->base, daemon_path_too_long, d);
	if (!d->pathmtu) {
		snprintf(err, DAEMON_ERROR_SIZE, "cannot listen to ICMP errors: %s",
			 strerror(errno));
		return -EIO;
	}
	d->reach = reach_new(d->base, d->netlink, d->conf, daemon_want_able, d);
	if (!d->watch || !d->reach) {
		snprintf(err, DAEMON_ERROR_SIZE, "cannot watch the interfaces");
		return -EIO;
	}
	return 0;
}

static int make_tunnels(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	struct tunnel_host host = daemon_tunnel_host;
	struct netlink_link outside = { 0 };
	struct ipsec_config config = {
		.socket = d->conf->ipsec.socket,
		.inbound_commit = d->conf->ipsec.inbound_commit,
		.replay_window = d->conf->ipsec.replay_window,
		.mss = d->conf->ipsec.mss,
		.address_hold_back = d->conf->ipsec.address_hold_back,
		.detection = d->conf->detection_interval * MONO_MS,
	};
	struct ipsec *ipsec;

	host.ctx = d;
	host.cluster = d->cluster;
	host.base = d->base;
	host.self = d->self->id;
	if (!netlink_link_get(d->netlink, d->conf->networks[0].interface, &outside))
		config.mtu = outside.mtu;
	ipsec = ipsec_new(&host, &config, err);
	if (!ipsec)
		return -EIO;
	d->tunnels[d->ntunnels++] = (struct status_tunnel){ &ipsec_ops, ipsec };
	return 0;
}

static int make_control(struct daemon *d, char err[DAEMON_ERROR_SIZE])
{
	char path[CONF_PATH_MAX + 32];

	return control_open(d->base, conf_control_path(d->conf, path, sizeof(path)),
			    daemon_on_command, d, &d->control, err);
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
	d->started = daemon_now(d);
	STAILQ_INIT(&d->units);
	if (daemon_path_make(d) || make_events(d) || make_cluster(d, err) ||
	    make_path(d, lease_fd, err) || make_tunnels(d, err) || make_links(d, err) ||
	    make_control(d, err)) {
		daemon_free(d);
		return NULL;
	}
	return d;
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
	peers_stay(d->peers);
	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->close(d->tunnels[i].tunnel);
	d->ntunnels = 0;
	netlink_watch_free(d->watch);
	reach_free(d->reach);
	for (unsigned i = 0; i < CONF_NETWORKS_MAX; i++) {
		port_close(d->ports[i]);
		arp_close(d->arps[i]);
		ndp_close(d->ndps[i]);
	}
	tun_close(d->tun);
	pathmtu_close(d->pathmtu);
	guard_close(d->guard);
	routes_free(d->routes);
	peers_free(d->peers);
	filter_free(d->filter);
	waiting_free(d->waiting);
	fragments_free(d->fragments);
	netlink_close(d->netlink);
	cluster_free(d->cluster);
	activation_close(d->activation);
	conf_free(d->published);
	free(d->fetched.text);
	while ((change = STAILQ_FIRST(&d->units))) {
		STAILQ_REMOVE_HEAD(&d->units, next);
		free(change);
	}
	free_event(d->settle);
	free_event(d->timer);
	free_event(d->lease);
	free_event(d->load);
	free_event(d->leave);
	free_event(d->on_term);
	free_event(d->on_int);
	free_event(d->on_hup);
	if (d->base)
		event_base_free(d->base);
	free(d);
}
