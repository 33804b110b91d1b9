/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a message of the local protocol between phalanxd and its plugin, and as
 * traffic selectors. What is accepted is encoded again as the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/local.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static void must(int condition)
{
	if (!condition)
		abort();
}

static void read_selectors(const uint8_t *input, size_t len)
{
	const struct local_blob list = { input, len };
	unsigned n = local_ts_count(&list);
	uint8_t again[LOCAL_TS_SIZE];
	struct local_ts ts;

	must(n <= len / LOCAL_TS_SIZE);
	must(local_ts_get(&list, n, &ts) < 0);
	for (unsigned i = 0; i < n; i++) {
		struct pack p = pack_to(again, sizeof(again));

		if (local_ts_get(&list, i, &ts))
			continue;
		local_ts_put(&p, &ts);
		must(!p.bad &&
		     !memcmp(again, input + (size_t)i * LOCAL_TS_SIZE, sizeof(again)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static uint8_t again[LOCAL_MESSAGE_MAX];
	struct local_message m;

	read_selectors(input, len);
	if (len > sizeof(again) || local_decode(input, len, &m))
		return 0;
	must(local_type_name(m.type) != NULL);
	must(local_encode(&m, again, sizeof(again)) == len);
	must(!memcmp(again, input, len));
	must(!len || !local_encode(&m, again, len - 1));
	return 0;
}
