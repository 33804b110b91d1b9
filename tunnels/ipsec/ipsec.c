/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ip.h"
#include "tunnels/ipsec/engine.h"

#define SWEEP_INTERVAL (5 * MONO_SEC)

static void tell_units(struct ipsec *t)
{
	struct local_message m = { .type = LOCAL_UNITS };
	uint8_t bits[CLUSTER_UNITS / 8] = { 0 };

	if (!t->welcomed)
		return;
	for (unsigned u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(&t->units, (unit_id)u))
			bits[u / 8] |= (uint8_t)(1 << u % 8);
	m.units.fold_key = (struct local_blob){ cluster_fold_key(t->host.cluster), 16 };
	m.units.units = (struct local_blob){ bits, sizeof(bits) };
	plugin_send(t->plugin, &m);
}

static void welcome(struct ipsec *t, const struct local_hello *hello, struct mono now)
{
	struct local_message m = { .type = LOCAL_WELCOME };
	static const uint8_t none[CLUSTER_UNITS / 8];

	if (hello->version != LOCAL_VERSION) {
		log_warnx(
		    "ipsec: charon's plugin speaks version %u of the local protocol, "
		    "this phalanxd version %u",
		    hello->version, LOCAL_VERSION);
		plugin_disconnect(t->plugin);
		return;
	}
	log_info("ipsec: charon %.*s is connected", (int)hello->charon.len,
		 (const char *)hello->charon.bytes);
	m.welcome.version = LOCAL_VERSION;
	m.welcome.self = t->host.self;
	m.welcome.fold_key = (struct local_blob){ cluster_fold_key(t->host.cluster), 16 };
	m.welcome.units = (struct local_blob){ none, sizeof(none) };
	plugin_send(t->plugin, &m);
	t->welcomed = true;
	tell_units(t);
	half_import(t, &t->units, now);
	imports_add(t, &t->units, now);
	pulse_begin(t, now);
}

static void without_charon(struct ipsec *t, const char *why)
{
	struct ike_sa *sa;

	if (t->welcomed)
		log_warnx("ipsec: %s; its sessions go to other members", why);
	t->welcomed = false;
	imports_forget_all(t);
	half_drop_all(t);
	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			sa->live = false;
	children_unstage_all(t);
	unique_forget(t);
	connections_doubt(t);
	requests_forget(t);
	policy_forget(t);
	address_forget(t, true);
	t->host.able(t->host.ctx, false, why);
}

static void plugin_gone(void *ctx)
{
	without_charon(ctx, "charon is not connected");
}

/* The next five: false if the message is none of these. */

/* Of IKE SAs that there are, and are to be. */
static bool ike_message(struct ipsec *t, const struct local_message *m, struct mono now)
{
	switch (m->type) {
	case LOCAL_IKE_TX:
		login_transmit(t, &m->ike_tx, now);
		return true;
	case LOCAL_IKE_PUT:
		login_put(t, m, now);
		return true;
	case LOCAL_IKE_DEL:
		login_delete(t, m->ike_del.spi, now);
		return true;
	case LOCAL_IKE_ENDING:
		login_deleting(t, m->ike_ending.spi);
		return true;
	case LOCAL_IKE_HEARD:
		isakmp_heard(t, &m->ike_heard, now);
		return true;
	case LOCAL_HALF_OPEN:
		half_put(t, m, now);
		return true;
	case LOCAL_HALF_DONE:
		half_end(t, m->half_done.spi, now);
		return true;
	case LOCAL_QUICK_OPEN:
		quick_put(t, m, now);
		return true;
	default:
		return false;
	}
}

/* Of CHILD SAs. */
static bool child_message(struct ipsec *t, const struct local_message *m, struct mono now)
{
	switch (m->type) {
	case LOCAL_SA_ADD:
		children_stage(t, m);
		return true;
	case LOCAL_SA_UPDATE:
		children_update(t, &m->sa_update, now);
		return true;
	case LOCAL_SA_DEL:
		children_unstage(t, m->sa_del.spi, m->sa_del.inbound);
		if (m->sa_del.inbound)
			children_delete(t, m->sa_del.spi, now);
		else
			children_retire(t, m->sa_del.spi, &m->sa_del.dst);
		return true;
	case LOCAL_SA_QUERY:
		children_query(t, &m->sa_query, now);
		return true;
	case LOCAL_CHILD_PUT:
		children_put(t, &m->child_put, now);
		quick_end(t, m->child_put.spi_in, now);
		return true;
	case LOCAL_CHILD_DEL:
		children_delete(t, m->child_del.spi_in, now);
		return true;
	default:
		return false;
	}
}

