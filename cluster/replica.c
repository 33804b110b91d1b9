/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The record stream: from each owner to every other member, in order.
 *
 * A receiver asks for it (SYNC, with a number of its choice), so the sender never speaks
 * before the receiver knows it; asking again with another number is the one answer to a
 * broken stream, a refused record or a lack of memory. The sender answers SNAPSHOT_BEGIN,
 * then each own unit between UNIT_BEGIN and UNIT_END, then SNAPSHOT_END; changes to units
 * that were sent go into the same stream at once. A unit with a new epoch is sent whole
 * again; what the receiver holds of it and the sender did not mention is dropped at
 * UNIT_END. Sessions that have ended lately follow as REMOVE. Units with neither go
 * together, in one UNIT_BEGIN with a position, which is their end too.
 *
 * Everything carries the sender's position, one count over all its units. The receiver
 * acknowledges the last position, by datagram, at once; again a little later, and with
 * each keepalive, since datagrams get lost. Whole units come by the thousand: after the
 * first one, they are acknowledged together.
 *
 * Resumption. When a stream has broken, both ends still know what was sent and received
 * of it: a *line* is a stream with all that went on where it broke, named by the number
 * of the sync that it began with. SYNC names the line and the position that the receiver
 * holds all up to. If the sender knows the same line, it answers with that position, and
 * a unit that was sent whole below it, in its present epoch, is with the receiver as it
 * was at that position: so nothing is sent of it if its last change is not above. Else,
 * UNIT_BEGIN says that only changes follow: the sessions that were changed since. Where
 * one was removed since, the unit is sent whole. A line ends with either's incarnation;
 * what the receiver holds of another owner, at another epoch, is never a matter of it.
 */
#include <errno.h>
#include <string.h>

#include "cluster/internal.h"

/* Bytes of whole units that may be under way before an acknowledgement. */
#define PUMP_BYTES (256 * 1024)
/* Bytes that may be under way at all. What is changed then is marked, and sent later. */
#define WINDOW_BYTES (1024 * 1024)

void replica_reset(struct cluster *c, struct member *m)
{
	m->syncing = m->ended = false;
	m->sync = 0;
	m->mark = 0;
	m->bytes = m->acked_bytes = 0;
	m->milestone.position = m->milestone.bytes = 0;
	intake_deafen(m);
	counters_reset(c, m);
	merge_reset(c, m);
}

void replica_forget(struct cluster *c, struct member *m)
{
	replica_reset(c, m);
	m->line = m->held_line = 0;
	m->sent = m->acked = m->base = m->received = 0;
	slow_forget(m);
	memset(&m->need, 0, sizeof(m->need));
	EACH_UNIT(u)
		m->synced[u] = NOT_SENT;
}

bool replica_holds(const struct cluster *c, const struct member *m, unit_id u,
		   uint64_t position)
{
	return m->syncing && !unit_set_has(&m->need, u) && m->synced[u] != NOT_SENT &&
	       m->acked >= m->synced[u] && m->acked >= position;
}

void replica_need(struct cluster *c, unit_id u)
{
	EACH_MEMBER(c, m) {
		m->synced[u] = NOT_SENT;
		if (m->syncing)
			unit_set_add(&m->need, u);
	}
}

/* Sending. */

static void fill_put(const struct cluster *c, const struct session *s, uint64_t position,
		     uint8_t flags, struct wire_put *m)
{
	*m = (struct wire_put){
		.position = position,
		.unit = s->unit,
		.epoch = c->units[s->unit].e.epoch,
		.flags = flags,
		.key = s->key,
		.first = s->counter[0],
		.second = s->counter[1],
		.stamp = c->now.ns,
		.heard = merge_age(c, s->heard),
		.told = merge_age(c, s->told),
	};
	if (flags & WIRE_PUT_INITIAL) {
		m->initial = s->initial;
		m->initial_len = s->initial_len;
	}
	if (flags & WIRE_PUT_ESSENTIAL) {
		m->essential = s->essential;
		m->essential_len = s->essential_len;
	}
}

/* c->out holds the record. */
static int send_put(struct cluster *c, struct member *m, struct session *s, size_t len)
{
	int rc = core_stream(c, m, len);

	if (rc)
		return rc;
	c->statistics[STAT_record_bytes] += len;
	if (s)
		s->sent += len;
	return 0;
}

