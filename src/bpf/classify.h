/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The classification of a frame: whose is it, and who takes it here?
 *
 * One function for every attachment of the BPF program and for userspace. The file that
 * includes this one first defines how a frame and the tables are reached; `ctx` is
 * whatever that file passes to unit_classify():
 *
 *   int unit_load(ctx, offset, to, len)     0, or not 0 if the frame is too short
 *   uint32_t unit_length(ctx)               bytes of the frame
 *   int unit_tagged(ctx)                    a VLAN tag, VID not 0, stands beside it
 *   int unit_lease_valid(ctx)
 *   const struct unit_network *unit_network(ctx)   NULL: not one of the cluster's
 *   const struct unit_control *unit_control(ctx)   NULL: not set up
 *   uint16_t unit_owner(ctx, unit)
 *   const uint8_t *unit_place(ctx, member)  that member's MAC on this network, or NULL
 *   int unit_is_member(ctx, mac)            it is a member's there
 *   int unit_is_cluster(ctx, address)       4 bytes; unit_is_cluster6(): 16
 *   int unit_is_guarded(ctx, guard)         there is such an entry in `guards`
 *   int unit_route(ctx, address)            the value of the longest route, or -1; also
 *                                           unit_route6()
 *
 * Headers are read by unit_load() into variables, because the verifier then has no packet
 * pointers to follow across variable header lengths.
 */
#ifndef SRC_BPF_CLASSIFY_H
#define SRC_BPF_CLASSIFY_H

#include "src/bpf/unit.h"

#define UNIT_ETH_LEN 14
#define UNIT_TAG_LEN 4
#define UNIT_ETHERTYPE_IPV4 0x0800
#define UNIT_ETHERTYPE_ARP 0x0806
#define UNIT_ETHERTYPE_IPV6 0x86dd
#define UNIT_ETHERTYPE_VLAN 0x8100
#define UNIT_ETHERTYPE_QINQ 0x88a8
#define UNIT_VID_MASK 0x0fff
#define UNIT_IP_LEN 20
#define UNIT_IP_FRAGMENT 0x3fff /* more fragments, or an offset */
#define UNIT_IP6_LEN 40
#define UNIT_IP6_FRAGMENT 0xfff9 /* more fragments, or an offset */
#define UNIT_EXTENSION_LEN 8
/* RFC 8200 4.1 knows six extension headers that may stand before what concerns us. */
#define UNIT_EXTENSIONS_MAX 6
#define UNIT_HOP_BY_HOP 0
#define UNIT_ROUTING 43
#define UNIT_FRAGMENT 44
#define UNIT_DESTINATION_OPTIONS 60
#define UNIT_ICMP6 58
#define UNIT_ICMP 1
#define UNIT_TCP 6
#define UNIT_UDP 17
#define UNIT_ESP 50
#define UNIT_TCP_LEN 20
#define UNIT_UDP_LEN 8
#define UNIT_ICMP_LEN 8
#define UNIT_ESP_LEN 8
#define UNIT_PORT_IKE 500
#define UNIT_PORT_NATT 4500
#define UNIT_MARKER_LEN 4
#define UNIT_IKE_LEN 28
#define UNIT_IKE_VERSION_AT 17
#define UNIT_IKE_FLAGS_AT 19
#define UNIT_IKE_INITIATOR 0x08

/* The packet that is looked at. Integers in host byte order. */
struct unit_packet {
	struct unit_ip source, destination;
	uint32_t body;	   /* offset of what follows the IP headers */
	uint32_t body_len; /* and its length */
	int route;	   /* of the destination, as unit_beyond() says */
	uint32_t identification;
	uint16_t fragment; /* not 0: it is one */
	uint8_t protocol;
	uint8_t local;	 /* for a cluster address */
	uint8_t clear;	 /* a session's packet without its protection */
	uint8_t nowhere; /* for an address that no machine elsewhere has */
	uint8_t icmp;	 /* the protocol number of its family's ICMP */
};

/* How a packet finds its unit: directly, or (UNIT_NONE) as fold(mix). */
struct unit_way {
	struct unit_ip mix;
	uint16_t unit;
	uint8_t reason;
};

