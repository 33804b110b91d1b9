/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CHILD SA of a member, and its other end, which is the test's. */
#ifndef TESTS_UNIT_ENDS_H
#define TESTS_UNIT_ENDS_H

#include "tests/unit/gateways.h"

#define ENDS_PEER_SPI (0x11223344u + ends_next.which)
#define L2TP 1701

struct ends {
	struct node *owner, *successor;
	uint64_t ike;
	uint32_t spi;
	struct child *peer; /* the client's end, for child_free() */
};

/* What the next client is like. */
struct ends_choice {
	unsigned which; /* of several clients */
	unsigned host;	/* behind the NAT, on which it is */
	bool native;	/* it says that there is no NAT */
	bool transport; /* for UDP port `served` of ours; else tunnel mode */
	uint16_t served;
	const uint8_t *spoken_for; /* the address that it speaks for, if not its own */
};

extern struct ends_choice ends_next;
extern const struct local_addr gateway, client;
extern const uint8_t SERVER[4], INNER[4]; /* who talk through the tunnel */

/* The client has logged in at member 2: both ends of its SAs, with these limits. */
struct ends ends_begin(const struct local_sa_add *base);
/* The member's two SAs, as charon adds them. */
void ends_make(const struct ends *s, const struct local_sa_add *base,
	       struct local_sa_add *in, struct local_sa_add *out);
/* charon adds them, with their CHILD SA. */
void ends_add(const struct ends *s, const struct local_sa_add *in,
	      const struct local_sa_add *out);
/* From this address to the one that ends with `last`. */
struct local_blob ends_selector(uint8_t *buf, const uint8_t *from, uint8_t last);

/* A packet of UDP, all zeros behind its header; `whole`: not to be fragmented. */
void ends_inner(uint8_t *ip, size_t len, const uint8_t *src, const uint8_t *dst,
		bool whole);
/* From the inside towards the client. */
void ends_forward(struct node *n, size_t len, bool whole);
/* From the outside, with its outer headers. */
void ends_receive(struct node *n, const uint8_t *bytes, size_t len);
/* What the client sends of such a packet; returns how long that is. */
size_t ends_seal(struct ends *s, const uint8_t *src, const uint8_t *dst, uint8_t *out,
		 size_t size);

#endif
