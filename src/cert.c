/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/cert.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "src/draft.h"
#include "src/log.h"

#define URN "urn:phalanx:member:"
#define DAY ((time_t)24 * 3600)
/* Clocks of members may differ a little. */
#define CLOCK_SLACK ((time_t)3600)

static LOG_PRINTF(3, 4) int fail(char err[CERT_ERR], int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(err, CERT_ERR, format, args);
	va_end(args);
	return error;
}

static int fail_path(char err[CERT_ERR], const char *path, int error)
{
	return fail(err, error, "%s: %s", path, strerror(-error));
}

static int fail_errno(char err[CERT_ERR], const char *path)
{
	return fail_path(err, path, -errno);
}

/* For steps of OpenSSL that fail only when memory or randomness is missing. */
static int fail_openssl(char err[CERT_ERR], const char *what)
{
	char text[128];
	ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
	ERR_clear_error();
	return fail(err, -EIO, "cannot %s: %s", what, text);
}

bool cert_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= CLUSTER_NAME_MAX)
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr(".-_", *name))
			return false;
	return true;
}

static int start_draft(struct draft *d, const char *path, mode_t mode, char err[CERT_ERR])
{
	int r = draft_open(d, path, mode);
	return r < 0 ? fail_path(err, path, r) : 0;
}

static int finish_draft(struct draft *d, bool replace, char err[CERT_ERR])
{
	int r = draft_finish(d, replace);
	return r < 0 ? fail_path(err, d->path, r) : 0;
}

/* A key and its certificate on their way to the disk. */
struct pair {
	struct draft key, cert;
};

static void pair_drop(struct pair *p)
{
	draft_drop(&p->key);
	draft_drop(&p->cert);
}

/* Fills the temporaries; what can fail for the user's mistakes fails here. The caller
 * drops the pair in any case. */
static int pair_prepare(struct pair *p, const char *prefix, EVP_PKEY *key, X509 *cert,
			char err[CERT_ERR])
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s.key", prefix);
	int r = start_draft(&p->key, path, 0600, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s.crt", prefix);
	r = start_draft(&p->cert, path, 0644, err);
	if (r < 0)
		return r;
	if (PEM_write_PKCS8PrivateKey(p->key.file, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_X509(p->cert.file, cert) != 1)
		return fail_openssl(err, "write the key and the certificate");
	return 0;
}

/* The key first, since a certificate without its key is of no use. */
static int pair_finish(struct pair *p, bool replace, char err[CERT_ERR])
{
	int r = finish_draft(&p->key, replace, err);

	if (r < 0)
		return r;
	r = finish_draft(&p->cert, replace, err);
	if (r < 0 && !replace)
		unlink(p->key.path);
	return r;
}

static int refuse_existing(const char *prefix, char err[CERT_ERR])
{
	char path[PATH_MAX];
	const char *const ends[] = { "key", "crt" };

	for (unsigned i = 0; i < 2; i++) {
		if (snprintf(path, sizeof(path) - 8, "%s.%s", prefix, ends[i]) >=
		    (int)sizeof(path) - 8)
			return fail(err, -ENAMETOOLONG, "%s: path is too long", prefix);
		if (access(path, F_OK) == 0)
			return fail(err, -EEXIST, "%s exists and is not overwritten",
				    path);
	}
	return 0;
}

/* Certificates. */

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static bool set_serial(X509 *cert)
{
	uint8_t bytes[16];
	BIGNUM *number = NULL;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive and of full length */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return ok;
}

/* A certificate without extensions and signature. NULL on failure. */
static X509 *make_body(const char *name, EVP_PKEY *key, X509 *issuer, time_t from,
		       time_t until)
{
	X509 *cert = X509_new();
	X509_NAME *subject = X509_NAME_new();

	if (cert && subject && X509_set_version(cert, X509_VERSION_3) == 1 &&
	    set_serial(cert) && ASN1_TIME_set(X509_getm_notBefore(cert), from) &&
	    ASN1_TIME_set(X509_getm_notAfter(cert), until) &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
				       (const uint8_t *)name, -1, -1, 0) == 1 &&
	    X509_set_subject_name(cert, subject) == 1 &&
	    X509_set_issuer_name(cert,
				 issuer ? X509_get_subject_name(issuer) : subject) == 1 &&
	    X509_set_pubkey(cert, key) == 1) {
		X509_NAME_free(subject);
		return cert;
	}
	X509_NAME_free(subject);
	X509_free(cert);
	return NULL;
}

