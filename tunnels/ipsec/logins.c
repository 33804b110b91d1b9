/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IKE SAs. charon speaks IKE; what stands here makes its words survive it.
 *
 * Outbound: a message of an established SA becomes part of the SA's record first, and
 * leaves when that record is committed. Inbound: a request that was answered already is
 * answered from the copy, by whichever member holds it, and never reaches charon twice.
 *
 * A new owner repeats the outstanding request of the dead one, byte for byte, until the
 * peer has answered it. That answer is kept from charon, whose own count begins behind
 * it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/log.h"
#include "tunnels/ip.h"
#include "tunnels/ipsec/engine.h"

#define REPEAT_FIRST (500 * MONO_MS) /* then doubled, REPEAT_MAX times */
#define REPEAT_MAX 8
#define REPEAT_LATER (20 * MONO_MS) /* when it may not be sent yet */
#define BACKLOG_MAX (1u << 20)	    /* bytes; packets beyond are dropped, as UDP is */
#define PACKETS_MAX (16u << 20)	    /* bytes that wait for a commit */
#define NON_ESP_MARKER 4
#define LOGIN_PAUSE (2 * MONO_SEC) /* the peer's next message is awaited so long */
#define IKE_INFORMATIONAL 37

static unsigned bucket(uint64_t spi)
{
	return (unsigned)((spi ^ spi >> 20 ^ spi >> 40) % TABLE_SIZE);
}

struct ike_sa *login_find(struct ipsec *t, uint64_t spi)
{
	struct ike_sa *sa;

	LIST_FOREACH(sa, &t->ikes[bucket(spi)], by_spi)
		if (sa->spi == spi)
			return sa;
	return NULL;
}

struct session_key login_key(uint64_t spi)
{
	struct session_key key = { .type = RECORD_IKE, .len = 8 };
	struct pack p = pack_to(key.bytes, 8);

	pack_u64(&p, spi);
	return key;
}

bool login_read(const struct session *s, struct local_ike_put *put)
{
	struct local_message m;
	size_t len;
	const uint8_t *initial = session_initial(s, &len);

	if (local_decode(initial, len, &m) || m.type != LOCAL_IKE_PUT)
		return false;
	*put = m.ike_put;
	return true;
}

static void send_udp(struct ipsec *t, const struct local_addr *src,
		     const struct local_addr *dst, size_t marker, const uint8_t *packet,
		     size_t len)
{
	const struct ip_end from = { src->family, src->bytes, src->port };
	const struct ip_end to = { dst->family, dst->bytes, dst->port };
	size_t overhead = ip_overhead(src->family, true), total = overhead + marker + len;
	uint8_t *out = t->scratch;

	if (!overhead || src->family != dst->family || total > UINT16_MAX ||
	    total > sizeof(t->scratch)) {
		t->statistics.ike_malformed++;
		return;
	}
	memset(out + overhead, 0, marker);
	memcpy(out + overhead + marker, packet, len);
	ip_write(out, IP_PROTOCOL_UDP, &from, &to, marker + len);
	traffic_send(t, out, total);
}

void login_send(struct ipsec *t, const struct local_addr *src,
		const struct local_addr *dst, const uint8_t *packet, size_t len)
{
	size_t marker = src->port == IKE_NAT_PORT ? NON_ESP_MARKER : 0;

	t->statistics.ike_out++;
	send_udp(t, src, dst, marker, packet, len);
}

/* RFC 3948 2.3: for a NAT in front of us. It tells the peer nothing, and follows from no
 * state. */
static bool is_keepalive(const struct local_ike_tx *tx)
{
	return tx->src.port == IKE_NAT_PORT && tx->packet.len == 1 &&
	       tx->packet.bytes[0] == 0xff;
}

void login_say(struct ipsec *t, const struct ike_copy *copy)
{
	for (unsigned i = 0; i < copy->packets; i++) {
		size_t len;
		const uint8_t *packet = ike_copy_packet(copy, i, &len);

		login_send(t, &copy->src, &copy->dst, packet, len);
	}
}

void login_engages(struct ipsec *t, unit_id unit, struct mono now)
{
	t->engaged[unit] = mono_add(now, LOGIN_PAUSE);
}

int login_keep(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	static uint8_t essential[IKE_EXCHANGES_MAX];
	struct session_key key = login_key(sa->spi);
	size_t len = ike_exchanges_encode(&sa->exchanges, essential, sizeof(essential));
	int err = -EMSGSIZE;

	if (len)
		err = cluster_put(t->host.cluster, sa->unit, &key, NULL, 0, essential,
				  len, NULL, now);
	OPENSSL_cleanse(essential, len);
	sa->unkept = err;
	return err;
}

