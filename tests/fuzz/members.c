/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/internal.h"
#include "tests/fuzz/members.h"

#define LATENCY (100 * MONO_US)
#define POST_MAX 4096	     /* letters; then a stream breaks and datagrams are lost */
#define SAID_MAX 40000	     /* messages that one event may cause */
#define TICKS_AT_ONCE_MAX 64 /* ticks without time passing */
#define TICKS_A_SECOND 20000 /* the shortest delay is 250 us, of counters */
#define START (1000 * MONO_SEC)

struct node members[MEMBERS_MAX + 1];
unsigned members_count, members_real;
struct mono members_now;
struct letters members_post;
static unsigned posted; /* letters in the post */
static unsigned said;	/* in the present call of a member */
static bool linked[MEMBERS_MAX + 1][MEMBERS_MAX + 1];
static uint64_t random_state;

void must(bool condition)
{
	if (!condition)
		abort();
}

/* The core's effects. */

static void post(struct node *from, member_id to, bool stream, const uint8_t *msg,
		 size_t len)
{
	struct letter *l = malloc(sizeof(*l) + len);

	must(l != NULL);
	l->from = from->id;
	l->to = to;
	l->stream = stream;
	l->due = mono_add(members_now, LATENCY);
	l->len = len;
	memcpy(l->bytes, msg, len);
	STAILQ_INSERT_TAIL(&members_post, l, next);
	posted++;
}

/* What it says has to be in good form, whatever it has heard. */
static void check_form(const uint8_t *msg, size_t len)
{
	struct unpack u = unpack_from(msg, len);
	struct wire_header h;

	must(wire_decode_header(&u, &h) == 0);
	must(h.type > WIRE_TYPE_NONE && h.type < WIRE_TYPES);
	must(++said <= SAID_MAX);
}

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct node *n = ctx;

	must(to != n->id && to >= 1 && to <= members_count);
	must(len > 0 && len <= CLUSTER_DATAGRAM_MAX);
	check_form(msg, len);
	if (members[to].c && posted < POST_MAX)
		post(n, to, false, msg, len);
}

static void note_sync(struct node *n, member_id to, const uint8_t *msg, size_t len)
{
	struct unpack u = unpack_from(msg, len);
	struct wire_header h;
	struct wire_sync sync;

	if (!wire_decode_header(&u, &h) && h.type == wire_type_sync &&
	    !wire_decode_sync(&u, &sync))
		n->last_sync[to] = sync.sync;
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct node *n = ctx;

	must(to != n->id && to >= 1 && to <= members_count);
	must(len > 0 && len <= CLUSTER_MESSAGE_MAX);
	check_form(msg, len);
	if (!linked[n->id][to])
		return -ENOTCONN;
	note_sync(n, to, msg, len);
	if (!members[to].c)
		return 0;
	if (posted >= POST_MAX)
		return -ENOBUFS;
	post(n, to, true, msg, len);
	return 0;
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		random_state = random_state * UINT64_C(6364136223846793005) + 1;
		out[i] = (uint8_t)(random_state >> 56);
	}
}

static int io_save(void *ctx, uint32_t number)
{
	struct node *n = ctx;

	must(number > n->saved && number <= CLUSTER_ACTIVATION_MAX);
	if (n->disk_full)
		return -ENOSPC;
	n->saved = number;
	return 0;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct node *n = ctx;
	uint64_t any = 0;

	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++) {
		any |= gained->bits[i] | lost->bits[i];
		must(!(lost->bits[i] & ~n->own.bits[i]));
		n->own.bits[i] &= ~lost->bits[i];
		must(!(gained->bits[i] & n->own.bits[i]));
		n->own.bits[i] |= gained->bits[i];
		must(!gained->bits[i] || activation == n->saved);
	}
	must(any != 0);
}

static void io_nothing(void *ctx)
{
}

static void io_session(void *ctx, struct session *s)
{
	size_t len;

	must(session_key(s)->len <= CLUSTER_KEY_MAX && session_unit(s) < CLUSTER_UNITS);
	session_initial(s, &len);
	must(len <= WIRE_PARTS_MAX);
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
	const struct node *n = ctx;
	struct cluster_unit_state unit;

	io_session(ctx, s);
	cluster_unit(n->c, session_unit(s), &unit);
	must(unit.owner == n->id);
	must(cluster_counted(n->c, s, slot) <= session_counter(s, slot));
}

static void io_log(void *ctx, const char *line)
{
}

static void io_refused(void *ctx, member_id from, const char *why, bool fault)
{
	must(why && *why);
}

