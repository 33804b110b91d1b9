/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work units: what the BPF program and userspace must agree on. The types of the filter's
 * maps, the verdicts and their reasons, and the keyed function `fold`.
 *
 * This header needs nothing but fixed-width types: the BPF program has <linux/types.h>
 * only. Addresses are numbers in host byte order (struct unit_ip) where they are folded,
 * and bytes in network order where they are looked up.
 *
 * classify.h, beside this file, holds the classification itself.
 */
#ifndef SRC_BPF_UNIT_H
#define SRC_BPF_UNIT_H

#ifdef __bpf__
#include <linux/types.h>
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
#else
#include <stdint.h>
#endif

#define UNIT_COUNT 1024
#define UNIT_MASK (UNIT_COUNT - 1)
#define UNIT_NOBODY 0	       /* owner of a unit that has none */
#define UNIT_NONE 0xffff       /* a frame that belongs to no unit */
#define UNIT_ROUTE_DROP 0xffff /* session route of an address without a session */
#define UNIT_ROUTE_NEAR                                                                  \
	0xfffe		      /* no session's: the machine has a route of its own there */
#define UNIT_ROUTE_OWN 0xfffd /* no session's: this member's own address */
#define UNIT_ROUTE_MASK 0xffff
#define UNIT_ROUTE_WIDE                                                                  \
	0x10000		 /* a bit: so wide a route does not mean this member itself */
#define UNIT_WIDE_BITS 8 /* that is one with a shorter prefix */
#define UNIT_NETWORKS_MAX 16
#define UNIT_ADDRESSES_MAX 128
#define UNIT_ROUTES_MAX 65536
#define UNIT_GUARDS_MAX 16384
#define UNIT_PLACES_MAX 1024 /* members times networks, with room for old ones */

enum unit_verdict {
	UNIT_PASS,   /* not the cluster's: the kernel takes it as it would without us */
	UNIT_DROP,   /* nobody here may see it */
	UNIT_DAEMON, /* ours, and phalanxd's: the kernel's stack must not see it */
	UNIT_HOST,   /* ours, and the kernel's stack takes it as if it had come to its own
			MAC */
	UNIT_FORWARD, /* another member's: sent to its MAC, from ours */
};

/*
 * Why a frame got its verdict: X(symbol, verdict, name). The names are those of the
 * counters. `foreign` is the common one: another member works on that unit.
 */
#define UNIT_REASONS(X)                                                                  \
	X(OTHER, PASS, "other")                                                          \
	X(VLAN, PASS, "vlan")                                                            \
	X(IKE, DAEMON, "ike")                                                            \
	X(ESP, DAEMON, "esp")                                                            \
	X(ESP_UDP, DAEMON, "esp-udp")                                                    \
	X(ICMP_ERROR, HOST, "icmp-error")                                                \
	X(ICMP, HOST, "icmp")                                                            \
	X(TRANSPORT, HOST, "tcp-udp")                                                    \
	X(PROTOCOL, HOST, "protocol")                                                    \
	X(ROUTED, HOST, "routed")                                                        \
	X(FORWARDED, HOST, "forwarded")                                                  \
	X(FRAGMENT, DAEMON, "fragment")                                                  \
	X(WAITING, DAEMON, "waiting")                                                    \
	X(STRAY, DAEMON, "stray")                                                        \
	X(PASSED, FORWARD, "passed")                                                     \
	X(FOREIGN, DROP, "foreign")                                                      \
	X(UNOWNED, DROP, "unowned")                                                      \
	X(LEASE, DROP, "lease")                                                          \
	X(NO_SESSION, DROP, "no-session")                                                \
	X(CLEAR, DROP, "session-in-clear")                                               \
	X(KEEPALIVE, DROP, "nat-keepalive")                                              \
	X(MALFORMED, DROP, "malformed")                                                  \
	X(DESTINATION, DROP, "destination")                                              \
	X(ARP, DROP, "arp")                                                              \
	X(NEIGHBOUR, DROP, "neighbour-discovery")                                        \
	X(NOT_IP, DROP, "not-ip")

enum unit_reason {
#define X(symbol, verdict, name) UNIT_BY_##symbol,
	UNIT_REASONS(X)
#undef X
	    UNIT_REASON_COUNT
};

struct unit_result {
	uint8_t verdict; /* enum unit_verdict */
	uint8_t reason;	 /* enum unit_reason */
	uint16_t unit;	 /* UNIT_NONE if it was not computed */
	uint8_t as;	 /* the reason, if the unit were this member's */
};

struct unit_key {
	uint64_t k[2];
};

#define UNIT_KEY_SIZE 16

/* The key as the members exchange it: 16 bytes, big-endian words on every machine. */
#ifndef __bpf__
static inline struct unit_key unit_key_read(const uint8_t bytes[UNIT_KEY_SIZE])
{
	struct unit_key key = { { 0, 0 } };

	for (unsigned i = 0; i < UNIT_KEY_SIZE; i++)
		key.k[i / 8] = key.k[i / 8] << 8 | bytes[i];
	return key;
}
#endif

/* The one value of the map `control`. */
struct unit_control {
	struct unit_key key;
	uint16_t self;	 /* this member's id */
	uint16_t master; /* not 0: takes what belongs to a unit without owner */
	uint16_t reserved[2];
};

