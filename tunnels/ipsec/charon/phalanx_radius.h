/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RADIUS accounting of sessions that outlive the member where they have begun.
 *
 * charon's eap-radius accounts for the IKE SAs that have logged in at this charon, each under
 * an Acct-Session-Id of its own. What it keeps of a session goes to the other members with the
 * IKE SA's state, and whoever takes the session over gives it to its own eap-radius: that one
 * sends Interim-Updates and the Stop then, under the same Acct-Session-Id, as if the client had
 * logged in there. A member that does not own the session any more says nothing of it, and
 * neither does a charon that is stopped.
 *
 * eap-radius has no interface for that. Its table is used as it is laid out in the strongSwan
 * that the plugin is built for, as no other one loads the plugin.
 */
#ifndef PHALANX_RADIUS_H_
#define PHALANX_RADIUS_H_

#include <library.h>
#include <sa/ike_sa.h>

typedef struct phalanx_radius_t phalanx_radius_t;

struct phalanx_radius_t {
	/* What the next owner of the IKE SA needs, in the caller's hands, and since when it is
	 * accounted for, as a wall-clock time. Empty if it is not. */
	chunk_t (*get)(phalanx_radius_t *this, ike_sa_t *ike_sa, uint64_t *since);

	/* Goes on with what another member's get() has returned. */
	void (*set)(phalanx_radius_t *this, ike_sa_t *ike_sa, chunk_t account,
		    uint64_t since);

	/* The IKE SA is another member's: no Stop. */
	void (*forget)(phalanx_radius_t *this, ike_sa_t *ike_sa);

	/* All are. */
	void (*stop)(phalanx_radius_t *this);

	void (*destroy)(phalanx_radius_t *this);
};

/* Before eap-radius begins to listen, which is when the features of plugins are loaded. */
phalanx_radius_t *phalanx_radius_create(void);

#endif
