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

#define SYNC_RETRY (50 * MONO_MS)
#define ACK_REPEAT (4 * MONO_MS)
#define ACK_GATHER (200 * MONO_US)
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
	m->receiving = m->whole = false;
	m->wanted_sync = 0;
	m->sync_retry = m->ack_repeat = MONO_NEVER;
	m->ack_owed = false;
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

/* What this member's part knew before it joined; the owners rise above it. */
static void send_report(struct cluster *c, struct member *to)
{
	struct wire_report m = { 0 };

	if (c->complete)
		return;
	EACH_UNIT(u)
		if (c->units[u].floor > c->units[u].e.epoch)
			m.units[m.units_count++] =
			    (struct wire_ref){ u, c->units[u].floor, 0, 0 };
	if (m.units_count)
		STREAM(c, to, report, &m);
}

static void ask(struct cluster *c, struct member *m)
{
	struct wire_sync s = { .target = m->incarnation,
			       .sync = m->wanted_sync,
			       .serving = m->syncing ? m->sync : 0,
			       .line = m->held_line,
			       .position = m->received };

	m->sync_retry = mono_add(c->now, SYNC_RETRY);
	send_report(c, m);
	STREAM(c, m, sync, &s);
}

void replica_deafen(struct member *m)
{
	m->receiving = m->whole = false;
	m->wanted_sync = 0;
	m->sync_retry = m->ack_repeat = MONO_NEVER;
	m->ack_owed = false;
}

void replica_want(struct cluster *c, struct member *m)
{
	replica_deafen(m);
	if (c->role == CLUSTER_JOINING)
		return;
	m->wanted_sync = ++c->sync_counter;
	EACH_UNIT(u)
		if (epoch_owner(c->units[u].e.epoch) == m->id)
			c->units[u].replacing = false;
	ask(c, m);
}

static void want_anew(struct cluster *c, struct member *m)
{
	m->held_line = 0;
	m->received = 0;
	replica_want(c, m);
}

