# SPDX-License-Identifier: GPL-2.0-or-later
# Clients with the IPsec of a Debian kernel, v1, v2 and so on: network namespaces of one
# small virtual machine, since this machine's kernel may have no ESP. Sourced.
#
# The machine's processor is emulated, so it is slow. It runs this machine's programs: its
# root is this machine's, with a tree laid over it (see guest/kernel). Each client has an
# interface of its own, which is a port of the switch as any other's. A further one leads
# to the lab alone.

GUESTS_MAX=6
guest_lab=169.254.77.1 guest_self=169.254.77.2

is_guest() { [[ $1 =~ ^v[1-9]$ ]]; }
guests()
{
	local i
	for ((i = 1; i <= ${GUESTS:-0}; i++)); do echo "v$i"; done
}

# guest_name N: of the machine's interfaces, the lab's own first.
guest_name() { if (($1)); then echo "v$1"; else echo vm; fi; }

# Words before a command that is to run in the virtual machine.
guest_prefix()
{
	guest_words=(nsenter "--net=/run/netns/$(ns sw)"
		"$BUILD/tests/net/tools/guest" run "$guest_self" 7)
}

guest_do()
{
	local guest_words
	guest_prefix
	"${guest_words[@]}" "$@"
}

verb_guests()
{
	case ${1-} in
	up) guests_up "${2:-1}" ;;
	down) guests_down ;;
	*) die "usage: lab guests up [N]|down" ;;
	esac
}

guests_up()
{
	local tree i
	[[ $1 =~ ^[1-$GUESTS_MAX]$ ]] || die "guests: 1 to $GUESTS_MAX"
	((${GUESTS:-0} == 0)) || die "the virtual machine runs already"
	tree=$("$here/guest/kernel" "${PHALANX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/phalanx}") || # and it has said why
		exit 77
	guest_image "$tree"
	for ((i = 0; i <= GUESTS_MAX; i++)); do
		guest_port "$(guest_name "$i")"
	done
	ip -n "$(ns sw)" address replace $guest_lab/30 dev vm-eth0
	guest_start "$tree"
	wait_for 30 "the virtual machine" guest_up_or_gone && guest_do true ||
		die "the virtual machine does not start: $(tail -n 5 "$LAB_DIR/guest/console")"
	GUESTS=$1
	lab_save
	for ((i = 1; i <= GUESTS; i++)); do abreast guest_make "v$i"; done
	abreast_done
}

guest_up_or_gone()
{
	! kill -0 "$(<"$LAB_DIR/guest/pid")" 2>/dev/null || timeout 10 bash -c 'exec "$@"' answer \
		nsenter "--net=/run/netns/$(ns sw)" "$BUILD/tests/net/tools/guest" run "$guest_self" 7 true
}

guest_port() # NODE
{
	local port=$1-eth0
	ip netns exec "$(ns sw)" ip tuntap add dev "$port" mode tap
	[[ $1 == vm ]] || ip -n "$(ns sw)" link set "$port" master clients
	ip -n "$(ns sw)" link set "$port" up
}

# guest_image TREE: the first file system in memory.
guest_image()
{
	local dir=$LAB_DIR/guest version modules
	version=$(<"$1/complete") modules=$1/root/usr/lib/modules/$version
	mkdir -p "$dir/image/bin" "$dir/image/modules"
	cp "$(command -v busybox)" "$dir/image/bin/busybox"
	cp "$here/guest/init" "$dir/image/init"
	for module in virtio_pci virtio_net 9pnet_virtio 9p overlay; do
		modprobe -d "$1/root/usr" -S "$version" --show-depends "$module"
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$dir/needed"
	[[ -s $dir/needed ]] || die "no modules in $modules"
	xargs -a "$dir/needed" cp -t "$dir/image/modules"
	sed 's|.*/||' "$dir/needed" >"$dir/image/modules/order"
	(cd "$dir/image" && find . | cpio -o -H newc --quiet) >"$dir/image.cpio"
	rm -rf "$dir/image"
}

