/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose is a packet that is here, by the owner table as this member knows it? Pure.
 *
 * A unit moves from A to B like this. A lets go and tells B; B activates, opens its
 * filter, and announces; A hears that and closes its own. Until then A still gets the
 * unit's frames, and others who have not heard yet hand theirs to A. A passes all of it
 * on to B. What is so handed to B before it has activated waits there. So every packet is
 * taken by somebody who knows where it belongs.
 *
 * Tables differ for a moment, so two members could pass a packet to and fro. It carries
 * the number of its hops, and there are two at most: to the former owner, and from it to
 * the new one.
 */
#ifndef SRC_COURSE_H
#define SRC_COURSE_H

#include "cluster/cluster.h"

#define COURSE_HOPS_MAX 2

enum course {
	COURSE_SERVE, /* work on it */
	COURSE_WAIT,  /* keep it until that is known, or allowed */
	COURSE_PASS,  /* hand it to another member */
	COURSE_DROP,
};

/* What is known of the packet's unit. */
struct course_view {
	member_id self, master;
	member_id owner; /* 0: nobody, or a member that is dead */
	member_id successor, moving_to;
	bool active;  /* activated by this member, and not let go since */
	bool serves;  /* active, and not fenced */
	bool leaving; /* this member takes nothing new */
};

/* `hops` that the packet has behind it. *to is set with COURSE_PASS. */
enum course course_of(const struct course_view *v, unsigned hops, member_id *to);

#endif
