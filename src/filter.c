/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/filter.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/bpf/filter.skel.h"
#include "src/log.h"
#include "src/twin.h"

/* Where our tc filter stands. Both identify it: a restart replaces, a detach finds it. */
#define TC_HANDLE 0x5048
#define TC_PRIORITY 0x5048

#define FILTER_PACKET_MAX 65535
#define UNIT_ETH_LEN 14
#define UNIT_IP_LEN 20

/* An array map's values lie 8 bytes apart. */
#define OWNERS_STRIDE (8 / sizeof(uint16_t))
#define OWNERS_BYTES (UNIT_COUNT * 8)
#define LEASE_BYTES ((size_t)sysconf(_SC_PAGESIZE))

struct filter {
	struct filter_config config;
	struct twin twin;
	struct filter_bpf *bpf;	   /* NULL with `userspace` */
	volatile uint16_t *owners; /* of the maps, in our address space */
	volatile uint64_t *lease;
};

static const char *const verdict_names[] = {
	[UNIT_PASS] = "pass", [UNIT_DROP] = "drop",	  [UNIT_DAEMON] = "daemon",
	[UNIT_HOST] = "host", [UNIT_FORWARD] = "forward",
};

static const char *const reason_names[] = {
#define X(symbol, verdict, name) name,
	UNIT_REASONS(X)
#undef X
};

static const char *const counter_names[] = {
#define X(symbol, verdict, name) "filter." name,
	UNIT_REASONS(X)
#undef X
};

const char *filter_verdict_name(enum unit_verdict v)
{
	return (unsigned)v <= UNIT_FORWARD ? verdict_names[v] : "?";
}

const char *filter_reason_name(enum unit_reason r)
{
	return (unsigned)r < UNIT_REASON_COUNT ? reason_names[r] : "?";
}

static LOG_PRINTF(3, 4) int fail(char *err, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(err, FILTER_ERROR_SIZE, format, args);
	va_end(args);
	if (n >= 0 && n < FILTER_ERROR_SIZE && error)
		snprintf(err + n, FILTER_ERROR_SIZE - (size_t)n, ": %s",
			 strerror(-error));
	return error;
}

/* libbpf explains a refusal over many lines; they are for whoever looks for them. */
static int bpf_print(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[512];

	if (level == LIBBPF_DEBUG || !log_wants(LOG_LEVEL_DEBUG))
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
	return 0;
}

static int own_mac(const char *ifname, uint8_t mac[6])
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", ifname);
	int error = ioctl(fd, SIOCGIFHWADDR, &request) < 0 ? -errno : 0;
	close(fd);
	if (!error)
		memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	return error;
}

/* Reads the interface's number and MAC again: both change when an interface is made anew.
 */
static int network_load(struct filter *f, unsigned i, char *err)
{
	const struct filter_network *config = &f->config.networks[i];
	uint32_t ifindex = if_nametoindex(config->ifname);
	struct unit_network macs = { .outside = config->outside,
				     .forwarding = config->forwarding };

	if (!ifindex)
		return fail(err, -ENODEV, "interface %s", config->ifname);
	memcpy(macs.cluster_mac, config->cluster_mac, 6);
	int error = own_mac(config->ifname, macs.own_mac);
	if (error)
		return fail(err, error, "MAC address of %s", config->ifname);
	if (f->bpf) {
		int fd = bpf_map__fd(f->bpf->maps.networks);
		uint32_t old = (uint32_t)f->twin.networks[i].ifindex;
		if (old && old != ifindex)
			bpf_map_delete_elem(fd, &old);
		if (bpf_map_update_elem(fd, &ifindex, &macs, BPF_ANY))
			return fail(err, -errno, "BPF map networks");
	}
	f->twin.networks[i].ifindex = (int)ifindex;
	f->twin.networks[i].macs = macs;
	return 0;
}

static void control_store(struct filter *f)
{
	uint32_t zero = 0;

	if (f->bpf && bpf_map_update_elem(bpf_map__fd(f->bpf->maps.control), &zero,
					  &f->twin.control, BPF_ANY))
		log_warn("filter: BPF map control");
}

