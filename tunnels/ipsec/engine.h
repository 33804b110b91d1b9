/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the IPsec tunnel: what its files share, and nobody else sees.
 *
 *   ipsec.c     the tunnel's operations, and the plugin's messages
 *   logins.c    IKE SAs: their packets, their copies, their way to another charon
 *   isakmp.c    the same of IKEv1
 *   traces.c    what was last seen of IKE SAs
 *   begun.c     rekeyings that a former owner has begun, and message IDs
 *   imports.c   IKE SAs on their way into this member's charon
 *   half.c      IKE SAs that are not established yet
 *   quick.c     quick modes of IKEv1 that are not finished yet
 *   unique.c    a user's other IKE SAs, over the whole cluster
 *   pulse.c     whether charon is alive
 *   connections.c  what charon has loaded from its configuration
 *   starts.c    which of that this member starts, and when
 *   compare.c   whether other members' charons have loaded the same
 *   requests.c  what an operator wants of another member's charon
 *   children.c  CHILD SAs: creation, shadows, routes
 *   traffic.c   ESP in and out, and what waits for a commit
 *   transport.c what transport mode carries, from and to this machine's programs
 *   addresses.c virtual addresses of pools
 *   policy.c    what its connections protect without an SA, too
 *   usage.c     which of them are in use, and which are leased
 *   farewell.c  what is still to be said of IKE SAs that have ended
 *   merging.c   after a cut: whose copy of a login goes on
 *   view.c      what an operator sees, and can end
 *
 * Records in the store, by type of key:
 *
 *   RECORD_IKE      key: our SPI, 8 bytes. initial: IKE_PUT, essential: struct
 *                   ike_exchanges
 *   RECORD_CHILD    key: inbound SPI, 4 bytes. See child.h
 *   RECORD_ADDRESS  key: a virtual address, 4 or 16 bytes, in the unit that it folds
 *                   to. initial: the identity that holds it
 *   RECORD_HALF     key: our SPI, 8 bytes. See half.c
 *   RECORD_FAREWELL key: our SPI, 8 bytes. See farewell.c
 *   RECORD_START    key: a connection's id, 8 bytes, in the unit that its peer's
 *                   addresses hash to. initial: its names, essential: see starts.c
 *   RECORD_QUICK    key: the inbound SPI that its CHILD SA will have, 4 bytes. initial:
 *                   QUICK_OPEN
 */
#ifndef IPSEC_ENGINE_H
#define IPSEC_ENGINE_H

#include <sys/queue.h>

#include "src/bpf/unit.h"
#include "tunnels/ip.h"
#include "tunnels/ipsec/child.h"
#include "tunnels/ipsec/ike.h"
#include "tunnels/ipsec/ipsec.h"
#include "tunnels/ipsec/plugin.h"

#define RECORD_IKE 1
#define RECORD_CHILD 2
#define RECORD_ADDRESS 3
#define RECORD_HALF 4
#define RECORD_START 5
#define RECORD_QUICK 6
#define RECORD_FAREWELL 7

#define TABLE_SIZE 4096 /* buckets */
#define VIP_SIZE 17	/* family and address, see IKE_PUT */

