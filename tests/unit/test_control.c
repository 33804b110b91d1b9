/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket, with clients that behave and clients that do not. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/control.h"

#define BIG 1000000

struct fixture {
	char directory[40];
	char path[64];
	struct event_base *base;
	struct control *control;
	pthread_t thread;
	int stop[2]; /* a pipe: closing its end stops the loop */
	struct event *stopper;
};

static json_t *handle(void *ctx, const char *command, const json_t *arguments)
{
	if (strcmp(command, "echo") == 0)
		return json_pack("{s:O}", "arguments", arguments);
	if (strcmp(command, "big") == 0) {
		char *text = malloc(BIG);
		json_t *reply;

		assert_non_null(text);
		memset(text, 'x', BIG);
		reply = json_pack("{s:s#}", "text", text, BIG);
		free(text);
		return reply;
	}
	if (strcmp(command, "fail") == 0)
		return control_error("no, %d times", 2);
	return NULL;
}

static void stop_loop(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(arg);
}

static void *run_loop(void *arg)
{
	event_base_dispatch(arg);
	return NULL;
}

static int start(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char err[CONTROL_ERR];

	if (!f)
		return -1;
	*state = f;
	strcpy(f->directory, "/tmp/phalanx-control.XXXXXX");
	if (!mkdtemp(f->directory) || pipe(f->stop) < 0)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/s", f->directory);
	f->base = event_base_new();
	f->stopper = event_new(f->base, f->stop[0], EV_READ, stop_loop, f->base);
	event_add(f->stopper, NULL);
	if (control_open(f->base, f->path, handle, f, &f->control, err) < 0)
		return -1;
	return pthread_create(&f->thread, NULL, run_loop, f->base);
}

static int end(void **state)
{
	struct fixture *f = *state;

	close(f->stop[1]);
	pthread_join(f->thread, NULL);
	control_close(f->control);
	event_free(f->stopper);
	close(f->stop[0]);
	event_base_free(f->base);
	if (access(f->path, F_OK) == 0 || rmdir(f->directory) < 0)
		return -1;
	free(f);
	return 0;
}

static int connect_raw(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { 30, 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* Reads up to and with the next end of line; "" at the end of the stream. */
static void read_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && recv(fd, line + n, 1, 0) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
}

static void expect_line(int fd, const char *expected)
{
	char line[512];

	read_line(fd, line, sizeof(line));
	assert_string_equal(line, expected);
}

static void expect_reply(int fd, const char *request, const char *reply)
{
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL),
			 strlen(request));
	expect_line(fd, reply);
}

static void test_call(void **state)
{
	const struct fixture *f = *state;
	char err[CONTROL_ERR];
	json_t *reply = NULL;

	assert_int_equal(
	    control_call(f->path, "echo", json_pack("{s:i}", "n", 5), &reply, err), 0);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(reply, "arguments"), "n")),
	    5);
	json_decref(reply);
	assert_int_equal(control_call(f->path, "echo", NULL, &reply, err), 0);
	assert_int_equal(json_object_size(json_object_get(reply, "arguments")), 0);
	json_decref(reply);
	assert_int_equal(control_call(f->path, "big", NULL, &reply, err), 0);
	assert_int_equal(json_string_length(json_object_get(reply, "text")), BIG);
	json_decref(reply);
}

static void test_call_errors(void **state)
{
	const struct fixture *f = *state;
	char err[CONTROL_ERR], nowhere[80];
	json_t *reply = NULL;

	assert_int_equal(control_call(f->path, "fail", NULL, &reply, err), -EREMOTEIO);
	assert_string_equal(err, "no, 2 times");
	assert_int_equal(control_call(f->path, "gr\xc3\xbcn", NULL, &reply, err),
			 -EREMOTEIO);
	assert_string_equal(err, "unknown command 'gr?"
				 "?n'");
	snprintf(nowhere, sizeof(nowhere), "%s.none", f->path);
	assert_int_equal(control_call(nowhere, "echo", NULL, &reply, err), -ENOENT);
	assert_non_null(strstr(err, "phalanxd is not running"));
	assert_null(reply);
}

