/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a member comes into a cluster, and how it goes. */
#include <string.h>

#include "cluster/internal.h"

#define LEAVE_MAX (5 * MONO_SEC)
#define ASK_AGAIN MONO_SEC
/* Before who was expelled asks again: doubled each time, forgotten when it goes well. */
#define EXPELLED_DELAY MONO_SEC
#define EXPELLED_DELAY_MAX (60 * MONO_SEC)
#define EXPELLED_FORGIVEN (600 * MONO_SEC)

void join_nak(struct cluster *c, struct member *to, uint64_t target, uint8_t reason,
	      uint64_t wait, const char *why)
{
	struct wire_nak m = {
		.target = target,
		.reason = reason,
		.wait = (uint32_t)(wait / MONO_MS),
		.version = c->cfg.shared.version,
		.stamp = c->now.ns,
		.why = (const uint8_t *)why,
		.why_len = strlen(why),
	};

	DATAGRAM(c, to, nak, &m);
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
	ok.members_count = keepalive_list(c, ok.members);
	DATAGRAM(c, to, ok_to_join, &ok);
}

void join_tell_master(struct cluster *c, struct member *to, uint64_t offer)
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
			join_tell_master(c, from, 0);
		else if (c->complete)
			join_nak(c, from, h->incarnation, WIRE_REASON_IN_PROGRESS, 0,
				 "the cluster is electing a master");
		return;
	}
	if (c->leaving) {
		join_nak(c, from, h->incarnation, WIRE_REASON_LEAVING, 0,
			 "the master is leaving");
		return;
	}
	if (from->present && from->incarnation == h->incarnation) {
		send_ok(c, from, m.stamp);
		return;
	}
	if (!admission_judge(c, from, h, &m))
		return;
	from->capacity = m.capacity ? m.capacity : 1;
	core_log(c, "member %u joins", from->id);
	election_rise(c, h->term);
	membership_enlist(c, from, h->incarnation);
	send_ok(c, from, m.stamp);
	keepalive_send(c);
}

void membership_adopt(struct cluster *c, struct member *from, uint64_t term,
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
	    !membership_listed(m.members, m.members_count, c->cfg.self, c->incarnation) ||
	    !membership_listed(m.members, m.members_count, from->id, h->incarnation) ||
	    m.echo > c->now.ns || c->now.ns - m.echo >= c->cfg.detection)
		return;
	/* Another cluster's; and the store is hashed with the key. */
	if (memcmp(c->fold_key, m.fold_key, sizeof(c->fold_key))) {
		c->remembers = false;
		merge_forget(c);
		store_clear(c);
	}
	memcpy(c->fold_key, m.fold_key, sizeof(c->fold_key));
	c->founded = true;
	numbers_learn(c, m.activation);
	membership_adopt(c, from, h->term, "ok to join");
	c->list_seq = m.seq;
	c->table_retry = c->now;
	membership_list(c, from, m.members, m.members_count);
	keepalive_send(c);
}

/*
 * A cluster lives, and does not let us in, or not yet: no offer then. However long it wants
 * us to wait, another may be its master in a second.
 */
static void heed_bar(struct cluster *c, struct member *from, const struct wire_nak *m)
{
	uint64_t wait = (uint64_t)m->wait * MONO_MS;
	bool news = c->barred.reason != m->reason;

	from->nak_stamp = m->stamp;

	if (c->role == CLUSTER_OFFERING)
		core_set_role(c, CLUSTER_JOINING, "nak");
	c->offer_end = MONO_NEVER;
	if (wait)
		c->join_at = mono_add(c->now, wait < ASK_AGAIN ? wait : ASK_AGAIN);
	c->offer_at = mono_add(mono_max(c->now, wait ? c->join_at : c->now),
			       START_WAIT + core_jitter(c, JOIN_RETRY));
	if (m->reason == WIRE_REASON_ECHO)
		return;
	c->barred.reason = m->reason;
	c->barred.at = c->now;
	core_copy_text(c->barred.why, sizeof(c->barred.why), m->why, m->why_len);
	if (news) {
		core_log(c, "not let in: %s", c->barred.why);
		c->upcall_role = c->upcall_table = true;
	}
	if (m->reason == WIRE_REASON_CONFIG)
		shared_fetch(c, from, m->version);
}

static void say_goodbye(struct cluster *c, uint8_t reason)
{
	struct wire_exit_request m = { .reason = reason };

	EACH_PRESENT(c, p)
		for (unsigned i = 0; i < 3; i++)
			DATAGRAM(c, p, exit_request, &m);
}

