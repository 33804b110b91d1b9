/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core's memory. The simulator is linked so that each malloc() of the core comes here
 * (ld --wrap): it is counted, and may fail. The simulator itself uses memory_get(), which
 * is neither counted nor fails. Linked without --wrap it works too, and sees nothing.
 */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

void *memory_get(size_t size); /* zeroed is what calloc() does, this is not */
void *memory_resize(void *p, size_t size);
void memory_put(void *p);

/* Bytes that the core holds. */
size_t memory_used(void);
/* Asked at each allocation of the core whether it is to fail; NULL: none does. */
void memory_set_judge(bool (*fails)(void *ctx), void *ctx);

#endif