static void test_bad_requests(void **state)
{
	int fd = connect_raw(*state);

	expect_reply(fd, "{\"command\":\"fail\"}\n", "{\"error\":\"no, 2 times\"}\n");
	expect_reply(fd, "[1]\n", "{\"error\":\"the request has no \\\"command\\\"\"}\n");
	expect_reply(fd, "{\"command\":7}\n",
		     "{\"error\":\"the request has no \\\"command\\\"\"}\n");
	expect_reply(
	    fd, "{\"command\":\"echo\",\"arguments\":[]}\n",
	    "{\"error\":\"the request's \\\"arguments\\\" are not an object\"}\n");
	/* Two at once, and the end: both are answered. */
	expect_reply(fd, "{\"command\":\"echo\"}\n{\"command\":\"fail\"}\n",
		     "{\"arguments\":{}}\n");
	shutdown(fd, SHUT_WR);
	expect_line(fd, "{\"error\":\"no, 2 times\"}\n");
	expect_line(fd, "");
	close(fd);
}

static void test_not_json(void **state)
{
	static const char zero[] = "{\"command\":\"echo\0\"}\n";
	char line[512];
	int fd = connect_raw(*state);

	assert_int_equal(send(fd, zero, sizeof(zero) - 1, MSG_NOSIGNAL),
			 sizeof(zero) - 1);
	read_line(fd, line, sizeof(line));
	assert_non_null(strstr(line, "{\"error\":\"the request is not JSON"));
	assert_int_equal(send(fd, "\n", 1, MSG_NOSIGNAL), 1);
	read_line(fd, line, sizeof(line));
	assert_non_null(strstr(line, "{\"error\":\"the request is not JSON"));
	close(fd);
}

/* A client that writes a line without end is dropped, and fills no memory. */
static void test_endless_line(void **state)
{
	char chunk[4096], byte;
	size_t sent = 0;
	int fd = connect_raw(*state);
	ssize_t n;

	memset(chunk, ' ', sizeof(chunk));
	while ((n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL)) > 0) {
		sent += (size_t)n;
		assert_true(sent < 64 * CONTROL_REQUEST_MAX);
	}
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

/* Without taking any reply, a client can ask for one reply only. */
static void test_greedy_client(void **state)
{
	static const char request[] = "{\"command\":\"big\"}\n";
	const struct fixture *f = *state;
	char err[CONTROL_ERR];
	json_t *reply = NULL;
	uint64_t before = control_counters(f->control)->requests;
	int fd = connect_raw(f);

	for (int i = 0; i < 100; i++)
		assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	/* Others are served meanwhile. */
	assert_int_equal(control_call(f->path, "echo", NULL, &reply, err), 0);
	json_decref(reply);
	assert_in_range(control_counters(f->control)->requests, before + 1, before + 2);
	close(fd);
}

static void test_many_clients(void **state)
{
	const struct fixture *f = *state;
	int fds[CONTROL_CLIENTS_MAX], fd;
	char line[64];

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fds[i] = connect_raw(f);
		expect_reply(fds[i], "{\"command\":\"echo\"}\n", "{\"arguments\":{}}\n");
	}
	fd = connect_raw(f);
	read_line(fd, line, sizeof(line));
	assert_string_equal(line, "");
	close(fd);
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		expect_reply(fds[i], "{\"command\":\"echo\"}\n", "{\"arguments\":{}}\n");
		close(fds[i]);
	}
	assert_int_equal(control_counters(f->control)->refused, 1);
}

static void test_socket_file(void **state)
{
	const struct fixture *f = *state;
	struct event_base *base = event_base_new();
	struct control *other = NULL;
	char err[CONTROL_ERR], path[80];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* A living daemon keeps its socket. */
	assert_int_equal(control_open(base, f->path, handle, NULL, &other, err),
			 -EADDRINUSE);
	assert_non_null(strstr(err, "another phalanxd answers on"));
	assert_int_equal(control_open(base, "/nonexistent/s", handle, NULL, &other, err),
			 -ENOENT);
	assert_null(other);
	/* A dead one's is replaced. */
	snprintf(path, sizeof(path), "%s2", f->path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_call(path, "echo", NULL, NULL, err), -ECONNREFUSED);
	assert_int_equal(control_open(base, path, handle, NULL, &other, err), 0);
	control_close(other);
	control_close(NULL);
	assert_int_equal(access(path, F_OK), -1);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_call, start, end),
		cmocka_unit_test_setup_teardown(test_call_errors, start, end),
		cmocka_unit_test_setup_teardown(test_bad_requests, start, end),
		cmocka_unit_test_setup_teardown(test_not_json, start, end),
		cmocka_unit_test_setup_teardown(test_endless_line, start, end),
		cmocka_unit_test_setup_teardown(test_greedy_client, start, end),
		cmocka_unit_test_setup_teardown(test_many_clients, start, end),
		cmocka_unit_test_setup_teardown(test_socket_file, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
