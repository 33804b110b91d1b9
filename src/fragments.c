/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/fragments.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS 256
#define HEADER_MAX 128 /* of a datagram, with options or extension headers */
#define BLOCK 8	       /* fragments begin at multiples of it */
#define BLOCKS ((FRAGMENTS_DATAGRAM_MAX + BLOCK - 1) / BLOCK)
#define EXTENSIONS_MAX 8
#define IP4_LEN 20
#define IP6_LEN 40
#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define DESTINATION_OPTIONS 60
#define ECN_NONE 0
#define ECN_CE 3

struct key {
	uint8_t source[16], destination[16];
	uint32_t id;
	uint8_t version, protocol; /* IPv6: no protocol */
	uint8_t reserved[2];
};

/* A fragment, taken apart. */
struct piece {
	struct key key;
	size_t header_len; /* without IPv6's fragment header */
	size_t next_at;	   /* IPv6: the field that named the fragment header */
	uint8_t next;	   /* and what it becomes */
	const uint8_t *payload;
	size_t offset, len;
	bool more;
	uint8_t ecn;
};

struct datagram {
	TAILQ_ENTRY(datagram) in_age;
	LIST_ENTRY(datagram) in_bucket;
	struct key key;
	struct mono since;
	bool dead;	   /* fragments overlapped: nothing of it is taken any more */
	size_t total;	   /* bytes of payload, 0: the last fragment has not come */
	size_t received;   /* bytes of payload */
	size_t header_len; /* 0: the first fragment has not come */
	uint8_t marks;	   /* bits 1 << congestion mark of each fragment */
	uint8_t have[BLOCKS / 8 + 1];
	uint8_t bytes[HEADER_MAX + FRAGMENTS_DATAGRAM_MAX];
};

struct fragments {
	struct fragments_limits limits;
	TAILQ_HEAD(, datagram) by_age;
	LIST_HEAD(, datagram) buckets[BUCKETS];
	unsigned count;
	struct datagram *done; /* handed out by the last call */
	struct {
		uint64_t received, whole, malformed, overlapping, too_old, full,
		    congestion;
	} counters;
};

struct fragments *fragments_new(const struct fragments_limits *limits)
{
	struct fragments *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->limits = *limits;
	TAILQ_INIT(&f->by_age);
	return f;
}

static void forget(struct fragments *f, struct datagram *d)
{
	TAILQ_REMOVE(&f->by_age, d, in_age);
	LIST_REMOVE(d, in_bucket);
	f->count--;
}

void fragments_free(struct fragments *f)
{
	struct datagram *d;

	if (!f)
		return;
	while ((d = TAILQ_FIRST(&f->by_age))) {
		forget(f, d);
		free(d);
	}
	free(f->done);
	free(f);
}

