/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server.
 *
 * A client is served one line at a time: while a reply is under way nothing more is read
 * from it, so it can fill no memory. One deadline covers a whole turn, from the wait for
 * a line to the last byte of the reply.
 */
#include "src/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

struct client {
	LIST_ENTRY(client) entry;
	struct control *control;
	struct bufferevent *stream;
	struct event *deadline;
	bool answering;
	bool ended; /* the client sends nothing more */
};

struct control {
	struct event_base *base;
	struct evconnlistener *listener;
	struct sockaddr_un address;
	control_handler *handler;
	void *ctx;
	LIST_HEAD(, client) clients;
	unsigned nclients;
	struct control_counters counters;
};

static void client_free(struct client *c)
{
	LIST_REMOVE(c, entry);
	c->control->nclients--;
	if (c->stream)
		bufferevent_free(c->stream);
	if (c->deadline)
		event_free(c->deadline);
	free(c);
}

static void client_drop(struct client *c)
{
	c->control->counters.dropped++;
	client_free(c);
}

static int begin_turn(struct client *c)
{
	static const struct timeval timeout = { CONTROL_TIMEOUT, 0 };

	c->answering = false;
	if (!c->ended && bufferevent_enable(c->stream, EV_READ) < 0)
		return -ENOMEM;
	return event_add(c->deadline, &timeout) < 0 ? -ENOMEM : 0;
}

static json_t *answer(struct control *control, const char *line, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	const char *command = json_string_value(json_object_get(request, "command"));
	json_t *arguments = json_incref(json_object_get(request, "arguments"));
	json_t *reply;

	if (!request)
		reply = control_error("the request is not JSON: %s", error.text);
	else if (!command)
		reply = control_error("the request has no \"command\"");
	else if (arguments && !json_is_object(arguments))
		reply = control_error("the request's \"arguments\" are not an object");
	else {
		if (!arguments)
			arguments = json_object();
		reply = control->handler(control->ctx, command, arguments);
		if (!reply)
			reply = control_error("unknown command '%.64s'", command);
	}
	json_decref(arguments);
	json_decref(request);
	return reply;
}

/* 0, or -errno if the client must be dropped. */
static int client_answer(struct client *c, const char *line, size_t len)
{
	json_t *reply = answer(c->control, line, len);
	char *text = json_dumps(reply, JSON_COMPACT);
	int ret = -ENOMEM;

	json_decref(reply);
	if (text && bufferevent_write(c->stream, text, strlen(text)) == 0 &&
	    bufferevent_write(c->stream, "\n", 1) == 0)
		ret = 0;
	free(text);
	c->answering = true;
	bufferevent_disable(c->stream, EV_READ);
	c->control->counters.requests++;
	return ret;
}

static void client_read(struct bufferevent *stream, void *arg)
{
	struct client *c = arg;
	struct evbuffer *in = bufferevent_get_input(stream);
	size_t len;
	char *line;
	int ret;

	if (c->answering)
		return;
	line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
	if (!line) {
		if (evbuffer_get_length(in) > CONTROL_REQUEST_MAX)
			client_drop(c);
		else if (c->ended)
			client_free(c);
		return;
	}
	ret = len > CONTROL_REQUEST_MAX ? -EMSGSIZE : client_answer(c, line, len);
	free(line);
	if (ret < 0)
		client_drop(c);
}

/* The reply is out. */
static void client_written(struct bufferevent *stream, void *arg)
{
	struct client *c = arg;

	if (!c->answering)
		return;
	if (begin_turn(c) < 0)
		client_drop(c);
	else
		client_read(stream, c);
}

static void client_event(struct bufferevent *stream, short what, void *arg)
{
	struct client *c = arg;

	if (what & BEV_EVENT_ERROR) {
		client_free(c);
		return;
	}
	c->ended = true;
	if (!c->answering)
		client_free(c);
}

static void client_late(evutil_socket_t fd, short what, void *arg)
{
	client_drop(arg);
}

