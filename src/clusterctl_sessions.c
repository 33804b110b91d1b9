/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The users' sessions: listed page by page, and ended. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/clusterctl.h"

#define POLL_MS 100
#define END_MS 15000 /* within which a client that lives has answered */

/* Called for each page; EXIT_OK to go on. */
typedef int page_function(void *ctx, const json_t *reply);

/* Steals `wanted`. */
static int each_page(const char *socket, json_t *wanted, page_function *page, void *ctx)
{
	int ret = EXIT_OK;
	bool more = true;

	while (ret == EXIT_OK && more) {
		json_t *reply, *next;

		ret = operate_call(socket, "sessions", json_incref(wanted), &reply);
		if (ret)
			break;
		ret = page(ctx, reply);
		next = json_object_get(reply, "next");
		more = json_is_integer(next);
		if (more)
			json_object_set(wanted, "from", next);
		json_decref(reply);
	}
	json_decref(wanted);
	return ret;
}

/* Listing */

static int show_page(void *ctx, const json_t *reply)
{
	show_sessions_page(ctx, reply, stdout, isatty(STDOUT_FILENO));
	return EXIT_OK;
}

/* One object, as if it were one reply; a session is a line. */
static int print_page(void *ctx, const json_t *reply)
{
	const char **before = ctx;
	size_t i;
	json_t *s;

	json_array_foreach(json_object_get(reply, "sessions"), i, s) {
		fputs(*before, stdout);
		*before = ",\n    ";
		json_dumpf(s, stdout, 0);
	}
	return EXIT_OK;
}

int sessions_list(const char *socket, json_t *arguments, bool json)
{
	const char *before = "{\n  \"sessions\": [\n    ";
	struct table *t;
	int ret;

	if (!json) {
		t = show_sessions_begin();
		ret = each_page(socket, arguments, show_page, t);
		table_free(t);
		return ret;
	}
	ret = each_page(socket, arguments, print_page, &before);
	if (ret == EXIT_OK)
		puts(*before == ',' ? "\n  ]\n}" : "{\n  \"sessions\": []\n}");
	return ret;
}

/* Ending */

struct kill {
	const char *socket;
	bool force;
	json_t *list; /* of those that fit */
};

static int collect(void *ctx, const json_t *reply)
{
	struct kill *k = ctx;

	json_array_extend(k->list, json_object_get(reply, "sessions"));
	return EXIT_OK;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && *s ? s : "-";
}

static int kill_all(const struct kill *k)
{
	json_t *s, *reply;
	size_t i;
	int ret = EXIT_OK;

	json_array_foreach(k->list, i, s) {
		int rc = operate_order(
		    k->socket, "kill",
		    json_pack("{s:O,s:O,s:b}", "id", json_object_get(s, "id"), "unit",
			      json_object_get(s, "unit"), "force", k->force),
		    &reply);

		if (rc)
			ret = rc;
		else
			json_decref(reply);
		json_object_set_new(s, "failed", json_boolean(rc != 0));
	}
	return ret;
}

static void report(const json_t *s, const char *what)
{
	printf("Session %s of %s at %s %s.\n", text(s, "id"), text(s, "user"),
	       text(s, "client"), what);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* EXIT_OK when the session is not there any more. */
static int await_end(const struct kill *k, const json_t *s, uint64_t until)
{
	for (;;) {
		json_t *reply;
		size_t left;
		int ret =
		    operate_call(k->socket, "sessions",
				 json_pack("{s:O,s:O}", "id", json_object_get(s, "id"),
					   "unit", json_object_get(s, "unit")),
				 &reply);

		if (ret)
			return ret;
		left = json_array_size(json_object_get(reply, "sessions"));
		json_decref(reply);
		if (!left) {
			report(s, "has ended");
			return EXIT_OK;
		}
		if (now_ms() > until)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
	}
	fprintf(
	    stderr,
	    "clusterctl: session %s of %s is still there: its client does not answer; "
	    "it ends when its owner gives up, or at once with --force\n",
	    text(s, "id"), text(s, "user"));
	return EXIT_FAILED;
}

static int await_all(const struct kill *k, bool wait)
{
	uint64_t until = now_ms() + END_MS;
	int ret = EXIT_OK, rc;
	json_t *s;
	size_t i;

	json_array_foreach(k->list, i, s) {
		if (json_is_true(json_object_get(s, "failed")))
			continue;
		rc = EXIT_OK;
		if (wait)
			rc = await_end(k, s, until);
		else
			report(s, "is being ended");
		if (rc)
			ret = rc;
	}
	return ret;
}

int sessions_kill(const char *socket, const char *which, bool force, bool wait)
{
	struct kill k = { .socket = socket, .force = force, .list = json_array() };
	json_t *wanted = json_pack("{s:s}", "any", which);
	int ret, killed;

	if (!wanted) {
		fputs("clusterctl: that is no text in UTF-8\n", stderr);
		json_decref(k.list);
		return EXIT_USAGE;
	}
	ret = each_page(socket, wanted, collect, &k);
	if (ret == EXIT_OK && !json_array_size(k.list)) {
		fprintf(stderr,
			"clusterctl: there is no session with the id, user or address "
			"'%s'\n",
			which);
		ret = EXIT_FAILED;
	}
	if (ret == EXIT_OK) {
		killed = kill_all(&k);
		ret = await_all(&k, wait);
		if (killed)
			ret = killed;
	}
	json_decref(k.list);
	return ret;
}
