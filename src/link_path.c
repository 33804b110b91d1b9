/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams over several networks, and which networks reach a peer.
 *
 * A message is sealed once and sent over every network; the second copy is dropped as a
 * duplicate. So messages tell nothing about the slower network, and probes do: a round of
 * them, one sealed by itself for each network, goes to every peer PROBES times in a
 * detection interval.
 *
 * A network is good while it brings probes and the peer says the same. It has failed when
 * MISSED_MAX rounds in a row came over other networks and not over this one: that is half a
 * detection interval, and silence of all networks is no evidence against one of them, so a
 * peer or a member that was stopped for some time moves no stream.
 *
 *            MISSED_MAX rounds missed, or the peer does not hear us
 *      GOOD ------------------------------------------------------> FAILED
 *        ^                                                            |
 *        +------------------------------------------------------------+
 *                     a probe, in which the peer hears us
 *
 * The side that dials moves the stream: at once from a failed network to the first good
 * one, and back to one that is preferred when that was good for some time, which grows each
 * time that it fails soon again. The old connection and its keys stay until the new one is
 * up.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>

#include "src/link_parts.h"
#include "src/log.h"
#include "src/probe.h"

#define PROBES 8 /* in a detection interval */
#define MISSED_MAX (PROBES / 2)
#define TICK_LEAST_US 5000
#define DETECTION_DEFAULT_MS 200

/* A probe that is so many rounds behind was overtaken; what is further behind is of a peer
 * that began anew. */
#define ROUNDS_LATE 64
#define ROUNDS_LOST_MAX 4096 /* more is an absence, not loss */

/* Who was silent for so long is probed less often. */
#define SILENT_MS 5000
#define SILENT_EVERY 16

#define HOLD_DEFAULT_MS 5000
#define HOLD_MAX_MS 300000
#define HOLD_CALM_MS 60000 /* a network that was good for so long has a clean record */

static unsigned detection_ms(const struct links *l)
{
	return l->config.detection_ms ? l->config.detection_ms : DETECTION_DEFAULT_MS;
}

static unsigned hold_min(const struct links *l)
{
	return l->config.hold_ms ? l->config.hold_ms : HOLD_DEFAULT_MS;
}

void link_path_init(struct peer *p)
{
	const struct links *l = p->links;
	uint64_t now = link_now_ms();

	p->npaths =
	    p->config.npaths < l->config.npaths ? p->config.npaths : l->config.npaths;
	for (unsigned i = 0; i < p->npaths; i++)
		p->paths[i] = (struct peer_path){ .good = true,
						  .peer_hears = true,
						  .good_since = now,
						  .hold_ms = hold_min(l) };
}

/* Sending. */

/* To the peer over one network; false if the socket did not take it. */
static bool send_sealed(struct peer *p, unsigned path, const uint8_t *sealed, size_t len)
{
	if (udp_send(p->links->locals[path].udp, &p->config.at[path], sealed, len) < 0)
		return false;
	p->paths[path].sent++;
	return true;
}

void link_path_send(struct peer *p, const uint8_t *msg, size_t len)
{
	uint8_t plain[1 + CLUSTER_DATAGRAM_MAX];
	uint8_t sealed[sizeof(plain) + SEAL_OVERHEAD];
	bool sent = false;

	plain[0] = LINK_MESSAGE;
	memcpy(plain + 1, msg, len);
	ssize_t n = p->sender
			? seal_datagram(p->sender, plain, 1 + len, sealed, sizeof(sealed))
			: -ENOTCONN;
	if (n < 0) {
		p->links->datagrams_without_key++;
		return;
	}
	for (unsigned i = 0; i < p->npaths; i++)
		sent |= send_sealed(p, i, sealed, (size_t)n);
	p->datagrams_sent += sent;
}

_Static_assert(1 + LINK_PACKET_MAX + SEAL_OVERHEAD <= UDP_MAX, "a packet fits");

