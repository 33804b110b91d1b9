/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>

#include <daemon.h>
#include <processing/jobs/callback_job.h>
#include <threading/mutex.h>

#include "tunnels/ipsec/charon/phalanx_configs.h"
#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_ignored.h"

#define CHECK_INTERVAL_S 1
#define WORDS_MAX 1024
#define OPTIONS_BITS 16

typedef struct private_phalanx_configs_t private_phalanx_configs_t;

struct private_phalanx_configs_t {
	phalanx_configs_t public;
	phalanx_link_t *link;
	phalanx_pools_t *pools;
	phalanx_ignored_t *ignored;
	mutex_t *mutex; /* one list at a time */
	uint64_t told;	/* digest of what was told last */
};

/* The printer of one configuration, of which the digest is made. */
typedef struct words_t {
	char text[WORDS_MAX];
	uint64_t digest;
} words_t;

static uint64_t digest_of(chunk_t bytes, uint64_t before)
{
	u_char key[16] = "phalanx config";

	memcpy(key + 8, &before, sizeof(before));
	return chunk_mac(bytes, key);
}

/* What is longer counts by its beginning. */
static void say(words_t *w, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(w->text, sizeof(w->text), format, args);
	va_end(args);
	len = max(0, min(len, (int)sizeof(w->text) - 1));
	w->digest = digest_of(chunk_create((u_char *)w->text, len), w->digest);
}

static void say_proposals(words_t *w, linked_list_t *proposals)
{
	enumerator_t *enumerator = proposals->create_enumerator(proposals);
	proposal_t *proposal;

	while (enumerator->enumerate(enumerator, &proposal))
		say(w, "proposal %P", proposal);
	enumerator->destroy(enumerator);
	proposals->destroy_offset(proposals, offsetof(proposal_t, destroy));
}

/* A public key on its own has no encoding as a certificate. */
static void say_certificate(words_t *w, certificate_t *cert)
{
	cred_encoding_type_t type = cert->get_type(cert) == CERT_TRUSTED_PUBKEY
					? PUBKEY_SPKI_ASN1_DER
					: CERT_ASN1_DER;
	chunk_t encoding;

	if (!cert->get_encoding(cert, type, &encoding))
		return;
	w->digest = digest_of(encoding, w->digest);
	free(encoding.ptr);
}

static void say_scheme(words_t *w, signature_params_t *params)
{
	chunk_t encoding;

	if (!signature_params_build(params, &encoding))
		return;
	w->digest = digest_of(encoding, w->digest);
	free(encoding.ptr);
}

static void say_rule(words_t *w, auth_rule_t rule, void *value)
{
	certificate_t *cert = value;

	switch (rule) {
	case AUTH_RULE_IDENTITY:
	case AUTH_RULE_AAA_IDENTITY:
	case AUTH_RULE_EAP_IDENTITY:
	case AUTH_RULE_XAUTH_IDENTITY:
	case AUTH_RULE_CA_IDENTITY:
	case AUTH_RULE_GROUP:
		say(w, "rule %d %Y", rule, (identification_t *)value);
		break;
	case AUTH_RULE_CA_CERT:
	case AUTH_RULE_IM_CERT:
	case AUTH_RULE_SUBJECT_CERT:
		say(w, "rule %d %Y", rule, cert->get_subject(cert));
		say_certificate(w, cert);
		break;
	case AUTH_RULE_SIGNATURE_SCHEME:
	case AUTH_RULE_IKE_SIGNATURE_SCHEME:
		say(w, "rule %d", rule);
		say_scheme(w, value);
		break;
	case AUTH_RULE_XAUTH_BACKEND:
	case AUTH_RULE_CERT_POLICY:
		say(w, "rule %d %s", rule, (char *)value);
		break;
	case AUTH_RULE_AUTH_CLASS:
	case AUTH_RULE_EAP_TYPE:
	case AUTH_RULE_EAP_VENDOR:
	case AUTH_RULE_IDENTITY_LOOSE:
	case AUTH_RULE_CRL_VALIDATION:
	case AUTH_RULE_OCSP_VALIDATION:
	case AUTH_RULE_CERT_VALIDATION_SUSPENDED:
	case AUTH_RULE_RSA_STRENGTH:
	case AUTH_RULE_ECDSA_STRENGTH:
	case AUTH_RULE_BLISS_STRENGTH:
		say(w, "rule %d %lu", rule, (unsigned long)(uintptr_t)value);
		break;
	default:
		say(w, "rule %d", rule);
		break;
	}
}

