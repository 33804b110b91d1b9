/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/peers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/log.h"

#define BUCKETS 4096

struct guard {
	LIST_ENTRY(guard) next; /* of all of the peer's, and of others in the bucket */
	struct address peer;
	uint8_t protocol;
	uint16_t port;
	unsigned count;
};

struct peers {
	struct filter *filter;
	struct rtable table;
	LIST_HEAD(, guard) buckets[BUCKETS];
};

struct peers *peers_new(struct filter *filter, const struct rtable *table)
{
	struct peers *p = calloc(1, sizeof(*p));

	if (p) {
		p->filter = filter;
		p->table = *table;
	}
	return p;
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
			  uint16_t port, bool *known)
{
	struct guard *g, *found = NULL;

	*known = false;
	LIST_FOREACH(g, &p->buckets[bucket(peer)], next) {
		if (!address_same(&g->peer, peer))
			continue;
		*known = true;
		if (g->protocol == protocol && g->port == port)
			found = g;
	}
	return found;
}

void peers_add(struct peers *p, const struct address *peer, uint8_t protocol,
	       uint16_t port)
{
	bool known;
	struct guard *g = find(p, peer, protocol, port, &known);
	int err = 0;

	if (g) {
		g->count++;
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g)
		return;
	*g = (struct guard){
		.peer = *peer, .protocol = protocol, .port = port, .count = 1
	};
	LIST_INSERT_HEAD(&p->buckets[bucket(peer)], g, next);
	if (!known)
		err = rtable_peer(&p->table, peer, true);
	if (err)
		complain("cannot be put into the kernel", peer, err);
	err = filter_guard_add(p->filter, peer, protocol, port);
	if (err)
		complain("cannot be put into the filter", peer, err);
}

bool peers_know(struct peers *p, const struct address *peer)
{
	bool known;

	find(p, peer, 0, 0, &known);
	return known;
}

void peers_remove(struct peers *p, const struct address *peer, uint8_t protocol,
		  uint16_t port)
{
	bool known;
	struct guard *g = find(p, peer, protocol, port, &known);

	if (!g || --g->count)
		return;
	LIST_REMOVE(g, next);
	free(g);
	filter_guard_del(p->filter, peer, protocol, port);
	find(p, peer, protocol, port, &known);
	if (!known)
		rtable_peer(&p->table, peer, false);
}
