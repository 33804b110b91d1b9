/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <collections/hashtable.h>
#include <encoding/payloads/notify_payload.h>
#include <processing/jobs/callback_job.h>
#include <processing/jobs/initiate_tasks_job.h>
#include <threading/mutex.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_sync.h"

/* Above any number that a former owner may have used since: a peer answers one request of
 * ours at a time, and records are never that far behind. */
#define AHEAD 256
/* After 1, 3, 7 and 15 s: charon gives its own requests up much later. */
#define REPEAT_MS 1000
#define REPEATS 4

typedef struct private_phalanx_sync_t private_phalanx_sync_t;
typedef struct attempt_t attempt_t;
typedef struct repetition_t repetition_t;

/* RFC 6311, 3.2: what is said about the numbers, either way. */
typedef struct numbers_t {
	uint32_t nonce, send, recv;
} numbers_t;

/* A request that has not been answered. */
struct attempt_t {
	numbers_t numbers;
	packet_t *packet;
	u_int repeats;
};

/* A job's, which may outlive the attempt. */
struct repetition_t {
	uint64_t spi;
	uint32_t nonce; /* of the attempt */
};

struct private_phalanx_sync_t {
	phalanx_sync_t public;
	phalanx_link_t *link;
	phalanx_sessions_t *sessions;
	mutex_t *mutex;
	hashtable_t *attempts; /* attempt_t by our SPI */
};

/* Jobs may outlive the object, and there is one. */
static private_phalanx_sync_t *attached;

static void *spi_key(uint64_t spi)
{
	return (void *)(uintptr_t)spi;
}

static void attempt_destroy(attempt_t *attempt)
{
	if (!attempt)
		return;
	attempt->packet->destroy(attempt->packet);
	free(attempt);
}

/* That the peer can, and that we can. */

/*
 * Whether the peer can encrypt any number of answers with message ID 0. strongSwan makes the
 * IVs of all other ciphers out of message IDs, and has two for each: after an answer with
 * another ID, or to the first copy of the question, it has none left, and ends the IKE SA.
 */
static bool has_random_ivs(ike_sa_t *ike_sa)
{
	proposal_t *proposal = ike_sa->get_proposal(ike_sa);
	uint16_t alg = ENCR_UNDEFINED;

	if (!proposal ||
	    !proposal->get_algorithm(proposal, ENCRYPTION_ALGORITHM, &alg, NULL))
		return FALSE;
	return alg == ENCR_AES_CBC || alg == ENCR_CAMELLIA_CBC || alg == ENCR_3DES;
}

static bool is_possible(ike_sa_t *ike_sa)
{
	return ike_sa->get_version(ike_sa) == IKEV2 &&
	       ike_sa->get_state(ike_sa) == IKE_ESTABLISHED &&
	       ike_sa->supports_extension(ike_sa, EXT_IKE_MESSAGE_ID_SYNC) &&
	       has_random_ivs(ike_sa);
}

static bool read_numbers(message_t *message, numbers_t *numbers)
{
	notify_payload_t *notify = message->get_notify(message, IKEV2_MESSAGE_ID_SYNC);
	chunk_t bytes;

	if (!notify)
		return FALSE;
	bytes = notify->get_notification_data(notify);
	if (bytes.len != 12)
		return FALSE;
	numbers->nonce = untoh32(bytes.ptr);
	numbers->send = untoh32(bytes.ptr + 4);
	numbers->recv = untoh32(bytes.ptr + 8);
	return TRUE;
}

static void tell(private_phalanx_sync_t *this, enum local_type type, uint64_t spi,
		 uint32_t send, uint32_t recv)
{
	struct local_message m = { .type = type };

	if (type == LOCAL_IKE_SYNCING)
		m.ike_syncing = (struct local_ike_syncing){ spi, send };
	else
		m.ike_synced = (struct local_ike_synced){ spi, send, recv };
	this->link->send(this->link, &m);
}

