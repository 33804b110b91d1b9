/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer's other IKE SAs may be at other members: what charon asks its IKE SA manager, this
 * also asks phalanxd. And IKE SAs of this charon that are to end, as phalanxd says.
 */
#ifndef PHALANX_UNIQUE_H_
#define PHALANX_UNIQUE_H_

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"

typedef struct phalanx_unique_t phalanx_unique_t;

struct phalanx_unique_t {
	/* Wraps the manager's check_uniqueness, and gives it back. */
	void (*attach)(phalanx_unique_t *this);
	void (*detach)(phalanx_unique_t *this);

	void (*end)(phalanx_unique_t *this, const struct local_ike_replaced *end);

	void (*destroy)(phalanx_unique_t *this);
};

/* The digest of both identities and the family of addresses, see IKE_PUT. */
uint64_t phalanx_peer_digest(ike_sa_t *ike_sa);

phalanx_unique_t *phalanx_unique_create(phalanx_link_t *link,
					phalanx_sessions_t *sessions);

#endif