/* Everything that is dropped, and what else is worth a count. */
#define IPSEC_STATISTICS(X)                                                              \
	X(esp_in, "ipsec.esp-in")                                                        \
	X(esp_out, "ipsec.esp-out")                                                      \
	X(esp_replay, "ipsec.esp-replay")                                                \
	X(esp_icv, "ipsec.esp-bad-icv")                                                  \
	X(esp_malformed, "ipsec.esp-malformed")                                          \
	X(esp_moved, "ipsec.esp-peer-moved")                                             \
	X(esp_selector, "ipsec.esp-outside-selector")                                    \
	X(esp_unknown, "ipsec.esp-unknown-spi")                                          \
	X(esp_congestion, "ipsec.esp-illegal-congestion-mark")                           \
	X(esp_expired, "ipsec.esp-beyond-lifetime")                                      \
	X(esp_too_big, "ipsec.esp-too-big")                                              \
	X(path_mtu, "ipsec.path-mtu-learnt")                                             \
	X(path_mtu_refused, "ipsec.path-mtu-refused")                                    \
	X(esp_fragmented, "ipsec.esp-fragmented")                                        \
	X(esp_unsealed, "ipsec.esp-not-sealed")                                          \
	X(esp_transport, "ipsec.esp-transport-not-taken")                                \
	X(transport_conflict, "ipsec.transport-conflict")                                \
	X(transport_clear, "ipsec.transport-outside-selector")                           \
	X(esp_unproven, "ipsec.esp-refused-until-rekey")                                 \
	X(esp_exhausted, "ipsec.esp-exhausted")                                          \
	X(not_served, "ipsec.not-served")                                                \
	X(no_route, "ipsec.no-route")                                                    \
	X(held_in, "ipsec.held-in")                                                      \
	X(held_out, "ipsec.held-out")                                                    \
	X(held_full, "ipsec.held-overflow")                                              \
	X(ike_in, "ipsec.ike-in")                                                        \
	X(ike_out, "ipsec.ike-out")                                                      \
	X(nat_keepalives, "ipsec.nat-keepalives-out")                                    \
	X(ike_malformed, "ipsec.ike-malformed")                                          \
	X(ike_checksum, "ipsec.ike-bad-checksum")                                        \
	X(ike_repeated, "ipsec.ike-answered-from-copy")                                  \
	X(ike_kept, "ipsec.ike-response-kept")                                           \
	X(ike_doubted, "ipsec.ike-response-to-verify")                                   \
	X(ike_unasked, "ipsec.ike-response-unasked")                                     \
	X(ike_replayed, "ipsec.ike-replayed-elsewhere")                                  \
	X(traces_full, "ipsec.ike-trace-left-out")                                       \
	X(ike_resent, "ipsec.ike-request-repeated")                                      \
	X(ike_synced, "ipsec.ike-message-ids-agreed")                                    \
	X(ike_resumed, "ipsec.ike-rekeyings-resumed")                                    \
	X(ike_uncopied, "ipsec.ike-message-without-copy")                                \
	X(ike_dropped, "ipsec.ike-uncommitted-dropped")                                  \
	X(ike_deferred, "ipsec.ike-request-deferred")                                    \
	X(ike_overflow, "ipsec.ike-queue-overflow")                                      \
	X(imports, "ipsec.imports")                                                      \
	X(imports_failed, "ipsec.imports-failed")                                        \
	X(imports_ended, "ipsec.imports-ended")                                          \
	X(charon_hung, "ipsec.charon-hung")                                              \
	X(replaced, "ipsec.logins-replaced")                                             \
	X(half_open, "ipsec.half-open")                                                  \
	X(half_left_out, "ipsec.half-open-left-out")                                     \
	X(half_imports, "ipsec.half-open-imports")                                       \
	X(half_identical, "ipsec.half-open-answers-dropped")                             \
	X(half_failed, "ipsec.half-open-failed")                                         \
	X(quick_imports, "ipsec.quick-mode-imports")                                     \
	X(children_refused, "ipsec.child-sas-over-limit")                                \
	X(ike_unsent, "ipsec.ike-uncommitted-overflow")                                  \
	X(records_bad, "ipsec.records-unreadable")                                       \
	X(merge_left_out, "ipsec.merge-left-out")                                        \
	X(starts, "ipsec.connections-started")                                           \
	X(trapped, "ipsec.trapped-held")                                                 \
	X(trap_dropped, "ipsec.trapped-dropped")                                         \
	X(pool_empty, "ipsec.pool-exhausted")

struct ipsec_statistics {
#define X(name, text) uint64_t name;
	IPSEC_STATISTICS(X)
#undef X
};

enum import_state {
	IMPORT_NONE,
	IMPORT_WAITING, /* in ipsec.imports */
	IMPORT_SENT,	/* the plugin has not answered yet */
	IMPORT_FAILED,	/* tried again at retry_at */
};

#define TRACE_MARKS 8

/* What was last seen of the exchanges of an IKE SA. */
struct ike_trace {
	uint64_t spi;
	uint32_t received_mid, sent_mid;
	bool received, sent;
	bool said; /* something, by charon, at said_at */
	struct mono said_at;
	uint8_t digest[IKE_DIGEST_SIZE]; /* of what was received */
	unsigned nmarks;
	uint32_t marks[TRACE_MARKS]; /* see ike_heard_add(); of nmarks the last ones */
};

/* An IKE SA, of this member or a shadow of another's. */
struct ike_sa {
	LIST_ENTRY(ike_sa) by_spi, by_peer;
	struct session *session;
	uint64_t spi, peer; /* peer: see IKE_PUT */
	uint64_t name;	    /* its connection's name_id */
	unit_id unit;
	bool isakmp; /* of IKEv1 */
	bool live;   /* charon here has it */
	bool ending; /* charon was told to end it; if it does not, we do at end_at */
	struct mono end_at;
	struct ike_exchanges exchanges;
	struct ike_trace trace;
	bool inherited; /* the outstanding request is a dead owner's: charon knows nothing
			 */
	bool syncing;	/* charon asks the peer to agree on message IDs */
	bool resumed;	/* it is charon's, too, but in other bytes */
	struct ike_begun *begins; /* by charon's next request, see IKE_BEGUN */
	bool imported;		  /* and so is the last response */
	bool unkept;   /* the exchanges are not in the store as they stand here */
	bool unwanted; /* it is to be removed: charon does not know it */
	bool deleting; /* one end says DELETE: charon's next message of it tells which */
	struct usage *usage; /* of virtual addresses */
	/* Of its children that are gone. */
	uint64_t bytes_in, bytes_out, packets_in, packets_out;
	unsigned repeats;
	struct mono repeat_at;
	enum import_state import;
	TAILQ_ENTRY(ike_sa) importing;
	unsigned failures;
	struct mono retry_at;
	struct mono passed_on; /* given to another member, since charon refused it */
};

