/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/listener.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "src/connection.h"
#include "src/log.h"
#include "src/seal.h"
#include "src/udp.h"

/* Accepted connections that have not proven anything yet. */
#define ARRIVALS_MAX 64

/* After so many accepted connections a pause, so that a flood of them cannot keep the
 * loop from its timers. Those that wait meanwhile wait in the kernel. */
#define ACCEPTS_MAX 32
#define ACCEPT_PAUSE_MS 10
#define ACCEPT_FAILED_PAUSE_MS 100
#define BACKLOG 1024

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
/* A link that lasted less goes on backing off. */
#define SETTLED_MS 1000

/* Refusals of one kind in the log: so many at once, then one in an interval. */
#define LOG_BURST 5
#define LOG_INTERVAL_MS 10000

struct peer {
	struct links *links;
	struct link_peer config;
	unsigned slot; /* in the key ring, in the page and in links->peers */
	struct connection *up, *attempt;
	struct seal_sender *sender; /* outlives `up` */
	struct event *redial;
	unsigned backoff_ms;
	uint64_t up_since_ms;
	char why[LINK_WHY], logged[LINK_WHY];
	uint64_t times_up;
	uint64_t datagrams_sent, datagrams_received;
	struct connection_counters past; /* of connections that are over */
};

/* A connection that was accepted and has no peer yet. */
struct arrival {
	TAILQ_ENTRY(arrival) entry;
	struct connection *connection;
};

struct log_limit {
	unsigned tokens, suppressed;
	uint64_t refilled_ms;
};

