/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the daemon: what its files share, and nobody else sees.
 *
 *   daemon.c          the loop: what has happened, who has to be told
 *   daemon_effects.c  what the core, the interconnect, the packet path and the tunnels
 *                     call
 *   daemon_make.c     making and unmaking
 */
#ifndef SRC_DAEMON_PARTS_H
#define SRC_DAEMON_PARTS_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "src/arp.h"
#include "src/control.h"
#include "src/daemon.h"
#include "src/filter.h"
#include "src/link.h"
#include "src/ndp.h"
#include "src/netlink.h"
#include "src/port.h"
#include "src/refusal.h"
#include "src/routes.h"
#include "src/status.h"
#include "src/tun.h"

#define LEASE_EVERY_MS 20
#define SETTLE_INTERVALS 3 /* detection intervals without work when carrier is back */
#define SETTLE_LEAST (1500 * MONO_MS) /* and at least this long */

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
	struct activation *activation;
	struct links *links;
	struct filter *filter;
	struct netlink *netlink;
	struct netlink_watch *watch;
	struct routes *routes;
	struct tun *tun;
	struct port *ports[CONF_NETWORKS_MAX];
	struct arp *arps[CONF_NETWORKS_MAX];
	struct ndp *ndps[CONF_NETWORKS_MAX]; /* NULL: a network without IPv6 */
	struct control *control;
	struct status_tunnel tunnels[1];
	unsigned ntunnels;
	struct mono started;
	uint16_t owners[CLUSTER_UNITS]; /* as the filter knows them */

	bool running[CONF_NETWORKS_MAX]; /* networks with carrier */
	bool drained;			 /* as it stands on disk */
	bool was_cut;			 /* one of them has lost it before */
	struct mono settled; /* not able before: what was cut off listens first */
	int state_error;     /* -errno: the activation number could not be stored */
	bool tunnel_able;
	char tunnel_why[128];
	struct refusal_log refusals[CLUSTER_MEMBERS_MAX][2]; /* [member][fault] */

	STAILQ_HEAD(, unit_change) units;
	bool able_changed, committed, table, role, leaving;
	int status;
};

/* CLOCK_MONOTONIC. Takes the daemon, for struct tunnel_host. */
struct mono daemon_now(void *ctx);
/* Notes that there is something to tell: daemon_settle() follows when the event has
 * ended. */
void daemon_want_settle(void *ctx);
/* Tells everybody what has happened until nothing is left, and arms the timer. */
void daemon_settle(struct daemon *d);

/* Events of the loop. */
void daemon_on_settle(evutil_socket_t fd, short what, void *arg);
void daemon_on_timer(evutil_socket_t fd, short what, void *arg);
void daemon_on_lease(evutil_socket_t fd, short what, void *arg);
void daemon_on_leave_timeout(evutil_socket_t fd, short what, void *arg);
void daemon_on_stop(evutil_socket_t signal, short what, void *arg);
void daemon_on_reload(evutil_socket_t signal, short what, void *arg);

/* The callbacks, with the daemon as their context. */
extern const struct cluster_io daemon_cluster_io;
extern const struct link_ops daemon_link_ops;
extern const struct port_handler daemon_port_handler;
extern const struct tun_handler daemon_tun_handler;
extern const struct tunnel_host daemon_tunnel_host;
netlink_changed daemon_on_carrier;
control_handler daemon_on_command;

#endif
