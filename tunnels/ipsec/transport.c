/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transport mode: between peers outside and programs at the cluster's own addresses.
 *
 * What a peer has sent goes to this machine's kernel, as if it had come from the peer's
 * address in clear; and what the kernel answers comes back through the TUN device. Of
 * several peers behind one NAT, two may use the same port (L2TP's, often), so that the
 * kernel could not tell them apart: then the one who came second is shown to it under
 * another port, and what goes there is the second one's again. Such a pair of ports is a
 * flow, and belongs to the IKE SA; one that says it is behind no NAT has flows, too, for who
 * knows. Flows are no state of a session: the next packet makes them anew wherever it
 * arrives.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "tunnels/ipsec/engine.h"
#include "tunnels/ipsec/inner.h"

#define ICMP4 1
#define TCP 6
#define UDP 17
#define ICMP6 58

#define FLOWS_MAX 65536
#define FLOWS_OF_ONE 256 /* of an IKE SA; then its oldest goes */
#define SHOWN_FIRST 49152
#define SHOWN_TRIES 64

#define PORT_IKE 500
#define PORT_NATT 4500

/* What the kernel tells peers apart by. All of it without holes. */
struct flow_key {
	uint8_t peer[16], local[16];
	uint16_t port, own; /* the peer's and ours; of ICMP its identifier and 0 */
	uint8_t family, protocol;
	uint8_t reserved[2];
};

struct flow {
	LIST_ENTRY(flow) by_shown, of_ike; /* those of an IKE SA: last used first */
	struct flow_key shown;
	uint16_t real; /* the peer's port, in ESP */
	uint64_t ike;
};

struct transport {
	LIST_HEAD(, flow) shown[TABLE_SIZE];
	LIST_HEAD(, flow) ikes[TABLE_SIZE];
	unsigned count;
	uint8_t copy[ESP_PAYLOAD_MAX]; /* of a packet with another port */
};

/* Where a packet has the peer's port, and the checksum over it. 0: nowhere. */
struct place {
	size_t port, checksum;
};

int transport_new(struct transport **out)
{
	struct transport *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	*out = n;
	return 0;
}

static void flow_free(struct transport *n, struct flow *flow)
{
	LIST_REMOVE(flow, by_shown);
	LIST_REMOVE(flow, of_ike);
	n->count--;
	free(flow);
}

void transport_free(struct transport *n)
{
	if (!n)
		return;
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		while (LIST_FIRST(&n->ikes[i]))
			flow_free(n, LIST_FIRST(&n->ikes[i]));
	OPENSSL_cleanse(n->copy, sizeof(n->copy));
	free(n);
}

static unsigned key_bucket(const struct flow_key *key)
{
	const uint8_t *at = (const uint8_t *)key;
	uint32_t hash = 2166136261;

	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ at[i]) * 16777619;
	return (hash ^ hash >> 12) % TABLE_SIZE;
}

static unsigned ike_bucket(uint64_t ike)
{
	return (unsigned)((ike ^ ike >> 20 ^ ike >> 40) % TABLE_SIZE);
}

static struct flow *find_shown(struct transport *n, const struct flow_key *key)
{
	struct flow *flow;

	LIST_FOREACH(flow, &n->shown[key_bucket(key)], by_shown)
		if (!memcmp(&flow->shown, key, sizeof(*key)))
			return flow;
	return NULL;
}

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static bool is_echo(const uint8_t *ip, const struct selector_flow *f)
{
	uint8_t type = ip[f->header];

	if (f->family == 4)
		return f->protocol == ICMP4 && (type == 0 || type == 8);
	return f->protocol == ICMP6 && (type == 128 || type == 129);
}

