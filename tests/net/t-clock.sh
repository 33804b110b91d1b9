#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the clock and the counters ask for is done by the new owner, though nobody has told it
# to. The owner of all sessions dies when it has asked a silent client whether it is alive,
# and others have used a part of their times, packets and bytes: the new owners find the
# silent one dead; they rekey CHILD SAs by time, packets and bytes, and an IKE SA by time;
# what has reached the limit without that carries nothing more; and the connection that the
# gateway has started authenticates anew. Then the owner of that one dies when only the site
# knows that it has done so once more. In the end the silent one comes back to its address.
# Who owns a session has nothing to do with how frames find their member.
# modes: forwarding
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
lab_clients='c1 c2 c3 c4'
scenario_name clock
restore
wait_for 40 "all members" whole m1

conf() { echo "$LAB_DIR/nodes/$1/$2"; }
load()
{
	lab exec "$1" swanctl --reload-settings >/dev/null
	lab exec "$1" swanctl --load-all --noprompt >/dev/null || fail "$1 does not load"
}
# with CONNECTION LINES CHILD'S-LINES: for sed.
with()
{
	printf '%s\n' "/^$1 {/,/^esp_proposals/{s/^mobike = .*/&\n$2/; s/^esp_proposals = .*/&\n$3/}"
}
connects() { lab client "$1" up; }

lab client g1 down
for member in $lab_members; do
	sed -i.before 's|^charon {|&\nretransmit_timeout = 1\nretransmit_base = 1\nretransmit_tries = 4|' \
		"$(conf "$member" strongswan.conf)"
	sed -i.before -e 's/^dpd_delay = .*/dpd_delay = 2s/' \
		-e '/^psk {/,/^pools/s/^pools = .*/pools = few, clients6/' \
		-e 's/^pools {/&\nfew {\naddrs = 10.4.0.1-10.4.0.2\n}/' \
		-e "$(with psk '' 'rekey_time = 10s\nlife_time = 60s\nrand_time = 0')" \
		-e "$(with cert 'rekey_time = 15s\nover_time = 60s\nrand_time = 0' \
			'rekey_packets = 300\nlife_packets = 480\nrand_packets = 0\nrekey_bytes = 300000\nlife_bytes = 480000\nrand_bytes = 0')" \
		-e "$(with site 'reauth_time = 15s\nover_time = 60s\nrand_time = 0' 'start_action = start')" \
		"$(conf "$member" swanctl/swanctl.conf)"
	load "$member"
done
victim=$(await_owner g1 m1)
witness=$(other_member "$victim")
each connects
gather "$victim" || fail "the sessions cannot be gathered at $victim"

# said MEMBER WORDS: how often its charon has.
said() { grep -c "$2" "$(conf "$1" log/charon.log)" || true; }
# rekeyed CLIENT child|ike: since begun, and what was replaced has gone.
declare -A begun=()
rekeyed() { has_other_spis "$1" "$2" "${begun[$1 $2]}"; }
# refused: packets of SAs that had nothing left.
refused()
{
	# shellcheck disable=SC2046
	counter_sum ipsec.esp-beyond-lifetime $(xargs -n 1 <<<"$lab_members" | grep -vx "$victim")
}
# uses CLIENT N [SIZE]: pings.
uses() { lab exec "$1" traffic ping "$S1" -f "$2" -s "${3:-56}" >/dev/null; }

captures_begin
uses c2 200 || fail "c2 reaches nobody"
uses c4 150 1300 || fail "c4 reaches nobody"
address=$(session_of c1 "$witness" virtual_address)
asked=$(said "$victim" 'retransmit 1 of request')
lab kill c1
has_asked() { (($(said "$victim" 'retransmit 1 of request') > asked)); }
must 10 "$victim to ask c1 whether it is alive" has_asked
for what in 'c2 child' 'c3 child' 'c4 child' 'c4 ike'; do
	# shellcheck disable=SC2086
	begun[$what]=$(spis $what)
done
site=$(session_of g1 "$witness" id)
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
uses c4 80 1300 || fail "c4 does not go on"
# c2 cannot be asked to rekey, and goes on until there is nothing left.
lab exec c2 nft 'add table inet halt; add chain inet halt in {
	type filter hook input priority 0; }
	add rule inet halt in udp sport 4500 @th,64,32 0 drop'
beyond=$(refused)
answered=$(lab exec c2 traffic ping "$S1" -f 400 -w 0.2 || true)
lost=$(sed -n 's/.* lost \([0-9]*\),.*/\1/p' <<<"$answered")
((400 - lost <= 480 - 200 && 400 - lost > 200)) || fail "c2 had $((400 - lost)) answers more"
(($(refused) > beyond)) || fail "nothing was too much"
lab exec c2 nft delete table inet halt
must 20 "a rekeying of c2's CHILD SA by packets" rekeyed c2 child
must 20 "a rekeying of c4's CHILD SA by bytes" rekeyed c4 child
must 30 "a rekeying of c3's CHILD SA by time" rekeyed c3 child
must 30 "a rekeying of c4's IKE SA by time" rekeyed c4 ike
must 20 "the end of c1's session" has_sessions c1 "$witness" 0
anew() { has_sessions g1 "$witness" 1 && [[ $(session_of g1 "$witness" id) != "$site" ]]; }
must 30 "the site's connection to authenticate anew" anew
lab_clients='c2 c3 c4 g1'
must 10 "all others to reach the server" all_reach

# The site answers our IKE_AUTH, and we do not hear of it.
second=$(owner_of g1 "$witness")
last=$(xargs -n 1 <<<"$lab_members" | grep -vx "$victim" | grep -vx "$second")
rest_whole() { local lab_members="$second $last" && whole "$last"; }
must 20 "successors without $victim" rest_whole
lab exec r1 nft "add table inet halt; add chain inet halt way {
	type filter hook forward priority 0; }
	add rule inet halt way ip saddr $VIP_SITE udp sport 500 @th,208,8 35 drop"
begun[g1 ike]=$(spis g1 ike)
lab exec "$second" timeout 20 swanctl --rekey --ike site --reauth >/dev/null || fail "no reauthentication"
site_alone() { rekeyed g1 ike && has_sessions g1 "$last" 0; }
must 10 "the site alone to have a new IKE SA" site_alone
begun[g1 ike]=$(spis g1 ike)
lab kill "$second"
lab exec r1 nft delete table inet halt
must 20 "a third IKE SA, which both have" rekeyed g1 ike
must 10 "one session with the site" has_sessions g1 "$last" 1
must 10 "all to reach the server" all_reach
captures_stop
sealed_judge
crash_judge

lab revive "$victim" &
lab revive "$second"
wait $!
must 40 "all members again" whole "$last"
lab client c1 up || fail "c1 cannot connect again"
[[ $(session_of c1 "$last" virtual_address) == "$address" ]] || fail "c1 has another address"

for member in $lab_members; do
	for file in strongswan.conf swanctl/swanctl.conf; do
		mv "$(conf "$member" "$file").before" "$(conf "$member" "$file")"
	done
	load "$member"
done
lab_clients='c1 c2 c3 c4 g1'
each connects
must 10 "all clients to reach the server in the end" all_reach
scenario_verdict
