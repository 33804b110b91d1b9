/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decodes a probe of the interconnect, and what was decoded encodes to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	uint8_t again[PROBE_SIZE];
	struct probe p;
	int failed = probe_decode(input, len, &p);

	if ((failed == 0) != (len == PROBE_SIZE))
		abort();
	if (failed)
		return 0;
	probe_encode(&p, again);
	if (memcmp(again, input, len) != 0)
		abort();
	return 0;
}
