#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A client reaches another one whose session another member owns: members hand the packets
# to each other, sealed, and none of it passes the inside network. Then the two owners change,
# and while the clients ping each other one is killed, and then the other.
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

put "$two" m2
for client in "$one" "$two"; do scenario_prints[$client]=$(fingerprint "$client"); done
program_start "$one" ping-there traffic ping "$there" -i 20
program_start "$two" ping-here traffic ping "$here" -i 20
must 10 "$one (m3) and $two (m2) to reach each other" meet
lab kill m3
must 20 "m3's units to be taken over" owns_nothing m3 m1
must 20 "$one and $two to reach each other without m3" meet
put "$one" m1
rest_whole() { local lab_members='m1 m2' && whole m1; }
must 20 "successors without m3" rest_whole
before=$(handed m1)
must 10 "$one (m1) and $two (m2) to reach each other" meet
(($(handed m1) > before)) || fail "m1 has handed nothing over"
lab kill m2
must 20 "m2's units to be taken over" owns_nothing m2 m1
must 20 "$one and $two to reach each other without m2" meet
for way in there here; do program_tell "ping-$way"; done
for way in there here; do program_await "ping-$way" || fail "pings $way: no answer"; done
lab_clients="$one $two" prints_judge
lab capture inside stop
lab_clients="$one $two" captures_judge
lab revive m2 &
lab revive m3
wait $!
[[ -z $(tcpdump -nr "$out/inside.pcap" "host $here and host $there" 2>/dev/null) ]] ||
	fail "packets between clients have passed the inside network"
for client in "$one" "$two"; do lab client "$client" down; done
wait_for 40 "all members again" whole m1
connect_all

scenario_verdict
