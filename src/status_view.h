/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of a status reply share. */
#ifndef SRC_STATUS_VIEW_H
#define SRC_STATUS_VIEW_H

#include "src/status.h"

/* The moment of a reply, and who was a member then. */
struct status_view {
	const struct status_source *source;
	struct mono now;
	struct cluster_member_state members[CLUSTER_MEMBERS_MAX];
	unsigned nmembers;
};

void status_look(const struct status_source *source, struct mono now,
		 struct status_view *v);
/* NULL: no such member. */
const struct cluster_member_state *status_member_of(const struct status_view *v,
						    member_id id);
/* A member's name; null for nobody. New references, as all of these. */
json_t *status_name_of(const struct status_view *v, member_id id);
/* For text that comes from others and that terminals show: control characters become
 * question marks, as does all but ASCII in what is not UTF-8, which json_string() refuses. */
json_t *status_printable(const char *text);

#endif
