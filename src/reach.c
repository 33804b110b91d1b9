/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/reach.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "src/netlink_run.h"

#define EVERY_S 1
/* What the kernel never asks for: the operator has said it. */
#define SETTLED (NUD_PERMANENT | NUD_NOARP)
/* It is being asked for. */
#define ASKED (NUD_INCOMPLETE | NUD_PROBE)

struct reach {
	struct netlink *netlink;
	const struct conf *conf;
	struct event *every;
	void (*changed)(void *ctx);
	void *ctx;
	bool silent[CONF_NETWORKS_MAX][CONF_PROBES_MAX];
};

static int on_neighbour(const struct nlmsghdr *h, void *ctx)
{
	const struct ndmsg *m = mnl_nlmsg_get_payload(h);
	uint16_t *state = ctx;

	if (mnl_nlmsg_get_payload_len(h) >= sizeof(*m))
		*state = m->ndm_state;
	return MNL_CB_OK;
}

/* `state`: what the entry of the host is to be in, none if it is only to be used. */
static int request(struct netlink *n, uint16_t type, unsigned ifindex,
		   const struct address *host, uint16_t state, uint8_t flags,
		   mnl_cb_t each, void *ctx)
{
	uint8_t buffer[128];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	h->nlmsg_type = type;
	if (type == RTM_NEWNEIGH)
		h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
	m->ndm_family = (uint8_t)host->family;
	m->ndm_ifindex = (int)ifindex;
	m->ndm_state = state;
	m->ndm_flags = flags;
	mnl_attr_put(h, NDA_DST, address_size(host->family), host->bytes);
	return netlink_run(n, h, each, ctx);
}

/* The kernel goes on by itself with what it has begun to ask. */
static void ask(struct netlink *n, unsigned ifindex, const struct address *host,
		uint16_t state)
{
	if (state & (SETTLED | ASKED))
		return;
	if (state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY))
		request(n, RTM_NEWNEIGH, ifindex, host, NUD_PROBE, 0, NULL, NULL);
	else
		request(n, RTM_NEWNEIGH, ifindex, host, NUD_NONE, NTF_USE, NULL, NULL);
}

/* What is not known leaves it as it was: also that the entry has gone, which the kernel
 * forgets at times. */
static void look(struct reach *r, unsigned network, unsigned which, unsigned ifindex)
{
	const struct address *host = &r->conf->networks[network].probes[which];
	bool *silent = &r->silent[network][which], was = *silent;
	uint16_t state = NUD_NONE;
	char text[ADDRESS_TEXT_MAX];

	request(r->netlink, RTM_GETNEIGH, ifindex, host, 0, 0, on_neighbour, &state);
	if (state & (NUD_REACHABLE | SETTLED))
		*silent = false;
	else if (state & NUD_FAILED)
		*silent = true;
	ask(r->netlink, ifindex, host, state);
	if (*silent != was)
		log_info("%s on %s %s", address_print(host, text),
			 r->conf->networks[network].interface,
			 *silent ? "does not answer" : "answers");
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	struct reach *r = arg;
	bool changed = false;

	for (unsigned i = 0; i < r->conf->nnetworks; i++) {
		const struct conf_network *n = &r->conf->networks[i];
		unsigned ifindex = n->nprobes ? if_nametoindex(n->interface) : 0;
		bool was = reach_lost(r, i);

		for (unsigned k = 0; ifindex && k < n->nprobes; k++)
			look(r, i, k, ifindex);
		changed = changed || reach_lost(r, i) != was;
	}
	if (changed)
		r->changed(r->ctx);
}

struct reach *reach_new(struct event_base *base, struct netlink *netlink,
			const struct conf *conf, void (*changed)(void *ctx), void *ctx)
{
	struct reach *r = calloc(1, sizeof(*r));
	bool any = false;

	if (!r)
		return NULL;
	*r = (struct reach){
		.netlink = netlink, .conf = conf, .changed = changed, .ctx = ctx
	};
	for (unsigned i = 0; i < conf->nnetworks; i++)
		any = any || conf->networks[i].nprobes;
	r->every = event_new(base, -1, EV_PERSIST, on_time, r);
	if (!r->every ||
	    (any && event_add(r->every, &(struct timeval){ .tv_sec = EVERY_S }))) {
		reach_free(r);
		return NULL;
	}
	return r;
}

void reach_free(struct reach *r)
{
	if (!r)
		return;
	if (r->every)
		event_free(r->every);
	free(r);
}

bool reach_lost(const struct reach *r, unsigned network)
{
	const struct conf_network *n = &r->conf->networks[network];

	for (unsigned k = 0; k < n->nprobes; k++)
		if (!r->silent[network][k])
			return false;
	return n->nprobes > 0;
}
