/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ICMP echo from thousands of addresses of this host, in turn. What is answered is kept as
 * (source, sent, received), so that afterwards each source's silence in an event is known.
 */
#include "tests/net/tools/crowd.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/net/tools/common.h"
#include "tests/net/tools/echo.h"

#define BUFFER (32 << 20)
#define PATIENCE NS_PER_S
/* Of a schedule that this machine cannot keep, the rest is forgotten. */
#define BEHIND_MAX (100 * NS_PER_MS)

/* The payload. */
struct stamp {
	uint64_t run;
	uint32_t source, padding;
	ns_t sent;
};

struct source {
	struct in_addr address;
	struct gaps gaps;
	ns_t answered; /* when the latest request was sent that was answered; 0: none */
	ns_t resumed;  /* first answer to a request after the event that is reported on */
	size_t sent, received;
};

struct answer {
	uint32_t source;
	ns_t sent, received;
};

struct crowd {
	const char *out, *status, *events, *target, *list;
	struct in_addr dst;
	ns_t interval; /* for each source */

	int fd;
	uint64_t run;
	struct source *sources;
	uint32_t n;
	struct answer *answers;
	size_t nanswers, room, sent;
	ns_t start, end;
};

static void read_options(struct crowd *c, int argc, char **argv)
{
	static const struct option options[] = {
		{ "events", required_argument, NULL, 'e' }, { 0 }
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "i:o:s:", options, NULL)) != -1) {
		switch (opt) {
		case 'i':
			c->interval = (ns_t)(must_number(optarg, 1, 1e6) * NS_PER_MS);
			break;
		case 'o':
			c->out = optarg;
			break;
		case 's':
			c->status = optarg;
			break;
		case 'e':
			c->events = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 2)
		usage();
	c->target = argv[optind];
	must_address(c->target, &c->dst);
	c->list = argv[optind + 1];
}

static void read_sources(struct crowd *c)
{
	FILE *from = fopen(c->list, "r");
	char word[64];

	if (from == NULL)
		err(EXIT_TROUBLE, "%s", c->list);
	while (fscanf(from, "%63s", word) == 1) {
		if (c->n % 1024 == 0)
			c->sources =
			    must_realloc(c->sources, (c->n + 1024) * sizeof(*c->sources));
		memset(&c->sources[c->n], 0, sizeof(c->sources[c->n]));
		must_address(word, &c->sources[c->n++].address);
	}
	fclose(from);
	if (c->n == 0)
		errx(EXIT_TROUBLE, "%s names no address", c->list);
}

static void open_socket(struct crowd *c)
{
	int buffer = BUFFER;

	c->fd = echo_open(buffer, &c->run);
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer));
}

/* What cannot be sent is a request that is lost. */
static void send_request(struct crowd *c)
{
	uint32_t at = (uint32_t)(c->sent % c->n);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = c->dst };
	struct stamp stamp = { .run = c->run, .source = at, .sent = now_ns() };
	uint8_t packet[sizeof(struct icmphdr) + sizeof(stamp)];
	uint8_t control[CMSG_SPACE(sizeof(struct in_pktinfo))] = { 0 };
	struct in_pktinfo info = { .ipi_spec_dst = c->sources[at].address };
	struct iovec iov = { packet, sizeof(packet) };
	struct msghdr m = { .msg_name = &to,
			    .msg_namelen = sizeof(to),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&m);

	memcpy(packet + sizeof(struct icmphdr), &stamp, sizeof(stamp));
	echo_finish(packet, sizeof(packet), c->run, c->sent / c->n);
	cmsg->cmsg_level = IPPROTO_IP;
	cmsg->cmsg_type = IP_PKTINFO;
	cmsg->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
	c->sent++;
	c->sources[at].sent++;
	(void)!sendmsg(c->fd, &m, 0);
}

static void take_reply(struct crowd *c, const uint8_t *packet, size_t len, ns_t now)
{
	struct iphdr ip;
	struct icmphdr h;
	struct stamp stamp;
	struct source *s;
	size_t at;

	if (len < sizeof(ip))
		return;
	memcpy(&ip, packet, sizeof(ip));
	at = (size_t)ip.ihl * 4;
	if (len < at + sizeof(h) + sizeof(stamp))
		return;
	memcpy(&h, packet + at, sizeof(h));
	memcpy(&stamp, packet + at + sizeof(h), sizeof(stamp));
	if (h.type != ICMP_ECHOREPLY || stamp.run != c->run || stamp.source >= c->n)
		return;
	if (c->nanswers == c->room) {
		c->room = c->room ? 2 * c->room : 65536;
		c->answers = must_realloc(c->answers, c->room * sizeof(*c->answers));
	}
	c->answers[c->nanswers++] = (struct answer){ stamp.source, stamp.sent, now };
	s = &c->sources[stamp.source];
	s->received++;
	if (stamp.sent > s->answered)
		s->answered = stamp.sent;
	gaps_arrival(&s->gaps, now);
}

