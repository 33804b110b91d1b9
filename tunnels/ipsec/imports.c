/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IKE SAs on their way into this member's charon.
 *
 *   NONE -> WAITING -> SENT -> NONE      charon has it
 *                       |
 *                       +--> FAILED -> WAITING ...   again, after a while
 *                       +--> NONE                    given up, see give_up()
 *
 * A takeover brings thousands at once, and charon takes its time for each: a few are under
 * way, the others wait here. One whose client speaks goes before all others. What charon
 * refuses for good is tried by another member, and by each in turn; if all refuse, it ends:
 * a client whose IKE SA nobody can serve shall find that out, and connect anew.
 */
#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define UNDER_WAY_MAX 64
#define TRIES 3
#define RETRY_FIRST MONO_SEC	    /* then doubled */
#define ROUND_TRIP (300 * MONO_SEC) /* a unit that is back so soon was refused by all */

struct import {
	struct ipsec *t;
	uint64_t ike;
};

static int import_child(void *ctx, struct session *s)
{
	const struct import *import = ctx;
	struct local_message m = { .type = LOCAL_CHILD_IMPORT };
	struct local_sa_add in, out;
	struct local_child_put put;
	struct child *c = session_user(s);
	size_t len;
	const uint8_t *initial = session_initial(s, &len);

	if (session_key(s)->type != RECORD_CHILD || !c || c->ike != import->ike ||
	    child_decode(initial, len, &in, &out, &put))
		return 0;
	m.child_import.ike = import->ike;
	m.child_import.spi_in = put.spi_in;
	m.child_import.state = put.state;
	plugin_send(import->t->plugin, &m);
	/* This charon has not heard of lifetimes that ran out. */
	c->soft_told = c->hard_told = false;
	return 0;
}

/* What the new owner's charon is to begin once more, unless it has come to its end: then the
 * new SA is there. */
static void describe_begun(struct ipsec *t, const struct ike_sa *sa,
			   struct local_ike_import *m)
{
	const struct ike_begun *b = &sa->exchanges.begun;

	if (!b->len || !sa->exchanges.outstanding || sa->exchanges.request.mid != b->mid)
		return;
	m->replaced = b->ike && login_find(t, b->ike);
	if (!m->replaced && !(b->child && child_find(t, b->child)))
		m->begun = (struct local_blob){ b->state, b->len };
}

static void send_import(struct ipsec *t, struct ike_sa *sa, struct mono now)
{
	struct local_message m = { .type = LOCAL_IKE_IMPORT };
	struct import import = { t, sa->spi };
	struct local_ike_put put;

	if (!login_read(sa->session, &put)) {
		t->statistics.records_bad++;
		sa->import = IMPORT_NONE;
		return;
	}
	m.ike_import.spi = sa->spi;
	m.ike_import.remote = put.remote;
	m.ike_import.recv_mid = ike_next_received(&sa->exchanges);
	m.ike_import.send_mid = ike_next_sent(&sa->exchanges);
	m.ike_import.state = put.state;
	describe_begun(t, sa, &m.ike_import);
	m.ike_import.unproven = cluster_unproven(t->host.cluster, sa->unit);
	plugin_send(t->plugin, &m);
	cluster_each(t->host.cluster, sa->unit, import_child, &import);
	m.type = LOCAL_IKE_ACTIVATE;
	m.ike_activate.spi = sa->spi;
	plugin_send(t->plugin, &m);
	quick_import(t, sa, now);
	t->statistics.imports++;
	sa->import = IMPORT_SENT;
	sa->live = sa->imported = true;
	t->imports_under_way++;
}

static void unqueue(struct ipsec *t, struct ike_sa *sa)
{
	if (sa->import == IMPORT_WAITING)
		TAILQ_REMOVE(&t->imports, sa, importing);
	else if (sa->import == IMPORT_SENT)
		t->imports_under_way--;
	else if (sa->import == IMPORT_FAILED)
		t->imports_failed--;
	sa->import = IMPORT_NONE;
}

static void queue(struct ipsec *t, struct ike_sa *sa)
{
	unqueue(t, sa);
	sa->import = IMPORT_WAITING;
	TAILQ_INSERT_TAIL(&t->imports, sa, importing);
}