static void say_auth(words_t *w, peer_cfg_t *peer, bool local)
{
	enumerator_t *configs = peer->create_auth_cfg_enumerator(peer, local), *rules;
	auth_rule_t rule;
	auth_cfg_t *auth;
	void *value;

	while (configs->enumerate(configs, &auth)) {
		say(w, "auth %d", local);
		rules = auth->create_enumerator(auth);
		while (rules->enumerate(rules, &rule, &value))
			say_rule(w, rule, value);
		rules->destroy(rules);
	}
	configs->destroy(configs);
}

static void say_peer(words_t *w, peer_cfg_t *peer, phalanx_pools_t *pools)
{
	ike_cfg_t *ike = peer->get_ike_cfg(peer);
	enumerator_t *enumerator;
	host_t *vip;
	char *pool;

	say(w, "%s %d %s:%d %s:%d", peer->get_name(peer), peer->get_ike_version(peer),
	    ike->get_my_addr(ike), ike->get_my_port(ike), ike->get_other_addr(ike),
	    ike->get_other_port(ike));
	say(w, "%d %d %d %d %d %d", ike->send_certreq(ike), ike->force_encap(ike),
	    ike->fragmentation(ike), ike->childless(ike), ike->get_dscp(ike),
	    peer->get_cert_policy(peer));
	say(w, "%d %u %u %u %u", peer->get_unique_policy(peer),
	    peer->get_keyingtries(peer), peer->get_rekey_time(peer, FALSE),
	    peer->get_reauth_time(peer, FALSE), peer->get_over_time(peer));
	say(w, "%d %d %d %u %u", peer->use_mobike(peer), peer->use_aggressive(peer),
	    peer->use_pull_mode(peer), peer->get_dpd(peer), peer->get_dpd_timeout(peer));
	say_proposals(w, ike->get_proposals(ike));
	say_auth(w, peer, TRUE);
	say_auth(w, peer, FALSE);
	enumerator = peer->create_virtual_ip_enumerator(peer);
	while (enumerator->enumerate(enumerator, &vip))
		say(w, "vip %H", vip);
	enumerator->destroy(enumerator);
	enumerator = peer->create_pool_enumerator(peer);
	while (enumerator->enumerate(enumerator, &pool))
		say(w, "pool %s %016" PRIx64, pool, pools->digest(pools, pool));
	enumerator->destroy(enumerator);
}

static void say_selectors(words_t *w, child_cfg_t *child, bool local)
{
	linked_list_t *list =
	    child->get_traffic_selectors(child, local, NULL, NULL, FALSE);
	enumerator_t *enumerator = list->create_enumerator(list);
	traffic_selector_t *ts;

	while (enumerator->enumerate(enumerator, &ts))
		say(w, "ts %d %d %R", local, ts->is_dynamic(ts), ts);
	enumerator->destroy(enumerator);
	list->destroy_offset(list, offsetof(traffic_selector_t, destroy));
}

/* What of the inner header is copied to the outer one, and so on. */
static u_int options_of(child_cfg_t *child)
{
	u_int i, set = 0;

	for (i = 0; i < OPTIONS_BITS; i++)
		if (child->has_option(child, 1U << i))
			set |= 1U << i;
	return set;
}

