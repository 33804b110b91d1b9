# SPDX-License-Identifier: GPL-2.0-or-later
# Clients and the site g1. Sourced.

# sa_field NODE FIELD...: of the client's only IKE SA, from swanctl's raw output.
sa_raw() { node_run "$1" swanctl --list-sas --raw --ike home 2>/dev/null; }

whack=/usr/libexec/ipsec/whack # libreswan's

client_virtual()
{
	node_run "$1" swanctl --list-sas --raw --ike home 2>/dev/null |
		sed -n 's/.* local-vips=\[\([0-9.]*\).*/\1/p'
}

client_kind()
{
	local kind=$2
	if [[ -z $kind ]]; then
		case $1 in
		g1) kind=site ;;
		c3) kind=ipsec-ip6 ;;
		c4) kind=ipsec-nat ;;
		v2) kind=libreswan ;;
		*) if (($(node_index "$1") % 2)); then kind=ipsec-psk; else kind=ipsec-cert; fi ;;
		esac
	fi
	echo "$kind"
}

verb_client()
{
	local usage="usage: lab client NAME up|down [--kind KIND]" node=${1-} what=${2-} kind=
	(($# == 2 || $# == 4)) || die "$usage"
	if (($# == 4)); then
		[[ $3 == --kind ]] || die "$usage"
		kind=$4
	fi
	kind=$(client_kind "$node" "$kind")
	if [[ $kind == site* ]]; then
		[[ $node == g1 ]] || die "the site is called g1"
		if ! grep -qx g1 "$LAB_DIR/namespaces"; then
			PEER=1
			make_authority "$LAB_DIR/site-ca" g1
			make_peer
			peer_start
			lab_save
		fi
	else
		check_node "$node"
		is_client "$node" || is_guest "$node" || die "$node is no client"
	fi
	case $what in
	up) client_up "$node" "$kind" ;;
	down) client_down "$node" ;;
	*) die "$usage" ;;
	esac
}

# The kinds of clients: ipsec-AUTH, ipsec-AUTH-nat and ipsec-AUTH-ip6, where AUTH is one of
client_auths=' psk cert rsa ed25519 mschapv2 tls radius v1psk v1cert v1xpsk v1xcert v1xradius replace keep '

# client_way KIND: sets auth, place and gateway.
client_way()
{
	place=clients gateway=$VIP_OUTSIDE
	case $1 in
	site) gateway=$VIP_OUTSIDE auth=site ;;
	site-ip6) gateway=$VIP6_OUTSIDE auth=site ;;
	ipsec-nat) auth=cert place=nat ;;
	ipsec-ip6) auth=psk gateway=$VIP6_OUTSIDE ;;
	ipsec-*)
		auth=${1#ipsec-}
		[[ $auth != *-nat ]] || place=nat
		[[ $auth != *-ip6 ]] || gateway=$VIP6_OUTSIDE
		auth=${auth%-nat}
		auth=${auth%-ip6}
		[[ $client_auths == *" $auth "* ]] || die "unknown kind: $1"
		;;
	*) die "unknown kind: $1" ;;
	esac
}

client_up()
{
	local node=$1 kind=$2 auth place gateway
	if is_guest "$node"; then
		guest_client_up "$node" "$kind"
		return
	fi
	client_way "$kind"
	case $kind in
	site) site_reload "$VIP_SITE" "$gateway" ;;
	site-ip6) site_reload "$VIP6_SITE" "$gateway" ;;
	*)
		[[ $auth != *radius ]] || radius_start
		client_down "$node"
		[[ $(cat "$(node_dir "$node")/place") == "$place" ]] ||
			place_client "$node" "$place"
		client_config "$node" "$auth" "$gateway"
		charon_start "$node"
		;;
	esac
	echo "$kind" >"$(node_dir "$node")/kind"
	node_run "$node" swanctl --initiate --child net --timeout 30 --loglevel 1 \
		>>"$(node_dir "$node")/log/initiate.log" 2>&1 ||
		die "$node could not connect: see lab logs $node"
}

# The site's connection, between these two addresses.
site_reload()
{
	local dir
	dir=$(node_dir g1)
	site_connections "$@" >"$dir/swanctl/swanctl.conf"
	node_run g1 swanctl --load-all --noprompt >>"$dir/log/swanctl.log" 2>&1
}

client_down()
{
	if [[ $1 == g1 ]]; then
		node_run g1 swanctl --terminate --ike home --timeout 10 >/dev/null 2>&1 || true
		return 0
	fi
	if node_alive "$1" pluto; then
		node_run "$1" "$whack" --shutdown >/dev/null 2>&1 || true
		node_stop "$1" pluto
	fi
	if node_alive "$1" charon; then
		node_run "$1" swanctl --terminate --ike home --timeout 10 >/dev/null 2>&1 || true
		node_stop "$1" charon
	fi
}
