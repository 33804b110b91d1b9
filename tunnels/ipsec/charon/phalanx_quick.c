/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <encoding/payloads/ke_payload.h>
#include <encoding/payloads/nonce_payload.h>
#include <encoding/payloads/sa_payload.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_half.h"
#include "tunnels/ipsec/charon/phalanx_kernel.h"
#include "tunnels/ipsec/charon/phalanx_quick.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

typedef struct private_phalanx_quick_t private_phalanx_quick_t;

struct private_phalanx_quick_t {
	phalanx_quick_t public;
	phalanx_link_t *link;
	phalanx_sessions_t *sessions;
};

/* The request that the calling thread answers, while it does. */
static __thread message_t *begun;
static __thread bool importing;

static uint32_t offered_spi(message_t *message)
{
	sa_payload_t *payload;
	linked_list_t *proposals;
	proposal_t *proposal;
	uint32_t spi = 0;

	payload =
	    (sa_payload_t *)message->get_payload(message, PLV1_SECURITY_ASSOCIATION);
	if (!payload)
		return 0;
	proposals = payload->get_proposals(payload);
	if (proposals->get_first(proposals, (void **)&proposal) == SUCCESS)
		spi = ntohl((uint32_t)proposal->get_spi(proposal));
	proposals->destroy_offset(proposals, offsetof(proposal_t, destroy));
	return spi;
}

/* FALSE if it cannot be had. Without perfect forward secrecy there is none. */
static bool get_secret(message_t *answer, struct local_quick_open *open, chunk_t *secret)
{
	key_exchange_t *ke = phalanx_half_ke();
	ke_payload_t *payload;

	payload = (ke_payload_t *)answer->get_payload(answer, PLV1_KEY_EXCHANGE);
	if (!payload)
		return TRUE;
	if (!ke || !ke->get_shared_secret(ke, secret))
		return FALSE;
	open->method = ke->get_method(ke);
	open->public = phalanx_blob(payload->get_key_exchange_data(payload));
	open->secret = phalanx_blob(*secret);
	return TRUE;
}

static void report(private_phalanx_quick_t *this, ike_sa_t *ike_sa, message_t *answer)
{
	struct local_message m = { .type = LOCAL_QUICK_OPEN };
	chunk_t nonce, secret = chunk_empty, request;
	nonce_payload_t *payload;

	payload = (nonce_payload_t *)answer->get_payload(answer, PLV1_NONCE);
	m.quick_open.spi = offered_spi(answer);
	/* One that came in fragments has no packet of its own. */
	request = begun->get_packet_data(begun);
	if (!payload || !m.quick_open.spi || !request.len)
		return;
	nonce = payload->get_nonce(payload);
	m.quick_open.ike = phalanx_own_spi(ike_sa);
	m.quick_open.src = phalanx_addr(begun->get_source(begun));
	m.quick_open.dst = phalanx_addr(begun->get_destination(begun));
	m.quick_open.request = phalanx_blob(request);
	m.quick_open.nonce = phalanx_blob(nonce);
	if (get_secret(answer, &m.quick_open, &secret))
		this->link->send(this->link, &m);
	chunk_clear(&nonce);
	chunk_clear(&secret);
}

METHOD(listener_t, message_, bool, private_phalanx_quick_t *this, ike_sa_t *ike_sa,
       message_t *message, bool incoming, bool plain)
{
	if (ike_sa->get_version(ike_sa) != IKEV1 || !plain)
		return TRUE;
	if (incoming) {
		begun = message->get_exchange_type(message) == QUICK_MODE &&
				message->get_request(message)
			    ? message
			    : NULL;
		return TRUE;
	}
	if (begun && !importing && message->get_exchange_type(message) == QUICK_MODE &&
	    !message->get_request(message) &&
	    message->get_message_id(message) == begun->get_message_id(begun))
		report(this, ike_sa, message);
	begun = NULL;
	return TRUE;
}

static message_t *parse_request(const struct local_quick_import *quick)
{
	host_t *src = phalanx_host(&quick->src), *dst = phalanx_host(&quick->dst);
	message_t *message;

	if (!src || !dst) {
		DESTROY_IF(src);
		DESTROY_IF(dst);
		return NULL;
	}
	message = message_create_from_packet(packet_create_from_data(
	    src, dst, chunk_clone(phalanx_chunk(quick->request))));
	if (message->parse_header(message) == SUCCESS &&
	    message->get_exchange_type(message) == QUICK_MODE)
		return message;
	message->destroy(message);
	return NULL;
}

static void answer(ike_sa_t *ike_sa, message_t *message,
		   const struct local_quick_import *quick)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	const struct local_half_import given = {
		.nonce = quick->nonce,
		.method = quick->method,
		.public = quick->public,
		.secret = quick->secret,
	};
	status_t status;

	DBG1(DBG_IKE, "answering a quick mode of %H again, as another member did",
	     message->get_source(message));
	importing = TRUE;
	phalanx_half_give(&given);
	phalanx_kernel_force(htonl(quick->spi));
	status = ike_sa->process_message(ike_sa, message);
	phalanx_kernel_force(0);
	phalanx_half_give(NULL);
	importing = FALSE;
	if (status == DESTROY_ME)
		manager->checkin_and_destroy(manager, ike_sa);
	else
		manager->checkin(manager, ike_sa);
}

METHOD(phalanx_quick_t, import, void, private_phalanx_quick_t *this,
       const struct local_quick_import *quick)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_id_t *id = this->sessions->find(this->sessions, quick->ike);
	message_t *message = parse_request(quick);
	ike_sa_t *ike_sa = id && message ? manager->checkout(manager, id) : NULL;

	if (ike_sa)
		answer(ike_sa, message, quick);
	DESTROY_IF(message);
	DESTROY_IF(id);
}

METHOD(phalanx_quick_t, attach, void, private_phalanx_quick_t *this)
{
	charon->bus->add_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_quick_t, detach, void, private_phalanx_quick_t *this)
{
	charon->bus->remove_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_quick_t, destroy, void, private_phalanx_quick_t *this)
{
	free(this);
}

phalanx_quick_t *phalanx_quick_create(phalanx_link_t *link, phalanx_sessions_t *sessions)
{
	private_phalanx_quick_t *this;

	INIT(this,
		.public = {
			.listener = {
				.message = _message_,
			},
			.attach = _attach,
			.detach = _detach,
			.import = _import,
			.destroy = _destroy,
		},
		.link = link,
		.sessions = sessions,
	);
	return &this->public;
}
