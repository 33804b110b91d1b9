/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter's twin in userspace: the tables and the same classification over them. Only
 * filter.c keeps one; it writes each change to the twin and to the BPF maps.
 */
#ifndef SRC_TWIN_H
#define SRC_TWIN_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/address.h"
#include "src/bpf/unit.h"
#include "src/lpm.h"

/* At most UNIT_GUARDS_MAX, in a hash table with open addressing. */
struct twin_guards {
	struct twin_guard *slots;
	unsigned count;
};

struct twin {
	struct unit_control control;
	struct {
		int ifindex;
		struct unit_network macs;
	} networks[UNIT_NETWORKS_MAX];
	unsigned network_count;
	struct unit_member places[UNIT_PLACES_MAX]; /* parallel to: */
	uint16_t place_members[UNIT_PLACES_MAX];
	unsigned place_count;
	struct address addresses[UNIT_ADDRESSES_MAX];
	unsigned address_count;
	uint16_t owners[UNIT_COUNT];
	uint64_t lease_until; /* CLOCK_MONOTONIC ns */
	struct lpm *routes, *routes6;
	struct twin_guards guards;
};

/* -ENOMEM */
int twin_guards_make(struct twin_guards *g);
void twin_guards_free(struct twin_guards *g);
bool twin_guards_has(const struct twin_guards *g, const struct unit_guard *guard);
/* It is not in it; is in it. */
void twin_guards_add(struct twin_guards *g, const struct unit_guard *guard);
void twin_guards_del(struct twin_guards *g, const struct unit_guard *guard);

struct unit_result twin_classify(const struct twin *t, const void *frame, size_t len,
				 int ifindex, uint64_t now);

#endif
