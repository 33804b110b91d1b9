/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as the stream of a member whose certificate is good, in pieces, at most PIECES:
 * the first byte says whether it is up already, the second how long they are. However it is
 * cut, the same messages come out, in their order, none empty of bytes that were sent;
 * then the connection is up, or over for one reason.
 */
#include "src/connection.c"

#define PIECES 64

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

struct heard {
	unsigned messages, ups;
	size_t bytes;
	uint32_t sum;
};

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void on_up(void *ctx, struct connection *c)
{
	struct heard *h = ctx;

	must(c->state == STATE_UP && ++h->ups == 1);
}

static void on_message(void *ctx, struct connection *c, const uint8_t *msg, size_t len)
{
	struct heard *h = ctx;

	must(c->state == STATE_UP && len <= CLUSTER_MESSAGE_MAX);
	h->messages++;
	h->bytes += len;
	for (size_t i = 0; i < len; i++)
		h->sum = h->sum * 31 + msg[i];
}

static void on_over(void *ctx, struct connection *c)
{
}

/* Feeds all in pieces, and returns how it ended. */
static enum connection_end feed(struct event_base *base, bool up, const uint8_t *bytes,
				size_t len, size_t piece, struct heard *h)
{
	struct connection_shared shared = { .base = base,
					    .ctx = h,
					    .up = on_up,
					    .message = on_message,
					    .over = on_over };
	const struct sockaddr_in remote = { .sin_family = AF_INET };
	struct bufferevent *ends[2];
	struct connection *c =
	    connection_new(&shared, 0, (const struct sockaddr *)&remote, sizeof(remote));
	enum connection_end end;
	const char *why;

	TAILQ_INIT(&shared.lingerers);
	must(c && !bufferevent_pair_new(base, 0, ends));
	c->bev = ends[1];
	c->state = up ? STATE_UP : STATE_HELLO;
	bufferevent_setcb(c->bev, read_event, written_event, status_event, c);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	for (size_t at = 0; at < len; at += piece) {
		bufferevent_write(ends[0], bytes + at,
				  len - at < piece ? len - at : piece);
		event_base_loop(base, EVLOOP_NONBLOCK);
		must(evbuffer_get_length(bufferevent_get_input(c->bev)) <=
		     FRAME_HEADER + CLUSTER_MESSAGE_MAX + piece);
	}
	must((c->state == STATE_OVER) == (c->end != END_NONE));
	end = connection_end(c, &why);
	must(c->state != STATE_OVER || *why);
	must(c->counters.received == h->messages);
	must(c->counters.received_bytes == h->bytes);
	/* A refusal that lingers needs a socket. */
	c->end = END_NONE;
	connection_free(c);
	bufferevent_free(ends[0]);
	event_base_loop(base, EVLOOP_NONBLOCK);
	return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static struct event_base *base;
	struct heard whole = { 0 }, pieces = { 0 };
	enum connection_end end;

	if (!base)
		base = event_base_new();
	if (len < 2)
		return 0;
	end = feed(base, input[0] & 1, input + 2, len - 2, len, &whole);
	must(feed(base, input[0] & 1, input + 2, len - 2, 1 + input[1] + len / PIECES,
		  &pieces) == end);
	must(whole.messages == pieces.messages && whole.sum == pieces.sum &&
	     whole.bytes == pieces.bytes && whole.ups == pieces.ups);
	return 0;
}