# guest_start TREE
guest_start()
{
	local dir=$LAB_DIR/guest i words
	words=(-name guest -machine "q35,accel=tcg" -cpu max -smp 1 -m 768 -nodefaults
		-no-user-config -display none -no-reboot -kernel "$1/vmlinux"
		-initrd "$dir/image.cpio" -serial "file:$dir/console"
		-device virtio-rng-pci
		-append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable no_timer_check
			random.trust_cpu=on net.ifnames=0 begin=$here/guest/begin
			agent=$BUILD/tests/net/tools/guest lab=$LAB_DIR
			address=$guest_self/30"
		-fsdev "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
		-device "virtio-9p-pci,fsdev=host,mount_tag=host"
		-fsdev "local,id=tree,path=$1/root,security_model=none,readonly=on,multidevs=remap"
		-device "virtio-9p-pci,fsdev=tree,mount_tag=tree"
		-fsdev "local,id=lab,path=$LAB_DIR,security_model=none,multidevs=remap"
		-device "virtio-9p-pci,fsdev=lab,mount_tag=lab")
	# Frames carry finished checksums and are no longer than the network allows.
	for ((i = 0; i <= GUESTS_MAX; i++)); do
		words+=(-netdev "tap,id=n$i,ifname=$(guest_name $i)-eth0,script=no,downscript=no"
			-device "virtio-net-pci,netdev=n$i,romfile=,mac=52:54:00:00:77:0$i,csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,host_tso4=off,host_tso6=off,host_ufo=off")
	done
	setsid ip netns exec "$(ns sw)" qemu-system-x86_64 "${words[@]}" </dev/null \
		>"$dir/qemu.log" 2>&1 &
	echo $! >"$dir/pid"
}

# guest_make NODE: its network namespace in the machine.
guest_make()
{
	local node=$1 dir
	dir=$(node_dir "$node")
	mkdir -p "$dir/log"
	echo clients >"$dir/place"
	guest_do sh -e -c '
		ip netns add "$1"
		ip link set "$2" netns "$1" name eth0
		ip -n "$1" link set lo up
		for i in all default eth0; do
			ip netns exec "$1" sh -c "echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad"
		done
		ip -n "$1" link set eth0 up' make "$node" "eth$(node_index "$node")" ||
		die "no namespace for $node"
	guest_do setsid ip netns exec "$node" unshare --mount sh -e -c '
		cd "$1"
		mount -t tmpfs -o mode=755 tmpfs /run
		mkdir -p "$1" /run/lock
		mount --no-canonicalize --bind . "$1"
		echo $$ >"$2"
		exec sleep infinity' hold "$LAB_DIR" "$dir/holder" </dev/null \
		>"$dir/log/hold.log" 2>&1 &
	wait_for 20 "$node" test -s "$dir/holder" || die "no $node"
	guest_place "$node" clients
}

# guest_place NODE clients|nat: as place_client.
guest_place()
{
	local node=$1 host net=198.51.100 gateway more=
	host=$((60 + $(node_index "$node")))
	[[ $2 == nat ]] && net=10.99.0
	gateway=$net.1
	[[ $2 == nat ]] || more="ip address add 2001:db8:100::$host/64 dev eth0 nodad
		ip -6 route replace default via 2001:db8:100::1"
	ip -n "$(ns sw)" link set "$node-eth0" master "$2"
	node_run "$node" sh -e -c "ip address flush dev eth0
		ip address add $net.$host/24 brd + dev eth0
		ip route replace default via $gateway
		$more"
	echo "$2" >"$(node_dir "$node")/place"
}

guests_down()
{
	local i pid
	pid=$(cat "$LAB_DIR/guest/pid" 2>/dev/null || true)
	[[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
	for ((i = 0; i <= GUESTS_MAX; i++)); do
		ip -n "$(ns sw)" link del "$(guest_name $i)-eth0" 2>/dev/null || true
	done
	for i in $(guests); do rm -rf "$(node_dir "$i")"; done
	rm -rf "$LAB_DIR/guest"
	GUESTS=0
	lab_save
}

# guest_client_up NODE KIND: psk, cert, libreswan, transport, l2tp, l2tp-cert,
# l2tp-libreswan; or the same behind a NAT, with -nat at the end.
guest_client_up()
{
	local node=$1 kind=${2%-nat} place=clients
	[[ $2 != *-nat ]] || place=nat
	client_down "$node"
	[[ $(<"$(node_dir "$node")/place") == "$place" ]] || guest_place "$node" "$place"
	case ${kind#ipsec-} in
	psk | cert) client_config "$node" "${kind#ipsec-}" "$VIP_OUTSIDE" kernel-netlink ;;
	transport | l2tp | l2tp-cert) transport_config "$node" "$kind" ;;
	libreswan | l2tp-libreswan) libreswan_up "$node" "$kind" && return ;;
	*) die "unknown kind: $2 (ipsec-psk, ipsec-cert, transport, libreswan, l2tp, l2tp-cert or l2tp-libreswan, and these with -nat)" ;;
	esac
	charon_start "$node"
	node_run "$node" swanctl --initiate --child net --timeout 120 --loglevel 1 \
		>>"$(node_dir "$node")/log/initiate.log" 2>&1 ||
		die "$node could not connect: see lab logs $node"
}