/* charon itself announces it as the initiator only, and then needs no help. */
METHOD(listener_t, message_, bool, private_phalanx_sync_t *this, ike_sa_t *ike_sa,
       message_t *message, bool incoming, bool plain)
{
	bool first_auth = message->get_exchange_type(message) == IKE_AUTH &&
			  message->get_message_id(message) == 1;
	numbers_t numbers;

	if (!plain || ike_sa->get_version(ike_sa) != IKEV2)
		return TRUE;
	if (incoming && first_auth && message->get_request(message) &&
	    message->get_notify(message, IKEV2_MESSAGE_ID_SYNC_SUPPORTED))
		ike_sa->enable_extension(ike_sa, EXT_IKE_MESSAGE_ID_SYNC);
	if (incoming || message->get_request(message))
		return TRUE;
	if (first_auth && ike_sa->supports_extension(ike_sa, EXT_IKE_MESSAGE_ID_SYNC))
		message->add_notify(message, FALSE, IKEV2_MESSAGE_ID_SYNC_SUPPORTED,
				    chunk_empty);
	/* A peer that is a cluster, too, has begun it, and charon has agreed. */
	if (message->get_exchange_type(message) == INFORMATIONAL &&
	    message->get_message_id(message) == 0 && read_numbers(message, &numbers))
		tell(this, LOCAL_IKE_SYNCED, phalanx_own_spi(ike_sa), numbers.send,
		     numbers.recv);
	return TRUE;
}

/* The request. */

static packet_t *make_request(ike_sa_t *ike_sa, const numbers_t *numbers)
{
	message_t *message = message_create(IKEV2_MAJOR_VERSION, IKEV2_MINOR_VERSION);
	host_t *me = ike_sa->get_my_host(ike_sa), *other = ike_sa->get_other_host(ike_sa);
	packet_t *packet = NULL;
	uint8_t bytes[12];

	htoun32(bytes, numbers->nonce);
	htoun32(bytes + 4, numbers->send);
	htoun32(bytes + 8, numbers->recv);
	message->set_exchange_type(message, INFORMATIONAL);
	message->set_request(message, TRUE);
	message->set_message_id(message, 0);
	message->set_source(message, me->clone(me));
	message->set_destination(message, other->clone(other));
	message->add_notify(message, FALSE, IKEV2_MESSAGE_ID_SYNC,
			    chunk_from_thing(bytes));
	if (ike_sa->generate_message(ike_sa, message, &packet) != SUCCESS)
		packet = NULL;
	message->destroy(message);
	return packet;
}

static attempt_t *take_attempt(private_phalanx_sync_t *this, uint64_t spi)
{
	attempt_t *attempt;

	this->mutex->lock(this->mutex);
	attempt = this->attempts->remove(this->attempts, spi_key(spi));
	this->mutex->unlock(this->mutex);
	return attempt;
}

/* Whether charon has begun what changes the state of the IKE SA: in that state it would not
 * begin it anew. */
static bool has_begun(ike_sa_t *ike_sa)
{
	enumerator_t *enumerator =
	    ike_sa->create_task_enumerator(ike_sa, TASK_QUEUE_ACTIVE);
	bool begun = FALSE;
	task_t *task;

	while (enumerator->enumerate(enumerator, &task))
		switch (task->get_type(task)) {
		case TASK_IKE_REKEY:
		case TASK_IKE_REAUTH:
		case TASK_IKE_DELETE:
			begun = TRUE;
			break;
		default:
			break;
		}
	enumerator->destroy(enumerator);
	return begun;
}

/* The numbers hold from now on. What charon has begun meanwhile has not left, and begins
 * anew; but the peer's requests were answered. */
static void adopt(private_phalanx_sync_t *this, ike_sa_t *ike_sa, uint32_t send,
		  uint32_t recv)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	bool begun = has_begun(ike_sa);

	recv = max(recv, ike_sa->get_message_id(ike_sa, FALSE));
	ike_sa->set_message_id(ike_sa, TRUE, send);
	ike_sa->set_message_id(ike_sa, FALSE, recv);
	if (begun)
		ike_sa->set_state(ike_sa, IKE_ESTABLISHED);
	tell(this, LOCAL_IKE_SYNCED, phalanx_own_spi(ike_sa), send, recv);
	lib->processor->queue_job(lib->processor, (job_t *)initiate_tasks_job_create(id));
}

