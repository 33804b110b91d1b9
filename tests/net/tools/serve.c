/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server of transfers: a process for each connection, which ends with the server. */
#include "tests/net/tools/traffic.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/net/tools/stream.h"

#define MAX_CONNECTIONS 256
#define BACKLOG 128
#define REQUEST_TIME (30 * NS_PER_S)
#define IDLE_TIME (120 * NS_PER_S)

static void serve_get(struct stream *s)
{
	stream_send(s);
	if (s->error == NULL)
		shutdown(s->fd, SHUT_WR);
	if (s->error != NULL && strcmp(s->error, strerror(ECONNRESET)) != 0 &&
	    strcmp(s->error, strerror(EPIPE)) != 0)
		warnx("get: %s after %" PRIu64 " bytes", s->error, s->done);
}

static void serve_put(struct stream *s)
{
	char answer[64];

	stream_receive(s);
	if (s->error != NULL) {
		warnx("put: %s after %" PRIu64 " bytes", s->error, s->done);
		return;
	}
	snprintf(answer, sizeof(answer), "%s %" PRIu64 "\n", s->wrong ? "WRONG" : "OK",
		 s->done);
	stream_say(s->fd, answer, now_ns() + REQUEST_TIME);
}

static int serve_one(int fd)
{
	struct stream s = { .fd = fd, .end = INT64_MAX, .idle = IDLE_TIME };
	char line[128], verb[8];
	int one = 1, n;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!stream_read_line(fd, line, sizeof(line), now_ns() + REQUEST_TIME))
		return EXIT_BAD;
	n = sscanf(line, "%7s %" SCNu64 " %" SCNu64 " %" SCNu64, verb, &s.bytes, &s.seed,
		   &s.rate);
	if (n >= 3 && strcmp(verb, "GET") == 0)
		serve_get(&s);
	else if (n >= 3 && strcmp(verb, "PUT") == 0)
		serve_put(&s);
	else
		stream_say(fd, "WRONG request\n", now_ns() + REQUEST_TIME);
	close(fd);
	return 0;
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0)
		err(EXIT_TROUBLE, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0)
		err(EXIT_TROUBLE, "port %u", port);
	return fd;
}

static void begin(int listener, int fd, pid_t server)
{
	pid_t child = fork();

	if (child < 0)
		warn("fork");
	if (child != 0) {
		close(fd);
		return;
	}
	close(listener);
	release_signals();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* The server may have ended before the line above. */
	_exit(getppid() == server ? serve_one(fd) : EXIT_TROUBLE);
}

int traffic_serve(int argc, char **argv)
{
	pid_t server = getpid();
	int listener, children = 0;

	if (argc != 2)
		usage();
	listener = listen_on((uint16_t)must_number(argv[1], 1, 65535));
	catch_signals();
	printf("serving on port %s\n", argv[1]);
	fflush(stdout);
	while (!stopped) {
		int fd = -1;

		while (children > 0 && waitpid(-1, NULL, WNOHANG) > 0)
			children--;
		if (wait_fd(listener, POLLIN, now_ns() + NS_PER_S))
			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		if (children == MAX_CONNECTIONS) {
			close(fd);
			continue;
		}
		begin(listener, fd, server);
		children++;
	}
	close(listener);
	return 0;
}
