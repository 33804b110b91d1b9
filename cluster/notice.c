/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notices: what a tunnel says to all other members, who cannot see it in the store. Only the
 * tunnels know what it means. One may get lost with a connection, and a member that joins
 * has not got the earlier ones: what stays true is said again from time to time.
 */
#include "cluster/internal.h"

void cluster_notice(struct cluster *c, const uint8_t *what, size_t len, struct mono now)
{
	struct wire_notice m = { .what = what, .what_len = len };

	if (c->role == CLUSTER_LEFT || len > CLUSTER_NOTICE_MAX)
		return;
	core_enter(c, now);
	EACH_PRESENT(c, to)
		if (to->linked)
			STREAM(c, to, notice, &m);
	core_leave(c);
}

void recv_notice(struct cluster *c, struct member *from, const struct wire_header *h,
		 struct unpack *u)
{
	struct wire_notice m;

	if (wire_decode_notice(u, &m))
		count(c, STAT_bad_message);
	else if (c->io.noticed)
		c->io.noticed(c->io.ctx, from->id, m.what, m.what_len);
}
