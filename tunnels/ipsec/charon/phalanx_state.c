/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <time.h>

#include <daemon.h>
#include <sa/ikev1/keymat_v1.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_state.h"

#define STATE_MAX (96 * 1024)

void phalanx_keys_clone(phalanx_keys_t *to, const phalanx_keys_t *from)
{
	to->secret = chunk_clone(from->secret);
	to->nonce_i = chunk_clone(from->nonce_i);
	to->nonce_r = chunk_clone(from->nonce_r);
	to->old_skd = chunk_clone(from->old_skd);
	to->old_prf = from->old_prf;
	to->own = chunk_clone(from->own);
	to->other = chunk_clone(from->other);
	to->psk = chunk_clone(from->psk);
	to->method = from->method;
	to->dpd = from->dpd;
}

void phalanx_keys_clear(phalanx_keys_t *keys)
{
	chunk_clear(&keys->secret);
	chunk_clear(&keys->nonce_i);
	chunk_clear(&keys->nonce_r);
	chunk_clear(&keys->old_skd);
	chunk_clear(&keys->own);
	chunk_clear(&keys->other);
	chunk_clear(&keys->psk);
}

static void put_addr(struct pack *p, const struct local_addr *addr)
{
	pack_u8(p, addr->family);
	pack_raw(p, addr->bytes, sizeof(addr->bytes));
	pack_u16(p, addr->port);
}

static void get_addr(struct unpack *u, struct local_addr *addr)
{
	const uint8_t *bytes;

	addr->family = unpack_u8(u);
	bytes = unpack_raw(u, sizeof(addr->bytes));
	if (bytes)
		memcpy(addr->bytes, bytes, sizeof(addr->bytes));
	addr->port = unpack_u16(u);
	if (addr->family != 0 && addr->family != 4 && addr->family != 6)
		u->bad = true;
}

static void put_chunk(struct pack *p, chunk_t chunk)
{
	pack_blob16(p, chunk.ptr, chunk.len);
}

static chunk_t get_chunk(struct unpack *u)
{
	size_t len;
	const uint8_t *bytes = unpack_blob16(u, &len);

	return chunk_create((u_char *)bytes, len);
}

static void put_host(struct pack *p, host_t *host)
{
	struct local_addr addr = phalanx_addr(host);

	put_addr(p, &addr);
}

static void put_identity(struct pack *p, identification_t *id)
{
	chunk_t identity = phalanx_identity(id);

	put_chunk(p, identity);
	free(identity.ptr);
}

static uint16_t algorithm(proposal_t *proposal, transform_type_t type, uint16_t *len)
{
	uint16_t alg = 0, size = 0;

	if (!proposal->get_algorithm(proposal, type, &alg, &size))
		alg = size = 0;
	if (len)
		*len = size;
	return alg;
}

static void put_encryption(struct pack *p, proposal_t *proposal)
{
	uint16_t len, alg = algorithm(proposal, ENCRYPTION_ALGORITHM, &len);

	pack_u16(p, alg);
	pack_u16(p, len);
	pack_u16(p, algorithm(proposal, INTEGRITY_ALGORITHM, NULL));
}

/* All conditions or extensions that are set. */
static uint32_t flags(ike_sa_t *ike_sa, bool (*is_set)(ike_sa_t *this, uint32_t flag))
{
	uint32_t set = 0;
	u_int i;

	for (i = 0; i < 31; i++)
		if (is_set(ike_sa, 1U << i))
			set |= 1U << i;
	return set;
}

static bool has_condition(ike_sa_t *ike_sa, uint32_t flag)
{
	return ike_sa->has_condition(ike_sa, flag);
}

static bool has_extension(ike_sa_t *ike_sa, uint32_t flag)
{
	return ike_sa->supports_extension(ike_sa, flag);
}

static void put_vips(struct pack *p, ike_sa_t *ike_sa)
{
	enumerator_t *enumerator;
	uint8_t *count = p->at, n = 0;
	host_t *vip;

	pack_u8(p, 0);
	enumerator = ike_sa->create_virtual_ip_enumerator(ike_sa, FALSE);
	while (n < PHALANX_VIPS_MAX && enumerator->enumerate(enumerator, &vip)) {
		put_host(p, vip);
		n++;
	}
	enumerator->destroy(enumerator);
	if (!p->bad)
		*count = n;
}

static void put_time(struct pack *p, ike_sa_t *ike_sa, statistic_t which)
{
	uint32_t at = ike_sa->get_statistic(ike_sa, which);

	pack_u64(p, at ? (uint64_t)(time(NULL) - time_monotonic(NULL)) + at : 0);
}

