/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ESP as the RFCs and OpenSSL have it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>

#include "tests/unit/suite.h"

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

/* RFC 2202 section 3, case 1, and RFC 4868 section 2.7.2, cases 1 to 3 of each. */
static void test_reference_hmac(void **state)
{
	static const struct {
		const char *digest;
		size_t key_len, mac_len;
		const char *macs[3];
	} cases[] = {
		{ "SHA1", 20, 12, { "b617318655057264e28bc0b6" } },
		{ "SHA256",
		  32,
		  16,
		  { "198a607eb44bfbc69903a0f1cf2bbdc5",
		    "167f928588c5cc2eef8e3093caa0e87c",
		    "cdcb1220d1ecccea91e53aba3092f962" } },
		{ "SHA384",
		  48,
		  24,
		  { "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
		    "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d",
		    "809f439be00274321d4a538652164b53554a508184a0c316" } },
		{ "SHA512",
		  64,
		  32,
		  { "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
		    "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454",
		    "2ee7acd783624ca9398710f3ee05ae41b9f9b0510c87e49e586cc9bf961733d"
		    "8" } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t key[64], text[64], want[64], got[64];

		for (unsigned k = 0; k < 3 && cases[i].macs[k]; k++) {
			size_t len = k == 0 ? 8 : k == 1 ? 28 : 50;

			memcpy(text, k ? "what do ya want for nothing?" : "Hi There",
			       k ? 28 : 8);
			memset(key, k ? 0xaa : 0x0b, sizeof(key));
			for (size_t n = 0; k == 1 && n < sizeof(key); n++)
				key[n] = (uint8_t) "Jefe"[n % 4];
			if (k == 2)
				memset(text, 0xdd, sizeof(text));
			from_hex(cases[i].macs[k], want);
			suite_hmac(cases[i].digest, key, text, len, got);
			assert_memory_equal(got, want, cases[i].mac_len);
		}
	}
}

/*
 * Whole packets: of draft-mcgrew-gcm-test-01, with tags cut to 12 and 8 bytes as SP
 * 800-38D cuts them, too; and of RFC 7634, appendix A.
 */
struct aead_vector {
	const char *suite;
	bool esn;
	const char *key; /* with salt */
	uint32_t spi;
	uint64_t seq, iv;
	uint8_t next_header;
	const char *payload, *packet;
	size_t icv_len;
};

#define V1_TEXT                                                                          \
	"4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100"               \
	"0001000000000000037369700963796265726369747902646b0000010001"
#define V1_PACKET                                                                        \
	"0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304"               \
	"a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642"               \
	"cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a"
#define V1(suite, icv)                                                                   \
	{                                                                                \
		suite, false, "feffe9928665731c6d6a8f9467308308cafebabe", 0xa5f8, 10,    \
		    UINT64_C(0xfacedbaddecaf888), 1, V1_TEXT, V1_PACKET, icv             \
	}

static const struct aead_vector aead_vectors[] = {
	V1("aes128gcm16", 16),
	V1("aes128gcm12", 12),
	V1("aes128gcm8", 8),
	{ "aes256gcm16", false,
	  "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
	  0x4a2cbfe3, 2, UINT64_C(0x0102030405060708), 1,
	  "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000"
	  "7002400020bf0000020405b401010402",
	  "4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d"
	  "6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d"
	  "ef842d8eb335f4eecfdbf831824b4c4915956c96",
	  16 },
	/* With an extended number, whose lower half is zero. */
	{ "aes128gcm16", true, "4c80cdefbb5d10da906ac73c3613a6342e443b68", 0x4321,
	  UINT64_C(0x8765432100000000), UINT64_C(0x4956ed7e3b244cfe), 1,
	  "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000"
	  "00000000045f736970045f756470037369700963796265726369747902646b00"
	  "00210001",
	  "00004321000000004956ed7e3b244cfefecf537e729d5b07dc30df528dd22b76"
	  "8d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d"
	  "15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe72"
	  "2fd04796562dfdb4",
	  16 },
	{ "chacha20poly1305", false,
	  "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3",
	  0x01020304, 5, UINT64_C(0x1011121314151617), 4,
	  "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10"
	  "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
	  "2425262728292a2b2c2d2e2f3031323334353637",
	  "0102030400000005101112131415161724039428b97f417e3c13753a4f05087b"
	  "67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7"
	  "2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da"
	  "9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43",
	  16 },
};

static void test_aead_vectors(void **state)
{
	for (size_t i = 0; i < sizeof(aead_vectors) / sizeof(aead_vectors[0]); i++) {
		const struct aead_vector *v = &aead_vectors[i];
		const struct suite *s = suite_named(v->suite, v->esn);
		uint8_t key[36], payload[256], packet[256], got[256], next_header = 0;
		size_t payload_len = from_hex(v->payload, payload);
		size_t packet_len = from_hex(v->packet, packet) - 16 + v->icv_len;
		struct esp_cipher *c;
		size_t len = 0;
		uint32_t spi, seq;

		assert_int_equal(from_hex(v->key, key), s->enc_key_len);
		c = suite_cipher_with(s, key, NULL);
		/* Those that are padded pad as we do. */
		assert_int_equal(esp_seal(c, v->spi, v->seq, v->iv, v->next_header,
					  payload, payload_len, got, sizeof(got), &len),
				 0);
		assert_int_equal(len, packet_len);
		assert_memory_equal(got, packet, len);
		assert_int_equal(esp_parse(packet, packet_len, &spi, &seq), 0);
		assert_int_equal(spi, v->spi);
		assert_int_equal(seq, (uint32_t)v->seq);
		assert_int_equal(esp_open(c, packet, packet_len, v->seq, got, sizeof(got),
					  &len, &next_header),
				 0);
		assert_int_equal(len, payload_len);
		assert_memory_equal(got, payload, len);
		assert_int_equal(next_header, v->next_header);
		esp_cipher_free(c);
	}
}

/* The draft's packet with a key of 192 bits has no trailer's form that a payload could
 * have made: it is only opened, and its text is looked at as a whole. */
static void test_gcm192_vector(void **state)
{
	const struct suite *s = suite_named("aes192gcm16", false);
	uint8_t key[36], packet[128], text[128], want[128], nonce[12];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	struct esp_cipher *c;
	size_t len, text_len;
	int n;

	from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe", key);
	text_len = from_hex("45000028a4ad4000400678800a01038f0a010612802306b8cb712602"
			    "dd6bb03e501016d0",
			    want);
	c = suite_cipher_with(s, key, NULL);
	assert_int_equal(esp_seal(c, 0xa5f8, 10, UINT64_C(0xfacedbaddecaf888), 1, want,
				  text_len, packet, sizeof(packet), &len),
			 0);
	/* The stream does not depend on the text: what both share encrypts to the same. */
	from_hex("0000a5f80000000afacedbaddecaf888a5b1f8066029aea40e598b8122de0242"
		 "0938b3ab33f828e687b8858b5bfbdbd0315b2745",
		 text);
	assert_memory_equal(packet, text, 16 + text_len);
	memcpy(nonce, key + 24, 4);
	memcpy(nonce + 4, packet + 8, 8);
	assert_int_equal(EVP_DecryptInit_ex(ctx, EVP_aes_192_gcm(), NULL, key, nonce), 1);
	assert_int_equal(EVP_DecryptUpdate(ctx, NULL, &n, packet, 8), 1);
	assert_int_equal(EVP_DecryptUpdate(ctx, text, &n, packet + 16, (int)len - 32), 1);
	assert_memory_equal(text, want, text_len);
	assert_int_equal(
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, packet + len - 16), 1);
	assert_int_equal(EVP_DecryptFinal_ex(ctx, text, &n), 1);
	EVP_CIPHER_CTX_free(ctx);
	esp_cipher_free(c);
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
		const struct suite *s = suite_named("aes128-sha256", false);
		uint8_t key[32], payload[256], packet[256], got[256];
		uint8_t next_header = 0;
		size_t payload_len = from_hex(v->payload, payload);
		size_t packet_len = from_hex(v->packet, packet);
		struct esp_cipher *c;
		size_t len = 0;

		from_hex(v->key, key);
		c = suite_cipher_with(s, key, suite_integ);
		suite_icv(s, 0, packet, packet_len, packet + packet_len);
		packet_len += s->icv_len;
		assert_int_equal(esp_open(c, packet, packet_len, 0, got, sizeof(got),
					  &len, &next_header),
				 0);
		assert_int_equal(len, payload_len);
		assert_memory_equal(got, payload, len);
		assert_int_equal(next_header, v->next_header);
		esp_cipher_free(c);
	}
}

