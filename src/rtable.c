/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/rtable.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "src/bpf/unit.h"
#include "src/mark.h"
#include "src/netlink_run.h"

#define PROTOCOL 80 /* /etc/iproute2/rt_protos gives it to nobody */
#define METRIC_TUN 1
#define METRIC_PAST 2
#define METRIC_GUARD 4096
#define MESSAGE_MAX 256 /* bytes of a rule or route of ours */
#define SEEN_MAX 65536	/* routes of a machine with all of the Internet's */

static const uint8_t families[] = { AF_INET, AF_INET6 };

/* A kernel without IPv6, or without tables for it, has nothing to be told of it. */
static int excuse(int family, int err)
{
	return family == AF_INET6 && (err == -EAFNOSUPPORT || err == -EOPNOTSUPP) ? 0
										  : err;
}

static int route_change(const struct rtable *t, bool add, uint8_t type, uint32_t metric,
			const struct address *prefix, unsigned len)
{
	uint8_t buffer[MESSAGE_MAX];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct rtmsg *route = mnl_nlmsg_put_extra_header(h, sizeof(*route));
	int err;

	h->nlmsg_type = add ? RTM_NEWROUTE : RTM_DELROUTE;
	h->nlmsg_flags = add ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	route->rtm_family = (uint8_t)prefix->family;
	route->rtm_dst_len = (uint8_t)len;
	route->rtm_protocol = PROTOCOL;
	route->rtm_type = type;
	route->rtm_scope = !add			 ? RT_SCOPE_NOWHERE
			   : type == RTN_UNICAST ? RT_SCOPE_LINK
						 : RT_SCOPE_UNIVERSE;
	mnl_attr_put(h, RTA_DST, address_size(prefix->family), prefix->bytes);
	mnl_attr_put_u32(h, RTA_TABLE, t->number);
	mnl_attr_put_u32(h, RTA_PRIORITY, metric);
	if (type == RTN_UNICAST)
		mnl_attr_put_u32(h, RTA_OIF, (uint32_t)t->ifindex);
	err = netlink_run(t->netlink, h, NULL, NULL);
	/* What is gone already, with its device perhaps, need not go. */
	return !add && err == -ESRCH ? 0 : err;
}

static bool has(enum rtable_way way, uint8_t type)
{
	switch (type) {
	case RTN_UNICAST:
		return way == RTABLE_TUN || way == RTABLE_GUARDED;
	case RTN_UNREACHABLE:
		return way == RTABLE_GUARDED;
	default:
		return way == RTABLE_PAST;
	}
}

int rtable_set(const struct rtable *t, const struct address *prefix, unsigned len,
	       enum rtable_way was, enum rtable_way is)
{
	/* In this order nothing is ever on no way between two. */
	static const struct {
		uint8_t type;
		uint32_t metric;
	} kinds[] = {
		{ RTN_UNREACHABLE, METRIC_GUARD },
		{ RTN_UNICAST, METRIC_TUN },
		{ RTN_THROW, METRIC_PAST },
	};
	int failed = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			bool add = pass == 0;
			int err;

			if (has(add ? is : was, kinds[i].type) <=
			    has(add ? was : is, kinds[i].type))
				continue;
			err = route_change(t, add, kinds[i].type, kinds[i].metric, prefix,
					   len);
			if (!failed)
				failed = err;
		}
	return failed;
}

/* Copies of routes or rules that are to go. */
struct leftovers {
	struct leftover {
		uint8_t bytes[MESSAGE_MAX];
	} * all;
	size_t count, size;
	bool out_of_memory;
	/* Of peers, which cannot be reached until they are known anew. Its rules and routes
	 * are left over if they are stale, and then nothing else is. */
	uint32_t table;
	bool (*stale)(void *ctx, const struct address *address);
	void *ctx;
};

static void leftover_add(struct leftovers *l, const struct nlmsghdr *h)
{
	if (h->nlmsg_len > MESSAGE_MAX)
		return;
	if (l->count == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct leftover *more = reallocarray(l->all, size, sizeof(*more));

		if (!more) {
			l->out_of_memory = true;
			return;
		}
		l->all = more;
		l->size = size;
	}
	memcpy(l->all[l->count++].bytes, h, h->nlmsg_len);
}

/* Whether the route is what keeps this machine from reaching a peer of transport mode. */
static bool is_peer_guard(const struct nlmsghdr *h, uint32_t table, struct address *peer)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;
	bool there = false;

	*peer = (struct address){ .family = route->rtm_family };
	if (!table || route->rtm_type != RTN_UNREACHABLE ||
	    route->rtm_dst_len != 8 * address_size(peer->family))
		return false;
	mnl_attr_for_each(a, h, sizeof(*route))
	{
		uint16_t type = mnl_attr_get_type(a), len = mnl_attr_get_payload_len(a);

		if (type == RTA_DST && len == address_size(peer->family))
			memcpy(peer->bytes, mnl_attr_get_payload(a), len);
		else if (type == RTA_TABLE && len == sizeof(table))
			there = mnl_attr_get_u32(a) == table;
	}
	return there;
}

