/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Half-open IKE SAs: answered in IKE_SA_INIT, and not authenticated yet.
 *
 * Before the answer leaves, the plugin reports what charon has chosen for it: its SPI, nonce
 * and the values of the key exchange. A new owner gives them to its charon with the peer's
 * request, and charon, made to choose the same, comes to the same answer and the same keys.
 * That answer is dropped, for the peer has it, and the peer completes the login by repeating
 * its IKE_AUTH.
 *
 * An EAP method's state is charon's alone. Once a round of it was answered, nobody else can
 * go on with it: then the new owner answers the peer's next request by AUTHENTICATION_FAILED,
 * under the keys that both know, so that the peer need not wait for its own timeout. Only a
 * peer that has not got the first answer, and repeats its first request, begins anew. Who is
 * refused is of no use to any further owner.
 *
 * An IKE SA is half-open until the answer that establishes it is committed, although charon
 * has reported it before. If its owner dies between the two, the peer knows of no IKE SA:
 * what was reported ends, and the login goes on as above.
 *
 *   initial    HALF_OPEN, encoded
 *   essential  SHA-256 of the answer; number of the last IKE_AUTH answered, 0: none; all ones:
 *              refused
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define IKE_SA_INIT 34
#define IKE_AUTH 35
/* Of each member's units. Those beyond are served, and end with their owner. */
#define HALF_MAX 1024
#define HALF_LIFE (60 * MONO_SEC) /* charon gives them 30 s */
#define REFUSED UINT32_MAX
#define ESSENTIAL_SIZE (IKE_DIGEST_SIZE + 4)

struct half {
	LIST_ENTRY(half) next;
	struct session *session;
	uint64_t spi;
	bool live;	/* charon here has it */
	bool imported;	/* and was made to choose it */
	bool repeated;	/* the answer that the peer has, has been dropped */
	bool different; /* charon came to another answer */
	bool digested;
	uint8_t digest[IKE_DIGEST_SIZE];
	uint32_t answered;
	struct ike_copy verdict; /* the end of an exchange that cannot go on */
	struct mono born;
};

static struct half *find(struct ipsec *t, uint64_t spi)
{
	struct half *half;

	LIST_FOREACH(half, &t->halves[spi_unit(spi)], next)
		if (half->spi == spi)
			return half;
	return NULL;
}

static struct session_key key_of(uint64_t spi)
{
	struct session_key key = login_key(spi);

	key.type = RECORD_HALF;
	return key;
}

static struct half *new_half(struct ipsec *t, struct session *s, uint64_t spi)
{
	struct half *half = calloc(1, sizeof(*half));

	if (!half)
		return NULL;
	half->session = s;
	half->spi = spi;
	half->born = t->host.now(t->host.ctx);
	session_set_user(s, half);
	LIST_INSERT_HEAD(&t->halves[spi_unit(spi)], half, next);
	t->nhalves++;
	t->halves_of[spi_unit(spi)]++;
	return half;
}

void half_free(struct ipsec *t, struct half *half)
{
	LIST_REMOVE(half, next);
	t->nhalves--;
	t->halves_of[spi_unit(half->spi)]--;
	ike_copy_clear(&half->verdict);
	OPENSSL_cleanse(half, sizeof(*half));
	free(half);
}

static void finish(struct ipsec *t, struct half *half, struct mono now)
{
	struct session *s = half->session;

	half_free(t, half);
	session_set_user(s, NULL);
	cluster_remove(t->host.cluster, s, now);
}

/* Those that other members have let in are none of ours: a flood at one of them leaves room
 * for logins here. */
static bool is_full(const struct ipsec *t)
{
	unsigned own = 0;

	for (unsigned u = 0; u < CLUSTER_UNITS && t->nhalves >= HALF_MAX; u++)
		if (unit_set_has(&t->units, (unit_id)u))
			own += t->halves_of[u];
	return own >= HALF_MAX;
}

