/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client of transfers. A download progresses with each read; an upload with each
 * acknowledgement of the peer's TCP, since a write only fills a buffer.
 */
#include "tests/net/tools/traffic.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/net/tools/stream.h"

/* Shorter pauses are not worth remembering. */
#define LEAST_STALL (NS_PER_MS)
#define CONNECT_TIME (30 * NS_PER_S)
#define ANSWER_TIME (30 * NS_PER_S)
#define DEFAULT_IDLE (60 * NS_PER_S)

struct transfer {
	bool upload;
	const char *host, *out, *events;
	struct in_addr dst, src;
	uint16_t port;
	ns_t duration;
	bool verbose;

	struct stream s;
	ns_t start, end, second;
	uint64_t head; /* bytes of the request line, which the socket counts too */
	uint64_t acknowledged, told;
	uint16_t local_port;
	struct gaps gaps;
};

static const struct option options[] = {
	{ "rate", required_argument, NULL, 'r' },
	{ "seed", required_argument, NULL, 'x' },
	{ "idle", required_argument, NULL, 'l' },
	{ "events", required_argument, NULL, 'e' },
	{ 0 },
};

static void read_option(struct transfer *t, int opt)
{
	switch (opt) {
	case 't':
		t->duration = (ns_t)(must_number(optarg, 0.001, 1e6) * NS_PER_S);
		break;
	case 'r':
		t->s.rate = (uint64_t)must_number(optarg, 1, 1e12);
		break;
	case 'x':
		t->s.seed = (uint64_t)must_number(optarg, 0, 1e15);
		break;
	case 'l':
		t->s.idle = (ns_t)(must_number(optarg, 0.001, 1e6) * NS_PER_S);
		break;
	case 'S':
		must_address(optarg, &t->src);
		break;
	case 'o':
		t->out = optarg;
		break;
	case 'e':
		t->events = optarg;
		break;
	case 'v':
		t->verbose = true;
		break;
	default:
		usage();
	}
}

static void read_options(struct transfer *t, int argc, char **argv)
{
	int opt;

	if (getrandom(&t->s.seed, sizeof(t->s.seed), 0) != sizeof(t->s.seed))
		err(EXIT_TROUBLE, "random number");
	t->s.seed >>= 16;
	while ((opt = getopt_long(argc, argv, "t:S:o:v", options, NULL)) != -1)
		read_option(t, opt);
	if (optind + (t->duration ? 2 : 3) != argc)
		usage();
	t->host = argv[optind];
	must_address(t->host, &t->dst);
	t->port = (uint16_t)must_number(argv[optind + 1], 1, 65535);
	t->s.bytes = STREAM_ENDLESS;
	if (!t->duration)
		t->s.bytes = (uint64_t)must_number(argv[optind + 2], 1, 1e15);
}

static void open_connection(struct transfer *t)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(t->port) };
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = t->src };
	socklen_t len = sizeof(from);
	int one = 1, failure = 0, fd;

	to.sin_addr = t->dst;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		err(EXIT_TROUBLE, "socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		socklen_t size = sizeof(failure);

		if (errno != EINPROGRESS)
			err(EXIT_TROUBLE, "%s port %u", t->host, t->port);
		if (!wait_fd(fd, POLLOUT, now_ns() + CONNECT_TIME))
			errx(EXIT_TROUBLE, "%s port %u: no connection", t->host, t->port);
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
		if (failure != 0)
			errx(EXIT_TROUBLE, "%s port %u: %s", t->host, t->port,
			     strerror(failure));
	}
	getsockname(fd, (struct sockaddr *)&from, &len);
	t->local_port = ntohs(from.sin_port);
	t->s.fd = fd;
}

static void tell(struct transfer *t, ns_t now)
{
	if (!t->verbose || now < t->second)
		return;
	printf("%7.1f s: %.1f kB, longest stall so far %.1f ms\n",
	       (double)(now - t->start) / 1e9, (double)(t->s.done - t->told) / 1e3,
	       to_ms(gaps_longest(&t->gaps, t->start, now)));
	fflush(stdout);
	t->told = t->s.done;
	while (t->second <= now)
		t->second += NS_PER_S;
}

static bool on_read(struct stream *s, ns_t now)
{
	struct transfer *t = s->owner;

	gaps_arrival(&t->gaps, now);
	tell(t, now);
	return true;
}

/* With nothing outstanding there is no silence to measure. */
static bool on_write(struct stream *s, ns_t now)
{
	struct transfer *t = s->owner;
	int queued = 0;
	uint64_t acknowledged;

	if (ioctl(s->fd, SIOCOUTQ, &queued) < 0)
		err(EXIT_TROUBLE, "SIOCOUTQ");
	acknowledged = t->head + s->done - (uint64_t)queued;
	if (acknowledged != t->acknowledged)
		gaps_arrival(&t->gaps, now);
	else if (queued == 0)
		t->gaps.last = now;
	t->acknowledged = acknowledged;
	tell(t, now);
	return true;
}

static void download(struct transfer *t)
{
	t->s.progress = on_read;
	stream_receive(&t->s);
	if (t->s.closed && t->s.done < t->s.bytes)
		t->s.error = "closed by the server";
}

