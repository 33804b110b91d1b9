/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

static void print_address(const struct local_addr *a, bool with_port, char *out,
			  size_t size)
{
	char text[INET6_ADDRSTRLEN];

	if (!inet_ntop(a->family == 6 ? AF_INET6 : AF_INET, a->bytes, text, sizeof(text)))
		text[0] = '\0';
	if (with_port)
		snprintf(out, size, a->family == 6 ? "[%s]:%u" : "%s:%u", text, a->port);
	else
		snprintf(out, size, "%s", text);
}

static void append(char *out, size_t size, const char *text)
{
	size_t had = strlen(out);

	snprintf(out + had, size - had, "%s%s", had ? " " : "", text);
}

static void view_child(struct session_view *out, const struct child *c)
{
	char text[64];

	snprintf(text, sizeof(text), "%08x/%08x%s", c->in.spi, c->out.spi,
		 c->out.encap ? "/udp" : "");
	append(out->detail, sizeof(out->detail), text);
	for (unsigned i = 0; !*out->virtual_address && i < c->nprefixes; i++) {
		char address[ADDRESS_TEXT_MAX];

		snprintf(out->virtual_address, sizeof(out->virtual_address), "%s/%u",
			 address_print(&c->prefixes[i].address, address),
			 c->prefixes[i].len);
	}
	out->bytes_in += c->in.bytes;
	out->packets_in += c->in.packets;
	out->bytes_out += c->out.bytes;
	out->packets_out += c->out.packets;
	out->held += session_held(c->session);
	out->sent += session_sent(c->session);
}

/* Members' clocks are never quite alike. */
static uint64_t age_of(const struct ike_sa *sa)
{
	uint64_t now = (uint64_t)time(NULL);

	return now > sa->exchanges.since ? now - sa->exchanges.since : 0;
}

bool ipsec_view(void *tunnel, struct session *s, struct session_view *out,
		struct mono now)
{
	struct ipsec *t = tunnel;
	const struct ike_sa *sa = session_user(s);
	struct local_ike_put put;
	const struct child *c;

	if (session_key(s)->type != RECORD_IKE || !sa || !login_read(s, &put))
		return false;
	memset(out, 0, sizeof(*out));
	out->kind = sa->isakmp ? "ikev1" : "ikev2";
	snprintf(out->user, sizeof(out->user), "%.*s", (int)put.user.len,
		 (const char *)put.user.bytes);
	print_address(&put.remote, true, out->client, sizeof(out->client));
	for (size_t at = 0; at + VIP_SIZE <= put.vips.len; at += VIP_SIZE) {
		struct local_addr a = { .family = put.vips.bytes[at] };
		char text[INET6_ADDRSTRLEN];

		memcpy(a.bytes, put.vips.bytes + at + 1, sizeof(a.bytes));
		print_address(&a, false, text, sizeof(text));
		append(out->virtual_address, sizeof(out->virtual_address), text);
	}
	out->counted = unit_set_has(&t->units, sa->unit);
	out->age = age_of(sa);
	out->held = session_held(s);
	out->sent = session_sent(s);
	out->bytes_in = sa->bytes_in;
	out->packets_in = sa->packets_in;
	out->bytes_out = sa->bytes_out;
	out->packets_out = sa->packets_out;
	for (c = children_of(t, sa->spi, NULL); c; c = children_of(t, sa->spi, c))
		view_child(out, c);
	return true;
}

/* From inside a call to the core, maybe: nothing is removed here. */
int ipsec_end(void *tunnel, struct session *s, bool force)
{
	struct ipsec *t = tunnel;
	struct local_message m = { .type = LOCAL_IKE_END };
	struct ike_sa *sa = session_user(s);

	if (session_key(s)->type != RECORD_IKE || !sa)
		return -EINVAL;
	if (!t->welcomed)
		return -EAGAIN;
	if (!sa->live && !force)
		return -EPERM;
	if (!sa->live) {
		sa->unwanted = t->unwanted = true;
		return 0;
	}
	log_info("ipsec: the operator ends IKE SA %016llx", (unsigned long long)sa->spi);
	m.ike_end.spi = sa->spi;
	m.ike_end.force = force;
	plugin_send(t->plugin, &m);
	return 0;
}

void ipsec_end_unknown(struct ipsec *t, struct mono now)
{
	struct ike_sa *sa, *next;

	if (!t->unwanted)
		return;
	t->unwanted = false;
	for (unsigned i = 0; i < TABLE_SIZE; i++) {
		for (sa = LIST_FIRST(&t->ikes[i]); sa; sa = next) {
			next = LIST_NEXT(sa, by_spi);
			if (!sa->unwanted || sa->live ||
			    !unit_set_has(&t->units, sa->unit))
				continue;
			log_info("ipsec: the operator removes IKE SA %016llx, which "
				 "charon does not know",
				 (unsigned long long)sa->spi);
			login_end(t, sa, now);
		}
	}
}
