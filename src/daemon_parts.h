/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the daemon: what its files share, and nobody else sees.
 *
 *   daemon.c          the loop: what has happened, who has to be told
 *   daemon_effects.c  what the core, the interconnect, the packet path and the tunnels
 *                     call
 *   daemon_path.c     the packet path, and what members hand each other
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
#include "src/guard.h"
#include "src/fragments.h"
#include "src/link.h"
#include "src/ndp.h"
#include "src/meter.h"
#include "src/netlink.h"
#include "src/port.h"
#include "src/reach.h"
#include "src/refusal.h"
#include "src/pathmtu.h"
#include "src/peers.h"
#include "src/routes.h"
#include "src/status.h"
#include "src/tun.h"
#include "src/waiting.h"

#define LEASE_EVERY_MS 20
#define DAEMON_AUDITED 4
#define LOAD_EVERY_S 2
#define SETTLE_INTERVALS 3 /* detection intervals without work when carrier is back */
#define SETTLE_LEAST (1500 * MONO_MS) /* and at least this long */

struct unit_change {
	STAILQ_ENTRY(unit_change) next;
	struct unit_set gained, lost;
	uint32_t activation;
};

/* A member that wants to join: the tunnels are asked. */
struct daemon_wish {
	member_id id;
	uint64_t incarnation;
};

struct daemon {
	const struct conf *conf;
	const struct conf_member *self;
	struct keeper_page *page;
	struct event_base *base;
	struct event *settle, *timer, *lease, *leave, *on_term, *on_int, *on_hup;
	struct event *load;
	struct cluster *cluster;
	struct activation *activation;
	struct links *links;
	struct filter *filter;
	struct netlink *netlink;
	struct netlink_watch *watch;
	struct reach *reach;
	struct routes *routes;
	struct guard *guard;
	struct peers *peers;
	struct tun *tun;
	struct pathmtu *pathmtu;
	struct port *ports[CONF_NETWORKS_MAX];
	struct arp *arps[CONF_NETWORKS_MAX];
	struct ndp *ndps[CONF_NETWORKS_MAX]; /* NULL: a network without IPv6 */
	struct control *control;
	struct status_tunnel tunnels[1];
	unsigned ntunnels;
	struct mono started;
	struct meter meter;
	struct mono metered;		/* when it was last read */
	uint16_t owners[CLUSTER_UNITS]; /* as the filter knows them */

	struct waiting *waiting;
	struct fragments *fragments;
	struct refusal_log fragments_refused;
	uint64_t audit[DAEMON_AUDITED]; /* what the log has told of the filter's drops */
	struct mono audited;
	struct unit_set active;		     /* and the tunnels know it */
	struct mono released[CLUSTER_UNITS]; /* 0: never, or by being fenced */
	bool rewait, urge;
	struct mono shown; /* when the others were told this member's MACs last */
	struct {
		uint64_t handed, unsent, received;
		uint64_t refused; /* malformed */
		uint64_t dropped; /* nobody is known who would take it */
	} path;

	bool running[CONF_NETWORKS_MAX]; /* networks with carrier */
	bool drained;			 /* as it stands on disk */
	bool was_cut;			 /* one of them has lost it before */
	struct mono settled; /* not able before: what was cut off listens first */
	int state_error;     /* -errno: the activation number could not be stored */
	bool peers_grave; /* a peer of transport mode might be answered in clear */
	bool tunnel_able;
	char tunnel_why[128];
	struct refusal_log refusals[CLUSTER_MEMBERS_MAX][2]; /* [member][fault] */

	struct daemon_wish wishes[CLUSTER_MEMBERS_MAX];
	unsigned nwishes;
	char barred[CLUSTER_MEMBERS_MAX][256]; /* as the log says */
	struct conf *published; /* newer than `conf`: for members that join; or NULL */
	struct {
		uint8_t *text; /* NULL: none has come */
		size_t len;
		uint32_t version;
		member_id from;
	} fetched;
	char config_why[640]; /* why it could not be used; "" if it could */

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
void daemon_on_load(evutil_socket_t fd, short what, void *arg);
void daemon_on_lease(evutil_socket_t fd, short what, void *arg);
void daemon_on_leave_timeout(evutil_socket_t fd, short what, void *arg);
void daemon_on_stop(evutil_socket_t signal, short what, void *arg);
void daemon_on_reload(evutil_socket_t signal, short what, void *arg);

/* Something may have been set for peers of transport mode, or not. */
void daemon_look_at_peers(struct daemon *d);

/* daemon_members.c; the first five are upcalls of the core. */
void daemon_join_asked(void *ctx, member_id id, const char *name, uint64_t incarnation);
void daemon_joined(void *ctx, member_id id);
void daemon_departed(void *ctx, member_id id, const char *why);
size_t daemon_config_text(void *ctx, uint8_t *out, size_t size);
void daemon_config(void *ctx, member_id from, uint32_t version, const uint8_t *text,
		   size_t len);
/* One thing of what they have brought. False: nothing. */
bool daemon_members_settle(struct daemon *d);
/* Who is not let in, and why. */
void daemon_members_log(struct daemon *d);

/* daemon_path.c */
int daemon_path_make(struct daemon *d);
/* pathmtu_handler */
void daemon_path_too_long(void *ctx, const uint8_t *quoted, size_t len, unsigned mtu);
/* Looks again after what waits; and now and then after what waits for too long. */
void daemon_path_review(struct daemon *d);
void daemon_path_tick(struct daemon *d);
/* The core has changed this member's units; and the tunnels have activated some. */
void daemon_path_units(struct daemon *d, const struct unit_set *gained,
		       const struct unit_set *lost);
void daemon_path_activated(struct daemon *d, const struct unit_set *gained);
/* A clear packet that a tunnel could not finish: see struct tunnel_host. */
void daemon_path_again(void *ctx, unit_id unit, const uint8_t *ip, size_t len,
		       unsigned hops);
/* Mode forwarding: tells a member where this one is. */
void daemon_path_show(struct daemon *d, member_id to);
/* Of links_packet(). */
void daemon_path_handed(void *ctx, member_id from, uint8_t *message, size_t len);
/* Tells the log of what the filter has dropped. To be called now and then. */
void daemon_path_audit(struct daemon *d);
size_t daemon_path_statistics(const struct daemon *d, struct statistic *out, size_t max);

/* The callbacks, with the daemon as their context. */
extern const struct cluster_io daemon_cluster_io;
extern const struct link_ops daemon_link_ops;
extern const struct port_handler daemon_port_handler;
extern const struct tun_handler daemon_tun_handler;
extern const struct tunnel_host daemon_tunnel_host;
extern const struct guard_handler daemon_guard_handler;
netlink_changed daemon_on_carrier;
/* Whether this member can work may have changed. Takes the daemon. */
void daemon_want_able(void *ctx);
control_handler daemon_on_command;

#endif
