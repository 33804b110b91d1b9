/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must always hold, looked at after each event, where it happened; and what must hold
 * in the end, when all has come to rest.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/world.h"

/* A look at everything of a node is dear: every so many times that something happens. */
#define FULL_LOOK 512
#define SOME_GAINS 4
#define GRACE MONO_SEC /* after a cut: who was cut off has not heard of it yet */
#define MEMORY_NODE (3u << 20)
#define MEMORY_SESSION 1024

static bool overlap(const struct node *a, const struct node *b, unsigned *word)
{
	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		if (a->owned.bits[i] & b->owned.bits[i]) {
			*word = i;
			return true;
		}
	return false;
}

static void check_pair(struct world *w, struct node *a, struct node *b)
{
	struct cluster_unit_state x, y;
	unsigned first;
	bool apart;

	if (!overlap(a, b, &first))
		return;
	apart = a->part != b->part || a->side != b->side || a->tainted || b->tainted ||
		(w->healed_at && w->now - w->healed_at < GRACE);
	for (unsigned i = first; i < CLUSTER_UNITS / 64; i++) {
		uint64_t both = a->owned.bits[i] & b->owned.bits[i];
		unit_id u;

		if (!both)
			continue;
		u = (unit_id)(i * 64 + (unsigned)__builtin_ctzll(both));
		/* Either all that a member owns is served or nothing. */
		if (!cluster_serves(a->c, u, world_now(w, a)) ||
		    !cluster_serves(b->c, u, world_now(w, b)))
			return;
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

static void check_table(struct world *w, struct node *n)
{
	bool complete = cluster_complete(n->c);
	bool lives = cluster_lives(n->c, world_now(w, n));
	struct cluster_member_state m[NODES_MAX];
	struct cluster_unit_state u;
	unsigned count = cluster_members(n->c, m, NODES_MAX, world_now(w, n));

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
		/* Who is late has not looked at its successors yet, and serves nothing. */
		for (unsigned k = 0; lives && k < count; k++)
			if (m[k].id == u.successor && !m[k].complete && m[k].present)
				world_fail(w, "incomplete member %u succeeds in unit %u",
					   m[k].id, i);
	}
}

void check_gained(struct world *w, struct node *n)
{
	if (++n->gains % SOME_GAINS == 0 && !cluster_complete(n->c))
		world_fail(w, "member %u activates units and is not complete", n->id);
}

static bool is_alone(const struct world *w, const struct node *master,
		     const struct node *but)
{
	for (unsigned i = 0; i < w->nnodes; i++) {
		const struct node *n = &w->nodes[i];

		if (n != master && n != but && world_alive(n) && n->side == master->side)
			return false;
	}
	return true;
}

/*
 * Who begins anew gives its own history up, and has that of the master that it joins. Who was
 * stopped while its part went on without its master has seen nothing of that: it is still one
 * of that master's, but for a master that was cut off alone, whose word is worth nothing.
 */
static void come_to_terms(struct world *w, struct node *n)
{
	enum cluster_role role = cluster_role(n->c);

	n->rejoining = n->rejoining || role == CLUSTER_JOINING;
	if (!(n->rejoining || n->woken) || role != CLUSTER_MEMBER)
		return;
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *master = &w->nodes[i];

		if (!world_alive(master) || master->id != cluster_master(n->c))
			continue;
		n->woken = n->woken && n->side != master->side;
		if (!n->rejoining && (!n->woken || is_alone(w, master, n)))
			return;
		n->rejoining = n->woken = n->expelled = false;
		n->tainted = master->tainted;
		n->side = master->side;
		model_sided(w, n);
	}
}

/*
 * State before service: who says that it is complete may be given any unit at once. Who
 * was stopped asks first what has become of it.
 */
static void check_completion(struct world *w, struct node *n)
{
	if (cluster_role(n->c) == CLUSTER_JOINING)
		n->complete = false;
	else if (!n->complete && cluster_lives(n->c, world_now(w, n)) &&
		 cluster_complete(n->c)) {
		n->complete = true;
		model_complete(w, n);
	}
}

void check_node(struct world *w, struct node *n)
{
	if (w->multiple)
		for (unsigned i = 0; i < w->nnodes; i++)
			if (i != n->index && world_alive(&w->nodes[i]))
				check_pair(w, n, &w->nodes[i]);
	if (++n->touches % FULL_LOOK == 0)
		check_table(w, n);
	come_to_terms(w, n);
	check_completion(w, n);
}

unsigned check_unserved(struct world *w)
{
	struct unit_set served = { { 0 } };
	unsigned missing = CLUSTER_UNITS;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		for (unit_id u = 0; world_alive(n) && u < CLUSTER_UNITS; u++) {
			if (!unit_set_has(&n->owned, u))
				continue;
			if (!cluster_serves(n->c, u, world_now(w, n)))
				break;
			unit_set_add(&served, u);
		}
	}
	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		missing -= (unsigned)__builtin_popcountll(served.bits[i]);
	return missing;
}

