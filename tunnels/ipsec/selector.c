/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tunnels/ipsec/selector.h"

#include <errno.h>
#include <string.h>

#define HEADER4 20
#define HEADER6 40
#define EXTENSION_LEN 8
#define EXTENSIONS_MAX 8

#define HOP_BY_HOP 0
#define ICMP4 1
#define TCP 6
#define UDP 17
#define DCCP 33
#define ROUTING 43
#define FRAGMENT 44
#define ICMP6 58
#define DESTINATION_OPTIONS 60
#define SCTP 132

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void read_ports(const uint8_t *ip, struct selector_flow *f)
{
	const uint8_t *upper = ip + f->header;
	size_t left = f->total - f->header;

	if (f->fragment || left < 4)
		return;
	switch (f->protocol) {
	case TCP:
	case UDP:
	case DCCP:
	case SCTP:
		f->ports = true;
		f->source_port = be16(upper);
		f->destination_port = be16(upper + 2);
		break;
	case ICMP4:
	case ICMP6:
		f->ports = true;
		f->source_port = f->destination_port = be16(upper);
		break;
	}
}

static int read4(const uint8_t *ip, size_t len, struct selector_flow *f)
{
	f->family = 4;
	f->header = (size_t)(ip[0] & 15) * 4;
	f->total = be16(ip + 2);
	if (f->header < HEADER4 || f->total < f->header || f->total > len)
		return -EINVAL;
	f->source = ip + 12;
	f->destination = ip + 16;
	f->protocol = ip[9];
	f->fragment = be16(ip + 6) & 0x1fff;
	return 0;
}

static bool is_extension(uint8_t protocol)
{
	return protocol == HOP_BY_HOP || protocol == ROUTING || protocol == FRAGMENT ||
	       protocol == DESTINATION_OPTIONS;
}

static int read6(const uint8_t *ip, size_t len, struct selector_flow *f)
{
	f->family = 6;
	f->header = HEADER6;
	f->total = HEADER6 + (size_t)be16(ip + 4);
	if (f->total > len)
		return -EINVAL;
	f->source = ip + 8;
	f->destination = ip + 24;
	f->protocol = ip[6];
	for (unsigned i = 0; is_extension(f->protocol) && !f->fragment; i++) {
		const uint8_t *x = ip + f->header;
		size_t size = EXTENSION_LEN;

		if (i == EXTENSIONS_MAX || f->total - f->header < EXTENSION_LEN)
			return -EINVAL;
		if (f->protocol == FRAGMENT)
			f->fragment = be16(x + 2) & 0xfff8;
		else
			size *= (size_t)x[1] + 1;
		if (size > f->total - f->header)
			return -EINVAL;
		f->protocol = x[0];
		f->header += size;
	}
	return 0;
}

int selector_read(const uint8_t *ip, size_t len, struct selector_flow *out)
{
	struct selector_flow f = { 0 };
	int err = -EINVAL;

	if (len >= HEADER4 && ip[0] >> 4 == 4)
		err = read4(ip, len, &f);
	else if (len >= HEADER6 && ip[0] >> 4 == 6)
		err = read6(ip, len, &f);
	if (err)
		return err;
	read_ports(ip, &f);
	*out = f;
	return 0;
}

static bool takes_port(const struct local_ts *ts, bool ports, uint16_t port)
{
	if (ts->from_port == 0 && ts->to_port == 65535)
		return true;
	if (ts->from_port > ts->to_port)
		return !ports;
	return ports && port >= ts->from_port && port <= ts->to_port;
}

static bool takes(const struct local_ts *ts, const struct selector_flow *flow,
		  bool source)
{
	const uint8_t *address = source ? flow->source : flow->destination;
	uint16_t port = source ? flow->source_port : flow->destination_port;
	size_t size = flow->family == 4 ? 4 : 16;

	return ts->family == flow->family && memcmp(address, ts->from, size) >= 0 &&
	       memcmp(address, ts->to, size) <= 0 &&
	       (!ts->protocol || ts->protocol == flow->protocol) &&
	       takes_port(ts, flow->ports, port);
}

bool selector_match(const struct local_ts *ts, unsigned count,
		    const struct selector_flow *flow, bool source)
{
	for (unsigned i = 0; i < count; i++)
		if (takes(&ts[i], flow, source))
			return true;
	return false;
}

/* The bits that all addresses of it have in common. */
static unsigned common_bits(const struct local_ts *ts)
{
	unsigned size = ts->family == 4 ? 4 : 16, i = 0, bits;

	while (i < size && ts->from[i] == ts->to[i])
		i++;
	bits = i * 8;
	for (unsigned differ = i < size ? ts->from[i] ^ ts->to[i] : 0x80; differ < 0x80;
	     differ <<= 1)
		bits++;
	return bits;
}

/* The sum of two counts protocol and ports for less than a bit, too. */
static unsigned narrow(const struct local_ts *ts)
{
	bool ports = ts->from_port != 0 || ts->to_port != 65535;

	return 1 + common_bits(ts) * 8 + (ts->protocol ? 2 : 0) + ports;
}

unsigned selector_narrow(const struct local_ts *ts, unsigned count,
			 const struct selector_flow *flow, bool source)
{
	unsigned most = 0;

	for (unsigned i = 0; i < count; i++)
		if (takes(&ts[i], flow, source) && narrow(&ts[i]) > most)
			most = narrow(&ts[i]);
	return most;
}

/* The last address of the prefix with so many host bits that begins at `from`. */
static void last_of(const uint8_t *from, size_t size, unsigned bits, uint8_t *last)
{
	memcpy(last, from, size);
	for (unsigned i = 0; i < bits; i++)
		last[size - 1 - i / 8] |= (uint8_t)(1 << i % 8);
}

/* Host bits of the largest prefix that begins at `from` and does not go beyond `to`. */
static unsigned host_bits(const uint8_t *from, const uint8_t *to, size_t size)
{
	uint8_t last[16];
	unsigned bits = 0;

	while (bits < size * 8 && !(from[size - 1 - bits / 8] >> bits % 8 & 1)) {
		last_of(from, size, bits + 1, last);
		if (memcmp(last, to, size) > 0)
			break;
		bits++;
	}
	return bits;
}

/* False behind the last address of all. */
static bool increment(uint8_t *address, size_t size)
{
	while (size--)
		if (++address[size])
			return true;
	return false;
}

unsigned selector_prefixes(const struct local_ts *ts, struct selector_prefix *out,
			   unsigned max)
{
	size_t size = ts->family == 4 ? 4 : 16;
	uint8_t from[16];
	unsigned n = 0;

	memcpy(from, ts->from, size);
	while (n < max && memcmp(from, ts->to, size) <= 0) {
		unsigned bits = host_bits(from, ts->to, size);

		out[n] = (struct selector_prefix){
			.address.family = ts->family == 4 ? AF_INET : AF_INET6,
			.len = (uint8_t)(size * 8 - bits),
		};
		memcpy(out[n++].address.bytes, from, size);
		last_of(from, size, bits, from);
		if (!increment(from, size))
			break;
	}
	return n;
}
