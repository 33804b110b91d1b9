/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ndp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/herald.h"
#include "src/log.h"
#include "src/ndp_wire.h"

#define READ_MAX 64
#define FRAME_MAX 1514
#define NEXT_HEADER_AT 6
#define ICMP_AT 40
#define SOLICITATION 135
#define ADVERTISEMENT 136

struct ndp {
	struct event *readable;
	struct herald herald;
	int fd, groups;
	int ifindex;
	char ifname[IF_NAMESIZE];
	uint8_t own_mac[6], cluster_mac[6];
	struct address addresses[NDP_ADDRESSES_MAX];
	unsigned address_count;
	struct {
		uint64_t solicitations, advertisements, announcements;
		uint64_t stale;	    /* claims of a cluster address for another MAC */
		uint64_t malformed; /* what RFC 4861 7.1 wants to be discarded */
		uint64_t failed;    /* could not be sent */
	} counters;
};

static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };

static bool is_cluster(const struct ndp *n, const uint8_t *address)
{
	for (unsigned i = 0; i < n->address_count; i++)
		if (!memcmp(n->addresses[i].bytes, address, 16))
			return true;
	return false;
}

/* Tells `to`, or all nodes if it is NULL, that `target` is at the cluster MAC. */
static int advertise(struct ndp *n, const uint8_t *target, const uint8_t *to,
		     const uint8_t *to_mac)
{
	uint8_t frame[ETH_HLEN + NDP_ADVERT_LEN];
	struct ether_header ethernet = { .ether_type = htons(ETHERTYPE_IPV6) };

	memcpy(ethernet.ether_dhost, to_mac, 6);
	memcpy(ethernet.ether_shost, n->own_mac, 6);
	memcpy(frame, &ethernet, ETH_HLEN);
	ndp_wire_advert(frame + ETH_HLEN, target, to, n->cluster_mac);
	if (send(n->fd, frame, sizeof(frame), 0) == (ssize_t)sizeof(frame))
		return 0;
	n->counters.failed++;
	return -errno;
}

/* RFC 4861 7.2.6. */
static void announce_once(void *ctx)
{
	struct ndp *n = ctx;

	for (unsigned i = 0; i < n->address_count; i++) {
		advertise(n, n->addresses[i].bytes, NULL, all_nodes_mac);
		n->counters.announcements++;
	}
}

void ndp_announce(struct ndp *n)
{
	herald_announce(&n->herald);
}

void ndp_set_master(struct ndp *n, bool master)
{
	herald_set_master(&n->herald, master);
}

/* Somebody says that a cluster address is at another MAC, or is about to use it. */
static void stale_claim(struct ndp *n, const uint8_t *address, const uint8_t *m)
{
	char text[ADDRESS_TEXT_MAX];
	struct address a = { .family = AF_INET6 };

	n->counters.stale++;
	if (!herald_claimed(&n->herald))
		return;
	memcpy(a.bytes, address, sizeof(a.bytes));
	log_warnx(
	    "ndp: on %s, %02x:%02x:%02x:%02x:%02x:%02x claims the cluster address %s",
	    n->ifname, m[0], m[1], m[2], m[3], m[4], m[5], address_print(&a, text));
}

/* RFC 4861 7.2.4. Who asks without an address of its own is about to take this one (RFC
 * 4862 5.4), and is told, as all are, that it is in use. */
static void solicited(struct ndp *n, const struct ndp_heard *h,
		      const uint8_t *frame_source)
{
	const uint8_t *mac = h->mac ? h->mac : frame_source;
	int error;

	n->counters.solicitations++;
	if (!n->herald.master)
		return;
	if (!memcmp(h->source, ndp_nobody, 16)) {
		n->counters.stale++;
		error = advertise(n, h->target, NULL, all_nodes_mac);
	} else if (mac[0] & 1) {
		return; /* would make us answer to many */
	} else {
		error = advertise(n, h->target, h->source, mac);
	}
	if (!error)
		n->counters.advertisements++;
}

