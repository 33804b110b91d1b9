/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Activation numbers, as the cluster remembers them for a member that has lost its disk.
 *
 * A member tells its number in keepalives, and the others keep it while they run, whether that
 * member is there or not. Who joins, or has begun anew, has none of those who are not; so
 * whoever begins to send a stream says first which numbers it knows. A member becomes
 * complete, and activates anything, only after the stream of all that are complete: so it
 * knows its own number if any of them does, though the master may not.
 */
#include "cluster/internal.h"

/* That a member may have used and nobody has heard of: keepalives get lost, and one that is
 * cut off takes units over before it dies. */
#define UNHEARD 1024

/* What it tells before it knows all would come back to it as what others have heard. */
uint32_t numbers_own(const struct cluster *c)
{
	return c->number_lost && !c->complete ? 0 : c->activation;
}

/*
 * Who is behind has lost its disk, since that is never behind. So may have who has no number
 * at all, though nobody has heard of one. It hears from several members what they know.
 */
void numbers_learn(struct cluster *c, uint32_t number)
{
	if (number > CLUSTER_ACTIVATION_MAX)
		return;
	c->number_lost =
	    (c->number_lost && !c->complete) || !c->activation || number > c->activation;
	if (!c->number_lost)
		return;
	number = number < CLUSTER_ACTIVATION_MAX - UNHEARD ? number + UNHEARD
							   : CLUSTER_ACTIVATION_MAX;
	if (number <= c->activation)
		return;
	c->activation = number;
	core_log(c, "no activation number of an earlier run: begins above %u", number);
	/* If the cluster forgets it, the disk does not. */
	if (c->io.save_activation(c->io.ctx, number))
		count(c, STAT_activation_failed);
}

void numbers_tell(struct cluster *c, struct member *to)
{
	struct wire_numbers m = { 0 };

	EACH_MEMBER(c, p) {
		uint32_t activation = p == c->self ? numbers_own(c) : p->activation;

		if (activation)
			m.numbers[m.numbers_count++] =
			    (struct wire_number){ p->id, activation };
	}
	if (m.numbers_count)
		STREAM(c, to, numbers, &m);
}

void recv_numbers(struct cluster *c, struct member *from, const struct wire_header *h,
		  struct unpack *u)
{
	struct wire_numbers m;

	if (wire_decode_numbers(u, &m)) {
		count(c, STAT_bad_message);
		return;
	}
	for (unsigned i = 0; i < m.numbers_count; i++) {
		struct member *p = core_member(c, m.numbers[i].id);
		uint32_t activation = m.numbers[i].activation;

		if (p == c->self)
			numbers_learn(c, activation);
		else if (p && activation > p->activation &&
			 activation <= CLUSTER_ACTIVATION_MAX)
			p->activation = activation;
	}
}
