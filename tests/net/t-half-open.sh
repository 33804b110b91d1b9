#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that has answered clients' first messages dies before their logins are through,
# or its units are moved away. With a preshared key or certificates they go on with another
# member, which the clients' own repetitions reach, also if half of a fragmented IKE_AUTH had
# come. In the middle of EAP, with which no other could go on, its units wait for it; if it
# dies, the logins are refused at once, nothing of them stays, and the next ones succeed.
# What a login needs has nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"

# in_log NODE TEXT: how often its charon has said that.
in_log() { grep -c "$2" "$LAB_DIR/nodes/$1/log/charon.log" || true; }

# What MEMBER has done so far, of what it does when a login of CLIENT comes to where it stops.
half_opens() { counter "$1" ipsec.half-open; }
gets_fragment() { in_log "$1" 'received fragment #1 of'; }
begins_eap() { in_log "$1" "received EAP identity '$2@"; } # and answers by the method's first

# The client's messages that are lost then (RFC 7296 3.1; RFC 7383 2.5; RFC 3948 2.2: after the
# non-ESP marker): all from that number on, or all fragments but the first.
from_message() { echo "@th,256,32 >= $1"; }
later_fragments='@th,256,32 1 @th,224,8 53 @th,352,16 > 1'

halt()
{
	lab exec "$1" nft "add table inet halt; add chain inet halt out {
		type filter hook output priority 0; };
		add rule inet halt out udp dport 4500 @th,64,32 0 $2 drop"
}
go_on() { lab exec "$1" nft delete table inet halt; }

# join CLIENT: it is known to the gateway, has no session, and repeats what is not answered
# twice a second.
declare -A kinds=()
join()
{
	lab client "$1" up --kind "${kinds[$1]}" || return 1
	sed -i 's|^charon {|&\nretransmit_timeout = 0.5\nretransmit_base = 1\nretransmit_tries = 60|' \
		"$LAB_DIR/nodes/$1/strongswan.conf"
	lab exec "$1" swanctl --reload-settings >/dev/null
	part "$1"
}
part() { lab exec "$1" swanctl --terminate --ike home --timeout 10 >/dev/null; }

# log_in_halfway CLIENT DOES LOST: the client logs in up to before that message. The member that
# does more of it than before has answered.
declare -A login=() tried=()
log_in_halfway()
{
	local member
	declare -gA before=()
	for member in $lab_members; do before[$member]=$("$2" "$member" "$1"); done
	tried[$1]=$(logins "$1")
	halt "$1" "$3"
	lab exec "$1" swanctl --initiate --child net --timeout 30 >"$out/up-$1.log" 2>&1 &
	login[$1]=$!
	: >"$out/answered"
	must 20 "an answer to $1" has_answered "$2" "$1"
	answered=$(<"$out/answered")
}
has_answered()
{
	local member
	for member in $lab_members; do
		(($("$1" "$member" "$2") == ${before[$member]})) || {
			echo "$member" >"$out/answered"
			return 0
		}
	done
	return 1
}

# all_halfway: all clients log in as far as does and lost say, at one member, which is dead soon.
# Where another one has answered, or a unit is moved meanwhile, the client tries it again.
declare -A does=() lost=()
all_halfway()
{
	local client
	dead=
	for _ in {1..30}; do
		for client in $lab_clients; do
			[[ $dead ]] && is_at "$dead" "$client" && continue
			give_up "$client"
			log_in_halfway "$client" "${does[$client]}" "${lost[$client]}"
			[[ $answered ]] || return 0
			dead=${dead:-$answered}
			continue 2
		done
		return 0
	done
	fail "not all clients have met $dead"
}
is_at() { [[ $(lab exec "$1" swanctl --list-sas --raw) == *"remote-host=$(address "$2") "* ]]; }
address() { lab exec "$1" ip -4 -o address show dev eth0 | grep -oP 'inet \K[0-9.]*'; }
give_up()
{
	[[ ${login[$1]-} ]] || return 0
	go_on "$1"
	wait "${login[$1]}" || true
	part "$1" || true
}

# kill_halfway: and the clients are heard again.
kill_halfway()
{
	local client
	all_halfway
	[[ ! ${reasons[*]} ]] || return 0
	witness=$(other_member "$dead")
	lab kill "$dead"
	for client in $lab_clients; do go_on "$client"; done
	must 20 "$dead's units to be taken over" owns_nothing "$dead" "$witness"
}

# login_judge CLIENT: it has come to its end, at the first attempt.
login_judge()
{
	wait "${login[$1]}" || fail "$1's login failed: $(xargs <"$out/up-$1.log")"
	must 10 "$1 to reach the server" reaches "$1"
	(($(logins "$1") == tried[$1] + 1)) || fail "$1 has begun anew"
}

