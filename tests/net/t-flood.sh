#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A flood of requests for IKE SAs, from thousands of addresses: members ask for cookies, keep
# few of them, and a client gets in, also when a member has died that was flooded with the
# others. Whose session there is already does not notice. Then a flood from few addresses, also
# of IKEv1, which knows no cookies: members that keep so many of each address, and so many in
# all, let a client in.
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
scenario_prints[c2]=$(fingerprint c2)
scenario_end
revive "$victim"
dead=

# Now few addresses, also by IKEv1, which knows no cookies.
# half_open MEMBER: IKE SAs that its charon keeps, of both versions.
half_open() { lab exec "$1" swanctl --stats | grep -oP 'IKE_SAs: .* \K\d+(?= half-open)'; }
# log_in_at MEMBER: until that member has answered.
log_in_at()
{
	for _ in {1..20}; do
		lab exec c2 swanctl --terminate --ike home --timeout 10 >/dev/null || true
		lab exec c2 swanctl --initiate --child net --timeout 10 >"$out/up.log" 2>&1 ||
			fail "c2 cannot log in: $(xargs <"$out/up.log")"
		[[ $(await_owner c2 m1) != "$1" && ${#reasons[@]} == 0 ]] || return 0
	done
	fail "c2 has met others than $1 only"
}

scenario_name flood-one-address
declare -A heard=() kept=()
for member in $lab_members; do
	heard[$member]=$(counter "$member" ipsec.ike-in) kept[$member]=$(half_open "$member")
done
# An address belongs to one of the members.
program_start r1 flood initflood -1 "$VIP_OUTSIDE" 500 100000 198.18.0.1
hears_flood()
{
	for flooded in $lab_members; do
		(($(counter "$flooded" ipsec.ike-in) <= ${heard[$flooded]} + 500)) || return 0
	done
	return 1
}
must 20 "the flood to reach a member" hears_flood
program_start r1 flood2 initflood "$VIP_OUTSIDE" 300 100000 198.18.0.2
log_in_at "$flooded"
must 10 "c2 to reach the server" reaches c2
must 10 "c1 to reach the server" reaches c1
for flood in flood flood2; do program_stop "$flood" || true; done
for member in $lab_members; do
	requests=$(($(counter "$member" ipsec.ike-in) - heard[$member]))
	now=$(half_open "$member")
	echo "# $member: of $requests requests $((now - kept[$member])) half-open IKE SAs are left"
	((now < kept[$member] + 20)) || fail "$member keeps $now half-open IKE SAs"
done
scenario_prints[c2]=$(fingerprint c2)
prints_judge
lab exec r1 ip route del blackhole 198.18.0.0/15
crash_judge
scenario_verdict
