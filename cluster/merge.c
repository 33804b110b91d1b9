/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After a cut: what the losing part did meanwhile is brought to the owners of the winning
 * part.
 *
 * Who resigns remembers its sessions, and which units it worked on. When the owner of such
 * a unit sends its state, the joiner sets its own aside:
 *
 *   remembered --UNIT_BEGIN--> aside --UNIT_END--> dropped: nobody was heard or told
 *                                |                 anything since the two were parted
 *                                v
 *                              offer  --to the owner: MERGE_PUT for each session, MERGE_END
 *                                |    again, when the link breaks, the owner changes, or
 *                                v    after a while
 *                              gone   by MERGE_ACK; or given up, see OFFER_MAX
 *
 * A joiner is not complete before that. It offers a unit as a whole, since only the tunnels
 * know which sessions belong together; and with it the ends of those sessions that have
 * ended (ended.c), since an end, too, goes on if its client was heard later than in the
 * other part. What was only frozen while others took over has
 * heard nobody since, and so offers nothing.
 *
 * The owner asks the tunnel for each session whose copy is right, and begins the units that
 * change anew, with one activation number and epochs above those of both parts, so that
 * tunnels and successors take the way of any takeover. It acknowledges when its successors
 * hold the result. A member may die at any moment: offers are idempotent, as a copy wins
 * once only; and the owner does not look again at what it has merged from a member, or what
 * ended since would come to life again.
 *
 * What a client was told counts wherever the unit goes: numbers that a part has used are
 * known to its last owner, who need not have sent anything itself. So the time travels with
 * the records, and a lease that grows is taken for something that was sent.
 */
#include <errno.h>
#include <string.h>

#include "cluster/internal.h"

#define OFFER_RETRY MONO_SEC
/* Without an acknowledgement for this long, what is offered is let go. */
#define OFFER_MAX (5 * MONO_SEC)
/* Bytes of offers under way to an owner; and what an owner takes before MERGE_END. */
#define OFFER_BYTES (256 * 1024)
#define CLAIM_BYTES (16u << 20)
#define CLAIM_FAILED SIZE_MAX

uint32_t merge_age(const struct cluster *c, struct mono heard)
{
	uint64_t age = mono_since(c->now, heard) / MONO_MS;

	return !heard.ns || age >= WIRE_AGE_NEVER ? WIRE_AGE_NEVER : (uint32_t)age;
}

struct mono merge_time(const struct cluster *c, const struct member *from, uint64_t stamp,
		       uint32_t age)
{
	uint64_t ns = age * MONO_MS + keepalive_delay(c, from, stamp);

	if (age == WIRE_AGE_NEVER)
		return (struct mono){ 0 };
	return (struct mono){ ns < c->now.ns ? c->now.ns - ns : 1 };
}

static void discard(struct session_list *list)
{
	struct session *s;

	while ((s = LIST_FIRST(list))) {
		LIST_REMOVE(s, in_unit);
		store_discard(s);
	}
}

static void drop_claims(struct member *m)
{
	discard(&m->claims);
	m->claimed = 0;
	memset(&m->claimed_units, 0, sizeof(m->claimed_units));
}

void merge_free(struct cluster *c)
{
	EACH_UNIT(u)
		discard(&c->units[u].offers);
	EACH_MEMBER(c, m)
		discard(&m->claims);
}

/* The joiner. */

/*
 * Since when the other part may have gone its own way: its last echo shows when it has heard
 * us. That we have heard it shows nothing, as it may have been when the cut was over. Who
 * was stopped has done nothing before it woke that the others do not know.
 */
static void part(struct cluster *c, struct member *m)
{
	if (!m->present || !c->complete || m == c->self)
		return;
	m->lost = m->heard;
	if (c->late)
		m->lost = mono_add(c->late_since, c->cfg.detection);
	else if (m->echo && m->echo < m->heard.ns)
		m->lost.ns = m->echo;
	m->lost_run = m->incarnation >> 16;
}

