/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets that wait for their unit: until this member may work on it, or until it is
 * known who does. Pure: no sockets, no clock.
 *
 * There is a queue for each unit, in order of arrival, with a bound on its packets; and
 * one bound on the bytes of all. What is over a bound drops the oldest packet, of the
 * unit or of all, since its sender gives up on it first. So does age. Every packet that
 * does not come out again is counted.
 */
#ifndef SRC_WAITING_H
#define SRC_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "src/statistic.h"

#define WAITING_PACKET_MAX 9600

struct waiting;

struct waiting_limits {
	unsigned unit_packets; /* of one unit */
	size_t bytes;	       /* of all packets, with what is kept beside each */
	uint64_t age;	       /* ns */
};

/* What is kept beside a packet's bytes. */
struct waiting_tag {
	uint8_t inside;	     /* from the inside, to be forwarded to a session */
	uint8_t network;     /* that it came in on, unless from the inside */
	uint8_t hops;	     /* how often it was handed from member to member */
	uint8_t checksum_ok; /* its transport checksum needs no check */
};

struct waiting_packet {
	struct waiting_tag tag;
	size_t len;
	uint8_t bytes[];
};

/* NULL when out of memory. */
struct waiting *waiting_new(const struct waiting_limits *limits);
void waiting_free(struct waiting *w); /* takes NULL */

/* Copies the packet. 0, -EMSGSIZE, -ENOMEM: then it is counted as dropped. */
int waiting_add(struct waiting *w, unit_id unit, const struct waiting_tag *tag,
		const void *bytes, size_t len, struct mono now);
/* The oldest packet of the unit, which stays; NULL if there is none. */
const struct waiting_packet *waiting_peek(const struct waiting *w, unit_id unit);
/* The oldest packet of the unit, the caller's to free(); NULL if there is none. */
struct waiting_packet *waiting_take(struct waiting *w, unit_id unit);
/* Units with packets. */
const struct unit_set *waiting_units(const struct waiting *w);
bool waiting_empty(const struct waiting *w);
/* Drops all packets of the unit: it went elsewhere, without them. */
void waiting_drop(struct waiting *w, unit_id unit);
/* Drops what is too old. */
void waiting_expire(struct waiting *w, struct mono now);
/* When the oldest packet is too old; MONO_NEVER if there is none. */
struct mono waiting_timeout(const struct waiting *w);

/* "waiting.WHAT" */
size_t waiting_statistics(const struct waiting *w, struct statistic *out, size_t max);

#endif
