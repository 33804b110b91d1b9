/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_verify.h"

static bool is_encrypted(message_t *message)
{
	payload_type_t first = message->get_first_payload_type(message);

	return first == PLV2_ENCRYPTED || first == PLV2_FRAGMENT;
}

/* One authentic fragment tells enough: the peer has taken the request. */
static bool is_authentic(ike_sa_t *ike_sa, const struct local_ike_verify *response)
{
	host_t *src = phalanx_host(&response->src), *dst = phalanx_host(&response->dst);
	message_t *message;
	bool authentic;

	if (!src || !dst) {
		DESTROY_IF(src);
		DESTROY_IF(dst);
		return FALSE;
	}
	message = message_create_from_packet(packet_create_from_data(
	    src, dst, chunk_clone(phalanx_chunk(response->packet))));
	authentic =
	    message->parse_header(message) == SUCCESS && !message->get_request(message) &&
	    message->get_message_id(message) == response->mid && is_encrypted(message) &&
	    message->parse_body(message, ike_sa->get_keymat(ike_sa)) == SUCCESS;
	message->destroy(message);
	return authentic;
}

void phalanx_verify(phalanx_link_t *link, phalanx_sessions_t *sessions,
		    const struct local_ike_verify *response)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	struct local_message m = { .type = LOCAL_IKE_VERIFIED };
	ike_sa_id_t *id = sessions->find(sessions, response->spi);
	ike_sa_t *ike_sa = id ? manager->checkout(manager, id) : NULL;

	if (ike_sa) {
		m.ike_verified.spi = response->spi;
		m.ike_verified.mid = response->mid;
		if (is_authentic(ike_sa, response))
			link->send(link, &m);
		manager->checkin(manager, ike_sa);
	}
	DESTROY_IF(id);
}
