/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * charon's socket: IKE packets come from phalanxd and go there. The thread in receive() also
 * works off all other events, so that they keep their order with the packets.
 */
#ifndef PHALANX_SOCKET_H_
#define PHALANX_SOCKET_H_

#include <network/socket.h>

#include "tunnels/ipsec/charon/phalanx_begun.h"
#include "tunnels/ipsec/charon/phalanx_half.h"
#include "tunnels/ipsec/charon/phalanx_import.h"
#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_quick.h"
#include "tunnels/ipsec/charon/phalanx_starts.h"
#include "tunnels/ipsec/charon/phalanx_sync.h"
#include "tunnels/ipsec/charon/phalanx_unique.h"

socket_t *phalanx_socket_create(phalanx_link_t *link, phalanx_sessions_t *sessions,
				phalanx_import_t *import, phalanx_unique_t *unique,
				phalanx_half_t *half, phalanx_begun_t *begun,
				phalanx_sync_t *sync, phalanx_quick_t *quick,
				phalanx_starts_t *starts);

/*
 * From attach() to detach() charon's packets go to phalanxd by the thread that has made
 * them, not by the sender's own: so they keep their order with what that thread reports.
 * Else the end of an IKE SA could overtake the answer to the DELETE that has ended it, of
 * which a copy is kept with the SA.
 */
void phalanx_sender_attach(phalanx_link_t *link);
void phalanx_sender_detach(void);

#endif
