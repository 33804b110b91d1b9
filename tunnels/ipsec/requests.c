/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an operator tells this member's charon by swanctl, and another member's has to do.
 *
 * It goes to the owner of the unit by an errand. What has become of it, this member sees in
 * its store, as every other one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define REQUESTS_MAX 64
#define TERMINATE_MAX 256 /* SAs that are ended at a time */
#define TIME_MAX (300 * MONO_SEC)

/* Errands; the key is the connection's, of the last one an IKE SA's. */
#define ERRAND_END 1 /* the daemon's own: 1 to force it */
#define ERRAND_START 18
#define ERRAND_NOTE 19	    /* enum local_note */
#define ERRAND_END_CHILD 20 /* name */

struct request {
	TAILQ_ENTRY(request) next;
	uint32_t id;
	struct mono until;
	bool ends;
	/* to initiate */
	uint64_t connection;
	uint32_t ticket, failures;
	member_id owner;
	/* to end: 0 stands for any */
	uint64_t name, child;
	uint32_t matches;
};

static struct request *request_new(struct ipsec *t, uint32_t id, uint32_t timeout,
				   struct mono now)
{
	struct request *r;
	uint64_t time = timeout ? timeout * (uint64_t)MONO_MS : TIME_MAX;

	if (t->nrequests == REQUESTS_MAX)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->id = id;
	r->until = mono_add(now, time < TIME_MAX ? time : TIME_MAX);
	TAILQ_INSERT_TAIL(&t->requests, r, next);
	t->nrequests++;
	return r;
}

static void request_free(struct ipsec *t, struct request *r)
{
	TAILQ_REMOVE(&t->requests, r, next);
	t->nrequests--;
	free(r);
}

void requests_forget(struct ipsec *t)
{
	while (!TAILQ_EMPTY(&t->requests))
		request_free(t, TAILQ_FIRST(&t->requests));
}

static void initiated(struct ipsec *t, uint32_t id, enum local_result result,
		      member_id owner)
{
	struct local_message m = { .type = LOCAL_INITIATED };

	m.initiated.id = id;
	m.initiated.result = (uint8_t)result;
	m.initiated.owner = owner;
	plugin_send(t->plugin, &m);
}

/* Without a child any of the connection will do: its IKE SA is what is wanted. */
static struct connection *find_connection(struct ipsec *t, const struct local_initiate *m)
{
	uint64_t name_id = connection_name_id(m->name);
	struct connection *c;

	if (m->child.len)
		return connection_find(t, connection_id(name_id, m->child));
	LIST_FOREACH(c, &t->connections, next)
		if (c->name_id == name_id)
			return c;
	return NULL;
}

void request_initiate(struct ipsec *t, const struct local_initiate *m, struct mono now)
{
	struct connection *c = find_connection(t, m);
	const uint8_t what = ERRAND_START;
	struct cluster_unit_state unit = { 0 };
	struct session_key key;
	struct request *r;
	int err;

	if (!c) {
		initiated(t, m->id, LOCAL_UNKNOWN, 0);
		return;
	}
	cluster_unit(t->host.cluster, connection_unit(t, c), &unit);
	r = request_new(t, m->id, m->timeout, now);
	key = start_key(c->id);
	err = r ? cluster_ask(t->host.cluster, connection_unit(t, c), &key, &what, 1,
			      &r->ticket, now)
		: -ENOMEM;
	if (err == -EALREADY) {
		/* The unit has just come here. */
		c->asked = true;
	} else if (err && err != -EINPROGRESS) {
		initiated(t, m->id, LOCAL_NOBODY, unit.owner);
		if (r)
			request_free(t, r);
		return;
	}
	r->connection = c->id;
	r->failures = start_of(t, c).failures;
	r->owner = unit.owner;
	/* Whether it is up is asked of now. */
	starts_look(t);
}

/* LOCAL_TIMEOUT: not yet. */
static enum local_result outcome(struct ipsec *t, struct request *r)
{
	struct connection *c = connection_find(t, r->connection);
	int rc = r->ticket ? cluster_result(t->host.cluster, r->ticket) : 0;

	if (!c)
		return LOCAL_UNKNOWN;
	if (rc == -EPERM)
		return LOCAL_UNKNOWN;
	if (rc && rc != -EINPROGRESS && rc != -ENOENT)
		return LOCAL_NOBODY;
	if (c->up)
		return LOCAL_ESTABLISHED;
	return start_of(t, c).failures != r->failures ? LOCAL_FAILED : LOCAL_TIMEOUT;
}

/* Ending */

static bool has_child(struct ipsec *t, const struct ike_sa *sa, uint64_t name)
{
	struct local_sa_add in, out;
	struct local_child_put named;
	struct child *c;

	for (c = children_of(t, sa->spi, NULL); c; c = children_of(t, sa->spi, c)) {
		size_t len;
		const uint8_t *initial = session_initial(c->session, &len);

		if (!child_decode(initial, len, &in, &out, &named) &&
		    connection_name_id(named.name) == name)
			return true;
	}
	return false;
}

