/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * phalanxd as charon's plugin sees it, for tests of the plugin alone: one process that
 * serves two charons, A and B, over the local protocol, and joins the active one to real
 * UDP sockets of one address.
 *
 *   fakephalanx ADDRESS SOCKET_A SOCKET_B
 *
 * It keeps what the plugin reports, and logs each message as a line. Commands come as lines
 * on standard input:
 *
 *   takeover A|B   that charon becomes the active one and gets all SAs
 *   sync A|B       as takeover, but its numbers are those of before the last exchanges
 *   activate A|B   that charon becomes the active one, and that is all
 *   drop A|B       that charon is told to drop all SAs
 *   hold N         requests of IKE_AUTH from number N on are lost; 0: none
 *   half A|B       that charon becomes the active one and gets the last half-open SA
 *   lose N         whether responses to CREATE_CHILD_SA are lost
 *   fail N         requests of IKE_AUTH from number N on are to be refused; 0: none
 *   verify A|B     that charon is asked whether the last response was authentic
 *   forge A|B      and whether it were with another last byte
 *   end A|B        that charon is told to end all SAs silently, as INITIAL_CONTACT does
 *   refuse N       whether peers are connected elsewhere: to clients' unique = keep, and
 *                  to INITIAL_CONTACT of the plugin's own
 *   ping A|B       that charon is asked whether it is alive
 *   expire A|B     each inbound SA's soft lifetime runs out
 *   move A|B       each CHILD SA's client is seen at another port by its ESP, or back
 *   shift N        clients' ports appear N higher, as a NAT that forgot them would do
 *   mark TEXT      logs the text
 *   quit
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/bpf/unit.h"
#include "tunnels/ipsec/local.h"

#define SAS_MAX 64
#define BEGUN_MAX 512
#define REQUEST_MAX 2048
#define CHILDREN_MAX 16
#define ADDRESSES_MAX 64
#define IKE_HEADER 28
#define IKE_FLAG_INITIATOR 0x08
#define IKE_FLAG_RESPONSE 0x20
#define IKE_SA_INIT 34
#define IKE_AUTH 35
#define CREATE_CHILD_SA 36
#define INFORMATIONAL 37
#define SELF 7
#define MOVED 6500

struct child {
	uint32_t spi_in;
	uint8_t *state;
	size_t len;
};

/* An IKE SA by our SPI, from its first message on. */
struct sa {
	uint64_t spi;
	uint32_t recv_mid, send_mid;
	struct local_addr remote;
	uint8_t *state;
	size_t len;
	unsigned child_count;
	struct child children[CHILDREN_MAX];
	/* The last CREATE_CHILD_SA of ours, and what it begins. */
	uint8_t begun[BEGUN_MAX], request[REQUEST_MAX];
	size_t begun_len, request_len;
	uint32_t begun_mid, request_mid;
	struct sockaddr_in to;
	unsigned port;
	bool unanswered, inherited, resumed;
};

struct peer {
	char name;
	int listener, fd;
};

struct ike {
	uint64_t spi_i, spi_r;
	uint8_t exchange, flags;
	uint32_t mid;
};

static struct peer peers[2] = { { 'A', -1, -1 }, { 'B', -1, -1 } };
static struct peer *active = &peers[0];
static int udp[2]; /* 500 and 4500 */
static const uint16_t ports[2] = { 500, 4500 };
static struct in_addr own;
static struct sa sas[SAS_MAX];
static unsigned sa_count;
static const uint8_t fold_key[UNIT_KEY_SIZE] = "a key of 16 byte";
static char identities[ADDRESSES_MAX][300];
static unsigned shift, refuse, hold, fail, lose;
static struct {
	struct local_message verify;
	uint8_t bytes[4096];
} last;
/* The last half-open SA: HALF_OPEN as it came, and the answer to its request. */
static struct {
	uint64_t spi;
	uint8_t open[4096], answer[4096];
	size_t open_len, answer_len;
	bool imported;
} half;
static unsigned puts_seen; /* reports since the last request came in */
static uint8_t buffer[LOCAL_MESSAGE_MAX];

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static void tell(struct peer *p, struct local_message *m)
{
	size_t len = local_encode(m, buffer, sizeof(buffer));

	if (!len)
		errx(1, "%s does not fit", local_type_name(m->type));
	if (p->fd == -1 || send(p->fd, buffer, len, MSG_NOSIGNAL) < 0)
		say("%c cannot be told %s", p->name, local_type_name(m->type));
}

