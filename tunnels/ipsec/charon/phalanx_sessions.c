/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <collections/hashtable.h>
#include <encoding/payloads/notify_payload.h>
#include <sa/ikev2/keymat_v2.h>
#include <threading/mutex.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_isakmp.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"
#include "tunnels/ipsec/charon/phalanx_unique.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

#define VIP_LEN 17

typedef struct private_phalanx_sessions_t private_phalanx_sessions_t;
typedef struct session_t session_t;
typedef struct child_t child_t;

/* An IKE SA whose keys are known. Only the thread that holds the IKE SA uses the object,
 * and only it removes it. */
struct session_t {
	ike_sa_id_t *id;
	uint32_t unique_id;
	phalanx_keys_t keys;
	bool reported;
	uint64_t digest;
};

/* A reported CHILD SA. */
struct child_t {
	uint64_t ike;
	uint64_t digest;
};

struct private_phalanx_sessions_t {
	phalanx_sessions_t public;
	phalanx_link_t *link;
	phalanx_radius_t *radius;
	mutex_t *mutex;
	hashtable_t *sessions; /* session_t by our SPI */
	hashtable_t *children; /* child_t by inbound SPI */
	void (*checkin)(ike_sa_manager_t *manager, ike_sa_t *ike_sa);
	void (*flush)(ike_sa_manager_t *manager);
};

/* The manager has no place for user data in its methods, and there is one manager. */
static private_phalanx_sessions_t *attached;

static void *spi_key(uint64_t spi)
{
	return (void *)(uintptr_t)spi;
}

static void session_destroy(session_t *session)
{
	if (!session)
		return;
	session->id->destroy(session->id);
	phalanx_keys_clear(&session->keys);
	free(session);
}

static session_t *get_session(private_phalanx_sessions_t *this, uint64_t spi)
{
	session_t *session;

	this->mutex->lock(this->mutex);
	session = this->sessions->get(this->sessions, spi_key(spi));
	this->mutex->unlock(this->mutex);
	return session;
}

/* Puts a new session in the place of an old one with that SPI. */
static session_t *add_session(private_phalanx_sessions_t *this, ike_sa_t *ike_sa)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	session_t *session, *old;

	INIT(session, .id = id->clone(id), .unique_id = ike_sa->get_unique_id(ike_sa), );
	this->mutex->lock(this->mutex);
	old = this->sessions->put(this->sessions, spi_key(phalanx_own_spi(ike_sa)),
				  session);
	this->mutex->unlock(this->mutex);
	session_destroy(old);
	return session;
}

/* An initiator whose peer falls silent begins again with another SPI, and is heard of no more
 * under the one that it had. */
static void forget_former(private_phalanx_sessions_t *this, ike_sa_t *ike_sa)
{
	uint64_t spi = phalanx_own_spi(ike_sa);
	enumerator_t *enumerator;
	session_t *session;
	void *key;

	this->mutex->lock(this->mutex);
	enumerator = this->sessions->create_enumerator(this->sessions);
	while (enumerator->enumerate(enumerator, &key, &session))
		if (session->unique_id == ike_sa->get_unique_id(ike_sa) &&
		    key != spi_key(spi)) {
			this->sessions->remove_at(this->sessions, enumerator);
			session_destroy(session);
		}
	enumerator->destroy(enumerator);
	this->mutex->unlock(this->mutex);
}

/* TRUE if phalanxd does not have the child in this state under this IKE SA. */
static bool note_child(private_phalanx_sessions_t *this, uint32_t spi, uint64_t ike,
		       uint64_t digest)
{
	child_t *child;
	bool changed;

	this->mutex->lock(this->mutex);
	child = this->children->get(this->children, spi_key(spi));
	if (!child) {
		INIT(child, .ike = 0, );
		this->children->put(this->children, spi_key(spi), child);
	}
	changed = child->ike != ike || child->digest != digest;
	child->ike = ike;
	child->digest = digest;
	this->mutex->unlock(this->mutex);
	return changed;
}

/* TRUE if the child was reported under this IKE SA. */
static bool forget_child(private_phalanx_sessions_t *this, uint32_t spi, uint64_t ike)
{
	child_t *child;
	bool known;

	this->mutex->lock(this->mutex);
	child = this->children->get(this->children, spi_key(spi));
	known = child && child->ike == ike;
	if (known)
		free(this->children->remove(this->children, spi_key(spi)));
	this->mutex->unlock(this->mutex);
	return known;
}

static bool knows_child(private_phalanx_sessions_t *this, uint32_t spi)
{
	bool known;

	this->mutex->lock(this->mutex);
	known = this->children->get(this->children, spi_key(spi)) != NULL;
	this->mutex->unlock(this->mutex);
	return known;
}

