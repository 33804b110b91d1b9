/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a peer's certificate, whose name and id are taken from it. */
#include <stdlib.h>
#include <string.h>

#include "src/cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	const unsigned char *at = input;
	X509 *cert = d2i_X509(NULL, &at, (long)len);
	char name[CLUSTER_NAME_MAX];
	member_id id = 0;

	if (cert && cert_read_identity(cert, name, &id) == 0 &&
	    (id < 1 || id > CLUSTER_ID_MAX || !memchr(name, 0, sizeof(name)) ||
	     !cert_name_valid(name)))
		abort();
	X509_free(cert);
	return 0;
}
