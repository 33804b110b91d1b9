/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How clusterctl shows what phalanxd answers: JSON in, text out. */
#ifndef SRC_CLUSTERCTL_H
#define SRC_CLUSTERCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "src/table.h"

/* With `bold` headings stand out on a terminal. Missing fields show as "-". */
void show_status(const json_t *reply, FILE *out, bool bold);
void show_members(const json_t *reply, FILE *out, bool bold);
/* Neighbouring units that are served alike share a row; a single unit has a page. */
void show_units(const json_t *reply, FILE *out, bool bold);
/* A page after the other, so that there may be any number of sessions. */
struct table *show_sessions_begin(void);
void show_sessions_page(struct table *t, const json_t *reply, FILE *out, bool bold);
void show_counters(const json_t *reply, FILE *out, bool bold);

/*
 * Commands to the cluster. They report on stdout or stderr and return the exit status.
 * `wait`: until it is done, not only begun.
 */
int operate_drain(const char *socket, const char *member, bool force, bool wait);
int operate_undrain(const char *socket, const char *member);
int operate_move(const char *socket, unsigned unit, const char *member, bool wait);

/* `why`: NULL, or what is shown to who asks why the member is away. */
int operate_expel(const char *socket, const char *member, const char *why, bool json,
		  bool wait);

/* One line of a request; EXIT_OK and a new reference to the reply, or it says why not and
 * returns the exit status. Steals `arguments`. */
int operate_call(const char *socket, const char *command, json_t *arguments,
		 json_t **reply);
/* The same for what another member may have to do: waits for its answer. */
int operate_order(const char *socket, const char *command, json_t *arguments,
		  json_t **reply);

/* Sessions that fit `arguments`, see sessions.h; steals them. */
int sessions_list(const char *socket, json_t *arguments, bool json);
/* Ends those with that id, user or address, of which there must be one. */
int sessions_kill(const char *socket, const char *which, bool force, bool wait);

/* sysexits' EX_UNAVAILABLE, as systemctl's: there is no daemon to ask. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_RUNNING = 69 };
/* Prints why control_call() has failed; the exit status. */
int report_failure(int ret, const char *err);

#endif
