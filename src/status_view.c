/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/status_view.h"

#include <stdlib.h>
#include <string.h>

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

/* Terminals obey the control characters of ASCII, and those of Latin-1 in UTF-8 as well. */
static void without_controls(char *text)
{
	for (uint8_t *p = (uint8_t *)text; *p; p++) {
		if (*p < ' ' || *p == 0x7f)
			*p = '?';
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?';
	}
}

json_t *status_printable(const char *text)
{
	char *safe = strdup(text);
	json_t *s;

	if (!safe)
		return json_null();
	without_controls(safe);
	s = json_string(safe);
	for (char *p = safe; !s && *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	if (!s)
		s = json_string(safe);
	free(safe);
	return s;
}