/* Of what this member has taken over. */
static bool takeover_message(struct ipsec *t, const struct local_message *m,
			     struct mono now)
{
	switch (m->type) {
	case LOCAL_IMPORT_FAILED:
		imports_failed(t, &m->import_failed, now);
		return true;
	case LOCAL_IMPORTED:
		imports_done(t, m->imported.spi, now);
		return true;
	case LOCAL_IKE_VERIFIED:
		login_verified(t, &m->ike_verified, now);
		return true;
	case LOCAL_IKE_BEGUN:
		begun_note(t, &m->ike_begun);
		return true;
	case LOCAL_IKE_SYNCING:
		begun_syncing(t, &m->ike_syncing, now);
		return true;
	case LOCAL_IKE_SYNCED:
		begun_synced(t, &m->ike_synced, now);
		return true;
	case LOCAL_IKE_RESUMED:
		begun_resumed(t, &m->ike_resumed);
		return true;
	default:
		return false;
	}
}

/* Of what only the whole cluster knows, or has. */
static bool cluster_message(struct ipsec *t, const struct local_message *m,
			    struct mono now)
{
	switch (m->type) {
	case LOCAL_CONTACT_ASK:
		unique_contact(t, &m->contact_ask);
		return true;
	case LOCAL_UNIQUE_ASK:
		unique_ask(t, &m->unique_ask);
		return true;
	case LOCAL_ADDRESS_WANT:
		address_want(t, &m->address_want, now);
		return true;
	case LOCAL_ADDRESS_RELEASE:
		address_release(t, &m->address_release, now);
		return true;
	case LOCAL_START_NOTE:
		starts_note(t, &m->start_note, now);
		return true;
	case LOCAL_INITIATE:
		request_initiate(t, &m->initiate, now);
		return true;
	case LOCAL_TERMINATE:
		request_terminate(t, &m->terminate, now);
		return true;
	default:
		return false;
	}
}

/* Of charon itself. */
static bool charon_message(struct ipsec *t, const struct local_message *m,
			   struct mono now)
{
	switch (m->type) {
	case LOCAL_HELLO:
		welcome(t, &m->hello, now);
		return true;
	case LOCAL_PONG:
		pulse_answer(t, m->pong.id);
		return true;
	case LOCAL_POOL:
		address_pool(t, &m->pool);
		policy_pool(t, &m->pool);
		return true;
	case LOCAL_CONFIG:
		connections_config(t, &m->config);
		return true;
	case LOCAL_CONFIGS:
		connections_configs(t, now);
		compare_tell(t, now);
		policy_report(t);
		return true;
	default:
		return false;
	}
}

static void plugin_message(void *ctx, const struct local_message *m)
{
	struct ipsec *t = ctx;
	struct mono now = t->host.now(t->host.ctx);

	if (!t->welcomed && m->type != LOCAL_HELLO)
		return;
	if (!ike_message(t, m, now) && !child_message(t, m, now) &&
	    !takeover_message(t, m, now) && !cluster_message(t, m, now) &&
	    !charon_message(t, m, now))
		log_warnx("ipsec: charon's plugin sent %s, which it may not",
			  local_type_name(m->type));
	t->host.settle(t->host.ctx);
}

struct ipsec *ipsec_new(const struct tunnel_host *host, const struct ipsec_config *config,
			char err[IPSEC_ERROR_SIZE])
{
	struct ipsec *t = calloc(1, sizeof(*t));
	const struct plugin_handler handler = { t, plugin_message, plugin_gone };
	char why[PLUGIN_ERROR_SIZE];

	if (!t) {
		snprintf(err, IPSEC_ERROR_SIZE, "out of memory");
		return NULL;
	}
	t->host = *host;
	t->config = *config;
	t->config.socket = NULL;
	TAILQ_INIT(&t->waiting);
	TAILQ_INIT(&t->packets);
	TAILQ_INIT(&t->addresses);
	TAILQ_INIT(&t->errands);
	TAILQ_INIT(&t->imports);
	TAILQ_INIT(&t->replaces);
	TAILQ_INIT(&t->requests);
	if (transport_new(&t->transport)) {
		snprintf(err, IPSEC_ERROR_SIZE, "out of memory");
		free(t);
		return NULL;
	}
	t->plugin = plugin_listen(host->base, config->socket, &handler, why);
	if (!t->plugin) {
		snprintf(err, IPSEC_ERROR_SIZE, "%s", why);
		transport_free(t->transport);
		free(t);
		return NULL;
	}
	t->sweep = mono_add(host->now(host->ctx), SWEEP_INTERVAL);
	share_begin(t, host->now(host->ctx));
	address_tick(t, host->now(host->ctx));
	host->able(host->ctx, false, "charon is not connected");
	return t;
}

