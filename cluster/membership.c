/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The member list: who is in it, who has died, and who is master, as the master's list
 * and silence tell.
 *
 * A member that gives its membership up keeps its sessions until another's take their
 * place (remember()): if all of them got confused at once, the state is still there.
 */
#include <string.h>

#include "cluster/internal.h"

bool membership_active(const struct cluster *c)
{
	return c->role == CLUSTER_MEMBER || c->role == CLUSTER_MASTER ||
	       (c->role == CLUSTER_OFFERING && c->complete);
}

unsigned membership_count(const struct cluster *c)
{
	unsigned n = 1;

	EACH_PRESENT((struct cluster *)c, m)
		n++;
	return n;
}

static void forget(struct cluster *c, struct member *m)
{
	merge_parted(c, m);
	m->present = m->complete = m->able = m->drained = m->confirmed = false;
	m->late = false;
	m->said = 0;
	m->seq = m->stamp = m->echo = m->vouched = 0;
	m->clock_at.ns = 0;
	m->expelled = 0;
	replica_forget(c, m);
}

/*
 * What it holds it keeps, since all others may have got into the same confusion: the
 * state is let go when another member's takes its place, or nobody misses it.
 */
static void remember(struct cluster *c)
{
	if (c->complete) {
		c->remembers = true;
		c->remembered_at = c->sure;
	}
	if (!c->remembers) {
		merge_forget(c);
		store_clear(c);
	}
	merge_remember(c);
	EACH_UNIT(u)
		c->units[u].remembered =
		    c->units[u].nsessions || !LIST_EMPTY(&c->units[u].ended);
}

void membership_rejoin(struct cluster *c, const char *why)
{
	core_set_role(c, CLUSTER_JOINING, why);
	count(c, STAT_rejoins);
	merge_resign(c);
	table_drop_all(c);
	remember(c);
	EACH_MEMBER(c, m)
		forget(c, m);
	if ((++c->incarnation & 0xffff) == 0)
		c->incarnation = (core_random(c) & ~UINT64_C(0xffff)) | 1;
	c->self->incarnation = c->incarnation;
	c->master = c->vice_master = 0;
	c->complete = c->have_table = c->late = false;
	c->seq = c->list_seq = 0;
	c->join_at = mono_add(c->now, core_jitter(c, JOIN_RETRY / 5));
	c->offer_end = c->orphaned = c->table_retry = MONO_NEVER;
	c->pending_from = NULL;
	c->lease.ns = 0;
	/* Links come up first, so that members that start together form one cluster. */
	c->offer_at = mono_add(
	    c->now, (c->cfg.detection > START_WAIT ? c->cfg.detection : START_WAIT) +
			core_jitter(c, JOIN_RETRY));
	c->upcall_table = true;
}

static void choose_vice_master(struct cluster *c)
{
	c->vice_master = 0;
	EACH_PRESENT(c, m)
		if (m->complete && (!c->vice_master || m->id < c->vice_master))
			c->vice_master = m->id;
}

void membership_changed(struct cluster *c)
{
	if (c->role == CLUSTER_MASTER)
		choose_vice_master(c);
	c->review_all = true;
	c->upcall_table = true;
}

/*
 * A death is announced at once, in a list without the dead; more than once, since a
 * datagram may be lost.
 */
void membership_died(struct cluster *c, struct member *m, const char *why)
{
	core_log(c, "member %u died: %s", m->id, why);
	count(c, STAT_deaths);
	c->bereaved = c->bereaved || (c->drained && m->able && !m->drained);
	serving_bereave(c);
	forget(c, m);
	takeover_died(c, m);
	membership_changed(c);
	if (c->io.departed)
		c->io.departed(c->io.ctx, m->id, why);
	if (c->role == CLUSTER_MASTER && !c->late) {
		keepalive_send(c);
		keepalive_send(c);
	} else if (m->id == c->master) {
		election_begin(c);
	}
}

/*
 * A drained member serves again if the last one that was not drained has died, unless those
 * who are left may be the ones who are cut off: that is what maintenance looks like.
 */