/* An IKE message that waits until the state behind it is committed. */
struct waiting_packet {
	TAILQ_ENTRY(waiting_packet) next;
	unit_id unit;
	uint64_t position;
	struct local_addr src, dst;
	size_t len;
	uint8_t bytes[];
};

/* policy.c */
/* A pool of charon's. Its pools are known until it goes. */
void policy_pool(struct ipsec *t, const struct local_pool *pool);
/* Tells the host what the connections and pools protect. */
void policy_report(struct ipsec *t);
void policy_forget(struct ipsec *t);

struct waiting_address; /* addresses.c */
struct address_errand;
struct usage; /* usage.c */

/* A virtual address that belongs to an identity, in session_user() of its record. */
struct lease {
	LIST_ENTRY(lease) by_address, by_holder;
	struct session *session;
	struct address address;
	unsigned idle;	 /* LEASE_FRESH, or sweeps that have found nobody using it */
	uint64_t holder; /* hash of the identity */
	bool used;	 /* by a session, since it was given */
	/* When some member vanished, see shares.c: */
	enum { PARTED_NOT, PARTED_MAYBE, PARTED_USED } parted;
};

#define LEASE_FRESH 0 /* its login is still under way */
#define LEASE_USED 1
#define LEASE_RECENT 4 /* below, its client may come back beyond a cut */
#define LEASE_IDLE 8   /* see lease_is_idle() */

#define SHARE_PARTS 1024

/* A member's share of the addresses, see shares.c. */
struct share {
	member_id member;
	const char *name;
	bool there;	   /* the member is, and has all that its cluster holds */
	bool lost;	   /* it was, and then was not; until everybody is there */
	bool kept;	   /* so nobody is given what is in it */
	struct mono since; /* when it was seen to be missing */
};

struct staged_sa {
	LIST_ENTRY(staged_sa) next;
	uint32_t spi;
	uint64_t ike;
	bool inbound;
	size_t len;
	uint8_t bytes[]; /* SA_ADD, encoded */
};

/* What an IKE SA that is not established yet will replace. */
struct staged_replaces {
	TAILQ_ENTRY(staged_replaces) next;
	uint64_t spi;
	struct ike_replaces replaces;
};

/* A CHILD SA's configuration that this member's charon has loaded; without a child: a
 * connection that has none. */
struct connection {
	LIST_ENTRY(connection) next, by_id;
	uint64_t name_id, id;  /* hashes of the name, and of name and child */
	uint8_t actions, mode; /* LOCAL_START_ and so on, enum local_mode */
	uint64_t digest;       /* of all that is configured, but for secrets */
	/* Text, and lists of selectors as they come from the plugin. */
	char *name, *child, *remote;
	struct local_blob local_ts, remote_ts;
	bool said; /* since the last CONFIGS */
	/* starts.c */
	bool up,
	    was_up; /* some member has the SA; and had it while this one was to start */
	bool asked; /* to be started whatever was before */
	uint8_t noted; /* at another member: LOCAL_TRAPPED or LOCAL_UNTRAPPED, or 0 */
	unsigned tries;
	struct mono next_try;
	bool trapped, routed; /* packets start it, and find their way to who does */
	unit_id route_unit;
	struct held_queue held;
	unsigned held_count;
	struct mono held_since;
	uint8_t bytes[];
};

struct pool_range {
	struct local_addr base;
	uint32_t count;
};

#define POOLS_MAX 256

#define REMARK_SIZE 512

/* What another member's charon has loaded, as it says: see compare.c. */
struct notice {
	LIST_ENTRY(notice) next;
	member_id from;
	char remark[REMARK_SIZE], logged[REMARK_SIZE]; /* how it differs from ours */
	size_t len;
	uint8_t bytes[];
};

struct outbound {
	LIST_ENTRY(outbound) next; /* newest first */
	struct address prefix;
	unsigned len;
	struct child *child;
};

/* How often something was done in the second that began then. */
struct rate {
	struct mono since;
	unsigned n;
};

