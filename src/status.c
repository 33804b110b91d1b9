/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/status.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/control.h"
#include "src/sessions.h"
#include "src/status_paths.h"
#include "src/status_view.h"

/* The low 16 bits of an epoch are its owner's id, those of a term its master's. */
#define NUMBER_OF(epoch) ((json_int_t)((epoch) >> 16))

static json_t *hex(uint64_t value)
{
	char text[17];

	snprintf(text, sizeof(text), "%016" PRIx64, value);
	return json_string(text);
}

static json_t *address_of(const struct address *a)
{
	char text[ADDRESS_TEXT_MAX];

	return json_string(address_print(a, text));
}

/* Members */

static const char *role_of(const struct cluster_member_state *m)
{
	if (m->master)
		return "master";
	if (m->vice_master)
		return "vice-master";
	return m->present ? "member" : "absent";
}

/* What an operator has to know of a member, worst first. */
static const char *state_of(const struct cluster_member_state *m)
{
	if (!m->present)
		return "absent";
	if (!m->self && !m->linked)
		return "no link";
	if (m->drained)
		return m->units ? "draining" : "drained";
	if (!m->able)
		return "unable";
	if (!m->complete)
		return "learning";
	return m->slow ? "slow" : "ready";
}

/* Milliseconds; null if it never was. */
static json_t *ago(uint64_t ns)
{
	return ns == UINT64_MAX ? json_null() : json_real((double)ns / (double)MONO_MS);
}

/* Of a processor. */
static json_t *share(uint64_t millionths)
{
	return json_real((double)millionths / 1e6);
}

static void add_keepalives(const struct status_view *v,
			   const struct cluster_member_state *m, json_t *o)
{
	unsigned n = m->per_interval;

	json_object_set_new(o, "heard_ms", m->self ? json_null() : ago(m->heard));
	json_object_set_new(o, "loss", json_real(m->loss));
	json_object_set_new(o, "stress", json_integer(m->stress));
	json_object_set_new(o, "barred", status_printable(m->barred ? m->barred : ""));
	json_object_set_new(o, "per_interval", json_integer(n));
	json_object_set_new(o, "keepalive_ms",
			    n ? json_real((double)v->source->conf->detection_interval / n)
			      : json_null());
	json_object_set_new(o, "detection_interval",
			    json_integer(v->source->conf->detection_interval));
	json_object_set_new(o, "refused", json_integer((json_int_t)m->refused));
	json_object_set_new(o, "refused_why",
			    status_printable(m->refused_why ? m->refused_why : ""));
	json_object_set_new(o, "refused_ms",
			    m->refused ? ago(m->refused_ago) : json_null());
}

/* The connection to the member, and the networks that lead there. */
static void add_link(const struct status_view *v, const struct cluster_member_state *m,
		     json_t *o)
{
	struct link_status link;

	if (!v->source->link || !v->source->link(v->source->ctx, m->id, &link))
		return;
	json_object_set_new(o, "paths", status_paths(&link));
	json_object_set_new(o, "link_why", status_printable(link.why));
	json_object_set_new(o, "queued", json_integer((json_int_t)link.queued));
}

/* What the tunnels have to say of it. */
static json_t *remark_of(const struct status_view *v, member_id id)
{
	const struct status_source *source = v->source;

	if (id == source->self && source->remark && *source->remark)
		return status_printable(source->remark);
	for (unsigned i = 0; i < source->ntunnels; i++) {
		const struct status_tunnel *t = &source->tunnels[i];
		const char *text = t->ops->remark ? t->ops->remark(t->tunnel, id) : "";

		if (*text)
			return status_printable(text);
	}
	return json_string("");
}

static json_t *member_json(const struct status_view *v,
			   const struct cluster_member_state *m)
{
	const struct conf_member *listed = conf_member_with_id(v->source->conf, m->id);
	struct address address;
	json_t *o =
	    json_pack("{s:i,s:s,s:s,s:s,s:b,s:b,s:b,s:b,s:b,s:b}", "id", (int)m->id,
		      "name", m->name, "role", role_of(m), "state", state_of(m), "self",
		      m->self, "present", m->present, "linked", m->self || m->linked,
		      "complete", m->complete, "able", m->able, "drained", m->drained);

	json_object_set_new(o, "relayed", json_boolean(m->relayed));
	json_object_set_new(o, "why", status_printable(m->why ? m->why : ""));
	json_object_set_new(o, "remark", remark_of(v, m->id));
	if (listed)
		address = address_ipv4(listed->addresses[0]);
	json_object_set_new(o, "address", listed ? address_of(&address) : json_null());
	add_link(v, m, o);
	json_object_set_new(o, "incarnation", hex(m->incarnation));
	add_keepalives(v, m, o);
	json_object_set_new(o, "capacity", json_integer(m->capacity));
	json_object_set_new(o, "load", share(m->load));
	json_object_set_new(o, "processor", share(m->processor));
	json_object_set_new(o, "activation", json_integer(m->activation));
	json_object_set_new(o, "units", json_integer(m->units));
	json_object_set_new(o, "successor_of", json_integer(m->successor_of));
	json_object_set_new(o, "sessions", json_integer(m->sessions));
	json_object_set_new(o, "lag", json_integer((json_int_t)m->lag));
	json_object_set_new(o, "slow", json_boolean(m->slow));
	json_object_set_new(o, "behind_ms", ago(m->behind));
	return o;
}

