/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter: which frames of the cluster this member works on.
 *
 * A tc program on the ingress of each cluster network drops what is not ours and marks
 * the rest for the kernel's stack; a socket program lets the frames that are phalanxd's
 * through to the packet socket (port.h), which sees a frame before tc drops it. The
 * userspace twin, filter_classify(), runs the same function over a copy of the same
 * tables.
 *
 * The filter fails closed. It stays attached when the daemon ends, and drops everything
 * of the cluster once the lease is over; a new daemon puts its own program in the place
 * of the old one, closed at first.
 *
 * Not for use by several threads.
 */
#ifndef SRC_FILTER_H
#define SRC_FILTER_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/address.h"
#include "src/bpf/unit.h"
#include "src/statistic.h"

#define FILTER_ROUTE_DROP UNIT_ROUTE_DROP
#define FILTER_ROUTE_NEAR UNIT_ROUTE_NEAR
#define FILTER_ROUTE_OWN UNIT_ROUTE_OWN
#define FILTER_KEY_SIZE 16
#define FILTER_ERROR_SIZE 256

struct filter_network {
	char ifname[IF_NAMESIZE];
	uint8_t cluster_mac[6];
	bool forwarding; /* frames come to own MACs; cluster_mac is not used */
	bool outside;	 /* packets from sessions' addresses are forgeries there */
};

struct filter_config {
	uint16_t self; /* this member's id, not 0 */
	struct filter_network networks[UNIT_NETWORKS_MAX];
	unsigned network_count;
	struct address addresses[UNIT_ADDRESSES_MAX]; /* the cluster's, all networks' */
	unsigned address_count;
	int lease_fd; /* of filter_lease_open(), stays the caller's; -1: the filter's own
		       */
	bool userspace; /* load no BPF at all: only filter_classify() works */
};

struct filter;

/*
 * Loads the programs and fills the tables; attaches nothing. All units are without owner,
 * the lease is over, the key is zero. The interfaces must exist. On failure NULL and one
 * line in `err`.
 */
struct filter *filter_new(const struct filter_config *config,
			  char err[FILTER_ERROR_SIZE]);
/* Detaches nothing: what is attached stays and fails closed. Takes NULL. */
void filter_free(struct filter *f);

/*
 * The lease's map by itself, for a parent process that outlives the daemon: it makes the
 * map, its child passes it to filter_new(), and when the child is dead the parent
 * revokes. Returns a descriptor (close-on-exec, inherited by fork) or -errno.
 */
int filter_lease_open(void);
/* Ends the lease at once. 0 or -errno. Safe after the filter's owner is dead. */
int filter_revoke(int lease_fd);
int filter_lease_fd(const struct filter *f); /* -1 with `userspace` */
/* The filter works until this point of CLOCK_MONOTONIC (nanoseconds); 0 closes it. */
void filter_renew(struct filter *f, uint64_t until_ns);

/* Owner ids by unit; UNIT_NOBODY for none. Takes effect at once, unit by unit. */
void filter_set_owners(struct filter *f, const uint16_t owners[UNIT_COUNT]);
void filter_set_owner(struct filter *f, uint16_t unit, uint16_t owner);
/* Whether this member, as the master, takes what belongs to a unit without owner. */
void filter_set_master(struct filter *f, bool master);
/*
 * Where another member is on a network, for mode forwarding. 0, -EINVAL, -ENOSPC. A
 * member's new MAC replaces its old one.
 */
int filter_set_place(struct filter *f, unsigned network, uint16_t member,
		     const uint8_t mac[6]);
/* The interface's own MAC, as it was when it was attached. */
void filter_own_mac(const struct filter *f, unsigned network, uint8_t mac[6]);
/* The cluster's key of `fold`, the same on all members. */
void filter_set_key(struct filter *f, const uint8_t key[FILTER_KEY_SIZE]);
const struct unit_key *filter_key(const struct filter *f);

/*
 * Session routes: inside traffic towards `address/prefixlen` belongs to `unit`, or is
 * dropped (FILTER_ROUTE_DROP: a pool, a selector without a session), or is not a session's
 * (FILTER_ROUTE_NEAR, and FILTER_ROUTE_OWN if it is for this member). The longest prefix
 * counts; adding an existing prefix replaces its value. `address`: 4 or 16 bytes in network
 * order. 0, -ENOSPC, -EINVAL, -EAFNOSUPPORT; filter_route_del() gives -ENOENT for what is not
 * there.
 */
int filter_route_add(struct filter *f, int family, const void *address,
		     unsigned prefixlen, uint16_t unit);
int filter_route_del(struct filter *f, int family, const void *address,
		     unsigned prefixlen);

/*
 * Guards: from `source`, packets of `protocol` to `port` of a cluster address come in ESP
 * only; those that come from outside in clear are dropped. 0: any port, any protocol. 0,
 * -ENOSPC; -EEXIST, -ENOENT.
 */
int filter_guard_add(struct filter *f, const struct address *source, uint8_t protocol,
		     uint16_t port);
int filter_guard_del(struct filter *f, const struct address *source, uint8_t protocol,
		     uint16_t port);

/*
 * Attaches the tc program to the configured network number `network`, in place of an
 * earlier daemon's. 0 or -errno and a line in `err`.
 */
int filter_attach(struct filter *f, unsigned network, char err[FILTER_ERROR_SIZE]);
/*
 * Takes a filter off an interface, whoever attached it: for `phalanxd --detach`, when the
 * machine leaves the cluster for good. -ENOENT if there is none.
 */
int filter_detach(const char *ifname);

/* A configured network, or NULL if there is no such number. */
const struct filter_network *filter_network(const struct filter *f, unsigned network);

/* The socket program, for SO_ATTACH_BPF; -1 with `userspace`. */
int filter_socket_fd(const struct filter *f);
int filter_tc_fd(const struct filter *f);

/*
 * The userspace twin: the verdict over an Ethernet frame that came in on `ifindex` at
 * `now` (CLOCK_MONOTONIC ns). Counts nothing.
 */
struct unit_result filter_classify(const struct filter *f, const void *frame, size_t len,
				   int ifindex, uint64_t now);
/*
 * The same over an IP packet without a frame, as if it had come to the interface's own
 * MAC on configured network number `network`.
 */
struct unit_result filter_classify_packet(const struct filter *f, unsigned network,
					  const void *ip, size_t len, uint64_t now);
/* The interface's number and MAC, as they were when it was attached. */
int filter_ifindex(const struct filter *f, unsigned network);
/* The unit of the longest session route, another FILTER_ROUTE_, or -1. `packet` is an IP
 * packet on its way to the inside end. */
int filter_route_find(const struct filter *f, const void *packet, size_t len);
const char *filter_verdict_name(enum unit_verdict v);
const char *filter_reason_name(enum unit_reason r);

/* "filter.REASON", as the tc program counted them since filter_new(). */
size_t filter_statistics(const struct filter *f, struct statistic *out, size_t max);

#endif
