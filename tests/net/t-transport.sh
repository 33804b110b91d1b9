#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Transport mode: clients whose kernel does ESP talk to the cluster's own address, in native
# ESP, and two of them behind one NAT with the same identifiers. The member that works for
# them is killed. Nothing of theirs is seen in clear, and nothing in clear is answered.
# What goes through the members' kernels has nothing to do with how frames find a member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
guests_begin "transport-$MODE" 3
scenario=transport-$MODE scenario_open=1 reasons=()
echo "# $scenario"
lab_clients="v1 v2 v3"

unit_of() { ask m1 sessions | jq --arg c "$1@" \
	'[.sessions[] | select(.user | startswith($c)) | .unit] | first'; }
owned_by() { [[ $(owner_of "$1" m1) == "$2" ]]; }

# heard CLIENT [PING'S OPTIONS]: every echo has come back once, whole.
heard()
{
	lab exec "$1" ping -n -q -e 77 -c 5 -i 0.2 -W 2 "${@:2}" "$VIP_OUTSIDE" >"$out/heard-$1" &&
		grep -q ' 0% packet loss' "$out/heard-$1" && ! grep -q duplicates "$out/heard-$1"
}

# all_heard: at the same time, so that the two behind the NAT cannot be told apart.
all_heard()
{
	local client pids=() pid bad=0
	for client in $lab_clients; do
		heard "$client" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || bad=1; done
	return $bad
}

# download CLIENT: by TCP from whichever member works for it.
download() { lab exec "$1" traffic get "$VIP_OUTSIDE" "$traffic_port" 200000 >"$out/get-$1.log" 2>&1; }
serves() { [[ -n $(lab exec "$1" ss -Hltn "sport = :$traffic_port") ]]; }

# What came in clear and was dropped by all members but the one that is dead.
in_clear()
{
	local member sum=0
	for member in $lab_members; do
		[[ $member != "$victim" ]] || continue
		sum=$((sum + $(ask "$member" counters | jq '.counters."filter.session-in-clear"')))
	done
	echo "$sum"
}

restore
wait_for 40 "all members" whole m1
lab client v1 up --kind transport
lab client v2 up --kind transport-nat
lab client v3 up --kind transport-nat
victim=$(owner_of v2 m1)
[[ $victim != m1 ]] || victim=m2
witness=$(other_member "$victim")
for client in $lab_clients; do
	scenario_prints[$client]=$(fingerprint "$client")
	owned_by "$client" "$victim" || lab exec m1 timeout 20 clusterctl move "$(unit_of "$client")" "$victim" >/dev/null
	must 10 "$client's session to be $victim's" owned_by "$client" "$victim"
done
for member in $lab_members; do
	program_start "$member" "serve-$member" traffic serve "$traffic_port"
	wait_for 5 "a server on $member" serves "$member"
done
lab capture outside "$out/outside.pcap"

must 5 "all clients to be answered" all_heard
must 5 "an echo in fragments" heard v1 -s 3000
download v1 || fail "v1's download: $(xargs <"$out/get-v1.log")"
download v2 || fail "v2's download: $(xargs <"$out/get-v2.log")"
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 10 "all clients to be answered again" all_heard
must 10 "v3's download from another member" download v3
prints_judge

for client in $lab_clients; do
	heard "$client" -f -c "$replay_window" -i 0.002 || fail "$client's window does not pass"
done
lab capture outside stop
clear=$(tcpdump -nr "$out/outside.pcap" "host $VIP_OUTSIDE and not host 192.0.2.254 and
	not esp and not (udp and (port 4500 or port 500)) and not arp" 2>/dev/null | grep -vc 'ip-proto-17\|frag' || true)
((clear == 0)) || fail "$clear packets in clear"
espcheck_judge "$out/outside.pcap"
before=$(replays_counted)
for member in $lab_members; do
	[[ $member != "$victim" ]] || continue
	lab capture "$member:phalanx0" "$out/$member.pcap"
done
replay_send "$out/outside.pcap" || fail "could not replay the capture"
must 10 "v1 to be answered after the replay" heard v1 -s 99
for member in $lab_members; do
	[[ $member != "$victim" ]] || continue
	lab capture "$member:phalanx0" stop
	[[ -z $(tcpdump -nr "$out/$member.pcap" "dst host $VIP_OUTSIDE and not (icmp and greater 127 and less 127)" 2>/dev/null) ]] ||
		fail "$member has accepted replayed packets"
done
(($(replays_counted) > before)) || fail "no replay was counted"

before=$(in_clear)
lab exec v1 ip xfrm policy deleteall dir out
! lab exec v1 ping -n -q -c 2 -i 0.2 -W 1 "$VIP_OUTSIDE" >/dev/null || fail "an echo in clear was answered"
(($(in_clear) > before)) || fail "nothing in clear was counted"
sanitizer_judge
scenario_open=0
if ((${#reasons[@]})); then
	net_failed=1
	echo "not ok $scenario - $(printf '%s; ' "${reasons[@]}")"
else
	echo "ok $scenario"
fi
for member in $lab_members; do program_stop "serve-$member" || true; done
revive "$victim"
guests_end
