/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ESP packets exchanged with strongSwan's libipsec, in both directions, for each cipher
 * suite: what one side seals, the other opens and finds the same. The library has them all.
 * Without it this is skipped (77).
 */
#include <library.h>
#include <networking/packet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include <esp_context.h>
#include <esp_packet.h>

#include "tunnels/ipsec/esp.h"

#define LIBRARY "/usr/lib/ipsec/libstrongswan.so.0"
#define LIBIPSEC "/usr/lib/ipsec/libipsec.so.0"
#define PLUGINS "/usr/lib/ipsec/plugins"
#define SPI 0xc1234567
#define PACKET_MAX 1500
#define SKIP 77

static struct {
	library_t **lib;
	host_t *(*host)(char *text, uint16_t port);
	packet_t *(*packet)(host_t *src, host_t *dst, chunk_t bytes);
	esp_context_t *(*context)(int enc, chunk_t enc_key, int integ, chunk_t integ_key,
				  bool inbound);
	ip_packet_t *(*ip)(chunk_t packet);
	esp_packet_t *(*from_wire)(packet_t *packet);
	esp_packet_t *(*from_payload)(host_t *src, host_t *dst, ip_packet_t *payload);
} theirs;

static host_t *here, *there;

static void *symbol(void *library, const char *name)
{
	void *at = dlsym(library, name);

	if (!at) {
		printf("libipsec: no %s\n", name);
		_exit(1);
	}
	return at;
}

static void load(void)
{
	void *strongswan = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);
	void *libipsec = strongswan ? dlopen(LIBIPSEC, RTLD_NOW) : NULL;
	bool (*init)(char *settings, const char *name);

	if (!libipsec) {
		printf("skip libipsec - %s\n", dlerror());
		_exit(SKIP);
	}
	init = symbol(strongswan, "library_init");
	theirs.lib = symbol(strongswan, "lib");
	theirs.host = symbol(strongswan, "host_create_from_string");
	theirs.packet = symbol(strongswan, "packet_create_from_data");
	theirs.context = symbol(libipsec, "esp_context_create");
	theirs.ip = symbol(libipsec, "ip_packet_create");
	theirs.from_wire = symbol(libipsec, "esp_packet_create_from_packet");
	theirs.from_payload = symbol(libipsec, "esp_packet_create_from_payload");
	if (!init("", "phalanx-test")) {
		printf("libipsec: library_init\n");
		_exit(1);
	}
	(*theirs.lib)->plugins->add_path((*theirs.lib)->plugins, PLUGINS);
	(*theirs.lib)->plugins->load((*theirs.lib)->plugins, "random nonce openssl");
	here = theirs.host("192.0.2.1", 4500);
	there = theirs.host("198.51.100.7", 4500);
}

static void make_ip(uint8_t *ip, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ip[i] = (uint8_t)(i * 7 + len);
	memcpy(ip, "\x45\x00\x00\x00\x00\x00\x00\x00\x40\x2f", 10);
	ip[2] = (uint8_t)(len >> 8);
	ip[3] = (uint8_t)len;
}

static chunk_t copied(const uint8_t *bytes, size_t len)
{
	chunk_t out = { malloc(len), len };

	memcpy(out.ptr, bytes, len);
	return out;
}

/* We seal, they open. */
static bool outward(struct esp_cipher *ours, esp_context_t *context, uint32_t seq,
		    const uint8_t *ip, size_t len)
{
	uint8_t sealed[PACKET_MAX + ESP_OVERHEAD_MAX];
	size_t sealed_len;
	esp_packet_t *packet;
	chunk_t got;
	bool same;

	if (esp_seal(ours, SPI, seq, seq + 1000, ESP_NEXT_IPV4, ip, len, sealed,
		     sizeof(sealed), &sealed_len))
		return FALSE;
	packet = theirs.from_wire(theirs.packet(here->clone(here), there->clone(there),
						copied(sealed, sealed_len)));
	same = packet->decrypt(packet, context) == SUCCESS &&
	       packet->get_next_header(packet) == ESP_NEXT_IPV4;
	if (same) {
		got = packet->get_payload(packet)->get_encoding(
		    packet->get_payload(packet));
		same = got.len == len && memeq(got.ptr, ip, len);
	}
	packet->destroy(packet);
	return same;
}

