/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two members, joined by two networks, of which one or the other or both fail: 2 dials 1.
 * The networks are addresses of the loopback interface; a cut one swallows everything
 * silently, as a broken cable does.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/bufferevent_ssl.h>

#include "src/seal.h"
#include "src/tls.h"
#include "tests/unit/mesh.h"

#define HOLD_MS 300
#define HOLD_FOR_EVER_MS 100000000

struct pair {
	struct node one, two;
	unsigned datagrams; /* sent, each way */
	unsigned messages;
};

static void pair_prepare(struct pair *p, unsigned hold_ms)
{
	uint16_t port = mesh_port();

	*p = (struct pair){ 0 };
	mesh_node(&p->one, 1, "m1", port);
	mesh_list(&p->one, 1, "m1", port);
	mesh_list(&p->one, 2, "m2", port);
	mesh_node(&p->two, 2, "m2", port);
	mesh_list(&p->two, 1, "m1", port);
	mesh_networks(&p->one, 2, port);
	mesh_networks(&p->two, 2, port);
	p->one.config.hold_ms = p->two.config.hold_ms = hold_ms;
}

static void pair_run(struct pair *p)
{
	mesh_run(&p->one);
	mesh_run(&p->two);
	mesh_wait(p->one.ups == 1 && p->two.ups == 1);
}

static void pair_start(struct pair *p, unsigned hold_ms)
{
	pair_prepare(p, hold_ms);
	pair_run(p);
}

static void pair_end(struct pair *p)
{
	mesh_end(&p->one);
	mesh_end(&p->two);
}

static bool path_up(const struct node *n, member_id peer, unsigned path)
{
	return mesh_status(n, peer).paths[path].up;
}

/* Both sides think that of the network. */
static bool paths_up(const struct pair *p, unsigned path)
{
	return path_up(&p->one, 2, path) && path_up(&p->two, 1, path);
}

static bool paths_down(const struct pair *p, unsigned path)
{
	return !path_up(&p->one, 2, path) && !path_up(&p->two, 1, path);
}

/* The connection goes over that network, for both. */
static bool stream_over(const struct pair *p, unsigned path)
{
	return mesh_status(&p->one, 2).paths[path].stream &&
	       mesh_status(&p->two, 1).paths[path].stream;
}

/* A keepalive each way. */
static bool say(struct pair *p)
{
	links_datagram(p->one.links, 2, (const uint8_t *)"alive", 5);
	links_datagram(p->two.links, 1, (const uint8_t *)"alive", 5);
	p->datagrams++;
	return true;
}

/* The same as mesh_wait(), with keepalives all the time. */
#define wait_talking(p, condition) mesh_wait(say(p) && (condition))

/* Not one keepalive was lost, and none came twice. */
static void assert_no_gap(struct pair *p)
{
	mesh_wait(p->one.datagrams >= p->datagrams && p->two.datagrams >= p->datagrams);
	assert_int_equal(p->one.datagrams, p->datagrams);
	assert_int_equal(p->two.datagrams, p->datagrams);
	assert_int_equal(mesh_statistic(&p->one, "datagram_replayed"), 0);
	assert_int_equal(mesh_statistic(&p->two, "datagram_replayed"), 0);
}

static void assert_stream_works(struct pair *p)
{
	static uint8_t message[5000];

	mesh_fill(message, sizeof(message));
	assert_int_equal(links_stream(p->one.links, 2, message, sizeof(message)), 0);
	assert_int_equal(links_stream(p->two.links, 1, message, sizeof(message)), 0);
	p->messages++;
	mesh_wait(p->one.messages == p->messages && p->two.messages == p->messages);
	assert_false(p->one.damaged || p->two.damaged);
}

/* As the owner sees it: a link all the time, which began anew so many times. */
static void assert_ups(const struct pair *p, unsigned ups)
{
	assert_int_equal(p->one.ups, ups);
	assert_int_equal(p->two.ups, ups);
	assert_int_equal(p->one.downs, 0);
	assert_int_equal(p->two.downs, 0);
}

