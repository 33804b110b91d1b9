/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <daemon.h>

#include "tunnels/ipsec/charon/phalanx_begun.h"
#include "tunnels/ipsec/charon/phalanx_configs.h"
#include "tunnels/ipsec/charon/phalanx_crossing.h"
#include "tunnels/ipsec/charon/phalanx_half.h"
#include "tunnels/ipsec/charon/phalanx_import.h"
#include "tunnels/ipsec/charon/phalanx_kernel.h"
#include "tunnels/ipsec/charon/phalanx_link.h"
#include "tunnels/ipsec/charon/phalanx_plugin.h"
#include "tunnels/ipsec/charon/phalanx_pools.h"
#include "tunnels/ipsec/charon/phalanx_quick.h"
#include "tunnels/ipsec/charon/phalanx_radius.h"
#include "tunnels/ipsec/charon/phalanx_sessions.h"
#include "tunnels/ipsec/charon/phalanx_socket.h"
#include "tunnels/ipsec/charon/phalanx_starts.h"
#include "tunnels/ipsec/charon/phalanx_sync.h"
#include "tunnels/ipsec/charon/phalanx_terminate.h"
#include "tunnels/ipsec/charon/phalanx_unique.h"
#include "tunnels/ipsec/charon/phalanx_units.h"

#if !defined(ME) || !defined(USE_IKEV1) || !defined(USE_IKEV2)
#error "the strongSwan tree is not configured as Debian's packages are, see headers"
#endif

#define SOCKET_DEFAULT "/run/phalanx/charon.sock"
#define SWANCTL_DEFAULT "/etc/swanctl"
#define CONFIG_GRACE_S 10

typedef struct private_phalanx_plugin_t private_phalanx_plugin_t;

struct private_phalanx_plugin_t {
	plugin_t public;
	bool fits; /* this charon is the one that the plugin was built for */
	phalanx_units_t *units;
	phalanx_link_t *link;
	phalanx_radius_t *radius;
	phalanx_sessions_t *sessions;
	phalanx_import_t *import;
	phalanx_pools_t *pools;
	phalanx_unique_t *unique;
	phalanx_half_t *half;
	phalanx_begun_t *begun;
	phalanx_sync_t *sync;
	phalanx_quick_t *quick;
	phalanx_configs_t *configs;
	phalanx_starts_t *starts;
	phalanx_terminate_t *terminate;
};

/* The constructors of charon's socket and kernel-ipsec take no arguments. */
static private_phalanx_plugin_t *instance;
static time_t started;
static void (*roam)(kernel_interface_t *kernel, bool address);

/* charon's libraries don't say which version they are, but its program has the version as
 * a string of its own. */
static bool program_has_version(void)
{
	static const char version[] = "\0" VERSION;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	bool found = FALSE;
	struct stat st;
	void *bytes;

	if (fd == -1)
		return FALSE;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		bytes = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (bytes != MAP_FAILED) {
			found = memmem(bytes, st.st_size, version, sizeof(version));
			munmap(bytes, st.st_size);
		}
	}
	close(fd);
	return found;
}

/* A charon of another version, or built with other options, has its structures laid out
 * differently: to go on would be to corrupt it. */
static bool check_charon(void)
{
	if (!program_has_version()) {
		DBG1(DBG_LIB, "the phalanx plugin was built for strongSwan " VERSION
			      ", this is another version: the plugin is disabled");
		return FALSE;
	}
	if (!dlsym(RTLD_DEFAULT, "mediation_manager_create") ||
	    !dlsym(RTLD_DEFAULT, "keymat_v1_create") ||
	    !dlsym(RTLD_DEFAULT, "keymat_v2_create")) {
		DBG1(DBG_LIB,
		     "the phalanx plugin needs a charon with mediation, IKEv1 and "
		     "IKEv2 support: the plugin is disabled");
		return FALSE;
	}
	return TRUE;
}

METHOD(plugin_t, get_name, char *, private_phalanx_plugin_t *this)
{
	return "phalanx";
}

static kernel_ipsec_t *create_kernel(void)
{
	return phalanx_kernel_create(instance->link);
}

static socket_t *create_socket(void)
{
	return phalanx_socket_create(instance->link, instance->sessions, instance->import,
				     instance->unique, instance->half, instance->begun,
				     instance->sync, instance->quick, instance->starts);
}

/* Without connections charon would refuse the clients of the units that it is given. They
 * are loaded a moment after its start. */
static bool has_connections(void)
{
	enumerator_t *enumerator;
	peer_cfg_t *config;
	bool found;

	enumerator = charon->backends->create_peer_cfg_enumerator(
	    charon->backends, NULL, NULL, NULL, NULL, IKE_ANY);
	found = enumerator->enumerate(enumerator, &config);
	enumerator->destroy(enumerator);
	return found || time_monotonic(NULL) - started >= CONFIG_GRACE_S;
}

/* The cluster's addresses are none of this machine's: what becomes of its own addresses,
 * links and routes is nothing to tell a peer, nor to move an IKE SA for. */
static void no_roam(kernel_interface_t *kernel, bool address)
{
}

