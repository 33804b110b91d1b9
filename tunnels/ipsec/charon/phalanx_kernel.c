/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <collections/hashtable.h>
#include <threading/mutex.h>

#include "src/bpf/unit.h"
#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_kernel.h"
#include "tunnels/ipsec/charon/phalanx_units.h"
#include "tunnels/ipsec/suites.h"

#define QUERY_TIMEOUT_MS 500
#define SPI_RESERVED 255 /* RFC 4303, 2.1 */
#define SPI_TRIES 64

typedef struct private_phalanx_kernel_t private_phalanx_kernel_t;

struct private_phalanx_kernel_t {
	kernel_ipsec_t public;
	phalanx_link_t *link;
	mutex_t *mutex;
	hashtable_t *inbound; /* our SPIs in use, in network byte order */
};

/* In network byte order. */
static __thread uint32_t forced;

void phalanx_kernel_force(uint32_t spi)
{
	forced = spi;
}

METHOD(kernel_ipsec_t, get_features, kernel_feature_t, private_phalanx_kernel_t *this)
{
	/* With this one charon installs the outbound SA of a rekeying at once, so that
	 * phalanxd can replicate both directions before the peer hears of them. */
	return KERNEL_POLICY_SPI;
}

static void *spi_key(uint32_t spi)
{
	return (void *)(uintptr_t)spi;
}

static bool reserve_spi(private_phalanx_kernel_t *this, uint32_t spi)
{
	bool reserved = FALSE;

	this->mutex->lock(this->mutex);
	if (!this->inbound->get(this->inbound, spi_key(spi))) {
		this->inbound->put(this->inbound, spi_key(spi), this);
		reserved = TRUE;
	}
	this->mutex->unlock(this->mutex);
	return reserved;
}

METHOD(kernel_ipsec_t, get_spi, status_t, private_phalanx_kernel_t *this, host_t *src,
       host_t *dst, uint8_t protocol, uint32_t *spi)
{
	ike_sa_t *ike_sa = charon->bus->get_sa(charon->bus);
	status_t status = FAILED;
	uint32_t random;
	rng_t *rng;
	u_int i;

	if (!ike_sa) {
		DBG1(DBG_KNL, "an SPI is wanted without an IKE SA, refused");
		return FAILED;
	}
	if (forced) {
		reserve_spi(this, forced);
		*spi = forced;
		return SUCCESS;
	}
	rng = lib->crypto->create_rng(lib->crypto, RNG_WEAK);
	for (i = 0; rng && i < SPI_TRIES && status != SUCCESS; i++) {
		if (!rng->get_bytes(rng, sizeof(random), (uint8_t *)&random))
			break;
		random &= ~(uint32_t)UNIT_MASK;
		random |= phalanx_own_spi(ike_sa) & UNIT_MASK;
		if (random > SPI_RESERVED && reserve_spi(this, htonl(random))) {
			*spi = htonl(random);
			status = SUCCESS;
		}
	}
	DESTROY_IF(rng);
	return status;
}

METHOD(kernel_ipsec_t, get_cpi, status_t, private_phalanx_kernel_t *this, host_t *src,
       host_t *dst, uint16_t *cpi)
{
	return NOT_SUPPORTED;
}

/* charon does not say the direction with an SPI; both ends' SPIs may be equal. */
static bool is_inbound(private_phalanx_kernel_t *this, kernel_ipsec_sa_id_t *id)
{
	ike_sa_t *ike_sa = charon->bus->get_sa(charon->bus);
	host_t *local = ike_sa ? ike_sa->get_my_host(ike_sa) : NULL;
	bool ours;

	if (local && id->dst->ip_equals(id->dst, local))
		return TRUE;
	if (local && id->src->ip_equals(id->src, local))
		return FALSE;
	this->mutex->lock(this->mutex);
	ours = this->inbound->get(this->inbound, spi_key(id->spi)) != NULL;
	this->mutex->unlock(this->mutex);
	return ours;
}

static void put_lifetimes(struct local_sa_add *add, lifetime_cfg_t *lifetime)
{
	add->soft_time = lifetime->time.rekey;
	add->hard_time = lifetime->time.life;
	add->soft_bytes = lifetime->bytes.rekey;
	add->hard_bytes = lifetime->bytes.life;
	add->soft_packets = lifetime->packets.rekey;
	add->hard_packets = lifetime->packets.life;
}

