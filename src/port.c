/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/port_ops.h"

int port_send_ip(struct port *p, const void *packet, size_t len)
{
	return p->ops->send(p, NULL, packet, len);
}

int port_send_ip_via(struct port *p, struct in_addr next_hop, const void *packet,
		     size_t len)
{
	return p->ops->send(p, &next_hop, packet, len);
}

void port_flush(struct port *p)
{
	p->ops->flush(p);
}

size_t port_statistics(struct port *p, struct statistic *out, size_t max)
{
	return p->ops->statistics(p, out, max);
}

void port_close(struct port *p)
{
	if (p)
		p->ops->close(p);
}
