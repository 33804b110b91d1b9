/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "src/bpf/unit.h"
#include "tests/net/fake/fake.h"

#define IKE_HEADER 28
#define IKE_FLAG_INITIATOR 0x08
#define IKE_FLAG_RESPONSE 0x20
#define IKE_SA_INIT 34
#define IKE_AUTH 35
#define CREATE_CHILD_SA 36
#define INFORMATIONAL 37

struct ike {
	uint64_t spi_i, spi_r;
	uint8_t exchange, flags;
	uint32_t mid;
};

struct last_response last;
struct in_addr own;
int udp[2];
const uint16_t ports[2] = { 500, 4500 };
const uint8_t fold_key[UNIT_KEY_SIZE] = "a key of 16 byte";

/* Of the last request that began an IKE SA. */
static uint64_t first_spi_i;
static uint16_t first_unit;

static uint64_t get64(const uint8_t *at)
{
	struct unpack u = unpack_from(at, 8);

	return unpack_u64(&u);
}

static bool parse_ike(const uint8_t *bytes, size_t len, struct ike *ike)
{
	struct unpack u;

	if (len < IKE_HEADER)
		return false;
	ike->spi_i = get64(bytes);
	ike->spi_r = get64(bytes + 8);
	ike->exchange = bytes[18];
	ike->flags = bytes[19];
	u = unpack_from(bytes + 20, 4);
	ike->mid = unpack_u32(&u);
	return true;
}

static bool is_response(const struct ike *ike)
{
	return ike->flags & IKE_FLAG_RESPONSE;
}

/* The SPI of ours; sent: by us. */
static uint64_t our_spi(const struct ike *ike, bool sent)
{
	bool from_initiator = ike->flags & IKE_FLAG_INITIATOR;

	return from_initiator == sent ? ike->spi_i : ike->spi_r;
}

/* Whether it answers what a former owner has asked; or what this one has, and then it is
 * answered. */
static bool is_inherited(const struct ike *ike)
{
	struct sa *sa;

	if (!is_response(ike))
		return false;
	sa = sas_find(our_spi(ike, false));
	if (!sa || sa->request_mid != ike->mid)
		return false;
	sa->unanswered = false;
	return sa->inherited && !sa->resumed;
}

void clients_repeat(const struct sa *sa)
{
	if (sendto(udp[sa->port], sa->request, sa->request_len, 0,
		   (const struct sockaddr *)&sa->to, sizeof(sa->to)) < 0)
		say("sendto: %s", strerror(errno));
}

/* Each end gets the other one's request when it has made its own. */
static void cross_requests(const struct ike *ike)
{
	struct sa *sa;

	if (is_response(ike) || ike->exchange != CREATE_CHILD_SA)
		return;
	sa = sas_find(our_spi(ike, false));
	if (!sa || !sa->unanswered || sa->crossed)
		return;
	sa->crossed = true;
	say("crossed");
	clients_repeat(sa);
}

static void note_first(const struct ike *ike, const struct sockaddr_in *from)
{
	struct unit_key key = unit_key_read(fold_key);

	first_spi_i = ike->spi_i;
	first_unit =
	    unit_ike_first(&key, ike->spi_i, unit_ipv4(ntohl(from->sin_addr.s_addr)));
}

static void keep_response(const struct ike *ike, const struct local_ike_rx *rx)
{
	struct local_ike_verify *verify = &last.verify.ike_verify;

	if (!is_response(ike) || rx->packet.len > sizeof(last.bytes))
		return;
	memcpy(last.bytes, rx->packet.bytes, rx->packet.len);
	last.verify = (struct local_message){ .type = LOCAL_IKE_VERIFY };
	verify->spi = our_spi(ike, false);
	verify->mid = ike->mid;
	verify->src = rx->src;
	verify->dst = rx->dst;
	verify->packet = (struct local_blob){ last.bytes, rx->packet.len };
}

