/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events that may wait for an IKE SA, because one of charon's threads works on it: a RADIUS
 * server, an address or counters may take that thread seconds. charon's only receiver must not
 * wait with them, since all other IKE SAs would, so worker threads do.
 *
 * Events of one IKE SA stay in order. While one of them is under way, what comes for the same
 * IKE SA stands in line behind it, whatever it is, and one worker at a time works a line off:
 *
 *   IKE_DROP before IKE_IMPORT, IKE_ACTIVATE   a late drop would end an IKE SA that is this
 *                                              member's again
 *   IKE_ACTIVATE before IKE_DROP               a late activation would bring back one that is
 *                                              another member's
 *   IKE_ACTIVATE before all else               which would not find the IKE SA
 *   IKE_VERIFY before packets                  what follows an answer is of use after it
 *
 * There is no order between IKE SAs, nor between packets that charon has been given before and
 * an event: their jobs wait for the IKE SA like it.
 *
 * The end of the connection comes after all lines: see drain().
 */
#ifndef PHALANX_LINES_H_
#define PHALANX_LINES_H_

#include "tunnels/ipsec/charon/phalanx_half.h"
#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"

typedef struct phalanx_lines_t phalanx_lines_t;

/* Works an event off, as a worker, and gives it back to the link, or keeps it. */
typedef void (*phalanx_work_t)(void *arg, phalanx_event_t *event);

struct phalanx_lines_t {
	/* FALSE: nothing keeps the receiver from working the event off itself. */
	bool (*join)(phalanx_lines_t *this, phalanx_event_t *event);

	/* Waits until there are no lines; a cancellation point. */
	void (*drain)(phalanx_lines_t *this);

	void (*destroy)(phalanx_lines_t *this);
};

phalanx_lines_t *phalanx_lines_create(phalanx_link_t *link, phalanx_sessions_t *sessions,
				      phalanx_half_t *half, phalanx_work_t work,
				      void *arg);

#endif
