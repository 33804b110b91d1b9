/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include <daemon.h>
#include <collections/hashtable.h>
#include <collections/linked_list.h>
#include <processing/jobs/delete_child_sa_job.h>
#include <processing/jobs/delete_ike_sa_job.h>
#include <processing/jobs/inactivity_job.h>
#include <processing/jobs/rekey_ike_sa_job.h>
#include <sa/ikev2/keymat_v2.h>
#include <threading/mutex.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_import.h"
#include "tunnels/ipsec/charon/phalanx_isakmp.h"

/* Connections are loaded into charon one after the other, a moment after its start. */
#define CONFIG_GRACE_S 2
#define CONFIG_POLL_US 50000
/* A time that passed while nobody owned the SA is due soon, but not for all at once. */
#define OVERDUE_S 5
#define OVERDUE_SPREAD_S 20
/* As charon gives a peer to delete an SA that it has rekeyed. */
#define REKEYED_DELETE_S 90
/* What this gateway itself has rekeyed it deletes at once. */
#define REPLACED_DELETE_S 1
#define CHILD_DELETE_S 5

#define CONDITIONS                                                                       \
	(COND_NAT_HERE | COND_NAT_THERE | COND_NAT_FAKE | COND_EAP_AUTHENTICATED |       \
	 COND_CERTREQ_SEEN | COND_ORIGINAL_INITIATOR | COND_XAUTH_AUTHENTICATED |        \
	 COND_AUTHENTICATED)

typedef struct private_phalanx_import_t private_phalanx_import_t;
typedef struct parked_t parked_t;
typedef struct known_dh_t known_dh_t;

/* The parts of an SA that wait for IKE_ACTIVATE. One thread at a time works on an SA. */
struct parked_t {
	phalanx_event_t *ike;
	linked_list_t *children; /* phalanx_event_t */
};

struct private_phalanx_import_t {
	phalanx_import_t public;
	phalanx_link_t *link;
	phalanx_sessions_t *sessions;
	phalanx_half_t *half;
	phalanx_begun_t *begun;
	phalanx_sync_t *sync;
	phalanx_radius_t *radius;
	mutex_t *mutex;	     /* for the table */
	hashtable_t *parked; /* parked_t by our SPI */
	time_t first;	     /* when the first SA came */
};

/* A key exchange whose result is known. */
struct known_dh_t {
	key_exchange_t public;
	chunk_t secret;
};

METHOD(key_exchange_t, get_shared_secret, bool, known_dh_t *this, chunk_t *secret)
{
	*secret = chunk_clone(this->secret);
	return TRUE;
}

static void *spi_key(uint64_t spi)
{
	return (void *)(uintptr_t)spi;
}

static void fail(private_phalanx_import_t *this, uint64_t spi, const char *reason)
{
	struct local_message m = { .type = LOCAL_IMPORT_FAILED };

	DBG1(DBG_IKE, "IKE_SA with SPI %.16" PRIx64 " cannot be taken over: %s", spi,
	     reason);
	m.import_failed.spi = spi;
	m.import_failed.reason = phalanx_blob(chunk_from_str((char *)reason));
	this->link->send(this->link, &m);
}

static void tell_resumed(private_phalanx_import_t *this, uint64_t spi, uint32_t mid)
{
	struct local_message m = { .type = LOCAL_IKE_RESUMED };

	m.ike_resumed.spi = spi;
	m.ike_resumed.mid = mid;
	this->link->send(this->link, &m);
}

static void succeed(private_phalanx_import_t *this, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_IMPORTED };

	m.imported.spi = spi;
	this->link->send(this->link, &m);
}

static parked_t *find_parked(private_phalanx_import_t *this, uint64_t spi)
{
	parked_t *parked;

	this->mutex->lock(this->mutex);
	parked = this->parked->get(this->parked, spi_key(spi));
	this->mutex->unlock(this->mutex);
	return parked;
}

static void unpark(private_phalanx_import_t *this, uint64_t spi)
{
	parked_t *parked;
	phalanx_event_t *event;

	this->mutex->lock(this->mutex);
	parked = this->parked->remove(this->parked, spi_key(spi));
	this->mutex->unlock(this->mutex);
	if (!parked)
		return;
	this->link->done(this->link, parked->ike);
	while (parked->children->remove_first(parked->children, (void **)&event) ==
	       SUCCESS)
		this->link->done(this->link, event);
	parked->children->destroy(parked->children);
	free(parked);
}

