/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window against replays of ESP packets (RFC 4303 section 3.4.3), with sequence
 * numbers of 64 bits, as a ring of words of which only whole ones are cleared when the
 * window moves (the method of RFC 6479).
 *
 * For each packet: replay_extend() if the SA has extended sequence numbers,
 * replay_check() before its ICV is verified, so that replays cost no decryption, and
 * replay_accept() after, so that a forged packet never moves the window.
 */
#ifndef TUNNELS_IPSEC_REPLAY_H
#define TUNNELS_IPSEC_REPLAY_H

#include <stdint.h>

#define REPLAY_SIZE_MIN 32
#define REPLAY_SIZE_MAX 4096
#define REPLAY_SIZE_DEFAULT 1024
#define REPLAY_WORD_BITS 64
/* One word more than the window fills, since its oldest word is only partly in it. */
#define REPLAY_WORDS_MAX (REPLAY_SIZE_MAX / REPLAY_WORD_BITS + 1)

/* Plain memory: may be copied and needs no destructor. The fields are private. */
struct replay {
	uint32_t size;	/* sequence numbers that the window spans */
	uint32_t words; /* words of the ring in use */
	uint64_t edge;	/* highest sequence number seen, 0 before the first */
	uint64_t floor; /* all up to this one count as seen */
	uint64_t seen[REPLAY_WORDS_MAX];
};

/* An empty window of exactly size numbers. -EINVAL: size out of range. */
int replay_init(struct replay *r, uint32_t size);

/*
 * The extended sequence number of which a packet shows the lower half: the one for which
 * that half is in the window or less than 2^32 - size above it (RFC 4303, appendix A2).
 * A wrong guess shows in the ICV, which covers the upper half.
 */
uint64_t replay_extend(const struct replay *r, uint32_t low);

/*
 * Whether a packet with this number is acceptable, without changing anything. 0: yes;
 * -EALREADY: seen before; -ESTALE: left of the window; -EINVAL: number 0.
 */
int replay_check(const struct replay *r, uint64_t seq);

/* Marks the number of an authentic packet as seen. Fails as replay_check() does. */
int replay_accept(struct replay *r, uint64_t seq);

/* The highest number seen, 0 if none. */
uint64_t replay_edge(const struct replay *r);

/*
 * For a takeover: all numbers up to edge count as seen from now on. Never takes back what
 * was seen already, so an edge below the present one does not lower it.
 */
void replay_set_edge(struct replay *r, uint64_t edge);

#endif
