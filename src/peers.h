/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Peers of transport mode: machines outside whose packets to the cluster's own addresses
 * come in ESP, and so do the answers.
 *
 * What this machine itself sends them from a cluster address leads into the TUN device, on
 * every member, and so does what a program of another member would send. The tunnel finds
 * out what is to be sealed. Packets of phalanxd's own, IKE and ESP, go by raw sockets
 * without a source address, which no rule takes. In the other direction the filter refuses
 * what comes in clear.
 *
 * What cannot be set in the kernel or in the filter is tried again, at growing intervals, and
 * meanwhile the member is not to work: then nothing comes to a program here that it would
 * answer in clear.
 *
 * Should the device be gone, a peer cannot be reached from there at all; so it is over a
 * restart, too, until this member has had the time to hear of its SAs again.
 */
#ifndef SRC_PEERS_H
#define SRC_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/mono.h"
#include "src/address.h"
#include "src/filter.h"
#include "src/rtable.h"

struct peers;

/* Borrows the filter and copies the table, whose netlink it borrows. NULL when out of
 * memory. */
struct peers *peers_new(struct filter *filter, const struct rtable *table,
			struct mono now);
void peers_free(struct peers *p); /* takes NULL; kernel and filter stay as they are */
/* The daemon ends: kernel and filter stay as they are from now on. Takes NULL. */
void peers_stay(struct peers *p);
/* To be called now and then: tries again what could not be set; forgets peers of an earlier
 * run, once this member is `complete` and so knows of all SAs that there are. */
void peers_tick(struct peers *p, bool complete, struct mono now);

/*
 * The peer's packets of `protocol` to `port` (0: any) come in ESP from now on. Each call
 * needs one of peers_remove(). Failures are logged, see peers_failure(). Of a peer with very
 * many of them all packets are to come in ESP.
 */
void peers_add(struct peers *p, const struct address *peer, uint8_t protocol,
	       uint16_t port);
/* What cannot be set at present, "" for nothing. *grave: this member must not work. Valid until
 * the next call. */
const char *peers_failure(struct peers *p, bool *grave);
/* Whether it is one. */
bool peers_know(struct peers *p, const struct address *peer);
void peers_remove(struct peers *p, const struct address *peer, uint8_t protocol,
		  uint16_t port);

#endif
