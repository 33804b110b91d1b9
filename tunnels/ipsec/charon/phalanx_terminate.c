/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>

#include "tunnels/ipsec/charon/phalanx_terminate.h"

#define OTHERS_ID 0xfffffff0u /* no SA of charon's gets so far */
#define COUNT_TIMEOUT_MS 1000
#define END_TIMEOUT_MS 30000 /* without one of the operator's */
#define ANSWER_GRACE_MS 1000
#define NAME_MAX_LEN 256

typedef struct private_phalanx_terminate_t private_phalanx_terminate_t;
typedef struct others_t others_t;

struct private_phalanx_terminate_t {
	phalanx_terminate_t public;
	phalanx_link_t *link;
	enumerator_t *(*create_ike_sa_enumerator)(controller_t *this, bool wait);
	status_t (*terminate_ike)(controller_t *this, uint32_t unique_id, bool force,
				  controller_cb_t callback, void *param, u_int timeout);
	status_t (*terminate_child)(controller_t *this, uint32_t unique_id,
				    controller_cb_t callback, void *param, u_int timeout);
};

/* charon's SAs, and one more. */
struct others_t {
	enumerator_t public;
	enumerator_t *inner;
	bool said;
};

/* charon's parts have no place for user data in their methods, and there is one of each. */
static private_phalanx_terminate_t *attached;

/* What the command that the calling thread works on names. */
static __thread char ike_name[NAME_MAX_LEN], child_name[NAME_MAX_LEN];
static __thread bool commanded;

/* The name in quotes behind `prefix`; FALSE if the line does not begin so. */
static bool quoted(const char *line, const char *prefix, char *out)
{
	size_t len = strlen(prefix), name;

	if (strncmp(line, prefix, len) != 0)
		return FALSE;
	name = strlen(line + len);
	if (!name || line[len + name - 1] != '\'' || name > NAME_MAX_LEN)
		return FALSE;
	if (!commanded)
		ike_name[0] = child_name[0] = '\0';
	commanded = TRUE;
	memcpy(out, line + len, name - 1);
	out[name - 1] = '\0';
	return TRUE;
}

METHOD(logger_t, log_, void, private_phalanx_terminate_t *this, debug_t group,
       level_t level, int thread, ike_sa_t *ike_sa, const char *message)
{
	if (!quoted(message, "vici terminate IKE_SA '", ike_name))
		quoted(message, "vici terminate CHILD_SA '", child_name);
}

METHOD(logger_t, get_level, level_t, private_phalanx_terminate_t *this, debug_t group)
{
	return group == DBG_CFG ? LEVEL_CTRL : LEVEL_SILENT;
}

static bool ask(private_phalanx_terminate_t *this, uint8_t how, u_int timeout, u_int wait,
		struct local_message *answer)
{
	struct local_message m = { .type = LOCAL_TERMINATE };

	m.terminate.name = phalanx_blob(chunk_from_str(ike_name));
	m.terminate.child = phalanx_blob(chunk_from_str(child_name));
	m.terminate.how = how;
	m.terminate.timeout = timeout;
	return this->link->ask(this->link, &m, &m.terminate.id, answer, wait);
}

/* What stands for the others */

static char *get_ike_name(ike_sa_t *this)
{
	return ike_name;
}

static uint32_t get_ike_id(ike_sa_t *this)
{
	return OTHERS_ID;
}

static char *get_child_name(child_sa_t *this)
{
	return child_name;
}

static uint32_t get_child_id(child_sa_t *this)
{
	return OTHERS_ID;
}

static child_sa_t other_child = {
	.get_name = get_child_name,
	.get_unique_id = get_child_id,
};

static enumerator_t *create_children(ike_sa_t *this)
{
	return enumerator_create_single(&other_child, NULL);
}

static ike_sa_t other_ike = {
	.get_name = get_ike_name,
	.get_unique_id = get_ike_id,
	.create_child_sa_enumerator = create_children,
};

METHOD(enumerator_t, enumerate_others, bool, others_t *this, va_list args)
{
	ike_sa_t **ike_sa;

	VA_ARGS_VGET(args, ike_sa);
	if (this->said)
		return FALSE;
	if (this->inner->enumerate(this->inner, ike_sa))
		return TRUE;
	this->said = TRUE;
	*ike_sa = &other_ike;
	return TRUE;
}

METHOD(enumerator_t, destroy_others, void, others_t *this)
{
	this->inner->destroy(this->inner);
	free(this);
}

