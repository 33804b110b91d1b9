/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/clusterctl.h"

#include <inttypes.h>
#include <string.h>

#include "src/table.h"

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && *s ? s : "-";
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static bool is_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

/* "4d 3h", "3h 20m", "12m 5s", "8s" */
static const char *duration(json_int_t seconds, char *buf, size_t size)
{
	long long s = seconds;

	if (s >= 86400)
		snprintf(buf, size, "%lldd %lldh", s / 86400, s % 86400 / 3600);
	else if (s >= 3600)
		snprintf(buf, size, "%lldh %lldm", s / 3600, s % 3600 / 60);
	else if (s >= 60)
		snprintf(buf, size, "%lldm %llds", s / 60, s % 60);
	else
		snprintf(buf, size, "%llds", s);
	return buf;
}

/* "917 B", "4.2 kB", "1.3 GB" */
static const char *bytes(json_int_t n, char *buf, size_t size)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)n / 1000;
	size_t unit = 0;

	if (n < 1000) {
		snprintf(buf, size, "%lld B", (long long)n);
		return buf;
	}
	while (value >= 999.95 && unit < 5) {
		value /= 1000;
		unit++;
	}
	snprintf(buf, size, "%.1f %s", value, units[unit]);
	return buf;
}

/* "0.31 %" of a processor */
static const char *percent(const json_t *o, const char *key, char *buf, size_t size)
{
	snprintf(buf, size, "%.2f %%", 100 * json_number_value(json_object_get(o, key)));
	return buf;
}

static void state_cell(struct table *t, const json_t *m)
{
	const char *state = text(m, "state");

	if (strcmp(state, "unable") == 0)
		table_cell(t, "unable: %s", text(m, "why"));
	else
		table_cell(t, "%s", state);
}

static void milliseconds_cell(struct table *t, const json_t *o, const char *key)
{
	const json_t *ms = json_object_get(o, key);

	if (json_is_number(ms))
		table_cell(t, "%.0f ms", json_number_value(ms));
	else
		table_cell(t, "-");
}

/* The networks of the interconnect, the preferred one first; '*' has the connection. */
static void paths_cell(struct table *t, const json_t *m)
{
	char cell[64] = "-";
	size_t used = 0, i;
	json_t *p;

	json_array_foreach(json_object_get(m, "paths"), i, p) {
		if (used < sizeof(cell))
			used += (size_t)snprintf(cell + used, sizeof(cell) - used,
						 "%s%s%s", i ? " " : "",
						 is_true(p, "up") ? "up" : "DOWN",
						 is_true(p, "stream") ? "*" : "");
	}
	table_cell(t, "%s", cell);
}

static void member_row(struct table *t, const json_t *m)
{
	char buf[32];

	table_cell(t, "%s%s", text(m, "name"), is_true(m, "self") ? " *" : "");
	table_cell(t, "%lld", (long long)number(m, "id"));
	table_cell(t, "%s", is_true(m, "present") ? text(m, "role") : "-");
	milliseconds_cell(t, m, "heard_ms");
	table_cell(t, "%s", percent(m, "loss", buf, sizeof(buf)));
	table_cell(t, "%lld", (long long)number(m, "per_interval"));
	paths_cell(t, m);
	table_cell(t, "%lld", (long long)number(m, "capacity"));
	table_cell(t, "%s", percent(m, "load", buf, sizeof(buf)));
	table_cell(t, "%lld", (long long)number(m, "units"));
	table_cell(t, "%lld", (long long)number(m, "successor_of"));
	table_cell(t, "%lld", (long long)number(m, "sessions"));
	state_cell(t, m);
}

