/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <collections/hashtable.h>
#include <encoding/payloads/ke_payload.h>
#include <encoding/payloads/nonce_payload.h>
#include <sa/ikev2/keymat_v2.h>
#include <threading/mutex.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_half.h"

typedef struct private_phalanx_half_t private_phalanx_half_t;
typedef struct entry_t entry_t;
typedef struct answer_t answer_t;
typedef struct given_ke_t given_ke_t;
typedef struct given_nonce_t given_nonce_t;

/* An IKE SA that phalanxd knows as half-open. The chunks are set if it was imported. */
struct entry_t {
	ike_sa_id_t *id;
	chunk_t nonce_i, nonce_r, secret;
};

/* What the calling thread is about: a first message that charon answers. */
struct answer_t {
	message_t *request;		       /* NULL: nothing */
	key_exchange_t *ke;		       /* charon's own, as it was made last */
	const struct local_half_import *given; /* or what it is to choose */
};

struct private_phalanx_half_t {
	phalanx_half_t public;
	phalanx_link_t *link;
	phalanx_units_t *units;
	mutex_t *mutex;
	hashtable_t *entries; /* entry_t by our SPI */
	ike_sa_t *(*checkout_by_message)(ike_sa_manager_t *this, message_t *message);
	status_t (*send_dpd)(ike_sa_t *this);
	nonce_gen_t *(*create_nonce_gen)(crypto_factory_t *this);
	key_exchange_t *(*create_ke)(crypto_factory_t *this, key_exchange_method_t method,
				     ...);
};

struct given_ke_t {
	key_exchange_t public;
	key_exchange_method_t method;
	chunk_t value, secret;
};

struct given_nonce_t {
	nonce_gen_t public;
	chunk_t nonce;
};

/* The methods have no place for user data, and there is one charon. */
static private_phalanx_half_t *attached;

static __thread answer_t current;

static void *spi_key(uint64_t spi)
{
	return (void *)(uintptr_t)spi;
}

/* A key exchange that has been done by another member. */

METHOD(key_exchange_t, get_shared_secret, bool, given_ke_t *this, chunk_t *secret)
{
	*secret = chunk_clone(this->secret);
	return TRUE;
}

METHOD(key_exchange_t, set_public_key, bool, given_ke_t *this, chunk_t value)
{
	return TRUE;
}

METHOD(key_exchange_t, get_public_key, bool, given_ke_t *this, chunk_t *value)
{
	*value = chunk_clone(this->value);
	return TRUE;
}

METHOD(key_exchange_t, set_private_key, bool, given_ke_t *this, chunk_t value)
{
	return FALSE;
}

METHOD(key_exchange_t, get_method, key_exchange_method_t, given_ke_t *this)
{
	return this->method;
}

METHOD(key_exchange_t, ke_destroy, void, given_ke_t *this)
{
	chunk_clear(&this->secret);
	chunk_free(&this->value);
	free(this);
}

static key_exchange_t *given_ke_create(key_exchange_method_t method, chunk_t value,
				       chunk_t secret)
{
	given_ke_t *this;

	INIT(this,
		.public = {
			.get_shared_secret = _get_shared_secret,
			.set_public_key = _set_public_key,
			.get_public_key = _get_public_key,
			.set_private_key = _set_private_key,
			.get_method = _get_method,
			.destroy = _ke_destroy,
		},
		.method = method,
		.value = chunk_clone(value),
		.secret = chunk_clone(secret),
	);
	return &this->public;
}

METHOD(nonce_gen_t, get_nonce, bool, given_nonce_t *this, size_t size, uint8_t *buffer)
{
	if (size != this->nonce.len)
		return FALSE;
	memcpy(buffer, this->nonce.ptr, size);
	return TRUE;
}

METHOD(nonce_gen_t, allocate_nonce, bool, given_nonce_t *this, size_t size,
       chunk_t *nonce)
{
	*nonce = chunk_clone(this->nonce);
	return TRUE;
}

METHOD(nonce_gen_t, nonce_destroy, void, given_nonce_t *this)
{
	chunk_clear(&this->nonce);
	free(this);
}

nonce_gen_t *phalanx_given_nonce(chunk_t nonce)
{
	given_nonce_t *this;

	INIT(this,
		.public = {
			.get_nonce = _get_nonce,
			.allocate_nonce = _allocate_nonce,
			.destroy = _nonce_destroy,
		},
		.nonce = chunk_clone(nonce),
	);
	return &this->public;
}

