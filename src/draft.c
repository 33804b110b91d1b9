/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/draft.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int draft_open(struct draft *d, const char *path, mode_t mode)
{
	if (snprintf(d->path, sizeof(d->path), "%s", path) >= (int)sizeof(d->path))
		return -ENAMETOOLONG;
	snprintf(d->temporary, sizeof(d->temporary), "%s.XXXXXX", path);
	int fd = mkostemp(d->temporary, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) == 0)
		d->file = fdopen(fd, "w");
	if (d->file)
		return 0;
	int error = errno;
	close(fd);
	unlink(d->temporary);
	return -error;
}

void draft_drop(struct draft *d)
{
	if (!d->file)
		return;
	fclose(d->file);
	d->file = NULL;
	unlink(d->temporary);
}

static int sync_folder(const char *path)
{
	char folder[PATH_MAX] = ".";
	const char *slash = strrchr(path, '/');

	if (slash)
		snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path) + 1, path);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

int draft_finish(struct draft *d, bool replace)
{
	int r = 0;

	if (ferror(d->file)) {
		draft_drop(d);
		return -EIO;
	}
	/* link(2) rather than rename(2) where nothing may be overwritten. */
	if (fflush(d->file) || fsync(fileno(d->file)) < 0 ||
	    (replace ? rename(d->temporary, d->path) : link(d->temporary, d->path)) < 0)
		r = -errno;
	fclose(d->file);
	d->file = NULL;
	if (r < 0 || !replace)
		unlink(d->temporary);
	return r < 0 ? r : sync_folder(d->path);
}
