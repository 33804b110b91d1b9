/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>

#include "cluster/pack.h"

#define HELLO_MAX 256
#define FRAME_HEADER 4
#define LINGERERS_MAX 64

static const struct timeval handshake_deadline = { .tv_sec = 5 };
static const struct timeval linger_deadline = { .tv_sec = 1 };

enum state {
	STATE_DIALLING,
	STATE_HANDSHAKE,
	STATE_HELLO,	/* we accepted the peer and wait for its verdict */
	STATE_REFUSING, /* our refusal is on its way */
	STATE_UP,
	STATE_OVER,
};

struct connection {
	struct connection_shared *shared;
	void *user;
	enum state state;
	unsigned path;
	bool dialled;
	struct bufferevent *bev; /* from the handshake on; owns the socket then */
	int fd;			 /* while dialling, else -1 */
	struct event *connected, *deadline, *over;
	struct tls_verdict verdict;
	enum connection_end end;
	char why[CONNECTION_WHY];
	char remote[NI_MAXHOST + 8];
	struct connection_counters counters;
};

/* A socket whose last words the peer may not have read. Closing it while the peer's own
 * bytes are unread would send a reset, which can overtake them. Their number is bounded,
 * and each goes when the peer closes or is silent for a second. */
struct connection_lingerer {
	TAILQ_ENTRY(connection_lingerer) entry;
	struct connection_shared *shared;
	struct event *readable;
	int fd;
};

static void lingerer_free(struct connection_lingerer *g)
{
	TAILQ_REMOVE(&g->shared->lingerers, g, entry);
	g->shared->lingering--;
	event_free(g->readable);
	close(g->fd);
	free(g);
}

static void lingerer_event(evutil_socket_t fd, short what, void *arg)
{
	uint8_t sink[4096];

	if (what & EV_TIMEOUT) {
		lingerer_free(arg);
		return;
	}
	ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		lingerer_free(arg);
}

static void linger(struct connection_shared *s, int fd)
{
	struct connection_lingerer *g = calloc(1, sizeof(*g));

	if (!g)
		return;
	g->shared = s;
	g->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	g->readable = g->fd < 0 ? NULL
				: event_new(s->base, g->fd, EV_READ | EV_PERSIST,
					    lingerer_event, g);
	if (!g->readable || event_add(g->readable, &linger_deadline) < 0) {
		if (g->readable)
			event_free(g->readable);
		if (g->fd >= 0)
			close(g->fd);
		free(g);
		return;
	}
	shutdown(g->fd, SHUT_WR);
	TAILQ_INSERT_TAIL(&s->lingerers, g, entry);
	if (++s->lingering > LINGERERS_MAX)
		lingerer_free(TAILQ_FIRST(&s->lingerers));
}

void connection_linger_stop(struct connection_shared *s)
{
	while (!TAILQ_EMPTY(&s->lingerers))
		lingerer_free(TAILQ_FIRST(&s->lingerers));
}

void connection_break(struct connection *c, enum connection_end end, const char *why)
{
	if (c->state == STATE_OVER)
		return;
	c->state = STATE_OVER;
	c->end = end;
	if (why != c->why)
		snprintf(c->why, sizeof(c->why), "%s", why);
	if (c->bev)
		bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	if (c->connected)
		event_del(c->connected);
	event_del(c->deadline);
	event_active(c->over, EV_TIMEOUT, 0);
}

static void over_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	c->shared->over(c->shared->ctx, c);
}

static void deadline_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	switch (c->state) {
	case STATE_DIALLING:
		connection_break(c, END_TIMEOUT, "no answer to the connection request");
		return;
	case STATE_REFUSING:
		connection_break(c, c->end, c->why);
		return;
	default:
		connection_break(c, END_TIMEOUT, "the handshake took too long");
	}
}

/* Why the certificate of the peer was refused, in our own words where we have them. */
static enum connection_end verdict_end(const struct tls_verdict *v)
{
	switch (v->error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return END_EXPIRED;
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
		return END_CERTIFICATE;
	default:
		return END_UNKNOWN_CA;
	}
}

