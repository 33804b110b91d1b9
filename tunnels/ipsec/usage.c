/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which virtual addresses are in use, and which are leased to whom: found by a hash, so that
 * a login costs the same however many there are. Both are made from the records of all
 * members.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/engine.h"

struct usage {
	LIST_ENTRY(usage) next;
	struct usage *of_sa; /* the next one of the same IKE SA */
	struct address address;
	struct ike_sa *sa;
};

static unsigned bucket_of(const uint8_t *bytes, size_t len)
{
	return (unsigned)(usage_hash(bytes, len) % TABLE_SIZE);
}

uint64_t usage_hash(const uint8_t *bytes, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static unsigned bucket_of_address(const struct address *a)
{
	return bucket_of(a->bytes, sizeof(a->bytes));
}

struct address usage_address(const struct local_addr *a)
{
	struct address out = { .family = a->family == 4	  ? AF_INET
					 : a->family == 6 ? AF_INET6
							  : 0 };

	memcpy(out.bytes, a->bytes, address_size(out.family));
	return out;
}

/* Virtual addresses of IKE SAs */

void usage_clear(struct ipsec *t, struct ike_sa *sa)
{
	struct usage *u;

	while ((u = sa->usage)) {
		sa->usage = u->of_sa;
		LIST_REMOVE(u, next);
		free(u);
	}
}

static bool is_known(const struct ike_sa *sa, const struct address *a)
{
	for (const struct usage *u = sa->usage; u; u = u->of_sa)
		if (address_same(&u->address, a))
			return true;
	return false;
}

static void use(struct ipsec *t, struct ike_sa *sa, const struct address *a)
{
	struct usage *u;
	struct lease *l;

	if (!a->family || is_known(sa, a))
		return;
	u = calloc(1, sizeof(*u));
	if (!u)
		return;
	u->address = *a;
	u->sa = sa;
	u->of_sa = sa->usage;
	sa->usage = u;
	LIST_INSERT_HEAD(&t->usage[bucket_of_address(a)], u, next);
	l = lease_find(t, a);
	if (l) {
		l->idle = LEASE_USED;
		l->used = true;
	}
}

/* They change once at most, from none to all: what was used is used until the end. */
void usage_note(struct ipsec *t, struct ike_sa *sa)
{
	struct local_ike_put put;

	if (!login_read(sa->session, &put))
		return;
	for (size_t at = 0; at + VIP_SIZE <= put.vips.len; at += VIP_SIZE) {
		const uint8_t *vip = put.vips.bytes + at;
		struct local_addr a = { .family = vip[0] };
		struct address address;

		memcpy(a.bytes, vip + 1, sizeof(a.bytes));
		address = usage_address(&a);
		use(t, sa, &address);
	}
}

struct ike_sa *usage_find(const struct ipsec *t, const struct address *a,
			  const struct ike_sa *after)
{
	const struct usage *u = LIST_FIRST(&t->usage[bucket_of_address(a)]);
	bool past = !after;

	for (; u; u = LIST_NEXT(u, next)) {
		if (!address_same(&u->address, a))
			continue;
		if (past)
			return u->sa;
		past = u->sa == after;
	}
	return NULL;
}

/* Leases */

static int address_of(const struct session *s, struct address *out)
{
	const struct session_key *key = session_key(s);
	int family = key->len == 4 ? AF_INET : key->len == 16 ? AF_INET6 : 0;

	if (!family)
		return -EBADMSG;
	*out = (struct address){ .family = family };
	memcpy(out->bytes, key->bytes, key->len);
	return 0;
}

static uint64_t holder_of(const struct session *s)
{
	size_t len;
	const uint8_t *identity = session_initial(s, &len);

	return usage_hash(identity, len);
}

struct lease *lease_note(struct ipsec *t, struct session *s)
{
	struct lease *l = session_user(s);
	uint64_t holder = holder_of(s);

	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return NULL;
		if (address_of(s, &l->address)) {
			free(l);
			t->statistics.records_bad++;
			return NULL;
		}
		l->session = s;
		l->idle = LEASE_USED;
		session_set_user(s, l);
		LIST_INSERT_HEAD(&t->leases[bucket_of_address(&l->address)], l,
				 by_address);
	} else {
		/* Its owner has given it anew. */
		LIST_REMOVE(l, by_holder);
		if (l->holder != holder || l->idle >= LEASE_RECENT)
			l->used = false;
		if (l->idle > LEASE_USED)
			l->idle = LEASE_USED;
	}
	l->holder = holder;
	LIST_INSERT_HEAD(&t->holders[holder % TABLE_SIZE], l, by_holder);
	return l;
}

void lease_free(struct lease *l)
{
	LIST_REMOVE(l, by_address);
	LIST_REMOVE(l, by_holder);
	free(l);
}

struct lease *lease_find(const struct ipsec *t, const struct address *a)
{
	struct lease *l;

	LIST_FOREACH(l, &t->leases[bucket_of_address(a)], by_address)
		if (address_same(&l->address, a))
			return l;
	return NULL;
}

bool lease_is_of(const struct lease *l, const struct local_blob *identity)
{
	size_t len;
	const uint8_t *holder = session_initial(l->session, &len);

	return len == identity->len && !memcmp(holder, identity->bytes, len);
}

bool lease_is_idle(const struct ipsec *t, const struct lease *l)
{
	/* A login waits for three detection intervals, and a cut shows after one and a half:
	 * a sweep, which comes every five seconds, for each second of the interval. */
	return l->idle >= LEASE_IDLE + t->config.detection / MONO_SEC;
}

struct lease *lease_of(const struct ipsec *t, const struct local_blob *identity,
		       const struct lease *after)
{
	struct lease *l =
	    after ? LIST_NEXT(after, by_holder)
		  : LIST_FIRST(&t->holders[bucket_of(identity->bytes, identity->len)]);

	while (l && !lease_is_of(l, identity))
		l = LIST_NEXT(l, by_holder);
	return l;
}
