/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the cluster's own packets bear on their way through the kernel (SO_MARK): they must
 * never go into a tunnel, whatever the tunnels' routes say. See rtable.h. */
#ifndef SRC_MARK_H
#define SRC_MARK_H

#define CLUSTER_MARK 0x50480000

#endif