static void test_primary_first(void **state)
{
	struct pair p;

	pair_start(&p, HOLD_MS);
	wait_talking(&p, stream_over(&p, 0) && paths_up(&p, 0) && paths_up(&p, 1));
	for (unsigned i = 0; i < 100; i++)
		say(&p);
	assert_no_gap(&p);
	assert_stream_works(&p);
	mesh_wait(mesh_statistic(&p.one, "datagram_duplicate") == p.datagrams &&
		  mesh_statistic(&p.two, "datagram_duplicate") == p.datagrams);
	mesh_wait(mesh_status(&p.one, 2).paths[1].rtt_us > 0 &&
		  mesh_status(&p.two, 1).paths[0].rtt_us > 0);

	struct link_status s = mesh_status(&p.two, 1);
	assert_int_equal(s.npaths, 2);
	assert_true(s.paths[0].stream && !s.paths[1].stream);
	for (unsigned i = 0; i < 2; i++) {
		const struct endpoint want = p.one.config.bind[i];
		assert_memory_equal(&s.paths[i].at.address, &want.address,
				    want.addresslen);
		assert_true(s.paths[i].sent > p.datagrams);
		assert_true(s.paths[i].received > 0);
		assert_int_equal(s.paths[i].downs, 0);
	}
	assert_int_equal(s.datagrams_sent, p.datagrams);
	assert_int_equal(s.datagrams_received, p.datagrams);
	assert_ups(&p, 1);
	pair_end(&p);
}

static void test_primary_cut_and_back(void **state)
{
	struct pair p;

	pair_start(&p, HOLD_MS);
	wait_talking(&p, paths_up(&p, 0) && paths_up(&p, 1));
	mesh_cut(0, 0, 0, true);
	wait_talking(&p, stream_over(&p, 1) && paths_down(&p, 0));
	assert_true(paths_up(&p, 1));
	assert_ups(&p, 2);
	assert_stream_works(&p);
	assert_int_equal(mesh_status(&p.one, 2).paths[0].downs, 1);
	assert_int_equal(mesh_status(&p.one, 2).paths[1].downs, 0);
	assert_int_equal(mesh_statistic(&p.two, "link_failover"), 1);

	mesh_cut(0, 0, 0, false);
	wait_talking(&p, stream_over(&p, 0) && paths_up(&p, 0));
	assert_ups(&p, 3);
	assert_stream_works(&p);
	assert_int_equal(mesh_statistic(&p.two, "link_return"), 1);
	assert_true(mesh_status(&p.one, 2).paths[0].probes_lost > 0);
	assert_int_equal(mesh_status(&p.one, 2).paths[1].probes_lost, 0);
	assert_no_gap(&p);
	pair_end(&p);
}

static void test_secondary_cut_and_back(void **state)
{
	struct pair p;

	pair_start(&p, HOLD_MS);
	wait_talking(&p, paths_up(&p, 0) && paths_up(&p, 1));
	mesh_cut(1, 0, 0, true);
	wait_talking(&p, paths_down(&p, 1));
	assert_true(paths_up(&p, 0) && stream_over(&p, 0));
	mesh_cut(1, 0, 0, false);
	wait_talking(&p, paths_up(&p, 1));
	assert_true(stream_over(&p, 0));
	assert_stream_works(&p);
	assert_ups(&p, 1);
	assert_int_equal(mesh_status(&p.one, 2).paths[0].downs, 0);
	assert_int_equal(mesh_status(&p.one, 2).paths[1].downs, 1);
	assert_no_gap(&p);
	pair_end(&p);
}

/* One direction of the primary fails: the side that still hears is told by the other. */
static void one_way(member_id deaf)
{
	struct pair p;

	pair_start(&p, HOLD_MS);
	wait_talking(&p, paths_up(&p, 0) && paths_up(&p, 1));
	mesh_cut(0, deaf, 0, true);
	wait_talking(&p, stream_over(&p, 1) && paths_down(&p, 0));
	assert_stream_works(&p);
	mesh_cut(0, deaf, 0, false);
	wait_talking(&p, stream_over(&p, 0));
	assert_ups(&p, 3);
	assert_no_gap(&p);
	pair_end(&p);
}