static void start(struct node *n)
{
	struct cluster_config config = { .self = n->id,
					 .detection = 200 * MONO_MS,
					 .capacity = n->id,
					 .moves = 16,
					 .balance = 2 * MONO_SEC,
					 .activation = n->saved,
					 .npeers = members_count };
	const struct cluster_io io = {
		.ctx = n,
		.datagram = io_datagram,
		.stream = io_stream,
		.random = io_random,
		.save_activation = io_save,
		.units = io_units,
		.table = io_nothing,
		.changed = io_session,
		.removed = io_session,
		.committed = io_nothing,
		.counted = io_counted,
		.role = io_nothing,
		.refused = io_refused,
		.log = io_log,
	};

	for (unsigned i = 0; i < members_count; i++)
		config.peers[i].id = (member_id)(i + 1);
	memset(&n->own, 0, sizeof(n->own));
	n->c = cluster_new(&config, &io, members_now);
	must(n->c != NULL);
	cluster_set_able(n->c, true, NULL, members_now);
}

static void begin(unsigned real, unsigned count)
{
	members_now.ns = START;
	members_count = count;
	members_real = real;
	posted = 0;
	random_state = 1;
	STAILQ_INIT(&members_post);
	memset(members, 0, sizeof(members));
	memset(linked, 0, sizeof(linked));
	for (member_id id = 1; id <= count; id++)
		members[id].id = id;
	for (member_id id = 1; id <= real; id++)
		start(&members[id]);
	for (member_id a = 1; a <= count; a++)
		for (member_id b = 1; b < a; b++)
			members_link(a, b, true);
}

/*
 * To make a member costs more than most inputs do, so a beginning is made once, and copied:
 * a member has its state in one piece, which its own pointers stay right in, and in the
 * buckets of its sessions, of which it has none yet. Places of members that there are not
 * are not used, and not copied.
 */
struct beginning {
	bool made;
	struct node members[MEMBERS_MAX + 1];
	struct {
		uint8_t head[offsetof(struct cluster, members[MEMBERS_MAX])];
		uint8_t tail[sizeof(struct cluster) - offsetof(struct cluster, places)];
	} * state[MEMBERS_MAX + 1];
	bool linked[MEMBERS_MAX + 1][MEMBERS_MAX + 1];
	struct mono now;
	uint64_t random_state;
	struct letters post;
};

static struct beginning beginnings[MEMBERS_MAX + 1][MEMBERS_MAX + 1][2];
static const struct beginning *began; /* with this one */

static void append(struct letters *to, const struct letter *l)
{
	struct letter *copy = malloc(sizeof(*l) + l->len);

	must(copy != NULL);
	memcpy(copy, l, sizeof(*l) + l->len);
	STAILQ_INSERT_TAIL(to, copy, next);
}

static void keep(struct beginning *b)
{
	const struct letter *l;

	memcpy(b->members, members, sizeof(members));
	memcpy(b->linked, linked, sizeof(linked));
	b->now = members_now;
	b->random_state = random_state;
	STAILQ_INIT(&b->post);
	STAILQ_FOREACH(l, &members_post, next)
		append(&b->post, l);
	for (member_id id = 1; id <= members_real; id++) {
		const struct cluster *c = members[id].c;

		must(!c->nsessions && !c->nended);
		b->state[id] = malloc(sizeof(*b->state[id]));
		must(b->state[id] != NULL);
		memcpy(b->state[id]->head, c, sizeof(b->state[id]->head));
		memcpy(b->state[id]->tail, c->places, sizeof(b->state[id]->tail));
	}
	b->made = true;
}

static void restore(const struct beginning *b)
{
	const struct letter *l;

	memcpy(members, b->members, sizeof(members));
	memcpy(linked, b->linked, sizeof(linked));
	members_now = b->now;
	random_state = b->random_state;
	STAILQ_INIT(&members_post);
	posted = 0;
	STAILQ_FOREACH(l, &b->post, next) {
		append(&members_post, l);
		posted++;
	}
	for (member_id id = 1; id <= members_real; id++) {
		struct cluster *c = members[id].c;

		memcpy(c, b->state[id]->head, sizeof(b->state[id]->head));
		memcpy(c->places, b->state[id]->tail, sizeof(b->state[id]->tail));
		must(store_init(c) == 0);
	}
}

/* What is copied to again stays, without what it holds. */
static void end(struct node *n)
{
	if (!n->c || n->c != began->members[n->id].c) {
		cluster_free(n->c);
		return;
	}
	merge_free(n->c);
	ended_free(n->c);
	store_free(n->c);
}

void members_start(unsigned real, unsigned count, uint64_t ns)
{
	struct beginning *b = &beginnings[real][count][ns > 0];

	began = b;
	members_count = count;
	members_real = real;
	if (b->made) {
		restore(b);
		return;
	}
	begin(real, count);
	members_run(ns);
	keep(b);
}

void members_stop(void)
{
	for (member_id id = 1; id <= members_count; id++)
		end(&members[id]);
	while (posted)
		free(members_take());
}