void half_put(struct ipsec *t, const struct local_message *m, struct mono now)
{
	static uint8_t initial[LOCAL_MESSAGE_MAX];
	const uint64_t spi = m->half_open.spi;
	struct session_key key = key_of(spi);
	struct half *half = find(t, spi);
	struct session *s;
	size_t len;

	if (half || is_full(t) || login_find(t, spi)) {
		t->statistics.half_left_out++;
		return;
	}
	len = local_encode(m, initial, sizeof(initial));
	if (!cluster_put(t->host.cluster, spi_unit(spi), &key, initial, len, NULL, 0, &s,
			 now))
		half = new_half(t, s, spi);
	OPENSSL_cleanse(initial, len);
	if (!half)
		return;
	half->live = true;
	t->statistics.half_open++;
}

void half_end(struct ipsec *t, uint64_t spi, struct mono now)
{
	struct half *half = find(t, spi);

	if (half && half->live)
		finish(t, half, now);
}

void half_shadow(struct ipsec *t, struct session *s)
{
	const struct session_key *key = session_key(s);
	struct unpack u = unpack_from(key->bytes, key->len), e;
	uint64_t spi = unpack_u64(&u);
	struct half *half = session_user(s);
	size_t len;
	const uint8_t *essential = session_essential(s, &len), *digest;

	if (!unpack_done(&u) || spi_unit(spi) != session_unit(s)) {
		t->statistics.records_bad++;
		return;
	}
	if (!half)
		half = new_half(t, s, spi);
	if (!half || len != ESSENTIAL_SIZE)
		return;
	e = unpack_from(essential, len);
	digest = unpack_raw(&e, IKE_DIGEST_SIZE);
	memcpy(half->digest, digest, IKE_DIGEST_SIZE);
	half->answered = unpack_u32(&e);
	half->digested = true;
}

static int keep(struct ipsec *t, struct half *half, struct mono now)
{
	struct session_key key = key_of(half->spi);
	uint8_t essential[ESSENTIAL_SIZE];
	struct pack p = pack_to(essential, sizeof(essential));

	pack_raw(&p, half->digest, IKE_DIGEST_SIZE);
	pack_u32(&p, half->answered);
	return cluster_put(t->host.cluster, spi_unit(half->spi), &key, NULL, 0, essential,
			   sizeof(essential), NULL, now);
}

/* charon's answer to IKE_SA_INIT. */
static bool judge(struct ipsec *t, struct half *half, const struct local_ike_tx *tx,
		  struct mono now)
{
	uint8_t digest[IKE_DIGEST_SIZE];

	ike_digest(tx->packet.bytes, tx->packet.len, digest);
	if (!half->digested) {
		memcpy(half->digest, digest, sizeof(digest));
		half->digested = true;
		return !keep(t, half, now);
	}
	if (memcmp(half->digest, digest, sizeof(digest))) {
		if (!half->different)
			log_warnx("ipsec: charon answers the request of half-open IKE SA "
				  "%016llx differently than its former owner's did: do "
				  "their configurations differ?",
				  (unsigned long long)half->spi);
		half->different = true;
		return false;
	}
	if (half->imported && !half->repeated) {
		half->repeated = true;
		t->statistics.half_identical++;
		return false;
	}
	return true;
}

bool half_transmit(struct ipsec *t, const struct ike_header *h,
		   const struct local_ike_tx *tx, struct mono now)
{
	struct half *half = h->response ? find(t, ike_sender_spi(h)) : NULL;

	if (!half || !half->live)
		return true;
	if (h->exchange == IKE_SA_INIT)
		return judge(t, half, tx, now);
	if (h->exchange == IKE_AUTH && half->imported && half->answered &&
	    h->mid == half->answered + 1) {
		ike_copy_add(&half->verdict, h->mid, &tx->src, &tx->dst, tx->packet.bytes,
			     tx->packet.len);
		half->answered = REFUSED;
		return !keep(t, half, now);
	} else if (h->exchange == IKE_AUTH && half->imported && h->mid == half->answered)
		half->imported = false; /* its rounds are this charon's from here on */
	else if (h->exchange == IKE_AUTH && h->mid > half->answered) {
		half->answered = h->mid;
		login_engages(t, spi_unit(half->spi), now);
		return !keep(t, half, now);
	}
	return true;
}

