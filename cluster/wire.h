/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All messages that members exchange, in one place.
 *
 * A message is a header (version, type, term, incarnation of the sender) and a body. Each
 * body is one list of fields below; the struct, the encoder and the decoder are made from
 * that list. Numbers are big-endian. A list is a 16-bit count and its elements, a blob is
 * a 32-bit length and its bytes, a key is its type, its length and that many bytes.
 *
 * Decoders are total: short input, left-over bytes, a count above its cap, a unit, a member
 * id, a term or an epoch out of range are all -EBADMSG. Pointers into the message live as
 * long as it.
 */
#ifndef CLUSTER_WIRE_H
#define CLUSTER_WIRE_H

#include "cluster/cluster.h"
#include "cluster/pack.h"

#define WIRE_VERSION 3
#define WIRE_HEADER_SIZE 18
#define WIRE_WHY_MAX 63
#define WIRE_BARRED_MAX 191 /* why a member is not let in */
#define WIRE_CONFIG_MAX (CLUSTER_MESSAGE_MAX - 64)
#define WIRE_FOLD_KEY_SIZE 16
/* Of terms and epochs. No counting comes near it, and one more does not wrap. */
#define WIRE_EPOCH_MAX (UINT64_MAX >> 1)
/* Bytes of a datagram that a third member can pass on, in a RELAY. */
#define WIRE_RELAYED_MAX (CLUSTER_DATAGRAM_MAX - WIRE_HEADER_SIZE - 8)
/* What is left of a stream message for the two parts of a session. */
#define WIRE_PARTS_MAX (CLUSTER_MESSAGE_MAX - 128)
#define WIRE_COUNTS_MAX 24	 /* sessions in a COUNTERS datagram */
#define WIRE_DATAGRAM_ENTRIES 50 /* entries that fit into a datagram */
#define WIRE_DATAGRAM_REFS 64	 /* references that fit into a datagram */

/* Elements of lists. */
#define WIRE_MEMBER(V, L, B, K, R)                                                       \
	V(id, id)                                                                        \
	V(u64, incarnation)                                                              \
	V(u8, flags)                                                                     \
	V(u8, per_interval)                                                              \
	V(u64, echo)                                                                     \
	V(u32, capacity)                                                                 \
	V(u32, activation)                                                               \
	V(u16, loss)
/* A row of the owner table. The owner is the low 16 bits of the epoch. */
#define WIRE_ENTRY(V, L, B, K, R)                                                        \
	V(unit, unit)                                                                    \
	V(epoch, epoch)                                                                  \
	V(u32, version)                                                                  \
	V(id, successor)                                                                 \
	V(id, previous)                                                                  \
	V(id, moving_to)                                                                 \
	V(u8, flags)
/* A unit at an epoch, and a member or a version where the message has use for it. */
#define WIRE_REF(V, L, B, K, R)                                                          \
	V(unit, unit)                                                                    \
	V(epoch, epoch)                                                                  \
	V(u32, version)                                                                  \
	V(id, to)
#define WIRE_COUNT(V, L, B, K, R)                                                        \
	V(unit, unit)                                                                    \
	V(epoch, epoch)                                                                  \
	K(key)                                                                           \
	V(u64, first)                                                                    \
	V(u64, second)                                                                   \
	V(u32, heard)
#define WIRE_WEIGHT(V, L, B, K, R)                                                       \
	V(unit, unit)                                                                    \
	V(u32, weight)

/* Of the shared configuration. */
#define WIRE_PART(V, L, B, K, R) V(u64, digest)
/* Of the list of valid members. */
#define WIRE_PEER(V, L, B, K, R) V(id, id)
#define WIRE_NUMBER(V, L, B, K, R)                                                       \
	V(id, id)                                                                        \
	V(u32, activation)

/* Bodies. */
#define WIRE_JOIN_REQUEST(V, L, B, K, R)                                                 \
	V(u32, capacity)                                                                 \
	V(u32, activation)                                                               \
	V(u64, stamp)                                                                    \
	V(u64, echo)                                                                     \
	V(u64, detection)                                                                \
	V(u32, version)                                                                  \
	L(part, parts, CLUSTER_PARTS_MAX)                                                \
	L(peer, roster, CLUSTER_MEMBERS_MAX)
