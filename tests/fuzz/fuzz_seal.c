/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens datagrams that nobody with the key has sealed, and sealed ones that were tampered
 * with. The input: where to tamper (16 bits), with what (8 bits, 0: not at all), the rest.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static void must(bool condition)
{
	if (!condition)
		abort();
}

/* The rest as it is: nothing of it opens. */
static void open_foreign(struct seal_ring *ring, const uint8_t *rest, size_t len)
{
	uint8_t plain[2048];
	unsigned slot;

	must(seal_open(ring, rest, len, plain, sizeof(plain), &slot) < 0);
	must(seal_ring_counters(ring)->opened == 0);
}

/* The rest as the text of a sealed datagram: opens once, unless it was changed. */
static void open_tampered(struct seal_ring *ring, struct seal_sender *sender,
			  size_t where, uint8_t change, const uint8_t *rest, size_t len)
{
	uint8_t plain[2048], sealed[2048];
	unsigned slot = 99;
	ssize_t n = seal_datagram(sender, rest, len, sealed, sizeof(sealed));

	must((n < 0) == (len > sizeof(sealed) - SEAL_OVERHEAD));
	if (n < 0)
		return;
	sealed[where % (size_t)n] ^= change;
	ssize_t m = seal_open(ring, sealed, (size_t)n, plain, sizeof(plain), &slot);
	must((m < 0) == (change != 0));
	if (m < 0)
		return;
	must((size_t)m == len && slot == 7 &&
	     (len == 0 || memcmp(plain, rest, len) == 0));
	must(seal_open(ring, sealed, (size_t)n, plain, sizeof(plain), &slot) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	/* The key id is "here", so that a fuzzer comes as far as the tag. */
	const struct seal_key key = {
		"32 bytes of key, 12 of nonce; the key id is.here"
	};
	struct seal_sender *sender = seal_sender_new(&key);
	struct seal_ring *ring = seal_ring_new();

	must(sender && ring && seal_ring_add(ring, 7, &key) == 0);
	if (len >= 3) {
		size_t where = (size_t)input[0] << 8 | input[1];
		open_foreign(ring, input + 3, len - 3);
		open_tampered(ring, sender, where, input[2], input + 3, len - 3);
	}
	seal_sender_free(sender);
	seal_ring_free(ring);
	return 0;
}
