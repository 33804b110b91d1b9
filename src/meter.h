/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the traffic of each unit costs, for the balance of load: packets and bytes at what
 * they usually cost a processor; more, if the daemon's use of the processor shows that they
 * cost more on this machine. Smoothed, so that a burst of a second is no reason to move.
 */
#ifndef SRC_METER_H
#define SRC_METER_H

#include "cluster/cluster.h"
#include "tunnels/tunnel.h"

struct meter {
	bool begun;
	struct unit_set owned; /* at the last reading */
	struct unit_traffic last[CLUSTER_UNITS];
	double rate[CLUSTER_UNITS]; /* millionths of a processor */
	double processor;	    /* likewise, of the whole daemon */
	double factor;		    /* what was reported is this times the rate */
	uint64_t last_processor;
};

struct meter_reading {
	uint64_t elapsed;   /* ns since the last one */
	uint64_t processor; /* ns that the daemon has used, ever */
	struct unit_set owned;
	const struct unit_traffic *traffic; /* CLUSTER_UNITS, ever */
	const uint32_t *known; /* CLUSTER_UNITS: what a former owner has reported */
};

/* For cluster_set_load(). The first reading has no rates: all but *processor is as known. */
void meter_read(struct meter *m, const struct meter_reading *r,
		uint32_t traffic[CLUSTER_UNITS], uint32_t *processor);

#endif
