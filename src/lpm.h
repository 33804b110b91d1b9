/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Longest-prefix match: a binary trie over address bits, for the filter's userspace twin.
 * Works for any address length; one table holds addresses of one family.
 */
#ifndef SRC_LPM_H
#define SRC_LPM_H

#include <stdint.h>

#define LPM_BITS_MAX 128

struct lpm;

/* `bits` is the length of an address, at most LPM_BITS_MAX. NULL: out of memory. */
struct lpm *lpm_new(unsigned bits);
void lpm_free(struct lpm *t); /* takes NULL */

/* Addresses in network byte order; bits behind the prefix are ignored. `value` >= 0. */
int lpm_add(struct lpm *t, const uint8_t *address, unsigned prefixlen, int value);
int lpm_del(struct lpm *t, const uint8_t *address, unsigned prefixlen);
/* The value of the longest prefix that covers the address, or -1. */
int lpm_find(const struct lpm *t, const uint8_t *address);

#endif
