/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "tunnels/ipsec/esp.h"

#define SPI UINT32_C(0xc0ffee01)
#define MAX 2048

struct suite {
	const char *name;
	uint16_t enc, integ;
	size_t enc_key_len, integ_key_len, align, iv_len;
};

static const struct suite suites[] = {
	{ "aes128gcm16", ESP_ENCR_AES_GCM_16, ESP_AUTH_NONE, 20, 0, 4, 8 },
	{ "aes256gcm16", ESP_ENCR_AES_GCM_16, ESP_AUTH_NONE, 36, 0, 4, 8 },
	{ "aes128-sha256", ESP_ENCR_AES_CBC, ESP_AUTH_HMAC_SHA2_256_128, 16, 32, 16, 16 },
	{ "aes256-sha256", ESP_ENCR_AES_CBC, ESP_AUTH_HMAC_SHA2_256_128, 32, 32, 16, 16 },
};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

static const uint8_t test_key[36] = "0123456789abcdef0123456789abcdefSALT";
static const uint8_t test_integ[32] = "an integrity key of 32 octets...";

static struct esp_cipher *cipher_with(const struct suite *s, const uint8_t *key,
				      const uint8_t *integ)
{
	struct esp_algorithms a = { s->enc,   key,   s->enc_key_len,
				    s->integ, integ, s->integ_key_len };
	struct esp_cipher *c = NULL;

	assert_int_equal(esp_cipher_new(&c, &a), 0);
	assert_non_null(c);
	return c;
}

static struct esp_cipher *cipher_of(const struct suite *s)
{
	return cipher_with(s, test_key, test_integ);
}

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	unsigned int byte;

	for (; *hex != '\0'; hex += 2) {
		while (*hex == ' ')
			hex++;
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		out[n++] = (uint8_t)byte;
	}
	return n;
}

/* HMAC-SHA-256 from its definition (RFC 2104), so that the engine's is not its own judge.
 */
static void reference_hmac(const uint8_t *key, const uint8_t *from, size_t len,
			   uint8_t *mac)
{
	uint8_t pad[64 + MAX], inner[64 + 32];

	memset(pad, 0x36, 64);
	memset(inner, 0x5c, 64);
	for (int i = 0; i < 32; i++) {
		pad[i] ^= key[i];
		inner[i] ^= key[i];
	}
	memcpy(pad + 64, from, len);
	SHA256(pad, 64 + len, inner + 64);
	SHA256(inner, sizeof(inner), mac);
}

/* RFC 4868 section 2.7.2.1, test cases AUTH256-1, -2 and -3. */
static void test_reference_hmac(void **state)
{
	uint8_t key[32], text[64], want[32], got[32];

	memset(key, 0x0b, sizeof(key));
	from_hex("198a607eb44bfbc69903a0f1cf2bbdc5", want);
	reference_hmac(key, (const uint8_t *)"Hi There", 8, got);
	assert_memory_equal(got, want, 16);

	memcpy(key, "JefeJefeJefeJefeJefeJefeJefeJefe", 32);
	from_hex("167f928588c5cc2eef8e3093caa0e87c", want);
	reference_hmac(key, (const uint8_t *)"what do ya want for nothing?", 28, got);
	assert_memory_equal(got, want, 16);

	memset(key, 0xaa, sizeof(key));
	memset(text, 0xdd, 50);
	from_hex("cdcb1220d1ecccea91e53aba3092f962", want);
	reference_hmac(key, text, 50, got);
	assert_memory_equal(got, want, 16);
}

/* Packets of draft-mcgrew-gcm-test-01 with 32-bit sequence numbers, and their payloads.
 */
struct gcm_vector {
	const struct suite *suite;
	const char *key; /* with salt */
	uint32_t spi, seq;
	uint64_t iv;
	uint8_t next_header;
	const char *payload, *packet;
};

static const struct gcm_vector gcm_vectors[] = {
	{ &suites[0], "feffe9928665731c6d6a8f9467308308cafebabe", 0xa5f8, 10,
	  UINT64_C(0xfacedbaddecaf888), 1,
	  "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100"
	  "0001000000000000037369700963796265726369747902646b0000010001",
	  "0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304"
	  "a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642"
	  "cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a" },
	{ &suites[1],
	  "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
	  0x4a2cbfe3, 2, UINT64_C(0x0102030405060708), 1,
	  "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000"
	  "7002400020bf0000020405b401010402",
	  "4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d"
	  "6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d"
	  "ef842d8eb335f4eecfdbf831824b4c4915956c96" },
};

