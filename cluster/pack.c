/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "cluster/pack.h"

void pack_raw(struct pack *p, const void *bytes, size_t len)
{
	uint8_t *at = pack_room(p, len);

	if (at && len)
		memcpy(at, bytes, len);
}

void pack_blob16(struct pack *p, const void *bytes, size_t len)
{
	if (len > UINT16_MAX) {
		p->bad = true;
		return;
	}
	pack_u16(p, (uint16_t)len);
	pack_raw(p, bytes, len);
}

void pack_blob32(struct pack *p, const void *bytes, size_t len)
{
	if (len > UINT32_MAX) {
		p->bad = true;
		return;
	}
	pack_u32(p, (uint32_t)len);
	pack_raw(p, bytes, len);
}

const uint8_t *unpack_blob16(struct unpack *u, size_t *len)
{
	size_t n = unpack_u16(u);
	const uint8_t *at = unpack_raw(u, n);

	*len = at ? n : 0;
	return at;
}

const uint8_t *unpack_blob32(struct unpack *u, size_t *len)
{
	size_t n = unpack_u32(u);
	const uint8_t *at = unpack_raw(u, n);

	*len = at ? n : 0;
	return at;
}