static void break_by_tls(struct connection *c, unsigned long error)
{
	char why[CONNECTION_WHY];
	const char *alert = tls_alert_text(error);

	if (c->verdict.error != X509_V_OK) {
		snprintf(why, sizeof(why), "%s%s%s",
			 X509_verify_cert_error_string(c->verdict.error),
			 c->verdict.claimed[0] ? "; the certificate claims to be of "
					       : "",
			 c->verdict.claimed);
		connection_break(c, verdict_end(&c->verdict), why);
	} else if (alert) {
		snprintf(why, sizeof(why), "TLS alert: %s", alert);
		connection_break(c, c->state == STATE_UP ? END_CLOSED : END_REFUSED, why);
	} else if (ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
		connection_break(c, END_CERTIFICATE, "the peer shows no certificate");
	} else if (ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		connection_break(c, END_CLOSED, "closed by the peer");
	} else {
		const char *text = ERR_SYSTEM_ERROR(error)
				       ? strerror(ERR_GET_REASON(error))
				       : ERR_reason_error_string(error);
		connection_break(c, c->state == STATE_UP ? END_CLOSED : END_HANDSHAKE,
				 text ? text : "TLS failed");
	}
}

static void send_hello(struct connection *c, enum connection_end verdict,
		       const char *text)
{
	uint8_t frame[FRAME_HEADER + HELLO_MAX];
	struct pack p = pack_to(frame + FRAME_HEADER, HELLO_MAX);
	struct pack header = pack_to(frame, FRAME_HEADER);

	pack_u16(&p, CONNECTION_VERSION);
	pack_u8(&p, (uint8_t)verdict);
	pack_blob16(&p, text, strlen(text));
	pack_u32(&header, (uint32_t)(p.at - frame - FRAME_HEADER));
	bufferevent_write(c->bev, frame, (size_t)(p.at - frame));
}

/* TLS stands: both ends have proven what their certificates say. */
static void handshake_done(struct connection *c)
{
	char why[CONNECTION_WHY] = "";
	char name[CLUSTER_NAME_MAX];
	member_id id;
	enum connection_end end;
	X509 *cert = SSL_get1_peer_certificate(bufferevent_openssl_get_ssl(c->bev));

	if (!cert || cert_read_identity(cert, name, &id) < 0) {
		end = END_CERTIFICATE;
		snprintf(why, sizeof(why), "the certificate is not a member's");
	} else {
		end = c->shared->identify(c->shared->ctx, c, name, id, why);
	}
	X509_free(cert);
	send_hello(c, end, why);
	if (end == END_NONE) {
		c->state = STATE_HELLO;
		return;
	}
	c->state = STATE_REFUSING;
	c->end = end;
	snprintf(c->why, sizeof(c->why), "%s", why);
}

/* Text of a peer, for logs and JSON. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

static void hello_received(struct connection *c, const uint8_t *frame, size_t len)
{
	char why[CONNECTION_WHY];
	struct unpack u = unpack_from(frame, len);
	unsigned version = unpack_u16(&u);
	uint8_t verdict = unpack_u8(&u);
	size_t text_len;
	const uint8_t *text = unpack_blob16(&u, &text_len);

	if (u.bad) {
		connection_break(c, END_HANDSHAKE, "the hello is malformed");
	} else if (verdict != END_NONE) {
		snprintf(why, sizeof(why), "%.*s", (int)text_len, (const char *)text);
		make_printable(why);
		if (!*why)
			snprintf(why, sizeof(why), "without a reason");
		connection_break(c, END_REFUSED, why);
	} else if (version != CONNECTION_VERSION) {
		snprintf(why, sizeof(why), "the peer speaks version %u, this member %u",
			 version, CONNECTION_VERSION);
		connection_break(c, END_VERSION, why);
	} else {
		c->state = STATE_UP;
		event_del(c->deadline);
		c->shared->up(c->shared->ctx, c);
	}
}

static void frame_received(struct connection *c, const uint8_t *frame, size_t len)
{
	if (c->state == STATE_HELLO) {
		hello_received(c, frame, len);
		return;
	}
	c->counters.received++;
	c->counters.received_bytes += len;
	c->shared->message(c->shared->ctx, c, frame, len);
}

static void read_event(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	uint8_t header[FRAME_HEADER];

	while (c->state == STATE_HELLO || c->state == STATE_UP) {
		if (evbuffer_copyout(in, header, sizeof(header)) < FRAME_HEADER)
			return;
		struct unpack u = unpack_from(header, sizeof(header));
		size_t len = unpack_u32(&u);
		if (len > (c->state == STATE_UP ? CLUSTER_MESSAGE_MAX : HELLO_MAX)) {
			connection_break(c, END_OVERSIZED,
					 "a frame is longer than a message can be");
			return;
		}
		if (evbuffer_get_length(in) < FRAME_HEADER + len)
			return;
		uint8_t *frame = evbuffer_pullup(in, (ev_ssize_t)(FRAME_HEADER + len));
		if (!frame) {
			connection_break(c, END_CLOSED, "out of memory");
			return;
		}
		frame_received(c, frame + FRAME_HEADER, len);
		evbuffer_drain(in, FRAME_HEADER + len);
	}
	if (c->state != STATE_HANDSHAKE)
		evbuffer_drain(in, evbuffer_get_length(in));
}

/* All that was to be written is with the kernel. */
static void written_event(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;

	if (c->state == STATE_REFUSING && connection_queued(c) == 0)
		connection_break(c, c->end, c->why);
}

