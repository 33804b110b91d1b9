/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "tunnels/ip.h"

#define HEADER4 20
#define HEADER6 40
#define HOPS 64
#define EXTENSIONS_MAX 6 /* as the filter */
#define EXTENSION_LEN 8
#define FRAGMENT_MAX 9600

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_be16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static int read4(const uint8_t *p, size_t len, struct ip_packet *out)
{
	size_t header = (size_t)(p[0] & 15) * 4, total = be16(p + 2);

	if (header < HEADER4 || total < header || total > len || (be16(p + 6) & 0x3fff))
		return -EINVAL;
	*out = (struct ip_packet){
		.family = 4,
		.protocol = p[9],
		.tos = p[1],
		.source = p + 12,
		.destination = p + 16,
		.body = p + header,
		.len = total - header,
	};
	return 0;
}

/* Hop-by-hop, routing, fragment and destination options. */
static bool is_extension(uint8_t protocol)
{
	return protocol == 0 || protocol == 43 || protocol == 44 || protocol == 60;
}

static int extension_skip(struct ip_packet *ip)
{
	const uint8_t *x = ip->body;
	bool fragment = ip->protocol == 44;
	size_t len;

	if (ip->len < EXTENSION_LEN || (fragment && (be16(x + 2) & 0xfff9)) ||
	    (ip->protocol == 43 && x[3]))
		return -EINVAL;
	len = fragment ? EXTENSION_LEN : ((size_t)x[1] + 1) * 8;
	if (len > ip->len)
		return -EINVAL;
	ip->protocol = x[0];
	ip->body += len;
	ip->len -= len;
	return 0;
}

static int read6(const uint8_t *p, size_t len, struct ip_packet *out)
{
	struct ip_packet ip = {
		.family = 6,
		.protocol = p[6],
		.tos = (uint8_t)(p[0] << 4 | p[1] >> 4),
		.source = p + 8,
		.destination = p + 24,
		.body = p + HEADER6,
		.len = be16(p + 4),
	};

	if (ip.len > len - HEADER6)
		return -EINVAL;
	for (unsigned i = 0; i < EXTENSIONS_MAX && is_extension(ip.protocol); i++)
		if (extension_skip(&ip))
			return -EINVAL;
	if (is_extension(ip.protocol))
		return -EINVAL;
	*out = ip;
	return 0;
}

int ip_read(const uint8_t *packet, size_t len, struct ip_packet *out)
{
	if (len >= HEADER4 && packet[0] >> 4 == 4)
		return read4(packet, len, out);
	if (len >= HEADER6 && packet[0] >> 4 == 6)
		return read6(packet, len, out);
	return -EINVAL;
}

size_t ip_overhead(uint8_t family, bool udp)
{
	size_t header = family == 4 ? HEADER4 : family == 6 ? HEADER6 : 0;

	return header && udp ? header + IP_UDP_HEADER : header;
}

static uint32_t sum16(const uint8_t *at, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += be16(at + i);
	return len & 1 ? sum + ((uint32_t)at[len - 1] << 8) : sum;
}

/* RFC 1071 over the pseudo header and the datagram: 0xffff if its checksum is right. */
static uint16_t udp_sum(uint8_t family, const uint8_t *source, const uint8_t *destination,
			const uint8_t *udp, size_t len)
{
	size_t size = family == 6 ? 16 : 4;
	uint32_t sum = IP_PROTOCOL_UDP + (uint32_t)len;

	sum = sum16(source, size, sum);
	sum = sum16(destination, size, sum);
	sum = sum16(udp, len, sum);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

bool ip_udp_intact(const struct ip_packet *ip, size_t len)
{
	if (ip->family == 4 && !be16(ip->body + 6))
		return true;
	return be16(ip->body + 6) &&
	       udp_sum(ip->family, ip->source, ip->destination, ip->body, len) == 0xffff;
}

static void write_udp(uint8_t *udp, const struct ip_end *source,
		      const struct ip_end *destination, size_t len)
{
	uint16_t sum;

	put_be16(udp, source->port);
	put_be16(udp + 2, destination->port);
	put_be16(udp + 4, len);
	put_be16(udp + 6, 0);
	if (source->family != 6)
		return;
	sum = (uint16_t)~udp_sum(6, source->address, destination->address, udp, len);
	put_be16(udp + 6, sum ? sum : 0xffff); /* zero would be none */
}

void ip_write(uint8_t *packet, uint8_t protocol, const struct ip_end *source,
	      const struct ip_end *destination, size_t len)
{
	size_t header = ip_overhead(source->family, false);

	if (protocol == IP_PROTOCOL_UDP) {
		len += IP_UDP_HEADER;
		write_udp(packet + header, source, destination, len);
	}
	memset(packet, 0, header);
	if (source->family == 6) {
		packet[0] = 0x60;
		put_be16(packet + 4, len);
		packet[6] = protocol;
		packet[7] = HOPS;
		memcpy(packet + 8, source->address, 16);
		memcpy(packet + 24, destination->address, 16);
	} else {
		packet[0] = 0x45;
		put_be16(packet + 2, header + len);
		packet[8] = HOPS;
		packet[9] = protocol;
		memcpy(packet + 12, source->address, 4);
		memcpy(packet + 16, destination->address, 4);
	}
}

void ip_mark(uint8_t *packet, uint8_t tos, bool whole)
{
	if (packet[0] >> 4 == 6) {
		packet[0] = (uint8_t)(0x60 | tos >> 4);
		packet[1] = (uint8_t)(tos << 4);
		return;
	}
	packet[1] = tos;
	if (whole)
		packet[6] |= 0x40;
}

void ip_fragment(const uint8_t *packet, size_t len, size_t mtu, uint32_t id,
		 void (*send)(void *ctx, const uint8_t *packet, size_t len), void *ctx)
{
	bool ipv6 = packet[0] >> 4 == 6;
	size_t header = ipv6 ? HEADER6 : HEADER4,
	       before = header + (ipv6 ? EXTENSION_LEN : 0);
	size_t least = ipv6 ? IP_MTU_LEAST6 : IP_MTU_LEAST4, most;
	uint8_t fragment[FRAGMENT_MAX];

	mtu = mtu < least ? least : mtu > sizeof(fragment) ? sizeof(fragment) : mtu;
	most = (mtu - before) / 8 * 8;
	for (size_t at = header; at < len; at += most) {
		size_t size = len - at < most ? len - at : most;
		size_t place = at - header;
		bool more = at + size < len;

		memcpy(fragment, packet, header);
		memcpy(fragment + before, packet + at, size);
		if (ipv6) {
			uint8_t *x = fragment + header;

			put_be16(fragment + 4, EXTENSION_LEN + size);
			fragment[6] = 44;
			x[0] = packet[6];
			x[1] = 0;
			put_be16(x + 2, place | more);
			put_be16(x + 4, id >> 16);
			put_be16(x + 6, id & 0xffff);
		} else {
			put_be16(fragment + 2, header + size);
			put_be16(fragment + 4, id & 0xffff);
			put_be16(fragment + 6, place / 8 | (more ? 0x2000 : 0));
		}
		send(ctx, fragment, before + size);
	}
}
