/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sessions of all units, own and shadow: a chained hash table by (unit, key) that
 * doubles when it is full, and a list for each unit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/internal.h"

#define BUCKETS_MIN 1024
#define SESSIONS_MAX (1u << 22)

int store_init(struct cluster *c)
{
	c->nbuckets = BUCKETS_MIN;
	c->buckets = calloc(c->nbuckets, sizeof(*c->buckets));
	return c->buckets ? 0 : -ENOMEM;
}

/*
 * Keys come from our own tunnels, but parts of them may be chosen by a client, so the
 * hash is seeded with the cluster's fold key, which is random and never leaves it.
 */
static size_t bucket_of(const struct cluster *c, unit_id u, const struct session_key *key)
{
	uint64_t h, seed, word;

	memcpy(&seed, c->fold_key, sizeof(seed));
	h = seed ^ ((uint64_t)u << 16 | (uint64_t)key->type << 8 | key->len);
	for (unsigned i = 0; i < CLUSTER_KEY_MAX; i += sizeof(word)) {
		memcpy(&word, key->bytes + i, sizeof(word));
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	h *= UINT64_C(0xd6e8feb86659fd93);
	return (h ^ h >> 32) & (c->nbuckets - 1);
}

bool store_key_equal(const struct session_key *a, const struct session_key *b)
{
	return a->type == b->type && a->len == b->len &&
	       !memcmp(a->bytes, b->bytes, CLUSTER_KEY_MAX);
}

struct session *store_find(const struct cluster *c, unit_id u,
			   const struct session_key *key)
{
	struct session *s;

	LIST_FOREACH(s, &c->buckets[bucket_of(c, u, key)], chain)
		if (s->unit == u && store_key_equal(&s->key, key))
			return s;
	return NULL;
}

/* Failing to grow only makes it slower. */
static void grow(struct cluster *c)
{
	size_t n = c->nbuckets * 2;
	struct session_list *fresh = calloc(n, sizeof(*fresh));
	struct session *s;

	if (!fresh)
		return;
	free(c->buckets);
	c->buckets = fresh;
	c->nbuckets = n;
	EACH_UNIT(u)
		LIST_FOREACH(s, &c->units[u].sessions, in_unit)
			LIST_INSERT_HEAD(&fresh[bucket_of(c, u, &s->key)], s, chain);
}

struct session *store_new(unit_id u, const struct session_key *key)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->key = *key;
	s->unit = u;
	return s;
}

void store_attach(struct cluster *c, struct session *s)
{
	if (c->nsessions >= c->nbuckets)
		grow(c);
	LIST_INSERT_HEAD(&c->buckets[bucket_of(c, s->unit, &s->key)], s, chain);
	LIST_INSERT_HEAD(&c->units[s->unit].sessions, s, in_unit);
	c->units[s->unit].nsessions++;
	c->nsessions++;
}

struct session *store_make(struct cluster *c, unit_id u, const struct session_key *key)
{
	struct session *s = store_find(c, u, key);

	if (s)
		return s;
	if (c->nsessions >= SESSIONS_MAX)
		return NULL;
	s = store_new(u, key);
	if (s) {
		store_attach(c, s);
		ended_forget(c, u, key);
	}
	return s;
}

/* The parts hold keys of the tunnels. */
static void wipe(uint8_t *part, size_t len)
{
	if (part)
		explicit_bzero(part, len);
	free(part);
}

/* False: out of memory. Of a part that is not there nothing is copied. */
static bool copy(uint8_t **out, const uint8_t *bytes, size_t len, bool there)
{
	*out = there ? malloc(len ? len : 1) : NULL;
	if (*out && len)
		memcpy(*out, bytes, len);
	return *out || !there;
}

static void replace(uint8_t **part, size_t *part_len, uint8_t *by, size_t len)
{
	if (!by)
		return;
	wipe(*part, *part_len);
	*part = by;
	*part_len = len;
}

int store_set_parts(struct session *s, unsigned flags, const uint8_t *initial,
		    size_t initial_len, const uint8_t *essential, size_t essential_len)
{
	uint8_t *first, *second;

	if (!copy(&first, initial, initial_len, flags & WIRE_PUT_INITIAL))
		return -ENOMEM;
	if (!copy(&second, essential, essential_len, flags & WIRE_PUT_ESSENTIAL)) {
		wipe(first, initial_len);
		return -ENOMEM;
	}
	replace(&s->initial, &s->initial_len, first, initial_len);
	replace(&s->essential, &s->essential_len, second, essential_len);
	return 0;
}

