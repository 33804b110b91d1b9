/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins, keepalives both ways, deaths, and the right to serve.
 *
 * The master watches each member, each member watches the master. Keepalives go to all
 * other members too, and say how long ago the sender heard the master; so a member that
 * has lost only its own path to the master does not declare it dead.
 *
 * The right to serve is a lease. A keepalive carries the sender's clock as a stamp, and
 * the other side echoes the last stamp that it has heard. A member that knows that its
 * master has heard its stamp of time T may serve until T + detection interval, since the
 * master declares nobody dead earlier; for the master, any one member's echo will do.
 *
 * The same echo is the only proof of mastership. A datagram may have waited in a queue
 * for a second, until the part that it tells of is gone; so the list of a master that is
 * not ours decides nothing unless it carries a stamp of ours from within the last
 * interval. Who hears an unproved one challenges its sender, and a living master answers
 * with the stamp at once. While its own master is heard, a member follows no other.
 *
 * Who was stopped is *late*: it does not know what became of it, serves nothing, accuses
 * nobody, and asks. It is late no more when its master, or for the master a member of its
 * term that is not late, echoes a stamp from after it woke; or when nobody has spoken for
 * an interval, neither a friend nor the master of a later term.
 *
 * If the machine stopped that runs them all, each waits for another who is not late. So a
 * late master also goes on when *every* member of its list, late as well, has echoed a
 * stamp from after it woke and stands in the master's own term. Could it have been
 * replaced nevertheless? A new master is made by members of the list, or has started from
 * nothing. One of the list that had accused the master, or followed another, before it
 * fell late, would not have it in its list any more, or be of a later term; its keepalive
 * would not come, or not count. None of them can do so after it fell late, until it has
 * waited for a whole interval; nor while it offers, since lateness ends an offer. Who
 * starts from nothing, and was not stopped, becomes master after 400 ms without an answer
 * at the earliest; it holds no session, and gives way when they hear each other. So an
 * absence longer than VOUCH_MAX is not ended in this way. The members then go on by the
 * master's echo as ever.
 *
 * A member that gives its membership up keeps its sessions until another's take their
 * place (remember()): if all of them got confused at once, the state is still there.
 */
#include <string.h>

#include "cluster/internal.h"

#define JOIN_RETRY (50 * MONO_MS)
#define START_WAIT (300 * MONO_MS)
#define NO_MASTER_MAX (3 * MONO_SEC)
#define LEAVE_MAX (5 * MONO_SEC)
#define ANSWER_MIN (5 * MONO_MS)
/* An absence up to this may be ended by those who were absent too. */
#define VOUCH_MAX (600 * MONO_MS)
#define WEEK (UINT64_C(7 * 24 * 3600) * MONO_SEC)
#define LOSS_SHARE 128
#define GAP_MAX 64
#define N_MIN 2
#define N_MAX 20
#define LOSS_SCALE 65535

static bool in_cluster(const struct cluster *c)
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

static uint64_t jitter(struct cluster *c, uint64_t span)
{
	return core_random(c) % span;
}

/* The smallest n with n * P^n < 1/K, K detection intervals in a week. */
static unsigned keepalives_for(double loss, uint64_t detection)
{
	double limit = (double)detection / (double)WEEK, power = loss;
	unsigned n = 1;

	while (n < N_MAX && (n < N_MIN || n * power >= limit)) {
		n++;
		power *= loss;
	}
	return n;
}

/* Losses show as gaps in the growing sequence number. */
static bool note_keepalive(struct cluster *c, struct member *m, uint64_t seq,
			   uint64_t stamp)
{
	uint64_t gap;

	/* An answer out of turn repeats the last number. */
	if (seq == m->seq && stamp > m->stamp)
		m->stamp = stamp;
	if (seq < m->seq)
		return false;
	m->heard = c->now;
	if (seq == m->seq)
		return false;
	gap = m->seq ? seq - m->seq - 1 : 0;
	for (uint64_t i = 0; i < gap && i < GAP_MAX; i++)
		m->loss += (1 - m->loss) / LOSS_SHARE;
	m->loss -= m->loss / LOSS_SHARE;
	m->seq = seq;
	m->stamp = stamp;
	return true;
}

