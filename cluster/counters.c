/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cumulative counters: outbound leases and inbound edges.
 *
 * They change with every packet, so they go to the unit's successor only, in datagrams
 * that may be lost: a lost one is answered by sending the current values. A batch leaves
 * at once if none is under way to that member, else when an acknowledgement comes, and
 * 250 us later at the latest. A session that changed is on its target's dirty list once,
 * so the work is bound to what changed, not to what there is.
 *
 * A value is committed when the target holds it, and no handover of the unit is under
 * way: while the target is being changed, commit waits.
 */
#include <errno.h>
#include <string.h>

#include "cluster/internal.h"

#define FLUSH_DELAY (250 * MONO_US)
#define RETRANSMIT_MIN (5 * MONO_MS)

static void set_clean(struct cluster *c, struct session *s)
{
	struct member *m = core_member(c, c->units[s->unit].target);

	if (!s->dirty)
		return;
	TAILQ_REMOVE(&m->dirty, s, in_dirty);
	s->dirty = false;
}

static void set_dirty(struct cluster *c, struct session *s)
{
	struct member *m = core_member(c, c->units[s->unit].target);

	/* A unit that is yet to be sent whole marks its sessions then. */
	if (s->dirty || !m || !m->syncing || unit_set_has(&m->need, s->unit) ||
	    m->synced[s->unit] == NOT_SENT)
		return;
	TAILQ_INSERT_TAIL(&m->dirty, s, in_dirty);
	s->dirty = true;
	m->flush_at = mono_min(m->flush_at, mono_add(c->now, FLUSH_DELAY));
}

void counters_dirty_unit(struct cluster *c, unit_id u)
{
	struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit)
		set_dirty(c, s);
}

void counters_resume(struct cluster *c, unit_id u)
{
	struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit)
		for (unsigned i = 0; i < CLUSTER_COUNTERS; i++)
			if (s->held[i] < s->counter[i])
				set_dirty(c, s);
}

static void empty_batch(struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->e[i].s)
			b->e[i].s->inflight--;
	b->used = false;
	b->n = 0;
}

void counters_reset(struct cluster *c, struct member *m)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&m->dirty))) {
		TAILQ_REMOVE(&m->dirty, s, in_dirty);
		s->dirty = false;
	}
	for (unsigned i = 0; i < BATCHES; i++)
		if (m->batches[i].used)
			empty_batch(&m->batches[i]);
	m->inflight = 0;
	m->flush_at = m->batch_retry = MONO_NEVER;
}

void counters_forget(struct cluster *c, struct session *s)
{
	set_clean(c, s);
	for (unsigned i = 0; s->inflight && i < c->nmembers * BATCHES; i++) {
		struct batch *b = &c->members[i / BATCHES].batches[i % BATCHES];

		for (unsigned j = 0; b->used && j < b->n; j++)
			if (b->e[j].s == s) {
				b->e[j].s = NULL;
				s->inflight--;
			}
	}
}

void counters_set_target(struct cluster *c, unit_id u, member_id target)
{
	struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit) {
		set_clean(c, s);
		memset(s->held, 0, sizeof(s->held));
	}
	c->units[u].target = target;
	if (target)
		counters_dirty_unit(c, u);
}

static bool frozen(const struct unit *unit)
{
	return unit->handover != HANDOVER_STEADY;
}

static void commit(struct cluster *c, struct session *s)
{
	const struct unit *unit = &c->units[s->unit];

	if (!unit->active || frozen(unit))
		return;
	for (unsigned i = 0; i < CLUSTER_COUNTERS; i++) {
		uint64_t v = unit->target ? s->held[i] : s->counter[i];

		if (v <= s->committed[i])
			continue;
		s->committed[i] = v;
		c->io.counted(c->io.ctx, s, i);
	}
}

void counters_thaw(struct cluster *c, unit_id u)
{
	struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit)
		commit(c, s);
}

/* The target holds whatever is committed; while commit waits, that does not grow. */
bool counters_caught_up(const struct cluster *c, unit_id u)
{
	const struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit)
		for (unsigned i = 0; i < CLUSTER_COUNTERS; i++)
			if (s->held[i] < s->committed[i])
				return false;
	return true;
}