static nonce_gen_t *create_nonce_gen(crypto_factory_t *factory)
{
	if (current.given)
		return phalanx_given_nonce(phalanx_chunk(current.given->nonce));
	return attached->create_nonce_gen(factory);
}

static key_exchange_t *create_ke(crypto_factory_t *factory, key_exchange_method_t method,
				 ...)
{
	chunk_t g, p;

	if (method == MODP_CUSTOM) {
		VA_ARGS_GET(method, g, p);
		return attached->create_ke(factory, method, g, p);
	}
	if (current.given) {
		if (method != current.given->method)
			return NULL;
		return given_ke_create(method, phalanx_chunk(current.given->public),
				       phalanx_chunk(current.given->secret));
	}
	current.ke = attached->create_ke(factory, method);
	return current.ke;
}

void phalanx_half_give(const struct local_half_import *given)
{
	current = (answer_t){ .given = given };
}

key_exchange_t *phalanx_half_ke(void)
{
	return current.ke;
}

/* Entries. */

static void entry_destroy(entry_t *entry)
{
	if (!entry)
		return;
	entry->id->destroy(entry->id);
	chunk_clear(&entry->nonce_i);
	chunk_clear(&entry->nonce_r);
	chunk_clear(&entry->secret);
	free(entry);
}

static entry_t *take_entry(private_phalanx_half_t *this, uint64_t spi)
{
	entry_t *entry;

	this->mutex->lock(this->mutex);
	entry = this->entries->remove(this->entries, spi_key(spi));
	this->mutex->unlock(this->mutex);
	return entry;
}

static void put_entry(private_phalanx_half_t *this, uint64_t spi, entry_t *entry)
{
	entry_t *old;

	this->mutex->lock(this->mutex);
	old = this->entries->put(this->entries, spi_key(spi), entry);
	this->mutex->unlock(this->mutex);
	entry_destroy(old);
}

METHOD(phalanx_half_t, has, bool, private_phalanx_half_t *this, uint64_t spi)
{
	bool found;

	this->mutex->lock(this->mutex);
	found = this->entries->get(this->entries, spi_key(spi)) != NULL;
	this->mutex->unlock(this->mutex);
	return found;
}

METHOD(phalanx_half_t, take, ike_sa_id_t *, private_phalanx_half_t *this, uint64_t spi)
{
	entry_t *entry = take_entry(this, spi);
	ike_sa_id_t *id;

	if (!entry)
		return NULL;
	id = entry->id->clone(entry->id);
	entry_destroy(entry);
	return id;
}

/* Export. */

static bool is_first(message_t *message)
{
	ike_sa_id_t *id = message->get_ike_sa_id(message);

	return message->get_major_version(message) == IKEV2_MAJOR_VERSION &&
	       message->get_exchange_type(message) == IKE_SA_INIT &&
	       message->get_request(message) && !id->get_responder_spi(id);
}

static ike_sa_t *checkout_by_message(ike_sa_manager_t *manager, message_t *message)
{
	const struct local_half_import *given = current.given;

	current = (answer_t){ .given = given };
	if (is_first(message))
		current.request = message;
	return attached->checkout_by_message(manager, message);
}

static void report(private_phalanx_half_t *this, ike_sa_t *ike_sa, message_t *response)
{
	struct local_message m = { .type = LOCAL_HALF_OPEN };
	message_t *request = current.request;
	nonce_payload_t *nonce_payload;
	ke_payload_t *ke_payload;
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	chunk_t nonce, secret;
	entry_t *entry;

	nonce_payload = (nonce_payload_t *)response->get_payload(response, PLV2_NONCE);
	ke_payload = (ke_payload_t *)response->get_payload(response, PLV2_KEY_EXCHANGE);
	/* Without them it asks for another request: nothing has begun. */
	if (!nonce_payload || !ke_payload || !current.ke ||
	    !current.ke->get_shared_secret(current.ke, &secret))
		return;
	INIT(entry, .id = id->clone(id), );
	put_entry(this, phalanx_own_spi(ike_sa), entry);
	nonce = nonce_payload->get_nonce(nonce_payload);
	m.half_open.spi = phalanx_own_spi(ike_sa);
	m.half_open.src = phalanx_addr(request->get_source(request));
	m.half_open.dst = phalanx_addr(request->get_destination(request));
	m.half_open.request = phalanx_blob(request->get_packet_data(request));
	m.half_open.nonce = phalanx_blob(nonce);
	m.half_open.method = current.ke->get_method(current.ke);
	m.half_open.public = phalanx_blob(ke_payload->get_key_exchange_data(ke_payload));
	m.half_open.secret = phalanx_blob(secret);
	this->link->send(this->link, &m);
	chunk_free(&nonce);
	chunk_clear(&secret);
}

