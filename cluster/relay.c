/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams by way of a third member.
 *
 * The line between two members may be cut, in one direction or both, while both talk to
 * all others. Nobody is dead then, and the two must go on to hear each other: the master
 * would call a member dead that lives, and an owner could not tell its successor that it
 * is replaced. So each keepalive says whether its sender hears the receiver by itself, and
 * where the answer is no, all datagrams go the direct way and in addition by two members
 * that the sender reaches, chosen anew each time. It is one step more at most: what came by
 * a third member is not passed on again.
 *
 * A member tells whose message it passes on, and is believed: members do not lie. Who is in
 * a cluster believes nobody else: one that was revoked could speak for all. Streams are not
 * relayed. A member without a stream is not chosen as successor while there is another
 * one, and gets no unit; what it owns it keeps.
 */
#include <string.h>

#include "cluster/internal.h"

#define RELAYS 2

/* A keepalive is due at least twice in an interval. */
static struct mono silent_at(const struct cluster *c, const struct member *m)
{
	return mono_add(m->direct_heard, c->cfg.detection / 8 * 5);
}

void relay_begin(struct cluster *c, struct member *m)
{
	m->direct = m->hears_us = true;
	m->direct_heard = c->now;
}

void relay_heard(struct cluster *c, struct member *m)
{
	m->direct = true;
	m->direct_heard = c->now;
}

void relay_heed(struct cluster *c, struct member *m, bool hears_us)
{
	bool news = m->hears_us && !hears_us;

	m->hears_us = hears_us;
	/* It has missed what we said of late. */
	if (news)
		keepalive_answer(c, m);
}

/* Whose stream is up, or who is heard and hears. */
static bool reached(const struct member *m)
{
	return m->present ? m->direct && m->hears_us : m->linked;
}

bool relay_wanted(const struct member *to)
{
	return !reached(to);
}

static unsigned choose(struct cluster *c, const struct member *to, struct member **out)
{
	unsigned n = 0, seen = 0;

	EACH_MEMBER(c, m) {
		if (m == c->self || m == to || !m->linked || !reached(m))
			continue;
		/* Each of those that will do is as likely as the others. */
		seen++;
		if (n < RELAYS) {
			out[n++] = m;
		} else {
			uint64_t at = core_random(c) % seen;

			if (at < RELAYS)
				out[at] = m;
		}
	}
	return n;
}

void relay_send(struct cluster *c, struct member *to, const uint8_t *msg, size_t len)
{
	struct member *by[RELAYS];
	unsigned n = choose(c, to, by);
	uint8_t buf[CLUSTER_DATAGRAM_MAX];
	struct wire_relay m = {
		.origin = c->cfg.self, .target = to->id, .inner = msg, .inner_len = len
	};

	len = wire_encode_relay(buf, sizeof(buf), c->term, c->incarnation, &m);
	for (unsigned i = 0; len && i < n; i++) {
		count(c, STAT_relays_asked);
		c->io.datagram(c->io.ctx, by[i]->id, buf, len);
	}
}

static bool believed(const struct cluster *c, const struct member *from,
		     const struct wire_header *h)
{
	return !membership_active(c) ||
	       (from->present && from->incarnation == h->incarnation);
}

static void pass_on(struct cluster *c, const struct member *to,
		    const struct wire_relay *m)
{
	uint8_t buf[CLUSTER_DATAGRAM_MAX];
	size_t len = wire_encode_relay(buf, sizeof(buf), c->term, c->incarnation, m);

	count(c, STAT_relays_passed);
	c->io.datagram(c->io.ctx, to->id, buf, len);
}

void recv_relay(struct cluster *c, struct member *from, const struct wire_header *h,
		struct unpack *u)
{
	struct wire_relay m;
	struct member *origin, *target;

	if (wire_decode_relay(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	origin = core_member(c, m.origin);
	target = core_member(c, m.target);
	if (!origin || !target) {
		/* The lists of valid members may differ while they are changed. */
		count(c, STAT_unknown_sender);
	} else if (origin == target || origin == c->self) {
		count(c, STAT_wrong_id);
	} else if (target == c->self && origin != from && !believed(c, from, h)) {
		count(c, STAT_not_from_member);
	} else if (target == c->self && origin != from) {
		count(c, STAT_relays_received);
		core_relayed(c, origin, m.inner, m.inner_len);
	} else if (target != c->self && origin == from) {
		pass_on(c, target, &m);
	} else {
		count(c, STAT_wrong_id);
	}
}

static bool watched(const struct cluster *c)
{
	return membership_active(c) && !c->late;
}

void relay_tick(struct cluster *c)
{
	if (!watched(c))
		return;
	EACH_PRESENT(c, m)
		if (m->direct && due(c, silent_at(c, m))) {
			m->direct = false;
			/* It is told that we do not hear it. */
			keepalive_answer(c, m);
		}
}

struct mono relay_timeout(const struct cluster *c)
{
	struct mono t = MONO_NEVER;

	if (!watched(c))
		return t;
	EACH_PRESENT((struct cluster *)c, m)
		if (m->direct)
			t = mono_min(t, silent_at(c, m));
	return t;
}
