/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "src/link_parts.h"
#include "src/log.h"

/* Accepted connections that have not proven anything yet. */
#define ARRIVALS_MAX 64

/* After so many accepted connections a pause, so that a flood of them cannot keep the
 * loop from its timers. Those that wait meanwhile wait in the kernel. */
#define ACCEPTS_MAX 32
#define ACCEPT_PAUSE_MS 10
#define ACCEPT_FAILED_PAUSE_MS 100
#define BACKLOG 1024

/* A connection request that nobody answers. With a second network to try, sooner. */
#define DIAL_MS 1000
#define DIAL_ONE_OF_MANY_MS 500
#define ANOTHER_PATH_MS 10

/* A link that lasted less goes on backing off. */
#define SETTLED_MS 1000

/* Between half and all of the backoff, so that members do not dial in step. */
static void redial_later(struct peer *p)
{
	uint16_t noise = 0;
	struct timeval delay;

	if (!link_peer_dials(p) || p->up || p->attempt ||
	    event_pending(p->redial, EV_TIMEOUT, NULL))
		return;
	if (RAND_bytes((uint8_t *)&noise, sizeof(noise)) != 1)
		noise = 0;
	/* The next network deserves its try at once. */
	bool another = p->tried && p->tried != (1u << p->npaths) - 1;
	unsigned wait = another ? ANOTHER_PATH_MS : p->backoff_ms;
	unsigned ms = wait / 2 + noise % (wait / 2 + 1);
	delay.tv_sec = ms / 1000;
	delay.tv_usec = ms % 1000 * 1000;
	event_add(p->redial, &delay);
	if (!another)
		p->backoff_ms = p->backoff_ms * 2 < LINK_BACKOFF_MAX_MS
				    ? p->backoff_ms * 2
				    : LINK_BACKOFF_MAX_MS;
}

/* Connections. */

static void arrival_remove(struct links *l, struct connection *c)
{
	struct arrival *a;

	TAILQ_FOREACH(a, &l->arrivals, entry) {
		if (a->connection != c)
			continue;
		TAILQ_REMOVE(&l->arrivals, a, entry);
		l->narrivals--;
		free(a);
		return;
	}
}

static enum connection_end refuse(enum connection_end end, char why[CONNECTION_WHY],
				  const char *text, const char *name, unsigned id)
{
	snprintf(why, CONNECTION_WHY, "%.60s (member %u) %s", name, id, text);
	return end;
}

/* Takes the keys of a connection whose peer is who it should be. The receiving key opens
 * datagrams from now on, since the peer may be up before us. */