void merge_parted(struct cluster *c, struct member *m)
{
	drop_claims(m);
	memset(&m->merged, 0, sizeof(m->merged));
	memset(&m->owed, 0, sizeof(m->owed));
	part(c, m);
}

void merge_overtaken(struct cluster *c, unit_id u, member_id by)
{
	struct member *m = core_member(c, by);

	if (!m || !c->complete)
		return;
	part(c, m);
	c->units[u].mine = c->units[u].remembered = true;
}

/*
 * A member that has started anew since tells nothing of when its part was lost. The last
 * keepalive may have come when records were lost already.
 */
static struct mono parted(const struct cluster *c)
{
	struct mono first = MONO_NEVER, last = { 0 };

	EACH_MEMBER((struct cluster *)c, m) {
		if (mono_before(last, m->lost))
			last = m->lost;
		if (m->present && m->lost.ns && m->lost_run == m->incarnation >> 16)
			first = mono_min(first, m->lost);
	}
	if (first.ns == UINT64_MAX)
		first = last;
	first.ns = first.ns > c->cfg.detection ? first.ns - c->cfg.detection : 1;
	return first;
}

void merge_resign(struct cluster *c)
{
	EACH_UNIT(u)
		if (c->units[u].active || c->units[u].handover == HANDOVER_RELEASED)
			c->units[u].mine = true;
}

static void take_back(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct session *s;

	store_clear_unit(c, u);
	while ((s = LIST_FIRST(&unit->offers))) {
		LIST_REMOVE(s, in_unit);
		if (s->ended) {
			ended_note(c, u, &s->key, s->heard);
			store_discard(s);
			continue;
		}
		store_attach(c, s);
		c->io.changed(c->io.ctx, s);
	}
	unit->mine = true;
}

void merge_remember(struct cluster *c)
{
	EACH_UNIT(u) {
		if (!LIST_EMPTY(&c->units[u].offers))
			take_back(c, u);
		c->units[u].offered_to = 0;
	}
	memset(&c->offers, 0, sizeof(c->offers));
	c->offer_retry = c->offer_until = MONO_NEVER;
}

static void drop_offer(struct cluster *c, unit_id u)
{
	discard(&c->units[u].offers);
	c->units[u].offered_to = 0;
	unit_set_remove(&c->offers, u);
}

void merge_forget(struct cluster *c)
{
	EACH_UNIT(u) {
		drop_offer(c, u);
		c->units[u].mine = false;
	}
	EACH_MEMBER(c, m)
		m->lost.ns = 0;
	c->offer_retry = c->offer_until = MONO_NEVER;
}

/* Best effort: without it, the client's silence ends what comes back to life. */
static void set_aside_end(struct cluster *c, const struct ended *e)
{
	struct session *s = store_new(e->unit, &e->key);

	if (!s) {
		count(c, STAT_out_of_memory);
		return;
	}
	s->ended = true;
	s->heard = e->heard;
	LIST_INSERT_HEAD(&c->units[e->unit].offers, s, in_unit);
}

void merge_unit_begin(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct session *s;
	struct ended *e;

	if (!unit->remembered || !unit->mine)
		return;
	unit->mine = unit->remembered = false;
	while ((s = LIST_FIRST(&unit->sessions))) {
		store_detach(c, s);
		LIST_INSERT_HEAD(&unit->offers, s, in_unit);
	}
	LIST_FOREACH(e, &unit->ended, in_unit)
		set_aside_end(c, e);
}

static bool pending(const struct cluster *c)
{
	return !unit_set_empty(&c->offers);
}

void merge_unit_end(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct mono since = parted(c);
	struct session *s;
	bool any = false;

	if (LIST_EMPTY(&unit->offers) || unit_set_has(&c->offers, u))
		return;
	LIST_FOREACH(s, &unit->offers, in_unit) {
		if (mono_before(s->heard, since))
			s->heard.ns = 0;
		if (mono_before(s->told, since))
			s->told.ns = 0;
		any = any || s->heard.ns || s->told.ns;
	}
	if (!any) {
		drop_offer(c, u);
		return;
	}
	if (!pending(c)) {
		c->offer_retry = mono_add(c->now, OFFER_RETRY);
		c->offer_until = mono_add(c->now, OFFER_MAX);
	}
	unit_set_add(&c->offers, u);
}

