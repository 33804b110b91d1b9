/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refused messages of one kind in the log: a line a second at most. */
#ifndef SRC_REFUSAL_H
#define SRC_REFUSAL_H

#include <stdbool.h>

#include "cluster/mono.h"

/* All zero at first. */
struct refusal_log {
	struct mono next; /* no line before */
	unsigned unsaid;
};

/* A message was refused. True if a line is due now: *unsaid were refused since the last
 * line and have none. */
bool refusal_log_due(struct refusal_log *r, struct mono now, unsigned *unsaid);

#endif
