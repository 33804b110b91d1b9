/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration file, phalanx.conf(5).
 *
 * The same file serves on every member. Which of the listed members a machine is stands
 * in its certificate, or in the file's `node`.
 *
 * conf_read() looks at nothing but the file: that certificates, interfaces and sockets
 * are there is for their users to find out.
 */
#ifndef SRC_CONF_H
#define SRC_CONF_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cluster/cluster.h"
#include "src/address.h"
#include "src/log.h"

#define CONF_PATH "/etc/phalanx/phalanx.conf"
#define CONF_PATH_MAX 256 /* with the final zero */
#define CONF_NETWORKS_MAX 8
#define CONF_ADDRESSES_MAX 16 /* cluster addresses of one network */
#define CONF_PROBES_MAX 4     /* hosts of a network that are watched */
#define CONF_PATHS_MAX 4      /* networks of the interconnect */
#define CONF_PROTECT_MAX 256
#define CONF_CONTROL_NAME "control.sock"
#define CONF_EXIT 78 /* sysexits' EX_CONFIG: the file is wrong */

enum conf_mode {
	CONF_MULTICAST,	 /* a multicast cluster MAC, which switches flood */
	CONF_UNICAST,	 /* a shared unicast MAC, for switches that flood it */
	CONF_FORWARDING, /* the master's own MAC; it passes frames on */
};

struct conf_member {
	char name[CLUSTER_NAME_MAX];
	member_id id;
	/* Its own on the interconnect's networks, the preferred one first: number i of two
	 * members lie in one network. At least 1. */
	unsigned naddresses;
	struct in_addr addresses[CONF_PATHS_MAX];
	uint16_t port; /* host order; its own, or the interconnect's */
};

struct conf_network {
	char name[32];
	char interface[IF_NAMESIZE];
	unsigned naddresses; /* at least 1 */
	struct address addresses[CONF_ADDRESSES_MAX];
	unsigned nprobes;
	struct address probes[CONF_PROBES_MAX]; /* hosts there; see reach.h */
	bool mac_auto;				/* derived from mode and first address */
	uint8_t mac[6]; /* the cluster's, in either case; zero in mode forwarding */
};

struct conf {
	char path[CONF_PATH_MAX];    /* the file, set by conf_shared_read(); else "" */
	char node[CLUSTER_NAME_MAX]; /* "": as the certificate says */
	char certificate[CONF_PATH_MAX];
	char key[CONF_PATH_MAX];
	char authority[CONF_PATH_MAX];
	char state_directory[CONF_PATH_MAX];
	char run_directory[CONF_PATH_MAX];
	unsigned version; /* of what all members share */
	enum conf_mode mode;
	unsigned detection_interval; /* ms */
	unsigned capacity;
	unsigned balance_interval; /* ms */
	unsigned moves_per_round;
	unsigned hold_back; /* ms, 0: none */
	enum log_level log_level;

	uint16_t
	    port; /* of the interconnect: TLS over TCP, and sealed datagrams in UDP */

	unsigned nmembers; /* at least 1; names, ids and address-port pairs are unique */
	struct conf_member members[CLUSTER_MEMBERS_MAX];

	unsigned nnetworks; /* at least 1; names, interfaces and addresses are unique */
	struct conf_network networks[CONF_NETWORKS_MAX];

	struct {
		char device[IF_NAMESIZE];
		unsigned mtu;
		unsigned table; /* of routes, and its rules' priority */
	} tunnel;

	unsigned nprotect; /* prefixes whose packets never leave in clear, each once */
	struct address_block protect[CONF_PROTECT_MAX];

	struct {
		char socket[CONF_PATH_MAX];
		bool inbound_commit;
		unsigned replay_window;	    /* packets */
		unsigned mss;		    /* TCP payload, 0: any */
		unsigned address_hold_back; /* seconds */
	} ipsec;
};

/*
 * Reads and checks the file. NULL if it cannot be used, and `errors` (a stream, never
 * NULL) has one line for each thing that is wrong: "FILE:LINE: what was found, what was
 * expected".
 */
struct conf *conf_read(const char *path, FILE *errors);
void conf_free(struct conf *conf); /* takes NULL */

/* Prints all of it, defaults included, so that it parses again to the same. */
void conf_print(const struct conf *conf, FILE *out);

/*
 * What is the same on all members: everything but node, certificate, key, authority,
 * directories, capacity, log-level, sockets, names of devices and the routing table. The
 * text is a whole configuration, which parses; networks' interfaces stand in it, for members
 * that have none of their own for a network.
 */
void conf_print_shared(const struct conf *conf, FILE *out);
enum conf_part {
	CONF_PART_OPTIONS,
	CONF_PART_MEMBERS,
	CONF_PART_NETWORKS,
	CONF_PART_TUNNELS
};
#define CONF_PARTS 4
/* One part of that, without the interfaces. */
void conf_print_part(const struct conf *conf, enum conf_part part, FILE *out);

/* NULL if no such member is listed. */
const struct conf_member *conf_member_named(const struct conf *conf, const char *name);
const struct conf_member *conf_member_with_id(const struct conf *conf, member_id id);
/* NULL if there is no such network. */
const struct conf_network *conf_network_named(const struct conf *conf, const char *name);

const char *conf_mode_name(enum conf_mode mode);
const char *conf_log_level_name(enum log_level level);
/* run-directory/control.sock. Returns `buf`. */
const char *conf_control_path(const struct conf *conf, char *buf, size_t size);

#endif