static void report_child(private_phalanx_sessions_t *this, uint64_t ike,
			 child_sa_t *child_sa)
{
	struct local_message m = { .type = LOCAL_CHILD_PUT };
	uint64_t digest;
	chunk_t state;

	switch (child_sa->get_state(child_sa)) {
	case CHILD_INSTALLED:
	case CHILD_REKEYING:
	case CHILD_REKEYED:
		break;
	case CHILD_DELETING:
	case CHILD_DELETED:
		/* Its end was told, unless it was replaced, or taken over as one that was. */
		if (phalanx_is_quiet() ||
		    knows_child(this, ntohl(child_sa->get_spi(child_sa, TRUE))))
			break;
		return;
	default:
		return;
	}
	m.child_put.ike = ike;
	m.child_put.spi_in = ntohl(child_sa->get_spi(child_sa, TRUE));
	m.child_put.spi_out = ntohl(child_sa->get_spi(child_sa, FALSE));
	m.child_put.retired = child_sa->get_state(child_sa) == CHILD_DELETING ||
			      child_sa->get_state(child_sa) == CHILD_DELETED;
	m.child_put.name = phalanx_blob(chunk_from_str(child_sa->get_name(child_sa)));
	state = phalanx_state_child(child_sa, &digest);
	m.child_put.state = phalanx_blob(state);
	if (state.len && note_child(this, m.child_put.spi_in, ike, digest))
		this->link->send(this->link, &m);
	free(state.ptr);
}

static chunk_t vip_list(ike_sa_t *ike_sa)
{
	chunk_t list = chunk_alloc(PHALANX_VIPS_MAX * VIP_LEN);
	struct pack p = pack_to(list.ptr, list.len);
	enumerator_t *enumerator;
	struct local_addr addr;
	host_t *vip;

	enumerator = ike_sa->create_virtual_ip_enumerator(ike_sa, FALSE);
	while (!p.bad && enumerator->enumerate(enumerator, &vip)) {
		addr = phalanx_addr(vip);
		pack_u8(&p, addr.family);
		pack_raw(&p, addr.bytes, sizeof(addr.bytes));
	}
	enumerator->destroy(enumerator);
	list.len = p.at - list.ptr;
	return list;
}

static void send_ike(private_phalanx_sessions_t *this, ike_sa_t *ike_sa, chunk_t state)
{
	struct local_message m = { .type = LOCAL_IKE_PUT };
	identification_t *id = ike_sa->get_other_eap_id(ike_sa);
	chunk_t vips = vip_list(ike_sa);
	char user[256];
	int len = snprintf(user, sizeof(user), "%Y", id);

	m.ike_put.spi = phalanx_own_spi(ike_sa);
	m.ike_put.peer_spi = phalanx_peer_spi(ike_sa);
	m.ike_put.local = phalanx_addr(ike_sa->get_my_host(ike_sa));
	m.ike_put.remote = phalanx_addr(ike_sa->get_other_host(ike_sa));
	m.ike_put.user = phalanx_blob(
	    chunk_create((u_char *)user, max(0, min(len, (int)sizeof(user) - 1))));
	m.ike_put.name = phalanx_blob(chunk_from_str(ike_sa->get_name(ike_sa)));
	m.ike_put.vips = phalanx_blob(vips);
	m.ike_put.state = phalanx_blob(state);
	m.ike_put.peer = phalanx_peer_digest(ike_sa);
	m.ike_put.version = ike_sa->get_version(ike_sa) == IKEV1 ? 1 : 2;
	this->link->send(this->link, &m);
	free(vips.ptr);
}

/* Brings phalanxd up to date; the calling thread holds the IKE SA. */
static void report(private_phalanx_sessions_t *this, ike_sa_t *ike_sa)
{
	session_t *session;
	enumerator_t *enumerator;
	child_sa_t *child_sa;
	uint64_t digest, spi = phalanx_own_spi(ike_sa);
	chunk_t state;

	switch (ike_sa->get_state(ike_sa)) {
	case IKE_ESTABLISHED:
	case IKE_REKEYING:
	case IKE_REKEYED:
		break;
	default:
		return;
	}
	session = get_session(this, spi);
	if (!session)
		return;
	state = phalanx_state_ike(ike_sa, &session->keys, this->radius, &digest);
	if (state.len && (!session->reported || session->digest != digest)) {
		send_ike(this, ike_sa, state);
		session->reported = TRUE;
		session->digest = digest;
	}
	chunk_clear(&state);
	enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
	while (enumerator->enumerate(enumerator, &child_sa))
		report_child(this, spi, child_sa);
	enumerator->destroy(enumerator);
}