/* What we seal with CBC or without encryption is what OpenSSL's one-shot calls make of
 * the same IV. */
static void test_hmac_seal_by_reference(void **state)
{
	for (size_t i = 0; i < suite_count; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = suite_cipher(s);
		EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
		uint8_t packet[128], icv[64];
		uint8_t text[32] = "twenty-seven octets of text\x01\x02\x03\x03\x29",
			want[48];
		uint64_t seq = HIGH(s) + 9;
		size_t len, covered = 8 + s->iv_len + 32;
		int n;

		if (!s->digest)
			goto next;
		assert_int_equal(
		    esp_seal(c, SPI, seq, 77, 41, text, 27, packet, sizeof(packet), &len),
		    0);
		assert_int_equal(len, covered + s->icv_len);
		memcpy(want, text, 32);
		if (s->cipher) {
			assert_int_equal(
			    EVP_EncryptInit_ex2(ctx, EVP_get_cipherbyname(s->cipher),
						suite_key, packet + 8, NULL),
			    1);
			assert_int_equal(EVP_EncryptUpdate(ctx, want, &n, text, 32), 1);
			assert_int_equal(n, 32);
		}
		assert_memory_equal(packet + 8 + s->iv_len, want, 32);
		suite_icv(s, seq, packet, covered, icv);
		assert_memory_equal(packet + covered, icv, s->icv_len);
	next:
		EVP_CIPHER_CTX_free(ctx);
		esp_cipher_free(c);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_hmac),
		cmocka_unit_test(test_aead_vectors),
		cmocka_unit_test(test_gcm192_vector),
		cmocka_unit_test(test_cbc_vectors),
		cmocka_unit_test(test_hmac_seal_by_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
