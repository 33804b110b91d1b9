/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to phalanxd.
 *
 * Messages may be sent by any of charon's threads; they leave in the order of the calls.
 * While phalanxd is away they are dropped, and so is all that a thread sends while it is
 * quiet: what it does then (activation, drop) phalanxd knows already.
 *
 * What phalanxd sends is either an answer, given to the thread that asked; or the owned
 * units; or an event, which waits in order for next(). Events are taken by the one thread
 * that also hands IKE packets to charon; what may wait stands in line, see phalanx_lines.h. So
 * a packet never overtakes the activation of its SA. When the connection is lost, an event of type LOCAL_NONE says so, and there is no new
 * connection before it is done().
 */
#ifndef PHALANX_LINK_H_
#define PHALANX_LINK_H_

#include <library.h>

#include "tunnels/ipsec/local.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

typedef struct phalanx_link_t phalanx_link_t;
typedef struct phalanx_event_t phalanx_event_t;

struct phalanx_event_t {
	/* Its blobs point into this object. */
	struct local_message message;
	size_t len;
	uint8_t bytes[];
};

struct phalanx_link_t {
	void (*send)(phalanx_link_t *this, struct local_message *message);

	/* Sends a query that has an `id` and waits for its answer. FALSE if there is none
	 * in time. Answers have no blobs. */
	bool (*ask)(phalanx_link_t *this, struct local_message *query, uint32_t *id,
		    struct local_message *answer, u_int timeout_ms);

	/* The next event; a cancellation point. The caller gives it back to done(). */
	phalanx_event_t *(*next)(phalanx_link_t *this);
	void (*done)(phalanx_link_t *this, phalanx_event_t *event);

	/* Starts to connect, once ready() says so. greeted() is called at the end of each
	 * greeting. Both are called by the thread that reads. */
	void (*start)(phalanx_link_t *this, bool (*ready)(void),
		      void (*greeted)(void *arg), void *arg);

	/* Ends the connection for good: from now on nothing leaves and nothing comes. */
	void (*stop)(phalanx_link_t *this);

	void (*destroy)(phalanx_link_t *this);
};

/* Makes the calling thread quiet or ends that; calls nest. */
void phalanx_quiet(bool quiet);
bool phalanx_is_quiet(void);

phalanx_link_t *phalanx_link_create(char *path, phalanx_units_t *units);

/* Borrowed bytes. */
static inline struct local_blob phalanx_blob(chunk_t chunk)
{
	return (struct local_blob){ .bytes = chunk.ptr, .len = chunk.len };
}

static inline chunk_t phalanx_chunk(struct local_blob blob)
{
	return chunk_create((u_char *)blob.bytes, blob.len);
}

#endif
