/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the log says meanwhile. */
#ifndef TESTS_UNIT_LOGGED_H
#define TESTS_UNIT_LOGGED_H

/* stderr goes to a file from here to logged_end(). Not to be nested. */
void logged_begin(void);
/* All that was written since; valid until the next logged_end(). */
const char *logged_end(void);

#endif
