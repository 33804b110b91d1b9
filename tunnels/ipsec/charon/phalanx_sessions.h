/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What phalanxd knows of charon's IKE SAs and CHILD SAs.
 *
 * An SA is reported when it is first seen established and whenever its state differs from
 * the last report: before each message of the IKE SA is generated, and each time a thread
 * gives the IKE SA back to charon's manager. So no message tells a peer of state that
 * phalanxd does not have.
 */
#ifndef PHALANX_SESSIONS_H_
#define PHALANX_SESSIONS_H_

#include <bus/listeners/listener.h>

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_state.h"

typedef struct phalanx_sessions_t phalanx_sessions_t;

struct phalanx_sessions_t {
	listener_t listener;

	/* Registers the listener and wraps the manager's checkin and flush. */
	void (*attach)(phalanx_sessions_t *this);
	void (*detach)(phalanx_sessions_t *this);

	/* An imported SA that phalanxd knows in this state; the thread holds it. */
	void (*adopt)(phalanx_sessions_t *this, ike_sa_t *ike_sa,
		      const phalanx_keys_t *keys);

	/* The manager's id of an IKE SA by our SPI; NULL if it is unknown. The caller
	 * destroys it. */
	ike_sa_id_t *(*find)(phalanx_sessions_t *this, uint64_t spi);

	void (*destroy)(phalanx_sessions_t *this);
};

phalanx_sessions_t *phalanx_sessions_create(phalanx_link_t *link,
					    phalanx_radius_t *radius);

#endif
