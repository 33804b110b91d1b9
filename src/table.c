/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct table {
	unsigned ncolumns;
	bool right[TABLE_COLUMNS_MAX];
	size_t width[TABLE_COLUMNS_MAX];
	char **cells; /* the headings are the first row */
	size_t ncells, size;
	bool begun; /* the headings are printed */
};

static void *need(void *memory)
{
	if (!memory) {
		fputs("out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return memory;
}

/* What a terminal shows: continuation bytes of UTF-8 take no column. */
static size_t columns_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* Takes over `text`. */
static void add_cell(struct table *t, char *text)
{
	size_t column = t->ncells % t->ncolumns, width;

	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	width = columns_of(text);
	if (width > t->width[column])
		t->width[column] = width;
	if (t->ncells == t->size) {
		t->size = 2 * t->size + 64;
		t->cells = need(reallocarray(t->cells, t->size, sizeof(*t->cells)));
	}
	t->cells[t->ncells++] = text;
}

struct table *table_new(const char *headings)
{
	struct table *t = need(calloc(1, sizeof(*t)));
	char *copy = need(strdup(headings)), *rest = copy, *heading;
	char *texts[TABLE_COLUMNS_MAX];

	while (t->ncolumns < TABLE_COLUMNS_MAX && (heading = strsep(&rest, "|"))) {
		t->right[t->ncolumns] = heading[0] == '>';
		texts[t->ncolumns] = need(strdup(heading + (heading[0] == '>')));
		t->ncolumns++;
	}
	for (unsigned i = 0; i < t->ncolumns; i++)
		add_cell(t, texts[i]);
	free(copy);
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->ncells; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

void table_cell(struct table *t, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	add_cell(t, need(text));
}

void table_print(const struct table *t, FILE *out, bool bold)
{
	for (size_t i = t->begun ? t->ncolumns : 0; i < t->ncells; i++) {
		unsigned column = i % t->ncolumns;
		size_t pad = t->width[column] - columns_of(t->cells[i]);
		bool last = column + 1 == t->ncolumns;

		if (bold && i == 0)
			fputs("\033[1m", out);
		if (t->right[column])
			fprintf(out, "%*s%s", (int)pad, "", t->cells[i]);
		else
			fprintf(out, "%s%*s", t->cells[i], last ? 0 : (int)pad, "");
		if (bold && i + 1 == t->ncolumns)
			fputs("\033[0m", out);
		fputs(last ? "\n" : "  ", out);
	}
}

void table_flush(struct table *t, FILE *out, bool bold)
{
	table_print(t, out, bold);
	t->begun = true;
	while (t->ncells > t->ncolumns)
		free(t->cells[--t->ncells]);
}