static void fail_login(const struct ike *ike, const struct local_ike_rx *rx)
{
	struct local_message m = { .type = LOCAL_HALF_FAIL };

	m.half_fail.spi = ike->spi_r;
	m.half_fail.mid = ike->mid;
	m.half_fail.src = rx->src;
	m.half_fail.dst = rx->dst;
	charons_tell(active, &m);
}

/* To charon, as the test has ordered. */
static void deliver(const struct ike *ike, struct local_message *m)
{
	bool login = ike->exchange == IKE_AUTH;

	if (login && orders.hold && ike->mid >= orders.hold) {
		say("held");
	} else if (ike->exchange == CREATE_CHILD_SA && orders.lose == 1 &&
		   is_response(ike)) {
		say("lost spi=%016" PRIx64, our_spi(ike, false));
	} else if (is_response(ike) && ike->mid == 0 && ike->exchange == INFORMATIONAL) {
		charons_tell(active, &last.verify);
	} else if (is_inherited(ike)) {
		/* As long as charon has not said that it waits for it. */
		charons_tell(active, &last.verify);
	} else if (login && orders.fail && ike->mid >= orders.fail) {
		fail_login(ike, &m->ike_rx);
	} else {
		charons_tell(active, m);
	}
}

void clients_receive(unsigned i)
{
	uint8_t packet[65536];
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	ssize_t len =
	    recvfrom(udp[i], packet, sizeof(packet), 0, (struct sockaddr *)&from, &size);
	size_t skip = i ? 4 : 0;
	struct local_message m = { .type = LOCAL_IKE_RX };
	struct ike ike;

	if (len < (ssize_t)(IKE_HEADER + skip) || (i && memcmp(packet, "\0\0\0", 4)) ||
	    !parse_ike(packet + skip, (size_t)len - skip, &ike))
		return;
	if (!ike.spi_r)
		note_first(&ike, &from);
	if (!is_response(&ike))
		puts_seen = 0;
	m.ike_rx.src.family = m.ike_rx.dst.family = 4;
	memcpy(m.ike_rx.src.bytes, &from.sin_addr, 4);
	memcpy(m.ike_rx.dst.bytes, &own, 4);
	m.ike_rx.src.port = (uint16_t)(ntohs(from.sin_port) + orders.shift);
	m.ike_rx.dst.port = ports[i];
	m.ike_rx.packet = (struct local_blob){ packet + skip, (size_t)len - skip };
	say("%c < IKE %u %s mid=%u", active->name, ike.exchange,
	    is_response(&ike) ? "response" : "request", ike.mid);
	keep_response(&ike, &m.ike_rx);
	cross_requests(&ike);
	deliver(&ike, &m);
}

static void check_order(const struct ike *ike, const struct sa *sa)
{
	if (!is_response(ike))
		return;
	if (ike->exchange == IKE_SA_INIT && ike->spi_i == first_spi_i)
		say("UNIT %s first=%u spi=%u",
		    first_unit == (sa->spi & 1023) ? "ok" : "BAD", first_unit,
		    (unsigned)(sa->spi & 1023));
	if (ike->exchange == CREATE_CHILD_SA)
		say("ORDER %s CREATE_CHILD_SA", puts_seen ? "ok" : "BAD");
}

/* Whether it is an answer that the client has from another charon. */
static bool is_repeated(const struct ike *ike, const struct local_blob *packet)
{
	if (ike->exchange != IKE_SA_INIT || ike->spi_r != half.spi)
		return false;
	if (!half.imported) {
		half.answer_len = packet->len;
		memcpy(half.answer, packet->bytes, packet->len);
		return false;
	}
	say("HALF %s", packet->len == half.answer_len &&
			       !memcmp(packet->bytes, half.answer, packet->len)
			   ? "identical"
			   : "different");
	return true;
}

