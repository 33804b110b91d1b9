/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operator's command. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/cluster.h"
#include "src/cert.h"
#include "src/clusterctl.h"
#include "src/control.h"

#define SOCKET_DEFAULT "/run/phalanx/control.sock"
#define CA_DAYS 3650
#define MEMBER_DAYS 825
#define DAYS_MAX 36500
#define WORDS_MAX 1024

static const char help[] =
    "Usage: clusterctl [-s SOCKET] COMMAND\n"
    "\n"
    "Asks the phalanxd of this machine:\n"
    "  status [--counters]       this member, the others, networks, units, sessions\n"
    "  members                   all members: state, keepalives, load, refusals\n"
    "  units [N|N-M]...          who owns which work units, and who succeeds; one unit\n"
    "                            in detail\n"
    "  sessions [--user USER] [--address ADDRESS] [--unit N] [--member MEMBER]\n"
    "                            the users' sessions, on all members, or some of them\n"
    "  counters                  packets and messages by kind\n"
    "Each takes --json.\n"
    "\n"
    "Tells the cluster, at any of its members; a member is its name or its id:\n"
    "  drain MEMBER [--no-wait] [--force]\n"
    "                            it gives all its units to others, without loss, and "
    "gets\n"
    "                            none until it is undrained\n"
    "  undrain MEMBER            it gets its share again\n"
    "  move UNIT MEMBER [--no-wait]\n"
    "                            one unit goes to that member\n"
    "  expel MEMBER [--why TEXT] [--no-wait] [--json]\n"
    "                            it goes at once, its units to their successors, and\n"
    "                            comes back later\n"
    "  session kill ID|USER|ADDRESS [--no-wait] [--force]\n"
    "                            its owner ends the session and tells the client\n"
    "\n"
    "Makes certificates, without phalanxd:\n"
    "  ca init DIR [--name NAME] [--days N]\n"
    "                            the cluster's certificate authority, in a new folder\n"
    "  cert issue DIR NAME --id N [--out PREFIX] [--days N] [--renew]\n"
    "                            a member's PREFIX.crt and PREFIX.key;\n"
    "                            PREFIX is DIR/NAME by default\n"
    "\n"
    "  -s, --socket SOCKET       default: " SOCKET_DEFAULT "\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage, 69 phalanxd is not running.\n";

struct options {
	const char *socket;
	const char *name;
	const char *out;
	unsigned days; /* 0: not given */
	unsigned id;   /* 0: not given */
	const char *user, *address, *member;
	int unit; /* -1: not given */
	const char *why;
	bool json, counters, renew, force, no_wait;
};

enum {
	OPT_JSON = 1 << 0,
	OPT_COUNTERS = 1 << 1,
	OPT_NAME = 1 << 2,
	OPT_DAYS = 1 << 3,
	OPT_ID = 1 << 4,
	OPT_OUT = 1 << 5,
	OPT_RENEW = 1 << 6,
	OPT_FORCE = 1 << 7,
	OPT_WAIT = 1 << 8,     /* --wait and --no-wait */
	OPT_SESSIONS = 1 << 9, /* --user, --address, --unit, --member */
	OPT_WHY = 1 << 10,
};

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "json", no_argument, NULL, 'j' },
	{ "counters", no_argument, NULL, 'c' },
	{ "name", required_argument, NULL, 'n' },
	{ "days", required_argument, NULL, 'd' },
	{ "id", required_argument, NULL, 'i' },
	{ "out", required_argument, NULL, 'o' },
	{ "renew", no_argument, NULL, 'r' },
	{ "force", no_argument, NULL, 'f' },
	{ "wait", no_argument, NULL, 'w' },
	{ "no-wait", no_argument, NULL, 'W' },
	{ "user", required_argument, NULL, 'U' },
	{ "address", required_argument, NULL, 'A' },
	{ "unit", required_argument, NULL, 'u' },
	{ "member", required_argument, NULL, 'm' },
	{ "why", required_argument, NULL, 'y' },
	{ NULL, 0, NULL, 0 },
};

static _Noreturn void LOG_PRINTF(1, 2) usage(const char *format, ...)
{
	va_list ap;

	fputs("clusterctl: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputs("\nTry 'clusterctl --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static unsigned parse_number(const char *what, const char *value, unsigned min,
			     unsigned max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno || n < min || n > max)
		usage("%s is '%s', expected a number from %u to %u", what, value, min,
		      max);
	return (unsigned)n;
}

/* Asking phalanxd */

typedef void show_function(const json_t *reply, FILE *out, bool bold);

int report_failure(int ret, const char *err)
{
	fprintf(stderr, "clusterctl: %s\n", err);
	return ret == -ENOENT || ret == -ECONNREFUSED ? EXIT_NOT_RUNNING : EXIT_FAILED;
}

