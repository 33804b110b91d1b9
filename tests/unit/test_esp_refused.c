/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that ESP refuses: forged, cut, or of a careless peer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>

#include "tests/unit/suite.h"

/* Nothing of a refused packet comes out, and the outputs are untouched. */
static void assert_refused(struct esp_cipher *c, const uint8_t *packet, size_t len,
			   uint64_t seq, int want)
{
	static const uint8_t nothing[PACKET_MAX];
	uint8_t out[PACKET_MAX], next_header = 0x55;
	size_t outlen = 12345;
	int rc;

	memset(out, 0, sizeof(out));
	rc = esp_open(c, packet, len, seq, out, sizeof(out), &outlen, &next_header);
	if (want != 0)
		assert_int_equal(rc, want);
	else
		assert_true(rc == -EBADMSG || rc == -EINVAL);
	assert_int_equal(outlen, 12345);
	assert_int_equal(next_header, 0x55);
	assert_memory_equal(out, nothing, sizeof(out));
}

static void tamper_with(const struct suite *s)
{
	struct esp_cipher *c = suite_cipher(s);
	uint8_t payload[60], packet[PACKET_MAX], got[PACKET_MAX], next_header;
	uint64_t seq = HIGH(s) + 7;
	size_t len, got_len;

	suite_fill(payload, sizeof(payload), 3);
	assert_int_equal(esp_seal(c, SPI, seq, 8, 4, payload, sizeof(payload), packet,
				  sizeof(packet), &len),
			 0);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(c, packet, len, seq, -EBADMSG);
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* The upper half is authenticated though no packet shows it. */
	for (unsigned bit = 32; s->esn && bit < 64; bit++)
		assert_refused(c, packet, len, seq ^ UINT64_C(1) << bit, -EBADMSG);
	for (size_t cut = 0; cut < len; cut++) {
		/* Exactly sized, so that ASan sees any read beyond. */
		uint8_t *copy = malloc(cut ? cut : 1);

		memcpy(copy, packet, cut);
		assert_refused(c, copy, cut, seq, 0);
		free(copy);
	}
	assert_refused(c, packet, len + 4, seq, 0);
	assert_refused(c, packet, len + 16, seq, 0);
	/* Refusals leave the cipher in order. */
	assert_int_equal(
	    esp_open(c, packet, len, seq, got, sizeof(got), &got_len, &next_header), 0);
	assert_memory_equal(got, payload, sizeof(payload));
	esp_cipher_free(c);
}

static void test_tampered(void **state)
{
	for (size_t i = 0; i < suite_count; i++)
		tamper_with(&suites[i]);
}

static void test_other_key(void **state)
{
	for (size_t i = 0; i < suite_count; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = suite_cipher(s);
		uint8_t packet[PACKET_MAX], key[36], integ[64];
		size_t len;

		assert_int_equal(esp_seal(c, SPI, 7, 8, 4, suite_key, sizeof(suite_key),
					  packet, sizeof(packet), &len),
				 0);
		esp_cipher_free(c);
		/* The last byte of a GCM key is salt; of CBC's keys only integ is
		 * checked. */
		memcpy(key, suite_key, sizeof(key));
		memcpy(integ, suite_integ, sizeof(integ));
		if (s->integ == ESP_AUTH_NONE)
			key[s->enc_key_len - 1] ^= 1;
		else
			integ[s->integ_key_len - 1] ^= 1;
		c = suite_cipher_with(s, key, integ);
		assert_refused(c, packet, len, 7, -EBADMSG);
		esp_cipher_free(c);
	}
}

/* The header with which such a packet begins, and what authenticates it for GCM. */
static size_t authentic_aead(const struct suite *s, const uint8_t *text, size_t len,
			     uint8_t *packet)
{
	const EVP_CIPHER *ciphers[] = { EVP_aes_128_gcm(), EVP_aes_192_gcm(),
					EVP_aes_256_gcm(), EVP_chacha20_poly1305() };
	bool chacha = s->enc == ESP_ENCR_CHACHA20_POLY1305;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *at = packet + 16, nonce[12], aad[12], tag[16];
	size_t aad_len = s->esn ? 12 : 8;
	int n;

	memset(aad, 0x11, sizeof(aad));
	memcpy(nonce, suite_key + s->enc_key_len - 4, 4);
	memcpy(nonce + 4, packet + 8, 8);
	assert_int_equal(
	    EVP_EncryptInit_ex2(ctx, ciphers[chacha ? 3 : (s->enc_key_len - 20) / 8],
				suite_key, nonce, NULL),
	    1);
	assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, at, &n, text, (int)len), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, at + len, &n), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag), 1);
	memcpy(at + len, tag, s->icv_len);
	EVP_CIPHER_CTX_free(ctx);
	return 16 + len + s->icv_len;
}