static struct sa *find_sa(uint64_t spi)
{
	for (unsigned i = 0; i < sa_count; i++)
		if (sas[i].spi == spi)
			return &sas[i];
	return NULL;
}

static struct sa *get_sa(uint64_t spi)
{
	struct sa *sa = find_sa(spi);

	if (sa)
		return sa;
	if (sa_count == SAS_MAX)
		errx(1, "too many SAs");
	sa = &sas[sa_count++];
	memset(sa, 0, sizeof(*sa));
	sa->spi = spi;
	return sa;
}

static void keep(uint8_t **to, size_t *len, const struct local_blob *blob)
{
	free(*to);
	*to = malloc(blob->len ? blob->len : 1);
	*len = blob->len;
	memcpy(*to, blob->bytes, blob->len);
}

static void forget_child(uint32_t spi_in)
{
	for (unsigned i = 0; i < sa_count; i++)
		for (unsigned j = 0; j < sas[i].child_count; j++)
			if (sas[i].children[j].spi_in == spi_in) {
				free(sas[i].children[j].state);
				sas[i].children[j] =
				    sas[i].children[--sas[i].child_count];
				return;
			}
}

static void put_child(const struct local_child_put *put)
{
	struct sa *sa = get_sa(put->ike);
	struct child *child;

	forget_child(put->spi_in);
	if (sa->child_count == CHILDREN_MAX)
		errx(1, "too many children");
	child = &sa->children[sa->child_count++];
	child->spi_in = put->spi_in;
	child->state = NULL;
	keep(&child->state, &child->len, &put->state);
}

static void forget_sa(uint64_t spi)
{
	struct sa *sa = find_sa(spi);

	if (!sa)
		return;
	while (sa->child_count)
		forget_child(sa->children[0].spi_in);
	free(sa->state);
	*sa = sas[--sa_count];
}

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

static uint64_t first_spi_i;
static uint16_t first_unit;

/* Whether it answers what a former owner has asked; or what this one has, and then it is
 * answered. */
static bool is_inherited(const struct ike *ike)
{
	struct sa *sa;

	if (!(ike->flags & IKE_FLAG_RESPONSE))
		return false;
	sa = find_sa(ike->flags & IKE_FLAG_INITIATOR ? ike->spi_r : ike->spi_i);
	if (!sa || sa->request_mid != ike->mid)
		return false;
	sa->unanswered = false;
	return sa->inherited && !sa->resumed;
}

static void receive_udp(unsigned i)
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
	if (!ike.spi_r) {
		struct unit_key key = unit_key_read(fold_key);

		first_spi_i = ike.spi_i;
		first_unit = unit_ike_first(&key, ike.spi_i,
					    unit_ipv4(ntohl(from.sin_addr.s_addr)));
	}
	if (!(ike.flags & IKE_FLAG_RESPONSE))
		puts_seen = 0;
	m.ike_rx.src.family = m.ike_rx.dst.family = 4;
	memcpy(m.ike_rx.src.bytes, &from.sin_addr, 4);
	memcpy(m.ike_rx.dst.bytes, &own, 4);
	m.ike_rx.src.port = (uint16_t)(ntohs(from.sin_port) + shift);
	m.ike_rx.dst.port = ports[i];
	m.ike_rx.packet.bytes = packet + skip;
	m.ike_rx.packet.len = (size_t)len - skip;
	say("%c < IKE %u %s mid=%u", active->name, ike.exchange,
	    ike.flags & IKE_FLAG_RESPONSE ? "response" : "request", ike.mid);
	if (ike.flags & IKE_FLAG_RESPONSE && (size_t)len - skip <= sizeof(last.bytes)) {
		memcpy(last.bytes, packet + skip, (size_t)len - skip);
		last.verify = (struct local_message){ .type = LOCAL_IKE_VERIFY };
		last.verify.ike_verify.spi =
		    ike.flags & IKE_FLAG_INITIATOR ? ike.spi_r : ike.spi_i;
		last.verify.ike_verify.mid = ike.mid;
		last.verify.ike_verify.src = m.ike_rx.src;
		last.verify.ike_verify.dst = m.ike_rx.dst;
		last.verify.ike_verify.packet.bytes = last.bytes;
		last.verify.ike_verify.packet.len = (size_t)len - skip;
	}
	if (ike.exchange == IKE_AUTH && hold && ike.mid >= hold) {
		say("held");
	} else if (ike.exchange == CREATE_CHILD_SA && lose &&
		   ike.flags & IKE_FLAG_RESPONSE) {
		say("lost");
	} else if (ike.flags & IKE_FLAG_RESPONSE && ike.mid == 0 &&
		   ike.exchange == INFORMATIONAL) {
		tell(active, &last.verify);
	} else if (is_inherited(&ike)) {
		/* As long as charon has not said that it waits for it. */
		tell(active, &last.verify);
	} else if (ike.exchange == IKE_AUTH && fail && ike.mid >= fail) {
		struct local_message f = { .type = LOCAL_HALF_FAIL };

		f.half_fail.spi = ike.spi_r;
		f.half_fail.mid = ike.mid;
		f.half_fail.src = m.ike_rx.src;
		f.half_fail.dst = m.ike_rx.dst;
		tell(active, &f);
	} else {
		tell(active, &m);
	}
}

