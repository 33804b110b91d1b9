/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/arp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/herald.h"
#include "src/log.h"

#define READ_MAX 64

/* RFC 826, for Ethernet and IPv4. */
struct arp_frame {
	struct ether_header ethernet;
	struct ether_arp arp;
};
_Static_assert(sizeof(struct arp_frame) == 42, "a frame has no padding");

struct arp {
	struct event *readable;
	struct herald herald;
	int fd;
	int ifindex;
	char ifname[IF_NAMESIZE];
	uint8_t own_mac[6], cluster_mac[6];
	struct in_addr addresses[ARP_ADDRESSES_MAX];
	unsigned address_count;
	struct {
		uint64_t requests, replies, announcements;
		uint64_t stale;	    /* claims of a cluster address for another MAC */
		uint64_t malformed; /* not Ethernet and IPv4, or too short */
		uint64_t failed;    /* could not be sent */
	} counters;
};

static bool is_cluster(const struct arp *a, const uint8_t *address)
{
	for (unsigned i = 0; i < a->address_count; i++)
		if (!memcmp(&a->addresses[i], address, 4))
			return true;
	return false;
}

static int frame_send(struct arp *a, uint16_t operation, const uint8_t *sender,
		      const uint8_t *to_mac, const uint8_t *target_mac,
		      const uint8_t *target)
{
	struct arp_frame frame = { 0 };

	memcpy(frame.ethernet.ether_dhost, to_mac, 6);
	memcpy(frame.ethernet.ether_shost, a->own_mac, 6);
	frame.ethernet.ether_type = htons(ETHERTYPE_ARP);
	frame.arp.arp_hrd = htons(ARPHRD_ETHER);
	frame.arp.arp_pro = htons(ETHERTYPE_IP);
	frame.arp.arp_hln = 6;
	frame.arp.arp_pln = 4;
	frame.arp.arp_op = htons(operation);
	memcpy(frame.arp.arp_sha, a->cluster_mac, 6);
	memcpy(frame.arp.arp_spa, sender, 4);
	memcpy(frame.arp.arp_tha, target_mac, 6);
	memcpy(frame.arp.arp_tpa, target, 4);
	if (send(a->fd, &frame, sizeof(frame), 0) == (ssize_t)sizeof(frame))
		return 0;
	a->counters.failed++;
	return -errno;
}

/*
 * RFC 5227 2.3 asks for the request form; some hosts update their caches from replies
 * only, so both are sent.
 */
static void announce_once(void *ctx)
{
	struct arp *a = ctx;
	static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t nobody[6];

	for (unsigned i = 0; i < a->address_count; i++) {
		const uint8_t *address = (const uint8_t *)&a->addresses[i];
		frame_send(a, ARPOP_REQUEST, address, everybody, nobody, address);
		frame_send(a, ARPOP_REPLY, address, everybody, everybody, address);
		a->counters.announcements++;
	}
}

void arp_announce(struct arp *a)
{
	herald_announce(&a->herald);
}

void arp_set_master(struct arp *a, bool master)
{
	herald_set_master(&a->herald, master);
}

/* Somebody says that a cluster address is at another MAC. */
static void stale_claim(struct arp *a, const struct ether_arp *arp)
{
	char text[INET_ADDRSTRLEN];
	const uint8_t *m = arp->arp_sha;

	a->counters.stale++;
	if (!herald_claimed(&a->herald))
		return;
	inet_ntop(AF_INET, arp->arp_spa, text, sizeof(text));
	log_warnx(
	    "arp: on %s, %02x:%02x:%02x:%02x:%02x:%02x claims the cluster address %s",
	    a->ifname, m[0], m[1], m[2], m[3], m[4], m[5], text);
}

