/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses and link states, over rtnetlink. Routes are rtable.h's.
 *
 * Requests wait for the kernel's answer, which takes microseconds. Functions return 0 or
 * -errno.
 */
#ifndef SRC_NETLINK_H
#define SRC_NETLINK_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/address.h"

struct netlink;

int netlink_open(struct netlink **out);
void netlink_close(struct netlink *n); /* takes NULL */

/* An address on a device; cluster addresses stand on "lo" with all their bits as prefix.
 * The kernel chooses it for no packet of its own if it is IPv6. Adding one that is there
 * already succeeds. -EADDRNOTAVAIL when there is none to delete. */
int netlink_address_add(struct netlink *n, const char *ifname,
			const struct address *address, unsigned prefixlen);
int netlink_address_del(struct netlink *n, const char *ifname,
			const struct address *address, unsigned prefixlen);

struct netlink_link {
	int ifindex;
	uint8_t mac[6];
	unsigned mtu;
	bool up;      /* administratively */
	bool running; /* up, and has carrier */
};

/* -ENODEV if there is no such interface. */
int netlink_link_get(struct netlink *n, const char *ifname, struct netlink_link *out);

struct netlink_address {
	struct address address;
	unsigned prefixlen;
};

/* The interface's addresses of this family, at most `max`; returns how many there are or
 * -errno. */
int netlink_addresses(struct netlink *n, const char *ifname, int family,
		      struct netlink_address *out, size_t max);

/*
 * Watches interfaces by name: `changed` is called when one of them becomes usable (up
 * with carrier) or stops being so, also when it vanishes or comes back. netlink_watch()
 * calls it for each once at the start, before it returns.
 */
struct netlink_watch;
typedef void netlink_changed(void *ctx, unsigned which, bool running);

struct netlink_watch *netlink_watch_new(struct event_base *base,
					const char *const *ifnames, unsigned count,
					netlink_changed *changed, void *ctx);
void netlink_watch_free(struct netlink_watch *w);

#endif
