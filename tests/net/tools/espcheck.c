/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Proves from captures that no ESP nonce and no ESP sequence number was used twice.
 *
 * Two packets with one SPI must differ in their IV and in their sequence number, or be the
 * same packet: then all bytes from SPI to ICV are equal (a flooded frame is seen on several
 * ports). The first 8 bytes of the IV are compared: all of AES-GCM's, and enough of
 * AES-CBC's, which is random. A client that changes its address keeps its SAs, so addresses
 * tell no more than the direction: to the cluster (-c), which chooses its SPIs by itself, or
 * to a client.
 *
 * The parts of a cut cluster know nothing of each other's sequence numbers. While one is
 * said to have been cut (-s), two members, known by their MAC addresses, may use the same
 * number; that is counted. No IV is used twice even then.
 *
 * Encryption by NULL has no IV: then only the sequence numbers of who uses it (-n) count.
 *
 * Exit status: 0 nothing is wrong; 1 a violation, or a capture that proves nothing
 * (without ESP packets, or with truncated ones); 2 wrong usage or an unreadable file.
 */
#include <arpa/inet.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/sha.h>
#include <pcap/pcap.h>

#include "tests/net/tools/espframe.h"

#define EXIT_VIOLATION 1
#define EXIT_TROUBLE 2
#define BUCKETS (UINT32_C(1) << 17)
#define SPLITS_MAX 1024
#define ADDRESSES_MAX 8

/* One direction of one SA. */
struct flow {
	struct flow *next;
	uint32_t spi;
	bool to_cluster;
	struct address dst; /* of its first packet */
	uint64_t packets, duplicates, reordered;
	uint32_t min, max;
	bool bare; /* without IVs */
};

struct packet {
	struct packet *next_seq, *next_iv; /* chains of buckets */
	struct flow *flow;
	uint32_t seq;
	uint64_t iv;
	const char *file;
	uint64_t frame;
	struct timeval at;
	uint8_t sender[ESPFRAME_MAC_LEN];
	uint8_t digest[SHA256_DIGEST_LENGTH];
};

static struct flow *flows;
static struct packet *by_seq[BUCKETS], *by_iv[BUCKETS];
static struct {
	uint64_t frames, esp, distinct, duplicates, fragments, truncated, violations,
	    flows, between_parts;
} total;
/* When the cluster was cut in parts, in seconds as of the captures. */
static struct split {
	double from, to;
} splits[SPLITS_MAX];
static size_t split_count;
static struct address cluster[ADDRESSES_MAX];
static size_t address_count;
static struct address bare; /* whose packets have no IVs */

static void *must_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		err(EXIT_TROUBLE, "memory");
	return p;
}

static uint32_t bucket_of(const struct flow *f, uint64_t v)
{
	uint64_t x =
	    (v ^ (uint64_t)f->spi << 32 ^ f->to_cluster) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(x >> 40) % BUCKETS;
}

static bool is_cluster(const struct address *a)
{
	for (size_t i = 0; i < address_count; i++)
		if (address_same(&cluster[i], a))
			return true;
	return false;
}

static struct flow *flow_of(const struct espframe *e)
{
	bool to_cluster = is_cluster(&e->dst);
	struct flow *f;

	for (f = flows; f != NULL; f = f->next)
		if (f->spi == e->spi && f->to_cluster == to_cluster)
			return f;
	f = must_alloc(sizeof(*f));
	*f = (struct flow){ .next = flows,
			    .spi = e->spi,
			    .to_cluster = to_cluster,
			    .dst = e->dst,
			    .min = UINT32_MAX,
			    .bare = address_same(&bare, &e->src) ||
				    address_same(&bare, &e->dst) };
	flows = f;
	total.flows++;
	return f;
}

static const char *text_of(const struct address *a)
{
	static char text[ADDRESS_TEXT_MAX];

	return address_print(a, text);
}

static void show_place(const struct packet *p)
{
	printf("%s frame %" PRIu64 " at %lld.%06lld (seq %" PRIu32 ", iv %016" PRIx64 ")",
	       p->file, p->frame, (long long)p->at.tv_sec, (long long)p->at.tv_usec,
	       p->seq, p->iv);
}

static void violation(const char *what, const struct packet *old,
		      const struct packet *new)
{
	total.violations++;
	printf("violation: %s used twice, SPI %08" PRIx32 " to %s: ", what,
	       new->flow->spi, text_of(&new->flow->dst));
	show_place(old);
	printf(" and ");
	show_place(new);
	putchar('\n');
}

static bool while_split(const struct packet *p)
{
	double at = (double)p->at.tv_sec + (double)p->at.tv_usec / 1e6;

	for (size_t i = 0; i < split_count; i++)
		if (at >= splits[i].from && at <= splits[i].to)
			return true;
	return false;
}

/* Whether the parts of a cut cluster have sent the two. */
static bool from_two_parts(const struct packet *a, const struct packet *b)
{
	return memcmp(a->sender, b->sender, sizeof(a->sender)) != 0 &&
	       (while_split(a) || while_split(b));
}

/* A packet with the same number: 1 if it is this very packet. */
static int check_seq(const struct packet *p)
{
	const struct packet *first = NULL;
	bool other_part = false;

	for (const struct packet *q = by_seq[bucket_of(p->flow, p->seq)]; q;
	     q = q->next_seq) {
		if (q->flow != p->flow || q->seq != p->seq)
			continue;
		if (memcmp(q->digest, p->digest, sizeof(q->digest)) == 0)
			return 1;
		if (from_two_parts(q, p))
			other_part = true;
		else
			first = q;
	}
	if (first != NULL)
		violation("sequence number", first, p);
	else
		total.between_parts += other_part;
	return 0;
}