static void test_gcm_vectors(void **state)
{
	for (size_t i = 0; i < sizeof(gcm_vectors) / sizeof(gcm_vectors[0]); i++) {
		const struct gcm_vector *v = &gcm_vectors[i];
		uint8_t key[36], payload[256], packet[256], got[256], next_header = 0;
		size_t payload_len = from_hex(v->payload, payload);
		size_t packet_len = from_hex(v->packet, packet);
		struct esp_cipher *c;
		size_t len = 0;
		uint32_t spi, seq;

		assert_int_equal(from_hex(v->key, key), v->suite->enc_key_len);
		c = cipher_with(v->suite, key, NULL);
		/* The draft's second packet pads as we do; in the first nothing is
		 * padded. */
		assert_int_equal(esp_seal(c, v->spi, v->seq, v->iv, v->next_header,
					  payload, payload_len, got, sizeof(got), &len),
				 0);
		assert_int_equal(len, packet_len);
		assert_memory_equal(got, packet, len);
		assert_int_equal(esp_parse(packet, packet_len, &spi, &seq), 0);
		assert_int_equal(spi, v->spi);
		assert_int_equal(seq, v->seq);
		assert_int_equal(
		    esp_open(c, packet, packet_len, got, sizeof(got), &len, &next_header),
		    0);
		assert_int_equal(len, payload_len);
		assert_memory_equal(got, payload, len);
		assert_int_equal(next_header, v->next_header);
		esp_cipher_free(c);
	}
}

/* RFC 3602 section 4, cases 5 to 8: packets without ICV, to which the test adds one. */
struct cbc_vector {
	const char *key, *packet, *payload;
	uint8_t next_header;
};

static const struct cbc_vector cbc_vectors[] = {
	{ "90d382b410eeba7ad938c46cec1a82bf",
	  "0000432100000001e96e8c08ab465763fd098d45dd3ff893f663c25d325c18c6"
	  "a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db08"
	  "0b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874aa269add047ad2d59"
	  "13ac19b7cfbad4a6",
	  "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617"
	  "18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
	  1 },
	{ "0123456789abcdef0123456789abcdef",
	  "0000876500000002f4e765244f6407adf13dc1380f673f37773b5241a4c44922"
	  "5e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad"
	  "7a0f022b859243c647752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2"
	  "201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
	  "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d"
	  "02a2040008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
	  "2425262728292a2b2c2d2e2f3031323334353637",
	  4 },
};

static void test_cbc_vectors(void **state)
{
	for (size_t i = 0; i < sizeof(cbc_vectors) / sizeof(cbc_vectors[0]); i++) {
		const struct cbc_vector *v = &cbc_vectors[i];
		uint8_t key[32], payload[256], packet[256], got[256], mac[32];
		uint8_t next_header = 0;
		size_t payload_len = from_hex(v->payload, payload);
		size_t packet_len = from_hex(v->packet, packet);
		struct esp_cipher *c;
		size_t len = 0;

		from_hex(v->key, key);
		c = cipher_with(&suites[2], key, test_integ);
		reference_hmac(test_integ, packet, packet_len, mac);
		memcpy(packet + packet_len, mac, ESP_ICV_LEN);
		packet_len += ESP_ICV_LEN;
		assert_int_equal(
		    esp_open(c, packet, packet_len, got, sizeof(got), &len, &next_header),
		    0);
		assert_int_equal(len, payload_len);
		assert_memory_equal(got, payload, len);
		assert_int_equal(next_header, v->next_header);
		esp_cipher_free(c);
	}
}

