/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/activation.h"
#include "src/daemon_parts.h"
#include "src/log.h"
#include "src/operate.h"
#include "src/sessions.h"

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

/* The interconnect logs it, with the member's name. */
static void io_give_up(void *ctx, member_id to)
{
	struct daemon *d = ctx;

	if (d->links)
		links_break(d->links, to);
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	if (RAND_bytes(out, (int)len) != 1)
		fatalx("no random numbers");
}

static int io_save_activation(void *ctx, uint32_t number)
{
	struct daemon *d = ctx;
	int err = activation_use(d->activation, number);

	/* The core tries again and again. */
	if (err && err != d->state_error)
		log_warnx("cannot store activation number %u in %s: %s; no unit is taken "
			  "until it can",
			  number, d->conf->state_directory, strerror(-err));
	else if (!err && d->state_error)
		log_info("the activation number can be stored again");
	d->state_error = err;
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
	daemon_path_units(d, gained, lost);
	daemon_want_settle(d);
}

static void io_table(void *ctx)
{
	struct daemon *d = ctx;

	d->table = true;
	daemon_want_settle(d);
}

static const struct status_tunnel *tunnel_of(struct daemon *d, const struct session *s)
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
		t->ops->changed(t->tunnel, s, daemon_now(d));
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
	daemon_want_settle(d);
}

static enum cluster_merge io_merge(void *ctx, const struct session *ours,
				   const struct session *theirs,
				   uint64_t counters[CLUSTER_COUNTERS])
{
	struct daemon *d = ctx;
	const struct status_tunnel *t = tunnel_of(d, ours ? ours : theirs);

	if (!t || !t->ops->merge)
		return CLUSTER_OURS;
	return t->ops->merge(t->tunnel, ours, theirs, counters);
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
	struct daemon *d = ctx;
	const struct status_tunnel *t = tunnel_of(d, s);

	if (t)
		t->ops->counted(t->tunnel, s);
	io_committed(d);
}

static void fill_source(struct daemon *d, struct status_source *source);

/* It concerns tunnels only, which look after it when the core's call has returned. */
static int io_asked(void *ctx, const struct cluster_asker *asker, unit_id unit,
		    const struct session_key *key, const uint8_t *what, size_t len)
{
	struct daemon *d = ctx;
	struct status_source source;
	int rc;

	fill_source(d, &source);
	rc = sessions_asked(&source, unit, key, what, len);
	for (unsigned i = 0; i < d->ntunnels && rc == -EOPNOTSUPP; i++)
		if (d->tunnels[i].ops->owns(key->type) && d->tunnels[i].ops->asked)
			rc = d->tunnels[i].ops->asked(d->tunnels[i].tunnel, asker, unit,
						      key, what, len);
	io_committed(d);
	return rc;
}

static void io_noticed(void *ctx, member_id from, const uint8_t *what, size_t len)
{
	struct daemon *d = ctx;

	for (unsigned i = 0; i < d->ntunnels; i++)
		if (d->tunnels[i].ops->noticed)
			d->tunnels[i].ops->noticed(d->tunnels[i].tunnel, from, what, len);
}

static bool io_engaged(void *ctx, unit_id unit)
{
	struct daemon *d = ctx;
	struct mono now = daemon_now(d);

	for (unsigned i = 0; i < d->ntunnels; i++)
		if (d->tunnels[i].ops->engaged &&
		    d->tunnels[i].ops->engaged(d->tunnels[i].tunnel, unit, now))
			return true;
	return false;
}

static void io_role(void *ctx)
{
	struct daemon *d = ctx;

	d->role = true;
	d->table = true;
	daemon_want_settle(d);
}

/* A peer that goes on and on fills neither the log nor our time. */
static void io_refused(void *ctx, member_id from, const char *why, bool fault)
{
	struct daemon *d = ctx;
	const struct conf_member *m = conf_member_with_id(d->conf, from);
	unsigned unsaid;

	if (!m || (!fault && !log_wants(LOG_LEVEL_DEBUG)) ||
	    !refusal_log_due(&d->refusals[m - d->conf->members][fault], daemon_now(d),
			     &unsaid))
		return;
	if (fault)
		log_warnx("refused a message of %s: %s; %u more since the last line",
			  m->name, why, unsaid);
	else
		log_debug("refused a message of %s: %s; %u more", m->name, why, unsaid);
}