UNIT_INLINE int unit_same_mac(const uint8_t *a, const uint8_t *b)
{
	return unit_be32(a) == unit_be32(b) && unit_be16(a + 4) == unit_be16(b + 4);
}

UNIT_INLINE uint8_t unit_verdict_of(uint8_t reason)
{
	switch (reason) {
#define X(symbol, verdict, name)                                                         \
	case UNIT_BY_##symbol:                                                           \
		return UNIT_##verdict;
		UNIT_REASONS(X)
#undef X
	default:
		return UNIT_DROP;
	}
}

UNIT_INLINE struct unit_result unit_because(uint8_t reason, uint16_t unit)
{
	struct unit_result r = { unit_verdict_of(reason), reason, unit, reason };
	return r;
}

/* By the source and something else of it. */
UNIT_INLINE void unit_fold_source(struct unit_way *way, uint8_t reason,
				  const struct unit_packet *ip, uint64_t mix)
{
	way->reason = reason;
	way->unit = UNIT_NONE;
	way->mix.high = ip->source.high;
	way->mix.low = ip->source.low ^ mix;
}

/* By both addresses, symmetric. */
UNIT_INLINE void unit_fold_pair(struct unit_way *way, uint8_t reason,
				const struct unit_packet *ip)
{
	way->reason = reason;
	way->unit = UNIT_NONE;
	way->mix.high = ip->source.high ^ ip->destination.high;
	way->mix.low = ip->source.low ^ ip->destination.low;
}

UNIT_INLINE void unit_direct(struct unit_way *way, uint8_t reason, uint64_t id)
{
	way->reason = reason;
	way->unit = (uint16_t)(id & UNIT_MASK);
}

/*
 * RFC 7296 3.1; the same layout in RFC 2408 3.1, with cookies for SPIs. In IKEv2 the I
 * flag says which of the two SPIs is the sender's own, so the other one is ours.
 */
UNIT_INLINE void unit_ike(void *ctx, const struct unit_packet *ip, uint32_t offset,
			  uint32_t len, struct unit_way *way)
{
	uint8_t ike[UNIT_IKE_LEN];

	if (len < UNIT_IKE_LEN || unit_load(ctx, offset, ike, sizeof(ike))) {
		way->reason = UNIT_BY_MALFORMED;
		return;
	}
	uint64_t spi_i = unit_be64(ike), spi_r = unit_be64(ike + 8);
	if (ike[UNIT_IKE_VERSION_AT] >> 4 == 1) {
		if (spi_r)
			unit_direct(way, UNIT_BY_IKE, spi_r);
		else
			unit_fold_source(way, UNIT_BY_IKE, ip, 0);
	} else if (!(ike[UNIT_IKE_FLAGS_AT] & UNIT_IKE_INITIATOR)) {
		unit_direct(way, UNIT_BY_IKE, spi_i);
	} else if (spi_r) {
		unit_direct(way, UNIT_BY_IKE, spi_r);
	} else {
		unit_fold_source(way, UNIT_BY_IKE, ip, spi_i);
	}
}

/* RFC 3948 2: IKE behind a zero marker, ESP, or a keepalive of one byte. */
UNIT_INLINE void unit_natt(void *ctx, const struct unit_packet *ip, uint32_t offset,
			   uint32_t len, struct unit_way *way)
{
	uint8_t spi[4];

	if (len == 1) {
		if (!unit_load(ctx, offset, spi, 1) && spi[0] == 0xff)
			way->reason = UNIT_BY_KEEPALIVE;
		return;
	}
	if (len < UNIT_ESP_LEN || unit_load(ctx, offset, spi, sizeof(spi)))
		return;
	if (unit_be32(spi))
		unit_direct(way, UNIT_BY_ESP_UDP, unit_be32(spi));
	else
		unit_ike(ctx, ip, offset + UNIT_MARKER_LEN, len - UNIT_MARKER_LEN, way);
}