static void unpark_all(private_phalanx_import_t *this)
{
	enumerator_t *enumerator;
	parked_t *parked;
	void *key;
	bool found;

	do {
		enumerator = this->parked->create_enumerator(this->parked);
		found = enumerator->enumerate(enumerator, &key, &parked);
		enumerator->destroy(enumerator);
		if (found)
			unpark(this, (uintptr_t)key);
	} while (found);
}

/* There may be two with this ID: one that was answered here, and what another member has made
 * of it. */
static void drop_id(ike_sa_id_t *id)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_t *ike_sa;

	if (!id)
		return;
	phalanx_quiet(TRUE);
	while ((ike_sa = manager->checkout(manager, id)))
		manager->checkin_and_destroy(manager, ike_sa);
	phalanx_quiet(FALSE);
	id->destroy(id);
}

/* Ends an SA of this charon, half-open or not, without a word to anyone. */
static void drop(private_phalanx_import_t *this, uint64_t spi)
{
	drop_id(this->half->take(this->half, spi));
	drop_id(this->sessions->find(this->sessions, spi));
}

/* As charon's own commands do: its tasks tell the peer, and report the end. */
static void end(private_phalanx_import_t *this, uint64_t spi, bool force)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_id_t *id = this->sessions->find(this->sessions, spi);
	ike_sa_t *ike_sa;

	if (!id)
		return;
	ike_sa = manager->checkout(manager, id);
	if (ike_sa) {
		DBG1(DBG_IKE, "the operator ends IKE_SA %s[%u]", ike_sa->get_name(ike_sa),
		     ike_sa->get_unique_id(ike_sa));
		if (ike_sa->delete (ike_sa, force) == DESTROY_ME)
			manager->checkin_and_destroy(manager, ike_sa);
		else
			manager->checkin(manager, ike_sa);
	}
	id->destroy(id);
}

/* The connection to phalanxd is lost: this charon's SAs are others' now. */
static void drop_all(private_phalanx_import_t *this)
{
	linked_list_t *ids = linked_list_create();
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	enumerator_t *enumerator;
	ike_sa_id_t *id;
	ike_sa_t *ike_sa;

	enumerator = manager->create_enumerator(manager, TRUE);
	while (enumerator->enumerate(enumerator, &ike_sa)) {
		id = ike_sa->get_id(ike_sa);
		ids->insert_last(ids, id->clone(id));
	}
	enumerator->destroy(enumerator);
	phalanx_quiet(TRUE);
	while (ids->remove_first(ids, (void **)&id) == SUCCESS) {
		ike_sa = manager->checkout(manager, id);
		if (ike_sa)
			manager->checkin_and_destroy(manager, ike_sa);
		id->destroy(id);
	}
	phalanx_quiet(FALSE);
	ids->destroy(ids);
	unpark_all(this);
}

static peer_cfg_t *find_config(private_phalanx_import_t *this, char *name)
{
	peer_cfg_t *config;

	while (TRUE) {
		config = charon->backends->get_peer_cfg_by_name(charon->backends, name);
		if (config || time_monotonic(NULL) - this->first > CONFIG_GRACE_S)
			return config;
		usleep(CONFIG_POLL_US);
	}
}

static void add_algorithm(proposal_t *proposal, transform_type_t type, uint16_t alg,
			  uint16_t len)
{
	if (alg)
		proposal->add_algorithm(proposal, type, alg, len);
}

static bool derive_keys(ike_sa_t *ike_sa, const phalanx_ike_state_t *s)
{
	keymat_v2_t *keymat = (keymat_v2_t *)ike_sa->get_keymat(ike_sa);
	proposal_t *proposal = proposal_create(PROTO_IKE, 0);
	known_dh_t dh = {
		.public = { .get_shared_secret = _get_shared_secret },
		.secret = s->keys.secret,
	};
	bool derived;

	add_algorithm(proposal, ENCRYPTION_ALGORITHM, s->encr, s->encr_len);
	add_algorithm(proposal, INTEGRITY_ALGORITHM, s->integ, 0);
	add_algorithm(proposal, PSEUDO_RANDOM_FUNCTION, s->prf, 0);
	add_algorithm(proposal, KEY_EXCHANGE_METHOD, s->group, 0);
	if (s->version == IKEV1)
		derived = phalanx_isakmp_derive(ike_sa, s, proposal);
	else
		derived = keymat->derive_ike_keys(
		    keymat, proposal, &dh.public, s->keys.nonce_i, s->keys.nonce_r,
		    ike_sa->get_id(ike_sa), s->keys.old_prf, s->keys.old_skd);
	if (derived)
		ike_sa->set_proposal(ike_sa, proposal);
	proposal->destroy(proposal);
	return derived;
}