/* The packet from the peer, or to it, as a flow has it. */
static struct place read_key(const uint8_t *ip, const struct selector_flow *f,
			     bool inbound, struct flow_key *key)
{
	size_t size = f->family == 4 ? 4 : 16, left = f->total - f->header;
	size_t at = f->header + (inbound ? 0 : 2);

	*key = (struct flow_key){ .family = f->family, .protocol = f->protocol };
	memcpy(key->peer, inbound ? f->source : f->destination, size);
	memcpy(key->local, inbound ? f->destination : f->source, size);
	if ((f->protocol == TCP && left >= 20) || (f->protocol == UDP && left >= 8)) {
		key->port = inbound ? f->source_port : f->destination_port;
		key->own = inbound ? f->destination_port : f->source_port;
		return (struct place){ at, f->header + (f->protocol == TCP ? 16 : 6) };
	}
	if (left >= 8 && is_echo(ip, f)) {
		key->port = be16(ip + f->header + 4);
		return (struct place){ f->header + 4, f->header + 2 };
	}
	return (struct place){ 0, 0 };
}

static void rewrite(uint8_t *ip, const struct selector_flow *f, const struct place *place,
		    uint16_t port)
{
	uint8_t *checksum = ip + place->checksum, *at = ip + place->port;
	uint16_t was = be16(at);

	at[0] = (uint8_t)(port >> 8);
	at[1] = (uint8_t)port;
	if (f->protocol == UDP && !be16(checksum))
		return; /* it has none */
	inner_adjust(checksum, was, port);
	if (f->protocol == UDP && !be16(checksum))
		checksum[0] = checksum[1] = 0xff;
}

/* The IKE SA's flow with these ports; and how many it has, and its oldest. */
static struct flow *find_real(struct transport *n, uint64_t ike,
			      const struct flow_key *key, unsigned *count,
			      struct flow **oldest)
{
	struct flow_key shown = *key;
	struct flow *flow;

	*count = 0;
	*oldest = NULL;
	LIST_FOREACH(flow, &n->ikes[ike_bucket(ike)], of_ike) {
		if (flow->ike != ike)
			continue;
		shown.port = flow->shown.port;
		if (flow->real == key->port &&
		    !memcmp(&flow->shown, &shown, sizeof(shown)))
			return flow;
		(*count)++;
		*oldest = flow;
	}
	return NULL;
}

/* A port that the kernel knows nobody by, if the peer's own is taken. */
static bool find_port(struct transport *n, const struct place *place,
		      struct flow_key *key)
{
	uint16_t first = (uint16_t)(n->count * 61 % (65536 - SHOWN_FIRST));

	if (!find_shown(n, key))
		return true;
	if (!place->port)
		return false;
	for (unsigned i = 0; i < SHOWN_TRIES; i++) {
		key->port = (uint16_t)(SHOWN_FIRST + (first + i) % (65536 - SHOWN_FIRST));
		if (!find_shown(n, key))
			return true;
	}
	return false;
}

static struct flow *flow_of(struct ipsec *t, const struct child *c,
			    const struct place *place, const struct flow_key *key)
{
	struct transport *n = t->transport;
	struct flow *oldest, *flow;
	uint64_t ike = c->ike, elder;
	unsigned count;

	flow = find_real(n, ike, key, &count, &oldest);
	/* It has authenticated anew, perhaps, and goes on under the old one's ports. */
	if (!flow && (elder = children_elder(t, c))) {
		transport_follow(t, elder, ike);
		flow = find_real(n, ike, key, &count, &oldest);
	}
	if (flow) {
		LIST_REMOVE(flow, of_ike);
		LIST_INSERT_HEAD(&n->ikes[ike_bucket(ike)], flow, of_ike);
		return flow;
	}
	if (oldest && (count >= FLOWS_OF_ONE || n->count >= FLOWS_MAX))
		flow_free(n, oldest);
	flow = n->count < FLOWS_MAX ? calloc(1, sizeof(*flow)) : NULL;
	if (!flow)
		return NULL;
	flow->shown = *key;
	flow->real = key->port;
	flow->ike = ike;
	if (!find_port(n, place, &flow->shown)) {
		free(flow);
		return NULL;
	}
	LIST_INSERT_HEAD(&n->shown[key_bucket(&flow->shown)], flow, by_shown);
	LIST_INSERT_HEAD(&n->ikes[ike_bucket(ike)], flow, of_ike);
	n->count++;
	return flow;
}

