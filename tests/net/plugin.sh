#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Tests charon's plugin alone, against real strongSwan clients. `fakephalanx` plays phalanxd
# for two charons and moves the clients from one to the other.
#
#   c1 (PSK)  10.90.1.2 ---- 10.90.1.1 \
#                                       g: 192.0.2.1 (lo), charons A and B
#   c2 (cert) 10.90.2.2 ---- 10.90.2.1 /
#
# usage: plugin.sh [BUILD_DIR]      needs root; keeps its files with KEEP=1. A plugin that is
# built with sanitizers, see tunnels/ipsec/charon/module.am, is tested with them: what they
# find is printed and fails a test.
set -u

build=${1:-.}
plugin=$build/.libs/libstrongswan-phalanx.so
fake=$build/tests/net/fakephalanx
work=$(mktemp -d /tmp/plug.XXXXXX)
address=192.0.2.1
passed=0 failed=0
pids=() sanitizer=
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$tests/leftovers.sh"
. "$tests/poll.sh"
prefix=plug.$(maker_of $$)-
namespaces_sweep plug

cleanup() {
	local pid ns
	exec 7>&-
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
	wait 2>/dev/null
	for ns in g c1 c2; do ip netns del "$prefix$ns" 2>/dev/null; done
	[ -n "${KEEP:-}" ] && echo "files: $work" || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 129' HUP INT TERM

pass() { passed=$((passed + 1)); echo "ok $*"; }
fail() { failed=$((failed + 1)); echo "not ok $*"; }

# check WHAT COMMAND...: waits up to 10 s for it.
check() {
	local what=$1
	shift
	if wait_for 10 "$what" "$@" 2>/dev/null; then pass "$what"; else fail "$what"; fi
}

# Once, now.
check_not() {
	local what=$1
	shift
	if "$@"; then fail "$what"; else pass "$what"; fi
}

log_has() { grep -qsE -- "$1" "$work/fake.log"; }
log_count() { grep -cE -- "$1" "$work/fake.log"; }
# What was logged after a mark.
since() { sed -n "/^MARK $1\$/,\$p" "$work/fake.log"; }
since_has() { since "$1" | grep -qE -- "$2"; }
since_count() { [ "$(since "$1" | grep -cE -- "$2")" -ge "$3" ]; }
# Whether it was logged between a mark and the next response to CREATE_CHILD_SA.
before_response() { since "$1" | sed '/> IKE 36 response/q' | grep -qE -- "$2"; }
tell() { echo "$*" >&7; }
mark() { tell "mark $1" && wait_for 5 "the mark" log_has "^MARK $1\$"; }

# What charon needs in its environment for a plugin that is built with sanitizers. charon's
# printf has conversions of its own, and what it does not free at its end is not for us to judge.
sanitizer_choose() {
	local libraries
	libraries=$(ldd "$plugin" | awk '/lib(asan|ubsan)\.so/ { print $3 }' | paste -sd:)
	[ -n "$libraries" ] || return
	sanitizer="LD_PRELOAD=$libraries ASAN_OPTIONS=check_printf=0:detect_leaks=0:log_path=$work/found"
	sanitizer+=" UBSAN_OPTIONS=print_stacktrace=1:log_path=$work/found"
}

found_something() { compgen -G "$work/found.*" >/dev/null; }
sanitizer_judge() {
	[ -n "$sanitizer" ] || return
	cat "$work"/found.* 2>/dev/null
	check_not "sanitizers find nothing" found_something
}

# ---- networks

networks() {
	local i
	ip netns add "${prefix}g"
	ip -n "${prefix}g" link set lo up
	ip -n "${prefix}g" addr add $address/32 dev lo
	for i in 1 2; do
		ip netns add "${prefix}c$i"
		ip -n "${prefix}c$i" link set lo up
		ip link add plugc$i netns "${prefix}g" type veth peer name eth0 netns "${prefix}c$i"
		ip -n "${prefix}g" addr add 10.90.$i.1/24 dev plugc$i
		ip -n "${prefix}g" link set plugc$i up
		ip -n "${prefix}c$i" addr add 10.90.$i.2/24 dev eth0
		ip -n "${prefix}c$i" link set eth0 up
		ip -n "${prefix}c$i" route add default via 10.90.$i.1
	done
}

# ---- configuration

common='random nonce openssl kdf pem pkcs1 pkcs8 x509 constraints pubkey'

strongswan_conf() { # NAME PLUGINS EXTRA
	mkdir -p "$work/$1/swanctl"/{x509,x509ca,private}
	cat >"$work/$1/strongswan.conf" <<-CONF
	${5-}
	charon {
		load = $2
		retransmit_timeout = 1
		block_threshold = 32
		keep_alive = 1
		filelog {
			log {
				path = $work/$1/charon.log
				flush_line = yes
				time_format = %H:%M:%S
				default = 1
				ike = 2
				knl = 1
				net = 1
				enc = 1
			}
		}
		plugins {
			kernel-netlink {
				roam_events = $4
			}
			vici {
				socket = unix://$work/$1/vici
			}
			$3
		}
	}
	swanctl {
		load = pem pkcs1 pkcs8 x509 pubkey openssl random
	}
	CONF
}

issue() { # NAME FILE
	local dir=$work/pki
	pki --pub --in "$dir/$1.key" --type ecdsa --outform pem >"$dir/pub"
	pki --issue --in "$dir/pub" --type pub --cacert "$dir/ca.pem" --cakey "$dir/ca.key" \
		--dn "O=Test, CN=$1" --san "$1" --outform pem >"$dir/$2.pem"
}

certificates() {
	local dir=$work/pki name
	mkdir -p "$dir"
	printf 'pki {\n\tload = pem pkcs1 pkcs8 x509 pubkey openssl random nonce\n}\n' \
		>"$dir/strongswan.conf"
	export STRONGSWAN_CONF=$dir/strongswan.conf
	pki --gen --type ecdsa --size 256 --outform pem >"$dir/ca.key"
	pki --self --ca --in "$dir/ca.key" --type ecdsa --dn 'O=Test, CN=CA' --outform pem \
		>"$dir/ca.pem"
	for name in vpn.example.org c2@cert.example.org; do
		pki --gen --type ecdsa --size 256 --outform pem >"$dir/$name.key"
		issue "$name" "$name"
	done
	issue vpn.example.org renewed
	unset STRONGSWAN_CONF
}

give_certificate() { # NODE NAME
	cp "$work/pki/ca.pem" "$work/$1/swanctl/x509ca/"
	cp "$work/pki/$2.pem" "$work/$1/swanctl/x509/own.pem"
	cp "$work/pki/$2.key" "$work/$1/swanctl/private/own.pem"
	cp "$work/pki/renewed.pem" "$work/$1/swanctl/x509/"
}

# A RADIUS server that is dead, which charon waits for for long.
radius=192.0.2.9
silent_radius() {
	cat <<-CONF
		eap-radius {
				sockets = 32
				retransmit_timeout = 60
				servers {
					dead {
						address = $radius
						secret = "a shared secret"
					}
				}
			}
	CONF
}

gateway() { # NODE
	strongswan_conf "$1" "phalanx $common kernel-netlink vici updown eap-md5 eap-radius" \
		"phalanx { socket = $work/$1.sock }
		$(silent_radius)" yes "include $tests/../etc/charon-phalanx.conf"
	give_certificate "$1" vpn.example.org
	cat >"$work/$1/swanctl/swanctl.conf" <<-CONF
	connections {
		psk {
			local_addrs = $address
			pools = clients
			proposals = aes128-sha256-ecp256
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
					local_ts = 10.1.0.0/16
					esp_proposals = aes128gcm16
				}
			}
		}
		eap {
			local_addrs = $address
			pools = clients
			proposals = aes128-sha256-ecp256
			local {
				auth = pubkey
				certs = own.pem
				id = vpn.example.org
			}
			remote {
				auth = eap-md5
				id = *@eap.example.org
			}
			children {
				net {
					local_ts = 10.1.0.0/16
					esp_proposals = aes128gcm16
				}
			}
		}
		radius {
			local_addrs = $address
			proposals = aes128-sha256-ecp256
			local {
				auth = pubkey
				certs = own.pem
				id = vpn.example.org
			}
			remote {
				auth = eap-radius
				id = *@radius.example.org
			}
			children {
				net {
					local_ts = 10.1.0.0/16
				}
			}
		}
		cert {
			local_addrs = $address
			pools = clients
			proposals = aes256gcm16-prfsha384-ecp384,aes256-sha384-ecp384
			local {
				auth = pubkey
				certs = own.pem
				id = vpn.example.org
			}
			remote {
				auth = ecdsa-256
				id = *@cert.example.org
			}
			children {
				net {
					local_ts = 10.1.0.0/16
					esp_proposals = aes128-sha256-ecp256
					updown = "echo \$PLUTO_VERB >>$work/updown"
				}
			}
		}
		site {
			local_addrs = $address
			remote_addrs = 10.90.3.9
			remote {
				auth = psk
				id = far.example.org
			}
			children {
				far {
					local_ts = 10.1.0.0/16
					remote_ts = dynamic, 10.3.0.0/16
					start_action = trap
				}
			}
		}
	}
	pools {
		clients {
			addrs = 10.200.0.0/24
			dns = 10.1.0.53
		}
	}
	secrets {
		ike-c1 {
			secret = "a shared secret"
			id = *@psk.example.org
		}
		eap-c1 {
			secret = "a password"
			id = c1@eap.example.org
		}
	}
	CONF
}

