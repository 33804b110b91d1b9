/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <daemon.h>
#include <collections/blocking_queue.h>
#include <collections/linked_list.h>
#include <threading/condvar.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#include "tunnels/ipsec/charon/phalanx_link.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 1000
#define SOCKET_BUFFER (4 * 1024 * 1024)
#define BACKLOG_MAX (64 * 1024 * 1024)
/* IKE packets that may wait for charon; more are dropped, as UDP is. All else that phalanxd
 * sends is bounded by itself. */
#define PACKETS_MAX 4096

typedef struct private_phalanx_link_t private_phalanx_link_t;
typedef struct waiter_t waiter_t;
typedef struct parcel_t parcel_t;

/* A thread that waits for an answer. */
struct waiter_t {
	uint32_t id;
	enum local_type type;
	struct local_message *answer;
	bool answered;
};

/* An encoded message that the socket had no room for. */
struct parcel_t {
	size_t len;
	uint8_t bytes[];
};

struct private_phalanx_link_t {
	phalanx_link_t public;
	char *path;
	phalanx_units_t *units;
	bool (*ready)(void);
	void (*greeted)(void *arg);
	void *greeted_arg;

	mutex_t *mutex; /* for all below */
	condvar_t *changed;
	int fd; /* -1: none */
	bool up;
	bool stopping;
	bool lost_pending; /* charon's SAs of the last connection are still there */
	uint32_t last_id;
	linked_list_t *waiters;
	linked_list_t *backlog;
	size_t backlog_bytes;
	u_int packets; /* among the events */
	uint8_t *out;

	uint8_t *in; /* the reader's alone */
	blocking_queue_t *events;
	thread_t *reader;
	thread_t *writer;
};

static __thread int quiet;

void phalanx_quiet(bool enable)
{
	quiet += enable ? 1 : -1;
}

bool phalanx_is_quiet(void)
{
	return quiet > 0;
}

static enum local_type answer_type(enum local_type query)
{
	switch (query) {
	case LOCAL_SA_QUERY:
		return LOCAL_SA_STATS;
	case LOCAL_ADDRESS_WANT:
		return LOCAL_ADDRESS;
	case LOCAL_UNIQUE_ASK:
		return LOCAL_UNIQUE;
	case LOCAL_CONTACT_ASK:
		return LOCAL_CONTACT;
	case LOCAL_INITIATE:
		return LOCAL_INITIATED;
	case LOCAL_TERMINATE:
		return LOCAL_TERMINATED;
	default:
		return LOCAL_NONE;
	}
}

static void parcel_destroy(parcel_t *parcel)
{
	memwipe(parcel->bytes, parcel->len);
	free(parcel);
}

static void clear_backlog(private_phalanx_link_t *this)
{
	parcel_t *parcel;

	while (this->backlog->remove_first(this->backlog, (void **)&parcel) == SUCCESS)
		parcel_destroy(parcel);
	this->backlog_bytes = 0;
}

/* Makes the reader see the end of the connection. */
static void break_connection(private_phalanx_link_t *this)
{
	this->up = FALSE;
	if (this->fd != -1)
		shutdown(this->fd, SHUT_RDWR);
	clear_backlog(this);
	this->changed->broadcast(this->changed);
}

static void queue_bytes(private_phalanx_link_t *this, const uint8_t *bytes, size_t len)
{
	parcel_t *parcel;

	if (this->backlog_bytes + len > BACKLOG_MAX) {
		DBG1(DBG_NET, "phalanxd does not read, closing the connection to it");
		break_connection(this);
		return;
	}
	parcel = malloc(sizeof(*parcel) + len);
	parcel->len = len;
	memcpy(parcel->bytes, bytes, len);
	this->backlog->insert_last(this->backlog, parcel);
	this->backlog_bytes += len;
	this->changed->broadcast(this->changed);
}

/* With the mutex held. */
static void transmit(private_phalanx_link_t *this, struct local_message *message)
{
	size_t len = local_encode(message, this->out, LOCAL_MESSAGE_MAX);

	if (!len) {
		DBG1(DBG_NET, "message %s to phalanxd is too large, dropped",
		     local_type_name(message->type));
		return;
	}
	if (this->backlog->get_count(this->backlog))
		queue_bytes(this, this->out, len);
	else if (send(this->fd, this->out, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ||
		    errno == EINTR)
			queue_bytes(this, this->out, len);
		else
			break_connection(this);
	}
	memwipe(this->out, len);
}

