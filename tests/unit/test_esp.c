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

#include "tunnels/ipsec/esp.h"

#define SPI UINT32_C(0xc0ffee01)
#define MAX 2048

struct suite {
	const char *name;
	uint16_t enc, integ;
	size_t enc_key_len, integ_key_len, align, iv_len, icv_len;
	const char *cipher, *digest; /* of OpenSSL */
	bool esn;
};

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

static const struct suite suites[] = { ALL(false), ALL(true) };
#define SUITES (sizeof(suites) / sizeof(suites[0]))
/* What a sequence number of a test has above its 32 bits. */
#define HIGH(s) ((s)->esn ? UINT64_C(0x0badcafe) << 32 : 0)

static const uint8_t test_key[36] = "0123456789abcdef0123456789abcdefSALT";
static const uint8_t test_integ[64] = "an integrity key of 32 octets... and of as many "
				      "again, for 64";

static const struct suite *suite_named(const char *name, bool esn)
{
	for (size_t i = 0; i < SUITES; i++)
		if (!strcmp(suites[i].name, name) && suites[i].esn == esn)
			return &suites[i];
	fail_msg("no suite %s", name);
	return NULL;
}

static struct esp_cipher *cipher_with(const struct suite *s, const uint8_t *key,
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

/* HMAC from its definition (RFC 2104), so that the engine's is not its own judge. */
static void reference_hmac(const char *digest, const uint8_t *key, const uint8_t *from,
			   size_t len, uint8_t *mac)
{
	const EVP_MD *md = EVP_get_digestbyname(digest);
	size_t block = (size_t)EVP_MD_get_block_size(md);
	uint8_t pad[128 + MAX], inner[128 + 64];
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

/* Of a packet, and of the number's upper half if it is extended. */
static void reference_icv(const struct suite *s, uint64_t seq, const uint8_t *packet,
			  size_t len, uint8_t *icv)
{
	uint8_t text[MAX + 4], full[64];

	memcpy(text, packet, len);
	for (int i = 0; i < 4; i++)
		text[len + (size_t)i] = (uint8_t)(seq >> (56 - 8 * i));
	reference_hmac(s->digest, test_integ, text, len + (s->esn ? 4 : 0), full);
	memcpy(icv, full, s->icv_len);
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
			reference_hmac(cases[i].digest, key, text, len, got);
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
		c = cipher_with(s, key, NULL);
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
	c = cipher_with(s, key, NULL);
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
		c = cipher_with(s, key, test_integ);
		reference_icv(s, 0, packet, packet_len, packet + packet_len);
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

/* What we seal with CBC or without encryption is what OpenSSL's one-shot calls make of the
 * same IV. */
static void test_hmac_seal_by_reference(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = cipher_of(s);
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
						test_key, packet + 8, NULL),
			    1);
			assert_int_equal(EVP_EncryptUpdate(ctx, want, &n, text, 32), 1);
			assert_int_equal(n, 32);
		}
		assert_memory_equal(packet + 8 + s->iv_len, want, 32);
		reference_icv(s, seq, packet, covered, icv);
		assert_memory_equal(packet + covered, icv, s->icv_len);
	next:
		EVP_CIPHER_CTX_free(ctx);
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
	uint64_t seq = HIGH(s) + 1 + len;

	assert_int_equal(esp_seal(c, SPI, seq, len, 4, payload, len, packet,
				  sizeof(packet), &packet_len),
			 0);
	assert_true(packet_len <= len + esp_overhead(c));
	assert_true(esp_overhead(c) <= ESP_OVERHEAD_MAX);
	/* The least padding that aligns. */
	assert_int_equal((packet_len - 8 - s->iv_len - s->icv_len) % s->align, 0);
	assert_true(packet_len - 8 - s->iv_len - s->icv_len - 2 - len < s->align);
	assert_int_equal(esp_open(c, packet, packet_len, seq, got, sizeof(got), &got_len,
				  &next_header),
			 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, payload, len);
	assert_int_equal(next_header, 4);
	/* A buffer one byte short is refused by both. */
	assert_int_equal(
	    esp_seal(c, SPI, 1, 0, 4, payload, len, packet, packet_len - 1, &packet_len),
	    -ENOSPC);
	assert_int_equal(esp_open(c, packet, packet_len, seq, got,
				  packet_len - 8 - s->iv_len - s->icv_len - 1, &got_len,
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

/* The keys stay while it rests, and each CBC IV is a fresh one. */
static void test_rest(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = cipher_of(s);
		uint8_t payload[64], packet[2][MAX], got[MAX], next_header;
		size_t len[2], got_len;

		fill(payload, sizeof(payload), 1);
		for (int at = 0; at < 2; at++) {
			esp_cipher_rest(c);
			assert_int_equal(esp_seal(c, SPI, HIGH(s) + 1, 1, 4, payload,
						  sizeof(payload), packet[at], MAX,
						  &len[at]),
					 0);
		}
		esp_cipher_rest(c);
		esp_cipher_rest(c);
		for (int at = 0; at < 2; at++) {
			assert_int_equal(esp_open(c, packet[at], len[at], HIGH(s) + 1,
						  got, sizeof(got), &got_len,
						  &next_header),
					 0);
			assert_int_equal(got_len, sizeof(payload));
			assert_memory_equal(got, payload, got_len);
		}
		if (s->iv_len == 16)
			assert_memory_not_equal(packet[0] + 8, packet[1] + 8, 16);
		else
			assert_memory_equal(packet[0], packet[1], len[0]);
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
		    esp_open(c, packet, len, 1, got, room, &got_len, &next_header), 0);
		assert_int_equal(got_len, ESP_PAYLOAD_MAX);
		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, payload, ESP_PAYLOAD_MAX + 1,
					  packet, room, &len),
				 -EINVAL);
		/* One of these is aligned, and its size alone speaks against it. */
		for (len = ESP_PACKET_MAX + 1; len <= room; len++)
			assert_int_equal(esp_open(c, packet, len, 1, got, room, &got_len,
						  &next_header),
					 -EINVAL);
		esp_cipher_free(c);
	}
	free(payload);
	free(packet);
	free(got);
}

