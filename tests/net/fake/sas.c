/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "tests/net/fake/fake.h"

#define SAS_MAX 64

struct sa sas[SAS_MAX];
unsigned sas_count;

struct sa *sas_find(uint64_t spi)
{
	for (unsigned i = 0; i < sas_count; i++)
		if (sas[i].spi == spi)
			return &sas[i];
	return NULL;
}

struct sa *sas_find_child(uint32_t spi_in)
{
	for (unsigned i = 0; i < sas_count; i++)
		for (unsigned j = 0; j < sas[i].child_count; j++)
			if (sas[i].children[j].spi_in == spi_in)
				return &sas[i];
	return NULL;
}

struct sa *sas_get(uint64_t spi)
{
	struct sa *sa = sas_find(spi);

	if (sa)
		return sa;
	if (sas_count == SAS_MAX)
		errx(1, "too many SAs");
	sa = &sas[sas_count++];
	memset(sa, 0, sizeof(*sa));
	sa->spi = spi;
	return sa;
}

static void keep(uint8_t **to, size_t *len, const struct local_blob *blob)
{
	free(*to);
	*to = malloc(blob->len ? blob->len : 1);
	if (!*to)
		err(1, NULL);
	*len = blob->len;
	memcpy(*to, blob->bytes, blob->len);
}

void sas_keep_state(struct sa *sa, const struct local_blob *state)
{
	keep(&sa->state, &sa->len, state);
}

void sas_forget_child(uint32_t spi_in)
{
	struct sa *sa = sas_find_child(spi_in);
	struct child *child;

	if (!sa)
		return;
	for (child = sa->children; child->spi_in != spi_in;)
		child++;
	free(child->state);
	*child = sa->children[--sa->child_count];
}

void sas_put_child(const struct local_child_put *put)
{
	struct sa *sa = sas_get(put->ike);
	struct child *child;

	sas_forget_child(put->spi_in);
	if (sa->child_count == CHILDREN_MAX)
		errx(1, "too many children");
	child = &sa->children[sa->child_count++];
	child->spi_in = put->spi_in;
	child->state = NULL;
	keep(&child->state, &child->len, &put->state);
}

void sas_forget(uint64_t spi)
{
	struct sa *sa = sas_find(spi);

	if (!sa)
		return;
	while (sa->child_count)
		sas_forget_child(sa->children[0].spi_in);
	free(sa->state);
	*sa = sas[--sas_count];
}
