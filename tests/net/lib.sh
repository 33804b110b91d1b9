# SPDX-License-Identifier: GPL-2.0-or-later
# What network tests, the demo and the measurement share. Sourced after `set -euo pipefail`.
#
# A test calls net_begin with its name and arguments, then one or more scenarios:
#
#	scenario_begin NAME      all clients connected, captures and traffic running
#	... faults by lab, waits by wait_for ...
#	scenario_end             traffic ended and judged, captures and replay checked
#
# and prints "ok NAME", "not ok NAME - why" or "skip NAME - why" for each. A test brings
# up a lab of its own, which has nothing to do with any other lab; but if LAB_SHARED is
# set, it uses the one of LAB_PREFIX, which is up.

net=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BUILD=${BUILD:-$(cd "$net/../.." && pwd)/build}
export BUILD
# shellcheck source=/dev/null
. "$net/../leftovers.sh"
# shellcheck source=/dev/null
. "$net/../poll.sh"
# shellcheck source=/dev/null
. "$net/lab.d/util.sh"
# shellcheck source=/dev/null
. "$net/lab.d/guest.sh"
# shellcheck source=/dev/null
. "$net/lab.d/node.sh"

# lab VERB...: nearly all calls are exec, which needs no process of its own to be prepared.
lab()
{
	local node_words
	if [[ $1 == exec && -e ${LAB_DIR-}/nodes/$2/holder ]] && ! is_guest "$2"; then
		node_env "$2"
		"${node_words[@]}" env -C "$PWD" "${@:3}"
	else
		"$net/lab" "$@"
	fi
}

# Where the lab of this LAB_PREFIX is, as `lab` says.
lab_dir()
{
	local prefix=${LAB_PREFIX:-phx} dir=/run/phalanx-lab
	[[ $prefix == phx ]] || dir+=.$prefix
	echo "${LAB_DIR:-$dir}"
}

# lab_choose: the next lab to come up is this process's own, under a new name unless the
# user has given one. It goes with us, also if we are killed: see `lab sweep`.
lab_choose()
{
	export LAB_MAKER LAB_PREFIX=${LAB_PREFIX-}
	LAB_MAKER=$(maker_of $$)
	lab sweep
	if [[ -z $LAB_PREFIX && -z ${LAB_DIR-} ]]; then
		LAB_PREFIX=t$$
		while [[ -e $(lab_dir) ]]; do LAB_PREFIX+=x; done
	fi
}

# lab_keep: it stays up when we end.
lab_keep()
{
	net_own_lab=0
	rm -f "$(lab_dir)/maker"
}

# ---- the test as a whole

net_mode=multicast net_members=3 net_clients=4 net_peer=1 net_interconnects=1 net_failed=0 net_own_lab=0
net_lab=() # more options of `lab up`
net_stopped= net_guests=0
# The detection interval: at least this many ms. Tests judge no times, so they have time.
net_detection=2000 net_exact=0

net_options()
{
	while (($#)); do
		case $1 in
		--mode) net_mode=$2 && shift ;;
		--members) net_members=$2 && shift ;;
		--clients) net_clients=$2 && shift ;;
		--detection) net_detection=$2 && shift ;;
		*)
			echo "usage: ${0##*/} [--mode multicast|unicast|forwarding] [--members N] [--clients N] [--detection MS]" >&2
			exit 2
			;;
		esac
		shift
	done
}

net_begin()
{
	net_options "$@"
	((EUID == 0)) || {
		echo "skip ${0##*/} - needs root"
		exit 77
	}
	out=$(mktemp -d "${TMPDIR:-/tmp}/phalanx-net.XXXXXX")
	# A command that fails ends the test: it is named then.
	set -E
	trap 'net_stopped="${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR
	trap net_end EXIT
	trap 'exit 129' HUP INT TERM
	if [[ -z ${LAB_SHARED-} ]]; then
		lab_begin
	fi
	eval "$(lab env)"
	lab_clients=$CLIENTS
	if ((PEER)); then lab_clients+=" g1"; fi
	lab_members=$MEMBERS
}