static void say_child(words_t *w, peer_cfg_t *peer, child_cfg_t *child)
{
	lifetime_cfg_t *life = child->get_lifetime(child, FALSE);

	say(w, "child %s %d %d %d %d", child->get_name(child), child->get_mode(child),
	    child->get_start_action(child), child->get_dpd_action(child),
	    child->get_close_action(child));
	say(w, "%lu %lu %lu %lu %lu %lu", (u_long)life->time.life,
	    (u_long)life->time.rekey, (u_long)life->bytes.life, (u_long)life->bytes.rekey,
	    (u_long)life->packets.life, (u_long)life->packets.rekey);
	free(life);
	say(w, "%u %u %d %x %x %s", child->get_inactivity(child),
	    child->get_replay_window(child), child->get_copy_dscp(child),
	    options_of(child), phalanx_ignored(peer, child),
	    child->get_updown(child) ?: "");
	say_proposals(w, child->get_proposals(child, FALSE));
	say_selectors(w, child, TRUE);
	say_selectors(w, child, FALSE);
}

/* The peer's only address, without asking the name service. */
static host_t *one_address(char *configured)
{
	host_t *host = host_create_from_string(configured, 0);

	if (host && host->is_anyaddr(host)) {
		host->destroy(host);
		return NULL;
	}
	return host;
}

static bool has_pools(peer_cfg_t *peer)
{
	enumerator_t *enumerator = peer->create_pool_enumerator(peer);
	char *name;
	bool found = enumerator->enumerate(enumerator, &name);

	enumerator->destroy(enumerator);
	return found;
}

/* What the configuration says of one side; what a peer's virtual address will be, it does
 * not say. */
static chunk_t selectors(peer_cfg_t *peer, child_cfg_t *child, bool local)
{
	ike_cfg_t *ike = peer->get_ike_cfg(peer);
	linked_list_t *hosts = linked_list_create(), *list;
	enumerator_t *enumerator;
	traffic_selector_t *ts;
	host_t *host;
	chunk_t out;

	host = one_address(local ? ike->get_my_addr(ike) : ike->get_other_addr(ike));
	if (host && (local || !has_pools(peer)))
		hosts->insert_last(hosts, host);
	list = child->get_traffic_selectors(child, local, NULL, hosts, FALSE);
	enumerator = list->create_enumerator(list);
	while (enumerator->enumerate(enumerator, &ts))
		if (ts->is_dynamic(ts)) {
			list->remove_at(list, enumerator);
			ts->destroy(ts);
		}
	enumerator->destroy(enumerator);
	enumerator = list->create_enumerator(list);
	out = phalanx_selectors(enumerator);
	enumerator->destroy(enumerator);
	list->destroy_offset(list, offsetof(traffic_selector_t, destroy));
	hosts->destroy(hosts);
	DESTROY_IF(host);
	return out;
}

/* IKEv1 SAs are begun by peers only. */
static uint8_t actions_of(peer_cfg_t *peer, child_cfg_t *child)
{
	const struct {
		action_t action;
		uint8_t trap, start;
	} all[] = {
		{ child->get_start_action(child), LOCAL_START_TRAP, LOCAL_START_START },
		{ child->get_close_action(child), LOCAL_CLOSE_TRAP, LOCAL_CLOSE_START },
		{ child->get_dpd_action(child), LOCAL_DEAD_TRAP, LOCAL_DEAD_START },
	};
	uint8_t out = 0;
	u_int i;

	if (peer->get_ike_version(peer) == IKEV1)
		return 0;
	for (i = 0; i < countof(all); i++) {
		out |= all[i].action & ACTION_TRAP ? all[i].trap : 0;
		out |= all[i].action & ACTION_START ? all[i].start : 0;
	}
	return out;
}

static uint8_t mode_of(child_cfg_t *child)
{
	switch (child->get_mode(child)) {
	case MODE_PASS:
		return LOCAL_MODE_PASS;
	case MODE_DROP:
		return LOCAL_MODE_DROP;
	case MODE_TRANSPORT:
		return LOCAL_MODE_TRANSPORT;
	default:
		return LOCAL_MODE_TUNNEL;
	}
}

