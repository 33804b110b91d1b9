/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ARP for the cluster addresses of one network: the master answers, the others are
 * silent.
 *
 * Answers and announcements carry the cluster MAC as ARP sender, in frames from the
 * interface's own MAC, so that no switch learns the cluster MAC on a port.
 */
#ifndef SRC_ARP_H
#define SRC_ARP_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/statistic.h"

#define ARP_ADDRESSES_MAX 16
#define ARP_ERROR_SIZE 256

struct arp;

struct arp_config {
	const char *ifname;
	uint8_t cluster_mac[6];
	struct in_addr addresses[ARP_ADDRESSES_MAX]; /* the cluster's on this network */
	unsigned address_count;
};

struct arp *arp_open(struct event_base *base, const struct arp_config *config,
		     char err[ARP_ERROR_SIZE]);
void arp_close(struct arp *a); /* takes NULL */

/* Becoming master announces the addresses; no longer being it stops announcements. */
void arp_set_master(struct arp *a, bool master);
/*
 * Announces all addresses, as request and as reply, three times at intervals of 100 ms.
 * Does nothing unless master; while an announcement is under way it begins it again.
 */
void arp_announce(struct arp *a);

/* "arp.WHAT" */
size_t arp_statistics(const struct arp *a, struct statistic *out, size_t max);

#endif
