/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A member's packet path without a cluster, for test_path: takes commands on standard
 * input, one a line, and prints what happens.
 *
 *   path_member detach IF | unroute
 *   path_member check CLUSTER-ADDRESS IF...
 *   path_member run NAME SELF TUN CLUSTER-MAC|forwarding OUTSIDE VIP,... INSIDE VIP,...
 *
 * Commands: lease MS (0: over) | owners EVEN ODD | master 0|1 | session ADDRESS UNIT |
 * end ADDRESS UNIT | pool PREFIX | protect PREFIX | unprotect PREFIX | look |
 * send TO [NEIGHBOUR] | place MEMBER OUTSIDE-MAC | statistics | quit
 * Each command is answered by "done COMMAND".
 */
#include <arpa/inet.h>
#include <event2/bufferevent.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/arp.h"
#include "src/filter.h"
#include "src/host.h"
#include "src/log.h"
#include "src/ndp.h"
#include "src/netlink.h"
#include "src/port.h"
#include "src/routes.h"
#include "src/tun.h"
#include "tunnels/ip.h"

#define NETWORKS 2
#define TCP_PORT 7777

static const char *name;
static struct event_base *base;
static struct filter *filter;
static struct port *ports[NETWORKS];
static struct arp *arps[NETWORKS];
static struct ndp *ndps[NETWORKS];
static struct tun *tun;
static struct netlink *netlink;
static struct routes *routes;
static struct address vip4, vip6; /* of the outside, the first of each family */

static void on_frame(void *ctx, const struct port_frame *f, uint8_t *ip, size_t len)
{
	const uint8_t *s = f->source;

	printf("frame network %u reason %s unit %u len %zu checksum %d source "
	       "%02x:%02x:%02x:%02x:%02x:%02x\n",
	       f->network, filter_reason_name(f->reason), f->unit, len, f->checksum_ok,
	       s[0], s[1], s[2], s[3], s[4], s[5]);
}

static void on_tun(void *ctx, uint8_t *ip, size_t len)
{
	char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, ip + 12, from, sizeof(from));
	inet_ntop(AF_INET, ip + 16, to, sizeof(to));
	printf("tun %s > %s protocol %u\n", from, to, ip[9]);
	/* An echo request is answered in its place, which shows the way back. */
	if (ip[9] != 1 || (ip[0] & 15) != 5 || len < 28 || ip[20] != 8)
		return;
	uint8_t address[4];
	memcpy(address, ip + 12, 4);
	memcpy(ip + 12, ip + 16, 4);
	memcpy(ip + 16, address, 4);
	ip[20] = 0;
	uint32_t sum = (uint32_t)(ip[22] << 8 | ip[23]) + 0x0800;
	sum = (sum & 0xffff) + (sum >> 16);
	ip[22] = (uint8_t)(sum >> 8);
	ip[23] = (uint8_t)sum;
	tun_write(tun, ip, len);
}

static void on_batch_end(void *ctx)
{
	fflush(stdout);
}

static void on_link(void *ctx, unsigned which, bool running)
{
	printf("link %u %s\n", which, running ? "running" : "not running");
	fflush(stdout);
}

static void on_tcp(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa,
		   int len, void *ctx)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "hello from %s\n", name);

	if (write(fd, line, (size_t)n) != n)
		log_warn("tcp");
	close(fd);
}

static void lease(const char *argument)
{
	struct timespec t;
	uint64_t ms = strtoull(argument, NULL, 10);

	clock_gettime(CLOCK_MONOTONIC, &t);
	filter_renew(filter, ms ? (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec +
				      ms * 1000000u
				: 0);
}

/* With a neighbour, a packet from one VPN client to another. */
static void send_to(const char *argument, const char *via)
{
	struct in_addr next_hop;
	struct address to, from;
	uint8_t packet[IP_OVERHEAD_MAX + 4];
	int error;

	if (address_parse(argument, &to))
		fatalx("send %s", argument);
	from = to.family == AF_INET6 ? vip6 : vip4;
	if (*via &&
	    (inet_pton(AF_INET, via, &next_hop) != 1 || address_parse("10.9.0.5", &from)))
		fatalx("send by %s", via);
	uint8_t family = to.family == AF_INET6 ? 6 : 4;
	const struct ip_end source = { family, from.bytes, 4500 };
	const struct ip_end destination = { family, to.bytes, 9999 };
	size_t overhead = ip_overhead(family, true);

	memcpy(packet + overhead, "ping", 4);
	ip_write(packet, IP_PROTOCOL_UDP, &source, &destination, 4);
	if (*via)
		error = port_send_ip_via(ports[1], next_hop, packet, overhead + 4);
	else
		error = port_send_ip(ports[0], packet, overhead + 4);
	if (error)
		printf("send refused\n");
}

static void session(const char *argument, uint16_t unit, bool add)
{
	struct address_block b;

	if (address_block_parse(argument, &b))
		fatalx("session %s", argument);
	(add ? routes_add : routes_remove)(routes, &b.first, b.len, unit);
}

static void protect(const char *argument, enum routes_why why, bool on)
{
	struct address_block b;

	if (address_block_parse(argument, &b))
		fatalx("protect %s", argument);
	(on ? routes_protect : routes_unprotect)(routes, why, &b.first, b.len);
}

static bool mac_parse(const char *text, uint8_t mac[6])
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2],
		      &mac[3], &mac[4], &mac[5]) == 6;
}

