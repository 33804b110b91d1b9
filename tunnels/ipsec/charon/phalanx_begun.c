/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <daemon.h>
#include <encoding/payloads/ke_payload.h>
#include <encoding/payloads/nonce_payload.h>
#include <encoding/payloads/notify_payload.h>
#include <encoding/payloads/sa_payload.h>
#include <encoding/payloads/ts_payload.h>
#include <sa/ikev2/tasks/child_create.h>

#include "tunnels/ipsec/charon/phalanx_begun.h"
#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_half.h"
#include "tunnels/ipsec/charon/phalanx_kernel.h"

#define BEGUN_VERSION 2
#define BEGUN_MAX 512
#define MODP_SECRET 64 /* twice what the largest group is worth */
#define SECRET_MAX 66

typedef struct private_phalanx_begun_t private_phalanx_begun_t;
typedef struct begun_t begun_t;
typedef struct chosen_t chosen_t;
typedef struct resumed_t resumed_t;

/* Chunks point into the decoded bytes. SPIs are in host byte order; 0: none. */
struct begun_t {
	uint64_t ike; /* the new IKE SA's */
	uint32_t child, rekeyed;
	chunk_t name;	    /* of a further CHILD SA, which replaces none */
	uint64_t selectors; /* a digest of those that are proposed for it */
	chunk_t nonce, secret;
	uint16_t method;
};

/* The last key exchange whose secret this thread has chosen. */
struct chosen_t {
	key_exchange_method_t method; /* KE_NONE: there is none */
	chunk_t public;
	size_t len;
	uint8_t secret[SECRET_MAX];
};

/* What the calling thread is to begin once more. */
struct resumed_t {
	begun_t begun;
	struct local_blob bytes;
	bool same; /* charon's request is the former owner's in all that counts */
};

struct private_phalanx_begun_t {
	phalanx_begun_t public;
	phalanx_link_t *link;
	phalanx_units_t *units;
	phalanx_sessions_t *sessions;
	nonce_gen_t *(*create_nonce_gen)(crypto_factory_t *this);
	key_exchange_t *(*create_ke)(crypto_factory_t *this, key_exchange_method_t method,
				     ...);
};

/* The methods have no place for user data, and there is one charon. */
static private_phalanx_begun_t *attached;

static __thread chosen_t chosen;
static __thread resumed_t *resumed;

static void forget_chosen(void)
{
	chunk_free(&chosen.public);
	memwipe(&chosen, sizeof(chosen));
	chosen.method = KE_NONE;
}

/* 0: nobody can choose the secret of such an exchange. */
static size_t secret_size(key_exchange_method_t method)
{
	switch (method) {
	case ECP_192_BIT:
		return 24;
	case ECP_224_BIT:
	case ECP_224_BP:
		return 28;
	case ECP_256_BIT:
	case ECP_256_BP:
	case CURVE_25519:
		return 32;
	case ECP_384_BIT:
	case ECP_384_BP:
		return 48;
	case ECP_521_BIT:
		return 66;
	case ECP_512_BP:
		return 64;
	case CURVE_448:
		return 56;
	case MODP_1024_BIT:
	case MODP_1536_BIT:
	case MODP_2048_BIT:
	case MODP_3072_BIT:
	case MODP_4096_BIT:
	case MODP_6144_BIT:
	case MODP_8192_BIT:
	case MODP_2048_224:
	case MODP_2048_256:
		return MODP_SECRET;
	default:
		return 0;
	}
}

static bool random_secret(key_exchange_method_t method, uint8_t *secret, size_t len)
{
	rng_t *rng = lib->crypto->create_rng(lib->crypto, RNG_STRONG);
	bool got = rng && rng->get_bytes(rng, len, secret);

	DESTROY_IF(rng);
	/* Below the order of any curve's group; Montgomery's curves take all numbers. */
	if (method == ECP_521_BIT)
		secret[0] = 0;
	else if (method != CURVE_25519 && method != CURVE_448)
		secret[0] &= 0x7f;
	return got;
}

