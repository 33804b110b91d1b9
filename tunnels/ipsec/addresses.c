/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual addresses, no one twice in the cluster.
 *
 * An address folds to a work unit, and only the unit's owner hands it out: so two members
 * never hand out the same one, and no member asks another. The lease is a record of that
 * unit, committed before charon hears of it, so the unit's next owner knows it too. Which
 * leases are in use, every member can tell from the IKE SAs in the store: an owner takes
 * back those that nobody has used for a while.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define POOL_SCAN_MAX (1u << 20)
#define IDENTITY_MAX 512
#define SWEEP_MAX 256 /* leases taken back at a time */
#define VIP_SIZE 17   /* family and address, see IKE_PUT */

/*
 * A lease is taken back when two sweeps in a row have found no IKE SA with it; the first
 * one after the lease does not count, since the login is still under way. The mark is the
 * session's user pointer, which nothing else uses for this type of record.
 */
static char just_leased, found_idle;

static unit_id address_unit(struct ipsec *t, uint32_t address)
{
	struct unit_key key = unit_key_read(cluster_fold_key(t->host.cluster));

	return unit_fold(&key, 1, address);
}

static struct session_key address_key(uint32_t address)
{
	struct session_key key = { .type = RECORD_ADDRESS, .len = 4 };
	struct pack p = pack_to(key.bytes, 4);

	pack_u32(&p, address);
	return key;
}

static uint32_t to_host(const struct local_addr *a)
{
	return (uint32_t)a->bytes[0] << 24 | a->bytes[1] << 16 | a->bytes[2] << 8 |
	       a->bytes[3];
}

/* The virtual addresses of all IKE SAs in the store, sorted. */
struct usage {
	uint32_t *list;
	size_t n, room;
};

