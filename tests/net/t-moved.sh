#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A session moves to and fro between the members, by hand and by draining, while pings at
# 1 ms pass through it in both directions: none is lost.
# In the unicast mode frames come as in the multicast mode.
# modes: multicast forwarding
# alone
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_begin moved quiet
eval "$(lab env)"

# is_owner UNIT MEMBER
is_owner() { ask m1 units "$1" | jq -e --arg m "$2" \
	'[.. | objects | select(has("owner"))] | first | .owner == $m'; }

owner() { ask m1 units "$1" | jq -r \
	'[.. | objects | select(has("owner"))] | first | .owner'; }

# move UNIT: to another member than the one that has it.
move()
{
	local from to
	from=$(owner "$1")
	to=$(other_member "$from")
	[[ ${moved_last-} != "$to" ]] || to=$(for m in $lab_members; do
		[[ $m == "$from" || $m == "$to" ]] || echo "$m"; done | head -n 1)
	moved_last=$from
	lab exec m1 timeout 20 clusterctl move "$1" "$to" >/dev/null || fail "unit $1 cannot be moved to $to"
	must 20 "unit $1 to be $to's" is_owner "$1" "$to"
}

# none_lost NAME: every ping had its answer.
none_lost()
{
	local lost sent
	sent=$(jq .sent "$out/$1.json") lost=$(jq .lost "$out/$1.json")
	echo "# $1: $(jq -c '{sent, lost, duplicates, longest_gap_ms}' "$out/$1.json")"
	((sent > 500)) || fail "$1: only $sent pings"
	((lost == 0)) || fail "$1: $lost of $sent pings lost"
}

client=${lab_clients%% *}
unit=$(unit_of "$client" m1)
virtual=${client^^}_VIRTUAL
start()
{
	program_start "$1" "moved-$3" traffic ping "$2" -i 1 -w 5 -o "$out/$3.json"
}

# Packets that a kernel dropped because phalanxd, or the client's charon, had no processor:
# no move's fault.
overruns()
{
	local member sum=0
	for member in $lab_members; do
		sum=$((sum + $(lab exec "$member" cat /sys/class/net/phalanx0/statistics/tx_dropped)))
		sum=$((sum + $(counter "$member" cluster.late)))
	done
	sum=$((sum + $(lab exec "$client" awk '$1 == "Udp:" { n = $6 } END { print n }' \
		/proc/net/snmp)))
	# What the client's charon does not read in time, pings and answers, 500 at most.
	sum=$((sum + $(lab exec "$client" cat /sys/class/net/ipsec0/statistics/tx_dropped)))
	echo "$sum"
}

# counters: of all members, one a line, for the losses to be found in.
counters()
{
	local member
	for member in $lab_members; do
		ask "$member" counters | jq -r --arg m "$member" \
			'[.. | objects | to_entries[] | select(.value | type == "number")] |
				.[] | "\($m) \(.key) \(.value)"'
	done
}

move_about()
{
	local drained what
	counters >"$out/counters-before.txt"
	start "$client" "$S1" from-client
	start s1 "${!virtual}" to-client
	for _ in {1..6}; do move "$unit"; done
	drained=$(owner "$unit")
	lab exec m1 timeout 30 clusterctl drain "$drained" >/dev/null || fail "no drain"
	must 30 "$drained's units to go" owns_nothing "$drained" "$(other_member "$drained")"
	lab exec m1 timeout 30 clusterctl undrain "$drained" >/dev/null || fail "no undrain"
	must 30 "units for $drained again" whole m1
	for what in from-client to-client; do
		program_stop "moved-$what" || fail "$what: the pings failed"
		none_lost "$what"
	done
	counters >"$out/counters-after.txt"
}

for try in 1 2 3; do
	before=$(overruns)
	reasons=()
	move_about
	if ! ((${#reasons[@]})) || (($(overruns) == before)); then break; fi
	echo "# the machine was too busy (try $try)"
done
scenario_end
