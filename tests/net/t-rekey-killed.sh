#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Two clients rekey, one its CHILD SA and one its IKE SA, and the gateway rekeys the CHILD SA
# and the IKE SA of two others; the owner of all four dies when it has answered, or asked, and
# nothing of that has reached the clients. The new owners go on with it. Nobody logs in again,
# and everybody can rekey at the new owners. Then two clients and the gateway rekey the same
# SAs at once, and the owner dies again; and once more when it has asked a client for a further
# CHILD SA. Who owns a session has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

charon_log() { echo "$LAB_DIR/nodes/$1/log/charon.log"; }
# MEMBER's words on rekeying so far: answers to clients, and requests of its own.
spoken() { grep -c 'generating CREATE_CHILD_SA re' "$(charon_log "$1")" || true; }
# Clients' requests that it has put off so far.
put_off() { grep -c 'waits for its repetition' "$(charon_log "$1")" || true; }

halt()
{
	local client
	for client in $lab_clients; do
		lab exec "$client" nft 'add table inet halt; add chain inet halt in {
			type filter hook input priority 0; }
			add rule inet halt in udp sport 4500 @th,64,32 0 drop'
	done
}
go_on()
{
	local client
	for client in $lab_clients; do lab exec "$client" nft delete table inet halt; done
}

# one_of_each CLIENT: an IKE SA with a CHILD SA, and nothing more.
one_of_each() { (($(spis "$1" ike | wc -w) == 2 && $(spis "$1" child | wc -w) == 2)); }
# rekeyed CLIENT child|ike: whether they are others than before.
rekeyed() { [[ $(spis "$1" "$2") != "${begun[$1]}" ]]; }

# Nobody has logged in again, and all can rekey.
goes_on()
{
	local client
	for client in $lab_clients; do
		must 20 "one IKE SA and one CHILD SA of $client" one_of_each "$client"
	done
	each rekey_both || fail "not all clients can rekey afterwards"
	for client in $lab_clients; do
		[[ $(logins "$client") == "${before[$client]}" ]] ||
			fail "$client has logged in again"
	done
	must 10 "all clients to reach the server with their new keys" all_reach
	for client in $lab_clients; do scenario_prints[$client]=$(fingerprint "$client"); done
}

net_begin "$@"
lab_clients='c1 c2 c3 c4'
scenario_begin rekey-killed quiet
victim=m3 witness=m1
gather "$victim" || fail "the sessions cannot be gathered at $victim"
declare -A before=()
for client in $lab_clients; do before[$client]=$(logins "$client"); done
words=$(spoken "$victim")
c3=$(sa_id c3 child "$victim") c4=$(sa_id c4 ike "$victim")
declare -A begun=([c3]=$(spis c3 child) [c4]=$(spis c4 ike))
halt
lab exec c1 timeout 30 swanctl --rekey --child net >/dev/null
lab exec c2 timeout 30 swanctl --rekey --ike home >/dev/null
lab exec "$victim" timeout 30 swanctl --rekey --child-id "$c3" >/dev/null
lab exec "$victim" timeout 30 swanctl --rekey --ike-id "$c4" >/dev/null
all_spoken() { (($(spoken "$victim") >= words + 4)); }
must 10 "$victim to answer two clients, and to ask two" all_spoken
lab kill "$victim"
go_on
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
must 20 "the rekeying of c3's CHILD SA to be ended" rekeyed c3 child
must 20 "the rekeying of c4's IKE SA to be ended" rekeyed c4 ike
goes_on
scenario_end
revive "$victim"

scenario_name rekey-crossing
lab_clients='c1 c2'
captures_begin
gather "$victim" || fail "the sessions cannot be gathered at $victim"
words=$(spoken "$victim") waiting=$(put_off "$victim")
c1=$(sa_id c1 child "$victim") c2=$(sa_id c2 ike "$victim")
begun=([c1]=$(spis c1 child) [c2]=$(spis c2 ike))
halt
lab exec "$victim" timeout 30 swanctl --rekey --child-id "$c1" >/dev/null
lab exec "$victim" timeout 30 swanctl --rekey --ike-id "$c2" >/dev/null
both_asked() { (($(spoken "$victim") >= words + 2)); }
must 10 "$victim to ask both clients" both_asked
lab exec c1 timeout 30 swanctl --rekey --child net >/dev/null
lab exec c2 timeout 30 swanctl --rekey --ike home >/dev/null
both_put_off() { (($(put_off "$victim") >= waiting + 2)); }
must 10 "$victim to hear both clients ask" both_put_off
lab kill "$victim"
go_on
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "both clients to reach the server again" all_reach
must 20 "the rekeying of c1's CHILD SA to be ended" rekeyed c1 child
must 20 "the rekeying of c2's IKE SA to be ended" rekeyed c2 ike
goes_on
scenario_end
revive "$victim"

scenario_name further-killed
leave c3 m1 # so that c1 is who the gateway means
lab_clients=c1
captures_begin
config() { echo "$LAB_DIR/nodes/$1/swanctl/swanctl.conf"; }
load() { lab exec "$1" swanctl --load-conns >/dev/null; }
for member in $lab_members; do
	sed -i.before '/^psk {/,/^children {/s|^children {|&\nmore {\nlocal_ts = 10.1.9.0/24\nesp_proposals = aes128gcm16\n}|' \
		"$(config "$member")"
	load "$member"
done
before=([c1]=$(logins c1))
children_are() { (($(spis c1 child | wc -w) == 2 * $1)); }
halt
# It is for one of the members to begin what is configured, whoever has the sessions.
for victim in $lab_members; do
	gather "$victim" || fail "the session cannot be gathered at $victim"
	words=$(spoken "$victim")
	said=$(lab exec "$victim" swanctl --initiate --child more --timeout 1 2>&1 || true)
	[[ $said == *'another member'* ]] || break
done
witness=$(other_member "$victim")
has_asked() { (($(spoken "$victim") > words)); }
must 10 "$victim to ask c1 for a further CHILD SA" has_asked
lab kill "$victim"
go_on
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "c1 to have two CHILD SAs" children_are 2
lab exec "$(owner_of c1 "$witness")" timeout 30 swanctl --terminate --child more >/dev/null ||
	fail "the new owner does not know the further CHILD SA"
must 20 "c1 to have one CHILD SA" children_are 1
goes_on
scenario_end
revive "$victim"
for member in $lab_members; do
	mv "$(config "$member").before" "$(config "$member")"
	load "$member"
done
lab client c3 up
