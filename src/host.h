/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the machine must offer before phalanxd starts: rights, kernel features, settings.
 */
#ifndef SRC_HOST_H
#define SRC_HOST_H

#include <netinet/in.h>
#include <stddef.h>

#define HOST_ERROR_SIZE 256

/*
 * Checks everything that the packet path needs on the cluster networks named. 0, or
 * -errno and one line that names what is missing and, for a setting, how to set it.
 * Changes nothing that lasts.
 */
int host_check(const char *const *ifnames, unsigned count, char err[HOST_ERROR_SIZE]);

/*
 * Checks that none of the cluster's addresses stands on the interface, whose kernel would
 * announce it with its own MAC. As host_check().
 */
int host_check_addresses(const char *ifname, const struct in_addr *cluster,
			 unsigned count, char err[HOST_ERROR_SIZE]);

#endif
