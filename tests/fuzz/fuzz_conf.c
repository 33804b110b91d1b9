/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a configuration file. What is accepted prints as something that is accepted
 * again, as the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static struct conf *read_bytes(const void *bytes, size_t len, FILE *errors)
{
	int fd = memfd_create("conf", MFD_CLOEXEC);
	struct conf *conf;
	char path[32];

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	conf = conf_read(path, errors);
	close(fd);
	return conf;
}

static void check_again(const struct conf *conf)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct conf *again;

	if (!out)
		abort();
	conf_print(conf, out);
	fclose(out);
	again = read_bytes(text, len, stderr);
	if (!again || memcmp(conf, again, sizeof(*conf)) != 0)
		abort();
	conf_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	char *text = NULL;
	size_t textlen;
	FILE *errors = open_memstream(&text, &textlen);
	struct conf *conf;

	if (!errors)
		abort();
	conf = read_bytes(input, len, errors);
	fclose(errors);
	/* Either a configuration or complaints. */
	if (!conf != (textlen > 0))
		abort();
	if (conf)
		check_again(conf);
	conf_free(conf);
	free(text);
	return 0;
}
