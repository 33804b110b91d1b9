/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions that have ended, by key, so that the copy of a part that was cut off meanwhile
 * does not bring them back to life; see merge.c.
 *
 * Each member remembers what ended in its part, and when it was that the peer was heard
 * for the last time: the end is in force unless another part has heard the peer later.
 * Owners tell it with a unit's state, so whoever owns the unit in the end knows of it.
 *
 * What is remembered is bounded in number, the oldest goes first; and in time. While
 * everybody is here that may be a member, nobody comes back with an old copy. A copy that
 * comes back later than that is ended by the peer's silence.
 */
#include <stdlib.h>

#include "cluster/internal.h"

#define ENDED_MAX 8192
#define KEEP_TOGETHER (60 * MONO_SEC)
#define KEEP_APART (3600 * MONO_SEC)
#define LOOK (10 * MONO_SEC)

struct ended *ended_find(const struct cluster *c, unit_id u,
			 const struct session_key *key)
{
	struct ended *e;

	LIST_FOREACH(e, &c->units[u].ended, in_unit)
		if (store_key_equal(&e->key, key))
			return e;
	return NULL;
}

static void drop(struct cluster *c, struct ended *e)
{
	LIST_REMOVE(e, in_unit);
	TAILQ_REMOVE(&c->ended, e, in_order);
	c->nended--;
	free(e);
}

void ended_forget(struct cluster *c, unit_id u, const struct session_key *key)
{
	struct ended *e = ended_find(c, u, key);

	if (e)
		drop(c, e);
}

void ended_note(struct cluster *c, unit_id u, const struct session_key *key,
		struct mono heard)
{
	struct ended *e = ended_find(c, u, key);

	if (e) {
		e->heard = mono_max(e->heard, heard);
		return;
	}
	if (c->nended >= ENDED_MAX)
		drop(c, TAILQ_FIRST(&c->ended));
	e = calloc(1, sizeof(*e));
	if (!e) {
		count(c, STAT_out_of_memory);
		return;
	}
	e->key = *key;
	e->unit = u;
	e->heard = heard;
	e->at = c->now;
	LIST_INSERT_HEAD(&c->units[u].ended, e, in_unit);
	if (TAILQ_EMPTY(&c->ended))
		c->ended_at = mono_add(c->now, LOOK);
	TAILQ_INSERT_TAIL(&c->ended, e, in_order);
	c->nended++;
}

void ended_free(struct cluster *c)
{
	while (!TAILQ_EMPTY(&c->ended))
		drop(c, TAILQ_FIRST(&c->ended));
}

static bool together(const struct cluster *c)
{
	EACH_MEMBER((struct cluster *)c, m)
		if (m == c->self ? !c->complete : !m->present || !m->complete)
			return false;
	return true;
}

void ended_tick(struct cluster *c)
{
	uint64_t keep = together(c) ? KEEP_TOGETHER : KEEP_APART;
	struct ended *e;

	if (!c->nended || !due(c, c->ended_at))
		return;
	while ((e = TAILQ_FIRST(&c->ended)) && mono_since(c->now, e->at) >= keep)
		drop(c, e);
	c->ended_at = mono_add(c->now, LOOK);
}

struct mono ended_timeout(const struct cluster *c)
{
	return c->nended ? c->ended_at : MONO_NEVER;
}
