/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real processes: the test forks, the fork runs a keeper, and the keeper's child dies in
 * one way or another. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/keeper.h"
#include "src/seal.h"
#include "tests/unit/mesh.h"

#define PATIENCE_MS 20000

/* What the member of a test does after it has stored its notes, as `member`. */
enum life { LEAVES, EXITS, EXITS_WITH_78, BEGINS_AGAIN, WAITS, WAITS_WITH_HELPER };

/* Shared with all processes of a test. */
struct board {
	_Atomic pid_t member, helper;
	_Atomic unsigned deaths;
	_Atomic unsigned hangups;
};

static struct board *board;
static int sockets[2]; /* the peers' */
static struct endpoint addresses[2];
static struct seal_key key = { "a key of the test, not a secret, and 48 bytes.." };

static int setup(void **state)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < 2; i++) {
		addresses[i] = mesh_address(0);
		struct sockaddr *at = (struct sockaddr *)&addresses[i].address;
		sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
		assert_int_equal(bind(sockets[i], at, addresses[i].addresslen), 0);
		getsockname(sockets[i], at, &addresses[i].addresslen);
	}
	/* Orphans of a dead keeper come to us, so that we can tell that they are dead. */
	return prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static int teardown(void **state)
{
	munmap(board, sizeof(*board));
	close(sockets[0]);
	close(sockets[1]);
	return 0;
}

static void at_death(void *ctx)
{
	struct board *b = ctx;
	b->deaths++;
}

/* In place of the program's execution: the parent is still the same process. */
static void again(void *ctx)
{
	sigset_t blocked;

	sigprocmask(SIG_SETMASK, NULL, &blocked);
	_exit(sigisemptyset(&blocked) ? 42 : 43);
}

static void on_hangup(int signal)
{
	board->hangups++;
}

/* Two notes for the first peer, as after a reconnect, and one for the second. */
static void store_notes(struct keeper_page *page)
{
	struct seal_sender *sender = seal_sender_new(&key);
	struct endpoint from = mesh_address_on(1, 9, 0);
	uint8_t note[KEEPER_NOTE_MAX + 1] = { 0 };

	/* The first peer is on two networks, and on both at one address. */
	for (unsigned i = 0; i < 2; i++)
		keeper_to(page, 0, i, endpoint_socket(&addresses[0]),
			  addresses[0].addresslen);
	keeper_to(page, KEEPER_PEERS - 1, 0, endpoint_socket(&addresses[1]),
		  addresses[1].addresslen);
	keeper_from(page, 1, endpoint_socket(&from), from.addresslen);
	ssize_t n =
	    seal_datagram(sender, (const uint8_t *)"older", 5, note, sizeof(note));
	keeper_note(page, 0, (uint8_t *)"oldest", 6);
	keeper_note(page, 0, note, (size_t)n);
	n = seal_last(sender, (const uint8_t *)"dead", 4, note, sizeof(note));
	keeper_note(page, 0, note, (size_t)n);
	keeper_note(page, KEEPER_PEERS - 1, note, (size_t)n);
	if (keeper_note(page, 1, note, sizeof(note)) != -EMSGSIZE)
		abort();
	seal_sender_free(sender);
}

static _Noreturn void be_member(struct keeper_page *page, enum life life)
{
	store_notes(page);
	signal(SIGHUP, on_hangup);
	if (life == WAITS_WITH_HELPER) {
		pid_t helper = fork();
		if (helper == 0) {
			signal(SIGTERM, SIG_IGN);
			for (;;)
				pause();
		}
		board->helper = helper;
	}
	board->member = getpid();
	switch (life) {
	case LEAVES:
		keeper_leave(page);
		_exit(0);
	case EXITS:
		_exit(0);
	case EXITS_WITH_78:
		_exit(78);
	case BEGINS_AGAIN:
		_exit(KEEPER_AGAIN);
	default:
		for (;;)
			pause();
	}
}

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#define await(condition)                                                                 \
	do {                                                                             \
		uint64_t until = now_ms() + PATIENCE_MS;                                 \
		while (!(condition)) {                                                   \
			if (now_ms() > until)                                            \
				fail_msg("never: %s", #condition);                       \
			poll(NULL, 0, 2);                                                \
		}                                                                        \
	} while (0)

/* Returns the keeper's process id, once the member lives (or has lived). */
static pid_t start(enum life life)
{
	pid_t keeper = fork();

	if (keeper == 0) {
		const struct keeper_config config = { at_death, board, again };
		struct keeper_page *page = keeper_run(&config);
		if (!page)
			_exit(99);
		be_member(page, life);
	}
	assert_true(keeper > 0);
	await(board->member);
	return keeper;
}

static int status_of(pid_t process)
{
	int status;
	pid_t r;
	await((r = waitpid(process, &status, WNOHANG)) != 0);
	assert_int_equal(r, process);
	return status;
}

static void assert_gone(pid_t process)
{
	await(waitpid(process, NULL, WNOHANG) != 0);
	assert_int_equal(kill(process, 0), -1);
}

/* All that the peer has got, opened with its key: each note three times on each network,
 * each accepted once; and how many came from the member's address on the second one. */
static void expect_notes(int fd, unsigned opened, unsigned replayed, unsigned second)
{
	struct seal_ring *ring = seal_ring_new();
	uint8_t in[2048], plain[2048];
	struct endpoint own = mesh_address_on(1, 9, 0), from = own;
	unsigned slot, from_second = 0;
	bool dead = false;
	ssize_t n;

	assert_int_equal(seal_ring_add(ring, 3, &key), 0);
	while ((n = recvfrom(fd, in, sizeof(in), MSG_DONTWAIT,
			     (struct sockaddr *)&from.address, &from.addresslen)) > 0) {
		from_second +=
		    endpoint_same_host(endpoint_socket(&from), endpoint_socket(&own));
		n = seal_open(ring, in, (size_t)n, plain, sizeof(plain), &slot);
		if (n == 4 && memcmp(plain, "dead", 4) == 0)
			dead = true;
	}
	assert_int_equal(seal_ring_counters(ring)->opened, opened);
	assert_int_equal(seal_ring_counters(ring)->replayed, replayed);
	assert_int_equal(seal_ring_counters(ring)->truncated, 0);
	assert_int_equal(dead, opened > 0);
	assert_int_equal(from_second, second);
	seal_ring_free(ring);
}

static void expect_announced(void)
{
	assert_int_equal(board->deaths, 1);
	expect_notes(sockets[0], 2, 10, 6);
	expect_notes(sockets[1], 1, 2, 0);
}

static void expect_silence(void)
{
	assert_int_equal(board->deaths, 0);
	expect_notes(sockets[0], 0, 0, 0);
	expect_notes(sockets[1], 0, 0, 0);
}

static void test_killed(void **state)
{
	pid_t keeper = start(WAITS);

	assert_int_equal(getpgid(board->member), board->member);
	kill(board->member, SIGKILL);
	int status = status_of(keeper);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 128 + SIGKILL);
	expect_announced();
}

