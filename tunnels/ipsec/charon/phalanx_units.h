/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which work units this member owns, and the SPIs that charon chooses for its IKE SAs: the
 * low 10 bits of an SPI of ours are the SA's unit.
 *
 * An SA that a peer begins takes the unit that the filter computed for its first message; a
 * rekeyed SA stays in the unit of the old one; an SA that charon begins takes the unit of
 * its connection, and only the unit's owner may begin it.
 * IKEv1 SAs are begun by peers only: nothing in an answer to us would tell the filter which
 * of the two cookies is ours.
 */
#ifndef PHALANX_UNITS_H_
#define PHALANX_UNITS_H_

#include <library.h>
#include <sa/ike_sa.h>

#include "tunnels/ipsec/local.h"

typedef struct phalanx_units_t phalanx_units_t;

struct phalanx_units_t {
	/* As they come from phalanxd; a set of the wrong size is ignored. */
	void (*set)(phalanx_units_t *this, struct local_blob fold_key,
		    struct local_blob units);

	/* Whether this member owns the unit of the connection. */
	bool (*owns)(phalanx_units_t *this, peer_cfg_t *config);

	/* The SPI that the calling thread chooses from now on; 0: as it likes. */
	void (*force)(phalanx_units_t *this, uint64_t spi);

	/* Takes over the choice of SPIs from charon's IKE SA manager, and gives it back. */
	void (*attach)(phalanx_units_t *this);
	void (*detach)(phalanx_units_t *this);

	void (*destroy)(phalanx_units_t *this);
};

/* Our own SPI of an IKE SA, in host byte order. */
uint64_t phalanx_own_spi(ike_sa_t *ike_sa);
uint64_t phalanx_peer_spi(ike_sa_t *ike_sa);

phalanx_units_t *phalanx_units_create(void);

#endif
