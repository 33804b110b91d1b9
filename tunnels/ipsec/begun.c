/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where charon goes on in the middle of IKE's exchanges, since it has taken over what a dead
 * owner has begun.
 *
 * A rekeying that is under way has secrets that are nowhere but in the charon that has begun
 * it: they are kept with the request, as long as that one is the last. The new owner's charon
 * begins the same rekeying, and waits for the answer to the former owner's request.
 *
 * Where the last exchanges themselves may be unknown, charon asks the peer to agree on new
 * message IDs (RFC 6311). Until then nothing else is said.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/engine.h"

void begun_forget(struct ike_sa *sa)
{
	if (sa->begins)
		OPENSSL_cleanse(sa->begins, sizeof(*sa->begins));
	free(sa->begins);
	sa->begins = NULL;
}

void begun_note(struct ipsec *t, const struct local_ike_begun *b)
{
	struct ike_sa *sa = login_find(t, b->spi);

	if (!sa || !sa->live || !b->state.len || b->state.len > IKE_BEGUN_MAX)
		return;
	begun_forget(sa);
	sa->begins = calloc(1, sizeof(*sa->begins));
	if (!sa->begins)
		return;
	sa->begins->mid = b->mid;
	sa->begins->ike = b->ike;
	sa->begins->child = b->child;
	sa->begins->len = (uint16_t)b->state.len;
	memcpy(sa->begins->state, b->state.bytes, b->state.len);
}

/* With its first packet a request brings what it begins, and ends what was before. */
void begun_take(struct ike_sa *sa, uint32_t mid)
{
	OPENSSL_cleanse(&sa->exchanges.begun, sizeof(sa->exchanges.begun));
	if (sa->begins && sa->begins->mid == mid)
		sa->exchanges.begun = *sa->begins;
	begun_forget(sa);
	sa->resumed = false;
}

static void no_request(struct ipsec *t, struct ike_sa *sa)
{
	if (sa->inherited)
		t->inherited--;
	sa->inherited = sa->resumed = false;
	sa->exchanges.outstanding = false;
}

/* Whatever was asked or answered, the next number is `next`; 0: none has been used. */
static void set_next(struct ike_copy *copy, uint32_t next)
{
	ike_copy_clear(copy);
	copy->valid = next > 0;
	copy->mid = next - copy->valid;
}

void begun_syncing(struct ipsec *t, const struct local_ike_syncing *m, struct mono now)
{
	struct ike_sa *sa = login_find(t, m->spi);

	if (!sa || !sa->live)
		return;
	no_request(t, sa);
	sa->syncing = true;
	set_next(&sa->exchanges.request, m->send_mid);
	login_keep(t, sa, now);
}

void begun_synced(struct ipsec *t, const struct local_ike_synced *m, struct mono now)
{
	struct ike_sa *sa = login_find(t, m->spi);

	if (!sa || !sa->live)
		return;
	no_request(t, sa);
	sa->syncing = false;
	/* Less than it was: the peer was not heard. */
	if (m->send_mid >= ike_next_sent(&sa->exchanges))
		t->statistics.ike_synced++;
	set_next(&sa->exchanges.request, m->send_mid);
	/* Else the peer may repeat its last request. */
	if (m->recv_mid != ike_next_received(&sa->exchanges))
		set_next(&sa->exchanges.response, m->recv_mid);
	login_keep(t, sa, now);
}

/* Nobody else repeats it any more: charon does, and it is outstanding as one of charon's. */
void begun_resumed(struct ipsec *t, const struct local_ike_resumed *r)
{
	struct ike_sa *sa = login_find(t, r->spi);

	if (!sa || !sa->live || !sa->inherited || sa->exchanges.request.mid != r->mid)
		return;
	sa->inherited = false;
	t->inherited--;
	sa->resumed = true;
	t->statistics.ike_resumed++;
}
