/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of charon's control protocol (vici) that has many connections initiated, and
 * measures how long each takes. A vici connection does one request at a time, so there are
 * as many of them as logins may be under way. Whatever charon does, it looks through all
 * connections that are loaded, so each is loaded for its login only.
 *
 * A packet is its length (32 bits), a type, for requests the command's name, and a message.
 * All numbers are big-endian.
 */
#include "tests/net/tools/crowd.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/net/tools/common.h"

#define PARALLEL_MAX 1024
#define PACKET_MAX 4096
#define COUNT_MAX 1000000
#define TEMPLATE_MAX 4096

enum { VICI_REQUEST = 0, VICI_RESPONSE = 1 };
enum {
	VICI_SECTION = 1,
	VICI_SECTION_END = 2,
	VICI_PAIR = 3,
	VICI_LIST = 4,
	VICI_ITEM = 5,
	VICI_LIST_END = 6
};

enum step { IDLE, LOADING, INITIATING, UNLOADING };

/* A message under construction; a full one makes the program end. */
struct message {
	size_t len;
	uint8_t bytes[PACKET_MAX];
};

struct line {
	int fd;
	enum step step;
	unsigned number; /* of the client */
	ns_t begun;
	size_t len;
	uint8_t in[PACKET_MAX];
};

struct connect {
	const char *socket, *prefix, *child, *out;
	struct in_addr address; /* of client number 0 */
	char *template;
	unsigned first, count, parallel;
	double patience;

	struct line *lines;
	unsigned next, done, failed, unloaded;
	ns_t *took; /* of those that succeeded */
	ns_t start, end;
};

static char *read_text(const char *file)
{
	FILE *from = fopen(file, "r");
	char *text = must_realloc(NULL, TEMPLATE_MAX);
	size_t len;

	if (from == NULL)
		err(EXIT_TROUBLE, "%s", file);
	len = fread(text, 1, TEMPLATE_MAX - 1, from);
	text[len] = '\0';
	fclose(from);
	return text;
}

static void read_options(struct connect *c, int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "c:f:p:w:o:")) != -1) {
		switch (opt) {
		case 'c':
			c->child = optarg;
			break;
		case 'f':
			c->first = (unsigned)must_number(optarg, 1, COUNT_MAX);
			break;
		case 'p':
			c->parallel = (unsigned)must_number(optarg, 1, PARALLEL_MAX);
			break;
		case 'w':
			c->patience = must_number(optarg, 1, 1e4);
			break;
		case 'o':
			c->out = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 5)
		usage();
	c->socket = argv[optind];
	c->template = read_text(argv[optind + 1]);
	c->prefix = argv[optind + 2];
	must_address(argv[optind + 3], &c->address);
	c->count = (unsigned)must_number(argv[optind + 4], 1, COUNT_MAX);
	if (strlen(c->prefix) > 64 || strlen(c->child) > 64)
		errx(EXIT_TROUBLE, "such long names are not supported");
}

static int open_line(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(to.sun_path))
		errx(EXIT_TROUBLE, "%s: the path is too long", path);
	memcpy(to.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(EXIT_TROUBLE, "%s", path);
	return fd;
}

