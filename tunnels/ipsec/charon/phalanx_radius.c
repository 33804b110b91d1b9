/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <sys/random.h>
#include <time.h>

#include <daemon.h>
#include <collections/array.h>
#include <collections/hashtable.h>
#include <plugins/eap_radius/eap_radius_accounting.h>
#include <threading/mutex.h>

#include "cluster/pack.h"
#include "tunnels/ipsec/charon/phalanx_radius.h"

#define ACCOUNT_MAX (16 * 1024)
#define CLASSES_MAX 64
#define USER_REQUEST 1 /* Acct-Terminate-Cause, RFC 2866 */

typedef struct private_phalanx_radius_t private_phalanx_radius_t;
typedef struct totals_t totals_t;
typedef struct used_t used_t;
typedef struct record_t record_t;
typedef struct accounting_t accounting_t;

/* The next four are eap-radius's. */

struct totals_t {
	uint64_t bytes_out, bytes_in, packets_out, packets_in;
};

/* Of one CHILD SA. */
struct used_t {
	uint32_t child;
	totals_t totals;
};

/* Of one IKE SA. */
struct record_t {
	ike_sa_id_t *id;
	char session[24];
	array_t *classes; /* chunk_t */
	totals_t gone;	  /* of CHILD SAs that are no more */
	array_t *rekeyed; /* used_t, not yet in `gone` */
	array_t *before;  /* used_t, to be subtracted: counted for another session */
	time_t created;
	u_int cause;
	struct {
		uint32_t interval;
		time_t last;
	} interim;
	bool started;
};

struct accounting_t {
	eap_radius_accounting_t public;
	hashtable_t *records; /* by ike_sa_id_t */
	mutex_t *mutex;
	uint32_t prefix; /* of Acct-Session-Ids */
};

struct private_phalanx_radius_t {
	phalanx_radius_t public;
	accounting_t *accounting; /* NULL: there is none */
	void (*add_listener)(bus_t *bus, listener_t *listener);
	void (*remove_listener)(bus_t *bus, listener_t *listener);
};

/* The bus has no place for user data in its methods, and there is one bus. */
static private_phalanx_radius_t *attached;

static bool is_accounting(listener_t *listener)
{
	Dl_info info;

	return listener->alert && listener->assign_vips && listener->children_migrate &&
	       dladdr(listener->children_migrate, &info) && info.dli_fname &&
	       strstr(info.dli_fname, "/libstrongswan-eap-radius.so");
}

/* Acct-Session-Ids begin with the second in which a charon has started. Members start
 * together, and to the server they are one: it needs another difference. */
static void choose_prefix(accounting_t *accounting)
{
	uint32_t prefix;

	if (getrandom(&prefix, sizeof(prefix), 0) == sizeof(prefix))
		accounting->prefix = prefix;
}

static void add_listener(bus_t *bus, listener_t *listener)
{
	if (is_accounting(listener)) {
		attached->accounting = (accounting_t *)listener;
		choose_prefix(attached->accounting);
	}
	attached->add_listener(bus, listener);
}

/* It is destroyed then. */
static void remove_listener(bus_t *bus, listener_t *listener)
{
	if ((accounting_t *)listener == attached->accounting)
		attached->accounting = NULL;
	attached->remove_listener(bus, listener);
}

static void record_destroy(record_t *record)
{
	if (!record)
		return;
	array_destroy_function(record->classes, (void *)chunk_free, NULL);
	array_destroy_function(record->rekeyed, (void *)free, NULL);
	array_destroy_function(record->before, (void *)free, NULL);
	record->id->destroy(record->id);
	free(record);
}

static void add_totals(totals_t *sum, array_t *parts, uint64_t sign)
{
	enumerator_t *enumerator = array_create_enumerator(parts);
	used_t *part;

	while (enumerator->enumerate(enumerator, &part)) {
		sum->bytes_out += sign * part->totals.bytes_out;
		sum->bytes_in += sign * part->totals.bytes_in;
		sum->packets_out += sign * part->totals.packets_out;
		sum->packets_in += sign * part->totals.packets_in;
	}
	enumerator->destroy(enumerator);
}

/* The CHILD SAs that the next owner has are counted there from their beginning, so they are
 * not in here. One that was rekeyed a moment ago is: it goes before it is asked for. */
static void pack_record(struct pack *p, const record_t *record)
{
	totals_t gone = record->gone;
	enumerator_t *enumerator;
	chunk_t *class;

	add_totals(&gone, record->rekeyed, 1);
	add_totals(&gone, record->before, -1);
	pack_blob16(p, record->session,
		    strnlen(record->session, sizeof(record->session)));
	pack_u32(p, record->interim.interval);
	pack_u64(p, gone.bytes_out);
	pack_u64(p, gone.bytes_in);
	pack_u64(p, gone.packets_out);
	pack_u64(p, gone.packets_in);
	pack_u8(p, min(array_count(record->classes), CLASSES_MAX));
	enumerator = array_create_enumerator(record->classes);
	for (u_int i = 0; i < CLASSES_MAX && enumerator->enumerate(enumerator, &class);
	     i++)
		pack_blob16(p, class->ptr, class->len);
	enumerator->destroy(enumerator);
}

