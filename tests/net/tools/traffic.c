/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes traffic through the cluster and measures what a user of it would notice. */
#include "tests/net/tools/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/net/tools/common.h"

void usage(void)
{
	fputs("usage: traffic ping DST [-i MS] [-c N | -t SECONDS | -f N] [-s BYTES] [-S "
	      "SOURCE]\n"
	      "               [-w SECONDS] [-o FILE] [--events FILE] [-v]\n"
	      "       traffic serve PORT\n"
	      "       traffic get HOST PORT {BYTES | -t SECONDS} [--rate BYTES_PER_S]\n"
	      "               [--seed N] [--idle SECONDS] [-S SOURCE] [-o FILE]\n"
	      "               [--events FILE] [-v]\n"
	      "       traffic put HOST PORT {BYTES | -t SECONDS} [options as for get]\n"
	      "       traffic answer ADDRESS PORT\n"
	      "       traffic ask ADDRESS PORT N\n"
	      "       traffic mark FILE NAME\n",
	      stderr);
	exit(EXIT_TROUBLE);
}

static int mark(int argc, char **argv)
{
	if (argc != 3)
		usage();
	events_mark(argv[1], argv[2]);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "ping", traffic_ping }, { "serve", traffic_serve },	{ "get", traffic_get },
	{ "put", traffic_put },	  { "answer", traffic_answer }, { "ask", traffic_ask },
	{ "mark", mark },
};

int main(int argc, char **argv)
{
	if (argc < 2)
		usage();
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	usage();
}
