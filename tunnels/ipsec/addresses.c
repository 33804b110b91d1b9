/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual addresses, no one twice in the cluster.
 *
 * An address folds to a work unit, and only the unit's owner hands it out: so the addresses
 * of its units are the chunk of every pool that a member has on lease. It gives from its own
 * chunk; without a free address there it asks the owner of another one, by an errand. A
 * lease is a record of the unit, committed before charon hears of it, so the unit's next
 * owner knows it too.
 *
 * While members are missing, not all addresses are to be had, see shares.c.
 *
 * A lease belongs to an identity and outlives its session: who comes again, at whatever
 * member, has the same address. Which leases are in use, every member can tell from the IKE
 * SAs in the store. What was idle for a while is given to others when nothing else is left,
 * and after a longer while taken back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/log.h"
#include "tunnels/ipsec/engine.h"

#define SCAN_MAX (1u << 20)
#define SCAN_ENOUGH (1u << 16) /* once there is an address that another member may give */
#define SCAN_STEP 8192	       /* addresses looked at in one go, for all who wait */
#define EXHAUSTED_TIME MONO_SEC /* so long a large pool in which none is free rests */
#define IDENTITY_MAX 512
#define SWEEP_MAX 256		  /* leases taken back at a time */
#define TRIES_MAX 8		  /* owners asked for one want */
#define HOME_TIME (200 * MONO_MS) /* so long for a home, which may just have died */
#define ERRANDS_MAX 1024
/* Leases idle for so many sweeps are others' to have; and go. */
#define IDLE_LONG 720

/* So long a login waits for its address, and so many detection intervals: who has just died
 * may be needed for it, and have been the master as well. */
#define WANT_TIME (900 * MONO_MS)
#define WANT_INTERVALS 3

/* Errands; the key is the address. */
#define ERRAND_LEASE 16	  /* remote address, asked for (1), identity */
#define ERRAND_RELEASE 17 /* identity */

struct want {
	struct local_blob identity;
	struct address remote; /* the client's own address */
	bool asks;	       /* for just this virtual address */
};

/* What is found on the way through a pool; family 0: nothing. */
struct choice {
	struct address own, others, own_idle, others_idle, others_unused;
};

/* A client that waits for its address, here or at another member. */
struct waiting_address {
	TAILQ_ENTRY(waiting_address) next;
	bool asked;	      /* the owner was, `ticket` */
	bool again;	      /* this identity uses it already, as its home knows */
	struct mono patience; /* until then its home may take to know it */
	bool foreign;	      /* another member's client, `asker` */
	struct cluster_asker asker;
	unit_id unit;
	uint64_t position;
	uint32_t id, ticket;
	struct address address, base, requested, remote;
	uint32_t count;
	struct mono until;
	bool scanning; /* through the pool; so far it was: */
	uint32_t scanned;
	struct choice choice;
	unsigned tries;
	struct address refused[TRIES_MAX];
	size_t identity_len;
	uint8_t identity[];
};

/* What another member wants; looked after when the core's call has returned. */
struct address_errand {
	TAILQ_ENTRY(address_errand) next;
	struct cluster_asker asker;
	struct session_key key;
	uint8_t what, asks;
	struct address remote;
	size_t identity_len;
	uint8_t identity[];
};

/* Arithmetic: pools are ranges of addresses, whose last 32 bits differ. */

static struct address address_at(const struct address *base, uint32_t i)
{
	struct address out = *base;
	uint64_t carry = i;

	for (size_t at = address_size(base->family); at-- > 0 && carry; carry >>= 8) {
		carry += out.bytes[at];
		out.bytes[at] = (uint8_t)carry;
	}
	return out;
}

/* Whether it is in the range; *i says where. */
static bool index_of(const struct address *base, uint32_t count, const struct address *a,
		     uint32_t *i)
{
	size_t size = address_size(base->family);
	struct address back;

	if (!size || a->family != base->family)
		return false;
	*i = unit_be32(a->bytes + size - 4) - unit_be32(base->bytes + size - 4);
	back = address_at(base, *i);
	return *i < count && address_same(&back, a);
}

static unit_id address_unit(const struct ipsec *t, const struct address *a)
{
	const struct unit_key key = unit_key_read(cluster_fold_key(t->host.cluster));
	uint64_t high = 1, low = unit_be32(a->bytes);

	if (a->family == AF_INET6) {
		high = (uint64_t)unit_be32(a->bytes) << 32 | unit_be32(a->bytes + 4);
		low = (uint64_t)unit_be32(a->bytes + 8) << 32 | unit_be32(a->bytes + 12);
	}
	return unit_fold(&key, high, low);
}

