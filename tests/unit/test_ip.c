/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Outer headers: what is written is read back, and nothing is read that is not there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ip.h"

#define BODY 101 /* odd, for the checksum */

static const uint8_t source[16] = { 0x20, 1, 0xd, 0xb8, 1 };
static const uint8_t destination[16] = { 0x20, 1, 0xd, 0xb8, 2, [15] = 9 };

static size_t make(uint8_t family, uint8_t protocol, uint8_t *out)
{
	const struct ip_end from = { family, source, 4500 },
			    to = { family, destination, 7 };
	size_t overhead = ip_overhead(family, protocol == IP_PROTOCOL_UDP);

	for (unsigned i = 0; i < BODY; i++)
		out[overhead + i] = (uint8_t)(i * 7 + 200);
	ip_write(out, protocol, &from, &to, BODY);
	return overhead + BODY;
}

static void test_round_trip(void **state)
{
	const uint8_t families[] = { 4, 6 };
	const uint8_t protocols[] = { IP_PROTOCOL_UDP, IP_PROTOCOL_ESP };

	for (unsigned i = 0; i < 4; i++) {
		uint8_t family = families[i / 2], protocol = protocols[i % 2];
		uint8_t packet[IP_OVERHEAD_MAX + BODY];
		size_t len = make(family, protocol, packet);
		struct ip_packet ip;

		assert_int_equal(ip_read(packet, len, &ip), 0);
		assert_int_equal(ip.family, family);
		assert_int_equal(ip.protocol, protocol);
		assert_memory_equal(ip.source, source, family == 6 ? 16 : 4);
		assert_memory_equal(ip.destination, destination, family == 6 ? 16 : 4);
		assert_ptr_equal(ip.body + ip.len, packet + len);
		assert_int_equal(ip.len, BODY + (protocol == IP_PROTOCOL_UDP ? 8 : 0));
		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *exact = malloc(cut ? cut : 1); /* for the sanitizer */
			memcpy(exact, packet, cut);
			assert_int_equal(ip_read(exact, cut, &ip), -EINVAL);
			free(exact);
		}
	}
	assert_int_equal(ip_overhead(5, true), 0);
}

/* Checksums of IPv6 notice every flipped bit of addresses and datagram; none is no excuse,
 * as it is in IPv4. */
static void test_udp_checksum(void **state)
{
	uint8_t packet[IP_OVERHEAD_MAX + BODY];
	size_t len = make(6, IP_PROTOCOL_UDP, packet);
	struct ip_packet ip;

	assert_int_equal(ip_read(packet, len, &ip), 0);
	assert_true(ip_udp_intact(&ip, ip.len));
	for (size_t i = 8; i < len; i++) {
		packet[i] ^= 0x10;
		assert_false(ip_udp_intact(&ip, ip.len));
		packet[i] ^= 0x10;
	}
	packet[46] = packet[47] = 0;
	assert_false(ip_udp_intact(&ip, ip.len));
	len = make(4, IP_PROTOCOL_UDP, packet);
	assert_int_equal(ip_read(packet, len, &ip), 0);
	assert_true(ip_udp_intact(&ip, ip.len));
	packet[26] = 1;
	assert_false(ip_udp_intact(&ip, ip.len));
}

/* A datagram whose sum is zero by chance is sent with 0xffff. */
static void test_checksum_of_zero(void **state)
{
	const struct ip_end from = { 6, source, 4500 }, to = { 6, destination, 4500 };
	uint8_t packet[IP_OVERHEAD_MAX + 2] = { 0 };
	struct ip_packet ip;

	ip_write(packet, IP_PROTOCOL_UDP, &from, &to, 2);
	memcpy(packet + IP_OVERHEAD_MAX, packet + 46, 2);
	ip_write(packet, IP_PROTOCOL_UDP, &from, &to, 2);
	assert_int_equal(packet[46] << 8 | packet[47], 0xffff);
	assert_int_equal(ip_read(packet, sizeof(packet), &ip), 0);
	assert_true(ip_udp_intact(&ip, ip.len));
}

struct pieces {
	uint8_t whole[4096];
	size_t header, len, mtu;
	unsigned count;
	bool last;
};

