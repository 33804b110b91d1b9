/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificates of the members.
 *
 * The cluster's authority is a folder: ca.key, ca.crt, and `index`, a line for each
 * member id that was ever given out ("id name serial expiry"). A member's id is part of
 * every nonce that it makes, so an id never goes to another name, expired or not.
 *
 * A member's certificate carries its name (CN) and its id (the subject alternative name
 * "urn:phalanx:member:<id>"). Keys are EC P-256, files are PEM. Each file is written
 * whole or not at all.
 *
 * Functions return 0 or -errno and then describe the failure in `err`.
 */
#ifndef SRC_CERT_H
#define SRC_CERT_H

#include <stdbool.h>
#include <time.h>

#include <openssl/x509.h>

#include "cluster/cluster.h"

#define CERT_ERR 256

/* Makes the folder (0700) if need be, ca.key (0600) and ca.crt. -EEXIST if there is one.
 */
int cert_make_ca(const char *dir, const char *name, unsigned days, char err[CERT_ERR]);

/*
 * Makes <out_prefix>.key (0600) and <out_prefix>.crt. -EEXIST if the name or the id is in
 * the index or a file exists. With `renew`, the same pair of name and id may be issued
 * again and the files are replaced; an id never changes its name, nor a name its id.
 */
int cert_issue(const char *dir, const char *name, member_id id, unsigned days,
	       const char *out_prefix, bool renew, char err[CERT_ERR]);
/* The same with the times from and until which it is valid. */
int cert_issue_between(const char *dir, const char *name, member_id id, time_t from,
		       time_t until, const char *out_prefix, bool renew,
		       char err[CERT_ERR]);

/* Who the certificate is for; its signature and dates are not looked at. -EINVAL if it
 * does not hold exactly one good name and one good id. */
int cert_read_identity(X509 *cert, char name[CLUSTER_NAME_MAX], member_id *id);
int cert_read_file(const char *path, char name[CLUSTER_NAME_MAX], member_id *id,
		   char err[CERT_ERR]);

/* Letters, digits, '.', '-' and '_', at most CLUSTER_NAME_MAX - 1 of them. */
bool cert_name_valid(const char *name);

/*
 * Whether a member can work with these three files: all there and readable, the key not
 * open to others and the certificate's own, the certificate a member's, in date and
 * signed by the authority.
 */
int cert_check_files(const char *cert, const char *key, const char *ca,
		     char err[CERT_ERR]);

#endif