METHOD(listener_t, ike_keys, bool, private_phalanx_sessions_t *this, ike_sa_t *ike_sa,
       key_exchange_t *dh, chunk_t dh_other, chunk_t nonce_i, chunk_t nonce_r,
       ike_sa_t *rekey, shared_key_t *shared, auth_method_t method)
{
	keymat_v2_t *keymat;
	session_t *session;
	chunk_t secret, skd;

	if (!dh->get_shared_secret(dh, &secret))
		return TRUE;
	session = add_session(this, ike_sa);
	session->keys = (phalanx_keys_t){
		.secret = secret,
		.nonce_i = chunk_clone(nonce_i),
		.nonce_r = chunk_clone(nonce_r),
		.old_prf = PRF_UNDEFINED,
	};
	if (ike_sa->get_version(ike_sa) == IKEV1)
		phalanx_isakmp_keys(ike_sa, dh, dh_other, shared, method, &session->keys);
	else if (rekey) {
		keymat = (keymat_v2_t *)rekey->get_keymat(rekey);
		session->keys.old_prf = keymat->get_skd(keymat, &skd);
		session->keys.old_skd = chunk_clone(skd);
	}
	return TRUE;
}

/* MOBIKE would tell a peer the addresses that are this member's alone. */
static void strip_addresses(message_t *message)
{
	enumerator_t *enumerator = message->create_payload_enumerator(message);
	notify_payload_t *notify;
	payload_t *payload;

	while (enumerator->enumerate(enumerator, &payload)) {
		if (payload->get_type(payload) != PLV2_NOTIFY)
			continue;
		notify = (notify_payload_t *)payload;
		switch (notify->get_notify_type(notify)) {
		case ADDITIONAL_IP4_ADDRESS:
		case ADDITIONAL_IP6_ADDRESS:
			message->remove_payload_at(message, enumerator);
			payload->destroy(payload);
			break;
		default:
			break;
		}
	}
	enumerator->destroy(enumerator);
}

static void note_dpd(private_phalanx_sessions_t *this, ike_sa_t *ike_sa,
		     message_t *message)
{
	session_t *session = get_session(this, phalanx_own_spi(ike_sa));
	uint32_t number;

	if (session && phalanx_isakmp_dpd(message, &number))
		session->keys.dpd = number + 1;
}

/* What the peer has said in the first phase, charon takes for nothing new by itself. */
static void report_heard(private_phalanx_sessions_t *this, ike_sa_t *ike_sa,
			 message_t *message)
{
	struct local_message m = { .type = LOCAL_IKE_HEARD };
	chunk_t packet = message->get_packet_data(message);

	if (!message->get_message_id(message))
		return;
	m.ike_heard.spi = phalanx_own_spi(ike_sa);
	m.ike_heard.packet = phalanx_blob(packet);
	this->link->send(this->link, &m);
}

METHOD(listener_t, message_, bool, private_phalanx_sessions_t *this, ike_sa_t *ike_sa,
       message_t *message, bool incoming, bool plain)
{
	if (!incoming && plain && ike_sa->get_version(ike_sa) == IKEV2) {
		strip_addresses(message);
		report(this, ike_sa);
	}
	/* The IV is that of the encrypted message. */
	if (!incoming && !plain && ike_sa->get_version(ike_sa) == IKEV1)
		report(this, ike_sa);
	if (incoming && plain && ike_sa->get_version(ike_sa) == IKEV1)
		report_heard(this, ike_sa, message);
	if (!incoming && plain && ike_sa->get_version(ike_sa) == IKEV1)
		note_dpd(this, ike_sa, message);
	return TRUE;
}

static void send_child_del(private_phalanx_sessions_t *this, uint64_t ike, uint32_t spi)
{
	struct local_message m = { .type = LOCAL_CHILD_DEL };

	m.child_del.ike = ike;
	m.child_del.spi_in = spi;
	if (forget_child(this, spi, ike))
		this->link->send(this->link, &m);
}

/* A DELETE of IKEv1 is not answered. */
static void report_ending(private_phalanx_sessions_t *this, ike_sa_t *ike_sa)
{
	struct local_message m = { .type = LOCAL_IKE_ENDING };
	session_t *session = get_session(this, phalanx_own_spi(ike_sa));

	m.ike_ending.spi = phalanx_own_spi(ike_sa);
	if (session && session->reported && ike_sa->get_version(ike_sa) == IKEV2)
		this->link->send(this->link, &m);
}

METHOD(listener_t, ike_state_change, bool, private_phalanx_sessions_t *this,
       ike_sa_t *ike_sa, ike_sa_state_t state)
{
	struct local_message m = { .type = LOCAL_IKE_DEL };
	enumerator_t *enumerator;
	child_sa_t *child_sa;
	session_t *session;

	if (state == IKE_CREATED)
		forget_former(this, ike_sa);
	if (state == IKE_DELETING)
		report_ending(this, ike_sa);
	if (state != IKE_DESTROYING)
		return TRUE;
	if (phalanx_is_quiet())
		this->radius->forget(this->radius, ike_sa);
	m.ike_del.spi = phalanx_own_spi(ike_sa);
	this->mutex->lock(this->mutex);
	session = this->sessions->remove(this->sessions, spi_key(m.ike_del.spi));
	this->mutex->unlock(this->mutex);
	if (!session)
		return TRUE;
	enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
	while (enumerator->enumerate(enumerator, &child_sa))
		send_child_del(this, m.ike_del.spi,
			       ntohl(child_sa->get_spi(child_sa, TRUE)));
	enumerator->destroy(enumerator);
	if (session->reported)
		this->link->send(this->link, &m);
	session_destroy(session);
	return TRUE;
}

