#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The way to the cluster takes packets of 800 bytes only: the clients' ESP arrives in
# fragments, which meet at some member and go to the session's owner whole. And a datagram whose
# fragments overlap is refused, and the log says so, but not of each fragment.
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

scenario_name overlapping

# frame MAC MAC FLAGS_AND_OFFSET: a fragment of ESP with 24 bytes, as a packet of a capture.
frame()
{
	local words="4500 002c 4711 $3 4032 c000 02fe c000 0201" word sum=0
	for word in $words; do sum=$((sum + 0x$word)); done
	sum=$((~(sum % 65535) & 0xffff))
	printf '%016x3a0000003a000000%s%s0800%s' 0 "$1" "$2" "${words% c000 02fe*}"
	printf '%04xc00002fec0000201c1234567%040x' "$sum" 1
}
# overlapping TIMES FILE: one fragment, and so often another that overlaps it.
overlapping()
{
	local to from bytes i
	to=$(lab exec r1 ip neigh show "$VIP_OUTSIDE" dev outside | grep -o '..:..:..:..:..:..')
	from=$(lab exec r1 cat /sys/class/net/outside/address)
	bytes=d4c3b2a1020004000000000000000000ffff000001000000$(frame "$to" "$from" 2000)
	for ((i = 0; i < $1; i++)); do bytes+=$(frame "$to" "$from" 2001); done
	# shellcheck disable=SC2059
	printf "$(tr -d ': ' <<<"$bytes" | sed 's/../\\x&/g')" >"$2"
}
refusals()
{
	local member
	for member in $lab_members; do
		lab logs "$member" | grep -o "refused a fragment from 192.0.2.254 to $VIP_OUTSIDE: .*" || true
	done
}
first_refused() { refusals | grep 'overlaps another (and 0 others before)$'; }
# One more is refused, which has a line if the last is a second old.
others_told()
{
	lab exec r1 espreplay -i outside "$out/one.pcap"
	refusals | grep 'overlaps another (and [1-9][0-9]* others before)$'
}

overlapping 30 "$out/overlapping.pcap"
overlapping 1 "$out/one.pcap"
lab exec r1 espreplay -i outside "$out/overlapping.pcap" >"$out/espreplay.txt"
must 10 "a fragment to be refused" first_refused
(($(refusals | wc -l) < 15)) || fail "each fragment has a line in the log"
must 10 "the log to say how many others were" others_told
scenario_verdict
