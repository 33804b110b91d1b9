/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/lpm.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

struct node {
	struct node *child[2];
	int value; /* -1: no prefix ends here */
};

struct lpm {
	struct node root;
	unsigned bits;
};

static unsigned bit_at(const uint8_t *address, unsigned i)
{
	return address[i / 8] >> (7 - i % 8) & 1;
}

struct lpm *lpm_new(unsigned bits)
{
	struct lpm *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->bits = bits < LPM_BITS_MAX ? bits : LPM_BITS_MAX;
	t->root.value = -1;
	return t;
}

static void node_free(struct node *n) /* as deep as an address is long */
{
	if (!n)
		return;
	node_free(n->child[0]);
	node_free(n->child[1]);
	free(n);
}

void lpm_free(struct lpm *t)
{
	if (!t)
		return;
	node_free(t->root.child[0]);
	node_free(t->root.child[1]);
	free(t);
}

/* Takes away the nodes below `path` that hold nothing any more. */
static void prune(struct node **path, unsigned depth)
{
	for (; depth > 0; depth--) {
		struct node *n = path[depth], *parent = path[depth - 1];
		if (n->value >= 0 || n->child[0] || n->child[1])
			return;
		parent->child[parent->child[1] == n] = NULL;
		free(n);
	}
}

int lpm_add(struct lpm *t, const uint8_t *address, unsigned prefixlen, int value)
{
	struct node *path[LPM_BITS_MAX + 1] = { &t->root };

	if (prefixlen > t->bits || value < 0)
		return -EINVAL;
	for (unsigned i = 0; i < prefixlen; i++) {
		struct node **next = &path[i]->child[bit_at(address, i)];
		if (!*next) {
			*next = calloc(1, sizeof(**next));
			if (!*next) {
				prune(path, i);
				return -ENOMEM;
			}
			(*next)->value = -1;
		}
		path[i + 1] = *next;
	}
	path[prefixlen]->value = value;
	return 0;
}

int lpm_del(struct lpm *t, const uint8_t *address, unsigned prefixlen)
{
	struct node *path[LPM_BITS_MAX + 1] = { &t->root };

	if (prefixlen > t->bits)
		return -EINVAL;
	for (unsigned i = 0; i < prefixlen; i++) {
		path[i + 1] = path[i]->child[bit_at(address, i)];
		if (!path[i + 1])
			return -ENOENT;
	}
	if (path[prefixlen]->value < 0)
		return -ENOENT;
	path[prefixlen]->value = -1;
	prune(path, prefixlen);
	return 0;
}

int lpm_find(const struct lpm *t, const uint8_t *address)
{
	const struct node *n = &t->root;
	int best = n->value;

	for (unsigned i = 0; i < t->bits; i++) {
		n = n->child[bit_at(address, i)];
		if (!n)
			break;
		if (n->value >= 0)
			best = n->value;
	}
	return best;
}
