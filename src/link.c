/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/link.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "src/link_parts.h"
#include "src/log.h"

uint64_t link_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t link_now_ms(void)
{
	return link_now_us() / 1000;
}

struct peer *link_peer_find(const struct links *l, member_id id)
{
	for (unsigned i = 0; i < l->npeers; i++)
		if (l->peers[i].config.id == id)
			return (struct peer *)&l->peers[i];
	return NULL;
}

bool link_peer_dials(const struct peer *p)
{
	return p->links->config.self > p->config.id;
}

/* Construction. */

static bool paths_valid(unsigned n)
{
	return n >= 1 && n <= LINK_PATHS_MAX;
}

static int check_config(const struct link_config *config, char err[LINK_ERR])
{
	char name[CLUSTER_NAME_MAX];
	member_id id;

	if (config->npeers > CLUSTER_MEMBERS_MAX) {
		snprintf(err, LINK_ERR, "more than %d members", CLUSTER_MEMBERS_MAX);
		return -EINVAL;
	}
	if (!paths_valid(config->npaths)) {
		snprintf(err, LINK_ERR, "1 to %d addresses are needed", LINK_PATHS_MAX);
		return -EINVAL;
	}
	if (cert_read_file(config->cert, name, &id, err) < 0)
		return -EINVAL;
	if (id != config->self) {
		snprintf(err, LINK_ERR, "%s: is the certificate of member %u, not of %u",
			 config->cert, id, config->self);
		return -EINVAL;
	}
	for (unsigned i = 0; i < config->npeers; i++) {
		const struct link_peer *p = &config->peers[i];
		if (p->id < 1 || p->id > CLUSTER_ID_MAX) {
			snprintf(err, LINK_ERR, "member %s has no valid id", p->name);
			return -EINVAL;
		}
		if (!paths_valid(p->npaths)) {
			snprintf(err, LINK_ERR, "member %s needs 1 to %d addresses",
				 p->name, LINK_PATHS_MAX);
			return -EINVAL;
		}
		if (p->id == config->self && strcmp(p->name, name) != 0) {
			snprintf(err, LINK_ERR, "%s: is the certificate of %s, not of %s",
				 config->cert, name, p->name);
			return -EINVAL;
		}
		for (unsigned k = 0; k < i; k++) {
			if (config->peers[k].id != p->id &&
			    strcmp(config->peers[k].name, p->name) != 0)
				continue;
			snprintf(err, LINK_ERR, "%s and %s share a name or an id",
				 p->name, config->peers[k].name);
			return -EINVAL;
		}
	}
	return 0;
}

static int add_peers(struct links *l)
{
	for (unsigned i = 0; i < l->config.npeers; i++) {
		if (l->config.peers[i].id == l->config.self)
			continue;
		struct peer *p = &l->peers[l->npeers];
		p->links = l;
		p->slot = l->npeers++;
		p->config = l->config.peers[i];
		p->backoff_ms = LINK_BACKOFF_MIN_MS;
		p->redial = evtimer_new(l->shared.base, link_stream_redial, p);
		if (!p->redial)
			return -ENOMEM;
		link_path_init(p);
	}
	return 0;
}