static void place(uint16_t member, const char *text)
{
	uint8_t mac[6];

	if (!mac_parse(text, mac) || filter_set_place(filter, 0, member, mac))
		fatalx("place %s", text);
}

static void statistics(void)
{
	struct statistic all[128];
	size_t n = filter_statistics(filter, all, 128);

	for (unsigned i = 0; i < NETWORKS; i++) {
		n += port_statistics(ports[i], all + n, 128 - n);
		n += arp_statistics(arps[i], all + n, 128 - n);
		n += ndp_statistics(ndps[i], all + n, 128 - n);
	}
	n += tun_statistics(tun, all + n, 128 - n);
	for (size_t i = 0; i < n; i++)
		if (all[i].value)
			printf("statistic %s %" PRIu64 "\n", all[i].name, all[i].value);
}

static void command(char *line)
{
	char verb[32] = "", a[64] = "", b[64] = "";

	sscanf(line, "%31s %63s %63s", verb, a, b);
	if (!strcmp(verb, "lease")) {
		lease(a);
	} else if (!strcmp(verb, "owners")) {
		for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
			filter_set_owner(filter, (uint16_t)unit,
					 (uint16_t)atoi(unit % 2 ? b : a));
	} else if (!strcmp(verb, "master")) {
		for (unsigned i = 0; i < NETWORKS; i++) {
			arp_set_master(arps[i], atoi(a));
			ndp_set_master(ndps[i], atoi(a));
		}
	} else if (!strcmp(verb, "session")) {
		session(a, (uint16_t)atoi(b), true);
	} else if (!strcmp(verb, "end")) {
		session(a, (uint16_t)atoi(b), false);
	} else if (!strcmp(verb, "pool")) {
		protect(a, ROUTES_POOL, true);
	} else if (!strcmp(verb, "protect")) {
		protect(a, ROUTES_POLICY, true);
	} else if (!strcmp(verb, "unprotect")) {
		protect(a, ROUTES_POLICY, false);
	} else if (!strcmp(verb, "look")) {
		routes_look(routes);
	} else if (!strcmp(verb, "send")) {
		send_to(a, b);
	} else if (!strcmp(verb, "place")) {
		place((uint16_t)atoi(a), b);
	} else if (!strcmp(verb, "statistics")) {
		statistics();
	} else if (!strcmp(verb, "quit")) {
		event_base_loopbreak(base);
	} else {
		fatalx("unknown command: %s", verb);
	}
	printf("done %s\n", line);
	fflush(stdout);
}

static void on_input(struct bufferevent *b, void *ctx)
{
	char *line;

	while (
	    (line = evbuffer_readln(bufferevent_get_input(b), NULL, EVBUFFER_EOL_LF))) {
		command(line);
		free(line);
	}
}

static void on_input_end(struct bufferevent *b, short what, void *ctx)
{
	event_base_loopbreak(base);
}

static struct evconnlistener *tcp_listen(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6,
					.sin6_port = htons(TCP_PORT) };

	return evconnlistener_new_bind(base, on_tcp, NULL,
				       LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE, 16,
				       (struct sockaddr *)&address, sizeof(address));
}

/* One of the network's cluster addresses: to the filter, the kernel, and who answers. */
static void address_take(struct filter_config *filters, struct arp_config *arp,
			 struct ndp_config *ndp, const char *text)
{
	struct address a;

	if (address_parse(text, &a))
		fatalx("address %s", text);
	filters->addresses[filters->address_count++] = a;
	if (a.family == AF_INET6)
		ndp->addresses[ndp->address_count++] = a;
	else
		memcpy(&arp->addresses[arp->address_count++], a.bytes, 4);
	struct address *first = a.family == AF_INET6 ? &vip6 : &vip4;
	if (!first->family)
		*first = a;
	int error =
	    netlink_address_add(netlink, "lo", &a, 8 * (unsigned)address_size(a.family));
	if (error)
		fatalx("address %s on lo: %s", text, strerror(-error));
}

