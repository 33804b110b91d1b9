/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The heap of events to come: the earliest first, and of equals the one pushed first. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/world.h"

struct event *event_new(enum event_type type, unsigned from, unsigned to,
			const uint8_t *bytes, size_t len)
{
	struct event *e = memory_get(sizeof(*e) + len);

	memset(e, 0, sizeof(*e));
	e->type = type;
	e->from = from;
	e->to = to;
	e->len = len;
	if (len)
		memcpy(e->bytes, bytes, len);
	return e;
}

static bool before(const struct place *a, const struct place *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void event_push(struct world *w, struct event *e, uint64_t at)
{
	struct place p = { at, ++w->order, e };
	size_t i;

	if (w->nheap == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 1024;
		w->heap = memory_resize(w->heap, w->cap * sizeof(*w->heap));
	}
	e->at = at;
	for (i = w->nheap++; i && before(&p, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = p;
}

struct event *event_pop(struct world *w)
{
	struct place top = w->heap[0], last = w->heap[--w->nheap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->nheap) {
		if (child + 1 < w->nheap && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top.e;
}

void event_append(struct event ***list, size_t *n, size_t *cap, struct event *e)
{
	if (*n == *cap) {
		*cap = *cap ? *cap * 2 : 64;
		*list = memory_resize(*list, *cap * sizeof(**list));
	}
	(*list)[(*n)++] = e;
}
