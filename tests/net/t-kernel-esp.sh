#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Clients whose kernel does ESP: strongSwan and libreswan with ESP as a protocol of IP, and
# strongSwan with ESP in UDP, behind a NAT; strongSwan with extended sequence numbers. The
# member that works for all of them is killed.
# Then the same in transport mode, to the cluster's own address, with two clients behind one
# NAT that use the same identifiers: nothing of theirs is seen in clear, and nothing in clear
# is answered.
# All the time there are clients of L2TP, too: IKEv1, transport mode for UDP port 1701, with a
# certificate, and with a preshared key as strongSwan and libreswan behind one NAT. Each kill is
# one of their owner's; between the two they have quick modes, begun by either side.
# What a client's kernel does has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# put CLIENT MEMBER: the client's session is there.
put()
{
	local unit
	owned_by "$1" "$2" && return
	unit=$(unit_of "$1" m1) || {
		fail "$1 has no session"
		return
	}
	lab exec m1 timeout 20 clusterctl move "$unit" "$2" >/dev/null ||
		fail "$1's session cannot be moved to $2"
	must 10 "$1's session to be $2's" owned_by "$1" "$2"
}
owned_by() { [[ $(owner_of "$1" m1) == "$2" ]]; }

# esp PROTOCOL ADDRESS: packets from there in the capture.
esp() { tcpdump -nr "$(pcap outside)" "src host $2 and $1" 2>/dev/null | wc -l; }

# heard CLIENT [PING'S OPTIONS]: every echo has come back once, whole.
heard()
{
	lab exec "$1" ping -n -q -e 77 -c 3 -i 0.2 -W 2 "${@:2}" "$VIP_OUTSIDE" >"$out/heard-$1" &&
		grep -q ' 0% packet loss' "$out/heard-$1" && ! grep -q duplicates "$out/heard-$1"
}

# download CLIENT: by TCP from whichever member works for it.
download() { lab exec "$1" traffic get "$VIP_OUTSIDE" "$traffic_port" 50000 >"$out/get-$1.log" 2>&1; }
serves() { [[ -n $(lab exec "$1" ss -Hltn "sport = :$traffic_port") ]]; }

declare -A kinds=([v1]=ipsec-psk [v2]=libreswan [v3]=ipsec-cert-nat
	[v4]=l2tp-cert [v5]=l2tp-nat [v6]=l2tp-libreswan-nat)
connect() { lab client "$1" up --kind "${kinds[$1]}"; }

# Of the clients of L2TP, who speak by port 1701 at both ends.
l2tp_clients='v4 v5 v6'
l2tp_begin()
{
	program_start "$1" "l2tp-$1" traffic answer "$VIP_OUTSIDE" 1701
}
asks() { lab exec "$1" traffic ask "$VIP_OUTSIDE" 1701 3 >"$out/ask-$1.log" 2>&1; }
all_ask() { lab_clients=$l2tp_clients each asks; }
l2tp_put()
{
	local client
	for client in $l2tp_clients; do
		scenario_prints[$client]=$(fingerprint "$client")
		put "$client" "$1"
	done
	must 10 "all clients of L2TP to be answered" all_ask
}
l2tp_judge()
{
	must 20 "all clients of L2TP to be answered by others" all_ask
	lab_clients=$l2tp_clients prints_judge
}

# child_at CLIENT MEMBER: the number of its CHILD SA there.
child_at()
{
	lab exec "$2" swanctl --list-sas --raw | grep "remote-id=$1@" |
		grep -o "{name=net uniqueid=[0-9]*" | grep -o '[0-9]*$'
}
# has_new CLIENT SPIS: besides these.
has_new()
{
	local spi
	for spi in $(fingerprint "$1"); do [[ " $2 " == *" $spi "* ]] || return 0; done
	return 1
}
# quick_mode CLIENT COMMAND...: which makes a member or the client begin one.
quick_mode()
{
	local before
	before=$(fingerprint "$1")
	lab exec "${@:2}" >"$out/quick-$1.log" 2>&1 || fail "$1 cannot have a quick mode: $(xargs <"$out/quick-$1.log")"
	must 10 "new keys of $1" has_new "$1" "$before"
}

# What came in clear and was dropped by all members but the one that is dead.
in_clear()
{
	# shellcheck disable=SC2086
	counter_sum filter.session-in-clear ${lab_members/$victim/}
}

