/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as another member's list of connections, beside some of this member's own; and
 * those once more, as a member that is configured alike would tell them: of that one there is
 * nothing to say. What is said of the other is text.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/alone.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define ALIKE 2
#define OTHER 3
#define OWN_MAX 8

static const char names[OWN_MAX][4] = { "a", "b", "bb", "c", "d", "e", "ee", "f" };

/* Which ones there are. */
static void load(uint8_t which)
{
	for (unsigned i = 0; i < OWN_MAX; i++) {
		const struct local_config config = {
			.name = { (const uint8_t *)names[i], strlen(names[i]) },
			.remote = { (const uint8_t *)"192.0.2.7", 9 },
			.digest = i,
		};

		if (which & 1 << i)
			connections_config(alone.t, &config);
	}
	connections_configs(alone.t, alone.now);
}

static void tell_alike(uint8_t which)
{
	uint8_t what[256];
	struct pack p = pack_to(what, sizeof(what));

	pack_u8(&p, 1);
	pack_u32(&p, 0);
	pack_u64(&p, 0);
	pack_u16(&p, (uint16_t)__builtin_popcount(which));
	for (unsigned i = 0; i < OWN_MAX; i++) {
		if (!(which & 1 << i))
			continue;
		pack_u8(&p, (uint8_t)strlen(names[i]));
		pack_raw(&p, names[i], strlen(names[i]));
		pack_u64(&p, i);
	}
	must(!p.bad);
	ipsec_ops.noticed(alone.t, ALIKE, what, (size_t)(p.at - what));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	const char *remark;

	if (!alone.c) {
		alone_make();
		alone_start();
	}
	if (!len || len > CLUSTER_NOTICE_MAX)
		return 0;
	load(input[0]);
	tell_alike(input[0]);
	ipsec_ops.noticed(alone.t, OTHER, input + 1, len - 1);
	for (unsigned i = 0; i < 2; i++)
		compare_sweep(alone.t, alone.now);
	must(!*ipsec_ops.remark(alone.t, ALIKE));
	remark = ipsec_ops.remark(alone.t, OTHER);
	must(strlen(remark) < REMARK_SIZE + 32);
	for (; *remark; remark++)
		must(isprint((unsigned char)*remark));
	ipsec_ops.departed(alone.t, OTHER, "");
	must(!*ipsec_ops.remark(alone.t, OTHER));
	ipsec_ops.departed(alone.t, ALIKE, "");
	return 0;
}
