/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet path of the daemon: from the ports, the TUN device and other members to the
 * tunnels, or to the member that works on the packet's unit.
 *
 * The filter closes a unit only when its new owner has announced itself, and the new one
 * opens its own before it does. So whatever this machine took is worked on, kept until
 * it can be, or handed to another member, but for what nobody knows an owner of. See
 * course.h.
 *
 * Hand-overs use the interconnect: there only members can speak, a packet may be longer
 * than a frame, and what a client sends to another client does not pass the inside network
 * in clear.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "src/course.h"
#include "src/daemon_parts.h"
#include "src/handed.h"
#include "src/log.h"

#define UNIT_PACKETS 1024 /* that wait for one unit */
#define WAITING_BYTES (16u << 20)
#define WAITING_AGE MONO_SEC
#define FRAGMENTED_MAX 256 /* datagrams that lack fragments */
#define FRAGMENTED_SOURCE_MAX 16
#define AUDIT_EVERY (10 * MONO_SEC)
#define FRAGMENTED_AGE (10 * MONO_SEC)
/* Frames that came before the release are read so much later at most. What a member that
 * was stopped finds in its buffers is older: others have long worked on it. */
#define STRAY_TIME MONO_SEC

int daemon_path_make(struct daemon *d)
{
	const struct waiting_limits limits = { .unit_packets = UNIT_PACKETS,
					       .bytes = WAITING_BYTES,
					       .age = WAITING_AGE };
	const struct fragments_limits fragments = { .datagrams = FRAGMENTED_MAX,
						    .per_source = FRAGMENTED_SOURCE_MAX,
						    .age = FRAGMENTED_AGE };

	d->waiting = waiting_new(&limits);
	d->fragments = fragments_new(&fragments);
	return d->waiting && d->fragments ? 0 : -1;
}

static void view_of(struct daemon *d, unit_id unit, struct course_view *v)
{
	struct cluster_unit_state s;

	cluster_unit(d->cluster, unit, &s);
	*v = (struct course_view){
		.self = d->self->id,
		.master = cluster_master(d->cluster),
		.owner = cluster_present(d->cluster, s.owner) ? s.owner : 0,
		.successor = s.successor,
		.moving_to = s.moving_to,
		.active = unit_set_has(&d->active, unit),
		.leaving = d->leaving,
	};
	v->serves = v->active && cluster_serves(d->cluster, unit, daemon_now(d));
}

/* To the tunnels. */
static void work(struct daemon *d, const struct waiting_tag *tag, uint8_t *ip, size_t len)
{
	struct packet p = { ip, len,
			    tag->inside ? tun_ifindex(d->tun)
					: filter_ifindex(d->filter, tag->network),
			    tag->inside || !tag->checksum_ok, tag->hops };

	for (unsigned i = 0; i < d->ntunnels; i++) {
		const struct status_tunnel *t = &d->tunnels[i];

		if (tag->inside)
			t->ops->forward(t->tunnel, &p, daemon_now(d));
		else
			t->ops->receive(t->tunnel, &p, daemon_now(d));
	}
}

static void hand(struct daemon *d, member_id to, unit_id unit,
		 const struct waiting_tag *tag, uint8_t *ip, size_t len)
{
	static uint8_t message[HANDED_MAX];
	struct handed_packet p = { .tag = *tag, .unit = unit, .ip = ip, .len = len };

	p.tag.hops++;
	size_t n = handed_encode_packet(&p, message, sizeof(message));
	if (n && !links_packet(d->links, to, message, n))
		d->path.handed++;
	else
		d->path.unsent++;
	explicit_bzero(message, n);
}

static void keep(struct daemon *d, const struct course_view *v, unit_id unit,
		 const struct waiting_tag *tag, const uint8_t *ip, size_t len)
{
	/* The first packet of a unit that nobody owns has it assigned. */
	if (!v->owner && v->master == v->self &&
	    !unit_set_has(waiting_units(d->waiting), unit)) {
		d->urge = true;
		daemon_want_settle(d);
	}
	waiting_add(d->waiting, unit, tag, ip, len, daemon_now(d));
}