/* They seal, we open. */
static bool inward(struct esp_cipher *ours, esp_context_t *context, uint32_t seq,
		   const uint8_t *ip, size_t len)
{
	esp_packet_t *packet = theirs.from_payload(there->clone(there), here->clone(here),
						   theirs.ip(copied(ip, len)));
	uint8_t opened[PACKET_MAX + ESP_OVERHEAD_MAX], next;
	uint32_t spi, number;
	size_t opened_len;
	chunk_t sealed;
	bool same = FALSE;

	if (packet->encrypt(packet, context, htonl(SPI)) == SUCCESS) {
		sealed = packet->packet.get_data(&packet->packet);
		same = !esp_parse(sealed.ptr, sealed.len, &spi, &number) && spi == SPI &&
		       number == seq &&
		       !esp_open(ours, sealed.ptr, sealed.len, number, opened,
				 sizeof(opened), &opened_len, &next) &&
		       next == ESP_NEXT_IPV4 && opened_len == len &&
		       memeq(opened, ip, len);
	}
	packet->destroy(packet);
	return same;
}

/* 1: right in both directions. 0: they have no such suite. -1: wrong. */
static int exchange(const struct esp_algorithms *a)
{
	const int integ = a->integ ? a->integ : AUTH_UNDEFINED;
	chunk_t enc_key = { (u_char *)a->enc_key, a->enc_key_len };
	chunk_t integ_key = { (u_char *)a->integ_key, a->integ_key_len };
	esp_context_t *in = theirs.context(a->enc, enc_key, integ, integ_key, TRUE);
	esp_context_t *out = theirs.context(a->enc, enc_key, integ, integ_key, FALSE);
	struct esp_cipher *ours = NULL;
	uint8_t ip[PACKET_MAX];
	int result = 1;

	if (!in || !out)
		return 0;
	if (esp_cipher_new(&ours, a))
		return -1;
	for (uint32_t seq = 1; seq <= 40 && result > 0; seq++) {
		size_t len = seq < 36 ? 20 + seq : 1300 + seq;

		make_ip(ip, len);
		if (!outward(ours, in, seq, ip, len) || !inward(ours, out, seq, ip, len))
			result = -1;
	}
	esp_cipher_free(ours);
	in->destroy(in);
	out->destroy(out);
	return result;
}

static unsigned tried, missing, wrong;

static void try(uint16_t enc, const char *name, size_t key_len, uint16_t integ,
		const char *digest, size_t integ_key_len)
{
	static const uint8_t key[] = "thirty-six bytes of a key and a salt",
			     integ_key[] =
				 "sixty-four bytes of a key for the integrity of all "
				 "these packets";
	const struct esp_algorithms a = { enc,	     key,	    key_len, integ,
					  integ_key, integ_key_len, FALSE };
	int result = exchange(&a);

	tried++;
	missing += result == 0;
	wrong += result < 0;
	if (result <= 0)
		printf("libipsec: %s %s (%u/%u): %s\n", name ? name : "NULL", digest, enc,
		       integ, result ? "differs" : "is not in the library");
}

int main(void)
{
	load();
#define Y(i, digest, ikey, iicv) try(id_, name_, key_, i, digest, ikey);
#define X(i, n, key, salt, iv, align, icv)                                               \
	do {                                                                             \
		const uint16_t id_ = i;                                                  \
		const char *name_ = n;                                                   \
		const size_t key_ = (key) + (salt);                                      \
                                                                                         \
		if (icv)                                                                 \
			try(id_, name_, key_, 0, "", 0);                                 \
		else {                                                                   \
			ESP_INTEGRITIES(Y)                                               \
		}                                                                        \
	} while (0);
	ESP_ENCRYPTIONS(X)
#undef X
#undef Y
	printf("libipsec: %u suites, %u of them not in the library, %u differ\n", tried,
	       missing, wrong);
	fflush(stdout);
	/* What the library leaves allocated is none of this test's concern. */
	_exit(wrong || missing);
}
