/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glob.h>
#include <libgen.h>
#include <sys/stat.h>

#include <daemon.h>
#include <collections/hashtable.h>
#include <processing/jobs/callback_job.h>
#include <threading/mutex.h>
#include <threading/rwlock.h>

#include "tunnels/ipsec/charon/phalanx_convert.h"
#include "tunnels/ipsec/charon/phalanx_pools.h"

#define WANT_TIMEOUT_MS 20000 /* phalanxd says before that there is none */
#define CHECK_INTERVAL_S 2
#define HOST_BITS_MAX 31

typedef struct private_phalanx_pools_t private_phalanx_pools_t;
typedef struct pool_t pool_t;

struct pool_t {
	char *name;
	struct local_addr base;
	uint32_t count;
	uint64_t digest;
};

struct private_phalanx_pools_t {
	phalanx_pools_t public;
	phalanx_link_t *link;
	char *path;
	rwlock_t *lock;
	hashtable_t *pools; /* pool_t by name */
	mutex_t *refreshing;
	uint64_t stamp; /* of the files that were read */
	host_t *(*acquire_address)(attribute_manager_t *this, linked_list_t *pools,
				   ike_sa_t *ike_sa, host_t *requested);
	bool (*release_address)(attribute_manager_t *this, linked_list_t *pools,
				host_t *address, ike_sa_t *ike_sa);
};

/* The manager has no place for user data in its methods, and there is one manager. */
static private_phalanx_pools_t *attached;

static void pool_destroy(pool_t *pool, const void *key)
{
	free(pool->name);
	free(pool);
}

static bool range_pool(pool_t *pool, host_t *from, host_t *to)
{
	chunk_t a = from->get_address(from), b = to->get_address(to);
	size_t at = a.len - sizeof(uint32_t);

	if (a.len != b.len || chunk_compare(a, b) > 0)
		return FALSE;
	pool->base = phalanx_addr(from);
	pool->count = UINT32_MAX;
	if (memeq(a.ptr, b.ptr, at))
		pool->count = untoh32(b.ptr + at) - untoh32(a.ptr + at);
	if (pool->count < UINT32_MAX)
		pool->count++;
	return TRUE;
}

/* Without the first and the last address, which hosts use for the network. */
static void subnet_pool(pool_t *pool, host_t *net, int bits)
{
	chunk_t address = net->get_address(net);
	u_int i, host_bits;

	pool->base = phalanx_addr(net);
	host_bits = address.len * 8 - min((int)address.len * 8, bits);
	for (i = 0; i < address.len * 8; i++)
		if (i >= address.len * 8 - host_bits)
			pool->base.bytes[i / 8] &= ~(0x80 >> (i % 8));
	pool->count = host_bits > HOST_BITS_MAX ? UINT32_MAX : 1U << host_bits;
	if (host_bits > 1) {
		pool->base.bytes[address.len - 1] |= 1;
		pool->count -= 2;
	}
	pool->base.port = 0;
}

static pool_t *parse_pool(char *name, char *addrs)
{
	host_t *from = NULL, *to = NULL;
	bool parsed = FALSE;
	pool_t *pool;
	int bits;

	INIT(pool, .name = strdup(name), );
	if (addrs && host_create_from_range(addrs, &from, &to))
		parsed = range_pool(pool, from, to);
	else if (addrs && (from = host_create_from_subnet(addrs, &bits))) {
		subnet_pool(pool, from, bits);
		parsed = TRUE;
	}
	DESTROY_IF(from);
	DESTROY_IF(to);
	if (!parsed) {
		DBG1(DBG_CFG, "pool '%s' has no usable addresses '%s'", name,
		     addrs ?: "");
		pool_destroy(pool, NULL);
		return NULL;
	}
	return pool;
}

/* The order of its lines does not count. */
static uint64_t digest_of(settings_t *settings, char *name)
{
	static u_char key[16] = "phalanx pool";
	enumerator_t *enumerator;
	char *option, *value;
	uint64_t digest = 1;
	chunk_t line;

	enumerator = settings->create_key_value_enumerator(settings, "pools.%s", name);
	while (enumerator->enumerate(enumerator, &option, &value)) {
		line = chunk_cat("ccc", chunk_from_str(option), chunk_from_chars('='),
				 chunk_from_str(value));
		digest += chunk_mac(line, key);
		free(line.ptr);
	}
	enumerator->destroy(enumerator);
	return digest;
}