client() { # NODE AUTH ID IKE ESP
	local own="auth = psk" peer="auth = psk"
	strongswan_conf "$1" "$common kernel-libipsec kernel-netlink socket-default vici eap-md5" '' no
	if [ "$2" = eap ]; then
		cp "$work/pki/ca.pem" "$work/$1/swanctl/x509ca/"
		own="auth = eap-md5" peer="auth = pubkey"
	elif [ "$2" = cert ]; then
		give_certificate "$1" "$3"
		own=$'auth = pubkey\n certs = own.pem'
		peer="auth = pubkey"
	fi
	cat >"$work/$1/swanctl/swanctl.conf" <<-CONF
	connections {
		home {
			remote_addrs = $address
			vips = 0.0.0.0
			proposals = $4
			local {
				$own
				id = $3
			}
			remote {
				$peer
				id = vpn.example.org
			}
			children {
				home {
					remote_ts = 10.1.0.0/16
					esp_proposals = $5
				}
			}
		}
	}
	secrets {
		ike-own {
			secret = "a shared secret"
		}
		eap-own {
			secret = "a password"
			id = c1@eap.example.org
		}
	}
	CONF
}

# ---- daemons

# The socket's file is there before charon listens.
vici_listens() { [ -n "$(ip netns exec "$2" ss -Hlx src "$work/$1/vici")" ]; } # NODE NETNS

# Each charon has /run of its own and sees the plugin that was just built.
start_charon() { # NODE NETNS
	ip netns exec "$2" unshare -m bash -c "
		mount -t tmpfs tmpfs /run &&
		mount --bind '$work/plugins' /usr/lib/ipsec/plugins &&
		exec env STRONGSWAN_CONF='$work/$1/strongswan.conf' \
			SWANCTL_DIR='$work/$1/swanctl' $sanitizer /usr/lib/ipsec/charon
	" >"$work/$1/out.log" 2>&1 &
	pids+=($!)
	declare -g "pid_$1=$!"
	wait_for 10 "charon $1" vici_listens "$1" "$2" || return 1
	on "$1" --load-all >"$work/$1/load.log" 2>&1
}

on() { # NODE SWANCTL_ARGUMENTS...
	local node=$1
	shift
	STRONGSWAN_CONF=$work/$node/strongswan.conf SWANCTL_DIR=$work/$node/swanctl \
		timeout 20 swanctl "$@" --uri "unix://$work/$node/vici" 2>&1
}

sas_have() { on "$1" --list-sas | grep -qE -- "$2"; }
sas_lack() { ! sas_have "$@"; }
sas_count() { [ "$(on "$1" --list-sas | grep -cE -- "$2")" = "$3" ]; }
charon_log() { grep -qE -- "$2" "$work/$1/charon.log"; }
# Without bash's word on it.
slay() { kill -KILL "$1"; wait "$1" 2>/dev/null; }
dead() { ! kill -0 "$1" 2>/dev/null; }

