/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the members' charons are configured alike.
 *
 * Every member tells the others the names and digests of the connections that its charon has
 * loaded; each compares them with its own. What differs for longer than it takes to load it
 * everywhere is logged, and shown in the member's status. What a digest leaves out are
 * secrets. Of very many connections the last ones are told by number only.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define FORMAT 1
#define NAME_BYTES 63
#define LIST_BYTES (CLUSTER_NOTICE_MAX - 64)
#define NAMES_SHOWN 4

struct entry {
	char name[NAME_BYTES + 1];
	uint64_t digest;
};

/* Of a member. */
struct list {
	unsigned count;
	uint32_t rest; /* connections that are not told by name */
	uint64_t rest_digest;
	struct entry *entries;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* By name, all children of a connection together. False: out of memory. */
static bool own_list(const struct ipsec *t, struct list *out)
{
	const struct connection *c;
	unsigned n = 0;

	*out = (struct list){ 0 };
	out->entries = calloc(t->nconnections + 1, sizeof(*out->entries));
	if (!out->entries)
		return false;
	LIST_FOREACH(c, &t->connections, next) {
		struct entry *e = &out->entries[n++];

		snprintf(e->name, sizeof(e->name), "%.*s", NAME_BYTES, c->name);
		e->digest = c->digest;
	}
	qsort(out->entries, n, sizeof(*out->entries), by_name);
	for (unsigned i = 0; i < n; i++) {
		struct entry *last = out->count ? &out->entries[out->count - 1] : NULL;

		if (last && !strcmp(last->name, out->entries[i].name))
			last->digest += out->entries[i].digest;
		else
			out->entries[out->count++] = out->entries[i];
	}
	return true;
}

/* What has no room becomes the rest. */
static void shorten(struct list *l)
{
	size_t room = LIST_BYTES;
	unsigned fit = 0;

	while (fit < l->count && strlen(l->entries[fit].name) + 9 <= room)
		room -= strlen(l->entries[fit++].name) + 9;
	l->rest = l->count - fit;
	for (unsigned i = fit; i < l->count; i++)
		l->rest_digest += l->entries[i].digest;
	l->count = fit;
}

void compare_tell(struct ipsec *t, struct mono now)
{
	uint8_t what[CLUSTER_NOTICE_MAX];
	struct pack p = pack_to(what, sizeof(what));
	struct list l;

	if (!t->configured || !own_list(t, &l))
		return;
	shorten(&l);
	pack_u8(&p, FORMAT);
	pack_u32(&p, l.rest);
	pack_u64(&p, l.rest_digest);
	pack_u16(&p, (uint16_t)l.count);
	for (unsigned i = 0; i < l.count; i++) {
		size_t len = strlen(l.entries[i].name);

		pack_u8(&p, (uint8_t)len);
		pack_raw(&p, l.entries[i].name, len);
		pack_u64(&p, l.entries[i].digest);
	}
	if (!p.bad)
		cluster_notice(t->host.cluster, what, (size_t)(p.at - what), now);
	free(l.entries);
}

/* Another member's. False: it is malformed, or out of memory. */
static bool read_list(const struct notice *n, struct list *out)
{
	struct unpack u = unpack_from(n->bytes, n->len);
	bool known = unpack_u8(&u) == FORMAT;

	*out = (struct list){ 0 };
	out->rest = unpack_u32(&u);
	out->rest_digest = unpack_u64(&u);
	out->count = unpack_u16(&u);
	/* Each takes 9 bytes and more, so the count is bounded by the length. */
	if (!known || u.bad || (size_t)out->count * 9 > unpack_left(&u))
		return false;
	out->entries = calloc(out->count + 1u, sizeof(*out->entries));
	for (unsigned i = 0; out->entries && i < out->count; i++) {
		struct entry *e = &out->entries[i];
		size_t len = unpack_u8(&u);
		const uint8_t *name = len <= NAME_BYTES ? unpack_raw(&u, len) : NULL;

		if (!name)
			u.bad = true;
		for (size_t k = 0; name && k < len; k++)
			e->name[k] = (char)(isprint(name[k]) ? name[k] : '?');
		e->digest = unpack_u64(&u);
		/* In order, or the comparison would go astray. */
		if (i && strcmp(out->entries[i - 1].name, e->name) >= 0)
			u.bad = true;
	}
	if (out->entries && unpack_done(&u))
		return true;
	free(out->entries);
	return false;
}

struct difference {
	char *text;
	size_t size;
	unsigned found;
};

static void add(struct difference *d, const char *name, const char *what)
{
	size_t had = strlen(d->text);

	if (d->found++ < NAMES_SHOWN)
		snprintf(d->text + had, d->size - had, "%s%s %s", had ? ", " : "", name,
			 what);
}

static void compare(const struct list *ours, const struct list *theirs,
		    struct difference *d)
{
	unsigned i = 0, k = 0;
	size_t had;

