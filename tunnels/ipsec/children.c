/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define STAGED_MAX 4096 /* SAs that charon has installed and not made a child of */
#define CHILDREN_OF_IKE_MAX 512
#define PREFIXES_OF_IKE_MAX 1024
#define HARD_GRACE (60 * MONO_SEC) /* for charon to end what is beyond its lifetime */

static unsigned bucket(uint32_t spi)
{
	return (spi >> 10 ^ spi) % TABLE_SIZE;
}

static unsigned outbound_bucket(const struct address *prefix, unsigned len)
{
	uint32_t hash = len;

	for (size_t i = 0; i < address_size(prefix->family); i++)
		hash = (hash ^ prefix->bytes[i]) * 16777619;
	return (hash ^ hash >> 12) % TABLE_SIZE;
}

static unsigned *prefix_lens(struct ipsec *t, const struct address *prefix)
{
	return t->prefix_lens[prefix->family == AF_INET6];
}

struct child *child_find(struct ipsec *t, uint32_t spi)
{
	struct child *c;

	LIST_FOREACH(c, &t->children[bucket(spi)], by_spi)
		if (c->in.spi == spi)
			return c;
	return NULL;
}

/* Peers choose outbound SPIs, so two may choose the same one: `dst` tells them apart, where
 * it is known. */
static struct child *find_by_way(struct ipsec *t, uint32_t spi, bool inbound,
				 const struct local_addr *dst)
{
	struct child *c;

	if (inbound)
		return child_find(t, spi);
	LIST_FOREACH(c, &t->ways_out[bucket(spi)], by_spi_out)
		if (c->active && c->out.spi == spi &&
		    (!dst || (dst->family == c->out.dst.family &&
			      !memcmp(dst->bytes, c->out.dst.bytes, 16))))
			return c;
	return NULL;
}

static struct session_key child_key(uint32_t spi)
{
	struct session_key key = { .type = RECORD_CHILD, .len = 4 };
	struct pack p = pack_to(key.bytes, 4);

	pack_u32(&p, spi);
	return key;
}

/* The one port that the selector means, where the filter can see ports. 0: it cannot, or
 * there are several. */
static uint16_t only_port(const struct local_ts *ts)
{
	switch (ts->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return ts->from_port == ts->to_port ? ts->from_port : 0;
	default:
		return 0;
	}
}

/* Tells the host which of the peer's packets come in ESP, or that they do not any more. */
static void peer_tell(struct ipsec *t, const struct child *c,
		      void (*tell)(void *ctx, const struct address *peer,
				   uint8_t protocol, uint16_t port))
{
	for (unsigned i = 0; i < c->in.dst_count; i++) {
		const struct local_ts *ts = &c->in.dst_ts[i];

		tell(t->host.ctx, &c->peer, ts->protocol, only_port(ts));
	}
}

static void peer_add(struct ipsec *t, const struct child *c)
{
	if (!c->transport)
		return;
	t->ntransport++;
	peer_tell(t, c, t->host.peer_add);
}

static void peer_remove(struct ipsec *t, const struct child *c)
{
	if (!c->transport)
		return;
	peer_tell(t, c, t->host.peer_remove);
	t->ntransport--;
	if (!children_of(t, c->ike, NULL))
		transport_forget(t, c->ike);
}

static void routes_add(struct ipsec *t, struct child *c)
{
	for (unsigned i = 0; i < c->nprefixes; i++) {
		struct outbound *o = calloc(1, sizeof(*o));

		if (!o)
			return;
		o->prefix = c->prefixes[i].address;
		o->len = c->prefixes[i].len;
		o->child = c;
		LIST_INSERT_HEAD(&t->outbound[outbound_bucket(&o->prefix, o->len)], o,
				 next);
		prefix_lens(t, &o->prefix)[o->len]++;
		/* The peer of transport mode stands outside: its SAs' own packets go there. */
		if (!c->transport)
			t->host.route_add(t->host.ctx, &o->prefix, o->len, c->unit);
	}
}

