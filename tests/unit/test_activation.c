/* SPDX-License-Identifier: GPL-2.0-or-later */
/* No activation number is used twice, whatever ends a run. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cluster/cluster.h"
#include "src/activation.h"

static char directory[] = "/tmp/phalanx-activation-XXXXXX";
static char path[64];

static int setup(void **state)
{
	strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/activation", directory);
	return 0;
}

static int teardown(void **state)
{
	chmod(directory, 0700);
	unlink(path);
	return rmdir(directory);
}

static struct activation *begin(uint32_t *used)
{
	char err[ACTIVATION_ERROR_SIZE] = "";
	struct activation *a = activation_open(directory, used, err);

	if (!a)
		fail_msg("%s", err);
	return a;
}

static unsigned long on_disk(void)
{
	FILE *file = fopen(path, "r");
	unsigned long number = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &number), 1);
	fclose(file);
	return number;
}

static void test_a_new_run_begins_above_the_last(void **state)
{
	uint32_t used, last = 0;

	for (unsigned run = 0; run < 5; run++) {
		struct activation *a = begin(&used);

		assert_true(used >= last);
		for (last = used + 1; last < used + 700; last++) {
			assert_int_equal(activation_use(a, last), 0);
			/* A crash here must find it covered. */
			assert_true(on_disk() >= last);
		}
		activation_close(a);
	}
}

static void test_a_jump_is_covered(void **state)
{
	struct activation *a;
	uint32_t used;

	a = begin(&used);
	assert_int_equal(activation_use(a, 100000), 0);
	assert_true(on_disk() >= 100000);
	activation_close(a);
}

static void test_the_last_number(void **state)
{
	struct activation *a;
	uint32_t used;

	a = begin(&used);
	assert_int_equal(activation_use(a, CLUSTER_ACTIVATION_MAX), 0);
	activation_close(a);
	a = begin(&used);
	assert_int_equal(used, CLUSTER_ACTIVATION_MAX);
	activation_close(a);
}

static void test_damaged_files(void **state)
{
	const char *const texts[] = { "", "12", "x\n", "-1\n", "4194304\n", "12 \n" };
	char err[ACTIVATION_ERROR_SIZE];
	uint32_t used;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		FILE *file = fopen(path, "w");

		assert_non_null(file);
		fputs(texts[i], file);
		fclose(file);
		assert_null(activation_open(directory, &used, err));
		assert_non_null(strstr(err, "damaged"));
	}
}

static void test_no_directory(void **state)
{
	char err[ACTIVATION_ERROR_SIZE];
	uint32_t used;

	assert_null(activation_open("/nonexistent/phalanx", &used, err));
	assert_non_null(strstr(err, "/nonexistent/phalanx"));
	activation_close(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_new_run_begins_above_the_last),
		TEST(test_a_jump_is_covered),
		TEST(test_the_last_number),
		TEST(test_damaged_files),
		cmocka_unit_test(test_no_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
