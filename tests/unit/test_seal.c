/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "src/seal.h"

struct fixture {
	struct seal_sender *sender;
	struct seal_ring *ring;
};

static struct seal_key key_of(uint8_t seed)
{
	struct seal_key key;
	for (unsigned i = 0; i < sizeof(key.material); i++)
		key.material[i] = (uint8_t)(seed * 31 + i);
	return key;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct seal_key key = key_of(1);

	f->sender = seal_sender_new(&key);
	f->ring = seal_ring_new();
	assert_non_null(f->sender);
	assert_int_equal(seal_ring_add(f->ring, 5, &key), 0);
	seal_ring_promote(f->ring, 5);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	seal_sender_free(f->sender);
	seal_ring_free(f->ring);
	free(f);
	return 0;
}

static const struct seal_counters *counters(struct fixture *f)
{
	return seal_ring_counters(f->ring);
}

static ssize_t open_it(struct fixture *f, const uint8_t *in, ssize_t len)
{
	uint8_t plain[256];
	unsigned slot = 99;

	assert_true(len >= 0);
	/* An exact copy on the heap, so that the sanitizer sees a read beyond the end. */
	uint8_t *copy = malloc((size_t)len + 1);
	memcpy(copy + 1, in, (size_t)len);
	ssize_t n =
	    seal_open(f->ring, copy + 1, (size_t)len, plain, sizeof(plain), &slot);
	free(copy);
	if (n >= 0)
		assert_int_equal(slot, 5);
	return n;
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	uint8_t out[64], again[64], plain[64];
	unsigned slot = 0;

	ssize_t n =
	    seal_datagram(f->sender, (const uint8_t *)"hello", 5, out, sizeof(out));
	assert_int_equal(n, 5 + SEAL_OVERHEAD);
	assert_null(memmem(out, (size_t)n, "hello", 5));
	assert_int_equal(seal_open(f->ring, out, (size_t)n, plain, sizeof(plain), &slot),
			 5);
	assert_memory_equal(plain, "hello", 5);
	assert_int_equal(slot, 5);
	assert_int_equal(counters(f)->opened, 1);

	assert_int_equal(seal_datagram(f->sender, (const uint8_t *)"hello", 5, again, 64),
			 n);
	assert_memory_not_equal(out + SEAL_HEADER, again + SEAL_HEADER, 5);

	n = seal_datagram(f->sender, NULL, 0, out, sizeof(out));
	assert_int_equal(n, SEAL_OVERHEAD);
	assert_int_equal(open_it(f, out, n), 0);
}

/* One datagram over two networks, in either order: delivered once, and the second copy is
 * no replay, but the third is. */
static void test_copy_of_another_path(void **state)
{
	struct fixture *f = *state;
	uint8_t out[64], plain[64];
	unsigned slot;

	for (unsigned first = 0; first < 2; first++) {
		ssize_t n =
		    first ? seal_last(f->sender, (const uint8_t *)"x", 1, out, 64)
			  : seal_datagram(f->sender, (const uint8_t *)"x", 1, out, 64);

		assert_int_equal(
		    seal_open_via(f->ring, first, out, (size_t)n, plain, 64, &slot), 1);
		assert_int_equal(
		    seal_open_via(f->ring, !first, out, (size_t)n, plain, 64, &slot),
		    -EBADMSG);
		assert_int_equal(counters(f)->duplicate, first + 1);
		for (unsigned path = 0; path < 2; path++)
			assert_int_equal(seal_open_via(f->ring, path, out, (size_t)n,
						       plain, 64, &slot),
					 -EBADMSG);
		assert_int_equal(counters(f)->replayed, 2 * (first + 1));
	}
	assert_int_equal(counters(f)->opened, 2);
	assert_int_equal(counters(f)->duplicate, 2);
}

