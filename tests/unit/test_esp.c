/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ESP seals, it opens. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/suite.h"

static void round_trip(const struct suite *s, struct esp_cipher *c, size_t len)
{
	uint8_t payload[PACKET_MAX], packet[PACKET_MAX], got[PACKET_MAX], next_header = 0;
	size_t packet_len = 0, got_len = 0;

	suite_fill(payload, len, (unsigned int)len);
	uint64_t seq = HIGH(s) + 1 + len;

	assert_int_equal(esp_seal(c, SPI, seq, len, 4, payload, len, packet,
				  sizeof(packet), &packet_len),
			 0);
	assert_true(packet_len <= len + esp_overhead(c));
	assert_true(esp_overhead(c) <= ESP_OVERHEAD_MAX);
	/* The least padding that aligns. */
	assert_int_equal((packet_len - 8 - s->iv_len - s->icv_len) % s->align, 0);
	assert_true(packet_len - 8 - s->iv_len - s->icv_len - 2 - len < s->align);
	assert_int_equal(esp_open(c, packet, packet_len, seq, got, sizeof(got), &got_len,
				  &next_header),
			 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, payload, len);
	assert_int_equal(next_header, 4);
	/* A buffer one byte short is refused by both. */
	assert_int_equal(
	    esp_seal(c, SPI, 1, 0, 4, payload, len, packet, packet_len - 1, &packet_len),
	    -ENOSPC);
	assert_int_equal(esp_open(c, packet, packet_len, seq, got,
				  packet_len - 8 - s->iv_len - s->icv_len - 1, &got_len,
				  &next_header),
			 -ENOSPC);
}

static void test_round_trips(void **state)
{
	for (size_t i = 0; i < suite_count; i++) {
		struct esp_cipher *c = suite_cipher(&suites[i]);

		for (size_t len = 0; len <= 200; len++)
			round_trip(&suites[i], c, len);
		round_trip(&suites[i], c, 1400);
		esp_cipher_free(c);
	}
}

/* The keys stay while it rests, and each CBC IV is a fresh one. */
static void test_rest(void **state)
{
	for (size_t i = 0; i < suite_count; i++) {
		const struct suite *s = &suites[i];
		struct esp_cipher *c = suite_cipher(s);
		uint8_t payload[64], packet[2][PACKET_MAX], got[PACKET_MAX], next_header;
		size_t len[2], got_len;

		suite_fill(payload, sizeof(payload), 1);
		for (int at = 0; at < 2; at++) {
			esp_cipher_rest(c);
			assert_int_equal(esp_seal(c, SPI, HIGH(s) + 1, 1, 4, payload,
						  sizeof(payload), packet[at], PACKET_MAX,
						  &len[at]),
					 0);
		}
		esp_cipher_rest(c);
		esp_cipher_rest(c);
		for (int at = 0; at < 2; at++) {
			assert_int_equal(esp_open(c, packet[at], len[at], HIGH(s) + 1,
						  got, sizeof(got), &got_len,
						  &next_header),
					 0);
			assert_int_equal(got_len, sizeof(payload));
			assert_memory_equal(got, payload, got_len);
		}
		if (s->iv_len == 16)
			assert_memory_not_equal(packet[0] + 8, packet[1] + 8, 16);
		else
			assert_memory_equal(packet[0], packet[1], len[0]);
		esp_cipher_free(c);
	}
}

static void test_largest(void **state)
{
	const size_t room = ESP_PACKET_MAX + 16;
	uint8_t *payload = calloc(1, ESP_PAYLOAD_MAX + 1), *packet = calloc(1, room);
	uint8_t *got = malloc(room), next_header;
	size_t len, got_len;

	for (size_t i = 0; i < suite_count; i++) {
		struct esp_cipher *c = suite_cipher(&suites[i]);

		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, payload, ESP_PAYLOAD_MAX,
					  packet, room, &len),
				 0);
		assert_true(len <= ESP_PACKET_MAX);
		assert_int_equal(
		    esp_open(c, packet, len, 1, got, room, &got_len, &next_header), 0);
		assert_int_equal(got_len, ESP_PAYLOAD_MAX);
		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, payload, ESP_PAYLOAD_MAX + 1,
					  packet, room, &len),
				 -EINVAL);
		/* One of these is aligned, and its size alone speaks against it. */
		for (len = ESP_PACKET_MAX + 1; len <= room; len++)
			assert_int_equal(esp_open(c, packet, len, 1, got, room, &got_len,
						  &next_header),
					 -EINVAL);
		esp_cipher_free(c);
	}
	free(payload);
	free(packet);
	free(got);
}

static void test_overlap(void **state)
{
	for (size_t i = 0; i < suite_count; i++) {
		struct esp_cipher *c = suite_cipher(&suites[i]);

		for (size_t at = 0; at < 64; at++) {
			uint8_t buf[512], out[512], want[200], next_header;
			size_t len, outlen;

			suite_fill(want, sizeof(want), 5);
			memcpy(buf + at, want, sizeof(want));
			assert_int_equal(esp_seal(c, SPI, 1, at, 4, buf + at,
						  sizeof(want), buf, sizeof(buf), &len),
					 0);
			assert_int_equal(esp_open(c, buf, len, 1, out, sizeof(out),
						  &outlen, &next_header),
					 0);
			assert_int_equal(outlen, sizeof(want));
			assert_memory_equal(out, want, outlen);
		}
		esp_cipher_free(c);
	}
}