# detection: the interval for this machine. A virtual machine that its host stops is dead to
# its peers, so the interval must be well above such stops. LAB_STALL: the longest, if that
# was measured before.
detection()
{
	local worst need
	if ((net_exact)); then
		echo "$net_detection"
		return
	fi
	worst=${LAB_STALL:-$("$BUILD/tests/net/tools/stalls" 3)}
	need=$(((worst * 6 + 99) / 100 * 100))
	((need <= 3000)) || need=3000
	if ((need > net_detection)); then
		echo "# this machine stands still for up to $worst ms at a time:" \
			"detection interval $need ms, not $net_detection ms" >&2
		net_detection=$need
	fi
	echo "$net_detection"
}

lab_begin()
{
	local options=("${net_lab[@]}")
	((net_peer)) && options+=(--peers "$net_peer")
	lab_choose
	# The lab is ours only if none was there before.
	net_own_lab=$([[ -e $(lab_dir) ]] && echo 0 || echo 1)
	lab up --mode "$net_mode" --interconnects "$net_interconnects" --members "$net_members" --clients "$net_clients" \
		--set detection-interval="$(detection)" "${options[@]}" || {
		fail "the lab did not come up"
		exit 1
	}
}

net_end()
{
	local status=$?
	trap - EXIT ERR
	set +e
	((net_failed)) && status=1
	if ((status && status != 77 && (scenario_open || !net_failed))); then
		reasons=("it could not go on (${net_stopped:-ended})" "${reasons[@]}")
		echo "not ok ${scenario:-${0##*/}-$net_mode} - $(printf '%s; ' "${reasons[@]}")"
	fi
	stop_traffic_programs || true
	((scenario_open)) && captures_stop 2>/dev/null
	if ((status && status != 77)); then
		save_logs || true
		echo "# logs, captures and results are kept in $out"
	else
		rm -rf "$out"
	fi
	[[ -e $(lab_dir)/guest ]] && guests_end
	((net_own_lab)) && lab down 2>/dev/null
	exit "$status"
}

