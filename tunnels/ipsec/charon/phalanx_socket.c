/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <processing/jobs/callback_job.h>
#include <processing/jobs/process_message_job.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_kernel.h"
#include "tunnels/ipsec/charon/phalanx_lines.h"
#include "tunnels/ipsec/charon/phalanx_socket.h"
#include "tunnels/ipsec/charon/phalanx_verify.h"

#define MARKER_LEN 4

typedef struct private_phalanx_socket_t private_phalanx_socket_t;

struct private_phalanx_socket_t {
	socket_t public;
	phalanx_link_t *link;
	phalanx_sessions_t *sessions;
	phalanx_lines_t *lines;
	phalanx_import_t *import;
	phalanx_unique_t *unique;
	phalanx_half_t *half;
	phalanx_begun_t *begun;
	phalanx_sync_t *sync;
	phalanx_quick_t *quick;
	phalanx_starts_t *starts;
};

/* A question of phalanxd whether charon is alive. */
typedef struct ping_t {
	phalanx_link_t *link;
	uint32_t id;
} ping_t;

/* charon has one sender, whose methods have no place for user data. */
static phalanx_link_t *sender_link;
static void (*queued_send)(sender_t *sender, packet_t *packet);

/* charon expects and adds the non-ESP marker (RFC 3948) when neither port is 500. */
static bool has_marker(host_t *src, host_t *dst)
{
	return src->get_port(src) != IKEV2_UDP_PORT &&
	       dst->get_port(dst) != IKEV2_UDP_PORT;
}

static packet_t *make_packet(const struct local_ike_rx *rx)
{
	host_t *src = phalanx_host(&rx->src), *dst = phalanx_host(&rx->dst);
	chunk_t bytes = phalanx_chunk(rx->packet), marker = chunk_from_chars(0, 0, 0, 0);

	if (!src || !dst) {
		DESTROY_IF(src);
		DESTROY_IF(dst);
		return NULL;
	}
	if (!has_marker(src, dst))
		marker = chunk_empty;
	return packet_create_from_data(src, dst, chunk_cat("cc", marker, bytes));
}

static void ping_destroy(ping_t *ping)
{
	free(ping);
}

/* By a worker thread, which also takes the locks of the IKE SA manager for a moment: a
 * charon that cannot do that does not work. One whose other threads all wait for a RADIUS
 * server does: no other member's charon would fare better. */
static job_requeue_t pong(ping_t *ping)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	enumerator_t *enumerator = manager->create_enumerator(manager, FALSE);
	struct local_message m = { .type = LOCAL_PONG };
	ike_sa_t *ike_sa;

	enumerator->enumerate(enumerator, &ike_sa);
	enumerator->destroy(enumerator);
	m.pong.id = ping->id;
	ping->link->send(ping->link, &m);
	return JOB_REQUEUE_NONE;
}

static void answer_ping(private_phalanx_socket_t *this, uint32_t id)
{
	ping_t *ping;

	INIT(ping, .link = this->link, .id = id, );
	lib->processor->queue_job(lib->processor,
				  (job_t *)callback_job_create_with_prio(
				      (callback_job_cb_t)pong, ping, (void *)ping_destroy,
				      NULL, JOB_PRIO_CRITICAL));
}

/* The answer to what a former owner has begun is charon's, if charon has begun it, too. */
static packet_t *awaited(private_phalanx_socket_t *this,
			 const struct local_ike_verify *response)
{
	const struct local_ike_rx rx = { .src = response->src,
					 .dst = response->dst,
					 .packet = response->packet };

	if (!this->begun->awaits(this->begun, response->spi, response->mid))
		return NULL;
	return make_packet(&rx);
}

static packet_t *verify(private_phalanx_socket_t *this,
			const struct local_ike_verify *response)
{
	packet_t *packet;

	if (this->sync->answer(this->sync, response))
		return NULL;
	packet = awaited(this, response);
	if (!packet)
		phalanx_verify(this->link, this->sessions, response);
	return packet;
}

/* Works an event off. Returns what is for charon. */
static packet_t *process(private_phalanx_socket_t *this, phalanx_event_t *event)
{
	struct local_message *m = &event->message;
	packet_t *packet = NULL;

	switch (m->type) {
	case LOCAL_IKE_RX:
		packet = make_packet(&m->ike_rx);
		break;
	case LOCAL_PING:
		answer_ping(this, m->ping.id);
		break;
	case LOCAL_IKE_VERIFY:
		packet = verify(this, &m->ike_verify);
		break;
	case LOCAL_HALF_IMPORT:
		this->half->import(this->half, &m->half_import);
		break;
	case LOCAL_HALF_FAIL:
		this->half->fail(this->half, &m->half_fail);
		break;
	case LOCAL_QUICK_IMPORT:
		this->quick->import(this->quick, &m->quick_import);
		break;
	case LOCAL_IKE_REPLACED:
		this->unique->end(this->unique, &m->ike_replaced);
		break;
	case LOCAL_START:
		this->starts->start(this->starts, &m->start);
		break;
	case LOCAL_SA_MOVED:
		phalanx_kernel_moved(&m->sa_moved);
		break;
	case LOCAL_SA_EXPIRE:
		phalanx_kernel_expire(&m->sa_expire);
		break;
	default:
		event = this->import->process(this->import, event);
		break;
	}
	if (event)
		this->link->done(this->link, event);
	return packet;
}

