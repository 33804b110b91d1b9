/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the configuration file.
 *
 * libconfuse reads the syntax and hands all values over as text, with the line that each
 * stands on; conf_rules.c makes sense of them. All mistakes are collected, so that one
 * run shows all of them, in the file's order; only a syntax error ends the reading.
 */
#include "src/conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/conf_reader.h"
#include "src/rtable.h"
#include "src/tun.h"
#include "tunnels/ipsec/replay.h"

#define FILE_MAX (256 * 1024)
#define PLACES_MAX 4096
#define COMPLAINTS_MAX 64
#define PORT_DEFAULT 4741

/* libconfuse hands no context to its callbacks. Set while cfg_parse_fp() runs. */
static struct reader *reading;

void conf_complain(struct reader *r, unsigned line, const char *format, ...)
{
	struct complaint *c;
	va_list ap;

	if (r->ncomplaints == COMPLAINTS_MAX) {
		r->dropped++;
		return;
	}
	c = &r->complaints[r->ncomplaints];
	c->line = line < r->last_line ? line : r->last_line;
	c->order = r->ncomplaints++;
	va_start(ap, format);
	vsnprintf(c->text, sizeof(c->text), format, ap);
	va_end(ap);
	for (char *p = c->text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

unsigned conf_line_now(const cfg_t *cfg)
{
	return cfg->line > 0 ? (unsigned)cfg->line : 1;
}

/* The last one that is not behind value number `index`, or NULL. */
static struct place *place_of(const struct reader *r, const cfg_opt_t *opt,
			      unsigned index)
{
	struct place *place = NULL;

	for (size_t i = 0; i < r->nplaces; i++)
		if (r->places[i].opt == opt) {
			place = &r->places[i];
			if (index-- == 0)
				break;
		}
	return place;
}

unsigned conf_line_of(const struct reader *r, const cfg_opt_t *opt, unsigned index)
{
	const struct place *place = place_of(r, opt, index);

	return place ? place->line : 0;
}

static int add_place(struct reader *r, const cfg_opt_t *opt, unsigned line)
{
	if (r->nplaces == PLACES_MAX) {
		conf_complain(r, line, "a value too many, expected at most %d",
			      PLACES_MAX);
		return -1;
	}
	if (r->nplaces == r->places_size) {
		size_t size = r->places_size ? 2 * r->places_size : 64;
		struct place *more = reallocarray(r->places, size, sizeof(*more));

		if (!more) {
			r->out_of_memory = true;
			return -1;
		}
		r->places = more;
		r->places_size = size;
	}
	r->places[r->nplaces++] = (struct place){ opt, line };
	return 0;
}

/* libconfuse's callback for each value. */
static int note_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	unsigned line = conf_line_now(cfg);
	struct place *before = place_of(reading, opt, 0);

	*(const char **)result = value;
	if (!before || opt->flags & CFGF_LIST)
		return add_place(reading, opt, line);
	conf_complain(reading, line, "%s was given on line %u already, expected it once",
		      opt->name, before->line);
	before->line = line;
	return 0;
}

/* libconfuse's callback at the end of a section that may stand in the file once. */
static int note_section(cfg_t *cfg, cfg_opt_t *opt)
{
	unsigned line = conf_line_now(cfg);
	unsigned before = conf_line_of(reading, opt, 0);

	if (before)
		conf_complain(reading, line,
			      "section %s ended on line %u already, expected it once",
			      opt->name, before);
	return add_place(reading, opt, line);
}

static void list_options(const cfg_t *cfg, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (const cfg_opt_t *o = cfg->opts; o && o->name && used < size; o++) {
		int n =
		    snprintf(buf + used, size - used, "%s%s", used ? ", " : "", o->name);
		used += n > 0 ? (size_t)n : 0;
	}
}

/* libconfuse's messages tell what was found; this adds what was expected. */
static void note_error(cfg_t *cfg, const char *format, va_list ap)
{
	static const struct {
		const char *begins, *expected;
	} hints[] = {
		{ "missing equal sign", "expected NAME = VALUE" },
		{ "missing opening brace", "expected '{'" },
		{ "unexpected closing brace", "expected an option or a section" },
		{ "missing title", "expected a name in quotes before '{'" },
		{ "found duplicate title", "expected each name once" },
		{ "premature end of file", "expected a value, a closing quote or '}'" },
		{ "unexpected", "expected an option, a section or '}'" },
	};
	char text[256], options[256];
	unsigned line = conf_line_now(cfg);
	const char *expected = NULL;

	vsnprintf(text, sizeof(text), format, ap);
	if (strncmp(text, "no such option", 14) == 0) {
		list_options(cfg, options, sizeof(options));
		conf_complain(reading, line, "%s, expected one of: %s", text, options);
		return;
	}
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]) && !expected; i++)
		if (strncmp(text, hints[i].begins, strlen(hints[i].begins)) == 0)
			expected = hints[i].expected;
	conf_complain(reading, line, "%s%s%s", text, expected ? ", " : "",
		      expected ? expected : "");
}

