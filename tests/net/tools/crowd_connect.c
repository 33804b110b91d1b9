/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of charon's control protocol (vici) that has many connections initiated, and
 * measures how long each takes. It spares charon what would cost more than the logins:
 * charon looks through all connections that are loaded, so each is loaded for its login
 * only; and it logs everything for whoever waits for an initiation, so the end of each is
 * learned from the events of CHILD SAs instead, on a second vici connection.
 */
#include "tests/net/tools/crowd.h"

#include <arpa/inet.h>
#include <err.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/net/tools/common.h"
#include "tests/net/tools/crowd_vici.h"

#define PARALLEL_MAX 1024
#define COUNT_MAX 1000000
#define TEMPLATE_MAX 4096

#define EVENT "child-updown"

struct client {
	ns_t begun; /* 0: it is not under way */
};

struct connect {
	const char *socket, *prefix, *child, *out;
	struct in_addr address; /* of client number 0 */
	char *template;
	unsigned first, count, parallel;
	double patience;

	struct vici_line commands, events;
	struct client *clients;
	unsigned next, under_way, done, failed;
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
static void put_line(struct vici_message *m, char *line)
{
	char *save, *name = strtok_r(line, " \t", &save), *sign, *word;

	if (name == NULL)
		return;
	if (strcmp(name, "}") == 0) {
		vici_put_element(m, VICI_SECTION_END, NULL);
		return;
	}
	sign = strtok_r(NULL, " \t", &save);
	if (sign != NULL && strcmp(sign, "{") == 0)
		vici_put_element(m, VICI_SECTION, name);
	else if (sign != NULL && strcmp(sign, "=") == 0 &&
		 (word = strtok_r(NULL, " \t", &save)) != NULL)
		vici_put_pair(m, name, word);
	else if (sign != NULL && strcmp(sign, "[") == 0) {
		vici_put_element(m, VICI_LIST, name);
		while ((word = strtok_r(NULL, " \t", &save)) && strcmp(word, "]") != 0) {
			vici_put_element(m, VICI_ITEM, NULL);
			vici_put_value(m, word);
		}
		vici_put_element(m, VICI_LIST_END, NULL);
	} else
		errx(EXIT_TROUBLE, "%s: no such line is known", name);
}

static void order(struct connect *c, struct vici_message *m)
{
	size_t len;

	vici_ask(&c->commands, m, "success", &len);
}

static void listen_to_events(struct connect *c)
{
	struct vici_message m;
	size_t len;

	vici_begin(&m, VICI_REGISTER, EVENT);
	vici_say(&c->events, &m);
	if (vici_hear(&c->events, &len)[0] != VICI_CONFIRM)
		errx(EXIT_TROUBLE, "charon has no events " EVENT);
}

static void start(struct connect *c)
{
	unsigned number = c->first + c->next;
	char text[2 * TEMPLATE_MAX], name[96], *save;
	struct vici_message m;

	snprintf(name, sizeof(name), "%s%u", c->prefix, number);
	vici_begin(&m, VICI_REQUEST, "load-conn");
	vici_put_element(&m, VICI_SECTION, name);
	expand(c, number, text, sizeof(text));
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		put_line(&m, line);
	vici_put_element(&m, VICI_SECTION_END, NULL);
	order(c, &m);

	vici_begin(&m, VICI_REQUEST, "initiate");
	vici_put_pair(&m, "ike", name);
	vici_put_pair(&m, "child", c->child);
	vici_put_pair(&m, "timeout", "-1");
	c->clients[c->next++].begun = now_ns();
	c->under_way++;
	order(c, &m);
}

static void end(struct connect *c, unsigned at, bool good)
{
	char name[96];
	struct vici_message m;

	if (good)
		c->took[c->done - c->failed] = now_ns() - c->clients[at].begun;
	else
		c->failed++;
	c->done++;
	c->under_way--;
	c->clients[at].begun = 0;
	if ((c->done - c->failed) % 500 == 0)
		fprintf(stderr, "%u connected\n", c->done - c->failed);
	snprintf(name, sizeof(name), "%s%u", c->prefix, c->first + at);
	vici_begin(&m, VICI_REQUEST, "unload-conn");
	vici_put_pair(&m, "name", name);
	order(c, &m);
}

/* The client that an event tells of: "up = yes", then a section with its name. */
static bool who(const struct connect *c, const uint8_t *packet, size_t len, unsigned *out)
{
	struct vici_message m;
	size_t prefix = strlen(c->prefix), n;
	char digits[16] = "";

	vici_begin(&m, VICI_EVENT, EVENT);
	vici_put_pair(&m, "up", "yes");
	m.bytes[m.len] = VICI_SECTION;
	n = m.len + 1 - sizeof(uint32_t);
	if (len <= n || memcmp(packet, m.bytes + sizeof(uint32_t), n) != 0 ||
	    len < n + 1 + packet[n] || packet[n] <= prefix ||
	    packet[n] - prefix >= sizeof(digits) ||
	    memcmp(packet + n + 1, c->prefix, prefix) != 0)
		return false;
	memcpy(digits, packet + n + 1 + prefix, packet[n] - prefix);
	*out = (unsigned)strtoul(digits, NULL, 10) - c->first;
	return *out < c->next && c->clients[*out].begun;
}

static void heed(struct connect *c)
{
	const uint8_t *packet;
	unsigned at;
	size_t len;

	packet = vici_hear(&c->events, &len);
	if (who(c, packet, len, &at))
		end(c, at, true);
}

/* Those that take too long have failed. */
static void give_up(struct connect *c)
{
	ns_t now = now_ns();

	for (unsigned i = 0; i < c->next; i++)
		if (c->clients[i].begun &&
		    now - c->clients[i].begun > (ns_t)(c->patience * 1e9))
			end(c, i, false);
}

static void run(struct connect *c)
{
	while (c->done < c->count) {
		if (c->under_way < c->parallel && c->next < c->count)
			start(c);
		else if (!wait_fd(c->events.fd, POLLIN, now_ns() + NS_PER_S))
			give_up(c);
		while (wait_fd(c->events.fd, POLLIN, 0))
			heed(c);
	}
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
	c.clients = must_realloc(NULL, c.count * sizeof(*c.clients));
	memset(c.clients, 0, c.count * sizeof(*c.clients));
	c.took = must_realloc(NULL, c.count * sizeof(*c.took));
	vici_open(&c.commands, c.socket);
	vici_open(&c.events, c.socket);
	listen_to_events(&c);
	c.start = now_ns();
	run(&c);
	c.end = now_ns();
	report(&c);
	close(c.commands.fd);
	close(c.events.fd);
	free(c.took);
	free(c.clients);
	free(c.template);
	return c.failed ? EXIT_BAD : 0;
}

/* The number that the answer has for the key; 0: none. */
static unsigned long number_of(const uint8_t *at, size_t len, const char *key)
{
	struct vici_message m = { 0 };
	char digits[24] = "";
	const uint8_t *found;
	size_t n, left;

	vici_put_element(&m, VICI_PAIR, key);
	found = memmem(at, len, m.bytes, m.len);
	if (found == NULL)
		return 0;
	found += m.len;
	left = (size_t)(at + len - found);
	n = left > 2 ? (size_t)found[0] << 8 | found[1] : 0;
	if (n == 0 || n >= sizeof(digits) || n > left - 2)
		return 0;
	memcpy(digits, found + 2, n);
	return strtoul(digits, NULL, 10);
}

int crowd_answers(int argc, char **argv)
{
	struct vici_line line;
	unsigned count;

	if (argc != 4)
		usage();
	count = (unsigned)must_number(argv[3], 1, COUNT_MAX);
	vici_open(&line, argv[1]);
	for (unsigned i = 1; i <= count; i++) {
		const uint8_t *answer;
		struct vici_message m;
		char name[96];
		size_t len;

		snprintf(name, sizeof(name), "%.64s%u", argv[2], i);
		vici_begin(&m, VICI_REQUEST, "get-counters");
		vici_put_pair(&m, "name", name);
		answer = vici_ask(&line, &m, NULL, &len);
		printf("%s %lu\n", name, number_of(answer, len, "info-in-resp"));
	}
	close(line.fd);
	return 0;
}
