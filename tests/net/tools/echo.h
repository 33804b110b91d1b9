/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What programs that send ICMP echo requests (RFC 792) share. */
#ifndef TESTS_NET_TOOLS_ECHO_H
#define TESTS_NET_TOOLS_ECHO_H

#include <netinet/ip_icmp.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A raw, non-blocking ICMP socket with so many bytes of receive buffer, and a random number
 * for `run`, by which replies are known. Ends the program with status 2 if there is none.
 */
int echo_open(int buffer, uint64_t *run);
/*
 * Writes an echo request's header with its checksum (RFC 1071) in front of the payload that
 * packet[sizeof(struct icmphdr)] to packet[len - 1] hold already. The identifier and the
 * sequence number are the low 16 bits.
 */
void echo_finish(uint8_t *packet, size_t len, uint64_t run, uint64_t sequence);

#endif