/* Gives the exchange a secret that is known here: `given`, or one of its own. */
static bool choose(key_exchange_t *ke, key_exchange_method_t method, chunk_t given)
{
	size_t len = secret_size(method);

	forget_chosen();
	if (!len || (given.len && given.len != len))
		return FALSE;
	if (given.len)
		memcpy(chosen.secret, given.ptr, len);
	else if (!random_secret(method, chosen.secret, len))
		return FALSE;
	if (!ke->set_private_key || /* libcharon lets a method be without */
	    !ke->set_private_key(ke, chunk_create(chosen.secret, len)) ||
	    !ke->get_public_key(ke, &chosen.public)) {
		forget_chosen();
		return FALSE;
	}
	chosen.method = method;
	chosen.len = len;
	return TRUE;
}

/* Whether the calling thread works on an IKE SA that is established: what it makes may be
 * for a rekeying. */
static bool is_established(void)
{
	ike_sa_t *ike_sa = charon->bus->get_sa(charon->bus);

	return ike_sa && ike_sa->get_version(ike_sa) == IKEV2 &&
	       ike_sa->get_state(ike_sa) != IKE_CREATED &&
	       ike_sa->get_state(ike_sa) != IKE_CONNECTING;
}

static key_exchange_t *create_ke(crypto_factory_t *factory, key_exchange_method_t method,
				 ...)
{
	key_exchange_t *ke;
	chunk_t g, p;

	if (method == MODP_CUSTOM) {
		VA_ARGS_GET(method, g, p);
		return attached->create_ke(factory, method, g, p);
	}
	ke = attached->create_ke(factory, method);
	if (!ke)
		return NULL;
	if (resumed && resumed->begun.method == method)
		choose(ke, method, resumed->begun.secret);
	else if (!resumed && secret_size(method) && is_established() &&
		 !choose(ke, method, chunk_empty)) {
		/* It may have lost its own secret. */
		ke->destroy(ke);
		ke = attached->create_ke(factory, method);
	}
	return ke;
}

static nonce_gen_t *create_nonce_gen(crypto_factory_t *factory)
{
	if (resumed)
		return phalanx_given_nonce(resumed->begun.nonce);
	return attached->create_nonce_gen(factory);
}

/* The new SA's SPI. */
static bool read_spi(message_t *message, begun_t *begun)
{
	sa_payload_t *payload;
	linked_list_t *proposals;
	proposal_t *proposal;
	protocol_id_t protocol = PROTO_NONE;

	payload =
	    (sa_payload_t *)message->get_payload(message, PLV2_SECURITY_ASSOCIATION);
	if (!payload)
		return FALSE;
	proposals = payload->get_proposals(payload);
	if (proposals->get_first(proposals, (void **)&proposal) == SUCCESS) {
		protocol = proposal->get_protocol(proposal);
		if (protocol == PROTO_IKE)
			begun->ike = be64toh(proposal->get_spi(proposal));
		else if (protocol == PROTO_ESP)
			begun->child = ntohl(proposal->get_spi(proposal));
	}
	proposals->destroy_offset(proposals, offsetof(proposal_t, destroy));
	return begun->ike || begun->child;
}

/* Of the CHILD SA that is about to be asked for; empty: of none. */
static chunk_t child_name(ike_sa_t *ike_sa)
{
	enumerator_t *enumerator =
	    ike_sa->create_task_enumerator(ike_sa, TASK_QUEUE_ACTIVE);
	child_sa_t *child_sa = NULL;
	task_t *task;

	while (!child_sa && enumerator->enumerate(enumerator, &task))
		if (task->get_type(task) == TASK_CHILD_CREATE)
			child_sa =
			    ((child_create_t *)task)->get_child((child_create_t *)task);
	enumerator->destroy(enumerator);
	return child_sa ? chunk_from_str(child_sa->get_name(child_sa)) : chunk_empty;
}

static uint64_t digest_selectors(message_t *message, payload_type_t type)
{
	static u_char key[16] = "phalanx";
	ts_payload_t *payload = (ts_payload_t *)message->get_payload(message, type);
	linked_list_t *selectors;
	enumerator_t *enumerator;
	uint64_t digest;
	chunk_t list;

	if (!payload)
		return 0;
	selectors = payload->get_traffic_selectors(payload);
	enumerator = selectors->create_enumerator(selectors);
	list = phalanx_selectors(enumerator);
	enumerator->destroy(enumerator);
	selectors->destroy_offset(selectors, offsetof(traffic_selector_t, destroy));
	digest = chunk_mac(list, key);
	chunk_free(&list);
	return digest;
}