start_fake() {
	mkfifo "$work/commands"
	exec 7<>"$work/commands"
	ip netns exec "${prefix}g" "$fake" $address "$work/A.sock" "$work/B.sock" \
		<"$work/commands" >"$work/fake.log" 2>&1 7>&- &
	pids+=($!)
	pid_fake=$!
	wait_for 5 fakephalanx log_has '^ready'
}

# ---- scenarios

connect_clients() {
	on c1 --initiate --child home >"$work/c1/up.log" 2>&1
	on c2 --initiate --child home >"$work/c2/up.log" 2>&1
	check "a PSK client connects" sas_have c1 'home:.*INSTALLED'
	check "a certificate client connects" sas_have c2 'home:.*INSTALLED'
	check "the PSK client's IKE_SA is reported" \
		log_has 'A IKE_PUT .*user=c1@psk.example.org name=psk vip=10.200.0.1'
	check "the certificate client's IKE_SA is reported" \
		log_has 'A IKE_PUT .*user=c2@cert.example.org name=cert vip=10.200.0.2'
	check "addresses come from phalanxd" sas_have c1 'local  10.200.0.1/32'
	check "both CHILD_SAs are reported" [ "$(log_count 'A CHILD_PUT')" = 2 ]
	check "both directions are installed" [ "$(log_count 'A SA_ADD')" = 4 ]
	check "SPIs of new IKE_SAs carry the filter's unit" [ "$(log_count 'UNIT ok')" = 2 ]
	check_not "no SPI is in a wrong unit" log_has 'UNIT BAD|unit=BAD'
	check "what was carried is phalanxd's to say" \
		sas_count A '^ +(in|out) +[0-9a-f]+, +4711 bytes, +42 packets' 4
	check "DNS servers still come from charon" charon_log c1 'parsed IKE_AUTH response.*CPRP\(ADDR DNS\)'
}

# An IKE_SA's reports precede the response that tells the client of it.
report_order() {
	local put auth
	put=$(grep -nsE 'A (IKE|CHILD)_PUT' "$work/fake.log" | sed -n 2p | cut -d: -f1)
	auth=$(grep -nE 'A > IKE 35 response' "$work/fake.log" | head -1 | cut -d: -f1)
	[ -n "$put" ] && [ -n "$auth" ] && [ "$put" -lt "$auth" ]
}

rekey_on() { # MEMBER NAME
	rekeyings=$((${rekeyings:-0} + 1))
	mark "rekey-child-$1-$rekeyings"
	for c in c1 c2; do on $c --rekey --child home >/dev/null; done
	check "clients rekey CHILD_SAs with $1" since_count "rekey-child-$1-$rekeyings" \
		"$1 > IKE 36 response" 2
	check "the new CHILD_SAs are reported by $1" since_count "rekey-child-$1-$rekeyings" \
		"$1 CHILD_PUT" 2
	check "their SPIs carry the unit" since_count "rekey-child-$1-$rekeyings" \
		"$1 SA_ADD .*in unit=ok" 2
	check "an outbound SA is installed before the response" before_response \
		"rekey-child-$1-$rekeyings" "$1 SA_ADD .*out unit"
	mark "rekey-ike-$1-$rekeyings"
	for c in c1 c2; do on $c --rekey --ike home >/dev/null; done
	check "clients rekey IKE_SAs with $1" since_count "rekey-ike-$1-$rekeyings" "$1 IKE_DEL" 2
	check "the new IKE_SAs are reported by $1" since_count "rekey-ike-$1-$rekeyings" \
		"$1 IKE_PUT" 2
	check_not "state is reported before the response" log_has 'ORDER BAD'
	for c in c1 c2; do
		check "$c has one IKE_SA after rekeying" sas_count $c 'ESTABLISHED' 1
	done
}

units_stay() {
	local units
	units=$(grep 'IKE_PUT' "$work/fake.log" | sed 's/.*unit=\([0-9]*\).*/\1/' | sort -u |
		wc -l)
	[ "$units" = 2 ]
}

takeover() { # FROM TO
	mark "takeover-$2"
	tell "takeover $2"
	for c in psk cert; do
		check "$2 has the $c client's IKE_SA" sas_have "$2" "^$c: .*ESTABLISHED"
	done
	check "$2 has the CHILD_SAs" sas_count "$2" 'net: .*INSTALLED' 2
	check "$2 has the identities" sas_have "$2" 'c1@psk.example.org.*10.200.0.1'
	check "$2 has the selectors" sas_have "$2" 'remote 10.200.0.2/32'
	check "each IKE_SA's import is confirmed" since_count "takeover-$2" "^$2 IMPORTED" 2
	check_not "nothing failed" since_has "takeover-$2" 'IMPORT_FAILED'
	check_not "$2 reports nothing of it back" since_has "takeover-$2" \
		"^$2 (IKE_PUT|CHILD_PUT|SA_ADD|SA_DEL|IKE_DEL|ADDRESS)"
}

