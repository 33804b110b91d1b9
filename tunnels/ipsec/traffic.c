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
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"
#include "tunnels/ipsec/inner.h"

#define TOO_LONG_MAX 100    /* errors of routers that are looked at in a second */
#define TOO_BIG_MAX 1000    /* and those of ours that are sent (RFC 4443 2.4 (f)) */
#define PATH_MTU_LEAST4 576 /* a shorter path gets its packets in fragments */
#define PATH_MTU_AGE (600 * MONO_SEC) /* RFC 8201 section 4 */

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

/* Some limit has been met of which charon does not know yet. */
static bool is_spent(const struct child *c)
{
	return (!c->soft_told && child_spent(c, false)) ||
	       (!c->hard_told && child_spent(c, true));
}

/* A packet has passed through the child. */
static void note_use(struct ipsec *t, struct child *c, struct mono now)
{
	if (is_spent(c))
		children_expire(t, c, now);
	children_keep_usage(t, c, now);
}

/*
 * RFC 4303 has refused packets audited. Anybody can send any number of them: one is logged
 * in a second, and the others are counted.
 */
static void audit(struct ipsec *t, const struct ip_packet *outer, const uint8_t *esp,
		  size_t len, const char *why, struct mono now)
{
	int family = outer->family == 6 ? AF_INET6 : AF_INET;
	char from[INET6_ADDRSTRLEN] = "", to[INET6_ADDRSTRLEN] = "";
	uint32_t spi = 0, seq = 0;

	if (t->audited.ns && mono_since(now, t->audited) < MONO_SEC) {
		t->unaudited++;
		return;
	}
	esp_parse(esp, len, &spi, &seq);
	inet_ntop(family, outer->source, from, sizeof(from));
	inet_ntop(family, outer->destination, to, sizeof(to));
	log_warnx("ipsec: refused an ESP packet from %s to %s, SPI %08x, sequence number "
		  "%u: %s (and %u others before)",
		  from, to, spi, seq, why, t->unaudited);
	t->audited = now;
	t->unaudited = 0;
}

