/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parent process that outlives the member.
 *
 * It does one thing: when the member dies, it makes sure that nothing of it is left and
 * sends the death notes that the member sealed in advance, so that the others take over at
 * once and need not wait for missing keepalives. Parent and member share one page; the
 * member writes, the parent reads and trusts no length in it.
 *
 * If the parent itself dies, the kernel kills the member (PR_SET_PDEATHSIG): a member never
 * runs unattended.
 */
#ifndef SRC_KEEPER_H
#define SRC_KEEPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define KEEPER_PEERS 32
#define KEEPER_PATHS 4	    /* networks of the interconnect */
#define KEEPER_NOTE_MAX 512 /* bytes of a sealed note */

#define KEEPER_AGAIN 90 /* exit status of a member that wants to start anew */

struct keeper_page;

/* Zeroed memory that is shared with children. NULL and errno on failure. */
struct keeper_page *keeper_page_new(void);
void keeper_page_free(struct keeper_page *page);

struct keeper_config {
	/* Called in the parent at the member's death, before anything else; may be NULL.
	 * It must not block. The daemon stops the filter here. */
	void (*at_death)(void *ctx);
	void *ctx;
	/* Called in the parent when the child has exited with KEEPER_AGAIN, instead of
	 * telling the peers: it executes the program again, and returns only if it cannot.
	 * May be NULL. */
	void (*again)(void *ctx);
};

/*
 * Forks. Returns in the child, which is the member from then on, in a process group of its
 * own. The parent forwards SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 to it and exits
 * when it has ended: with 0 after keeper_leave(), else with the child's own status if that
 * is not 0, 128 + signal, or 1. To be called before there are threads, an event base or
 * secrets. NULL and errno if the child cannot be made.
 */
struct keeper_page *keeper_run(const struct keeper_config *config);

/* The member says: from now on my end is no death (the cluster has been told otherwise).
 * Nothing is sent then. */
void keeper_leave(struct keeper_page *page);

/*
 * The addresses of this member and of the peer in `slot` (below KEEPER_PEERS) on network
 * `path` (below KEEPER_PATHS). Notes go over all networks that both are on. Where this
 * member's address was never set, they are sent from any.
 */
void keeper_from(struct keeper_page *page, unsigned path, const struct sockaddr *from,
		 socklen_t len);
void keeper_to(struct keeper_page *page, unsigned slot, unsigned path,
	       const struct sockaddr *to, socklen_t len);
/*
 * Stores the note for the peer in `slot`. The one that was stored before is kept as well and
 * sent too: the peer may not have the newer key yet. -EMSGSIZE if it is too long.
 */
int keeper_note(struct keeper_page *page, unsigned slot, const uint8_t *note, size_t len);

#endif
