#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A hundred clients log in at once and ping the server all the time; the member that works
# for the most of them is killed. Every one goes on, by ESP and by IKE, with the SAs and the
# address that it had. tests/bench/sessions does the same with thousands, and measures.
# lab: own
# alone
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/crowd.sh"
net_clients=1 net_peer=0
crowd=100 crowd_interval=500
export LOAD_DPD=3 # seconds of silence after which a client asks whether we are there

net_begin "$@"
scenario_name load
restore
wait_for 40 "all members" whole m1
connect_all

lab load up $crowd --parallel 16 >"$out/load.log" 2>&1 ||
	fail "not all could connect: $(tail -n 1 "$out/load.log")"
crowd_sas >"$out/crowd.before"
(($(wc -l <"$out/crowd.before") == crowd)) || fail "not all have a CHILD SA"
(($(awk '{ print $6 }' "$out/crowd.before" | sort -u | wc -l) == crowd)) ||
	fail "two have the same virtual address"
captures_begin
lab capture s1:eth0 "$out/inside.pcap"
awk '{ print $6 }' "$out/crowd.before" >"$out/crowd.sources"
crowd_pings_start "$out/crowd.sources"
must 20 "answers to all pings" crowd_answered -

most=0 victim=
for member in $lab_members; do
	n=$(crowd_of "$member" m1 | wc -l)
	if ((n > most)); then most=$n victim=$member; fi
done
((most > 0)) || fail "no member has sessions"
lab kill "$victim"
mark crowd kill
witness=$(other_member "$victim")
must 30 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 30 "answers to all pings again" crowd_answered kill
program_stop crowd-ping || fail "the pings failed: $(cat "$out/crowd-ping.log")"
captures_stop
sealed_judge
# What was lost when the member died is new when it comes once more: it may arrive once.
replay_play "$(pcap outside)"
lab capture s1:eth0 stop
inside_judge "$out/inside.pcap"

crowd_answers >"$out/answers"
everybody_answered()
{
	(($(join "$out/answers" <(crowd_answers) | awk '$3 > $2' | wc -l) == crowd))
}
must 20 "IKE to answer every client" everybody_answered
crowd_sas >"$out/crowd.after"
cmp -s "$out/crowd.before" "$out/crowd.after" ||
	fail "clients have other SAs: $(diff "$out/crowd.before" "$out/crowd.after" | head -n 4)"
crash_judge
lab load down
revive "$victim" || fail "$victim did not come back"

scenario_verdict