/* What the peer and the configuration agree on may be more than the engine has. */
static bool has_algorithms(const kernel_ipsec_add_sa_t *data)
{
	bool aead = FALSE, none = data->int_alg == AUTH_UNDEFINED;

	if (!esp_has_encryption(data->enc_alg, data->enc_key.len, &aead)) {
		DBG1(DBG_KNL, "phalanx has no %N with a key of %zu bits for ESP",
		     encryption_algorithm_names, data->enc_alg, data->enc_key.len * 8);
		return FALSE;
	}
	if (aead && none)
		return TRUE;
	if (aead || none || !esp_has_integrity(data->int_alg, data->int_key.len)) {
		DBG1(DBG_KNL, "phalanx has no %N with %N for ESP",
		     encryption_algorithm_names, data->enc_alg, integrity_algorithm_names,
		     data->int_alg);
		return FALSE;
	}
	return TRUE;
}

static uint8_t copied(const kernel_ipsec_add_sa_t *data)
{
	uint8_t copy = data->copy_ecn ? LOCAL_COPY_ECN : 0;

	if (data->copy_df)
		copy |= LOCAL_COPY_DF;
	if (data->copy_dscp == DSCP_COPY_OUT_ONLY || data->copy_dscp == DSCP_COPY_YES)
		copy |= LOCAL_COPY_DSCP_OUT;
	if (data->copy_dscp == DSCP_COPY_IN_ONLY || data->copy_dscp == DSCP_COPY_YES)
		copy |= LOCAL_COPY_DSCP_IN;
	return copy;
}

METHOD(kernel_ipsec_t, add_sa, status_t, private_phalanx_kernel_t *this,
       kernel_ipsec_sa_id_t *id, kernel_ipsec_add_sa_t *data)
{
	ike_sa_t *ike_sa = charon->bus->get_sa(charon->bus);
	struct local_message m = { .type = LOCAL_SA_ADD };
	struct local_sa_add *add = &m.sa_add;
	enumerator_t *enumerator;
	chunk_t src_ts, dst_ts;

	if (!ike_sa || id->proto != IPPROTO_ESP || data->ipcomp != IPCOMP_NONE ||
	    (data->mode != MODE_TUNNEL && data->mode != MODE_TRANSPORT)) {
		DBG1(DBG_KNL, "only ESP in tunnel or transport mode is possible");
		return NOT_SUPPORTED;
	}
	/* An SA that is taken over comes without keys: phalanxd has them. */
	if (!phalanx_is_quiet() && !has_algorithms(data))
		return NOT_SUPPORTED;
	if (data->inbound)
		reserve_spi(this, id->spi);
	enumerator = data->src_ts->create_enumerator(data->src_ts);
	src_ts = phalanx_selectors(enumerator);
	enumerator->destroy(enumerator);
	enumerator = data->dst_ts->create_enumerator(data->dst_ts);
	dst_ts = phalanx_selectors(enumerator);
	enumerator->destroy(enumerator);
	*add = (struct local_sa_add){
		.ike = phalanx_own_spi(ike_sa),
		.spi = ntohl(id->spi),
		.inbound = data->inbound,
		.src = phalanx_addr(id->src),
		.dst = phalanx_addr(id->dst),
		.encap = data->encap,
		.mode = data->mode == MODE_TUNNEL,
		.enc = data->enc_alg,
		.enc_key = phalanx_blob(data->enc_key),
		.integ = data->int_alg == AUTH_UNDEFINED ? 0 : data->int_alg,
		.integ_key = phalanx_blob(data->int_key),
		.window = data->replay_window,
		.esn = data->esn,
		.reqid = data->reqid,
		.src_ts = phalanx_blob(src_ts),
		.dst_ts = phalanx_blob(dst_ts),
		.copy = copied(data),
	};
	put_lifetimes(add, data->lifetime);
	this->link->send(this->link, &m);
	free(src_ts.ptr);
	free(dst_ts.ptr);
	return SUCCESS;
}

METHOD(kernel_ipsec_t, update_sa, status_t, private_phalanx_kernel_t *this,
       kernel_ipsec_sa_id_t *id, kernel_ipsec_update_sa_t *data)
{
	struct local_message m = { .type = LOCAL_SA_UPDATE };

	m.sa_update = (struct local_sa_update){
		.spi = ntohl(id->spi),
		.inbound = is_inbound(this, id),
		.src = phalanx_addr(data->new_src),
		.dst = phalanx_addr(data->new_dst),
		.encap = data->new_encap,
		.was = phalanx_addr(id->dst),
	};
	this->link->send(this->link, &m);
	return SUCCESS;
}

