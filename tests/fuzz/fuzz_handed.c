/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as what a member hands over: a packet, or where it is on the networks. What is
 * accepted is in range, and is encoded again as the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "src/course.h"
#include "src/handed.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static void must(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static uint8_t again[HANDED_MAX];
	uint8_t *message = malloc(len ? len : 1);
	struct handed_packet packet;
	struct handed_places places;
	int kind;

	must(message != NULL);
	memcpy(message, input, len);
	kind = handed_kind(message, len);
	if (!handed_decode_packet(message, len, &packet)) {
		must(kind == HANDED_PACKET && packet.unit < CLUSTER_UNITS);
		must(packet.tag.hops >= 1 && packet.tag.hops <= COURSE_HOPS_MAX);
		must(packet.len >= 20 && packet.len <= WAITING_PACKET_MAX);
		must(handed_encode_packet(&packet, again, sizeof(again)) == len);
		must(!memcmp(again, message, len));
	}
	if (!handed_decode_places(message, len, &places)) {
		must(kind == HANDED_PLACES && places.count <= HANDED_NETWORKS_MAX);
		must(handed_encode_places(&places, again, sizeof(again)) == len);
		must(!memcmp(again, message, len));
	}
	free(message);
	return 0;
}
