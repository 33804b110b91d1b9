/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ESP in and out, and the two promises about its sequence numbers.
 *
 * Outbound, a number is used only below a committed lease, so whoever takes over starts
 * above everything that was sent. Inbound, a packet goes inside only when the successor
 * knows a window edge that covers it, so whoever takes over refuses its replay. Nothing
 * is committed ahead inbound: numbers that the peer has not used yet must stay
 * acceptable.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "tunnels/ipsec/engine.h"

void traffic_lease(struct ipsec *t, struct child *c, struct mono now)
{
	uint64_t last = child_last_number(c);

	if (c->next_seq + CHILD_LEASE_STEP / 2 <= c->lease_asked ||
	    c->lease_asked >= last)
		return;
	c->lease_asked = c->next_seq - 1 + CHILD_LEASE_STEP;
	if (c->lease_asked > last)
		c->lease_asked = last;
	cluster_count(t->host.cluster, c->session, CHILD_LEASE, c->lease_asked, now);
	t->host.settle(t->host.ctx);
}

static void meter(struct ipsec *t, const struct child *c, size_t len)
{
	t->traffic[c->unit].packets++;
	t->traffic[c->unit].bytes += len;
}

static void refuse(struct ipsec *t, int err)
{
	switch (err) {
	case -EALREADY:
	case -ESTALE:
		t->statistics.esp_replay++;
		break;
	case -EBADMSG:
		t->statistics.esp_icv++;
		break;
	case -EACCES:
		t->statistics.esp_selector++;
		break;
	case -ENODATA: /* a dummy packet of the peer's, to be dropped silently */
		break;
	default:
		t->statistics.esp_malformed++;
	}
}

static void hold(struct ipsec *t, struct child_way *way, uint64_t seq,
		 const uint8_t *bytes, size_t len, uint64_t *count)
{
	if (child_hold(way, seq, bytes, len))
		t->statistics.held_full++;
	else
		(*count)++;
}

static void deliver(struct ipsec *t, struct child *c, uint64_t seq, size_t len,
		    struct mono now)
{
	struct cluster *cluster = t->host.cluster;

	session_heard(c->session, now);
	if (t->config.inbound_commit &&
	    seq > cluster_counted(cluster, c->session, CHILD_EDGE)) {
		cluster_count(cluster, c->session, CHILD_EDGE, replay_edge(&c->window),
			      now);
		t->host.settle(t->host.ctx);
		if (seq > cluster_counted(cluster, c->session, CHILD_EDGE)) {
			hold(t, &c->in, seq, t->scratch, len, &t->statistics.held_in);
			return;
		}
	} else if (!t->config.inbound_commit) {
		cluster_count(cluster, c->session, CHILD_EDGE, replay_edge(&c->window),
			      now);
	}
	t->statistics.esp_in++;
	t->host.send_inside(t->host.ctx, t->scratch, len);
}

void traffic_receive(struct ipsec *t, const uint8_t *esp, size_t len, struct mono now)
{
	uint32_t spi, low;
	uint64_t seq;
	struct child *c;
	size_t got;
	int err;

	if (esp_parse(esp, len, &spi, &low)) {
		t->statistics.esp_malformed++;
		return;
	}
	c = child_find(t, spi);
	if (!c) {
		t->statistics.esp_unknown++;
		return;
	}
	if (!c->active || !cluster_serves(t->host.cluster, c->unit, now)) {
		t->statistics.not_served++;
		return;
	}
	if (c->refused) {
		t->statistics.esp_unproven++;
		return;
	}
	err = child_open(c, esp, len, t->scratch, sizeof(t->scratch), &got, &seq, now);
	if (err) {
		refuse(t, err);
		return;
	}
	meter(t, c, len);
	deliver(t, c, seq, got, now);
}

static void seal_and_send(struct ipsec *t, struct child *c, const uint8_t *ip, size_t len,
			  struct mono now)
{
	size_t got;

	if (child_seal(c, t->host.self, ip, len, t->scratch, sizeof(t->scratch), &got,
		       now)) {
		t->statistics.esp_exhausted++;
		return;
	}
	t->statistics.esp_out++;
	session_told(c->session, now);
	meter(t, c, got);
	t->host.send_outside(t->host.ctx, t->scratch, got);
}

static bool leased(struct ipsec *t, struct child *c)
{
	return c->next_seq <= cluster_counted(t->host.cluster, c->session, CHILD_LEASE);
}

void traffic_forward(struct ipsec *t, const uint8_t *ip, size_t len, unsigned hops,
		     struct mono now)
{
	struct child *shadow = NULL;
	struct child *c = children_route(t, ip, len, &shadow);

	if (!c) {
		/* Routes know addresses only: the selectors may want it elsewhere. */
		if (shadow)
			t->host.again(t->host.ctx, shadow->unit, ip, len, hops);
		else
			t->statistics.no_route++;
		return;
	}
	if (!cluster_serves(t->host.cluster, c->unit, now)) {
		t->statistics.not_served++;
		return;
	}
	traffic_lease(t, c, now);
	if (c->out.held_count || !leased(t, c))
		hold(t, &c->out, 0, ip, len, &t->statistics.held_out);
	else
		seal_and_send(t, c, ip, len, now);
}

void traffic_committed(struct ipsec *t, struct child *c)
{
	if (c->is_waiting)
		return;
	c->is_waiting = true;
	TAILQ_INSERT_TAIL(&t->waiting, c, waiting);
}

/* What is committed goes inside, even if the unit has gone meanwhile: its new owner
 * refuses the packet as replayed. */
static void release_inbound(struct ipsec *t, struct child *c)
{
	uint64_t edge = cluster_counted(t->host.cluster, c->session, CHILD_EDGE);
	struct held *h;

	while ((h = STAILQ_FIRST(&c->in.held)) && h->seq <= edge) {
		STAILQ_REMOVE_HEAD(&c->in.held, next);
		c->in.held_count--;
		t->statistics.esp_in++;
		t->host.send_inside(t->host.ctx, h->bytes, h->len);
		OPENSSL_cleanse(h->bytes, h->len);
		free(h);
	}
}

/* Without the right to send, the packets go where the unit goes. `all`: lease or not. */
static void release_outbound(struct ipsec *t, struct child *c, bool all, struct mono now)
{
	bool serves = c->active && cluster_serves(t->host.cluster, c->unit, now);
	unsigned n = c->out.held_count;
	struct held *h;

	/* What is said again may be held again. */
	while (n-- && (h = STAILQ_FIRST(&c->out.held)) && (all || leased(t, c))) {
		STAILQ_REMOVE_HEAD(&c->out.held, next);
		c->out.held_count--;
		if (serves)
			seal_and_send(t, c, h->bytes, h->len, now);
		else
			t->host.again(t->host.ctx, c->unit, h->bytes, h->len, 0);
		OPENSSL_cleanse(h->bytes, h->len);
		free(h);
	}
}

void traffic_release(struct ipsec *t, struct mono now)
{
	struct child *c;

	while ((c = TAILQ_FIRST(&t->waiting))) {
		TAILQ_REMOVE(&t->waiting, c, waiting);
		c->is_waiting = false;
		release_inbound(t, c);
		release_outbound(t, c, false, now);
	}
}

void traffic_stop(struct ipsec *t, struct child *c, struct mono now)
{
	c->active = false;
	release_inbound(t, c);
	release_outbound(t, c, true, now);
}
