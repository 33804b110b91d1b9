/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ICMP echo on an absolute schedule: a reply that is late delays no request. The index of a
 * request and a number of this run travel in the payload, so that a long run outlives the 16
 * bits of ICMP's sequence number and several runs on one host don't mix.
 */
#include "tests/net/tools/traffic.h"

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

#define MAX_COUNT 10000000
#define MAX_SIZE 65000
#define RECEIVE_BUFFER (8 << 20)
/* Requests that a flood may have on the way; more would only test the queues. */
#define FLOOD_AHEAD 64
#define FLOOD_PATIENCE (10 * NS_PER_MS)
/* Fills the payload: where it is found in a capture, a ping went by in clear. */
#define MARK "phalanx's ping in clear "

/* The beginning of the payload. */
struct stamp {
	uint64_t run;
	uint32_t index;
};

struct request {
	ns_t sent, received; /* received is 0 without a reply */
};

struct ping {
	const char *target, *out, *events;
	struct in_addr dst, src;
	ns_t interval, duration, patience;
	size_t count; /* 0: until the time or a signal */
	size_t size;
	bool flood, verbose;

	int fd;
	uint64_t run;
	ns_t start, end;
	struct request *requests;
	size_t sent, room, received, duplicates, errors;
	struct gaps gaps;
};

static const struct option options[] = {
	{ "events", required_argument, NULL, 'e' },
	{ 0 },
};

static void read_options(struct ping *p, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "i:c:t:f:s:S:w:o:v", options, NULL)) !=
	       -1) {
		switch (opt) {
		case 'i':
			p->interval = (ns_t)(must_number(optarg, 0.01, 1e6) * NS_PER_MS);
			break;
		case 'f':
			p->flood = true;
			p->count = (size_t)must_number(optarg, 1, MAX_COUNT);
			break;
		case 'c':
			p->count = (size_t)must_number(optarg, 1, MAX_COUNT);
			break;
		case 't':
			p->duration = (ns_t)(must_number(optarg, 0.001, 1e6) * NS_PER_S);
			break;
		case 's':
			p->size =
			    (size_t)must_number(optarg, sizeof(struct stamp), MAX_SIZE);
			break;
		case 'S':
			must_address(optarg, &p->src);
			break;
		case 'w':
			p->patience = (ns_t)(must_number(optarg, 0, 1e4) * NS_PER_S);
			break;
		case 'o':
			p->out = optarg;
			break;
		case 'e':
			p->events = optarg;
			break;
		case 'v':
			p->verbose = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1)
		usage();
	p->target = argv[optind];
	must_address(p->target, &p->dst);
}

