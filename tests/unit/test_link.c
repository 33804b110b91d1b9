/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Links over loopback, with real certificates: 2 and 3 dial 1, 3 dials 2. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>

#include "src/connection.h"
#include "src/tls.h"
#include "src/udp.h"
#include "tests/unit/logged.h"
#include "tests/unit/mesh.h"

/* Two members, 1 and 2. Datagrams from 1 to 2 pass through `relay`, a socket of the test,
 * which holds them until it is told. */
struct pair {
	struct node one, two;
	uint16_t port_one, port_two;
	int relay;
};

static void pair_prepare(struct pair *p, const char *prefix_two)
{
	struct endpoint a = mesh_address(0);

	p->port_one = mesh_port();
	p->port_two = mesh_port();
	p->relay = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(p->relay, (struct sockaddr *)&a.address, a.addresslen), 0);
	getsockname(p->relay, (struct sockaddr *)&a.address, &a.addresslen);
	mesh_node(&p->one, 1, "m1", p->port_one);
	mesh_list(&p->one, 1, "m1", p->port_one);
	mesh_list(&p->one, 2, "m2", ntohs(((struct sockaddr_in *)&a.address)->sin_port));
	mesh_node(&p->two, 2, prefix_two, p->port_two);
	mesh_list(&p->two, 1, "m1", p->port_one);
}

static void pair_start(struct pair *p)
{
	pair_prepare(p, "m2");
	mesh_run(&p->one);
	mesh_run(&p->two);
	mesh_wait(p->one.ups == 1 && p->two.ups == 1);
}

static void pair_end(struct pair *p)
{
	mesh_end(&p->one);
	mesh_end(&p->two);
	close(p->relay);
}

/* One datagram from 1, as it would have reached 2. */
static size_t relay_take(struct pair *p, uint8_t *buf, size_t size)
{
	ssize_t n;
	mesh_wait((n = recv(p->relay, buf, size, 0)) > 0);
	return (size_t)n;
}

static void relay_pass(struct pair *p, const uint8_t *buf, size_t len)
{
	struct endpoint to = mesh_address(p->port_two);
	assert_int_equal(
	    sendto(p->relay, buf, len, 0, (struct sockaddr *)&to.address, to.addresslen),
	    len);
}

/* Cuts the TCP connections of this process that were made to the port. */
static void cut(uint16_t port)
{
	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_in a;
		socklen_t len = sizeof(a);
		if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 &&
		    len == sizeof(a) && ntohs(a.sin_port) == port)
			shutdown(fd, SHUT_RDWR);
	}
}

