# SPDX-License-Identifier: GPL-2.0-or-later
# Namespaces, the switch's bridges, and who is plugged in where. Sourced.

VIP_OUTSIDE=192.0.2.1
VIP_INSIDE=10.1.0.1
VIP_DMZ=10.2.0.1
VIP_DMZ2=10.2.0.2
VIP6_OUTSIDE=2001:db8:2::1
VIP6_INSIDE=2001:db8:1::1
INSIDE=10.1.0.0/16
INSIDE6=2001:db8:1::/64
CLIENTS6=2001:db8:3::/120
VIP_SITE=198.51.100.50
VIP6_SITE=2001:db8:100::50
VIP_SITE_INSIDE=10.5.0.1
S1=10.1.0.100
S1_IP6=2001:db8:1::100
D1=10.2.0.100
A1=10.1.0.101
H1=10.5.0.100

ns() { echo "$LAB_PREFIX-$1"; }
node_dir() { echo "$LAB_DIR/nodes/$1"; }

# The order of creation; taken down in the reverse one.
node_list() { cat "$LAB_DIR/namespaces" 2>/dev/null || true; }

check_node()
{
	grep -qx -- "$1" "$LAB_DIR/namespaces" || grep -qx -- "$1" <<<"$(guests)" || die "no such node: $1"
}

# node_make NODE: the namespace, with a process that holds it and its own /run.
node_make()
{
	local node=$1 dir
	dir=$(node_dir "$node")
	[[ ! -e /run/netns/$(ns "$node") ]] ||
		die "the namespace $(ns "$node") exists already (another lab?)"
	echo "$node" >>"$LAB_DIR/namespaces"
	ip netns add "$(ns "$node")"
	mkdir -p "$dir/log"
	ip netns exec "$(ns "$node")" sh -c '
		cd /proc/sys/net/ipv6/conf
		# Addresses are usable at once, and none comes from anywhere else.
		for i in all default; do echo 0 >$i/accept_dad; echo 0 >$i/accept_ra; done
		if [ "$1" = sw ]; then
			for i in all default; do echo 1 >$i/disable_ipv6; done
		fi
		ip link set lo up' sysctl "$node"
	node_hold "$node"
}

node_hold()
{
	local node=$1 dir
	dir=$(node_dir "$node")
	# The lab's directory stays visible at its own path below the new /run.
	setsid ip netns exec "$(ns "$node")" unshare --mount sh -e -c '
		cd "$1"
		mount -t tmpfs -o mode=755 tmpfs /run
		mkdir -p "$1"
		mount --no-canonicalize --bind . "$1"
		if [ -d "$2" ]; then mount --bind "$2" /usr/lib/ipsec/plugins; fi
		: >"$3/held"
		exec sleep infinity' hold "$LAB_DIR" "$LAB_DIR/plugins" "$dir" \
		</dev/null >"$dir/log/hold.log" 2>&1 &
	echo $! >"$dir/holder"
	wait_for 10 "$node's namespaces" test -e "$dir/held" ||
		die "$(cat "$dir/log/hold.log")"
}

