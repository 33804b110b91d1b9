/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that appears whole or not at all: written as a temporary beside its target,
 * synced, then moved into place.
 */
#ifndef SRC_DRAFT_H
#define SRC_DRAFT_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* Zeroed before draft_open(). The caller writes to `file`. */
struct draft {
	char path[PATH_MAX]; /* the target */
	char temporary[PATH_MAX + 8];
	FILE *file;
};

/* 0 or -errno. The temporary has the mode before anything is in it. */
int draft_open(struct draft *d, const char *path, mode_t mode);
/*
 * Syncs the file and its folder and moves it into place. 0 or -errno (also for a write that
 * failed before): then the target is as it was. Without `replace`, -EEXIST if it exists.
 */
int draft_finish(struct draft *d, bool replace);
/* Forgets it. Does nothing to one that was never opened, or is finished. */
void draft_drop(struct draft *d);

#endif
