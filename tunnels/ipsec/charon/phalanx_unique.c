/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <processing/jobs/delete_ike_sa_job.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_unique.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

#define ASK_TIMEOUT_MS 1000
/* As charon waits itself, so that the peer's new CHILD SAs come first. */
#define LATE_S 10

typedef struct private_phalanx_unique_t private_phalanx_unique_t;

struct private_phalanx_unique_t {
	phalanx_unique_t public;
	phalanx_link_t *link;
	phalanx_sessions_t *sessions;
	bool (*check_uniqueness)(ike_sa_manager_t *manager, ike_sa_t *ike_sa,
				 bool force_replace);
	bool (*has_contact)(ike_sa_manager_t *manager, identification_t *me,
			    identification_t *other, int family);
};

/* The manager has no place for user data in its methods, and there is one manager. */
static private_phalanx_unique_t *attached;

static uint64_t digest_of(identification_t *me, identification_t *other, int family)
{
	static u_char key[16] = "phalanx peer";
	chunk_t local = phalanx_identity(me), remote = phalanx_identity(other);
	uint32_t head[2] = { local.len, family == AF_INET6 };
	chunk_t all = chunk_cat("mmc", local, remote, chunk_from_thing(head));
	uint64_t digest = chunk_mac(all, key);

	free(all.ptr);
	return digest;
}

uint64_t phalanx_peer_digest(ike_sa_t *ike_sa)
{
	host_t *host = ike_sa->get_other_host(ike_sa);

	return digest_of(ike_sa->get_my_id(ike_sa), ike_sa->get_other_eap_id(ike_sa),
			 host->get_family(host));
}

/* FALSE if phalanxd is not to be asked. */
static bool ask_about(ike_sa_t *ike_sa, bool contact, uint8_t *policy)
{
	peer_cfg_t *config = ike_sa->get_peer_cfg(ike_sa);
	unique_policy_t unique = config->get_unique_policy(config);

	if (unique == UNIQUE_NEVER || (unique == UNIQUE_NO && !contact))
		return FALSE;
	*policy = contact		  ? LOCAL_UNIQUE_CONTACT
		  : unique == UNIQUE_KEEP ? LOCAL_UNIQUE_KEEP
					  : LOCAL_UNIQUE_REPLACE;
	return TRUE;
}

static bool refused(private_phalanx_unique_t *this, ike_sa_t *ike_sa, uint8_t policy)
{
	struct local_message m = { .type = LOCAL_UNIQUE_ASK }, answer;
	identification_t *id = ike_sa->get_other_eap_id(ike_sa);
	char user[256];
	int len = snprintf(user, sizeof(user), "%Y", id);

	m.unique_ask.spi = phalanx_own_spi(ike_sa);
	m.unique_ask.peer = phalanx_peer_digest(ike_sa);
	m.unique_ask.policy = policy;
	m.unique_ask.remote = phalanx_addr(ike_sa->get_other_host(ike_sa));
	m.unique_ask.user = phalanx_blob(
	    chunk_create((u_char *)user, max(0, min(len, (int)sizeof(user) - 1))));
	m.unique_ask.name = phalanx_blob(chunk_from_str(ike_sa->get_name(ike_sa)));
	if (!this->link->ask(this->link, &m, &m.unique_ask.id, &answer, ASK_TIMEOUT_MS))
		return FALSE;
	if (answer.unique.refuse)
		DBG1(DBG_IKE, "peer '%Y' is connected to another member of the cluster",
		     id);
	return answer.unique.refuse;
}

static bool check_uniqueness(ike_sa_manager_t *manager, ike_sa_t *ike_sa,
			     bool force_replace)
{
	uint8_t policy;

	if (attached->check_uniqueness(manager, ike_sa, force_replace))
		return TRUE;
	return ask_about(ike_sa, force_replace, &policy) &&
	       refused(attached, ike_sa, policy);
}

/* charon says INITIAL_CONTACT if there is none. Without an answer there may be one, and
 * silence does least harm. */
static bool has_contact(ike_sa_manager_t *manager, identification_t *me,
			identification_t *other, int family)
{
	struct local_message m = { .type = LOCAL_CONTACT_ASK }, answer;

	if (attached->has_contact(manager, me, other, family))
		return TRUE;
	m.contact_ask.peer = digest_of(me, other, family);
	return !attached->link->ask(attached->link, &m, &m.contact_ask.id, &answer,
				    ASK_TIMEOUT_MS) ||
	       answer.contact.known;
}

static void end_now(ike_sa_id_t *id, bool silent)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_t *ike_sa = manager->checkout(manager, id);

	if (!ike_sa)
		return;
	DBG1(DBG_IKE, "IKE_SA %s[%u] of '%Y' is replaced at another member, %s",
	     ike_sa->get_name(ike_sa), ike_sa->get_unique_id(ike_sa),
	     ike_sa->get_other_eap_id(ike_sa), silent ? "destroying it" : "deleting it");
	if (silent) {
		charon->bus->ike_updown(charon->bus, ike_sa, FALSE);
		manager->checkin_and_destroy(manager, ike_sa);
	} else if (ike_sa->delete (ike_sa, FALSE) == DESTROY_ME)
		manager->checkin_and_destroy(manager, ike_sa);
	else
		manager->checkin(manager, ike_sa);
}

METHOD(phalanx_unique_t, end, void, private_phalanx_unique_t *this,
       const struct local_ike_replaced *end)
{
	ike_sa_id_t *id = this->sessions->find(this->sessions, end->spi);

	if (!id)
		return;
	if (end->how == LOCAL_END_LATE)
		lib->scheduler->schedule_job(
		    lib->scheduler, (job_t *)delete_ike_sa_job_create(id, TRUE), LATE_S);
	else
		end_now(id, end->how == LOCAL_END_SILENT);
	id->destroy(id);
}

METHOD(phalanx_unique_t, attach, void, private_phalanx_unique_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	attached = this;
	this->check_uniqueness = manager->check_uniqueness;
	manager->check_uniqueness = check_uniqueness;
	this->has_contact = manager->has_contact;
	manager->has_contact = has_contact;
}

METHOD(phalanx_unique_t, detach, void, private_phalanx_unique_t *this)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;

	if (manager && attached == this) {
		manager->check_uniqueness = this->check_uniqueness;
		manager->has_contact = this->has_contact;
	}
	attached = NULL;
}

METHOD(phalanx_unique_t, destroy, void, private_phalanx_unique_t *this)
{
	free(this);
}

phalanx_unique_t *phalanx_unique_create(phalanx_link_t *link,
					phalanx_sessions_t *sessions)
{
	private_phalanx_unique_t *this;

	INIT(this,
		.public = {
			.attach = _attach,
			.detach = _detach,
			.end = _end,
			.destroy = _destroy,
		},
		.link = link,
		.sessions = sessions,
	);
	return &this->public;
}