static int on_old_route(const struct nlmsghdr *h, void *ctx)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(h);
	struct leftovers *l = ctx;
	struct address peer;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*route) ||
	    route->rtm_protocol != PROTOCOL || route->rtm_flags & RTM_F_CLONED)
		return MNL_CB_OK;
	if (is_peer_guard(h, l->table, &peer) ? l->stale && l->stale(l->ctx, &peer)
					      : !l->stale)
		leftover_add(l, h);
	return MNL_CB_OK;
}

static int on_old_rule(const struct nlmsghdr *h, void *ctx)
{
	const struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(h);
	struct leftovers *l = ctx;
	struct address from = { 0 };
	bool own = false, of_peers = false;
	const struct nlattr *a;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*rule))
		return MNL_CB_OK;
	from.family = rule->family;
	mnl_attr_for_each(a, h, sizeof(*rule))
	{
		uint16_t type = mnl_attr_get_type(a), len = mnl_attr_get_payload_len(a);

		if (type == FRA_PROTOCOL && len >= 1)
			own = mnl_attr_get_u8(a) == PROTOCOL;
		else if (type == FRA_TABLE && len == sizeof(l->table))
			of_peers = l->table && mnl_attr_get_u32(a) == l->table;
		else if (type == FRA_SRC && len == address_size(from.family))
			memcpy(from.bytes, mnl_attr_get_payload(a), len);
	}
	if (own && (of_peers ? l->stale && l->stale(l->ctx, &from) : !l->stale))
		leftover_add(l, h);
	return MNL_CB_OK;
}

/* struct rtmsg and struct fib_rule_hdr begin alike, and have one size. */
static int dump(struct netlink *n, uint16_t type, uint8_t family, mnl_cb_t each,
		void *ctx)
{
	uint8_t buffer[MESSAGE_MAX];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_DUMP;
	m->rtm_family = family;
	return netlink_run(n, h, each, ctx);
}

static int flush(struct netlink *n, uint8_t family, uint16_t get, uint16_t del,
		 mnl_cb_t each, const struct leftovers *which)
{
	struct leftovers old = *which;
	int failed = dump(n, get, family, each, &old);

	for (size_t i = 0; i < old.count; i++) {
		struct nlmsghdr *h = (struct nlmsghdr *)old.all[i].bytes;
		int err;

		h->nlmsg_type = del;
		h->nlmsg_flags = 0;
		h->nlmsg_pid = 0;
		err = netlink_run(n, h, NULL, NULL);
		if (!failed && err != -ESRCH && err != -ENOENT)
			failed = err;
	}
	if (!failed && old.out_of_memory)
		failed = -ENOMEM;
	free(old.all);
	return excuse(family, failed);
}

static int remove_old(struct netlink *n, uint32_t peers)
{
	const struct leftovers which = { .table = peers };
	int failed = 0;

	for (unsigned i = 0; i < sizeof(families); i++) {
		int err =
		    flush(n, families[i], RTM_GETRULE, RTM_DELRULE, on_old_rule, &which);

		if (!err)
			err = flush(n, families[i], RTM_GETROUTE, RTM_DELROUTE,
				    on_old_route, &which);
		if (!failed)
			failed = err;
	}
	return failed;
}

int rtable_remove(struct netlink *n)
{
	return remove_old(n, 0);
}

/* "not fwmark MARK lookup TABLE suppress_prefixlength WIDE - 1", or "not iif lo lookup
 * TABLE". */
static int rule_add(const struct rtable *t, uint8_t family, bool forwarded)
{
	uint8_t buffer[MESSAGE_MAX];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(h, sizeof(*rule));

	h->nlmsg_type = RTM_NEWRULE;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	rule->family = family;
	rule->action = FR_ACT_TO_TBL;
	rule->flags = FIB_RULE_INVERT;
	mnl_attr_put_u32(h, FRA_TABLE, t->number);
	mnl_attr_put_u32(h, FRA_PRIORITY, t->number);
	mnl_attr_put_u8(h, FRA_PROTOCOL, PROTOCOL);
	if (forwarded) {
		mnl_attr_put_strz(h, FRA_IIFNAME, "lo");
	} else {
		mnl_attr_put_u32(h, FRA_FWMARK, CLUSTER_MARK);
		mnl_attr_put_u32(h, FRA_SUPPRESS_PREFIXLEN, UNIT_WIDE_BITS - 1);
	}
	return netlink_run(t->netlink, h, NULL, NULL);
}

int rtable_begin(const struct rtable *t)
{
	int err = remove_old(t->netlink, t->number + 1);

	for (unsigned i = 0; !err && i < sizeof(families); i++) {
		err = rule_add(t, families[i], false);
		if (!err)
			err = rule_add(t, families[i], true);
		err = excuse(families[i], err);
	}
	return err;
}