static void set_identities(ike_sa_t *ike_sa, const phalanx_ike_state_t *s)
{
	identification_t *eap_id;
	auth_cfg_t *auth;

	ike_sa->set_my_id(ike_sa, phalanx_identification(s->local_id));
	ike_sa->set_other_id(ike_sa, phalanx_identification(s->remote_id));
	if (s->eap_id.len && !chunk_equals(s->eap_id, s->remote_id)) {
		auth = auth_cfg_create();
		eap_id = phalanx_identification(s->eap_id);
		auth->add(auth,
			  s->version == IKEV1 ? AUTH_RULE_XAUTH_IDENTITY
					      : AUTH_RULE_EAP_IDENTITY,
			  eap_id);
		ike_sa->add_auth_cfg(ike_sa, FALSE, auth);
	}
}

static void set_flags(ike_sa_t *ike_sa, const phalanx_ike_state_t *s)
{
	u_int i;

	for (i = 0; i < 31; i++) {
		if (s->extensions & 1U << i)
			ike_sa->enable_extension(ike_sa, 1U << i);
		if (s->conditions & CONDITIONS & 1U << i)
			ike_sa->set_condition(ike_sa, 1U << i, TRUE);
	}
}

static void set_addresses(ike_sa_t *ike_sa, const phalanx_ike_state_t *s,
			  const struct local_addr *remote)
{
	host_t *vip;
	u_int i;

	ike_sa->set_my_host(ike_sa, phalanx_host(&s->local));
	ike_sa->set_other_host(ike_sa,
			       phalanx_host(remote->family ? remote : &s->remote));
	for (i = 0; i < s->vip_count; i++) {
		vip = phalanx_host(&s->vips[i]);
		if (vip)
			ike_sa->add_virtual_ip(ike_sa, FALSE, vip);
		DESTROY_IF(vip);
	}
}

/* Seconds from now until a wall-clock time, at most `limit`. */
static uint32_t seconds_left(uint64_t at, uint64_t limit)
{
	uint64_t now = time(NULL);

	if (at <= now + OVERDUE_S)
		return OVERDUE_S + random() % OVERDUE_SPREAD_S;
	return min(at - now, limit);
}

/* Before the SA is established, so that charon does not begin its lifetime anew. */
static void schedule(ike_sa_t *ike_sa, peer_cfg_t *config, statistic_t which, uint64_t at)
{
	bool reauth = which == STAT_REAUTH;
	uint64_t limit = reauth ? config->get_reauth_time(config, FALSE)
				: config->get_rekey_time(config, FALSE);
	uint32_t left;

	if (!at || !limit)
		return;
	left = seconds_left(at, limit);
	ike_sa->set_statistic(ike_sa, which, time_monotonic(NULL) + left);
	lib->scheduler->schedule_job(
	    lib->scheduler,
	    (job_t *)rekey_ike_sa_job_create(ike_sa->get_id(ike_sa), reauth), left);
}

static void establish(ike_sa_t *ike_sa, const phalanx_ike_state_t *s,
		      const struct local_ike_import *import)
{
	peer_cfg_t *config = ike_sa->get_peer_cfg(ike_sa);
	uint64_t age = time(NULL) - s->established;
	time_t now = time_monotonic(NULL);
	job_t *job;

	if (s->version == IKEV1)
		phalanx_isakmp_begin(ike_sa, s);
	else {
		ike_sa->set_message_id(ike_sa, TRUE, import->send_mid);
		ike_sa->set_message_id(ike_sa, FALSE, import->recv_mid);
	}
	ike_sa->set_state(ike_sa, IKE_CONNECTING);
	if (s->rekeyed) {
		ike_sa->set_state(ike_sa, IKE_REKEYED);
		job = (job_t *)delete_ike_sa_job_create(ike_sa->get_id(ike_sa), TRUE);
		lib->scheduler->schedule_job(lib->scheduler, job,
					     import->replaced ? REPLACED_DELETE_S
							      : REKEYED_DELETE_S);
		return;
	}
	schedule(ike_sa, config, STAT_REKEY, s->rekey);
	schedule(ike_sa, config, STAT_REAUTH, s->reauth);
	ike_sa->set_state(ike_sa, IKE_ESTABLISHED);
	if (s->established && age < (uint64_t)now)
		ike_sa->set_statistic(ike_sa, STAT_ESTABLISHED, now - age);
}

