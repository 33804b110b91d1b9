/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may join: the master's verdict on a JOIN REQUEST, and its order to go.
 *
 * In this order: one that may have ended meanwhile; one that is out of date, or not wanted;
 * one with another configuration; one who does not know all who are there, or is not known
 * to all of them; one that dies all the time; and at last the applications are asked. Who is
 * not let in is told why, and when it should ask again.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cluster/internal.h"

/* An answer of the applications holds for so long; without one they are asked again. */
#define ANSWER_TIME (2 * MONO_SEC)
#define BARRED_SHOWN (3 * MONO_SEC)

static bool bar(struct cluster *c, struct member *m, uint8_t reason, uint64_t wait,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static bool bar(struct cluster *c, struct member *m, uint8_t reason, uint64_t wait,
		const char *fmt, ...)
{
	bool news = m->barred.reason != reason;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->barred.why, sizeof(m->barred.why), fmt, ap);
	va_end(ap);
	m->barred.reason = reason;
	m->barred.at = c->now;
	if (news) {
		core_log(c, "member %u is not let in: %s", m->id, m->barred.why);
		c->upcall_table = true;
	}
	join_nak(c, m, m->wish, reason, wait, m->barred.why);
	return false;
}

const char *admission_barred(const struct member *m, struct mono now)
{
	return m->barred.reason && mono_since(now, m->barred.at) < BARRED_SHOWN
		   ? m->barred.why
		   : "";
}

/*
 * The runs of a member's daemon, in the order in which they were heard of. A run that was
 * followed by another has ended; if it asks nevertheless, there are two of them.
 */
static bool past_run(struct member *m, uint64_t incarnation)
{
	uint64_t run = incarnation >> 16;

	for (unsigned i = 1; i < RUNS; i++)
		if (m->runs[i] == run && m->runs[0] != run)
			return true;
	return false;
}

void admission_note_run(struct cluster *c, struct member *m, uint64_t incarnation)
{
	uint64_t run = incarnation >> 16;

	if (m->runs[0] == run || past_run(m, incarnation))
		return;
	memmove(m->runs + 1, m->runs, sizeof(m->runs) - sizeof(m->runs[0]));
	m->runs[0] = run;
	m->run_since = c->now;
}

/*
 * A request may be late, and its run have ended since: then it must not displace the run that
 * came after it. So a run other than the latest has to echo what it was told since that was
 * heard of.
 */
static bool speaks_now(struct cluster *c, struct member *m, uint64_t incarnation,
		       uint64_t echo)
{
	if (!m->runs[0] || m->runs[0] == incarnation >> 16 ||
	    (echo > m->run_since.ns && echo <= c->now.ns))
		return true;
	join_nak(c, m, incarnation, WIRE_REASON_ECHO, MONO_MS, "");
	return false;
}

static bool wanted(struct cluster *c, struct member *m)
{
	if (past_run(m, m->wish)) {
		count(c, STAT_duplicates);
		return bar(c, m, WIRE_REASON_NOT_AUTHORISED, MONO_SEC,
			   "another daemon has taken the place of this one: two of them "
			   "use member %s's certificate",
			   m->name);
	}
	if (m->revoked) {
		count(c, STAT_joins_refused);
		return bar(c, m, WIRE_REASON_NOT_AUTHORISED, MONO_SEC,
			   "not authorised: member %s was revoked", m->name);
	}
	return true;
}

/* A member's place in `roster`. */
static uint32_t bit_of(const struct cluster *c, const struct member *m)
{
	return UINT32_C(1) << (m - c->members);
}

void admission_roster(struct cluster *c, struct member *m, uint64_t incarnation,
		      const struct wire_peer *list, unsigned n)
{
	m->roster = 0;
	m->roster_of = incarnation;
	for (unsigned i = 0; i < n; i++) {
		const struct member *listed = core_member(c, list[i].id);

		if (listed)
			m->roster |= bit_of(c, listed);
	}
}

uint16_t admission_list(const struct cluster *c, struct wire_peer *list)
{
	for (unsigned i = 0; i < c->nmembers; i++)
		list[i].id = c->members[i].id;
	return (uint16_t)c->nmembers;
}

/*
 * Members' lists may differ while they are changed, one member after the other. But all who
 * are in the cluster must know each other, since they hold each other's state.
 */
static bool acquainted(struct cluster *c, struct member *m)
{
	EACH_PRESENT(c, p) {
		if (p == m)
			continue;
		if (!(m->roster & bit_of(c, p))) {
			count(c, STAT_joins_refused);
			return bar(c, m, WIRE_REASON_CONFIG, MONO_SEC,
				   "%s's configuration does not list %s, which is in the "
				   "cluster",
				   m->name, p->name);
		}
		if (p->roster_of != p->incarnation)
			return bar(c, m, WIRE_REASON_IN_PROGRESS, 0,
				   "%s has not said whom it knows", p->name);
		if (!(p->roster & bit_of(c, m))) {
			count(c, STAT_joins_refused);
			return bar(c, m, WIRE_REASON_CONFIG, MONO_SEC,
				   "%s's configuration does not list %s yet", p->name,
				   m->name);
		}
	}
	return true;
}