struct ipsec {
	struct tunnel_host host;
	struct ipsec_config config;
	struct plugin *plugin;
	bool welcomed; /* the plugin has said HELLO */
	struct unit_set units;
	uint32_t activation[CLUSTER_UNITS];
	struct mono engaged[CLUSTER_UNITS]; /* until when, see login_engages() */
	LIST_HEAD(, ike_sa) ikes[TABLE_SIZE];
	LIST_HEAD(, ike_sa) peers[TABLE_SIZE];
	LIST_HEAD(, half) halves[CLUSTER_UNITS];
	unsigned nhalves, halves_of[CLUSTER_UNITS];
	LIST_HEAD(, quick) quicks[CLUSTER_UNITS];
	unsigned nquicks;
	LIST_HEAD(, farewell) farewells[CLUSTER_UNITS];
	unsigned nfarewells, nasking; /* nasking: whose peers this member tells */
	LIST_HEAD(, child) children[TABLE_SIZE];
	LIST_HEAD(, child) ways_out[TABLE_SIZE]; /* children by outbound SPI */
	LIST_HEAD(, child) families[TABLE_SIZE]; /* children by their IKE SA's SPI */
	LIST_HEAD(, outbound) outbound[TABLE_SIZE];
	unsigned prefix_lens[2][129]; /* how many entries of each family and length */
	struct transport *transport;
	unsigned ntransport; /* children of transport mode */
	struct ike_trace traces[TABLE_SIZE];
	LIST_HEAD(, staged_sa) staged;
	unsigned nstaged;
	TAILQ_HEAD(child_list, child)
	waiting; /* children of which a counter was committed */
	TAILQ_HEAD(, waiting_packet) packets;
	size_t packets_size;	      /* bytes of them */
	struct mono children_refused; /* when it was last said */
	TAILQ_HEAD(, waiting_address) addresses;
	TAILQ_HEAD(, address_errand) errands;
	unsigned nerrands;
	bool scanning;		  /* some client's pool is being looked through */
	struct mono addresses_at; /* one of them is to be looked after again */
	unsigned scan_budget;	  /* addresses to look at until the next tick */
	struct {
		struct address base;
		uint32_t count;
		struct mono until;
	} exhausted; /* a pool in which all of it was looked at in vain */
	LIST_HEAD(, usage) usage[TABLE_SIZE];	/* by virtual address */
	LIST_HEAD(, lease) leases[TABLE_SIZE];	/* the same */
	LIST_HEAD(, lease) holders[TABLE_SIZE]; /* leases by identity */
	struct share shares[CLUSTER_MEMBERS_MAX];
	unsigned nshares;
	const struct share *homes[SHARE_PARTS]; /* by address */
	bool parted; /* leases that were in use then are marked */
	TAILQ_HEAD(, staged_replaces) replaces;
	unsigned nreplaces;
	bool enforce;	    /* some IKE SA may have to go, see unique_enforce() */
	unsigned inherited; /* IKE SAs with a request to repeat */
	TAILQ_HEAD(, ike_sa) imports;
	unsigned imports_under_way, imports_failed;
	struct {
		uint32_t id, answered; /* of PINGs */
		unsigned looks;	       /* since the last one was sent */
		struct mono at;	       /* the next look */
		bool able;	       /* as the host was told */
	} pulse;
	bool unwanted;	   /* some IKE SA is */
	struct mono sweep; /* next look at lifetimes and addresses */
	struct ipsec_statistics statistics;
	struct unit_traffic traffic[CLUSTER_UNITS];
	struct rate too_long; /* errors of routers that were looked at */
	struct rate too_big;  /* and those that were sent */
	struct mono audited;  /* when a refused packet was last logged */
	unsigned unaudited;   /* that were refused since */
	LIST_HEAD(, connection) connections;
	LIST_HEAD(, connection) connection_ids[TABLE_SIZE];
	unsigned nconnections;
	struct pool_range pools[POOLS_MAX];
	unsigned npools;
	LIST_HEAD(, notice) notices;
	unsigned nnotices;
	struct mono starts_at; /* the next look at them */
	TAILQ_HEAD(, request) requests;
	unsigned nrequests;
	bool configured; /* they are all that charon has loaded */
	uint8_t scratch[ESP_PACKET_MAX + CHILD_OUTER_MAX];
};

/* The unit of an SPI of ours. */
static inline unit_id spi_unit(uint64_t spi)
{
	return (unit_id)(spi % CLUSTER_UNITS);
}

/* logins.c */
struct session_key login_key(uint64_t spi);
struct ike_sa *login_find(struct ipsec *t, uint64_t spi);
/* The initial part of its record. False: it is malformed. What it points to is the record's. */
bool login_read(const struct session *s, struct local_ike_put *put);
void login_receive(struct ipsec *t, const struct local_addr *src,
		   const struct local_addr *dst, const uint8_t *packet, size_t len,
		   struct mono now);
