/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each tests/conf/good/X.conf prints as X.out, and that again as itself; each
 * tests/conf/bad/X.conf is refused with the text of X.err. With the environment's
 * UPDATE_GOLDENS the expected texts are written instead of compared: read the difference
 * before you commit it.
 */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/conf.h"

#define EXAMPLE "../../etc/phalanx.conf.example"

/* All of a file; the caller frees it. */
static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	if (!f)
		fail_msg("%s is missing", path);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	return text;
}

/* "good/X.conf" and "out" -> "good/X.out"; the caller frees it. */
static char *beside(const char *path, const char *suffix)
{
	const char *name = strcmp(path, EXAMPLE) == 0 ? "good/example.conf" : path;
	char *other = NULL;

	assert_true(asprintf(&other, "%.*s.%s", (int)(strrchr(name, '.') - name), name,
			     suffix) > 0);
	return other;
}

static void compare(const char *golden, const char *text)
{
	char *expected;

	if (getenv("UPDATE_GOLDENS")) {
		FILE *f = fopen(golden, "w");

		assert_non_null(f);
		fputs(text, f);
		fclose(f);
	}
	expected = slurp(golden);
	assert_string_equal(text, expected);
	free(expected);
}

static char *print(const struct conf *conf)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	conf_print(conf, out);
	fclose(out);
	return text;
}

/* The configuration in the file, which must be good. */
static struct conf *read_good(const char *path)
{
	char *text = NULL;
	size_t len;
	FILE *errors = open_memstream(&text, &len);
	struct conf *conf = conf_read(path, errors);

	fclose(errors);
	if (!conf)
		fail_msg("%s", text);
	assert_string_equal(text, "");
	free(text);
	return conf;
}

static void test_good(void **state)
{
	const char *path = *state;
	struct conf *conf = read_good(path), *again;
	char *golden = beside(path, "out");
	char *text = print(conf), *text_again;
	char temporary[] = "/tmp/phalanx-conf.XXXXXX";
	int fd = mkstemp(temporary);

	compare(golden, text);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	again = read_good(temporary);
	unlink(temporary);
	text_again = print(again);
	assert_string_equal(text_again, text);
	assert_memory_equal(conf, again, sizeof(*conf));
	conf_free(conf);
	conf_free(again);
	free(text);
	free(text_again);
	free(golden);
}

static void test_bad(void **state)
{
	const char *path = *state;
	char *golden = beside(path, "err"), *text = NULL;
	size_t len;
	FILE *errors = open_memstream(&text, &len);

	assert_non_null(errors);
	assert_null(conf_read(path, errors));
	fclose(errors);
	compare(golden, text);
	free(text);
	free(golden);
}

static size_t add_tests(struct CMUnitTest *tests, size_t n, const glob_t *files,
			CMUnitTestFunction function)
{
	for (size_t i = 0; i < files->gl_pathc; i++)
		tests[n++] = (struct CMUnitTest){ files->gl_pathv[i], function, NULL,
						  NULL, files->gl_pathv[i] };
	return n;
}

int main(void)
{
	struct CMUnitTest *tests;
	glob_t good, bad;
	size_t n = 0;
	int failed;

	if (chdir(TESTS_CONF) < 0 || glob("good/*.conf", 0, NULL, &good) != 0 ||
	    glob("bad/*.conf", 0, NULL, &bad) != 0) {
		fprintf(stderr, "no configurations in %s\n", TESTS_CONF);
		return 1;
	}
	tests = calloc(good.gl_pathc + bad.gl_pathc + 1, sizeof(*tests));
	if (!tests)
		return 1;
	n = add_tests(tests, n, &good, test_good);
	n = add_tests(tests, n, &bad, test_bad);
	tests[n++] =
	    (struct CMUnitTest){ EXAMPLE, test_good, NULL, NULL, (void *)EXAMPLE };
	failed = _cmocka_run_group_tests("configurations", tests, n, NULL, NULL);
	free(tests);
	globfree(&good);
	globfree(&bad);
	return failed;
}