static void forget(struct cluster *c, struct member *m)
{
	m->present = m->complete = m->able = m->confirmed = false;
	m->seq = m->stamp = m->echo = m->vouched = 0;
	m->sync = 0;
	replica_reset(c, m);
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
	EACH_UNIT(u)
		c->units[u].remembered = c->remembers && c->units[u].nsessions;
	if (!c->remembers)
		store_clear(c);
}

void membership_rejoin(struct cluster *c, const char *why)
{
	core_set_role(c, CLUSTER_JOINING, why);
	count(c, STAT_rejoins);
	ownership_drop_all(c);
	remember(c);
	EACH_MEMBER(c, m)
		forget(c, m);
	if ((++c->incarnation & 0xffff) == 0)
		c->incarnation = (core_random(c) & ~UINT64_C(0xffff)) | 1;
	c->self->incarnation = c->incarnation;
	c->master = c->vice_master = 0;
	c->complete = c->have_table = c->late = false;
	c->seq = c->list_seq = 0;
	c->join_at = mono_add(c->now, jitter(c, JOIN_RETRY / 5));
	c->offer_end = c->orphaned = c->table_retry = MONO_NEVER;
	c->pending_from = NULL;
	c->lease.ns = 0;
	/* Links come up first, so that members that start together form one cluster. */
	c->offer_at = mono_add(
	    c->now, (c->cfg.detection > START_WAIT ? c->cfg.detection : START_WAIT) +
			jitter(c, JOIN_RETRY));
	c->upcall_table = true;
}

void membership_late(struct cluster *c)
{
	if (!c->late) {
		count(c, STAT_late);
		core_log(c, "late by %llu us",
			 (unsigned long long)(mono_since(c->now, c->wanted) / MONO_US));
	}
	c->late = in_cluster(c);
	c->late_since = c->now;
	c->lease.ns = 0;
	c->master_heard = c->now;
	c->keepalive_at = c->now;
	EACH_PRESENT(c, m)
		m->heard = c->now;
	/* Objections may have come and gone. */
	if (c->role == CLUSTER_OFFERING) {
		core_set_role(c, c->complete ? CLUSTER_MEMBER : CLUSTER_JOINING, "late");
		c->offer_end = MONO_NEVER;
	}
	if (mono_before(c->offer_at, mono_add(c->now, c->cfg.detection)))
		c->offer_at = mono_add(c->now, c->cfg.detection);
	if (c->orphaned.ns != UINT64_MAX)
		c->orphaned = c->now;
}

static void wake(struct cluster *c, const char *why)
{
	core_log(c, "no longer late: %s", why);
	c->late = false;
	c->woke = c->keepalive_at = c->now;
	c->review_all = true;
}

/* An echo of a stamp from after we woke up proves that the speaker knows us as we are. */
static void heed_echo(struct cluster *c, struct member *m, uint64_t echo)
{
	struct mono until;

	if (echo > c->now.ns || echo <= m->echo)
		return;
	m->echo = echo;
	if (c->role != CLUSTER_MASTER && m->id != c->master)
		return;
	if (c->late && echo >= c->late_since.ns)
		wake(c, "echo");
	if (c->sure.ns < echo)
		c->sure.ns = echo;
	until = mono_add((struct mono){ echo }, c->cfg.detection);
	if (mono_before(c->lease, until))
		c->lease = until;
}

/* A late master hears from a late member of its term, see the head of this file. */
static void heed_voucher(struct cluster *c, struct member *from, uint64_t echo)
{
	if (echo > c->now.ns || echo < c->late_since.ns)
		return;
	from->vouched = echo;
	if (mono_since(c->now, c->sure) > VOUCH_MAX || c->rival.ns >= c->late_since.ns)
		return;
	EACH_PRESENT(c, m)
		if (m->vouched < c->late_since.ns)
			return;
	wake(c, "all were late");
	c->sure = c->late_since;
	c->lease = mono_add(c->late_since, c->cfg.detection);
}

