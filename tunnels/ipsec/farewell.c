/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IKE SAs that have ended by a DELETE, which one of the two ends has not heard of yet.
 *
 * The peer that has deleted an IKE SA repeats its request until it is answered, and a client
 * that authenticates anew begins only then. charon has forgotten the IKE SA by that time, and
 * so has a new owner: so the answer is kept for a while, and every owner says it again. As
 * with all answers, whoever repeats the request's number gets no more than the same bytes.
 *
 * If the owner dies between its own DELETE and the peer's answer, the new owner ends the IKE
 * SA, and says the same request a few times. Nobody is waited for: an IKE SA without a charon
 * that knows it could not tell whether an answer is the peer's.
 *
 *   initial    struct ike_exchanges
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/engine.h"

#define FAREWELLS_MAX 8192 /* of all members; those beyond are forgotten at once */
#define FAREWELL_LIFE (180 * MONO_SEC) /* peers give up before, by default */
#define ASK_MAX 3
#define ASK_FIRST MONO_SEC /* and then twice as long each time */

struct farewell {
	LIST_ENTRY(farewell) next;
	struct session *session;
	uint64_t spi;
	struct ike_exchanges exchanges;
	unsigned asked; /* how often the peer was, by us; ASK_MAX: no more */
	struct mono ask_at, born;
};

static struct farewell *find(struct ipsec *t, uint64_t spi)
{
	struct farewell *e;

	LIST_FOREACH(e, &t->farewells[spi_unit(spi)], next)
		if (e->spi == spi)
			return e;
	return NULL;
}

static struct farewell *new_farewell(struct ipsec *t, struct session *s, uint64_t spi)
{
	struct farewell *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->session = s;
	e->spi = spi;
	e->asked = ASK_MAX;
	e->born = t->host.now(t->host.ctx);
	session_set_user(s, e);
	LIST_INSERT_HEAD(&t->farewells[spi_unit(spi)], e, next);
	t->nfarewells++;
	return e;
}

void farewell_free(struct ipsec *t, struct farewell *e)
{
	LIST_REMOVE(e, next);
	t->nfarewells--;
	ike_exchanges_clear(&e->exchanges);
	free(e);
}

void farewell_keep(struct ipsec *t, struct ike_sa *sa, bool ask, struct mono now)
{
	static uint8_t initial[IKE_EXCHANGES_MAX];
	struct session_key key = login_key(sa->spi);
	struct session *s;
	struct farewell *e;
	size_t len;

	key.type = RECORD_FAREWELL;
	if (t->nfarewells >= FAREWELLS_MAX || find(t, sa->spi) ||
	    !(ask ? sa->exchanges.request.packets : sa->exchanges.response.packets))
		return;
	/* What it was about to do, and with what secrets, is nobody's business any more. */
	OPENSSL_cleanse(&sa->exchanges.begun, sizeof(sa->exchanges.begun));
	sa->exchanges.replaces.n = 0;
	len = ike_exchanges_encode(&sa->exchanges, initial, sizeof(initial));
	if (!len ||
	    cluster_put(t->host.cluster, sa->unit, &key, initial, len, NULL, 0, &s, now))
		return;
	e = new_farewell(t, s, sa->spi);
	if (!e || ike_exchanges_decode(&e->exchanges, initial, len) || !ask)
		return;
	e->asked = 0;
	e->ask_at = now;
	t->nasking++;
	t->host.settle(t->host.ctx);
}

void farewell_shadow(struct ipsec *t, struct session *s)
{
	const struct session_key *key = session_key(s);
	struct unpack u = unpack_from(key->bytes, key->len);
	uint64_t spi = unpack_u64(&u);
	struct farewell *e = session_user(s);
	size_t len;
	const uint8_t *initial = session_initial(s, &len);

	if (!initial || !len)
		return;
	if (!unpack_done(&u) || spi_unit(spi) != session_unit(s)) {
		t->statistics.records_bad++;
		return;
	}
	if (!e)
		e = new_farewell(t, s, spi);
	if (e && ike_exchanges_decode(&e->exchanges, initial, len))
		t->statistics.records_bad++;
}

bool farewell_receive(struct ipsec *t, const struct ike_header *h)
{
	const struct farewell *e = find(t, ike_receiver_spi(h));
	const struct ike_copy *copy;

	if (!e)
		return false;
	copy = &e->exchanges.response;
	if (h->response || h->fragment > 1 || !copy->valid || copy->mid != h->mid)
		return true;
	if (login_settled(t, spi_unit(e->spi))) {
		t->statistics.ike_repeated++;
		login_say(t, copy);
	}
	return true;
}

void farewell_inherit(struct ipsec *t, const struct unit_set *units, struct mono now)
{
	struct ike_sa *sa, *next;

	for (unsigned i = 0; i < TABLE_SIZE; i++)
		for (sa = LIST_FIRST(&t->ikes[i]); sa; sa = next) {
			next = LIST_NEXT(sa, by_spi);
			if (sa->exchanges.ending == IKE_LIVES || sa->live ||
			    !unit_set_has(units, sa->unit))
				continue;
			farewell_keep(t, sa, sa->exchanges.ending == IKE_ENDED_BY_US,
				      now);
			login_end(t, sa, now);
		}
}

static void ask(struct ipsec *t, struct farewell *e, struct mono now)
{
	unit_id unit = spi_unit(e->spi);

	if (!unit_set_has(&t->units, unit)) {
		e->asked = ASK_MAX;
	} else if (cluster_serves(t->host.cluster, unit, now) && login_settled(t, unit)) {
		t->statistics.ike_resent++;
		login_say(t, &e->exchanges.request);
		e->ask_at = mono_add(now, ASK_FIRST << e->asked);
		e->asked++;
	} else {
		e->ask_at = mono_add(now, ASK_FIRST);
	}
	if (e->asked == ASK_MAX)
		t->nasking--;
}

void farewell_tick(struct ipsec *t, struct mono now)
{
	struct farewell *e;

	for (unsigned u = 0; t->nasking && u < CLUSTER_UNITS; u++)
		LIST_FOREACH(e, &t->farewells[u], next)
			if (e->asked < ASK_MAX && !mono_before(now, e->ask_at))
				ask(t, e, now);
}

struct mono farewell_timeout(const struct ipsec *t)
{
	struct mono at = MONO_NEVER;
	const struct farewell *e;

	for (unsigned u = 0; t->nasking && u < CLUSTER_UNITS; u++)
		LIST_FOREACH(e, &t->farewells[u], next)
			if (e->asked < ASK_MAX)
				at = mono_min(at, e->ask_at);
	return at;
}

void farewell_sweep(struct ipsec *t, struct mono now)
{
	struct farewell *e, *next;

	for (unsigned u = 0; t->nfarewells && u < CLUSTER_UNITS; u++)
		for (e = LIST_FIRST(&t->farewells[u]); e; e = next) {
			struct session *s = e->session;

			next = LIST_NEXT(e, next);
			if (!unit_set_has(&t->units, (unit_id)u) || e->asked < ASK_MAX ||
			    mono_since(now, e->born) < FAREWELL_LIFE)
				continue;
			farewell_free(t, e);
			session_set_user(s, NULL);
			cluster_remove(t->host.cluster, s, now);
		}
}