METHOD(phalanx_link_t, send_, void, private_phalanx_link_t *this,
       struct local_message *message)
{
	if (phalanx_is_quiet())
		return;
	this->mutex->lock(this->mutex);
	if (this->up)
		transmit(this, message);
	this->mutex->unlock(this->mutex);
}

METHOD(phalanx_link_t, ask, bool, private_phalanx_link_t *this,
       struct local_message *query, uint32_t *id, struct local_message *answer,
       u_int timeout_ms)
{
	waiter_t waiter = { .type = answer_type(query->type), .answer = answer };
	timeval_t deadline;

	if (phalanx_is_quiet())
		return FALSE;
	time_monotonic(&deadline);
	timeval_add_ms(&deadline, timeout_ms);
	this->mutex->lock(this->mutex);
	if (this->up) {
		waiter.id = *id = ++this->last_id;
		this->waiters->insert_last(this->waiters, &waiter);
		transmit(this, query);
		while (
		    this->up && !waiter.answered &&
		    !this->changed->timed_wait_abs(this->changed, this->mutex, deadline))
			;
		this->waiters->remove(this->waiters, &waiter, NULL);
	}
	this->mutex->unlock(this->mutex);
	return waiter.answered;
}

static void event_destroy(phalanx_event_t *event)
{
	/* Imports carry secrets. */
	memwipe(event->bytes, event->len);
	free(event);
}

METHOD(phalanx_link_t, next, phalanx_event_t *, private_phalanx_link_t *this)
{
	phalanx_event_t *event;
	bool late;

	for (;;) {
		event = this->events->dequeue(this->events);
		this->mutex->lock(this->mutex);
		if (event->message.type == LOCAL_IKE_RX)
			this->packets--;
		/* charon's manager refuses new IKE SAs at its end, and does not survive that. */
		late = this->stopping && event->message.type != LOCAL_NONE;
		this->mutex->unlock(this->mutex);
		if (!late)
			return event;
		event_destroy(event);
	}
}

METHOD(phalanx_link_t, done, void, private_phalanx_link_t *this, phalanx_event_t *event)
{
	if (event->message.type == LOCAL_NONE) {
		this->mutex->lock(this->mutex);
		this->lost_pending = FALSE;
		this->changed->broadcast(this->changed);
		this->mutex->unlock(this->mutex);
	}
	event_destroy(event);
}

static void give_answer(private_phalanx_link_t *this, struct local_message *message,
			uint32_t id)
{
	enumerator_t *enumerator;
	waiter_t *waiter;

	this->mutex->lock(this->mutex);
	enumerator = this->waiters->create_enumerator(this->waiters);
	while (enumerator->enumerate(enumerator, &waiter)) {
		if (waiter->id == id && waiter->type == message->type) {
			*waiter->answer = *message;
			waiter->answered = TRUE;
			this->changed->broadcast(this->changed);
			break;
		}
	}
	enumerator->destroy(enumerator);
	this->mutex->unlock(this->mutex);
}

/* FALSE if too many packets wait. */
static bool count_packet(private_phalanx_link_t *this)
{
	bool room;

	this->mutex->lock(this->mutex);
	room = this->packets < PACKETS_MAX;
	if (room)
		this->packets++;
	this->mutex->unlock(this->mutex);
	return room;
}

static void queue_event(private_phalanx_link_t *this, size_t len)
{
	phalanx_event_t *event = malloc(sizeof(*event) + len);

	event->len = len;
	event->message.type = LOCAL_NONE;
	memcpy(event->bytes, this->in, len);
	if (len && local_decode(event->bytes, len, &event->message) != 0)
		event_destroy(event);
	else
		this->events->enqueue(this->events, event);
}

