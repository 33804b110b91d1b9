/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replays a fuzz target's corpus without a fuzzer, for `make check`: each file of
 * tests/fuzz/corpus/CORPUS, or the files that are named as arguments. With FUZZER there is
 * nothing here: clang's -fsanitize=fuzzer has a main() of its own. See tests/fuzz/run.
 */
#ifndef FUZZER
#include <dirent.h>
#include <err.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX_LEN (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static void replay(const char *file)
{
	uint8_t *all = malloc(INPUT_MAX_LEN), *exact;
	FILE *from = fopen(file, "rb");
	size_t len;

	if (all == NULL || from == NULL)
		err(1, "%s", file);
	len = fread(all, 1, INPUT_MAX_LEN, from);
	fclose(from);
	/* Exactly sized, so that a sanitizer sees each read beyond the end. */
	exact = malloc(len + (len == 0));
	if (exact == NULL)
		err(1, "memory");
	for (size_t i = 0; i < len; i++)
		exact[i] = all[i];
	free(all);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static unsigned int replay_folder(void)
{
	const char *srcdir = getenv("srcdir");
	char folder[2048], file[4096];
	unsigned int n = 0;
	struct dirent *d;
	DIR *dir;

	snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".",
		 CORPUS);
	dir = opendir(folder);
	if (dir == NULL)
		err(1, "%s", folder);
	while ((d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", folder, d->d_name);
		replay(file);
		n++;
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	unsigned int n = 0;

	for (int i = 1; i < argc; i++, n++)
		replay(argv[i]);
	if (argc == 1)
		n = replay_folder();
	printf("%s: %u inputs\n", CORPUS, n);
	/* An empty corpus tests nothing. */
	return n == 0;
}

#endif
