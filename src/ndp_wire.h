/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Neighbour solicitations and advertisements (RFC 4861 4.3, 4.4), from the IPv6 header on.
 */
#ifndef SRC_NDP_WIRE_H
#define SRC_NDP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NDP_ADVERT_LEN (40 + 24 + 8)

/* What a message says. Everything points into it. */
struct ndp_heard {
	const uint8_t *source, *target; /* IPv6 addresses; the source may be :: */
	const uint8_t *mac; /* the link-layer address in its option, or NULL */
	bool solicitation;
};

/* -EBADMSG for what RFC 4861 7.1.1 and 7.1.2 want to be discarded, and for everything
 * else. */
int ndp_wire_read(const uint8_t *packet, size_t len, struct ndp_heard *out);

/*
 * The advertisement of a router that `target` is at `mac`. `to`: who has asked, or NULL:
 * all nodes, unasked.
 */
void ndp_wire_advert(uint8_t out[NDP_ADVERT_LEN], const uint8_t target[16],
		     const uint8_t *to, const uint8_t mac[6]);

extern const uint8_t ndp_nobody[16]; /* :: */

#endif