static void test_streams_and_datagrams(void **state)
{
	static uint8_t message[CLUSTER_MESSAGE_MAX + 1];
	struct node n[3];
	uint16_t ports[3];
	unsigned sent = 0;

	for (unsigned i = 0; i < 3; i++)
		ports[i] = mesh_port();
	for (unsigned i = 0; i < 3; i++) {
		char name[8];
		snprintf(name, sizeof(name), "m%u", i + 1);
		mesh_node(&n[i], (member_id)(i + 1), name, ports[i]);
		for (unsigned k = 0; k < 3; k++) {
			snprintf(name, sizeof(name), "m%u", k + 1);
			mesh_list(&n[i], (member_id)(k + 1), name, ports[k]);
		}
		mesh_run(&n[i]);
	}
	mesh_wait(n[0].ups == 2 && n[1].ups == 2 && n[2].ups == 2);

	/* Every length class, from each to each. */
	for (size_t len = 1; len <= CLUSTER_MESSAGE_MAX; len = len * 3 + 1, sent++)
		for (unsigned i = 0; i < 3; i++)
			for (unsigned k = 0; k < 3; k++) {
				mesh_fill(message, len);
				int r = links_stream(n[i].links, (member_id)(k + 1),
						     message, len);
				assert_int_equal(r, i == k ? -ENOTCONN : 0);
			}
	mesh_fill(message, CLUSTER_MESSAGE_MAX);
	assert_int_equal(links_stream(n[0].links, 2, message, CLUSTER_MESSAGE_MAX + 1),
			 -EMSGSIZE);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(
		    links_stream(n[0].links, 2, message, CLUSTER_MESSAGE_MAX), 0);
	mesh_wait(n[0].messages == 2 * sent && n[1].messages == 2 * sent + 100 &&
		  n[2].messages == 2 * sent);
	for (unsigned i = 0; i < 3; i++)
		assert_false(n[i].damaged);

	links_datagram(n[0].links, 3, message, CLUSTER_DATAGRAM_MAX);
	mesh_wait(n[2].datagrams == 1);
	assert_int_equal(n[2].last_len, CLUSTER_DATAGRAM_MAX);
	assert_memory_equal(n[2].last, message, CLUSTER_DATAGRAM_MAX);
	/* A packet is as sealed as a datagram, and longer than a frame. */
	mesh_fill(message, LINK_PACKET_MAX);
	assert_int_equal(links_packet(n[0].links, 3, message, LINK_PACKET_MAX), 0);
	mesh_wait(n[2].packets == 1);
	assert_int_equal(n[2].last_len, LINK_PACKET_MAX);
	assert_memory_equal(n[2].last, message, LINK_PACKET_MAX);
	assert_int_equal(links_packet(n[0].links, 3, message, LINK_PACKET_MAX + 1),
			 -EMSGSIZE);
	assert_int_equal(links_packet(n[0].links, 9, message, 1), -ENOTCONN);
	assert_int_equal(n[2].datagrams, 1);
	links_datagram(n[2].links, 1, message, 0);
	mesh_wait(n[0].datagrams == 1);
	links_datagram(n[0].links, 3, message, CLUSTER_DATAGRAM_MAX + 1);
	assert_int_equal(mesh_statistic(&n[0], "datagram_too_long"), 2);
	links_datagram(n[0].links, 9, message, 1);
	assert_int_equal(mesh_statistic(&n[0], "datagram_without_key"), 2);

	struct link_status status[4];
	assert_int_equal(links_status(n[1].links, status, 4), 2);
	assert_true(status[0].id == 1 && status[0].up && status[0].dials);
	assert_true(status[1].id == 3 && status[1].up && !status[1].dials);
	assert_int_equal(status[0].received, sent + 100);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(n[i].downs, 0);
		mesh_end(&n[i]);
	}
}

static void test_garbage_and_replay(void **state)
{
	struct pair p;
	uint8_t datagram[256];

	pair_start(&p);
	links_datagram(p.one.links, 2, (const uint8_t *)"hello", 5);
	size_t len = relay_take(&p, datagram, sizeof(datagram));
	assert_null(memmem(datagram, len, "hello", 5));
	relay_pass(&p, datagram, len);
	mesh_wait(p.two.datagrams == 1);
	assert_memory_equal(p.two.last, "hello", 5);

	relay_pass(&p, datagram, len);
	mesh_wait(mesh_statistic(&p.two, "datagram_replayed") == 1);
	relay_pass(&p, datagram, 20);
	mesh_wait(mesh_statistic(&p.two, "datagram_truncated") == 1);
	relay_pass(&p, datagram, 0);
	mesh_wait(mesh_statistic(&p.two, "datagram_truncated") == 2);
	datagram[0] ^= 0xff;
	relay_pass(&p, datagram, len);
	mesh_wait(mesh_statistic(&p.two, "datagram_version") == 1);
	datagram[0] ^= 0xff;
	datagram[1] ^= 0xff;
	relay_pass(&p, datagram, len);
	mesh_wait(mesh_statistic(&p.two, "datagram_unknown_key") == 1);
	datagram[1] ^= 0xff;
	datagram[12] ^= 1; /* a number that was never used */
	relay_pass(&p, datagram, len);
	mesh_wait(mesh_statistic(&p.two, "datagram_bad_tag") == 1);
	static uint8_t huge[UDP_MAX + 1];
	relay_pass(&p, huge, sizeof(huge));
	mesh_wait(mesh_statistic(&p.two, "datagram_oversized") == 1);
	assert_int_equal(p.two.datagrams, 1);
	assert_int_equal(mesh_statistic(&p.two, "datagram_received"), 8);
	assert_int_equal(p.two.downs, 0);
	pair_end(&p);
}

