# SPDX-License-Identifier: GPL-2.0-or-later
# The cluster's members, and the lab as a whole. Sourced.

# phalanx_conf NODE: phalanx.conf(5), the same for all members but for paths.
phalanx_conf()
{
	local node=$1 dir authority member host
	dir=$(node_dir "$node")
	authority=$LAB_DIR/ca
	is_site "$node" && authority=$LAB_DIR/site-ca
	set_of '' certificate "\"$authority/$node.crt\"" key "\"$authority/$node.key\"" \
		authority "\"$authority/ca.crt\"" state-directory "\"$dir/state\"" \
		run-directory '"/run/phalanx"' mode "$MODE" log-level debug
	if is_site "$node"; then
		for member in $(sites); do
			host=$(node_index "$member")
			printf 'member "%s" {\n\tid = %d\n\taddress = "10.5.0.1%d"\n}\n' \
				"$member" "$host" "$host"
		done
		phalanx_network outside outside "$VIP_SITE" "$VIP6_SITE"
		phalanx_network inside inside "$VIP_SITE_INSIDE"
	else
		for member in $(members); do
			host=$(node_index "$member")
			printf 'member "%s" {\n\tid = %d\n\taddress = %s\n}\n' \
				"$member" "$host" "$(member_address $((10 + host)))"
		done
		probe='"192.0.2.254"' phalanx_network outside outside "$VIP_OUTSIDE" "$VIP6_OUTSIDE"
		phalanx_network inside inside "$VIP_INSIDE" "$VIP6_INSIDE"
		phalanx_network dmz dmz "$VIP_DMZ" "$VIP_DMZ2"
	fi
	echo "ipsec {"
	set_of ipsec socket '"/run/phalanx/charon.sock"'
	echo "}"
	for member in interconnect tunnel; do
		echo "$member {"
		set_of $member
		echo "}"
	done
}

# member_address HOST: on the interconnect, or on both.
member_address()
{
	if ((INTERCONNECTS > 1)); then
		echo "{\"10.9.0.$1\", \"10.8.0.$1\"}"
	else
		echo "\"10.9.0.$1\""
	fi
}

# phalanx_network NAME INTERFACE ADDRESS...: of its hosts, $probe are watched.
phalanx_network()
{
	local address list=
	for address in "${@:3}"; do list+="${list:+, }\"$address\""; done
	printf 'network "%s" {\n\tinterface = "%s"\n\taddresses = { %s }\n' "$1" "$2" "$list"
	[[ -z ${probe-} ]] || printf '\tprobe = { %s }\n' "$probe"
	echo '}'
}