static size_t be16(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

static int read4(const uint8_t *ip, size_t len, struct piece *p)
{
	size_t header = (size_t)(ip[0] & 15) * 4, total;

	if (len < IP4_LEN)
		return -EBADMSG;
	total = be16(ip + 2);
	if (header < IP4_LEN || total < header || total > len)
		return -EBADMSG;
	p->key.version = 4;
	p->key.protocol = ip[9];
	p->key.id = (uint32_t)be16(ip + 4);
	memcpy(p->key.source, ip + 12, 4);
	memcpy(p->key.destination, ip + 16, 4);
	p->header_len = header;
	p->payload = ip + header;
	p->len = total - header;
	p->offset = (be16(ip + 6) & 0x1fff) * BLOCK;
	p->more = ip[6] >> 5 & 1;
	p->ecn = ip[1] & 3;
	return 0;
}

/* Finds the fragment header: behind what each hop on the way has to see. */
static int read6(const uint8_t *ip, size_t len, struct piece *p)
{
	size_t at = IP6_LEN, next_at = 6, end;

	if (len < IP6_LEN)
		return -EBADMSG;
	end = IP6_LEN + be16(ip + 4);
	if (end > len)
		return -EBADMSG;
	for (unsigned i = 0; i < EXTENSIONS_MAX && ip[next_at] != FRAGMENT; i++) {
		if ((ip[next_at] != HOP_BY_HOP && ip[next_at] != ROUTING &&
		     ip[next_at] != DESTINATION_OPTIONS) ||
		    end - at < 8)
			return -EBADMSG;
		next_at = at;
		at += ((size_t)ip[at + 1] + 1) * 8;
		if (at > end)
			return -EBADMSG;
	}
	if (ip[next_at] != FRAGMENT || end - at < 8)
		return -EBADMSG;
	p->key.version = 6;
	p->key.id = (uint32_t)be16(ip + at + 4) << 16 | (uint32_t)be16(ip + at + 6);
	memcpy(p->key.source, ip + 8, 16);
	memcpy(p->key.destination, ip + 24, 16);
	p->header_len = at;
	p->next_at = next_at;
	p->next = ip[at];
	p->payload = ip + at + 8;
	p->len = end - at - 8;
	p->offset = be16(ip + at + 2) & 0xfff8;
	p->more = ip[at + 3] & 1;
	p->ecn = ip[1] >> 4 & 3;
	return 0;
}

static int piece_read(const uint8_t *ip, size_t len, struct piece *p)
{
	int error = -EBADMSG;

	memset(p, 0, sizeof(*p));
	if (len && ip[0] >> 4 == 4)
		error = read4(ip, len, p);
	else if (len && ip[0] >> 4 == 6)
		error = read6(ip, len, p);
	if (error)
		return error;
	if (!p->len || (p->more && p->len % BLOCK) || p->header_len > HEADER_MAX ||
	    p->offset + p->len > FRAGMENTS_DATAGRAM_MAX - p->header_len)
		return -EBADMSG;
	return 0;
}

static unsigned bucket_of(const struct key *k)
{
	const uint8_t *bytes = (const uint8_t *)k;
	uint64_t h = 0;

	for (size_t i = 0; i < sizeof(*k); i++)
		h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
	return (unsigned)(h >> 32) % BUCKETS;
}

static struct datagram *find(struct fragments *f, const struct key *k)
{
	struct datagram *d;

	LIST_FOREACH(d, &f->buckets[bucket_of(k)], in_bucket)
		if (!memcmp(&d->key, k, sizeof(*k)))
			return d;
	return NULL;
}

static void drop(struct fragments *f, struct datagram *d, uint64_t *counter)
{
	forget(f, d);
	free(d);
	(*counter)++;
}

static void make_room(struct fragments *f, const struct key *k)
{
	struct datagram *d, *oldest = NULL;
	unsigned n = 0;

	TAILQ_FOREACH(d, &f->by_age, in_age) {
		if (memcmp(d->key.source, k->source, sizeof(k->source)) != 0)
			continue;
		oldest = oldest ? oldest : d;
		n++;
	}
	if (n >= f->limits.per_source && oldest)
		drop(f, oldest, &f->counters.full);
	if (f->count >= f->limits.datagrams && !TAILQ_EMPTY(&f->by_age))
		drop(f, TAILQ_FIRST(&f->by_age), &f->counters.full);
}

static struct datagram *make(struct fragments *f, const struct key *k, struct mono now)
{
	struct datagram *d;

	make_room(f, k);
	d = malloc(sizeof(*d));
	if (!d)
		return NULL;
	memset(d, 0, offsetof(struct datagram, bytes));
	d->key = *k;
	d->since = now;
	TAILQ_INSERT_TAIL(&f->by_age, d, in_age);
	LIST_INSERT_HEAD(&f->buckets[bucket_of(k)], d, in_bucket);
	f->count++;
	return d;
}

static bool has(const struct datagram *d, size_t block)
{
	return d->have[block / 8] >> (block % 8) & 1;
}

enum fit { FIT_NEW, FIT_REPEATED, FIT_WRONG };

/* All of it new, all of it known and the same, or neither: then somebody plays tricks. */
static enum fit fits(const struct datagram *d, const struct piece *p)
{
	size_t first = p->offset / BLOCK, last = (p->offset + p->len - 1) / BLOCK;
	size_t known = 0;

	if (d->total && (p->offset + p->len > d->total ||
			 (!p->more && p->offset + p->len != d->total)))
		return FIT_WRONG;
	for (size_t i = last + 1; !p->more && i < BLOCKS; i++)
		if (has(d, i))
			return FIT_WRONG;
	for (size_t i = first; i <= last; i++)
		known += has(d, i);
	if (!known)
		return FIT_NEW;
	if (known != last - first + 1 || (!p->more && !d->total) ||
	    memcmp(d->bytes + HEADER_MAX + p->offset, p->payload, p->len) != 0)
		return FIT_WRONG;
	return FIT_REPEATED;
}

static void store(struct datagram *d, const uint8_t *ip, const struct piece *p)
{
	size_t first = p->offset / BLOCK, last = (p->offset + p->len - 1) / BLOCK;

	for (size_t i = first; i <= last; i++)
		d->have[i / 8] |= (uint8_t)(1 << i % 8);
	memcpy(d->bytes + HEADER_MAX + p->offset, p->payload, p->len);
	d->received += p->len;
	d->marks |= (uint8_t)(1 << p->ecn);
	if (!p->more)
		d->total = p->offset + p->len;
	if (p->offset)
		return;
	d->header_len = p->header_len;
	memcpy(d->bytes + HEADER_MAX - p->header_len, ip, p->header_len);
	if (d->key.version == 6)
		d->bytes[HEADER_MAX - p->header_len + p->next_at] = p->next;
}

static void finish4(uint8_t *ip, size_t header, size_t total)
{
	uint32_t sum = 0;

	ip[2] = (uint8_t)(total >> 8);
	ip[3] = (uint8_t)total;
	memset(ip + 6, 0, 2);
	memset(ip + 10, 0, 2);
	for (size_t i = 0; i < header; i += 2)
		sum += (uint32_t)be16(ip + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	ip[10] = (uint8_t)(~sum >> 8);
	ip[11] = (uint8_t)~sum;
}

/* What one fragment has met, the datagram has (RFC 3168 5.3). False: another one says that its
 * sender cannot know what that means. */
static bool mark(struct datagram *d, uint8_t *ip)
{
	if (!(d->marks & 1 << ECN_CE))
		return true;
	if (d->key.version == 4)
		ip[1] |= ECN_CE;
	else
		ip[1] |= ECN_CE << 4;
	return !(d->marks & 1 << ECN_NONE);
}

static int finish(struct fragments *f, struct datagram *d, uint8_t **whole,
		  size_t *whole_len)
{
	uint8_t *ip = d->bytes + HEADER_MAX - d->header_len;
	size_t total = d->header_len + d->total;

	forget(f, d);
	f->done = d;
	if (total > FRAGMENTS_DATAGRAM_MAX) { /* other fragments had shorter headers */
		f->counters.malformed++;
		return -EBADMSG;
	}
	if (!mark(d, ip)) {
		f->counters.congestion++;
		return -EBADMSG;
	}
	if (d->key.version == 4) {
		finish4(ip, d->header_len, total);
	} else {
		ip[4] = (uint8_t)((total - IP6_LEN) >> 8);
		ip[5] = (uint8_t)(total - IP6_LEN);
	}
	f->counters.whole++;
	*whole = ip;
	*whole_len = total;
	return 1;
}

int fragments_add(struct fragments *f, const uint8_t *ip, size_t len, struct mono now,
		  uint8_t **whole, size_t *whole_len)
{
	struct piece p;
	struct datagram *d;

	free(f->done);
	f->done = NULL;
	f->counters.received++;
	fragments_expire(f, now);
	if (piece_read(ip, len, &p)) {
		f->counters.malformed++;
		return -EBADMSG;
	}
	d = find(f, &p.key);
	if (!d)
		d = make(f, &p.key, now);
	if (!d)
		return -ENOMEM;
	enum fit fit = d->dead ? FIT_WRONG : fits(d, &p);
	if (fit == FIT_WRONG) {
		f->counters.overlapping += !d->dead;
		d->dead = true;
		return -EBADMSG;
	}
	if (fit == FIT_REPEATED)
		return 0;
	store(d, ip, &p);
	if (!d->header_len || !d->total || d->received != d->total)
		return 0;
	return finish(f, d, whole, whole_len);
}

void fragments_expire(struct fragments *f, struct mono now)
{
	struct datagram *d;

	while ((d = TAILQ_FIRST(&f->by_age)) &&
	       mono_since(now, d->since) >= f->limits.age)
		drop(f, d, &f->counters.too_old);
}

size_t fragments_statistics(const struct fragments *f, struct statistic *out, size_t max)
{
	const struct statistic all[] = {
		{ "fragments.received", f->counters.received },
		{ "fragments.whole", f->counters.whole },
		{ "fragments.malformed", f->counters.malformed },
		{ "fragments.illegal-congestion-mark", f->counters.congestion },
		{ "fragments.overlapping", f->counters.overlapping },
		{ "fragments.too-old", f->counters.too_old },
		{ "fragments.full", f->counters.full },
	};
	size_t n = sizeof(all) / sizeof(all[0]);

	n = n < max ? n : max;
	memcpy(out, all, n * sizeof(*out));
	return n;
}
