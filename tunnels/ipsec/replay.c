/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tunnels/ipsec/replay.h"

#include <errno.h>
#include <string.h>

int replay_init(struct replay *r, uint32_t size)
{
	if (size < REPLAY_SIZE_MIN || size > REPLAY_SIZE_MAX)
		return -EINVAL;
	memset(r, 0, sizeof(*r));
	r->size = size;
	r->words = (size + REPLAY_WORD_BITS - 1) / REPLAY_WORD_BITS + 1;
	return 0;
}

static uint32_t word_of(const struct replay *r, uint64_t seq)
{
	return (uint32_t)(seq / REPLAY_WORD_BITS % r->words);
}

static uint64_t bit_of(uint64_t seq)
{
	return UINT64_C(1) << seq % REPLAY_WORD_BITS;
}

uint64_t replay_extend(const struct replay *r, uint32_t low)
{
	uint64_t high = r->edge & ~(uint64_t)UINT32_MAX;
	uint32_t edge = (uint32_t)r->edge, bottom = edge - r->size + 1;

	if (edge >= r->size - 1)
		/* The window lies within one span of 2^32. */
		high += low >= bottom ? 0 : UINT64_C(1) << 32;
	else if (low >= bottom && high)
		high -= UINT64_C(1) << 32;
	return high | low;
}

int replay_check(const struct replay *r, uint64_t seq)
{
	if (seq == 0)
		return -EINVAL;
	if (seq > r->edge)
		return 0;
	if (r->edge - seq >= r->size)
		return -ESTALE;
	if (seq <= r->floor || r->seen[word_of(r, seq)] & bit_of(seq))
		return -EALREADY;
	return 0;
}

/* Moves the edge to the right and empties the words that the window enters. */
static void advance(struct replay *r, uint64_t edge)
{
	uint64_t from = r->edge / REPLAY_WORD_BITS;
	uint64_t steps = edge / REPLAY_WORD_BITS - from;

	if (steps > r->words)
		steps = r->words;
	for (uint64_t i = 1; i <= steps; i++)
		r->seen[(from + i) % r->words] = 0;
	r->edge = edge;
}

int replay_accept(struct replay *r, uint64_t seq)
{
	int rc = replay_check(r, seq);

	if (rc < 0)
		return rc;
	if (seq > r->edge)
		advance(r, seq);
	r->seen[word_of(r, seq)] |= bit_of(seq);
	return 0;
}

uint64_t replay_edge(const struct replay *r)
{
	return r->edge;
}

void replay_set_edge(struct replay *r, uint64_t edge)
{
	if (edge > r->edge)
		advance(r, edge);
	if (edge > r->floor)
		r->floor = edge;
}
