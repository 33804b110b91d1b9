/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which inner packets a selector takes, and the prefixes that its range has. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ipsec/selector.h"

static struct local_ts ts_of(const char *from, const char *to)
{
	struct local_ts ts = { .family = strchr(from, ':') ? 6 : 4, .to_port = 65535 };
	int family = ts.family == 6 ? AF_INET6 : AF_INET;

	assert_int_equal(inet_pton(family, from, ts.from), 1);
	assert_int_equal(inet_pton(family, to, ts.to), 1);
	return ts;
}

/* 48 or 64 bytes: the header and what stands first behind it. */
static size_t packet(uint8_t *ip, const char *src, const char *dst, uint8_t protocol,
		     uint16_t first, uint16_t second)
{
	bool v6 = strchr(src, ':');
	size_t header = v6 ? 40 : 20, len = header + 8;

	memset(ip, 0, len);
	ip[0] = v6 ? 0x60 : 0x45;
	ip[v6 ? 5 : 3] = (uint8_t)(v6 ? 8 : len);
	ip[v6 ? 6 : 9] = protocol;
	inet_pton(v6 ? AF_INET6 : AF_INET, src, ip + (v6 ? 8 : 12));
	inet_pton(v6 ? AF_INET6 : AF_INET, dst, ip + (v6 ? 24 : 16));
	ip[header] = (uint8_t)(first >> 8);
	ip[header + 1] = (uint8_t)first;
	ip[header + 2] = (uint8_t)(second >> 8);
	ip[header + 3] = (uint8_t)second;
	return len;
}

static bool takes(const struct local_ts *ts, const uint8_t *ip, size_t len, bool source)
{
	struct selector_flow f;

	assert_int_equal(selector_read(ip, len, &f), 0);
	return selector_match(ts, 1, &f, source);
}

static void test_addresses(void **state)
{
	const struct local_ts v4 = ts_of("10.1.2.3", "10.1.4.0");
	const struct local_ts v6 = ts_of("2001:db8::5", "2001:db8::1:0");
	uint8_t ip[64];
	size_t len = packet(ip, "10.1.2.3", "10.1.4.1", 17, 1, 2);

	assert_true(takes(&v4, ip, len, true));
	assert_false(takes(&v4, ip, len, false));
	assert_false(takes(&v6, ip, len, true));
	len = packet(ip, "10.1.2.2", "10.1.4.0", 17, 1, 2);
	assert_false(takes(&v4, ip, len, true));
	assert_true(takes(&v4, ip, len, false));
	len = packet(ip, "2001:db8::4", "2001:db8::ffff", 17, 1, 2);
	assert_false(takes(&v6, ip, len, true));
	assert_true(takes(&v6, ip, len, false));
	assert_false(takes(&v4, ip, len, false));
	len = packet(ip, "2001:db8::1:1", "2001:db8::1:0", 17, 1, 2);
	assert_false(takes(&v6, ip, len, true));
	assert_true(takes(&v6, ip, len, false));
}

static void test_ports(void **state)
{
	static const uint8_t with_ports[] = { 6, 17, 33, 132 };
	struct local_ts ts = ts_of("0.0.0.0", "255.255.255.255");
	uint8_t ip[64];
	size_t len;

	ts.from_port = 53;
	ts.to_port = 55;
	for (size_t i = 0; i < sizeof(with_ports); i++) {
		len = packet(ip, "10.0.0.1", "10.0.0.2", with_ports[i], 55, 56);
		assert_true(takes(&ts, ip, len, true));
		assert_false(takes(&ts, ip, len, false));
	}
	/* GRE has none. */
	len = packet(ip, "10.0.0.1", "10.0.0.2", 47, 54, 54);
	assert_false(takes(&ts, ip, len, true));
	ts.from_port = 65535;
	ts.to_port = 0;
	assert_true(takes(&ts, ip, len, true));
	len = packet(ip, "10.0.0.1", "10.0.0.2", 17, 54, 54);
	assert_false(takes(&ts, ip, len, true));
	ts.from_port = 0;
	ts.to_port = 65535;
	assert_true(takes(&ts, ip, len, true));
	ts.protocol = 6;
	assert_false(takes(&ts, ip, len, true));
	ts.protocol = 17;
	assert_true(takes(&ts, ip, len, true));
}

/* The type and code of ICMP count as one port, on both sides (RFC 7296, 3.13.1). */
static void test_icmp(void **state)
{
	struct local_ts ts = ts_of("10.0.0.0", "10.0.0.255");
	uint8_t ip[64];
	size_t len = packet(ip, "10.0.0.1", "10.0.0.2", 1, 0x0800, 0);

	ts.protocol = 1;
	ts.from_port = ts.to_port = 0x0800;
	assert_true(takes(&ts, ip, len, true));
	assert_true(takes(&ts, ip, len, false));
	ip[20] = 0; /* the answer */
	assert_false(takes(&ts, ip, len, true));
	ip[20] = 8;
	ip[21] = 1;
	assert_false(takes(&ts, ip, len, true));
	ts.to_port = 0x08ff;
	assert_true(takes(&ts, ip, len, true));
}

/* Only the first fragment shows ports; and only one of IPv6 that has them shows the way to
 * its protocol. */
