/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of scenarios. Each reads its words first, whether or not there is a world; so a
 * look over the script finds what is wrong in it.
 */
#ifndef SIM_COMMAND_H
#define SIM_COMMAND_H

#include "tests/sim/script.h"

/* By then all is well again, if nothing else is said. */
#define BOUND (15 * MONO_SEC)
#define LIMIT UINT64_C(1000000000)

#define EACH_OF(set, i)                                                                  \
	for (unsigned i = 0; i < NODES_MAX; i++)                                         \
		if ((set) >> i & 1)

/* True if the rest is to be done: the words were right, and there is a world. */
bool command_go(const struct player *p);
/* [within TIME] */
uint64_t command_within(struct player *p, uint64_t otherwise);

/* faults.c */
void cmd_start(struct player *p);
void cmd_kill(struct player *p);
void cmd_freeze(struct player *p);
void cmd_thaw(struct player *p);
void cmd_stall(struct player *p);
void cmd_able(struct player *p);
void cmd_unable(struct player *p);
void cmd_fill(struct player *p);
void cmd_clear(struct player *p);
void cmd_drain(struct player *p);
void cmd_undrain(struct player *p);
void cmd_move(struct player *p);
void cmd_leave(struct player *p);
void cmd_expel(struct player *p);
void cmd_revive(struct player *p);
void cmd_cut(struct player *p);
void cmd_heal(struct player *p);
void cmd_break(struct player *p);
void cmd_clog(struct player *p);
void cmd_slow(struct player *p);

/* expect.c */
void cmd_mark(struct player *p);
void cmd_expect(struct player *p);
void cmd_forgive(struct player *p);
void cmd_finish(struct player *p);

#endif
