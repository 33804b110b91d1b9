/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Without a lease the filter takes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <time.h>
#include <unistd.h>

#include "tests/bpf/verdicts.h"

static void test_lease_over(void **state)
{
	struct timespec t;

	give_all_to(SELF);
	clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t past = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	const uint64_t leases[] = { 0, past };
	for (size_t l = 0; l < 2; l++) {
		filter_renew(filter, leases[l]);
		for (size_t i = 0; i < cases_count; i++) {
			enum unit_reason r = cases[i].reason;
			if (r != UNIT_BY_OTHER && r != UNIT_BY_VLAN && r != UNIT_BY_ARP &&
			    r != UNIT_BY_NOT_IP && r != UNIT_BY_CLEAR)
				r = UNIT_BY_LEASE;
			uint8_t frame[FRAME_MAX];
			size_t len = frame_build(&cases[i].frame, frame);
			struct unit_result got;
			check_one(
			    cases[i].name, "twin",
			    filter_classify(filter_of(&cases[i]), frame, len, LO, past),
			    verdict_of(r), r, UNIT_NONE);
			if (in_kernel &&
			    kernel_classify(filter_of(&cases[i]), frame, len, &got))
				check_one(cases[i].name, "kernel", got, verdict_of(r), r,
					  UNIT_NONE);
		}
	}
}

static void test_revoke(void **state)
{
	struct unit_result r;
	uint8_t frame[FRAME_MAX];
	const struct frame_spec esp = { .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") };
	size_t len = frame_build(&esp, frame);

	if (!in_kernel)
		skip();
	give_all_to(SELF);
	filter_renew(filter, NEVER);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.verdict, UNIT_DAEMON);
	assert_int_equal(filter_revoke(filter_lease_fd(filter)), 0);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.reason, UNIT_BY_LEASE);
}

/* A parent's lease: it can end it when the filter's owner is gone. */
static void test_lease_of_parent(void **state)
{
	char err[FILTER_ERROR_SIZE] = "";
	struct unit_result r;
	uint8_t frame[FRAME_MAX];
	const struct frame_spec error = { .protocol = 1, BYTES("\x03\4\0\0\0\0\5\xdc") };
	size_t len = frame_build(&error, frame);

	if (!in_kernel)
		skip();
	int lease = filter_lease_open();
	assert_true(lease >= 0);
	struct filter *first = filter,
		      *f = filter = make_filter(false, false, lease, err);
	if (!f)
		fail_msg("%s", err);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.reason, UNIT_BY_LEASE);
	filter_renew(f, NEVER);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.verdict, UNIT_HOST);
	assert_int_equal(filter_revoke(lease), 0);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.reason, UNIT_BY_LEASE);
	filter_free(f);
	filter = first;
	close(lease);
	assert_true(filter_revoke(lease) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_over),
		cmocka_unit_test(test_revoke),
		cmocka_unit_test(test_lease_of_parent),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
