/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives thousands of clients that share one charon and one machine. */
#include "tests/net/tools/crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/net/tools/common.h"

void usage(void)
{
	fputs(
	    "usage: crowd connect SOCKET PREFIX N [-c CHILD] [-f FIRST] [-p PARALLEL]\n"
	    "                     [-w SECONDS] [-o FILE]\n"
	    "         has charon, whose vici listens at SOCKET, initiate the "
	    "connections\n"
	    "         PREFIX1 to PREFIXn, some at a time\n"
	    "       crowd answers SOCKET PREFIX N\n"
	    "         lists them, with the number of INFORMATIONAL exchanges that each\n"
	    "         has begun and that were answered\n"
	    "       crowd ping DST SOURCES [-i MS] [-o FILE] [-s STATUS]\n"
	    "                     [--events FILE]\n"
	    "         pings DST from each address that the file SOURCES lists, once in "
	    "MS\n"
	    "         from each, until a signal ends it; STATUS is a file that says "
	    "each\n"
	    "         second \"ANSWERED TOTAL EVENT\": from how many addresses a "
	    "request\n"
	    "         was answered that was sent after the last event\n",
	    stderr);
	exit(EXIT_TROUBLE);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		usage();
	if (strcmp(argv[1], "connect") == 0)
		return crowd_connect(argc - 1, argv + 1);
	if (strcmp(argv[1], "answers") == 0)
		return crowd_answers(argc - 1, argv + 1);
	if (strcmp(argv[1], "ping") == 0)
		return crowd_ping(argc - 1, argv + 1);
	usage();
}
