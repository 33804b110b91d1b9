/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of the program `traffic`; each gets its own arguments and an exit status. */
#ifndef TESTS_NET_TOOLS_TRAFFIC_H
#define TESTS_NET_TOOLS_TRAFFIC_H

int traffic_ping(int argc, char **argv);
int traffic_serve(int argc, char **argv);
int traffic_get(int argc, char **argv);
int traffic_put(int argc, char **argv);
int traffic_answer(int argc, char **argv);
int traffic_ask(int argc, char **argv);

/* Says how the program is used and ends it. */
void usage(void) __attribute__((noreturn));

#endif
