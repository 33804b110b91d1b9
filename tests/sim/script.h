/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scenarios: text, a command a line. command.h says what there is; README beside the
 * scenarios says it to people. Words are separated by blanks, # begins a comment.
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "cluster/statistics.h"
#include "tests/sim/world.h"

#define WORDS_MAX 40
#define NAMES_MAX 16

struct line {
	unsigned number; /* in the file, from 1 */
	unsigned words;
	char *word[WORDS_MAX];
	unsigned end; /* of a block: the line of its `end` */
};

struct script {
	char *name;
	char *text;	 /* what the words point into */
	char title[128]; /* the first comment */
	struct line *lines;
	unsigned count;
};

/* NULL if it cannot be read, or is wrong; then `error` says what, with file and line. */
struct script *script_load(const char *path, char *error, size_t size);
/* Takes the text over. */
struct script *script_parse(const char *name, char *text, char *error, size_t size);
void script_free(struct script *s);
/* The file's own seed and number of members; 0: it does not say. */
uint64_t script_seed(const struct script *s);
unsigned script_members(const struct script *s);
/* Plays it. What goes wrong is the world's failure. */
void script_run(const struct script *s, struct world *w);

/*
 * A course of random faults, as a script's text, which script_parse() takes over. `harsh`:
 * also cuts between two members, and one-way cuts. Every eighth seed has streams that stand
 * still, and an operator with wishes, besides.
 */
char *mix_write(uint64_t seed, unsigned members, unsigned faults, bool harsh);
/* How many members a random cluster has. */
unsigned mix_members(uint64_t seed);

/* For commands: where a script is. */
struct player {
	const struct script *s;
	struct world *w; /* NULL: the script is only looked over */
	const struct line *line;
	unsigned at;	 /* next word */
	uint64_t random; /* of its own, so that the network's does not depend on it */
	char error[256]; /* a wrong script */
	uint64_t term;	 /* at `mark` */
	uint64_t marked[NODES_MAX][STATISTICS_COUNT]; /* at `mark` */
	unsigned names;
	struct {
		const char *name;
		uint32_t members;
	} named[NAMES_MAX];
};

void player_error(struct player *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void player_fail(struct player *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The next word, NULL at the end of the line. */
const char *player_next(struct player *p);
bool player_accept(struct player *p, const char *word);
void player_want(struct player *p, const char *word);
uint64_t player_random(struct player *p, uint64_t below);
uint64_t player_number(struct player *p, uint64_t min, uint64_t max);
uint64_t player_time(struct player *p);
double player_share(struct player *p); /* 2% is 0.02 */
/* Members, as bits. */
uint32_t player_members(struct player *p);
/* Exactly one of them; NODES_MAX when there is none (or no world). */
unsigned player_member(struct player *p);
/* Executes lines from..to-1. */
void player_play(struct player *p, unsigned from, unsigned to);
/* Executes the current line; false: no such command. */
bool command_run(struct player *p);

#endif