static void test_reconnect_and_old_keys(void **state)
{
	struct pair p;
	uint8_t early[2][256], late[256];
	size_t early_len[2];

	pair_start(&p);
	for (unsigned i = 0; i < 2; i++) {
		links_datagram(p.one.links, 2, (const uint8_t *)"early", 5);
		early_len[i] = relay_take(&p, early[i], sizeof(early[i]));
	}
	/* Sealed while the connection is gone. */
	p.one.answer_down = true;
	cut(p.port_one);
	mesh_wait(p.one.downs == 1 && p.two.downs == 1);
	p.one.answer_down = false;
	assert_int_equal(links_stream(p.one.links, 2, early[0], 1),
			 p.one.ups == 1 ? -ENOTCONN : 0);
	size_t late_len = relay_take(&p, late, sizeof(late));
	mesh_wait(p.one.ups == 2 && p.two.ups == 2);

	/* All of the old key, after the new one is there. */
	relay_pass(&p, early[0], early_len[0]);
	relay_pass(&p, late, late_len);
	mesh_wait(p.two.datagrams == 2);
	assert_memory_equal(p.two.last, "late", 4);

	/* And two keys later no more. */
	cut(p.port_one);
	mesh_wait(p.one.ups == 3 && p.two.ups == 3);
	relay_pass(&p, early[1], early_len[1]);
	mesh_wait(mesh_statistic(&p.two, "datagram_unknown_key") == 1);
	assert_int_equal(p.two.datagrams, 2);
	pair_end(&p);
}

static void test_member_restarts(void **state)
{
	struct pair p;

	pair_start(&p);
	for (unsigned i = 1; i <= 3; i++) {
		mesh_end(&p.one);
		mesh_wait(p.two.downs == i);
		mesh_run(&p.one);
		mesh_wait(p.two.ups == i + 1 && p.one.ups == i + 1);
	}
	pair_end(&p);
}

/* A copy of the authority without its index, as one who stole it might use it. */
static void copy_ca(const char *to)
{
	char command[400];
	snprintf(command, sizeof(command), "mkdir -p %s && cp %s %s %s",
		 mesh_path("%s", to), mesh_path("ca/ca.crt"), mesh_path("ca/ca.key"),
		 mesh_path("%s", to));
	assert_int_equal(system(command), 0);
}

static void assert_never_up(const struct pair *p)
{
	assert_int_equal(p->one.ups, 0);
	assert_int_equal(p->two.ups, 0);
}

/* Each side has counted and logged its own end of the story, and 2 knows the other's
 * reason. */
static void expect_refusal(struct pair *p, const char *one, const char *two,
			   const char *why)
{
	struct link_status s = { .why = "" };
	char tags[2][64];
	const char *said;

	logged_begin();
	mesh_run(&p->one);
	mesh_run(&p->two);
	mesh_wait(mesh_statistic(&p->one, one) >= 2 && mesh_statistic(&p->two, two) >= 2);
	snprintf(tags[0], sizeof(tags[0]), "[%s]", one + strlen("link_refused_"));
	snprintf(tags[1], sizeof(tags[1]), "[%s]", two + strlen("link_refused_"));
	said = logged_end();
	if (!strstr(said, tags[0]) || !strstr(said, tags[1]))
		fail_msg("the log lacks \"%s\" or \"%s\":\n%s", tags[0], tags[1], said);
	assert_never_up(p);
	links_status(p->two.links, &s, 1);
	if (!strstr(s.why, why))
		fail_msg("\"%s\" does not say \"%s\"", s.why, why);
	assert_int_equal(mesh_statistic(&p->one, "link_closed"), 0);
	pair_end(p);
}

static void test_not_listed(void **state)
{
	struct pair p;

	pair_prepare(&p, "m3");
	p.two.config.self = 3;
	expect_refusal(&p, "link_refused_not_listed", "link_refused_by_peer",
		       "refused by the peer: m3 (member 3) is not in the list");
}