/* Where the stream is, or else the first that is good. */
static unsigned packet_path(const struct peer *p)
{
	unsigned at = p->up ? connection_path(p->up) : 0;

	if (at < p->npaths && p->paths[at].good)
		return at;
	for (unsigned i = 0; i < p->npaths; i++)
		if (p->paths[i].good)
			return i;
	return 0;
}

int link_path_send_packet(struct peer *p, const uint8_t *msg, size_t len)
{
	static uint8_t plain[1 + LINK_PACKET_MAX], sealed[UDP_MAX];

	if (!p->sender || !p->npaths) {
		p->links->datagrams_without_key++;
		return -ENOTCONN;
	}
	plain[0] = LINK_PACKET;
	memcpy(plain + 1, msg, len);
	ssize_t n = seal_datagram(p->sender, plain, 1 + len, sealed, sizeof(sealed));
	OPENSSL_cleanse(plain, 1 + len); /* of a client, in clear */
	if (n < 0)
		return (int)n;
	if (!send_sealed(p, packet_path(p), sealed, (size_t)n))
		return -EIO;
	p->links->packets_sent++;
	return 0;
}

static void packet_received(struct peer *p, uint8_t *bytes, size_t len)
{
	struct links *l = p->links;

	l->packets_received++;
	if (l->ops.packet)
		l->ops.packet(l->ops.ctx, p->config.id, bytes, len);
	OPENSSL_cleanse(bytes, len);
}

static uint8_t heard_paths(const struct peer *p)
{
	uint8_t hears = 0;

	for (unsigned i = 0; i < p->npaths; i++)
		hears |= (uint8_t)((p->paths[i].missed < MISSED_MAX) << i);
	return hears;
}

static void send_probe(struct peer *p, unsigned path, uint8_t hears)
{
	uint8_t plain[1 + PROBE_SIZE], sealed[sizeof(plain) + SEAL_OVERHEAD];
	const struct peer_path *of = &p->paths[path];
	uint64_t now = link_now_us(), held = now - of->stamped;
	const struct probe said = { .round = p->round,
				    .hears = hears,
				    .stamp = now,
				    .echo = of->stamp,
				    .held = held < UINT32_MAX ? (uint32_t)held : 0 };

	plain[0] = LINK_PROBE;
	probe_encode(&said, plain + 1);
	ssize_t n =
	    seal_datagram(p->sender, plain, sizeof(plain), sealed, sizeof(sealed));
	if (n > 0)
		send_sealed(p, path, sealed, (size_t)n);
}

static uint64_t last_heard(const struct peer *p)
{
	uint64_t last = p->up_since_ms;

	for (unsigned i = 0; i < p->npaths; i++)
		if (p->paths[i].heard > last)
			last = p->paths[i].heard;
	return last;
}

static void probe(struct peer *p, uint64_t now_ms)
{
	uint8_t hears = heard_paths(p);

	if (now_ms - last_heard(p) > SILENT_MS && ++p->skipped < SILENT_EVERY)
		return;
	p->skipped = 0;
	p->round++;
	for (unsigned i = 0; i < p->npaths; i++)
		send_probe(p, i, hears);
}

/* Receiving. */

/* What a round's first, or further, arrival over `path` says of all networks. Returns
 * whether nothing newer had come before. */
static bool note_round(struct peer *p, unsigned path, uint32_t round)
{
	struct peer_path *of = &p->paths[path];
	uint32_t ahead = round - p->newest, behind = p->newest - round;
	bool newer = !p->probed || (ahead && ahead < UINT32_MAX / 2) ||
		     (behind >= ROUNDS_LATE && behind < UINT32_MAX / 2);

	if (newer) {
		for (unsigned i = 0; i < p->npaths; i++)
			p->paths[i].missed += p->paths[i].missed < MISSED_MAX;
		p->newest = round;
		p->probed = true;
		of->missed = 0;
	} else if (behind < of->missed) {
		of->missed = behind;
	}
	if (of->probed && round - of->round < ROUNDS_LOST_MAX && round != of->round)
		of->lost += round - of->round - 1;
	of->round = round;
	of->probed = true;
	return newer || behind == 0;
}