	while (i < ours->count || k < theirs->count) {
		int order = i == ours->count ? 1
			    : k == theirs->count
				? -1
				: strcmp(ours->entries[i].name, theirs->entries[k].name);

		if (order == 0 && ours->entries[i].digest != theirs->entries[k].digest)
			add(d, ours->entries[i].name, "differs");
		else if (order < 0 && !theirs->rest)
			add(d, ours->entries[i].name, "is missing there");
		else if (order > 0 && !ours->rest)
			add(d, theirs->entries[k].name, "is missing here");
		i += order <= 0;
		k += order >= 0;
	}
	if (ours->rest != theirs->rest || ours->rest_digest != theirs->rest_digest)
		add(d, "one of the last of very many", "differs");
	had = strlen(d->text);
	if (d->found > NAMES_SHOWN)
		snprintf(d->text + had, d->size - had, ", and %u more",
			 d->found - NAMES_SHOWN);
}

static struct notice *notice_of(const struct ipsec *t, member_id id)
{
	struct notice *n;

	LIST_FOREACH(n, &t->notices, next)
		if (n->from == id)
			return n;
	return NULL;
}

void compare_noticed(struct ipsec *t, member_id from, const uint8_t *what, size_t len)
{
	struct notice *old = notice_of(t, from), *n;

	if (old && old->len == len && !memcmp(old->bytes, what, len))
		return;
	if (!old && t->nnotices == CLUSTER_MEMBERS_MAX)
		return;
	n = calloc(1, sizeof(*n) + len);
	if (!n)
		return;
	if (old) {
		memcpy(n->remark, old->remark, sizeof(n->remark));
		memcpy(n->logged, old->logged, sizeof(n->logged));
		compare_departed(t, from);
	}
	n->from = from;
	n->len = len;
	memcpy(n->bytes, what, len);
	LIST_INSERT_HEAD(&t->notices, n, next);
	t->nnotices++;
}

void compare_departed(struct ipsec *t, member_id id)
{
	struct notice *n = notice_of(t, id);

	if (!n)
		return;
	LIST_REMOVE(n, next);
	t->nnotices--;
	free(n);
}

void compare_forget(struct ipsec *t)
{
	while (!LIST_EMPTY(&t->notices))
		compare_departed(t, LIST_FIRST(&t->notices)->from);
}

static void look_at(struct ipsec *t, struct notice *n, const struct list *ours)
{
	char text[REMARK_SIZE] = "";
	struct difference d = { .text = text, .size = sizeof(text) };
	struct list theirs;

	if (!read_list(n, &theirs)) {
		snprintf(text, sizeof(text), "its list is not understood");
	} else {
		compare(ours, &theirs, &d);
		free(theirs.entries);
	}
	/* The first time it may just be loading. */
	if (!strcmp(text, n->remark) && strcmp(text, n->logged) != 0) {
		if (*text)
			log_warnx("ipsec: charon's connections are not those of member "
				  "%u: %s",
				  n->from, text);
		else
			log_info("ipsec: charon's connections are those of member %u "
				 "again",
				 n->from);
		memcpy(n->logged, text, sizeof(text));
	}
	memcpy(n->remark, text, sizeof(text));
}

void compare_sweep(struct ipsec *t, struct mono now)
{
	struct notice *n;
	struct list ours;

	compare_tell(t, now);
	if (!t->configured || !own_list(t, &ours))
		return;
	shorten(&ours);
	LIST_FOREACH(n, &t->notices, next)
		look_at(t, n, &ours);
	free(ours.entries);
}

const char *compare_remark(const struct ipsec *t, member_id id)
{
	static char remark[REMARK_SIZE + 32];
	const struct notice *n = notice_of(t, id);

	if (!n || !*n->remark)
		return "";
	snprintf(remark, sizeof(remark), "swanctl's connections differ: %s", n->remark);
	return remark;
}
