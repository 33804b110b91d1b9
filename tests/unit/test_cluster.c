/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One member by itself, through the public interface; whole clusters are in tests/sim. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/cluster.h"
#include "cluster/wire.h"

struct fixture {
	struct cluster *c;
	struct mono now;
	uint32_t saved;
	int save_error;
	uint32_t sync; /* number of the last SYNC that was sent */
	unsigned owned, gained_calls, counted, removed;
};

static unsigned failing; /* the malloc() that fails, counted from now on; 0: none */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return failing && !--failing ? NULL : __real_malloc(size);
}

static void io_datagram(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
}

static int io_stream(void *ctx, member_id to, const uint8_t *msg, size_t len)
{
	struct fixture *f = ctx;
	struct unpack u = unpack_from(msg, len);
	struct wire_header h;
	struct wire_sync m;

	if (!wire_decode_header(&u, &h) && h.type == wire_type_sync &&
	    !wire_decode_sync(&u, &m))
		f->sync = m.sync;
	return 0;
}

static void io_random(void *ctx, uint8_t *out, size_t len)
{
	memset(out, 7, len);
}

static int io_save(void *ctx, uint32_t number)
{
	struct fixture *f = ctx;

	if (!f->save_error)
		f->saved = number;
	return f->save_error;
}

static void io_units(void *ctx, const struct unit_set *gained,
		     const struct unit_set *lost, uint32_t activation)
{
	struct fixture *f = ctx;
	unsigned n = 0;

	for (unit_id u = 0; u < CLUSTER_UNITS; u++) {
		n += unit_set_has(gained, u);
		f->owned += unit_set_has(gained, u);
		f->owned -= unit_set_has(lost, u);
	}
	if (n) {
		f->gained_calls++;
		assert_int_equal(activation, f->saved);
	}
}

static void io_nothing(void *ctx)
{
}

static void io_changed(void *ctx, struct session *s)
{
}

static void io_removed(void *ctx, struct session *s)
{
	((struct fixture *)ctx)->removed++;
}

static void io_counted(void *ctx, struct session *s, unsigned slot)
{
	((struct fixture *)ctx)->counted++;
}

static const struct cluster_config config = {
	.self = 2,
	.detection = 200 * MONO_MS,
	.capacity = 1,
	.activation = 41,
	.npeers = 2,
	.peers = { { 1, "one" }, { 2, "two" } },
};

static struct cluster *make(struct fixture *f, const struct cluster_config *cfg)
{
	struct cluster_io io = {
		.ctx = f,
		.datagram = io_datagram,
		.stream = io_stream,
		.random = io_random,
		.save_activation = io_save,
		.units = io_units,
		.table = io_nothing,
		.changed = io_changed,
		.removed = io_removed,
		.committed = io_nothing,
		.counted = io_counted,
		.role = io_nothing,
	};

	return cluster_new(cfg, &io, f->now);
}

static void run(struct fixture *f, uint64_t time)
{
	struct mono end = mono_add(f->now, time);

	while (mono_before(cluster_timeout(f->c), end)) {
		if (mono_before(f->now, cluster_timeout(f->c)))
			f->now = cluster_timeout(f->c);
		else
			f->now.ns++;
		cluster_tick(f->c, f->now);
	}
	f->now = end;
	cluster_tick(f->c, f->now);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->now.ns = 1000 * MONO_SEC;
	f->c = make(f, &config);
	*state = f;
	return f->c ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cluster_free(f->c);
	free(f);
	return 0;
}

static void bad_configuration_is_refused(void **state)
{
	struct fixture *f = *state;
	struct cluster_config cfg = config;

	cfg.self = 3;
	assert_null(make(f, &cfg));
	cfg = config;
	cfg.peers[0].id = 2;
	assert_null(make(f, &cfg));
	cfg = config;
	cfg.peers[0].id = CLUSTER_ID_MAX + 1;
	assert_null(make(f, &cfg));
	cfg = config;
	cfg.detection = 49 * MONO_MS;
	assert_null(make(f, &cfg));
	cfg = config;
	cfg.activation = CLUSTER_ACTIVATION_MAX + 1;
	assert_null(make(f, &cfg));
}

