/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * charon's control protocol (vici), as much as `crowd` needs. A packet is its length (32
 * bits), a type, for all but responses a name, and a message of elements. All numbers are
 * big-endian. What goes wrong ends the program.
 */
#ifndef TESTS_NET_TOOLS_CROWD_VICI_H
#define TESTS_NET_TOOLS_CROWD_VICI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VICI_PACKET_MAX 4096

enum {
	VICI_REQUEST = 0,
	VICI_RESPONSE = 1,
	VICI_REGISTER = 3,
	VICI_CONFIRM = 5,
	VICI_EVENT = 7
};
enum {
	VICI_SECTION = 1,
	VICI_SECTION_END = 2,
	VICI_PAIR = 3,
	VICI_LIST = 4,
	VICI_ITEM = 5,
	VICI_LIST_END = 6
};

/* A message under construction; a full one makes the program end. */
struct vici_message {
	size_t len;
	uint8_t bytes[VICI_PACKET_MAX];
};

/* A vici connection, and what has come of a packet. */
struct vici_line {
	int fd;
	size_t len;
	uint8_t in[VICI_PACKET_MAX];
};

void vici_open(struct vici_line *l, const char *path);

/* Begins a packet; then come its elements. */
void vici_begin(struct vici_message *m, uint8_t type, const char *name);
/* An element's type, and its name if it has one. */
void vici_put_element(struct vici_message *m, uint8_t type, const char *name);
void vici_put_value(struct vici_message *m, const char *value);
void vici_put_pair(struct vici_message *m, const char *key, const char *value);

void vici_say(const struct vici_line *l, struct vici_message *m);
/* The next packet, without its length; waits for the whole of it. */
const uint8_t *vici_hear(struct vici_line *l, size_t *len);
/* The answer to a request, in which `good`, unless it is NULL, has to be "yes". */
const uint8_t *vici_ask(struct vici_line *l, struct vici_message *m, const char *good,
			size_t *len);
/* Whether a packet has this pair somewhere. */
bool vici_says(const uint8_t *at, size_t len, const char *key, const char *value);

#endif
