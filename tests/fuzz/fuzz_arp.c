/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as ARP frames, one after the other: each begins with its length and whether
 * this member is master then, and whether frames leave. Only a master speaks, in complete
 * frames from its own MAC, and gives for a cluster address nothing but the cluster MAC.
 *
 * What is sent is looked at where it is sent: a socket costs most of the time.
 */
#include <sys/socket.h>

static ssize_t look_at(int fd, const void *frame, size_t len, int flags);

#define send look_at
#include "src/arp.c"
#undef send

#include "cluster/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static const uint8_t own[6] = { 2, 0, 0, 0, 0, 7 };
static const uint8_t shared[6] = { 3, 0, 0x5e, 10, 0, 1 };

static void must(bool condition)
{
	if (!condition)
		abort();
}

static const struct arp *speaker;
static bool full; /* its socket */

static ssize_t look_at(int fd, const void *bytes, size_t len, int flags)
{
	struct arp_frame frame;

	must(speaker->herald.master && len == sizeof(frame));
	memcpy(&frame, bytes, len);
	must(!memcmp(frame.ethernet.ether_shost, own, 6));
	must(!memcmp(frame.arp.arp_sha, shared, 6));
	must(is_cluster(speaker, frame.arp.arp_spa));
	/* To many only what is an announcement. */
	if (frame.ethernet.ether_dhost[0] & 1)
		must(!memcmp(frame.arp.arp_spa, frame.arp.arp_tpa, 4));
	if (!full)
		return (ssize_t)len;
	errno = ENOBUFS;
	return -1;
}

static void hear(struct arp *a, const uint8_t *bytes, size_t len)
{
	/* Exactly sized, so that a sanitizer sees each read beyond the end. */
	uint8_t *frame = malloc(len + !len);

	must(frame != NULL);
	memcpy(frame, bytes, len);
	frame_receive(a, frame, len);
	free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static struct event_base *base;
	struct unpack u = unpack_from(input, len);
	struct arp a = { .ifname = "fuzz", .address_count = 2 };

	if (!base) {
		log_init(LOG_LEVEL_ERROR, false);
		base = event_base_new();
		must(base != NULL);
	}
	speaker = &a;
	memcpy(a.own_mac, own, 6);
	memcpy(a.cluster_mac, shared, 6);
	inet_pton(AF_INET, "10.0.0.1", &a.addresses[0]);
	inet_pton(AF_INET, "10.0.0.2", &a.addresses[1]);
	must(herald_init(&a.herald, base, announce_once, &a) == 0);
	while (unpack_left(&u)) {
		uint8_t how = unpack_u8(&u);
		size_t n = how & 0x3f;
		const uint8_t *frame = unpack_raw(&u, n);

		if (!frame)
			break;
		full = how & 0x80;
		arp_set_master(&a, how & 0x40);
		hear(&a, frame, n);
	}
	herald_clear(&a.herald);
	return 0;
}