/* Has all come to rest? */

struct compare {
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

/* Runs, in the same part as `first`, and has not left. */
static bool takes_part(const struct node *n, const struct node *first)
{
	return world_alive(n) && n->part == first->part &&
	       cluster_role(n->c) != CLUSTER_LEFT;
}

static const char *unequal_stores(struct world *w, unit_id u, struct node *owner)
{
	struct cluster_unit_state a, b;
	struct compare cmp = { 0 };

	cluster_unit(owner->c, u, &a);
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (n == owner || !takes_part(n, owner))
			continue;
		cluster_unit(n->c, u, &b);
		if (a.sessions != b.sessions)
			return "numbers of sessions differ";
		cmp.other = n;
		if (cluster_each(owner->c, u, compare_session, &cmp))
			return cmp.wrong;
	}
	return NULL;
}

static const char *unsettled_unit(struct world *w, unit_id u, struct node *first,
				  bool stores)
{
	struct cluster_unit_state a, b;
	struct node *owner = NULL, *successor = NULL;
	unsigned others = 0;

	cluster_unit(first->c, u, &a);
	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (!takes_part(n, first))
			continue;
		cluster_unit(n->c, u, &b);
		if (a.epoch != b.epoch || a.successor != b.successor)
			return "tables differ";
		if (n->id == a.owner)
			owner = n;
		if (n->id == a.successor)
			successor = n;
		others += world_fit(n);
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
	return stores ? unequal_stores(w, u, owner) : NULL;
}

static const char *unsettled_part(struct world *w, struct node *first, bool stores)
{
	struct node *master = NULL;
	const char *wrong = NULL;
	bool able = false;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (!takes_part(n, first))
			continue;
		able = able || world_fit(n);
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
	for (unsigned i = 0; i < w->nnodes; i++)
		if (takes_part(&w->nodes[i], first) &&
		    cluster_master(w->nodes[i].c) != master->id)
			return "another master is followed";
	for (unit_id u = 0; u < CLUSTER_UNITS && !wrong && able; u++)
		wrong = unsettled_unit(w, u, first, stores);
	return wrong;
}

const char *check_unsettled(struct world *w, bool stores)
{
	const char *wrong = NULL;

	for (unsigned i = 0; i < w->nnodes && !wrong; i++) {
		struct node *n = &w->nodes[i];
		bool seen = false;

		for (unsigned j = 0; j < i; j++)
			seen = seen || takes_part(&w->nodes[j], n);
		if (!seen && takes_part(n, n))
			wrong = unsettled_part(w, n, stores);
	}
	return wrong;
}

/* Balance. */

struct load {
	uint64_t capacity;
	unsigned sessions, empty;
	unsigned lightest; /* of its units with sessions */
};

static struct load load_of(struct world *w, struct node *n)
{
	struct load l = { .capacity = n->capacity, .lightest = UINT32_MAX };
	struct cluster_unit_state u;

	for (unit_id i = 0; i < CLUSTER_UNITS; i++) {
		if (!unit_set_has(&n->owned, i))
			continue;
		cluster_unit(n->c, i, &u);
		l.sessions += u.sessions;
		l.empty += !u.sessions;
		if (u.sessions && u.sessions < l.lightest)
			l.lightest = u.sessions;
	}
	return l;
}

/* Whether the move of so much from a to b would lower the greater load of the two. */
static bool narrows(const struct load *a, uint64_t here, const struct load *b,
		    uint64_t there, uint64_t by)
{
	return (there + by) * a->capacity < here * b->capacity;
}

const char *check_unbalanced(struct world *w)
{
	struct load loads[NODES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < w->nnodes; i++)
		if (world_alive(&w->nodes[i]) && w->nodes[i].able &&
		    cluster_role(w->nodes[i].c) != CLUSTER_LEFT)
			loads[n++] = load_of(w, &w->nodes[i]);
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n; j++) {
			const struct load *a = &loads[i], *b = &loads[j];

			if (a->sessions &&
			    narrows(a, a->sessions, b, b->sessions, a->lightest))
				return "sessions are out of balance";
			if (narrows(a, a->empty, b, b->empty, 1))
				return "empty units are out of balance";
		}
	return NULL;
}

void check_memory(struct world *w)
{
	size_t sessions = 0, bound = 0;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct cluster_unit_state u;

		if (!w->nodes[i].c)
			continue;
		bound += MEMORY_NODE;
		for (unit_id k = 0; k < CLUSTER_UNITS; k++) {
			cluster_unit(w->nodes[i].c, k, &u);
			sessions += u.sessions;
		}
	}
	bound += sessions * MEMORY_SESSION;
	world_log(w, "%zu bytes for %zu sessions, shadows included", memory_used(),
		  sessions);
	if (memory_used() > bound)
		world_fail(w, "the core holds %zu bytes for %zu sessions", memory_used(),
			   sessions);
}
