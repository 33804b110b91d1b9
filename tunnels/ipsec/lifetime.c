/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lifetimes of CHILD SAs by time, bytes and packets, over all members that work on one.
 *
 * What has been used is the essential part of the record: it is put anew with the packet by
 * which a thirty-second of a limit has passed, when a sixteenth of the time has, and while
 * there is traffic every minute. A member that takes over goes on from there; for what it may
 * not have heard of it adds a sixteenth: twice as much as the record lacks, since more may
 * have passed while it was under way.
 */
#include <errno.h>
#include <string.h>

#include "tunnels/ipsec/child.h"

#define STEPS 16       /* of the time, and what is assumed of the rest */
#define USAGE_STEPS 32 /* of bytes and packets, as they are put */
#define REFRESH (60 * MONO_SEC)
/* Time for a new SA, before the 32 bits of sequence numbers or IVs run out. */
#define NUMBERS_SOFT 0xc0000000

uint64_t child_age(const struct child *c, struct mono now)
{
	return c->aged + mono_since(now, c->born);
}

static bool over(uint64_t limit, uint64_t used)
{
	return limit && used >= limit;
}

static bool way_over(const struct child_way *way, bool hard)
{
	return over(hard ? way->hard_bytes : way->soft_bytes,
		    way->bytes + way->assumed_bytes) ||
	       over(hard ? way->hard_packets : way->soft_packets,
		    way->packets + way->assumed_packets);
}

bool child_spent(const struct child *c, bool hard)
{
	uint64_t last = child_last_number(c);

	if (way_over(&c->in, hard) || way_over(&c->out, hard))
		return true;
	/* A number is used once under a key: with the last one the SA ends. */
	if (hard)
		return c->next_seq > last || c->iv_used > UINT32_MAX;
	return c->next_seq >= last - (UINT32_MAX - NUMBERS_SOFT) ||
	       c->iv_used >= NUMBERS_SOFT || c->refused;
}

bool child_expired(const struct child *c, bool hard, struct mono now)
{
	return child_spent(c, hard) ||
	       over(hard ? c->in.hard_time : c->in.soft_time, child_age(c, now));
}

static void assume(struct child_way *way)
{
	way->assumed_bytes += way->hard_bytes / STEPS;
	way->assumed_packets += way->hard_packets / STEPS;
}

void child_assume(struct child *c)
{
	assume(&c->in);
	assume(&c->out);
}

static bool step(uint64_t limit, uint64_t used, uint64_t kept)
{
	return limit && used != kept && used - kept >= limit / USAGE_STEPS;
}

static bool way_step(const struct child_way *way)
{
	return step(way->hard_bytes, way->bytes, way->kept_bytes) ||
	       step(way->hard_packets, way->packets, way->kept_packets);
}

bool child_usage_due(const struct child *c, struct mono now)
{
	uint64_t since = child_age(c, now) - c->kept_age;

	return over(c->in.hard_time / STEPS, since) || way_step(&c->in) ||
	       way_step(&c->out) ||
	       (since >= REFRESH && (c->in.packets != c->in.kept_packets ||
				     c->out.packets != c->out.kept_packets));
}

static void pack_way(struct pack *p, struct child_way *way)
{
	pack_u64(p, way->bytes);
	pack_u64(p, way->packets);
	pack_u64(p, way->assumed_bytes);
	pack_u64(p, way->assumed_packets);
	way->kept_bytes = way->bytes;
	way->kept_packets = way->packets;
}

size_t child_usage_put(struct child *c, uint8_t buf[CHILD_USAGE_SIZE], struct mono now)
{
	struct pack p = pack_to(buf, CHILD_USAGE_SIZE);

	c->kept_age = child_age(c, now);
	pack_u64(&p, c->kept_age);
	pack_way(&p, &c->in);
	pack_way(&p, &c->out);
	return p.bad ? 0 : (size_t)(p.at - buf);
}

static void larger(uint64_t *at, uint64_t v)
{
	if (v > *at)
		*at = v;
}

static void unpack_way(struct unpack *u, struct child_way *way)
{
	larger(&way->bytes, unpack_u64(u));
	larger(&way->packets, unpack_u64(u));
	larger(&way->assumed_bytes, unpack_u64(u));
	larger(&way->assumed_packets, unpack_u64(u));
	way->kept_bytes = way->bytes;
	way->kept_packets = way->packets;
}

int child_usage_take(struct child *c, const uint8_t *usage, size_t len, struct mono now)
{
	struct unpack u = unpack_from(usage, len);
	uint64_t age, here = child_age(c, now);

	if (!len)
		return 0;
	if (len != CHILD_USAGE_SIZE)
		return -EBADMSG;
	age = unpack_u64(&u);
	if (age > here)
		c->aged += age - here;
	c->kept_age = child_age(c, now);
	unpack_way(&u, &c->in);
	unpack_way(&u, &c->out);
	return 0;
}