/* A list proves nothing by itself: it may have waited in a queue until all was over. */
bool membership_proven(const struct cluster *c, const struct wire_master_keepalive *k)
{
	uint64_t proof = k->answer;

	for (unsigned i = 0; i < k->members_count; i++)
		if (k->members[i].id == c->cfg.self &&
		    k->members[i].incarnation == c->incarnation &&
		    k->members[i].echo > proof)
			proof = k->members[i].echo;
	return proof && proof <= c->now.ns && c->now.ns - proof < c->cfg.detection &&
	       (!c->late || proof >= c->late_since.ns);
}

void membership_challenge(struct cluster *c, struct member *to)
{
	struct wire_challenge m = { .stamp = c->now.ns };

	count(c, STAT_challenges);
	DATAGRAM(c, to, challenge, &m);
}

bool cluster_serves(const struct cluster *c, unit_id unit, struct mono now)
{
	if (unit >= CLUSTER_UNITS || !c->units[unit].active || c->late || !in_cluster(c))
		return false;
	if (c->wanted.ns != UINT64_MAX &&
	    mono_since(now, c->wanted) >= c->cfg.detection / 2)
		return false;
	/* Another may have begun while it was stopped: their lists meet first. */
	if (c->role == CLUSTER_MASTER && membership_count(c) == 1)
		return mono_since(now, c->woke) >= c->cfg.detection / 4;
	return mono_before(now, c->lease);
}

/* Sending. */

static void list_member(const struct cluster *c, const struct member *m,
			struct wire_member *w)
{
	bool self = m == c->self;
	bool able = self ? c->able && !c->leaving : m->able;

	*w = (struct wire_member){
		.id = m->id,
		.incarnation = self ? c->incarnation : m->incarnation,
		.flags = ((self ? c->complete : m->complete) ? WIRE_COMPLETE : 0) |
			 (able ? WIRE_ABLE : 0) |
			 (self || m->confirmed ? WIRE_CONFIRMED : 0),
		.per_interval = (uint8_t)m->per_interval,
		.echo = m->stamp,
		.capacity = self ? c->cfg.capacity : m->capacity,
		.activation = self ? c->activation : m->activation,
		.loss = (uint16_t)(m->loss * LOSS_SCALE),
	};
}

static uint16_t fill_list(const struct cluster *c, struct wire_member *list)
{
	uint16_t n = 0;

	list_member(c, c->self, &list[n++]);
	EACH_PRESENT((struct cluster *)c, m)
		list_member(c, m, &list[n++]);
	return n;
}

static const char *own_why(const struct cluster *c)
{
	if (c->leaving)
		return "leaving";
	return c->able ? "" : c->why;
}

/* To all, or as an answer to one: that repeats the number of the last one to all. */
static void send_master_keepalive(struct cluster *c, struct member *only, uint64_t answer)
{
	struct wire_master_keepalive k = {
		.seq = only ? c->seq : ++c->seq,
		.stamp = c->now.ns,
		.answer = answer,
		.digest = c->digest,
		.table_version = c->table_version,
		.sessions = c->nsessions,
		.vice_master = c->vice_master,
		.why = (const uint8_t *)own_why(c),
		.why_len = strlen(own_why(c)),
	};

	k.members_count = fill_list(c, k.members);
	EACH_MEMBER(c, m)
		if (only ? m == only : m != c->self && (m->present || m->linked))
			DATAGRAM(c, m, master_keepalive, &k);
}

void recv_challenge(struct cluster *c, struct member *from, const struct wire_header *h,
		    struct unpack *u)
{
	struct wire_challenge m;

