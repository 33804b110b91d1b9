/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An IKE SA of a member: what is said in it, and the member that takes it over. */
#ifndef TESTS_UNIT_SCENE_H
#define TESTS_UNIT_SCENE_H

#include "tests/unit/gateways.h"

#define PEER_SPI UINT64_C(0x7777777777777777)

/* A member, a unit of it with an IKE SA, and the member that takes it over. */
struct scene {
	struct node *owner, *successor;
	unit_id unit;
	uint64_t spi;
};

/* A message of IKE. */
struct ike {
	size_t len;
	uint8_t bytes[64];
};

/* Of a packet of ESP. */
struct numbers {
	uint32_t seq;
	uint64_t iv;
};

extern struct local_addr gateway, client; /* outside, as the test runs */

/* For cmocka, before gateways_stop(): with IPv4 outside, or IPv6. */
int scene_start4(void **state);
int scene_start6(void **state);

/* Member 2 has the IKE SA. */
struct scene scene_begin(void);
/* A unit without one. When member 2, the successor, is alone, it takes over unproven. */
struct scene scene_unproven(void);
/* Until it is a cluster of its own. */
void scene_cut_off(struct node *n);

/* From the client, who is the initiator, or to it. */
struct ike scene_ike(uint64_t spi, bool from_client, bool response, uint32_t mid,
		     uint8_t filling);
/* From the client. */
void scene_receive(struct node *n, const struct ike *m);
/* From charon. */
void scene_transmit(struct node *n, const struct ike *m);
/* How often the member has sent it since it was told to forget. */
unsigned scene_times_sent(const struct node *n, const struct ike *m);

/* What charon reports. */
void scene_establish(struct node *n, uint64_t spi);
void scene_establish_as(struct node *n, uint64_t spi, uint8_t version);
void scene_add_child(struct node *n, uint64_t spi, uint32_t spi_in);
/* The same child, of this IKE SA now. */
void scene_put_child(struct node *n, uint64_t spi, uint32_t spi_in);

/* A packet from the inside for the client of scene_add_child(). */
void scene_forward(struct node *n);
/* Of the last packet sent, which was ESP. */
struct numbers scene_numbers(const struct node *n);

#endif
