/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What phalanxd must know of IKE: the clear header (RFC 7296 3.1, RFC 2408 3.1), and
 * copies of the last messages of each IKE SA.
 *
 * A copy is what makes a takeover invisible. The last response is kept with the digest of
 * the request that it answers: the peer repeats a request byte for byte (RFC 7296 2.1),
 * so any member that holds the copy can answer it. The last request of ours is kept as
 * well, since whoever takes over must repeat just these bytes until the peer answers.
 */
#ifndef IPSEC_IKE_H
#define IPSEC_IKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/pack.h"
#include "tunnels/ipsec/local.h"

#define IKE_HEADER_SIZE 28
#define IKE_PORT 500
#define IKE_NAT_PORT 4500
#define IKE_DIGEST_SIZE 32
#define IKE_COPY_PACKETS 32 /* fragments of one message (RFC 7383) */
#define IKE_COPY_MAX 24000  /* bytes of one message with all its fragments */

struct ike_header {
	uint64_t spi_i, spi_r;
	uint8_t major, exchange;
	bool initiator; /* the sender is the original initiator of the IKE SA */
	bool response;
	uint32_t mid;
	uint16_t fragment; /* 1..; 0 if the message is not a fragment */
};

/*
 * IKEv1 has no flags that tell requests, responses and the initiator: `initiator` and
 * `response` are false then. Nobody here begins an IKEv1 SA, so the responder's cookie is
 * ours in all of its messages.
 */

/* `packet` begins with the header. -EBADMSG if it is short or its length is wrong. */
int ike_parse(const uint8_t *packet, size_t len, struct ike_header *h);
/* The SPI of the IKE SA's end at the receiver and at the sender of a message: of one that
 * comes to us, and of one of ours. */
uint64_t ike_receiver_spi(const struct ike_header *h);
uint64_t ike_sender_spi(const struct ike_header *h);
/* SHA-256. */
void ike_digest(const uint8_t *packet, size_t len, uint8_t digest[IKE_DIGEST_SIZE]);

/* One message, as one packet or as its fragments. */
struct ike_copy {
	bool valid;
	uint32_t mid;
	uint8_t digest[IKE_DIGEST_SIZE]; /* of the request answered; zero in a request */
	struct local_addr src, dst;
	unsigned packets;
	uint16_t lens[IKE_COPY_PACKETS];
	size_t len;
	uint8_t *bytes; /* all packets, one after the other; owned */
};

void ike_copy_clear(struct ike_copy *c);
/*
 * Adds a packet: begins a new message if its number differs from the one kept.
 * -EMSGSIZE if the message outgrows the bounds, -ENOMEM; the packet is left out then, but
 * the message number counts.
 */
int ike_copy_add(struct ike_copy *c, uint32_t mid, const struct local_addr *src,
		 const struct local_addr *dst, const uint8_t *packet, size_t len);
const uint8_t *ike_copy_packet(const struct ike_copy *c, unsigned i, size_t *len);

/* The IKE SAs that this one has replaced, as far as other members had them. */
#define IKE_REPLACES_MAX 8

struct ike_replaces {
	bool contact; /* INITIAL_CONTACT: their peer has forgotten them */
	unsigned n;
	uint64_t spi[IKE_REPLACES_MAX];
	bool late[IKE_REPLACES_MAX]; /* its peer seems to authenticate anew */
};

/* A rekeying that the last request has begun: what a new owner's charon needs to begin the
 * same. */
#define IKE_BEGUN_MAX 512

struct ike_begun {
	uint32_t mid;		      /* of the request */
	uint64_t ike;		      /* the new IKE SA's SPI, or 0 */
	uint32_t child;		      /* the new CHILD SA's, or 0 */
	uint16_t len;		      /* 0: none is known */
	uint8_t state[IKE_BEGUN_MAX]; /* the plugin's own, and secret */
};

/* Whether one of the two ends has said DELETE, as the other one may not have heard. */
enum ike_ending {
	IKE_LIVES,
	IKE_ENDED_BY_PEER, /* the last response is ours to that */
	IKE_ENDED_BY_US,   /* the last request is that */
};

/*
 * What the peer of an IKEv1 SA has said lately, each message by a mark: of the hash in it,
 * which it begins with, encrypted. Who changes a byte of that cannot be the peer; of
 * anything else in the packet, he may.
 */
#define IKE_HEARD_MAX 256
#define IKE_MARKED_SIZE 32 /* bytes behind the header */

struct ike_heard {
	unsigned n, next;
	uint32_t marks[IKE_HEARD_MAX];
};

/* The exchanges of an IKE SA, both ways: the essential state of its record. */
struct ike_exchanges {
	struct ike_copy response; /* our answer to the peer's last request */
	struct ike_copy request;  /* our last request */
	bool outstanding;	  /* the peer has not answered it yet */
	enum ike_ending ending;
	uint64_t since; /* of its peer's login, in seconds of the clock on the wall */
	struct ike_replaces replaces;
	struct ike_begun begun;
	struct ike_heard *heard; /* owned; NULL: nothing */
};

void ike_exchanges_clear(struct ike_exchanges *x);
/* Returns the length, 0 if `size` is too small. */
size_t ike_exchanges_encode(const struct ike_exchanges *x, uint8_t *buf, size_t size);
/* Replaces *x. -EBADMSG or -ENOMEM leave it as it was. */
int ike_exchanges_decode(struct ike_exchanges *x, const uint8_t *buf, size_t len);
#define IKE_EXCHANGES_MAX                                                                \
	(2 * (IKE_COPY_MAX + 2 * IKE_COPY_PACKETS + 256) + IKE_BEGUN_MAX +               \
	 4 * IKE_HEARD_MAX + 32)

/* The mark of a message of IKEv1 or, if the packet is a first fragment, of the message that it
 * begins. -EBADMSG if it is too short for that. */
int ike_mark(const uint8_t *packet, size_t len, uint32_t *mark);
/* Replaces the oldest one if there are too many. -ENOMEM */
int ike_heard_add(struct ike_exchanges *x, uint32_t mark);
bool ike_heard_has(const struct ike_exchanges *x, uint32_t mark);

/* The next message numbers: of the peer's requests, and of ours. An IKE SA is established
 * by exchanges 0 and 1, so the original responder expects 2 and begins at 0. */
uint32_t ike_next_received(const struct ike_exchanges *x);
uint32_t ike_next_sent(const struct ike_exchanges *x);

#endif