static void routes_remove(struct ipsec *t, struct child *c)
{
	for (unsigned i = 0; i < c->nprefixes; i++) {
		const struct selector_prefix *prefix = &c->prefixes[i];
		unsigned b = outbound_bucket(&prefix->address, prefix->len);
		struct outbound *o;

		LIST_FOREACH(o, &t->outbound[b], next)
			if (o->child == c && o->len == prefix->len &&
			    address_same(&o->prefix, &prefix->address))
				break;
		if (!o)
			continue;
		LIST_REMOVE(o, next);
		prefix_lens(t, &o->prefix)[o->len]--;
		if (!c->transport)
			t->host.route_remove(t->host.ctx, &o->prefix, o->len, c->unit);
		free(o);
	}
}

/*
 * The child for a packet, among those of one prefix: the one whose selectors are the
 * narrowest, also if it is another member's. After a rekey the peer has the newer
 * one for certain only when it has used it, or when charon has taken the older one back:
 * until then the older one goes on. Mostly the newest comes first, but not after a snapshot.
 */
static struct child *choose(struct outbound *o, const struct address *prefix,
			    unsigned bits, const uint8_t *ip, size_t len, uint64_t ike,
			    struct child **shadow)
{
	struct child *best = NULL;
	bool settled = false;
	unsigned most = 0;

	for (; o; o = LIST_NEXT(o, next)) {
		struct child *c = o->child;
		unsigned narrow;

		if (o->len != bits || !address_same(&o->prefix, prefix) ||
		    (ike && c->ike != ike))
			continue;
		narrow = child_selects(c, ip, len);
		if (!narrow || narrow < most)
			continue;
		if (narrow > most) {
			most = narrow;
			best = *shadow = NULL;
			settled = false;
		}
		if (!c->active) {
			if (!*shadow)
				*shadow = c;
			continue;
		}
		if (settled || (best && (c->ike != best->ike || c->retired)))
			continue;
		best = c;
		settled = c->confirmed && !c->retired;
	}
	return best;
}

static int destination_of(const uint8_t *ip, size_t len, struct address *out)
{
	bool ipv6 = len >= 40 && ip[0] >> 4 == 6;

	if (!ipv6 && (len < 20 || ip[0] >> 4 != 4))
		return -EINVAL;
	*out = (struct address){ .family = ipv6 ? AF_INET6 : AF_INET };
	memcpy(out->bytes, ip + (ipv6 ? 24 : 16), ipv6 ? 16 : 4);
	return 0;
}

struct child *children_route(struct ipsec *t, const uint8_t *ip, size_t len, uint64_t ike,
			     struct child **shadow)
{
	struct address dst, prefix;

	if (destination_of(ip, len, &dst))
		return NULL;
	for (int bits = (int)address_size(dst.family) * 8; bits >= 0; bits--) {
		struct child *c;

		if (!prefix_lens(t, &dst)[bits] ||
		    address_prefix(&dst, (unsigned)bits, &prefix))
			continue;
		c = choose(
		    LIST_FIRST(&t->outbound[outbound_bucket(&prefix, (unsigned)bits)]),
		    &prefix, (unsigned)bits, ip, len, ike, shadow);
		if (c || *shadow)
			return c;
	}
	return NULL;
}

/* Of several hosts behind one NAT, each has a port of its own. */
static bool is_same_host(const struct child *a, const struct child *b)
{
	return a->out.encap == b->out.encap && local_addr_equal(&a->out.dst, &b->out.dst);
}

bool children_same(struct ipsec *t, uint64_t ike, const struct child *c)
{
	const struct child *other = NULL;

	while ((other = children_of(t, ike, other)))
		if (other->transport && address_same(&other->peer, &c->peer) &&
		    is_same_host(other, c))
			return true;
	return false;
}

/* The next one of transport mode with this peer, of another IKE SA, that is at work here. */
static const struct outbound *beside(const struct outbound *o, const struct child *c)
{
	while (o && (o->child->ike == c->ike || !o->child->active ||
		     !o->child->transport || !address_same(&o->child->peer, &c->peer)))
		o = LIST_NEXT(o, next);
	return o;
}

static const struct outbound *all_beside(struct ipsec *t, const struct child *c)
{
	unsigned bits = (unsigned)address_size(c->peer.family) * 8;

	return beside(LIST_FIRST(&t->outbound[outbound_bucket(&c->peer, bits)]), c);
}

bool children_rival(struct ipsec *t, const struct child *c, const uint8_t *ip, size_t len)
{
	const struct outbound *o;

	for (o = all_beside(t, c); o; o = beside(LIST_NEXT(o, next), c))
		if (!is_same_host(o->child, c) &&
		    (!ip || child_selects(o->child, ip, len)))
			return true;
	return false;
}

