/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fragments of all kinds, one after the other. The first bit of the input says of which
 * form they are: any bytes, each piece behind its length; or headers in good form, whose
 * few sources, numbers and places are from the input, so that they fit, repeat each other
 * and overlap. What comes out is a datagram that its own header describes, and of the
 * second form each byte of it was sent for that place.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/pack.h"
#include "src/fragments.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define PIECE_MAX 2048
#define STEP 40 /* bytes between the places of pieces: the last ones are too far */

static void must(bool condition)
{
	if (!condition)
		abort();
}

static size_t header_of(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 ? 40 : (size_t)(ip[0] & 15) * 4;
}

static size_t form(struct unpack *u, uint8_t *ip)
{
	uint8_t way = unpack_u8(u);
	bool six = way & 1, more = way >> 1 & 1;
	uint8_t source = way >> 2 & 3, id = way >> 4 & 3, salt = way >> 7;
	size_t offset = (size_t)unpack_u8(u) * STEP, len = (size_t)unpack_u8(u) * 5;
	size_t header = six ? 48 : 20;
	struct pack p = pack_to(ip, header);

	memset(ip, 0, header);
	if (more)
		len &= ~(size_t)7;
	if (six) {
		pack_u32(&p, UINT32_C(6) << 28);
		pack_u16(&p, (uint16_t)(8 + len));
		ip[6] = 44;
		ip[23] = source;
		ip[40] = 50;
		p.at = ip + 42;
		pack_u16(&p, (uint16_t)(offset | more));
		ip[47] = id;
	} else {
		pack_u16(&p, 0x4500);
		pack_u16(&p, (uint16_t)(20 + len));
		pack_u16(&p, id);
		pack_u16(&p, (uint16_t)(more << 13 | offset / 8));
		ip[15] = source;
	}
	for (size_t i = 0; i < len; i++)
		ip[header + i] = (uint8_t)((offset + i) * 2 + salt);
	return header + len;
}

static void check(const uint8_t *ip, size_t len, bool formed)
{
	size_t header = header_of(ip);
	uint32_t sum = 0;

	must(len > header && len <= FRAGMENTS_DATAGRAM_MAX);
	if (ip[0] >> 4 == 6) {
		must((size_t)(ip[4] << 8 | ip[5]) + 40 == len);
	} else {
		must(ip[0] >> 4 == 4 && (size_t)(ip[2] << 8 | ip[3]) == len);
		must(!ip[6] && !ip[7]);
		for (size_t i = 0; i < header; i += 2)
			sum += (uint32_t)ip[i] << 8 | ip[i + 1];
		must((sum & 0xffff) + (sum >> 16) == 0xffff);
	}
	for (size_t i = header; formed && i < len; i++)
		must(ip[i] >> 1 == (uint8_t)((i - header) * 2) >> 1);
}

/* In a block of its own, so that what lies behind the piece is not to be read. */
static void add(struct fragments *f, const uint8_t *ip, size_t len, struct mono now,
		bool formed)
{
	uint8_t *piece = malloc(len ? len : 1), *whole;
	size_t whole_len;
	int rc;

	must(piece != NULL);
	if (len)
		memcpy(piece, ip, len);
	rc = fragments_add(f, piece, len, now, &whole, &whole_len);
	free(piece);
	must(rc == 0 || rc == 1 || rc == -EBADMSG);
	if (rc == 1)
		check(whole, whole_len, formed);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	static const struct fragments_limits limits = { .datagrams = 6,
							.per_source = 3,
							.age = 100 * MONO_MS };
	struct fragments *f = fragments_new(&limits);
	struct unpack u = unpack_from(input, len);
	bool formed = unpack_u8(&u) & 1;
	struct mono now = { 1 };
	uint8_t ip[PIECE_MAX];

	must(f != NULL);
	while (!u.bad && unpack_left(&u)) {
		const uint8_t *bytes = ip;
		size_t n;

		now.ns += unpack_u8(&u) % 64 * MONO_MS;
		if (formed)
			n = form(&u, ip);
		else
			bytes = unpack_blob16(&u, &n);
		if (!u.bad)
			add(f, bytes, n, now, formed);
	}
	fragments_free(f);
	return 0;
}
