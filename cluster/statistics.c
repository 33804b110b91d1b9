/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cluster/internal.h"

const char *statistic_name(enum statistic s)
{
	static const char *const names[] = {
#define X(name) #name,
		STATISTICS(X)
#undef X
	};

	return names[s];
}

unsigned cluster_statistics(const struct cluster *c, const char **names, uint64_t *values,
			    unsigned max)
{
	unsigned n = max < STATISTICS_COUNT ? max : STATISTICS_COUNT;

	for (unsigned i = 0; i < n; i++) {
		names[i] = statistic_name(i);
		values[i] = c->statistics[i];
	}
	return STATISTICS_COUNT;
}
