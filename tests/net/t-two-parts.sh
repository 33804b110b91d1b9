#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A cluster of two members falls apart, and both serve the same client. When it is whole
# again, one of them is restarted and given the client's unit back. All the time packets go
# both ways; no IV is used twice with a key, whoever has sent it.
# Which frames reach whom is the matter of other tests.
# modes: multicast
# lab: own
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_members=2 net_clients=1 net_peer=0
net_begin "$@"
scenario_name two-parts
wait_for 40 "both members" whole m1
connect_all
unit=$(unit_of c1 m1)
prints=$(fingerprint c1)

owns() { [[ $(owner_of c1 "$1") == "$1" ]]; }
both_own() { owns m1 && owns m2; }
# sealed MEMBER: packets that it has sent to the client, since it began.
sealed() { counter "$1" ipsec.esp-out; }
grows() { (($(sealed "$1") > $2)); }
moved_to() { owns "$1" && [[ $(owner_of c1 "$2") == "$1" ]]; }

captures_begin
serve_start
pings_start parts
from=$EPOCHREALTIME
lab partition m1 '|' m2
must 20 "two owners" both_own
for member in m1 m2; do
	count=$(sealed "$member")
	must 10 "packets that $member sends" grows "$member" $((count + 50))
done
lab heal
must 40 "one cluster" whole m1
until=$EPOCHREALTIME
must 10 "the client to reach the server" reaches c1

# Whoever has lost the unit, or else the other one, has forgotten all when it gets it.
owner=$(await_owner c1 m1)
other=$(other_member "$owner")
lab kill "$other"
must 20 "$other's units to be taken over" owns_nothing "$other" "$owner"
lab revive "$other"
must 40 "$other to be back" whole "$owner"
if [[ $(owner_of c1 "$owner") != "$other" ]]; then
	lab exec "$owner" timeout 20 clusterctl move "$unit" "$other" >"$out/move.txt" 2>&1 ||
		fail "not moved: $(xargs <"$out/move.txt")"
fi
must 20 "$other to have the unit" moved_to "$other" "$owner"
count=$(sealed "$other")
must 10 "packets that $other sends" grows "$other" $((count + 50))
pings_stop parts || fail "pings: no answer"
program_stop serve || true
[[ $(fingerprint c1) == "$prints" ]] || fail "the client has connected anew"
# Parts do not know each other's sequence numbers, while they are parts.
captures_judge -s "$from-$until"
crash_judge

scenario_verdict