static void read_further(ike_sa_t *ike_sa, message_t *message, begun_t *begun)
{
	begun->name = child_name(ike_sa);
	begun->selectors = digest_selectors(message, PLV2_TS_INITIATOR) ^
			   digest_selectors(message, PLV2_TS_RESPONDER) << 1;
}

/* FALSE if what it begins is not known here, or the secret of that. */
static bool read_request(ike_sa_t *ike_sa, message_t *message, begun_t *begun)
{
	notify_payload_t *notify = message->get_notify(message, REKEY_SA);
	nonce_payload_t *nonce =
	    (nonce_payload_t *)message->get_payload(message, PLV2_NONCE);
	ke_payload_t *ke =
	    (ke_payload_t *)message->get_payload(message, PLV2_KEY_EXCHANGE);

	if (!nonce || !read_spi(message, begun))
		return FALSE;
	if (notify && notify->get_protocol_id(notify) != PROTO_ESP)
		return FALSE;
	if (notify)
		begun->rekeyed = ntohl(notify->get_spi(notify));
	else if (begun->child)
		read_further(ike_sa, message, begun);
	if (begun->child && !begun->rekeyed && !begun->name.len)
		return FALSE;
	if (ke) {
		if (ke->get_key_exchange_method(ke) != chosen.method ||
		    !chunk_equals(ke->get_key_exchange_data(ke), chosen.public))
			return FALSE;
		begun->method = chosen.method;
		begun->secret = chunk_create(chosen.secret, chosen.len);
	}
	begun->nonce = nonce->get_nonce(nonce);
	return TRUE;
}

static size_t encode(const begun_t *begun, uint8_t *buf, size_t size)
{
	struct pack p = pack_to(buf, size);

	pack_u8(&p, BEGUN_VERSION);
	pack_u64(&p, begun->ike);
	pack_u32(&p, begun->child);
	pack_u32(&p, begun->rekeyed);
	pack_blob16(&p, begun->name.ptr, begun->name.len);
	pack_u64(&p, begun->selectors);
	pack_blob16(&p, begun->nonce.ptr, begun->nonce.len);
	pack_u16(&p, begun->method);
	pack_blob16(&p, begun->secret.ptr, begun->secret.len);
	return p.bad ? 0 : p.at - buf;
}

static chunk_t get_chunk(struct unpack *u)
{
	size_t len;
	const uint8_t *bytes = unpack_blob16(u, &len);

	return chunk_create((u_char *)bytes, len);
}

static bool decode(struct local_blob bytes, begun_t *begun)
{
	struct unpack u = unpack_from(bytes.bytes, bytes.len);

	if (unpack_u8(&u) != BEGUN_VERSION)
		return FALSE;
	begun->ike = unpack_u64(&u);
	begun->child = unpack_u32(&u);
	begun->rekeyed = unpack_u32(&u);
	begun->name = get_chunk(&u);
	begun->selectors = unpack_u64(&u);
	begun->nonce = get_chunk(&u);
	begun->method = unpack_u16(&u);
	begun->secret = get_chunk(&u);
	return unpack_done(&u) && !begun->ike != !begun->child;
}

static void report(private_phalanx_begun_t *this, ike_sa_t *ike_sa, message_t *message)
{
	struct local_message m = { .type = LOCAL_IKE_BEGUN };
	uint8_t buf[BEGUN_MAX];
	begun_t begun = { 0 };
	size_t len = 0;

	if (read_request(ike_sa, message, &begun))
		len = encode(&begun, buf, sizeof(buf));
	if (len && resumed) {
		resumed->same = len == resumed->bytes.len &&
				memeq_const(buf, resumed->bytes.bytes, len);
	} else if (len) {
		m.ike_begun.spi = phalanx_own_spi(ike_sa);
		m.ike_begun.mid = message->get_message_id(message);
		m.ike_begun.ike = begun.ike;
		m.ike_begun.child = begun.child;
		m.ike_begun.state = (struct local_blob){ buf, len };
		this->link->send(this->link, &m);
	}
	memwipe(buf, sizeof(buf));
	chunk_clear(&begun.nonce);
	forget_chosen();
}

