/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/cores.h"

#define DELAY (100 * MONO_US)

struct parcel {
	struct parcel *next;
	struct mono at;
	unsigned from, to;
	const struct cluster *sender, *receiver; /* the runs that it belongs to */
	bool stream;
	size_t len;
	uint8_t bytes[];
};

static struct core *core_of(struct cores *k, member_id id)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->at[i].id == id)
			return &k->at[i];
	return NULL;
}

static void post(struct core *from, struct core *to, const uint8_t *msg, size_t len,
		 bool stream)
{
	struct cores *k = from->all;
	struct unpack u = unpack_from(msg, len);
	struct wire_header h;
	struct parcel *p;

	assert_int_equal(wire_decode_header(&u, &h), 0);
	k->sent[from->index][h.type]++;
	if (!to->c || k->cut[from->index][to->index])
		return;
	if (!stream && k->lose && k->lose(k, from->index, to->index, &h))
		return;
	p = malloc(sizeof(*p) + len);
	assert_non_null(p);
	*p = (struct parcel){ .at = mono_add(k->now, DELAY),
			      .from = from->index,
			      .to = to->index,
			      .sender = from->c,
			      .receiver = to->c,
			      .stream = stream,
			      .len = len };
	memcpy(p->bytes, msg, len);
	*k->last = p;
	k->last = &p->next;
}

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct core *me = ctx, *peer = core_of(me->all, to);

	if (peer)
		post(me, peer, msg, len, false);
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct core *me = ctx, *peer = core_of(me->all, to);

	if (!peer || !me->all->linked[me->index][peer->index])
		return -ENOTCONN;
	post(me, peer, msg, len, true);
	return 0;
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	struct cores *k = ((struct core *)ctx)->all;

	while (len--) {
		k->random =
		    k->random * UINT64_C(6364136223846793005) + 1442695040888963407;
		*out++ = (uint8_t)(k->random >> 56);
	}
}

static int io_save(void *ctx, uint32_t number)
{
	((struct core *)ctx)->disk = number;
	return 0;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct core *me = ctx;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		if (unit_set_has(gained, u))
			unit_set_add(&me->owned, u);
		if (unit_set_has(lost, u))
			unit_set_remove(&me->owned, u);
	}
}

static void io_nothing(void *ctx)
{
}

static void io_session(void *ctx, struct session *s)
{
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
}

static void io_log(void *ctx, const char *line)
{
	struct core *me = ctx;

	snprintf(me->lines[me->nlines++ % CORES_LINES], sizeof(me->lines[0]), "%s", line);
	if (getenv("CORES_LOG"))
		printf("%9.4f m%u: %s\n", (double)me->all->now.ns / 1e9, me->index + 1,
		       line);
}

static void io_join_asked(void *ctx, member_id id, const char *name, uint64_t incarnation)
{
	struct core *me = ctx;

	me->asked++;
	me->asked_id = id;
	me->asked_incarnation = incarnation;
}

static void io_joined(void *ctx, member_id id)
{
	((struct core *)ctx)->joined++;
}

static void io_departed(void *ctx, member_id id, const char *why)
{
	struct core *me = ctx;

	me->departed++;
	me->departed_id = id;
	snprintf(me->departed_why, sizeof(me->departed_why), "%s", why);
}

static size_t io_config_text(void *ctx, uint8_t *out, size_t size)
{
	const struct core *me = ctx;
	size_t len = me->config_text ? strlen(me->config_text) : 0;

	assert_true(len <= size);
	if (len)
		memcpy(out, me->config_text, len);
	return len;
}

static void io_config(void *ctx, member_id from, uint32_t version, const uint8_t *text,
		      size_t len)
{
	struct core *me = ctx;

	me->configs++;
	me->config_version = version;
	snprintf(me->config_got, sizeof(me->config_got), "%.*s", (int)len,
		 (const char *)text);
}

