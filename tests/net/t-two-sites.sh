#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Two clusters face each other: one of three members starts the connection to a site that
# has a cluster of two (native ESP between our own engines), and is killed when the site has
# the SAs and it has not: another one starts it anew. The owner at one end is killed, then
# the one at the other end, then both at once, while hosts on both sides ping and one of
# them uploads; nobody connects anew. Then keys are changed from both ends, and an operator
# ends and starts the connection at members that have nothing to do with it. In the end it
# is started by a packet; and by another one, whose owner is killed before there are SAs.
# Which frames reach whom is the matter of other tests.
# modes: multicast
# lab: own
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_peer=2 net_clients=0
net_begin "$@"
eval "$(lab env)"
lab_clients=
lab_sites="g1 g2"
scenario_name two-sites
dir=$(lab_dir)/nodes

# load MEMBER ACTION: with that start_action.
load()
{
	local file=$dir/$1/swanctl/swanctl.conf
	sed -i "/^start_action = /d; s|^remote_ts = 10.5.0.0/24\$|&\nstart_action = $2|" "$file"
	lab exec "$1" swanctl --load-all --noprompt >"$out/load.txt" 2>&1 ||
		fail "$1 does not load: $(cat "$out/load.txt")"
}

# session MEMBER FIELD: of the site's only session, as a member at either end knows it.
session()
{
	ask "$1" sessions | jq -er "[.sessions[] | select(.user | test(\"^(site|vpn)\\\\.\"))] |
		select(length == 1) | .[0].$2"
}

# spis_at MEMBER: of the IKE SA and the ESP SAs.
spis_at() { echo "$(session "$1" id) $(session "$1" detail)"; }
# connected HERE THERE: as these members know.
connected() { [[ -n $(session "$1" detail) && -n $(session "$2" detail) ]]; }
answers() { lab exec "$1" ping -n -q -c 1 -W 1 "$2"; }
both_ways() { answers h1 "$S1" && answers s1 "$H1"; }
owned_by_other() { [[ $(session "$2" owner) != "$1" ]]; }
# whole_site: as `whole`, of the site's cluster.
whole_site() { lab_members=$lab_sites whole "$1"; }
other_site() { if [[ $1 == g1 ]]; then echo g2; else echo g1; fi; }

# started: how often all members' charons together have started the connection.
start_words="initiating 'net' for the cluster"
started()
{
	local member sum=0
	for member in $lab_members; do
		sum=$((sum + $(grep -c "$start_words" "$dir/$member/log/charon.log" || true)))
	done
	echo "$sum"
}

# halt [MATCH]: the site's messages of IKE, or those that match, are lost on their way.
halt()
{
	lab exec r1 nft "add table inet halt; add chain inet halt way {
		type filter hook forward priority 0; }
		add rule inet halt way ip saddr $VIP_SITE udp sport 500 ${1-} drop"
}
go_on() { lab exec r1 nft delete table inet halt; }
of_auth='@th,208,8 35' # the exchange's type

# starts N: that many, and no more.
starts() { (($(started) == $1)) || fail "the connection was started $(started) times, not $1"; }

wait_for 40 "all members here" whole m1
wait_for 40 "all members there" whole_site g1
captures_begin
halt "$of_auth"
for member in $lab_members; do load "$member" start; done
must 10 "the site to have the connection" session g1 detail
starter=$(cd "$dir" && grep -l "$start_words" m?/log/charon.log | cut -d/ -f1)
witness=$(other_member "$starter")
[[ -z $(session "$witness" id || true) ]] || fail "it is established here, too"
lab kill "$starter"
go_on
must 20 "the connection" connected "$witness" g1
must 10 "packets both ways" both_ways
starts 2
# Who takes over next has to know all.
rest=$(xargs -n 1 <<<"$lab_members" | grep -vx "$starter")
whole_rest() { local lab_members=$rest && whole "$witness"; }
must 20 "successors without $starter" whole_rest
before=$(spis_at "$witness")

serve_start
program_start h1 ping-in traffic ping "$S1" -i 20 -o "$out/ping-in.json"
program_start s1 ping-out traffic ping "$H1" -i 20 -o "$out/ping-out.json"
program_start h1 upload traffic put "$S1" "$traffic_port" 6000000 --rate 500000 \
	-o "$out/upload.json"
