/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an operator is told of the networks between this member and another. */
#ifndef SRC_STATUS_PATHS_H
#define SRC_STATUS_PATHS_H

#include <jansson.h>

#include "src/link.h"

/* A new reference: a list with one object for each network that both members are on, the
 * preferred one first. */
json_t *status_paths(const struct link_status *link);

#endif
