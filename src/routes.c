/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/log.h"
#include "src/routes.h"

#define BUCKETS 4096
#define POOLS_MAX 1024

struct route {
	LIST_ENTRY(route) next; /* of equal prefixes the newest first */
	uint32_t prefix;
	unsigned len;
	unit_id unit;
};

struct pool {
	uint32_t prefix;
	unsigned len;
};

struct routes {
	struct filter *filter;
	struct netlink *netlink;
	int ifindex;
	LIST_HEAD(, route) buckets[BUCKETS];
	struct pool pools[POOLS_MAX];
	unsigned npools;
};

struct routes *routes_new(struct filter *filter, struct netlink *netlink, int tun_ifindex)
{
	struct routes *r = calloc(1, sizeof(*r));

	if (r) {
		r->filter = filter;
		r->netlink = netlink;
		r->ifindex = tun_ifindex;
	}
	return r;
}

void routes_free(struct routes *r)
{
	struct route *route;

	if (!r)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while ((route = LIST_FIRST(&r->buckets[i]))) {
			LIST_REMOVE(route, next);
			free(route);
		}
	}
	free(r);
}

static unsigned bucket(uint32_t prefix, unsigned len)
{
	return (ntohl(prefix) * 2654435761u >> 12 ^ len) % BUCKETS;
}

static struct route *newest(struct routes *r, uint32_t prefix, unsigned len)
{
	struct route *route;

	LIST_FOREACH(route, &r->buckets[bucket(prefix, len)], next)
		if (route->prefix == prefix && route->len == len)
			return route;
	return NULL;
}

static bool is_pool(const struct routes *r, uint32_t prefix, unsigned len)
{
	for (unsigned i = 0; i < r->npools; i++)
		if (r->pools[i].prefix == prefix && r->pools[i].len == len)
			return true;
	return false;
}

/* A pool's own route in the kernel covers it. */
static bool in_pool(const struct routes *r, uint32_t prefix, unsigned len)
{
	for (unsigned i = 0; i < r->npools; i++) {
		const struct pool *pool = &r->pools[i];
		uint32_t mask = pool->len ? htonl(UINT32_MAX << (32 - pool->len)) : 0;

		if (pool->len <= len && (prefix & mask) == pool->prefix)
			return true;
	}
	return false;
}

static void complain(const char *what, uint32_t prefix, unsigned len, int err)
{
	struct in_addr address = { prefix };

	log_warnx("route %s/%u: %s: %s", inet_ntoa(address), len, what, strerror(-err));
}

static void set_filter(struct routes *r, uint32_t prefix, unsigned len, uint16_t value)
{
	int err = filter_route_add(r->filter, AF_INET, &prefix, len, value);

	if (err)
		complain("cannot be put into the filter", prefix, len, err);
}

static void add_kernel(struct routes *r, uint32_t prefix, unsigned len)
{
	struct in_addr address = { prefix };
	int err = netlink_route_add(r->netlink, address, len, r->ifindex);

	if (err)
		complain("cannot be put into the kernel", prefix, len, err);
}

void routes_add(struct routes *r, uint32_t prefix, unsigned len, unit_id unit)
{
	struct route *route = calloc(1, sizeof(*route));
	bool first = !newest(r, prefix, len);

	if (!route)
		return;
	route->prefix = prefix;
	route->len = len;
	route->unit = unit;
	LIST_INSERT_HEAD(&r->buckets[bucket(prefix, len)], route, next);
	set_filter(r, prefix, len, unit);
	if (first && !in_pool(r, prefix, len))
		add_kernel(r, prefix, len);
}

void routes_remove(struct routes *r, uint32_t prefix, unsigned len, unit_id unit)
{
	struct in_addr address = { prefix };
	struct route *route;

	LIST_FOREACH(route, &r->buckets[bucket(prefix, len)], next)
		if (route->prefix == prefix && route->len == len && route->unit == unit)
			break;
	if (!route)
		return;
	LIST_REMOVE(route, next);
	free(route);
	route = newest(r, prefix, len);
	if (route) {
		set_filter(r, prefix, len, route->unit);
		return;
	}
	if (is_pool(r, prefix, len))
		set_filter(r, prefix, len, FILTER_ROUTE_DROP);
	else
		filter_route_del(r->filter, AF_INET, &prefix, len);
	if (!in_pool(r, prefix, len))
		netlink_route_del(r->netlink, address, len, r->ifindex);
}

void routes_pool(struct routes *r, uint32_t prefix, unsigned len)
{
	if (is_pool(r, prefix, len))
		return;
	if (r->npools == POOLS_MAX) {
		complain("one pool too many", prefix, len, -ENOSPC);
		return;
	}
	if (!newest(r, prefix, len))
		set_filter(r, prefix, len, FILTER_ROUTE_DROP);
	add_kernel(r, prefix, len);
	r->pools[r->npools++] = (struct pool){ prefix, len };
}
