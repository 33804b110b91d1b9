/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration's options: a table of them, what each may be, and the rules between
 * them. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "src/conf_reader.h"
#include "tunnels/ipsec/replay.h"

/* Values */

static void set_number(struct reader *r, const struct option *o, void *at,
		       const char *value)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno || number < o->min ||
	    number > o->max) {
		conf_complain(r, r->line, "%s is '%s', expected a number from %u to %u",
			      o->name, value, o->min, o->max);
		return;
	}
	if (o->size == sizeof(uint16_t))
		*(uint16_t *)at = (uint16_t)number;
	else
		*(unsigned *)at = (unsigned)number;
}

static void set_bool(struct reader *r, const struct option *o, void *at,
		     const char *value)
{
	int on = cfg_parse_boolean(value);

	if (on < 0)
		conf_complain(r, r->line, "%s is '%s', expected on or off", o->name,
			      value);
	else
		*(bool *)at = on;
}

/* Text that is printed between quotes must read back as the same. */
static bool plain(const char *value)
{
	for (; *value; value++)
		if (iscntrl((unsigned char)*value) || strchr("\"'\\$", *value))
			return false;
	return true;
}

static void set_path(struct reader *r, const struct option *o, void *at,
		     const char *value)
{
	if (value[0] != '/' || !plain(value))
		conf_complain(r, r->line,
			      "%s is '%s', expected an absolute path without quotes, "
			      "backslashes and dollar signs",
			      o->name, value);
	else if (strlen(value) >= o->size)
		conf_complain(r, r->line, "%s has %zu bytes, expected at most %zu",
			      o->name, strlen(value), o->size - 1);
	else
		strcpy(at, value);
}

/* Names of members and interfaces end up in certificates, paths and tables. */
static bool is_name(const char *value, size_t size)
{
	size_t len = strlen(value);

	return len > 0 && len < size && value[0] != '-' && value[0] != '.' &&
	       strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			     "0123456789-._") == len;
}

static void set_name(struct reader *r, const struct option *o, void *at,
		     const char *value)
{
	if (is_name(value, o->size))
		strcpy(at, value);
	else
		conf_complain(
		    r, r->line,
		    "%s is '%s', expected 1 to %zu letters, digits, '-', '.', '_'",
		    o->name, value, o->size - 1);
}

static void set_interface(struct reader *r, const struct option *o, void *at,
			  const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= o->size || !plain(value) || value[0] == '.' ||
	    strpbrk(value, "/: "))
		conf_complain(r, r->line,
			      "%s is '%s', expected the name of a network interface "
			      "(1 to %zu characters)",
			      o->name, value, o->size - 1);
	else
		strcpy(at, value);
}

static void set_mode(struct reader *r, const struct option *o, void *at,
		     const char *value)
{
	enum conf_mode *mode = at;

	if (strcmp(value, "multicast") == 0)
		*mode = CONF_MULTICAST;
	else if (strcmp(value, "unicast") == 0)
		*mode = CONF_UNICAST;
	else if (strcmp(value, "forwarding") == 0)
		*mode = CONF_FORWARDING;
	else
		conf_complain(r, r->line,
			      "mode is '%s', expected multicast, unicast or forwarding",
			      value);
}

static void set_log_level(struct reader *r, const struct option *o, void *at,
			  const char *value)
{
	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++)
		if (strcmp(value, conf_log_level_name((enum log_level)i)) == 0) {
			*(enum log_level *)at = (enum log_level)i;
			return;
		}
	conf_complain(r, r->line, "%s is '%s', expected error, warning, info or debug",
		      o->name, value);
}

static bool parse_address(struct reader *r, const char *name, const char *value,
			  const char *expected, struct address *out)
{
	struct address a;

	if (address_parse(value, &a)) {
		conf_complain(r, r->line, "%s is '%s', expected %s", name, value,
			      expected);
		return false;
	}
	if (!address_is_unicast(&a)) {
		conf_complain(r, r->line,
			      "%s is '%s', expected the address of one machine", name,
			      value);
		return false;
	}
	*out = a;
	return true;
}

/* Of the interconnect, which is IPv4. */
static bool parse_ipv4(struct reader *r, const char *name, const char *value,
		       struct in_addr *out)
{
	static const char expected[] = "an IPv4 address such as 192.0.2.1";
	struct address a;

	if (!parse_address(r, name, value, expected, &a))
		return false;
	if (a.family == AF_INET)
		memcpy(out, a.bytes, sizeof(*out));
	else
		conf_complain(r, r->line, "%s is '%s', expected %s", name, value,
			      expected);
	return a.family == AF_INET;
}