/* What waits for the unit goes its way, in order, as far as there is one. */
static void drain(struct daemon *d, unit_id unit)
{
	const struct waiting_packet *next;

	while ((next = waiting_peek(d->waiting, unit))) {
		struct course_view v;
		member_id to = 0;

		view_of(d, unit, &v);
		enum course course = course_of(&v, next->tag.hops, &to);
		if (course == COURSE_WAIT)
			return;
		struct waiting_packet *p = waiting_take(d->waiting, unit);
		if (course == COURSE_SERVE)
			work(d, &p->tag, p->bytes, p->len);
		else if (course == COURSE_PASS)
			hand(d, to, unit, &p->tag, p->bytes, p->len);
		else
			d->path.dropped++;
		explicit_bzero(p->bytes, p->len);
		free(p);
	}
}

static void take(struct daemon *d, unit_id unit, const struct waiting_tag *tag,
		 uint8_t *ip, size_t len)
{
	struct course_view v;
	member_id to = 0;

	if (unit_set_has(waiting_units(d->waiting), unit))
		drain(d, unit);
	view_of(d, unit, &v);
	switch (course_of(&v, tag->hops, &to)) {
	case COURSE_SERVE:
		work(d, tag, ip, len);
		break;
	case COURSE_WAIT:
		keep(d, &v, unit, tag, ip, len);
		break;
	case COURSE_PASS:
		hand(d, to, unit, tag, ip, len);
		break;
	case COURSE_DROP:
		d->path.dropped++;
		break;
	}
}

void daemon_path_review(struct daemon *d)
{
	struct unit_set units = *waiting_units(d->waiting);

	for (unit_id u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(&units, u))
			drain(d, u);
	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->flush(d->tunnels[i].tunnel, daemon_now(d));
}

void daemon_path_show(struct daemon *d, member_id to)
{
	struct handed_places places = { .count = d->conf->nnetworks };
	uint8_t message[HANDED_HEADER + 8 * HANDED_NETWORKS_MAX];

	if (d->conf->mode != CONF_FORWARDING)
		return;
	for (unsigned i = 0; i < places.count; i++) {
		places.at[i].network = (uint8_t)i;
		filter_own_mac(d->filter, i, places.at[i].mac);
	}
	links_packet(d->links, to, message,
		     handed_encode_places(&places, message, sizeof(message)));
}

/* Datagrams may be lost, so places are shown again and again. */
static void show_to_all(struct daemon *d)
{
	if (d->conf->mode != CONF_FORWARDING ||
	    mono_since(daemon_now(d), d->shown) < MONO_SEC)
		return;
	d->shown = daemon_now(d);
	for (unsigned i = 0; i < d->conf->nmembers; i++)
		if (links_up(d->links, d->conf->members[i].id))
			daemon_path_show(d, d->conf->members[i].id);
}

void daemon_path_tick(struct daemon *d)
{
	show_to_all(d);
	fragments_expire(d->fragments, daemon_now(d));
	if (waiting_empty(d->waiting))
		return;
	waiting_expire(d->waiting, daemon_now(d));
	d->rewait = true;
	daemon_want_settle(d);
}

/*
 * From inside the core. The filter of what this member gains opens before anybody hears
 * of it, and what comes in waits in the kernel until the tunnels know. Only who has
 * released a unit passes its packets on: who was fenced has been asleep.
 */
void daemon_path_units(struct daemon *d, const struct unit_set *gained,
		       const struct unit_set *lost)
{
	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		struct cluster_unit_state s;

		if (unit_set_has(gained, u)) {
			d->owners[u] = d->self->id;
			filter_set_owner(d->filter, u, d->self->id);
		}
		if (!unit_set_has(lost, u))
			continue;
		unit_set_remove(&d->active, u);
		cluster_unit(d->cluster, u, &s);
		if (s.owner == d->self->id)
			d->released[u] = daemon_now(d);
		else
			waiting_drop(d->waiting, u);
	}
}

void daemon_path_activated(struct daemon *d, const struct unit_set *gained)
{
	for (unsigned i = 0; i < CLUSTER_UNITS / 64; i++)
		d->active.bits[i] |= gained->bits[i];
	d->rewait = true;
}

static void batch_end(void *ctx)
{
	struct daemon *d = ctx;

	for (unsigned i = 0; i < d->ntunnels; i++)
		d->tunnels[i].ops->flush(d->tunnels[i].tunnel, daemon_now(d));
	daemon_settle(d);
}