static void dispatch(private_phalanx_link_t *this, struct local_message *m, size_t len)
{
	switch (m->type) {
	case LOCAL_UNITS:
		this->units->set(this->units, m->units.fold_key, m->units.units);
		break;
	case LOCAL_SA_STATS:
		give_answer(this, m, m->sa_stats.id);
		break;
	case LOCAL_ADDRESS:
		give_answer(this, m, m->address.id);
		break;
	case LOCAL_UNIQUE:
		give_answer(this, m, m->unique.id);
		break;
	case LOCAL_CONTACT:
		give_answer(this, m, m->contact.id);
		break;
	case LOCAL_INITIATED:
		give_answer(this, m, m->initiated.id);
		break;
	case LOCAL_TERMINATED:
		give_answer(this, m, m->terminated.id);
		break;
	case LOCAL_IKE_RX:
		if (count_packet(this))
			queue_event(this, len);
		break;
	case LOCAL_PING:
	case LOCAL_IKE_REPLACED:
	case LOCAL_IKE_VERIFY:
	case LOCAL_HALF_IMPORT:
	case LOCAL_QUICK_IMPORT:
	case LOCAL_HALF_FAIL:
	case LOCAL_SA_EXPIRE:
	case LOCAL_SA_MOVED:
	case LOCAL_IKE_IMPORT:
	case LOCAL_CHILD_IMPORT:
	case LOCAL_IKE_ACTIVATE:
	case LOCAL_IKE_DROP:
	case LOCAL_IKE_END:
	case LOCAL_START:
	case LOCAL_CHILD_END:
		queue_event(this, len);
		break;
	default:
		DBG1(DBG_NET, "phalanxd sent an unexpected %s", local_type_name(m->type));
		break;
	}
}