/* True if a network that was read before, or this one, has it already. */
static bool address_taken(const struct conf *c, const struct address *a)
{
	for (unsigned n = 0; n < c->nnetworks; n++)
		for (unsigned i = 0; i < c->networks[n].naddresses; i++)
			if (address_same(&c->networks[n].addresses[i], a))
				return true;
	return false;
}

static void set_addresses(struct reader *r, const struct option *o, void *at,
			  const char *value)
{
	struct conf_network *n = at;
	struct address a;

	if (!parse_address(r, o->name, value,
			   "an IPv4 or IPv6 address such as 192.0.2.1 or 2001:db8::1",
			   &a))
		return;
	if (address_taken(r->conf, &a))
		conf_complain(r, r->line,
			      "cluster address %s was given before, expected each "
			      "once",
			      value);
	else if (n->naddresses == CONF_ADDRESSES_MAX)
		conf_complain(r, r->line,
			      "network \"%s\" has too many addresses, expected at "
			      "most %d",
			      n->name, CONF_ADDRESSES_MAX);
	else
		n->addresses[n->naddresses++] = a;
}

static void set_probes(struct reader *r, const struct option *o, void *at,
		       const char *value)
{
	struct conf_network *n = at;
	struct address a;

	if (!parse_address(r, o->name, value,
			   "an IPv4 or IPv6 address such as 192.0.2.254", &a))
		return;
	for (unsigned i = 0; i < n->nprobes; i++)
		if (address_same(&n->probes[i], &a)) {
			conf_complain(r, r->line,
				      "probe %s was given before, expected each once",
				      value);
			return;
		}
	if (n->nprobes == CONF_PROBES_MAX)
		conf_complain(r, r->line,
			      "network \"%s\" has too many probes, expected at most %d",
			      n->name, CONF_PROBES_MAX);
	else
		n->probes[n->nprobes++] = a;
}

/* That other members do not have it, add_member() sees: the port may stand behind it. */
static void set_member_address(struct reader *r, const struct option *o, void *at,
			       const char *value)
{
	struct conf_member *m = at;
	struct in_addr a;

	if (!parse_ipv4(r, o->name, value, &a))
		return;
	for (unsigned i = 0; i < m->naddresses; i++)
		if (m->addresses[i].s_addr == a.s_addr) {
			conf_complain(r, r->line,
				      "address %s was given before, expected one for "
				      "each network of the interconnect",
				      value);
			return;
		}
	if (m->naddresses == CONF_PATHS_MAX)
		conf_complain(r, r->line,
			      "member \"%s\" has too many addresses, expected at most %d",
			      m->name, CONF_PATHS_MAX);
	else
		m->addresses[m->naddresses++] = a;
}

static void set_protect(struct reader *r, const struct option *o, void *at,
			const char *value)
{
	struct conf *c = at;
	struct address_block b;

	if (address_block_parse(value, &b)) {
		conf_complain(r, r->line,
			      "%s is '%s', expected a prefix such as 10.9.0.0/16, with "
			      "zeros behind it",
			      o->name, value);
		return;
	}
	for (unsigned i = 0; i < c->nprotect; i++)
		if (address_block_same(&c->protect[i], &b)) {
			conf_complain(r, r->line,
				      "prefix %s was given before, expected each once",
				      value);
			return;
		}
	if (c->nprotect == CONF_PROTECT_MAX)
		conf_complain(r, r->line, "%s has too many prefixes, expected at most %d",
			      o->name, CONF_PROTECT_MAX);
	else
		c->protect[c->nprotect++] = b;
}

/* The mode may stand behind the network in the file: check_mac() looks at the address. */
static void set_mac(struct reader *r, const struct option *o, void *at, const char *value)
{
	struct conf_network *n = at;
	unsigned b[6];
	int used = 0;

	if (strcmp(value, "auto") == 0)
		return;
	if (sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4],
		   &b[5], &used) != 6 ||
	    used != 17 || value[used]) {
		conf_complain(r, r->line,
			      "mac is '%s', expected \"auto\" or six bytes such as "
			      "03:00:5e:00:02:01",
			      value);
		return;
	}
	n->mac_auto = false;
	for (int i = 0; i < 6; i++)
		n->mac[i] = (uint8_t)b[i];
}

/* Tables */

#define AT(field) offsetof(struct conf, field)
#define SIZE(field) sizeof(((struct conf *)0)->field)
#define PATH(name, field)                                                                \
	{                                                                                \
		name, set_path, AT(field), SIZE(field), 0, 0, false                      \
	}
