/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * charon's IPsec "kernel": phalanxd does ESP. SAs go there; policies are accepted and
 * forgotten, because the SAs carry their selectors. Inbound SPIs have the work unit of
 * their IKE SA in their low 10 bits.
 */
#ifndef PHALANX_KERNEL_H_
#define PHALANX_KERNEL_H_

#include <kernel/kernel_ipsec.h>

#include "tunnels/ipsec/charon/phalanx_link.h"

kernel_ipsec_t *phalanx_kernel_create(phalanx_link_t *link);

/* The SPI, in network byte order, that the calling thread gets from now on; 0: any. */
void phalanx_kernel_force(uint32_t spi);

/* phalanxd sees the peer elsewhere, behind a NAT. */
void phalanx_kernel_moved(const struct local_sa_moved *moved);
/* A lifetime ran out in phalanxd. */
void phalanx_kernel_expire(const struct local_sa_expire *expire);

#endif
