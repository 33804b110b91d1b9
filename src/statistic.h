/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A named counter, as `clusterctl status --counters` shows it. Names are stable: they are
 * "part.what", lower case, and a name never changes its meaning.
 *
 * A part's `X_statistics(x, out, max)` writes at most `max` counters to `out` and returns
 * how many it wrote; the names live as long as the program.
 */
#ifndef SRC_STATISTIC_H
#define SRC_STATISTIC_H

#include <stdint.h>

struct statistic {
	const char *name;
	uint64_t value;
};

#endif
