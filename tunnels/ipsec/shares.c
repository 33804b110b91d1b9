/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which addresses may be given while members are missing: they may be dead, or beyond a cut
 * and giving addresses themselves.
 *
 * Each configured member is the home of some work units, always the same ones, whoever owns
 * them; their addresses are its share of every pool. An address is given to somebody only
 * where its home is, and not before the home has the lease; so two parts of a cluster, each
 * with all units, give none of them twice. A share without its home is kept back, and so are
 * the leases that were in use when somebody vanished: their clients may be on either side,
 * and go on with them. All that ends when everybody is back, or after a while: then who is
 * missing is taken for dead.
 */
#include <stdlib.h>

#include "tunnels/ipsec/engine.h"

static uint64_t weight(unit_id unit, member_id id)
{
	const uint8_t bytes[4] = { (uint8_t)(unit >> 8), (uint8_t)unit,
				   (uint8_t)(id >> 8), (uint8_t)id };

	return usage_hash(bytes, sizeof(bytes));
}

/* By the highest weight, so that members come and go without a change for the others. */
static struct share *home_of(struct ipsec *t, unit_id unit)
{
	struct share *home = t->shares;

	for (unsigned i = 1; i < t->nshares; i++)
		if (weight(unit, t->shares[i].member) > weight(unit, home->member))
			home = &t->shares[i];
	return home;
}

void share_begin(struct ipsec *t, struct mono now)
{
	const struct cluster_peer *peers = cluster_peers(t->host.cluster, &t->nshares);

	for (unsigned i = 0; i < t->nshares; i++)
		t->shares[i] = (struct share){ .member = peers[i].id,
					       .name = peers[i].name,
					       .since = now };
	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		t->homes[u] = home_of(t, u);
	share_look(t, now);
}

/* Logins that are under way may be completed on either side, but nobody is sure. */
static void part(struct ipsec *t)
{
	struct lease *l;

	t->parted = true;
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(l, &t->leases[i], by_address)
			if (usage_find(t, &l->address, NULL))
				l->parted = PARTED_USED;
			else if (l->idle == LEASE_FRESH)
				l->parted = PARTED_FRESH;
}

static void unite(struct ipsec *t)
{
	struct lease *l;

	for (unsigned i = 0; i < t->nshares; i++)
		t->shares[i].lost = false;
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(l, &t->leases[i], by_address)
			l->parted = PARTED_NOT;
	t->parted = false;
}

void share_look(struct ipsec *t, struct mono now)
{
	uint64_t hold = t->config.address_hold_back * MONO_SEC;
	bool missing = false, vanished = false;

	for (struct share *s = t->shares; s < t->shares + t->nshares; s++) {
		bool there = cluster_whole(t->host.cluster, s->member);

		if (s->there && !there && hold) {
			s->lost = vanished = true;
			s->since = now;
		}
		s->there = there;
		missing =
		    missing || (s->lost && !there && mono_since(now, s->since) < hold);
	}
	if (vanished)
		part(t);
	else if (t->parted && !missing)
		unite(t);
	for (struct share *s = t->shares; s < t->shares + t->nshares; s++)
		s->kept = mono_since(now, s->since) < hold && (s->lost || !s->there);
}

const struct share *share_of(const struct ipsec *t, unit_id unit)
{
	return t->homes[unit];
}

bool share_given(const struct ipsec *t, unit_id unit, uint64_t position)
{
	const struct share *home = t->homes[unit];

	return !home->there ||
	       cluster_holds(t->host.cluster, home->member, unit, position);
}

const char *share_missing(const struct ipsec *t)
{
	for (unsigned i = 0; i < t->nshares; i++)
		if (t->shares[i].kept)
			return t->shares[i].name;
	return NULL;
}