static void test_right_id_wrong_name(void **state)
{
	struct pair p;
	char err[CERT_ERR];

	copy_ca("stolen");
	assert_int_equal(cert_issue(mesh_path("stolen"), "mallory", 2, 9,
				    mesh_path("mallory"), false, err),
			 0);
	pair_prepare(&p, "mallory");
	expect_refusal(&p, "link_refused_not_listed", "link_refused_by_peer",
		       "mallory (member 2) is not in the list");
}

static void test_not_the_member_that_was_dialled(void **state)
{
	struct pair p;

	pair_prepare(&p, "m3");
	p.two.config.self = 3;
	mesh_list(&p.one, 3, "m3", p.port_two);
	p.two.config.peers[0].id = 2;
	strcpy(p.two.config.peers[0].name, "m2");
	mesh_list(&p.two, 1, "m1", mesh_port());
	expect_refusal(&p, "link_refused_by_peer", "link_refused_wrong_member",
		       "m1 (member 1) is not the member that was dialled");
}

static void test_own_id(void **state)
{
	struct pair p;
	char err[CERT_ERR];

	copy_ca("twice");
	assert_int_equal(
	    cert_issue(mesh_path("twice"), "m1", 3, 9, mesh_path("twin"), false, err), 0);
	pair_prepare(&p, "twin");
	mesh_end(&p.one);
	mesh_node(&p.one, 3, "m3", p.port_one);
	mesh_list(&p.one, 9, "m9", p.port_two); /* who may dial, and does not */
	p.two.config.self = 3;
	expect_refusal(&p, "link_refused_own_id", "link_refused_own_id", "uses the id");
}

static void test_unknown_authority(void **state)
{
	struct pair p;
	char err[CERT_ERR], command[400];

	assert_int_equal(cert_make_ca(mesh_path("other"), "Other", 9, err), 0);
	assert_int_equal(
	    cert_issue(mesh_path("other"), "m2", 2, 9, mesh_path("alien"), false, err),
	    0);
	/* 2 trusts both authorities, so that it is 1 who refuses. */
	snprintf(command, sizeof(command), "cat %s %s >%s", mesh_path("other/ca.crt"),
		 mesh_path("ca/ca.crt"), mesh_path("both.crt"));
	assert_int_equal(system(command), 0);
	pair_prepare(&p, "alien");
	snprintf(p.two.ca, sizeof(p.two.ca), "%s", mesh_path("both.crt"));
	expect_refusal(&p, "link_refused_unknown_ca", "link_refused_by_peer",
		       "unknown CA");

	pair_prepare(&p, "alien");
	snprintf(p.two.ca, sizeof(p.two.ca), "%s", mesh_path("other/ca.crt"));
	expect_refusal(&p, "link_refused_by_peer", "link_refused_unknown_ca",
		       "claims to be of m1 (1)");
}

static void test_expires_while_running(void **state)
{
	struct pair p;
	char err[CERT_ERR];
	time_t until = time(NULL) + 2;

	assert_int_equal(cert_issue_between(mesh_path("ca"), "m2", 2, 0, until,
					    mesh_path("brief"), true, err),
			 0);
	pair_prepare(&p, "brief");
	mesh_run(&p.two);
	mesh_wait(time(NULL) > until);
	mesh_run(&p.one);
	mesh_wait(mesh_statistic(&p.one, "link_refused_expired") >= 2 &&
		  mesh_statistic(&p.two, "link_refused_by_peer") >= 2);
	assert_never_up(&p);
	struct link_status s;
	links_status(p.two.links, &s, 1);
	assert_non_null(strstr(s.why, "expired"));
	pair_end(&p);

	/* A new start says it at once. */
	assert_null(links_new(mesh_base, &p.two.config, &(struct link_ops){ 0 }, err));
	assert_non_null(strstr(err, "expired"));
}

/* A peer that does as it likes: TLS as member 2, and raw frames. */
struct raw {
	SSL_CTX *ctx;
	struct bufferevent *bev;
	struct tls_verdict verdict;
	bool connected, over;
};

