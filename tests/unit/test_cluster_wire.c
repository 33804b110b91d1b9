/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wire formats: each message survives the way there and back, and nothing else does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/wire.h"

static uint8_t buf[CLUSTER_MESSAGE_MAX], again[CLUSTER_MESSAGE_MAX];

static uint64_t next_random(void)
{
	static uint64_t state = 1;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return state >> 33;
}

static int decode_any(const uint8_t *msg, size_t len, uint8_t *out, size_t *out_len)
{
	struct unpack u = unpack_from(msg, len);
	struct wire_header h;
	int rc = wire_decode_header(&u, &h);

	if (rc)
		return rc;
	switch (h.type) {
#define X(name, FIELDS)                                                                  \
	case wire_type_##name: {                                                         \
		static struct wire_##name m;                                             \
                                                                                         \
		rc = wire_decode_##name(&u, &m);                                         \
		if (!rc)                                                                 \
			*out_len = wire_encode_##name(out, CLUSTER_MESSAGE_MAX, h.term,  \
						      h.incarnation, &m);                \
		return rc;                                                               \
	}
		WIRE_MESSAGES(X)
#undef X
	}
	return -ENOENT;
}

/* What decodes is encoded to the same bytes; one byte less or more does not decode. */
static void check_message(size_t len)
{
	size_t len2 = 0;

	assert_true(len > 0);
	assert_int_equal(decode_any(buf, len, again, &len2), 0);
	assert_int_equal(len, len2);
	assert_memory_equal(buf, again, len);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_not_equal(decode_any(buf, cut, again, &len2), 0);
	buf[len] = 0;
	assert_int_equal(decode_any(buf, len + 1, again, &len2), -EBADMSG);
}

static void empty_messages_survive(void **state)
{
#define X(name, FIELDS)                                                                  \
	{                                                                                \
		static struct wire_##name m;                                             \
                                                                                         \
		check_message(                                                           \
		    wire_encode_##name(buf, sizeof(buf), 7 << 16 | 3, 99, &m));          \
		assert_string_equal(wire_name(wire_type_##name), #name);                 \
	}
	WIRE_MESSAGES(X)
#undef X
}

static void full_messages_survive(void **state)
{
	struct wire_put put = {
		.position = 1,
		.unit = 1023,
		.epoch = WIRE_EPOCH_MAX >> 16 << 16 | CLUSTER_ID_MAX,
		.flags = 7,
		.key = { .type = 2, .len = 16, .bytes = "0123456789abcde" },
		.first = 5,
		.second = 6,
		.initial = (const uint8_t *)"initial",
		.initial_len = 7,
		.essential = (const uint8_t *)"",
	};
	static struct wire_master_keepalive k;
	static struct wire_entries e;
	static struct wire_counters n;

	check_message(wire_encode_put(buf, sizeof(buf), 1, 2, &put));
	k.members_count = CLUSTER_MEMBERS_MAX;
	for (unsigned i = 0; i < CLUSTER_MEMBERS_MAX; i++)
		k.members[i] =
		    (struct wire_member){ .id = (member_id)(i + 1), .incarnation = i };
	k.why = (const uint8_t
		     *)"0123456789012345678901234567890123456789012345678901234567890ab";
	k.why_len = WIRE_WHY_MAX;
	check_message(wire_encode_master_keepalive(buf, sizeof(buf), 1, 2, &k));
	assert_true(wire_encode_master_keepalive(buf, WIRE_RELAYED_MAX, 1, 2, &k));
	n.counts_count = WIRE_COUNTS_MAX;
	for (unsigned i = 0; i < WIRE_COUNTS_MAX; i++)
		n.counts[i].key.len = CLUSTER_KEY_MAX;
	check_message(wire_encode_counters(buf, sizeof(buf), 1, 2, &n));
	assert_true(wire_encode_counters(buf, WIRE_RELAYED_MAX, 1, 2, &n));
	e.entries_count = WIRE_DATAGRAM_ENTRIES;
	assert_true(wire_encode_entries(buf, WIRE_RELAYED_MAX, 1, 2, &e));
	e.entries_count = CLUSTER_UNITS;
	assert_true(wire_encode_entries(buf, sizeof(buf), 1, 2, &e));
	put.initial = buf;
	put.initial_len = WIRE_PARTS_MAX;
	assert_true(wire_encode_put(again, sizeof(again), 1, 2, &put));
}

static void limits_are_kept(void **state)
{
	static struct wire_entries e = { .entries_count = 1 };
	struct wire_death d = { .id = CLUSTER_ID_MAX };
	size_t len = wire_encode_entries(buf, sizeof(buf), 0, 0, &e), out;

	/* The count, and the unit of the first row. */
	buf[WIRE_HEADER_SIZE + 9] = 0x04;
	buf[WIRE_HEADER_SIZE + 10] = 0x01;
	assert_int_equal(decode_any(buf, len, again, &out), -EBADMSG);
	e.entries[0].unit = CLUSTER_UNITS;
	len = wire_encode_entries(buf, sizeof(buf), 0, 0, &e);
	assert_int_equal(decode_any(buf, len, again, &out), -EBADMSG);
	len = wire_encode_death(buf, sizeof(buf), 0, 0, &d);
	assert_int_equal(decode_any(buf, len, again, &out), 0);
	d.id++;
	len = wire_encode_death(buf, sizeof(buf), 0, 0, &d);
	assert_int_equal(decode_any(buf, len, again, &out), -EBADMSG);
	buf[0] = WIRE_VERSION + 1;
	assert_int_equal(decode_any(buf, len, again, &out), -EPROTO);
}

/* In the header as the term, and in a body. */
static int decode_epoch(uint64_t epoch, bool in_body)
{
	static struct wire_entries e = { .entries_count = 1 };
	size_t len, out;

	e.entries[0].epoch = in_body ? epoch : 0;
	len = wire_encode_entries(buf, sizeof(buf), in_body ? 0 : epoch, 0, &e);
	return decode_any(buf, len, again, &out);
}

static void an_epoch_is_a_number_and_an_id(void **state)
{
	for (int in_body = 0; in_body < 2; in_body++) {
		assert_int_equal(decode_epoch(5 << 16 | CLUSTER_ID_MAX, in_body), 0);
		assert_int_equal(decode_epoch(5 << 16 | (CLUSTER_ID_MAX + 1), in_body),
				 -EBADMSG);
		assert_int_equal(decode_epoch((WIRE_EPOCH_MAX >> 16 << 16) + 1, in_body),
				 0);
		assert_int_equal(decode_epoch(WIRE_EPOCH_MAX + 2, in_body), -EBADMSG);
	}
}

/* Whatever decodes encodes to the same again; nothing reads or writes astray. */
static void noise_does_no_harm(void **state)
{
	unsigned good = 0;

	for (unsigned i = 0; i < 200000; i++) {
		size_t len = WIRE_HEADER_SIZE + next_random() % 80, out = 0;
		uint8_t *exact = malloc(len);

		assert_non_null(exact);
		for (size_t k = 0; k < len; k++)
			exact[k] = next_random() % 4 ? 0 : (uint8_t)next_random();
		exact[0] = WIRE_VERSION;
		exact[1] = (uint8_t)(next_random() % (WIRE_TYPES + 2));
		if (!decode_any(exact, len, again, &out)) {
			assert_int_equal(len, out);
			assert_memory_equal(exact, again, len);
			good++;
		}
		free(exact);
	}
	assert_true(good > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_messages_survive),
		cmocka_unit_test(full_messages_survive),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(an_epoch_is_a_number_and_an_id),
		cmocka_unit_test(noise_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
