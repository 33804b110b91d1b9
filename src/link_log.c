/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "src/link_parts.h"
#include "src/log.h"

/* Refusals of one kind: so many at once, then one in an interval. */
#define LOG_BURST 5
#define LOG_INTERVAL_MS 10000

static bool limit_passed(struct log_limit *limit)
{
	uint64_t now = link_now_ms();
	uint64_t refill = (now - limit->refilled_ms) / LOG_INTERVAL_MS;

	if (!limit->refilled_ms || limit->tokens + refill >= LOG_BURST) {
		limit->tokens = LOG_BURST;
		limit->refilled_ms = now;
	} else if (refill) {
		limit->tokens += (unsigned)refill;
		limit->refilled_ms += refill * LOG_INTERVAL_MS;
	}
	if (!limit->tokens) {
		limit->suppressed++;
		return false;
	}
	limit->tokens--;
	return true;
}

static bool is_refusal(enum connection_end end)
{
	return end >= END_UNKNOWN_CA && end <= END_REFUSED;
}

void link_log_refusal(struct links *l, enum connection_end end, const char *who,
		      const char *why)
{
	struct log_limit *limit = &l->limits[end];
	char more[48] = "";

	if (!limit_passed(limit))
		return;
	if (limit->suppressed)
		snprintf(more, sizeof(more), "; %u more of the kind", limit->suppressed);
	limit->suppressed = 0;
	log_warnx("%s %s: %s [%s%s]", end == END_REFUSED ? "refused by" : "refused", who,
		  why, connection_end_name(end), more);
}

void link_log_not_yet(struct peer *p, const char *who)
{
	if (strcmp(p->logged, p->why) == 0) {
		log_debug("no link to %s: %s", who, p->why);
		return;
	}
	snprintf(p->logged, sizeof(p->logged), "%s", p->why);
	log_info("no link to %s yet: %s", who, p->why);
}

void link_log_end(struct links *l, struct peer *p, const struct connection *c,
		  bool was_up)
{
	const char *why;
	enum connection_end end = connection_end(c, &why);
	char who[CLUSTER_NAME_MAX + 80];

	snprintf(who, sizeof(who), p ? "%s (%.70s)" : "%s%.70s", p ? p->config.name : "",
		 connection_remote(c));
	l->ends[end]++;
	if (p && end != END_REPLACED)
		snprintf(p->why, sizeof(p->why), "%s%s",
			 end == END_REFUSED ? "refused by the peer: " : "", why);
	if (was_up && end == END_REPLACED)
		log_debug("the connection to %s is replaced", who);
	else if (was_up)
		log_info("link to %s is down: %s", who, why);
	else if (is_refusal(end))
		link_log_refusal(l, end, who, why);
	else if (p && !p->up)
		link_log_not_yet(p, who);
	else
		log_debug("no link to %s: %s", who, why);
}