bool counters_settled(const struct cluster *c, unit_id u)
{
	const struct session *s;

	LIST_FOREACH(s, &c->units[u].sessions, in_unit)
		for (unsigned i = 0; i < CLUSTER_COUNTERS; i++)
			if (s->committed[i] < s->counter[i])
				return false;
	return true;
}

/* A free batch; the oldest is given up if there is none. */
static struct batch *take_batch(struct cluster *c, struct member *m)
{
	struct batch *b = &m->batches[++m->batch_seq % BATCHES];

	if (b->used) {
		if (!b->expired)
			m->inflight--;
		for (unsigned i = 0; i < b->n; i++)
			if (b->e[i].s && !b->expired)
				set_dirty(c, b->e[i].s);
		empty_batch(b);
	}
	b->used = true;
	b->expired = false;
	b->seq = m->batch_seq;
	b->sent = c->now;
	return b;
}

static uint64_t retransmit_after(const struct member *m)
{
	return m->rtt * 2 > RETRANSMIT_MIN ? m->rtt * 2 : RETRANSMIT_MIN;
}

static void send_batch(struct cluster *c, struct member *m)
{
	struct batch *b = take_batch(c, m);
	struct wire_counters w = { .seq = b->seq, .stamp = c->now.ns };
	struct session *s;
	size_t len;

	while (b->n < WIRE_COUNTS_MAX && (s = TAILQ_FIRST(&m->dirty))) {
		uint64_t epoch = c->units[s->unit].e.epoch;

		set_clean(c, s);
		b->e[b->n].s = s;
		b->e[b->n].epoch = epoch;
		memcpy(b->e[b->n].value, s->counter, sizeof(s->counter));
		s->inflight++;
		w.counts[b->n++] =
		    (struct wire_count){ s->unit,	epoch,
					 s->key,	s->counter[0],
					 s->counter[1], merge_age(c, s->heard) };
	}
	w.counts_count = (uint16_t)b->n;
	m->inflight++;
	m->batch_retry = mono_min(m->batch_retry, mono_add(c->now, retransmit_after(m)));
	count(c, STAT_counter_batches);
	len = ENCODE(c, counters, &w);
	c->statistics[STAT_counter_bytes] += len;
	core_datagram(c, m, len);
}

static void flush(struct cluster *c, struct member *m)
{
	m->flush_at = MONO_NEVER;
	/* No more than there are batches: the rest leaves with the acknowledgements. */
	for (unsigned i = 0; i < BATCHES / 2 && !TAILQ_EMPTY(&m->dirty); i++)
		send_batch(c, m);
	if (!TAILQ_EMPTY(&m->dirty))
		m->flush_at = mono_add(c->now, FLUSH_DELAY);
}

int cluster_count(struct cluster *c, struct session *s, unsigned slot, uint64_t value,
		  struct mono now)
{
	struct unit *unit = &c->units[s->unit];
	struct member *m;

	if (!unit->active)
		return -EPERM;
	if (slot >= CLUSTER_COUNTERS)
		return -EINVAL;
	if (value <= s->counter[slot])
		return 0;
	s->counter[slot] = value;
	s->counted_epoch = unit->e.epoch;
	if (!unit->target) {
		if (!frozen(unit))
			s->committed[slot] = value;
		return 0;
	}
	if (c->now.ns < now.ns)
		c->now = now;
	m = core_member(c, unit->target);
	set_dirty(c, s);
	if (m && !m->inflight && s->dirty && !c->late)
		flush(c, m);
	c->wanted = mono_min(c->wanted, counters_timeout(c));
	return 0;
}

void cluster_flush(struct cluster *c, struct mono now)
{
	if (c->now.ns < now.ns)
		c->now = now;
	EACH_PRESENT(c, m)
		if (!TAILQ_EMPTY(&m->dirty) && !c->late)
			flush(c, m);
	c->wanted = mono_min(c->wanted, counters_timeout(c));
}

uint64_t cluster_counted(const struct cluster *c, const struct session *s, unsigned slot)
{
	return slot < CLUSTER_COUNTERS ? s->committed[slot] : 0;
}