save_logs()
{
	local node
	for node in ${lab_members-} ${lab_sites-} ${lab_clients-}; do
		# A client in a virtual machine may be gone.
		lab logs "$node" >"$out/$node.new" 2>&1 && mv "$out/$node.new" "$out/$node.log"
	done
	rm -f "$out"/*.new
}

# ---- what the cluster says

# ask MEMBER COMMAND...: clusterctl's answer there, as JSON. Asked from outside of the
# namespaces, which is much quicker.
ask()
{
	local holder
	holder=$(<"$LAB_DIR/nodes/$1/holder")
	timeout 20 clusterctl -s "/proc/$holder/root/run/phalanx/control.sock" "${@:2}" --json
}

# other_member NODE: a member that is not this one.
other_member()
{
	local member
	for member in $lab_members; do
		[[ $member == "$1" ]] || {
			echo "$member"
			return
		}
	done
}

# counter MEMBER NAME. Fails if there is none of that name.
counter() { ask "$1" counters | jq -e --arg name "$2" '.counters[$name]'; }

# counter_sum NAME [MEMBER]...: of these, or of all.
counter_sum()
{
	local member n sum=0 members=$lab_members
	(($# == 1)) || members=${*:2}
	for member in $members; do
		n=$(counter "$member" "$1") || return 1
		sum=$((sum + n))
	done
	echo "$sum"
}

# sessions_by_client MEMBER FILTER: each client's sessions, the newest first, and "client",
# through jq's filter. Who has begun anew may have an older one for a while.
sessions_by_client()
{
	ask "$1" sessions | jq -r 'def client: .user | split("@")[0] |
			if . == "site.example.org" then "g1" else . end;
		.sessions | sort_by(.age) | group_by(client)[] | '"$2"
}

# owners MEMBER: "CLIENT OWNER" for each client that has a session, in that member's view.
owners() { sessions_by_client "$1" '"\(.[0] | client) \(.[0].owner)"'; }

# session_of CLIENT MEMBER FIELD: of its newest session, as that member knows it.
session_of()
{
	sessions_by_client "$2" "select(.[0] | client == \"$1\") | .[0].$3" | grep .
}

# owner_of CLIENT MEMBER: nothing if it has no session, "null" if nobody owns that.
owner_of() { session_of "$1" "$2" owner || true; }

# unit_of CLIENT MEMBER
unit_of() { session_of "$1" "$2" unit; }

# sessions_of CLIENT MEMBER: how many.
sessions_of()
{
	local n
	n=$(sessions_by_client "$2" "select(.[0] | client == \"$1\") | length") || return 1
	echo "${n:-0}"
}

# await_owner CLIENT MEMBER: the session's owner, when there is one.
await_owner()
{
	wait_for 20 "$1 to have a session with an owner" has_owner "$1" "$2" || return 1
	owner_of "$1" "$2"
}
has_owner() { [[ $(owner_of "$1" "$2") =~ ^[mg][0-9]+$ ]]; }
# has_sessions CLIENT MEMBER NUMBER
has_sessions() { [[ $(sessions_of "$1" "$2") == "$3" ]]; }

# all_owned MEMBER: there is a master, and every client's session has an owner.
all_owned()
{
	local known
	ask "$1" status | jq -e '.master != null and .units.without_owner == 0' || return 1
	known=$(owners "$1" | grep -vc ' null$')
	((known >= $(wc -w <<<"$lab_clients")))
}

# busiest MEMBER: the member with the most sessions.
busiest()
{
	wait_for 20 "owners of all sessions" all_owned "$1" || return 1
	owners "$1" | cut -d' ' -f2 | sort | uniq -c | sort -k1,1nr -k2 |
		awk 'NR == 1 { print $2 }'
}

master()
{
	wait_for 20 "a master" all_owned "$1" || return 1
	ask "$1" status | jq -r .master
}

# owns_nothing VICTIM MEMBER: no unit belongs to the victim any more, all have an owner.
owns_nothing()
{
	ask "$2" status | jq -e --arg victim "$1" \
		'([.members[] | select(.name == $victim) | .units] | add // 0) == 0 and
			.units.without_owner == 0'
}

# whole MEMBER: all members are there and complete, each has some units, and each of these
# a successor that is not behind.
whole()
{
	ask "$1" status | jq -e --argjson n "$(wc -w <<<"$lab_members")" \
		'([.members[] | select(.present and .complete and .able and .units > 0)] |
			length) == $n and .units.without_owner == 0 and
			.units.without_successor == 0 and .units.unproven == 0'
}

# ---- clients

# fingerprint CLIENT: the SPIs of its IKE SA and its ESP SAs. Of clients whose kernel does ESP,
# those of the ESP SAs only: their virtual machine takes long for each program.
fingerprint()
{
	if [[ $1 == v* ]]; then
		lab exec "$1" ip xfrm state | grep -o ' spi [0-9a-fx]*' | sort | xargs
		return
	fi
	lab exec "$1" swanctl --list-sas --raw --ike home |
		grep -o '\(initiator-spi\|responder-spi\|spi-in\|spi-out\)=[0-9a-f]*' | xargs
}

# logins CLIENT: tries so far. Who is asked for a cookie says it first when it begins again.
logins() { grep -c 'generating IKE_SA_INIT request 0 \[ SA' "$LAB_DIR/nodes/$1/log/charon.log"; }

# is_tidy CLIENT: no CHILD SA that was replaced is kept for late packets.
is_tidy()
{
	[[ $1 == v* || $(lab exec "$1" swanctl --list-sas --raw --ike home) != *state=DELETED* ]]
}

# gathered MEMBER: the sessions of all clients that take part are its own.
gathered()
{
	local client
	for client in $lab_clients; do
		[[ $(owner_of "$client" "$1") == "$1" ]] || return 1
	done
}

# gather MEMBER: all clients' sessions go there, until load is balanced again, which may be
# at once.
gather()
{
	local client unit try pids
	for try in 1 2 3 4 5; do
		pids=()
		for client in $lab_clients; do
			unit=$(unit_of "$client" "$1") || return 1
			lab exec "$1" timeout 20 clusterctl move "$unit" "$1" >/dev/null 2>&1 &
			pids+=($!)
		done
		wait "${pids[@]}" || true
		gathered "$1" && return
	done
	return 1
}

# spis CLIENT ike|child: of its IKE SA, or of its CHILD SAs.
spis()
{
	local which='[a-z]*-spi'
	[[ $2 == ike ]] || which='spi-[a-z]*'
	fingerprint "$1" | grep -o "\b$which=[0-9a-f]*" | sort | xargs
}

# has_other_spis CLIENT ike|child SPIS: as many as these, but others.
has_other_spis()
{
	local now
	now=$(spis "$1" "$2")
	(($(wc -w <<<"$now") == $(wc -w <<<"$3"))) && [[ $now != "$3" ]]
}

# sa_id CLIENT ike|child MEMBER: the number of the client's SA in that member's charon.
sa_id()
{
	local spi id='uniqueid=\K\d+'
	if [[ $2 == ike ]]; then
		spi=$(fingerprint "$1" | grep -oP '\bresponder-spi=\K\w+')
		id+="(?= version=\d .* responder-spi=$spi )"
	else
		spi=$(fingerprint "$1" | grep -oP '\bspi-out=\K\w+' | sed -n 1p)
		id+="(?= reqid=\d+ [^{}]* spi-in=$spi )"
	fi
	lab exec "$3" swanctl --list-sas --raw | grep -oP "$id"
}

# rekey CLIENT ike|child [MEMBER]: begun by the client, or by that member. Both ends have
# other keys then.
rekey()
{
	local before what=home
	before=$(spis "$1" "$2")
	if (($# == 3)); then
		lab exec "$3" timeout 30 swanctl --rekey "--$2-id" "$(sa_id "$1" "$2" "$3")" \
			>/dev/null || return 1
	else
		[[ $2 == ike ]] || what=net
		lab exec "$1" timeout 30 swanctl --rekey "--$2" "$what" >/dev/null || return 1
	fi
	wait_for 10 "new keys of $1" has_other_spis "$1" "$2" "$before"
}

# rekey_both CLIENT: it begins two rekeyings. A CHILD SA takes its time to go, so many clients
# do this at once.
rekey_both()
{
	local what
	for what in child ike; do
		rekey "$1" "$what" || {
			echo "# $1 cannot rekey its $what SA"
			return 1
		}
	done
}

# Who speaks through the client's tunnel.
speaker() { if [[ $1 == g1 ]]; then echo h1; else echo "$1"; fi; }

# reaches CLIENT [PING'S OPTIONS]. Who uploads, and nothing else, is not disturbed.
reaches()
{
	if [[ $1 == "$uploader" ]] && uploading; then
		wait_for 1 "the upload to go on" uploads_beyond "$(transferred "$1")"
	else
		lab exec "$(speaker "$1")" ping -n -q -c 1 -W 1 "${@:2}" "$S1"
	fi
}

all_reach() { each reaches; }

# each COMMAND...: for all clients at the same time.
each()
{
	local client pids=() pid bad=0
	for client in $lab_clients; do
		"$@" "$client" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || bad=1; done
	return $bad
}

# leave CLIENT MEMBER: it ends its session. If that is not heard of, an operator ends what is
# left, so that nothing of it is found later.
leave()
{
	local id
	lab client "$1" down
	wait_for 2 "the end of $1's session" has_sessions "$1" "$2" 0 2>/dev/null && return
	for id in $(sessions_by_client "$2" "select(.[0] | client == \"$1\")[].id"); do
		lab exec "$2" timeout 20 clusterctl session kill "$id" --force >/dev/null 2>&1 || true
	done
	wait_for 10 "the end of $1's session" has_sessions "$1" "$2" 0
}

leaves() { leave "$1" m1; }

# connect_all: every client without a working tunnel connects; then all reach the server.
connect_all()
{
	local client
	for client in $lab_clients; do
		if [[ -z $(fingerprint "$client" 2>/dev/null || true) ]] ||
			! wait_for 10 "$client" reaches "$client" 2>/dev/null; then
			[[ $client != g1 ]] || lab client g1 down
			lab client "$client" up
		fi
	done
	wait_for 10 "all clients to reach the server" all_reach
}

# restore: undoes what an earlier scenario that failed has left behind.
restore()
{
	local member slow
	lab heal
	for member in $lab_members; do
		lab thaw "$member" 2>/dev/null || true
		lab revive "$member"
	done
	# Who has been slow is not relied on for long, unless it begins anew.
	for member in $lab_members; do
		for slow in $(ask "$member" members | jq -r '.members[] | select(.slow).name'); do
			lab kill "$slow"
			lab revive "$slow"
		done
	done
}

# guests_begin NAME N: clients v1 to vN in a virtual machine, whose kernel has IPsec. Ends
# the test if there can be none. guests_end: without them.
guests_begin()
{
	local status=0
	net_guests=$2
	lab guests up "$2" 2>"$out/guests.log" || status=$?
	if ((status == 77)); then
		echo "skip $1 - $(tail -n 1 "$out/guests.log")"
		exit 0
	elif ((status)); then
		fail "no virtual machine: $(xargs -0 <"$out/guests.log")"
		exit 1
	fi
}

# Their sessions go with them, so that later tests do not find them.
guests_end()
{
	local lab_clients=
	for ((i = 1; i <= net_guests; i++)); do lab_clients+=" v$i"; done
	each leaves 2>/dev/null || true
	lab guests down
}

# ---- traffic: each client pings the server and downloads from it

# But for this one, if any: it uploads, and has nothing back but acknowledgements.
uploader=
traffic_port=5001
export PATH=$BUILD:$BUILD/tests/net/tools:$PATH
ping_interval=10 # ms
replay_window=1100 # packets; phalanx.conf's default is below
download_rate=1000000 # bytes a second
traffic_seconds=4 # of a download without a pause

# program_start NODE NAME COMMAND...: in the background; its pid in $out/NAME.pid.
program_start()
{
	local node=$1 name=$2
	shift 2
	"$net/lab" exec "$node" "$@" </dev/null >"$out/$name.log" 2>&1 &
	echo $! >"$out/$name.pid"
}

# program_stop NAME: ends it if it still runs; its exit status.
program_stop()
{
	program_tell "$1"
	program_await "$1"
}

program_tell()
{
	[[ ! -s $out/$1.pid ]] || kill -TERM "$(cat "$out/$1.pid")" 2>/dev/null || true
}

program_await()
{
	local pid
	[[ -s $out/$1.pid ]] || return 0
	pid=$(cat "$out/$1.pid")
	rm -f "$out/$1.pid"
	wait "$pid" 2>/dev/null
}

stop_traffic_programs()
{
	local file
	for file in "${out:-/nonexistent}"/*.pid; do
		[[ -e $file ]] || continue
		file=${file##*/}
		program_stop "${file%.pid}" || true
	done
}

