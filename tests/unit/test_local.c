/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local protocol: every message survives the wire, and no damage is taken for one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tunnels/ipsec/local.h"

static uint8_t payload[300];

static void fill_u8(uint8_t *v)
{
	*v = 0x5a;
}

static void fill_u16(uint16_t *v)
{
	*v = 0x1234;
}

static void fill_u32(uint32_t *v)
{
	*v = 0x89abcdef;
}

static void fill_u64(uint64_t *v)
{
	*v = 0x0123456789abcdef;
}

static void fill_addr(struct local_addr *v)
{
	v->family = 6;
	v->port = 4500;
	for (unsigned i = 0; i < sizeof(v->bytes); i++)
		v->bytes[i] = (uint8_t)(i + 1);
}

static void fill_blob(struct local_blob *v)
{
	v->bytes = payload;
	v->len = sizeof(payload);
}

static void fill(struct local_message *m, enum local_type type)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	switch (type) {
#define F(kind, name) fill_##kind(&x->name);
#define M(upper, lower, fields)                                                          \
	case LOCAL_##upper: {                                                            \
		struct local_##lower *x = &m->lower;                                     \
		fields break;                                                            \
	}
		LOCAL_MESSAGES(M)
#undef M
#undef F
	default:
		fail();
	}
}

static void test_round_trip(void **state)
{
	static uint8_t first[8192], second[8192];

	for (int type = LOCAL_NONE + 1; type < LOCAL_TYPES; type++) {
		struct local_message m, back;
		size_t len, again;

		fill(&m, (enum local_type)type);
		len = local_encode(&m, first, sizeof(first));
		assert_true(len > 0);
		assert_int_equal(local_decode(first, len, &back), 0);
		assert_int_equal(back.type, type);
		again = local_encode(&back, second, sizeof(second));
		assert_int_equal(again, len);
		assert_memory_equal(first, second, len);
		assert_int_equal(local_encode(&m, first, len - 1), 0);
	}
}

static void test_short_and_long(void **state)
{
	static uint8_t bytes[8192];

	for (int type = LOCAL_NONE + 1; type < LOCAL_TYPES; type++) {
		struct local_message m, back = { .type = LOCAL_NONE };
		size_t len;

		fill(&m, (enum local_type)type);
		len = local_encode(&m, bytes, sizeof(bytes));
		for (size_t n = 0; n < len; n++) {
			uint8_t *exact = malloc(n ? n : 1);

			memcpy(exact, bytes, n);
			assert_int_equal(local_decode(exact, n, &back), -EBADMSG);
			free(exact);
		}
		bytes[len] = 0;
		assert_int_equal(local_decode(bytes, len + 1, &back), -EBADMSG);
		assert_int_equal(back.type, LOCAL_NONE);
	}
}

static void test_unknown(void **state)
{
	const uint8_t none[] = { LOCAL_NONE }, beyond[] = { LOCAL_TYPES },
		      top[] = { 255 };
	struct local_message m;

	assert_int_equal(local_decode(none, 1, &m), -EBADMSG);
	assert_int_equal(local_decode(beyond, 1, &m), -EBADMSG);
	assert_int_equal(local_decode(top, 1, &m), -EBADMSG);
}

static void test_bad_family(void **state)
{
	static uint8_t bytes[8192];
	struct local_message m, back;
	size_t len;

	fill(&m, LOCAL_ADDRESS);
	len = local_encode(&m, bytes, sizeof(bytes));
	bytes[1 + 4] = 5;
	assert_int_equal(local_decode(bytes, len, &back), -EBADMSG);
}

static void test_selectors(void **state)
{
	uint8_t bytes[2 * LOCAL_TS_SIZE];
	const struct local_ts first = { .family = 4,
					.protocol = 17,
					.to_port = 65535,
					.from = { 10, 1 },
					.to = { 10, 2 } };
	const struct local_ts second = { .family = 6, .from_port = 1, .to_port = 2 };
	struct pack p = pack_to(bytes, sizeof(bytes));
	struct local_blob list = { bytes, sizeof(bytes) },
			  odd = { bytes, LOCAL_TS_SIZE + 1 };
	struct local_ts ts;

	local_ts_put(&p, &first);
	local_ts_put(&p, &second);
	assert_false(p.bad);
	assert_int_equal(local_ts_count(&list), 2);
	assert_int_equal(local_ts_get(&list, 0, &ts), 0);
	assert_int_equal(ts.protocol, 17);
	assert_int_equal(ts.to[1], 2);
	assert_int_equal(local_ts_get(&list, 1, &ts), 0);
	assert_int_equal(ts.to_port, 2);
	assert_int_equal(local_ts_get(&list, 2, &ts), -EBADMSG);
	assert_int_equal(local_ts_get(&odd, 0, &ts), -EBADMSG);
	bytes[0] = 7;
	assert_int_equal(local_ts_get(&list, 0, &ts), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_short_and_long),
		cmocka_unit_test(test_unknown),	   cmocka_unit_test(test_bad_family),
		cmocka_unit_test(test_selectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
