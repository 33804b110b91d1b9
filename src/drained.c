/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/drained.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_NAME "drained"

static const char *path_in(const char *directory, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - 16, directory, FILE_NAME);
	return path;
}

bool drained_read(const char *directory)
{
	char path[PATH_MAX];

	return access(path_in(directory, path), F_OK) == 0;
}

int drained_write(const char *directory, bool drained)
{
	char path[PATH_MAX];
	int fd;

	path_in(directory, path);
	if (!drained)
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}
