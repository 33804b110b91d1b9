/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After a cut: which part's copy of an IKE SA goes on.
 *
 * An IKE SA and its CHILD SAs go on together, as the part has them whose client advanced
 * further: by exchanges, then by packets. If one part has rekeyed the IKE SA, the two know
 * it by different SPIs, and a CHILD SA that both have tells that they are the same: then
 * whoever heard the client last is right, since a client is in one place at a time. So is
 * it if one part has ended the IKE SA. What only the other part has goes on if its client
 * was heard there during the cut.
 *
 * A client that has logged in twice, once in either part, may have got the same virtual
 * address twice; or two clients may have. The owner's one keeps it, unless it is the same
 * user, who was heard in the other part later. The other login is left out, and counted:
 * its client finds out by its own dead peer detection.
 */
#include <string.h>

#include "tunnels/ipsec/engine.h"

/* A session of this part or of the other. */
struct copy {
	const struct session *ike; /* NULL: this part has no such IKE SA */
	bool theirs;
	uint64_t spi;
	uint64_t silence; /* ns, of the IKE SA or any of its CHILD SAs */
	uint64_t packets; /* highest inbound numbers, summed up */
	uint64_t
	    rival; /* 0, or the other IKE SA to which the other part counts a child */
};

struct look {
	struct ipsec *t;
	unit_id unit;
	struct mono now;
	struct copy *copy;
};

static bool child_ike(const struct session *s, uint64_t *spi)
{
	struct local_sa_add in, out;
	struct local_child_put put;
	size_t len;
	const uint8_t *initial = session_initial(s, &len);

	if (session_key(s)->type != RECORD_CHILD ||
	    child_decode(initial, len, &in, &out, &put))
		return false;
	*spi = put.ike;
	return true;
}

static const struct session *other_of(struct ipsec *t, unit_id unit, bool theirs,
				      const struct session_key *key)
{
	return theirs ? cluster_find(t->host.cluster, unit, key)
		      : cluster_offered(t->host.cluster, unit, key);
}

static void hear(struct copy *copy, const struct session *s, struct mono now)
{
	uint64_t silence = session_silence(s, now);

	if (silence < copy->silence)
		copy->silence = silence;
}

static int add_child(void *ctx, struct session *s)
{
	struct look *look = ctx;
	struct copy *copy = look->copy;
	const struct session *other;
	uint64_t edge = session_counter(s, CHILD_EDGE), spi;

	if (!child_ike(s, &spi) || spi != copy->spi)
		return 0;
	/* An edge that refuses everything is not the client's doing. */
	if (edge < CHILD_REFUSED) {
		copy->packets += edge;
		hear(copy, s, look->now);
	}
	other = other_of(look->t, look->unit, copy->theirs, session_key(s));
	if (other && child_ike(other, &spi) && spi != copy->spi)
		copy->rival = spi;
	return 0;
}

static void look_at(struct ipsec *t, unit_id unit, uint64_t spi, bool theirs,
		    struct copy *copy)
{
	const struct session_key key = login_key(spi);
	struct look look = { t, unit, t->host.now(t->host.ctx), copy };

	*copy = (struct copy){ .spi = spi, .theirs = theirs, .silence = UINT64_MAX };
	copy->ike = theirs ? cluster_offered(t->host.cluster, unit, &key)
			   : cluster_find(t->host.cluster, unit, &key);
	if (copy->ike)
		hear(copy, copy->ike, look.now);
	if (theirs)
		cluster_each_offered(t->host.cluster, unit, add_child, &look);
	else
		cluster_each(t->host.cluster, unit, add_child, &look);
}

/* Requests of the client that were answered, and of ours that it has answered. */
static uint64_t exchanges_of(const struct session *s)
{
	struct ike_exchanges x = { 0 };
	uint64_t n = 0;
	size_t len;
	const uint8_t *essential = session_essential(s, &len);

	if (!ike_exchanges_decode(&x, essential, len))
		n = (uint64_t)ike_next_received(&x) +
		    (x.request.valid ? x.request.mid : 0);
	ike_exchanges_clear(&x);
	return n;
}

/* Whether this login here stands against the other part's with the same address. */
static bool is_rival(struct ipsec *t, const struct ike_sa *sa, const struct copy *theirs,
		     const struct local_ike_put *put)
{
	struct local_ike_put other;

	return sa->spi != theirs->spi &&
	       (!login_read(sa->session, &other) || other.user.len != put->user.len ||
		memcmp(other.user.bytes, put->user.bytes, put->user.len) ||
		session_silence(sa->session, t->host.now(t->host.ctx)) <=
		    theirs->silence);
}