void login_transmit(struct ipsec *t, const struct local_ike_tx *tx, struct mono now);
void login_put(struct ipsec *t, const struct local_message *m, struct mono now);
/* An inherited request is answered. */
void login_verified(struct ipsec *t, const struct local_ike_verified *v, struct mono now);
void login_delete(struct ipsec *t, uint64_t spi, struct mono now);
/* The shadow's record changed; or goes, which frees the IKE SA. */
void login_shadow(struct ipsec *t, struct session *s);
void login_free(struct ipsec *t, struct ike_sa *sa);
/* What its former owner has asked and not been answered is repeated from now on. */
void login_inherit(struct ipsec *t, struct ike_sa *sa, struct mono now);
/* It was rekeyed: what the operator sees of the session goes on. */
void login_follow(struct ipsec *t, uint64_t was, uint64_t is, struct mono now);
/* Ends it, with its children, in the whole cluster; the peer is not told. Frees it. */
void login_end(struct ipsec *t, struct ike_sa *sa, struct mono now);
/* charon goes on with a login of this unit that no other member's charon could go on with. */
void login_engages(struct ipsec *t, unit_id unit, struct mono now);
/* Makes charon forget it. */
void login_drop(struct ipsec *t, struct ike_sa *sa);
/* The same of an IKE SA that may be half-open. */
void login_drop_spi(struct ipsec *t, uint64_t spi);
/* Lets go what has been committed; repeats what a dead owner had asked. */
void login_release(struct ipsec *t);
void login_tick(struct ipsec *t, struct mono now);
struct mono login_timeout(const struct ipsec *t);
/* Says it again. */
void login_say(struct ipsec *t, const struct ike_copy *copy);
/* Whether all that was put so far into the unit is held by its successor. */
bool login_settled(const struct ipsec *t, unit_id unit);
/* charon deletes it, or its peer does. */
void login_deleting(struct ipsec *t, uint64_t spi);
void login_send(struct ipsec *t, const struct local_addr *src,
		const struct local_addr *dst, const uint8_t *packet, size_t len);

/* Puts the exchanges into the store, as they stand. -EMSGSIZE, or as cluster_put() does. */
int login_keep(struct ipsec *t, struct ike_sa *sa, struct mono now);

/* Sends it when all that is put by now is committed. */
void login_wait(struct ipsec *t, unit_id unit, const struct local_ike_tx *tx);
/* At once, if nothing stands in its way. */
void login_send_settled(struct ipsec *t, unit_id unit, const struct local_ike_tx *tx,
			struct mono now);
/* Whether the copies of this SA may be said. */
bool login_sayable(struct ipsec *t, struct ike_sa *sa, struct mono now);

/* isakmp.c */
void isakmp_transmit(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
		     const struct local_ike_tx *tx, struct mono now);
/* True if the message is to go to charon. `sa` NULL: it is not established, or known. */
bool isakmp_receive(struct ipsec *t, struct ike_sa *sa, const struct ike_header *h,
		    const struct local_addr *src, const uint8_t *packet, size_t len,
		    struct mono now);
/* charon has found a message authentic. */
void isakmp_heard(struct ipsec *t, const struct local_ike_heard *m, struct mono now);

/* traces.c */
/* charon speaks of an IKE SA that is not established, or has just ended; spi: ours. */
void traces_said(struct ipsec *t, uint64_t spi, const struct ike_header *h,
		 struct mono now);
/* A request has come, from anybody. `sa` NULL: there is none. */
void traces_heard(struct ipsec *t, struct ike_sa *sa, uint64_t spi, uint32_t mid,
		  const uint8_t digest[IKE_DIGEST_SIZE], struct mono now);
/* What the peer has said before its IKEv1 SA was established. */
void traces_mark(struct ipsec *t, uint64_t spi, uint32_t mark);
/* It is established: takes what was seen of it. */
void traces_take(struct ipsec *t, struct ike_sa *sa);

/* begun.c */
/* charon waits for the answer to an inherited request itself. */
void begun_resumed(struct ipsec *t, const struct local_ike_resumed *r);
/* Message IDs: charon asks the peer to agree on new ones, and has them. */
void begun_syncing(struct ipsec *t, const struct local_ike_syncing *m, struct mono now);
void begun_synced(struct ipsec *t, const struct local_ike_synced *m, struct mono now);
void begun_note(struct ipsec *t, const struct local_ike_begun *b);
/* Of charon's request with this number the first packet is here. */
void begun_take(struct ike_sa *sa, uint32_t mid);
void begun_forget(struct ike_sa *sa);

/* imports.c */
/* All IKE SAs of these units that charon does not have. */
void imports_add(struct ipsec *t, const struct unit_set *units, struct mono now);
/* Its client speaks: if it waits, it goes first. */
void imports_urge(struct ipsec *t, struct ike_sa *sa);
/* It is not to be imported any more; or none is, since charon has gone. */
void imports_forget(struct ipsec *t, struct ike_sa *sa);
void imports_forget_all(struct ipsec *t);
void imports_done(struct ipsec *t, uint64_t spi, struct mono now);
void imports_failed(struct ipsec *t, const struct local_import_failed *f,
		    struct mono now);
void imports_tick(struct ipsec *t, struct mono now);

/* half.c */
struct half;
void half_put(struct ipsec *t, const struct local_message *m, struct mono now);
/* It is established, or will never be. */
void half_end(struct ipsec *t, uint64_t spi, struct mono now);
void half_shadow(struct ipsec *t, struct session *s);
void half_free(struct ipsec *t, struct half *half);
/* False: this message of charon is not to leave. */
bool half_transmit(struct ipsec *t, const struct ike_header *h,
		   const struct local_ike_tx *tx, struct mono now);