static void note_rtt(struct peer_path *of, uint64_t now, uint64_t echo, uint32_t held)
{
	uint64_t took = now - echo;

	if (!echo || echo > now || held > took)
		return;
	took -= held;
	of->rtt = of->rtt ? (of->rtt * 7 + took) / 8 : took;
}

static void probe_received(struct peer *p, unsigned path, const uint8_t *bytes,
			   size_t len)
{
	struct links *l = p->links;
	struct peer_path *of = &p->paths[path];
	struct probe said;

	if (probe_decode(bytes, len, &said) < 0) {
		l->datagrams_unknown++;
		return;
	}
	l->probes_received++;
	if (note_round(p, path, said.round))
		for (unsigned i = 0; i < p->npaths; i++)
			p->paths[i].peer_hears = said.hears >> i & 1;
	of->stamp = said.stamp;
	of->stamped = link_now_us();
	note_rtt(of, of->stamped, said.echo, said.held);
}

static void datagram_received(void *ctx, const uint8_t *bytes, size_t len)
{
	const struct local *local = ctx;
	struct links *l = local->links;
	uint8_t plain[UDP_MAX];
	unsigned slot;
	ssize_t n =
	    seal_open_via(l->ring, local->path, bytes, len, plain, sizeof(plain), &slot);

	if (n < 0)
		return;
	struct peer *p = &l->peers[slot];
	if (local->path < p->npaths) {
		p->paths[local->path].heard = link_now_ms();
		p->paths[local->path].received++;
	}
	if (n > 0 && plain[0] == LINK_MESSAGE) {
		p->datagrams_received++;
		l->ops.datagram(l->ops.ctx, p->config.id, plain + 1, (size_t)n - 1);
	} else if (n > 0 && plain[0] == LINK_PROBE && local->path < p->npaths) {
		probe_received(p, local->path, plain + 1, (size_t)n - 1);
	} else if (n > 0 && plain[0] == LINK_PACKET) {
		packet_received(p, plain + 1, (size_t)n - 1);
	} else {
		l->datagrams_unknown++;
	}
}

/* Verdicts. */

static void path_went_down(struct peer *p, unsigned path, uint64_t now_ms)
{
	struct peer_path *of = &p->paths[path];
	char host[ENDPOINT_TEXT];

	of->good = false;
	of->downs++;
	p->links->path_downs++;
	if (now_ms - of->good_since >= HOLD_CALM_MS)
		of->hold_ms = hold_min(p->links);
	else if (of->downs > 1)
		of->hold_ms =
		    of->hold_ms * 2 < HOLD_MAX_MS ? of->hold_ms * 2 : HOLD_MAX_MS;
	log_info("%s is not reached at %s: %s", p->config.name,
		 endpoint_host(endpoint_socket(&p->config.at[path]),
			       p->config.at[path].addresslen, host),
		 of->missed >= MISSED_MAX ? "nothing comes from there"
					  : "it does not hear this member there");
}

static void path_came_back(struct peer *p, unsigned path, uint64_t now_ms)
{
	struct peer_path *of = &p->paths[path];
	char host[ENDPOINT_TEXT];

	of->good = true;
	of->good_since = now_ms;
	log_info("%s is reached at %s again", p->config.name,
		 endpoint_host(endpoint_socket(&p->config.at[path]),
			       p->config.at[path].addresslen, host));
}

static void judge(struct peer *p, uint64_t now_ms)
{
	for (unsigned i = 0; i < p->npaths; i++) {
		const struct peer_path *of = &p->paths[i];
		bool good = of->missed < MISSED_MAX && of->peer_hears;

		if (of->good && !good)
			path_went_down(p, i, now_ms);
		else if (!of->good && good)
			path_came_back(p, i, now_ms);
	}
}