static void alone_it_becomes_master_and_owns_all_once_able(void **state)
{
	static const uint8_t zero[16];
	struct fixture *f = *state;

	assert_memory_equal(cluster_fold_key(f->c), zero, 16);
	run(f, 200 * MONO_MS);
	assert_int_equal(cluster_role(f->c), CLUSTER_JOINING);
	run(f, MONO_SEC);
	assert_int_equal(cluster_role(f->c), CLUSTER_MASTER);
	assert_memory_not_equal(cluster_fold_key(f->c), zero, 16);
	assert_int_equal(f->owned, 0);
	cluster_set_able(f->c, true, NULL, f->now);
	run(f, MONO_SEC);
	assert_int_equal(f->owned, CLUSTER_UNITS);
	assert_int_equal(f->gained_calls, 1);
	assert_int_equal(cluster_activation(f->c), 42);
	assert_true(cluster_unprotected(f->c));
	assert_true(cluster_serves(f->c, 0, f->now));
	cluster_set_able(f->c, false, "carrier", f->now);
	assert_int_equal(f->owned, 0);
	assert_false(cluster_serves(f->c, 0, f->now));
}

static void nothing_is_activated_without_a_durable_number(void **state)
{
	struct fixture *f = *state;

	f->save_error = -EIO;
	cluster_set_able(f->c, true, NULL, f->now);
	run(f, 2 * MONO_SEC);
	assert_int_equal(cluster_role(f->c), CLUSTER_MASTER);
	assert_int_equal(f->owned, 0);
	assert_int_equal(cluster_activation(f->c), 41);
	f->save_error = 0;
	run(f, MONO_SEC);
	assert_int_equal(f->owned, CLUSTER_UNITS);
	/* A number is used up by finding out. */
	assert_in_range(f->saved, 42, 43);
	assert_int_equal(cluster_activation(f->c), f->saved);
}

static void sessions_are_kept(void **state)
{
	struct fixture *f = *state;
	struct session_key key = { .type = 1, .len = 3, .bytes = "abc" };
	struct session *s = NULL;
	size_t len;

	assert_int_equal(cluster_put(f->c, 5, &key, NULL, 0, NULL, 0, &s, f->now),
			 -EPERM);
	cluster_set_able(f->c, true, NULL, f->now);
	run(f, MONO_SEC);
	assert_int_equal(
	    cluster_put(f->c, 5, &key, (const uint8_t *)"in", 2, NULL, 0, &s, f->now), 0);
	assert_ptr_equal(cluster_find(f->c, 5, &key), s);
	assert_null(cluster_find(f->c, 6, &key));
	assert_int_equal(cluster_position(f->c) > 0, 1);
	assert_true(cluster_committed(f->c, 5, cluster_position(f->c)));
	assert_int_equal(
	    cluster_put(f->c, 5, &key, NULL, 0, (const uint8_t *)"ess", 3, NULL, f->now),
	    0);
	assert_memory_equal(session_initial(s, &len), "in", 2);
	assert_int_equal(len, 2);
	assert_memory_equal(session_essential(s, &len), "ess", 3);
	assert_int_equal(len, 3);
	assert_int_equal(cluster_put(f->c, 5, &key, NULL, 0, (const uint8_t *)"", 1 << 20,
				     NULL, f->now),
			 -EMSGSIZE);
	assert_int_equal(cluster_count(f->c, s, 0, 10, f->now), 0);
	assert_int_equal(cluster_count(f->c, s, 0, 9, f->now), 0);
	assert_int_equal(session_counter(s, 0), 10);
	assert_int_equal(cluster_counted(f->c, s, 0), 10);
	assert_int_equal(cluster_remove(f->c, s, f->now), 0);
	assert_null(cluster_find(f->c, 5, &key));
	assert_int_equal(f->removed, 0);
}

