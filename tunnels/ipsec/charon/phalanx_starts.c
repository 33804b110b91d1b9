/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <processing/jobs/callback_job.h>
#include <sa/ikev2/tasks/child_create.h>

#include "tunnels/ipsec/charon/phalanx_starts.h"

#define INITIATE_TIMEOUT_MS 240000 /* without one of the operator's */
#define ANSWER_GRACE_MS 2000

typedef struct private_phalanx_starts_t private_phalanx_starts_t;
typedef struct names_t names_t;

struct private_phalanx_starts_t {
	phalanx_starts_t public;
	phalanx_link_t *link;
	phalanx_units_t *units;
	phalanx_sessions_t *sessions;
	phalanx_configs_t *configs;
	status_t (*initiate)(controller_t *this, peer_cfg_t *peer, child_cfg_t *child,
			     controller_cb_t callback, void *param, u_int timeout,
			     bool limits);
	bool (*install)(trap_manager_t *this, peer_cfg_t *peer, child_cfg_t *child);
	bool (*uninstall)(trap_manager_t *this, char *peer, char *child);
};

/* What is to be started. */
struct names_t {
	private_phalanx_starts_t *starts;
	char *name, *child;
};

/* charon's parts have no place for user data in their methods, and there is one of each. */
static private_phalanx_starts_t *attached;

static void note(private_phalanx_starts_t *this, char *name, char *child, uint8_t what)
{
	struct local_message m = { .type = LOCAL_START_NOTE };

	m.start_note.name = phalanx_blob(chunk_from_str(name));
	m.start_note.child = phalanx_blob(chunk_from_str(child));
	m.start_note.what = what;
	this->link->send(this->link, &m);
}

/* What charon begins itself */

static bool is_ours(ike_sa_t *ike_sa)
{
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);

	return id->is_initiator(id) && ike_sa->get_version(ike_sa) == IKEV2;
}

METHOD(listener_t, message_, bool, private_phalanx_starts_t *this, ike_sa_t *ike_sa,
       message_t *message, bool incoming, bool plain)
{
	enumerator_t *enumerator;
	child_sa_t *child_sa;
	task_t *task;

	if (incoming || !plain || !message->get_request(message) ||
	    message->get_exchange_type(message) != CREATE_CHILD_SA)
		return TRUE;
	enumerator = ike_sa->create_task_enumerator(ike_sa, TASK_QUEUE_ACTIVE);
	while (enumerator->enumerate(enumerator, &task)) {
		if (task->get_type(task) != TASK_CHILD_CREATE)
			continue;
		child_sa = ((child_create_t *)task)->get_child((child_create_t *)task);
		if (child_sa)
			note(this, ike_sa->get_name(ike_sa), child_sa->get_name(child_sa),
			     LOCAL_BEGUN);
	}
	enumerator->destroy(enumerator);
	return TRUE;
}

METHOD(listener_t, ike_reestablish_pre, bool, private_phalanx_starts_t *this,
       ike_sa_t *old, ike_sa_t *new)
{
	enumerator_t *enumerator = old->create_child_sa_enumerator(old);
	child_sa_t *child_sa;

	while (enumerator->enumerate(enumerator, &child_sa))
		if (child_sa->get_state(child_sa) == CHILD_INSTALLED)
			note(this, old->get_name(old), child_sa->get_name(child_sa),
			     LOCAL_BEGUN);
	enumerator->destroy(enumerator);
	return TRUE;
}

METHOD(listener_t, ike_state_change, bool, private_phalanx_starts_t *this,
       ike_sa_t *ike_sa, ike_sa_state_t state)
{
	if (state == IKE_DESTROYING && is_ours(ike_sa) &&
	    ike_sa->get_state(ike_sa) == IKE_CONNECTING)
		note(this, ike_sa->get_name(ike_sa), "", LOCAL_GIVEN_UP);
	return TRUE;
}

/* What phalanxd wants */

/* FALSE if the connection is not loaded. The caller destroys both. */
static bool find_config(char *name, char *child, peer_cfg_t **peer_out,
			child_cfg_t **child_out)
{
	enumerator_t *peers, *children;
	peer_cfg_t *peer;
	child_cfg_t *cfg;

	*child_out = NULL;
	peers = charon->backends->create_peer_cfg_enumerator(charon->backends, NULL, NULL,
							     NULL, NULL, IKE_ANY);
	while (!*child_out && peers->enumerate(peers, &peer)) {
		if (!streq(peer->get_name(peer), name))
			continue;
		children = peer->create_child_cfg_enumerator(peer);
		while (!*child_out && children->enumerate(children, &cfg))
			if (streq(cfg->get_name(cfg), child)) {
				*peer_out = peer->get_ref(peer);
				*child_out = cfg->get_ref(cfg);
			}
		children->destroy(children);
	}
	peers->destroy(peers);
	return *child_out != NULL;
}

