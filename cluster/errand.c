/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errands: what a tunnel wants of the owner of a unit, who alone may change its sessions.
 *
 * An ERRAND goes by stream to the unit's owner and is answered by a COMMAND RESULT, at once
 * or when the owner's tunnel has done it. Whoever loses the unit in between answers -ESTALE
 * or not at all: the asker asks again, so an errand must do no harm when it is done twice.
 */
#include <errno.h>

#include "cluster/internal.h"

int cluster_ask(struct cluster *c, unit_id unit, const struct session_key *key,
		const uint8_t *what, size_t len, uint32_t *ticket, struct mono now)
{
	struct wire_errand w = {
		.unit = unit, .key = *key, .what = what, .what_len = len
	};
	struct member *owner;
	int rc;

	if (unit >= CLUSTER_UNITS || len > CLUSTER_ERRAND_MAX)
		return -EINVAL;
	owner = core_member(c, epoch_owner(c->units[unit].e.epoch));
	if (!owner || c->units[unit].e.vacant)
		return -ESRCH;
	if (owner == c->self)
		return -EALREADY;
	core_enter(c, now);
	rc = command_open(c, owner, &w.target, &w.number);
	if (!rc)
		rc = command_sent(c, w.number, STREAM(c, owner, errand, &w), ticket);
	core_leave(c);
	return rc;
}

static void answer(struct cluster *c, struct member *to,
		   const struct cluster_asker *asker, int result)
{
	struct wire_command_result m = {
		.target = asker->incarnation,
		.number = asker->number,
		.result = command_result_to_wire(result),
	};

	STREAM(c, to, command_result, &m);
}

void cluster_answer(struct cluster *c, const struct cluster_asker *asker, int result,
		    struct mono now)
{
	struct member *to = core_member(c, asker->from);

	if (!to || !to->linked || c->role == CLUSTER_LEFT)
		return;
	core_enter(c, now);
	answer(c, to, asker, result);
	core_leave(c);
}

void recv_errand(struct cluster *c, struct member *from, const struct wire_header *h,
		 struct unpack *u)
{
	struct cluster_asker who = { .from = from->id, .incarnation = h->incarnation };
	struct wire_errand m;
	int result = -EOPNOTSUPP;

	if (wire_decode_errand(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation)
		return;
	who.number = m.number;
	if (!c->units[m.unit].active)
		result = -ESTALE;
	else if (c->io.asked)
		result = c->io.asked(c->io.ctx, &who, m.unit, &m.key, m.what, m.what_len);
	if (result != -EINPROGRESS)
		answer(c, from, &who, result);
}
