/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What another member's charon needs to go on with an IKE SA and its CHILD SAs.
 *
 *   essential, IKE:  both SPIs and who initiated, addresses, identities, proposal, DH
 *                    secret, nonces, the old SK_d of a rekeying, connection's name,
 *                    extensions, conditions, virtual addresses, whether rekeyed, times
 *   essential, CHILD: both SPIs, connection's name, mode, encapsulation, proposal, selectors,
 *                    how far it has ended. No keys: those are in phalanxd's SAs
 *   essential, IKEv1: both public DH values, how the peers have authenticated, with the
 *                    preshared key if there is one, the IV that main mode has led to, the
 *                    next number of a DPD request
 *   essential, IKE, if it is accounted for by RADIUS: see phalanx_radius.h
 *   calculable:      the keys of the IKE SA, lifetimes of the CHILD SAs, jobs
 *
 * Times travel as wall-clock seconds, because members' monotonic clocks differ; whoever
 * reads them bounds them by its own configuration.
 */
#ifndef PHALANX_STATE_H_
#define PHALANX_STATE_H_

#include <library.h>
#include <sa/child_sa.h>
#include <sa/ike_sa.h>

#include "tunnels/ipsec/charon/phalanx_radius.h"
#include "tunnels/ipsec/local.h"

#define PHALANX_STATE_VERSION 1
#define PHALANX_STATE_ISAKMP 2 /* of an IKEv1 SA */
#define PHALANX_VIPS_MAX 16

typedef enum phalanx_child_phase_t phalanx_child_phase_t;
typedef struct phalanx_keys_t phalanx_keys_t;
typedef struct phalanx_ike_state_t phalanx_ike_state_t;
typedef struct phalanx_child_state_t phalanx_child_state_t;

enum phalanx_child_phase_t {
	PHALANX_CHILD_INSTALLED,
	PHALANX_CHILD_REKEYED, /* the peer has another and will delete this one */
	PHALANX_CHILD_DELETED, /* kept for a moment, for packets that are late */
};

/* What an IKE SA's keys are derived from; from `own` on of IKEv1 only. */
struct phalanx_keys_t {
	chunk_t secret, nonce_i, nonce_r, old_skd;
	uint16_t old_prf;
	chunk_t own, other; /* public values */
	chunk_t psk;
	uint16_t method; /* auth_method_t */
	uint32_t dpd;	 /* the next number */
};

/* Chunks point into the decoded bytes. Numbers are in host byte order. */
struct phalanx_ike_state_t {
	ike_version_t version;
	uint64_t spi_i, spi_r;
	uint8_t initiator, rekeyed;
	struct local_addr local, remote;
	chunk_t local_id, remote_id, eap_id, name;
	uint16_t encr, encr_len, integ, prf, group;
	phalanx_keys_t keys;
	uint32_t extensions, conditions;
	uint8_t vip_count;
	struct local_addr vips[PHALANX_VIPS_MAX];
	uint64_t established, rekey, reauth; /* wall clock; 0: none */
	chunk_t iv;			     /* of IKEv1 */
	chunk_t account;		     /* empty: none */
	uint64_t accounted;		     /* since when, wall clock */
};

struct phalanx_child_state_t {
	uint32_t spi_in, spi_out, rekey_spi;
	uint8_t mode, encap, phase;
	uint16_t encr, encr_len, integ, group, esn;
	chunk_t name, local_ts, remote_ts;
};

void phalanx_keys_clone(phalanx_keys_t *to, const phalanx_keys_t *from);
void phalanx_keys_clear(phalanx_keys_t *keys);

/* The caller wipes and frees the bytes. `digest` changes when a peer, a user or the RADIUS
 * server would see a difference. Empty if the SA cannot be encoded. */
chunk_t phalanx_state_ike(ike_sa_t *ike_sa, const phalanx_keys_t *keys,
			  phalanx_radius_t *radius, uint64_t *digest);
chunk_t phalanx_state_child(child_sa_t *child_sa, uint64_t *digest);

/* FALSE if malformed or of another version. */
bool phalanx_state_read_ike(struct local_blob bytes, phalanx_ike_state_t *state);
bool phalanx_state_read_child(struct local_blob bytes, phalanx_child_state_t *state);

#endif
