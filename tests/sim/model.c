/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The outside world, and what must always hold.
 *
 * Each model session has a version (its essential state), an outbound number line of which
 * its owner may use what is below the committed lease, and an inbound line of which its
 * owner may deliver what the committed edge covers. The model remembers what was committed,
 * used and delivered, whoever did it; so a new owner that knows less is found out.
 *
 * What a member does while it is cut off from the main part, and until it has come to terms
 * with that, counts for nothing: sequence numbers are unique within a part only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

#define SESSIONS 48
#define LEASE 64
#define LINE 65536 /* numbers are remembered up to here */
#define SKIP 8192  /* what a tunnel leaves out when its counters are not proven */

struct line {
	uint8_t used[LINE / 8];
};

struct tunnel {
	bool ready;
	uint64_t next;		  /* outbound */
	uint64_t edge, delivered; /* inbound: accepted and delivered up to */
	uint64_t put_position;
	uint64_t put_version;
};

struct thing {
	bool exists;
	bool kept; /* committed in the main part: never to be lost */
	struct session_key key;
	unit_id unit;
	uint64_t version, committed; /* essential state: last put, last committed */
	bool doubtful;		     /* touched by more than one failure at a time */
	uint64_t sent;		     /* what the peer has sent inbound */
	struct line out, in;
	struct tunnel at[NODES_MAX];
};

struct model {
	struct thing things[SESSIONS];
	uint64_t keys;
};

bool model_working = true;

struct model *model_new(struct world *w)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	return m;
}

void model_free(struct model *m)
{
	free(m);
}

static bool test_and_set(struct line *l, uint64_t n)
{
	bool was = l->used[n / 8] >> (n % 8) & 1;

	l->used[n / 8] |= 1u << (n % 8);
	return was;
}

static bool counts(const struct world *w, const struct node *n)
{
	return !w->several && !n->tainted && world_in_main(w, n->index);
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

static void begin(struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];

	memset(at, 0, sizeof(*at));
	at->ready = true;
	at->next = session_counter(s, 0);
	if (cluster_unproven(n->c, t->unit))
		at->next += SKIP;
	at->edge = at->delivered = session_counter(s, 1);
}

/* State before service: what was committed is there. */
void model_gained(struct world *w, struct node *n, const struct unit_set *gained)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];
		struct session *s;

		if (!t->exists || !unit_set_has(gained, t->unit))
			continue;
		s = held(n, t);
		if (s && cluster_unproven(n->c, t->unit)) {
			/* It may be behind a little, but nothing is lost as a whole. */
			t->committed = version_of(s);
			memset(&t->in, 0, sizeof(t->in));
		}
		if (counts(w, n) && !t->doubtful && t->committed &&
		    (!s || version_of(s) < t->committed))
			world_fail(w, "member %u takes unit %u with version %llu of %llu",
				   n->id, t->unit,
				   s ? (unsigned long long)version_of(s) : 0,
				   (unsigned long long)t->committed);
		if (s)
			begin(n, t, s);
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

static void doubt(struct thing *t)
{
	t->doubtful = true;
	t->kept = false;
	t->committed = 0;
	memset(&t->out, 0, sizeof(t->out));
	memset(&t->in, 0, sizeof(t->in));
}

void model_forgive(struct world *w)
{
	w->several = true;
	for (unsigned i = 0; i < SESSIONS; i++)
		doubt(&w->model->things[i]);
}

/* What became committed, or was lost with more than one failure. */
static void observe(struct world *w, struct node *n, struct thing *t)
{
	struct tunnel *at = &t->at[n->index];

	if (at->put_version && cluster_committed(n->c, t->unit, at->put_position)) {
		if (at->put_version > t->committed && counts(w, n)) {
			t->committed = at->put_version;
			t->doubtful = false;
			t->kept = true;
		}
		at->put_version = 0;
	}
}