static void resync(struct cluster *c, struct member *m, enum statistic why)
{
	count(c, why);
	count(c, STAT_resyncs);
	replica_want(c, m);
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

static int set_part(uint8_t **part, size_t *len, const uint8_t *bytes, size_t n)
{
	return bytes ? store_set(part, len, bytes, n) : 0;
}

int cluster_put(struct cluster *c, unit_id unit, const struct session_key *key,
		const uint8_t *initial, size_t initial_len, const uint8_t *essential,
		size_t essential_len, struct session **out, struct mono now)
{
	struct wire_put put;
	struct session *s;
	bool fresh;
	int rc;

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
	rc = set_part(&s->initial, &s->initial_len, initial, initial_len);
	if (!rc)
		rc = set_part(&s->essential, &s->essential_len, essential, essential_len);
	if (rc) {
		if (fresh)
			store_drop(c, s, false);
		return rc;
	}
	core_enter(c, now);
	if (fresh)
		s->heard = c->now;
	s->told = c->now; /* the tunnel keeps what a peer is told of */
	s->changed = c->units[unit].last = ++c->position;
	fill_put(c, s, c->position,
		 (initial ? WIRE_PUT_INITIAL : 0) | (essential ? WIRE_PUT_ESSENTIAL : 0),
		 &put);
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
		replica_want(c, from);
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
		ask(c, from); /* which says what we serve */
}

/* Receiving. */

static void send_ack(struct cluster *c, struct member *m)
{
	struct wire_ack ack = { .target = m->incarnation,
				.sync = m->wanted_sync,
				.position = m->received };

	DATAGRAM(c, m, ack, &ack);
}

static void acknowledge(struct cluster *c, struct member *m)
{
	send_ack(c, m);
	m->ack_owed = false;
	m->acked_at = c->now;
	m->ack_repeat = mono_add(c->now, ACK_REPEAT);
}

void replica_received(struct cluster *c, struct member *m, uint64_t position)
{
	if (position <= m->received)
		return;
	m->received = position;
	acknowledge(c, m);
}

static void advance(struct cluster *c, struct member *m, uint64_t position)
{
	count(c, STAT_records_applied);
	replica_received(c, m, position);
}

static void advance_unit(struct cluster *c, struct member *m, uint64_t position)
{
	if (mono_since(c->now, m->acked_at) >= ACK_GATHER) {
		advance(c, m, position);
		return;
	}
	count(c, STAT_records_applied);
	if (position <= m->received)
		return;
	m->received = position;
	if (!m->ack_owed)
		m->ack_repeat = mono_add(c->now, ACK_GATHER);
	m->ack_owed = true;
}

void replica_acks(struct cluster *c)
{
	EACH_PRESENT(c, m)
		if (m->receiving && m->received)
			send_ack(c, m);
}

void recv_snapshot_begin(struct cluster *c, struct member *from,
			 const struct wire_header *h, struct unpack *u)
{
	struct wire_snapshot_begin m;

	if (wire_decode_snapshot_begin(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation || m.sync != from->wanted_sync || from->receiving)
		return;
	if (!m.position) {
		from->held_line = m.sync;
		from->received = 0;
	} else if (!from->held_line || m.position != from->received) {
		want_anew(c, from);
		return;
	}
	from->receiving = true;
	from->sync_retry = MONO_NEVER;
}

void recv_snapshot_end(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_snapshot_end m;

	if (wire_decode_snapshot_end(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.sync != from->wanted_sync)
		return;
	from->whole = true;
	count(c, STAT_snapshots_received);
	membership_check_complete(c);
}

/*
 * The fence: a record counts only at the epoch that this member knows for the unit. A
 * refused one is never acknowledged: the sender learns the higher epoch, and the stream
 * begins anew.
 */
static bool fenced(struct cluster *c, struct member *from, unit_id u, uint64_t epoch)
{
	if (c->units[u].e.epoch == epoch && epoch_owner(epoch) == from->id)
		return false;
	table_show(c, from, u);
	resync(c, from, STAT_stale_epoch);
	return true;
}

static void end_unit(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct session *s, *next;

	for (s = LIST_FIRST(&unit->sessions); s; s = next) {
		next = LIST_NEXT(s, in_unit);
		if (unit->replacing && !s->kept)
			store_drop(c, s, true);
	}
	unit->replacing = unit->remembered = false;
	unit->held = unit->e.epoch;
	merge_unit_end(c, u);
}

/* False: the stream is asked for anew. */
static bool begin_unit(struct cluster *c, struct member *from, const struct wire_entry *w,
		       bool changes)
{
	struct entry e = table_entry(w);
	struct session *s;

	table_merge(c, from, w->unit, &e);
	if (fenced(c, from, w->unit, w->epoch))
		return false;
	if (!changes) {
		merge_unit_begin(c, w->unit);
		c->units[w->unit].replacing = true;
		LIST_FOREACH(s, &c->units[w->unit].sessions, in_unit)
			s->kept = false;
	} else if (c->units[w->unit].remembered) {
		/* What it has is not that owner's. */
		want_anew(c, from);
		return false;
	}
	return true;
}

void recv_unit_begin(struct cluster *c, struct member *from, const struct wire_header *h,
		     struct unpack *u)
{
	struct wire_unit_begin m;

	if (wire_decode_unit_begin(u, &m) || !m.entries_count ||
	    (m.entries_count > 1 && !m.position)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.entries_count; i++) {
		if (!begin_unit(c, from, &m.entries[i], m.flags & WIRE_UNIT_CHANGES))
			return;
		if (m.position)
			end_unit(c, m.entries[i].unit);
	}
	if (!m.position)
		return;
	advance_unit(c, from, m.position);
	if (from->whole)
		membership_check_complete(c);
}

void recv_unit_end(struct cluster *c, struct member *from, const struct wire_header *h,
		   struct unpack *u)
{
	struct wire_unit_end m;

	if (wire_decode_unit_end(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (fenced(c, from, m.unit, m.epoch))
		return;
	end_unit(c, m.unit);
	advance_unit(c, from, m.position);
	if (from->whole)
		membership_check_complete(c);
}

static int apply_put(struct cluster *c, const struct member *from,
		     const struct wire_put *m)
{
	struct session *s = store_make(c, m->unit, &m->key);
	int rc = 0;

	if (!s)
		return -ENOMEM;
	if (m->flags & WIRE_PUT_INITIAL)
		rc = store_set(&s->initial, &s->initial_len, m->initial, m->initial_len);
	if (!rc && m->flags & WIRE_PUT_ESSENTIAL)
		rc = store_set(&s->essential, &s->essential_len, m->essential,
			       m->essential_len);
	if (rc)
		return rc;
	s->kept = true;
	/* Counters, which tell the same, may have overtaken the stream. */
	s->heard = mono_max(s->heard, merge_time(c, from, m->stamp, m->heard));
	s->told = mono_max(s->told, merge_time(c, from, m->stamp, m->told));
	if (m->flags & WIRE_PUT_COUNTERS) {
		/* A datagram of this epoch may have overtaken the stream. */
		bool same = s->counted_epoch == m->epoch;

		s->counter[0] =
		    same && s->counter[0] > m->first ? s->counter[0] : m->first;
		s->counter[1] =
		    same && s->counter[1] > m->second ? s->counter[1] : m->second;
		s->counted_epoch = m->epoch;
	}
	c->io.changed(c->io.ctx, s);
	return 0;
}

void recv_put(struct cluster *c, struct member *from, const struct wire_header *h,
	      struct unpack *u)
{
	struct wire_put m;

	if (wire_decode_put(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (fenced(c, from, m.unit, m.epoch))
		return;
	if (apply_put(c, from, &m))
		resync(c, from, STAT_out_of_memory);
	else
		advance(c, from, m.position);
}

void recv_remove(struct cluster *c, struct member *from, const struct wire_header *h,
		 struct unpack *u)
{
	struct wire_remove m;
	struct session *s;

	if (wire_decode_remove(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (fenced(c, from, m.unit, m.epoch))
		return;
	s = store_find(c, m.unit, &m.key);
	if (s)
		store_drop(c, s, true);
	ended_note(c, m.unit, &m.key, merge_time(c, from, m.stamp, m.heard));
	advance(c, from, m.position);
}

void replica_tick(struct cluster *c)
{
	if (c->role == CLUSTER_JOINING)
		return;
	EACH_PRESENT(c, m) {
		if (m->linked && !m->receiving && !m->wanted_sync)
			replica_want(c, m);
		else if (m->linked && !m->receiving && due(c, m->sync_retry))
			ask(c, m);
		if (!m->receiving || !due(c, m->ack_repeat))
			continue;
		if (m->ack_owed) {
			acknowledge(c, m);
			continue;
		}
		m->ack_repeat = MONO_NEVER;
		send_ack(c, m);
	}
}

struct mono replica_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	EACH_PRESENT((struct cluster *)c, m) {
		t = mono_min(t, m->ack_repeat);
		if (m->linked && !m->receiving)
			t = mono_min(t, m->sync_retry);
	}
	return t;
}
