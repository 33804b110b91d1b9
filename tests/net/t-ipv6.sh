#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A client and a site come over IPv6; the client speaks both IPv4 and IPv6 through its tunnel,
# the site IPv4. The master, which answers neighbour solicitations, works for both of them
# and is killed. No member's kernel answers any solicitation, before and afterwards, and
# packets find their way between three networks, to whichever of the cluster's addresses
# they go. When the master is dead, neighbours have to ask for its IPv4 addresses, too.
# In the unicast mode frames come as in the multicast mode.
# modes: multicast forwarding
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

client=c3

# The lab's clients but for one have IPv4 outside. Its ESP is in UDP, always.
comes_by_ipv6()
{
	ask "$1" sessions | jq -e --arg client "$client@" 'any(.sessions[];
		(.user | startswith($client)) and (.client | startswith("[2001:db8:")))'
}

# The site's ESP is in UDP behind a NAT only.
site_by_ipv6()
{
	ask "$1" sessions | jq -e 'any(.sessions[]; (.user | startswith("site.")) and
		(.client | startswith("[2001:db8:")) and (.detail | contains("/udp") | not))'
}

# speaks_ipv6 ADDRESS: within its tunnel, in fragments, too, once the server has been told how large
# packets may be; and it is spoken to.
speaks_ipv6()
{
	local own=$1
	lab exec "$client" ping -n -q -c 1 -W 2 -I "$own" "$S1_IP6" &&
		lab exec "$client" ping -n -q -c 1 -W 2 -I "$own" -s 3000 "$S1_IP6" &&
		lab exec s1 ping -n -q -c 1 -W 2 "$own"
}

# neighbour NODE INTERFACE ADDRESS: the MAC at which the node finds it.
neighbour()
{
	lab exec "$1" ip -6 neigh show "$3" dev "$2" |
		sed -n 's/.* lladdr \([0-9a-f:]*\).*/\1/p'
}

# answering_mac MASTER: at which the outside's addresses are to be found.
answering_mac()
{
	if [[ $MODE == forwarding ]]; then
		lab exec "$1" ip -j link show outside | jq -r '.[0].address'
	else
		ask "$1" status | jq -r '.networks[] | select(.name == "outside").mac'
	fi
}

answers6() { lab exec "$1" ping -n -q -c 1 -W 1 "$2"; }

routed_to_dmz() { lab exec s1 ping -n -q -c 1 -W 1 "$D1"; }

at_cluster_mac()
{
	answers6 r1 "$VIP6_OUTSIDE" && [[ $(neighbour r1 outside "$VIP6_OUTSIDE") == "$1" ]]
}

# networks_judge MEMBER...: these live. Who answers, and with what: a member's kernel would
# answer with its own MAC.
networks_judge()
{
	local mac member master
	local -A before=()
	master=$(master "$1")
	mac=$(answering_mac "$master")
	for member; do before[$member]=$(counter "$member" ndp.advertisements); done
	lab exec r1 ip -6 neigh flush all
	must 10 "an answer from the cluster's IPv6 address" at_cluster_mac "$mac"
	for member; do
		if [[ $member == "$master" ]]; then
			(($(counter "$member" ndp.advertisements) > ${before[$member]})) ||
				fail "the master $member did not answer"
		else
			(($(counter "$member" ndp.advertisements) == ${before[$member]})) ||
				fail "$member answered, but $master is master"
		fi
	done
	must 10 "an answer from the inside's IPv6 address" answers6 s1 "$VIP6_INSIDE"
	must 10 "an answer from the dmz's second address" \
		lab exec d1 ping -n -q -c 1 -W 1 "$VIP_DMZ2"
	must 10 "a packet from the inside to the dmz" routed_to_dmz
}

# is_owned CLIENT MEMBER
is_owned() { [[ $(owner_of "$1" m1) == "$2" ]]; }

# given CLIENT MEMBER: the client's session is there, or goes there; load may be balanced again
# at once.
given()
{
	is_owned "$@" || {
		lab exec m1 timeout 20 clusterctl move "$(unit_of "$1" m1)" "$2" >/dev/null
		is_owned "$@"
	}
}

net_begin "$@"

restore
wait_for 40 "all members" whole m1
lab client g1 down
# Its gateway may have come up just now, without a work unit yet. Or it starts what has ended
# a moment ago by itself, since the connection has changed: then no other one is begun.
site_comes() { lab client g1 up --kind site-ip6 || site_by_ipv6 m1; }
wait_for 20 "the site by IPv6" site_comes

scenario_begin ipv6
must 10 "a session over IPv6" comes_by_ipv6 m1
must 10 "ESP as a protocol of IPv6" site_by_ipv6 m1
own=$(session_of "$client" m1 virtual_address | grep -o '2001:db8:3:[0-9a-f:]*')
must 20 "IPv6 within IPv6" speaks_ipv6 "$own"
victim=$(master m1)
witness=$(other_member "$victim")
must 20 "$client's session to be $victim's" given "$client" "$victim"
must 20 "the site's session to be $victim's" given g1 "$victim"
# shellcheck disable=SC2086
networks_judge $lab_members
lab kill "$victim"
must 20 "another master" has_other_master "$victim" "$witness"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
lab exec r1 ip neigh flush dev outside
lab exec s1 ip neigh flush dev eth0
must 20 "all clients to reach the server again" all_reach
must 20 "IPv6 within IPv6 from another member" speaks_ipv6 "$own"
new=$(ask "$witness" status | jq -r .master)
(($(counter "$new" ndp.announcements) > 0)) || fail "$new did not announce itself"
# shellcheck disable=SC2086
networks_judge ${lab_members/$victim/}
scenario_end
revive "$victim"
lab client g1 down
lab client g1 up