static struct session_key address_key(const struct address *a)
{
	struct session_key key = { .type = RECORD_ADDRESS,
				   .len = (uint8_t)address_size(a->family) };

	memcpy(key.bytes, a->bytes, key.len);
	return key;
}

static struct local_addr to_local(const struct address *a)
{
	struct local_addr out = { .family = a->family == AF_INET6 ? 6 : 4 };

	memcpy(out.bytes, a->bytes, sizeof(out.bytes));
	return out;
}

/* Choosing */

static bool comes_from(const struct ike_sa *sa, const struct address *remote)
{
	struct local_ike_put put;
	struct address host;

	if (!remote->family || !login_read(sa->session, &put))
		return false;
	host = usage_address(&put.remote);
	return address_same(&host, remote);
}

enum state {
	TAKEN,
	UNUSED, /* leased to somebody who does not use it; since when, its owner knows */
	IDLE,	/* who has not used it for a while */
	FREE,
};

/*
 * A client that makes before it breaks still uses its address: it is given again to the
 * same identity at the same place, or if its former IKE SA is about to end.
 */
static enum state state_of(const struct ipsec *t, const struct address *a,
			   const struct want *want)
{
	const struct share *home = share_of(t, a);
	const struct lease *l = lease_find(t, a);
	bool own = l && lease_is_of(l, &want->identity);
	const struct ike_sa *sa = NULL;

	while ((sa = usage_find(t, a, sa)))
		if (!own ||
		    !(sa->ending || (want->asks && comes_from(sa, &want->remote))))
			return TAKEN;
	/* A client may hold an address whose lease was lost, after a partition say. */
	if (!l)
		return home->kept || children_hold(t, a) ? TAKEN : FREE;
	if (own)
		return home->kept && l->parted != PARTED_USED ? TAKEN : FREE;
	if (home->kept || l->parted)
		return TAKEN;
	return lease_is_idle(t, l) ? IDLE : UNUSED;
}

static bool is_refused(const struct waiting_address *w, const struct address *a)
{
	for (unsigned i = 0; i < w->tries; i++)
		if (address_same(&w->refused[i], a))
			return true;
	return false;
}

/* True if it is the best that can be. */
static bool consider(struct ipsec *t, const struct waiting_address *w,
		     const struct address *a, const struct want *want,
		     struct choice *choice, struct mono now)
{
	bool own = cluster_serves(t->host.cluster, address_unit(t, a), now);
	enum state state = is_refused(w, a) ? TAKEN : state_of(t, a, want);
	struct address *place = state == FREE	  ? (own ? &choice->own : &choice->others)
				: state == UNUSED ? &choice->others_unused
				: own		  ? &choice->own_idle
						  : &choice->others_idle;

	if (state != TAKEN && !(state == UNUSED && own) && !place->family)
		*place = *a;
	return state == FREE && own;
}

static bool pick(const struct choice *c, struct address *out)
{
	*out = c->own.family	       ? c->own
	       : c->others.family      ? c->others
	       : c->own_idle.family    ? c->own_idle
	       : c->others_idle.family ? c->others_idle
				       : c->others_unused;
	return out->family;
}

/* What this identity has had before, or asks for. */
static bool choose_known(struct ipsec *t, const struct waiting_address *w,
			 struct address *out, struct mono now)
{
	struct want want = { { w->identity, w->identity_len }, w->remote, false };
	struct choice choice = { 0 };
	struct lease *l = NULL;
	uint32_t i;

	if (index_of(&w->base, w->count, &w->requested, &i)) {
		want.asks = true;
		consider(t, w, &w->requested, &want, &choice, now);
		want.asks = false;
		choice = (struct choice){ .own = choice.own, .others = choice.others };
		/* Another one of its own goes before what it never had. */
		l = lease_find(t, &w->requested);
		if (l && lease_is_of(l, &want.identity) && pick(&choice, out))
			return true;
		l = NULL;
	}
	while ((l = lease_of(t, &want.identity, l))) {
		struct choice former = { 0 };

		if (!index_of(&w->base, w->count, &l->address, &i))
			continue;
		consider(t, w, &l->address, &want, &former, now);
		if (pick(&former, out))
			return true;
	}
	return pick(&choice, out);
}

