/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a packet, as a payload, and as a change to a sealed packet. The first byte
 * of the input chooses the cipher and which of the three it is.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/esp.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define CIPHERS 32

static struct esp_cipher *cipher_number(unsigned int n)
{
	static const uint8_t key[64] = "a key for the fuzzer and no one else";
	static struct esp_cipher *made[CIPHERS];
	static const struct esp_algorithms all[CIPHERS / 2] = {
		/* The first four as they always were, for the inputs that were kept. */
		{ ESP_ENCR_AES_GCM_16, key, 20, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_GCM_16, key, 36, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_CBC, key, 16, ESP_AUTH_HMAC_SHA2_256_128, key, 32, false },
		{ ESP_ENCR_AES_CBC, key, 32, ESP_AUTH_HMAC_SHA2_256_128, key, 32, false },
		{ ESP_ENCR_AES_GCM_16, key, 28, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_GCM_12, key, 20, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_GCM_12, key, 36, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_GCM_8, key, 20, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_GCM_8, key, 36, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_CHACHA20_POLY1305, key, 36, ESP_AUTH_NONE, NULL, 0, false },
		{ ESP_ENCR_AES_CBC, key, 24, ESP_AUTH_HMAC_SHA1_96, key, 20, false },
		{ ESP_ENCR_AES_CBC, key, 16, ESP_AUTH_HMAC_SHA2_384_192, key, 48, false },
		{ ESP_ENCR_AES_CBC, key, 32, ESP_AUTH_HMAC_SHA2_512_256, key, 64, false },
		{ ESP_ENCR_NULL, key, 0, ESP_AUTH_HMAC_SHA1_96, key, 20, false },
		{ ESP_ENCR_NULL, key, 0, ESP_AUTH_HMAC_SHA2_256_128, key, 32, false },
		{ ESP_ENCR_NULL, key, 0, ESP_AUTH_HMAC_SHA2_512_256, key, 64, false },
	};
	struct esp_algorithms a = all[n % (CIPHERS / 2)];

	a.esn = n >= CIPHERS / 2;
	if (made[n] == NULL && esp_cipher_new(&made[n], &a) < 0)
		abort();
	return made[n];
}

/* Without the key nobody makes a packet that opens. */
static void open_any(struct esp_cipher *c, const uint8_t *packet, size_t len)
{
	uint8_t *out = malloc(len + 1), next_header;
	uint32_t spi, seq;
	size_t outlen;

	esp_parse(packet, len, &spi, &seq);
	if (esp_open(c, packet, len, 1, out, len, &outlen, &next_header) >= 0)
		abort();
	free(out);
}

static void seal_any(struct esp_cipher *c, const uint8_t *payload, size_t len)
{
	size_t size = len + esp_overhead(c), sealed, outlen;
	uint8_t *packet = malloc(size), *out = malloc(size), next_header;

	if (esp_seal(c, 1, 1, 1, 4, payload, len, packet, size, &sealed) == 0 &&
	    (esp_open(c, packet, sealed, 1, out, sealed, &outlen, &next_header) < 0 ||
	     outlen != len || memcmp(out, payload, len) != 0 || next_header != 4))
		abort();
	free(packet);
	free(out);
}

/* The input is laid over a sealed packet by exclusive or, and cuts it. */
static void change_sealed(struct esp_cipher *c, const uint8_t *change, size_t len)
{
	uint8_t payload[64] = { 0 }, packet[64 + ESP_OVERHEAD_MAX], out[sizeof(packet)];
	uint8_t next_header;
	size_t sealed, outlen;
	bool changed = false;

	if (esp_seal(c, 1, 1, 1, 4, payload, sizeof(payload), packet, sizeof(packet),
		     &sealed))
		abort();
	for (size_t i = 0; i < len && i < sealed; i++) {
		packet[i] ^= change[i];
		changed |= change[i] != 0;
	}
	if (changed !=
	    (esp_open(c, packet, sealed, 1, out, sizeof(out), &outlen, &next_header) < 0))
		abort();
	if (len < sealed &&
	    esp_open(c, packet, len, 1, out, sizeof(out), &outlen, &next_header) >= 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct esp_cipher *c;

	if (len < 1)
		return 0;
	c = cipher_number(input[0] % 4 + input[0] / 12 % (CIPHERS / 4) * 4);
	switch (input[0] / 4 % 3) {
	case 0:
		open_any(c, input + 1, len - 1);
		break;
	case 1:
		seal_any(c, input + 1, len - 1);
		break;
	case 2:
		change_sealed(c, input + 1, len - 1);
		break;
	}
	return 0;
}
