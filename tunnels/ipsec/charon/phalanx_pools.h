/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual addresses. The pools are those of swanctl.conf, but the addresses come from
 * phalanxd, because one charon does not know what the others gave away. What phalanxd does
 * not give, nobody does: charon's own pools are never asked. DNS servers and other
 * attributes still come from them.
 */
#ifndef PHALANX_POOLS_H_
#define PHALANX_POOLS_H_

#include "tunnels/ipsec/charon/phalanx_link.h"

typedef struct phalanx_pools_t phalanx_pools_t;

struct phalanx_pools_t {
	/* Takes acquire and release over from charon's attribute manager. */
	void (*attach)(phalanx_pools_t *this);
	void (*detach)(phalanx_pools_t *this);

	/* Tells phalanxd all pools. */
	void (*announce)(phalanx_pools_t *this);

	/* Of all that is configured for the pool; 0: there is none of this name. */
	uint64_t (*digest)(phalanx_pools_t *this, const char *name);

	void (*destroy)(phalanx_pools_t *this);
};

/* `path`: swanctl.conf. */
phalanx_pools_t *phalanx_pools_create(phalanx_link_t *link, const char *path);

#endif