bool login_settled(const struct ipsec *t, unit_id unit)
{
	return cluster_committed(t->host.cluster, unit,
				 cluster_position(t->host.cluster));
}

bool login_sayable(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	if (sa->unkept)
		login_keep(t, sa, now);
	return !sa->unkept && login_settled(t, sa->unit);
}

void login_wait(struct ipsec *t, unit_id unit, const struct local_ike_tx *tx)
{
	struct waiting_packet *w = NULL;

	/* When nothing is committed for long, peers repeat what is not answered. */
	if (t->packets_size + tx->packet.len <= PACKETS_MAX)
		w = malloc(sizeof(*w) + tx->packet.len);
	if (!w) {
		t->statistics.ike_unsent++;
		return;
	}
	t->packets_size += sizeof(*w) + tx->packet.len;
	w->unit = unit;
	w->position = cluster_position(t->host.cluster);
	w->src = tx->src;
	w->dst = tx->dst;
	w->len = tx->packet.len;
	memcpy(w->bytes, tx->packet.bytes, w->len);
	TAILQ_INSERT_TAIL(&t->packets, w, next);
	t->host.settle(t->host.ctx);
}

/* A message of an SA that is not established, or has just ended: it is not kept, but does
 * not overtake what was. An SPI of a unit that has been lost is not ours to speak for. */
static void transmit_early(struct ipsec *t, const struct ike_header *h,
			   const struct local_ike_tx *tx, struct mono now)
{
	uint64_t own = ike_sender_spi(h);

	if (own)
		traces_said(t, own, h, now);
	if (own && h->major == 1)
		login_engages(t, spi_unit(own), now);
	if (own && !cluster_serves(t->host.cluster, spi_unit(own), now))
		t->statistics.not_served++;
	else if (h->major == 2 && !half_transmit(t, h, tx, now))
		return;
	else if (own && !login_settled(t, spi_unit(own)))
		login_wait(t, spi_unit(own), tx);
	else
		login_send(t, &tx->src, &tx->dst, tx->packet.bytes, tx->packet.len);
}

void login_send_settled(struct ipsec *t, unit_id unit, const struct local_ike_tx *tx,
			struct mono now)
{
	if (login_settled(t, unit) && cluster_serves(t->host.cluster, unit, now))
		login_send(t, &tx->src, &tx->dst, tx->packet.bytes, tx->packet.len);
	else
		login_wait(t, unit, tx);
}

/* What the peer gets of this is no matter of order: it follows from the record as it is. */
static void say_without_copy(struct ipsec *t, struct ike_sa *sa,
			     const struct local_ike_tx *tx, struct mono now)
{
	if (sa->unkept && login_keep(t, sa, now))
		t->statistics.ike_dropped++;
	else
		login_send_settled(t, sa->unit, tx, now);
}

static void copy_response(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			  const struct local_ike_tx *tx)
{
	const struct ike_trace *trace = &sa->trace;
	struct ike_copy *copy = &sa->exchanges.response;

	if (copy->valid && copy->mid == h->mid && copy->packets && h->fragment <= 1)
		ike_copy_clear(copy); /* charon repeats itself: the same bytes again */
	if (ike_copy_add(copy, h->mid, &tx->src, &tx->dst, tx->packet.bytes,
			 tx->packet.len))
		t->statistics.ike_uncopied++;
	if (trace->received && trace->received_mid == h->mid)
		memcpy(copy->digest, trace->digest, sizeof(copy->digest));
	sa->imported = false;
}

static void copy_request(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			 const struct local_ike_tx *tx)
{
	struct ike_copy *copy = &sa->exchanges.request;

	if (!copy->valid || copy->mid != h->mid)
		begun_take(sa, h->mid);
	if (copy->valid && copy->mid == h->mid && copy->packets && h->fragment <= 1)
		ike_copy_clear(copy);
	if (ike_copy_add(copy, h->mid, &tx->src, &tx->dst, tx->packet.bytes,
			 tx->packet.len))
		t->statistics.ike_uncopied++;
	sa->exchanges.outstanding = true;
}

