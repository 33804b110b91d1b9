/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters that are cut in two, in which both parts go on with the same sessions, and what
 * is left of them when the cut has healed.
 *
 * Each client's session has one copy a side: its version (the essential state), how much
 * was received from the client (counter 1, by which the core decides), and the numbers that
 * were sent (counter 0). After the heal the owner has the copy that its client advanced
 * further, no session that any side has worked on is missing, and the next number is one
 * that no side has used. What one side has ended goes on only if the other side has heard
 * its client later.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/world.h"

#define BOUND (15 * MONO_SEC)
#define CLIENTS 40
#define LEASE 64
#define SKIP 8192
#define TIE (5 * MONO_MS) /* of the times at which two members heard somebody */

/* Of each course, if nothing else is asked for. */
#ifdef SIM_SLOW
#define SEEDS 1
#else
#define SEEDS 2
#endif

struct copy {
	bool exists;
	bool worked;	/* since the cut */
	bool ended;	/* since the cut */
	uint64_t heard; /* when the client was heard last */
	uint64_t version, received;
	uint64_t used; /* all outbound numbers below this may have been used */
};

struct client {
	struct session_key key;
	unit_id unit;
	struct copy at[2];	  /* by side of the cut; without one, both are the same */
	struct copy base;	  /* before the cut */
	uint64_t next[NODES_MAX]; /* what the owner knows beside the store */
};

struct clients {
	struct world *w;
	bool apart;
	bool loose;    /* the heal came before all was committed */
	uint32_t side; /* the nodes of side 1, during a cut */
	uint64_t keys, versions;
	uint64_t cut_at;
	struct client all[CLIENTS];
};

static bool on_side(const struct clients *cs, unsigned node, unsigned side)
{
	return !cs->apart || (cs->side >> node & 1) == side;
}

static struct node *server(struct clients *cs, unit_id u, unsigned side)
{
	struct world *w = cs->w;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (on_side(cs, i, side) && n->c && !n->frozen &&
		    cluster_serves(n->c, u, world_now(w, n)))
			return n;
	}
	return NULL;
}

static uint64_t version_of(const struct session *s)
{
	size_t len;
	const uint8_t *p = session_essential(s, &len);
	uint64_t v = 0;

	if (p && len >= sizeof(v))
		memcpy(&v, p, sizeof(v));
	return v;
}

/* Without a cut, both sides are one. */
static void same(struct clients *cs, struct client *cl, unsigned side)
{
	if (!cs->apart)
		cl->at[!side] = cl->at[side];
}

/* As tunnels do: what may have been used is skipped, before anything else. */
static void gained(struct world *w, struct node *n, const struct unit_set *units)
{
	struct clients *cs = w->own;

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *cl = &cs->all[i];
		struct session *s;

		if (!unit_set_has(units, cl->unit))
			continue;
		s = cluster_find(n->c, cl->unit, &cl->key);
		if (!s)
			continue;
		cl->next[n->index] = session_counter(s, 0);
		if (cluster_unproven(n->c, cl->unit))
			cl->next[n->index] += SKIP;
		cluster_count(n->c, s, 0, cl->next[n->index], world_now(w, n));
	}
}

static void create(struct clients *cs, struct client *cl, unsigned side)
{
	struct world *w = cs->w;
	unit_id u = (unit_id)world_random(w, CLUSTER_UNITS);
	struct node *n = server(cs, u, side);
	uint64_t version = ++cs->versions;

	if (!n)
		return;
	memset(cl, 0, sizeof(*cl));
	cl->unit = u;
	cl->key.type = 2;
	cl->key.len = 8;
	cs->keys++;
	memcpy(cl->key.bytes, &cs->keys, 8);
	if (cluster_put(n->c, u, &cl->key, (const uint8_t *)"initial", 7,
			(const uint8_t *)&version, sizeof(version), NULL,
			world_now(w, n)))
		world_fail(w, "cannot create");
	cl->at[side] = (struct copy){
		.exists = true, .worked = true, .version = version, .heard = w->now
	};
	same(cs, cl, side);
	world_touch(w, n);
}

static void receive(struct clients *cs, struct client *cl, unsigned side, struct node *n,
		    struct session *s)
{
	struct world *w = cs->w;
	struct copy *copy = &cl->at[side];
	uint64_t version = ++cs->versions;

	copy->version = version;
	copy->received += 1 + world_random(w, 5);
	copy->worked = true;
	copy->heard = w->now;
	cluster_put(n->c, cl->unit, &cl->key, NULL, 0, (const uint8_t *)&version,
		    sizeof(version), NULL, world_now(w, n));
	session_heard(s, world_now(w, n));
	cluster_count(n->c, s, 1, copy->received, world_now(w, n));
	same(cs, cl, side);
}

