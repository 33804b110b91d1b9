/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A datagram socket of the interconnect. It knows nothing of keys or members. */
#ifndef SRC_UDP_H
#define SRC_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>

#include "src/endpoint.h"

#define UDP_MAX 9728 /* bytes of a datagram that is read whole */

struct udp;

struct udp_counters {
	uint64_t received, received_bytes;
	uint64_t sent, sent_bytes;
	uint64_t unsent;    /* the socket took it not */
	uint64_t oversized; /* longer than UDP_MAX, dropped */
};

/* The bytes are borrowed for the call. */
typedef void (*udp_receive)(void *ctx, const uint8_t *bytes, size_t len);

/* `absent`: see endpoint_bound_socket(). NULL and errno on failure. */
struct udp *udp_new(struct event_base *base, const struct endpoint *at, bool absent,
		    udp_receive receive, void *ctx);
/*
 * From now on the kernel drops what does not come from one of these hosts, so that it neither
 * wakes this process nor takes the place of what does. A source address proves nothing: that
 * is the receiver's. 0; or -EINVAL: there are too many, or one is not of the socket's family,
 * and nothing is dropped.
 */
#define UDP_SOURCES_MAX 200
int udp_accept_from(struct udp *u, const struct endpoint *const *hosts, unsigned n);
/* Accepts NULL. */
void udp_free(struct udp *u);
/* 0 or -errno; a failure is counted. */
int udp_send(struct udp *u, const struct endpoint *to, const uint8_t *bytes, size_t len);
const struct udp_counters *udp_counters(const struct udp *u);

#endif