uint64_t children_elder(struct ipsec *t, const struct child *c)
{
	const struct outbound *o;

	for (o = all_beside(t, c); o; o = beside(LIST_NEXT(o, next), c))
		if (is_same_host(o->child, c))
			return o->child->ike;
	return 0;
}

bool children_peer(struct ipsec *t, uint8_t family, const uint8_t *local,
		   const uint8_t *peer)
{
	struct address host = { .family = family == 4 ? AF_INET : AF_INET6 };
	unsigned bits = (unsigned)address_size(host.family) * 8;
	const struct outbound *o;

	memcpy(host.bytes, peer, bits / 8);
	LIST_FOREACH(o, &t->outbound[outbound_bucket(&host, bits)], next)
		if (o->child->transport && address_same(&o->child->peer, &host) &&
		    !memcmp(o->child->own.bytes, local, bits / 8))
			return true;
	return false;
}

bool children_hold(const struct ipsec *t, const struct address *address)
{
	unsigned bits = (unsigned)address_size(address->family) * 8;
	const struct outbound *o;

	LIST_FOREACH(o, &t->outbound[outbound_bucket(address, bits)], next)
		if (o->len == bits && address_same(&o->prefix, address))
			return true;
	return false;
}

struct child *children_sealing(struct ipsec *t, uint32_t spi_out,
			       const struct local_addr *dst)
{
	return find_by_way(t, spi_out, false, dst);
}

void children_retire(struct ipsec *t, uint32_t spi_out, const struct local_addr *dst)
{
	struct child *c = find_by_way(t, spi_out, false, dst);

	if (c)
		c->retired = true;
}

static unsigned family_bucket(uint64_t ike)
{
	return (unsigned)((ike ^ ike >> 20 ^ ike >> 40) % TABLE_SIZE);
}

struct child *children_of(const struct ipsec *t, uint64_t ike, const struct child *c)
{
	struct child *next =
	    c ? LIST_NEXT(c, of_ike) : LIST_FIRST(&t->families[family_bucket(ike)]);

	while (next && next->ike != ike)
		next = LIST_NEXT(next, of_ike);
	return next;
}

/* Its IKE SA was rekeyed. */
static void change_family(struct ipsec *t, struct child *c)
{
	LIST_REMOVE(c, of_ike);
	LIST_INSERT_HEAD(&t->families[family_bucket(c->ike)], c, of_ike);
}

/* What it has carried stays the session's. */
static void leave_family(struct ipsec *t, struct child *c)
{
	struct ike_sa *sa = login_find(t, c->ike);

	LIST_REMOVE(c, of_ike);
	if (!sa)
		return;
	sa->bytes_in += c->in.bytes;
	sa->packets_in += c->in.packets;
	sa->bytes_out += c->out.bytes;
	sa->packets_out += c->out.packets;
}

static void link_child(struct ipsec *t, struct child *c, struct session *s)
{
	c->session = s;
	c->mss = (uint16_t)t->config.mss;
	session_set_user(s, c);
	LIST_INSERT_HEAD(&t->children[bucket(c->in.spi)], c, by_spi);
	LIST_INSERT_HEAD(&t->ways_out[bucket(c->out.spi)], c, by_spi_out);
	LIST_INSERT_HEAD(&t->families[family_bucket(c->ike)], c, of_ike);
	routes_add(t, c);
	peer_add(t, c);
}

void children_free(struct ipsec *t, struct child *c)
{
	LIST_REMOVE(c, by_spi);
	LIST_REMOVE(c, by_spi_out);
	leave_family(t, c);
	routes_remove(t, c);
	peer_remove(t, c);
	if (c->is_waiting)
		TAILQ_REMOVE(&t->waiting, c, waiting);
	child_free(c);
}

/* SAs of one direction wait here until CHILD_PUT names the pair. */
static struct staged_sa *staged_find(struct ipsec *t, uint32_t spi, bool inbound)
{
	struct staged_sa *sa;

	LIST_FOREACH(sa, &t->staged, next)
		if (sa->spi == spi && sa->inbound == inbound)
			return sa;
	return NULL;
}

