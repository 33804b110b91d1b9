/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "src/netlink_run.h"

#define BUFFER_SIZE 32768

struct netlink {
	struct mnl_socket *socket;
	unsigned portid;
	uint32_t sequence;
	uint8_t buffer[BUFFER_SIZE];
};

int netlink_open(struct netlink **out)
{
	const struct timeval timeout = { .tv_sec = 2 };
	struct netlink *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!n->socket || mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int error = -errno;
		netlink_close(n);
		return error;
	}
	setsockopt(mnl_socket_get_fd(n->socket), SOL_SOCKET, SO_RCVTIMEO, &timeout,
		   sizeof(timeout));
	n->portid = mnl_socket_get_portid(n->socket);
	*out = n;
	return 0;
}

void netlink_close(struct netlink *n)
{
	if (!n)
		return;
	if (n->socket)
		mnl_socket_close(n->socket);
	free(n);
}

int netlink_run(struct netlink *n, struct nlmsghdr *h, mnl_cb_t each, void *ctx)
{
	uint32_t sequence = ++n->sequence;
	int verdict;

	h->nlmsg_seq = sequence;
	h->nlmsg_flags |= NLM_F_REQUEST;
	/* A dump ends by itself. Its two bits mean other things in other requests. */
	if ((h->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		h->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(n->socket, h, h->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t len = mnl_socket_recvfrom(n->socket, n->buffer, BUFFER_SIZE);
		if (len < 0 && errno == EINTR)
			verdict = MNL_CB_OK;
		else if (len < 0)
			return -errno;
		else
			verdict = mnl_cb_run(n->buffer, (size_t)len, sequence, n->portid,
					     each, ctx);
		/* What an earlier request that timed out still had to say. */
		if (verdict < 0 && errno == EPROTO &&
		    ((struct nlmsghdr *)n->buffer)->nlmsg_seq != sequence)
			verdict = MNL_CB_OK;
	} while (verdict > MNL_CB_STOP);
	return verdict < 0 ? -errno : 0;
}

static int address_change(struct netlink *n, uint16_t type, uint16_t flags,
			  const char *ifname, const struct address *address,
			  unsigned prefixlen)
{
	uint8_t buffer[256];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	unsigned ifindex = if_nametoindex(ifname);
	size_t size = address_size(address->family);
	/* "Deprecated": not for packets that have no source yet. */
	const struct ifa_cacheinfo lifetimes = { .ifa_prefered = 0,
						 .ifa_valid = UINT32_MAX };

	if (!ifindex)
		return -ENODEV;
	if (!size || prefixlen > size * 8)
		return -EINVAL;
	h->nlmsg_type = type;
	h->nlmsg_flags = flags;
	m->ifa_family = (uint8_t)address->family;
	m->ifa_prefixlen = (uint8_t)prefixlen;
	m->ifa_index = ifindex;
	mnl_attr_put(h, IFA_LOCAL, size, address->bytes);
	mnl_attr_put(h, IFA_ADDRESS, size, address->bytes);
	if (address->family == AF_INET6 && type == RTM_NEWADDR) {
		m->ifa_flags = IFA_F_NODAD;
		mnl_attr_put(h, IFA_CACHEINFO, sizeof(lifetimes), &lifetimes);
	}
	return netlink_run(n, h, NULL, NULL);
}

int netlink_address_add(struct netlink *n, const char *ifname,
			const struct address *address, unsigned prefixlen)
{
	return address_change(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifname,
			      address, prefixlen);
}

int netlink_address_del(struct netlink *n, const char *ifname,
			const struct address *address, unsigned prefixlen)
{
	return address_change(n, RTM_DELADDR, 0, ifname, address, prefixlen);
}

static bool link_running(unsigned flags)
{
	return (flags & IFF_UP) && (flags & IFF_RUNNING);
}

static int on_link(const struct nlmsghdr *h, void *ctx)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	struct netlink_link *link = ctx;
	const struct nlattr *a;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*m))
		return MNL_CB_OK;
	link->ifindex = m->ifi_index;
	link->up = m->ifi_flags & IFF_UP;
	link->running = link_running(m->ifi_flags);
	mnl_attr_for_each(a, h, sizeof(*m))
	{
		uint16_t type = mnl_attr_get_type(a), len = mnl_attr_get_payload_len(a);
		if (type == IFLA_ADDRESS && len == sizeof(link->mac))
			memcpy(link->mac, mnl_attr_get_payload(a), sizeof(link->mac));
		else if (type == IFLA_MTU && len >= sizeof(uint32_t))
			link->mtu = mnl_attr_get_u32(a);
	}
	return MNL_CB_OK;
}

int netlink_link_get(struct netlink *n, const char *ifname, struct netlink_link *out)
{
	uint8_t buffer[256];
	struct netlink_link found = { 0 };
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	h->nlmsg_type = RTM_GETLINK;
	m->ifi_family = AF_UNSPEC;
	if (strlen(ifname) >= IF_NAMESIZE)
		return -ENODEV;
	mnl_attr_put_strz(h, IFLA_IFNAME, ifname);
	int error = netlink_run(n, h, on_link, &found);
	if (!error)
		*out = found;
	return error;
}

