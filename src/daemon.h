/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The member: joins the core, the interconnect, the packet path and the tunnels in one
 * event loop. It decides nothing; it carries what one part says to the other.
 */
#ifndef SRC_DAEMON_H
#define SRC_DAEMON_H

#include "src/conf.h"
#include "src/keeper.h"

#define DAEMON_ERROR_SIZE 512

struct daemon;

/*
 * `self`: this member's entry in the configuration. `lease_fd`: the filter's lease, which
 * the parent can revoke. `conf` and `page` stay the caller's and must outlive the daemon.
 * NULL and a line in `err` when something that it needs is missing.
 */
struct daemon *daemon_new(const struct conf *conf, const struct conf_member *self,
			  int lease_fd, struct keeper_page *page,
			  char err[DAEMON_ERROR_SIZE]);
/* Until SIGTERM or SIGINT, upon which the member leaves the cluster in good order; returns
 * the exit status. */
int daemon_run(struct daemon *d);
void daemon_free(struct daemon *d); /* takes NULL */

#endif