/* Of another member. */
static bool is_meant(struct ipsec *t, const struct request *r, const struct ike_sa *sa)
{
	return !unit_set_has(&t->units, sa->unit) && (!r->name || sa->name == r->name) &&
	       (!r->child || has_child(t, sa, r->child));
}

static uint32_t count_meant(struct ipsec *t, const struct request *r)
{
	struct ike_sa *sa;
	uint32_t n = 0;

	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			n += is_meant(t, r, sa);
	return n;
}

static void terminated(struct ipsec *t, uint32_t id, uint32_t matches, uint32_t left)
{
	struct local_message m = { .type = LOCAL_TERMINATED };

	m.terminated.id = id;
	m.terminated.matches = matches;
	m.terminated.left = left;
	plugin_send(t->plugin, &m);
}

static int end_at_owner(struct ipsec *t, const struct ike_sa *sa,
			const struct local_terminate *m, struct mono now)
{
	struct session_key key = login_key(sa->spi);
	uint8_t what[1 + 255] = { ERRAND_END, m->how == LOCAL_FORCE };
	size_t len = 2;
	uint32_t ticket;

	if (m->child.len) {
		what[0] = ERRAND_END_CHILD;
		len = 1 + m->child.len;
		memcpy(what + 1, m->child.bytes, m->child.len);
	}
	return cluster_ask(t->host.cluster, sa->unit, &key, what, len, &ticket, now);
}

void request_terminate(struct ipsec *t, const struct local_terminate *m, struct mono now)
{
	struct request only = { .name = m->name.len ? connection_name_id(m->name) : 0,
				.child =
				    m->child.len ? connection_name_id(m->child) : 0 };
	struct request *r;
	struct ike_sa *sa;
	unsigned asked = 0;

	only.matches = count_meant(t, &only);
	r = m->how == LOCAL_COUNT || !only.matches || m->child.len > 255
		? NULL
		: request_new(t, m->id, m->timeout, now);
	if (!r) {
		terminated(t, m->id, only.matches, only.matches);
		return;
	}
	r->ends = true;
	r->name = only.name;
	r->child = only.child;
	r->matches = only.matches;
	for (unsigned i = 0; i < TABLE_SIZE && asked < TERMINATE_MAX; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi) {
			if (!is_meant(t, r, sa))
				continue;
			end_at_owner(t, sa, m, now);
			if (++asked == TERMINATE_MAX)
				break;
		}
}

void requests_tick(struct ipsec *t, struct mono now)
{
	struct request *r, *next;

	for (r = TAILQ_FIRST(&t->requests); r; r = next) {
		bool late = !mono_before(now, r->until);

		next = TAILQ_NEXT(r, next);
		if (r->ends) {
			uint32_t left = count_meant(t, r);

			if (left && !late)
				continue;
			terminated(t, r->id, r->matches, left);
		} else {
			enum local_result result = outcome(t, r);

			if (result == LOCAL_TIMEOUT && !late)
				continue;
			initiated(t, r->id, result, r->owner);
		}
		request_free(t, r);
	}
}

/* Errands of other members */

void request_note(struct ipsec *t, const struct connection *c, uint8_t note,
		  struct mono now)
{
	const uint8_t what[2] = { ERRAND_NOTE, note };
	struct session_key key = start_key(c->id);
	uint32_t ticket;

	cluster_ask(t->host.cluster, connection_unit(t, c), &key, what, sizeof(what),
		    &ticket, now);
}

static int end_child(struct ipsec *t, uint64_t spi, const uint8_t *name, size_t len)
{
	struct local_message m = { .type = LOCAL_CHILD_END };
	struct ike_sa *sa = login_find(t, spi);

	if (!sa || !sa->live)
		return -EPERM;
	m.child_end.spi = spi;
	m.child_end.child = (struct local_blob){ name, len };
	plugin_send(t->plugin, &m);
	return 0;
}

int request_asked(struct ipsec *t, const struct session_key *key, const uint8_t *what,
		  size_t len)
{
	struct unpack u = unpack_from(key->bytes, key->len);
	uint64_t id = unpack_u64(&u);
	struct connection *c;

	if (!len || !unpack_done(&u))
		return -EINVAL;
	if (key->type == RECORD_IKE && what[0] == ERRAND_END_CHILD)
		return end_child(t, id, what + 1, len - 1);
	if (key->type != RECORD_START)
		return -EOPNOTSUPP;
	c = connection_find(t, id);
	if (!c)
		return -EPERM;
	if (what[0] == ERRAND_START)
		c->asked = true;
	else if (what[0] == ERRAND_NOTE && len == 2 &&
		 (what[1] == LOCAL_TRAPPED || what[1] == LOCAL_UNTRAPPED))
		c->noted = what[1];
	else
		return -EOPNOTSUPP;
	t->starts_at = (struct mono){ 0 };
	return 0;
}
