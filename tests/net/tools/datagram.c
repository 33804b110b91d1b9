/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Datagrams of UDP between one port at both ends, as L2TP's are, and their answers. */
#include "tests/net/tools/traffic.h"

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/net/tools/common.h"

#define DATAGRAMS_MAX 1000

static int open_at(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
		err(EXIT_TROUBLE, "port %u", ntohs(at->sin_port));
	return fd;
}

static struct sockaddr_in read_place(char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };

	must_address(argv[1], &at.sin_addr);
	at.sin_port = htons((uint16_t)must_number(argv[2], 1, 65535));
	return at;
}

int traffic_answer(int argc, char **argv)
{
	struct sockaddr_in at;
	int fd;

	if (argc != 3)
		usage();
	at = read_place(argv);
	fd = open_at(&at);
	catch_signals();
	while (!stopped) {
		char bytes[2048];
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		ssize_t n;

		if (!wait_fd(fd, POLLIN, now_ns() + NS_PER_S))
			continue;
		n = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len);
		if (n > 0 &&
		    sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, len) != n)
			warn("answer");
	}
	close(fd);
	return 0;
}

/* Whether this very datagram has come back within a second. */
static bool is_answered(int fd, const char *said, size_t len)
{
	ns_t until = now_ns() + NS_PER_S;
	char bytes[64];

	while (wait_fd(fd, POLLIN, until)) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n == (ssize_t)len && memcmp(bytes, said, len) == 0)
			return true;
	}
	return false;
}

int traffic_ask(int argc, char **argv)
{
	struct sockaddr_in to, from = { .sin_family = AF_INET };
	int fd, n, answers = 0;

	if (argc != 4)
		usage();
	to = read_place(argv);
	n = (int)must_number(argv[3], 1, DATAGRAMS_MAX);
	from.sin_port = to.sin_port;
	fd = open_at(&from);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(EXIT_TROUBLE, "%s", argv[1]);
	for (int i = 0; i < n; i++) {
		char said[64];
		int len = snprintf(said, sizeof(said), "%d of %d by %d", i, n, getpid());

		if (send(fd, said, (size_t)len, 0) == len)
			answers += is_answered(fd, said, (size_t)len);
	}
	close(fd);
	printf("%d of %d answered\n", answers, n);
	return answers == n ? 0 : EXIT_BAD;
}