static int io_asked(void *ctx, const struct cluster_asker *asker, unit_id unit,
		    const struct session_key *key, const uint8_t *what, size_t len)
{
	struct core *me = ctx;

	me->errands++;
	me->asker = *asker;
	memcpy(me->errand, what, len);
	me->errand_len = len;
	return me->errand_result;
}

struct cores *cores_new(unsigned n)
{
	struct cores *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	assert_in_range(n, 1, CORES_MAX);
	k->n = n;
	k->now.ns = 1000 * MONO_SEC;
	k->random = 1;
	k->last = &k->first;
	for (unsigned i = 0; i < n; i++) {
		struct core *core = &k->at[i];

		core->all = k;
		core->index = i;
		core->id = (member_id)(10 * (i + 1));
		core->config = (struct cluster_config){ .self = core->id,
							.detection = 200 * MONO_MS,
							.capacity = 1,
							.npeers = n };
		for (unsigned j = 0; j < n; j++) {
			core->config.peers[j].id = (member_id)(10 * (j + 1));
			snprintf(core->config.peers[j].name, CLUSTER_NAME_MAX, "m%u",
				 j + 1);
		}
	}
	return k;
}

static void set_link(struct cores *k, unsigned a, unsigned b, bool up)
{
	if (k->linked[a][b] == up)
		return;
	k->linked[a][b] = k->linked[b][a] = up;
	if (k->at[a].c)
		cluster_link(k->at[a].c, k->at[b].id, up, k->now);
	if (k->at[b].c)
		cluster_link(k->at[b].c, k->at[a].id, up, k->now);
}

void cores_start(struct cores *k, unsigned i)
{
	struct core *core = &k->at[i];
	struct cluster_io io = {
		.ctx = core,
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
		.log = io_log,
		.join_asked = core->approves ? io_join_asked : NULL,
		.joined = io_joined,
		.departed = io_departed,
		.config_text = io_config_text,
		.config = io_config,
		.asked = io_asked,
	};

	assert_null(core->c);
	core->config.activation = core->disk;
	core->c = cluster_new(&core->config, &io, k->now);
	assert_non_null(core->c);
	core->overdue = MONO_NEVER;
	cluster_set_able(core->c, true, NULL, k->now);
	for (unsigned j = 0; j < k->n; j++)
		if (j != i && k->at[j].c && !k->cut[i][j] && !k->cut[j][i])
			set_link(k, i, j, true);
}

void cores_start_all(struct cores *k)
{
	for (unsigned i = 0; i < k->n; i++)
		cores_start(k, i);
}

void cores_kill(struct cores *k, unsigned i, bool note)
{
	struct core *core = &k->at[i];
	uint8_t msg[64];
	size_t len = cluster_death_note(core->c, msg, sizeof(msg));

	for (unsigned j = 0; note && j < k->n; j++)
		if (j != i)
			post(core, &k->at[j], msg, len, false);
	cluster_free(core->c);
	core->c = NULL;
	core->stopped = false;
	memset(&core->owned, 0, sizeof(core->owned));
	for (unsigned j = 0; j < k->n; j++)
		if (j != i)
			set_link(k, i, j, false);
}

void cores_cut(struct cores *k, unsigned a, unsigned b, bool cut)
{
	k->cut[a][b] = k->cut[b][a] = cut;
	set_link(k, a, b, !cut && k->at[a].c && k->at[b].c);
}

void cores_deliver(struct cores *k, member_id from, unsigned to, const uint8_t *msg,
		   size_t len)
{
	cluster_recv_datagram(k->at[to].c, from, msg, len, k->now);
}

static void hand_over(struct cores *k, struct parcel *p)
{
	struct core *to = &k->at[p->to];
	const struct core *from = &k->at[p->from];

	/* What a dead process has sent arrives nevertheless. */
	if (!to->c || to->c != p->receiver || to->stopped)
		return;
	if (!p->stream)
		cluster_recv_datagram(to->c, from->id, p->bytes, p->len, k->now);
	else if (from->c == p->sender && k->linked[p->from][p->to])
		cluster_recv_stream(to->c, from->id, p->bytes, p->len, k->now);
}

