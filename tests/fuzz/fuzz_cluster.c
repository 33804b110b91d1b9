/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole core as a machine: the input is a list of events for a cluster of three to
 * five members, of which one to three are real, see members.h.
 *
 * Peers that are not real, and real ones in whose name it is done, say three kinds of
 * things: any bytes; what a real member has said, changed; and messages in good form,
 * from this run and term or not, whose numbers are from the input or are those that the
 * listener waits for. So an input comes as far as joins, elections, snapshots and moves.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/members.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define EVENTS_MAX 100
#define LIST_MAX 12    /* elements of a list that is said */
#define CHECK_EVERY 16 /* events */

/* What a message is made of. */
struct speech {
	struct unpack *u;
	const struct node *to;
	member_id from;
	unit_id unit; /* the last one that was chosen */
};

static member_id pick_member(struct unpack *u)
{
	return (member_id)(1 + unpack_u8(u) % members_count);
}

static const struct cluster_member_state *known(const struct speech *s, member_id id)
{
	static struct cluster_member_state states[CLUSTER_MEMBERS_MAX];

	cluster_members(s->to->c, states, CLUSTER_MEMBERS_MAX, members_now);
	return &states[id - 1];
}

/* Members that are not real have one incarnation for ever; real ones tell theirs. */
static uint64_t incarnation_of(const struct speech *s, member_id id)
{
	const struct cluster_member_state *m = known(s, id);

	if (members[id].c)
		return cluster_incarnation(members[id].c);
	return m->present ? m->incarnation : (uint64_t)id << 32;
}

static uint8_t pick_u8(struct speech *s)
{
	return unpack_u8(s->u);
}

static uint16_t pick_u16(struct speech *s)
{
	return unpack_u16(s->u);
}

static uint32_t pick_u32(struct speech *s)
{
	uint8_t way = unpack_u8(s->u);

	if (way < 128)
		return way;
	return way < 192 ? s->to->last_sync[s->from] : unpack_u32(s->u);
}

static uint64_t pick_u64(struct speech *s)
{
	struct cluster_unit_state unit;
	uint8_t way = unpack_u8(s->u);

	cluster_unit(s->to->c, s->unit, &unit);
	switch (way % 12) {
	case 0:
		return unpack_u64(s->u);
	case 1:
		return cluster_incarnation(s->to->c);
	case 2:
		return incarnation_of(s, s->from);
	case 3:
		return members_now.ns;
	case 4:
		return members_now.ns - way * MONO_MS;
	case 5:
		return unit.epoch;
	case 6:
		return ((unit.epoch >> 16) + 1) << 16 | s->from;
	case 7:
		return ((unit.epoch >> 16) + 1) << 16 | s->to->id;
	case 8:
		return cluster_position(s->to->c) - way / 12;
	case 9:
		return UINT64_MAX - way / 12;
	case 10:
		return cluster_term(s->to->c) + way / 12;
	default:
		return way / 12;
	}
}

#define pick_epoch pick_u64

static unit_id pick_unit(struct speech *s)
{
	s->unit = unpack_u8(s->u) * 5 % CLUSTER_UNITS;
	return s->unit;
}

static member_id pick_id(struct speech *s)
{
	uint8_t way = unpack_u8(s->u);

	return way < 224 ? way % (members_count + 1) : unpack_u16(s->u) % CLUSTER_ID_MAX;
}

static void pick_key(struct speech *s, struct session_key *key)
{
	memset(key, 0, sizeof(*key));
	key->type = 1;
	key->len = 1;
	key->bytes[0] = unpack_u8(s->u) % 16;
}

static const uint8_t *pick_bytes(struct speech *s, size_t max, size_t *len)
{
	const uint8_t *at;

	*len = unpack_u8(s->u) % 64;
	if (*len > max || *len > unpack_left(s->u))
		*len = 0;
	at = unpack_raw(s->u, *len);
	return at ? at : (const uint8_t *)"";
}

