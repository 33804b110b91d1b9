#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that has answered a client's IKE_SA_INIT dies before the IKE_AUTH comes, or its
# units are moved away: the login goes on with another member, which the client's own
# repetition reaches. If it is in the middle of EAP, with which no other could go on, its
# unit waits for it.
# What a login needs has nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"

halves() { counter "$1" ipsec.half-open; }
eap_begun() { grep -c 'initiating EAP_MSCHAPV2' "$LAB_DIR/nodes/$1/log/charon.log" || true; }

# halt N: the client's messages from the N-th after IKE_SA_INIT on are lost (RFC 7296 3.1;
# RFC 3948 2.2: after the non-ESP marker).
halt()
{
	lab exec "$client" nft "add table inet halt; add chain inet halt out {
		type filter hook output priority 0; };
		add rule inet halt out udp dport 4500 @th,64,32 0 @th,256,32 >= $1 drop"
}
go_on() { lab exec "$client" nft delete table inet halt; }

# join CLIENT KIND: it is known to the gateway, has no session, and repeats what is not
# answered twice a second.
join()
{
	client=$1 lab_clients=$1
	lab client "$client" up --kind "$2" || fail "$client cannot log in"
	sed -i 's|^charon {|&\nretransmit_timeout = 0.5\nretransmit_base = 1\nretransmit_tries = 60|' \
		"$LAB_DIR/nodes/$client/strongswan.conf"
	lab exec "$client" swanctl --reload-settings >/dev/null
	lab exec "$client" swanctl --terminate --ike home --timeout 10 >/dev/null
}

# log_in_halfway SAYS N: the client logs in up to before that message. The member whose SAYS
# tells more than before has answered.
log_in_halfway()
{
	local member
	declare -gA before=()
	for member in $lab_members; do before[$member]=$("$1" "$member"); done
	tried=$(logins "$client")
	halt "$2"
	lab exec "$client" swanctl --initiate --child net --timeout 30 >"$out/up.log" 2>&1 &
	login=$!
	answered=
	wait_for 20 "an answer" has_answered "$1" && answered=$(<"$out/answered")
}
has_answered()
{
	local member
	for member in $lab_members; do
		(($("$1" "$member") == ${before[$member]})) || {
			echo "$member" >"$out/answered"
			return 0
		}
	done
	return 1
}

# login_judge: it has come to its end, at the first attempt.
login_judge()
{
	wait "$login" || fail "$client's login failed: $(xargs <"$out/up.log")"
	must 10 "$client to reach the server" reaches "$client"
	(($(logins "$client") == tried + 1)) || fail "$client has begun anew"
}

test_killed()
{
	local witness
	log_in_halfway halves 1
	if [[ -z $answered ]]; then
		go_on
		fail "nobody has answered"
		return
	fi
	witness=$(other_member "$answered")
	lab kill "$answered"
	go_on
	must 20 "$answered's units to be taken over" owns_nothing "$answered" "$witness"
	login_judge
	lab revive "$answered"
	must 40 "$answered to be a member with units again" whole "$witness"
}

units() { ask "$2" status | jq -e --arg m "$1" '.members[] | select(.name == $m) | .units'; }
gives_units() { (($(units "$1" "$2") < $3)); }

# test_drained SAYS N: the client's repetitions are heard again when units have begun to go.
test_drained()
{
	local witness drained had
	log_in_halfway "$@"
	if [[ -z $answered ]]; then
		go_on
		fail "nobody has answered"
		return
	fi
	witness=$(other_member "$answered")
	had=$(units "$answered" "$witness")
	lab exec "$answered" timeout 30 clusterctl drain "$answered" >/dev/null &
	drained=$!
	must 20 "the first of $answered's units to go" gives_units "$answered" "$witness" "$had"
	go_on
	wait "$drained" || fail "$answered cannot be drained"
	must 20 "$answered's units to go" owns_nothing "$answered" "$witness"
	login_judge
	lab exec "$answered" timeout 30 clusterctl undrain "$answered" >/dev/null || fail "no undrain"
	must 40 "$answered to have units again" whole "$witness"
}

scenario_name half-open
restore
wait_for 40 "all members" whole m1
join c2 ipsec-cert
captures_begin
test_killed
captures_judge
crash_judge
scenario_verdict

scenario_name half-open-moved
captures_begin
lab exec "$client" swanctl --terminate --ike home --timeout 10 >/dev/null
test_drained halves 1
captures_judge
crash_judge
scenario_verdict

scenario_name eap-moved
join c1 ipsec-mschapv2
captures_begin
test_drained eap_begun 3
captures_judge
crash_judge
scenario_verdict