	if (wire_decode_challenge(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (!c->late)
		send_master_keepalive(c, from, m.stamp);
}

static void send_member_keepalive(struct cluster *c, struct member *only)
{
	struct member *master = core_member(c, c->master);
	uint64_t age = master ? mono_since(c->now, master->heard) / MONO_US : UINT32_MAX;
	struct wire_member_keepalive k = {
		.seq = only ? c->seq : ++c->seq,
		.stamp = c->now.ns,
		.digest = c->digest,
		.master_age = age < UINT32_MAX ? (uint32_t)age : UINT32_MAX,
		.capacity = c->cfg.capacity,
		.activation = c->activation,
		.load = c->nactive,
		.table_version = c->table_version,
		.flags = (c->complete ? WIRE_COMPLETE : 0) |
			 (c->able && !c->leaving ? WIRE_ABLE : 0) |
			 (c->late ? WIRE_LATE : 0),
		.why = (const uint8_t *)own_why(c),
		.why_len = strlen(own_why(c)),
	};

	EACH_PRESENT(c, m) {
		k.echo = m->stamp;
		if (!only || m == only)
			DATAGRAM(c, m, member_keepalive, &k);
	}
}

/* Who is late waits for our word. */
static void answer_late(struct cluster *c, struct member *m)
{
	if (mono_since(c->now, m->answered) < ANSWER_MIN)
		return;
	m->answered = c->now;
	if (c->role == CLUSTER_MASTER && !c->late)
		send_master_keepalive(c, m, 0);
	else
		send_member_keepalive(c, m);
}

static unsigned own_rate(struct cluster *c)
{
	unsigned n = N_MIN;

	if (c->role != CLUSTER_MASTER)
		return c->per_interval;
	EACH_PRESENT(c, m) {
		m->per_interval = keepalives_for(m->loss, c->cfg.detection);
		if (m->per_interval > n)
			n = m->per_interval;
	}
	return n;
}

void membership_keepalive(struct cluster *c)
{
	c->self->per_interval = c->per_interval = own_rate(c);
	/* Who is late asks, by its stamp, what it has become; it announces nothing. */
	if (c->role == CLUSTER_MASTER && !c->late)
		send_master_keepalive(c, NULL, 0);
	else
		send_member_keepalive(c, NULL);
	c->keepalive_at =
	    mono_add(c->now, c->cfg.detection / (c->late ? N_MAX : c->per_interval));
}

static void send_nak(struct cluster *c, struct member *to, uint64_t target,
		     uint8_t reason)
{
	struct wire_nak m = { .target = target, .reason = reason };

	DATAGRAM(c, to, nak, &m);
}

/* Deaths. */

static void choose_vice_master(struct cluster *c)
{
	c->vice_master = 0;
	EACH_PRESENT(c, m)
		if (m->complete && (!c->vice_master || m->id < c->vice_master))
			c->vice_master = m->id;
}

static void list_changed(struct cluster *c)
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
	forget(c, m);
	ownership_died(c, m);
	list_changed(c);
	if (c->role == CLUSTER_MASTER && !c->late) {
		membership_keepalive(c);
		membership_keepalive(c);
	} else if (m->id == c->master) {
		election_begin(c);
	}
}

void recv_death(struct cluster *c, struct member *from, const struct wire_header *h,
		struct unpack *u)
{
	struct wire_death m;

