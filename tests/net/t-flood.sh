#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A flood of requests for IKE SAs, from thousands of addresses: members ask for cookies, keep
# few of them, and a client gets in, also when a member has died that was flooded with the
# others. Whose session there is already does not notice.
# What a login needs has nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# sum COUNTER: of the members that live.
sum()
{
	# shellcheck disable=SC2086
	counter_sum "$1" ${lab_members/${dead-none}/}
}

# memory MEMBER: kB of its daemon and its charon.
memory()
{
	local pid total=0
	for pid in $(ip netns pids "${LAB_PREFIX:-phx}-$1"); do
		grep -q '^\(phalanxd\|charon\)' "/proc/$pid/comm" || continue
		total=$((total + $(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")))
	done
	echo "$total"
}

cookies() { grep -c 'parsed IKE_SA_INIT response 0 \[ N(COOKIE) \]' "$LAB_DIR/nodes/c2/log/charon.log" || true; }

# login: of a client that has another session no more.
login() { lab client c2 down && lab client c2 up; }

net_begin "$@"
lab_clients='c1 c2'
scenario_begin flood quiet
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
lab exec r1 ip route replace blackhole 198.18.0.0/15
half=$(sum ipsec.half-open) in=$(sum ipsec.ike-in) memory=$(memory "$witness") asked=$(cookies)

program_start r1 flood initflood "$VIP_OUTSIDE" 300 100000
flooded() { (($(sum ipsec.ike-in) > in + 500)); }
must 20 "the flood to reach the members" flooded
login || fail "c2 cannot log in during a flood"
(($(cookies) > asked)) || fail "c2 was asked for no cookie"
lab kill "$victim"
dead=$victim
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 10 "c1 to reach the server" reaches c1
login || fail "c2 cannot log in during a flood and after a takeover"
must 10 "c2 to reach the server" reaches c2
program_stop flood || true
(($(sum ipsec.half-open) < half + 200)) ||
	fail "$(($(sum ipsec.half-open) - half)) half-open IKE SAs were kept of $(($(sum ipsec.ike-in) - in)) requests"
(($(memory "$witness") < memory + 32768)) || fail "$witness has grown from $memory to $(memory "$witness") kB"
lab exec r1 ip route del blackhole 198.18.0.0/15
scenario_prints[c2]=$(fingerprint c2)
scenario_end
revive "$victim"
