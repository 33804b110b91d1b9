/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <collections/hashtable.h>
#include <collections/linked_list.h>
#include <processing/jobs/callback_job.h>
#include <threading/condvar.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#include "cluster/pack.h"
#include "tunnels/ipsec/charon/phalanx_lines.h"

/* Of one IKE SA. More packets are dropped, as UDP is; all else is bounded by phalanxd. */
#define LINE_MAX_PACKETS 64

typedef struct private_phalanx_lines_t private_phalanx_lines_t;
typedef struct line_t line_t;

struct private_phalanx_lines_t {
	phalanx_lines_t public;
	phalanx_link_t *link;
	phalanx_sessions_t *sessions;
	phalanx_half_t *half;
	phalanx_work_t work;
	void *arg;
	mutex_t *mutex; /* for all below */
	condvar_t *none;
	hashtable_t *lines; /* line_t by our SPI */
};

struct line_t {
	private_phalanx_lines_t *owner;
	uint64_t spi;
	linked_list_t *events; /* phalanx_event_t */
};

static void *spi_key(uint64_t spi)
{
	return (void *)(uintptr_t)spi;
}

/* Our SPI of a packet is one of its two; 0: it is too short. */
static uint64_t packet_spi(struct local_blob packet, bool second)
{
	struct unpack u = unpack_from(packet.bytes, packet.len);

	if (second)
		unpack_u64(&u);
	return unpack_u64(&u);
}

/* Our SPI; 0: the event is of no IKE SA, or, for a packet, see above. */
static uint64_t spi_of(const struct local_message *m)
{
	switch (m->type) {
	case LOCAL_IKE_IMPORT:
		return m->ike_import.spi;
	case LOCAL_CHILD_IMPORT:
		return m->child_import.ike;
	case LOCAL_IKE_ACTIVATE:
		return m->ike_activate.spi;
	case LOCAL_QUICK_IMPORT:
		return m->quick_import.ike;
	case LOCAL_HALF_IMPORT:
		return m->half_import.spi;
	case LOCAL_HALF_FAIL:
		return m->half_fail.spi;
	case LOCAL_IKE_DROP:
		return m->ike_drop.spi;
	case LOCAL_IKE_VERIFY:
		return m->ike_verify.spi;
	case LOCAL_IKE_REPLACED:
		return m->ike_replaced.spi;
	case LOCAL_IKE_END:
		return m->ike_end.spi;
	case LOCAL_CHILD_END:
		return m->child_end.spi;
	default:
		return 0;
	}
}

/* Whether the IKE SA, which is there, is to be waited for. */
static bool is_slow(enum local_type type)
{
	switch (type) {
	case LOCAL_IKE_ACTIVATE: /* the SA that is there goes before */
	case LOCAL_QUICK_IMPORT:
	case LOCAL_HALF_FAIL:
	case LOCAL_IKE_DROP:
	case LOCAL_IKE_VERIFY:
	case LOCAL_IKE_REPLACED:
	case LOCAL_IKE_END:
	case LOCAL_CHILD_END:
		return TRUE;
	default:
		return FALSE;
	}
}

/* A session is known before it ceases to be half-open. */
static bool knows(private_phalanx_lines_t *this, uint64_t spi)
{
	ike_sa_id_t *id;

	if (this->half->has(this->half, spi))
		return TRUE;
	id = this->sessions->find(this->sessions, spi);
	if (!id)
		return FALSE;
	id->destroy(id);
	return TRUE;
}

/* With the mutex held. */
static line_t *find(private_phalanx_lines_t *this, const struct local_message *m)
{
	line_t *line;

	if (m->type != LOCAL_IKE_RX)
		return this->lines->get(this->lines, spi_key(spi_of(m)));
	line =
	    this->lines->get(this->lines, spi_key(packet_spi(m->ike_rx.packet, FALSE)));
	return line
		   ?: this->lines->get(this->lines,
				       spi_key(packet_spi(m->ike_rx.packet, TRUE)));
}

