#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The preferred one of two interconnect networks swallows everything, and comes back, while
# clients are served. Nobody dies, nobody is elected, nothing is taken over: the members
# talk over the other network. Then the same with the other one.
# How members talk is the same in all modes.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# paths MEMBER FILTER: whether all its paths to others that are members pass jq's filter,
# in which a path's `network` is 0 or 1.
paths()
{
	ask "$1" members | jq -e "[.members[] | select(.self | not) | .paths | to_entries[] |
		.value + {network: .key} | $2] | length > 0 and all"
}

# everywhere FILTER
everywhere()
{
	local member
	for member in $lab_members; do paths "$member" "$1" || return 1; done
}

# Term and master, and what must not happen, added up over all members.
history()
{
	local member
	for member in $lab_members; do
		ask "$member" status --counters | jq -c "[.node, .term, .master,
			(.counters | .\"cluster.deaths\", .\"cluster.elected\",
			.\"cluster.takeovers\", .\"cluster.rejoins\", .\"cluster.unproven\")]"
	done
}

# failovers: that all members have counted.
failovers() { counter_sum link.failover; }

net_interconnects=2
net_begin "$@"
if ((INTERCONNECTS < 2)); then
	echo "skip interconnect-cut - the lab has one interconnect"
	exit 77
fi
scenario_begin interconnect-cut
must 20 "all networks to work" everywhere '.up and .stream == (.network == 0)'
before=$(history)
moved=$(failovers)

lab sever cluster
must 20 "connections over the other network" everywhere \
	'.up == (.network == 1) and .stream == (.network == 1)'
(($(failovers) > moved)) || fail "no failover was counted"
must 20 "all clients to reach the server still" all_reach
lab heal
must 30 "connections over the preferred network" everywhere \
	'.up and .stream == (.network == 0)'

lab sever cluster2
must 20 "all to notice" everywhere '.up == (.network == 0)'
everywhere '.stream == (.network == 0)' >/dev/null || fail "connections moved needlessly"
lab heal
must 20 "all networks to work again" everywhere '.up and .stream == (.network == 0)'
must 20 "all clients to reach the server in the end" all_reach

after=$(history)
[[ $before == "$after" ]] ||
	fail "something happened: $(xargs <<<"$before") became $(xargs <<<"$after")"
scenario_end
