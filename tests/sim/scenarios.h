/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named courses of events. Each starts from nothing, and fails the world if it must. */
#ifndef SIM_SCENARIOS_H
#define SIM_SCENARIOS_H

#include "tests/sim/world.h"

struct scenario {
	const char *name;
	void (*run)(struct world *w);
};

extern const struct scenario scenarios[];
extern const unsigned scenarios_count;

/* A random mix of faults, `steps` of them. */
void scenario_random(struct world *w, unsigned steps);

#endif
