/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/cluster.h"
#include "src/activation.h"

#define FILE_NAME "activation"

struct activation {
	char directory[PATH_MAX];
	pthread_mutex_t lock;
	pthread_t thread;
	bool started;	   /* there is a thread to be joined */
	bool busy;	   /* and it has not ended yet */
	uint32_t reserved; /* on disk */
	uint32_t wanted;   /* what the thread writes */
};

static int read_number(const char *directory, uint32_t *number,
		       char err[ACTIVATION_ERROR_SIZE])
{
	char path[PATH_MAX], end;
	unsigned long value;
	FILE *file;
	int n;

	*number = 0;
	snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 16, directory, FILE_NAME);
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
		snprintf(err, ACTIVATION_ERROR_SIZE,
			 "%.300s: damaged; expected a number up to %u and a newline. "
			 "Nonces depend on it: restore it, or give this member a new id",
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

	errno = 0;
	if (write(fd, text, (size_t)len) != len || fsync(fd))
		return errno ? -errno : -EIO;
	return 0;
}

static int write_number(const char *directory, uint32_t number)
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

static uint32_t block_after(uint32_t number)
{
	return number > CLUSTER_ACTIVATION_MAX - ACTIVATION_BLOCK
		   ? CLUSTER_ACTIVATION_MAX
		   : number + ACTIVATION_BLOCK;
}

struct activation *activation_open(const char *directory, uint32_t *used,
				   char err[ACTIVATION_ERROR_SIZE])
{
	struct activation *a = calloc(1, sizeof(*a));
	int failed;

	if (!a) {
		snprintf(err, ACTIVATION_ERROR_SIZE, "out of memory");
		return NULL;
	}
	snprintf(a->directory, sizeof(a->directory), "%s", directory);
	pthread_mutex_init(&a->lock, NULL);
	failed = read_number(directory, used, err);
	if (!failed) {
		a->reserved = block_after(*used);
		failed = write_number(directory, a->reserved);
		if (failed)
			snprintf(err, ACTIVATION_ERROR_SIZE,
				 "cannot store activation numbers in %.300s: %s",
				 directory, strerror(-failed));
	}
	if (failed) {
		activation_close(a);
		return NULL;
	}
	return a;
}

static void join(struct activation *a)
{
	if (a->started)
		pthread_join(a->thread, NULL);
	a->started = false;
}

void activation_close(struct activation *a)
{
	if (!a)
		return;
	join(a);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static void *reserve(void *arg)
{
	struct activation *a = arg;
	int err = write_number(a->directory, a->wanted);

	pthread_mutex_lock(&a->lock);
	if (!err)
		a->reserved = a->wanted;
	a->busy = false;
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* The thread takes no signals: they are for the event loop. */
static void reserve_in_background(struct activation *a, uint32_t wanted)
{
	sigset_t all, old;

	join(a);
	a->wanted = wanted;
	a->busy = true;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	a->started = !pthread_create(&a->thread, NULL, reserve, a);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!a->started)
		a->busy = false;
}

int activation_use(struct activation *a, uint32_t number)
{
	uint32_t reserved;
	bool busy;
	int err;

	pthread_mutex_lock(&a->lock);
	reserved = a->reserved;
	busy = a->busy;
	pthread_mutex_unlock(&a->lock);
	if (number > reserved) {
		join(a);
		if (number <= a->reserved)
			return 0;
		err = write_number(a->directory, block_after(number));
		if (err)
			return err;
		a->reserved = block_after(number);
	} else if (!busy && reserved - number < ACTIVATION_BLOCK / 2 &&
		   reserved < CLUSTER_ACTIVATION_MAX) {
		reserve_in_background(a, block_after(reserved));
	}
	return 0;
}
