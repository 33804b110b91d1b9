/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a network still leads somewhere, although its interface has carrier: hosts there
 * that are always up, such as its routers, are asked once a second for their MAC address
 * (ARP, RFC 826, or neighbour unreachability detection, RFC 4861 section 7.3), from the
 * member's own address. The kernel does that; who does not answer it three times in a row is
 * not reached. A network is lost while none of its hosts is reached.
 */
#ifndef SRC_REACH_H
#define SRC_REACH_H

#include <event2/event.h>

#include "src/conf.h"
#include "src/netlink.h"

struct reach;

/*
 * Watches the networks that name hosts; all are taken for reached at first. `changed` is
 * called, from the event loop, when one of them is lost or found again. Borrows all but
 * `base`. NULL when out of memory.
 */
struct reach *reach_new(struct event_base *base, struct netlink *netlink,
			const struct conf *conf, void (*changed)(void *ctx), void *ctx);
void reach_free(struct reach *r); /* takes NULL */

/* Of a network by its number in the configuration. */
bool reach_lost(const struct reach *r, unsigned network);

#endif
