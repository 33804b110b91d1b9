/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The outside world: clients with sessions, and what they remember.
 *
 * Each model session has a version (its essential state), an outbound number line of which
 * its owner may use what is below the committed lease, and an inbound line of which its
 * owner may deliver what the committed edge covers. The model remembers what was committed,
 * sent and delivered, whoever did it; so a new owner that knows less is found out. It also
 * looks into the successor's store when an owner takes something for committed.
 *
 * All this is remembered for each side of a cut: a new owner is held to what its own side
 * has done. Nonces are held to all that was ever done with them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/world.h"

#define SESSIONS 48
#define LEASE 64
#define SKIP (1u << 24) /* what a tunnel leaves out when its counters are not proven */
#define MASS_STEP 256
#define RECORD_TIME MONO_SEC /* that a record may be under way */

struct tunnel {
	bool ready;
	bool unproven;		  /* it is to skip what may have been used */
	uint64_t next;		  /* outbound */
	uint64_t edge, delivered; /* inbound: accepted and delivered up to */
	uint64_t put_position;
	uint64_t put_version;
	uint64_t nonce; /* the last one: activation, count; also of earlier runs */
};

/* What one side of a cut has done with a session. */
struct past {
	uint64_t out; /* all outbound numbers that were used are lower */
	uint64_t in;  /* delivered up to */
	uint64_t committed;
};

struct thing {
	bool exists;
	bool kept; /* committed in the main part: never to be lost */
	struct session_key key;
	unit_id unit;
	uint64_t began;
	uint64_t version; /* essential state: last put */
	uint64_t rekeyed; /* the version with new keys, while others may have the old */
	bool doubtful;	  /* touched by more than one failure at a time */
	uint64_t sent;	  /* what the peer has sent inbound */
	struct past past[NODES_MAX + 1]; /* by node; the last is the main side's */
	struct tunnel at[NODES_MAX];
};

struct massed {
	uint64_t key;
	unit_id unit;
};

struct model {
	struct thing things[SESSIONS];
	uint64_t keys;
	struct massed *mass;
	unsigned nmass;
};

struct model *model_new(void)
{
	struct model *m = memory_get(sizeof(*m));

	memset(m, 0, sizeof(*m));
	return m;
}

void model_free(struct model *m)
{
	memory_put(m->mass);
	memory_put(m);
}

static bool counts(const struct world *w, const struct node *n)
{
	return !w->several && !n->tainted && n->main;
}

static struct session *held(const struct node *n, const struct thing *t)
{
	return cluster_find(n->c, t->unit, &t->key);
}

static uint64_t version_of(const struct session *s)
{
	size_t len;
	const uint8_t *p = session_essential(s, &len);
	uint64_t v = 0;

	if (len >= sizeof(v))
		memcpy(&v, p, sizeof(v));
	return v;
}

/* Histories. */

static struct past *past_of(struct thing *t, const struct node *n)
{
	return &t->past[n->index];
}

static void share(struct world *w, const struct node *n, struct thing *t, struct past p)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].side == n->side)
			t->past[i] = p;
	if (!n->side)
		t->past[NODES_MAX] = p;
}

void model_sided(struct world *w, struct node *n)
{
	unsigned from = NODES_MAX;

	for (unsigned i = 0; n->side && i < w->nnodes; i++)
		if (i != n->index && w->nodes[i].side == n->side)
			from = i;
	for (unsigned i = 0; i < SESSIONS; i++)
		w->model->things[i].past[n->index] = w->model->things[i].past[from];
}

void model_well(struct world *w)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];
		struct past p = t->past[NODES_MAX];

		for (unsigned k = 0; k < w->nnodes; k++) {
			struct node *n = &w->nodes[k];
			struct session *s;

			if (!t->exists || !unit_set_has(&n->owned, t->unit))
				continue;
			s = held(n, t);
			p = *past_of(t, n);
			if (!s || version_of(s) < p.committed)
				p.committed = s ? version_of(s) : 0;
		}
		for (unsigned k = 0; k <= NODES_MAX; k++)
			t->past[k] = p;
	}
}