static void path_open(char **argv)
{
	char err[256] = "";
	const struct port_handler frames = { on_frame, on_batch_end, NULL };
	const struct tun_handler packets = { on_tun, on_batch_end, NULL };
	struct filter_config config = { .self = (uint16_t)atoi(argv[1]),
					.network_count = NETWORKS,
					.lease_fd = -1 };
	struct arp_config arp[NETWORKS] = { 0 };
	struct ndp_config ndp[NETWORKS] = { 0 };
	uint8_t mac[6] = { 0 };
	bool forwarding = !strcmp(argv[3], "forwarding");

	if (!forwarding && !mac_parse(argv[3], mac))
		fatalx("MAC %s", argv[3]);
	mac[5] = (uint8_t)(mac[5] & 0xfe);
	for (unsigned i = 0; i < NETWORKS; i++) {
		struct filter_network *n = &config.networks[i];
		snprintf(n->ifname, sizeof(n->ifname), "%s", argv[4 + 2 * i]);
		memcpy(n->cluster_mac, mac, 6);
		n->cluster_mac[5] |= (uint8_t)i; /* one for each network */
		n->forwarding = forwarding;
		arp[i].ifname = ndp[i].ifname = n->ifname;
		memcpy(arp[i].cluster_mac, n->cluster_mac, 6);
		memcpy(ndp[i].cluster_mac, n->cluster_mac, 6);
		for (char *at, *text = strtok_r(argv[5 + 2 * i], ",", &at); text;
		     text = strtok_r(NULL, ",", &at))
			address_take(&config, &arp[i], &ndp[i], text);
	}
	if (!(filter = filter_new(&config, err)))
		fatalx("%s", err);
	if (!(tun = tun_open(base, argv[2], TUN_MTU_DEFAULT, &packets, err)))
		fatalx("%s", err);
	const struct rtable table = { netlink, RTABLE_DEFAULT, tun_ifindex(tun) };
	int error = rtable_begin(&table);
	if (error)
		fatalx("routing rules: %s", strerror(-error));
	if (!(routes = routes_new(filter, &table)))
		fatalx("start");
	routes_look(routes);
	for (unsigned i = 0; i < NETWORKS; i++)
		if (filter_attach(filter, i, err) ||
		    !(ports[i] = port_open_packet(base, filter, i, &frames, err)) ||
		    !(arps[i] = arp_open(base, &arp[i], err)) ||
		    !(ndps[i] = ndp_open(base, &ndp[i], err)))
			fatalx("%s", err);
}

static int run(char **argv)
{
	const char *const links[NETWORKS] = { argv[4], argv[6] };

	name = argv[0];
	base = event_base_new();
	if (!base || netlink_open(&netlink))
		fatalx("start");
	path_open(argv);
	struct netlink_watch *watch =
	    netlink_watch_new(base, links, NETWORKS, on_link, NULL);
	struct evconnlistener *listener = tcp_listen();
	struct bufferevent *input = bufferevent_socket_new(base, STDIN_FILENO, 0);
	if (!watch || !listener || !input)
		fatal("start");
	evutil_make_socket_nonblocking(STDIN_FILENO);
	bufferevent_setcb(input, on_input, NULL, on_input_end, NULL);
	bufferevent_enable(input, EV_READ);
	printf("ready\n");
	fflush(stdout);
	event_base_dispatch(base);
	bufferevent_free(input);
	evconnlistener_free(listener);
	netlink_watch_free(watch);
	tun_close(tun);
	for (unsigned i = 0; i < NETWORKS; i++) {
		arp_close(arps[i]);
		ndp_close(ndps[i]);
		port_close(ports[i]);
	}
	routes_free(routes);
	filter_free(filter);
	netlink_close(netlink);
	event_base_free(base);
	return 0;
}

static int check(char **argv, unsigned count)
{
	struct host_network networks[UNIT_NETWORKS_MAX];
	char err[HOST_ERROR_SIZE] = "";
	struct address address;

	if (count < 2 || count > UNIT_NETWORKS_MAX || address_parse(argv[0], &address))
		fatalx("wrong arguments");
	for (unsigned i = 1; i < count; i++)
		networks[i - 1] = (struct host_network){ argv[i], &address, 1 };
	if (!host_check(networks, count - 1, err))
		return 0;
	fprintf(stderr, "%s\n", err);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "check"))
		return check(argv + 2, (unsigned)argc - 2);
	if (argc == 2 && !strcmp(argv[1], "unroute"))
		return netlink_open(&netlink) || rtable_remove(netlink);
	if (argc == 3 && !strcmp(argv[1], "detach")) {
		int error = filter_detach(argv[2]);
		if (error)
			fprintf(stderr, "%s\n", strerror(-error));
		return error != 0;
	}
	if (argc != 10 || strcmp(argv[1], "run"))
		fatalx("wrong arguments");
	return run(argv + 2);
}
