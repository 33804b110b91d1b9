/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's frame: construction, the bracket around each entry, and the one table
 * that says who may send what, how, and in which state.
 *
 *                 OK TO JOIN
 *     +-------> JOINING ----------------------> MEMBER <----------------+
 *     |            |  ^                         |    |                  |
 *     |  no answer |  | objection    master dead|    | expelled, merged |
 *     |            v  |                         v    |                  |
 *     |          OFFERING <---------------------+    |       withdrawn, |
 *     |            |  |                              |     other master |
 *     |            |  +------------------------------|------------------+
 *     |  100 ms or |                                 |
 *     |  accepted  v                                 |
 *     |          MASTER ---- other master wins --+   |
 *     +------------------------------------------+---+
 *   Any state -> LEFT, when cluster_leave() has finished.
 *
 * Failure model: members stop, and come back as new incarnations; they may be stopped for
 * any time and go on without noticing (SIGSTOP, a starved virtual machine); datagrams are
 * lost, doubled and reordered; streams break; the network may be cut in two. Members do
 * not lie: senders are authenticated, and what they say is checked for form only.
 *
 * What fences what: the *term* fences the master's words (lists, grants, moves), the
 * *epoch* fences an owner's words (records, counters, announcements), the *incarnation*
 * fences all words of an earlier run. So the stream of records goes on while a new master
 * is being elected.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/internal.h"

#define IN(role) (1u << CLUSTER_##role)
#define IN_CLUSTER (IN(OFFERING) | IN(MEMBER) | IN(MASTER))
#define IN_ANY (IN(JOINING) | IN_CLUSTER)

static const struct {
	const char *name;
	unsigned next;
} roles[] = {
	[CLUSTER_JOINING] = { "joining",
			      IN(JOINING) | IN(OFFERING) | IN(MEMBER) | IN(LEFT) },
	[CLUSTER_OFFERING] = { "offering", IN_ANY | IN(LEFT) },
	[CLUSTER_MEMBER] = { "member",
			     IN(JOINING) | IN(OFFERING) | IN(MEMBER) | IN(LEFT) },
	[CLUSTER_MASTER] = { "master", IN(JOINING) | IN(LEFT) },
	[CLUSTER_LEFT] = { "left", 0 },
};

const char *cluster_role_name(enum cluster_role role)
{
	return (unsigned)role <= CLUSTER_LEFT ? roles[role].name : "unknown";
}

void core_set_role(struct cluster *c, enum cluster_role role, const char *event)
{
	assert(roles[c->role].next & 1u << role);
	core_log(c, "%s: %s -> %s, term %llu", event, roles[c->role].name,
		 roles[role].name, (unsigned long long)(c->term >> 16));
	c->role = role;
	/* It heeds no stream now, and so would miss a part of it. */
	if (role == CLUSTER_JOINING)
		EACH_MEMBER(c, m)
			intake_deafen(m);
	if (role == CLUSTER_MEMBER || role == CLUSTER_MASTER)
		memset(&c->barred, 0, sizeof(c->barred));
	c->upcall_role = true;
}

