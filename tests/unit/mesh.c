/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <ftw.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/mesh.h"

#define PATIENCE_MS 20000

char mesh_folder[64];
struct event_base *mesh_base;

const char *mesh_path(const char *format, ...)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];
	va_list args;

	int n = snprintf(path, sizeof(paths[0]), "%s/", mesh_folder);
	va_start(args, format);
	vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, format, args);
	va_end(args);
	return path;
}

int mesh_start(void **state)
{
	char err[CERT_ERR], name[8];

	strcpy(mesh_folder, "/tmp/test_mesh.XXXXXX");
	if (!mkdtemp(mesh_folder) || cert_make_ca(mesh_path("ca"), "Mesh", 9, err) < 0)
		return -1;
	for (unsigned id = 1; id <= 4; id++) {
		snprintf(name, sizeof(name), "m%u", id);
		if (cert_issue(mesh_path("ca"), name, (member_id)id, 9,
			       mesh_path("%s", name), false, err) < 0)
			return -1;
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int mesh_stop(void **state)
{
	return nftw(mesh_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int mesh_base_new(void **state)
{
	mesh_base = event_base_new();
	return mesh_base ? 0 : -1;
}

int mesh_base_free(void **state)
{
	event_base_free(mesh_base);
	return 0;
}

static struct endpoint address(uint32_t host, uint16_t port)
{
	struct endpoint a = { .addresslen = sizeof(struct sockaddr_in) };
	struct sockaddr_in *in = (struct sockaddr_in *)&a.address;

	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	in->sin_addr.s_addr = htonl(host);
	return a;
}

struct endpoint mesh_address(uint16_t port)
{
	return address(INADDR_LOOPBACK, port);
}

static uint32_t host_on(unsigned path, member_id id)
{
	return 0x7f000a00 + (path << 8) + id;
}

struct endpoint mesh_address_on(unsigned path, member_id id, uint16_t port)
{
	return address(host_on(path, id), port);
}

/* The whole process is one test: each of its sockets stands for an end of a cable. What
 * comes in is dropped without a word, and what comes to a listening socket too. */
static void set_cut(int fd, bool cut)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = { 1, &drop };
	int nothing = 0;

	if (cut)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
					    sizeof(program)),
				 0);
	else
		setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &nothing, sizeof(nothing));
}

void mesh_cut(unsigned path, member_id id, int type, bool cut)
{
	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);
		int is = 0;
		socklen_t islen = sizeof(is);

		if (getsockname(fd, (struct sockaddr *)&a, &len) < 0 ||
		    len != sizeof(a) || a.sin_family != AF_INET)
			continue;
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &is, &islen);
		uint32_t host = ntohl(a.sin_addr.s_addr);
		if (host >> 8 == host_on(path, 0) >> 8 &&
		    (!id || host == host_on(path, id)) && (!type || type == is))
			set_cut(fd, cut);
	}
}

uint16_t mesh_port(void)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		struct endpoint a = mesh_address(0);
		struct sockaddr *at = (struct sockaddr *)&a.address;
		int tcp = socket(AF_INET, SOCK_STREAM, 0),
		    udp = socket(AF_INET, SOCK_DGRAM, 0);
		bool ok = bind(tcp, at, a.addresslen) == 0 &&
			  getsockname(tcp, at, &a.addresslen) == 0 &&
			  bind(udp, at, a.addresslen) == 0;
		close(tcp);
		close(udp);
		if (ok)
			return ntohs(((struct sockaddr_in *)at)->sin_port);
	}
	fail_msg("no port is free");
	return 0;
}

static void keep_last(struct node *n, const uint8_t *msg, size_t len)
{
	assert_false(n->in_call);
	assert_true(len <= sizeof(n->last));
	memcpy(n->last, msg, len);
	n->last_len = len;
}

static void on_datagram(void *ctx, member_id from, const uint8_t *msg, size_t len)
{
	struct node *n = ctx;
	keep_last(n, msg, len);
	n->datagrams++;
}

