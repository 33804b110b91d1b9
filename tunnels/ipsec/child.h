/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CHILD SA: the pair of ESP SAs that carries a client's traffic, on any member.
 *
 * Every member holds the child of every session, with its keys ready, so that a
 * takeover costs nothing but child_activate(). Only the active one opens and seals.
 *
 *   initial     SA_ADD of both directions and CHILD_PUT, encoded: keys, addresses,
 *               selectors and the plugin's own state
 *   essential   what has been used of the lifetimes, see lifetime.c; and the counters:
 *               CHILD_LEASE   highest outbound sequence number that may be used
 *               CHILD_EDGE    highest inbound sequence number that was seen
 *   calculable  ciphers, statistics, and the replay window below its edge, which a new
 *               owner takes as seen
 */
#ifndef IPSEC_CHILD_H
#define IPSEC_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cluster/cluster.h"
#include "tunnels/ip.h"
#include "tunnels/ipsec/esp.h"
#include "tunnels/ipsec/local.h"
#include "tunnels/ipsec/replay.h"
#include "tunnels/ipsec/selector.h"

#define CHILD_LEASE 0 /* slots of the session's counters */
#define CHILD_EDGE 1
#define CHILD_LEASE_STEP 65536	 /* sequence numbers asked for at a time */
#define CHILD_SKIP (1u << 24)	 /* numbers skipped when the lease may be an older one */
#define CHILD_REFUSED UINT64_MAX /* an edge that refuses everything */
#define CHILD_HELD_MAX 4096	 /* packets that wait for a commit, each way */
#define CHILD_OUTER_MAX IP_OVERHEAD_MAX
#define CHILD_CLAMP_MAX 1500 /* a longer packet is none that opens a connection */

/* A packet that waits: inbound, clear and for the inside; outbound, clear, not sealed. */
struct held {
	STAILQ_ENTRY(held) next;
	uint64_t seq;
	size_t len;
	uint8_t bytes[];
};
STAILQ_HEAD(held_queue, held);

struct child_way {
	struct esp_cipher *cipher;
	uint32_t spi;
	struct local_addr src, dst;
	bool encap, esn;
	struct local_ts *src_ts, *dst_ts;
	unsigned src_count, dst_count;
	uint64_t soft_time, hard_time; /* ns after birth, 0: none */
	uint64_t soft_bytes, hard_bytes, soft_packets, hard_packets; /* 0: none */
	uint64_t packets, bytes; /* inner, of all owners as far as known */
	uint64_t assumed_packets, assumed_bytes; /* that may be unknown */
	uint64_t kept_packets, kept_bytes;	 /* as the record has them */
	struct mono used;			 /* the last packet; 0: none */
	struct held_queue held;
	unsigned held_count;
};

struct child {
	LIST_ENTRY(child) by_spi, by_spi_out, of_ike;
	TAILQ_ENTRY(child) waiting; /* among the children whose commits moved */
	bool is_waiting;
	struct session *session;
	uint64_t ike;
	uint64_t config; /* see struct connection; 0: not known yet */
	unit_id unit;
	bool active;
	struct child_way in, out;
	struct local_addr
	    seen; /* where the peer is behind a NAT, as charon was told last */
	struct mono seen_at;
	bool moved; /* the peer's new address is not committed before moved_at is */
	uint64_t moved_at;
	struct replay window;
	uint32_t activation;
	uint64_t iv_used; /* counter values used with this activation */
	uint64_t next_seq, lease_asked;
	struct mono born;
	uint64_t aged;	   /* ns before it came to this member */
	uint64_t kept_age; /* as the record has it */
	bool soft_told, hard_told;
	struct mono ended; /* when hard_told became true */
	bool transport;
	uint8_t copy;	   /* LOCAL_COPY_ of the headers */
	uint16_t mss;	   /* that TCP may offer at most, 0: any */
	uint16_t path_mtu; /* less than that of the interface, 0: not known */
	struct mono path_mtu_since;
	bool refused;	/* nobody knows the edge: inbound ends, and it is to be rekeyed */
	bool confirmed; /* the peer has used it, so it has it */
	bool retired;	/* a newer one is in use: charon has taken this one back */
	/* In transport mode the one address that its selectors have at each end: its NAT may
	 * give the peer another one later. 0: they have others. */
	struct address own, peer;
	struct selector_prefix *prefixes; /* of the remote selectors */
	unsigned nprefixes;
};

