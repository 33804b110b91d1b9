/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the ESP packet in a captured Ethernet frame: protocol 50 of IPv4 or IPv6, or UDP
 * port 4500 without the non-ESP marker (RFC 3948).
 */
#ifndef TESTS_NET_TOOLS_ESPFRAME_H
#define TESTS_NET_TOOLS_ESPFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/address.h"

#define ESPFRAME_MAC_LEN 6

struct espframe {
	const uint8_t *esp; /* points into the frame, from SPI to ICV */
	size_t len;
	uint32_t spi, seq;
	uint64_t iv; /* the first 8 bytes after the sequence number */
	struct address src, dst;
};

enum espframe_kind {
	ESPFRAME_NONE,	    /* not ESP */
	ESPFRAME_ESP,	    /* all fields are valid */
	ESPFRAME_FRAGMENT,  /* a later fragment of protocol 50: only src and dst are valid
			     */
	ESPFRAME_TRUNCATED, /* ESP, but the frame ends before it does */
};

enum espframe_kind espframe_parse(const uint8_t *frame, size_t len, struct espframe *out);

#endif