static void show_member_list(const json_t *reply, FILE *out, bool bold)
{
	struct table *t =
	    table_new("MEMBER|>ID|ROLE|>HEARD|>LOSS|>N|PATHS|>CAPACITY|>LOAD|"
		      ">UNITS|>SUCCESSOR|>RECORDS|STATE");
	size_t i;
	json_t *m;

	json_array_foreach(json_object_get(reply, "members"), i, m)
		member_row(t, m);
	table_print(t, out, bold);
	table_free(t);
	json_array_foreach(json_object_get(reply, "members"), i, m) {
		const char *remark = json_string_value(json_object_get(m, "remark"));

		if (remark && *remark)
			fprintf(out, "%s: %s\n", text(m, "name"), remark);
	}
}

static void link_row(struct table *t, const json_t *m)
{
	char buf[32];

	table_cell(t, "%s", text(m, "name"));
	milliseconds_cell(t, m, "keepalive_ms");
	table_cell(t, "%s",
		   is_true(m, "self")	   ? "-"
		   : is_true(m, "relayed") ? "RELAYED"
		   : is_true(m, "linked")  ? "up"
					   : "DOWN");
	table_cell(t, "%lld", (long long)number(m, "lag"));
	table_cell(t, "%s", percent(m, "processor", buf, sizeof(buf)));
	table_cell(t, "%lld", (long long)number(m, "activation"));
	table_cell(t, "%s", text(m, "incarnation"));
	if (number(m, "refused"))
		table_cell(t, "%lld: %s", (long long)number(m, "refused"),
			   text(m, "refused_why"));
	else
		table_cell(t, "0");
}

void show_members(const json_t *reply, FILE *out, bool bold)
{
	struct table *t = table_new("MEMBER|>KEEPALIVE|LINK|>LAG|>PROCESSOR|>ACTIVATION|"
				    "INCARNATION|REFUSED");
	size_t i;
	json_t *m;

	fprintf(out, "detection interval %lld ms\n\n",
		(long long)number(reply, "detection_interval"));
	show_member_list(reply, out, bold);
	fputc('\n', out);
	json_array_foreach(json_object_get(reply, "members"), i, m)
		link_row(t, m);
	table_print(t, out, bold);
	table_free(t);
}

static void show_protection(const json_t *s, FILE *out)
{
	const json_t *units = json_object_get(s, "units");
	long long alone = number(units, "without_successor");
	long long nobody = number(units, "without_owner");

	fprintf(out, "protected    %s\n",
		is_true(s, "protected") ? "yes: another member holds every session"
					: "NO: sessions end if this member dies");
	fprintf(out, "units        %lld owned, %lld as successor, of %lld",
		(long long)number(units, "owned"),
		(long long)number(units, "successor_of"),
		(long long)number(units, "total"));
	if (number(units, "moving"))
		fprintf(out, "; %lld moving", (long long)number(units, "moving"));
	if (nobody)
		fprintf(out, "; %lld WITHOUT OWNER", nobody);
	if (alone > nobody)
		fprintf(out, "; %lld without successor", alone - nobody);
	if (number(units, "unproven"))
		fprintf(out, "; %lld whose successor may be behind",
			(long long)number(units, "unproven"));
	fputc('\n', out);
}

static void show_networks(const json_t *s, FILE *out, bool bold)
{
	struct table *t = table_new("NETWORK|INTERFACE|STATE|MAC|ADDRESSES");
	size_t i, j;
	json_t *n, *a;

	json_array_foreach(json_object_get(s, "networks"), i, n) {
		const json_t *up = json_object_get(n, "up");
		char addresses[512] = "";
		size_t used = 0;

		json_array_foreach(json_object_get(n, "addresses"), j, a) {
			if (used < sizeof(addresses))
				used += (size_t)snprintf(
				    addresses + used, sizeof(addresses) - used, "%s%s",
				    j ? ", " : "", json_string_value(a));
		}
		table_cell(t, "%s", text(n, "name"));
		table_cell(t, "%s", text(n, "interface"));
		table_cell(t, "%s",
			   !json_is_boolean(up) ? "-"
			   : json_is_true(up)	? "up"
						: "DOWN");
		table_cell(t, "%s", text(n, "mac"));
		table_cell(t, "%s", addresses);
	}
	table_print(t, out, bold);
	table_free(t);
}

