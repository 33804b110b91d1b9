/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Traffic selectors (RFC 4301 section 4.4.1.1): what an inner packet is, and whether a
 * CHILD SA may carry it.
 */
#ifndef IPSEC_SELECTOR_H
#define IPSEC_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/address.h"
#include "tunnels/ipsec/local.h"

#define SELECTOR_PREFIXES_MAX 512 /* of one CHILD SA */

/* An inner packet. The pointers point into it. */
struct selector_flow {
	uint8_t family; /* 4 or 6 */
	uint8_t protocol;
	const uint8_t *source, *destination; /* 4 or 16 bytes */
	size_t header;			     /* bytes before what `protocol` names */
	size_t total;			     /* bytes of the packet */
	bool fragment; /* not the first one: there is no such header */
	/* Ports of TCP, UDP, SCTP and DCCP; of ICMP both are type << 8 | code. */
	bool ports;
	uint16_t source_port, destination_port;
};

/* -EINVAL unless it is an IP packet of at most `len` bytes. What stands behind the packet
 * is nobody's business (traffic flow confidentiality). */
int selector_read(const uint8_t *ip, size_t len, struct selector_flow *out);

/*
 * Whether one of the selectors takes the flow's source, or destination. A selector of
 * certain ports takes no packet that shows none, but for OPAQUE (65535 to 0), which takes
 * only such.
 */
bool selector_match(const struct local_ts *ts, unsigned count,
		    const struct selector_flow *flow, bool source);

/* How narrow the narrowest of those selectors is: by its addresses, then by a protocol, then
 * by ports. 0: none of them takes it. */
unsigned selector_narrow(const struct local_ts *ts, unsigned count,
			 const struct selector_flow *flow, bool source);

struct selector_prefix {
	struct address address; /* whose bits behind `len` are zero */
	uint8_t len;
};

/* Covers a selector's range with the fewest prefixes, at most `max`. How many. */
unsigned selector_prefixes(const struct local_ts *ts, struct selector_prefix *out,
			   unsigned max);

#endif
