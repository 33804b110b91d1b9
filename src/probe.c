/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/probe.h"

#include <errno.h>

#include "cluster/pack.h"

void probe_encode(const struct probe *p, uint8_t out[PROBE_SIZE])
{
	struct pack to = pack_to(out, PROBE_SIZE);

	pack_u32(&to, p->round);
	pack_u8(&to, p->hears);
	pack_u64(&to, p->stamp);
	pack_u64(&to, p->echo);
	pack_u32(&to, p->held);
}

int probe_decode(const uint8_t *bytes, size_t len, struct probe *out)
{
	struct unpack u = unpack_from(bytes, len);
	struct probe p;

	p.round = unpack_u32(&u);
	p.hears = unpack_u8(&u);
	p.stamp = unpack_u64(&u);
	p.echo = unpack_u64(&u);
	p.held = unpack_u32(&u);
	if (u.bad || unpack_left(&u))
		return -EBADMSG;
	*out = p;
	return 0;
}