static bool has_task(ike_sa_t *ike_sa, task_queue_t queue)
{
	enumerator_t *enumerator = ike_sa->create_task_enumerator(ike_sa, queue);
	bool found = FALSE;
	task_t *task;

	while (!found && enumerator->enumerate(enumerator, &task))
		found = task->get_type(task) == TASK_CHILD_CREATE;
	enumerator->destroy(enumerator);
	return found;
}

static bool has_child(ike_sa_t *ike_sa, char *child)
{
	enumerator_t *enumerator = ike_sa->create_child_sa_enumerator(ike_sa);
	child_sa_t *child_sa;
	bool found = FALSE;

	while (!found && enumerator->enumerate(enumerator, &child_sa))
		found = streq(child_sa->get_name(child_sa), child) &&
			child_sa->get_state(child_sa) != CHILD_DELETING &&
			child_sa->get_state(child_sa) != CHILD_DELETED;
	enumerator->destroy(enumerator);
	return found;
}

/* Which child a task creates charon does not tell, so one comes after the other. */
static bool is_under_way(ike_sa_t *ike_sa, names_t *names)
{
	if (!streq(ike_sa->get_name(ike_sa), names->name))
		return FALSE;
	switch (ike_sa->get_state(ike_sa)) {
	case IKE_CREATED:
	case IKE_CONNECTING:
		return is_ours(ike_sa);
	case IKE_DELETING:
	case IKE_DESTROYING:
		return FALSE;
	default:
		return has_child(ike_sa, names->child) ||
		       has_task(ike_sa, TASK_QUEUE_ACTIVE) ||
		       has_task(ike_sa, TASK_QUEUE_QUEUED);
	}
}

static job_requeue_t do_start(names_t *names)
{
	private_phalanx_starts_t *this = names->starts;
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	enumerator_t *enumerator = manager->create_enumerator(manager, TRUE);
	bool found = FALSE;
	child_cfg_t *child;
	peer_cfg_t *peer;
	ike_sa_t *ike_sa;

	while (!found && enumerator->enumerate(enumerator, &ike_sa))
		found = is_under_way(ike_sa, names);
	enumerator->destroy(enumerator);
	if (found)
		return JOB_REQUEUE_NONE;
	if (!find_config(names->name, names->child, &peer, &child)) {
		note(this, names->name, names->child, LOCAL_GIVEN_UP);
		return JOB_REQUEUE_NONE;
	}
	DBG1(DBG_CFG, "initiating '%s' for the cluster", names->child);
	if (this->initiate(charon->controller, peer, child, NULL, NULL, 0, FALSE) !=
	    SUCCESS)
		note(this, names->name, names->child, LOCAL_GIVEN_UP);
	return JOB_REQUEUE_NONE;
}

static void names_destroy(names_t *names)
{
	free(names->name);
	free(names->child);
	free(names);
}

static char *text(struct local_blob blob)
{
	return strndup((const char *)blob.bytes, blob.len);
}

METHOD(phalanx_starts_t, start, void, private_phalanx_starts_t *this,
       const struct local_start *start)
{
	names_t *names;

	INIT(names, .starts = this, .name = text(start->name),
	     .child = text(start->child), );
	lib->processor->queue_job(lib->processor, (job_t *)callback_job_create(
						      (callback_job_cb_t)do_start, names,
						      (void *)names_destroy, NULL));
}

/* What vici and operators want */

static bool is_loaded_to_start(child_cfg_t *child)
{
	return child && child->get_start_action(child) & ACTION_START;
}

static void tell(controller_cb_t callback, void *param, char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	DBG1(DBG_CFG, "%s", line);
	if (callback)
		callback(param, DBG_CFG, 1, NULL, line);
}