/* The IV with which the first message of each later exchange is made (RFC 2409 appendix B). */
static void put_isakmp(struct pack *p, ike_sa_t *ike_sa, const phalanx_keys_t *keys)
{
	keymat_v1_t *keymat = (keymat_v1_t *)ike_sa->get_keymat(ike_sa);
	chunk_t iv = chunk_empty;

	if (!keymat->get_iv(keymat, 0, &iv) || !iv.len)
		p->bad = true;
	put_chunk(p, keys->own);
	put_chunk(p, keys->other);
	put_chunk(p, keys->psk);
	pack_u16(p, keys->method);
	pack_u32(p, keys->dpd);
	put_chunk(p, iv);
}

static void get_isakmp(struct unpack *u, phalanx_ike_state_t *s)
{
	s->keys.own = get_chunk(u);
	s->keys.other = get_chunk(u);
	s->keys.psk = get_chunk(u);
	s->keys.method = unpack_u16(u);
	s->keys.dpd = unpack_u32(u);
	s->iv = get_chunk(u);
}

static void put_ike(struct pack *p, ike_sa_t *ike_sa, const phalanx_keys_t *keys)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	proposal_t *proposal = ike_sa->get_proposal(ike_sa);

	pack_u8(p, ike_sa->get_version(ike_sa) == IKEV1 ? PHALANX_STATE_ISAKMP
							: PHALANX_STATE_VERSION);
	pack_u64(p, be64toh(id->get_initiator_spi(id)));
	pack_u64(p, be64toh(id->get_responder_spi(id)));
	pack_u8(p, id->is_initiator(id));
	pack_u8(p, ike_sa->get_state(ike_sa) == IKE_REKEYED);
	put_host(p, ike_sa->get_my_host(ike_sa));
	put_host(p, ike_sa->get_other_host(ike_sa));
	put_identity(p, ike_sa->get_my_id(ike_sa));
	put_identity(p, ike_sa->get_other_id(ike_sa));
	put_identity(p, ike_sa->get_other_eap_id(ike_sa));
	put_chunk(p, chunk_from_str(ike_sa->get_name(ike_sa)));
	put_encryption(p, proposal);
	pack_u16(p, algorithm(proposal, PSEUDO_RANDOM_FUNCTION, NULL));
	pack_u16(p, algorithm(proposal, KEY_EXCHANGE_METHOD, NULL));
	put_chunk(p, keys->secret);
	put_chunk(p, keys->nonce_i);
	put_chunk(p, keys->nonce_r);
	put_chunk(p, keys->old_skd);
	pack_u16(p, keys->old_prf);
	pack_u32(p, flags(ike_sa, has_extension));
	pack_u32(p, flags(ike_sa, has_condition));
	put_vips(p, ike_sa);
	if (ike_sa->get_version(ike_sa) == IKEV1)
		put_isakmp(p, ike_sa, keys);
}

static uint64_t digest_of(const uint8_t *from, const uint8_t *to)
{
	static u_char key[16] = "phalanx";

	return chunk_mac(chunk_create((u_char *)from, to - from), key);
}

/* Shrinks a full-sized buffer to what was written. */
static chunk_t finish(uint8_t *buf, struct pack *p)
{
	chunk_t state = chunk_empty;

	if (!p->bad)
		state = chunk_clone(chunk_create(buf, p->at - buf));
	memwipe(buf, p->at - buf);
	free(buf);
	return state;
}

chunk_t phalanx_state_ike(ike_sa_t *ike_sa, const phalanx_keys_t *keys,
			  phalanx_radius_t *radius, uint64_t *digest)
{
	uint8_t *buf = malloc(STATE_MAX);
	struct pack p = pack_to(buf, STATE_MAX);
	uint64_t since;
	chunk_t account = radius->get(radius, ike_sa, &since);

	put_ike(&p, ike_sa, keys);
	put_chunk(&p, account);
	*digest = digest_of(buf, p.at) ^ ike_sa->get_statistic(ike_sa, STAT_REKEY) ^
		  (uint64_t)ike_sa->get_statistic(ike_sa, STAT_REAUTH) << 32;
	put_time(&p, ike_sa, STAT_ESTABLISHED);
	put_time(&p, ike_sa, STAT_REKEY);
	put_time(&p, ike_sa, STAT_REAUTH);
	pack_u64(&p, since);
	free(account.ptr);
	return finish(buf, &p);
}

