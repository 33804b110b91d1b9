/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as frames of neighbour discovery, one after the other: each begins with its
 * length and with what is done to it (the right checksum is put in, this member is master
 * then, frames do not leave). Only a master speaks, in complete frames from its own MAC,
 * and gives for a cluster address nothing but the cluster MAC.
 *
 * What is sent is looked at where it is sent: a socket costs most of the time.
 */
#include <sys/socket.h>

static ssize_t look_at(int fd, const void *frame, size_t len, int flags);

#define send look_at
#include "src/ndp.c"
#undef send
#include "src/ndp_wire.c"

#include "cluster/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define RIGHT_CHECKSUM 1
#define AS_MASTER 2
#define FULL 4

static const uint8_t own[6] = { 2, 0, 0, 0, 0, 7 };
static const uint8_t shared[6] = { 3, 0, 0x5e, 10, 0, 1 };

static void must(bool condition)
{
	if (!condition)
		abort();
}

static const struct ndp *speaker;
static bool full; /* its socket */

static ssize_t look_at(int fd, const void *frame, size_t len, int flags)
{
	const uint8_t *bytes = frame;
	struct ndp_heard h;

	must(speaker->herald.master && len == ETH_HLEN + NDP_ADVERT_LEN);
	must(!ndp_wire_read(bytes + ETH_HLEN, len - ETH_HLEN, &h));
	must(!h.solicitation && h.mac && !memcmp(h.mac, shared, 6));
	must(is_cluster(speaker, h.target) && !memcmp(bytes + 6, own, 6));
	must(!(bytes[0] & 1) || !memcmp(bytes, all_nodes_mac, 6));
	if (!full)
		return (ssize_t)len;
	errno = ENOBUFS;
	return -1;
}

static void put_checksum(uint8_t *frame, size_t len)
{
	uint8_t *ip = frame + ETH_HLEN, *at = ip + HEADER + 2;
	size_t body;
	uint16_t sum;

	if (len < ETH_HLEN + HEADER + MESSAGE)
		return;
	body = (size_t)ip[4] << 8 | ip[5];
	if (body > len - ETH_HLEN - HEADER)
		return;
	at[0] = at[1] = 0;
	sum = (uint16_t)~sum_of(ip, body);
	at[0] = (uint8_t)(sum >> 8);
	at[1] = (uint8_t)sum;
}

static void hear(struct ndp *n, uint8_t how, const uint8_t *bytes, size_t len)
{
	/* Exactly sized, so that a sanitizer sees each read beyond the end. */
	uint8_t *frame = malloc(len);

	must(frame != NULL);
	memcpy(frame, bytes, len);
	if (how & RIGHT_CHECKSUM)
		put_checksum(frame, len);
	ndp_set_master(n, how & AS_MASTER);
	frame_receive(n, frame, len);
	free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static struct event_base *base;
	struct unpack u = unpack_from(input, len);
	struct ndp n = { .ifname = "fuzz", .address_count = 2 };

	if (!base) {
		log_init(LOG_LEVEL_ERROR, false);
		base = event_base_new();
		must(base != NULL);
	}
	speaker = &n;
	memcpy(n.own_mac, own, 6);
	memcpy(n.cluster_mac, shared, 6);
	must(!address_parse("2001:db8::1", &n.addresses[0]));
	must(!address_parse("2001:db8::2", &n.addresses[1]));
	must(!herald_init(&n.herald, base, announce_once, &n));
	while (unpack_left(&u)) {
		size_t frame_len = unpack_u8(&u);
		uint8_t how = unpack_u8(&u);
		const uint8_t *frame = unpack_raw(&u, frame_len);

		if (!frame || frame_len < ETH_HLEN)
			break;
		full = how & FULL;
		hear(&n, how, frame, frame_len);
	}
	herald_clear(&n.herald);
	return 0;
}
