/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Remembers over restarts that this member is drained: the file "drained" in the state
 * directory is there if it is.
 */
#ifndef SRC_DRAINED_H
#define SRC_DRAINED_H

#include <stdbool.h>

bool drained_read(const char *directory);
/* 0 or -errno. Not synced: who pulls the plug now may have to drain it again. */
int drained_write(const char *directory, bool drained);

#endif