static void greeted(private_phalanx_plugin_t *this)
{
	this->pools->announce(this->pools);
	this->configs->announce(this->configs);
}

static bool connect_cb(private_phalanx_plugin_t *this, plugin_feature_t *feature,
		       bool reg, void *data)
{
	if (reg) {
		roam = charon->kernel->roam;
		charon->kernel->roam = no_roam;
		phalanx_sender_attach(this->link);
		this->units->attach(this->units);
		phalanx_crossing_attach();
		this->half->attach(this->half);
		this->begun->attach(this->begun);
		this->sync->attach(this->sync);
		this->quick->attach(this->quick);
		this->sessions->attach(this->sessions);
		this->pools->attach(this->pools);
		this->unique->attach(this->unique);
		this->configs->attach(this->configs);
		this->starts->attach(this->starts);
		this->terminate->attach(this->terminate);
		started = time_monotonic(NULL);
		this->link->start(this->link, has_connections, (void *)greeted, this);
	} else {
		this->link->stop(this->link);
		this->terminate->detach(this->terminate);
		this->starts->detach(this->starts);
		this->unique->detach(this->unique);
		this->pools->detach(this->pools);
		this->sessions->detach(this->sessions);
		this->quick->detach(this->quick);
		this->sync->detach(this->sync);
		this->begun->detach(this->begun);
		this->half->detach(this->half);
		phalanx_crossing_detach();
		this->units->detach(this->units);
		phalanx_sender_detach();
		if (charon->kernel)
			charon->kernel->roam = roam;
	}
	return TRUE;
}

METHOD(plugin_t, get_features, int, private_phalanx_plugin_t *this,
       plugin_feature_t *features[])
{
	static plugin_feature_t f[] = {
		PLUGIN_CALLBACK(kernel_ipsec_register, create_kernel),
		PLUGIN_PROVIDE(CUSTOM, "kernel-ipsec"),
		PLUGIN_CALLBACK(socket_register, create_socket),
		PLUGIN_PROVIDE(CUSTOM, "socket"),
		PLUGIN_CALLBACK((plugin_feature_callback_t)connect_cb, NULL),
		PLUGIN_PROVIDE(CUSTOM, "phalanx"),
		PLUGIN_DEPENDS(CUSTOM, "libcharon-sa-managers"),
		PLUGIN_DEPENDS(CUSTOM, "libcharon-receiver"),
		PLUGIN_DEPENDS(CUSTOM, "kernel-ipsec"),
		PLUGIN_DEPENDS(CUSTOM, "socket"),
	};

	*features = f;
	return this->fits ? countof(f) : 0;
}

METHOD(plugin_t, destroy, void, private_phalanx_plugin_t *this)
{
	if (this->fits) {
		this->link->stop(this->link);
		this->import->destroy(this->import);
		this->link->destroy(this->link);
		this->quick->destroy(this->quick);
		this->sync->destroy(this->sync);
		this->begun->destroy(this->begun);
		this->half->destroy(this->half);
		this->unique->destroy(this->unique);
		this->pools->destroy(this->pools);
		this->terminate->destroy(this->terminate);
		this->starts->destroy(this->starts);
		this->configs->destroy(this->configs);
		this->sessions->destroy(this->sessions);
		this->radius->destroy(this->radius);
		this->units->destroy(this->units);
	}
	instance = NULL;
	free(this);
}

static void create_parts(private_phalanx_plugin_t *this)
{
	char *dir = getenv("SWANCTL_DIR"), file[PATH_MAX];

	snprintf(file, sizeof(file), "%s/swanctl.conf", dir ?: SWANCTL_DEFAULT);
	this->units = phalanx_units_create();
	this->link = phalanx_link_create(
	    lib->settings->get_str(lib->settings, "%s.plugins.phalanx.socket",
				   SOCKET_DEFAULT, lib->ns),
	    this->units);
	this->radius = phalanx_radius_create();
	this->sessions = phalanx_sessions_create(this->link, this->radius);
	this->begun = phalanx_begun_create(this->link, this->units, this->sessions);
	this->sync = phalanx_sync_create(this->link, this->sessions);
	this->half = phalanx_half_create(this->link, this->units);
	this->import = phalanx_import_create(this->link, this->sessions, this->half,
					     this->begun, this->sync, this->radius);
	this->quick = phalanx_quick_create(this->link, this->sessions);
	this->unique = phalanx_unique_create(this->link, this->sessions);
	this->pools = phalanx_pools_create(
	    this->link, lib->settings->get_str(
			    lib->settings, "%s.plugins.phalanx.swanctl", file, lib->ns));
	this->configs = phalanx_configs_create(this->link, this->pools);
	this->terminate = phalanx_terminate_create(this->link);
	this->starts =
	    phalanx_starts_create(this->link, this->units, this->sessions, this->configs);
}

plugin_t *phalanx_plugin_create(void)
{
	private_phalanx_plugin_t *this;

	INIT(this,
		.public = {
			.get_name = _get_name,
			.get_features = _get_features,
			.destroy = _destroy,
		},
		.fits = check_charon(),
	);
	instance = this;
	if (this->fits)
		create_parts(this);
	return &this->public;
}
