/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tunnels/ipsec/esp.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define SALT_LEN 4
#define NONCE_LEN 12
#define BLOCK_LEN 16
#define GCM_IV_LEN 8
#define GCM_ALIGN 4
#define HMAC_KEY_LEN 32
#define HMAC_LEN 32
/* Pad length and next header. */
#define TRAILER_LEN 2

struct suite {
	uint16_t enc, integ;
	bool aead;
	const char *name;
	size_t key_len; /* without salt */
	size_t salt_len;
	size_t iv_len;
	size_t align;
};

static const struct suite suites[] = {
	{ ESP_ENCR_AES_GCM_16, ESP_AUTH_NONE, true, "AES-128-GCM", 16, SALT_LEN,
	  GCM_IV_LEN, GCM_ALIGN },
	{ ESP_ENCR_AES_GCM_16, ESP_AUTH_NONE, true, "AES-256-GCM", 32, SALT_LEN,
	  GCM_IV_LEN, GCM_ALIGN },
	{ ESP_ENCR_AES_CBC, ESP_AUTH_HMAC_SHA2_256_128, false, "AES-128-CBC", 16, 0,
	  BLOCK_LEN, BLOCK_LEN },
	{ ESP_ENCR_AES_CBC, ESP_AUTH_HMAC_SHA2_256_128, false, "AES-256-CBC", 32, 0,
	  BLOCK_LEN, BLOCK_LEN },
};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

/* The library's objects, fetched once: a fetch costs more than sealing a packet. */
static struct {
	pthread_once_t once;
	EVP_CIPHER *cipher[SUITES];
	EVP_CIPHER *block;
	EVP_MAC *hmac;
} fetched = { .once = PTHREAD_ONCE_INIT };

struct esp_cipher {
	const struct suite *suite;
	uint8_t salt[SALT_LEN];
	EVP_CIPHER_CTX *seal, *open;
	EVP_CIPHER_CTX *iv_maker; /* CBC: a block cipher under a random key */
	EVP_MAC_CTX *hmac;	  /* CBC */
};

static void fetch_all(void)
{
	for (size_t i = 0; i < SUITES; i++)
		fetched.cipher[i] = EVP_CIPHER_fetch(NULL, suites[i].name, NULL);
	fetched.block = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	fetched.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

static int find_suite(const struct suite **out, const struct esp_algorithms *a)
{
	bool known = false;

	for (size_t i = 0; i < SUITES; i++) {
		const struct suite *s = &suites[i];

		if (s->enc != a->enc || s->integ != a->integ)
			continue;
		known = true;
		if (s->key_len + s->salt_len != a->enc_key_len)
			continue;
		if (!s->aead && a->integ_key_len != HMAC_KEY_LEN)
			continue;
		*out = s;
		return 0;
	}
	return known ? -EINVAL : -ENOTSUP;
}

/* A context that is keyed once; each packet only sets its IV. */
static EVP_CIPHER_CTX *keyed_context(const EVP_CIPHER *cipher, const uint8_t *key,
				     int enc)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	if (ctx == NULL || cipher == NULL)
		goto fail;
	if (EVP_CipherInit_ex2(ctx, cipher, key, NULL, enc, NULL) != 1 ||
	    EVP_CIPHER_CTX_set_padding(ctx, 0) != 1)
		goto fail;
	return ctx;
fail:
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static EVP_CIPHER_CTX *iv_maker_new(void)
{
	EVP_CIPHER_CTX *ctx = NULL;
	uint8_t key[BLOCK_LEN];

	if (RAND_priv_bytes(key, sizeof(key)) == 1)
		ctx = keyed_context(fetched.block, key, 1);
	OPENSSL_cleanse(key, sizeof(key));
	return ctx;
}

static EVP_MAC_CTX *hmac_new(const uint8_t *key, size_t len)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC_CTX *ctx = fetched.hmac ? EVP_MAC_CTX_new(fetched.hmac) : NULL;

	if (ctx != NULL && EVP_MAC_init(ctx, key, len, params) == 1)
		return ctx;
	EVP_MAC_CTX_free(ctx);
	return NULL;
}

int esp_cipher_new(struct esp_cipher **out, const struct esp_algorithms *a)
{
	const struct suite *suite;
	struct esp_cipher *c;
	const EVP_CIPHER *cipher;
	int rc = find_suite(&suite, a);

	if (rc < 0)
		return rc;
	pthread_once(&fetched.once, fetch_all);
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->suite = suite;
	cipher = fetched.cipher[suite - suites];
	memcpy(c->salt, a->enc_key + suite->key_len, suite->salt_len);
	c->seal = keyed_context(cipher, a->enc_key, 1);
	c->open = keyed_context(cipher, a->enc_key, 0);
	if (c->seal == NULL || c->open == NULL)
		goto fail;
	if (!suite->aead) {
		c->iv_maker = iv_maker_new();
		c->hmac = hmac_new(a->integ_key, a->integ_key_len);
		if (c->iv_maker == NULL || c->hmac == NULL)
			goto fail;
	}
	*out = c;
	return 0;
fail:
	esp_cipher_free(c);
	return -EIO;
}

