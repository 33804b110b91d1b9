/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Session routes: which unit the packets towards a client's addresses belong to.
 *
 * Several sessions may have the same prefix, as old and new SA do for a while: the newest
 * counts. A pool's prefix without a session is dropped by the filter, never sent on in
 * clear. In the kernel all of them lead to the TUN device, on every member.
 */
#ifndef SRC_ROUTES_H
#define SRC_ROUTES_H

#include <stdint.h>

#include "cluster/cluster.h"
#include "src/address.h"
#include "src/filter.h"
#include "src/netlink.h"

struct routes;

/* Borrows both. NULL when out of memory. */
struct routes *routes_new(struct filter *filter, struct netlink *netlink,
			  int tun_ifindex);
void routes_free(struct routes *r); /* takes NULL; routes stay in kernel and filter */

/* The bits behind a prefix are zero. Failures are logged: the packets are dropped then. */
void routes_add(struct routes *r, const struct address *prefix, unsigned len,
		unit_id unit);
void routes_remove(struct routes *r, const struct address *prefix, unsigned len,
		   unit_id unit);
void routes_pool(struct routes *r, const struct address *prefix, unsigned len);

#endif
