/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS between members: 1.3 only, certificates on both ends, no early data, no resumption.
 * What is specific to OpenSSL about a connection is here.
 */
#ifndef SRC_TLS_H
#define SRC_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "src/cert.h"
#include "src/seal.h"

/* What OpenSSL found wrong with the peer's certificate; one for each handshake. */
struct tls_verdict {
	int error;	  /* X509_V_OK or X509_V_ERR_* */
	char claimed[80]; /* the subject as the certificate claims it; not proven */
};

/* NULL and a text in `err` if the files are unusable. */
SSL_CTX *tls_context_new(const char *cert, const char *key, const char *ca,
			 char err[CERT_ERR]);
/* One connection's object. `verdict` is filled during the handshake and must outlive it. */
SSL *tls_new(SSL_CTX *ctx, struct tls_verdict *verdict);

/* After the handshake: the key for datagrams that go from the dialling side to the other
 * (`forth`), or back. 0 or -EIO. */
int tls_export(SSL *ssl, bool forth, struct seal_key *key);

/* The peer's alert in an OpenSSL error code as text, or NULL if the error is no alert. */
const char *tls_alert_text(unsigned long error);

#endif
