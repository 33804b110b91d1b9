/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <collections/array.h>

#include "tunnels/ipsec/charon/phalanx_ignored.h"

#define TEXT_MAX 256

typedef struct private_phalanx_ignored_t private_phalanx_ignored_t;
typedef struct entry_t entry_t;

struct private_phalanx_ignored_t {
	phalanx_ignored_t public;
	array_t *last, *now; /* entry_t, in the order of charon's configurations */
};

/* Of one CHILD SA's configuration. */
struct entry_t {
	char *name, *child;
	u_int options;
};

static bool has_if_id(peer_cfg_t *peer, child_cfg_t *child, bool inbound)
{
	return child->get_if_id(child, inbound) || peer->get_if_id(peer, inbound);
}

static bool has_mark(mark_t mark)
{
	return mark.value || mark.mask;
}

enum option_t {
	MARK_IN,
	MARK_OUT,
	MARK_IN_SA,
	SET_MARK_IN,
	SET_MARK_OUT,
	IF_ID_IN,
	IF_ID_OUT,
	INTERFACE,
	TFC_PADDING,
	HW_OFFLOAD,
	IPCOMP,
	POLICIES,
	POLICIES_FWD_OUT,
	PRIORITY,
	REQID,
	OPTIONS
};

/* As swanctl.conf calls them. */
static const char *const names[OPTIONS] = {
	[MARK_IN] = "mark_in",
	[MARK_OUT] = "mark_out",
	[MARK_IN_SA] = "mark_in_sa",
	[SET_MARK_IN] = "set_mark_in",
	[SET_MARK_OUT] = "set_mark_out",
	[IF_ID_IN] = "if_id_in",
	[IF_ID_OUT] = "if_id_out",
	[INTERFACE] = "interface",
	[TFC_PADDING] = "tfc_padding",
	[HW_OFFLOAD] = "hw_offload",
	[IPCOMP] = "ipcomp",
	[POLICIES] = "policies",
	[POLICIES_FWD_OUT] = "policies_fwd_out",
	[PRIORITY] = "priority",
	[REQID] = "reqid",
};

u_int phalanx_ignored(peer_cfg_t *peer, child_cfg_t *child)
{
	const bool set[OPTIONS] = {
		[MARK_IN] = has_mark(child->get_mark(child, TRUE)),
		[MARK_OUT] = has_mark(child->get_mark(child, FALSE)),
		[MARK_IN_SA] = child->has_option(child, OPT_MARK_IN_SA),
		[SET_MARK_IN] = has_mark(child->get_set_mark(child, TRUE)),
		[SET_MARK_OUT] = has_mark(child->get_set_mark(child, FALSE)),
		[IF_ID_IN] = has_if_id(peer, child, TRUE),
		[IF_ID_OUT] = has_if_id(peer, child, FALSE),
		[INTERFACE] = child->get_interface(child) != NULL,
		[TFC_PADDING] = child->get_tfc(child) != 0,
		[HW_OFFLOAD] = child->get_hw_offload(child) != HW_OFFLOAD_NO,
		[IPCOMP] = child->has_option(child, OPT_IPCOMP),
		[POLICIES] = child->has_option(child, OPT_NO_POLICIES),
		[POLICIES_FWD_OUT] = child->has_option(child, OPT_FWD_OUT_POLICIES),
		[PRIORITY] = child->get_manual_prio(child) != 0,
		[REQID] = child->get_reqid(child) != 0,
	};
	u_int options = 0, i;

	for (i = 0; i < OPTIONS; i++)
		options |= set[i] ? 1U << i : 0;
	return options;
}

static u_int options_before(private_phalanx_ignored_t *this, char *name, char *child)
{
	enumerator_t *enumerator = array_create_enumerator(this->last);
	u_int options = 0;
	entry_t *entry;

	while (enumerator->enumerate(enumerator, &entry))
		if (streq(entry->name, name) && streq(entry->child, child))
			options |= entry->options;
	enumerator->destroy(enumerator);
	return options;
}

METHOD(phalanx_ignored_t, look, void, private_phalanx_ignored_t *this, peer_cfg_t *peer,
       child_cfg_t *child)
{
	u_int options = phalanx_ignored(peer, child), fresh, i;
	char text[TEXT_MAX] = "";
	entry_t *entry;

	if (!options)
		return;
	INIT(entry, .name = strdup(peer->get_name(peer)),
	     .child = strdup(child->get_name(child)), .options = options, );
	fresh = options & ~options_before(this, entry->name, entry->child);
	array_insert(this->now, ARRAY_TAIL, entry);
	for (i = 0; i < OPTIONS; i++) {
		size_t had = strlen(text);

		if (fresh & 1U << i)
			snprintf(text + had, sizeof(text) - had, "%s%s", had ? ", " : "",
				 names[i]);
	}
	if (fresh)
		DBG1(DBG_CFG,
		     "connection '%s', child '%s': no effect in the cluster has: %s",
		     entry->name, entry->child, text);
}

static void entry_destroy(entry_t *entry, int index, void *user)
{
	free(entry->name);
	free(entry->child);
	free(entry);
}

METHOD(phalanx_ignored_t, end_round, void, private_phalanx_ignored_t *this)
{
	array_destroy_function(this->last, (void *)entry_destroy, NULL);
	this->last = this->now;
	this->now = array_create(0, 0);
}

METHOD(phalanx_ignored_t, destroy, void, private_phalanx_ignored_t *this)
{
	array_destroy_function(this->last, (void *)entry_destroy, NULL);
	array_destroy_function(this->now, (void *)entry_destroy, NULL);
	free(this);
}

phalanx_ignored_t *phalanx_ignored_create(void)
{
	private_phalanx_ignored_t *this;

	INIT(this,
		.public = {
			.look = _look,
			.end_round = _end_round,
			.destroy = _destroy,
		},
		.last = array_create(0, 0),
		.now = array_create(0, 0),
	);
	return &this->public;
}