static void load(private_phalanx_pools_t *this)
{
	settings_t *settings = settings_create(this->path);
	enumerator_t *enumerator;
	hashtable_t *pools, *old;
	pool_t *pool;
	char *name;

	if (!settings)
		return;
	pools = hashtable_create(hashtable_hash_str, hashtable_equals_str, 8);
	enumerator = settings->create_section_enumerator(settings, "pools");
	while (enumerator->enumerate(enumerator, &name)) {
		pool = parse_pool(
		    name, settings->get_str(settings, "pools.%s.addrs", NULL, name));
		if (pool)
			pool->digest = digest_of(settings, name);
		if (pool && (pool = pools->put(pools, pool->name, pool)))
			pool_destroy(pool, NULL);
	}
	enumerator->destroy(enumerator);
	settings->destroy(settings);
	this->lock->write_lock(this->lock);
	old = this->pools;
	this->pools = pools;
	this->lock->unlock(this->lock);
	old->destroy_function(old, (void *)pool_destroy);
}

METHOD(phalanx_pools_t, announce, void, private_phalanx_pools_t *this)
{
	struct local_message m = { .type = LOCAL_POOL };
	enumerator_t *enumerator;
	pool_t *pool;

	this->lock->read_lock(this->lock);
	enumerator = this->pools->create_enumerator(this->pools);
	while (enumerator->enumerate(enumerator, NULL, &pool)) {
		m.pool.name = phalanx_blob(chunk_from_str(pool->name));
		m.pool.base = pool->base;
		m.pool.count = pool->count;
		this->link->send(this->link, &m);
	}
	enumerator->destroy(enumerator);
	this->lock->unlock(this->lock);
}

static uint64_t mix(uint64_t stamp, const char *path)
{
	struct stat st;

	if (stat(path, &st) == -1)
		return stamp * 31 + 1;
	return ((stamp * 31 + st.st_mtim.tv_sec) * 31 + st.st_mtim.tv_nsec) * 31 +
	       st.st_size;
}

/* Changes when swanctl.conf or a file in conf.d, which it includes by default, does. */
static uint64_t files_stamp(private_phalanx_pools_t *this)
{
	uint64_t stamp = mix(0, this->path);
	char *copy = strdup(this->path), pattern[PATH_MAX];
	glob_t files;
	size_t i;

	snprintf(pattern, sizeof(pattern), "%s/conf.d/*.conf", dirname(copy));
	free(copy);
	if (glob(pattern, 0, NULL, &files) == 0) {
		for (i = 0; i < files.gl_pathc; i++)
			stamp = mix(stamp, files.gl_pathv[i]);
		globfree(&files);
	}
	return stamp;
}

static void refresh(private_phalanx_pools_t *this)
{
	uint64_t stamp;

	this->refreshing->lock(this->refreshing);
	stamp = files_stamp(this);
	if (stamp != this->stamp) {
		this->stamp = stamp;
		load(this);
		announce(this);
	}
	this->refreshing->unlock(this->refreshing);
}

static job_requeue_t check_files(private_phalanx_pools_t *this)
{
	refresh(this);
	return JOB_RESCHEDULE(CHECK_INTERVAL_S);
}

static bool look_up(private_phalanx_pools_t *this, const char *name, pool_t *copy)
{
	pool_t *pool;

	this->lock->read_lock(this->lock);
	pool = this->pools->get(this->pools, name);
	if (pool)
		*copy = *pool;
	this->lock->unlock(this->lock);
	return pool != NULL;
}

METHOD(phalanx_pools_t, digest, uint64_t, private_phalanx_pools_t *this, const char *name)
{
	pool_t pool;

	return look_up(this, name, &pool) ? pool.digest : 0;
}

/* swanctl may have loaded a pool that the files tell of since a moment. */
static bool find_pool(private_phalanx_pools_t *this, const char *name, pool_t *copy)
{
	if (look_up(this, name, copy))
		return TRUE;
	refresh(this);
	return look_up(this, name, copy);
}

