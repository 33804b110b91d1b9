/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keepalives, both ways.
 *
 * The master watches each member, each member watches the master. Keepalives go to all
 * other members too, and say how long ago the sender heard the master; so a member that
 * has lost only its own path to the master does not declare it dead.
 */
#include <string.h>

#include "cluster/internal.h"

#define ANSWER_MIN (5 * MONO_MS)
#define WEEK (UINT64_C(7 * 24 * 3600) * MONO_SEC)
#define LOSS_SHARE 128
#define GAP_MAX 64
#define CLOCK_SHARE 1000 /* no two clocks differ by more than one part in so many */

unsigned keepalive_rate(double loss, uint64_t detection)
{
	double limit = (double)detection / (double)WEEK, power = loss;
	unsigned n = 1;

	while (n < N_MAX && (n < N_MIN || n * power >= limit)) {
		n++;
		power *= loss;
	}
	return n;
}

/*
 * Who hears us echoes what we said lately. Whose echo is old for longer than keepalives can
 * be apart does not hear us: it cannot know what is decided, and so is not heard either.
 * Its stamps are not taken, so nothing that it hears from us lets it serve any longer. After
 * a gap it is given time to hear us again.
 */
bool keepalive_counts(struct cluster *c, struct member *m, uint64_t echo)
{
	struct mono heard_us = { m->echo };

	if (mono_since(c->now, m->spoke) >= c->cfg.detection)
		m->spoken_since = c->now;
	m->spoke = c->now;
	if (c->late)
		return true;
	/* An echo of what was not said yet shows nothing. */
	if (echo <= c->now.ns)
		heard_us = mono_max(heard_us, (struct mono){ echo });
	heard_us = mono_max(heard_us, m->spoken_since);
	if (mono_since(c->now, heard_us) < c->cfg.detection / 2 * 3)
		return true;
	count(c, STAT_deaf);
	return false;
}

/*
 * The two clocks, by the keepalive that came fastest: what is the same for all of them does
 * not show. Clocks go at almost the same rate.
 */
static void compare_clocks(struct cluster *c, struct member *m, uint64_t stamp)
{
	uint64_t ahead = stamp - c->now.ns;
	uint64_t least = m->ahead - mono_since(c->now, m->clock_at) / CLOCK_SHARE;

	if (m->clock_at.ns && (int64_t)(ahead - least) < 0)
		ahead = least;
	m->ahead = ahead;
	m->clock_at = c->now;
}

/* A message may wait, in the stream of a line that is cut, or in our socket. */
uint64_t keepalive_delay(const struct cluster *c, const struct member *m, uint64_t stamp)
{
	int64_t delay = (int64_t)(c->now.ns + m->ahead - stamp);

	return stamp && m->clock_at.ns && delay > 0 ? (uint64_t)delay : 0;
}

/* Losses show as gaps in the growing sequence number. */
bool keepalive_note(struct cluster *c, struct member *m, uint64_t seq, uint64_t stamp)
{
	uint64_t gap;

	/* An answer out of turn repeats the last number. */
	if (seq == m->seq && stamp > m->stamp)
		m->stamp = stamp;
	if (seq < m->seq)
		return false;
	verdict_heard(c, m);
	if (seq == m->seq)
		return false;
	gap = m->seq ? seq - m->seq - 1 : 0;
	for (uint64_t i = 0; i < gap && i < GAP_MAX; i++)
		m->loss += (1 - m->loss) / LOSS_SHARE;
	m->loss -= m->loss / LOSS_SHARE;
	m->seq = seq;
	m->stamp = stamp;
	compare_clocks(c, m, stamp);
	return true;
}

static void list_member(const struct cluster *c, const struct member *m,
			struct wire_member *w)
{
	bool self = m == c->self;
	bool able = self ? ready(c) : m->able;

	*w = (struct wire_member){
		.id = m->id,
		.incarnation = self ? c->incarnation : m->incarnation,
		.flags = ((self ? c->complete : m->complete) ? WIRE_COMPLETE : 0) |
			 (able ? WIRE_ABLE : 0) |
			 (self || m->confirmed ? WIRE_CONFIRMED : 0) |
			 ((self ? c->drained : m->drained) ? WIRE_DRAINED : 0) |
			 (self || m->direct ? WIRE_HEARS : 0),
		.per_interval = (uint8_t)m->per_interval,
		.echo = serving_grants(c) ? m->stamp : 0,
		.capacity = self ? c->cfg.capacity : m->capacity,
		.activation = self ? numbers_own(c) : m->activation,
		.loss = (uint16_t)(m->loss * LOSS_SCALE),
	};
}

uint16_t keepalive_list(const struct cluster *c, struct wire_member *list)
{
	uint16_t n = 0;

	list_member(c, c->self, &list[n++]);
	EACH_PRESENT((struct cluster *)c, m)
		list_member(c, m, &list[n++]);
	return n;
}

const char *keepalive_why(const struct cluster *c)
{
	if (c->leaving)
		return "leaving";
	if (!c->able)
		return c->why;
	if (c->drained)
		return "drained";
	return c->number_failed ? "activation number not stored" : "";
}

/* To all, or as an answer to one: that repeats the number of the last one to all. */
void keepalive_as_master(struct cluster *c, struct member *only, uint64_t answer)
{
	struct wire_master_keepalive k = {
		.seq = only ? c->seq : ++c->seq,
		.stamp = c->now.ns,
		.answer = answer,
		.digest = c->digest,
		.table_version = c->table_version,
		.sessions = c->nsessions,
		.vice_master = c->vice_master,
		.stress = (uint8_t)c->stress,
		.why = (const uint8_t *)keepalive_why(c),
		.why_len = strlen(keepalive_why(c)),
	};

	k.members_count = keepalive_list(c, k.members);
	EACH_MEMBER(c, m)
		if (only ? m == only : m != c->self && (m->present || m->linked))
			DATAGRAM(c, m, master_keepalive, &k);
}

