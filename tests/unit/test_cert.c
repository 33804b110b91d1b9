/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cert.h"

static char top[64];
static char err[CERT_ERR];

/* A path below the test's own folder; good until the fourth call after it. */
static const char *in(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	strcpy(top, "/tmp/test_cert.XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(cert_make_ca(in("ca"), "Test-Cluster", 30, err), 0);
	return 0;
}

static int teardown(void **state)
{
	return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static mode_t mode_of(const char *path)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 0777;
}

static void assert_err(const char *part)
{
	if (!strstr(err, part))
		fail_msg("\"%s\" does not say \"%s\"", err, part);
}

static void test_issue(void **state)
{
	char name[CLUSTER_NAME_MAX];
	member_id id = 0;

	assert_int_equal(mode_of(in("ca/ca.key")), 0600);
	assert_int_equal(cert_issue(in("ca"), "m1", 1023, 10, in("m1"), false, err), 0);
	assert_int_equal(mode_of(in("m1.key")), 0600);
	assert_int_equal(cert_read_file(in("m1.crt"), name, &id, err), 0);
	assert_string_equal(name, "m1");
	assert_int_equal(id, 1023);
	assert_int_equal(
	    cert_check_files(in("m1.crt"), in("m1.key"), in("ca/ca.crt"), err), 0);
}

static void test_nothing_is_overwritten(void **state)
{
	assert_int_equal(cert_make_ca(in("ca"), "Another", 30, err), -EEXIST);
	assert_err("ca.key exists");
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 10, in("m"), false, err), 0);
	assert_int_equal(cert_issue(in("ca"), "m2", 2, 10, in("m"), false, err), -EEXIST);
	assert_err("m.key exists");
	/* The refusal left no trace: the pair can still be issued. */
	assert_int_equal(cert_issue(in("ca"), "m2", 2, 10, in("m2"), false, err), 0);
}

static void test_ids_are_never_given_twice(void **state)
{
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 10, in("a"), false, err), 0);
	assert_int_equal(cert_issue(in("ca"), "m2", 1, 10, in("b"), false, err), -EEXIST);
	assert_err("never given");
	assert_int_equal(cert_issue(in("ca"), "m2", 1, 10, in("b"), true, err), -EEXIST);
	assert_int_equal(cert_issue(in("ca"), "m1", 2, 10, in("b"), true, err), -EEXIST);
	assert_err("already has the member id 1");
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 10, in("b"), false, err), -EEXIST);
	assert_err("forced");
	assert_int_equal(access(in("b.key"), F_OK), -1);
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 10, in("a"), true, err), 0);
	assert_int_equal(cert_check_files(in("a.crt"), in("a.key"), in("ca/ca.crt"), err),
			 0);
}

static void test_failed_issue_takes_no_id(void **state)
{
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 9, in("no/m1"), false, err),
			 -ENOENT);
	assert_err("no/m1.key");
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 9, in("m1"), false, err), 0);
}

static void test_bad_arguments(void **state)
{
	char longest[80];

	memset(longest, 'x', sizeof(longest));
	longest[63] = '\0';
	assert_int_equal(cert_issue(in("ca"), longest, 7, 9, in("m"), false, err), 0);
	longest[63] = 'x';
	longest[64] = '\0';
	assert_int_equal(cert_issue(in("ca"), longest, 8, 9, in("n"), false, err),
			 -EINVAL);
	assert_int_equal(cert_issue(in("ca"), "m 1", 8, 9, in("n"), false, err), -EINVAL);
	assert_int_equal(cert_issue(in("ca"), "", 8, 9, in("n"), false, err), -EINVAL);
	assert_int_equal(cert_issue(in("ca"), "m", 0, 9, in("n"), false, err), -ERANGE);
	assert_int_equal(cert_issue(in("ca"), "m", 1024, 9, in("n"), false, err),
			 -ERANGE);
	assert_int_equal(cert_issue(in("none"), "m", 8, 9, in("n"), false, err), -ENOENT);
}

static void test_check_files(void **state)
{
	time_t now = time(NULL);

	assert_int_equal(cert_issue(in("ca"), "m1", 1, 10, in("m1"), false, err), 0);
	assert_int_equal(cert_issue(in("ca"), "m2", 2, 10, in("m2"), false, err), 0);
	assert_int_equal(cert_make_ca(in("other"), "Other", 30, err), 0);

	assert_int_equal(
	    cert_check_files(in("no.crt"), in("m1.key"), in("ca/ca.crt"), err), -ENOENT);
	assert_err("no.crt");
	assert_int_equal(
	    cert_check_files(in("m1.crt"), in("m2.key"), in("ca/ca.crt"), err),
	    -EKEYREJECTED);
	assert_err("is not the key of");
	assert_int_equal(
	    cert_check_files(in("m1.key"), in("m1.key"), in("ca/ca.crt"), err), -EINVAL);
	assert_err("no PEM certificate");
	assert_int_equal(
	    cert_check_files(in("m1.crt"), in("m1.key"), in("other/ca.crt"), err),
	    -EKEYREJECTED);
	assert_err("other/ca.crt");
	assert_int_equal(
	    cert_check_files(in("ca/ca.crt"), in("ca/ca.key"), in("ca/ca.crt"), err),
	    -EINVAL);
	assert_err("no member id");

	assert_int_equal(cert_issue_between(in("ca"), "m3", 3, now - 100, now - 10,
					    in("m3"), false, err),
			 0);
	assert_int_equal(
	    cert_check_files(in("m3.crt"), in("m3.key"), in("ca/ca.crt"), err),
	    -EKEYREJECTED);
	assert_err("expired");

	assert_int_equal(chmod(in("m1.key"), 0644), 0);
	assert_int_equal(
	    cert_check_files(in("m1.crt"), in("m1.key"), in("ca/ca.crt"), err), -EPERM);
	assert_err("m1.key: mode 644");
}

static void test_damaged_index(void **state)
{
	FILE *index = fopen(in("ca/index"), "w");

	fputs("gibberish\n", index);
	fclose(index);
	assert_int_equal(cert_issue(in("ca"), "m1", 1, 10, in("m1"), false, err),
			 -EINVAL);
	assert_err("damaged");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_issue),
		TEST(test_nothing_is_overwritten),
		TEST(test_ids_are_never_given_twice),
		TEST(test_failed_issue_takes_no_id),
		TEST(test_bad_arguments),
		TEST(test_check_files),
		TEST(test_damaged_index),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