#define WIRE_OK_TO_JOIN(V, L, B, K, R)                                                   \
	V(u64, target)                                                                   \
	V(u64, echo)                                                                     \
	V(u64, seq)                                                                      \
	V(u32, activation)                                                               \
	R(fold_key, WIRE_FOLD_KEY_SIZE)                                                  \
	L(member, members, CLUSTER_MEMBERS_MAX)
#define WIRE_NAK(V, L, B, K, R)                                                          \
	V(u64, target)                                                                   \
	V(u8, reason)                                                                    \
	V(u32, wait)                                                                     \
	V(u32, version)                                                                  \
	V(u64, stamp)                                                                    \
	B(why, WIRE_BARRED_MAX)
#define WIRE_MASTER_OFFER(V, L, B, K, R)                                                 \
	V(u8, flags)                                                                     \
	V(u64, echo)                                                                     \
	V(u32, age)
#define WIRE_OFFER_ACCEPT(V, L, B, K, R) V(epoch, offer)
#define WIRE_OTHER_MASTER_EXISTS(V, L, B, K, R)                                          \
	V(id, master)                                                                    \
	V(epoch, offer)
#define WIRE_MASTER_KEEPALIVE(V, L, B, K, R)                                             \
	V(u64, seq)                                                                      \
	V(u64, stamp)                                                                    \
	V(u64, answer)                                                                   \
	V(u64, digest)                                                                   \
	V(u32, table_version)                                                            \
	V(u32, sessions)                                                                 \
	V(id, vice_master)                                                               \
	V(u8, stress)                                                                    \
	L(member, members, CLUSTER_MEMBERS_MAX)                                          \
	B(why, WIRE_WHY_MAX)
#define WIRE_MEMBER_KEEPALIVE(V, L, B, K, R)                                             \
	V(u64, seq)                                                                      \
	V(u64, stamp)                                                                    \
	V(u64, echo)                                                                     \
	V(u64, digest)                                                                   \
	V(u32, master_age)                                                               \
	V(u32, capacity)                                                                 \
	V(u32, activation)                                                               \
	V(u32, load)                                                                     \
	V(u32, table_version)                                                            \
	V(u8, flags)                                                                     \
	V(u8, stress)                                                                    \
	L(peer, roster, CLUSTER_MEMBERS_MAX)                                             \
	B(why, WIRE_WHY_MAX)
#define WIRE_EXIT_REQUEST(V, L, B, K, R)                                                 \
	V(u8, reason)                                                                    \
	V(u64, target)                                                                   \
	B(why, WIRE_BARRED_MAX)
#define WIRE_DEATH(V, L, B, K, R)                                                        \
	V(id, id)                                                                        \
	V(u64, run)
#define WIRE_ENTRIES(V, L, B, K, R)                                                      \
	V(u64, position)                                                                 \
	V(u8, flags)                                                                     \
	L(entry, entries, CLUSTER_UNITS)
#define WIRE_YIELD(V, L, B, K, R) L(ref, units, CLUSTER_UNITS)
#define WIRE_GRANT(V, L, B, K, R) L(ref, units, CLUSTER_UNITS)
#define WIRE_MOVE(V, L, B, K, R) L(ref, units, CLUSTER_UNITS)
#define WIRE_RELEASE(V, L, B, K, R) L(ref, units, CLUSTER_UNITS)
#define WIRE_REPORT(V, L, B, K, R) L(ref, units, CLUSTER_UNITS)
#define WIRE_SYNC(V, L, B, K, R)                                                         \
	V(u64, target)                                                                   \
	V(u32, sync)                                                                     \
	V(u32, serving)                                                                  \
	V(u32, line)                                                                     \
	V(u64, position)
#define WIRE_SNAPSHOT_BEGIN(V, L, B, K, R)                                               \
	V(u64, target)                                                                   \
	V(u32, sync)                                                                     \
	V(u64, position)
#define WIRE_SNAPSHOT_END(V, L, B, K, R)                                                 \
	V(u32, sync)                                                                     \
	V(u64, position)
#define WIRE_UNIT_BEGIN(V, L, B, K, R)                                                   \
	V(u64, position)                                                                 \
	V(u8, flags)                                                                     \
	L(entry, entries, CLUSTER_UNITS)
