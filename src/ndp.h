/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Neighbour discovery (RFC 4861) for the IPv6 cluster addresses of one network, as arp.h
 * does it for IPv4: the master answers and announces, the others are silent.
 *
 * All members join the addresses' solicited-node groups, so that a new master hears at
 * once what it has to answer. The members' kernels do not answer, because the addresses
 * stand on "lo".
 */
#ifndef SRC_NDP_H
#define SRC_NDP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/address.h"
#include "src/statistic.h"

#define NDP_ADDRESSES_MAX 16
#define NDP_ERROR_SIZE 256

struct ndp;

struct ndp_config {
	const char *ifname;
	uint8_t cluster_mac[6];
	struct address addresses[NDP_ADDRESSES_MAX]; /* IPv6, the cluster's here */
	unsigned address_count;
};

struct ndp *ndp_open(struct event_base *base, const struct ndp_config *config,
		     char err[NDP_ERROR_SIZE]);
void ndp_close(struct ndp *n); /* takes NULL */

/* See herald.h. */
void ndp_set_master(struct ndp *n, bool master);
void ndp_announce(struct ndp *n);

/* "ndp.WHAT" */
size_t ndp_statistics(const struct ndp *n, struct statistic *out, size_t max);

#endif