static host_t *want(private_phalanx_pools_t *this, char *name, pool_t *pool,
		    ike_sa_t *ike_sa, host_t *requested)
{
	struct local_message m = { .type = LOCAL_ADDRESS_WANT }, answer;
	chunk_t identity = phalanx_identity(ike_sa->get_other_eap_id(ike_sa));
	host_t *address = NULL;

	m.address_want.pool = phalanx_blob(chunk_from_str(name));
	m.address_want.base = pool->base;
	m.address_want.count = pool->count;
	m.address_want.identity = phalanx_blob(identity);
	m.address_want.requested = phalanx_addr(requested);
	m.address_want.remote = phalanx_addr(ike_sa->get_other_host(ike_sa));
	if (!this->link->ask(this->link, &m, &m.address_want.id, &answer,
			     WANT_TIMEOUT_MS))
		DBG1(DBG_CFG, "phalanxd gave no answer for an address of pool '%s'",
		     name);
	else if (!answer.address.address.family)
		DBG1(DBG_CFG, "pool '%s' has no free address", name);
	else
		address = phalanx_host(&answer.address.address);
	free(identity.ptr);
	return address;
}

static host_t *acquire_address(attribute_manager_t *manager, linked_list_t *pools,
			       ike_sa_t *ike_sa, host_t *requested)
{
	int family = requested->get_family(requested) == AF_INET ? 4 : 6;
	enumerator_t *enumerator = pools->create_enumerator(pools);
	host_t *address = NULL;
	pool_t pool;
	char *name;

	while (!address && enumerator->enumerate(enumerator, &name)) {
		if (!find_pool(attached, name, &pool))
			DBG1(DBG_CFG, "pool '%s' is not in %s, no address from it", name,
			     attached->path);
		else if (pool.base.family == family)
			address = want(attached, name, &pool, ike_sa, requested);
	}
	enumerator->destroy(enumerator);
	return address;
}

static bool release_address(attribute_manager_t *manager, linked_list_t *pools,
			    host_t *address, ike_sa_t *ike_sa)
{
	struct local_message m = { .type = LOCAL_ADDRESS_RELEASE };
	chunk_t identity;

	if (!pools->get_count(pools))
		return FALSE;
	identity = phalanx_identity(ike_sa->get_other_eap_id(ike_sa));
	m.address_release.address = phalanx_addr(address);
	m.address_release.identity = phalanx_blob(identity);
	attached->link->send(attached->link, &m);
	free(identity.ptr);
	return TRUE;
}

METHOD(phalanx_pools_t, attach, void, private_phalanx_pools_t *this)
{
	attribute_manager_t *manager = charon->attributes;

	attached = this;
	this->acquire_address = manager->acquire_address;
	this->release_address = manager->release_address;
	manager->acquire_address = acquire_address;
	manager->release_address = release_address;
	this->stamp = files_stamp(this);
	load(this);
	lib->scheduler->schedule_job(
	    lib->scheduler,
	    (job_t *)callback_job_create((callback_job_cb_t)check_files, this, NULL,
					 NULL),
	    CHECK_INTERVAL_S);
}

METHOD(phalanx_pools_t, detach, void, private_phalanx_pools_t *this)
{
	attribute_manager_t *manager = charon->attributes;

	if (attached == this) {
		manager->acquire_address = this->acquire_address;
		manager->release_address = this->release_address;
	}
	attached = NULL;
}

METHOD(phalanx_pools_t, destroy, void, private_phalanx_pools_t *this)
{
	this->pools->destroy_function(this->pools, (void *)pool_destroy);
	this->lock->destroy(this->lock);
	this->refreshing->destroy(this->refreshing);
	free(this->path);
	free(this);
}

phalanx_pools_t *phalanx_pools_create(phalanx_link_t *link, const char *path)
{
	private_phalanx_pools_t *this;

	INIT(this,
		.public = {
			.attach = _attach,
			.detach = _detach,
			.announce = _announce,
			.digest = _digest,
			.destroy = _destroy,
		},
		.link = link,
		.path = strdup(path),
		.lock = rwlock_create(RWLOCK_TYPE_DEFAULT),
		.refreshing = mutex_create(MUTEX_TYPE_DEFAULT),
		.pools = hashtable_create(hashtable_hash_str, hashtable_equals_str, 8),
	);
	return &this->public;
}
