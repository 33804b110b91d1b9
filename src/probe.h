/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a probe of the interconnect says; see link_path.c. */
#ifndef SRC_PROBE_H
#define SRC_PROBE_H

#include <stddef.h>
#include <stdint.h>

#define PROBE_SIZE 25

struct probe {
	uint32_t round; /* the same in all probes of a round */
	uint8_t hears;	/* bit i: the sender hears the receiver over network i */
	uint64_t stamp; /* the sender's clock, us */
	uint64_t
	    echo; /* the stamp of the receiver's last one over this network; 0: none */
	uint32_t held; /* us since that came */
};

void probe_encode(const struct probe *p, uint8_t out[PROBE_SIZE]);
/* 0, or -EBADMSG and `out` is untouched: the length is wrong. */
int probe_decode(const uint8_t *bytes, size_t len, struct probe *out);

#endif