void mesh_fill(uint8_t *message, size_t len)
{
	for (size_t i = 0; i < len; i++)
		message[i] = (uint8_t)(len + i * 7);
}

static void on_stream(void *ctx, member_id from, const uint8_t *msg, size_t len)
{
	static uint8_t want[CLUSTER_MESSAGE_MAX];
	struct node *n = ctx;

	keep_last(n, msg, len);
	n->messages++;
	mesh_fill(want, len);
	if (memcmp(want, msg, len) != 0)
		n->damaged = true;
}

static void on_state(void *ctx, member_id peer, bool up)
{
	struct node *n = ctx;

	assert_false(n->in_call);
	n->ups += up;
	n->downs += !up;
	if (!up && n->answer_down)
		links_datagram(n->links, peer, (const uint8_t *)"late", 4);
}

static void on_packet(void *ctx, member_id from, uint8_t *msg, size_t len)
{
	struct node *n = ctx;

	keep_last(n, msg, len);
	n->packets++;
	memset(msg, 0, len); /* it is ours to overwrite */
}

void mesh_node(struct node *n, member_id id, const char *prefix, uint16_t port)
{
	memset(n, 0, sizeof(*n));
	snprintf(n->cert, sizeof(n->cert), "%s.crt", mesh_path("%s", prefix));
	snprintf(n->key, sizeof(n->key), "%s.key", mesh_path("%s", prefix));
	snprintf(n->ca, sizeof(n->ca), "%s", mesh_path("ca/ca.crt"));
	n->config = (struct link_config){ .self = id,
					  .npaths = 1,
					  .bind = { mesh_address(port) },
					  .cert = n->cert,
					  .key = n->key,
					  .ca = n->ca };
}

void mesh_list(struct node *n, member_id id, const char *name, uint16_t port)
{
	struct link_peer *p = &n->config.peers[n->config.npeers++];

	p->id = id;
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->npaths = 1;
	p->at[0] = mesh_address(port);
}

void mesh_networks(struct node *n, unsigned npaths, uint16_t port)
{
	n->config.npaths = npaths;
	n->config.detection_ms = MESH_DETECTION_MS;
	for (unsigned i = 0; i < npaths; i++)
		n->config.bind[i] = mesh_address_on(i, n->config.self, port);
	for (unsigned k = 0; k < n->config.npeers; k++) {
		struct link_peer *p = &n->config.peers[k];

		p->npaths = npaths;
		for (unsigned i = 0; i < npaths; i++)
			p->at[i] = mesh_address_on(i, p->id, port);
	}
}

struct link_status mesh_status(const struct node *n, member_id peer)
{
	struct link_status s;

	if (!links_status_of(n->links, peer, &s))
		fail_msg("no peer %u", peer);
	return s;
}

void mesh_run(struct node *n)
{
	const struct link_ops ops = { n, on_datagram, on_stream, on_state, on_packet };
	char err[LINK_ERR];

	n->links = links_new(mesh_base, &n->config, &ops, err);
	if (!n->links)
		fail_msg("%s", err);
}

void mesh_end(struct node *n)
{
	links_free(n->links);
	n->links = NULL;
}

uint64_t mesh_statistic(const struct node *n, const char *name)
{
	const char *names[LINK_STATISTICS];
	uint64_t values[LINK_STATISTICS];
	unsigned count = links_statistics(n->links, names, values, LINK_STATISTICS);

	for (unsigned i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return values[i];
	fail_msg("no statistic %s", name);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void nothing(evutil_socket_t fd, short what, void *arg)
{
}

bool mesh_turn(uint64_t *deadline)
{
	const struct timeval turn = { .tv_usec = 5000 };

	if (!*deadline)
		*deadline = now_ms() + PATIENCE_MS;
	event_base_once(mesh_base, -1, EV_TIMEOUT, nothing, NULL, &turn);
	event_base_loop(mesh_base, EVLOOP_ONCE);
	return now_ms() < *deadline;
}
