/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What charon's configuration protects, whether there is an SA for it or not: RFC 4301's
 * policies "PROTECT" and "DISCARD", as far as they say where a packet goes.
 */
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"
#include "tunnels/ipsec/selector.h"

#define BLOCKS_MAX 4096

struct list {
	struct address_block blocks[BLOCKS_MAX];
	unsigned count, left_out;
};

static void add(struct list *l, const struct local_ts *ts)
{
	struct selector_prefix prefixes[SELECTOR_PREFIXES_MAX];
	unsigned n = selector_prefixes(ts, prefixes, SELECTOR_PREFIXES_MAX);

	for (unsigned i = 0; i < n; i++) {
		if (l->count == BLOCKS_MAX) {
			l->left_out++;
			continue;
		}
		l->blocks[l->count].first = prefixes[i].address;
		l->blocks[l->count++].len = prefixes[i].len;
	}
}

static bool is_everything(const struct local_ts *ts)
{
	for (unsigned i = 0; i < (ts->family == 4 ? 4 : 16); i++)
		if (ts->from[i] != 0x00 || ts->to[i] != 0xff)
			return false;
	return true;
}

/* Whether anybody may be the peer. */
static bool is_anybody(const struct connection *c)
{
	return !*c->remote || strstr(c->remote, "%any") || strchr(c->remote, '/') ||
	       !strcmp(c->remote, "0.0.0.0") || !strcmp(c->remote, "::");
}

/* The peer's own address: no network behind it is meant. */
static bool is_peer(const struct connection *c, const struct local_ts *ts)
{
	struct address peer;
	size_t size;

	if (address_parse(c->remote, &peer))
		return false;
	size = address_size(peer.family);
	return size == (ts->family == 4 ? 4 : 16) &&
	       !memcmp(ts->from, peer.bytes, size) && !memcmp(ts->to, peer.bytes, size);
}

/* Clients may be offered all the world, of which each takes its own address: who says
 * "anything" of anybody protects nothing by that. */
static void add_connection(struct list *l, const struct connection *c)
{
	struct local_ts ts;

	if (!*c->child || (c->mode != LOCAL_MODE_TUNNEL && c->mode != LOCAL_MODE_DROP))
		return;
	for (unsigned i = 0; i < local_ts_count(&c->remote_ts); i++)
		if (!local_ts_get(&c->remote_ts, i, &ts) && !is_peer(c, &ts) &&
		    !(is_everything(&ts) && is_anybody(c)))
			add(l, &ts);
}

static void add_pool(struct list *l, const struct pool_range *pool)
{
	struct local_ts ts = { .family = pool->base.family, .to_port = 65535 };
	size_t at = pool->base.family == 4 ? 4 : 16;
	uint64_t carry = pool->count - 1;

	memcpy(ts.from, pool->base.bytes, sizeof(ts.from));
	memcpy(ts.to, pool->base.bytes, sizeof(ts.to));
	for (; at-- > 0 && carry; carry >>= 8) {
		carry += ts.to[at];
		ts.to[at] = (uint8_t)carry;
	}
	add(l, &ts);
}

void policy_pool(struct ipsec *t, const struct local_pool *pool)
{
	struct pool_range new = { pool->base, pool->count };

	if (!pool->count || !pool->base.family)
		return;
	for (unsigned i = 0; i < t->npools; i++)
		if (!memcmp(t->pools[i].base.bytes, new.base.bytes, 16) &&
		    t->pools[i].base.family == new.base.family &&
		    t->pools[i].count == new.count)
			return;
	if (t->npools < POOLS_MAX)
		t->pools[t->npools++] = new;
	if (t->configured)
		policy_report(t);
}

void policy_report(struct ipsec *t)
{
	static struct list list;
	const struct connection *c;

	list.count = list.left_out = 0;
	LIST_FOREACH(c, &t->connections, next)
		add_connection(&list, c);
	for (unsigned i = 0; i < t->npools; i++)
		add_pool(&list, &t->pools[i]);
	if (list.left_out)
		log_warnx(
		    "ipsec: %u prefixes of charon's configuration are not protected: "
		    "there are more than %u",
		    list.left_out, BLOCKS_MAX);
	t->host.protect(t->host.ctx, list.blocks, list.count);
}

void policy_forget(struct ipsec *t)
{
	t->npools = 0;
}
