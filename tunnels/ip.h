/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The outer IP header of a tunnel's packets, of either family: reading it and writing it.
 */
#ifndef TUNNELS_IP_H
#define TUNNELS_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_PROTOCOL_UDP 17
#define IP_PROTOCOL_ESP 50
#define IP_UDP_HEADER 8
#define IP_OVERHEAD_MAX (40 + IP_UDP_HEADER)

/* A complete packet that ends here. Everything points into it. */
struct ip_packet {
	uint8_t family; /* 4 or 6 */
	uint8_t protocol;
	uint8_t tos;			     /* service class and congestion */
	const uint8_t *source, *destination; /* 4 or 16 bytes */
	const uint8_t *body;		     /* behind all headers of IP */
	size_t len;			     /* of the body */
};

/* -EINVAL if it is none, contradicts itself, is a fragment, or has extension headers beyond
 * what the filter lets through. Neither checksums nor options are looked at. */
int ip_read(const uint8_t *packet, size_t len, struct ip_packet *out);

struct ip_end {
	uint8_t family; /* 4 or 6 */
	const uint8_t *address;
	uint16_t port;
};

/* Bytes of the headers that ip_write() puts in front; 0 for an unknown family. */
size_t ip_overhead(uint8_t family, bool udp);
/*
 * Completes a packet: `len` bytes stand at packet + ip_overhead(), and the headers of IP
 * and, for IP_PROTOCOL_UDP, UDP are put before them. Both ends are of one family, and the
 * sum fits in 16 bits. The kernel fills in identification and header checksum of IPv4.
 * The UDP checksum is zero in IPv4, as RFC 3948 2.1 wants it, and there in IPv6, where it
 * must be (RFC 8200 8.1).
 */
void ip_write(uint8_t *packet, uint8_t protocol, const struct ip_end *source,
	      const struct ip_end *destination, size_t len);

/* Service class and congestion of a packet that ip_write() made; and, if it is IPv4, that
 * no router may fragment it. */
void ip_mark(uint8_t *packet, uint8_t tos, bool whole);

/* What every link carries: RFC 791, RFC 8200. */
#define IP_MTU_LEAST4 68
#define IP_MTU_LEAST6 1280

/*
 * Sends a packet of ip_write() in fragments of at most `mtu` bytes, IP_MTU_LEAST_ if it is
 * less. `id` differs between packets of one pair of addresses, and nobody can foresee it
 * (RFC 7739).
 */
void ip_fragment(const uint8_t *packet, size_t len, size_t mtu, uint32_t id,
		 void (*send)(void *ctx, const uint8_t *packet, size_t len), void *ctx);

/* Whether the checksum over `len` bytes from the UDP header on is right; with IPv4, none is
 * right, too. */
bool ip_udp_intact(const struct ip_packet *ip, size_t len);

#endif