/* True if the request is not for charon, as it belongs to a login that cannot go on. */
bool half_receive(struct ipsec *t, const struct ike_header *h,
		  const struct local_addr *src, const struct local_addr *dst,
		  struct mono now);
void half_import(struct ipsec *t, const struct unit_set *units, struct mono now);
/* Makes charon forget those of these units; or it has gone, and with it all. */
void half_drop(struct ipsec *t, const struct unit_set *units);
void half_drop_all(struct ipsec *t);
void half_sweep(struct ipsec *t, struct mono now);

/* quick.c */
struct quick;
void quick_put(struct ipsec *t, const struct local_message *m, struct mono now);
/* Its CHILD SA is there. */
void quick_end(struct ipsec *t, uint32_t spi, struct mono now);
void quick_shadow(struct ipsec *t, struct session *s);
void quick_free(struct ipsec *t, struct quick *q);
/* charon has been given the IKE SA, and is to answer what it owes the peer. */
void quick_import(struct ipsec *t, const struct ike_sa *sa, struct mono now);
/* Whether charon's message with this number is such an answer; and, of one, whether the
 * former owner's charon has given just this one. */
bool quick_awaited(struct ipsec *t, const struct ike_sa *sa, uint32_t mid);
bool quick_agrees(const struct ike_sa *sa, const struct local_ike_tx *tx);
void quick_sweep(struct ipsec *t, struct mono now);

/* farewell.c */
/* Keeps what was said last of an IKE SA that is about to be removed. `ask`: our own DELETE is
 * said again, by this member. */
void farewell_keep(struct ipsec *t, struct ike_sa *sa, bool ask, struct mono now);
/* Of units that are this member's now: ends IKE SAs whose owner was about to. */
void farewell_inherit(struct ipsec *t, const struct unit_set *units, struct mono now);
void farewell_shadow(struct ipsec *t, struct session *s);
void farewell_free(struct ipsec *t, struct farewell *e);
/* True if the message is for such an IKE SA, and dealt with. */
bool farewell_receive(struct ipsec *t, const struct ike_header *h);
void farewell_tick(struct ipsec *t, struct mono now);
struct mono farewell_timeout(const struct ipsec *t);
void farewell_sweep(struct ipsec *t, struct mono now);

/* unique.c */
void unique_ask(struct ipsec *t, const struct local_unique_ask *ask);
/* Whether any member has an IKE SA with the peer. */
void unique_contact(struct ipsec *t, const struct local_contact_ask *ask);
/* It was just established here: takes what unique_ask() has found. */
void unique_established(struct ipsec *t, struct ike_sa *sa);
void unique_forget(struct ipsec *t);
/* Ends the IKE SAs of this member that another one's record names. */
void unique_enforce(struct ipsec *t, struct mono now);

/* pulse.c */
/* charon has greeted; the host is told that it is able when it has answered. */
void pulse_begin(struct ipsec *t, struct mono now);
void pulse_answer(struct ipsec *t, uint32_t id);
/* To be asked at each tick: true if charon hangs. */
bool pulse_missed(struct ipsec *t, struct mono now);

/* view.c: what an operator sees of an IKE SA, and its end. */
bool ipsec_view(void *tunnel, struct session *s, struct session_view *out,
		struct mono now);
int ipsec_end(void *tunnel, struct session *s, bool force);
/* Removes what is to end and charon does not know. */
void ipsec_end_unknown(struct ipsec *t, struct mono now);

/* children.c */
/* The children of an IKE SA, one after the other; `c` NULL: the first. */
struct child *children_of(const struct ipsec *t, uint64_t ike, const struct child *c);
struct child *child_find(struct ipsec *t, uint32_t spi);
void children_stage(struct ipsec *t, const struct local_message *sa_add);
void children_put(struct ipsec *t, const struct local_child_put *put, struct mono now);
void children_update(struct ipsec *t, const struct local_sa_update *u, struct mono now);
void children_delete(struct ipsec *t, uint32_t spi_in, struct mono now);
/* Forgets an outbound SA that has not become part of a child. */
void children_unstage(struct ipsec *t, uint32_t spi, bool inbound);
/* charon has taken an outbound SA to `dst` back. */
void children_retire(struct ipsec *t, uint32_t spi_out, const struct local_addr *dst);
/* Whether a child of transport mode of another host with this peer's address is at work here
 * that would take the packet, too; or, without a packet, any such. */
bool children_rival(struct ipsec *t, const struct child *c, const uint8_t *ip,
		    size_t len);
/* Whether the IKE SA has children of transport mode, and is the host's of that child. */
bool children_same(struct ipsec *t, uint64_t ike, const struct child *c);
/* Another IKE SA of the same host in transport mode; 0: there is none. */
uint64_t children_elder(struct ipsec *t, const struct child *c);
/* Whether there is a child of transport mode between these two. */
bool children_peer(struct ipsec *t, uint8_t family, const uint8_t *local,
		   const uint8_t *peer);
