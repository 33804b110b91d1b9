/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The suites of ESP, with keys for each, and what OpenSSL alone makes of them. */
#ifndef TESTS_UNIT_SUITE_H
#define TESTS_UNIT_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnels/ipsec/esp.h"

#define SPI UINT32_C(0xc0ffee01)
#define PACKET_MAX 2048

struct suite {
	const char *name;
	uint16_t enc, integ;
	size_t enc_key_len, integ_key_len, align, iv_len, icv_len;
	const char *cipher, *digest; /* of OpenSSL */
	bool esn;
};

extern const struct suite suites[]; /* each without and with extended numbers */
extern const size_t suite_count;
extern const uint8_t suite_key[36], suite_integ[64];

/* What a sequence number of a test has above its 32 bits. */
#define HIGH(s) ((s)->esn ? UINT64_C(0x0badcafe) << 32 : 0)

/* The test fails if there is none. */
const struct suite *suite_named(const char *name, bool esn);
/* With the keys above, or others. The caller frees it. */
struct esp_cipher *suite_cipher(const struct suite *s);
struct esp_cipher *suite_cipher_with(const struct suite *s, const uint8_t *key,
				     const uint8_t *integ);

/* HMAC from its definition (RFC 2104), so that the engine's is not its own judge. The key
 * is as long as the digest. */
void suite_hmac(const char *digest, const uint8_t *key, const uint8_t *from, size_t len,
		uint8_t *mac);
/* Of a packet, and of the number's upper half if it is extended. */
void suite_icv(const struct suite *s, uint64_t seq, const uint8_t *packet, size_t len,
	       uint8_t *icv);

/* Some bytes, others for each seed. */
void suite_fill(uint8_t *at, size_t len, unsigned int seed);

#endif
