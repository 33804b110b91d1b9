/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static enum log_level max_level = LOG_LEVEL_INFO;
static bool with_priority;
static char process_name[32] = "phalanxd";

/* The priorities of syslog(3), which the journal understands as "<N>". */
static const char priorities[] = {
	[LOG_LEVEL_ERROR] = '3',
	[LOG_LEVEL_WARN] = '4',
	[LOG_LEVEL_INFO] = '6',
	[LOG_LEVEL_DEBUG] = '7',
};

void log_init(enum log_level level, bool prefix)
{
	max_level = level;
	with_priority = prefix || getenv("JOURNAL_STREAM");
}

void log_set_level(enum log_level level)
{
	max_level = level;
}

bool log_wants(enum log_level level)
{
	return level <= max_level;
}

void log_set_name(const char *name)
{
	snprintf(process_name, sizeof(process_name), "%s", name);
}

static size_t line_start(char *line, size_t size, enum log_level level)
{
	if (with_priority)
		return (size_t)snprintf(line, size, "<%c>", priorities[level]);

	struct timespec now;
	struct tm day;
	char clock[16];
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &day);
	strftime(clock, sizeof(clock), "%H:%M:%S", &day);
	return (size_t)snprintf(line, size, "%s.%03ld %s[%d]: ", clock,
				now.tv_nsec / 1000000, process_name, (int)getpid());
}

static void clean(char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		/* Terminals obey Latin-1's control characters in UTF-8, too. */
		if (c < 0x20 || c == 0x7f)
			*text = '?';
		else if (c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80)
			text[0] = text[1] = '?';
	}
}

static LOG_PRINTF(3, 0) void line_write(enum log_level level, int error,
					const char *format, va_list args)
{
	char line[LINE_MAX_BYTES];
	const size_t size = sizeof(line) - 1; /* the newline has its place */
	int saved = errno;

	if (!log_wants(level))
		return;
	size_t start = line_start(line, size, level);
	int n = vsnprintf(line + start, size - start, format, args);
	size_t len = start + (n > 0 ? (size_t)n : 0);
	if (error && len < size)
		len += (size_t)snprintf(line + len, size - len, ": %s", strerror(error));
	if (len >= size)
		len = size - 1;
	line[len] = '\0';
	clean(line + start);
	line[len] = '\n';
	if (write(STDERR_FILENO, line, len + 1) < 0) {
		/* There is nobody left to tell. */
	}
	errno = saved;
}

#define LOG_LINE(level, error)                                                           \
	do {                                                                             \
		va_list args;                                                            \
		va_start(args, format);                                                  \
		line_write(level, error, format, args);                                  \
		va_end(args);                                                            \
	} while (0)

void log_debug(const char *format, ...)
{
	LOG_LINE(LOG_LEVEL_DEBUG, 0);
}

void log_info(const char *format, ...)
{
	LOG_LINE(LOG_LEVEL_INFO, 0);
}

void log_warn(const char *format, ...)
{
	LOG_LINE(LOG_LEVEL_WARN, errno);
}

void log_warnx(const char *format, ...)
{
	LOG_LINE(LOG_LEVEL_WARN, 0);
}

void fatal(const char *format, ...)
{
	LOG_LINE(LOG_LEVEL_ERROR, errno);
	exit(1);
}

void fatalx(const char *format, ...)
{
	LOG_LINE(LOG_LEVEL_ERROR, 0);
	exit(1);
}
