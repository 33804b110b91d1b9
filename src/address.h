/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An IP address of either family, without port.
 */
#ifndef SRC_ADDRESS_H
#define SRC_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
	int family;	   /* AF_INET, AF_INET6; 0: none */
	uint8_t bytes[16]; /* network order; those that IPv4 does not use are zero */
};

/* The addresses that begin with the first `len` bits of `first`, whose others are zero. */
struct address_block {
	struct address first;
	unsigned len;
};

#define ADDRESS_TEXT_MAX INET6_ADDRSTRLEN

/* Bytes of an address: 4, 16, or 0 if there is no such family. */
static inline size_t address_size(int family)
{
	return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

struct address address_ipv4(struct in_addr a);
/* -EINVAL unless `text` is an address, in the form of either family. */
int address_parse(const char *text, struct address *out);
/* Returns `buf`; "none" for an address without family. */
const char *address_print(const struct address *a, char buf[ADDRESS_TEXT_MAX]);
bool address_same(const struct address *a, const struct address *b);
/* The first address of the prefix that holds `a`. -EINVAL: no family, or too long. */
int address_prefix(const struct address *a, unsigned len, struct address *out);
/* "10.9.0.0/16" or "2001:db8::/32"; without "/" all bits count. -EINVAL, also if bits behind
 * the length are set. */
int address_block_parse(const char *text, struct address_block *out);
bool address_block_same(const struct address_block *a, const struct address_block *b);
#define ADDRESS_BLOCK_TEXT_MAX (ADDRESS_TEXT_MAX + 4)
const char *address_block_print(const struct address_block *b,
				char buf[ADDRESS_BLOCK_TEXT_MAX]);
/* Whether it may be the address of one machine, valid beyond a single link: no group, no
 * loopback, nor link-local, nor IPv4 written in IPv6. */
bool address_is_unicast(const struct address *a);

#endif
