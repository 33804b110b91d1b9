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
 *   int unit_tagged(ctx)                    a VLAN tag stands beside the frame (VID not
 * 0) int unit_lease_valid(ctx) const struct unit_network *unit_network(ctx)   NULL: not a
 * network of the cluster const struct unit_control *unit_control(ctx)   NULL: not set up
 *   uint16_t unit_owner(ctx, unit)
 *   int unit_is_cluster(ctx, address_be)
 *   int unit_route(ctx, address_be)         a unit, UNIT_ROUTE_DROP, or -1
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
#define UNIT_ETHERTYPE_VLAN 0x8100
#define UNIT_ETHERTYPE_QINQ 0x88a8
#define UNIT_VID_MASK 0x0fff
#define UNIT_IP_LEN 20
#define UNIT_IP_FRAGMENT 0x3fff /* more fragments, or an offset */
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

/* The IPv4 packet that is looked at. Integers in host byte order. */
struct unit_packet {
	uint32_t source, destination;
	uint32_t destination_be;
	uint32_t body;	   /* offset of what follows the IP header */
	uint32_t body_len; /* and its length */
	uint16_t fragment;
	uint8_t protocol;
};

/* How a packet finds its unit: directly, or (UNIT_NONE) as fold(mix). */
struct unit_way {
	uint64_t mix;
	uint16_t unit;
	uint8_t reason;
};

UNIT_INLINE uint16_t unit_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

UNIT_INLINE uint32_t unit_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

UNIT_INLINE uint64_t unit_be64(const uint8_t *p)
{
	return (uint64_t)unit_be32(p) << 32 | unit_be32(p + 4);
}

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
	struct unit_result r = { unit_verdict_of(reason), reason, unit };
	return r;
}

UNIT_INLINE void unit_fold_by(struct unit_way *way, uint8_t reason, uint64_t mix)
{
	way->reason = reason;
	way->unit = UNIT_NONE;
	way->mix = mix;
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
			unit_fold_by(way, UNIT_BY_IKE, ip->source);
	} else if (!(ike[UNIT_IKE_FLAGS_AT] & UNIT_IKE_INITIATOR)) {
		unit_direct(way, UNIT_BY_IKE, spi_i);
	} else if (spi_r) {
		unit_direct(way, UNIT_BY_IKE, spi_r);
	} else {
		unit_fold_by(way, UNIT_BY_IKE, spi_i ^ ip->source);
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
		unit_fold_by(way, UNIT_BY_TRANSPORT, ip->source ^ unit_be16(udp));
}

UNIT_INLINE void unit_icmp(void *ctx, const struct unit_packet *ip, struct unit_way *way)
{
	uint8_t type;

	if (ip->body_len < UNIT_ICMP_LEN || unit_load(ctx, ip->body, &type, 1))
		return;
	/* Unreachable, quench, time exceeded, parameter problem: RFC 792. */
	if (type == 3 || type == 4 || type == 11 || type == 12)
		way->reason = UNIT_BY_ICMP_ERROR;
	else
		unit_fold_by(way, UNIT_BY_ICMP, ip->source ^ ip->destination);
}

/* A packet for a cluster address. */
UNIT_INLINE void unit_local(void *ctx, const struct unit_packet *ip, struct unit_way *way)
{
	uint8_t word[4];

	way->reason = UNIT_BY_MALFORMED;
	if (ip->fragment) {
		way->reason = UNIT_BY_FRAGMENT;
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
			unit_fold_by(way, UNIT_BY_TRANSPORT,
				     ip->source ^ unit_be16(word));
		return;
	case UNIT_ICMP:
		unit_icmp(ctx, ip, way);
		return;
	default:
		unit_fold_by(way, UNIT_BY_PROTOCOL, ip->source ^ ip->destination);
	}
}

/* A packet that goes through the cluster. */
UNIT_INLINE void unit_forwarded(const struct unit_packet *ip, int route,
				struct unit_way *way)
{
	uint8_t net = (uint8_t)(ip->destination >> 24);

	if (net == 0 || net == 127 || net >= 224)
		way->reason = UNIT_BY_DESTINATION;
	else if (route == UNIT_ROUTE_DROP)
		way->reason = UNIT_BY_NO_SESSION;
	else if (route >= 0)
		unit_direct(way, UNIT_BY_ROUTED, (uint64_t)route);
	else
		unit_fold_by(way, UNIT_BY_FORWARDED, ip->source ^ ip->destination);
}

/* Fills `ip` from the header at `offset`. Not 0 if the header contradicts itself. */
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
	ip->protocol = h[9];
	return 0;
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
		way->unit = unit_fold(&control->key, 0, way->mix);
	uint16_t owner = unit_owner(ctx, way->unit);
	if (owner == UNIT_NOBODY)
		return unit_because(UNIT_BY_UNOWNED, way->unit);
	if (owner != control->self)
		return unit_because(UNIT_BY_FOREIGN, way->unit);
	return unit_because(way->reason, way->unit);
}

UNIT_INLINE struct unit_result unit_classify_ip(void *ctx, uint32_t offset,
						int to_cluster, int outside)
{
	struct unit_packet ip = { 0 };
	struct unit_way way = { 0, UNIT_NONE, UNIT_BY_MALFORMED };
	uint8_t h[UNIT_IP_LEN];

	if (unit_load(ctx, offset, h, sizeof(h)))
		return unit_because(to_cluster ? UNIT_BY_MALFORMED : UNIT_BY_OTHER,
				    UNIT_NONE);
	ip.source = unit_be32(h + 12);
	ip.destination = unit_be32(h + 16);
	__builtin_memcpy(&ip.destination_be, h + 16, 4);
	int local = unit_is_cluster(ctx, ip.destination_be);
	int route = local ? -1 : unit_route(ctx, ip.destination_be);
	uint32_t source_be;
	__builtin_memcpy(&source_be, h + 12, 4);
	/* RFC 4301 5.2: what a session protects is not accepted without its protection,
	 * from its far end or, by somebody who claims to be inside, towards it. */
	if (outside && !local && (route >= 0 || unit_route(ctx, source_be) >= 0))
		return unit_because(UNIT_BY_CLEAR, UNIT_NONE);
	if (!to_cluster && !local && route < 0)
		return unit_because(UNIT_BY_OTHER, UNIT_NONE);
	if (!unit_lease_valid(ctx))
		return unit_because(UNIT_BY_LEASE, UNIT_NONE);
	if (unit_header(ctx, offset, h, &ip))
		return unit_because(UNIT_BY_MALFORMED, UNIT_NONE);
	if (local)
		unit_local(ctx, &ip, &way);
	else
		unit_forwarded(&ip, route, &way);
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
	int to_cluster = unit_same_mac(eth, network->cluster_mac);
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
	if (type == UNIT_ETHERTYPE_IPV4)
		return unit_classify_ip(ctx, offset, to_cluster, network->outside != 0);
	if (!to_cluster)
		return unit_because(UNIT_BY_OTHER, UNIT_NONE);
	return unit_because(type == UNIT_ETHERTYPE_ARP ? UNIT_BY_ARP : UNIT_BY_NOT_IPV4,
			    UNIT_NONE);
}

#endif
