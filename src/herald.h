/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When cluster addresses are announced, for ARP and neighbour discovery alike: by the
 * master alone, three times at intervals of 100 ms when it becomes master, when a member has
 * gone, which hosts may have taken for the master, and when somebody claims one of them. A
 * claim is always answered, so that the master has the last word, but at most once a second:
 * two masters of a partition that heals, or an attacker, make no storm.
 */
#ifndef SRC_HERALD_H
#define SRC_HERALD_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct herald {
	struct event *timer;
	void (*announce)(void *ctx); /* all addresses, once */
	void *ctx;
	bool master;
	unsigned left;	      /* announcements that are still to be made */
	uint64_t defended_ns; /* when a claim was last answered, or will be */
};

/* 0 or -ENOMEM. Not master at first. */
int herald_init(struct herald *h, struct event_base *base, void (*announce)(void *ctx),
		void *ctx);
void herald_clear(struct herald *h);
/* Becoming master announces; no longer being it stops announcements. */
void herald_set_master(struct herald *h, bool master);
/* Does nothing unless master; while an announcement is under way it begins it again. */
void herald_announce(struct herald *h);
/* Somebody claims an address: announces as soon as it is time to. True if that is worth a
 * line in the log. */
bool herald_claimed(struct herald *h);

#endif
