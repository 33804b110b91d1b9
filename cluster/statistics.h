/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the core counts: notable events, and refused messages by reason. */
#ifndef CLUSTER_STATISTICS_H
#define CLUSTER_STATISTICS_H

#include <stdbool.h>

#define STATISTICS(X)                                                                    \
	X(received)                                                                      \
	X(bad_message)                                                                   \
	X(bad_version)                                                                   \
	X(unknown_type)                                                                  \
	X(unknown_sender)                                                                \
	X(wrong_transport)                                                               \
	X(wrong_state)                                                                   \
	X(not_from_member)                                                               \
	X(not_from_master)                                                               \
	X(not_streaming)                                                                 \
	X(lower_term)                                                                    \
	X(stale_epoch)                                                                   \
	X(joins)                                                                         \
	X(deaths)                                                                        \
	X(death_notes)                                                                   \
	X(offers)                                                                        \
	X(objections)                                                                    \
	X(elected)                                                                       \
	X(merges)                                                                        \
	X(rejoins)                                                                       \
	X(late)                                                                          \
	X(takeovers)                                                                     \
	X(unproven)                                                                      \
	X(challenges)                                                                    \
	X(remembered)                                                                    \
	X(activations)                                                                   \
	X(activation_failed)                                                             \
	X(epochs_raised)                                                                 \
	X(units_lost)                                                                    \
	X(moves_begun)                                                                   \
	X(units_released)                                                                \
	X(table_exchanges)                                                               \
	X(snapshots_sent)                                                                \
	X(snapshots_received)                                                            \
	X(resyncs)                                                                       \
	X(stream_failed)                                                                 \
	X(out_of_memory)                                                                 \
	X(records_sent)                                                                  \
	X(records_applied)                                                               \
	X(counter_batches)                                                               \
	X(counter_retransmits)                                                           \
	X(counters_refused)                                                              \
	X(wrong_id)                                                                      \
	X(own_id)                                                                        \
	X(duplicates)                                                                    \
	X(joins_refused)                                                                 \
	X(joins_held_back)                                                               \
	X(configuration_differs)                                                         \
	X(configurations_fetched)                                                        \
	X(expelled)                                                                      \
	X(told_to_go)                                                                    \
	X(record_bytes)                                                                  \
	X(counter_bytes)                                                                 \
	X(merge_offered)                                                                 \
	X(merge_given_up)                                                                \
	X(merge_refused)                                                                 \
	X(merge_judged)                                                                  \
	X(merge_taken)                                                                   \
	X(merge_ended)                                                                   \
	X(relays_asked)                                                                  \
	X(relays_passed)                                                                 \
	X(relays_received)                                                               \
	X(deaf)                                                                          \
	X(streams_resumed)                                                               \
	X(units_resumed)                                                                 \
	X(units_sent_whole)                                                              \
	X(units_sent_changes)                                                            \
	X(records_held_back)                                                             \
	X(members_slow)                                                                  \
	X(successors_dismissed)                                                          \
	X(streams_given_up)                                                              \
	X(slow_reported)                                                                 \
	X(slow_expelled)

enum statistic {
#define X(name) STAT_##name,
	STATISTICS(X)
#undef X
	    STATISTICS_COUNT
};

const char *statistic_name(enum statistic s);

/*
 * A reason to refuse a message as a whole. Of these, a *fault* is what no member of this
 * version ever sends; the others happen to honest members as well, when they do not know
 * yet what has changed.
 */
static inline bool statistic_is_fault(enum statistic s)
{
	return s == STAT_bad_message || s == STAT_bad_version || s == STAT_unknown_type ||
	       s == STAT_wrong_transport || s == STAT_wrong_id;
}

static inline bool statistic_refuses(enum statistic s)
{
	return statistic_is_fault(s) || s == STAT_unknown_sender ||
	       s == STAT_wrong_state || s == STAT_not_from_member ||
	       s == STAT_not_from_master || s == STAT_not_streaming ||
	       s == STAT_lower_term || s == STAT_stale_epoch;
}

#endif