struct address_list {
	struct netlink_address *out;
	size_t max, count;
	unsigned ifindex;
	int family;
};

static int on_address(const struct nlmsghdr *h, void *ctx)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
	struct address_list *list = ctx;
	const struct nlattr *a;

	/* A peer's address may stand in IFA_ADDRESS of IPv4; IPv6 has often nothing else. */
	uint16_t wanted = list->family == AF_INET6 ? IFA_ADDRESS : IFA_LOCAL;
	size_t size = address_size(list->family);

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*m) || m->ifa_index != list->ifindex ||
	    m->ifa_family != list->family)
		return MNL_CB_OK;
	mnl_attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) != wanted || mnl_attr_get_payload_len(a) < size)
			continue;
		if (list->count < list->max) {
			struct netlink_address *out = &list->out[list->count];
			memset(out, 0, sizeof(*out));
			out->address.family = list->family;
			memcpy(out->address.bytes, mnl_attr_get_payload(a), size);
			out->prefixlen = m->ifa_prefixlen;
		}
		list->count++;
	}
	return MNL_CB_OK;
}

int netlink_addresses(struct netlink *n, const char *ifname, int family,
		      struct netlink_address *out, size_t max)
{
	uint8_t buffer[256];
	struct address_list list = { out, max, 0, if_nametoindex(ifname), family };
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	if (!list.ifindex)
		return -ENODEV;
	h->nlmsg_type = RTM_GETADDR;
	h->nlmsg_flags = NLM_F_DUMP;
	m->ifa_family = (uint8_t)family;
	int error = netlink_run(n, h, on_address, &list);
	return error ? error : (int)list.count;
}

struct netlink_watch {
	struct mnl_socket *socket;
	struct event *readable;
	netlink_changed *changed;
	void *ctx;
	unsigned count;
	struct {
		char name[IF_NAMESIZE];
		bool running;
	} links[];
};

static void watch_set(struct netlink_watch *w, unsigned which, bool running)
{
	if (w->links[which].running == running)
		return;
	w->links[which].running = running;
	w->changed(w->ctx, which, running);
}

static int on_watched(const struct nlmsghdr *h, void *ctx)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	struct netlink_watch *w = ctx;
	const struct nlattr *a;

	if ((h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK) ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(*m))
		return MNL_CB_OK;
	mnl_attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) != IFLA_IFNAME ||
		    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0)
			continue;
		for (unsigned i = 0; i < w->count; i++)
			if (!strcmp(w->links[i].name, mnl_attr_get_str(a)))
				watch_set(w, i,
					  h->nlmsg_type == RTM_NEWLINK &&
					      link_running(m->ifi_flags));
	}
	return MNL_CB_OK;
}

/* Asks for the present state, at the start and after messages were lost. */
static void watch_refresh(struct netlink_watch *w)
{
	struct netlink *n;

	if (netlink_open(&n))
		return;
	for (unsigned i = 0; i < w->count; i++) {
		struct netlink_link link = { 0 };
		int error = netlink_link_get(n, w->links[i].name, &link);
		watch_set(w, i, !error && link.running);
	}
	netlink_close(n);
}

static void on_watch(evutil_socket_t fd, short what, void *ctx)
{
	struct netlink_watch *w = ctx;
	uint8_t buffer[BUFFER_SIZE];

	for (;;) {
		ssize_t len = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == ENOBUFS) {
			watch_refresh(w);
			continue;
		}
		if (len <= 0)
			return;
		mnl_cb_run(buffer, (size_t)len, 0, 0, on_watched, w);
	}
}

struct netlink_watch *netlink_watch_new(struct event_base *base,
					const char *const *ifnames, unsigned count,
					netlink_changed *changed, void *ctx)
{
	struct netlink_watch *w = calloc(1, sizeof(*w) + count * sizeof(w->links[0]));
	if (!w)
		return NULL;
	w->changed = changed;
	w->ctx = ctx;
	w->count = count;
	for (unsigned i = 0; i < count; i++)
		snprintf(w->links[i].name, IF_NAMESIZE, "%s", ifnames[i]);
	w->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!w->socket || mnl_socket_bind(w->socket, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0)
		goto fail;
	w->readable = event_new(base, mnl_socket_get_fd(w->socket), EV_READ | EV_PERSIST,
				on_watch, w);
	if (!w->readable || event_add(w->readable, NULL))
		goto fail;
	watch_refresh(w);
	/* watch_refresh() spoke of those that run; the others have not been named yet. */
	for (unsigned i = 0; i < count; i++)
		if (!w->links[i].running)
			changed(ctx, i, false);
	return w;
fail:
	netlink_watch_free(w);
	return NULL;
}

void netlink_watch_free(struct netlink_watch *w)
{
	if (!w)
		return;
	if (w->readable)
		event_free(w->readable);
	if (w->socket)
		mnl_socket_close(w->socket);
	free(w);
}
