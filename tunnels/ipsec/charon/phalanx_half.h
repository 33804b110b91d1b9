/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IKE SAs that a peer has begun and not finished yet: what charon has chosen for them goes to
 * phalanxd before charon's answer does, and another member's charon is made to choose it.
 */
#ifndef PHALANX_HALF_H_
#define PHALANX_HALF_H_

#include <bus/listeners/listener.h>
#include <crypto/nonce_gen.h>

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

typedef struct phalanx_half_t phalanx_half_t;

struct phalanx_half_t {
	listener_t listener;

	/* Registers the listener; wraps the manager's checkout_by_message and charon's makers
	 * of nonces and key exchanges. To be called after the units' attach(). */
	void (*attach)(phalanx_half_t *this);
	void (*detach)(phalanx_half_t *this);

	/* Has charon answer the peer's first message once more. */
	void (*import)(phalanx_half_t *this, const struct local_half_import *half);
	/* Refuses the peer's request under the keys that its first message has led to. */
	void (*fail)(phalanx_half_t *this, const struct local_half_fail *fail);

	/* Whether the IKE SA with this SPI of ours is half-open, and known to phalanxd. */
	bool (*has)(phalanx_half_t *this, uint64_t spi);
	/* Its ID, for the caller to destroy; from here on its end is not reported. NULL: it is
	 * not half-open. */
	ike_sa_id_t *(*take)(phalanx_half_t *this, uint64_t spi);

	void (*destroy)(phalanx_half_t *this);
};

/* Makes just this one. */
nonce_gen_t *phalanx_given_nonce(chunk_t nonce);
/* What the calling thread's next nonce and key exchange are to be; NULL: as charon likes. */
void phalanx_half_give(const struct local_half_import *given);
/* The key exchange that the calling thread has made last for its message, or NULL. */
key_exchange_t *phalanx_half_ke(void);

phalanx_half_t *phalanx_half_create(phalanx_link_t *link, phalanx_units_t *units);

#endif