METHOD(listener_t, message_, bool, private_phalanx_half_t *this, ike_sa_t *ike_sa,
       message_t *message, bool incoming, bool plain)
{
	if (!incoming && plain && current.request && !current.given &&
	    message->get_exchange_type(message) == IKE_SA_INIT &&
	    !message->get_request(message))
		report(this, ike_sa, message);
	return TRUE;
}

METHOD(listener_t, ike_state_change, bool, private_phalanx_half_t *this, ike_sa_t *ike_sa,
       ike_sa_state_t state)
{
	struct local_message m = { .type = LOCAL_HALF_DONE };
	entry_t *entry;

	if (state != IKE_ESTABLISHED && state != IKE_DESTROYING)
		return TRUE;
	m.half_done.spi = phalanx_own_spi(ike_sa);
	entry = take_entry(this, m.half_done.spi);
	/* That it is established, phalanxd sees from IKE_PUT. */
	if (entry && state == IKE_DESTROYING)
		this->link->send(this->link, &m);
	entry_destroy(entry);
	return TRUE;
}

/* Import. */

/* If it had been established here before, and its answer was never said, then charon still
 * wants to know whether its peer lives, and asks a connection that it does not have yet. */
static status_t send_dpd(ike_sa_t *ike_sa)
{
	if (ike_sa->get_peer_cfg(ike_sa))
		return attached->send_dpd(ike_sa);
	DBG1(DBG_IKE, "no liveness check of a half-open IKE_SA");
	return SUCCESS;
}

static message_t *parse_request(const struct local_half_import *half)
{
	host_t *src = phalanx_host(&half->src), *dst = phalanx_host(&half->dst);
	message_t *message;

	if (!src || !dst) {
		DESTROY_IF(src);
		DESTROY_IF(dst);
		return NULL;
	}
	message = message_create_from_packet(
	    packet_create_from_data(src, dst, chunk_clone(phalanx_chunk(half->request))));
	if (message->parse_header(message) != SUCCESS || !is_first(message)) {
		message->destroy(message);
		return NULL;
	}
	return message;
}

static void remember(private_phalanx_half_t *this, ike_sa_t *ike_sa, message_t *request,
		     const struct local_half_import *half)
{
	nonce_payload_t *payload;
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	entry_t *entry;

	payload = (nonce_payload_t *)request->get_payload(request, PLV2_NONCE);
	/* With another SPI, it is one that charon itself has let in. */
	if (!payload || phalanx_own_spi(ike_sa) != half->spi)
		return;
	INIT(entry, .id = id->clone(id), .nonce_i = payload->get_nonce(payload),
	     .nonce_r = chunk_clone(phalanx_chunk(half->nonce)),
	     .secret = chunk_clone(phalanx_chunk(half->secret)), );
	put_entry(this, half->spi, entry);
	if (ike_sa->send_dpd != send_dpd) {
		this->send_dpd = ike_sa->send_dpd;
		ike_sa->send_dpd = send_dpd;
	}
}

METHOD(phalanx_half_t, import, void, private_phalanx_half_t *this,
       const struct local_half_import *half)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	message_t *message = parse_request(half);
	ike_sa_t *ike_sa;

	if (!message) {
		DBG1(DBG_IKE, "phalanxd sent a malformed half-open IKE_SA");
		return;
	}
	current.given = half;
	/* The manager takes it for counted, as charon does with what comes from the network. */
	manager->track_init(manager, message->get_source(message));
	this->units->force(this->units, half->spi);
	ike_sa = manager->checkout_by_message(manager, message);
	this->units->force(this->units, 0);
	if (ike_sa) {
		DBG1(DBG_IKE, "answering the request of %H again, as another member did",
		     message->get_source(message));
		if (ike_sa->process_message(ike_sa, message) == DESTROY_ME)
			manager->checkin_and_destroy(manager, ike_sa);
		else {
			remember(this, ike_sa, message, half);
			manager->checkin(manager, ike_sa);
		}
	}
	current = (answer_t){ 0 };
	message->destroy(message);
}