static int bpf_start(struct filter *f, char *err)
{
	libbpf_set_print(bpf_print);
	f->bpf = filter_bpf__open();
	if (!f->bpf)
		return fail(err, -errno, "BPF filter");
	if (f->config.lease_fd >= 0) {
		int error = bpf_map__reuse_fd(f->bpf->maps.lease, f->config.lease_fd);
		if (error)
			return fail(err, error, "BPF map lease");
	}
	int error = filter_bpf__load(f->bpf);
	if (error)
		return fail(err, error, "the kernel does not load the BPF filter");
	f->owners = mmap(NULL, OWNERS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			 bpf_map__fd(f->bpf->maps.owners), 0);
	if (f->owners == MAP_FAILED) {
		f->owners = NULL;
		return fail(err, -errno, "BPF map owners");
	}
	f->lease = mmap(NULL, LEASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(f->bpf->maps.lease), 0);
	if (f->lease == MAP_FAILED) {
		f->lease = NULL;
		return fail(err, -errno, "BPF map lease");
	}
	*f->lease = 0;
	return 0;
}

static int tables_fill(struct filter *f, char *err)
{
	const struct filter_config *c = &f->config;

	for (unsigned i = 0; i < c->network_count; i++) {
		int error = network_load(f, i, err);
		if (error)
			return error;
		f->twin.network_count = i + 1;
	}
	for (unsigned i = 0; i < c->address_count; i++) {
		const struct address *a = &c->addresses[i];
		uint32_t one = 1;
		f->twin.addresses[f->twin.address_count++] = *a;
		if (f->bpf &&
		    bpf_map_update_elem(a->family == AF_INET6
					    ? bpf_map__fd(f->bpf->maps.addresses6)
					    : bpf_map__fd(f->bpf->maps.addresses),
					a->bytes, &one, BPF_ANY))
			return fail(err, -errno, "BPF map addresses");
	}
	control_store(f);
	return 0;
}

struct filter *filter_new(const struct filter_config *config, char err[FILTER_ERROR_SIZE])
{
	if (!config->self || config->network_count > UNIT_NETWORKS_MAX ||
	    config->address_count > UNIT_ADDRESSES_MAX) {
		fail(err, -EINVAL, "filter");
		return NULL;
	}
	struct filter *f = calloc(1, sizeof(*f));
	if (!f || !(f->twin.routes = lpm_new(32)) || !(f->twin.routes6 = lpm_new(128)) ||
	    twin_guards_make(&f->twin.guards)) {
		filter_free(f);
		fail(err, -ENOMEM, "filter");
		return NULL;
	}
	f->config = *config;
	f->twin.control.self = config->self;
	if ((!config->userspace && bpf_start(f, err)) || tables_fill(f, err)) {
		filter_free(f);
		return NULL;
	}
	return f;
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	if (f->lease) {
		*f->lease = 0;
		munmap((void *)f->lease, LEASE_BYTES);
	}
	if (f->owners)
		munmap((void *)f->owners, OWNERS_BYTES);
	filter_bpf__destroy(f->bpf);
	lpm_free(f->twin.routes);
	lpm_free(f->twin.routes6);
	twin_guards_free(&f->twin.guards);
	explicit_bzero(f, sizeof(*f));
	free(f);
}

int filter_lease_open(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "lease", sizeof(uint32_t),
				sizeof(uint64_t), 1, &options);
	return fd < 0 ? -errno : fd;
}

int filter_revoke(int lease_fd)
{
	uint32_t zero = 0;
	uint64_t never = 0;

	return bpf_map_update_elem(lease_fd, &zero, &never, BPF_ANY) ? -errno : 0;
}

int filter_lease_fd(const struct filter *f)
{
	return f->bpf ? bpf_map__fd(f->bpf->maps.lease) : -1;
}

void filter_renew(struct filter *f, uint64_t until_ns)
{
	f->twin.lease_until = until_ns;
	if (f->lease)
		*f->lease = until_ns;
}

void filter_set_owner(struct filter *f, uint16_t unit, uint16_t owner)
{
	unit &= UNIT_MASK;
	f->twin.owners[unit] = owner;
	if (f->owners)
		f->owners[unit * OWNERS_STRIDE] = owner;
}

void filter_set_owners(struct filter *f, const uint16_t owners[UNIT_COUNT])
{
	for (unsigned unit = 0; unit < UNIT_COUNT; unit++)
		filter_set_owner(f, (uint16_t)unit, owners[unit]);
}

void filter_set_key(struct filter *f, const uint8_t key[FILTER_KEY_SIZE])
{
	f->twin.control.key = unit_key_read(key);
	control_store(f);
}

void filter_set_master(struct filter *f, bool master)
{
	f->twin.control.master = master;
	control_store(f);
}

/* The place of the member on that interface; a new one if there is none. */
static unsigned place_slot(const struct twin *t, uint32_t ifindex, uint16_t member)
{
	unsigned i = 0;

	while (i < t->place_count &&
	       (t->place_members[i] != member || t->places[i].ifindex != ifindex))
		i++;
	return i;
}

