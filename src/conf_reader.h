/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the configuration's reader: conf.c reads the file's syntax, conf_rules.c
 * knows the options, what each may be, and the rules between them.
 */
#ifndef SRC_CONF_READER_H
#define SRC_CONF_READER_H

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

#include "src/conf.h"

#define CONF_SECTIONS 5
#define CONF_OPTIONS_MAX 24

struct complaint {
	unsigned line;
	unsigned order;
	char text[448];
};

/* Where a value stands. libconfuse's options are copied for each section, so the pointer
 * tells sections apart. */
struct place {
	const cfg_opt_t *opt;
	unsigned line;
};

struct reader {
	struct conf *conf;
	unsigned last_line; /* of the file */
	unsigned eof_line;  /* where the parser meets its end: nothing stands there */
	unsigned line;	    /* of the value that is looked at */
	struct place *places;
	size_t nplaces, places_size;
	struct complaint *complaints;
	unsigned ncomplaints;
	unsigned dropped; /* complaints beyond those */
	bool out_of_memory;
};

struct option {
	const char *name;
	/* Stores the value at `at`, or complains. */
	void (*set)(struct reader *r, const struct option *o, void *at,
		    const char *value);
	size_t offset;	   /* in struct conf, conf_member or conf_network */
	size_t size;	   /* of a text */
	unsigned min, max; /* of a number */
	bool list;
};

struct section {
	const char *name;
	const struct option *options;
	bool many; /* has a title, and may stand in the file several times */
};

extern const struct option conf_top_options[];
extern const struct section conf_sections[CONF_SECTIONS];

void conf_complain(struct reader *r, unsigned line, const char *format, ...)
    LOG_PRINTF(3, 4);
unsigned conf_line_now(const cfg_t *cfg);
/* Of the option's value number `index`; 0 if it was not given. */
unsigned conf_line_of(const struct reader *r, const cfg_opt_t *opt, unsigned index);
/* Fills r->conf from what libconfuse has read, and complains about what does not fit. */
void conf_check_rules(struct reader *r, cfg_t *cfg);

#endif