# Routers and members forward; members answer ARP for own addresses only, from these.
node_forwards()
{
	ip netns exec "$(ns "$1")" sh -c '
		cd /proc/sys/net/ipv4
		echo 1 >ip_forward
		echo 1 >../ipv6/conf/all/forwarding
		for i in conf/*; do
			echo 0 >$i/rp_filter; echo 1 >$i/arp_ignore; echo 2 >$i/arp_announce
		done'
}

# cable NODE INTERFACE BRIDGE [ADDRESS/LEN...]
cable()
{
	local node=$1 interface=$2 bridge=$3 address port
	shift 3
	port=$node-$interface
	ip link add "$interface" netns "$(ns "$node")" type veth \
		peer name "$port" netns "$(ns sw)"
	ip -n "$(ns sw)" link set "$port" master "$bridge" up
	for address; do
		address_add "$node" "$address" "$interface"
	done
	# Frames carry finished checksums, as they would off a real NIC.
	ip netns exec "$(ns "$node")" ethtool -K "$interface" tx off >/dev/null 2>&1 || true
	ip -n "$(ns "$node")" link set "$interface" up
}

address_add() # NODE ADDRESS/LEN INTERFACE
{
	if [[ $2 == *:* ]]; then
		ip -n "$(ns "$1")" address add "$2" dev "$3" nodad
	else
		ip -n "$(ns "$1")" address add "$2" brd + dev "$3"
	fi
}

gateway_route() { ip -n "$(ns "$1")" route replace default via "$2"; }

make_switch()
{
	local bridge
	node_make sw
	for bridge in outside inside dmz cluster cluster2 clients nat site; do
		ip -n "$(ns sw)" link add "$bridge" type bridge mcast_snooping 0 stp_state 0 \
			forward_delay 0
		ip -n "$(ns sw)" link set "$bridge" up
	done
	ip netns exec "$(ns sw)" nft -f - <<-'NFT'
	table bridge lab {
		chain cuts { type filter hook forward priority 0; }
	}
	NFT
}

make_routers()
{
	node_make r1
	node_forwards r1
	cable r1 clients clients 198.51.100.1/24 2001:db8:100::1/64
	cable r1 outside outside 192.0.2.254/24 2001:db8:2::254/64

	node_make n1
	node_forwards n1
	cable n1 clients clients 198.51.100.40/24
	cable n1 nat nat 10.99.0.1/24
	gateway_route n1 198.51.100.1
	ip netns exec "$(ns n1)" nft -f - <<-'NFT'
	table ip nat {
		chain post {
			type nat hook postrouting priority 100;
			oifname "clients" masquerade
		}
	}
	NFT
}

make_member()
{
	local node=$1 host
	host=$((10 + $(node_index "$node")))
	node_make "$node"
	node_forwards "$node"
	cable "$node" outside outside "192.0.2.$host/24" "2001:db8:2::$host/64"
	cable "$node" inside inside "10.1.0.$host/16" "2001:db8:1::$host/64"
	cable "$node" dmz dmz "10.2.0.$host/16"
	cable "$node" cluster cluster "10.9.0.$host/24"
	if ((INTERCONNECTS > 1)); then
		cable "$node" cluster2 cluster2 "10.8.0.$host/24"
	fi
	node_forwards "$node"
	gateway_route "$node" 192.0.2.254
	gateway_route "$node" 2001:db8:2::254
}

make_servers()
{
	node_make s1
	cable s1 eth0 inside $S1/16 $S1_IP6/64
	gateway_route s1 $VIP_INSIDE
	gateway_route s1 $VIP6_INSIDE
	node_make d1
	cable d1 eth0 dmz $D1/16
	gateway_route d1 $VIP_DMZ
}

make_client()
{
	node_make "$1"
	cable "$1" eth0 clients
	if [[ $1 == c4 ]]; then place_client "$1" nat; else place_client "$1" clients; fi
}

# place_client NODE clients|nat: plugs it into that network.
place_client()
{
	local host net=198.51.100 gateway
	host=$((10 + $(node_index "$1")))
	[[ $2 == nat ]] && net=10.99.0
	gateway=$net.1
	ip -n "$(ns sw)" link set "$1-eth0" master "$2"
	ip -n "$(ns "$1")" address flush dev eth0
	address_add "$1" "$net.$host/24" eth0
	gateway_route "$1" "$gateway"
	if [[ $2 == clients ]]; then
		address_add "$1" "2001:db8:100::$host/64" eth0
		gateway_route "$1" 2001:db8:100::1
	fi
	echo "$2" >"$(node_dir "$1")/place"
}

make_peer()
{
	local node host
	for node in $(sites); do
		host=$(node_index "$node")
		node_make "$node"
		node_forwards "$node"
		cable "$node" outside clients "198.51.100.5$host/24" "2001:db8:100::5$host/64"
		cable "$node" inside site "10.5.0.1$host/24"
		node_forwards "$node"
		gateway_route "$node" 198.51.100.1
		gateway_route "$node" 2001:db8:100::1
	done
	node_make h1
	cable h1 eth0 site $H1/24
	gateway_route h1 $VIP_SITE_INSIDE
}
