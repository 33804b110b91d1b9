/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/net/tools/espframe.h"

#include <string.h>

#include "cluster/pack.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define PROTOCOL_UDP 17
#define PROTOCOL_ESP 50
#define PORT_NAT_T 4500
#define IPV4_HEADER_MIN 20
#define UDP_HEADER 8
#define OFFSET_MASK 0x1fff
/* SPI, sequence number and the 8 bytes that are taken for the IV. */
#define ESP_MIN 16

struct ip {
	uint8_t protocol;
	uint16_t offset;
	size_t len; /* of the payload, as the header says */
	struct address src, dst;
};

static void read_address(struct unpack *u, int family, struct address *out)
{
	const uint8_t *bytes = unpack_raw(u, address_size(family));

	*out = (struct address){ .family = family };
	if (bytes)
		memcpy(out->bytes, bytes, address_size(family));
}

static bool read_ipv4(struct unpack *u, struct ip *ip)
{
	uint8_t version = unpack_u8(u);
	size_t header = (size_t)(version & 15) * 4, total;

	unpack_u8(u);
	total = unpack_u16(u);
	unpack_u16(u);
	ip->offset = unpack_u16(u) & OFFSET_MASK;
	unpack_u8(u);
	ip->protocol = unpack_u8(u);
	unpack_u16(u);
	read_address(u, AF_INET, &ip->src);
	read_address(u, AF_INET, &ip->dst);
	if (u->bad || version >> 4 != 4 || header < IPV4_HEADER_MIN || total < header)
		return false;
	ip->len = total - header;
	return header == IPV4_HEADER_MIN ||
	       unpack_raw(u, header - IPV4_HEADER_MIN) != NULL;
}

/* The cluster sends no extension headers, nor do its clients. */
static bool read_ipv6(struct unpack *u, struct ip *ip)
{
	uint32_t first = unpack_u32(u);

	ip->offset = 0;
	ip->len = unpack_u16(u);
	ip->protocol = unpack_u8(u);
	unpack_u8(u);
	read_address(u, AF_INET6, &ip->src);
	read_address(u, AF_INET6, &ip->dst);
	return !u->bad && first >> 28 == 6;
}

static bool read_ip(struct unpack *u, uint16_t type, struct ip *ip)
{
	if (type == ETHERTYPE_IPV4)
		return read_ipv4(u, ip);
	return type == ETHERTYPE_IPV6 && read_ipv6(u, ip);
}

/* ESP in UDP, with its length in *len; the cursor then stands at the SPI. */
static bool read_udp(struct unpack *u, size_t *len)
{
	uint16_t from = unpack_u16(u), to = unpack_u16(u);
	size_t udp_len = unpack_u16(u);

	unpack_u16(u);
	if (u->bad || (from != PORT_NAT_T && to != PORT_NAT_T))
		return false;
	/* Of a fragmented datagram only what the first fragment holds. */
	if (udp_len > *len)
		udp_len = *len;
	if (udp_len < UDP_HEADER + ESP_MIN)
		return false;
	*len = udp_len - UDP_HEADER;
	return true;
}

enum espframe_kind espframe_parse(const uint8_t *frame, size_t len, struct espframe *out)
{
	struct unpack u = unpack_from(frame, len);
	struct ip ip;
	uint16_t type;

	unpack_raw(&u, 2 * ESPFRAME_MAC_LEN);
	type = unpack_u16(&u);
	if (type == ETHERTYPE_VLAN) {
		unpack_u16(&u);
		type = unpack_u16(&u);
	}
	if (u.bad || !read_ip(&u, type, &ip))
		return ESPFRAME_NONE;
	out->src = ip.src;
	out->dst = ip.dst;
	if (ip.offset != 0)
		return ip.protocol == PROTOCOL_ESP ? ESPFRAME_FRAGMENT : ESPFRAME_NONE;
	if (ip.protocol == PROTOCOL_UDP) {
		if (!read_udp(&u, &ip.len))
			return ESPFRAME_NONE;
	} else if (ip.protocol != PROTOCOL_ESP || ip.len < ESP_MIN) {
		return ESPFRAME_NONE;
	}
	out->esp = u.at;
	out->len = ip.len;
	out->spi = unpack_u32(&u);
	out->seq = unpack_u32(&u);
	out->iv = unpack_u64(&u);
	if (!u.bad && out->spi == 0)
		return ESPFRAME_NONE;
	if (u.bad || unpack_left(&u) < ip.len - ESP_MIN)
		return ESPFRAME_TRUNCATED;
	return ESPFRAME_ESP;
}