void core_log(struct cluster *c, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	if (!c->io.log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->io.log(c->io.ctx, line);
}

void core_copy_text(char *out, size_t size, const uint8_t *text, size_t len)
{
	size_t n = len < size - 1 ? len : size - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = text[i] >= ' ' && text[i] <= '~' ? (char)text[i] : '?';
	out[n] = 0;
}

uint64_t core_random(struct cluster *c)
{
	uint64_t v;

	c->io.random(c->io.ctx, (uint8_t *)&v, sizeof(v));
	return v;
}

uint64_t core_jitter(struct cluster *c, uint64_t span)
{
	return core_random(c) % span;
}

void core_datagram(struct cluster *c, struct member *to, size_t len)
{
	assert(len && len <= WIRE_RELAYED_MAX);
	c->io.datagram(c->io.ctx, to->id, c->out, len);
	if (relay_wanted(to))
		relay_send(c, to, c->out, len);
}

/* A stream that takes nothing is broken until cluster_link() says that it is up again. */
int core_stream(struct cluster *c, struct member *to, size_t len)
{
	int rc;

	assert(len);
	if (!to->linked)
		return -ENOTCONN;
	rc = c->io.stream(c->io.ctx, to->id, c->out, len);
	to->bytes += len;
	if (rc) {
		count(c, STAT_stream_failed);
		to->linked = false;
		to->syncing = false;
		replica_reset(c, to);
		c->review_all = true;
	}
	return rc;
}

void core_enter(struct cluster *c, struct mono now)
{
	c->now = mono_before(now, c->now) ? c->now : now;
	if (c->role == CLUSTER_LEFT || c->wanted.ns == UINT64_MAX)
		return;
	health_note(c, mono_since(c->now, c->wanted));
	/* Stopped or starved: what others think of us meanwhile is unknown. */
	if (mono_since(c->now, c->wanted) >= c->cfg.detection / 2)
		serving_late(c);
}

void core_leave(struct cluster *c)
{
	membership_stand_in(c);
	merge_review(c);
	handover_review(c);
	table_announce(c);
	table_yields(c);
	replica_pump(c);
	slow_review(c);
	if (c->upcall_table) {
		c->upcall_table = false;
		c->io.table(c->io.ctx);
	}
	if (c->upcall_role) {
		c->upcall_role = false;
		c->io.role(c->io.ctx);
	}
	if (c->upcall_committed) {
		c->upcall_committed = false;
		c->io.committed(c->io.ctx);
	}
	c->wanted = MONO_NEVER;
	if (c->role == CLUSTER_LEFT)
		return;
	c->wanted = mono_min(c->wanted, membership_timeout(c));
	c->wanted = mono_min(c->wanted, relay_timeout(c));
	c->wanted = mono_min(c->wanted, election_timeout(c));
	c->wanted = mono_min(c->wanted, takeover_timeout(c));
	c->wanted = mono_min(c->wanted, handover_timeout(c));
	c->wanted = mono_min(c->wanted, table_timeout(c));
	c->wanted = mono_min(c->wanted, assign_timeout(c));
	c->wanted = mono_min(c->wanted, intake_timeout(c));
	c->wanted = mono_min(c->wanted, counters_timeout(c));
	c->wanted = mono_min(c->wanted, merge_timeout(c));
	c->wanted = mono_min(c->wanted, ended_timeout(c));
	c->wanted = mono_min(c->wanted, c->watch_at);
	if (mono_before(c->wanted, c->now))
		c->wanted = c->now;
}

void cluster_tick(struct cluster *c, struct mono now)
{
	if (c->role == CLUSTER_LEFT)
		return;
	core_enter(c, now);
	membership_tick(c);
	relay_tick(c);
	election_tick(c);
	takeover_tick(c);
	handover_tick(c);
	table_tick(c);
	assign_tick(c);
	intake_tick(c);
	counters_tick(c);
	merge_tick(c);
	ended_tick(c);
	slow_tick(c);
	core_leave(c);
}

struct mono cluster_timeout(const struct cluster *c)
{
	return c->wanted;
}

/* Who may say it. */
enum speaker {
	FROM_ANY,
	FROM_MEMBER,	/* in the member list, with this incarnation */
	FROM_MASTER,	/* the master of this term, or of a later one */
	FROM_STREAMING, /* a member whose snapshot we asked for has begun */
};

#define BY_DATAGRAM 1
#define BY_STREAM 2
#define BY_ANY 3
#define BY_RELAY 4 /* a datagram that a third member has passed on */

static const struct rule {
	uint8_t by;
	enum speaker from;
	unsigned in;
	void (*recv)(struct cluster *, struct member *, const struct wire_header *,
		     struct unpack *);
} rules[WIRE_TYPES] = {
#define RULE(name, by, from, in) [wire_type_##name] = { by, from, in, recv_##name }
	RULE(join_request, BY_DATAGRAM, FROM_ANY, IN_ANY),
	RULE(ok_to_join, BY_DATAGRAM, FROM_ANY, IN(JOINING) | IN(OFFERING)),
	RULE(nak, BY_DATAGRAM, FROM_ANY, IN_ANY),
	RULE(master_offer, BY_DATAGRAM, FROM_ANY, IN_ANY),
	RULE(offer_accept, BY_DATAGRAM, FROM_ANY, IN(OFFERING)),
	RULE(other_master_exists, BY_DATAGRAM, FROM_ANY, IN_ANY),
	RULE(master_keepalive, BY_DATAGRAM, FROM_ANY, IN_ANY),
	RULE(member_keepalive, BY_DATAGRAM, FROM_ANY, IN_CLUSTER),
	RULE(exit_request, BY_DATAGRAM, FROM_MEMBER, IN_CLUSTER),
	RULE(death, BY_DATAGRAM, FROM_ANY, IN_CLUSTER),
	RULE(entries, BY_ANY, FROM_MEMBER, IN_CLUSTER),
	RULE(yield, BY_DATAGRAM, FROM_MEMBER, IN_CLUSTER),
	RULE(grant, BY_STREAM, FROM_MASTER, IN(MEMBER)),
	RULE(move, BY_STREAM, FROM_MASTER, IN(MEMBER)),
	RULE(release, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(report, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(sync, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(snapshot_begin, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(snapshot_end, BY_STREAM, FROM_STREAMING, IN_CLUSTER),
	RULE(unit_begin, BY_STREAM, FROM_STREAMING, IN_CLUSTER),
	RULE(unit_end, BY_STREAM, FROM_STREAMING, IN_CLUSTER),
	RULE(put, BY_STREAM, FROM_STREAMING, IN_CLUSTER),
	RULE(remove, BY_STREAM, FROM_STREAMING, IN_CLUSTER),
	RULE(ack, BY_DATAGRAM, FROM_MEMBER, IN_CLUSTER),
	RULE(counters, BY_DATAGRAM, FROM_MEMBER, IN_CLUSTER),
	RULE(counters_ack, BY_DATAGRAM, FROM_MEMBER, IN_CLUSTER),
	RULE(challenge, BY_DATAGRAM, FROM_ANY, IN(MASTER)),
	RULE(command, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(command_result, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(load, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(config_request, BY_STREAM, FROM_ANY, IN(MASTER)),
	RULE(config, BY_STREAM, FROM_ANY, IN(JOINING)),
	RULE(merge_put, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(merge_end, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(merge_ack, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(slow, BY_DATAGRAM, FROM_MEMBER, IN(MASTER)),
	RULE(errand, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(notice, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
	RULE(relay, BY_DATAGRAM, FROM_ANY, IN_ANY),
	RULE(numbers, BY_STREAM, FROM_MEMBER, IN_CLUSTER),
#undef RULE
};

static bool refuse(struct cluster *c, enum statistic s)
{
	count(c, s);
	return false;
}

static bool may_speak(struct cluster *c, const struct rule *r, struct member *from,
		      const struct wire_header *h)
{
	bool listed = from->present && from->incarnation == h->incarnation;

	if (r->from == FROM_ANY)
		return true;
	if (!listed)
		return refuse(c, STAT_not_from_member);
	if (r->from == FROM_STREAMING && !from->receiving)
		return refuse(c, STAT_not_streaming);
	if (r->from == FROM_MASTER) {
		if (h->term < c->term) {
			struct wire_other_master_exists m = { .master = c->master };

			DATAGRAM(c, from, other_master_exists, &m);
			return refuse(c, STAT_lower_term);
		}
		if (from->id != c->master)
			return refuse(c, STAT_not_from_master);
	}
	return true;
}

/* Earlier incarnations of a run are over, whatever they said. A death note names a run. */
static bool outdated(struct member *from, const struct wire_header *h)
{
	if (h->type == wire_type_death)
		return false;
	if (h->incarnation >> 16 == from->newest >> 16 && h->incarnation < from->newest)
		return true;
	from->newest = h->incarnation;
	return false;
}

/* The sender is authentic: the term that it speaks for as master must be its own. */
static bool own_term(const struct member *from, const struct wire_header *h)
{
	switch (h->type) {
	case wire_type_ok_to_join:
	case wire_type_master_offer:
	case wire_type_master_keepalive:
	case wire_type_grant:
	case wire_type_move:
		return epoch_owner(h->term) == from->id;
	default:
		return true;
	}
}

/* What was passed on once is not passed on again. */
static bool comes_by(const struct rule *r, unsigned by)
{
	if (by == BY_RELAY)
		return r->by & BY_DATAGRAM && r->recv != recv_relay;
	return r->by & by;
}

static void dispatch(struct cluster *c, struct member *from, const uint8_t *msg,
		     size_t len, unsigned by)
{
	struct unpack u = unpack_from(msg, len);
	struct wire_header h;
	const struct rule *r;
	int rc;

	if (!from) {
		count(c, STAT_unknown_sender);
		return;
	}
	if (from == c->self) {
		if (!c->statistics[STAT_own_id])
			core_log(c, "somebody else speaks as member %u", from->id);
		count(c, STAT_own_id);
		return;
	}
	rc = wire_decode_header(&u, &h);
	if (rc) {
		count(c, rc == -EPROTO ? STAT_bad_version : STAT_bad_message);
		return;
	}
	if (h.type >= WIRE_TYPES || !rules[h.type].recv) {
		count(c, STAT_unknown_type);
		return;
	}
	r = &rules[h.type];
	if (!comes_by(r, by)) {
		count(c, STAT_wrong_transport);
		return;
	}
	if (!own_term(from, &h)) {
		count(c, STAT_wrong_id);
		return;
	}
	if (!(r->in & 1u << c->role)) {
		count(c, STAT_wrong_state);
		return;
	}
	if (outdated(from, &h)) {
		count(c, STAT_not_from_member);
		return;
	}
	if (by == BY_DATAGRAM)
		relay_heard(c, from);
	if (h.term > c->top_term)
		c->top_term = h.term;
	if (may_speak(c, r, from, &h))
		r->recv(c, from, &h, &u);
}

/* Whatever refuses a message moves a counter; here it is seen whose message that was. */
static void receive(struct cluster *c, member_id id, const uint8_t *msg, size_t len,
		    unsigned by)
{
	struct member *from = core_member(c, id);

	count(c, STAT_received);
	c->refusal = STATISTICS_COUNT;
	dispatch(c, from, msg, len, by);
	if (!from || c->refusal == STATISTICS_COUNT)
		return;
	from->refused++;
	from->refused_why = c->refusal;
	from->refused_at = c->now;
	if (c->io.refused)
		c->io.refused(c->io.ctx, id, statistic_name(c->refusal),
			      statistic_is_fault(c->refusal));
}

void core_relayed(struct cluster *c, struct member *origin, const uint8_t *msg,
		  size_t len)
{
	receive(c, origin->id, msg, len, BY_RELAY);
	c->refusal = STATISTICS_COUNT; /* it is not the fault of who has passed it on */
}

/* Nothing that is said to a member that has left is heeded: no rule allows it. */
static void receive_at(struct cluster *c, member_id from, const uint8_t *msg, size_t len,
		       unsigned by, struct mono now)
{
	bool left = c->role == CLUSTER_LEFT;

	core_enter(c, now);
	receive(c, from, msg, len, by);
	if (!left)
		core_leave(c);
}

void cluster_recv_datagram(struct cluster *c, member_id from, const uint8_t *msg,
			   size_t len, struct mono now)
{
	receive_at(c, from, msg, len, BY_DATAGRAM, now);
}

void cluster_recv_stream(struct cluster *c, member_id from, const uint8_t *msg,
			 size_t len, struct mono now)
{
	receive_at(c, from, msg, len, BY_STREAM, now);
}

void cluster_link(struct cluster *c, member_id peer, bool up, struct mono now)
{
	struct member *m = core_member(c, peer);

	if (!m || m == c->self || c->role == CLUSTER_LEFT)
		return;
	core_enter(c, now);
	core_log(c, "link to %u %s", peer, up ? "up" : "down");
	m->linked = up;
	replica_reset(c, m);
	if (up && m->present)
		intake_want(c, m);
	if (up && c->role == CLUSTER_JOINING)
		c->join_at = c->now;
	c->review_all = true;
	core_leave(c);
}

static bool config_valid(const struct cluster_config *cfg)
{
	bool self = false;

	if (!cfg->npeers || cfg->npeers > CLUSTER_MEMBERS_MAX || !cfg->capacity ||
	    cfg->detection < 50 * MONO_MS || cfg->detection > 5 * MONO_SEC ||
	    cfg->activation > CLUSTER_ACTIVATION_MAX)
		return false;
	for (unsigned i = 0; i < cfg->npeers; i++) {
		if (!cfg->peers[i].id || cfg->peers[i].id > CLUSTER_ID_MAX)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (cfg->peers[i].id == cfg->peers[j].id)
				return false;
		self = self || cfg->peers[i].id == cfg->self;
	}
	return self;
}

static void init_members(struct cluster *c)
{
	c->nmembers = c->cfg.npeers;
	for (unsigned i = 0; i < c->nmembers; i++) {
		struct member *m = &c->members[i];

		m->id = c->cfg.peers[i].id;
		c->places[m->id] = (uint8_t)(i + 1);
		memcpy(m->name, c->cfg.peers[i].name, sizeof(m->name) - 1);
		TAILQ_INIT(&m->dirty);
		m->sync_retry = m->ack_repeat = m->flush_at = m->batch_retry = MONO_NEVER;
		/* About one keepalive in sixty-four is lost, until we know better. */
		m->loss = 0.0156;
		m->per_interval = 4;
		replica_reset(c, m);
		if (m->id == c->cfg.self)
			c->self = m;
	}
}

struct cluster *cluster_new(const struct cluster_config *cfg, const struct cluster_io *io,
			    struct mono now)
{
	struct cluster *c;

	if (!config_valid(cfg))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->cfg = *cfg;
	c->io = *io;
	c->now = now;
	c->activation = cfg->activation;
	c->drained = cfg->drained;
	memcpy(c->why, "starting", sizeof("starting"));
	EACH_UNIT(u) {
		LIST_INIT(&c->units[u].sessions);
		c->units[u].retry = c->units[u].orphan = MONO_NEVER;
	}
	TAILQ_INIT(&c->ended);
	c->offer_retry = c->offer_until = MONO_NEVER;
	c->lease = c->deferred_at = c->handover_at = c->activate_at = MONO_NEVER;
	c->prove_at = c->watch_at = c->number_at = MONO_NEVER;
	c->table_retry = c->leave_by = c->offer_at = c->offer_end = MONO_NEVER;
	c->lease.ns = 0;
	if (store_init(c)) {
		free(c);
		return NULL;
	}
	init_members(c);
	c->incarnation = core_random(c) & ~UINT64_C(0xffff);
	c->per_interval = 4;
	c->wanted = MONO_NEVER;
	membership_rejoin(c, "start");
	core_leave(c);
	return c;
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	merge_free(c);
	ended_free(c);
	store_free(c);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

size_t cluster_death_note(const struct cluster *c, uint8_t *buf, size_t size)
{
	struct wire_death note = { .id = c->cfg.self, .run = c->incarnation >> 16 };

	return wire_encode_death(buf, size, 0, c->incarnation & ~UINT64_C(0xffff), &note);
}