static void test_primary_fails_one_way(void **state)
{
	one_way(1);
	one_way(2);
}

/* Silence of all networks speaks against none of them. */
static void test_both_cut_and_back(void **state)
{
	struct pair p;

	pair_start(&p, HOLD_MS);
	wait_talking(&p, paths_up(&p, 0) && paths_up(&p, 1));
	mesh_cut(0, 0, 0, true);
	mesh_cut(1, 0, 0, true);
	mesh_wait(paths_down(&p, 0) && paths_down(&p, 1));
	mesh_cut(0, 0, 0, false);
	mesh_cut(1, 0, 0, false);
	mesh_wait(paths_up(&p, 0) && paths_up(&p, 1));
	assert_int_equal(mesh_statistic(&p.one, "link_failover"), 0);
	assert_int_equal(mesh_statistic(&p.two, "link_failover"), 0);
	mesh_wait(links_up(p.one.links, 2) && links_up(p.two.links, 1));
	p.messages = 0;
	p.one.messages = p.two.messages = 0;
	assert_stream_works(&p);
	pair_end(&p);
}

/* Both in turn, and for the second time at once: the network that is back is preferred to
 * none, however short it has been back. */
static void test_one_after_the_other(void **state)
{
	struct pair p;

	pair_start(&p, HOLD_FOR_EVER_MS);
	wait_talking(&p, paths_up(&p, 0) && paths_up(&p, 1));
	mesh_cut(0, 0, 0, true);
	wait_talking(&p, stream_over(&p, 1));
	mesh_cut(0, 0, 0, false);
	wait_talking(&p, paths_up(&p, 0));
	/* It has not proved itself yet, however many probes come. */
	uint64_t one = mesh_status(&p.one, 2).paths[0].received;
	uint64_t two = mesh_status(&p.two, 1).paths[0].received;
	wait_talking(&p, mesh_status(&p.one, 2).paths[0].received > one + 30 &&
			     mesh_status(&p.two, 1).paths[0].received > two + 30);
	assert_true(stream_over(&p, 1));
	mesh_cut(1, 0, 0, true);
	wait_talking(&p, stream_over(&p, 0));
	assert_ups(&p, 3);
	assert_stream_works(&p);
	assert_no_gap(&p);
	pair_end(&p);
}

static void test_primary_is_cut_from_the_start(void **state)
{
	struct pair p;

	pair_prepare(&p, HOLD_MS);
	mesh_run(&p.one);
	mesh_cut(0, 1, 0, true);
	mesh_run(&p.two);
	mesh_wait(p.one.ups == 1 && p.two.ups == 1 && stream_over(&p, 1));
	wait_talking(&p, mesh_status(&p.one, 2).paths[0].downs == 1 &&
			     mesh_status(&p.two, 1).paths[0].downs == 1);
	assert_true(paths_down(&p, 0));
	assert_stream_works(&p);
	mesh_cut(0, 1, 0, false);
	wait_talking(&p, stream_over(&p, 0));
	assert_ups(&p, 2);
	assert_no_gap(&p);
	pair_end(&p);
}

/* A firewall may pass datagrams and no connections. */
static void test_primary_takes_no_connections(void **state)
{
	struct pair p;

	pair_prepare(&p, HOLD_MS);
	mesh_run(&p.one);
	mesh_cut(0, 1, SOCK_STREAM, true);
	mesh_run(&p.two);
	mesh_wait(p.one.ups == 1 && p.two.ups == 1 && stream_over(&p, 1));
	wait_talking(&p, mesh_statistic(&p.two, "link_timeout") >= 3);
	assert_true(paths_up(&p, 0) && stream_over(&p, 1));
	assert_stream_works(&p);
	mesh_cut(0, 1, SOCK_STREAM, false);
	wait_talking(&p, stream_over(&p, 0));
	assert_ups(&p, 2);
	assert_no_gap(&p);
	pair_end(&p);
}