/* Nothing of a refused packet comes out, and the outputs are untouched. */
static void assert_refused(struct esp_cipher *c, const uint8_t *packet, size_t len,
			   uint64_t seq, int want)
{
	static const uint8_t nothing[MAX];
	uint8_t out[MAX], next_header = 0x55;
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
	struct esp_cipher *c = cipher_of(s);
	uint8_t payload[60], packet[MAX], got[MAX], next_header;
	uint64_t seq = HIGH(s) + 7;
	size_t len, got_len;

	fill(payload, sizeof(payload), 3);
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
	for (size_t i = 0; i < SUITES; i++)
		tamper_with(&suites[i]);
}

static void test_other_key(void **state)
{
	for (size_t i = 0; i < SUITES; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = cipher_of(s);
		uint8_t packet[MAX], key[36], integ[64];
		size_t len;

		assert_int_equal(esp_seal(c, SPI, 7, 8, 4, test_key, sizeof(test_key),
					  packet, sizeof(packet), &len),
				 0);
		esp_cipher_free(c);
		/* The last byte of a GCM key is salt; of CBC's keys only integ is
		 * checked. */
		memcpy(key, test_key, sizeof(key));
		memcpy(integ, test_integ, sizeof(integ));
		if (s->integ == ESP_AUTH_NONE)
			key[s->enc_key_len - 1] ^= 1;
		else
			integ[s->integ_key_len - 1] ^= 1;
		c = cipher_with(s, key, integ);
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
	memcpy(nonce, test_key + s->enc_key_len - 4, 4);
	memcpy(nonce + 4, packet + 8, 8);
	assert_int_equal(
	    EVP_EncryptInit_ex2(ctx, ciphers[chacha ? 3 : (s->enc_key_len - 20) / 8],
				test_key, nonce, NULL),
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
						     test_key, packet + 8, NULL),
				 1);
		EVP_CIPHER_CTX_set_padding(ctx, 0);
		assert_int_equal(EVP_EncryptUpdate(ctx, at, &n, text, (int)len), 1);
	}
	EVP_CIPHER_CTX_free(ctx);
	reference_icv(s, AUTHENTIC_SEQ, packet, (size_t)(at - packet) + len, at + len);
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

	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c = cipher_of(&suites[i]);

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

	for (size_t i = 0; i < SUITES; i++) {
		struct esp_cipher *c;
		size_t len;

		if (suites[i].cipher)
			continue; /* a block cipher could not even make it */
		c = cipher_of(&suites[i]);
		len = authentic(&suites[i], (const uint8_t *)"abcde\x00\x04", 7, packet);

		assert_refused(c, packet, len, AUTHENTIC_SEQ, -EINVAL);
		len = authentic(&suites[i], (const uint8_t *)"", 0, packet);
		assert_refused(c, packet, len, AUTHENTIC_SEQ, -EINVAL);
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
			assert_int_equal(esp_open(c, buf, len, 1, out, sizeof(out),
						  &outlen, &next_header),
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
		if (!suites[i].esn)
			assert_int_equal(esp_seal(c, SPI, UINT64_C(1) << 32, 1, 4, packet,
						  8, packet, 256, &len),
					 -EINVAL);
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
		{ ESP_ENCR_AES_GCM_16, 24, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 32, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 0, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 20, 12, 32, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 16, 0, 0, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 16, 1, 16, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 24, 12, 20, -EINVAL },
		{ ESP_ENCR_AES_CBC, 16, 12, 20, -EINVAL },
		{ ESP_ENCR_AES_CBC, 20, 12, 32, -EINVAL },
		{ ESP_ENCR_AES_CBC, 16, 2, 32, -EINVAL },
		{ ESP_ENCR_NULL, 0, 0, 0, -ENOTSUP }, /* RFC 4303 3.2.1: not both */
		{ ESP_ENCR_NULL, 16, 2, 20, -EINVAL },
		{ ESP_ENCR_CHACHA20_POLY1305, 32, 0, 0, -EINVAL },
		{ ESP_ENCR_CHACHA20_POLY1305, 20, 0, 0, -EINVAL },
		{ 3, 24, 2, 20, -ENOTSUP },
		{ 0, 0, 0, 0, -ENOTSUP },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct esp_algorithms a = {
			cases[i].enc,	test_key,   cases[i].enc_key_len,
			cases[i].integ, test_integ, cases[i].integ_key_len,
			false
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
		struct esp_cipher *c = cipher_of(suite_named("aes128-sha256", false));

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
		cmocka_unit_test(test_aead_vectors),
		cmocka_unit_test(test_gcm192_vector),
		cmocka_unit_test(test_cbc_vectors),
		cmocka_unit_test(test_hmac_seal_by_reference),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_rest),
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
