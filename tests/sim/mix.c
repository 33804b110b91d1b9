/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random courses of faults, written as scenarios: what fails can be read, kept in a file,
 * cut down, and replayed after the mix has changed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/script.h"

struct mix {
	FILE *f;
	uint64_t random;
	unsigned members;
	/* What has been done, and not undone. */
	bool dead[NODES_MAX], frozen[NODES_MAX], unable[NODES_MAX], drained[NODES_MAX],
	    full[NODES_MAX];
	bool cut;
	bool harsh, more;
};

static uint64_t below(struct mix *m, uint64_t n)
{
	uint64_t z = (m->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return n ? z % n : z;
}

static bool chance(struct mix *m, unsigned percent)
{
	return below(m, 100) < percent;
}

static void say(struct mix *m, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct mix *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(m->f, fmt, ap);
	va_end(ap);
	fputc('\n', m->f);
}

static void run(struct mix *m, uint64_t from_us, uint64_t span_us)
{
	say(m, "run %lluus", (unsigned long long)(from_us + below(m, span_us + 1)));
}

static unsigned running(const struct mix *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->members; i++)
		n += !m->dead[i] && !m->frozen[i] && !m->unable[i];
	return n;
}

static void settings(struct mix *m)
{
	if (chance(m, 50))
		say(m, "set loss %.1f%%", (double)below(m, 20) / 10);
	if (chance(m, 30))
		say(m, "set duplicate 2%%");
	if (chance(m, 40))
		say(m, "set tardy 0.3%%");
	if (chance(m, 60))
		say(m, "set stale on");
	if (chance(m, 70))
		say(m, "set balancing on");
	say(m, "set jitter %lluus", (unsigned long long)below(m, 2000));
	if (chance(m, 15))
		say(m, "set failing-memory 0.%llu%%",
		    (unsigned long long)below(m, 5) + 1);
	if (chance(m, 10))
		say(m, "set queue %llu", (unsigned long long)(300 + below(m, 400)));
	for (unsigned i = 0; i < m->members && i < 8; i++)
		if (chance(m, 20))
			say(m, "set skew m%u by %s%llu ppm", i + 1,
			    chance(m, 50) ? "minus " : "",
			    (unsigned long long)below(m, 250) + 1);
}

static void revive(struct mix *m)
{
	say(m, "revive");
	for (unsigned i = 0; i < m->members; i++)
		if (m->drained[i])
			say(m, "undrain m%u", i + 1);
	memset(m->drained, 0, sizeof(m->drained));
	memset(m->dead, 0, sizeof(m->dead));
	memset(m->frozen, 0, sizeof(m->frozen));
	memset(m->unable, 0, sizeof(m->unable));
	memset(m->full, 0, sizeof(m->full));
	m->cut = false;
}

static void kill(struct mix *m, unsigned i)
{
	if (m->dead[i] || running(m) < 2)
		return;
	say(m, "kill m%u%s", i + 1, chance(m, 30) ? " with note" : "");
	m->dead[i] = true;
	m->frozen[i] = false;
	if (!chance(m, 30))
		return;
	/* Back before, or just when, its death is noticed. */
	run(m, 100, 250000);
	say(m, "start m%u", i + 1);
	m->dead[i] = false;
}

static void freeze(struct mix *m, unsigned i)
{
	if (m->dead[i] || m->frozen[i])
		return;
	say(m, "freeze m%u", i + 1);
	m->frozen[i] = true;
}

static void kill_two(struct mix *m, unsigned i)
{
	unsigned j = (i + 1 + (unsigned)below(m, m->members - 1)) % m->members;

	if (m->dead[i] || m->dead[j] || m->frozen[i] || m->frozen[j] || running(m) < 4)
		return;
	say(m, "kill m%u m%u", i + 1, j + 1);
	m->dead[i] = m->dead[j] = true;
}

static void lose_state(struct mix *m, unsigned i)
{
	if (m->members < 2)
		return;
	/* Its number is known to the others, and they are there to be asked. */
	revive(m);
	say(m, "settle");
	say(m, "kill m%u", i + 1);
	run(m, 0, 500000);
	say(m, "start m%u lost state", i + 1);
	say(m, "settle");
}

static void cut_many(struct mix *m)
{
	uint64_t set = below(m, UINT64_C(1) << m->members);

	if (!set || set == (UINT64_C(1) << m->members) - 1)
		return;
	fprintf(m->f, "cut");
	for (unsigned i = 0; i < m->members; i++)
		if (set >> i & 1)
			fprintf(m->f, " m%u", i + 1);
	fputc('\n', m->f);
	m->cut = true;
}

static void cut_few(struct mix *m, unsigned i)
{
	unsigned j = (i + 1 + (unsigned)below(m, m->members - 1)) % m->members;

	switch (below(m, 3)) {
	case 0:
		say(m, "cut between m%u and m%u", i + 1, j + 1);
		break;
	case 1:
		say(m, "cut one-way m%u -> m%u", i + 1, j + 1);
		break;
	default:
		/* It speaks, and hears nobody; or the other way round. */
		if (chance(m, 50))
			say(m, "cut one-way all -> m%u", i + 1);
		else
			say(m, "cut one-way m%u -> all", i + 1);
	}
	m->cut = true;
}

static void slow(struct mix *m, unsigned i)
{
	unsigned j = (i + 1 + (unsigned)below(m, m->members - 1)) % m->members;

	say(m, "slow m%u and m%u by %lluus %lluus a byte", i + 1, j + 1,
	    (unsigned long long)below(m, 20000), (unsigned long long)below(m, 2));
}

