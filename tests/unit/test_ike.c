/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IKE headers, and the copies from which a new owner answers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ipsec/ike.h"

#define SPI_I UINT64_C(0x1111111111111111)
#define SPI_R UINT64_C(0x2222222222222222)

static const struct local_addr here = { .family = 4,
					.bytes = { 192, 0, 2, 1 },
					.port = 500 };
static const struct local_addr there = { .family = 4,
					 .bytes = { 198, 51, 100, 7 },
					 .port = 1024 };

static size_t message(uint8_t *buf, uint8_t next, uint8_t version, uint8_t flags,
		      uint32_t mid, uint16_t fragment)
{
	struct pack p = pack_to(buf, 64);
	size_t body = fragment ? 8 : 0;

	pack_u64(&p, SPI_I);
	pack_u64(&p, SPI_R);
	pack_u8(&p, next);
	pack_u8(&p, version);
	pack_u8(&p, 37);
	pack_u8(&p, flags);
	pack_u32(&p, mid);
	pack_u32(&p, (uint32_t)(IKE_HEADER_SIZE + body));
	if (fragment) {
		pack_u32(&p, 8);
		pack_u16(&p, fragment);
		pack_u16(&p, 9);
	}
	return (size_t)(p.at - buf);
}

static void test_header(void **state)
{
	uint8_t buf[64];
	struct ike_header h;
	size_t len = message(buf, 46, 0x20, 0x08, 5, 0);

	assert_int_equal(ike_parse(buf, len, &h), 0);
	assert_true(h.initiator);
	assert_false(h.response);
	assert_int_equal(h.mid, 5);
	assert_int_equal(h.fragment, 0);
	assert_true(ike_receiver_spi(&h) == SPI_R);
	assert_true(ike_sender_spi(&h) == SPI_I);

	len = message(buf, 46, 0x20, 0x20, 5, 0);
	assert_int_equal(ike_parse(buf, len, &h), 0);
	assert_true(h.response);
	assert_true(ike_receiver_spi(&h) == SPI_I);
}

/* What it can tell without flags: whose the responder's cookie is, and fragments. */
static void test_ikev1_header(void **state)
{
	uint8_t buf[64];
	struct ike_header h;
	size_t len = message(buf, 8, 0x10, 0x01, 0xdeadbeef, 0);

	assert_int_equal(ike_parse(buf, len, &h), 0);
	assert_int_equal(h.major, 1);
	assert_false(h.initiator);
	assert_false(h.response);
	assert_int_equal(h.mid, 0xdeadbeef);
	assert_true(ike_receiver_spi(&h) == SPI_R);
	assert_true(ike_sender_spi(&h) == SPI_R);
	/* The same bits as in IKEv2 mean nothing. */
	len = message(buf, 53, 0x10, 0x28, 5, 0);
	assert_int_equal(ike_parse(buf, len, &h), 0);
	assert_false(h.initiator);
	assert_true(ike_sender_spi(&h) == SPI_R);

	len = message(buf, 132, 0x10, 0, 0, 0); /* says fragment, has none */
	assert_int_equal(ike_parse(buf, len, &h), -EBADMSG);
	len = message(buf, 132, 0x10, 0, 0, 1);
	buf[IKE_HEADER_SIZE + 6] = 3;
	assert_int_equal(ike_parse(buf, len, &h), 0);
	assert_int_equal(h.fragment, 3);
	buf[IKE_HEADER_SIZE + 6] = 0;
	assert_int_equal(ike_parse(buf, len, &h), -EBADMSG);
}

static void test_malformed_headers(void **state)
{
	uint8_t buf[64];
	struct ike_header h;
	size_t len = message(buf, 46, 0x20, 0x08, 5, 0);

	for (size_t n = 0; n < len; n++)
		assert_int_equal(ike_parse(buf, n, &h), -EBADMSG);
	assert_int_equal(ike_parse(buf, len + 1, &h), -EBADMSG);
	len = message(buf, 53, 0x20, 0x08, 5, 0); /* says fragment, has none */
	assert_int_equal(ike_parse(buf, len, &h), -EBADMSG);
	len = message(buf, 53, 0x20, 0x08, 5, 3);
	assert_int_equal(ike_parse(buf, len, &h), 0);
	assert_int_equal(h.fragment, 3);
	buf[IKE_HEADER_SIZE + 4] = buf[IKE_HEADER_SIZE + 5] = 0; /* fragment number 0 */
	assert_int_equal(ike_parse(buf, len, &h), -EBADMSG);
}

