/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the interconnect: what its files share, and nobody else sees.
 *
 *   link.c         making and unmaking, and what the owner calls
 *   link_stream.c  connections: dialling, accepting, who the peer is, up and over
 *   link_path.c    datagrams, and which networks reach a peer
 *   link_log.c     the ends of connections, in the log
 *   link_status.c  what an operator is told
 */
#ifndef SRC_LINK_PARTS_H
#define SRC_LINK_PARTS_H

#include <sys/queue.h>

#include <event2/listener.h>

#include "src/connection.h"
#include "src/link.h"
#include "src/seal.h"
#include "src/udp.h"

#define LINK_BACKOFF_MIN_MS 50
#define LINK_BACKOFF_MAX_MS 1000

/* The first byte of a datagram's plain text. */
enum link_datagram {
	LINK_MESSAGE, /* the rest is the owner's */
	LINK_PROBE,   /* see link_path.c */
	LINK_PACKET,  /* the rest is the owner's, of links_packet() */
};

/* What is known of one network on the way to one peer. */
struct peer_path {
	bool good;	     /* both sides hear each other over it, as far as we know */
	bool peer_hears;     /* as the peer's latest probe says */
	unsigned missed;     /* rounds of probes that came over other networks since */
	uint64_t good_since; /* ms */
	unsigned hold_ms;    /* so long it must be good before the stream returns to it */
	uint64_t heard;	     /* ms: any authentic datagram; 0: never */
	uint32_t round;	     /* of the last probe */
	bool probed;	     /* there was one */
	uint64_t stamp;	     /* us: the peer's clock in it, */
	uint64_t stamped;    /* us: ours when it came */
	uint64_t rtt;	     /* us, smoothed; 0: unknown */
	uint64_t sent, received, lost, downs;
};

struct peer {
	struct links *links;
	struct link_peer config;
	unsigned npaths; /* networks that both are on; they are the first ones */
	unsigned slot;	 /* in the key ring, in the page and in links->peers */
	struct connection *up, *attempt;
	struct seal_sender *sender; /* outlives `up` */
	struct event *redial;
	unsigned backoff_ms;
	unsigned tried; /* bit a path: dialled in vain since the link was up */
	uint64_t up_since_ms;
	char why[LINK_WHY], logged[LINK_WHY];
	uint64_t times_up;
	uint64_t datagrams_sent, datagrams_received;
	struct connection_counters past; /* of connections that are over */
	struct peer_path paths[LINK_PATHS_MAX];
	uint32_t round;	 /* of our last probes */
	uint32_t newest; /* round of theirs */
	bool probed;	 /* there was one */
	unsigned skipped;
	uint64_t switch_after; /* ms: no other network is dialled before */
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

/* This member's end of one network. */
struct local {
	struct links *links;
	unsigned path;
	struct evconnlistener *listener;
	struct udp *udp;
};

struct links {
	struct link_config config;
	struct link_ops ops;
	struct connection_shared shared;
	struct local locals[LINK_PATHS_MAX];
	struct event *relisten, *tick;
	unsigned accepted; /* since the last pause */
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
	uint64_t datagrams_without_key, datagrams_too_long, datagrams_unknown;
	uint64_t packets_sent, packets_received;
	uint64_t probes_received, path_downs, failovers, returns;
};

uint64_t link_now_us(void);
uint64_t link_now_ms(void);
/* NULL if the member is not listed, or is this one. */
struct peer *link_peer_find(const struct links *l, member_id id);
/* This side dials the peer. */
bool link_peer_dials(const struct peer *p);

/* Before all others, with the event base in l->shared. 0 or -ENOMEM. */
int link_stream_init(struct links *l);
/* Listens on network `path`; 0 or -errno. */
int link_stream_listen(struct links *l, unsigned path, bool absent);
/* The end of all connections, without callbacks. */
void link_stream_stop(struct links *l);
/* Dials the peer over network `path`, unless an attempt is under way. False if it cannot
 * be begun. */
bool link_stream_dial(struct peer *p, unsigned path);
/* libevent's callback: dials the struct peer. */
void link_stream_redial(evutil_socket_t fd, short what, void *arg);
/* Seals the death note for the peer, if there are a note and a key. */
void link_stream_note(struct peer *p);

/* Opens the network's datagram socket; 0 or -errno. */
int link_path_open(struct links *l, unsigned path, bool absent);
/* Starts probing, if there is more than one network. 0 or -ENOMEM. */
int link_path_start(struct links *l);
void link_path_init(struct peer *p);
/* Seals the message and sends it over every network. */
void link_path_send(struct peer *p, const uint8_t *msg, size_t len);
/* The same with a packet, over one network. 0 or -errno. */
int link_path_send_packet(struct peer *p, const uint8_t *msg, size_t len);
/* The network that the peer is dialled over next, while there is no stream. */
unsigned link_path_to_dial(struct peer *p);
/* An attempt over it was in vain. */
void link_path_failed(struct peer *p, unsigned path);
/* Whether something was heard over it lately, and both sides hear each other. */
bool link_path_alive(const struct peer *p, unsigned path, uint64_t now_ms);

/* Notes and logs the end of a connection. `p` may be NULL: nobody knows who that was. */
void link_log_end(struct links *l, struct peer *p, const struct connection *c,
		  bool was_up);
void link_log_refusal(struct links *l, enum connection_end end, const char *who,
		      const char *why);
/* Of a link that never was: once for each reason. */
void link_log_not_yet(struct peer *p, const char *who);

#endif
