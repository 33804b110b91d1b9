/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a tunnel protocol is to the daemon, and the daemon to it.
 *
 * A tunnel knows nothing of members. It asks whether a unit is its to serve, puts its
 * sessions' state into the store (cluster.h), and lets out what a peer may remember when
 * the store says that it is committed. A new protocol is a folder and a line in the table
 * of src/daemon.c.
 */
#ifndef TUNNELS_TUNNEL_H
#define TUNNELS_TUNNEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "src/address.h"
#include "src/statistic.h"

struct event_base;

/* An IP packet and where it came from. Borrowed for the call. */
struct packet {
	const uint8_t *bytes; /* from the IP header on */
	size_t len;
	int ifindex;
	bool checksum_ready; /* false: the sender left transport checksums to its NIC */
	unsigned hops;	     /* members that it has passed on its way here */
};

/* What a user is shown of a session. All text is valid until the next call. */
struct session_view {
	const char *kind; /* "ikev1", "ikev2" */
	char user[128];
	char client[64];	   /* outer address and port */
	char virtual_address[128]; /* inner address or networks */
	char detail[256];	   /* e.g. SPIs of the tunnels */
	bool counted; /* the traffic is known: the session is worked on here */
	uint64_t bytes_in, bytes_out, packets_in, packets_out;
	uint64_t age; /* seconds, UINT64_MAX: unknown */
	/* session_held() and session_sent() of all its records. */
	uint64_t held, sent;
};

/* What a tunnel has carried for the sessions of a unit, both ways, since it began. */
struct unit_traffic {
	uint64_t packets, bytes;
};

/* Services of the daemon for a tunnel. */
struct tunnel_host {
	void *ctx;
	struct cluster *cluster;
	struct event_base *base;
	member_id self;
	/* An IP packet to the outside, complete from its IP header on. */
	void (*send_outside)(void *ctx, const uint8_t *packet, size_t len);
	/* A decrypted packet to this machine's forwarding. */
	void (*send_inside)(void *ctx, const uint8_t *packet, size_t len);
	/* Where packets to this prefix, whose other bits are zero, go: to the owner of
	 * `unit`. The newest of equal prefixes wins until it is removed. */
	void (*route_add)(void *ctx, const struct address *prefix, unsigned len,
			  unit_id unit);
	void (*route_remove)(void *ctx, const struct address *prefix, unsigned len,
			     unit_id unit);
	/*
	 * The peer's packets of this protocol to this port of a cluster address (0: any) come
	 * in ESP only, and what this machine itself sends to the peer from a cluster address
	 * comes to forward(). Each needs one call of the other.
	 */
	void (*peer_add)(void *ctx, const struct address *peer, uint8_t protocol,
			 uint16_t port);
	void (*peer_remove)(void *ctx, const struct address *peer, uint8_t protocol,
			    uint16_t port);
	/* Never forwarded but by a session route. */
	void (*pool_add)(void *ctx, const struct address *prefix, unsigned len);
	/* All prefixes that peers are configured with behind tunnels, which are never sent on
	 * in clear either. It takes the place of what was said before. */
	void (*protect)(void *ctx, const struct address_block *list, unsigned count);
	/* A clear packet for a session of `unit`, which another member owns: it is that
	 * session's by more than its addresses, or the unit went before the packet was
	 * finished. `hops` as it came with. Not from within a call of the core. */
	void (*again)(void *ctx, unit_id unit, const uint8_t *packet, size_t len,
		      unsigned hops);
	/* Another member is to try with this unit of ours, which has a session that this
	 * one cannot work on. Not from within a call of the core. -errno: none can have it
	 * now. */
	int (*pass_on)(void *ctx, unit_id unit);
	/* Whether the tunnel can work, and if not why (shown to the operator). */
	void (*able)(void *ctx, bool able, const char *why);
	/* The tunnel has changed sessions outside of a call from the daemon: soon after
	 * its event has ended, the daemon looks after what follows. Cheap. */
	void (*settle)(void *ctx);
	struct mono (*now)(void *ctx);
};

struct tunnel_ops {
	const char *name;
	/* Packets: to a cluster address; from the inside, for a route of this tunnel. */
	void (*receive)(void *tunnel, const struct packet *p, struct mono now);
	void (*forward)(void *tunnel, const struct packet *p, struct mono now);
	/* A router says that a packet, quoted from its IP header on, was longer than `mtu`.
	 * Anybody may say so. Optional. */
	void (*too_long)(void *tunnel, const uint8_t *quoted, size_t len, unsigned mtu,
			 struct mono now);
	/* The outside network's links carry packets of so many bytes, from now on. Optional. */
	void (*mtu)(void *tunnel, unsigned mtu);
	/* A burst has been worked off. */
	void (*flush)(void *tunnel, struct mono now);
	void (*tick)(void *tunnel, struct mono now);
	struct mono (*timeout)(const void *tunnel);
	/* The store, from inside a call to the core, which must not be called back: a
	 * shadow changed; a session goes; a counter of an own session was committed. */
	bool (*owns)(uint8_t key_type);
	void (*changed)(void *tunnel, struct session *s, struct mono now);
	void (*removed)(void *tunnel, struct session *s);
	void (*counted)(void *tunnel, struct session *s);
	/* Whose copy is right, after a cut: see cluster_merge. May be NULL. */
	enum cluster_merge (*merge)(void *tunnel, const struct session *ours,
				    const struct session *theirs,
				    uint64_t counters[CLUSTER_COUNTERS]);
	/* After the core's call has returned: units came or went, commits moved. */
	void (*activate)(void *tunnel, const struct unit_set *units, uint32_t activation,
			 struct mono now);
	void (*deactivate)(void *tunnel, const struct unit_set *units, struct mono now);
	void (*committed)(void *tunnel, struct mono now);
	/* At the master, a member wants to join: why it must not, or NULL. Optional. */
	const char *(*objects)(void *tunnel, member_id id, const char *name);
	/* Another member has gone. From inside a call to the core. Optional. */
	void (*departed)(void *tunnel, member_id id, const char *why);
	/* Another member's tunnel of this kind has said this, by cluster_notice(). From
	 * inside a call to the core. Optional. */
	void (*noticed)(void *tunnel, member_id from, const uint8_t *what, size_t len);
	/* What an operator is to know of that member; "" if there is nothing. A text that
	 * is valid until the next call. Optional. */
	const char *(*remark)(void *tunnel, member_id id);
	/* False if the session is not one that a user would list. */
	bool (*view)(void *tunnel, struct session *s, struct session_view *out,
		     struct mono now);
	/*
	 * As its owner: ends the session and tells its peer; `force`: without waiting for
	 * the peer's answer. 0: it has begun; -EAGAIN: what has to do it is away; -EPERM:
	 * it does not know the session. May be called from inside a call to the core.
	 * Optional.
	 */
	int (*end)(void *tunnel, struct session *s, bool force);
	/* An errand of the tunnel's own: see struct cluster_io. Its first byte is 16 or
	 * more. Optional. */
	int (*asked)(void *tunnel, const struct cluster_asker *asker, unit_id unit,
		     const struct session_key *key, const uint8_t *what, size_t len);
	/* Whether the unit, of ours, has better not go to another member right now: see struct
	 * cluster_io. Optional. */
	bool (*engaged)(const void *tunnel, unit_id unit, struct mono now);
	size_t (*statistics)(const void *tunnel, struct statistic *out, size_t max);
	/* Adds to CLUSTER_UNITS elements. */
	void (*traffic)(const void *tunnel, struct unit_traffic *units);
	void (*close)(void *tunnel);
};

#endif
