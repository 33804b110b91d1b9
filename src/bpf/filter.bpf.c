/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter in the kernel: the same classification at two places.
 *
 * `ingress` (tc) decides what the kernel's stack sees. `receive` (socket) decides what
 * phalanxd's packet socket sees, which gets its copy of each frame before tc drops it.
 * classify.h is attachment-neutral: an XDP program needs an unit_load() of its own only.
 */
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "src/bpf/unit.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, UNIT_COUNT);
	__type(key, __u32);
	__type(value, uint16_t);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unit_control);
} control SEC(".maps");

/* CLOCK_MONOTONIC nanoseconds; its own map, so that a parent process can hold it alone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lease SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNIT_NETWORKS_MAX);
	__type(key, __u32);
	__type(value, struct unit_network);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNIT_ADDRESSES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNIT_ADDRESSES_MAX);
	__uint(key_size, 16);
	__type(value, __u32);
} addresses6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, UNIT_ROUTES_MAX);
	__type(key, struct unit_route_key);
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, UNIT_ROUTES_MAX);
	__type(key, struct unit_route6_key);
	__type(value, __u32);
} routes6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, UNIT_GUARDS_MAX);
	__type(key, struct unit_guard);
	__type(value, __u32);
} guards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNIT_PLACES_MAX);
	__type(key, struct unit_place);
	__type(value, struct unit_mac);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNIT_PLACES_MAX);
	__type(key, struct unit_member);
	__type(value, __u32);
} members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, UNIT_REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

UNIT_INLINE int unit_load(void *ctx, uint32_t offset, void *to, uint32_t len)
{
	return (int)bpf_skb_load_bytes(ctx, offset, to, len);
}

UNIT_INLINE uint32_t unit_length(void *ctx)
{
	return ((struct __sk_buff *)ctx)->len;
}

UNIT_INLINE int unit_tagged(void *ctx)
{
	struct __sk_buff *skb = ctx;
	return skb->vlan_present && (skb->vlan_tci & 0xfff);
}

UNIT_INLINE int unit_lease_valid(void *ctx)
{
	__u32 zero = 0;
	__u64 *until = bpf_map_lookup_elem(&lease, &zero);
	return until && bpf_ktime_get_ns() < *(volatile __u64 *)until;
}

UNIT_INLINE const struct unit_network *unit_network(void *ctx)
{
	__u32 ifindex = ((struct __sk_buff *)ctx)->ifindex;
	return bpf_map_lookup_elem(&networks, &ifindex);
}

UNIT_INLINE const struct unit_control *unit_control(void *ctx)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&control, &zero);
}

UNIT_INLINE uint16_t unit_owner(void *ctx, uint16_t unit)
{
	__u32 key = unit;
	uint16_t *owner = bpf_map_lookup_elem(&owners, &key);
	return owner ? *(volatile uint16_t *)owner : UNIT_NOBODY;
}

UNIT_INLINE const uint8_t *unit_place(void *ctx, uint16_t member)
{
	struct unit_place key = { .ifindex = ((struct __sk_buff *)ctx)->ifindex,
				  .member = member };
	struct unit_mac *mac = bpf_map_lookup_elem(&places, &key);
	return mac ? mac->bytes : 0;
}

UNIT_INLINE int unit_is_member(void *ctx, const uint8_t *mac)
{
	struct unit_member key = { .ifindex = ((struct __sk_buff *)ctx)->ifindex };
	__builtin_memcpy(key.mac.bytes, mac, sizeof(key.mac.bytes));
	return bpf_map_lookup_elem(&members, &key) != 0;
}

UNIT_INLINE int unit_is_cluster(void *ctx, const uint8_t *address)
{
	__u32 key;
	__builtin_memcpy(&key, address, sizeof(key));
	return bpf_map_lookup_elem(&addresses, &key) != 0;
}

UNIT_INLINE int unit_is_cluster6(void *ctx, const uint8_t *address)
{
	return bpf_map_lookup_elem(&addresses6, address) != 0;
}

UNIT_INLINE int unit_is_guarded(void *ctx, const struct unit_guard *guard)
{
	return bpf_map_lookup_elem(&guards, guard) != 0;
}

UNIT_INLINE int unit_route(void *ctx, const uint8_t *address)
{
	struct unit_route_key key = { .prefixlen = 32 };
	__builtin_memcpy(key.address, address, sizeof(key.address));
	__u32 *unit = bpf_map_lookup_elem(&routes, &key);
	return unit ? (int)*unit : -1;
}

UNIT_INLINE int unit_route6(void *ctx, const uint8_t *address)
{
	struct unit_route6_key key = { .prefixlen = 128 };
	__builtin_memcpy(key.address, address, sizeof(key.address));
	__u32 *unit = bpf_map_lookup_elem(&routes6, &key);
	return unit ? (int)*unit : -1;
}

#include "src/bpf/classify.h"

static __always_inline void count(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &reason);
	if (n)
		(*n)++;
}

/* The source MAC changes, too, else a switch would learn the router on our port. */
static __always_inline int forward(struct __sk_buff *skb, __u16 unit)
{
	const struct unit_network *network = unit_network(skb);
	const uint8_t *to = unit_place(skb, unit_owner(skb, unit));
	uint8_t macs[12];

	if (!network || !to)
		return TC_ACT_SHOT;
	__builtin_memcpy(macs, to, 6);
	__builtin_memcpy(macs + 6, network->own_mac, 6);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return TC_ACT_SHOT;
	return (int)bpf_redirect(skb->ifindex, 0);
}

/*
 * Frames that are not dropped go on to whatever other tc filters stand behind this one.
 * cb[0] tells them what was found, and the tests read it: verdict, reason and unit.
 */
SEC("tc")
int ingress(struct __sk_buff *skb)
{
	struct unit_result r = unit_classify(skb);

	count(r.reason);
	skb->cb[0] = (__u32)r.verdict << 24 | (__u32)r.reason << 16 | r.unit;
	switch (r.verdict) {
	case UNIT_PASS:
		return TC_ACT_UNSPEC;
	case UNIT_HOST:
		/* The stack takes a TCP segment only if the frame came to its own MAC. */
		if (skb->pkt_type != PACKET_HOST)
			bpf_skb_change_type(skb, PACKET_HOST);
		return TC_ACT_UNSPEC;
	case UNIT_DAEMON:
		return TC_ACT_STOLEN;
	case UNIT_FORWARD:
		return forward(skb, r.unit);
	default:
		return TC_ACT_SHOT;
	}
}

SEC("socket")
int receive(struct __sk_buff *skb)
{
	if (skb->pkt_type == PACKET_OUTGOING || skb->pkt_type == PACKET_LOOPBACK)
		return 0;
	return unit_classify(skb).verdict == UNIT_DAEMON ? (int)skb->len : 0;
}

char LICENSE[] SEC("license") = "GPL";