static void unstage(struct ipsec *t, struct staged_sa *sa)
{
	LIST_REMOVE(sa, next);
	t->nstaged--;
	OPENSSL_cleanse(sa->bytes, sa->len);
	free(sa);
}

void children_unstage(struct ipsec *t, uint32_t spi, bool inbound)
{
	struct staged_sa *sa = staged_find(t, spi, inbound);

	if (sa)
		unstage(t, sa);
}

void children_unstage_all(struct ipsec *t)
{
	struct staged_sa *sa;

	while ((sa = LIST_FIRST(&t->staged)))
		unstage(t, sa);
}

void children_stage(struct ipsec *t, const struct local_message *m)
{
	static uint8_t buf[CHILD_INITIAL_MAX];
	size_t len = local_encode(m, buf, sizeof(buf));
	struct staged_sa *sa;

	children_unstage(t, m->sa_add.spi, m->sa_add.inbound);
	if (t->nstaged == STAGED_MAX) {
		log_warnx("ipsec: more than %u SAs of charon belong to no CHILD SA",
			  STAGED_MAX);
		return;
	}
	if (!len) {
		log_warnx("ipsec: SA %08x has more selectors than fit", m->sa_add.spi);
		return;
	}
	sa = malloc(sizeof(*sa) + len);
	if (sa) {
		memcpy(sa->bytes, buf, len);
		sa->len = len;
		sa->spi = m->sa_add.spi;
		sa->ike = m->sa_add.ike;
		sa->inbound = m->sa_add.inbound;
		LIST_INSERT_HEAD(&t->staged, sa, next);
		t->nstaged++;
	}
	OPENSSL_cleanse(buf, len);
}

static void tell_expiry(struct ipsec *t, uint32_t spi, const struct local_addr *dst,
			bool hard)
{
	struct local_message m = { .type = LOCAL_SA_EXPIRE };

	m.sa_expire.spi = spi;
	m.sa_expire.inbound = 1;
	m.sa_expire.dst = *dst;
	m.sa_expire.hard = hard;
	plugin_send(t->plugin, &m);
}

/* In transport mode the filter is told of each selector. */
static unsigned entries(const struct child *c)
{
	return c->nprefixes + (c->transport ? c->in.dst_count : 0);
}

/* One peer's SAs must leave room for those of others, here and in the filter. */
static bool is_too_many(struct ipsec *t, const struct child *c)
{
	unsigned children = 0, prefixes = entries(c);
	const struct child *other = NULL;

	while ((other = children_of(t, c->ike, other))) {
		children++;
		prefixes += entries(other);
	}
	return children >= CHILDREN_OF_IKE_MAX || prefixes > PREFIXES_OF_IKE_MAX;
}

/* charon ends it, and tells the peer. */
static void refuse_child(struct ipsec *t, const struct child *c, struct mono now)
{
	char peer[INET6_ADDRSTRLEN] = "";

	t->statistics.children_refused++;
	tell_expiry(t, c->in.spi, &c->in.dst, true);
	if (t->children_refused.ns && mono_since(now, t->children_refused) < MONO_SEC)
		return;
	t->children_refused = now;
	inet_ntop(c->out.dst.family == 6 ? AF_INET6 : AF_INET, c->out.dst.bytes, peer,
		  sizeof(peer));
	log_warnx("ipsec: CHILD SA %08x of %s, IKE SA %016" PRIx64
		  ", is refused: an IKE SA may have %u with %u prefixes",
		  c->in.spi, peer, c->ike, CHILDREN_OF_IKE_MAX, PREFIXES_OF_IKE_MAX);
}

static bool is_at(const struct address *a, const struct local_addr *at)
{
	return a->family == (at->family == 4 ? AF_INET : AF_INET6) &&
	       !memcmp(a->bytes, at->bytes, address_size(a->family));
}

/* As child_new(). Who speaks for itself in transport mode speaks for nobody else. */
static int child_begin(struct ipsec *t, const uint8_t *initial, size_t len,
		       struct child **out, struct mono now)
{
	struct child *c;
	int err = child_new(&c, initial, len, t->config.replay_window, now);

	if (!err && c->transport &&
	    !(is_at(&c->peer, &c->in.src) && is_at(&c->own, &c->in.dst))) {
		child_free(c);
		err = -EDOM;
	}
	if (!err)
		*out = c;
	return err;
}