static status_t pass_on(private_phalanx_starts_t *this, peer_cfg_t *peer,
			child_cfg_t *child, controller_cb_t callback, void *param,
			u_int timeout)
{
	struct local_message m = { .type = LOCAL_INITIATE }, answer;
	char *name = peer->get_name(peer);

	tell(callback, param,
	     "another member of the cluster is to initiate '%s', "
	     "passing it on",
	     name);
	m.initiate.name = phalanx_blob(chunk_from_str(name));
	m.initiate.child =
	    phalanx_blob(child ? chunk_from_str(child->get_name(child)) : chunk_empty);
	m.initiate.timeout = timeout ?: INITIATE_TIMEOUT_MS;
	/* Without a callback nobody waits. */
	if (!this->link->ask(this->link, &m, &m.initiate.id, &answer,
			     callback ? m.initiate.timeout + ANSWER_GRACE_MS : 1))
		return callback ? FAILED : SUCCESS;
	switch (answer.initiated.result) {
	case LOCAL_ESTABLISHED:
		tell(callback, param, "'%s' is established by member %u", name,
		     answer.initiated.owner);
		return SUCCESS;
	case LOCAL_TIMEOUT:
		return OUT_OF_RES;
	case LOCAL_UNKNOWN:
		if (!answer.initiated.owner) {
			tell(callback, param, "phalanxd has not heard of '%s' yet", name);
			return FAILED;
		}
		tell(callback, param,
		     "member %u, which is to initiate '%s', has no such "
		     "connection",
		     answer.initiated.owner, name);
		return FAILED;
	case LOCAL_NOBODY:
		tell(callback, param,
		     "nobody is to initiate '%s' at the moment, or it is "
		     "not reachable",
		     name);
		return FAILED;
	default:
		tell(callback, param, "member %u cannot initiate '%s', its log tells why",
		     answer.initiated.owner, name);
		return FAILED;
	}
}

static status_t initiate(controller_t *controller, peer_cfg_t *peer, child_cfg_t *child,
			 controller_cb_t callback, void *param, u_int timeout,
			 bool limits)
{
	private_phalanx_starts_t *this = attached;
	char name[256], of_child[256];
	status_t status = SUCCESS;

	if (!callback && is_loaded_to_start(child))
		this->configs->check(this->configs);
	else if (this->units->owns(this->units, peer)) {
		snprintf(name, sizeof(name), "%s", peer->get_name(peer));
		snprintf(of_child, sizeof(of_child), "%s",
			 child ? child->get_name(child) : "");
		if (child)
			note(this, name, of_child, LOCAL_BEGUN);
		status = this->initiate(controller, peer, child, callback, param, timeout,
					limits);
		if (child && status != SUCCESS && status != OUT_OF_RES)
			note(this, name, of_child, LOCAL_GIVEN_UP);
		return status;
	} else
		status = pass_on(this, peer, child, callback, param, timeout);
	peer->destroy(peer);
	DESTROY_IF(child);
	return status;
}

static bool install(trap_manager_t *traps, peer_cfg_t *peer, child_cfg_t *child)
{
	bool installed = attached->install(traps, peer, child);

	if (installed)
		note(attached, peer->get_name(peer), child->get_name(child),
		     LOCAL_TRAPPED);
	return installed;
}

static bool uninstall(trap_manager_t *traps, char *peer, char *child)
{
	bool uninstalled = attached->uninstall(traps, peer, child);

	if (uninstalled && peer)
		note(attached, peer, child, LOCAL_UNTRAPPED);
	return uninstalled;
}

METHOD(phalanx_starts_t, attach, void, private_phalanx_starts_t *this)
{
	attached = this;
	this->initiate = charon->controller->initiate;
	charon->controller->initiate = initiate;
	this->install = charon->traps->install;
	charon->traps->install = install;
	this->uninstall = charon->traps->uninstall;
	charon->traps->uninstall = uninstall;
	charon->bus->add_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_starts_t, detach, void, private_phalanx_starts_t *this)
{
	charon->bus->remove_listener(charon->bus, &this->public.listener);
	if (attached != this)
		return;
	if (charon->controller)
		charon->controller->initiate = this->initiate;
	if (charon->traps) {
		charon->traps->install = this->install;
		charon->traps->uninstall = this->uninstall;
	}
	attached = NULL;
}

METHOD(phalanx_starts_t, destroy, void, private_phalanx_starts_t *this)
{
	free(this);
}

phalanx_starts_t *phalanx_starts_create(phalanx_link_t *link, phalanx_units_t *units,
					phalanx_sessions_t *sessions,
					phalanx_configs_t *configs)
{
	private_phalanx_starts_t *this;

	INIT(this,
		.public = {
			.listener = {
				.message = _message_,
				.ike_reestablish_pre = _ike_reestablish_pre,
				.ike_state_change = _ike_state_change,
			},
			.start = _start,
			.attach = _attach,
			.detach = _detach,
			.destroy = _destroy,
		},
		.link = link,
		.units = units,
		.sessions = sessions,
		.configs = configs,
	);
	return &this->public;
}
