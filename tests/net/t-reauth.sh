#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Four clients authenticate anew, two of them, who have two CHILD SAs, before they leave and two
# after, and the owner of all their sessions dies when it has answered and nothing of that has
# reached them; one of the new sessions is its own, too, the others are in other units. Then
# clients delete an IKE SA and a CHILD SA, and the gateway those of two others, and again the
# owner dies before anybody has heard of it: nothing of them is left anywhere.
# Who owns a session has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

more=10.1.9.100 # the server's address behind the second CHILD SA

# join CLIENT: with two CHILD SAs, if it makes before it breaks. strongSwan's userspace ESP
# takes one for the other if it breaks first. It repeats every second what is not answered.
join()
{
	local dir=$LAB_DIR/nodes/$1
	sed -i 's|^charon {|&\nretransmit_timeout = 1\nretransmit_base = 1\nretransmit_tries = 100\nmake_before_break = '"${early[$1]}"'|' \
		"$dir/strongswan.conf"
	sed -i -e 's|^remote_ts = .*|remote_ts = 10.1.0.0/24|' \
		-e 's|^children {|&\nmore {\nremote_ts = 10.1.9.0/24\nesp_proposals = aes128gcm16,aes256gcm16,aes128-sha256\n}|' \
		"$dir/swanctl/swanctl.conf"
	lab exec "$1" swanctl --reload-settings >/dev/null
	lab exec "$1" swanctl --load-conns >/dev/null
	lab exec "$1" swanctl --terminate --ike home --timeout 10 >/dev/null
	lab exec "$1" swanctl --initiate --child net --timeout 30 >/dev/null || return 1
	[[ ${early[$1]} == no ]] || lab exec "$1" swanctl --initiate --child more --timeout 30 >/dev/null
}

# No answer but those to IKE_SA_INIT.
halt()
{
	local client
	for client in $lab_clients; do
		lab exec "$client" nft 'add table inet halt; add chain inet halt in {
			type filter hook input priority 0; }
			add rule inet halt in udp sport 4500 @th,64,32 0 @th,240,8 != 34 drop'
	done
}
go_on()
{
	local client
	for client in $lab_clients; do lab exec "$client" nft delete table inet halt; done
}

# count CLIENT ike|child: its SAs.
count() { echo $(($(spis "$1" "$2" | wc -w) / 2)); }
# has CLIENT IKE CHILD: so many IKE SAs and CHILD SAs, and as many sessions at every member.
has()
{
	local member
	(($(count "$1" ike) == $2 && $(count "$1" child) == $3)) || return 1
	for member in $lab_members; do
		[[ " $dead " == *" $member "* ]] || (($(sessions "$1" "$member") == $2)) || return 1
	done
}
sessions() { ask "$2" sessions --user "$1@*" | jq '.sessions | length'; }
reaches_both()
{
	reaches "$1" || return 1
	[[ ${early[$1]} == no ]] || lab exec "$1" ping -n -q -c 1 -W 1 "$more"
}
all_reach_both() { each reaches_both; }

# more_id CLIENT MEMBER: the number of its second CHILD SA in that member's charon.
more_id()
{
	local spi
	spi=$(lab exec "$1" swanctl --list-sas --raw --ike home | grep -oP '\bname=more .*?\bspi-out=\K\w+')
	lab exec "$2" swanctl --list-sas --raw | grep -oP "uniqueid=\K\d+(?= reqid=\d+ [^{}]* spi-in=$spi )"
}
# said MEMBER WORDS: how often its charon has.
said() { grep -c "$2" "$LAB_DIR/nodes/$1/log/charon.log" || true; }