bool link_path_alive(const struct peer *p, unsigned path, uint64_t now_ms)
{
	const struct peer_path *of = &p->paths[path];

	/* Without probes, only members of one cluster send each other datagrams. */
	if (p->npaths == 1)
		return p->up ||
		       (of->heard && now_ms - of->heard <= detection_ms(p->links));
	return of->good && of->heard && now_ms - of->heard <= detection_ms(p->links);
}

/* Choosing. */

static bool held(const struct peer_path *of, uint64_t now_ms)
{
	return of->good && now_ms - of->good_since >= of->hold_ms;
}

/* Where the stream should be that is over network `now_at`. */
static unsigned best_path(const struct peer *p, unsigned now_at, uint64_t now_ms)
{
	for (unsigned i = 0; i < now_at; i++)
		if (held(&p->paths[i], now_ms))
			return i;
	if (p->paths[now_at].good)
		return now_at;
	for (unsigned i = 0; i < p->npaths; i++)
		if (p->paths[i].good)
			return i;
	return now_at;
}

unsigned link_path_to_dial(struct peer *p)
{
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < p->npaths; i++)
			if (!(p->tried >> i & 1) && (pass || p->paths[i].good))
				return i;
	p->tried = 0;
	return 0;
}

void link_path_failed(struct peer *p, unsigned path)
{
	struct peer_path *of = &p->paths[path];
	uint64_t now = link_now_ms();

	p->tried |= 1u << path;
	if (!p->up)
		return;
	/* Datagrams pass, and connections do not: the stream stays away from it. */
	of->good_since = now;
	of->hold_ms = of->hold_ms * 2 < HOLD_MAX_MS ? of->hold_ms * 2 : HOLD_MAX_MS;
	p->switch_after = now + LINK_BACKOFF_MAX_MS;
}

static void move_stream(struct peer *p, uint64_t now_ms)
{
	struct connection *c = p->attempt ? p->attempt : p->up;

	if (!c || !link_peer_dials(p))
		return;
	unsigned at = connection_path(c), to = best_path(p, at, now_ms);
	if (to == at)
		return;
	if (p->attempt) {
		/* It would wait for its deadline. */
		if (!p->paths[at].good)
			connection_break(p->attempt, END_TIMEOUT,
					 "the network failed meanwhile");
		return;
	}
	if (now_ms >= p->switch_after)
		link_stream_dial(p, to);
}

static void tick_event(evutil_socket_t fd, short what, void *arg)
{
	struct links *l = arg;
	uint64_t now = link_now_ms();

	for (unsigned i = 0; i < l->npeers; i++) {
		struct peer *p = &l->peers[i];

		if (p->npaths < 2 || !p->sender)
			continue;
		judge(p, now);
		probe(p, now);
		move_stream(p, now);
	}
}

/* Who is no member costs a glance of the kernel. Where that is not to be had, the seal alone
 * tells. */
static void accept_members(struct links *l, struct udp *udp)
{
	const struct endpoint *hosts[CLUSTER_MEMBERS_MAX * LINK_PATHS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < l->npeers; i++)
		for (unsigned k = 0; k < l->peers[i].npaths; k++)
			hosts[n++] = &l->peers[i].config.at[k];
	udp_accept_from(udp, hosts, n);
}

int link_path_open(struct links *l, unsigned path, bool absent)
{
	struct local *local = &l->locals[path];

	local->udp = udp_new(l->shared.base, &l->config.bind[path], absent,
			     datagram_received, local);
	if (!local->udp)
		return -errno;
	accept_members(l, local->udp);
	return 0;
}

int link_path_start(struct links *l)
{
	unsigned us = detection_ms(l) * 1000 / PROBES;
	const struct timeval period = { .tv_usec =
					    us > TICK_LEAST_US ? us : TICK_LEAST_US };

	if (l->config.npaths < 2)
		return 0;
	l->tick = event_new(l->shared.base, -1, EV_PERSIST, tick_event, l);
	return l->tick && event_add(l->tick, &period) == 0 ? 0 : -ENOMEM;
}