static void check_iv(const struct packet *p)
{
	const struct packet *first = NULL;

	for (const struct packet *q = by_iv[bucket_of(p->flow, p->iv)]; q; q = q->next_iv)
		if (q->flow == p->flow && q->iv == p->iv)
			first = q;
	if (first != NULL)
		violation("IV", first, p);
}

static void enter(struct packet *p)
{
	struct packet **seq = &by_seq[bucket_of(p->flow, p->seq)];
	struct packet **iv = &by_iv[bucket_of(p->flow, p->iv)];
	struct flow *f = p->flow;

	p->next_seq = *seq;
	*seq = p;
	p->next_iv = *iv;
	*iv = p;
	if (f->packets++ > 0 && p->seq < f->max)
		f->reordered++;
	f->min = p->seq < f->min ? p->seq : f->min;
	f->max = p->seq > f->max ? p->seq : f->max;
	total.distinct++;
}

static void take(const struct espframe *e, const struct pcap_pkthdr *h,
		 const uint8_t *bytes, const char *file, uint64_t frame)
{
	struct packet *p = must_alloc(sizeof(*p));

	p->flow = flow_of(e);
	p->seq = e->seq;
	p->iv = e->iv;
	p->file = file;
	p->frame = frame;
	p->at = h->ts;
	memcpy(p->sender, bytes + ESPFRAME_MAC_LEN, sizeof(p->sender));
	SHA256(e->esp, e->len, p->digest);
	if (check_seq(p)) {
		p->flow->duplicates++;
		total.duplicates++;
		free(p);
		return;
	}
	if (!p->flow->bare)
		check_iv(p);
	enter(p);
}

static void read_file(const char *file)
{
	char why[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(file, why);
	struct pcap_pkthdr *h;
	const uint8_t *bytes;
	struct espframe e;
	int rc;

	if (pcap == NULL)
		errx(EXIT_TROUBLE, "%s", why);
	if (pcap_datalink(pcap) != DLT_EN10MB)
		errx(EXIT_TROUBLE, "%s: not a capture of Ethernet", file);
	for (uint64_t frame = 1; (rc = pcap_next_ex(pcap, &h, &bytes)) == 1; frame++) {
		enum espframe_kind kind = espframe_parse(bytes, h->caplen, &e);

		total.frames++;
		total.fragments += kind == ESPFRAME_FRAGMENT;
		if (kind == ESPFRAME_TRUNCATED) {
			total.truncated++;
			printf("%s frame %" PRIu64 ": the ESP packet is truncated\n",
			       file, frame);
		}
		if (kind != ESPFRAME_ESP)
			continue;
		total.esp++;
		take(&e, h, bytes, file, frame);
	}
	if (rc == PCAP_ERROR)
		errx(EXIT_TROUBLE, "%s: %s", file, pcap_geterr(pcap));
	pcap_close(pcap);
}

static void show_flows(void)
{
	printf("%-8s  %-15s %9s %9s %10s %10s %9s %9s\n", "SPI", "to", "packets",
	       "identical", "first", "last", "missing", "reordered");
	for (const struct flow *f = flows; f != NULL; f = f->next)
		printf("%08" PRIx32 "  %-15s %9" PRIu64 " %9" PRIu64 " %10" PRIu32
		       " %10" PRIu32 " %9" PRId64 " %9" PRIu64 "\n",
		       f->spi, text_of(&f->dst), f->packets, f->duplicates, f->min,
		       f->max, (int64_t)((uint64_t)f->max - f->min + 1 - f->packets),
		       f->reordered);
}

static void usage(void)
{
	fprintf(stderr, "usage: espcheck [-v] [-c ADDRESS]... [-s FROM-TO]... [-n "
			"ADDRESS] FILE...\n");
	exit(EXIT_TROUBLE);
}

static void add_split(const char *text)
{
	struct split *s = &splits[split_count];
	char end;

	if (split_count == SPLITS_MAX ||
	    sscanf(text, "%lf-%lf%c", &s->from, &s->to, &end) != 2 || s->to < s->from)
		usage();
	split_count++;
}

static void add_address(const char *text)
{
	if (address_count == ADDRESSES_MAX ||
	    address_parse(text, &cluster[address_count++]))
		errx(EXIT_TROUBLE, "%s: an address was expected", text);
}

int main(int argc, char **argv)
{
	int opt, verbose = 0;

	while ((opt = getopt(argc, argv, "vc:s:n:")) != -1) {
		if (opt == 'v')
			verbose = 1;
		else if (opt == 'c')
			add_address(optarg);
		else if (opt == 's')
			add_split(optarg);
		else if (opt != 'n' || address_parse(optarg, &bare))
			usage();
	}
	if (optind == argc)
		usage();
	for (int i = optind; i < argc; i++)
		read_file(argv[i]);
	if (verbose)
		show_flows();
	printf("espcheck: %d files, %" PRIu64 " frames, %" PRIu64
	       " ESP packets in %" PRIu64 " flows, %" PRIu64 " distinct, %" PRIu64
	       " identical repetitions, %" PRIu64 " later fragments, %" PRIu64
	       " truncated, %" PRIu64 " numbers used by two parts, %" PRIu64
	       " violations\n",
	       argc - optind, total.frames, total.esp, total.flows, total.distinct,
	       total.duplicates, total.fragments, total.truncated, total.between_parts,
	       total.violations);
	if (total.esp == 0)
		printf("espcheck: without an ESP packet nothing is proven\n");
	return total.violations > 0 || total.truncated > 0 || total.esp == 0
		   ? EXIT_VIOLATION
		   : 0;
}
