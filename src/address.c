/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct address address_ipv4(struct in_addr a)
{
	struct address out = { .family = AF_INET };

	memcpy(out.bytes, &a, sizeof(a));
	return out;
}

int address_parse(const char *text, struct address *out)
{
	struct address a = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	if (inet_pton(a.family, text, a.bytes) != 1)
		return -EINVAL;
	*out = a;
	return 0;
}

const char *address_print(const struct address *a, char buf[ADDRESS_TEXT_MAX])
{
	if (!inet_ntop(a->family, a->bytes, buf, ADDRESS_TEXT_MAX))
		snprintf(buf, ADDRESS_TEXT_MAX, "none");
	return buf;
}

bool address_same(const struct address *a, const struct address *b)
{
	return a->family == b->family &&
	       !memcmp(a->bytes, b->bytes, address_size(a->family));
}

static bool is_unicast6(const uint8_t *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, none[12];

	return a[0] != 0xff && !(a[0] == 0xfe && (a[1] & 0xc0) == 0x80) &&
	       memcmp(a, none, sizeof(none)) && memcmp(a, mapped, sizeof(mapped));
}

bool address_is_unicast(const struct address *a)
{
	if (a->family == AF_INET6)
		return is_unicast6(a->bytes);
	return a->family == AF_INET && a->bytes[0] && a->bytes[0] != 127 &&
	       a->bytes[0] < 224;
}

int address_prefix(const struct address *a, unsigned len, struct address *out)
{
	size_t size = address_size(a->family);
	struct address prefix = { .family = a->family };

	if (!size || len > size * 8)
		return -EINVAL;
	memcpy(prefix.bytes, a->bytes, (len + 7) / 8);
	if (len % 8)
		prefix.bytes[len / 8] &= (uint8_t)(0xff00 >> len % 8);
	*out = prefix;
	return 0;
}

int address_block_parse(const char *text, struct address_block *out)
{
	struct address_block b;
	struct address first;
	char address[ADDRESS_TEXT_MAX];
	size_t n = strcspn(text, "/");

	if (n >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, n);
	address[n] = '\0';
	if (address_parse(address, &b.first))
		return -EINVAL;
	b.len = 8 * (unsigned)address_size(b.first.family);
	if (text[n]) {
		char *end;
		unsigned long len = strtoul(text + n + 1, &end, 10);

		if (text[n + 1] < '0' || text[n + 1] > '9' || *end || len > b.len)
			return -EINVAL;
		b.len = (unsigned)len;
	}
	if (address_prefix(&b.first, b.len, &first) || !address_same(&first, &b.first))
		return -EINVAL;
	*out = b;
	return 0;
}

bool address_block_same(const struct address_block *a, const struct address_block *b)
{
	return a->len == b->len && address_same(&a->first, &b->first);
}

const char *address_block_print(const struct address_block *b,
				char buf[ADDRESS_BLOCK_TEXT_MAX])
{
	char address[ADDRESS_TEXT_MAX];

	snprintf(buf, ADDRESS_BLOCK_TEXT_MAX, "%s/%u", address_print(&b->first, address),
		 b->len);
	return buf;
}