METHOD(listener_t, child_state_change, bool, private_phalanx_sessions_t *this,
       ike_sa_t *ike_sa, child_sa_t *child_sa, child_sa_state_t state)
{
	/* One that has no successor is of no use while its peer is told of its end; and if this
	 * member dies meanwhile, nobody goes on with it. charon has just read its counters. */
	bool ends =
	    state == CHILD_DELETING && child_sa->get_state(child_sa) == CHILD_INSTALLED;

	if (ike_sa && (ends || state == CHILD_DESTROYING))
		send_child_del(this, phalanx_own_spi(ike_sa),
			       ntohl(child_sa->get_spi(child_sa, TRUE)));
	return TRUE;
}

static void checkin(ike_sa_manager_t *manager, ike_sa_t *ike_sa)
{
	report(attached, ike_sa);
	attached->checkin(manager, ike_sa);
}

/* What is passive ends without a word to scripts and to who listens for events. */
static void silence(ike_sa_manager_t *manager)
{
	enumerator_t *enumerator = manager->create_enumerator(manager, TRUE);
	ike_sa_t *ike_sa;

	while (enumerator->enumerate(enumerator, &ike_sa)) {
		switch (ike_sa->get_state(ike_sa)) {
		case IKE_ESTABLISHED:
		case IKE_REKEYING:
		case IKE_REKEYED:
			ike_sa->set_state(ike_sa, IKE_PASSIVE);
			break;
		default:
			break;
		}
	}
	enumerator->destroy(enumerator);
}

/* charon ends. Peers, RADIUS servers and scripts must not hear of it: other members go on
 * with their SAs. */
static void flush(ike_sa_manager_t *manager)
{
	attached->link->stop(attached->link);
	attached->radius->stop(attached->radius);
	silence(manager);
	attached->flush(manager);
}

METHOD(phalanx_sessions_t, attach, void, private_phalanx_sessions_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	attached = this;
	this->checkin = manager->checkin;
	this->flush = manager->flush;
	manager->checkin = checkin;
	manager->flush = flush;
	charon->bus->add_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_sessions_t, detach, void, private_phalanx_sessions_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	charon->bus->remove_listener(charon->bus, &this->public.listener);
	if (manager && attached == this) {
		manager->checkin = this->checkin;
		manager->flush = this->flush;
	}
	attached = NULL;
}

METHOD(phalanx_sessions_t, adopt, void, private_phalanx_sessions_t *this,
       ike_sa_t *ike_sa, const phalanx_keys_t *keys)
{
	session_t *session = add_session(this, ike_sa);

	phalanx_keys_clone(&session->keys, keys);
	/* The thread is quiet: this notes the state and sends nothing. */
	report(this, ike_sa);
}

METHOD(phalanx_sessions_t, find, ike_sa_id_t *, private_phalanx_sessions_t *this,
       uint64_t spi)
{
	ike_sa_id_t *id = NULL;
	session_t *session;

	this->mutex->lock(this->mutex);
	session = this->sessions->get(this->sessions, spi_key(spi));
	if (session)
		id = session->id->clone(session->id);
	this->mutex->unlock(this->mutex);
	return id;
}

static void free_session(session_t *session, const void *key)
{
	session_destroy(session);
}

static void free_child(child_t *child, const void *key)
{
	free(child);
}

METHOD(phalanx_sessions_t, destroy, void, private_phalanx_sessions_t *this)
{
	this->sessions->destroy_function(this->sessions, (void *)free_session);
	this->children->destroy_function(this->children, (void *)free_child);
	this->mutex->destroy(this->mutex);
	free(this);
}

phalanx_sessions_t *phalanx_sessions_create(phalanx_link_t *link,
					    phalanx_radius_t *radius)
{
	private_phalanx_sessions_t *this;

	INIT(this,
		.public = {
			.listener = {
				.ike_keys = _ike_keys,
				.message = _message_,
				.ike_state_change = _ike_state_change,
				.child_state_change = _child_state_change,
			},
			.attach = _attach,
			.detach = _detach,
			.adopt = _adopt,
			.find = _find,
			.destroy = _destroy,
		},
		.link = link,
		.radius = radius,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.sessions = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64),
		.children = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64),
	);
	return &this->public;
}
