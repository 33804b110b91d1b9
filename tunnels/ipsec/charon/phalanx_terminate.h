/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `swanctl --terminate` for the SAs of other members.
 *
 * vici looks for the SAs that a command names among those of this charon. It is shown one
 * more, which stands for all those at other members, and its end is passed on to their
 * owners. Which command that is, vici tells nobody but its log, right before it looks.
 */
#ifndef PHALANX_TERMINATE_H_
#define PHALANX_TERMINATE_H_

#include <bus/listeners/logger.h>

#include "tunnels/ipsec/charon/phalanx_link.h"

typedef struct phalanx_terminate_t phalanx_terminate_t;

struct phalanx_terminate_t {
	logger_t logger;

	/* Takes its place in front of charon's controller, and gives it back. */
	void (*attach)(phalanx_terminate_t *this);
	void (*detach)(phalanx_terminate_t *this);

	void (*destroy)(phalanx_terminate_t *this);
};

phalanx_terminate_t *phalanx_terminate_create(phalanx_link_t *link);

#endif
