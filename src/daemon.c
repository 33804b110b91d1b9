/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever happens ends in daemon_settle(): the core's callbacks only note what they saw,
 * since the core must not be called from inside; then the tunnels, the filter and ARP are
 * told, until nothing is left to tell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/daemon_parts.h"
#include "src/drained.h"
#include "src/log.h"

#define LEAVE_SECONDS 5
#define LEFT_USEC 100000 /* from the last unit's departure to our own */

struct mono daemon_now(void *ctx)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mono){ (uint64_t)ts.tv_sec * MONO_SEC + (uint64_t)ts.tv_nsec };
}

void daemon_want_settle(void *ctx)
{
	struct daemon *d = ctx;

	event_active(d->settle, 0, 0);
}

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
			t->ops->deactivate(t->tunnel, &change->lost, daemon_now(d));
		if (gained)
			t->ops->activate(t->tunnel, &change->gained, change->activation,
					 daemon_now(d));
	}
	daemon_path_activated(d, &change->gained);
	log_info("units: %u gained, %u lost, activation %u", gained, lost,
		 change->activation);
}

static void tell_filter(struct daemon *d)
{
	for (unsigned u = 0; u < CLUSTER_UNITS; u++) {
		struct cluster_unit_state state;

		cluster_unit(d->cluster, (unit_id)u, &state);
		/* What a dead member owned, the master takes, until it is assigned. */
		if (!cluster_present(d->cluster, state.owner))
			state.owner = UNIT_NOBODY;
		if (state.owner == d->owners[u])
			continue;
		d->owners[u] = state.owner;
		filter_set_owner(d->filter, (uint16_t)u, state.owner);
	}
}

/* The operator's wish outlives this run. */
static void keep_drained(struct daemon *d)
{
	bool drained = cluster_drained(d->cluster);
	int failed;

	if (drained == d->drained)
		return;
	d->drained = drained;
	log_info("%s by the operator", drained ? "drained" : "undrained");
	failed = drained_write(d->conf->state_directory, drained);
	if (failed)
		log_warnx("cannot note that in %s: %s; the next start will not know it",
			  d->conf->state_directory, strerror(-failed));
}

static void tell_role(struct daemon *d)
{
	enum cluster_role role = cluster_role(d->cluster);
	member_id master = cluster_master(d->cluster);
	const struct conf_member *m = conf_member_with_id(d->conf, master);

	log_info("%s, master %s, term %llu", cluster_role_name(role),
		 m ? m->name : "none",
		 (unsigned long long)(cluster_term(d->cluster) >> 16));
	filter_set_key(d->filter, cluster_fold_key(d->cluster));
	filter_set_master(d->filter, role == CLUSTER_MASTER);
	for (unsigned i = 0; i < d->conf->nnetworks; i++) {
		arp_set_master(d->arps[i], role == CLUSTER_MASTER);
		if (d->ndps[i])
			ndp_set_master(d->ndps[i], role == CLUSTER_MASTER);
	}
	/* What still arrives for the units that have gone is passed on. */
	if (role == CLUSTER_LEFT)
		event_add(d->leave, &(struct timeval){ .tv_usec = LEFT_USEC });
}

static void tell_able(struct daemon *d)
{
	char why[160] = "";

	for (unsigned i = 0; i < d->conf->nnetworks && !*why; i++)
		if (!d->running[i])
			snprintf(why, sizeof(why), "no carrier on %s",
				 d->conf->networks[i].interface);
	for (unsigned i = 0; i < d->conf->nnetworks && !*why; i++)
		if (reach_lost(d->reach, i))
			snprintf(why, sizeof(why), "no probe answers on %s",
				 d->conf->networks[i].interface);
	if (!*why && mono_before(daemon_now(d), d->settled))
		snprintf(why, sizeof(why), "a network is back, looking for the others");
	if (!*why && *d->config_why)
		snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, d->config_why);
	if (!*why && d->peers_grave)
		snprintf(why, sizeof(why), "%s",
			 peers_failure(d->peers, &d->peers_grave));
	if (!*why && !d->tunnel_able)
		snprintf(why, sizeof(why), "%s", d->tunnel_why);
	cluster_set_able(d->cluster, !*why, why, daemon_now(d));
}