static int ask(const struct options *o, const char *command, json_t *arguments,
	       show_function *show)
{
	char err[CONTROL_ERR];
	json_t *reply = NULL;
	int ret = control_call(o->socket, command, arguments, &reply, err);

	if (ret < 0)
		return report_failure(ret, err);
	if (o->json) {
		json_dumpf(reply, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		show(reply, stdout, isatty(STDOUT_FILENO));
	}
	json_decref(reply);
	return EXIT_OK;
}

static int do_status(const struct options *o, char **words)
{
	return ask(o, "status", json_pack("{s:b}", "counters", o->counters), show_status);
}

static int do_members(const struct options *o, char **words)
{
	return ask(o, "members", NULL, show_members);
}

/* "7" or "7-11" */
static void add_units(json_t *list, const char *word)
{
	char *end;
	unsigned long first, last;

	errno = 0;
	first = last = strtoul(word, &end, 10);
	if (isdigit((unsigned char)word[0]) && *end == '-' &&
	    isdigit((unsigned char)end[1]))
		last = strtoul(end + 1, &end, 10);
	if (!isdigit((unsigned char)word[0]) || *end || errno || last < first ||
	    last >= CLUSTER_UNITS)
		usage("the work unit is '%s', expected a number from 0 to %u, or two of "
		      "them with '-' between",
		      word, CLUSTER_UNITS - 1);
	for (; first <= last; first++)
		json_array_append_new(list, json_integer((json_int_t)first));
}

static int do_units(const struct options *o, char **words)
{
	json_t *list;

	if (!words[0])
		return ask(o, "units", NULL, show_units);
	list = json_array();
	for (; *words; words++)
		add_units(list, *words);
	return ask(o, "units", json_pack("{s:o}", "units", list), show_units);
}

static int do_sessions(const struct options *o, char **words)
{
	json_t *wanted = json_pack("{s:s*,s:s*,s:s*}", "user", o->user, "address",
				   o->address, "member", o->member);

	if (!wanted)
		usage("the user or the address is no text in UTF-8");
	if (o->unit >= 0)
		json_object_set_new(wanted, "unit", json_integer(o->unit));
	return sessions_list(o->socket, wanted, o->json);
}

static int do_counters(const struct options *o, char **words)
{
	return ask(o, "counters", NULL, show_counters);
}

static int do_drain(const struct options *o, char **words)
{
	return operate_drain(o->socket, words[0], o->force, !o->no_wait);
}

static int do_undrain(const struct options *o, char **words)
{
	return operate_undrain(o->socket, words[0]);
}

static int do_move(const struct options *o, char **words)
{
	unsigned unit = parse_number("the work unit", words[0], 0, CLUSTER_UNITS - 1);

	return operate_move(o->socket, unit, words[1], !o->no_wait);
}

static int do_expel(const struct options *o, char **words)
{
	return operate_expel(o->socket, words[0], o->why, o->json, !o->no_wait);
}

static int do_session_kill(const struct options *o, char **words)
{
	return sessions_kill(o->socket, words[0], o->force, !o->no_wait);
}

/* Certificates */

static int do_ca_init(const struct options *o, char **words)
{
	char err[CERT_ERR];

	if (cert_make_ca(words[0], o->name ? o->name : "phalanx",
			 o->days ? o->days : CA_DAYS, err) < 0) {
		fprintf(stderr, "clusterctl: %s\n", err);
		return EXIT_FAILED;
	}
	printf("The certificate authority is in %s. Keep its ca.key off the members;\n"
	       "each member needs its ca.crt.\n",
	       words[0]);
	return EXIT_OK;
}

static int do_cert_issue(const struct options *o, char **words)
{
	char prefix[PATH_MAX];
	char err[CERT_ERR];
	int n;

	if (!o->id)
		usage("cert issue needs --id N, the member's number in phalanx.conf");
	if (!cert_name_valid(words[1]))
		usage("'%s' is no name for a member, expected letters, digits, '-', '.', "
		      "'_'",
		      words[1]);
	n = o->out ? snprintf(prefix, sizeof(prefix), "%s", o->out)
		   : snprintf(prefix, sizeof(prefix), "%s/%s", words[0], words[1]);
	if (n >= (int)sizeof(prefix))
		usage("the name of the files is too long");
	if (cert_issue(words[0], words[1], (member_id)o->id,
		       o->days ? o->days : MEMBER_DAYS, prefix, o->renew, err) < 0) {
		fprintf(stderr, "clusterctl: %s\n", err);
		return EXIT_FAILED;
	}
	printf("%s.crt and %s.key are member \"%s\"'s, with id %u.\n", prefix, prefix,
	       words[1], o->id);
	return EXIT_OK;
}

/* Commands */

static const struct command {
	const char *word, *second; /* second: NULL if the command is one word */
	int (*run)(const struct options *o, char **words);
	int min, max; /* words after the command */
	unsigned options;
	const char *takes;
} commands[] = {
	{ "status", NULL, do_status, 0, 0, OPT_JSON | OPT_COUNTERS, "no words" },
	{ "members", NULL, do_members, 0, 0, OPT_JSON, "no words" },
	{ "units", NULL, do_units, 0, WORDS_MAX, OPT_JSON, "units" },
	{ "sessions", NULL, do_sessions, 0, 0, OPT_JSON | OPT_SESSIONS, "no words" },
	{ "session", "kill", do_session_kill, 1, 1, OPT_FORCE | OPT_WAIT,
	  "an id, a user or an address" },
	{ "counters", NULL, do_counters, 0, 0, OPT_JSON, "no words" },
	{ "drain", NULL, do_drain, 1, 1, OPT_FORCE | OPT_WAIT, "a member" },
	{ "undrain", NULL, do_undrain, 1, 1, 0, "a member" },
	{ "move", NULL, do_move, 2, 2, OPT_WAIT, "a unit and a member" },
	{ "expel", NULL, do_expel, 1, 1, OPT_WHY | OPT_WAIT | OPT_JSON, "a member" },
	{ "ca", "init", do_ca_init, 1, 1, OPT_NAME | OPT_DAYS, "DIR" },
	{ "cert", "issue", do_cert_issue, 2, 2, OPT_ID | OPT_OUT | OPT_DAYS | OPT_RENEW,
	  "DIR NAME" },
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Sets what one option says; returns its bit, 0 for those that go with all commands. */
static unsigned take_option(struct options *o, int option)
{
	switch (option) {
	case 's':
		o->socket = optarg;
		return 0;
	case 'h':
		fputs(help, stdout);
		exit(EXIT_OK);
	case 'V':
		puts("clusterctl " PACKAGE_VERSION);
		exit(EXIT_OK);
	case 'j':
		o->json = true;
		return OPT_JSON;
	case 'c':
		o->counters = true;
		return OPT_COUNTERS;
	case 'n':
		o->name = optarg;
		return OPT_NAME;
	case 'd':
		o->days = parse_number("--days", optarg, 1, DAYS_MAX);
		return OPT_DAYS;
	case 'i':
		o->id = parse_number("--id", optarg, 1, CLUSTER_ID_MAX);
		return OPT_ID;
	case 'o':
		o->out = optarg;
		return OPT_OUT;
	case 'r':
		o->renew = true;
		return OPT_RENEW;
	case 'y':
		o->why = optarg;
		return OPT_WHY;
	case 'f':
		o->force = true;
		return OPT_FORCE;
	case 'w':
	case 'W':
		o->no_wait = option == 'W';
		return OPT_WAIT;
	case 'U':
		o->user = optarg;
		return OPT_SESSIONS;
	case 'A':
		o->address = optarg;
		return OPT_SESSIONS;
	case 'm':
		o->member = optarg;
		return OPT_SESSIONS;
	case 'u':
		o->unit = (int)parse_number("--unit", optarg, 0, CLUSTER_UNITS - 1);
		return OPT_SESSIONS;
	default: /* getopt has told what is wrong */
		fputs("Try 'clusterctl --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
}

static const struct command *find_command(char **words)
{
	if (!words[0])
		usage("a command is missing");
	for (size_t i = 0; i < NCOMMANDS; i++) {
		const struct command *c = &commands[i];

		if (strcmp(words[0], c->word) != 0)
			continue;
		if (!c->second || (words[1] && strcmp(words[1], c->second) == 0))
			return c;
		usage("expected '%s %s'", c->word, c->second);
	}
	usage("there is no command '%s'", words[0]);
}

int main(int argc, char **argv)
{
	struct options o = { .socket = SOCKET_DEFAULT, .unit = -1 };
	const struct command *c;
	unsigned given = 0;
	int option, count, ret;
	char **words;

	while ((option = getopt_long(argc, argv, "s:hV", long_options, NULL)) != -1)
		given |= take_option(&o, option);
	words = argv + optind;
	c = find_command(words);
	words += c->second ? 2 : 1;
	count = (int)(argv + argc - words);
	if (count < c->min || count > c->max)
		usage("%s%s%s takes %s, not %d", c->word, c->second ? " " : "",
		      c->second ? c->second : "", c->takes, count);
	if (given & ~c->options)
		usage("%s%s%s does not go with one of these options", c->word,
		      c->second ? " " : "", c->second ? c->second : "");
	ret = c->run(&o, words);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "clusterctl: cannot write: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return ret;
}