static void proceed(struct ipsec *t, struct mono now)
{
	struct ike_sa *sa;
	bool some = false;

	while (t->welcomed && t->imports_under_way < UNDER_WAY_MAX &&
	       (sa = TAILQ_FIRST(&t->imports))) {
		unqueue(t, sa);
		send_import(t, sa, now);
		some = true;
	}
	/* charon hears of lifetimes only of what it has. */
	if (some && TAILQ_EMPTY(&t->imports))
		children_age(t, now);
}

void imports_add(struct ipsec *t, const struct unit_set *units, struct mono now)
{
	struct ike_sa *sa;

	farewell_inherit(t, units, now);
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			if (unit_set_has(units, sa->unit) && !sa->live) {
				sa->failures = 0;
				login_inherit(t, sa, now);
				queue(t, sa);
			}
	proceed(t, now);
}

void imports_urge(struct ipsec *t, struct ike_sa *sa)
{
	if (sa->import != IMPORT_WAITING)
		return;
	unqueue(t, sa);
	send_import(t, sa, t->host.now(t->host.ctx));
}

void imports_forget(struct ipsec *t, struct ike_sa *sa)
{
	unqueue(t, sa);
}

void imports_forget_all(struct ipsec *t)
{
	struct ike_sa *sa;

	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			unqueue(t, sa);
}

void imports_done(struct ipsec *t, uint64_t spi, struct mono now)
{
	struct ike_sa *sa = login_find(t, spi);

	if (!sa || sa->import != IMPORT_SENT)
		return;
	unqueue(t, sa);
	proceed(t, now);
}

static const char *user_of(const struct ike_sa *sa, char *buf, size_t size)
{
	struct local_ike_put put;

	if (!login_read(sa->session, &put))
		snprintf(buf, size, "nobody knows whom");
	else
		snprintf(buf, size, "%.*s, connection %.*s", (int)put.user.len,
			 (const char *)put.user.bytes, (int)put.name.len,
			 (const char *)put.name.bytes);
	return buf;
}

/* After its last try. */
static void give_up(struct ipsec *t, struct ike_sa *sa, const char *user, struct mono now)
{
	bool round = sa->passed_on.ns && mono_since(now, sa->passed_on) < ROUND_TRIP;

	sa->passed_on = now;
	if (!round && !t->host.pass_on(t->host.ctx, sa->unit)) {
		log_warnx("ipsec: unit %u goes to another member for IKE SA %016llx of "
			  "%s",
			  sa->unit, (unsigned long long)sa->spi, user);
		return;
	}
	log_warnx("ipsec: no member's charon takes over IKE SA %016llx of %s: it ends",
		  (unsigned long long)sa->spi, user);
	t->statistics.imports_ended++;
	login_end(t, sa, now);
}

void imports_failed(struct ipsec *t, const struct local_import_failed *f, struct mono now)
{
	struct ike_sa *sa = login_find(t, f->spi);
	char user[384];

	t->statistics.imports_failed++;
	if (!sa || sa->import != IMPORT_SENT)
		return;
	unqueue(t, sa);
	sa->live = false;
	sa->failures++;
	log_warnx("ipsec: charon could not take over IKE SA %016llx of %s: %.*s (try %u "
		  "of %u)",
		  (unsigned long long)sa->spi, user_of(sa, user, sizeof(user)),
		  (int)f->reason.len, (const char *)f->reason.bytes, sa->failures, TRIES);
	if (sa->failures < TRIES) {
		sa->import = IMPORT_FAILED;
		sa->retry_at = mono_add(now, RETRY_FIRST << (sa->failures - 1));
		t->imports_failed++;
	} else {
		give_up(t, sa, user, now);
	}
	proceed(t, now);
}

void imports_tick(struct ipsec *t, struct mono now)
{
	struct ike_sa *sa;

	for (unsigned i = 0; t->imports_failed && i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			if (sa->import == IMPORT_FAILED &&
			    !mono_before(now, sa->retry_at))
				queue(t, sa);
	proceed(t, now);
}