/* The owner says that it is committed; is it? */
static void verify(struct world *w, struct node *n, struct thing *t, uint64_t version,
		   unsigned slot, uint64_t value)
{
	struct cluster_unit_state mine, theirs;
	struct node *p = NULL;
	struct session *s;

	if (!version && !value)
		return;
	cluster_unit(n->c, t->unit, &mine);
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].id == mine.successor && w->nodes[i].c &&
		    w->nodes[i].side == n->side && !w->nodes[i].tainted)
			p = &w->nodes[i];
	if (!p || n->tainted)
		return;
	cluster_unit(p->c, t->unit, &theirs);
	s = held(p, t);
	if (theirs.epoch != mine.epoch ||
	    (s && version_of(s) >= version && session_counter(s, slot) >= value))
		return;
	/* Who has just begun anew is found out in due time. */
	if (cluster_complete(p->c))
		world_fail(w,
			   "member %u takes for committed in unit %u what %u does "
			   "not hold (version %llu of %llu, counter %llu of %llu)",
			   n->id, t->unit, p->id,
			   s ? (unsigned long long)version_of(s) : 0,
			   (unsigned long long)version,
			   s ? (unsigned long long)session_counter(s, slot) : 0,
			   (unsigned long long)value);
}

/* New keys, new numbers: whoever goes on from that version begins where it likes. */
static void renew(struct thing *t, struct past *p, uint64_t version)
{
	if (!t->rekeyed || version < t->rekeyed)
		return;
	t->rekeyed = 0;
	p->out = 0;
}

/* Taking over. */

static void begin(struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];
	uint64_t nonce = at->nonce;

	memset(at, 0, sizeof(*at));
	at->nonce = nonce;
	at->ready = true;
	at->next = session_counter(s, 0);
	at->edge = at->delivered = session_counter(s, 1);
	if (!cluster_unproven(n->c, t->unit))
		return;
	/* What may have been used is skipped; the peer is to begin anew, with new keys. */
	at->unproven = true;
	at->next += SKIP;
	t->sent += SKIP;
	at->edge = at->delivered = t->sent;
}

/* State before service: what was committed is there. */
static void gained(struct world *w, struct node *n, struct thing *t)
{
	struct session *s = held(n, t);
	struct past p = *past_of(t, n);

	if (!s) {
		if (counts(w, n) && !t->doubtful && p.committed)
			world_fail(w, "member %u takes unit %u without its session",
				   n->id, t->unit);
		p.committed = 0;
	} else if (cluster_unproven(n->c, t->unit)) {
		if (counts(w, n) && !t->doubtful && version_of(s) < p.committed)
			world_fail(w,
				   "member %u takes unit %u with version %llu of %llu, "
				   "unproven",
				   n->id, t->unit, (unsigned long long)version_of(s),
				   (unsigned long long)p.committed);
		p.committed = version_of(s);
	} else if (version_of(s) < p.committed && !n->tainted) {
		world_fail(w, "member %u takes unit %u with version %llu of %llu", n->id,
			   t->unit, (unsigned long long)version_of(s),
			   (unsigned long long)p.committed);
	}
	if (s)
		renew(t, &p, version_of(s));
	share(w, n, t, p);
	if (s)
		begin(n, t, s);
}

void model_gained(struct world *w, struct node *n, const struct unit_set *set)
{
	n->activated = true;
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];

		if (t->exists && unit_set_has(set, t->unit))
			gained(w, n, t);
	}
}

/* Another member of its side works on the unit, and holds the session. */
static bool owned_elsewhere(const struct world *w, const struct node *n,
			    const struct thing *t)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		const struct node *o = &w->nodes[i];

		if (o != n && world_alive(o) && o->side == n->side && !o->tainted &&
		    unit_set_has(&o->owned, t->unit) && held(o, t))
			return true;
	}
	return false;
}

/* The later version, which is the peer's last word wherever it was said. */
enum cluster_merge model_merge(const struct session *ours, const struct session *theirs)
{
	if (!theirs)
		return CLUSTER_OURS;
	if (ours)
		return version_of(theirs) > version_of(ours) ? CLUSTER_THEIRS
							     : CLUSTER_OURS;
	return session_silence(theirs, MONO_NEVER) < UINT64_MAX ? CLUSTER_THEIRS
								: CLUSTER_OURS;
}

/* What was committed in its part is there, but for what is under way. */
void model_complete(struct world *w, struct node *n)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];
		struct past p = *past_of(t, n);

		if (!t->exists || t->doubtful || !p.committed || !counts(w, n) ||
		    w->now - t->began < RECORD_TIME || held(n, t) ||
		    !owned_elsewhere(w, n, t))
			continue;
		world_fail(w, "member %u is complete without the session of unit %u",
			   n->id, t->unit);
	}
}