/* Whether the address is still to be had: what was found a while ago may be gone. */
static bool holds(struct ipsec *t, const struct waiting_address *w,
		  const struct address *a, const struct want *want, struct mono now)
{
	struct choice again = { 0 };
	struct address out;

	consider(t, w, a, want, &again, now);
	return pick(&again, &out);
}

static bool is_exhausted(const struct ipsec *t, const struct waiting_address *w,
			 struct mono now)
{
	return mono_before(now, t->exhausted.until) && t->exhausted.count == w->count &&
	       address_same(&t->exhausted.base, &w->base);
}

/* Everybody begins elsewhere, so that there is a free one soon. -EAGAIN: that was enough for
 * this time. */
static int scan(struct ipsec *t, struct waiting_address *w, const struct want *want,
		struct mono now)
{
	uint64_t start = usage_hash(w->identity, w->identity_len);

	for (; w->scanned < w->count && w->scanned < SCAN_MAX; w->scanned++) {
		struct address a =
		    address_at(&w->base, (uint32_t)((start + w->scanned) % w->count));

		if (!t->scan_budget)
			return -EAGAIN;
		t->scan_budget--;
		if (consider(t, w, &a, want, &w->choice, now) ||
		    (w->scanned >= SCAN_ENOUGH && w->choice.others.family))
			break;
	}
	return 0;
}

/* 0, -ENOENT, or -EAGAIN: to be asked again. */
static int choose(struct ipsec *t, struct waiting_address *w, struct address *out,
		  struct mono now)
{
	const struct want want = { { w->identity, w->identity_len }, w->remote, false };

	if (!w->scanning && choose_known(t, w, out, now))
		return 0;
	if (!w->scanning && is_exhausted(t, w, now))
		return -ENOENT;
	if (!w->scanning) {
		w->scanned = 0;
		w->choice = (struct choice){ 0 };
	}
	w->scanning = scan(t, w, &want, now) == -EAGAIN;
	if (w->scanning) {
		t->scanning = true;
		return -EAGAIN;
	}
	if (!pick(&w->choice, out)) {
		if (w->count > SCAN_STEP && !w->tries) {
			t->exhausted.base = w->base;
			t->exhausted.count = w->count;
			t->exhausted.until = mono_add(now, EXHAUSTED_TIME);
		}
		return -ENOENT;
	}
	return holds(t, w, out, &want, now) ? 0 : -ESTALE;
}

/* Leasing */

/* By the unit's owner. */
static int lease(struct ipsec *t, struct waiting_address *w, struct mono now)
{
	struct session_key key = address_key(&w->address);
	const struct local_blob identity = { w->identity, w->identity_len };
	struct lease *l = lease_find(t, &w->address);
	struct session *s;
	int err;

	w->unit = address_unit(t, &w->address);
	w->again =
	    l && lease_is_of(l, &identity) &&
	    (!share_of(t, &w->address)->there || usage_find(t, &w->address, NULL)) &&
	    share_given(t, &w->address, w->unit, cluster_position(t->host.cluster));
	w->patience = mono_add(now, HOME_TIME);
	err = cluster_put(t->host.cluster, w->unit, &key, w->identity, w->identity_len,
			  NULL, 0, &s, now);
	if (err)
		return err;
	l = lease_note(t, s);
	if (!l)
		return -ENOMEM;
	l->idle = LEASE_FRESH;
	w->position = cluster_position(t->host.cluster);
	w->asked = false;
	t->host.settle(t->host.ctx);
	return 0;
}

static int ask_owner(struct ipsec *t, struct waiting_address *w, struct mono now)
{
	struct session_key key = address_key(&w->address);
	uint8_t what[CLUSTER_ERRAND_MAX];
	struct pack p = pack_to(what, sizeof(what));

	pack_u8(&p, ERRAND_LEASE);
	pack_u8(&p, address_same(&w->address, &w->requested));
	pack_u8(&p, w->remote.family == AF_INET6 ? 6 : w->remote.family ? 4 : 0);
	pack_raw(&p, w->remote.bytes, sizeof(w->remote.bytes));
	pack_raw(&p, w->identity, w->identity_len);
	w->unit = address_unit(t, &w->address);
	w->asked = true;
	return p.bad ? -EMSGSIZE
		     : cluster_ask(t->host.cluster, w->unit, &key, what,
				   (size_t)(p.at - what), &w->ticket, now);
}