/*
 * The initial part of a child's record. Returns its length, 0 if it does not fit. `size`
 * of CHILD_INITIAL_MAX suffices for any keys; selectors and state are bounded by it.
 */
#define CHILD_INITIAL_MAX 20000
size_t child_encode(const struct local_sa_add *in, const struct local_sa_add *out,
		    const struct local_child_put *put, uint8_t *buf, size_t size);
/* The three messages of an initial part; they point into it. -EBADMSG. */
int child_decode(const uint8_t *initial, size_t len, struct local_sa_add *in,
		 struct local_sa_add *out, struct local_child_put *put);

/* A child, inactive, from an initial part. `window`: packets of the replay window.
 * -EBADMSG, -ENOTSUP (algorithm), -EDOM (transport mode that is not from host to host),
 * -ENOMEM. */
int child_new(struct child **child, const uint8_t *initial, size_t len, unsigned window,
	      struct mono now);
/* Takes from a changed initial part what may change: addresses, the IKE SA, and that it is
 * retired. -EBADMSG. */
int child_readdress(struct child *c, const uint8_t *initial, size_t len);
/* Wipes keys and held packets. The caller has unlinked it. NULL is allowed. */
void child_free(struct child *c);

/*
 * Begins to work, above what was ever used: outbound after `lease`, inbound after `edge`,
 * with IVs of a fresh activation number. With the edge CHILD_REFUSED nothing is accepted any
 * more. Lifetimes that ran out are told once more.
 */
void child_activate(struct child *c, uint64_t lease, uint64_t edge, uint32_t activation);
/* Stops, and drops what was held. */
void child_deactivate(struct child *c);

/* lifetime.c: ns since the SA was made, on whatever member. */
uint64_t child_age(const struct child *c, struct mono now);
/* Whether bytes, packets or numbers have come to their soft or hard limit: cheap. Hard: no
 * packet may pass any more. */
bool child_spent(const struct child *c, bool hard);
/* The same, with time. */
bool child_expired(const struct child *c, bool hard, struct mono now);
/* What may have been used elsewhere, and was not heard of. For who takes over. */
void child_assume(struct child *c);
/* The essential part of the record: whether it is time to put it anew; makes it; takes it
 * over (-EBADMSG). Nothing ever becomes less. */
#define CHILD_USAGE_SIZE 72
bool child_usage_due(const struct child *c, struct mono now);
size_t child_usage_put(struct child *c, uint8_t buf[CHILD_USAGE_SIZE], struct mono now);
int child_usage_take(struct child *c, const uint8_t *usage, size_t len, struct mono now);

/*
 * Opens an ESP packet (from its SPI on) into `out`: an inner IP packet of *outlen bytes
 * and its sequence number. `tos` is the outer header's. -EALREADY, -ESTALE: replay;
 * -EBADMSG: ICV; -EINVAL: malformed; -EACCES: the inner packet is outside the selectors;
 * -EPROTO: congestion was met by a packet that cannot tell; -ENODATA: a dummy packet.
 */
int child_open(struct child *c, const uint8_t *esp, size_t len, uint8_t tos, uint8_t *out,
	       size_t size, size_t *outlen, uint64_t *seq, struct mono now);

/* The longest inner packet that fits into an outer one of `mtu` bytes; 0: none. */
size_t child_room(const struct child *c, size_t mtu);

/* The highest number that may be used outbound. */
uint64_t child_last_number(const struct child *c);

/* How narrow the selectors are by which this inner packet may go out through the child.
 * 0: it may not. */
unsigned child_selects(const struct child *c, const uint8_t *ip, size_t len);
/*
 * Seals an inner packet with the next sequence number, which the caller has seen to be
 * leased, into a whole packet of the outer addresses' family. -EINVAL: no IP packet, or
 * none for transport mode; -ENOSPC; -EAFNOSUPPORT: the addresses are of different
 * families; -EOVERFLOW: numbers or IVs are used up.
 */
int child_seal(struct child *c, member_id self, const uint8_t *ip, size_t len,
	       uint8_t *out, size_t size, size_t *outlen, struct mono now);

/* Queues a copy. -ENOBUFS when CHILD_HELD_MAX packets wait, -ENOMEM. */
int child_hold(struct child_way *way, uint64_t seq, const uint8_t *bytes, size_t len);

#endif
