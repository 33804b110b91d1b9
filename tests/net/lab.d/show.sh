# SPDX-License-Identifier: GPL-2.0-or-later
# What people and tests ask the lab. Sourced.

verb_logs()
{
	local file
	(($# == 1)) || die "usage: lab logs NODE"
	check_node "$1"
	for file in "$(node_dir "$1")"/log/*.log; do
		[[ -s $file ]] || continue
		echo "==> ${file##*/} <=="
		cat "$file"
	done
}

verb_env()
{
	local client virtual host
	cat <<-ENV
	LAB_DIR=$LAB_DIR
	BUILD=$BUILD
	MODE=$MODE
	PEER=$PEER
	INTERCONNECTS=$INTERCONNECTS
	MEMBERS='$(members | xargs)'
	CLIENTS='$(clients | xargs)'
	VIP_OUTSIDE=$VIP_OUTSIDE
	VIP_INSIDE=$VIP_INSIDE
	VIP_DMZ=$VIP_DMZ
	VIP_DMZ2=$VIP_DMZ2
	VIP6_OUTSIDE=$VIP6_OUTSIDE
	VIP6_INSIDE=$VIP6_INSIDE
	VIP_SITE=$VIP_SITE
	VIP6_SITE=$VIP6_SITE
	S1=$S1
	S1_IP6=$S1_IP6
	D1=$D1
	H1=$H1
	ENV
	for client in $(clients); do
		host=$(ip -n "$(ns "$client")" -o -4 address show dev eth0 |
			sed -n 's/.*inet \([0-9.]*\).*/\1/p')
		echo "${client^^}_ADDRESS=$host"
		virtual=$(client_virtual "$client") || true
		[[ -z $virtual ]] || echo "${client^^}_VIRTUAL=$virtual"
	done
}

verb_status()
{
	local node virtual
	printf 'mode %s, build %s\n\n' "$MODE" "$BUILD"
	printf '%-5s %-9s %-9s %s\n' node phalanxd charon ''
	for node in $(members) $(sites); do
		printf '%-5s %-9s %-9s\n' "$node" "$(process_state "$node" phalanxd)" \
			"$(process_state "$node" charon)"
	done
	for node in $(clients); do
		virtual=$(client_virtual "$node" || true)
		printf '%-5s %-9s %-9s %s\n' "$node" - "$(process_state "$node" charon)" \
			"${virtual:+virtual address $virtual}"
	done
	((PLAIN)) && return
	if node=$(living_member); then
		printf '\n'
		node_run "$node" clusterctl status
	fi
}

process_state()
{
	local pid
	if ! node_alive "$1" "$2"; then
		echo down
		return
	fi
	pid=$(cat "$(node_dir "$1")/$2.pid")
	if grep -q '^State:.*T' "/proc/$pid/status"; then echo frozen; else echo up; fi
}
