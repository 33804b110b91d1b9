/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tunnels/ipsec/charon/phalanx_convert.h"

#define SELECTORS_MAX 512

struct local_addr phalanx_addr(host_t *host)
{
	struct local_addr addr = { .family = 0 };
	chunk_t bytes;

	if (!host)
		return addr;
	bytes = host->get_address(host);
	if (bytes.len != 4 && bytes.len != sizeof(addr.bytes))
		return addr;
	addr.family = bytes.len == 4 ? 4 : 6;
	memcpy(addr.bytes, bytes.ptr, bytes.len);
	addr.port = host->get_port(host);
	return addr;
}

host_t *phalanx_host(const struct local_addr *addr)
{
	switch (addr->family) {
	case 4:
		return host_create_from_chunk(
		    AF_INET, chunk_create((u_char *)addr->bytes, 4), addr->port);
	case 6:
		return host_create_from_chunk(
		    AF_INET6, chunk_create((u_char *)addr->bytes, 16), addr->port);
	default:
		return NULL;
	}
}

static bool put_selector(struct pack *p, traffic_selector_t *ts)
{
	struct local_ts out = {
		.protocol = ts->get_protocol(ts),
		.from_port = ts->get_from_port(ts),
		.to_port = ts->get_to_port(ts),
	};
	chunk_t from = ts->get_from_address(ts), to = ts->get_to_address(ts);

	if (from.len != to.len || (from.len != 4 && from.len != sizeof(out.from)))
		return FALSE;
	out.family = from.len == 4 ? 4 : 6;
	memcpy(out.from, from.ptr, from.len);
	memcpy(out.to, to.ptr, to.len);
	local_ts_put(p, &out);
	return TRUE;
}

chunk_t phalanx_selectors(enumerator_t *selectors)
{
	chunk_t list = chunk_alloc(SELECTORS_MAX * LOCAL_TS_SIZE);
	struct pack p = pack_to(list.ptr, list.len);
	traffic_selector_t *ts;

	while (!p.bad && selectors->enumerate(selectors, &ts))
		put_selector(&p, ts);
	list.len = p.at - list.ptr;
	return list;
}

linked_list_t *phalanx_selector_list(struct local_blob blob)
{
	linked_list_t *list = linked_list_create();
	struct local_ts in;
	traffic_selector_t *ts;
	u_int i, len;

	for (i = 0; i < local_ts_count(&blob); i++) {
		ts = NULL;
		if (local_ts_get(&blob, i, &in) == 0) {
			len = in.family == 4 ? 4 : 16;
			ts = traffic_selector_create_from_bytes(
			    in.protocol,
			    in.family == 4 ? TS_IPV4_ADDR_RANGE : TS_IPV6_ADDR_RANGE,
			    chunk_create(in.from, len), in.from_port,
			    chunk_create(in.to, len), in.to_port);
		}
		if (!ts) {
			list->destroy_offset(list, offsetof(traffic_selector_t, destroy));
			return NULL;
		}
		list->insert_last(list, ts);
	}
	return list;
}

chunk_t phalanx_identity(identification_t *id)
{
	uint8_t type = id->get_type(id);

	return chunk_cat("cc", chunk_from_thing(type), id->get_encoding(id));
}

identification_t *phalanx_identification(chunk_t identity)
{
	if (!identity.len)
		return NULL;
	return identification_create_from_encoding(identity.ptr[0],
						   chunk_skip(identity, 1));
}

child_cfg_t *phalanx_child_config(peer_cfg_t *connection, chunk_t name)
{
	enumerator_t *enumerator = connection->create_child_cfg_enumerator(connection);
	child_cfg_t *config, *found = NULL;

	while (!found && enumerator->enumerate(enumerator, &config))
		if (chunk_equals(chunk_from_str(config->get_name(config)), name))
			found = config;
	enumerator->destroy(enumerator);
	return found;
}