static void raw_status(struct bufferevent *bev, short what, void *arg)
{
	struct raw *r = arg;
	if (what & BEV_EVENT_CONNECTED)
		r->connected = true;
	else
		r->over = true;
}

static void raw_start(struct raw *r, uint16_t port)
{
	char err[CERT_ERR];
	struct endpoint a = mesh_address(port);

	memset(r, 0, sizeof(*r));
	r->ctx = tls_context_new(mesh_path("m2.crt"), mesh_path("m2.key"),
				 mesh_path("ca/ca.crt"), err);
	assert_non_null(r->ctx);
	r->bev = bufferevent_openssl_socket_new(
	    mesh_base, -1, tls_new(r->ctx, &r->verdict), BUFFEREVENT_SSL_CONNECTING,
	    BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(r->bev, NULL, NULL, raw_status, r);
	bufferevent_enable(r->bev, EV_READ | EV_WRITE);
	assert_int_equal(bufferevent_socket_connect(r->bev, (struct sockaddr *)&a.address,
						    (int)a.addresslen),
			 0);
	mesh_wait(r->connected);
}

static void raw_end(struct raw *r)
{
	bufferevent_free(r->bev);
	SSL_CTX_free(r->ctx);
}

#define RAW_HELLO "\0\0\0\5\0\2\0\0\0"
#define raw_write(r, bytes) bufferevent_write((r)->bev, bytes, sizeof(bytes) - 1)

static void test_oversized_frame(void **state)
{
	struct node one;
	struct raw r;
	uint16_t port = mesh_port();

	mesh_node(&one, 1, "m1", port);
	mesh_list(&one, 2, "m2", mesh_port());
	mesh_run(&one);
	raw_start(&r, port);
	raw_write(&r, RAW_HELLO);
	mesh_wait(one.ups == 1);
	raw_write(&r, "\0\0\0\1\1");
	mesh_wait(one.messages == 1);
	raw_write(&r, "\0\1\0\1");
	mesh_wait(one.downs == 1 && r.over);
	assert_int_equal(mesh_statistic(&one, "link_oversized_message"), 1);
	raw_end(&r);

	/* Before the hello even less is taken; and no message without a hello. */
	raw_start(&r, port);
	raw_write(&r, "\0\0\4\0");
	mesh_wait(r.over && mesh_statistic(&one, "link_oversized_message") == 2);
	raw_end(&r);
	raw_start(&r, port);
	raw_write(&r, "\0\0\0\1\1");
	mesh_wait(r.over && mesh_statistic(&one, "link_refused_bad_handshake") == 1);
	raw_end(&r);
	raw_start(&r, port);
	raw_write(&r, "\0\0\0\5\0\1\0\0\0");
	mesh_wait(r.over && mesh_statistic(&one, "link_refused_version") == 1);
	raw_end(&r);
	assert_int_equal(one.ups, 1);
	assert_int_equal(one.messages, 1);
	mesh_end(&one);
}

static void test_newer_connection_replaces(void **state)
{
	struct node one;
	struct raw r[2];
	uint16_t port = mesh_port();

	mesh_node(&one, 1, "m1", port);
	mesh_list(&one, 2, "m2", mesh_port());
	mesh_run(&one);
	raw_start(&r[0], port);
	raw_write(&r[0], RAW_HELLO);
	mesh_wait(one.ups == 1);
	raw_start(&r[1], port);
	assert_int_equal(one.downs, 0); /* only when both sides have accepted */
	raw_write(&r[1], RAW_HELLO);
	mesh_wait(one.ups == 2 && r[0].over);
	assert_int_equal(one.downs, 0); /* there was a link all the time */
	assert_int_equal(mesh_statistic(&one, "link_replaced"), 1);
	assert_false(r[1].over);
	raw_end(&r[0]);
	raw_end(&r[1]);
	mesh_wait(one.downs == 1);
	mesh_end(&one);
}

static void test_peer_that_takes_nothing(void **state)
{
	static uint8_t message[CLUSTER_MESSAGE_MAX];
	struct node one;
	struct raw r;
	uint16_t port = mesh_port();
	unsigned sent = 0;
	int result;

	mesh_node(&one, 1, "m1", port);
	mesh_list(&one, 2, "m2", mesh_port());
	mesh_run(&one);
	raw_start(&r, port);
	raw_write(&r, RAW_HELLO);
	mesh_wait(one.ups == 1);
	bufferevent_disable(r.bev, EV_READ);
	one.in_call = true;
	while ((result = links_stream(one.links, 2, message, sizeof(message))) == 0)
		assert_true(++sent < 2000);
	assert_int_equal(result, -ENOBUFS);
	assert_true(sent > 900);
	struct link_status s = mesh_status(&one, 2);
	assert_true(s.queued > 0 && s.queued <= CONNECTION_QUEUE_MAX);
	assert_int_equal(links_stream(one.links, 2, message, 1), -ENOTCONN);
	assert_false(links_up(one.links, 2));
	assert_int_equal(one.downs, 0);
	one.in_call = false;
	mesh_wait(one.downs == 1);
	assert_int_equal(mesh_statistic(&one, "link_queue_overflow"), 1);
	raw_end(&r);
	mesh_end(&one);
}

/* By the owner, in whose view the peer takes nothing. */
static void test_break(void **state)
{
	struct pair p;

	pair_start(&p);
	links_break(p.one.links, 3); /* who is not listed */
	assert_true(links_up(p.one.links, 2));
	p.one.in_call = true;
	links_break(p.one.links, 2);
	assert_false(links_up(p.one.links, 2));
	assert_int_equal(links_stream(p.one.links, 2, (const uint8_t *)"x", 1),
			 -ENOTCONN);
	links_break(p.one.links, 2);
	assert_int_equal(p.one.downs, 0);
	p.one.in_call = false;
	mesh_wait(p.one.ups == 2 && p.two.ups == 2);
	assert_int_equal(p.one.downs, 1);
	assert_int_equal(links_stream(p.one.links, 2, (const uint8_t *)"x", 1), 0);
	mesh_wait(p.two.messages == 1);
	pair_end(&p);
}

static void test_crowd(void **state)
{
	struct pair p;
	enum { CROWD = 100 };
	int crowd[CROWD];

	pair_prepare(&p, "m2");
	mesh_run(&p.one);
	struct endpoint a = mesh_address(p.port_one);
	for (unsigned i = 0; i < CROWD; i++) {
		crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(crowd[i], (struct sockaddr *)&a.address, a.addresslen);
	}
	mesh_wait(mesh_statistic(&p.one, "link_refused_crowded") == CROWD - 64);
	mesh_run(&p.two);
	mesh_wait(p.one.ups == 1 && p.two.ups == 1);
	/* No TLS at all. */
	assert_int_equal(write(crowd[CROWD - 1], "GET / HTTP/1.0\r\n\r\n", 18), 18);
	mesh_wait(mesh_statistic(&p.one, "link_refused_bad_handshake") == 1);
	for (unsigned i = 0; i < CROWD; i++)
		close(crowd[i]);
	assert_int_equal(p.one.downs, 0);
	pair_end(&p);
}

/* A stranger costs no handshake, and a flood of them does not keep a member out. */
static void test_foreign_address(void **state)
{
	struct pair p;
	enum { CROWD = 200 };
	int crowd[CROWD];
	struct sockaddr_in from = { .sin_family = AF_INET };
	char byte;

	inet_pton(AF_INET, "127.0.0.77", &from.sin_addr);
	pair_prepare(&p, "m2");
	mesh_run(&p.one);
	struct endpoint a = mesh_address(p.port_one);
	for (unsigned i = 0; i < CROWD; i++) {
		crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_int_equal(bind(crowd[i], (struct sockaddr *)&from, sizeof(from)),
				 0);
		connect(crowd[i], (struct sockaddr *)&a.address, a.addresslen);
	}
	mesh_run(&p.two);
	mesh_wait(p.one.ups == 1 && p.two.ups == 1);
	mesh_wait(mesh_statistic(&p.one, "link_refused_foreign_address") == CROWD);
	assert_int_equal(mesh_statistic(&p.one, "link_refused_crowded"), 0);
	for (unsigned i = 0; i < CROWD; i++) {
		mesh_wait(recv(crowd[i], &byte, 1, 0) == 0);
		close(crowd[i]);
	}
	pair_end(&p);
}

static void send_bytes(int fd, const struct endpoint *to, size_t len)
{
	const uint8_t bytes[SEAL_OVERHEAD] = { SEAL_VERSION };

	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(sendto(fd, bytes, len, 0,
					(const struct sockaddr *)&to->address,
					to->addresslen),
				 len);
}

/* Nor does a stranger's datagram wake anybody. */
static void test_foreign_datagrams(void **state)
{
	struct pair p;
	struct sockaddr_in from = { .sin_family = AF_INET };
	int stranger = socket(AF_INET, SOCK_DGRAM, 0),
	    member = socket(AF_INET, SOCK_DGRAM, 0);
	struct endpoint a;

	pair_prepare(&p, "m2");
	mesh_run(&p.one);
	mesh_run(&p.two);
	mesh_wait(p.one.ups == 1 && p.two.ups == 1);
	a = mesh_address(p.port_one);
	inet_pton(AF_INET, "127.0.0.77", &from.sin_addr);
	assert_int_equal(bind(stranger, (struct sockaddr *)&from, sizeof(from)), 0);
	inet_pton(AF_INET, "127.0.0.1", &from.sin_addr);
	assert_int_equal(bind(member, (struct sockaddr *)&from, sizeof(from)), 0);
	send_bytes(stranger, &a, 1);
	send_bytes(member, &a, SEAL_OVERHEAD);
	/* In order: when the member's have come, so would the stranger's. */
	mesh_wait(mesh_statistic(&p.one, "datagram_unknown_key") == 50);
	assert_int_equal(mesh_statistic(&p.one, "datagram_truncated"), 0);
	close(stranger);
	close(member);
	pair_end(&p);
}

static void test_bad_configuration(void **state)
{
	struct node n;
	const struct link_ops ops = { 0 };
	char err[LINK_ERR];
	uint16_t port = mesh_port();

	mesh_node(&n, 2, "m1", port);
	assert_null(links_new(mesh_base, &n.config, &ops, err));
	assert_non_null(strstr(err, "certificate of member 1, not of 2"));
	mesh_node(&n, 1, "m1", port);
	mesh_list(&n, 1, "elsewho", port);
	assert_null(links_new(mesh_base, &n.config, &ops, err));
	assert_non_null(strstr(err, "certificate of m1, not of elsewho"));
	mesh_node(&n, 1, "m1", port);
	mesh_list(&n, 2, "m2", port);
	mesh_list(&n, 2, "m3", port);
	assert_null(links_new(mesh_base, &n.config, &ops, err));
	assert_non_null(strstr(err, "share a name or an id"));
	mesh_node(&n, 1, "m1", port);
	struct endpoint a = mesh_address(port);
	int taken = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(taken, (struct sockaddr *)&a.address, a.addresslen), 0);
	assert_null(links_new(mesh_base, &n.config, &ops, err));
	assert_non_null(strstr(err, "in use"));
	close(taken);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mesh_base_new, mesh_base_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_streams_and_datagrams),
		TEST(test_garbage_and_replay),
		TEST(test_reconnect_and_old_keys),
		TEST(test_member_restarts),
		TEST(test_not_listed),
		TEST(test_right_id_wrong_name),
		TEST(test_not_the_member_that_was_dialled),
		TEST(test_own_id),
		TEST(test_unknown_authority),
		TEST(test_expires_while_running),
		TEST(test_oversized_frame),
		TEST(test_newer_connection_replaces),
		TEST(test_peer_that_takes_nothing),
		TEST(test_break),
		TEST(test_crowd),
		TEST(test_foreign_address),
		TEST(test_foreign_datagrams),
		TEST(test_bad_configuration),
	};
	return cmocka_run_group_tests(tests, mesh_start, mesh_stop);
}