static void trace(struct world *w, struct node *n, struct thing *t, struct session *s,
		  const char *what)
{
	struct cluster_unit_state u;

	if (!w->verbose || !s)
		return;
	cluster_unit(n->c, t->unit, &u);
	world_log(w,
		  "  %u: unit %u %s: epoch %llx successor %u, next %llu, out %llu/%llu, "
		  "in %llu/%llu, version %llu/%llu",
		  n->id, t->unit, what, (unsigned long long)u.epoch, u.successor,
		  (unsigned long long)t->at[n->index].next,
		  (unsigned long long)cluster_counted(n->c, s, 0),
		  (unsigned long long)session_counter(s, 0),
		  (unsigned long long)cluster_counted(n->c, s, 1),
		  (unsigned long long)session_counter(s, 1),
		  (unsigned long long)t->committed, (unsigned long long)t->version);
}

static void put(struct world *w, struct node *n, struct thing *t)
{
	uint8_t bytes[200] = { 0 };
	size_t len = sizeof(t->version) + world_random(w, sizeof(bytes) - 8);
	struct tunnel *at = &t->at[n->index];
	struct session *s;
	bool fresh = !held(n, t);

	t->version++;
	memcpy(bytes, &t->version, sizeof(t->version));
	if (cluster_put(n->c, t->unit, &t->key, fresh ? bytes : NULL, fresh ? 20 : 0,
			bytes, len, &s, world_now(w, n)))
		world_fail(w, "member %u cannot put into unit %u", n->id, t->unit);
	else if (fresh || !at->ready)
		begin(n, t, s);
	at->put_position = cluster_position(n->c);
	at->put_version = t->version;
}

static void create(struct world *w, struct node *n, struct thing *t, unit_id u)
{
	memset(t, 0, sizeof(*t));
	t->exists = true;
	t->unit = u;
	t->key.type = 1;
	t->key.len = 8;
	w->model->keys++;
	memcpy(t->key.bytes, &w->model->keys, 8);
	put(w, n, t);
}

static void send_out(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];

	for (unsigned burst = 1 + world_random(w, 8); burst--;) {
		if (at->next + LEASE / 2 >= session_counter(s, 0))
			cluster_count(n->c, s, 0, at->next + LEASE, world_now(w, n));
		if (at->next >= cluster_counted(n->c, s, 0) || at->next >= LINE)
			break;
		if (counts(w, n) && test_and_set(&t->out, at->next) && !t->doubtful &&
		    t->committed)
			world_fail(w, "member %u sends number %llu of unit %u again",
				   n->id, (unsigned long long)at->next, t->unit);
		at->next++;
	}
}

static void deliver(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];
	uint64_t edge = cluster_counted(n->c, s, 1);

	while (at->delivered < at->edge && at->delivered < edge &&
	       at->delivered + 1 < LINE) {
		at->delivered++;
		if (counts(w, n) && test_and_set(&t->in, at->delivered) && !t->doubtful &&
		    t->committed)
			world_fail(w, "member %u delivers number %llu of unit %u again",
				   n->id, (unsigned long long)at->delivered, t->unit);
	}
}

/* The peer's packets, and now and then an old one that someone has recorded. */
static void receive(struct world *w, struct node *n, struct thing *t, struct session *s)
{
	struct tunnel *at = &t->at[n->index];
	uint64_t number = ++t->sent;

	if (world_chance(w, 0.1))
		number = 1 + world_random(w, t->sent);
	if (number > at->edge) {
		at->edge = number;
		/* What was skipped is lost, and never delivered later. */
		if (at->delivered + 1 < number)
			at->delivered = number - 1;
		cluster_count(n->c, s, 1, number, world_now(w, n));
	}
	deliver(w, n, t, s);
}

/*
 * Everything at once on what this node serves, and nothing after it: a failure right now
 * meets state that is not committed, and the owner acting on what is.
 */
void model_burst(struct world *w, struct node *n)
{
	if (!n->c || n->frozen || !model_working)
		return;
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];
		struct session *s;

		if (!t->exists || !cluster_serves(n->c, t->unit, world_now(w, n)))
			continue;
		s = held(n, t);
		if (!s || !t->at[n->index].ready)
			continue;
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

		if (n->c && !n->frozen && cluster_serves(n->c, u, world_now(w, n)))
			return n;
	}
	return NULL;
}