# set_of SECTION [KEY VALUE]...: these, as overridden and followed by the user's --set.
set_of()
{
	local section=$1 key set
	local -A value=()
	shift
	while (($#)); do
		value[$1]=$2
		shift 2
	done
	for set in "${SETS[@]}"; do
		key=${set%%=*}
		if [[ -z $section && $key != *.* ]]; then
			value[$key]=${set#*=}
		elif [[ -n $section && $key == "$section".* ]]; then
			value[${key#*.}]=${set#*=}
		fi
	done
	for key in "${!value[@]}"; do
		printf '%s = %s\n' "$key" "${value[$key]}"
	done | sort
}

# make_authority DIRECTORY MEMBER...: a cluster's own, and its members' certificates.
make_authority()
{
	local dir=$1 node
	"$(program clusterctl)" ca init "$dir" >"$dir.log" 2>&1 ||
		die "clusterctl ca init: $(cat "$dir.log")"
	for node in "${@:2}"; do
		"$(program clusterctl)" cert issue "$dir" "$node" \
			--id "$(node_index "$node")" >>"$dir.log" 2>&1 ||
			die "clusterctl cert issue: $(cat "$dir.log")"
	done
}

program()
{
	local dir
	for dir in "$BUILD" "$BUILD/src"; do
		if [[ -x $dir/$1 ]]; then
			echo "$dir/$1"
			return
		fi
	done
	die "no $1 in the build tree $BUILD (make, or set BUILD)"
}

# Debian's plugins and ours, mounted over Debian's folder in every node.
gather_plugins()
{
	cp -a /usr/lib/ipsec/plugins "$LAB_DIR/plugins"
	((PLAIN)) && return
	[[ -e $BUILD/.libs/libstrongswan-phalanx.so ]] ||
		die "no charon plugin in the build tree $BUILD"
	cp -L "$BUILD/.libs/libstrongswan-phalanx.so" "$LAB_DIR/plugins/"
}

phalanxd_up() { node_run "$1" clusterctl status --json; }

phalanxd_settled() { node_dead "$1" phalanxd || phalanxd_up "$1"; }

# gateway_start NODE: phalanxd and charon, whichever does not run.
gateway_start()
{
	local node=$1 dir
	dir=$(node_dir "$node")
	if ((!PLAIN)) && ! node_alive "$node" phalanxd; then
		mkdir -p "$dir/state"
		phalanxd_start "$node"
	fi
	if ! node_alive "$node" charon; then
		charon_start "$node"
	fi
}

phalanxd_start()
{
	local dir
	dir=$(node_dir "$1")
	phalanx_conf "$1" >"$dir/phalanx.conf"
	node_run "$1" mkdir -p /run/phalanx
	node_spawn "$1" phalanxd "$(program phalanxd)" -f -c "$dir/phalanx.conf"
	# Once up, it may start again at once, with another member's configuration.
	wait_for 15 "phalanxd on $1" phalanxd_settled "$1" && ! node_dead "$1" phalanxd ||
		die "phalanxd does not work on $1: see lab logs $1"
}

plain_start()
{
	ip -n "$(ns m1)" address add "$VIP_OUTSIDE"/24 dev outside
	ip -n "$(ns m1)" address add "$VIP_INSIDE"/16 dev inside
	ip -n "$(ns m1)" address add "$VIP6_OUTSIDE"/64 dev outside nodad
	ip -n "$(ns m1)" address add "$VIP6_INSIDE"/64 dev inside nodad
	ip -n "$(ns m1)" address add "$VIP_DMZ"/16 dev dmz
	charon_start m1
}

peer_start()
{
	local node
	for node in $(sites); do
		member_strongswan "$node"
		gateway_start "$node"
	done
}

# A member that answers, the lowest first.
living_member()
{
	local node
	for node in $(members); do
		if [[ $(process_state "$node" phalanxd) == up ]] &&
			node_run "$node" timeout 10 clusterctl status --json >/dev/null 2>&1
		then
			echo "$node"
			return
		fi
	done
	return 1
}

verb_owner()
{
	local member
	(($# == 1)) || die "usage: lab owner CLIENT"
	check_node "$1"
	member=$(living_member) || die "no member answers"
	session_of "$1" "$member" .owner
}

# session_of CLIENT MEMBER FIELD: of the client's session, as that member knows it.
session_of()
{
	local user virtual
	virtual=$(client_virtual "$1" || true)
	case $1 in
	g1) user=site.example.org ;;
	*) user=$1@ ;;
	esac
	node_run "$2" clusterctl sessions --json | jq -er --arg user "$user" \
		--arg virtual "${virtual:-none}" \
		"first(.sessions[] | select((.virtual_address | split(\"/\")[0] == \$virtual)
			or (.user | startswith(\$user)))) | $3" ||
		die "no session of $1"
}

verb_up()
{
	local node
	MODE=multicast MEMBERS=3 CLIENTS=4 PEER=0 PLAIN=0 INTERCONNECTS=1 ACCOUNTING=0 SETS=()
	BUILD=${BUILD:-$top/build}
	while (($#)); do
		case $1 in
		--members | --clients | --mode | --interconnects | --set | --peers) (($# >= 2)) || die "$1 needs a value" ;;&
		--members) MEMBERS=$2 && shift ;;
		--clients) CLIENTS=$2 && shift ;;
		--mode) MODE=$2 && shift ;;
		--interconnects) INTERCONNECTS=$2 && shift ;;
		--set) SETS+=("$2") && shift ;;
		--peer) PEER=1 ;;
		--peers) PEER=$2 && shift ;;
		--plain) PLAIN=1 MEMBERS=1 ;;
		--accounting) ACCOUNTING=1 ;;
		*) usage >&2 && die "unknown option: $1" ;;
		esac
		shift
	done
	up_check
	mkdir "$LAB_DIR" || die "another lab comes up in $LAB_DIR"
	# A test's lab is nobody's when the test is dead.
	[[ -z ${LAB_MAKER-} ]] || echo "$LAB_MAKER" >"$LAB_DIR/maker"
	mkdir "$LAB_DIR/nodes" "$LAB_DIR/captures"
	BUILD=$(realpath "$BUILD")
	: >"$LAB_DIR/namespaces"
	lab_save
	gather_plugins
	abreast make_pki
	((PLAIN)) || abreast make_authority "$LAB_DIR/ca" $(members)
	((PLAIN || !PEER)) || abreast make_authority "$LAB_DIR/site-ca" $(sites)
	up_networks
	abreast_done
	up_members
}