static void show_session_totals(const json_t *s, FILE *out)
{
	json_t *totals = json_object_get(s, "sessions"), *n;
	json_t *owners = json_object_get(totals, "by_owner");
	const char *owner;

	fprintf(out, "sessions     %lld", (long long)number(totals, "total"));
	if (json_object_size(owners)) {
		const char *before = ": ";

		json_object_foreach(owners, owner, n) {
			fprintf(out, "%s%lld on %s", before,
				(long long)json_integer_value(n), owner);
			before = ", ";
		}
	}
	fputc('\n', out);
}

static void show_replication(const json_t *s, FILE *out)
{
	const json_t *r = json_object_get(s, "replication");
	char buf[32];

	fprintf(out, "replication  %lld records", (long long)number(r, "records"));
	fprintf(out, " in %s", bytes(number(r, "memory"), buf, sizeof(buf)));
	fprintf(out, ", %s sent",
		bytes(number(r, "record_bytes_sent") + number(r, "counter_bytes_sent"),
		      buf, sizeof(buf)));
	fprintf(out, "; of a session %s",
		bytes(number(r, "held_per_session"), buf, sizeof(buf)));
	fprintf(out, ", %s sent\n",
		bytes(number(r, "sent_per_session"), buf, sizeof(buf)));
}

void show_status(const json_t *s, FILE *out, bool bold)
{
	char buf[32];

	fprintf(out, "node         %s (id %lld), %s, up %s, phalanx %s\n",
		text(s, "node"), (long long)number(s, "id"), text(s, "role"),
		duration(number(s, "uptime"), buf, sizeof(buf)), text(s, "version"));
	fprintf(out, "master       %s, term %lld\n", text(s, "master"),
		(long long)number(s, "term"));
	fprintf(out, "mode         %s, detection interval %lld ms\n", text(s, "mode"),
		(long long)number(s, "detection_interval"));
	fprintf(out, "able         %s%s\n", is_true(s, "able") ? "yes" : "NO: ",
		is_true(s, "able") ? "" : text(s, "why"));
	show_protection(s, out);
	show_session_totals(s, out);
	show_replication(s, out);
	fputc('\n', out);
	show_member_list(s, out, bold);
	fputc('\n', out);
	show_networks(s, out, bold);
	if (json_object_get(s, "counters")) {
		fputc('\n', out);
		show_counters(s, out, bold);
	}
}

