/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What routers say of packets that were too long. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/pathmtu.h"

static const uint8_t error4[] = { 0x46, 0,    0,    44, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0,
				  1,	10,   0,    0,	2, 0, 0, 0, 0,	3, 4, 0, 0,  0, 0,
				  5,	0x14, 0x45, 1,	2, 3, 4, 5, 6,	7, 8, 9, 8,  7 };
static const uint8_t error6[] = { 2, 0, 0, 0, 0, 0, 5, 0x14, 0x60, 1, 2, 3 };

static void test_messages(void **state)
{
	const uint8_t *quoted;
	unsigned mtu;
	size_t len;

	assert_int_equal(pathmtu_read4(error4, sizeof(error4), &quoted, &len, &mtu), 0);
	assert_ptr_equal(quoted, error4 + 32);
	assert_int_equal(len, 12);
	assert_int_equal(mtu, 1300);
	assert_int_equal(pathmtu_read6(error6, sizeof(error6), &quoted, &len, &mtu), 0);
	assert_ptr_equal(quoted, error6 + 8);
	assert_int_equal(len, 4);
	assert_int_equal(mtu, 1300);
}

/* Every other message, and every part of these, exactly sized for ASan. */
static void test_others(void **state)
{
	static const struct {
		size_t at;
		uint8_t is;
	} changes4[] = { { 0, 0x66 }, { 0, 0x44 }, { 0, 0x4f }, { 24, 8 }, { 25, 3 } };
	const uint8_t *quoted;
	uint8_t changed[sizeof(error4)];
	unsigned mtu;
	size_t len;

	for (size_t i = 0; i < sizeof(changes4) / sizeof(changes4[0]); i++) {
		memcpy(changed, error4, sizeof(changed));
		changed[changes4[i].at] = changes4[i].is;
		assert_int_equal(
		    pathmtu_read4(changed, sizeof(changed), &quoted, &len, &mtu),
		    -EINVAL);
	}
	memcpy(changed, error4, sizeof(changed));
	changed[30] = changed[31] = 0;
	assert_int_equal(pathmtu_read4(changed, sizeof(changed), &quoted, &len, &mtu),
			 -EINVAL);
	for (size_t n = 0; n < 32; n++) {
		uint8_t *exact = malloc(n ? n : 1);

		memcpy(exact, error4, n);
		assert_int_equal(pathmtu_read4(exact, n, &quoted, &len, &mtu), -EINVAL);
		if (n < 8) {
			memcpy(exact, error6, n);
			assert_int_equal(pathmtu_read6(exact, n, &quoted, &len, &mtu),
					 -EINVAL);
		}
		free(exact);
	}
	memcpy(changed, error6, sizeof(error6));
	changed[5] = 1;
	assert_int_equal(pathmtu_read6(changed, sizeof(error6), &quoted, &len, &mtu),
			 -EINVAL);
	changed[5] = 0;
	changed[0] = 1;
	assert_int_equal(pathmtu_read6(changed, sizeof(error6), &quoted, &len, &mtu),
			 -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
