/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands to the cluster. The daemon answers at once, with a ticket if another member has
 * to answer; the waiting is done here, by asking again.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "src/clusterctl.h"
#include "src/control.h"

#define POLL_MS 50
#define ANSWER_MS 10000 /* within which another member answers, and its flag is seen */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_a_little(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
}

int operate_call(const char *socket, const char *command, json_t *arguments,
		 json_t **reply)
{
	char err[CONTROL_ERR];
	int ret = control_call(socket, command, arguments, reply, err);

	return ret < 0 ? report_failure(ret, err) : EXIT_OK;
}

static bool is_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

/* Does it, and waits for the answer if another member does it. Steals `arguments`. */
int operate_order(const char *socket, const char *command, json_t *arguments,
		  json_t **reply)
{
	uint64_t until = now_ms() + ANSWER_MS;
	int ret;

	if (!arguments) {
		fputs("clusterctl: what is given is no text in UTF-8\n", stderr);
		return EXIT_USAGE;
	}
	ret = operate_call(socket, command, json_incref(arguments), reply);
	while (ret == EXIT_OK && !is_true(*reply, "done")) {
		json_object_set(arguments, "ticket", json_object_get(*reply, "ticket"));
		if (json_object_get(*reply, "owner"))
			json_object_set(arguments, "owner",
					json_object_get(*reply, "owner"));
		json_object_set_new(arguments, "command", json_string(command));
		json_decref(*reply);
		if (now_ms() > until) {
			fputs("clusterctl: the member that has to do it does not "
			      "answer\n",
			      stderr);
			ret = EXIT_FAILED;
			break;
		}
		pause_a_little();
		ret = operate_call(socket, "result", json_incref(arguments), reply);
	}
	json_decref(arguments);
	return ret;
}

static const char *name_of(const json_t *reply)
{
	const char *name = json_string_value(json_object_get(reply, "member"));

	return name ? name : "?";
}

/* In a reply to "members"; *others: how many more are able to work. Borrowed. */
static const json_t *find_member(const json_t *reply, json_int_t id, unsigned *others)
{
	const json_t *found = NULL;
	json_t *m;
	size_t i;

	*others = 0;
	json_array_foreach(json_object_get(reply, "members"), i, m) {
		if (json_integer_value(json_object_get(m, "id")) == id)
			found = m;
		else
			*others += is_true(m, "present") && is_true(m, "able") &&
				   is_true(m, "complete");
	}
	return found;
}

enum progress { WAITING, DONE, FAILED };

struct drain {
	const char *name;
	json_int_t id;
	bool force;
	bool seen; /* this member knows that it is drained */
	uint64_t until;
};

static enum progress drain_progress(struct drain *d, const json_t *members)
{
	unsigned others;
	const json_t *m = find_member(members, d->id, &others);
	json_int_t units = json_integer_value(json_object_get(m, "units"));

	if (!is_true(m, "present")) {
		fprintf(stderr, "clusterctl: %s has left the cluster\n", d->name);
		return FAILED;
	}
	if (!is_true(m, "drained")) {
		if (d->seen)
			fprintf(stderr, "clusterctl: %s was undrained\n", d->name);
		else if (now_ms() > d->until)
			fprintf(stderr,
				"clusterctl: %s does not say that it is drained\n",
				d->name);
		else
			return WAITING;
		return FAILED;
	}
	d->seen = true;
	if (!units) {
		printf("%s is drained: it owns no unit.\n", d->name);
		return DONE;
	}
	if (others)
		return WAITING;
	if (d->force) {
		printf("%s is drained: nobody serves its %lld units.\n", d->name,
		       (long long)units);
		return DONE;
	}
	fprintf(stderr,
		"clusterctl: no member is able to take the %lld units that %s has left\n",
		(long long)units, d->name);
	return FAILED;
}

int operate_drain(const char *socket, const char *member, bool force, bool wait)
{
	json_t *reply = NULL, *members = NULL;
	enum progress progress = WAITING;
	struct drain d = { .force = force };
	int ret = operate_order(socket, "drain",
				json_pack("{s:s,s:b}", "member", member, "force", force),
				&reply);

	if (ret)
		return ret;
	d.name = name_of(reply);
	d.id = json_integer_value(json_object_get(reply, "id"));
	d.until = now_ms() + ANSWER_MS;
	if (!wait)
		printf("%s gives its units up.\n", d.name);
	while (wait && progress == WAITING) {
		ret = operate_call(socket, "members", NULL, &members);
		if (ret)
			break;
		progress = drain_progress(&d, members);
		json_decref(members);
		if (progress == WAITING)
			pause_a_little();
	}
	json_decref(reply);
	return progress == FAILED ? EXIT_FAILED : ret;
}

