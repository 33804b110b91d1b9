/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter's verdicts, frame by frame: the userspace twin and, where this process may
 * load it, the BPF program in the kernel.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bpf/verdicts.h"

static void test_ours(void **state)
{
	filter_renew(filter, NEVER);
	give_all_to(SELF);
	for (size_t i = 0; i < cases_count; i++)
		check(&cases[i], verdict_of(cases[i].reason), cases[i].reason,
		      expected_unit(&cases[i]));
}

/* What has a unit is dropped if it is another's; what has none has the same verdict. */
static void test_not_ours(void **state)
{
	static const struct {
		uint16_t owner;
		enum unit_reason reason;
	} others[] = { { OTHER, UNIT_BY_FOREIGN }, { UNIT_NOBODY, UNIT_BY_UNOWNED } };

	filter_renew(filter, NEVER);
	for (size_t o = 0; o < 2; o++) {
		give_all_to(others[o].owner);
		for (size_t i = 0; i < cases_count; i++) {
			bool has_unit = cases[i].way != NO_UNIT;
			enum unit_reason reason =
			    has_unit ? others[o].reason : cases[i].reason;
			check(&cases[i], verdict_of(reason), reason,
			      expected_unit(&cases[i]));
		}
	}
}

/* The master takes what phalanxd can keep until the unit has an owner. */
static void test_unowned_at_master(void **state)
{
	filter_renew(filter, NEVER);
	give_all_to(UNIT_NOBODY);
	filter_set_master(filter, true);
	for (size_t i = 0; i < cases_count; i++) {
		enum unit_reason reason = cases[i].reason;

		if (verdict_of(reason) == UNIT_DAEMON)
			reason = UNIT_BY_WAITING;
		else if (cases[i].way != NO_UNIT && reason != UNIT_BY_ROUTED)
			reason = UNIT_BY_UNOWNED;
		check(&cases[i], verdict_of(reason), reason, expected_unit(&cases[i]));
	}
	filter_set_master(filter, false);
}

/* What a frame to this member's MAC becomes in mode forwarding, if it is OTHER's. */
static enum unit_reason passed_as(const struct verdict_case *c, bool again)
{
	if (c->way == NO_UNIT)
		return c->reason;
	if (!again)
		return UNIT_BY_PASSED;
	return verdict_of(c->reason) == UNIT_DAEMON ? UNIT_BY_STRAY
	       : c->reason == UNIT_BY_ROUTED	    ? UNIT_BY_ROUTED
						    : UNIT_BY_FOREIGN;
}

/*
 * Mode forwarding: a frame of another member's is sent on to it, from our MAC; but not one
 * that a member has sent, and not when nobody knows where its owner is.
 */
static void test_forwarding(void **state)
{
	static const uint8_t router[6] = { 2, 0, 0, 0, 0, 1 },
			     member[6] = { 2, 0, 0, 0, 0, 8 };
	struct filter_config config = { .self = SELF,
					.networks = { { .ifname = "lo",
							.forwarding = true } },
					.network_count = 1,
					.address_count = 4,
					.lease_fd = -1,
					.userspace = !in_kernel };
	char err[FILTER_ERROR_SIZE] = "";

	address_parse("192.0.2.1", &config.addresses[0]);
	address_parse("192.0.2.2", &config.addresses[1]);
	address_parse("2001:db8::1", &config.addresses[2]);
	address_parse("2001:db8::2", &config.addresses[3]);
	struct filter *was = filter, *was_outside = outside;
	filter = outside = filter_new(&config, err);
	if (!filter)
		fail_msg("%s", err);
	filter_set_key(filter, key_bytes);
	routes();
	filter_renew(filter, NEVER);
	give_all_to(OTHER);
	for (int turn = 0; turn < 3; turn++) {
		/* Nobody knows where the owner is; the router sends; a member sends. */
		if (turn == 1)
			assert_int_equal(filter_set_place(filter, 0, OTHER, member), 0);
		for (size_t i = 0; i < cases_count; i++) {
			struct verdict_case c = cases[i];
			uint8_t frame[FRAME_MAX];
			struct unit_result r;

			if (c.frame.mac && strcmp(c.frame.mac, FRAME_OWN_MAC) != 0)
				continue;
			if (c.way == NO_UNIT)
				continue;
			c.frame.mac = FRAME_OWN_MAC;
			size_t len = frame_build(&c.frame, frame);
			memcpy(frame + 6, turn == 2 ? member : router, 6);
			enum unit_reason want = passed_as(&c, turn != 1);
			if (c.reason == UNIT_BY_FORWARDED)
				want = UNIT_BY_OTHER; /* as good as our own traffic */
			unsigned unit =
			    want == UNIT_BY_OTHER ? UNIT_NONE : expected_unit(&c);
			check_one(c.name, "twin",
				  filter_classify(filter, frame, len, LO, 1),
				  verdict_of(want), want, unit);
			if (in_kernel && kernel_classify(filter, frame, len, &r))
				check_one(c.name, "kernel", r, verdict_of(want), want,
					  unit);
		}
	}
	filter_free(filter);
	filter = was;
	outside = was_outside;
}

