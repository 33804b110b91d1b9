/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/sessions.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "src/control.h"
#include "src/operate.h"

/* A reply ends with the unit that brings it above one of these. */
#define PAGE_SESSIONS 128
#define PAGE_RECORDS 8192

#define ID_TEXT (2 * CLUSTER_KEY_MAX + 1)

/* Errands of the daemon itself; a tunnel's own begin with larger numbers. */
#define ERRAND_END 1 /* then 1 to force it */

struct filter_text {
	const char *text; /* NULL: whatever it is */
	char canonical[ADDRESS_TEXT_MAX];
};

struct selection {
	int unit;	 /* -1: all */
	member_id owner; /* 0: all */
	const char *id, *user;
	struct filter_text address, any;
};

/* Looking */

static const struct status_tunnel *tunnel_of(const struct status_source *source,
					     const struct session_key *key)
{
	for (unsigned i = 0; i < source->ntunnels; i++)
		if (source->tunnels[i].ops->owns(key->type))
			return &source->tunnels[i];
	return NULL;
}

static bool view_session(const struct status_source *source, struct session *s,
			 struct session_view *out, struct mono now)
{
	const struct status_tunnel *t = tunnel_of(source, session_key(s));

	if (!t)
		return false;
	memset(out, 0, sizeof(*out));
	out->kind = t->ops->name;
	out->age = UINT64_MAX;
	return t->ops->view(t->tunnel, s, out, now);
}

static const char *id_of(const struct session *s, char out[ID_TEXT])
{
	const struct session_key *key = session_key(s);

	out[0] = '\0';
	for (unsigned i = 0; i < key->len; i++)
		snprintf(out + (size_t)2 * i, 3, "%02x", key->bytes[i]);
	return out;
}

/* Selecting */

/* -EINVAL if it is there and no text. */
static int get_text(const json_t *arguments, const char *name, const char **out)
{
	const json_t *value = json_object_get(arguments, name);

	*out = json_string_value(value);
	return value && !*out ? -EINVAL : 0;
}

static void get_address(struct filter_text *f)
{
	struct address a;

	if (f->text && address_parse(f->text, &a) == 0)
		address_print(&a, f->canonical);
	else if (f->text)
		snprintf(f->canonical, sizeof(f->canonical), "%s", f->text);
}

/* NULL, or the reply that says what is wrong. */
static json_t *read_selection(const struct status_source *source, const json_t *arguments,
			      struct selection *out)
{
	const json_t *unit = json_object_get(arguments, "unit");
	const json_t *who = json_object_get(arguments, "member");
	const struct conf_member *m;

	memset(out, 0, sizeof(*out));
	out->unit = -1;
	if (get_text(arguments, "id", &out->id) ||
	    get_text(arguments, "user", &out->user) ||
	    get_text(arguments, "address", &out->address.text) ||
	    get_text(arguments, "any", &out->any.text))
		return control_error("an id, a user and an address are texts");
	if (unit && (!json_is_integer(unit) || json_integer_value(unit) < 0 ||
		     json_integer_value(unit) >= CLUSTER_UNITS))
		return control_error("a work unit is a number from 0 to %d",
				     CLUSTER_UNITS - 1);
	if (unit)
		out->unit = (int)json_integer_value(unit);
	if (who) {
		m = operate_member(source->conf, who);
		if (!m)
			return operate_no_member(source->conf, who);
		out->owner = m->id;
	}
	get_address(&out->address);
	get_address(&out->any);
	return NULL;
}

/* Whether `address` is the one in "ADDRESS:PORT" or "[ADDRESS]:PORT". */
static bool is_end(const char *end, const char *address)
{
	size_t len = strlen(address);

	if (*end == '[')
		return strncmp(end + 1, address, len) == 0 && end[1 + len] == ']';
	return strncmp(end, address, len) == 0 && (!end[len] || end[len] == ':');
}

/* Whether it is one of the words of `list`. */
static bool is_word(const char *list, const char *word)
{
	size_t len = strlen(word), n;

	for (; *list; list += n + strspn(list + n, " ")) {
		n = strcspn(list, " ");
		if (n == len && n && memcmp(list, word, n) == 0)
			return true;
	}
	return false;
}

static bool has_address(const struct session_view *sv, const struct filter_text *f)
{
	return is_end(sv->client, f->canonical) || strcmp(sv->client, f->text) == 0 ||
	       is_word(sv->virtual_address, f->canonical);
}

static bool is_selected(const struct selection *want, const struct session *s,
			const struct session_view *sv)
{
	char id[ID_TEXT];

	id_of(s, id);
	if (want->id && strcmp(want->id, id) != 0)
		return false;
	if (want->user && fnmatch(want->user, sv->user, 0) != 0)
		return false;
	if (want->address.text && !has_address(sv, &want->address))
		return false;
	return !want->any.text || strcmp(want->any.text, id) == 0 ||
	       strcmp(want->any.text, sv->user) == 0 || has_address(sv, &want->any);
}

/* Listing */

struct listing {
	const struct status_view *view;
	struct selection want;
	struct cluster_unit_state unit;
	json_t *list;
};