server_listens() { [[ -n $(lab exec s1 ss -Hltn "sport = :$traffic_port") ]]; }

serve_start()
{
	program_start s1 serve traffic serve "$traffic_port"
	wait_for 10 "the server" server_listens
}

# mark TAG EVENT: from now on, pauses and losses are put down to that event.
mark() { traffic mark "$out/$1.events" "$2"; }

# pings_start TAG
pings_start()
{
	local client
	: >>"$out/$1.events"
	for client in $lab_clients; do
		[[ $client != "$uploader" ]] || continue
		program_start "$(speaker "$client")" "ping-$1-$client" traffic ping "$S1" \
			-i "$ping_interval" -o "$out/ping-$1-$client.json" \
			--events "$out/$1.events"
	done
}

# pings_stop TAG: false if one of them never got an answer. Each waits a moment for answers
# that are missing, so all are told first.
pings_stop()
{
	local client bad=0
	for client in $lab_clients; do program_tell "ping-$1-$client"; done
	for client in $lab_clients; do
		program_await "ping-$1-$client" || bad=1
	done
	return "$bad"
}

# downloads_start TAG SECONDS: as many bytes as last that long without a pause.
downloads_start()
{
	local client verb
	: >>"$out/$1.events"
	for client in $lab_clients; do
		verb='get'
		[[ $client != "$uploader" ]] || verb=put
		program_start "$(speaker "$client")" "get-$1-$client" traffic "$verb" "$S1" \
			"$traffic_port" $((download_rate * $2)) --rate "$download_rate" \
			-o "$out/get-$1-$client.json" --events "$out/$1.events"
	done
}