#define WIRE_UNIT_END(V, L, B, K, R)                                                     \
	V(u64, position)                                                                 \
	V(unit, unit)                                                                    \
	V(epoch, epoch)
#define WIRE_PUT(V, L, B, K, R)                                                          \
	V(u64, position)                                                                 \
	V(unit, unit)                                                                    \
	V(epoch, epoch)                                                                  \
	V(u8, flags)                                                                     \
	K(key)                                                                           \
	V(u64, first)                                                                    \
	V(u64, second)                                                                   \
	V(u64, stamp)                                                                    \
	V(u32, heard)                                                                    \
	V(u32, told)                                                                     \
	B(initial, WIRE_PARTS_MAX)                                                       \
	B(essential, WIRE_PARTS_MAX)
#define WIRE_REMOVE(V, L, B, K, R)                                                       \
	V(u64, position)                                                                 \
	V(unit, unit)                                                                    \
	V(epoch, epoch)                                                                  \
	K(key)                                                                           \
	V(u64, stamp)                                                                    \
	V(u32, heard)
#define WIRE_ACK(V, L, B, K, R)                                                          \
	V(u64, target)                                                                   \
	V(u32, sync)                                                                     \
	V(u64, position)
#define WIRE_COUNTERS(V, L, B, K, R)                                                     \
	V(u64, seq)                                                                      \
	V(u64, stamp)                                                                    \
	L(count, counts, WIRE_COUNTS_MAX)
#define WIRE_COUNTERS_ACK(V, L, B, K, R)                                                 \
	V(u64, target)                                                                   \
	V(u64, seq)                                                                      \
	V(u32, applied)
#define WIRE_CHALLENGE(V, L, B, K, R) V(u64, stamp)
#define WIRE_COMMAND(V, L, B, K, R)                                                      \
	V(u64, target)                                                                   \
	V(u32, number)                                                                   \
	V(u8, command)                                                                   \
	V(unit, unit)                                                                    \
	V(id, to)                                                                        \
	B(why, WIRE_BARRED_MAX)
#define WIRE_COMMAND_RESULT(V, L, B, K, R)                                               \
	V(u64, target)                                                                   \
	V(u32, number)                                                                   \
	V(u8, result)
#define WIRE_LOAD(V, L, B, K, R)                                                         \
	V(u32, processor)                                                                \
	L(weight, units, CLUSTER_UNITS)
#define WIRE_MERGE_PUT(V, L, B, K, R)                                                    \
	V(unit, unit)                                                                    \
	V(epoch, epoch)                                                                  \
	V(u8, flags)                                                                     \
	K(key)                                                                           \
	V(u64, first)                                                                    \
	V(u64, second)                                                                   \
	V(u64, stamp)                                                                    \
	V(u32, heard)                                                                    \
	B(initial, WIRE_PARTS_MAX)                                                       \
	B(essential, WIRE_PARTS_MAX)
#define WIRE_MERGE_END(V, L, B, K, R) L(ref, units, CLUSTER_UNITS)
#define WIRE_MERGE_ACK(V, L, B, K, R)                                                    \
	V(u64, target)                                                                   \
	L(ref, units, CLUSTER_UNITS)

#define WIRE_ERRAND(V, L, B, K, R)                                                       \
	V(u64, target)                                                                   \
	V(u32, number)                                                                   \
	V(unit, unit)                                                                    \
	K(key)                                                                           \
	B(what, CLUSTER_ERRAND_MAX)

#define WIRE_CONFIG_REQUEST(V, L, B, K, R) V(u32, version)
#define WIRE_CONFIG(V, L, B, K, R)                                                       \
	V(u32, version)                                                                  \
	B(text, WIRE_CONFIG_MAX)

#define WIRE_RELAY(V, L, B, K, R)                                                        \
	V(id, origin)                                                                    \
	V(id, target)                                                                    \
	B(inner, WIRE_RELAYED_MAX)
/* By an owner to the master: that member does not take its stream. */
#define WIRE_SLOW(V, L, B, K, R)                                                         \
	V(u64, target)                                                                   \
	V(id, id)

/* Activation numbers that the speaker has heard of, also of members that are gone. */
#define WIRE_NUMBERS(V, L, B, K, R) L(number, numbers, CLUSTER_MEMBERS_MAX)