/* 0: it waits for a commit or an answer, or is not done. */
static int find(struct ipsec *t, struct waiting_address *w, struct mono now)
{
	for (; w->tries < TRIES_MAX; w->tries++) {
		int err = choose(t, w, &w->address, now);

		if (err == -EAGAIN)
			return 0;
		if (err == -ENOENT)
			return err;
		if (err)
			; /* gone */
		else if (cluster_serves(t->host.cluster, address_unit(t, &w->address),
					now))
			err = lease(t, w, now);
		else
			err = ask_owner(t, w, now);
		if (!err || err == -EINPROGRESS)
			return 0;
		w->refused[w->tries] = w->address;
	}
	return -ENOENT;
}

static void answer(struct ipsec *t, const struct waiting_address *w, bool given,
		   struct mono now)
{
	struct local_message m = { .type = LOCAL_ADDRESS };

	if (w->foreign) {
		cluster_answer(t->host.cluster, &w->asker, given ? 0 : -ESTALE, now);
		return;
	}
	m.address.id = w->id;
	if (given)
		m.address.address = to_local(&w->address);
	plugin_send(t->plugin, &m);
}

static struct waiting_address *waiting_new(const struct ipsec *t, const uint8_t *identity,
					   size_t len, struct mono now)
{
	struct waiting_address *w = calloc(1, sizeof(*w) + len);

	if (!w)
		return NULL;
	w->until = mono_add(now, WANT_TIME + WANT_INTERVALS * t->config.detection);
	w->identity_len = len;
	memcpy(w->identity, identity, len);
	return w;
}

static void none_left(struct ipsec *t, const struct waiting_address *w)
{
	const char *missing = share_missing(t);
	char base[ADDRESS_TEXT_MAX];

	t->statistics.pool_empty++;
	log_warnx("ipsec: the pool from %s on has no free address%s%s",
		  address_print(&w->base, base),
		  missing ? ", but what is kept back for members that are missing, as "
			  : "",
		  missing ? missing : "");
}

/* When its home has had time enough, and at the end. */
static void look_again(struct ipsec *t, const struct waiting_address *w, struct mono now)
{
	bool patient = !w->asked && !w->scanning && mono_before(now, w->patience);

	t->addresses_at = mono_min(t->addresses_at, patient ? w->patience : w->until);
}

void address_want(struct ipsec *t, const struct local_address_want *want, struct mono now)
{
	struct waiting_address *w = NULL, none = { .id = want->id };

	if (want->count && want->base.family && want->identity.len <= IDENTITY_MAX)
		w = waiting_new(t, want->identity.bytes, want->identity.len, now);
	if (!w) {
		answer(t, &none, false, now);
		return;
	}
	w->id = want->id;
	w->base = usage_address(&want->base);
	w->requested = usage_address(&want->requested);
	w->remote = usage_address(&want->remote);
	w->count = want->count;
	share_look(t, now);
	if (find(t, w, now)) {
		none_left(t, w);
		answer(t, w, false, now);
		free(w);
		return;
	}
	TAILQ_INSERT_TAIL(&t->addresses, w, next);
	look_again(t, w, now);
}

/* Of an address that this member gives. -EAGAIN: its home may give it beyond a cut. */
static int progress_here(struct ipsec *t, const struct waiting_address *w,
			 struct mono now)
{
	const struct share *home = share_of(t, &w->address);
	bool given =
	    w->again || (home->there ? share_given(t, &w->address, w->unit, w->position)
				     : !home->kept);

	if (!unit_set_has(&t->units, w->unit))
		return -ESTALE;
	if (!mono_before(now, w->until))
		return -ETIMEDOUT;
	if (!given && (!home->there || !mono_before(now, w->patience)))
		return w->foreign || w->tries == TRIES_MAX ? -ESTALE : -EAGAIN;
	return given && cluster_committed(t->host.cluster, w->unit, w->position)
		   ? 0
		   : -EINPROGRESS;
}