static void check_order(const struct ike *ike, const struct sa *sa)
{
	if (!(ike->flags & IKE_FLAG_RESPONSE))
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

static void keep_half(struct peer *p, const struct local_message *m)
{
	half.open_len = local_encode(m, half.open, sizeof(half.open));
	half.spi = m->half_open.spi;
	half.imported = false;
	say("%c HALF_OPEN spi=%016" PRIx64 " nonce=%zu method=%u public=%zu", p->name,
	    half.spi, m->half_open.nonce.len, m->half_open.method,
	    m->half_open.public.len);
}

static void import_half(struct peer *p)
{
	half.open[0] = LOCAL_HALF_IMPORT;
	half.imported = true;
	if (send(p->fd, half.open, half.open_len, MSG_NOSIGNAL) < 0)
		say("%c cannot be told", p->name);
}

static void repeat_request(const struct sa *sa)
{
	if (sendto(udp[sa->port], sa->request, sa->request_len, 0,
		   (const struct sockaddr *)&sa->to, sizeof(sa->to)) < 0)
		say("sendto: %s", strerror(errno));
}

static void keep_begun(struct peer *p, const struct local_ike_begun *b)
{
	struct sa *sa = get_sa(b->spi);

	say("%c IKE_BEGUN mid=%u ike=%d child=%d state=%zu", p->name, b->mid, b->ike != 0,
	    b->child != 0, b->state.len);
	sa->begun_mid = b->mid;
	sa->begun_len = b->state.len < BEGUN_MAX ? b->state.len : 0;
	memcpy(sa->begun, b->state.bytes, sa->begun_len);
}

static void keep_request(struct sa *sa, const struct ike *ike, const struct iovec *iov,
			 const struct sockaddr_in *to, unsigned port)
{
	if (iov[0].iov_len + iov[1].iov_len > REQUEST_MAX)
		return;
	memcpy(sa->request, iov[0].iov_base, iov[0].iov_len);
	memcpy(sa->request + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	sa->request_len = iov[0].iov_len + iov[1].iov_len;
	sa->request_mid = ike->mid;
	sa->to = *to;
	sa->port = port;
	sa->unanswered = true;
	sa->inherited = sa->resumed = false;
}

static void transmit(struct peer *p, const struct local_ike_tx *tx)
{
	static const uint8_t marker[4];
	struct sockaddr_in to = { .sin_family = AF_INET };
	unsigned i = tx->src.port == ports[1];
	struct iovec iov[2] = { { (void *)marker, i ? 4 : 0 },
				{ (void *)tx->packet.bytes, tx->packet.len } };
	struct msghdr msg = { &to, sizeof(to), iov, 2, NULL, 0, 0 };
	struct ike ike;
	struct sa *sa;

	if (!parse_ike(tx->packet.bytes, tx->packet.len, &ike)) {
		say("%c IKE_TX BAD", p->name);
		return;
	}
	if (p != active) {
		say("%c fenced IKE %u mid=%u", p->name, ike.exchange, ike.mid);
		return;
	}
	sa = get_sa(ike.flags & IKE_FLAG_INITIATOR ? ike.spi_i : ike.spi_r);
	if (ike.flags & IKE_FLAG_RESPONSE)
		sa->recv_mid = ike.mid + 1;
	else
		sa->send_mid = ike.mid + 1;
	say("%c > IKE %u %s mid=%u", p->name, ike.exchange,
	    ike.flags & IKE_FLAG_RESPONSE ? "response" : "request", ike.mid);
	check_order(&ike, sa);
	if (is_repeated(&ike, &tx->packet))
		return;
	memcpy(&to.sin_addr, tx->dst.bytes, 4);
	to.sin_port = htons((uint16_t)(tx->dst.port - shift));
	if (!(ike.flags & IKE_FLAG_RESPONSE) && sa->inherited &&
	    ike.exchange == CREATE_CHILD_SA && ike.mid == sa->request_mid) {
		say("%c repeats IKE %u mid=%u", p->name, ike.exchange, ike.mid);
		if (sa->resumed)
			repeat_request(sa);
		return;
	}
	if (!(ike.flags & IKE_FLAG_RESPONSE) && ike.exchange == CREATE_CHILD_SA)
		keep_request(sa, &ike, iov, &to, i);
	if (sendmsg(udp[i], &msg, 0) < 0)
		say("sendmsg: %s", strerror(errno));
}

static void give_address(struct peer *p, const struct local_address_want *want)
{
	struct local_message m = { .type = LOCAL_ADDRESS };
	char identity[300] = "";
	uint32_t base;
	unsigned i;

	for (i = 0; i < want->identity.len && i < sizeof(identity) / 2 - 1; i++)
		snprintf(identity + 2 * i, 3, "%02x", want->identity.bytes[i]);
	for (i = 0; i < ADDRESSES_MAX; i++)
		if (!identities[i][0] || !strcmp(identities[i], identity))
			break;
	m.address.id = want->id;
	if (i < ADDRESSES_MAX && i < want->count && want->base.family == 4) {
		strcpy(identities[i], identity);
		m.address.address = want->base;
		memcpy(&base, want->base.bytes, 4);
		base = htonl(ntohl(base) + i);
		memcpy(m.address.address.bytes, &base, 4);
	}
	say("%c ADDRESS_WANT pool=%.*s -> %u", p->name, (int)want->pool.len,
	    want->pool.bytes, i);
	tell(p, &m);
}

static void welcome(struct peer *p)
{
	static uint8_t units[128];
	struct local_message m = { .type = LOCAL_WELCOME };

	memset(units, 0xff, sizeof(units));
	m.welcome.version = LOCAL_VERSION;
	m.welcome.self = SELF;
	m.welcome.fold_key = (struct local_blob){ fold_key, sizeof(fold_key) };
	m.welcome.units = (struct local_blob){ units, sizeof(units) };
	tell(p, &m);
}

static void answer_query(struct peer *p, const struct local_sa_query *query)
{
	struct local_message m = { .type = LOCAL_SA_STATS };

	m.sa_stats = (struct local_sa_stats){
		.id = query->id, .found = 1, .bytes = 4711, .packets = 42, .idle = 1
	};
	tell(p, &m);
}

static void put_ike(struct peer *p, const struct local_ike_put *put)
{
	struct sa *sa = get_sa(put->spi);
	struct in_addr vip = { 0 };

	puts_seen++;
	sa->remote = put->remote;
	keep(&sa->state, &sa->len, &put->state);
	if (put->vips.len >= 5)
		memcpy(&vip, put->vips.bytes + 1, 4);
	say("%c IKE_PUT spi=%016" PRIx64
	    " unit=%u user=%.*s name=%.*s vip=%s port=%u peer=%016" PRIx64,
	    p->name, put->spi, (unsigned)(put->spi & 1023), (int)put->user.len,
	    put->user.bytes, (int)put->name.len, put->name.bytes, inet_ntoa(vip),
	    put->remote.port, put->peer);
}

static void note_sa(struct peer *p, const struct local_sa_add *add)
{
	say("%c SA_ADD ike=%016" PRIx64
	    " spi=%08x %s unit=%s enc=%u/%zu integ=%u/%zu ts=%u/%u",
	    p->name, add->ike, add->spi, add->inbound ? "in" : "out",
	    !add->inbound			     ? "-"
	    : (add->spi & 1023) == (add->ike & 1023) ? "ok"
						     : "BAD",
	    add->enc, add->enc_key.len, add->integ, add->integ_key.len,
	    local_ts_count(&add->src_ts), local_ts_count(&add->dst_ts));
}

static void answer_unique(struct peer *p, const struct local_unique_ask *ask)
{
	struct local_message m = { .type = LOCAL_UNIQUE };

	say("%c UNIQUE_ASK user=%.*s name=%.*s policy=%u", p->name, (int)ask->user.len,
	    ask->user.bytes, (int)ask->name.len, ask->name.bytes, ask->policy);
	m.unique.id = ask->id;
	m.unique.refuse = refuse && ask->policy == LOCAL_UNIQUE_KEEP;
	tell(p, &m);
}

static void answer_contact(struct peer *p, const struct local_contact_ask *ask)
{
	struct local_message m = { .type = LOCAL_CONTACT };

	say("%c CONTACT_ASK peer=%016" PRIx64, p->name, ask->peer);
	m.contact.id = ask->id;
	m.contact.known = refuse != 0;
	tell(p, &m);
}

static void handle(struct peer *p, const struct local_message *m)
{
	switch (m->type) {
	case LOCAL_HELLO:
		say("%c HELLO %.*s", p->name, (int)m->hello.charon.len,
		    m->hello.charon.bytes);
		welcome(p);
		break;
	case LOCAL_IKE_TX:
		transmit(p, &m->ike_tx);
		break;
	case LOCAL_IKE_PUT:
		put_ike(p, &m->ike_put);
		break;
	case LOCAL_IKE_DEL:
		say("%c IKE_DEL spi=%016" PRIx64, p->name, m->ike_del.spi);
		forget_sa(m->ike_del.spi);
		break;
	case LOCAL_SA_ADD:
		note_sa(p, &m->sa_add);
		break;
	case LOCAL_SA_QUERY:
		answer_query(p, &m->sa_query);
		break;
	case LOCAL_CHILD_PUT:
		puts_seen++;
		say("%c CHILD_PUT ike=%016" PRIx64 " in=%08x out=%08x name=%.*s", p->name,
		    m->child_put.ike, m->child_put.spi_in, m->child_put.spi_out,
		    (int)m->child_put.name.len, m->child_put.name.bytes);
		put_child(&m->child_put);
		break;
	case LOCAL_CHILD_DEL:
		say("%c CHILD_DEL in=%08x", p->name, m->child_del.spi_in);
		forget_child(m->child_del.spi_in);
		break;
	case LOCAL_ADDRESS_WANT:
		give_address(p, &m->address_want);
		break;
	case LOCAL_POOL:
		say("%c POOL %.*s count=%u", p->name, (int)m->pool.name.len,
		    m->pool.name.bytes, m->pool.count);
		break;
	case LOCAL_CONFIG:
		say("%c CONFIG %.*s child=%.*s actions=%u mode=%u remote=%.*s ts=%zu/%zu",
		    p->name, (int)m->config.name.len, m->config.name.bytes,
		    (int)m->config.child.len, m->config.child.bytes, m->config.actions,
		    m->config.mode, (int)m->config.remote.len, m->config.remote.bytes,
		    m->config.local_ts.len / LOCAL_TS_SIZE,
		    m->config.remote_ts.len / LOCAL_TS_SIZE);
		break;
	case LOCAL_IMPORT_FAILED:
		say("%c IMPORT_FAILED %.*s", p->name, (int)m->import_failed.reason.len,
		    m->import_failed.reason.bytes);
		break;
	case LOCAL_IKE_BEGUN:
		keep_begun(p, &m->ike_begun);
		break;
	case LOCAL_IKE_SYNCED:
		say("%c IKE_SYNCED send_mid=%u recv_mid=%u", p->name,
		    m->ike_synced.send_mid, m->ike_synced.recv_mid);
		break;
	case LOCAL_IKE_RESUMED:
		say("%c IKE_RESUMED mid=%u", p->name, m->ike_resumed.mid);
		get_sa(m->ike_resumed.spi)->resumed = true;
		break;
	case LOCAL_HALF_OPEN:
		keep_half(p, m);
		break;
	case LOCAL_UNIQUE_ASK:
		answer_unique(p, &m->unique_ask);
		break;
	case LOCAL_CONTACT_ASK:
		answer_contact(p, &m->contact_ask);
		break;
	case LOCAL_PONG:
		say("%c PONG %u", p->name, m->pong.id);
		break;
	case LOCAL_SA_UPDATE:
		say("%c SA_UPDATE spi=%08x %s port=%u", p->name, m->sa_update.spi,
		    m->sa_update.inbound ? "in" : "out",
		    m->sa_update.inbound ? m->sa_update.src.port : m->sa_update.dst.port);
		break;
	case LOCAL_SA_DEL:
		say("%c SA_DEL spi=%08x %s", p->name, m->sa_del.spi,
		    m->sa_del.inbound ? "in" : "out");
		break;
	default:
		say("%c %s", p->name, local_type_name(m->type));
		break;
	}
}

static void receive_local(struct peer *p)
{
	static uint8_t in[LOCAL_MESSAGE_MAX];
	struct local_message m;
	ssize_t len = recv(p->fd, in, sizeof(in), 0);

	if (len <= 0) {
		say("%c gone", p->name);
		close(p->fd);
		p->fd = -1;
	} else if (local_decode(in, (size_t)len, &m))
		say("%c BAD message of %zd bytes", p->name, len);
	else
		handle(p, &m);
}

static void import_sa(struct peer *p, struct sa *sa, bool unproven)
{
	struct local_message m = { .type = LOCAL_IKE_IMPORT };

	m.ike_import.spi = sa->spi;
	m.ike_import.remote = sa->remote;
	m.ike_import.recv_mid = sa->recv_mid;
	m.ike_import.send_mid = sa->send_mid;
	m.ike_import.state = (struct local_blob){ sa->state, sa->len };
	m.ike_import.unproven = unproven;
	if (unproven)
		m.ike_import.recv_mid = m.ike_import.send_mid = 0;
	if (sa->unanswered) {
		sa->inherited = true;
		sa->resumed = false;
		if (sa->begun_mid == sa->request_mid)
			m.ike_import.begun =
			    (struct local_blob){ sa->begun, sa->begun_len };
	}
	tell(p, &m);
	for (unsigned i = 0; i < sa->child_count; i++) {
		m.type = LOCAL_CHILD_IMPORT;
		m.child_import.ike = sa->spi;
		m.child_import.spi_in = sa->children[i].spi_in;
		m.child_import.state =
		    (struct local_blob){ sa->children[i].state, sa->children[i].len };
		tell(p, &m);
	}
	m.type = LOCAL_IKE_ACTIVATE;
	m.ike_activate.spi = sa->spi;
	tell(p, &m);
	if (sa->inherited)
		repeat_request(sa);
	say("%c imports spi=%016" PRIx64 " children=%u recv_mid=%u send_mid=%u", p->name,
	    sa->spi, sa->child_count, sa->recv_mid, sa->send_mid);
}

static void expire_child(struct peer *p, uint32_t spi_in)
{
	struct local_message m = { .type = LOCAL_SA_EXPIRE };

	m.sa_expire.spi = spi_in;
	m.sa_expire.inbound = 1;
	m.sa_expire.dst.family = 4;
	memcpy(m.sa_expire.dst.bytes, &own, 4);
	tell(p, &m);
}

static void move_child(struct peer *p, const struct sa *sa, uint32_t spi_in)
{
	struct local_message m = { .type = LOCAL_SA_MOVED };

	m.sa_moved.spi = spi_in;
	m.sa_moved.dst.family = 4;
	memcpy(m.sa_moved.dst.bytes, &own, 4);
	m.sa_moved.dst.port = ports[1];
	m.sa_moved.src = sa->remote;
	m.sa_moved.src.port = sa->remote.port == MOVED ? ports[1] : MOVED;
	tell(p, &m);
}

static void for_all(struct peer *p, const char *verb)
{
	struct local_message m = { .type = LOCAL_IKE_DROP };

	for (unsigned i = 0; i < sa_count; i++) {
		if (!sas[i].state)
			continue;
		if (!strcmp(verb, "takeover"))
			import_sa(p, &sas[i], false);
		else if (!strcmp(verb, "sync"))
			import_sa(p, &sas[i], true);
		else if (!strcmp(verb, "drop")) {
			m.ike_drop.spi = sas[i].spi;
			tell(p, &m);
		} else if (!strcmp(verb, "end")) {
			m.type = LOCAL_IKE_REPLACED;
			m.ike_replaced.spi = sas[i].spi;
			m.ike_replaced.how = LOCAL_END_SILENT;
			tell(p, &m);
		} else if (!strcmp(verb, "expire"))
			for (unsigned j = 0; j < sas[i].child_count; j++)
				expire_child(p, sas[i].children[j].spi_in);
		else if (!strcmp(verb, "move"))
			for (unsigned j = 0; j < sas[i].child_count; j++)
				move_child(p, &sas[i], sas[i].children[j].spi_in);
	}
}

/* False at the end. */
static bool command(void)
{
	char line[256], verb[16] = "", who = 0;
	struct peer *p;

	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, "mark ", 5)) {
		say("MARK %s", line + 5);
		return true;
	}
	if (sscanf(line, "shift %u", &shift) == 1 ||
	    sscanf(line, "refuse %u", &refuse) == 1 ||
	    sscanf(line, "lose %u", &lose) == 1 || sscanf(line, "hold %u", &hold) == 1 ||
	    sscanf(line, "fail %u", &fail) == 1)
		return true;
	sscanf(line, "%15s %c", verb, &who);
	if (!strcmp(verb, "quit"))
		return false;
	p = who == 'B' ? &peers[1] : &peers[0];
	if (!strcmp(verb, "ping")) {
		struct local_message m = { .type = LOCAL_PING, .ping = { 4711 } };

		tell(p, &m);
	}
	if (last.verify.type && (!strcmp(verb, "verify") || !strcmp(verb, "forge"))) {
		uint8_t *end = &last.bytes[last.verify.ike_verify.packet.len - 1];

		*end ^= !strcmp(verb, "forge");
		tell(p, &last.verify);
		*end ^= !strcmp(verb, "forge");
	}
	if (!strcmp(verb, "half")) {
		active = p;
		import_half(p);
	}
	if (!strcmp(verb, "takeover") || !strcmp(verb, "activate") ||
	    !strcmp(verb, "sync"))
		active = p;
	for_all(p, verb);
	say("DONE %s", line);
	return true;
}

