/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/net/tools/echo.h"

#include <arpa/inet.h>
#include <err.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "tests/net/tools/common.h"

int echo_open(int buffer, uint64_t *run)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (fd < 0)
		err(EXIT_TROUBLE, "raw socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	if (getrandom(run, sizeof(*run), 0) != sizeof(*run))
		err(EXIT_TROUBLE, "random number");
	return fd;
}

static uint16_t checksum(const uint8_t *at, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void echo_finish(uint8_t *packet, size_t len, uint64_t run, uint64_t sequence)
{
	struct icmphdr h = { .type = ICMP_ECHO };

	h.un.echo.id = htons((uint16_t)run);
	h.un.echo.sequence = htons((uint16_t)sequence);
	memcpy(packet, &h, sizeof(h));
	h.checksum = htons(checksum(packet, len));
	memcpy(packet, &h, sizeof(h));
}
