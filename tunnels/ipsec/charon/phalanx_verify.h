/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a response that charon does not wait for, since a former owner of the IKE SA has
 * asked, is the peer's.
 */
#ifndef PHALANX_VERIFY_H_
#define PHALANX_VERIFY_H_

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"

/* Answers by IKE_VERIFIED if it is, and else not at all. */
void phalanx_verify(phalanx_link_t *link, phalanx_sessions_t *sessions,
		    const struct local_ike_verify *response);

#endif