/* The frame that leaves: to the owner's MAC, from our own, and otherwise as it came. */
static void test_forwarded_frame(void **state)
{
	static const uint8_t member[6] = { 2, 0, 0, 0, 0, 8 };
	struct filter_config config = { .self = SELF,
					.networks = { { .ifname = "lo",
							.forwarding = true } },
					.network_count = 1,
					.address_count = 1,
					.lease_fd = -1 };
	const struct frame_spec spec = { .mac = FRAME_OWN_MAC,
					 .protocol = 50,
					 BYTES("\x12\x34\x57\xff\0\0\0\1") };
	uint8_t frame[FRAME_MAX], out[FRAME_MAX];
	char err[FILTER_ERROR_SIZE] = "";
	size_t len = frame_build(&spec, frame);

	if (!in_kernel)
		skip();
	address_parse("192.0.2.1", &config.addresses[0]);
	struct filter *f = filter_new(&config, err);
	assert_non_null(f);
	filter_renew(f, NEVER);
	filter_set_owner(f, 0x3ff, OTHER);
	assert_int_equal(filter_set_place(f, 0, OTHER, member), 0);
	memcpy(frame + 6, FRAME_OTHER_MAC, 6);
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame,
		    .data_size_in = (uint32_t)len, .data_out = out,
		    .data_size_out = sizeof(out));
	assert_int_equal(bpf_prog_test_run_opts(filter_tc_fd(f), &run), 0);
	assert_int_equal(run.retval, 7);
	assert_int_equal(run.data_size_out, len);
	assert_memory_equal(out, member, 6);
	assert_memory_equal(out + 6, FRAME_OWN_MAC, 6);
	assert_memory_equal(out + 12, frame + 12, len - 12);
	filter_free(f);
}

/* One unit is ours, all others are not: the owner is looked up under the right number. */
static void test_single_unit(void **state)
{
	filter_renew(filter, NEVER);
	give_all_to(OTHER);
	for (size_t i = 0; i < cases_count; i++) {
		unsigned unit = expected_unit(&cases[i]);
		if (unit == UNIT_NONE)
			continue;
		filter_set_owner(filter, (uint16_t)unit, SELF);
		check(&cases[i], verdict_of(cases[i].reason), cases[i].reason, unit);
		filter_set_owner(filter, (uint16_t)unit, OTHER);
	}
}

/* Every cut of every frame: no read beyond the end, and both agree. */
static void test_truncated(void **state)
{
	filter_renew(filter, NEVER);
	give_all_to(SELF);
	for (size_t i = 0; i < cases_count; i++) {
		uint8_t frame[FRAME_MAX];
		size_t len = frame_build(&cases[i].frame, frame);
		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *exact = malloc(cut ? cut : 1); /* for the sanitizer */
			struct unit_result r, twin;
			memcpy(exact, frame, cut);
			twin = filter_classify(filter, exact, cut, LO, 1);
			if (cut + cases[i].frame.padding < len &&
			    cases[i].frame.mac == NULL)
				assert_int_not_equal(twin.verdict, UNIT_DAEMON);
			if (in_kernel && kernel_classify(filter, exact, cut, &r))
				check_one(cases[i].name, "cut, kernel", r, twin.verdict,
					  twin.reason, twin.unit);
			free(exact);
		}
	}
}

/* Spoilt bytes: whatever the verdict is, both come to it. */
static void test_agreement(void **state)
{
	unsigned seed = 1;

	if (!in_kernel)
		skip();
	filter_renew(filter, NEVER);
	for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
		filter_set_owner(filter, (uint16_t)unit, unit % 3 ? SELF : OTHER);
	for (unsigned round = 0; round < 20000; round++) {
		const struct verdict_case *c =
		    &cases[(unsigned)rand_r(&seed) % cases_count];
		uint8_t frame[FRAME_MAX];
		size_t len = frame_build(&c->frame, frame);
		for (int n = rand_r(&seed) % 4; n >= 0; n--)
			frame[12 + (size_t)rand_r(&seed) % (len - 12)] =
			    (uint8_t)rand_r(&seed);
		struct unit_result r, twin = filter_classify(filter, frame, len, LO, 1);
		check_readable(c->name, frame, len, twin);
		if (kernel_classify(filter, frame, len, &r))
			check_one(c->name, "spoilt, kernel", r, twin.verdict, twin.reason,
				  twin.unit);
	}
}

static void test_other_interface(void **state)
{
	uint8_t frame[FRAME_MAX];
	const struct frame_spec esp = { .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") };
	size_t len = frame_build(&esp, frame);

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	check_one("not a cluster network", "twin",
		  filter_classify(filter, frame, len, 99, 1), UNIT_PASS, UNIT_BY_OTHER,
		  UNIT_NONE);
}

static void test_statistics(void **state)
{
	struct statistic all[UNIT_REASON_COUNT + 1];
	size_t n = filter_statistics(filter, all, UNIT_REASON_COUNT + 1);

	assert_int_equal(n, UNIT_REASON_COUNT);
	assert_string_equal(all[UNIT_BY_FOREIGN].name, "filter.foreign");
	if (!in_kernel)
		return;
	const struct frame_spec esp = { .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") };
	uint8_t frame[FRAME_MAX];
	size_t len = frame_build(&esp, frame);
	struct unit_result r;
	filter_renew(filter, NEVER);
	give_all_to(OTHER);
	uint64_t before = all[UNIT_BY_FOREIGN].value;
	for (unsigned i = 0; i < 5; i++)
		kernel_classify(filter, frame, len, &r);
	filter_statistics(filter, all, UNIT_REASON_COUNT);
	assert_int_equal(all[UNIT_BY_FOREIGN].value, before + 5);
	assert_int_equal(filter_statistics(filter, all, 3), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ours),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_unowned_at_master),
		cmocka_unit_test(test_forwarding),
		cmocka_unit_test(test_forwarded_frame),
		cmocka_unit_test(test_single_unit),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_agreement),
		cmocka_unit_test(test_other_interface),
		cmocka_unit_test(test_statistics),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
