/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/bpf/unit.h"
#include "tests/net/fake/fake.h"

#define ADDRESSES_MAX 64
#define SELF 7

struct charon charons[2] = { { 'A', -1, -1 }, { 'B', -1, -1 } };
struct charon *active = &charons[0];
unsigned puts_seen;
uint64_t slow_spi;
struct half half;

static uint8_t buffer[LOCAL_MESSAGE_MAX];
static char identities[ADDRESSES_MAX][300]; /* that have addresses */

void charons_tell(struct charon *p, struct local_message *m)
{
	size_t len = local_encode(m, buffer, sizeof(buffer));

	if (!len)
		errx(1, "%s does not fit", local_type_name(m->type));
	if (p->fd == -1 || send(p->fd, buffer, len, MSG_NOSIGNAL) < 0)
		say("%c cannot be told %s", p->name, local_type_name(m->type));
}

void charons_ping(struct charon *p)
{
	struct local_message m = { .type = LOCAL_PING, .ping = { 4711 } };

	charons_tell(p, &m);
}

void charons_import(struct charon *p, struct sa *sa, bool unproven, bool behind)
{
	struct local_message m = { .type = LOCAL_IKE_IMPORT };

	m.ike_import.spi = sa->spi;
	m.ike_import.remote = sa->remote;
	m.ike_import.recv_mid = sa->recv_mid;
	m.ike_import.send_mid = sa->send_mid;
	m.ike_import.state = (struct local_blob){ sa->state, sa->len };
	m.ike_import.unproven = unproven;
	if (behind)
		m.ike_import.recv_mid = m.ike_import.send_mid = 0;
	if (sa->unanswered) {
		sa->inherited = true;
		sa->resumed = false;
		if (sa->begun_mid == sa->request_mid)
			m.ike_import.begun =
			    (struct local_blob){ sa->begun, sa->begun_len };
	}
	charons_tell(p, &m);
	for (unsigned i = 0; i < sa->child_count; i++) {
		m.type = LOCAL_CHILD_IMPORT;
		m.child_import.ike = sa->spi;
		m.child_import.spi_in = sa->children[i].spi_in;
		m.child_import.state =
		    (struct local_blob){ sa->children[i].state, sa->children[i].len };
		charons_tell(p, &m);
	}
	m.type = LOCAL_IKE_ACTIVATE;
	m.ike_activate.spi = sa->spi;
	charons_tell(p, &m);
	if (sa->inherited)
		clients_repeat(sa);
	say("%c imports spi=%016" PRIx64 " children=%u recv_mid=%u send_mid=%u", p->name,
	    sa->spi, sa->child_count, sa->recv_mid, sa->send_mid);
}

void charons_import_half(struct charon *p)
{
	half.open[0] = LOCAL_HALF_IMPORT;
	half.imported = true;
	if (send(p->fd, half.open, half.open_len, MSG_NOSIGNAL) < 0)
		say("%c cannot be told", p->name);
}

/* What they say: questions, which are answered. */

static void on_hello(struct charon *p, const struct local_message *m)
{
	static uint8_t units[128];
	struct local_message welcome = { .type = LOCAL_WELCOME };

	say("%c HELLO %.*s", p->name, (int)m->hello.charon.len, m->hello.charon.bytes);
	memset(units, 0xff, sizeof(units));
	welcome.welcome.version = LOCAL_VERSION;
	welcome.welcome.self = SELF;
	welcome.welcome.fold_key = (struct local_blob){ fold_key, UNIT_KEY_SIZE };
	welcome.welcome.units = (struct local_blob){ units, sizeof(units) };
	charons_tell(p, &welcome);
}

/* The place in the pool of whoever it is; ADDRESSES_MAX: there is none. */
static unsigned place_of(const char *identity)
{
	for (unsigned i = 0; i < ADDRESSES_MAX; i++)
		if (!identities[i][0] || !strcmp(identities[i], identity))
			return i;
	return ADDRESSES_MAX;
}