/* What a tunnel says to all members. */
#define WIRE_NOTICE(V, L, B, K, R) B(what, CLUSTER_NOTICE_MAX)

#define WIRE_ELEMENTS(X)                                                                 \
	X(member, WIRE_MEMBER)                                                           \
	X(entry, WIRE_ENTRY)                                                             \
	X(ref, WIRE_REF)                                                                 \
	X(count, WIRE_COUNT)                                                             \
	X(weight, WIRE_WEIGHT)                                                           \
	X(part, WIRE_PART)                                                               \
	X(peer, WIRE_PEER)                                                               \
	X(number, WIRE_NUMBER)

/* The order gives the type numbers, from 1. Append only. */
#define WIRE_MESSAGES(X)                                                                 \
	X(join_request, WIRE_JOIN_REQUEST)                                               \
	X(ok_to_join, WIRE_OK_TO_JOIN)                                                   \
	X(nak, WIRE_NAK)                                                                 \
	X(master_offer, WIRE_MASTER_OFFER)                                               \
	X(offer_accept, WIRE_OFFER_ACCEPT)                                               \
	X(other_master_exists, WIRE_OTHER_MASTER_EXISTS)                                 \
	X(master_keepalive, WIRE_MASTER_KEEPALIVE)                                       \
	X(member_keepalive, WIRE_MEMBER_KEEPALIVE)                                       \
	X(exit_request, WIRE_EXIT_REQUEST)                                               \
	X(death, WIRE_DEATH)                                                             \
	X(entries, WIRE_ENTRIES)                                                         \
	X(yield, WIRE_YIELD)                                                             \
	X(grant, WIRE_GRANT)                                                             \
	X(move, WIRE_MOVE)                                                               \
	X(release, WIRE_RELEASE)                                                         \
	X(report, WIRE_REPORT)                                                           \
	X(sync, WIRE_SYNC)                                                               \
	X(snapshot_begin, WIRE_SNAPSHOT_BEGIN)                                           \
	X(snapshot_end, WIRE_SNAPSHOT_END)                                               \
	X(unit_begin, WIRE_UNIT_BEGIN)                                                   \
	X(unit_end, WIRE_UNIT_END)                                                       \
	X(put, WIRE_PUT)                                                                 \
	X(remove, WIRE_REMOVE)                                                           \
	X(ack, WIRE_ACK)                                                                 \
	X(counters, WIRE_COUNTERS)                                                       \
	X(counters_ack, WIRE_COUNTERS_ACK)                                               \
	X(challenge, WIRE_CHALLENGE)                                                     \
	X(command, WIRE_COMMAND)                                                         \
	X(command_result, WIRE_COMMAND_RESULT)                                           \
	X(load, WIRE_LOAD)                                                               \
	X(config_request, WIRE_CONFIG_REQUEST)                                           \
	X(config, WIRE_CONFIG)                                                           \
	X(merge_put, WIRE_MERGE_PUT)                                                     \
	X(merge_end, WIRE_MERGE_END)                                                     \
	X(merge_ack, WIRE_MERGE_ACK)                                                     \
	X(errand, WIRE_ERRAND)                                                           \
	X(relay, WIRE_RELAY)                                                             \
	X(slow, WIRE_SLOW)                                                               \
	X(notice, WIRE_NOTICE)                                                           \
	X(numbers, WIRE_NUMBERS)

enum wire_type {
	WIRE_TYPE_NONE,
#define X(name, FIELDS) wire_type_##name,
	WIRE_MESSAGES(X)
#undef X
	    WIRE_TYPES
};