# leads MEMBER CLIENT'S ADDRESS WORDS: the way of what the member's own programs have to say
# to it.
leads() { [[ $(lab exec "$1" ip route get "$2" from "$VIP_OUTSIDE" 2>&1 || true) == *"$3"* ]]; }

net_begin "$@"
guests_begin kernel-esp 6
lab_clients="v1 v2 v3" download_rate=200000 ping_interval=50
# One by one: who takes seconds to answer may lose its login of IKEv1 to load balancing.
for client in $l2tp_clients; do connect "$client"; done
each connect
for member in $lab_members; do l2tp_begin "$member"; done

scenario_begin kernel-esp-owner-killed
victim=$(await_owner v1 m1)
[[ $victim != m1 ]] || victim=m2
witness=$(other_member "$victim")
for client in $lab_clients; do put "$client" "$victim"; done
l2tp_put "$victim"
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
l2tp_judge
for pair in "proto 50:198.51.100.61" "proto 50:198.51.100.62" "udp dst port 4500:198.51.100.40"; do
	(($(esp "${pair%:*}" "${pair#*:}") > 50)) || fail "hardly any ESP (${pair%:*}) from ${pair#*:}"
done
for client in v1 v3; do
	[[ $(lab exec "$client" swanctl --list-sas) == *ESP:*/ESN* ]] ||
		fail "$client has no extended sequence numbers"
done
scenario_end
revive "$victim"
l2tp_begin "$victim"

scenario_name transport
quick_mode v4 v4 swanctl --rekey --child net
owner=$(await_owner v5 m1)
quick_mode v5 "$owner" swanctl --rekey --child-id "$(child_at v5 "$owner")"
quick_mode v6 v6 timeout 30 /usr/libexec/ipsec/whack --initiate --name home
must 10 "all clients of L2TP to be answered with new keys" all_ask
each leaves || fail "not all sessions of before could be ended"
kinds=([v1]=transport [v2]=transport-nat [v3]=transport-nat)
each connect || fail "not all clients could connect"
victim=$(await_owner v2 m1)
[[ $victim != m1 ]] || victim=m2
witness=$(other_member "$victim")
for client in $lab_clients; do
	scenario_prints[$client]=$(fingerprint "$client")
	put "$client" "$victim"
done
l2tp_put "$victim"
for member in $lab_members; do
	program_start "$member" "serve-$member" traffic serve "$traffic_port"
	wait_for 10 "a server on $member" serves "$member"
done
captures_begin

# At the same time, so that the two behind the NAT cannot be told apart.
must 10 "all clients to be answered" each heard
must 10 "an echo in fragments" heard v1 -s 3000
each download || fail "not all downloads are right: $(cat "$out"/get-v?.log | xargs)"
leads "$victim" 198.51.100.61 " dev phalanx0 " || fail "there is no way to v1"
lab kill "$victim"
lab exec "$victim" ip link del phalanx0
leads "$victim" 198.51.100.61 "No route" || fail "programs of a dead member reach v1 in clear"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 10 "all clients to be answered again" each heard
must 10 "v3's download from another member" download v3
prints_judge
l2tp_judge

S1=$VIP_OUTSIDE arrivals=$(xargs -n 1 <<<"${lab_members/$victim/}" | sed 's/$/:phalanx0/')
windows_pass
captures_stop
tcpdump -nr "$(pcap outside)" "host $VIP_OUTSIDE and not host 192.0.2.254 and not esp and
	not (udp and (port 4500 or port 500)) and not arp and
	not (icmp and icmp[0] = icmp-unreach)" >"$out/clear" 2>/dev/null
! grep -v 'ip-proto-17\|frag' "$out/clear" >"$out/clear.txt" || fail "packets in clear: $(head -n 3 "$out/clear.txt" | xargs -0)"
sealed_judge
replay_judge "$(pcap outside)"

before=$(in_clear)
lab exec v1 ip xfrm policy deleteall dir out
! lab exec v1 ping -n -q -c 2 -i 0.2 -W 1 "$VIP_OUTSIDE" >/dev/null || fail "an echo in clear was answered"
(($(in_clear) > before)) || fail "nothing in clear was counted"
crash_judge
scenario_verdict
for member in $lab_members; do
	program_stop "serve-$member" || true
	program_stop "l2tp-$member" || true
done
revive "$victim"
guests_end
