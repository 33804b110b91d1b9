/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that this charon initiates.
 *
 * phalanxd decides which member starts a connection, and when. So what vici starts when it
 * loads a connection begins nothing here, and traps catch nothing; START does. What charon
 * begins of its own accord (dpd_action, close_action), or an operator with `swanctl
 * --initiate` at the member that is to do it, phalanxd is told, so that another member goes
 * on with it; at other members the command is passed on.
 */
#ifndef PHALANX_STARTS_H_
#define PHALANX_STARTS_H_

#include <bus/listeners/listener.h>

#include "tunnels/ipsec/charon/phalanx_configs.h"
#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

typedef struct phalanx_starts_t phalanx_starts_t;

struct phalanx_starts_t {
	listener_t listener;

	/* Initiates a CHILD SA unless it is there or under way; by another thread. */
	void (*start)(phalanx_starts_t *this, const struct local_start *start);

	/* Takes its place in front of charon's controller and traps, and gives it back. */
	void (*attach)(phalanx_starts_t *this);
	void (*detach)(phalanx_starts_t *this);

	void (*destroy)(phalanx_starts_t *this);
};

phalanx_starts_t *phalanx_starts_create(phalanx_link_t *link, phalanx_units_t *units,
					phalanx_sessions_t *sessions,
					phalanx_configs_t *configs);

#endif
