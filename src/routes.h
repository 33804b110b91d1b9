/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where packets for what lies behind tunnels go, in the filter and in the kernel.
 *
 * A prefix may be a session's, and of several sessions' (as old and new SA do for a while)
 * it is the newest one's. It may be protected: without a session its packets are dropped,
 * never sent on in clear. And it may be near, reached by a route of the machine's own: then
 * no wider prefix is meant by it. A session goes before protection, and both before nearness;
 * what lies in a pool is never near.
 *
 * In the kernel sessions and what is protected lead to the TUN device, on every member, in
 * the tunnels' own table (rtable.h); what is protected is unreachable should the device be
 * gone.
 */
#ifndef SRC_ROUTES_H
#define SRC_ROUTES_H

#include <stdint.h>

#include "cluster/cluster.h"
#include "src/address.h"
#include "src/filter.h"
#include "src/rtable.h"

#define ROUTES_NEAR_MAX 1024

struct routes;

enum routes_why {
	ROUTES_CONF,   /* phalanx.conf says so */
	ROUTES_POLICY, /* so does what the tunnels' peers are configured with */
	ROUTES_POOL,
};

/* Borrows the filter and copies the table, whose netlink it borrows. NULL when out of
 * memory. */
struct routes *routes_new(struct filter *filter, const struct rtable *table);
void routes_free(struct routes *r); /* takes NULL; routes stay in kernel and filter */

/* The bits behind a prefix are zero. Failures are logged, and tried again by
 * routes_look(). */
void routes_add(struct routes *r, const struct address *prefix, unsigned len,
		unit_id unit);
void routes_remove(struct routes *r, const struct address *prefix, unsigned len,
		   unit_id unit);

/* Protects a prefix, for one reason; and not for this one any more. */
void routes_protect(struct routes *r, enum routes_why why, const struct address *prefix,
		    unsigned len);
void routes_unprotect(struct routes *r, enum routes_why why, const struct address *prefix,
		      unsigned len);

/* Looks what the machine reaches by routes of its own, and tries again what could not be set:
 * to be called now and then. */
void routes_look(struct routes *r);
/* The same from a list, whose elements' padding is zero; see struct rtable_near. */
void routes_near(struct routes *r, const struct rtable_near *list, unsigned count);

#endif