void esp_cipher_free(struct esp_cipher *c)
{
	if (c == NULL)
		return;
	/* These wipe the key schedules that they hold. */
	EVP_CIPHER_CTX_free(c->seal);
	EVP_CIPHER_CTX_free(c->open);
	EVP_CIPHER_CTX_free(c->iv_maker);
	EVP_MAC_CTX_free(c->hmac);
	OPENSSL_cleanse(c, sizeof(*c));
	free(c);
}

size_t esp_overhead(const struct esp_cipher *c)
{
	return ESP_HEADER_LEN + c->suite->iv_len + c->suite->align - 1 + TRAILER_LEN +
	       ESP_ICV_LEN;
}

static void put_be32(uint8_t *at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get_be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 |
	       at[3];
}

/*
 * CBC needs an IV that nobody can foresee; a block cipher under a key that never leaves
 * this object makes one from a nonce (NIST SP 800-38A, appendix C), and being a
 * permutation it gives no value twice.
 */
static int cbc_iv(struct esp_cipher *c, const uint8_t *header, uint64_t iv, uint8_t *out)
{
	uint8_t block[BLOCK_LEN];
	int n;

	put_be32(block, (uint32_t)(iv >> 32));
	put_be32(block + 4, (uint32_t)iv);
	memcpy(block + 8, header, ESP_HEADER_LEN);
	return EVP_EncryptUpdate(c->iv_maker, out, &n, block, BLOCK_LEN) == 1 ? 0 : -EIO;
}

static int hmac_icv(struct esp_cipher *c, const uint8_t *from, size_t len, uint8_t *icv)
{
	uint8_t full[HMAC_LEN];
	size_t n;
	int rc = -EIO;

	/* Without a key this begins anew with the old one, for half the cost of a copy.
	 */
	if (EVP_MAC_init(c->hmac, NULL, 0, NULL) == 1 &&
	    EVP_MAC_update(c->hmac, from, len) == 1 &&
	    EVP_MAC_final(c->hmac, full, &n, sizeof(full)) == 1) {
		memcpy(icv, full, ESP_ICV_LEN);
		rc = 0;
	}
	OPENSSL_cleanse(full, sizeof(full));
	return rc;
}

static void gcm_nonce(const struct esp_cipher *c, const uint8_t *iv, uint8_t *nonce)
{
	memcpy(nonce, c->salt, SALT_LEN);
	memcpy(nonce + SALT_LEN, iv, GCM_IV_LEN);
}

/* Encrypts text in place; header begins the packet and the ICV follows the text. */
static int gcm_seal(struct esp_cipher *c, uint8_t *header, uint8_t *text, size_t len)
{
	uint8_t nonce[NONCE_LEN];
	int n;

	gcm_nonce(c, header + ESP_HEADER_LEN, nonce);
	if (EVP_EncryptInit_ex2(c->seal, NULL, NULL, nonce, NULL) != 1 ||
	    EVP_EncryptUpdate(c->seal, NULL, &n, header, ESP_HEADER_LEN) != 1 ||
	    EVP_EncryptUpdate(c->seal, text, &n, text, (int)len) != 1 ||
	    EVP_EncryptFinal_ex(c->seal, text + len, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c->seal, EVP_CTRL_AEAD_GET_TAG, ESP_ICV_LEN,
				text + len) != 1)
		return -EIO;
	return 0;
}

static int cbc_seal(struct esp_cipher *c, uint8_t *header, uint8_t *text, size_t len)
{
	int n;

	if (EVP_EncryptInit_ex2(c->seal, NULL, NULL, header + ESP_HEADER_LEN, NULL) !=
		1 ||
	    EVP_EncryptUpdate(c->seal, text, &n, text, (int)len) != 1)
		return -EIO;
	return hmac_icv(c, header, (size_t)(text - header) + len, text + len);
}

/* Appends padding 1, 2, 3 ... and the trailer, and returns the length with them. */
static size_t append_trailer(uint8_t *text, size_t len, size_t align, uint8_t next_header)
{
	size_t pad = (align - (len + TRAILER_LEN) % align) % align;

	for (size_t i = 0; i < pad; i++)
		text[len + i] = (uint8_t)(i + 1);
	text[len + pad] = (uint8_t)pad;
	text[len + pad + 1] = next_header;
	return len + pad + TRAILER_LEN;
}

static size_t padded_len(size_t len, size_t align)
{
	return (len + TRAILER_LEN + align - 1) / align * align;
}