void model_lost(struct world *w, struct node *n, const struct unit_set *lost)
{
	for (unsigned i = 0; i < SESSIONS; i++)
		if (unit_set_has(lost, w->model->things[i].unit))
			w->model->things[i].at[n->index].ready = false;
}

void model_stopped(struct world *w, struct node *n)
{
	for (unsigned i = 0; i < SESSIONS; i++)
		w->model->things[i].at[n->index].ready = false;
}

void model_forgive(struct world *w)
{
	w->several = true;
	for (unsigned i = 0; i < SESSIONS; i++) {
		w->model->things[i].doubtful = true;
		w->model->things[i].kept = false;
	}
}

/* Acting. */

static void observe(struct world *w, struct node *n, struct thing *t)
{
	struct tunnel *at = &t->at[n->index];
	struct past p = *past_of(t, n);

	if (!at->put_version || !cluster_committed(n->c, t->unit, at->put_position))
		return;
	verify(w, n, t, at->put_version, 0, 0);
	renew(t, &p, at->put_version);
	if (at->put_version > p.committed) {
		p.committed = at->put_version;
		share(w, n, t, p);
		if (counts(w, n)) {
			t->doubtful = false;
			t->kept = true;
		}
	}
	at->put_version = 0;
}

static void trace(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct cluster_unit_state u;

	if (!w->verbose)
		return;
	cluster_unit(n->c, t->unit, &u);
	world_log(
	    w,
	    "  %u: unit %u acts: epoch %llx successor %u, next %llu, out %llu/%llu, "
	    "in %llu/%llu, version %llu/%llu",
	    n->id, t->unit, (unsigned long long)u.epoch, u.successor,
	    (unsigned long long)t->at[n->index].next,
	    (unsigned long long)cluster_counted(n->c, s, 0),
	    (unsigned long long)session_counter(s, 0),
	    (unsigned long long)cluster_counted(n->c, s, 1),
	    (unsigned long long)session_counter(s, 1),
	    (unsigned long long)past_of(t, n)->committed, (unsigned long long)t->version);
}

static void put(struct world *w, struct node *n, struct thing *t)
{
	uint8_t bytes[200];
	size_t len = sizeof(t->version) + world_random(w, sizeof(bytes) - 8);
	struct tunnel *at = &t->at[n->index];
	struct session *s = NULL;
	bool fresh = !held(n, t);

	t->version++;
	memset(bytes, (int)(t->version * 31), sizeof(bytes));
	memcpy(bytes, &t->version, sizeof(t->version));
	if (cluster_put(n->c, t->unit, &t->key, fresh ? bytes : NULL, fresh ? 20 : 0,
			bytes, len, &s, world_now(w, n)))
		world_fail(w, "member %u cannot put into unit %u", n->id, t->unit);
	else if (fresh || !at->ready)
		begin(n, t, s);
	if (s)
		session_heard(s, world_now(w, n));
	at->put_position = cluster_position(n->c);
	at->put_version = t->version;
	world_touch(w, n);
}

/* When the call that activated units has returned. */
void model_activate(struct world *w, struct node *n)
{
	for (unsigned i = 0; i < SESSIONS && n->activated; i++) {
		struct thing *t = &w->model->things[i];
		struct tunnel *at = &t->at[n->index];
		struct session *s;

		if (!t->exists || !at->ready || !at->unproven)
			continue;
		at->unproven = false;
		s = held(n, t);
		if (!s)
			continue;
		cluster_count(n->c, s, 0, at->next, world_now(w, n));
		cluster_count(n->c, s, 1, at->edge, world_now(w, n));
		put(w, n, t);
		t->rekeyed = t->version;
	}
	n->activated = false;
}

static void create(struct world *w, struct node *n, struct thing *t, unit_id u)
{
	memset(t, 0, sizeof(*t));
	t->exists = true;
	t->began = w->now;
	t->doubtful = w->several;
	t->unit = u;
	t->key.type = 1;
	t->key.len = 8;
	w->model->keys++;
	memcpy(t->key.bytes, &w->model->keys, 8);
	put(w, n, t);
}