/* What the server found, which alone counts. */
static void hear_verdict(struct transfer *t)
{
	char line[64] = "", verdict[8] = "";
	uint64_t received = 0;

	shutdown(t->s.fd, SHUT_WR);
	stopped = 0;
	if (!stream_read_line(t->s.fd, line, sizeof(line), now_ns() + ANSWER_TIME) ||
	    sscanf(line, "%7s %" SCNu64, verdict, &received) != 2)
		t->s.error = "no answer from the server";
	else if (strcmp(verdict, "OK") != 0)
		t->s.wrong = true;
	else if (received != t->s.done)
		t->s.error = "the server received less than was sent";
	if (t->s.wrong)
		t->s.done = received;
}

static void upload(struct transfer *t)
{
	t->s.progress = on_write;
	stream_send(&t->s);
	/* The rest is still in the buffer, and its pauses count. */
	for (ns_t now = now_ns(), since = now; t->s.error == NULL; now = now_ns()) {
		uint64_t before = t->acknowledged;

		on_write(&t->s, now);
		if (t->acknowledged == t->head + t->s.done)
			break;
		if (t->acknowledged != before)
			since = now;
		if (now - since > t->s.idle)
			t->s.error = "no progress";
		wait_fd(-1, 0, now + 2 * NS_PER_MS);
	}
	if (t->s.error == NULL)
		hear_verdict(t);
}

static void request(struct transfer *t)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %" PRIu64 " %" PRIu64,
			 t->upload ? "PUT" : "GET", t->s.bytes, t->s.seed);

	if (!t->upload && t->s.rate)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %" PRIu64, t->s.rate);
	snprintf(line + n, sizeof(line) - (size_t)n, "\n");
	t->head = strlen(line);
	if (!stream_say(t->s.fd, line, now_ns() + CONNECT_TIME))
		err(EXIT_TROUBLE, "request");
}

static json_t *report_events(const struct transfer *t)
{
	json_t *list = json_array();
	struct events events;

	events_read(&events, t->events, t->end);
	for (size_t i = 0; i < events.n; i++) {
		const struct event *e = &events.at[i];
		double stall = to_ms(gaps_longest(&t->gaps, e->from, e->to));

		printf("  %s: longest stall %.1f ms\n", e->name, stall);
		json_array_append_new(list, json_pack("{s:s, s:I, s:f}", "name", e->name,
						      "at_ns", (json_int_t)e->from,
						      "longest_stall_ms", stall));
	}
	events_free(&events);
	return list;
}

static void report(const struct transfer *t, bool complete)
{
	const struct stream *s = &t->s;
	double stall = to_ms(gaps_longest(&t->gaps, t->start, t->end));
	double seconds = (double)(t->end - t->start) / 1e9;
	const char *verb = t->upload ? "put" : "get";

	printf("%s %s:%u: %" PRIu64 " bytes in %.2f s, ", verb, t->host, t->port, s->done,
	       seconds);
	if (s->wrong)
		printf("WRONG at offset %" PRIu64, s->done);
	else
		printf("content right");
	printf("%s%s%s, longest stall %.1f ms\n", complete ? "" : ", incomplete",
	       s->error ? ": " : "", s->error ? s->error : "", stall);
	write_json(
	    json_pack(
		"{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:b, s:o?, s:b, s:s?, s:f, s:f, "
		"s:f, s:o}",
		"kind", verb, "target", t->host, "port", (int)t->port, "local_port",
		(int)t->local_port, "start_ns", (json_int_t)t->start, "end_ns",
		(json_int_t)t->end, "bytes", (json_int_t)s->done, "correct",
		(int)!s->wrong, "first_wrong",
		s->wrong ? json_integer((json_int_t)s->done) : NULL, "complete",
		(int)complete, "error", s->error, "seconds", seconds, "bytes_per_s",
		(double)s->done / seconds, "longest_stall_ms", stall, "events",
		report_events(t)),
	    t->out);
}

static int transfer(bool up, int argc, char **argv)
{
	struct transfer t = { .upload = up,
			      .s = { .end = INT64_MAX, .idle = DEFAULT_IDLE } };
	bool complete;

	read_options(&t, argc, argv);
	catch_signals();
	open_connection(&t);
	t.s.owner = &t;
	t.start = now_ns();
	t.second = t.start + NS_PER_S;
	if (t.duration)
		t.s.end = t.start + t.duration;
	gaps_init(&t.gaps, t.start, LEAST_STALL);
	request(&t);
	if (up)
		upload(&t);
	else
		download(&t);
	t.end = now_ns();
	complete = t.s.done == t.s.bytes || t.duration;
	/* A silence that lasts to the end counts too. */
	if (!up && t.s.done < t.s.bytes)
		gaps_arrival(&t.gaps, t.end);
	report(&t, complete && t.s.error == NULL);
	gaps_free(&t.gaps);
	close(t.s.fd);
	return t.s.wrong || t.s.error != NULL ? EXIT_BAD : 0;
}

int traffic_get(int argc, char **argv)
{
	return transfer(false, argc, argv);
}

int traffic_put(int argc, char **argv)
{
	return transfer(true, argc, argv);
}
