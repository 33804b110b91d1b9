/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/log.h"

#define BUCKETS 4096
#define OF_ONE_MAX 64 /* entries of one peer in the filter, but for the one for all */
#define STALE_TIME (30 * MONO_SEC)
#define RETRY_FIRST (2 * MONO_SEC) /* then doubled, up to: */
#define RETRY_MAX (64 * MONO_SEC)

struct guard {
	LIST_ENTRY(guard) next; /* of all of the peer's, and of others in the bucket */
	struct address peer;
	uint8_t protocol;
	uint16_t port;
	bool wide;    /* one of too many: the peer's entry for all counts it instead */
	int unset;    /* why it is not in the filter, -errno */
	int unrouted; /* why its peer is not in the kernel; of one of the peer's */
	unsigned count;
};

struct peers {
	struct filter *filter;
	struct rtable table;
	struct mono begun;
	bool staying;
	bool swept;	  /* unless some may have been left in the kernel since */
	bool lost;	  /* out of memory: one is guarded by nothing */
	unsigned failing; /* guards that are unset, or unrouted */
	struct mono retry_at;
	uint64_t delay;
	char why[160];
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

static bool fails(const struct guard *g)
{
	return g->unset || g->unrouted;
}

/* At the first attempt a failure is logged. */
static void put_into_filter(struct peers *p, struct guard *g, bool again)
{
	int err = filter_guard_add(p->filter, &g->peer, g->protocol, g->port);

	g->unset = err == -EEXIST ? 0 : err;
	if (g->unset && !again)
		complain("cannot be put into the filter", &g->peer, err);
}

static void put_into_kernel(struct peers *p, struct guard *g, bool again)
{
	g->unrouted = rtable_peer(&p->table, &g->peer, true);
	if (g->unrouted && !again)
		complain("cannot be put into the kernel", &g->peer, g->unrouted);
}

static void note_failure(struct peers *p, bool before, const struct guard *g)
{
	if (!p->failing) {
		p->delay = RETRY_FIRST;
		p->retry_at = (struct mono){ 0 };
	}
	p->failing += fails(g);
	p->failing -= before;
}

void peers_add(struct peers *p, const struct address *peer, uint8_t protocol,
	       uint16_t port)
{
	unsigned others;
	struct guard *g = find(p, peer, protocol, port, &others);

	if (g) {
		g->count++;
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		complain("is not guarded", peer, -ENOMEM);
		p->lost = true;
		return;
	}
	*g = (struct guard){
		.peer = *peer, .protocol = protocol, .port = port, .count = 1
	};
	LIST_INSERT_HEAD(&p->buckets[bucket(peer)], g, next);
	if (!others)
		put_into_kernel(p, g, false);
	g->wide = others >= OF_ONE_MAX && (protocol || port);
	if (g->wide)
		peers_add(p, peer, 0, 0);
	else
		put_into_filter(p, g, false);
	note_failure(p, false, g);
}

bool peers_know(struct peers *p, const struct address *peer)
{
	unsigned others;

	return find(p, peer, 0, 0, &others) || others;
}

/* Another one of the peer's sees to its route from now on. */
static void bequeath(struct peers *p, const struct address *peer, int unrouted)
{
	struct guard *g;

	LIST_FOREACH(g, &p->buckets[bucket(peer)], next)
		if (address_same(&g->peer, peer))
			break;
	if (!g)
		return;
	p->failing += !fails(g);
	g->unrouted = unrouted;
}

void peers_remove(struct peers *p, const struct address *peer, uint8_t protocol,
		  uint16_t port)
{
	unsigned others;
	struct guard *g = find(p, peer, protocol, port, &others);
	bool wide;
	int unrouted;

	if (!g || --g->count || p->staying)
		return;
	wide = g->wide;
	unrouted = g->unrouted;
	p->failing -= fails(g);
	LIST_REMOVE(g, next);
	free(g);
	if (wide)
		peers_remove(p, peer, 0, 0);
	else
		filter_guard_del(p->filter, peer, protocol, port);
	if (unrouted && others)
		bequeath(p, peer, unrouted);
	/* One that stays cannot be reached in clear, and is stale at the next look. */
	if (!others && rtable_peer(&p->table, peer, false))
		p->swept = false;
}

static bool is_stale(void *ctx, const struct address *peer)
{
	return !peers_know(ctx, peer);
}

static void try_again(struct peers *p, struct guard *g)
{
	if (!fails(g))
		return;
	if (g->unrouted)
		put_into_kernel(p, g, true);
	if (g->unset)
		put_into_filter(p, g, true);
	note_failure(p, true, g);
}

static void retry(struct peers *p, struct mono now)
{
	unsigned before = p->failing;
	struct guard *g;

	if (!p->failing || mono_before(now, p->retry_at))
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		LIST_FOREACH(g, &p->buckets[i], next)
			try_again(p, g);
	p->retry_at = mono_add(now, p->delay);
	p->delay = p->delay < RETRY_MAX ? 2 * p->delay : RETRY_MAX;
	if (p->failing < before)
		log_info("%u peers' entries are set that could not be; %u are left",
			 before - p->failing, p->failing);
}

static void sweep(struct peers *p)
{
	int err = rtable_peers_sweep(&p->table, is_stale, p);

	p->swept = true;
	if (err)
		log_warnx("peers of before stay in the kernel: %s", strerror(-err));
}

void peers_tick(struct peers *p, bool complete, struct mono now)
{
	retry(p, now);
	if (p->swept || !complete || mono_since(now, p->begun) < STALE_TIME)
		return;
	sweep(p);
}

/* A filter that is full is so on all members. What it lets in is answered in ESP all the
 * same, or not at all. */
static bool is_grave(const struct guard *g)
{
	return g->unrouted || (g->unset && g->unset != -ENOSPC);
}

const char *peers_failure(struct peers *p, bool *grave)
{
	const struct guard *first = NULL, *g;
	char text[ADDRESS_TEXT_MAX];

	*grave = p->lost;
	if (p->lost)
		return "out of memory: a peer of transport mode is not guarded";
	for (unsigned i = 0; p->failing && !*grave && i < BUCKETS; i++)
		LIST_FOREACH(g, &p->buckets[i], next) {
			if (!fails(g) || (first && !is_grave(g)))
				continue;
			first = g;
			*grave = is_grave(g);
			if (*grave)
				break;
		}
	if (!first)
		return "";
	snprintf(p->why, sizeof(p->why), "peer %s cannot be put into the %s: %s",
		 address_print(&first->peer, text), first->unrouted ? "kernel" : "filter",
		 strerror(-(first->unrouted ? first->unrouted : first->unset)));
	return p->why;
}