/* The nonce of a packet: member id, activation, count. Never again, whatever happens. */
static void use_nonce(struct world *w, struct node *n, struct thing *t)
{
	struct tunnel *at = &t->at[n->index];
	uint64_t base = (uint64_t)cluster_activation(n->c) << 32;

	if (at->nonce >= base + UINT32_MAX)
		world_fail(w, "member %u goes back from activation %llu to %u", n->id,
			   (unsigned long long)(at->nonce >> 32),
			   cluster_activation(n->c));
	at->nonce = at->nonce < base ? base + 1 : at->nonce + 1;
}

static void send_out(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];
	struct past p = *past_of(t, n);

	for (unsigned burst = 1 + world_random(w, 8); burst--;) {
		if (at->next + LEASE / 2 >= session_counter(s, 0))
			cluster_count(n->c, s, 0, at->next + LEASE, world_now(w, n));
		if (at->next >= cluster_counted(n->c, s, 0))
			break;
		if (at->next < p.out && !n->tainted)
			world_fail(w, "member %u sends number %llu of unit %u again",
				   n->id, (unsigned long long)at->next, t->unit);
		p.out = ++at->next;
		session_told(s, world_now(w, n));
		use_nonce(w, n, t);
	}
	verify(w, n, t, 0, 0, cluster_counted(n->c, s, 0));
	share(w, n, t, p);
	world_touch(w, n);
}

static void deliver(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];
	struct past p = *past_of(t, n);
	uint64_t edge = cluster_counted(n->c, s, 1);
	uint64_t upto = at->edge < edge ? at->edge : edge;

	if (at->delivered >= upto)
		return;
	if (at->delivered < p.in && !n->tainted)
		world_fail(w, "member %u delivers number %llu of unit %u again", n->id,
			   (unsigned long long)at->delivered + 1, t->unit);
	verify(w, n, t, 0, 1, upto);
	at->delivered = p.in = upto;
	share(w, n, t, p);
}

/* The peer's packets, and now and then an old one that someone has recorded. */
static void receive(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];
	uint64_t number = ++t->sent;

	if (world_chance(w, 0.1))
		number = 1 + world_random(w, t->sent);
	if (number > at->edge) {
		deliver(w, n, t, s);
		at->edge = number;
		/* What was skipped is lost, and never delivered later. */
		if (at->delivered + 1 < number)
			at->delivered = number - 1;
		cluster_count(n->c, s, 1, number, world_now(w, n));
		session_heard(s, world_now(w, n));
		world_touch(w, n);
	}
	deliver(w, n, t, s);
}

/*
 * Everything at once on what this node serves, and nothing after it: a failure right now
 * meets state that is not committed, and the owner acting on what is.
 */
void model_burst(struct world *w, struct node *n)
{
	if (!world_alive(n) || !w->working)
		return;
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];
		struct session *s;

		if (!t->exists || !cluster_serves(n->c, t->unit, world_now(w, n)))
			continue;
		s = held(n, t);
		if (!s || !t->at[n->index].ready)
			continue;
		observe(w, n, t);
		put(w, n, t);
		observe(w, n, t);
		cluster_count(n->c, s, 0, session_counter(s, 0) + LEASE, world_now(w, n));
		for (unsigned k = 0; k < 2 * LEASE / 8; k++)
			send_out(w, n, t, s);
		for (unsigned k = 0; k < 4; k++)
			receive(w, n, t, s);
	}
}

static struct node *server_of(struct world *w, unit_id u)
{
	unsigned first = (unsigned)world_random(w, w->nnodes);

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[(first + i) % w->nnodes];

		if (world_alive(n) && unit_set_has(&n->owned, u) &&
		    cluster_serves(n->c, u, world_now(w, n)))
			return n;
	}
	return NULL;
}

static void act(struct world *w, struct node *n, struct thing *t)
{
	struct session *s = held(n, t);

	if (!s) {
		/* Lost with its only holder, or not yet committed when its owner died. */
		if (past_of(t, n)->committed && !t->doubtful && counts(w, n))
			world_fail(w, "member %u serves unit %u without its session",
				   n->id, t->unit);
		if (!t->kept)
			t->exists = false;
		return;
	}
	if (!t->at[n->index].ready)
		begin(n, t, s);
	observe(w, n, t);
	trace(w, n, t, s);
	switch (world_random(w, 10)) {
	case 0:
		put(w, n, t);
		break;
	case 1:
		if (world_chance(w, 0.1)) {
			cluster_remove(n->c, s, world_now(w, n));
			t->exists = false;
			break;
		}
		/* fall through */
	case 2:
	case 3:
	case 4:
	case 5:
		send_out(w, n, t, s);
		break;
	default:
		receive(w, n, t, s);
	}
	if (world_chance(w, 0.3))
		cluster_flush(n->c, world_now(w, n));
	world_touch(w, n);
}