static void act(struct world *w, struct node *n, struct thing *t)
{
	struct session *s = held(n, t);

	if (!s) {
		/* Lost with its only holder, or not yet committed when its owner died. */
		if (t->committed && !t->doubtful && counts(w, n))
			world_fail(w, "member %u serves unit %u without its session",
				   n->id, t->unit);
		if (!t->kept)
			t->exists = false;
		return;
	}
	if (!t->at[n->index].ready)
		begin(n, t, s);
	observe(w, n, t);
	trace(w, n, t, s, "acts");
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
}

void model_work(struct world *w)
{
	struct thing *t = &w->model->things[world_random(w, SESSIONS)];
	struct node *n;
	unit_id u;

	if (!model_working)
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
		while (!unit_set_has(&n->owned, u))
			u = (u + 1) % CLUSTER_UNITS;
		create(w, n, &w->model->things[i], u);
		count--;
	}
}

void model_nothing_lost(struct world *w)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct thing *t = &w->model->things[i];
		bool found = false;

		if (!t->exists || !t->kept)
			continue;
		for (unsigned k = 0; k < w->nnodes; k++)
			found = found || (unit_set_has(&w->nodes[k].owned, t->unit) &&
					  held(&w->nodes[k], t));
		if (!found)
			world_fail(w, "the session of unit %u is lost", t->unit);
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

/* After each event. */

static void refresh(struct world *w, struct node *n)
{
	unsigned i = 0;
	unit_id u;

	while (i < CLUSTER_UNITS / 64 && !n->owned.bits[i])
		i++;
	if (i < CLUSTER_UNITS / 64 && n->c && !n->frozen) {
		u = (unit_id)(i * 64 + (unsigned)__builtin_ctzll(n->owned.bits[i]));
		/* Either all that a member owns is served or nothing. */
		if (cluster_serves(n->c, u, world_now(w, n))) {
			n->serving = n->owned;
			return;
		}
	}
	memset(&n->serving, 0, sizeof(n->serving));
}

static void check_pair(struct world *w, struct node *a, struct node *b)
{
	struct cluster_unit_state x, y;
	uint64_t any = 0;
	bool apart;

	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		any |= a->serving.bits[i] & b->serving.bits[i];
	if (!any)
		return;
	apart = !world_connected(w, a->index, b->index) || a->tainted || b->tainted ||
		(w->healed_at && w->now - w->healed_at < MONO_SEC);
	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++) {
		uint64_t both = a->serving.bits[i] & b->serving.bits[i];
		unit_id u;

		if (!both)
			continue;
		u = (unit_id)(i * 64 + (unsigned)__builtin_ctzll(both));
		cluster_unit(a->c, u, &x);
		cluster_unit(b->c, u, &y);
		if (x.epoch == y.epoch)
			world_fail(w, "members %u and %u serve unit %u at the same epoch",
				   a->id, b->id, u);
		else if (!apart)
			world_fail(w, "members %u and %u both serve unit %u", a->id,
				   b->id, u);
	}
}

static void check_fully(struct world *w, struct node *n)
{
	struct cluster_member_state m[NODES_MAX];
	struct cluster_unit_state u;
	unsigned count = cluster_members(n->c, m, NODES_MAX, world_now(w, n));
	bool complete = false;

	for (unsigned i = 0; i < count; i++)
		if (m[i].self)
			complete = m[i].complete;
	for (unit_id i = 0; i < CLUSTER_UNITS; i++) {
		if (!unit_set_has(&n->owned, i))
			continue;
		cluster_unit(n->c, i, &u);
		if (!complete)
			world_fail(w, "member %u owns unit %u and is not complete", n->id,
				   i);
		if (u.owner != n->id)
			world_fail(w, "member %u owns unit %u of %u", n->id, i, u.owner);
		if (u.successor == n->id)
			world_fail(w, "member %u succeeds itself in unit %u", n->id, i);
		for (unsigned k = 0; k < count; k++)
			if (m[k].id == u.successor && !m[k].complete && !n->frozen &&
			    m[k].present)
				world_fail(w, "incomplete member %u succeeds in unit %u",
					   m[k].id, i);
	}
}

