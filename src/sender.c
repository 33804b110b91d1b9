/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/sender.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/port.h"
#include "src/mark.h"

#define SEND_BUFFER (4 << 20)

struct queue {
	int fd;
	unsigned queued;
	struct mmsghdr messages[PORT_BATCH];
	struct iovec vectors[PORT_BATCH];
	struct sockaddr_storage to[PORT_BATCH];
	uint8_t packets[PORT_BATCH][PORT_PACKET_MAX];
};

struct sender {
	struct event *later; /* sends what nobody flushed */
	struct sender_counters counters;
	struct queue v4, v6;
};

static void flush_later(evutil_socket_t fd, short what, void *ctx)
{
	sender_flush(ctx);
}

static int queue_open(struct queue *q, int family)
{
	const int size = SEND_BUFFER;
	const uint32_t mark = CLUSTER_MARK;

	/* IPPROTO_RAW implies that the header is ours, and receives nothing. */
	q->fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	if (q->fd < 0)
		return -errno;
	if (setsockopt(q->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(q->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	/* A tunnel's packets must not go into a tunnel, though its far end lies in the networks
	 * behind it. */
	setsockopt(q->fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	for (unsigned i = 0; i < PORT_BATCH; i++) {
		q->vectors[i].iov_base = q->packets[i];
		q->to[i].ss_family = (sa_family_t)family;
		q->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &q->to[i],
			.msg_namelen = family == AF_INET6 ? sizeof(struct sockaddr_in6)
							  : sizeof(struct sockaddr_in),
			.msg_iov = &q->vectors[i],
			.msg_iovlen = 1,
		};
	}
	return 0;
}

int sender_open(struct sender **out, struct event_base *base)
{
	struct sender *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->v4.fd = s->v6.fd = -1;
	int error = queue_open(&s->v4, AF_INET);
	if (!error)
		error = queue_open(&s->v6, AF_INET6);
	if (error == -EAFNOSUPPORT)
		error = 0; /* a kernel without IPv6, and so without packets of it */
	s->later = error ? NULL : event_new(base, -1, 0, flush_later, s);
	if (!error && !s->later)
		error = -ENOMEM;
	if (error) {
		sender_close(s);
		return error;
	}
	*out = s;
	return 0;
}

void sender_close(struct sender *s)
{
	if (!s)
		return;
	if (s->later) {
		sender_flush(s);
		event_free(s->later);
	}
	if (s->v4.fd >= 0)
		close(s->v4.fd);
	if (s->v6.fd >= 0)
		close(s->v6.fd);
	free(s);
}

static bool is_ipv4(const uint8_t *ip, size_t len)
{
	return len >= 20 && ip[0] >> 4 == 4 && (size_t)(ip[2] << 8 | ip[3]) == len;
}

static bool is_ipv6(const uint8_t *ip, size_t len)
{
	return len >= 40 && ip[0] >> 4 == 6 && (size_t)(ip[4] << 8 | ip[5]) + 40 == len;
}

/* The kernel routes by the socket address and leaves the header alone. */
static void address_set(struct sockaddr_storage *to, const struct in_addr *next_hop,
			const uint8_t *ip)
{
	if (to->ss_family == AF_INET6)
		memcpy(&((struct sockaddr_in6 *)to)->sin6_addr, ip + 24, 16);
	else
		memcpy(&((struct sockaddr_in *)to)->sin_addr,
		       next_hop ? (const void *)next_hop : ip + 16, 4);
}

static void queue_flush(struct sender *s, struct queue *q);

int sender_queue(struct sender *s, const struct in_addr *next_hop, const void *packet,
		 size_t len)
{
	struct queue *q = is_ipv4(packet, len)		      ? &s->v4
			  : is_ipv6(packet, len) && !next_hop ? &s->v6
							      : NULL;

	if (!q || len > PORT_PACKET_MAX || q->fd < 0) {
		s->counters.refused++;
		return !q ? -EINVAL : q->fd < 0 ? -EAFNOSUPPORT : -EMSGSIZE;
	}
	memcpy(q->packets[q->queued], packet, len);
	address_set(&q->to[q->queued], next_hop, packet);
	q->vectors[q->queued].iov_len = len;
	if (++q->queued == PORT_BATCH)
		queue_flush(s, q);
	else if (q->queued == 1)
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

static void queue_flush(struct sender *s, struct queue *q)
{
	unsigned at = 0;

	while (at < q->queued) {
		int n = sendmmsg(q->fd, q->messages + at, q->queued - at, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			/* The first one is refused; the others may have a better way. */
			count_failure(&s->counters, errno);
			at++;
			continue;
		}
		for (int i = 0; i < n; i++)
			s->counters.bytes += q->vectors[at + (unsigned)i].iov_len;
		s->counters.sent += (unsigned)n;
		at += (unsigned)n;
	}
	q->queued = 0;
}

void sender_flush(struct sender *s)
{
	queue_flush(s, &s->v4);
	queue_flush(s, &s->v6);
	event_del(s->later);
}

const struct sender_counters *sender_counters(const struct sender *s)
{
	return &s->counters;
}