# All logins of a user have one digest, and each user's is another.
same_peer() { [ "$(sed -n "s/.*IKE_PUT .*user=$1 .*peer=//p" "$work/fake.log" | sort -u |
	wc -l)" = 1 ]; }
users_seen() { sed -n 's/.*IKE_PUT .*peer=//p' "$work/fake.log" | sort -u | wc -l; }

attempts() { [ "$(grep -c 'initiating IKE_SA' "$work/$1/charon.log")" = "$2" ]; }

# The member dies between its answer and the client's IKE_AUTH; or loses the unit, and is told so.
half_open() { # FROM TO CLIENT CONNECTION [drop]
	local before
	before=$(grep -c 'initiating IKE_SA' "$work/$3/charon.log")
	mark "half-$3"
	tell "hold 1"
	on "$3" --initiate --child home >"$work/$3/up.log" 2>&1 &
	check "a half-open SA is reported" since_has "half-$3" "^$1 HALF_OPEN .*nonce=32"
	check "before the response" [ -n "$(since "half-$3" |
		sed '/> IKE 34 response/q' | grep HALF_OPEN)" ]
	check "the client has the response" since_has "half-$3" '^held'
	if [ -n "${5:-}" ]; then
		check "$1 has it" sas_have "$1" CONNECTING
		tell "drop $1"
		check "$1 forgets it" sas_lack "$1" CONNECTING
		check_not "and does not say so" since_has "half-$3" "^$1 HALF_DONE"
	fi
	tell "half $2"
	check "$2 answers in the same words" since_has "half-$3" '^HALF identical'
	tell "hold 0"
	check "the $4 client's login is completed by $2" sas_have "$2" "^$4: .*ESTABLISHED"
	check "and works" sas_have "$3" 'home:.*INSTALLED'
	check "at its first attempt" attempts "$3" $((before + 1))
	wait $! 2>/dev/null
}

# The PSK client's login has begun at one member, which knows it still, and ended at the other.
half_left() { # FIRST SECOND
	tell "takeover $1"
	check "$1 has what $2 has made of it" sas_have "$1" '^psk: .*ESTABLISHED'
	check "and nothing half-open besides" sas_lack "$1" CONNECTING
	tell "drop $1"
	check "nothing of it stays behind" sas_count "$1" . 0
	# As if the answer that established it at the second member had never left.
	tell "drop $2"
	tell "half $2"
	check "$2 has it half-open again" sas_have "$2" CONNECTING
	check "nobody asks whether its peer lives" charon_log "$2" \
		'no liveness check of a half-open IKE_SA'
	tell "drop $2"
	check "and $2 goes on" sas_count "$2" . 0
	on c1 --terminate --ike home --force >/dev/null
}

# A round of EAP is answered, and then the member dies.
half_eap() { # FROM TO
	client c1 eap c1@eap.example.org aes128-sha256-ecp256 aes128gcm16
	on c1 --load-all --clear >"$work/c1/load.log" 2>&1
	on c1 --initiate --child home >"$work/c1/up.log" 2>&1
	check "an EAP client connects" sas_have "$1" '^eap: .*ESTABLISHED'
	on c1 --terminate --ike home >/dev/null
	mark half-eap
	tell "hold 2"
	on c1 --initiate --child home >"$work/c1/up.log" 2>&1 &
	check "EAP is in mid-round" since_has half-eap '^held'
	tell "half $2"
	check "$2 answers in the same words" since_has half-eap '^HALF identical'
	tell "fail 2"
	tell "hold 0"
	check "the client is refused at once" grep -q 'received AUTHENTICATION_FAILED' \
		"$work/c1/up.log"
	wait $! 2>/dev/null
	check "$2 has forgotten it" sas_lack "$2" '^eap:'
	tell "fail 0"
	on c1 --initiate --child home >"$work/c1/up.log" 2>&1
	check "it connects anew" sas_have "$2" '^eap: .*ESTABLISHED'
}

child_of() { # MEMBER CONNECTION
	on "$1" --list-sas --ike "$2" | sed -n 's/^ *net: #\([0-9]*\),.*INSTALLED.*/\1/p' | tail -1
}

# Both clients have answered; either may have repeated that.
both_lost() { [ "$(since "$1" | grep '^lost' | sort -u | wc -l)" = 2 ]; }

client_of() { case $1 in psk) echo c1 ;; *) echo c2 ;; esac; }

one_of_each() {
	local c
	for c in c1 c2; do
		check "$c has one IKE_SA" sas_count $c 'ESTABLISHED' 1
		check "$c has one CHILD_SA" sas_count $c 'home:.*INSTALLED' 1
	done
	check "$1 has two CHILD_SAs" sas_count "$1" 'net:.*INSTALLED' 2
}

# Both ends of one client's IKE_SA rekey it at once, and of the other one's CHILD_SA.
both_rekey() { # MEMBER IKE_CONNECTION CHILD_CONNECTION
	local child
	tell "cross 1"
	child=$(child_of "$1" "$3")
	on "$1" --rekey --ike "$2" >/dev/null
	on "$1" --rekey --child-id "$child" >/dev/null
	on "$(client_of "$2")" --rekey --ike home >/dev/null
	on "$(client_of "$3")" --rekey --child home >/dev/null
}

# Nobody dies.
rekey_crossing() { # MEMBER IKE_CONNECTION CHILD_CONNECTION
	local waits
	waits=$(grep -c 'waits for its repetition' "$work/$1/charon.log")
	mark "crossing-$2"
	both_rekey "$@"
	check "both ends rekey at once" since_count "crossing-$2" '^crossed' 2
	tell "cross 0"
	check "the clients' rekeyings wait for $1's" wait_count "$1" $((waits + 2))
	check "the $2 client's IKE_SA is rekeyed" since_has "crossing-$2" "^$1 IKE_DEL"
	check "the $3 client's CHILD_SA is rekeyed" since_has "crossing-$2" "^$1 CHILD_DEL"
	one_of_each "$1"
	mark "crossed-$2"
	check "both clients reach $1 under the keys that they have" since_count \
		"crossed-$2" "$1 > IKE 37 response" 4
	check_not "nobody has connected anew" since_has "crossing-$2" '< IKE 34 request'
}
wait_count() { [ "$(grep -c 'waits for its repetition' "$work/$1/charon.log")" -ge "$2" ]; }

# The member begins to rekey one client's IKE_SA and the other one's CHILD_SA, and dies
# before it gets the answers. With `both` the clients rekey them, too, at the same moment.
rekey_lost() { # FROM TO IKE_CONNECTION CHILD_CONNECTION [both]
	local child lost=lost-$2${5-} resumed=resumed-$2${5-} alive=alive-$2${5-}
	mark "$lost"
	tell "lose 1"
	if [ "${5-}" = both ]; then
		both_rekey "$1" "$3" "$4"
		check "both ends rekey at once" since_count "$lost" '^crossed' 2
	else
		child=$(child_of "$1" "$4")
		on "$1" --rekey --ike "$3" >/dev/null
		on "$1" --rekey --child-id "$child" >/dev/null
	fi
	check "the clients' answers to $1 are lost" both_lost "$lost"
	check "what was begun was told before the requests" [ -n "$(since "$lost" |
		sed '/> IKE 36 request/q' | grep "^$1 IKE_BEGUN")" ]
	tell "drop $1"
	mark "$resumed"
	tell "takeover $2"
	check "$2 goes on with both rekeyings" since_count "$resumed" "^$2 IKE_RESUMED" 2
	check "the $3 client's new IKE_SA is reported" since_has "$resumed" "^$2 IKE_PUT"
	check "the $4 client's new CHILD_SA is reported" since_has "$resumed" \
		"^$2 SA_ADD .*in unit=ok"
	check "the old IKE_SA is deleted" since_has "$resumed" "^$2 IKE_DEL"
	one_of_each "$2"
	mark "$alive"
	check "both clients reach $2 under the keys that they have" since_count "$alive" \
		"$2 > IKE 37 response" 4
	check_not "nobody has connected anew" since_has "$lost" '< IKE 34 request'
}

