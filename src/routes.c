/* SPDX-License-Identifier: GPL-2.0-or-later */
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
	struct address prefix;
	unsigned len;
	unit_id unit;
};

struct pool {
	struct address prefix;
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

static unsigned bucket(const struct address *prefix, unsigned len)
{
	uint32_t hash = len;

	for (size_t i = 0; i < address_size(prefix->family); i++)
		hash = (hash ^ prefix->bytes[i]) * 16777619;
	return (hash ^ hash >> 16) % BUCKETS;
}

static struct route *newest(struct routes *r, const struct address *prefix, unsigned len)
{
	struct route *route;

	LIST_FOREACH(route, &r->buckets[bucket(prefix, len)], next)
		if (route->len == len && address_same(&route->prefix, prefix))
			return route;
	return NULL;
}

static bool is_pool(const struct routes *r, const struct address *prefix, unsigned len)
{
	for (unsigned i = 0; i < r->npools; i++)
		if (r->pools[i].len == len && address_same(&r->pools[i].prefix, prefix))
			return true;
	return false;
}

/* A pool's own route in the kernel covers it. */
static bool in_pool(const struct routes *r, const struct address *prefix, unsigned len)
{
	for (unsigned i = 0; i < r->npools; i++) {
		const struct pool *pool = &r->pools[i];
		struct address first;

		if (pool->len <= len && !address_prefix(prefix, pool->len, &first) &&
		    address_same(&first, &pool->prefix))
			return true;
	}
	return false;
}

static void complain(const char *what, const struct address *prefix, unsigned len,
		     int err)
{
	char text[ADDRESS_TEXT_MAX];

	log_warnx("route %s/%u: %s: %s", address_print(prefix, text), len, what,
		  strerror(-err));
}

static void set_filter(struct routes *r, const struct address *prefix, unsigned len,
		       uint16_t value)
{
	int err = filter_route_add(r->filter, prefix->family, prefix->bytes, len, value);

	if (err)
		complain("cannot be put into the filter", prefix, len, err);
}

static void add_kernel(struct routes *r, const struct address *prefix, unsigned len)
{
	int err = netlink_route_add(r->netlink, prefix, len, r->ifindex);

	if (err)
		complain("cannot be put into the kernel", prefix, len, err);
}

void routes_add(struct routes *r, const struct address *prefix, unsigned len,
		unit_id unit)
{
	struct route *route = calloc(1, sizeof(*route));
	bool first = !newest(r, prefix, len);

	if (!route)
		return;
	route->prefix = *prefix;
	route->len = len;
	route->unit = unit;
	LIST_INSERT_HEAD(&r->buckets[bucket(prefix, len)], route, next);
	set_filter(r, prefix, len, unit);
	if (first && !in_pool(r, prefix, len))
		add_kernel(r, prefix, len);
}

void routes_remove(struct routes *r, const struct address *prefix, unsigned len,
		   unit_id unit)
{
	struct route *route;

	LIST_FOREACH(route, &r->buckets[bucket(prefix, len)], next)
		if (route->len == len && address_same(&route->prefix, prefix) &&
		    route->unit == unit)
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
		filter_route_del(r->filter, prefix->family, prefix->bytes, len);
	if (!in_pool(r, prefix, len))
		netlink_route_del(r->netlink, prefix, len, r->ifindex);
}

void routes_pool(struct routes *r, const struct address *prefix, unsigned len)
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
	r->pools[r->npools++] = (struct pool){ *prefix, len };
}
