/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connections that charon has loaded: phalanxd is told all of them when it is greeted,
 * and whenever one was loaded, unloaded or changed.
 */
#ifndef PHALANX_CONFIGS_H_
#define PHALANX_CONFIGS_H_

#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_pools.h"

typedef struct phalanx_configs_t phalanx_configs_t;

struct phalanx_configs_t {
	/* Tells all. */
	void (*announce)(phalanx_configs_t *this);

	/* Looks for changes soon. */
	void (*check)(phalanx_configs_t *this);

	void (*attach)(phalanx_configs_t *this);
	void (*destroy)(phalanx_configs_t *this);
};

phalanx_configs_t *phalanx_configs_create(phalanx_link_t *link, phalanx_pools_t *pools);

#endif
