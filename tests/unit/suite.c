/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>

#include "tests/unit/suite.h"

#define GCM(name, enc, key, icv, esn)                                                    \
	{                                                                                \
		name, enc, ESP_AUTH_NONE, key + 4, 0, 4, 8, icv, NULL, NULL, esn         \
	}
#define HMAC(name, enc, key, align, iv, cipher, integ, len, icv, digest, esn)            \
	{                                                                                \
		name, enc, integ, key, len, align, iv, icv, cipher, digest, esn          \
	}
#define CBC(bits, cipher, esn)                                                           \
	HMAC("aes" #bits "-sha1", ESP_ENCR_AES_CBC, bits / 8, 16, 16, cipher,            \
	     ESP_AUTH_HMAC_SHA1_96, 20, 12, "SHA1", esn),                                \
	    HMAC("aes" #bits "-sha256", ESP_ENCR_AES_CBC, bits / 8, 16, 16, cipher,      \
		 ESP_AUTH_HMAC_SHA2_256_128, 32, 16, "SHA256", esn),                     \
	    HMAC("aes" #bits "-sha384", ESP_ENCR_AES_CBC, bits / 8, 16, 16, cipher,      \
		 ESP_AUTH_HMAC_SHA2_384_192, 48, 24, "SHA384", esn),                     \
	    HMAC("aes" #bits "-sha512", ESP_ENCR_AES_CBC, bits / 8, 16, 16, cipher,      \
		 ESP_AUTH_HMAC_SHA2_512_256, 64, 32, "SHA512", esn)
#define ALL(esn)                                                                         \
	GCM("aes128gcm16", ESP_ENCR_AES_GCM_16, 16, 16, esn),                            \
	    GCM("aes192gcm16", ESP_ENCR_AES_GCM_16, 24, 16, esn),                        \
	    GCM("aes256gcm16", ESP_ENCR_AES_GCM_16, 32, 16, esn),                        \
	    GCM("aes128gcm12", ESP_ENCR_AES_GCM_12, 16, 12, esn),                        \
	    GCM("aes192gcm12", ESP_ENCR_AES_GCM_12, 24, 12, esn),                        \
	    GCM("aes256gcm12", ESP_ENCR_AES_GCM_12, 32, 12, esn),                        \
	    GCM("aes128gcm8", ESP_ENCR_AES_GCM_8, 16, 8, esn),                           \
	    GCM("aes192gcm8", ESP_ENCR_AES_GCM_8, 24, 8, esn),                           \
	    GCM("aes256gcm8", ESP_ENCR_AES_GCM_8, 32, 8, esn),                           \
	    GCM("chacha20poly1305", ESP_ENCR_CHACHA20_POLY1305, 32, 16, esn),            \
	    CBC(128, "AES-128-CBC", esn), CBC(192, "AES-192-CBC", esn),                  \
	    CBC(256, "AES-256-CBC", esn),                                                \
	    HMAC("null-sha1", ESP_ENCR_NULL, 0, 4, 0, NULL, ESP_AUTH_HMAC_SHA1_96, 20,   \
		 12, "SHA1", esn),                                                       \
	    HMAC("null-sha256", ESP_ENCR_NULL, 0, 4, 0, NULL,                            \
		 ESP_AUTH_HMAC_SHA2_256_128, 32, 16, "SHA256", esn),                     \
	    HMAC("null-sha512", ESP_ENCR_NULL, 0, 4, 0, NULL,                            \
		 ESP_AUTH_HMAC_SHA2_512_256, 64, 32, "SHA512", esn)

const struct suite suites[] = { ALL(false), ALL(true) };
const size_t suite_count = sizeof(suites) / sizeof(suites[0]);

const uint8_t suite_key[36] = "0123456789abcdef0123456789abcdefSALT";
const uint8_t suite_integ[64] = "an integrity key of 32 octets... and of as many "
				"again, for 64";

const struct suite *suite_named(const char *name, bool esn)
{
	for (size_t i = 0; i < suite_count; i++)
		if (!strcmp(suites[i].name, name) && suites[i].esn == esn)
			return &suites[i];
	fail_msg("no suite %s", name);
	return NULL;
}

struct esp_cipher *suite_cipher_with(const struct suite *s, const uint8_t *key,
				     const uint8_t *integ)
{
	struct esp_algorithms a = { s->enc,   key,   s->enc_key_len,
				    s->integ, integ, s->integ_key_len,
				    s->esn };
	struct esp_cipher *c = NULL;

	assert_int_equal(esp_cipher_new(&c, &a), 0);
	assert_non_null(c);
	return c;
}

struct esp_cipher *suite_cipher(const struct suite *s)
{
	return suite_cipher_with(s, suite_key, suite_integ);
}

void suite_hmac(const char *digest, const uint8_t *key, const uint8_t *from, size_t len,
		uint8_t *mac)
{
	const EVP_MD *md = EVP_get_digestbyname(digest);
	size_t block = (size_t)EVP_MD_get_block_size(md);
	uint8_t pad[128 + PACKET_MAX], inner[128 + 64];
	unsigned n;

	memset(pad, 0x36, block);
	memset(inner, 0x5c, block);
	for (int i = 0; i < EVP_MD_get_size(md); i++) {
		pad[i] ^= key[i];
		inner[i] ^= key[i];
	}
	memcpy(pad + block, from, len);
	EVP_Digest(pad, block + len, inner + block, &n, md, NULL);
	EVP_Digest(inner, block + n, mac, &n, md, NULL);
}

void suite_icv(const struct suite *s, uint64_t seq, const uint8_t *packet, size_t len,
	       uint8_t *icv)
{
	uint8_t text[PACKET_MAX + 4], full[64];

	memcpy(text, packet, len);
	for (int i = 0; i < 4; i++)
		text[len + (size_t)i] = (uint8_t)(seq >> (56 - 8 * i));
	suite_hmac(s->digest, suite_integ, text, len + (s->esn ? 4 : 0), full);
	memcpy(icv, full, s->icv_len);
}

void suite_fill(uint8_t *at, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}