static void status_event(struct bufferevent *bev, short what, void *arg)
{
	struct connection *c = arg;
	unsigned long error = bufferevent_get_openssl_error(bev);

	if (c->state == STATE_OVER)
		return;
	if (what & BEV_EVENT_CONNECTED)
		handshake_done(c);
	else if (c->state == STATE_REFUSING)
		connection_break(c, c->end, c->why);
	else if (error)
		break_by_tls(c, error);
	else if (what & BEV_EVENT_EOF || EVUTIL_SOCKET_ERROR() == 0)
		connection_break(c, END_CLOSED, "closed by the peer");
	else
		connection_break(c, END_CLOSED,
				 evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

/* A lost connection is found within seconds, whether or not something is under way. */
static void tune(int fd)
{
	int one = 1, three = 3, timeout_ms = 3000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &three, sizeof(three));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

/* Takes the connected socket over, on failure as well. */
static int start_tls(struct connection *c, int fd)
{
	SSL *ssl = tls_new(c->shared->tls, &c->verdict);

	if (ssl)
		c->bev = bufferevent_openssl_socket_new(
		    c->shared->base, fd, ssl,
		    c->dialled ? BUFFEREVENT_SSL_CONNECTING : BUFFEREVENT_SSL_ACCEPTING,
		    BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev) {
		SSL_free(ssl);
		close(fd);
		return -ENOMEM;
	}
	c->state = STATE_HANDSHAKE;
	bufferevent_setcb(c->bev, read_event, written_event, status_event, c);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	event_add(c->deadline, &handshake_deadline);
	return 0;
}

static struct connection *connection_new(struct connection_shared *s, unsigned path,
					 const struct sockaddr *remote, socklen_t len)
{
	char host[NI_MAXHOST] = "?", port[8] = "?";
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->shared = s;
	c->path = path;
	c->fd = -1;
	c->deadline = evtimer_new(s->base, deadline_event, c);
	c->over = evtimer_new(s->base, over_event, c);
	if (!c->deadline || !c->over) {
		connection_free(c);
		return NULL;
	}
	getnameinfo(remote, len, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(c->remote, sizeof(c->remote), strchr(host, ':') ? "[%s]:%s" : "%s:%s",
		 host, port);
	return c;
}

struct connection *connection_accept(struct connection_shared *s, unsigned path, int fd,
				     const struct sockaddr *remote, socklen_t len)
{
	struct connection *c = connection_new(s, path, remote, len);

	if (!c) {
		close(fd);
		return NULL;
	}
	tune(fd);
	if (start_tls(c, fd) < 0) {
		connection_free(c);
		return NULL;
	}
	return c;
}

static void connected_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		connection_break(c, END_CLOSED, strerror(error));
		return;
	}
	c->fd = -1;
	if (start_tls(c, fd) < 0)
		connection_break(c, END_CLOSED, "out of memory");
}

struct connection *connection_dial(struct connection_shared *s, unsigned path,
				   const struct endpoint *from, const struct endpoint *to)
{
	const struct timeval deadline = { .tv_sec = s->dial_ms / 1000,
					  .tv_usec = s->dial_ms % 1000 * 1000 };
	struct connection *c =
	    connection_new(s, path, endpoint_socket(to), to->addresslen);

	if (!c) {
		errno = ENOMEM;
		return NULL;
	}
	c->dialled = true;
	c->fd = endpoint_bound_socket(from, SOCK_STREAM, false, false);
	if (c->fd < 0)
		goto fail;
	tune(c->fd);
	if (connect(c->fd, endpoint_socket(to), to->addresslen) < 0 &&
	    errno != EINPROGRESS)
		goto fail;
	c->connected = event_new(s->base, c->fd, EV_WRITE, connected_event, c);
	if (!c->connected || event_add(c->connected, NULL) < 0 ||
	    event_add(c->deadline, &deadline) < 0) {
		errno = ENOMEM;
		goto fail;
	}
	return c;
fail:;
	int error = errno;
	connection_free(c);
	errno = error;
	return NULL;
}

/* Whether the last that we sent is a refusal: ours in a hello, or TLS's alert. */
static bool said_no(const struct connection *c)
{
	return c->end >= END_UNKNOWN_CA && c->end <= END_HANDSHAKE;
}

void connection_free(struct connection *c)
{
	if (!c)
		return;
	if (c->connected)
		event_free(c->connected);
	if (c->deadline)
		event_free(c->deadline);
	if (c->over)
		event_free(c->over);
	if (c->bev) {
		if (said_no(c))
			linger(c->shared, bufferevent_getfd(c->bev));
		bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
		bufferevent_free(c->bev);
	}
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

int connection_send(struct connection *c, const uint8_t *msg, size_t len)
{
	uint8_t header[FRAME_HEADER];
	struct pack p = pack_to(header, sizeof(header));

	if (c->state != STATE_UP)
		return -ENOTCONN;
	if (len < 1 || len > CLUSTER_MESSAGE_MAX)
		return -EMSGSIZE;
	struct evbuffer *out = bufferevent_get_output(c->bev);
	pack_u32(&p, (uint32_t)len);
	/* Room for both in one piece: one TLS record rather than two. */
	if (evbuffer_get_length(out) + FRAME_HEADER + len > CONNECTION_QUEUE_MAX ||
	    evbuffer_expand(out, FRAME_HEADER + len) < 0 ||
	    evbuffer_add(out, header, sizeof(header)) < 0 ||
	    evbuffer_add(out, msg, len) < 0) {
		connection_break(c, END_OVERFLOW, "the peer takes nothing any more");
		return -ENOBUFS;
	}
	c->counters.sent++;
	c->counters.sent_bytes += len;
	return 0;
}

bool connection_is_up(const struct connection *c)
{
	return c->state == STATE_UP;
}

bool connection_dialled(const struct connection *c)
{
	return c->dialled;
}

unsigned connection_path(const struct connection *c)
{
	return c->path;
}

int connection_export(struct connection *c, bool ours, struct seal_key *key)
{
	return tls_export(bufferevent_openssl_get_ssl(c->bev), c->dialled == ours, key);
}

enum connection_end connection_end(const struct connection *c, const char **why)
{
	*why = c->why;
	return c->end;
}

const char *connection_remote(const struct connection *c)
{
	return c->remote;
}

size_t connection_queued(const struct connection *c)
{
	return c->bev ? evbuffer_get_length(bufferevent_get_output(c->bev)) : 0;
}

const struct connection_counters *connection_counters(const struct connection *c)
{
	return &c->counters;
}

void *connection_user(const struct connection *c)
{
	return c->user;
}

void connection_set_user(struct connection *c, void *user)
{
	c->user = user;
}

const char *connection_end_name(enum connection_end end)
{
	static const char *const names[END_KINDS] = {
		[END_NONE] = "none",
		[END_CLOSED] = "closed",
		[END_TIMEOUT] = "timeout",
		[END_UNKNOWN_CA] = "unknown_ca",
		[END_EXPIRED] = "expired",
		[END_CERTIFICATE] = "bad_certificate",
		[END_NOT_LISTED] = "not_listed",
		[END_WRONG_MEMBER] = "wrong_member",
		[END_OWN_ID] = "own_id",
		[END_VERSION] = "version",
		[END_HANDSHAKE] = "bad_handshake",
		[END_ADDRESS] = "foreign_address",
		[END_CROWDED] = "crowded",
		[END_REFUSED] = "by_peer",
		[END_OVERSIZED] = "oversized_message",
		[END_OVERFLOW] = "queue_overflow",
		[END_REPLACED] = "replaced",
	};
	return end < END_KINDS ? names[end] : "unknown";
}