bool merge_waits(const struct cluster *c)
{
	EACH_UNIT(u)
		if (c->units[u].mine && c->units[u].remembered &&
		    epoch_owner(c->units[u].e.epoch))
			return true;
	return pending(c);
}

static int offer_unit(struct cluster *c, struct member *to, unit_id u, size_t *bytes)
{
	struct session *s;
	int rc = 0;

	LIST_FOREACH(s, &c->units[u].offers, in_unit) {
		struct wire_merge_put m = {
			.unit = u,
			.epoch = c->units[u].floor,
			.flags = (s->initial ? WIRE_PUT_INITIAL : 0) |
				 (s->essential ? WIRE_PUT_ESSENTIAL : 0) |
				 (s->told.ns ? WIRE_PUT_TOLD : 0) |
				 (s->ended ? WIRE_PUT_ENDED : 0),
			.key = s->key,
			.first = s->counter[0],
			.second = s->counter[1],
			.stamp = c->now.ns,
			.heard = merge_age(c, s->heard),
			.initial = s->initial,
			.initial_len = s->initial_len,
			.essential = s->essential,
			.essential_len = s->essential_len,
		};

		/* An end of before the cut is none. */
		if (s->ended && !s->heard.ns)
			continue;
		rc = STREAM(c, to, merge_put, &m);
		if (rc)
			break;
		*bytes += s->initial_len + s->essential_len + 64;
		count(c, STAT_merge_offered);
	}
	return rc;
}

/* One batch at a time: the owner begins all units of a batch anew together. */
static void offer(struct cluster *c, struct member *to)
{
	struct wire_merge_end end = { 0 };
	size_t bytes = 0;

	EACH_IN(&c->offers, u)
		if (c->units[u].offered_to == to->id)
			return;
	EACH_IN(&c->offers, u) {
		if (epoch_owner(c->units[u].e.epoch) != to->id || bytes >= OFFER_BYTES)
			continue;
		if (offer_unit(c, to, u, &bytes))
			return;
		end.units[end.units_count++] =
		    (struct wire_ref){ u, c->units[u].floor, 0, 0 };
	}
	if (!end.units_count || STREAM(c, to, merge_end, &end))
		return;
	for (unsigned i = 0; i < end.units_count; i++)
		c->units[end.units[i].unit].offered_to = to->id;
}

static void offer_all(struct cluster *c)
{
	EACH_IN(&c->offers, u)
		if (c->units[u].offered_to != epoch_owner(c->units[u].e.epoch))
			c->units[u].offered_to = 0;
	EACH_PRESENT(c, m)
		if (m->linked && m->whole)
			offer(c, m);
}

void recv_merge_ack(struct cluster *c, struct member *from, const struct wire_header *h,
		    struct unpack *u)
{
	struct wire_merge_ack m;