downloads_done()
{
	local client
	for client in $lab_clients; do
		! kill -0 "$(cat "$out/get-$1-$client.pid")" 2>/dev/null || return 1
	done
}

# transferred CLIENT: bytes, in both directions: acknowledgements count as well.
transferred()
{
	lab exec "$(speaker "$1")" ss -Htin dst "$S1" |
		grep -o 'bytes_\(acked\|received\):[0-9]*' |
		awk -F: '{ n += $2 } END { print n + 0 }'
}

uploading() { kill -0 "$(cat "$out"/get-*-"$uploader.pid")" 2>/dev/null; }
# uploads_beyond BYTES: or is through.
uploads_beyond() { ! uploading || (($(transferred "$uploader") > $1)); }

# received CLIENT: bytes of its download so far; nothing if it is through.
received()
{
	lab exec "$(speaker "$1")" ss -Htin dst "$S1" | grep -o 'bytes_received:[0-9]*' |
		cut -d: -f2 | sort -n | tail -n 1 || true
}

declare -A received_then=()
downloads_note()
{
	local client
	for client in $lab_clients; do received_then[$client]=$(received "$client"); done
}

# Every download has got something since downloads_note, or is through.
downloads_moved()
{
	local client now
	for client in $lab_clients; do
		now=$(received "$client")
		[[ -z $now ]] || ((now > ${received_then[$client]:-0})) || return 1
	done
}

