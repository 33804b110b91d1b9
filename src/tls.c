/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#define EXPORTER "EXPORTER-phalanx-datagram"

static int verdict_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index;
}

/* Only notes what is wrong, for the log; the verdict stays OpenSSL's. */
static int note_verdict(int ok, X509_STORE_CTX *store)
{
	SSL *ssl =
	    X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_verdict *verdict = SSL_get_ex_data(ssl, verdict_index());
	X509 *cert = X509_STORE_CTX_get0_cert(store);
	char name[CLUSTER_NAME_MAX];
	member_id id;

	if (ok)
		return ok;
	verdict->error = X509_STORE_CTX_get_error(store);
	if (cert && cert_read_identity(cert, name, &id) == 0)
		snprintf(verdict->claimed, sizeof(verdict->claimed), "%s (%u)", name, id);
	return ok;
}

SSL_CTX *tls_context_new(const char *cert, const char *key, const char *ca,
			 char err[CERT_ERR])
{
	if (cert_check_files(cert, key, ca, err) < 0)
		return NULL;

	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_load_verify_file(ctx, ca) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1) {
		char text[128];
		ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
		ERR_clear_error();
		snprintf(err, CERT_ERR, "cannot set TLS up: %s", text);
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   note_verdict);
	SSL_CTX_set_verify_depth(ctx, 1);
	/* Each connection proves both certificates anew. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_early_data(ctx, 0);
	return ctx;
}

SSL *tls_new(SSL_CTX *ctx, struct tls_verdict *verdict)
{
	SSL *ssl = SSL_new(ctx);

	verdict->error = X509_V_OK;
	verdict->claimed[0] = '\0';
	if (ssl && SSL_set_ex_data(ssl, verdict_index(), verdict) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

int tls_export(SSL *ssl, bool forth, struct seal_key *key)
{
	const uint8_t direction = forth ? 1 : 2;

	if (SSL_export_keying_material(ssl, key->material, sizeof(key->material),
				       EXPORTER, strlen(EXPORTER), &direction, 1,
				       1) != 1) {
		ERR_clear_error();
		return -EIO;
	}
	return 0;
}

const char *tls_alert_text(unsigned long error)
{
	int reason = ERR_GET_REASON(error);

	if (ERR_GET_LIB(error) != ERR_LIB_SSL || reason < SSL_AD_REASON_OFFSET ||
	    reason > SSL_AD_REASON_OFFSET + 255)
		return NULL;
	return SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET);
}
