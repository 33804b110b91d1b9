/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logging to stderr.
 *
 * Each call writes one line with one write(2), so that lines of the member and of its
 * parent do not mix. A newline is added; control characters in the text are replaced,
 * because names and reasons that a peer chose end up here.
 */
#ifndef SRC_LOG_H
#define SRC_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

#define LOG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * Lines above `level` are not written. With `prefix` (or if JOURNAL_STREAM is set, as
 * systemd does) a line begins with its priority, "<6>"; else with the time of day, the
 * process's name and its id. Before the first call the level is LOG_LEVEL_INFO.
 */
void log_init(enum log_level level, bool prefix);
void log_set_level(enum log_level level);
bool log_wants(enum log_level level);
/* Copied, and cut to 31 characters. "phalanxd" at first. */
void log_set_name(const char *name);

void log_debug(const char *format, ...) LOG_PRINTF(1, 2);
void log_info(const char *format, ...) LOG_PRINTF(1, 2);
/* log_warn and fatal append ": " and the text of errno, which they leave as it was. */
void log_warn(const char *format, ...) LOG_PRINTF(1, 2);
void log_warnx(const char *format, ...) LOG_PRINTF(1, 2);
/* Log at LOG_LEVEL_ERROR and exit(1). */
_Noreturn void fatal(const char *format, ...) LOG_PRINTF(1, 2);
_Noreturn void fatalx(const char *format, ...) LOG_PRINTF(1, 2);

#endif
