#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A site's tunnel ends while the inside speaks to it: nothing of that goes on in clear,
# neither from the inside nor from the members themselves.
# The kernel's routes and the protected prefixes are the same in all modes.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_name site-ends
restore
wait_for 40 "all members" whole m1
connect_all
eval "$(lab env)"
[[ " $lab_clients " == *" g1 "* ]] || { echo "skip $scenario - no site"; exit 77; }

site=${H1%.*}.0/24
# tries NODE: packets to the site.
tries() { lab exec "$1" ping -n -q -c 10 -i 0.05 -W 0.2 "$H1" >/dev/null 2>&1 || true; }
dropped() { counter_sum filter.no-session; }
protected() { [[ $(lab exec "$1" ip route show table 221) == *"unreachable $site"* ]]; }
answers() { lab exec s1 ping -n -q -c 1 -W 1 "$H1"; }
ended() { [[ -z $(fingerprint g1 2>/dev/null) ]]; }

for member in $lab_members; do
	must 10 "$member to protect the site's network" protected "$member"
done
must 10 "the site to answer" answers
captures_begin
before=$(dropped)
tries s1
lab client g1 down
must 10 "the tunnel's end" ended
for node in s1 $lab_members; do tries "$node"; done
(($(dropped) > before)) || fail "nothing was dropped for want of a session"
for member in $lab_members; do
	protected "$member" || fail "$member protects the site's network no longer"
done
# A default route of the members' own is there, or nothing could have been wrong.
[[ $(lab exec m1 ip route show default) == *via* ]] || fail "m1 has no way out"
lab client g1 up
must 20 "the site to answer again" answers
captures_stop
sealed_judge
connect_all

scenario_verdict
