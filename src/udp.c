/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/udp.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH 32
/* Batches read for one wake-up, so that a flood cannot keep the loop from its timers. */
#define BATCHES_MAX 4
#define BUFFER_BYTES (4 << 20)

struct udp {
	int fd, family;
	struct event *readable;
	udp_receive receive;
	void *ctx;
	struct udp_counters counters;
	uint8_t buffers[BATCH][UDP_MAX];
};

static void udp_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp *u = arg;
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];

	for (unsigned batch = 0; batch < BATCHES_MAX; batch++) {
		for (unsigned i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){ u->buffers[i], UDP_MAX };
			messages[i] = (struct mmsghdr){ .msg_hdr.msg_iov = &vectors[i],
							.msg_hdr.msg_iovlen = 1 };
		}
		/* An error is that of an earlier send (ICMP), or there is nothing: both
		 * are no reason to stop listening. */
		int n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < n; i++) {
			u->counters.received++;
			u->counters.received_bytes += messages[i].msg_len;
			if (messages[i].msg_hdr.msg_flags & MSG_TRUNC)
				u->counters.oversized++;
			else
				u->receive(u->ctx, u->buffers[i], messages[i].msg_len);
		}
		if (n < BATCH)
			return;
	}
}

/* Keepalives go first where the network tells traffic apart, and wait in a large buffer
 * while the process is busy. All of it is best effort. */
static void udp_tune(int fd, int family)
{
	int bytes = BUFFER_BYTES, tos = IPTOS_CLASS_CS6;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	else
		setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
}

struct udp *udp_new(struct event_base *base, const struct endpoint *at, bool absent,
		    udp_receive receive, void *ctx)
{
	struct udp *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->family = at->address.ss_family;
	u->receive = receive;
	u->ctx = ctx;
	u->fd = endpoint_bound_socket(at, SOCK_DGRAM, true, absent);
	if (u->fd < 0)
		goto fail;
	udp_tune(u->fd, at->address.ss_family);
	u->readable = event_new(base, u->fd, EV_READ | EV_PERSIST, udp_readable, u);
	if (!u->readable || event_add(u->readable, NULL) < 0) {
		errno = ENOMEM;
		goto fail;
	}
	return u;
fail:;
	int error = errno;
	udp_free(u);
	errno = error;
	return NULL;
}

static uint32_t host_of(const struct endpoint *e)
{
	return ntohl(((const struct sockaddr_in *)endpoint_socket(e))->sin_addr.s_addr);
}

int udp_accept_from(struct udp *u, const struct endpoint *const *hosts, unsigned n)
{
	struct sock_filter code[UDP_SOURCES_MAX + 3];
	struct sock_fprog program = { .filter = code };
	unsigned at = 0;

	if (u->family != AF_INET || n > UDP_SOURCES_MAX)
		return -EINVAL;
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						  (uint32_t)SKF_NET_OFF +
						      offsetof(struct iphdr, saddr));
	/* The last one lets it in. */
	for (unsigned i = 0; i < n; i++) {
		if (endpoint_socket(hosts[i])->sa_family != AF_INET)
			return -EINVAL;
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							  host_of(hosts[i]), n - i, 0);
	}
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	program.len = (unsigned short)at;
	return setsockopt(u->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
			  sizeof(program)) < 0
		   ? -errno
		   : 0;
}

void udp_free(struct udp *u)
{
	if (!u)
		return;
	if (u->readable)
		event_free(u->readable);
	if (u->fd >= 0)
		close(u->fd);
	free(u);
}

int udp_send(struct udp *u, const struct endpoint *at, const uint8_t *bytes, size_t len)
{
	const struct sockaddr *to = endpoint_socket(at);
	socklen_t tolen = at->addresslen;
	ssize_t n = sendto(u->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL, to, tolen);

	/* The error may belong to an earlier datagram (port unreachable); it is cleared
	 * by being read, so this one deserves a second try. */
	if (n < 0 && errno == ECONNREFUSED)
		n = sendto(u->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL, to, tolen);
	if (n < 0) {
		u->counters.unsent++;
		return -errno;
	}
	u->counters.sent++;
	u->counters.sent_bytes += len;
	return 0;
}

const struct udp_counters *udp_counters(const struct udp *u)
{
	return &u->counters;
}