# ---- scenarios

scenario='' scenario_open=0 reasons=()
declare -A scenario_prints=()

fail() { reasons+=("$*"); }

# must SECONDS DESCRIPTION COMMAND...: a scenario without this has failed. After a failure,
# what follows may never come, and need not be waited for with patience.
must()
{
	local begin=$SECONDS patience=${LAB_PATIENCE:-4}
	((!${#reasons[@]})) || patience=1
	LAB_PATIENCE=$patience wait_for "$@" 2>/dev/null ||
		fail "waited $((SECONDS - begin)) s for $2"
}

# scenario_name NAME: from here to scenario_verdict, without anything that is done for it.
scenario_name()
{
	scenario=$1-$MODE scenario_open=1 reasons=() uploader=
	echo "# $scenario"
}

# scenario_begin NAME [quiet|upload]: quiet: no traffic. upload: one client of the busiest
# member does nothing but upload.
scenario_begin()
{
	local client
	scenario_name "$1"
	scenario_quiet=0
	restore
	wait_for 40 "all members" whole m1
	connect_all
	wait_for 20 "replaced CHILD SAs to be removed" each is_tidy
	for client in $lab_clients; do
		scenario_prints[$client]=$(fingerprint "$client")
	done
	captures_begin
	if [[ ${2-} == quiet ]]; then
		scenario_quiet=1
	else
		[[ ${2-} != upload ]] || uploader=$(owners m1 | sed -n "s/ $(busiest m1)\$//p" | head -n 1)
		serve_start
		pings_start "$scenario"
		downloads_start "$scenario" "$traffic_seconds"
		must 10 "the downloads to begin" downloads_have_begun "$scenario"
	fi
}

# All are connected at this moment: for transfers that last.
downloads_begun()
{
	(($(lab exec s1 ss -Htn state established "sport = :$traffic_port" | wc -l) >=
		$(wc -w <<<"$lab_clients")))
}

# downloads_have_begun TAG: each has moved something, or is through already. The server knows.
downloads_have_begun()
{
	local client begun
	begun=$(lab exec s1 ss -Htin "sport = :$traffic_port" |
		grep -c 'bytes_\(acked\|received\):[0-9]\{4\}' || true)
	for client in $lab_clients; do
		kill -0 "$(cat "$out/get-$1-$client.pid")" 2>/dev/null || ((begun++)) || true
	done
	((begun >= $(wc -w <<<"$lab_clients")))
}

# ---- captures: what is true of every packet, whatever has happened

arrivals=s1:eth0 # where clients' packets are to be seen when they were accepted
unsealed=        # the address of a client whose ESP has NULL, if any

# The networks that an enemy may listen to.
sealed_networks()
{
	echo outside cluster
	((INTERCONNECTS < 2)) || echo cluster2
}

# pcap NETWORK: the scenario's capture of it.
pcap() { echo "$out/$scenario-$1.pcap"; }

captures_begin()
{
	local place pids=() pid
	for place in $(sealed_networks); do
		lab capture "$place" "$(pcap "$place")" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
}

captures_stop()
{
	local place pids=() pid
	for place in $(sealed_networks); do
		lab capture "$place" stop &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || fail "a capture is incomplete"; done
}

# captures_judge [ESPCHECK'S OPTION]...: no number twice, nothing in clear, no replay accepted.
captures_judge()
{
	local place
	windows_pass
	captures_stop
	sealed_judge "$@"
	replay_judge "$(pcap outside)"
	((${#reasons[@]})) || for place in $(sealed_networks); do rm -f "$(pcap "$place")"; done
}

# sealed_judge [ESPCHECK'S OPTION]...
sealed_judge()
{
	local place
	espcheck_judge ${unsealed:+-n "$unsealed"} "$@" "$(pcap outside)"
	for place in $(sealed_networks); do clear_judge "$place"; done
}

# clear_judge NETWORK: nothing of what goes through the tunnels is there in clear. Between the
# members there is only what they seal; outside, nothing with an inside address. A sealed frame
# may be longer than the MTU: of its fragments only the first one has ports.
clear_judge()
{
	local inside='net 10.0.0.0/8 or ip6 net 2001:db8:1::/64 or ip6 net 2001:db8:3::/64'
	local filter="ip $inside" file seen
	file=$(pcap "$1")
	[[ $1 == outside ]] || filter='ip6 net 2001:db8::/32 or (ip and not port 4741 and
		not icmp[icmptype] = icmp-unreach and ip[6:2] & 0x1fff = 0)'
	seen=$(tcpdump -c 3 -nr "$file" "$filter" 2>/dev/null) || fail "$1: the capture cannot be read"
	[[ -z $seen ]] || fail "$1: in clear: $seen"
	# The pings' payload says so itself; everybody's name is replicated with the session.
	! tcpdump -r "$file" -w - "not host ${unsealed:-0.0.0.0}" 2>/dev/null |
		grep -aF -e 'ping in clear' -e example.org >/dev/null ||
		fail "$1: a payload or a name in clear"
	[[ -n $(tcpdump -c 1 -nr "$file" 'esp or port 4500 or port 4741' 2>/dev/null) ]] ||
		fail "the capture of $1 is empty"
}

# What was lost on the way is new to the cluster when it is replayed; behind the replay
# windows it is too old instead, whoever has seen it. One client after the other: together
# they would crowd each other's packets out.
windows_pass()
{
	local client
	for client in $lab_clients; do
		window_passes "$client" || fail "no answers to $client's pings"
	done
}

# window_passes CLIENT: by pings, of which none should be lost.
window_passes()
{
	local said try
	for try in 1 2 3; do
		said=$(lab exec "$(speaker "$1")" traffic ping "$S1" -f "$replay_window") || {
			echo "# no answers to $1's pings"
			return 1
		}
		[[ $said != *' lost 0,'* ]] || return 0
	done
	echo "# $1 has lost pings thrice: ${said%%$'\n'*}"
}

scenario_end()
{
	((scenario_quiet)) || traffic_judge "$scenario"
	prints_judge
	captures_judge
	crash_judge
	scenario_verdict
}

# scenario_verdict [REMARK]: what has failed, or that all is well.
scenario_verdict()
{
	scenario_open=0
	if ((${#reasons[@]})); then
		net_failed=1
		# Nodes may not be there any more in the end.
		save_logs || true
		echo "not ok $scenario - $(printf '%s; ' "${reasons[@]}")"
	else
		echo "ok $scenario${1:+: $1}"
	fi
}

# traffic_judge TAG: every transfer came to its end and was right, every ping goes on.
traffic_judge()
{
	local client
	must 90 "the downloads to end" downloads_done "$1"
	pings_stop "$1" || fail "pings without any answer"
	for client in $lab_clients; do
		program_stop "get-$1-$client" ||
			fail "$client's transfer: $(xargs <"$out/get-$1-$client.log")"
	done
	program_stop serve || true
}

# Nobody connected again: the same IKE SA and ESP SAs as before.
prints_judge()
{
	local client now
	for client in $lab_clients; do
		now=$(fingerprint "$client" || true)
		[[ -n $now && $now == "${scenario_prints[$client]}" ]] ||
			fail "$client has other SAs (was ${scenario_prints[$client]}, is ${now:-none})"
	done
}

# A charon that crashes may pass for one that was stopped, and a build with sanitizers goes on
# after some findings.
crash_judge()
{
	local node
	for node in $lab_members; do
		! lab logs "$node" | grep '\[DMN\] thread .* received' >/dev/null ||
			fail "charon has crashed on $node"
		! lab logs "$node" | grep 'AddressSanitizer\|runtime error:' >/dev/null ||
			fail "the sanitizer has found something on $node"
	done
}

# espcheck_judge [OPTION]... FILE
espcheck_judge()
{
	local said
	said=$(espcheck -c "$VIP_OUTSIDE" -c "$VIP6_OUTSIDE" "$@" 2>&1) || fail "espcheck: $(head -c 300 <<<"$said" | xargs -0)"
}

# replay_judge FILE: all of the clients' ESP packets come once more; none is accepted.
replay_judge()
{
	local place counted
	must 10 "the connections to close" no_connections
	for place in $arrivals; do lab capture "$place" "$out/$place-replay.pcap"; done
	replay_play "$1"
	for place in $arrivals; do
		lab capture "$place" stop
		tcpdump -nr "$out/$place-replay.pcap" "dst host $S1 and (src net 10.3.0.0/24 or
			src net 10.5.0.0/24 or src net 198.51.100.0/24)" 2>"$out/tcpdump.log" ||
			fail "the capture of the replay: $(xargs <"$out/tcpdump.log")"
		rm -f "$out/$place-replay.pcap"
	done >"$out/replay.txt"
	counted=$(grep -vc 'ICMP echo request.* length 85$' "$out/replay.txt" || true)
	((counted == 0)) || fail "$counted replayed packets were accepted"
	grep -q 'length 85$' "$out/replay.txt" || fail "the replay's end was not seen"
}

# replay_play FILE: as an attacker beside the router would. Packets are worked off in order: when
# a ping of unusual size is through, so is all that was accepted before it.
replay_play()
{
	local before
	before=$(replays_counted)
	lab exec r1 espreplay -i outside -d "$VIP_OUTSIDE" -d "$VIP6_OUTSIDE" -r 8000 "$1" \
		>"$out/espreplay.txt" 2>&1 || fail "could not replay the capture"
	must 20 "pings after the replay" each reaches_after
	(($(replays_counted) > before)) || fail "no replay was counted"
}
reaches_after() { reaches "$1" -s 77; }

# inside_judge FILE [ESPCHECK'S OPTION]...: no packet of a client arrives twice: no two requests
# have the same id, number and payload, in which their time is. (Ids are those of processes, and
# come again.) The parts of a cut cluster may both deliver one.
inside_judge()
{
	local twice
	tcpdump -xttenr "$1" "icmp[icmptype] = icmp-echo and dst host $S1 and
		not src net 10.1.0.0/16" 2>/dev/null >"$out/inside.txt"
	grep -q 'ICMP echo request' "$out/inside.txt" || fail "the capture of the inside is empty"
	twice=$(printf '%s\n' "${@:2}" | awk '
		NR == FNR { if (split($0, s, "-") == 2) { from[++n] = s[1]; to[n] = s[2] } next }
		function in_parts(i) {
			for (i = 1; i <= n; i++) if (at >= from[i] && at <= to[i]) return 1
		}
		function judge() {
			if (key in mac && !(mac[key] != sender && in_parts())) print head
			mac[key] = sender
		}
		# The first line has what routers change.
		/^\t/ { if ($1 != "0x0000:") key = key $0; next }
		{
			if (head) judge()
			head = $0; at = $1; sender = $2
			match(head, /10[.][0-9.]* > .*/)
			key = substr(head, RSTART)
		}
		END { judge() }' - "$out/inside.txt")
	[[ -z $twice ]] || fail "$(wc -l <<<"$twice") packets were delivered twice: $(head -n 1 <<<"$twice")"
	rm -f "$out/inside.txt"
}

no_connections()
{
	[[ -z $(lab exec s1 ss -Htn exclude time-wait "sport = :$traffic_port") ]]
}

# The replays that all living members have counted.
replays_counted()
{
	local member sum=0 n
	for member in $lab_members; do
		n=$(ask "$member" status --counters 2>/dev/null | jq '[.counters | to_entries[] |
			select(.key | test("replay")) | .value] | add // 0') || n=0
		sum=$((sum + ${n:-0}))
	done
	echo "$sum"
}

has_other_master()
{
	local now
	now=$(ask "$2" status | jq -r .master)
	[[ -n $now && $now != null && $now != "$1" ]]
}

# revive NODE: and wait until it has units again, so that the next scenario finds a whole
# cluster.
revive()
{
	lab revive "$1"
	wait_for 40 "$1 to be a member with units" whole "$(other_member "$1")"
}