units() { ask "$2" status | jq -e --arg m "$1" '.members[] | select(.name == $m) | .units'; }
gives_units() { (($(units "$1" "$2") < $3)); }

# test_drained CLIENT DOES LOST: the client's repetitions are heard again when units have begun
# to go.
test_drained()
{
	local witness drained had
	log_in_halfway "$@"
	if [[ ! $answered ]]; then
		go_on "$1"
		return
	fi
	witness=$(other_member "$answered")
	had=$(units "$answered" "$witness")
	lab exec "$answered" timeout 30 clusterctl drain "$answered" >/dev/null &
	drained=$!
	must 20 "the first of $answered's units to go" gives_units "$answered" "$witness" "$had"
	go_on "$1"
	wait "$drained" || fail "$answered cannot be drained"
	must 20 "$answered's units to go" owns_nothing "$answered" "$witness"
	login_judge "$1"
	lab exec "$answered" timeout 30 clusterctl undrain "$answered" >/dev/null || fail "no undrain"
	must 40 "$answered to have units again" whole "$witness"
}

# refusal_judge CLIENT: its login has ended, at the first attempt, as it was told.
refusal_judge()
{
	! wait "${login[$1]}" || fail "$1's login went on at another member"
	grep -q 'received AUTHENTICATION_FAILED' "$out/up-$1.log" ||
		fail "$1 was not refused: $(xargs <"$out/up-$1.log")"
	(($(logins "$1") == tried[$1] + 1)) || fail "$1 has begun anew"
	refusal_time "$1"
}

# said_at NODE PROGRAM TEXT: when it has said that last, in ms of the day.
said_at()
{
	grep "$3" "$LAB_DIR/nodes/$1/log/$2.log" | tail -n 1 |
		awk -F '[:. ]' '{ print (($1 * 60 + $2) * 60 + $3) * 1000 + $4 }'
}

# refusal_time CLIENT: since the takeover.
refusal_time()
{
	local member refusal
	refusal="$(address "$1") authenticates in several rounds and has begun at another member"
	for member in $lab_members; do
		(($(in_log "$member" "$refusal"))) || continue
		echo "# ${kinds[$1]#ipsec-} was refused $(($(said_at "$1" charon 'received AUTHENTICATION_FAILED') -
			$(said_at "$member" phalanxd 'activates .*: takeover'))) ms after the takeover"
	done
}

# is_forgotten CLIENT: no living member has anything of it.
is_forgotten()
{
	local member
	for member in $lab_members; do
		[[ $member != "$dead" ]] || continue
		has_sessions "$1" "$member" 0 && ! is_at "$member" "$1" || return 1
	done
}

scenario_name half-open
restore
wait_for 40 "all members" whole m1
lab_clients='c1 c2' kinds=([c1]=ipsec-psk [c2]=ipsec-rsa)
each join || fail "not all clients can log in"
captures_begin
does=([c1]=half_opens [c2]=gets_fragment) lost=([c1]=$(from_message 1) [c2]=$later_fragments)
kill_halfway
for client in $lab_clients; do login_judge "$client"; done
grep -q 'generating IKE_AUTH request 1 \[ EF(1/' "$LAB_DIR/nodes/c2/log/charon.log" ||
	fail "c2's IKE_AUTH is not fragmented"
lab revive "$dead"
must 40 "$dead to be a member with units again" whole "$witness"
captures_judge
crash_judge
scenario_verdict

scenario_name half-open-moved
captures_begin
part c2
test_drained c2 gets_fragment "$later_fragments"
captures_judge
crash_judge
scenario_verdict

scenario_name eap-moved
lab_clients='c1 c2 c3' kinds=([c1]=ipsec-mschapv2 [c2]=ipsec-tls [c3]=ipsec-radius)
each join || fail "not all clients can log in"
lab_clients=c1
captures_begin
test_drained c1 begins_eap "$(from_message 3)"
captures_judge
crash_judge
scenario_verdict

scenario_name eap
lab_clients='c1 c2 c3'
captures_begin
part c1
login=()
for client in $lab_clients; do does[$client]=begins_eap lost[$client]=$(from_message 3); done
kill_halfway
for client in $lab_clients; do refusal_judge "$client"; done
for client in $lab_clients; do must 10 "members to forget $client" is_forgotten "$client"; done
for client in $lab_clients; do
	lab exec "$client" swanctl --initiate --child net --timeout 30 >"$out/up-$client.log" ||
		fail "$client cannot log in afterwards: $(xargs <"$out/up-$client.log")"
done
must 10 "all clients to reach the server" all_reach
lab revive "$dead"
must 40 "$dead to be a member with units again" whole "$witness"
captures_judge
crash_judge
scenario_verdict
# Later tests have other clients.
for client in $lab_clients; do lab client "$client" down; done
