/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/host.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/log.h"
#include "src/netlink.h"

#define ADDRESSES_MAX 256

static LOG_PRINTF(3, 4) int say(char *err, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err, HOST_ERROR_SIZE, format, args);
	va_end(args);
	return error;
}

static int rights_check(char *err)
{
	static const struct {
		unsigned bit;
		const char *name;
	} needed[] = {
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },
		{ CAP_NET_RAW, "CAP_NET_RAW" },
	};
	struct __user_cap_header_struct header = { .version =
						       _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };

	if (syscall(SYS_capget, &header, sets))
		return say(err, -errno, "capget: %s", strerror(errno));
	for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!(sets[needed[i].bit / 32].effective & 1u << needed[i].bit % 32))
			return say(err, -EPERM, "missing right: %s (run as root)",
				   needed[i].name);
	/* CAP_SYS_ADMIN stood for CAP_BPF before there was one. */
	bool bpf = sets[CAP_BPF / 32].effective & 1u << CAP_BPF % 32;
	bool admin = sets[CAP_SYS_ADMIN / 32].effective & 1u << CAP_SYS_ADMIN % 32;
	return bpf || admin ? 0
			    : say(err, -EPERM, "missing right: CAP_BPF (run as root)");
}

/* A packet socket's filter and the tc filter are of these two kinds. */
static int kernel_check(char *err)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return say(err, -errno, "/dev/net/tun: %s (CONFIG_TUN)", strerror(errno));
	close(fd);
	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SCHED_CLS, NULL) != 1)
		return say(err, -EOPNOTSUPP,
			   "the kernel loads no BPF tc programs (CONFIG_NET_CLS_BPF)");
	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SOCKET_FILTER, NULL) != 1)
		return say(err, -EOPNOTSUPP,
			   "the kernel loads no BPF socket filters (CONFIG_BPF_SYSCALL)");
	return 0;
}

/* The value of net.`name`, or -errno. */
static int setting(const char *name)
{
	char path[160], text[16] = "";

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	int error = n < 0 ? -errno : 0;
	close(fd);
	return error ? error : atoi(text);
}

/* The kernel uses the larger one of "all" and the interface's own for these three. */
static int setting_of(const char *ifname, const char *what)
{
	char name[96];

	snprintf(name, sizeof(name), "ipv4/conf/all/%s", what);
	int all = setting(name);
	snprintf(name, sizeof(name), "ipv4/conf/%s/%s", ifname, what);
	int own = setting(name);
	if (all < 0 || own < 0)
		return all < 0 ? all : own;
	return all > own ? all : own;
}

static int settings_check4(const char *ifname, char *err)
{
	if (setting_of(ifname, "arp_ignore") < 1)
		return say(err, -EINVAL,
			   "%s would answer ARP for cluster addresses: "
			   "sysctl net.ipv4.conf.%s.arp_ignore=1",
			   ifname, ifname);
	if (setting_of(ifname, "arp_announce") < 2)
		return say(err, -EINVAL,
			   "%s would announce cluster addresses with its own MAC: "
			   "sysctl net.ipv4.conf.%s.arp_announce=2",
			   ifname, ifname);
	if (setting_of(ifname, "rp_filter") == 1)
		return say(err, -EINVAL,
			   "strict reverse path filter on %s: "
			   "sysctl net.ipv4.conf.%s.rp_filter=2",
			   ifname, ifname);
	return 0;
}

static int settings_check6(const char *ifname, char *err)
{
	const char *const both[] = { ifname, "lo" };
	char name[96];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "ipv6/conf/%s/disable_ipv6", both[i]);
		if (setting(name))
			return say(
			    err, -EINVAL,
			    "%s has no IPv6: sysctl net.ipv6.conf.%s.disable_ipv6=0",
			    both[i], both[i]);
	}
	if (setting("ipv6/conf/all/forwarding") < 1)
		return say(err, -EINVAL,
			   "the machine does not forward IPv6: "
			   "sysctl net.ipv6.conf.all.forwarding=1");
	return 0;
}

/* The member's own addresses; one that other networks reach must be among them. */
static int addresses_check(struct netlink *n, const struct host_network *network,
			   int family, char *err)
{
	struct netlink_address own[ADDRESSES_MAX];
	const char *ifname = network->ifname;
	char text[ADDRESS_TEXT_MAX];
	bool found = false;
	int count = netlink_addresses(n, ifname, family, own, ADDRESSES_MAX);

	if (count < 0)
		return say(err, count, "addresses of %s: %s", ifname, strerror(-count));
	for (int i = 0; i < count && i < ADDRESSES_MAX; i++) {
		if (address_is_unicast(&own[i].address))
			found = true;
		for (unsigned k = 0; k < network->count; k++) {
			if (!address_same(&own[i].address, &network->addresses[k]))
				continue;
			address_print(&own[i].address, text);
			return say(err, -EADDRINUSE,
				   "interface %s has the cluster address %s; phalanxd "
				   "serves it: ip address del %s/%u dev %s",
				   ifname, text, text, own[i].prefixlen, ifname);
		}
	}
	return found ? 0
		     : say(err, -EADDRNOTAVAIL,
			   "interface %s has no %s address of its own; each member needs "
			   "one on each cluster network",
			   ifname, family == AF_INET6 ? "global IPv6" : "IPv4");
}

static int family_check(struct netlink *n, const struct host_network *network, int family,
			char *err)
{
	unsigned of_family = 0;
	int error;

	for (unsigned i = 0; i < network->count; i++)
		of_family += network->addresses[i].family == family;
	if (!of_family)
		return 0;
	/* Without IPv6 there are no addresses, so that is looked at first. */
	error = family == AF_INET6 ? settings_check6(network->ifname, err) : 0;
	if (!error)
		error = addresses_check(n, network, family, err);
	if (!error && family == AF_INET)
		error = settings_check4(network->ifname, err);
	return error;
}

static int interface_check(struct netlink *n, const struct host_network *network,
			   char *err)
{
	const char *ifname = network->ifname;
	struct netlink_link link;
	int error = netlink_link_get(n, ifname, &link);

	if (error)
		return say(err, error, "interface %s: %s", ifname, strerror(-error));
	if (!link.up)
		return say(err, -ENETDOWN, "interface %s is down: ip link set %s up",
			   ifname, ifname);
	error = family_check(n, network, AF_INET, err);
	return error ? error : family_check(n, network, AF_INET6, err);
}

int host_check(const struct host_network *networks, unsigned count,
	       char err[HOST_ERROR_SIZE])
{
	struct netlink *n;
	int error = rights_check(err);

	if (!error)
		error = kernel_check(err);
	if (error)
		return error;
	error = netlink_open(&n);
	if (error)
		return say(err, error, "netlink: %s", strerror(-error));
	for (unsigned i = 0; !error && i < count; i++)
		error = interface_check(n, &networks[i], err);
	netlink_close(n);
	/* What clients send inside their tunnels is IPv4 on any network. */
	if (!error && setting("ipv4/ip_forward") < 1)
		error = say(err, -EINVAL,
			    "the machine does not forward: sysctl net.ipv4.ip_forward=1");
	return error;
}