/* Of a request of charon's: true if it does not become the last one. */
static bool request_apart(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			  const struct local_ike_tx *tx, struct mono now)
{
	if (sa->syncing && h->mid == 0 && h->exchange == IKE_INFORMATIONAL) {
		say_without_copy(t, sa, tx, now);
		return true;
	}
	/* The peer takes our requests one after the other, so the inherited one goes first;
	 * charon repeats this one. */
	if (sa->inherited || sa->syncing) {
		t->statistics.ike_deferred++;
		return true;
	}
	if (!sa->resumed || sa->exchanges.request.mid != h->mid)
		return false;
	/* charon has begun again what a former owner has asked: the peer gets the former's
	 * words, or it would see two requests in one. */
	if (h->fragment <= 1 && login_sayable(t, sa, now)) {
		t->statistics.ike_resent++;
		login_say(t, &sa->exchanges.request);
	}
	return true;
}

/* The answer to a peer that wants to agree on message IDs: none of a request in order. */
static bool answer_apart(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			 const struct local_ike_tx *tx, struct mono now)
{
	if (h->mid != 0 || h->exchange != IKE_INFORMATIONAL ||
	    !sa->exchanges.response.valid || sa->exchanges.response.mid == 0)
		return false;
	say_without_copy(t, sa, tx, now);
	return true;
}

/* A message of an IKE SA that is established: it becomes part of its record first. */
static void transmit_kept(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			  const struct local_ike_tx *tx, struct mono now)
{
	if (h->response ? answer_apart(t, sa, h, tx, now)
			: request_apart(t, sa, h, tx, now))
		return;
	if (sa->deleting)
		sa->exchanges.ending = h->response ? IKE_ENDED_BY_PEER : IKE_ENDED_BY_US;
	sa->deleting = false;
	if (h->response) {
		copy_response(t, sa, h, tx);
		session_heard(sa->session, now); /* charon answers what is authentic */
	} else {
		copy_request(t, sa, h, tx);
	}
	/* What cannot be kept is not said; both ends repeat what is not answered. */
	if (login_keep(t, sa, now)) {
		t->statistics.ike_dropped++;
		return;
	}
	/* Once the answer that establishes it is kept, it is half-open no more. */
	if (h->response)
		half_end(t, sa->spi, now);
	login_wait(t, sa->unit, tx);
}

void login_transmit(struct ipsec *t, const struct local_ike_tx *tx, struct mono now)
{
	struct ike_header h;
	struct ike_sa *sa;

	if (is_keepalive(tx)) {
		t->statistics.nat_keepalives++;
		send_udp(t, &tx->src, &tx->dst, 0, tx->packet.bytes, tx->packet.len);
		return;
	}
	if (ike_parse(tx->packet.bytes, tx->packet.len, &h)) {
		t->statistics.ike_malformed++;
		return;
	}
	sa = login_find(t, ike_sender_spi(&h));
	if (!sa)
		transmit_early(t, &h, tx, now);
	else if (!sa->live || sa->isakmp != (h.major == 1))
		t->statistics.not_served++;
	else if (sa->isakmp)
		isakmp_transmit(t, sa, &h, tx, now);
	else
		transmit_kept(t, sa, &h, tx, now);
}

void login_release(struct ipsec *t)
{
	struct waiting_packet *w, *next;

	for (w = TAILQ_FIRST(&t->packets); w; w = next) {
		next = TAILQ_NEXT(w, next);
		if (!unit_set_has(&t->units, w->unit))
			t->statistics.ike_dropped++;
		else if (!cluster_committed(t->host.cluster, w->unit, w->position))
			continue;
		else if (!cluster_serves(t->host.cluster, w->unit,
					 t->host.now(t->host.ctx)))
			t->statistics.ike_dropped++;
		else
			login_send(t, &w->src, &w->dst, w->bytes, w->len);
		TAILQ_REMOVE(&t->packets, w, next);
		t->packets_size -= sizeof(*w) + w->len;
		OPENSSL_cleanse(w->bytes, w->len);
		free(w);
	}
}

/*
 * True if the request was answered before. If it was here, charon remembers the answer as
 * well and is to judge a request that differs. Of another member's answers it knows
 * nothing, so their number alone decides: nobody gets more of it than a repetition.
 */
static bool answer_again(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
			 const uint8_t *digest, struct mono now)
{
	const struct ike_copy *copy = &sa->exchanges.response;

	if (!copy->valid || copy->mid != h->mid || h->fragment > 1)
		return false;
	if (!sa->imported && memcmp(copy->digest, digest, IKE_DIGEST_SIZE))
		return false;
	/* Before its commit the first answer is still under way. */
	if (login_sayable(t, sa, now)) {
		t->statistics.ike_repeated++;
		login_say(t, copy);
	}
	return true;
}

