#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The way to the cluster takes packets of 800 bytes only: the clients' ESP arrives in
# fragments, which meet at some member and go to the session's owner whole.
# In the unicast mode frames come as in the multicast mode.
# modes: multicast forwarding
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# pings CLIENT LEAST: how many of twenty come back, of which a few may be lost on a machine
# that stands still. Tries it again if they are not so many.
pings()
{
	local got try
	for try in 1 2 3; do
		got=$(lab exec "$(speaker "$1")" ping -n -q -c 20 -i 0.02 -W 5 -s 1200 "$S1" |
			sed -n 's/.* \([0-9]*\) received.*/\1/p')
		((got < $2)) || break
	done
	echo "$got"
}

# The client's outer address, as the cluster sees it.
owners_address() { ask m1 sessions | jq -r --arg c "$1" '.sessions[] |
	select(.user | startswith($c + "@") or ($c == "g1" and startswith("site."))) |
	.client' | sed 's/:[0-9]*$//'; }

net_begin "$@"
scenario_begin fragments quiet
route=$(lab exec r1 ip route show 192.0.2.0/24)
# shellcheck disable=SC2086
lab exec r1 ip route change $route mtu lock 800
whole=$(counter_sum fragments.whole) handed=$(counter_sum handed.received) sent=0
for client in $lab_clients; do
	# IPv6 is fragmented by its sender alone.
	[[ $(owners_address "$client") != *:* ]] || continue
	# The first one may only tell the client how long its packets may be.
	least=19
	# Our own engine lets no router fragment what its sender did not want in fragments:
	# it hears how long packets may be, and passes that on to the sender.
	[[ $client != g1 ]] || least=15
	got=$(pings "$client" "$least")
	((got >= least)) || fail "$client: only $got of 20 pings came back"
	[[ $client == g1 ]] || sent=$((sent + got))
done
# shellcheck disable=SC2086
lab exec r1 ip route change $route
((sent > 0)) || fail "no client to send fragments"
(($(counter_sum fragments.whole) >= whole + sent)) || fail "nothing was reassembled"
(($(counter_sum handed.received) > handed)) || fail "no datagram went to another member"
scenario_end
