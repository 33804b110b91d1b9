/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends the ESP frames of a capture again, byte for byte, as an attacker on the network
 * would. The frames keep their source MAC, so only those that the same interface has sent
 * are sent again: else the switch would learn others' addresses on its port.
 */
#include <err.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <pcap/pcap.h>

#include "tests/net/tools/espframe.h"

#define DEFAULT_RATE 5000
#define DESTINATIONS_MAX 8
#define NS_PER_S 1000000000L

struct wanted {
	const char *interface;
	struct address ips[DESTINATIONS_MAX];
	unsigned nips;			  /* 0: any */
	uint8_t source[ESPFRAME_MAC_LEN]; /* the interface's own MAC */
	bool by_mac;
	struct ether_addr mac;
	long rate;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: espreplay -i IFACE [-d DSTIP]... [-m DSTMAC] [-r RATE] FILE\n");
	exit(2);
}

static int open_interface(const char *name, uint8_t mac[ESPFRAME_MAC_LEN])
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	struct ifreq r = { 0 };

	to.sll_ifindex = (int)if_nametoindex(name);
	if (to.sll_ifindex == 0)
		err(2, "%s", name);
	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(2, "packet socket on %s", name);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFHWADDR, &r) < 0)
		err(2, "the MAC of %s", name);
	memcpy(mac, r.ifr_hwaddr.sa_data, ESPFRAME_MAC_LEN);
	return fd;
}

static bool is_wanted(const struct wanted *w, const uint8_t *frame, size_t len)
{
	struct espframe e;
	enum espframe_kind kind = espframe_parse(frame, len, &e);

	if (kind != ESPFRAME_ESP && kind != ESPFRAME_FRAGMENT)
		return false;
	if (memcmp(frame + ESPFRAME_MAC_LEN, w->source, ESPFRAME_MAC_LEN) != 0)
		return false;
	if (w->by_mac && memcmp(frame, &w->mac, ESPFRAME_MAC_LEN) != 0)
		return false;
	for (unsigned i = 0; i < w->nips; i++)
		if (address_same(&e.dst, &w->ips[i]))
			return true;
	return !w->nips;
}

static void send_frame(int fd, const uint8_t *frame, size_t len)
{
	while (send(fd, frame, len, 0) < 0) {
		struct pollfd p = { fd, POLLOUT, 0 };

		if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			err(2, "send");
		poll(&p, 1, 1);
	}
}

static void wait_turn(struct timespec *next, long rate)
{
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
	next->tv_nsec += NS_PER_S / rate;
	if (next->tv_nsec >= NS_PER_S) {
		next->tv_nsec -= NS_PER_S;
		next->tv_sec++;
	}
}

static void replay(struct wanted *w, const char *file)
{
	char why[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(file, why);
	struct pcap_pkthdr *h;
	const uint8_t *frame;
	struct timespec next;
	unsigned long sent = 0;
	int rc, fd = open_interface(w->interface, w->source);

	if (pcap == NULL)
		errx(2, "%s", why);
	if (pcap_datalink(pcap) != DLT_EN10MB)
		errx(2, "%s: not a capture of Ethernet", file);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while ((rc = pcap_next_ex(pcap, &h, &frame)) == 1) {
		if (h->caplen != h->len || !is_wanted(w, frame, h->caplen))
			continue;
		wait_turn(&next, w->rate);
		send_frame(fd, frame, h->caplen);
		sent++;
	}
	if (rc == PCAP_ERROR)
		errx(2, "%s: %s", file, pcap_geterr(pcap));
	pcap_close(pcap);
	close(fd);
	printf("espreplay: sent %lu frames\n", sent);
}

static void read_options(struct wanted *w, int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "i:d:m:r:")) != -1) {
		switch (opt) {
		case 'i':
			w->interface = optarg;
			break;
		case 'd':
			if (w->nips == DESTINATIONS_MAX ||
			    address_parse(optarg, &w->ips[w->nips++]))
				errx(2, "%s: an address was expected", optarg);
			break;
		case 'm':
			if (ether_aton_r(optarg, &w->mac) == NULL)
				errx(2, "%s: a MAC address was expected", optarg);
			w->by_mac = true;
			break;
		case 'r':
			w->rate = strtol(optarg, NULL, 10);
			if (w->rate < 1 || w->rate > NS_PER_S)
				errx(2, "%s: frames per second were expected", optarg);
			break;
		default:
			usage();
		}
	}
	if (w->interface == NULL || optind != argc - 1)
		usage();
}

int main(int argc, char **argv)
{
	struct wanted w = { .rate = DEFAULT_RATE };

	read_options(&w, argc, argv);
	replay(&w, argv[optind]);
	return 0;
}
