/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a tunnel does to the packets in it. Checksums are made here from their definition
 * and compared with what the changes left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ipsec/inner.h"

static const uint8_t A[16] = { 10, 1, 2, 3, 0x20, 1 }, B[16] = { 172, 16, 5, 6, 7, 8 };

static uint16_t sum_of(const uint8_t *at, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? at[i] : (uint32_t)at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static bool header_intact(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 || sum_of(ip, 20, 0) == 0xffff;
}

static bool upper_intact(const uint8_t *ip, size_t len, uint8_t protocol)
{
	size_t header = ip[0] >> 4 == 4 ? 20 : 40, at = header == 20 ? 12 : 8;
	uint32_t sum = sum_of(ip + at, header - at, 0);

	return sum_of(ip + header, len - header,
		      sum + protocol + (uint32_t)(len - header)) == 0xffff;
}

/* The packet, with what is to stand behind its header, and right checksums. */
static size_t make(uint8_t *ip, uint8_t family, uint8_t protocol, const void *body,
		   size_t len, struct selector_flow *f)
{
	inner_header(ip, family, protocol, 0, A, B, len);
	memcpy(ip + (family == 4 ? 20 : 40), body, len);
	assert_int_equal(selector_read(ip, (family == 4 ? 20 : 40) + len, f), 0);
	inner_checksum(ip, f);
	assert_true(header_intact(ip));
	return f->total;
}

/* RFC 6040, figure 4: rows are the inner field, columns the outer one. */
static void test_congestion(void **state)
{
	enum { NOT, ECT1, ECT0, CE, DROP };
	static const uint8_t want[4][4] = {
		[NOT] = { [NOT] = NOT, [ECT0] = NOT, [ECT1] = NOT, [CE] = DROP },
		[ECT0] = { [NOT] = ECT0, [ECT0] = ECT0, [ECT1] = ECT1, [CE] = CE },
		[ECT1] = { [NOT] = ECT1, [ECT0] = ECT1, [ECT1] = ECT1, [CE] = CE },
		[CE] = { [NOT] = CE, [ECT0] = CE, [ECT1] = CE, [CE] = CE },
	};
	uint8_t ip[64];

	for (unsigned v = 4; v <= 6; v += 2)
		for (unsigned inner = 0; inner < 4; inner++)
			for (unsigned outer = 0; outer < 4; outer++) {
				uint8_t tos = (uint8_t)(0xb8 | inner), got;

				inner_header(ip, (uint8_t)v, 17, tos, A, B, 8);
				assert_int_equal(inner_encapsulate(ip, LOCAL_COPY_ECN),
						 inner);
				got = inner_decapsulate(ip, (uint8_t)(0x28 | outer),
							LOCAL_COPY_ECN)
					  ? inner_tos(ip) & 3
					  : DROP;
				assert_int_equal(got, want[inner][outer]);
				if (got != DROP)
					assert_int_equal(inner_tos(ip) >> 2, 0xb8 >> 2);
				assert_true(header_intact(ip));
				/* Without the copying all stays as it is. */
				inner_header(ip, (uint8_t)v, 17, tos, A, B, 8);
				assert_int_equal(inner_encapsulate(ip, 0), 0);
				assert_true(inner_decapsulate(ip, (uint8_t)outer, 0));
				assert_int_equal(inner_tos(ip), tos);
			}
}

static void test_service_class(void **state)
{
	uint8_t ip[64];

	for (unsigned v = 4; v <= 6; v += 2) {
		inner_header(ip, (uint8_t)v, 17, 0xb9, A, B, 8);
		ip[1] |= v == 6 ? 0x0a : 0; /* of the flow label */
		assert_int_equal(inner_encapsulate(ip, LOCAL_COPY_DSCP_OUT), 0xb8);
		assert_int_equal(
		    inner_encapsulate(ip, LOCAL_COPY_DSCP_OUT | LOCAL_COPY_ECN), 0xb9);
		assert_true(inner_decapsulate(ip, 0x22, LOCAL_COPY_DSCP_OUT));
		assert_int_equal(inner_tos(ip), 0xb9);
		assert_true(inner_decapsulate(ip, 0x22, LOCAL_COPY_DSCP_IN));
		assert_int_equal(inner_tos(ip), 0x21);
		assert_true(header_intact(ip));
		if (v == 6)
			assert_int_equal(ip[1] & 15, 0x0a);
	}
}

static uint16_t mss_of(const uint8_t *options, size_t len, uint8_t flags, uint16_t most,
		       uint8_t family, size_t at)
{
	uint8_t tcp[60] = { [12] = (uint8_t)((20 + len) / 4 << 4), [13] = flags },
		ip[128];
	struct selector_flow f;
	size_t total;

	memcpy(tcp + 20, options, len);
	total = make(ip, family, 6, tcp, 20 + len, &f);
	inner_clamp_mss(ip, &f, most);
	assert_true(upper_intact(ip, total, 6));
	return (uint16_t)(ip[f.header + 20 + at + 2] << 8 | ip[f.header + 20 + at + 3]);
}

static void test_segments(void **state)
{
	static const uint8_t first[] = { 2, 4, 0x05, 0xb4 };
	static const uint8_t odd[] = { 1, 2, 4, 0x05, 0xb4, 1, 1, 0 };
	static const uint8_t behind[] = {
		8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2, 2, 4, 9, 9
	};
	static const uint8_t hidden[] = { 0, 0, 0, 0, 2, 4, 9, 9 };
	static const uint8_t broken[] = { 8, 0, 0, 0, 2, 4, 9, 9 };
	static const uint8_t beyond[] = { 1, 1, 1, 2 };

	for (unsigned v = 4; v <= 6; v += 2) {
		uint8_t family = (uint8_t)v;

		assert_int_equal(mss_of(first, 4, 2, 1300, family, 0), 1300);
		assert_int_equal(mss_of(first, 4, 0x12, 1300, family, 0), 1300);
		assert_int_equal(mss_of(first, 4, 2, 1460, family, 0), 1460);
		assert_int_equal(mss_of(first, 4, 2, 1461, family, 0), 1460);
		assert_int_equal(mss_of(first, 4, 0x10, 1300, family, 0), 1460);
		assert_int_equal(mss_of(odd, 8, 2, 1299, family, 1), 1299);
		assert_int_equal(mss_of(behind, 16, 2, 1300, family, 12), 1300);
		assert_int_equal(mss_of(hidden, 8, 2, 1300, family, 4), 0x0909);
		assert_int_equal(mss_of(broken, 8, 2, 1300, family, 4), 0x0909);
		mss_of(beyond, 4, 2, 1300, family, 0);
	}
}

/* Every length of what claims to be TCP, exactly sized for ASan. */
static void test_segments_cut(void **state)
{
	uint8_t whole[44] = {
		[12] = 0xb0, [13] = 2, [20] = 1, [21] = 2, [22] = 4, [23] = 9
	};
	struct selector_flow f;

	for (size_t len = 0; len <= sizeof(whole); len++) {
		uint8_t *ip = malloc(20 + len);

		inner_header(ip, 4, 6, 0, A, B, len);
		memcpy(ip + 20, whole, len);
		assert_int_equal(selector_read(ip, 20 + len, &f), 0);
		inner_clamp_mss(ip, &f, 500);
		free(ip);
	}
}

static void test_too_big(void **state)
{
	static uint8_t ip[3000], body[2900], out[INNER_ERROR_MAX];
	struct selector_flow f;
	size_t total, len;

	total = make(ip, 4, 17, body, 1400, &f);
	len = inner_too_big(ip, &f, 1234, out);
	assert_int_equal(len, 576);
	assert_true(header_intact(out));
	assert_int_equal(out[9], 1);
	assert_memory_equal(out + 12, B, 4);
	assert_memory_equal(out + 16, A, 4);
	assert_int_equal(out[20], 3);
	assert_int_equal(out[21], 4);
	assert_int_equal(out[26] << 8 | out[27], 1234);
	assert_int_equal(sum_of(out + 20, len - 20, 0), 0xffff);
	assert_memory_equal(out + 28, ip, len - 28);
	total = make(ip, 6, 17, body, 2900, &f);
	assert_int_equal(total, 2940);
	len = inner_too_big(ip, &f, 1280, out);
	assert_int_equal(len, 1280);
	assert_int_equal(out[6], 58);
	assert_memory_equal(out + 8, B, 16);
	assert_memory_equal(out + 24, A, 16);
	assert_int_equal(out[40], 2);
	assert_int_equal(out[46] << 8 | out[47], 1280);
	assert_true(upper_intact(out, len, 58));
	assert_memory_equal(out + 48, ip, len - 48);
}

/* An error is no answer to an error, nor to a fragment. */
static void test_no_answer(void **state)
{
	static const uint8_t errors4[] = { 3, 4, 5, 11, 12 };
	uint8_t ip[128], body[64] = { 0 }, out[INNER_ERROR_MAX];
	struct selector_flow f;

	for (size_t i = 0; i < sizeof(errors4); i++) {
		body[0] = errors4[i];
		make(ip, 4, 1, body, sizeof(body), &f);
		assert_int_equal(inner_too_big(ip, &f, 100, out), 0);
	}
	body[0] = 8;
	make(ip, 4, 1, body, sizeof(body), &f);
	assert_true(inner_too_big(ip, &f, 100, out) > 0);
	body[0] = 1;
	make(ip, 6, 58, body, sizeof(body), &f);
	assert_int_equal(inner_too_big(ip, &f, 100, out), 0);
	body[0] = 128;
	make(ip, 6, 58, body, sizeof(body), &f);
	assert_true(inner_too_big(ip, &f, 100, out) > 0);
	make(ip, 4, 17, body, sizeof(body), &f);
	ip[7] = 3;
	assert_int_equal(selector_read(ip, f.total, &f), 0);
	assert_int_equal(inner_too_big(ip, &f, 100, out), 0);
}

/* Nor to what was sent to many, or by nobody. */
static void test_no_answer_to_groups(void **state)
{
	static const uint8_t wrong4[] = { 0, 127, 224, 239, 255 };
	uint8_t ip[128], body[64] = { 0 }, out[INNER_ERROR_MAX];
	struct selector_flow f;

	for (size_t at = 12; at <= 16; at += 4)
		for (size_t i = 0; i < sizeof(wrong4); i++) {
			make(ip, 4, 17, body, sizeof(body), &f);
			assert_true(inner_too_big(ip, &f, 100, out) > 0);
			ip[at] = wrong4[i];
			assert_int_equal(inner_too_big(ip, &f, 100, out), 0);
		}
	for (size_t at = 8; at <= 24; at += 16) {
		make(ip, 6, 17, body, sizeof(body), &f);
		assert_true(inner_too_big(ip, &f, 100, out) > 0);
		ip[at] = 0xff;
		assert_int_equal(inner_too_big(ip, &f, 100, out), 0);
		memset(ip + at, 0, 16);
		assert_int_equal(inner_too_big(ip, &f, 100, out), 0);
	}
}

static void test_checksums(void **state)
{
	uint8_t ip[128], body[41];
	struct selector_flow f;

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 37);
	for (unsigned v = 4; v <= 6; v += 2) {
		/* Of odd length, too. */
		for (size_t len = 40; len <= 41; len++) {
			assert_true(
			    upper_intact(ip, make(ip, (uint8_t)v, 6, body, len, &f), 6));
			assert_true(upper_intact(
			    ip, make(ip, (uint8_t)v, 17, body, len, &f), 17));
		}
		/* A NAT has changed an address. */
		ip[v == 4 ? 13 : 9] ^= 0x55;
		assert_false(upper_intact(ip, f.total, 17));
		inner_checksum(ip, &f);
		assert_true(upper_intact(ip, f.total, 17));
	}
	/* UDP over IPv4 may have none. */
	memset(body, 0, sizeof(body));
	make(ip, 4, 17, body, 20, &f);
	assert_int_equal(ip[26] | ip[27], 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_congestion),
		cmocka_unit_test(test_service_class),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_segments_cut),
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_no_answer_to_groups),
		cmocka_unit_test(test_checksums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
