/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending IP packets through the kernel's routing: a raw socket and a queue for each
 * family.
 *
 * The headers are ours (the source is a cluster address); route, neighbour and the
 * frame's own source MAC are the kernel's.
 */
#ifndef SRC_SENDER_H
#define SRC_SENDER_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

struct sender;

struct sender_counters {
	uint64_t sent, bytes;
	uint64_t too_long;    /* larger than the interface's MTU */
	uint64_t unreachable; /* no route, host or network unreachable */
	uint64_t no_buffer;   /* the kernel's queues are full */
	uint64_t failed;      /* anything else */
	uint64_t refused;     /* not an IP packet, or larger than PORT_PACKET_MAX */
};

/* 0 or -errno. */
int sender_open(struct sender **out, struct event_base *base);
void sender_close(struct sender *s); /* sends what is queued; takes NULL */
/* The contract of port_send_ip(), and with `next_hop` not NULL (and IPv4) of
 * port_send_ip_via(). -EAFNOSUPPORT: the machine has no IPv6. */
int sender_queue(struct sender *s, const struct in_addr *next_hop, const void *packet,
		 size_t len);
void sender_flush(struct sender *s);
const struct sender_counters *sender_counters(const struct sender *s);

#endif
