# SPDX-License-Identifier: GPL-2.0-or-later
# Certificates and configuration files of members and clients. Sourced.

tools_load='random openssl pem pkcs1 pkcs8 x509 pubkey'
lab_psk='0sFpZAZqEN6Ti9sqt4ZP5EWcqx'
lab_password='fourteen words'

# ---- certificates of IKE; the cluster's own authority is clusterctl's

make_pki()
{
	local dir=$LAB_DIR/pki
	mkdir -p "$dir"
	printf 'pki {\n\tload = %s\n}\n' "$tools_load" >"$dir/strongswan.conf"
	ike_pki --gen --type ecdsa --size 256 --outform pem >"$dir/ca.key"
	ike_pki --self --ca --in "$dir/ca.key" --type ecdsa --dn 'C=XX, O=Lab, CN=Lab CA' \
		--lifetime 3650 --outform pem >"$dir/ca.pem"
	issue_cert gateway vpn.example.org
	issue_cert gateway-rsa vpn.example.org rsa
	issue_cert gateway-ed25519 vpn.example.org ed25519
}

ike_pki() { STRONGSWAN_CONF=$LAB_DIR/pki/strongswan.conf pki "$@"; }

# issue_cert NAME SAN [TYPE]: ecdsa, rsa or ed25519. RSA certificates are for many names, so
# that messages with one do not fit in a frame.
issue_cert()
{
	local dir=$LAB_DIR/pki type=${3:-ecdsa} size= names=()
	[[ -s $dir/$1.pem ]] && return 0
	case $type in
	ecdsa) size=256 ;;
	rsa) size=2048 names=(--san={10..49}.many.example.org) ;;
	esac
	# shellcheck disable=SC2086
	ike_pki --gen --type "$type" ${size:+--size $size} --outform pem >"$dir/$1.key"
	ike_pki --pub --in "$dir/$1.key" --type priv --outform pem >"$dir/$1.pub"
	ike_pki --issue --in "$dir/$1.pub" --type pub --cacert "$dir/ca.pem" \
		--cakey "$dir/ca.key" --dn "C=XX, O=Lab, CN=$2" --san "$2" "${names[@]}" --flag serverAuth \
		--lifetime 3650 --outform pem >"$dir/$1.pem"
}

# install_cert NODE [NAME]...
install_cert()
{
	local dir name
	dir=$(node_dir "$1")/swanctl
	cp "$LAB_DIR/pki/ca.pem" "$dir/x509ca/"
	for name in "${@:2}"; do
		cp "$LAB_DIR/pki/$name.pem" "$dir/x509/"
		cp "$LAB_DIR/pki/$name.key" "$dir/private/$name.pem"
	done
}

# ---- strongSwan

