# SPDX-License-Identifier: GPL-2.0-or-later
# Clients by the thousand: one charon on one node, l1, is all of them. Client number i has the
# i-th address of LOAD_OUTSIDE and the identity ci@load.example.org; its connection is called
# ci. All have userspace ESP. Sourced.

LOAD_OUTSIDE=100.64.0.0/14
LOAD_POOL=10.64.0.0/14
LOAD_MAX=100000

verb_load()
{
	local usage="usage: lab load up N [--parallel P]|down"
	case ${1-} in
	up)
		[[ ${2-} =~ ^[1-9][0-9]*$ ]] && (($2 <= LOAD_MAX)) || die "$usage"
		[[ ${3-} == '' || ${3-} == --parallel && ${4-} =~ ^[1-9][0-9]*$ ]] || die "$usage"
		load_up "$2" "${4:-16}"
		;;
	down) load_down ;;
	*) die "$usage" ;;
	esac
}

# load_up N PARALLEL: they connect, so many at a time; load.json says how fast.
load_up()
{
	local count=$1 parallel=$2 dir
	[[ ! -e $(node_dir l1) ]] || die "there is load already (lab load down ends it)"
	load_make "$count"
	load_members
	dir=$(node_dir l1)
	load_strongswan
	load_secrets >"$dir/swanctl/swanctl.conf"
	load_template >"$dir/connection"
	charon_start l1
	node_run l1 crowd connect /run/charon.vici "$dir/connection" c "${LOAD_OUTSIDE%/*}" \
		"$count" -p "$parallel" -o "$dir/load.json" || die "some clients could not connect: see lab logs l1"
}

load_down()
{
	[[ -e $(node_dir l1) ]] || return 0
	if node_alive l1 charon; then
		kill -KILL "$(cat "$(node_dir l1)/charon.pid")"
		wait_for 5 "the end of charon on l1" node_dead l1 charon || true
	fi
	load_remove
}

load_remove()
{
	local pids
	pids=$(ip netns pids "$(ns l1)")
	# shellcheck disable=SC2086
	[[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
	wait_for 5 "the end of l1" namespace_empty l1 || true
	ip netns del "$(ns l1)"
	ip -n "$(ns r1)" route del "$LOAD_OUTSIDE" || true
	sed -i '/^l1$/d' "$LAB_DIR/namespaces"
	rm -rf "$(node_dir l1)"
}

# load_make N
load_make()
{
	local i first
	first=$(ip_number "${LOAD_OUTSIDE%/*}")
	node_make l1
	cable l1 eth0 clients 198.51.100.60/24
	gateway_route l1 198.51.100.1
	for ((i = 1; i <= $1; i++)); do
		echo "address add $(ip_text $((first + i)))/32 dev eth0"
	done | ip -n "$(ns l1)" -batch -
	ip -n "$(ns r1)" route replace "$LOAD_OUTSIDE" via 198.51.100.60
}

# The members' connection and pool for them, which they keep.
load_members()
{
	local node dir
	for node in $(members); do
		dir=$(node_dir "$node")/swanctl
		[[ ! -e $dir/load.conf ]] || continue
		load_gateway >"$dir/load.conf"
		echo "include load.conf" >>"$dir/swanctl.conf"
		node_alive "$node" charon || continue
		node_run "$node" swanctl --load-all --noprompt \
			>>"$(node_dir "$node")/log/swanctl.log" 2>&1 ||
			die "swanctl --load-all failed on $node: see lab logs $node"
	done
}

load_gateway()
{
	local pool=load dpd=120s protected=10.1.0.0/16
	cat <<-CONF
	connections {
		$(gateway_login load '' 'auth = psk' no)
	}
	pools {
		load {
			addrs = $LOAD_POOL
		}
	}
	CONF
}

load_strongswan()
{
	local dir
	dir=$(node_dir l1)
	strongswan_conf l1 "$charon_common kernel-libipsec kernel-netlink socket-default \
		counters vici" ''
	cat >>"$dir/strongswan.conf" <<-CONF
	charon {
		threads = 32
		reuse_ikesa = no
		filelog {
			lab {
				flush_line = no
				default = 0
				ike = 0
			}
		}
	}
	CONF
}

# The connection of each client, for `crowd connect`.
load_template()
{
	cat <<-CONF
	version = 2
	local_addrs [ %a ]
	remote_addrs [ $VIP_OUTSIDE ]
	vips [ 0.0.0.0 ]
	proposals [ ${ike_proposals%%,*} ]
	dpd_delay = ${LOAD_DPD:-20}
	local {
		auth = psk
		id = l%n@load.example.org
	}
	remote {
		auth = psk
		id = vpn.example.org
	}
	children {
		net {
			remote_ts [ 10.1.0.0/16 ]
			esp_proposals [ aes128gcm16 ]
		}
	}
	CONF
}

# No connection: crowd loads them.
load_secrets()
{
	cat <<-CONF
	connections {
		none {
			remote_addrs = $VIP_OUTSIDE
		}
	}
	$(secrets)
	CONF
}

ip_number()
{
	local a b c d
	IFS=. read -r a b c d <<<"$1"
	echo $((a << 24 | b << 16 | c << 8 | d))
}

ip_text() { printf '%d.%d.%d.%d' $(($1 >> 24)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)); }
