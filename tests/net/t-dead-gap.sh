#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After a burst, its owner's death and then one packet a second, the first of those
# packets arrives, in either direction: no sequence numbers that the other end refuses.
# Sequence numbers are the same in all modes.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How often a member was taken for dead: a machine that stalls brings takeovers of its own.
deaths()
{
	local member
	for member in $lab_members; do lab logs "$member"; done | grep -c ' died: ' || true
}

# one_each_second NODE DESTINATION: the first packet must come back.
one_each_second()
{
	local tries before got
	for tries in 1 2 3; do
		before=$(deaths)
		! lab exec "$(speaker "$1")" ping -n -q -c 1 -W 5 "$2" >/dev/null || return 0
		got=$(lab exec "$(speaker "$1")" ping -n -c 3 -i 1 -W 5 "$2" |
			grep -o 'icmp_seq=[0-9]*' | xargs || true)
		[[ $(deaths) != "$before" ]] || break
	done
	fail "a ping from $1 to $2 was lost; of three more these came back: ${got:-none} (try $tries)"
}

net_begin "$@"
scenario_begin dead-gap quiet
victim=$(busiest m1)
witness=$(other_member "$victim")
served=$(owners m1 | sed -n "s/ $victim$//p")
for client in $served; do
	lab exec "$(speaker "$client")" ping -n -q -f -c 3000 -l 32 -W 5 "$S1" >/dev/null ||
		fail "no answers to $client's burst"
done
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
eval "$(lab env)"
for client in $served; do
	virtual=${client^^}_VIRTUAL
	[[ $client == g1 ]] && virtual=H1
	one_each_second "$client" "$S1"
	one_each_second s1 "${!virtual}"
done
scenario_end
revive "$victim"