/* A number's place in the window is another's later on. */
static void test_copy_after_the_window_moved(void **state)
{
	struct fixture *f = *state;
	uint8_t old[64], out[64], plain[64];
	unsigned slot;
	ssize_t n = seal_datagram(f->sender, (const uint8_t *)"x", 1, old, sizeof(old));

	assert_int_equal(seal_open_via(f->ring, 0, old, (size_t)n, plain, 64, &slot), 1);
	for (unsigned i = 0; i < SEAL_WINDOW; i++) {
		n = seal_datagram(f->sender, (const uint8_t *)"x", 1, out, sizeof(out));
		assert_int_equal(
		    seal_open_via(f->ring, 1, out, (size_t)n, plain, 64, &slot), 1);
	}
	assert_int_equal(seal_open_via(f->ring, 1, old, (size_t)n, plain, 64, &slot),
			 -EBADMSG);
	assert_int_equal(counters(f)->replayed, 1);
	assert_int_equal(seal_open_via(f->ring, 0, out, (size_t)n, plain, 64, &slot),
			 -EBADMSG);
	assert_int_equal(counters(f)->duplicate, 1);
}

static void test_too_long(void **state)
{
	struct fixture *f = *state;
	uint8_t out[64] = { 0 }, plain[4];
	unsigned slot;

	assert_int_equal(seal_datagram(f->sender, out, 36, out, sizeof(out)), -EMSGSIZE);
	assert_int_equal(seal_datagram(f->sender, out, 1, out, 3), -EMSGSIZE);
	ssize_t n =
	    seal_datagram(f->sender, (const uint8_t *)"hello", 5, out, sizeof(out));
	assert_int_equal(seal_open(f->ring, out, (size_t)n, plain, 4, &slot), -EMSGSIZE);
}