/* The options as libconfuse wants them: all are texts, so that all mistakes in values are
 * found and told here. */
static unsigned syntax_of(const struct option *options, cfg_opt_t *out)
{
	unsigned n = 0;

	for (; options->name; options++, n++)
		if (options->list)
			out[n] = (cfg_opt_t)CFG_STR_LIST_CB(options->name, NULL,
							    CFGF_NODEFAULT, note_value);
		else
			out[n] = (cfg_opt_t)CFG_STR_CB(options->name, NULL,
						       CFGF_NODEFAULT, note_value);
	out[n] = (cfg_opt_t)CFG_END();
	return n;
}

static cfg_t *new_parser(void)
{
	cfg_opt_t top[CONF_OPTIONS_MAX], inner[CONF_SECTIONS][CONF_OPTIONS_MAX];
	unsigned n = syntax_of(conf_top_options, top);
	cfg_t *cfg;

	assert(n + CONF_SECTIONS < CONF_OPTIONS_MAX);
	for (size_t i = 0; i < CONF_SECTIONS; i++) {
		int flags = conf_sections[i].many
				? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES
				: CFGF_NONE;

		syntax_of(conf_sections[i].options, inner[i]);
		top[n++] = (cfg_opt_t)CFG_SEC(conf_sections[i].name, inner[i], flags);
	}
	top[n] = (cfg_opt_t)CFG_END();
	cfg = cfg_init(top, CFGF_NONE);
	if (!cfg)
		return NULL;
	cfg_set_error_function(cfg, note_error);
	for (size_t i = 0; i < CONF_SECTIONS; i++)
		if (!conf_sections[i].many)
			cfg_set_validate_func(cfg, conf_sections[i].name, note_section);
	return cfg;
}

/* The file */

static struct conf *new_conf(void)
{
	struct conf *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	strcpy(c->certificate, "/etc/phalanx/node.crt");
	strcpy(c->key, "/etc/phalanx/node.key");
	strcpy(c->authority, "/etc/phalanx/ca.crt");
	strcpy(c->state_directory, "/var/lib/phalanx");
	strcpy(c->run_directory, "/run/phalanx");
	c->mode = CONF_MULTICAST;
	c->detection_interval = 200;
	c->capacity = 100;
	c->balance_interval = 2000;
	c->moves_per_round = 64;
	c->version = 1;
	c->hold_back = 1000;
	c->log_level = LOG_LEVEL_INFO;
	c->port = PORT_DEFAULT;
	strcpy(c->tunnel.device, TUN_NAME_DEFAULT);
	c->tunnel.mtu = TUN_MTU_DEFAULT;
	c->tunnel.table = RTABLE_DEFAULT;
	strcpy(c->ipsec.socket, "/run/phalanx/charon.sock");
	c->ipsec.inbound_commit = true;
	c->ipsec.replay_window = REPLAY_SIZE_DEFAULT;
	c->ipsec.address_hold_back = 3600;
	return c;
}

/* The whole file with a final newline and zero. NULL and a line in `errors` if it cannot
 * be read. libconfuse would stop the process on a directory. */
static char *read_file(const char *path, size_t *len, FILE *errors)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *buf = NULL;
	ssize_t n = -1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(errors, "%s: %s\n", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		fprintf(errors, "%s: not a regular file, expected a configuration\n",
			path);
		goto out;
	}
	buf = malloc(FILE_MAX + 2);
	for (*len = 0; buf && (n = read(fd, buf + *len, FILE_MAX + 1 - *len)) > 0;)
		*len += (size_t)n;
	if (n < 0 || *len > FILE_MAX) {
		fprintf(errors, "%s: %s\n", path,
			n < 0 ? strerror(errno) : "larger than 256 KiB, expected less");
		free(buf);
		buf = NULL;
		goto out;
	}
	buf[(*len)++] = '\n';
	buf[*len] = '\0';
