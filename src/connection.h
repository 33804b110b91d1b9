/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One TLS connection to another member: dialling, handshake, the hello that each side
 * sends first, framed messages, and an end with a reason.
 *
 *   dialling -> handshake -> hello -> up
 *                  |           |       |
 *                  +-----------+-------+--> over
 *
 * After the handshake the owner is asked whether it wants this peer (`identify`). Each side
 * then sends its hello: "accepted", or a refusal with its reason, so that the refused side
 * can log it. When both have accepted, the connection is up. A connection that ends says
 * so from the event loop (`over`), never from within a function that the owner called; the
 * owner frees it then, or at any time outside the connection's own callbacks.
 *
 * A frame is a 32-bit length and as many bytes. A hello is the first frame: version 16,
 * verdict 8 (0: accepted), text 16+n.
 */
#ifndef SRC_CONNECTION_H
#define SRC_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/bufferevent.h>
#include <event2/event.h>

#include "src/endpoint.h"
#include "src/tls.h"

#define CONNECTION_VERSION 2
#define CONNECTION_WHY 160
#define CONNECTION_QUEUE_MAX (64u << 20) /* bytes that may wait for a slow peer */

/* Why a connection came to its end. The order is that of connection_end_name(). */
enum connection_end {
	END_NONE,
	END_CLOSED,	  /* by the network or by the other side, without a word */
	END_TIMEOUT,	  /* not up in time */
	END_UNKNOWN_CA,	  /* we refuse: the certificate is not of our authority */
	END_EXPIRED,	  /* ... or not in date */
	END_CERTIFICATE,  /* ... or missing, or not a member's */
	END_NOT_LISTED,	  /* ... or of no valid member */
	END_WRONG_MEMBER, /* ... or of another member than the one that was dialled */
	END_OWN_ID,	  /* ... or carries our own member id */
	END_VERSION,	  /* the peer speaks another version */
	END_HANDSHAKE,	  /* no TLS, or a broken one */
	END_ADDRESS,	  /* accepted from an address that is no member's */
	END_CROWDED,	  /* too many connections at once that have not proven anything */
	END_REFUSED,	  /* the peer refuses us */
	END_OVERSIZED,	  /* a frame longer than a message can be */
	END_OVERFLOW,	  /* the peer takes nothing any more */
	END_REPLACED,	  /* by a newer connection of the same peer */
	END_KINDS,
};

struct connection;
struct connection_lingerer;
TAILQ_HEAD(connection_lingerers, connection_lingerer);

/*
 * What connections of one owner share.
 *
 * identify  the peer's certificate is genuine and carries this name and id. END_NONE
 *           accepts it; else the reason, with a text for both sides' logs in `why`.
 * up        both sides have accepted; messages may be sent from now on.
 * message   bytes are borrowed for the call.
 * over      the connection has ended, see connection_end(); free it.
 */
struct connection_shared {
	struct event_base *base;
	unsigned dial_ms; /* how long a connection request may stay unanswered */
	SSL_CTX *tls;
	struct connection_lingerers lingerers;
	unsigned lingering;
	void *ctx;
	enum connection_end (*identify)(void *ctx, struct connection *c, const char *name,
					member_id id, char why[CONNECTION_WHY]);
	void (*up)(void *ctx, struct connection *c);
	void (*message)(void *ctx, struct connection *c, const uint8_t *msg, size_t len);
	void (*over)(void *ctx, struct connection *c);
};

struct connection_counters {
	uint64_t sent, sent_bytes;
	uint64_t received, received_bytes;
};

/* Takes the accepted socket over. NULL (and the socket is closed) when out of memory.
 * `path` is the owner's number of the network that it goes over. */
struct connection *connection_accept(struct connection_shared *s, unsigned path, int fd,
				     const struct sockaddr *remote, socklen_t len);
/* From the address `from` (its port is not used). NULL and errno if it cannot be begun. */
struct connection *connection_dial(struct connection_shared *s, unsigned path,
				   const struct endpoint *from,
				   const struct endpoint *to);
/* Closes it, without callbacks. Accepts NULL. */
void connection_free(struct connection *c);
/* For the end of the owner: closes sockets of freed connections that wait for the peer to
 * read its refusal. */
void connection_linger_stop(struct connection_shared *s);

/* Only while it is up. 0, -ENOTCONN if it is not, -ENOBUFS when too much waits: the
 * connection breaks then. 1 <= len <= CLUSTER_MESSAGE_MAX, else -EMSGSIZE. */
int connection_send(struct connection *c, const uint8_t *msg, size_t len);
/* Ends it; `over` is called later. The first reason stays. */
void connection_break(struct connection *c, enum connection_end end, const char *why);

bool connection_is_up(const struct connection *c);
bool connection_dialled(const struct connection *c);
unsigned connection_path(const struct connection *c);
/* Key for datagrams to the peer (`ours`) or from it; from `identify` on. 0 or -EIO. */
int connection_export(struct connection *c, bool ours, struct seal_key *key);
enum connection_end connection_end(const struct connection *c, const char **why);
/* "address:port" of the other side, and the name that an unproven certificate claims. */
const char *connection_remote(const struct connection *c);
size_t connection_queued(const struct connection *c);
const struct connection_counters *connection_counters(const struct connection *c);
/* The owner's pointer. */
void *connection_user(const struct connection *c);
void connection_set_user(struct connection *c, void *user);
/* A word for statistics: "closed", "unknown_ca" ... */
const char *connection_end_name(enum connection_end end);

#endif
