/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tunnels/ipsec/inner.h"

#include <string.h>

#define HEADER4 20
#define HEADER6 40
#define HOPS 64

#define ICMP4 1
#define TCP 6
#define UDP 17
#define ICMP6 58

#define ECN_MASK 3
#define ECN_NONE 0
#define ECN_ECT1 1
#define ECN_CE 3

#define ICMP_HEADER 8
#define ICMP4_UNREACHABLE 3
#define ICMP4_TOO_BIG 4 /* its code */
#define ICMP4_QUOTE 548 /* so that the whole has no more than 576 (RFC 1812 4.3.2.3) */
#define ICMP6_TOO_BIG 2

#define TCP_HEADER 20
#define TCP_SYN 2
#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_OPTION_MSS_LEN 4

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_be16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static uint32_t add(const uint8_t *at, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += be16(at + i);
	return len & 1 ? sum + ((uint32_t)at[len - 1] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* RFC 1624, equation 3. */
void inner_adjust(uint8_t *checksum, uint16_t was, uint16_t is)
{
	uint32_t sum = (uint16_t)~be16(checksum) + (uint32_t)(uint16_t)~was + is;

	put_be16(checksum, fold(sum));
}

static bool is_v4(const uint8_t *ip)
{
	return ip[0] >> 4 == 4;
}

uint8_t inner_tos(const uint8_t *ip)
{
	return is_v4(ip) ? ip[1] : (uint8_t)(ip[0] << 4 | ip[1] >> 4);
}

static void set_tos(uint8_t *ip, uint8_t tos)
{
	uint16_t was = be16(ip);

	if (tos == inner_tos(ip))
		return;
	if (is_v4(ip)) {
		ip[1] = tos;
		inner_adjust(ip + 10, was, be16(ip));
	} else {
		ip[0] = (uint8_t)(0x60 | tos >> 4);
		ip[1] = (uint8_t)(tos << 4 | (ip[1] & 15));
	}
}

uint8_t inner_encapsulate(const uint8_t *ip, uint8_t copy)
{
	uint8_t tos = inner_tos(ip), mask = 0;

	if (copy & LOCAL_COPY_ECN)
		mask |= ECN_MASK;
	if (copy & LOCAL_COPY_DSCP_OUT)
		mask |= (uint8_t)~ECN_MASK;
	return tos & mask;
}

/* RFC 6040, figure 4. */
static int combine(uint8_t inner, uint8_t outer)
{
	if (outer == ECN_CE)
		return inner == ECN_NONE ? -1 : ECN_CE;
	if (inner == ECN_NONE || inner == ECN_CE || outer != ECN_ECT1)
		return inner;
	return ECN_ECT1;
}

bool inner_decapsulate(uint8_t *ip, uint8_t outer, uint8_t copy)
{
	uint8_t tos = inner_tos(ip);
	int ecn = tos & ECN_MASK;

	if (copy & LOCAL_COPY_ECN)
		ecn = combine(tos & ECN_MASK, outer & ECN_MASK);
	if (ecn < 0)
		return false;
	if (copy & LOCAL_COPY_DSCP_IN)
		tos = outer;
	set_tos(ip, (uint8_t)((tos & ~ECN_MASK) | ecn));
	return true;
}

void inner_clamp_mss(uint8_t *ip, const struct selector_flow *f, uint16_t mss)
{
	uint8_t *tcp = ip + f->header, *end, *at;

	if (f->protocol != TCP || f->fragment || f->total - f->header < TCP_HEADER ||
	    !(tcp[13] & TCP_SYN))
		return;
	end = tcp + (size_t)(tcp[12] >> 4) * 4;
	if (end > ip + f->total)
		return;
	at = tcp + TCP_HEADER;
	while (at < end && *at != TCP_OPTION_END) {
		if (*at == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		if (end - at < 2 || at[1] < 2 || at[1] > end - at)
			return;
		if (at[0] == TCP_OPTION_MSS && at[1] == TCP_OPTION_MSS_LEN) {
			uint16_t was = be16(at + 2);

			if (was <= mss)
				return;
			put_be16(at + 2, mss);
			/* An option that begins at an odd place lies across two words: then
			 * the bytes of its words are the other way round. */
			if ((at - tcp) & 1)
				inner_adjust(tcp + 16, (uint16_t)(was << 8 | was >> 8),
					     (uint16_t)(mss << 8 | mss >> 8));
			else
				inner_adjust(tcp + 16, was, mss);
			return;
		}
		at += at[1];
	}
}

bool inner_whole(const uint8_t *ip)
{
	return !is_v4(ip) || ip[6] & 0x40;
}

/* ICMP that is not an inquiry, nor the answer to one. */
static bool is_error(const uint8_t *ip, const struct selector_flow *f)
{
	uint8_t type;

	if (f->total <= f->header)
		return false;
	type = ip[f->header];
	if (f->family == 6)
		return f->protocol == ICMP6 && type < 128;
	return f->protocol == ICMP4 &&
	       (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

/* Whether one machine has this address: RFC 1122 3.2.2 and RFC 4443 2.4. */
static bool is_one(uint8_t family, const uint8_t *a)
{
	static const uint8_t none[16];

	if (family == 6)
		return a[0] != 0xff && memcmp(a, none, sizeof(none)) != 0;
	return a[0] != 0 && a[0] != 127 && a[0] < 224;
}

/* A sum over what TCP, UDP and ICMPv6 count beside their own bytes. */
static uint32_t pseudo(const struct selector_flow *f, uint8_t protocol, size_t len)
{
	size_t size = f->family == 4 ? 4 : 16;

	return add(f->source, size,
		   add(f->destination, size, (uint32_t)protocol + (uint32_t)len));
}

size_t inner_too_big(const uint8_t *ip, const struct selector_flow *f, unsigned mtu,
		     uint8_t *out)
{
	size_t header = f->family == 4 ? HEADER4 : HEADER6;
	size_t most =
	    f->family == 4 ? ICMP4_QUOTE : INNER_ERROR_MAX - HEADER6 - ICMP_HEADER;
	size_t quoted = f->total < most ? f->total : most;
	uint8_t *icmp = out + header;

	if (f->fragment || is_error(ip, f) || !is_one(f->family, f->source) ||
	    !is_one(f->family, f->destination))
		return 0;
	inner_header(out, f->family, f->family == 4 ? ICMP4 : ICMP6, 0, f->destination,
		     f->source, ICMP_HEADER + quoted);
	memset(icmp, 0, ICMP_HEADER);
	memcpy(icmp + ICMP_HEADER, ip, quoted);
	put_be16(icmp + 6, mtu);
	if (f->family == 4) {
		icmp[0] = ICMP4_UNREACHABLE;
		icmp[1] = ICMP4_TOO_BIG;
		put_be16(icmp + 2, fold(add(icmp, ICMP_HEADER + quoted, 0)));
	} else {
		icmp[0] = ICMP6_TOO_BIG;
		/* The same two addresses, the other way round. */
		put_be16(icmp + 2, fold(add(icmp, ICMP_HEADER + quoted,
					    pseudo(f, ICMP6, ICMP_HEADER + quoted))));
	}
	return header + ICMP_HEADER + quoted;
}

void inner_header(uint8_t *ip, uint8_t family, uint8_t protocol, uint8_t tos,
		  const uint8_t *source, const uint8_t *destination, size_t len)
{
	if (family == 4) {
		memset(ip, 0, HEADER4);
		ip[0] = 0x45;
		ip[1] = tos;
		put_be16(ip + 2, HEADER4 + len);
		ip[6] = 0x40; /* it needs no identification then (RFC 6864) */
		ip[8] = HOPS;
		ip[9] = protocol;
		memcpy(ip + 12, source, 4);
		memcpy(ip + 16, destination, 4);
		put_be16(ip + 10, fold(add(ip, HEADER4, 0)));
		return;
	}
	memset(ip, 0, HEADER6);
	ip[0] = (uint8_t)(0x60 | tos >> 4);
	ip[1] = (uint8_t)(tos << 4);
	put_be16(ip + 4, len);
	ip[6] = protocol;
	ip[7] = HOPS;
	memcpy(ip + 8, source, 16);
	memcpy(ip + 24, destination, 16);
}

void inner_checksum(uint8_t *ip, const struct selector_flow *f)
{
	size_t len = f->total - f->header;
	uint8_t *upper = ip + f->header, *at = upper + (f->protocol == TCP ? 16 : 6);
	uint16_t sum;

	if (f->fragment || (f->protocol != TCP && f->protocol != UDP) ||
	    len < (f->protocol == TCP ? TCP_HEADER : 8))
		return;
	if (f->protocol == UDP && f->family == 4 && !be16(at))
		return; /* it has none */
	put_be16(at, 0);
	sum = fold(add(upper, len, pseudo(f, f->protocol, len)));
	put_be16(at, f->protocol == UDP && !sum ? 0xffff : sum);
}