/* Whether packets to just this address go to a child of any member. */
bool children_hold(const struct ipsec *t, const struct address *address);
void children_unstage_all(struct ipsec *t);
void children_query(struct ipsec *t, const struct local_sa_query *q, struct mono now);
void children_shadow(struct ipsec *t, struct session *s, struct mono now);
void children_free(struct ipsec *t, struct child *c);
/* The active child whose packets to `dst` have this SPI. */
struct child *children_sealing(struct ipsec *t, uint32_t spi_out,
			       const struct local_addr *dst);
/*
 * The newest active child for this packet, of those with the longest prefix whose
 * selectors take it. NULL: there is none; or it is another member's, *shadow, which is NULL
 * before.
 */
struct child *children_route(struct ipsec *t, const uint8_t *ip, size_t len, uint64_t ike,
			     struct child **shadow);
/* Tells charon of a child's lifetimes that have run out. */
void children_expire(struct ipsec *t, struct child *c, struct mono now);
/* Tells the other members what has been used of a child's lifetimes, if it is time: cheap. */
void children_keep_usage(struct ipsec *t, struct child *c, struct mono now);
/* Tells charon of lifetimes that have run out, and ends what it does not end. */
void children_age(struct ipsec *t, struct mono now);

/* traffic.c */
/* An ESP packet, in the outer one or in its UDP. */
void traffic_receive(struct ipsec *t, const struct ip_packet *outer, const uint8_t *esp,
		     size_t len, struct mono now);
/* `hops`: members that it has passed. */
void traffic_forward(struct ipsec *t, const uint8_t *ip, size_t len, unsigned hops,
		     struct mono now);
/* A packet of ip_write(), or one that has come so, to the outside: in fragments if it must. */
void traffic_send(struct ipsec *t, const uint8_t *ip, size_t len);
/* Of struct tunnel_ops: the path of the quoted packet's SA takes less. */
void traffic_too_long(struct ipsec *t, const uint8_t *quoted, size_t len, unsigned mtu,
		      struct mono now);
/* transport.c */
int transport_new(struct transport **out);
void transport_free(struct transport *n); /* takes NULL */
/* The packet that has come through a child of transport mode, as the kernel is to see it.
 * False: it is not for the kernel. */
bool transport_arrive(struct ipsec *t, const struct child *c, uint8_t *ip, size_t len);
/* children_route(), and *ip as the peer is to see it. `hops`: members that it has passed.
 * `refused`: nobody can say for which of several peers it is. */
struct child *transport_route(struct ipsec *t, const uint8_t **ip, size_t len,
			      unsigned hops, struct child **shadow, bool *refused);
/* Whether a packet that no child takes is this machine's to a peer of transport mode whose
 * selectors do not cover it. */
bool transport_bypasses(struct ipsec *t, const uint8_t *ip, size_t len);
/* The IKE SA was rekeyed; all of its children have stopped or gone. */
void transport_follow(struct ipsec *t, uint64_t was, uint64_t is);
void transport_forget(struct ipsec *t, uint64_t ike);

/* A counter of the child was committed: remembers it for traffic_release(). */
void traffic_committed(struct ipsec *t, struct child *c);
void traffic_release(struct ipsec *t, struct mono now);
/* The child's unit has gone: what is committed is let out, the rest goes after the unit. */
void traffic_stop(struct ipsec *t, struct child *c, struct mono now);
/* Asks for more outbound numbers in time. */
void traffic_lease(struct ipsec *t, struct child *c, struct mono now);

/* connections.c */
/* One of the connections that charon has loaded; and the end of their list. */
void connections_config(struct ipsec *t, const struct local_config *config);
void connections_configs(struct ipsec *t, struct mono now);
/* charon has gone: what it had loaded is remembered. Or for good. */
void connections_doubt(struct ipsec *t);
void connections_forget(struct ipsec *t);
struct connection *connection_find(const struct ipsec *t, uint64_t id);
uint64_t connection_name_id(struct local_blob name);
uint64_t connection_id(uint64_t name_id, struct local_blob child);
unit_id connection_unit(const struct ipsec *t, const struct connection *c);

/* compare.c */
/* Tells the other members; and looks at what they have told. */
void compare_tell(struct ipsec *t, struct mono now);
void compare_sweep(struct ipsec *t, struct mono now);
void compare_noticed(struct ipsec *t, member_id from, const uint8_t *what, size_t len);
void compare_departed(struct ipsec *t, member_id id);
void compare_forget(struct ipsec *t);
/* In which way a member's charon is configured otherwise; "" if it is not, or nobody knows.
 * Valid until the next call. */
const char *compare_remark(const struct ipsec *t, member_id id);

/* starts.c */
/* What the cluster knows of a connection. */
struct start {
	uint8_t state;	   /* enum start_state */
	bool trapped;	   /* by an action of charon's, not by START_TRAP */
	uint32_t failures; /* so often charon has given up */
	uint64_t digest;   /* of the configuration that it was started by */
};

