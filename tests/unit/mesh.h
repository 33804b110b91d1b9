/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of links share: real certificates in a folder of their own, ports on
 * loopback, and nodes that note what their links report.
 */
#ifndef TESTS_UNIT_MESH_H
#define TESTS_UNIT_MESH_H

#include <event2/event.h>

#include "src/cert.h"
#include "src/link.h"

#define MESH_DETECTION_MS 400 /* of nodes on several networks */

struct node {
	struct links *links;
	struct link_config config;
	char cert[128], key[128], ca[128];
	unsigned ups, downs, messages, datagrams;
	size_t last_len; /* of the last message or datagram */
	uint8_t last[CLUSTER_MESSAGE_MAX];
	unsigned packets;
	bool damaged;	  /* a message was not what mesh_fill() makes */
	bool answer_down; /* send "late" as a datagram when a link goes down */
	bool in_call;	  /* a callback now would be reentrant */
};

extern char mesh_folder[64];
extern struct event_base *mesh_base;

/* Group fixtures: the folder with ca/, and m1..m4 issued with the ids 1..4. */
int mesh_start(void **state);
int mesh_stop(void **state);
/* Test fixtures: the event base. */
int mesh_base_new(void **state);
int mesh_base_free(void **state);

/* A path below the folder, good until the eighth call after it. */
const char *mesh_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A port of 127.0.0.1 that is free for TCP and UDP. */
uint16_t mesh_port(void);
struct endpoint mesh_address(uint16_t port);
/* The member's address on network `path` of several. */
struct endpoint mesh_address_on(unsigned path, member_id id, uint16_t port);

/* A node with the certificate `prefix`, not started. */
void mesh_node(struct node *n, member_id id, const char *prefix, uint16_t port);
void mesh_list(struct node *n, member_id id, const char *name, uint16_t port);
/* Puts a node, and all that it lists, on the first `npaths` networks, at their addresses
 * there and one port. */
void mesh_networks(struct node *n, unsigned npaths, uint16_t port);
/*
 * From now on nothing reaches those sockets that are on the network, of this member or (0)
 * of any, and of this type (SOCK_STREAM, SOCK_DGRAM) or (0) of any; or it does again.
 */
void mesh_cut(unsigned path, member_id id, int type, bool cut);
struct link_status mesh_status(const struct node *n, member_id peer);
/* Fails the test if the links cannot be made. */
void mesh_run(struct node *n);
void mesh_end(struct node *n);

uint64_t mesh_statistic(const struct node *n, const char *name);
/* A pattern that depends on the length. */
void mesh_fill(uint8_t *message, size_t len);

/* Runs the event loop for a turn of at most a few ms; false when the test took too long. */
bool mesh_turn(uint64_t *deadline);

#define mesh_wait(condition)                                                             \
	do {                                                                             \
		uint64_t deadline = 0;                                                   \
		while (!(condition))                                                     \
			if (!mesh_turn(&deadline))                                       \
				fail_msg("never: %s", #condition);                       \
	} while (0)

#endif