static void on_address_want(struct charon *p, const struct local_message *m)
{
	const struct local_address_want *want = &m->address_want;
	struct local_message reply = { .type = LOCAL_ADDRESS };
	char identity[300] = "";
	uint32_t base;
	unsigned i;

	for (i = 0; i < want->identity.len && i < sizeof(identity) / 2 - 1; i++)
		snprintf(identity + 2 * i, 3, "%02x", want->identity.bytes[i]);
	i = place_of(identity);
	reply.address.id = want->id;
	if (i < ADDRESSES_MAX && i < want->count && want->base.family == 4) {
		strcpy(identities[i], identity);
		reply.address.address = want->base;
		memcpy(&base, want->base.bytes, 4);
		base = htonl(ntohl(base) + i);
		memcpy(reply.address.address.bytes, &base, 4);
	}
	say("%c ADDRESS_WANT pool=%.*s -> %u", p->name, (int)want->pool.len,
	    want->pool.bytes, i);
	charons_tell(p, &reply);
}

/* Whether charon is to wait for the answer. */
static bool is_slow(struct charon *p, const struct local_sa_query *query)
{
	struct sa *sa = query->inbound ? sas_find_child(query->spi) : NULL;
	struct local_message m;

	if (slow_spi || !orders.slow || !sa)
		return slow_spi != 0;
	slow_spi = sa->spi;
	say("%c is slow", p->name);
	if (orders.slow == 1) {
		m = last.verify;
		m.ike_verify.spi = sa->spi;
	} else {
		m = (struct local_message){ .type = LOCAL_IKE_DROP };
		m.ike_drop.spi = sa->spi;
	}
	charons_tell(p, &m);
	if (orders.slow == 3) {
		sa->fenced = true;
		charons_import(p, sa, false, false);
	}
	charons_ping(p);
	orders.slow = 0;
	return true;
}

static void on_sa_query(struct charon *p, const struct local_message *m)
{
	struct local_message reply = { .type = LOCAL_SA_STATS };

	if (is_slow(p, &m->sa_query))
		return;
	reply.sa_stats = (struct local_sa_stats){
		.id = m->sa_query.id, .found = 1, .bytes = 4711, .packets = 42, .idle = 1
	};
	charons_tell(p, &reply);
}

static void on_unique_ask(struct charon *p, const struct local_message *m)
{
	const struct local_unique_ask *ask = &m->unique_ask;
	struct local_message reply = { .type = LOCAL_UNIQUE };

	say("%c UNIQUE_ASK user=%.*s name=%.*s policy=%u", p->name, (int)ask->user.len,
	    ask->user.bytes, (int)ask->name.len, ask->name.bytes, ask->policy);
	reply.unique.id = ask->id;
	reply.unique.refuse = orders.refuse && ask->policy == LOCAL_UNIQUE_KEEP;
	charons_tell(p, &reply);
}

static void on_contact_ask(struct charon *p, const struct local_message *m)
{
	struct local_message reply = { .type = LOCAL_CONTACT };

	say("%c CONTACT_ASK peer=%016" PRIx64, p->name, m->contact_ask.peer);
	reply.contact.id = m->contact_ask.id;
	reply.contact.known = orders.refuse != 0;
	charons_tell(p, &reply);
}

/* Reports, which are kept. */

static void on_ike_tx(struct charon *p, const struct local_message *m)
{
	clients_send(p, &m->ike_tx);
}

static void on_ike_put(struct charon *p, const struct local_message *m)
{
	const struct local_ike_put *put = &m->ike_put;
	struct sa *sa = sas_get(put->spi);
	struct in_addr vip = { 0 };

	puts_seen++;
	sa->remote = put->remote;
	sas_keep_state(sa, &put->state);
	if (put->vips.len >= 5)
		memcpy(&vip, put->vips.bytes + 1, 4);
	say("%c IKE_PUT spi=%016" PRIx64
	    " unit=%u user=%.*s name=%.*s vip=%s port=%u peer=%016" PRIx64,
	    p->name, put->spi, (unsigned)(put->spi & 1023), (int)put->user.len,
	    put->user.bytes, (int)put->name.len, put->name.bytes, inet_ntoa(vip),
	    put->remote.port, put->peer);
}

