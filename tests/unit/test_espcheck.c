/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checker of captures, run on captures made here, must find what is wrong in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <pcap/pcap.h>

#include "cluster/pack.h"

#define NAT_T true
#define NATIVE false
#define GATEWAY 1
#define CLIENT 2
#define ROAMED 3 /* where the client is later */
#define IP6 0x80

struct frame {
	bool udp;
	uint8_t dst; /* 192.0.2.dst, or from IP6 on 2001:db8::dst */
	uint32_t spi, seq;
	uint64_t iv;
	uint8_t text; /* the byte that fills the ciphertext */
	uint8_t ttl;
	uint8_t cut; /* bytes missing from the capture */
};

static void build_ipv4(struct pack *p, const struct frame *f, size_t len)
{
	pack_u16(p, 0x0800);
	pack_u16(p, 0x4500);
	pack_u16(p, (uint16_t)(20 + len));
	pack_u32(p, 0);
	pack_u8(p, f->ttl ? f->ttl : 64);
	pack_u8(p, f->udp ? 17 : 50);
	pack_u16(p, 0);
	pack_u32(p, 0xc0000263);
	pack_u32(p, 0xc0000200 | f->dst);
}

static void build_ipv6(struct pack *p, const struct frame *f, size_t len)
{
	pack_u16(p, 0x86dd);
	pack_u32(p, 0x60000000);
	pack_u16(p, (uint16_t)len);
	pack_u8(p, f->udp ? 17 : 50);
	pack_u8(p, f->ttl ? f->ttl : 64);
	for (unsigned i = 0; i < 2; i++) {
		pack_u64(p, UINT64_C(0x20010db800000000));
		pack_u64(p, i ? f->dst & ~IP6 : 0x63);
	}
}

static size_t build(const struct frame *f, uint8_t *out, size_t size)
{
	const size_t esp = 16 + 32 + 16;
	uint8_t text[32 + 16];
	struct pack p = pack_to(out, size);

	memset(text, f->text, sizeof(text));
	pack_raw(&p, "\x01\x00\x5e\x00\x00\x01\x02\x00\x00\x00\x00\x01", 12);
	if (f->dst & IP6)
		build_ipv6(&p, f, (f->udp ? 8 : 0) + esp);
	else
		build_ipv4(&p, f, (f->udp ? 8 : 0) + esp);
	if (f->udp) {
		pack_u16(&p, 4500);
		pack_u16(&p, 31337);
		pack_u16(&p, (uint16_t)(8 + esp));
		pack_u16(&p, 0);
	}
	pack_u32(&p, f->spi);
	pack_u32(&p, f->seq);
	pack_u64(&p, f->iv);
	pack_raw(&p, text, sizeof(text));
	/* A short frame's padding belongs to no packet. */
	pack_u32(&p, f->text ^ f->ttl);
	assert_false(p.bad);
	return (size_t)(p.at - out);
}

static void write_capture(const char *name, const struct frame *frames, size_t n)
{
	pcap_t *pcap = pcap_open_dead(DLT_EN10MB, 65535);
	pcap_dumper_t *dump = pcap_dump_open(pcap, name);

	assert_non_null(dump);
	for (size_t i = 0; i < n; i++) {
		uint8_t bytes[256];
		struct pcap_pkthdr h = { 0 };

		h.ts.tv_sec = 1000 + (time_t)i;
		h.len = (bpf_u_int32)build(&frames[i], bytes, sizeof(bytes));
		h.caplen = h.len - frames[i].cut;
		pcap_dump((u_char *)dump, &h, bytes);
	}
	pcap_dump_close(dump);
	pcap_close(pcap);
}

static const char *options = "-v";

