#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A client reaches another one whose session another member owns: members hand the packets
# to each other, sealed, and none of it passes the inside network. Then the two owners change.
# Between the members packets go the same way in all modes.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_name client-to-client
restore
wait_for 40 "all members" whole m1
connect_all

read -r one two _ <<<"$lab_clients"

# rejoin CLIENT: it asks for the other clients' addresses too.
rejoin()
{
	local dir=$LAB_DIR/nodes/$1
	sed -i 's|remote_ts = .*|remote_ts = 10.1.0.0/16, 10.3.0.0/24|' "$dir/swanctl/swanctl.conf"
	lab exec "$1" swanctl --load-conns >/dev/null
	lab exec "$1" swanctl --terminate --ike home --timeout 10 >/dev/null
	lab exec "$1" swanctl --initiate --child net --timeout 30 >/dev/null
}

# put CLIENT MEMBER: the client's session goes there.
put()
{
	lab exec m1 timeout 20 clusterctl move "$(unit_of "$1" m1)" "$2" >/dev/null ||
		fail "$1's session cannot be moved to $2"
}

# says CLIENT ADDRESS: what clear_judge looks for.
says() { lab exec "$1" ping -n -q -c 3 -i 0.1 -W 1 -p 70696e6720696e20636c65617220 "$2" >/dev/null; }
# meet: each of the two reaches the other.
meet() { says "$one" "$there" && says "$two" "$here"; }

handed() { counter "$1" handed.sent; }

rejoin "$one"
rejoin "$two"
here=$(session_of "$one" m1 virtual_address) there=$(session_of "$two" m1 virtual_address)
captures_begin
lab capture inside "$out/inside.pcap"
for pair in "m1 m2" "m3 m1"; do
	read -r first second <<<"$pair"
	put "$one" "$first"
	put "$two" "$second"
	before=$(handed "$first")
	must 10 "$one ($first) and $two ($second) to reach each other" meet
	(($(handed "$first") > before)) || fail "$first has handed nothing over"
done
put "$two" m3
must 10 "$one and $two to reach each other through one member" meet
lab capture inside stop
captures_stop
sealed_judge
[[ -z $(tcpdump -nr "$out/inside.pcap" "host $here and host $there" 2>/dev/null) ]] ||
	fail "packets between clients have passed the inside network"
for client in "$one" "$two"; do lab client "$client" down; done
connect_all

scenario_verdict