static int send_ended(struct cluster *c, struct member *m, unit_id u, size_t *bytes)
{
	struct wire_remove w = { .unit = u,
				 .epoch = c->units[u].e.epoch,
				 .stamp = c->now.ns };
	struct ended *e;
	int rc = 0;

	LIST_FOREACH(e, &c->units[u].ended, in_unit) {
		w.key = e->key;
		w.heard = merge_age(c, e->heard);
		*bytes += 64;
		rc = send_put(c, m, NULL, ENCODE(c, remove, &w));
		if (rc)
			break;
	}
	return rc;
}

/* It was sent, and the receiver has, or is about to have, all of it up to the base. */
static bool based(const struct cluster *c, const struct member *m, unit_id u)
{
	return m->synced[u] != NOT_SENT && c->units[u].anew <= m->base;
}

static bool any_changed(const struct unit *unit, uint64_t since)
{
	const struct session *s;

	LIST_FOREACH(s, &unit->sessions, in_unit)
		if (s->changed > since)
			return true;
	return false;
}

static int send_sessions(struct cluster *c, struct member *m, unit_id u, bool changes,
			 size_t *bytes)
{
	struct wire_put put;
	struct session *s;
	int rc = 0;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit) {
		if (changes && s->changed <= m->base)
			continue;
		fill_put(c, s, 0,
			 (s->initial ? WIRE_PUT_INITIAL : 0) |
			     (s->essential ? WIRE_PUT_ESSENTIAL : 0) | WIRE_PUT_COUNTERS,
			 &put);
		*bytes += s->initial_len + s->essential_len + 64;
		rc = send_put(c, m, s, ENCODE(c, put, &put));
		if (rc)
			return rc;
	}
	/* If one had ended since the base, all of the unit would be sent. */
	return changes ? 0 : send_ended(c, m, u, bytes);
}

/* All of the unit was sent, or is on its way. */
static void unit_sent(struct cluster *c, struct member *m, unit_id u, uint64_t position,
		      bool changes)
{
	m->sent = position;
	m->synced[u] = position;
	unit_set_remove(&m->need, u);
	count(c, changes ? STAT_units_sent_changes : STAT_units_sent_whole);
	if (c->units[u].target == m->id && changes)
		counters_resume(c, u);
	else if (c->units[u].target == m->id)
		counters_dirty_unit(c, u);
}

/* There is nothing to be told about it but its row. */
static bool is_plain(const struct cluster *c, const struct member *m, unit_id u,
		     bool changes)
{
	const struct unit *unit = &c->units[u];

	return changes ? !any_changed(unit, m->base)
		       : !unit->nsessions && LIST_EMPTY(&unit->ended);
}

/* One message, and one position, for all such units. */
static int send_plain(struct cluster *c, struct member *m, bool changes)
{
	struct unit_set plain = { { 0 } };
	struct wire_unit_begin begin;
	int rc;

	begin.position = c->position + 1;
	begin.flags = changes ? WIRE_UNIT_CHANGES : 0;
	begin.entries_count = 0;
	EACH_IN(&m->need, u)
		if (based(c, m, u) == changes && is_plain(c, m, u, changes)) {
			unit_set_add(&plain, u);
			table_row(c, u, &begin.entries[begin.entries_count++]);
		}
	if (!begin.entries_count)
		return 0;
	c->position++;
	rc = STREAM(c, m, unit_begin, &begin);
	if (rc)
		return rc;
	EACH_IN(&plain, u)
		unit_sent(c, m, u, begin.position, changes);
	return 0;
}

static int send_unit(struct cluster *c, struct member *m, unit_id u, size_t *bytes)
{
	uint64_t position = ++c->position;
	bool changes = based(c, m, u);
	struct wire_unit_end end = { .position = position,
				     .unit = u,
				     .epoch = c->units[u].e.epoch };
	struct wire_unit_begin begin;
	int rc;

	/* The position counts at the end only: before that, nothing of it is held. */
	begin.position = 0;
	begin.flags = changes ? WIRE_UNIT_CHANGES : 0;
	begin.entries_count = 1;
	table_row(c, u, &begin.entries[0]);
	rc = STREAM(c, m, unit_begin, &begin);
	if (!rc)
		rc = send_sessions(c, m, u, changes, bytes);
	if (!rc)
		rc = STREAM(c, m, unit_end, &end);
	if (rc)
		return rc;
	*bytes += 100;
	unit_sent(c, m, u, position, changes);
	return 0;
}

/* Units that wait for this member's commit go first, after those that cost nothing. */
static void pump(struct cluster *c, struct member *m)
{
	size_t bytes = 0;

	if (send_plain(c, m, false) || send_plain(c, m, true))
		return;
	for (int pass = 0; pass < 2; pass++)
		EACH_IN(&m->need, u) {
			const struct unit *unit = &c->units[u];

			if (pass == 0 && unit->e.successor != m->id)
				continue;
			if (bytes >= PUMP_BYTES) {
				m->mark = m->sent;
				return;
			}
			if (send_unit(c, m, u, &bytes))
				return;
		}
	if (!m->ended) {
		struct wire_snapshot_end end = { .sync = m->sync, .position = m->sent };

		if (STREAM(c, m, snapshot_end, &end))
			return;
		m->ended = true;
		count(c, STAT_snapshots_sent);
	}
}