# The member asks a client for a further CHILD_SA, and dies before it gets the answer.
further_lost() { # FROM TO
	local file initiation node
	for node in "$1" "$2"; do
		file=$work/$node/swanctl/swanctl.conf
		sed -i.before '/^psk {/,/^children {/s/^children {/&\n more {\n local_ts = 10.1.7.0\/24\n \
			esp_proposals = aes128gcm16\n }\n/' "$file"
		on "$node" --load-all >"$work/$node/load.log" 2>&1
	done
	mark "further-$2"
	tell "lose 1"
	on "$1" --initiate --child more --timeout 10 >"$work/$1/more.log" 2>&1 &
	initiation=$!
	check "the client's answer to $1 is lost" since_has "further-$2" '^lost'
	check "what was begun was told before the request" [ -n "$(since "further-$2" |
		sed '/> IKE 36 request/q' | grep "^$1 IKE_BEGUN.* ike=0 child=1")" ]
	tell "drop $1"
	mark "went-on-$2"
	tell "takeover $2"
	check "$2 goes on with it" since_has "went-on-$2" "^$2 IKE_RESUMED"
	check "the further CHILD_SA is reported" since_has "went-on-$2" \
		"^$2 CHILD_PUT .*name=more"
	wait "$initiation"
	check "$2 has it once" sas_count "$2" 'more:.*INSTALLED' 1
	check "and so has the client" sas_count c1 'home:.*INSTALLED' 2
	check_not "it was not asked for again" since_count "went-on-$2" '^. SA_ADD .* in unit' 2
	on "$2" --terminate --child more >/dev/null
	check "it ends" sas_count c1 'home:.*INSTALLED' 1
	for node in "$1" "$2"; do
		mv "$work/$node/swanctl/swanctl.conf.before" "$work/$node/swanctl/swanctl.conf"
		on "$node" --load-all >"$work/$node/load.log" 2>&1
	done
	check_not "nobody has connected anew" since_has "further-$2" '< IKE 34 request'
}

# log_in_with CLIENT IKE_PROPOSAL
log_in_with() {
	sed -i "s/^\([[:space:]]*\)proposals = .*/\1proposals = $2/" "$work/$1/swanctl/swanctl.conf"
	on "$1" --terminate --ike home >/dev/null
	on "$1" --load-all --clear >"$work/$1/load.log" 2>&1
	on "$1" --initiate --child home >"$work/$1/up.log" 2>&1
	check "$1 logs in with $2" sas_count "$1" 'home:.*INSTALLED' 1
}

rekeyings() { grep -c 'generating CREATE_CHILD_SA request' "$work/$1/charon.log"; }
more_rekeyings() { [ "$(rekeyings "$1")" -gt "$2" ]; }

# B remembers none of the exchanges since the clients logged in, and rekeys before they have
# agreed on new numbers.
unproven_takeover() { # FROM TO
	local early before
	before=$(rekeyings "$2")
	tell "drop $1"
	mark sync
	tell "lose 2"
	tell "sync $2"
	check "what $2 asks at first is lost" since_count sync '^lost' 2
	on "$2" --rekey --ike psk >/dev/null
	on "$2" --rekey --child net >/dev/null &
	early=$!
	check "$2 begins nevertheless" more_rekeyings "$2" "$before"
	tell "lose 0"
	for c in c1 c2; do
		check "$c agrees on message IDs" charon_log $c 'responder requested MID sync'
	done
	check "$2 has the clients' numbers" since_count sync "^$2 IKE_SYNCED send_mid=2.. recv_mid=[1-9]" 2
	mark synced
	check "clients' liveness checks are answered by $2" since_count synced \
		"$2 > IKE 37 response" 4
	wait "$early"
	check "what it has begun of an IKE_SA goes on" since_has sync "^$2 IKE_DEL"
	on "$2" --rekey --ike psk >/dev/null
	on "$2" --rekey --child net >/dev/null
	check "$2 rekeys under its new numbers" since_count sync "^$2 > IKE 36 request mid=2" 2
	check "the clients take that" since_has synced "^$2 IKE_PUT"
	check_not "nobody has connected anew" since_has sync '< IKE 34 request'
}

# A client with an AEAD cipher may have no IV left for an answer with number 0.
unproven_again() { # FROM TO
	tell "drop $1"
	mark doubt
	tell "doubt $2"
	check "$2 and the client without one agree" since_count doubt \
		"^$2 IKE_SYNCED send_mid=[1-9]" 1
	check_not "the other one is asked as well" since_count doubt "^$2 IKE_SYNCING" 2
	on "$2" --rekey --child net >/dev/null
	check "both are rekeyed" since_count doubt "^$2 SA_ADD .*in unit=ok" 2
	for c in c1 c2; do on $c --rekey --ike home >/dev/null; done
	check "and rekey" since_count doubt "^$2 IKE_DEL" 2
	check_not "nobody has connected anew" since_has doubt '< IKE 34 request'
}

# What was rekeyed, and waits to be removed, is handed over as well.
replaced_child() { # FROM TO
	check "$1 has removed what was replaced before" sas_lack "$1" 'net:.*DELETED'
	mark replaced
	on "$1" --rekey --child net >/dev/null
	check "$1 has two CHILD_SAs that were replaced" sas_count "$1" 'net:.*DELETED' 2
	tell "takeover $2"
	check "$2 has them, too" sas_count "$2" 'net:.*DELETED' 2
	mark replaced-removed
	check "$2 removes them" since_count replaced-removed "^$2 CHILD_DEL" 2
	check "and no others" sas_count "$2" 'net:.*INSTALLED' 2
}

# Whether charon was alive while an IKE_SA was slow.
alive_meanwhile() { since "$1" | sed '/ is slow no more/q' | grep -q ' PONG'; }
slow_ended() { since_has "$1" ' is slow no more' && since_has "$1" ' PONG'; }