void store_discard(struct session *s)
{
	wipe(s->initial, s->initial_len);
	wipe(s->essential, s->essential_len);
	free(s);
}

static void unlink_session(struct cluster *c, struct session *s)
{
	counters_forget(c, s);
	LIST_REMOVE(s, chain);
	LIST_REMOVE(s, in_unit);
	c->units[s->unit].nsessions--;
	c->nsessions--;
}

void store_detach(struct cluster *c, struct session *s)
{
	c->io.removed(c->io.ctx, s);
	s->user = NULL;
	unlink_session(c, s);
}

void store_drop(struct cluster *c, struct session *s, bool upcall)
{
	if (upcall)
		c->io.removed(c->io.ctx, s);
	unlink_session(c, s);
	store_discard(s);
}

static void drop_unit(struct cluster *c, unit_id u, bool upcall)
{
	struct session *s;

	while ((s = LIST_FIRST(&c->units[u].sessions)))
		store_drop(c, s, upcall);
}

static void drop_all(struct cluster *c, bool upcall)
{
	EACH_UNIT(u)
		drop_unit(c, u, upcall);
}

void store_clear_unit(struct cluster *c, unit_id u)
{
	drop_unit(c, u, true);
}

void store_clear(struct cluster *c)
{
	drop_all(c, true);
}

void store_free(struct cluster *c)
{
	if (c->buckets)
		drop_all(c, false);
	free(c->buckets);
}

struct session *cluster_find(const struct cluster *c, unit_id unit,
			     const struct session_key *key)
{
	return unit < CLUSTER_UNITS ? store_find(c, unit, key) : NULL;
}

static int each_in_unit(const struct cluster *c, unit_id u,
			int (*fn)(void *ctx, struct session *s), void *ctx)
{
	struct session *s;
	int rc;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit) {
		rc = fn(ctx, s);
		if (rc)
			return rc;
	}
	return 0;
}

int cluster_each(const struct cluster *c, unit_id unit,
		 int (*fn)(void *ctx, struct session *s), void *ctx)
{
	int rc = 0;

	if (unit < CLUSTER_UNITS)
		return each_in_unit(c, unit, fn, ctx);
	for (unit_id u = 0; u < CLUSTER_UNITS && !rc; u++)
		rc = each_in_unit(c, u, fn, ctx);
	return rc;
}

unit_id session_unit(const struct session *s)
{
	return s->unit;
}

const struct session_key *session_key(const struct session *s)
{
	return &s->key;
}

const uint8_t *session_initial(const struct session *s, size_t *len)
{
	*len = s->initial_len;
	return s->initial;
}

const uint8_t *session_essential(const struct session *s, size_t *len)
{
	*len = s->essential_len;
	return s->essential;
}

uint64_t session_counter(const struct session *s, unsigned slot)
{
	return slot < CLUSTER_COUNTERS ? s->counter[slot] : 0;
}

size_t session_held(const struct session *s)
{
	return sizeof(*s) + s->initial_len + s->essential_len;
}

uint64_t session_sent(const struct session *s)
{
	return s->sent;
}

void cluster_store(const struct cluster *c, struct cluster_store_state *out)
{
	const struct session *s;

	*out = (struct cluster_store_state){
		.records = c->nsessions,
		.memory = c->nbuckets * sizeof(*c->buckets),
		.record_bytes = c->statistics[STAT_record_bytes],
		.counter_bytes = c->statistics[STAT_counter_bytes],
	};
	EACH_UNIT(u)
		LIST_FOREACH(s, &c->units[u].sessions, in_unit) {
			out->bytes += s->initial_len + s->essential_len;
			out->memory += session_held(s);
		}
}

void session_heard(struct session *s, struct mono now)
{
	s->heard = now;
}

void session_told(struct session *s, struct mono now)
{
	s->told = now;
}

uint64_t session_silence(const struct session *s, struct mono now)
{
	return s->heard.ns ? mono_since(now, s->heard) : UINT64_MAX;
}

void *session_user(const struct session *s)
{
	return s->user;
}

void session_set_user(struct session *s, void *user)
{
	s->user = user;
}
