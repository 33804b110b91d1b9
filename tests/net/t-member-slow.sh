#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A member hears everybody, but takes nothing of what is replicated to it. Nobody waits for
# it: its successors are replaced, so that a client can log in, and an owner can die.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# succeeds_nothing VICTIM MEMBER: it is successor of none of that member's sessions.
succeeds_nothing()
{
	ask "$2" sessions | jq -e --arg victim "$1" --arg owner "$2" \
		'[.sessions[] | select(.owner == $owner and .successor == $victim)] == []'
}

# kept CLIENT MEMBER: sets $owner to its owner, as that member knows; a successor has all of
# its session.
kept()
{
	owner=$(owner_of "$1" "$2")
	ask "$owner" sessions | jq -e --arg client "$1@" --arg owner "$owner" 'any(.sessions[];
		(.user | startswith($client)) and .owner == $owner and
		.successor != null and .lag == 0)'
}

# reconnects CLIENT MEMBER: and not at one that can tell that member nothing.
reconnects()
{
	lab client "$1" down && lab client "$1" up && wait_for 2 "its session" has_owner "$@"
}

# ready VICTIM MEMBER: that member thinks so.
ready()
{
	ask "$2" members | jq -e --arg victim "$1" \
		'any(.members[]; .name == $victim and .linked and .complete)'
}

net_begin "$@"
restore
wait_for 40 "all members" whole m1
connect_all
# Its address may be another one afterwards, so its download would end.
lab_clients=${lab_clients/c1 /}
scenario_begin member-slow
owner=$(await_owner c1 m1)
for victim in $lab_members; do [[ $victim == "$owner" ]] || break; done
for member in $lab_members; do
	[[ $member == "$victim" ]] || lab clog "$victim" "$member"
done
must 30 "c1 to log in at $owner while $victim takes nothing" reconnects c1 "$owner"
must 20 "$owner to choose other successors than $victim" succeeds_nothing "$victim" "$owner"
ask "$owner" members | jq -c --arg victim "$victim" \
	'.members[] | select(.name == $victim) | {state, slow, behind_ms, lag}' |
	sed 's/^/# /' >&2
must 20 "an owner and a successor of c1" kept c1 "$owner"
print=$(fingerprint c1)
mark "$scenario" "kill-$owner"
lab kill "$owner"
must 20 "all clients to reach the server without $owner" all_reach
must 20 "c1 to reach it, too" reaches c1
lab heal
lab revive "$owner"
must 60 "all members to be whole again" whole "$victim"
must 20 "$victim to be complete" ready "$victim" "$owner"
must 20 "all clients to reach the server in the end" all_reach
must 20 "c1 to reach it, too" reaches c1
[[ $(fingerprint c1) == "$print" ]] || fail "c1 has connected anew"
scenario_end
