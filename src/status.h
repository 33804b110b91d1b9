/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an operator can ask a member, as JSON.
 *
 *   status    this member, its networks, the members, who serves how many units, sessions
 *             by owner; with {"counters": true} all counters too
 *   members   all valid members, present or not
 *   units     all units, or with {"unit": N} that one
 *   sessions  the users' sessions, of all owners: see sessions.h
 *   counters  all counters by name
 *
 * These are all answered from this member's own view.
 */
#ifndef SRC_STATUS_H
#define SRC_STATUS_H

#include <jansson.h>

#include "cluster/cluster.h"
#include "src/conf.h"
#include "src/link.h"
#include "src/statistic.h"
#include "tunnels/tunnel.h"

#define STATUS_STATISTICS_MAX 512 /* counters of one part */

struct status_tunnel {
	const struct tunnel_ops *ops;
	void *tunnel;
};

struct status_source {
	const struct conf *conf;
	struct cluster *cluster;
	member_id self;
	struct mono started;
	const struct status_tunnel *tunnels;
	unsigned ntunnels;
	/* Further counters, those of the ports and the interconnect: writes at most `max`
	 * and returns how many. May be NULL. Values of equal names are added up. */
	size_t (*statistics)(void *ctx, struct statistic *out, size_t max);
	/* Whether network number `network` of the configuration is usable. May be NULL.
	 */
	bool (*network_up)(void *ctx, unsigned network);
	/* What the interconnect knows of a peer; false if it does not know it. May be NULL. */
	bool (*link)(void *ctx, member_id peer, struct link_status *out);
	const char *remark; /* what this member has to say of itself; may be NULL */
	void *ctx;
};

/* A new reference; NULL if `command` is none of these. */
json_t *status_reply(const struct status_source *source, const char *command,
		     const json_t *arguments, struct mono now);

#endif