static void watch_inactivity(child_sa_t *child_sa)
{
	child_cfg_t *config = child_sa->get_config(child_sa);
	uint32_t timeout = config->get_inactivity(config);
	bool close_ike = lib->settings->get_bool(lib->settings, "%s.inactivity_close_ike",
						 FALSE, lib->ns);
	job_t *job;

	if (!timeout)
		return;
	job = (job_t *)inactivity_job_create(child_sa->get_unique_id(child_sa), timeout,
					     close_ike);
	lib->scheduler->schedule_job(lib->scheduler, job, timeout);
}

static bool install(child_sa_t *child_sa, const phalanx_child_state_t *s)
{
	status_t status;
	job_t *job;

	/* The keys are in phalanxd, which does not hear of this. */
	status = child_sa->install(child_sa, chunk_empty, chunk_empty, htonl(s->spi_in),
				   0, FALSE, TRUE, FALSE);
	if (status == SUCCESS)
		status = child_sa->install(child_sa, chunk_empty, chunk_empty,
					   htonl(s->spi_out), 0, FALSE, FALSE, FALSE);
	if (status != SUCCESS)
		return FALSE;
	child_sa->install_policies(child_sa);
	child_sa->set_rekey_spi(child_sa, htonl(s->rekey_spi));
	child_sa->set_state(child_sa, CHILD_INSTALLED);
	switch (s->phase) {
	case PHALANX_CHILD_REKEYED:
		child_sa->set_state(child_sa, CHILD_REKEYED);
		break;
	case PHALANX_CHILD_DELETED:
		child_sa->set_state(child_sa, CHILD_DELETED);
		job = (job_t *)delete_child_sa_job_create_id(
		    child_sa->get_unique_id(child_sa));
		lib->scheduler->schedule_job(lib->scheduler, job, CHILD_DELETE_S);
		break;
	default:
		watch_inactivity(child_sa);
		break;
	}
	return TRUE;
}

/* NULL, or why not. */
static const char *add_child(ike_sa_t *ike_sa, struct local_blob bytes)
{
	child_sa_create_t create = { .encap = FALSE };
	linked_list_t *local_ts = NULL, *remote_ts = NULL;
	phalanx_child_state_t s;
	const char *reason = NULL;
	proposal_t *proposal;
	child_sa_t *child_sa;
	child_cfg_t *config;

	if (!phalanx_state_read_child(bytes, &s))
		return "state of a CHILD_SA is malformed or of another version";
	config = phalanx_child_config(ike_sa->get_peer_cfg(ike_sa), s.name);
	if (!config)
		return "the connection of a CHILD_SA is missing in this charon";
	create.encap = s.encap;
	child_sa = child_sa_create(ike_sa->get_my_host(ike_sa),
				   ike_sa->get_other_host(ike_sa), config, &create);
	child_sa->set_mode(child_sa, s.mode ? MODE_TUNNEL : MODE_TRANSPORT);
	child_sa->set_protocol(child_sa, PROTO_ESP);
	proposal = proposal_create(PROTO_ESP, 0);
	add_algorithm(proposal, ENCRYPTION_ALGORITHM, s.encr, s.encr_len);
	add_algorithm(proposal, INTEGRITY_ALGORITHM, s.integ, 0);
	add_algorithm(proposal, KEY_EXCHANGE_METHOD, s.group, 0);
	proposal->add_algorithm(proposal, EXTENDED_SEQUENCE_NUMBERS, s.esn, 0);
	child_sa->set_proposal(child_sa, proposal);
	proposal->destroy(proposal);
	child_sa->set_state(child_sa, CHILD_INSTALLING);
	local_ts = phalanx_selector_list(phalanx_blob(s.local_ts));
	remote_ts = phalanx_selector_list(phalanx_blob(s.remote_ts));
	if (!local_ts || !remote_ts) {
		reason = "selectors of a CHILD_SA are malformed";
		child_sa->destroy(child_sa);
	} else {
		child_sa->set_policies(child_sa, local_ts, remote_ts);
		if (!install(child_sa, &s))
			reason = "a CHILD_SA cannot be installed";
		ike_sa->add_child_sa(ike_sa, child_sa);
	}
	if (local_ts)
		local_ts->destroy_offset(local_ts, offsetof(traffic_selector_t, destroy));
	if (remote_ts)
		remote_ts->destroy_offset(remote_ts,
					  offsetof(traffic_selector_t, destroy));
	return reason;
}