#define NUMBER(name, field, min, max)                                                    \
	{                                                                                \
		name, set_number, AT(field), SIZE(field), min, max, false                \
	}
#define OTHER(name, set, field)                                                          \
	{                                                                                \
		name, set, AT(field), SIZE(field), 0, 0, false                           \
	}
#define END                                                                              \
	{                                                                                \
		NULL, NULL, 0, 0, 0, 0, false                                            \
	}

const struct option conf_top_options[] = {
	OTHER("node", set_name, node),
	PATH("certificate", certificate),
	PATH("key", key),
	PATH("authority", authority),
	PATH("state-directory", state_directory),
	PATH("run-directory", run_directory),
	NUMBER("version", version, 1, 1000000000),
	OTHER("mode", set_mode, mode),
	NUMBER("detection-interval", detection_interval, 50, 5000),
	NUMBER("capacity", capacity, 1, 1000000),
	NUMBER("balance-interval", balance_interval, 100, 3600000),
	NUMBER("moves-per-round", moves_per_round, 0, CLUSTER_UNITS),
	NUMBER("hold-back", hold_back, 0, 60000),
	OTHER("log-level", set_log_level, log_level),
	END,
};

static const struct option interconnect_options[] = {
	NUMBER("port", port, 1, 65535),
	END,
};

static const struct option tunnel_options[] = {
	OTHER("device", set_interface, tunnel.device),
	NUMBER("mtu", tunnel.mtu, 576, 9000),
	/* 253 and above are the kernel's own. */
	NUMBER("table", tunnel.table, 1, 251),
	{ "protect", set_protect, 0, 0, 0, 0, true },
	END,
};

static const struct option ipsec_options[] = {
	PATH("socket", ipsec.socket),
	OTHER("inbound-commit", set_bool, ipsec.inbound_commit),
	NUMBER("replay-window", ipsec.replay_window, REPLAY_SIZE_MIN, REPLAY_SIZE_MAX),
	NUMBER("mss", ipsec.mss, 0, 9000),
	NUMBER("address-hold-back", ipsec.address_hold_back, 0, 604800),
	END,
};

static const struct option member_options[] = {
	{ "id", set_number, offsetof(struct conf_member, id), sizeof(member_id), 1,
	  CLUSTER_ID_MAX, false },
	{ "address", set_member_address, 0, 0, 0, 0, true },
	{ "port", set_number, offsetof(struct conf_member, port), sizeof(uint16_t), 1,
	  65535, false },
	END,
};

static const struct option network_options[] = {
	{ "interface", set_interface, offsetof(struct conf_network, interface),
	  IF_NAMESIZE, 0, 0, false },
	{ "addresses", set_addresses, 0, 0, 0, 0, true },
	{ "mac", set_mac, 0, 0, 0, 0, false },
	{ "probe", set_probes, 0, 0, 0, 0, true },
	END,
};

const struct section conf_sections[CONF_SECTIONS] = {
	{ "interconnect", interconnect_options, false },
	{ "tunnel", tunnel_options, false },
	{ "ipsec", ipsec_options, false },
	{ "member", member_options, true },
	{ "network", network_options, true },
};

/* Rules */

static void set_options(struct reader *r, cfg_t *cfg, const struct option *options,
			void *base)
{
	for (const struct option *o = options; o->name; o++) {
		cfg_opt_t *opt = cfg_getopt(cfg, o->name);

		/* A text that was not given has one value, NULL. */
		for (unsigned i = 0; conf_line_of(r, opt, i) && i < cfg_opt_size(opt);
		     i++) {
			r->line = conf_line_of(r, opt, i);
			o->set(r, o, (char *)base + o->offset, cfg_opt_getnstr(opt, i));
		}
	}
}

/* Of value number `index` in a list. */
static unsigned value_line(const struct reader *r, cfg_t *cfg, const char *name,
			   unsigned index)
{
	unsigned line = conf_line_of(r, cfg_getopt(cfg, name), index);

	return line ? line : conf_line_now(cfg);
}

static unsigned option_line(const struct reader *r, cfg_t *cfg, const char *name)
{
	return value_line(r, cfg, name, 0);
}

/* Complains at the end of the section if the option is not in it. */
static void require(struct reader *r, cfg_t *cfg, const char *option)
{
	if (!conf_line_of(r, cfg_getopt(cfg, option), 0))
		conf_complain(r, conf_line_now(cfg),
			      "%s \"%s\" ends here without %s, expected %s = ...",
			      cfg_name(cfg), cfg_title(cfg), option, option);
}