/* -EINPROGRESS: it waits on. 0: it has its address. */
static int progress(struct ipsec *t, struct waiting_address *w, struct mono now)
{
	int rc;

	if (w->scanning && !mono_before(now, w->until))
		return -ETIMEDOUT;
	if (w->scanning)
		return find(t, w, now) ? -ENOENT : -EINPROGRESS;
	if (!w->asked) {
		rc = progress_here(t, w, now);
		if (rc != -EAGAIN)
			return rc;
		w->refused[w->tries++] = w->address;
		return find(t, w, now) ? -ENOENT : -EINPROGRESS;
	}
	rc = cluster_result(t->host.cluster, w->ticket);
	if (rc == 0 || (rc == -EINPROGRESS && mono_before(now, w->until)))
		return rc;
	/* Another one has it, or its unit has gone elsewhere. */
	if (!mono_before(now, w->until) || w->tries == TRIES_MAX)
		return -ETIMEDOUT;
	w->refused[w->tries++] = w->address;
	return find(t, w, now) ? -ENOENT : -EINPROGRESS;
}

/* Errands of other members */

static void serve_errand(struct ipsec *t, struct address_errand *e, struct mono now)
{
	struct want want = { { e->identity, e->identity_len }, e->remote, e->asks };
	struct waiting_address *w;
	struct address a = { .family = e->key.len == 4 ? AF_INET : AF_INET6 };
	enum state state;
	struct lease *l;
	int rc = -EEXIST;

	memcpy(a.bytes, e->key.bytes, e->key.len);
	if (!cluster_serves(t->host.cluster, address_unit(t, &a), now)) {
		cluster_answer(t->host.cluster, &e->asker, -ESTALE, now);
		return;
	}
	if (e->what == ERRAND_RELEASE) {
		l = lease_find(t, &a);
		if (l && lease_is_of(l, &want.identity))
			address_idle(t, l);
		cluster_answer(t->host.cluster, &e->asker, 0, now);
		return;
	}
	w = waiting_new(t, e->identity, e->identity_len, now);
	state = state_of(t, &a, &want);
	if (w && (state == FREE || state == IDLE)) {
		w->foreign = true;
		w->asker = e->asker;
		w->address = a;
		rc = lease(t, w, now);
	}
	if (rc) {
		free(w);
		cluster_answer(t->host.cluster, &e->asker, rc, now);
	} else {
		TAILQ_INSERT_TAIL(&t->addresses, w, next);
	}
}

int address_asked(struct ipsec *t, const struct cluster_asker *asker,
		  const struct session_key *key, const uint8_t *what, size_t len)
{
	struct unpack u = unpack_from(what, len);
	struct address_errand *e;
	const uint8_t *remote;
	uint8_t kind = unpack_u8(&u), asks = 0, family = 0;

	if (kind != ERRAND_LEASE && kind != ERRAND_RELEASE)
		return -EOPNOTSUPP;
	if (kind == ERRAND_LEASE) {
		asks = unpack_u8(&u);
		family = unpack_u8(&u);
	}
	remote = kind == ERRAND_LEASE ? unpack_raw(&u, 16) : what;
	if (u.bad || key->type != RECORD_ADDRESS || (key->len != 4 && key->len != 16) ||
	    asks > 1 || unpack_left(&u) > IDENTITY_MAX)
		return -EINVAL;
	if (t->nerrands == ERRANDS_MAX)
		return -EBUSY;
	e = calloc(1, sizeof(*e) + unpack_left(&u));
	if (!e)
		return -EBUSY;
	e->asker = *asker;
	e->key = *key;
	e->what = kind;
	e->asks = asks;
	e->remote.family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : 0;
	if (e->remote.family)
		memcpy(e->remote.bytes, remote, address_size(e->remote.family));
	e->identity_len = unpack_left(&u);
	memcpy(e->identity, unpack_raw(&u, e->identity_len), e->identity_len);
	TAILQ_INSERT_TAIL(&t->errands, e, next);
	t->nerrands++;
	return -EINPROGRESS;
}

static struct address_errand *take_errand(struct ipsec *t)
{
	struct address_errand *e = TAILQ_FIRST(&t->errands);

	if (e) {
		TAILQ_REMOVE(&t->errands, e, next);
		t->nerrands--;
	}
	return e;
}

void address_answer(struct ipsec *t, struct mono now)
{
	struct waiting_address *w, *next;
	struct address_errand *e;

	share_look(t, now);
	while ((e = take_errand(t))) {
		serve_errand(t, e, now);
		free(e);
	}
	t->addresses_at = MONO_NEVER;
	for (w = TAILQ_FIRST(&t->addresses); w; w = next) {
		int rc = progress(t, w, now);

		next = TAILQ_NEXT(w, next);
		if (rc == -EINPROGRESS) {
			look_again(t, w, now);
			continue;
		}
		if (rc == -ENOENT && !w->foreign)
			none_left(t, w);
		answer(t, w, rc == 0, now);
		TAILQ_REMOVE(&t->addresses, w, next);
		free(w);
	}
}