UNIT_INLINE void unit_udp(void *ctx, const struct unit_packet *ip, struct unit_way *way)
{
	uint8_t udp[UNIT_UDP_LEN];

	if (ip->body_len < UNIT_UDP_LEN || unit_load(ctx, ip->body, udp, sizeof(udp)))
		return;
	uint16_t port = unit_be16(udp + 2);
	uint32_t len = unit_be16(udp + 4);
	if (len < UNIT_UDP_LEN || len > ip->body_len)
		return;
	len -= UNIT_UDP_LEN;
	if (port == UNIT_PORT_IKE)
		unit_ike(ctx, ip, ip->body + UNIT_UDP_LEN, len, way);
	else if (port == UNIT_PORT_NATT)
		unit_natt(ctx, ip, ip->body + UNIT_UDP_LEN, len, way);
	else
		unit_fold_source(way, UNIT_BY_TRANSPORT, ip, unit_be16(udp));
}

UNIT_INLINE void unit_icmp(void *ctx, const struct unit_packet *ip, struct unit_way *way)
{
	uint8_t type;

	if (ip->body_len < UNIT_ICMP_LEN || unit_load(ctx, ip->body, &type, 1))
		return;
	/* RFC 4443 2.1. Neighbours are phalanxd's business. */
	if (ip->icmp == UNIT_ICMP6 && type < 128)
		way->reason = UNIT_BY_ICMP_ERROR;
	else if (ip->icmp == UNIT_ICMP6 && type >= 133 && type <= 137)
		way->reason = UNIT_BY_NEIGHBOUR;
	else if (ip->icmp == UNIT_ICMP6)
		unit_fold_pair(way, UNIT_BY_ICMP, ip);
	/* Unreachable, quench, time exceeded, parameter problem: RFC 792. */
	else if (type == 3 || type == 4 || type == 11 || type == 12)
		way->reason = UNIT_BY_ICMP_ERROR;
	else
		unit_fold_pair(way, UNIT_BY_ICMP, ip);
}

/* A packet for a cluster address. */
UNIT_INLINE void unit_local(void *ctx, const struct unit_packet *ip, struct unit_way *way)
{
	uint8_t word[4];

	way->reason = UNIT_BY_MALFORMED;
	if (ip->fragment) {
		/* The members' meeting place, not the unit of what is in it. */
		unit_fold_pair(way, UNIT_BY_FRAGMENT, ip);
		way->mix.low ^= (uint64_t)ip->identification << 32;
		return;
	}
	switch (ip->protocol) {
	case UNIT_ESP:
		if (ip->body_len >= UNIT_ESP_LEN &&
		    !unit_load(ctx, ip->body, word, sizeof(word)))
			unit_direct(way, UNIT_BY_ESP, unit_be32(word));
		return;
	case UNIT_UDP:
		unit_udp(ctx, ip, way);
		return;
	case UNIT_TCP:
		if (ip->body_len >= UNIT_TCP_LEN &&
		    !unit_load(ctx, ip->body, word, sizeof(word)))
			unit_fold_source(way, UNIT_BY_TRANSPORT, ip, unit_be16(word));
		return;
	default:
		if (ip->protocol == ip->icmp) {
			unit_icmp(ctx, ip, way);
			return;
		}
		unit_fold_pair(way, UNIT_BY_PROTOCOL, ip);
	}
}

/*
 * RFC 4301 5.2 for transport mode: whether it should have come in ESP. Errors of routers
 * are nobody's, and IKE and ESP itself are phalanxd's.
 */
UNIT_INLINE int unit_is_clear(void *ctx, const struct unit_packet *ip,
			      const struct unit_way *way)
{
	struct unit_guard guard = { ip->source.high, ip->source.low, 0, 0, { 0 } };
	uint8_t ports[4];

	if (unit_verdict_of(way->reason) != UNIT_HOST ||
	    way->reason == UNIT_BY_ICMP_ERROR)
		return 0;
	if (unit_is_guarded(ctx, &guard))
		return 1;
	guard.protocol = ip->protocol;
	if (unit_is_guarded(ctx, &guard))
		return 1;
	if ((way->reason != UNIT_BY_TRANSPORT && way->reason != UNIT_BY_ICMP) ||
	    unit_load(ctx, ip->body, ports, sizeof(ports)))
		return 0;
	/* ICMP has its type and code for ports (RFC 4301 4.4.1.1). */
	guard.port = unit_be16(ports + (way->reason == UNIT_BY_ICMP ? 0 : 2));
	return unit_is_guarded(ctx, &guard);
}

