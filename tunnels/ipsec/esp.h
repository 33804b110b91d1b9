/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sealing and opening of ESP packets (RFC 4303): AES-GCM (RFC 4106), ChaCha20-Poly1305
 * (RFC 7634), and AES-CBC (RFC 3602) or NULL (RFC 2410) with HMAC-SHA-1 (RFC 2404) or
 * HMAC-SHA-2 (RFC 4868); with or without extended sequence numbers.
 *
 * A packet here begins with its SPI and ends with its ICV; IP and UDP headers are the
 * caller's, and so are sequence numbers, the replay window (replay.h) and the choice of
 * the 64-bit IV. For AES-GCM and ChaCha20-Poly1305 a repeated IV under one key reveals
 * what both packets say and allows forgeries, so the caller must never pass one value
 * twice with the same key, on any member and in any run: esp_iv() builds values that keep
 * this promise.
 *
 * A cipher serves one direction of one SA. It is not thread-safe: each call uses the
 * contexts in it. Different ciphers may be used by different threads.
 */
#ifndef TUNNELS_IPSEC_ESP_H
#define TUNNELS_IPSEC_ESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnels/ipsec/suites.h"

/* SPI and sequence number. */
#define ESP_HEADER_LEN 8
#define ESP_ICV_MAX 32
/* No cipher adds more than this to a payload. */
#define ESP_OVERHEAD_MAX 73
/* Longest payload that is sealed, and longest packet that is opened. */
#define ESP_PAYLOAD_MAX 65535
#define ESP_PACKET_MAX (ESP_PAYLOAD_MAX + ESP_OVERHEAD_MAX)

/* Next header values of tunnel mode and of dummy packets, which are to be discarded. */
#define ESP_NEXT_IPV4 4
#define ESP_NEXT_IPV6 41
#define ESP_NEXT_NONE 59

struct esp_cipher;

/*
 * The algorithms and keys of one SA. The key of an AEAD cipher is followed by the 4 bytes
 * of salt, and integ is ESP_AUTH_NONE. Any other has an integrity algorithm, whose key is
 * as long as its digest.
 */
struct esp_algorithms {
	uint16_t enc;
	const uint8_t *enc_key;
	size_t enc_key_len;
	uint16_t integ;
	const uint8_t *integ_key;
	size_t integ_key_len;
	bool esn; /* sequence numbers of 64 bits, of which packets show the lower half */
};

/*
 * Makes a cipher, which keeps its own copy of the keys. -ENOTSUP: unknown algorithm or
 * combination; -EINVAL: wrong key length; -ENOMEM.
 */
int esp_cipher_new(struct esp_cipher **out, const struct esp_algorithms *algorithms);

/* Gives back what the next packet will have made again; the keys stay. For an SA that is not
 * in use here: it takes a tenth of the memory then. */
void esp_cipher_rest(struct esp_cipher *cipher);

/* Wipes the keys. NULL is allowed. */
void esp_cipher_free(struct esp_cipher *cipher);

/* The most that sealing adds to a payload: header, IV, padding, trailer and ICV. */
size_t esp_overhead(const struct esp_cipher *cipher);

/* The longest payload of which a packet has at most `len` bytes; 0: none has. */
size_t esp_room(const struct esp_cipher *cipher, size_t len);

/*
 * Writes an ESP packet, from SPI to ICV, into out and its length into *outlen.
 *
 * With an AEAD cipher the explicit IV is iv in network order. With AES-CBC, whose IV must
 * not be foreseeable, it is the encryption of (iv, spi, seq) under a random key of this
 * cipher alone; a caller that keeps its promise about iv gets no IV twice.
 *
 * payload may overlap out in any way. Padding is the least that aligns the trailer (to 4
 * bytes, or to the block). -EINVAL: SPI or sequence number 0, number above 32 bits without
 * ESN, or payload above ESP_PAYLOAD_MAX; -ENOSPC: size is below the length of the packet
 * (len + esp_overhead() always suffices); -EIO: the crypto library failed. out is
 * unspecified after a failure, but holds no plaintext that the caller did not put there.
 */
int esp_seal(struct esp_cipher *cipher, uint32_t spi, uint64_t seq, uint64_t iv,
	     uint8_t next_header, const uint8_t *payload, size_t len, uint8_t *out,
	     size_t size, size_t *outlen);

/*
 * Verifies and decrypts a packet, writes its payload into out and its length into
 * *outlen. out needs room for the padding and the trailer too: size >= len always
 * suffices. It must not overlap packet. seq is the packet's sequence number, of which only
 * the upper half is used, and that only with ESN: replay_extend() tells it. SPI and
 * sequence number are authenticated, but not compared with anything: the caller found the
 * SA by the SPI and asks the replay window.
 *
 * A payload may be longer than the IP packet in it says (traffic flow confidentiality):
 * the caller goes by the inner length and checks that it fits.
 *
 * -EBADMSG: wrong ICV; -EINVAL: too short, too long, not a multiple of the block, or
 * wrong padding in an authentic packet; -ENOSPC; -EIO. On failure out holds nothing of
 * the packet and *outlen and *next_header are untouched.
 */
int esp_open(struct esp_cipher *cipher, const uint8_t *packet, size_t len, uint64_t seq,
	     uint8_t *out, size_t size, size_t *outlen, uint8_t *next_header);

/*
 * Reads SPI and sequence number of a packet that is not authenticated yet. -EINVAL: too
 * short, or SPI 0, which marks IKE in UDP port 4500 (RFC 3948).
 */
int esp_parse(const uint8_t *packet, size_t len, uint32_t *spi, uint32_t *seq);

/* Widths of the fields of an IV. */
#define ESP_IV_MEMBER_BITS 10
#define ESP_IV_ACTIVATION_BITS 22
#define ESP_IV_COUNTER_BITS 32

/*
 * The IV of (member id, activation number, counter). The member id is below 2^10 and the
 * activation number below 2^22 (asserted). A counter that has reached its end needs a new
 * activation number.
 */
uint64_t esp_iv(uint32_t member_id, uint32_t activation, uint32_t counter);

#endif