static void a_put_is_done_as_a_whole_or_not_at_all(void **state)
{
	struct fixture *f = *state;
	struct session_key key = { .type = 1, .len = 1, .bytes = "k" };
	struct session *s = NULL;
	uint64_t position;
	size_t len;

	cluster_set_able(f->c, true, NULL, f->now);
	run(f, MONO_SEC);
	assert_int_equal(cluster_put(f->c, 5, &key, (const uint8_t *)"in", 2,
				     (const uint8_t *)"ess", 3, &s, f->now),
			 0);
	position = cluster_position(f->c);
	for (unsigned i = 1; i <= 2; i++) {
		failing = i;
		assert_int_equal(cluster_put(f->c, 5, &key, (const uint8_t *)"other", 5,
					     (const uint8_t *)"another", 7, NULL, f->now),
				 -ENOMEM);
		assert_int_equal(failing, 0);
		assert_memory_equal(session_initial(s, &len), "in", 2);
		assert_int_equal(len, 2);
		assert_memory_equal(session_essential(s, &len), "ess", 3);
		assert_int_equal(len, 3);
		assert_int_equal(cluster_position(f->c), position);
	}
	/* A session that cannot be made is not there. */
	key.bytes[0] = 'l';
	failing = 2;
	assert_int_equal(cluster_put(f->c, 5, &key, (const uint8_t *)"in", 2,
				     (const uint8_t *)"ess", 3, NULL, f->now),
			 -ENOMEM);
	assert_null(cluster_find(f->c, 5, &key));
}

/* A fresh master looks at what nobody owns every 50 ms; traffic does not wait for that. */
static void what_nobody_owns_is_assigned_at_once_if_urged(void **state)
{
	struct fixture *f = *state;

	run(f, MONO_SEC);
	assert_int_equal(cluster_role(f->c), CLUSTER_MASTER);
	cluster_set_able(f->c, true, NULL, f->now);
	assert_int_equal(f->owned, 0);
	cluster_urge(f->c, f->now);
	assert_int_equal(f->owned, CLUSTER_UNITS);
}

static void who_is_late_assigns_nothing_though_urged(void **state)
{
	struct fixture *f = *state;

	run(f, MONO_SEC);
	cluster_set_able(f->c, true, NULL, f->now);
	f->now = mono_add(f->now, MONO_SEC);
	cluster_urge(f->c, f->now);
	assert_int_equal(f->owned, 0);
	run(f, MONO_SEC);
	assert_int_equal(f->owned, CLUSTER_UNITS);
}

static void a_late_member_does_not_serve(void **state)
{
	struct fixture *f = *state;

	cluster_set_able(f->c, true, NULL, f->now);
	run(f, MONO_SEC);
	assert_true(cluster_serves(f->c, 1, f->now));
	/* Just thawed, before its first tick. */
	f->now = mono_add(f->now, MONO_SEC);
	assert_false(cluster_serves(f->c, 1, f->now));
	cluster_tick(f->c, f->now);
	assert_false(cluster_serves(f->c, 1, f->now));
	/* Nobody else is there. */
	run(f, MONO_SEC);
	assert_true(cluster_serves(f->c, 1, f->now));
	assert_int_equal(f->owned, CLUSTER_UNITS);
}

