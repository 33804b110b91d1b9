/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter's twin in userspace: the tables and the same classification over them. Only
 * filter.c keeps one; it writes each change to the twin and to the BPF maps.
 */
#ifndef SRC_TWIN_H
#define SRC_TWIN_H

#include <stddef.h>
#include <stdint.h>

#include "src/address.h"
#include "src/bpf/unit.h"
#include "src/lpm.h"

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
	struct unit_guard *guards; /* room for UNIT_GUARDS_MAX */
	unsigned guard_count;
};

struct unit_result twin_classify(const struct twin *t, const void *frame, size_t len,
				 int ifindex, uint64_t now);

#endif
