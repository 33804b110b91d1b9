/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the measuring program that decide what it reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/net/tools/common.h"
#include "tests/net/tools/pattern.h"
#include "tests/net/tools/stream.h"

#define SEED 4711
#define LEN 40000

/* Any part alone equals that part of the whole. */
static void test_pattern_parts(void **state)
{
	static uint8_t whole[4096], part[4096];

	pattern_fill(SEED, 0, whole, sizeof(whole));
	for (size_t at = 0; at < 40; at++)
		for (size_t len = 0; len < 40; len++) {
			memset(part, 0, sizeof(part));
			pattern_fill(SEED, at, part, len);
			assert_memory_equal(part, whole + at, len);
			assert_int_equal(part[len], 0);
		}
	pattern_fill(SEED + 1, 0, part, sizeof(part));
	assert_memory_not_equal(part, whole, sizeof(whole));
	assert_memory_not_equal(whole, whole + 1024, 1024);
}

static void test_pattern_match(void **state)
{
	static const size_t wrong[] = { 0, 1, 7, 8, 1023, 1024, 1025, 3000, 4095 };
	static uint8_t bytes[4096];

	pattern_fill(SEED, 13, bytes, sizeof(bytes));
	assert_int_equal(pattern_match(SEED, 13, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(pattern_match(SEED, 13, bytes, 0), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		bytes[wrong[i]] ^= 0x80;
		assert_int_equal(pattern_match(SEED, 13, bytes, sizeof(bytes)), wrong[i]);
		bytes[wrong[i]] ^= 0x80;
	}
	/* Bytes that are right, but one place too early. */
	assert_true(pattern_match(SEED, 12, bytes, sizeof(bytes)) < 8);
}

static void test_gaps(void **state)
{
	static const ns_t arrivals[] = { 10, 11, 12, 40, 41, 60, 61, 62 };
	struct gaps g;

	gaps_init(&g, 0, 2);
	for (size_t i = 0; i < sizeof(arrivals) / sizeof(arrivals[0]); i++)
		gaps_arrival(&g, arrivals[i]);
	assert_int_equal(g.n, 3);
	assert_int_equal(gaps_longest(&g, 0, 100), 28);
	assert_int_equal(gaps_longest(&g, 0, 12), 10);
	assert_int_equal(gaps_longest(&g, 0, 13), 28);
	/* A gap that began before the event and ends within it belongs to it. */
	assert_int_equal(gaps_longest(&g, 39, 41), 28);
	assert_int_equal(gaps_longest(&g, 40, 42), 19);
	assert_int_equal(gaps_longest(&g, 60, 100), 0);
	gaps_free(&g);
}

static void write_text(const char *file, const char *text)
{
	FILE *to = fopen(file, "w");

	assert_non_null(to);
	fputs(text, to);
	assert_int_equal(fclose(to), 0);
}

static void test_events(void **state)
{
	char file[] = "/tmp/events.XXXXXX";
	struct events e;
	ns_t before = now_ns();
	int fd = mkstemp(file);

	assert_true(fd >= 0);
	close(fd);
	write_text(file, "# name, time\n\nrevive 300\nkill 100\nlate 900\ncut 500\n");
	events_read(&e, file, 800);
	assert_int_equal(e.n, 3);
	assert_string_equal(e.at[0].name, "kill");
	assert_int_equal(e.at[0].from, 100);
	assert_int_equal(e.at[0].to, 300);
	assert_string_equal(e.at[1].name, "revive");
	assert_int_equal(e.at[1].to, 500);
	assert_string_equal(e.at[2].name, "cut");
	assert_int_equal(e.at[2].to, 800);
	events_free(&e);

	events_mark(file, "now");
	events_read(&e, file, INT64_MAX);
	assert_int_equal(e.n, 5);
	assert_string_equal(e.at[4].name, "now");
	assert_true(e.at[4].from >= before && e.at[4].from <= now_ns());
	events_free(&e);
	unlink(file);
	events_read(&e, NULL, 1);
	assert_int_equal(e.n, 0);
}

static struct stream stream_on(int fd, uint64_t bytes)
{
	return (struct stream){ .fd = fd,
				.seed = SEED,
				.bytes = bytes,
				.end = INT64_MAX,
				.idle = 30 * NS_PER_S };
}

static void make_pair(int *fds)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

/* A peer that sends the pattern, but for one byte, and closes. */
static void receive_from(size_t sent, size_t wrong, struct stream *s)
{
	static uint8_t bytes[LEN];
	int fds[2];

	make_pair(fds);
	pattern_fill(SEED, 0, bytes, sizeof(bytes));
	if (wrong < LEN)
		bytes[wrong] ^= 1;
	assert_int_equal(write(fds[1], bytes, sent), sent);
	close(fds[1]);
	*s = stream_on(fds[0], LEN);
	stream_receive(s);
	close(fds[0]);
}

static void test_receive(void **state)
{
	struct stream s;

	receive_from(LEN, LEN, &s);
	assert_int_equal(s.done, LEN);
	assert_false(s.wrong || s.closed);
	assert_null(s.error);
	receive_from(LEN - 1, LEN, &s);
	assert_int_equal(s.done, LEN - 1);
	assert_true(s.closed);
	assert_false(s.wrong);
	receive_from(LEN, 12345, &s);
	assert_int_equal(s.done, 12345);
	assert_true(s.wrong);
	receive_from(LEN, LEN - 1, &s);
	assert_int_equal(s.done, LEN - 1);
	assert_true(s.wrong);
}

static void test_send(void **state)
{
	int fds[2];
	struct stream out, in;

	make_pair(fds);
	out = stream_on(fds[1], LEN);
	stream_send(&out);
	assert_int_equal(out.done, LEN);
	in = stream_on(fds[0], LEN);
	stream_receive(&in);
	assert_int_equal(in.done, LEN);
	assert_false(in.wrong);
	/* The other end is gone. */
	close(fds[0]);
	out = stream_on(fds[1], LEN);
	stream_send(&out);
	assert_non_null(out.error);
	close(fds[1]);
}

static void test_no_progress(void **state)
{
	int fds[2];
	struct stream s;

	make_pair(fds);
	s = stream_on(fds[0], LEN);
	s.idle = NS_PER_MS;
	stream_receive(&s);
	assert_string_equal(s.error, "no progress");
	/* Nobody reads: the buffer fills, and then nothing moves. */
	s = stream_on(fds[0], UINT64_C(1) << 40);
	s.idle = NS_PER_MS;
	stream_send(&s);
	assert_string_equal(s.error, "no progress");
	assert_true(s.done > 0);
	close(fds[0]);
	close(fds[1]);
}

/* A rate is never exceeded, whatever the machine does. */
static void test_rate(void **state)
{
	const uint64_t rate = 200000;
	struct stream s;
	ns_t start = now_ns(), took;
	int fds[2];

	make_pair(fds);
	s = stream_on(fds[1], LEN);
	s.rate = rate;
	stream_send(&s);
	took = now_ns() - start;
	assert_int_equal(s.done, LEN);
	/* The first slice of 5 ms goes at once. */
	assert_true(took >= (ns_t)((LEN - rate / 200) * NS_PER_S / rate) - 5 * NS_PER_MS);
	close(fds[0]);
	close(fds[1]);
}

static void test_lines(void **state)
{
	char line[16];
	int fds[2];

	make_pair(fds);
	assert_true(stream_say(fds[1], "GET 5 6\nrest", now_ns() + NS_PER_S));
	assert_true(
	    stream_read_line(fds[0], line, sizeof(line), now_ns() + 30 * NS_PER_S));
	assert_string_equal(line, "GET 5 6");
	assert_int_equal(read(fds[0], line, sizeof(line)), 4);
	assert_true(stream_say(fds[1], "a line that is too long\n", now_ns() + NS_PER_S));
	assert_false(
	    stream_read_line(fds[0], line, sizeof(line), now_ns() + 30 * NS_PER_S));
	close(fds[1]);
	while (read(fds[0], line, sizeof(line)) > 0)
		;
	assert_false(
	    stream_read_line(fds[0], line, sizeof(line), now_ns() + 30 * NS_PER_S));
	close(fds[0]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pattern_parts),
		cmocka_unit_test(test_pattern_match),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_no_progress),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_lines),
	};

	catch_signals();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