struct links {
	struct link_config config;
	struct link_ops ops;
	struct connection_shared shared;
	struct evconnlistener *listener;
	struct event *relisten;
	unsigned accepted; /* since the last pause */
	struct udp *udp;
	struct seal_ring *ring;
	unsigned npeers;
	struct peer peers[CLUSTER_MEMBERS_MAX];
	TAILQ_HEAD(, arrival) arrivals;
	unsigned narrivals;
	uint8_t note[CLUSTER_DATAGRAM_MAX];
	size_t note_len;
	struct keeper_page *page;
	struct log_limit limits[END_KINDS];
	uint64_t ends[END_KINDS];
	uint64_t ups, accepts, accept_errors;
	uint64_t datagrams_without_key, datagrams_too_long;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static const struct sockaddr *socket_address(const struct link_address *a)
{
	return (const struct sockaddr *)&a->address;
}

static struct peer *peer_find(struct links *l, member_id id)
{
	for (unsigned i = 0; i < l->npeers; i++)
		if (l->peers[i].config.id == id)
			return &l->peers[i];
	return NULL;
}

static bool peer_dials(const struct peer *p)
{
	return p->links->config.self > p->config.id;
}

/* Between half and all of the backoff, so that members do not dial in step. */
static void redial_later(struct peer *p)
{
	uint16_t noise = 0;
	struct timeval delay;

	if (!peer_dials(p) || p->up || p->attempt ||
	    event_pending(p->redial, EV_TIMEOUT, NULL))
		return;
	if (RAND_bytes((uint8_t *)&noise, sizeof(noise)) != 1)
		noise = 0;
	unsigned ms = p->backoff_ms / 2 + noise % (p->backoff_ms / 2 + 1);
	delay.tv_sec = ms / 1000;
	delay.tv_usec = ms % 1000 * 1000;
	event_add(p->redial, &delay);
	p->backoff_ms =
	    p->backoff_ms * 2 < BACKOFF_MAX_MS ? p->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* Logging of ends. */

static bool limit_passed(struct log_limit *limit)
{
	uint64_t now = now_ms();
	uint64_t refill = (now - limit->refilled_ms) / LOG_INTERVAL_MS;

	if (!limit->refilled_ms || limit->tokens + refill >= LOG_BURST) {
		limit->tokens = LOG_BURST;
		limit->refilled_ms = now;
	} else if (refill) {
		limit->tokens += (unsigned)refill;
		limit->refilled_ms += refill * LOG_INTERVAL_MS;
	}
	if (!limit->tokens) {
		limit->suppressed++;
		return false;
	}
	limit->tokens--;
	return true;
}

static bool is_refusal(enum connection_end end)
{
	return end >= END_UNKNOWN_CA && end <= END_REFUSED;
}

static void log_refusal(struct links *l, enum connection_end end, const char *who,
			const char *why)
{
	struct log_limit *limit = &l->limits[end];
	char more[48] = "";

	if (!limit_passed(limit))
		return;
	if (limit->suppressed)
		snprintf(more, sizeof(more), "; %u more of the kind", limit->suppressed);
	limit->suppressed = 0;
	log_warnx("%s %s: %s [%s%s]", end == END_REFUSED ? "refused by" : "refused", who,
		  why, connection_end_name(end), more);
}

/* `p` may be NULL: nobody knows who that was. */
static void note_end(struct links *l, struct peer *p, struct connection *c, bool was_up)
{
	const char *why;
	enum connection_end end = connection_end(c, &why);
	char who[CLUSTER_NAME_MAX + 80];

	snprintf(who, sizeof(who), p ? "%s (%.70s)" : "%s%.70s", p ? p->config.name : "",
		 connection_remote(c));
	l->ends[end]++;
	if (p && end != END_REPLACED)
		snprintf(p->why, sizeof(p->why), "%s%s",
			 end == END_REFUSED ? "refused by the peer: " : "", why);
	if (was_up) {
		log_info("link to %s is down: %s", who, why);
	} else if (is_refusal(end)) {
		log_refusal(l, end, who, why);
	} else if (p && strcmp(p->logged, p->why) != 0) {
		snprintf(p->logged, sizeof(p->logged), "%s", p->why);
		log_info("no link to %s yet: %s", who, why);
	} else {
		log_debug("no link to %s: %s", who, why);
	}
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
	struct peer *p = peer_find(l, id), *dialled = connection_user(c);

	if (id == l->config.self)
		return refuse(END_OWN_ID, why,
			      "uses the id of the member that it talks to", name, id);
	if (!p || strcmp(p->config.name, name) != 0)
		return refuse(END_NOT_LISTED, why, "is not in the list of valid members",
			      name, id);
	if (dialled && dialled != p)
		return refuse(END_WRONG_MEMBER, why, "is not the member that was dialled",
			      name, id);
	if (!dialled && peer_dials(p))
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

static void store_note(struct peer *p)
{
	struct links *l = p->links;
	uint8_t sealed[CLUSTER_DATAGRAM_MAX + SEAL_OVERHEAD];

	if (!l->note_len || !l->page)
		return;
	ssize_t n = seal_last(p->sender, l->note, l->note_len, sealed, sizeof(sealed));
	if (n < 0 || keeper_note(l->page, p->slot, socket_address(&p->config.at),
				 p->config.at.addresslen, sealed, (size_t)n) < 0)
		log_warnx("the death note for %s is not prepared", p->config.name);
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
	note_end(p->links, p, c, true);
	connection_free(c);
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
	if (p->up) {
		connection_break(p->up, END_REPLACED, "replaced by a newer connection");
		drop_up(p);
		l->ops.state(l->ops.ctx, p->config.id, false);
	}
	seal_sender_free(p->sender);
	p->sender = sender;
	seal_ring_promote(l->ring, p->slot);
	p->up = c;
	p->up_since_ms = now_ms();
	p->times_up++;
	p->logged[0] = '\0';
	l->ups++;
	store_note(p);
	log_info("link to %s (%s) is up", p->config.name, connection_remote(c));
	l->ops.state(l->ops.ctx, p->config.id, true);
}

static void links_over(void *ctx, struct connection *c)
{
	struct links *l = ctx;
	struct peer *p = connection_user(c);

	arrival_remove(l, c);
	if (!p) {
		note_end(l, NULL, c, false);
		connection_free(c);
		return;
	}
	if (p->up != c) {
		p->attempt = p->attempt == c ? NULL : p->attempt;
		note_end(l, p, c, false);
		connection_free(c);
		redial_later(p);
		return;
	}
	if (now_ms() - p->up_since_ms >= SETTLED_MS)
		p->backoff_ms = BACKOFF_MIN_MS;
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

static void redial_event(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	struct links *l = p->links;
	const struct link_address *from = &l->config.bind, *to = &p->config.at;

	p->attempt = connection_dial(&l->shared, socket_address(from), from->addresslen,
				     socket_address(to), to->addresslen);
	if (p->attempt) {
		connection_set_user(p->attempt, p);
		return;
	}
	snprintf(p->why, sizeof(p->why), "cannot dial: %s", strerror(errno));
	l->ends[END_CLOSED]++;
	if (strcmp(p->logged, p->why) != 0) {
		snprintf(p->logged, sizeof(p->logged), "%s", p->why);
		log_info("no link to %s yet: %s", p->config.name, p->why);
	}
	redial_later(p);
}

static void pause_accepting(struct links *l, unsigned ms)
{
	const struct timeval pause = { .tv_usec = ms * 1000 };

	evconnlistener_disable(l->listener);
	event_add(l->relisten, &pause);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
				  &((const struct sockaddr_in6 *)b)->sin6_addr);
}

/* Members dial from their own address, so a handshake, which costs much time, is for
 * them only. Who they are, their certificates tell. */
static bool from_member(struct links *l, const struct sockaddr *remote, socklen_t len)
{
	char host[NI_MAXHOST] = "?";

	for (unsigned i = 0; i < l->npeers; i++)
		if (same_host(remote, socket_address(&l->peers[i].config.at)))
			return true;
	l->ends[END_ADDRESS]++;
	getnameinfo(remote, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	log_refusal(l, END_ADDRESS, host, "it is not the address of a member");
	return false;
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd,
		     struct sockaddr *remote, int len, void *arg)
{
	struct links *l = arg;
	struct arrival *a;

	l->accepts++;
	if (++l->accepted == ACCEPTS_MAX)
		pause_accepting(l, ACCEPT_PAUSE_MS);
	if (!from_member(l, remote, (socklen_t)len)) {
		evutil_closesocket(fd);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		evutil_closesocket(fd);
		return;
	}
	a->connection = connection_accept(&l->shared, fd, remote, (socklen_t)len);
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
	struct links *l = arg;

	if (!l->accept_errors++)
		log_warn("cannot accept connections of members");
	pause_accepting(l, ACCEPT_FAILED_PAUSE_MS);
}

static void relisten_event(evutil_socket_t fd, short what, void *arg)
{
	struct links *l = arg;

	l->accepted = 0;
	evconnlistener_enable(l->listener);
}

static void udp_received(void *ctx, const uint8_t *bytes, size_t len)
{
	struct links *l = ctx;
	uint8_t plain[UDP_MAX];
	unsigned slot;
	ssize_t n = seal_open(l->ring, bytes, len, plain, sizeof(plain), &slot);

	if (n < 0)
		return;
	struct peer *p = &l->peers[slot];
	p->datagrams_received++;
	l->ops.datagram(l->ops.ctx, p->config.id, plain, (size_t)n);
}

/* Construction. */

static int check_config(const struct link_config *config, char err[LINK_ERR])
{
	char name[CLUSTER_NAME_MAX];
	member_id id;

	if (config->npeers > CLUSTER_MEMBERS_MAX) {
		snprintf(err, LINK_ERR, "more than %d members", CLUSTER_MEMBERS_MAX);
		return -EINVAL;
	}
	if (cert_read_file(config->cert, name, &id, err) < 0)
		return -EINVAL;
	if (id != config->self) {
		snprintf(err, LINK_ERR, "%s: is the certificate of member %u, not of %u",
			 config->cert, id, config->self);
		return -EINVAL;
	}
	for (unsigned i = 0; i < config->npeers; i++) {
		const struct link_peer *p = &config->peers[i];
		if (p->id < 1 || p->id > CLUSTER_ID_MAX) {
			snprintf(err, LINK_ERR, "member %s has no valid id", p->name);
			return -EINVAL;
		}
		if (p->id == config->self && strcmp(p->name, name) != 0) {
			snprintf(err, LINK_ERR, "%s: is the certificate of %s, not of %s",
				 config->cert, name, p->name);
			return -EINVAL;
		}
		for (unsigned k = 0; k < i; k++) {
			if (config->peers[k].id != p->id &&
			    strcmp(config->peers[k].name, p->name) != 0)
				continue;
			snprintf(err, LINK_ERR, "%s and %s share a name or an id",
				 p->name, config->peers[k].name);
			return -EINVAL;
		}
	}
	return 0;
}

static int add_peers(struct links *l)
{
	for (unsigned i = 0; i < l->config.npeers; i++) {
		if (l->config.peers[i].id == l->config.self)
			continue;
		struct peer *p = &l->peers[l->npeers];
		p->links = l;
		p->slot = l->npeers++;
		p->config = l->config.peers[i];
		p->backoff_ms = BACKOFF_MIN_MS;
		p->redial = evtimer_new(l->shared.base, redial_event, p);
		if (!p->redial)
			return -ENOMEM;
	}
	return 0;
}

static int cannot_listen(const char *protocol, const struct link_address *at,
			 char err[LINK_ERR])
{
	int error = errno;
	char host[NI_MAXHOST] = "?", port[8] = "?";

	getnameinfo(socket_address(at), at->addresslen, host, sizeof(host), port,
		    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(err, LINK_ERR, "cannot listen for members at %.60s, %s port %s: %s",
		 host, protocol, port, strerror(error));
	return -error;
}

static int listen_both(struct links *l, char err[LINK_ERR])
{
	struct event_base *base = l->shared.base;
	const struct link_address *at = &l->config.bind;
	unsigned flags =
	    LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;

	if (at->address.ss_family == AF_INET6)
		flags |= LEV_OPT_BIND_IPV6ONLY;
	l->listener = evconnlistener_new_bind(base, accepted, l, flags, BACKLOG,
					      socket_address(at), (int)at->addresslen);
	if (!l->listener) {
		return cannot_listen("TCP", at, err);
	}
	evconnlistener_set_error_cb(l->listener, accept_failed);
	l->udp = udp_new(base, socket_address(at), at->addresslen, udp_received, l);
	if (!l->udp) {
		return cannot_listen("UDP", at, err);
	}
	return 0;
}

struct links *links_new(struct event_base *base, const struct link_config *config,
			const struct link_ops *ops, char err[LINK_ERR])
{
	if (check_config(config, err) < 0)
		return NULL;
	/* OpenSSL writes to sockets with write(2). */
	signal(SIGPIPE, SIG_IGN);
	struct links *l = calloc(1, sizeof(*l));
	if (!l) {
		snprintf(err, LINK_ERR, "out of memory");
		return NULL;
	}
	l->config = *config;
	l->config.cert = l->config.key = l->config.ca = NULL; /* not ours to keep */
	l->ops = *ops;
	TAILQ_INIT(&l->arrivals);
	l->shared = (struct connection_shared){
		.base = base,
		.tls = tls_context_new(config->cert, config->key, config->ca, err),
		.ctx = l,
		.identify = links_identify,
		.up = links_come_up,
		.message = links_message,
		.over = links_over,
	};
	TAILQ_INIT(&l->shared.lingerers);
	if (!l->shared.tls)
		goto fail;
	l->ring = seal_ring_new();
	l->relisten = evtimer_new(base, relisten_event, l);
	if (!l->ring || !l->relisten || add_peers(l) < 0) {
		snprintf(err, LINK_ERR, "out of memory");
		goto fail;
	}
	if (listen_both(l, err) < 0)
		goto fail;
	for (unsigned i = 0; i < l->npeers; i++)
		if (peer_dials(&l->peers[i]))
			event_active(l->peers[i].redial, EV_TIMEOUT, 0);
	return l;
fail:
	links_free(l);
	return NULL;
}

void links_free(struct links *l)
{
	if (!l)
		return;
	if (l->listener)
		evconnlistener_free(l->listener);
	udp_free(l->udp);
	for (unsigned i = 0; i < l->npeers; i++) {
		struct peer *p = &l->peers[i];
		if (p->attempt)
			arrival_remove(l, p->attempt);
		connection_free(p->attempt);
		connection_free(p->up);
		seal_sender_free(p->sender);
		if (p->redial)
			event_free(p->redial);
	}
	while (!TAILQ_EMPTY(&l->arrivals)) {
		struct connection *c = TAILQ_FIRST(&l->arrivals)->connection;
		arrival_remove(l, c);
		connection_free(c);
	}
	connection_linger_stop(&l->shared);
	if (l->relisten)
		event_free(l->relisten);
	seal_ring_free(l->ring);
	SSL_CTX_free(l->shared.tls);
	OPENSSL_cleanse(l->note, sizeof(l->note));
	free(l);
}

/* Use. */

void links_datagram(struct links *l, member_id to, const uint8_t *msg, size_t len)
{
	uint8_t sealed[CLUSTER_DATAGRAM_MAX + SEAL_OVERHEAD];
	struct peer *p = peer_find(l, to);

	if (len > CLUSTER_DATAGRAM_MAX) {
		l->datagrams_too_long++;
		return;
	}
	ssize_t n = p && p->sender
			? seal_datagram(p->sender, msg, len, sealed, sizeof(sealed))
			: -ENOTCONN;
	if (n < 0) {
		l->datagrams_without_key++;
		return;
	}
	if (udp_send(l->udp, socket_address(&p->config.at), p->config.at.addresslen,
		     sealed, (size_t)n) == 0)
		p->datagrams_sent++;
}

int links_stream(struct links *l, member_id to, const uint8_t *msg, size_t len)
{
	struct peer *p = peer_find(l, to);

	return p && p->up ? connection_send(p->up, msg, len) : -ENOTCONN;
}

bool links_up(const struct links *l, member_id peer)
{
	for (unsigned i = 0; i < l->npeers; i++)
		if (l->peers[i].config.id == peer)
			return l->peers[i].up && connection_is_up(l->peers[i].up);
	return false;
}

int links_death_note(struct links *l, const uint8_t *note, size_t len,
		     struct keeper_page *page)
{
	if (l->note_len)
		return -EALREADY;
	if (len < 1 || len > CLUSTER_DATAGRAM_MAX ||
	    len + SEAL_OVERHEAD > KEEPER_NOTE_MAX)
		return -EMSGSIZE;
	memcpy(l->note, note, len);
	l->note_len = len;
	l->page = page;
	keeper_from(page, socket_address(&l->config.bind), l->config.bind.addresslen);
	for (unsigned i = 0; i < l->npeers; i++)
		if (l->peers[i].sender)
			store_note(&l->peers[i]);
	return 0;
}

unsigned links_status(const struct links *l, struct link_status *out, unsigned max)
{
	unsigned n = 0;

	for (; n < l->npeers && n < max; n++) {
		const struct peer *p = &l->peers[n];
		static const struct connection_counters none;
		const struct connection_counters *c =
		    p->up ? connection_counters(p->up) : &none;
		struct link_status *s = &out[n];

		memset(s, 0, sizeof(*s));
		s->id = p->config.id;
		memcpy(s->name, p->config.name, sizeof(s->name));
		s->at = p->config.at;
		s->up = p->up && connection_is_up(p->up);
		s->dials = peer_dials(p);
		memcpy(s->why, p->why, sizeof(s->why));
		s->times_up = p->times_up;
		s->queued = p->up ? connection_queued(p->up) : 0;
		s->sent = p->past.sent + c->sent;
		s->sent_bytes = p->past.sent_bytes + c->sent_bytes;
		s->received = p->past.received + c->received;
		s->received_bytes = p->past.received_bytes + c->received_bytes;
		s->datagrams_sent = p->datagrams_sent;
		s->datagrams_received = p->datagrams_received;
	}
	return n;
}

unsigned links_statistics(const struct links *l, const char **names, uint64_t *values,
			  unsigned max)
{
	const struct seal_counters *seal = seal_ring_counters(l->ring);
	const struct udp_counters *udp = udp_counters(l->udp);
	const struct {
		const char *name;
		uint64_t value;
	} all[] = {
		{ "link_up", l->ups },
		{ "link_accepted", l->accepts },
		{ "link_accept_failed", l->accept_errors },
		{ "link_closed", l->ends[END_CLOSED] },
		{ "link_replaced", l->ends[END_REPLACED] },
		{ "link_timeout", l->ends[END_TIMEOUT] },
		{ "link_refused_unknown_ca", l->ends[END_UNKNOWN_CA] },
		{ "link_refused_expired", l->ends[END_EXPIRED] },
		{ "link_refused_bad_certificate", l->ends[END_CERTIFICATE] },
		{ "link_refused_not_listed", l->ends[END_NOT_LISTED] },
		{ "link_refused_wrong_member", l->ends[END_WRONG_MEMBER] },
		{ "link_refused_own_id", l->ends[END_OWN_ID] },
		{ "link_refused_version", l->ends[END_VERSION] },
		{ "link_refused_bad_handshake", l->ends[END_HANDSHAKE] },
		{ "link_refused_foreign_address", l->ends[END_ADDRESS] },
		{ "link_refused_crowded", l->ends[END_CROWDED] },
		{ "link_refused_by_peer", l->ends[END_REFUSED] },
		{ "link_oversized_message", l->ends[END_OVERSIZED] },
		{ "link_queue_overflow", l->ends[END_OVERFLOW] },
		{ "datagram_received", udp->received },
		{ "datagram_received_bytes", udp->received_bytes },
		{ "datagram_opened", seal->opened },
		{ "datagram_truncated", seal->truncated },
		{ "datagram_oversized", udp->oversized },
		{ "datagram_version", seal->version },
		{ "datagram_unknown_key", seal->unknown_key },
		{ "datagram_bad_tag", seal->bad_tag },
		{ "datagram_replayed", seal->replayed },
		{ "datagram_sent", udp->sent },
		{ "datagram_sent_bytes", udp->sent_bytes },
		{ "datagram_unsent", udp->unsent },
		{ "datagram_without_key", l->datagrams_without_key },
		{ "datagram_too_long", l->datagrams_too_long },
	};
	unsigned n = 0;

	_Static_assert(sizeof(all) / sizeof(all[0]) <= LINK_STATISTICS,
		       "bound in link.h");
	for (; n < sizeof(all) / sizeof(all[0]) && n < max; n++) {
		names[n] = all[n].name;
		values[n] = all[n].value;
	}
	return n;
}
