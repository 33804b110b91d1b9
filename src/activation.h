/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The activation number on disk: the last one that this member has used. A number in the
 * file was used at most once, so a lower one must never be; what is synced here stays.
 */
#ifndef SRC_ACTIVATION_H
#define SRC_ACTIVATION_H

#include <stdint.h>

#define ACTIVATION_ERROR_SIZE 512

/* *number is 0 if there is no file yet. -EINVAL and a line in `err` if it is damaged:
 * then starting is not safe. */
int activation_load(const char *directory, uint32_t *number,
		    char err[ACTIVATION_ERROR_SIZE]);
/* Returns 0 when the number is on the disk for good. */
int activation_save(const char *directory, uint32_t number);

#endif
