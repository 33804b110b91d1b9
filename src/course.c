/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/course.h"

static enum course pass(const struct course_view *v, unsigned hops, member_id whom,
			member_id *to)
{
	if (!whom || whom == v->self || hops >= COURSE_HOPS_MAX)
		return COURSE_DROP;
	*to = whom;
	return COURSE_PASS;
}

enum course course_of(const struct course_view *v, unsigned hops, member_id *to)
{
	if (v->active)
		/* Fenced: either it may go on in a moment, or it loses the unit. */
		return v->serves ? COURSE_SERVE : COURSE_WAIT;
	if (v->owner == v->self)
		return pass(v, hops, v->successor, to);
	if (!v->owner) {
		/* The master gives it to somebody; its announcement comes to all. */
		if (v->master == v->self || v->successor == v->self)
			return COURSE_WAIT;
		return pass(v, hops, v->master, to);
	}
	/* Who hands it to us knows more: the release is under way. */
	if (hops && !v->leaving && (v->successor == v->self || v->moving_to == v->self))
		return COURSE_WAIT;
	return pass(v, hops, v->owner, to);
}
