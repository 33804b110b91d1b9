/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as ARP frames, one after the other: each begins with its length and whether
 * this member is master then. Only a master speaks, in complete frames from its own MAC,
 * and gives for a cluster address nothing but the cluster MAC.
 */
#include "src/arp.c"

#include "cluster/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static const uint8_t own[6] = { 2, 0, 0, 0, 0, 7 };
static const uint8_t shared[6] = { 3, 0, 0x5e, 10, 0, 1 };

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_sent(const struct arp *a, int fd)
{
	struct arp_frame frame;
	ssize_t n;

	while ((n = recv(fd, &frame, sizeof(frame), MSG_DONTWAIT | MSG_TRUNC)) >= 0) {
		must(a->herald.master && n == sizeof(frame));
		must(!memcmp(frame.ethernet.ether_shost, own, 6));
		must(!memcmp(frame.arp.arp_sha, shared, 6));
		must(is_cluster(a, frame.arp.arp_spa));
		/* To many only what is an announcement. */
		if (frame.ethernet.ether_dhost[0] & 1)
			must(!memcmp(frame.arp.arp_spa, frame.arp.arp_tpa, 4));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static struct event_base *base;
	static int ends[2];
	struct unpack u = unpack_from(input, len);
	struct arp a = { .ifname = "fuzz", .address_count = 2 };

	if (!base) {
		log_init(LOG_LEVEL_ERROR, false);
		base = event_base_new();
		must(base && !socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
	}
	a.fd = ends[0];
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
		arp_set_master(&a, how & 0x40);
		frame_receive(&a, frame, n);
		check_sent(&a, ends[1]);
	}
	herald_clear(&a.herald);
	return 0;
}