	if (wire_decode_merge_ack(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation)
		return;
	for (unsigned i = 0; i < m.units_count; i++)
		if (unit_set_has(&c->offers, m.units[i].unit))
			drop_offer(c, m.units[i].unit);
	c->offer_until = mono_add(c->now, OFFER_MAX);
	membership_check_complete(c);
}

void merge_tick(struct cluster *c)
{
	if (!pending(c))
		return;
	if (due(c, c->offer_until)) {
		EACH_IN(&c->offers, u)
			count(c, STAT_merge_given_up);
		core_log(c, "nobody has taken what was to be merged: given up");
		merge_forget(c);
		membership_check_complete(c);
	} else if (due(c, c->offer_retry)) {
		c->offer_retry = mono_add(c->now, OFFER_RETRY);
		EACH_IN(&c->offers, u)
			c->units[u].offered_to = 0;
	}
}

struct mono merge_timeout(const struct cluster *c)
{
	return pending(c) ? mono_min(c->offer_retry, c->offer_until) : MONO_NEVER;
}

/* The owner. */

/*
 * Claims come unit after unit, and each session, and each end of one, once. So it is the
 * latest ones that a claim is compared with.
 */
static bool claimed_before(const struct member *from, const struct wire_merge_put *m)
{
	const struct session *s = LIST_FIRST(&from->claims);

	if (s && unit_set_has(&from->claimed_units, m->unit) && s->unit != m->unit)
		return true;
	for (; s && s->unit == m->unit; s = LIST_NEXT(s, in_unit))
		if (s->ended == !!(m->flags & WIRE_PUT_ENDED) &&
		    store_key_equal(&s->key, &m->key))
			return true;
	return false;
}

static int claim(struct cluster *c, struct member *from, const struct wire_merge_put *m)
{
	struct session *s = store_new(m->unit, &m->key);
	int rc;

	if (!s)
		return -ENOMEM;
	rc = store_set_parts(s, m->flags, m->initial, m->initial_len, m->essential,
			     m->essential_len);
	if (rc) {
		store_discard(s);
		return rc;
	}
	s->ended = m->flags & WIRE_PUT_ENDED;
	s->counter[0] = m->first;
	s->counter[1] = m->second;
	s->heard = merge_time(c, from, m->stamp, m->heard);
	s->told.ns = m->flags & WIRE_PUT_TOLD ? c->now.ns : 0;
	LIST_INSERT_HEAD(&from->claims, s, in_unit);
	unit_set_add(&from->claimed_units, m->unit);
	from->claimed += m->initial_len + m->essential_len + sizeof(*s);
	return 0;
}

void recv_merge_put(struct cluster *c, struct member *from, const struct wire_header *h,
		    struct unpack *u)
{
	struct wire_merge_put m;

