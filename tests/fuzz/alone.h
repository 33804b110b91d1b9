/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IPsec tunnel of one member that works alone: a real core holds its records, and on its
 * socket is a plugin that the target plays.
 */
#ifndef TESTS_FUZZ_ALONE_H
#define TESTS_FUZZ_ALONE_H

#include "tunnels/ipsec/engine.h"

struct alone {
	struct event_base *base;
	struct cluster *c;
	struct ipsec *t;
	struct mono now;
	int plugin;
	char folder[32], path[64];
	int routes;
};

extern struct alone alone;

void must(bool condition);
/* Once: the member, without the tunnel. */
void alone_make(void);
void alone_start(void); /* the tunnel */
void alone_clear(void); /* removes all records */
void alone_stop(void);

#endif
