/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Message IDs after a takeover of which nobody can say whether it knows the last exchanges
 * (RFC 6311): the new owner and the peer agree on new ones, if the peer can do that.
 *
 * It says so when it logs in, and hears that this gateway can, too; that is one of the IKE
 * SA's extensions then, and travels with it.
 */
#ifndef PHALANX_SYNC_H_
#define PHALANX_SYNC_H_

#include <bus/listeners/listener.h>

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"

typedef struct phalanx_sync_t phalanx_sync_t;

struct phalanx_sync_t {
	listener_t listener;

	void (*attach)(phalanx_sync_t *this);
	void (*detach)(phalanx_sync_t *this);

	/* Asks the peer of an imported IKE SA, if the peer can; nothing else is said to it
	 * before it has answered, or has not for a while. */
	void (*begin)(phalanx_sync_t *this, uint64_t spi);
	/* TRUE if the response is the peer's answer. */
	bool (*answer)(phalanx_sync_t *this, const struct local_ike_verify *response);

	void (*destroy)(phalanx_sync_t *this);
};

phalanx_sync_t *phalanx_sync_create(phalanx_link_t *link, phalanx_sessions_t *sessions);

#endif