static json_t *members_json(const struct status_view *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->nmembers; i++)
		json_array_append_new(list, member_json(v, &v->members[i]));
	return list;
}

/* Units */

static json_t *unit_json(const struct status_view *v, unit_id unit)
{
	struct cluster_unit_state u;

	cluster_unit(v->source->cluster, unit, &u);
	return json_pack("{s:i,s:o,s:o,s:I,s:o,s:i,s:o,s:o}", "unit", (int)unit, "owner",
			 status_name_of(v, u.owner), "successor",
			 status_name_of(v, u.successor), "epoch", NUMBER_OF(u.epoch),
			 "moving_to", status_name_of(v, u.moving_to), "sessions",
			 (int)u.sessions, "load", share(u.load), "traffic",
			 share(u.traffic));
}

static bool is_unit(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 &&
	       json_integer_value(value) < CLUSTER_UNITS;
}

/* "units": a list of numbers; or "unit": one; or all. */
static json_t *units_reply(const struct status_view *v, const json_t *arguments)
{
	json_t *one = json_object_get(arguments, "unit"), *wanted;
	json_t *some = json_object_get(arguments, "units");
	json_t *list = json_array(), *value;
	bool all = !some && !one;
	size_t i;

	wanted = some ? json_incref(some) : one ? json_pack("[O]", one) : NULL;
	if (wanted && !json_is_array(wanted))
		goto bad;
	/* One without end would keep the daemon from its timers. */
	if (json_array_size(wanted) > CLUSTER_UNITS)
		goto bad;
	json_array_foreach(wanted, i, value) {
		if (!is_unit(value))
			goto bad;
		json_array_append_new(list,
				      unit_json(v, (unit_id)json_integer_value(value)));
	}
	for (unit_id u = 0; all && u < CLUSTER_UNITS; u++)
		json_array_append_new(list, unit_json(v, u));
	json_decref(wanted);
	return json_pack("{s:o,s:b}", "units", list, "all", all);
bad:
	json_decref(wanted);
	json_decref(list);
	return control_error("a work unit is a number from 0 to %d, and a list has no "
			     "more than there are",
			     CLUSTER_UNITS - 1);
}

static json_t *unit_totals(const struct status_view *v)
{
	unsigned owned = 0, successor = 0, moving = 0, without_owner = 0,
		 without_successor = 0, unproven = 0;

	for (unit_id i = 0; i < CLUSTER_UNITS; i++) {
		struct cluster_unit_state u;

		cluster_unit(v->source->cluster, i, &u);
		owned += u.owner == v->source->self;
		successor += u.successor == v->source->self;
		moving += u.moving_to != 0;
		without_owner += u.owner == 0;
		without_successor += u.successor == 0;
		unproven += u.unproven;
	}
	return json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "total", CLUSTER_UNITS, "owned",
			 (int)owned, "successor_of", (int)successor, "moving",
			 (int)moving, "without_owner", (int)without_owner,
			 "without_successor", (int)without_successor, "unproven",
			 (int)unproven);
}

/* Counters */

/*
 * "part.what": parts that name their counters without themselves, and with underscores,
 * are brought into this form.
 */
static void counter_name(const char *part, const char *name, char *buf, size_t size)
{
	char *first;

	snprintf(buf, size, "%s%s%s", part ? part : "", part ? "." : "", name);
	first = strchr(buf, '.') ? NULL : strchr(buf, '_');
	if (first)
		*first = '.';
	for (char *p = buf; *p; p++)
		if (*p == '_')
			*p = '-';
}

static void add_counters(json_t *o, const char *part, const struct statistic *list,
			 size_t n)
{
	char name[96];

	for (size_t i = 0; i < n; i++) {
		json_int_t before;

		counter_name(part, list[i].name, name, sizeof(name));
		before = json_integer_value(json_object_get(o, name));
		json_object_set_new(o, name,
				    json_integer(before + (json_int_t)list[i].value));
	}
}