static int open_socket(private_phalanx_link_t *this)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int size = SOCKET_BUFFER, fd;

	if (strlen(this->path) >= sizeof(address.sun_path)) {
		DBG1(DBG_CFG, "path of phalanxd's socket is too long: %s", this->path);
		return -1;
	}
	strncpy(address.sun_path, this->path, sizeof(address.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == -1)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

/* 0 if the connection ended or the message is not understood. */
static size_t read_message(private_phalanx_link_t *this, int fd,
			   struct local_message *message)
{
	ssize_t len;

	do {
		len = recv(fd, this->in, LOCAL_MESSAGE_MAX, 0);
	} while (len == -1 && errno == EINTR);
	if (len <= 0)
		return 0;
	if (local_decode(this->in, len, message) != 0) {
		DBG1(DBG_NET, "phalanxd sent a malformed message");
		return 0;
	}
	return len;
}

static bool greet(private_phalanx_link_t *this, int fd)
{
	struct local_message message = { .type = LOCAL_HELLO };

	message.hello.version = LOCAL_VERSION;
	message.hello.charon = phalanx_blob(chunk_from_str(VERSION));
	this->mutex->lock(this->mutex);
	transmit(this, &message);
	this->mutex->unlock(this->mutex);
	if (!read_message(this, fd, &message))
		return FALSE;
	if (message.type != LOCAL_WELCOME || message.welcome.version != LOCAL_VERSION) {
		DBG1(DBG_NET, "phalanxd speaks another version of the local protocol");
		return FALSE;
	}
	this->units->set(this->units, message.welcome.fold_key, message.welcome.units);
	DBG1(DBG_NET, "connected to phalanxd, this is member %u", message.welcome.self);
	this->mutex->lock(this->mutex);
	this->up = !this->stopping;
	this->mutex->unlock(this->mutex);
	this->greeted(this->greeted_arg);
	return TRUE;
}

/* Waits until charon has no SAs of the lost connection any more. */
static void await_cleanup(private_phalanx_link_t *this)
{
	this->mutex->lock(this->mutex);
	this->lost_pending = TRUE;
	queue_event(this, 0);
	while (this->lost_pending && !this->stopping)
		this->changed->wait(this->changed, this->mutex);
	this->mutex->unlock(this->mutex);
}

static bool serve(private_phalanx_link_t *this)
{
	struct local_message message;
	bool greeted;
	size_t len;
	int fd = open_socket(this);

	if (fd == -1)
		return FALSE;
	this->mutex->lock(this->mutex);
	this->fd = fd;
	if (this->stopping)
		shutdown(fd, SHUT_RDWR);
	this->mutex->unlock(this->mutex);
	greeted = greet(this, fd);
	while (greeted && (len = read_message(this, fd, &message))) {
		dispatch(this, &message, len);
		/* Imports carry secrets. */
		memwipe(this->in, len);
	}
	memwipe(this->in, LOCAL_MESSAGE_MAX);
	this->mutex->lock(this->mutex);
	break_connection(this);
	this->fd = -1;
	this->mutex->unlock(this->mutex);
	close(fd);
	return greeted;
}

static void *read_loop(private_phalanx_link_t *this)
{
	u_int retry_ms = RETRY_MIN_MS;
	bool stopping = FALSE;

	while (!stopping) {
		if (this->ready() && serve(this)) {
			retry_ms = RETRY_MIN_MS;
			this->mutex->lock(this->mutex);
			stopping = this->stopping;
			this->mutex->unlock(this->mutex);
			if (!stopping) {
				DBG1(DBG_NET, "lost the connection to phalanxd");
				await_cleanup(this);
			}
		}
		this->mutex->lock(this->mutex);
		if (!this->stopping)
			this->changed->timed_wait(this->changed, this->mutex, retry_ms);
		stopping = this->stopping;
		this->mutex->unlock(this->mutex);
		retry_ms = min(retry_ms * 2, RETRY_MAX_MS);
	}
	return NULL;
}

/* Sends the first message of the backlog; with the mutex held. */
static bool send_first(private_phalanx_link_t *this)
{
	parcel_t *parcel;

	this->backlog->get_first(this->backlog, (void **)&parcel);
	if (send(this->fd, parcel->bytes, parcel->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return FALSE;
	this->backlog->remove_first(this->backlog, (void **)&parcel);
	this->backlog_bytes -= parcel->len;
	parcel_destroy(parcel);
	return TRUE;
}

static void *write_loop(private_phalanx_link_t *this)
{
	struct pollfd pfd = { .events = POLLOUT };

	this->mutex->lock(this->mutex);
	while (!this->stopping) {
		if (this->fd == -1 || !this->backlog->get_count(this->backlog)) {
			this->changed->wait(this->changed, this->mutex);
			continue;
		}
		if (send_first(this))
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS &&
		    errno != EINTR) {
			break_connection(this);
			continue;
		}
		pfd.fd = this->fd;
		this->mutex->unlock(this->mutex);
		poll(&pfd, 1, 10);
		this->mutex->lock(this->mutex);
	}
	this->mutex->unlock(this->mutex);
	return NULL;
}

METHOD(phalanx_link_t, start, void, private_phalanx_link_t *this, bool (*ready)(void),
       void (*greeted)(void *arg), void *arg)
{
	this->ready = ready;
	this->greeted = greeted;
	this->greeted_arg = arg;
	this->reader = thread_create((thread_main_t)read_loop, this);
	this->writer = thread_create((thread_main_t)write_loop, this);
}

METHOD(phalanx_link_t, stop, void, private_phalanx_link_t *this)
{
	this->mutex->lock(this->mutex);
	this->stopping = TRUE;
	break_connection(this);
	this->mutex->unlock(this->mutex);
}

METHOD(phalanx_link_t, destroy, void, private_phalanx_link_t *this)
{
	stop(this);
	if (this->reader)
		this->reader->join(this->reader);
	if (this->writer)
		this->writer->join(this->writer);
	this->events->destroy_function(this->events, (void *)event_destroy);
	clear_backlog(this);
	this->backlog->destroy(this->backlog);
	this->waiters->destroy(this->waiters);
	this->changed->destroy(this->changed);
	this->mutex->destroy(this->mutex);
	free(this->path);
	free(this->in);
	free(this->out);
	free(this);
}

phalanx_link_t *phalanx_link_create(char *path, phalanx_units_t *units)
{
	private_phalanx_link_t *this;

	INIT(this,
		.public = {
			.send = _send_,
			.ask = _ask,
			.next = _next,
			.done = _done,
			.start = _start,
			.stop = _stop,
			.destroy = _destroy,
		},
		.path = strdup(path),
		.units = units,
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.changed = condvar_create(CONDVAR_TYPE_DEFAULT),
		.fd = -1,
		.waiters = linked_list_create(),
		.backlog = linked_list_create(),
		.events = blocking_queue_create(),
		.in = malloc(LOCAL_MESSAGE_MAX),
		.out = malloc(LOCAL_MESSAGE_MAX),
	);
	return &this->public;
}