static void test_copies_travel(void **state)
{
	struct ike_exchanges x = { 0 }, back = { 0 };
	static uint8_t buf[IKE_EXCHANGES_MAX];
	uint8_t a[100], b[200];
	const uint8_t *packet;
	size_t len;

	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	assert_int_equal(ike_copy_add(&x.response, 4, &here, &there, a, sizeof(a)), 0);
	assert_int_equal(ike_copy_add(&x.response, 4, &here, &there, b, sizeof(b)), 0);
	memset(x.response.digest, 7, IKE_DIGEST_SIZE);
	assert_int_equal(ike_copy_add(&x.request, 9, &here, &there, b, sizeof(b)), 0);
	x.outstanding = true;
	x.begun = (struct ike_begun){ .mid = 9, .child = 4711, .len = 3, .state = "abc" };
	assert_int_equal(ike_next_received(&x), 5);
	assert_int_equal(ike_next_sent(&x), 10);

	len = ike_exchanges_encode(&x, buf, sizeof(buf));
	assert_true(len > 0);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(ike_exchanges_decode(&back, buf, n), -EBADMSG);
	assert_int_equal(ike_exchanges_decode(&back, buf, len), 0);
	assert_true(back.outstanding);
	assert_int_equal(back.response.packets, 2);
	packet = ike_copy_packet(&back.response, 1, &len);
	assert_int_equal(len, sizeof(b));
	assert_memory_equal(packet, b, sizeof(b));
	assert_memory_equal(back.response.digest, x.response.digest, IKE_DIGEST_SIZE);
	assert_int_equal(back.response.dst.port, 1024);
	assert_int_equal(ike_next_sent(&back), 10);
	assert_int_equal(back.begun.mid, 9);
	assert_int_equal(back.begun.child, 4711);
	assert_int_equal(back.begun.len, 3);
	assert_memory_equal(back.begun.state, "abc", 3);
	ike_exchanges_clear(&x);
	ike_exchanges_clear(&back);
}

/* Of the exchanges that establish an SA only the number is known. */
static void test_a_number_without_packets_travels(void **state)
{
	struct ike_exchanges x = { .request = { .valid = true, .mid = 1 } }, back = { 0 };
	static uint8_t buf[IKE_EXCHANGES_MAX];
	size_t len = ike_exchanges_encode(&x, buf, sizeof(buf));

	assert_int_equal(ike_exchanges_decode(&back, buf, len), 0);
	assert_int_equal(ike_next_sent(&back), 2);
	assert_int_equal(ike_next_received(&back), 0);
}

static void test_a_new_number_replaces_the_copy(void **state)
{
	struct ike_copy c = { 0 };
	uint8_t a[10] = { 0 };

	assert_int_equal(ike_copy_add(&c, 1, &here, &there, a, sizeof(a)), 0);
	assert_int_equal(ike_copy_add(&c, 2, &here, &there, a, sizeof(a)), 0);
	assert_int_equal(c.packets, 1);
	assert_int_equal(c.mid, 2);
	ike_copy_clear(&c);
}

static void test_bounds(void **state)
{
	struct ike_copy c = { 0 };
	static uint8_t big[IKE_COPY_MAX + 1];

	assert_int_equal(ike_copy_add(&c, 3, &here, &there, big, sizeof(big)), -EMSGSIZE);
	assert_true(c.valid); /* the number counts all the same */
	assert_int_equal(c.mid, 3);
	assert_int_equal(c.packets, 0);
	for (unsigned i = 0; i < IKE_COPY_PACKETS; i++)
		assert_int_equal(ike_copy_add(&c, 3, &here, &there, big, 1), 0);
	assert_int_equal(ike_copy_add(&c, 3, &here, &there, big, 1), -EMSGSIZE);
	ike_copy_clear(&c);
}

