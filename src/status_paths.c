/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/status_paths.h"

#include <netdb.h>

/* Null instead of a number that is not known. */
static json_t *milliseconds(double value, bool known)
{
	return known ? json_real(value) : json_null();
}

static json_t *path_json(const struct link_path_status *p)
{
	char host[64];
	json_t *o = json_object();

	if (getnameinfo((const struct sockaddr *)&p->at.address, p->at.addresslen, host,
			sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		host[0] = '\0';
	json_object_set_new(o, "address", json_string(host));
	json_object_set_new(o, "up", json_boolean(p->up));
	json_object_set_new(o, "stream", json_boolean(p->stream));
	json_object_set_new(o, "heard_ms",
			    milliseconds((double)p->heard_ms, p->heard_ms != UINT64_MAX));
	json_object_set_new(o, "rtt_ms",
			    milliseconds((double)p->rtt_us / 1000, p->rtt_us != 0));
	json_object_set_new(o, "sent", json_integer((json_int_t)p->sent));
	json_object_set_new(o, "received", json_integer((json_int_t)p->received));
	json_object_set_new(o, "probes_lost", json_integer((json_int_t)p->probes_lost));
	json_object_set_new(o, "downs", json_integer((json_int_t)p->downs));
	return o;
}

json_t *status_paths(const struct link_status *link)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < link->npaths; i++)
		json_array_append_new(list, path_json(&link->paths[i]));
	return list;
}