static void on_ike_del(struct charon *p, const struct local_message *m)
{
	say("%c IKE_DEL spi=%016" PRIx64, p->name, m->ike_del.spi);
	sas_forget(m->ike_del.spi);
}

static void on_child_put(struct charon *p, const struct local_message *m)
{
	const struct local_child_put *put = &m->child_put;

	puts_seen++;
	say("%c CHILD_PUT ike=%016" PRIx64 " in=%08x out=%08x name=%.*s", p->name,
	    put->ike, put->spi_in, put->spi_out, (int)put->name.len, put->name.bytes);
	sas_put_child(put);
}

static void on_child_del(struct charon *p, const struct local_message *m)
{
	say("%c CHILD_DEL in=%08x", p->name, m->child_del.spi_in);
	sas_forget_child(m->child_del.spi_in);
}

static void on_ike_begun(struct charon *p, const struct local_message *m)
{
	const struct local_ike_begun *b = &m->ike_begun;
	struct sa *sa = sas_get(b->spi);

	say("%c IKE_BEGUN mid=%u ike=%d child=%d state=%zu", p->name, b->mid, b->ike != 0,
	    b->child != 0, b->state.len);
	sa->begun_mid = b->mid;
	sa->begun_len = b->state.len < BEGUN_MAX ? b->state.len : 0;
	memcpy(sa->begun, b->state.bytes, sa->begun_len);
}

static void on_imported(struct charon *p, const struct local_message *m)
{
	say("%c IMPORTED", p->name);
	sas_get(m->imported.spi)->fenced = false;
}

static void on_ike_resumed(struct charon *p, const struct local_message *m)
{
	say("%c IKE_RESUMED mid=%u", p->name, m->ike_resumed.mid);
	sas_get(m->ike_resumed.spi)->resumed = true;
}

static void on_half_open(struct charon *p, const struct local_message *m)
{
	half.open_len = local_encode(m, half.open, sizeof(half.open));
	half.spi = m->half_open.spi;
	half.imported = false;
	say("%c HALF_OPEN spi=%016" PRIx64 " nonce=%zu method=%u public=%zu", p->name,
	    half.spi, m->half_open.nonce.len, m->half_open.method,
	    m->half_open.public.len);
}

/* News, which are for the log only. */

static void on_half_done(struct charon *p, const struct local_message *m)
{
	say("%c HALF_DONE spi=%016" PRIx64, p->name, m->half_done.spi);
}

static void on_sa_add(struct charon *p, const struct local_message *m)
{
	const struct local_sa_add *add = &m->sa_add;
	const char *unit = (add->spi & 1023) == (add->ike & 1023) ? "ok" : "BAD";

	say("%c SA_ADD ike=%016" PRIx64
	    " spi=%08x %s unit=%s enc=%u/%zu integ=%u/%zu ts=%u/%u",
	    p->name, add->ike, add->spi, add->inbound ? "in" : "out",
	    add->inbound ? unit : "-", add->enc, add->enc_key.len, add->integ,
	    add->integ_key.len, local_ts_count(&add->src_ts),
	    local_ts_count(&add->dst_ts));
}

static void on_sa_update(struct charon *p, const struct local_message *m)
{
	const struct local_sa_update *u = &m->sa_update;

	say("%c SA_UPDATE spi=%08x %s port=%u", p->name, u->spi,
	    u->inbound ? "in" : "out", u->inbound ? u->src.port : u->dst.port);
}

static void on_sa_del(struct charon *p, const struct local_message *m)
{
	say("%c SA_DEL spi=%08x %s", p->name, m->sa_del.spi,
	    m->sa_del.inbound ? "in" : "out");
}

