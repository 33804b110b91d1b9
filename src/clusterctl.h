/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How clusterctl shows what phalanxd answers: JSON in, text out. */
#ifndef SRC_CLUSTERCTL_H
#define SRC_CLUSTERCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* With `bold` headings stand out on a terminal. Missing fields show as "-". */
void show_status(const json_t *reply, FILE *out, bool bold);
void show_members(const json_t *reply, FILE *out, bool bold);
/* Neighbouring units that are served alike share a row; a single unit has a page. */
void show_units(const json_t *reply, FILE *out, bool bold);
void show_sessions(const json_t *reply, FILE *out, bool bold);
void show_counters(const json_t *reply, FILE *out, bool bold);

#endif