/* Whether one of its virtual addresses is taken here. */
static bool conflicts(struct ipsec *t, const struct copy *theirs)
{
	struct local_ike_put put;

	if (!login_read(theirs->ike, &put))
		return true;
	for (size_t at = 0; at + VIP_SIZE <= put.vips.len; at += VIP_SIZE) {
		struct local_addr vip = { .family = put.vips.bytes[at] };
		const struct ike_sa *sa = NULL;
		struct address address;

		memcpy(vip.bytes, put.vips.bytes + at + 1, sizeof(vip.bytes));
		address = usage_address(&vip);
		while (address.family && (sa = usage_find(t, &address, sa)))
			if (is_rival(t, sa, theirs, &put))
				return true;
	}
	return false;
}

/* How long a part that has ended the IKE SA had not heard its client; see cluster_ended(). */
static uint64_t ended_before(struct ipsec *t, unit_id unit, uint64_t spi, bool theirs)
{
	const struct session_key key = login_key(spi);

	return cluster_ended(t->host.cluster, unit, &key, theirs);
}

static enum cluster_merge judge_login(struct ipsec *t, unit_id unit, uint64_t spi)
{
	struct copy ours, theirs, rival;
	uint64_t a, b;

	look_at(t, unit, spi, false, &ours);
	look_at(t, unit, spi, true, &theirs);
	if (ours.ike && theirs.ike) {
		a = exchanges_of(ours.ike);
		b = exchanges_of(theirs.ike);
		return a != b ? (b > a ? CLUSTER_THEIRS : CLUSTER_OURS)
		       : theirs.packets > ours.packets ? CLUSTER_THEIRS
						       : CLUSTER_OURS;
	}
	if (ours.ike && ours.rival) {
		look_at(t, unit, ours.rival, true, &rival);
		if (rival.ike)
			return rival.silence < ours.silence ? CLUSTER_THEIRS
							    : CLUSTER_OURS;
	}
	if (ours.ike)
		return ended_before(t, unit, spi, true) < ours.silence ? CLUSTER_THEIRS
								       : CLUSTER_OURS;
	if (theirs.ike && theirs.rival) {
		look_at(t, unit, theirs.rival, false, &rival);
		return !rival.ike || theirs.silence < rival.silence ? CLUSTER_THEIRS
								    : CLUSTER_OURS;
	}
	return theirs.ike && theirs.silence < ended_before(t, unit, spi, false) &&
		       !conflicts(t, &theirs)
		   ? CLUSTER_THEIRS
		   : CLUSTER_OURS;
}

/* Who began with counters that may be behind has delivered nothing since. */
static void merge_edges(const struct session *ours, const struct session *theirs,
			uint64_t counters[CLUSTER_COUNTERS])
{
	uint64_t a, b;

	if (!ours || !theirs)
		return;
	a = session_counter(ours, CHILD_EDGE);
	b = session_counter(theirs, CHILD_EDGE);
	if ((a >= CHILD_REFUSED) != (b >= CHILD_REFUSED))
		counters[CHILD_EDGE] = a < b ? a : b;
}

/* Where its home was it may have been given to somebody, elsewhere it was not. */
static enum cluster_merge judge_lease(struct ipsec *t, const struct session *ours,
				      const struct session *theirs)
{
	const struct lease *l = session_user(ours);
	struct local_blob identity;

	identity.bytes = session_initial(theirs, &identity.len);
	if (!l || lease_is_of(l, &identity) || usage_find(t, &l->address, NULL) ||
	    share_of(t, &l->address)->there)
		return CLUSTER_OURS;
	return CLUSTER_THEIRS;
}

enum cluster_merge merging_judge(struct ipsec *t, const struct session *ours,
				 const struct session *theirs,
				 uint64_t counters[CLUSTER_COUNTERS])
{
	const struct session *s = ours ? ours : theirs;
	struct unpack u = unpack_from(session_key(s)->bytes, session_key(s)->len);
	struct copy copy;
	uint64_t spi;

	if (session_key(s)->type == RECORD_IKE) {
		spi = unpack_u64(&u);
		look_at(t, session_unit(s), spi, true, &copy);
		if (judge_login(t, session_unit(s), spi) == CLUSTER_THEIRS)
			return CLUSTER_THEIRS;
		if (!ours && copy.silence < UINT64_MAX)
			t->statistics.merge_left_out++;
		return CLUSTER_OURS;
	}
	if (session_key(s)->type == RECORD_CHILD) {
		if (!child_ike(s, &spi))
			return CLUSTER_OURS;
		merge_edges(ours, theirs, counters);
		return judge_login(t, session_unit(s), spi);
	}
	if (ours && theirs && session_key(s)->type == RECORD_ADDRESS)
		return judge_lease(t, ours, theirs);
	/* An address that either has leased stays so: it is taken back if nobody uses it. */
	return !ours && session_silence(theirs, MONO_NEVER) < UINT64_MAX ? CLUSTER_THEIRS
									 : CLUSTER_OURS;
}
