/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the filter's tests share: frames with the verdicts that are expected of them, and a
 * filter that is asked in its userspace twin and, where this process may load it, in the
 * kernel.
 */
#ifndef TESTS_BPF_VERDICTS_H
#define TESTS_BPF_VERDICTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/filter.h"
#include "tests/bpf/frame.h"

#define SELF 7
#define OTHER 8
#define LO 1 /* BPF_PROG_TEST_RUN puts its frames on "lo" */
#define NEVER UINT64_MAX

#define SRC 0xc6336407ull		/* 198.51.100.7 */
#define VIP 0xc0000201ull		/* 192.0.2.1 */
#define SRC6_HIGH 0x20010db800010000ull /* 2001:db8:1::7 */
#define SRC6_LOW 7ull
#define VIP6_HIGH 0x20010db800000000ull /* 2001:db8::1 */
#define VIP6_LOW 1ull
#define PAIR6_HIGH 0x10000ull /* with 2001:db8::1 */
#define PAIR6_LOW 6ull
#define SPI_I "\x11\x22\x33\x44\x55\x66\x77\x88"
#define SPI_R "\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa9"
#define NO_SPI "\0\0\0\0\0\0\0\0"
#define UDP_TO(port, len) "\x04\x01" port len "\0\0"
#define TO_500 "\x01\xf4"
#define TO_4500 "\x11\x94"
/* Header of an IKE message: the rest is next payload, version, exchange, flags, ID,
 * length. */
#define IKE2(spi_r, flags) SPI_I spi_r "\x21\x20\x22" flags "\0\0\0\0\0\0\0\x1c"
#define IKE1(spi_r) SPI_I spi_r "\x01\x10\x02\0\0\0\0\0\0\0\0\x1c"
#define BYTES(s) .body = (s), .body_len = sizeof(s) - 1
#define TAG(s) .tag = (const uint8_t *)(s)

/* How the expected unit is given: not at all, as it is, or as what is folded. */
enum way { NO_UNIT, UNIT, FOLD };

struct verdict_case {
	const char *name;
	struct frame_spec frame;
	enum unit_reason reason; /* when the unit is ours */
	enum way way;
	uint64_t unit;
	uint64_t high; /* of what is folded */
};

extern const struct verdict_case cases[];
extern const size_t cases_count;

extern const uint8_t key_bytes[FILTER_KEY_SIZE];

/* The network is an inside one, but for what must not come from the outside. A test that
 * puts another filter in the place of one puts it back. */
extern struct filter *filter, *outside;
extern bool in_kernel;

/* Fixtures of a group of tests: both filters, with routes(). */
int setup(void **state);
int teardown(void **state);

/* NULL and a text on failure. lease_fd may be -1. */
struct filter *make_filter(bool userspace, bool is_outside, int lease_fd, char *err);
/* For both filters. */
void route(const char *address, unsigned prefixlen, uint16_t unit);
/* Those that the cases want. */
void routes(void);
void give_all_to(uint16_t owner);

/* Runs the tc program over the frame; false if the kernel does not take such a frame. */
bool kernel_classify(const struct filter *f, const uint8_t *frame, size_t len,
		     struct unit_result *out);

/* Each of these fails the test that calls it. */
void check_one(const char *name, const char *where, struct unit_result r,
	       enum unit_verdict verdict, enum unit_reason reason, unsigned unit);
/* What the filter gives to phalanxd, its tunnels can read. */
void check_readable(const char *name, const uint8_t *frame, size_t len,
		    struct unit_result r);
/* The case's frame, in the twin and in the kernel. */
void check(const struct verdict_case *c, enum unit_verdict verdict,
	   enum unit_reason reason, unsigned unit);

enum unit_verdict verdict_of(enum unit_reason reason);
const struct filter *filter_of(const struct verdict_case *c);
unsigned expected_unit(const struct verdict_case *c);

#endif