/* Only the owner counts packets. */
static json_t *traffic_json(const struct session_view *sv, uint64_t value)
{
	return sv->counted ? json_integer((json_int_t)value) : json_null();
}

static json_t *known(uint64_t value)
{
	return value == UINT64_MAX ? json_null() : json_integer((json_int_t)value);
}

static json_t *session_json(const struct status_view *v, struct session *s,
			    const struct session_view *sv,
			    const struct cluster_unit_state *u)
{
	char id[ID_TEXT];
	json_t *o = json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:i}", "id", id_of(s, id), "kind",
			      sv->kind, "user", status_printable(sv->user), "client",
			      status_printable(sv->client), "virtual_address",
			      status_printable(sv->virtual_address), "detail",
			      status_printable(sv->detail), "unit", (int)session_unit(s));

	json_object_set_new(o, "owner", status_name_of(v, u->owner));
	json_object_set_new(o, "successor", status_name_of(v, u->successor));
	json_object_set_new(o, "age", known(sv->age));
	json_object_set_new(o, "bytes_in", traffic_json(sv, sv->bytes_in));
	json_object_set_new(o, "bytes_out", traffic_json(sv, sv->bytes_out));
	json_object_set_new(o, "packets_in", traffic_json(sv, sv->packets_in));
	json_object_set_new(o, "packets_out", traffic_json(sv, sv->packets_out));
	json_object_set_new(o, "lag", known(u->lag));
	json_object_set_new(o, "held", json_integer((json_int_t)sv->held));
	json_object_set_new(o, "sent", json_integer((json_int_t)sv->sent));
	return o;
}

static int list_session(void *ctx, struct session *s)
{
	struct listing *l = ctx;
	struct session_view sv;

	if (view_session(l->view->source, s, &sv, l->view->now) &&
	    is_selected(&l->want, s, &sv))
		json_array_append_new(l->list, session_json(l->view, s, &sv, &l->unit));
	return 0;
}

static void list_unit(struct listing *l, unit_id unit)
{
	if (l->want.unit >= 0 && l->want.unit != (int)unit)
		return;
	if (l->want.owner && l->want.owner != l->unit.owner)
		return;
	cluster_each(l->view->source->cluster, unit, list_session, l);
}

json_t *sessions_reply(const struct status_view *v, const json_t *arguments)
{
	const json_t *from = json_object_get(arguments, "from");
	struct listing l = { .view = v };
	unsigned records = 0;
	unit_id unit = 0;
	json_t *bad = read_selection(v->source, arguments, &l.want);

	if (bad)
		return bad;
	if (from && (!json_is_integer(from) || json_integer_value(from) < 0 ||
		     json_integer_value(from) >= CLUSTER_UNITS))
		return control_error("\"from\" is no work unit");
	if (from)
		unit = (unit_id)json_integer_value(from);
	l.list = json_array();
	while (unit < CLUSTER_UNITS && json_array_size(l.list) < PAGE_SESSIONS &&
	       records < PAGE_RECORDS) {
		cluster_unit(v->source->cluster, unit, &l.unit);
		records += l.unit.sessions;
		list_unit(&l, unit++);
	}
	return json_pack("{s:o,s:o}", "sessions", l.list, "next",
			 unit < CLUSTER_UNITS ? json_integer(unit) : json_null());
}

/* Totals */

struct totals {
	const struct status_view *view;
	json_t *by_owner;
	unsigned total;
	uint64_t held, sent; /* bytes, of all of them */
};

static int add_session(void *ctx, struct session *s)
{
	struct totals *t = ctx;
	const struct cluster_member_state *m;
	struct cluster_unit_state u;
	struct session_view sv;
	const char *owner;

	if (!view_session(t->view->source, s, &sv, t->view->now))
		return 0;
	cluster_unit(t->view->source->cluster, session_unit(s), &u);
	m = status_member_of(t->view, u.owner);
	owner = m ? m->name : "nobody";
	t->total++;
	t->held += sv.held;
	t->sent += sv.sent;
	json_object_set_new(
	    t->by_owner, owner,
	    json_integer(json_integer_value(json_object_get(t->by_owner, owner)) + 1));
	return 0;
}

/* What replication takes: of the whole store, and of a session on the average. */
static json_t *replication_json(const struct totals *t)
{
	struct cluster_store_state s;

	cluster_store(t->view->source->cluster, &s);
	return json_pack(
	    "{s:i,s:I,s:I,s:I,s:I,s:I,s:I}", "records", (int)s.records, "bytes",
	    (json_int_t)s.bytes, "memory", (json_int_t)s.memory, "record_bytes_sent",
	    (json_int_t)s.record_bytes, "counter_bytes_sent", (json_int_t)s.counter_bytes,
	    "held_per_session", (json_int_t)(t->total ? t->held / t->total : 0),
	    "sent_per_session", (json_int_t)(t->total ? t->sent / t->total : 0));
}

void sessions_totals(const struct status_view *v, json_t *status)
{
	struct totals t = { .view = v, .by_owner = json_object() };

	cluster_each(v->source->cluster, CLUSTER_UNITS, add_session, &t);
	json_object_set_new(
	    status, "sessions",
	    json_pack("{s:i,s:o}", "total", (int)t.total, "by_owner", t.by_owner));
	json_object_set_new(status, "replication", replication_json(&t));
}