static void test_marks_travel(void **state)
{
	struct ike_exchanges x = { 0 }, back = { 0 };
	static uint8_t buf[IKE_EXCHANGES_MAX];
	size_t len;

	for (uint32_t i = 0; i < IKE_HEARD_MAX + 10; i++)
		assert_int_equal(ike_heard_add(&x, 1000 + i), 0);
	assert_false(ike_heard_has(&x, 1009)); /* the oldest have gone */
	assert_true(ike_heard_has(&x, 1010));
	len = ike_exchanges_encode(&x, buf, sizeof(buf) - 4);
	assert_int_equal(ike_exchanges_decode(&back, buf, len - 1), -EBADMSG);
	assert_null(back.heard);
	assert_int_equal(ike_exchanges_decode(&back, buf, len), 0);
	assert_true(ike_heard_has(&back, 1010));
	assert_true(ike_heard_has(&back, 1000 + IKE_HEARD_MAX + 9));
	assert_int_equal(ike_heard_add(&back, 7), 0);
	assert_false(ike_heard_has(&back, 1010)); /* the oldest there, too */
	assert_int_equal(ike_exchanges_decode(&back, buf, len), 0);
	memset(buf + len, 0, 4);
	assert_int_equal(ike_exchanges_decode(&back, buf, len + 4), -EBADMSG);
	ike_exchanges_clear(&x);
	ike_exchanges_clear(&back);
}

/* A message, and it in fragments: the mark is the same. */
static void test_marks(void **state)
{
	uint8_t whole[100] = { [17] = 0x10, [18] = 32, [19] = 1, [27] = 100 };
	uint8_t first[IKE_HEADER_SIZE + 8 + 70] = { [16] = 132, [17] = 0x10, [27] = 106 };
	uint32_t mark, of_fragment;

	for (size_t i = IKE_HEADER_SIZE; i < sizeof(whole); i++)
		whole[i] = (uint8_t)i;
	first[IKE_HEADER_SIZE + 6] = 1;
	memcpy(first + IKE_HEADER_SIZE + 8, whole, 70);
	assert_int_equal(ike_mark(whole, sizeof(whole), &mark), 0);
	assert_int_equal(ike_mark(first, sizeof(first), &of_fragment), 0);
	assert_int_equal(mark, of_fragment);
	whole[99] ^= 1;
	whole[19] ^= 2;
	assert_int_equal(ike_mark(whole, sizeof(whole), &mark), 0);
	assert_int_equal(mark, of_fragment);
	whole[IKE_HEADER_SIZE + IKE_MARKED_SIZE - 1] ^= 1;
	assert_int_equal(ike_mark(whole, sizeof(whole), &mark), 0);
	assert_int_not_equal(mark, of_fragment);
	whole[27] = IKE_HEADER_SIZE + IKE_MARKED_SIZE - 1;
	assert_int_equal(ike_mark(whole, whole[27], &mark), -EBADMSG);
	whole[17] = 0x20;
	whole[27] = 100;
	assert_int_equal(ike_mark(whole, sizeof(whole), &mark), -EBADMSG);
}

static void test_hostile_exchanges(void **state)
{
	struct ike_exchanges x = { 0 };
	uint8_t buf[128] = { 1 }; /* a copy with 255 packets that are not there */
	size_t at = 1 + 4 + IKE_DIGEST_SIZE + 2 * 19;

	buf[at] = 255;
	assert_int_not_equal(ike_exchanges_decode(&x, buf, sizeof(buf)), 0);
	assert_false(x.response.valid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_ikev1_header),
		cmocka_unit_test(test_malformed_headers),
		cmocka_unit_test(test_copies_travel),
		cmocka_unit_test(test_a_number_without_packets_travels),
		cmocka_unit_test(test_a_new_number_replaces_the_copy),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_marks_travel),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_hostile_exchanges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
