#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that has answered a client's IKE_SA_INIT dies before the IKE_AUTH comes: the
# login goes on with another member, which the client's own repetition reaches.
# What a login needs has nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"

client=c2
halves() { ask "$1" status --counters | jq '.counters["ipsec.half-open"]'; }
attempts() { grep -c 'initiating IKE_SA home' "$LAB_DIR/nodes/$client/log/charon.log"; }

declare -A before=()
has_answered()
{
	local member
	for member in $lab_members; do
		(($(halves "$member") == ${before[$member]})) || {
			echo "$member" >"$out/answered"
			return 0
		}
	done
	return 1
}

restore
wait_for 40 "all members" whole m1
reasons=()
for member in $lab_members; do before[$member]=$(halves "$member"); done
lab kill "$client" 2>/dev/null || true
lab exec "$client" nft 'add table inet halt; add chain inet halt out {
	type filter hook output priority 0; }; add rule inet halt out udp dport 4500 drop'
lab client "$client" up >"$out/up.log" 2>&1 &
if wait_for 20 "a half-open login" has_answered; then
	tried=$(attempts)
	victim=$(<"$out/answered")
	witness=$(other_member "$victim")
	lab kill "$victim"
	lab exec "$client" nft delete table inet halt
	must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
	wait $! || fail "$client's login failed: $(xargs <"$out/up.log")"
	must 10 "$client to reach the server" reaches "$client"
	[[ $(attempts) == "$tried" ]] || fail "$client has begun anew"
	lab revive "$victim"
	must 40 "$victim to be a member with units again" whole "$witness"
else
	lab exec "$client" nft delete table inet halt
	fail "nobody has answered"
fi
sanitizer_judge
if ((${#reasons[@]})); then
	net_failed=1
	echo "not ok half-open-$MODE - $(printf '%s; ' "${reasons[@]}")"
else
	echo "ok half-open-$MODE"
fi