static void frame_receive(struct ndp *n, const uint8_t *frame, size_t len)
{
	const uint8_t *frame_source = frame + 6, *claimed, *mac;
	struct ndp_heard h;

	if (ndp_wire_read(frame + ETH_HLEN, len - ETH_HLEN, &h)) {
		n->counters.malformed++;
		return;
	}
	/* A solicitation names its sender's address, an advertisement its own target. */
	claimed = h.solicitation ? h.source : h.target;
	mac = h.mac ? h.mac : frame_source;
	if (is_cluster(n, claimed)) {
		/* Also what the master of this or another part announces. */
		if (memcmp(mac, n->cluster_mac, 6))
			stale_claim(n, claimed, mac);
		return;
	}
	if (h.solicitation && is_cluster(n, h.target))
		solicited(n, &h, frame_source);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct ndp *n = ctx;
	uint8_t frame[FRAME_MAX];

	for (unsigned i = 0; i < READ_MAX; i++) {
		ssize_t len = recv(fd, frame, sizeof(frame), MSG_DONTWAIT);
		if (len < 0)
			return;
		if (len >= ETH_HLEN)
			frame_receive(n, frame, (size_t)len);
	}
}

static int own_mac_read(struct ndp *n)
{
	struct ifreq request = { 0 };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", n->ifname);
	if (ioctl(n->fd, SIOCGIFHWADDR, &request))
		return -errno;
	memcpy(n->own_mac, request.ifr_hwaddr.sa_data, 6);
	return 0;
}

/* The kernel tells the switch (MLD) and the NIC. */
static int groups_join(struct ndp *n)
{
	struct ipv6_mreq group = { .ipv6mr_interface = (unsigned)n->ifindex };
	static const uint8_t solicited_node[13] = { 0xff, 2, [11] = 1, [12] = 0xff };

	n->groups = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->groups < 0)
		return -errno;
	for (unsigned i = 0; i < n->address_count; i++) {
		memcpy(group.ipv6mr_multiaddr.s6_addr, solicited_node, 13);
		memcpy(group.ipv6mr_multiaddr.s6_addr + 13, n->addresses[i].bytes + 13,
		       3);
		/* Two addresses may have one group. */
		if (setsockopt(n->groups, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group,
			       sizeof(group)) &&
		    errno != EADDRINUSE)
			return -errno;
	}
	return 0;
}

/* Listens for all protocols and filters, for the same reason as arp.c. Neighbour discovery
 * has no extension headers (RFC 6980). */
static int socket_start(struct ndp *n)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 0, 6),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + NEXT_HEADER_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 4),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + ICMP_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOLICITATION, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ADVERTISEMENT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };
	const int one = 1;
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = n->ifindex,
	};

	n->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0 ||
	    setsockopt(n->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ||
	    setsockopt(n->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(n->fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return own_mac_read(n);
}

struct ndp *ndp_open(struct event_base *base, const struct ndp_config *config,
		     char err[NDP_ERROR_SIZE])
{
	struct ndp *n = calloc(1, sizeof(*n));
	int error = -ENOMEM;

	if (!n)
		goto fail;
	n->fd = n->groups = -1;
	error = -EINVAL;
	if (config->address_count > NDP_ADDRESSES_MAX)
		goto fail;
	snprintf(n->ifname, sizeof(n->ifname), "%s", config->ifname);
	memcpy(n->cluster_mac, config->cluster_mac, 6);
	memcpy(n->addresses, config->addresses, sizeof(n->addresses));
	n->address_count = config->address_count;
	n->ifindex = (int)if_nametoindex(config->ifname);
	error = n->ifindex ? socket_start(n) : -ENODEV;
	if (!error)
		error = groups_join(n);
	if (!error)
		error = herald_init(&n->herald, base, announce_once, n);
	if (error)
		goto fail;
	error = -ENOMEM;
	n->readable = event_new(base, n->fd, EV_READ | EV_PERSIST, on_readable, n);
	if (!n->readable || event_add(n->readable, NULL))
		goto fail;
	return n;
fail:
	snprintf(err, NDP_ERROR_SIZE, "neighbour discovery on %s: %s", config->ifname,
		 strerror(-error));
	ndp_close(n);
	return NULL;
}

void ndp_close(struct ndp *n)
{
	if (!n)
		return;
	if (n->readable)
		event_free(n->readable);
	herald_clear(&n->herald);
	if (n->fd >= 0)
		close(n->fd);
	if (n->groups >= 0)
		close(n->groups);
	free(n);
}

size_t ndp_statistics(const struct ndp *n, struct statistic *out, size_t max)
{
	const struct statistic all[] = {
		{ "ndp.solicitations", n->counters.solicitations },
		{ "ndp.advertisements", n->counters.advertisements },
		{ "ndp.announcements", n->counters.announcements },
		{ "ndp.stale-claims", n->counters.stale },
		{ "ndp.malformed", n->counters.malformed },
		{ "ndp.send-failed", n->counters.failed },
	};
	size_t count = sizeof(all) / sizeof(all[0]);

	count = count < max ? count : max;
	memcpy(out, all, count * sizeof(*out));
	return count;
}