void members_restart(member_id id)
{
	struct node *n = &members[id];

	if (!n->c)
		return;
	for (member_id peer = 1; peer <= members_count; peer++)
		if (peer != id)
			members_link(id, peer, false);
	end(n);
	start(n);
	for (member_id peer = 1; peer <= members_count; peer++)
		if (peer != id)
			members_link(id, peer, true);
}

/* What a broken stream had under way is lost. */
static void lose_stream(member_id a, member_id b)
{
	struct letters kept = STAILQ_HEAD_INITIALIZER(kept);
	struct letter *l;

	while ((l = members_take())) {
		if (l->stream &&
		    ((l->from == a && l->to == b) || (l->from == b && l->to == a))) {
			free(l);
			continue;
		}
		STAILQ_INSERT_TAIL(&kept, l, next);
	}
	while ((l = STAILQ_FIRST(&kept))) {
		STAILQ_REMOVE_HEAD(&kept, next);
		STAILQ_INSERT_TAIL(&members_post, l, next);
		posted++;
	}
}

void members_link(member_id a, member_id b, bool up)
{
	if (a == b || linked[a][b] == up)
		return;
	linked[a][b] = linked[b][a] = up;
	if (!up)
		lose_stream(a, b);
	said = 0;
	if (members[a].c)
		cluster_link(members[a].c, b, up, members_now);
	if (members[b].c)
		cluster_link(members[b].c, a, up, members_now);
}

void members_say(member_id from, member_id to, bool stream, const uint8_t *bytes,
		 size_t len)
{
	struct cluster *c = members[to].c;

	said = 0;
	if (c)
		(stream ? cluster_recv_stream : cluster_recv_datagram)(c, from, bytes,
								       len, members_now);
}

struct letter *members_take(void)
{
	struct letter *l = STAILQ_FIRST(&members_post);

	if (!l)
		return NULL;
	STAILQ_REMOVE_HEAD(&members_post, next);
	posted--;
	return l;
}

static void tick(struct node *n)
{
	unsigned ticks = 0;

	while (n->c && !mono_before(members_now, cluster_timeout(n->c))) {
		must(ticks++ < TICKS_AT_ONCE_MAX);
		said = 0;
		cluster_tick(n->c, members_now);
	}
}

static void deliver(void)
{
	struct letter *l = members_take();

	if (!l->stream || linked[l->from][l->to])
		members_say(l->from, l->to, l->stream, l->bytes, l->len);
	free(l);
}

static struct mono next_event(struct mono end)
{
	const struct letter *l = STAILQ_FIRST(&members_post);

	for (member_id id = 1; id <= members_count; id++)
		if (members[id].c)
			end = mono_min(end, cluster_timeout(members[id].c));
	return l ? mono_min(end, l->due) : end;
}

void members_run(uint64_t ns)
{
	const struct mono end = mono_add(members_now, ns);
	uint64_t left = (ns / MONO_MS + 1) * (TICKS_A_SECOND / 1000) * members_real;

	for (;;) {
		const struct letter *l;
		struct mono at = next_event(end);

		if (mono_before(members_now, at))
			members_now = at;
		for (member_id id = 1; id <= members_count; id++)
			tick(&members[id]);
		while ((l = STAILQ_FIRST(&members_post)) &&
		       !mono_before(members_now, l->due))
			deliver();
		if (!mono_before(members_now, end))
			return;
		must(left-- > 0);
	}
}

void members_freeze(uint64_t ns)
{
	members_now = mono_add(members_now, ns);
}

static int count_session(void *ctx, struct session *s)
{
	io_session(NULL, s);
	++*(unsigned *)ctx;
	return 0;
}

static void check_member(const struct node *n)
{
	struct cluster_member_state states[CLUSTER_MEMBERS_MAX];
	unsigned units = 0, sessions = 0, found = 0;

	must(cluster_members(n->c, states, CLUSTER_MEMBERS_MAX, members_now) ==
	     members_count);
	for (unsigned i = 0; i < members_count; i++) {
		must(strlen(states[i].why) <= WIRE_BARRED_MAX);
		must(states[i].loss >= 0 && states[i].loss <= 1);
		must(!states[i].refused == !*states[i].refused_why);
		units += states[i].units;
	}
	must(units <= CLUSTER_UNITS);
	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		struct cluster_unit_state unit;

		cluster_unit(n->c, u, &unit);
		sessions += unit.sessions;
		must(!unit_set_has(&n->own, u) || unit.owner == n->id);
		if (cluster_serves(n->c, u, members_now))
			must(unit_set_has(&n->own, u));
	}
	cluster_each(n->c, CLUSTER_UNITS, count_session, &found);
	must(found == sessions);
	must(cluster_role(n->c) != CLUSTER_LEFT ||
	     cluster_timeout(n->c).ns == UINT64_MAX);
}

void members_check(void)
{
	for (member_id id = 1; id <= members_count; id++)
		if (members[id].c)
			check_member(&members[id]);
}
