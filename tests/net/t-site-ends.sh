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

# Beside its connection the site has another one, for the lower half of its network, whose
# owner is another member. What the inside sends to that half takes that one's SA, and the
# answers do, also when the owner of the one has died, and then that of the other.
scenario_name site-overlaps
upper=${H1%.*}.200
lower=${H1%.*}.0/25

# of_half OWN ID NETWORK PEER PEER'S-ID PEER'S-NETWORK
of_half()
{
	cat <<-CONF
	connections {
		half {
			version = 2
			mobike = no
			local_addrs = $1
			remote_addrs = $4
			proposals = aes128gcm16-prfsha256-ecp256
			local {
				auth = psk
				id = $2
			}
			remote {
				auth = psk
				id = $5
			}
			children {
				net {
					local_ts = $3
					remote_ts = $6
					esp_proposals = aes128gcm16
				}
			}
		}
	}
	CONF
}
config() { echo "$LAB_DIR/nodes/$1/swanctl/swanctl.conf"; }
load() { lab exec "$1" swanctl --load-all --noprompt >/dev/null || fail "$1 does not load"; }

# put WHO MEMBER: its session goes there.
put()
{
	lab exec m1 timeout 20 clusterctl move "$(unit_of "$1" m1)" "$2" >/dev/null ||
		fail "$1's session cannot be moved to $2"
}

# counts: packets in and out of each connection, as the site counts them.
counts()
{
	lab exec g1 swanctl --list-sas --raw | sed -nE \
		's/.*\{(half|home) \{.* packets-in=([0-9]+) .* packets-out=([0-9]+) .*/\1 \2 \3/p' |
		sort | xargs
}
count_of_home() { counts | cut -d' ' -f5; }
# split: packets to either half take its SA, and the answers do.
split()
{
	local was
	was=$(counts)
	lab exec s1 ping -n -q -c 5 -i 0.05 -W 1 "$H1" &&
		lab exec s1 ping -n -q -c 3 -i 0.05 -W 1 "$upper" &&
		[[ $(awk '{ print $8 - $2, $9 - $3, $11 - $5, $12 - $6 }' <<<"$was $(counts)") == "5 5 3 3" ]]
}
# lose MEMBER: it dies while the half is pinged.
lose()
{
	local before
	before=$(count_of_home)
	program_start s1 pings traffic ping "$H1" -i 20 -w 0.2
	lab kill "$1"
	must 20 "$1's units to be taken over" owns_nothing "$1" m1
	must 10 "the half to answer without $1" answers
	program_stop pings || fail "pings without any answer"
	(($(count_of_home) == before)) || fail "the whole's SA has taken what is the half's"
	must 10 "each half to have its SA without $1" split
}

lab exec h1 ip address add "$upper/24" dev eth0
for member in $lab_members; do
	cp "$(config "$member")" "$(config "$member").before"
	of_half "$VIP_OUTSIDE" vpn.example.org 10.1.0.0/16 "$VIP_SITE" half.example.org "$lower" \
		>>"$(config "$member")"
	load "$member"
done
of_half "$VIP_SITE" half.example.org "$lower" "$VIP_OUTSIDE" vpn.example.org 10.1.0.0/16 \
	>>"$(config g1)"
load g1
captures_begin
# What has come last is not preferred.
lab exec g1 swanctl --terminate --ike home >/dev/null
for ike in half home; do
	lab exec g1 swanctl --initiate --ike "$ike" --child net --timeout 30 >/dev/null ||
		fail "$ike cannot connect"
done
put half.example.org m3
put g1 m2
must 10 "each half to have its SA" split
lose m3
put half.example.org m1
rest_whole() { local lab_members='m1 m2' && whole m1; }
must 20 "successors without m3" rest_whole
lose m2
captures_stop
sealed_judge
lab revive m2 &
lab revive m3
wait $!
lab client g1 down
for member in $lab_members; do
	mv "$(config "$member").before" "$(config "$member")"
	load "$member"
done
lab exec h1 ip address del "$upper/24" dev eth0
lab client g1 up
scenario_verdict
