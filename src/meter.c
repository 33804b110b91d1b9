/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/meter.h"

#include <math.h>

/* A packet through ESP and TUN on a machine of today, and each byte of it. */
#define PACKET_NS 2000.0
#define BYTE_NS 0.5
#define SMOOTHING 4 /* readings until a step has mostly arrived */
/* The daemon's own work shows in its use of the processor, too: little use proves nothing,
 * and nobody's packets cost more than this many times the usual. */
#define BUSY 100000.0
#define FACTOR_MAX 4.0

static double rate_of(const struct unit_traffic *from, const struct unit_traffic *to,
		      uint64_t elapsed)
{
	uint64_t packets = to->packets > from->packets ? to->packets - from->packets : 0;
	uint64_t bytes = to->bytes > from->bytes ? to->bytes - from->bytes : 0;

	return ((double)packets * PACKET_NS + (double)bytes * BYTE_NS) * 1e6 /
	       (double)elapsed;
}

static void smooth(double *value, double sample)
{
	*value += (sample - *value) / SMOOTHING;
}

/* How much more than usual the traffic costs here. */
static double factor(const struct meter *m, double sum)
{
	double f = m->processor > BUSY && sum > 0 ? m->processor / sum : 1;

	return f < 1 ? 1 : f < FACTOR_MAX ? f : FACTOR_MAX;
}

static uint32_t rounded(double value)
{
	return value < UINT32_MAX ? (uint32_t)lround(value) : UINT32_MAX;
}

void meter_read(struct meter *m, const struct meter_reading *r,
		uint32_t traffic[CLUSTER_UNITS], uint32_t *processor)
{
	double sum = 0;

	if (m->begun && r->elapsed)
		smooth(&m->processor, (double)(r->processor - m->last_processor) * 1e6 /
					  (double)r->elapsed);
	m->last_processor = r->processor;
	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		bool owned = unit_set_has(&r->owned, u);

		/* Who has just got a unit knows no better than who had it. */
		if (!owned)
			m->rate[u] = 0;
		else if (!m->begun || !unit_set_has(&m->owned, u))
			m->rate[u] = r->known[u] / (m->begun ? m->factor : 1);
		else if (r->elapsed)
			smooth(&m->rate[u],
			       rate_of(&m->last[u], &r->traffic[u], r->elapsed));
		m->last[u] = r->traffic[u];
		sum += m->rate[u];
	}
	m->owned = r->owned;
	m->begun = true;
	m->factor = factor(m, sum);
	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		traffic[u] = rounded(m->rate[u] * m->factor);
	*processor = rounded(m->processor);
}