static void io_log(void *ctx, const char *line)
{
	log_debug("%s", line);
}

const struct cluster_io daemon_cluster_io = {
	.datagram = io_datagram,
	.stream = io_stream,
	.give_up = io_give_up,
	.random = io_random,
	.save_activation = io_save_activation,
	.units = io_units,
	.table = io_table,
	.changed = io_changed,
	.removed = io_removed,
	.committed = io_committed,
	.counted = io_counted,
	.merge = io_merge,
	.role = io_role,
	.refused = io_refused,
	.log = io_log,
	.join_asked = daemon_join_asked,
	.joined = daemon_joined,
	.departed = daemon_departed,
	.config_text = daemon_config_text,
	.config = daemon_config,
	.asked = io_asked,
	.noticed = io_noticed,
	.engaged = io_engaged,
};

/* The interconnect. */

static void link_datagram(void *ctx, member_id from, const uint8_t *msg, size_t len)
{
	struct daemon *d = ctx;

	cluster_recv_datagram(d->cluster, from, msg, len, daemon_now(d));
	daemon_settle(d);
}

static void link_stream(void *ctx, member_id from, const uint8_t *msg, size_t len)
{
	struct daemon *d = ctx;

	cluster_recv_stream(d->cluster, from, msg, len, daemon_now(d));
	daemon_settle(d);
}

static void link_state(void *ctx, member_id peer, bool up)
{
	struct daemon *d = ctx;

	cluster_link(d->cluster, peer, up, daemon_now(d));
	if (up)
		daemon_path_show(d, peer);
	daemon_settle(d);
}

const struct link_ops daemon_link_ops = {
	.datagram = link_datagram,
	.stream = link_stream,
	.state = link_state,
	.packet = daemon_path_handed,
};

/* Carrier. */

/*
 * How long a member whose carrier is back listens: for some keepalives of the others, and
 * for the kernel's ARP, which repeats an unanswered request every second.
 */
static uint64_t settle_time(const struct daemon *d)
{
	uint64_t intervals = SETTLE_INTERVALS * d->conf->detection_interval * MONO_MS;

	return intervals > SETTLE_LEAST ? intervals : SETTLE_LEAST;
}

void daemon_want_able(void *ctx)
{
	struct daemon *d = ctx;

	d->able_changed = true;
	daemon_want_settle(d);
}

/*
 * A member that was cut off may think that it is the only one. Before it serves again, it
 * gives itself the time to hear the others.
 */
static void settle_carrier(struct daemon *d, bool running)
{
	if (!running)
		d->was_cut = true;
	else if (d->was_cut)
		d->settled = mono_add(daemon_now(d), settle_time(d));
}