static enumerator_t *create_ike_sa_enumerator(controller_t *controller, bool wait)
{
	enumerator_t *inner = attached->create_ike_sa_enumerator(controller, wait);
	struct local_message answer;
	others_t *others;

	if (!commanded)
		return inner;
	commanded = FALSE;
	if (!ask(attached, LOCAL_COUNT, 0, COUNT_TIMEOUT_MS, &answer) ||
	    !answer.terminated.matches)
		return inner;
	INIT(others,
		.public = {
			.enumerate = enumerator_enumerate_default,
			.venumerate = _enumerate_others,
			.destroy = _destroy_others,
		},
		.inner = inner,
	);
	return &others->public;
}

static status_t end_others(bool force, controller_cb_t callback, void *param,
			   u_int timeout)
{
	struct local_message answer;
	u_int wait = timeout ?: END_TIMEOUT_MS;
	char line[128];
	bool answered;

	/* Without a callback nobody waits. */
	answered = ask(attached, force ? LOCAL_FORCE : LOCAL_END, wait,
		       callback ? wait + ANSWER_GRACE_MS : 1, &answer);
	if (!callback)
		return SUCCESS;
	if (!answered)
		return OUT_OF_RES;
	snprintf(line, sizeof(line), "of %u SAs of other members %u have ended",
		 answer.terminated.matches,
		 answer.terminated.matches -
		     min(answer.terminated.left, answer.terminated.matches));
	DBG1(DBG_CFG, "%s", line);
	callback(param, DBG_CFG, 1, NULL, line);
	return answer.terminated.left ? OUT_OF_RES : SUCCESS;
}

/* What the operator ends while it is being established is not to be started again. */
static void note_stopped(private_phalanx_terminate_t *this, uint32_t unique_id)
{
	enumerator_t *enumerator =
	    this->create_ike_sa_enumerator(charon->controller, TRUE);
	struct local_message m = { .type = LOCAL_START_NOTE };
	ike_sa_t *ike_sa;

	while (enumerator->enumerate(enumerator, &ike_sa)) {
		if (ike_sa->get_unique_id(ike_sa) != unique_id ||
		    (ike_sa->get_state(ike_sa) != IKE_CREATED &&
		     ike_sa->get_state(ike_sa) != IKE_CONNECTING))
			continue;
		m.start_note.name =
		    phalanx_blob(chunk_from_str(ike_sa->get_name(ike_sa)));
		m.start_note.what = LOCAL_STOPPED;
		this->link->send(this->link, &m);
	}
	enumerator->destroy(enumerator);
}

static status_t terminate_ike(controller_t *controller, uint32_t unique_id, bool force,
			      controller_cb_t callback, void *param, u_int timeout)
{
	if (unique_id == OTHERS_ID)
		return end_others(force, callback, param, timeout);
	note_stopped(attached, unique_id);
	return attached->terminate_ike(controller, unique_id, force, callback, param,
				       timeout);
}

static status_t terminate_child(controller_t *controller, uint32_t unique_id,
				controller_cb_t callback, void *param, u_int timeout)
{
	if (unique_id == OTHERS_ID)
		return end_others(FALSE, callback, param, timeout);
	return attached->terminate_child(controller, unique_id, callback, param, timeout);
}

METHOD(phalanx_terminate_t, attach, void, private_phalanx_terminate_t *this)
{
	controller_t *controller = charon->controller;

	attached = this;
	this->create_ike_sa_enumerator = controller->create_ike_sa_enumerator;
	this->terminate_ike = controller->terminate_ike;
	this->terminate_child = controller->terminate_child;
	controller->create_ike_sa_enumerator = create_ike_sa_enumerator;
	controller->terminate_ike = terminate_ike;
	controller->terminate_child = terminate_child;
	charon->bus->add_logger(charon->bus, &this->public.logger);
}

METHOD(phalanx_terminate_t, detach, void, private_phalanx_terminate_t *this)
{
	controller_t *controller = charon->controller;

	if (attached != this)
		return;
	charon->bus->remove_logger(charon->bus, &this->public.logger);
	if (controller) {
		controller->create_ike_sa_enumerator = this->create_ike_sa_enumerator;
		controller->terminate_ike = this->terminate_ike;
		controller->terminate_child = this->terminate_child;
	}
	attached = NULL;
}

METHOD(phalanx_terminate_t, destroy, void, private_phalanx_terminate_t *this)
{
	free(this);
}

phalanx_terminate_t *phalanx_terminate_create(phalanx_link_t *link)
{
	private_phalanx_terminate_t *this;

	INIT(this,
		.public = {
			.logger = {
				.log = _log_,
				.get_level = _get_level,
			},
			.attach = _attach,
			.detach = _detach,
			.destroy = _destroy,
		},
		.link = link,
	);
	return &this->public;
}
