/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/logged.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int before;

void logged_begin(void)
{
	FILE *file = tmpfile();

	before = dup(STDERR_FILENO);
	if (!file || before < 0 || dup2(fileno(file), STDERR_FILENO) < 0)
		abort();
	fclose(file);
}

const char *logged_end(void)
{
	static char text[16384];
	ssize_t n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);

	dup2(before, STDERR_FILENO);
	close(before);
	text[n > 0 ? n : 0] = '\0';
	return text;
}