static bool steady(struct cluster *c, struct member *m)
{
	uint64_t wait = flapping_held(c, m);
	char text[WIRE_BARRED_MAX + 1];

	if (!wait)
		return true;
	count(c, STAT_joins_held_back);
	flapping_text(c, m, text, sizeof(text));
	return bar(c, m, WIRE_REASON_HELD_BACK, wait, "%s", text);
}

static bool approved(struct cluster *c, struct member *m)
{
	bool stale = m->asked_about != m->wish ||
		     mono_since(c->now, m->answered_at) >= ANSWER_TIME;

	if (!c->io.join_asked)
		return true;
	if (stale) {
		m->asked_about = m->wish;
		m->answered_at = c->now;
		m->verdict = VERDICT_ASKED;
		c->io.join_asked(c->io.ctx, m->id, m->name, m->wish);
	}
	if (m->verdict == VERDICT_REFUSED) {
		count(c, STAT_joins_refused);
		return bar(c, m, WIRE_REASON_REFUSED, MONO_SEC,
			   "refused by an application: %s", m->objection);
	}
	if (m->verdict == VERDICT_ACCEPTED)
		return true;
	return bar(c, m, WIRE_REASON_IN_PROGRESS, 0, "the applications are being asked");
}

bool admission_judge(struct cluster *c, struct member *m, const struct wire_header *h,
		     const struct wire_join_request *r)
{
	if (!speaks_now(c, m, h->incarnation, r->echo))
		return false;
	m->wish = h->incarnation;
	admission_roster(c, m, m->wish, r->roster, r->roster_count);
	if (!wanted(c, m))
		return false;
	admission_note_run(c, m, h->incarnation);
	if (m->present) {
		/* A new run without a word of the old one: that was no farewell. */
		if (m->incarnation >> 16 != h->incarnation >> 16)
			flapping_died(c, m);
		membership_died(c, m, "new incarnation");
	}
	return shared_fits(c, m, r) && acquainted(c, m) && steady(c, m) && approved(c, m);
}

bool admission_bar(struct cluster *c, struct member *m, uint8_t reason, const char *why)
{
	return bar(c, m, reason, MONO_SEC, "%s", why);
}

void cluster_join_answer(struct cluster *c, member_id id, uint64_t incarnation,
			 bool accept, const char *why, struct mono now)
{
	struct member *m = core_member(c, id);

	if (!m || c->role == CLUSTER_LEFT || m->asked_about != incarnation ||
	    m->verdict != VERDICT_ASKED)
		return;
	core_enter(c, now);
	m->verdict = accept ? VERDICT_ACCEPTED : VERDICT_REFUSED;
	m->answered_at = c->now;
	snprintf(m->objection, sizeof(m->objection), "%s",
		 why && *why ? why : "no reason");
	/* It need not wait for the time of its next request. */
	if (accept)
		join_nak(c, m, m->wish, WIRE_REASON_IN_PROGRESS, MONO_MS,
			 "the applications agree");
	core_leave(c);
}

/* To go. */

static void order(struct cluster *c, struct member *m)
{
	struct wire_exit_request x = { .reason = m->expelled,
				       .target = m->incarnation,
				       .why = (const uint8_t *)m->objection,
				       .why_len = strlen(m->objection) };

	DATAGRAM(c, m, exit_request, &x);
}

/*
 * Until it obeys, or is dead by its lease: nothing that it says is heard, so it is judged
 * silent after an interval, and its stamps are not echoed, so it serves no longer.
 */
bool admission_expelled(struct cluster *c, struct member *m)
{
	if (!m->expelled || c->role != CLUSTER_MASTER)
		return false;
	order(c, m);
	return true;
}

int admission_expel(struct cluster *c, struct member *m, bool revoked, const char *why)
{
	if (c->role != CLUSTER_MASTER || c->late)
		return -EAGAIN;
	if (!m || m == c->self)
		return -EINVAL;
	if (!m->present && !revoked)
		return -ENOTCONN;
	m->revoked = m->revoked || revoked;
	snprintf(m->objection, sizeof(m->objection), "%s",
		 why && *why ? why : "by the operator");
	if (m->present) {
		core_log(c, "member %u is told to go: %s", m->id, m->objection);
		count(c, STAT_expelled);
		m->expelled = m->revoked ? WIRE_REASON_REVOKED : WIRE_REASON_EXPELLED;
		m->barred.reason = m->expelled;
		m->barred.at = c->now;
		snprintf(m->barred.why, sizeof(m->barred.why), "told to go: %s",
			 m->objection);
		order(c, m);
	}
	return 0;
}
