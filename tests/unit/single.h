/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster of one real member, as those who ask for its status and its sessions see it. */
#ifndef TESTS_UNIT_SINGLE_H
#define TESTS_UNIT_SINGLE_H

#include "src/status.h"

/* Types of records: sessions that the tunnel shows, and such that it does not. */
#define KEY_LISTED 7
#define KEY_HIDDEN 8

struct single {
	struct conf conf;
	struct cluster *cluster;
	struct status_tunnel tunnel;
	struct status_source source;
	struct mono now;
	/* Of the tunnel's sessions, by order. The one whose key is 9 cannot be ended. */
	unsigned ended;
	bool ended_by_force;
};

/* For cmocka: *state is the member, m1; m2 is listed and not there. */
int single_start(void **state);
int single_end(void **state);
void single_become_master(struct single *f);
/* Ticks when the core wants it, until its time has come. */
void single_pass(struct single *f, uint64_t ns);
/* A record of the type whose key and parts are that byte. */
void single_put(struct single *f, unit_id unit, uint8_t type, uint8_t byte);
/* The reply, a new reference. Steals `arguments`. */
json_t *single_get(struct single *f, const char *command, json_t *arguments);

/* The test fails if there is none. */
const char *string_at(const json_t *o, const char *key);
json_int_t number_at(const json_t *o, const char *key);

#endif
