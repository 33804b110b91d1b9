/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ipsec/replay.h"

enum verb { CHECK, ACCEPT, EDGE, SET_EDGE };

struct step {
	enum verb verb;
	uint32_t seq;
	int want; /* for EDGE: unused */
};

static void run(uint32_t size, const struct step *steps, size_t n)
{
	struct replay r;

	assert_int_equal(replay_init(&r, size), 0);
	for (size_t i = 0; i < n; i++) {
		const struct step *s = &steps[i];

		switch (s->verb) {
		case CHECK:
			assert_int_equal(replay_check(&r, s->seq), s->want);
			break;
		case ACCEPT:
			assert_int_equal(replay_check(&r, s->seq), s->want);
			assert_int_equal(replay_accept(&r, s->seq), s->want);
			break;
		case EDGE:
			assert_int_equal(replay_edge(&r), s->seq);
			break;
		case SET_EDGE:
			replay_set_edge(&r, s->seq);
			break;
		}
	}
}

#define RUN(size, steps) run(size, steps, sizeof(steps) / sizeof(steps[0]))

static void test_sizes(void **state)
{
	struct replay r;

	assert_int_equal(replay_init(&r, 0), -EINVAL);
	assert_int_equal(replay_init(&r, 31), -EINVAL);
	assert_int_equal(replay_init(&r, 4097), -EINVAL);
	assert_int_equal(replay_init(&r, 32), 0);
	assert_int_equal(replay_init(&r, 33), 0);
	assert_int_equal(replay_init(&r, 4096), 0);
	assert_int_equal(replay_edge(&r), 0);
}

static void test_window(void **state)
{
	static const struct step steps[] = {
		{ CHECK, 0, -EINVAL },
		{ ACCEPT, 0, -EINVAL },
		{ CHECK, 1, 0 },
		/* A check alone leaves no mark. */
		{ CHECK, 1, 0 },
		{ EDGE, 0, 0 },
		{ ACCEPT, 1, 0 },
		{ ACCEPT, 1, -EALREADY },
		{ EDGE, 1, 0 },
		{ ACCEPT, 3, 0 },
		{ ACCEPT, 2, 0 },
		{ ACCEPT, 2, -EALREADY },
		{ ACCEPT, 3, -EALREADY },
		{ EDGE, 3, 0 },
		/* The window of 32 at edge 40 begins with 9. */
		{ ACCEPT, 40, 0 },
		{ ACCEPT, 8, -ESTALE },
		{ ACCEPT, 9, 0 },
		{ ACCEPT, 9, -EALREADY },
		{ ACCEPT, 1, -ESTALE },
		{ ACCEPT, 39, 0 },
		{ ACCEPT, 40, -EALREADY },
		/* Far away, and the bits of the old window are gone. */
		{ ACCEPT, 40 + 64 * 1000, 0 },
		{ ACCEPT, 9 + 64 * 1000, 0 },
		{ ACCEPT, 39 + 64 * 1000, 0 },
		{ ACCEPT, 8 + 64 * 1000, -ESTALE },
		{ ACCEPT, 40, -ESTALE },
	};

	RUN(32, steps);
}

static void test_end_of_numbers(void **state)
{
	static const struct step steps[] = {
		{ ACCEPT, UINT32_MAX, 0 },	{ ACCEPT, UINT32_MAX, -EALREADY },
		{ ACCEPT, UINT32_MAX - 63, 0 }, { ACCEPT, UINT32_MAX - 64, -ESTALE },
		{ ACCEPT, 1, -ESTALE },		{ CHECK, 0, -EINVAL },
		{ EDGE, UINT32_MAX, 0 },
	};

	RUN(64, steps);
}

static void test_set_edge(void **state)
{
	static const struct step steps[] = {
		{ ACCEPT, 5, 0 },
		{ SET_EDGE, 100, 0 },
		{ EDGE, 100, 0 },
		{ CHECK, 100, -EALREADY },
		{ CHECK, 99, -EALREADY },
		{ CHECK, 69, -EALREADY },
		{ CHECK, 68, -ESTALE },
		{ CHECK, 5, -ESTALE },
		{ ACCEPT, 101, 0 },
		{ ACCEPT, 101, -EALREADY },
		{ ACCEPT, 110, 0 },
		/* Between the floor and the edge all is as ever. */
		{ ACCEPT, 105, 0 },
		{ ACCEPT, 100, -EALREADY },
		/* Below the present edge: only what it covers becomes seen. */
		{ SET_EDGE, 104, 0 },
		{ EDGE, 110, 0 },
		{ CHECK, 102, -EALREADY },
		{ CHECK, 104, -EALREADY },
		{ CHECK, 105, -EALREADY },
		{ ACCEPT, 106, 0 },
		/* And an older edge takes nothing back. */
		{ SET_EDGE, 3, 0 },
		{ EDGE, 110, 0 },
		{ CHECK, 103, -EALREADY },
		{ CHECK, 106, -EALREADY },
		{ CHECK, 107, 0 },
		{ SET_EDGE, UINT32_MAX, 0 },
		{ CHECK, UINT32_MAX, -EALREADY },
	};

	RUN(32, steps);
}