static void child_create(struct ipsec *t, uint32_t spi, const struct local_addr *dst,
			 const uint8_t *initial, size_t len, struct mono now)
{
	struct session_key key = child_key(spi);
	struct session *s;
	struct child *c;
	int err = child_begin(t, initial, len, &c, now);

	if (err) {
		log_warnx("ipsec: cannot carry CHILD SA %08x: %s", spi,
			  err == -EDOM ? "transport mode, and not from host to host"
				       : strerror(-err));
		tell_expiry(t, spi, dst, true);
		return;
	}
	if (is_too_many(t, c)) {
		refuse_child(t, c, now);
		child_free(c);
		return;
	}
	err = cluster_put(t->host.cluster, c->unit, &key, initial, len, NULL, 0, &s, now);
	if (err) {
		log_warnx("ipsec: cannot keep CHILD SA %08x: %s", spi, strerror(-err));
		child_free(c);
		return;
	}
	link_child(t, c, s);
	child_activate(c, 0, 0, t->activation[c->unit]);
	traffic_lease(t, c, now);
}

/* Of the child as it stands. The plugin reports it again when its IKE SA was rekeyed. */
static void child_replace(struct ipsec *t, struct child *c, const uint8_t *initial,
			  size_t len, uint64_t ike, struct mono now)
{
	struct session_key key = child_key(c->in.spi);
	struct local_addr was;
	int err =
	    cluster_put(t->host.cluster, c->unit, &key, initial, len, NULL, 0, NULL, now);

	if (err) {
		log_warnx("ipsec: cannot change CHILD SA %08x: %s", c->in.spi,
			  strerror(-err));
		return;
	}
	transport_follow(t, c->ike, ike);
	login_follow(t, c->ike, ike, now);
	c->ike = ike;
	was = c->out.dst;
	child_readdress(c, initial, len);
	change_family(t, c);
	/* Nothing goes to the new place before the successor knows it. */
	if (c->active && !local_addr_equal(&was, &c->out.dst)) {
		c->moved = true;
		c->moved_at = cluster_position(t->host.cluster);
		traffic_committed(t, c);
	}
}

void children_put(struct ipsec *t, const struct local_child_put *put, struct mono now)
{
	static uint8_t initial[3 * CHILD_INITIAL_MAX];
	struct child *c = child_find(t, put->spi_in);
	struct staged_sa *in = staged_find(t, put->spi_in, true);
	struct staged_sa *out = staged_find(t, put->spi_out, false);
	struct local_message m_in, m_out;
	struct local_child_put old;
	size_t len, had;

	if (c && !in) {
		const uint8_t *was = session_initial(c->session, &had);

		if (child_decode(was, had, &m_in.sa_add, &m_out.sa_add, &old))
			return;
	} else if (!in || !out || local_decode(in->bytes, in->len, &m_in) ||
		   local_decode(out->bytes, out->len, &m_out)) {
		log_warnx("ipsec: charon reports CHILD SA %08x without its SAs",
			  put->spi_in);
		return;
	}
	len = child_encode(&m_in.sa_add, &m_out.sa_add, put, initial, sizeof(initial));
	if (!len)
		log_warnx("ipsec: CHILD SA %08x is too large to keep", put->spi_in);
	else if (c)
		child_replace(t, c, initial, len, put->ike, now);
	else
		child_create(t, put->spi_in, &m_in.sa_add.dst, initial, len, now);
	OPENSSL_cleanse(initial, sizeof(initial));
	if (in)
		unstage(t, in);
	if (out)
		unstage(t, out);
}

void children_update(struct ipsec *t, const struct local_sa_update *u, struct mono now)
{
	static uint8_t initial[3 * CHILD_INITIAL_MAX];
	struct child *c = find_by_way(t, u->spi, u->inbound, &u->was);
	struct local_sa_add sa[2], *way = &sa[u->inbound ? 0 : 1];
	struct local_child_put put;
	size_t len;
	const uint8_t *was;

	if (!c)
		return;
	was = session_initial(c->session, &len);
	if (child_decode(was, len, &sa[0], &sa[1], &put))
		return;
	way->src = u->src;
	way->dst = u->dst;
	way->encap = u->encap;
	len = child_encode(&sa[0], &sa[1], &put, initial, sizeof(initial));
	if (len)
		child_replace(t, c, initial, len, c->ike, now);
	OPENSSL_cleanse(initial, sizeof(initial));
}