static uint16_t pick_count(struct speech *s, unsigned max)
{
	return (uint16_t)(unpack_u8(s->u) % ((max < LIST_MAX ? max : LIST_MAX) + 1));
}

#define FILL_V(kind, name) m->name = pick_##kind(s);
#define FILL_L(element, name, max)                                                       \
	m->name##_count = pick_count(s, max);                                            \
	for (unsigned i = 0; i < m->name##_count; i++)                                   \
		fill_##element(s, &m->name[i]);
#define FILL_B(name, max) m->name = pick_bytes(s, max, &m->name##_len);
#define FILL_K(name) pick_key(s, &m->name);
#define FILL_R(name, size) memset(m->name, pick_u8(s), size);

#define X(name, FIELDS)                                                                  \
	static void fill_##name(struct speech *s, struct wire_##name *m)                 \
	{                                                                                \
		FIELDS(FILL_V, FILL_L, FILL_B, FILL_K, FILL_R)                           \
	}
WIRE_ELEMENTS(X)
WIRE_MESSAGES(X)
#undef X

static uint64_t pick_term(struct speech *s)
{
	uint64_t term = cluster_term(s->to->c);
	uint8_t way = unpack_u8(s->u);

	switch (way % 5) {
	case 0:
		return ((term >> 16) + 1) << 16 | s->from;
	case 1:
		return (term >> 16) << 16 | s->from;
	case 2:
		return ((term >> 16) - 1) << 16 | s->from;
	case 3:
		return unpack_u64(s->u);
	default:
		return term;
	}
}

/* A message in good form. */
static void speak(struct unpack *u)
{
	static uint8_t msg[CLUSTER_MESSAGE_MAX];
	struct speech s = { .u = u, .from = pick_member(u) };
	uint8_t type, way;
	uint64_t term, run;
	size_t len = 0;

	s.to = &members[1 + unpack_u8(u) % members_real];
	type = unpack_u8(u) % WIRE_TYPES;
	way = unpack_u8(u);
	term = pick_term(&s);
	run = incarnation_of(&s, s.from) + way / 16;
	switch (type) {
#define X(name, FIELDS)                                                                  \
	case wire_type_##name: {                                                         \
		static struct wire_##name m;                                             \
                                                                                         \
		fill_##name(&s, &m);                                                     \
		len = wire_encode_##name(msg, sizeof(msg), term, run, &m);               \
		break;                                                                   \
	}
		WIRE_MESSAGES(X)
#undef X
	}
	if (len)
		members_say(s.from, s.to->id, way & 1, msg, len);
}

static void say_bytes(struct unpack *u, bool stream)
{
	member_id from = pick_member(u), to = pick_member(u);
	size_t len = unpack_u8(u);
	const uint8_t *bytes;

	if (len > unpack_left(u))
		len = unpack_left(u);
	bytes = unpack_raw(u, len);
	if (bytes)
		members_say(from, to, stream, bytes, len);
}

/* The next letter, changed in one place, shortened, by the wrong way or from another. */
static void say_changed(struct unpack *u)
{
	struct letter *l = members_take();
	uint16_t where = unpack_u16(u);
	uint8_t what = unpack_u8(u), how = unpack_u8(u);

	if (!l)
		return;
	l->bytes[where % l->len] ^= what;
	if (how % 8 == 1)
		l->len = where % l->len;
	if (how % 8 == 2)
		l->stream = !l->stream;
	if (how % 8 == 3)
		l->from = pick_member(u);
	members_say(l->from, l->to, l->stream, l->bytes, l->len);
	if (how % 8 == 4)
		members_say(l->from, l->to, l->stream, l->bytes, l->len);
	free(l);
}