# slow MEMBER N NAME: one IKE_SA is slow, see fakephalanx. A machine that stands still for long
# makes everything slow, so it has three tries.
slow() {
	local try waits=1
	for try in 1 2 3; do
		mark "slow-$3-$try"
		tell "slow $2"
		on c1 --rekey --child home >/dev/null
		wait_for 10 "a slow IKE_SA" slow_ended "slow-$3-$try"
		alive_meanwhile "slow-$3-$try" && waits=0 && break
		tell "takeover $1"
	done
	check_not "no IKE_SA that $1 is to $3 keeps it waiting" [ "$waits" = 1 ]
}

# Nothing but what concerns an IKE_SA waits for it, and that stays in order.
slow_ike() { # MEMBER
	slow "$1" 1 verify
	slow "$1" 2 drop
	check "what was slow is dropped" sas_lack "$1" '^psk:'
	check "and nothing else" sas_have "$1" '^cert: .*ESTABLISHED'
	tell "takeover $1"
	check "it comes back" sas_have "$1" '^psk: .*ESTABLISHED'
	slow "$1" 3 have-back
	check "what is dropped and comes back is there" sas_have "$1" '^psk: .*ESTABLISHED'
	mark "slow-alive"
	check "both clients reach $1" since_count slow-alive "$1 > IKE 37 response" 4
	for c in c1 c2; do
		check "$c has one IKE_SA" sas_count $c 'ESTABLISHED' 1
	done
}

# The gateway connects to c1, which other members are or are not connected to.
own_contact() { # MEMBER
	local known file=$work/$1/swanctl/swanctl.conf
	sed -i.before '/^connections {/a out {\n local_addrs = '$address'\n \
		remote_addrs = 10.90.1.2\n proposals = aes128-sha256-ecp256\n \
		local {\n auth = psk\n id = vpn.example.org\n }\n \
		remote {\n auth = psk\n id = c1@psk.example.org\n }\n \
		children {\n out {\n local_ts = 10.1.0.0/16\n esp_proposals = aes128gcm16\n }\n }\n \
		}' "$file"
	on "$1" --load-all >"$work/$1/load.log" 2>&1
	for known in 1 0; do
		mark "contact-$known"
		tell "refuse $known"
		on "$1" --initiate --child out >"$work/$1/out-$known.log" 2>&1
		check "$1 connects to c1" sas_have "$1" '^out: .*ESTABLISHED'
		check "it asks for other members' contacts" since_has "contact-$known" \
			"^$1 CONTACT_ASK"
		on "$1" --terminate --ike out >/dev/null
		if [ "$known" = 1 ]; then
			check_not "INITIAL_CONTACT is not for it to say then" charon_log c1 \
				'parsed IKE_AUTH request 1 .*N\(INIT_CONTACT\)'
		else
			check "without any it is" charon_log c1 \
				'parsed IKE_AUTH request 1 .*N\(INIT_CONTACT\)'
		fi
	done
	check "it is the same peer to all" [ "$(sed -n 's/.*CONTACT_ASK peer=//p' \
		"$work/fake.log" | sort -u)" = "$(sed -n 's/.* name=out .*peer=//p' \
		"$work/fake.log" | sort -u)" ]
	mv "$file.before" "$file"
	on "$1" --load-all >"$work/$1/load.log" 2>&1
}

digest() { sed -n "s/^$1 CONFIG $2 .*digest=//p" "$work/fake.log" | tail -n 1; }
alike() { [ "$(digest A "$1")" = "$(digest B "$1")" ]; }
differ() { ! alike "$1"; }

# A's configuration differs from B's by an edit.
compared() { # CONNECTION EDIT WHAT
	check "members with the same connections say the same" alike "$1"
	sed -i.before "$2" "$work/A/swanctl/swanctl.conf"
	on A --load-all >"$work/A/load.log" 2>&1
	check "$3 that differs is another one" differ "$1"
	mv "$work/A/swanctl/swanctl.conf.before" "$work/A/swanctl/swanctl.conf"
	touch "$work/A/swanctl/swanctl.conf"
	on A --load-all >"$work/A/load.log" 2>&1
	check "and no longer" alike "$1"
}

# What has no effect is said when it is loaded, and not again while it is.
ignored() {
	local file=$work/A/swanctl/swanctl.conf i
	local said="connection 'psk', child 'net': no effect in the cluster has:"
	sed -i.before '/^psk {/,/esp_proposals/s/esp_proposals.*/&\n mark_in = 5\n \
		if_id_out = 7\n tfc_padding = mtu/' "$file"
	on A --load-all >"$work/A/load.log" 2>&1
	check "options without effect are named" charon_log A \
		"$said mark_in, if_id_out, tfc_padding\$"
	check "a member without them differs" differ psk
	sed -i '/^psk {/,/esp_proposals/s/esp_proposals.*/&\n priority = 3/' "$file"
	on A --load-all >"$work/A/load.log" 2>&1
	check "a further one is named alone" charon_log A "$said priority\$"
	mv "$file.before" "$file"
	on A --load-all >"$work/A/load.log" 2>&1
	check "and they are gone" alike psk
	check "nothing is said twice" [ "$(grep -c 'no effect in the cluster' \
		"$work/A/charon.log")" = 2 ]
	check "and nothing of others" [ "$(grep -c 'no effect in the cluster' \
		"$work/B/charon.log")" = 0 ]
}

# A NAT in front of the gateway, which c1 reaches by another address.
behind_nat() { # FROM TO
	mark nat
	ip netns exec "${prefix}g" nft -f - <<-RULES || fail "a NAT can be had"
	table ip plug {
		chain pre {
			type nat hook prerouting priority dstnat;
			ip daddr 203.0.113.1 dnat to $address
		}
	}
	RULES
	check_not "without a NAT none is kept open" log_has 'KEEPALIVE'
	on c1 --terminate --ike home --force >/dev/null
	sed -i.before 's/remote_addrs = .*/remote_addrs = 203.0.113.1/' \
		"$work/c1/swanctl/swanctl.conf"
	on c1 --load-all >"$work/c1/load.log" 2>&1
	on c1 --initiate --child home >/dev/null
	check "c1 connects through a NAT" since_has nat "^$1 IKE_PUT .*name=eap"
	check "which is kept open" since_has nat "^$1 > KEEPALIVE"
	tell "drop $1"
	mark nat-taken-over
	tell "takeover $2"
	check "also by $2" since_has nat-taken-over "^$2 > KEEPALIVE"
	on c1 --terminate --ike home >/dev/null
	mv "$work/c1/swanctl/swanctl.conf.before" "$work/c1/swanctl/swanctl.conf"
	on c1 --load-all >"$work/c1/load.log" 2>&1
	ip netns exec "${prefix}g" nft delete table ip plug
}