static int forget(void *ctx, struct session *s)
{
	ipsec_ops.removed(ctx, s);
	session_set_user(s, NULL);
	return 0;
}

static void ipsec_close(void *tunnel)
{
	struct ipsec *t = tunnel;
	struct waiting_packet *w;

	if (!t)
		return;
	cluster_each(t->host.cluster, CLUSTER_UNITS, forget, t);
	children_unstage_all(t);
	unique_forget(t);
	while ((w = TAILQ_FIRST(&t->packets))) {
		TAILQ_REMOVE(&t->packets, w, next);
		free(w);
	}
	requests_forget(t);
	compare_forget(t);
	connections_forget(t);
	address_forget(t, false);
	plugin_close(t->plugin);
	OPENSSL_cleanse(t->scratch, sizeof(t->scratch));
	transport_free(t->transport);
	free(t);
}

static struct local_addr addr_of(const struct ip_packet *ip, const uint8_t *address,
				 uint16_t port)
{
	struct local_addr addr = { .family = ip->family, .port = port };

	memcpy(addr.bytes, address, ip->family == 6 ? 16 : 4);
	return addr;
}

static void receive_udp(struct ipsec *t, const struct ip_packet *ip, bool ready,
			struct mono now)
{
	const uint8_t *udp = ip->body, *body = udp + IP_UDP_HEADER;
	struct local_addr src, dst;
	size_t len;

	if (ip->len < IP_UDP_HEADER)
		goto malformed;
	len = (size_t)udp[4] << 8 | udp[5];
	if (len < IP_UDP_HEADER || len > ip->len)
		goto malformed;
	src = addr_of(ip, ip->source, (uint16_t)(udp[0] << 8 | udp[1]));
	dst = addr_of(ip, ip->destination, (uint16_t)(udp[2] << 8 | udp[3]));
	if (dst.port == IKE_NAT_PORT && len >= IP_UDP_HEADER + 4) {
		if (body[0] | body[1] | body[2] | body[3]) {
			traffic_receive(t, ip, body, len - IP_UDP_HEADER, now);
			return;
		}
		body += 4;
	} else if (dst.port != IKE_PORT) {
		goto malformed;
	}
	if (!ready || ip_udp_intact(ip, len))
		login_receive(t, &src, &dst, body, (size_t)(udp + len - body), now);
	else
		t->statistics.ike_checksum++;
	return;
malformed:
	t->statistics.ike_malformed++;
}

static void ipsec_receive(void *tunnel, const struct packet *p, struct mono now)
{
	struct ipsec *t = tunnel;
	struct ip_packet ip;

	if (ip_read(p->bytes, p->len, &ip))
		return;
	if (ip.protocol == IP_PROTOCOL_ESP)
		traffic_receive(t, &ip, ip.body, ip.len, now);
	else if (ip.protocol == IP_PROTOCOL_UDP)
		receive_udp(t, &ip, p->checksum_ready, now);
}

static void ipsec_forward(void *tunnel, const struct packet *p, struct mono now)
{
	traffic_forward(tunnel, p->bytes, p->len, p->hops, now);
}

static void ipsec_too_long(void *tunnel, const uint8_t *quoted, size_t len, unsigned mtu,
			   struct mono now)
{
	traffic_too_long(tunnel, quoted, len, mtu, now);
}

static void ipsec_mtu(void *tunnel, unsigned mtu)
{
	struct ipsec *t = tunnel;

	if (t->config.mtu == mtu)
		return;
	log_info("ipsec: the outside network's MTU is %u", mtu);
	t->config.mtu = mtu;
}

static void ipsec_flush(void *tunnel, struct mono now)
{
	struct ipsec *t = tunnel;

	cluster_flush(t->host.cluster, now);
}

