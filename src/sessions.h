/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The users' sessions, for an operator.
 *
 *   sessions  those of all owners, as this member knows them, by units from "from" (0) on:
 *             as many units as one reply should hold. "next" is where the next reply
 *             begins, null behind the last one. Only those that fit all that is given:
 *               "unit"     the work unit
 *               "member"   the owner's name or id
 *               "id"       the session's id
 *               "user"     the user's name, with * and ? as in file names
 *               "address"  the client's address, or a virtual one
 *               "any"      the id, the user's name, or an address
 *   kill      {"id": ID, "unit": N, "force": bool}: its owner ends the session, and tells
 *             its client. With "force" without waiting for the client's answer.
 *             The reply is {"owner": NAME, "done": bool, "ticket": N}; with "done" false it
 *             is under way to the owner, and "result" is to be asked for.
 */
#ifndef SRC_SESSIONS_H
#define SRC_SESSIONS_H

#include "src/status_view.h"

json_t *sessions_reply(const struct status_view *v, const json_t *arguments);
/* Adds "sessions" and "replication" to a status. */
void sessions_totals(const struct status_view *v, json_t *status);
/* "kill", and "result" with {"command": "kill", "ticket": N}; NULL for others. */
json_t *sessions_order(const struct status_source *source, const char *command,
		       const json_t *arguments, struct mono now);
/* As the owner, for another member: see struct cluster_io's asked(). -EOPNOTSUPP if it is
 * a tunnel's own errand. */
int sessions_asked(const struct status_source *source, unit_id unit,
		   const struct session_key *key, const uint8_t *what, size_t len);

#endif
