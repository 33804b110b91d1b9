/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three members with IPsec in one process: real cores under virtual time, messages passed
 * by hand, and on each member's socket a plugin that the test plays.
 *
 *   plugin -- ipsec -- cluster == net == cluster -- ipsec -- plugin
 */
#ifndef TESTS_UNIT_GATEWAYS_H
#define TESTS_UNIT_GATEWAYS_H

#include "tunnels/ipsec/engine.h"

#define NODES 3
#define SENT_MAX 64
#define GATEWAYS_DETECTION (200 * MONO_MS)

struct change {
	STAILQ_ENTRY(change) next;
	struct unit_set gained, lost;
	uint32_t activation;
};

/* What a plugin was sent. */
struct heard {
	STAILQ_ENTRY(heard) next;
	size_t len;
	uint8_t bytes[];
};

struct node {
	member_id id;
	bool dead, cut;
	struct cluster *c;
	struct ipsec *t;
	int plugin;
	STAILQ_HEAD(, heard) heard;
	bool refuses; /* its charon takes no IKE SA over */
	bool doubts;  /* finds no response authentic */
	bool slow;    /* nor says that it has */
	bool hung;    /* its charon reads nothing */
	STAILQ_HEAD(, change) changes;
	bool able, able_changed, committed;
	unsigned nsent;
	unsigned again; /* packets that went after their unit, and the last one */
	unit_id again_unit;
	unsigned again_hops;
	unsigned routes; /* that it has now */
	unsigned nprotected;
	struct address_block protected[8];
	unsigned peers; /* of transport mode, the same */
	unsigned ninside;
	size_t inside_len; /* of the last packet for the inside */
	uint8_t inside[1500];
	size_t sent_len[SENT_MAX];
	uint8_t sent[SENT_MAX][512];
};

extern struct node gateways[NODES + 1]; /* by id */
extern bool gateways_stopped;		/* messages wait */
extern uint64_t gateways_detection;	/* the interval, as it is to be at the start */
extern struct mono gateways_now;
extern unsigned gateways_hold_back; /* seconds, see struct ipsec_config */

#define EACH_NODE(n) for (struct node *n = gateways + 1; n <= gateways + NODES; n++)

/* Test fixtures: a whole cluster, of which everybody owns units that are protected. Needs
 * root, as the plugin's socket does. */
int gateways_start(void **state);
int gateways_stop(void **state);

void gateways_run(unsigned ms);
/* Works off what has been sent by now. */
void gateways_deliver(void);
void gateways_events(void);
void gateways_link(struct node *n, bool up);
/* The others hear that this run of the member is dead, whether it is or not. */
void gateways_declare_dead(struct node *n);
void gateways_kill(struct node *n);
/* It begins anew, without a link to anybody. */
void gateways_restart(struct node *n);

/* The member's charon begins, or begins anew. */
void gateways_connect(struct node *n);
/* As the plugin of this member. */
void gateways_say(struct node *n, const struct local_message *m);
/*
 * Both ESP SAs of a CHILD SA, and its record: AES-GCM in tunnel mode. `in` has the IKE SA and
 * the inbound SA's SPI, addresses and selectors; the outbound one has them the other way.
 */
void gateways_child(struct node *n, const struct local_sa_add *in, uint32_t spi_out,
		    const char *name);
/* The next message of this type; others before it are passed over. */
bool gateways_hear(struct node *n, enum local_type type, struct local_message *m);
void gateways_forget(struct node *n);

/* A unit of this member, and whoever takes it over. The test fails if there is none. */
unit_id gateways_unit(const struct node *n, struct node **successor);
/* Of the member's tunnel. The test fails if there is none of this name. */
uint64_t gateways_statistic(const struct node *n, const char *name);

#endif
