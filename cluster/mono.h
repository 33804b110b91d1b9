/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A point in monotonic time. A struct, so that nobody mixes it up with a duration
 * (uint64_t nanoseconds) or with the wall clock. The core never reads a clock: each of
 * its entry points takes `now`.
 */
#ifndef CLUSTER_MONO_H
#define CLUSTER_MONO_H

#include <stdbool.h>
#include <stdint.h>

#define MONO_US UINT64_C(1000)
#define MONO_MS UINT64_C(1000000)
#define MONO_SEC UINT64_C(1000000000)

struct mono {
	uint64_t ns;
};

#define MONO_NEVER ((struct mono){ UINT64_MAX })

static inline bool mono_before(struct mono a, struct mono b)
{
	return a.ns < b.ns;
}

/* a - b, or 0 if a is the earlier one. */
static inline uint64_t mono_since(struct mono a, struct mono b)
{
	return a.ns > b.ns ? a.ns - b.ns : 0;
}

/* Saturates at MONO_NEVER. */
static inline struct mono mono_add(struct mono t, uint64_t ns)
{
	return (struct mono){ t.ns > UINT64_MAX - ns ? UINT64_MAX : t.ns + ns };
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
	return mono_before(a, b) ? a : b;
}

static inline struct mono mono_max(struct mono a, struct mono b)
{
	return mono_before(a, b) ? b : a;
}

#endif