/* What we seal with CBC is what OpenSSL's one-shot calls make of the same IV. */
static void test_cbc_seal_by_reference(void **state)
{
	const char *names[] = { "AES-128-CBC", "AES-256-CBC" };

	for (size_t i = 0; i < 2; i++) {
		const struct suite *s = &suites[2 + i];
		struct esp_cipher *c = cipher_of(s);
		EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
		EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, names[i], NULL);
		uint8_t packet[128], mac[32], want[64];
		uint8_t text[32] = "twenty-seven octets of text\x01\x02\x03\x03\x29";
		size_t len;
		int n;

		assert_int_equal(
		    esp_seal(c, SPI, 9, 77, 41, text, 27, packet, sizeof(packet), &len),
		    0);
		assert_int_equal(len, 8 + 16 + 32 + 16);
		assert_int_equal(
		    EVP_EncryptInit_ex2(ctx, cipher, test_key, packet + 8, NULL), 1);
		assert_int_equal(EVP_EncryptUpdate(ctx, want, &n, text, 32), 1);
		assert_int_equal(n, 32);
		assert_memory_equal(packet + 24, want, 32);
		reference_hmac(test_integ, packet, 56, mac);
		assert_memory_equal(packet + 56, mac, 16);
		EVP_CIPHER_CTX_free(ctx);
		EVP_CIPHER_free(cipher);
		esp_cipher_free(c);
	}
}

static void fill(uint8_t *at, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static void round_trip(const struct suite *s, struct esp_cipher *c, size_t len)
{
	uint8_t payload[MAX], packet[MAX], got[MAX], next_header = 0;
	size_t packet_len = 0, got_len = 0;

	fill(payload, len, (unsigned int)len);
	assert_int_equal(esp_seal(c, SPI, 1 + (uint32_t)len, len, 4, payload, len, packet,
				  sizeof(packet), &packet_len),
			 0);
	assert_true(packet_len <= len + esp_overhead(c));
	assert_true(esp_overhead(c) <= ESP_OVERHEAD_MAX);
	/* The least padding that aligns. */
	assert_int_equal((packet_len - 8 - s->iv_len - 16) % s->align, 0);
	assert_true(packet_len - 8 - s->iv_len - 16 - 2 - len < s->align);
	assert_int_equal(
	    esp_open(c, packet, packet_len, got, sizeof(got), &got_len, &next_header), 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, payload, len);
	assert_int_equal(next_header, 4);
	/* A buffer one byte short is refused by both. */
	assert_int_equal(
	    esp_seal(c, SPI, 1, 0, 4, payload, len, packet, packet_len - 1, &packet_len),
	    -ENOSPC);
	assert_int_equal(esp_open(c, packet, packet_len, got,
				  packet_len - 8 - s->iv_len - 16 - 1, &got_len,
				  &next_header),
			 -ENOSPC);
}

static void test_round_trips(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);

		for (size_t len = 0; len <= 200; len++)
			round_trip(&suites[i], c, len);
		round_trip(&suites[i], c, 1400);
		esp_cipher_free(c);
	}
}

static void test_largest(void **state)
{
	const size_t room = ESP_PACKET_MAX + 16;
	uint8_t *payload = calloc(1, ESP_PAYLOAD_MAX + 1), *packet = calloc(1, room);
	uint8_t *got = malloc(room), next_header;
	size_t len, got_len;

	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);

		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, payload, ESP_PAYLOAD_MAX,
					  packet, room, &len),
				 0);
		assert_true(len <= ESP_PACKET_MAX);
		assert_int_equal(
		    esp_open(c, packet, len, got, room, &got_len, &next_header), 0);
		assert_int_equal(got_len, ESP_PAYLOAD_MAX);
		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, payload, ESP_PAYLOAD_MAX + 1,
					  packet, room, &len),
				 -EINVAL);
		/* One of these is aligned, and its size alone speaks against it. */
		for (len = ESP_PACKET_MAX + 1; len <= room; len++)
			assert_int_equal(
			    esp_open(c, packet, len, got, room, &got_len, &next_header),
			    -EINVAL);
		esp_cipher_free(c);
	}
	free(payload);
	free(packet);
	free(got);
}

/* Nothing of a refused packet comes out, and the outputs are untouched. */
static void assert_refused(struct esp_cipher *c, const uint8_t *packet, size_t len,
			   int want)
{
	uint8_t out[MAX], next_header = 0x55;
	size_t outlen = 12345;
	int rc;

	memset(out, 0, sizeof(out));
	rc = esp_open(c, packet, len, out, sizeof(out), &outlen, &next_header);
	if (want != 0)
		assert_int_equal(rc, want);
	else
		assert_true(rc == -EBADMSG || rc == -EINVAL);
	assert_int_equal(outlen, 12345);
	assert_int_equal(next_header, 0x55);
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out[i], 0);
}