int filter_set_place(struct filter *f, unsigned network, uint16_t member,
		     const uint8_t mac[6])
{
	struct twin *t = &f->twin;
	uint32_t one = 1;

	if (network >= t->network_count || mac[0] & 1)
		return -EINVAL;
	uint32_t ifindex = (uint32_t)t->networks[network].ifindex;
	unsigned i = place_slot(t, ifindex, member);
	struct unit_member new = { .ifindex = ifindex }, *at = &t->places[i];
	const struct unit_place key = { .ifindex = ifindex, .member = member };

	memcpy(new.mac.bytes, mac, 6);
	if (i < t->place_count && !memcmp(at, &new, sizeof(new)))
		return 0;
	if (i == UNIT_PLACES_MAX)
		return -ENOSPC;
	if (f->bpf) {
		if (i < t->place_count)
			bpf_map_delete_elem(bpf_map__fd(f->bpf->maps.members), at);
		if (bpf_map_update_elem(bpf_map__fd(f->bpf->maps.places), &key, &new.mac,
					BPF_ANY) ||
		    bpf_map_update_elem(bpf_map__fd(f->bpf->maps.members), &new, &one,
					BPF_ANY))
			return -errno;
	}
	*at = new;
	t->place_members[i] = member;
	t->place_count += i == t->place_count;
	return 0;
}

void filter_own_mac(const struct filter *f, unsigned network, uint8_t mac[6])
{
	memcpy(mac, f->twin.networks[network].macs.own_mac, 6);
}

const struct unit_key *filter_key(const struct filter *f)
{
	return &f->twin.control.key;
}

/* Where the routes of a family stand, in the kernel (-1: nowhere) and in the twin. */
struct route_table {
	int map;
	struct lpm *lpm;
	struct unit_route6_key key; /* begins as struct unit_route_key does */
};

static int route_table(const struct filter *f, struct route_table *t, int family,
		       const void *address, unsigned prefixlen)
{
	size_t size = address_size(family);

	if (!size)
		return -EAFNOSUPPORT;
	if (prefixlen > size * 8)
		return -EINVAL;
	t->key.prefixlen = prefixlen;
	memcpy(t->key.address, address, size);
	t->lpm = family == AF_INET6 ? f->twin.routes6 : f->twin.routes;
	t->map = !f->bpf	      ? -1
		 : family == AF_INET6 ? bpf_map__fd(f->bpf->maps.routes6)
				      : bpf_map__fd(f->bpf->maps.routes);
	return 0;
}

int filter_route_add(struct filter *f, int family, const void *address,
		     unsigned prefixlen, uint16_t unit)
{
	struct route_table t;
	uint32_t value = unit;
	int error = route_table(f, &t, family, address, prefixlen);

	if (error)
		return error;
	if (unit >= UNIT_COUNT && unit < FILTER_ROUTE_OWN)
		return -EINVAL;
	if (prefixlen < UNIT_WIDE_BITS)
		value |= UNIT_ROUTE_WIDE;
	if (t.map >= 0 && bpf_map_update_elem(t.map, &t.key, &value, BPF_ANY))
		return -errno;
	return lpm_add(t.lpm, t.key.address, prefixlen, (int)value);
}

int filter_route_del(struct filter *f, int family, const void *address,
		     unsigned prefixlen)
{
	struct route_table t;
	int error = route_table(f, &t, family, address, prefixlen);

	if (error)
		return error;
	error = lpm_del(t.lpm, t.key.address, prefixlen);
	if (!error && t.map >= 0 && bpf_map_delete_elem(t.map, &t.key))
		return -errno;
	return error;
}

static struct unit_guard guard_of(const struct address *source, uint8_t protocol,
				  uint16_t port)
{
	const struct unit_ip ip = source->family == AF_INET6
				      ? unit_ipv6(source->bytes)
				      : unit_ipv4(unit_be32(source->bytes));

	return (struct unit_guard){ ip.high, ip.low, port, protocol, { 0 } };
}

int filter_guard_add(struct filter *f, const struct address *source, uint8_t protocol,
		     uint16_t port)
{
	const struct unit_guard guard = guard_of(source, protocol, port);
	struct twin_guards *guards = &f->twin.guards;
	uint32_t one = 1;

	if (twin_guards_has(guards, &guard))
		return -EEXIST;
	if (guards->count == UNIT_GUARDS_MAX)
		return -ENOSPC;
	if (f->bpf &&
	    bpf_map_update_elem(bpf_map__fd(f->bpf->maps.guards), &guard, &one, BPF_ANY))
		return -errno;
	twin_guards_add(guards, &guard);
	return 0;
}

