/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames for the tests of the filter, built from a description. Fields that are left out
 * of a description make the plain case; the last ones spoil the frame.
 */
#ifndef TESTS_BPF_FRAME_H
#define TESTS_BPF_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 512
#define FRAME_CLUSTER_MAC "\x03\x00\x5e\x00\x00\x01"
#define FRAME_OWN_MAC "\x00\x00\x00\x00\x00\x00" /* that of "lo" */
#define FRAME_OTHER_MAC "\x02\x00\x00\x00\x00\x99"
#define FRAME_BROADCAST_MAC "\xff\xff\xff\xff\xff\xff"
#define FRAME_MULTICAST_MAC "\x01\x00\x5e\x00\x00\x05"

struct frame_spec {
	const char *mac;    /* destination; NULL: the cluster's */
	uint16_t ethertype; /* 0: that of the version */
	const uint8_t *tag; /* four bytes of a VLAN tag in front of the ethertype */
	int version;	    /* 6: IPv6; `protocol` is the first next header, and extension
			     * headers stand in the body */
	const char *source; /* NULL: 198.51.100.7 or 2001:db8:1::7 */
	const char *to;	    /* NULL: the cluster address 192.0.2.1 or 2001:db8::1 */
	uint8_t protocol;
	uint8_t options; /* bytes of IP options */
	uint16_t fragment;
	const char *body; /* behind the IP header */
	size_t body_len;
	uint8_t first_byte; /* 0: the version and the right header length */
	uint16_t total;	    /* 0: the right total length, or that of the payload */
	size_t padding;	    /* bytes behind the packet, as Ethernet has */
};

/* Returns the frame's length. */
size_t frame_build(const struct frame_spec *s, uint8_t out[FRAME_MAX]);

#endif