static void on_pool(struct charon *p, const struct local_message *m)
{
	say("%c POOL %.*s count=%u", p->name, (int)m->pool.name.len, m->pool.name.bytes,
	    m->pool.count);
}

static void on_config(struct charon *p, const struct local_message *m)
{
	const struct local_config *c = &m->config;

	say("%c CONFIG %.*s child=%.*s actions=%u mode=%u remote=%.*s ts=%zu/%zu "
	    "digest=%016" PRIx64,
	    p->name, (int)c->name.len, c->name.bytes, (int)c->child.len, c->child.bytes,
	    c->actions, c->mode, (int)c->remote.len, c->remote.bytes,
	    c->local_ts.len / LOCAL_TS_SIZE, c->remote_ts.len / LOCAL_TS_SIZE, c->digest);
}

static void on_import_failed(struct charon *p, const struct local_message *m)
{
	say("%c IMPORT_FAILED %.*s", p->name, (int)m->import_failed.reason.len,
	    m->import_failed.reason.bytes);
}

static void on_ike_synced(struct charon *p, const struct local_message *m)
{
	say("%c IKE_SYNCED send_mid=%u recv_mid=%u", p->name, m->ike_synced.send_mid,
	    m->ike_synced.recv_mid);
}

static void on_pong(struct charon *p, const struct local_message *m)
{
	say("%c PONG %u", p->name, m->pong.id);
}

typedef void handler(struct charon *p, const struct local_message *m);

/* Of all others the log has the name. */
static handler *const handlers[LOCAL_TYPES] = {
	[LOCAL_HELLO] = on_hello,
	[LOCAL_ADDRESS_WANT] = on_address_want,
	[LOCAL_SA_QUERY] = on_sa_query,
	[LOCAL_UNIQUE_ASK] = on_unique_ask,
	[LOCAL_CONTACT_ASK] = on_contact_ask,
	[LOCAL_IKE_TX] = on_ike_tx,
	[LOCAL_IKE_PUT] = on_ike_put,
	[LOCAL_IKE_DEL] = on_ike_del,
	[LOCAL_CHILD_PUT] = on_child_put,
	[LOCAL_CHILD_DEL] = on_child_del,
	[LOCAL_IKE_BEGUN] = on_ike_begun,
	[LOCAL_IMPORTED] = on_imported,
	[LOCAL_IKE_RESUMED] = on_ike_resumed,
	[LOCAL_HALF_OPEN] = on_half_open,
	[LOCAL_HALF_DONE] = on_half_done,
	[LOCAL_SA_ADD] = on_sa_add,
	[LOCAL_SA_UPDATE] = on_sa_update,
	[LOCAL_SA_DEL] = on_sa_del,
	[LOCAL_POOL] = on_pool,
	[LOCAL_CONFIG] = on_config,
	[LOCAL_IMPORT_FAILED] = on_import_failed,
	[LOCAL_IKE_SYNCED] = on_ike_synced,
	[LOCAL_PONG] = on_pong,
};

void charons_receive(struct charon *p)
{
	static uint8_t in[LOCAL_MESSAGE_MAX];
	struct local_message m;
	ssize_t len = recv(p->fd, in, sizeof(in), 0);

	if (len <= 0) {
		say("%c gone", p->name);
		close(p->fd);
		p->fd = -1;
	} else if (local_decode(in, (size_t)len, &m)) {
		say("%c BAD message of %zd bytes", p->name, len);
	} else if (handlers[m.type]) {
		handlers[m.type](p, &m);
	} else {
		say("%c %s", p->name, local_type_name(m.type));
	}
}

void charons_listen(struct charon *p, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, 4))
		err(1, "%s", path);
	p->listener = fd;
}

void charons_accept(struct charon *p)
{
	if (p->fd != -1)
		close(p->fd);
	p->fd = accept(p->listener, NULL, NULL);
}