/*
 * True if the response answers what a dead owner had asked: charon does not wait for it, but
 * it alone can tell whether the response is authentic, and the request is repeated until one
 * is. What charon itself has asked stays outstanding until it asks again: to repeat an
 * answered request after a takeover does no harm.
 */
static bool keep_from_charon(struct ipsec *t, struct ike_sa *sa,
			     const struct ike_header *h, struct local_message *rx)
{
	struct local_message m = { .type = LOCAL_IKE_VERIFY };

	if (!(sa->syncing && h->mid == 0) &&
	    (!sa->inherited || sa->exchanges.request.mid != h->mid))
		return false;
	t->statistics.ike_doubted++;
	if (plugin_backlog(t->plugin) > BACKLOG_MAX)
		return true;
	imports_urge(t, sa);
	m.ike_verify.spi = sa->spi;
	m.ike_verify.mid = h->mid;
	m.ike_verify.src = rx->ike_rx.src;
	m.ike_verify.dst = rx->ike_rx.dst;
	m.ike_verify.packet = rx->ike_rx.packet;
	plugin_send(t->plugin, &m);
	return true;
}

void login_verified(struct ipsec *t, const struct local_ike_verified *v, struct mono now)
{
	struct ike_sa *sa = login_find(t, v->spi);

	if (!sa || !sa->live || !sa->inherited || sa->exchanges.request.mid != v->mid)
		return;
	sa->exchanges.outstanding = false;
	sa->inherited = false;
	t->inherited--;
	t->statistics.ike_kept++;
	session_heard(sa->session, now);
	login_keep(t, sa, now);
}

static bool is_awaited(const struct ike_sa *sa, const struct ike_header *h)
{
	return sa->exchanges.outstanding && sa->exchanges.request.mid == h->mid;
}

/* Of IKEv2, with an SPI of ours: true if it is for charon. *out: the IKE SA, or NULL. */
static bool receive_known(struct ipsec *t, const struct ike_header *h,
			  struct local_message *m, struct ike_sa **out, struct mono now)
{
	const struct local_blob *packet = &m->ike_rx.packet;
	uint64_t own = ike_receiver_spi(h);
	struct ike_sa *sa = login_find(t, own);
	uint8_t digest[IKE_DIGEST_SIZE];

	if (!cluster_serves(t->host.cluster, spi_unit(own), now) || (sa && sa->isakmp)) {
		t->statistics.not_served++;
		return false;
	}
	if (!h->response && h->fragment <= 1) {
		ike_digest(packet->bytes, packet->len, digest);
		if (sa && answer_again(t, sa, h, digest, now))
			return false;
		traces_heard(t, sa, own, h->mid, digest, now);
	}
	if (sa && h->response && keep_from_charon(t, sa, h, m))
		return false;
	/* charon ends an SA upon a response that it does not wait for. */
	if (sa && h->response && !is_awaited(sa, h)) {
		t->statistics.ike_unasked++;
		return false;
	}
	*out = sa;
	return sa || (!half_receive(t, h, &m->ike_rx.src, &m->ike_rx.dst, now) &&
		      !farewell_receive(t, h));
}

void login_receive(struct ipsec *t, const struct local_addr *src,
		   const struct local_addr *dst, const uint8_t *packet, size_t len,
		   struct mono now)
{
	struct local_message m = { .type = LOCAL_IKE_RX };
	struct ike_sa *waiting = NULL;
	struct ike_header h;

	if (ike_parse(packet, len, &h)) {
		t->statistics.ike_malformed++;
		return;
	}
	t->statistics.ike_in++;
	m.ike_rx.src = *src;
	m.ike_rx.dst = *dst;
	m.ike_rx.packet = (struct local_blob){ packet, len };
	if (h.major == 1 && ike_receiver_spi(&h)) {
		waiting = login_find(t, ike_receiver_spi(&h));
		if (!isakmp_receive(t, waiting, &h, src, packet, len, now))
			return;
	}
	if (h.major == 2 && ike_receiver_spi(&h) &&
	    !receive_known(t, &h, &m, &waiting, now))
		return;
	/* A flood that charon cannot read must not end the connection to it. */
	if (plugin_backlog(t->plugin) > BACKLOG_MAX) {
		t->statistics.ike_overflow++;
		return;
	}
	if (waiting)
		imports_urge(t, waiting);
	plugin_send(t->plugin, &m);
}

