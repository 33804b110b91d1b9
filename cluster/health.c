/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local health, after Lifeguard: a member whose own timers are late hears the others late,
 * too, and doubts itself before it accuses anybody.
 *
 * Each sixteenth of a detection interval by which a timer is late adds a step of stress, up
 * to eight; each quarter of an interval without a late timer takes one away. Under full
 * stress a member tolerates twice the silence. Half an interval is more than stress: such
 * a member is late (serving.c).
 *
 * More patience is always safe. A master that declares a member dead later gives it a longer
 * interval than that member's lease assumes; and a member that accuses its master later
 * gains no lease by that, see election_begin().
 */
#include "cluster/internal.h"

#define LATE_STEPS 16 /* in a detection interval */
#define EASE_STEPS 4

void health_note(struct cluster *c, uint64_t late)
{
	uint64_t steps = late / (c->cfg.detection / LATE_STEPS);
	uint64_t ease = c->cfg.detection / EASE_STEPS;

	if (steps) {
		c->stress = steps < STRESS_MAX - c->stress ? c->stress + (unsigned)steps
							   : STRESS_MAX;
		c->stressed_at = c->now;
		return;
	}
	while (c->stress && mono_since(c->now, c->stressed_at) >= ease) {
		c->stress--;
		c->stressed_at = mono_add(c->stressed_at, ease);
	}
}

uint64_t health_patience(const struct cluster *c)
{
	return c->cfg.detection + c->cfg.detection * c->stress / STRESS_MAX;
}