/* What a receiver makes of a fragment. */
static void on_fragment(void *ctx, const uint8_t *packet, size_t len)
{
	struct pieces *p = ctx;
	bool v6 = packet[0] >> 4 == 6;
	size_t before = v6 ? 48 : 20, place;

	assert_true(len <= p->mtu && !p->last);
	if (v6) {
		assert_int_equal(packet[4] << 8 | packet[5], len - 40);
		assert_int_equal(packet[6], 44);
		assert_int_equal(packet[40], IP_PROTOCOL_ESP);
		place = (size_t)(packet[42] << 8 | (packet[43] & 0xf8));
		p->last = !(packet[43] & 1);
		assert_memory_equal(packet + 44, "\x11\x22\x33\x44", 4);
	} else {
		assert_int_equal(packet[2] << 8 | packet[3], len);
		assert_int_equal(packet[9], IP_PROTOCOL_ESP);
		place = (size_t)((packet[6] & 0x1f) << 8 | packet[7]) * 8;
		p->last = !(packet[6] & 0x20);
		assert_false(packet[6] & 0x40);
		assert_memory_equal(packet + 4, "\x33\x44", 2);
	}
	assert_int_equal(place, p->len);
	assert_true(p->last || (len - before) % 8 == 0);
	memcpy(p->whole + p->header + place, packet + before, len - before);
	p->len += len - before;
	p->count++;
}

static void test_fragments(void **state)
{
	static uint8_t packet[40 + 3000];

	for (unsigned v = 4; v <= 6; v += 2) {
		const struct ip_end from = { (uint8_t)v, source, 0 };
		const struct ip_end to = { (uint8_t)v, destination, 0 };
		size_t header = v == 4 ? 20 : 40;

		for (size_t len = 1400; len <= 3000; len += 7) {
			struct pieces p = { .header = header, .mtu = 1300 };

			for (size_t i = 0; i < len; i++)
				packet[header + i] = (uint8_t)(i * 31 >> 3);
			ip_write(packet, IP_PROTOCOL_ESP, &from, &to, len);
			ip_mark(packet, 0xb9, true);
			ip_fragment(packet, header + len, p.mtu, 0x11223344, on_fragment,
				    &p);
			assert_true(p.last);
			assert_int_equal(p.len, len);
			size_t most = v == 4 ? 1280 : 1248;

			assert_int_equal(p.count, (len + most - 1) / most);
			assert_memory_equal(p.whole + header, packet + header, len);
		}
	}
}

/* A link whose MTU cannot be is taken for the least that there may be. */
static void test_fragments_of_no_link(void **state)
{
	static uint8_t packet[40 + 3000];

	for (unsigned v = 4; v <= 6; v += 2)
		for (size_t mtu = 0; mtu <= 1280; mtu += mtu < 100 ? 1 : 100) {
			const struct ip_end from = { (uint8_t)v, source, 0 };
			const struct ip_end to = { (uint8_t)v, destination, 0 };
			size_t header = v == 4 ? 20 : 40, least = v == 4 ? 68 : 1280;
			struct pieces p = { .header = header,
					    .mtu = mtu < least ? least : mtu };

			ip_write(packet, IP_PROTOCOL_ESP, &from, &to, 3000);
			ip_fragment(packet, header + 3000, mtu, 0x11223344, on_fragment,
				    &p);
			assert_true(p.last);
			assert_int_equal(p.len, 3000);
		}
}

static void test_marks(void **state)
{
	for (unsigned v = 4; v <= 6; v += 2) {
		uint8_t packet[IP_OVERHEAD_MAX + BODY];
		size_t len = make((uint8_t)v, IP_PROTOCOL_ESP, packet);
		struct ip_packet ip;

		assert_int_equal(ip_read(packet, len, &ip), 0);
		assert_int_equal(ip.tos, 0);
		ip_mark(packet, 0xb9, false);
		assert_int_equal(ip_read(packet, len, &ip), 0);
		assert_int_equal(ip.tos, 0xb9);
		if (v == 4)
			assert_int_equal(packet[6], 0);
		ip_mark(packet, 0xb9, true);
		if (v == 4)
			assert_int_equal(packet[6], 0x40);
		assert_int_equal(packet[0] >> 4, v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_udp_checksum),
		cmocka_unit_test(test_checksum_of_zero),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_fragments_of_no_link),
		cmocka_unit_test(test_marks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