/* A connection that breaks by itself comes back over the same network. */
static void test_peer_restarts(void **state)
{
	struct pair p;

	pair_start(&p, HOLD_FOR_EVER_MS);
	wait_talking(&p, paths_up(&p, 0) && paths_up(&p, 1));
	for (unsigned i = 1; i <= 2; i++) {
		mesh_end(&p.one);
		mesh_wait(p.two.downs == i);
		mesh_run(&p.one);
		mesh_wait(p.two.ups == i + 1 && p.one.ups == i + 1);
		assert_true(stream_over(&p, 0));
		mesh_wait(paths_up(&p, 0) && paths_up(&p, 1));
	}
	assert_int_equal(mesh_status(&p.two, 1).paths[0].downs, 0);
	assert_int_equal(mesh_status(&p.two, 1).paths[1].downs, 0);
	pair_end(&p);
}

/* A member that is on the first network only, among others on both. */
static void test_member_on_one_network(void **state)
{
	struct pair p;

	pair_prepare(&p, HOLD_MS);
	p.two.config.npaths = 1;
	p.one.config.peers[1].npaths = 1;
	pair_run(&p);
	wait_talking(&p, paths_up(&p, 0));
	assert_int_equal(mesh_status(&p.one, 2).npaths, 1);
	assert_int_equal(mesh_status(&p.two, 1).npaths, 1);
	assert_int_equal(mesh_statistic(&p.one, "datagram_probes"), 0);
	assert_no_gap(&p);
	assert_stream_works(&p);
	pair_end(&p);
}

/* An interface that is not there yet keeps nobody from the other network. */
static void test_absent_address(void **state)
{
	struct pair p;
	char err[LINK_ERR];
	const struct link_ops ops = { 0 };
	struct sockaddr_in *in;

	pair_prepare(&p, HOLD_MS);
	in = (struct sockaddr_in *)&p.one.config.bind[0].address;
	in->sin_addr.s_addr = htonl(0xc0000263); /* 192.0.2.99, nobody's */
	pair_run(&p);
	wait_talking(&p, stream_over(&p, 1) && paths_down(&p, 0));
	assert_stream_works(&p);
	assert_no_gap(&p);
	pair_end(&p);

	p.one.config.bind[1] = p.one.config.bind[0];
	assert_null(links_new(mesh_base, &p.one.config, &ops, err));
	assert_non_null(strstr(err, "192.0.2.99"));
	p.one.config.npaths = 0;
	assert_null(links_new(mesh_base, &p.one.config, &ops, err));
	assert_non_null(strstr(err, "addresses are needed"));
}

/* A connection counts on the network that it came over: only an address of a member there
 * is let in. */
static void test_address_of_the_other_network(void **state)
{
	struct pair p;
	struct endpoint from = mesh_address_on(0, 2, 0);

	pair_prepare(&p, HOLD_MS);
	mesh_run(&p.one);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	char byte;
	assert_int_equal(bind(fd, endpoint_socket(&from), from.addresslen), 0);
	connect(fd, endpoint_socket(&p.one.config.bind[1]),
		p.one.config.bind[1].addresslen);
	mesh_wait(mesh_statistic(&p.one, "link_refused_foreign_address") == 1);
	mesh_wait(recv(fd, &byte, 1, 0) == 0);
	close(fd);
	mesh_end(&p.one);
}

/* A member that seals what it likes. */
struct raw {
	SSL_CTX *ctx;
	struct bufferevent *bev;
	struct tls_verdict verdict;
	bool connected;
	struct seal_sender *sender;
	int fd; /* on the second network */
};

static void raw_status(struct bufferevent *bev, short what, void *arg)
{
	struct raw *r = arg;

	r->connected = what & BEV_EVENT_CONNECTED;
}