/* Flags of a member, in the master's list and in its own keepalive. */
#define WIRE_COMPLETE 1
#define WIRE_ABLE 2
#define WIRE_LATE 4	 /* the speaker was stopped: its echoes prove nothing */
#define WIRE_CONFIRMED 8 /* in a list: the member has answered to this term */
#define WIRE_DRAINED 16	 /* not able because its operator wants it empty */
#define WIRE_HEARS 32	 /* the speaker hears the member by itself, see relay.c */
/* Flag of MASTER_OFFER: the offerer holds a cluster's state. */
#define WIRE_OFFER_COMPLETE 1
/* Flag of a row: its owner began with state that may be behind. */
#define WIRE_UNPROVEN 1
/* Flag of a row: its owner has begun anew, and does not serve the unit. */
#define WIRE_VACANT 2
/* The same, and it holds nothing of it either. */
#define WIRE_FORGOTTEN 4
/* Flags of ENTRIES. */
#define WIRE_ENTRIES_WHOLE 1  /* the sender's whole table */
#define WIRE_ENTRIES_ANSWER 2 /* the sender wants the receiver's whole table */
/* Flag of UNIT_BEGIN: what is not mentioned is as the receiver has it. */
#define WIRE_UNIT_CHANGES 1
/* Flags of PUT: which parts are there. */
#define WIRE_PUT_INITIAL 1
#define WIRE_PUT_ESSENTIAL 2
#define WIRE_PUT_COUNTERS 4
#define WIRE_PUT_TOLD 8	  /* MERGE_PUT: the peer was told something during the cut */
#define WIRE_PUT_ENDED 16 /* MERGE_PUT: it has ended there; without parts */
/* Age, in ms, of what has never happened: `heard` and `told` are ages. */
#define WIRE_AGE_NEVER UINT32_MAX

enum wire_reason {
	WIRE_REASON_IN_PROGRESS = 1,
	WIRE_REASON_NOT_MEMBER,
	WIRE_REASON_LEAVING,
	WIRE_REASON_MERGED,
	WIRE_REASON_NOT_AUTHORISED,
	WIRE_REASON_CONFIG,  /* the shared configurations differ */
	WIRE_REASON_REFUSED, /* by an application */
	WIRE_REASON_HELD_BACK,
	WIRE_REASON_EXPELLED, /* EXIT REQUEST: the receiver is to go, and may come back */
	WIRE_REASON_REVOKED,  /* the same, and may not */
	WIRE_REASON_RESIGNS,  /* the sender goes, and comes back */
	WIRE_REASON_ECHO,     /* ask again, with the stamp: an earlier run was heard of */
};

enum wire_order {
	WIRE_COMMAND_DRAIN = 1,
	WIRE_COMMAND_DRAIN_FORCED,
	WIRE_COMMAND_UNDRAIN,
	WIRE_COMMAND_MOVE,
	WIRE_COMMAND_EXPEL,
	WIRE_COMMAND_REVOKE,
};

struct wire_header {
	uint8_t type;
	uint64_t term;
	uint64_t incarnation;
};

#define WIRE_C_u8 uint8_t
#define WIRE_C_u16 uint16_t
#define WIRE_C_u32 uint32_t
#define WIRE_C_u64 uint64_t
#define WIRE_C_unit unit_id
#define WIRE_C_id member_id
#define WIRE_C_epoch uint64_t
#define WIRE_STRUCT_V(kind, name) WIRE_C_##kind name;
#define WIRE_STRUCT_L(element, name, max)                                                \
	uint16_t name##_count;                                                           \
	struct wire_##element name[max];
#define WIRE_STRUCT_B(name, max)                                                         \
	const uint8_t *name;                                                             \
	size_t name##_len;
#define WIRE_STRUCT_K(name) struct session_key name;
#define WIRE_STRUCT_R(name, size) uint8_t name[size];

#define X(name, FIELDS)                                                                  \
	struct wire_##name {                                                             \
		FIELDS(WIRE_STRUCT_V, WIRE_STRUCT_L, WIRE_STRUCT_B, WIRE_STRUCT_K,       \
		       WIRE_STRUCT_R)                                                    \
	};
WIRE_ELEMENTS(X)
WIRE_MESSAGES(X)
#undef X

/* Reads the header; -EBADMSG if it is short or its term out of range, -EPROTO if the
 * version is another one. */
int wire_decode_header(struct unpack *u, struct wire_header *h);

/*
 * size_t wire_encode_NAME(buf, size, term, incarnation, body): the length, or 0 if it
 * does not fit. int wire_decode_NAME(u, body): 0 or -EBADMSG, from after the header.
 */
#define X(name, FIELDS)                                                                  \
	size_t wire_encode_##name(uint8_t *buf, size_t size, uint64_t term,              \
				  uint64_t incarnation, const struct wire_##name *m);    \
	int wire_decode_##name(struct unpack *u, struct wire_##name *m);
WIRE_MESSAGES(X)
#undef X

/* The message's name in lower case, "unknown" for others. */
const char *wire_name(uint8_t type);

#endif
