# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's freeradius, on a node a1 of the inside network. Sourced.

radius_bin=/usr/sbin/freeradius
radius_secret=aWx2bm9kZXM

# The members' eap-radius section.
radius_client()
{
	cat <<-CONF
			eap-radius {
				accounting = $( ((ACCOUNTING)) && echo yes || echo no)
				accounting_interval = 3s
				accounting_send_class = yes
				servers {
					a1 {
						address = $A1
						secret = $radius_secret
					}
				}
			}
	CONF
}

# Whose password is the lab's, whoever it is, gets two Class attributes; all accounting requests
# go into accounting.
radius_config()
{
	local dir=$1/raddb
	mkdir -p "$dir"
	cat >"$dir/radiusd.conf" <<-CONF
	prefix = /usr
	localstatedir = $1
	libdir = /usr/lib/freeradius
	logdir = $1/log
	run_dir = $1
	db_dir = $1
	correct_escapes = true
	log {
		destination = stdout
		auth = yes
	}
	security {
		allow_core_dumps = no
		status_server = no
	}
	thread pool {
		start_servers = 1
		max_servers = 4
		min_spare_servers = 1
		max_spare_servers = 4
	}
	client members {
		ipaddr = 10.1.0.0/16
		secret = $radius_secret
	}
	modules {
		files {
			usersfile = $dir/users
		}
		mschap {
		}
		pap {
		}
		eap {
			default_eap_type = mschapv2
			mschapv2 {
			}
		}
		detail {
			filename = $1/log/accounting
		}
	}
	server default {
		listen {
			type = auth
			ipaddr = $A1
			port = 1812
		}
		listen {
			type = acct
			ipaddr = $A1
			port = 1813
		}
		authorize {
			eap
			files
			pap
		}
		authenticate {
			eap
			mschap
			pap
		}
		accounting {
			detail
		}
	}
	CONF
	printf '$INCLUDE /usr/share/freeradius/dictionary\n' >"$dir/dictionary"
	cat >"$dir/users" <<-CONF
	DEFAULT Cleartext-Password := "$lab_password"
	  Class = "%{User-Name}",
	  Class += "another"
	CONF
}

radius_listens() { [[ -n $(node_run a1 ss -Hlun "sport = :1812") ]]; }

# radius_start: the node and the server, unless they are there.
radius_start()
{
	local dir
	[[ -x $radius_bin ]] || die "freeradius is not installed"
	if ! grep -qx a1 "$LAB_DIR/namespaces"; then
		node_make a1
		cable a1 eth0 inside "$A1/16"
		gateway_route a1 "$VIP_INSIDE"
		radius_config "$(node_dir a1)"
	fi
	dir=$(node_dir a1)
	node_alive a1 radius || node_spawn a1 radius "$radius_bin" -f -d "$dir/raddb"
	wait_for 10 "freeradius" radius_listens || die "see lab logs a1"
}
