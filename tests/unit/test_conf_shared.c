/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration that members give to one another: what is compared, kept and used. */
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
#include <unistd.h>

#include "src/conf_shared.h"

static char folder[64], file[128];

static int begin(void **state)
{
	strcpy(folder, "/tmp/test_conf_shared.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(file, sizeof(file), "%s/own.conf", folder);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int end(void **state)
{
	return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* `own` are options of this machine, `common` are the cluster's. */
static struct conf *make(unsigned version, const char *own, const char *common)
{
	struct conf *c;
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fprintf(f,
		"version = %u\nstate-directory = \"%s\"\n%s\n%s\n"
		"member m1 { id = 1 address = \"10.0.0.1\" }\n"
		"member m2 { id = 2 address = \"10.0.0.2\" }\n"
		"network outside { interface = eth0 addresses = {\"192.0.2.1\"} }\n",
		version, folder, own, common);
	fclose(f);
	c = conf_read(file, stderr);
	assert_non_null(c);
	return c;
}

static size_t text_of(const struct conf *c, uint8_t *out, size_t size)
{
	size_t len = conf_shared_text(c, out, size);

	assert_true(len > 0);
	return len;
}

static bool exists(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

/* The parts that differ between two configurations, a bit each. */
static unsigned differ(struct conf *a, struct conf *b)
{
	struct cluster_shared x, y;
	unsigned bits = 0;

	assert_int_equal(conf_shared_digest(a, &x), 0);
	assert_int_equal(conf_shared_digest(b, &y), 0);
	for (unsigned i = 0; i < CONF_PARTS; i++)
		bits |= (x.parts[i].digest != y.parts[i].digest) << i;
	conf_free(a);
	conf_free(b);
	return bits;
}

static void only_what_is_shared_is_compared(void **state)
{
	assert_int_equal(
	    differ(make(1, "", ""), make(1,
					 "node = m1\nkey = \"/k\"\ncapacity = 7\n"
					 "log-level = debug\nrun-directory = \"/r\"",
					 "tunnel { device = t7 }")),
	    0);
	assert_int_equal(differ(make(1, "", ""), make(2, "", "")), 0);
	assert_int_equal(differ(make(1, "", ""), make(1, "", "hold-back = 7")),
			 1 << CONF_PART_OPTIONS);
	assert_int_equal(
	    differ(make(1, "", ""),
		   make(1, "", "member m3 { id = 3 address = \"10.0.0.3\" }")),
	    1 << CONF_PART_MEMBERS);
	assert_int_equal(
	    differ(make(1, "", ""),
		   make(1, "",
			"network in { interface = eth1 addresses = {\"10.1.0.1\"} }")),
	    1 << CONF_PART_NETWORKS);
	assert_int_equal(differ(make(1, "", ""), make(1, "", "tunnel { mtu = 1300 }")),
			 1 << CONF_PART_TUNNELS);
	/* Machines may call their interfaces differently. */
	struct conf *c = make(1, "", "");
	strcpy(c->networks[0].interface, "enp3s0");
	assert_int_equal(differ(make(1, "", ""), c), 0);
}

static void a_newer_one_is_kept_and_used(void **state)
{
	uint8_t text[4096];
	char err[CONF_SHARED_ERROR];
	struct conf *own, *used;
	bool newer;
	size_t len;

	for (unsigned version = 2; version <= 4; version++) {
		char mtu[64];
		struct conf *theirs;

		snprintf(mtu, sizeof(mtu), "tunnel { mtu = %u }", 1200 + version);
		theirs = make(version, "capacity = 900\nlog-level = error", mtu);
		strcpy(theirs->networks[0].interface, "other0");
		len = text_of(theirs, text, sizeof(text));
		conf_free(theirs);
		own = make(1, "capacity = 50\nlog-level = debug", "");
		assert_int_equal(
		    conf_shared_store(own, &own->members[0], version, text, len, err), 0);
		conf_free(own);
		used = conf_shared_read(file, &newer, stderr);
		assert_non_null(used);
		assert_true(newer);
		assert_int_equal(used->version, version);
		assert_int_equal(used->tunnel.mtu, 1200 + version);
		assert_int_equal(used->capacity, 50);
		assert_int_equal(used->log_level, LOG_LEVEL_DEBUG);
		assert_string_equal(used->networks[0].interface, "eth0");
		assert_string_equal(used->path, file);
		conf_free(used);
	}
	/* Nothing is lost. */
	assert_true(exists("phalanx.conf.2") && exists("phalanx.conf.3"));
	assert_false(exists("phalanx.conf.new"));
	/* The administrator's file counts again when it is as new. */
	conf_free(make(4, "", "tunnel { mtu = 999 }"));
	used = conf_shared_read(file, &newer, stderr);
	assert_false(newer);
	assert_int_equal(used->tunnel.mtu, 999);
	conf_free(used);
}

static int store(const char *text, uint32_t version, char err[CONF_SHARED_ERROR])
{
	struct conf *own = make(1, "", "");
	int rc = conf_shared_store(own, &own->members[0], version, (const uint8_t *)text,
				   strlen(text), err);

	conf_free(own);
	return rc;
}

#define NET "network outside { interface = eth0 addresses = {\"192.0.2.1\"} }\n"
#define M2 "member m2 { id = 2 address = \"10.0.0.2\" }\n"

static void what_cannot_be_used_changes_nothing(void **state)
{
	char err[CONF_SHARED_ERROR];
	struct conf *c;
	bool newer;

	assert_int_equal(store("nonsense", 2, err), -EINVAL);
	assert_non_null(strstr(err, "phalanx.conf.new:"));
	assert_int_equal(store("", 2, err), -EINVAL);
	assert_int_equal(
	    store("version = 3\nmember m1 { id = 1 address = \"10.0.0.1\" }\n" M2 NET, 2,
		  err),
	    -EINVAL);
	assert_string_equal(err, "it says that it is version 3, not 2");
	assert_int_equal(store("version = 2\n" M2 NET, 2, err), -EINVAL);
	assert_string_equal(err, "it does not list m1 with id 1");
	/* Its new network is where our tunnel device is. */
	assert_int_equal(
	    store("version = 2\nmember m1 { id = 1 address = \"10.0.0.1\" }\n" M2 NET
		  "network n { interface = phalanx0 addresses = "
		  "{\"10.1.0.1\"} }\ntunnel { device = t1 }\n",
		  2, err),
	    -EINVAL);
	assert_non_null(strstr(err, "tunnel's device"));
	assert_false(exists("phalanx.conf") || exists("phalanx.conf.new"));
	c = make(1, "", "");
	strcpy(c->state_directory, "/nonexistent");
	assert_int_equal(
	    conf_shared_store(c, &c->members[0], 2, (const uint8_t *)"", 0, err),
	    -ENOENT);
	conf_free(c);
	/* A spoilt one does not keep the member from starting. */
	char path[160];
	snprintf(path, sizeof(path), "%s/phalanx.conf", folder);
	FILE *f = fopen(path, "w");
	fputs("version = ", f);
	fclose(f);
	FILE *errors = tmpfile();
	c = conf_shared_read(file, &newer, errors);
	assert_non_null(c);
	assert_false(newer);
	assert_true(ftell(errors) > 0);
	fclose(errors);
	conf_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_what_is_shared_is_compared, begin,
						end),
		cmocka_unit_test_setup_teardown(a_newer_one_is_kept_and_used, begin, end),
		cmocka_unit_test_setup_teardown(what_cannot_be_used_changes_nothing,
						begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
