/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <encoding/payloads/notify_payload.h>
#include <sa/ikev1/keymat_v1.h>

#include "tunnels/ipsec/charon/phalanx_isakmp.h"

typedef struct known_ke_t known_ke_t;

/* A key exchange whose result is known. */
struct known_ke_t {
	key_exchange_t public;
	chunk_t value, secret;
};

METHOD(key_exchange_t, get_shared_secret, bool, known_ke_t *this, chunk_t *secret)
{
	*secret = chunk_clone(this->secret);
	return TRUE;
}

METHOD(key_exchange_t, get_public_key, bool, known_ke_t *this, chunk_t *value)
{
	*value = chunk_clone(this->value);
	return TRUE;
}

/* charon would become the initiator of a new SA. */
static status_t leave_to_peer(ike_sa_t *ike_sa)
{
	DBG1(DBG_IKE, "IKE_SA %s[%u] is the peer's to renew, it ends with its lifetime",
	     ike_sa->get_name(ike_sa), ike_sa->get_unique_id(ike_sa));
	return SUCCESS;
}

static void restrain(ike_sa_t *ike_sa)
{
	ike_sa->rekey = leave_to_peer;
	ike_sa->reauth = leave_to_peer;
}

void phalanx_isakmp_keys(ike_sa_t *ike_sa, key_exchange_t *dh, chunk_t dh_other,
			 shared_key_t *shared, auth_method_t method, phalanx_keys_t *keys)
{
	if (!dh->get_public_key(dh, &keys->own))
		keys->own = chunk_empty;
	keys->other = chunk_clone(dh_other);
	if (shared)
		keys->psk = chunk_clone(shared->get_key(shared));
	keys->method = method;
	restrain(ike_sa);
}

bool phalanx_isakmp_dpd(message_t *message, uint32_t *number)
{
	notify_payload_t *notify = NULL;
	chunk_t bytes;

	if (message->get_exchange_type(message) == INFORMATIONAL_V1)
		notify = message->get_notify(message, DPD_R_U_THERE);
	if (!notify)
		return FALSE;
	bytes = notify->get_notification_data(notify);
	if (bytes.len != sizeof(*number))
		return FALSE;
	*number = untoh32(bytes.ptr);
	return TRUE;
}

bool phalanx_isakmp_derive(ike_sa_t *ike_sa, const phalanx_ike_state_t *s,
			   proposal_t *proposal)
{
	keymat_v1_t *keymat = (keymat_v1_t *)ike_sa->get_keymat(ike_sa);
	known_ke_t ke = {
		.public = {
			.get_shared_secret = _get_shared_secret,
			.get_public_key = _get_public_key,
		},
		.value = s->keys.own,
		.secret = s->keys.secret,
	};
	shared_key_t *shared = NULL;
	aead_t *aead;
	bool derived;

	if (s->keys.psk.len)
		shared = shared_key_create(SHARED_IKE, chunk_clone(s->keys.psk));
	derived = keymat->create_hasher(keymat, proposal) &&
		  keymat->derive_ike_keys(keymat, proposal, &ke.public, s->keys.other,
					  s->keys.nonce_i, s->keys.nonce_r,
					  ike_sa->get_id(ike_sa), s->keys.method, shared);
	DESTROY_IF(shared);
	if (!derived)
		return FALSE;
	aead = keymat->keymat.get_aead(&keymat->keymat, TRUE);
	return s->iv.len == aead->get_block_size(aead) &&
	       keymat->update_iv(keymat, 0, s->iv) && keymat->confirm_iv(keymat, 0);
}

void phalanx_isakmp_begin(ike_sa_t *ike_sa, const phalanx_ike_state_t *s)
{
	/* The peer's next number, whatever it is, is right for a new SA. */
	if (s->keys.dpd)
		ike_sa->set_message_id(ike_sa, TRUE, s->keys.dpd);
	restrain(ike_sa);
}
