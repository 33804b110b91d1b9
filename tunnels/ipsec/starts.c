/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that the gateway starts: by one member, and by another one if that dies.
 *
 * The addresses of a connection's peer hash to a work unit, and the unit's owner alone
 * starts the connection, in IKE SAs of that unit; so the right to start it and its SAs move
 * together. What has become of it is a record of the unit:
 *
 *          loaded, start_action = start;
 *          charon begins; somebody asks           some member has the SA
 *   NONE ------------------------------> WANTED ------------------------> UP
 *                                          ^ |                            |
 *            charon begins; somebody asks  | | the operator ends it, or   | it has gone
 *                                          | v charon gives it up         |
 *                                         DOWN <--------------------------+
 *
 * What the configuration itself wants started is not given up, but tried again after a
 * while. What is WANTED is started by each new owner; so is what has gone while nobody
 * looked. A connection that was changed begins anew.
 *
 * A trap is a route to the unit, on all members: a packet for the peer's networks gets to
 * the owner, who has no SA for it, starts the connection, and keeps a few such packets.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define LOOK_INTERVAL (500 * MONO_MS)
#define TRY_FIRST MONO_SEC /* then doubled, TRY_DOUBLE times */
#define TRY_DOUBLE 6
#define TRAPPED_MAX 16 /* packets of one connection */
#define TRAPPED_TIME (10 * MONO_SEC)
#define ANY_START (LOCAL_START_START | LOCAL_CLOSE_START | LOCAL_DEAD_START)
#define ESSENTIAL_SIZE 14

struct session_key start_key(uint64_t id)
{
	struct session_key key = { .type = RECORD_START, .len = 8 };
	struct pack p = pack_to(key.bytes, 8);

	pack_u64(&p, id);
	return key;
}

struct start start_of(const struct ipsec *t, const struct connection *c)
{
	struct session_key key = start_key(c->id);
	struct session *s = cluster_find(t->host.cluster, connection_unit(t, c), &key);
	struct start none = { .digest = c->digest }, out;
	struct unpack u;
	size_t len;
	const uint8_t *bytes;

	if (!s)
		return none;
	bytes = session_essential(s, &len);
	u = unpack_from(bytes, len);
	out.state = unpack_u8(&u);
	out.trapped = unpack_u8(&u);
	out.failures = unpack_u32(&u);
	out.digest = unpack_u64(&u);
	return unpack_done(&u) && out.state < START_STATES ? out : none;
}

/* False if this member does not own the unit. */
static bool put(struct ipsec *t, struct connection *c, const struct start *start,
		struct mono now)
{
	struct session_key key = start_key(c->id);
	uint8_t essential[ESSENTIAL_SIZE], initial[512];
	struct pack e = pack_to(essential, sizeof(essential));
	struct pack i = pack_to(initial, sizeof(initial));
	size_t name = strlen(c->name) + 1, child = strlen(c->child) + 1;

	pack_u8(&e, start->state);
	pack_u8(&e, start->trapped);
	pack_u32(&e, start->failures);
	pack_u64(&e, c->digest);
	if (name + child <= sizeof(initial)) {
		pack_raw(&i, c->name, name);
		pack_raw(&i, c->child, child);
	}
	return !cluster_put(t->host.cluster, connection_unit(t, c), &key, initial,
			    (size_t)(i.at - initial), essential, sizeof(essential), NULL,
			    now);
}

static void set_state(struct ipsec *t, struct connection *c, enum start_state state,
		      struct mono now)
{
	static const char *const names[] = { "none", "wanted", "up", "down" };
	struct start start = start_of(t, c);
	enum start_state was = start.state;

	if (was == state && start.digest == c->digest)
		return;
	start.state = (uint8_t)state;
	if (!put(t, c, &start, now))
		return;
	if (was != state)
		log_info("ipsec: connection %s/%s: %s -> %s", c->name, c->child,
			 names[was], names[state]);
	if (state != START_WANTED)
		c->tries = 0;
}

void starts_look(struct ipsec *t)
{
	t->starts_at = (struct mono){ 0 };
	t->host.settle(t->host.ctx);
}

/* Traps */

static void change_route(struct ipsec *t, struct connection *c, bool add)
{
	static struct selector_prefix prefixes[SELECTOR_PREFIXES_MAX];
	struct local_ts ts;

	for (unsigned i = 0; i < local_ts_count(&c->remote_ts); i++) {
		unsigned n;

		if (local_ts_get(&c->remote_ts, i, &ts))
			continue;
		n = selector_prefixes(&ts, prefixes, SELECTOR_PREFIXES_MAX);
		for (unsigned k = 0; k < n; k++)
			(add ? t->host.route_add
			     : t->host.route_remove)(t->host.ctx, &prefixes[k].address,
						     prefixes[k].len, c->route_unit);
	}
	c->routed = add;
}

