/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/pathmtu.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MAX 16
#define MESSAGE_MAX 2048
#define HEADER4 20
#define ICMP_HEADER 8

struct pathmtu {
	pathmtu_handler *handler;
	void *ctx;
	int fds[2]; /* of IPv4 and IPv6; -1: none */
	struct event *readable[2];
};

int pathmtu_read4(const uint8_t *packet, size_t len, const uint8_t **quoted,
		  size_t *quoted_len, unsigned *mtu)
{
	size_t header;
	const uint8_t *icmp;

	if (len < HEADER4 || packet[0] >> 4 != 4)
		return -EINVAL;
	header = (size_t)(packet[0] & 15) * 4;
	if (header < HEADER4 || len < header + ICMP_HEADER)
		return -EINVAL;
	icmp = packet + header;
	/* Routers from before RFC 1191 do not tell the length. */
	if (icmp[0] != ICMP_DEST_UNREACH || icmp[1] != ICMP_FRAG_NEEDED ||
	    !(icmp[6] | icmp[7]))
		return -EINVAL;
	*mtu = (unsigned)icmp[6] << 8 | icmp[7];
	*quoted = icmp + ICMP_HEADER;
	*quoted_len = len - header - ICMP_HEADER;
	return 0;
}

int pathmtu_read6(const uint8_t *icmp, size_t len, const uint8_t **quoted,
		  size_t *quoted_len, unsigned *mtu)
{
	if (len < ICMP_HEADER || icmp[0] != ICMP6_PACKET_TOO_BIG || icmp[4] | icmp[5] ||
	    !(icmp[6] | icmp[7]))
		return -EINVAL;
	*mtu = (unsigned)icmp[6] << 8 | icmp[7];
	*quoted = icmp + ICMP_HEADER;
	*quoted_len = len - ICMP_HEADER;
	return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct pathmtu *p = ctx;
	uint8_t message[MESSAGE_MAX];
	const uint8_t *quoted;
	size_t len;
	unsigned mtu;

	for (unsigned i = 0; i < READ_MAX; i++) {
		ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT);

		if (n < 0)
			return;
		if (!(fd == p->fds[0] ? pathmtu_read4 : pathmtu_read6)(
			message, (size_t)n, &quoted, &len, &mtu))
			p->handler(p->ctx, quoted, len, mtu);
	}
}

static int open4(void)
{
	const struct icmp_filter filter = { ~(1U << ICMP_DEST_UNREACH) };
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP);

	if (fd >= 0)
		setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter));
	return fd;
}

static int open6(void)
{
	struct icmp6_filter filter;
	int fd =
	    socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);

	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter));
	return fd;
}

struct pathmtu *pathmtu_open(struct event_base *base, pathmtu_handler *handler, void *ctx)
{
	struct pathmtu *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->handler = handler;
	p->ctx = ctx;
	p->fds[0] = open4();
	p->fds[1] = open6();
	for (unsigned i = 0; i < 2; i++) {
		/* A kernel without IPv6 has no errors of it. */
		if (p->fds[i] < 0 && i && errno == EAFNOSUPPORT)
			continue;
		if (p->fds[i] >= 0)
			p->readable[i] = event_new(base, p->fds[i], EV_READ | EV_PERSIST,
						   on_readable, p);
		if (!p->readable[i] || event_add(p->readable[i], NULL)) {
			pathmtu_close(p);
			return NULL;
		}
	}
	return p;
}

void pathmtu_close(struct pathmtu *p)
{
	int error = errno;

	if (!p)
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (p->readable[i])
			event_free(p->readable[i]);
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	}
	free(p);
	errno = error;
}
