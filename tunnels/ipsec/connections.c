/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connections that this member's charon has loaded.
 *
 * The plugin says all of them, and all again when one has changed; what it did not say in
 * the last list is gone. One that is said unchanged stays as it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define CONNECTIONS_MAX 4096

uint64_t connection_name_id(struct local_blob name)
{
	return local_hash(local_hash(LOCAL_HASH, name.bytes, name.len), "", 1);
}

uint64_t connection_id(uint64_t name_id, struct local_blob child)
{
	return local_hash(name_id, child.bytes, child.len);
}

unit_id connection_unit(const struct ipsec *t, const struct connection *c)
{
	const struct unit_key key = unit_key_read(cluster_fold_key(t->host.cluster));

	return local_connection_unit(&key, c->remote, strlen(c->remote));
}

struct connection *connection_find(const struct ipsec *t, uint64_t id)
{
	struct connection *c;

	LIST_FOREACH(c, &t->connection_ids[id % TABLE_SIZE], by_id)
		if (c->id == id)
			return c;
	return NULL;
}

static bool is_text(const char *text, struct local_blob blob)
{
	return strlen(text) == blob.len && !memcmp(text, blob.bytes, blob.len);
}

static bool is_same(struct local_blob a, struct local_blob b)
{
	return a.len == b.len && (!a.len || !memcmp(a.bytes, b.bytes, a.len));
}

static char *put_text(uint8_t **at, struct local_blob text)
{
	char *out = (char *)*at;

	if (text.len)
		memcpy(out, text.bytes, text.len);
	out[text.len] = '\0';
	*at += text.len + 1;
	return out;
}

static struct local_blob put_bytes(uint8_t **at, struct local_blob bytes)
{
	struct local_blob out = { *at, bytes.len };

	if (bytes.len)
		memcpy(*at, bytes.bytes, bytes.len);
	*at += bytes.len;
	return out;
}

static struct connection *connection_new(const struct local_config *m)
{
	size_t size = m->name.len + m->child.len + m->remote.len + 3 + m->local_ts.len +
		      m->remote_ts.len;
	struct connection *c = calloc(1, sizeof(*c) + size);
	uint8_t *at;

	if (!c)
		return NULL;
	at = c->bytes;
	c->name = put_text(&at, m->name);
	c->child = put_text(&at, m->child);
	c->remote = put_text(&at, m->remote);
	c->local_ts = put_bytes(&at, m->local_ts);
	c->remote_ts = put_bytes(&at, m->remote_ts);
	c->actions = m->actions;
	c->mode = m->mode;
	c->digest = m->digest;
	c->name_id = connection_name_id(m->name);
	c->id = connection_id(c->name_id, m->child);
	STAILQ_INIT(&c->held);
	return c;
}

static void connection_free(struct ipsec *t, struct connection *c)
{
	starts_release(t, c);
	LIST_REMOVE(c, next);
	LIST_REMOVE(c, by_id);
	t->nconnections--;
	free(c);
}

void connections_config(struct ipsec *t, const struct local_config *m)
{
	struct connection *c =
	    connection_find(t, connection_id(connection_name_id(m->name), m->child));

	if (c && c->digest == m->digest && c->actions == m->actions &&
	    is_text(c->remote, m->remote) && is_same(c->local_ts, m->local_ts) &&
	    is_same(c->remote_ts, m->remote_ts)) {
		c->said = true;
		return;
	}
	if (c)
		connection_free(t, c);
	if (t->nconnections == CONNECTIONS_MAX) {
		log_warnx("ipsec: charon has loaded more than %u connections; %.*s is "
			  "left out",
			  CONNECTIONS_MAX, (int)m->name.len, (const char *)m->name.bytes);
		return;
	}
	c = connection_new(m);
	if (!c)
		return;
	c->said = true;
	LIST_INSERT_HEAD(&t->connections, c, next);
	LIST_INSERT_HEAD(&t->connection_ids[c->id % TABLE_SIZE], c, by_id);
	t->nconnections++;
}

void connections_configs(struct ipsec *t, struct mono now)
{
	struct connection *c, *next;

	for (c = LIST_FIRST(&t->connections); c; c = next) {
		next = LIST_NEXT(c, next);
		if (!c->said)
			connection_free(t, c);
		else
			c->said = false;
	}
	t->configured = true;
	starts_look(t);
}

void connections_doubt(struct ipsec *t)
{
	struct connection *c;

	LIST_FOREACH(c, &t->connections, next)
		c->said = false;
	t->configured = false;
}

void connections_forget(struct ipsec *t)
{
	while (!LIST_EMPTY(&t->connections))
		connection_free(t, LIST_FIRST(&t->connections));
	t->configured = false;
}