static int take_keys(struct peer *p, struct connection *c)
{
	struct seal_key key;
	int r = connection_export(c, false, &key);

	if (r == 0)
		r = seal_ring_add(p->links->ring, p->slot, &key);
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

static enum connection_end links_identify(void *ctx, struct connection *c,
					  const char *name, member_id id,
					  char why[CONNECTION_WHY])
{
	struct links *l = ctx;
	struct peer *p = link_peer_find(l, id), *dialled = connection_user(c);

	if (id == l->config.self)
		return refuse(END_OWN_ID, why,
			      "uses the id of the member that it talks to", name, id);
	if (!p || strcmp(p->config.name, name) != 0)
		return refuse(END_NOT_LISTED, why, "is not in the list of valid members",
			      name, id);
	if (dialled && dialled != p)
		return refuse(END_WRONG_MEMBER, why, "is not the member that was dialled",
			      name, id);
	if (!dialled && link_peer_dials(p))
		return refuse(END_WRONG_MEMBER, why, "dialled a member with a higher id",
			      name, id);
	if (take_keys(p, c) < 0)
		return refuse(END_HANDSHAKE, why, "cannot be served: out of memory", name,
			      id);
	if (!dialled) {
		/* The newest attempt counts: the peer has given the others up. */
		if (p->attempt) {
			arrival_remove(l, p->attempt);
			connection_free(p->attempt);
		}
		p->attempt = c;
		connection_set_user(c, p);
	}
	return END_NONE;
}

void link_stream_note(struct peer *p)
{
	struct links *l = p->links;
	uint8_t plain[1 + CLUSTER_DATAGRAM_MAX], sealed[sizeof(plain) + SEAL_OVERHEAD];

	if (!l->note_len || !l->page || !p->sender)
		return;
	plain[0] = LINK_MESSAGE;
	memcpy(plain + 1, l->note, l->note_len);
	ssize_t n = seal_last(p->sender, plain, 1 + l->note_len, sealed, sizeof(sealed));
	if (n < 0 || keeper_note(l->page, p->slot, sealed, (size_t)n) < 0)
		log_warnx("the death note for %s is not prepared", p->config.name);
	OPENSSL_cleanse(plain, sizeof(plain));
}

/* The peer has no connection any more; `c` is freed. */
static void drop_up(struct peer *p)
{
	struct connection *c = p->up;
	const struct connection_counters *n = connection_counters(c);

	p->past.sent += n->sent;
	p->past.sent_bytes += n->sent_bytes;
	p->past.received += n->received;
	p->past.received_bytes += n->received_bytes;
	p->up = NULL;
	link_log_end(p->links, p, c, true);
	connection_free(c);
}

/* The owner hears of the new one only: there is a stream all the time, and it begins anew. */
static void replace_up(struct peer *p, const struct connection *by)
{
	unsigned from = connection_path(p->up);

	if (from != connection_path(by) && p->paths[from].good)
		p->links->returns++;
	else if (from != connection_path(by))
		p->links->failovers++;
	connection_break(p->up, END_REPLACED, "replaced by a newer connection");
	drop_up(p);
}

static void links_come_up(void *ctx, struct connection *c)
{
	struct links *l = ctx;
	struct peer *p = connection_user(c);
	struct seal_key key;
	struct seal_sender *sender = NULL;

	if (connection_export(c, true, &key) == 0)
		sender = seal_sender_new(&key);
	OPENSSL_cleanse(&key, sizeof(key));
	if (!sender) {
		connection_break(c, END_CLOSED, "out of memory");
		return;
	}
	arrival_remove(l, c);
	p->attempt = NULL;
	if (p->up)
		replace_up(p, c);
	seal_sender_free(p->sender);
	p->sender = sender;
	seal_ring_promote(l->ring, p->slot);
	p->up = c;
	p->up_since_ms = link_now_ms();
	p->times_up++;
	p->tried = 0;
	p->logged[0] = '\0';
	l->ups++;
	link_stream_note(p);
	log_info("link to %s (%s) is up", p->config.name, connection_remote(c));
	l->ops.state(l->ops.ctx, p->config.id, true);
}

static void links_over(void *ctx, struct connection *c)
{
	struct links *l = ctx;
	struct peer *p = connection_user(c);

	arrival_remove(l, c);
	if (!p) {
		link_log_end(l, NULL, c, false);
		connection_free(c);
		return;
	}
	if (p->up != c) {
		p->attempt = p->attempt == c ? NULL : p->attempt;
		link_log_end(l, p, c, false);
		if (connection_dialled(c))
			link_path_failed(p, connection_path(c));
		connection_free(c);
		redial_later(p);
		return;
	}
	if (link_now_ms() - p->up_since_ms >= SETTLED_MS)
		p->backoff_ms = LINK_BACKOFF_MIN_MS;
	drop_up(p);
	redial_later(p);
	l->ops.state(l->ops.ctx, p->config.id, false);
}

static void links_message(void *ctx, struct connection *c, const uint8_t *msg, size_t len)
{
	struct links *l = ctx;
	struct peer *p = connection_user(c);

	l->ops.stream(l->ops.ctx, p->config.id, msg, len);
}

bool link_stream_dial(struct peer *p, unsigned path)
{
	struct links *l = p->links;
	char host[ENDPOINT_TEXT];

	if (p->attempt)
		return true;
	p->attempt =
	    connection_dial(&l->shared, path, &l->config.bind[path], &p->config.at[path]);
	if (p->attempt) {
		connection_set_user(p->attempt, p);
		return true;
	}
	snprintf(p->why, sizeof(p->why), "cannot dial %s: %s",
		 endpoint_host(endpoint_socket(&p->config.at[path]),
			       p->config.at[path].addresslen, host),
		 strerror(errno));
	l->ends[END_CLOSED]++;
	link_log_not_yet(p, p->config.name);
	link_path_failed(p, path);
	return false;
}

void link_stream_redial(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;

	if (!p->up && !link_stream_dial(p, link_path_to_dial(p)))
		redial_later(p);
}

/* Accepting. */

static void pause_accepting(struct links *l, unsigned ms)
{
	const struct timeval pause = { .tv_usec = ms * 1000 };

	for (unsigned i = 0; i < l->config.npaths; i++)
		if (l->locals[i].listener)
			evconnlistener_disable(l->locals[i].listener);
	event_add(l->relisten, &pause);
}

/* Members dial from their own address on the same network, so a handshake, which costs much
 * time, is for them only. Who they are, their certificates tell. */
static bool from_member(struct links *l, unsigned path, const struct sockaddr *remote,
			socklen_t len)
{
	char host[ENDPOINT_TEXT];

	for (unsigned i = 0; i < l->npeers; i++)
		if (path < l->peers[i].npaths &&
		    endpoint_same_host(remote,
				       endpoint_socket(&l->peers[i].config.at[path])))
			return true;
	l->ends[END_ADDRESS]++;
	link_log_refusal(l, END_ADDRESS, endpoint_host(remote, len, host),
			 "it is not the address of a member");
	return false;
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd,
		     struct sockaddr *remote, int len, void *arg)
{
	const struct local *local = arg;
	struct links *l = local->links;
	struct arrival *a;

	l->accepts++;
	if (++l->accepted == ACCEPTS_MAX)
		pause_accepting(l, ACCEPT_PAUSE_MS);
	if (!from_member(l, local->path, remote, (socklen_t)len)) {
		evutil_closesocket(fd);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		evutil_closesocket(fd);
		return;
	}
	a->connection =
	    connection_accept(&l->shared, local->path, fd, remote, (socklen_t)len);
	if (!a->connection) {
		free(a);
		return;
	}
	TAILQ_INSERT_TAIL(&l->arrivals, a, entry);
	if (++l->narrivals <= ARRIVALS_MAX)
		return;
	/* At once, not by way of the event loop: many may be accepted before its turn. */
	struct connection *oldest = TAILQ_FIRST(&l->arrivals)->connection;
	connection_break(oldest, END_CROWDED,
			 "too many connections that have not proven anything");
	links_over(l, oldest);
}

/* Out of descriptors, mostly: waits, rather than spin on a socket that stays readable. */
static void accept_failed(struct evconnlistener *listener, void *arg)
{
	const struct local *local = arg;
	struct links *l = local->links;

	if (!l->accept_errors++)
		log_warn("cannot accept connections of members");
	pause_accepting(l, ACCEPT_FAILED_PAUSE_MS);
}

static void relisten_event(evutil_socket_t fd, short what, void *arg)
{
	struct links *l = arg;

	l->accepted = 0;
	for (unsigned i = 0; i < l->config.npaths; i++)
		evconnlistener_enable(l->locals[i].listener);
}

int link_stream_listen(struct links *l, unsigned path, bool absent)
{
	struct local *local = &l->locals[path];
	int fd = endpoint_bound_socket(&l->config.bind[path], SOCK_STREAM, true, absent);

	if (fd < 0)
		return -errno;
	local->listener = evconnlistener_new(
	    l->shared.base, accepted, local,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, fd);
	if (!local->listener) {
		int error = errno;
		close(fd);
		return -error;
	}
	evconnlistener_set_error_cb(local->listener, accept_failed);
	return 0;
}

int link_stream_init(struct links *l)
{
	TAILQ_INIT(&l->arrivals);
	l->shared.dial_ms = l->config.npaths > 1 ? DIAL_ONE_OF_MANY_MS : DIAL_MS;
	l->shared.ctx = l;
	l->shared.identify = links_identify;
	l->shared.up = links_come_up;
	l->shared.message = links_message;
	l->shared.over = links_over;
	TAILQ_INIT(&l->shared.lingerers);
	l->relisten = evtimer_new(l->shared.base, relisten_event, l);
	return l->relisten ? 0 : -ENOMEM;
}

void link_stream_stop(struct links *l)
{
	for (unsigned i = 0; i < l->npeers; i++) {
		struct peer *p = &l->peers[i];
		if (p->attempt)
			arrival_remove(l, p->attempt);
		connection_free(p->attempt);
		connection_free(p->up);
		p->attempt = p->up = NULL;
	}
	while (!TAILQ_EMPTY(&l->arrivals)) {
		struct connection *c = TAILQ_FIRST(&l->arrivals)->connection;
		arrival_remove(l, c);
		connection_free(c);
	}
	connection_linger_stop(&l->shared);
	if (l->relisten)
		event_free(l->relisten);
}