# charon_plugins NODE PLUGINS: within the section. A member with Debian's service has all that
# Debian loads, and what `make install` adds to that.
charon_plugins()
{
	if is_service "$1"; then
		cat <<-CONF
			load_modular = yes
			plugins {
				include /usr/share/strongswan/templates/config/plugins/*.conf
			}
		}
		include $top/etc/charon-phalanx.conf
		charon {
		CONF
	else
		cat <<-CONF
			load = $2
			ikesa_table_size = 4096
			processor {
				priority_threads {
					critical = 6
				}
			}
			plugins {
				kernel-netlink {
					roam_events = ${roams:-no}
				}
			}
		CONF
	fi
}

# strongswan_conf NODE PLUGINS [EXTRA]
strongswan_conf()
{
	local dir
	dir=$(node_dir "$1")
	rm -rf "$dir/swanctl"
	mkdir -p "$dir/swanctl"/{x509,x509ca,x509ocsp,x509aa,x509ac,x509crl,pubkey,private} \
		"$dir/swanctl"/{rsa,ecdsa,bliss,pkcs8,pkcs12}
	cat >"$dir/strongswan.conf" <<-CONF
	charon {
		$(charon_plugins "$1" "$2")
		block_threshold = 5
		init_limit_half_open = 200
		${deletes:+delete_rekeyed = yes}
		filelog {
			lab {
				path = $dir/log/charon.log
				append = yes
				time_format = %H:%M:%S
				time_add_ms = yes
				flush_line = yes
				default = 1
				ike = 2
				net = 0
				enc = 1
			}
		}
		plugins {
			$3
		}
	}
	swanctl {
		load = $tools_load
	}
	CONF
}

charon_common='random nonce openssl kdf pem pkcs1 pkcs8 x509 constraints pubkey'
charon_logins='eap-identity eap-mschapv2 eap-tls xauth-generic'

member_strongswan()
{
	local dir
	dir=$(node_dir "$1")
	if ((PLAIN)); then
		strongswan_conf "$1" "$charon_common $charon_logins kernel-libipsec \
			kernel-netlink socket-default vici" ''
	elif is_site "$1"; then
		strongswan_conf "$1" "phalanx $charon_common kernel-netlink vici" ''
	else
		strongswan_conf "$1" "phalanx $charon_common $charon_logins eap-radius \
			updown kernel-netlink vici" \
			"$(radius_client)"
	fi
	if is_site "$1"; then
		site_connections "$VIP_SITE" "$VIP_OUTSIDE" >"$dir/swanctl/swanctl.conf"
	else
		install_cert "$1" gateway gateway-rsa gateway-ed25519
		gateway_connections >"$dir/swanctl/swanctl.conf"
	fi
}

ike_proposals=aes128gcm16-prfsha256-ecp256,aes256gcm16-prfsha384-ecp384
ike_proposals+=,aes128-sha256-ecp256,chacha20poly1305-prfsha512-x25519
ike_proposals+=,aes256-sha384-ecp384,aes256-sha512-ecp521,aes128-sha1-modp2048
esp_proposals=aes128gcm16-esn-noesn,aes256gcm16-esn-noesn,aes128-sha256-esn-noesn
esp_proposals+=,chacha20poly1305-esn-noesn,aes256-sha384-esn-noesn
esp_proposals+=,aes256-sha512-esn-noesn,aes128-sha1-esn-noesn,null-sha256-esn-noesn

# Of gateways and clients, whoever they are.
secrets()
{
	cat <<-CONF
	secrets {
		ike-all {
			secret = $lab_psk
		}
		eap-all {
			secret = $lab_password
		}
	}
	CONF
}

# gateway_login NAME CERTIFICATE REMOTE MOBIKE [SECOND]: a connection of those whose identity
# ends in NAME.example.org, that is, of the kinds of clients called so. Without a certificate
# the gateway has the common key. SECOND: how they authenticate besides. The caller may set
# pool, dpd, unique and protected, too.
gateway_login()
{
	local own="auth = psk" version=2 esp=$esp_proposals
	if [[ $1 == v1* ]]; then
		version=1
		# IKEv1 offers them with or without, not both.
		esp=${esp//-esn-noesn/}
	fi
	[[ $1 != v1*cert ]] || esp="${esp//,/-ecp256,}-ecp256"
	[[ -z $2 ]] || own="auth = pubkey
				certs = $2.pem"
	cat <<-CONF
		$1 {
			version = $version
			mobike = $4
			local_addrs = $VIP_OUTSIDE, $VIP6_OUTSIDE
			proposals = $ike_proposals
			pools = ${pool:-clients, clients6}
			dpd_delay = ${dpd:-30s}
			unique = ${unique:-no}
			local {
				$own
				id = vpn.example.org
			}
			remote {
				$3
				id = *@$1.example.org
			}
			${5:+remote-2 {
				auth = $5
			\}}
			children {
				net {
					local_ts = ${protected:-$INSIDE, $INSIDE6, 10.3.0.0/24, $CLIENTS6}
					esp_proposals = $esp
				}
			}
		}
	CONF
}

# gateway_transport NAME [CERTIFICATE]: as gateway_login, for what goes to the cluster's
# address itself. Clients of L2TP speak IKEv1.
gateway_transport()
{
	local auth=psk version=2 esp=$esp_proposals certs= port=
	if [[ $1 == l2tp* ]]; then
		version=1
		esp=aes128-sha1
		port="local_ts = dynamic[udp/1701]
					remote_ts = dynamic[udp/1701]"
	fi
	if (($# == 2)); then
		auth=pubkey
		certs="certs = $2.pem"
	fi
	cat <<-CONF
		$1 {
			version = $version
			mobike = no
			local_addrs = $VIP_OUTSIDE, $VIP6_OUTSIDE
			proposals = $ike_proposals
			dpd_delay = 30s
			local {
				auth = $auth
				$certs
				id = vpn.example.org
			}
			remote {
				auth = $auth
				id = *@$1.example.org
			}
			children {
				net {
					mode = transport
					$port
					esp_proposals = $esp
				}
			}
		}
	CONF
}

# The same on every member of the cluster.
gateway_connections()
{
	local eap='eap_id = %any
				auth ='
	cat <<-CONF
	connections {
		$(gateway_login psk '' 'auth = psk' no)
		$(unique=replace gateway_login replace '' 'auth = psk' no)
		$(unique=keep gateway_login keep '' 'auth = psk' no)
		$(gateway_login cert gateway 'auth = pubkey' no)
		$(gateway_login rsa gateway-rsa 'auth = pubkey' yes)
		$(gateway_login ed25519 gateway-ed25519 'auth = pubkey' yes)
		$(gateway_login mschapv2 gateway "$eap eap-mschapv2" yes)
		$(gateway_login tls gateway "$eap eap-tls" yes)
		$(gateway_login radius gateway "$eap eap-radius" yes)
		$(gateway_login v1psk '' 'auth = psk' no)
		$(gateway_login v1cert gateway-rsa 'auth = pubkey' no)
		$(gateway_login v1xpsk '' 'auth = psk' no xauth-generic)
		$(gateway_login v1xcert gateway-rsa 'auth = pubkey' no xauth-generic)
		$(gateway_login v1xradius '' 'auth = psk' no xauth-radius)
		$(gateway_transport transport)
		$(gateway_transport l2tp)
		$(gateway_transport l2tp-cert gateway-rsa)
		site {
			version = 2
			mobike = no
			local_addrs = $VIP_OUTSIDE, $VIP6_OUTSIDE
			remote_addrs = $VIP_SITE, $VIP6_SITE
			proposals = $ike_proposals
			dpd_delay = 30s
			local {
				auth = psk
				id = vpn.example.org
			}
			remote {
				auth = psk
				id = site.example.org
			}
			children {
				net {
					local_ts = $INSIDE
					remote_ts = 10.5.0.0/24
					esp_proposals = $esp_proposals
				}
			}
		}
	}
	pools {
		clients {
			addrs = 10.3.0.0/24
		}
		clients6 {
			addrs = $CLIENTS6
		}
	}
	$(secrets)
	CONF
}

# site_connections OWN GATEWAY
site_connections()
{
	cat <<-CONF
	connections {
		home {
			version = 2
			mobike = no
			local_addrs = $1
			remote_addrs = $2
			proposals = $ike_proposals
			local {
				auth = psk
				id = site.example.org
			}
			remote {
				auth = psk
				id = vpn.example.org
			}
			children {
				net {
					local_ts = 10.5.0.0/24
					remote_ts = $INSIDE
					esp_proposals = aes128gcm16
				}
			}
		}
	}
	$(secrets)
	CONF
}

# client_own NODE AUTH: how the client proves who it is. With EAP its device has an identity
# of its own. Where the gateway cares for how often a user is connected, all are the same user.
client_own()
{
	local id=$1@$2.example.org
	case $2 in
	psk | v1psk | v1xpsk | v1xradius) printf 'auth = psk\nid = %s\n' "$id" ;;
	replace | keep) printf 'auth = psk\nid = one-%s@%s.example.org\n' "$2" "$2" ;;
	mschapv2 | radius)
		printf 'auth = eap-mschapv2\nid = device-%s\neap_id = %s\n' "$id" "$id"
		;;
	tls) printf 'auth = eap-tls\nid = %s\ncerts = %s.pem\n' "$id" "$1-tls" ;;
	*) printf 'auth = pubkey\nid = %s\ncerts = %s.pem\n' "$id" "$1-$2" ;;
	esac
}

# client_config NODE AUTH GATEWAY [PLUGIN]: AUTH as the gateway's connections are called.
# The plugin does its ESP. With IKEv1 the client deletes what it has rekeyed. Who comes over
# IPv6 wants an address of both kinds inside.
client_config()
{
	local node=$1 auth=$2 gateway=$3 dir ike esp type=ecdsa roams=no version=2 second=
	local remote=pubkey deletes=yes vips=0.0.0.0 ts=$INSIDE unique=no
	dir=$(node_dir "$node")
	# The rarer logins have ciphers of their own, so that each suite has a client.
	case $auth:$(($(node_index "$node") % 3)) in
	mschapv2:*) ike=chacha20poly1305-prfsha512-x25519 esp=chacha20poly1305 ;;
	tls:*) ike=aes256-sha384-ecp384 esp=aes256-sha384 ;;
	radius:*) ike=aes256-sha512-ecp521 esp=aes256-sha512 ;;
	rsa:*) ike=aes128-sha1-modp2048 esp=aes128-sha1 ;;
	v1xradius:*) ike=aes256-sha512-ecp521 esp=null-sha256 ;;
	*:1) ike=aes128gcm16-prfsha256-ecp256 esp=aes128gcm16 ;;
	*:2) ike=aes256gcm16-prfsha384-ecp384 esp=aes256gcm16 ;;
	*:0) ike=aes128-sha256-ecp256 esp=aes128-sha256 ;;
	esac
	# Userspace ESP has no extended sequence numbers.
	[[ ${4-} != kernel-netlink ]] || esp+=-esn
	# These have MOBIKE at the gateway, too.
	[[ $auth =~ ^(psk|cert|replace|keep|v1) ]] || roams=yes
	if [[ $auth == v1* ]]; then
		version=1
		[[ $auth == v1xradius ]] || ike=aes128-sha256-ecp256
	fi
	[[ $auth != v1x* ]] || second="local-2 {
				auth = xauth
				xauth_id = $node@$auth.example.org
			}"
	case $auth in
	replace | keep) unique=never ;;& # no INITIAL_CONTACT
	*psk | v1xradius | replace | keep) remote=psk ;;
	esac
	if [[ $gateway == *:* ]]; then
		vips+=", ::"
		ts+=", $INSIDE6"
	fi
	strongswan_conf "$node" "$charon_common $charon_logins ${4-kernel-libipsec} \
		kernel-netlink socket-default vici" ''
	case $auth in
	rsa | ed25519) type=$auth ;;&
	v1*cert) type=rsa esp+=-ecp256 ;;&
	cert | tls | rsa | ed25519 | v1*cert)
		issue_cert "$node-$auth" "$node@$auth.example.org" "$type"
		install_cert "$node" "$node-$auth"
		;;
	*psk | replace | keep) ;;
	*) install_cert "$node" ;;
	esac
	cat >"$dir/swanctl/swanctl.conf" <<-CONF
	connections {
		home {
			version = $version
			remote_addrs = $gateway
			vips = $vips
			proposals = $ike
			unique = $unique
			dpd_delay = 20s
			local {
				$(client_own "$node" "$auth")
			}
			$second
			remote {
				auth = $remote
				id = vpn.example.org
			}
			children {
				net {
					remote_ts = $ts
					esp_proposals = $esp
				}
			}
		}
	}
	$(secrets)
	CONF
}
