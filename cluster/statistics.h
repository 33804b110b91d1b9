/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the core counts: notable events, and refused messages by reason. */
#ifndef CLUSTER_STATISTICS_H
#define CLUSTER_STATISTICS_H

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
	X(counters_refused)

enum statistic {
#define X(name) STAT_##name,
	STATISTICS(X)
#undef X
	    STATISTICS_COUNT
};

const char *statistic_name(enum statistic s);

#endif