# radius_waits MEMBER N: for so many logins it waits for the RADIUS server.
radius_waits() { [ "$(grep -c 'sending RADIUS Access-Request' "$work/$1/charon.log")" -ge "$2" ]; }

# So many log in at once that all of charon's threads that may wait for a RADIUS server do.
radius_silent() { # MEMBER
	local i threads=16 urgent
	urgent=$(sed -n 's/.*critical = //p' "$tests/../etc/charon-phalanx.conf")
	ip -n "${prefix}g" route add $radius via 10.90.1.2
	for ((i = 1; i <= threads; i++)); do
		cat <<-CONF
		connections {
			login$i {
				remote_addrs = $address
				proposals = aes128-sha256-ecp256
				local {
					auth = eap-md5
					id = c$i@radius.example.org
				}
				remote {
					auth = pubkey
					id = vpn.example.org
				}
				children {
					login$i {
						remote_ts = 10.1.0.0/16
					}
				}
			}
		}
		CONF
	done >>"$work/c1/swanctl/swanctl.conf"
	on c1 --load-all >"$work/c1/load.log" 2>&1
	for ((i = 1; i <= threads; i++)); do
		on c1 --initiate --child login$i --timeout -1 >"$work/c1/up.log" 2>&1 &
	done
	check "$1 waits for a dead RADIUS server with most of its threads" \
		radius_waits "$1" $((threads - urgent))
	mark radius
	tell "ping $1"
	check "and says that it is alive" since_has radius "^$1 PONG 4711"
}

dead_peer_detection() { # MEMBER
	mark "dpd-$1"
	# The clients send them by themselves, every 2 s.
	check "clients' liveness checks are answered by $1" since_count "dpd-$1" \
		"$1 > IKE 37 response" 2
}