/* Ending */

struct search {
	const struct status_source *source;
	const char *id;
	struct mono now;
	struct session *found;
};

static int look_for(void *ctx, struct session *s)
{
	struct search *search = ctx;
	struct session_view sv;
	char id[ID_TEXT];

	if (strcmp(id_of(s, id), search->id) != 0 ||
	    !view_session(search->source, s, &sv, search->now))
		return 0;
	search->found = s;
	return 1;
}

static int end_here(const struct status_source *source, struct session *s, bool force)
{
	const struct status_tunnel *t = tunnel_of(source, session_key(s));

	return t && t->ops->end ? t->ops->end(t->tunnel, s, force) : -EOPNOTSUPP;
}

static const char *owner_name(const struct status_view *v, unit_id unit)
{
	const struct cluster_member_state *m;
	struct cluster_unit_state u;

	cluster_unit(v->source->cluster, unit, &u);
	m = status_member_of(v, u.owner);
	return m ? m->name : "nobody";
}

static json_t *outcome(const char *owner, int rc, uint32_t ticket)
{
	switch (-rc) {
	case 0:
	case EINPROGRESS:
		return json_pack("{s:s,s:b,s:I}", "owner", owner, "done", rc == 0,
				 "ticket", (json_int_t)ticket);
	case ENOTCONN:
		return control_error("there is no connection to %s, which owns the "
				     "session: tell it there",
				     owner);
	case ESRCH:
		return control_error("the session has no owner at the moment; try again");
	case ESTALE:
		return control_error("the session goes to another owner; try again");
	case EAGAIN:
		return control_error("no charon is connected to phalanxd on %s, which "
				     "owns the session",
				     owner);
	case EPERM:
		return control_error("charon on %s does not know the session; with force "
				     "it is removed",
				     owner);
	case EOPNOTSUPP:
		return control_error(
		    "%s, which owns the session, runs another version of "
		    "phalanxd: tell it there",
		    owner);
	case ENOENT:
		return control_error("there is no such ticket");
	default:
		return control_error("%s, which owns the session: %s", owner,
				     strerror(-rc));
	}
}

static json_t *kill_session(const struct status_view *v, const json_t *arguments)
{
	const char *id = json_string_value(json_object_get(arguments, "id"));
	const json_t *unit = json_object_get(arguments, "unit");
	json_int_t n = json_is_integer(unit) ? json_integer_value(unit) : CLUSTER_UNITS;
	struct search search = { .source = v->source, .id = id, .now = v->now };
	uint8_t what[2] = { ERRAND_END,
			    json_is_true(json_object_get(arguments, "force")) };
	struct cluster_unit_state u;
	uint32_t ticket = 0;
	int rc;

	if (!id)
		return control_error("the session's id is missing");
	if (n < 0 || n > CLUSTER_UNITS)
		n = CLUSTER_UNITS;
	if (!cluster_each(v->source->cluster, (unit_id)n, look_for, &search))
		return control_error("there is no session with the id %.64s", id);
	n = session_unit(search.found);
	cluster_unit(v->source->cluster, (unit_id)n, &u);
	if (u.served)
		rc = end_here(v->source, search.found, what[1]);
	else
		rc =
		    cluster_ask(v->source->cluster, (unit_id)n, session_key(search.found),
				what, sizeof(what), &ticket, v->now);
	/* Owned, and about to be served. */
	if (rc == -EALREADY)
		rc = -ESRCH;
	return outcome(owner_name(v, (unit_id)n), rc, ticket);
}

static json_t *kill_result(const struct status_view *v, const json_t *arguments)
{
	json_int_t ticket = json_integer_value(json_object_get(arguments, "ticket"));
	const char *owner = json_string_value(json_object_get(arguments, "owner"));

	if (ticket < 1 || ticket > UINT32_MAX)
		return outcome("", -ENOENT, 0);
	return outcome(owner ? owner : "the member",
		       cluster_result(v->source->cluster, (uint32_t)ticket),
		       (uint32_t)ticket);
}

json_t *sessions_order(const struct status_source *source, const char *command,
		       const json_t *arguments, struct mono now)
{
	const char *of = json_string_value(json_object_get(arguments, "command"));
	bool is_kill = strcmp(command, "kill") == 0;
	struct status_view v;

	if (!is_kill &&
	    (strcmp(command, "result") != 0 || !of || strcmp(of, "kill") != 0))
		return NULL;
	status_look(source, now, &v);
	return is_kill ? kill_session(&v, arguments) : kill_result(&v, arguments);
}

int sessions_asked(const struct status_source *source, unit_id unit,
		   const struct session_key *key, const uint8_t *what, size_t len)
{
	struct session *s = cluster_find(source->cluster, unit, key);

	if (len < 1 || what[0] != ERRAND_END)
		return -EOPNOTSUPP;
	if (len != 2 || what[1] > 1)
		return -EINVAL;
	/* What has ended already needs no end. */
	return s ? end_here(source, s, what[1]) : 0;
}