static void send(struct clients *cs, struct client *cl, unsigned side, struct node *n,
		 struct session *s)
{
	struct world *w = cs->w;
	struct copy *copy = &cl->at[side];
	uint64_t *next = &cl->next[n->index];

	if (*next + LEASE / 2 >= session_counter(s, 0))
		cluster_count(n->c, s, 0, *next + LEASE, world_now(w, n));
	for (unsigned i = 1 + (unsigned)world_random(w, 8); i; i--) {
		if (*next >= cluster_counted(n->c, s, 0))
			break;
		if (*next < copy->used)
			world_fail(w,
				   "member %u sends number %llu of unit %u again, %llu",
				   n->id, (unsigned long long)*next, cl->unit,
				   (unsigned long long)copy->used);
		copy->used = ++*next;
		session_told(s, world_now(w, n));
	}
	same(cs, cl, side);
}

/* The client asks for it, or it is given up. */
static void end(struct clients *cs, struct client *cl, unsigned side, struct node *n,
		struct session *s)
{
	struct world *w = cs->w;
	struct copy *copy = &cl->at[side];

	if (world_chance(w, 0.5)) {
		session_heard(s, world_now(w, n));
		copy->heard = w->now;
	}
	cluster_remove(n->c, s, world_now(w, n));
	*copy = (struct copy){ .worked = true, .ended = true, .heard = copy->heard };
	same(cs, cl, side);
}

static void act(struct clients *cs, struct client *cl, unsigned side, bool removing)
{
	struct world *w = cs->w;
	struct copy *copy = &cl->at[side];
	struct node *n = server(cs, cl->unit, side);
	struct session *s = n ? cluster_find(n->c, cl->unit, &cl->key) : NULL;

	if (!n)
		return;
	if (!s) {
		world_fail(w, "member %u serves unit %u without its session", n->id,
			   cl->unit);
		return;
	}
	if (version_of(s) != copy->version)
		world_fail(w, "member %u has version %llu of %llu in unit %u", n->id,
			   (unsigned long long)version_of(s),
			   (unsigned long long)copy->version, cl->unit);
	if (removing && world_chance(w, 0.05)) {
		end(cs, cl, side, n, s);
	} else if (world_chance(w, 0.5)) {
		receive(cs, cl, side, n, s);
	} else {
		send(cs, cl, side, n, s);
	}
	world_touch(w, n);
}

/* Some time in which clients come, go and work, on the given sides. */
static void work(struct clients *cs, uint64_t time, unsigned sides)
{
	struct world *w = cs->w;
	uint64_t until = w->now + time;

	while (!w->failed && w->now < until) {
		struct client *cl = &cs->all[world_random(w, CLIENTS)];
		unsigned side = (unsigned)world_random(w, 2);

		if (!(sides >> side & 1))
			side = !side;
		if (cl->at[side].exists)
			act(cs, cl, side, true);
		else if (!cl->at[!side].exists)
			create(cs, cl, side);
		world_run(w, 1 + world_random(w, 5 * MONO_MS));
	}
}

static void cut(struct clients *cs, uint32_t side)
{
	cs->side = side;
	for (unsigned i = 0; i < CLIENTS; i++) {
		cs->all[i].at[0].worked = cs->all[i].at[0].ended = false;
		cs->all[i].at[1] = cs->all[i].base = cs->all[i].at[0];
	}
	cs->apart = true;
	cs->cut_at = cs->w->now;
	network_cut(cs->w, side);
}

static struct session *owned(struct clients *cs, const struct client *cl)
{
	struct world *w = cs->w;
	struct session *found = NULL;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if (n->c && unit_set_has(&n->owned, cl->unit))
			found = cluster_find(n->c, cl->unit, &cl->key);
	}
	return found;
}

/*
 * What a member did when it was cut off already and did not know it, is committed nowhere:
 * any older copy will do, and none, if it had just begun.
 */
static bool excused(const struct clients *cs, struct client *cl, const struct session *s)
{
	struct copy *found = NULL;

	if (!cs->loose || (!s && cl->base.exists && cl->at[0].exists && cl->at[1].exists))
		return false;
	for (unsigned i = 0; s && i < 2; i++)
		if (cl->at[i].exists && cl->at[i].version == version_of(s))
			found = &cl->at[i];
	if (s && !found && cl->base.version == version_of(s))
		found = &cl->base;
	if (s && !found)
		return false;
	if (found) {
		uint64_t a = cl->at[0].used, b = cl->at[1].used;
		struct copy copy = *found;

		copy.received = session_counter(s, 1);
		copy.used = a > b ? a : b;
		cl->at[0] = cl->at[1] = copy;
	} else {
		memset(cl->at, 0, sizeof(cl->at));
	}
	return true;
}