static ike_sa_t *checkout(private_phalanx_sync_t *this, uint64_t spi)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_id_t *id = this->sessions->find(this->sessions, spi);
	ike_sa_t *ike_sa = id ? manager->checkout(manager, id) : NULL;

	DESTROY_IF(id);
	return ike_sa;
}

/* As if the peer could not do it: it has hardly heard the question. */
static void give_up(private_phalanx_sync_t *this, uint64_t spi)
{
	attempt_t *attempt = take_attempt(this, spi);
	ike_sa_t *ike_sa = attempt ? checkout(this, spi) : NULL;

	if (ike_sa) {
		DBG1(DBG_IKE, "%H does not agree on message IDs",
		     ike_sa->get_other_host(ike_sa));
		adopt(this, ike_sa, attempt->numbers.send - AHEAD, attempt->numbers.recv);
		charon->ike_sa_manager->checkin(charon->ike_sa_manager, ike_sa);
	}
	attempt_destroy(attempt);
}

/* Sends the request of an attempt, again and again. */
static job_requeue_t repeat(repetition_t *repetition)
{
	private_phalanx_sync_t *this = attached;
	attempt_t *attempt;
	bool late = FALSE;
	u_int wait = 0;

	if (!this)
		return JOB_REQUEUE_NONE;
	this->mutex->lock(this->mutex);
	attempt = this->attempts->get(this->attempts, spi_key(repetition->spi));
	if (attempt && attempt->numbers.nonce != repetition->nonce)
		attempt = NULL;
	if (attempt && attempt->repeats < REPEATS) {
		charon->sender->send(charon->sender,
				     attempt->packet->clone(attempt->packet));
		wait = REPEAT_MS << attempt->repeats++;
	} else if (attempt) {
		late = TRUE;
	}
	this->mutex->unlock(this->mutex);
	if (late)
		give_up(this, repetition->spi);
	return attempt && !late ? JOB_RESCHEDULE_MS(wait) : JOB_REQUEUE_NONE;
}

METHOD(phalanx_sync_t, begin, void, private_phalanx_sync_t *this, uint64_t spi)
{
	ike_sa_t *ike_sa = checkout(this, spi);
	rng_t *rng = lib->crypto->create_rng(lib->crypto, RNG_WEAK);
	numbers_t numbers = { 0 };
	attempt_t *attempt;
	packet_t *packet = NULL;
	repetition_t *repetition;

	if (ike_sa && is_possible(ike_sa) && rng &&
	    rng->get_bytes(rng, sizeof(numbers.nonce), (uint8_t *)&numbers.nonce)) {
		numbers.send = ike_sa->get_message_id(ike_sa, TRUE) + AHEAD;
		numbers.recv = ike_sa->get_message_id(ike_sa, FALSE);
		packet = make_request(ike_sa, &numbers);
	}
	if (packet) {
		DBG1(DBG_IKE, "asking %H to agree on message IDs, %u from here, %u back",
		     ike_sa->get_other_host(ike_sa), numbers.send, numbers.recv);
		tell(this, LOCAL_IKE_SYNCING, spi, numbers.send, 0);
		INIT(attempt, .numbers = numbers, .packet = packet, );
		this->mutex->lock(this->mutex);
		attempt = this->attempts->put(this->attempts, spi_key(spi), attempt);
		this->mutex->unlock(this->mutex);
		attempt_destroy(attempt);
		INIT(repetition, .spi = spi, .nonce = numbers.nonce, );
		lib->processor->queue_job(lib->processor, (job_t *)callback_job_create(
							      (callback_job_cb_t)repeat,
							      repetition, free, NULL));
	}
	DESTROY_IF(rng);
	if (ike_sa)
		charon->ike_sa_manager->checkin(charon->ike_sa_manager, ike_sa);
}

/* The answer. */

