/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/log.h"
#include "tunnels/ipsec/plugin.h"

#define QUEUE_MAX (64u << 20) /* bytes that may wait for a plugin that does not read */
#define READS_MAX 64	      /* messages a wake-up, so that packets get their turn */

struct queued {
	STAILQ_ENTRY(queued) next;
	size_t len;
	uint8_t bytes[];
};

struct plugin {
	struct event_base *base;
	struct plugin_handler handler;
	int listener, fd;
	struct event *accept, *readable, *writable;
	STAILQ_HEAD(, queued) queue;
	size_t queued;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uint8_t buffer[LOCAL_MESSAGE_MAX];
};

static void drop_queue(struct plugin *p)
{
	struct queued *q;

	while ((q = STAILQ_FIRST(&p->queue))) {
		STAILQ_REMOVE_HEAD(&p->queue, next);
		OPENSSL_cleanse(q->bytes, q->len);
		free(q);
	}
	p->queued = 0;
}

static void free_event(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}

void plugin_disconnect(struct plugin *p)
{
	free_event(&p->readable);
	free_event(&p->writable);
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	drop_queue(p);
}

static void lost(struct plugin *p)
{
	plugin_disconnect(p);
	p->handler.gone(p->handler.ctx);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct plugin *p = arg;

	for (unsigned i = 0; i < READS_MAX && p->fd == fd; i++) {
		struct local_message m;
		ssize_t n = recv(fd, p->buffer, sizeof(p->buffer), MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			lost(p);
			return;
		}
		if ((size_t)n > sizeof(p->buffer) ||
		    local_decode(p->buffer, (size_t)n, &m)) {
			log_warnx(
			    "ipsec: charon's plugin sent an unreadable message of %zd "
			    "bytes, type %u; disconnecting it",
			    n, p->buffer[0]);
			OPENSSL_cleanse(p->buffer, sizeof(p->buffer));
			lost(p);
			return;
		}
		p->handler.message(p->handler.ctx, &m);
		OPENSSL_cleanse(p->buffer, (size_t)n);
	}
}

/* 1: written, 0: the socket is full, -errno. */
static int write_one(struct plugin *p, const uint8_t *bytes, size_t len)
{
	if (send(p->fd, bytes, len, MSG_NOSIGNAL) >= 0)
		return 1;
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct plugin *p = arg;
	struct queued *q;

	while ((q = STAILQ_FIRST(&p->queue))) {
		int n = write_one(p, q->bytes, q->len);

		if (n < 0) {
			lost(p);
			return;
		}
		if (n == 0) {
			event_add(p->writable, NULL);
			return;
		}
		STAILQ_REMOVE_HEAD(&p->queue, next);
		p->queued -= q->len;
		OPENSSL_cleanse(q->bytes, q->len);
		free(q);
	}
}

static int enqueue(struct plugin *p, const uint8_t *bytes, size_t len)
{
	struct queued *q;

	if (p->queued + len > QUEUE_MAX)
		return -ENOBUFS;
	q = malloc(sizeof(*q) + len);
	if (!q)
		return -ENOMEM;
	q->len = len;
	memcpy(q->bytes, bytes, len);
	STAILQ_INSERT_TAIL(&p->queue, q, next);
	p->queued += len;
	event_add(p->writable, NULL);
	return 0;
}

int plugin_send(struct plugin *p, const struct local_message *m)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	size_t len;
	int n = 0;

	if (p->fd < 0)
		return -ENOTCONN;
	len = local_encode(m, buf, sizeof(buf));
	if (!len)
		return -EMSGSIZE;
	if (STAILQ_EMPTY(&p->queue))
		n = write_one(p, buf, len);
	if (n == 0)
		n = enqueue(p, buf, len);
	OPENSSL_cleanse(buf, len);
	if (n < 0) {
		/* The reader sees the end of the connection and reports it. */
		shutdown(p->fd, SHUT_RDWR);
		return n;
	}
	return 0;
}

static bool is_root(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) && cred.uid == 0;
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct plugin *p = arg;
	int size = 4 << 20;
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (conn < 0)
		return;
	if (!is_root(conn)) {
		log_warnx("ipsec: refused a connection to %s that is not root's",
			  p->path);
		close(conn);
		return;
	}
	if (p->fd >= 0)
		lost(p);
	setsockopt(conn, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	p->fd = conn;
	p->readable = event_new(p->base, conn, EV_READ | EV_PERSIST, on_readable, p);
	p->writable = event_new(p->base, conn, EV_WRITE, on_writable, p);
	if (!p->readable || !p->writable || event_add(p->readable, NULL))
		plugin_disconnect(p);
}

static int listen_at(const char *path, char err[PLUGIN_ERROR_SIZE])
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		snprintf(err, PLUGIN_ERROR_SIZE, "%s: path of a socket is too long",
			 path);
		return -ENAMETOOLONG;
	}
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		goto failed;
	/* The daemon's lock lets only one run, so whoever was here is gone. */
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) || chmod(path, 0600) ||
	    listen(fd, 4))
		goto failed;
	return fd;
failed:
	snprintf(err, PLUGIN_ERROR_SIZE, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

struct plugin *plugin_listen(struct event_base *base, const char *path,
			     const struct plugin_handler *handler,
			     char err[PLUGIN_ERROR_SIZE])
{
	struct plugin *p = calloc(1, sizeof(*p));

	if (!p) {
		snprintf(err, PLUGIN_ERROR_SIZE, "out of memory");
		return NULL;
	}
	p->base = base;
	p->handler = *handler;
	p->fd = -1;
	STAILQ_INIT(&p->queue);
	p->listener = listen_at(path, err);
	if (p->listener < 0) {
		free(p);
		return NULL;
	}
	strcpy(p->path, path);
	p->accept = event_new(base, p->listener, EV_READ | EV_PERSIST, on_connection, p);
	if (!p->accept || event_add(p->accept, NULL)) {
		snprintf(err, PLUGIN_ERROR_SIZE, "%s: no event for it", path);
		plugin_close(p);
		return NULL;
	}
	return p;
}

void plugin_close(struct plugin *p)
{
	if (!p)
		return;
	plugin_disconnect(p);
	free_event(&p->accept);
	close(p->listener);
	unlink(p->path);
	free(p);
}

size_t plugin_backlog(const struct plugin *p)
{
	return p->queued;
}

bool plugin_connected(const struct plugin *p)
{
	return p->fd >= 0;
}
