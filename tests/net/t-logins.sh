#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Clients that have logged in by EAP-MSCHAPv2, by EAP-TLS, by EAP and a RADIUS server, and by
# RSA certificates, all at one member, which dies: their sessions go on, and can be rekeyed
# at the new owners. What a login needs has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"

declare -A kinds=([c1]=ipsec-mschapv2 [c2]=ipsec-tls [c3]=ipsec-radius-ip6 [c4]=ipsec-rsa-nat)
lab_clients='c1 c2 c3 c4'
restore
wait_for 40 "all members" whole m1
for client in $lab_clients; do
	lab client "$client" up --kind "${kinds[$client]}" || {
		echo "not ok logins-$MODE - $client cannot log in as ${kinds[$client]}"
		exit 1
	}
done
scenario_begin logins
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
prints_judge
each rekey_both || fail "not all clients can rekey"
for client in $lab_clients; do
	scenario_prints[$client]=$(fingerprint "$client")
done
must 10 "all clients to reach the server after rekeying" all_reach
scenario_end
revive "$victim"
for client in $lab_clients; do lab client "$client" up; done