int filter_guard_del(struct filter *f, const struct address *source, uint8_t protocol,
		     uint16_t port)
{
	const struct unit_guard guard = guard_of(source, protocol, port);
	struct twin_guards *guards = &f->twin.guards;

	if (!twin_guards_has(guards, &guard))
		return -ENOENT;
	twin_guards_del(guards, &guard);
	if (f->bpf && bpf_map_delete_elem(bpf_map__fd(f->bpf->maps.guards), &guard))
		return -errno;
	return 0;
}

int filter_attach(struct filter *f, unsigned network, char err[FILTER_ERROR_SIZE])
{
	if (!f->bpf || network >= f->config.network_count)
		return fail(err, -EINVAL, "filter");
	int error = network_load(f, network, err);
	if (error)
		return error;

	const char *ifname = f->config.networks[network].ifname;
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS,
		    .ifindex = f->twin.networks[network].ifindex);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = TC_HANDLE, .priority = TC_PRIORITY,
		    .flags = BPF_TC_F_REPLACE, .prog_fd = filter_tc_fd(f));
	error = bpf_tc_hook_create(&hook);
	if (error && error != -EEXIST)
		return fail(err, error, "clsact on %s", ifname);
	error = bpf_tc_attach(&hook, &options);
	if (error)
		return fail(err, error, "tc filter on %s", ifname);
	return 0;
}

int filter_detach(const char *ifname)
{
	int ifindex = (int)if_nametoindex(ifname);

	if (!ifindex)
		return -ENODEV;
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS,
		    .ifindex = ifindex);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	libbpf_set_print(bpf_print);
	int error = bpf_tc_detach(&hook, &options);
	return error == -EINVAL ? -ENOENT : error; /* EINVAL: there is no clsact at all */
}

const struct filter_network *filter_network(const struct filter *f, unsigned network)
{
	return network < f->config.network_count ? &f->config.networks[network] : NULL;
}

int filter_socket_fd(const struct filter *f)
{
	return f->bpf ? bpf_program__fd(f->bpf->progs.receive) : -1;
}

int filter_tc_fd(const struct filter *f)
{
	return f->bpf ? bpf_program__fd(f->bpf->progs.ingress) : -1;
}

struct unit_result filter_classify(const struct filter *f, const void *frame, size_t len,
				   int ifindex, uint64_t now)
{
	return twin_classify(&f->twin, frame, len, ifindex, now);
}

struct unit_result filter_classify_packet(const struct filter *f, unsigned network,
					  const void *ip, size_t len, uint64_t now)
{
	static uint8_t frame[UNIT_ETH_LEN + FILTER_PACKET_MAX];
	const uint8_t *version = ip;

	if (network >= f->twin.network_count || !len || len > FILTER_PACKET_MAX)
		return (struct unit_result){ UNIT_DROP, UNIT_BY_MALFORMED, UNIT_NONE,
					     UNIT_BY_MALFORMED };
	memcpy(frame, f->twin.networks[network].macs.own_mac, 6);
	memset(frame + 6, 0, 6);
	memcpy(frame + 12, version[0] >> 4 == 6 ? "\x86\xdd" : "\x08\x00", 2);
	memcpy(frame + UNIT_ETH_LEN, ip, len);
	return twin_classify(&f->twin, frame, UNIT_ETH_LEN + len,
			     f->twin.networks[network].ifindex, now);
}

int filter_ifindex(const struct filter *f, unsigned network)
{
	return network < f->twin.network_count ? f->twin.networks[network].ifindex : -1;
}

int filter_route_find(const struct filter *f, const void *packet, size_t len)
{
	const uint8_t *ip = packet;
	int route = -1;

	if (len >= 20 && ip[0] >> 4 == 4)
		route = lpm_find(f->twin.routes, ip + 16);
	else if (len >= 40 && ip[0] >> 4 == 6)
		route = lpm_find(f->twin.routes6, ip + 24);
	return route < 0 ? -1 : route & UNIT_ROUTE_MASK;
}

size_t filter_statistics(const struct filter *f, struct statistic *out, size_t max)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values =
	    f->bpf && cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;
	size_t n = 0;

	for (uint32_t reason = 0; reason < UNIT_REASON_COUNT && n < max; reason++) {
		uint64_t sum = 0;
		if (values && !bpf_map_lookup_elem(bpf_map__fd(f->bpf->maps.counters),
						   &reason, values))
			for (int cpu = 0; cpu < cpus; cpu++)
				sum += values[cpu];
		out[n++] = (struct statistic){ counter_names[reason], sum };
	}
	free(values);
	return n;
}