/* As charon's receiver does with a packet of an IKE SA that there is. */
static void hand_over(packet_t *packet)
{
	message_t *message;

	if (has_marker(packet->get_source(packet), packet->get_destination(packet)))
		packet->skip_bytes(packet, MARKER_LEN);
	message = message_create_from_packet(packet);
	if (message->parse_header(message) == SUCCESS)
		lib->processor->queue_job(lib->processor,
					  (job_t *)process_message_job_create(message));
	else
		message->destroy(message);
}

static void by_worker(void *arg, phalanx_event_t *event)
{
	packet_t *packet = process(arg, event);

	if (packet)
		hand_over(packet);
}

METHOD(socket_t, receive, status_t, private_phalanx_socket_t *this, packet_t **packet)
{
	phalanx_event_t *event;

	*packet = NULL;
	while (!*packet) {
		event = this->link->next(this->link);
		if (event->message.type == LOCAL_NONE)
			this->lines->drain(this->lines);
		if (!this->lines->join(this->lines, event))
			*packet = process(this, event);
	}
	return SUCCESS;
}

static void transmit(phalanx_link_t *link, packet_t *packet, chunk_t bytes)
{
	struct local_message m = { .type = LOCAL_IKE_TX };

	m.ike_tx.src = phalanx_addr(packet->get_source(packet));
	m.ike_tx.dst = phalanx_addr(packet->get_destination(packet));
	m.ike_tx.packet = phalanx_blob(bytes);
	link->send(link, &m);
}

METHOD(socket_t, send_, status_t, private_phalanx_socket_t *this, packet_t *packet)
{
	chunk_t bytes = packet->get_data(packet);

	/* NAT keepalives have no marker. */
	if (has_marker(packet->get_source(packet), packet->get_destination(packet)) &&
	    bytes.len > MARKER_LEN)
		bytes = chunk_skip(bytes, MARKER_LEN);
	transmit(this->link, packet, bytes);
	return SUCCESS;
}

/* What a quiet thread tells phalanxd would be dropped, but peers shall have its packets. */
static void send_now(sender_t *sender, packet_t *packet)
{
	if (phalanx_is_quiet()) {
		queued_send(sender, packet);
		return;
	}
	DBG1(DBG_NET, "sending packet: from %#H to %#H (%zu bytes)",
	     packet->get_source(packet), packet->get_destination(packet),
	     packet->get_data(packet).len);
	transmit(sender_link, packet, packet->get_data(packet));
	packet->destroy(packet);
}

void phalanx_sender_attach(phalanx_link_t *link)
{
	sender_link = link;
	queued_send = charon->sender->send;
	charon->sender->send = send_now;
}

void phalanx_sender_detach(void)
{
	if (charon->sender && queued_send)
		charon->sender->send = queued_send;
	queued_send = NULL;
}

METHOD(socket_t, get_port, uint16_t, private_phalanx_socket_t *this, bool nat_t)
{
	return nat_t ? IKEV2_NATT_PORT : IKEV2_UDP_PORT;
}

METHOD(socket_t, supported_families, socket_family_t, private_phalanx_socket_t *this)
{
	return SOCKET_FAMILY_BOTH;
}

METHOD(socket_t, destroy, void, private_phalanx_socket_t *this)
{
	this->lines->destroy(this->lines);
	free(this);
}

socket_t *phalanx_socket_create(phalanx_link_t *link, phalanx_sessions_t *sessions,
				phalanx_import_t *import, phalanx_unique_t *unique,
				phalanx_half_t *half, phalanx_begun_t *begun,
				phalanx_sync_t *sync, phalanx_quick_t *quick,
				phalanx_starts_t *starts)
{
	private_phalanx_socket_t *this;

	INIT(this,
		.public = {
			.receive = _receive,
			.send = _send_,
			.get_port = _get_port,
			.supported_families = _supported_families,
			.destroy = _destroy,
		},
		.link = link,
		.sessions = sessions,
		.import = import,
		.unique = unique,
		.half = half,
		.begun = begun,
		.sync = sync,
		.quick = quick,
		.starts = starts,
	);
	this->lines = phalanx_lines_create(link, sessions, half, by_worker, this);
	return &this->public;
}