static void keep_request(struct sa *sa, const struct ike *ike, const struct iovec *iov,
			 const struct sockaddr_in *to, unsigned port)
{
	if (iov[0].iov_len + iov[1].iov_len > REQUEST_MAX)
		return;
	if (!sa->unanswered || sa->request_mid != ike->mid)
		sa->crossed = !orders.cross;
	memcpy(sa->request, iov[0].iov_base, iov[0].iov_len);
	memcpy(sa->request + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	sa->request_len = iov[0].iov_len + iov[1].iov_len;
	sa->request_mid = ike->mid;
	sa->to = *to;
	sa->port = port;
	sa->unanswered = true;
	sa->inherited = sa->resumed = false;
}

/* Whether charon says again what a former owner has asked. That has been said. */
static bool is_said(const struct charon *p, const struct sa *sa, const struct ike *ike)
{
	if (is_response(ike) || !sa->inherited || ike->exchange != CREATE_CHILD_SA ||
	    ike->mid != sa->request_mid)
		return false;
	say("%c repeats IKE %u mid=%u", p->name, ike->exchange, ike->mid);
	if (sa->resumed)
		clients_repeat(sa);
	return true;
}

static void leave(struct sa *sa, const struct ike *ike, const struct local_ike_tx *tx)
{
	static const uint8_t marker[4];
	struct sockaddr_in to = { .sin_family = AF_INET };
	unsigned i = tx->src.port == ports[1];
	struct iovec iov[2] = { { (void *)marker, i ? 4 : 0 },
				{ (void *)tx->packet.bytes, tx->packet.len } };
	struct msghdr msg = { &to, sizeof(to), iov, 2, NULL, 0, 0 };

	memcpy(&to.sin_addr, tx->dst.bytes, 4);
	to.sin_port = htons((uint16_t)(tx->dst.port - orders.shift));
	if (!is_response(ike) && ike->exchange == CREATE_CHILD_SA) {
		keep_request(sa, ike, iov, &to, i);
		if (!sa->crossed)
			return;
	}
	if (sendmsg(udp[i], &msg, 0) < 0)
		say("sendmsg: %s", strerror(errno));
}

/* The SA as which this charon may speak; NULL: it may not. */
static struct sa *speaker(const struct charon *p, const struct ike *ike)
{
	struct sa *sa = NULL;

	if (p == active) {
		sa = sas_get(our_spi(ike, true));
		if (sa->spi == slow_spi) {
			say("%c is slow no more", p->name);
			slow_spi = 0;
		}
	}
	if (sa && !sa->fenced)
		return sa;
	say("%c fenced IKE %u mid=%u", p->name, ike->exchange, ike->mid);
	return NULL;
}

void clients_send(struct charon *p, const struct local_ike_tx *tx)
{
	struct ike ike;
	struct sa *sa;

	if (tx->packet.len == 1 && tx->packet.bytes[0] == 0xff) {
		say("%c > KEEPALIVE", p->name);
		return;
	}
	if (!parse_ike(tx->packet.bytes, tx->packet.len, &ike)) {
		say("%c IKE_TX BAD", p->name);
		return;
	}
	sa = speaker(p, &ike);
	if (!sa)
		return;
	if (is_response(&ike))
		sa->recv_mid = ike.mid + 1;
	else
		sa->send_mid = ike.mid + 1;
	say("%c > IKE %u %s mid=%u", p->name, ike.exchange,
	    is_response(&ike) ? "response" : "request", ike.mid);
	check_order(&ike, sa);
	if (orders.lose == 2 && !is_response(&ike)) {
		say("lost spi=%016" PRIx64, sa->spi);
		return;
	}
	if (!is_repeated(&ike, &tx->packet) && !is_said(p, sa, &ike))
		leave(sa, &ike, tx);
}

static int bind_udp(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr = own };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		err(1, "UDP port %u", port);
	return fd;
}

void clients_bind(void)
{
	for (unsigned i = 0; i < 2; i++)
		udp[i] = bind_udp(ports[i]);
}