static json_t *counters_json(const struct status_view *v)
{
	const struct status_source *source = v->source;
	const char *names[STATUS_STATISTICS_MAX];
	uint64_t values[STATUS_STATISTICS_MAX];
	struct statistic list[STATUS_STATISTICS_MAX];
	json_t *o = json_object();
	size_t n;

	n = cluster_statistics(source->cluster, names, values, STATUS_STATISTICS_MAX);
	for (size_t i = 0; i < n; i++)
		list[i] = (struct statistic){ names[i], values[i] };
	add_counters(o, "cluster", list, n);
	for (unsigned t = 0; t < source->ntunnels; t++) {
		const struct status_tunnel *tunnel = &source->tunnels[t];

		n = tunnel->ops->statistics(tunnel->tunnel, list, STATUS_STATISTICS_MAX);
		add_counters(o, NULL, list, n);
	}
	if (source->statistics)
		add_counters(
		    o, NULL, list,
		    source->statistics(source->ctx, list, STATUS_STATISTICS_MAX));
	return o;
}

/* Status */

static json_t *network_json(const struct status_view *v, unsigned index)
{
	const struct status_source *source = v->source;
	const struct conf_network *n = &source->conf->networks[index];
	json_t *addresses = json_array();
	char mac[18];

	for (unsigned i = 0; i < n->naddresses; i++)
		json_array_append_new(addresses, address_of(&n->addresses[i]));
	if (source->conf->mode == CONF_FORWARDING)
		strcpy(mac, "the master's");
	else
		snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0],
			 n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
	return json_pack("{s:s,s:s,s:o,s:s,s:o}", "name", n->name, "interface",
			 n->interface, "addresses", addresses, "mac", mac, "up",
			 source->network_up
			     ? json_boolean(source->network_up(source->ctx, index))
			     : json_null());
}

static json_t *networks_json(const struct status_view *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->source->conf->nnetworks; i++)
		json_array_append_new(list, network_json(v, i));
	return list;
}

static json_t *status_json(const struct status_view *v, const json_t *arguments)
{
	const struct status_source *source = v->source;
	const struct cluster *c = source->cluster;
	const struct cluster_member_state *self = status_member_of(v, source->self);
	member_id master = cluster_master(c);
	json_t *o =
	    json_pack("{s:o,s:i,s:s,s:s,s:s}", "node", status_name_of(v, source->self),
		      "id", (int)source->self, "version", PACKAGE_VERSION, "role",
		      cluster_role_name(cluster_role(c)), "mode",
		      conf_mode_name(source->conf->mode));

	json_object_set_new(o, "master", status_name_of(v, master));
	json_object_set_new(o, "master_id", json_integer(master));
	json_object_set_new(o, "term", json_integer(NUMBER_OF(cluster_term(c))));
	json_object_set_new(o, "incarnation", hex(cluster_incarnation(c)));
	json_object_set_new(o, "activation", json_integer(cluster_activation(c)));
	json_object_set_new(
	    o, "uptime",
	    json_integer((json_int_t)(mono_since(v->now, source->started) / MONO_SEC)));
	json_object_set_new(o, "detection_interval",
			    json_integer(source->conf->detection_interval));
	json_object_set_new(o, "protected", json_boolean(!cluster_unprotected(c)));
	json_object_set_new(o, "able", json_boolean(self && self->able));
	json_object_set_new(o, "drained", json_boolean(self && self->drained));
	json_object_set_new(o, "why",
			    status_printable(self && self->why ? self->why : ""));
	json_object_set_new(o, "networks", networks_json(v));
	json_object_set_new(o, "members", members_json(v));
	json_object_set_new(o, "units", unit_totals(v));
	sessions_totals(v, o);
	if (json_is_true(json_object_get(arguments, "counters")))
		json_object_set_new(o, "counters", counters_json(v));
	return o;
}

json_t *status_reply(const struct status_source *source, const char *command,
		     const json_t *arguments, struct mono now)
{
	struct status_view v;

	status_look(source, now, &v);
	if (strcmp(command, "status") == 0)
		return status_json(&v, arguments);
	if (strcmp(command, "members") == 0)
		return json_pack("{s:o,s:i}", "members", members_json(&v),
				 "detection_interval",
				 (int)source->conf->detection_interval);
	if (strcmp(command, "units") == 0)
		return units_reply(&v, arguments);
	if (strcmp(command, "sessions") == 0)
		return sessions_reply(&v, arguments);
	if (strcmp(command, "counters") == 0)
		return json_pack("{s:o}", "counters", counters_json(&v));
	return NULL;
}