static void raw_start(struct raw *r, const struct node *peer)
{
	char err[CERT_ERR];
	struct endpoint from[2] = { mesh_address_on(0, 2, 0), mesh_address_on(1, 2, 0) };
	struct seal_key key;
	int fd = endpoint_bound_socket(&from[0], SOCK_STREAM, false, false);

	memset(r, 0, sizeof(*r));
	r->fd = endpoint_bound_socket(&from[1], SOCK_DGRAM, false, false);
	r->ctx = tls_context_new(mesh_path("m2.crt"), mesh_path("m2.key"),
				 mesh_path("ca/ca.crt"), err);
	assert_non_null(r->ctx);
	r->bev = bufferevent_openssl_socket_new(
	    mesh_base, fd, tls_new(r->ctx, &r->verdict), BUFFEREVENT_SSL_CONNECTING,
	    BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(r->bev, NULL, NULL, raw_status, r);
	bufferevent_enable(r->bev, EV_READ | EV_WRITE);
	assert_int_equal(
	    bufferevent_socket_connect(r->bev, endpoint_socket(&peer->config.bind[0]),
				       (int)peer->config.bind[0].addresslen),
	    0);
	mesh_wait(r->connected);
	assert_int_equal(tls_export(bufferevent_openssl_get_ssl(r->bev), true, &key), 0);
	r->sender = seal_sender_new(&key);
	assert_non_null(r->sender);
	bufferevent_write(r->bev, "\0\0\0\5\0\2\0\0\0", 9);
}

static void raw_end(struct raw *r)
{
	bufferevent_free(r->bev);
	SSL_CTX_free(r->ctx);
	seal_sender_free(r->sender);
	close(r->fd);
}

static void raw_datagram(struct raw *r, const struct node *to, const uint8_t *plain,
			 size_t len)
{
	uint8_t sealed[1400];
	ssize_t n = seal_datagram(r->sender, plain, len, sealed, sizeof(sealed));
	const struct endpoint *at = &to->config.bind[1];

	assert_true(n > 0);
	assert_int_equal(
	    sendto(r->fd, sealed, (size_t)n, 0, endpoint_socket(at), at->addresslen), n);
}

/* Whatever an authentic peer puts into its probes, they harm only the link to itself. */
static void test_hostile_probes(void **state)
{
	struct pair p;
	struct raw r;
	uint8_t plain[64];
	unsigned unknown = 0, probes = 0;

	pair_prepare(&p, HOLD_MS);
	mesh_run(&p.one);
	raw_start(&r, &p.one);
	mesh_wait(p.one.ups == 1);
	raw_datagram(&r, &p.one, plain, 0);
	unknown++;
	for (unsigned i = 0; i < 2000; i++) {
		size_t len = i % 3 ? 26 : i % 40;

		for (size_t k = 0; k < sizeof(plain); k++)
			plain[k] = (uint8_t)rand();
		/* Rounds that jump, go back, or say nothing new. */
		if (i % 2)
			memset(plain + 1, (int)(i % 5), 3);
		plain[0] = i % 7 ? 1 : 200; /* a probe, or what nobody knows */
		raw_datagram(&r, &p.one, plain, len);
		if (plain[0] == 1 && len == 26)
			probes++;
		else
			unknown++;
		mesh_wait(mesh_statistic(&p.one, "datagram_probes") == probes &&
			  mesh_statistic(&p.one, "datagram_unknown_kind") == unknown);
	}
	assert_int_equal(p.one.datagrams, 0);
	assert_int_equal(p.one.downs, 0);
	struct link_status s = mesh_status(&p.one, 2);
	assert_true(s.paths[0].stream);
	assert_int_equal(s.paths[0].received, 0);
	assert_int_equal(s.paths[1].received, probes + unknown);
	raw_end(&r);
	mesh_end(&p.one);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mesh_base_new, mesh_base_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_primary_first),
		TEST(test_primary_cut_and_back),
		TEST(test_secondary_cut_and_back),
		TEST(test_primary_fails_one_way),
		TEST(test_both_cut_and_back),
		TEST(test_one_after_the_other),
		TEST(test_primary_is_cut_from_the_start),
		TEST(test_primary_takes_no_connections),
		TEST(test_peer_restarts),
		TEST(test_member_on_one_network),
		TEST(test_absent_address),
		TEST(test_address_of_the_other_network),
		TEST(test_hostile_probes),
	};
	return cmocka_run_group_tests(tests, mesh_start, mesh_stop);
}
