/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Charon's objects as the local protocol has them, and back. */
#ifndef PHALANX_CONVERT_H_
#define PHALANX_CONVERT_H_

#include <library.h>
#include <collections/linked_list.h>
#include <config/peer_cfg.h>
#include <networking/host.h>
#include <selectors/traffic_selector.h>
#include <utils/identification.h>

#include "tunnels/ipsec/local.h"

/* NULL becomes family 0. */
struct local_addr phalanx_addr(host_t *host);

/* NULL if the address has no family. */
host_t *phalanx_host(const struct local_addr *addr);

/* A list of traffic_selector_t as the local protocol's list; the caller frees it. Selectors
 * of other kinds than addresses are left out. */
chunk_t phalanx_selectors(enumerator_t *selectors);

/* The other way; NULL if it is malformed. Destroy it with destroy_offset. */
linked_list_t *phalanx_selector_list(struct local_blob blob);

/* An identity as bytes: its type, then its encoding. The caller frees it. */
chunk_t phalanx_identity(identification_t *id);

/* NULL if there is not even a type. */
identification_t *phalanx_identification(chunk_t identity);

/* The configuration of a connection's child by its name, borrowed; NULL if there is none. */
child_cfg_t *phalanx_child_config(peer_cfg_t *connection, chunk_t name);

#endif
