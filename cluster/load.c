/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What units cost. The sessions of a unit are known to all members; what their traffic
 * costs, only the owner knows, and tells. All members are told, so that whoever becomes
 * master can balance at once, and whoever gets a unit knows what to expect of it.
 */
#include "cluster/internal.h"

uint64_t load_of(const struct unit *unit)
{
	uint64_t load = (uint64_t)unit->nsessions * CLUSTER_LOAD_SESSION + unit->traffic;

	return load < LOAD_MAX ? load : LOAD_MAX;
}

void cluster_set_load(struct cluster *c, const uint32_t traffic[CLUSTER_UNITS],
		      uint32_t processor, struct mono now)
{
	struct wire_load m = { .processor = processor };

	if (c->role == CLUSTER_LEFT)
		return;
	core_enter(c, now);
	c->self->processor = processor;
	EACH_UNIT(u) {
		struct unit *unit = &c->units[u];

		if (!unit->active)
			continue;
		unit->traffic = traffic[u] < LOAD_MAX ? traffic[u] : LOAD_MAX;
		if (unit->traffic)
			m.units[m.units_count++] =
			    (struct wire_weight){ u, unit->traffic };
	}
	EACH_PRESENT(c, to)
		if (to->linked)
			STREAM(c, to, load, &m);
	core_leave(c);
}

/* The whole of it: units that are not mentioned cost nothing. */
void recv_load(struct cluster *c, struct member *from, const struct wire_header *h,
	       struct unpack *u)
{
	struct wire_load m;

	if (wire_decode_load(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	from->processor = m.processor;
	EACH_UNIT(i)
		if (epoch_owner(c->units[i].e.epoch) == from->id)
			c->units[i].traffic = 0;
	for (unsigned i = 0; i < m.units_count; i++) {
		struct unit *unit = &c->units[m.units[i].unit];
		uint32_t w = m.units[i].weight;

		if (epoch_owner(unit->e.epoch) == from->id)
			unit->traffic = w < LOAD_MAX ? w : LOAD_MAX;
	}
}