# transport_config NODE KIND: all that goes between it and the cluster's address itself; or
# L2TP, by IKEv1.
transport_config()
{
	local dir auth=psk version=2 certs='' port='' ike=aes128gcm16-prfsha256-ecp256
	local esp=aes128-sha256
	dir=$(node_dir "$1")
	if [[ $2 == l2tp* ]]; then
		version=1 ike=aes128-sha256-ecp256 esp=aes128-sha1
		port="local_ts = dynamic[udp/1701]
					remote_ts = dynamic[udp/1701]"
	fi
	strongswan_conf "$1" "$charon_common kernel-netlink socket-default vici" ''
	if [[ $2 == *cert ]]; then
		auth=pubkey
		certs="certs = $1-$2.pem"
		issue_cert "$1-$2" "$1@$2.example.org" rsa
		install_cert "$1" "$1-$2"
	fi
	cat >"$dir/swanctl/swanctl.conf" <<-CONF
	connections {
		home {
			version = $version
			remote_addrs = $VIP_OUTSIDE
			proposals = $ike
			local {
				auth = $auth
				id = $1@$2.example.org
				$certs
			}
			remote {
				auth = $auth
				id = vpn.example.org
			}
			children {
				net {
					mode = transport
					$port
					esp_proposals = $esp
				}
			}
		}
	}
	$(secrets)
	CONF
}

# What it wants as a client of L2TP, and else.
libreswan_l2tp()
{
	cat <<-CONF
	    ikev2=no
	    type=transport
	    leftid=$1@l2tp.example.org
	    leftprotoport=17/1701
	    rightprotoport=17/1701
	    ike=aes128-sha1-dh14
	    esp=aes128-sha1
	    pfs=no
	CONF
}

libreswan_tunnel()
{
	cat <<-CONF
	    ikev2=insist
	    leftid=$1@psk.example.org
	    leftmodecfgclient=yes
	    leftsubnet=0.0.0.0/0
	    rightsubnet=10.1.0.0/16
	    narrowing=yes
	    ike=aes_gcm128-sha2_256-dh19
	    esp=aes_gcm128
	CONF
}

# libreswan_config NODE KIND
libreswan_config()
{
	local dir what=tunnel
	dir=$(node_dir "$1")/libreswan
	[[ $2 != l2tp* ]] || what=l2tp
	mkdir -p "$dir"
	cat >"$dir/ipsec.conf" <<-CONF
	config setup
	    uniqueids=yes
	    ikev1-policy=accept
	conn home
	    authby=secret
	    left=%defaultroute
	    leftupdown="ipsec.libreswan _updown"
	    right=$VIP_OUTSIDE
	    rightid=@vpn.example.org
	$(libreswan_$what "$1")
	    dpddelay=20
	    dpdtimeout=120
	    dpdaction=restart
	    retransmit-interval=500
	    retransmit-timeout=180
	    auto=ignore
	CONF
	printf ': PSK 0x%s\n' "$(base64 -d 2>/dev/null <<<"${lab_psk#0s}" | od -An -tx1 |
		tr -d ' \n')" >"$dir/ipsec.secrets"
}

# libreswan_up NODE KIND
libreswan_up()
{
	local node=$1 dir
	dir=$(node_dir "$1")/libreswan
	libreswan_config "$node" "$2"
	# Its database is not on the lab's own file system, which cannot lock.
	node_run "$node" sh -e -c 'mkdir -p /run/pluto
		rm -rf /run/nss
		mkdir /run/nss
		certutil -N -d sql:/run/nss --empty-password' || die "no database for libreswan"
	node_spawn "$node" pluto /usr/libexec/ipsec/pluto --nofork --stderrlog --config \
		"$dir/ipsec.conf" --secretsfile "$dir/ipsec.secrets" --nssdir /run/nss \
		--rundir /run/pluto
	wait_for 20 "pluto on $node" pluto_up "$node" || die "see lab logs $node"
	node_run "$node" /usr/libexec/ipsec/addconn --config "$dir/ipsec.conf" \
		--ctlsocket /run/pluto/pluto.ctl home >>"$dir/../log/initiate.log" 2>&1 ||
		die "libreswan takes no connection: see lab logs $node"
	node_run "$node" timeout 120 "$whack" --initiate --name home \
		>>"$dir/../log/initiate.log" 2>&1 || die "$node could not connect: see lab logs $node"
}

pluto_up() { node_run "$1" "$whack" --status; }
