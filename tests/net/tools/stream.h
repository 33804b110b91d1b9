/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending and receiving of a pattern over TCP, the part that server and client share.
 *
 * The protocol, one transfer a connection:
 *   GET BYTES SEED [RATE]   the server sends that many bytes of the pattern, RATE a second
 *   PUT BYTES SEED          the client sends them (or fewer, and closes its side); the server
 *                           answers "OK RECEIVED" or "WRONG OFFSET"
 * The rate is kept by the sender. Would the receiver keep it, full buffers would hide each
 * pause of the network.
 */
#ifndef TESTS_NET_TOOLS_STREAM_H
#define TESTS_NET_TOOLS_STREAM_H

#include <stdbool.h>

#include "tests/net/tools/common.h"

#define STREAM_CHUNK 65536
/* Of a transfer that is ended by time. */
#define STREAM_ENDLESS (UINT64_C(1) << 52)

struct stream {
	int fd; /* non-blocking */
	uint64_t seed, bytes;
	uint64_t done;
	uint64_t rate; /* bytes a second; 0: unlimited */
	ns_t end;      /* stop then; INT64_MAX: never */
	ns_t idle;     /* give up after so long without progress */
	bool (*progress)(struct stream *s, ns_t now); /* NULL, or false to stop */
	void *owner;
	bool wrong;	   /* byte number `done` was not the pattern's */
	bool closed;	   /* the other end closed */
	const char *error; /* NULL, or why the transfer broke */
};

/*
 * Until all is sent or received, the end, a signal, the other end's close, a wrong byte or an
 * error. `done` counts bytes given to the socket or found right.
 */
void stream_send(struct stream *s);
void stream_receive(struct stream *s);
/* Reads a line of text, without its end; false on failure or after `until`. */
bool stream_read_line(int fd, char *line, size_t size, ns_t until);
/* Sends text as a whole; false on failure. */
bool stream_say(int fd, const char *text, ns_t until);

#endif