/* One side has ended it. False: the other side goes on. */
static bool over(struct clients *cs, struct client *cl, const struct session *s)
{
	const struct copy *end = &cl->at[cl->at[0].exists];
	const struct copy *rest = &cl->at[!cl->at[0].exists];

	if (s && end->heard > cs->cut_at && end->heard > rest->heard + TIE)
		world_fail(cs->w, "a session of unit %u is back that a client has ended",
			   cl->unit);
	if (!s && rest->heard > cs->cut_at && rest->heard > end->heard + TIE)
		world_fail(cs->w,
			   "a session of unit %u is lost that the other side ended",
			   cl->unit);
	return !s;
}

/* The copies become one: that which the cluster has kept, if it may be that one. */
static void reconcile(struct clients *cs, struct client *cl)
{
	struct copy *a = &cl->at[0], *b = &cl->at[1], *best;
	struct session *s = owned(cs, cl);
	uint64_t used = a->used > b->used ? a->used : b->used;
	struct world *w = cs->w;

	if (excused(cs, cl, s))
		return;
	if (!a->exists && !b->exists) {
		if (s)
			world_fail(w, "a session of unit %u is back", cl->unit);
		return;
	}
	if (a->exists != b->exists && (a->ended || b->ended) && over(cs, cl, s)) {
		memset(cl->at, 0, sizeof(cl->at));
		return;
	}
	if (!s) {
		world_fail(w, "a session of unit %u is lost", cl->unit);
		return;
	}
	best = !b->exists || (a->exists && a->received > b->received) ? a : b;
	if (a->exists && b->exists && a->received == b->received &&
	    version_of(s) == a->version)
		best = a;
	if (version_of(s) != best->version)
		world_fail(
		    w, "unit %u has version %llu, not %llu; received %llu and %llu",
		    cl->unit, (unsigned long long)version_of(s),
		    (unsigned long long)best->version, (unsigned long long)a->received,
		    (unsigned long long)b->received);
	*a = *best;
	a->used = used;
	*b = *a;
}

static bool complete(struct world *w)
{
	struct cluster_member_state m[NODES_MAX];

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];
		unsigned count =
		    n->c ? cluster_members(n->c, m, NODES_MAX, world_now(w, n)) : 0;

		for (unsigned k = 0; k < count; k++)
			if (m[k].self && !m[k].complete)
				return false;
	}
	return true;
}

/* Who joins is complete when it has brought what it has. */
static void reunite(struct clients *cs)
{
	uint64_t until = cs->w->now + BOUND;

	world_settle(cs->w, BOUND, true);
	while (!cs->w->failed && !complete(cs->w) && cs->w->now < until)
		world_run(cs->w, 10 * MONO_MS);
	world_run(cs->w, 200 * MONO_MS);
	world_settle(cs->w, BOUND, true);
	for (unsigned i = 0; i < CLIENTS; i++)
		reconcile(cs, &cs->all[i]);
	cs->apart = false;
	world_log(cs->w, "reunited");
}

static void begin(struct world *w, struct clients *cs)
{
	memset(cs, 0, sizeof(*cs));
	cs->w = w;
	w->own = cs;
	w->gained = gained;
	w->working = false;
	w->balancing = true;
	for (unsigned i = 0; i < w->nnodes; i++)
		world_start(w, i);
	world_settle(w, BOUND, false);
	work(cs, 3 * MONO_SEC, 1);
	world_settle(w, BOUND, true);
}

static void split(struct world *w, uint32_t side)
{
	struct clients cs;

	begin(w, &cs);
	cut(&cs, side);
	work(&cs, 3 * MONO_SEC, 3);
	world_settle(w, BOUND, false);
	work(&cs, MONO_SEC, 3);
	network_heal(w);
	reunite(&cs);
	work(&cs, MONO_SEC, 1);
	world_settle(w, BOUND, true);
	reunite(&cs);
}

static void split_member(struct world *w)
{
	split(w, 1u << 2);
}

static void split_master(struct world *w)
{
	split(w, 1u << 0);
}

static void split_2_2(struct world *w)
{
	split(w, 3);
}

