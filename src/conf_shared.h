/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the configuration that all members share, as they compare it and give it to
 * one another.
 *
 * A member that is given a newer version keeps it in its state directory, as phalanx.conf,
 * and uses it instead of the administrator's file until that one's version is not lower any
 * more. The administrator's file is never written, and an earlier phalanx.conf becomes
 * phalanx.conf.VERSION.
 */
#ifndef SRC_CONF_SHARED_H
#define SRC_CONF_SHARED_H

#include "src/conf.h"

#define CONF_SHARED_NAME "phalanx.conf"
#define CONF_SHARED_ERROR 512

/* Version and digests. 0 or -ENOMEM. */
int conf_shared_digest(const struct conf *conf, struct cluster_shared *out);
/* The text for another member; its length, 0 if it does not fit or memory is out. */
size_t conf_shared_text(const struct conf *conf, uint8_t *out, size_t size);

/*
 * What `shared` says, with `local`'s own settings: where a network is in both, `local`'s
 * interface. NULL if memory is out.
 */
struct conf *conf_shared_adopt(const struct conf *shared, const struct conf *local);

/*
 * Keeps a text that another member gave, for the next start of this one, which is member
 * `self`. It must be a configuration of that version, list the member as it is, and go with
 * the local settings; else -EINVAL, or -errno, with a line in `err`, and nothing changes.
 */
int conf_shared_store(const struct conf *local, const struct conf_member *self,
		      uint32_t version, const uint8_t *text, size_t len,
		      char err[CONF_SHARED_ERROR]);

/*
 * The file, or the newer one of the state directory with this file's local settings; then
 * *newer is true. NULL as conf_read(). What is wrong with the newer one is a line in
 * `errors`, too, but does no harm.
 */
struct conf *conf_shared_read(const char *path, bool *newer, FILE *errors);

#endif