static bool apply(struct cluster *c, struct member *from, uint64_t stamp,
		  const struct wire_count *w)
{
	const struct unit *unit = &c->units[w->unit];
	struct session *s;

	/*
	 * Not the owner any more, for us, or not yet. A lower value replaces a higher one of
	 * another epoch, so the words of two owners must not alternate.
	 */
	if (unit->e.epoch != w->epoch || epoch_owner(w->epoch) != from->id)
		return false;
	/* It is about to be set aside for the owner's. */
	if (unit->remembered)
		return false;
	s = store_find(c, w->unit, &w->key);
	if (!s)
		return false;
	if (s->counter[0] < w->first)
		s->told = c->now; /* it leases what it tells the peer */
	if (s->counted_epoch != w->epoch || s->counter[0] < w->first)
		s->counter[0] = w->first;
	s->heard = mono_max(s->heard, merge_time(c, from, stamp, w->heard));
	if (s->counted_epoch != w->epoch || s->counter[1] < w->second)
		s->counter[1] = w->second;
	s->counted_epoch = w->epoch;
	return true;
}

void recv_counters(struct cluster *c, struct member *from, const struct wire_header *h,
		   struct unpack *u)
{
	struct wire_counters m;
	struct wire_counters_ack ack = { .target = h->incarnation };

	if (wire_decode_counters(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	ack.seq = m.seq;
	for (unsigned i = 0; i < m.counts_count; i++) {
		if (apply(c, from, m.stamp, &m.counts[i]))
			ack.applied |= 1u << i;
		else
			count(c, STAT_counters_refused);
	}
	if (ack.applied)
		DATAGRAM(c, from, counters_ack, &ack);
}

static void heed_ack(struct cluster *c, struct member *m, struct batch *b,
		     uint32_t applied)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct session *s = b->e[i].s;

		if (!s || !(applied & 1u << i))
			continue;
		s->inflight--;
		b->e[i].s = NULL;
		if (c->units[s->unit].target != m->id ||
		    c->units[s->unit].e.epoch != b->e[i].epoch)
			continue;
		for (unsigned j = 0; j < CLUSTER_COUNTERS; j++)
			if (b->e[i].value[j] > s->held[j])
				s->held[j] = b->e[i].value[j];
		commit(c, s);
	}
	for (unsigned i = 0; i < b->n; i++)
		if (b->e[i].s)
			return; /* refused ones are sent again in due time */
	if (!b->expired)
		m->inflight--;
	empty_batch(b);
}

void recv_counters_ack(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_counters_ack m;
	struct batch *b;
	uint64_t rtt;

	if (wire_decode_counters_ack(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	b = &from->batches[m.seq % BATCHES];
	if (m.target != c->incarnation || !b->used || b->seq != m.seq)
		return;
	rtt = mono_since(c->now, b->sent);
	from->rtt = from->rtt ? (from->rtt * 7 + rtt) / 8 : rtt;
	heed_ack(c, from, b, m.applied);
	c->review_busy = true;
	if (!from->inflight && !TAILQ_EMPTY(&from->dirty) && !c->late)
		flush(c, from);
}

static void retransmit(struct cluster *c, struct member *m)
{
	uint64_t after = retransmit_after(m);

	m->batch_retry = MONO_NEVER;
	for (unsigned i = 0; i < BATCHES; i++) {
		struct batch *b = &m->batches[i];

		if (!b->used || b->expired)
			continue;
		if (mono_since(c->now, b->sent) < after) {
			m->batch_retry =
			    mono_min(m->batch_retry, mono_add(b->sent, after));
			continue;
		}
		count(c, STAT_counter_retransmits);
		b->expired = true;
		m->inflight--;
		for (unsigned j = 0; j < b->n; j++)
			if (b->e[j].s)
				set_dirty(c, b->e[j].s);
	}
	if (!TAILQ_EMPTY(&m->dirty))
		flush(c, m);
}

void counters_tick(struct cluster *c)
{
	if (c->late)
		return;
	EACH_PRESENT(c, m) {
		if (due(c, m->batch_retry))
			retransmit(c, m);
		if (due(c, m->flush_at))
			flush(c, m);
	}
}

struct mono counters_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (c->late)
		return t;
	EACH_PRESENT((struct cluster *)c, m)
		t = mono_min(t, mono_min(m->flush_at, m->batch_retry));
	return t;
}