int operate_undrain(const char *socket, const char *member)
{
	json_t *reply = NULL;
	int ret = operate_order(socket, "undrain", json_pack("{s:s}", "member", member),
				&reply);

	if (ret)
		return ret;
	printf("%s gets its share of the units again.\n", name_of(reply));
	json_decref(reply);
	return EXIT_OK;
}

static enum progress move_progress(unsigned number, const char *name, const json_t *reply,
				   uint64_t *until)
{
	const json_t *unit = json_array_get(json_object_get(reply, "units"), 0);
	const char *owner = json_string_value(json_object_get(unit, "owner"));
	const char *to = json_string_value(json_object_get(unit, "moving_to"));

	if (!to && owner && strcmp(owner, name) == 0) {
		printf("%s owns unit %u.\n", name, number);
		return DONE;
	}
	if (to && strcmp(to, name) == 0)
		*until = now_ms() + ANSWER_MS;
	if (now_ms() <= *until)
		return WAITING;
	fprintf(stderr, "clusterctl: unit %u did not go to %s: %s has it\n", number, name,
		owner ? owner : "nobody");
	return FAILED;
}

int operate_move(const char *socket, unsigned unit, const char *member, bool wait)
{
	json_t *reply = NULL, *units = NULL;
	enum progress progress = WAITING;
	uint64_t until;
	int ret = operate_order(
	    socket, "move", json_pack("{s:i,s:s}", "unit", (int)unit, "member", member),
	    &reply);

	if (ret)
		return ret;
	until = now_ms() + ANSWER_MS;
	if (!wait)
		printf("Unit %u goes to %s.\n", unit, name_of(reply));
	while (wait && progress == WAITING) {
		ret = operate_call(socket, "units", json_pack("{s:i}", "unit", (int)unit),
				   &units);
		if (ret)
			break;
		progress = move_progress(unit, name_of(reply), units, &until);
		json_decref(units);
		if (progress == WAITING)
			pause_a_little();
	}
	json_decref(reply);
	return progress == FAILED ? EXIT_FAILED : ret;
}

/* It comes back after a second at the earliest, as another incarnation. */
static enum progress expel_progress(const json_t *before, const json_t *reply,
				    uint64_t until)
{
	unsigned others;
	const json_t *m = find_member(
	    reply, json_integer_value(json_object_get(before, "id")), &others);

	if (!is_true(m, "present") || !json_equal(json_object_get(m, "incarnation"),
						  json_object_get(before, "incarnation")))
		return DONE;
	if (now_ms() <= until)
		return WAITING;
	fprintf(stderr, "clusterctl: %s is still in the cluster\n",
		json_string_value(json_object_get(m, "name")));
	return FAILED;
}

/* Which of its incarnations it is that is to go. A new reference, or NULL. */
static json_t *member_before(const json_t *members, const char *which)
{
	json_t *m, *found = NULL;
	char id[16];
	size_t i;

	json_array_foreach(json_object_get(members, "members"), i, m) {
		const char *name = json_string_value(json_object_get(m, "name"));

		snprintf(id, sizeof(id), "%lld",
			 (long long)json_integer_value(json_object_get(m, "id")));
		if (name && !strcmp(name, which))
			return json_incref(m);
		if (!strcmp(id, which))
			found = m;
	}
	return json_incref(found);
}

static int wait_until_gone(const char *socket, const json_t *before)
{
	uint64_t until = now_ms() + ANSWER_MS;
	enum progress progress = WAITING;
	json_t *members = NULL;
	int ret = EXIT_OK;

	while (progress == WAITING) {
		ret = operate_call(socket, "members", NULL, &members);
		if (ret)
			return ret;
		progress = expel_progress(before, members, until);
		json_decref(members);
		if (progress == WAITING)
			pause_a_little();
	}
	return progress == FAILED ? EXIT_FAILED : EXIT_OK;
}

int operate_expel(const char *socket, const char *member, const char *why, bool json,
		  bool wait)
{
	json_t *reply = NULL, *members = NULL, *before = NULL;
	json_t *arguments = json_pack("{s:s}", "member", member);
	int ret;

	if (!arguments ||
	    (why && json_object_set_new(arguments, "why", json_string(why)))) {
		fputs("clusterctl: the member or the reason is no text in UTF-8\n",
		      stderr);
		json_decref(arguments);
		return EXIT_USAGE;
	}
	ret = operate_call(socket, "members", NULL, &members);
	if (ret) {
		json_decref(arguments);
		return ret;
	}
	before = member_before(members, member);
	json_decref(members);
	ret = operate_order(socket, "expel", arguments, &reply);
	if (ret == EXIT_OK && wait && before)
		ret = wait_until_gone(socket, before);
	if (ret == EXIT_OK && json) {
		json_dumpf(reply, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (ret == EXIT_OK) {
		printf(wait ? "%s has left the cluster, and will come back.\n"
			    : "%s is told to go.\n",
		       name_of(reply));
	}
	json_decref(reply);
	json_decref(before);
	return ret;
}
