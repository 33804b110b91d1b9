/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/refusal.h"

#define REFUSAL_LOG_EVERY MONO_SEC

bool refusal_log_due(struct refusal_log *r, struct mono now, unsigned *unsaid)
{
	if (mono_before(now, r->next)) {
		r->unsaid++;
		return false;
	}
	*unsaid = r->unsaid;
	r->unsaid = 0;
	r->next = mono_add(now, REFUSAL_LOG_EVERY);
	return true;
}
