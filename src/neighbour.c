/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/neighbour.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/netlink_run.h"

/* The name of the interface with that address. */
static int interface_of(struct in_addr own, char name[IF_NAMESIZE])
{
	int error = -EADDRNOTAVAIL;
	struct ifaddrs *all;

	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *a = all; a && error; a = a->ifa_next) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)a->ifa_addr;

		if (!sin || sin->sin_family != AF_INET ||
		    sin->sin_addr.s_addr != own.s_addr)
			continue;
		/* An alias is called "eth0:1". */
		snprintf(name, IF_NAMESIZE, "%.*s", (int)strcspn(a->ifa_name, ":"),
			 a->ifa_name);
		error = 0;
	}
	freeifaddrs(all);
	return error;
}

/* In ms, or -errno. */
static int retrans_time(const char *ifname)
{
	char path[96], text[16] = "";

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/neigh/%s/retrans_time_ms",
		 ifname);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = read(fd, text, sizeof(text) - 1) < 0 ? -errno : 0;
	close(fd);
	return error ? error : atoi(text);
}

int neighbour_hasten(struct netlink *n, struct in_addr own, unsigned ms)
{
	uint8_t buffer[256];
	char ifname[IF_NAMESIZE];
	int now = interface_of(own, ifname);

	if (now)
		return now;
	now = retrans_time(ifname);
	if (now < 0 || (unsigned)now <= ms)
		return now < 0 ? now : 0;

	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	h->nlmsg_type = RTM_SETNEIGHTBL;
	struct ndtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->ndtm_family = AF_INET;
	mnl_attr_put_strz(h, NDTA_NAME, "arp_cache");
	struct nlattr *nest = mnl_attr_nest_start(h, NDTA_PARMS);
	mnl_attr_put_u32(h, NDTPA_IFINDEX, if_nametoindex(ifname));
	mnl_attr_put_u64(h, NDTPA_RETRANS_TIME, ms);
	mnl_attr_nest_end(h, nest);
	return netlink_run(n, h, NULL, NULL);
}