/* The others do not wait for silence: they hear of it before anybody can ask to join. */
void join_resign(struct cluster *c, const char *why)
{
	table_drop_all(c);
	say_goodbye(c, WIRE_REASON_RESIGNS);
	membership_rejoin(c, why);
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
		heed_bar(c, from, &m);
		return;
	}
	if ((m.reason != WIRE_REASON_NOT_MEMBER && m.reason != WIRE_REASON_MERGED) ||
	    h->term < c->term)
		return;
	if (from->id == c->master)
		membership_rejoin(c, "not a member any more");
	else if (!c->master) {
		c->rival = c->late ? c->now : c->rival;
		serving_challenge(c, from);
	} else if (c->late && c->role == CLUSTER_MASTER && m.reason != WIRE_REASON_MERGED)
		/*
		 * Who has called it dead has begun with units of ours. Those who follow us still
		 * would not let that member become master: so nobody is, and all units that were
		 * ours go to their successors.
		 */
		join_resign(c, "called dead while late");
	else if (c->late) {
		c->rival = c->now;
		serving_challenge(c, from);
	}
}

/* The master's order. Nothing of ours is served when the others hear that we obey. */
static void told_to_go(struct cluster *c, struct member *from,
		       const struct wire_header *h, const struct wire_exit_request *m)
{
	uint64_t delay = EXPELLED_DELAY;

	if (from->id != c->master || h->term < c->term) {
		count(c, STAT_not_from_master);
		return;
	}
	if (m->target != c->incarnation)
		return;
	count(c, STAT_told_to_go);
	if (c->expelled && mono_since(c->now, c->expelled_at) >= EXPELLED_FORGIVEN)
		c->expelled = 0;
	for (unsigned i = 0; i < c->expelled && delay < EXPELLED_DELAY_MAX; i++)
		delay *= 2;
	c->expelled++;
	c->expelled_at = c->now;
	table_drop_all(c);
	say_goodbye(c, WIRE_REASON_RESIGNS);
	membership_rejoin(c, m->reason == WIRE_REASON_REVOKED ? "revoked" : "expelled");
	c->not_before =
	    m->reason == WIRE_REASON_REVOKED
		? MONO_NEVER
		: mono_add(c->now,
			   delay < EXPELLED_DELAY_MAX ? delay : EXPELLED_DELAY_MAX);
	c->barred.reason = m->reason;
	c->barred.at = c->now;
	core_copy_text(c->barred.why, sizeof(c->barred.why), m->why, m->why_len);
}

void recv_exit_request(struct cluster *c, struct member *from,
		       const struct wire_header *h, struct unpack *u)
{
	struct wire_exit_request m;

	if (wire_decode_exit_request(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.reason == WIRE_REASON_EXPELLED || m.reason == WIRE_REASON_REVOKED) {
		told_to_go(c, from, h, &m);
		return;
	}
	/* Who resigns comes back, in the same run. */
	if (m.reason != WIRE_REASON_RESIGNS)
		from->dead_run = from->incarnation >> 16;
	membership_died(c, from,
			m.reason == WIRE_REASON_RESIGNS ? "it resigned" : "it left");
}

void join_ask(struct cluster *c)
{
	struct wire_join_request m = { .capacity = c->cfg.capacity,
				       .activation = numbers_own(c),
				       .stamp = c->now.ns };

	shared_describe(c, &m);
	m.roster_count = admission_list(c, m.roster);
	EACH_MEMBER(c, p)
		if (p != c->self) {
			m.echo = p->nak_stamp;
			DATAGRAM(c, p, join_request, &m);
		}
	c->join_at = mono_add(c->now, JOIN_RETRY + core_jitter(c, JOIN_RETRY / 5));
}

void join_finish_leave(struct cluster *c)
{
	bool alone = core_alone(c);

	EACH_UNIT(u)
		if (!alone && mono_before(c->now, c->leave_by) &&
		    epoch_owner(c->units[u].e.epoch) == c->cfg.self)
			return;
	say_goodbye(c, WIRE_REASON_LEAVING);
	table_drop_all(c);
	core_set_role(c, CLUSTER_LEFT, "leave");
}

void cluster_leave(struct cluster *c, struct mono now)
{
	if (c->role == CLUSTER_LEFT || c->leaving)
		return;
	core_enter(c, now);
	c->leaving = true;
	c->leave_by = mono_add(c->now, LEAVE_MAX);
	membership_changed(c);
	if (membership_active(c))
		keepalive_send(c);
	else
		core_set_role(c, CLUSTER_LEFT, "leave");
	core_leave(c);
}
