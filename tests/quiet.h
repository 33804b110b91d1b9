/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The outside of a core whose test does not look there. */
#ifndef TESTS_QUIET_H
#define TESTS_QUIET_H

#include "cluster/cluster.h"

/*
 * What is sent is lost, what is saved is forgotten, and nobody listens to the upcalls.
 * All random bytes are alike, so it is for one core only. A copy may have functions of
 * its own.
 */
extern const struct cluster_io quiet_io;

#endif
