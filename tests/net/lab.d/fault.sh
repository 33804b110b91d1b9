# SPDX-License-Identifier: GPL-2.0-or-later
# What goes wrong, and its undoing. Sourced.

# signal_all NODE SIGNAL
signal_all()
{
	local pids
	check_node "$1"
	pids=$(node_pids "$1")
	[[ -n $pids ]] || die "nothing runs on $1"
	# shellcheck disable=SC2086
	kill "-$2" $pids
}

# ended PID: its last thread has, and has let go of its files, and so of its locks. That takes
# a while after it has left the node.
ended()
{
	local threads=(/proc/"$1"/task/*) state
	state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
	((${#threads[@]} <= 1)) && [[ ! $state || $state == [XZ] ]]
}

verb_kill()
{
	local pid pids
	(($# == 1)) || die "usage: lab kill NODE"
	check_node "$1"
	pids=$(node_pids "$1")
	signal_all "$1" KILL
	wait_for 10 "the end of $1's processes" node_idle "$1"
	for pid in $pids; do
		wait_for 10 "the end of $1's process $pid" ended "$pid"
	done
}

verb_freeze()
{
	(($# == 1)) || die "usage: lab freeze NODE"
	signal_all "$1" STOP
}

verb_thaw()
{
	(($# == 1)) || die "usage: lab thaw NODE"
	signal_all "$1" CONT
}

verb_revive()
{
	(($# == 1)) || die "usage: lab revive NODE"
	check_node "$1"
	if is_gateway "$1"; then
		gateway_start "$1"
	elif is_client "$1"; then
		die "clients connect with: lab client $1 up"
	else
		die "nothing runs on $1"
	fi
}

# set_ports NODE WHICH up|down
set_ports()
{
	local node=$1 which=$2 port any=0
	check_node "$node"
	[[ $which == all ]] && which='.*'
	for port in $(ip -n "$(ns sw)" -o link show | sed -n "s/^[0-9]*: \($node-[a-z0-9]*\)@.*/\1/p")
	do
		[[ ${port#"$node"-} =~ ^$which$ ]] || continue
		ip -n "$(ns sw)" link set "$port" "$3"
		any=1
	done
	((any)) || die "$node has no such network: $2"
}

verb_unplug()
{
	(($# == 1 || $# == 2)) || die "usage: lab unplug NODE [outside|inside|dmz|cluster|cluster2|all]"
	set_ports "$1" "${2:-all}" down
}

verb_plug()
{
	(($# == 1 || $# == 2)) || die "usage: lab plug NODE [outside|inside|dmz|cluster|cluster2|all]"
	set_ports "$1" "${2:-all}" up
}

verb_partition()
{
	local word left=() right=() side=left a b
	for word; do
		if [[ $word == '|' ]]; then
			[[ $side == left ]] || die "usage: lab partition NODES '|' NODES"
			side=right
			continue
		fi
		check_node "$word"
		if [[ $side == left ]]; then left+=("$word"); else right+=("$word"); fi
	done
	((${#left[@]} && ${#right[@]})) || die "usage: lab partition NODES '|' NODES"
	{
		for a in "${left[@]}"; do
			for b in "${right[@]}"; do
				echo "add rule bridge lab cuts iifname \"$a-*\" oifname \"$b-*\" drop"
				echo "add rule bridge lab cuts iifname \"$b-*\" oifname \"$a-*\" drop"
			done
		done
	} | ip netns exec "$(ns sw)" nft -f -
}

verb_sever()
{
	local port
	(($# == 1)) || die "usage: lab sever NETWORK"
	ip -n "$(ns sw)" link show type bridge dev "$1" >/dev/null 2>&1 ||
		die "no such network: $1"
	for port in $(ip -n "$(ns sw)" -o link show master "$1" |
		sed -n 's/^[0-9]*: \([a-z0-9-]*\)@.*/\1/p'); do
		echo "add rule bridge lab cuts iifname \"$port\" drop"
	done | ip netns exec "$(ns sw)" nft -f -
}

verb_cut()
{
	(($# == 2)) || die "usage: lab cut FROM TO"
	check_node "$1"
	check_node "$2"
	ip netns exec "$(ns sw)" nft -f - <<-NFT
	add rule bridge lab cuts iifname "$1-cluster*" oifname "$2-cluster*" drop
	NFT
}

# Connections between the two take nothing; datagrams pass.
verb_clog()
{
	local a b
	(($# == 2)) || die "usage: lab clog NODE NODE"
	check_node "$1"
	check_node "$2"
	for a in "$1 $2" "$2 $1"; do
		b=${a#* } a=${a% *}
		echo "add rule bridge lab cuts iifname \"$a-cluster*\" oifname \"$b-cluster*\"" \
			"meta l4proto tcp drop"
	done | ip netns exec "$(ns sw)" nft -f -
}

verb_heal()
{
	ip netns exec "$(ns sw)" nft flush chain bridge lab cuts
	ip -n "$(ns sw)" -o link show type veth |
		sed -n 's/^[0-9]*: \([a-z0-9-]*\)@.*/link set \1 up/p' |
		ip -n "$(ns sw)" -batch -
}
