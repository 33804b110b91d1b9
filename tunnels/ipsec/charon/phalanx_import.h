/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Activation: IKE SAs of other members become SAs of this charon, and cease to be.
 *
 * charon knows nothing of another member's SAs before. phalanxd sends an SA's parts and
 * then IKE_ACTIVATE; the SA is then built and is from its first moment an established one.
 * Nothing of this is reported to phalanxd or told to the peer.
 */
#ifndef PHALANX_IMPORT_H_
#define PHALANX_IMPORT_H_

#include "tunnels/ipsec/charon/phalanx_begun.h"
#include "tunnels/ipsec/charon/phalanx_half.h"
#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_radius.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"
#include "tunnels/ipsec/charon/phalanx_sync.h"

typedef struct phalanx_import_t phalanx_import_t;

struct phalanx_import_t {
	/* Works an event off. Returns it if it is not needed any more, else NULL. */
	phalanx_event_t *(*process)(phalanx_import_t *this, phalanx_event_t *event);
	void (*destroy)(phalanx_import_t *this);
};

phalanx_import_t *phalanx_import_create(phalanx_link_t *link,
					phalanx_sessions_t *sessions,
					phalanx_half_t *half, phalanx_begun_t *begun,
					phalanx_sync_t *sync, phalanx_radius_t *radius);

#endif
