/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which addresses may be given while members are missing: they may be dead, or beyond a cut
 * and giving addresses themselves.
 *
 * Each configured member is the home of some addresses, always the same ones, whoever owns
 * their work units: its share of every pool. Which ones is not a matter of the units, since
 * a part that has begun anew folds by another key. An address is given to somebody only
 * where its home is, and not before the home has the lease; so two parts of a cluster, each
 * with all units, give none of them twice. A share without its home is kept back, and so are
 * the leases that were in use when somebody vanished: their clients may be on either side,
 * and go on with them. All that ends when everybody is back, or after a while: then who is
 * missing is taken for dead.
 */
#include <stdlib.h>

#include "tunnels/ipsec/engine.h"

static uint64_t weight(unsigned part, member_id id)
{
	const uint8_t bytes[4] = { (uint8_t)(part >> 8), (uint8_t)part,
				   (uint8_t)(id >> 8), (uint8_t)id };

	return usage_hash(bytes, sizeof(bytes));
}

/* By the highest weight, so that members come and go without a change for the others. */
static struct share *home_of(struct ipsec *t, unsigned part)
{
	struct share *home = t->shares;

	for (unsigned i = 1; i < t->nshares; i++)
		if (weight(part, t->shares[i].member) > weight(part, home->member))
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
	for (unsigned i = 0; i < SHARE_PARTS; i++)
		t->homes[i] = home_of(t, i);
	share_look(t, now);
}

/*
 * Whose session has just ended may come back to its address on either side; for others it is
 * not idle for much longer than that, since the two sides do not know the same. Logins that
 * are under way may be completed on either side, but nobody is sure. `late`: this member has
 * come when others were missing already, and does not know what was in use when they were
 * lost.
 */
static void part(struct ipsec *t, bool late)
{
	struct lease *l;

	t->parted = true;
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(l, &t->leases[i], by_address)
			if (usage_find(t, &l->address, NULL) ||
			    (l->used && l->idle < LEASE_RECENT))
				l->parted = PARTED_USED;
			else if (!l->parted && (late || !lease_is_idle(t, l)))
				l->parted = PARTED_MAYBE;
}

/* Of a lease that is in use in the other part again, the word may still be on its way. */
static void unite(struct ipsec *t)
{
	struct lease *l;

	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(l, &t->leases[i], by_address) {
			l->parted = PARTED_NOT;
			if (l->idle > LEASE_USED)
				l->idle = LEASE_USED;
		}
	t->parted = false;
}

/* Nobody who has vanished is missing any more. */
static void find_all(struct ipsec *t)
{
	for (unsigned i = 0; i < t->nshares; i++)
		t->shares[i].lost = false;
}

void share_look(struct ipsec *t, struct mono now)
{
	uint64_t hold = t->config.address_hold_back * MONO_SEC;
	bool missing = false, absent = false, vanished = false, arrived = false;

	for (struct share *s = t->shares; s < t->shares + t->nshares; s++) {
		bool there = cluster_whole(t->host.cluster, s->member, now);

		if (s->there && !there && hold) {
			s->lost = vanished = true;
			s->since = now;
		}
		arrived = arrived || (!s->there && there && s->member == t->host.self);
		s->there = there;
		if (there || mono_since(now, s->since) >= hold)
			continue;
		absent = true;
		missing = missing || s->lost;
	}
	if (!missing)
		find_all(t);
	if (vanished || (arrived && absent))
		part(t, arrived);
	else if (t->parted && !absent)
		unite(t);
	for (struct share *s = t->shares; s < t->shares + t->nshares; s++)
		s->kept = mono_since(now, s->since) < hold && (s->lost || !s->there);
}

const struct share *share_of(const struct ipsec *t, const struct address *a)
{
	return t->homes[usage_hash(a->bytes, sizeof(a->bytes)) % SHARE_PARTS];
}

bool share_given(const struct ipsec *t, const struct address *a, unit_id unit,
		 uint64_t position)
{
	const struct share *home = share_of(t, a);

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
