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

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/filter.h"
#include "tests/bpf/frame.h"
#include "tunnels/ip.h"

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

static const struct verdict_case {
	const char *name;
	struct frame_spec frame;
	enum unit_reason reason; /* when the unit is ours */
	enum way way;
	uint64_t unit;
	uint64_t high; /* of what is folded */
} cases[] = {
	/* Whose frame is it? */
	{ "broadcast", { .mac = FRAME_BROADCAST_MAC, .protocol = 17 }, UNIT_BY_OTHER },
	{ "other multicast",
	  { .mac = FRAME_MULTICAST_MAC, .protocol = 89 },
	  UNIT_BY_OTHER },
	{ "foreign unicast", { .mac = FRAME_OTHER_MAC, .protocol = 6 }, UNIT_BY_OTHER },
	{ "own MAC, own address",
	  { .mac = FRAME_OWN_MAC, .to = "192.0.2.11" },
	  UNIT_BY_OTHER },
	{ "own MAC, ARP", { .mac = FRAME_OWN_MAC, .ethertype = 0x0806 }, UNIT_BY_OTHER },
	{ "own MAC, IPv6", { .mac = FRAME_OWN_MAC, .ethertype = 0x86dd }, UNIT_BY_OTHER },
	{ "own MAC, cluster address",
	  { .mac = FRAME_OWN_MAC, .protocol = 50, BYTES("\x12\x34\x57\xff\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x3ff },
	{ "own MAC, session route",
	  { .mac = FRAME_OWN_MAC, .to = "10.9.0.5", .protocol = 6 },
	  UNIT_BY_ROUTED,
	  UNIT,
	  321 },
	{ "own MAC, pool without session",
	  { .mac = FRAME_OWN_MAC, .to = "10.9.0.6" },
	  UNIT_BY_NO_SESSION },
	{ "ARP to the cluster MAC", { .ethertype = 0x0806 }, UNIT_BY_ARP },
	{ "IPv6 with a header of IPv4",
	  { .ethertype = 0x86dd, .protocol = 50, BYTES("12345678901234567890") },
	  UNIT_BY_MALFORMED },
	{ "length instead of type", { .ethertype = 0x0040 }, UNIT_BY_NOT_IP },
	{ "VLAN 5",
	  { TAG("\x81\0\0\5"), .protocol = 50, BYTES("\0\0\x10\1\0\0\0\1") },
	  UNIT_BY_VLAN },
	{ "service tag", { TAG("\x88\xa8\0\0"), .protocol = 50 }, UNIT_BY_VLAN },
	{ "priority tag",
	  { TAG("\x81\0\xe0\0"), .protocol = 50, BYTES("\0\0\x10\1\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  1 },
	{ "VLAN behind a priority tag",
	  { TAG("\x81\0\0\0"), .ethertype = 0x8100 },
	  UNIT_BY_NOT_IP },

	/* IKE */
	{ "IKEv2, first message",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE2(NO_SPI, "\x08")) },
	  UNIT_BY_IKE,
	  FOLD,
	  0x1122334455667788ull ^ SRC },
	{ "IKEv2, from the initiator",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE2(SPI_R, "\x08")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x3a9 },
	{ "IKEv2, from the responder",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE2(SPI_R, "\x20")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x388 },
	{ "IKEv2, a responder's cookie",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE2(NO_SPI, "\x20")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x388 },
	{ "IKEv2 on 4500",
	  { .protocol = 17,
	    BYTES(UDP_TO(TO_4500, "\0\x28") "\0\0\0\0" IKE2(SPI_R, "\x28")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x3a9 },
	{ "IKEv2, first message on 4500",
	  { .protocol = 17,
	    BYTES(UDP_TO(TO_4500, "\0\x28") "\0\0\0\0" IKE2(NO_SPI, "\x08")) },
	  UNIT_BY_IKE,
	  FOLD,
	  0x1122334455667788ull ^ SRC },
	{ "IKEv2 with IP options",
	  { .protocol = 17,
	    .options = 40,
	    BYTES(UDP_TO(TO_500, "\0\x24") IKE2(SPI_R, "\x08")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x3a9 },
	{ "IKEv1, first message",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE1(NO_SPI)) },
	  UNIT_BY_IKE,
	  FOLD,
	  SRC },
	{ "IKEv1",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE1(SPI_R)) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x3a9 },
	{ "IKE header cut by the UDP length",
	  { .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x23") IKE2(SPI_R, "\x08")) },
	  UNIT_BY_MALFORMED },
	{ "IKE header cut by the IP length",
	  { .protocol = 17,
	    BYTES(UDP_TO(TO_4500, "\0\x24") "\0\0\0\0" SPI_I SPI_R
					    "\x21\x20\x22\x08\0\0\0\0") },
	  UNIT_BY_MALFORMED },

	/* ESP */
	{ "ESP",
	  { .protocol = 50, BYTES("\xc0\xff\xee\x01\0\0\0\1......") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x201 },
	{ "ESP with IP options",
	  { .protocol = 50, .options = 4, BYTES("\xc0\xff\xee\x01\0\0\0\1......") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x201 },
	{ "ESP of 7 bytes",
	  { .protocol = 50, BYTES("\xc0\xff\xee\x01\0\0\0") },
	  UNIT_BY_MALFORMED },
	{ "ESP in UDP",
	  { .protocol = 17,
	    BYTES(UDP_TO(TO_4500, "\0\x12") "\xc0\xff\xee\x03\0\0\0\1..") },
	  UNIT_BY_ESP_UDP,
	  UNIT,
	  0x203 },
	{ "ESP in UDP of 7 bytes",
	  { .protocol = 17, BYTES(UDP_TO(TO_4500, "\0\x0f") "\xc0\xff\xee\x03\0\0\0") },
	  UNIT_BY_MALFORMED },
	{ "NAT keepalive",
	  { .protocol = 17, BYTES(UDP_TO(TO_4500, "\0\x09") "\xff") },
	  UNIT_BY_KEEPALIVE },
	{ "NAT keepalive of another byte",
	  { .protocol = 17, BYTES(UDP_TO(TO_4500, "\0\x09") "\xfe") },
	  UNIT_BY_MALFORMED },
	{ "NAT keepalive with padding of Ethernet",
	  { .protocol = 17, BYTES(UDP_TO(TO_4500, "\0\x09") "\xff"), .padding = 17 },
	  UNIT_BY_KEEPALIVE },
	{ "nothing on 4500",
	  { .protocol = 17, BYTES(UDP_TO(TO_4500, "\0\x08")) },
	  UNIT_BY_MALFORMED },

	/* The rest to a cluster address */
	{ "echo request",
	  { .protocol = 1, BYTES("\x08\0\0\0\0\1\0\1") },
	  UNIT_BY_ICMP,
	  FOLD,
	  SRC ^ VIP },
	{ "unreachable",
	  { .protocol = 1, BYTES("\x03\4\0\0\0\0\5\xdc") },
	  UNIT_BY_ICMP_ERROR },
	{ "time exceeded",
	  { .protocol = 1, BYTES("\x0b\0\0\0\0\0\0\0") },
	  UNIT_BY_ICMP_ERROR },
	{ "parameter problem",
	  { .protocol = 1, BYTES("\x0c\0\0\0\0\0\0\0") },
	  UNIT_BY_ICMP_ERROR },
	{ "source quench",
	  { .protocol = 1, BYTES("\x04\0\0\0\0\0\0\0") },
	  UNIT_BY_ICMP_ERROR },
	{ "redirect",
	  { .protocol = 1, BYTES("\x05\0\0\0\0\0\0\0") },
	  UNIT_BY_ICMP,
	  FOLD,
	  SRC ^ VIP },
	{ "ICMP of 7 bytes",
	  { .protocol = 1, BYTES("\x08\0\0\0\0\1\0") },
	  UNIT_BY_MALFORMED },
	{ "UDP",
	  { .protocol = 17, BYTES(UDP_TO("\0\x35", "\0\x08")) },
	  UNIT_BY_TRANSPORT,
	  FOLD,
	  SRC ^ 0x401 },
	{ "UDP longer than its packet",
	  { .protocol = 17, BYTES(UDP_TO("\0\x35", "\0\x09")) },
	  UNIT_BY_MALFORMED },
	{ "UDP length below 8",
	  { .protocol = 17, BYTES(UDP_TO("\0\x35", "\0\x07")) },
	  UNIT_BY_MALFORMED },
	{ "UDP header cut",
	  { .protocol = 17, BYTES("\x04\x01\0\x35\0\x08\0") },
	  UNIT_BY_MALFORMED },
	{ "TCP",
	  { .protocol = 6, BYTES("\x04\x02\0\x50\0\0\0\0\0\0\0\0\x50\2\0\0\0\0\0\0") },
	  UNIT_BY_TRANSPORT,
	  FOLD,
	  SRC ^ 0x402 },
	{ "TCP header cut",
	  { .protocol = 6, BYTES("\x04\x02\0\x50\0\0\0\0\0\0\0\0\x50\2\0\0\0\0\0") },
	  UNIT_BY_MALFORMED },
	{ "GRE",
	  { .protocol = 47, BYTES("\0\0\x08\0") },
	  UNIT_BY_PROTOCOL,
	  FOLD,
	  SRC ^ VIP },
	{ "protocol without a body",
	  { .protocol = 47 },
	  UNIT_BY_PROTOCOL,
	  FOLD,
	  SRC ^ VIP },
	{ "first fragment",
	  { .protocol = 17,
	    .fragment = 0x2000,
	    BYTES(UDP_TO(TO_500, "\0\x24") IKE2(SPI_R, "\x08")) },
	  UNIT_BY_FRAGMENT,
	  FOLD,
	  SRC ^ VIP },
	{ "later fragment",
	  { .protocol = 50, .fragment = 0x00b9, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_FRAGMENT,
	  FOLD,
	  SRC ^ VIP },
	{ "do not fragment",
	  { .protocol = 50, .fragment = 0x4000, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x101 },

	/* Through the cluster */
	{ "forwarded",
	  { .source = "10.1.0.1", .to = "203.0.113.9", .protocol = 6 },
	  UNIT_BY_FORWARDED,
	  FOLD,
	  0x0a010001 ^ 0xcb007109 },
	{ "forwarded, the other way",
	  { .source = "203.0.113.9", .to = "10.1.0.1", .protocol = 6 },
	  UNIT_BY_FORWARDED,
	  FOLD,
	  0x0a010001 ^ 0xcb007109 },
	{ "forwarded fragment",
	  { .source = "10.1.0.1",
	    .to = "203.0.113.9",
	    .protocol = 17,
	    .fragment = 0x2001 },
	  UNIT_BY_FORWARDED,
	  FOLD,
	  0x0a010001 ^ 0xcb007109 },
	{ "session route",
	  { .to = "10.9.0.5", .protocol = 6 },
	  UNIT_BY_ROUTED,
	  UNIT,
	  321 },
	{ "session route, fragment",
	  { .to = "10.9.0.5", .fragment = 0x2000 },
	  UNIT_BY_ROUTED,
	  UNIT,
	  321 },
	{ "route of a network",
	  { .to = "10.8.77.1", .protocol = 1 },
	  UNIT_BY_ROUTED,
	  UNIT,
	  1023 },
	{ "pool without session",
	  { .to = "10.9.0.6", .protocol = 6 },
	  UNIT_BY_NO_SESSION },
	{ "in clear, from a session's address",
	  { .source = "10.9.0.5", .to = "10.1.0.100", .protocol = 6 },
	  UNIT_BY_CLEAR },
	{ "in clear, from a session's address to another's",
	  { .source = "10.8.77.1", .to = "10.9.0.5", .protocol = 6 },
	  UNIT_BY_CLEAR },
	{ "in clear, from the pool",
	  { .source = "10.9.0.6", .to = "10.1.0.100", .protocol = 17 },
	  UNIT_BY_CLEAR },
	{ "in clear, from a session's address to the own MAC",
	  { .mac = FRAME_OWN_MAC, .source = "10.9.0.5", .to = "10.1.0.100" },
	  UNIT_BY_CLEAR },
	{ "in clear, to a session's address",
	  { .source = "10.1.0.100", .to = "10.9.0.5", .protocol = 6 },
	  UNIT_BY_CLEAR },
	{ "in clear, to the pool",
	  { .source = "203.0.113.9", .to = "10.9.0.6", .protocol = 6 },
	  UNIT_BY_CLEAR },
	{ "in clear, to a session's address by the own MAC",
	  { .mac = FRAME_OWN_MAC, .source = "10.1.0.100", .to = "10.9.0.5" },
	  UNIT_BY_CLEAR },
	{ "next to the pool",
	  { .to = "10.10.0.1", .protocol = 6 },
	  UNIT_BY_FORWARDED,
	  FOLD,
	  SRC ^ 0x0a0a0001 },
	{ "to a group", { .to = "224.0.0.5", .protocol = 89 }, UNIT_BY_DESTINATION },
	{ "to everybody",
	  { .to = "255.255.255.255", .protocol = 17 },
	  UNIT_BY_DESTINATION },
	{ "to loopback", { .to = "127.0.0.1", .protocol = 6 }, UNIT_BY_DESTINATION },
	{ "to nobody", { .to = "0.0.0.0", .protocol = 6 }, UNIT_BY_DESTINATION },

	/* IP headers that contradict themselves */
	{ "version 6",
	  { .first_byte = 0x65, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "header of 16 bytes",
	  { .first_byte = 0x44, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "header longer than the packet",
	  { .first_byte = 0x4f, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "total length below the header",
	  { .total = 19, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "total length above the frame",
	  { .total = 29, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },

	/* IPv6 to a cluster address */
	{ "IPv6: IKEv2, first message",
	  { .version = 6,
	    .protocol = 17,
	    BYTES(UDP_TO(TO_500, "\0\x24") IKE2(NO_SPI, "\x08")) },
	  UNIT_BY_IKE,
	  FOLD,
	  0x1122334455667788ull ^ SRC6_LOW,
	  SRC6_HIGH },
	{ "IPv6: IKEv2, from the initiator",
	  { .version = 6,
	    .protocol = 17,
	    BYTES(UDP_TO(TO_500, "\0\x24") IKE2(SPI_R, "\x08")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x3a9 },
	{ "IPv6: IKEv1, first message",
	  { .version = 6, .protocol = 17, BYTES(UDP_TO(TO_500, "\0\x24") IKE1(NO_SPI)) },
	  UNIT_BY_IKE,
	  FOLD,
	  SRC6_LOW,
	  SRC6_HIGH },
	{ "IPv6: IKEv2 on 4500",
	  { .version = 6,
	    .protocol = 17,
	    BYTES(UDP_TO(TO_4500, "\0\x28") "\0\0\0\0" IKE2(SPI_R, "\x28")) },
	  UNIT_BY_IKE,
	  UNIT,
	  0x3a9 },
	{ "IPv6: ESP",
	  { .version = 6, .protocol = 50, BYTES("\xc0\xff\xee\x01\0\0\0\1......") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x201 },
	{ "IPv6: ESP, own MAC",
	  { .version = 6,
	    .mac = FRAME_OWN_MAC,
	    .protocol = 50,
	    BYTES("\xc0\xff\xee\x01\0\0\0\1......") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x201 },
	{ "IPv6: ESP, priority tag",
	  { .version = 6,
	    TAG("\x81\0\xe0\0"),
	    .protocol = 50,
	    BYTES("\0\0\x10\1\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  1 },
	{ "IPv6: ESP to the second address",
	  { .version = 6,
	    .to = "2001:db8::2",
	    .protocol = 50,
	    BYTES("\0\0\x10\1\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  1 },
	{ "IPv6: ESP of 7 bytes",
	  { .version = 6, .protocol = 50, BYTES("\xc0\xff\xee\x01\0\0\0") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: ESP in UDP",
	  { .version = 6,
	    .protocol = 17,
	    BYTES(UDP_TO(TO_4500, "\0\x12") "\xc0\xff\xee\x03\0\0\0\1..") },
	  UNIT_BY_ESP_UDP,
	  UNIT,
	  0x203 },
	{ "IPv6: NAT keepalive",
	  { .version = 6, .protocol = 17, BYTES(UDP_TO(TO_4500, "\0\x09") "\xff") },
	  UNIT_BY_KEEPALIVE },
	{ "IPv6: ESP behind options for all and for us",
	  { .version = 6,
	    .protocol = 0,
	    BYTES("\x3c\0\1\4\0\0\0\0"
		  "\x32\1\1\xc\0\0\0\0\0\0\0\0\0\0\0\0"
		  "\xc0\xff\xee\x01\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x201 },
	{ "IPv6: ESP behind a route that ends here",
	  { .version = 6,
	    .protocol = 43,
	    BYTES("\x32\0\2\0\0\0\0\0\xc0\xff\xee\x01\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x201 },
	{ "IPv6: a route that goes on",
	  { .version = 6,
	    .protocol = 43,
	    BYTES("\x32\0\2\1\0\0\0\0\xc0\xff\xee\x01\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: options longer than the packet",
	  { .version = 6,
	    .protocol = 60,
	    BYTES("\x32\1\1\xc\0\0\0\0\xc0\xff\xee\x01\0\0\0") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: six extension headers",
	  { .version = 6,
	    .protocol = 60,
	    BYTES("\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0"
		  "\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0\x32\0\1\4\0\0\0\0"
		  "\0\0\1\1\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x101 },
	{ "IPv6: seven extension headers",
	  { .version = 6,
	    .protocol = 60,
	    BYTES("\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0"
		  "\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0\x3c\0\1\4\0\0\0\0"
		  "\x32\0\1\4\0\0\0\0\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: first fragment",
	  { .version = 6, .protocol = 44, BYTES("\x32\0\0\1\1\2\3\4\0\0\1\1\0\0\0\1") },
	  UNIT_BY_FRAGMENT,
	  FOLD,
	  SRC6_LOW ^ VIP6_LOW ^ 0x01020304ull << 32,
	  SRC6_HIGH ^ VIP6_HIGH },
	{ "IPv6: later fragment",
	  { .version = 6, .protocol = 44, BYTES("\x32\0\0\x08\1\2\3\4\0\0\1\1\0\0\0\1") },
	  UNIT_BY_FRAGMENT,
	  FOLD,
	  SRC6_LOW ^ VIP6_LOW ^ 0x01020304ull << 32,
	  SRC6_HIGH ^ VIP6_HIGH },
	{ "IPv6: fragment that is the whole packet",
	  { .version = 6, .protocol = 44, BYTES("\x32\0\0\0\1\2\3\4\0\0\1\1\0\0\0\1") },
	  UNIT_BY_ESP,
	  UNIT,
	  0x101 },
	{ "IPv6: echo request",
	  { .version = 6, .protocol = 58, BYTES("\x80\0\0\0\0\1\0\1") },
	  UNIT_BY_ICMP,
	  FOLD,
	  PAIR6_LOW,
	  PAIR6_HIGH },
	{ "IPv6: packet too big",
	  { .version = 6, .protocol = 58, BYTES("\2\0\0\0\0\0\5\0") },
	  UNIT_BY_ICMP_ERROR },
	{ "IPv6: an error that is not known",
	  { .version = 6, .protocol = 58, BYTES("\x7f\0\0\0\0\0\0\0") },
	  UNIT_BY_ICMP_ERROR },
	{ "IPv6: neighbour solicitation",
	  { .version = 6, .protocol = 58, BYTES("\x87\0\0\0\0\0\0\0") },
	  UNIT_BY_NEIGHBOUR },
	{ "IPv6: redirect",
	  { .version = 6, .protocol = 58, BYTES("\x89\0\0\0\0\0\0\0") },
	  UNIT_BY_NEIGHBOUR },
	{ "IPv6: ICMPv6 of 7 bytes",
	  { .version = 6, .protocol = 58, BYTES("\x80\0\0\0\0\1\0") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: the other family's ICMP",
	  { .version = 6, .protocol = 1, BYTES("\3\0\0\0\0\1\0\1") },
	  UNIT_BY_PROTOCOL,
	  FOLD,
	  PAIR6_LOW,
	  PAIR6_HIGH },
	{ "IPv6: TCP",
	  { .version = 6,
	    .protocol = 6,
	    BYTES("\x04\x02\0\x50\0\0\0\0\0\0\0\0\x50\2\0\0\0\0\0\0") },
	  UNIT_BY_TRANSPORT,
	  FOLD,
	  SRC6_LOW ^ 0x402,
	  SRC6_HIGH },
	{ "IPv6: UDP",
	  { .version = 6, .protocol = 17, BYTES(UDP_TO("\0\x35", "\0\x08")) },
	  UNIT_BY_TRANSPORT,
	  FOLD,
	  SRC6_LOW ^ 0x401,
	  SRC6_HIGH },
	{ "IPv6: nothing follows",
	  { .version = 6, .protocol = 59 },
	  UNIT_BY_PROTOCOL,
	  FOLD,
	  PAIR6_LOW,
	  PAIR6_HIGH },
	{ "IPv6: payload longer than the frame",
	  { .version = 6, .total = 9, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: version 4",
	  { .version = 6, .first_byte = 0x45, .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") },
	  UNIT_BY_MALFORMED },
	{ "IPv6: own MAC, own address",
	  { .version = 6,
	    .mac = FRAME_OWN_MAC,
	    .to = "2001:db8::11",
	    .protocol = 58,
	    BYTES("\x88\0\0\0\0\0\0\0") },
	  UNIT_BY_OTHER },

	/* IPv6 through the cluster */
	{ "IPv6: forwarded",
	  { .version = 6,
	    .source = "2001:db8:1::7",
	    .to = "2001:db8:2::9",
	    .protocol = 6 },
	  UNIT_BY_FORWARDED,
	  FOLD,
	  7 ^ 9,
	  0x30000 },
	{ "IPv6: forwarded fragment",
	  { .version = 6,
	    .source = "2001:db8:1::7",
	    .to = "2001:db8:2::9",
	    .protocol = 44 },
	  UNIT_BY_FORWARDED,
	  FOLD,
	  7 ^ 9,
	  0x30000 },
	{ "IPv6: session route",
	  { .version = 6, .to = "2001:db8:9::5", .protocol = 6 },
	  UNIT_BY_ROUTED,
	  UNIT,
	  322 },
	{ "IPv6: own MAC, session route",
	  { .version = 6, .mac = FRAME_OWN_MAC, .to = "2001:db8:9::5", .protocol = 6 },
	  UNIT_BY_ROUTED,
	  UNIT,
	  322 },
	{ "IPv6: pool without session",
	  { .version = 6, .to = "2001:db8:9::6", .protocol = 6 },
	  UNIT_BY_NO_SESSION },
	{ "IPv6: in clear, from a session's address",
	  { .version = 6,
	    .source = "2001:db8:9::5",
	    .to = "2001:db8:a::1",
	    .protocol = 6 },
	  UNIT_BY_CLEAR },
	{ "IPv6: in clear, to the pool",
	  { .version = 6, .to = "2001:db8:9::6", .protocol = 6 },
	  UNIT_BY_CLEAR },
	{ "IPv6: to a group",
	  { .version = 6, .to = "ff05::2", .protocol = 58 },
	  UNIT_BY_DESTINATION },
	{ "IPv6: to a link-local address",
	  { .version = 6, .to = "fe80::1", .protocol = 6 },
	  UNIT_BY_DESTINATION },
	{ "IPv6: to loopback",
	  { .version = 6, .to = "::1", .protocol = 6 },
	  UNIT_BY_DESTINATION },
	{ "IPv6: to a cluster address of IPv4",
	  { .version = 6, .to = "::ffff:192.0.2.1", .protocol = 50 },
	  UNIT_BY_DESTINATION },
	{ "IPv6: to a session of IPv4",
	  { .version = 6, .to = "::ffff:10.9.0.5", .protocol = 50 },
	  UNIT_BY_DESTINATION },
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static const uint8_t key_bytes[FILTER_KEY_SIZE] = { 0,	  1,	2,    3,    4,	  5,
						    6,	  7,	0x88, 0x99, 0xaa, 0xbb,
						    0xcc, 0xdd, 0xee, 0xff };

/* The network is an inside one, but for what must not come from the outside. */
static struct filter *filter, *outside;
static bool in_kernel;

static struct filter *make_filter(bool userspace, bool is_outside, int lease_fd,
				  char *err)
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

static void route(const char *address, unsigned prefixlen, uint16_t unit)
{
	struct address a;

	assert_int_equal(address_parse(address, &a), 0);
	assert_int_equal(filter_route_add(filter, a.family, a.bytes, prefixlen, unit), 0);
	assert_int_equal(filter_route_add(outside, a.family, a.bytes, prefixlen, unit),
			 0);
}

static void routes(void)
{
	route("10.9.0.0", 16, FILTER_ROUTE_DROP);
	route("10.9.0.5", 32, 321);
	route("10.8.0.0", 16, 1023);
	route("2001:db8:9::", 48, FILTER_ROUTE_DROP);
	route("2001:db8:9::5", 128, 322);
}

static int setup(void **state)
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

static int teardown(void **state)
{
	filter_free(filter);
	filter_free(outside);
	return 0;
}

static void give_all_to(uint16_t owner)
{
	for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
		filter_set_owner(filter, (uint16_t)unit, owner);
}

/* Runs the tc program over the frame; false if the kernel does not take such a frame. */
static bool kernel_classify(const struct filter *f, const uint8_t *frame, size_t len,
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

static void check_one(const char *name, const char *where, struct unit_result r,
		      enum unit_verdict verdict, enum unit_reason reason, unsigned unit)
{
	if (r.verdict == verdict && r.reason == reason && r.unit == unit)
		return;
	fail_msg("%s, %s: %s because of %s, unit %u; expected %s because of %s, unit %u",
		 name, where, filter_verdict_name(r.verdict),
		 filter_reason_name(r.reason), r.unit, filter_verdict_name(verdict),
		 filter_reason_name(reason), unit);
}

/* What the filter gives to phalanxd, its tunnels can read. */
static void check_readable(const char *name, const uint8_t *frame, size_t len,
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

static enum unit_verdict verdict_of(enum unit_reason reason)
{
	static const uint8_t verdicts[] = {
#define X(symbol, verdict, name) UNIT_##verdict,
		UNIT_REASONS(X)
#undef X
	};
	return verdicts[reason];
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

static const struct filter *filter_of(const struct verdict_case *c)
{
	return c->reason == UNIT_BY_CLEAR ? outside : filter;
}

static void check(const struct verdict_case *c, enum unit_verdict verdict,
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

static unsigned expected_unit(const struct verdict_case *c)
{
	return c->way == NO_UNIT ? UNIT_NONE
	       : c->way == UNIT	 ? (unsigned)c->unit
				 : unit_fold(filter_key(filter), c->high, c->unit);
}

static void test_ours(void **state)
{
	filter_renew(filter, NEVER);
	give_all_to(SELF);
	for (size_t i = 0; i < CASES; i++)
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
		for (size_t i = 0; i < CASES; i++) {
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
	for (size_t i = 0; i < CASES; i++) {
		enum unit_reason reason = cases[i].reason;

		if (verdict_of(reason) == UNIT_DAEMON)
			reason = UNIT_BY_WAITING;
		else if (cases[i].way != NO_UNIT && reason != UNIT_BY_ROUTED)
			reason = UNIT_BY_UNOWNED;
		check(&cases[i], verdict_of(reason), reason, expected_unit(&cases[i]));
	}
	filter_set_master(filter, false);
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
		for (size_t i = 0; i < CASES; i++) {
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
	for (size_t i = 0; i < CASES; i++) {
		unsigned unit = expected_unit(&cases[i]);
		if (unit == UNIT_NONE)
			continue;
		filter_set_owner(filter, (uint16_t)unit, SELF);
		check(&cases[i], verdict_of(cases[i].reason), cases[i].reason, unit);
		filter_set_owner(filter, (uint16_t)unit, OTHER);
	}
}

static void test_lease_over(void **state)
{
	struct timespec t;

	give_all_to(SELF);
	clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t past = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	const uint64_t leases[] = { 0, past };
	for (size_t l = 0; l < 2; l++) {
		filter_renew(filter, leases[l]);
		for (size_t i = 0; i < CASES; i++) {
			enum unit_reason r = cases[i].reason;
			if (r != UNIT_BY_OTHER && r != UNIT_BY_VLAN && r != UNIT_BY_ARP &&
			    r != UNIT_BY_NOT_IP && r != UNIT_BY_CLEAR)
				r = UNIT_BY_LEASE;
			uint8_t frame[FRAME_MAX];
			size_t len = frame_build(&cases[i].frame, frame);
			struct unit_result got;
			check_one(
			    cases[i].name, "twin",
			    filter_classify(filter_of(&cases[i]), frame, len, LO, past),
			    verdict_of(r), r, UNIT_NONE);
			if (in_kernel &&
			    kernel_classify(filter_of(&cases[i]), frame, len, &got))
				check_one(cases[i].name, "kernel", got, verdict_of(r), r,
					  UNIT_NONE);
		}
	}
}

static void test_revoke(void **state)
{
	struct unit_result r;
	uint8_t frame[FRAME_MAX];
	const struct frame_spec esp = { .protocol = 50, BYTES("\0\0\1\1\0\0\0\1") };
	size_t len = frame_build(&esp, frame);

	if (!in_kernel)
		skip();
	give_all_to(SELF);
	filter_renew(filter, NEVER);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.verdict, UNIT_DAEMON);
	assert_int_equal(filter_revoke(filter_lease_fd(filter)), 0);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.reason, UNIT_BY_LEASE);
}

/* A parent's lease: it can end it when the filter's owner is gone. */
static void test_lease_of_parent(void **state)
{
	char err[FILTER_ERROR_SIZE] = "";
	struct unit_result r;
	uint8_t frame[FRAME_MAX];
	const struct frame_spec error = { .protocol = 1, BYTES("\x03\4\0\0\0\0\5\xdc") };
	size_t len = frame_build(&error, frame);

	if (!in_kernel)
		skip();
	int lease = filter_lease_open();
	assert_true(lease >= 0);
	struct filter *first = filter,
		      *f = filter = make_filter(false, false, lease, err);
	if (!f)
		fail_msg("%s", err);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.reason, UNIT_BY_LEASE);
	filter_renew(f, NEVER);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.verdict, UNIT_HOST);
	assert_int_equal(filter_revoke(lease), 0);
	kernel_classify(filter, frame, len, &r);
	assert_int_equal(r.reason, UNIT_BY_LEASE);
	filter_free(f);
	filter = first;
	close(lease);
	assert_true(filter_revoke(lease) < 0);
}

/* Every cut of every frame: no read beyond the end, and both agree. */
static void test_truncated(void **state)
{
	filter_renew(filter, NEVER);
	give_all_to(SELF);
	for (size_t i = 0; i < CASES; i++) {
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
		const struct verdict_case *c = &cases[(unsigned)rand_r(&seed) % CASES];
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

/* A prefix that goes leaves those beside, above and below it. */
static void test_routes_nested(void **state)
{
	const struct verdict_case one = { "one", { .to = "10.7.1.2" }, 0, UNIT, 0 };
	const struct verdict_case two = { "two", { .to = "10.7.1.3" }, 0, UNIT, 0 };
	struct in_addr a;

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	route("10.7.0.0", 16, 16);
	route("10.7.1.2", 32, 2);
	route("10.7.1.3", 32, 3);
	inet_pton(AF_INET, "10.7.1.3", &a);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 32), 0);
	check(&one, UNIT_HOST, UNIT_BY_ROUTED, 2);
	check(&two, UNIT_HOST, UNIT_BY_ROUTED, 16);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 16), 0);
	check(&one, UNIT_HOST, UNIT_BY_ROUTED, 2);
	check(&two, UNIT_HOST, UNIT_BY_FORWARDED,
	      unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a070103)));
	inet_pton(AF_INET, "10.7.1.2", &a);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 32), 0);
}

/* The families' routes do not cover one another. */
static void test_routes_by_family(void **state)
{
	const struct verdict_case c4 = { "IPv4", { .to = "10.6.0.1" }, 0, UNIT, 0 };
	const struct verdict_case c6 = {
		"IPv6", { .version = 6, .to = "2001:db8:6::1" }, 0, UNIT, 0
	};
	static const uint8_t any[16];
	const struct unit_ip to = { 0x20010db800060000ull, 1 };
	const struct unit_ip from = { SRC6_HIGH, SRC6_LOW };
	unsigned fold4 =
	    unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a060001));
	unsigned fold6 = unit_pair(filter_key(filter), from, to);

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	assert_int_equal(filter_route_add(filter, AF_INET6, any, 0, 6), 0);
	check(&c4, UNIT_HOST, UNIT_BY_FORWARDED, fold4);
	check(&c6, UNIT_HOST, UNIT_BY_ROUTED, 6);
	assert_int_equal(filter_route_add(filter, AF_INET, any, 0, 4), 0);
	check(&c4, UNIT_HOST, UNIT_BY_ROUTED, 4);
	assert_int_equal(filter_route_del(filter, AF_INET6, any, 0), 0);
	check(&c6, UNIT_HOST, UNIT_BY_FORWARDED, fold6);
	assert_int_equal(filter_route_del(filter, AF_INET, any, 0), 0);
	check(&c4, UNIT_HOST, UNIT_BY_FORWARDED, fold4);
}

static void no_route(const char *address, unsigned prefixlen)
{
	struct address a;

	assert_int_equal(address_parse(address, &a), 0);
	assert_int_equal(filter_route_del(filter, a.family, a.bytes, prefixlen), 0);
	assert_int_equal(filter_route_del(outside, a.family, a.bytes, prefixlen), 0);
}

/*
 * A session with all the world: what is near is not in it, and what this member itself has
 * to say to the world is not either; who claims the address of a smaller network is.
 */
static void test_routes_near(void **state)
{
	const struct verdict_case far = { "far", { .to = "203.0.113.9" }, 0, UNIT, 0 };
	const struct verdict_case near = { "near", { .to = "10.1.0.9" }, 0, UNIT, 0 };
	const struct verdict_case own = {
		"own", { .mac = FRAME_OWN_MAC, .to = "192.0.2.11" }, 0, NO_UNIT, 0
	};
	const struct verdict_case own6 = {
		"own, IPv6",
		{ .mac = FRAME_OWN_MAC, .version = 6, .to = "2001:db8::11" },
		0,
		NO_UNIT,
		0
	};
	const struct verdict_case forged = {
		"to own, forged",
		{ .mac = FRAME_OWN_MAC, .source = "10.8.0.5", .to = "192.0.2.11" },
		UNIT_BY_CLEAR,
		NO_UNIT,
		0
	};
	const struct verdict_case world = {
		"to own, from the world",
		{ .mac = FRAME_OWN_MAC, .source = "203.0.113.9", .to = "192.0.2.11" },
		UNIT_BY_OTHER,
		NO_UNIT,
		0
	};
	const struct verdict_case beside = { "to near, from the world",
					     { .source = "203.0.113.9",
					       .to = "10.1.0.9" },
					     UNIT_BY_CLEAR,
					     NO_UNIT,
					     0 };
	const struct verdict_case neighbour = { "to near, from near",
						{ .source = "192.0.2.77",
						  .to = "10.1.0.9" },
						UNIT_BY_FORWARDED,
						NO_UNIT,
						0 };
	uint8_t frame[FRAME_MAX];
	size_t len;
	struct unit_result r;
	const struct verdict_case *const arrivals[] = { &forged, &world, &beside,
							&neighbour };

	filter_renew(filter, NEVER);
	filter_renew(outside, NEVER);
	give_all_to(SELF);
	route("0.0.0.0", 0, 77);
	route("::", 0, 78);
	route("10.1.0.0", 16, FILTER_ROUTE_NEAR);
	route("192.0.2.0", 24, FILTER_ROUTE_NEAR);
	route("192.0.2.11", 32, FILTER_ROUTE_OWN);
	route("2001:db8::11", 128, FILTER_ROUTE_OWN);
	check(&far, UNIT_HOST, UNIT_BY_ROUTED, 77);
	check(&near, UNIT_HOST, UNIT_BY_FORWARDED,
	      unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a010009)));
	check(&own, UNIT_PASS, UNIT_BY_OTHER, UNIT_NONE);
	check(&own6, UNIT_PASS, UNIT_BY_OTHER, UNIT_NONE);
	for (size_t i = 0; i < sizeof(arrivals) / sizeof(arrivals[0]); i++) {
		len = frame_build(&arrivals[i]->frame, frame);
		r = filter_classify(outside, frame, len, LO, 1);
		assert_int_equal(r.as, arrivals[i]->reason);
		if (in_kernel && kernel_classify(outside, frame, len, &r))
			assert_true(r.reason == arrivals[i]->reason ||
				    r.reason == UNIT_BY_UNOWNED);
	}
	len = frame_build(&far.frame, frame);
	assert_int_equal(filter_route_find(filter, frame + 14, len - 14), 77);
	len = frame_build(&near.frame, frame);
	assert_int_equal(filter_route_find(filter, frame + 14, len - 14),
			 FILTER_ROUTE_NEAR);
	no_route("0.0.0.0", 0);
	no_route("::", 0);
	no_route("10.1.0.0", 16);
	no_route("192.0.2.0", 24);
	no_route("192.0.2.11", 32);
	no_route("2001:db8::11", 128);
}

static void test_routes(void **state)
{
	struct in_addr a;
	const struct verdict_case c = { "route", { .to = "10.7.1.1" }, 0, UNIT, 0 };

	filter_renew(filter, NEVER);
	give_all_to(SELF);
	inet_pton(AF_INET, "10.7.1.1", &a);
	unsigned fold =
	    unit_pair(filter_key(filter), unit_ipv4(SRC), unit_ipv4(0x0a070101));
	check(&c, UNIT_HOST, UNIT_BY_FORWARDED, fold);
	for (unsigned prefix = 8; prefix <= 32; prefix += 8) {
		assert_int_equal(
		    filter_route_add(filter, AF_INET, &a, prefix, (uint16_t)prefix), 0);
		check(&c, UNIT_HOST, UNIT_BY_ROUTED, prefix);
	}
	assert_int_equal(filter_route_add(filter, AF_INET, &a, 32, 500), 0);
	check(&c, UNIT_HOST, UNIT_BY_ROUTED, 500);
	for (unsigned prefix = 32; prefix > 8; prefix -= 8) {
		assert_int_equal(filter_route_del(filter, AF_INET, &a, prefix), 0);
		check(&c, UNIT_HOST, UNIT_BY_ROUTED, prefix - 8);
	}
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 8), 0);
	check(&c, UNIT_HOST, UNIT_BY_FORWARDED, fold);
	assert_int_equal(filter_route_del(filter, AF_INET, &a, 8), -ENOENT);
	assert_int_equal(filter_route_add(filter, AF_INET, &a, 33, 1), -EINVAL);
	assert_int_equal(filter_route_add(filter, AF_INET6, key_bytes, 129, 1), -EINVAL);
	assert_int_equal(filter_route_add(filter, AF_INET, &a, 32, 1024), -EINVAL);
	assert_int_equal(filter_route_add(filter, AF_UNIX, &a, 32, 1), -EAFNOSUPPORT);
}

/* SipHash-1-3 as OpenSSL computes it, folded by hand. */
static void test_fold_vectors(void **state)
{
	const struct unit_key *key = filter_key(filter);

	assert_int_equal(key->k[0], 0x0001020304050607ull);
	assert_int_equal(unit_fold(key, 0x8877665544332211ull, 0x0807060504030201ull),
			 729);
	assert_int_equal(unit_fold(key, 0, 0), 736);
}

static void test_fold_symmetric(void **state)
{
	const struct unit_key *key = filter_key(filter);
	unsigned seed = 2;

	for (unsigned i = 0; i < 1000; i++) {
		struct unit_ip a = { i % 2 ? (uint64_t)rand_r(&seed) << 32 : 0,
				     (uint32_t)rand_r(&seed) * 2654435761u },
			       b = { i % 2 ? (uint64_t)rand_r(&seed) << 32 : 0,
				     (uint32_t)rand_r(&seed) * 2246822519u };
		assert_int_equal(unit_pair(key, a, b), unit_pair(key, b, a));
	}
}

/*
 * Neighbouring addresses spread over all units: over 64 a unit on average, 128 is
 * eight standard deviations away. Another key gives another spread.
 */
static void test_fold_spread(void **state)
{
	struct unit_key key = *filter_key(filter), key2 = key;
	unsigned count[UNIT_COUNT] = { 0 }, same = 0;

	key2.k[1] ^= 1;
	for (uint32_t i = 0; i < 64 * UNIT_COUNT; i++) {
		uint16_t unit = unit_address(&key, unit_ipv4(0x0a000000 + i));
		count[unit]++;
		same += unit == unit_address(&key2, unit_ipv4(0x0a000000 + i));
	}
	for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
		assert_in_range(count[unit], 8, 128);
	assert_in_range(same, 8, 128);
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
		cmocka_unit_test(test_lease_over),
		cmocka_unit_test(test_revoke),
		cmocka_unit_test(test_lease_of_parent),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_agreement),
		cmocka_unit_test(test_other_interface),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_routes_nested),
		cmocka_unit_test(test_routes_near),
		cmocka_unit_test(test_routes_by_family),
		cmocka_unit_test(test_fold_vectors),
		cmocka_unit_test(test_fold_symmetric),
		cmocka_unit_test(test_fold_spread),
		cmocka_unit_test(test_statistics),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