/* A packet that goes through the cluster. */
UNIT_INLINE void unit_forwarded(const struct unit_packet *ip, struct unit_way *way)
{
	if (ip->nowhere)
		way->reason = UNIT_BY_DESTINATION;
	else if (ip->route == UNIT_ROUTE_DROP)
		way->reason = UNIT_BY_NO_SESSION;
	else if (ip->route >= 0)
		unit_direct(way, UNIT_BY_ROUTED, (uint64_t)ip->route);
	else
		unit_fold_pair(way, UNIT_BY_FORWARDED, ip);
}

/* Whose the address is beyond: a unit, UNIT_ROUTE_DROP, or -1. */
UNIT_INLINE int unit_beyond(int route)
{
	int value = route & UNIT_ROUTE_MASK;

	return route < 0 || value == UNIT_ROUTE_NEAR || value == UNIT_ROUTE_OWN ? -1
										: value;
}

/*
 * RFC 4301 5.2: what a session protects is not accepted without its protection, from its far
 * end or, by somebody who claims to be inside, towards it. A session with all the world,
 * though, does not mean what this member has to say to it.
 */
UNIT_INLINE uint8_t unit_in_clear(int from, int to)
{
	if (unit_beyond(to) >= 0)
		return 1;
	if (unit_beyond(from) < 0)
		return 0;
	return to < 0 || (to & UNIT_ROUTE_MASK) != UNIT_ROUTE_OWN ||
	       !(from & UNIT_ROUTE_WIDE);
}

/* Who an IPv4 header is from and for. */
UNIT_INLINE void unit_find(void *ctx, const uint8_t *h, int outside,
			   struct unit_packet *ip)
{
	ip->icmp = UNIT_ICMP;
	ip->source = unit_ipv4(unit_be32(h + 12));
	ip->destination = unit_ipv4(unit_be32(h + 16));
	ip->nowhere = h[16] == 0 || h[16] == 127 || h[16] >= 224;
	ip->local = unit_is_cluster(ctx, h + 16) != 0;
	int to = ip->local ? -1 : unit_route(ctx, h + 16);
	ip->route = unit_beyond(to);
	ip->clear = outside && !ip->local && unit_in_clear(unit_route(ctx, h + 12), to);
}

/* The same for IPv6. No machine elsewhere has ::/96, IPv4 in IPv6, link-local addresses
 * and groups. */
UNIT_INLINE void unit_find6(void *ctx, const uint8_t *h, int outside,
			    struct unit_packet *ip)
{
	ip->icmp = UNIT_ICMP6;
	ip->source = unit_ipv6(h + 8);
	ip->destination = unit_ipv6(h + 24);
	ip->nowhere = h[24] == 0xff || (h[24] == 0xfe && (h[25] & 0xc0) == 0x80) ||
		      (!ip->destination.high && (ip->destination.low >> 32 == 0 ||
						 ip->destination.low >> 32 == 0xffff));
	ip->local = unit_is_cluster6(ctx, h + 24) != 0;
	int to = ip->local ? -1 : unit_route6(ctx, h + 24);
	ip->route = unit_beyond(to);
	ip->clear = outside && !ip->local && unit_in_clear(unit_route6(ctx, h + 8), to);
}

/* The rest of the IPv4 header at `offset`. Not 0 if it contradicts itself. */
UNIT_INLINE int unit_header(void *ctx, uint32_t offset, const uint8_t *h,
			    struct unit_packet *ip)
{
	uint32_t header = (uint32_t)(h[0] & 15) * 4;
	uint32_t total = unit_be16(h + 2);

	if (h[0] >> 4 != 4 || header < UNIT_IP_LEN || total < header ||
	    offset + total > unit_length(ctx))
		return -1;
	ip->body = offset + header;
	ip->body_len = total - header;
	ip->fragment = unit_be16(h + 6) & UNIT_IP_FRAGMENT;
	ip->identification = unit_be16(h + 4);
	ip->protocol = h[9];
	return 0;
}

