/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local protocol between phalanxd and its plugin in charon.
 *
 * Both run on one machine and speak over a SOCK_SEQPACKET socket in the file system, one
 * message a packet. The plugin connects, sends HELLO and gets WELCOME; a difference in
 * version ends the connection. The plugin translates and never decides:
 *
 *   - IKE packets for the cluster address come as IKE_RX and leave as IKE_TX. phalanxd
 *     holds an IKE_TX back until everything that the plugin sent before it is committed.
 *   - The plugin reports the state of each established IKE SA (IKE_PUT) and CHILD SA
 *     (SA_ADD for both directions, then CHILD_PUT), always before the message that tells
 *     the peer of it. The `state` blobs are the plugin's own: phalanxd replicates them
 *     unread.
 *   - When this member takes a unit over, phalanxd sends for each IKE SA of it IKE_IMPORT,
 *     a CHILD_IMPORT for each of its children and then IKE_ACTIVATE: the plugin makes them
 *     live SAs, and reports nothing of that back but IMPORTED, or IMPORT_FAILED with the
 *     reason why it could not. A few IKE SAs are under way at a time.
 *   - When a unit is lost: IKE_DROP for each SA, half-open ones too; the plugin destroys it
 *     without a word to the peer and without SA_DEL, CHILD_DEL, IKE_DEL, HALF_DONE or
 *     ADDRESS_RELEASE.
 *   - UNITS tells which units this member owns: new IKE SAs that charon initiates take an
 *     SPI of an owned unit.
 *
 * SPIs are in host byte order here. The unit of an SA is its own (inbound, local) SPI &
 * 1023, and for a CHILD SA equals that of its IKE SA.
 *
 * LOCAL_MESSAGES is the one list from which types, structs, encoder and decoder are made.
 * Fields: u8 u16 u32 u64, addr (family, address, port), blob (borrowed bytes; a decoded
 * blob points into the message). Keys that were decoded are wiped by whoever owns the
 * buffer.
 */
#ifndef IPSEC_LOCAL_H
#define IPSEC_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/pack.h"
#include "src/bpf/unit.h"

#define LOCAL_VERSION 7
#define LOCAL_MESSAGE_MAX (160 * 1024)