static const char *refuse(struct ipsec *t, int err)
{
	switch (err) {
	case -EALREADY:
	case -ESTALE:
		t->statistics.esp_replay++;
		return "replayed, or too late";
	case -EBADMSG:
		t->statistics.esp_icv++;
		return "not authentic";
	case -EACCES:
		t->statistics.esp_selector++;
		return "outside the traffic selectors";
	case -EPROTO:
		t->statistics.esp_congestion++;
		return "marked as having met congestion, which its sender cannot know of";
	case -ENODATA: /* a dummy packet of the peer's, to be dropped silently */
		return NULL;
	default:
		t->statistics.esp_malformed++;
		return "malformed";
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

static void send_inside(struct ipsec *t, const struct child *c, uint8_t *ip, size_t len)
{
	t->statistics.esp_in++;
	if (!c->transport || transport_arrive(t, c, ip, len))
		t->host.send_inside(t->host.ctx, ip, len);
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
	send_inside(t, c, t->scratch, len);
}

/* Why the child for this packet is not to be asked; NULL: it is. */
static const char *unfit(struct ipsec *t, const struct child *c, struct mono now)
{
	if (!c) {
		t->statistics.esp_unknown++;
		return "unknown SPI";
	}
	if (!c->active || !cluster_serves(t->host.cluster, c->unit, now)) {
		t->statistics.not_served++;
		return "another member's";
	}
	if (c->refused) {
		t->statistics.esp_unproven++;
		return "refused until it is rekeyed";
	}
	if (c->hard_told) {
		t->statistics.esp_expired++;
		return "beyond the lifetime";
	}
	return NULL;
}

/*
 * A peer behind a NAT is where its newest packet came from (RFC 7296 2.23). Whether it is
 * behind one, charon knows. It is told again after a while, since it may not have been ready.
 */
static void follow(struct ipsec *t, struct child *c, const struct ip_packet *outer,
		   const uint8_t *esp, uint64_t seq, struct mono now)
{
	struct local_message m = { .type = LOCAL_SA_MOVED };
	struct local_addr from = { .family = outer->family };

	if (outer->protocol != IP_PROTOCOL_UDP || !c->in.encap ||
	    seq != replay_edge(&c->window))
		return;
	memcpy(from.bytes, outer->source, from.family == 6 ? 16 : 4);
	from.port = (uint16_t)(esp[-IP_UDP_HEADER] << 8 | esp[1 - IP_UDP_HEADER]);
	if (local_addr_equal(&from, &c->in.src) ||
	    (local_addr_equal(&from, &c->seen) && mono_since(now, c->seen_at) < MONO_SEC))
		return;
	c->seen = from;
	c->seen_at = now;
	t->statistics.esp_moved++;
	m.sa_moved.spi = c->in.spi;
	m.sa_moved.dst = c->in.dst;
	m.sa_moved.src = from;
	plugin_send(t->plugin, &m);
}

void traffic_receive(struct ipsec *t, const struct ip_packet *outer, const uint8_t *esp,
		     size_t len, struct mono now)
{
	uint32_t spi = 0, low;
	const char *why = NULL;
	struct child *c;
	uint64_t seq;
	size_t got;
	int err;

	if (esp_parse(esp, len, &spi, &low)) {
		audit(t, outer, esp, len, refuse(t, -EINVAL), now);
		return;
	}
	c = child_find(t, spi);
	why = unfit(t, c, now);
	if (!why) {
		err = child_open(c, esp, len, outer->tos, t->scratch, sizeof(t->scratch),
				 &got, &seq, now);
		if (!err) {
			meter(t, c, len);
			follow(t, c, outer, esp, seq, now);
			note_use(t, c, now);
			deliver(t, c, seq, got, now);
			return;
		}
		why = refuse(t, err);
	}
	if (why)
		audit(t, outer, esp, len, why, now);
}

static size_t mtu_of(const struct ipsec *t, struct child *c, struct mono now)
{
	size_t mtu = t->config.mtu ? t->config.mtu : SIZE_MAX;
	size_t least = c->out.src.family == 6 ? IP_MTU_LEAST6 : IP_MTU_LEAST4;

	if (c->path_mtu && mono_since(now, c->path_mtu_since) > PATH_MTU_AGE)
		c->path_mtu = 0;
	if (c->path_mtu && c->path_mtu < mtu)
		mtu = c->path_mtu;
	return mtu < least ? least : mtu;
}

/* Unlike a count, random numbers tell nobody what else was sent, nor what comes next. */
static uint32_t fragment_id(void)
{
	uint32_t id = 0;

	RAND_bytes((uint8_t *)&id, sizeof(id));
	return id;
}

/* Whether it is not too often in this second. */
static bool may(struct rate *rate, unsigned most, struct mono now)
{
	if (!rate->since.ns || mono_since(now, rate->since) >= MONO_SEC) {
		rate->since = now;
		rate->n = 0;
	}
	return rate->n++ < most;
}

/* True if the packet is not to be fragmented; its sender is told to send shorter ones
 * instead. */
static bool too_big(struct ipsec *t, struct child *c, const uint8_t *ip, size_t len,
		    size_t mtu, struct mono now)
{
	uint8_t answer[INNER_ERROR_MAX];
	struct selector_flow f;
	size_t room = child_room(c, mtu);

	if (mtu == SIZE_MAX || len <= room || selector_read(ip, len, &f) ||
	    f.total <= room || !inner_whole(ip) || !(c->copy & LOCAL_COPY_DF))
		return false;
	if (f.family == 6 && room < INNER_MTU_LEAST6)
		room = INNER_MTU_LEAST6;
	/* That much IPv6 has a right to: the outer packet is fragmented then. */
	if (f.total <= room || room < INNER_MTU_LEAST4)
		return false;
	t->statistics.esp_too_big++;
	len = inner_too_big(ip, &f, (unsigned)room, answer);
	if (len && may(&t->too_big, TOO_BIG_MAX, now))
		t->host.send_inside(t->host.ctx, answer, len);
	return true;
}

static void send_out(struct ipsec *t, size_t len, size_t mtu)
{
	if (len <= mtu) {
		t->host.send_outside(t->host.ctx, t->scratch, len);
		return;
	}
	t->statistics.esp_fragmented++;
	ip_fragment(t->scratch, len, mtu, fragment_id(), t->host.send_outside,
		    t->host.ctx);
}

static void seal_and_send(struct ipsec *t, struct child *c, const uint8_t *ip, size_t len,
			  struct mono now)
{
	size_t got, mtu = mtu_of(t, c, now);
	int err;

	if (c->hard_told) {
		t->statistics.esp_expired++;
		return;
	}
	if (too_big(t, c, ip, len, mtu, now))
		return;
	err = child_seal(c, t->host.self, ip, len, t->scratch, sizeof(t->scratch), &got,
			 now);
	note_use(t, c, now);
	if (err) {
		*(err == -EOVERFLOW ? &t->statistics.esp_exhausted
				    : &t->statistics.esp_unsealed) += 1;
		return;
	}
	t->statistics.esp_out++;
	session_told(c->session, now);
	meter(t, c, got);
	send_out(t, got, mtu);
}

static bool leased(struct ipsec *t, struct child *c)
{
	if (c->moved && cluster_committed(t->host.cluster, c->unit, c->moved_at))
		c->moved = false;
	return !c->moved &&
	       c->next_seq <= cluster_counted(t->host.cluster, c->session, CHILD_LEASE);
}

void traffic_send(struct ipsec *t, const uint8_t *ip, size_t len)
{
	if (!t->config.mtu || len <= t->config.mtu)
		t->host.send_outside(t->host.ctx, ip, len);
	else if (ip[0] == 0x45 || ip[0] >> 4 == 6)
		ip_fragment(ip, len, t->config.mtu, fragment_id(), t->host.send_outside,
			    t->host.ctx);
}

/* Routes know addresses only: the selectors may want it elsewhere, or not in ESP. */
static void no_child(struct ipsec *t, const uint8_t *ip, size_t len,
		     const struct child *shadow, bool refused, unsigned hops,
		     struct mono now)
{
	if (refused)
		return;
	if (shadow) {
		t->host.again(t->host.ctx, shadow->unit, ip, len, hops);
	} else if (starts_trap(t, ip, len, now)) {
		return;
	} else if (transport_bypasses(t, ip, len)) {
		t->statistics.transport_clear++;
		traffic_send(t, ip, len);
	} else {
		t->statistics.no_route++;
	}
}

void traffic_forward(struct ipsec *t, const uint8_t *ip, size_t len, unsigned hops,
		     struct mono now)
{
	struct child *shadow = NULL;
	bool refused;
	struct child *c = transport_route(t, &ip, len, hops, &shadow, &refused);

	if (!c) {
		no_child(t, ip, len, shadow, refused, hops, now);
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

/* What a router has seen of a packet of ours. */
struct quotation {
	struct local_addr src, dst;
	uint32_t spi;
};

static int read_quotation(const uint8_t *ip, size_t len, struct quotation *q)
{
	bool ipv6 = len >= 40 && ip[0] >> 4 == 6;
	size_t size = ipv6 ? 16 : 4, header;
	uint8_t protocol;
	uint32_t seq;

	if (!ipv6 && (len < 20 || ip[0] >> 4 != 4 || (ip[6] & 0x1f) | ip[7]))
		return -EINVAL;
	header = ipv6 ? 40 : (size_t)(ip[0] & 15) * 4;
	protocol = ip[ipv6 ? 6 : 9];
	*q = (struct quotation){ .src.family = ipv6 ? 6 : 4, .dst.family = ipv6 ? 6 : 4 };
	memcpy(q->src.bytes, ip + (ipv6 ? 8 : 12), size);
	memcpy(q->dst.bytes, ip + (ipv6 ? 24 : 16), size);
	if (protocol == IP_PROTOCOL_UDP)
		header += IP_UDP_HEADER;
	else if (protocol != IP_PROTOCOL_ESP)
		return -EINVAL;
	/* Without an SPI anybody could have made it up. */
	if (header > len)
		return -EINVAL;
	return esp_parse(ip + header, len - header, &q->spi, &seq);
}

void traffic_too_long(struct ipsec *t, const uint8_t *quoted, size_t len, unsigned mtu,
		      struct mono now)
{
	struct quotation q;
	struct child *c = NULL;
	unsigned least;

	/* Anybody can send any number of errors, and to find an SA by the peer's SPI costs. */
	if (may(&t->too_long, TOO_LONG_MAX, now) && !read_quotation(quoted, len, &q))
		c = children_sealing(t, q.spi, &q.dst);
	if (!c || memcmp(q.src.bytes, c->out.src.bytes, sizeof(q.src.bytes)) ||
	    q.src.family != c->out.src.family) {
		t->statistics.path_mtu_refused++;
		return;
	}
	least = q.src.family == 6 ? INNER_MTU_LEAST6 : PATH_MTU_LEAST4;
	if (mtu < least)
		mtu = least;
	if (mtu >= mtu_of(t, c, now) || mtu > UINT16_MAX)
		return;
	t->statistics.path_mtu++;
	c->path_mtu = (uint16_t)mtu;
	c->path_mtu_since = now;
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
		send_inside(t, c, h->bytes, h->len);
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
	struct child_list later = TAILQ_HEAD_INITIALIZER(later);
	struct child *c;

	while ((c = TAILQ_FIRST(&t->waiting))) {
		TAILQ_REMOVE(&t->waiting, c, waiting);
		c->is_waiting = false;
		release_inbound(t, c);
		release_outbound(t, c, false, now);
		if (c->moved && c->active && !c->is_waiting) {
			c->is_waiting = true;
			TAILQ_INSERT_TAIL(&later, c, waiting);
		}
	}
	TAILQ_CONCAT(&t->waiting, &later, waiting);
}

void traffic_stop(struct ipsec *t, struct child *c, struct mono now)
{
	c->active = false;
	release_inbound(t, c);
	transport_forget(t, c->ike);
	release_outbound(t, c, true, now);
}