void model_check(struct world *w)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		refresh(w, n);
		if (world_split(w) && !world_in_main(w, i))
			n->tainted = true;
		if (n->c && !n->frozen && w->steps % 1024 == 0)
			check_fully(w, n);
		if (n->tainted && n->c && !world_split(w) &&
		    cluster_role(n->c) == CLUSTER_JOINING)
			n->tainted = false;
	}
	for (unsigned i = 0; i < w->nnodes; i++)
		for (unsigned j = 0; j < i; j++)
			check_pair(w, &w->nodes[i], &w->nodes[j]);
}

/* Has all come to rest? */

struct compare {
	struct world *w;
	struct node *other;
	const char *wrong;
};

static int compare_session(void *ctx, struct session *s)
{
	struct compare *cmp = ctx;
	struct session *t = cluster_find(cmp->other->c, session_unit(s), session_key(s));
	size_t a, b;
	const uint8_t *x, *y;

	if (!t) {
		cmp->wrong = "a session is missing";
		return 1;
	}
	x = session_essential(s, &a);
	y = session_essential(t, &b);
	if (a != b || (a && memcmp(x, y, a)))
		cmp->wrong = "essential states differ";
	x = session_initial(s, &a);
	y = session_initial(t, &b);
	if (a != b || (a && memcmp(x, y, a)))
		cmp->wrong = "initial states differ";
	return cmp->wrong != NULL;
}

static const char *unsettled_unit(struct world *w, unit_id u, struct node *first,
				  bool stores)
{
	struct cluster_unit_state a, b;
	struct node *owner = NULL, *successor = NULL;
	struct compare cmp = { .w = w };
	unsigned others = 0;

	cluster_unit(first->c, u, &a);
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (!n->c || n->frozen || !world_connected(w, n->index, first->index))
			continue;
		cluster_unit(n->c, u, &b);
		if (a.epoch != b.epoch || a.successor != b.successor)
			return "tables differ";
		if (n->id == a.owner)
			owner = n;
		if (n->id == a.successor)
			successor = n;
		others += n->able;
	}
	if (!owner)
		return "a unit has no owner";
	if (!cluster_serves(owner->c, u, world_now(w, owner)))
		return "a unit is not served";
	if (others > 1 && !successor)
		return "a unit has no successor";
	if (a.moving_to)
		return "a unit is moving";
	if (!cluster_committed(owner->c, u, UINT64_MAX))
		return "a unit is not committed";
	for (unsigned i = 0; i < w->nnodes && stores; i++) {
		struct node *n = &w->nodes[i];

		if (!n->c || n->frozen || n == owner ||
		    !world_connected(w, n->index, first->index))
			continue;
		cluster_unit(n->c, u, &b);
		cluster_unit(owner->c, u, &a);
		if (a.sessions != b.sessions)
			return "numbers of sessions differ";
		cmp.other = n;
		if (cluster_each(owner->c, u, compare_session, &cmp))
			return cmp.wrong;
	}
	return NULL;
}

static const char *unsettled_part(struct world *w, struct node *first, bool stores)
{
	struct node *master = NULL;
	const char *wrong = NULL;
	bool able = false;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (!n->c || n->frozen || !world_connected(w, i, first->index))
			continue;
		if (cluster_role(n->c) == CLUSTER_LEFT)
			continue;
		able = able || n->able;
		if (cluster_role(n->c) == CLUSTER_MASTER) {
			if (master)
				return "two masters";
			master = n;
		} else if (cluster_role(n->c) != CLUSTER_MEMBER) {
			return "a member has not joined";
		}
	}
	if (!master)
		return "no master";
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (n->c && !n->frozen && world_connected(w, i, first->index) &&
		    cluster_master(n->c) != master->id)
			return "another master is followed";
	}
	for (unit_id u = 0; u < CLUSTER_UNITS && !wrong && able; u++)
		wrong = unsettled_unit(w, u, first, stores);
	return wrong;
}

const char *model_unsettled(struct world *w, bool stores)
{
	const char *wrong = NULL;

	for (unsigned i = 0; i < w->nnodes && !wrong; i++)
		if (w->nodes[i].c && !w->nodes[i].frozen &&
		    cluster_role(w->nodes[i].c) != CLUSTER_LEFT)
			wrong = unsettled_part(w, &w->nodes[i], stores);
	return wrong;
}
