/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Routers' word that a packet of ours was too long: "fragmentation needed" of ICMP and
 * "packet too big" of ICMPv6. The filter gives errors to every member; whose session the
 * quoted packet belongs to, the tunnels find out.
 */
#ifndef SRC_PATHMTU_H
#define SRC_PATHMTU_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

struct pathmtu;

/* `quoted` is the beginning of the packet as it was sent, from its IP header on; nobody has
 * authenticated it. `mtu` is not 0. */
typedef void pathmtu_handler(void *ctx, const uint8_t *quoted, size_t len, unsigned mtu);

/* NULL and errno on failure. */
struct pathmtu *pathmtu_open(struct event_base *base, pathmtu_handler *handler,
			     void *ctx);
void pathmtu_close(struct pathmtu *p); /* takes NULL */

/* The two messages as sockets give them: an IPv4 packet, or ICMPv6 from its type on.
 * -EINVAL: none, or not such a message. *quoted points into it. */
int pathmtu_read4(const uint8_t *packet, size_t len, const uint8_t **quoted,
		  size_t *quoted_len, unsigned *mtu);
int pathmtu_read6(const uint8_t *icmp, size_t len, const uint8_t **quoted,
		  size_t *quoted_len, unsigned *mtu);

#endif
