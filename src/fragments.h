/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reassembly of IPv4 and IPv6 datagrams for the cluster's addresses (RFC 791, RFC 8200
 * 4.5). Pure: no sockets, no clock.
 *
 * fold(source, destination, identification) picks the member that a datagram's fragments
 * meet at; which unit the datagram belongs to is known when it is whole.
 *
 * All of it is bounded: datagrams at a time, and of one source, their length, and the time
 * from the first fragment on. Over a bound the oldest goes. Fragments that overlap drop
 * the whole datagram, and what still comes of it (RFC 5722); an exact repetition is
 * ignored. A datagram has met congestion if one of its fragments has (RFC 3168 5.3).
 */
#ifndef SRC_FRAGMENTS_H
#define SRC_FRAGMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "cluster/mono.h"
#include "src/statistic.h"

#define FRAGMENTS_DATAGRAM_MAX 9600 /* bytes of a whole datagram */

struct fragments;

struct fragments_limits {
	unsigned datagrams; /* at a time; each costs about FRAGMENTS_DATAGRAM_MAX bytes */
	unsigned per_source; /* of them */
	uint64_t age;	     /* ns */
};

/* NULL when out of memory. */
struct fragments *fragments_new(const struct fragments_limits *limits);
void fragments_free(struct fragments *f); /* takes NULL */

/*
 * Takes an IP packet that is a fragment, from its header on. 1: it was the last one that
 * lacked, and *whole is the datagram, valid until the next call; its transport checksum is
 * as the sender made it. 0: kept, or ignored. -EBADMSG: malformed, or of a datagram that
 * is dropped. -ENOMEM.
 */
int fragments_add(struct fragments *f, const uint8_t *ip, size_t len, struct mono now,
		  uint8_t **whole, size_t *whole_len);
/* Drops what is too old. */
void fragments_expire(struct fragments *f, struct mono now);

/* "fragments.WHAT" */
size_t fragments_statistics(const struct fragments *f, struct statistic *out, size_t max);

#endif
