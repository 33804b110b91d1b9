/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>

#include "tunnels/ipsec/charon/phalanx_crossing.h"

#define DEFER_S 10 /* since we have said something in this IKE SA */

static ike_sa_t *(*checkout_next)(ike_sa_manager_t *manager, message_t *message);

/* Also when its request was answered, and the old SA is being deleted. */
static bool is_rekeying(ike_sa_t *ike_sa)
{
	enumerator_t *enumerator =
	    ike_sa->create_task_enumerator(ike_sa, TASK_QUEUE_ACTIVE);
	bool found = FALSE;
	task_t *task;

	while (!found && enumerator->enumerate(enumerator, &task))
		found = task->get_type(task) == TASK_IKE_REKEY ||
			task->get_type(task) == TASK_CHILD_REKEY;
	enumerator->destroy(enumerator);
	return found;
}

/* What the request is about cannot be read before it is decrypted, and then it is too late. */
static bool crosses(ike_sa_t *ike_sa, message_t *message)
{
	time_t said;

	if (message->get_major_version(message) != IKEV2_MAJOR_VERSION ||
	    !message->get_request(message) ||
	    message->get_exchange_type(message) != CREATE_CHILD_SA)
		return FALSE;
	said = ike_sa->get_statistic(ike_sa, STAT_OUTBOUND);
	return time_monotonic(NULL) - said < DEFER_S && is_rekeying(ike_sa);
}

static ike_sa_t *checkout_by_message(ike_sa_manager_t *manager, message_t *message)
{
	ike_sa_t *ike_sa = checkout_next(manager, message);

	if (!ike_sa || !crosses(ike_sa, message))
		return ike_sa;
	DBG1(DBG_IKE,
	     "the peer's CREATE_CHILD_SA request %u waits for its repetition, since "
	     "a rekeying of ours is under way",
	     message->get_message_id(message));
	manager->checkin(manager, ike_sa);
	return NULL;
}

void phalanx_crossing_attach(void)
{
	checkout_next = charon->ike_sa_manager->checkout_by_message;
	charon->ike_sa_manager->checkout_by_message = checkout_by_message;
}

void phalanx_crossing_detach(void)
{
	if (charon->ike_sa_manager && checkout_next)
		charon->ike_sa_manager->checkout_by_message = checkout_next;
	checkout_next = NULL;
}
