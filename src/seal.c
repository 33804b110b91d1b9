/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/seal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "cluster/pack.h"

#define KEY_BYTES 32
#define NONCE_BYTES 12
#define LAST_SEQUENCE UINT64_MAX
#define WORDS (SEAL_WINDOW / 64)

_Static_assert(SEAL_PATHS <= 8, "a bit for each");

_Static_assert(KEY_BYTES + NONCE_BYTES + 4 == SEAL_MATERIAL, "the material is used up");

/* One direction's cipher, key scheduled. */
struct cipher {
	EVP_CIPHER_CTX *evp;
	uint8_t nonce[NONCE_BYTES];
	uint32_t id;
};

struct seal_sender {
	struct cipher cipher;
	uint64_t next; /* first number that was never used */
	bool last_used;
};

/* Bit s % SEAL_WINDOW of `seen` stands for the number s, for the SEAL_WINDOW numbers up
 * to and including `highest`. Where it is set, `via` has a bit for each network that the
 * datagram came over. */
struct receiver {
	struct cipher cipher;
	uint64_t highest;
	uint64_t seen[WORDS];
	uint8_t via[SEAL_WINDOW];
	bool last_seen;
	uint8_t last_via;
};

enum { PENDING, CURRENT, PREVIOUS, GENERATIONS };

struct seal_ring {
	struct receiver *receivers[SEAL_SLOTS][GENERATIONS];
	struct seal_counters counters;
};

static void cipher_clear(struct cipher *c)
{
	EVP_CIPHER_CTX_free(c->evp); /* wipes the key schedule */
	OPENSSL_cleanse(c, sizeof(*c));
}

static int cipher_init(struct cipher *c, const struct seal_key *key, bool encrypt)
{
	const uint8_t *nonce = key->material + KEY_BYTES;
	struct unpack u = unpack_from(nonce + NONCE_BYTES, 4);

	c->evp = EVP_CIPHER_CTX_new();
	if (!c->evp)
		return -ENOMEM;
	if (EVP_CipherInit_ex(c->evp, EVP_aes_256_gcm(), NULL, key->material, NULL,
			      encrypt) != 1) {
		cipher_clear(c);
		return -ENOMEM;
	}
	memcpy(c->nonce, nonce, NONCE_BYTES);
	c->id = unpack_u32(&u);
	return 0;
}

/* Starts one datagram: sets the nonce and takes the header in. */
static bool cipher_start(struct cipher *c, const uint8_t *header, uint64_t sequence)
{
	uint8_t nonce[NONCE_BYTES];
	int n;

	memcpy(nonce, c->nonce, sizeof(nonce));
	for (unsigned i = 0; i < 8; i++)
		nonce[NONCE_BYTES - 1 - i] ^= (uint8_t)(sequence >> (8 * i));
	return EVP_CipherInit_ex(c->evp, NULL, NULL, NULL, nonce, -1) == 1 &&
	       EVP_CipherUpdate(c->evp, NULL, &n, header, SEAL_HEADER) == 1;
}

struct seal_sender *seal_sender_new(const struct seal_key *key)
{
	struct seal_sender *s = calloc(1, sizeof(*s));

	if (s && cipher_init(&s->cipher, key, true) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

void seal_sender_free(struct seal_sender *s)
{
	if (!s)
		return;
	cipher_clear(&s->cipher);
	free(s);
}

static ssize_t seal(struct cipher *c, uint64_t sequence, const uint8_t *plain, size_t len,
		    uint8_t *out)
{
	struct pack header = pack_to(out, SEAL_HEADER);
	uint8_t *text = out + SEAL_HEADER;
	int n = 0, rest = 0;

	pack_u8(&header, SEAL_VERSION);
	pack_u32(&header, c->id);
	pack_u64(&header, sequence);
	if (!cipher_start(c, out, sequence) ||
	    (len && EVP_EncryptUpdate(c->evp, text, &n, plain, (int)len) != 1) ||
	    EVP_EncryptFinal_ex(c->evp, text + n, &rest) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c->evp, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG, text + len) != 1)
		return -EIO;
	return (ssize_t)(len + SEAL_OVERHEAD);
}

static bool fits(size_t len, size_t size)
{
	return size >= SEAL_OVERHEAD && len <= size - SEAL_OVERHEAD && len <= 65535;
}

ssize_t seal_datagram(struct seal_sender *s, const uint8_t *plain, size_t len,
		      uint8_t *out, size_t size)
{
	if (!fits(len, size))
		return -EMSGSIZE;
	if (s->next == LAST_SEQUENCE)
		return -EOVERFLOW;
	return seal(&s->cipher, s->next++, plain, len, out);
}

ssize_t seal_last(struct seal_sender *s, const uint8_t *plain, size_t len, uint8_t *out,
		  size_t size)
{
	if (!fits(len, size))
		return -EMSGSIZE;
	if (s->last_used)
		return -EALREADY;
	s->last_used = true;
	return seal(&s->cipher, LAST_SEQUENCE, plain, len, out);
}

static void receiver_free(struct receiver *r)
{
	if (!r)
		return;
	cipher_clear(&r->cipher);
	free(r);
}

/* Whether the number was seen, or is too old to tell. */
static bool receiver_replayed(const struct receiver *r, uint64_t s)
{
	if (s == LAST_SEQUENCE)
		return r->last_seen;
	if (s > r->highest)
		return false;
	if (r->highest - s >= SEAL_WINDOW)
		return true;
	return r->seen[s % SEAL_WINDOW / 64] >> (s % 64) & 1;
}

/* The networks that the datagram came over. NULL: it is too old to tell. */
static uint8_t *receiver_via(struct receiver *r, uint64_t s)
{
	if (s == LAST_SEQUENCE)
		return &r->last_via;
	return s <= r->highest && r->highest - s >= SEAL_WINDOW
		   ? NULL
		   : &r->via[s % SEAL_WINDOW];
}

/* The number was seen. Nobody has proven that this copy is genuine: it moves a counter, and
 * that is all. */
static bool receiver_duplicate(struct receiver *r, uint64_t s, unsigned path)
{
	uint8_t *via = receiver_via(r, s), bit = (uint8_t)(1u << path);

	if (!via || *via & bit)
		return false;
	*via |= bit;
	return true;
}

/* The datagram's tag was right: notes its number, and slides the window up to it. */
static void receiver_note(struct receiver *r, uint64_t s, unsigned path)
{
	*receiver_via(r, s) = (uint8_t)(1u << path);
	if (s == LAST_SEQUENCE) {
		r->last_seen = true;
		return;
	}
	if (s > r->highest) {
		if (s - r->highest >= SEAL_WINDOW) {
			memset(r->seen, 0, sizeof(r->seen));
		} else {
			for (uint64_t i = r->highest + 1; i < s; i++)
				r->seen[i % SEAL_WINDOW / 64] &=
				    ~(UINT64_C(1) << (i % 64));
		}
		r->highest = s;
	}
	r->seen[s % SEAL_WINDOW / 64] |= UINT64_C(1) << (s % 64);
}

struct seal_ring *seal_ring_new(void)
{
	return calloc(1, sizeof(struct seal_ring));
}

void seal_ring_free(struct seal_ring *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < SEAL_SLOTS; i++)
		for (unsigned g = 0; g < GENERATIONS; g++)
			receiver_free(r->receivers[i][g]);
	free(r);
}

