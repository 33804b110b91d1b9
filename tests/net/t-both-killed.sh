#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The owner of a client's session and its successor die together, so that the third member
# begins with what it happens to hold. It agrees with the client on new message IDs, if the
# client has an IV for that, and rekeys its CHILD SA; and so once more. The client keeps its IKE
# SA, and can rekey that as well.
# What a session needs has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_begin both-killed quiet

agreed() { counter "$third" ipsec.ike-message-ids-agreed; }
has_agreed() { (($(agreed) > $1)); }
daemon_of() { pgrep -P "$(cat "$LAB_DIR/nodes/$1/phalanxd.pid")"; }

# kill_both: the owner and the successor of a client whose cipher has random IVs. They stop in
# one moment, as a successor that is silent alone is replaced. Whether the third member had to ask
# a client for message IDs: the unit may have moved meanwhile.
kill_both()
{
	local owner successor before m
	owner=$(session_of c3 m1 owner) successor=$(session_of c3 m1 successor)
	for m in $lab_members; do
		[[ $m == "$owner" || $m == "$successor" ]] || third=$m
	done
	before=$(agreed)
	# shellcheck disable=SC2046
	kill -STOP $(daemon_of "$owner") $(daemon_of "$successor")
	lab kill "$owner" &
	lab kill "$successor"
	wait $!
	must 20 "all units to be $third's" owns_nothing "$owner" "$third"
	wait_for 5 "agreement on message IDs" has_agreed "$before"
}

children() { for client in $lab_clients; do spis "$client" child; done; }
other_children() { [[ $(children) != "$1" ]]; }
rekey_ike() { [[ $1 == g1 ]] || rekey "$1" ike; }

# begin_unproven: the third member's charon rekeys the clients' CHILD SAs, and nobody's IKE SA
# ends.
begin_unproven()
{
	local had client try
	had=$(children)
	for try in 1 2 3; do
		! kill_both || break
		((try < 3)) || fail "no member had to ask c3 for message IDs"
		restore
		must 40 "all members" whole m1
	done
	must 10 "new CHILD SAs" other_children "$had"
	must 20 "all clients to reach the server again" all_reach
	for client in $lab_clients; do
		[[ $(spis "$client" ike) == "${ike[$client]}" ]] || fail "$client has begun anew"
	done
}

declare -A ike
for client in $lab_clients; do ike[$client]=$(spis "$client" ike); done
begin_unproven
restore
must 40 "all members" whole m1
begin_unproven
each rekey_ike || fail "not all clients can rekey their IKE SAs"
must 10 "all clients to reach the server still" all_reach
restore
must 40 "all members" whole m1
for client in $lab_clients; do scenario_prints[$client]=$(fingerprint "$client"); done
scenario_end
