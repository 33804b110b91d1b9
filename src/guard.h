/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tunnels' configuration protects, remembered.
 *
 * A tunnel reports all prefixes that its peers are configured with, whether there is a
 * session for them or not. Whatever was reported stays protected over restarts (the file
 * "protected" in the state directory), while nobody is there to report, and for a while after
 * it is missing from a report: who has just started has not read its configuration yet.
 */
#ifndef SRC_GUARD_H
#define SRC_GUARD_H

#include "cluster/cluster.h"
#include "src/address.h"

#define GUARD_MAX 2048 /* prefixes */
#define GUARD_KEEP (30 * MONO_SEC)

struct guard_handler {
	void (*protect)(void *ctx, const struct address_block *b);
	void (*unprotect)(void *ctx, const struct address_block *b);
	void *ctx;
};

struct guard;

/* Protects what the file in `directory` says. NULL when out of memory. A file that cannot be
 * read is logged. */
struct guard *guard_open(const char *directory, const struct guard_handler *handler);
void guard_close(struct guard *g); /* takes NULL; what is protected stays so */
/* All of them, in any order. */
void guard_report(struct guard *g, const struct address_block *list, unsigned count,
		  struct mono now);
/* Nobody reports at present. */
void guard_alone(struct guard *g);
/* Lets go what has been missing for GUARD_KEEP. */
void guard_tick(struct guard *g, struct mono now);
unsigned guard_count(const struct guard *g);

#endif
