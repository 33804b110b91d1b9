/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What IKEv1 SAs have of their own: their keys, and how they go on at another member.
 */
#ifndef PHALANX_ISAKMP_H_
#define PHALANX_ISAKMP_H_

#include <crypto/key_exchange.h>
#include <encoding/message.h>

#include "tunnels/ipsec/charon/phalanx_state.h"

/* What main mode has derived the keys from, into `keys`. From here on charon leaves it to
 * the peer to authenticate anew. */
void phalanx_isakmp_keys(ike_sa_t *ike_sa, key_exchange_t *dh, chunk_t dh_other,
			 shared_key_t *shared, auth_method_t method,
			 phalanx_keys_t *keys);

/* TRUE if the message, which is not encrypted yet, asks whether the peer is alive. */
bool phalanx_isakmp_dpd(message_t *message, uint32_t *number);

/* The same keys once more, for a new SA. */
bool phalanx_isakmp_derive(ike_sa_t *ike_sa, const phalanx_ike_state_t *state,
			   proposal_t *proposal);
/* Its numbers, before it is established. */
void phalanx_isakmp_begin(ike_sa_t *ike_sa, const phalanx_ike_state_t *state);

#endif
