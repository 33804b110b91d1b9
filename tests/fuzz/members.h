/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real members under virtual time for the fuzz target of the cluster core, and peers that
 * only seem to be there: whatever is said in their name comes from the input.
 *
 * What a member may never do, however it is spoken to, ends the process: ask for a tick
 * in the past for ever, speak without end, gain what it has, lose what it has not, work
 * with an activation number that was not made durable.
 */
#ifndef TESTS_FUZZ_MEMBERS_H
#define TESTS_FUZZ_MEMBERS_H

#include <sys/queue.h>

#include "cluster/cluster.h"
#include "cluster/wire.h"

#define MEMBERS_MAX 5

struct letter {
	STAILQ_ENTRY(letter) next;
	member_id from, to;
	bool stream;
	struct mono due;
	size_t len;
	uint8_t bytes[];
};

struct node {
	member_id id;
	struct cluster *c; /* NULL: it only seems to be there */
	struct unit_set own;
	uint32_t saved;
	bool disk_full;
	uint32_t last_sync[MEMBERS_MAX + 1]; /* what it asked this peer for */
};

extern struct node members[MEMBERS_MAX + 1]; /* by id */
extern unsigned members_count, members_real;
extern struct mono members_now;
extern STAILQ_HEAD(letters, letter) members_post;

void must(bool condition);

/* Members 1 to `real` of `count`, all linked, after so long a time. */
void members_start(unsigned real, unsigned count, uint64_t ns);
void members_stop(void);
/* A member that is real ends, and begins anew. */
void members_restart(member_id id);
void members_link(member_id a, member_id b, bool up);
/* Time passes, with ticks and deliveries; or it passes and nobody notices. */
void members_run(uint64_t ns);
void members_freeze(uint64_t ns);
/* Said to the member, if it is real. */
void members_say(member_id from, member_id to, bool stream, const uint8_t *bytes,
		 size_t len);
/* Takes the next letter out of the post; NULL: there is none. The caller frees it. */
struct letter *members_take(void);
/* Looks at everything that can be looked at. */
void members_check(void);

#endif