	if (wire_decode_merge_put(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.epoch > c->units[m.unit].floor)
		c->units[m.unit].floor = m.epoch;
	if (from->claimed == CLAIM_FAILED)
		return;
	if (claimed_before(from, &m)) {
		drop_claims(from);
		from->claimed = CLAIM_FAILED;
		count(c, STAT_merge_refused);
		count(c, STAT_bad_message);
		return;
	}
	if (from->claimed > CLAIM_BYTES || claim(c, from, &m)) {
		drop_claims(from);
		from->claimed = CLAIM_FAILED;
		count(c, STAT_merge_refused);
	}
}

static const struct session *find(const struct cluster *c, unit_id u,
				  const struct session_key *key, bool ended)
{
	const struct session *s;

	LIST_FOREACH(s, &c->units[u].offers, in_unit)
		if (s->ended == ended && store_key_equal(&s->key, key))
			return s;
	return NULL;
}

const struct session *cluster_offered(const struct cluster *c, unit_id unit,
				      const struct session_key *key)
{
	return unit < CLUSTER_UNITS ? find(c, unit, key, false) : NULL;
}

static struct mono end_of(const struct cluster *c, unit_id u,
			  const struct session_key *key, bool theirs)
{
	const struct session *offered = theirs ? find(c, u, key, true) : NULL;
	const struct ended *e = theirs ? NULL : ended_find(c, u, key);

	return offered ? offered->heard : e ? e->heard : (struct mono){ 0 };
}

uint64_t cluster_ended(const struct cluster *c, unit_id unit,
		       const struct session_key *key, bool theirs)
{
	struct mono end =
	    unit < CLUSTER_UNITS ? end_of(c, unit, key, theirs) : (struct mono){ 0 };

	return end.ns ? mono_since(c->now, end) : UINT64_MAX;
}

int cluster_each_offered(const struct cluster *c, unit_id unit,
			 int (*fn)(void *ctx, struct session *s), void *ctx)
{
	struct session *s;
	int rc = 0;

	if (unit >= CLUSTER_UNITS)
		return 0;
	LIST_FOREACH(s, &c->units[unit].offers, in_unit) {
		rc = s->ended ? 0 : fn(ctx, s);
		if (rc)
			break;
	}
	return rc;
}

static bool same_part(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	return !a == !b && a_len == b_len && (!a_len || !memcmp(a, b, a_len));
}

static bool same_parts(const struct session *a, const struct session *b)
{
	return same_part(a->initial, a->initial_len, b->initial, b->initial_len) &&
	       same_part(a->essential, a->essential_len, b->essential, b->essential_len);
}

static uint8_t ask_tunnel(struct cluster *c, struct session *ours, struct session *theirs,
			  uint64_t counters[CLUSTER_COUNTERS])
{
	count(c, STAT_merge_judged);
	if (c->io.merge)
		return c->io.merge(c->io.ctx, ours, theirs, counters);
	if (!theirs)
		return mono_before(ours->heard, end_of(c, ours->unit, &ours->key, true))
			   ? CLUSTER_THEIRS
			   : CLUSTER_OURS;
	if (!ours)
		return mono_before(end_of(c, theirs->unit, &theirs->key, false),
				   theirs->heard)
			   ? CLUSTER_THEIRS
			   : CLUSTER_OURS;
	return theirs->counter[1] > ours->counter[1] ? CLUSTER_THEIRS : CLUSTER_OURS;
}

/* The verdicts on all of the unit; the merged counters stand in `held`, which no session
 * outside of the store has use for. True if anything changes. */
static bool judge(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	uint64_t none[CLUSTER_COUNTERS];
	struct session *s, *ours;
	bool changes = false;

	LIST_FOREACH(s, &unit->offers, in_unit) {
		s->verdict = CLUSTER_OURS;
		if (s->ended)
			continue;
		ours = store_find(c, u, &s->key);
		for (unsigned i = 0; i < CLUSTER_COUNTERS; i++)
			s->held[i] = ours && ours->counter[i] > s->counter[i]
					 ? ours->counter[i]
					 : s->counter[i];
		s->verdict = ask_tunnel(c, ours, s, s->held);
		if (ours && same_parts(ours, s))
			s->verdict = CLUSTER_OURS;
		/* What both have told it lies below what both have leased. */
		changes = changes || s->verdict == CLUSTER_THEIRS ||
			  (ours && s->told.ns) ||
			  (ours && memcmp(s->held, ours->counter, sizeof(s->held)));
	}
	LIST_FOREACH(s, &unit->sessions, in_unit) {
		s->verdict = CLUSTER_OURS;
		if (find(c, u, &s->key, false))
			continue;
		memcpy(none, s->counter, sizeof(none));
		s->verdict = ask_tunnel(c, s, NULL, none);
		changes = changes || s->verdict == CLUSTER_THEIRS;
	}
	return changes;
}

static void take(struct cluster *c, struct session *theirs)
{
	struct session *ours = store_find(c, theirs->unit, &theirs->key);

	memcpy(theirs->counter, theirs->held, sizeof(theirs->counter));
	memset(theirs->held, 0, sizeof(theirs->held));
	if (ours)
		store_drop(c, ours, true);
	LIST_REMOVE(theirs, in_unit);
	store_attach(c, theirs);
	ended_forget(c, theirs->unit, &theirs->key);
	count(c, STAT_merge_taken);
	c->io.changed(c->io.ctx, theirs);
}

static void apply(struct cluster *c, unit_id u)
{
	struct unit *unit = &c->units[u];
	struct session *s, *next, *ours;

	for (s = LIST_FIRST(&unit->sessions); s; s = next) {
		next = LIST_NEXT(s, in_unit);
		if (s->verdict != CLUSTER_THEIRS)
			continue;
		count(c, STAT_merge_ended);
		store_drop(c, s, true);
	}
	for (s = LIST_FIRST(&unit->offers); s; s = next) {
		next = LIST_NEXT(s, in_unit);
		ours = store_find(c, u, &s->key);
		if (s->verdict == CLUSTER_THEIRS)
			take(c, s);
		else if (ours && !s->ended)
			memcpy(ours->counter, s->held, sizeof(ours->counter));
	}
}

/* The other part's ends are this one's now; there is no session, or it goes on. */
static void note_ends(struct cluster *c, unit_id u)
{
	const struct session *s;

	LIST_FOREACH(s, &c->units[u].offers, in_unit)
		if (s->ended && !store_find(c, u, &s->key))
			ended_note(c, u, &s->key, s->heard);
}

/* False: it cannot be done now. */
static bool merge(struct cluster *c, const struct unit_set *set)
{
	static const struct unit_set none;
	struct unit_set changed = { { 0 } };

	EACH_IN(set, u)
		if (judge(c, u))
			unit_set_add(&changed, u);
	if (!unit_set_empty(&changed) && takeover_number(c))
		return false;
	if (!unit_set_empty(&changed))
		c->io.units(c->io.ctx, &none, &changed, c->activation);
	EACH_IN(&changed, u)
		apply(c, u);
	EACH_IN(set, u)
		note_ends(c, u);
	if (unit_set_empty(&changed))
		return true;
	takeover_renew(c, &changed);
	core_log(c, "merged what another part did meanwhile, number %u", c->activation);
	return true;
}

void recv_merge_end(struct cluster *c, struct member *from, const struct wire_header *h,
		    struct unpack *u)
{
	struct unit_set named = { { 0 } }, set = { { 0 } };
	struct wire_merge_end m;
	struct session *s;
	bool failed = from->claimed == CLAIM_FAILED, done;

