/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <processing/jobs/callback_job.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_kernel.h"
#include "tunnels/ipsec/charon/phalanx_socket.h"

#define MARKER_LEN 4

typedef struct private_phalanx_socket_t private_phalanx_socket_t;

struct private_phalanx_socket_t {
	socket_t public;
	phalanx_link_t *link;
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

/* An event for a worker thread. */
typedef struct later_t {
	private_phalanx_socket_t *socket;
	phalanx_event_t *event;
} later_t;

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
 * charon that cannot do that does not work. */
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
				      NULL, JOB_PRIO_HIGH));
}

static void later_destroy(later_t *later)
{
	later->socket->link->done(later->socket->link, later->event);
	free(later);
}

static job_requeue_t work(later_t *later)
{
	private_phalanx_socket_t *this = later->socket;
	struct local_message *m = &later->event->message;

	if (m->type == LOCAL_IKE_REPLACED)
		this->unique->end(this->unique, &m->ike_replaced);
	else
		this->import->process(this->import, later->event);
	return JOB_REQUEUE_NONE;
}

/* What ends an SA may wait: for who works on it, and for all that wants to know of its end, as
 * accounting does. charon's only receiver must not. */
static void by_worker(private_phalanx_socket_t *this, phalanx_event_t *event)
{
	later_t *later;

	INIT(later, .socket = this, .event = event, );
	lib->processor->queue_job(
	    lib->processor, (job_t *)callback_job_create((callback_job_cb_t)work, later,
							 (void *)later_destroy, NULL));
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

METHOD(socket_t, receive, status_t, private_phalanx_socket_t *this, packet_t **packet)
{
	phalanx_event_t *event;
	packet_t *received = NULL;

	while (!received) {
		event = this->link->next(this->link);
		switch (event->message.type) {
		case LOCAL_IKE_RX:
			received = make_packet(&event->message.ike_rx);
			break;
		case LOCAL_PING:
			answer_ping(this, event->message.ping.id);
			break;
		case LOCAL_IKE_VERIFY:
			if (this->sync->answer(this->sync, &event->message.ike_verify))
				break;
			received = awaited(this, &event->message.ike_verify);
			if (!received)
				event = this->import->process(this->import, event);
			break;
		case LOCAL_HALF_IMPORT:
			this->half->import(this->half, &event->message.half_import);
			break;
		case LOCAL_HALF_FAIL:
			this->half->fail(this->half, &event->message.half_fail);
			break;
		case LOCAL_QUICK_IMPORT:
			this->quick->import(this->quick, &event->message.quick_import);
			break;
		case LOCAL_IKE_REPLACED:
		case LOCAL_IKE_END:
		case LOCAL_CHILD_END:
			by_worker(this, event);
			event = NULL;
			break;
		case LOCAL_START:
			this->starts->start(this->starts, &event->message.start);
			break;
		case LOCAL_SA_MOVED:
			phalanx_kernel_moved(&event->message.sa_moved);
			break;
		case LOCAL_SA_EXPIRE:
			phalanx_kernel_expire(&event->message.sa_expire);
			break;
		default:
			event = this->import->process(this->import, event);
			break;
		}
		if (event)
			this->link->done(this->link, event);
	}
	*packet = received;
	return SUCCESS;
}

METHOD(socket_t, send_, status_t, private_phalanx_socket_t *this, packet_t *packet)
{
	host_t *src = packet->get_source(packet), *dst = packet->get_destination(packet);
	chunk_t bytes = packet->get_data(packet);
	struct local_message m = { .type = LOCAL_IKE_TX };

	if (has_marker(src, dst)) {
		/* NAT keepalives have no marker; phalanxd sends those itself. */
		if (bytes.len <= MARKER_LEN)
			return SUCCESS;
		bytes = chunk_skip(bytes, MARKER_LEN);
	}
	m.ike_tx.src = phalanx_addr(src);
	m.ike_tx.dst = phalanx_addr(dst);
	m.ike_tx.packet = phalanx_blob(bytes);
	this->link->send(this->link, &m);
	return SUCCESS;
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
	free(this);
}

socket_t *phalanx_socket_create(phalanx_link_t *link, phalanx_import_t *import,
				phalanx_unique_t *unique, phalanx_half_t *half,
				phalanx_begun_t *begun, phalanx_sync_t *sync,
				phalanx_quick_t *quick, phalanx_starts_t *starts)
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
		.import = import,
		.unique = unique,
		.half = half,
		.begun = begun,
		.sync = sync,
		.quick = quick,
		.starts = starts,
	);
	return &this->public;
}