static const char *fill(ike_sa_t *ike_sa, const phalanx_ike_state_t *s, parked_t *parked)
{
	const struct local_ike_import *import = &parked->ike->message.ike_import;
	enumerator_t *enumerator;
	phalanx_event_t *event;
	const char *reason = NULL;

	if (!derive_keys(ike_sa, s))
		return "its keys cannot be derived";
	set_addresses(ike_sa, s, &import->remote);
	set_identities(ike_sa, s);
	set_flags(ike_sa, s);
	establish(ike_sa, s, import);
	enumerator = parked->children->create_enumerator(parked->children);
	while (!reason && enumerator->enumerate(enumerator, &event))
		reason = add_child(ike_sa, event->message.child_import.state);
	enumerator->destroy(enumerator);
	return reason;
}

/* The message ID of the request that has begun what is to be resumed. */
static uint32_t begun_mid(const struct local_ike_import *import)
{
	return import->send_mid - 1;
}

static bool is_begun(const phalanx_ike_state_t *s, const struct local_ike_import *import)
{
	return import->begun.len && !s->rekeyed && s->version == IKEV2;
}

/* Sets *ike_sa, or says why not. */
static const char *make(const phalanx_ike_state_t *s, parked_t *parked,
			peer_cfg_t *config, ike_sa_t **ike_sa)
{
	const char *reason;
	ike_sa_id_t *id;

	id = ike_sa_id_create(s->version == IKEV1 ? IKEV1_MAJOR_VERSION
						  : IKEV2_MAJOR_VERSION,
			      htobe64(s->spi_i), htobe64(s->spi_r), s->initiator);
	*ike_sa = ike_sa_create(id, s->initiator, s->version);
	id->destroy(id);
	if (!*ike_sa)
		return "charon refuses it";
	charon->bus->set_sa(charon->bus, *ike_sa);
	(*ike_sa)->set_peer_cfg(*ike_sa, config);
	reason = fill(*ike_sa, s, parked);
	if (reason)
		(*ike_sa)->destroy(*ike_sa);
	return reason;
}

static const char *build(private_phalanx_import_t *this, const phalanx_ike_state_t *s,
			 parked_t *parked, bool *resumed)
{
	const struct local_ike_import *import = &parked->ike->message.ike_import;
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	char *name = strndup((char *)s->name.ptr, s->name.len);
	peer_cfg_t *config = find_config(this, name);
	const char *reason;
	ike_sa_t *ike_sa;

	free(name);
	if (!config)
		return "its connection is missing in this charon";
	reason = make(s, parked, config, &ike_sa);
	if (!reason && is_begun(s, import)) {
		*resumed = this->begun->resume(this->begun, ike_sa, begun_mid(import),
					       import->begun);
		if (!*resumed) {
			ike_sa->destroy(ike_sa);
			reason = make(s, parked, config, &ike_sa);
		}
	}
	config->destroy(config);
	if (reason)
		return reason;
	if (!s->rekeyed)
		this->radius->set(this->radius, ike_sa, s->account, s->accounted);
	this->sessions->adopt(this->sessions, ike_sa, &s->keys);
	DBG1(DBG_IKE, "took over IKE_SA %s[%u] between %H[%Y]...%H[%Y]",
	     ike_sa->get_name(ike_sa), ike_sa->get_unique_id(ike_sa),
	     ike_sa->get_my_host(ike_sa), ike_sa->get_my_id(ike_sa),
	     ike_sa->get_other_host(ike_sa), ike_sa->get_other_id(ike_sa));
	manager->checkin(manager, ike_sa);
	return NULL;
}

static void activate(private_phalanx_import_t *this, uint64_t spi)
{
	parked_t *parked = find_parked(this, spi);
	phalanx_ike_state_t state;
	const char *reason;
	bool resumed = FALSE;

	if (!parked) {
		fail(this, spi, "it was not described");
		return;
	}
	if (!phalanx_state_read_ike(parked->ike->message.ike_import.state, &state) ||
	    (state.initiator ? state.spi_i : state.spi_r) != spi)
		reason = "its state is malformed or of another version";
	else if (state.conditions & COND_PPK)
		reason = "it uses a postquantum preshared key";
	else {
		drop(this, spi);
		phalanx_quiet(TRUE);
		state.rekeyed |= parked->ike->message.ike_import.replaced;
		reason = build(this, &state, parked, &resumed);
		phalanx_quiet(FALSE);
	}
	memwipe(&state, sizeof(state));
	if (resumed && !reason)
		tell_resumed(this, spi, begun_mid(&parked->ike->message.ike_import));
	if (reason)
		fail(this, spi, reason);
	else
		succeed(this, spi);
	/* The answer to what is resumed shows one of the numbers. */
	if (!reason && !resumed && parked->ike->message.ike_import.unproven)
		this->sync->begin(this->sync, spi);
	unpark(this, spi);
}

