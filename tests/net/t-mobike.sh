#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A client changes its address, and another one's NAT its port, while both talk: their
# sessions stay, in their units. Then the client changes its address again, and the owner of
# its session dies when it has heard of that, before its answer reaches the client. Who owns a
# session has nothing to do with how frames find their member.
# modes: multicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

client=c1

# readdress OLD NEW: the client's last number on its network. All at once, so that it is one
# change.
readdress()
{
	lab exec "$client" sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1
	lab exec "$client" ip -batch - <<-BATCH
	address add 198.51.100.$2/24 brd + dev eth0
	address del 198.51.100.$1/24 dev eth0
	route replace default via 198.51.100.1
	BATCH
}

# same_ike CLIENT: it still has its IKE SA. Its CHILD SA may be another one: userspace ESP of
# strongSwan cannot take it to another address.
same_ike()
{
	local before=${scenario_prints[$1]}
	[[ $(spis "$1" ike) == "$(grep -o '[a-z]*-spi=[0-9a-f]*' <<<"$before" | sort | xargs)" ]] ||
		fail "$1 has another IKE SA"
}

# last_request CLIENT: the number of the last request that it has begun.
last_request()
{
	grep -o 'generating [A-Z_]* request [0-9]*' "$LAB_DIR/nodes/$1/log/charon.log" |
		tail -n 1 | grep -o '[0-9]*$'
}

# rebind FROM TO: n1 forgets its translations, and uses other ports.
rebind()
{
	lab exec n1 ip address del 198.51.100.40/24 dev clients
	lab exec n1 nft "flush chain ip nat post;
		add rule ip nat post oifname clients meta l4proto udp masquerade to :$1-$2;
		add rule ip nat post oifname clients masquerade"
	lab exec n1 ip address add 198.51.100.40/24 brd + dev clients
	lab exec n1 ip route replace default via 198.51.100.1
}

# place_of CLIENT MEMBER: its address and port, as that member knows them.
place_of() { session_of "$1" "$2" client; }

# is_at CLIENT PATTERN: by all who live.
is_at()
{
	local member
	for member in $lab_members; do
		[[ $member == "${dead-}" || $(place_of "$1" "$member") =~ $2 ]] || return 1
	done
}

cleanup()
{
	lab exec "$client" nft delete table inet halt 2>/dev/null || true
	# While the cluster can still hear of that.
	leave "$client" "$witness" || true
	lab exec n1 nft 'flush chain ip nat post; add rule ip nat post oifname clients masquerade'
	lab exec "$client" ip address flush dev eth0 scope global
	lab exec "$client" ip address add 198.51.100.11/24 brd + dev eth0
	lab exec "$client" ip address add 2001:db8:100::11/64 dev eth0 nodad
	lab exec "$client" ip route replace default via 198.51.100.1
	lab exec "$client" ip route replace default via 2001:db8:100::1
	lab client "$client" up
}

net_begin "$@"
restore
wait_for 40 "all members" whole m1
lab client "$client" up --kind ipsec-ed25519
scenario_begin mobike
declare -A units=()
for one in "$client" c4; do units[$one]=$(unit_of "$one" m1); done

readdress 11 111
must 10 "all members to know $client's new address" is_at "$client" '^198\.51\.100\.111:'
must 10 "$client to reach the server from its new address" reaches "$client"
rebind 30000 30999
must 10 "all members to know the port of c4's NAT" is_at c4 ':30[0-9]{3}$'
must 10 "c4 to reach the server through its NAT's new port" reaches c4

dead=$(await_owner "$client" m1)
witness=$(other_member "$dead")
# The client tries the way first, and then announces its address: that answer gets lost.
settled_down() { [[ $(wc -w <<<"$(spis "$client" child)") == 2 ]]; }
must 10 "$client's CHILD SA" settled_down
lab exec "$client" nft "add table inet halt; add chain inet halt in {
	type filter hook input priority 0; }
	add rule inet halt in udp sport 4500 @th,64,32 0 @th,256,32 >= $(($(last_request "$client") + 2)) drop"
readdress 111 112
must 10 "a successor to know $client's next address" eval \
	"[[ \$(place_of $client $witness) =~ ^198.51.100.112: ]]"
lab kill "$dead"
lab exec "$client" nft delete table inet halt
must 20 "$dead's units to be taken over" owns_nothing "$dead" "$witness"
must 20 "all clients to reach the server again" all_reach
is_at "$client" '^198\.51\.100\.112:' || fail "$client is at $(place_of "$client" "$witness")"
same_ike "$client"
for one in "$client" c4; do
	[[ $(unit_of "$one" "$witness") == "${units[$one]}" ]] || fail "$one is in another unit"
done
for member in $lab_members; do
	! grep 'generating .*N(ADD_' "$LAB_DIR/nodes/$member/log/charon.log" \
		>"$out/told.txt" || fail "$member told of more addresses: $(xargs <"$out/told.txt")"
done
grep -q 'generating .*N(ADD_6_ADDR' "$LAB_DIR/nodes/$client/log/charon.log" ||
	fail "$client's log does not show what addresses it tells of"
must 10 "$client's CHILD SA" settled_down
scenario_prints[$client]=$(fingerprint "$client")
scenario_end
revive "$dead"
cleanup
