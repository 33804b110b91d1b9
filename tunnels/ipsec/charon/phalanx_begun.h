/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rekeyings that this gateway begins, of IKE SAs and of CHILD SAs, survive their owner; and so
 * do the exchanges in which it asks for further CHILD SAs.
 *
 * What was chosen for the request (nonce, SPI, and the secret of the key exchange) is told to
 * phalanxd before the request leaves. A new owner's charon begins the same once more, and is
 * made to choose the same: its own request never leaves, since phalanxd repeats the former
 * owner's, but the answer to that one is charon's to process.
 */
#ifndef PHALANX_BEGUN_H_
#define PHALANX_BEGUN_H_

#include <bus/listeners/listener.h>

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

typedef struct phalanx_begun_t phalanx_begun_t;

struct phalanx_begun_t {
	listener_t listener;

	/* Registers the listener, and wraps charon's makers of nonces and key exchanges. To be
	 * called after the attach() of the half-open SAs, and detach() before theirs. */
	void (*attach)(phalanx_begun_t *this);
	void (*detach)(phalanx_begun_t *this);

	/* Begins what another member had begun, with this message ID, in an established IKE SA
	 * that is no other thread's yet. FALSE: this charon begins something else, or nothing,
	 * and the IKE SA is spoilt. */
	bool (*resume)(phalanx_begun_t *this, ike_sa_t *ike_sa, uint32_t mid,
		       struct local_blob begun);
	/* Whether charon waits for the response with this number. */
	bool (*awaits)(phalanx_begun_t *this, uint64_t spi, uint32_t mid);

	void (*destroy)(phalanx_begun_t *this);
};

phalanx_begun_t *phalanx_begun_create(phalanx_link_t *link, phalanx_units_t *units,
				      phalanx_sessions_t *sessions);

#endif