int esp_seal(struct esp_cipher *c, uint32_t spi, uint32_t seq, uint64_t iv,
	     uint8_t next_header, const uint8_t *payload, size_t len, uint8_t *out,
	     size_t size, size_t *outlen)
{
	const struct suite *s = c->suite;
	uint8_t *text = out + ESP_HEADER_LEN + s->iv_len;
	size_t total, text_len;
	int rc = 0;

	if (spi == 0 || seq == 0 || len > ESP_PAYLOAD_MAX)
		return -EINVAL;
	total = ESP_HEADER_LEN + s->iv_len + padded_len(len, s->align) + ESP_ICV_LEN;
	if (size < total)
		return -ENOSPC;
	/* First of all, since the header may overwrite a payload that overlaps out. */
	if (len > 0)
		memmove(text, payload, len);
	text_len = append_trailer(text, len, s->align, next_header);
	put_be32(out, spi);
	put_be32(out + 4, seq);
	if (s->aead) {
		put_be32(out + ESP_HEADER_LEN, (uint32_t)(iv >> 32));
		put_be32(out + ESP_HEADER_LEN + 4, (uint32_t)iv);
		rc = gcm_seal(c, out, text, text_len);
	} else {
		rc = cbc_iv(c, out, iv, out + ESP_HEADER_LEN);
		if (rc == 0)
			rc = cbc_seal(c, out, text, text_len);
	}
	if (rc < 0) {
		OPENSSL_cleanse(out, total);
		return rc;
	}
	*outlen = total;
	return 0;
}

/* GCM decrypts as it verifies; a wrong tag shows last, and the caller wipes the text. */
static int gcm_open(struct esp_cipher *c, const uint8_t *packet, const uint8_t *text,
		    size_t len, uint8_t *out)
{
	uint8_t nonce[NONCE_LEN], icv[ESP_ICV_LEN];
	int n;

	gcm_nonce(c, packet + ESP_HEADER_LEN, nonce);
	memcpy(icv, text + len, sizeof(icv));
	if (EVP_DecryptInit_ex2(c->open, NULL, NULL, nonce, NULL) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c->open, EVP_CTRL_AEAD_SET_TAG, ESP_ICV_LEN, icv) != 1 ||
	    EVP_DecryptUpdate(c->open, NULL, &n, packet, ESP_HEADER_LEN) != 1 ||
	    EVP_DecryptUpdate(c->open, out, &n, text, (int)len) != 1)
		return -EIO;
	return EVP_DecryptFinal_ex(c->open, out + len, &n) == 1 ? 0 : -EBADMSG;
}

static int cbc_open(struct esp_cipher *c, const uint8_t *packet, const uint8_t *text,
		    size_t len, uint8_t *out)
{
	uint8_t icv[ESP_ICV_LEN];
	int n, rc;

	rc = hmac_icv(c, packet, (size_t)(text - packet) + len, icv);
	if (rc < 0)
		return rc;
	if (CRYPTO_memcmp(icv, text + len, sizeof(icv)) != 0)
		return -EBADMSG;
	if (EVP_DecryptInit_ex2(c->open, NULL, NULL, packet + ESP_HEADER_LEN, NULL) !=
		1 ||
	    EVP_DecryptUpdate(c->open, out, &n, text, (int)len) != 1)
		return -EIO;
	return 0;
}

/* The payload's length in an authentic text, or -EINVAL if its padding is wrong. */
static int strip_trailer(const uint8_t *text, size_t len, size_t *payload_len)
{
	size_t pad = text[len - TRAILER_LEN];

	if (pad + TRAILER_LEN > len)
		return -EINVAL;
	len -= pad + TRAILER_LEN;
	for (size_t i = 0; i < pad; i++)
		if (text[len + i] != i + 1)
			return -EINVAL;
	*payload_len = len;
	return 0;
}

int esp_open(struct esp_cipher *c, const uint8_t *packet, size_t len, uint8_t *out,
	     size_t size, size_t *outlen, uint8_t *next_header)
{
	const struct suite *s = c->suite;
	size_t before = ESP_HEADER_LEN + s->iv_len;
	const uint8_t *text = packet + before;
	size_t text_len, payload_len;
	int rc;

	if (len < before + s->align + ESP_ICV_LEN || len > ESP_PACKET_MAX)
		return -EINVAL;
	text_len = len - before - ESP_ICV_LEN;
	if (text_len % s->align != 0)
		return -EINVAL;
	if (size < text_len)
		return -ENOSPC;
	rc = s->aead ? gcm_open(c, packet, text, text_len, out)
		     : cbc_open(c, packet, text, text_len, out);
	if (rc == 0)
		rc = strip_trailer(out, text_len, &payload_len);
	if (rc < 0) {
		OPENSSL_cleanse(out, text_len);
		return rc;
	}
	*next_header = out[text_len - 1];
	*outlen = payload_len;
	return 0;
}

int esp_parse(const uint8_t *packet, size_t len, uint32_t *spi, uint32_t *seq)
{
	if (len < ESP_HEADER_LEN || get_be32(packet) == 0)
		return -EINVAL;
	*spi = get_be32(packet);
	*seq = get_be32(packet + 4);
	return 0;
}

uint64_t esp_iv(uint32_t member_id, uint32_t activation, uint32_t counter)
{
	assert(member_id < UINT32_C(1) << ESP_IV_MEMBER_BITS);
	assert(activation < UINT32_C(1) << ESP_IV_ACTIVATION_BITS);
	return (uint64_t)member_id << (ESP_IV_ACTIVATION_BITS + ESP_IV_COUNTER_BITS) |
	       (uint64_t)activation << ESP_IV_COUNTER_BITS | counter;
}
