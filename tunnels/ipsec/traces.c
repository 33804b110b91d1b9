/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was last seen of the exchanges of an IKE SA. One that is established has it in
 * itself. Before, it is in a table, in which anybody's packets have a place; but none that
 * charon has spoken of lately is pushed out by them, and charon speaks of its own SPIs only.
 */
#include <string.h>

#include "tunnels/ipsec/engine.h"

#define SAID_LIFE (60 * MONO_SEC) /* no login takes longer */

static struct ike_trace *slot(struct ipsec *t, uint64_t spi)
{
	return &t->traces[usage_hash((const uint8_t *)&spi, sizeof(spi)) % TABLE_SIZE];
}

static void begin(struct ike_trace *trace, uint64_t spi)
{
	if (trace->spi == spi)
		return;
	memset(trace, 0, sizeof(*trace));
	trace->spi = spi;
}

void traces_said(struct ipsec *t, uint64_t spi, const struct ike_header *h,
		 struct mono now)
{
	struct ike_trace *trace = slot(t, spi);

	begin(trace, spi);
	trace->said = true;
	trace->said_at = now;
	if (h->major == 2 && !h->response) {
		trace->sent = true;
		trace->sent_mid = h->mid;
	}
}

/* NULL: its place is taken. */
static struct ike_trace *place(struct ipsec *t, uint64_t spi, struct mono now)
{
	struct ike_trace *trace = slot(t, spi);

	if (trace->spi != spi && trace->said &&
	    mono_since(now, trace->said_at) < SAID_LIFE)
		return NULL;
	begin(trace, spi);
	return trace;
}

void traces_heard(struct ipsec *t, struct ike_sa *sa, uint64_t spi, uint32_t mid,
		  const uint8_t digest[IKE_DIGEST_SIZE], struct mono now)
{
	struct ike_trace *trace = sa ? &sa->trace : place(t, spi, now);

	if (!trace) {
		t->statistics.traces_full++;
		return;
	}
	trace->received = true;
	trace->received_mid = mid;
	memcpy(trace->digest, digest, IKE_DIGEST_SIZE);
}

void traces_mark(struct ipsec *t, uint64_t spi, uint32_t mark)
{
	struct ike_trace *trace = slot(t, spi);

	/* charon has answered the SA's first message, so it has one. */
	if (trace->spi == spi)
		trace->marks[trace->nmarks++ % TRACE_MARKS] = mark;
}

void traces_take(struct ipsec *t, struct ike_sa *sa)
{
	struct ike_trace *trace = slot(t, sa->spi);

	if (trace->spi != sa->spi)
		return;
	sa->trace = *trace;
	memset(trace, 0, sizeof(*trace));
	for (unsigned i = 0; i < sa->trace.nmarks && i < TRACE_MARKS; i++)
		ike_heard_add(&sa->exchanges, sa->trace.marks[i]);
}