/* Which user's it is; by that it is found when the user connects again. */
static void know_peer(struct ipsec *t, struct ike_sa *sa)
{
	struct local_ike_put put;

	if (login_read(sa->session, &put)) {
		sa->peer = put.peer;
		sa->isakmp = put.version == 1;
		sa->name = connection_name_id(put.name);
	}
	LIST_INSERT_HEAD(&t->peers[sa->peer % TABLE_SIZE], sa, by_peer);
}

static struct ike_sa *login_new(struct ipsec *t, struct session *s, uint64_t spi)
{
	struct ike_sa *sa = calloc(1, sizeof(*sa));

	if (!sa)
		return NULL;
	sa->session = s;
	sa->spi = spi;
	sa->unit = spi_unit(spi);
	session_set_user(s, sa);
	LIST_INSERT_HEAD(&t->ikes[bucket(spi)], sa, by_spi);
	know_peer(t, sa);
	traces_take(t, sa);
	usage_note(t, sa);
	return sa;
}

/* It was established here. */
static void begin(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	/* The numbers of the exchanges that established it, of which no copy was kept. */
	if (sa->trace.sent) {
		sa->exchanges.request.valid = true;
		sa->exchanges.request.mid = sa->trace.sent_mid;
	}
	unique_established(t, sa);
	if (sa->exchanges.replaces.n || sa->exchanges.request.valid)
		login_keep(t, sa, now);
}

void login_put(struct ipsec *t, const struct local_message *m, struct mono now)
{
	static uint8_t initial[LOCAL_MESSAGE_MAX], essential[IKE_EXCHANGES_MAX];
	const uint64_t spi = m->ike_put.spi;
	struct session_key key = login_key(spi);
	struct ike_sa *sa = login_find(t, spi);
	struct ike_exchanges fresh = { .since = (uint64_t)time(NULL) };
	size_t len = local_encode(m, initial, sizeof(initial)), essential_len;
	struct session *s;
	int err;

	essential_len = ike_exchanges_encode(sa ? &sa->exchanges : &fresh, essential,
					     sizeof(essential));
	err = cluster_put(t->host.cluster, spi_unit(spi), &key, initial, len, essential,
			  essential_len, &s, now);
	OPENSSL_cleanse(initial, len);
	OPENSSL_cleanse(essential, essential_len);
	if (err) {
		log_warnx("ipsec: cannot keep IKE SA %016llx: %s",
			  (unsigned long long)spi, strerror(-err));
		if (err == -EPERM)
			login_drop_spi(t, spi);
		return;
	}
	if (!sa) {
		sa = login_new(t, s, spi);
		if (sa) {
			sa->exchanges.since = fresh.since;
			begin(t, sa, now);
		}
	} else {
		usage_note(t, sa);
	}
	if (sa)
		sa->live = true;
}

void login_free(struct ipsec *t, struct ike_sa *sa)
{
	usage_clear(t, sa);
	imports_forget(t, sa);
	if (sa->inherited)
		t->inherited--;
	begun_forget(sa);
	LIST_REMOVE(sa, by_spi);
	LIST_REMOVE(sa, by_peer);
	ike_exchanges_clear(&sa->exchanges);
	free(sa);
}

void login_deleting(struct ipsec *t, uint64_t spi)
{
	struct ike_sa *sa = login_find(t, spi);

	if (sa && sa->live)
		sa->deleting = true;
}

/* The answer to a DELETE leaves when nobody has the IKE SA any more. */
static void wait_for_removal(struct ipsec *t, unit_id unit)
{
	struct waiting_packet *w;

	TAILQ_FOREACH(w, &t->packets, next)
		if (w->unit == unit)
			w->position = cluster_position(t->host.cluster);
}

void login_delete(struct ipsec *t, uint64_t spi, struct mono now)
{
	struct ike_sa *sa = login_find(t, spi);
	struct session *s;
	unit_id unit;

	if (!sa || !sa->live)
		return;
	half_end(t, spi, now);
	s = sa->session;
	unit = sa->unit;
	if (sa->exchanges.ending == IKE_ENDED_BY_PEER)
		farewell_keep(t, sa, false, now);
	login_free(t, sa);
	session_set_user(s, NULL);
	cluster_remove(t->host.cluster, s, now);
	wait_for_removal(t, unit);
}

