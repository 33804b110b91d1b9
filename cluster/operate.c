/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operator's commands: drain, undrain, move, expel.
 *
 * A command is carried out by the member that it is about: draining by the member itself,
 * which alone knows its flag; a move by the master, which alone orders moves, and so the
 * order to go. Who is asked at another member sends a COMMAND there, by stream, and gets one
 * answer. An answer that cannot come any more, since the connection or the other member's
 * run has ended, is -ENOTCONN. Errands (errand.c) wait for theirs in the same way.
 */
#include <errno.h>
#include <string.h>

#include "cluster/internal.h"

/* As they stand on the wire. Append only. */
static const int results[] = {
	0,	    -EINVAL,   -ENOTCONN,   -EBUSY,  -EAGAIN, -ESRCH,
	-EHOSTDOWN, -EALREADY, -EOPNOTSUPP, -EEXIST, -EPERM,  -ESTALE,
};
#define RESULTS (sizeof(results) / sizeof(results[0]))
#define RESULT_OTHER 8 /* -EOPNOTSUPP */

uint8_t command_result_to_wire(int result)
{
	for (unsigned i = 0; i < RESULTS; i++)
		if (results[i] == result)
			return (uint8_t)i;
	return RESULT_OTHER;
}

static int drain(struct cluster *c, bool on, bool force)
{
	if (on == c->drained)
		return 0;
	if (on && !force && table_fit(c, c->cfg.self) && core_alone(c))
		return -EBUSY;
	c->drained = on;
	c->stands_in = false;
	core_log(c, "%s by the operator", on ? "drained" : "undrained");
	membership_changed(c);
	handover_respread(c);
	if (membership_active(c))
		keepalive_send(c);
	return 0;
}

static int expel(struct cluster *c, const struct wire_command *w)
{
	char why[WIRE_BARRED_MAX + 1];

	core_copy_text(why, sizeof(why), w->why, w->why_len);
	return admission_expel(c, core_member(c, w->to),
			       w->command == WIRE_COMMAND_REVOKE, why);
}

static int carry_out(struct cluster *c, const struct wire_command *w)
{
	switch (w->command) {
	case WIRE_COMMAND_DRAIN:
		return drain(c, true, false);
	case WIRE_COMMAND_DRAIN_FORCED:
		return drain(c, true, true);
	case WIRE_COMMAND_UNDRAIN:
		return drain(c, false, false);
	case WIRE_COMMAND_MOVE:
		return assign_move(c, w->unit, w->to);
	case WIRE_COMMAND_EXPEL:
	case WIRE_COMMAND_REVOKE:
		return expel(c, w);
	}
	return -EOPNOTSUPP;
}

int command_open(struct cluster *c, struct member *m, uint64_t *target, uint32_t *number)
{
	if (!m->present || !m->linked)
		return -ENOTCONN;
	if (!++c->command_number)
		c->command_number = 1;
	*number = c->command_number;
	*target = m->incarnation;
	/* The place of the oldest one is taken. */
	c->commands[*number % COMMANDS_MAX] =
	    (struct command){ *number, m, m->incarnation, -EINPROGRESS };
	return 0;
}

int command_sent(struct cluster *c, uint32_t number, int rc, uint32_t *ticket)
{
	if (rc) {
		c->commands[number % COMMANDS_MAX].number = 0;
		return -ENOTCONN;
	}
	*ticket = number;
	return -EINPROGRESS;
}

static int send_command(struct cluster *c, struct member *m, struct wire_command *w,
			uint32_t *ticket)
{
	int rc = command_open(c, m, &w->target, &w->number);

	return rc ? rc : command_sent(c, w->number, STREAM(c, m, command, w), ticket);
}

int cluster_drain(struct cluster *c, member_id id, bool on, bool force, uint32_t *ticket,
		  struct mono now)
{
	struct member *m = core_member(c, id);
	struct wire_command w = {
		.command = !on	   ? WIRE_COMMAND_UNDRAIN
			   : force ? WIRE_COMMAND_DRAIN_FORCED
				   : WIRE_COMMAND_DRAIN,
	};
	int rc;

	if (!m)
		return -EINVAL;
	if (c->role == CLUSTER_LEFT)
		return -ENOTCONN;
	core_enter(c, now);
	rc = m == c->self ? carry_out(c, &w) : send_command(c, m, &w, ticket);
	core_leave(c);
	return rc;
}

static int by_the_master(struct cluster *c, struct wire_command *w, uint32_t *ticket,
			 struct mono now)
{
	struct member *master;
	int rc = -EAGAIN;

	if (c->role == CLUSTER_LEFT)
		return -ENOTCONN;
	core_enter(c, now);
	master = core_member(c, c->master);
	if (c->role == CLUSTER_MASTER)
		rc = carry_out(c, w);
	else if (master && membership_active(c))
		rc = send_command(c, master, w, ticket);
	core_leave(c);
	return rc;
}

int cluster_move(struct cluster *c, unit_id unit, member_id to, uint32_t *ticket,
		 struct mono now)
{
	struct wire_command w = { .command = WIRE_COMMAND_MOVE, .unit = unit, .to = to };

	if (unit >= CLUSTER_UNITS || !core_member(c, to))
		return -EINVAL;
	return by_the_master(c, &w, ticket, now);
}

int cluster_expel(struct cluster *c, member_id id, bool revoked, const char *why,
		  uint32_t *ticket, struct mono now)
{
	struct wire_command w = {
		.command = revoked ? WIRE_COMMAND_REVOKE : WIRE_COMMAND_EXPEL,
		.to = id,
		.why = (const uint8_t *)why,
		.why_len = why ? strnlen(why, WIRE_BARRED_MAX) : 0,
	};

	return core_member(c, id) ? by_the_master(c, &w, ticket, now) : -EINVAL;
}

int cluster_result(const struct cluster *c, uint32_t ticket)
{
	const struct command *slot = &c->commands[ticket % COMMANDS_MAX];

	if (!ticket || slot->number != ticket)
		return -ENOENT;
	if (slot->result == -EINPROGRESS && (!slot->to->present || !slot->to->linked ||
					     slot->to->incarnation != slot->incarnation))
		return -ENOTCONN;
	return slot->result;
}

bool cluster_drained(const struct cluster *c)
{
	return c->drained;
}

void recv_command(struct cluster *c, struct member *from, const struct wire_header *h,
		  struct unpack *u)
{
	struct wire_command_result answer = { .target = h->incarnation };
	struct wire_command m;

	if (wire_decode_command(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation)
		return;
	answer.number = m.number;
	answer.result = command_result_to_wire(carry_out(c, &m));
	STREAM(c, from, command_result, &answer);
}

void recv_command_result(struct cluster *c, struct member *from,
			 const struct wire_header *h, struct unpack *u)
{
	struct wire_command_result m;
	struct command *slot;

	if (wire_decode_command_result(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	slot = &c->commands[m.number % COMMANDS_MAX];
	if (m.target != c->incarnation || slot->number != m.number || slot->to != from)
		return;
	slot->result = m.result < RESULTS ? results[m.result] : -EOPNOTSUPP;
	c->upcall_committed = true; /* who has an errand looks for its answer */
}