static void receive_all(struct crowd *c)
{
	static uint8_t packet[65536];
	ssize_t len;

	while ((len = recv(c->fd, packet, sizeof(packet), 0)) > 0)
		take_reply(c, packet, (size_t)len, now_ns());
}

/* Whoever reads it sees the old one or the new one. */
static void tell(const struct crowd *c)
{
	struct events events;
	const struct event *last = NULL;
	uint32_t answered = 0;
	char name[4096];
	FILE *to;

	if (c->status == NULL)
		return;
	events_read(&events, c->events, now_ns());
	if (events.n > 0)
		last = &events.at[events.n - 1];
	for (uint32_t i = 0; i < c->n; i++)
		if (c->sources[i].answered > (last ? last->from : 0))
			answered++;
	snprintf(name, sizeof(name), "%s.new", c->status);
	to = fopen(name, "w");
	if (to == NULL)
		err(EXIT_TROUBLE, "%s", name);
	fprintf(to, "%" PRIu32 " %" PRIu32 " %s\n", answered, c->n,
		last ? last->name : "-");
	if (fclose(to) != 0 || rename(name, c->status) < 0)
		err(EXIT_TROUBLE, "%s", c->status);
	events_free(&events);
}

static void run(struct crowd *c)
{
	ns_t step = c->interval / c->n, due = c->start, second = c->start;

	while (!stopped) {
		ns_t now = now_ns();

		if (now - due > BEHIND_MAX)
			due = now;
		for (; due <= now; due += step)
			send_request(c);
		if (now >= second) {
			tell(c);
			second = now + NS_PER_S / 5;
		}
		if (wait_fd(c->fd, POLLIN, due))
			receive_all(c);
	}
	stopped = 0;
	for (ns_t until = now_ns() + PATIENCE; !stopped && now_ns() < until;)
		if (wait_fd(c->fd, POLLIN, until))
			receive_all(c);
}

static void find_resumed(struct crowd *c, const struct event *e)
{
	for (uint32_t i = 0; i < c->n; i++)
		c->sources[i].resumed = 0;
	for (size_t i = 0; i < c->nanswers; i++) {
		const struct answer *a = &c->answers[i];
		struct source *s = &c->sources[a->source];

		if (a->sent >= e->from && a->sent < e->to && !s->resumed)
			s->resumed = a->received;
	}
}

static json_t *report_event(struct crowd *c, const struct event *e)
{
	json_t *sources = json_object();

	find_resumed(c, e);
	for (uint32_t i = 0; i < c->n; i++) {
		struct source *s = &c->sources[i];
		char text[INET_ADDRSTRLEN];

		inet_ntop(AF_INET, &s->address, text, sizeof(text));
		json_object_set_new(
		    sources, text,
		    json_pack("{s:f, s:o}", "pause_ms",
			      to_ms(gaps_longest(&s->gaps, e->from, e->to)), "resumed_ms",
			      s->resumed ? json_real(to_ms(s->resumed - e->from))
					 : json_null()));
	}
	return json_pack("{s:s, s:I, s:o}", "name", e->name, "at_ns", (json_int_t)e->from,
			 "sources", sources);
}

static void report(struct crowd *c)
{
	struct events events;
	json_t *list = json_array();
	uint32_t silent = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		struct source *s = &c->sources[i];

		silent += s->received == 0;
		if (s->gaps.last < c->end)
			gaps_arrival(&s->gaps, c->end);
	}
	events_read(&events, c->events, c->end);
	for (size_t i = 0; i < events.n; i++)
		json_array_append_new(list, report_event(c, &events.at[i]));
	events_free(&events);
	printf("%" PRIu32 " addresses, %" PRIu32 " without any answer; sent %zu, "
	       "received %zu\n",
	       c->n, silent, c->sent, c->nanswers);
	write_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "kind", "crowd", "sources",
			     (json_int_t)c->n, "silent", (json_int_t)silent, "sent",
			     (json_int_t)c->sent, "received", (json_int_t)c->nanswers,
			     "events", list),
		   c->out);
}

int crowd_ping(int argc, char **argv)
{
	struct crowd c = { .interval = NS_PER_S };

	read_options(&c, argc, argv);
	read_sources(&c);
	open_socket(&c);
	catch_signals();
	c.start = now_ns();
	for (uint32_t i = 0; i < c.n; i++)
		gaps_init(&c.sources[i].gaps, c.start, 0);
	run(&c);
	c.end = now_ns() - PATIENCE;
	report(&c);
	for (uint32_t i = 0; i < c.n; i++)
		gaps_free(&c.sources[i].gaps);
	free(c.sources);
	free(c.answers);
	close(c.fd);
	return 0;
}
