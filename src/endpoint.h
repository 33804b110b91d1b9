/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Socket addresses of the interconnect, IPv4 or IPv6. */
#ifndef SRC_ENDPOINT_H
#define SRC_ENDPOINT_H

#include <stdbool.h>
#include <sys/socket.h>

#define ENDPOINT_TEXT 64

struct endpoint {
	struct sockaddr_storage address;
	socklen_t addresslen;
};

const struct sockaddr *endpoint_socket(const struct endpoint *a);
/* The same host, whatever the ports. */
bool endpoint_same_host(const struct sockaddr *a, const struct sockaddr *b);
/* The host without its port; "?" if it is none. Returns `buf`. */
const char *endpoint_host(const struct sockaddr *a, socklen_t len,
			  char buf[ENDPOINT_TEXT]);
/*
 * A socket that is bound to the address; with `port` false, to any port of it. With
 * `absent`, the machine need not have the address now: it may get it later. -1 and errno on
 * failure.
 */
int endpoint_bound_socket(const struct endpoint *a, int type, bool port, bool absent);

#endif
