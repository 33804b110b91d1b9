/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members come and go, and have different configurations: who is asked, what is written to
 * the log, and how a newer configuration is taken over.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/conf_shared.h"
#include "src/daemon_parts.h"
#include "src/log.h"

static const char *name_of(const struct daemon *d, member_id id)
{
	const struct conf_member *m = conf_member_with_id(d->conf, id);

	return m ? m->name : "a member without a name";
}

/* Upcalls: the core must not be called from here. */

void daemon_join_asked(void *ctx, member_id id, const char *name, uint64_t incarnation)
{
	struct daemon *d = ctx;
	unsigned i = 0;

	while (i < d->nwishes && d->wishes[i].id != id)
		i++;
	if (i == CLUSTER_MEMBERS_MAX)
		return; /* it asks again */
	d->wishes[i].id = id;
	d->wishes[i].incarnation = incarnation;
	d->nwishes += i == d->nwishes;
	daemon_want_settle(d);
}

void daemon_joined(void *ctx, member_id id)
{
	log_info("%s is in the cluster", name_of(ctx, id));
}

void daemon_departed(void *ctx, member_id id, const char *why)
{
	struct daemon *d = ctx;

	log_info("%s is not in the cluster any more: %s", name_of(d, id), why);
	/* Some host may have taken it for the master, and have its MAC address. */
	for (unsigned i = 0; i < d->conf->nnetworks; i++) {
		arp_announce(d->arps[i]);
		if (d->ndps[i])
			ndp_announce(d->ndps[i]);
	}
	for (unsigned i = 0; i < d->ntunnels; i++)
		if (d->tunnels[i].ops->departed)
			d->tunnels[i].ops->departed(d->tunnels[i].tunnel, id, why);
}

size_t daemon_config_text(void *ctx, uint8_t *out, size_t size)
{
	const struct daemon *d = ctx;

	return conf_shared_text(d->published ? d->published : d->conf, out, size);
}

void daemon_config(void *ctx, member_id from, uint32_t version, const uint8_t *text,
		   size_t len)
{
	struct daemon *d = ctx;

	free(d->fetched.text);
	d->fetched.text = malloc(len + 1);
	if (!d->fetched.text)
		fatalx("out of memory");
	memcpy(d->fetched.text, text, len);
	d->fetched.len = len;
	d->fetched.version = version;
	d->fetched.from = from;
	daemon_want_settle(d);
}

/* What they have brought. */

static void answer_wish(struct daemon *d)
{
	const struct daemon_wish w = d->wishes[--d->nwishes];
	const char *why = NULL;

	for (unsigned i = 0; i < d->ntunnels && !why; i++)
		if (d->tunnels[i].ops->objects)
			why = d->tunnels[i].ops->objects(d->tunnels[i].tunnel, w.id,
							 name_of(d, w.id));
	cluster_join_answer(d->cluster, w.id, w.incarnation, !why, why, daemon_now(d));
}

/* It is used by the next run of this program, which begins at once. */
static void use_fetched(struct daemon *d)
{
	char err[CONF_SHARED_ERROR];
	int failed = conf_shared_store(d->conf, d->self, d->fetched.version,
				       d->fetched.text, d->fetched.len, err);

	free(d->fetched.text);
	d->fetched.text = NULL;
	if (failed) {
		snprintf(d->config_why, sizeof(d->config_why),
			 "%s's configuration version %u cannot be used here: %s",
			 name_of(d, d->fetched.from), d->fetched.version, err);
		log_warnx("%s; this member stays out of the cluster. Give %s the version "
			  "that the cluster has, and restart phalanxd",
			  d->config_why, *d->conf->path ? d->conf->path : "it");
		d->able_changed = true;
		return;
	}
	log_info(
	    "configuration version %u of %s is kept in %s/%s; starting again with it",
	    d->fetched.version, name_of(d, d->fetched.from), d->conf->state_directory,
	    CONF_SHARED_NAME);
	d->status = KEEPER_AGAIN;
	event_base_loopbreak(d->base);
}

bool daemon_members_settle(struct daemon *d)
{
	if (d->nwishes)
		answer_wish(d);
	else if (d->fetched.text)
		use_fetched(d);
	else
		return false;
	return true;
}

/* A text that counts seconds is no news. */
static bool same_but_numbers(const char *a, const char *b)
{
	for (;;) {
		while (isdigit((unsigned char)*a))
			a++;
		while (isdigit((unsigned char)*b))
			b++;
		if (*a != *b)
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

void daemon_members_log(struct daemon *d)
{
	struct cluster_member_state m[CLUSTER_MEMBERS_MAX];
	unsigned n = cluster_members(d->cluster, m, CLUSTER_MEMBERS_MAX, daemon_now(d));

	for (unsigned i = 0; i < n; i++) {
		if (same_but_numbers(m[i].barred, d->barred[i]))
			continue;
		snprintf(d->barred[i], sizeof(d->barred[i]), "%s", m[i].barred);
		if (*m[i].barred && !m[i].pending)
			log_warnx("%s is not let in: %s",
				  m[i].self ? "this member" : m[i].name, m[i].barred);
	}
}

/*
 * SIGHUP. What a member works with does not change while it runs. But it gives the file's
 * newer version to those who join, so that all can be restarted one after the other.
 */
void daemon_on_reload(evutil_socket_t signal, short what, void *arg)
{
	struct daemon *d = arg;
	struct conf *c = *d->conf->path ? conf_read(d->conf->path, stderr) : NULL;
	const struct conf *now = d->published ? d->published : d->conf;
	struct cluster_shared shared;

	if (!c) {
		log_warnx("SIGHUP: %s cannot be used; nothing changed", d->conf->path);
	} else if (c->version <= now->version) {
		log_warnx("SIGHUP: configuration version %u is in use already; nothing "
			  "changed. What is this member's own needs a restart; what all "
			  "share needs a higher version",
			  now->version);
	} else if (c->detection_interval != d->conf->detection_interval) {
		log_warnx("SIGHUP: detection-interval can only change when all members "
			  "are stopped; nothing changed");
	} else if (conf_shared_digest(c, &shared) == 0) {
		cluster_set_shared(d->cluster, &shared);
		conf_free(d->published);
		d->published = c;
		log_info("configuration version %u is given to members that join; this "
			 "one uses it after a restart",
			 c->version);
		return;
	}
	conf_free(c);
}
