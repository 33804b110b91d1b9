/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The routing table of the tunnels, beside the operator's own tables.
 *
 * Two rules lead to it before the main table: one for every packet but the cluster's own
 * (mark.h), which skips prefixes so wide that the machine's own traffic is not
 * meant by them; and one for all that is forwarded, without exception. No route of another
 * table is ever changed.
 *
 * Routes, rules and marks that an earlier run has left are found by their protocol number.
 */
#ifndef SRC_RTABLE_H
#define SRC_RTABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/address.h"
#include "src/netlink.h"

#define RTABLE_DEFAULT 221

enum rtable_way {
	RTABLE_NONE,
	RTABLE_TUN,	/* into the device */
	RTABLE_GUARDED, /* and nowhere else, even if the device is gone */
	RTABLE_PAST,	/* as the other tables say */
};

struct rtable {
	struct netlink *netlink; /* borrowed */
	unsigned number;	 /* of the table, and of its rules */
	int ifindex;		 /* of the device */
};

/* Removes what an earlier run has left, and makes the rules. Its peers of transport mode,
 * though, remain without a way to them, and so do the rules for that. -errno */
int rtable_begin(const struct rtable *t);
/* Removes routes and rules, for good, with any number. -errno */
int rtable_remove(struct netlink *n);
/* The prefix, whose bits behind `len` are zero, goes another way than it `was`. -errno: in
 * part, perhaps. */
int rtable_set(const struct rtable *t, const struct address *prefix, unsigned len,
	       enum rtable_way was, enum rtable_way is);

/*
 * Peers of transport mode have the table behind that one: a rule for each cluster address
 * leads what this machine itself sends from there to it. An earlier run's will do. -errno
 */
int rtable_peer_rule(const struct rtable *t, const struct address *cluster);
/* Removes the rules for addresses that are `stale`: the cluster's no more. -errno */
int rtable_peer_rules_sweep(const struct rtable *t,
			    bool (*stale)(void *ctx, const struct address *cluster),
			    void *ctx);
int rtable_peer(const struct rtable *t, const struct address *peer, bool add);
/* Forgets those of an earlier run that are `stale`. -errno */
int rtable_peers_sweep(const struct rtable *t,
		       bool (*stale)(void *ctx, const struct address *peer), void *ctx);

/* What the machine reaches without tunnels: by a route that is not its default one. */
struct rtable_near {
	struct address prefix;
	uint8_t len;
	bool own; /* its own address */
};

/* At most `max`, zeroed behind their fields; how many, or -errno. More than `max` if some do
 * not fit, and then nobody counts them. */
int rtable_near(const struct rtable *t, struct rtable_near *out, unsigned max);

#endif
