/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket on which charon's plugin connects: local.h's messages, in and out.
 *
 * One plugin at a time; a newer connection replaces the older one, since charon may have
 * been restarted before the end of the old one was seen. Only root may connect.
 */
#ifndef IPSEC_PLUGIN_H
#define IPSEC_PLUGIN_H

#include <event2/event.h>
#include <stdbool.h>

#include "tunnels/ipsec/local.h"

#define PLUGIN_ERROR_SIZE 256

struct plugin;

/* message  one message, borrowed for the call
 * gone     the plugin has left, or sent what cannot be understood */
struct plugin_handler {
	void *ctx;
	void (*message)(void *ctx, const struct local_message *m);
	void (*gone)(void *ctx);
};

/* Listens at `path`, replacing a socket that nobody serves. NULL and a line in `err`. */
struct plugin *plugin_listen(struct event_base *base, const char *path,
			     const struct plugin_handler *handler,
			     char err[PLUGIN_ERROR_SIZE]);
void plugin_close(struct plugin *p); /* takes NULL */
bool plugin_connected(const struct plugin *p);
/* Queues; never blocks. -ENOTCONN, -EMSGSIZE, -ENOBUFS: the plugin does not read, and is
 * disconnected. `gone` is not called from here. */
int plugin_send(struct plugin *p, const struct local_message *m);
/* Bytes that wait for the plugin to read. */
size_t plugin_backlog(const struct plugin *p);
/* Drops the connection; `gone` is not called. */
void plugin_disconnect(struct plugin *p);

#endif
