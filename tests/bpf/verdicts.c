/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "tests/bpf/verdicts.h"
#include "tunnels/ip.h"

const uint8_t key_bytes[FILTER_KEY_SIZE] = { 0,	   1,	 2,    3,    4,	   5,
					     6,	   7,	 0x88, 0x99, 0xaa, 0xbb,
					     0xcc, 0xdd, 0xee, 0xff };

struct filter *filter, *outside;
bool in_kernel;

struct filter *make_filter(bool userspace, bool is_outside, int lease_fd, char *err)
{
	struct filter_config config = {
		.self = SELF,
		.networks = { { .ifname = "lo" } },
		.network_count = 1,
		.address_count = 4,
		.lease_fd = lease_fd,
		.userspace = userspace,
	};

	memcpy(config.networks[0].cluster_mac, FRAME_CLUSTER_MAC, 6);
	config.networks[0].outside = is_outside;
	address_parse("192.0.2.1", &config.addresses[0]);
	address_parse("192.0.2.2", &config.addresses[1]);
	address_parse("2001:db8::1", &config.addresses[2]);
	address_parse("2001:db8::2", &config.addresses[3]);
	return filter_new(&config, err);
}

void route(const char *address, unsigned prefixlen, uint16_t unit)
{
	struct address a;

	assert_int_equal(address_parse(address, &a), 0);
	assert_int_equal(filter_route_add(filter, a.family, a.bytes, prefixlen, unit), 0);
	assert_int_equal(filter_route_add(outside, a.family, a.bytes, prefixlen, unit),
			 0);
}

void routes(void)
{
	route("10.9.0.0", 16, FILTER_ROUTE_DROP);
	route("10.9.0.5", 32, 321);
	route("10.8.0.0", 16, 1023);
	route("2001:db8:9::", 48, FILTER_ROUTE_DROP);
	route("2001:db8:9::5", 128, 322);
}

int setup(void **state)
{
	char err[FILTER_ERROR_SIZE] = "";

	filter = make_filter(false, false, -1, err);
	in_kernel = filter != NULL;
	if (!filter) {
		fprintf(stderr, "not in the kernel (%s): the userspace twin only\n", err);
		filter = make_filter(true, false, -1, err);
	}
	outside = make_filter(!in_kernel, true, -1, err);
	if (!filter || !outside) {
		fprintf(stderr, "%s\n", err);
		return -1;
	}
	filter_set_key(filter, key_bytes);
	routes();
	return 0;
}

int teardown(void **state)
{
	filter_free(filter);
	filter_free(outside);
	return 0;
}

void give_all_to(uint16_t owner)
{
	for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
		filter_set_owner(filter, (uint16_t)unit, owner);
}

bool kernel_classify(const struct filter *f, const uint8_t *frame, size_t len,
		     struct unit_result *out)
{
	struct __sk_buff skb = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame,
		    .data_size_in = (uint32_t)len, .ctx_out = &skb,
		    .ctx_size_out = sizeof(skb));

	/* The kernel runs no test without the headers that Ethernet's type promises. */
	if (len < 14 || (frame[12] == 0x08 && frame[13] == 0x00 && len < 34) ||
	    (frame[12] == 0x86 && frame[13] == 0xdd && len < 54))
		return false;
	assert_int_equal(bpf_prog_test_run_opts(filter_tc_fd(f), &run), 0);
	out->verdict = (uint8_t)(skb.cb[0] >> 24);
	out->reason = (uint8_t)(skb.cb[0] >> 16);
	out->unit = (uint16_t)skb.cb[0];
	int action = out->verdict == UNIT_DROP	    ? 2 /* TC_ACT_SHOT */
		     : out->verdict == UNIT_DAEMON  ? 4 /* TC_ACT_STOLEN */
		     : out->verdict == UNIT_FORWARD ? 7 /* TC_ACT_REDIRECT */
						    : -1 /* TC_ACT_UNSPEC */;
	assert_int_equal((int)run.retval, action);
	return true;
}

void check_one(const char *name, const char *where, struct unit_result r,
	       enum unit_verdict verdict, enum unit_reason reason, unsigned unit)
{
	if (r.verdict == verdict && r.reason == reason && r.unit == unit)
		return;
	fail_msg("%s, %s: %s because of %s, unit %u; expected %s because of %s, unit %u",
		 name, where, filter_verdict_name(r.verdict),
		 filter_reason_name(r.reason), r.unit, filter_verdict_name(verdict),
		 filter_reason_name(reason), unit);
}

void check_readable(const char *name, const uint8_t *frame, size_t len,
		    struct unit_result r)
{
	size_t at = frame[12] == 0x81 ? 18 : 14;
	struct ip_packet ip;

	if (r.verdict != UNIT_DAEMON || r.as == UNIT_BY_FRAGMENT)
		return;
	if (ip_read(frame + at, len - at, &ip))
		fail_msg("%s: not readable", name);
	assert_int_equal(ip.protocol, r.as == UNIT_BY_ESP ? 50 : 17);
	if (r.as == UNIT_BY_ESP)
		assert_int_equal((ip.body[2] << 8 | ip.body[3]) & UNIT_MASK, r.unit);
}

enum unit_verdict verdict_of(enum unit_reason reason)
{
	static const uint8_t verdicts[] = {
#define X(symbol, verdict, name) UNIT_##verdict,
		UNIT_REASONS(X)
#undef X
	};
	return verdicts[reason];
}

const struct filter *filter_of(const struct verdict_case *c)
{
	return c->reason == UNIT_BY_CLEAR ? outside : filter;
}

void check(const struct verdict_case *c, enum unit_verdict verdict,
	   enum unit_reason reason, unsigned unit)
{
	uint8_t frame[FRAME_MAX];
	size_t len = frame_build(&c->frame, frame);
	const struct filter *f = filter_of(c);
	struct unit_result r;

	r = filter_classify(f, frame, len, LO, 1);
	check_one(c->name, "twin", r, verdict, reason, unit);
	check_readable(c->name, frame, len, r);
	if (in_kernel && kernel_classify(f, frame, len, &r))
		check_one(c->name, "kernel", r, verdict, reason, unit);
}

unsigned expected_unit(const struct verdict_case *c)
{
	return c->way == NO_UNIT ? UNIT_NONE
	       : c->way == UNIT	 ? (unsigned)c->unit
				 : unit_fold(filter_key(filter), c->high, c->unit);
}