void membership_stand_in(struct cluster *c)
{
	bool others = false, needed = c->stands_in;

	if (!c->drained)
		return;
	EACH_PRESENT(c, m)
		others = others || (m->complete && m->able && !m->drained);
	if (others)
		c->staffed = membership_count(c);
	else if (c->bereaved)
		needed = 2 * membership_count(c) > c->staffed;
	c->bereaved = false;
	needed = needed && !others;
	if (needed == c->stands_in)
		return;
	c->stands_in = needed;
	core_log(c, needed ? "drained, but serves: no other member can"
			   : "serves no more: another member can");
	membership_changed(c);
	c->review_all = true;
	c->orphans_at = c->now;
	if (membership_active(c))
		keepalive_send(c);
}

void recv_death(struct cluster *c, struct member *from, const struct wire_header *h,
		struct unpack *u)
{
	struct wire_death m;

	if (wire_decode_death(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.id != from->id) {
		count(c, STAT_wrong_id);
		return;
	}
	from->dead_run = m.run;
	if (!from->present || from->incarnation >> 16 != m.run)
		return;
	count(c, STAT_death_notes);
	membership_died(c, from, "death note");
}

void membership_enlist(struct cluster *c, struct member *m, uint64_t incarnation)
{
	forget(c, m);
	m->present = true;
	m->incarnation = incarnation;
	m->heard = m->spoke = m->spoken_since = c->now;
	relay_begin(c, m);
	m->joined_at = c->now;
	m->barred.reason = 0;
	admission_note_run(c, m, incarnation);
	if (c->complete)
		m->lost.ns = 0;
	count(c, STAT_joins);
	if (c->io.joined)
		c->io.joined(c->io.ctx, m->id);
	if (m->linked)
		intake_want(c, m);
	membership_changed(c);
}

/* What the master says of this member itself. */
static void heed_own_entry(struct cluster *c, struct member *from,
			   const struct wire_member *w)
{
	if (w->per_interval >= N_MIN && w->per_interval <= N_MAX)
		c->per_interval = w->per_interval;
	c->self->loss = (double)w->loss / LOSS_SCALE;
	serving_echo(c, from, w->echo);
}

static void heed_other_entry(struct cluster *c, struct member *m,
			     const struct wire_member *w, bool speaker)
{
	bool complete = w->flags & WIRE_COMPLETE, able = w->flags & WIRE_ABLE;

	if (m->dead_run == w->incarnation >> 16)
		return;
	if (m->present && m->incarnation != w->incarnation)
		membership_died(c, m, "new incarnation in the list");
	if (!m->present)
		membership_enlist(c, m, w->incarnation);
	if (m->complete != complete || m->able != able) {
		m->complete = complete;
		m->able = able;
		membership_changed(c);
		handover_respread(c);
	}
	m->drained = w->flags & WIRE_DRAINED;
	m->capacity = w->capacity ? w->capacity : 1;
	if (w->activation > m->activation && w->activation <= CLUSTER_ACTIVATION_MAX)
		m->activation = w->activation;
	if (!speaker) {
		m->loss = (double)w->loss / LOSS_SCALE;
		m->per_interval = w->per_interval;
	}
}

bool membership_listed(const struct wire_member *list, unsigned n, member_id id,
		       uint64_t incarnation)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].id == id &&
		    (!incarnation || list[i].incarnation == incarnation))
			return true;
	return false;
}

void membership_list(struct cluster *c, struct member *from,
		     const struct wire_member *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct member *m = core_member(c, list[i].id);

		if (m == c->self)
			heed_own_entry(c, from, &list[i]);
		else if (m)
			heed_other_entry(c, m, &list[i], m == from);
	}
	EACH_PRESENT(c, m)
		if (!membership_listed(list, n, m->id, 0))
			membership_died(c, m, "not in the master's list");
}

/* The table's digest differs for a while: exchange tables. */
static void compare_digest(struct cluster *c, struct member *from, uint64_t digest)
{
	if (digest == c->digest) {
		c->digest_since = MONO_NEVER;
		return;
	}
	if (c->digest_since.ns == UINT64_MAX || digest != c->digest_seen ||
	    c->digest != c->digest_own) {
		c->digest_seen = digest;
		c->digest_own = c->digest;
		c->digest_since = c->now;
		return;
	}
	if (mono_since(c->now, c->digest_since) < c->cfg.detection / 2)
		return;
	c->digest_since = c->now;
	table_send(c, from, WIRE_ENTRIES_ANSWER);
}

