/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a router's error. The first byte says of which family.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/pathmtu.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

/* What is quoted lies within the message, and up to its end. */
static void check(const uint8_t *message, size_t len, const uint8_t *quoted,
		  size_t quoted_len, unsigned mtu)
{
	if (quoted < message || quoted + quoted_len != message + len || !mtu ||
	    mtu > UINT16_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	const uint8_t *quoted;
	uint8_t *message;
	size_t quoted_len;
	unsigned mtu;

	if (len < 1)
		return 0;
	message = malloc(len > 1 ? len - 1 : 1); /* exactly sized */
	if (!message)
		return 0;
	memcpy(message, input + 1, len - 1);
	if (!(input[0] & 1 ? pathmtu_read6 : pathmtu_read4)(message, len - 1, &quoted,
							    &quoted_len, &mtu))
		check(message, len - 1, quoted, quoted_len, mtu);
	free(message);
	return 0;
}