static void stir(struct mix *m, unsigned i)
{
	if (m->dead[i])
		return;
	say(m, "burst m%u", i + 1);
	if (chance(m, 50))
		return;
	run(m, 0, 1000);
	say(m, "burst m%u", i + 1);
}

/* Several times, so that one begins anew before the other has ended. */
static void break_stream(struct mix *m, unsigned i)
{
	unsigned j = (i + 1 + (unsigned)below(m, m->members - 1)) % m->members;

	for (unsigned times = 1 + (unsigned)below(m, 4); times--;) {
		stir(m, chance(m, 50) ? i : j);
		say(m, "break m%u and m%u", i + 1, j + 1);
		run(m, 0, 150000);
	}
}

/* Datagrams come, what the stream takes does not; for less, or more, than is waited for it. */
static void clog_stream(struct mix *m, unsigned i)
{
	unsigned j = (i + 1 + (unsigned)below(m, m->members - 1)) % m->members;

	say(m, "clog m%u and m%u", i + 1, j + 1);
	stir(m, j);
	run(m, 0, chance(m, 30) ? 5000000 : 1000000);
	stir(m, chance(m, 50) ? i : j);
	if (chance(m, 50))
		say(m, "clog m%u and m%u off", i + 1, j + 1);
}

/* What the operator may want, whatever else goes on. */
static void wish(struct mix *m, unsigned i)
{
	bool active = !m->dead[i] && !m->frozen[i];

	switch (below(m, 4)) {
	case 0:
		if (active)
			say(m, "%s m%u", m->drained[i] ? "undrain" : "drain", i + 1);
		m->drained[i] ^= active;
		break;
	case 1:
		if (active)
			say(m, "expel m%u if possible", i + 1);
		break;
	case 2:
		if (active && running(m) >= 2) {
			say(m, "leave m%u", i + 1);
			m->dead[i] = true;
			m->unable[i] = false;
		}
		break;
	default:
		for (uint64_t n = 1 + below(m, 5); n--;)
			say(m, "move unit %u to m%u if possible",
			    (unsigned)below(m, CLUSTER_UNITS), i + 1);
	}
}

/* Every eighth course has more than the others. */
static bool hurt_more(struct mix *m, unsigned i)
{
	if (!m->more || m->members < 2 || !chance(m, 40))
		return false;
	if (chance(m, 35)) {
		clog_stream(m, i);
	} else if (chance(m, 20)) {
		say(m, "%s m%u", m->full[i] ? "clear" : "fill", i + 1);
		m->full[i] = !m->full[i];
	} else {
		wish(m, i);
	}
	return true;
}

static void hurt(struct mix *m)
{
	unsigned i = (unsigned)below(m, m->members);

	stir(m, i);
	if (hurt_more(m, i))
		return;
	switch (below(m, m->members < 2 ? 6 : 18)) {
	case 0:
	case 1:
		freeze(m, i);
		break;
	case 2:
		if (m->frozen[i])
			say(m, "thaw m%u", i + 1);
		m->frozen[i] = false;
		break;
	case 3:
		say(m, "%s m%u", m->unable[i] ? "able" : "unable", i + 1);
		m->unable[i] = !m->unable[i];
		break;
	case 4:
	case 5:
		say(m, "stall %llums", (unsigned long long)(100 + below(m, 300)));
		break;
	case 6:
	case 7:
	case 8:
		kill(m, i);
		break;
	case 9:
	case 10:
		say(m, "cut m%u", i + 1);
		m->cut = true;
		break;
	case 11:
		cut_many(m);
		break;
	case 12:
		if (m->harsh)
			cut_few(m, i);
		break;
	case 13:
		if (m->members > 3)
			kill_two(m, i);
		break;
	case 14:
		lose_state(m, i);
		break;
	case 15:
		if (chance(m, 50))
			slow(m, i);
		else
			break_stream(m, i);
		break;
	case 16:
		if (m->cut)
			say(m, "heal");
		m->cut = false;
		break;
	default:
		if (m->dead[i])
			say(m, "start m%u", i + 1);
		m->dead[i] = false;
	}
}

unsigned mix_members(uint64_t seed)
{
	struct mix m = { .random = seed * 31 + 7 };
	uint64_t r = below(&m, 100);

	if (r < 3)
		return 1;
	if (r < 12)
		return 2;
	if (r < 55)
		return 3;
	if (r < 98)
		return 4 + (unsigned)below(&m, 5);
	return 9 + (unsigned)below(&m, r < 99 ? 8 : NODES_MAX - 8);
}

char *mix_write(uint64_t seed, unsigned members, unsigned faults, bool harsh)
{
	struct mix m = {
		.random = seed, .members = members, .harsh = harsh, .more = seed % 8 == 0
	};
	char *text = NULL;
	size_t size;

	m.f = open_memstream(&text, &size);
	if (!m.f)
		abort();
	say(&m, "# A random mix of faults.");
	say(&m, "members %u\nseed %llu", members, (unsigned long long)seed);
	settings(&m);
	say(&m, "start all\nsettle");
	if (members > 8)
		faults = faults < 3 ? faults : 3;
	for (unsigned i = 0; i < faults; i++) {
		hurt(&m);
		if (chance(&m, 30)) {
			run(&m, 0, 300000);
			continue;
		}
		run(&m, 150000, 600000);
		if (chance(&m, 50)) {
			revive(&m);
			say(&m, "settle");
		}
	}
	revive(&m);
	say(&m, "finish");
	fclose(m.f);
	return text;
}
