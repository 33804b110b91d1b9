/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Neighbour discovery: our advertisements are sound, and what is not is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/ndp_wire.h"

static const uint8_t cluster[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 };
static const uint8_t asker[16] = { 0xfe, 0x80, [15] = 9 };
static const uint8_t mac[6] = { 3, 0x50, 1, 2, 3, 4 };

static void test_solicited(void **state)
{
	uint8_t out[NDP_ADVERT_LEN];
	struct ndp_heard h;

	ndp_wire_advert(out, cluster, asker, mac);
	assert_int_equal(ndp_wire_read(out, sizeof(out), &h), 0);
	assert_false(h.solicitation);
	assert_memory_equal(h.source, cluster, 16);
	assert_memory_equal(h.target, cluster, 16);
	assert_memory_equal(h.mac, mac, 6);
	assert_memory_equal(out + 24, asker, 16);
	assert_int_equal(out[44], 0xe0); /* router, solicited, override */
}

static void test_unsolicited(void **state)
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
	uint8_t out[NDP_ADVERT_LEN];
	struct ndp_heard h;

	ndp_wire_advert(out, cluster, NULL, mac);
	assert_int_equal(ndp_wire_read(out, sizeof(out), &h), 0);
	assert_memory_equal(out + 24, all_nodes, 16);
	assert_int_equal(out[44], 0xa0); /* router, override */
}

/* A message of 24 bytes and these options, with the right checksum. */
static size_t solicit(uint8_t *out, const uint8_t *source, const uint8_t *options,
		      size_t len)
{
	uint32_t sum = 58 + 24 + (uint32_t)len;

	memset(out, 0, 64);
	out[0] = 0x60;
	out[5] = (uint8_t)(24 + len);
	out[6] = 58;
	out[7] = 255;
	memcpy(out + 8, source, 16);
	memcpy(out + 24, (uint8_t[]){ 0xff, 2 }, 2);
	out[40] = 135;
	memcpy(out + 48, cluster, 16);
	if (len)
		memcpy(out + 64, options, len);
	for (size_t i = 8; i < 64 + len; i += 2)
		sum += (uint32_t)(out[i] << 8 | out[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	out[42] = (uint8_t)(~sum >> 8);
	out[43] = (uint8_t)~sum;
	return 64 + len;
}

static int read_back(const uint8_t *source, const char *options, size_t len,
		     struct ndp_heard *h)
{
	static uint8_t out[256];
	size_t n = solicit(out, source, (const uint8_t *)options, len);
	uint8_t *exact = malloc(n); /* for the sanitizer */
	int rc;

	memcpy(exact, out, n);
	rc = ndp_wire_read(exact, n, h);
	free(exact);
	return rc ? rc : ndp_wire_read(out, n, h);
}

static void test_options(void **state)
{
	struct ndp_heard h;

	assert_int_equal(read_back(asker, NULL, 0, &h), 0);
	assert_true(h.solicitation);
	assert_null(h.mac);
	assert_int_equal(read_back(asker, "\1\1abcdef", 8, &h), 0);
	assert_memory_equal(h.mac, "abcdef", 6);
	/* Another option before it, of two units. */
	assert_int_equal(read_back(asker, "\x0e\2..............\1\1abcdef", 24, &h), 0);
	assert_memory_equal(h.mac, "abcdef", 6);
	/* The target's address is the advertisement's to tell. */
	assert_int_equal(read_back(asker, "\2\1abcdef", 8, &h), 0);
	assert_null(h.mac);
	assert_int_equal(read_back(asker, "\1\0abcdef", 8, &h), -EBADMSG);
	assert_int_equal(read_back(asker, "\1\2abcdef", 8, &h), -EBADMSG);
	assert_int_equal(read_back(asker, "\1\1ab", 4, &h), -EBADMSG);
}

static void test_nobody(void **state)
{
	uint8_t out[256];
	struct ndp_heard h;

	assert_int_equal(read_back(ndp_nobody, NULL, 0, &h), 0);
	assert_int_equal(read_back(ndp_nobody, "\1\1abcdef", 8, &h), -EBADMSG);
	/* Only groups are asked without an address: 0xff02 + 0xfd = 0x0100 + 0xfeff. */
	size_t n = solicit(out, ndp_nobody, NULL, 0);
	out[24] = 0xfe;
	out[26] = 1;
	assert_int_equal(ndp_wire_read(out, n, &h), -EBADMSG);
}

/* Every flipped bit is noticed, and every cut. */
static void test_spoilt(void **state)
{
	uint8_t out[NDP_ADVERT_LEN];
	struct ndp_heard h;

	ndp_wire_advert(out, cluster, asker, mac);
	for (size_t i = 4; i < sizeof(out); i++) {
		out[i] ^= 1;
		assert_int_equal(ndp_wire_read(out, sizeof(out), &h), -EBADMSG);
		out[i] ^= 1;
	}
	for (size_t cut = 0; cut < sizeof(out); cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);

		memcpy(exact, out, cut);
		assert_int_equal(ndp_wire_read(exact, cut, &h), -EBADMSG);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_solicited), cmocka_unit_test(test_unsolicited),
		cmocka_unit_test(test_options),	  cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_spoilt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
