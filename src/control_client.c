/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's client. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/control.h"

#define REPLY_MAX (64 * 1024 * 1024)
#define REPLY_STEP 65536

/* Returns a connected socket, or -errno and a line in `err`. */
static int connect_to(const char *path, char err[CONTROL_ERR])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval timeout = { 2 * CONTROL_TIMEOUT, 0 };
	int fd, ret;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(err, CONTROL_ERR, "the socket's name is too long: %s", path);
		return -ENAMETOOLONG;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		ret = -errno;
		snprintf(err, CONTROL_ERR, "socket: %s", strerror(-ret));
		return ret;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	ret = -errno;
	close(fd);
	if (ret == -ENOENT)
		snprintf(err, CONTROL_ERR,
			 "phalanxd is not running: there is no socket %s", path);
	else if (ret == -ECONNREFUSED)
		snprintf(err, CONTROL_ERR,
			 "phalanxd is not running: nobody answers on %s", path);
	else
		snprintf(err, CONTROL_ERR, "cannot open %s: %s", path, strerror(-ret));
	return ret;
}

static int send_request(int fd, const char *command, json_t *arguments)
{
	json_t *request =
	    json_pack("{s:s,s:O*}", "command", command, "arguments", arguments);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	int ret = text ? 0 : -ENOMEM;

	json_decref(request);
	if (text)
		text[len++] = '\n';
	for (size_t sent = 0; sent < len && ret == 0;) {
		ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			ret = -errno;
		else if (n > 0)
			sent += (size_t)n;
	}
	free(text);
	return ret;
}

/* Reads a line. Returns it (to be freed), or NULL and errno. */
static char *read_reply(int fd, size_t *len)
{
	char *buf = NULL, *more;
	size_t size = 0, used = 0;
	ssize_t n;

	while (!used || buf[used - 1] != '\n') {
		if (size - used < REPLY_STEP) {
			size = 2 * size + REPLY_STEP;
			more = size <= REPLY_MAX ? realloc(buf, size) : NULL;
			if (!more) {
				errno = size <= REPLY_MAX ? ENOMEM : EMSGSIZE;
				goto fail;
			}
			buf = more;
		}
		n = recv(fd, buf + used, size - used, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ECONNRESET;
		if (n <= 0)
			goto fail;
		used += (size_t)n;
	}
	*len = used;
	return buf;
fail:
	free(buf);
	return NULL;
}

static int check_reply(json_t *reply, char err[CONTROL_ERR])
{
	const char *error = json_string_value(json_object_get(reply, "error"));

	if (!json_is_object(reply)) {
		snprintf(err, CONTROL_ERR, "phalanxd's reply is not understood");
		return -EBADMSG;
	}
	if (error) {
		snprintf(err, CONTROL_ERR, "%s", error);
		return -EREMOTEIO;
	}
	return 0;
}

int control_call(const char *path, const char *command, json_t *arguments, json_t **reply,
		 char err[CONTROL_ERR])
{
	json_t *object = NULL;
	char *text = NULL;
	size_t len = 0;
	int fd = connect_to(path, err), ret = fd;

	if (fd < 0)
		goto out;
	ret = send_request(fd, command, arguments);
	if (ret == 0 && !(text = read_reply(fd, &len)))
		ret = -errno;
	close(fd);
	if (ret < 0) {
		snprintf(err, CONTROL_ERR, "phalanxd did not answer: %s",
			 ret == -EAGAIN ? "timeout" : strerror(-ret));
		goto out;
	}
	object = json_loadb(text, len, 0, NULL);
	ret = check_reply(object, err);
	if (ret == 0)
		*reply = json_incref(object);
out:
	json_decref(arguments);
	json_decref(object);
	free(text);
	return ret;
}
