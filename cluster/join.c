/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a member comes into a cluster, and how it goes. */
#include <string.h>

#include "cluster/internal.h"

#define LEAVE_MAX (5 * MONO_SEC)

void join_nak(struct cluster *c, struct member *to, uint64_t target, uint8_t reason)
{
	struct wire_nak m = { .target = target, .reason = reason };

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
			join_nak(c, from, h->incarnation, WIRE_REASON_IN_PROGRESS);
		return;
	}
	if (c->leaving) {
		join_nak(c, from, h->incarnation, WIRE_REASON_LEAVING);
		return;
	}
	if (from->present && from->incarnation != h->incarnation)
		membership_died(c, from, "new incarnation");
	from->capacity = m.capacity ? m.capacity : 1;
	if (!from->present) {
		core_log(c, "member %u joins", from->id);
		membership_enlist(c, from, h->incarnation);
		send_ok(c, from, m.stamp);
		keepalive_send(c);
	} else {
		send_ok(c, from, m.stamp);
	}
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
		store_clear(c);
	}
	memcpy(c->fold_key, m.fold_key, sizeof(c->fold_key));
	c->founded = true;
	/* Never below what the cluster has seen of this id. */
	if (m.activation > c->activation && m.activation <= CLUSTER_ACTIVATION_MAX)
		c->activation = m.activation;
	membership_adopt(c, from, h->term, "ok to join");
	c->list_seq = m.seq;
	c->table_retry = c->now;
	membership_list(c, from, m.members, m.members_count);
	keepalive_send(c);
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
		c->offer_at = mono_add(c->now, START_WAIT + core_jitter(c, JOIN_RETRY));
		return;
	}
	if ((m.reason != WIRE_REASON_NOT_MEMBER && m.reason != WIRE_REASON_MERGED) ||
	    h->term < c->term)
		return;
	if (from->id == c->master)
		membership_rejoin(c, "not a member any more");
	else if (!c->master)
		serving_challenge(c, from);
	else if (c->late) {
		c->rival = c->now;
		serving_challenge(c, from);
	}
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

void join_ask(struct cluster *c)
{
	struct wire_join_request m = { .capacity = c->cfg.capacity,
				       .activation = c->activation,
				       .stamp = c->now.ns };

	EACH_MEMBER(c, p)
		if (p != c->self && p->linked)
			DATAGRAM(c, p, join_request, &m);
	c->join_at = mono_add(c->now, JOIN_RETRY + core_jitter(c, JOIN_RETRY / 5));
}

void join_finish_leave(struct cluster *c)
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