static int make_folder(const char *dir, char err[CERT_ERR])
{
	struct stat st;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return fail_errno(err, dir);
	if (stat(dir, &st) < 0)
		return fail_errno(err, dir);
	if (!S_ISDIR(st.st_mode))
		return fail(err, -ENOTDIR, "%s: is not a folder", dir);
	return 0;
}

int cert_make_ca(const char *dir, const char *name, unsigned days, char err[CERT_ERR])
{
	char prefix[PATH_MAX - 16];
	time_t now = time(NULL);
	struct pair pair = { .key.file = NULL };
	X509 *cert = NULL;
	EVP_PKEY *key = NULL;

	if (!cert_name_valid(name))
		return fail(err, -EINVAL, "\"%s\" is not a good name", name);
	int r = make_folder(dir, err);
	if (r < 0)
		return r;
	snprintf(prefix, sizeof(prefix), "%s/ca", dir);
	r = refuse_existing(prefix, err);
	if (r < 0)
		return r;
	key = EVP_EC_gen("P-256");
	cert =
	    key ? make_body(name, key, NULL, now - CLOCK_SLACK, now + days * DAY) : NULL;
	if (!cert ||
	    !add_extension(cert, cert, NID_basic_constraints,
			   "critical,CA:TRUE,pathlen:0") ||
	    !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	    !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
	    !X509_sign(cert, key, EVP_sha256()))
		r = fail_openssl(err, "make the authority's certificate");
	else
		r = pair_prepare(&pair, prefix, key, cert, err);
	if (r == 0)
		r = pair_finish(&pair, false, err);
	pair_drop(&pair);
	X509_free(cert);
	EVP_PKEY_free(key);
	return r;
}

static int read_cert(const char *path, X509 **cert, char err[CERT_ERR])
{
	FILE *file = fopen(path, "re");

	if (!file)
		return fail_errno(err, path);
	*cert = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	ERR_clear_error();
	return *cert ? 0 : fail(err, -EINVAL, "%s: holds no PEM certificate", path);
}

static int read_key(const char *path, EVP_PKEY **key, char err[CERT_ERR])
{
	struct stat st;
	FILE *file = fopen(path, "re");

	if (!file)
		return fail_errno(err, path);
	if (fstat(fileno(file), &st) == 0 && (st.st_mode & S_IRWXO)) {
		fclose(file);
		return fail(err, -EPERM, "%s: mode %03o lets everybody read the key",
			    path, (unsigned)st.st_mode & 0777);
	}
	/* The empty password keeps OpenSSL from asking on the terminal. */
	*key = PEM_read_PrivateKey(file, NULL, NULL, "");
	fclose(file);
	ERR_clear_error();
	return *key ? 0 : fail(err, -EINVAL, "%s: holds no PEM private key", path);
}

/* The index. */

static bool index_parse(const char *line, unsigned *id, char name[CLUSTER_NAME_MAX])
{
	_Static_assert(CLUSTER_NAME_MAX == 64, "the width in the format");
	return sscanf(line, "%u %63s ", id, name) == 2;
}

/* Whether (id, name) may be issued, by the lines so far; copies them to `to`. */
static int index_check(FILE *from, FILE *to, const char *name, member_id id, bool renew,
		       char err[CERT_ERR])
{
	char line[512], old_name[CLUSTER_NAME_MAX];
	unsigned old_id;

	while (fgets(line, sizeof(line), from)) {
		if (!index_parse(line, &old_id, old_name))
			return fail(err, -EINVAL,
				    "the authority's index is damaged: %.100s", line);
		bool same_name = strcmp(old_name, name) == 0;
		if (old_id == id && !same_name)
			return fail(err, -EEXIST,
				    "member id %u was given to %s and is never given to "
				    "another member",
				    id, old_name);
		if (same_name && old_id != id)
			return fail(err, -EEXIST, "%s already has the member id %u", name,
				    old_id);
		if (same_name && !renew)
			return fail(
			    err, -EEXIST,
			    "%s has a certificate already (member id %u); renewing "
			    "it must be forced",
			    name, id);
		if (fputs(line, to) < 0)
			return fail(err, -EIO, "cannot write the authority's index");
	}
	return 0;
}

