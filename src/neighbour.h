/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How patiently the kernel looks for neighbours on the members' own networks.
 */
#ifndef SRC_NEIGHBOUR_H
#define SRC_NEIGHBOUR_H

#include <netinet/in.h>

#include "src/netlink.h"

/*
 * Makes the kernel repeat an ARP request that nobody has answered after `ms`, on the
 * interface that has the address `own`. An interface that repeats them as soon or sooner
 * stays as it is. Its default is a second, for which nothing that was sent to a member
 * would leave after its line had been mended. Returns 0 or -errno; -EADDRNOTAVAIL: no
 * interface has the address.
 */
int neighbour_hasten(struct netlink *n, struct in_addr own, unsigned ms);

#endif
