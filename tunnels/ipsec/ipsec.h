/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IPsec as a tunnel: IKE SAs and CHILD SAs of the charon on this machine, replicated, and
 * the ESP engine. IKEv2 by charon through its plugin (local.h); ESP here.
 */
#ifndef IPSEC_IPSEC_H
#define IPSEC_IPSEC_H

#include "tunnels/tunnel.h"

#define IPSEC_ERROR_SIZE 256

struct ipsec;

struct ipsec_config {
	const char *socket;	/* path for the plugin; borrowed for ipsec_new() */
	bool inbound_commit;	/* false: deliver before the window edge is committed */
	unsigned replay_window; /* packets, at least */
	unsigned mss;		/* that TCP may offer at most, 0: any */
	unsigned mtu;		/* of the outside network, 0: any */
	/* Seconds for which addresses are kept back for a member that is missing. */
	unsigned address_hold_back;
	uint64_t detection; /* the cluster's interval, in ns */
};

extern const struct tunnel_ops ipsec_ops;

/* `host` is copied. Tells host->able() at once that charon is missing. NULL and a line in
 * `err` on failure. */
struct ipsec *ipsec_new(const struct tunnel_host *host, const struct ipsec_config *config,
			char err[IPSEC_ERROR_SIZE]);

#endif
