/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/log.h"

#define QUEUE_LENGTH 4096

struct tun {
	struct tun_handler handler;
	struct event *readable;
	int fd;
	int ifindex;
	struct {
		uint64_t received, received_bytes;
		uint64_t malformed; /* not what its header says */
		uint64_t to_group;  /* the kernel's own reports, for nobody */
		uint64_t written, written_bytes;
		uint64_t refused; /* by the kernel: the device is down, out of memory */
	} counters;
	uint8_t packets[TUN_BATCH][TUN_PACKET_MAX];
};

static int device_attach(const char *name, int persist)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) || ioctl(fd, TUNSETPERSIST, persist)) {
		int error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static void setting_write(const char *name, const char *setting, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name, setting);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* a kernel without IPv6 */
	if (write(fd, value, strlen(value)) < 0)
		log_warnx("%s: %s", path, strerror(errno));
	close(fd);
}

/* Without an address of its own the device asks for no routers and announces nothing. */
static void ipv6_prepare(const char *name)
{
	setting_write(name, "addr_gen_mode", "1");
	setting_write(name, "accept_ra", "0");
	setting_write(name, "disable_ipv6", "0");
}

static int device_start(const char *name, unsigned mtu)
{
	struct ifreq request = { 0 };
	int error = 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	ipv6_prepare(name);
	request.ifr_mtu = (int)mtu;
	if (ioctl(fd, SIOCSIFMTU, &request) < 0)
		error = -errno;
	request.ifr_qlen = QUEUE_LENGTH;
	if (!error && ioctl(fd, SIOCSIFTXQLEN, &request) < 0)
		error = -errno;
	if (!error && ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		error = -errno;
	request.ifr_flags |= IFF_UP;
	if (!error && ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		error = -errno;
	close(fd);
	return error;
}

static bool is_ip(const uint8_t *ip, size_t len)
{
	if (len >= 20 && ip[0] >> 4 == 4)
		return (size_t)(ip[2] << 8 | ip[3]) == len;
	return len >= 40 && ip[0] >> 4 == 6 && (size_t)(ip[4] << 8 | ip[5]) + 40 == len;
}

static void packet_receive(struct tun *t, uint8_t *ip, size_t len)
{
	if (!is_ip(ip, len)) {
		t->counters.malformed++;
		return;
	}
	if (ip[0] >> 4 == 6 && ip[24] == 0xff) {
		t->counters.to_group++;
		return;
	}
	t->counters.received++;
	t->counters.received_bytes += len;
	t->handler.receive(t->handler.ctx, ip, len);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct tun *t = ctx;
	unsigned n = 0;

	while (n < TUN_BATCH) {
		ssize_t len = read(fd, t->packets[n], TUN_PACKET_MAX);
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			break;
		packet_receive(t, t->packets[n++], (size_t)len);
	}
	if (n)
		t->handler.batch_end(t->handler.ctx);
}

struct tun *tun_open(struct event_base *base, const char *name, unsigned mtu,
		     const struct tun_handler *handler, char err[TUN_ERROR_SIZE])
{
	int error = 0;
	struct tun *t = mtu <= TUN_PACKET_MAX ? calloc(1, sizeof(*t)) : NULL;

	if (!t) {
		snprintf(err, TUN_ERROR_SIZE, "TUN device %s: %s", name,
			 strerror(mtu <= TUN_PACKET_MAX ? ENOMEM : EMSGSIZE));
		return NULL;
	}
	t->handler = *handler;
	t->fd = device_attach(name, 1);
	if (t->fd < 0)
		error = t->fd;
	else
		error = device_start(name, mtu);
	if (!error) {
		t->ifindex = (int)if_nametoindex(name);
		t->readable =
		    event_new(base, t->fd, EV_READ | EV_PERSIST, on_readable, t);
		if (!t->readable || event_add(t->readable, NULL))
			error = -ENOMEM;
	}
	if (error) {
		snprintf(err, TUN_ERROR_SIZE, "TUN device %s: %s", name,
			 strerror(-error));
		tun_close(t);
		return NULL;
	}
	return t;
}

void tun_close(struct tun *t)
{
	if (!t)
		return;
	if (t->readable)
		event_free(t->readable);
	if (t->fd >= 0)
		close(t->fd);
	explicit_bzero(t, sizeof(*t)); /* packets in clear */
	free(t);
}

int tun_ifindex(const struct tun *t)
{
	return t->ifindex;
}

int tun_remove(const char *name)
{
	/* Attaching would make the device. */
	if (!if_nametoindex(name))
		return -ENODEV;
	int fd = device_attach(name, 0);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int tun_write(struct tun *t, const void *ip, size_t len)
{
	ssize_t n;

	do {
		n = write(t->fd, ip, len);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)len) {
		t->counters.refused++;
		return n < 0 ? -errno : -EIO;
	}
	t->counters.written++;
	t->counters.written_bytes += len;
	return 0;
}

size_t tun_statistics(const struct tun *t, struct statistic *out, size_t max)
{
	const struct statistic all[] = {
		{ "tun.received", t->counters.received },
		{ "tun.received-bytes", t->counters.received_bytes },
		{ "tun.malformed", t->counters.malformed },
		{ "tun.to-group", t->counters.to_group },
		{ "tun.written", t->counters.written },
		{ "tun.written-bytes", t->counters.written_bytes },
		{ "tun.write-refused", t->counters.refused },
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	n = n < max ? n : max;
	memcpy(out, all, n * sizeof(*out));
	return n;
}
