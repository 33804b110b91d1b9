/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What members hand each other beside the cluster core's messages: packets for a unit
 * that another member works on, and where each of them is on the cluster's networks.
 * It travels over the interconnect, sealed (links_packet()). Pure.
 *
 *   packet   kind 1 | flags | network | hops | unit 16 | the IP packet
 *   places   kind 2 | count | count x (network | MAC 48)
 */
#ifndef SRC_HANDED_H
#define SRC_HANDED_H

#include <stddef.h>
#include <stdint.h>

#include "src/waiting.h"

#define HANDED_HEADER 6
#define HANDED_MAX (HANDED_HEADER + WAITING_PACKET_MAX)
#define HANDED_NETWORKS_MAX 16

enum handed_kind { HANDED_PACKET = 1, HANDED_PLACES = 2 };

struct handed_packet {
	struct waiting_tag tag;
	unit_id unit;
	uint8_t *ip; /* inside the message */
	size_t len;
};

struct handed_places {
	unsigned count;
	struct {
		uint8_t network;
		uint8_t mac[6];
	} at[HANDED_NETWORKS_MAX];
};

/* The length of the message, 0 if it does not fit. */
size_t handed_encode_packet(const struct handed_packet *p, uint8_t *out, size_t size);
size_t handed_encode_places(const struct handed_places *p, uint8_t *out, size_t size);
/*
 * 0 or -EBADMSG. A packet that passes has an IP header whose length is that of the
 * packet, 1 to COURSE_HOPS_MAX hops behind it, and a unit; a place has a unicast MAC.
 */
int handed_kind(const uint8_t *message, size_t len); /* enum handed_kind, or -EBADMSG */
int handed_decode_packet(uint8_t *message, size_t len, struct handed_packet *out);
int handed_decode_places(const uint8_t *message, size_t len, struct handed_places *out);

#endif