static void tell_child(private_phalanx_configs_t *this, peer_cfg_t *peer,
		       child_cfg_t *child, uint64_t digest)
{
	struct local_message m = { .type = LOCAL_CONFIG };
	ike_cfg_t *ike = peer->get_ike_cfg(peer);
	chunk_t local = chunk_empty, remote = chunk_empty;

	m.config.name = phalanx_blob(chunk_from_str(peer->get_name(peer)));
	m.config.remote = phalanx_blob(chunk_from_str(ike->get_other_addr(ike)));
	m.config.digest = digest;
	if (child) {
		local = selectors(peer, child, TRUE);
		remote = selectors(peer, child, FALSE);
		m.config.child = phalanx_blob(chunk_from_str(child->get_name(child)));
		m.config.actions = actions_of(peer, child);
		m.config.mode = mode_of(child);
		m.config.local_ts = phalanx_blob(local);
		m.config.remote_ts = phalanx_blob(remote);
	}
	this->link->send(this->link, &m);
	free(local.ptr);
	free(remote.ptr);
}

/* Returns how many there are; `digest` becomes that of all. */
static uint32_t each_child(private_phalanx_configs_t *this, peer_cfg_t *peer, bool tell,
			   uint64_t *digest)
{
	enumerator_t *enumerator = peer->create_child_cfg_enumerator(peer);
	words_t of_peer = { .digest = 0 }, w;
	child_cfg_t *child;
	uint32_t count = 0;

	say_peer(&of_peer, peer, this->pools);
	while (enumerator->enumerate(enumerator, &child)) {
		w.digest = of_peer.digest;
		say_child(&w, peer, child);
		if (tell) {
			tell_child(this, peer, child, w.digest);
			this->ignored->look(this->ignored, peer, child);
		}
		*digest = digest_of(chunk_from_thing(w.digest), *digest);
		count++;
	}
	enumerator->destroy(enumerator);
	if (count)
		return count;
	if (tell)
		tell_child(this, peer, NULL, of_peer.digest);
	*digest = digest_of(chunk_from_thing(of_peer.digest), *digest);
	return 1;
}

static uint32_t each(private_phalanx_configs_t *this, bool tell, uint64_t *digest)
{
	enumerator_t *enumerator = charon->backends->create_peer_cfg_enumerator(
	    charon->backends, NULL, NULL, NULL, NULL, IKE_ANY);
	peer_cfg_t *peer;
	uint32_t count = 0;

	*digest = 0;
	while (enumerator->enumerate(enumerator, &peer))
		count += each_child(this, peer, tell, digest);
	enumerator->destroy(enumerator);
	return count;
}

METHOD(phalanx_configs_t, announce, void, private_phalanx_configs_t *this)
{
	struct local_message m = { .type = LOCAL_CONFIGS };

	this->mutex->lock(this->mutex);
	m.configs.count = each(this, TRUE, &this->told);
	this->ignored->end_round(this->ignored);
	this->link->send(this->link, &m);
	this->mutex->unlock(this->mutex);
}

static job_requeue_t look(private_phalanx_configs_t *this)
{
	uint64_t digest;

	each(this, FALSE, &digest);
	if (digest != this->told)
		announce(this);
	return JOB_REQUEUE_NONE;
}

static job_requeue_t look_again(private_phalanx_configs_t *this)
{
	look(this);
	return JOB_RESCHEDULE(CHECK_INTERVAL_S);
}

METHOD(phalanx_configs_t, check, void, private_phalanx_configs_t *this)
{
	lib->processor->queue_job(
	    lib->processor,
	    (job_t *)callback_job_create((callback_job_cb_t)look, this, NULL, NULL));
}

METHOD(phalanx_configs_t, attach, void, private_phalanx_configs_t *this)
{
	lib->scheduler->schedule_job(
	    lib->scheduler,
	    (job_t *)callback_job_create((callback_job_cb_t)look_again, this, NULL, NULL),
	    CHECK_INTERVAL_S);
}

METHOD(phalanx_configs_t, destroy, void, private_phalanx_configs_t *this)
{
	this->ignored->destroy(this->ignored);
	this->mutex->destroy(this->mutex);
	free(this);
}

phalanx_configs_t *phalanx_configs_create(phalanx_link_t *link, phalanx_pools_t *pools)
{
	private_phalanx_configs_t *this;

	INIT(this,
		.public = {
			.announce = _announce,
			.check = _check,
			.attach = _attach,
			.destroy = _destroy,
		},
		.link = link,
		.pools = pools,
		.ignored = phalanx_ignored_create(),
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
	);
	return &this->public;
}
