/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <threading/mutex.h>

#include "src/bpf/unit.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

#define UNIT_BYTES (UNIT_COUNT / 8)

typedef struct private_phalanx_units_t private_phalanx_units_t;

struct private_phalanx_units_t {
	phalanx_units_t public;
	mutex_t *mutex;
	struct unit_key key;
	uint8_t owned[UNIT_BYTES];
	ike_sa_t *(*checkout_by_message)(ike_sa_manager_t *this, message_t *message);
	ike_sa_t *(*checkout_by_config)(ike_sa_manager_t *this, peer_cfg_t *config);
};

/* The manager has no place for user data in its methods, and there is one manager. */
static private_phalanx_units_t *attached;

/* The message that the calling thread checks an IKE SA out for. */
static __thread message_t *current;

/* The connection that the calling thread begins an IKE SA of. */
static __thread peer_cfg_t *connection;

static __thread uint64_t forced;

static uint64_t own_spi(ike_sa_id_t *id)
{
	return be64toh(id->is_initiator(id) ? id->get_initiator_spi(id)
					    : id->get_responder_spi(id));
}

uint64_t phalanx_own_spi(ike_sa_t *ike_sa)
{
	return own_spi(ike_sa->get_id(ike_sa));
}

uint64_t phalanx_peer_spi(ike_sa_t *ike_sa)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);

	return be64toh(id->is_initiator(id) ? id->get_responder_spi(id)
					    : id->get_initiator_spi(id));
}

METHOD(phalanx_units_t, set, void, private_phalanx_units_t *this,
       struct local_blob fold_key, struct local_blob units)
{
	if (fold_key.len != UNIT_KEY_SIZE || units.len != UNIT_BYTES) {
		DBG1(DBG_CFG, "phalanxd sent units of a wrong size, ignored");
		return;
	}
	this->mutex->lock(this->mutex);
	this->key = unit_key_read(fold_key.bytes);
	memcpy(this->owned, units.bytes, UNIT_BYTES);
	this->mutex->unlock(this->mutex);
}

/* The unit that the filter computed for a peer's first message. */
static uint16_t first_unit(private_phalanx_units_t *this, message_t *message)
{
	ike_sa_id_t *id = message->get_ike_sa_id(message);
	host_t *src = message->get_source(message);
	chunk_t address = src->get_address(src);
	struct unit_key key;
	struct unit_ip source = { 0, 0 };

	this->mutex->lock(this->mutex);
	key = this->key;
	this->mutex->unlock(this->mutex);
	if (address.len == 4)
		source = unit_ipv4(untoh32(address.ptr));
	else if (address.len == 16)
		source = unit_ipv6(address.ptr);
	if (message->get_major_version(message) == IKEV1_MAJOR_VERSION)
		return unit_address(&key, source);
	return unit_ike_first(&key, be64toh(id->get_initiator_spi(id)), source);
}

static uint16_t connection_unit(private_phalanx_units_t *this, peer_cfg_t *config)
{
	ike_cfg_t *ike = config->get_ike_cfg(config);
	char *remote = ike->get_other_addr(ike);
	uint16_t unit;

	this->mutex->lock(this->mutex);
	unit = local_connection_unit(&this->key, remote, strlen(remote));
	this->mutex->unlock(this->mutex);
	return unit;
}

METHOD(phalanx_units_t, owns, bool, private_phalanx_units_t *this, peer_cfg_t *config)
{
	uint16_t unit = connection_unit(this, config);
	bool owned;

	this->mutex->lock(this->mutex);
	owned = this->owned[unit / 8] & (1 << (unit % 8));
	this->mutex->unlock(this->mutex);
	return owned;
}

/* Any unit of this member; FALSE if it has none. */
static bool any_unit(private_phalanx_units_t *this, uint64_t random, uint16_t *unit)
{
	u_int i, at;
	bool found = FALSE;

	this->mutex->lock(this->mutex);
	for (i = 0; i < UNIT_COUNT && !found; i++) {
		at = (random + i) & UNIT_MASK;
		found = this->owned[at / 8] & (1 << (at % 8));
	}
	this->mutex->unlock(this->mutex);
	*unit = at;
	return found;
}

/* Called by charon's IKE SA manager; 0 is refused by it. */
static uint64_t choose_spi(private_phalanx_units_t *this)
{
	ike_sa_t *ike_sa = charon->bus->get_sa(charon->bus);
	uint64_t spi;
	uint16_t unit;
	rng_t *rng = lib->crypto->create_rng(lib->crypto, RNG_WEAK);

	if (forced) {
		DESTROY_IF(rng);
		return htobe64(forced);
	}
	if (!rng || !rng->get_bytes(rng, sizeof(spi), (uint8_t *)&spi)) {
		DESTROY_IF(rng);
		return 0;
	}
	rng->destroy(rng);
	if (current)
		unit = first_unit(this, current);
	else if (connection ? connection->get_ike_version(connection) == IKEV1
			    : ike_sa && ike_sa->get_version(ike_sa) == IKEV1) {
		DBG1(DBG_IKE, "only peers begin IKEv1 SAs with a cluster");
		return 0;
	} else if (connection && !owns(this, connection)) {
		DBG1(DBG_IKE, "it is for another member to begin connection '%s'",
		     connection->get_name(connection));
		return 0;
	} else if (connection)
		unit = connection_unit(this, connection);
	else if (ike_sa && phalanx_own_spi(ike_sa))
		unit = phalanx_own_spi(ike_sa) & UNIT_MASK;
	else if (!any_unit(this, spi, &unit)) {
		DBG1(DBG_IKE, "this member owns no work unit, no IKE SA can begin here");
		return 0;
	}
	spi = (spi & ~(uint64_t)UNIT_MASK) | unit;
	return htobe64(spi);
}

static ike_sa_t *checkout_by_message(ike_sa_manager_t *manager, message_t *message)
{
	ike_sa_t *ike_sa;

	current = message;
	ike_sa = attached->checkout_by_message(manager, message);
	current = NULL;
	return ike_sa;
}

static ike_sa_t *checkout_by_config(ike_sa_manager_t *manager, peer_cfg_t *config)
{
	ike_sa_t *ike_sa;

	connection = config;
	ike_sa = attached->checkout_by_config(manager, config);
	connection = NULL;
	return ike_sa;
}

METHOD(phalanx_units_t, force, void, private_phalanx_units_t *this, uint64_t spi)
{
	forced = spi;
}

METHOD(phalanx_units_t, attach, void, private_phalanx_units_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	attached = this;
	this->checkout_by_message = manager->checkout_by_message;
	manager->checkout_by_message = checkout_by_message;
	this->checkout_by_config = manager->checkout_by_config;
	manager->checkout_by_config = checkout_by_config;
	manager->set_spi_cb(manager, (spi_cb_t)choose_spi, this);
}

METHOD(phalanx_units_t, detach, void, private_phalanx_units_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	if (manager && attached == this) {
		manager->set_spi_cb(manager, NULL, NULL);
		manager->checkout_by_message = this->checkout_by_message;
		manager->checkout_by_config = this->checkout_by_config;
	}
	attached = NULL;
}

METHOD(phalanx_units_t, destroy, void, private_phalanx_units_t *this)
{
	this->mutex->destroy(this->mutex);
	memwipe(this, sizeof(*this));
	free(this);
}

phalanx_units_t *phalanx_units_create(void)
{
	private_phalanx_units_t *this;

	INIT(this,
		.public = {
			.set = _set,
			.owns = _owns,
			.force = _force,
			.attach = _attach,
			.detach = _detach,
			.destroy = _destroy,
		},
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
	);
	return &this->public;
}