out:
	if (fd >= 0)
		close(fd);
	return buf;
}

/* The end of a quoted text that begins at `p`. */
static char *skip_quoted(char *p)
{
	char quote = *p++;

	while (*p && *p != quote)
		p += *p == '\\' && p[1] ? 2 : 1;
	return *p ? p + 1 : p;
}

/* The end of the comment that begins at `p`, or `p` if none does. */
static char *skip_comment(char *p, bool at_word)
{
	char *end;

	if (*p == '#' || (at_word && p[0] == '/' && p[1] == '/'))
		return p + strcspn(p, "\n");
	if (!at_word || p[0] != '/' || p[1] != '*')
		return p;
	end = strstr(p + 2, "*/");
	return end ? end + 2 : p + strlen(p);
}

/*
 * Blanks comments out, because libconfuse counts their lines twice. Returns where a comment
 * begins that has no end, or NULL.
 */
static const char *blank_comments(char *text)
{
	bool at_word = true;

	for (char *p = text; *p;) {
		char *end = skip_comment(p, at_word);

		if (end > p && !*end)
			return p;
		if (end > p) {
			for (; p < end; p++)
				if (*p != '\n')
					*p = ' ';
			at_word = true;
		} else if (*p == '"' || *p == '\'') {
			p = skip_quoted(p);
			at_word = true;
		} else {
			at_word = strchr(" \t\n={}(),+", *p) != NULL;
			p++;
		}
	}
	return NULL;
}

static unsigned line_at(const char *text, const char *p)
{
	unsigned line = 1;

	for (; text < p; text++)
		line += *text == '\n';
	return line;
}

/* False, with a complaint, if it is not for libconfuse. */
static bool prepare_text(struct reader *r, char *text, size_t len)
{
	const char *end = text + strlen(text), *open;

	r->eof_line = line_at(text, end);
	r->last_line = r->eof_line;
	if (end < text + len) {
		conf_complain(r, r->last_line, "a zero byte, expected text");
		return false;
	}
	/* read_file() has added an end of line. */
	r->last_line -= len > 2 && text[len - 2] == '\n' ? 2 : 1;
	open = blank_comments(text);
	if (open)
		conf_complain(r, line_at(text, open),
			      "a comment begins here, expected its end");
	return !open;
}

static void parse_text(struct reader *r, char *text, size_t len)
{
	cfg_t *cfg;
	FILE *in;

	if (!prepare_text(r, text, len))
		return;
	in = fmemopen(text, len, "r");
	cfg = new_parser();
	if (in && cfg) {
		reading = r;
		if (cfg_parse_fp(cfg, in) == CFG_SUCCESS)
			conf_check_rules(r, cfg);
		else if (r->ncomplaints == 0)
			conf_complain(r, conf_line_now(cfg),
				      "a syntax error, expected NAME = VALUE");
		reading = NULL;
	} else {
		r->out_of_memory = true;
	}
	cfg_free(cfg);
	if (in)
		fclose(in);
}

static int compare_complaints(const void *a, const void *b)
{
	const struct complaint *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void print_complaints(struct reader *r, const char *path, FILE *errors)
{
	if (r->ncomplaints)
		qsort(r->complaints, r->ncomplaints, sizeof(*r->complaints),
		      compare_complaints);
	for (unsigned i = 0; i < r->ncomplaints; i++)
		fprintf(errors, "%s:%u: %s\n", path, r->complaints[i].line,
			r->complaints[i].text);
	if (r->dropped)
		fprintf(errors, "%s: and %u mistakes more\n", path, r->dropped);
	if (r->out_of_memory)
		fprintf(errors, "%s: %s\n", path, strerror(ENOMEM));
}

struct conf *conf_read(const char *path, FILE *errors)
{
	struct reader r = { 0 };
	size_t len;
	char *text = read_file(path, &len, errors);

	if (!text)
		return NULL;
	r.conf = new_conf();
	r.complaints = calloc(COMPLAINTS_MAX, sizeof(*r.complaints));
	if (r.conf && r.complaints)
		parse_text(&r, text, len);
	else
		r.out_of_memory = true;
	print_complaints(&r, path, errors);
	if (r.ncomplaints || r.out_of_memory) {
		conf_free(r.conf);
		r.conf = NULL;
	}
	free(r.complaints);
	free(r.places);
	free(text);
	return r.conf;
}

void conf_free(struct conf *conf)
{
	free(conf);
}
