/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands from the lab to its virtual machine.
 *
 *	guest serve PORT                  there: runs what it is told to
 *	guest run ADDRESS PORT COMMAND... here: as if the command ran here
 *
 * `run` shows what the command writes, ends as it ends, and passes SIGTERM, SIGINT and
 * SIGHUP on. When `run` dies, its command does. The command's standard input is empty.
 *
 * Messages: a letter, the length of what follows (32 bits, big-endian), and that. To the
 * machine: c (words of the command, each ended by a zero byte), s (a signal's number). From
 * it: o and e (output and error output), x (the exit status).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_MAX (256u << 10)
#define WORDS_MAX 4096
#define HEADER 5
#define TROUBLE 125

static char message[MESSAGE_MAX + 1];

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
	exit(TROUBLE);
}

static bool write_all(int fd, const void *from, size_t len)
{
	const char *at = from;

	while (len) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_all(int fd, void *to, size_t len)
{
	char *at = to;

	while (len) {
		ssize_t n = read(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool tell(int fd, char kind, const void *what, uint32_t len)
{
	char header[HEADER] = { kind };
	uint32_t wire = htonl(len);

	memcpy(header + 1, &wire, sizeof(wire));
	return write_all(fd, header, sizeof(header)) && write_all(fd, what, len);
}

/* The next message, in `message`; 0 at the end. */
static char hear(int fd, uint32_t *len)
{
	char header[HEADER];
	uint32_t wire;

	if (!read_all(fd, header, sizeof(header)))
		return 0;
	memcpy(&wire, header + 1, sizeof(wire));
	*len = ntohl(wire);
	if (*len > MESSAGE_MAX || !read_all(fd, message, *len))
		return 0;
	message[*len] = 0;
	return header[0];
}

/* ---- in the machine */

struct command {
	pid_t pid;
	int pidfd, out, err;
};

static _Noreturn void command_become(uint32_t len, int out, int err)
{
	char *words[WORDS_MAX + 1];
	unsigned n = 0;

	for (char *at = message; at < message + len && n < WORDS_MAX;
	     at += strlen(at) + 1)
		words[n++] = at;
	words[n] = NULL;
	setsid();
	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(out, 1);
	dup2(err, 2);
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	if (n)
		execvp(words[0], words);
	fprintf(stderr, "guest: %s: %s\n", n ? words[0] : "", strerror(errno));
	_exit(127);
}

static bool command_begin(struct command *c, uint32_t len)
{
	int out[2], err[2];

	if (pipe(out) || pipe(err))
		return false;
	c->pid = fork();
	if (c->pid < 0)
		return false;
	if (!c->pid)
		command_become(len, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	c->out = out[0];
	c->err = err[0];
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return c->pidfd >= 0;
}

/* Passes one portion on. False: there is none. */
static bool pass(int from, int to, char kind)
{
	char portion[16384];
	ssize_t n = read(from, portion, sizeof(portion));

	return n > 0 && tell(to, kind, portion, (uint32_t)n);
}

/* What its own background processes still hold open is not waited for. */
static void drain(int from, int to, char kind)
{
	fcntl(from, F_SETFL, O_NONBLOCK);
	while (pass(from, to, kind))
		;
}

static void command_follow(struct command *c, int peer)
{
	struct pollfd fds[] = { { peer, POLLIN, 0 },
				{ c->out, POLLIN, 0 },
				{ c->err, POLLIN, 0 },
				{ c->pidfd, POLLIN, 0 } };
	uint32_t len;

	while (poll(fds, 4, -1) >= 0 || errno == EINTR) {
		if (fds[0].revents) {
			if (hear(peer, &len) != 's')
				break;
			kill(-c->pid, atoi(message));
		}
		if (fds[1].revents && !pass(c->out, peer, 'o'))
			fds[1].fd = -1;
		if (fds[2].revents && !pass(c->err, peer, 'e'))
			fds[2].fd = -1;
		if (fds[3].revents) {
			char text[16];
			int status = 0;

			waitpid(c->pid, &status, 0);
			drain(c->out, peer, 'o');
			drain(c->err, peer, 'e');
			snprintf(text, sizeof(text), "%d",
				 WIFEXITED(status) ? WEXITSTATUS(status)
						   : 128 + WTERMSIG(status));
			tell(peer, 'x', text, (uint32_t)strlen(text));
			return;
		}
	}
	kill(-c->pid, SIGKILL);
}

static _Noreturn void serve_one(int peer)
{
	struct command c;
	uint32_t len;

	signal(SIGCHLD, SIG_DFL);
	if (hear(peer, &len) == 'c' && command_begin(&c, len))
		command_follow(&c, peer);
	exit(0);
}

static _Noreturn void serve(uint16_t port)
{
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) ||
	    listen(fd, 64))
		fail("listen");
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer >= 0 && !fork()) {
			close(fd);
			serve_one(peer);
		}
		close(peer);
	}
}

/* ---- in the lab */

static volatile sig_atomic_t peer_fd = -1;

static void on_signal(int number)
{
	char text[8] = { 's', 0, 0, 0, 2 };

	text[5] = (char)('0' + number / 10);
	text[6] = (char)('0' + number % 10);
	if (write(peer_fd, text, 7) < 0)
		_exit(TROUBLE);
}

static void send_command(int fd, char **words)
{
	size_t len = 0;

	for (; *words; words++) {
		size_t n = strlen(*words) + 1;

		if (len + n > MESSAGE_MAX) {
			errno = E2BIG;
			fail("command");
		}
		memcpy(message + len, *words, n);
		len += n;
	}
	if (!tell(fd, 'c', message, (uint32_t)len))
		fail("send");
}

static int run(const char *address, uint16_t port, char **words)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	uint32_t len;
	char kind;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || fd < 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)))
		fail(address);
	send_command(fd, words);
	peer_fd = fd;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	while ((kind = hear(fd, &len))) {
		if (kind == 'x')
			return atoi(message);
		write_all(kind == 'o' ? 1 : 2, message, len);
	}
	fail("the machine has gone");
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve((uint16_t)atoi(argv[2]));
	if (argc > 4 && !strcmp(argv[1], "run"))
		return run(argv[2], (uint16_t)atoi(argv[3]), argv + 4);
	fprintf(stderr, "usage: guest serve PORT | guest run ADDRESS PORT COMMAND...\n");
	return TROUBLE;
}