static bool derive(ike_sa_t *ike_sa, entry_t *entry)
{
	keymat_v2_t *keymat = (keymat_v2_t *)ike_sa->get_keymat(ike_sa);
	proposal_t *proposal = ike_sa->get_proposal(ike_sa);
	key_exchange_t *ke;
	bool derived;

	/* It has them already if a request has come through. */
	if (keymat->keymat.get_aead(&keymat->keymat, TRUE))
		return TRUE;
	ke = given_ke_create(KE_NONE, chunk_empty, entry->secret);
	derived = proposal && keymat->derive_ike_keys(
				  keymat, proposal, ke, entry->nonce_i, entry->nonce_r,
				  ike_sa->get_id(ike_sa), PRF_UNDEFINED, chunk_empty);
	ke->destroy(ke);
	return derived;
}

static void refuse(ike_sa_t *ike_sa, const struct local_half_fail *fail)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	message_t *message = message_create(IKEV2_MAJOR_VERSION, IKEV2_MINOR_VERSION);
	host_t *src = phalanx_host(&fail->src), *dst = phalanx_host(&fail->dst);
	packet_t *packet;

	message->set_exchange_type(message, IKE_AUTH);
	message->set_request(message, FALSE);
	message->set_message_id(message, fail->mid);
	message->set_ike_sa_id(message, id);
	message->add_notify(message, TRUE, AUTHENTICATION_FAILED, chunk_empty);
	if (src && dst) {
		message->set_source(message, dst->clone(dst));
		message->set_destination(message, src->clone(src));
		if (ike_sa->generate_message(ike_sa, message, &packet) == SUCCESS)
			charon->sender->send(charon->sender, packet);
	}
	DESTROY_IF(src);
	DESTROY_IF(dst);
	message->destroy(message);
}

METHOD(phalanx_half_t, fail, void, private_phalanx_half_t *this,
       const struct local_half_fail *fail)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	entry_t *entry = take_entry(this, fail->spi);
	ike_sa_t *ike_sa = NULL;

	if (entry && entry->secret.len)
		ike_sa = manager->checkout(manager, entry->id);
	if (ike_sa) {
		DBG1(DBG_IKE,
		     "%H authenticates in several rounds and has begun at "
		     "another member, refusing it",
		     ike_sa->get_other_host(ike_sa));
		if (derive(ike_sa, entry))
			refuse(ike_sa, fail);
		manager->checkin_and_destroy(manager, ike_sa);
	}
	entry_destroy(entry);
}

METHOD(phalanx_half_t, attach, void, private_phalanx_half_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	attached = this;
	this->checkout_by_message = manager->checkout_by_message;
	manager->checkout_by_message = checkout_by_message;
	this->create_nonce_gen = lib->crypto->create_nonce_gen;
	lib->crypto->create_nonce_gen = create_nonce_gen;
	this->create_ke = lib->crypto->create_ke;
	lib->crypto->create_ke = create_ke;
	charon->bus->add_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_half_t, detach, void, private_phalanx_half_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	charon->bus->remove_listener(charon->bus, &this->public.listener);
	if (attached == this) {
		lib->crypto->create_nonce_gen = this->create_nonce_gen;
		lib->crypto->create_ke = this->create_ke;
		if (manager)
			manager->checkout_by_message = this->checkout_by_message;
	}
}

static void free_entry(entry_t *entry, const void *key)
{
	entry_destroy(entry);
}

METHOD(phalanx_half_t, destroy, void, private_phalanx_half_t *this)
{
	this->entries->destroy_function(this->entries, (void *)free_entry);
	this->mutex->destroy(this->mutex);
	free(this);
}

phalanx_half_t *phalanx_half_create(phalanx_link_t *link, phalanx_units_t *units)
{
	private_phalanx_half_t *this;

	INIT(this,
		.public = {
			.listener = {
				.message = _message_,
				.ike_state_change = _ike_state_change,
			},
			.attach = _attach,
			.detach = _detach,
			.import = _import,
			.fail = _fail,
			.has = _has,
			.take = _take,
			.destroy = _destroy,
		},
		.link = link,
		.units = units,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.entries = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64),
	);
	return &this->public;
}