enum start_state {
	START_NONE,   /* never started */
	START_WANTED, /* until it is up */
	START_UP,
	START_DOWN, /* it was up, or is not wanted any more */
	START_STATES,
};

struct session_key start_key(uint64_t id);
struct start start_of(const struct ipsec *t, const struct connection *c);
void starts_note(struct ipsec *t, const struct local_start_note *note, struct mono now);
/* Its packets go no longer to who starts it, and what waits for it is dropped. */
void starts_release(struct ipsec *t, struct connection *c);
/* True if the packet, for which there is no SA, starts a connection, and waits for it. */
bool starts_trap(struct ipsec *t, const uint8_t *ip, size_t len, struct mono now);
/* The IKE SA ends, and neither the peer nor an operator has wanted that. */
void starts_lost(struct ipsec *t, const struct ike_sa *sa);
/* These units are this member's now. */
void starts_begin(struct ipsec *t, const struct unit_set *units);
/* Soon. */
void starts_look(struct ipsec *t);
void starts_tick(struct ipsec *t, struct mono now);

/* requests.c */
struct request;
void request_initiate(struct ipsec *t, const struct local_initiate *m, struct mono now);
void request_terminate(struct ipsec *t, const struct local_terminate *m, struct mono now);
/* Another member's errand, see struct cluster_io. */
int request_asked(struct ipsec *t, const struct session_key *key, const uint8_t *what,
		  size_t len);
/* To the owner of the connection's unit: what charon notes there is for it to know. */
void request_note(struct ipsec *t, const struct connection *c, uint8_t note,
		  struct mono now);
void requests_tick(struct ipsec *t, struct mono now);
/* charon has gone, and so has who waits. */
void requests_forget(struct ipsec *t);

/* merging.c: the upcall of struct cluster_io */
enum cluster_merge merging_judge(struct ipsec *t, const struct session *ours,
				 const struct session *theirs,
				 uint64_t counters[CLUSTER_COUNTERS]);

/* usage.c */
uint64_t usage_hash(const uint8_t *bytes, size_t len);
struct address usage_address(const struct local_addr *a);
/* The IKE SA's record is there, or has changed; it goes. */
void usage_note(struct ipsec *t, struct ike_sa *sa);
void usage_clear(struct ipsec *t, struct ike_sa *sa);
/* The IKE SAs with this virtual address, one after the other; `after` NULL: the first. */
struct ike_sa *usage_find(const struct ipsec *t, const struct address *a,
			  const struct ike_sa *after);
/* Of a record that is there or has changed; NULL: out of memory, or a malformed key. */
struct lease *lease_note(struct ipsec *t, struct session *s);
void lease_free(struct lease *l);
struct lease *lease_find(const struct ipsec *t, const struct address *a);
bool lease_is_of(const struct lease *l, const struct local_blob *identity);
/* Others may have it: nobody has used it for longer than a login takes, and a cut needs to be
 * noticed. */
bool lease_is_idle(const struct ipsec *t, const struct lease *l);
/* The leases of an identity, one after the other. */
struct lease *lease_of(const struct ipsec *t, const struct local_blob *identity,
		       const struct lease *after);

/* shares.c */
void share_begin(struct ipsec *t, struct mono now);
/* Who is there and who is missing. */
void share_look(struct ipsec *t, struct mono now);
/* The one in which the address is. */
const struct share *share_of(const struct ipsec *t, const struct address *a);
/* Its home, if it is there, holds what this member has put into its unit up to `position`. */
bool share_given(const struct ipsec *t, const struct address *a, unit_id unit,
		 uint64_t position);
/* The name of a member whose share is kept back; NULL: there is none. */
const char *share_missing(const struct ipsec *t);

/* addresses.c */
void address_want(struct ipsec *t, const struct local_address_want *want,
		  struct mono now);
void address_release(struct ipsec *t, const struct local_address_release *r,
		     struct mono now);
/* Goes on to look through pools, a little at a time, and ends waiting that was too long. */
void address_tick(struct ipsec *t, struct mono now);
struct mono address_timeout(const struct ipsec *t);
/* Those that are committed by now, or that their owner has answered for. */
void address_answer(struct ipsec *t, struct mono now);
/* Another member's errand, see struct cluster_io. */
int address_asked(struct ipsec *t, const struct cluster_asker *asker,
		  const struct session_key *key, const uint8_t *what, size_t len);
/* Nobody waits any more; `clients_only`: of charon's. */
void address_forget(struct ipsec *t, bool clients_only);
/* Its session has ended: others may have it at need. */
void address_idle(struct ipsec *t, struct lease *l);
/* The record of a lease changed. */
void address_shadow(struct ipsec *t, struct session *s);
void address_pool(struct ipsec *t, const struct local_pool *pool);
/* Takes back what no IKE SA of the cluster uses. */
void address_sweep(struct ipsec *t, struct mono now);

#endif