/* Runs the checker on n captures of the temporary folder; returns its exit status. */
static int run(const char *dir, int n, char *said, size_t size)
{
	const char *program = getenv("ESPCHECK");
	char command[1024];
	int at = snprintf(command, sizeof(command), "%s %s -c 192.0.2.1 -c 2001:db8::1",
			  program ? program : "tests/net/tools/espcheck", options);
	FILE *from;
	size_t got;
	int status;

	for (int i = 0; i < n; i++)
		at += snprintf(command + at, sizeof(command) - (size_t)at, " %s/%d.pcap",
			       dir, i);
	from = popen(command, "r");
	assert_non_null(from);
	got = fread(said, 1, size - 1, from);
	said[got] = '\0';
	status = pclose(from);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Puts the frames into one capture, or each into its own. */
static void expect(const struct frame *frames, size_t n, bool apart, int want,
		   const char *words)
{
	char dir[] = "/tmp/espcheck.XXXXXX", name[64], said[8192];
	int files = apart ? (int)n : 1, rc;

	assert_non_null(mkdtemp(dir));
	for (int i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%s/%d.pcap", dir, i);
		write_capture(name, frames + (apart ? i : 0), apart ? 1 : n);
	}
	rc = run(dir, files, said, sizeof(said));
	for (int i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%s/%d.pcap", dir, i);
		unlink(name);
	}
	rmdir(dir);
	if (rc != want || strstr(said, words) == NULL)
		fail_msg("exit %d, wanted %d and \"%s\" in: %s", rc, want, words, said);
}

#define EXPECT(frames, want, words)                                                      \
	do {                                                                             \
		expect(frames, sizeof(frames) / sizeof(frames[0]), false, want, words);  \
		expect(frames, sizeof(frames) / sizeof(frames[0]), true, want, words);   \
	} while (0)

static void test_clean(void **state)
{
	static const struct frame frames[] = {
		{ NATIVE, GATEWAY, 0x401, 1, 1, 'a', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 3, 3, 'b', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 2, 2, 'c', 0, 0 },
		/* Another SPI and the other direction have nonces of their own. */
		{ NATIVE, GATEWAY, 0x402, 1, 1, 'd', 0, 0 },
		{ NAT_T, CLIENT, 0x401, 1, 1, 'e', 0, 0 },
		{ NAT_T, CLIENT, 0x401, 9, UINT64_C(1) << 63, 'f', 0, 0 },
	};

	EXPECT(frames, 0,
	       "6 distinct, 0 identical repetitions, 0 later fragments, 0 truncated, "
	       "0 numbers used by two parts, 0 violations");
	/* One missing and one late in the first flow, seven missing in the last. */
	expect(frames, 6, false, 0,
	       "3         0          1          3         0         1");
	expect(frames, 6, false, 0,
	       "2         0          1          9         7         0");
}

static void test_identical(void **state)
{
	static const struct frame frames[] = {
		{ NATIVE, GATEWAY, 0x401, 1, 1, 'a', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 1, 1, 'a', 0, 0 },
		/* A router lowered the TTL: still the same packet. */
		{ NATIVE, GATEWAY, 0x401, 1, 1, 'a', 63, 0 },
	};

	EXPECT(frames, 0, "1 distinct, 2 identical repetitions");
}

static void test_iv_twice(void **state)
{
	static const struct frame frames[] = {
		{ NATIVE, GATEWAY, 0x401, 1, 77, 'a', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 2, 78, 'b', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 3, 77, 'c', 0, 0 },
	};

	EXPECT(frames, 1, "violation: IV used twice, SPI 00000401 to 192.0.2.1: ");
	EXPECT(frames, 1, " 1 violations");
	expect(frames, 3, false, 1,
	       "frame 1 at 1000.000000 (seq 1, iv 000000000000004d) and ");
	expect(frames, 3, false, 1,
	       "frame 3 at 1002.000000 (seq 3, iv 000000000000004d)");
}

static void test_ipv6(void **state)
{
	static const struct frame frames[] = {
		{ NATIVE, GATEWAY | IP6, 0x401, 1, 77, 'a', 0, 0 },
		{ NAT_T, GATEWAY | IP6, 0x401, 2, 77, 'c', 0, 0 },
		/* The other direction. */
		{ NAT_T, CLIENT | IP6, 0x401, 1, 77, 'd', 0, 0 },
	};

	EXPECT(frames, 1, "violation: IV used twice, SPI 00000401 to 2001:db8::1: ");
	EXPECT(frames, 1, " 3 distinct, 0 identical repetitions");
	EXPECT(frames, 1, " 1 violations");
}

/* A client is somewhere else, and speaks to another of the cluster's addresses: its SAs are
 * those of before. */
static void test_roamed(void **state)
{
	static const struct frame back[] = {
		{ NAT_T, CLIENT, 0x401, 1, 77, 'a', 0, 0 },
		{ NAT_T, ROAMED, 0x401, 2, 77, 'b', 0, 0 },
		{ NAT_T, ROAMED | IP6, 0x401, 1, 78, 'c', 0, 0 },
		{ NAT_T, GATEWAY, 0x401, 1, 77, 'd', 0, 0 },
	};
	static const struct frame forth[] = {
		{ NAT_T, GATEWAY, 0x401, 1, 77, 'a', 0, 0 },
		{ NAT_T, GATEWAY | IP6, 0x401, 2, 77, 'b', 0, 0 },
		{ NAT_T, GATEWAY | IP6, 0x401, 3, 79, 'c', 0, 0 },
	};

	EXPECT(back, 1, "violation: IV used twice, SPI 00000401 to 192.0.2.2: ");
	EXPECT(back, 1,
	       "violation: sequence number used twice, SPI 00000401 to 192.0.2.2: ");
	EXPECT(back, 1, " 2 violations");
	EXPECT(forth, 1, "violation: IV used twice, SPI 00000401 to 192.0.2.1: ");
	EXPECT(forth, 1, " 1 violations");
}

static void test_number_twice(void **state)
{
	static const struct frame frames[] = {
		{ NAT_T, GATEWAY, 0x401, 1, 77, 'a', 0, 0 },
		{ NAT_T, GATEWAY, 0x401, 1, 78, 'a', 0, 0 },
	};

	EXPECT(frames, 1,
	       "violation: sequence number used twice, SPI 00000401 to 192.0.2.1: ");
	EXPECT(frames, 1, " 1 violations");
}

/* The worst: number and IV again, another text, one of them in UDP. */
static void test_both_twice(void **state)
{
	static const struct frame frames[] = {
		{ NATIVE, GATEWAY, 0x401, 5, 77, 'a', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 5, 77, 'a', 0, 0 },
		{ NAT_T, GATEWAY, 0x401, 5, 77, 'b', 0, 0 },
		{ NAT_T, GATEWAY, 0x401, 5, 77, 'b', 0, 0 },
	};

	EXPECT(frames, 1, " 2 distinct, 2 identical repetitions");
	EXPECT(frames, 1, " 2 violations");
}

/* NULL has no IVs, but numbers. */
static void test_without_iv(void **state)
{
	static const struct frame frames[] = {
		{ NATIVE, GATEWAY, 0x401, 1, 77, 'a', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 2, 77, 'b', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 2, 77, 'c', 0, 0 },
	};

	options = "-v -n 192.0.2.1";
	EXPECT(frames, 1, "violation: sequence number used twice, SPI 00000401 ");
	EXPECT(frames, 1, " 1 violations");
	options = "-v -n 192.0.2.2";
	EXPECT(frames, 1, " 3 violations");
	options = "-v";
}

static void test_proves_nothing(void **state)
{
	static const struct frame other[] = { { NAT_T, GATEWAY, 0, 5, 77, 'a', 0, 0 } };
	static const struct frame cut[] = {
		{ NATIVE, GATEWAY, 0x401, 5, 77, 'a', 0, 0 },
		{ NATIVE, GATEWAY, 0x401, 6, 78, 'a', 0, 30 },
		{ NATIVE, GATEWAY, 0x401, 7, 79, 'a', 0, 90 - 30 },
	};

	EXPECT(other, 1, "without an ESP packet nothing is proven");
	EXPECT(cut, 1,
	       " 1 distinct, 0 identical repetitions, 0 later fragments, 2 truncated");
}

static void test_unreadable(void **state)
{
	char said[256];

	assert_int_equal(run("/nonexistent", 1, said, sizeof(said)), 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_identical),
		cmocka_unit_test(test_iv_twice),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_roamed),
		cmocka_unit_test(test_number_twice),
		cmocka_unit_test(test_both_twice),
		cmocka_unit_test(test_without_iv),
		cmocka_unit_test(test_proves_nothing),
		cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
