/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ndp_wire.h"

#include <errno.h>
#include <string.h>

#define HEADER 40
#define PROTOCOL_ICMP6 58
#define HOPS 255 /* a router would have taken one away */
#define SOLICITATION 135
#define ADVERTISEMENT 136
#define MESSAGE 24 /* ICMPv6, flags or nothing, and the target */
#define TARGET_AT 8
#define OPTION_UNIT 8
#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define ROUTER 0x80
#define SOLICITED 0x40
#define OVERRIDE 0x20

const uint8_t ndp_nobody[16];
static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* RFC 8200 8.1: 0xffff over a message with the right checksum in it. */
static uint16_t sum_of(const uint8_t *ip, size_t len)
{
	uint32_t sum = PROTOCOL_ICMP6 + (uint32_t)len;

	for (size_t i = 8; i < HEADER; i += 2)
		sum += be16(ip + i);
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += be16(ip + HEADER + i);
	if (len & 1)
		sum += (uint32_t)ip[HEADER + len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The last option of this type, or NULL. */
static int option_find(const uint8_t *at, const uint8_t *end, uint8_t type,
		       const uint8_t **mac)
{
	*mac = NULL;
	while (at < end) {
		if (end - at < OPTION_UNIT || !at[1] || end - at < at[1] * OPTION_UNIT)
			return -EBADMSG;
		if (at[0] == type)
			*mac = at + 2;
		at += at[1] * OPTION_UNIT;
	}
	return 0;
}

int ndp_wire_read(const uint8_t *packet, size_t len, struct ndp_heard *out)
{
	const uint8_t *message = packet + HEADER;
	struct ndp_heard h;
	size_t body;

	if (len < HEADER + MESSAGE || packet[0] >> 4 != 6)
		return -EBADMSG;
	body = be16(packet + 4);
	if (body < MESSAGE || body > len - HEADER || packet[6] != PROTOCOL_ICMP6 ||
	    packet[7] != HOPS || sum_of(packet, body) != 0xffff)
		return -EBADMSG;
	if ((message[0] != SOLICITATION && message[0] != ADVERTISEMENT) || message[1])
		return -EBADMSG;
	h.solicitation = message[0] == SOLICITATION;
	h.source = packet + 8;
	h.target = message + TARGET_AT;
	if (h.target[0] == 0xff || h.source[0] == 0xff ||
	    option_find(message + MESSAGE, message + body,
			h.solicitation ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC, &h.mac))
		return -EBADMSG;
	/* Without an address one may ask for it, of all who might have it. */
	if (!memcmp(h.source, ndp_nobody, 16) &&
	    (!h.solicitation || h.mac || packet[24] != 0xff))
		return -EBADMSG;
	/* Nor does who answers all answer anybody. */
	if (!h.solicitation && packet[24] == 0xff && message[4] & SOLICITED)
		return -EBADMSG;
	*out = h;
	return 0;
}

void ndp_wire_advert(uint8_t out[NDP_ADVERT_LEN], const uint8_t target[16],
		     const uint8_t *to, const uint8_t mac[6])
{
	uint8_t *message = out + HEADER, *option = message + MESSAGE;
	uint16_t sum;

	memset(out, 0, NDP_ADVERT_LEN);
	out[0] = 0x60;
	out[5] = NDP_ADVERT_LEN - HEADER;
	out[6] = PROTOCOL_ICMP6;
	out[7] = HOPS;
	memcpy(out + 8, target, 16);
	memcpy(out + 24, to ? to : all_nodes, 16);
	message[0] = ADVERTISEMENT;
	message[4] = ROUTER | OVERRIDE | (to ? SOLICITED : 0);
	memcpy(message + TARGET_AT, target, 16);
	option[0] = OPTION_TARGET_MAC;
	option[1] = 1;
	memcpy(option + 2, mac, 6);
	sum = (uint16_t)~sum_of(out, NDP_ADVERT_LEN - HEADER);
	message[2] = (uint8_t)(sum >> 8);
	message[3] = (uint8_t)sum;
}