void daemon_on_carrier(void *ctx, unsigned which, bool running)
{
	struct daemon *d = ctx;

	if (d->running[which] != running) {
		log_info("%s: %s", d->conf->networks[which].interface,
			 running ? "carrier" : "no carrier");
		settle_carrier(d, running);
	}
	d->running[which] = running;
	daemon_want_able(d);
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

static void host_route_add(void *ctx, const struct address *prefix, unsigned len,
			   unit_id unit)
{
	struct daemon *d = ctx;

	routes_add(d->routes, prefix, len, unit);
}

static void host_route_remove(void *ctx, const struct address *prefix, unsigned len,
			      unit_id unit)
{
	struct daemon *d = ctx;

	routes_remove(d->routes, prefix, len, unit);
}

static void host_peer_add(void *ctx, const struct address *peer, uint8_t protocol,
			  uint16_t port)
{
	struct daemon *d = ctx;

	peers_add(d->peers, peer, protocol, port);
	daemon_look_at_peers(d);
}

void daemon_look_at_peers(struct daemon *d)
{
	bool grave;

	peers_failure(d->peers, &grave);
	if (grave == d->peers_grave)
		return;
	d->peers_grave = grave;
	daemon_want_able(d);
}

static void host_peer_remove(void *ctx, const struct address *peer, uint8_t protocol,
			     uint16_t port)
{
	struct daemon *d = ctx;

	peers_remove(d->peers, peer, protocol, port);
	daemon_look_at_peers(d);
}

static void host_pool_add(void *ctx, const struct address *prefix, unsigned len)
{
	struct daemon *d = ctx;

	routes_protect(d->routes, ROUTES_POOL, prefix, len);
}

static void host_protect(void *ctx, const struct address_block *list, unsigned count)
{
	struct daemon *d = ctx;

	guard_report(d->guard, list, count, daemon_now(d));
}

/* The next one in the order of ids, so that each has its turn. */
static int host_pass_on(void *ctx, unit_id unit)
{
	struct daemon *d = ctx;
	struct cluster_member_state m[CLUSTER_MEMBERS_MAX];
	unsigned n = cluster_members(d->cluster, m, CLUSTER_MEMBERS_MAX, daemon_now(d));
	member_id self = 0, to = 0;
	uint32_t ticket;
	int err;

	for (unsigned i = 0; i < n; i++)
		if (m[i].self)
			self = m[i].id;
	for (unsigned i = 0; i < n; i++) {
		if (m[i].self || !m[i].present || !m[i].able || !m[i].complete)
			continue;
		if (!to || (uint16_t)(m[i].id - self) < (uint16_t)(to - self))
			to = m[i].id;
	}
	if (!to)
		return -EHOSTDOWN;
	err = cluster_move(d->cluster, unit, to, &ticket, daemon_now(d));
	return err == -EINPROGRESS || err == -EALREADY ? 0 : err;
}

static void host_able(void *ctx, bool able, const char *why)
{
	struct daemon *d = ctx;

	d->tunnel_able = able;
	if (!able)
		guard_alone(d->guard);
	snprintf(d->tunnel_why, sizeof(d->tunnel_why), "%s", why);
	daemon_want_able(d);
}

const struct tunnel_host daemon_tunnel_host = {
	.send_outside = host_send_outside,
	.send_inside = host_send_inside,
	.route_add = host_route_add,
	.route_remove = host_route_remove,
	.peer_add = host_peer_add,
	.peer_remove = host_peer_remove,
	.pool_add = host_pool_add,
	.protect = host_protect,
	.pass_on = host_pass_on,
	.able = host_able,
	.again = daemon_path_again,
	.settle = daemon_want_settle,
	.now = daemon_now,
};

/* What is protected whether there is a session or not. */

static void guard_protect(void *ctx, const struct address_block *b)
{
	struct daemon *d = ctx;

	routes_protect(d->routes, ROUTES_POLICY, &b->first, b->len);
}

static void guard_unprotect(void *ctx, const struct address_block *b)
{
	struct daemon *d = ctx;

	routes_unprotect(d->routes, ROUTES_POLICY, &b->first, b->len);
}

const struct guard_handler daemon_guard_handler = {
	.protect = guard_protect,
	.unprotect = guard_unprotect,
};

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
	n += daemon_path_statistics(d, out + n, max - n);
	n += tun_statistics(d->tun, out + n, max - n);
	for (unsigned i = 0; i < d->conf->nnetworks; i++) {
		n += port_statistics(d->ports[i], out + n, max - n);
		n += arp_statistics(d->arps[i], out + n, max - n);
		if (d->ndps[i])
			n += ndp_statistics(d->ndps[i], out + n, max - n);
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

static bool link_of(void *ctx, member_id peer, struct link_status *out)
{
	struct daemon *d = ctx;

	return links_status_of(d->links, peer, out);
}

static void fill_source(struct daemon *d, struct status_source *source)
{
	bool grave;

	*source = (struct status_source){
		.conf = d->conf,
		.cluster = d->cluster,
		.self = d->self->id,
		.started = d->started,
		.tunnels = d->tunnels,
		.ntunnels = d->ntunnels,
		.statistics = more_statistics,
		.network_up = network_up,
		.remark = peers_failure(d->peers, &grave),
		.link = link_of,
		.ctx = d,
	};
}

json_t *daemon_on_command(void *ctx, const char *command, const json_t *arguments)
{
	struct daemon *d = ctx;
	struct status_source source;
	json_t *reply;

	fill_source(d, &source);
	reply = status_reply(&source, command, arguments, daemon_now(d));

	if (reply)
		return reply;
	/* A command: what it causes is told when the client has its answer. */
	daemon_want_settle(d);
	d->committed = true;
	reply = sessions_order(&source, command, arguments, daemon_now(d));
	if (reply)
		return reply;
	return operate_reply(d->cluster, d->conf, command, arguments, daemon_now(d));
}