static int listen_local(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, 4))
		err(1, "%s", path);
	return fd;
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

static void serve(void)
{
	struct pollfd fds[7];

	for (;;) {
		for (unsigned i = 0; i < 2; i++) {
			fds[i] = (struct pollfd){ udp[i], POLLIN, 0 };
			fds[2 + i] = (struct pollfd){ peers[i].listener, POLLIN, 0 };
			fds[4 + i] = (struct pollfd){ peers[i].fd, POLLIN, 0 };
		}
		fds[6] = (struct pollfd){ STDIN_FILENO, POLLIN, 0 };
		if (poll(fds, 7, -1) < 0)
			err(1, "poll");
		for (unsigned i = 0; i < 2; i++) {
			if (fds[i].revents)
				receive_udp(i);
			if (fds[4 + i].revents)
				receive_local(&peers[i]);
			else if (fds[2 + i].revents) {
				if (peers[i].fd != -1)
					close(peers[i].fd);
				peers[i].fd = accept(peers[i].listener, NULL, NULL);
			}
		}
		if (fds[6].revents && !command())
			return;
	}
}

int main(int argc, char **argv)
{
	if (argc != 4 || !inet_aton(argv[1], &own))
		errx(2, "usage: fakephalanx ADDRESS SOCKET_A SOCKET_B");
	/* poll() must see each line, so none may wait in a buffer. */
	setvbuf(stdin, NULL, _IONBF, 0);
	for (int i = 0; i < 2; i++) {
		udp[i] = bind_udp(ports[i]);
		peers[i].listener = listen_local(argv[2 + i]);
	}
	say("ready");
	serve();
	return 0;
}
