#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Two clients rekey, one its CHILD SA and one its IKE SA, and the gateway rekeys the CHILD SAs
# of two others; the owner of all four dies when it has answered, or asked, and nothing of that has
# reached the clients. Nobody logs in again, and everybody can rekey at the new owners. Who
# owns a session has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

charon_log() { echo "$LAB_DIR/nodes/$1/log/charon.log"; }
# CLIENT's logins so far.
logins() { grep -c 'generating IKE_SA_INIT request' "$(charon_log "$1")"; }
# MEMBER's words on rekeying so far: answers to clients, and requests of its own.
spoken() { grep -c 'generating CREATE_CHILD_SA re' "$(charon_log "$1")" || true; }

halt()
{
	local client
	for client in $lab_clients; do
		lab exec "$client" nft 'add table inet halt; add chain inet halt in {
			type filter hook input priority 0; }
			add rule inet halt in udp sport 4500 @th,64,32 0 drop'
	done
}
go_on()
{
	local client
	for client in $lab_clients; do lab exec "$client" nft delete table inet halt; done
}

# one_of_each CLIENT: an IKE SA with a CHILD SA, and nothing more. But a CHILD SA that the
# gateway had begun stays with the client until it rekeys it.
one_of_each()
{
	local children
	children=$(spis "$1" child | wc -w)
	(($(spis "$1" ike | wc -w) == 2 && (children == 2 || (children == 4 && $2))))
}

net_begin "$@"
lab_clients='c1 c2 c3 c4'
scenario_begin rekey-killed quiet
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
declare -A before=()
for client in $lab_clients; do before[$client]=$(logins "$client"); done
words=$(spoken "$victim")
c3=$(sa_id c3 child "$victim") c4=$(sa_id c4 child "$victim")
halt
lab exec c1 timeout 10 swanctl --rekey --child net >/dev/null
lab exec c2 timeout 10 swanctl --rekey --ike home >/dev/null
lab exec "$victim" timeout 10 swanctl --rekey --child-id "$c3" >/dev/null
lab exec "$victim" timeout 10 swanctl --rekey --child-id "$c4" >/dev/null
all_spoken() { (($(spoken "$victim") >= words + 4)); }
must 10 "$victim to answer two clients, and to ask two" all_spoken
lab kill "$victim"
go_on
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
for client in $lab_clients; do
	[[ $client == c[34] ]] && begun=1 || begun=0
	must 20 "one IKE SA and one CHILD SA of $client" one_of_each "$client" "$begun"
	((begun)) || rekey "$client" child || fail "$client cannot rekey its CHILD SA afterwards"
	rekey "$client" ike || fail "$client cannot rekey its IKE SA afterwards"
	[[ $(logins "$client") == "${before[$client]}" ]] || fail "$client has logged in again"
	scenario_prints[$client]=$(fingerprint "$client")
done
must 10 "all clients to reach the server with their new keys" all_reach
scenario_end
revive "$victim"