static void ipsec_tick(void *tunnel, struct mono now)
{
	struct ipsec *t = tunnel;

	if (pulse_missed(t, now)) {
		plugin_disconnect(t->plugin);
		without_charon(t, "charon does not answer");
	}
	login_tick(t, now);
	farewell_tick(t, now);
	imports_tick(t, now);
	address_tick(t, now);
	starts_tick(t, now);
	requests_tick(t, now);
	if (t->enforce)
		unique_enforce(t, now);
	if (mono_before(now, t->sweep))
		return;
	t->sweep = mono_add(now, SWEEP_INTERVAL);
	children_age(t, now);
	address_sweep(t, now);
	half_sweep(t, now);
	quick_sweep(t, now);
	farewell_sweep(t, now);
	compare_sweep(t, now);
	unique_enforce(t, now);
}

static struct mono ipsec_timeout(const void *tunnel)
{
	const struct ipsec *t = tunnel;

	struct mono at =
	    mono_min(t->sweep, mono_min(login_timeout(t), farewell_timeout(t)));

	at = mono_min(at, address_timeout(t));
	if (t->nconnections)
		at = mono_min(at, t->starts_at);
	if (t->enforce)
		return t->host.now(t->host.ctx);
	return t->welcomed ? mono_min(at, t->pulse.at) : at;
}

static bool ipsec_owns(uint8_t key_type)
{
	return key_type >= RECORD_IKE && key_type <= RECORD_FAREWELL;
}

static void ipsec_changed(void *tunnel, struct session *s, struct mono now)
{
	if (session_key(s)->type == RECORD_IKE)
		login_shadow(tunnel, s);
	else if (session_key(s)->type == RECORD_CHILD)
		children_shadow(tunnel, s, now);
	else if (session_key(s)->type == RECORD_HALF)
		half_shadow(tunnel, s);
	else if (session_key(s)->type == RECORD_QUICK)
		quick_shadow(tunnel, s);
	else if (session_key(s)->type == RECORD_ADDRESS)
		address_shadow(tunnel, s);
	else if (session_key(s)->type == RECORD_FAREWELL)
		farewell_shadow(tunnel, s);
}

static void ipsec_removed(void *tunnel, struct session *s)
{
	void *user = session_user(s);

	if (!user)
		return;
	if (session_key(s)->type == RECORD_IKE) {
		login_drop(tunnel, user);
		login_free(tunnel, user);
	} else if (session_key(s)->type == RECORD_CHILD) {
		children_free(tunnel, user);
	} else if (session_key(s)->type == RECORD_HALF) {
		half_free(tunnel, user);
	} else if (session_key(s)->type == RECORD_QUICK) {
		quick_free(tunnel, user);
	} else if (session_key(s)->type == RECORD_ADDRESS) {
		lease_free(user);
	} else if (session_key(s)->type == RECORD_FAREWELL) {
		farewell_free(tunnel, user);
	}
}

static enum cluster_merge ipsec_merge(void *tunnel, const struct session *ours,
				      const struct session *theirs,
				      uint64_t counters[CLUSTER_COUNTERS])
{
	return merging_judge(tunnel, ours, theirs, counters);
}

static void ipsec_counted(void *tunnel, struct session *s)
{
	if (session_key(s)->type == RECORD_CHILD && session_user(s))
		traffic_committed(tunnel, session_user(s));
}

/*
 * If the counters may be behind, numbers that were used are skipped, and nothing is accepted
 * from the peer until it has new keys: which of its packets were delivered is not known.
 */
static void activate_child(struct ipsec *t, struct child *c, uint32_t activation,
			   struct mono now)
{
	uint64_t lease = session_counter(c->session, CHILD_LEASE);
	uint64_t edge = session_counter(c->session, CHILD_EDGE);

	if (cluster_unproven(t->host.cluster, c->unit)) {
		uint64_t last = child_last_number(c);

		lease = lease < last - CHILD_SKIP ? lease + CHILD_SKIP : last;
		edge = CHILD_REFUSED;
		cluster_count(t->host.cluster, c->session, CHILD_LEASE, lease, now);
		cluster_count(t->host.cluster, c->session, CHILD_EDGE, edge, now);
	}
	child_assume(c);
	child_activate(c, lease, edge, activation);
	traffic_lease(t, c, now);
}