void replica_pump(struct cluster *c)
{
	if (c->late)
		return;
	EACH_PRESENT(c, m)
		if (m->linked && m->syncing && m->acked >= m->mark &&
		    (!m->ended || !unit_set_empty(&m->need)))
			pump(c, m);
}

/* False: too much is under way to it already. */
static bool takes(struct member *m)
{
	if (m->acked >= m->sent)
		m->acked_bytes = m->bytes;
	else if (m->acked >= m->milestone.position)
		m->acked_bytes = m->milestone.bytes;
	if (m->acked >= m->milestone.position) {
		m->milestone.position = m->sent;
		m->milestone.bytes = m->bytes;
	}
	return m->bytes - m->acked_bytes < WINDOW_BYTES;
}

/* The record is not sent; the unit's changes are, when all before them is acknowledged. */
static void hold_back(struct cluster *c, struct member *m, unit_id u)
{
	if (unit_set_empty(&m->need))
		m->base = c->position - 1;
	unit_set_add(&m->need, u);
	m->mark = m->sent;
	count(c, STAT_records_held_back);
}

/* To all that have the unit; the others get it whole. c->out holds the record, which is
 * of `s` if that is still there. */
static void spread(struct cluster *c, unit_id u, struct session *s, uint64_t position,
		   size_t len)
{
	EACH_PRESENT(c, m) {
		if (!m->syncing || m->synced[u] == NOT_SENT || unit_set_has(&m->need, u))
			continue;
		if (!takes(m))
			hold_back(c, m, u);
		else if (send_put(c, m, s, len) == 0) {
			m->sent = position;
			count(c, STAT_records_sent);
		}
	}
}

void replica_send_counters(struct cluster *c, struct member *m, unit_id u)
{
	struct wire_put put;
	struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit) {
		fill_put(c, s, 0, WIRE_PUT_COUNTERS, &put);
		STREAM(c, m, put, &put);
	}
}

int cluster_put(struct cluster *c, unit_id unit, const struct session_key *key,
		const uint8_t *initial, size_t initial_len, const uint8_t *essential,
		size_t essential_len, struct session **out, struct mono now)
{
	unsigned flags =
	    (initial ? WIRE_PUT_INITIAL : 0) | (essential ? WIRE_PUT_ESSENTIAL : 0);
	struct wire_put put;
	struct session *s;
	bool fresh;

	if (unit >= CLUSTER_UNITS || !c->units[unit].active)
		return -EPERM;
	if (key->len > CLUSTER_KEY_MAX)
		return -EINVAL;
	if (initial_len > WIRE_PARTS_MAX || essential_len > WIRE_PARTS_MAX ||
	    initial_len + essential_len > WIRE_PARTS_MAX)
		return -EMSGSIZE;
	s = store_find(c, unit, key);
	fresh = !s;
	/* The two parts travel in one message whenever the unit is sent whole. */
	if (s && (initial ? initial_len : s->initial_len) +
			 (essential ? essential_len : s->essential_len) >
		     WIRE_PARTS_MAX)
		return -EMSGSIZE;
	if (fresh)
		s = store_make(c, unit, key);
	if (!s)
		return -ENOMEM;
	if (store_set_parts(s, flags, initial, initial_len, essential, essential_len)) {
		if (fresh)
			store_drop(c, s, false);
		return -ENOMEM;
	}
	core_enter(c, now);
	if (fresh)
		s->heard = c->now;
	s->told = c->now; /* the tunnel keeps what a peer is told of */
	s->changed = c->units[unit].last = ++c->position;
	fill_put(c, s, c->position, (uint8_t)flags, &put);
	spread(c, unit, s, c->position, ENCODE(c, put, &put));
	if (!c->units[unit].e.successor)
		c->upcall_committed = true;
	if (out)
		*out = s;
	core_leave(c);
	return 0;
}