#define AUTHENTIC_SEQ UINT64_C(0x1111111111111111)

/* An authentic packet around any text at all, as a careless or hostile peer could send.
 */
static size_t authentic(const struct suite *s, const uint8_t *text, size_t len,
			uint8_t *packet)
{
	EVP_CIPHER_CTX *ctx;
	uint8_t *at = packet + 8 + s->iv_len;
	int n;

	memset(packet, 0x11, 8 + s->iv_len);
	if (!s->digest)
		return authentic_aead(s, text, len, packet);
	memcpy(at, text, len);
	ctx = EVP_CIPHER_CTX_new();
	if (s->cipher) {
		assert_int_equal(EVP_EncryptInit_ex2(ctx, EVP_get_cipherbyname(s->cipher),
						     suite_key, packet + 8, NULL),
				 1);
		EVP_CIPHER_CTX_set_padding(ctx, 0);
		assert_int_equal(EVP_EncryptUpdate(ctx, at, &n, text, (int)len), 1);
	}
	EVP_CIPHER_CTX_free(ctx);
	suite_icv(s, AUTHENTIC_SEQ, packet, (size_t)(at - packet) + len, at + len);
	return (size_t)(at - packet) + len + s->icv_len;
}

static void test_padding(void **state)
{
	static const struct {
		const char *text; /* 32 octets: letters, then bytes of the trailer */
		size_t payload;	  /* SIZE_MAX: refused */
	} cases[] = {
		{ "abcdefghijklmnopqrstuvwxyzABCD\x00\x04", 30 },
		{ "abcdefghijklmnopqrstuvwxyzA\x01\x02\x03\x03\x04", 27 },
		{ "abcdefghijklmnopqrstuvwxyzA\x01\x02\x02\x03\x04", SIZE_MAX },
		{ "abcdefghijklmnopqrstuvwxyzA\x00\x00\x00\x03\x04", SIZE_MAX },
		{ "abcdefghijklmnopqrstuvwxyzA\x02\x02\x03\x03\x04", SIZE_MAX },
		/* More padding than is needed is the sender's right. */
		{ "abcdefghijkl\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"
		  "\x0f\x10"
		  "\x11\x12\x12\x04",
		  12 },
		{ "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11"
		  "\x12\x13"
		  "\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1e\x04",
		  0 },
		{ "abcdefghijklmnopqrstuvwxyzABCD\x1f\x04", SIZE_MAX },
		{ "abcdefghijklmnopqrstuvwxyzABCD\x20\x04", SIZE_MAX },
		{ "abcdefghijklmnopqrstuvwxyzABCD\xff\x04", SIZE_MAX },
	};

	for (size_t i = 0; i < suite_count; i++) {
		struct esp_cipher *c = suite_cipher(&suites[i]);

		for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
			const uint8_t *text = (const uint8_t *)cases[k].text;
			uint8_t packet[128], out[128], next_header = 0;
			size_t len = authentic(&suites[i], text, 32, packet), outlen = 0;

			if (cases[k].payload == SIZE_MAX) {
				assert_refused(c, packet, len, AUTHENTIC_SEQ, -EINVAL);
				continue;
			}
			assert_int_equal(esp_open(c, packet, len, AUTHENTIC_SEQ, out,
						  sizeof(out), &outlen, &next_header),
					 0);
			assert_int_equal(outlen, cases[k].payload);
			assert_memory_equal(out, text, outlen);
			assert_int_equal(next_header, 4);
		}
		esp_cipher_free(c);
	}
}

/* An unaligned text is refused even when it is authentic. */
static void test_unaligned(void **state)
{
	uint8_t packet[128];

	for (size_t i = 0; i < suite_count; i++) {
		struct esp_cipher *c;
		size_t len;

		if (suites[i].cipher)
			continue; /* a block cipher could not even make it */
		c = suite_cipher(&suites[i]);
		len = authentic(&suites[i], (const uint8_t *)"abcde\x00\x04", 7, packet);

		assert_refused(c, packet, len, AUTHENTIC_SEQ, -EINVAL);
		len = authentic(&suites[i], (const uint8_t *)"", 0, packet);
		assert_refused(c, packet, len, AUTHENTIC_SEQ, -EINVAL);
		esp_cipher_free(c);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tampered),
		cmocka_unit_test(test_other_key),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_unaligned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