bool half_receive(struct ipsec *t, const struct ike_header *h,
		  const struct local_addr *src, const struct local_addr *dst,
		  struct mono now)
{
	struct half *half = h->response ? NULL : find(t, ike_receiver_spi(h));
	struct local_message m = { .type = LOCAL_HALF_FAIL };
	const uint8_t *packet;
	size_t len;

	if (!half || !half->live || !half->imported || !half->answered)
		return false;
	/* The answer may be lost, and charon can give another one. */
	if (half->answered == 1 && h->mid == 1)
		return false;
	if (half->verdict.valid && h->mid == half->verdict.mid) {
		packet = ike_copy_packet(&half->verdict, 0, &len);
		login_send(t, dst, src, packet, len);
		return true;
	}
	if (half->answered == REFUSED || h->mid != half->answered + 1)
		return true;
	m.half_fail.spi = half->spi;
	m.half_fail.mid = h->mid;
	m.half_fail.src = *src;
	m.half_fail.dst = *dst;
	t->statistics.half_failed++;
	plugin_send(t->plugin, &m);
	return true;
}

static void import(struct ipsec *t, struct half *half)
{
	struct local_message m;
	size_t len;
	const uint8_t *initial = session_initial(half->session, &len);

	/* Without a digest the answer may not have left: the peer asks anew. */
	if (half->live || !half->digested || half->answered == REFUSED ||
	    local_decode(initial, len, &m) || m.type != LOCAL_HALF_OPEN)
		return;
	m.type = LOCAL_HALF_IMPORT;
	plugin_send(t->plugin, &m);
	half->live = half->imported = true;
	half->repeated = half->different = false;
	t->statistics.half_imports++;
}

void half_import(struct ipsec *t, const struct unit_set *units, struct mono now)
{
	struct half *half, *next;
	struct ike_sa *sa;

	for (unsigned u = 0; u < CLUSTER_UNITS; u++) {
		if (!unit_set_has(units, (unit_id)u))
			continue;
		for (half = LIST_FIRST(&t->halves[u]); half; half = next) {
			next = LIST_NEXT(half, next);
			sa = login_find(t, half->spi);
			if (sa && sa->exchanges.response.valid) {
				finish(t, half, now);
				continue;
			}
			/* Its peer has not heard that it is established. */
			if (sa)
				login_end(t, sa, now);
			import(t, half);
		}
	}
}

static void drop(struct ipsec *t, struct half *half)
{
	if (half->live)
		login_drop_spi(t, half->spi);
	half->live = half->imported = false;
}

/* What charon kept would be in the way of the IKE SA that another member makes of it. */
void half_drop(struct ipsec *t, const struct unit_set *units)
{
	struct half *half;

	for (unsigned u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(units, (unit_id)u))
			LIST_FOREACH(half, &t->halves[u], next)
				drop(t, half);
}

void half_drop_all(struct ipsec *t)
{
	struct half *half;

	for (unsigned u = 0; u < CLUSTER_UNITS; u++)
		LIST_FOREACH(half, &t->halves[u], next)
			half->live = half->imported = false;
}

void half_sweep(struct ipsec *t, struct mono now)
{
	struct half *half, *next;

	for (unsigned u = 0; t->nhalves && u < CLUSTER_UNITS; u++)
		for (half = LIST_FIRST(&t->halves[u]); half; half = next) {
			next = LIST_NEXT(half, next);
			if (unit_set_has(&t->units, (unit_id)u) &&
			    mono_since(now, half->born) > HALF_LIFE)
				finish(t, half, now);
		}
}
