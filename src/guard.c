/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/guard.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/log.h"

#define FILE_NAME "protected"

struct entry {
	struct address_block block;
	bool missing;
	struct mono since;
};

struct guard {
	struct guard_handler handler;
	char directory[PATH_MAX - 32];
	struct entry entries[GUARD_MAX];
	unsigned count;
	bool full; /* and said so */
};

static struct entry *find(struct guard *g, const struct address_block *b)
{
	for (unsigned i = 0; i < g->count; i++)
		if (address_block_same(&g->entries[i].block, b))
			return &g->entries[i];
	return NULL;
}

/* Returns whether it is new. */
static bool add(struct guard *g, const struct address_block *b)
{
	struct entry *e = find(g, b);

	if (e) {
		e->missing = false;
		return false;
	}
	if (g->count == GUARD_MAX) {
		if (!g->full)
			log_warnx("more than %u prefixes are configured behind tunnels; "
				  "the others are not protected",
				  GUARD_MAX);
		g->full = true;
		return false;
	}
	g->entries[g->count++] = (struct entry){ .block = *b };
	g->handler.protect(g->handler.ctx, b);
	return true;
}

static void load(struct guard *g)
{
	char path[PATH_MAX], line[ADDRESS_BLOCK_TEXT_MAX + 2];
	struct address_block b;
	unsigned bad = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", g->directory, FILE_NAME);
	f = fopen(path, "re");
	if (!f) {
		if (errno != ENOENT)
			log_warn("%s", path);
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (address_block_parse(line, &b))
			bad++;
		else
			add(g, &b);
	}
	if (bad)
		log_warnx("%s: %u lines are no prefixes", path, bad);
	fclose(f);
}

/* Not synced: after a loss of power charon says it again. */
static void save(const struct guard *g)
{
	char path[PATH_MAX], draft[PATH_MAX], text[ADDRESS_BLOCK_TEXT_MAX];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", g->directory, FILE_NAME);
	snprintf(draft, sizeof(draft), "%s/%s.new", g->directory, FILE_NAME);
	f = fopen(draft, "we");
	if (!f) {
		log_warn("%s", draft);
		return;
	}
	for (unsigned i = 0; i < g->count; i++)
		fprintf(f, "%s\n", address_block_print(&g->entries[i].block, text));
	ok = !ferror(f);
	if (fclose(f) || !ok || rename(draft, path))
		log_warn("%s", path);
}

struct guard *guard_open(const char *directory, const struct guard_handler *handler)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->handler = *handler;
	snprintf(g->directory, sizeof(g->directory), "%s", directory);
	load(g);
	return g;
}

void guard_close(struct guard *g)
{
	free(g);
}

void guard_report(struct guard *g, const struct address_block *list, unsigned count,
		  struct mono now)
{
	bool changed = false;

	for (unsigned i = 0; i < g->count; i++) {
		struct entry *e = &g->entries[i];

		if (!e->missing)
			e->since = now;
		e->missing = true;
	}
	for (unsigned i = 0; i < count; i++)
		changed |= add(g, &list[i]);
	if (changed)
		save(g);
}

void guard_alone(struct guard *g)
{
	for (unsigned i = 0; i < g->count; i++)
		g->entries[i].missing = false;
}

void guard_tick(struct guard *g, struct mono now)
{
	unsigned before = g->count;

	for (unsigned i = 0; i < g->count;) {
		struct entry *e = &g->entries[i];

		if (!e->missing || mono_since(now, e->since) < GUARD_KEEP) {
			i++;
			continue;
		}
		g->handler.unprotect(g->handler.ctx, &e->block);
		*e = g->entries[--g->count];
	}
	if (g->count == before)
		return;
	g->full = false;
	save(g);
}

unsigned guard_count(const struct guard *g)
{
	return g->count;
}
