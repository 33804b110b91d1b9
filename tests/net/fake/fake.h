/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of fakephalanx share:
 *
 *   charons.c -- the plugins, on local sockets       clients.c -- real clients, over UDP
 *        \                                             /
 *         sas.c -- what the plugins have reported of their SAs
 *
 * and fakephalanx.c takes the test's orders.
 */
#ifndef TESTS_NET_FAKE_H
#define TESTS_NET_FAKE_H

#include <netinet/in.h>

#include "tunnels/ipsec/local.h"

#define BEGUN_MAX 512
#define REQUEST_MAX 2048
#define CHILDREN_MAX 16

/* A line of the log. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* The commands of the same names. */
struct orders {
	unsigned shift, refuse, hold, fail, lose, slow, cross;
};

extern struct orders orders;

/* The SAs. */

struct child {
	uint32_t spi_in;
	uint8_t *state;
	size_t len;
};

/* An IKE SA by our SPI, from its first message on. */
struct sa {
	uint64_t spi;
	uint32_t recv_mid, send_mid;
	struct local_addr remote;
	uint8_t *state;
	size_t len;
	unsigned child_count;
	struct child children[CHILDREN_MAX];
	/* The last CREATE_CHILD_SA of ours, and what it begins. */
	uint8_t begun[BEGUN_MAX], request[REQUEST_MAX];
	size_t begun_len, request_len;
	uint32_t begun_mid, request_mid;
	struct sockaddr_in to;
	unsigned port;
	bool unanswered, inherited, resumed, crossed;
	bool fenced; /* what charon says of it is not of the imported one yet */
};

extern struct sa sas[];
extern unsigned sas_count;

/* NULL: there is none. */
struct sa *sas_find(uint64_t spi);
struct sa *sas_find_child(uint32_t spi_in);
/* A new one if there is none; there is an end to that. */
struct sa *sas_get(uint64_t spi);
void sas_forget(uint64_t spi);
void sas_keep_state(struct sa *sa, const struct local_blob *state);
void sas_put_child(const struct local_child_put *put);
void sas_forget_child(uint32_t spi_in);

/* The charons. */

struct charon {
	char name;
	int listener, fd; /* -1: not connected */
};

extern struct charon charons[2];
extern struct charon *active; /* whose messages leave, and who gets all others */
extern unsigned puts_seen;    /* reports since the last request came in */
extern uint64_t slow_spi;     /* of the IKE SA with which charon waits, or 0 */

/* The last half-open SA: HALF_OPEN as it came, and the answer to its request. */
struct half {
	uint64_t spi;
	uint8_t open[4096], answer[4096];
	size_t open_len, answer_len;
	bool imported;
};

extern struct half half;

void charons_listen(struct charon *p, const char *path);
void charons_accept(struct charon *p);
/* Takes a message, or that there will be none. */
void charons_receive(struct charon *p);
void charons_tell(struct charon *p, struct local_message *m);
void charons_ping(struct charon *p);
/* The IKE SA with all that is known of it. Unproven: with nothing of its numbers. */
void charons_import(struct charon *p, struct sa *sa, bool unproven, bool behind);
void charons_import_half(struct charon *p);

/* The clients. */

/* The last response that came, as charon is asked about it; its type is 0 before that. */
struct last_response {
	struct local_message verify;
	uint8_t bytes[4096];
};

extern struct last_response last;
extern struct in_addr own;
extern int udp[2]; /* 500 and 4500 */
extern const uint16_t ports[2];
extern const uint8_t fold_key[];

void clients_bind(void);
void clients_receive(unsigned i);
/* What a charon wants to be sent. */
void clients_send(struct charon *p, const struct local_ike_tx *tx);
void clients_repeat(const struct sa *sa);

#endif