static void send_member_keepalive(struct cluster *c, struct member *only)
{
	struct member *master = core_member(c, c->master);
	uint64_t age = master ? mono_since(c->now, master->heard) / MONO_US : UINT32_MAX;
	unsigned flags = (c->complete ? WIRE_COMPLETE : 0) | (ready(c) ? WIRE_ABLE : 0) |
			 (c->late ? WIRE_LATE : 0) | (c->drained ? WIRE_DRAINED : 0);
	struct wire_member_keepalive k = {
		.seq = only ? c->seq : ++c->seq,
		.stamp = c->now.ns,
		.digest = c->digest,
		.master_age = age < UINT32_MAX ? (uint32_t)age : UINT32_MAX,
		.capacity = c->cfg.capacity,
		.activation = numbers_own(c),
		.load = c->self->processor,
		.table_version = c->table_version,
		.stress = (uint8_t)c->stress,
		.why = (const uint8_t *)keepalive_why(c),
		.why_len = strlen(keepalive_why(c)),
	};

	k.roster_count = admission_list(c, k.roster);
	EACH_PRESENT(c, m) {
		k.echo = m->stamp;
		k.flags = (uint8_t)(flags | (m->direct ? WIRE_HEARS : 0));
		if (!only || m == only)
			DATAGRAM(c, m, member_keepalive, &k);
	}
}

void keepalive_answer(struct cluster *c, struct member *m)
{
	if (mono_since(c->now, m->answered) < ANSWER_MIN)
		return;
	m->answered = c->now;
	if (c->role == CLUSTER_MASTER && !c->late)
		keepalive_as_master(c, m, 0);
	else
		send_member_keepalive(c, m);
}

static unsigned own_rate(struct cluster *c)
{
	unsigned n = N_MIN;

	if (c->role != CLUSTER_MASTER)
		return c->per_interval;
	EACH_PRESENT(c, m) {
		m->per_interval = keepalive_rate(m->loss, c->cfg.detection);
		if (m->per_interval > n)
			n = m->per_interval;
	}
	return n;
}

void keepalive_send(struct cluster *c)
{
	uint64_t step;

	c->self->per_interval = c->per_interval = own_rate(c);
	/* Who is late asks, by its stamp, what it has become; it announces nothing. */
	if (c->role == CLUSTER_MASTER && !c->late)
		keepalive_as_master(c, NULL, 0);
	else
		send_member_keepalive(c, NULL);
	/* Early by up to an eighth, never later: n in each interval, but not in step. */
	step = c->cfg.detection / (c->late ? N_MAX : c->per_interval);
	c->keepalive_at = mono_add(c->now, step - core_jitter(c, step / 8));
}

static void heed_member(struct cluster *c, struct member *m,
			const struct wire_member_keepalive *k)
{
	bool complete = k->flags & WIRE_COMPLETE, able = k->flags & WIRE_ABLE;

	m->capacity = k->capacity ? k->capacity : 1;
	if (k->activation > m->activation && k->activation <= CLUSTER_ACTIVATION_MAX)
		m->activation = k->activation;
	m->processor = k->load;
	m->drained = k->flags & WIRE_DRAINED;
	m->stress = k->stress < STRESS_MAX ? k->stress : STRESS_MAX;
	core_copy_text(m->why, sizeof(m->why), k->why, k->why_len);
	if (c->role != CLUSTER_MASTER || (m->complete == complete && m->able == able))
		return;
	m->complete = complete;
	m->able = able;
	membership_changed(c);
	handover_respread(c);
	keepalive_send(c);
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
		/*
		 * Also who is late knows that an earlier term is over; and who has buried
		 * its master, and is about to follow another, tells it so.
		 */
		if (h->term <= c->term && (c->role == CLUSTER_MASTER || !c->master) &&
		    (!c->late || (c->role == CLUSTER_MASTER && h->term < c->term)))
			join_nak(c, from, h->incarnation, WIRE_REASON_NOT_MEMBER, 0, "");
		return;
	}
	admission_roster(c, from, h->incarnation, k.roster, k.roster_count);
	if (admission_expelled(c, from))
		return;
	if (!keepalive_counts(c, from, k.echo))
		return;
	if (serving_believes(c, from, k.echo, k.flags & WIRE_LATE))
		serving_echo(c, from, k.echo);
	else if (c->role == CLUSTER_MASTER && h->term == c->term)
		serving_vouch(c, from, k.echo, k.flags & WIRE_LATE);
	if (from->id == c->master && k.seq >= from->seq)
		c->master_heard = c->now;
	if (h->term == c->term)
		from->confirmed = true;
	if (!keepalive_note(c, from, k.seq, k.stamp))
		return;
	relay_heed(c, from, k.flags & WIRE_HEARS);
	from->late = k.flags & WIRE_LATE;
	/* It waits for our word. */
	if (from->late)
		keepalive_answer(c, from);
	age = (uint64_t)k.master_age * MONO_US;
	if (h->term == c->term && age < c->now.ns &&
	    mono_before(c->master_heard, (struct mono){ c->now.ns - age }) &&
	    k.master_age != UINT32_MAX)
		c->master_heard.ns = c->now.ns - age;
	from->said = h->term;
	heed_member(c, from, &k);
}
