/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The algorithms that ESP here has: for the engine, and for charon's plugin, which refuses
 * others by name before an SA is made.
 */
#ifndef IPSEC_SUITES_H
#define IPSEC_SUITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* IKEv2 transform identifiers (IANA), as charon passes them. */
#define ESP_ENCR_NULL 11
#define ESP_ENCR_AES_CBC 12
#define ESP_ENCR_AES_GCM_8 18
#define ESP_ENCR_AES_GCM_12 19
#define ESP_ENCR_AES_GCM_16 20
#define ESP_ENCR_CHACHA20_POLY1305 28
#define ESP_AUTH_NONE 0
#define ESP_AUTH_HMAC_SHA1_96 2
#define ESP_AUTH_HMAC_SHA2_256_128 12
#define ESP_AUTH_HMAC_SHA2_384_192 13
#define ESP_AUTH_HMAC_SHA2_512_256 14

/* id, name in the crypto library (NULL: none), bytes of key, salt behind it, IV, alignment
 * and ICV (0: an integrity algorithm makes it). */
#define ESP_ENCRYPTIONS(X)                                                               \
	X(ESP_ENCR_AES_GCM_8, "AES-128-GCM", 16, 4, 8, 4, 8)                             \
	X(ESP_ENCR_AES_GCM_8, "AES-192-GCM", 24, 4, 8, 4, 8)                             \
	X(ESP_ENCR_AES_GCM_8, "AES-256-GCM", 32, 4, 8, 4, 8)                             \
	X(ESP_ENCR_AES_GCM_12, "AES-128-GCM", 16, 4, 8, 4, 12)                           \
	X(ESP_ENCR_AES_GCM_12, "AES-192-GCM", 24, 4, 8, 4, 12)                           \
	X(ESP_ENCR_AES_GCM_12, "AES-256-GCM", 32, 4, 8, 4, 12)                           \
	X(ESP_ENCR_AES_GCM_16, "AES-128-GCM", 16, 4, 8, 4, 16)                           \
	X(ESP_ENCR_AES_GCM_16, "AES-192-GCM", 24, 4, 8, 4, 16)                           \
	X(ESP_ENCR_AES_GCM_16, "AES-256-GCM", 32, 4, 8, 4, 16)                           \
	X(ESP_ENCR_CHACHA20_POLY1305, "ChaCha20-Poly1305", 32, 4, 8, 4, 16)              \
	X(ESP_ENCR_AES_CBC, "AES-128-CBC", 16, 0, 16, 16, 0)                             \
	X(ESP_ENCR_AES_CBC, "AES-192-CBC", 24, 0, 16, 16, 0)                             \
	X(ESP_ENCR_AES_CBC, "AES-256-CBC", 32, 0, 16, 16, 0)                             \
	X(ESP_ENCR_NULL, NULL, 0, 0, 0, 4, 0)

/* id, digest in the crypto library, bytes of key and ICV. */
#define ESP_INTEGRITIES(X)                                                               \
	X(ESP_AUTH_HMAC_SHA1_96, "SHA1", 20, 12)                                         \
	X(ESP_AUTH_HMAC_SHA2_256_128, "SHA256", 32, 16)                                  \
	X(ESP_AUTH_HMAC_SHA2_384_192, "SHA384", 48, 24)                                  \
	X(ESP_AUTH_HMAC_SHA2_512_256, "SHA512", 64, 32)

/* *aead: it needs no integrity algorithm, and takes none. */
static inline bool esp_has_encryption(unsigned id, size_t key_len, bool *aead)
{
#define X(i, name, key, salt, iv, align, icv)                                            \
	if (id == (i) && key_len == (key) + (salt)) {                                    \
		*aead = (icv) > 0;                                                       \
		return true;                                                             \
	}
	ESP_ENCRYPTIONS(X)
#undef X
	return false;
}

static inline bool esp_has_integrity(unsigned id, size_t key_len)
{
#define X(i, digest, key, icv)                                                           \
	if (id == (i) && key_len == (key))                                               \
		return true;
	ESP_INTEGRITIES(X)
#undef X
	return false;
}

#endif
