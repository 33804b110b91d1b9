/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members that die again and again.
 *
 * Each coming and going moves units, and copies the state of all others. So a member that
 * dies by itself within two minutes of its join, for the third time, waits for a second
 * before it is let in again, then for two, four, and so on, up to sixty. Ten minutes
 * without such a death, and all is forgotten. Who leaves, whose process says that it dies,
 * or who is told to go, was not unsteady.
 */
#include <stdio.h>

#include "cluster/internal.h"

#define SOON (120 * MONO_SEC)
#define FORGIVEN (600 * MONO_SEC)
#define FREE_DEATHS 2
#define HOLD_MAX_TIMES 60

/* First delay, doubled for each further death, up to sixty times it. */
static uint64_t delay_after(uint64_t first, unsigned deaths)
{
	uint64_t times = 1;

	if (deaths <= FREE_DEATHS)
		return 0;
	for (unsigned i = FREE_DEATHS + 1; i < deaths && times < HOLD_MAX_TIMES; i++)
		times *= 2;
	return first * (times < HOLD_MAX_TIMES ? times : HOLD_MAX_TIMES);
}

void flapping_died(struct cluster *c, struct member *m)
{
	if (!c->cfg.hold_back || mono_since(c->now, m->joined_at) >= SOON)
		return;
	if (m->flaps && mono_since(c->now, m->flapped_at) >= FORGIVEN)
		m->flaps = 0;
	if (!m->flaps)
		m->flapping_since = c->now;
	m->flaps++;
	m->flapped_at = c->now;
	m->held_until = mono_add(c->now, delay_after(c->cfg.hold_back, m->flaps));
	if (m->flaps > FREE_DEATHS)
		core_log(c, "member %u is unsteady: %u deaths", m->id, m->flaps);
}

uint64_t flapping_held(struct cluster *c, struct member *m)
{
	if (m->flaps && mono_since(c->now, m->flapped_at) >= FORGIVEN)
		m->flaps = 0;
	return m->flaps > FREE_DEATHS ? mono_since(m->held_until, c->now) : 0;
}

void flapping_text(const struct cluster *c, const struct member *m, char *out,
		   size_t size)
{
	uint64_t left = mono_since(m->held_until, c->now);
	uint64_t within = mono_since(m->flapped_at, m->flapping_since);

	snprintf(out, size, "held back %llu s more: %u deaths within %llu minutes",
		 (unsigned long long)((left + MONO_SEC - 1) / MONO_SEC), m->flaps,
		 (unsigned long long)(within / (60 * MONO_SEC) + 1));
}