int rtable_peer_rule(const struct rtable *t, const struct address *cluster)
{
	uint8_t buffer[MESSAGE_MAX];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(h, sizeof(*rule));
	size_t size = address_size(cluster->family);
	int err;

	h->nlmsg_type = RTM_NEWRULE;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	rule->family = (uint8_t)cluster->family;
	rule->action = FR_ACT_TO_TBL;
	rule->src_len = (uint8_t)(size * 8);
	mnl_attr_put(h, FRA_SRC, size, cluster->bytes);
	mnl_attr_put_u32(h, FRA_TABLE, t->number + 1);
	mnl_attr_put_u32(h, FRA_PRIORITY, t->number);
	mnl_attr_put_u8(h, FRA_PROTOCOL, PROTOCOL);
	err = netlink_run(t->netlink, h, NULL, NULL);
	return err == -EEXIST ? 0 : excuse(cluster->family, err);
}

int rtable_peer_rules_sweep(const struct rtable *t,
			    bool (*stale)(void *ctx, const struct address *cluster),
			    void *ctx)
{
	const struct leftovers which = { .table = t->number + 1,
					 .stale = stale,
					 .ctx = ctx };
	int failed = 0;

	for (unsigned i = 0; !failed && i < sizeof(families); i++)
		failed = flush(t->netlink, families[i], RTM_GETRULE, RTM_DELRULE,
			       on_old_rule, &which);
	return failed;
}

int rtable_peer(const struct rtable *t, const struct address *peer, bool add)
{
	const struct rtable next = { t->netlink, t->number + 1, t->ifindex };

	return rtable_set(&next, peer, 8 * (unsigned)address_size(peer->family),
			  add ? RTABLE_NONE : RTABLE_GUARDED,
			  add ? RTABLE_GUARDED : RTABLE_NONE);
}

int rtable_peers_sweep(const struct rtable *t,
		       bool (*stale)(void *ctx, const struct address *peer), void *ctx)
{
	const struct leftovers which = { .table = t->number + 1,
					 .stale = stale,
					 .ctx = ctx };
	int failed = 0;

	for (unsigned i = 0; !failed && i < sizeof(families); i++)
		failed = flush(t->netlink, families[i], RTM_GETROUTE, RTM_DELROUTE,
			       on_old_route, &which);
	return failed;
}

struct near_list {
	const struct rtable *t;
	struct rtable_near *out;
	unsigned max, count, seen;
};

static void near_add(struct near_list *l, const struct rtmsg *route, const void *dst,
		     bool own)
{
	struct rtable_near *n = &l->out[l->count];

	if (l->count++ >= l->max)
		return;
	memset(n, 0, sizeof(*n));
	n->prefix.family = route->rtm_family;
	memcpy(n->prefix.bytes, dst, address_size(route->rtm_family));
	n->len = route->rtm_dst_len;
	n->own = own;
}

/* What is beyond no single link is nobody's to route. */
static bool is_link_local(const struct rtmsg *route, const uint8_t *dst)
{
	if (route->rtm_family == AF_INET)
		return dst[0] == 127 || dst[0] >= 224;
	return dst[0] == 0xff || (dst[0] == 0xfe && (dst[1] & 0xc0) == 0x80) ||
	       (!dst[0] && !dst[1]);
}

static int on_route(const struct nlmsghdr *h, void *ctx)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(h);
	struct near_list *l = ctx;
	const uint8_t *dst = NULL;
	const struct nlattr *a;
	uint32_t oif = 0, table;
	bool own;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*route))
		return MNL_CB_OK;
	if (++l->seen > SEEN_MAX || l->count > l->max)
		return MNL_CB_STOP;
	table = route->rtm_table;
	mnl_attr_for_each(a, h, sizeof(*route))
	{
		uint16_t type = mnl_attr_get_type(a), len = mnl_attr_get_payload_len(a);

		if (type == RTA_DST && len == address_size(route->rtm_family))
			dst = mnl_attr_get_payload(a);
		else if (type == RTA_OIF && len == sizeof(oif))
			oif = mnl_attr_get_u32(a);
		else if (type == RTA_TABLE && len == sizeof(table))
			table = mnl_attr_get_u32(a);
	}
	own = route->rtm_type == RTN_LOCAL && table == RT_TABLE_LOCAL;
	if (!dst || !route->rtm_dst_len || route->rtm_protocol == PROTOCOL ||
	    route->rtm_flags & RTM_F_CLONED || oif == (uint32_t)l->t->ifindex ||
	    is_link_local(route, dst) ||
	    (!own && (route->rtm_type != RTN_UNICAST || table != RT_TABLE_MAIN)))
		return MNL_CB_OK;
	near_add(l, route, dst, own);
	return MNL_CB_OK;
}

int rtable_near(const struct rtable *t, struct rtable_near *out, unsigned max)
{
	struct near_list list = { .t = t, .out = out, .max = max };
	int failed = 0;

	for (unsigned i = 0; !failed && i < sizeof(families); i++) {
		struct netlink *n; /* closing it ends a dump that is too long */

		failed = netlink_open(&n);
		if (failed)
			break;
		failed = excuse(families[i],
				dump(n, RTM_GETROUTE, families[i], on_route, &list));
		netlink_close(n);
	}
	if (failed)
		return failed;
	return list.seen > SEEN_MAX ? (int)max + 1 : (int)list.count;
}
