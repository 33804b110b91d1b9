/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of the program `crowd`; each gets its own arguments and an exit status. */
#ifndef TESTS_NET_TOOLS_CROWD_H
#define TESTS_NET_TOOLS_CROWD_H

int crowd_connect(int argc, char **argv);
int crowd_answers(int argc, char **argv);
int crowd_ping(int argc, char **argv);

/* Says how the program is used and ends it. */
void usage(void) __attribute__((noreturn));

#endif
