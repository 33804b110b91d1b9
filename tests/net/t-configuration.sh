#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A connection that one member calls otherwise is named at the other one. Then a newer
# configuration of phalanxd's is given to the master; the other member fetches it when it
# comes back, and uses it.
# lab: own
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_members=2 net_clients=0 net_peer=0
net_begin "$@"
wait_for 40 "both members" whole m1
first=$(master m1)
other=$(other_member "$first")
conf=$LAB_DIR/nodes/$first/phalanx.conf
fetched=$LAB_DIR/nodes/$other/state/phalanx.conf

published() { lab logs "$first" | grep "version 2 is given to members" >/dev/null; }
mtu_is() { [[ $(lab exec "$1" ip -o link show phalanx0) == *" mtu $2 "* ]]; }

# rename OLD NEW: a connection of m2's.
rename()
{
	sed -i "s/^$1 {/$2 {/" "$LAB_DIR/nodes/m2/swanctl/swanctl.conf"
	lab exec m2 swanctl --load-conns >"$out/load.log" || fail "m2: $(xargs <"$out/load.log")"
}
remarks() { lab exec m1 clusterctl status | grep "connections differ"; }
named()
{
	[[ $(remarks) == "m2: swanctl's connections differ: psk is missing there, renamed is missing here" ]]
}
none_named() { ! remarks; }

reasons=()
rename psk renamed
must 15 "m1 to name the connection" named
rename renamed psk
must 15 "m1 to name it no more" none_named

{
	echo 'version = 2'
	sed 's/^tunnel {/tunnel {\n\tmtu = 1300/' "$conf"
} >"$conf.new"
mv "$conf.new" "$conf"
kill -HUP "$(cat "$LAB_DIR/nodes/$first/phalanxd.pid")"
must 10 "$first to read it" published
lab kill "$other"
wait_for 20 "$other's units to be taken over" owns_nothing "$other" "$first"
lab revive "$other"
must 40 "$other to be back" whole "$first"
must 10 "the new MTU on $other" mtu_is "$other" 1300
mtu_is "$first" 1400 || fail "$first has changed what it works with"
[[ -e $fetched ]] || fail "$other has kept no configuration"
grep -q '^version' "$LAB_DIR/nodes/$other/phalanx.conf" &&
	fail "the administrator's file was written"
if ((${#reasons[@]})); then
	net_failed=1
	echo "not ok configuration-$MODE - $(printf '%s; ' "${reasons[@]}")"
else
	echo "ok configuration-$MODE"
fi