static int collect(void *ctx, struct session *s)
{
	struct usage *usage = ctx;
	struct local_message m;
	size_t len;
	const uint8_t *initial = session_initial(s, &len);

	if (session_key(s)->type != RECORD_IKE || local_decode(initial, len, &m) ||
	    m.type != LOCAL_IKE_PUT)
		return 0;
	for (size_t at = 0; at + VIP_SIZE <= m.ike_put.vips.len; at += VIP_SIZE) {
		const uint8_t *vip = m.ike_put.vips.bytes + at;
		struct local_addr a = { .family = vip[0] };

		memcpy(a.bytes, vip + 1, sizeof(a.bytes));
		if (usage->n == usage->room) {
			size_t room = usage->room ? 2 * usage->room : 64;
			uint32_t *list = realloc(usage->list, room * sizeof(*list));

			if (!list)
				return -1;
			usage->list = list;
			usage->room = room;
		}
		if (a.family == 4)
			usage->list[usage->n++] = to_host(&a);
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Out of memory: -1, and nothing may be taken for unused. */
static int usage_collect(struct ipsec *t, struct usage *usage)
{
	memset(usage, 0, sizeof(*usage));
	if (cluster_each(t->host.cluster, CLUSTER_UNITS, collect, usage)) {
		free(usage->list);
		return -1;
	}
	if (usage->n)
		qsort(usage->list, usage->n, sizeof(*usage->list), compare);
	return 0;
}

static bool in_use(const struct usage *usage, uint32_t address)
{
	return usage->n &&
	       bsearch(&address, usage->list, usage->n, sizeof(*usage->list), compare);
}

/* A lease of ours that this identity has had before and nobody uses now. */
struct former {
	struct ipsec *t;
	const struct local_address_want *want;
	uint32_t found[16];
	unsigned n;
};

static int look_for_former(void *ctx, struct session *s)
{
	struct former *f = ctx;
	const struct session_key *key = session_key(s);
	struct unpack u = unpack_from(key->bytes, key->len);
	uint32_t base = to_host(&f->want->base), address;
	size_t len;
	const uint8_t *identity = session_initial(s, &len);

	if (key->type != RECORD_ADDRESS || !unit_set_has(&f->t->units, session_unit(s)) ||
	    len != f->want->identity.len ||
	    memcmp(identity, f->want->identity.bytes, len))
		return 0;
	address = unpack_u32(&u);
	if (address - base < f->want->count)
		f->found[f->n++] = address;
	return f->n == sizeof(f->found) / sizeof(f->found[0]);
}

static uint32_t former_address(struct ipsec *t, const struct local_address_want *want)
{
	struct former f = { .t = t, .want = want };
	struct usage usage;
	uint32_t address = 0;

	cluster_each(t->host.cluster, CLUSTER_UNITS, look_for_former, &f);
	if (!f.n || usage_collect(t, &usage))
		return 0;
	for (unsigned i = 0; i < f.n && !address; i++)
		if (!in_use(&usage, f.found[i]))
			address = f.found[i];
	free(usage.list);
	return address;
}

/* A client may hold an address whose lease was lost, after a partition say. */
static bool is_free(struct ipsec *t, uint32_t address, struct mono now)
{
	struct session_key key = address_key(address);
	unit_id unit = address_unit(t, address);

	return cluster_serves(t->host.cluster, unit, now) &&
	       !cluster_find(t->host.cluster, unit, &key) &&
	       !children_serve(t, htonl(address));
}

static uint32_t choose(struct ipsec *t, const struct local_address_want *want,
		       struct mono now)
{
	uint32_t base = to_host(&want->base), asked = to_host(&want->requested);
	uint32_t count = want->count < POOL_SCAN_MAX ? want->count : POOL_SCAN_MAX;
	uint32_t address = former_address(t, want);

	if (address)
		return address;
	if (want->requested.family == 4 && asked - base < want->count &&
	    is_free(t, asked, now))
		return asked;
	for (uint32_t i = 0; i < count; i++)
		if (is_free(t, base + i, now))
			return base + i;
	return 0;
}

static void answer(struct ipsec *t, uint32_t id, const struct local_addr *address)
{
	struct local_message m = { .type = LOCAL_ADDRESS };

	m.address.id = id;
	if (address)
		m.address.address = *address;
	plugin_send(t->plugin, &m);
}

static int lease(struct ipsec *t, uint32_t address, const struct local_address_want *want,
		 struct mono now)
{
	struct session_key key = address_key(address);
	struct waiting_address *w = calloc(1, sizeof(*w));
	struct session *s;
	int err;

	if (!w)
		return -1;
	w->unit = address_unit(t, address);
	err = cluster_put(t->host.cluster, w->unit, &key, want->identity.bytes,
			  want->identity.len, NULL, 0, &s, now);
	if (err) {
		free(w);
		return err;
	}
	session_set_user(s, &just_leased);
	w->position = cluster_position(t->host.cluster);
	w->id = want->id;
	w->address.family = 4;
	address = htonl(address);
	memcpy(w->address.bytes, &address, 4);
	TAILQ_INSERT_TAIL(&t->addresses, w, next);
	t->host.settle(t->host.ctx);
	return 0;
}

void address_want(struct ipsec *t, const struct local_address_want *want, struct mono now)
{
	uint32_t address = 0;

	if (want->base.family == 4 && want->identity.len <= IDENTITY_MAX)
		address = choose(t, want, now);
	if (!address || lease(t, address, want, now)) {
		t->statistics.pool_empty++;
		log_warnx(
		    "ipsec: pool %.*s has no free address that is this member's to give",
		    (int)want->pool.len, (const char *)want->pool.bytes);
		answer(t, want->id, NULL);
	}
}

void address_answer(struct ipsec *t)
{
	struct waiting_address *w, *next;

	for (w = TAILQ_FIRST(&t->addresses); w; w = next) {
		next = TAILQ_NEXT(w, next);
		if (!unit_set_has(&t->units, w->unit))
			answer(t, w->id, NULL);
		else if (cluster_committed(t->host.cluster, w->unit, w->position))
			answer(t, w->id, &w->address);
		else
			continue;
		TAILQ_REMOVE(&t->addresses, w, next);
		free(w);
	}
}

void address_release(struct ipsec *t, const struct local_address_release *r,
		     struct mono now)
{
	uint32_t address = to_host(&r->address);
	struct session_key key = address_key(address);
	unit_id unit = address_unit(t, address);
	struct usage usage;
	struct session *s;
	size_t len;
	const uint8_t *identity;

	if (r->address.family != 4 || !unit_set_has(&t->units, unit))
		return; /* its owner finds out by itself */
	s = cluster_find(t->host.cluster, unit, &key);
	if (!s || usage_collect(t, &usage))
		return;
	identity = session_initial(s, &len);
	if (len == r->identity.len && !memcmp(identity, r->identity.bytes, len) &&
	    !in_use(&usage, address))
		cluster_remove(t->host.cluster, s, now);
	free(usage.list);
}

/* Covers the pool's range with prefixes. */
void address_pool(struct ipsec *t, const struct local_pool *pool)
{
	uint64_t from = to_host(&pool->base), end = from + pool->count;

	if (pool->base.family != 4 || end > (uint64_t)UINT32_MAX + 1)
		return;
	while (from < end) {
		unsigned bits = child_prefix_bits(from, end);
		const struct address prefix =
		    address_ipv4((struct in_addr){ htonl((uint32_t)from) });

		t->host.pool_add(t->host.ctx, &prefix, 32 - bits);
		from += (uint64_t)1 << bits;
	}
}

struct sweep {
	struct ipsec *t;
	struct usage usage;
	struct session *stale[SWEEP_MAX];
	unsigned n;
};

static int look_for_stale(void *ctx, struct session *s)
{
	struct sweep *sweep = ctx;
	const struct session_key *key = session_key(s);
	struct unpack u = unpack_from(key->bytes, key->len);

	if (key->type != RECORD_ADDRESS ||
	    !unit_set_has(&sweep->t->units, session_unit(s)))
		return 0;
	if (in_use(&sweep->usage, unpack_u32(&u)) || session_user(s) == &just_leased)
		session_set_user(s, NULL);
	else if (!session_user(s))
		session_set_user(s, &found_idle);
	else
		sweep->stale[sweep->n++] = s;
	return sweep->n == SWEEP_MAX;
}

void address_sweep(struct ipsec *t, struct mono now)
{
	struct sweep sweep = { .t = t };

	if (usage_collect(t, &sweep.usage))
		return;
	cluster_each(t->host.cluster, CLUSTER_UNITS, look_for_stale, &sweep);
	for (unsigned i = 0; i < sweep.n; i++)
		cluster_remove(t->host.cluster, sweep.stale[i], now);
	free(sweep.usage.list);
}
