/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/memory.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/* NULL without --wrap. */
extern void *__real_malloc(size_t size) __attribute__((weak));
extern void *__real_calloc(size_t n, size_t size) __attribute__((weak));
extern void *__real_realloc(void *p, size_t size) __attribute__((weak));
extern void __real_free(void *p) __attribute__((weak));

static size_t used;
static bool (*judge)(void *ctx);
static void *judge_ctx;

void memory_set_judge(bool (*fails)(void *ctx), void *ctx)
{
	judge = fails;
	judge_ctx = ctx;
}

size_t memory_used(void)
{
	return used;
}

static bool fails(void)
{
	if (!judge || !judge(judge_ctx))
		return false;
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	if (p)
		used += malloc_usable_size(p);
	return p;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
	size_t before = p ? malloc_usable_size(p) : 0;
	void *q = fails() ? NULL : __real_realloc(p, size);

	if (q || !size)
		used -= before;
	return counted(q);
}

void __wrap_free(void *p)
{
	if (p)
		used -= malloc_usable_size(p);
	__real_free(p);
}

void *memory_get(size_t size)
{
	return memory_resize(NULL, size);
}

void *memory_resize(void *p, size_t size)
{
	void *q = __real_realloc ? __real_realloc(p, size) : realloc(p, size);

	if (!q)
		abort();
	return q;
}

void memory_put(void *p)
{
	if (__real_free)
		__real_free(p);
	else
		free(p);
}
