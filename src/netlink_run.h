/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests over netlink, for the files that make them. */
#ifndef SRC_NETLINK_RUN_H
#define SRC_NETLINK_RUN_H

#include <libmnl/libmnl.h>

#include "src/netlink.h"

/* Sends the request and feeds its answers to `each`, up to the acknowledgement. -errno */
int netlink_run(struct netlink *n, struct nlmsghdr *h, mnl_cb_t each, void *ctx);

#endif
