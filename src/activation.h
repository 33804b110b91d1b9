/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The activation number on disk. A number must never be used again, in this run or a later
 * one, so what is on disk is never below what is in use.
 *
 * The disk can be slow, and a takeover must not wait for it: numbers are reserved on disk
 * in blocks, the next block in the background while there are still some left. A restart
 * begins above all that was reserved, and so loses at most two blocks of the 2^22 numbers.
 */
#ifndef SRC_ACTIVATION_H
#define SRC_ACTIVATION_H

#include <stdint.h>

#define ACTIVATION_ERROR_SIZE 512
#define ACTIVATION_BLOCK 128

struct activation;

/*
 * Reads the file in the directory and reserves the first block. *used is the highest number
 * that an earlier run may have used, 0 without a file. NULL and a line in `err` if the file
 * is damaged or cannot be written: then starting is not safe.
 */
struct activation *activation_open(const char *directory, uint32_t *used,
				   char err[ACTIVATION_ERROR_SIZE]);
/* Waits for a write under way. Takes NULL. */
void activation_close(struct activation *a);
/*
 * Returns 0 when the number is covered by what is on disk for good: at once, unless the
 * background has failed or fallen behind. Else -errno, and the number must not be used.
 */
int activation_use(struct activation *a, uint32_t number);

#endif
