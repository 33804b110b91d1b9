/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/conf_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const part_names[CONF_PARTS] = {
	[CONF_PART_OPTIONS] = "options",
	[CONF_PART_MEMBERS] = "members",
	[CONF_PART_NETWORKS] = "networks",
	[CONF_PART_TUNNELS] = "tunnels",
};

static int digest_part(const struct conf *conf, enum conf_part part, uint64_t *out)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool ok;

	if (!f)
		return -ENOMEM;
	conf_print_part(conf, part, f);
	ok = fclose(f) == 0 && EVP_Digest(text, len, hash, NULL, EVP_sha256(), NULL) == 1;
	free(text);
	*out = 0;
	for (unsigned i = 0; i < sizeof(*out); i++)
		*out = *out << 8 | hash[i];
	return ok ? 0 : -ENOMEM;
}

int conf_shared_digest(const struct conf *conf, struct cluster_shared *out)
{
	*out = (struct cluster_shared){ .version = conf->version, .nparts = CONF_PARTS };
	for (int i = 0; i < CONF_PARTS; i++) {
		snprintf(out->parts[i].name, sizeof(out->parts[i].name), "%s",
			 part_names[i]);
		if (digest_part(conf, (enum conf_part)i, &out->parts[i].digest))
			return -ENOMEM;
	}
	return 0;
}

size_t conf_shared_text(const struct conf *conf, uint8_t *out, size_t size)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return 0;
	conf_print_shared(conf, f);
	if (fclose(f) || len > size)
		len = 0;
	memcpy(out, text, len);
	free(text);
	return len;
}

struct conf *conf_shared_adopt(const struct conf *shared, const struct conf *local)
{
	struct conf *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	*c = *shared;
	memcpy(c->path, local->path, sizeof(c->path));
	memcpy(c->node, local->node, sizeof(c->node));
	memcpy(c->certificate, local->certificate, sizeof(c->certificate));
	memcpy(c->key, local->key, sizeof(c->key));
	memcpy(c->authority, local->authority, sizeof(c->authority));
	memcpy(c->state_directory, local->state_directory, sizeof(c->state_directory));
	memcpy(c->run_directory, local->run_directory, sizeof(c->run_directory));
	c->capacity = local->capacity;
	c->log_level = local->log_level;
	memcpy(c->tunnel.device, local->tunnel.device, sizeof(c->tunnel.device));
	c->tunnel.table = local->tunnel.table;
	memcpy(c->ipsec.socket, local->ipsec.socket, sizeof(c->ipsec.socket));
	for (unsigned i = 0; i < c->nnetworks; i++) {
		const struct conf_network *own =
		    conf_network_named(local, c->networks[i].name);

		if (own)
			memcpy(c->networks[i].interface, own->interface,
			       sizeof(own->interface));
	}
	return c;
}

static int write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int failed = fd < 0 ? -errno : 0;

	for (size_t at = 0; !failed && at < len;) {
		ssize_t n = write(fd, (const char *)bytes + at, len - at);

		if (n < 0 && errno != EINTR)
			failed = -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	if (!failed && fsync(fd))
		failed = -errno;
	if (fd >= 0)
		close(fd);
	return failed;
}

/* Reads a file; the first thing that is wrong with it is in `err`. */
static struct conf *read_checked(const char *path, char err[CONF_SHARED_ERROR])
{
	char *text = NULL;
	size_t len = 0;
	FILE *errors = open_memstream(&text, &len);
	struct conf *c = NULL;

	snprintf(err, CONF_SHARED_ERROR, "out of memory");
	if (!errors)
		return NULL;
	c = conf_read(path, errors);
	fclose(errors);
	if (!c && text && *text) {
		text[strcspn(text, "\n")] = '\0';
		snprintf(err, CONF_SHARED_ERROR, "%s", text);
	}
	free(text);
	return c;
}

static bool same_member(const struct conf_member *a, const struct conf_member *b)
{
	return a && a->id == b->id && strcmp(a->name, b->name) == 0;
}

/* Text -> file -> configuration with the local settings -> file that says all of it. */
static int prepare(const struct conf *local, const struct conf_member *self,
		   uint32_t version, const char *path, char err[CONF_SHARED_ERROR])
{
	struct conf *shared = read_checked(path, err), *whole = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int failed = -EINVAL;

	if (!shared)
		return -EINVAL;
	if (shared->version != version)
		snprintf(err, CONF_SHARED_ERROR, "it says that it is version %u, not %u",
			 shared->version, version);
	else if (!same_member(conf_member_with_id(shared, self->id), self))
		snprintf(err, CONF_SHARED_ERROR, "it does not list %s with id %u",
			 self->name, self->id);
	else
		failed = 0;
	whole = failed ? NULL : conf_shared_adopt(shared, local);
	conf_free(shared);
	f = whole ? open_memstream(&text, &len) : NULL;
	if (f) {
		conf_print(whole, f);
		failed = fclose(f) ? -ENOMEM : write_file(path, text, len);
		if (failed)
			snprintf(err, CONF_SHARED_ERROR, "%s: %s", path,
				 strerror(-failed));
		free(text);
	} else if (!failed) {
		failed = -ENOMEM;
	}
	conf_free(whole);
	/* What one says may not go with what the other says. */
	whole = failed ? NULL : read_checked(path, err);
	if (!failed && !whole)
		failed = -EINVAL;
	conf_free(whole);
	return failed;
}

/* An earlier one is kept under the name of its version. */
static int put_in_place(const char *fresh, const char *path, char err[CONF_SHARED_ERROR])
{
	char ignored[CONF_SHARED_ERROR], backup[CONF_PATH_MAX + 64];
	struct conf *before = read_checked(path, ignored);

	snprintf(backup, sizeof(backup), "%s.%u", path, before ? before->version : 0);
	conf_free(before);
	if ((rename(path, backup) && errno != ENOENT) || rename(fresh, path)) {
		int failed = -errno;

		snprintf(err, CONF_SHARED_ERROR, "%s: %s", path, strerror(errno));
		return failed;
	}
	return 0;
}

int conf_shared_store(const struct conf *local, const struct conf_member *self,
		      uint32_t version, const uint8_t *text, size_t len,
		      char err[CONF_SHARED_ERROR])
{
	char path[CONF_PATH_MAX + 32], fresh[CONF_PATH_MAX + 64];
	int failed;

	snprintf(path, sizeof(path), "%s/%s", local->state_directory, CONF_SHARED_NAME);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	failed = write_file(fresh, text, len);
	if (failed)
		snprintf(err, CONF_SHARED_ERROR, "%s: %s", fresh, strerror(-failed));
	else
		failed = prepare(local, self, version, fresh, err);
	if (!failed)
		failed = put_in_place(fresh, path, err);
	if (failed)
		unlink(fresh);
	return failed;
}

struct conf *conf_shared_read(const char *path, bool *newer, FILE *errors)
{
	struct conf *own = conf_read(path, errors), *given = NULL, *both = NULL;
	char other[CONF_PATH_MAX + 32];

	*newer = false;
	if (!own)
		return NULL;
	if (strlen(path) < sizeof(own->path))
		strcpy(own->path, path);
	snprintf(other, sizeof(other), "%s/%s", own->state_directory, CONF_SHARED_NAME);
	if (access(other, F_OK) == 0)
		given = conf_read(other, errors);
	if (given && given->version > own->version)
		both = conf_shared_adopt(given, own);
	conf_free(given);
	if (!both)
		return own;
	conf_free(own);
	*newer = true;
	return both;
}
