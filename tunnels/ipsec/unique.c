/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INITIAL_CONTACT and `unique` of a connection, over the whole cluster.
 *
 * A charon judges its own IKE SAs. For those of other members it asks, before it answers
 * the client: UNIQUE_ASK. `keep` is answered at once, as the copies of all logins are here.
 * What a new login replaces is named in its own record, so it is told to all members with
 * it, and survives whoever wrote it. Whoever owns a login that another one's record names,
 * now or after a takeover, ends it. Only what was there when the new one came is ever named:
 * so nothing that comes later is harmed.
 */
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define GRACE (20 * MONO_SEC) /* for charon to end it, and for what follows on the peer */
#define STAGED_MAX 1024

static bool blob_equals(const struct local_blob *a, const struct local_blob *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

static void name(struct ike_replaces *r, uint64_t spi, bool same)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->spi[i] == spi)
			return;
	if (r->n == IKE_REPLACES_MAX)
		return;
	r->late[r->n] = same;
	r->spi[r->n++] = spi;
}

static void stage(struct ipsec *t, uint64_t spi, const struct ike_replaces *r)
{
	struct staged_replaces *s;

	if (t->nreplaces == STAGED_MAX) {
		s = TAILQ_FIRST(&t->replaces);
		TAILQ_REMOVE(&t->replaces, s, next);
	} else {
		s = malloc(sizeof(*s));
		if (!s)
			return;
		t->nreplaces++;
	}
	s->spi = spi;
	s->replaces = *r;
	TAILQ_INSERT_TAIL(&t->replaces, s, next);
}

/* charon itself knows those that are live here. */
void unique_ask(struct ipsec *t, const struct local_unique_ask *ask)
{
	struct ike_replaces r = { .contact = ask->policy == LOCAL_UNIQUE_CONTACT };
	struct local_message m = { .type = LOCAL_UNIQUE };
	struct local_ike_put put;
	struct ike_sa *sa;

	m.unique.id = ask->id;
	LIST_FOREACH(sa, &t->peers[ask->peer % TABLE_SIZE], by_peer) {
		if (sa->peer != ask->peer || sa->spi == ask->spi || sa->live ||
		    !login_read(sa->session, &put) || !blob_equals(&put.user, &ask->user))
			continue;
		if (!r.contact && !blob_equals(&put.name, &ask->name))
			continue;
		if (ask->policy != LOCAL_UNIQUE_KEEP)
			name(&r, sa->spi, local_addr_equal(&put.remote, &ask->remote));
		else if (!local_addr_equal(&put.remote, &ask->remote))
			m.unique.refuse = 1;
	}
	if (r.n)
		stage(t, ask->spi, &r);
	plugin_send(t->plugin, &m);
}

void unique_contact(struct ipsec *t, const struct local_contact_ask *ask)
{
	struct local_message m = { .type = LOCAL_CONTACT };
	const struct ike_sa *sa;

	m.contact.id = ask->id;
	LIST_FOREACH(sa, &t->peers[ask->peer % TABLE_SIZE], by_peer)
		if (sa->peer == ask->peer)
			m.contact.known = 1;
	plugin_send(t->plugin, &m);
}

void unique_established(struct ipsec *t, struct ike_sa *sa)
{
	struct staged_replaces *s;

	TAILQ_FOREACH(s, &t->replaces, next) {
		if (s->spi != sa->spi)
			continue;
		sa->exchanges.replaces = s->replaces;
		TAILQ_REMOVE(&t->replaces, s, next);
		t->nreplaces--;
		free(s);
		t->enforce = true;
		return;
	}
}

void unique_forget(struct ipsec *t)
{
	struct staged_replaces *s;

	while ((s = TAILQ_FIRST(&t->replaces))) {
		TAILQ_REMOVE(&t->replaces, s, next);
		free(s);
	}
	t->nreplaces = 0;
}

/* As charon would do if both were its own: silently upon INITIAL_CONTACT, as the peer has
 * nothing left; else by a DELETE, and late if the peer seems to authenticate anew. */
static void replace(struct ipsec *t, struct ike_sa *old, const struct ike_sa *sa,
		    unsigned i, struct mono now)
{
	struct local_message m = { .type = LOCAL_IKE_REPLACED };

	if (!cluster_serves(t->host.cluster, old->unit, now))
		return;
	if (old->import == IMPORT_WAITING || old->import == IMPORT_SENT)
		return; /* charon is to tell the peer, as soon as it can */
	if (!old->live || (old->ending && !mono_before(now, old->end_at))) {
		login_end(t, old, now);
		return;
	}
	if (old->ending)
		return;
	old->ending = true;
	old->end_at = mono_add(now, GRACE);
	log_info("ipsec: IKE SA %016llx ends, as %016llx of the same user replaces it",
		 (unsigned long long)old->spi, (unsigned long long)sa->spi);
	t->statistics.replaced++;
	m.ike_replaced.spi = old->spi;
	m.ike_replaced.how = sa->exchanges.replaces.contact   ? LOCAL_END_SILENT
			     : sa->exchanges.replaces.late[i] ? LOCAL_END_LATE
							      : LOCAL_END_DELETE;
	plugin_send(t->plugin, &m);
}

/* True if one of those that it names went. */
static bool enforce(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	struct ike_replaces *r = &sa->exchanges.replaces;
	struct ike_sa *old;
	unsigned left = 0;

	for (unsigned k = 0; k < r->n; k++) {
		old = login_find(t, r->spi[k]);
		if (!old || old == sa || old->peer != sa->peer)
			continue;
		replace(t, old, sa, k, now);
		if (!login_find(t, r->spi[k]))
			return true;
		left++;
	}
	/* Its record says so when it is written next. */
	if (!left && sa->live)
		r->n = 0;
	return false;
}

void unique_enforce(struct ipsec *t, struct mono now)
{
	struct ike_sa *sa;

	t->enforce = false;
	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		sa = LIST_FIRST(&t->ikes[i]);
		while (sa)
			/* The walk begins anew when an IKE SA has gone. */
			sa = enforce(t, sa, now) ? LIST_FIRST(&t->ikes[i])
						 : LIST_NEXT(sa, by_spi);
	}
}
