/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"
#include "tests/sim/script.h"

#define FILE_MAX 65536

void player_error(struct player *p, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (p->error[0])
		return;
	n = (size_t)snprintf(p->error, sizeof(p->error), "%s:%u: ", p->s->name,
			     p->line ? p->line->number : 0);
	va_start(ap, fmt);
	if (n < sizeof(p->error))
		vsnprintf(p->error + n, sizeof(p->error) - n, fmt, ap);
	va_end(ap);
}

void player_fail(struct player *p, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	world_fail(p->w, "%s", text);
}

const char *player_next(struct player *p)
{
	return p->at < p->line->words ? p->line->word[p->at++] : NULL;
}

bool player_accept(struct player *p, const char *word)
{
	if (p->at >= p->line->words || strcmp(p->line->word[p->at], word))
		return false;
	p->at++;
	return true;
}

void player_want(struct player *p, const char *word)
{
	if (!player_accept(p, word))
		player_error(p, "expected '%s'%s%s", word,
			     p->at < p->line->words ? ", not " : "",
			     p->at < p->line->words ? p->line->word[p->at] : "");
}

uint64_t player_random(struct player *p, uint64_t below)
{
	uint64_t z = (p->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return below ? z % below : z;
}

/* A number with one of the units; the list ends with a NULL name. */
struct scale {
	const char *name;
	double factor;
};

static double one_value(struct player *p, const struct scale *scales)
{
	const char *word = player_next(p);
	char *end;
	double v;

	if (!word) {
		player_error(p, "a value is missing");
		return 0;
	}
	v = strtod(word, &end);
	for (; scales->name && end != word && v >= 0 && isfinite(v); scales++)
		if (!strcmp(end, scales->name))
			return v * scales->factor;
	player_error(p, "'%s' is no proper value", word);
	return 0;
}

/* VALUE, or: between VALUE and VALUE */
static double value(struct player *p, const struct scale *scales)
{
	double low, high;

	if (!player_accept(p, "between"))
		return one_value(p, scales);
	low = one_value(p, scales);
	player_want(p, "and");
	high = one_value(p, scales);
	if (high < low) {
		player_error(p, "the bounds are the wrong way round");
		return low;
	}
	return low + (high - low) * (double)player_random(p, 1000001) / 1e6;
}

uint64_t player_time(struct player *p)
{
	static const struct scale scales[] = {
		{ "s", 1e9 }, { "ms", 1e6 }, { "us", 1e3 }, { NULL, 0 }
	};

	return (uint64_t)value(p, scales);
}

double player_share(struct player *p)
{
	static const struct scale scales[] = { { "%", 0.01 }, { NULL, 0 } };

	return value(p, scales);
}

uint64_t player_number(struct player *p, uint64_t min, uint64_t max)
{
	static const struct scale scales[] = { { "", 1 }, { NULL, 0 } };
	double v = value(p, scales);

	v = floor(v + 0.5);
	if (v < (double)min || v > (double)max) {
		player_error(p, "%.0f is not in %llu..%llu", v, (unsigned long long)min,
			     (unsigned long long)max);
		return min;
	}
	return (uint64_t)v;
}

/* Members. */

static uint32_t one_of(struct player *p, uint32_t set)
{
	unsigned n = (unsigned)__builtin_popcount(set), k;

	if (!n)
		return 0;
	for (k = (unsigned)player_random(p, n); k--;)
		set &= set - 1;
	return set & -set;
}

static uint32_t role_set(struct world *w, bool running, int master)
{
	uint32_t set = 0;

	for (unsigned i = 0; i < w->nnodes; i++) {
		struct node *n = &w->nodes[i];

		if ((running ? world_alive(n) : !n->c) &&
		    (master < 0 || (n == world_master(w)) == master))
			set |= 1u << i;
	}
	return set;
}

static uint32_t by_id(struct world *w, member_id id)
{
	for (unsigned i = 0; i < w->nnodes; i++)
		if (w->nodes[i].id == id)
			return 1u << i;
	return 0;
}

/* owner-of or successor-of: unit N, session N. Asked of the owner itself. */
static uint32_t member_of_unit(struct player *p, bool owner)
{
	struct cluster_unit_state state;
	unit_id u = 0;

	if (player_accept(p, "session")) {
		unsigned i = (unsigned)player_number(p, 1, 1000) - 1;

		if (p->w && !model_session(p->w, i, &u))
			player_fail(p, "there is no session %u", i + 1);
	} else {
		player_want(p, "unit");
		u = (unit_id)player_number(p, 0, CLUSTER_UNITS - 1);
	}
	for (unsigned i = 0; p->w && i < p->w->nnodes; i++) {
		struct node *n = &p->w->nodes[i];

		if (!world_alive(n) || !unit_set_has(&n->owned, u))
			continue;
		cluster_unit(n->c, u, &state);
		return owner ? 1u << i : by_id(p->w, state.successor);
	}
	return 0;
}

static uint32_t numbered(struct player *p, const char *word)
{
	char *end;
	unsigned long i;

	if (word[0] != 'm' || word[1] < '1' || word[1] > '9')
		return 0;
	i = strtoul(word + 1, &end, 10);
	if (*end || i > NODES_MAX)
		return 0;
	if (p->w && i > p->w->nnodes) {
		player_error(p, "there is no member %s", word);
		return 0;
	}
	return 1u << (i - 1);
}

static uint32_t named(struct player *p, const char *word, bool *known)
{
	*known = true;
	for (unsigned i = 0; i < p->names; i++)
		if (!strcmp(p->named[i].name, word))
			return p->named[i].members;
	*known = false;
	return 0;
}

static uint32_t one_term(struct player *p)
{
	const char *word = player_next(p);
	struct world *w = p->w;
	uint32_t set;
	bool known;

	if (!word) {
		player_error(p, "a member is missing");
		return 0;
	}
	set = numbered(p, word);
	if (!set)
		set = named(p, word, &known);
	if (set || known || p->error[0])
		return set;
	if (!strcmp(word, "owner-of"))
		return member_of_unit(p, true);
	if (!strcmp(word, "successor-of"))
		return member_of_unit(p, false);
	if (!strcmp(word, "all"))
		return w ? (uint32_t)((UINT64_C(1) << w->nnodes) - 1) : 0;
	if (!strcmp(word, "any"))
		return w ? one_of(p, role_set(w, true, -1)) : 0;
	if (!strcmp(word, "dead"))
		return w ? one_of(p, role_set(w, false, -1)) : 0;
	if (!strcmp(word, "master"))
		return w ? role_set(w, true, 1) : 0;
	if (!strcmp(word, "member"))
		return w ? one_of(p, role_set(w, true, 0)) : 0;
	player_error(p, "'%s' is no member", word);
	return 0;
}

/* A list of them, up to a word that is none: | -> within with and the like. */
uint32_t player_members(struct player *p)
{
	static const char *const stops[] = { "|",    "->",	"within", "with", "lost",
					     "runs", "stopped", "owns",	  "is",	  "by" };
	uint32_t set = one_term(p);

	while (p->at < p->line->words && !p->error[0]) {
		for (unsigned i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
			if (!strcmp(p->line->word[p->at], stops[i]))
				return set;
		player_accept(p, "and");
		set |= one_term(p);
	}
	return set;
}

unsigned player_member(struct player *p)
{
	uint32_t set = one_term(p);

	if (p->w && !set && !p->error[0])
		player_fail(p, "there is no such member now");
	return set ? (unsigned)__builtin_ctz(set) : NODES_MAX;
}

/* Files. */

static bool opens_block(const struct line *l)
{
	return !strcmp(l->word[0], "repeat") || !strcmp(l->word[0], "chance");
}

static void split_line(struct player *p, struct line *l, char *text)
{
	char *save = NULL, *comment = strchr(text, '#');

	if (comment)
		*comment = 0;
	for (char *word = strtok_r(text, " \t\r", &save); word;
	     word = strtok_r(NULL, " \t\r", &save)) {
		if (l->words == WORDS_MAX) {
			player_error(p, "too many words");
			return;
		}
		l->word[l->words++] = word;
	}
}

static void split_text(struct player *p, struct script *s)
{
	unsigned number = 0, room = 0;
	char *next;

	for (char *text = s->text; text; text = next) {
		struct line l = { .number = ++number };

		next = strchr(text, '\n');
		if (next)
			*next++ = 0;
		p->line = &l;
		if (text[0] == '#' && !s->title[0] && text[1] && !strstr(text, "SPDX"))
			snprintf(s->title, sizeof(s->title), "%s",
				 text + 1 + strspn(text + 1, " "));
		split_line(p, &l, text);
		if (!l.words)
			continue;
		if (s->count == room) {
			room = room ? room * 2 : 32;
			s->lines = memory_resize(s->lines, room * sizeof(*s->lines));
		}
		s->lines[s->count++] = l;
	}
}

static void match_blocks(struct player *p, struct script *s)
{
	unsigned open[16], depth = 0;

	for (unsigned i = 0; i < s->count; i++) {
		p->line = &s->lines[i];
		if (opens_block(p->line)) {
			if (depth == 16) {
				player_error(p, "too many blocks within blocks");
				return;
			}
			open[depth++] = i;
		} else if (!strcmp(p->line->word[0], "end")) {
			if (!depth) {
				player_error(p, "nothing to end");
				return;
			}
			s->lines[open[--depth]].end = i;
		}
	}
	if (depth) {
		p->line = &s->lines[open[depth - 1]];
		player_error(p, "this has no end");
	}
}

struct script *script_parse(const char *name, char *text, char *error, size_t size)
{
	struct script *s = memory_get(sizeof(*s));
	struct player p = { .s = s };

	memset(s, 0, sizeof(*s));
	s->name = memory_get(strlen(name) + 1);
	memcpy(s->name, name, strlen(name) + 1);
	s->text = text;
	split_text(&p, s);
	if (!p.error[0])
		match_blocks(&p, s);
	if (!p.error[0])
		player_play(&p, 0, s->count);
	if (!p.error[0])
		return s;
	snprintf(error, size, "%s", p.error);
	script_free(s);
	return NULL;
}

struct script *script_load(const char *path, char *error, size_t size)
{
	char *text = memory_get(FILE_MAX);
	const char *base = strrchr(path, '/');
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f) {
		snprintf(error, size, "%s: %s", path, strerror(errno));
		memory_put(text);
		return NULL;
	}
	n = fread(text, 1, FILE_MAX - 1, f);
	fclose(f);
	if (n == FILE_MAX - 1) {
		snprintf(error, size, "%s: too long", path);
		memory_put(text);
		return NULL;
	}
	text[n] = 0;
	return script_parse(base ? base + 1 : path, text, error, size);
}

void script_free(struct script *s)
{
	if (!s)
		return;
	memory_put(s->lines);
	memory_put(s->text);
	memory_put(s->name);
	memory_put(s);
}

static uint64_t setting(const struct script *s, const char *name)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!strcmp(s->lines[i].word[0], name))
			return strtoull(s->lines[i].word[1], NULL, 0);
	return 0;
}

