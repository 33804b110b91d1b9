/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/log.h"
#include "src/routes.h"

#define BUCKETS 4096
#define LOOKS_MAX 32 /* between two attempts */
#define NOTHING (-1) /* the filter has no entry */

struct route {
	LIST_ENTRY(route) next; /* the newest first */
	unit_id unit;
};

struct prefix {
	LIST_ENTRY(prefix) next;
	struct address first;
	unsigned len;
	LIST_HEAD(, route) sessions;
	unsigned reasons; /* to protect it: a bit for each enum routes_why */
	bool near, own;
	int value;	     /* in the filter */
	enum rtable_way way; /* in the kernel */
};

struct routes {
	struct filter *filter;
	struct rtable table;
	LIST_HEAD(, prefix) buckets[BUCKETS];
	unsigned pools[2][129]; /* how many of each family and length */
	struct rtable_near near[ROUTES_NEAR_MAX];
	unsigned nnear;
	bool too_many;
	bool failed; /* something is not set as it should be */
	bool again;  /* and is being tried again */
	unsigned looks, wait;
};

struct routes *routes_new(struct filter *filter, const struct rtable *table)
{
	struct routes *r = calloc(1, sizeof(*r));

	if (r) {
		r->filter = filter;
		r->table = *table;
		r->wait = 1;
	}
	return r;
}

