/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The port over a packet socket (packet(7)).
 *
 * The socket listens for all protocols: such taps see a frame before tc does, which drops
 * phalanxd's frames for the kernel's stack. A tap for IPv4 alone would stand behind it.
 */
#include "src/port_ops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "src/log.h"
#include "src/sender.h"

#ifndef SO_ATTACH_BPF
#define SO_ATTACH_BPF 50
#endif

#define RECEIVE_BUFFER (8 << 20)
#define FRAME_MAX (ETH_HLEN + 4 + PORT_PACKET_MAX)
/* Batches for one wake-up, so that a flood does not starve timers. */
#define BATCHES_MAX 8

struct packet_port {
	struct port port;
	const struct filter *filter;
	struct port_handler handler;
	struct sender *sender;
	struct event *readable;
	unsigned network;
	int ifindex;
	int fd;
	struct {
		uint64_t packets, bytes;
		uint64_t overrun;   /* the socket's buffer was full */
		uint64_t truncated; /* longer than PORT_PACKET_MAX */
		uint64_t checksum;  /* of the IP header */
		uint64_t late;	    /* no longer ours when it was read */
		uint64_t error;	    /* of the socket */
	} counters;
	struct mmsghdr messages[PORT_BATCH];
	struct iovec vectors[PORT_BATCH];
	struct sockaddr_ll from[PORT_BATCH];
	union {
		struct cmsghdr header;
		uint8_t space[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	} control[PORT_BATCH];
	uint8_t frames[PORT_BATCH][FRAME_MAX];
};

static struct packet_port *packet_port(struct port *p)
{
	return (struct packet_port *)p;
}

static bool header_sound(const uint8_t *ip, size_t header)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < header; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* CSUMNOTREADY: the sender is local and left the checksum to a device that never came. */
static bool checksum_ok(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		struct tpacket_auxdata aux;
		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
		    c->cmsg_len < CMSG_LEN(sizeof(aux)))
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		return aux.tp_status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID);
	}
	return false;
}

static void frame_deliver(struct packet_port *p, unsigned slot, uint64_t now)
{
	struct mmsghdr *message = &p->messages[slot];
	uint8_t *frame = p->frames[slot];
	size_t len = message->msg_len;
	size_t at = ETH_HLEN;

	if (message->msg_hdr.msg_flags & MSG_TRUNC || len > FRAME_MAX) {
		p->counters.truncated++;
		return;
	}
	/* Ownership may have moved since the kernel let the frame through. */
	struct unit_result r = filter_classify(p->filter, frame, len, p->ifindex, now);
	if (r.verdict != UNIT_DAEMON) {
		p->counters.late++;
		/* In forwarding mode the kernel would send it on, had it come only now. */
		if (r.reason == UNIT_BY_PASSED)
			r.reason = UNIT_BY_FOREIGN;
		if (r.reason != UNIT_BY_FOREIGN && r.reason != UNIT_BY_UNOWNED)
			return;
	}
	if (frame[12] == 0x81 && frame[13] == 0x00)
		at += 4; /* a priority tag; the classification knows no other */
	uint8_t *ip = frame + at;
	bool v6 = ip[0] >> 4 == 6;
	if (!v6 && !header_sound(ip, (size_t)(ip[0] & 15) * 4)) {
		p->counters.checksum++;
		return;
	}
	struct port_frame meta = {
		.network = p->network,
		.ifindex = p->ifindex,
		.reason = r.reason,
		.as = r.as,
		.unit = r.unit,
		.checksum_ok = checksum_ok(&message->msg_hdr),
	};
	memcpy(meta.source, frame + 6, 6);
	size_t total =
	    v6 ? 40 + (size_t)(ip[4] << 8 | ip[5]) : (size_t)(ip[2] << 8 | ip[3]);
	p->counters.packets++;
	p->counters.bytes += total;
	p->handler.receive(p->handler.ctx, &meta, ip, total);
}

/* Returns how many messages were read. */
static int batch_read(struct packet_port *p)
{
	for (unsigned i = 0; i < PORT_BATCH; i++) {
		p->messages[i].msg_hdr.msg_namelen = sizeof(p->from[i]);
		p->messages[i].msg_hdr.msg_controllen = sizeof(p->control[i]);
	}
	int n = recvmmsg(p->fd, p->messages, PORT_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0) {
		/* ENETDOWN comes once when the interface goes down; the link watch tells.
		 */
		if (errno != EAGAIN && errno != EINTR)
			p->counters.error++;
		return 0;
	}
	return n;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct packet_port *p = ctx;
	int n = PORT_BATCH;

	for (unsigned batch = 0; batch < BATCHES_MAX && n == PORT_BATCH; batch++) {
		struct timespec t;
		n = batch_read(p);
		if (!n)
			break;
		clock_gettime(CLOCK_MONOTONIC, &t);
		uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
		for (int i = 0; i < n; i++)
			if (p->from[i].sll_ifindex == p->ifindex)
				frame_deliver(p, (unsigned)i, now);
		p->handler.batch_end(p->handler.ctx);
	}
}

