/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IPsec tunnel as a machine: the input is a list of events for one member that works
 * alone. Records of sessions as another member may have replicated them, in any bytes;
 * messages of the plugin; packets from outside and inside; units that come and go; time.
 * Then all is looked at as an operator would, and closed. A real core holds the records.
 *
 * Without root the plugin's socket cannot be used, and its messages are left out.
 */
#include <string.h>
#include <sys/socket.h>

#include "tests/fuzz/alone.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

#define EVENTS_MAX 64
#define UNITS_USED 4 /* so that records of one unit meet */
#define SPI_BASE 0x10000

/* What the tunnel tells the plugin is in good form. */
static void plugin_listen_to(void)
{
	static uint8_t buf[LOCAL_MESSAGE_MAX];
	struct local_message m;
	ssize_t n;

	event_base_loop(alone.base, EVLOOP_NONBLOCK);
	while ((n = recv(alone.plugin, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		must(local_decode(buf, (size_t)n, &m) == 0);
}

static const uint8_t *pick_bytes(struct unpack *u, size_t *len)
{
	*len = unpack_u16(u) % 1024;
	if (*len > unpack_left(u))
		*len = unpack_left(u);
	return unpack_raw(u, *len);
}

/* The record as a shadow: the tunnel hears that it changed. */
static void put_record(unit_id unit, const struct session_key *key,
		       const uint8_t *initial, size_t initial_len,
		       const uint8_t *essential, size_t essential_len)
{
	struct session *s;

	if (!cluster_put(alone.c, unit, key, initial_len ? initial : NULL, initial_len,
			 essential_len ? essential : NULL, essential_len, &s, alone.now))
		ipsec_ops.changed(alone.t, s, alone.now);
}

static void hear_record(struct unpack *u)
{
	struct session_key key = { .type = 1 + unpack_u8(u) % 3 };
	uint8_t way = unpack_u8(u);
	struct pack p = pack_to(key.bytes, sizeof(key.bytes));
	const uint8_t *initial, *essential;
	size_t initial_len, essential_len;
	uint32_t spi = SPI_BASE + way % UNITS_USED;

	key.len = way >= 224		   ? way % (CLUSTER_KEY_MAX + 1)
		  : key.type == RECORD_IKE ? 8
					   : 4;
	if (key.len == 8)
		pack_u64(&p, spi);
	else if (key.len == 4)
		pack_u32(&p, spi);
	initial = pick_bytes(u, &initial_len);
	essential = pick_bytes(u, &essential_len);
	put_record(spi_unit(spi + (way >= 192)), &key, initial, initial_len, essential,
		   essential_len);
}

static struct local_addr pick_address(struct unpack *u)
{
	struct local_addr a = { .family = 4, .bytes = { 10, 0, 0, 1 }, .port = 4500 };
	uint8_t way = unpack_u8(u);

	a.bytes[3] = way % 4;
	a.family = way >= 240 ? 0 : way >= 192 ? 6 : 4;
	return a;
}

/* An SA in good form, but for what the input has otherwise. */
static struct local_sa_add pick_sa(struct unpack *u, bool inbound, uint32_t spi,
				   const uint8_t *selectors)
{
	static const uint8_t key[64] = "a key for the fuzzer and no one else";
	uint8_t way = unpack_u8(u);
	struct local_sa_add sa = {
		.ike = SPI_BASE + spi % UNITS_USED,
		.spi = spi,
		.inbound = inbound,
		.src = pick_address(u),
		.dst = pick_address(u),
		.encap = way & 1,
		.mode = way < 250,
		.enc = way & 2 ? ESP_ENCR_AES_GCM_16 : ESP_ENCR_AES_CBC,
		.enc_key = { key, way & 2 ? 20 : 16 },
		.integ = way & 2 ? ESP_AUTH_NONE : ESP_AUTH_HMAC_SHA2_256_128,
		.integ_key = { key, way & 2 ? 0 : 32 },
		.soft_time = unpack_u8(u),
		.hard_time = unpack_u8(u),
		.copy = way >> 4,
		.esn = way >> 3 & 1,
	};

	/* Of the kinds that came later, as the same bits say. */
	if ((way & 0x14) == 0x14)
		sa.hard_packets = sa.hard_time / 8;
	if ((way & 0x0c) == 0x0c) {
		sa.enc = ESP_ENCR_NULL;
		sa.enc_key.len = 0;
		sa.integ = ESP_AUTH_HMAC_SHA2_512_256;
		sa.integ_key.len = 64;
	}
	if ((way & 0xe0) == 0xe0)
		sa.mode = 0;

	sa.src_ts = sa.dst_ts =
	    (struct local_blob){ selectors, LOCAL_TS_SIZE * (size_t)(1 + way / 16 % 2) };
	if (way == 255)
		sa.enc_key.len = unpack_u8(u) % 36;
	return sa;
}

static void pick_selectors(struct unpack *u, uint8_t out[2 * LOCAL_TS_SIZE])
{
	struct pack p = pack_to(out, 2 * LOCAL_TS_SIZE);

	for (unsigned i = 0; i < 2; i++) {
		struct local_ts ts = { .family = 4, .to_port = 65535 };
		uint8_t way = unpack_u8(u);

		if (way & 128)
			ts.family = 6;
		ts.protocol = way & 64 ? 17 : 0;
		ts.from_port = way & 32 ? 53 : 0;
		ts.from[0] = ts.to[0] = 10;
		ts.from[3] = unpack_u8(u);
		ts.to[2] = way & 7;
		ts.to[3] = unpack_u8(u);
		local_ts_put(&p, &ts);
	}
}

/* A CHILD SA's record, changed in one place or not. */
static void hear_child(struct unpack *u)
{
	static uint8_t initial[3 * CHILD_INITIAL_MAX];
	uint8_t selectors[2 * LOCAL_TS_SIZE];
	uint32_t spi = SPI_BASE + unpack_u8(u) % UNITS_USED;
	struct session_key key = { .type = RECORD_CHILD, .len = 4 };
	struct pack p = pack_to(key.bytes, 4);
	struct local_child_put put = { .ike = SPI_BASE + spi % UNITS_USED,
				       .spi_in = spi,
				       .spi_out = 7 };
	struct local_sa_add in, out;
	uint16_t where;
	uint8_t what;
	size_t len;

	pick_selectors(u, selectors);
	in = pick_sa(u, true, spi, selectors);
	out = pick_sa(u, false, 7, selectors);
	what = unpack_u8(u);
	where = unpack_u16(u);
	len = child_encode(&in, &out, &put, initial, sizeof(initial));
	must(len > 0);
	if (what & 1)
		initial[where % len] ^= what;
	pack_u32(&p, spi);
	put_record(spi_unit(spi), &key, initial, len, NULL, 0);
}

static void hear_plugin(struct unpack *u)
{
	static const uint8_t hello[] = { LOCAL_HELLO, 0, LOCAL_VERSION, 0, 0, 0, 0 };
	size_t len;
	const uint8_t *bytes = pick_bytes(u, &len);

	send(alone.plugin, hello, sizeof(hello), MSG_NOSIGNAL);
	if (bytes && len)
		send(alone.plugin, bytes, len, MSG_NOSIGNAL);
	plugin_listen_to();
}

static void hear_packet(struct unpack *u, bool outside)
{
	size_t len;
	const uint8_t *bytes = pick_bytes(u, &len);
	struct packet p = { .bytes = bytes, .len = len, .checksum_ready = true };

	if (bytes && len && outside)
		ipsec_ops.too_long(alone.t, bytes, len, 256u + 4u * bytes[len - 1],
				   alone.now);
	if (bytes)
		(outside ? ipsec_ops.receive : ipsec_ops.forward)(alone.t, &p, alone.now);
	ipsec_ops.flush(alone.t, alone.now);
}

static void event(struct unpack *u)
{
	static const struct unit_set all = { { (1 << UNITS_USED) - 1 } };
	uint8_t kind = unpack_u8(u);

	switch (kind % 8) {
	case 0:
		hear_record(u);
		break;
	case 1:
		hear_child(u);
		break;
	case 2:
		hear_plugin(u);
		break;
	case 3:
	case 4:
		hear_packet(u, kind % 8 == 3);
		break;
	case 5:
		ipsec_ops.activate(alone.t, &all, 1, alone.now);
		break;
	case 6:
		ipsec_ops.deactivate(alone.t, &all, alone.now);
		break;
	case 7:
		alone.now = mono_add(alone.now, (uint64_t)unpack_u8(u) * MONO_SEC / 16);
		cluster_tick(alone.c, alone.now);
		ipsec_ops.tick(alone.t, alone.now);
	}
	ipsec_ops.committed(alone.t, alone.now);
}

static int view(void *ctx, struct session *s)
{
	struct session_view out;

	memset(&out, 0, sizeof(out));
	if (ipsec_ops.view(alone.t, s, &out, alone.now))
		must(out.kind && memchr(out.user, 0, sizeof(out.user)) &&
		     memchr(out.detail, 0, sizeof(out.detail)));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct unpack u = unpack_from(input, len);

	if (!alone.c)
		alone_make();
	alone_start();
	for (unsigned i = 0; i < EVENTS_MAX && unpack_left(&u); i++)
		event(&u);
	plugin_listen_to();
	cluster_each(alone.c, CLUSTER_UNITS, view, NULL);
	alone_stop();
	return 0;
}
