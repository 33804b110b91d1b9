# SPDX-License-Identifier: GPL-2.0-or-later
# Processes in a node. Sourced.

charon_bin=/usr/lib/ipsec/charon
charon_service_bin=/usr/sbin/charon-systemd

# is_service NODE: its charon is the one of Debian's strongswan.service.
is_service() { [[ $1 == m2 ]]; }

charon_program() { if is_service "$1"; then echo $charon_service_bin; else echo $charon_bin; fi; }

node_holder() { echo "$(<"$(node_dir "$1")/holder")"; }

# node_env NODE: the words before a command that is to run there, in its environment.
node_env()
{
	local dir=$LAB_DIR/nodes/$1 guest_words=()
	if is_guest "$1"; then guest_prefix; fi
	node_words=(
		"${guest_words[@]}" env
		"STRONGSWAN_CONF=$dir/strongswan.conf" "SWANCTL_DIR=$dir/swanctl"
		"PATH=$BUILD:$BUILD/src:$BUILD/tests/net/tools:$PATH"
		nsenter --target "$(<"$dir/holder")" --net --mount --
	)
}

# node_run NODE COMMAND...: in the foreground.
node_run()
{
	local node=$1 node_words
	shift
	node_env "$node"
	"${node_words[@]}" "$@"
}

# node_spawn NODE NAME COMMAND...: in the background, its output in log/NAME.log and its
# pid in NAME.pid.
node_spawn()
{
	local node=$1 name=$2 dir node_words
	shift 2
	dir=$(node_dir "$node")
	node_env "$node"
	setsid "${node_words[@]}" "$@" </dev/null >>"$dir/log/$name.log" 2>&1 &
	echo $! >"$dir/$name.pid"
}

# node_alive NODE NAME
node_alive()
{
	local file pid state
	file=$(node_dir "$1")/$2.pid
	[[ -s $file ]] || return 1
	pid=$(cat "$file")
	state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) || return 1
	[[ -n $state && $state != Z ]]
}

node_dead() { ! node_alive "$@"; }

# All processes of the node but the one that holds it and the lab's captures.
node_pids()
{
	local pid keep
	keep=" $(node_holder "$1") $(cat "$(node_dir "$1")"/capture.pid 2>/dev/null || true) "
	for pid in $(ip netns pids "$(ns "$1")"); do
		[[ $keep == *" $pid "* ]] || echo "$pid"
	done
}

node_idle() { [[ -z $(node_pids "$1") ]]; }

# node_stop NODE NAME: SIGTERM, then SIGKILL.
node_stop()
{
	node_alive "$1" "$2" || return 0
	kill -TERM "$(cat "$(node_dir "$1")/$2.pid")" 2>/dev/null || true
	if ! wait_for 5 "the end of $2 on $1" node_dead "$1" "$2"; then
		kill -KILL "$(cat "$(node_dir "$1")/$2.pid")" 2>/dev/null || true
	fi
}

# It listens: the socket's file is there earlier.
vici_up() { [[ -n $(node_run "$1" ss -Hlx src '*/charon.vici') ]]; }

# sanitized NODE: sets charon_words, the words before charon's name if its plugin is built
# with sanitizers, see tests/net/plugin.sh.
sanitized()
{
	local libraries plugin=$LAB_DIR/plugins/libstrongswan-phalanx.so
	charon_words=()
	is_gateway "$1" && [[ -e $plugin ]] || return 0
	libraries=$(ldd "$plugin" | awk '/lib(asan|ubsan)\.so/ { print $3 }' | paste -sd:)
	[[ -z $libraries ]] || charon_words=(env "LD_PRELOAD=$libraries"
		ASAN_OPTIONS=check_printf=0:detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1)
}

# charon_start NODE: until its connections are loaded.
charon_start()
{
	local node=$1 charon_words
	sanitized "$node"
	node_run "$node" rm -f /run/charon.pid /run/charon.vici
	node_spawn "$node" charon "${charon_words[@]}" "$(charon_program "$node")"
	wait_for 20 "charon on $node" vici_up "$node" || die "see lab logs $node"
	node_run "$node" swanctl --load-all --noprompt >>"$(node_dir "$node")/log/swanctl.log" \
		2>&1 || die "swanctl --load-all failed on $node: see lab logs $node"
	if tail -n 1 "$(node_dir "$node")/log/swanctl.log" | grep '^no connections' >/dev/null; then
		die "swanctl loaded no connections on $node: see lab logs $node"
	fi
}

verb_exec()
{
	(($# >= 2)) || die "usage: lab exec NODE COMMAND..."
	local node=$1 node_words
	shift
	check_node "$node"
	node_env "$node"
	exec "${node_words[@]}" env -C "$PWD" "$@"
}