static const struct wire_member *own_entry(const struct cluster *c,
					   const struct wire_master_keepalive *k)
{
	for (unsigned i = 0; i < k->members_count; i++)
		if (k->members[i].id == c->cfg.self &&
		    k->members[i].incarnation == c->incarnation)
			return &k->members[i];
	return NULL;
}

static void heed_master(struct cluster *c, struct member *from,
			const struct wire_header *h,
			const struct wire_master_keepalive *k)
{
	const struct wire_member *own = own_entry(c, k);
	bool later = h->term > c->term, fresh;

	if (own && !keepalive_counts(c, from, own->echo))
		return;
	fresh = keepalive_note(c, from, k->seq, k->stamp);
	if (fresh || k->seq == from->seq)
		c->master_heard = c->now;
	if (from->id != c->master || later) {
		membership_adopt(c, from, h->term,
				 from->id == c->master ? "term raised" : "new master");
		keepalive_send(c);
	}
	if (own)
		serving_echo(c, from, own->echo);
	if (!fresh || k->seq <= c->list_seq)
		return;
	c->vice_master = k->vice_master;
	core_copy_text(from->why, sizeof(from->why), k->why, k->why_len);
	from->sessions = k->sessions;
	from->stress = k->stress < STRESS_MAX ? k->stress : STRESS_MAX;
	if (!own) {
		membership_rejoin(c, "not in the master's list");
		return;
	}
	relay_heed(c, from, own->flags & WIRE_HEARS);
	c->list_seq = k->seq;
	membership_list(c, from, k->members, k->members_count);
	compare_digest(c, from, k->digest);
}

/* A master whose list is not ours: is it the successor of our master, or a stranger? */
static void heed_stranger(struct cluster *c, struct member *from,
			  const struct wire_header *h,
			  const struct wire_master_keepalive *k)
{
	bool mine =
	    membership_listed(k->members, k->members_count, c->cfg.self, c->incarnation);
	bool heard = !c->late || mono_before(c->late_since, c->master_heard);
	bool alive = c->master && c->master != from->id && heard &&
		     mono_since(c->now, c->master_heard) < c->cfg.detection;

	if (h->term < c->term ||
	    (h->term == c->term && c->master && from->id != c->master)) {
		count(c, STAT_lower_term);
		join_tell_master(c, from, 0);
		return;
	}
	/* Two masters settle it among themselves, and the loser tells its members. */
	if (alive) {
		join_tell_master(c, from, 0);
		return;
	}
	if (!serving_proven(c, k)) {
		serving_challenge(c, from);
		return;
	}
	/* Our master may be about to speak, now that we hear again. */
	c->rival = c->now;
	if (!heard && c->master != from->id &&
	    mono_since(c->now, c->late_since) < c->cfg.detection / 2)
		return;
	if (mine) {
		if (!from->present || from->incarnation != h->incarnation)
			membership_enlist(c, from, h->incarnation);
		/* Sequence numbers of lists begin anew with a new master. */
		c->list_seq = 0;
		heed_master(c, from, h, k);
	} else {
		membership_rejoin(c, "replaced");
	}
}