UNIT_INLINE int unit_is_extension(uint8_t protocol)
{
	return protocol == UNIT_HOP_BY_HOP || protocol == UNIT_ROUTING ||
	       protocol == UNIT_FRAGMENT || protocol == UNIT_DESTINATION_OPTIONS;
}

/* Steps over one extension header (RFC 8200 4). */
UNIT_INLINE int unit_extension(void *ctx, struct unit_packet *ip)
{
	uint8_t x[UNIT_EXTENSION_LEN];
	uint32_t len = UNIT_EXTENSION_LEN;

	if (ip->body_len < len || unit_load(ctx, ip->body, x, sizeof(x)))
		return -1;
	if (ip->protocol == UNIT_FRAGMENT) {
		ip->fragment = unit_be16(x + 2) & UNIT_IP6_FRAGMENT;
		ip->identification = unit_be32(x + 4);
	} else {
		len = ((uint32_t)x[1] + 1) * 8;
	}
	/* Nobody is led through the cluster by a source route. */
	if (len > ip->body_len || (ip->protocol == UNIT_ROUTING && x[3]))
		return -1;
	ip->protocol = x[0];
	ip->body += len;
	ip->body_len -= len;
	return 0;
}

/* As unit_header(), with the extension headers of a packet that ends here. A fragment of the
 * whole packet (RFC 6946) is none. */
UNIT_INLINE int unit_header6(void *ctx, uint32_t offset, const uint8_t *h,
			     struct unit_packet *ip)
{
	ip->body = offset + UNIT_IP6_LEN;
	ip->body_len = unit_be16(h + 4);
	ip->protocol = h[6];
	if (h[0] >> 4 != 6 || ip->body + ip->body_len > unit_length(ctx))
		return -1;
	for (unsigned i = 0; ip->local && i < UNIT_EXTENSIONS_MAX; i++) {
		if (ip->fragment || !unit_is_extension(ip->protocol))
			return 0;
		if (unit_extension(ctx, ip))
			return -1;
	}
	return ip->local && !ip->fragment && unit_is_extension(ip->protocol) ? -1 : 0;
}

UNIT_INLINE struct unit_result unit_instead(uint8_t reason, uint16_t unit, uint8_t as)
{
	struct unit_result r = { unit_verdict_of(reason), reason, unit, as };
	return r;
}

/*
 * Mode forwarding: what came to this member and is another's goes there, once. If a member
 * has sent it here, tables differ for a moment, and phalanxd knows what to do.
 */
UNIT_INLINE struct unit_result unit_pass_on(void *ctx, const uint8_t *source,
					    struct unit_result r)
{
	if (!unit_is_member(ctx, source) && unit_place(ctx, unit_owner(ctx, r.unit)))
		return unit_instead(UNIT_BY_PASSED, r.unit, r.as);
	if (unit_verdict_of(r.as) == UNIT_DAEMON)
		return unit_instead(UNIT_BY_STRAY, r.unit, r.as);
	if (r.as == UNIT_BY_ROUTED) /* by way of the TUN device */
		return unit_instead(r.as, r.unit, r.as);
	return r;
}

UNIT_INLINE struct unit_result unit_finish(void *ctx, struct unit_way *way)
{
	const struct unit_control *control = unit_control(ctx);
	uint8_t verdict = unit_verdict_of(way->reason);

	if (!control)
		return unit_because(UNIT_BY_LEASE, UNIT_NONE);
	if (verdict == UNIT_DROP || way->reason == UNIT_BY_ICMP_ERROR)
		return unit_because(way->reason, UNIT_NONE);
	if (way->unit == UNIT_NONE)
		way->unit = unit_fold(&control->key, way->mix.high, way->mix.low);
	uint16_t owner = unit_owner(ctx, way->unit);
	if (owner == UNIT_NOBODY) {
		if (control->master && verdict == UNIT_DAEMON)
			return unit_instead(UNIT_BY_WAITING, way->unit, way->reason);
		/* By way of the TUN device it comes to phalanxd all the same. */
		if (control->master && way->reason == UNIT_BY_ROUTED)
			return unit_because(way->reason, way->unit);
		return unit_instead(UNIT_BY_UNOWNED, way->unit, way->reason);
	}
	if (owner != control->self)
		return unit_instead(UNIT_BY_FOREIGN, way->unit, way->reason);
	return unit_because(way->reason, way->unit);
}

