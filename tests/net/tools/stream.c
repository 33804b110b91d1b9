/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/net/tools/stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/net/tools/pattern.h"

/* A paced sender writes this often; so the grain of measured pauses is 5 ms. */
#define WRITES_PER_S 200
#define SLICE (NS_PER_S / WRITES_PER_S)
/* While it waits, a sender looks this often how far its peer's acknowledgements are. */
#define LOOK (2 * NS_PER_MS)

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Bytes that are due by now, when a rate is kept. */
static uint64_t allowance(const struct stream *s, ns_t start, ns_t now)
{
	uint64_t slices = (uint64_t)((now - start) / SLICE) + 1;
	uint64_t due;

	if (s->rate == 0)
		return s->bytes;
	due = s->rate / WRITES_PER_S * slices +
	      s->rate % WRITES_PER_S * slices / WRITES_PER_S;
	return due < s->bytes ? due : s->bytes;
}

/* Sends what may be sent; true if anything went. */
static bool send_some(struct stream *s, uint64_t upto)
{
	static uint8_t chunk[STREAM_CHUNK];
	size_t len =
	    upto - s->done < sizeof(chunk) ? (size_t)(upto - s->done) : sizeof(chunk);
	ssize_t n;

	pattern_fill(s->seed, s->done, chunk, len);
	n = send(s->fd, chunk, len, MSG_NOSIGNAL);
	if (n > 0) {
		s->done += (uint64_t)n;
		return true;
	}
	if (n < 0 && !would_block())
		s->error = strerror(errno);
	return false;
}

static bool over(const struct stream *s, ns_t now)
{
	return stopped || now >= s->end || s->error != NULL;
}

void stream_send(struct stream *s)
{
	ns_t start = now_ns(), now = start, moved = start;

	while (s->done < s->bytes && !over(s, now)) {
		uint64_t upto = allowance(s, start, now);

		if (s->done >= upto) {
			ns_t due = start + ((now - start) / SLICE + 1) * SLICE;

			moved = now;
			wait_fd(-1, 0, due < now + LOOK ? due : now + LOOK);
		} else if (send_some(s, upto)) {
			moved = now;
		} else if (s->error == NULL) {
			wait_fd(s->fd, POLLOUT, now + LOOK);
		}
		now = now_ns();
		if (now - moved > s->idle)
			s->error = "no progress";
		if (s->progress != NULL && !s->progress(s, now))
			return;
	}
}

static void take(struct stream *s, const uint8_t *bytes, size_t len)
{
	size_t good = pattern_match(s->seed, s->done, bytes, len);

	s->done += good;
	s->wrong = good < len;
}

void stream_receive(struct stream *s)
{
	static uint8_t chunk[STREAM_CHUNK];
	ns_t now = now_ns(), moved = now;

	while (s->done < s->bytes && !over(s, now) && !s->wrong && !s->closed) {
		uint64_t left = s->bytes - s->done;
		ns_t until = moved + s->idle < s->end ? moved + s->idle : s->end;
		ssize_t n = 0;

		if (wait_fd(s->fd, POLLIN, until)) {
			n = recv(s->fd, chunk,
				 left < sizeof(chunk) ? left : sizeof(chunk), 0);
			s->closed = n == 0;
			if (n < 0 && !would_block())
				s->error = strerror(errno);
		}
		now = now_ns();
		if (n > 0) {
			moved = now;
			take(s, chunk, (size_t)n);
			if (s->progress != NULL && !s->progress(s, now))
				return;
		} else if (now - moved >= s->idle) {
			s->error = "no progress";
		}
	}
}

bool stream_read_line(int fd, char *line, size_t size, ns_t until)
{
	size_t n = 0;

	while (n + 1 < size) {
		ssize_t got;

		if (!wait_fd(fd, POLLIN, until))
			return false;
		/* One byte at a time: what follows the line is the stream's. */
		got = recv(fd, line + n, 1, 0);
		if (got < 0 && would_block())
			continue;
		if (got <= 0)
			return false;
		if (line[n] == '\n') {
			line[n] = '\0';
			return true;
		}
		n++;
	}
	return false;
}

bool stream_say(int fd, const char *text, ns_t until)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else if (!would_block() || stopped || now_ns() >= until) {
			return false;
		} else {
			wait_fd(fd, POLLOUT, until);
		}
	}
	return true;
}