METHOD(phalanx_radius_t, get, chunk_t, private_phalanx_radius_t *this, ike_sa_t *ike_sa,
       uint64_t *since)
{
	accounting_t *accounting = this->accounting;
	uint8_t buf[ACCOUNT_MAX];
	struct pack p = pack_to(buf, sizeof(buf));
	record_t *record;

	*since = 0;
	if (!accounting)
		return chunk_empty;
	accounting->mutex->lock(accounting->mutex);
	record = accounting->records->get(accounting->records, ike_sa->get_id(ike_sa));
	if (record && record->started) {
		pack_record(&p, record);
		*since = time(NULL) - (time_monotonic(NULL) - record->created);
	}
	accounting->mutex->unlock(accounting->mutex);
	if (p.bad || p.at == buf)
		return chunk_empty;
	return chunk_clone(chunk_create(buf, p.at - buf));
}

static bool unpack_record(chunk_t account, record_t *record)
{
	struct unpack u = unpack_from(account.ptr, account.len);
	const uint8_t *bytes;
	chunk_t class;
	size_t len;
	u_int n;

	bytes = unpack_blob16(&u, &len);
	if (u.bad || !len || len >= sizeof(record->session))
		return FALSE;
	memcpy(record->session, bytes, len);
	record->interim.interval = unpack_u32(&u);
	record->gone.bytes_out = unpack_u64(&u);
	record->gone.bytes_in = unpack_u64(&u);
	record->gone.packets_out = unpack_u64(&u);
	record->gone.packets_in = unpack_u64(&u);
	for (n = unpack_u8(&u); n && !u.bad; n--) {
		bytes = unpack_blob16(&u, &len);
		if (u.bad)
			break;
		class = chunk_clone(chunk_create((u_char *)bytes, len));
		array_insert_create_value(&record->classes, sizeof(class), ARRAY_TAIL,
					  &class);
	}
	return unpack_done(&u);
}

METHOD(phalanx_radius_t, set, void, private_phalanx_radius_t *this, ike_sa_t *ike_sa,
       chunk_t account, uint64_t since)
{
	accounting_t *accounting = this->accounting;
	listener_t *listener;
	ike_sa_id_t *id = ike_sa->get_id(ike_sa);
	uint64_t wall = time(NULL), age = wall > since ? wall - since : 0;
	time_t now = time_monotonic(NULL);
	record_t *record;

	if (!accounting || !account.len)
		return;
	INIT(record, .id = id->clone(id), .cause = USER_REQUEST,
	     .created = now - (time_t)age, .started = TRUE, );
	if (!unpack_record(account, record)) {
		record_destroy(record);
		return;
	}
	record->interim.last = now;
	if (record->interim.interval)
		record->interim.last -= age % record->interim.interval;
	accounting->mutex->lock(accounting->mutex);
	record = accounting->records->put(accounting->records, record->id, record);
	accounting->mutex->unlock(accounting->mutex);
	record_destroy(record);
	/* As after a rekeying, the next Interim-Update is to be scheduled. */
	listener = &accounting->public.listener;
	listener->ike_rekey(listener, ike_sa, ike_sa);
}

METHOD(phalanx_radius_t, forget, void, private_phalanx_radius_t *this, ike_sa_t *ike_sa)
{
	accounting_t *accounting = this->accounting;
	record_t *record;

	if (!accounting)
		return;
	accounting->mutex->lock(accounting->mutex);
	record = accounting->records->remove(accounting->records, ike_sa->get_id(ike_sa));
	accounting->mutex->unlock(accounting->mutex);
	record_destroy(record);
}

METHOD(phalanx_radius_t, stop, void, private_phalanx_radius_t *this)
{
	if (this->accounting)
		this->remove_listener(charon->bus, &this->accounting->public.listener);
}

METHOD(phalanx_radius_t, destroy, void, private_phalanx_radius_t *this)
{
	if (charon->bus) {
		charon->bus->add_listener = this->add_listener;
		charon->bus->remove_listener = this->remove_listener;
	}
	attached = NULL;
	free(this);
}

phalanx_radius_t *phalanx_radius_create(void)
{
	private_phalanx_radius_t *this;

	INIT(this,
		.public = {
			.get = _get,
			.set = _set,
			.forget = _forget,
			.stop = _stop,
			.destroy = _destroy,
		},
		.add_listener = charon->bus->add_listener,
		.remove_listener = charon->bus->remove_listener,
	);
	attached = this;
	charon->bus->add_listener = add_listener;
	charon->bus->remove_listener = remove_listener;
	return &this->public;
}