static void client_accept(struct evconnlistener *listener, evutil_socket_t fd,
			  struct sockaddr *address, int len, void *arg)
{
	struct control *control = arg;
	struct client *c;

	if (control->nclients == CONTROL_CLIENTS_MAX || !(c = calloc(1, sizeof(*c)))) {
		control->counters.refused++;
		evutil_closesocket(fd);
		return;
	}
	c->control = control;
	LIST_INSERT_HEAD(&control->clients, c, entry);
	control->nclients++;
	c->deadline = evtimer_new(control->base, client_late, c);
	c->stream = bufferevent_socket_new(control->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!c->stream)
		evutil_closesocket(fd);
	if (!c->deadline || !c->stream) {
		client_drop(c);
		return;
	}
	bufferevent_setcb(c->stream, client_read, client_written, client_event, c);
	bufferevent_setwatermark(c->stream, EV_READ, 0, CONTROL_REQUEST_MAX + 2);
	if (begin_turn(c) < 0)
		client_drop(c);
}

/* Whether somebody listens on it. A socket file of a dead daemon refuses. */
static bool in_use(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool used = false;

	if (fd >= 0) {
		used = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ==
			   0 ||
		       errno == EAGAIN;
		close(fd);
	}
	return used;
}

/* Returns a listening socket or -errno. */
static int listen_on(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int ret;

	if (fd < 0)
		return -errno;
	/* The umask, so that nobody can open it between bind and chmod. */
	mask = umask(0177);
	ret = bind(fd, (const struct sockaddr *)address, sizeof(*address));
	if (ret < 0)
		ret = -errno;
	umask(mask);
	if (ret == 0 && listen(fd, BACKLOG) < 0) {
		ret = -errno;
		unlink(address->sun_path);
	}
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

static int make_listener(struct control *c, const char *path, char err[CONTROL_ERR])
{
	struct stat st;
	int fd;

	if (strlen(path) >= sizeof(c->address.sun_path)) {
		snprintf(err, CONTROL_ERR, "the control socket's name is too long: %s",
			 path);
		return -ENAMETOOLONG;
	}
	c->address.sun_family = AF_UNIX;
	strcpy(c->address.sun_path, path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		if (in_use(&c->address)) {
			snprintf(err, CONTROL_ERR, "another phalanxd answers on %s",
				 path);
			return -EADDRINUSE;
		}
		unlink(path);
	}
	fd = listen_on(&c->address);
	if (fd < 0) {
		snprintf(err, CONTROL_ERR, "cannot make the control socket %s: %s", path,
			 strerror(-fd));
		return fd;
	}
	c->listener =
	    evconnlistener_new(c->base, client_accept, c,
			       LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!c->listener) {
		close(fd);
		unlink(path);
		snprintf(err, CONTROL_ERR, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	return 0;
}

int control_open(struct event_base *base, const char *path, control_handler *handler,
		 void *ctx, struct control **out, char err[CONTROL_ERR])
{
	struct control *c = calloc(1, sizeof(*c));
	int ret;

	if (!c) {
		snprintf(err, CONTROL_ERR, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	/* A client that goes away in the middle of a reply must not end the daemon. */
	signal(SIGPIPE, SIG_IGN);
	c->base = base;
	c->handler = handler;
	c->ctx = ctx;
	LIST_INIT(&c->clients);
	ret = make_listener(c, path, err);
	if (ret < 0) {
		free(c);
		return ret;
	}
	*out = c;
	return 0;
}

void control_close(struct control *c)
{
	struct client *client;

	if (!c)
		return;
	while ((client = LIST_FIRST(&c->clients)))
		client_free(client);
	evconnlistener_free(c->listener);
	unlink(c->address.sun_path);
	free(c);
}

json_t *control_error(const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	/* A part of a request may be in it, cut in the middle of a character. */
	for (char *p = text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return json_pack("{s:s}", "error", text);
}

const struct control_counters *control_counters(const struct control *c)
{
	return &c->counters;
}