/* Enters the certificate into the index, or says why it may not be issued. */
static int index_add(const char *dir, const char *name, member_id id, X509 *cert,
		     bool renew, char err[CERT_ERR])
{
	char path[PATH_MAX - 16];
	struct draft d = { .file = NULL };
	struct tm until;
	int r = 0;

	snprintf(path, sizeof(path), "%s/index", dir);
	FILE *old = fopen(path, "re");
	if (!old && errno != ENOENT)
		return fail_errno(err, path);
	r = start_draft(&d, path, 0600, err);
	if (r == 0 && old)
		r = index_check(old, d.file, name, id, renew, err);
	if (old)
		fclose(old);
	if (r == 0) {
		BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
		char *serial = number ? BN_bn2hex(number) : NULL;
		ASN1_TIME_to_tm(X509_get0_notAfter(cert), &until);
		fprintf(d.file, "%u %s %s %04d-%02d-%02dT%02d:%02d:%02dZ\n", id, name,
			serial ? serial : "-", until.tm_year + 1900, until.tm_mon + 1,
			until.tm_mday, until.tm_hour, until.tm_min, until.tm_sec);
		OPENSSL_free(serial);
		BN_free(number);
		r = finish_draft(&d, true, err);
	}
	draft_drop(&d);
	return r;
}

static X509 *make_member(const char *name, member_id id, EVP_PKEY *key, X509 *ca,
			 EVP_PKEY *ca_key, time_t from, time_t until)
{
	char uri[64];
	X509 *cert = make_body(name, key, ca, from, until);

	snprintf(uri, sizeof(uri), "URI:" URN "%u", id);
	if (cert && add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
	    add_extension(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
	    add_extension(cert, ca, NID_subject_alt_name, uri) &&
	    add_extension(cert, ca, NID_subject_key_identifier, "hash") &&
	    add_extension(cert, ca, NID_authority_key_identifier, "keyid:always") &&
	    X509_sign(cert, ca_key, EVP_sha256()))
		return cert;
	X509_free(cert);
	return NULL;
}

static int issue(const char *dir, const char *name, member_id id, time_t from,
		 time_t until, const char *out_prefix, bool renew, char err[CERT_ERR])
{
	char path[PATH_MAX];
	struct pair pair = { .key.file = NULL };
	X509 *ca = NULL, *cert = NULL;
	EVP_PKEY *ca_key = NULL, *key = NULL;

	snprintf(path, sizeof(path), "%s/ca.crt", dir);
	int r = read_cert(path, &ca, err);
	if (r < 0)
		goto out;
	snprintf(path, sizeof(path), "%s/ca.key", dir);
	r = read_key(path, &ca_key, err);
	if (r < 0)
		goto out;
	key = EVP_EC_gen("P-256");
	cert = key ? make_member(name, id, key, ca, ca_key, from, until) : NULL;
	if (!cert) {
		r = fail_openssl(err, "make the certificate");
		goto out;
	}
	/* The index comes before the files: after a crash an id may be lost, but is never
	 * given out a second time. */
	r = pair_prepare(&pair, out_prefix, key, cert, err);
	if (r == 0)
		r = index_add(dir, name, id, cert, renew, err);
	if (r == 0)
		r = pair_finish(&pair, renew, err);
out:
	pair_drop(&pair);
	X509_free(cert);
	EVP_PKEY_free(key);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	return r;
}

int cert_issue_between(const char *dir, const char *name, member_id id, time_t from,
		       time_t until, const char *out_prefix, bool renew,
		       char err[CERT_ERR])
{
	if (!cert_name_valid(name))
		return fail(err, -EINVAL, "\"%s\" is not a good name for a member", name);
	if (id < 1 || id > CLUSTER_ID_MAX)
		return fail(err, -ERANGE, "member id %u is not within 1..%d", id,
			    CLUSTER_ID_MAX);
	if (!renew) {
		int r = refuse_existing(out_prefix, err);
		if (r < 0)
			return r;
	}
	int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0)
		return fail_errno(err, dir);
	int r = flock(lock, LOCK_EX) < 0
		    ? fail_errno(err, dir)
		    : issue(dir, name, id, from, until, out_prefix, renew, err);
	close(lock);
	return r;
}

int cert_issue(const char *dir, const char *name, member_id id, unsigned days,
	       const char *out_prefix, bool renew, char err[CERT_ERR])
{
	time_t now = time(NULL);

	return cert_issue_between(dir, name, id, now - CLOCK_SLACK, now + days * DAY,
				  out_prefix, renew, err);
}

/* Reading. */

