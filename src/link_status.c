/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <string.h>

#include "src/link_parts.h"

static void path_status(const struct peer *p, unsigned path, uint64_t now,
			struct link_path_status *s)
{
	const struct peer_path *of = &p->paths[path];

	s->at = p->config.at[path];
	s->up = link_path_alive(p, path, now);
	s->stream = p->up && connection_path(p->up) == path;
	s->heard_ms = of->heard ? now - of->heard : UINT64_MAX;
	s->rtt_us = of->rtt;
	s->sent = of->sent;
	s->received = of->received;
	s->probes_lost = of->lost;
	s->downs = of->downs;
}

static void peer_status(const struct peer *p, uint64_t now, struct link_status *s)
{
	static const struct connection_counters none;
	const struct connection_counters *c = p->up ? connection_counters(p->up) : &none;

	memset(s, 0, sizeof(*s));
	s->id = p->config.id;
	memcpy(s->name, p->config.name, sizeof(s->name));
	s->up = p->up && connection_is_up(p->up);
	s->dials = link_peer_dials(p);
	memcpy(s->why, p->why, sizeof(s->why));
	s->times_up = p->times_up;
	s->queued = p->up ? connection_queued(p->up) : 0;
	s->sent = p->past.sent + c->sent;
	s->sent_bytes = p->past.sent_bytes + c->sent_bytes;
	s->received = p->past.received + c->received;
	s->received_bytes = p->past.received_bytes + c->received_bytes;
	s->datagrams_sent = p->datagrams_sent;
	s->datagrams_received = p->datagrams_received;
	s->npaths = p->npaths;
	for (unsigned i = 0; i < p->npaths; i++)
		path_status(p, i, now, &s->paths[i]);
}

unsigned links_status(const struct links *l, struct link_status *out, unsigned max)
{
	uint64_t now = link_now_ms();
	unsigned n = 0;

	for (; n < l->npeers && n < max; n++)
		peer_status(&l->peers[n], now, &out[n]);
	return n;
}

bool links_status_of(const struct links *l, member_id peer, struct link_status *out)
{
	const struct peer *p = link_peer_find(l, peer);

	if (p)
		peer_status(p, link_now_ms(), out);
	return p != NULL;
}

static struct udp_counters sum_udp(const struct links *l)
{
	struct udp_counters sum = { 0 };

	for (unsigned i = 0; i < l->config.npaths; i++) {
		const struct udp_counters *c = udp_counters(l->locals[i].udp);

		sum.received += c->received;
		sum.received_bytes += c->received_bytes;
		sum.sent += c->sent;
		sum.sent_bytes += c->sent_bytes;
		sum.unsent += c->unsent;
		sum.oversized += c->oversized;
	}
	return sum;
}

unsigned links_statistics(const struct links *l, const char **names, uint64_t *values,
			  unsigned max)
{
	const struct seal_counters *seal = seal_ring_counters(l->ring);
	const struct udp_counters udp = sum_udp(l);
	const struct {
		const char *name;
		uint64_t value;
	} all[] = {
		{ "link_up", l->ups },
		{ "link_accepted", l->accepts },
		{ "link_accept_failed", l->accept_errors },
		{ "link_path_down", l->path_downs },
		{ "link_failover", l->failovers },
		{ "link_return", l->returns },
		{ "link_closed", l->ends[END_CLOSED] },
		{ "link_replaced", l->ends[END_REPLACED] },
		{ "link_timeout", l->ends[END_TIMEOUT] },
		{ "link_refused_unknown_ca", l->ends[END_UNKNOWN_CA] },
		{ "link_refused_expired", l->ends[END_EXPIRED] },
		{ "link_refused_bad_certificate", l->ends[END_CERTIFICATE] },
		{ "link_refused_not_listed", l->ends[END_NOT_LISTED] },
		{ "link_refused_wrong_member", l->ends[END_WRONG_MEMBER] },
		{ "link_refused_own_id", l->ends[END_OWN_ID] },
		{ "link_refused_version", l->ends[END_VERSION] },
		{ "link_refused_bad_handshake", l->ends[END_HANDSHAKE] },
		{ "link_refused_foreign_address", l->ends[END_ADDRESS] },
		{ "link_refused_crowded", l->ends[END_CROWDED] },
		{ "link_refused_by_peer", l->ends[END_REFUSED] },
		{ "link_oversized_message", l->ends[END_OVERSIZED] },
		{ "link_queue_overflow", l->ends[END_OVERFLOW] },
		{ "datagram_received", udp.received },
		{ "datagram_received_bytes", udp.received_bytes },
		{ "datagram_opened", seal->opened },
		{ "datagram_probes", l->probes_received },
		{ "datagram_duplicate", seal->duplicate },
		{ "datagram_truncated", seal->truncated },
		{ "datagram_oversized", udp.oversized },
		{ "datagram_version", seal->version },
		{ "datagram_unknown_key", seal->unknown_key },
		{ "datagram_unknown_kind", l->datagrams_unknown },
		{ "datagram_bad_tag", seal->bad_tag },
		{ "datagram_replayed", seal->replayed },
		{ "datagram_sent", udp.sent },
		{ "datagram_sent_bytes", udp.sent_bytes },
		{ "datagram_unsent", udp.unsent },
		{ "datagram_without_key", l->datagrams_without_key },
		{ "datagram_too_long", l->datagrams_too_long },
		{ "packet_sent", l->packets_sent },
		{ "packet_received", l->packets_received },
	};
	unsigned n = 0;

	_Static_assert(sizeof(all) / sizeof(all[0]) <= LINK_STATISTICS,
		       "bound in link.h");
	for (; n < sizeof(all) / sizeof(all[0]) && n < max; n++) {
		names[n] = all[n].name;
		values[n] = all[n].value;
	}
	return n;
}
