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
#define AEAD_IV_LEN 8
#define HIGH_LEN 4 /* of an extended sequence number, in no packet */
/* Pad length and next header. */
#define TRAILER_LEN 2

/* Encryption alone, or with its own integrity (icv_len > 0). */
struct encryption {
	uint16_t id;
	const char *name; /* of the crypto library, NULL: none */
	size_t key_len;	  /* without salt */
	size_t salt_len;
	size_t iv_len;
	size_t align;
	size_t icv_len;
};

static const struct encryption encryptions[] = {
#define X(id, name, key, salt, iv, align, icv) { id, name, key, salt, iv, align, icv },
	ESP_ENCRYPTIONS(X)
#undef X
};
#define ENCRYPTIONS (sizeof(encryptions) / sizeof(encryptions[0]))

struct integrity {
	uint16_t id;
	const char *digest;
	size_t key_len, icv_len;
};

static const struct integrity integrities[] = {
#define X(id, digest, key, icv) { id, digest, key, icv },
	ESP_INTEGRITIES(X)
#undef X
};
#define INTEGRITIES (sizeof(integrities) / sizeof(integrities[0]))
#define DIGEST_MAX 64
#define ENCRYPTION_KEY_MAX 32

/* The library's objects, fetched once: a fetch costs more than sealing a packet. */
static struct {
	pthread_once_t once;
	EVP_CIPHER *cipher[ENCRYPTIONS];
	EVP_CIPHER *block;
	EVP_MAC *hmac;
} fetched = { .once = PTHREAD_ONCE_INIT };

struct esp_cipher {
	const struct encryption *encryption;
	const struct integrity *integrity; /* NULL: the encryption has its own */
	bool esn;
	size_t icv_len;
	uint8_t salt[SALT_LEN];
	uint8_t key[ENCRYPTION_KEY_MAX], integrity_key[DIGEST_MAX];
	/* Of the library, made when first needed: they are larger than all else of an SA,
	 * and of the SAs that it knows a member works for some only. NULL: not yet. */
	EVP_CIPHER_CTX *seal, *open;
	EVP_CIPHER_CTX *iv_maker; /* CBC: a block cipher under a random key */
	EVP_MAC_CTX *hmac;	  /* with an integrity algorithm */
};

