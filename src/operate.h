/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an operator can tell a cluster to do, at any of its members, as JSON.
 *
 *   drain    {"member": M, "force": bool}: the member gives its units up and gets none
 *   undrain  {"member": M}
 *   move     {"unit": N, "member": M}: the unit goes to that member
 *   expel    {"member": M, "why": TEXT}: the member is told to go, and comes back later
 *   result   one of these with its "command" and "ticket" besides: what became of it
 *
 * M is a member's name or id. The reply is {"member": NAME, "done": bool, "ticket": N}; with
 * "done" false the command is under way to another member, and "result" is to be asked for.
 */
#ifndef SRC_OPERATE_H
#define SRC_OPERATE_H

#include <jansson.h>

#include "cluster/cluster.h"
#include "src/conf.h"

/* A new reference; NULL if `command` is none of these. */
json_t *operate_reply(struct cluster *cluster, const struct conf *conf,
		      const char *command, const json_t *arguments, struct mono now);

/* By its name; or else by its id, as a number or as text. NULL if there is none. */
const struct conf_member *operate_member(const struct conf *conf, const json_t *who);
/* The reply that says so. */
json_t *operate_no_member(const struct conf *conf, const json_t *who);

#endif
