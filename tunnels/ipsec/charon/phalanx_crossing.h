/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rekeyings that both ends begin at once (RFC 7296, sections 2.8.1 and 2.25).
 *
 * Which of the two new SAs stays is decided by nonces that charon alone knows, and which no
 * other member could be told in time. So while a rekeying of ours is under way, the peer's
 * CREATE_CHILD_SA is taken for lost on its way: the peer repeats it, and has our answer to
 * that, or the DELETE of what it wants to rekey, when ours has come to its end. There is never
 * more than one rekeying of an IKE SA for a new owner to go on with.
 *
 * A peer may do just the same; so after some seconds its request is heard all the same, and
 * charon decides.
 */
#ifndef PHALANX_CROSSING_H_
#define PHALANX_CROSSING_H_

/* Wraps charon's checkout_by_message(). To be called after the attach() of the units, and
 * detach() before theirs. */
void phalanx_crossing_attach(void);
void phalanx_crossing_detach(void);

#endif
