/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is protected without a session: how it is remembered, and when it is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/guard.h"

static char folder[] = "/tmp/test_guard.XXXXXX";
static char now_protected[256]; /* "10.9.0.0/16 ", in the order of their coming */

static void on_protect(void *ctx, const struct address_block *b)
{
	char text[ADDRESS_BLOCK_TEXT_MAX];
	size_t n = strlen(now_protected);

	snprintf(now_protected + n, sizeof(now_protected) - n, "%s ",
		 address_block_print(b, text));
}

static void on_unprotect(void *ctx, const struct address_block *b)
{
	char text[ADDRESS_BLOCK_TEXT_MAX], *at;

	at = strstr(now_protected, address_block_print(b, text));
	assert_non_null(at);
	memmove(at, at + strlen(text) + 1, strlen(at + strlen(text) + 1) + 1);
}

static const struct guard_handler handler = { on_protect, on_unprotect, NULL };

static struct guard *begin(void)
{
	struct guard *g;

	now_protected[0] = '\0';
	g = guard_open(folder, &handler);
	assert_non_null(g);
	return g;
}

static struct mono at(unsigned seconds)
{
	return (struct mono){ (1000 + seconds) * MONO_SEC };
}

static void report(struct guard *g, const char *texts, unsigned seconds)
{
	struct address_block blocks[8];
	char copy[128], *word, *rest;
	unsigned n = 0;

	snprintf(copy, sizeof(copy), "%s", texts);
	for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		assert_int_equal(address_block_parse(word, &blocks[n++]), 0);
	guard_report(g, blocks, n, at(seconds));
	guard_tick(g, at(seconds));
}

static void forget(void)
{
	struct guard *g = begin();

	report(g, "", 0);
	guard_tick(g, at(31));
	assert_int_equal(guard_count(g), 0);
	guard_close(g);
}

static void test_a_report_takes_the_place_of_the_last_one(void **state)
{
	struct guard *g = begin();

	report(g, "10.9.0.0/16 2001:db8:9::/48", 0);
	assert_string_equal(now_protected, "10.9.0.0/16 2001:db8:9::/48 ");
	report(g, "2001:db8:9::/48 10.8.0.0/16", 1);
	assert_string_equal(now_protected, "10.9.0.0/16 2001:db8:9::/48 10.8.0.0/16 ");
	guard_tick(g, at(30));
	assert_int_equal(guard_count(g), 3);
	/* That it is still missing makes it no younger. */
	report(g, "2001:db8:9::/48 10.8.0.0/16", 30);
	guard_tick(g, at(31));
	assert_string_equal(now_protected, "2001:db8:9::/48 10.8.0.0/16 ");
	guard_close(g);
	forget();
}

static void test_what_comes_back_was_never_away(void **state)
{
	struct guard *g = begin();

	report(g, "10.9.0.0/16", 0);
	report(g, "", 10);
	report(g, "10.9.0.0/16", 20);
	guard_tick(g, at(90));
	assert_string_equal(now_protected, "10.9.0.0/16 ");
	report(g, "", 91);
	guard_tick(g, at(120));
	assert_string_equal(now_protected, "10.9.0.0/16 ");
	guard_tick(g, at(121));
	assert_string_equal(now_protected, "");
	guard_close(g);
}

/* While charon is away nobody has said that its configuration is. */
static void test_nobody_there_ends_nothing(void **state)
{
	struct guard *g = begin();

	report(g, "10.9.0.0/16", 0);
	report(g, "", 10);
	guard_alone(g);
	guard_tick(g, at(1000));
	assert_string_equal(now_protected, "10.9.0.0/16 ");
	report(g, "", 1000);
	guard_tick(g, at(1029));
	assert_string_equal(now_protected, "10.9.0.0/16 ");
	guard_tick(g, at(1030));
	assert_string_equal(now_protected, "");
	guard_close(g);
}

static void test_a_restart_forgets_nothing(void **state)
{
	struct guard *g = begin();

	report(g, "10.9.0.0/16 0.0.0.0/0 2001:db8::1/128", 0);
	guard_close(g);
	g = begin();
	assert_string_equal(now_protected, "10.9.0.0/16 0.0.0.0/0 2001:db8::1/128 ");
	report(g, "10.9.0.0/16", 0);
	guard_tick(g, at(30));
	guard_close(g);
	g = begin();
	assert_string_equal(now_protected, "10.9.0.0/16 ");
	guard_close(g);
	forget();
}

static void test_a_spoilt_file_is_read_as_far_as_it_goes(void **state)
{
	char path[128];
	struct guard *g;
	FILE *f;

	snprintf(path, sizeof(path), "%s/protected", folder);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "10.9.0.0/16\nnonsense\n10.9.0.0/33\n10.9.0.1/16\n");
	for (unsigned i = 0; i < 1000; i++)
		fputc('7', f);
	fprintf(f, "\n10.8.0.0/16\n10.9.0.0/16\n2001:db8::/32");
	fclose(f);
	g = begin();
	assert_string_equal(now_protected, "10.9.0.0/16 10.8.0.0/16 2001:db8::/32 ");
	guard_close(g);
	forget();
}

static void test_there_is_an_end(void **state)
{
	static struct address_block many[GUARD_MAX + 10];
	struct guard *g;

	for (unsigned i = 0; i < GUARD_MAX + 10; i++)
		many[i] = (struct address_block){
			{ AF_INET, { 10, (uint8_t)(i >> 8), (uint8_t)i } }, 24
		};
	g = begin();
	guard_report(g, many, GUARD_MAX + 10, at(0));
	assert_int_equal(guard_count(g), GUARD_MAX);
	guard_close(g);
}

static int make_folder(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/protected", folder);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_report_takes_the_place_of_the_last_one),
		cmocka_unit_test(test_what_comes_back_was_never_away),
		cmocka_unit_test(test_nobody_there_ends_nothing),
		cmocka_unit_test(test_a_restart_forgets_nothing),
		cmocka_unit_test(test_a_spoilt_file_is_read_as_far_as_it_goes),
		cmocka_unit_test(test_there_is_an_end),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