static bool check_title(struct reader *r, cfg_t *cfg, size_t size)
{
	const char *title = cfg_title(cfg);

	if (title && is_name(title, size))
		return true;
	conf_complain(
	    r, conf_line_now(cfg),
	    "the name of %s \"%s\" is wrong, expected 1 to %zu letters, digits, '-', "
	    "'.', '_'",
	    cfg_name(cfg), title ? title : "", size - 1);
	return false;
}

/* No two members are at one address and port. */
static void check_member_addresses(struct reader *r, cfg_t *cfg,
				   const struct conf_member *m,
				   const struct conf_member *other)
{
	for (unsigned i = 0; i < m->naddresses && other->port == m->port; i++)
		for (unsigned k = 0; k < other->naddresses; k++)
			if (other->addresses[k].s_addr == m->addresses[i].s_addr)
				conf_complain(
				    r, value_line(r, cfg, "address", i),
				    "this address and port are member \"%s\"'s already, "
				    "expected others",
				    other->name);
}

static void add_member(struct reader *r, cfg_t *cfg)
{
	struct conf *c = r->conf;
	struct conf_member *m = &c->members[c->nmembers];

	if (c->nmembers == CLUSTER_MEMBERS_MAX) {
		conf_complain(r, conf_line_now(cfg),
			      "member \"%s\" is one too many, expected at most %d",
			      cfg_title(cfg), CLUSTER_MEMBERS_MAX);
		return;
	}
	if (!check_title(r, cfg, sizeof(m->name)))
		return;
	strcpy(m->name, cfg_title(cfg));
	m->port = c->port;
	require(r, cfg, "id");
	require(r, cfg, "address");
	set_options(r, cfg, member_options, m);
	for (unsigned i = 0; i < c->nmembers; i++) {
		const struct conf_member *other = &c->members[i];

		if (m->id && other->id == m->id)
			conf_complain(
			    r, option_line(r, cfg, "id"),
			    "id %u is member \"%s\"'s already, expected another", m->id,
			    other->name);
		check_member_addresses(r, cfg, m, other);
	}
	c->nmembers++;
}

/* The bytes of an automatic MAC come from the first address, so that all members, and all
 * runs, find the same. Of IPv6 the network's part must count, too. */
static void check_mac(struct reader *r, cfg_t *cfg, struct conf_network *n)
{
	uint8_t a[4] = { 0 };
	bool group = r->conf->mode == CONF_MULTICAST;
	static const uint8_t none[6], all[6] = { 255, 255, 255, 255, 255, 255 };

	for (unsigned i = 0; i < sizeof(n->addresses[0].bytes); i++)
		a[i % 4] ^= n->addresses[0].bytes[i];
	if (r->conf->mode == CONF_FORWARDING) {
		if (!n->mac_auto)
			conf_complain(r, option_line(r, cfg, "mac"),
				      "mac does not go with mode forwarding, which uses "
				      "the interfaces' own, expected none");
		return;
	}
	if (n->mac_auto) {
		const uint8_t mac[6] = { group ? 3 : 2, 'P', a[0], a[1], a[2], a[3] };

		memcpy(n->mac, mac, sizeof(mac));
		return;
	}
	if ((n->mac[0] & 1) != group || memcmp(n->mac, none, 6) == 0 ||
	    memcmp(n->mac, all, 6) == 0)
		conf_complain(
		    r, option_line(r, cfg, "mac"),
		    "mac does not go with mode %s, expected one whose first byte is %s",
		    conf_mode_name(r->conf->mode), group ? "odd" : "even");
}

/* It is asked from the member's own address, which is of a family of the cluster's. */
static void check_probes(struct reader *r, cfg_t *cfg, const struct conf_network *n)
{
	char text[ADDRESS_TEXT_MAX];

	for (unsigned i = 0; i < n->nprobes; i++) {
		bool known = false;

		address_print(&n->probes[i], text);
		for (unsigned a = 0; a < n->naddresses; a++) {
			known = known || n->addresses[a].family == n->probes[i].family;
			if (address_same(&n->addresses[a], &n->probes[i]))
				conf_complain(r, option_line(r, cfg, "probe"),
					      "probe %s is the cluster's own address",
					      text);
		}
		if (!known)
			conf_complain(r, option_line(r, cfg, "probe"),
				      "probe %s is %s, expected one like an address of "
				      "network \"%s\"",
				      text,
				      n->probes[i].family == AF_INET6 ? "IPv6" : "IPv4",
				      n->name);
	}
}

