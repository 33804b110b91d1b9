/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IKE SAs of IKEv1, whose messages have random numbers and no order. A request that is
 * repeated is known by its digest, and the number of its copy is a count of those answered.
 * Of what we ask, or inform of, nothing is kept: charon begins anew.
 *
 * Since there is no order, charon takes an old message for a new one, and whoever sends it
 * for the peer, which it would follow to his address. So what the peer has said is
 * remembered, once charon has found it authentic, and replicated; from where the peer is not,
 * it is not said again.
 */
#include <string.h>

#include "tunnels/ipsec/engine.h"

/* What charon says in an exchange that the peer has begun answers what it has heard last. */
static bool copy_answer(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			const struct local_ike_tx *tx, struct mono now)
{
	const struct ike_trace *trace = &sa->trace;
	struct ike_copy *copy = &sa->exchanges.response;
	bool same = copy->valid && !memcmp(copy->digest, trace->digest, IKE_DIGEST_SIZE);
	uint32_t number = same ? copy->mid : ike_next_received(&sa->exchanges);

	if (same && h->fragment <= 1)
		ike_copy_clear(copy); /* charon repeats itself */
	if (ike_copy_add(copy, number, &tx->src, &tx->dst, tx->packet.bytes,
			 tx->packet.len))
		t->statistics.ike_uncopied++;
	memcpy(copy->digest, trace->digest, sizeof(copy->digest));
	session_heard(sa->session, now);
	return !login_keep(t, sa, now);
}

void isakmp_transmit(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
		     const struct local_ike_tx *tx, struct mono now)
{
	const struct ike_trace *trace = &sa->trace;
	bool again = quick_awaited(t, sa, h->mid);

	/* Mode config, which has left nothing yet. */
	if (!children_of(t, sa->spi, NULL))
		login_engages(t, sa->unit, now);
	if (again && !quick_agrees(sa, tx))
		return;
	if (!again && trace->received && trace->received_mid == h->mid &&
	    !copy_answer(t, sa, h, tx, now)) {
		t->statistics.ike_dropped++;
		return;
	}
	login_send_settled(t, sa->unit, tx, now);
}

/* As answer_again() of IKEv2; charon is asked about everything else. */
static bool answer_again(struct ipsec *t, struct ike_sa *sa, const uint8_t *digest,
			 struct mono now)
{
	const struct ike_copy *copy = &sa->exchanges.response;

	if (!copy->valid || memcmp(copy->digest, digest, IKE_DIGEST_SIZE))
		return false;
	if (login_sayable(t, sa, now)) {
		t->statistics.ike_repeated++;
		login_say(t, copy);
	}
	return true;
}

/* Whether the peer was last seen there. */
static bool is_at(const struct ike_sa *sa, const struct local_addr *src)
{
	struct local_ike_put put;

	return login_read(sa->session, &put) && local_addr_equal(&put.remote, src);
}

/* A first fragment that does not show which message it begins is no real peer's. */
static bool is_replayed(const struct ike_sa *sa, const struct ike_header *h,
			const struct local_addr *src, const uint8_t *packet, size_t len)
{
	uint32_t mark;
	bool known = ike_mark(packet, len, &mark) ? h->fragment != 0
						  : ike_heard_has(&sa->exchanges, mark);

	return known && !is_at(sa, src);
}

bool isakmp_receive(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
		    const struct local_addr *src, const uint8_t *packet, size_t len,
		    struct mono now)
{
	const uint64_t own = ike_receiver_spi(h);
	uint8_t digest[IKE_DIGEST_SIZE];

	if (!cluster_serves(t->host.cluster, spi_unit(own), now) || (sa && !sa->isakmp)) {
		t->statistics.not_served++;
		return false;
	}
	if (h->fragment > 1)
		return true;
	ike_digest(packet, len, digest);
	if (sa && answer_again(t, sa, digest, now))
		return false;
	if (sa && is_replayed(sa, h, src, packet, len)) {
		t->statistics.ike_replayed++;
		return false;
	}
	traces_heard(t, sa, own, h->mid, digest, now);
	return true;
}

void isakmp_heard(struct ipsec *t, const struct local_ike_heard *m, struct mono now)
{
	struct ike_sa *sa = login_find(t, m->spi);
	uint32_t mark;

	if (ike_mark(m->packet.bytes, m->packet.len, &mark))
		return;
	if (!sa)
		traces_mark(t, m->spi, mark);
	else if (sa->live && sa->isakmp && !ike_heard_has(&sa->exchanges, mark) &&
		 !ike_heard_add(&sa->exchanges, mark))
		login_keep(t, sa, now);
}