static void test_tampered(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);
		uint8_t payload[100], packet[MAX], got[MAX], next_header;
		size_t len, got_len;

		fill(payload, sizeof(payload), 3);
		assert_int_equal(esp_seal(c, SPI, 7, 8, 4, payload, sizeof(payload),
					  packet, sizeof(packet), &len),
				 0);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_refused(c, packet, len, -EBADMSG);
			packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t cut = 0; cut < len; cut++) {
			/* Exactly sized, so that ASan sees any read beyond. */
			uint8_t *copy = malloc(cut ? cut : 1);

			memcpy(copy, packet, cut);
			assert_refused(c, copy, cut, 0);
			free(copy);
		}
		assert_refused(c, packet, len + 4, 0);
		assert_refused(c, packet, len + 16, 0);
		/* Refusals leave the cipher in order. */
		assert_int_equal(
		    esp_open(c, packet, len, got, sizeof(got), &got_len, &next_header),
		    0);
		assert_memory_equal(got, payload, sizeof(payload));
		esp_cipher_free(c);
	}
}

static void test_other_key(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = cipher_of(s);
		uint8_t packet[MAX], key[36], integ[32];
		size_t len;

		assert_int_equal(esp_seal(c, SPI, 7, 8, 4, test_key, sizeof(test_key),
					  packet, sizeof(packet), &len),
				 0);
		esp_cipher_free(c);
		/* The last byte of a GCM key is salt; of CBC's keys only integ is
		 * checked. */
		memcpy(key, test_key, sizeof(key));
		memcpy(integ, test_integ, sizeof(integ));
		key[s->enc_key_len - 1] ^= s->integ == ESP_AUTH_NONE;
		integ[31] ^= 1;
		c = cipher_with(s, key, integ);
		assert_refused(c, packet, len, -EBADMSG);
		esp_cipher_free(c);
	}
}

/* An authentic packet around any text at all, as a careless or hostile peer could send.
 */
static size_t authentic(const struct suite *s, const uint8_t *text, size_t len,
			uint8_t *packet)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *at = packet + 8 + s->iv_len, nonce[12], mac[32];
	int n;

	memset(packet, 0x11, 8 + s->iv_len);
	if (s->integ == ESP_AUTH_NONE) {
		memcpy(nonce, test_key + s->enc_key_len - 4, 4);
		memcpy(nonce + 4, packet + 8, 8);
		assert_int_equal(
		    EVP_EncryptInit_ex2(
			ctx, s->enc_key_len == 20 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(),
			test_key, nonce, NULL),
		    1);
		assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, packet, 8), 1);
		assert_int_equal(EVP_EncryptUpdate(ctx, at, &n, text, (int)len), 1);
		assert_int_equal(EVP_EncryptFinal_ex(ctx, at + len, &n), 1);
		assert_int_equal(
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, at + len), 1);
	} else {
		assert_int_equal(
		    EVP_EncryptInit_ex2(
			ctx, s->enc_key_len == 16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc(),
			test_key, packet + 8, NULL),
		    1);
		EVP_CIPHER_CTX_set_padding(ctx, 0);
		assert_int_equal(EVP_EncryptUpdate(ctx, at, &n, text, (int)len), 1);
		reference_hmac(test_integ, packet, (size_t)(at - packet) + len, mac);
		memcpy(at + len, mac, 16);
	}
	EVP_CIPHER_CTX_free(ctx);
	return (size_t)(at - packet) + len + 16;
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

	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);

		for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
			const uint8_t *text = (const uint8_t *)cases[k].text;
			uint8_t packet[128], out[128], next_header = 0;
			size_t len = authentic(&suites[i], text, 32, packet), outlen = 0;

			if (cases[k].payload == SIZE_MAX) {
				assert_refused(c, packet, len, -EINVAL);
				continue;
			}
			assert_int_equal(esp_open(c, packet, len, out, sizeof(out),
						  &outlen, &next_header),
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

	for (size_t i = 0; i < 2; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);
		size_t len =
		    authentic(&suites[i], (const uint8_t *)"abcde\x00\x04", 7, packet);

		assert_refused(c, packet, len, -EINVAL);
		len = authentic(&suites[i], (const uint8_t *)"", 0, packet);
		assert_refused(c, packet, len, -EINVAL);
		esp_cipher_free(c);
	}
}