struct mono address_timeout(const struct ipsec *t)
{
	return t->scanning ? t->host.now(t->host.ctx) : t->addresses_at;
}

void address_tick(struct ipsec *t, struct mono now)
{
	t->scan_budget = SCAN_STEP;
	share_look(t, now);
	if (!t->scanning && mono_before(now, t->addresses_at))
		return;
	t->scanning = false;
	address_answer(t, now);
}

void address_forget(struct ipsec *t, bool clients_only)
{
	struct waiting_address *w, *next;
	struct address_errand *e;

	for (w = TAILQ_FIRST(&t->addresses); w; w = next) {
		next = TAILQ_NEXT(w, next);
		if (clients_only && w->foreign)
			continue;
		TAILQ_REMOVE(&t->addresses, w, next);
		free(w);
	}
	while (!clients_only && (e = take_errand(t)))
		free(e);
}

/* Coming back */

/*
 * One that is just leased belongs to a login that is under way. And whoever may be beyond a
 * cut that nobody has noticed yet has not heard of the end.
 */
void address_idle(struct ipsec *t, struct lease *l)
{
	if (!t->config.address_hold_back && l->idle != LEASE_FRESH &&
	    !usage_find(t, &l->address, NULL))
		l->idle = LEASE_IDLE + (unsigned)(t->config.detection / MONO_SEC);
}

void address_release(struct ipsec *t, const struct local_address_release *r,
		     struct mono now)
{
	struct address a = usage_address(&r->address);
	struct session_key key = address_key(&a);
	unit_id unit = a.family ? address_unit(t, &a) : 0;
	uint8_t what[1 + IDENTITY_MAX] = { ERRAND_RELEASE };
	struct lease *l = lease_find(t, &a);
	uint32_t ticket;

	if (!a.family || r->identity.len > IDENTITY_MAX || !l ||
	    !lease_is_of(l, &r->identity))
		return;
	address_idle(t, l);
	memcpy(what + 1, r->identity.bytes, r->identity.len);
	/* Without an answer its owner finds out by itself. */
	if (!unit_set_has(&t->units, unit))
		cluster_ask(t->host.cluster, unit, &key, what, 1 + r->identity.len,
			    &ticket, now);
}

/* An address belongs to one unit, whose owner alone writes about it. */
void address_shadow(struct ipsec *t, struct session *s)
{
	const struct session_key *key = session_key(s);
	struct address a = { .family = key->len == 4 ? AF_INET : AF_INET6 };

	if (key->len == 4 || key->len == 16)
		memcpy(a.bytes, key->bytes, key->len);
	if ((key->len != 4 && key->len != 16) || address_unit(t, &a) != session_unit(s))
		t->statistics.records_bad++;
	else
		lease_note(t, s);
}

/* Covers the pool's range with prefixes. */
void address_pool(struct ipsec *t, const struct local_pool *pool)
{
	const struct address base = usage_address(&pool->base);
	uint64_t i = 0;

	if (!base.family)
		return;
	while (i < pool->count) {
		struct address from = address_at(&base, (uint32_t)i);
		size_t size = address_size(base.family);
		uint64_t low = unit_be32(from.bytes + size - 4);
		unsigned bits = 0;

		while (bits < 31 && !(low & (UINT64_C(1) << bits)) &&
		       i + (UINT64_C(2) << bits) <= pool->count)
			bits++;
		t->host.pool_add(t->host.ctx, &from, (unsigned)size * 8 - bits);
		i += UINT64_C(1) << bits;
	}
}

void address_sweep(struct ipsec *t, struct mono now)
{
	struct session *stale[SWEEP_MAX];
	unsigned n = 0;
	struct lease *l;

	for (unsigned i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(l, &t->leases[i], by_address) {
			if (usage_find(t, &l->address, NULL)) {
				l->idle = LEASE_USED;
				l->used = true;
			} else if (l->idle < IDLE_LONG)
				l->idle++;
			else if (n < SWEEP_MAX && !l->parted &&
				 unit_set_has(&t->units, session_unit(l->session)))
				stale[n++] = l->session;
		}
	for (unsigned i = 0; i < n; i++) {
		l = session_user(stale[i]);
		session_set_user(stale[i], NULL);
		lease_free(l);
		cluster_remove(t->host.cluster, stale[i], now);
	}
	address_answer(t, now);
}