static void split_2_3(struct world *w)
{
	split(w, 1u << world_random(w, 2) | 1u << (2 + world_random(w, 3)));
}

static void split_1_1(struct world *w)
{
	split(w, 1);
}

/* Two members die in the moment of the cut: of units that were theirs alone, both parts begin
 * with what they happen to hold, and skip the same numbers. */
static void split_unproven(struct world *w)
{
	struct clients cs;

	begin(w, &cs);
	work(&cs, MONO_SEC, 1);
	cs.loose = true;
	world_kill(w, 4, world_chance(w, 0.5));
	world_kill(w, 5, world_chance(w, 0.5));
	cut(&cs, 3);
	work(&cs, 3 * MONO_SEC, 3);
	world_settle(w, BOUND, false);
	work(&cs, MONO_SEC, 3);
	network_heal(w);
	reunite(&cs);
	cs.loose = false;
	world_start(w, 4);
	world_start(w, 5);
	work(&cs, MONO_SEC, 1);
	world_settle(w, BOUND, true);
	reunite(&cs);
}

/* Clients that go to the member that was cut off, and nobody else does anything. */
static void split_and_moved(struct world *w)
{
	struct clients cs;

	begin(w, &cs);
	cut(&cs, 1u << 2);
	world_run(w, 2 * MONO_SEC);
	work(&cs, 2 * MONO_SEC, 2);
	network_heal(w);
	reunite(&cs);
	work(&cs, MONO_SEC, 1);
	reunite(&cs);
}

/* Who worked on a unit in the losing part is not who owns it when the cut heals. */
static void split_and_handed_on(struct world *w)
{
	struct clients cs;

	begin(w, &cs);
	cut(&cs, 3);
	work(&cs, 3 * MONO_SEC, 3);
	world_settle(w, BOUND, false);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct node *n = server(&cs, cs.all[i].unit, 1);
		uint32_t ticket;

		if (!n)
			continue;
		cluster_move(n->c, cs.all[i].unit, w->nodes[!n->index].id, &ticket,
			     world_now(w, n));
		world_touch(w, n);
		world_run(w, MONO_MS);
	}
	world_settle(w, BOUND, false);
	network_heal(w);
	reunite(&cs);
	work(&cs, MONO_SEC, 1);
	reunite(&cs);
}

/* Of a member of the other side, each time another one. */
static void split_often(struct world *w)
{
	struct clients cs;

	begin(w, &cs);
	for (unsigned i = 0; i < 20 && !w->failed; i++) {
		uint32_t all = (1u << w->nnodes) - 1;

		cut(&cs, 1 + (uint32_t)world_random(w, all - 1));
		work(&cs, 100 * MONO_MS + world_random(w, 3 * MONO_SEC), 3);
		cs.loose = world_chance(w, 0.5);
		if (!cs.loose)
			world_settle(w, BOUND, true);
		network_heal(w);
		reunite(&cs);
		work(&cs, world_random(w, MONO_SEC), 1);
		world_settle(w, BOUND, true);
	}
}

/* What waited in the line that was cut comes when it has healed, and is old by then. */
static void split_briefly(struct world *w)
{
	struct clients cs;

	begin(w, &cs);
	cs.loose = true;
	for (unsigned i = 0; i < 12 && !w->failed; i++) {
		cut(&cs, 1u << world_random(w, w->nnodes));
		work(&cs, 1050 * MONO_MS + world_random(w, 120 * MONO_MS), 3);
		network_heal(w);
		reunite(&cs);
		work(&cs, 200 * MONO_MS, 1);
		world_settle(w, BOUND, true);
	}
}

/* An owner dies while what the others bring is under way to it. */
static void split_and_owner_dies(struct world *w)
{
	struct clients cs;
	unsigned victim;

	begin(w, &cs);
	cut(&cs, 1u << 3);
	work(&cs, 3 * MONO_SEC, 3);
	world_settle(w, BOUND, true);
	network_heal(w);
	world_run(w, world_random(w, 900 * MONO_MS));
	victim = (unsigned)world_random(w, 3);
	world_kill(w, victim, world_chance(w, 0.5));
	reunite(&cs);
	world_start(w, victim);
	world_settle(w, BOUND, true);
	work(&cs, MONO_SEC, 1);
	reunite(&cs);
}