static void frame_receive(struct arp *a, const uint8_t *bytes, size_t len)
{
	struct arp_frame frame;

	if (len < sizeof(frame)) {
		a->counters.malformed++;
		return;
	}
	memcpy(&frame, bytes, sizeof(frame));
	const struct ether_arp *arp = &frame.arp;
	uint16_t operation = ntohs(arp->arp_op);
	if (arp->arp_hrd != htons(ARPHRD_ETHER) || arp->arp_pro != htons(ETHERTYPE_IP) ||
	    arp->arp_hln != 6 || arp->arp_pln != 4 ||
	    (operation != ARPOP_REQUEST && operation != ARPOP_REPLY)) {
		a->counters.malformed++;
		return;
	}
	if (is_cluster(a, arp->arp_spa)) {
		/* Also what the master of this or another part announces. */
		if (memcmp(arp->arp_sha, a->cluster_mac, 6))
			stale_claim(a, arp);
		return;
	}
	if (operation != ARPOP_REQUEST || !is_cluster(a, arp->arp_tpa))
		return;
	a->counters.requests++;
	/* A group address as the asker's would make us answer to many. */
	if (!a->herald.master || arp->arp_sha[0] & 1)
		return;
	if (!frame_send(a, ARPOP_REPLY, arp->arp_tpa, arp->arp_sha, arp->arp_sha,
			arp->arp_spa))
		a->counters.replies++;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct arp *a = ctx;
	uint8_t frame[128];

	for (unsigned i = 0; i < READ_MAX; i++) {
		ssize_t len = recv(fd, frame, sizeof(frame), MSG_DONTWAIT);
		if (len < 0)
			return;
		frame_receive(a, frame, (size_t)len);
	}
}

static int own_mac_read(struct arp *a)
{
	struct ifreq request = { 0 };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", a->ifname);
	if (ioctl(a->fd, SIOCGIFHWADDR, &request))
		return -errno;
	memcpy(a->own_mac, request.ifr_hwaddr.sa_data, 6);
	return 0;
}

/*
 * Listens for all protocols and filters, for the same reason as port_packet.c: tc drops
 * ARP for the cluster MAC (with which hosts probe a neighbour that they know), and a tap
 * for ARP alone stands behind tc.
 */
static int socket_start(struct arp *a)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS,
			 offsetof(struct ether_header, ether_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };
	const int one = 1;
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = a->ifindex,
	};

	a->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0 ||
	    setsockopt(a->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ||
	    setsockopt(a->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(a->fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return own_mac_read(a);
}

struct arp *arp_open(struct event_base *base, const struct arp_config *config,
		     char err[ARP_ERROR_SIZE])
{
	int error = -EINVAL;
	struct arp *a =
	    config->address_count <= ARP_ADDRESSES_MAX ? calloc(1, sizeof(*a)) : NULL;
	if (!a)
		goto fail;
	snprintf(a->ifname, sizeof(a->ifname), "%s", config->ifname);
	memcpy(a->cluster_mac, config->cluster_mac, 6);
	memcpy(a->addresses, config->addresses, sizeof(a->addresses));
	a->address_count = config->address_count;
	a->ifindex = (int)if_nametoindex(config->ifname);
	a->fd = -1;
	error = a->ifindex ? socket_start(a) : -ENODEV;
	if (error)
		goto fail;
	error = herald_init(&a->herald, base, announce_once, a);
	a->readable = event_new(base, a->fd, EV_READ | EV_PERSIST, on_readable, a);
	if (!a->readable || event_add(a->readable, NULL))
		error = -ENOMEM;
	if (error)
		goto fail;
	return a;
fail:
	snprintf(err, ARP_ERROR_SIZE, "ARP on %s: %s", config->ifname, strerror(-error));
	arp_close(a);
	return NULL;
}

void arp_close(struct arp *a)
{
	if (!a)
		return;
	if (a->readable)
		event_free(a->readable);
	herald_clear(&a->herald);
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

size_t arp_statistics(const struct arp *a, struct statistic *out, size_t max)
{
	const struct statistic all[] = {
		{ "arp.requests", a->counters.requests },
		{ "arp.replies", a->counters.replies },
		{ "arp.announcements", a->counters.announcements },
		{ "arp.stale-claims", a->counters.stale },
		{ "arp.malformed", a->counters.malformed },
		{ "arp.send-failed", a->counters.failed },
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	n = n < max ? n : max;
	memcpy(out, all, n * sizeof(*out));
	return n;
}
