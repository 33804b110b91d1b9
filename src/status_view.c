/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/status_view.h"

void status_look(const struct status_source *source, struct mono now,
		 struct status_view *v)
{
	v->source = source;
	v->now = now;
	v->nmembers =
	    cluster_members(source->cluster, v->members, CLUSTER_MEMBERS_MAX, now);
}

const struct cluster_member_state *status_member_of(const struct status_view *v,
						    member_id id)
{
	for (unsigned i = 0; i < v->nmembers; i++)
		if (v->members[i].id == id)
			return &v->members[i];
	return NULL;
}

json_t *status_name_of(const struct status_view *v, member_id id)
{
	const struct cluster_member_state *m = status_member_of(v, id);

	return m ? json_string(m->name) : json_null();
}

json_t *status_printable(const char *text)
{
	char safe[512];
	size_t n = 0;
	json_t *s = json_string(text);

	if (s)
		return s;
	for (; text[n] && n < sizeof(safe) - 1; n++)
		safe[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
	safe[n] = '\0';
	return json_string(safe);
}
