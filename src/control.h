/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: how clusterctl asks phalanxd.
 *
 * A Unix stream socket that only its owner may open (mode 0600). The client sends one
 * line of JSON, {"command": NAME, "arguments": {...}}, and receives one line of JSON;
 * then it may ask again. The reply to a request that cannot be answered is {"error":
 * TEXT}.
 *
 * A request line has at most CONTROL_REQUEST_MAX bytes; a client that sends more, is idle
 * or does not take its reply for CONTROL_TIMEOUT seconds is dropped.
 */
#ifndef SRC_CONTROL_H
#define SRC_CONTROL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>

#include "src/log.h"

#define CONTROL_REQUEST_MAX 65536
#define CONTROL_CLIENTS_MAX 64
#define CONTROL_TIMEOUT 10
#define CONTROL_ERR 256

struct control;

/*
 * Answers a request. `arguments` is a borrowed object (empty if the client sent none).
 * Returns a new reference: the reply, or control_error(). NULL: no such command. It must
 * not close the control socket.
 */
typedef json_t *control_handler(void *ctx, const char *command, const json_t *arguments);

/*
 * Makes and opens the socket, in place of one that nobody listens to any more; the folder
 * must be there. 0, -EADDRINUSE if another process answers on it, or another -errno, and
 * a line in `err`. The process ignores SIGPIPE from then on.
 */
int control_open(struct event_base *base, const char *path, control_handler *handler,
		 void *ctx, struct control **out, char err[CONTROL_ERR]);
/* Drops the clients and removes the socket. Accepts NULL. */
void control_close(struct control *c);

/* {"error": TEXT} */
json_t *control_error(const char *format, ...) LOG_PRINTF(1, 2);

/* "control.requests", "control.refused" and "control.dropped". */
struct control_counters {
	uint64_t requests; /* answered, errors included */
	uint64_t refused;  /* clients beyond CONTROL_CLIENTS_MAX */
	uint64_t dropped;  /* clients: too slow, or a line too long */
};
const struct control_counters *control_counters(const struct control *c);

/*
 * The client's side; waits for the reply. Steals `arguments` (NULL: none). On success
 * *reply is a new reference to an object without "error". -ENOENT and -ECONNREFUSED: no
 * daemon runs there; -EREMOTEIO: it answered with an error, whose text is in `err`.
 */
int control_call(const char *path, const char *command, json_t *arguments, json_t **reply,
		 char err[CONTROL_ERR]);

#endif