static void fetch_all(void)
{
	for (size_t i = 0; i < ENCRYPTIONS; i++)
		if (encryptions[i].name)
			fetched.cipher[i] =
			    EVP_CIPHER_fetch(NULL, encryptions[i].name, NULL);
	fetched.block = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	fetched.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

static int find_encryption(const struct encryption **out, const struct esp_algorithms *a)
{
	int rc = -ENOTSUP;

	for (size_t i = 0; i < ENCRYPTIONS; i++) {
		const struct encryption *e = &encryptions[i];

		if (e->id != a->enc)
			continue;
		rc = -EINVAL;
		if (e->key_len + e->salt_len != a->enc_key_len)
			continue;
		*out = e;
		return 0;
	}
	return rc;
}

static int find_integrity(const struct integrity **out, const struct esp_algorithms *a)
{
	for (size_t i = 0; i < INTEGRITIES; i++) {
		if (integrities[i].id != a->integ)
			continue;
		if (integrities[i].key_len != a->integ_key_len)
			return -EINVAL;
		*out = &integrities[i];
		return 0;
	}
	return -ENOTSUP;
}

/* Just one of the two protects the packets: never none, nor both. */
static int find_suite(struct esp_cipher *c, const struct esp_algorithms *a)
{
	int rc = find_encryption(&c->encryption, a);

	if (rc < 0)
		return rc;
	c->icv_len = c->encryption->icv_len;
	if (c->icv_len)
		return a->integ == ESP_AUTH_NONE ? 0 : -ENOTSUP;
	rc = find_integrity(&c->integrity, a);
	if (rc == 0)
		c->icv_len = c->integrity->icv_len;
	return rc;
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

static EVP_MAC_CTX *hmac_new(const struct integrity *integrity, const uint8_t *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
						 (char *)integrity->digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC_CTX *ctx = fetched.hmac ? EVP_MAC_CTX_new(fetched.hmac) : NULL;

	if (ctx != NULL && EVP_MAC_init(ctx, key, integrity->key_len, params) == 1)
		return ctx;
	EVP_MAC_CTX_free(ctx);
	return NULL;
}

/* Each context has its key schedule made once, for all packets. */
static int need_hmac(struct esp_cipher *c)
{
	if (c->integrity && c->hmac == NULL)
		c->hmac = hmac_new(c->integrity, c->integrity_key);
	return c->integrity && c->hmac == NULL ? -EIO : 0;
}

static int need_context(struct esp_cipher *c, EVP_CIPHER_CTX **ctx, int enc)
{
	const EVP_CIPHER *cipher = fetched.cipher[c->encryption - encryptions];

	if (c->encryption->name && *ctx == NULL)
		*ctx = keyed_context(cipher, c->key, enc);
	return c->encryption->name && *ctx == NULL ? -EIO : 0;
}

static int need_iv_maker(struct esp_cipher *c)
{
	bool cbc = c->encryption->iv_len == BLOCK_LEN;

	if (cbc && c->iv_maker == NULL)
		c->iv_maker = iv_maker_new();
	return cbc && c->iv_maker == NULL ? -EIO : 0;
}

static int ready_to_seal(struct esp_cipher *c)
{
	int rc = need_context(c, &c->seal, 1);

	if (rc == 0)
		rc = need_hmac(c);
	return rc < 0 ? rc : need_iv_maker(c);
}

static int ready_to_open(struct esp_cipher *c)
{
	int rc = need_context(c, &c->open, 0);

	return rc < 0 ? rc : need_hmac(c);
}

static void copy_keys(struct esp_cipher *c, const struct esp_algorithms *a)
{
	const struct encryption *e = c->encryption;

	assert(e->key_len <= sizeof(c->key) && e->salt_len <= sizeof(c->salt));
	if (e->key_len + e->salt_len) {
		memcpy(c->key, a->enc_key, e->key_len);
		memcpy(c->salt, a->enc_key + e->key_len, e->salt_len);
	}
	if (c->integrity)
		memcpy(c->integrity_key, a->integ_key, c->integrity->key_len);
}

int esp_cipher_new(struct esp_cipher **out, const struct esp_algorithms *a)
{
	struct esp_cipher *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return -ENOMEM;
	pthread_once(&fetched.once, fetch_all);
	c->esn = a->esn;
	rc = find_suite(c, a);
	if (rc < 0) {
		esp_cipher_free(c);
		return rc;
	}
	copy_keys(c, a);
	*out = c;
	return 0;
}

void esp_cipher_rest(struct esp_cipher *c)
{
	/* These wipe the key schedules that they hold. */
	EVP_CIPHER_CTX_free(c->seal);
	EVP_CIPHER_CTX_free(c->open);
	EVP_CIPHER_CTX_free(c->iv_maker);
	EVP_MAC_CTX_free(c->hmac);
	c->seal = c->open = c->iv_maker = NULL;
	c->hmac = NULL;
}

void esp_cipher_free(struct esp_cipher *c)
{
	if (c == NULL)
		return;
	esp_cipher_rest(c);
	OPENSSL_cleanse(c, sizeof(*c));
	free(c);
}

size_t esp_overhead(const struct esp_cipher *c)
{
	return ESP_HEADER_LEN + c->encryption->iv_len + c->encryption->align - 1 +
	       TRAILER_LEN + c->icv_len;
}

size_t esp_room(const struct esp_cipher *c, size_t len)
{
	const struct encryption *e = c->encryption;
	size_t fixed = ESP_HEADER_LEN + e->iv_len + c->icv_len;

	if (len < fixed + e->align)
		return 0;
	return (len - fixed) / e->align * e->align - TRAILER_LEN;
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

/* The sequence number's high half is authenticated behind the packet (RFC 4303 2.2.1). */
static int hmac_icv(struct esp_cipher *c, const uint8_t *from, size_t len, uint64_t seq,
		    uint8_t *icv)
{
	uint8_t full[DIGEST_MAX], high[HIGH_LEN];
	size_t n;
	int rc = -EIO;

	put_be32(high, (uint32_t)(seq >> 32));
	/* Without a key this begins anew with the old one, for half the cost of a copy. */
	if (EVP_MAC_init(c->hmac, NULL, 0, NULL) == 1 &&
	    EVP_MAC_update(c->hmac, from, len) == 1 &&
	    (!c->esn || EVP_MAC_update(c->hmac, high, sizeof(high)) == 1) &&
	    EVP_MAC_final(c->hmac, full, &n, sizeof(full)) == 1) {
		memcpy(icv, full, c->icv_len);
		rc = 0;
	}
	OPENSSL_cleanse(full, sizeof(full));
	return rc;
}

/* What an AEAD cipher takes beside the text: its nonce, and the header, in which an
 * extended sequence number stands whole (RFC 4106 section 5, RFC 7634 section 2.1). */
struct aead_input {
	uint8_t nonce[NONCE_LEN];
	uint8_t aad[ESP_HEADER_LEN + HIGH_LEN];
	int aad_len;
};

static void aead_input(const struct esp_cipher *c, const uint8_t *packet, uint64_t seq,
		       struct aead_input *out)
{
	memcpy(out->nonce, c->salt, SALT_LEN);
	memcpy(out->nonce + SALT_LEN, packet + ESP_HEADER_LEN, AEAD_IV_LEN);
	memcpy(out->aad, packet, ESP_HEADER_LEN);
	out->aad_len = ESP_HEADER_LEN;
	if (!c->esn)
		return;
	memcpy(out->aad + 4 + HIGH_LEN, packet + 4, 4);
	put_be32(out->aad + 4, (uint32_t)(seq >> 32));
	out->aad_len += HIGH_LEN;
}

/* Encrypts text in place; header begins the packet and the ICV follows the text. */
static int aead_seal(struct esp_cipher *c, uint8_t *header, uint64_t seq, uint8_t *text,
		     size_t len)
{
	struct aead_input in;
	int n;

	aead_input(c, header, seq, &in);
	if (EVP_EncryptInit_ex2(c->seal, NULL, NULL, in.nonce, NULL) != 1 ||
	    EVP_EncryptUpdate(c->seal, NULL, &n, in.aad, in.aad_len) != 1 ||
	    EVP_EncryptUpdate(c->seal, text, &n, text, (int)len) != 1 ||
	    EVP_EncryptFinal_ex(c->seal, text + len, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c->seal, EVP_CTRL_AEAD_GET_TAG, (int)c->icv_len,
				text + len) != 1)
		return -EIO;
	return 0;
}

static int hmac_seal(struct esp_cipher *c, uint8_t *header, uint64_t seq, uint8_t *text,
		     size_t len)
{
	int n;

	if (c->seal && (EVP_EncryptInit_ex2(c->seal, NULL, NULL, header + ESP_HEADER_LEN,
					    NULL) != 1 ||
			EVP_EncryptUpdate(c->seal, text, &n, text, (int)len) != 1))
		return -EIO;
	return hmac_icv(c, header, (size_t)(text - header) + len, seq, text + len);
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

/* The IV that the packet shows. */
static int write_iv(struct esp_cipher *c, uint8_t *packet, uint64_t iv)
{
	uint8_t *at = packet + ESP_HEADER_LEN;

	if (c->iv_maker)
		return cbc_iv(c, packet, iv, at);
	if (c->encryption->iv_len) {
		put_be32(at, (uint32_t)(iv >> 32));
		put_be32(at + 4, (uint32_t)iv);
	}
	return 0;
}

int esp_seal(struct esp_cipher *c, uint32_t spi, uint64_t seq, uint64_t iv,
	     uint8_t next_header, const uint8_t *payload, size_t len, uint8_t *out,
	     size_t size, size_t *outlen)
{
	const struct encryption *e = c->encryption;
	uint8_t *text = out + ESP_HEADER_LEN + e->iv_len;
	size_t total, text_len;
	int rc;

	if (spi == 0 || seq == 0 || (!c->esn && seq > UINT32_MAX) ||
	    len > ESP_PAYLOAD_MAX)
		return -EINVAL;
	total = ESP_HEADER_LEN + e->iv_len + padded_len(len, e->align) + c->icv_len;
	if (size < total)
		return -ENOSPC;
	rc = ready_to_seal(c);
	if (rc < 0)
		return rc;
	/* First of all, since the header may overwrite a payload that overlaps out. */
	if (len > 0)
		memmove(text, payload, len);
	text_len = append_trailer(text, len, e->align, next_header);
	put_be32(out, spi);
	put_be32(out + 4, (uint32_t)seq);
	rc = write_iv(c, out, iv);
	if (rc == 0)
		rc = c->hmac ? hmac_seal(c, out, seq, text, text_len)
			     : aead_seal(c, out, seq, text, text_len);
	if (rc < 0) {
		OPENSSL_cleanse(out, total);
		return rc;
	}
	*outlen = total;
	return 0;
}

/* It decrypts as it verifies; a wrong tag shows last, and the caller wipes the text. */
static int aead_open(struct esp_cipher *c, const uint8_t *packet, uint64_t seq,
		     const uint8_t *text, size_t len, uint8_t *out)
{
	uint8_t icv[ESP_ICV_MAX];
	struct aead_input in;
	int n;

	aead_input(c, packet, seq, &in);
	memcpy(icv, text + len, c->icv_len);
	if (EVP_DecryptInit_ex2(c->open, NULL, NULL, in.nonce, NULL) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c->open, EVP_CTRL_AEAD_SET_TAG, (int)c->icv_len, icv) !=
		1 ||
	    EVP_DecryptUpdate(c->open, NULL, &n, in.aad, in.aad_len) != 1 ||
	    EVP_DecryptUpdate(c->open, out, &n, text, (int)len) != 1)
		return -EIO;
	return EVP_DecryptFinal_ex(c->open, out + len, &n) == 1 ? 0 : -EBADMSG;
}

static int hmac_open(struct esp_cipher *c, const uint8_t *packet, uint64_t seq,
		     const uint8_t *text, size_t len, uint8_t *out)
{
	uint8_t icv[ESP_ICV_MAX];
	int n, rc;

	rc = hmac_icv(c, packet, (size_t)(text - packet) + len, seq, icv);
	if (rc < 0)
		return rc;
	if (CRYPTO_memcmp(icv, text + len, c->icv_len) != 0)
		return -EBADMSG;
	if (!c->open) {
		memcpy(out, text, len);
		return 0;
	}
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

int esp_open(struct esp_cipher *c, const uint8_t *packet, size_t len, uint64_t seq,
	     uint8_t *out, size_t size, size_t *outlen, uint8_t *next_header)
{
	const struct encryption *e = c->encryption;
	size_t before = ESP_HEADER_LEN + e->iv_len;
	const uint8_t *text = packet + before;
	size_t text_len, payload_len;
	int rc;

	if (len < before + e->align + c->icv_len || len > ESP_PACKET_MAX)
		return -EINVAL;
	text_len = len - before - c->icv_len;
	if (text_len % e->align != 0)
		return -EINVAL;
	if (size < text_len)
		return -ENOSPC;
	rc = ready_to_open(c);
	if (rc < 0)
		return rc;
	rc = c->hmac ? hmac_open(c, packet, seq, text, text_len, out)
		     : aead_open(c, packet, seq, text, text_len, out);
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
