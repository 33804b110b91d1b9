/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/handed.h"

#include <errno.h>
#include <string.h>

#include "src/course.h"

#define FLAG_INSIDE 1
#define FLAG_CHECKSUM_OK 2
#define PLACE_LEN 7

size_t handed_encode_packet(const struct handed_packet *p, uint8_t *out, size_t size)
{
	if (p->len > WAITING_PACKET_MAX || size < HANDED_HEADER + p->len)
		return 0;
	out[0] = HANDED_PACKET;
	out[1] = (uint8_t)((p->tag.inside ? FLAG_INSIDE : 0) |
			   (p->tag.checksum_ok ? FLAG_CHECKSUM_OK : 0));
	out[2] = p->tag.network;
	out[3] = p->tag.hops;
	out[4] = (uint8_t)(p->unit >> 8);
	out[5] = (uint8_t)p->unit;
	memcpy(out + HANDED_HEADER, p->ip, p->len);
	return HANDED_HEADER + p->len;
}

size_t handed_encode_places(const struct handed_places *p, uint8_t *out, size_t size)
{
	uint8_t *at = out + 2;

	if (p->count > HANDED_NETWORKS_MAX || size < 2 + p->count * PLACE_LEN)
		return 0;
	out[0] = HANDED_PLACES;
	out[1] = (uint8_t)p->count;
	for (unsigned i = 0; i < p->count; i++, at += PLACE_LEN) {
		at[0] = p->at[i].network;
		memcpy(at + 1, p->at[i].mac, 6);
	}
	return 2 + p->count * PLACE_LEN;
}

int handed_kind(const uint8_t *message, size_t len)
{
	if (len < 1 || (message[0] != HANDED_PACKET && message[0] != HANDED_PLACES))
		return -EBADMSG;
	return message[0];
}

static bool sound(const uint8_t *ip, size_t len)
{
	if (len >= 20 && ip[0] >> 4 == 4)
		return (ip[0] & 15) >= 5 && (size_t)(ip[0] & 15) * 4 <= len &&
		       (size_t)(ip[2] << 8 | ip[3]) == len;
	return len >= 40 && ip[0] >> 4 == 6 && (size_t)(ip[4] << 8 | ip[5]) + 40 == len;
}

int handed_decode_packet(uint8_t *message, size_t len, struct handed_packet *out)
{
	if (len < HANDED_HEADER || len > HANDED_MAX || message[0] != HANDED_PACKET ||
	    message[1] & ~(FLAG_INSIDE | FLAG_CHECKSUM_OK) ||
	    message[2] >= HANDED_NETWORKS_MAX || message[3] < 1 ||
	    message[3] > COURSE_HOPS_MAX)
		return -EBADMSG;
	unit_id unit = (unit_id)(message[4] << 8 | message[5]);
	if (unit >= CLUSTER_UNITS || !sound(message + HANDED_HEADER, len - HANDED_HEADER))
		return -EBADMSG;
	*out = (struct handed_packet){
		.tag = { .inside = (message[1] & FLAG_INSIDE) != 0,
			 .network = message[2],
			 .hops = message[3],
			 .checksum_ok = (message[1] & FLAG_CHECKSUM_OK) != 0 },
		.unit = unit,
		.ip = message + HANDED_HEADER,
		.len = len - HANDED_HEADER,
	};
	return 0;
}

int handed_decode_places(const uint8_t *message, size_t len, struct handed_places *out)
{
	struct handed_places places = { 0 };

	if (len < 2 || message[0] != HANDED_PLACES || message[1] > HANDED_NETWORKS_MAX ||
	    len != 2 + (size_t)message[1] * PLACE_LEN)
		return -EBADMSG;
	for (unsigned i = 0; i < message[1]; i++) {
		const uint8_t *at = message + 2 + i * PLACE_LEN;

		if (at[0] >= HANDED_NETWORKS_MAX || at[1] & 1)
			return -EBADMSG;
		places.at[i].network = at[0];
		memcpy(places.at[i].mac, at + 1, 6);
	}
	places.count = message[1];
	*out = places;
	return 0;
}