uploading() { [[ -n $(lab exec s1 ss -Htn state established "sport = :$traffic_port") ]]; }
must 10 "the upload to begin" uploading

here=$(session "$witness" owner)
lab kill "$here"
witness=$(xargs -n 1 <<<"$rest" | grep -vx "$here")
must 20 "another owner here" owned_by_other "$here" "$witness"
must 20 "packets both ways without $here" both_ways
there=$(session g1 owner)
lab kill "$there"
must 20 "another owner there" owned_by_other "$there" "$(other_site "$there")"
must 20 "packets both ways without $there" both_ways
for member in "$starter" "$here" "$there"; do lab revive "$member"; done
must 30 "all members here" whole "$witness"
must 30 "all members there" whole_site "$(other_site "$there")"

here=$(session m1 owner) there=$(session g1 owner)
lab kill "$here" &
lab kill "$there"
wait $!
witness=$(other_member "$here")
must 20 "another owner here again" owned_by_other "$here" "$witness"
must 20 "another owner there again" owned_by_other "$there" "$(other_site "$there")"
must 20 "packets both ways without both" both_ways
[[ $(spis_at "$witness") == "$before" ]] ||
	fail "other SAs: $before became $(spis_at "$witness")"

owner=$(session "$witness" owner)
site=$(session "$(other_site "$there")" owner)
other_ike() { [[ $(session "$witness" id) != "${before%% *}" ]]; }
other_child() { [[ $(session "$witness" detail) != "$1" ]]; }
lab exec "$owner" timeout 30 swanctl --rekey --ike site >/dev/null || fail "no rekeying here"
must 10 "a new IKE SA" other_ike
child=$(session "$witness" detail)
lab exec "$site" timeout 30 swanctl --rekey --child net >/dev/null || fail "no rekeying there"
must 10 "new ESP SAs" other_child "$child"
must 10 "packets both ways with new keys" both_ways

must 60 "the upload to end" bash -c "! kill -0 $(cat "$out/upload.pid") 2>/dev/null"
program_await upload || fail "the upload: $(xargs <"$out/upload.log")"
for way in in out; do program_tell "ping-$way"; done
for way in in out; do program_await "ping-$way" || fail "pings $way: no answer"; done
program_stop serve || true
lab_clients=g1 captures_judge

# Whoever is asked: somebody else has to do it.
idle=$(for member in $lab_members; do
	[[ $member == "$owner" || $member == "$here" ]] || echo "$member"
done)
lab exec "$idle" timeout 60 swanctl --terminate --ike site >"$out/end.txt" 2>&1 ||
	fail "not ended: $(xargs <"$out/end.txt")"
[[ -z $(session "$owner" id || true) ]] || fail "the session is still there"
lab exec "$idle" timeout 60 swanctl --initiate --ike site --child net --timeout 45 >"$out/start.txt" 2>&1 ||
	fail "not started: $(xargs <"$out/start.txt")"
[[ $(session "$idle" owner) == "$owner" ]] || fail "$owner was to start it"
must 10 "packets both ways in the end" both_ways
starts 3

# Loaded otherwise, it is closed; a packet starts it, and comes through.
before=$(session "$idle" id)
gone() { [[ $(session "$idle" id || true) != "$before" ]]; }
for member in $lab_members; do
	[[ $member == "$here" ]] || load "$member" trap
done
must 10 "the connection to be closed" gone
# Only this end has a trap.
must 10 "a packet to start it" answers s1 "$H1"
must 10 "packets both ways by a trap" both_ways
other_ike || fail "the connection was not closed"
starts 4

# The next packet's owner dies before it has SAs: the last one starts the connection for it.
captures_begin
lab exec "$idle" timeout 60 swanctl --terminate --ike site >"$out/end.txt" 2>&1 ||
	fail "not ended again: $(xargs <"$out/end.txt")"
halt
triggered() { answers s1 "$H1" || (($(started) == 5)); }
must 10 "a packet to start it again" triggered
lab kill "$owner"
go_on
must 20 "the connection without $owner" connected "$idle" "$(other_site "$there")"
must 10 "packets both ways by $idle" both_ways
starts 6
captures_stop
sealed_judge

scenario_verdict
