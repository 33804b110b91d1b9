/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/herald.h"

#include <errno.h>
#include <time.h>

#define ANNOUNCE_TIMES 3
#define ANNOUNCE_USEC 100000
#define DEFEND_INTERVAL_NS 1000000000u

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
	const struct timeval again = { .tv_usec = ANNOUNCE_USEC };
	struct herald *h = ctx;

	if (!h->master || !h->left)
		return;
	h->announce(h->ctx);
	if (--h->left)
		event_add(h->timer, &again);
}

int herald_init(struct herald *h, struct event_base *base, void (*announce)(void *ctx),
		void *ctx)
{
	*h = (struct herald){ .announce = announce, .ctx = ctx };
	h->timer = evtimer_new(base, on_timer, h);
	return h->timer ? 0 : -ENOMEM;
}

void herald_clear(struct herald *h)
{
	if (h->timer)
		event_free(h->timer);
	h->timer = NULL;
}

void herald_announce(struct herald *h)
{
	if (!h->master)
		return;
	event_del(h->timer);
	h->left = ANNOUNCE_TIMES;
	on_timer(-1, 0, h);
}

void herald_set_master(struct herald *h, bool master)
{
	if (h->master == master)
		return;
	h->master = master;
	if (master) {
		herald_announce(h);
	} else {
		event_del(h->timer);
		h->left = 0;
	}
}

/*
 * The last word must be ours: what comes too soon after the latest answer is answered when
 * the interval is over. What comes before the end of an announcement, that one answers.
 */
bool herald_claimed(struct herald *h)
{
	uint64_t now = now_ns(), next = h->defended_ns + DEFEND_INTERVAL_NS;
	uint64_t wait_usec = h->defended_ns && now < next ? (next - now) / 1000 : 0;
	struct timeval wait = { .tv_sec = (time_t)(wait_usec / 1000000),
				.tv_usec = (suseconds_t)(wait_usec % 1000000) };

	if (!h->master || h->left)
		return false;
	h->defended_ns = now + wait_usec * 1000;
	h->left = ANNOUNCE_TIMES;
	event_add(h->timer, &wait);
	return true;
}