/* The first event of the line; NULL: it is empty, and no line any more. */
static phalanx_event_t *first(line_t *line)
{
	private_phalanx_lines_t *this = line->owner;
	phalanx_event_t *event = NULL;

	this->mutex->lock(this->mutex);
	if (line->events->remove_first(line->events, (void **)&event) != SUCCESS) {
		event = NULL;
		this->lines->remove(this->lines, spi_key(line->spi));
		this->none->broadcast(this->none);
	}
	this->mutex->unlock(this->mutex);
	return event;
}

/* Also if charon ends before the job has begun. */
static void line_destroy(line_t *line)
{
	private_phalanx_lines_t *this = line->owner;
	phalanx_event_t *event;

	while ((event = first(line)))
		this->link->done(this->link, event);
	line->events->destroy(line->events);
	free(line);
}

static job_requeue_t work_off(line_t *line)
{
	private_phalanx_lines_t *this = line->owner;
	phalanx_event_t *event;

	while ((event = first(line)))
		this->work(this->arg, event);
	return JOB_REQUEUE_NONE;
}

/* With the mutex held. */
static void begin(private_phalanx_lines_t *this, phalanx_event_t *event)
{
	line_t *line;

	INIT(line, .owner = this, .spi = spi_of(&event->message),
	     .events = linked_list_create(), );
	line->events->insert_last(line->events, event);
	this->lines->put(this->lines, spi_key(line->spi), line);
	lib->processor->queue_job(lib->processor,
				  (job_t *)callback_job_create_with_prio(
				      (callback_job_cb_t)work_off, line,
				      (void *)line_destroy, NULL, JOB_PRIO_HIGH));
}

METHOD(phalanx_lines_t, join, bool, private_phalanx_lines_t *this, phalanx_event_t *event)
{
	struct local_message *m = &event->message;
	uint64_t spi = spi_of(m);
	bool slow, joined = TRUE;
	line_t *line;

	if (!spi && m->type != LOCAL_IKE_RX)
		return FALSE;
	slow = is_slow(m->type) && knows(this, spi);
	this->mutex->lock(this->mutex);
	line = find(this, m);
	if (line && !spi && line->events->get_count(line->events) >= LINE_MAX_PACKETS)
		this->link->done(this->link, event);
	else if (line)
		line->events->insert_last(line->events, event);
	else if (slow)
		begin(this, event);
	else
		joined = FALSE;
	this->mutex->unlock(this->mutex);
	return joined;
}

METHOD(phalanx_lines_t, drain, void, private_phalanx_lines_t *this)
{
	bool cancelable;

	this->mutex->lock(this->mutex);
	thread_cleanup_push((thread_cleanup_t)this->mutex->unlock, this->mutex);
	cancelable = thread_cancelability(TRUE);
	while (this->lines->get_count(this->lines))
		this->none->wait(this->none, this->mutex);
	thread_cancelability(cancelable);
	thread_cleanup_pop(TRUE);
}

METHOD(phalanx_lines_t, destroy, void, private_phalanx_lines_t *this)
{
	this->lines->destroy(this->lines);
	this->none->destroy(this->none);
	this->mutex->destroy(this->mutex);
	free(this);
}

phalanx_lines_t *phalanx_lines_create(phalanx_link_t *link, phalanx_sessions_t *sessions,
				      phalanx_half_t *half, phalanx_work_t work,
				      void *arg)
{
	private_phalanx_lines_t *this;

	INIT(this,
		.public = {
			.join = _join,
			.drain = _drain,
			.destroy = _destroy,
		},
		.link = link,
		.sessions = sessions,
		.half = half,
		.work = work,
		.arg = arg,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.none = condvar_create(CONDVAR_TYPE_DEFAULT),
		.lines = hashtable_create(hashtable_hash_ptr, hashtable_equals_ptr, 16),
	);
	return &this->public;
}