/* The cut is back before all is merged, and heals later. */
static void split_again(struct world *w)
{
	struct clients cs;

	begin(w, &cs);
	cut(&cs, 1u << 2);
	work(&cs, 3 * MONO_SEC, 3);
	world_settle(w, BOUND, true);
	for (unsigned i = 0; i < 4; i++) {
		network_heal(w);
		world_run(w, world_random(w, 700 * MONO_MS));
		network_cut(w, 1u << 2);
		world_run(w, world_random(w, 2 * MONO_SEC));
	}
	network_heal(w);
	reunite(&cs);
	work(&cs, MONO_SEC, 1);
	reunite(&cs);
}

/* What ended while a member was stopped stays away when it is back. */
static void frozen_resurrects_nothing(struct world *w)
{
	struct clients cs;
	struct node *n;

	begin(w, &cs);
	n = &w->nodes[world_random(w, 3)];
	work(&cs, 100 * MONO_MS, 1);
	world_settle(w, BOUND, true);
	world_freeze(w, n->index);
	world_run(w, MONO_SEC);
	/* Some stay: a master gives way to nobody who knows of no session. */
	for (unsigned i = 0; i < CLIENTS - 5; i++) {
		struct client *cl = &cs.all[i];
		struct node *owner = server(&cs, cl->unit, 0);

		if (!cl->at[0].exists || !owner)
			continue;
		cluster_remove(owner->c, cluster_find(owner->c, cl->unit, &cl->key),
			       world_now(w, owner));
		world_touch(w, owner);
		memset(cl->at, 0, sizeof(cl->at));
	}
	world_run(w, 300 * MONO_MS);
	world_thaw(w, n->index);
	world_run(w, 2 * MONO_SEC);
	reunite(&cs);
}

/* What is played. Members 0: three to five. */
static const struct course {
	const char *name;
	unsigned members;
	void (*run)(struct world *w);
} courses[] = {
	{ "member", 3, split_member },
	{ "master", 3, split_master },
	{ "one-and-one", 2, split_1_1 },
	{ "two-and-two", 4, split_2_2 },
	{ "two-and-three", 5, split_2_3 },
	{ "unproven", 6, split_unproven },
	{ "moved", 3, split_and_moved },
	{ "handed-on", 5, split_and_handed_on },
	{ "often", 0, split_often },
	{ "briefly", 3, split_briefly },
	{ "owner-dies", 4, split_and_owner_dies },
	{ "again", 3, split_again },
	{ "frozen", 3, frozen_resurrects_nothing },
};

/* What failed once is played for ever. */
static const struct {
	const char *why, *course;
	uint64_t seed;
} found[] = {
	{ "a former owner's numbers were used again", "often", 101 },
	{ "the same", "handed-on", 7 },
	{ "a session that had ended was back", "often", 126 },
	{ "a new successor believed that it had just heard all clients", "often", 3 },
	{ "what waited in a line that was cut seemed to be new", "briefly", 3 },
};

static uint64_t steps;

static bool play(const struct course *c, uint64_t seed, bool verbose)
{
	struct world *w = memory_get(sizeof(*w));
	bool ok;

	world_init(w, seed, c->members ? c->members : 3 + (unsigned)(seed % 3), verbose);
	c->run(w);
	steps += w->steps;
	world_free(w);
	ok = !w->failed;
	if (!ok)
		printf("FAIL: partition %s %llu: at %.4f s: %s\n", c->name,
		       (unsigned long long)seed, (double)w->now / 1e9, w->failure);
	fflush(stdout);
	memory_put(w);
	return ok;
}

static unsigned play_found(void)
{
	unsigned failures = 0;

	for (unsigned i = 0; i < sizeof(found) / sizeof(found[0]); i++)
		for (unsigned k = 0; k < sizeof(courses) / sizeof(courses[0]); k++)
			if (!strcmp(courses[k].name, found[i].course) &&
			    !play(&courses[k], found[i].seed, false)) {
				printf("that is: %s\n", found[i].why);
				failures++;
			}
	return failures;
}

/* partition [COURSE [SEED [COUNT]]]: COUNT seeds from SEED on, of `all` or of one course. A
 * single seed is told at length. Without arguments: what was found, and some of all. */
int main(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 0) : argc > 2 ? 1 : SEEDS;
	unsigned failures = argc > 1 ? 0 : play_found(), played = 0;

	for (unsigned i = 0; i < sizeof(courses) / sizeof(courses[0]); i++) {
		if (argc > 1 && strcmp(argv[1], "all") &&
		    strcmp(argv[1], courses[i].name))
			continue;
		for (uint64_t s = seed; s < seed + count; s++) {
			failures += !play(&courses[i], s, count == 1);
			played++;
		}
	}
	printf("%u clusters, %llu events, %u failures\n", played,
	       (unsigned long long)steps, failures);
	return failures || !played;
}