METHOD(listener_t, message_, bool, private_phalanx_begun_t *this, ike_sa_t *ike_sa,
       message_t *message, bool incoming, bool plain)
{
	if (!incoming && plain && message->get_request(message) &&
	    message->get_exchange_type(message) == CREATE_CHILD_SA)
		report(this, ike_sa, message);
	else if (!incoming)
		forget_chosen();
	return TRUE;
}

static status_t begin_child(ike_sa_t *ike_sa, const begun_t *begun)
{
	child_cfg_t *config;

	if (begun->rekeyed)
		return ike_sa->rekey_child_sa(ike_sa, PROTO_ESP, htonl(begun->rekeyed));
	config = phalanx_child_config(ike_sa->get_peer_cfg(ike_sa), begun->name);
	if (!config)
		return FAILED;
	return ike_sa->initiate(ike_sa, config->get_ref(config), NULL);
}

METHOD(phalanx_begun_t, resume, bool, private_phalanx_begun_t *this, ike_sa_t *ike_sa,
       uint32_t mid, struct local_blob bytes)
{
	resumed_t what = { .bytes = bytes };
	status_t status;

	if (!decode(bytes, &what.begun))
		return FALSE;
	ike_sa->set_message_id(ike_sa, TRUE, mid);
	resumed = &what;
	if (what.begun.ike) {
		this->units->force(this->units, what.begun.ike);
		status = ike_sa->rekey(ike_sa);
		this->units->force(this->units, 0);
	} else {
		phalanx_kernel_force(htonl(what.begun.child));
		status = begin_child(ike_sa, &what.begun);
		phalanx_kernel_force(0);
	}
	resumed = NULL;
	if (status == SUCCESS && what.same)
		DBG1(DBG_IKE, "going on with a CREATE_CHILD_SA exchange that another "
			      "member has begun");
	else
		DBG1(DBG_IKE, "a CREATE_CHILD_SA exchange that another member has begun "
			      "would be another one here, leaving it");
	return status == SUCCESS && what.same;
}

METHOD(phalanx_begun_t, awaits, bool, private_phalanx_begun_t *this, uint64_t spi,
       uint32_t mid)
{
	ike_sa_manager_t *manager = charon->ike_sa_manager;
	ike_sa_id_t *id = this->sessions->find(this->sessions, spi);
	ike_sa_t *ike_sa = id ? manager->checkout(manager, id) : NULL;
	bool awaited = FALSE;

	if (ike_sa) {
		awaited = ike_sa->get_message_id(ike_sa, TRUE) == mid;
		manager->checkin(manager, ike_sa);
	}
	DESTROY_IF(id);
	return awaited;
}

METHOD(phalanx_begun_t, attach, void, private_phalanx_begun_t *this)
{
	attached = this;
	this->create_nonce_gen = lib->crypto->create_nonce_gen;
	lib->crypto->create_nonce_gen = create_nonce_gen;
	this->create_ke = lib->crypto->create_ke;
	lib->crypto->create_ke = create_ke;
	charon->bus->add_listener(charon->bus, &this->public.listener);
}

METHOD(phalanx_begun_t, detach, void, private_phalanx_begun_t *this)
{
	charon->bus->remove_listener(charon->bus, &this->public.listener);
	if (attached == this) {
		lib->crypto->create_nonce_gen = this->create_nonce_gen;
		lib->crypto->create_ke = this->create_ke;
	}
}

METHOD(phalanx_begun_t, destroy, void, private_phalanx_begun_t *this)
{
	free(this);
}

phalanx_begun_t *phalanx_begun_create(phalanx_link_t *link, phalanx_units_t *units,
				      phalanx_sessions_t *sessions)
{
	private_phalanx_begun_t *this;

	INIT(this,
		.public = {
			.listener = {
				.message = _message_,
			},
			.attach = _attach,
			.detach = _detach,
			.resume = _resume,
			.awaits = _awaits,
			.destroy = _destroy,
		},
		.link = link,
		.units = units,
		.sessions = sessions,
	);
	return &this->public;
}
