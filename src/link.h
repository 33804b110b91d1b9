/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interconnect: a full mesh of links between the members.
 *
 * A link is one TLS 1.3 connection, with certificates on both ends, for ordered messages,
 * and datagrams sealed with keys that are exported from it. The member with the higher id
 * dials. A peer must show a certificate of the cluster's authority, in date, with a name
 * and an id from the list of valid members. A newer connection of a peer replaces the
 * older one. Datagram keys outlive a broken connection until a new one replaces them: a
 * lost connection alone is never a death.
 *
 * Members may be joined by several networks: address number i of two members lies in one
 * network, and the first one is preferred. Datagrams go over all of them at once, the
 * connection over the best. When its network fails, which takes half a detection interval
 * to find, a new connection over another network takes its place.
 *
 * Callbacks come from the event loop only, never from within a links_*() function. They
 * may call all functions but links_free().
 */
#ifndef SRC_LINK_H
#define SRC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>

#include "cluster/cluster.h"
#include "src/endpoint.h"
#include "src/keeper.h"

#define LINK_ERR 256
#define LINK_WHY 192
#define LINK_PACKET_MAX 9632
#define LINK_STATISTICS 48 /* at most as many names */
#define LINK_PATHS_MAX 4   /* networks */

struct link_peer {
	member_id id;
	char name[CLUSTER_NAME_MAX];
	unsigned npaths;		    /* at least 1 */
	struct endpoint at[LINK_PATHS_MAX]; /* same port for TCP and UDP */
};

/* The list of valid members may name this member too; that entry is only checked. */
struct link_config {
	member_id self;
	unsigned npaths; /* at least 1 */
	struct endpoint bind[LINK_PATHS_MAX];
	unsigned detection_ms; /* the cluster's; 0: 200 */
	/* So long a network must be good before the connection returns to it; 0: 5000. */
	unsigned hold_ms;
	const char *cert, *key, *ca; /* PEM files */
	unsigned npeers;
	struct link_peer peers[CLUSTER_MEMBERS_MAX];
};

/*
 * datagram  bytes are authentic and were not delivered before; order and arrival are not
 *           promised.
 * stream    in order, without gaps, while the link lasts.
 * packet    of links_packet(), authentic like a datagram; may be NULL. The bytes may be
 *           overwritten.
 * state     the link came up (empty, both ways), or broke. `up` may come twice: then a new
 *           connection has replaced the old one, and what was under way is lost.
 */
struct link_ops {
	void *ctx;
	void (*datagram)(void *ctx, member_id from, const uint8_t *msg, size_t len);
	void (*stream)(void *ctx, member_id from, const uint8_t *msg, size_t len);
	void (*state)(void *ctx, member_id peer, bool up);
	void (*packet)(void *ctx, member_id from, uint8_t *msg, size_t len);
};

struct links;

/* Listens and dials from now on; the process ignores SIGPIPE. Both structs are copied. NULL
 * and a text on failure. */
struct links *links_new(struct event_base *base, const struct link_config *config,
			const struct link_ops *ops, char err[LINK_ERR]);
/* Closes everything without callbacks. The event base is still there. Accepts NULL. */
void links_free(struct links *l);

/* Best effort; at most CLUSTER_DATAGRAM_MAX bytes. What cannot be sent is counted. */
void links_datagram(struct links *l, member_id to, const uint8_t *msg, size_t len);
/*
 * Hands the peer something that is not the cluster core's: best effort, at most
 * LINK_PACKET_MAX bytes, sealed like a datagram and sent over one network. The kernel
 * fragments what is longer than that network's MTU. 0 or -errno, and counted.
 */
int links_packet(struct links *l, member_id to, const uint8_t *msg, size_t len);
/*
 * 0, -ENOTCONN without a link, -EMSGSIZE beyond CLUSTER_MESSAGE_MAX, -ENOBUFS when too much
 * waits for the peer: the link breaks then, and state(down) is called later.
 */
int links_stream(struct links *l, member_id to, const uint8_t *msg, size_t len);
/* The peer takes nothing: drops what waits for it, and makes a new connection. state(down)
 * is called later. */
void links_break(struct links *l, member_id peer);
bool links_up(const struct links *l, member_id peer);

/*
 * Seals the note for each peer whenever a link to it comes up (and now, where one is up),
 * and stores it in the page. To be called once in a run: -EALREADY. -EMSGSIZE if the note
 * is too long.
 */
int links_death_note(struct links *l, const uint8_t *note, size_t len,
		     struct keeper_page *page);

/* What is known of one network on the way to a peer. */
struct link_path_status {
	struct endpoint at; /* the peer's */
	bool up;	    /* it was heard within a detection interval, and hears us */
	bool stream;	    /* the connection goes over it */
	uint64_t heard_ms;  /* since a datagram came; UINT64_MAX: never */
	uint64_t rtt_us;    /* smoothed; 0: unknown, always with one network only */
	uint64_t sent, received; /* datagrams; a second copy is not received */
	uint64_t probes_lost;	 /* of the peer's, sent to find out whether it works */
	uint64_t downs;		 /* how often it failed while another worked */
};

/* What is known of the link to one peer. */
struct link_status {
	member_id id;
	char name[CLUSTER_NAME_MAX];
	bool up, dials;	    /* dials: this side does */
	char why[LINK_WHY]; /* why it is down or was refused last; "" if never */
	uint64_t times_up;
	uint64_t queued; /* bytes that wait */
	uint64_t sent, sent_bytes, received,
	    received_bytes; /* messages, since the start */
	uint64_t datagrams_sent, datagrams_received;
	unsigned npaths;
	struct link_path_status paths[LINK_PATHS_MAX];
};

/* Returns how many were written. */
unsigned links_status(const struct links *l, struct link_status *out, unsigned max);
/* The same of one peer; false if there is none with that id. */
bool links_status_of(const struct links *l, member_id peer, struct link_status *out);
/* Counters by name, as cluster_statistics() does; names are static. */
unsigned links_statistics(const struct links *l, const char **names, uint64_t *values,
			  unsigned max);

#endif
