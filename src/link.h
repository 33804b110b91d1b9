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
 * Callbacks come from the event loop only, never from within a links_*() function. They
 * may call all functions but links_free().
 */
#ifndef SRC_LINK_H
#define SRC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "cluster/cluster.h"
#include "src/keeper.h"

#define LINK_ERR 256
#define LINK_WHY 192
#define LINK_STATISTICS 48 /* at most as many names */

struct link_address {
	struct sockaddr_storage address;
	socklen_t addresslen;
};

struct link_peer {
	member_id id;
	char name[CLUSTER_NAME_MAX];
	struct link_address at; /* same port for TCP and UDP */
};

/* The list of valid members may name this member too; that entry is only checked. */
struct link_config {
	member_id self;
	struct link_address bind;    /* same port for TCP and UDP */
	const char *cert, *key, *ca; /* PEM files */
	unsigned npeers;
	struct link_peer peers[CLUSTER_MEMBERS_MAX];
};

/*
 * datagram  bytes are authentic and were not delivered before; order and arrival are not
 *           promised.
 * stream    in order, without gaps, while the link lasts.
 * state     the link came up (empty, both ways), or broke. `up` alternates for each peer.
 */
struct link_ops {
	void *ctx;
	void (*datagram)(void *ctx, member_id from, const uint8_t *msg, size_t len);
	void (*stream)(void *ctx, member_id from, const uint8_t *msg, size_t len);
	void (*state)(void *ctx, member_id peer, bool up);
};

struct links;

/* Listens and dials from now on; the process ignores SIGPIPE. Both structs are copied. NULL and a text on failure. */
struct links *links_new(struct event_base *base, const struct link_config *config,
			const struct link_ops *ops, char err[LINK_ERR]);
/* Closes everything without callbacks. The event base is still there. Accepts NULL. */
void links_free(struct links *l);

/* Best effort; at most CLUSTER_DATAGRAM_MAX bytes. What cannot be sent is counted. */
void links_datagram(struct links *l, member_id to, const uint8_t *msg, size_t len);
/*
 * 0, -ENOTCONN without a link, -EMSGSIZE beyond CLUSTER_MESSAGE_MAX, -ENOBUFS when too much
 * waits for the peer: the link breaks then, and state(down) is called later.
 */
int links_stream(struct links *l, member_id to, const uint8_t *msg, size_t len);
bool links_up(const struct links *l, member_id peer);

/*
 * Seals the note for each peer whenever a link to it comes up (and now, where one is up),
 * and stores it in the page. To be called once in a run: -EALREADY. -EMSGSIZE if the note
 * is too long.
 */
int links_death_note(struct links *l, const uint8_t *note, size_t len,
		     struct keeper_page *page);

/* What is known of the link to one peer. */
struct link_status {
	member_id id;
	char name[CLUSTER_NAME_MAX];
	struct link_address at;
	bool up, dials;	    /* dials: this side does */
	char why[LINK_WHY]; /* why it is down or was refused last; "" if never */
	uint64_t times_up;
	uint64_t queued; /* bytes that wait */
	uint64_t sent, sent_bytes, received,
	    received_bytes; /* messages, since the start */
	uint64_t datagrams_sent, datagrams_received;
};

/* Returns how many were written. */
unsigned links_status(const struct links *l, struct link_status *out, unsigned max);
/* Counters by name, as cluster_statistics() does; names are static. */
unsigned links_statistics(const struct links *l, const char **names, uint64_t *values,
			  unsigned max);

#endif