/* FNV-1a; `hash` is LOCAL_HASH at first. */
#define LOCAL_HASH UINT64_C(0xcbf29ce484222325)
static inline uint64_t local_hash(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *at = (const uint8_t *)bytes;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* The unit of a connection that the cluster starts, by the peer's configured addresses:
 * its owner does so. */
static inline uint16_t local_connection_unit(const struct unit_key *key,
					     const void *remote, size_t len)
{
	return (uint16_t)unit_fold(key, local_hash(LOCAL_HASH, remote, len), len);
}

struct local_addr {
	uint8_t family; /* 0: none, 4, 6 */
	uint8_t bytes[16];
	uint16_t port;
};

bool local_addr_equal(const struct local_addr *a, const struct local_addr *b);

struct local_blob {
	const uint8_t *bytes;
	size_t len;
};

/* Traffic selectors travel as a blob: a list of these, LOCAL_TS_SIZE bytes each: family
 * u8, protocol u8, from port u16, to port u16, from address 16, to address 16. */
#define LOCAL_TS_SIZE 38

struct local_ts {
	uint8_t family, protocol;
	uint16_t from_port, to_port;
	uint8_t from[16], to[16];
};

void local_ts_put(struct pack *p, const struct local_ts *ts);
/* -EBADMSG if the blob is not a whole number of selectors or there is none at `i`. */
int local_ts_get(const struct local_blob *list, unsigned i, struct local_ts *ts);
unsigned local_ts_count(const struct local_blob *list);

#define LOCAL_COPY_ECN 1      /* both ways */
#define LOCAL_COPY_DF 2	      /* to the outer header */
#define LOCAL_COPY_DSCP_OUT 4 /* to the outer header */
#define LOCAL_COPY_DSCP_IN 8  /* from it */

/* Directions: P> plugin to phalanxd, D> phalanxd to plugin. */
/* clang-format off */
#define LOCAL_MESSAGES(M)                                                                \
	/* P> first message. charon's version, as text. */                               \
	M(HELLO, hello, F(u16, version) F(blob, charon))                                 \
	/* D> answer: this member's id, the fold key (16 bytes), owned units (128). */   \
	M(WELCOME, welcome, F(u16, version) F(u16, self) F(blob, fold_key) F(blob, units))\
	/* D> the owned units or the key changed. */                                     \
	M(UNITS, units, F(blob, fold_key) F(blob, units))                                \
	/* D> an IKE packet came (without the non-ESP marker). */                        \
	M(IKE_RX, ike_rx, F(addr, src) F(addr, dst) F(blob, packet))                     \
	/* P> send this IKE packet (without marker; port 4500 gets one), or a NAT           \
	   keepalive, of one byte. */                                                       \
	M(IKE_TX, ike_tx, F(addr, src) F(addr, dst) F(blob, packet))                     \
	/* P> an established IKE SA, new or changed. spi: ours. user, name: text of the  \
	   remote identity and the connection. vips: list of 16-byte-padded addresses,   \
	   each with a family byte before (17 bytes). peer: a digest of both identities  \
	   and the family of addresses, equal for all IKE SAs of a user to one gateway.     \
	   version: of IKE, 1 or 2. */                                                   \
	M(IKE_PUT, ike_put, F(u64, spi) F(u64, peer_spi) F(addr, local) F(addr, remote)  \
	  F(blob, user) F(blob, name) F(blob, vips) F(blob, state) F(u64, peer)          \
	  F(u8, version))                                                                \
	/* P> the IKE SA ended (deleted, expired, rekeyed). */                           \
	M(IKE_DEL, ike_del, F(u64, spi))                                                 \
	/* P> kernel-ipsec add_sa. ike: our SPI of the IKE SA. spi: inbound ours,        \
	   outbound the peer's. Times in seconds from now, 0: none. src_ts and dst_ts as \
	   seen by this direction. enc, integ: IANA transform numbers of IKEv2; key of   \
	   AEAD with its salt at the end. mode: 0 transport, 1 tunnel. copy: LOCAL_COPY_ \
	   of the inner header and the outer. */                                         \
	M(SA_ADD, sa_add, F(u64, ike) F(u32, spi) F(u8, inbound) F(addr, src)            \
	  F(addr, dst) F(u8, encap) F(u8, mode) F(u16, enc) F(blob, enc_key)             \
	  F(u16, integ) F(blob, integ_key) F(u32, window) F(u8, esn) F(u32, reqid)       \
	  F(u64, soft_time) F(u64, hard_time) F(u64, soft_bytes) F(u64, hard_bytes)      \
	  F(u64, soft_packets) F(u64, hard_packets) F(blob, src_ts) F(blob, dst_ts) \
	  F(u8, copy))     \
	/* P> update_sa: the addresses of an SA changed. was: its former dst. */         \
	M(SA_UPDATE, sa_update, F(u32, spi) F(u8, inbound) F(addr, src) F(addr, dst)     \
	  F(u8, encap) F(addr, was))                                                     \
	/* P> del_sa. dst tells outbound SAs with the same SPI apart. */                 \
	M(SA_DEL, sa_del, F(u32, spi) F(u8, inbound) F(addr, dst))                       \
	/* P> query_sa; answered by SA_STATS with the same id. */                        \
	M(SA_QUERY, sa_query, F(u32, id) F(u32, spi) F(u8, inbound) F(addr, dst))        \
	/* D> idle: seconds since the last packet, all ones: none yet. */                \
	M(SA_STATS, sa_stats, F(u32, id) F(u8, found) F(u64, bytes) F(u64, packets)      \
	  F(u64, idle))                                                                  \
	/* D> a lifetime ran out. */                                                     \
	M(SA_EXPIRE, sa_expire, F(u32, spi) F(u8, inbound) F(addr, dst) F(u8, hard))     \
	/* P> both SAs of this CHILD SA are installed. name: text; retired: it was        \
	   replaced, or is being deleted. */                                              \
	M(CHILD_PUT, child_put, F(u64, ike) F(u32, spi_in) F(u32, spi_out) F(blob, name) \
	  F(u8, retired) F(blob, state))                                                 \
	/* P> the CHILD SA ended. */                                                     \
	M(CHILD_DEL, child_del, F(u64, ike) F(u32, spi_in))                              \
	/* D> takeover of an IKE SA. recv_mid: the next request expected of the peer;    \
	   send_mid: the next request of ours. remote: as last seen. begun: the rekeying \
	   that a former owner has begun, by our last request; empty: there is none, and \
	   if so, replaced: it has come to its end, and another IKE SA is in its place.  \
	   unproven: the numbers may be behind. */                                       \
	M(IKE_IMPORT, ike_import, F(u64, spi) F(addr, remote) F(u32, recv_mid)           \
	  F(u32, send_mid) F(blob, state) F(blob, begun) F(u8, replaced)                 \
	  F(u8, unproven))                                                               \
	M(CHILD_IMPORT, child_import, F(u64, ike) F(u32, spi_in) F(blob, state))         \
	M(IKE_ACTIVATE, ike_activate, F(u64, spi))                                       \
	M(IKE_DROP, ike_drop, F(u64, spi))                                               \
	/* P> reason: text, e.g. a connection missing in this charon. */                 \
	M(IMPORT_FAILED, import_failed, F(u64, spi) F(blob, reason))                     \
	/* P> a virtual address is wanted from a pool: base address and number of        \
	   addresses (saturated). Answered by ADDRESS with the same id, family 0 if      \
	   none is free. identity: the user's encoded identity. remote: where it is. */  \
	M(ADDRESS_WANT, address_want, F(u32, id) F(blob, pool) F(addr, base)             \
	  F(u32, count) F(blob, identity) F(addr, requested) F(addr, remote))            \
	M(ADDRESS, address, F(u32, id) F(addr, address))                                 \
	M(ADDRESS_RELEASE, address_release, F(addr, address) F(blob, identity))          \
	/* P> a pool that charon knows: never routed but to a session. */                \
	M(POOL, pool, F(blob, name) F(addr, base) F(u32, count))                         \
	/* D> answered by PONG with the same id, by one of charon's worker threads. */   \
	M(PING, ping, F(u32, id))                                                        \
	M(PONG, pong, F(u32, id))                                                        \
	/* P> after IKE_ACTIVATE: charon has the IKE SA with all its children. */        \
	M(IMPORTED, imported, F(u64, spi))                                               \
	/* D> the operator wants this IKE SA ended: the peer is told. force: without     \
	   waiting for its answer. */                                                    \
	M(IKE_END, ike_end, F(u64, spi) F(u8, force))                                    \
	/* P> the peer of IKE SA `spi` has authenticated itself. policy: enum            \
	   local_policy. user, name, remote, peer as in IKE_PUT. Answered by UNIQUE with \
	   the same id: refuse the peer, as it is connected to another member. */        \
	M(UNIQUE_ASK, unique_ask, F(u32, id) F(u64, spi) F(u64, peer) F(u8, policy)      \
	  F(addr, remote) F(blob, user) F(blob, name))                                   \
	M(UNIQUE, unique, F(u32, id) F(u8, refuse))                                      \
	/* P> charon is about to begin an IKE SA with a peer. peer: see IKE_PUT. Answered  \
	   by CONTACT with the same id: whether any member has another one. */           \
	M(CONTACT_ASK, contact_ask, F(u32, id) F(u64, peer))                             \
	M(CONTACT, contact, F(u32, id) F(u8, known))                                     \
	/* D> this IKE SA is replaced by another one, of another member. how: enum        \
	   local_end. Answered by IKE_DEL, in the end. */                                \
	M(IKE_REPLACED, ike_replaced, F(u64, spi) F(u8, how))                            \
	/* P> charon is about to answer this IKE_SA_INIT request (its packet, without    \
	   marker), with this SPI of ours, this nonce, and of this key exchange method   \
	   the public value and the secret that follows. The answer is next. */          \
	M(HALF_OPEN, half_open, F(u64, spi) F(addr, src) F(addr, dst) F(blob, request)   \
	  F(blob, nonce) F(u16, method) F(blob, public) F(blob, secret))                 \
	/* P> that IKE SA will not be established. */                                    \
	M(HALF_DONE, half_done, F(u64, spi))                                             \
	/* D> charon is to answer so once more. */                                       \
	M(HALF_IMPORT, half_import, F(u64, spi) F(addr, src) F(addr, dst)                \
	  F(blob, request) F(blob, nonce) F(u16, method) F(blob, public)                 \
	  F(blob, secret))                                                               \
	/* D> and to refuse the request with this number, which came from src to dst. */ \
	M(HALF_FAIL, half_fail, F(u64, spi) F(u32, mid) F(addr, src) F(addr, dst))       \
	/* D> is this response, to a request of a former owner, the peer's? Answered by  \
	   IKE_VERIFIED if so, and not at all if not. */                                 \
	M(IKE_VERIFY, ike_verify, F(u64, spi) F(u32, mid) F(addr, src) F(addr, dst)      \
	  F(blob, packet))                                                               \
	M(IKE_VERIFIED, ike_verified, F(u64, spi) F(u32, mid))                           \
	/* P> charon is about to begin a rekeying by our request with this number, of    \
	   an IKE SA or of a CHILD SA. ike, child: the SPI of the new one; 0: none. The  \
	   request is next. state: the plugin's own, and secret. */                      \
	M(IKE_BEGUN, ike_begun, F(u64, spi) F(u32, mid) F(u64, ike) F(u32, child)        \
	  F(blob, state))                                                                \
	/* P> charon has begun once more what IKE_IMPORT said, and waits for the answer  \
	   to this request of a former owner itself. */                                  \
	M(IKE_RESUMED, ike_resumed, F(u64, spi) F(u32, mid))                             \
	/* P> charon asks the peer to agree on message IDs, by a request with number 0,  \
	   of which no copy is to be kept (RFC 6311). send_mid: our next one will be at  \
	   least that. */                                                                \
	M(IKE_SYNCING, ike_syncing, F(u64, spi) F(u32, send_mid))                        \
	/* P> these hold from now on: the peer agrees, or does not answer; or it has     \
	   asked charon, whose answer with number 0 is next. See IKE_IMPORT. */          \
	M(IKE_SYNCED, ike_synced, F(u64, spi) F(u32, send_mid) F(u32, recv_mid))         \
	/* P> a CHILD SA's configuration that charon has loaded; without a name a         \
	   connection that has none. actions: LOCAL_START_ and so on. remote: the peer's \
	   addresses, as configured. The selectors have no dynamic ones, unless the peer \
	   has one address; digest: of all that is configured, but for secrets.          \
	   CONFIGS follows the last one: what was not said since the last CONFIGS is not \
	   loaded any more. */                                                           \
	M(CONFIG, config, F(blob, name) F(blob, child) F(u8, actions) F(u8, mode)        \
	  F(blob, remote) F(blob, local_ts) F(blob, remote_ts) F(u64, digest))           \
	M(CONFIGS, configs, F(u32, count))                                               \
	/* P> charon does something about a connection of its own accord. Without a       \
	   child: all of them. what: enum local_note. */                                 \
	M(START_NOTE, start_note, F(blob, name) F(blob, child) F(u8, what))              \
	/* D> initiate it, unless that is under way. */                                  \
	M(START, start, F(blob, name) F(blob, child))                                    \
	/* P> the operator wants a connection that is another member's to initiate, and   \
	   waits so many ms. Answered by INITIATED with the same id, and that member;     \
	   result: enum local_result. */                                                 \
	M(INITIATE, initiate, F(u32, id) F(blob, name) F(blob, child) F(u32, timeout))   \
	M(INITIATED, initiated, F(u32, id) F(u8, result) F(u16, owner))                  \
	/* P> the operator ends SAs of this name at other members: of the connection, if  \
	   it has a name, and of the CHILD SA, if that has one. how: enum local_how.      \
	   Answered by TERMINATED with the same id: how many there were, and how many of  \
	   them are still there. */                                                      \
	M(TERMINATE, terminate, F(u32, id) F(blob, name) F(blob, child) F(u8, how)       \
	  F(u32, timeout))                                                               \
	M(TERMINATED, terminated, F(u32, id) F(u32, matches) F(u32, left))               \
	/* D> the operator wants the CHILD SAs of this name in IKE SA `spi` ended. */     \
	M(CHILD_END, child_end, F(u64, spi) F(blob, child)) \
	/* D> the peer's newest packet of this inbound SA came from another address or    \
	   port: a NAT has changed. dst: ours. */                                        \
	M(SA_MOVED, sa_moved, F(u32, spi) F(addr, dst) F(addr, src)) \
	/* P> charon is about to answer this request (its packet, without marker), by which \
	   the peer begins a quick mode in IKEv1 SA `ike`, with this SPI for the CHILD SA,  \
	   this nonce, and, unless method is 0, of this key exchange method the public value \
	   and the secret that follows. The answer is next. */                             \
	M(QUICK_OPEN, quick_open, F(u64, ike) F(u32, spi) F(addr, src) F(addr, dst)        \
	  F(blob, request) F(blob, nonce) F(u16, method) F(blob, public) F(blob, secret)) \
	/* D> charon is to answer so once more. */                                         \
	M(QUICK_IMPORT, quick_import, F(u64, ike) F(u32, spi) F(addr, src) F(addr, dst)    \
	  F(blob, request) F(blob, nonce) F(u16, method) F(blob, public) F(blob, secret))      \
	/* P> one end deletes the IKE SA: what charon sends of it next says so, or answers \
	   what says so. */                                                               \
	M(IKE_ENDING, ike_ending, F(u64, spi)) \
	/* P> this message of the peer in an IKEv1 SA, after its first phase, is authentic;  \
	   packet: all of its fragments put together. */                                     \
	M(IKE_HEARD, ike_heard, F(u64, spi) F(blob, packet))
/* clang-format on */

/* What a CHILD SA's configuration asks for: when it is loaded, when its SA is closed by the
 * peer, and when the peer is dead. */
#define LOCAL_START_TRAP 1
#define LOCAL_START_START 2
#define LOCAL_CLOSE_TRAP 4
#define LOCAL_CLOSE_START 8
#define LOCAL_DEAD_TRAP 16
#define LOCAL_DEAD_START 32

enum local_note {
	LOCAL_BEGUN = 1, /* initiates it */
	LOCAL_GIVEN_UP,	 /* initiates it no longer */
	LOCAL_STOPPED,	 /* nor should anybody: the operator has ended it */
	LOCAL_TRAPPED,	 /* packets for the peer's networks are to start it, or no longer */
	LOCAL_UNTRAPPED,
};

enum local_result {
	LOCAL_ESTABLISHED,
	LOCAL_FAILED,
	LOCAL_TIMEOUT,
	LOCAL_UNKNOWN, /* to phalanxd, or to the member that is to initiate it */
	LOCAL_NOBODY,  /* no member is to initiate it at the moment, or none is reachable */
};

enum local_how {
	LOCAL_COUNT, /* ends nothing */
	LOCAL_END,
	LOCAL_FORCE, /* without waiting for the peer's answer */
};

/* Of CONFIG: what it does with packets. */
enum local_mode {
	LOCAL_MODE_TRANSPORT,
	LOCAL_MODE_TUNNEL,
	LOCAL_MODE_PASS, /* no SA: they pass in clear */
	LOCAL_MODE_DROP,
};

enum local_policy {
	LOCAL_UNIQUE_CONTACT, /* the peer says that it has no other IKE SA */
	LOCAL_UNIQUE_REPLACE,
	LOCAL_UNIQUE_KEEP,
};

enum local_end {
	LOCAL_END_DELETE, /* the peer is told by a DELETE */
	LOCAL_END_SILENT, /* the peer knows nothing of it any more */
	LOCAL_END_LATE,	  /* by a DELETE, when the peer has built up its successor */
};

enum local_type {
	LOCAL_NONE,
#define M(upper, lower, fields) LOCAL_##upper,
	LOCAL_MESSAGES(M)
#undef M
	    LOCAL_TYPES
};

typedef uint8_t local_u8;
typedef uint16_t local_u16;
typedef uint32_t local_u32;
typedef uint64_t local_u64;
typedef struct local_addr local_addr;
typedef struct local_blob local_blob;

#define F(type, name) local_##type name;
#define M(upper, lower, fields)                                                          \
	struct local_##lower {                                                           \
		fields                                                                   \
	};
LOCAL_MESSAGES(M)
#undef M
#undef F

struct local_message {
	enum local_type type;
	union {
#define M(upper, lower, fields) struct local_##lower lower;
		LOCAL_MESSAGES(M)
#undef M
	};
};

/* Returns the length, or 0 if the message does not fit in `size`. */
size_t local_encode(const struct local_message *m, uint8_t *buf, size_t size);
/* -EBADMSG on any malformed or unknown message; *m is untouched then. */
int local_decode(const uint8_t *buf, size_t len, struct local_message *m);
const char *local_type_name(enum local_type type);

#endif