static void ipsec_activate(void *tunnel, const struct unit_set *units,
			   uint32_t activation, struct mono now)
{
	struct ipsec *t = tunnel;
	struct child *c;

	for (unsigned u = 0; u < CLUSTER_UNITS; u++) {
		if (!unit_set_has(units, (unit_id)u))
			continue;
		unit_set_add(&t->units, (unit_id)u);
		t->activation[u] = activation;
	}
	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		LIST_FOREACH(c, &t->children[i], by_spi) {
			if (!unit_set_has(units, c->unit))
				continue;
			activate_child(t, c, activation, now);
		}
	}
	tell_units(t);
	starts_begin(t, units);
	t->enforce = true;
	if (t->welcomed) {
		half_import(t, units, now);
		imports_add(t, units, now);
	}
	/* What nobody can vouch for is rekeyed at once. */
	if (t->welcomed)
		children_age(t, now);
}

static void ipsec_deactivate(void *tunnel, const struct unit_set *units, struct mono now)
{
	struct ipsec *t = tunnel;
	struct ike_sa *sa;
	struct child *c;

	for (unsigned u = 0; u < CLUSTER_UNITS; u++)
		if (unit_set_has(units, (unit_id)u))
			unit_set_remove(&t->units, (unit_id)u);
	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		LIST_FOREACH(c, &t->children[i], by_spi)
			if (unit_set_has(units, c->unit)) {
				traffic_stop(t, c, now);
				child_deactivate(c);
			}
		LIST_FOREACH(sa, &t->ikes[i], by_spi)
			if (unit_set_has(units, sa->unit))
				login_drop(t, sa);
	}
	half_drop(t, units);
	/* What waits for a commit of these units never leaves. */
	login_release(t);
	tell_units(t);
}

static void ipsec_committed(void *tunnel, struct mono now)
{
	struct ipsec *t = tunnel;

	login_release(t);
	ipsec_end_unknown(t, now);
	address_answer(t, now);
	traffic_release(t, now);
}

static int ipsec_asked(void *tunnel, const struct cluster_asker *asker, unit_id unit,
		       const struct session_key *key, const uint8_t *what, size_t len)
{
	if (key->type != RECORD_ADDRESS)
		return request_asked(tunnel, key, what, len);
	return address_asked(tunnel, asker, key, what, len);
}

/* A charon that is gone goes on with nothing. */
static bool ipsec_engaged(const void *tunnel, unit_id unit, struct mono now)
{
	const struct ipsec *t = tunnel;

	return t->welcomed && mono_before(now, t->engaged[unit]);
}

static void ipsec_noticed(void *tunnel, member_id from, const uint8_t *what, size_t len)
{
	compare_noticed(tunnel, from, what, len);
}

static void ipsec_departed(void *tunnel, member_id id, const char *why)
{
	compare_departed(tunnel, id);
}

static const char *ipsec_remark(void *tunnel, member_id id)
{
	return compare_remark(tunnel, id);
}

static size_t ipsec_statistics(const void *tunnel, struct statistic *out, size_t max)
{
	const struct ipsec *t = tunnel;
	const struct statistic all[] = {
#define X(name, text) { text, t->statistics.name },
		IPSEC_STATISTICS(X)
#undef X
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	if (n > max)
		n = max;
	memcpy(out, all, n * sizeof(all[0]));
	return n;
}

static void ipsec_traffic(const void *tunnel, struct unit_traffic *units)
{
	const struct ipsec *t = tunnel;

	for (unsigned u = 0; u < CLUSTER_UNITS; u++) {
		units[u].packets += t->traffic[u].packets;
		units[u].bytes += t->traffic[u].bytes;
	}
}

const struct tunnel_ops ipsec_ops = {
	.name = "ipsec",
	.receive = ipsec_receive,
	.forward = ipsec_forward,
	.too_long = ipsec_too_long,
	.mtu = ipsec_mtu,
	.flush = ipsec_flush,
	.tick = ipsec_tick,
	.timeout = ipsec_timeout,
	.owns = ipsec_owns,
	.changed = ipsec_changed,
	.removed = ipsec_removed,
	.counted = ipsec_counted,
	.merge = ipsec_merge,
	.activate = ipsec_activate,
	.deactivate = ipsec_deactivate,
	.committed = ipsec_committed,
	.view = ipsec_view,
	.end = ipsec_end,
	.asked = ipsec_asked,
	.noticed = ipsec_noticed,
	.engaged = ipsec_engaged,
	.departed = ipsec_departed,
	.remark = ipsec_remark,
	.statistics = ipsec_statistics,
	.traffic = ipsec_traffic,
	.close = ipsec_close,
};
