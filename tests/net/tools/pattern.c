/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/net/tools/pattern.h"

#include <string.h>

#define WORD 8

/* splitmix64, of which any element can be computed at once. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
	uint64_t x = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len)
{
	while (len > 0) {
		size_t skip = (size_t)(offset % WORD), n = WORD - skip;
		uint64_t v = word_at(seed, offset / WORD);

		n = n < len ? n : len;
		for (size_t i = 0; i < n; i++)
			out[i] = (uint8_t)(v >> 8 * (skip + i));
		out += n;
		offset += n;
		len -= n;
	}
}

size_t pattern_match(uint64_t seed, uint64_t offset, const uint8_t *bytes, size_t len)
{
	uint8_t want[1024];
	size_t done = 0;

	while (done < len) {
		size_t n = len - done < sizeof(want) ? len - done : sizeof(want);

		pattern_fill(seed, offset + done, want, n);
		if (memcmp(bytes + done, want, n) != 0) {
			while (bytes[done] == want[done % sizeof(want)])
				done++;
			return done;
		}
		done += n;
	}
	return len;
}