uint64_t script_seed(const struct script *s)
{
	return setting(s, "seed");
}

unsigned script_members(const struct script *s)
{
	return (unsigned)setting(s, "members");
}

/* Playing. */

static bool over(const struct player *p)
{
	return p->error[0] || (p->w && p->w->failed);
}

static void play_block(struct player *p, unsigned at)
{
	const struct line *l = p->line;
	uint64_t times = 1;

	if (!strcmp(l->word[0], "repeat"))
		times = player_number(p, 1, 1000000);
	else if (player_share(p) * 1e6 <= (double)player_random(p, 1000000))
		times = p->w ? 0 : 1;
	if (!p->w)
		times = 1;
	if (p->at < l->words)
		player_error(p, "what is '%s' for?", l->word[p->at]);
	while (times-- && !over(p))
		player_play(p, at + 1, l->end);
}

void player_play(struct player *p, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to && !over(p); i++) {
		const struct line *l = &p->s->lines[i];

		p->line = l;
		p->at = 1;
		if (opens_block(l)) {
			play_block(p, i);
			i = l->end;
			continue;
		}
		if (p->w)
			world_log(p->w, "%s:%u: %s", p->s->name, l->number, l->word[0]);
		if (!command_run(p))
			player_error(p, "'%s' is no command", l->word[0]);
		else if (p->at < l->words)
			player_error(p, "what is '%s' for?", l->word[p->at]);
	}
}

void script_run(const struct script *s, struct world *w)
{
	struct player p = { .s = s, .w = w, .random = w->seed * 7919 + 17 };
	char text[sizeof(w->failure)];

	player_play(&p, 0, s->count);
	if (p.error[0])
		world_fail(w, "%s", p.error);
	else if (w->failed && p.line) {
		memcpy(text, w->failure, sizeof(text));
		snprintf(w->failure, sizeof(w->failure), "line %u: %.200s",
			 p.line->number, text);
	}
}
