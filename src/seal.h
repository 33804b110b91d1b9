/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sealed datagrams between two members.
 *
 *   version 8 | key id 32 | sequence 64 | ciphertext | tag 128
 *
 * AES-256-GCM; the header is authenticated; the nonce is the key's own 96 bits xor the
 * sequence number. A key seals in one direction only and a sequence number is used once,
 * so no nonce repeats. The last sequence number is kept for one datagram that is sealed
 * in advance, the death note: it is accepted at most once for each key, whatever the
 * window.
 *
 * Keys come from the TLS connection of the two members. A sender has one key; a receiver
 * keeps a ring of keys, up to three for each peer: the one of a connection that is being
 * made (pending), the current one, and the previous one for datagrams still in flight.
 */
#ifndef SRC_SEAL_H
#define SRC_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SEAL_VERSION 1
#define SEAL_HEADER 13
#define SEAL_TAG 16
#define SEAL_OVERHEAD (SEAL_HEADER + SEAL_TAG)
#define SEAL_WINDOW                                                                      \
	2048 /* sequence numbers behind the highest that are still accepted  \
			  */
#define SEAL_MATERIAL 48
#define SEAL_SLOTS 32
#define SEAL_PATHS 8

struct seal_sender;
struct seal_ring;

/* What an exporter gives for one direction: cipher key, nonce base, key id. The caller
 * wipes it after use. */
struct seal_key {
	uint8_t material[SEAL_MATERIAL];
};

/* Dropped datagrams by reason, and those opened. */
struct seal_counters {
	uint64_t opened;
	uint64_t truncated;
	uint64_t version;
	uint64_t unknown_key;
	uint64_t bad_tag;
	uint64_t replayed;
	uint64_t duplicate; /* the copy that came over another network */
};

/* NULL when out of memory. The key is copied. */
struct seal_sender *seal_sender_new(const struct seal_key *key);
/* Wipes the key. Accepts NULL. */
void seal_sender_free(struct seal_sender *s);
/*
 * Writes len + SEAL_OVERHEAD bytes to `out` and returns their number. -EMSGSIZE if they
 * do not fit, -EOVERFLOW when the key has no sequence number left, -EIO if the cipher
 * fails.
 */
ssize_t seal_datagram(struct seal_sender *s, const uint8_t *plain, size_t len,
		      uint8_t *out, size_t size);
/* The same with the reserved last number. Works once for each key, then -EALREADY. */
ssize_t seal_last(struct seal_sender *s, const uint8_t *plain, size_t len, uint8_t *out,
		  size_t size);

struct seal_ring *seal_ring_new(void);
/* Wipes all keys. Accepts NULL. */
void seal_ring_free(struct seal_ring *r);
/* Sets the pending key of the peer in `slot` (0..SEAL_SLOTS-1); it opens datagrams from
 * now on. A pending key that was there before is forgotten. 0 or -ENOMEM. */
int seal_ring_add(struct seal_ring *r, unsigned slot, const struct seal_key *key);
/* The pending key becomes the current one, and that the previous one. Does nothing
 * without a pending key. */
void seal_ring_promote(struct seal_ring *r, unsigned slot);
/*
 * Opens a datagram. Returns the length of its plain text and sets *slot to the peer that
 * sealed it; or -EBADMSG and one of the counters has grown. `out` holds at least
 * len - SEAL_OVERHEAD bytes, else -EMSGSIZE.
 */
ssize_t seal_open(struct seal_ring *r, const uint8_t *in, size_t len, uint8_t *out,
		  size_t size, unsigned *slot);
/*
 * The same for a datagram that came over network `path` (below SEAL_PATHS), where one is
 * sent over several: the second copy is dropped as a duplicate and not as a replay. Both
 * mean that it was delivered before; the difference is for the operator.
 */
ssize_t seal_open_via(struct seal_ring *r, unsigned path, const uint8_t *in, size_t len,
		      uint8_t *out, size_t size, unsigned *slot);
const struct seal_counters *seal_ring_counters(const struct seal_ring *r);

#endif