static bool is_stray(struct daemon *d, unit_id unit)
{
	const struct mono since = d->released[unit];

	return since.ns && mono_since(daemon_now(d), since) < STRAY_TIME;
}

/* One of those that are refused is named in a second. */
static void audit_fragment(struct daemon *d, const uint8_t *ip, size_t len)
{
	struct address from = { 0 }, to = { 0 };
	char from_text[ADDRESS_TEXT_MAX], to_text[ADDRESS_TEXT_MAX];
	bool ipv6 = len >= 40 && ip[0] >> 4 == 6;
	size_t size = ipv6 ? 16 : 4;
	unsigned unsaid;

	if ((!ipv6 && len < 20) ||
	    !refusal_log_due(&d->fragments_refused, daemon_now(d), &unsaid))
		return;
	from.family = to.family = ipv6 ? AF_INET6 : AF_INET;
	memcpy(from.bytes, ip + (ipv6 ? 8 : 12), size);
	memcpy(to.bytes, ip + (ipv6 ? 24 : 16), size);
	log_warnx("refused a fragment from %s to %s: malformed, or it overlaps another "
		  "(and %u others before)",
		  address_print(&from, from_text), address_print(&to, to_text), unsaid);
}

/* What the filter drops nobody sees but by its counters. */
void daemon_path_audit(struct daemon *d)
{
	static const struct {
		const char *name, *text;
	} kinds[DAEMON_AUDITED] = {
		{ "filter.malformed", "malformed" },
		{ "filter.session-in-clear",
		  "in clear from or to what a tunnel protects" },
		{ "filter.no-session", "for what is protected and has no session" },
		{ "filter.destination", "for addresses that no machine has" },
	};
	struct statistic all[UNIT_REASON_COUNT];
	size_t n = filter_statistics(d->filter, all, UNIT_REASON_COUNT);
	struct mono now = daemon_now(d);
	uint64_t values[DAEMON_AUDITED] = { 0 };
	char line[512] = "";

	if (d->audited.ns && mono_since(now, d->audited) < AUDIT_EVERY)
		return;
	d->audited = now;
	for (unsigned k = 0; k < DAEMON_AUDITED; k++) {
		size_t used = strlen(line);

		for (size_t i = 0; i < n; i++)
			if (!strcmp(all[i].name, kinds[k].name))
				values[k] = all[i].value;
		if (values[k] > d->audit[k])
			snprintf(line + used, sizeof(line) - used, "%s%llu %s",
				 used ? ", " : "",
				 (unsigned long long)(values[k] - d->audit[k]),
				 kinds[k].text);
		d->audit[k] = values[k];
	}
	if (*line)
		log_warnx("the filter has dropped packets: %s", line);
}

/* A datagram that has become whole here may be anybody's. */
static void fragment_receive(struct daemon *d, const struct port_frame *frame,
			     uint8_t *ip, size_t len)
{
	const struct waiting_tag tag = { .network = (uint8_t)frame->network };
	struct mono now = daemon_now(d);
	uint8_t *whole;
	size_t whole_len;
	int rc = fragments_add(d->fragments, ip, len, now, &whole, &whole_len);

	if (rc == -EBADMSG)
		audit_fragment(d, ip, len);
	if (rc != 1)
		return;
	ip = whole;
	len = whole_len;
	struct unit_result r =
	    filter_classify_packet(d->filter, frame->network, ip, len, now.ns);
	if (r.as == UNIT_BY_IKE || r.as == UNIT_BY_ESP || r.as == UNIT_BY_ESP_UDP)
		take(d, r.unit, &tag, ip, len);
	else
		d->path.dropped++;
}

static void port_receive(void *ctx, const struct port_frame *frame, uint8_t *ip,
			 size_t len)
{
	struct daemon *d = ctx;
	struct waiting_tag tag = { .network = (uint8_t)frame->network,
				   .checksum_ok = frame->checksum_ok };

	if (frame->as == UNIT_BY_FRAGMENT) {
		fragment_receive(d, frame, ip, len);
		return;
	}
	/* The master has passed it on already. */
	if (frame->reason == UNIT_BY_STRAY)
		tag.hops = 1;
	if (frame->reason == UNIT_BY_FOREIGN && !is_stray(d, frame->unit)) {
		d->path.dropped++;
		return;
	}
	take(d, frame->unit, &tag, ip, len);
}

