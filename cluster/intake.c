/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The record stream, where it comes in: what this member holds of others' units.
 *
 * It asks for the stream, and again until it is answered; puts what comes into the store,
 * as far as the epoch that it knows lets it; and acknowledges. replica.c says what goes
 * over the stream.
 */
#include <errno.h>

#include "cluster/internal.h"

#define SYNC_RETRY (50 * MONO_MS)
#define ACK_REPEAT (4 * MONO_MS)
#define ACK_GATHER (200 * MONO_US)

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

void intake_ask(struct cluster *c, struct member *m)
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

void intake_deafen(struct member *m)
{
	m->receiving = m->whole = false;
	m->wanted_sync = 0;
	m->sync_retry = m->ack_repeat = MONO_NEVER;
	m->ack_owed = false;
}

void intake_want(struct cluster *c, struct member *m)
{
	intake_deafen(m);
	if (c->role == CLUSTER_JOINING)
		return;
	m->wanted_sync = ++c->sync_counter;
	EACH_UNIT(u)
		if (epoch_owner(c->units[u].e.epoch) == m->id)
			c->units[u].replacing = false;
	intake_ask(c, m);
}

static void want_anew(struct cluster *c, struct member *m)
{
	m->held_line = 0;
	m->received = 0;
	intake_want(c, m);
}

static void resync(struct cluster *c, struct member *m, enum statistic why)
{
	count(c, why);
	count(c, STAT_resyncs);
	intake_want(c, m);
}

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

void intake_received(struct cluster *c, struct member *m, uint64_t position)
{
	if (position <= m->received)
		return;
	m->received = position;
	acknowledge(c, m);
}

static void advance(struct cluster *c, struct member *m, uint64_t position)
{
	count(c, STAT_records_applied);
	intake_received(c, m, position);
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

void intake_acks(struct cluster *c)
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
	struct session *s = store_find(c, m->unit, &m->key);
	bool fresh = !s;
	int rc;

	if (fresh)
		s = store_make(c, m->unit, &m->key);
	if (!s)
		return -ENOMEM;
	rc = store_set_parts(s, m->flags, m->initial, m->initial_len, m->essential,
			     m->essential_len);
	if (rc) {
		/* The owner may be dead before it says it again: half of a session is none. */
		if (fresh)
			store_drop(c, s, false);
		return rc;
	}
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

void intake_tick(struct cluster *c)
{
	if (c->role == CLUSTER_JOINING)
		return;
	EACH_PRESENT(c, m) {
		if (m->linked && !m->receiving && !m->wanted_sync)
			intake_want(c, m);
		else if (m->linked && !m->receiving && due(c, m->sync_retry))
			intake_ask(c, m);
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

struct mono intake_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	EACH_PRESENT((struct cluster *)c, m) {
		t = mono_min(t, m->ack_repeat);
		if (m->linked && !m->receiving)
			t = mono_min(t, m->sync_retry);
	}
	return t;
}