static void renew_lease(struct daemon *d)
{
	if (cluster_lives(d->cluster, daemon_now(d)))
		filter_renew(d->filter, daemon_now(d).ns +
					    d->conf->detection_interval * MONO_MS / 2);
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
		keep_drained(d);
		daemon_members_log(d);
		d->rewait = !waiting_empty(d->waiting);
	} else if (d->role) {
		d->role = false;
		tell_role(d);
	} else if (d->committed) {
		d->committed = false;
		d->rewait = !waiting_empty(d->waiting);
		for (unsigned i = 0; i < d->ntunnels; i++)
			d->tunnels[i].ops->committed(d->tunnels[i].tunnel, daemon_now(d));
	} else if (d->urge) {
		d->urge = false;
		cluster_urge(d->cluster, daemon_now(d));
	} else if (d->rewait) {
		d->rewait = false;
		daemon_path_review(d);
	} else {
		return daemon_members_settle(d);
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
	wait = mono_since(at, daemon_now(d));
	if (wait > MONO_SEC)
		wait = MONO_SEC;
	tv.tv_sec = (time_t)(wait / MONO_SEC);
	tv.tv_usec = (suseconds_t)(wait % MONO_SEC / MONO_US);
	event_add(d->timer, &tv);
}

void daemon_settle(struct daemon *d)
{
	while (settle_one(d))
		;
	for (unsigned i = 0; i < d->conf->nnetworks; i++)
		if (d->ports[i])
			port_flush(d->ports[i]);
	arm(d);
}

void daemon_on_settle(evutil_socket_t fd, short what, void *arg)
{
	daemon_settle(arg);
}

void daemon_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	cluster_tick(d->cluster, daemon_now(d));
	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->tick(d->tunnels[i].tunnel, daemon_now(d));
	daemon_settle(d);
}

void daemon_on_lease(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	renew_lease(d);
	daemon_path_tick(d);
	if (d->settled.ns && !mono_before(daemon_now(d), d->settled)) {
		d->settled.ns = 0;
		d->able_changed = true;
		daemon_settle(d);
	}
}

static void tell_mtu(struct daemon *d)
{
	struct netlink_link outside;

	if (netlink_link_get(d->netlink, d->conf->networks[0].interface, &outside))
		return;
	for (unsigned i = 0; i < d->ntunnels; i++)
		if (d->tunnels[i].ops->mtu)
			d->tunnels[i].ops->mtu(d->tunnels[i].tunnel, outside.mtu);
}

static bool is_complete(struct daemon *d)
{
	struct cluster_member_state m[CLUSTER_MEMBERS_MAX];
	unsigned n = cluster_members(d->cluster, m, CLUSTER_MEMBERS_MAX, daemon_now(d));

	for (unsigned i = 0; i < n; i++)
		if (m[i].self)
			return m[i].present && m[i].complete;
	return false;
}

void daemon_on_load(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	struct unit_traffic traffic[CLUSTER_UNITS] = { { 0 } };
	uint32_t known[CLUSTER_UNITS], load[CLUSTER_UNITS], processor;
	struct mono now = daemon_now(d);
	struct meter_reading r = {
		.elapsed = d->metered.ns ? mono_since(now, d->metered) : 0,
		.traffic = traffic,
		.known = known,
	};
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	r.processor = (uint64_t)used.tv_sec * MONO_SEC + (uint64_t)used.tv_nsec;
	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->traffic(d->tunnels[i].tunnel, traffic);
	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		struct cluster_unit_state state;

		cluster_unit(d->cluster, u, &state);
		known[u] = state.traffic;
		if (state.served)
			unit_set_add(&r.owned, u);
	}
	tell_mtu(d);
	daemon_path_audit(d);
	guard_tick(d->guard, now);
	peers_tick(d->peers, is_complete(d), now);
	daemon_look_at_peers(d);
	routes_look(d->routes);
	meter_read(&d->meter, &r, load, &processor);
	d->metered = now;
	cluster_set_load(d->cluster, load, processor, now);
	daemon_settle(d);
}

void daemon_on_leave_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	if (cluster_role(d->cluster) == CLUSTER_LEFT) {
		event_base_loopbreak(d->base);
		return;
	}
	log_warnx("the units could not be handed over in %u s; leaving all the same",
		  LEAVE_SECONDS);
	d->status = 1;
	event_base_loopbreak(d->base);
}

void daemon_on_stop(evutil_socket_t signal, short what, void *arg)
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
	cluster_leave(d->cluster, daemon_now(d));
	daemon_settle(d);
}

int daemon_run(struct daemon *d)
{
	daemon_settle(d);
	log_info("member %s (id %u) of %u is up", d->self->name, d->self->id,
		 d->conf->nmembers);
	event_base_dispatch(d->base);
	/* Nothing of the cluster may reach the kernel once nobody works on it. */
	filter_renew(d->filter, 0);
	if (cluster_role(d->cluster) == CLUSTER_LEFT)
		keeper_leave(d->page);
	return d->status;
}