void login_shadow(struct ipsec *t, struct session *s)
{
	const struct session_key *key = session_key(s);
	struct unpack u = unpack_from(key->bytes, key->len);
	uint64_t spi = unpack_u64(&u);
	struct ike_sa *sa = session_user(s);
	size_t len;
	const uint8_t *essential = session_essential(s, &len);

	/* An SPI belongs to one unit, whose owner alone speaks of it. */
	if (!unpack_done(&u) || spi_unit(spi) != session_unit(s)) {
		t->statistics.records_bad++;
		return;
	}
	if (!sa)
		sa = login_new(t, s, spi);
	else
		usage_note(t, sa);
	if (sa && len && ike_exchanges_decode(&sa->exchanges, essential, len)) {
		t->statistics.records_bad++;
		log_warnx("ipsec: cannot use the record of IKE SA %016llx",
			  (unsigned long long)sa->spi);
	}
	if (sa && sa->exchanges.replaces.n)
		t->enforce = true;
}

void login_follow(struct ipsec *t, uint64_t was, uint64_t is, struct mono now)
{
	struct ike_sa *old = login_find(t, was), *sa = login_find(t, is);

	if (!old || !sa || old == sa || old->exchanges.since >= sa->exchanges.since)
		return;
	sa->exchanges.since = old->exchanges.since;
	sa->bytes_in += old->bytes_in;
	sa->bytes_out += old->bytes_out;
	sa->packets_in += old->packets_in;
	sa->packets_out += old->packets_out;
	login_keep(t, sa, now);
}

void login_inherit(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	sa->imported = true;
	sa->resumed = sa->syncing = false;
	begun_forget(sa);
	if (!sa->exchanges.outstanding || sa->inherited)
		return;
	sa->inherited = true;
	t->inherited++;
	sa->repeats = 0;
	sa->repeat_at = now;
	t->host.settle(t->host.ctx);
}

#define CHILDREN_AT_ONCE 32

struct children_of {
	uint64_t ike;
	uint32_t spi[CHILDREN_AT_ONCE];
	unsigned n;
};

static int collect_child(void *ctx, struct session *s)
{
	struct children_of *of = ctx;
	const struct child *c = session_user(s);

	if (session_key(s)->type != RECORD_CHILD || !c || c->ike != of->ike || !c->active)
		return 0;
	of->spi[of->n++] = c->in.spi;
	return of->n == CHILDREN_AT_ONCE;
}

void login_end(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	struct session *s = sa->session;
	struct children_of of = { .ike = sa->spi };

	starts_lost(t, sa);
	do {
		of.n = 0;
		cluster_each(t->host.cluster, sa->unit, collect_child, &of);
		for (unsigned i = 0; i < of.n; i++)
			children_delete(t, of.spi[i], now);
	} while (of.n == CHILDREN_AT_ONCE);
	login_drop(t, sa);
	login_free(t, sa);
	session_set_user(s, NULL);
	cluster_remove(t->host.cluster, s, now);
}

void login_drop_spi(struct ipsec *t, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_IKE_DROP };

	m.ike_drop.spi = spi;
	plugin_send(t->plugin, &m);
}

void login_drop(struct ipsec *t, struct ike_sa *sa)
{
	imports_forget(t, sa);
	if (sa->inherited) {
		sa->inherited = false;
		t->inherited--;
	}
	sa->ending = false;
	if (!sa->live)
		return;
	sa->live = false;
	login_drop_spi(t, sa->spi);
}

static void repeat(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	/* The dead owner may have told nobody else of it. */
	if (!cluster_serves(t->host.cluster, sa->unit, now) ||
	    !login_sayable(t, sa, now)) {
		sa->repeat_at = mono_add(now, REPEAT_LATER);
		return;
	}
	if (sa->repeats == REPEAT_MAX) {
		/* The peer is gone, or has lost the SA: charon's own dead peer detection
		 * finds that out. */
		sa->inherited = false;
		sa->exchanges.outstanding = false;
		t->inherited--;
		return;
	}
	t->statistics.ike_resent++;
	login_say(t, &sa->exchanges.request);
	sa->repeat_at = mono_add(now, REPEAT_FIRST << sa->repeats);
	sa->repeats++;
}

void login_tick(struct ipsec *t, struct mono now)
{
	struct ike_sa *sa;

	for (unsigned i = 0; t->inherited && i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			if (sa->inherited && !mono_before(now, sa->repeat_at))
				repeat(t, sa, now);
}

struct mono login_timeout(const struct ipsec *t)
{
	struct mono at = MONO_NEVER;
	const struct ike_sa *sa;

	for (unsigned i = 0; t->inherited && i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			if (sa->inherited)
				at = mono_min(at, sa->repeat_at);
	return at;
}