	if (wire_decode_death(u, &m) || m.id != from->id) {
		count(c, STAT_bad_message);
		return;
	}
	from->dead_run = m.run;
	if (!from->present || from->incarnation >> 16 != m.run)
		return;
	count(c, STAT_death_notes);
	membership_died(c, from, "death note");
}

void recv_exit_request(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_exit_request m;

	if (wire_decode_exit_request(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	from->dead_run = from->incarnation >> 16;
	membership_died(c, from, "it left");
}

/* Joins. */

static void enlist(struct cluster *c, struct member *m, uint64_t incarnation)
{
	forget(c, m);
	m->present = true;
	m->incarnation = incarnation;
	m->heard = c->now;
	count(c, STAT_joins);
	if (m->linked)
		replica_want(c, m);
	list_changed(c);
}

static void send_ok(struct cluster *c, struct member *to, uint64_t echo)
{
	struct wire_ok_to_join ok = {
		.target = to->incarnation,
		.echo = echo,
		.seq = c->seq,
		.activation = to->activation,
	};

	memcpy(ok.fold_key, c->fold_key, sizeof(ok.fold_key));
	ok.members_count = fill_list(c, ok.members);
	DATAGRAM(c, to, ok_to_join, &ok);
}

static void tell_master(struct cluster *c, struct member *to, uint64_t offer)
{
	struct wire_other_master_exists m = { .master = c->master, .offer = offer };

	DATAGRAM(c, to, other_master_exists, &m);
}

void recv_join_request(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_join_request m;

	if (wire_decode_join_request(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.activation <= CLUSTER_ACTIVATION_MAX && m.activation > from->activation)
		from->activation = m.activation;
	if (c->role == CLUSTER_JOINING || c->late ||
	    from->dead_run == h->incarnation >> 16)
		return;
	if (c->role != CLUSTER_MASTER) {
		if (c->role == CLUSTER_MEMBER && c->master)
			tell_master(c, from, 0);
		else if (c->complete)
			send_nak(c, from, h->incarnation, WIRE_REASON_IN_PROGRESS);
		return;
	}
	if (c->leaving) {
		send_nak(c, from, h->incarnation, WIRE_REASON_LEAVING);
		return;
	}
	if (from->present && from->incarnation != h->incarnation)
		membership_died(c, from, "new incarnation");
	from->capacity = m.capacity ? m.capacity : 1;
	if (!from->present) {
		core_log(c, "member %u joins", from->id);
		enlist(c, from, h->incarnation);
		send_ok(c, from, m.stamp);
		membership_keepalive(c);
	} else {
		send_ok(c, from, m.stamp);
	}
}

/* What the master says of this member itself. */
static void heed_own_entry(struct cluster *c, struct member *from,
			   const struct wire_member *w)
{
	if (w->per_interval >= N_MIN && w->per_interval <= N_MAX)
		c->per_interval = w->per_interval;
	c->self->loss = (double)w->loss / LOSS_SCALE;
	heed_echo(c, from, w->echo);
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
		enlist(c, m, w->incarnation);
	if (m->complete != complete || m->able != able) {
		m->complete = complete;
		m->able = able;
		list_changed(c);
		ownership_respread(c);
	}
	m->capacity = w->capacity ? w->capacity : 1;
	if (w->activation > m->activation && w->activation <= CLUSTER_ACTIVATION_MAX)
		m->activation = w->activation;
	if (!speaker) {
		m->loss = (double)w->loss / LOSS_SCALE;
		m->per_interval = w->per_interval;
	}
}

static bool listed(const struct wire_member *list, unsigned n, member_id id,
		   uint64_t incarnation)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].id == id &&
		    (!incarnation || list[i].incarnation == incarnation))
			return true;
	return false;
}

static void heed_list(struct cluster *c, struct member *from,
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
		if (!listed(list, n, m->id, 0))
			membership_died(c, m, "not in the master's list");
}

static void adopt(struct cluster *c, struct member *from, uint64_t term,
		  const char *event)
{
	c->term = term;
	c->master = from->id;
	c->master_heard = from->heard = c->now;
	c->offer_at = c->offer_end = c->orphaned = MONO_NEVER;
	c->pending_from = NULL;
	core_set_role(c, CLUSTER_MEMBER, event);
}

void recv_ok_to_join(struct cluster *c, struct member *from, const struct wire_header *h,
		     struct unpack *u)
{
	struct wire_ok_to_join m;

	if (wire_decode_ok_to_join(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation || (c->role == CLUSTER_OFFERING && c->complete) ||
	    !listed(m.members, m.members_count, c->cfg.self, c->incarnation) ||
	    !listed(m.members, m.members_count, from->id, h->incarnation) ||
	    m.echo > c->now.ns || c->now.ns - m.echo >= c->cfg.detection)
		return;
	/* Another cluster's; and the store is hashed with the key. */
	if (memcmp(c->fold_key, m.fold_key, sizeof(c->fold_key))) {
		c->remembers = false;
		store_clear(c);
	}
	memcpy(c->fold_key, m.fold_key, sizeof(c->fold_key));
	c->founded = true;
	/* Never below what the cluster has seen of this id. */
	if (m.activation > c->activation && m.activation <= CLUSTER_ACTIVATION_MAX)
		c->activation = m.activation;
	adopt(c, from, h->term, "ok to join");
	c->list_seq = m.seq;
	c->table_retry = c->now;
	heed_list(c, from, m.members, m.members_count);
	membership_keepalive(c);
}

void recv_nak(struct cluster *c, struct member *from, const struct wire_header *h,
	      struct unpack *u)
{
	struct wire_nak m;

