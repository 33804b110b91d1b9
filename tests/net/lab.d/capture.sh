# SPDX-License-Identifier: GPL-2.0-or-later
# Captures. Sourced.

verb_capture()
{
	local place=${1-} file=${2-} node interface dir
	(($# == 2)) || die "usage: lab capture PLACE FILE|stop"
	dir=$LAB_DIR/captures/${place//[:\/]/-}
	if [[ $file == stop ]]; then
		capture_stop "$place" "$dir"
		return
	fi
	case $place in
	*:*) node=${place%%:*} interface=${place#*:} ;;
	*) node=sw interface=$place ;;
	esac
	check_node "$node"
	ip -n "$(ns "$node")" link show dev "$interface" >/dev/null 2>&1 ||
		die "no such place: $place"
	[[ ! -e $dir/pid ]] || die "$place is being captured already"
	need tcpdump
	mkdir -p "$dir"
	: >"$file"
	file=$(realpath "$file")
	# A bridge that somebody listens to promiscuously shows each frame once. No frame is
	# longer than 4 kB, and the shorter they may be, the more fit in the buffer.
	setsid ip netns exec "$(ns "$node")" tcpdump -i "$interface" -n -U -s 4096 -B 65536 \
		--immediate-mode -Z root -w "$file" </dev/null >"$dir/log" 2>&1 &
	echo $! >"$dir/pid"
	echo "$file" >"$dir/file"
	echo $! >>"$(node_dir "$node")/capture.pid"
	wait_for 10 "tcpdump" grep -q 'listening on' "$dir/log" || die "$(cat "$dir/log")"
}

# Whoever has to reap it may take long.
process_gone() { [[ -z $(process_start "$1") ]]; }

capture_settle()
{
	local before=-1 size tries
	for ((tries = 0; tries < 25; tries++)); do
		size=$(stat -c %s "$1")
		[[ $size != "$before" ]] || return 0
		before=$size
		nap
	done
}

capture_stop()
{
	local pid lost
	[[ -e $2/pid ]] || die "$1 is not being captured"
	pid=$(cat "$2/pid")
	# What was seen before this call is in the file, unless traffic still goes on.
	capture_settle "$(cat "$2/file")"
	kill -TERM "$pid" 2>/dev/null || true
	wait_for 10 "the end of tcpdump" process_gone "$pid"
	lost=$(sed -n 's/ packets\{0,1\} dropped by kernel//p' "$2/log")
	rm -rf "$2"
	if [[ ${lost:-0} != 0 ]]; then
		echo "lab: the capture of $1 lacks $lost packets" >&2
	fi
}