bool phalanx_state_read_ike(struct local_blob bytes, phalanx_ike_state_t *s)
{
	struct unpack u = unpack_from(bytes.bytes, bytes.len);
	u_int i;

	memset(s, 0, sizeof(*s));
	s->version = unpack_u8(&u) == PHALANX_STATE_ISAKMP ? IKEV1 : IKEV2;
	if (u.bad || (s->version == IKEV2 && bytes.bytes[0] != PHALANX_STATE_VERSION))
		return FALSE;
	s->spi_i = unpack_u64(&u);
	s->spi_r = unpack_u64(&u);
	s->initiator = unpack_u8(&u);
	s->rekeyed = unpack_u8(&u);
	get_addr(&u, &s->local);
	get_addr(&u, &s->remote);
	s->local_id = get_chunk(&u);
	s->remote_id = get_chunk(&u);
	s->eap_id = get_chunk(&u);
	s->name = get_chunk(&u);
	s->encr = unpack_u16(&u);
	s->encr_len = unpack_u16(&u);
	s->integ = unpack_u16(&u);
	s->prf = unpack_u16(&u);
	s->group = unpack_u16(&u);
	s->keys.secret = get_chunk(&u);
	s->keys.nonce_i = get_chunk(&u);
	s->keys.nonce_r = get_chunk(&u);
	s->keys.old_skd = get_chunk(&u);
	s->keys.old_prf = unpack_u16(&u);
	s->extensions = unpack_u32(&u);
	s->conditions = unpack_u32(&u);
	s->vip_count = unpack_u8(&u);
	if (s->vip_count > PHALANX_VIPS_MAX)
		return FALSE;
	for (i = 0; i < s->vip_count; i++)
		get_addr(&u, &s->vips[i]);
	if (s->version == IKEV1)
		get_isakmp(&u, s);
	s->account = get_chunk(&u);
	s->established = unpack_u64(&u);
	s->rekey = unpack_u64(&u);
	s->reauth = unpack_u64(&u);
	s->accounted = unpack_u64(&u);
	return unpack_done(&u) && s->local.family && s->remote.family &&
	       s->local_id.len && s->remote_id.len;
}

static void put_selectors(struct pack *p, child_sa_t *child_sa, bool local)
{
	enumerator_t *enumerator = child_sa->create_ts_enumerator(child_sa, local);
	chunk_t list = phalanx_selectors(enumerator);

	enumerator->destroy(enumerator);
	put_chunk(p, list);
	free(list.ptr);
}

static phalanx_child_phase_t child_phase(child_sa_t *child_sa)
{
	switch (child_sa->get_state(child_sa)) {
	case CHILD_REKEYED:
		return PHALANX_CHILD_REKEYED;
	case CHILD_DELETING:
	case CHILD_DELETED:
		return PHALANX_CHILD_DELETED;
	default:
		return PHALANX_CHILD_INSTALLED;
	}
}

chunk_t phalanx_state_child(child_sa_t *child_sa, uint64_t *digest)
{
	proposal_t *proposal = child_sa->get_proposal(child_sa);
	uint8_t *buf = malloc(STATE_MAX);
	struct pack p = pack_to(buf, STATE_MAX);

	pack_u8(&p, PHALANX_STATE_VERSION);
	pack_u32(&p, ntohl(child_sa->get_spi(child_sa, TRUE)));
	pack_u32(&p, ntohl(child_sa->get_spi(child_sa, FALSE)));
	pack_u32(&p, ntohl(child_sa->get_rekey_spi(child_sa)));
	pack_u8(&p, child_sa->get_mode(child_sa) == MODE_TUNNEL);
	pack_u8(&p, child_sa->has_encap(child_sa));
	pack_u8(&p, child_phase(child_sa));
	put_encryption(&p, proposal);
	pack_u16(&p, algorithm(proposal, KEY_EXCHANGE_METHOD, NULL));
	pack_u16(&p, algorithm(proposal, EXTENDED_SEQUENCE_NUMBERS, NULL));
	put_chunk(&p, chunk_from_str(child_sa->get_name(child_sa)));
	put_selectors(&p, child_sa, TRUE);
	put_selectors(&p, child_sa, FALSE);
	*digest = digest_of(buf, p.at);
	return finish(buf, &p);
}

bool phalanx_state_read_child(struct local_blob bytes, phalanx_child_state_t *s)
{
	struct unpack u = unpack_from(bytes.bytes, bytes.len);

	memset(s, 0, sizeof(*s));
	if (unpack_u8(&u) != PHALANX_STATE_VERSION)
		return FALSE;
	s->spi_in = unpack_u32(&u);
	s->spi_out = unpack_u32(&u);
	s->rekey_spi = unpack_u32(&u);
	s->mode = unpack_u8(&u);
	s->encap = unpack_u8(&u);
	s->phase = unpack_u8(&u);
	s->encr = unpack_u16(&u);
	s->encr_len = unpack_u16(&u);
	s->integ = unpack_u16(&u);
	s->group = unpack_u16(&u);
	s->esn = unpack_u16(&u);
	s->name = get_chunk(&u);
	s->local_ts = get_chunk(&u);
	s->remote_ts = get_chunk(&u);
	return unpack_done(&u);
}