void children_delete(struct ipsec *t, uint32_t spi_in, struct mono now)
{
	struct child *c = child_find(t, spi_in);
	struct session *s;

	if (!c || !c->active)
		return;
	s = c->session;
	children_free(t, c);
	session_set_user(s, NULL);
	cluster_remove(t->host.cluster, s, now);
}

static uint64_t idle_seconds(const struct child_way *way, struct mono now)
{
	return way->used.ns ? mono_since(now, way->used) / MONO_SEC : UINT64_MAX;
}

void children_query(struct ipsec *t, const struct local_sa_query *q, struct mono now)
{
	struct child *c = find_by_way(t, q->spi, q->inbound, &q->dst);
	struct local_message m = { .type = LOCAL_SA_STATS };

	m.sa_stats.id = q->id;
	if (c) {
		const struct child_way *way = q->inbound ? &c->in : &c->out;

		m.sa_stats.found = 1;
		m.sa_stats.bytes = way->bytes;
		m.sa_stats.packets = way->packets;
		m.sa_stats.idle = idle_seconds(way, now);
	}
	plugin_send(t->plugin, &m);
}

/* The SPI that is looked up must be the one whose unit's owner wrote the record. */
static bool is_child_of(const struct child *c, const struct session *s)
{
	const struct session_key key = child_key(c->in.spi);

	return c->unit == session_unit(s) && spi_unit(c->in.spi) == c->unit &&
	       session_key(s)->len == key.len &&
	       !memcmp(session_key(s)->bytes, key.bytes, key.len);
}

static void take_usage(struct ipsec *t, struct child *c, struct session *s,
		       struct mono now)
{
	size_t len;
	const uint8_t *usage = session_essential(s, &len);

	if (usage && child_usage_take(c, usage, len, now))
		t->statistics.records_bad++;
}

void children_shadow(struct ipsec *t, struct session *s, struct mono now)
{
	struct child *c = session_user(s);
	size_t len;
	const uint8_t *initial = session_initial(s, &len);
	int err;

	if (!initial || !len)
		return;
	if (c) {
		child_readdress(c, initial, len);
		change_family(t, c);
		take_usage(t, c, s, now);
		return;
	}
	err = child_new(&c, initial, len, t->config.replay_window, now);
	if (!err && !is_child_of(c, s)) {
		child_free(c);
		err = -EBADMSG;
	}
	if (err) {
		t->statistics.records_bad++;
		log_warnx("ipsec: cannot use the record of a CHILD SA: %s",
			  strerror(-err));
		return;
	}
	link_child(t, c, s);
	take_usage(t, c, s, now);
}

/* What the record says of lifetimes follows what is used, from afar. */
void children_keep_usage(struct ipsec *t, struct child *c, struct mono now)
{
	const struct session_key key = child_key(c->in.spi);
	uint8_t usage[CHILD_USAGE_SIZE];
	size_t len;

	if (!child_usage_due(c, now))
		return;
	len = child_usage_put(c, usage, now);
	cluster_put(t->host.cluster, c->unit, &key, NULL, 0, usage, len, NULL, now);
}

void children_expire(struct ipsec *t, struct child *c, struct mono now)
{
	if (!c->soft_told && child_expired(c, false, now)) {
		c->soft_told = true;
		tell_expiry(t, c->in.spi, &c->in.dst, false);
	}
	if (c->hard_told || !child_expired(c, true, now))
		return;
	c->hard_told = true;
	c->ended = now;
	tell_expiry(t, c->in.spi, &c->in.dst, true);
}

/* May remove the child. */
static void age_child(struct ipsec *t, struct child *c, struct mono now)
{
	children_expire(t, c, now);
	children_keep_usage(t, c, now);
	/* A charon that does not know it, after a failed import, never ends it. */
	if (!c->hard_told || mono_since(now, c->ended) < HARD_GRACE)
		return;
	log_warnx("ipsec: CHILD SA %08x is beyond its lifetime; removed", c->in.spi);
	children_delete(t, c->in.spi, now);
}

void children_age(struct ipsec *t, struct mono now)
{
	struct child *c, *next;

	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		for (c = LIST_FIRST(&t->children[i]); c; c = next) {
			next = LIST_NEXT(c, by_spi);
			if (c->active)
				age_child(t, c, now);
		}
	}
}