void recv_master_keepalive(struct cluster *c, struct member *from,
			   const struct wire_header *h, struct unpack *u)
{
	struct wire_master_keepalive k;

	if (wire_decode_master_keepalive(u, &k) ||
	    !membership_listed(k.members, k.members_count, from->id, h->incarnation)) {
		count(c, STAT_bad_message);
		return;
	}
	if (from->dead_run == h->incarnation >> 16)
		return;
	if (c->role == CLUSTER_MASTER) {
		election_rival(c, from, h, &k);
	} else if (c->role == CLUSTER_JOINING ||
		   (c->role == CLUSTER_OFFERING && !c->complete)) {
		/* A master lives: no offer, and ask it now. */
		if (c->role == CLUSTER_OFFERING)
			core_set_role(c, CLUSTER_JOINING, "master heard");
		c->offer_end = MONO_NEVER;
		if (serving_proven(c, &k)) {
			c->offer_at = mono_add(c->now, START_WAIT + c->cfg.detection);
			return;
		}
		serving_challenge(c, from);
		if (mono_before(c->offer_at, mono_add(c->now, START_WAIT / 3)))
			c->offer_at = mono_add(c->now, START_WAIT / 3);
	} else if (from->present && from->incarnation == h->incarnation &&
		   h->term >= c->term && from->id == c->master) {
		heed_master(c, from, h, &k);
	} else {
		heed_stranger(c, from, h, &k);
	}
}

/* Its owner sends it, or has sent it: an owner that has begun anew does not. */
static bool is_sent(const struct cluster *c, const struct unit *unit)
{
	const struct member *owner = core_member(c, epoch_owner(unit->e.epoch));

	return !unit->e.vacant && (!owner || owner == c->self || owner->complete);
}

/*
 * Complete: has the table, and the state of all who own something; also of what an owner
 * has taken over since its snapshot.
 */
void membership_check_complete(struct cluster *c)
{
	if (c->complete || c->role != CLUSTER_MEMBER || !c->have_table)
		return;
	EACH_UNIT(u) {
		member_id owner = epoch_owner(c->units[u].e.epoch);
		struct member *m = core_member(c, owner);

		if (!owner || c->units[u].e.vacant)
			continue;
		/* Also what waits for its successor is to come yet. */
		if (!m || !m->present || !m->whole ||
		    c->units[u].held != c->units[u].e.epoch)
			return;
	}
	EACH_PRESENT(c, m)
		if (!m->whole && m->complete)
			return;
	if (merge_waits(c))
		return;
	c->complete = true;
	c->remembers = false;
	/* What is being replaced right now is cleared at its end. */
	EACH_UNIT(u)
		if (c->units[u].remembered && !c->units[u].replacing &&
		    is_sent(c, &c->units[u])) {
			c->units[u].remembered = false;
			store_clear_unit(c, u);
		}
	merge_forget(c);
	core_log(c, "complete");
	c->upcall_table = true;
	keepalive_send(c);
}

/* Who holds nothing yet cannot stand for master, and begins anew soon. */
static void watch_orphan(struct cluster *c)
{
	uint64_t wait =
	    c->complete ? election_patience(c) : START_WAIT + c->cfg.detection;

	if (c->role == CLUSTER_MEMBER && !c->master &&
	    mono_since(c->now, c->orphaned) >= wait)
		membership_rejoin(c, "no master");
}

void membership_tick(struct cluster *c)
{
	if (c->role == CLUSTER_JOINING && due(c, c->join_at) && due(c, c->not_before))
		join_ask(c);
	watch_orphan(c);
	verdict_tick(c);
	if (membership_active(c) && due(c, c->keepalive_at)) {
		keepalive_send(c);
		intake_acks(c);
	}
	if (membership_active(c))
		membership_check_complete(c);
	if (c->leaving)
		join_finish_leave(c);
}

struct mono membership_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (c->role == CLUSTER_JOINING)
		t = mono_min(t, mono_max(c->join_at, c->not_before));
	if (membership_active(c))
		t = mono_min(t, c->keepalive_at);
	t = mono_min(t, verdict_timeout(c));
	if (c->leaving)
		t = mono_min(t, mono_add(c->now, 5 * MONO_MS));
	return t;
}

void cluster_set_able(struct cluster *c, bool able, const char *why, struct mono now)
{
	if (c->role == CLUSTER_LEFT)
		return;
	core_enter(c, now);
	memset(c->why, 0, sizeof(c->why));
	if (!able && why)
		strncpy(c->why, why, sizeof(c->why) - 1);
	if (c->able != able) {
		c->able = able;
		core_log(c, "%s", able ? "able" : "not able");
		membership_changed(c);
		handover_respread(c);
		if (membership_active(c))
			keepalive_send(c);
	}
	core_leave(c);
}
