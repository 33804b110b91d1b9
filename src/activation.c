/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster/cluster.h"
#include "src/activation.h"

#define FILE_NAME "activation"

int activation_load(const char *directory, uint32_t *number,
		    char err[ACTIVATION_ERROR_SIZE])
{
	char path[PATH_MAX], end;
	unsigned long value;
	FILE *file;
	int n;

	*number = 0;
	snprintf(path, sizeof(path), "%s/%s", directory, FILE_NAME);
	file = fopen(path, "re");
	if (!file && errno == ENOENT)
		return 0;
	if (!file) {
		n = -errno;
		snprintf(err, ACTIVATION_ERROR_SIZE, "%.400s: %s", path, strerror(errno));
		return n;
	}
	n = fscanf(file, "%10lu%c", &value, &end);
	fclose(file);
	if (n != 2 || end != '\n' || value > CLUSTER_ACTIVATION_MAX) {
		snprintf(
		    err, ACTIVATION_ERROR_SIZE,
		    "%.300s: damaged; expected a number up to %u and a newline. Nonces "
		    "depend on it: restore it, or give this member a new id",
		    path, CLUSTER_ACTIVATION_MAX);
		return -EINVAL;
	}
	*number = (uint32_t)value;
	return 0;
}

static int write_synced(int fd, uint32_t number)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u\n", number);

	if (write(fd, text, (size_t)len) != len || fsync(fd))
		return errno ? -errno : -EIO;
	return 0;
}

int activation_save(const char *directory, uint32_t number)
{
	int dir, fd, err;

	dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	fd =
	    openat(dir, FILE_NAME ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		err = -errno;
		goto out;
	}
	err = write_synced(fd, number);
	close(fd);
	if (!err && (renameat(dir, FILE_NAME ".new", dir, FILE_NAME) || fsync(dir)))
		err = -errno;
out:
	close(dir);
	return err;
}