/* Whether the unit `b` continues the row that goes from `a` to `last`. */
static bool same_row(const json_t *a, const json_t *last, const json_t *b)
{
	static const char *const keys[] = { "owner", "successor", "epoch", "moving_to" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
			return false;
	return number(b, "unit") == number(last, "unit") + 1;
}

static void unit_row(struct table *t, const json_t *first, const json_t *last,
		     json_int_t sessions)
{
	long long from = number(first, "unit"), to = number(last, "unit");

	if (from == to)
		table_cell(t, "%lld", from);
	else
		table_cell(t, "%lld-%lld", from, to);
	table_cell(t, "%lld", to - from + 1);
	table_cell(t, "%s", text(first, "owner"));
	table_cell(t, "%s", text(first, "successor"));
	table_cell(t, "%lld", (long long)number(first, "epoch"));
	table_cell(t, "%s", text(first, "moving_to"));
	table_cell(t, "%lld", (long long)sessions);
}

static void show_unit(const json_t *u, FILE *out)
{
	char buf[32];

	fprintf(out, "unit         %lld\n", (long long)number(u, "unit"));
	fprintf(out, "owner        %s\n", text(u, "owner"));
	fprintf(out, "successor    %s\n", text(u, "successor"));
	fprintf(out, "epoch        %lld\n", (long long)number(u, "epoch"));
	fprintf(out, "moving to    %s\n", text(u, "moving_to"));
	fprintf(out, "records      %lld\n", (long long)number(u, "sessions"));
	fprintf(out, "load         %s of a processor",
		percent(u, "load", buf, sizeof(buf)));
	fprintf(out, ", of which traffic %s\n", percent(u, "traffic", buf, sizeof(buf)));
}

void show_units(const json_t *reply, FILE *out, bool bold)
{
	const json_t *units = json_object_get(reply, "units");
	struct table *t =
	    table_new("UNITS|>COUNT|OWNER|SUCCESSOR|>EPOCH|MOVING TO|>RECORDS");
	const json_t *first = NULL, *last = NULL;
	json_int_t sessions = 0;
	size_t i;
	json_t *u;

	if (json_array_size(units) == 1) {
		show_unit(json_array_get(units, 0), out);
		table_free(t);
		return;
	}
	json_array_foreach(units, i, u) {
		if (first && !same_row(first, last, u)) {
			unit_row(t, first, last, sessions);
			first = NULL;
			sessions = 0;
		}
		if (!first)
			first = u;
		last = u;
		sessions += number(u, "sessions");
	}
	if (first)
		unit_row(t, first, last, sessions);
	table_print(t, out, bold);
	table_free(t);
}

/* Unknown to all but the owner. */
static const char *traffic(const json_t *session, const char *name, char *buf,
			   size_t size)
{
	return json_is_integer(json_object_get(session, name))
		   ? bytes(number(session, name), buf, size)
		   : "-";
}

struct table *show_sessions_begin(void)
{
	return table_new(
	    "ID|USER|CLIENT|VIRTUAL|KIND|>UNIT|OWNER|SUCCESSOR|>AGE|>IN|>OUT|"
	    ">LAG|>HELD|>SENT");
}

static void session_row(struct table *t, const json_t *s)
{
	const json_t *age = json_object_get(s, "age"), *lag = json_object_get(s, "lag");
	char buf[32];

	table_cell(t, "%s", text(s, "id"));
	table_cell(t, "%s", text(s, "user"));
	table_cell(t, "%s", text(s, "client"));
	table_cell(t, "%s", text(s, "virtual_address"));
	table_cell(t, "%s", text(s, "kind"));
	table_cell(t, "%lld", (long long)number(s, "unit"));
	table_cell(t, "%s", text(s, "owner"));
	table_cell(t, "%s", text(s, "successor"));
	table_cell(t, "%s",
		   json_is_integer(age)
		       ? duration(json_integer_value(age), buf, sizeof(buf))
		       : "-");
	table_cell(t, "%s", traffic(s, "bytes_in", buf, sizeof(buf)));
	table_cell(t, "%s", traffic(s, "bytes_out", buf, sizeof(buf)));
	if (json_is_integer(lag))
		table_cell(t, "%lld", (long long)json_integer_value(lag));
	else
		table_cell(t, "-");
	table_cell(t, "%s", bytes(number(s, "held"), buf, sizeof(buf)));
	table_cell(t, "%s", bytes(number(s, "sent"), buf, sizeof(buf)));
}

void show_sessions_page(struct table *t, const json_t *reply, FILE *out, bool bold)
{
	size_t i;
	json_t *s;

	json_array_foreach(json_object_get(reply, "sessions"), i, s)
		session_row(t, s);
	table_flush(t, out, bold);
}

void show_counters(const json_t *reply, FILE *out, bool bold)
{
	struct table *t = table_new("COUNTER|>VALUE");
	json_t *counters = json_object_get(reply, "counters"), *value;
	const char *name;

	json_object_foreach(counters, name, value) {
		table_cell(t, "%s", name);
		table_cell(t, "%lld", (long long)json_integer_value(value));
	}
	table_print(t, out, bold);
	table_free(t);
}
