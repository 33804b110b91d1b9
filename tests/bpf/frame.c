/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bpf/frame.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static void put_address(uint8_t *p, const char *text)
{
	if (inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, p) != 1)
		abort();
}

static void put_checksum(uint8_t *ip, size_t header)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < header; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, (uint16_t)~sum);
}

static void build_ipv4(const struct frame_spec *s, uint8_t *p, size_t header)
{
	size_t total = header + s->body_len;

	p[0] = s->first_byte ? s->first_byte : (uint8_t)(0x40 | header / 4);
	put16(p + 2, s->total ? s->total : (uint16_t)total);
	put16(p + 6, s->fragment);
	p[8] = 64;
	p[9] = s->protocol;
	put_address(p + 12, s->source ? s->source : "198.51.100.7");
	put_address(p + 16, s->to ? s->to : "192.0.2.1");
	memset(p + 20, 1, s->options); /* no operation */
	put_checksum(p, header);
}

static void build_ipv6(const struct frame_spec *s, uint8_t *p)
{
	p[0] = s->first_byte ? s->first_byte : 0x60;
	put16(p + 4, s->total ? s->total : (uint16_t)s->body_len);
	p[6] = s->protocol;
	p[7] = 64;
	put_address(p + 8, s->source ? s->source : "2001:db8:1::7");
	put_address(p + 24, s->to ? s->to : "2001:db8::1");
}

size_t frame_build(const struct frame_spec *s, uint8_t out[FRAME_MAX])
{
	size_t header = s->version == 6 ? 40 : 20u + s->options;
	size_t total = header + s->body_len;
	uint16_t type = s->version == 6 ? 0x86dd : 0x0800;
	uint8_t *p = out;

	memset(out, 0, FRAME_MAX);
	if (total > 400 || s->padding > 60)
		abort();
	memcpy(p, s->mac ? s->mac : FRAME_CLUSTER_MAC, 6);
	memcpy(p + 6, "\x02\x00\x00\x00\x00\x42", 6);
	p += 12;
	if (s->tag) {
		memcpy(p, s->tag, 4);
		p += 4;
	}
	p = put16(p, s->ethertype ? s->ethertype : type);
	if (s->version == 6)
		build_ipv6(s, p);
	else
		build_ipv4(s, p, header);
	if (s->body_len)
		memcpy(p + header, s->body, s->body_len);
	return (size_t)(p - out) + total + s->padding;
}