void model_work(struct world *w)
{
	struct thing *t = &w->model->things[world_random(w, SESSIONS)];
	struct node *n;
	unit_id u;

	if (!w->working)
		return;
	if (!t->exists) {
		u = (unit_id)world_random(w, CLUSTER_UNITS);
		n = server_of(w, u);
		if (n && world_chance(w, 0.2))
			create(w, n, t, u);
		return;
	}
	n = server_of(w, t->unit);
	if (n)
		act(w, n, t);
}

void model_put_sessions(struct world *w, struct node *n, unsigned count)
{
	for (unsigned i = 0; i < SESSIONS && count; i++) {
		unit_id u = (unit_id)world_random(w, CLUSTER_UNITS);

		if (w->model->things[i].exists)
			continue;
		for (unsigned k = 0; k < CLUSTER_UNITS && !unit_set_has(&n->owned, u);
		     k++)
			u = (u + 1) % CLUSTER_UNITS;
		if (!unit_set_has(&n->owned, u))
			return;
		create(w, n, &w->model->things[i], u);
		count--;
	}
}

bool model_session(struct world *w, unsigned i, unit_id *unit)
{
	for (unsigned k = 0; k < SESSIONS; k++)
		if (w->model->things[k].exists && !i--) {
			*unit = w->model->things[k].unit;
			return true;
		}
	return false;
}

/* Very many sessions that do nothing but be there. */

static struct session_key mass_key(const struct massed *s)
{
	struct session_key key = { .type = 2, .len = 8 };

	memcpy(key.bytes, &s->key, 8);
	return key;
}

void model_mass(struct world *w, unsigned count)
{
	struct model *m = w->model;
	uint8_t bytes[256] = { 0 };

	m->mass = memory_resize(m->mass, (m->nmass + count) * sizeof(*m->mass));
	while (count && !w->failed) {
		struct massed *s = &m->mass[m->nmass];
		struct session_key key;
		struct node *n;

		if (count % MASS_STEP == 0)
			world_run(w, MONO_MS);
		s->unit = (unit_id)world_random(w, CLUSTER_UNITS);
		s->key = ++m->keys;
		n = server_of(w, s->unit);
		if (!n) {
			world_run(w, MONO_MS);
			continue;
		}
		key = mass_key(s);
		memcpy(bytes, &s->key, 8);
		if (cluster_put(n->c, s->unit, &key, bytes, 100, bytes,
				100 + world_random(w, 156), NULL, world_now(w, n)))
			world_fail(w, "member %u cannot put into unit %u", n->id,
				   s->unit);
		world_touch(w, n);
		m->nmass++;
		count--;
	}
	world_run(w, MONO_MS);
}

static bool owner_holds(struct world *w, unit_id u, const struct session_key *key)
{
	for (unsigned k = 0; k < w->nnodes; k++)
		if (w->nodes[k].c && unit_set_has(&w->nodes[k].owned, u) &&
		    cluster_find(w->nodes[k].c, u, key))
			return true;
	return false;
}

void model_nothing_lost(struct world *w)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];

		if (t->exists && t->kept && !owner_holds(w, t->unit, &t->key))
			world_fail(w, "the session of unit %u is lost", t->unit);
	}
	for (unsigned i = 0; i < w->model->nmass; i++) {
		struct massed *s = &w->model->mass[i];
		struct session_key key = mass_key(s);

		if (!w->failed && !owner_holds(w, s->unit, &key))
			world_fail(w, "session %u of many, in unit %u, is lost", i,
				   s->unit);
	}
}

static int count_session(void *ctx, struct session *s)
{
	++*(unsigned *)ctx;
	return 0;
}

unsigned model_sessions_of(struct world *w, struct node *n)
{
	unsigned total = 0;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(&n->owned, u))
			cluster_each(n->c, u, count_session, &total);
	return total;
}