static void cannot_listen(const char *protocol, const struct endpoint *at, int error,
			  char err[LINK_ERR])
{
	char host[NI_MAXHOST] = "?", port[8] = "?";

	getnameinfo(endpoint_socket(at), at->addresslen, host, sizeof(host), port,
		    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(err, LINK_ERR, "cannot listen for members at %.60s, %s port %s: %s",
		 host, protocol, port, strerror(-error));
}

/* Whether the machine has the address now. */
static bool is_here(const struct endpoint *at)
{
	int fd = endpoint_bound_socket(at, SOCK_DGRAM, false, false);
	bool here = fd >= 0 || errno != EADDRNOTAVAIL;

	if (fd >= 0)
		close(fd);
	return here;
}

/* One network is enough to begin with; an interface that is late or broken does not keep the
 * member from the others. */
static int listen_all(struct links *l, char err[LINK_ERR])
{
	const struct endpoint *bind = l->config.bind;
	bool absent[LINK_PATHS_MAX], none = true;
	char host[ENDPOINT_TEXT];

	for (unsigned i = 0; i < l->config.npaths; i++) {
		absent[i] = !is_here(&bind[i]);
		none = none && absent[i];
	}
	for (unsigned i = 0; i < l->config.npaths; i++) {
		bool late = absent[i] && !none;
		int failed = link_stream_listen(l, i, late);

		if (late)
			log_warnx("this machine has not got its address %s",
				  endpoint_host(endpoint_socket(&bind[i]),
						bind[i].addresslen, host));
		if (failed) {
			cannot_listen("TCP", &bind[i], failed, err);
			return failed;
		}
		failed = link_path_open(l, i, late);
		if (failed) {
			cannot_listen("UDP", &bind[i], failed, err);
			return failed;
		}
	}
	return 0;
}

struct links *links_new(struct event_base *base, const struct link_config *config,
			const struct link_ops *ops, char err[LINK_ERR])
{
	if (check_config(config, err) < 0)
		return NULL;
	/* OpenSSL writes to sockets with write(2). */
	signal(SIGPIPE, SIG_IGN);
	struct links *l = calloc(1, sizeof(*l));
	if (!l) {
		snprintf(err, LINK_ERR, "out of memory");
		return NULL;
	}
	l->config = *config;
	l->config.cert = l->config.key = l->config.ca = NULL; /* not ours to keep */
	l->ops = *ops;
	l->shared.base = base;
	for (unsigned i = 0; i < config->npaths; i++)
		l->locals[i] = (struct local){ .links = l, .path = i };
	int failed = link_stream_init(l);
	l->shared.tls = tls_context_new(config->cert, config->key, config->ca, err);
	if (!l->shared.tls)
		goto fail;
	l->ring = seal_ring_new();
	if (failed || !l->ring || add_peers(l) < 0 || link_path_start(l) < 0) {
		snprintf(err, LINK_ERR, "out of memory");
		goto fail;
	}
	if (listen_all(l, err) < 0)
		goto fail;
	for (unsigned i = 0; i < l->npeers; i++)
		if (link_peer_dials(&l->peers[i]))
			event_active(l->peers[i].redial, EV_TIMEOUT, 0);
	return l;
fail:
	links_free(l);
	return NULL;
}

void links_free(struct links *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < l->config.npaths; i++) {
		if (l->locals[i].listener)
			evconnlistener_free(l->locals[i].listener);
		udp_free(l->locals[i].udp);
	}
	link_stream_stop(l);
	for (unsigned i = 0; i < l->npeers; i++) {
		seal_sender_free(l->peers[i].sender);
		if (l->peers[i].redial)
			event_free(l->peers[i].redial);
	}
	if (l->tick)
		event_free(l->tick);
	seal_ring_free(l->ring);
	SSL_CTX_free(l->shared.tls);
	OPENSSL_cleanse(l->note, sizeof(l->note));
	free(l);
}

/* Use. */

void links_datagram(struct links *l, member_id to, const uint8_t *msg, size_t len)
{
	struct peer *p = link_peer_find(l, to);

	if (len > CLUSTER_DATAGRAM_MAX)
		l->datagrams_too_long++;
	else if (!p)
		l->datagrams_without_key++;
	else
		link_path_send(p, msg, len);
}

int links_packet(struct links *l, member_id to, const uint8_t *msg, size_t len)
{
	struct peer *p = link_peer_find(l, to);

	if (len > LINK_PACKET_MAX) {
		l->datagrams_too_long++;
		return -EMSGSIZE;
	}
	if (!p) {
		l->datagrams_without_key++;
		return -ENOTCONN;
	}
	return link_path_send_packet(p, msg, len);
}

int links_stream(struct links *l, member_id to, const uint8_t *msg, size_t len)
{
	struct peer *p = link_peer_find(l, to);

	return p && p->up ? connection_send(p->up, msg, len) : -ENOTCONN;
}

void links_break(struct links *l, member_id peer)
{
	struct peer *p = link_peer_find(l, peer);

	if (p && p->up)
		connection_break(p->up, END_OVERFLOW,
				 "the peer takes nothing of what is sent to it");
}

bool links_up(const struct links *l, member_id peer)
{
	const struct peer *p = link_peer_find(l, peer);

	return p && p->up && connection_is_up(p->up);
}

static void store_addresses(const struct links *l)
{
	for (unsigned i = 0; i < l->config.npaths; i++)
		keeper_from(l->page, i, endpoint_socket(&l->config.bind[i]),
			    l->config.bind[i].addresslen);
	for (unsigned i = 0; i < l->npeers; i++)
		for (unsigned k = 0; k < l->peers[i].npaths; k++)
			keeper_to(l->page, l->peers[i].slot, k,
				  endpoint_socket(&l->peers[i].config.at[k]),
				  l->peers[i].config.at[k].addresslen);
}

int links_death_note(struct links *l, const uint8_t *note, size_t len,
		     struct keeper_page *page)
{
	if (l->note_len)
		return -EALREADY;
	if (len < 1 || len > CLUSTER_DATAGRAM_MAX ||
	    1 + len + SEAL_OVERHEAD > KEEPER_NOTE_MAX)
		return -EMSGSIZE;
	memcpy(l->note, note, len);
	l->note_len = len;
	l->page = page;
	store_addresses(l);
	for (unsigned i = 0; i < l->npeers; i++)
		link_stream_note(&l->peers[i]);
	return 0;
}