static void test_fragments(void **state)
{
	struct local_ts ts = ts_of("0.0.0.0", "255.255.255.255");
	uint8_t ip[96];
	struct selector_flow f;
	size_t len = packet(ip, "10.0.0.1", "10.0.0.2", 17, 53, 53);

	ts.from_port = ts.to_port = 53;
	ip[6] = 0x20; /* more fragments */
	assert_true(takes(&ts, ip, len, true));
	ip[7] = 1;
	assert_false(takes(&ts, ip, len, true));

	ts = ts_of("::", "ffff::");
	ts.protocol = 17;
	len = packet(ip, "2001:db8::1", "2001:db8::2", 44, 0, 0) + 8;
	ip[5] = 16;
	memset(ip + 40, 0, 16);
	ip[40] = 17;
	ip[43] = 1; /* more */
	ip[49] = 53;
	assert_int_equal(selector_read(ip, len, &f), 0);
	assert_int_equal(f.protocol, 17);
	assert_int_equal(f.header, 48);
	assert_int_equal(f.source_port, 53);
	assert_true(f.ports && !f.fragment);
	ip[43] = 9;
	assert_int_equal(selector_read(ip, len, &f), 0);
	assert_true(!f.ports && f.fragment);
	assert_true(takes(&ts, ip, len, true));
}

static void test_extensions(void **state)
{
	uint8_t ip[40 + 10 * 8];
	struct selector_flow f;

	for (unsigned n = 1; n <= 9; n++) {
		packet(ip, "2001:db8::1", "2001:db8::2", 60, 0, 0);
		memset(ip + 40, 0, sizeof(ip) - 40);
		ip[5] = (uint8_t)(n * 8 + 8);
		for (unsigned i = 1; i < n; i++)
			ip[40 + 8 * (i - 1)] = 60;
		ip[40 + 8 * (n - 1)] = 58;
		ip[40 + 8 * n] = 128;
		if (n > 8) {
			assert_int_equal(selector_read(ip, 48 + 8 * n, &f), -EINVAL);
			continue;
		}
		assert_int_equal(selector_read(ip, 48 + 8 * n, &f), 0);
		assert_int_equal(f.protocol, 58);
		assert_int_equal(f.source_port, 0x8000);
	}
	/* One that is longer than the packet. */
	packet(ip, "2001:db8::1", "2001:db8::2", 60, 0, 0);
	ip[40] = 17;
	ip[41] = 1;
	assert_int_equal(selector_read(ip, 48, &f), -EINVAL);
}

/* Exactly sized, so that ASan sees any read beyond. */
static void test_malformed(void **state)
{
	uint8_t whole[64];
	struct selector_flow f;

	for (unsigned v6 = 0; v6 < 2; v6++) {
		const char *a = v6 ? "2001:db8::1" : "10.0.0.1";
		size_t len = packet(whole, a, a, 17, 1, 2);

		for (size_t n = 0; n <= len; n++) {
			uint8_t *ip = malloc(n ? n : 1);

			memcpy(ip, whole, n);
			assert_int_equal(selector_read(ip, n, &f),
					 n == len ? 0 : -EINVAL);
			free(ip);
		}
		/* What follows is not looked at. */
		assert_int_equal(selector_read(whole, sizeof(whole), &f), 0);
		assert_int_equal(f.total, len);
		whole[0] = 0x55;
		assert_int_equal(selector_read(whole, len, &f), -EINVAL);
	}
	packet(whole, "10.0.0.1", "10.0.0.1", 17, 1, 2);
	whole[0] = 0x44;
	assert_int_equal(selector_read(whole, 28, &f), -EINVAL);
	whole[0] = 0x48;
	assert_int_equal(selector_read(whole, 28, &f), -EINVAL);
}

static void prefixes_are(const char *from, const char *to, const char *want)
{
	const struct local_ts ts = ts_of(from, to);
	struct selector_prefix p[SELECTOR_PREFIXES_MAX];
	char got[1024] = "", text[INET6_ADDRSTRLEN];
	unsigned n = selector_prefixes(&ts, p, SELECTOR_PREFIXES_MAX);

	for (unsigned i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s/%u",
			 i ? " " : "",
			 inet_ntop(p[i].address.family, p[i].address.bytes, text,
				   sizeof(text)),
			 p[i].len);
	assert_string_equal(got, want);
}

static void test_prefixes(void **state)
{
	const struct local_ts wide = ts_of("::1", "ffff::");
	struct selector_prefix p[16];

	prefixes_are("10.3.0.7", "10.3.0.7", "10.3.0.7/32");
	prefixes_are("0.0.0.0", "255.255.255.255", "0.0.0.0/0");
	prefixes_are("10.0.0.1", "10.0.0.6",
		     "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32");
	prefixes_are("255.255.255.254", "255.255.255.255", "255.255.255.254/31");
	prefixes_are("10.0.0.2", "10.0.0.1", "");
	prefixes_are("2001:db8::", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8::/63");
	prefixes_are("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0");
	prefixes_are("2001:db8::ffff", "2001:db8::1:0",
		     "2001:db8::ffff/128 2001:db8::1:0/128");
	assert_int_equal(selector_prefixes(&wide, p, 16), 16);
	assert_int_equal(selector_prefixes(&wide, p, 0), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),  cmocka_unit_test(test_ports),
		cmocka_unit_test(test_icmp),	   cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_extensions), cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
