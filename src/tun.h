/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TUN device: clear packets to and from the kernel's stack.
 *
 * The device is persistent. Routes to it stay when the daemon dies, and packets for VPN
 * clients then end in it instead of leaving by another route in clear.
 */
#ifndef SRC_TUN_H
#define SRC_TUN_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

#include "src/statistic.h"

#define TUN_NAME_DEFAULT "phalanx0"
#define TUN_MTU_DEFAULT 1400
#define TUN_BATCH 64
#define TUN_PACKET_MAX 9600
#define TUN_ERROR_SIZE 256

struct tun;

/*
 * receive    one IP packet that the kernel routed to the device; writable, valid until
 *            batch_end returns.
 * batch_end  after the last packet of a batch (1 to TUN_BATCH).
 */
struct tun_handler {
	void (*receive)(void *ctx, uint8_t *ip, size_t len);
	void (*batch_end)(void *ctx);
	void *ctx;
};

/* Makes or takes over the device `name`, sets its MTU and brings it up. */
struct tun *tun_open(struct event_base *base, const char *name, unsigned mtu,
		     const struct tun_handler *handler, char err[TUN_ERROR_SIZE]);
/* The device stays. Takes NULL. */
void tun_close(struct tun *t);
int tun_ifindex(const struct tun *t);
/* Removes the persistent device, for good. 0 or -errno; not while it is open. */
int tun_remove(const char *name);

/* Gives the kernel a decrypted packet. 0 or -errno (and counted). */
int tun_write(struct tun *t, const void *ip, size_t len);

/* "tun.WHAT" */
size_t tun_statistics(const struct tun *t, struct statistic *out, size_t max);

#endif