static void put(struct message *m, const void *bytes, size_t len)
{
	if (len > sizeof(m->bytes) - m->len)
		errx(EXIT_TROUBLE, "the connection's description is too long");
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

/* An element's type, and its name if it has one. */
static void put_element(struct message *m, uint8_t type, const char *name)
{
	size_t len = name ? strlen(name) : 0;
	uint8_t head[2] = { type, (uint8_t)len };

	if (len > UINT8_MAX)
		errx(EXIT_TROUBLE, "%s: the name is too long", name);
	put(m, head, name ? 2 : 1);
	put(m, name, len);
}

static void put_value(struct message *m, const char *value)
{
	uint16_t len = htons((uint16_t)strlen(value));

	put(m, &len, sizeof(len));
	put(m, value, strlen(value));
}

static void put_pair(struct message *m, const char *key, const char *value)
{
	put_element(m, VICI_PAIR, key);
	put_value(m, value);
}

/* Replaces %n by the client's number and %a by its address. */
static void expand(const struct connect *c, unsigned number, char *out, size_t size)
{
	struct in_addr a = { htonl(ntohl(c->address.s_addr) + number) };
	size_t len = 0;

	for (const char *at = c->template; *at != '\0' && len < size - 1; at++) {
		char text[INET_ADDRSTRLEN] = { *at };

		if (at[0] == '%' && at[1] == 'n')
			snprintf(text, sizeof(text), "%u", number);
		else if (at[0] == '%' && at[1] == 'a')
			inet_ntop(AF_INET, &a, text, sizeof(text));
		at += at[0] == '%' && (at[1] == 'n' || at[1] == 'a');
		len += (size_t)snprintf(out + len, size - len, "%s", text);
	}
}

/* A line is "NAME {", "}", "KEY = VALUE" or "KEY [ VALUE ... ]", blanks around each word. */
static void put_line(struct message *m, char *line)
{
	char *save, *name = strtok_r(line, " \t", &save), *sign, *word;

	if (name == NULL)
		return;
	if (strcmp(name, "}") == 0) {
		put_element(m, VICI_SECTION_END, NULL);
		return;
	}
	sign = strtok_r(NULL, " \t", &save);
	if (sign != NULL && strcmp(sign, "{") == 0)
		put_element(m, VICI_SECTION, name);
	else if (sign != NULL && strcmp(sign, "=") == 0 &&
		 (word = strtok_r(NULL, " \t", &save)) != NULL)
		put_pair(m, name, word);
	else if (sign != NULL && strcmp(sign, "[") == 0) {
		put_element(m, VICI_LIST, name);
		while ((word = strtok_r(NULL, " \t", &save)) && strcmp(word, "]") != 0) {
			put_element(m, VICI_ITEM, NULL);
			put_value(m, word);
		}
		put_element(m, VICI_LIST_END, NULL);
	} else
		errx(EXIT_TROUBLE, "%s: no such line is known", name);
}

static void begin(struct message *m, const char *command)
{
	uint8_t type = VICI_REQUEST;

	m->len = sizeof(uint32_t);
	put_element(m, type, command);
}

static void ask(struct line *l, struct message *m, enum step step)
{
	uint32_t body = htonl((uint32_t)(m->len - sizeof(body)));

	memcpy(m->bytes, &body, sizeof(body));
	l->step = step;
	l->len = 0;
	if (send(l->fd, m->bytes, m->len, MSG_NOSIGNAL) != (ssize_t)m->len)
		err(EXIT_TROUBLE, "charon does not listen");
}

static void load(struct connect *c, struct line *l)
{
	struct message m;
	char text[2 * TEMPLATE_MAX], name[96], *save;

	l->number = c->first + c->next++;
	snprintf(name, sizeof(name), "%s%u", c->prefix, l->number);
	begin(&m, "load-conn");
	put_element(&m, VICI_SECTION, name);
	expand(c, l->number, text, sizeof(text));
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		put_line(&m, line);
	put_element(&m, VICI_SECTION_END, NULL);
	ask(l, &m, LOADING);
}

static void initiate(const struct connect *c, struct line *l)
{
	struct message m;
	char name[96], timeout[32];

	snprintf(name, sizeof(name), "%s%u", c->prefix, l->number);
	snprintf(timeout, sizeof(timeout), "%.0f", c->patience * 1000);
	begin(&m, "initiate");
	put_pair(&m, "ike", name);
	put_pair(&m, "child", c->child);
	put_pair(&m, "timeout", timeout);
	put_pair(&m, "loglevel", "-1");
	l->begun = now_ns();
	ask(l, &m, INITIATING);
}

static void unload(const struct connect *c, struct line *l)
{
	struct message m;
	char name[96];

	snprintf(name, sizeof(name), "%s%u", c->prefix, l->number);
	begin(&m, "unload-conn");
	put_pair(&m, "name", name);
	ask(l, &m, UNLOADING);
}

static bool says(const uint8_t *at, size_t len, const char *key, const char *value)
{
	struct message m = { 0 };

	put_pair(&m, key, value);
	return memmem(at, len, m.bytes, m.len) != NULL;
}

/* A whole answer is there. */
static void proceed(struct connect *c, struct line *l, size_t len)
{
	const uint8_t *at = l->in + sizeof(uint32_t);
	bool good = len > 0 && at[0] == VICI_RESPONSE && says(at, len, "success", "yes");

	switch (l->step) {
	case LOADING:
		if (!good)
			errx(EXIT_TROUBLE, "charon does not take the connection");
		initiate(c, l);
		break;
	case INITIATING:
		if (good)
			c->took[c->done - c->failed] = now_ns() - l->begun;
		else
			c->failed++;
		c->done++;
		c->end = now_ns();
		unload(c, l);
		break;
	case UNLOADING:
	case IDLE:
		l->step = IDLE;
		c->unloaded++;
		break;
	}
}

static void hear(struct connect *c, struct line *l)
{
	ssize_t n = recv(l->fd, l->in + l->len, sizeof(l->in) - l->len, 0);
	uint32_t body;

	if (n <= 0)
		errx(EXIT_TROUBLE, "charon has hung up");
	l->len += (size_t)n;
	if (l->len < sizeof(body))
		return;
	memcpy(&body, l->in, sizeof(body));
	body = ntohl(body);
	if (body > sizeof(l->in) - sizeof(body))
		errx(EXIT_TROUBLE, "charon's answer is too long");
	if (l->len >= sizeof(body) + body)
		proceed(c, l, body);
}

static void run(struct connect *c)
{
	struct pollfd *fds = must_realloc(NULL, c->parallel * sizeof(*fds));
	unsigned told = 0;

	while (c->unloaded < c->count) {
		for (unsigned i = 0; i < c->parallel; i++) {
			if (c->lines[i].step == IDLE && c->next < c->count)
				load(c, &c->lines[i]);
			fds[i] = (struct pollfd){ c->lines[i].fd, POLLIN, 0 };
		}
		if (poll(fds, c->parallel, -1) < 0 && errno != EINTR)
			err(EXIT_TROUBLE, "poll");
		for (unsigned i = 0; i < c->parallel; i++)
			if (fds[i].revents)
				hear(c, &c->lines[i]);
		if (c->done / 500 != told) {
			told = c->done / 500;
			fprintf(stderr, "%u connected\n", c->done - c->failed);
		}
	}
	free(fds);
}

static int by_value(const void *a, const void *b)
{
	ns_t x = *(const ns_t *)a, y = *(const ns_t *)b;

	return (x > y) - (x < y);
}

static void report(struct connect *c)
{
	unsigned n = c->done - c->failed;
	double seconds = (double)(c->end - c->start) / 1e9;

	qsort(c->took, n, sizeof(*c->took), by_value);
	printf("%u connected in %.2f s, %u failed\n", n, seconds, c->failed);
	write_json(json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "kind",
			     "connect", "connected", (json_int_t)n, "failed",
			     (json_int_t)c->failed, "seconds", seconds, "rate",
			     n / seconds, "median_ms", n ? to_ms(c->took[n / 2]) : 0.0,
			     "p99_ms", n ? to_ms(c->took[n - 1 - n / 100]) : 0.0,
			     "max_ms", n ? to_ms(c->took[n - 1]) : 0.0),
		   c->out);
}

int crowd_connect(int argc, char **argv)
{
	struct connect c = { .child = "net", .first = 1, .parallel = 16, .patience = 60 };

	read_options(&c, argc, argv);
	c.lines = must_realloc(NULL, c.parallel * sizeof(*c.lines));
	memset(c.lines, 0, c.parallel * sizeof(*c.lines));
	c.took = must_realloc(NULL, c.count * sizeof(*c.took));
	for (unsigned i = 0; i < c.parallel; i++)
		c.lines[i].fd = open_line(c.socket);
	c.start = now_ns();
	run(&c);
	report(&c);
	for (unsigned i = 0; i < c.parallel; i++)
		close(c.lines[i].fd);
	free(c.took);
	free(c.lines);
	free(c.template);
	return c.failed ? EXIT_BAD : 0;
}