static void add_network(struct reader *r, cfg_t *cfg)
{
	struct conf *c = r->conf;
	struct conf_network *n = &c->networks[c->nnetworks];

	if (c->nnetworks == CONF_NETWORKS_MAX) {
		conf_complain(r, conf_line_now(cfg),
			      "network \"%s\" is one too many, expected at most %d",
			      cfg_title(cfg), CONF_NETWORKS_MAX);
		return;
	}
	if (!check_title(r, cfg, sizeof(n->name)))
		return;
	strcpy(n->name, cfg_title(cfg));
	n->mac_auto = true;
	c->nnetworks++; /* its addresses must differ from one another, too */
	require(r, cfg, "interface");
	require(r, cfg, "addresses");
	set_options(r, cfg, network_options, n);
	check_mac(r, cfg, n);
	check_probes(r, cfg, n);
	for (unsigned i = 0; i + 1 < c->nnetworks; i++)
		if (n->interface[0] &&
		    strcmp(n->interface, c->networks[i].interface) == 0)
			conf_complain(
			    r, option_line(r, cfg, "interface"),
			    "interface %s is network \"%s\"'s already, expected another",
			    n->interface, c->networks[i].name);
	if (n->interface[0] && strcmp(n->interface, c->tunnel.device) == 0)
		conf_complain(r, option_line(r, cfg, "interface"),
			      "interface %s is the tunnel's device, expected another",
			      n->interface);
}

static void check_members(struct reader *r, cfg_t *cfg)
{
	struct conf *c = r->conf;

	for (unsigned i = 0; i < cfg_size(cfg, "member") && i < c->nmembers; i++) {
		const struct conf_member *m = &c->members[i];
		cfg_t *section = cfg_gettsec(cfg, "member", m->name);

		for (unsigned k = 0; k < m->naddresses; k++) {
			struct address a = address_ipv4(m->addresses[k]);

			if (address_taken(c, &a))
				conf_complain(
				    r, value_line(r, section, "address", k),
				    "this address is the cluster's, expected the "
				    "member's own");
		}
	}
	if (c->node[0] && !conf_member_named(c, c->node))
		conf_complain(r, option_line(r, cfg, "node"),
			      "node is '%s', expected the name of a member in this file",
			      c->node);
}

/* libconfuse takes the end of the file for the end of a section. */
static void check_closed(struct reader *r, cfg_t *cfg)
{
	for (size_t i = 0; i < CONF_SECTIONS; i++)
		for (unsigned j = 0; j < cfg_size(cfg, conf_sections[i].name); j++)
			if (conf_line_now(cfg_getnsec(cfg, conf_sections[i].name, j)) >=
			    r->eof_line)
				conf_complain(
				    r, r->last_line,
				    "the file ends within section %s, expected '}'",
				    conf_sections[i].name);
}

void conf_check_rules(struct reader *r, cfg_t *cfg)
{
	struct conf *c = r->conf;
	size_t path_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	check_closed(r, cfg);
	set_options(r, cfg, conf_top_options, c);
	set_options(r, cfg_getsec(cfg, "interconnect"), interconnect_options, c);
	set_options(r, cfg_getsec(cfg, "tunnel"), tunnel_options, c);
	set_options(r, cfg_getsec(cfg, "ipsec"), ipsec_options, c);
	for (unsigned i = 0; i < cfg_size(cfg, "member"); i++)
		add_member(r, cfg_getnsec(cfg, "member", i));
	for (unsigned i = 0; i < cfg_size(cfg, "network"); i++)
		add_network(r, cfg_getnsec(cfg, "network", i));
	if (cfg_size(cfg, "member") == 0)
		conf_complain(
		    r, conf_line_now(cfg),
		    "the file ends without a member, expected member \"NAME\" { ... }");
	if (cfg_size(cfg, "network") == 0)
		conf_complain(
		    r, conf_line_now(cfg),
		    "the file ends without a network, expected network \"NAME\" { ... }");
	check_members(r, cfg);
	if (strlen(c->run_directory) + 1 + strlen(CONF_CONTROL_NAME) > path_max)
		conf_complain(
		    r, option_line(r, cfg, "run-directory"),
		    "run-directory has %zu bytes, expected at most %zu (a socket's name "
		    "has its limit)",
		    strlen(c->run_directory), path_max - 1 - strlen(CONF_CONTROL_NAME));
	if (strlen(c->ipsec.socket) > path_max)
		conf_complain(r, option_line(r, cfg_getsec(cfg, "ipsec"), "socket"),
			      "socket has %zu bytes, expected at most %zu",
			      strlen(c->ipsec.socket), path_max);
}