	if (wire_decode_nak(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.target != c->incarnation)
		return;
	if (c->role == CLUSTER_JOINING || (c->role == CLUSTER_OFFERING && !c->complete)) {
		/* A cluster lives: wait for its verdict. */
		if (c->role == CLUSTER_OFFERING)
			core_set_role(c, CLUSTER_JOINING, "nak");
		c->offer_end = MONO_NEVER;
		c->offer_at = mono_add(c->now, START_WAIT + jitter(c, JOIN_RETRY));
		return;
	}
	if ((m.reason != WIRE_REASON_NOT_MEMBER && m.reason != WIRE_REASON_MERGED) ||
	    h->term < c->term)
		return;
	if (from->id == c->master)
		membership_rejoin(c, "not a member any more");
	else if (!c->master)
		membership_challenge(c, from);
	else if (c->late) {
		c->rival = c->now;
		membership_challenge(c, from);
	}
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
	ownership_send_table(c, from, WIRE_ENTRIES_ANSWER);
}

static void heed_master(struct cluster *c, struct member *from,
			const struct wire_header *h,
			const struct wire_master_keepalive *k)
{
	bool fresh = note_keepalive(c, from, k->seq, k->stamp);
	bool later = h->term > c->term;

	if (fresh || k->seq == from->seq)
		c->master_heard = c->now;
	if (from->id != c->master || later) {
		adopt(c, from, h->term,
		      from->id == c->master ? "term raised" : "new master");
		membership_keepalive(c);
	}
	for (unsigned i = 0; i < k->members_count; i++)
		if (k->members[i].id == c->cfg.self &&
		    k->members[i].incarnation == c->incarnation)
			heed_echo(c, from, k->members[i].echo);
	if (!fresh || k->seq <= c->list_seq)
		return;
	c->vice_master = k->vice_master;
	memcpy(from->why, k->why, k->why_len);
	from->why[k->why_len] = 0;
	from->sessions = k->sessions;
	if (!listed(k->members, k->members_count, c->cfg.self, c->incarnation)) {
		membership_rejoin(c, "not in the master's list");
		return;
	}
	c->list_seq = k->seq;
	heed_list(c, from, k->members, k->members_count);
	compare_digest(c, from, k->digest);
}

/* A master whose list is not ours: is it the successor of our master, or a stranger? */
static void heed_stranger(struct cluster *c, struct member *from,
			  const struct wire_header *h,
			  const struct wire_master_keepalive *k)
{
	bool mine = listed(k->members, k->members_count, c->cfg.self, c->incarnation);
	bool heard = !c->late || mono_before(c->late_since, c->master_heard);
	bool alive = c->master && c->master != from->id && heard &&
		     mono_since(c->now, c->master_heard) < c->cfg.detection;

	if (h->term < c->term ||
	    (h->term == c->term && c->master && from->id != c->master)) {
		count(c, STAT_lower_term);
		tell_master(c, from, 0);
		return;
	}
	/* Two masters settle it among themselves, and the loser tells its members. */
	if (alive) {
		tell_master(c, from, 0);
		return;
	}
	if (!membership_proven(c, k)) {
		membership_challenge(c, from);
		return;
	}
	/* Our master may be about to speak, now that we hear again. */
	c->rival = c->now;
	if (!heard && c->master != from->id &&
	    mono_since(c->now, c->late_since) < c->cfg.detection / 2)
		return;
	if (mine) {
		if (!from->present || from->incarnation != h->incarnation)
			enlist(c, from, h->incarnation);
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
	    !listed(k.members, k.members_count, from->id, h->incarnation)) {
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
		if (membership_proven(c, &k)) {
			c->offer_at = mono_add(c->now, START_WAIT + c->cfg.detection);
			return;
		}
		membership_challenge(c, from);
		if (mono_before(c->offer_at, mono_add(c->now, START_WAIT / 3)))
			c->offer_at = mono_add(c->now, START_WAIT / 3);
	} else if (from->present && from->incarnation == h->incarnation &&
		   h->term >= c->term && from->id == c->master) {
		heed_master(c, from, h, &k);
	} else {
		heed_stranger(c, from, h, &k);
	}
}

static void heed_member(struct cluster *c, struct member *m,
			const struct wire_member_keepalive *k)
{
	bool complete = k->flags & WIRE_COMPLETE, able = k->flags & WIRE_ABLE;

	m->capacity = k->capacity ? k->capacity : 1;
	if (k->activation > m->activation && k->activation <= CLUSTER_ACTIVATION_MAX)
		m->activation = k->activation;
	m->load = k->load;
	memcpy(m->why, k->why, k->why_len);
	m->why[k->why_len] = 0;
	if (c->role != CLUSTER_MASTER || (m->complete == complete && m->able == able))
		return;
	m->complete = complete;
	m->able = able;
	list_changed(c);
	ownership_respread(c);
	membership_keepalive(c);
}

void recv_member_keepalive(struct cluster *c, struct member *from,
			   const struct wire_header *h, struct unpack *u)
{
	struct wire_member_keepalive k;
	uint64_t age;

	if (wire_decode_member_keepalive(u, &k)) {
		count(c, STAT_bad_message);
		return;
	}
	if (!from->present || from->incarnation != h->incarnation) {
		count(c, STAT_not_from_member);
		/* Also who is late knows that an earlier term is over. */
		if (c->role == CLUSTER_MASTER && h->term <= c->term &&
		    (!c->late || h->term < c->term))
			send_nak(c, from, h->incarnation, WIRE_REASON_NOT_MEMBER);
		return;
	}
	/* A late master is told nothing by those who follow another one, or are late too. */
	if (!c->late || (h->term <= c->term && !(k.flags & WIRE_LATE)))
		heed_echo(c, from, k.echo);
	else if (c->role == CLUSTER_MASTER && h->term == c->term)
		heed_voucher(c, from, k.echo);
	if (from->id == c->master && k.seq >= from->seq)
		c->master_heard = c->now;
	if (h->term == c->term)
		from->confirmed = true;
	if (!note_keepalive(c, from, k.seq, k.stamp))
		return;
	if (k.flags & WIRE_LATE)
		answer_late(c, from);
	age = (uint64_t)k.master_age * MONO_US;
	if (h->term == c->term && age < c->now.ns &&
	    mono_before(c->master_heard, (struct mono){ c->now.ns - age }) &&
	    k.master_age != UINT32_MAX)
		c->master_heard.ns = c->now.ns - age;
	heed_member(c, from, &k);
}

/* Complete: has the table, and the state of all who own something. */
void membership_check_complete(struct cluster *c)
{
	if (c->complete || c->role != CLUSTER_MEMBER || !c->have_table)
		return;
	EACH_UNIT(u) {
		member_id owner = epoch_owner(c->units[u].e.epoch);
		struct member *m = core_member(c, owner);

		/* Also what waits for its successor is to come yet. */
		if (owner && (!m || !m->present || !m->whole))
			return;
	}
	EACH_PRESENT(c, m)
		if (!m->whole && m->complete)
			return;
	c->complete = true;
	c->remembers = false;
	/* What is being replaced right now is cleared at its end. */
	EACH_UNIT(u)
		if (c->units[u].remembered && !c->units[u].replacing) {
			c->units[u].remembered = false;
			store_clear_unit(c, u);
		}
	core_log(c, "complete");
	c->upcall_table = true;
	membership_keepalive(c);
}

/* Time. */

static bool rival_heard(const struct cluster *c)
{
	return c->rival.ns >= c->late_since.ns &&
	       mono_since(c->now, c->rival) < c->cfg.detection;
}

static void watch_members(struct cluster *c)
{
	if (c->late) {
		if (mono_since(c->now, c->late_since) < c->cfg.detection)
			return;
		if (rival_heard(c))
			return;
		/* Nobody has spoken for a whole interval that we were awake. */
		wake(c, "silence");
	}
	EACH_PRESENT(c, m)
		if (mono_since(c->now, m->heard) >= c->cfg.detection)
			membership_died(c, m, "silent");
}

static void watch_master(struct cluster *c)
{
	struct member *m = core_member(c, c->master);

	if (!m) {
		/* Who holds nothing yet cannot stand, and begins anew soon. */
		if (mono_since(c->now, c->orphaned) >=
		    (c->complete ? NO_MASTER_MAX : START_WAIT + c->cfg.detection))
			membership_rejoin(c, "no master");
		return;
	}
	if (mono_since(c->now, c->master_heard) < c->cfg.detection)
		return;
	/* We wait for the proof of what we have heard of. */
	if (c->late && rival_heard(c))
		return;
	if (c->late)
		wake(c, "silence");
	membership_died(c, m, "the master is silent");
}

static void ask_to_join(struct cluster *c)
{
	struct wire_join_request m = { .capacity = c->cfg.capacity,
				       .activation = c->activation,
				       .stamp = c->now.ns };

	EACH_MEMBER(c, p)
		if (p != c->self && p->linked)
			DATAGRAM(c, p, join_request, &m);
	c->join_at = mono_add(c->now, JOIN_RETRY + jitter(c, JOIN_RETRY / 5));
}

static void finish_leave(struct cluster *c)
{
	struct wire_exit_request m = { .reason = WIRE_REASON_LEAVING };
	bool alone = cluster_unprotected(c);

	EACH_UNIT(u)
		if (!alone && mono_before(c->now, c->leave_by) &&
		    epoch_owner(c->units[u].e.epoch) == c->cfg.self)
			return;
	EACH_PRESENT(c, p)
		for (unsigned i = 0; i < 3; i++)
			DATAGRAM(c, p, exit_request, &m);
	ownership_drop_all(c);
	core_set_role(c, CLUSTER_LEFT, "leave");
}

void membership_tick(struct cluster *c)
{
	if (c->role == CLUSTER_JOINING && due(c, c->join_at))
		ask_to_join(c);
	if (c->role == CLUSTER_MASTER)
		watch_members(c);
	else if (c->role == CLUSTER_MEMBER)
		watch_master(c);
	if (in_cluster(c) && due(c, c->keepalive_at)) {
		membership_keepalive(c);
		replica_acks(c);
	}
	if (in_cluster(c))
		membership_check_complete(c);
	if (c->leaving)
		finish_leave(c);
}

struct mono membership_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (c->role == CLUSTER_JOINING)
		t = mono_min(t, c->join_at);
	if (in_cluster(c))
		t = mono_min(t, c->keepalive_at);
	if (c->role == CLUSTER_MEMBER && c->master)
		t = mono_min(t, mono_add(c->master_heard, c->cfg.detection));
	if (c->role == CLUSTER_MASTER)
		EACH_PRESENT((struct cluster *)c, m)
			t = mono_min(t, mono_add(m->heard, c->cfg.detection));
	if (c->leaving)
		t = mono_min(t, mono_add(c->now, 5 * MONO_MS));
	return t;
}

/* Commands. */

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
		list_changed(c);
		ownership_respread(c);
		if (in_cluster(c))
			membership_keepalive(c);
	}
	core_leave(c);
}

void cluster_leave(struct cluster *c, struct mono now)
{
	if (c->role == CLUSTER_LEFT || c->leaving)
		return;
	core_enter(c, now);
	c->leaving = true;
	c->leave_by = mono_add(c->now, LEAVE_MAX);
	list_changed(c);
	if (in_cluster(c))
		membership_keepalive(c);
	else
		core_set_role(c, CLUSTER_LEFT, "leave");
	core_leave(c);
}
