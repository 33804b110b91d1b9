/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "src/mark.h"

const struct sockaddr *endpoint_socket(const struct endpoint *a)
{
	return (const struct sockaddr *)&a->address;
}

bool endpoint_same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
				  &((const struct sockaddr_in6 *)b)->sin6_addr);
}

const char *endpoint_host(const struct sockaddr *a, socklen_t len,
			  char buf[ENDPOINT_TEXT])
{
	if (getnameinfo(a, len, buf, ENDPOINT_TEXT, NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(buf, ENDPOINT_TEXT, "?");
	return buf;
}

static void set_options(int fd, int family, int type, bool port, bool absent)
{
	const uint32_t mark = CLUSTER_MARK;
	int one = 1;

	/* Whatever the tunnels' routes say. Without the right to it there are none. */
	setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (type == SOCK_STREAM && port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!port)
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (absent)
		setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
}

int endpoint_bound_socket(const struct endpoint *a, int type, bool port, bool absent)
{
	struct sockaddr_storage at = a->address;
	int fd = socket(at.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	set_options(fd, at.ss_family, type, port, absent);
	if (!port && at.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&at)->sin6_port = 0;
	else if (!port)
		((struct sockaddr_in *)&at)->sin_port = 0;
	if (bind(fd, (struct sockaddr *)&at, a->addresslen) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}
