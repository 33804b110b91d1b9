/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/net/tools/crowd_vici.h"

#include <arpa/inet.h>
#include <err.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/net/tools/common.h"

void vici_open(struct vici_line *l, const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(to.sun_path))
		errx(EXIT_TROUBLE, "%s: the path is too long", path);
	memcpy(to.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(EXIT_TROUBLE, "%s", path);
	l->fd = fd;
}

static void put(struct vici_message *m, const void *bytes, size_t len)
{
	if (len > sizeof(m->bytes) - m->len)
		errx(EXIT_TROUBLE, "the connection's description is too long");
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

/* An element's type, and its name if it has one. */
void vici_put_element(struct vici_message *m, uint8_t type, const char *name)
{
	size_t len = name ? strlen(name) : 0;
	uint8_t head[2] = { type, (uint8_t)len };

	if (len > UINT8_MAX)
		errx(EXIT_TROUBLE, "%s: the name is too long", name);
	put(m, head, name ? 2 : 1);
	put(m, name, len);
}

void vici_put_value(struct vici_message *m, const char *value)
{
	uint16_t len = htons((uint16_t)strlen(value));

	put(m, &len, sizeof(len));
	put(m, value, strlen(value));
}

void vici_put_pair(struct vici_message *m, const char *key, const char *value)
{
	vici_put_element(m, VICI_PAIR, key);
	vici_put_value(m, value);
}

void vici_begin(struct vici_message *m, uint8_t type, const char *name)
{
	m->len = sizeof(uint32_t);
	vici_put_element(m, type, name);
}

void vici_say(const struct vici_line *l, struct vici_message *m)
{
	uint32_t body = htonl((uint32_t)(m->len - sizeof(body)));

	memcpy(m->bytes, &body, sizeof(body));
	if (send(l->fd, m->bytes, m->len, MSG_NOSIGNAL) != (ssize_t)m->len)
		err(EXIT_TROUBLE, "charon does not listen");
}

static void take(struct vici_line *l, size_t wanted)
{
	while (l->len < wanted) {
		ssize_t n = recv(l->fd, l->in + l->len, wanted - l->len, 0);

		if (n <= 0)
			errx(EXIT_TROUBLE, "charon has hung up");
		l->len += (size_t)n;
	}
}

/* The next packet, without its length; waits for the whole of it. */
const uint8_t *vici_hear(struct vici_line *l, size_t *len)
{
	uint32_t body;

	l->len = 0;
	take(l, sizeof(body));
	memcpy(&body, l->in, sizeof(body));
	body = ntohl(body);
	if (body < 1 || body > sizeof(l->in) - sizeof(body))
		errx(EXIT_TROUBLE, "charon says too much");
	take(l, sizeof(body) + body);
	*len = body;
	return l->in + sizeof(body);
}

bool vici_says(const uint8_t *at, size_t len, const char *key, const char *value)
{
	struct vici_message m = { 0 };

	vici_put_pair(&m, key, value);
	return memmem(at, len, m.bytes, m.len) != NULL;
}

const uint8_t *vici_ask(struct vici_line *l, struct vici_message *m, const char *good,
			size_t *len)
{
	const uint8_t *answer;

	vici_say(l, m);
	answer = vici_hear(l, len);
	if (answer[0] != VICI_RESPONSE || (good && !vici_says(answer, *len, good, "yes")))
		errx(EXIT_TROUBLE, "charon refuses %.*s: %.*s", m->bytes[5], m->bytes + 6,
		     (int)*len, answer);
	return answer;
}