static void open_socket(struct ping *p)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = p->dst };
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = p->src };

	p->fd = echo_open(RECEIVE_BUFFER, &p->run);
	if (p->src.s_addr != 0 && bind(p->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		err(EXIT_TROUBLE, "bind");
	/* Also keeps other hosts' replies away. */
	if (connect(p->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(EXIT_TROUBLE, "%s", p->target);
}

static void fill(uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)MARK[i % (sizeof(MARK) - 1)];
}

/* False if the socket's queue is full. Any other failure is a lost request, as in a cut. */
static bool send_request(struct ping *p)
{
	static uint8_t packet[sizeof(struct icmphdr) + MAX_SIZE];
	struct stamp stamp = { p->run, (uint32_t)p->sent };
	uint8_t *payload = packet + sizeof(struct icmphdr);
	size_t len = sizeof(struct icmphdr) + p->size;

	memcpy(payload, &stamp, sizeof(stamp));
	fill(payload + sizeof(stamp), p->size - sizeof(stamp));
	echo_finish(packet, len, p->run, p->sent);
	if (p->sent == p->room) {
		p->room = p->room ? 2 * p->room : 4096;
		p->requests = must_realloc(p->requests, p->room * sizeof(p->requests[0]));
	}
	p->requests[p->sent] = (struct request){ .sent = now_ns() };
	if (send(p->fd, packet, len, 0) < 0) {
		if (p->flood && (errno == EAGAIN || errno == ENOBUFS))
			return false;
		p->errors++;
	}
	p->sent++;
	return true;
}

static void take_reply(struct ping *p, const uint8_t *packet, size_t len, ns_t now)
{
	struct iphdr ip;
	struct icmphdr h;
	struct stamp stamp;
	size_t at;

	if (len < sizeof(ip))
		return;
	memcpy(&ip, packet, sizeof(ip));
	at = (size_t)ip.ihl * 4;
	if (len < at + sizeof(h) + sizeof(stamp))
		return;
	memcpy(&h, packet + at, sizeof(h));
	memcpy(&stamp, packet + at + sizeof(h), sizeof(stamp));
	if (h.type != ICMP_ECHOREPLY || stamp.run != p->run || stamp.index >= p->sent)
		return;
	if (p->requests[stamp.index].received != 0) {
		p->duplicates++;
		return;
	}
	p->requests[stamp.index].received = now;
	p->received++;
	gaps_arrival(&p->gaps, now);
}

static void receive_all(struct ping *p)
{
	static uint8_t packet[65536];
	ssize_t len;

	for (;;) {
		len = recv(p->fd, packet, sizeof(packet), 0);
		if (len > 0)
			take_reply(p, packet, (size_t)len, now_ns());
		/* A failure that is reported here (host unreachable) concerns a request. */
		else if (len == 0 || errno == EAGAIN || errno == EBADF)
			return;
	}
}

static void tell(struct ping *p, ns_t *next)
{
	static size_t sent, received;
	ns_t now = now_ns();

	if (!p->verbose || now < *next)
		return;
	printf("%7.1f s: sent %zu, received %zu, longest gap so far %.1f ms\n",
	       (double)(now - p->start) / 1e9, p->sent - sent, p->received - received,
	       to_ms(gaps_longest(&p->gaps, p->start, now)));
	fflush(stdout);
	sent = p->sent;
	received = p->received;
	*next += NS_PER_S;
}

static void send_on_schedule(struct ping *p)
{
	ns_t due = p->start, second = p->start + NS_PER_S;

	while (!stopped && (p->count == 0 || p->sent < p->count)) {
		if (p->sent == MAX_COUNT ||
		    (p->duration && due >= p->start + p->duration))
			break;
		if (now_ns() >= due) {
			send_request(p);
			due += p->interval;
		}
		if (wait_fd(p->fd, POLLIN, due))
			receive_all(p);
		tell(p, &second);
	}
}

static void send_flood(struct ping *p)
{
	size_t written_off = 0;
	ns_t second = p->start + NS_PER_S;

	while (!stopped && p->sent < p->count) {
		bool full = p->sent - p->received - written_off >= FLOOD_AHEAD;
		ns_t until = now_ns();

		if (!full)
			full = !send_request(p);
		if (full)
			until += FLOOD_PATIENCE;
		if (wait_fd(p->fd, POLLIN, until))
			receive_all(p);
		else if (full)
			written_off = p->sent - p->received;
		/* Replies that came after they had been written off. */
		if (written_off > p->sent - p->received)
			written_off = p->sent - p->received;
		tell(p, &second);
	}
}

static void wait_for_rest(struct ping *p)
{
	ns_t until = now_ns() + p->patience;

	stopped = 0;
	while (!stopped && p->received < p->sent && now_ns() < until)
		if (wait_fd(p->fd, POLLIN, until))
			receive_all(p);
}

static size_t lost_between(const struct ping *p, ns_t from, ns_t to, size_t *sent)
{
	size_t lost = 0;

	*sent = 0;
	for (size_t i = 0; i < p->sent; i++) {
		if (p->requests[i].sent < from || p->requests[i].sent >= to)
			continue;
		(*sent)++;
		lost += p->requests[i].received == 0;
	}
	return lost;
}

static int by_value(const void *a, const void *b)
{
	ns_t x = *(const ns_t *)a, y = *(const ns_t *)b;

	return (x > y) - (x < y);
}

static json_t *round_trips(const struct ping *p)
{
	ns_t *all = must_realloc(NULL, (p->received + 1) * sizeof(*all));
	json_t *json = json_null();
	size_t n = 0;

	for (size_t i = 0; i < p->sent; i++)
		if (p->requests[i].received != 0)
			all[n++] = p->requests[i].received - p->requests[i].sent;
	if (n > 0) {
		qsort(all, n, sizeof(*all), by_value);
		json = json_pack("{s:f, s:f, s:f}", "min", to_ms(all[0]), "median",
				 to_ms(all[n / 2]), "max", to_ms(all[n - 1]));
	}
	free(all);
	return json;
}

static json_t *report_events(const struct ping *p, const struct events *events)
{
	json_t *list = json_array();

	for (size_t i = 0; i < events->n; i++) {
		const struct event *e = &events->at[i];
		size_t sent, lost = lost_between(p, e->from, e->to, &sent);
		double gap = to_ms(gaps_longest(&p->gaps, e->from, e->to));

		printf("  %s: longest gap %.1f ms, lost %zu of %zu\n", e->name, gap, lost,
		       sent);
		json_array_append_new(
		    list, json_pack("{s:s, s:I, s:f, s:I, s:I}", "name", e->name, "at_ns",
				    (json_int_t)e->from, "longest_gap_ms", gap, "sent",
				    (json_int_t)sent, "lost", (json_int_t)lost));
	}
	return list;
}

static void report(struct ping *p)
{
	double longest = to_ms(gaps_longest(&p->gaps, p->start, p->end));
	size_t lost = p->sent - p->received;
	struct events events;

	printf("ping %s: sent %zu, received %zu, lost %zu, duplicates %zu, longest gap "
	       "%.1f ms\n",
	       p->target, p->sent, p->received, lost, p->duplicates, longest);
	events_read(&events, p->events, p->end);
	write_json(
	    json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:o}",
		      "kind", "ping", "target", p->target, "start_ns",
		      (json_int_t)p->start, "end_ns", (json_int_t)p->end, "sent",
		      (json_int_t)p->sent, "received", (json_int_t)p->received, "lost",
		      (json_int_t)lost, "duplicates", (json_int_t)p->duplicates,
		      "send_errors", (json_int_t)p->errors, "longest_gap_ms", longest,
		      "rtt_ms", round_trips(p), "events", report_events(p, &events)),
	    p->out);
	events_free(&events);
}

int traffic_ping(int argc, char **argv)
{
	struct ping p = { .interval = 1000 * NS_PER_MS,
			  .patience = NS_PER_S,
			  .size = 56 };

	read_options(&p, argc, argv);
	open_socket(&p);
	catch_signals();
	p.start = now_ns();
	gaps_init(&p.gaps, p.start, 0);
	if (p.flood)
		send_flood(&p);
	else
		send_on_schedule(&p);
	wait_for_rest(&p);
	/* The silence after the last reply, if any request was still to be answered. */
	p.end = now_ns();
	if (p.sent > 0 && p.requests[p.sent - 1].received == 0 &&
	    p.requests[p.sent - 1].sent > p.gaps.last)
		gaps_arrival(&p.gaps, p.requests[p.sent - 1].sent);
	report(&p);
	gaps_free(&p.gaps);
	free(p.requests);
	close(p.fd);
	return p.received > 0 ? 0 : EXIT_BAD;
}