void routes_free(struct routes *r)
{
	struct prefix *p;
	struct route *s;

	if (!r)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while ((p = LIST_FIRST(&r->buckets[i]))) {
			LIST_REMOVE(p, next);
			while ((s = LIST_FIRST(&p->sessions))) {
				LIST_REMOVE(s, next);
				free(s);
			}
			free(p);
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

static struct prefix *find(struct routes *r, const struct address *prefix, unsigned len)
{
	struct prefix *p;

	LIST_FOREACH(p, &r->buckets[bucket(prefix, len)], next)
		if (p->len == len && address_same(&p->first, prefix))
			return p;
	return NULL;
}

static void fail(struct routes *r, const char *what, const struct prefix *p, int err)
{
	char text[ADDRESS_TEXT_MAX];

	r->failed = true;
	if (r->again)
		return;
	log_warnx("route %s/%u: %s: %s", address_print(&p->first, text), p->len, what,
		  strerror(-err));
}

static struct prefix *find_or_make(struct routes *r, const struct address *prefix,
				   unsigned len)
{
	struct prefix *p = find(r, prefix, len);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->first = *prefix;
	p->len = len;
	p->value = NOTHING;
	LIST_INSERT_HEAD(&r->buckets[bucket(prefix, len)], p, next);
	return p;
}

/* A pool's own route in the kernel covers what lies in it. */
static bool in_pool(struct routes *r, const struct prefix *p)
{
	const unsigned *pools = r->pools[p->first.family == AF_INET6];

	for (unsigned len = 0; len < p->len; len++) {
		struct address first;
		const struct prefix *pool;

		if (!pools[len] || address_prefix(&p->first, len, &first))
			continue;
		pool = find(r, &first, len);
		if (pool && pool->reasons & 1u << ROUTES_POOL)
			return true;
	}
	return false;
}

static int wanted_value(struct routes *r, const struct prefix *p)
{
	const struct route *newest = LIST_FIRST(&p->sessions);

	if (newest)
		return newest->unit;
	if (p->reasons)
		return FILTER_ROUTE_DROP;
	if (!p->near || (!p->own && in_pool(r, p)))
		return NOTHING;
	return p->own ? FILTER_ROUTE_OWN : FILTER_ROUTE_NEAR;
}

static enum rtable_way wanted_way(struct routes *r, const struct prefix *p)
{
	if (p->reasons)
		return RTABLE_GUARDED;
	if (!LIST_EMPTY(&p->sessions))
		return in_pool(r, p) ? RTABLE_NONE : RTABLE_TUN;
	/* The kernel knows its own addresses before all tables. */
	return p->near && !p->own && !in_pool(r, p) ? RTABLE_PAST : RTABLE_NONE;
}

static void set_filter(struct routes *r, struct prefix *p, int value)
{
	int err;

	if (value == p->value)
		return;
	if (value == NOTHING)
		err =
		    filter_route_del(r->filter, p->first.family, p->first.bytes, p->len);
	else
		err = filter_route_add(r->filter, p->first.family, p->first.bytes, p->len,
				       (uint16_t)value);
	if (err)
		fail(r, "cannot be put into the filter", p, err);
	else
		p->value = value;
}

static void set_kernel(struct routes *r, struct prefix *p, enum rtable_way way)
{
	int err;

	if (way == p->way)
		return;
	err = rtable_set(&r->table, &p->first, p->len, p->way, way);
	if (err)
		fail(r, "cannot be put into the kernel", p, err);
	else
		p->way = way;
}

/* After something has changed. May free it. */
static void settle(struct routes *r, struct prefix *p)
{
	set_filter(r, p, wanted_value(r, p));
	set_kernel(r, p, wanted_way(r, p));
	if (!LIST_EMPTY(&p->sessions) || p->reasons || p->near)
		return;
	LIST_REMOVE(p, next);
	free(p);
}

void routes_add(struct routes *r, const struct address *prefix, unsigned len,
		unit_id unit)
{
	struct route *route = calloc(1, sizeof(*route));
	struct prefix *p = route ? find_or_make(r, prefix, len) : NULL;

	if (!p) {
		free(route);
		return;
	}
	route->unit = unit;
	LIST_INSERT_HEAD(&p->sessions, route, next);
	settle(r, p);
}

void routes_remove(struct routes *r, const struct address *prefix, unsigned len,
		   unit_id unit)
{
	struct prefix *p = find(r, prefix, len);
	struct route *route = NULL;

	if (p)
		LIST_FOREACH(route, &p->sessions, next)
			if (route->unit == unit)
				break;
	if (!route)
		return;
	LIST_REMOVE(route, next);
	free(route);
	settle(r, p);
}

/* What lies in a pool that comes or goes is settled at the next look. */
static void count_pool(struct routes *r, enum routes_why why, const struct prefix *p,
		       int more)
{
	if (why != ROUTES_POOL)
		return;
	r->pools[p->first.family == AF_INET6][p->len] += (unsigned)more;
	r->nnear = ROUTES_NEAR_MAX + 1;
}

void routes_protect(struct routes *r, enum routes_why why, const struct address *prefix,
		    unsigned len)
{
	struct prefix *p = find_or_make(r, prefix, len);

	if (!p || p->reasons & 1u << why)
		return;
	p->reasons |= 1u << why;
	count_pool(r, why, p, 1);
	settle(r, p);
}

void routes_unprotect(struct routes *r, enum routes_why why, const struct address *prefix,
		      unsigned len)
{
	struct prefix *p = find(r, prefix, len);

	if (!p || !(p->reasons & 1u << why))
		return;
	p->reasons &= ~(1u << why);
	count_pool(r, why, p, -1);
	settle(r, p);
}

static void forget_near(struct routes *r)
{
	struct prefix *p, *next;

	for (unsigned i = 0; i < BUCKETS; i++)
		for (p = LIST_FIRST(&r->buckets[i]); p; p = next) {
			next = LIST_NEXT(p, next);
			if (!p->near)
				continue;
			p->near = p->own = false;
		}
}

static void settle_all(struct routes *r)
{
	struct prefix *p, *next;

	for (unsigned i = 0; i < BUCKETS; i++)
		for (p = LIST_FIRST(&r->buckets[i]); p; p = next) {
			next = LIST_NEXT(p, next);
			settle(r, p);
		}
}

void routes_near(struct routes *r, const struct rtable_near *list, unsigned count)
{
	if (count == r->nnear && !memcmp(r->near, list, count * sizeof(*list)))
		return;
	if (count > ROUTES_NEAR_MAX)
		return;
	memcpy(r->near, list, count * sizeof(*list));
	r->nnear = count;
	forget_near(r);
	for (unsigned i = 0; i < count; i++) {
		struct prefix *p = find_or_make(r, &list[i].prefix, list[i].len);

		if (p) {
			p->near = true;
			p->own = p->own || list[i].own;
		}
	}
	settle_all(r);
}

/* After the next look, then after two more, four more, and so on. */
static void try_again(struct routes *r)
{
	if (!r->failed) {
		r->looks = 0;
		r->wait = 1;
		return;
	}
	if (++r->looks < r->wait)
		return;
	r->looks = 0;
	if (r->wait < LOOKS_MAX)
		r->wait *= 2;
	r->failed = false;
	r->again = true;
	settle_all(r);
	r->again = false;
	if (!r->failed)
		log_info("all routes are set that could not be");
}

void routes_look(struct routes *r)
{
	static struct rtable_near list[ROUTES_NEAR_MAX];
	int n = rtable_near(&r->table, list, ROUTES_NEAR_MAX);

	try_again(r);
	if (n < 0) {
		log_debug("cannot read the machine's routes: %s", strerror(-n));
		return;
	}
	/* Such a machine carries the Internet: what it has is not in any tunnel. */
	if (n > ROUTES_NEAR_MAX) {
		if (!r->too_many)
			log_warnx("the machine has more than %u routes of its own; those "
				  "within networks behind tunnels lead into the tunnels",
				  ROUTES_NEAR_MAX);
		r->too_many = true;
		return;
	}
	r->too_many = false;
	routes_near(r, list, (unsigned)n);
}