static bool read_answer(ike_sa_t *ike_sa, const struct local_ike_verify *response,
			numbers_t *numbers)
{
	host_t *src = phalanx_host(&response->src), *dst = phalanx_host(&response->dst);
	message_t *message;
	bool read;

	if (!src || !dst) {
		DESTROY_IF(src);
		DESTROY_IF(dst);
		return FALSE;
	}
	message = message_create_from_packet(packet_create_from_data(
	    src, dst, chunk_clone(phalanx_chunk(response->packet))));
	read = message->parse_header(message) == SUCCESS &&
	       !message->get_request(message) && message->get_message_id(message) == 0 &&
	       message->get_exchange_type(message) == INFORMATIONAL &&
	       message->get_first_payload_type(message) == PLV2_ENCRYPTED &&
	       message->parse_body(message, ike_sa->get_keymat(ike_sa)) == SUCCESS &&
	       read_numbers(message, numbers);
	message->destroy(message);
	return read;
}

METHOD(phalanx_sync_t, answer, bool, private_phalanx_sync_t *this,
       const struct local_ike_verify *response)
{
	attempt_t *attempt;
	numbers_t numbers;
	ike_sa_t *ike_sa;
	bool agreed = FALSE;

	if (response->mid != 0)
		return FALSE;
	this->mutex->lock(this->mutex);
	attempt = this->attempts->get(this->attempts, spi_key(response->spi));
	this->mutex->unlock(this->mutex);
	ike_sa = attempt ? checkout(this, response->spi) : NULL;
	if (!ike_sa)
		return FALSE;
	agreed = read_answer(ike_sa, response, &numbers);
	/* Only the thread that holds the IKE SA takes it. */
	attempt = agreed ? take_attempt(this, response->spi) : NULL;
	agreed = attempt && numbers.nonce == attempt->numbers.nonce;
	if (agreed) {
		DBG1(DBG_IKE, "%H agrees on message IDs, %u from here, %u back",
		     ike_sa->get_other_host(ike_sa), numbers.recv, numbers.send);
		adopt(this, ike_sa, max(numbers.recv, attempt->numbers.send),
		      max(numbers.send, attempt->numbers.recv));
	} else if (attempt) {
		this->mutex->lock(this->mutex);
		this->attempts->put(this->attempts, spi_key(response->spi), attempt);
		this->mutex->unlock(this->mutex);
		attempt = NULL;
	}
	attempt_destroy(attempt);
	charon->ike_sa_manager->checkin(charon->ike_sa_manager, ike_sa);
	return agreed;
}

METHOD(listener_t, ike_state_change, bool, private_phalanx_sync_t *this, ike_sa_t *ike_sa,
       ike_sa_state_t state)
{
	if (state == IKE_DESTROYING)
		attempt_destroy(take_attempt(this, phalanx_own_spi(ike_sa)));
	return TRUE;
}

METHOD(phalanx_sync_t, attach, void, private_phalanx_sync_t *this)
{
	attached = this;
	charon->bus->add_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_sync_t, detach, void, private_phalanx_sync_t *this)
{
	charon->bus->remove_listener(charon->bus, &this->public.listener);
	attached = NULL;
}

static void free_attempt(attempt_t *attempt, const void *key)
{
	attempt_destroy(attempt);
}

METHOD(phalanx_sync_t, destroy, void, private_phalanx_sync_t *this)
{
	this->attempts->destroy_function(this->attempts, (void *)free_attempt);
	this->mutex->destroy(this->mutex);
	free(this);
}

phalanx_sync_t *phalanx_sync_create(phalanx_link_t *link, phalanx_sessions_t *sessions)
{
	private_phalanx_sync_t *this;

	INIT(this,
		.public = {
			.listener = {
				.message = _message_,
				.ike_state_change = _ike_state_change,
			},
			.attach = _attach,
			.detach = _detach,
			.begin = _begin,
			.answer = _answer,
			.destroy = _destroy,
		},
		.link = link,
		.sessions = sessions,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.attempts = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 8),
	);
	return &this->public;
}