static void drop_held(struct ipsec *t, struct connection *c)
{
	struct held *h;

	while ((h = STAILQ_FIRST(&c->held))) {
		STAILQ_REMOVE_HEAD(&c->held, next);
		OPENSSL_cleanse(h->bytes, h->len);
		free(h);
		t->statistics.trap_dropped++;
	}
	c->held_count = 0;
}

void starts_release(struct ipsec *t, struct connection *c)
{
	drop_held(t, c);
	if (c->routed)
		change_route(t, c, false);
}

static void update_route(struct ipsec *t, struct connection *c)
{
	unit_id unit = connection_unit(t, c);

	c->trapped = c->mode == LOCAL_MODE_TUNNEL &&
		     (c->actions & LOCAL_START_TRAP || start_of(t, c).trapped);
	if (c->routed && (!c->trapped || c->route_unit != unit))
		change_route(t, c, false);
	if (c->trapped && !c->routed) {
		c->route_unit = unit;
		change_route(t, c, true);
	}
}

static bool takes(const struct local_blob *list, const struct selector_flow *flow,
		  bool source)
{
	struct local_ts ts;

	for (unsigned i = 0; i < local_ts_count(list); i++)
		if (!local_ts_get(list, i, &ts) && selector_match(&ts, 1, flow, source))
			return true;
	return false;
}

static void hold(struct ipsec *t, struct connection *c, const uint8_t *ip, size_t len,
		 struct mono now)
{
	struct held *h = c->held_count < TRAPPED_MAX ? malloc(sizeof(*h) + len) : NULL;

	if (!h) {
		t->statistics.trap_dropped++;
		return;
	}
	h->len = len;
	memcpy(h->bytes, ip, len);
	STAILQ_INSERT_TAIL(&c->held, h, next);
	if (!c->held_count++)
		c->held_since = now;
	t->statistics.trapped++;
}

bool starts_trap(struct ipsec *t, const uint8_t *ip, size_t len, struct mono now)
{
	struct selector_flow flow;
	struct connection *c;

	if (LIST_EMPTY(&t->connections) || selector_read(ip, len, &flow))
		return false;
	LIST_FOREACH(c, &t->connections, next) {
		if (!c->trapped || !unit_set_has(&t->units, connection_unit(t, c)) ||
		    !takes(&c->remote_ts, &flow, false) ||
		    !takes(&c->local_ts, &flow, true))
			continue;
		hold(t, c, ip, len, now);
		if (!c->asked && start_of(t, c).state != START_WANTED) {
			c->asked = true;
			starts_look(t);
		}
		return true;
	}
	return false;
}

/* Where they go now, the SA tells. */
static void let_go(struct ipsec *t, struct connection *c, struct mono now)
{
	struct held_queue held = STAILQ_HEAD_INITIALIZER(held);
	struct held *h;

	STAILQ_CONCAT(&held, &c->held);
	c->held_count = 0;
	while ((h = STAILQ_FIRST(&held))) {
		STAILQ_REMOVE_HEAD(&held, next);
		traffic_forward(t, h->bytes, h->len, 0, now);
		OPENSSL_cleanse(h->bytes, h->len);
		free(h);
	}
}

/* What charon does of its own accord */

static void apply_note(struct ipsec *t, struct connection *c, uint8_t what,
		       struct mono now)
{
	struct start start = start_of(t, c);

	switch (what) {
	case LOCAL_BEGUN:
		if (c->up)
			break;
		c->next_try = mono_add(now, TRY_FIRST << 2);
		set_state(t, c, START_WANTED, now);
		break;
	case LOCAL_GIVEN_UP:
		if (start.state != START_WANTED)
			break;
		start.failures++;
		if (!(c->actions & ANY_START))
			start.state = START_DOWN;
		if (put(t, c, &start, now))
			log_info("ipsec: charon has given connection %s/%s up%s", c->name,
				 c->child, c->actions & ANY_START ? " for now" : "");
		break;
	case LOCAL_STOPPED:
		if (start.state == START_WANTED)
			set_state(t, c, START_DOWN, now);
		break;
	case LOCAL_TRAPPED:
	case LOCAL_UNTRAPPED:
		if (c->actions & LOCAL_START_TRAP ||
		    start.trapped == (what == LOCAL_TRAPPED))
			break;
		start.trapped = what == LOCAL_TRAPPED;
		put(t, c, &start, now);
		break;
	default:
		break;
	}
}

void starts_note(struct ipsec *t, const struct local_start_note *note, struct mono now)
{
	uint64_t name_id = connection_name_id(note->name);
	uint64_t id = connection_id(name_id, note->child);
	struct connection *c;

	LIST_FOREACH(c, &t->connections, next) {
		if (c->name_id != name_id || (note->child.len && c->id != id))
			continue;
		if (unit_set_has(&t->units, connection_unit(t, c)))
			apply_note(t, c, note->what, now);
		else if (note->what == LOCAL_UNTRAPPED ||
			 (note->what == LOCAL_TRAPPED &&
			  !(c->actions & LOCAL_START_TRAP)))
			request_note(t, c, note->what, now);
	}
	starts_look(t);
}

