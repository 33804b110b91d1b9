/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a kind of port provides, and what all kinds share. For src/port*.c only.
 */
#ifndef SRC_PORT_OPS_H
#define SRC_PORT_OPS_H

#include "src/port.h"

struct port_ops {
	/* `next_hop` is NULL for the packet's own destination. */
	int (*send)(struct port *p, const struct in_addr *next_hop, const void *packet,
		    size_t len);
	void (*flush)(struct port *p);
	size_t (*statistics)(struct port *p, struct statistic *out, size_t max);
	void (*close)(struct port *p); /* frees p */
};

/* The first member of every kind's own struct. */
struct port {
	const struct port_ops *ops;
};

#endif
