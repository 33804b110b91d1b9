#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Clients whose kernel does ESP: strongSwan and libreswan with ESP as a protocol of IP, and
# strongSwan with ESP in UDP, behind a NAT. The member that works for all of them is killed.
# What a client's kernel does has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# put CLIENT MEMBER: the client's session is there.
put()
{
	local unit
	[[ $(owner_of "$1" m1) == "$2" ]] && return
	unit=$(ask m1 sessions | jq --arg c "$1@" \
		'[.sessions[] | select(.user | startswith($c)) | .unit] | first')
	lab exec m1 timeout 20 clusterctl move "$unit" "$2" >/dev/null ||
		fail "$1's session cannot be moved to $2"
	must 10 "$1's session to be $2's" owned_by "$1" "$2"
}
owned_by() { [[ $(owner_of "$1" m1) == "$2" ]]; }

# esp PROTOCOL ADDRESS: packets from there in the capture.
esp() { tcpdump -nr "$out/$scenario.pcap" "src host $2 and $1" 2>/dev/null | wc -l; }

net_begin "$@"
guests_begin kernel-esp 3
lab client v1 up --kind ipsec-psk
lab client v2 up --kind libreswan
lab client v3 up --kind ipsec-cert-nat
lab_clients="v1 v2 v3" download_rate=200000 ping_interval=50

scenario_begin kernel-esp-owner-killed
victim=$(owner_of v1 m1)
[[ $victim != m1 ]] || victim=m2
witness=$(other_member "$victim")
for client in $lab_clients; do put "$client" "$victim"; done
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
for pair in "proto 50:198.51.100.61" "proto 50:198.51.100.62" "udp dst port 4500:198.51.100.40"; do
	(($(esp "${pair%:*}" "${pair#*:}") > 50)) || fail "hardly any ESP (${pair%:*}) from ${pair#*:}"
done
scenario_end
revive "$victim"
guests_end
