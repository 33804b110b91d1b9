/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plugin that makes charon a part of Phalanx: phalanxd is its socket and its IPsec
 * kernel, and knows its SAs. It translates between the two and never decides.
 *
 * It must stand first in `load`, so that its socket and its kernel-ipsec are the ones that
 * charon takes; kernel-netlink is still needed for kernel-net. Options in strongswan.conf,
 * under charon.plugins.phalanx: `socket`, phalanxd's socket; `swanctl`, the file that has
 * the pools.
 */
#ifndef PHALANX_PLUGIN_H_
#define PHALANX_PLUGIN_H_

#include <plugins/plugin.h>

plugin_t *phalanx_plugin_create(void);

#endif