/* Starting */

static uint64_t config_of(struct ipsec *t, struct child *child)
{
	struct local_sa_add in, out;
	struct local_child_put named;
	struct ike_sa *sa = login_find(t, child->ike);
	size_t len;
	const uint8_t *initial = session_initial(child->session, &len);

	if (sa && !child_decode(initial, len, &in, &out, &named))
		child->config = connection_id(sa->name, named.name);
	return child->config;
}

static void find_up(struct ipsec *t)
{
	struct connection *c;
	struct child *child;

	LIST_FOREACH(c, &t->connections, next)
		c->up = false;
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(child, &t->children[i], by_spi) {
			c = connection_find(t, child->config ? child->config
							     : config_of(t, child));
			if (c)
				c->up = true;
		}
}

/* charon is only being given an IKE SA of the unit: one of the connection, maybe, or one of
 * the same peer, which it would tell that this is the only one (INITIAL_CONTACT). */
static bool is_coming(const struct ipsec *t, unit_id unit)
{
	const struct ike_sa *sa;

	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			if (sa->unit == unit &&
			    (sa->import == IMPORT_SENT ||
			     (!sa->live && sa->import != IMPORT_FAILED)))
				return true;
	return false;
}

static void start(struct ipsec *t, struct connection *c, struct mono now)
{
	struct local_message m = { .type = LOCAL_START };
	unsigned shift = c->tries < TRY_DOUBLE ? c->tries : TRY_DOUBLE;

	if (mono_before(now, c->next_try) || is_coming(t, connection_unit(t, c)))
		return;
	if (!c->tries)
		log_info("ipsec: this member starts connection %s/%s", c->name, c->child);
	c->tries++;
	c->next_try = mono_add(now, TRY_FIRST << shift);
	t->statistics.starts++;
	m.start.name = (struct local_blob){ (uint8_t *)c->name, strlen(c->name) };
	m.start.child = (struct local_blob){ (uint8_t *)c->child, strlen(c->child) };
	plugin_send(t->plugin, &m);
}

/* As the owner of its unit. */
static void decide(struct ipsec *t, struct connection *c, struct mono now)
{
	struct start known = start_of(t, c);
	enum start_state state = known.state;
	bool asked = c->asked;

	if (c->noted)
		apply_note(t, c, c->noted, now);
	c->noted = 0;
	c->asked = false;
	if (c->up) {
		c->was_up = true;
		set_state(t, c, START_UP, now);
		return;
	}
	if (known.digest != c->digest && state != START_WANTED)
		state = START_NONE;
	if (state == START_UP && !c->was_up && c->actions & ANY_START)
		state = START_WANTED;
	else if (state == START_UP)
		state = START_DOWN;
	else if (state == START_NONE && c->actions & LOCAL_START_START)
		state = START_WANTED;
	if (asked)
		state = START_WANTED;
	if (asked && known.state != START_WANTED)
		c->next_try = now;
	c->was_up = false;
	if (state != START_NONE)
		set_state(t, c, state, now);
	if (state == START_WANTED)
		start(t, c, now);
}

void starts_lost(struct ipsec *t, const struct ike_sa *sa)
{
	struct connection *c;

	LIST_FOREACH(c, &t->connections, next)
		if (c->name_id == sa->name && c->actions & ANY_START)
			c->asked = true;
}

void starts_begin(struct ipsec *t, const struct unit_set *units)
{
	struct connection *c;

	LIST_FOREACH(c, &t->connections, next)
		if (unit_set_has(units, connection_unit(t, c))) {
			c->tries = 0;
			c->next_try = (struct mono){ 0 };
			c->was_up = false;
		}
	t->starts_at = (struct mono){ 0 };
}

static bool is_ours(const struct ipsec *t, const struct connection *c, struct mono now)
{
	unit_id unit = connection_unit(t, c);

	return unit_set_has(&t->units, unit) &&
	       cluster_serves(t->host.cluster, unit, now);
}

void starts_tick(struct ipsec *t, struct mono now)
{
	struct connection *c;

	if (LIST_EMPTY(&t->connections) || mono_before(now, t->starts_at))
		return;
	t->starts_at = mono_add(now, LOOK_INTERVAL);
	find_up(t);
	LIST_FOREACH(c, &t->connections, next) {
		update_route(t, c);
		if (c->held_count && (!is_ours(t, c, now) ||
				      mono_since(now, c->held_since) > TRAPPED_TIME))
			drop_held(t, c);
		if (!is_ours(t, c, now) || !t->welcomed || !t->configured)
			continue;
		if (*c->child)
			decide(t, c, now);
		if (c->up && c->held_count)
			let_go(t, c, now);
	}
}
