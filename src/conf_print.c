/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Printing a configuration, and looking things up in it. */
#include "src/conf.h"

#include <arpa/inet.h>
#include <string.h>

const char *conf_mode_name(enum conf_mode mode)
{
	switch (mode) {
	case CONF_UNICAST:
		return "unicast";
	case CONF_FORWARDING:
		return "forwarding";
	case CONF_MULTICAST:
		break;
	}
	return "multicast";
}

const char *conf_log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warning";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		break;
	}
	return "debug";
}

const char *conf_control_path(const struct conf *conf, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s", conf->run_directory, CONF_CONTROL_NAME);
	return buf;
}

const struct conf_member *conf_member_named(const struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->nmembers; i++)
		if (strcmp(conf->members[i].name, name) == 0)
			return &conf->members[i];
	return NULL;
}

const struct conf_member *conf_member_with_id(const struct conf *conf, member_id id)
{
	for (unsigned i = 0; i < conf->nmembers; i++)
		if (conf->members[i].id == id)
			return &conf->members[i];
	return NULL;
}

const struct conf_network *conf_network_named(const struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->nnetworks; i++)
		if (strcmp(conf->networks[i].name, name) == 0)
			return &conf->networks[i];
	return NULL;
}

static void print_member(const struct conf *conf, const struct conf_member *m, FILE *out)
{
	char address[INET_ADDRSTRLEN];

	fprintf(out, "\nmember \"%s\" {\n\tid = %u\n\taddress = ", m->name, m->id);
	for (unsigned i = 0; i < m->naddresses; i++)
		fprintf(out, "%s\"%s\"",
			i		    ? ", "
			: m->naddresses > 1 ? "{"
					    : "",
			inet_ntop(AF_INET, &m->addresses[i], address, sizeof(address)));
	fprintf(out, "%s\n", m->naddresses > 1 ? "}" : "");
	if (m->port != conf->port)
		fprintf(out, "\tport = %u\n", m->port);
	fprintf(out, "}\n");
}

/* Which of the options are wanted. */
enum scope {
	SCOPE_ALL,
	SCOPE_SHARED, /* and the interfaces */
	SCOPE_EQUAL,  /* what must be the same everywhere */
};

static void print_addresses(const char *name, const struct address *list, unsigned n,
			    FILE *out)
{
	char text[ADDRESS_TEXT_MAX];

	fprintf(out, "\t%s = {", name);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "%s\"%s\"", i ? ", " : "", address_print(&list[i], text));
	fprintf(out, "}\n");
}

static void print_network(const struct conf_network *n, enum scope scope, FILE *out)
{
	static const uint8_t none[6];

	fprintf(out, "\nnetwork \"%s\" {\n", n->name);
	if (scope != SCOPE_EQUAL)
		fprintf(out, "\tinterface = \"%s\"\n", n->interface);
	print_addresses("addresses", n->addresses, n->naddresses, out);
	if (n->nprobes)
		print_addresses("probe", n->probes, n->nprobes, out);
	if (!memcmp(n->mac, none, sizeof(none))) { /* mode forwarding has none */
		fprintf(out, "\tmac = \"auto\"\n}\n");
		return;
	}
	if (n->mac_auto)
		fprintf(out, "\tmac = \"auto\" # ");
	else
		fprintf(out, "\tmac = ");
	fprintf(out, "\"%02x:%02x:%02x:%02x:%02x:%02x\"\n}\n", n->mac[0], n->mac[1],
		n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
}

static void print_local(const struct conf *conf, FILE *out)
{
	if (conf->node[0])
		fprintf(out, "node = \"%s\"\n", conf->node);
	fprintf(out, "certificate = \"%s\"\nkey = \"%s\"\nauthority = \"%s\"\n",
		conf->certificate, conf->key, conf->authority);
	fprintf(out, "state-directory = \"%s\"\nrun-directory = \"%s\"\n",
		conf->state_directory, conf->run_directory);
	fprintf(out, "capacity = %u\n", conf->capacity);
	fprintf(out, "log-level = %s\n", conf_log_level_name(conf->log_level));
}

static void print_options(const struct conf *conf, enum scope scope, FILE *out)
{
	if (scope != SCOPE_EQUAL)
		fprintf(out, "version = %u\n", conf->version);
	fprintf(out, "mode = %s\n", conf_mode_name(conf->mode));
	fprintf(out, "detection-interval = %u\n", conf->detection_interval);
	fprintf(out, "balance-interval = %u\n", conf->balance_interval);
	fprintf(out, "moves-per-round = %u\n", conf->moves_per_round);
	fprintf(out, "hold-back = %u\n", conf->hold_back);
	fprintf(out, "\ninterconnect {\n\tport = %u\n}\n", conf->port);
}

static void print_protect(const struct conf *conf, FILE *out)
{
	char text[ADDRESS_BLOCK_TEXT_MAX];

	fprintf(out, "\tprotect = {");
	for (unsigned i = 0; i < conf->nprotect; i++)
		fprintf(out, "%s\"%s\"", i ? ", " : "",
			address_block_print(&conf->protect[i], text));
	fprintf(out, "}\n");
}

static void print_tunnels(const struct conf *conf, enum scope scope, FILE *out)
{
	fprintf(out, "\ntunnel {\n");
	if (scope == SCOPE_ALL)
		fprintf(out, "\tdevice = \"%s\"\n\ttable = %u\n", conf->tunnel.device,
			conf->tunnel.table);
	if (conf->nprotect)
		print_protect(conf, out);
	fprintf(out, "\tmtu = %u\n}\n\nipsec {\n", conf->tunnel.mtu);
	if (scope == SCOPE_ALL)
		fprintf(out, "\tsocket = \"%s\"\n", conf->ipsec.socket);
	fprintf(out,
		"\tinbound-commit = %s\n\treplay-window = %u\n\tmss = %u\n"
		"\taddress-hold-back = %u\n}\n",
		conf->ipsec.inbound_commit ? "on" : "off", conf->ipsec.replay_window,
		conf->ipsec.mss, conf->ipsec.address_hold_back);
}

static void print_part(const struct conf *conf, enum conf_part part, enum scope scope,
		       FILE *out)
{
	switch (part) {
	case CONF_PART_OPTIONS:
		print_options(conf, scope, out);
		break;
	case CONF_PART_MEMBERS:
		for (unsigned i = 0; i < conf->nmembers; i++)
			print_member(conf, &conf->members[i], out);
		break;
	case CONF_PART_NETWORKS:
		for (unsigned i = 0; i < conf->nnetworks; i++)
			print_network(&conf->networks[i], scope, out);
		break;
	case CONF_PART_TUNNELS:
		print_tunnels(conf, scope, out);
	}
}

void conf_print_part(const struct conf *conf, enum conf_part part, FILE *out)
{
	print_part(conf, part, SCOPE_EQUAL, out);
}

void conf_print_shared(const struct conf *conf, FILE *out)
{
	for (int part = 0; part < CONF_PARTS; part++)
		print_part(conf, (enum conf_part)part, SCOPE_SHARED, out);
}

void conf_print(const struct conf *conf, FILE *out)
{
	print_local(conf, out);
	for (int part = 0; part < CONF_PARTS; part++)
		print_part(conf, (enum conf_part)part, SCOPE_ALL, out);
}