static void work(struct unpack *u)
{
	struct node *n = &members[1 + unpack_u8(u) % members_real];
	struct session_key key = { .type = 1, .len = 1 };
	unit_id unit = unpack_u8(u) * 5 % CLUSTER_UNITS;
	uint8_t how = unpack_u8(u);
	struct session *s;

	key.bytes[0] = how >> 4;
	s = cluster_find(n->c, unit, &key);
	switch (how % 8) {
	case 0:
		if (s)
			cluster_remove(n->c, s, members_now);
		return;
	case 1:
	case 2:
		if (s)
			cluster_count(n->c, s, how % 2,
				      session_counter(s, how % 2) + unpack_u8(u),
				      members_now);
		return;
	case 3:
		cluster_flush(n->c, members_now);
		return;
	default:
		cluster_put(n->c, unit, &key, how & 4 ? (const uint8_t *)"ab" : NULL, 2,
			    (const uint8_t *)"cde", 3, NULL, members_now);
	}
}

/* What an operator and the daemon ask for. */
static void command(struct cluster *c, struct unpack *u, uint8_t how)
{
	static uint32_t traffic[CLUSTER_UNITS];
	member_id id = unpack_u8(u) % (members_count + 2);
	unit_id unit = unpack_u8(u) * 5;
	uint32_t ticket = 0;
	int err = 0;

	if (how < 80)
		err = cluster_drain(c, id, how & 4, how & 32, &ticket, members_now);
	else if (how < 160)
		err = cluster_move(c, unit, id, &ticket, members_now);
	else
		traffic[unit % CLUSTER_UNITS] = unpack_u32(u);
	must(err <= 0 && (err != -EINPROGRESS || cluster_result(c, ticket) != -ENOENT));
	cluster_set_load(c, traffic, how, members_now);
	memset(traffic, 0, sizeof(traffic));
}

/* About what happens to a member, or between two of them. */
static void happen(struct unpack *u)
{
	member_id id = (member_id)(1 + unpack_u8(u) % members_real);
	struct node *n = &members[id];
	uint8_t what = unpack_u8(u);

	switch (what % 10) {
	case 0:
		members_link(id, pick_member(u), false);
		break;
	case 1:
		members_link(id, pick_member(u), true);
		break;
	case 2:
		cluster_set_able(n->c, what & 8, "fuzz", members_now);
		break;
	case 3:
		n->disk_full = what & 8;
		break;
	case 4:
		if (what > 240)
			cluster_leave(n->c, members_now);
		break;
	case 5:
		members_restart(id);
		break;
	case 6:
		members_freeze((uint64_t)what * what * MONO_MS / 4);
		break;
	case 7:
		free(members_take());
		break;
	case 8:
		command(n->c, u, what);
		break;
	case 9:
		cluster_urge(n->c, members_now);
		break;
	}
}

static void event(struct unpack *u)
{
	uint8_t kind = unpack_u8(u);

	switch (kind % 8) {
	case 0:
	case 1:
		speak(u);
		break;
	case 2:
		members_run((uint64_t)unpack_u8(u) * MONO_MS);
		break;
	case 3:
		members_run((uint64_t)unpack_u8(u) * 20 * MONO_US);
		break;
	case 4:
		say_changed(u);
		break;
	case 5:
		work(u);
		break;
	case 6:
		happen(u);
		break;
	case 7:
		say_bytes(u, kind & 8);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	/* Mostly one: it is alone with what the input says, and costs least. */
	static const uint8_t real[] = { 1, 1, 1, 2, 1, 1, 3 };
	struct unpack u = unpack_from(input, len);
	uint8_t how = unpack_u8(&u);

	/* They find each other, unless the input has it otherwise. */
	members_start(real[how % sizeof(real)], 3 + how / sizeof(real) % 3,
		      how < 192 ? 800 * MONO_MS : 0);
	for (unsigned i = 0; i < EVENTS_MAX && unpack_left(&u); i++) {
		event(&u);
		if (i % CHECK_EVERY == 0)
			members_check();
	}
	/* Whatever it was: life goes on. */
	members_run(100 * MONO_MS);
	members_check();
	members_stop();
	return 0;
}