static void test_exits_without_leaving(void **state)
{
	int status = status_of(start(EXITS));

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	expect_announced();
}

static void test_exit_status_is_passed_on(void **state)
{
	int status = status_of(start(EXITS_WITH_78));

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 78);
	expect_announced();
}

/* Nobody is told: it is back at once, and had nothing of the cluster's. */
static void test_begins_again(void **state)
{
	pid_t keeper = start(BEGINS_AGAIN);

	assert_int_equal(WEXITSTATUS(status_of(keeper)), 42);
	assert_int_equal(board->deaths, 1);
	expect_notes(sockets[0], 0, 0, 0);
	expect_notes(sockets[1], 0, 0, 0);
}

static void test_leaves_in_good_order(void **state)
{
	int status = status_of(start(LEAVES));

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	expect_silence();
}

static void test_helpers_die_as_well(void **state)
{
	pid_t keeper = start(WAITS_WITH_HELPER);

	kill(board->member, SIGKILL);
	status_of(keeper);
	assert_gone(board->helper);
	expect_announced();
}

static void test_signals_are_forwarded(void **state)
{
	pid_t keeper = start(WAITS);

	kill(keeper, SIGHUP);
	await(board->hangups == 1);
	expect_silence();
	kill(keeper, SIGTERM); /* kills this member, which does not catch it */
	assert_int_equal(WEXITSTATUS(status_of(keeper)), 128 + SIGTERM);
	expect_announced();
}

static void test_member_dies_with_its_keeper(void **state)
{
	pid_t keeper = start(WAITS);

	kill(keeper, SIGKILL);
	status_of(keeper);
	assert_gone(board->member);
	expect_silence();
}

/* The whole of it: 2 runs under a keeper and is killed; 1 hears of it by way of its link. */
static _Noreturn void run_second(uint16_t port_one, uint16_t port_two)
{
	const struct keeper_config config = { at_death, board, NULL };
	struct keeper_page *page = keeper_run(&config);
	struct node two;

	if (!page || mesh_base_new(NULL) < 0)
		_exit(99);
	mesh_node(&two, 2, "m2", port_two);
	mesh_list(&two, 1, "m1", port_one);
	mesh_run(&two);
	if (links_death_note(two.links, (const uint8_t *)"m2 is dead", 10, page) < 0 ||
	    links_death_note(two.links, (const uint8_t *)"m2 is dead", 10, page) !=
		-EALREADY)
		_exit(98);
	while (!two.ups)
		event_base_loop(mesh_base, EVLOOP_ONCE);
	board->member = getpid();
	event_base_loop(mesh_base, 0);
	_exit(97);
}

static void test_link_carries_the_note(void **state)
{
	struct node one;
	uint16_t port_one = mesh_port(), port_two = mesh_port();
	pid_t keeper = fork();

	if (keeper == 0)
		run_second(port_one, port_two);
	assert_int_equal(mesh_base_new(state), 0);
	mesh_node(&one, 1, "m1", port_one);
	mesh_list(&one, 2, "m2", port_two);
	mesh_run(&one);
	mesh_wait(one.ups == 1 && board->member);
	assert_int_equal(one.datagrams, 0);
	kill(board->member, SIGKILL);
	mesh_wait(one.datagrams > 0 && one.downs == 1);
	assert_int_equal(one.last_len, 10);
	assert_memory_equal(one.last, "m2 is dead", 10);
	mesh_wait(mesh_statistic(&one, "datagram_replayed") == 2);
	assert_int_equal(one.datagrams, 1);
	assert_int_equal(WEXITSTATUS(status_of(keeper)), 128 + SIGKILL);
	mesh_end(&one);
	mesh_base_free(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_killed),
		TEST(test_exits_without_leaving),
		TEST(test_exit_status_is_passed_on),
		TEST(test_begins_again),
		TEST(test_leaves_in_good_order),
		TEST(test_helpers_die_as_well),
		TEST(test_signals_are_forwarded),
		TEST(test_member_dies_with_its_keeper),
		TEST(test_link_carries_the_note),
	};
	return cmocka_run_group_tests(tests, mesh_start, mesh_stop);
}