UNIT_INLINE struct unit_result unit_classify_ip(void *ctx, uint32_t offset, int version,
						int to_cluster, int outside)
{
	struct unit_packet ip = { 0 };
	struct unit_way way = { { 0, 0 }, UNIT_NONE, UNIT_BY_MALFORMED };
	uint8_t h[UNIT_IP6_LEN];

	if (version == 6 ? unit_load(ctx, offset, h, UNIT_IP6_LEN)
			 : unit_load(ctx, offset, h, UNIT_IP_LEN))
		return unit_because(to_cluster ? UNIT_BY_MALFORMED : UNIT_BY_OTHER,
				    UNIT_NONE);
	if (version == 6)
		unit_find6(ctx, h, outside, &ip);
	else
		unit_find(ctx, h, outside, &ip);
	if (ip.clear)
		return unit_because(UNIT_BY_CLEAR, UNIT_NONE);
	if (!to_cluster && !ip.local && ip.route < 0)
		return unit_because(UNIT_BY_OTHER, UNIT_NONE);
	if (!unit_lease_valid(ctx))
		return unit_because(UNIT_BY_LEASE, UNIT_NONE);
	if (version == 6 ? unit_header6(ctx, offset, h, &ip)
			 : unit_header(ctx, offset, h, &ip))
		return unit_because(UNIT_BY_MALFORMED, UNIT_NONE);
	if (ip.local)
		unit_local(ctx, &ip, &way);
	else
		unit_forwarded(&ip, &way);
	if (ip.local && outside && unit_is_clear(ctx, &ip, &way))
		return unit_because(UNIT_BY_CLEAR, UNIT_NONE);
	return unit_finish(ctx, &way);
}

/*
 * A frame is the cluster's if it came to the cluster MAC, or to the interface's own MAC
 * with a destination that only the cluster can serve. A frame of another VLAN is not: the
 * VLAN's interface has a filter of its own if it is a cluster network. VID 0 is no VLAN.
 */
UNIT_INLINE struct unit_result unit_classify(void *ctx)
{
	const struct unit_network *network = unit_network(ctx);
	uint8_t eth[UNIT_ETH_LEN], tag[UNIT_TAG_LEN];
	uint32_t offset = UNIT_ETH_LEN;

	if (!network || unit_load(ctx, 0, eth, sizeof(eth)))
		return unit_because(UNIT_BY_OTHER, UNIT_NONE);
	if (unit_tagged(ctx))
		return unit_because(UNIT_BY_VLAN, UNIT_NONE);
	int to_cluster = !network->forwarding && unit_same_mac(eth, network->cluster_mac);
	if (!to_cluster && !unit_same_mac(eth, network->own_mac))
		return unit_because(UNIT_BY_OTHER, UNIT_NONE);
	uint16_t type = unit_be16(eth + 12);
	if (type == UNIT_ETHERTYPE_VLAN || type == UNIT_ETHERTYPE_QINQ) {
		if (unit_load(ctx, offset, tag, sizeof(tag)))
			return unit_because(UNIT_BY_VLAN, UNIT_NONE);
		if (type == UNIT_ETHERTYPE_QINQ || (unit_be16(tag) & UNIT_VID_MASK))
			return unit_because(UNIT_BY_VLAN, UNIT_NONE);
		type = unit_be16(tag + 2);
		offset += UNIT_TAG_LEN;
	}
	if (type == UNIT_ETHERTYPE_IPV4 || type == UNIT_ETHERTYPE_IPV6) {
		struct unit_result r =
		    unit_classify_ip(ctx, offset, type == UNIT_ETHERTYPE_IPV6 ? 6 : 4,
				     to_cluster, network->outside != 0);
		if (r.reason == UNIT_BY_FOREIGN && network->forwarding)
			return unit_pass_on(ctx, eth + 6, r);
		return r;
	}
	if (!to_cluster)
		return unit_because(UNIT_BY_OTHER, UNIT_NONE);
	return unit_because(type == UNIT_ETHERTYPE_ARP ? UNIT_BY_ARP : UNIT_BY_NOT_IP,
			    UNIT_NONE);
}

#endif
