/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes from a client of the control socket, in pieces, at most PIECES, of which the
 * first byte says how long they are; a member alone answers. Each line gets one answer,
 * which is a JSON object in one line; who sends too much is dropped.
 */
#include "src/control.c"

#include "src/status.h"
#include "tests/quiet.h"

#define PIECES 64

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static struct mono now = { 1000 * MONO_SEC };

static void must(bool condition)
{
	if (!condition)
		abort();
}

static struct cluster *make_cluster(void)
{
	static const struct cluster_config config = {
		.self = 1,
		.detection = 200 * MONO_MS,
		.capacity = 100,
		.npeers = 2,
		.peers = { { 1, "m1" }, { 2, "m2" } },
	};
	struct cluster *c = cluster_new(&config, &quiet_io, now);

	must(c != NULL);
	return c;
}

static json_t *on_command(void *ctx, const char *command, const json_t *arguments)
{
	static struct conf conf = { .node = "m1",
				    .nmembers = 2,
				    .members = { { .name = "m1", .id = 1 },
						 { .name = "m2", .id = 2 } } };
	static struct status_source source = { .conf = &conf, .self = 1 };

	if (!source.cluster)
		source.cluster = make_cluster();
	return status_reply(&source, command, arguments, now);
}

static size_t count_lines(const uint8_t *bytes, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += bytes[i] == '\n';
	return n;
}

/* Takes what was answered: JSON, a line each. */
static size_t take_answers(struct bufferevent *stream)
{
	struct evbuffer *in = bufferevent_get_input(stream);
	size_t n = 0, len;
	char *line;

	while ((line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF))) {
		json_t *reply = json_loadb(line, len, 0, NULL);

		must(json_is_object(reply));
		json_decref(reply);
		free(line);
		n++;
	}
	must(evbuffer_get_length(in) == 0);
	return n;
}

/* As client_accept() makes it, but without a socket. */
static struct bufferevent *connect_client(struct control *control)
{
	struct client *c = calloc(1, sizeof(*c));
	struct bufferevent *ends[2];

	must(c && !bufferevent_pair_new(control->base, 0, ends));
	c->control = control;
	LIST_INSERT_HEAD(&control->clients, c, entry);
	control->nclients++;
	c->deadline = evtimer_new(control->base, client_late, c);
	c->stream = ends[1];
	bufferevent_setcb(c->stream, client_read, client_written, client_event, c);
	bufferevent_setwatermark(c->stream, EV_READ, 0, CONTROL_REQUEST_MAX + 2);
	must(c->deadline && begin_turn(c) == 0);
	bufferevent_enable(ends[0], EV_READ | EV_WRITE);
	return ends[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static struct event_base *base;
	struct control control = { .handler = on_command };
	struct bufferevent *client;
	size_t piece, answers = 0;

	if (len < 1)
		return 0;
	if (!base)
		base = event_base_new();
	control.base = base;
	LIST_INIT(&control.clients);
	client = connect_client(&control);
	piece = 1 + input[0] + len / PIECES;
	for (size_t at = 1; at < len && control.nclients; at += piece) {
		bufferevent_write(client, input + at,
				  len - at < piece ? len - at : piece);
		event_base_loop(base, EVLOOP_NONBLOCK);
		answers += take_answers(client);
	}
	for (unsigned i = 0; i < len && control.nclients; i++) {
		size_t before = answers;

		event_base_loop(base, EVLOOP_NONBLOCK);
		answers += take_answers(client);
		if (answers == before)
			break;
	}
	must(answers == control.counters.requests);
	must(answers == count_lines(input + 1, len - 1) || !control.nclients);
	while (control.nclients)
		client_free(LIST_FIRST(&control.clients));
	bufferevent_free(client);
	return 0;
}
