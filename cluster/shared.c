/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the configuration that all members share: its version, and digests of its
 * parts. Who asks to join with another version is not let in; if the master's is newer, it
 * fetches that, by the stream, and joins again when it uses it. What stands in it is for
 * the daemon: here it is a text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/internal.h"

#define FETCH_RETRY (2 * MONO_SEC)

static const char *how(uint32_t theirs, uint32_t ours)
{
	return theirs < ours ? "older" : "newer";
}

/* Names the parts that differ. */
static void list_parts(const struct cluster_shared *s, const struct wire_join_request *r,
		       char *out, size_t size)
{
	size_t used = 0;

	out[0] = 0;
	for (unsigned i = 0; i < s->nparts && used < size; i++)
		if (i >= r->parts_count || r->parts[i].digest != s->parts[i].digest)
			used += (size_t)snprintf(out + used, size - used, "%s%s",
						 used ? ", " : "", s->parts[i].name);
}

bool shared_fits(struct cluster *c, struct member *m, const struct wire_join_request *r)
{
	const struct cluster_shared *s = &c->cfg.shared;
	char why[WIRE_BARRED_MAX + 1 + 128], parts[96]; /* it is cut later */

	list_parts(s, r, parts, sizeof(parts));
	if (s->version && r->version != s->version)
		snprintf(why, sizeof(why),
			 "%s's configuration version %u is %s than the cluster's %u%s%s",
			 m->name, r->version, how(r->version, s->version), s->version,
			 *parts ? "; different: " : "", parts);
	else if (s->version && *parts)
		snprintf(why, sizeof(why),
			 "%s's configuration version %u differs from the cluster's, "
			 "though both have that number: %s",
			 m->name, r->version, parts);
	else if (r->detection != c->cfg.detection)
		snprintf(why, sizeof(why),
			 "%s's detection-interval is %llu ms, the cluster's is %llu ms; "
			 "it can only change when all members are stopped",
			 m->name, (unsigned long long)(r->detection / MONO_MS),
			 (unsigned long long)(c->cfg.detection / MONO_MS));
	else
		return true;
	count(c, STAT_configuration_differs);
	return admission_bar(c, m, WIRE_REASON_CONFIG, why);
}

void shared_describe(const struct cluster *c, struct wire_join_request *r)
{
	r->detection = c->cfg.detection;
	r->version = c->cfg.shared.version;
	r->parts_count = (uint16_t)c->cfg.shared.nparts;
	for (unsigned i = 0; i < r->parts_count; i++)
		r->parts[i].digest = c->cfg.shared.parts[i].digest;
}

/* The joiner: the cluster's version is `version`. Each version is fetched once. */
void shared_fetch(struct cluster *c, struct member *from, uint32_t version)
{
	struct wire_config_request m = { .version = c->cfg.shared.version };

	if (!c->io.config || !c->cfg.shared.version || version <= c->cfg.shared.version ||
	    version <= c->fetched ||
	    (c->fetching && mono_since(c->now, c->fetch_at) < FETCH_RETRY))
		return;
	core_log(c, "asks member %u for configuration version %u", from->id, version);
	if (STREAM(c, from, config_request, &m))
		return;
	c->fetching = from->id;
	c->fetch_at = c->now;
}

void recv_config_request(struct cluster *c, struct member *from,
			 const struct wire_header *h, struct unpack *u)
{
	struct wire_config_request m;
	struct wire_config answer = { .version = c->cfg.shared.version };
	uint8_t *text;

	if (wire_decode_config_request(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (m.version >= answer.version || !c->io.config_text)
		return;
	text = malloc(WIRE_CONFIG_MAX);
	if (!text) {
		count(c, STAT_out_of_memory);
		return;
	}
	answer.text = text;
	answer.text_len = c->io.config_text(c->io.ctx, text, WIRE_CONFIG_MAX);
	if (answer.text_len && answer.text_len <= WIRE_CONFIG_MAX) {
		core_log(c, "gives member %u configuration version %u", from->id,
			 answer.version);
		STREAM(c, from, config, &answer);
	}
	free(text);
}

void recv_config(struct cluster *c, struct member *from, const struct wire_header *h,
		 struct unpack *u)
{
	struct wire_config m;

	if (wire_decode_config(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	if (c->fetching != from->id || !c->io.config ||
	    m.version <= c->cfg.shared.version)
		return;
	c->fetching = 0;
	c->fetched = m.version;
	count(c, STAT_configurations_fetched);
	c->io.config(c->io.ctx, from->id, m.version, m.text, m.text_len);
}

void cluster_set_shared(struct cluster *c, const struct cluster_shared *shared)
{
	c->cfg.shared = *shared;
	if (c->cfg.shared.nparts > CLUSTER_PARTS_MAX)
		c->cfg.shared.nparts = CLUSTER_PARTS_MAX;
}
