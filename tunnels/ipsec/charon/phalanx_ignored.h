/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a configuration asks of the kernel's SAs and policies. The cluster has none in the
 * kernel, so it has no effect, and the log says so when it is loaded.
 */
#ifndef PHALANX_IGNORED_H_
#define PHALANX_IGNORED_H_

#include <config/child_cfg.h>
#include <config/peer_cfg.h>

typedef struct phalanx_ignored_t phalanx_ignored_t;

struct phalanx_ignored_t {
	/* Names the options of this CHILD SA's configuration, but for those that it had in
	 * the last round. */
	void (*look)(phalanx_ignored_t *this, peer_cfg_t *peer, child_cfg_t *child);

	/* All that is loaded was looked at: the next round begins. */
	void (*end_round)(phalanx_ignored_t *this);

	void (*destroy)(phalanx_ignored_t *this);
};

/* The options that look() would name, a bit each. */
u_int phalanx_ignored(peer_cfg_t *peer, child_cfg_t *child);

phalanx_ignored_t *phalanx_ignored_create(void);

#endif
