/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes that both ends of a transfer know: a function of seed and offset, so that either
 * end can check any part, and no two parts are alike.
 */
#ifndef TESTS_NET_TOOLS_PATTERN_H
#define TESTS_NET_TOOLS_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* Writes the bytes [offset, offset + len). */
void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len);
/* The number of leading bytes that are right; len if all are. */
size_t pattern_match(uint64_t seed, uint64_t offset, const uint8_t *bytes, size_t len);

#endif