METHOD(kernel_ipsec_t, query_sa, status_t, private_phalanx_kernel_t *this,
       kernel_ipsec_sa_id_t *id, kernel_ipsec_query_sa_t *data, uint64_t *bytes,
       uint64_t *packets, time_t *time)
{
	struct local_message m = { .type = LOCAL_SA_QUERY }, answer;

	m.sa_query.spi = ntohl(id->spi);
	m.sa_query.inbound = is_inbound(this, id);
	m.sa_query.dst = phalanx_addr(id->dst);
	if (!this->link->ask(this->link, &m, &m.sa_query.id, &answer, QUERY_TIMEOUT_MS))
		return FAILED;
	if (!answer.sa_stats.found)
		return NOT_FOUND;
	*bytes = answer.sa_stats.bytes;
	if (packets)
		*packets = answer.sa_stats.packets;
	if (time)
		*time = answer.sa_stats.idle == UINT64_MAX
			    ? 0
			    : time_monotonic(NULL) - (time_t)answer.sa_stats.idle;
	return SUCCESS;
}

METHOD(kernel_ipsec_t, del_sa, status_t, private_phalanx_kernel_t *this,
       kernel_ipsec_sa_id_t *id, kernel_ipsec_del_sa_t *data)
{
	struct local_message m = { .type = LOCAL_SA_DEL };

	m.sa_del.spi = ntohl(id->spi);
	m.sa_del.inbound = is_inbound(this, id);
	m.sa_del.dst = phalanx_addr(id->dst);
	if (m.sa_del.inbound) {
		this->mutex->lock(this->mutex);
		this->inbound->remove(this->inbound, spi_key(id->spi));
		this->mutex->unlock(this->mutex);
	}
	this->link->send(this->link, &m);
	return SUCCESS;
}

METHOD(kernel_ipsec_t, flush_sas, status_t, private_phalanx_kernel_t *this)
{
	/* phalanxd sees the end of the connection. */
	return SUCCESS;
}

METHOD(kernel_ipsec_t, manage_policy, status_t, private_phalanx_kernel_t *this,
       kernel_ipsec_policy_id_t *id, kernel_ipsec_manage_policy_t *data)
{
	return SUCCESS;
}

METHOD(kernel_ipsec_t, query_policy, status_t, private_phalanx_kernel_t *this,
       kernel_ipsec_policy_id_t *id, kernel_ipsec_query_policy_t *data, time_t *use_time)
{
	return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, flush_policies, status_t, private_phalanx_kernel_t *this)
{
	return SUCCESS;
}

METHOD(kernel_ipsec_t, bypass_socket, bool, private_phalanx_kernel_t *this, int fd,
       int family)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, enable_udp_decap, bool, private_phalanx_kernel_t *this, int fd,
       int family, uint16_t port)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, destroy, void, private_phalanx_kernel_t *this)
{
	this->inbound->destroy(this->inbound);
	this->mutex->destroy(this->mutex);
	free(this);
}

kernel_ipsec_t *phalanx_kernel_create(phalanx_link_t *link)
{
	private_phalanx_kernel_t *this;

	INIT(this,
		.public = {
			.get_features = _get_features,
			.get_spi = _get_spi,
			.get_cpi = _get_cpi,
			.add_sa = _add_sa,
			.update_sa = _update_sa,
			.query_sa = _query_sa,
			.del_sa = _del_sa,
			.flush_sas = _flush_sas,
			.add_policy = _manage_policy,
			.query_policy = _query_policy,
			.del_policy = _manage_policy,
			.flush_policies = _flush_policies,
			.bypass_socket = _bypass_socket,
			.enable_udp_decap = _enable_udp_decap,
			.destroy = _destroy,
		},
		.link = link,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.inbound = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 64),
	);
	return &this->public;
}

void phalanx_kernel_moved(const struct local_sa_moved *moved)
{
	host_t *dst = phalanx_host(&moved->dst), *src = phalanx_host(&moved->src);

	if (dst && src)
		charon->kernel->mapping(charon->kernel, IPPROTO_ESP, htonl(moved->spi),
					dst, src);
	DESTROY_IF(dst);
	DESTROY_IF(src);
}

void phalanx_kernel_expire(const struct local_sa_expire *expire)
{
	host_t *dst = phalanx_host(&expire->dst);

	if (dst)
		charon->kernel->expire(charon->kernel, IPPROTO_ESP, htonl(expire->spi),
				       dst, expire->hard);
	DESTROY_IF(dst);
}
