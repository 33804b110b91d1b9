# SPDX-License-Identifier: GPL-2.0-or-later
# Certificates and configuration files of members and clients. Sourced.

tools_load='random openssl pem pkcs1 pkcs8 x509 pubkey'
lab_psk='0sFpZAZqEN6Ti9sqt4ZP5EWcqx'

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
}

ike_pki() { STRONGSWAN_CONF=$LAB_DIR/pki/strongswan.conf pki "$@"; }

# issue_cert NAME SAN
issue_cert()
{
	local dir=$LAB_DIR/pki
	[[ -s $dir/$1.pem ]] && return 0
	ike_pki --gen --type ecdsa --size 256 --outform pem >"$dir/$1.key"
	ike_pki --pub --in "$dir/$1.key" --type ecdsa --outform pem >"$dir/$1.pub"
	ike_pki --issue --in "$dir/$1.pub" --type pub --cacert "$dir/ca.pem" \
		--cakey "$dir/ca.key" --dn "C=XX, O=Lab, CN=$2" --san "$2" --flag serverAuth \
		--lifetime 3650 --outform pem >"$dir/$1.pem"
}

# install_cert NODE [NAME]
install_cert()
{
	local dir
	dir=$(node_dir "$1")/swanctl
	cp "$LAB_DIR/pki/ca.pem" "$dir/x509ca/"
	[[ $# == 2 ]] || return 0
	cp "$LAB_DIR/pki/$2.pem" "$dir/x509/"
	cp "$LAB_DIR/pki/$2.key" "$dir/private/$2.pem"
}

# ---- strongSwan

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
		load = $2
		ikesa_table_size = 4096
		ikesa_table_segments = 16
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
				enc = 0
			}
		}
		plugins {
			kernel-netlink {
				roam_events = no
			}
			$3
		}
	}
	swanctl {
		load = $tools_load
	}
	CONF
}

charon_common='random nonce openssl kdf pem pkcs1 pkcs8 x509 constraints pubkey'

member_strongswan()
{
	local dir
	dir=$(node_dir "$1")
	if ((PLAIN)); then
		strongswan_conf "$1" "$charon_common kernel-libipsec kernel-netlink \
			socket-default vici" ''
	else
		strongswan_conf "$1" "phalanx $charon_common kernel-netlink vici" \
			"phalanx { socket = $(charon_socket "$1") }"
	fi
	install_cert "$1" gateway
	if [[ $1 == g1 ]]; then
		site_connections "$VIP_SITE" "$VIP_OUTSIDE" >"$dir/swanctl/swanctl.conf"
	else
		gateway_connections >"$dir/swanctl/swanctl.conf"
	fi
}

ike_proposals=aes128gcm16-prfsha256-ecp256,aes256gcm16-prfsha384-ecp384
ike_proposals+=,aes128-sha256-ecp256
esp_proposals=aes128gcm16,aes256gcm16,aes128-sha256

# The same on every member of the cluster.
gateway_connections()
{
	cat <<-CONF
	connections {
		psk {
			version = 2
			mobike = no
			local_addrs = $VIP_OUTSIDE, $VIP6_OUTSIDE
			proposals = $ike_proposals
			pools = clients
			dpd_delay = 30s
			local {
				auth = psk
				id = vpn.example.org
			}
			remote {
				auth = psk
				id = *@psk.example.org
			}
			children {
				net {
					local_ts = 10.1.0.0/16, 10.3.0.0/24
					esp_proposals = $esp_proposals
				}
			}
		}
		cert {
			version = 2
			mobike = no
			local_addrs = $VIP_OUTSIDE, $VIP6_OUTSIDE
			proposals = $ike_proposals
			pools = clients
			dpd_delay = 30s
			local {
				auth = pubkey
				certs = gateway.pem
				id = vpn.example.org
			}
			remote {
				auth = pubkey
				id = *@cert.example.org
			}
			children {
				net {
					local_ts = 10.1.0.0/16, 10.3.0.0/24
					esp_proposals = $esp_proposals
				}
			}
		}
		transport {
			version = 2
			mobike = no
			local_addrs = $VIP_OUTSIDE, $VIP6_OUTSIDE
			proposals = $ike_proposals
			dpd_delay = 30s
			local {
				auth = psk
				id = vpn.example.org
			}
			remote {
				auth = psk
				id = *@transport.example.org
			}
			children {
				net {
					mode = transport
					esp_proposals = $esp_proposals
				}
			}
		}
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
					local_ts = 10.1.0.0/16
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
	}
	secrets {
		ike-all {
			secret = $lab_psk
		}
	}
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
					remote_ts = 10.1.0.0/16
					esp_proposals = aes128gcm16
				}
			}
		}
	}
	secrets {
		ike-all {
			secret = $lab_psk
		}
	}
	CONF
}

# client_config NODE psk|cert GATEWAY [PLUGIN]: which does its ESP.
client_config()
{
	local node=$1 auth=$2 gateway=$3 dir ike esp own
	dir=$(node_dir "$node")
	case $(($(node_index "$node") % 3)) in
	1) ike=aes128gcm16-prfsha256-ecp256 esp=aes128gcm16 ;;
	2) ike=aes256gcm16-prfsha384-ecp384 esp=aes256gcm16 ;;
	0) ike=aes128-sha256-ecp256 esp=aes128-sha256 ;;
	esac
	strongswan_conf "$node" "$charon_common ${4-kernel-libipsec} kernel-netlink \
		socket-default vici" ''
	if [[ $auth == cert ]]; then
		issue_cert "$node" "$node@cert.example.org"
		install_cert "$node" "$node"
		own="auth = pubkey
				certs = $node.pem"
	else
		own="auth = psk"
	fi
	cat >"$dir/swanctl/swanctl.conf" <<-CONF
	connections {
		home {
			version = 2
			remote_addrs = $gateway
			vips = 0.0.0.0
			proposals = $ike
			dpd_delay = 20s
			local {
				$own
				id = $node@$auth.example.org
			}
			remote {
				auth = ${auth/cert/pubkey}
				id = vpn.example.org
			}
			children {
				net {
					remote_ts = 10.1.0.0/16
					esp_proposals = $esp
				}
			}
		}
	}
	secrets {
		ike-all {
			secret = $lab_psk
		}
	}
	CONF
}