static void test_every_bit_counts(void **state)
{
	struct fixture *f = *state;
	uint8_t out[64];

	ssize_t n =
	    seal_datagram(f->sender, (const uint8_t *)"hello", 5, out, sizeof(out));
	for (ssize_t bit = 0; bit < n * 8; bit++) {
		out[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		assert_int_equal(open_it(f, out, n), -EBADMSG);
		out[bit / 8] ^= (uint8_t)(1 << (bit % 8));
	}
	assert_int_equal(counters(f)->version, 8);
	assert_int_equal(counters(f)->unknown_key, 32);
	assert_int_equal(counters(f)->bad_tag, (uint64_t)(n - 5) * 8);
	assert_int_equal(open_it(f, out, n), 5);
}

static void test_short(void **state)
{
	struct fixture *f = *state;
	uint8_t out[64];

	ssize_t n =
	    seal_datagram(f->sender, (const uint8_t *)"hello", 5, out, sizeof(out));
	for (ssize_t len = 0; len < n; len++)
		assert_int_equal(open_it(f, out, len), -EBADMSG);
	assert_int_equal(counters(f)->truncated, SEAL_OVERHEAD);
	assert_int_equal(counters(f)->bad_tag, 5);
}

static void test_replay_and_window(void **state)
{
	struct fixture *f = *state;
	enum { N = 3 * SEAL_WINDOW };
	static uint8_t sealed[N][SEAL_OVERHEAD + 1];

	for (unsigned i = 0; i < N; i++)
		seal_datagram(f->sender, (const uint8_t *)"x", 1, sealed[i],
			      sizeof(sealed[i]));
	/* Odd ones first, in order, with a replay of each; then even ones, late. */
	for (unsigned i = 1; i < SEAL_WINDOW; i += 2) {
		assert_int_equal(open_it(f, sealed[i], sizeof(sealed[i])), 1);
		assert_int_equal(open_it(f, sealed[i], sizeof(sealed[i])), -EBADMSG);
	}
	for (unsigned i = 0; i < SEAL_WINDOW; i += 2)
		assert_int_equal(open_it(f, sealed[i], sizeof(sealed[i])), 1);
	assert_int_equal(counters(f)->replayed, SEAL_WINDOW / 2);
	for (unsigned i = 0; i < SEAL_WINDOW; i++)
		assert_int_equal(open_it(f, sealed[i], sizeof(sealed[i])), -EBADMSG);

	/* A jump beyond the window: what lies just inside it opens, just outside not. */
	assert_int_equal(open_it(f, sealed[N - 1], SEAL_OVERHEAD + 1), 1);
	assert_int_equal(open_it(f, sealed[N - SEAL_WINDOW], SEAL_OVERHEAD + 1), 1);
	assert_int_equal(open_it(f, sealed[N - SEAL_WINDOW - 1], SEAL_OVERHEAD + 1),
			 -EBADMSG);
	assert_int_equal(open_it(f, sealed[N - SEAL_WINDOW], SEAL_OVERHEAD + 1),
			 -EBADMSG);
}

static void test_last(void **state)
{
	struct fixture *f = *state;
	uint8_t last[64], out[64];

	ssize_t n = seal_last(f->sender, (const uint8_t *)"dead", 4, last, sizeof(last));
	assert_int_equal(n, 4 + SEAL_OVERHEAD);
	assert_int_equal(
	    seal_last(f->sender, (const uint8_t *)"dead", 4, out, sizeof(out)),
	    -EALREADY);
	/* It neither moves the window nor suffers from it. */
	for (unsigned i = 0; i < 10; i++) {
		ssize_t m = seal_datagram(f->sender, (const uint8_t *)"x", 1, out, 64);
		assert_int_equal(open_it(f, out, m), 1);
		if (i == 4)
			assert_int_equal(open_it(f, last, n), 4);
	}
	assert_int_equal(open_it(f, last, n), -EBADMSG);
	assert_int_equal(counters(f)->replayed, 1);
}

static void test_generations(void **state)
{
	struct fixture *f = *state;
	struct seal_sender *senders[4];
	uint8_t out[64];

	senders[0] = f->sender;
	for (unsigned i = 1; i < 4; i++) {
		struct seal_key key = key_of((uint8_t)(1 + i));
		senders[i] = seal_sender_new(&key);
		assert_int_equal(seal_ring_add(f->ring, 5, &key), 0);
		/* The pending key and the current one open. */
		for (unsigned k = i - 1; k <= i; k++) {
			ssize_t n = seal_datagram(senders[k], out, 1, out, sizeof(out));
			assert_int_equal(open_it(f, out, n), 1);
		}
		seal_ring_promote(f->ring, 5);
		seal_ring_promote(f->ring, 5); /* nothing is pending: no effect */
		for (unsigned k = 0; k <= i; k++) {
			ssize_t n = seal_datagram(senders[k], out, 1, out, sizeof(out));
			ssize_t want = k + 1 >= i ? 1 : -EBADMSG;
			assert_int_equal(open_it(f, out, n), want);
		}
	}
	assert_int_equal(counters(f)->unknown_key, 3);
	for (unsigned i = 1; i < 4; i++)
		seal_sender_free(senders[i]);
}

static void test_shared_key_id(void **state)
{
	struct fixture *f = *state;
	struct seal_key key = key_of(1);
	uint8_t out[64], plain[64];
	unsigned slot = 99;

	key.material[0] ^= 1; /* another key under the same id, found first */
	struct seal_sender *other = seal_sender_new(&key);
	assert_int_equal(seal_ring_add(f->ring, 2, &key), 0);
	ssize_t n = seal_datagram(f->sender, (const uint8_t *)"a", 1, out, sizeof(out));
	assert_int_equal(open_it(f, out, n), 1);
	n = seal_datagram(other, (const uint8_t *)"b", 1, out, sizeof(out));
	assert_int_equal(seal_open(f->ring, out, (size_t)n, plain, sizeof(plain), &slot),
			 1);
	assert_int_equal(slot, 2);
	assert_int_equal(counters(f)->bad_tag, 0);
	seal_sender_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),	      TEST(test_copy_of_another_path),
		TEST(test_round_trip),	      TEST(test_copy_after_the_window_moved),
		TEST(test_round_trip),	      TEST(test_too_long),
		TEST(test_every_bit_counts),  TEST(test_short),
		TEST(test_replay_and_window), TEST(test_last),
		TEST(test_generations),	      TEST(test_shared_key_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
