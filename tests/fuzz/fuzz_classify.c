/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a frame on a cluster network, with the tables half full. The first two
 * bytes choose what is around it and where it is cut.
 *
 * A verdict follows from its reason; a frame that is not for our MACs is nobody's
 * business; a frame that is cut short never becomes work for somebody else; what is
 * phalanxd's can be read by its tunnels.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/filter.h"
#include "tunnels/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define SELF 2
#define LEASE 1000

static const uint8_t cluster_mac[6] = { 3, 0, 0x5e, 10, 0, 1 };
static int ifindex;

static void must(int condition)
{
	if (!condition)
		abort();
}

/* Three quarters of the units are ours, or another's; routes lead here and there. */
static struct filter *make(bool outside)
{
	struct filter_config config = { .self = SELF,
					.network_count = 1,
					.address_count = 2,
					.lease_fd = -1,
					.userspace = true };
	char err[FILTER_ERROR_SIZE];
	struct address net6;
	struct filter *f;

	snprintf(config.networks[0].ifname, IF_NAMESIZE, "lo");
	memcpy(config.networks[0].cluster_mac, cluster_mac, 6);
	config.networks[0].outside = outside;
	must(address_parse("10.0.0.1", &config.addresses[0]) == 0);
	must(address_parse("2001:db8::1", &config.addresses[1]) == 0);
	f = filter_new(&config, err);
	must(f != NULL);
	for (uint16_t u = 0; u < UNIT_COUNT; u++)
		filter_set_owner(f, u, u % 4 == 0 ? UNIT_NOBODY : 1 + u % 2);
	filter_route_add(f, AF_INET, &(struct in_addr){ htonl(0x0a640000) }, 16,
			 FILTER_ROUTE_DROP);
	filter_route_add(f, AF_INET, &(struct in_addr){ htonl(0x0a640005) }, 32, 5);
	must(address_parse("2001:db8:5::", &net6) == 0);
	filter_route_add(f, AF_INET6, net6.bytes, 48, FILTER_ROUTE_DROP);
	filter_route_add(f, AF_INET6, net6.bytes, 128, 7);
	filter_renew(f, LEASE);
	ifindex = (int)if_nametoindex("lo");
	return f;
}

static void check_readable(const uint8_t *frame, size_t len, struct unit_result r)
{
	struct ip_packet ip;
	size_t at;

	/* A fragment is read when the packet is whole. */
	if (r.verdict != UNIT_DAEMON || r.reason == UNIT_BY_FRAGMENT)
		return;
	at = frame[12] == 0x81 ? 18 : 14;
	must(!ip_read(frame + at, len - at, &ip));
	must(ip.body >= frame + at && ip.body + ip.len <= frame + len);
	if (r.reason != UNIT_BY_WAITING)
		must(ip.protocol == (r.reason == UNIT_BY_ESP ? 50 : 17));
}

static struct unit_result classify(const struct filter *f, const uint8_t *frame,
				   size_t len, uint64_t now)
{
	struct unit_result r = filter_classify(f, frame, len, ifindex, now);

	must(r.reason < UNIT_REASON_COUNT && r.verdict <= UNIT_FORWARD);
	must(r.unit < UNIT_COUNT || r.unit == UNIT_NONE);
	must(filter_reason_name(r.reason) && filter_verdict_name(r.verdict));
	/* Nothing of the cluster's passes by, or goes to anybody, without a lease. */
	if (now >= LEASE)
		must(r.verdict == UNIT_DROP || r.verdict == UNIT_PASS);
	if (r.verdict == UNIT_DAEMON)
		must(r.unit % 4 != 0 && 1 + r.unit % 2 == SELF);
	check_readable(frame, len, r);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static const uint8_t own_mac[6]; /* of lo */
	static struct filter *filters[2];
	struct unit_result whole, cut, again;
	struct filter *f;
	uint8_t *part;
	size_t shorter;

	if (len < 2)
		return 0;
	if (!filters[0]) {
		filters[0] = make(false);
		filters[1] = make(true);
	}
	f = filters[input[0] & 1];
	uint64_t now = input[0] & 2 ? LEASE : LEASE - 1;
	shorter = input[1];
	input += 2;
	len -= 2;
	whole = classify(f, input, len, now);
	again = classify(f, input, len, now);
	must(whole.verdict == again.verdict && whole.reason == again.reason &&
	     whole.unit == again.unit);
	if (len >= 6 && memcmp(input, cluster_mac, 6) && memcmp(input, own_mac, 6))
		must(whole.verdict == UNIT_PASS);
	if (shorter >= len)
		return 0;
	/* Exactly sized, so that a sanitizer sees each read beyond the end. */
	part = malloc(shorter ? shorter : 1);
	must(part != NULL);
	memcpy(part, input, shorter);
	cut = classify(f, part, shorter, now);
	free(part);
	if (cut.verdict == UNIT_DAEMON || cut.verdict == UNIT_HOST)
		must(cut.reason == whole.reason && cut.unit == whole.unit);
	return 0;
}
