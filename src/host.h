/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the machine must offer before phalanxd starts: rights, kernel features, settings.
 */
#ifndef SRC_HOST_H
#define SRC_HOST_H

#include <stddef.h>

#include "src/address.h"

#define HOST_ERROR_SIZE 256

/* A cluster network: its interface, and the cluster's addresses there. */
struct host_network {
	const char *ifname;
	const struct address *addresses;
	unsigned count;
};

/*
 * Checks everything that the packet path needs on these networks, for the families that
 * they have addresses of; and that none of the addresses stands on the interface, whose
 * kernel would announce it with its own MAC. 0, or -errno and one line that names what is
 * missing and, for a setting, how to set it. Changes nothing that lasts.
 */
int host_check(const struct host_network *networks, unsigned count,
	       char err[HOST_ERROR_SIZE]);

#endif
