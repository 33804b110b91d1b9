#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Clients of IKEv1, with a preshared key or RSA certificates, with and without XAuth, all
# with an address by mode config, and all at one member, which dies when it has answered two
# of them in a quick mode, and begun one with a third, and they have not heard of it. The old
# ESP goes on, and at the new owners the quick modes are finished, either side can begin
# others, the client can authenticate anew, and ends its session. What IKE speaks has nothing
# to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# in_use CLIENT: the SPIs of its newest CHILD SA. Those before stay until they expire.
in_use()
{
	lab exec "$1" swanctl --list-sas --raw --ike home |
		grep -o 'state=INSTALLED .* spi-out=[0-9a-f]*' | grep -o 'spi-[a-z]*=[0-9a-f]*$'
}
uses_other() { [[ -n $(in_use "$1") && $(in_use "$1") != "$2" ]]; }

# quick_mode CLIENT [MEMBER]: begun by the client, or by that member.
quick_mode()
{
	local before
	before=$(in_use "$1")
	if (($# == 2)); then
		lab exec "$2" timeout 30 swanctl --rekey --child-id "$(sa_id "$1" child "$2")" \
			>/dev/null || return 1
	else
		lab exec "$1" timeout 30 swanctl --rekey --child net >/dev/null || return 1
	fi
	wait_for 10 "new keys of $1" uses_other "$1" "$before"
}

# halt CLIENT: it hears nothing of IKE.
halt()
{
	lab exec "$1" nft 'add table inet halt; add chain inet halt in {
		type filter hook input priority 0; }
		add rule inet halt in udp sport 4500 @th,64,32 0 drop'
}
go_on() { lab exec "$1" nft delete table inet halt; }
# MEMBER's words in quick modes so far.
spoken()
{
	grep -c 'generating QUICK_MODE re' "$LAB_DIR/nodes/$1/log/charon.log" || true
}
all_spoken() { (($(spoken "$victim") >= words + 3)); }

# has_another CLIENT SPIS: an IKE SA besides the one of these, which ends a while later.
has_another()
{
	local spi
	for spi in $(spis "$1" ike); do [[ " $2 " == *" $spi "* ]] || return 0; done
	return 1
}

net_begin "$@"

declare -A kinds=([c1]=ipsec-v1psk [c2]=ipsec-v1cert [c3]=ipsec-v1xpsk-ip6 [c4]=ipsec-v1xcert-nat)
lab_clients='c1 c2 c3 c4'
restore
wait_for 40 "all members" whole m1
# A unit that is to move now waits for the login that it is in.
for client in $lab_clients; do
	lab client "$client" up --kind "${kinds[$client]}" || {
		echo "not ok ikev1-$MODE - $client cannot log in as ${kinds[$client]}"
		exit 1
	}
done
scenario_begin ikev1 quiet
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
words=$(spoken "$victim")
declare -A old=()
for client in c1 c3 c4; do
	old[$client]=$(in_use "$client")
	halt "$client"
done
for client in c1 c4; do
	lab exec "$client" timeout 30 swanctl --rekey --child net >/dev/null
done
lab exec "$victim" timeout 30 swanctl --rekey --child-id "$(sa_id c3 child "$victim")" >/dev/null
must 10 "$victim to answer two clients, and to ask one" all_spoken
lab kill "$victim"
for client in c1 c3 c4; do go_on "$client"; done
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
for client in c1 c4; do
	must 20 "the end of $client's quick mode" uses_other "$client" "${old[$client]}"
done
must 20 "all clients to reach the server with that" all_reach
# What was lost meanwhile was lost for good: the old SAs stay, and would take it.
windows_pass
for client in $lab_clients; do
	owner=$(await_owner "$client" "$witness")
	quick_mode "$client" "$owner" || fail "$owner cannot begin a quick mode with $client"
	quick_mode "$client" || fail "$client (${kinds[$client]}) cannot begin a quick mode"
done
must 10 "all clients to reach the server with new keys" all_reach
for client in $lab_clients; do scenario_prints[$client]=$(fingerprint "$client"); done
scenario_end
scenario_name ikev1-ended
for client in c1 c4; do
	before=$(spis "$client" ike)
	lab exec "$client" timeout 30 swanctl --rekey --ike home >/dev/null
	must 20 "$client to authenticate anew" has_another "$client" "$before"
done
must 10 "all clients to reach the server after that" all_reach
for client in $lab_clients; do lab client "$client" down; done
for client in $lab_clients; do
	must 10 "the end of $client's session" has_sessions "$client" "$witness" 0
done
crash_judge
scenario_verdict
revive "$victim"
