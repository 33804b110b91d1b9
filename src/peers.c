/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/log.h"

#define BUCKETS 4096
#define OF_ONE_MAX 64 /* entries of one peer in the filter, but for the one for all */
#define STALE_TIME (30 * MONO_SEC)

struct guard {
	LIST_ENTRY(guard) next; /* of all of the peer's, and of others in the bucket */
	struct address peer;
	uint8_t protocol;
	uint16_t port;
	bool wide; /* one of too many: the peer's entry for all counts it instead */
	unsigned count;
};

struct peers {
	struct filter *filter;
	struct rtable table;
	struct mono begun; /* 0: long ago */
	bool staying;
	LIST_HEAD(, guard) buckets[BUCKETS];
};

struct peers *peers_new(struct filter *filter, const struct rtable *table,
			struct mono now)
{
	struct peers *p = calloc(1, sizeof(*p));

	if (p) {
		p->filter = filter;
		p->table = *table;
		p->begun = now;
	}
	return p;
}

void peers_stay(struct peers *p)
{
	if (p)
		p->staying = true;
}

void peers_free(struct peers *p)
{
	struct guard *g;

	for (unsigned i = 0; p && i < BUCKETS; i++) {
		while ((g = LIST_FIRST(&p->buckets[i]))) {
			LIST_REMOVE(g, next);
			free(g);
		}
	}
	free(p);
}

static unsigned bucket(const struct address *peer)
{
	uint32_t hash = 2166136261;

	for (size_t i = 0; i < address_size(peer->family); i++)
		hash = (hash ^ peer->bytes[i]) * 16777619;
	return (hash ^ hash >> 16) % BUCKETS;
}

static void complain(const char *what, const struct address *peer, int err)
{
	char text[ADDRESS_TEXT_MAX];

	log_warnx("peer %s: %s: %s", address_print(peer, text), what, strerror(-err));
}

static struct guard *find(struct peers *p, const struct address *peer, uint8_t protocol,
			  uint16_t port, unsigned *others)
{
	struct guard *g, *found = NULL;

	*others = 0;
	LIST_FOREACH(g, &p->buckets[bucket(peer)], next) {
		if (!address_same(&g->peer, peer))
			continue;
		if (g->protocol == protocol && g->port == port)
			found = g;
		else
			(*others)++;
	}
	return found;
}

static void put_into_filter(struct peers *p, struct guard *g, unsigned others)
{
	int err;

	g->wide = others >= OF_ONE_MAX && (g->protocol || g->port);
	if (g->wide) {
		peers_add(p, &g->peer, 0, 0);
		return;
	}
	err = filter_guard_add(p->filter, &g->peer, g->protocol, g->port);
	if (err)
		complain("cannot be put into the filter", &g->peer, err);
}

void peers_add(struct peers *p, const struct address *peer, uint8_t protocol,
	       uint16_t port)
{
	unsigned others;
	struct guard *g = find(p, peer, protocol, port, &others);
	int err = 0;

	if (g) {
		g->count++;
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		complain("is not guarded", peer, -ENOMEM);
		return;
	}
	*g = (struct guard){
		.peer = *peer, .protocol = protocol, .port = port, .count = 1
	};
	LIST_INSERT_HEAD(&p->buckets[bucket(peer)], g, next);
	if (!others)
		err = rtable_peer(&p->table, peer, true);
	if (err)
		complain("cannot be put into the kernel", peer, err);
	put_into_filter(p, g, others);
}

bool peers_know(struct peers *p, const struct address *peer)
{
	unsigned others;

	return find(p, peer, 0, 0, &others) || others;
}

void peers_remove(struct peers *p, const struct address *peer, uint8_t protocol,
		  uint16_t port)
{
	unsigned others;
	struct guard *g = find(p, peer, protocol, port, &others);
	bool wide;

	if (!g || --g->count || p->staying)
		return;
	wide = g->wide;
	LIST_REMOVE(g, next);
	free(g);
	if (wide)
		peers_remove(p, peer, 0, 0);
	else
		filter_guard_del(p->filter, peer, protocol, port);
	if (!others)
		rtable_peer(&p->table, peer, false);
}

static bool is_stale(void *ctx, const struct address *peer)
{
	return !peers_know(ctx, peer);
}

void peers_tick(struct peers *p, bool complete, struct mono now)
{
	int err;

	if (!p->begun.ns || !complete || mono_since(now, p->begun) < STALE_TIME)
		return;
	p->begun = (struct mono){ 0 };
	err = rtable_peers_sweep(&p->table, is_stale, p);
	if (err)
		log_warnx("peers of an earlier run stay in the kernel: %s",
			  strerror(-err));
}
