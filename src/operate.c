/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/operate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/control.h"

#define WHY_MAX 120

struct request {
	struct cluster *cluster;
	const struct conf *conf;
	const char *command;
	const struct conf_member *member;
	unit_id unit;
	bool force;
	const char *why; /* NULL: none is given */
	struct mono now;
};

const struct conf_member *operate_member(const struct conf *conf, const json_t *who)
{
	const char *text = json_string_value(who);
	const struct conf_member *m = text ? conf_member_named(conf, text) : NULL;
	char *end = NULL;
	long id = json_is_integer(who) ? (long)json_integer_value(who)
		  : text	       ? strtol(text, &end, 10)
				       : 0;

	if (m || (text && (end == text || *end)) || id < 1 || id > CLUSTER_ID_MAX)
		return m;
	return conf_member_with_id(conf, (member_id)id);
}

json_t *operate_no_member(const struct conf *conf, const json_t *who)
{
	char names[300] = "";
	size_t used = 0;

	for (unsigned i = 0; i < conf->nmembers && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
					 i ? ", " : "", conf->members[i].name);
	if (!json_is_string(who) && !json_is_integer(who))
		return control_error("the member's name or id is missing");
	if (json_is_integer(who))
		return control_error("no member has the id %lld; the members are %s",
				     (long long)json_integer_value(who), names);
	return control_error("there is no member '%.64s'; the members are %s",
			     json_string_value(who), names);
}

static void member_state(const struct request *r, struct cluster_member_state *out)
{
	struct cluster_member_state all[CLUSTER_MEMBERS_MAX];
	unsigned n = cluster_members(r->cluster, all, CLUSTER_MEMBERS_MAX, r->now);

	memset(out, 0, sizeof(*out));
	out->why = "";
	for (unsigned i = 0; i < n; i++)
		if (all[i].id == r->member->id)
			*out = all[i];
}

/* Why the member cannot have a unit. */
static json_t *unfit(const struct request *r)
{
	const char *name = r->member->name;
	struct cluster_member_state m;

	member_state(r, &m);
	if (!m.present)
		return control_error("%s is not in the cluster", name);
	if (m.drained)
		return control_error("%s is drained: undrain it first", name);
	if (!m.able)
		return control_error("%s is not able to work: %s", name,
				     *m.why ? m.why : "it has not said why");
	return control_error("%s does not hold all sessions yet; try again soon", name);
}

static json_t *unreachable(const struct request *r)
{
	struct cluster_member_state m;

	if (strcmp(r->command, "move") == 0)
		return control_error("there is no connection to the master or to the "
				     "unit's owner");
	member_state(r, &m);
	if (!m.present)
		return control_error("%s is not in the cluster", r->member->name);
	if (strcmp(r->command, "expel") == 0)
		return control_error("there is no connection to the master");
	return control_error("there is no connection to %s", r->member->name);
}

static json_t *failure(const struct request *r, int err)
{
	switch (-err) {
	case ENOTCONN:
		return unreachable(r);
	case EBUSY:
		return control_error(
		    "no other member is able to work: nobody would serve "
		    "the sessions of %s",
		    r->member->name);
	case EAGAIN:
		return control_error("there is no master at the moment; try again");
	case ESRCH:
		return control_error("unit %u has no owner at the moment; try again",
				     r->unit);
	case EHOSTDOWN:
		return unfit(r);
	case EALREADY:
		return control_error("unit %u is on its way to another member already",
				     r->unit);
	case EOPNOTSUPP:
		return control_error("the other member runs another version of phalanxd "
				     "and does not know the command");
	case ENOENT:
		return control_error("there is no such ticket");
	default:
		if (strcmp(r->command, "expel") == 0 && err == -EINVAL)
			return control_error("%s is the master, which cannot be expelled",
					     r->member->name);
		return control_error("%s: %s", r->command, strerror(-err));
	}
}

static json_t *outcome(const struct request *r, int rc, uint32_t ticket)
{
	if (rc && rc != -EINPROGRESS)
		return failure(r, rc);
	return json_pack("{s:s,s:i,s:b,s:I}", "member", r->member->name, "id",
			 (int)r->member->id, "done", rc == 0, "ticket",
			 (json_int_t)ticket);
}

static json_t *carry_out(struct request *r)
{
	uint32_t ticket = 0;
	int rc;

	if (strcmp(r->command, "move") == 0)
		rc = cluster_move(r->cluster, r->unit, r->member->id, &ticket, r->now);
	else if (strcmp(r->command, "expel") == 0)
		rc = cluster_expel(r->cluster, r->member->id, false, r->why, &ticket,
				   r->now);
	else
		rc = cluster_drain(r->cluster, r->member->id,
				   strcmp(r->command, "drain") == 0, r->force, &ticket,
				   r->now);
	return outcome(r, rc, ticket);
}

static json_t *result(const struct request *r, const json_t *arguments)
{
	json_int_t ticket = json_integer_value(json_object_get(arguments, "ticket"));
	struct cluster_member_state m;
	int rc;

	if (ticket < 1 || ticket > UINT32_MAX)
		return failure(r, -ENOENT);
	rc = cluster_result(r->cluster, (uint32_t)ticket);
	/* Who is expelled itself may not hear the answer any more. */
	if (rc == -ENOTCONN && strcmp(r->command, "expel") == 0) {
		member_state(r, &m);
		rc = m.present && !m.self ? rc : 0;
	}
	return outcome(r, rc, (uint32_t)ticket);
}

static bool is_command(const char *text)
{
	return strcmp(text, "drain") == 0 || strcmp(text, "undrain") == 0 ||
	       strcmp(text, "move") == 0 || strcmp(text, "expel") == 0;
}

/* It is shown to operators, on terminals and in logs. */
static bool is_line(const char *text)
{
	if (strlen(text) > WHY_MAX)
		return false;
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

json_t *operate_reply(struct cluster *cluster, const struct conf *conf,
		      const char *command, const json_t *arguments, struct mono now)
{
	const json_t *who = json_object_get(arguments, "member");
	const json_t *unit = json_object_get(arguments, "unit");
	bool asks = strcmp(command, "result") == 0;
	const char *of = json_string_value(json_object_get(arguments, "command"));
	struct request r = {
		.cluster = cluster,
		.conf = conf,
		.command = asks ? of : command,
		.member = operate_member(conf, who),
		.unit = (unit_id)json_integer_value(unit),
		.force = json_is_true(json_object_get(arguments, "force")),
		.why = json_string_value(json_object_get(arguments, "why")),
		.now = now,
	};

	if (!asks && !is_command(command))
		return NULL;
	if (!r.command || !is_command(r.command))
		return control_error("the result of which command?");
	if (!r.member)
		return operate_no_member(conf, who);
	if (strcmp(r.command, "move") == 0 &&
	    (!json_is_integer(unit) || json_integer_value(unit) < 0 ||
	     json_integer_value(unit) >= CLUSTER_UNITS))
		return control_error("a work unit is a number from 0 to %d",
				     CLUSTER_UNITS - 1);
	if (r.why && !is_line(r.why))
		return control_error("the reason is one line, of %d bytes at most",
				     WHY_MAX);
	return asks ? result(&r, arguments) : carry_out(&r);
}
