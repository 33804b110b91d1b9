/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a tunnel does to the packets in it: congestion and service class between inner and
 * outer header (RFC 6040, RFC 2983), the largest TCP segment, and the answer to a packet
 * that does not fit.
 *
 * All packets here have been through selector_read(), so their lengths hold.
 */
#ifndef IPSEC_INNER_H
#define IPSEC_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnels/ipsec/selector.h"

#define INNER_MTU_LEAST4 68   /* RFC 791 */
#define INNER_MTU_LEAST6 1280 /* RFC 8200 */
#define INNER_ERROR_MAX 1280  /* bytes of an answer */

/* Service class and congestion, as the IPv4 header has them in one byte. */
uint8_t inner_tos(const uint8_t *ip);

/* That byte of the outer header. `copy`: LOCAL_COPY_ of the SA. */
uint8_t inner_encapsulate(const uint8_t *ip, uint8_t copy);
/* What the outer header's byte does to the inner one. False: to be dropped, since a router
 * has marked a packet whose sender cannot know what that means. */
bool inner_decapsulate(uint8_t *ip, uint8_t outer, uint8_t copy);

/* Lowers the segment size that the TCP packet offers, if it does, to `mss`. */
void inner_clamp_mss(uint8_t *ip, const struct selector_flow *f, uint16_t mss);

/* Whether no router may fragment it. */
bool inner_whole(const uint8_t *ip);
/*
 * "Fragmentation needed" or "packet too big" for the packet's sender, who may send `mtu`
 * bytes, from the packet's destination; into `out` with INNER_ERROR_MAX bytes. Its length;
 * 0 if there is to be none: it would answer an error, a fragment or a group, or be from one
 * (RFC 1122 3.2.2, RFC 4443 2.4).
 */
size_t inner_too_big(const uint8_t *ip, const struct selector_flow *f, unsigned mtu,
		     uint8_t *out);

/* Writes an IP header of `family` for a body of `len` bytes that follows: transport mode's,
 * whose header is made anew. `ip` has room for it; addresses have 4 or 16 bytes. */
void inner_header(uint8_t *ip, uint8_t family, uint8_t protocol, uint8_t tos,
		  const uint8_t *source, const uint8_t *destination, size_t len);
/* The checksum after one of the words that it covers has changed. */
void inner_adjust(uint8_t *checksum, uint16_t was, uint16_t is);
/* Makes the checksum of TCP or UDP new: a NAT has changed the addresses that it covers
 * (RFC 3948 3.1.2). */
void inner_checksum(uint8_t *ip, const struct selector_flow *f);

#endif