int seal_ring_add(struct seal_ring *r, unsigned slot, const struct seal_key *key)
{
	struct receiver *new = calloc(1, sizeof(*new));

	if (!new || cipher_init(&new->cipher, key, false) < 0) {
		free(new);
		return -ENOMEM;
	}
	receiver_free(r->receivers[slot][PENDING]);
	r->receivers[slot][PENDING] = new;
	return 0;
}

void seal_ring_promote(struct seal_ring *r, unsigned slot)
{
	struct receiver **of = r->receivers[slot];

	if (!of[PENDING])
		return;
	receiver_free(of[PREVIOUS]);
	of[PREVIOUS] = of[CURRENT];
	of[CURRENT] = of[PENDING];
	of[PENDING] = NULL;
}

static bool receiver_open(struct receiver *r, uint64_t sequence, const uint8_t *in,
			  size_t len, uint8_t *out)
{
	uint8_t tag[SEAL_TAG];
	int n = 0, rest = 0;

	memcpy(tag, in + SEAL_HEADER + len, sizeof(tag));
	return cipher_start(&r->cipher, in, sequence) &&
	       (!len || EVP_DecryptUpdate(r->cipher.evp, out, &n, in + SEAL_HEADER,
					  (int)len) == 1) &&
	       EVP_CIPHER_CTX_ctrl(r->cipher.evp, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG, tag) ==
		   1 &&
	       EVP_DecryptFinal_ex(r->cipher.evp, out + n, &rest) == 1;
}

static ssize_t dropped(uint64_t *counter)
{
	++*counter;
	return -EBADMSG;
}

ssize_t seal_open(struct seal_ring *r, const uint8_t *in, size_t len, uint8_t *out,
		  size_t size, unsigned *slot)
{
	return seal_open_via(r, 0, in, len, out, size, slot);
}

ssize_t seal_open_via(struct seal_ring *r, unsigned path, const uint8_t *in, size_t len,
		      uint8_t *out, size_t size, unsigned *slot)
{
	struct unpack u = unpack_from(in, len);
	uint8_t version = unpack_u8(&u);
	uint32_t id = unpack_u32(&u);
	uint64_t sequence = unpack_u64(&u);

	if (u.bad || unpack_left(&u) < SEAL_TAG)
		return dropped(&r->counters.truncated);
	if (version != SEAL_VERSION)
		return dropped(&r->counters.version);
	size_t plain = len - SEAL_OVERHEAD;
	if (plain > size || plain > 65535)
		return -EMSGSIZE;

	/* Two peers' keys may share an id by accident; then the tag decides. */
	uint64_t *reason = &r->counters.unknown_key;
	for (unsigned i = 0; i < SEAL_SLOTS * GENERATIONS; i++) {
		struct receiver *of = r->receivers[i / GENERATIONS][i % GENERATIONS];
		if (!of || of->cipher.id != id)
			continue;
		if (receiver_replayed(of, sequence)) {
			reason = receiver_duplicate(of, sequence, path)
				     ? &r->counters.duplicate
				     : &r->counters.replayed;
			continue;
		}
		if (!receiver_open(of, sequence, in, plain, out)) {
			reason = &r->counters.bad_tag;
			continue;
		}
		receiver_note(of, sequence, path);
		r->counters.opened++;
		*slot = i / GENERATIONS;
		return (ssize_t)plain;
	}
	return dropped(reason);
}

const struct seal_counters *seal_ring_counters(const struct seal_ring *r)
{
	return &r->counters;
}
