/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "tests/quiet.h"

static void datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
}

static int stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	return 0;
}

static void random_bytes(void *ctx, uint8_t *out, size_t len)
{
	memset(out, 7, len);
}

static int save_activation(void *ctx, uint32_t number)
{
	return 0;
}

static void units(void *ctx, const struct unit_set *gained, const struct unit_set *lost,
		  uint32_t activation)
{
}

static void nothing(void *ctx)
{
}

static void session(void *ctx, struct session *s)
{
}

static void counted(void *ctx, struct session *s, unsigned slot)
{
}

const struct cluster_io quiet_io = {
	.datagram = datagram,
	.stream = stream,
	.random = random_bytes,
	.save_activation = save_activation,
	.units = units,
	.table = nothing,
	.changed = session,
	.removed = session,
	.committed = nothing,
	.counted = counted,
	.role = nothing,
};