	if (wire_decode_merge_end(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.units_count; i++) {
		unit_id unit = m.units[i].unit;

		/* The offerer finds out by itself who owns the others. */
		if (!c->units[unit].active || c->late || failed)
			continue;
		unit_set_add(&named, unit);
		if (!unit_set_has(&from->merged, unit))
			unit_set_add(&set, unit);
	}
	while ((s = LIST_FIRST(&from->claims))) {
		LIST_REMOVE(s, in_unit);
		if (unit_set_has(&set, s->unit))
			LIST_INSERT_HEAD(&c->units[s->unit].offers, s, in_unit);
		else
			store_discard(s);
	}
	drop_claims(from);
	done = merge(c, &set);
	EACH_IN(&set, unit)
		discard(&c->units[unit].offers);
	EACH_IN(&named, unit)
		if (done) {
			unit_set_add(&from->merged, unit);
			unit_set_add(&from->owed, unit);
			c->owes = true;
		}
}

/* This member has succeeded the owner meanwhile. */
static void merge_own(struct cluster *c)
{
	struct unit_set own = { { 0 } };

	EACH_IN(&c->offers, u)
		if (c->units[u].active)
			unit_set_add(&own, u);
	if (unit_set_empty(&own) || !merge(c, &own))
		return;
	EACH_IN(&own, u)
		drop_offer(c, u);
}

void merge_let_go(struct cluster *c, unit_id u)
{
	EACH_MEMBER(c, m) {
		unit_set_remove(&m->merged, u);
		unit_set_remove(&m->owed, u);
	}
}

void merge_reset(struct cluster *c, struct member *m)
{
	drop_claims(m);
	EACH_IN(&c->offers, u)
		if (c->units[u].offered_to == m->id)
			c->units[u].offered_to = 0;
}

static bool acknowledge(struct cluster *c, struct member *m)
{
	struct wire_merge_ack ack = { .target = m->incarnation };

	EACH_IN(&m->owed, u)
		if (cluster_committed(c, u, UINT64_MAX))
			ack.units[ack.units_count++] =
			    (struct wire_ref){ u, c->units[u].e.epoch, 0, 0 };
	if (ack.units_count && m->linked && !STREAM(c, m, merge_ack, &ack))
		for (unsigned i = 0; i < ack.units_count; i++)
			unit_set_remove(&m->owed, ack.units[i].unit);
	return unit_set_empty(&m->owed);
}

void merge_review(struct cluster *c)
{
	bool owes = false;

	if (c->late)
		return;
	if (pending(c)) {
		merge_own(c);
		offer_all(c);
	}
	if (!c->owes)
		return;
	EACH_PRESENT(c, m)
		if (!acknowledge(c, m))
			owes = true;
	c->owes = owes;
}