static void test_arguments(void **state)
{
	uint8_t packet[256];
	size_t len = 99;
	uint32_t spi, seq;

	for (size_t i = 0; i < suite_count; i++) {
		struct esp_cipher *c = suite_cipher(&suites[i]);

		assert_int_equal(esp_seal(c, 0, 1, 1, 4, packet, 8, packet, 256, &len),
				 -EINVAL);
		assert_int_equal(esp_seal(c, SPI, 0, 1, 4, packet, 8, packet, 256, &len),
				 -EINVAL);
		assert_int_equal(esp_seal(c, SPI, 1, 1, 4, packet, 8, packet, 0, &len),
				 -ENOSPC);
		if (!suites[i].esn)
			assert_int_equal(esp_seal(c, SPI, UINT64_C(1) << 32, 1, 4, packet,
						  8, packet, 256, &len),
					 -EINVAL);
		assert_int_equal(len, 99);
		esp_cipher_free(c);
	}
	memset(packet, 0, sizeof(packet));
	assert_int_equal(esp_parse(packet, 256, &spi, &seq), -EINVAL);
	packet[3] = 1;
	assert_int_equal(esp_parse(packet, 7, &spi, &seq), -EINVAL);
	assert_int_equal(esp_parse(packet, 8, &spi, &seq), 0);
	assert_int_equal(spi, 1);
	assert_int_equal(seq, 0);
}

static void test_algorithms(void **state)
{
	static const struct {
		uint16_t enc;
		size_t enc_key_len;
		uint16_t integ;
		size_t integ_key_len;
		int want;
	} cases[] = {
		{ ESP_ENCR_AES_GCM_16, 16, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 24, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 32, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 0, 0, 0, -EINVAL },
		{ ESP_ENCR_AES_GCM_16, 20, 12, 32, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 16, 0, 0, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 16, 1, 16, -ENOTSUP },
		{ ESP_ENCR_AES_CBC, 24, 12, 20, -EINVAL },
		{ ESP_ENCR_AES_CBC, 16, 12, 20, -EINVAL },
		{ ESP_ENCR_AES_CBC, 20, 12, 32, -EINVAL },
		{ ESP_ENCR_AES_CBC, 16, 2, 32, -EINVAL },
		{ ESP_ENCR_NULL, 0, 0, 0, -ENOTSUP }, /* RFC 4303 3.2.1: not both */
		{ ESP_ENCR_NULL, 16, 2, 20, -EINVAL },
		{ ESP_ENCR_CHACHA20_POLY1305, 32, 0, 0, -EINVAL },
		{ ESP_ENCR_CHACHA20_POLY1305, 20, 0, 0, -EINVAL },
		{ 3, 24, 2, 20, -ENOTSUP },
		{ 0, 0, 0, 0, -ENOTSUP },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct esp_algorithms a = {
			cases[i].enc,	suite_key,   cases[i].enc_key_len,
			cases[i].integ, suite_integ, cases[i].integ_key_len,
			false
		};
		struct esp_cipher *c = NULL;

		assert_int_equal(esp_cipher_new(&c, &a), cases[i].want);
		assert_null(c);
	}
	esp_cipher_free(NULL);
}

/* CBC's IVs: never twice from one cipher, never the nonce itself, never the same
 * elsewhere. */
static void test_cbc_ivs(void **state)
{
	enum { N = 500 };
	static uint8_t ivs[2 * N][16];

	for (size_t k = 0; k < 2; k++) {
		struct esp_cipher *c = suite_cipher(suite_named("aes128-sha256", false));

		for (size_t i = 0; i < N; i++) {
			uint8_t packet[128];
			size_t len;

			assert_int_equal(esp_seal(c, SPI, 1 + i % 2, i / 2, 4, NULL, 0,
						  packet, sizeof(packet), &len),
					 0);
			memcpy(ivs[k * N + i], packet + 8, 16);
		}
		esp_cipher_free(c);
	}
	for (size_t i = 0; i < 2 * N; i++)
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(ivs[i], ivs[k], 8);
}

static void test_iv_fields(void **state)
{
	assert_true(esp_iv(0, 0, 0) == 0);
	assert_true(esp_iv(0, 0, UINT32_MAX) == UINT32_MAX);
	assert_true(esp_iv(0, 1, 0) == UINT64_C(1) << 32);
	assert_true(esp_iv(1, 0, 0) == UINT64_C(1) << 54);
	assert_true(esp_iv(1023, (1 << 22) - 1, UINT32_MAX) == UINT64_MAX);
	assert_true(esp_iv(0x201, 0x200001, 7) == UINT64_C(0x8060000100000007));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips), cmocka_unit_test(test_rest),
		cmocka_unit_test(test_largest),	    cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_arguments),   cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_cbc_ivs),	    cmocka_unit_test(test_iv_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
