/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet path between a cluster network and phalanxd: frames in, IP packets out.
 *
 * There is one port for each cluster network. Behind the interface stands a table of
 * operations, so that other kinds of port (AF_XDP rings, libpcap) can take the place of
 * the packet socket of this version.
 */
#ifndef SRC_PORT_H
#define SRC_PORT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/filter.h"
#include "src/statistic.h"

#define PORT_BATCH 64
#define PORT_PACKET_MAX 9600 /* bytes of an IP packet, either way */
#define PORT_ERROR_SIZE 256

struct port;

/* What is known of a received frame besides its IP packet. */
struct port_frame {
	unsigned network;  /* index in the filter's configuration */
	int ifindex;	   /* the interface that it came in on */
	uint8_t source[6]; /* source MAC */
	uint8_t reason;	   /* UNIT_BY_..., of a verdict UNIT_DAEMON; or UNIT_BY_FOREIGN or
			    * UNIT_BY_UNOWNED, if the unit was ours when the frame came in
			    * and is not any more */
	uint8_t as;	   /* the reason, if the unit were ours */
	uint16_t unit;	   /* the work unit */
	bool checksum_ok;  /* the transport checksum needs no check (verified by hardware,
			    * or  never computed: the sender is on this machine) */
};

/*
 * receive    one packet that is phalanxd's, complete and with a sound IP header: `len`
 * is the length that the header says. The bytes may be overwritten (decrypted in place) and
 * stay valid until batch_end returns. batch_end  after the last packet of a batch (1 to
 * PORT_BATCH). Neither may free the port.
 */
struct port_handler {
	void (*receive)(void *ctx, const struct port_frame *frame, uint8_t *ip,
			size_t len);
	void (*batch_end)(void *ctx);
	void *ctx;
};

/*
 * A packet socket on configured network number `network`, receiving what the filter's
 * socket program lets through. The interface must be there; it may be down. NULL and one
 * line in `err` on failure. The filter must outlive the port. An interface that goes down
 * and up again keeps its port; one that is made anew needs filter_attach() and a new port.
 */
struct port *port_open_packet(struct event_base *base, const struct filter *filter,
			      unsigned network, const struct port_handler *handler,
			      char err[PORT_ERROR_SIZE]);
/* Sends what is queued. Takes NULL. */
void port_close(struct port *p);

/*
 * Queues a complete IP packet (of IPv4, identification and header checksum may be zero, the
 * kernel sets them). The kernel's routing picks interface and next hop, and sends from
 * the interface's own MAC. The packet is copied. The queue goes out when it is full, at
 * port_flush(), and at the latest when the event loop runs again. 0, -EMSGSIZE (larger
 * than PORT_PACKET_MAX), -EINVAL (not an IP packet), -EAFNOSUPPORT (the machine has no IPv6).
 * What the kernel refuses later is counted.
 */
int port_send_ip(struct port *p, const void *packet, size_t len);
/*
 * The same for IPv4, but routed as if it were for `next_hop`, a neighbour: hands a packet for a
 * VPN client to the member that owns the session, by that member's inside address. (Our
 * own route for the client leads into the TUN device.)
 */
int port_send_ip_via(struct port *p, struct in_addr next_hop, const void *packet,
		     size_t len);
void port_flush(struct port *p);

/* "port.WHAT", for this port. Sum over ports for the member's counters. */
size_t port_statistics(struct port *p, struct statistic *out, size_t max);

#endif