main() {
	[ -f "$plugin" ] && [ -x "$fake" ] || {
		echo "no $plugin or no $fake: build first" >&2
		exit 2
	}
	sanitizer_choose
	networks
	certificates
	mkdir "$work/plugins"
	cp /usr/lib/ipsec/plugins/*.so "$plugin" "$work/plugins/"
	gateway A
	gateway B
	client c1 psk c1@psk.example.org aes128-sha256-ecp256 aes128gcm16
	client c2 cert c2@cert.example.org aes256gcm16-prfsha384-ecp384 aes128-sha256-ecp256
	sed -i 's/vips = .*/&\n dpd_delay = 2s/' "$work"/c?/swanctl/swanctl.conf
	# With MOBIKE a client tells of a new address itself, without it a packet does.
	sed -i 's/vips = .*/&\n mobike = no/' "$work/c1/swanctl/swanctl.conf"
	start_fake
	start_charon A "${prefix}g" && start_charon B "${prefix}g" && start_charon c1 "${prefix}c1" &&
		start_charon c2 "${prefix}c2" || fail "charons start"
	check "the plugin greets phalanxd" log_has '^A HELLO 5'
	check "the plugin tells its pools" log_has '^B POOL clients count=254'
	check "it tells its connections" \
		log_has '^A CONFIG site child=far actions=1 mode=1 remote=10.90.3.9 ts=1/2'
	check "but not what a client's address will be" \
		log_has '^A CONFIG psk child=net actions=0 mode=1 remote=%any ts=1/0'

	compared psk 's/dns = .*/dns = 10.1.0.54/' "a pool"
	compared psk 's/pools = clients/&\n unique = keep/' "a connection"
	compared psk 's/esp_proposals = .*/&\n copy_df = no/' "a child"
	compared cert 's/certs = own.pem/certs = renewed.pem/' "a certificate of the same name"
	compared cert 's/auth = ecdsa-256/auth = ecdsa-384/' "what a certificate has to have"
	ignored

	tell "ping A"
	check "charon says that it is alive" log_has '^A PONG 4711'

	connect_clients
	check "INITIAL_CONTACT counts at other members, too" \
		log_has 'A UNIQUE_ASK user=c1@psk.example.org name=psk policy=0'
	check "reports precede the response to IKE_AUTH" report_order
	rekey_on A
	check "rekeyed IKE_SAs keep their unit" units_stay

	slay "$pid_A"
	check "A is dead" log_has '^A gone'
	takeover A B
	dead_peer_detection B
	rekey_on B
	check "rekeyed IKE_SAs keep their unit" units_stay
	mark own-rekey
	on B --rekey --ike psk >/dev/null
	check "B itself rekeys an IKE_SA" since_has own-rekey 'B IKE_PUT .*vip=10.200.0.1'
	check "and deletes the old one" since_has own-rekey 'B IKE_DEL'
	check "the new one keeps the unit" units_stay
	check "c1 has one IKE_SA then" sas_count c1 'ESTABLISHED' 1

	mark roam
	ip -n "${prefix}g" addr add 10.90.1.7/24 dev plugc1
	ip -n "${prefix}g" addr add 10.91.0.1/24 dev plugc2

	mark shift
	tell "shift 1000"
	check "a client's new port is reported" since_count shift 'B IKE_PUT .*port=5500' 1
	check "its SAs follow" since_count shift 'B SA_UPDATE .*port=5500' 2
	tell "shift 0"
	check "and back" since_count shift 'B IKE_PUT .*port=4500' 1

	mark move
	tell "move B"
	check "clients whose ESP comes from another port are reported" \
		since_count move 'B IKE_PUT .*port=6500' 2
	check "their SAs follow" since_count move 'B SA_UPDATE .*port=6500' 4
	tell "move B"
	check "and back" since_count move 'B IKE_PUT .*port=4500' 2

	check_not "own addresses are nothing to tell clients" \
		since_has roam '^B > IKE 37 request'

	mark expire
	tell "expire B"
	check "an SA that expires is rekeyed by B" since_count expire \
		'B > IKE 36 request' 2
	check "the clients agree" since_count expire 'B CHILD_PUT' 2

	rm -f "$work/A/vici"
	sed -i.all 's/^cert {/other {/' "$work/A/swanctl/swanctl.conf"
	mark again
	start_charon A "${prefix}g" || fail "A starts again"
	check "A is there again" since_has again '^A POOL'
	check "a connection that was changed is told" since_has again '^A CONFIG other '
	check "and it has all" since_has again '^A CONFIGS'
	tell "takeover A"
	check "a missing connection fails the import" \
		log_has 'A IMPORT_FAILED its connection is missing'
	check "the others are taken over" sas_have A '^psk: .*ESTABLISHED'
	tell "drop A"
	tell "activate B"
	mv "$work/A/swanctl/swanctl.conf.all" "$work/A/swanctl/swanctl.conf"
	on A --load-all >"$work/A/load.log" 2>&1
	takeover B A
	tell "forge A"
	tell "verify A"
	check "an authentic response is known" since_count takeover-A '^A IKE_VERIFIED' 1
	check_not "a forged one is not" since_count takeover-A '^A IKE_VERIFIED' 2

	mark drop
	tell "drop B"
	check "a dropped SA is gone" sas_count B . 0
	check_not "a drop is silent" since_has drop \
		'^B (IKE_DEL|CHILD_DEL|SA_DEL|ADDRESS_RELEASE|> IKE)'
	rekey_on A

	rekey_lost A B psk cert
	rekey_lost B A cert psk
	rekey_crossing A psk cert
	rekey_crossing A cert psk
	rekey_lost A B psk cert both
	rekey_lost B A cert psk both
	further_lost A B
	tell "drop B"
	tell "takeover A"
	log_in_with c2 aes256-sha384-ecp384
	unproven_takeover A B
	log_in_with c2 aes256gcm16-prfsha384-ecp384
	unproven_again B A
	replaced_child A B
	tell "drop B"
	tell "takeover A"
	check "A has the psk client's IKE_SA" sas_have A '^psk: .*ESTABLISHED'
	slow_ike A

	mark end
	tell "end A"
	check "what was replaced elsewhere is gone" sas_count A . 0
	check "its end is reported" since_count end 'A IKE_DEL' 2
	check_not "and silent" since_has end '^A > IKE'
	for c in c1 c2; do
		on $c --terminate --ike home --force >/dev/null
		on $c --initiate --child home >/dev/null
	done
	check "a user is recognised" same_peer c1@psk.example.org
	check "users are told apart" [ "$(users_seen)" = 2 ]

	mark keep
	sed -i 's/pools = clients/&\n unique = keep/' "$work/A/swanctl/swanctl.conf"
	on A --load-all >"$work/A/load.log" 2>&1
	sed -i 's/vips = .*/&\n unique = never/' "$work/c1/swanctl/swanctl.conf"
	on c1 --terminate --ike home >/dev/null
	on c1 --load-all >"$work/c1/load.log" 2>&1
	tell "refuse 1"
	on c1 --initiate --child home >/dev/null
	check "a connection may keep a user's first login, wherever it is" \
		since_has keep 'A UNIQUE_ASK user=c1.*policy=2'
	check "the user is refused" charon_log c1 'received AUTHENTICATION_FAILED'
	tell "refuse 0"
	on c1 --initiate --child home >/dev/null
	check "a user who is connected nowhere is not" sas_have A '^psk: .*ESTABLISHED'

	mark terminate
	on c1 --terminate --ike home >/dev/null
	check "a client's DELETE ends the SA" sas_lack A '^psk:'
	check "its end is reported" since_has terminate 'A IKE_DEL'
	check_not "and not before the answer leaves" [ "$(since terminate |
		grep -m 1 -oE '^A (> IKE 37 response|IKE_DEL)')" = 'A IKE_DEL' ]
	check "its address is released" since_has terminate 'A ADDRESS_RELEASE'
	check "the other client stays" sas_have A '^cert: .*ESTABLISHED'

	own_contact A

	for c in c1 c2; do on $c --terminate --ike home >/dev/null; done
	sed -i 's/^psk {/&\ndpd_delay = 1s/' "$work/B/swanctl/swanctl.conf"
	on B --load-all >"$work/B/load.log" 2>&1
	half_open A B c1 psk
	half_left A B
	half_open B A c2 cert drop
	half_eap A B
	tell "activate A"
	behind_nat A B
	tell "drop B"
	tell "activate A"

	mark lost
	slay "$pid_fake"
	check "without phalanxd charon has no SAs" sas_count A . 0
	rm -f "$work/commands"
	cp "$work/fake.log" "$work/fake1.log"
	start_fake
	check "the plugin connects again" log_has '^A HELLO 5'

	mark shutdown
	on c2 --terminate --ike home --force >/dev/null
	rm -f "$work/updown"
	on c2 --initiate --child home >/dev/null
	check "a client connects again" sas_have A '^cert: .*ESTABLISHED'
	check "a script hears of it" grep -qsx up-client "$work/updown"
	mark sigterm
	kill -TERM "$pid_A"
	check "charon ends on SIGTERM" log_has '^A gone'
	wait "$pid_A"
	check "cleanly" [ $? = 0 ]
	check_not "a peer hears nothing of it" since_has sigterm '^A (> IKE|IKE_DEL|SA_DEL)'
	check_not "nor does a script" grep -qs down "$work/updown"

	tell "activate B"
	radius_silent B

	# A file of its own: the other charon has the plugin mapped.
	version=$(/usr/lib/ipsec/charon --version | sed -n 's/.*strongSwan //p')
	sed "s/${version//./\\.}/${version%?}X/g" "$plugin" >"$work/other.so"
	mv "$work/other.so" "$work/plugins/$(basename "$plugin")"
	rm -f "$work/A/vici"
	ip netns exec "${prefix}g" unshare -m bash -c "
		mount -t tmpfs tmpfs /run &&
		mount --bind '$work/plugins' /usr/lib/ipsec/plugins &&
		env STRONGSWAN_CONF='$work/A/strongswan.conf' $sanitizer \
			timeout 10 /usr/lib/ipsec/charon
	" >"$work/refused.log" 2>&1
	check "a plugin for another version refuses" \
		grep -qs "built for strongSwan ${version%?}X.*disabled" "$work/refused.log" \
		"$work/A/charon.log"
	sanitizer_judge
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}

main
