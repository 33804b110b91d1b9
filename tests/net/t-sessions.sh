#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every member lists the same sessions; one is ended at a member that does not own it, and
# its client hears of that.
# An operator's commands have nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_name sessions
restore
wait_for 40 "all members" whole m1
connect_all
eval "$(lab env)"

# listed MEMBER: what all members have to agree on.
listed()
{
	ask "$1" sessions | jq -cS '[.sessions[] | {id, user, client, virtual_address, kind, unit,
		owner, successor, age: (.age | type)}] | sort_by(.id)'
}
alike()
{
	local member first
	first=$(listed m1)
	(($(jq length <<<"$first") >= $(wc -w <<<"$lab_clients"))) || return 1
	jq -e 'all(.age == "number" and .owner != null and .successor != null and
		.successor != .owner)' <<<"$first" || return 1
	for member in $lab_members; do
		[[ $(listed "$member") == "$first" ]] || return 1
	done
}
must 10 "all members to list the same sessions" alike

# session CLIENT FIELD
session() { ask m1 sessions --user "$1@*" | jq -r ".sessions[0].$2"; }
client=${lab_clients%% *}
id=$(session "$client" id) owner=$(session "$client" owner)
virtual=${client^^}_VIRTUAL
lab exec "$client" swanctl --list-sas --raw --ike home | grep "responder-spi=$id" >/dev/null ||
	fail "$id is not the SPI of $client's IKE SA"
# Load may be balanced just now, and a new owner may not know yet what was carried before.
owner_shows()
{
	reaches "$client" && owner=$(session "$client" owner) || return 1
	[[ $(ask "$owner" sessions --address "${!virtual}" | jq -c '.sessions[0] |
		[.id, (.lag | type), .bytes_in > 0]') == "[\"$id\",\"number\",true]" ]]
}
must 10 "the owner to show what it owns" owner_shows
[[ $(ask m1 sessions --member "$owner" --user nobody) == *'"sessions": []'* ]] ||
	fail "a session of nobody's is listed"

# The table has the same for people.
tabled()
{
	local row table
	row=$(ask "$owner" sessions | jq -r --arg id "$id" '.sessions[] | select(.id == $id) |
		[.id, .user, .client, .virtual_address, .kind, .unit, .owner, .successor] | join(" ")')
	row+=' ([0-9]+m )?[0-9]+s [0-9.]+ [kMG]?B [0-9.]+ [kMG]?B [0-9]+ [0-9.]+ [kMG]?B [0-9.]+ [kMG]?B'
	table=$(lab exec "$owner" clusterctl sessions)
	[[ $(head -n 1 <<<"$table" | xargs) == \
		"ID USER CLIENT VIRTUAL KIND UNIT OWNER SUCCESSOR AGE IN OUT LAG HELD SENT" ]] &&
		grep "^$id " <<<"$table" | xargs | grep -qxE "$row"
}
must 10 "a table that says the same" tabled

lab exec m1 clusterctl session kill nobody@example.org 2>/dev/null &&
	fail "a session that is not there was ended"
gone() { [[ -z $(fingerprint "$client" 2>/dev/null) ]]; }
other=$(other_member "$owner")
lab exec "$other" timeout 20 clusterctl session kill "${!virtual}" >"$out/kill.txt" 2>&1 ||
	fail "not ended: $(cat "$out/kill.txt")"
grep -q "^Session $id of $client@.* has ended" "$out/kill.txt" || fail "$(cat "$out/kill.txt")"
must 10 "$client to hear that its session has ended" gone
[[ $(session "$client" id) == null ]] || fail "$client's session is still listed"

# Who does not answer is not waited for with --force. Its address comes back; it has had more
# than one if it has ever connected before the end of its session was heard of.
had=$(grep -o 'installing new virtual IP [0-9.]*' "$LAB_DIR/nodes/$client/log/initiate.log" |
	grep -o '[0-9.]*$')
lab client "$client" up
grep -qx -- "$(session "$client" virtual_address)" <<<"$had" ||
	fail "$client has an address that it never had before"
lab freeze "$client"
lab exec m1 timeout 20 clusterctl session kill "$(session "$client" user)" --force \
	>/dev/null 2>&1 || fail "not ended by force"
[[ $(session "$client" id) == null ]] || fail "$client's session is still there"
lab thaw "$client"
lab client "$client" down
connect_all

scenario_verdict
