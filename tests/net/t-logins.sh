#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Clients that have logged in by EAP-MSCHAPv2, by EAP-TLS, by EAP and a RADIUS server, by RSA
# certificates, and by IKEv1, XAuth and the RADIUS server, all at one member, which dies: their
# sessions go on, and can be rekeyed at the new owners. Then another member's charon is
# stopped. For the RADIUS server, which accounts for all of them, and for an up and down script
# each session begins once and ends once: when its client leaves. The server gets the Class
# attributes that it has given.
# Each kind has ciphers of its own, which no other test's clients have; see client_config.
# What a login needs has nothing to do with how frames find their member.
# modes: multicast
# lab: own
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_peer=0 net_clients=5
net_lab=(--accounting)
unsealed=198.51.100.15 # c5's ESP has NULL
net_begin "$@"

requests() { echo "$LAB_DIR/nodes/a1/log/accounting"; }
# accounted Start|Interim-Update|Stop [FROM]: client, Acct-Session-Id, and bytes to the client,
# of each such request that the server has got, from that byte of its log on.
accounted()
{
	tail -c "+$((${2:-0} + 1))" "$(requests)" | awk -v RS= -v kind="$1" '
		function value(name) {
			if (!match($0, "\t" name " = [^\n]*")) return ""
			return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4)
		}
		value("Acct-Status-Type") == kind {
			user = value("User-Name"); gsub(/^"|@.*/, "", user)
			print user, value("Acct-Session-Id"), value("Acct-Output-Octets") + 0
		}' | sort
}
all_accounted() { [[ $(accounted "$1" | wc -l) -ge $(wc -w <<<"$lab_clients") ]]; }
sessions_accounted() { accounted "$1" | cut -d' ' -f1,2; }
# all_updated FROM: since that byte of the log.
all_updated() { [[ $(accounted Interim-Update "$1" | cut -d' ' -f1 | sort -u | xargs) == "$lab_clients" ]]; }

# classes CLIENT: what requests that concern it have, each combination once.
classes()
{
	awk -v RS= -v user="$1" 'index($0, "\tUser-Name = \"" user "@") {
			all = ""
			while (match($0, /\tClass = 0x[0-9a-f]*/)) {
				all = all " " substr($0, RSTART + 9, RLENGTH - 9)
				$0 = substr($0, RSTART + RLENGTH)
			}
			print all
		}' "$(requests)" | sort -u
}
hex() { printf 0x && printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }

classes_judge()
{
	local client given
	for client in c3 c5; do
		given=" $(hex "$client@${logins[$client]}.example.org") $(hex another)"
		[[ $(classes "$client") == "$given" ]] ||
			fail "$client was given Class$given, and is accounted for with$(classes "$client")"
	done
}

rekey_child() { rekey "$1" child; }
# Of IKEv1, the IKE SA cannot be: its client would log in once more.
rekey_all() { if [[ ${kinds[$1]} == *-v1* ]]; then rekey_child "$1"; else rekey_both "$1"; fi; }

accounting_judge()
{
	local begun ended few
	begun=$(sessions_accounted Start) ended=$(sessions_accounted Stop)
	[[ $(cut -d' ' -f1 <<<"$begun" | xargs) == "$lab_clients" ]] ||
		fail "accounting has begun for $(xargs <<<"$begun")"
	[[ $(cut -d' ' -f2 <<<"$begun" | sort -u | wc -l) == $(wc -l <<<"$begun") ]] ||
		fail "sessions have the same Acct-Session-Id: $(xargs <<<"$begun")"
	[[ $begun == "$ended" ]] ||
		fail "accounting has begun for $(xargs <<<"$begun"), but ended for $(xargs <<<"$ended")"
	[[ $begun == "$(sessions_accounted Interim-Update | sort -u)" ]] ||
		fail "accounting goes on for $(sessions_accounted Interim-Update | sort -u | xargs)"
	few=$(accounted Stop | awk -v least="$download_rate" '$3 < least')
	[[ -z $few ]] || fail "bytes are missing in $(xargs <<<"$few")"
}

# updown_begin: members' charons call a script when a CHILD SA is up or down, for each family.
updown_begin()
{
	local member
	printf '#!/bin/sh\necho "$PLUTO_VERB $PLUTO_PEER_ID" >>%s\n' "$out/updown" >"$out/updown.sh"
	chmod +x "$out/updown.sh"
	: >"$out/updown"
	for member in $lab_members; do
		sed -i "s|local_ts = .*|&\nupdown = $out/updown.sh|" \
			"$LAB_DIR/nodes/$member/swanctl/swanctl.conf"
		lab exec "$member" swanctl --load-conns >"$out/load.log"
	done
}

# told up|down: of whose CHILD SAs the script has been told.
told() { sed -n "s/^$1-//p" "$out/updown" | sort; }
# IKEv1's apart: to charon, the DELETE of what was rekeyed may come before the end of the
# rekeying, and then that is an end and a beginning.
told_surely() { told "$1" | grep -v '@v1' || true; }
told_of_all_ends() { [[ $(told down) == "$(told up)" ]]; }

declare -A kinds=([c1]=ipsec-mschapv2 [c2]=ipsec-tls [c3]=ipsec-radius-ip6 [c4]=ipsec-rsa-nat
	[c5]=ipsec-v1xradius)
declare -A logins=([c3]=radius [c5]=v1xradius)
lab_clients='c1 c2 c3 c4 c5'
restore
wait_for 40 "all members" whole m1
updown_begin
for client in $lab_clients; do
	lab client "$client" up --kind "${kinds[$client]}" || {
		echo "not ok logins-$MODE - $client cannot log in as ${kinds[$client]}"
		exit 1
	}
done
scenario_begin logins
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
prints_judge
each rekey_all || fail "not all clients can rekey"
for client in $lab_clients; do
	scenario_prints[$client]=$(fingerprint "$client")
done
must 10 "all clients to reach the server after rekeying" all_reach
scenario_end

scenario_name accounting
captures_begin
gather m2 || fail "the sessions cannot be gathered at m2"
serve_start
downloads_start accounting 1
must 20 "the downloads to end" downloads_done accounting
program_stop serve || true
# A CHILD SA's bytes are replicated once a minute, and when it has been rekeyed.
each rekey_child || fail "not all clients can rekey"
kill -TERM "$(cat "$LAB_DIR/nodes/m2/charon.pid")"
must 20 "m2's units to be taken over" owns_nothing m2 "$witness"
must 10 "all clients to reach the server without m2's charon" all_reach
must 20 "others to go on with the accounting" all_updated "$(stat -c %s "$(requests)")"
all_accounted Start || fail "not all sessions' begin is accounted for"
[[ -z $(accounted Stop) ]] || fail "the server hears of an end: $(accounted Stop | xargs)"
captures_judge
crash_judge
[[ -z $(told_surely down) ]] || fail "a script is told of ends: $(told_surely down | xargs)"
each leaves || fail "not all clients can leave"
must 10 "the sessions' ends to be accounted for" all_accounted Stop
must 10 "a script to be told once of each end" told_of_all_ends
[[ $(told_surely up | sed 's/.*[ -]\(c[0-9]\)@.*/\1/' | sort | xargs) == "c1 c2 c3 c3 c4" ]] ||
	fail "a script is told of $(told up | xargs)"
accounting_judge
classes_judge
scenario_verdict