const struct port_handler daemon_port_handler = {
	.receive = port_receive,
	.batch_end = batch_end,
};

static void inside_take(struct daemon *d, int unit, uint8_t *ip, size_t len)
{
	static const struct waiting_tag tag = { .inside = true };

	if (unit < 0 || unit >= CLUSTER_UNITS)
		work(d, &tag, ip, len); /* and is counted there */
	else
		take(d, (unit_id)unit, &tag, ip, len);
}

/* What the kernel has cut up for the device, on its way to a peer of transport mode, must be
 * whole again: ESP is for whole packets there. */
static bool is_peers_fragment(struct daemon *d, const uint8_t *ip, size_t len)
{
	bool ipv6 = ip[0] >> 4 == 6;
	struct address to = { .family = ipv6 ? AF_INET6 : AF_INET };

	if (ipv6 ? len < 48 || ip[6] != IPPROTO_FRAGMENT
		 : len < 20 || !((ip[6] & 0x3f) | ip[7]))
		return false;
	memcpy(to.bytes, ip + (ipv6 ? 24 : 16), address_size(to.family));
	return peers_know(d->peers, &to);
}

static void tun_receive(void *ctx, uint8_t *ip, size_t len)
{
	struct daemon *d = ctx;

	if (is_peers_fragment(d, ip, len) &&
	    fragments_add(d->fragments, ip, len, daemon_now(d), &ip, &len) != 1)
		return;
	inside_take(d, filter_route_find(d->filter, ip, len), ip, len);
}

const struct tun_handler daemon_tun_handler = {
	.receive = tun_receive,
	.batch_end = batch_end,
};

void daemon_path_again(void *ctx, unit_id unit, const uint8_t *ip, size_t len,
		       unsigned hops)
{
	static uint8_t copy[WAITING_PACKET_MAX];
	const struct waiting_tag tag = { .inside = true, .hops = (uint8_t)hops };
	struct daemon *d = ctx;
	struct course_view v;
	member_id to;

	if (len > sizeof(copy))
		return;
	view_of(d, unit, &v);
	/* The tunnel has just said that it cannot. */
	if (course_of(&v, hops, &to) == COURSE_SERVE) {
		d->path.dropped++;
		return;
	}
	memcpy(copy, ip, len);
	take(d, unit, &tag, copy, len);
	explicit_bzero(copy, len);
}

void daemon_path_too_long(void *ctx, const uint8_t *quoted, size_t len, unsigned mtu)
{
	struct daemon *d = ctx;

	for (unsigned i = 0; i < d->ntunnels; i++) {
		const struct status_tunnel *t = &d->tunnels[i];

		if (t->ops->too_long)
			t->ops->too_long(t->tunnel, quoted, len, mtu, daemon_now(d));
	}
}

static void places_handed(struct daemon *d, member_id from, const uint8_t *message,
			  size_t len)
{
	struct handed_places places;

	if (handed_decode_places(message, len, &places)) {
		d->path.refused++;
		return;
	}
	for (unsigned i = 0; i < places.count; i++)
		if (filter_set_place(d->filter, places.at[i].network, from,
				     places.at[i].mac))
			d->path.refused++;
}

void daemon_path_handed(void *ctx, member_id from, uint8_t *message, size_t len)
{
	struct daemon *d = ctx;
	struct handed_packet p;

	if (handed_kind(message, len) == HANDED_PLACES) {
		places_handed(d, from, message, len);
		return;
	}
	if (handed_kind(message, len) != HANDED_PACKET ||
	    handed_decode_packet(message, len, &p) ||
	    p.tag.network >= d->conf->nnetworks) {
		d->path.refused++;
		return;
	}
	d->path.received++;
	take(d, p.unit, &p.tag, p.ip, p.len);
	batch_end(d);
}

size_t daemon_path_statistics(const struct daemon *d, struct statistic *out, size_t max)
{
	const struct statistic all[] = {
		{ "handed.sent", d->path.handed },
		{ "handed.send-failed", d->path.unsent },
		{ "handed.received", d->path.received },
		{ "handed.malformed", d->path.refused },
		{ "handed.nowhere", d->path.dropped },
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	n = n < max ? n : max;
	memcpy(out, all, n * sizeof(*out));
	n += fragments_statistics(d->fragments, out + n, max - n);
	return n + waiting_statistics(d->waiting, out + n, max - n);
}