static uint64_t statistic(const struct fixture *f, const char *name)
{
	const char *names[128];
	uint64_t values[128];
	unsigned n = cluster_statistics(f->c, names, values, 128);

	for (unsigned i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return values[i];
	fail_msg("no statistic %s", name);
	return 0;
}

static void refused_messages_are_counted(void **state)
{
	struct fixture *f = *state;
	uint8_t note[64], msg[96] = { WIRE_VERSION, WIRE_TYPES };
	struct wire_put put = { 0 };
	size_t len = cluster_death_note(f->c, note, sizeof(note));

	assert_true(len > 0);
	assert_int_equal(cluster_death_note(f->c, note, len - 1), 0);
	run(f, MONO_SEC);
	cluster_recv_datagram(f->c, 1, msg, 5, f->now);
	assert_int_equal(statistic(f, "bad_message"), 1);
	cluster_recv_datagram(f->c, 1, msg, sizeof(msg), f->now);
	assert_int_equal(statistic(f, "unknown_type"), 1);
	cluster_recv_datagram(f->c, 77, note, len, f->now);
	assert_int_equal(statistic(f, "unknown_sender"), 1);
	cluster_recv_stream(f->c, 1, note, len, f->now);
	assert_int_equal(statistic(f, "wrong_transport"), 1);
	/* Only a member itself may be declared dead by its note. */
	cluster_recv_datagram(f->c, 1, note, len, f->now);
	assert_int_equal(statistic(f, "wrong_id"), 1);
	len = wire_encode_put(msg, sizeof(msg), 0, 0, &put);
	assert_true(len > 0);
	cluster_recv_stream(f->c, 1, msg, len, f->now);
	assert_int_equal(statistic(f, "not_from_member"), 1);
	assert_int_equal(cluster_role(f->c), CLUSTER_MASTER);
}

#define PEER_RUN (UINT64_C(77) << 16)

/* Member 1 links up, joins, and asks for nothing; we ask for its records. */
static void join_peer(struct fixture *f)
{
	struct wire_join_request join = { .capacity = 1,
					  .detection = 200 * MONO_MS,
					  .roster_count = 2,
					  .roster = { { 1 }, { 2 } } };
	uint8_t msg[128];
	size_t len;

	cluster_set_able(f->c, true, NULL, f->now);
	run(f, MONO_SEC);
	assert_int_equal(f->owned, CLUSTER_UNITS);
	cluster_link(f->c, 1, true, f->now);
	len = wire_encode_join_request(msg, sizeof(msg), 0, PEER_RUN, &join);
	cluster_recv_datagram(f->c, 1, msg, len, f->now);
	assert_int_equal(statistic(f, "joins"), 1);
	assert_int_not_equal(f->sync, 0);
}

static void a_higher_epoch_takes_the_unit_away(void **state)
{
	static struct wire_entries e = { .entries_count = 1 };
	struct fixture *f = *state;
	struct cluster_unit_state u;
	uint8_t msg[128];
	size_t len;

	join_peer(f);
	cluster_unit(f->c, 5, &u);
	assert_int_equal(u.owner, 2);
	/* An older epoch changes nothing. */
	e.entries[0] = (struct wire_entry){ .unit = 5, .epoch = 1 };
	len = wire_encode_entries(msg, sizeof(msg), 0, PEER_RUN, &e);
	cluster_recv_datagram(f->c, 1, msg, len, f->now);
	assert_int_equal(f->owned, CLUSTER_UNITS);
	e.entries[0].epoch = ((u.epoch >> 16) + 1) << 16 | 1;
	/* Nor does an earlier run of that member. */
	len = wire_encode_entries(msg, sizeof(msg), 0, PEER_RUN - 1, &e);
	cluster_recv_datagram(f->c, 1, msg, len, f->now);
	assert_int_equal(f->owned, CLUSTER_UNITS);
	len = wire_encode_entries(msg, sizeof(msg), 0, PEER_RUN, &e);
	cluster_recv_datagram(f->c, 1, msg, len, f->now);
	assert_int_equal(f->owned, CLUSTER_UNITS - 1);
	assert_false(cluster_serves(f->c, 5, f->now));
	cluster_unit(f->c, 5, &u);
	assert_int_equal(u.owner, 1);
	assert_int_equal(statistic(f, "stale_epoch"), 1);
}

/* `by` passes on what `origin` is said to have said: that it is dead. */
static void relay_death(struct fixture *f, member_id by, uint64_t run, member_id origin)
{
	struct wire_death death = { .id = origin, .run = PEER_RUN >> 16 };
	struct wire_relay relay = { .origin = origin, .target = 2 };
	uint8_t inner[128], msg[256];
	size_t len;

	relay.inner = inner;
	relay.inner_len = wire_encode_death(inner, sizeof(inner), 0, PEER_RUN, &death);
	len = wire_encode_relay(msg, sizeof(msg), 0, run, &relay);
	cluster_recv_datagram(f->c, by, msg, len, f->now);
}

static void only_members_speak_for_others(void **state)
{
	struct fixture *f = *state;
	struct cluster_config cfg = config;

	cfg.npeers = 4;
	cfg.peers[2] = (struct cluster_peer){ 3, "three" };
	cfg.peers[3] = (struct cluster_peer){ 4, "four" };
	cluster_free(f->c);
	f->c = make(f, &cfg);
	join_peer(f);
	/* One that is not in the cluster, itself, and one that is not known. */
	relay_death(f, 3, PEER_RUN, 1);
	assert_int_equal(statistic(f, "not_from_member"), 1);
	relay_death(f, 1, PEER_RUN, 1);
	assert_int_equal(statistic(f, "wrong_id"), 1);
	relay_death(f, 1, PEER_RUN, 5);
	assert_int_equal(statistic(f, "unknown_sender"), 1);
	assert_int_equal(statistic(f, "relays_received"), 0);
	assert_true(cluster_present(f->c, 1));
	/* Nothing that a member of the cluster passes on is refused for its sake. */
	relay_death(f, 1, PEER_RUN, 4);
	assert_int_equal(statistic(f, "relays_received"), 1);
}

/* A number from which the next one would be lower than all. */
static void no_epoch_is_the_last(void **state)
{
	struct wire_report report = { .units_count = 1 };
	struct fixture *f = *state;
	struct cluster_unit_state before, after;
	uint8_t msg[128];
	size_t len;

	join_peer(f);
	cluster_unit(f->c, 5, &before);
	report.units[0] = (struct wire_ref){ .unit = 5, .epoch = UINT64_MAX };
	len = wire_encode_report(msg, sizeof(msg), 0, PEER_RUN, &report);
	cluster_recv_stream(f->c, 1, msg, len, f->now);
	assert_int_equal(statistic(f, "bad_message"), 1);
	report.units[0].epoch = WIRE_EPOCH_MAX >> 16 << 16;
	len = wire_encode_report(msg, sizeof(msg), 0, PEER_RUN, &report);
	cluster_recv_stream(f->c, 1, msg, len, f->now);
	cluster_unit(f->c, 5, &after);
	assert_true(after.epoch > before.epoch);
	assert_int_equal(after.owner, 2);
}

static void put_as_peer(struct fixture *f, unit_id unit, uint64_t epoch)
{
	struct wire_put put = { .position = 9,
				.unit = unit,
				.epoch = epoch,
				.key = { .type = 1, .len = 1 } };
	uint8_t msg[128];
	size_t len = wire_encode_put(msg, sizeof(msg), 0, PEER_RUN, &put);

	cluster_recv_stream(f->c, 1, msg, len, f->now);
}

static void begin_snapshot(struct fixture *f)
{
	struct wire_snapshot_begin begin = { .target = cluster_incarnation(f->c),
					     .sync = f->sync };
	uint8_t msg[128];
	size_t len = wire_encode_snapshot_begin(msg, sizeof(msg), 0, PEER_RUN, &begin);

	cluster_recv_stream(f->c, 1, msg, len, f->now);
}

static void records_of_another_epoch_are_refused(void **state)
{
	static struct wire_entries e = { .entries_count = 1 };
	struct session_key key = { .type = 1, .len = 1 };
	struct fixture *f = *state;
	uint64_t epoch = 99 << 16 | 1;
	uint8_t msg[128];
	uint32_t sync;
	size_t len;

	join_peer(f);
	e.entries[0] = (struct wire_entry){ .unit = 5, .epoch = epoch };
	len = wire_encode_entries(msg, sizeof(msg), 0, PEER_RUN, &e);
	cluster_recv_datagram(f->c, 1, msg, len, f->now);
	put_as_peer(f, 5, epoch);
	assert_int_equal(statistic(f, "not_streaming"), 1);
	begin_snapshot(f);
	put_as_peer(f, 5, epoch);
	assert_non_null(cluster_find(f->c, 5, &key));
	/* A unit of ours, and an epoch that is over: refused, and the stream begins anew. */
	sync = f->sync;
	put_as_peer(f, 6, epoch);
	assert_null(cluster_find(f->c, 6, &key));
	assert_int_not_equal(f->sync, sync);
	begin_snapshot(f);
	sync = f->sync;
	put_as_peer(f, 5, 98 << 16 | 1);
	assert_int_not_equal(f->sync, sync);
	assert_int_equal(statistic(f, "resyncs"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bad_configuration_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
		    alone_it_becomes_master_and_owns_all_once_able, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    nothing_is_activated_without_a_durable_number, setup, teardown),
		cmocka_unit_test_setup_teardown(sessions_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(a_put_is_done_as_a_whole_or_not_at_all,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
		    what_nobody_owns_is_assigned_at_once_if_urged, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_late_assigns_nothing_though_urged,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_late_member_does_not_serve, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_higher_epoch_takes_the_unit_away, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_members_speak_for_others, setup,
						teardown),
		cmocka_unit_test_setup_teardown(no_epoch_is_the_last, setup, teardown),
		cmocka_unit_test_setup_teardown(records_of_another_epoch_are_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(refused_messages_are_counted, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