up_check()
{
	local set
	((EUID == 0)) || die "must be root"
	[[ $MEMBERS =~ ^([1-9]|[12][0-9]|3[0-2])$ ]] || die "--members: 1 to 32"
	[[ $INTERCONNECTS =~ ^[12]$ ]] || die "--interconnects: 1 or 2"
	[[ $PEER =~ ^[012]$ ]] || die "--peers: 0, 1 or 2"
	[[ $CLIENTS =~ ^([0-9]|[1-9][0-9])$ ]] || die "--clients: 0 to 99"
	case $MODE in
	multicast | unicast | forwarding) ;;
	*) die "--mode: multicast, unicast or forwarding" ;;
	esac
	for set in "${SETS[@]}"; do
		[[ $set =~ ^[a-z.-]+=.+ ]] || die "--set KEY=VALUE, not $set"
	done
	need ip nft nsenter unshare ethtool swanctl pki jq
	[[ -x $charon_bin && -x $charon_service_bin ]] || die "strongSwan's charons are not installed"
	[[ ! -e $LAB_DIR ]] || die "a lab is up in $LAB_DIR (lab down ends it)"
	((PLAIN)) || program phalanxd >/dev/null
}

up_networks()
{
	local node
	make_switch
	abreast make_routers
	abreast make_servers
	for node in $(members); do abreast make_member "$node"; done
	for node in $(clients); do abreast make_client "$node"; done
	if ((PEER)); then abreast make_peer; fi
	if ((ACCOUNTING)); then abreast radius_start; fi
}

up_members()
{
	local node
	for node in $(members); do member_strongswan "$node"; done
	if ((PLAIN)); then
		plain_start
		return
	fi
	for node in $(members); do abreast gateway_start "$node"; done
	((PEER)) && abreast peer_start
	abreast_done
	wait_for 20 "the cluster" cluster_complete "$MEMBERS" ||
		die "the members did not join: see lab logs and lab status"
}

# cluster_complete N: N members, all with the whole state, and every unit owned.
cluster_complete()
{
	local member
	member=$(living_member) || return 1
	node_run "$member" clusterctl status --json | jq -e --argjson n "$1" '
		([.members[] | select(.present and .complete and .able)] | length == $n) and
			.units.without_owner == 0'
}

verb_down()
{
	local node pids
	for node in $(node_list | tac); do
		pids=$(ip netns pids "$(ns "$node")" 2>/dev/null || true)
		# shellcheck disable=SC2086
		[[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
	done
	for node in $(node_list | tac); do
		wait_for 10 "the end of $node" namespace_empty "$node" || true
		ip netns del "$(ns "$node")" 2>/dev/null || true
	done
	rm -rf "$LAB_DIR"
}

# The labs of dead makers. Two who do this at once do not do it to the same lab.
verb_sweep()
{
	local dir prefix
	for dir in /run/phalanx-lab /run/phalanx-lab.*; do
		[[ -s $dir/maker ]] || continue
		prefix=${dir#/run/phalanx-lab}
		(
			flock -n 9 || exit 0
			maker_dead "$(cat "$dir/maker")" || exit 0
			LAB_PREFIX=${prefix#.} LAB_DIR=$dir
			LAB_PREFIX=${LAB_PREFIX:-phx}
			verb_down
		) 9<"$dir/maker"
	done
}

namespace_empty() { [[ -z $(ip netns pids "$(ns "$1")" 2>/dev/null) ]]; }