static int packet_send(struct port *p, const struct in_addr *next_hop, const void *packet,
		       size_t len)
{
	return sender_queue(packet_port(p)->sender, next_hop, packet, len);
}

static void packet_flush(struct port *p)
{
	sender_flush(packet_port(p)->sender);
}

static size_t packet_statistics(struct port *port, struct statistic *out, size_t max)
{
	struct packet_port *p = packet_port(port);
	const struct sender_counters *s = sender_counters(p->sender);
	struct tpacket_stats kernel;
	socklen_t size = sizeof(kernel);

	/* Reading them sets the kernel's counters to zero. */
	if (!getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &kernel, &size))
		p->counters.overrun += kernel.tp_drops;
	const struct statistic all[] = {
		{ "port.received", p->counters.packets },
		{ "port.received-bytes", p->counters.bytes },
		{ "port.overrun", p->counters.overrun },
		{ "port.truncated", p->counters.truncated },
		{ "port.header-checksum", p->counters.checksum },
		{ "port.moved", p->counters.late },
		{ "port.receive-error", p->counters.error },
		{ "port.sent", s->sent },
		{ "port.sent-bytes", s->bytes },
		{ "port.send-too-long", s->too_long },
		{ "port.send-unreachable", s->unreachable },
		{ "port.send-no-buffer", s->no_buffer },
		{ "port.send-failed", s->failed },
		{ "port.send-refused", s->refused },
	};
	size_t n = sizeof(all) / sizeof(all[0]);
	n = n < max ? n : max;
	memcpy(out, all, n * sizeof(*out));
	return n;
}

static void packet_close(struct port *port)
{
	struct packet_port *p = packet_port(port);

	sender_close(p->sender);
	if (p->readable)
		event_free(p->readable);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

static const struct port_ops packet_ops = {
	.send = packet_send,
	.flush = packet_flush,
	.statistics = packet_statistics,
	.close = packet_close,
};

/* A NIC takes frames for the cluster MAC only when it is told to. */
static int membership_add(struct packet_port *p, const uint8_t *mac)
{
	struct packet_mreq request = {
		.mr_ifindex = p->ifindex,
		.mr_type = mac[0] & 1 ? PACKET_MR_MULTICAST : PACKET_MR_UNICAST,
		.mr_alen = 6,
	};

	memcpy(request.mr_address, mac, 6);
	if (!setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request,
			sizeof(request)))
		return 0;
	if (mac[0] & 1)
		return -errno;
	request.mr_type = PACKET_MR_PROMISC; /* no list of further unicast addresses */
	return setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request,
			  sizeof(request))
		   ? -errno
		   : 0;
}

/*
 * The socket begins with protocol 0, deaf. The filter is attached and the socket bound
 * after that, so no frame passes unfiltered.
 */
static int socket_start(struct packet_port *p, const uint8_t *cluster_mac)
{
	const int size = RECEIVE_BUFFER, one = 1, program = filter_socket_fd(p->filter);
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = p->ifindex,
	};

	p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return -errno;
	if (setsockopt(p->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (program >= 0 &&
	    setsockopt(p->fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)))
		return -errno;
	if (setsockopt(p->fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) ||
	    setsockopt(p->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)))
		return -errno;
	if (bind(p->fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return cluster_mac ? membership_add(p, cluster_mac) : 0;
}

static void messages_prepare(struct packet_port *p)
{
	for (unsigned i = 0; i < PORT_BATCH; i++) {
		p->vectors[i] = (struct iovec){ p->frames[i], FRAME_MAX };
		p->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &p->from[i],
			.msg_iov = &p->vectors[i],
			.msg_iovlen = 1,
			.msg_control = &p->control[i],
		};
	}
}

struct port *port_open_packet(struct event_base *base, const struct filter *filter,
			      unsigned network, const struct port_handler *handler,
			      char err[PORT_ERROR_SIZE])
{
	const struct filter_network *config = filter_network(filter, network);
	int error = -EINVAL;

	struct packet_port *p = config ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		snprintf(err, PORT_ERROR_SIZE, "packet port: %s",
			 strerror(config ? ENOMEM : EINVAL));
		return NULL;
	}
	p->port.ops = &packet_ops;
	p->filter = filter;
	p->handler = *handler;
	p->network = network;
	p->ifindex = (int)if_nametoindex(config->ifname);
	p->fd = -1;
	messages_prepare(p);
	error = p->ifindex
		    ? socket_start(p, config->forwarding ? NULL : config->cluster_mac)
		    : -ENODEV;
	if (!error)
		error = sender_open(&p->sender, base);
	if (!error) {
		p->readable =
		    event_new(base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
		if (!p->readable || event_add(p->readable, NULL))
			error = -ENOMEM;
	}
	if (error) {
		snprintf(err, PORT_ERROR_SIZE, "packet socket on %s: %s", config->ifname,
			 strerror(-error));
		packet_close(&p->port);
		return NULL;
	}
	return &p->port;
}
