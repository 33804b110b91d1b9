/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text in aligned columns.
 *
 * Columns are as wide as their widest cell, two blanks apart; numbers stand on the right.
 * Running out of memory ends the program: this is for commands.
 */
#ifndef SRC_TABLE_H
#define SRC_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "src/log.h"

#define TABLE_COLUMNS_MAX 16

struct table;

/* The headings' texts, separated by '|'; one that begins with '>' is of a column of
 * numbers. "name|>units" */
struct table *table_new(const char *headings);
void table_free(struct table *t); /* takes NULL */
/* The next cell, row by row. Control characters are replaced. */
void table_cell(struct table *t, const char *format, ...) LOG_PRINTF(2, 3);
/* With `bold` the headings stand out, by a terminal's escape sequence. */
void table_print(const struct table *t, FILE *out, bool bold);
/* Prints the rows so far and forgets them; the headings the first time only. Columns stay
 * at least as wide as they are now. For tables of any length. */
void table_flush(struct table *t, FILE *out, bool bold);

#endif
