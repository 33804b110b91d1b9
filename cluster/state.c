/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking in: what status shows. Nothing here changes anything. */
#include <string.h>

#include "cluster/internal.h"

enum cluster_role cluster_role(const struct cluster *c)
{
	return c->role;
}

member_id cluster_master(const struct cluster *c)
{
	return c->master;
}

uint64_t cluster_term(const struct cluster *c)
{
	return c->term;
}

const uint8_t *cluster_fold_key(const struct cluster *c)
{
	return c->fold_key;
}

uint64_t cluster_incarnation(const struct cluster *c)
{
	return c->incarnation;
}

uint32_t cluster_activation(const struct cluster *c)
{
	return c->activation;
}

bool cluster_complete(const struct cluster *c)
{
	return c->complete;
}

bool core_alone(const struct cluster *c)
{
	EACH_PRESENT((struct cluster *)c, m)
		if (m->complete && m->able)
			return false;
	return true;
}

bool cluster_unprotected(const struct cluster *c)
{
	EACH_PRESENT((struct cluster *)c, m)
		if (m->complete && m->able && !m->slow)
			return false;
	return true;
}

static void tally(const struct cluster *c, const struct member *m,
		  struct cluster_member_state *s)
{
	EACH_UNIT(u) {
		const struct unit *unit = &c->units[u];

		if (epoch_owner(unit->e.epoch) == m->id) {
			s->units++;
			s->sessions += unit->nsessions;
			s->load += load_of(unit);
		}
		if (unit->e.successor == m->id)
			s->successor_of++;
	}
}

static void describe(const struct cluster *c, const struct member *m,
		     struct cluster_member_state *s, struct mono now)
{
	bool self = m == c->self;
	bool drained = self ? c->drained : m->drained;

	*s = (struct cluster_member_state){
		.id = m->id,
		.name = m->name,
		.present = self
			       ? c->role == CLUSTER_MEMBER || c->role == CLUSTER_MASTER ||
				     (c->role == CLUSTER_OFFERING && c->complete)
			       : m->present,
		.self = self,
		.master = m->id == c->master,
		.vice_master = m->id == c->vice_master,
		.linked = m->linked || self,
		.relayed = m->present && !self && relay_wanted(m),
		.complete = self ? c->complete : m->complete,
		.able = self ? ready(c) : m->able,
		.drained = drained,
		.barred = !self			       ? admission_barred(m, now)
			  : c->role == CLUSTER_JOINING ? c->barred.why
						       : "",
		.why = self ? keepalive_why(c) : m->why,
		.incarnation = self ? c->incarnation : m->incarnation,
		.capacity = self ? c->cfg.capacity : m->capacity,
		.activation = self ? c->activation : m->activation,
		.heard = self	       ? 0
			 : m->heard.ns ? mono_since(now, m->heard)
				       : UINT64_MAX,
		.loss = m->loss,
		.per_interval = self ? c->per_interval : m->per_interval,
		.stress = self ? c->stress : m->stress,
		.lag = m->present && m->sent > m->acked ? m->sent - m->acked : 0,
		.behind = m->present ? m->behind : 0,
		.slow = m->present && m->slow,
		.processor = m->processor,
	};
	s->refused = m->refused;
	s->refused_why = m->refused ? statistic_name(m->refused_why) : "";
	s->refused_ago = m->refused ? mono_since(now, m->refused_at) : UINT64_MAX;
	s->pending = *s->barred && (self ? c->barred.reason : m->barred.reason) ==
				       WIRE_REASON_IN_PROGRESS;
	/* Then nothing else matters. */
	if (!s->present && *s->barred)
		s->why = s->barred;
	s->interval = s->per_interval ? c->cfg.detection / s->per_interval : 0;
	tally(c, m, s);
}

unsigned cluster_members(const struct cluster *c, struct cluster_member_state *out,
			 unsigned max, struct mono now)
{
	for (unsigned i = 0; i < c->nmembers && i < max; i++)
		describe(c, &c->members[i], &out[i], now);
	return c->nmembers < max ? c->nmembers : max;
}

static uint64_t lag_of(const struct cluster *c, unit_id unit)
{
	const struct unit *u = &c->units[unit];
	const struct member *m = core_member(c, u->e.successor);

	if (!u->active || !m)
		return UINT64_MAX;
	if (replica_holds(c, m, unit, u->last))
		return 0;
	/* It may not have been given the unit at all. */
	if (m->acked >= u->last || !m->syncing || unit_set_has(&m->need, unit))
		return u->nsessions;
	return u->last - m->acked;
}

void cluster_unit(const struct cluster *c, unit_id unit, struct cluster_unit_state *out)
{
	const struct unit *u;

	memset(out, 0, sizeof(*out));
	if (unit >= CLUSTER_UNITS)
		return;
	u = &c->units[unit];
	out->owner = epoch_owner(u->e.epoch);
	out->successor = u->e.successor;
	out->epoch = u->e.epoch;
	out->moving_to = u->e.moving_to;
	out->sessions = u->nsessions;
	out->traffic = u->traffic;
	out->load = load_of(u);
	out->served = u->active;
	out->unproven = u->e.unproven;
	out->lag = lag_of(c, unit);
}

bool cluster_present(const struct cluster *c, member_id id)
{
	const struct member *m = core_member(c, id);

	return m && (m == c->self || m->present);
}

bool cluster_whole(const struct cluster *c, member_id id, struct mono now)
{
	const struct member *m = core_member(c, id);

	if (!m || m == c->self)
		return m && c->complete;
	return m->present && m->complete &&
	       mono_since(now, m->heard) < c->cfg.detection / 2 * 3;
}

const struct cluster_peer *cluster_peers(const struct cluster *c, unsigned *n)
{
	*n = c->cfg.npeers;
	return c->cfg.peers;
}