static void park_ike(private_phalanx_import_t *this, phalanx_event_t *event)
{
	parked_t *parked;

	unpark(this, event->message.ike_import.spi);
	INIT(parked, .ike = event, .children = linked_list_create(), );
	this->mutex->lock(this->mutex);
	if (!this->first)
		this->first = time_monotonic(NULL);
	this->parked->put(this->parked, spi_key(event->message.ike_import.spi), parked);
	this->mutex->unlock(this->mutex);
}

/* The SPI of a CHILD SA of this name that is not about to end; 0: there is none. */
static uint32_t find_child(ike_sa_t *ike_sa, struct local_blob name, protocol_id_t *proto)
{
	enumerator_t *enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
	child_sa_t *child_sa;
	uint32_t spi = 0;

	while (!spi && enumerator->enumerate(enumerator, &child_sa)) {
		if (!chunk_equals(phalanx_chunk(name),
				  chunk_from_str(child_sa->get_name(child_sa))) ||
		    child_sa->get_state(child_sa) != CHILD_INSTALLED)
			continue;
		spi = child_sa->get_spi(child_sa, TRUE);
		*proto = child_sa->get_protocol(child_sa);
	}
	enumerator->destroy(enumerator);
	return spi;
}

static void end_child(private_phalanx_import_t *this, const struct local_child_end *end)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_id_t *id = this->sessions->find(this->sessions, end->spi);
	protocol_id_t proto;
	ike_sa_t *ike_sa;
	uint32_t spi;

	if (!id)
		return;
	ike_sa = manager->checkout(manager, id);
	id->destroy(id);
	if (!ike_sa)
		return;
	spi = find_child(ike_sa, end->child, &proto);
	if (spi && ike_sa->delete_child_sa(ike_sa, proto, spi, FALSE) == DESTROY_ME)
		manager->checkin_and_destroy(manager, ike_sa);
	else
		manager->checkin(manager, ike_sa);
}

METHOD(phalanx_import_t, process, phalanx_event_t *, private_phalanx_import_t *this,
       phalanx_event_t *event)
{
	struct local_message *m = &event->message;
	parked_t *parked;

	switch (m->type) {
	case LOCAL_NONE:
		drop_all(this);
		return event;
	case LOCAL_IKE_IMPORT:
		park_ike(this, event);
		return NULL;
	case LOCAL_CHILD_IMPORT:
		parked = find_parked(this, m->child_import.ike);
		if (!parked)
			return event;
		parked->children->insert_last(parked->children, event);
		return NULL;
	case LOCAL_IKE_ACTIVATE:
		activate(this, m->ike_activate.spi);
		return event;
	case LOCAL_IKE_DROP:
		unpark(this, m->ike_drop.spi);
		drop(this, m->ike_drop.spi);
		return event;
	case LOCAL_IKE_END:
		end(this, m->ike_end.spi, m->ike_end.force);
		return event;
	case LOCAL_CHILD_END:
		end_child(this, &m->child_end);
		return event;
	default:
		return event;
	}
}

METHOD(phalanx_import_t, destroy, void, private_phalanx_import_t *this)
{
	unpark_all(this);
	this->parked->destroy(this->parked);
	this->mutex->destroy(this->mutex);
	free(this);
}

phalanx_import_t *phalanx_import_create(phalanx_link_t *link,
					phalanx_sessions_t *sessions,
					phalanx_half_t *half, phalanx_begun_t *begun,
					phalanx_sync_t *sync, phalanx_radius_t *radius)
{
	private_phalanx_import_t *this;

	INIT(this,
		.public = {
			.process = _process,
			.destroy = _destroy,
		},
		.link = link,
		.sessions = sessions,
		.half = half,
		.begun = begun,
		.sync = sync,
		.radius = radius,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.parked = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64),
	);
	return &this->public;
}
