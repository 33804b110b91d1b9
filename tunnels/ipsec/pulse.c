/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether charon is alive. A process that is stopped or deadlocked keeps its sockets open,
 * so it is asked: PING goes the way of the IKE packets, to one of charon's worker threads,
 * which answers. A charon that does not answer is as good as dead; its connection is
 * closed. Should it wake up, it finds the connection closed, forgets its SAs and connects
 * again, as after a restart of phalanxd.
 *
 * What is counted are looks without an answer, not time: if phalanxd itself, or the whole
 * machine, stood still, only one look was missed.
 */
#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define LOOK_INTERVAL (500 * MONO_MS)
#define LOOKS_MISSED 8

static void ask(struct ipsec *t, struct mono now)
{
	struct local_message m = { .type = LOCAL_PING };

	t->pulse.looks = 0;
	t->pulse.at = mono_add(now, LOOK_INTERVAL);
	m.ping.id = ++t->pulse.id;
	plugin_send(t->plugin, &m);
}

void pulse_begin(struct ipsec *t, struct mono now)
{
	t->pulse.able = false;
	ask(t, now);
}

void pulse_answer(struct ipsec *t, uint32_t id)
{
	if (id != t->pulse.id)
		return;
	t->pulse.answered = id;
	if (t->pulse.able)
		return;
	t->pulse.able = true;
	t->host.able(t->host.ctx, true, "");
}

bool pulse_missed(struct ipsec *t, struct mono now)
{
	if (!t->welcomed || mono_before(now, t->pulse.at))
		return false;
	t->pulse.at = mono_add(now, LOOK_INTERVAL);
	if (t->pulse.answered == t->pulse.id) {
		ask(t, now);
		return false;
	}
	if (++t->pulse.looks < LOOKS_MISSED)
		return false;
	log_warnx("ipsec: charon has not answered for %u s: it hangs",
		  (unsigned)(LOOKS_MISSED * LOOK_INTERVAL / MONO_SEC));
	t->statistics.charon_hung++;
	return true;
}
