/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as an IKE message, and as the replicated copies of an SA's last exchanges.
 * Copies that are accepted are encoded and decoded again to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/ike.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void read_header(const uint8_t *input, size_t len)
{
	struct ike_header h;

	if (ike_parse(input, len, &h))
		return;
	must(len >= IKE_HEADER_SIZE && h.major < 16);
	/* In IKEv1 the header does not say who began; only clients do. */
	if (h.major == 1) {
		must(ike_receiver_spi(&h) == h.spi_r && ike_sender_spi(&h) == h.spi_r);
		return;
	}
	must(ike_receiver_spi(&h) == (h.initiator ? h.spi_r : h.spi_i));
	must(ike_sender_spi(&h) == (h.initiator ? h.spi_i : h.spi_r));
}

static void check_copy(const struct ike_copy *c)
{
	size_t sum = 0, len;

	must(c->packets <= IKE_COPY_PACKETS && c->len <= IKE_COPY_MAX);
	must(c->valid || !c->packets);
	for (unsigned i = 0; i < c->packets; i++) {
		must(ike_copy_packet(c, i, &len) == c->bytes + sum && len > 0);
		sum += len;
	}
	must(sum == c->len);
}

static void read_exchanges(const uint8_t *input, size_t len)
{
	static uint8_t first[IKE_EXCHANGES_MAX], second[IKE_EXCHANGES_MAX];
	struct ike_exchanges x = { 0 };
	size_t n;

	if (ike_exchanges_decode(&x, input, len) == 0) {
		check_copy(&x.response);
		check_copy(&x.request);
		n = ike_exchanges_encode(&x, first, sizeof(first));
		must(n > 0 && !ike_exchanges_encode(&x, second, n - 1));
		must(ike_exchanges_decode(&x, first, n) == 0);
		must(ike_exchanges_encode(&x, second, sizeof(second)) == n);
		must(!memcmp(first, second, n));
		/* Laid over what was there, nothing of it stays on failure. */
		must(ike_exchanges_decode(&x, first, n - 1) < 0);
		must(ike_exchanges_encode(&x, second, sizeof(second)) == n);
	}
	ike_exchanges_clear(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	read_header(input, len);
	read_exchanges(input, len);
	return 0;
}