static bool read_name(X509 *cert, char out[CLUSTER_NAME_MAX])
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return false;
	const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	int len = ASN1_STRING_length(s);
	if (len <= 0 || len >= CLUSTER_NAME_MAX)
		return false;
	memcpy(out, ASN1_STRING_get0_data(s), (size_t)len);
	out[len] = '\0';
	/* A zero byte inside would make two different names look the same. */
	return strlen(out) == (size_t)len && cert_name_valid(out);
}

/* "urn:phalanx:member:" and a number in its shortest form. 0 if it is something else. */
static member_id parse_urn(const uint8_t *text, size_t len)
{
	const size_t prefix = sizeof(URN) - 1;
	unsigned id = 0;

	if (len <= prefix || len > prefix + 4 || memcmp(text, URN, prefix) != 0 ||
	    text[prefix] == '0')
		return 0;
	for (size_t i = prefix; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		id = id * 10 + (text[i] - '0');
	}
	return id <= CLUSTER_ID_MAX ? (member_id)id : 0;
}

static member_id read_id(X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	unsigned found = 0;
	member_id id = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
		if (n->type != GEN_URI)
			continue;
		const ASN1_STRING *s = n->d.uniformResourceIdentifier;
		id = parse_urn(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
		found++;
	}
	GENERAL_NAMES_free(names);
	return found == 1 ? id : 0;
}

int cert_read_identity(X509 *cert, char name[CLUSTER_NAME_MAX], member_id *id)
{
	char cn[CLUSTER_NAME_MAX] = "";
	member_id number = read_id(cert);

	if (!number || !read_name(cert, cn))
		return -EINVAL;
	memcpy(name, cn, sizeof(cn));
	*id = number;
	return 0;
}

int cert_read_file(const char *path, char name[CLUSTER_NAME_MAX], member_id *id,
		   char err[CERT_ERR])
{
	X509 *cert = NULL;
	int r = read_cert(path, &cert, err);

	if (r < 0)
		return r;
	r = cert_read_identity(cert, name, id);
	X509_free(cert);
	return r < 0 ? fail(err, r, "%s: is not a member's certificate (no member id)",
			    path)
		     : 0;
}

/* Checks chain and dates, for both ends of a connection. */
static int verify(const char *path, X509 *cert, const char *ca_path, char err[CERT_ERR])
{
	const char *const purposes[] = { "ssl_client", "ssl_server" };
	X509_STORE *store = X509_STORE_new();
	int r = 0;

	if (!store || X509_STORE_load_file(store, ca_path) != 1)
		r = fail_openssl(err, "load the authority's certificates");
	for (unsigned i = 0; i < 2 && r == 0; i++) {
		X509_STORE_CTX *ctx = X509_STORE_CTX_new();
		if (!ctx || X509_STORE_CTX_init(ctx, store, cert, NULL) != 1 ||
		    X509_STORE_CTX_set_default(ctx, purposes[i]) != 1) {
			r = fail_openssl(err, "check the certificate");
		} else if (X509_verify_cert(ctx) != 1) {
			int why = X509_STORE_CTX_get_error(ctx);
			bool in_ca = X509_STORE_CTX_get_error_depth(ctx) > 0;
			r = fail(err, -EKEYREJECTED, "%s: %s%s%s", in_ca ? ca_path : path,
				 X509_verify_cert_error_string(why),
				 in_ca ? "" : "; checked with ", in_ca ? "" : ca_path);
		}
		X509_STORE_CTX_free(ctx);
	}
	X509_STORE_free(store);
	return r;
}

int cert_check_files(const char *cert_path, const char *key_path, const char *ca_path,
		     char err[CERT_ERR])
{
	X509 *cert = NULL, *ca = NULL;
	EVP_PKEY *key = NULL;
	char name[CLUSTER_NAME_MAX];
	member_id id;

	int r = read_cert(ca_path, &ca, err);
	if (r == 0)
		r = read_cert(cert_path, &cert, err);
	if (r == 0)
		r = read_key(key_path, &key, err);
	if (r == 0 && X509_check_private_key(cert, key) != 1)
		r = fail(err, -EKEYREJECTED, "%s: is not the key of %s", key_path,
			 cert_path);
	if (r == 0 && cert_read_identity(cert, name, &id) < 0)
		r = fail(err, -EINVAL, "%s: is not a member's certificate (no member id)",
			 cert_path);
	if (r == 0)
		r = verify(cert_path, cert, ca_path, err);
	ERR_clear_error();
	X509_free(cert);
	X509_free(ca);
	EVP_PKEY_free(key);
	return r;
}
