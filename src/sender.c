/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/sender.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/port.h"

#define SEND_BUFFER (4 << 20)

struct sender {
	int fd;
	struct event *later; /* sends what nobody flushed */
	unsigned queued;
	struct sender_counters counters;
	struct mmsghdr messages[PORT_BATCH];
	struct iovec vectors[PORT_BATCH];
	struct sockaddr_in to[PORT_BATCH];
	uint8_t packets[PORT_BATCH][PORT_PACKET_MAX];
};

static void flush_later(evutil_socket_t fd, short what, void *ctx)
{
	sender_flush(ctx);
}

int sender_open(struct sender **out, struct event_base *base)
{
	const int size = SEND_BUFFER;
	struct sender *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	/* IPPROTO_RAW implies IP_HDRINCL and receives nothing. */
	s->fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	int error = s->fd < 0 ? -errno : 0;
	s->later = error ? NULL : event_new(base, -1, 0, flush_later, s);
	if (!error && !s->later)
		error = -ENOMEM;
	if (error) {
		sender_close(s);
		return error;
	}
	if (setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	for (unsigned i = 0; i < PORT_BATCH; i++) {
		s->vectors[i].iov_base = s->packets[i];
		s->to[i].sin_family = AF_INET;
		s->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &s->to[i],
			.msg_namelen = sizeof(s->to[i]),
			.msg_iov = &s->vectors[i],
			.msg_iovlen = 1,
		};
	}
	*out = s;
	return 0;
}

void sender_close(struct sender *s)
{
	if (!s)
		return;
	if (s->queued)
		sender_flush(s);
	if (s->later)
		event_free(s->later);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

int sender_queue(struct sender *s, const struct in_addr *next_hop, const void *packet,
		 size_t len)
{
	const uint8_t *ip = packet;

	if (len < 20 || ip[0] >> 4 != 4 || (size_t)(ip[2] << 8 | ip[3]) != len) {
		s->counters.refused++;
		return -EINVAL;
	}
	if (len > PORT_PACKET_MAX) {
		s->counters.refused++;
		return -EMSGSIZE;
	}
	memcpy(s->packets[s->queued], packet, len);
	/* The kernel routes by the socket address and leaves the header alone. */
	memcpy(&s->to[s->queued].sin_addr, next_hop ? (const void *)next_hop : ip + 16,
	       4);
	s->vectors[s->queued].iov_len = len;
	if (++s->queued == PORT_BATCH)
		sender_flush(s);
	else if (s->queued == 1)
		event_active(s->later, EV_TIMEOUT, 0);
	return 0;
}

static void count_failure(struct sender_counters *c, int error)
{
	switch (error) {
	case EMSGSIZE:
		c->too_long++;
		break;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
		c->unreachable++;
		break;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		c->no_buffer++;
		break;
	default:
		c->failed++;
	}
}

void sender_flush(struct sender *s)
{
	unsigned at = 0;

	while (at < s->queued) {
		int n = sendmmsg(s->fd, s->messages + at, s->queued - at, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			/* The first one is refused; the others may have a better way. */
			count_failure(&s->counters, errno);
			at++;
			continue;
		}
		for (int i = 0; i < n; i++)
			s->counters.bytes += s->vectors[at + (unsigned)i].iov_len;
		s->counters.sent += (unsigned)n;
		at += (unsigned)n;
	}
	s->queued = 0;
	event_del(s->later);
}

const struct sender_counters *sender_counters(const struct sender *s)
{
	return &s->counters;
}
