/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quick modes of IKEv1 that a peer has begun and not finished yet: what charon has chosen
 * for its answer goes to phalanxd before the answer does, and another member's charon is
 * made to choose it.
 */
#ifndef PHALANX_QUICK_H_
#define PHALANX_QUICK_H_

#include <bus/listeners/listener.h>

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"

typedef struct phalanx_quick_t phalanx_quick_t;

struct phalanx_quick_t {
	listener_t listener;

	/* To be called after the half-open SAs' attach(), and before their detach(). */
	void (*attach)(phalanx_quick_t *this);
	void (*detach)(phalanx_quick_t *this);

	/* Has charon, which has the IKEv1 SA, answer the peer's request once more. */
	void (*import)(phalanx_quick_t *this, const struct local_quick_import *quick);

	void (*destroy)(phalanx_quick_t *this);
};

phalanx_quick_t *phalanx_quick_create(phalanx_link_t *link, phalanx_sessions_t *sessions);

#endif
