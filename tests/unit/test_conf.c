/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goldens cannot show: files that are none, look-ups, derived values. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/conf.h"

#define BASE                                                                             \
	"member \"m1\" { id = 7 address = \"10.0.0.1\" }\n"                              \
	"member \"m2\" { id = 3 address = \"10.0.0.2\" port = 9 }\n"                     \
	"network \"outside\" { interface = \"eth0\" addresses = {\"192.0.2.1\"} }\n"

static char directory[] = "/tmp/phalanx-test-conf.XXXXXX";
static char path[64];

static int make_directory(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/x.conf", directory);
	return 0;
}

static int remove_directory(void **state)
{
	unlink(path);
	return rmdir(directory);
}

/* Reads `text` as a file; *errors (to be freed) is what was complained about. */
static struct conf *read_bytes(const char *text, size_t len, char **errors)
{
	FILE *f = fopen(path, "w"), *out;
	struct conf *conf;
	size_t size;

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	out = open_memstream(errors, &size);
	assert_non_null(out);
	conf = conf_read(path, out);
	fclose(out);
	return conf;
}

static struct conf *read_good(const char *text)
{
	char *errors;
	struct conf *conf = read_bytes(text, strlen(text), &errors);

	assert_string_equal(errors, "");
	free(errors);
	assert_non_null(conf);
	return conf;
}

static void refuses(const char *text, size_t len, const char *complaint)
{
	char *errors;

	assert_null(read_bytes(text, len, &errors));
	if (!strstr(errors, complaint))
		fail_msg("expected '%s' in: %s", complaint, errors);
	free(errors);
}

static void test_defaults(void **state)
{
	struct conf *c = read_good(BASE);
	char buf[128];

	assert_string_equal(c->node, "");
	assert_int_equal(c->mode, CONF_MULTICAST);
	assert_int_equal(c->detection_interval, 200);
	assert_int_equal(c->capacity, 100);
	assert_int_equal(c->balance_interval, 2000);
	assert_int_equal(c->moves_per_round, 64);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	assert_int_equal(c->tunnel.mtu, 1400);
	assert_true(c->ipsec.inbound_commit);
	assert_int_equal(c->ipsec.address_hold_back, 3600);
	assert_string_equal(conf_control_path(c, buf, sizeof(buf)),
			    "/run/phalanx/control.sock");
	conf_free(c);
}

static void test_look_ups(void **state)
{
	struct conf *c = read_good(BASE);

	assert_ptr_equal(conf_member_named(c, "m2"), &c->members[1]);
	assert_null(conf_member_named(c, "m"));
	assert_ptr_equal(conf_member_with_id(c, 7), &c->members[0]);
	assert_null(conf_member_with_id(c, 0));
	assert_ptr_equal(conf_network_named(c, "outside"), &c->networks[0]);
	assert_null(conf_network_named(c, ""));
	assert_int_equal(c->members[0].port, c->port);
	assert_int_equal(c->members[1].port, 9);
	conf_free(c);
}

/* The mode decides about the group bit, wherever in the file it stands. */
static void test_mac(void **state)
{
	static const uint8_t multicast[6] = { 3, 'P', 192, 0, 2, 1 };
	static const uint8_t unicast[6] = { 2, 'P', 192, 0, 2, 1 };
	struct conf *c = read_good(BASE);

	assert_memory_equal(c->networks[0].mac, multicast, 6);
	conf_free(c);
	c = read_good(BASE "mode = unicast\n");
	assert_true(c->networks[0].mac_auto);
	assert_memory_equal(c->networks[0].mac, unicast, 6);
	conf_free(c);
}

static void test_line_of_end(void **state)
{
	refuses("\n\n", 2, ":2: the file ends without a member");
	refuses("\n\n ", 3, ":3: the file ends without a member");
	refuses("", 0, ":1: the file ends without a member");
}

static void test_zero_byte(void **state)
{
	static const char text[] = BASE "capacity\0 = 1\n";

	refuses(text, sizeof(text) - 1, ":4: a zero byte, expected text");
}

static void test_too_large(void **state)
{
	size_t len = 300 * 1024;
	char *text = malloc(len);

	assert_non_null(text);
	memset(text, '\n', len);
	refuses(text, len, "larger than 256 KiB");
	free(text);
}

static void test_too_many_values(void **state)
{
	size_t len = 0, size = 200 * 1024;
	char *text = malloc(size);

	assert_non_null(text);
	len = (size_t)sprintf(text, "network n { addresses = {x");
	while (len < size - 8)
		len += (size_t)sprintf(text + len, ",x");
	refuses(text, len, "expected at most 4096");
	free(text);
}

static void test_no_file(void **state)
{
	char *errors = NULL;
	size_t size;
	FILE *out = open_memstream(&errors, &size);

	assert_non_null(out);
	assert_null(conf_read("/nonexistent/x.conf", out));
	assert_null(conf_read(directory, out));
	assert_null(conf_read("/dev/null", out));
	fclose(out);
	assert_non_null(
	    strstr(errors, "/nonexistent/x.conf: No such file or directory\n"));
	assert_non_null(strstr(errors, ": not a regular file"));
	assert_non_null(strstr(errors, "/dev/null: not a regular file"));
	free(errors);
}

/* What a file says must not reach a terminal as control characters. */
static void test_complaints_are_text(void **state)
{
	static const char text[] = BASE "mode = \"\\x1b[2J\xff\"\n";

	refuses(text, sizeof(text) - 1, ":4: mode is '?[2J?', expected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_look_ups),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_line_of_end),
		cmocka_unit_test(test_zero_byte),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_too_many_values),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_complaints_are_text),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