net_begin "$@"
lab_clients='c1 c2 c3 c4' dead=
declare -A early=([c1]=yes [c2]=no [c3]=yes [c4]=no) before=() virtual=() old=()
scenario_begin reauth quiet
lab exec s1 ip address add "$more/16" dev eth0 2>/dev/null || true
each join || fail "not all clients can connect"
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
must 10 "all clients to use all CHILD SAs" all_reach_both
for client in $lab_clients; do
	before[$client]=$(logins "$client")
	virtual[$client]=$(ask m1 sessions --user "$client@*" | jq -r '.sessions[0].virtual_address')
	old[$client]=$(ask m1 sessions --user "$client@*" | jq -r '.sessions[0].id')
done

halt
for client in $lab_clients; do
	lab exec "$client" timeout 20 swanctl --rekey --ike home --reauth >/dev/null
done
answered()
{
	[[ $(sessions c1 m1) == 2 && $(sessions c2 m1) == 0 && $(sessions c3 m1) == 2 &&
		$(sessions c4 m1) == 0 ]]
}
must 20 "new sessions of c1 and c3, and the end of those of c2 and c4" answered
unit=$(ask m1 sessions --user 'c1@*' | jq --arg old "${old[c1]}" '[.sessions[] | select(.id != $old) | .unit] | first')
lab exec m1 timeout 20 clusterctl move "$unit" "$victim" >/dev/null || fail "c1's new session does not move"
lab kill "$victim"
dead=$victim
go_on
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
for client in $lab_clients; do
	[[ ${early[$client]} == no ]] && children=1 || children=2
	must 20 "one session of $client with $children CHILD SAs" has "$client" 1 "$children"
	(($(logins "$client") == ${before[$client]} + 1)) || fail "$client has logged in $(($(logins "$client") - ${before[$client]})) times"
	[[ $(ask m1 sessions --user "$client@*" | jq -r '.sessions[0].virtual_address') == "${virtual[$client]}" ]] ||
		fail "$client has another address"
done
must 10 "all clients to use all CHILD SAs again" all_reach_both

second=m2
gather "$second" || fail "the sessions cannot be gathered at $second"
c3=$(more_id c3 "$second") c4=$(sa_id c4 ike "$second")
deletes=$(said "$second" 'sending DELETE for') answers=$(said "$second" 'received DELETE for')
halt
for words in "c1 --child more" "c2 --ike home" "$second --child-id $c3" "$second --ike-id $c4"; do
	# shellcheck disable=SC2086
	lab exec "${words%% *}" swanctl --terminate ${words#* } --timeout 1 >/dev/null 2>&1 &
done
all_said()
{
	(($(said "$second" 'sending DELETE for') >= deletes + 2 &&
		$(said "$second" 'received DELETE for') >= answers + 2 && $(sessions c2 m1) == 0))
}
must 20 "$second to hear of two deletes, and to begin two" all_said
lab kill "$second"
dead+=" $second"
go_on
must 20 "$second's units to be taken over" owns_nothing "$second" "$witness"
must 20 "one CHILD SA of c1" has c1 1 1
must 20 "c2's session to be gone" has c2 0 0
must 20 "one CHILD SA of c3" has c3 1 1
must 20 "c4's session to be gone" has c4 0 0
few() { (($(lab exec "$witness" swanctl --list-sas --raw | grep 'remote-id=c[1-4]@' | grep -o ' reqid=' | wc -l) == 2)); }
must 10 "two CHILD SAs, and no more, in $witness's charon" few
lab exec c2 swanctl --initiate --child net --timeout 30 >/dev/null || fail "c2 cannot connect again"
[[ $(ask m1 sessions --user 'c2@*' | jq -r '.sessions[0].virtual_address') == "${virtual[c2]}" ]] ||
	fail "c2's address was not given back"
lab_clients='c1 c2 c3'
must 10 "c1, c2 and c3 to reach the server" all_reach
for client in $lab_clients; do scenario_prints[$client]=$(fingerprint "$client"); done
scenario_end
lab revive "$second" &
lab revive "$victim"
wait $!
revive "$victim"
lab exec s1 ip address del "$more/16" dev eth0
lab_clients='c1 c2 c3 c4'
connects() { lab client "$1" up; }
each connects