/* The naive twin remembers every number. */
struct naive {
	uint32_t size, edge, floor;
	bool seen[1 << 17];
};

static int naive_check(const struct naive *n, uint32_t seq)
{
	if (seq == 0)
		return -EINVAL;
	if (seq > n->edge)
		return 0;
	if ((uint64_t)seq + n->size <= n->edge)
		return -ESTALE;
	return seq <= n->floor || n->seen[seq] ? -EALREADY : 0;
}

static uint32_t next_random(uint64_t *x)
{
	*x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*x >> 33);
}

static uint32_t pick(uint64_t *x, uint32_t edge, uint32_t size)
{
	uint32_t r = next_random(x);
	uint32_t back = next_random(x) % (size + 80);

	if (r % 64 == 0)
		return edge + next_random(x) % (3 * size);
	if (r % 4 == 0)
		return edge + 1 + r / 4 % 9;
	return back > edge ? 0 : edge - back;
}

static void differ(uint32_t size, uint64_t seed)
{
	struct naive *n = calloc(1, sizeof(*n));
	struct replay r;
	uint32_t refused = 0, taken = 0;

	assert_non_null(n);
	n->size = size;
	assert_int_equal(replay_init(&r, size), 0);
	for (int i = 0; i < 20000; i++) {
		uint32_t seq = pick(&seed, n->edge, size);
		int want;

		if (seq >= sizeof(n->seen))
			break;
		if (next_random(&seed) % 500 == 0) {
			replay_set_edge(&r, seq);
			n->edge = seq > n->edge ? seq : n->edge;
			n->floor = seq > n->floor ? seq : n->floor;
		}
		want = naive_check(n, seq);
		assert_int_equal(replay_check(&r, seq), want);
		if (next_random(&seed) % 8 == 0)
			continue;
		assert_int_equal(replay_accept(&r, seq), want);
		if (want == 0) {
			n->seen[seq] = true;
			n->edge = seq > n->edge ? seq : n->edge;
			taken++;
		} else {
			refused++;
		}
		assert_int_equal(replay_edge(&r), n->edge);
	}
	/* Else the choice of numbers proves little. */
	assert_true(taken > 20 && refused > 20);
	free(n);
}

static void test_differential(void **state)
{
	static const uint32_t sizes[] = { 32,  33,  63,	  64,	65,   66,
					  127, 128, 1000, 1024, 4095, 4096 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (uint64_t seed = 1; seed <= 20; seed++)
			differ(sizes[i], seed * 7919 + sizes[i]);
}

/* Numbers of 64 bits behave across a multiple of 2^32 as anywhere else. */
static void test_long_numbers(void **state)
{
	const uint64_t turn = UINT64_C(5) << 32;
	struct replay r;

	assert_int_equal(replay_init(&r, 64), 0);
	replay_set_edge(&r, turn - 10);
	assert_int_equal(replay_accept(&r, turn - 10), -EALREADY);
	assert_int_equal(replay_accept(&r, turn - 1), 0);
	assert_int_equal(replay_accept(&r, turn + 3), 0);
	assert_int_equal(replay_accept(&r, turn), 0);
	assert_int_equal(replay_accept(&r, turn - 1), -EALREADY);
	assert_int_equal(replay_accept(&r, turn - 2), 0);
	assert_int_equal(replay_accept(&r, turn - 61), -ESTALE);
	assert_int_equal(replay_accept(&r, 3), -ESTALE);
	assert_true(replay_edge(&r) == turn + 3);
	replay_set_edge(&r, UINT64_MAX);
	assert_int_equal(replay_check(&r, UINT64_MAX), -EALREADY);
}

/* The one number with this lower half that is in the span of 2^32 from the window's left
 * end on, by looking at all that come into question. */
static uint64_t naive_extend(uint64_t edge, uint32_t size, uint32_t low)
{
	__int128 left = (__int128)edge - size + 1;

	for (__int128 n = ((__int128)(edge >> 32) - 1) * 4294967296 + low;;
	     n += UINT64_C(1) << 32)
		if (n >= 0 && n >= left)
			return (uint64_t)n;
}

static void test_extend(void **state)
{
	static const uint32_t sizes[] = { 32, 33, 1024, 4096 };
	static const uint64_t turns[] = { 0, 1, 2, 0xffff, UINT32_MAX };
	uint64_t seed = 1;
	struct replay r;

	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < 5; k++)
			for (int n = 0; n < 4000; n++) {
				uint64_t edge = turns[k] << 32;
				uint32_t far = next_random(&seed), low;

				/* About the turn mostly, of edge and number both. */
				edge += n % 4 ? far % (3 * sizes[i]) : far;
				edge -= k && n % 2 ? sizes[i] : 0;
				far = next_random(&seed);
				low = (uint32_t)edge +
				      (n % 8 ? far % (4 * sizes[i]) - 2 * sizes[i] : far);
				replay_init(&r, sizes[i]);
				replay_set_edge(&r, edge);
				assert_true(replay_extend(&r, low) ==
					    naive_extend(edge, sizes[i], low));
			}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_end_of_numbers),
		cmocka_unit_test(test_set_edge),
		cmocka_unit_test(test_differential),
		cmocka_unit_test(test_long_numbers),
		cmocka_unit_test(test_extend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