/* A timer that has run out stays so, whatever comes in meanwhile. */
static struct mono wanted(struct core *core)
{
	struct mono t;

	if (!core->c || core->stopped)
		return MONO_NEVER;
	t = mono_add(cluster_timeout(core->c), core->slow);
	if (!mono_before(core->all->now, cluster_timeout(core->c)) &&
	    mono_before(t, core->overdue))
		core->overdue = t;
	return mono_min(t, core->overdue);
}

/* One event that is due until `end`. */
static bool step(struct cores *k, struct mono end)
{
	struct core *next = NULL;
	struct mono at = k->first ? k->first->at : MONO_NEVER;

	for (unsigned i = 0; i < k->n; i++)
		if (mono_before(wanted(&k->at[i]), at)) {
			next = &k->at[i];
			at = wanted(next);
		}
	if (mono_before(end, at))
		return false;
	/* A tick that asks for another at once gets it a little later. */
	k->now.ns = at.ns > k->now.ns ? at.ns : k->now.ns + 1;
	if (next) {
		next->overdue = MONO_NEVER;
		cluster_tick(next->c, k->now);
	} else {
		struct parcel *p = k->first;

		k->first = p->next;
		if (!k->first)
			k->last = &k->first;
		hand_over(k, p);
		free(p);
	}
	return true;
}

void cores_run(struct cores *k, uint64_t time)
{
	struct mono end = mono_add(k->now, time);

	while (step(k, end))
		;
	k->now = mono_before(k->now, end) ? end : k->now;
}

void cores_free(struct cores *k)
{
	while (k->first) {
		struct parcel *p = k->first;

		k->first = p->next;
		free(p);
	}
	for (unsigned i = 0; i < k->n; i++)
		cluster_free(k->at[i].c);
	free(k);
}

unsigned cores_masters(struct cores *k)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->n; i++)
		n += k->at[i].c && cluster_role(k->at[i].c) == CLUSTER_MASTER;
	return n;
}

unsigned cores_master(struct cores *k)
{
	assert_int_equal(cores_masters(k), 1);
	for (unsigned i = 0; i < k->n; i++)
		if (k->at[i].c && cluster_role(k->at[i].c) == CLUSTER_MASTER)
			return i;
	return 0;
}

struct cluster_member_state cores_view(struct cores *k, unsigned i, unsigned of)
{
	struct cluster_member_state m[CLUSTER_MEMBERS_MAX];
	unsigned n = cluster_members(k->at[i].c, m, CLUSTER_MEMBERS_MAX, k->now);

	for (unsigned j = 0; j < n; j++)
		if (m[j].id == k->at[of].id)
			return m[j];
	fail_msg("m%u does not know m%u", i + 1, of + 1);
	return m[0];
}

bool cores_settled(struct cores *k)
{
	unsigned running = 0;

	if (cores_masters(k) != 1)
		return false;
	for (unsigned i = 0; i < k->n; i++)
		running += k->at[i].c != NULL;
	for (unsigned i = 0; i < k->n; i++) {
		if (!k->at[i].c)
			continue;
		for (unsigned j = 0; j < k->n; j++)
			if (k->at[j].c && (!cores_view(k, i, j).present ||
					   !cores_view(k, i, j).complete))
				return false;
		for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
			struct cluster_unit_state s;

			cluster_unit(k->at[i].c, u, &s);
			if (!s.owner || (running > 1 && !s.successor))
				return false;
		}
	}
	return true;
}

uint64_t cores_statistic(struct cores *k, unsigned i, const char *name)
{
	const char *names[256];
	uint64_t values[256];
	unsigned n = cluster_statistics(k->at[i].c, names, values, 256);

	for (unsigned j = 0; j < n; j++)
		if (!strcmp(names[j], name))
			return values[j];
	fail_msg("no statistic %s", name);
	return 0;
}

bool cores_logged(struct cores *k, unsigned i, const char *text)
{
	for (unsigned j = 0; j < k->at[i].nlines && j < CORES_LINES; j++)
		if (strstr(k->at[i].lines[j], text))
			return true;
	return false;
}