int cluster_remove(struct cluster *c, struct session *s, struct mono now)
{
	struct unit *unit = &c->units[s->unit];
	struct wire_remove m = { .unit = s->unit, .epoch = unit->e.epoch, .key = s->key };

	if (!unit->active)
		return -EPERM;
	core_enter(c, now);
	m.position = unit->last = unit->anew = ++c->position;
	m.stamp = c->now.ns;
	m.heard = merge_age(c, s->heard);
	ended_note(c, s->unit, &s->key, s->heard);
	store_drop(c, s, false);
	if (!unit->e.successor)
		c->upcall_committed = true;
	spread(c, m.unit, NULL, m.position, ENCODE(c, remove, &m));
	core_leave(c);
	return 0;
}

bool cluster_holds(const struct cluster *c, member_id id, unit_id u, uint64_t position)
{
	const struct member *m = core_member(c, id);

	if (!m || u >= CLUSTER_UNITS)
		return false;
	/* Nothing later than the unit's last record is ever sent for it. */
	if (position > c->units[u].last)
		position = c->units[u].last;
	return m == c->self || replica_holds(c, m, u, position);
}

uint64_t cluster_position(const struct cluster *c)
{
	return c->position;
}

bool cluster_committed(const struct cluster *c, unit_id u, uint64_t position)
{
	const struct unit *unit;
	const struct member *m;

	if (u >= CLUSTER_UNITS || !c->units[u].active)
		return false;
	unit = &c->units[u];
	if (!unit->e.successor && !unit->e.previous)
		return true;
	/* Nothing later than the unit's last record is ever sent for it. */
	if (position > unit->last)
		position = unit->last;
	m = core_member(c, unit->e.successor);
	if (unit->e.successor && (!m || !replica_holds(c, m, u, position)))
		return false;
	m = core_member(c, unit->e.previous);
	return !m || replica_holds(c, m, u, position);
}

static void begin_stream(struct cluster *c, struct member *to, uint32_t sync)
{
	to->line = sync;
	to->sent = to->acked = to->base = 0;
	EACH_UNIT(u) {
		to->synced[u] = NOT_SENT;
		if (c->units[u].active || c->units[u].handover == HANDOVER_RELEASED)
			unit_set_add(&to->need, u);
		else
			unit_set_remove(&to->need, u);
	}
}

/* Of what was to be sent when the stream broke, the receiver holds the older base. */
static void choose_base(struct member *to, uint64_t position)
{
	EACH_IN(&to->need, u)
		if (to->synced[u] != NOT_SENT && to->base < position)
			return;
	to->base = position;
}

static void resume_stream(struct cluster *c, struct member *to, uint64_t position)
{
	count(c, STAT_streams_resumed);
	EACH_UNIT(u)
		if (to->synced[u] != NOT_SENT && to->synced[u] > position)
			to->synced[u] = NOT_SENT;
	choose_base(to, position);
	to->sent = to->acked = position;
	EACH_UNIT(u) {
		const struct unit *unit = &c->units[u];

		if (!unit->active && unit->handover != HANDOVER_RELEASED)
			continue;
		if (to->synced[u] == NOT_SENT || unit->last > position)
			unit_set_add(&to->need, u);
		if (unit_set_has(&to->need, u))
			continue;
		count(c, STAT_units_resumed);
		if (unit->target == to->id)
			counters_resume(c, u);
	}
	c->upcall_committed = true;
	c->review_all = true;
}

void recv_sync(struct cluster *c, struct member *from, const struct wire_header *h,
	       struct unpack *u)
{
	struct wire_snapshot_begin begin = { .target = from->incarnation };
	struct wire_sync m;

	if (wire_decode_sync(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation)
		return;
	/* It has forgotten us meanwhile, and does not know what we wait for. */
	if (from->receiving && m.serving != from->wanted_sync)
		intake_want(c, from);
	if (from->syncing && from->sync == m.sync)
		return;
	from->syncing = true;
	from->ended = false;
	from->sync = begin.sync = m.sync;
	from->mark = 0;
	if (m.line && m.line == from->line && m.position && m.position <= from->sent) {
		begin.position = m.position;
		resume_stream(c, from, m.position);
	} else {
		begin_stream(c, from, m.sync);
	}
	numbers_tell(c, from);
	STREAM(c, from, snapshot_begin, &begin);
}

static void recv_ack_of(struct cluster *c, struct member *from, uint64_t position)
{
	if (position <= from->acked || position > from->sent)
		return;
	from->acked = position;
	c->upcall_committed = true;
	c->review_busy = true;
}

void recv_ack(struct cluster *c, struct member *from, const struct wire_header *h,
	      struct unpack *u)
{
	struct wire_ack m;

	if (wire_decode_ack(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation)
		return;
	if (from->syncing && m.sync == from->sync)
		recv_ack_of(c, from, m.position);
	else if (!from->syncing && from->linked && from->wanted_sync)
		intake_ask(c, from); /* which says what we serve */
}
