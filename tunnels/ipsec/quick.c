/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quick modes of IKEv1 that a peer has begun, and not finished.
 *
 * The peer has its CHILD SA when it gets our answer, and says so in a last message that it
 * does not repeat by itself; charon has the CHILD SA only then. If the owner dies in
 * between, the peer speaks by an SA that nobody knows. So what charon has chosen for its
 * answer is kept before the answer leaves, and a new owner's charon is made to answer the
 * request so once more. It comes to the same keys, and to the same message: the peer takes
 * that for a repetition, and repeats its last one.
 *
 *   initial    QUICK_OPEN, encoded
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define QUICK_MAX 1024		   /* those beyond end with their owner */
#define QUICK_LIFE (60 * MONO_SEC) /* no peer repeats a message for longer */

struct quick {
	LIST_ENTRY(quick) next;
	struct session *session;
	uint64_t ike;
	uint32_t spi, mid;
	bool imported; /* charon here was made to answer it */
	struct mono born;
};

static struct session_key key_of(uint32_t spi)
{
	struct session_key key = { .type = RECORD_QUICK, .len = 4 };
	struct pack p = pack_to(key.bytes, 4);

	pack_u32(&p, spi);
	return key;
}

static struct quick *find(struct ipsec *t, uint32_t spi)
{
	struct quick *q;

	LIST_FOREACH(q, &t->quicks[spi_unit(spi)], next)
		if (q->spi == spi)
			return q;
	return NULL;
}

void quick_free(struct ipsec *t, struct quick *q)
{
	LIST_REMOVE(q, next);
	t->nquicks--;
	free(q);
}

static void finish(struct ipsec *t, struct quick *q, struct mono now)
{
	struct session *s = q->session;

	quick_free(t, q);
	session_set_user(s, NULL);
	cluster_remove(t->host.cluster, s, now);
}

static void note(struct ipsec *t, struct session *s, const struct local_quick_open *open)
{
	struct ike_header h;
	struct quick *q;

	if (ike_parse(open->request.bytes, open->request.len, &h) || h.major != 1 ||
	    spi_unit(open->ike) != session_unit(s)) {
		t->statistics.records_bad++;
		return;
	}
	q = calloc(1, sizeof(*q));
	if (!q)
		return;
	q->session = s;
	q->ike = open->ike;
	q->spi = open->spi;
	q->mid = h.mid;
	q->born = t->host.now(t->host.ctx);
	session_set_user(s, q);
	LIST_INSERT_HEAD(&t->quicks[spi_unit(q->spi)], q, next);
	t->nquicks++;
}

void quick_put(struct ipsec *t, const struct local_message *m, struct mono now)
{
	static uint8_t initial[LOCAL_MESSAGE_MAX];
	const uint32_t spi = m->quick_open.spi;
	struct session_key key = key_of(spi);
	struct session *s;
	size_t len;

	if (spi_unit(spi) != spi_unit(m->quick_open.ike) || find(t, spi) ||
	    t->nquicks >= QUICK_MAX || !login_find(t, m->quick_open.ike)) {
		t->statistics.half_left_out++;
		return;
	}
	len = local_encode(m, initial, sizeof(initial));
	if (!cluster_put(t->host.cluster, spi_unit(spi), &key, initial, len, NULL, 0, &s,
			 now))
		note(t, s, &m->quick_open);
	OPENSSL_cleanse(initial, len);
}

void quick_end(struct ipsec *t, uint32_t spi, struct mono now)
{
	struct quick *q = find(t, spi);

	if (q)
		finish(t, q, now);
}

void quick_shadow(struct ipsec *t, struct session *s)
{
	struct local_message m;
	size_t len;
	const uint8_t *initial = session_initial(s, &len);

	if (session_user(s))
		return;
	if (local_decode(initial, len, &m) || m.type != LOCAL_QUICK_OPEN ||
	    spi_unit(m.quick_open.spi) != session_unit(s))
		t->statistics.records_bad++;
	else
		note(t, s, &m.quick_open);
}

void quick_import(struct ipsec *t, const struct ike_sa *sa, struct mono now)
{
	struct quick *q, *next;
	struct local_message m;

	for (q = LIST_FIRST(&t->quicks[sa->unit]); q; q = next) {
		size_t len;
		const uint8_t *initial = session_initial(q->session, &len);

		next = LIST_NEXT(q, next);
		if (q->ike != sa->spi)
			continue;
		if (child_find(t, q->spi)) {
			finish(t, q, now);
			continue;
		}
		if (local_decode(initial, len, &m))
			continue;
		m.type = LOCAL_QUICK_IMPORT;
		plugin_send(t->plugin, &m);
		q->imported = true;
		t->statistics.quick_imports++;
	}
}

bool quick_awaited(struct ipsec *t, const struct ike_sa *sa, uint32_t mid)
{
	const struct quick *q;

	LIST_FOREACH(q, &t->quicks[sa->unit], next)
		if (q->imported && q->ike == sa->spi && q->mid == mid)
			return true;
	return false;
}

bool quick_agrees(const struct ike_sa *sa, const struct local_ike_tx *tx)
{
	const struct ike_copy *copy = &sa->exchanges.response;
	struct ike_header said, now;
	const uint8_t *packet;
	size_t len;

	if (!copy->valid || copy->packets != 1)
		return true;
	packet = ike_copy_packet(copy, 0, &len);
	if (ike_parse(packet, len, &said) ||
	    ike_parse(tx->packet.bytes, tx->packet.len, &now) || said.mid != now.mid ||
	    (len == tx->packet.len && !memcmp(packet, tx->packet.bytes, len)))
		return true;
	log_warnx(
	    "ipsec: charon answers a quick mode of IKE SA %016llx differently than its "
	    "former owner's did: do their configurations differ?",
	    (unsigned long long)sa->spi);
	return false;
}

void quick_sweep(struct ipsec *t, struct mono now)
{
	struct quick *q, *next;

	for (unsigned u = 0; t->nquicks && u < CLUSTER_UNITS; u++)
		for (q = LIST_FIRST(&t->quicks[u]); q; q = next) {
			next = LIST_NEXT(q, next);
			if (unit_set_has(&t->units, (unit_id)u) &&
			    mono_since(now, q->born) > QUICK_LIFE)
				finish(t, q, now);
		}
}