static void test_overlap(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);

		for (size_t at = 0; at < 64; at++) {
			uint8_t buf[512], out[512], want[200], next_header;
			size_t len, outlen;

			fill(want, sizeof(want), 5);
			memcpy(buf + at, want, sizeof(want));
			assert_int_equal(esp_seal(c, SPI, 1, at, 4, buf + at,
						  sizeof(want), buf, sizeof(buf), &len),
					 0);
			assert_int_equal(esp_open(c, buf, len, out, sizeof(out), &outlen,
						  &next_header),
					 0);
			assert_int_equal(outlen, sizeof(want));
			assert_memory_equal(out, want, outlen);
		}
		esp_cipher_free(c);
	}
}

static void test_arguments(void **state)
{
	uint8_t packet[256];
	size_t len = 99;
	uint32_t spi, seq;

	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);

		assert_int_equal(esp_seal(c, 0, 1, 1, 4, packet, 8, packet, 256, &len),
				 -EINVAL);
		assert_int_equal(esp_seal(c, SPI, 0, 1, 4, packet, 8, packet, 256, &len),
				 -EINVAL);
		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, packet, 8, packet, 0, &len),
				 -ENOSPC);
		assert_int_equal(len, 99);
		esp_cipher_free(c);
	}
	memset(packet, 0, sizeof(packet));
	assert_int_equal(esp_parse(packet, 256, &spi, &seq), -EINVAL);
	packet[3] = 1;
	assert_int_equal(esp_parse(packet, 7, &spi, &seq), -EINVAL);
	assert_int_equal(esp_parse(packet, 8, &spi, &seq), 0);
	assert_int_equal(spi, 1);
	assert_int_equal(seq, 0);
}

static void test_algorithms(void **state)
{
	static const struct {
		uint16_t enc;
		size_t enc_key_len;
		uint16_t integ;
		size_t integ_key_len;
		int want;
	} cases[] = {
		{ ESP_ENCR_AES_GCM_16, 16, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 28, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 32, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 0, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 20, 12, 32, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 16, 0, 0, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 16, 2, 20, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 24, 12, 32, -EINVAL },
		{ ESP_ENCR_AES_CBC, 16, 12, 20, -EINVAL },
		{ ESP_ENCR_AES_CBC, 20, 12, 32, -EINVAL },
		{ 3, 24, 2, 20, -ENOTSUP },
		{ 0, 0, 0, 0, -ENOTSUP },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct esp_algorithms a = {
			cases[i].enc,	test_key,   cases[i].enc_key_len,
			cases[i].integ, test_integ, cases[i].integ_key_len
		};
		struct esp_cipher *c = NULL;

		assert_int_equal(esp_cipher_new(&c, &a), cases[i].want);
		assert_null(c);
	}
	esp_cipher_free(NULL);
}

/* CBC's IVs: never twice from one cipher, never the nonce itself, never the same
 * elsewhere. */
static void test_cbc_ivs(void **state)
{
	enum { N = 500 };
	static uint8_t ivs[2 * N][16];

	for (size_t k = 0; k < 2; k++) {
		struct esp_cipher *c = cipher_of(&suites[2]);

		for (size_t i = 0; i < N; i++) {
			uint8_t packet[128];
			size_t len;

			assert_int_equal(esp_seal(c, SPI, 1 + i % 2, i / 2, 4, NULL, 0,
						  packet, sizeof(packet), &len),
					 0);
			memcpy(ivs[k * N + i], packet + 8, 16);
		}
		esp_cipher_free(c);
	}
	for (size_t i = 0; i < 2 * N; i++)
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(ivs[i], ivs[k], 8);
}

static void test_iv_fields(void **state)
{
	assert_true(esp_iv(0, 0, 0) == 0);
	assert_true(esp_iv(0, 0, UINT32_MAX) == UINT32_MAX);
	assert_true(esp_iv(0, 1, 0) == UINT64_C(1) << 32);
	assert_true(esp_iv(1, 0, 0) == UINT64_C(1) << 54);
	assert_true(esp_iv(1023, (1 << 22) - 1, UINT32_MAX) == UINT64_MAX);
	assert_true(esp_iv(0x201, 0x200001, 7) == UINT64_C(0x8060000100000007));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_hmac),
		cmocka_unit_test(test_gcm_vectors),
		cmocka_unit_test(test_cbc_vectors),
		cmocka_unit_test(test_cbc_seal_by_reference),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_tampered),
		cmocka_unit_test(test_other_key),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_unaligned),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_cbc_ivs),
		cmocka_unit_test(test_iv_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