/* The value of the map `networks`, whose key is the interface's index. */
struct unit_network {
	uint8_t cluster_mac[6];
	uint8_t own_mac[6];
	uint8_t outside;    /* not 0: nothing of a session comes from there in clear */
	uint8_t forwarding; /* not 0: other members' frames come here, to be passed on */
	uint8_t reserved[2];
};

/*
 * The key of the map `guards`; the value is 1: from this source (as struct unit_ip has it),
 * packets of this protocol to this port of a cluster address come in ESP only. 0: any port,
 * or any protocol.
 */
struct unit_guard {
	uint64_t high, low;
	uint16_t port;
	uint8_t protocol;
	uint8_t reserved[5];
};

/* The key of the map `places`; the value is that member's MAC there. */
struct unit_place {
	uint32_t ifindex;
	uint16_t member;
	uint16_t reserved;
};

struct unit_mac {
	uint8_t bytes[6];
	uint8_t reserved[2];
};

/* The key of the map `members`: a member's MAC, behind the interface; the value is 1. */
struct unit_member {
	uint32_t ifindex;
	struct unit_mac mac;
};

/* The keys of the maps `routes` and `routes6`; the value (uint32_t) is a unit or one of
 * UNIT_ROUTE_, perhaps with UNIT_ROUTE_WIDE. */
struct unit_route_key {
	uint32_t prefixlen;
	uint8_t address[4];
};

struct unit_route6_key {
	uint32_t prefixlen;
	uint8_t address[16];
};

/* An address as a number: that of IPv4 stands in `low` alone. */
struct unit_ip {
	uint64_t high, low;
};

#ifdef __bpf__
#define UNIT_INLINE static inline __attribute__((always_inline, unused))
#else
#define UNIT_INLINE static inline __attribute__((unused))
#endif

#define UNIT_ROTL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define UNIT_SIPROUND(v0, v1, v2, v3)                                                    \
	do {                                                                             \
		v0 += v1;                                                                \
		v1 = UNIT_ROTL(v1, 13) ^ v0;                                             \
		v0 = UNIT_ROTL(v0, 32);                                                  \
		v2 += v3;                                                                \
		v3 = UNIT_ROTL(v3, 16) ^ v2;                                             \
		v0 += v3;                                                                \
		v3 = UNIT_ROTL(v3, 21) ^ v0;                                             \
		v2 += v1;                                                                \
		v1 = UNIT_ROTL(v1, 17) ^ v2;                                             \
		v2 = UNIT_ROTL(v2, 32);                                                  \
	} while (0)

/*
 * SipHash-1-3 of exactly 16 bytes (`high` is the first word), cut to a unit. Without the
 * key nobody can aim traffic at one unit. An IPv4 input is `high` = 0.
 */
UNIT_INLINE uint16_t unit_fold(const struct unit_key *key, uint64_t high, uint64_t low)
{
	uint64_t v0 = key->k[0] ^ 0x736f6d6570736575ULL;
	uint64_t v1 = key->k[1] ^ 0x646f72616e646f6dULL;
	uint64_t v2 = key->k[0] ^ 0x6c7967656e657261ULL;
	uint64_t v3 = key->k[1] ^ 0x7465646279746573ULL;
	const uint64_t last = (uint64_t)16 << 56;

	v3 ^= high;
	UNIT_SIPROUND(v0, v1, v2, v3);
	v0 ^= high;
	v3 ^= low;
	UNIT_SIPROUND(v0, v1, v2, v3);
	v0 ^= low;
	v3 ^= last;
	UNIT_SIPROUND(v0, v1, v2, v3);
	v0 ^= last;
	v2 ^= 0xff;
	UNIT_SIPROUND(v0, v1, v2, v3);
	UNIT_SIPROUND(v0, v1, v2, v3);
	UNIT_SIPROUND(v0, v1, v2, v3);
	v0 ^= v1 ^ v2 ^ v3;
	return (uint16_t)((v0 ^ v0 >> 32) & UNIT_MASK);
}

UNIT_INLINE struct unit_ip unit_ipv4(uint32_t address)
{
	struct unit_ip ip = { 0, address };
	return ip;
}

/* A peer's first IKEv2 message: it has no SPI of ours yet. SPI in host byte order. */
UNIT_INLINE uint16_t unit_ike_first(const struct unit_key *key, uint64_t spi_i,
				    struct unit_ip source)
{
	return unit_fold(key, source.high, spi_i ^ source.low);
}

/* A peer's first IKEv1 message. */
UNIT_INLINE uint16_t unit_address(const struct unit_key *key, struct unit_ip source)
{
	return unit_fold(key, source.high, source.low);
}

/* TCP and UDP to a cluster address: by the far end. */
UNIT_INLINE uint16_t unit_endpoint(const struct unit_key *key, struct unit_ip source,
				   uint16_t port)
{
	return unit_fold(key, source.high, source.low ^ port);
}

/* Everything without ports. Symmetric, so that both directions meet one member. */
UNIT_INLINE uint16_t unit_pair(const struct unit_key *key, struct unit_ip a,
			       struct unit_ip b)
{
	return unit_fold(key, a.high ^ b.high, a.low ^ b.low);
}

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

UNIT_INLINE struct unit_ip unit_ipv6(const uint8_t address[16])
{
	struct unit_ip ip = { unit_be64(address), unit_be64(address + 8) };
	return ip;
}

#endif