bool transport_arrive(struct ipsec *t, const struct child *c, uint8_t *ip, size_t len)
{
	struct selector_flow f;
	struct flow_key key;
	struct place place;
	struct flow *flow;

	if (selector_read(ip, len, &f))
		return false;
	place = read_key(ip, &f, true, &key);
	/* IKE has nothing to do in ESP, nor a further ESP in UDP. */
	if (f.fragment ||
	    (f.protocol == UDP && f.ports &&
	     (f.destination_port == PORT_IKE || f.destination_port == PORT_NATT))) {
		t->statistics.esp_transport++;
		return false;
	}
	flow = flow_of(t, c, &place, &key);
	if (!flow && !children_rival(t, c, NULL, 0))
		return true;
	if (!flow) {
		t->statistics.transport_conflict++;
		return false;
	}
	if (flow->shown.port != flow->real)
		rewrite(ip, &f, &place, flow->shown.port);
	return true;
}

/*
 * A host may have several IKE SAs, whose flows are all the newest one's (transport_follow()):
 * another one's selectors may cover the packet. What is for one host goes to no other one.
 */
static struct child *route_flow(struct ipsec *t, const struct flow *flow,
				const uint8_t *ip, size_t len, struct child **shadow,
				bool *refused)
{
	struct child *c = children_route(t, ip, len, flow->ike, shadow);

	if (c || *shadow)
		return c;
	c = children_route(t, ip, len, 0, shadow);
	*refused = (c || *shadow) && !children_same(t, flow->ike, c ? c : *shadow);
	if (*refused)
		t->statistics.transport_conflict++;
	return *refused ? NULL : c;
}

struct child *transport_route(struct ipsec *t, const uint8_t **ip, size_t len,
			      unsigned hops, struct child **shadow, bool *refused)
{
	uint8_t *copy = t->transport->copy;
	struct selector_flow f;
	struct flow_key key;
	struct place place;
	struct flow *flow;
	struct child *c;

	*refused = false;
	if (!t->ntransport || selector_read(*ip, len, &f))
		return children_route(t, *ip, len, 0, shadow);
	place = read_key(*ip, &f, false, &key);
	/* Another member's kernel may know somebody else by this port. */
	flow = hops ? NULL : find_shown(t->transport, &key);
	*refused = len > sizeof(t->transport->copy);
	if (*refused)
		return NULL;
	if (flow && flow->shown.port != flow->real) {
		memcpy(copy, *ip, len);
		rewrite(copy, &f, &place, flow->real);
		*ip = copy;
	}
	if (flow)
		return route_flow(t, flow, *ip, len, shadow, refused);
	c = children_route(t, *ip, len, 0, shadow);
	if (c && c->transport && children_rival(t, c, *ip, len)) {
		t->statistics.transport_conflict++;
		*refused = true;
		return NULL;
	}
	return c;
}

bool transport_bypasses(struct ipsec *t, const uint8_t *ip, size_t len)
{
	struct selector_flow f;

	/* Nobody knows which ports a fragment has. */
	if (!t->ntransport || selector_read(ip, len, &f) || f.fragment ||
	    (f.family == 4 && ip[6] & 0x20))
		return false;
	return children_peer(t, f.family, f.source, f.destination);
}

void transport_follow(struct ipsec *t, uint64_t was, uint64_t is)
{
	struct transport *n = t->transport;
	struct flow *flow, *next;

	if (was == is)
		return;
	for (flow = LIST_FIRST(&n->ikes[ike_bucket(was)]); flow; flow = next) {
		next = LIST_NEXT(flow, of_ike);
		if (flow->ike != was)
			continue;
		LIST_REMOVE(flow, of_ike);
		flow->ike = is;
		LIST_INSERT_HEAD(&n->ikes[ike_bucket(is)], flow, of_ike);
	}
}

void transport_forget(struct ipsec *t, uint64_t ike)
{
	struct transport *n = t->transport;
	struct flow *flow, *next;

	for (flow = LIST_FIRST(&n->ikes[ike_bucket(ike)]); flow; flow = next) {
		next = LIST_NEXT(flow, of_ike);
		if (flow->ike == ike)
			flow_free(n, flow);
	}
}
